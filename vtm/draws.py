"""What a training step reads, gathered for some steps at once: shuffled documents, dropout masks, noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vtm.config import ModelConfig
from vtm.flat import Batch
from vtm.seeds import generator

# Random numbers are drawn and documents gathered for so many steps at once: one call instead of one for each step.
STEPS_A_DRAW = 16


@dataclass(frozen=True)
class Documents:
    """Training documents on the device.

    Parameters
    ----------
    x : (n, D) embeddings, read as (x - shift) / scale.
    shift, scale : (D,)
    words, numbers : (n, L) word positions and their counts (`vtm.bow.padded_words`).
    target : the teacher's mu and log_var, each (R, n, K), or None.
    """

    x: Tensor
    shift: Tensor
    scale: Tensor
    words: Tensor
    numbers: Tensor
    target: tuple[Tensor, Tensor] | None = None


class Draws:
    """Batches of each epoch for R replicas; a replica's numbers depend on its own seed alone.

    Parameters
    ----------
    widths : H and K, the widths that dropout masks and noise have.

    Notes
    -----
    All steps' arrays lie in buffers that are made once and written anew for the next steps: a batch is to be used
    before the next one is asked for.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        widths: tuple[int, int],
        config: ModelConfig,
        seeds: Sequence[int],
    ) -> None:
        self.documents = documents
        self.inverse_scale = 1 / documents.scale
        self.n, device = len(documents.x), documents.x.device
        self.batch = min(config.batch_size, self.n)
        self.n_steps = (
            self.n // self.batch
        )  # the last, smaller batch is left out, as in the reference package
        self.documents_an_epoch = self.n_steps * self.batch
        self.dropout = config.dropout
        self.generators = [generator(seed, "training", device=device) for seed in seeds]
        self.order = torch.empty(len(seeds), self.n, dtype=torch.int64, device=device)
        self.size = min(STEPS_A_DRAW, self.n_steps)
        lead = (len(seeds), self.size, self.batch)

        def buffer(width: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.empty(*lead, width, dtype=dtype, device=device)

        hidden, topics = widths
        self.keep_hidden, self.keep_theta, self.noise = buffer(hidden), buffer(topics), buffer(topics)
        self.x = buffer(documents.x.shape[1])
        self.words = buffer(documents.words.shape[1], torch.int64)
        self.minus_counts, self.n_words = buffer(documents.words.shape[1]), buffer(1)
        self.target = None if documents.target is None else (buffer(topics), buffer(topics))

    def epoch(self) -> Iterator[int]:
        """Shuffle, then fill the buffers again and again: yields how many steps each filling holds."""
        for replica, source in enumerate(self.generators):
            torch.randperm(self.n, generator=source, out=self.order[replica])
        for first in range(0, self.n_steps, self.size):
            steps = min(self.size, self.n_steps - first)
            self._draw(steps)
            self._gather(first, steps)
            yield steps

    def step(self, index: int) -> Batch:
        """The batch of step `index` of the present filling."""
        target = (None, None) if self.target is None else (self.target[0][:, index], self.target[1][:, index])
        return Batch(
            x=self.x[:, index],
            words=self.words[:, index],
            minus_counts=self.minus_counts[:, index],
            n_words=self.n_words[:, index],
            keep_hidden=self.keep_hidden[:, index],
            keep_theta=self.keep_theta[:, index],
            noise=self.noise[:, index],
            target_mu=target[0],
            target_log_var=target[1],
        )

    def _draw(self, steps: int) -> None:
        for keep in (self.keep_hidden, self.keep_theta):
            for replica, source in enumerate(self.generators):
                mask = keep[replica, :steps].uniform_(generator=source)
                torch.ge(mask, self.dropout, out=mask).mul_(1 / (1 - self.dropout))
        for replica, source in enumerate(self.generators):
            self.noise[replica, :steps].normal_(generator=source)

    def _gather(self, first: int, steps: int) -> None:
        documents = self.documents
        for replica, order in enumerate(self.order):
            rows = order[first * self.batch : (first + steps) * self.batch]
            sources = [documents.x, documents.words, documents.numbers]
            buffers = [self.x, self.words, self.minus_counts]
            if documents.target is not None:
                sources += [array[replica] for array in documents.target]
                buffers += self.target
            for source, buffer in zip(sources, buffers, strict=True):
                torch.index_select(source, 0, rows, out=buffer[replica, :steps].flatten(0, 1))
        minus_counts = self.minus_counts[:, :steps]
        torch.sum(minus_counts, dim=3, keepdim=True, out=self.n_words[:, :steps])
        minus_counts.neg_()
        self.x[:, :steps].sub_(documents.shift).mul_(self.inverse_scale)
