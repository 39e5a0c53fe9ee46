"""Turns: every task to its end, on few threads, and no task goes on after an error."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from vtm.model.training import ONE_THREAD_BELOW, take_turns, training_threads


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_all_tasks_come_to_their_end(n_threads):
    seen, ticks = [], []

    def task(name, turns):
        for turn in range(turns):
            seen.append((name, turn, threading.get_ident()))
            yield
        seen.append((name, "end", threading.get_ident()))

    take_turns(
        [task("a", 5), task("b", 0), task("c", 3)], n_threads=n_threads, after_each=lambda: ticks.append(1)
    )
    for name, turns in (("a", 5), ("b", 0), ("c", 3)):
        assert [turn for n, turn, _ in seen if n == name] == [*range(turns), "end"]
    assert len(ticks) == 8
    assert len({thread for *_, thread in seen}) <= min(n_threads, 3)
    if n_threads == 1:
        assert {thread for *_, thread in seen} == {threading.get_ident()}
    take_turns([], n_threads=n_threads)


def test_two_threads_work_at_the_same_time():
    barrier = threading.Barrier(2, timeout=30)  # passed only when two tasks are at it together

    def task():
        for _ in range(3):
            barrier.wait()
            yield

    take_turns([task(), task()], n_threads=2)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_stops_the_others_and_is_raised(n_threads):
    turns = []

    def endless():
        while True:
            turns.append(1)
            yield

    def broken():
        yield
        raise ZeroDivisionError("in a task")

    with pytest.raises(ZeroDivisionError, match="in a task"):
        take_turns([endless(), broken()], n_threads=n_threads)
    done = len(turns)
    time.sleep(0.05)
    assert len(turns) == done


def test_small_networks_get_one_thread_each_and_large_ones_all():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with training_threads(ONE_THREAD_BELOW - 1) as at_once:
            assert (at_once, torch.get_num_threads()) == (2, 1)
        assert torch.get_num_threads() == 2
        with training_threads(ONE_THREAD_BELOW) as at_once:
            assert (at_once, torch.get_num_threads()) == (1, 2)
        with pytest.raises(KeyError), training_threads(0):
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
