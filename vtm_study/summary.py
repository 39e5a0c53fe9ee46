"""The study's answer: families of models cross-fitted, their tests, and what they are held against."""

from __future__ import annotations

import dataclasses
from typing import Any

from vtm.experiment.prepare import Prepared
from vtm_study.controls import CONTROLS, control
from vtm_study.crossfit import MODELS, NETWORKS, collect, figures, tests, topic_means
from vtm_study.grid import chosen


def measure(data: Prepared) -> dict[str, Any]:
    """Everything; what is trained is kept on disk, so that a run that was interrupted goes on there.

    "mrr" and "r100": name -> MRR@100 and recall at 100 of a single model, mean over seeds, and of all seeds' models
    together ("five"). What has no seed has one value for both.
    """
    experiment = dataclasses.replace(data.experiment, fold=0)
    items, of_folds = collect(experiment)
    found = {figure: figures(items, figure) for figure in ("mrr", "r100")}
    topics = topic_means(of_folds)
    beside = {name: control(name, experiment) for name in CONTROLS}
    return {
        "split": "clusters",
        "items": len(items.clusters),
        "clusters": len(set(items.clusters.tolist())),
        **{
            figure: {name: {kind: of[name][kind] for kind in ("single", "five")} for name in MODELS}
            for figure, of in found.items()
        },
        "intervals": found,
        "plus_top10_mrr": found["mrr"]["plus_top10"]["single"],
        "fused_mrr": found["mrr"]["fused"]["five"],
        "tests": tests(items),
        **beside,
        "as_published_mrr": beside["ladder"][0]["mrr"],
        "intrusion": {name: of["intrusion"] for name, of in topics.items()},
        "diversity_10": {name: of["diversity_10"] for name, of in topics.items()},
        "topics": topics,
        "category": {name: float(of.mean()) for name, of in items.category.items()},
        "named_share": float(items.named.mean()),
        "statuses": {name: sum([of["statuses"][name] for of in of_folds], []) for name in MODELS},
        "settings": {
            family: dataclasses.asdict(chosen(family))
            for family in ("baseline", *{kind for kind, _ in NETWORKS.values()})
        }
        | {"cca": chosen("cca")},
        "seeds_of": {name: len(of_folds[0]["statuses"][name]) for name in MODELS},
    }
