"""The benchmark of `fit`: its documents hold what they claim, and its ratios are of its own seconds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import training as grid_bench
from benchmarks import training as training_bench
from benchmarks.__main__ import run_bench
from benchmarks.growth import WORDS_A_TEXT, draw_documents
from benchmarks.training import bench_fit, bench_grid, bench_quality
from vtm.config import ModelConfig
from vtm.errors import ConfigError
from vtm_study import costs

SMALL = dict(n=130, n_words=50, n_inputs=20, n_topics=5)


def test_drawn_documents_share_topics_between_embedding_and_words():
    sizes = dict(n_words=60, n_inputs=16, n_topics=4)
    drawn = draw_documents(None, 400, **sizes, seed=3)
    x, counts = drawn.x, drawn.counts
    assert x.shape == (400, 16) and x.dtype == np.float32 and counts.shape == (400, 60)
    assert (counts.sum(axis=1) == WORDS_A_TEXT).all() and counts.nnz < 0.3 * counts.shape[0] * counts.shape[1]
    again = draw_documents(None, 400, **sizes, seed=3)
    np.testing.assert_array_equal(x, again.x)
    assert (counts != again.counts).nnz == 0
    assert not np.array_equal(x, draw_documents(None, 400, **sizes, seed=0).x)
    # The nearest other document by embedding shares more words than one at random.
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    similarity = unit @ unit.T - 2 * np.eye(400)
    shared = (counts @ counts.T).toarray()
    nearest = shared[np.arange(400), similarity.argmax(axis=1)].mean()
    assert nearest > 1.5 * shared[~np.eye(400, dtype=bool)].mean()


def test_the_ratios_are_those_of_the_seconds(monkeypatch):
    pytest.importorskip(
        "contextualized_topic_models.models.ctm",
        reason="the reference package is not installed (extra 'reference')",
    )
    fitted = []
    for name in ("fit_zeroshot", "train"):
        function = getattr(training_bench, name)

        def watched(*arguments, name=name, function=function, **options):
            size, threads = len(options.get("seeds", [0])), torch.get_num_threads()
            fitted.append((name, options["config"].epochs, size, threads, arguments[0].shape))
            return function(*arguments, **options)

        monkeypatch.setattr(training_bench, name, watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = bench_fit(**SMALL, epochs=2, repeats=3, seeds_at_once=2, seed=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    one, two = ("fit_zeroshot", 2, 1, 1), ("fit_zeroshot", 2, 1, 2)
    rounds = 3 * [one, two, ("train", 2, 1, 2), ("train", 2, 2, 2)]
    warm = [("fit_zeroshot", 1, 1, 2), ("train", 1, 1, 2)]
    best = result["reference_threads"]
    doubled = [("fit_zeroshot", 4, 1, best), ("train", 4, 1, 2)]
    assert [call[:4] for call in fitted] == [*warm, *rounds, *doubled]
    assert {call[4] for call in fitted} == {(130, 20)}  # held-out documents are not trained on
    by_threads = result["reference_seconds_by_threads"]
    assert best == min((1, 2), key=lambda count: np.median(by_threads[str(count)]))
    assert result["reference_seconds"] == by_threads[str(best)]
    ratios = np.divide(result["reference_seconds"], result["seconds"])
    assert result["ratio"] == pytest.approx(
        {"median": np.median(ratios), "low": ratios.min(), "high": ratios.max()}
    )
    ratios = 2 * np.divide(result["reference_seconds"], result["side_by_side_seconds"])
    assert result["side_by_side_ratio"]["median"] == pytest.approx(np.median(ratios))
    assert {name: result[name] for name in SMALL} == SMALL
    assert set(result["doubled"]) == set(result["held_out"]) == {"reference", "ours"}
    # Two epochs leave both near a model that knows nothing: log V for each word.
    for loss in result["held_out"].values():
        assert loss == pytest.approx(WORDS_A_TEXT * np.log(50), rel=0.3)
    for name, losses in result["held_out_by_seed"].items():
        assert len(set(losses)) == 3, "each round trains another seed"
        assert result["held_out"][name] == pytest.approx(np.mean(losses))


def test_the_reference_fit_stays_off_a_gpu_that_is_not_measured(monkeypatch):
    pytest.importorskip("contextualized_topic_models.models.ctm", reason="extra 'reference'")
    asked = []
    monkeypatch.setattr(
        training_bench, "fit_zeroshot", lambda *_, **__: asked.append(torch.cuda.is_available())
    )
    monkeypatch.setattr(training_bench, "copy_weights", lambda *_, **__: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    drawn = draw_documents(None, 20, n_words=9, n_inputs=4, n_topics=3)
    for device in ("cpu", "cuda"):
        options = {"n_topics": 3, "config": ModelConfig(), "seed": 0, "device": device}
        training_bench.reference_network(drawn.x, drawn.counts, **options)
    assert asked == [False, True]


def test_the_grid_counts_each_model_as_one_fit(monkeypatch):
    pytest.importorskip("contextualized_topic_models.models.ctm", reason="extra 'reference'")
    trained = []
    train_pair = grid_bench.train_pair

    def watched(kind, pairs, words, **options):
        trained.append((kind, options["n_topics"], list(options["seeds"]), options["device"]))
        return train_pair(kind, pairs, words, **options)

    monkeypatch.setattr(grid_bench, "train_pair", watched)
    sizes = {"n": 130, "n_words": 50, "n_inputs": 20, "sizes": (4, 6)}
    found = bench_grid(device="cpu", **sizes, n_seeds=2, epochs=2, repeats=1, seed=1)
    once = [(kind, size, [1, 2], "cpu") for kind in ("joint", "text-teacher") for size in (4, 6)]
    assert trained == 2 * once  # one of them not counted
    # A teacher and a student, or a teacher and two, for each size and seed.
    assert found["models"] == 5 * 2 * 2 and found["device"] == "cpu"
    whole = 10 * (found["fit_seconds"]["4"][0] + found["fit_seconds"]["6"][0])
    assert found["reference_seconds"] == pytest.approx([whole])
    assert found["ratio"]["median"] == pytest.approx(whole / found["seconds"][0])
    for losses in found["held_out"].values():
        assert all(loss == pytest.approx(WORDS_A_TEXT * np.log(50), rel=0.3) for loss in losses.values())


@pytest.mark.parametrize(("device", "why"), [("mps", "'cpu' or 'cuda'"), ("cuda", "no CUDA device")])
def test_a_device_that_is_not_there_is_named_before_anything_runs(monkeypatch, device, why):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(grid_bench, "train_pair", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ConfigError, match=why):
        run_bench(device=device)


def test_quality_by_time_has_every_training_of_every_fold_and_seed():
    options = {"encoder": "pixels", "n_topics": 4, "n_seeds": 2, "epochs": (1, 2), "folds": (0, 1)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_bench, "thread_counts", lambda: [1])
        patch.setattr(training_bench, "BEFORE", ModelConfig(epochs=2))
        found = bench_quality(corpora=("scenes:n=60",), **options)
    trained = [(row["setting"], row["epochs"], row["fold"], row["seed"]) for row in found["rows"]]
    assert sorted(trained) == [
        (setting, epochs, fold, seed)
        for setting, counts in (("before", (2,)), ("lr 0.006", (1, 2)), ("lr 0.01", (1, 2)))
        for epochs in counts
        for fold in (0, 1)
        for seed in (0, 1)
    ]
    assert all(0 <= row["mrr"] <= 1 and row["seconds"] > 0 for row in found["rows"])
    assert {row["npmi_text"] for row in found["rows"]} != {row["npmi_image"] for row in found["rows"]}


def test_the_share_of_the_time_is_that_of_the_quickest_training_that_is_no_worse():
    def row(setting, epochs, mrr, npmi, seconds):
        own = {"corpus": "drawn", "setting": setting, "epochs": epochs, "npmi_text": npmi, "npmi_image": -1.0}
        # Two seeds, of which the mean counts.
        return [own | {"mrr": mrr + d, "seconds": seconds} for d in (-0.01, 0.01)]

    rows = [*row("before", 100, 0.2, 0.0, 8.0), *row("lr 0.006", 10, 0.19, -0.1, 1.0)]
    rows += [*row("lr 0.006", 20, 0.21, -0.1, 2.0), *row("lr 0.01", 30, 0.3, -0.1, 3.0)]
    found = {"details": {"quality": {"rows": rows}}}
    by_figure = {row["figure"]: row for row in costs.quality_rows(found)}
    assert (
        by_figure["mrr"]["share"] == pytest.approx(0.25) and by_figure["mrr"]["how"] == "20 epochs, lr 0.006"
    )
    assert "share" not in by_figure["npmi_text"]  # none is as good
    assert by_figure["npmi_image"]["seconds"] == 1.0  # an equal one is no worse
    table = costs.quality_table(found)
    assert table["share of the time"].tolist() == ["0.25", "–", "0.12"]
    assert costs.quality_rows({"details": {}}) == []
