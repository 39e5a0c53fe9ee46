"""What is said of an update, against what the updated model says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtm.api import VisualTopicModel
from vtm.config import Experiment
from vtm.experiment.prepare import prepare
from vtm_study import updating


def test_what_an_update_keeps_is_what_the_updated_model_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    data = prepare(Experiment("scenes:n=200", "pixels", n_topics=(6,), seeds=(3,)), progress=False)
    updated, partial_fit = [], VisualTopicModel.partial_fit

    def recorded(model: VisualTopicModel, *new: object, **options: object) -> VisualTopicModel:
        updated.append(partial_fit(model, *new, **options))
        return model

    monkeypatch.setattr(VisualTopicModel, "partial_fit", recorded)
    rows = updating.update_rows(data)
    (model,), row = updated, rows[0]
    assert row["joined"] == round(0.1 * len(data.rows["train"])) == model.growth_.n_new
    assert row["earlier"] + row["joined"] == len(data.rows["train"]) == model.n_pairs_
    assert row["stay"] == len(model.growth_.kept) / 6 and row["added"] == len(model.growth_.new)
    assert row["moved"] == pytest.approx(model.growth_.moved, abs=1e-9)
    texts, images = (
        [of[place] for place in data.rows["test"]] for of in (data.corpus.texts, data.corpus.images)
    )
    assert row["ranks"].mean() == pytest.approx(model.score(texts, images))
    assert row["by_topics"].mean() == pytest.approx(model.score(texts, images, measure="cosine"))
    assert [one["way"] for one in rows] == [*updating.WAYS] and rows[1]["moved"] > row["moved"]
    table = updating.update_table(rows)
    assert table.loc["updated", "topics that stay"] == f"{row['stay']:.0%}"
    found = updating.update_numbers(rows)
    assert found["less"] == pytest.approx(found["updated_mrr"] - found["anew_mrr"])
    assert found["low"] <= found["less"] <= found["high"]
    assert (found["verdict"] == "neither more nor less") == (found["low"] <= 0 <= found["high"])
    assert all(type(value) in (float, str) for value in found.values()), "what glue takes"
