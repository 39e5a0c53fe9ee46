"""The index against a slow oracle, on ordinary and on adversarial theta; its files; and what it does without faiss."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.search import bench_search, synthetic_theta
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import save_arrays
from vtm.metrics import index as search
from vtm.metrics.index import ThetaIndex
from vtm.metrics.ranking import TIE_TOLERANCE, top_items

TOP = 20


def names(n: int) -> list[str]:
    return [f"i{k:05d}" for k in range(n)]


def slow_search(theta, ids, queries, top, measure):
    """Everything with everything in float64, sorted by rounded similarity and then id."""
    x, q = theta.astype(np.float64), np.asarray(queries, dtype=np.float64)
    scale = np.ones(len(q))
    if measure == "hellinger":
        x, q = np.sqrt(x / x.sum(1, keepdims=True)), np.sqrt(q / q.sum(1, keepdims=True))
    if measure == "cosine":
        x, q = (a / np.maximum(np.sqrt((a**2).sum(1, keepdims=True)), 1e-300) for a in (x, q))
    if measure == "dot":
        scale = np.maximum(1, np.sqrt((q**2).sum(1)) * np.sqrt((x**2).sum(1)).max())
    positions, similarities = [], []
    for row, unit in zip(q, scale, strict=True):
        values = [float((row * other).sum()) for other in x]
        steps = [round(value / (TIE_TOLERANCE * unit)) for value in values]
        best = sorted(range(len(x)), key=lambda i: (-steps[i], ids[i]))[:top]
        positions.append(best)
        similarities.append([values[i] for i in best])
    return np.array(positions), np.array(similarities)


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sparse(rng, n, k):
    theta = rng.dirichlet(np.full(k, 0.05), size=n)
    return theta / theta.sum(axis=1, keepdims=True)


def spread(rng, n, k):
    return softmax(rng.normal(size=(n, k)))


def one_hot(rng, n, k):
    return np.eye(k)[rng.integers(k, size=n)]


def repeated(rng, n, k):
    return spread(rng, 7, k)[rng.integers(7, size=n)]


def collapsed(rng, n, k):
    """All nearly the same: float32 cannot tell them apart."""
    return softmax(rng.normal(size=(1, k)) + 1e-6 * rng.normal(size=(n, k)))


def rising(rng, n, k):
    """Each row more like the first topic than the one before, so that no limit holds for long."""
    weight = np.linspace(0.1, 0.9, n)[:, None]
    return (1 - weight) * spread(rng, n, k) + weight * np.eye(k)[:1]


KINDS = (sparse, spread, one_hot, repeated, collapsed, rising)


@pytest.fixture
def small(monkeypatch):
    """Several blocks and parts out of few rows, and a sample that is not all of them."""
    monkeypatch.setattr(search, "BLOCK", search.COLUMNS)
    monkeypatch.setattr(search, "SAMPLE", 256)


WAYS = ("product", "head", "mixed", "many", "split")


def force(way, monkeypatch):
    monkeypatch.setattr(search, "FEW", 0 if way in ("many", "split") else 1000)
    if way == "product":
        monkeypatch.setattr(search, "HEAD_COST", np.inf)
    if way == "head":
        monkeypatch.setattr(search, "HEAD_COST", 0.0)
        monkeypatch.setattr(search, "SCORE_COST", 0.0)
    if way == "split":
        monkeypatch.setattr(search, "ROOM", 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_exact_search_is_the_slow_one(kind, way, small, monkeypatch):
    force(way, monkeypatch)
    rng = np.random.default_rng(0)
    theta = kind(rng, 5003, 12).astype(np.float32)
    queries = np.concatenate([kind(rng, 2, 12), sparse(rng, 2, 12), one_hot(rng, 1, 12), theta[4321:4322]])
    ids = list(rng.permutation(names(len(theta))))
    for measure in search.MEASURES:
        index = ThetaIndex.build(theta, ids, measure=measure)
        positions, similarities = index.search(queries, TOP, threads=2)
        expected, values = slow_search(theta, ids, queries, TOP, measure)
        np.testing.assert_array_equal(positions, expected)
        np.testing.assert_allclose(similarities, values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_rows_and_queries_of_zeros_and_of_either_sign(way, small, monkeypatch):
    force(way, monkeypatch)
    rng = np.random.default_rng(1)
    theta = rng.normal(size=(3000, 9)).astype(np.float32)
    theta[::3] = 0
    theta[1::7] *= 1e-30  # direction counts, length does not
    theta[5] = np.where(np.arange(9) < 4, 1e-20, 0) + np.eye(9)[8]
    queries = np.concatenate([rng.normal(size=(3, 9)), np.zeros((1, 9)), -theta[1:2], [[1e-200] * 9]])
    for measure in ("cosine", "dot"):
        index = ThetaIndex.build(theta, names(3000), measure=measure)
        for top in (1, TOP, 2500, 3000, 9999):  # past the positive ones, past all
            positions, similarities = index.search(queries[:5], top)
            expected, values = slow_search(theta, names(3000), queries[:5], top, measure)
            np.testing.assert_array_equal(positions, expected)
            np.testing.assert_allclose(similarities, values, rtol=0, atol=1e-12)
    vanishing = ThetaIndex.build(theta, names(3000)).search(queries[5:], TOP)
    np.testing.assert_array_equal(
        vanishing[0], ThetaIndex.build(theta, names(3000)).search(np.ones((1, 9)), TOP)[0]
    )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_dot_at_any_scale(scale, small):
    rng = np.random.default_rng(2)
    theta = (scale * sparse(rng, 2500, 8)).astype(np.float32)
    queries = spread(rng, 3, 8) * scale
    for some in (queries[:1], queries):
        found = ThetaIndex.build(theta, names(2500), measure="dot").search(some, TOP)
        expected = top_items(some, theta, names(2500), k=TOP, measure="dot")
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-10)


@pytest.mark.parametrize("measure", search.MEASURES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_small_theta_is_searched_as_ranking_does(measure, data):
    k = data.draw(st.integers(1, 5))
    values = st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0])
    theta = data.draw(hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(k)), elements=values))
    queries = data.draw(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(k)), elements=values))
    if measure == "hellinger":
        theta, queries = (np.eye(k, dtype=np.float32)[a.argmax(axis=1)] for a in (theta, queries))
    ids = data.draw(st.permutations(names(len(theta))))
    top = data.draw(st.integers(1, 15))
    positions, similarities = ThetaIndex.build(theta, ids, measure=measure).search(queries, top)
    expected, scores = top_items(queries, theta, ids, k=top, measure=measure)
    np.testing.assert_array_equal(positions, expected)
    np.testing.assert_allclose(similarities, scores, rtol=0, atol=1e-12)


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(3)
    theta, ids = repeated(rng, 900, 6).astype(np.float32), np.array(names(900))
    shuffled = rng.permutation(900)
    queries = sparse(rng, 4, 6)
    one, values = ThetaIndex.build(theta, ids).search(queries, 50)
    other, same = ThetaIndex.build(theta[shuffled], ids[shuffled]).search(queries, 50)
    np.testing.assert_array_equal(ids[one], ids[shuffled][other])
    np.testing.assert_array_equal(values, same)


def test_the_head_leaves_few_rows_of_sparse_theta(small, monkeypatch):
    scored, heads = [], []
    products, by_head = ThetaIndex.products, search.Scan._by_head
    monkeypatch.setattr(ThetaIndex, "products", lambda *a: scored.append(len(a[1])) or products(*a))
    monkeypatch.setattr(search.Scan, "_by_head", lambda *a: heads.append(len(a[2])) or by_head(*a))
    rng = np.random.default_rng(4)
    theta = sparse(rng, 20_000, 40).astype(np.float32)
    ThetaIndex.build(theta, names(20_000)).search(sparse(rng, 1, 40), 10, threads=1)
    assert heads and max(heads) <= 12
    assert sum(scored) < 2000


def test_memory_mapped_theta(tmp_path):
    rng = np.random.default_rng(5)
    theta = sparse(rng, 2000, 10).astype(np.float32)
    np.save(tmp_path / "theta.npy", theta)
    mapped = ThetaIndex.build(np.load(tmp_path / "theta.npy", mmap_mode="r"), names(2000))
    assert isinstance(mapped.theta, np.memmap)
    for found, expected in zip(
        mapped.search(theta[:5], 7), ThetaIndex.build(theta, names(2000)).search(theta[:5], 7), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("measure", search.MEASURES)
def test_approximate_search_finds_most_with_exact_similarities(measure):
    pytest.importorskip("faiss")
    rng = np.random.default_rng(6)
    theta = spread(rng, 6000, 10).astype(np.float32)
    queries = spread(rng, 20, 10)
    index = ThetaIndex.build(theta, names(6000), measure=measure)
    index.group(n_cells=64)
    exact, similarities = index.search(queries, 10)
    positions, found = index.search(queries, 10, approximate=True, n_probe=8)
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(exact, positions, strict=True)])
    assert 0.9 < recall
    assert (found <= similarities + 1e-12).all()
    everything, _ = index.search(queries, 10, approximate=True, n_probe=64)
    np.testing.assert_array_equal(everything, exact)
    few, _ = index.search(queries, 10, approximate=True, n_probe=1)
    assert np.mean([np.isin(a, b).mean() for a, b in zip(exact, few, strict=True)]) < recall


def test_where_the_cells_hold_too_few_the_answer_is_exact():
    pytest.importorskip("faiss")
    rng = np.random.default_rng(7)
    theta = spread(rng, 300, 6).astype(np.float32)
    index = ThetaIndex.build(theta, names(300))
    queries = spread(rng, 3, 6)
    found, expected = index.search(queries, 200, approximate=True, n_probe=1), index.search(queries, 200)
    np.testing.assert_array_equal(found[0], expected[0])


def test_without_faiss_only_approximate_search_fails(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    rng = np.random.default_rng(8)
    theta = spread(rng, 50, 5).astype(np.float32)
    index = ThetaIndex.build(theta, names(50))
    assert index.search(theta[:1], 3)[0].shape == (1, 3)
    with pytest.raises(MissingError, match=r"pip install -e '\.\[search\]'"):
        index.search(theta[:1], 3, approximate=True)


def test_a_saved_index_finds_the_same(tmp_path, monkeypatch):
    rng = np.random.default_rng(9)
    theta = sparse(rng, 1500, 8).astype(np.float32)
    index = ThetaIndex.build(theta, names(1500)[::-1], measure="hellinger")
    index.save(tmp_path / "plain")
    assert "centres" not in open(tmp_path / "plain.safetensors", "rb").read(200).decode("latin-1")
    pytest.importorskip("faiss")
    index.group(n_cells=16)
    index.save(tmp_path / "index")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "faiss", None)
        np.testing.assert_array_equal(
            ThetaIndex.load(tmp_path / "index").search(theta)[0], index.search(theta)[0]
        )
    loaded = ThetaIndex.load(tmp_path / "index")
    assert loaded.ids == index.ids
    for options in ({}, {"approximate": True, "n_probe": 2}):
        for found, expected in zip(
            loaded.search(theta[:4], 9, **options), index.search(theta[:4], 9, **options), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
    assert ThetaIndex.load(tmp_path / "plain").centres is None


def test_files_that_are_not_what_was_saved(tmp_path):
    theta = np.eye(4, dtype=np.float32)
    ThetaIndex.build(theta, "abcd").save(tmp_path / "index")
    with pytest.raises(MissingError, match="other.safetensors"):
        ThetaIndex.load(tmp_path / "other")
    file = tmp_path / "index.safetensors"
    written = file.read_bytes()
    for place in range(len(written)):  # one bit of any byte
        changed = bytearray(written)
        changed[place] ^= 1
        file.write_bytes(changed)
        with pytest.raises(DataError, match=r"index\.safetensors"):
            ThetaIndex.load(tmp_path / "index")
    arrays = {"theta": theta, "ids": np.frombuffer(b'["a", "b", "c", "d"]', dtype=np.uint8)}
    save_arrays(file, arrays, {"format": 99, "measure": "cosine"})
    with pytest.raises(DataError, match="format 99"):
        ThetaIndex.load(tmp_path / "index")
    save_arrays(file, arrays, {"format": search.FORMAT, "measure": "cosine"})
    assert ThetaIndex.load(tmp_path / "index").ids == ("a", "b", "c", "d")


def test_what_cannot_be_searched_is_named():
    theta = spread(np.random.default_rng(10), 4, 3)
    with pytest.raises(ConfigError, match="jensen-shannon"):
        ThetaIndex.build(theta, "abcd", measure="jensen-shannon")
    with pytest.raises(DataError, match="3 ids for 4 rows"):
        ThetaIndex.build(theta, "abc")
    with pytest.raises(DataError, match="'b' occurs more than once"):
        ThetaIndex.build(theta, "abbc")
    with pytest.raises(DataError, match="NaN or infinity in 1 of 4 rows, the first is row 2"):
        ThetaIndex.build(np.where(np.arange(4)[:, None] == 2, np.nan, theta), "dcba")
    with pytest.raises(DataError, match="1 of 4 rows .* the first is row 1; use cosine"):
        ThetaIndex.build(np.where(np.arange(4)[:, None] == 1, 2, theta), "dcba", measure="hellinger")
    with pytest.raises(DataError, match="at least one row"):
        ThetaIndex.build(theta[:0], [])
    index = ThetaIndex.build(theta, "abcd")
    with pytest.raises(DataError, match=r"queries: shape \(1, 2\), but the index holds rows of 3 topics"):
        index.search([[1.0, 0.0]])
    with pytest.raises(DataError, match="queries: NaN"):
        index.search([[1.0, 0.0, np.inf]])
    for option in ("top", "n_probe", "threads"):
        with pytest.raises(ConfigError, match=f"{option} must be at least 1, not 0"):
            index.search(theta, **{option: 0})
    assert index.search(np.empty((0, 3)))[0].shape == (0, 4)


def test_synthetic_theta():
    one, texts = synthetic_theta(400, 30, 60)
    np.testing.assert_allclose(one.sum(axis=1), 1, rtol=1e-5)
    assert one.dtype == np.float32 and texts.shape == (30, 60)
    np.testing.assert_array_equal(one, synthetic_theta(400, 30, 60)[0])
    assert (one != synthetic_theta(400, 30, 60, seed=1)[0]).any()
    top3 = [
        np.sort(synthetic_theta(2000, 1, 60, **options)[0], axis=1)[:, -3:].sum(axis=1).mean()
        for options in ({}, {"kind": "dirichlet"}, {"kind": "dirichlet", "alpha": 0.02})
    ]
    assert 0.25 < top3[0] < 0.4 < top3[1] < 0.7 < top3[2]
    with pytest.raises(ConfigError, match="uniform"):
        synthetic_theta(1, 1, 2, kind="uniform")


def test_the_benchmark_compares_what_is_the_same():
    faiss = pytest.importorskip("faiss")
    before = faiss.cvar.distance_compute_blas_threshold
    found = bench_search(3000, 10, top=20, n_single=2, n_batch=5, rounds=2)
    assert faiss.cvar.distance_compute_blas_threshold == before
    assert found["difference"] < 1e-6
    assert 0.5 < found["search_recall"] <= 1
    assert found["flat_vs_exact"] == sorted(found["flat_vs_exact"])
