"""What the steps read: each document once an epoch, its own words, noise from its replica's seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from planted import padded_words, planted
from scipy.sparse import csr_matrix, lil_matrix

from vtm.config import ModelConfig
from vtm.model.network import TopicNetwork
from vtm.model.steps import ROOM, STEPS_A_DRAW, Bags, Draws

DATA = planted(90)
SHIFT, SCALE = DATA.text.mean(axis=0), DATA.text.std(axis=0)


def draws(seeds=(0,), *, n=90, target=None, n_topics=5, **config) -> Draws:
    config = ModelConfig(**({"batch_size": 4, "hidden": (6,)} | config))
    network = TopicNetwork(n_inputs=16, n_topics=n_topics, n_words=40, config=config, seeds=seeds)
    network.shift.copy_(torch.from_numpy(SHIFT))
    network.scale.copy_(torch.from_numpy(SCALE))
    return Draws(
        network, torch.from_numpy(DATA.text[:n]), Bags.of(DATA.counts[:n]), seeds=seeds, target=target
    )


def steps(source: Draws):
    """Every step of an epoch, copied out of the buffers."""
    for n_steps in source.epoch():
        for index in range(n_steps):
            yield {name: array.clone() for name, array in source.step(index).items()}


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
                dense.scatter_add_(1, step["words"][replica], step["counts"][replica])
                np.testing.assert_array_equal(dense.numpy(), counts[rows])
                assert torch.equal(step["target_mu"][replica], lesson[0, replica, rows])
                assert torch.equal(step["target_log_var"][replica], lesson[1, replica, rows])
        for rows in seen:
            assert len(rows) == len(set(rows)) == source.documents_an_epoch == 88
        orders += seen
    assert len({tuple(order) for order in orders}) == 4  # shuffled anew, and each replica for itself


def test_draws_are_what_they_claim_to_be():
    source = draws(batch_size=20, dropout=0.2, hidden=(50,), n_topics=40)
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


def with_one_long(n: int, *, words_of_long: int, n_words: int) -> csr_matrix:
    """Documents of one or two words, and as the last one of many."""
    counts = lil_matrix((n, n_words), dtype=np.float32)
    for row in range(n - 1):
        counts[row, row % n_words] = 1 + row % 3
        counts[row, (row * 7 + 1) % n_words] = 2
    counts[n - 1, :words_of_long] = np.arange(1, words_of_long + 1)
    return counts.tocsr()


def test_a_long_document_makes_its_own_filling_wide_and_no_other():
    counts = with_one_long(90, words_of_long=150, n_words=200)
    bags = Bags.of(counts)
    room = ROOM * counts.nnz // 90
    assert (bags.room, bags.longest) == (room, 150) and len(bags.words) == counts.nnz + 90
    x = torch.arange(90.0).unsqueeze(1)  # tells which document a row is
    network = TopicNetwork(
        n_inputs=1, n_topics=5, n_words=200, config=ModelConfig(batch_size=2), seeds=(0, 1)
    )
    source = Draws(network, x, bags, seeds=(0, 1))
    dense = counts.toarray()
    for _ in range(3):
        for n_steps in source.epoch():
            longest = 0
            for batch in (source.step(index) for index in range(n_steps)):
                assert batch["words"].shape == batch["counts"].shape == (2, 2, source.width)
                for replica in (0, 1):
                    rows = batch["x"][replica, :, 0].long().numpy()
                    found = torch.zeros(2, 200)
                    found.scatter_add_(1, batch["words"][replica], batch["counts"][replica])
                    np.testing.assert_array_equal(found.numpy(), dense[rows])
                    longest = max(longest, (dense[rows] > 0).sum(axis=1).max())
            assert source.width == (room if longest <= 2 else 150)


@given(
    arrays(np.int64, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 3)),
    st.integers(0, 6),
    st.integers(1, 7),
)
def test_bags_are_padded_as_their_own_documents_ask_for(dense, start, size):
    """Any part of the documents, as `padded_words` has them alone."""
    counts, part = csr_matrix(dense.astype(np.float32)), slice(start, start + size)
    if start < len(dense):
        for found, expected in zip(Bags.of(counts).padded(part), padded_words(counts[part]), strict=True):
            np.testing.assert_array_equal(found.numpy(), expected)


@given(arrays(np.int64, st.tuples(st.integers(0, 6), st.integers(1, 7)), elements=st.integers(0, 3)))
def test_padded_words_hold_every_count(dense):
    counts = csr_matrix(dense.astype(np.float32))
    word, number = padded_words(counts)
    assert word.dtype == np.int64 and number.dtype == np.float32
    assert word.shape == number.shape == (len(dense), max((dense > 0).sum(axis=1).max(initial=0), 1))
    again = np.zeros_like(dense, dtype=np.float32)
    for row in range(len(dense)):
        np.add.at(again[row], word[row], number[row])
    np.testing.assert_array_equal(again, dense)
