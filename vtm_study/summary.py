"""Rankings of one part by the baseline, by VTM+ in several readings, by controls without topics, and fused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from vtm.errors import DataError
from vtm.experiment.prepare import Prepared
from vtm.experiment.results import Result
from vtm.experiment.runs import model_folder, run_baseline, run_models
from vtm.metrics.topics import inverted_rbo, topic_diversity
from vtm.model.plus import PlusConfig, PlusModel, cut
from vtm.model.topicmodel import TopicModel
from vtm.report.tables import baseline_name
from vtm_study.measures import (
    TOP_WORDS,
    distinct_words,
    fused,
    keyword_hits,
    most_diverse,
    mrr,
    not_below,
    over_seeds,
    paired,
    reciprocal,
    spread,
    teacher_figures,
    topic_figures,
)
from vtm_study.validation import plus_config, plus_model

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def rankings(
    plus: list[PlusModel], baseline: list[Result], data: Prepared, part: str, weights: dict[str, float]
) -> dict[str, np.ndarray]:
    """Reciprocal ranks (S, n) of the baseline, of VTM+ (all members; its first member; cut) and fused.

    In the test part the task's texts without a picture follow, as not found. Controls, for what is not due to topics:
    the shared space alone, the baselines of all seeds side by side, as VTM+'s members are, and the baseline fused with
    the shared space in place of theta.
    """
    pairs, ids = data.pairs(part), data.ids(part)
    n_missing = data.n_missing if part == "test" else 0
    found: dict[str, list[np.ndarray]] = {}
    for model, base in zip(plus, baseline, strict=True):
        if base.ids[part] != ids:
            raise DataError("the baseline's pairs are not those of the data")
        k, kept = model.config.n_topics, model.config.kept
        theta = [model.theta(reads, pairs.embeddings(reads)) for reads in ("text", "image")]
        one = [side[:, :k] * len(model.anchors) for side in theta]
        space = [model.space.embed(reads, pairs.embeddings(reads)) for reads in ("text", "image")]
        embedding = [base.text(part), base.image(part)]

        def with_baseline(other: list[np.ndarray], weight: float, embedding=embedding) -> list[np.ndarray]:
            return [fused(e, o, weight=weight) for e, o in zip(embedding, other, strict=True)]

        rows = {
            "baseline": (*embedding, "cosine"),
            "posterior": (*theta, "hellinger"),
            "top10": (*(cut(side, kept) for side in theta), "hellinger"),
            "one member posterior": (*one, "hellinger"),
            "one member top10": (*(cut(side, kept) for side in one), "hellinger"),
            "shared space": (*space, "cosine"),
            "fusion": (*with_baseline([np.sqrt(side) for side in theta], weights["fusion"]), "dot"),
            "fusion with the space": (*with_baseline(space, weights["fusion with the space"]), "dot"),
        }
        for name, (left, right, how) in rows.items():
            found.setdefault(name, []).append(reciprocal(left, right, ids, measure=how, n_missing=n_missing))
    together = [
        np.concatenate([run.arrays[f"{part}_{reads}"] for run in baseline], axis=1)
        for reads in ("text", "image")
    ]
    found["baselines together"] = [reciprocal(*together, ids, measure="cosine", n_missing=n_missing)]
    found["shared space"] = found["shared space"][:1]  # it has no seed
    return {name: np.stack(values) for name, values in found.items()}


def fusion_weights(
    plus: list[PlusModel], baseline: list[Result], data: Prepared
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """For both fusions the weight with the best mean MRR@100 on the validation part, and the MRR of all weights."""
    scores: dict[str, dict[str, float]] = {"fusion": {}, "fusion with the space": {}}
    for weight in WEIGHTS:
        found = rankings(plus, baseline, data, "validation", dict.fromkeys(scores, weight))
        for name, of in scores.items():
            of[f"{weight:g}"] = float(found[name].mean())
    return {name: float(max(of, key=of.__getitem__)) for name, of in scores.items()}, scores


QUALITIES = ("npmi", "npmi_unseen", "diversity", "diversity_top10", "inverted_rbo")


def measure(data: Prepared) -> dict[str, Any]:
    """The study's answer on the test part, read once: VTM+, the plain text-teacher and the baseline on the same pairs.

    All figures of the goals, with sd over seeds, intervals over test items, paired tests and tests over seeds.
    """
    seeds = data.experiment.seeds
    config = plus_config(data)
    baseline = run_baseline(data)
    # An aligned encoder's own cosine has no seed.
    baseline = [baseline[min(index, len(baseline) - 1)] for index in range(len(seeds))]
    teacher = run_models(data, "text-teacher", n_topics=[config.n_topics])
    plus = [plus_model(data, config, seed) for seed in seeds]
    weights, by_weight = fusion_weights(plus, baseline, data)

    found = rankings(plus, baseline, data, "test", weights)
    found["text_teacher"] = np.stack(
        [
            reciprocal(
                run.text(), run.image(), run.ids["test"], measure=run.measure, n_missing=data.n_missing
            )
            for run in teacher
        ]
    )
    base, space = found["baseline"], found["shared space"]
    versus = {name: paired(found[name], base) for name in found if name != "baseline"}
    hits = _keyword_hits(plus, teacher, data, config)
    hit_test = paired(hits["vtm_plus"], hits["text_teacher"])
    quality = _quality(plus, teacher, data)
    difference = quality["difference"]
    means = {
        name: {
            "text_teacher": quality["text_teacher"][name]["mean"],
            "vtm_plus": quality["vtm_plus"][name]["mean"],
        }
        for name in QUALITIES
    }
    return {
        "baseline_mrr": float(base.mean()),
        "text_teacher_mrr": float(found["text_teacher"].mean()),
        "vtm_plus_posterior_mrr": float(found["posterior"].mean()),
        "vtm_plus_top10_mrr": float(found["top10"].mean()),
        "fusion_mrr": float(found["fusion"].mean()),
        "fusion_minus_baseline_mrr_ci": [versus["fusion"].low, versus["fusion"].high],
        **means,
        "keyword_hit_rate": {name: float(hits[name].mean()) for name in ("text_teacher", "vtm_plus")},
        "goals": {
            "posterior at least the baseline": bool(found["posterior"].mean() >= base.mean()),
            "ten largest topics at least 90 % of the baseline": bool(
                found["top10"].mean() >= 0.9 * base.mean()
            ),
            "fusion above the baseline": versus["fusion"].low > 0,
            "NPMI not below": not_below(difference["npmi"]),
            "NPMI not below on unseen texts": not_below(difference["npmi_unseen"]),
            "diversity not below": not_below(difference["diversity_top10"]),
            "keyword hits not below": not_below(hit_test),
        },
        "details": {
            "mrr": {name: mrr(values) for name, values in found.items()},
            "minus_baseline": versus,
            "minus_shared_space": {
                name: paired(found[name], space)
                for name in ("posterior", "top10", "one member posterior", "one member top10")
            },
            "fusion_minus_fusion_with_the_space": paired(found["fusion"], found["fusion with the space"]),
            "fusion_minus_baselines_together": paired(found["fusion"], found["baselines together"]),
            "top10_minus_90_percent_of_baseline": paired(found["top10"], 0.9 * base),
            "quality": quality,
            "keyword_hit_difference": hit_test,
            "keyword_hit_rate": {name: float(values.mean()) for name, values in hits.items()},
            "distinct_words": _distinct(plus, teacher, data),
            "fusion_weight": weights,
            "fusion_validation_mrr": by_weight,
            "baseline_name": baseline_name(data.aligned, data.experiment.encoder_name),
            "n_test": len(data.rows["test"]),
            "n_missing": data.n_missing,
            "plus": dataclasses.asdict(config),
        },
    }


def _quality(plus: list[PlusModel], teacher: list[Result], data: Prepared) -> dict[str, Any]:
    """Topics of VTM+, of the teacher's two models and of both, over seeds; VTM+ less both; what is possible at most.

    "whole": all topics of a VTM+ together, and those of the teacher's seeds, which are about as many.
    """
    members, k = plus[0].config.members, plus[0].config.n_topics
    words = data.vocabulary.words
    ours = [
        topic_figures(model.topics(words, TOP_WORDS), data, unseen="test", members=members) for model in plus
    ]
    theirs = teacher_figures(teacher, data, unseen="test")
    every = {reads: [topic for run in teacher for topic in run.topics[reads]] for reads in ("text", "image")}

    def spreads(lines: list[dict[str, float]]) -> dict[str, dict[str, float | None]]:
        return {name: spread([line[name] for line in lines]) for name in QUALITIES}

    return {
        "vtm_plus": spreads(ours),
        "text_teacher": spreads(theirs["both"]),
        "text_teacher text": spreads(theirs["text"]),
        "text_teacher image": spreads(theirs["image"]),
        "difference": {
            name: over_seeds([line[name] for line in ours], [line[name] for line in theirs["both"]])
            for name in QUALITIES
        },
        "whole": {
            "vtm_plus": {
                name: float(np.mean([line[f"{name}_whole"] for line in ours]))
                for name in ("diversity_top10", "inverted_rbo")
            },
            "text_teacher": {
                "diversity_top10": float(np.mean([topic_diversity(one, top=10) for one in every.values()])),
                "inverted_rbo": float(np.mean([inverted_rbo(one) for one in every.values()])),
            },
        },
        "at_most": {
            "diversity": most_diverse(len(words), k, top=TOP_WORDS),
            "diversity_top10": most_diverse(len(words), k, top=10),
            "whole vtm_plus": most_diverse(len(words), k * members, top=10),
            "whole text_teacher": most_diverse(len(words), k * len(teacher), top=10),
        },
    }


def _distinct(plus: list[PlusModel], teacher: list[Result], data: Prepared) -> dict[str, float]:
    """Different words in the lists of a test picture's ten largest topics, mean over pictures and seeds."""
    image, words, kept = data.pairs("test").image, data.vocabulary.words, plus[0].config.kept
    found: dict[str, list[float]] = {"vtm_plus": [], "vtm_plus one member": [], "text_teacher": []}
    for model, run in zip(plus, teacher, strict=True):
        theta, topics, k = model.theta("image", image), model.topics(words), model.config.n_topics
        for name, (shares, lists) in {
            "vtm_plus": (theta, topics),
            "vtm_plus one member": (theta[:, :k], topics[:k]),
            "text_teacher": (run.image(), run.topics["image"]),
        }.items():
            found[name].append(float(distinct_words(shares, lists, kept=kept).mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _keyword_hits(
    plus: list[PlusModel], teacher: list[Result], data: Prepared, config: PlusConfig
) -> dict[str, np.ndarray]:
    """Keyword hits (S, n) of both models' picture side, by the whole theta and by its ten largest topics."""
    pairs = data.pairs("test")
    folder = model_folder(data, "text-teacher", config.n_topics)
    found: dict[str, list[np.ndarray]] = {}
    for model, run in zip(plus, teacher, strict=True):
        topic_word = TopicModel.load(folder / f"seed-{run.seed}" / "image").topic_word()
        theirs, ours = run.image(), model.theta("image", pairs.image)
        rows = {
            "text_teacher": theirs @ topic_word,
            "text_teacher top10": cut(theirs, config.kept) @ topic_word,
            "vtm_plus": model.words(ours),
            "vtm_plus top10": model.words(cut(ours, config.kept)),
        }
        for name, words in rows.items():
            found.setdefault(name, []).append(keyword_hits(words, pairs.counts))
    return {name: np.stack(values) for name, values in found.items()}
