"""How VTM+'s settings are chosen, against ranks and means taken one at a time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import softmax

from vtm.experiment.prepare import prepare
from vtm.metrics.ranking import similarity
from vtm.model.plus import PlusConfig
from vtm_study import validation


def test_candidates_are_judged_on_the_validation_parts_of_all_folds(data, runs, monkeypatch) -> None:
    monkeypatch.setattr(validation, "PlusConfig", lambda n_topics=8: PlusConfig(n_topics=n_topics))
    monkeypatch.setattr(validation, "CANDIDATES", {"n_topics": (5,)})
    found = validation.choose(data)
    rows = {row["setting"]: row for row in found["rows"]}
    assert list(rows) == ["default", validation.ANCHORS_ALONE, "n_topics = 5"]
    ids, by_fold = [], {"default": [], validation.ANCHORS_ALONE: []}
    for number in range(5):
        fold = prepare(dataclasses.replace(data.experiment, fold=number), progress=False)
        ids += fold.ids("validation")
        pairs, seeds = fold.pairs("validation"), {name: [] for name in by_fold}
        for seed in data.experiment.seeds:
            model = validation.plus_model(fold, PlusConfig(n_topics=8), seed)
            sides = {"default": [model.theta(r, pairs.embeddings(r)) for r in ("text", "image")]}
            directions = model.config.pair_concentration * model.anchors[0].T
            sides[validation.ANCHORS_ALONE] = [
                softmax(model.space.embed(r, pairs.embeddings(r)) @ directions, axis=1)
                for r in ("text", "image")
            ]
            for name, thetas in sides.items():
                alike = similarity(*thetas, measure="hellinger")
                own = np.diagonal(alike)[:, None]
                seeds[name].append((1 / (alike >= own - 1e-9).sum(axis=1)).mean())
        for name, values in seeds.items():
            by_fold[name].append(np.mean(values))
    assert len(set(ids)) == len(ids)
    for name, values in by_fold.items():
        assert rows[name]["posterior_mrr_by_fold"] == pytest.approx(values)
        assert rows[name]["posterior_mrr"]["mean"] == pytest.approx(np.mean(values))
    assert rows["n_topics = 5"]["config"]["n_topics"] == 5
