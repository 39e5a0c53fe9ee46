"""Rows of theta as a scan reads them: topic by topic, in blocks that threads take one after the other."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

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
