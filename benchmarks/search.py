"""What a search costs, measured against faiss' flat index in the same run, in turns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import timed
from vtm.config import numpy_generator
from vtm.errors import ConfigError
from vtm.metrics.index import ThetaIndex, default_threads, import_faiss

KINDS = ("mixed", "dirichlet")
_PROTOTYPES, _FACTORS = 500, 10
_ROWS = 2**15


def synthetic_theta(
    n: int, n_queries: int, k: int, *, kind: str = "mixed", alpha: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Theta of `n` images and of `n_queries` texts, (n, k) and (n_queries, k) float32.

    "mixed" is like theta of a trained model: logits of 500 prototypes with 10 common factors, two of them mixed, and
    noise; texts are a little sharper than images. Its three largest topics hold about a third at k = 60, as those of
    the book's default experiment do. "dirichlet" draws from a symmetric Dirichlet distribution with `alpha`: as sparse
    as theta of LDA.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of theta {kind!r}: choose one of {', '.join(KINDS)}")
    random = numpy_generator(seed, f"theta to search, {kind}")
    factors = random.normal(size=(_PROTOTYPES, _FACTORS)) @ random.normal(size=(_FACTORS, k)) / _FACTORS**0.5
    prototypes = 1.2 * factors + 0.8 * random.normal(size=k)  # (500, k)

    def draw(rows: int, sharpness: float) -> np.ndarray:
        if kind == "dirichlet":
            weights = random.standard_gamma(alpha, size=(rows, k), dtype=np.float32) + np.float32(1e-30)
        else:
            one, other = prototypes[random.integers(_PROTOTYPES, size=(2, rows))]
            share = random.uniform(0.5, 1.0, size=(rows, 1))
            logits = share * one + (1 - share) * other + 0.3 * random.normal(size=(rows, k))
            weights = np.exp(sharpness * (logits - logits.max(axis=1, keepdims=True)))
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    theta = np.empty((n, k), dtype=np.float32)
    for start in range(0, n, _ROWS):
        theta[start : start + _ROWS] = draw(min(_ROWS, n - start), 1.0)
    return theta, draw(n_queries, 1.2)


def bench_search(
    n: int = 1_000_000,
    k: int = 60,
    *,
    kind: str = "mixed",
    top: int = 100,
    n_single: int = 50,
    n_batch: int = 200,
    rounds: int = 3,
    threads: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Time exact and approximate searches among `n` images, and faiss' IndexFlatIP beside them.

    Parameters
    ----------
    n, k, kind, seed
        See `synthetic_theta`.
    top : int
        How many are asked for.
    n_single : int
        Texts searched one at a time.
    n_batch, rounds : int
        Texts searched at once, and how often.
    threads : int, optional
        Of the exact search (see `ThetaIndex.search`). For one text faiss is timed with one thread and with those
        that OpenMP gives it, and counts with the faster: waking the others takes longer than a scan may. For many
        texts it has all, which share the texts among them.

    Returns
    -------
    dict
        search_exact_ms, flat_ms, search_ms (approximate): medians for one text. flat_threads: faiss' threads in the
        faster of its two; flat_ms_by_threads: both medians. threads, faiss_threads: ours, and those of faiss for many
        texts. batch_exact_ms, batch_flat_ms, batch_blas_ms: medians for `n_batch` texts; the last is faiss made to use
        BLAS, which it does by itself only from some 128,000 / k texts on. flat_vs_exact: the ratio, pair by pair, as
        [lower quartile, median, upper quartile]; batch_flat_vs_exact, batch_blas_vs_exact: as [least, median, largest]
        of the few rounds; more than 1 where our exact search is the faster. search_recall: the share of the exact
        answer that the approximate one has. difference: the largest difference of a similarity from faiss'. build_s,
        group_s, top3_mass and the parameters.

    Raises
    ------
    MissingError
        faiss is not installed.
    """
    faiss = import_faiss()
    theta, texts = synthetic_theta(n, max(n_single, n_batch), k, kind=kind, seed=seed)
    build_s, index = timed(ThetaIndex.build, theta, [f"{i:09d}" for i in range(n)])
    flat = faiss.IndexFlatIP(k)
    for start in range(0, n, _ROWS):
        flat.add(_unit(theta[start : start + _ROWS]))
    units = _unit(texts)

    singles = [texts[i : i + 1] for i in range(n_single)]
    all_threads = faiss.omp_get_max_threads()

    def flat_single(n_threads: int, i: int) -> Any:
        try:
            faiss.omp_set_num_threads(n_threads)
            return flat.search(units[i : i + 1], top)
        finally:
            faiss.omp_set_num_threads(all_threads)

    counts = sorted({1, all_threads})
    exact, *flat_ones = _in_turn(
        [
            lambda i: index.search(singles[i], top, threads=threads),
            *(functools.partial(flat_single, count) for count in counts),
        ],
        n_single,
    )
    flat_threads, flat_one = min(zip(counts, flat_ones, strict=True), key=lambda pair: np.median(pair[1]))

    def flat_blas(_: int) -> Any:
        # Below a product of this size faiss compares one by one, which is slower.
        default = faiss.cvar.distance_compute_blas_threshold
        try:
            faiss.cvar.distance_compute_blas_threshold = 1
            return flat.search(units[:n_batch], top)
        finally:
            faiss.cvar.distance_compute_blas_threshold = default

    batch, flat_batch, blas_batch = _in_turn(
        [
            lambda i: index.search(texts[:n_batch], top, threads=threads),
            lambda i: flat.search(units[:n_batch], top),
            flat_blas,
        ],
        rounds,
    )
    positions, similarities = index.search(texts[:n_batch], top, threads=threads)
    difference = float(np.abs(similarities - flat.search(units[:n_batch], top)[0]).max())
    group_s, _ = timed(lambda: index.search(singles[0], top, approximate=True))
    (near,) = _in_turn([lambda i: index.search(singles[i], top, approximate=True)], n_single)
    approximate, _ = index.search(texts[:n_batch], top, approximate=True)
    recall = np.mean([np.isin(row, other).mean() for row, other in zip(positions, approximate, strict=True)])
    return {
        "n": n,
        "k": k,
        "kind": kind,
        "top": top,
        "n_batch": n_batch,
        "rounds": rounds,
        "seed": seed,
        "threads": default_threads() if threads is None else threads,
        "faiss_threads": all_threads,
        "top3_mass": float(np.partition(theta[:_ROWS], -3, axis=1)[:, -3:].sum(axis=1).mean()),
        "build_s": build_s,
        "group_s": group_s,
        "search_exact_ms": _median_ms(exact),
        "flat_ms": _median_ms(flat_one),
        "flat_threads": flat_threads,
        "flat_ms_by_threads": {
            str(count): _median_ms(times) for count, times in zip(counts, flat_ones, strict=True)
        },
        "flat_vs_exact": _quartiles(flat_one / exact),
        "batch_exact_ms": _median_ms(batch),
        "batch_flat_ms": _median_ms(flat_batch),
        "batch_flat_vs_exact": _range(flat_batch / batch),
        "batch_blas_ms": _median_ms(blas_batch),
        "batch_blas_vs_exact": _range(blas_batch / batch),
        "search_ms": _median_ms(near),
        "search_recall": float(recall),
        "difference": difference,
    }


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _in_turn(works: Sequence[Callable[[int], Any]], rounds: int) -> np.ndarray:
    """(len(works), rounds) seconds; one round before them is not counted."""
    for work in works:
        work(0)
    return np.array([[timed(work, i)[0] for work in works] for i in range(rounds)]).T


def _median_ms(seconds: np.ndarray) -> float:
    return float(1000 * np.median(seconds))


def _quartiles(ratios: np.ndarray) -> list[float]:
    return [float(value) for value in np.quantile(ratios, [0.25, 0.5, 0.75])]


def _range(ratios: np.ndarray) -> list[float]:
    return [float(value) for value in np.quantile(ratios, [0.0, 0.5, 1.0])]
