"""Several training steps at one call: one after the other, or on CUDA as one graph that is replayed."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vtm.compiled_step import CompiledStep
from vtm.draws import Draws
from vtm.step import Step


class Steps:
    """Takes the steps that a filling of `Draws` holds.

    Parameters
    ----------
    capture : record the steps as a CUDA graph and replay it; default: where the step lies on CUDA. A step is some
        eighty small kernels; launched one by one they leave the device waiting for Python.
    """

    def __init__(self, step: Step | CompiledStep, draws: Draws, *, capture: bool | None = None) -> None:
        self.step, self.draws = step, draws
        self.takes: dict[int, list[Callable[[], None]]] = {}  # of each width that a filling has had
        self.capture = step.sums.is_cuda if capture is None else capture
        self.graphs: dict[tuple[int, int], torch.cuda.CUDAGraph | None] = {}

    def __call__(self, n_steps: int) -> None:
        key = (n_steps, self.draws.width)
        if not self.capture:
            self._take(n_steps)
        elif key not in self.graphs:
            # Libraries set themselves up when they are first called, which a capture does not allow.
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._take(n_steps)
            torch.cuda.current_stream().wait_stream(stream)
            self.graphs[key] = None
        else:
            if self.graphs[key] is None:
                self.graphs[key] = self._record(n_steps)
            self.graphs[key].replay()

    def _record(self, n_steps: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):  # records only; nothing runs before the replay
            self._take(n_steps)
        return graph

    def _take(self, n_steps: int) -> None:
        width = self.draws.width
        if width not in self.takes:
            self.takes[width] = [self.step.bind(self.draws.step(index)) for index in range(self.draws.size)]
        for take in self.takes[width][:n_steps]:
            take()
