"""From two sets of vectors to ranks: which items resemble which queries, and how far down the right one is.

Arrays and ids only: nothing here knows an encoder or a model. Similarities are float64 and computed in
blocks, so memory stays bounded; rows are taken in the order of their ids, so that the order in which a
caller happens to hold texts or images cannot change a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from vtm.errors import ConfigError, DataError, check_choice, counted

MEASURES = ("cosine", "dot", "hellinger", "jensen-shannon")
NOT_FOUND = int(np.iinfo(np.int64).max)  # the rank of a target that is not among the items: past any cutoff
TIE_TOLERANCE = 1e-9
_DISTRIBUTIONS = ("hellinger", "jensen-shannon")
_BLOCK_VALUES = 2**23  # float64 values held at once by one block: 64 MiB
_ITEMS, _QUERIES = 2**15, 2**10  # of one product, where the best are looked for
_FEW = 100  # up to so many of each row, to look for the largest again and again is quicker than to sort all


@dataclass(frozen=True)
class Ranks:
    """The rank of each query's target.

    Attributes
    ----------
    ids : tuple of str
        The queries, in the order they were given.
    ranks : (n,) int64
        1 is best; `NOT_FOUND` for a target that is not among the items.
    n_items : int
        How many items were ranked.
    """

    ids: tuple[str, ...]
    ranks: np.ndarray
    n_items: int

    @property
    def found(self) -> np.ndarray:
        """(n,) bool: whether the target was among the items."""
        return self.ranks != NOT_FOUND


def similarity(queries: np.ndarray, items: np.ndarray, *, measure: str = "cosine") -> np.ndarray:
    """Similarity of every query to every item; larger is more alike.

    Parameters
    ----------
    queries : (n, d)
    items : (m, d)
    measure : {"cosine", "dot", "hellinger", "jensen-shannon"}
        "cosine": 0 where either vector is all zeros. "dot": the inner product. "hellinger": the
        Bhattacharyya coefficient ``sum_k sqrt(p_k q_k)``, which ranks as the Hellinger distance
        ``sqrt(1 - coefficient)`` does, without its loss of digits near 0. "jensen-shannon": minus the
        divergence, in nats (Lin 1991, eq. 4.1), from ``-log 2`` to 0. The last two take distributions:
        rows that are not negative and sum to 1 (within 0.001; then normalised exactly).

    Returns
    -------
    (n, m) float64

    Raises
    ------
    ConfigError
        Unknown measure.
    DataError
        Shapes that do not fit, no rows, NaN or infinity, rows that are not distributions.
    """
    left, right = _prepare_pair(queries, items, measure)
    result = np.empty((len(left), len(right)))
    for rows, block in _blocks(left, right, measure):
        result[rows] = block
    return result


def target_ranks(
    queries: np.ndarray,
    items: np.ndarray,
    query_ids: Sequence[str],
    item_ids: Sequence[str],
    targets: Mapping[str, str] | None = None,
    *,
    measure: str = "cosine",
) -> Ranks:
    """Rank of each query's target among all items.

    Ties are counted against the target: its rank is 1 + the number of other items whose similarity is at
    least the target's minus `TIE_TOLERANCE` (for "dot": times the largest product of norms, where that is
    over 1). A model that gives all items the same vector thus ranks every target last, not first.
    A target that is not among the items counts as not found: its rank is `NOT_FOUND`, and it stays in the
    denominator of every figure.

    Parameters
    ----------
    queries, items : (n, d), (m, d)
    query_ids, item_ids : sequences of str, n and m long
    targets : mapping of query id to item id, optional
        By default the item with the query's own id.
    measure : str
        See `similarity`.

    Returns
    -------
    Ranks
        In the order of `query_ids`; the ranks don't depend on the order of queries or items.

    Raises
    ------
    ConfigError, DataError
        As `similarity`; also for ids that are repeated or too few, or a query that `targets` lacks.
    """
    q_ids, i_ids = (
        unique_ids(query_ids, len(queries), "query id"),
        unique_ids(item_ids, len(items), "item id"),
    )
    wanted = q_ids if targets is None else [targets.get(i) for i in q_ids]
    if targets is not None and (missing := [i for i in q_ids if i not in targets]):
        raise DataError(
            f"targets: no item named for {counted(len(missing), 'query', 'queries')}, the first is {missing[0]!r}"
        )
    # Canonical order: BLAS rounds by position, so the same rows in another order may differ in a last digit.
    q_order, i_order = id_order(q_ids), id_order(i_ids)
    left, right = _prepare_pair(queries, items, measure)
    left, right = left[q_order], right[i_order]
    place = {i_ids[position]: column for column, position in enumerate(i_order)}
    columns = np.array([place.get(wanted[position], -1) for position in q_order], dtype=np.int64)
    tolerance = _tolerance(left, [right], measure)

    sorted_ranks = np.full(len(q_ids), NOT_FOUND, dtype=np.int64)
    for rows, block in _blocks(left, right, measure):
        found = np.flatnonzero(columns[rows] >= 0)
        at_target = block[found, columns[rows][found]]
        # The target itself passes its own threshold: that is the 1 of the rank.
        at_least = block[found] >= (at_target - tolerance[rows][found])[:, None]
        sorted_ranks[rows.start + found] = at_least.sum(axis=1)
    ranks = np.empty_like(sorted_ranks)
    ranks[q_order] = sorted_ranks
    return Ranks(ids=tuple(q_ids), ranks=ranks, n_items=len(i_ids))


def top_items(
    queries: np.ndarray,
    items: np.ndarray,
    item_ids: Sequence[str],
    *,
    k: int,
    measure: str = "cosine",
) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar items of each query.

    Parameters
    ----------
    queries, items : (n, d), (m, d)
    item_ids : sequence of str, m long
        Items whose similarities round to the same multiple of `TIE_TOLERANCE` stand in the order of
        their ids, so that the order of `items` does not matter.
    k : int
        At least 1; no more than m are returned.
    measure : str
        See `similarity`.

    Returns
    -------
    positions : (n, min(k, m)) int64
        Into `items`, best first.
    scores : (n, min(k, m)) float64
        Their similarities.

    Raises
    ------
    ConfigError, DataError
        As `similarity`; also for k below 1, ids that are repeated or too few.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, not {k}")
    order = id_order(unique_ids(item_ids, len(items), "item id"))
    left, right = _checked_pair(queries, items, measure)
    left = _rows(left, measure)
    width = max(1, min(_ITEMS, _BLOCK_VALUES // min(len(left), _QUERIES)))
    parts = [order[start : start + width] for start in range(0, len(order), width)]
    tolerance = _tolerance(left, (right[part] for part in parts), measure)[:, None]
    positions = np.empty((len(left), min(k, len(order))), dtype=np.int64)
    scores = np.empty(positions.shape)
    for start in range(0, len(left), _QUERIES):
        rows = slice(start, start + _QUERIES)
        blocks = (_product(left[rows], _rows(right[part], measure), measure) for part in parts)
        found, scores[rows] = best_of(blocks, k, key=partial(_steps, tolerance[rows]))
        positions[rows] = order[found]
    return positions, scores


def _steps(tolerance: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Similarities as multiples of what counts as equal."""
    return np.round(block / tolerance)


def best_columns(x: np.ndarray, top: int) -> np.ndarray:
    """The `top` largest numbers' columns of each row of (n, m), the largest first, of equal ones the first: (n, top)."""
    top = min(top, x.shape[1])
    if top > _FEW:
        return np.argsort(-x, kind="stable")[:, :top]
    left, rows = x.astype(np.float64), np.arange(len(x))
    order, unsure = np.empty((len(x), top), dtype=np.int64), np.zeros(len(x), dtype=bool)
    for place in range(top):
        order[:, place] = best = left.argmax(axis=1)
        unsure |= ~(left[rows, best] > -np.inf)  # NaN, or nothing left
        left[rows, best] = -np.inf
    order[unsure] = np.argsort(-x[unsure], kind="stable")[:, :top]
    return order


def best_of(
    parts: Iterable[np.ndarray], top: int, *, key: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> tuple[np.ndarray, np.ndarray]:
    """The `best_columns` of matrices that stand side by side, of which no more than one is held at a time.

    Parameters
    ----------
    parts : (n, b) each, at least one; the same rows, other columns.
    key : values -> what they are compared by, of the same shape.

    Returns
    -------
    columns, values : (n, top) each, or as many as there are columns.
    """
    held: tuple[np.ndarray, ...] = ()
    start = 0
    for part in parts:
        some = best_columns(key(part), top)
        found, of_these = some + start, np.take_along_axis(part, some, axis=1)
        if held:
            # What is equal stays in its order: the earlier columns stand first.
            found, of_these = (np.hstack(both) for both in zip(held, (found, of_these), strict=True))
            some = best_columns(key(of_these), top)
            found, of_these = (np.take_along_axis(both, some, axis=1) for both in (found, of_these))
        held, start = (found, of_these), start + part.shape[1]
    return held  # type: ignore[return-value]


def _prepare_pair(queries: np.ndarray, items: np.ndarray, measure: str) -> tuple[np.ndarray, np.ndarray]:
    left, right = _checked_pair(queries, items, measure)
    return _rows(left, measure), _rows(right, measure)


def _checked_pair(queries: np.ndarray, items: np.ndarray, measure: str) -> tuple[np.ndarray, np.ndarray]:
    check_choice(f"measure={measure!r}", measure, MEASURES)
    left, right = _checked(queries, "queries", measure), _checked(items, "items", measure)
    if left.shape[1] != right.shape[1]:
        raise DataError(
            f"queries have {left.shape[1]} columns and items {right.shape[1]}: they must share one space"
        )
    return left, right


def _checked(rows: np.ndarray, name: str, measure: str) -> np.ndarray:
    """Rows of float numbers that the measure can compare."""
    x = np.asanyarray(rows)
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise DataError(f"{name}: a matrix of at least one row and column is needed, not shape {x.shape}")

    def rows_of(wrong: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        starts = range(0, len(x), _ITEMS)
        return np.concatenate([start + np.flatnonzero(wrong(x[start : start + _ITEMS])) for start in starts])

    if len(bad := rows_of(lambda part: ~np.isfinite(part).all(axis=1))):
        raise DataError(
            f"{name}: NaN or infinity in {len(bad)} of {counted(len(x), 'row')}, the first is row {bad[0]}"
        )
    if measure in _DISTRIBUTIONS and len(bad := rows_of(_is_no_distribution)):
        raise DataError(
            f"{name}: {measure} compares distributions, but {len(bad)} of {len(x)} rows are negative "
            f"or do not sum to 1, the first is row {bad[0]}; use cosine"
        )
    return x


def _is_no_distribution(x: np.ndarray) -> np.ndarray:
    return (x < 0).any(axis=1) | (np.abs(x.sum(axis=1, dtype=np.float64) - 1) > 1e-3)


def _rows(x: np.ndarray, measure: str) -> np.ndarray:
    """Rows in float64, transformed so that a product of two gives the similarity where it can; each row by itself."""
    x = x.astype(np.float64)
    if measure == "cosine":
        # Divided by the largest entry first, so that squares neither overflow nor vanish.
        largest = np.abs(x).max(axis=1, keepdims=True)
        x /= np.where(largest > 0, largest, 1.0)
        length = np.linalg.norm(x, axis=1, keepdims=True)
        x /= np.where(length > 0, length, 1.0)
    if measure in _DISTRIBUTIONS:
        x /= x.sum(axis=1, keepdims=True)
    return np.sqrt(x) if measure == "hellinger" else x


def _blocks(left: np.ndarray, right: np.ndarray, measure: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the similarity matrix, a slice of queries at a time."""
    step = max(1, _BLOCK_VALUES // len(right))
    for start in range(0, len(left), step):
        rows = slice(start, min(start + step, len(left)))
        yield rows, _product(left[rows], right, measure)


def _product(left: np.ndarray, right: np.ndarray, measure: str) -> np.ndarray:
    """(n, m) similarities of rows that `_rows` made."""
    if measure == "jensen-shannon":
        return _minus_jensen_shannon(left, right)
    with np.errstate(over="ignore", invalid="ignore"):
        block = left @ right.T
    if measure == "dot" and not np.isfinite(block).all():
        raise DataError("dot: the products of these vectors overflow; use cosine, or scale them down")
    return block


def _minus_jensen_shannon(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """-JS(p, q) = (sum s log s - sum p log p - sum q log q) / 2 - log 2, where s = p + q."""
    result = np.empty((len(left), len(right)))
    own = _x_log_x(right).sum(axis=1)  # (m,)
    step = max(1, _BLOCK_VALUES // (2 * right.shape[1]))  # the sum and its logarithm are held together
    for row, p in enumerate(left):
        for start in range(0, len(right), step):
            some = slice(start, start + step)
            both = _x_log_x(p + right[some]).sum(axis=1)
            result[row, some] = (both - _x_log_x(p).sum() - own[some]) / 2 - np.log(2)
    return np.minimum(result, 0.0)


def _x_log_x(x: np.ndarray) -> np.ndarray:
    return x * np.log(np.where(x > 0, x, 1.0))


def _tolerance(left: np.ndarray, parts: Iterable[np.ndarray], measure: str) -> np.ndarray:
    """(n,) what counts as equal for each query, of items that come in parts."""
    if measure != "dot":
        return np.full(len(left), TIE_TOLERANCE)
    longest = max(np.linalg.norm(part.astype(np.float64), axis=1).max() for part in parts)
    return TIE_TOLERANCE * np.maximum(np.linalg.norm(left, axis=1) * longest, 1.0)


def unique_ids(ids: Sequence[str], n_rows: int, name: str) -> list[str]:
    """Ids as text; one for each row, and no two alike."""
    ids = [str(i) for i in ids]
    if len(ids) != n_rows:
        raise DataError(f"{counted(len(ids), name)} for {counted(n_rows, 'row')}: each row needs its own")
    seen: set[str] = set()
    for i in ids:
        if i in seen:
            raise DataError(f"{name} {i!r} occurs more than once: ids must be unique")
        seen.add(i)
    return ids


def id_order(ids: Sequence[str]) -> np.ndarray:
    """Positions in the order of the ids."""
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
