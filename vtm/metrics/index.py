"""Search among many images by theta: exact by proven bounds, or approximate with faiss.

Where `vtm.metrics.ranking` compares everything with everything in float64, an index finds the best of a million
images for a text in milliseconds, and unless asked to approximate it finds the same ones in the same order.

Exact search decides in float32 which rows can be among the best, and scores those in float64. A row is left out
only where an upper bound of its similarity, rounding included, is below what enough others are known to reach.
Two bounds, for rows x and a query q of length at most 1:

- The float32 product itself, plus its rounding error.
- For few queries: the topics of the query with the largest weights, its head. By Cauchy-Schwarz the rest adds at
  most the product of the two remaining lengths, so a row with similarity s or more has ``q_head . x_head >= s`` or
  ``(s - q_head . x_head)^2 <= |q_tail|^2 (|x|^2 - |x_head|^2)``. Rows are stored topic by topic, so only the head's
  topics are read. Where a head would leave too many rows, as for a query that is spread over all topics, whole
  products are taken: which of both, and how large a head, is estimated on a sample of the rows.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vtm.config import stream
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import load_about, load_arrays, save_arrays
from vtm.metrics.ranking import TIE_TOLERANCE, id_order, prepared_rows, unique_ids

MEASURES = ("cosine", "dot", "hellinger")
COLUMNS = 1024  # rows of one product; with 256 queries it stays in a core's cache
BLOCK = 32 * COLUMNS
SAMPLE = 16384
QUERIES = 256  # of one product
FEW = 2  # up to so many queries, the bound from the largest topics of each is faster than a product of all
HEADS = np.array([2, 4, 6, 8, 12, 16])  # numbers of topics to choose from
# What a row costs in units of one topic in a product, measured: a head, each of its topics, the score of a row that
# is left. The time depends on them, the answer does not.
HEAD_COST, TOPIC_COST, SCORE_COST = 8.0, 2.0, 600.0
ROOM = 4  # hits that are held for each that is asked for
N_PROBE = 64
PER_CELL = 64  # rows that the centre of a cell is learned from
# Entries below it are stored as 0, as their squares would be denormal numbers, which are slow.
TINY = 1e-15
FORMAT = 3

# (h,) each: queries, rows of the blocks, and their products to within the rounding.
Hits = tuple[np.ndarray, np.ndarray, np.ndarray]
NO_HITS: Hits = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


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
        For each row of the blocks, by what its values were multiplied so that its length is 1, or at most 1 for "dot".
    blocks : (n_blocks, K + 1, B) float32
        All rows at length 1, or at most 1 for "dot", topic by topic, with their squared lengths as a last line; the
        last block is filled up with zeros.
    sample : (K + 1, S) float32
        Some of the rows, all different, evenly spaced; so are the first quarter of them.
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
    blocks: np.ndarray = field(repr=False)
    sample: np.ndarray = field(repr=False)
    centres: np.ndarray | None = field(default=None, repr=False)
    cells: Any = field(default=None, repr=False)

    @classmethod
    def build(cls, theta: np.ndarray, ids: Sequence[str], *, measure: str = "cosine") -> ThetaIndex:
        """Store theta topic by topic, as the scan reads it.

        Memory beside `theta` and `ids`: 4 n (K + 1) + 8 n bytes, and a block of rows in float64 meanwhile.

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
        theta = np.asanyarray(theta)
        if theta.ndim != 2 or 0 in theta.shape:
            raise DataError(
                f"theta: a matrix of at least one row and column is needed, not shape {theta.shape}"
            )
        theta = theta.astype(np.float32, copy=False)
        ids = tuple(unique_ids(ids, len(theta), "id"))
        n, order = len(theta), id_order(ids)
        size = min(BLOCK, -(-n // COLUMNS) * COLUMNS)
        blocks = np.zeros((-(-n // size), theta.shape[1] + 1, size), dtype=np.float32)
        parts = [order[start : start + size] for start in range(0, n, size)]
        lengths = np.concatenate([unit_rows(theta[part], "theta", measure, part)[1] for part in parts])
        if measure == "dot":
            lengths[:] = lengths.max()
        factors = 1 / np.where(lengths > 0, lengths, 1.0)
        for i, part in enumerate(parts):
            rows = values_of(theta[part], measure) * factors[i * size : i * size + len(part), None]
            blocks[i, :-1, : len(part)] = np.where(np.abs(rows) < TINY, 0.0, rows).T
            blocks[i, -1, : len(part)] = np.square(rows).sum(axis=1)
        n_sample = min(SAMPLE, n)
        chosen = np.arange(n_sample) * n // n_sample
        chosen = np.concatenate([chosen[i::4] for i in range(4)])
        sample = np.ascontiguousarray(blocks[chosen // size, :, chosen % size].T)
        return cls(theta, ids, measure, order, factors, blocks, sample)

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

        Exact unless `approximate`: what `vtm.metrics.ranking.top_items` finds, with its rule for ties. Similarities
        that round to the same multiple of `vtm.metrics.ranking.TIE_TOLERANCE` (for "dot": times the largest product
        of lengths, where that is over 1) stand in the order of their ids.

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
        top = min(top, len(self.theta))
        positions, similarities = np.empty((len(q), top), dtype=np.int64), np.empty((len(q), top))
        if len(q) == 0:
            return positions, similarities
        units, lengths = unit_rows(q, "queries", self.measure)
        # What a product of unit vectors is multiplied by to be the similarity.
        scale = lengths / self.factors[0] if self.measure == "dot" else np.ones(len(q))
        asks = units.any(axis=1)
        positions[:] = -1
        positions[~asks] = np.arange(top)  # to a query of zeros, all are equally similar
        if approximate:
            positions[asks] = self._near(units[asks], top, n_probe)
        # Where the nearest cells hold fewer than asked for, the answer is exact.
        known = positions.min(axis=1) >= 0
        size = 1 if (~known).sum() <= FEW else QUERIES
        chunks = [
            some[i : i + size]
            for some in map(np.flatnonzero, (known, ~known))
            for i in range(0, len(some), size)
        ]
        with _blas().limit(limits=1, user_api="blas"):
            for chunk in chunks:
                scan = Scan(self, units[chunk], scale[chunk], top)
                if known[chunk[0]]:
                    hits = np.repeat(np.arange(len(chunk)), top), positions[chunk].ravel()
                else:
                    hits = scan.run(threads)
                _, row, found = scan.best(*hits)
                positions[chunk] = self.order[row].reshape(-1, top)
                similarities[chunk] = found.reshape(-1, top) * scale[chunk, None]
        return positions, similarities

    def products(self, rows: np.ndarray, units: np.ndarray) -> np.ndarray:
        """(r,) products of rows of the blocks, by number, with unit vectors (r, K), or with one (1, K), in float64.

        Each row by itself: equal rows give equal numbers.
        """
        result = np.empty(len(rows))
        for start in range(0, len(rows), BLOCK):
            some = slice(start, start + BLOCK)
            values = values_of(self.theta.take(self.order[rows[some]], axis=0), self.measure)
            result[some] = np.einsum("ij,ij->i", values, units[some] if len(units) > 1 else units)
        return result * self.factors[rows]

    def group(self, *, n_cells: int | None = None) -> None:
        """Find centres around which approximate searches group the rows; then they take 4 n K bytes more.

        Parameters
        ----------
        n_cells : int, optional
            By default a power of two near the square root of n.

        Raises
        ------
        MissingError
            faiss is not installed.
        """
        faiss, n = import_faiss(), len(self.theta)
        n_cells = min(n, 2 ** round(np.log2(n) / 2) if n_cells is None else n_cells)
        n_chosen = min(n, PER_CELL * n_cells)
        chosen = np.arange(n_chosen) * n // n_chosen
        rows = values_of(self.theta[self.order[chosen]], self.measure) * self.factors[chosen, None]
        # min_points_per_centroid: faiss would print a warning about small data.
        options = {"niter": 10, "seed": stream(0, "cells of theta") % 2**31, "min_points_per_centroid": 1}
        means = faiss.Kmeans(rows.shape[1], n_cells, **options)
        means.train(rows.astype(np.float32))
        self.centres, self.cells = means.centroids, None

    def _near(self, units: np.ndarray, top: int, n_probe: int) -> np.ndarray:
        """(m, top) int64 rows of the blocks in the `n_probe` nearest cells; -1 where these hold fewer."""
        faiss, (n, n_topics) = import_faiss(), self.theta.shape
        if self.centres is None:
            self.group()
        if self.cells is None:
            quantizer = faiss.IndexFlatIP(n_topics)
            quantizer.add(self.centres)
            cells = faiss.IndexIVFFlat(quantizer, n_topics, len(self.centres), faiss.METRIC_INNER_PRODUCT)  # type: ignore[arg-type]
            cells.is_trained = True
            for block in self.blocks:
                cells.add(np.ascontiguousarray(block[:-1, : n - cells.ntotal].T))
            self.cells = cells
        parameters = faiss.SearchParametersIVF(nprobe=min(n_probe, len(self.centres)))  # type: ignore[arg-type]
        return self.cells.search(units.astype(np.float32), top, params=parameters)[1]

    def save(self, path: Path | str) -> None:
        """Write `<path>.safetensors`: theta, the ids, and the cells' centres if there are any."""
        # As an array: ids of many images are more than what a safetensors file takes as its description.
        ids = np.frombuffer(json.dumps(self.ids).encode(), dtype=np.uint8)
        centres = {} if self.centres is None else {"centres": self.centres}
        save_arrays(
            _file(path),
            {"theta": self.theta, "ids": ids} | centres,
            {"format": FORMAT, "measure": self.measure},
        )

    @classmethod
    def load(cls, path: Path | str) -> ThetaIndex:
        """Read what `save` wrote and build the index anew; it finds the same.

        Raises
        ------
        MissingError, DataError
            The file is missing, of another format, or not what was saved.
        """
        file = _file(path)
        found = load_about(file).get("format")
        if found != FORMAT:
            raise DataError(
                f"{file}: format {found!r}, this version of vtm reads {FORMAT}; build the index anew"
            )
        arrays, about = load_arrays(file)
        try:
            theta, ids, measure = arrays["theta"], json.loads(arrays["ids"].tobytes()), about["measure"]
            centres = arrays.get("centres", theta)
            fits = theta.ndim == centres.ndim == 2 and theta.shape[1] == centres.shape[1]
            if not (fits and isinstance(ids, list) and isinstance(measure, str)):
                raise ValueError
        except (KeyError, ValueError):
            raise DataError(f"{file}: does not hold what an index's does; build the index anew") from None
        index = cls.build(theta, ids, measure=measure)
        index.centres = arrays.get("centres")
        return index


class Scan:
    """An exact search for some queries at once: every row is held against limits, which rise as better ones are found.

    Parameters
    ----------
    index : ThetaIndex
    units : (m, K) float64 queries of length 1.
    scale : (m,) what a product is multiplied by to be the similarity.
    top : how many are asked for, of each.
    """

    def __init__(self, index: ThetaIndex, units: np.ndarray, scale: np.ndarray, top: int) -> None:
        self.index, self.units, self.scale, self.top = index, units, scale, top
        self.q = units.astype(np.float32)
        self.step = TIE_TOLERANCE * np.maximum(scale, 1.0)  # what counts as equal
        # More than a float32 product of a stored row and a query can be off: a sum of K products of vectors of length 1
        # by at most K u, the stored values by u each (u = 2^-24), and TINY adds less.
        self.rounding = (units.shape[1] + 8) * 2.0**-24
        # Off by the rounding may be the row that sets a limit, and the row that is compared with it.
        # No two products are further apart than 2.
        self.margins = np.minimum(self.step / np.where(scale > 0, scale, 1.0), 2.0) + 2 * self.rounding
        self.room = ROOM * top * len(units)  # of hits that are held before the limits rise
        self.few = index.sample[:, : -(-index.sample.shape[1] // 4)]
        self.limits = np.full(len(units), -2.0)  # below all that is possible
        some = index.sample if len(units) == 1 else self.few
        if top <= some.shape[1]:
            self.limits = np.partition(self.q @ some[:-1], -top, axis=1)[:, -top] - self.margins

    def run(self, threads: int) -> tuple[np.ndarray, np.ndarray]:
        """Queries and rows, (h,) each, among which are the `top` best of each query."""
        n_blocks, hits = len(self.index.blocks), NO_HITS
        # The limits of the first blocks tell which topics to read of the next ones, and theirs of the rest.
        ends = sorted({0, min(threads, n_blocks), min(max(threads, n_blocks // 4), n_blocks), n_blocks})
        for start, end in itertools.pairwise(ends):
            head = self._head() if start and len(self.q) == 1 else None
            shares = [range(start, end)[i::threads] for i in range(min(threads, end - start))]
            others = [_pool(threads, os.getpid()).submit(self._share, share, head) for share in shares[1:]]
            own = self._share(shares[0], head)
            hits = self._rise([hits, own, *(other.result() for other in others)])
        return hits[:2]

    def best(self, query: np.ndarray, row: np.ndarray) -> Hits:
        """The `top` best of each query in their order, by products in float64."""
        value = self.index.products(row, self.units[query])
        order = np.lexsort((row, -np.round(value * self.scale[query] / self.step[query]), query))
        place = np.arange(len(order)) - np.searchsorted(query[order], query[order])
        kept = order[place < self.top]
        return query[kept], row[kept], value[kept]

    def _share(self, numbers: range, head: np.ndarray | None) -> Hits:
        """What a thread finds in the blocks of these numbers."""
        parts, held = [NO_HITS], 0
        for hits in self._by_products(numbers) if head is None else self._by_head(numbers, head):
            parts.append(hits)
            held += len(hits[0])
            if held > self.room:
                parts = [self._rise(parts)]
                held = len(parts[0][0])
        return joined(parts)

    def _rise(self, parts: list[Hits]) -> Hits:
        """Raise the limits to what `top` hits reach, and drop those that are below."""
        hits = query, _, value = joined(parts)
        order = np.argsort(query, kind="stable")
        ends = np.searchsorted(query[order], np.arange(len(self.q) + 1))
        ordered = value[order]
        for i, (start, end) in enumerate(itertools.pairwise(ends)):
            if end - start >= self.top:
                reached = np.partition(ordered[start:end], -self.top)[-self.top] - self.margins[i]
                # Between threads a rise may be lost; a limit stays one that is reached.
                self.limits[i] = max(self.limits[i], reached)
        keep = value >= self.limits[query]
        hits = tuple(column[keep] for column in hits)  # type: ignore[assignment]
        # Where float32 cannot tell rows apart, as where most are equal, float64 and the rule for ties do.
        return self.best(*hits[:2]) if len(hits[0]) > self.room // 2 else hits

    def _by_products(self, numbers: range) -> Iterator[Hits]:
        size = self.index.blocks.shape[2]
        width = size if len(self.q) == 1 else COLUMNS
        # Made once, as below: fresh arrays of this size would cost more than the arithmetic.
        product = np.empty((len(self.q), width), dtype=np.float32)
        mask = np.empty(product.shape, dtype=bool)
        for number, start in itertools.product(numbers, range(0, size, width)):
            np.matmul(self.q, self.index.blocks[number, :-1, start : start + width], out=product)
            # Rounded down, so that a limit in float32 is not above the one in float64.
            least = np.nextafter(self.limits.astype(np.float32), np.float32(-np.inf))
            found = np.flatnonzero(np.greater_equal(product, least[:, None], out=mask))
            query, column = np.divmod(found, width)
            row = number * size + start + column
            inside = row < len(self.index.theta)
            yield query[inside], row[inside], product.ravel()[found[inside]]

    def _by_head(self, numbers: range, head: np.ndarray) -> Iterator[Hits]:
        weights = self.q[0, head]
        tail = max(0.0, 1.0 - float(np.square(weights, dtype=np.float64).sum()))
        lines, signs = np.append(head, len(self.q[0])), np.append(np.full(len(head), tail), -tail)
        weights, signs = np.append(weights, np.float32(0)), signs.astype(np.float32)
        size = self.index.blocks.shape[2]
        part = np.empty((len(lines), size), dtype=np.float32)
        short, rest, scratch = np.empty((3, size), dtype=np.float32)
        mask = np.empty(size, dtype=bool)
        limit, slack = np.float32(self.limits[0]), np.float32(8 * self.rounding)
        rows = []
        for number in numbers:
            np.take(self.index.blocks[number], lines, axis=0, out=part, mode="clip")
            np.dot(weights, part, out=short)
            np.square(part[:-1], out=part[:-1])
            np.dot(signs, part, out=rest)  # minus |q_tail|^2 |x_tail|^2
            short -= limit
            short *= np.abs(short, out=scratch)
            rest -= slack
            rows.append(np.flatnonzero(np.greater_equal(short, rest, out=mask)) + number * size)
        row = np.concatenate(rows)
        row = row[row < len(self.index.theta)]
        yield np.zeros(len(row), dtype=np.int64), row, self.index.products(row, self.units)

    def _head(self) -> np.ndarray | None:
        """The topics to read first, or None where whole products cost less."""
        q, limit = self.q[0], np.float32(self.limits[0])
        sizes = HEADS[HEADS < len(q)]
        largest = np.argsort(-np.abs(q), kind="stable")[: HEADS[-1]]
        part = self.few[largest]  # (h, S / 4)
        heads = (np.arange(len(largest)) < sizes[:, None]).astype(np.float32)
        tail = 1 - heads @ np.square(q[largest])
        short = np.minimum((heads * q[largest]) @ part - limit, 0)
        left = np.square(short) <= tail[:, None] * (self.few[-1] - heads @ np.square(part))
        cost = HEAD_COST + TOPIC_COST * sizes + SCORE_COST * left.mean(axis=1)
        if cost.min(initial=np.inf) >= len(q):
            return None
        return largest[: sizes[cost.argmin()]]


def joined(parts: list[Hits]) -> Hits:
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))  # type: ignore[return-value]


def values_of(rows: np.ndarray, measure: str) -> np.ndarray:
    """Rows in float64 whose products are compared: themselves, or their square roots."""
    rows = rows.astype(np.float64)
    return np.sqrt(rows) if measure == "hellinger" else rows


def unit_rows(
    rows: np.ndarray, name: str, measure: str, positions: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The `values_of` rows at length 1, checked, and their lengths: (r, K), (r,)."""
    units = prepared_rows(rows, name, "hellinger" if measure == "hellinger" else "cosine", positions)
    return units, np.einsum("ij,ij->i", values_of(rows, measure), units)


def import_faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingError(
            "approximate search needs faiss: pip install -e '.[search]' in the checkout; exact search does not"
        ) from None
    return faiss


def default_threads() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    # Kept, as threads start with no memory at hand. A forked process has none of its parent's, so it makes its own.
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="vtm-search")


@functools.cache
def _blas() -> Any:
    """Holds BLAS to one thread: beside those of a search its own would wait for one another at every product."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _file(path: Path | str) -> Path:
    return Path(path).with_name(f"{Path(path).name}.safetensors")
