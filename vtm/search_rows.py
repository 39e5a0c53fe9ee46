"""Rows of theta checked and measured, so that a product of two unit vectors is their similarity."""

from __future__ import annotations

import itertools

import numpy as np

from vtm.errors import DataError


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
