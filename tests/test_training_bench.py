"""The benchmark of `fit`: its documents hold what they claim, and its ratios are of its own seconds."""

from __future__ import annotations

import numpy as np
import pytest

from vtm import training_bench
from vtm.training_bench import WORDS_A_TEXT, bench_fit, synthetic

SMALL = dict(n=130, n_words=50, n_inputs=20, n_topics=5)


def test_synthetic_documents_share_topics_between_embedding_and_words():
    x, counts = synthetic(400, n_words=60, n_inputs=16, n_topics=4, seed=3)
    assert x.shape == (400, 16) and x.dtype == np.float32 and counts.shape == (400, 60)
    assert (counts.sum(axis=1) == WORDS_A_TEXT).all() and counts.nnz < 0.3 * counts.shape[0] * counts.shape[1]
    again = synthetic(400, n_words=60, n_inputs=16, n_topics=4, seed=3)
    np.testing.assert_array_equal(x, again[0])
    assert (counts != again[1]).nnz == 0
    assert not np.array_equal(x, synthetic(400, n_words=60, n_inputs=16, n_topics=4, seed=0)[0])
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
            fitted.append(
                (name, options["config"].epochs, len(options.get("seeds", [0])), arguments[0].shape)
            )
            return function(*arguments, **options)

        monkeypatch.setattr(training_bench, name, watched)
    result = bench_fit(**SMALL, epochs=2, repeats=3, seeds_at_once=2, seed=1)
    pairs = [("fit_zeroshot", 2, 1), ("train", 2, 1), ("train", 2, 2)]
    warm, doubled = ([("fit_zeroshot", e, 1), ("train", e, 1)] for e in (1, 4))
    assert [call[:3] for call in fitted] == [*warm, *3 * pairs, *doubled]
    assert {call[3] for call in fitted} == {(130, 20)}  # held-out documents are not trained on
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
