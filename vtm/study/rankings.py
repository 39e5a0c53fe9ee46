"""Rankings of one part by the baseline, by VTM+ in several readings, by controls without topics, and fused."""

from __future__ import annotations

import numpy as np

from vtm.errors import DataError
from vtm.prepare import Prepared
from vtm.results import Result
from vtm.study.measures import fused, reciprocal
from vtm.study.plus import PlusModel, cut

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
