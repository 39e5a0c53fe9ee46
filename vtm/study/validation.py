"""How VTM+'s settings were chosen: every candidate on the validation part, all seeds; negative results stay."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from vtm.prepare import Prepared
from vtm.study.measures import keyword_hits, reciprocal, spread
from vtm.study.plus import PlusConfig, PlusModel, cut, fit_plus
from vtm.topic_metrics import npmi, topic_diversity

# One setting at a time away from the chosen one.
CANDIDATES: dict[str, tuple] = {
    "n_topics": (60, 200, 300),
    "members": (1,),
    "ridge": (0.05, 0.3, 1.0),
    "image_weight": (0.0, 1.0),
    "word_weight": (0.0, 0.7, 3.0),
    "concentration": (8.0, 20.0),
    "word_concentration": (12.0, 20.0),
    "relevance": (0.6, 1.0),
}


def choose(data: Prepared) -> dict[str, Any]:
    """The chosen setting and each candidate beside it: validation MRR@100 by the full posterior and by the ten
    largest topics, NPMI, diversity and keyword hits; mean and sd over seeds."""
    largest = len(data.rows["train"])
    chosen = PlusConfig(n_topics=min(PlusConfig().n_topics, largest // 2))
    configs = [("chosen", chosen)]
    for name, values in CANDIDATES.items():
        configs += [
            (f"{name} = {value:g}", dataclasses.replace(chosen, **{name: value}))
            for value in values
            if name != "n_topics" or value <= largest // 2
        ]
    rows = []
    for label, config in configs:
        figures = [figures_of(plus_model(data, config, seed), data) for seed in data.experiment.seeds]
        rows.append(
            {"setting": label, "config": dataclasses.asdict(config)}
            | {name: spread([f[name] for f in figures]) for name in figures[0]}
        )
    return {"rows": rows}


def plus_model(data: Prepared, config: PlusConfig, seed: int) -> PlusModel:
    train = data.pairs("train")
    return fit_plus(train.text, train.image, train.counts, config=config, seed=seed)


def figures_of(model: PlusModel, data: Prepared, part: str = "validation") -> dict[str, float]:
    """Retrieval, topic quality and keyword hits of one model."""
    pairs, ids = data.pairs(part), data.ids(part)
    text, image = model.theta("text", pairs.text), model.theta("image", pairs.image)
    kept = cut(text, model.config.kept), cut(image, model.config.kept)
    topics = model.topics(data.vocabulary.words, 25)
    members = np.array_split(np.arange(len(topics)), len(model.anchors))
    return {
        "posterior_mrr": float(reciprocal(text, image, ids, measure="hellinger").mean()),
        "top10_mrr": float(reciprocal(*kept, ids, measure="hellinger").mean()),
        "npmi": float(npmi(topics, data.counts[data.rows["train"]], data.vocabulary.words).mean()),
        "diversity": float(np.mean([topic_diversity([topics[k] for k in member]) for member in members])),
        "keyword_hit_rate": float(keyword_hits(model.words(image), pairs.counts).mean()),
        "keyword_hit_rate_top10": float(keyword_hits(model.words(kept[1]), pairs.counts).mean()),
    }
