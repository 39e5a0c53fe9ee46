"""Steps that are captured and replayed, with a stand-in for CUDA that records calls and runs them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from planted import planted
from scipy.sparse import csr_matrix, vstack

from vtm.config import ModelConfig
from vtm.model.network import TopicNetwork, one_thread
from vtm.model.steps import ROOM, AutogradStep, Bags, Draws
from vtm.model.training import _losses

DATA = planted(150)
SEEDS = (4, 0)


class Cuda:
    """What of `torch.cuda` a capture takes: while it records, what is called is kept and does not run."""

    def __init__(self) -> None:
        self.recording: list[Callable[[], None]] | None = None
        self.streams: list[str] = []  # what became of streams, in order
        self.recorded = self.replayed = 0
        cuda = self

        class CUDAGraph:
            def __init__(self) -> None:
                self.calls: list[Callable[[], None]] = []

            def replay(self) -> None:
                assert self.calls, "nothing was recorded"
                cuda.replayed += 1
                for call in self.calls:
                    call()

        class Stream:
            def __init__(self, name: str = "side") -> None:
                self.name = name

            def wait_stream(self, other: Stream) -> None:
                cuda.streams.append(f"{self.name} waits for {other.name}")

        @contextmanager
        def graph(kept: CUDAGraph) -> Iterator[None]:
            self.recording, self.recorded = kept.calls, self.recorded + 1
            yield
            self.recording = None

        @contextmanager
        def stream(entered: Stream) -> Iterator[None]:
            self.streams.append(f"into {entered.name}")
            yield
            self.streams.append(f"out of {entered.name}")

        main = Stream("main")
        self.parts = dict(CUDAGraph=CUDAGraph, Stream=Stream, graph=graph, stream=stream)
        self.parts["current_stream"] = lambda: main


class Watched(AutogradStep):
    """A step on the CPU that the stand-in records, and that says which batches of a filling it took."""

    def __init__(self, network: TopicNetwork, draws: Draws, cuda: Cuda, *, capture: bool) -> None:
        super().__init__(network, draws, partial(_losses, network), capture=capture)
        self.cuda = cuda
        self.ran: list[int] = []

    def run(self, arrays: Mapping[str, torch.Tensor]) -> None:
        def take() -> None:
            super(Watched, self).run(arrays)
            noise = self.draws.buffers["noise"]
            self.ran.append((arrays["noise"].data_ptr() - noise.data_ptr()) // noise[0, 0].nbytes)

        take() if self.cuda.recording is None else self.cuda.recording.append(take)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    stand_in = Cuda()
    for name, part in stand_in.parts.items():
        monkeypatch.setattr(torch.cuda, name, part)
    return stand_in


def trained(counts: csr_matrix, cuda: Cuda, *, capture: bool, batch_size: int, epochs: int):
    """Train with or without capture; each filling's widths and steps, and what came out."""
    config = ModelConfig(hidden=(8, 7), batch_size=batch_size)
    network = TopicNetwork(n_inputs=16, n_topics=4, n_words=counts.shape[1], config=config, seeds=SEEDS)
    x = torch.from_numpy(DATA.text[: counts.shape[0]])
    draws = Draws(network, x, Bags.of(counts), seeds=SEEDS)
    step = Watched(network, draws, cuda, capture=capture)
    fillings = []
    with one_thread():
        for n_steps in (n_steps for _ in range(epochs) for n_steps in draws.epoch()):
            step.ran.clear()
            step(n_steps)
            assert step.ran == list(range(n_steps)), "each step of a filling once, in order"
            fillings.append((n_steps, draws.width))
    return fillings, network.state_dict() | {"sums": step.sums}


@pytest.mark.parametrize(
    "n, batch_size, in_an_epoch",
    [(150, 4, [16, 16, 5]), (64, 4, [16]), (40, 8, [5]), (7, 64, [1]), (102, 2, [16, 16, 16, 3])],
)
def test_each_filling_is_taken_once_and_replays_are_the_steps_one_by_one(n, batch_size, in_an_epoch, cuda):
    options = dict(batch_size=batch_size, epochs=4)
    expected_fillings, expected = trained(DATA.counts[:n], cuda, capture=False, **options)
    assert cuda.recorded == cuda.replayed == 0 and cuda.streams == []
    fillings, found = trained(DATA.counts[:n], cuda, capture=True, **options)
    assert fillings == expected_fillings and [n_steps for n_steps, _ in fillings] == 4 * in_an_epoch
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)

    sizes = set(fillings)
    assert cuda.recorded == len(sizes)  # the first of each size runs as it is, the second is recorded
    assert cuda.replayed == len(fillings) - len(sizes)
    beside = ["side waits for main", "into side", "out of side", "main waits for side"]
    assert cuda.streams == len(sizes) * beside


def test_a_graph_is_replayed_for_fillings_of_its_width_alone(cuda):
    """One long document among short ones: its filling has arrays of its own."""
    short = csr_matrix(np.eye(149, 200, dtype=np.float32))
    counts = vstack([short, csr_matrix(np.ones((1, 200), dtype=np.float32))]).tocsr()
    options = dict(batch_size=4, epochs=6)
    _, expected = trained(counts, cuda, capture=False, **options)
    fillings, found = trained(counts, cuda, capture=True, **options)
    assert {width for _, width in fillings} == {ROOM * counts.nnz // 150, 200}
    assert cuda.recorded > 2 and cuda.replayed == len(fillings) - len(set(fillings))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)
