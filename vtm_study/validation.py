"""How VTM+'s settings were chosen: every candidate on all folds' validation parts, all seeds; negative results stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import softmax

from vtm.corpora.base import FOLDS
from vtm.experiment.prepare import Prepared, prepare
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


# Without the pairs that a model keeps: documents are compared with the topics themselves.
ANCHORS_ALONE = "topics' directions alone"


def choose(data: Prepared) -> dict[str, Any]:
    """The default setting and each candidate beside it: validation MRR@100 by the full posterior and by the ten
    largest topics, NPMI, diversity and keyword hits; means over folds, their mean and sd over seeds.

    Returns
    -------
    rows : a line a candidate. A fold's validation pairs are among the test pairs of the next fold; "posterior_mrr_by_fold"
        tells whether another setting would have been chosen without them.
    text_teacher : the plain text-teacher's topic figures, mean of its two models.
    by_rule : what `by_rule` names; None where no candidate qualifies.
    """
    folds = all_folds(data)
    default, largest = plus_config(data), min(len(fold.rows["train"]) for fold in folds)
    configs = [("default", default), (ANCHORS_ALONE, default)]
    for name, values in CANDIDATES.items():
        configs += [
            (f"{name} = {value:g}", dataclasses.replace(default, **{name: value}))
            for value in values
            if name != "n_topics" or value <= largest // 2
        ]
    rows = []
    for label, config in configs:
        theta_of = anchors_theta if label == ANCHORS_ALONE else PlusModel.theta
        found = [
            [figures_of(plus_model(fold, config, seed), fold, theta_of) for seed in data.experiment.seeds]
            for fold in folds
        ]
        by_fold = [float(np.mean([seed["posterior_mrr"] for seed in fold])) for fold in found]
        row = {"setting": label, "config": dataclasses.asdict(config), "posterior_mrr_by_fold": by_fold}
        rows.append(row | over_folds(found))
    teachers = [
        run_models(fold, "text-teacher", n_topics=[default.n_topics], progress=False) for fold in folds
    ]
    teacher = over_folds(
        [
            teacher_figures(runs, fold, unseen="validation")["both"]
            for runs, fold in zip(teachers, folds, strict=True)
        ]
    )
    return {"rows": rows, "text_teacher": teacher, "by_rule": by_rule(rows, teacher)}


def all_folds(data: Prepared) -> list[Prepared]:
    """All folds of an experiment; the one split of a corpus whose owners fixed it."""
    if data.corpus.parts is not None:
        return [data]
    experiments = [dataclasses.replace(data.experiment, fold=fold) for fold in range(FOLDS)]
    return [data if one == data.experiment else prepare(one, progress=False) for one in experiments]


def over_folds(figures: list[list[dict[str, float]]]) -> dict[str, dict[str, float | None]]:
    """Figures of each fold's seeds: each figure's mean over folds, spread over seeds."""
    return {
        name: spread(np.mean([[seed[name] for seed in fold] for fold in figures], axis=0))
        for name in figures[0][0]
    }


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


def anchors_theta(model: PlusModel, reads: str, x: np.ndarray) -> np.ndarray:
    """Posterior of a mixture of von Mises-Fisher distributions around the topics' directions: (n, M * K)."""
    cosine = np.einsum("nd,mkd->nmk", model.space.embed(reads, x), model.anchors)
    theta = softmax(model.config.pair_concentration * cosine, axis=-1) / len(model.anchors)
    return theta.reshape(len(x), -1)


def figures_of(
    model: PlusModel,
    data: Prepared,
    theta_of: Callable[[PlusModel, str, np.ndarray], np.ndarray] = PlusModel.theta,
) -> dict[str, float]:
    """Retrieval, topic quality and keyword hits of one model on the validation part."""
    pairs = data.pairs("validation")
    text, image = theta_of(model, "text", pairs.text), theta_of(model, "image", pairs.image)
    topics, kept = model.topics(data.vocabulary.words, TOP_WORDS), model.config.kept
    found = validation_figures(
        text, image, model.words(image), topics, data, kept=kept, members=len(model.anchors)
    )
    hits = keyword_hits(model.words(cut(image, kept)), pairs.counts)
    return found | {"keyword_hit_rate_top10": float(hits.mean())}
