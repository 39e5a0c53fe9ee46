"""The study's answer on the test part, read once: VTM+, the plain text-teacher and the baseline on the same pairs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from vtm.errors import DataError
from vtm.experiment import model_folder, run_baseline, run_models
from vtm.metrics import bootstrap_interval, paired_bootstrap
from vtm.prepare import Prepared
from vtm.results import Result
from vtm.study.measures import fused, keyword_hits, mean_difference, reciprocal, spread
from vtm.study.plus import PlusConfig, PlusModel, cut
from vtm.study.validation import plus_model
from vtm.topic_metrics import npmi, topic_diversity
from vtm.topicmodel import TopicModel

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
TOP_WORDS = 25


def measure(data: Prepared) -> dict[str, Any]:
    """All figures of the goals, with sd over seeds, intervals over test items and paired tests."""
    seeds = data.experiment.seeds
    config = PlusConfig(n_topics=min(PlusConfig().n_topics, len(data.rows["train"]) // 2))
    baseline = run_baseline(data)
    # An aligned encoder's own cosine has no seed.
    baseline = [baseline[min(index, len(baseline) - 1)] for index in range(len(seeds))]
    teacher = run_models(data, "text-teacher", n_topics=[config.n_topics])
    plus = [plus_model(data, config, seed) for seed in seeds]
    weights, by_weight = _fusion_weights(plus, baseline, data)

    found = _rankings(plus, baseline, data, "test", weights)
    found["text_teacher"] = np.stack(
        [reciprocal(run.text(), run.image(), run.ids["test"], measure=run.measure) for run in teacher]
    )
    topics = {
        "text_teacher": [run.topics[reads] for run in teacher for reads in ("text", "image")],
        "vtm_plus": [member for model in plus for member in _members(model, data)],
    }
    coherence = {name: [_npmi(one, data) for one in lists] for name, lists in topics.items()}
    diversity = {name: [topic_diversity(one) for one in lists] for name, lists in topics.items()}
    hits = _keyword_hits(plus, teacher, data, config)
    base = found["baseline"]
    versus = {name: paired_bootstrap(found[name], base) for name in found if name != "baseline"}
    hit_test = paired_bootstrap(hits["vtm_plus"], hits["text_teacher"])
    npmi_test = mean_difference(*(np.concatenate(coherence[name]) for name in ("vtm_plus", "text_teacher")))
    diversity_test = mean_difference(*(np.array(diversity[name]) for name in ("vtm_plus", "text_teacher")))
    top10_test = paired_bootstrap(found["top10"], 0.9 * base)
    return {
        "baseline_mrr": float(base.mean()),
        "text_teacher_mrr": float(found["text_teacher"].mean()),
        "vtm_plus_posterior_mrr": float(found["posterior"].mean()),
        "vtm_plus_top10_mrr": float(found["top10"].mean()),
        "fusion_mrr": float(found["fusion"].mean()),
        "fusion_minus_baseline_mrr_ci": [versus["fusion"]["low"], versus["fusion"]["high"]],
        "npmi": {name: float(np.concatenate(values).mean()) for name, values in coherence.items()},
        "diversity": {name: float(np.mean(values)) for name, values in diversity.items()},
        "keyword_hit_rate": {name: float(hits[name].mean()) for name in ("text_teacher", "vtm_plus")},
        "goals": {
            "posterior at least the baseline": bool(found["posterior"].mean() >= base.mean()),
            "ten largest topics at least 90 % of the baseline": bool(
                found["top10"].mean() >= 0.9 * base.mean()
            ),
            "fusion above the baseline": versus["fusion"]["low"] > 0,
            "NPMI not below": npmi_test["high"] >= 0,
            "diversity not below": diversity_test["high"] >= 0,
            "keyword hits not below": hit_test["high"] >= 0,
        },
        "details": {
            "mrr": {
                name: {**spread(values.mean(axis=1)), "interval": list(bootstrap_interval(values))}
                for name, values in found.items()
            },
            "minus_baseline": versus,
            "fusion_minus_shared_space": paired_bootstrap(found["fusion"], found["shared space"]),
            "top10_minus_90_percent_of_baseline": top10_test,
            "npmi_difference": npmi_test,
            "npmi_of": {
                "text_teacher text": _mean(coherence["text_teacher"][::2]),
                "text_teacher image": _mean(coherence["text_teacher"][1::2]),
                "vtm_plus": _mean(coherence["vtm_plus"]),
            },
            "diversity_difference": diversity_test,
            "diversity_at_most": min(1.0, len(data.vocabulary) / (TOP_WORDS * config.n_topics)),
            "keyword_hit_difference": hit_test,
            "keyword_hit_rate": {name: float(values.mean()) for name, values in hits.items()},
            "fusion_weight": weights,
            "fusion_validation_mrr": by_weight,
            "n_test": len(data.rows["test"]),
            "plus": dataclasses.asdict(config),
        },
    }


def _rankings(
    plus: list[PlusModel], baseline: list[Result], data: Prepared, part: str, weights: dict[str, float]
) -> dict[str, np.ndarray]:
    """Reciprocal ranks (S, n) of the baseline, of VTM+ (all members; its first member; cut) and fused.

    Controls, for what is not due to topics: the shared space alone, the baselines of all seeds side by side, as VTM+'s
    members are, and the baseline fused with the shared space in place of theta.
    """
    pairs, ids = data.pairs(part), data.ids(part)
    found: dict[str, list[np.ndarray]] = {}
    for model, base in zip(plus, baseline, strict=True):
        if base.ids[part] != ids:
            raise DataError("the baseline's pairs are not those of the data")
        k, kept = model.config.n_topics, model.config.kept
        theta = [model.theta(reads, pairs.embeddings(reads)) for reads in ("text", "image")]
        one = [side[:, :k] * len(model.anchors) for side in theta]
        space = [model.space.embed(reads, pairs.embeddings(reads)) for reads in ("text", "image")]
        embedding = [base.text(part), base.image(part)]
        rows = {
            "baseline": (*embedding, "cosine"),
            "posterior": (*theta, "hellinger"),
            "top10": (*(cut(side, kept) for side in theta), "hellinger"),
            "one member posterior": (*one, "hellinger"),
            "one member top10": (*(cut(side, kept) for side in one), "hellinger"),
            "shared space": (*space, "cosine"),
            "fusion": (
                *(
                    fused(e, np.sqrt(t), weight=weights["fusion"])
                    for e, t in zip(embedding, theta, strict=True)
                ),
                "dot",
            ),
            "fusion with the space": (
                *(
                    fused(e, z, weight=weights["fusion with the space"])
                    for e, z in zip(embedding, space, strict=True)
                ),
                "dot",
            ),
        }
        for name, (left, right, how) in rows.items():
            found.setdefault(name, []).append(reciprocal(left, right, ids, measure=how))
    together = [
        np.concatenate([run.arrays[f"{part}_{reads}"] for run in baseline], axis=1)
        for reads in ("text", "image")
    ]
    found["baselines together"] = [reciprocal(*together, ids, measure="cosine")]
    found["shared space"] = found["shared space"][:1]  # it has no seed
    return {name: np.stack(values) for name, values in found.items()}


def _fusion_weights(
    plus: list[PlusModel], baseline: list[Result], data: Prepared
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """For both fusions the weight with the best mean MRR@100 on the validation part, and the MRR of all weights."""
    scores: dict[str, dict[str, float]] = {"fusion": {}, "fusion with the space": {}}
    for weight in WEIGHTS:
        found = _rankings(plus, baseline, data, "validation", dict.fromkeys(scores, weight))
        for name, of in scores.items():
            of[f"{weight:g}"] = float(found[name].mean())
    return {name: float(max(of, key=of.__getitem__)) for name, of in scores.items()}, scores


def _members(model: PlusModel, data: Prepared) -> list[list[list[str]]]:
    topics = model.topics(data.vocabulary.words, TOP_WORDS)
    k = model.config.n_topics
    return [topics[start : start + k] for start in range(0, len(topics), k)]


def _npmi(topics: list[list[str]], data: Prepared) -> np.ndarray:
    return npmi(topics, data.counts[data.rows["train"]], data.vocabulary.words)


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


def _mean(values: list[np.ndarray]) -> float:
    return float(np.concatenate(values).mean())
