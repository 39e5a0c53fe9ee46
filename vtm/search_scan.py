"""Exact search in blocks of unit rows: which rows can be among the best of a query, decided in float32 with proof.

Rows and queries have length at most 1. A row is left out only where an upper bound of its similarity, rounding
included, is below what `top` rows are known to reach; what is left is for the caller to score in float64. Two bounds:

- Many queries: the float32 product itself, plus its rounding error.
- Few queries: the topics of the query with the largest weights, its head. By Cauchy-Schwarz the rest adds at most the
  product of the two remaining lengths, so a row x with similarity s or more to a query q has
  ``q_head . x_head >= s`` or ``(s - q_head . x_head)^2 <= |q_tail|^2 (|x|^2 - |x_head|^2)``.
  Blocks are stored topic by topic, so only the head's topics are read. Where the head would leave too many rows, as
  for a query that is spread over all topics, whole products are taken instead: which of both, and how large a head,
  is estimated on a sample of the rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vtm.search_blocks import COLUMNS, Blocks, run

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
