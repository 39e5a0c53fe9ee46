"""How VTM+'s settings were chosen: every candidate on the validation part, all seeds; negative results stay."""

from __future__ import annotations

import dataclasses
from typing import Any

from vtm.experiment.prepare import Prepared
from vtm.experiment.runs import run_models
from vtm.model.plus import PlusConfig, PlusModel, cut, fit_plus
from vtm_study.measures import (
    TOP_WORDS,
    keyword_hits,
    not_below,
    spread,
    teacher_figures,
    validation_figures,
    welch,
)

# One setting at a time away from the default one.
CANDIDATES: dict[str, tuple] = {
    "n_topics": (60, 200, 300),
    "members": (5,),
    "ridge": (0.02, 0.3, 3.0),
    "image_ridge": (0.02, 1.0),
    "dims": (50, 100, 384),
    "image_weight": (0.3, 1.0),
    "concentration": (10.0, 15.0, 30.0),
    "pair_concentration": (6.0, 20.0),
    "smoothing": (0.5, 20.0),
    "relevance": (0.6, 1.0),
}


def choose(data: Prepared) -> dict[str, Any]:
    """The default setting and each candidate beside it: validation MRR@100 by the full posterior and by the ten
    largest topics, NPMI, diversity and keyword hits; mean and sd over seeds.

    Returns
    -------
    rows : a line a candidate.
    text_teacher : the plain text-teacher's topic figures, mean of its two models.
    by_rule : what `by_rule` names; None where no candidate qualifies.
    """
    default, largest = plus_config(data), len(data.rows["train"])
    configs = [("default", default)]
    for name, values in CANDIDATES.items():
        configs += [
            (f"{name} = {value:g}", dataclasses.replace(default, **{name: value}))
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
    runs = run_models(data, "text-teacher", n_topics=[default.n_topics])
    figures = teacher_figures(runs, data, unseen="validation")["both"]
    teacher = {name: spread([f[name] for f in figures]) for name in figures[0]}
    return {"rows": rows, "text_teacher": teacher, "by_rule": by_rule(rows, teacher)}


def by_rule(rows: list[dict[str, Any]], teacher: dict[str, dict[str, float | None]]) -> str | None:
    """The candidate that the rule chooses: of those whose NPMI is not below the plain text-teacher's within the interval
    over seeds, neither on the training texts nor on those of the validation part, the one with the best MRR@100 by ten
    topics. None where there is no such candidate."""
    fit = [
        row
        for row in rows
        if all(not_below(welch(row[name], teacher[name])) for name in ("npmi", "npmi_unseen"))
    ]
    return max(fit, key=lambda row: row["top10_mrr"]["mean"])["setting"] if fit else None


def plus_config(data: Prepared) -> PlusConfig:
    """The default setting, with as many topics as there are pairs for."""
    return PlusConfig(n_topics=min(PlusConfig().n_topics, len(data.rows["train"]) // 2))


def plus_model(data: Prepared, config: PlusConfig, seed: int) -> PlusModel:
    train = data.pairs("train")
    return fit_plus(train.text, train.image, train.counts, config=config, seed=seed)


def figures_of(model: PlusModel, data: Prepared) -> dict[str, float]:
    """Retrieval, topic quality and keyword hits of one model on the validation part."""
    pairs = data.pairs("validation")
    text, image = model.theta("text", pairs.text), model.theta("image", pairs.image)
    topics, kept = model.topics(data.vocabulary.words, TOP_WORDS), model.config.kept
    found = validation_figures(
        text, image, model.words(image), topics, data, kept=kept, members=len(model.anchors)
    )
    hits = keyword_hits(model.words(cut(image, kept)), pairs.counts)
    return found | {"keyword_hit_rate_top10": float(hits.mean())}
