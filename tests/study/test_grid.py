"""The grid of settings: draws, finalists and the choice of one, with planted scores; rows against other ways to them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vtm.config import ModelConfig
from vtm.files import read_sealed, results_dir
from vtm.model.align import AlignConfig
from vtm.model.distill import train_pair
from vtm_study import grid


def test_drawn_settings_have_each_value_as_often() -> None:
    settings = grid.drawn(grid.NETWORKS, 18)
    for name, values in grid.NETWORKS.items():
        often = [sum(setting[name] == value for setting in settings) for value in values]
        assert often == [18 // len(values)] * len(values)
    assert settings == grid.drawn(grid.NETWORKS, 18)
    assert grid.network_settings()[1] == grid.PAPER and grid.PAPER.kl_weight == 1


def rows_of(score) -> list[dict]:
    """A row of each setting of the grid and each fold, with a score that is planted."""
    return [
        {
            "family": "joint",
            "config": dataclasses.asdict(c),
            "fold": fold,
            "round": number,
            "mrr_cosine": score(c, fold),
        }
        for c in grid.network_settings()
        for fold in range(5)
        for number in (1, 2)
    ]


def test_finalists_have_what_helps_by_itself() -> None:
    def planted(config: ModelConfig, fold: int) -> float:
        good = (
            2 * (config.hidden == (400,))
            + (config.dropout == 0)
            + (config.lr == 6e-3)
            + (config.epochs == 60)
        )
        return 0.1 * np.exp(0.3 * good - 0.05 * fold)

    best, *others = grid.finalists(rows_of(planted), "joint")
    wanted = {"hidden": (400,), "dropout": 0.0, "lr": 6e-3, "epochs": 60}
    assert len(others) == 3
    assert all({name: one[name] for name in wanted} == wanted for one in others)
    assert best in [{name: getattr(c, name) for name in grid.NETWORKS} for c in grid.network_settings()]


def test_a_folds_setting_does_not_look_at_its_own_test_pairs() -> None:
    settings = grid.network_settings()

    def planted(config: ModelConfig, fold: int) -> float:
        # Setting 5 is best because of fold 2, whose validation part lies in the test part of fold 3.
        return {5: 0.9 if fold == 2 else 0.1, 7: 0.25}.get(settings.index(config), 0.15)

    rows = rows_of(planted)
    assert grid.choose(rows, "joint") == settings[5] == grid.choose(rows, "joint", 0)
    assert grid.choose(rows, "joint", 3) == settings[7]
    # A setting that was not measured on all final folds is not chosen.
    partial = [row for row in rows if row["fold"] != 4 or row["config"] != dataclasses.asdict(settings[5])]
    assert grid.choose(partial, "joint") == settings[7]


def test_rows_are_what_ranking_the_validation_part_gives(data) -> None:
    config = ModelConfig(epochs=2, batch_size=16)
    rows = {row["family"]: row for row in grid.network_rows(data, config, n_topics=6, seed=3)}
    assert rows.keys() == {"joint", "text-teacher", "none"}
    models = train_pair(
        "joint",
        data.pairs("train"),
        data.vocabulary.words,
        n_topics=6,
        config=config,
        seeds=[3],
        device="cpu",
    )[3]
    pairs = data.pairs("validation")
    text, image = models.text.theta(pairs.text), models.image.theta(pairs.image)
    units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (text, image)]
    scores = units[0] @ units[1].T
    ranks = (scores >= np.diagonal(scores)[:, None] - 1e-9).sum(axis=1)
    assert rows["joint"]["mrr_cosine"] == pytest.approx(np.mean(1 / ranks * (ranks <= 100)))
    assert rows["joint"]["config"] == dataclasses.asdict(config)
    cca = grid.cca_row(data, {"ridge": 0.5})
    baseline = grid.baseline_row(data, AlignConfig(dim=16, epochs=2), seed=0)
    assert 0 < cca["mrr_cosine"] <= 1 and baseline["epochs"] <= 2


def test_a_row_is_measured_once(data, runs, monkeypatch: pytest.MonkeyPatch) -> None:
    config = AlignConfig(dim=16, epochs=2)
    (row,) = grid._kept_rows(data, config, "baseline")
    monkeypatch.setattr(grid, "baseline_row", lambda *_, **__: pytest.fail("a row was measured again"))
    assert grid._kept_rows(data, config, "baseline") == [row] and row["fold"] == 0


def test_the_defaults_are_among_the_settings_of_the_stored_grid() -> None:
    """They come from an earlier run of the search; what it chooses for each fold today, the chapter shows."""
    rows = read_sealed(results_dir() / "study" / "grid.json")["rows"]
    assert {row["family"] for row in rows} == set(grid.FAMILIES)
    assert grid.choose(rows, "cca").keys() == grid.CCAS.keys()
    finalists = [
        ModelConfig(**row["config"]) for row in rows if (row["family"], row["round"]) == ("text-teacher", 2)
    ]
    assert finalists.count(ModelConfig()) == len(grid.FINAL_FOLDS)
    tried = [row for row in rows if (row["family"], row["round"]) == ("baseline", 1)]
    default, *_ = [row for row in tried if AlignConfig(**row["config"]) == AlignConfig()]
    better = [row for row in tried if row["mrr_cosine"] > default["mrr_cosine"]]
    assert len(better) < len(tried) / 2
