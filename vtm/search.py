"""Search among many images by theta: exact by proven bounds, or approximate with faiss.

Where `vtm.ranking` compares everything with everything in float64, an index finds the best of a million images for a
text in milliseconds, and unless asked to approximate it finds the same ones in the same order. Arrays and files only:
nothing here knows an encoder or a model.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vtm.errors import ConfigError, DataError
from vtm.ranking import TIE_TOLERANCE
from vtm.search_blocks import Blocks, build_blocks, default_threads, one_blas_thread
from vtm.search_cells import default_cells, fill_cells, find_centres, rows_to_learn, search_cells
from vtm.search_files import read_index, write_index
from vtm.search_rows import lengths_of, order_of, values_of
from vtm.search_scan import scan_many, scan_one

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
        See `vtm.ranking.similarity`.
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

        Exact unless `approximate`: what `vtm.ranking.top_items` finds, with its rule for ties. Similarities that round
        to the same multiple of `vtm.ranking.TIE_TOLERANCE` (for "dot": times the largest product of lengths, where
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
