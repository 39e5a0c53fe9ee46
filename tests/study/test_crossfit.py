"""Cross-fitting: intervals, ensembles, settings and controls, against loops and closed forms; and a small whole run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import softmax

from vtm.config import ModelConfig
from vtm.experiment.results import Result
from vtm.metrics.calibration import calibration_error, reliability
from vtm.model.align import AlignConfig
from vtm.model.plus import PlusConfig
from vtm_study import chapter, controls, crossfit, summary


def test_a_resample_draws_clusters_and_models_as_a_loop_does() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 40)), rng.random((2, 40))
    clusters = rng.integers(0, 12, 40)
    found = crossfit.resampled(a, b, clusters, n_resamples=4000)
    members = [np.flatnonzero(clusters == c) for c in np.unique(clusters)]
    drawn = []
    for _ in range(4000):
        items = np.concatenate([members[c] for c in rng.integers(0, len(members), len(members))])
        drawn.append(a[rng.integers(0, 3, 3)][:, items].mean() - b[rng.integers(0, 2, 2)][:, items].mean())
    assert found.difference == pytest.approx(a.mean() - b.mean())
    spread = np.std(drawn)
    assert (found.low, found.high) == pytest.approx(
        tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.15 * spread
    )
    one_side = min((np.array(drawn) <= 0).mean(), (np.array(drawn) >= 0).mean())
    assert found.p == pytest.approx(2 * one_side, abs=0.05)


def test_copies_of_an_item_make_nothing_surer() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((1, 50)), rng.random((1, 50))
    once = crossfit.resampled(a, b, np.arange(50))
    copied = crossfit.resampled(np.repeat(a, 4, axis=1), np.repeat(b, 4, axis=1), np.repeat(np.arange(50), 4))
    apart = crossfit.resampled(np.repeat(a, 4, axis=1), np.repeat(b, 4, axis=1), np.arange(200))
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.05)
    assert apart.high - apart.low < 0.6 * (once.high - once.low)


def test_models_side_by_side_have_the_mean_of_their_similarities() -> None:
    rng = np.random.default_rng(0)
    ids = {part: [str(i) for i in range(5)] for part in ("validation", "test")}

    def result(row: str, measure: str) -> Result:
        sides = rng.dirichlet(np.ones(4), size=(4, 5))
        if row == "baseline":
            sides /= np.linalg.norm(sides, axis=2, keepdims=True)
        names = [f"{part}_{reads}" for part in ("validation", "test") for reads in ("text", "image")]
        return Result(row, 0, 0, measure, "ok", (), ids, dict(zip(names, sides, strict=True)))

    for row, measure in (("baseline", "cosine"), ("plus", "hellinger")):
        results = [result(row, measure) for _ in range(3)]
        text, image = crossfit.together(results, "test")
        of_each = [
            run.text() @ run.image().T if row == "baseline" else np.sqrt(run.text()) @ np.sqrt(run.image()).T
            for run in results
        ]
        whole = text @ image.T / 3 if row == "baseline" else np.sqrt(text) @ np.sqrt(image).T
        np.testing.assert_allclose(whole, np.mean(of_each, axis=0))
    np.testing.assert_allclose(text.sum(axis=1), 1)


def test_the_best_other_picture_is_of_the_texts_category_as_a_loop_finds_it() -> None:
    rng = np.random.default_rng(0)
    text, image = rng.normal(size=(2, 30, 4))
    groups = [f"g{k}" for k in rng.integers(0, 3, 30)]
    expected = []
    for row in range(30):
        scores = text[row] @ image.T / np.linalg.norm(image, axis=1)
        other = max((c for c in range(30) if c != row), key=lambda c: scores[c])
        expected.append(groups[other] == groups[row])
    np.testing.assert_array_equal(crossfit.own_category((text, image), "cosine", groups), expected)


def test_the_temperature_makes_the_own_pictures_likeliest() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 40)) + 1.5 * np.eye(40)
    found = controls.temperature(scores)

    def slope(factor: float) -> float:  # the likelihood's derivative: own score less its expectation
        chance = softmax(factor * scores, axis=1)
        return float((np.diagonal(scores) - (chance * scores).sum(axis=1)).sum())

    assert found == pytest.approx(brentq(slope, 1e-3, 100), rel=1e-3)


def test_reliability_by_hand() -> None:
    said, true = np.array([0.1, 0.9, 0.2, 0.8]), np.array([0.0, 1.0, 1.0, 1.0])
    curve = list(zip(*reliability(said, true, bins=2), strict=True))
    assert curve == [(pytest.approx(0.15), 0.5, 2), (pytest.approx(0.85), 1.0, 2)]
    assert calibration_error(said, true, bins=2) == pytest.approx((0.35 + 0.15) / 2)
    rng = np.random.default_rng(0)
    said = rng.random(20_000)
    assert calibration_error(said, rng.random(20_000) < said) < 0.02


def test_words_without_topics_come_from_the_nearest_pictures(data) -> None:
    own, near = crossfit.nearest_words(data, "validation", 1)
    train, pairs = data.pairs("train"), data.pairs("validation")
    mean, scale = train.image.mean(axis=0), train.image.std(axis=0) + 1e-6
    for row in range(3):
        x = (pairs.image[row] - mean) / scale
        y = (train.image - mean) / scale
        nearest = int(np.argmax(y @ x / np.linalg.norm(y, axis=1)))
        assert set(np.flatnonzero(near[row])) <= set(train.counts[nearest].indices)
        assert set(np.flatnonzero(own[row])) <= set(pairs.counts[row].indices)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory: pytest.TempPathFactory):
    """The study's summary of a small corpus, with small models, all of it measured."""
    small = ModelConfig(epochs=2, batch_size=16)
    settings = {"cca": {"ridge": 0.5}, "baseline": AlignConfig(dim=16, epochs=3)}
    networks = {"teacher_60": 6, "teacher_120": 8, "joint_60": 6, "joint_120": 8, "none_120": 8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_RUNS", str(tmp_path_factory.mktemp("whole")))
        for module in (crossfit, controls, summary):
            patch.setattr(module, "chosen", lambda family, fold=None: settings.get(family, small))
        changed = {n: (kind, networks[n]) for n, (kind, _) in crossfit.NETWORKS.items()}
        for module in (crossfit, summary):
            patch.setattr(module, "NETWORKS", changed)
        for module in (crossfit, controls):
            patch.setattr(module, "PlusConfig", lambda **options: PlusConfig(**{"n_topics": 8, **options}))
        patch.setattr(controls, "THRESHOLDS", controls.THRESHOLDS[-1:])
        patch.setattr(
            controls, "ladder_steps", lambda: [("as published", small, True), ("tuned", small, False)]
        )
        patch.setattr(controls, "K", 8)
        patch.setattr(crossfit, "N_FOLDS", 2)
        patch.setattr(crossfit, "N_RESAMPLES", 200)
        patch.setattr(controls, "CORPORA", ("scenes:n=60", "scenes:n=61"))
        crossfit.fold_data.cache_clear()
        found = summary.measure(data)
        tested = [set(one.ids("test")) for one in crossfit.folds(data.experiment)]
        assert not tested[0] & tested[1]
        yield data, found, sum(map(len, tested))
    crossfit.fold_data.cache_clear()


def test_each_folds_pairs_are_tested_and_what_was_found_agrees(whole) -> None:
    data, found, n_tested = whole
    assert found["split"] == "clusters" and found["items"] == n_tested < len(data.corpus)
    for figure in ("mrr", "r100"):
        assert found[figure].keys() == set(summary.MODELS)
        for value in found[figure].values():
            assert 0 <= value["single"] <= 1 and 0 <= value["five"] <= 1
    assert found["mrr"]["cca"]["single"] == found["mrr"]["cca"]["five"]
    test = found["tests"]["plus_single_minus_baseline_five"]
    assert test["difference"] == pytest.approx(
        found["mrr"]["plus"]["single"] - found["mrr"]["baseline"]["five"]
    )
    assert test["low"] <= test["difference"] <= test["high"] and test["p_holm"] >= test["p"]
    assert {"fused_minus_fused_without_topics", "plus_five_minus_baseline_five"} <= found["tests"].keys()
    assert {f"{name}_r100" for name in crossfit.PAPER} <= found["tests"].keys()
    assert 0 <= found["twins"]["share"] <= 1 and found["as_published_mrr"] == found["ladder"][0]["mrr"]
    assert {"teacher_120", "plus"} <= found["intrusion"].keys() & found["diversity_10"].keys()
    assert found["across"][0]["items"] == 61


def test_the_tables_show_the_summary(whole) -> None:
    _, found, _ = whole
    table = chapter.models_table(found)
    assert table.loc["VTM+", "MRR@100, one"].startswith(f"{found['mrr']['plus']['single']:.3f} [")
    papers = chapter.tests_table(found, "paper")
    assert len(papers) == len(crossfit.PAPER) + 2 and "the paper" in papers
    assert set(papers["MRR@100: verdict"]) <= {
        *("held", "did not hold", "not decided"),
        *("held, but not among so many tests", "did not hold, but not among so many tests"),
    }
    assert sum(chapter.by_verdict(found, "paper").values()) == 2 * len(crossfit.PAPER) + 2
    (axes,) = chapter.tests_figure(found, "paper").axes
    assert len(axes.get_yticklabels()) == len(crossfit.PAPER)
    spans = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2][1:]
    shown = [found["tests"][name] for name in crossfit.PAPER]
    assert sorted(map(tuple, spans)) == sorted((test["low"], test["high"]) for test in shown)
    assert len(chapter.topics_table(found)) == len(crossfit.NETWORKS) + 1
    assert chapter.reliability_figure(found).axes[0].lines


def test_no_distillation_trains_the_two_models_apart(data, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    small = ModelConfig(epochs=2, batch_size=16)
    monkeypatch.setattr(crossfit, "chosen", lambda family, fold=None: small)
    monkeypatch.setattr(crossfit, "NETWORKS", {"with": ("text-teacher", 6), "apart": ("none", 6)})
    one = dataclasses.replace(data, experiment=dataclasses.replace(data.experiment, seeds=(0,)))
    (taught,), (apart,) = crossfit.runs(one, "with"), crossfit.runs(one, "apart")
    # The text model is the teacher, which learns the same either way; only the picture's has nothing to follow.
    np.testing.assert_array_equal(taught.text(), apart.text())
    assert not np.array_equal(taught.image(), apart.image())
    assert any("teacher_kl" in name for name in taught.figures)
    assert not any("teacher_kl" in name for name in apart.figures)
