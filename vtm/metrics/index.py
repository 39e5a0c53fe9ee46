"""Rows of theta as a scan reads them: topic by topic, in blocks that threads take one after the other."""

from __future__ import annotations

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vtm.config import stream
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import atomic_path, hash_file, read_json, read_sealed, read_tensors, write_sealed
from vtm.metrics.ranking import TIE_TOLERANCE

COLUMNS = 1024  # of one product; with 256 queries it stays in a core's cache
BLOCK = 32 * COLUMNS
SAMPLE = 16384
# Entries below it are stored as 0, as their squares would be denormal numbers, which are slow.
TINY = 1e-15

Result = TypeVar("Result")


@dataclass(frozen=True)
class Blocks:
    """Rows of length at most 1.

    Attributes
    ----------
    topics : (n_blocks, K + 1, B) float32
        Topic by topic; the last line of a block holds the rows' squared lengths. B is a multiple of `COLUMNS`; the
        last block is filled up with zeros.
    sample : (K + 1, S) float32
        Some of the rows, all different, evenly spaced; so are the first quarter of them.
    n_rows : int
    """

    topics: np.ndarray
    sample: np.ndarray
    n_rows: int

    @property
    def rounding(self) -> float:
        """More than a float32 product of a stored row and query can be off.

        A sum of K products of vectors of length 1 is off by at most K u, the stored values by u each (u = 2^-24), and
        `TINY` adds less.
        """
        return (self.topics.shape[1] + 8) * 2.0**-24

    def rows_of(self, columns: np.ndarray, block: int) -> np.ndarray:
        """Numbers of the rows in some columns of a block, in ascending order, without those that fill it up."""
        rows = columns + block * self.topics.shape[2]
        return rows[: np.searchsorted(rows, self.n_rows)]


def build_blocks(read: Callable[[slice], np.ndarray], n_rows: int, n_topics: int) -> Blocks:
    """Blocks of `n_rows` rows; `read` returns some of them, (b, K) float64."""
    size = min(BLOCK, -(-n_rows // COLUMNS) * COLUMNS)
    topics = np.zeros((-(-n_rows // size), n_topics + 1, size), dtype=np.float32)
    for block, start in zip(topics, range(0, n_rows, size), strict=True):
        rows = read(slice(start, min(start + size, n_rows)))
        block[:-1, : len(rows)] = np.where(np.abs(rows) < TINY, 0.0, rows).T
        block[-1, : len(rows)] = np.square(rows).sum(axis=1)
    n_sample = min(SAMPLE, n_rows)
    chosen = np.arange(n_sample) * n_rows // n_sample
    chosen = np.concatenate([chosen[i::4] for i in range(4)])
    return Blocks(topics, np.ascontiguousarray(topics[chosen // size, :, chosen % size].T), n_rows)


def run(make: Callable[[], Callable[[int], Result]], blocks: range, threads: int) -> list[Result]:
    """What is found in each block, in no particular order.

    Every thread makes its own function of a block, with room of its own to work in, and takes the next block that is
    left when it is done with one.
    """
    todo = deque(blocks)

    def take() -> list[Result]:
        work, done = make(), []
        while True:
            try:
                block = todo.popleft()  # safe between threads
            except IndexError:
                return done
            done.append(work(block))

    others = [_pool(threads, os.getpid()).submit(take) for _ in range(min(threads, len(blocks)) - 1)]
    done = take()
    return done + [result for other in others for result in other.result()]


def default_threads() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager[Any]:
    """BLAS without threads of its own: beside those of `run` they would wait for one another at every product."""
    return _blas().limit(limits=1, user_api="blas")


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    # A forked process has none of its parent's threads, so it makes its own.
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="vtm-search")


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


# Rows of theta checked and measured, so that a product of two unit vectors is their similarity.


def values_of(rows: np.ndarray, measure: str) -> np.ndarray:
    """Rows in float64 whose products are compared: themselves, or their square roots."""
    rows = rows.astype(np.float64)
    return np.sqrt(rows) if measure == "hellinger" else rows


def lengths_of(rows: np.ndarray, name: str, measure: str, positions: np.ndarray) -> np.ndarray:
    """(n,) lengths of the `values_of` rows, which are checked; `positions` name them in errors."""
    if len(bad := np.flatnonzero(~np.isfinite(rows).all(axis=1))):
        raise DataError(
            f"{name}: NaN or infinity in {len(bad)} of {len(rows)} rows, the first is row {positions[bad].min()}"
        )
    rows = rows.astype(np.float64)
    if measure == "hellinger":
        total = rows.sum(axis=1)
        if len(wrong := np.flatnonzero((rows < 0).any(axis=1) | (np.abs(total - 1) > 1e-3))):
            raise DataError(
                f"{name}: hellinger compares distributions, but {len(wrong)} of {len(rows)} rows are "
                f"negative or do not sum to 1, the first is row {positions[wrong].min()}; use cosine"
            )
        return np.sqrt(total)
    # Divided by the largest entry first, so that squares neither overflow nor vanish.
    largest = np.abs(rows).max(axis=1)
    largest[largest == 0] = 1.0
    return largest * np.sqrt(np.square(rows / largest[:, None]).sum(axis=1))


def order_of(ids: tuple[str, ...], n_rows: int) -> np.ndarray:
    """Positions in the order of their ids; ids must be unique and one for each row."""
    if len(ids) != n_rows:
        raise DataError(f"{len(ids)} ids for {n_rows} rows of theta: each row needs its own")
    order = sorted(range(n_rows), key=ids.__getitem__)
    twice = next((ids[i] for i, j in itertools.pairwise(order) if ids[i] == ids[j]), None)
    if twice is not None:
        raise DataError(f"id {twice!r} occurs more than once: ids must be unique")
    return np.array(order, dtype=np.int64)


# An index as files: its arrays in safetensors, everything else in JSON, sealed, with the arrays' hash.


FORMAT = 2


def write_index(
    path: Path | str, arrays: Mapping[str, np.ndarray], *, measure: str, ids: Sequence[str]
) -> None:
    """Write `<path>.safetensors` and, last, `<path>.json`."""
    from safetensors.numpy import save_file

    tensors, description = _files(path)
    with atomic_path(tensors) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
        # Of what was written here: another process may put its own in this place at once.
        written = hash_file(temporary)
    write_sealed(
        description, {"format": FORMAT, "measure": measure, "ids": list(ids), "arrays_sha256": written}
    )


def read_index(path: Path | str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the description that `write_index` wrote.

    Raises
    ------
    MissingError, DataError
        A file is missing, of another format, or not what was saved.
    """
    tensors, description = _files(path)
    if not tensors.is_file():
        raise MissingError(f"{tensors}: no such file; an index is its .safetensors and its .json file")
    saved = read_json(description)
    found = saved.get("format") if isinstance(saved, dict) else None
    if found != FORMAT:
        raise DataError(
            f"{description}: format {found!r}, this version of vtm reads {FORMAT}; build the index anew"
        )
    saved = read_sealed(description)
    if hash_file(tensors) != saved.get("arrays_sha256"):
        raise DataError(f"{tensors}: not what was saved with {description.name}; build the index anew")
    arrays = read_tensors(tensors)
    if not (_fit(arrays) and isinstance(saved.get("ids"), list) and isinstance(saved.get("measure"), str)):
        raise DataError(f"{description}: does not hold what an index's does; build the index anew")
    return arrays, saved


def _fit(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether there is theta (n, K), and centres, if any, are (n_cells, K)."""
    theta = arrays.get("theta", np.empty(0))
    centres = arrays.get("centres", theta)
    return theta.ndim == centres.ndim == 2 and theta.shape[1] == centres.shape[1]


def _files(path: Path | str) -> tuple[Path, Path]:
    base = Path(path)
    return base.parent / f"{base.name}.safetensors", base.parent / f"{base.name}.json"


# Approximate search: rows in cells around centres, of which a query looks into the nearest (faiss, IndexIVFFlat).


PER_CELL = 64  # rows that a centre is learned from


def default_cells(n_rows: int) -> int:
    """A power of two near the square root of the number of rows."""
    return min(n_rows, 2 ** round(np.log2(n_rows) / 2))


def rows_to_learn(n_rows: int, n_cells: int) -> np.ndarray:
    """Evenly spaced numbers of the rows from which the centres are learned."""
    n_chosen = min(n_rows, PER_CELL * n_cells)
    return np.arange(n_chosen) * n_rows // n_chosen


def find_centres(rows: np.ndarray, n_cells: int, *, seed: int) -> np.ndarray:
    """(n_cells, K) float32 centres of (b, K) float32 rows, by k-means."""
    faiss = import_faiss()
    # min_points_per_centroid: faiss would print a warning about small data.
    options = {"niter": 10, "seed": stream(seed, "cells of theta") % 2**31, "min_points_per_centroid": 1}
    means = faiss.Kmeans(rows.shape[1], n_cells, **options)
    means.train(rows)
    return means.centroids


def fill_cells(centres: np.ndarray, blocks: Blocks) -> Any:
    """A faiss index of all rows of the blocks, numbered as there; as large as they are."""
    faiss = import_faiss()
    n_topics = centres.shape[1]
    quantizer = faiss.IndexFlatIP(n_topics)
    quantizer.add(centres)
    index = faiss.IndexIVFFlat(quantizer, n_topics, len(centres), faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    for topics in blocks.topics:
        index.add(np.ascontiguousarray(topics[:-1, : blocks.n_rows - index.ntotal].T))
    return index


def search_cells(index: Any, queries: np.ndarray, top: int, *, n_probe: int) -> np.ndarray:
    """(m, top) int64 rows in the `n_probe` nearest cells; -1 where these hold fewer."""
    faiss = import_faiss()
    parameters = faiss.SearchParametersIVF(nprobe=min(n_probe, index.nlist))
    return index.search(queries.astype(np.float32), top, params=parameters)[1]


def import_faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingError(
            "approximate search needs faiss: pip install -e '.[search]' in the checkout; exact search does not"
        ) from None
    return faiss


# Exact search in blocks of unit rows: which rows can be among the best of a query, decided in float32 with proof.
#
# Rows and queries have length at most 1. A row is left out only where an upper bound of its similarity, rounding
# included, is below what `top` rows are known to reach; what is left is for the caller to score in float64. Two bounds:
#
# - Many queries: the float32 product itself, plus its rounding error.
# - Few queries: the topics of the query with the largest weights, its head. By Cauchy-Schwarz the rest adds at most the
# product of the two remaining lengths, so a row x with similarity s or more to a query q has
# ``q_head . x_head >= s`` or ``(s - q_head . x_head)^2 <= |q_tail|^2 (|x|^2 - |x_head|^2)``.
# Blocks are stored topic by topic, so only the head's topics are read. Where the head would leave too many rows, as
# for a query that is spread over all topics, whole products are taken instead: which of both, and how large a head,
# is estimated on a sample of the rows.


HEADS = (2, 4, 6, 8, 12, 16, 24)
# What a row costs in units of one topic in a product, measured: a head, each of its topics, the score of a row that is
# left. The time depends on them, the answer does not.
HEAD_COST, TOPIC_COST, SCORE_COST = 8.0, 2.0, 600.0
QUERIES = 256  # of one product
MAX_HITS = 2**21  # before the queries of a product are split: 40 MiB

Filter = Callable[[int], Any]  # a block's number -> what is left of it
Hits = tuple[np.ndarray, np.ndarray, np.ndarray]  # (h,) query, row and float32 product
NO_HITS: Hits = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


def scan_one(
    blocks: Blocks,
    query: np.ndarray,
    top: int,
    score: Callable[[np.ndarray], np.ndarray],
    *,
    margin: float,
    threads: int,
) -> np.ndarray:
    """Rows among which are the `top` best of one query, and all that come within `margin` of the last of them.

    Parameters
    ----------
    query : (K,) float64 of length 1.
    score : rows (c,) int64 -> their similarities (c,) float64, correct to 1e-12.

    Returns
    -------
    (c,) int64, in no particular order.
    """
    q = query.astype(np.float32)
    margin = float(margin) + 2e-12  # of the row that sets the limit, and of the row that is compared with it
    slack = blocks.rounding
    largest_first = np.argsort(-np.abs(q), kind="stable")
    # A Python float, which leaves float32 arrays what they are.
    limit = float(_limits(q[None], blocks.sample, top, slack + margin)[0])
    places, scores = np.empty(0, dtype=np.int64), np.empty(0)
    for part in _parts(len(blocks.topics), threads):
        head = _choose_head(q, largest_first, blocks.sample, limit) if part.start else None
        make = functools.partial(_product_filter, blocks, q, limit - slack)
        if head is not None:
            make = functools.partial(_head_filter, blocks, q, limit, head, 8 * slack)
        new = np.concatenate(run(make, part, threads))
        places, scores = np.concatenate([places, new]), np.concatenate([scores, score(new)])
        if len(scores) >= top:
            limit = max(limit, float(np.partition(scores, -top)[-top]) - margin)
            places, scores = places[scores >= limit], scores[scores >= limit]
    return places


def scan_many(
    blocks: Blocks, queries: np.ndarray, top: int, *, margins: np.ndarray, threads: int
) -> Iterator[np.ndarray]:
    """What `scan_one` returns, for each of (m, K) float64 queries of length 1 in turn; a margin for each."""
    for start in range(0, len(queries), QUERIES):
        some = slice(start, start + QUERIES)
        yield from _scan_chunk(blocks, queries[some].astype(np.float32), top, margins[some], threads)


def _scan_chunk(
    blocks: Blocks, q: np.ndarray, top: int, margins: np.ndarray, threads: int
) -> Iterator[np.ndarray]:
    # Off by this much may be the row that sets the limit, and the row that is compared with it.
    margins = margins + 2 * blocks.rounding
    limits = _limits(q, _quarter(blocks.sample), top, margins)
    hits = NO_HITS
    for part in _parts(len(blocks.topics), threads):
        found = run(functools.partial(_many_filter, blocks, q, limits), part, threads)
        hits = tuple(np.concatenate(columns) for columns in zip(hits, *found, strict=True))
        if len(hits[0]) > MAX_HITS and len(q) > 1:  # as where most rows are equal
            half = len(q) // 2
            yield from _scan_chunk(blocks, q[:half], top, margins[:half], threads)
            yield from _scan_chunk(blocks, q[half:], top, margins[half:], threads)
            return
        order = np.argsort(hits[0], kind="stable")
        ends = np.cumsum(np.bincount(hits[0], minlength=len(q)))
        ordered = hits[2][order]
        for i, (start, end) in enumerate(zip(np.concatenate([[0], ends]), ends, strict=False)):
            if end - start >= top:
                limits[i] = max(limits[i], np.partition(ordered[start:end], -top)[-top] - margins[i])
        keep = hits[2] >= limits[hits[0]]
        hits = tuple(column[keep] for column in hits)
    order = np.argsort(hits[0], kind="stable")
    yield from np.split(hits[1][order], np.cumsum(np.bincount(hits[0], minlength=len(q)))[:-1])


def _limits(q: np.ndarray, sample: np.ndarray, top: int, margins: np.ndarray | float) -> np.ndarray:
    """(m,) float64: what `top` rows of the sample reach, less a margin; at least -2, below all that is possible."""
    if top > sample.shape[1]:
        return np.full(len(q), -2.0)
    reached = np.partition(q @ sample[:-1], -top, axis=1)[:, -top]
    return np.maximum(reached.astype(np.float64) - margins, -2.0)


def _quarter(sample: np.ndarray) -> np.ndarray:
    return sample[:, : -(-sample.shape[1] // 4)]


def _parts(n_blocks: int, threads: int) -> list[range]:
    """Blocks in three parts: after the first ones the limits are close enough for the bounds to tell."""
    ends = sorted({min(threads, n_blocks), min(max(threads, n_blocks // 4), n_blocks), n_blocks})
    return [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _choose_head(
    q: np.ndarray, largest_first: np.ndarray, sample: np.ndarray, limit: float
) -> np.ndarray | None:
    """The topics to read first, or None where whole products cost less."""
    some = _quarter(sample)
    best, best_cost = None, float(len(q))
    product = np.zeros(some.shape[1], dtype=np.float32)
    square = product.copy()
    for before, size in zip((0, *HEADS), HEADS, strict=False):
        if size >= len(q) or HEAD_COST + TOPIC_COST * size >= best_cost:
            break
        topics = largest_first[before:size]
        product += q[topics] @ some[topics]
        square += np.square(some[topics]).sum(axis=0)
        tail = 1.0 - float(np.square(q[largest_first[:size]], dtype=np.float64).sum())
        left = np.square(np.minimum(product - limit, 0)) <= tail * (some[-1] - square)
        cost = HEAD_COST + TOPIC_COST * size + SCORE_COST * left.mean()
        if cost < best_cost:
            best, best_cost = largest_first[:size], cost
    return best


def _head_filter(blocks: Blocks, q: np.ndarray, limit: float, head: np.ndarray, slack: float) -> Filter:
    lines = np.append(head, len(q))  # and the squared lengths
    weights = np.append(q[head], np.float32(0))
    tail = max(0.0, 1.0 - float(np.square(q[head], dtype=np.float64).sum()))
    signs = np.append(np.full(len(head), tail), -tail).astype(np.float32)
    # Made once: fresh arrays of this size would cost more than the arithmetic.
    size = blocks.topics.shape[2]
    buffer = np.empty((len(lines), size), dtype=np.float32)
    short, rest, scratch = np.empty((3, size), dtype=np.float32)
    mask = np.empty(size, dtype=bool)

    def work(block: int) -> np.ndarray:
        np.take(blocks.topics[block], lines, axis=0, out=buffer, mode="clip")
        np.dot(weights, buffer, out=short)
        np.square(buffer[:-1], out=buffer[:-1])
        np.dot(signs, buffer, out=rest)  # minus |q_tail|^2 |x_tail|^2
        np.subtract(short, limit, out=short)
        np.multiply(short, np.abs(short, out=scratch), out=short)
        np.subtract(rest, slack, out=rest)
        return blocks.rows_of(np.flatnonzero(np.greater_equal(short, rest, out=mask)), block)

    return work


def _product_filter(blocks: Blocks, q: np.ndarray, limit: float) -> Filter:
    product = np.empty(blocks.topics.shape[2], dtype=np.float32)

    def work(block: int) -> np.ndarray:
        np.dot(q, blocks.topics[block, :-1], out=product)
        return blocks.rows_of(np.flatnonzero(product >= limit), block)

    return work


def _many_filter(blocks: Blocks, q: np.ndarray, limits: np.ndarray) -> Filter:
    # Rounded down, so that a limit in float32 is not above the one in float64.
    least = np.nextafter(limits.astype(np.float32), np.float32(-np.inf))[:, None]
    size = blocks.topics.shape[2]
    product = np.empty((len(q), COLUMNS), dtype=np.float32)
    mask = np.empty(product.shape, dtype=bool)
    room = MAX_HITS if len(q) > 1 else blocks.n_rows

    def work(block: int) -> Hits:
        nonlocal room
        parts = [NO_HITS]
        for start in range(0, size, COLUMNS):
            if room < 0:
                break  # the queries will be split
            np.matmul(q, blocks.topics[block, :-1, start : start + COLUMNS], out=product)
            found = np.flatnonzero(np.greater_equal(product, least, out=mask))
            if len(found):
                query, column = np.divmod(found, COLUMNS)
                row = block * size + start + column
                inside = row < blocks.n_rows
                parts.append((query[inside], row[inside], product.ravel()[found[inside]]))
                room -= len(found)
        return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))

    return work


# Search among many images by theta: exact by proven bounds, or approximate with faiss.
#
# Where `vtm.metrics.ranking` compares everything with everything in float64, an index finds the best of a million images for a
# text in milliseconds, and unless asked to approximate it finds the same ones in the same order. Arrays and files only:
# nothing here knows an encoder or a model.


MEASURES = ("cosine", "dot", "hellinger")
FEW = 2  # up to so many queries, the bound from the largest topics of each is faster than a product of all
N_PROBE = 64
_ROWS = 2**16  # rows read at once


@dataclass(eq=False)
class ThetaIndex:
    """Rows of theta, ready to be searched; made by `build` or `load`.

    Attributes
    ----------
    theta : (n, K) float32
        As given. A memory-mapped array stays on disk; a search reads few of its rows.
    ids : tuple of str, n long
    measure : {"cosine", "dot", "hellinger"}
        See `vtm.metrics.ranking.similarity`.
    order : (n,) int64
        Positions in the order of their ids, which is the order of the blocks.
    factors : (n,) float64
        For each row of the blocks, by what its values are multiplied so that its length is 1, or at most 1 for "dot".
    blocks : Blocks
        All rows, for the exact search.
    centres : (n_cells, K) float32, optional
        Of the cells for approximate searches; see `group`.
    cells : faiss index, optional
        All rows once more, in their cells; filled when first needed.
    """

    theta: np.ndarray
    ids: tuple[str, ...]
    measure: str
    order: np.ndarray
    factors: np.ndarray
    blocks: Blocks = field(repr=False)
    centres: np.ndarray | None = field(default=None, repr=False)
    cells: Any = field(default=None, repr=False)

    @classmethod
    def build(cls, theta: np.ndarray, ids: Sequence[str], *, measure: str = "cosine") -> ThetaIndex:
        """Store theta topic by topic, as the scan reads it.

        Memory beside `theta` and `ids`: 4 n (K + 1) + 16 n bytes, and a block of rows in float64 meanwhile.

        Parameters
        ----------
        theta : (n, K) float32
            Any other type is copied to float32.
        ids : sequence of str, n long
            Unique; images that are equally similar stand in the order of their ids.
        measure : {"cosine", "dot", "hellinger"}
            "hellinger" takes distributions: it is the product of their square roots.

        Raises
        ------
        ConfigError
            Unknown measure.
        DataError
            No rows, NaN or infinity, ids that are repeated or too few, rows that are not distributions.
        """
        if measure not in MEASURES:
            raise ConfigError(f"no index for the measure {measure!r}: choose one of {', '.join(MEASURES)}")
        theta, ids = np.asanyarray(theta), tuple(map(str, ids))
        if theta.ndim != 2 or 0 in theta.shape:
            raise DataError(
                f"theta: a matrix of at least one row and column is needed, not shape {theta.shape}"
            )
        theta = theta.astype(np.float32, copy=False)
        order = order_of(ids, len(theta))
        lengths = np.empty(len(theta))
        for start in range(0, len(theta), _ROWS):
            rows = order[start : start + _ROWS]
            lengths[start : start + _ROWS] = lengths_of(theta[rows], "theta", measure, rows)
        if measure == "dot":
            lengths[:] = lengths.max()
        factors = 1 / np.where(lengths > 0, lengths, 1.0)

        def read(rows: slice) -> np.ndarray:
            return values_of(theta[order[rows]], measure) * factors[rows, None]

        return cls(theta, ids, measure, order, factors, build_blocks(read, *theta.shape))

    def search(
        self,
        queries: np.ndarray,
        top: int = 100,
        *,
        approximate: bool = False,
        n_probe: int = N_PROBE,
        threads: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `top` most similar rows of each query.

        Exact unless `approximate`: what `vtm.metrics.ranking.top_items` finds, with its rule for ties. Similarities that round
        to the same multiple of `vtm.metrics.ranking.TIE_TOLERANCE` (for "dot": times the largest product of lengths, where
        that is over 1) stand in the order of their ids.

        Parameters
        ----------
        queries : (m, K)
        top : int
            At least 1; no more than n are returned.
        approximate : bool
            Look only into the `n_probe` cells that are nearest to the query. What is found has its exact similarity;
            some of the best may be missing. The first such search groups the rows (see `group`).
        threads : int, optional
            Of the exact search; by default all processors this process may use.

        Returns
        -------
        positions : (m, min(top, n)) int64
            Into theta and ids, best first.
        similarities : (m, min(top, n)) float64

        Raises
        ------
        ConfigError
            `top`, `n_probe` or `threads` below 1.
        DataError
            Queries with another number of topics, NaN or infinity, or that are no distributions where they must be.
        MissingError
            `approximate` without faiss.
        """
        threads = default_threads() if threads is None else threads
        for name, value in (("top", top), ("n_probe", n_probe), ("threads", threads)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        q = np.asarray(queries, dtype=np.float64)
        if q.ndim != 2 or q.shape[1] != self.theta.shape[1]:
            raise DataError(
                f"queries: shape {q.shape}, but the index holds rows of {self.theta.shape[1]} topics"
            )
        lengths = lengths_of(q, "queries", self.measure, np.arange(len(q)))
        units = values_of(q, self.measure) / np.where(lengths > 0, lengths, 1.0)[:, None]
        # What a product of unit vectors is multiplied by to be the similarity, and what counts as equal.
        scale = lengths / self.factors[0] if self.measure == "dot" else np.ones(len(q))
        step = TIE_TOLERANCE * np.maximum(scale, 1.0)
        margins = step / np.where(scale > 0, scale, 1.0)
        top = min(top, len(self.theta))
        positions = np.empty((len(q), top), dtype=np.int64)
        similarities = np.empty((len(q), top))
        if approximate:
            if self.centres is None:
                self.group()
            if self.cells is None:
                self.cells = fill_cells(self.centres, self.blocks)
            near = search_cells(self.cells, units, top, n_probe=n_probe)
            # Where the nearest cells hold fewer than asked for, the answer is exact.
            found = (
                row if row.min() >= 0 else next(self._best(unit[None], top, margin[None], threads))
                for row, unit, margin in zip(near, units, margins, strict=True)
            )
        else:
            found = self._best(units, top, margins, threads)
        with one_blas_thread():
            for i, places in enumerate(found):
                values = self._products(places, units[i]) * scale[i]
                best = np.lexsort((places, -np.round(values / step[i])))[:top]
                positions[i], similarities[i] = self.order[places[best]], values[best]
        return positions, similarities

    def group(self, *, n_cells: int | None = None, seed: int = 0) -> None:
        """Find centres around which approximate searches group the rows; then they take 4 n K bytes more.

        Parameters
        ----------
        n_cells : int, optional
            By default a power of two near the square root of n.
        seed : int
            Of k-means.

        Raises
        ------
        MissingError
            faiss is not installed.
        """
        n_cells = default_cells(len(self.theta)) if n_cells is None else min(n_cells, len(self.theta))
        chosen = rows_to_learn(len(self.theta), n_cells)
        rows = values_of(self.theta[self.order[chosen]], self.measure) * self.factors[chosen, None]
        self.centres, self.cells = find_centres(rows.astype(np.float32), n_cells, seed=seed), None

    def save(self, path: Path | str) -> None:
        """Write `<path>.safetensors` (theta, and the cells' centres if there are any) and `<path>.json`."""
        centres = {} if self.centres is None else {"centres": self.centres}
        write_index(path, {"theta": self.theta} | centres, measure=self.measure, ids=self.ids)

    @classmethod
    def load(cls, path: Path | str) -> ThetaIndex:
        """Read what `save` wrote and build the index anew; it finds the same.

        Raises
        ------
        MissingError, DataError
            A file is missing, of another format, or its arrays are not those that were saved.
        """
        arrays, saved = read_index(path)
        index = cls.build(arrays["theta"], saved["ids"], measure=saved["measure"])
        index.centres = arrays.get("centres")
        return index

    def _best(self, units: np.ndarray, top: int, margins: np.ndarray, threads: int) -> Iterator[np.ndarray]:
        """Places among which are the `top` best of each query; to a query of zeros, all are equally similar."""
        asks = units.any(axis=1)
        if len(units) > FEW:
            many = scan_many(self.blocks, units[asks], top, margins=margins[asks], threads=threads)
        for unit, margin, real in zip(units, margins, asks, strict=True):
            if not real:
                yield np.arange(top)
            elif len(units) > FEW:
                yield next(many)
            else:
                score = functools.partial(self._products, unit=unit)
                yield scan_one(self.blocks, unit, top, score, margin=margin, threads=threads)

    def _products(self, places: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """Products of rows and a query as unit vectors. Each row by itself: equal rows give equal numbers."""
        result = np.empty(len(places))
        for start in range(0, len(places), _ROWS):
            some = slice(start, start + _ROWS)
            rows = self.theta.take(self.order[places[some]], axis=0)
            result[some] = np.einsum("ij,j->i", values_of(rows, self.measure), unit)
        return result * self.factors[places]
