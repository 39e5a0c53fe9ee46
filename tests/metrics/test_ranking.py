"""Ranks against slow loops; the tie rule; and that neither order nor shared noise can make a rank better."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import jensenshannon

from vtm.errors import ConfigError, DataError
from vtm.metrics import ranking
from vtm.metrics.ranking import (
    MEASURES,
    NOT_FOUND,
    best_columns,
    best_of,
    similarity,
    target_ranks,
    top_items,
)
from vtm.metrics.retrieval import expected_random, retrieval_figures


def names(n: int, prefix: str = "i") -> list[str]:
    return [f"{prefix}{k:04d}" for k in range(n)]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def distributions(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    theta = softmax(rng.normal(size=(n, k)) * 2)
    theta[0] = 0.0
    theta[0, 0] = 1.0  # zeros, where the logarithm must not be taken
    return theta


def slow_similarity(p: np.ndarray, q: np.ndarray, measure: str) -> float:
    """By the book, one pair at a time."""
    if measure == "cosine":
        lengths = sum(a * a for a in p) ** 0.5 * sum(b * b for b in q) ** 0.5
        return sum(a * b for a, b in zip(p, q, strict=True)) / lengths
    if measure == "dot":
        return sum(a * b for a, b in zip(p, q, strict=True))
    if measure == "hellinger":
        distance = np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / np.sqrt(2)
        return 1 - distance**2
    return -(jensenshannon(p, q) ** 2)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("block", [2**23, 7])
def test_similarity_is_the_textbook_formula(measure, block, monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK_VALUES", block)
    rng = np.random.default_rng(0)
    queries, items = distributions(rng, 7, 5), distributions(rng, 11, 5)
    found = similarity(queries, items, measure=measure)
    expected = [[slow_similarity(p, q, measure) for q in items] for p in queries]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_zero_vectors_have_no_cosine_and_huge_ones_do():
    found = similarity([[0.0, 0.0], [3e200, 4e200], [1e-200, 0.0]], [[1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(found, [[0, 0], [0.6, 0], [1, 0]], atol=1e-15)


@pytest.mark.parametrize(
    ("queries", "items", "measure", "error", "words"),
    [
        ([[1.0, 2.0]], [[1.0]], "cosine", DataError, "2 columns and items 1"),
        ([[1.0], [np.nan]], [[1.0]], "cosine", DataError, "queries.*row 1"),
        ([[1.0]], [[np.inf]], "dot", DataError, "items.*row 0"),
        ([1.0], [[1.0]], "cosine", DataError, "shape"),
        (np.empty((0, 2)), [[1.0, 0.0]], "cosine", DataError, "queries"),
        ([[1.0, 0.0]], [[0.7, 0.7]], "hellinger", DataError, "items.*sum to 1"),
        ([[1.5, -0.5]], [[0.5, 0.5]], "jensen-shannon", DataError, "queries.*negative"),
        ([[1e300]], [[1e300]], "dot", DataError, "overflow"),
        ([[1.0]], [[1.0]], "euclid", ConfigError, "cosine"),
    ],
)
def test_bad_input_is_named(queries, items, measure, error, words):
    with pytest.raises(error, match=words):
        similarity(np.array(queries), np.array(items), measure=measure)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: similarity([[1.0]], [[1.0]], measure="euclid"),
            "measure='euclid': choose from cosine, dot, hellinger, jensen-shannon",
        ),
        (
            lambda: similarity([[1.0], [np.nan], [np.inf]], [[1.0]]),
            "queries: NaN or infinity in 2 of 3 rows, the first is row 1",
        ),
        (
            lambda: similarity([[1.0]], [[np.nan]]),
            "items: NaN or infinity in 1 of 1 row, the first is row 0",
        ),
        (
            lambda: similarity([[0.5, 0.5]], [[0.5, 0.5], [1.5, -0.5], [0.5, 0.5]], measure="hellinger"),
            "items: hellinger compares distributions, but 1 of 3 rows are negative or do not sum to 1, "
            "the first is row 1; use cosine",
        ),
        (
            lambda: similarity([[1e300]], [[1e300]], measure="dot"),
            "dot: the products of these vectors overflow; use cosine, or scale them down",
        ),
        (
            lambda: top_items([[1.0]], [[1.0]], ["a", "b"], k=1),
            "2 item ids for 1 row: each row needs its own",
        ),
        (lambda: top_items([[1.0]], [[1.0]], ["a"], k=0), "k must be at least 1, not 0"),
        (
            lambda: target_ranks(np.eye(3), np.eye(3), ["a", "b", "c"], ["x", "y", "z"], {"b": "x"}),
            "targets: no item named for 2 queries, the first is 'a'",
        ),
        (
            lambda: target_ranks(np.eye(2), np.eye(2), ["a", "b"], ["x", "y"], {"a": "x"}),
            "targets: no item named for 1 query, the first is 'b'",
        ),
    ],
)
def test_what_cannot_be_is_said_in_these_words(call, message):
    with pytest.raises((ConfigError, DataError), match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("n", [2, 8, 64])
def test_products_that_overflow_both_ways_are_refused_without_a_warning(n):
    """Long rows are summed in several parts; where one is inf and another -inf, their sum is invalid."""
    signs = np.resize([1.0, -1.0], n)
    with warnings.catch_warnings(), pytest.raises(DataError, match="overflow"):
        warnings.simplefilter("error")
        similarity(np.full((1, n), 1e200), 1e200 * signs[None], measure="dot")


@pytest.mark.parametrize("measure", MEASURES)
def test_single_precision_is_computed_in_double(measure):
    rng = np.random.default_rng(5)
    queries, items = (distributions(rng, n, 40).astype(np.float32) for n in (6, 9))
    found = similarity(queries, items, measure=measure)
    np.testing.assert_array_equal(
        found, similarity(queries.astype(np.float64), items.astype(np.float64), measure=measure)
    )


@pytest.mark.parametrize("kind", [int, bool, object])
def test_numbers_of_other_kinds_are_numbers(kind):
    rows = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1]])
    for measure in ("cosine", "dot"):
        found = similarity(rows.astype(kind), rows.astype(kind).tolist(), measure=measure)
        np.testing.assert_array_equal(
            found, similarity(rows.astype(float), rows.astype(float), measure=measure)
        )


def test_nearly_normalised_rows_are_normalised():
    p = np.array([[0.2, 0.3, 0.5]])
    for factor in (1.0009, 0.9991):
        assert similarity(p * factor, p, measure="hellinger")[0, 0] == pytest.approx(1, abs=1e-12)
        assert similarity(p * factor, p, measure="jensen-shannon")[0, 0] == pytest.approx(0, abs=1e-12)


def test_no_divergence_is_negative():
    p = distributions(np.random.default_rng(6), 200, 17)
    found = similarity(p, p, measure="jensen-shannon")
    assert found.max() <= 0 and np.abs(np.diag(found)).max() < 1e-12


@pytest.mark.parametrize("held", [1, 22, 23, 10**6])
def test_blocks_hold_no_more_than_they_may_and_every_row_once(held, monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK_VALUES", held)
    left, right = np.eye(7, 4), np.eye(11, 4)
    rows = [rows for rows, _ in ranking._blocks(left, right, "dot")]
    assert [row for some in rows for row in range(some.start, some.stop)] == list(range(7))
    assert max(some.stop - some.start for some in rows) == min(7, max(1, held // 11))


@pytest.mark.parametrize("held", [1, 24, 10**6])
def test_divergences_hold_no_more_than_they_may_and_compute_each_once(held, monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK_VALUES", held)
    sizes, inner = [], ranking._x_log_x
    monkeypatch.setattr(ranking, "_x_log_x", lambda x: sizes.append((x.ndim, x.size)) or inner(x))
    rng = np.random.default_rng(7)
    ranking._minus_jensen_shannon(distributions(rng, 5, 4), distributions(rng, 9, 4))
    (_, own), *sums = [each for each in sizes if each[0] == 2]
    assert own == 9 * 4 and sum(size for _, size in sums) == 5 * 9 * 4
    # A row at least; else as many as fit, beside their logarithms.
    assert max(size for _, size in sums) == min(9 * 4, 4 * max(1, held // (2 * 4)))


def test_an_item_just_within_the_tolerance_counts_against_the_target():
    ids = ["a", "b"]

    def rank(gap: float) -> int:
        items = np.array([[0.0], [-gap]])
        return target_ranks(np.ones((1, 1)), items, ["a"], ids, measure="dot").ranks[0]

    assert [rank(gap) for gap in (0.0, 0.9e-9, 1e-9, 1.1e-9, 1.9e-9)] == [2, 2, 2, 1, 1]


def test_the_tolerance_of_products_grows_with_the_largest_item_not_with_their_number():
    query = np.array([[1e3, 0.0]])
    items = np.full((400, 2), [0.0, 1e3])
    items[0] = 500.0, 0.0  # its product is 5e5, and nothing else is near it
    for gap, expected in ((0.5e-3, 2), (5e-3, 1)):
        items[1] = 500.0 - gap / 1e3, 0.0
        found = target_ranks(query, items, ["i0000"], names(400), measure="dot")
        assert found.ranks.tolist() == [expected]


def slow_ranks(queries, items, query_ids, item_ids, targets, measure) -> list[int]:
    """1 + the others that come at least as close, one pair at a time; none for a target that is missing."""
    ranks = []
    for query, query_id in zip(queries, query_ids, strict=True):
        target = targets[query_id]
        if target not in item_ids:
            ranks.append(NOT_FOUND)
            continue
        own = slow_similarity(query, items[item_ids.index(target)], measure)
        others = [i for i in range(len(items)) if item_ids[i] != target]
        ranks.append(1 + sum(slow_similarity(query, items[i], measure) >= own - 1e-9 for i in others))
    return ranks


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("block", [2**23, 50])
def test_ranks_match_a_slow_loop_with_ties(measure, block, monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK_VALUES", block)
    rng = np.random.default_rng(1)
    items = distributions(rng, 24, 6)
    items[5:9] = items[4]  # a tie of five
    queries = distributions(rng, 30, 6)
    query_ids, item_ids = names(30, "q"), list(rng.permutation(names(24)))
    targets = {q: item_ids[n] if n < 24 else f"gone{n}" for n, q in enumerate(query_ids)}
    found = target_ranks(queries, items, query_ids, item_ids, targets, measure=measure)
    assert found.ranks.tolist() == slow_ranks(queries, items, query_ids, item_ids, targets, measure)
    assert found.ids == tuple(query_ids)
    assert found.n_items == 24
    assert found.found.sum() == 24


def test_a_collapsed_model_ranks_every_target_last():
    same = np.tile([[0.2, 0.3, 0.5]], (9, 1))
    for measure in MEASURES:
        assert (target_ranks(same, same, names(9), names(9), measure=measure).ranks == 9).all()
    # Rounding noise of float64 is not a preference either.
    noisy = same * (1 + np.random.default_rng(0).normal(size=same.shape) * 1e-15)
    assert (target_ranks(noisy, noisy, names(9), names(9)).ranks == 9).all()
    large = noisy * 1e6
    assert (target_ranks(large, large, names(9), names(9), measure="dot").ranks == 9).all()


def test_a_missing_target_stays_in_the_denominator():
    eye = np.eye(4)
    found = target_ranks(eye, eye[:3], names(4), names(3))
    assert found.ranks.tolist() == [1, 1, 1, NOT_FOUND]
    assert retrieval_figures(found.ranks)["recall_100"] == 0.75


@pytest.mark.parametrize(
    ("query_ids", "item_ids", "targets", "words"),
    [
        (["a", "a"], ["a", "b"], None, "query id 'a'"),
        (["a", "b"], ["b", "b"], None, "item id 'b'"),
        (["a"], ["a", "b"], None, "1 query id for 2 rows"),
        (["a", "b"], ["a", "b", "c"], None, "3 item ids for 2 rows"),
        (["a", "b"], ["a", "b"], {"a": "b"}, "'b'"),
    ],
)
def test_bad_ids_are_named(query_ids, item_ids, targets, words):
    with pytest.raises(DataError, match=words):
        target_ranks(np.eye(2), np.eye(2), query_ids, item_ids, targets)


# Coarse values, so that ties are common.
coarse = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1 / 3])


@settings(deadline=None, max_examples=60)
@given(data=st.data(), n=st.integers(2, 12), k=st.integers(2, 4), measure=st.sampled_from(MEASURES))
def test_permuting_queries_or_items_changes_no_figure(data, n, k, measure):
    theta = data.draw(hnp.arrays(np.float64, (2, n, k), elements=coarse)) + 1e-3
    text, image = theta / theta.sum(axis=2, keepdims=True)
    query_order = np.array(data.draw(st.permutations(range(n))))
    item_order = np.array(data.draw(st.permutations(range(n))))
    ids = np.array(names(n))

    before = target_ranks(text, image, ids, ids, measure=measure)
    after = target_ranks(
        text[query_order], image[item_order], ids[query_order], ids[item_order], measure=measure
    )
    assert dict(zip(before.ids, before.ranks, strict=True)) == dict(zip(after.ids, after.ranks, strict=False))
    assert retrieval_figures(before.ranks) == retrieval_figures(after.ranks)

    top, _ = top_items(text, image, ids, k=3, measure=measure)
    moved, _ = top_items(text, image[item_order], ids[item_order], k=3, measure=measure)
    assert (ids[top] == ids[item_order][moved]).all()


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("block", [2**23, 50])
def test_top_items_are_a_sort_by_similarity_then_id(measure, block, monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK_VALUES", block)
    rng = np.random.default_rng(2)
    queries, items = distributions(rng, 8, 5), distributions(rng, 20, 5)
    items[[3, 17, 9]] = items[3]
    item_ids = list(rng.permutation(names(20)))
    positions, scores = top_items(queries, items, item_ids, k=6, measure=measure)
    assert positions.dtype == np.int64
    for query, row, values in zip(queries, positions, scores, strict=True):
        all_scores = [slow_similarity(query, item, measure) for item in items]
        best = sorted(range(20), key=lambda i: (-round(all_scores[i], 9), item_ids[i]))[:6]
        assert row.tolist() == best
        np.testing.assert_allclose(values, [all_scores[i] for i in best], atol=1e-10)
    assert top_items(queries, items, item_ids, k=99, measure=measure)[0].shape == (8, 20)
    assert top_items(queries, items, item_ids, k=1, measure=measure)[0].tolist() == positions[:, :1].tolist()


def test_top_items_are_by_cosine_unless_another_measure_is_named():
    items = np.array([[1.0, 0.1], [9.0, 9.0]])
    assert top_items([[1.0, 0.0]], items, ["a", "b"], k=1)[0].tolist() == [[0]]
    assert top_items([[1.0, 0.0]], items, ["a", "b"], k=1, measure="dot")[0].tolist() == [[1]]


def test_rounding_noise_does_not_choose_between_equal_items():
    rng = np.random.default_rng(4)
    noisy = np.tile([[0.2, 0.3, 0.5]], (9, 1)) * (1 + rng.normal(size=(9, 3)) * 1e-15)
    for measure in MEASURES:
        positions, _ = top_items(noisy[:1], noisy, names(9)[::-1], k=9, measure=measure)
        assert positions.tolist() == [list(range(8, -1, -1))]
    large = noisy * 1e6
    positions, _ = top_items(large[:1], large, names(9)[::-1], k=9, measure="dot")
    assert positions.tolist() == [list(range(8, -1, -1))]


def test_random_vectors_rank_as_chance_says():
    rng = np.random.default_rng(3)
    n, repeats = 400, 12
    pairs = [rng.normal(size=(2, n, 16)) for _ in range(repeats)]
    found = [retrieval_figures(target_ranks(*pair, names(n), names(n)).ranks) for pair in pairs]
    chance = expected_random(n)
    for key in ("recall_10", "recall_50", "recall_100"):
        p = chance[key]
        standard_error = (p * (1 - p) / (n * repeats)) ** 0.5
        assert np.mean([f[key] for f in found]) == pytest.approx(p, abs=4 * standard_error)
    assert np.mean([f["mrr_100"] for f in found]) == pytest.approx(chance["mrr_100"], abs=0.005)


class TestSharedNoiseLeaks:
    """Why theta of texts and theta of images are sampled with independent noise.

    A posterior that knows only a little about each document, sampled twice. With the same random numbers
    in row i of both, row i of one resembles row i of the other for no reason but its position.
    """

    n, n_topics = 300, 20
    common = 0.35  # how much of mu a text shares with its picture, beside 0.5 of its own and sigma = 1

    def mus(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(10)
        both, text, image = rng.normal(size=(3, self.n, self.n_topics))
        return self.common * both + 0.5 * text, self.common * both + 0.5 * image

    def noise(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=(self.n, self.n_topics))

    def mrr(self, text_noise: np.ndarray, image_noise: np.ndarray, order: np.ndarray | None = None) -> float:
        """`order`: how the pictures lie in memory when row r of the noise is added to their row r."""
        text, image = self.mus()
        ids = np.array(names(self.n))
        order = np.arange(self.n) if order is None else order
        theta_text, theta_image = softmax(text + text_noise), softmax(image[order] + image_noise)
        return retrieval_figures(target_ranks(theta_text, theta_image, ids, ids[order]).ranks)["mrr_100"]

    def test_shared_noise_inflates_mrr_and_independent_noise_does_not(self):
        honest = np.mean([self.mrr(self.noise(s), self.noise(100 + s)) for s in range(5)])
        leaky = np.mean([self.mrr(self.noise(s), self.noise(s)) for s in range(5)])
        assert honest < 0.1
        assert leaky > 4 * honest

    def test_the_advantage_is_gone_when_the_pictures_lie_in_another_order(self):
        order = np.random.default_rng(11).permutation(self.n)
        honest = [self.mrr(self.noise(s), self.noise(100 + s)) for s in range(5)]
        moved = [self.mrr(self.noise(s), self.noise(s), order) for s in range(5)]
        assert np.mean(moved) == pytest.approx(np.mean(honest), abs=0.02)


@pytest.mark.parametrize("measure", MEASURES)
def test_items_that_are_read_in_parts_are_the_same_items(measure, monkeypatch):
    """Ties across parts go by the id, what is wrong is counted in all, and the tolerance is that of all."""
    rng = np.random.default_rng(12)
    queries, items = distributions(rng, 9, 6), distributions(rng, 70, 6).astype(np.float32)
    items[rng.integers(70, size=30)] = items[7]
    ids = list(rng.permutation(names(70)))
    expected = {k: top_items(queries, items, ids, k=k, measure=measure) for k in (1, 5, 70)}
    monkeypatch.setattr(ranking, "_QUERIES", 4)
    sizes, product = [], ranking._product
    monkeypatch.setattr(ranking, "_product", lambda *a: sizes.append((len(a[0]), len(a[1]))) or product(*a))
    for most, held, width in ((16, 2**23, 16), (99, 24, 6), (99, 1, 1)):
        monkeypatch.setattr(ranking, "_ITEMS", most)
        monkeypatch.setattr(ranking, "_BLOCK_VALUES", held)
        for k, (positions, scores) in expected.items():
            sizes.clear()
            found = top_items(queries, items, ids, k=k, measure=measure)
            np.testing.assert_array_equal(found[0], positions)
            np.testing.assert_allclose(found[1], scores, rtol=1e-12)
            assert np.max(sizes, axis=0).tolist() == [4, width]
            assert sum(n * m for n, m in sizes) == 9 * 70, "each pair once"
    items[[40, 61]] = np.nan
    with pytest.raises(DataError, match="items: NaN or infinity in 2 of 70 rows, the first is row 40$"):
        top_items(queries, items, ids, k=3, measure=measure)


def test_the_order_of_the_items_changes_no_answer():
    rng = np.random.default_rng(3)
    theta, ids = distributions(rng, 7, 6)[rng.integers(7, size=900)].astype(np.float32), np.array(names(900))
    shuffled = rng.permutation(900)
    queries = distributions(rng, 4, 6)
    for measure in MEASURES:
        one, _ = top_items(queries, theta, ids, k=50, measure=measure)
        other, _ = top_items(queries, theta[shuffled], ids[shuffled], k=50, measure=measure)
        np.testing.assert_array_equal(ids[one], ids[shuffled][other])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_products_of_any_scale(scale):
    rng = np.random.default_rng(2)
    queries, items = scale * distributions(rng, 3, 8), scale * distributions(rng, 250, 8)
    positions, scores = top_items(queries, items, names(250), k=20, measure="dot")
    unit = np.maximum(1, np.linalg.norm(queries, axis=1) * np.linalg.norm(items, axis=1).max())
    for query, row, values, own in zip(queries, positions, scores, unit, strict=True):
        products = [slow_similarity(query, item, "dot") for item in items]
        best = sorted(range(250), key=lambda i: (-round(products[i] / (1e-9 * own)), i))[:20]
        assert row.tolist() == best
        np.testing.assert_allclose(values, [products[i] for i in best], rtol=1e-10)


@pytest.mark.parametrize("few", [0, 99])
@pytest.mark.parametrize("top", [0, 1, 3, 7, 9])
def test_the_best_columns_are_those_of_a_stable_sort_of_all(top, few, monkeypatch):
    monkeypatch.setattr(ranking, "_FEW", few)
    x = np.random.default_rng(0).integers(4, size=(50, 7)).astype(float)  # with many equal numbers
    x[0], x[1], x[2, ::2], x[3, ::2], x[4, 1:6], x[5, 3] = np.nan, -np.inf, np.inf, np.nan, -np.inf, np.nan
    for some in (x, x.astype(np.float32), np.nan_to_num(x, posinf=9, neginf=-9).astype(int)):
        expected = np.argsort(-some, axis=1, kind="stable")[:, :top]
        np.testing.assert_array_equal(best_columns(some, top), expected)


@pytest.mark.parametrize("width", [1, 3, 20, 99])
@pytest.mark.parametrize("top", [1, 4, 20, 99])
def test_the_best_of_parts_are_those_of_all(top, width):
    x = np.random.default_rng(1).integers(-4, 5, size=(6, 40)) + 0.25
    parts = [x[:, start : start + width] for start in range(0, 40, width)]
    for key in (np.asarray, np.abs):
        columns, values = best_of(parts, top, key=key)
        np.testing.assert_array_equal(columns, np.argsort(-key(x), axis=1, kind="stable")[:, :top])
        np.testing.assert_array_equal(values, np.take_along_axis(x, columns, axis=1))
