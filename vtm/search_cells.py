"""Approximate search: rows in cells around centres, of which a query looks into the nearest (faiss, IndexIVFFlat)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vtm.errors import MissingError
from vtm.search_blocks import Blocks
from vtm.seeds import stream

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
