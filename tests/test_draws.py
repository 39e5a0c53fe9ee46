"""What the steps read: each document once an epoch, its own words, noise from its replica's seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import planted

from vtm.bow import padded_words
from vtm.config import ModelConfig
from vtm.draws import STEPS_A_DRAW, Documents, Draws

DATA = planted(90)
SHIFT, SCALE = DATA.text.mean(axis=0), DATA.text.std(axis=0)


def documents(n=90, *, target=None) -> Documents:
    words, numbers = padded_words(DATA.counts[:n])
    arrays = (DATA.text[:n], SHIFT, SCALE, words, numbers)
    return Documents(*(torch.from_numpy(array) for array in arrays), target=target)


def draws(seeds=(0,), *, n=90, target=None, widths=(6, 5), **config) -> Draws:
    config = ModelConfig(**({"batch_size": 4} | config))
    return Draws(documents(n, target=target), widths=widths, config=config, seeds=seeds)


def steps(source: Draws):
    """Every step of an epoch, copied out of the buffers."""
    for n_steps in source.epoch():
        for index in range(n_steps):
            batch = vars(source.step(index))
            yield {name: array.clone() for name, array in batch.items() if array is not None}


def test_a_seeds_draws_do_not_depend_on_its_neighbours():
    """Batches, dropout and noise to the bit, over more steps than are drawn at once."""
    assert 90 // 4 > STEPS_A_DRAW
    together, alone = draws((7, 0)), draws((0,))
    for _ in range(2):
        pairs = list(zip(steps(together), steps(alone), strict=True))
        assert len(pairs) == 90 // 4
        for several, one in pairs:
            for name in one:
                assert torch.equal(several[name][1], one[name][0]), name
            for name in ("x", "keep_hidden", "keep_theta", "noise"):
                assert not torch.equal(several[name][0], several[name][1]), name


def test_each_document_comes_once_with_its_own_words_and_lesson():
    lesson = torch.randn(2, 2, 90, 5)
    source = draws((3, 4), target=tuple(lesson))
    x = ((DATA.text - SHIFT) / SCALE).astype(np.float32)
    counts = DATA.counts.toarray()
    orders = []
    for _ in range(2):
        seen = [[], []]
        for step in steps(source):
            for replica in (0, 1):
                distance = np.abs(step["x"][replica].numpy()[:, None] - x[None]).max(axis=2)  # (B, n)
                rows = distance.argmin(axis=1)
                assert distance.min(axis=1).max() < 1e-4
                seen[replica] += rows.tolist()
                dense = torch.zeros(4, counts.shape[1])
                dense.scatter_add_(1, step["words"][replica], -step["minus_counts"][replica])
                np.testing.assert_array_equal(dense.numpy(), counts[rows])
                np.testing.assert_array_equal(step["n_words"][replica, :, 0], counts[rows].sum(axis=1))
                assert torch.equal(step["target_mu"][replica], lesson[0, replica, rows])
                assert torch.equal(step["target_log_var"][replica], lesson[1, replica, rows])
        for rows in seen:
            assert len(rows) == len(set(rows)) == source.documents_an_epoch == 88
        orders += seen
    assert len({tuple(order) for order in orders}) == 4  # shuffled anew, and each replica for itself


def test_draws_are_what_they_claim_to_be():
    source = draws(batch_size=20, dropout=0.2, widths=(50, 40))
    drawn = [step for _ in range(3) for step in steps(source)]
    assert len(drawn) == 3 * 4
    hidden, topics, noise = (
        torch.cat([step[name] for step in drawn]) for name in ("keep_hidden", "keep_theta", "noise")
    )
    for mask in (hidden, topics):
        assert set(mask.unique().tolist()) == {0.0, 1.25}
        assert mask.mean().item() == pytest.approx(1, abs=0.03)
    assert noise.mean().item() == pytest.approx(0, abs=0.05)
    assert noise.std().item() == pytest.approx(1, abs=0.05)


def test_no_dropout_keeps_everything():
    for step in steps(draws(n=8, dropout=0.0)):
        assert (step["keep_hidden"] == 1).all() and (step["keep_theta"] == 1).all()


def test_fewer_documents_than_a_batch_are_one_batch():
    source = draws(n=7, batch_size=64)
    (step,) = steps(source)
    assert step["x"].shape == (1, 7, 16) and source.documents_an_epoch == 7
