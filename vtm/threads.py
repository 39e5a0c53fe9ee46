"""Which threads train: many small networks at once, each with one thread, or a large one with all of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

# Below so many multiplications a step (of the decoder, the largest part) a second thread waits longer than it
# works; with one thread the result does not depend on how many there are either.
ONE_THREAD_BELOW = 100_000_000


@contextmanager
def training_threads(multiplications: int) -> Iterator[int]:
    """Train small networks with one thread each, and give torch its threads back afterwards.

    Yields how many networks may be trained at once: as many as torch had threads, but large ones, which use all
    threads for themselves, one by one.
    """
    threads = torch.get_num_threads()
    small = multiplications < ONE_THREAD_BELOW
    if small:
        torch.set_num_threads(1)
    try:
        yield threads if small else 1
    finally:
        torch.set_num_threads(threads)


@contextmanager
def one_thread() -> Iterator[int]:
    """Compute with one thread, so that the last bits do not depend on how many there are; yields that number."""
    with training_threads(0) as threads:
        yield threads


def take_turns(
    tasks: Iterable[Iterator[None]], *, n_threads: int, after_each: Callable[[], object] = lambda: None
) -> None:
    """Run all tasks to their ends on at most `n_threads` threads.

    A task is an iterator; a turn is one item of it. After its turn a task goes to the end of the queue, so that
    three tasks keep two threads busy to the end. `after_each` is called after each turn, never twice at a time.

    Raises
    ------
    The first error of a task; the others stop at the end of their turn, as they do when the caller is interrupted.
    """
    waiting = deque(tasks)
    n_threads = min(n_threads, len(waiting))
    stopped, lock = threading.Event(), threading.Lock()
    end = object()

    def work() -> None:
        while not stopped.is_set():
            try:
                task = waiting.popleft()
            except IndexError:
                return  # the tasks that are left have a thread each
            try:
                if next(task, end) is end:
                    continue
            except BaseException:
                stopped.set()
                raise
            waiting.append(task)
            with lock:
                after_each()

    if n_threads <= 1:
        return work()
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for future in [pool.submit(work) for _ in range(n_threads)]:
                future.result()
        except BaseException:
            stopped.set()
            raise
