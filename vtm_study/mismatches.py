"""Figure 1 as an experiment: is a wrong first picture at least of the text's own gold category?"""

from __future__ import annotations

from typing import Any

import numpy as np

from vtm.experiment.prepare import Prepared
from vtm.experiment.runs import run_baseline, run_models
from vtm.metrics.ranking import top_items
from vtm.metrics.retrieval import bootstrap_interval
from vtm.model.plus import cut
from vtm_study.measures import N_RESAMPLES, paired
from vtm_study.validation import plus_config, plus_model

EXAMPLES = 8


def measure(data: Prepared) -> dict[str, Any]:
    """For each model, over seeds: how often the first picture is not the text's own; of these mismatches, and of each
    text's best other picture (defined for every text, so that models can be paired), the share of the own category.
    """
    groups = data.groups("test")
    if groups is None:
        return {"rows": [], "reason": "the corpus has no gold categories"}
    config = plus_config(data)
    pairs, ids = data.pairs("test"), data.ids("test")
    systems: dict[str, list[tuple[np.ndarray, np.ndarray, str]]] = {
        "baseline": [(run.text(), run.image(), "cosine") for run in run_baseline(data)],
        "text-teacher": [
            (run.text(), run.image(), run.measure)
            for run in run_models(data, "text-teacher", n_topics=[config.n_topics])
        ],
        "VTM+": [],
        "VTM+, ten largest topics": [],
    }
    for seed in data.experiment.seeds:
        plus = plus_model(data, config, seed)
        theta = plus.theta("text", pairs.text), plus.theta("image", pairs.image)
        systems["VTM+"].append((*theta, "hellinger"))
        systems["VTM+, ten largest topics"].append((*(cut(t, config.kept) for t in theta), "hellinger"))
    labels = np.asarray(groups)
    own = {
        name: [_first_and_best_other(text, image, ids, how) for text, image, how in runs]
        for name, runs in systems.items()
    }
    others = {
        name: np.stack([labels[other] == labels for _, other in runs]) * 1.0 for name, runs in own.items()
    }
    rows = []
    for name, runs in own.items():
        wrong = [first != np.arange(len(ids)) for first, _ in runs]
        of_category = [(labels[first] == labels)[w].mean() for (first, _), w in zip(runs, wrong, strict=True)]
        rows.append(
            {
                "model": name,
                "mismatches": float(np.mean([w.mean() for w in wrong])),
                "own category, mismatches": float(np.mean(of_category)),
                "own category, best other": float(others[name].mean()),
                "interval": list(bootstrap_interval(others[name], n_resamples=N_RESAMPLES)),
                "minus_baseline": paired(others[name], others["baseline"]),
            }
        )
    _, sizes = np.unique(labels, return_counts=True)
    chance = float((sizes * (sizes - 1)).sum() / (len(ids) * (len(ids) - 1)))
    return {"rows": rows, "chance": chance, "examples": _examples(own, ids, labels), "part": "test"}


def _first_and_best_other(
    text: np.ndarray, image: np.ndarray, ids: list[str], how: str
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of each text's first picture, and of the first that is not its own: (n,), (n,)."""
    top, _ = top_items(text, image, ids, k=2, measure=how)
    first = top[:, 0]
    return first, np.where(first == np.arange(len(ids)), top[:, 1], first)


def _examples(
    own: dict[str, list[tuple[np.ndarray, np.ndarray]]], ids: list[str], labels: np.ndarray
) -> list[dict[str, str]]:
    """The first texts, by id, whose first picture is wrong for the baseline and for VTM+ and of another category for one
    of them: seed 0."""
    base, plus = own["baseline"][0][0], own["VTM+"][0][0]
    here = np.arange(len(ids))
    apart = (base != here) & (plus != here) & ((labels[base] == labels) != (labels[plus] == labels))
    return [
        {"text": ids[row], "baseline": ids[base[row]], "VTM+": ids[plus[row]]}
        for row in sorted(np.flatnonzero(apart), key=lambda row: ids[row])[:EXAMPLES]
    ]
