"""What a training step reads, gathered for some steps at once: shuffled documents, dropout masks, noise."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vtm.bow import padded_words
from vtm.config import ModelConfig
from vtm.flat import Batch
from vtm.seeds import generator

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Random numbers are drawn and documents gathered for so many steps at once: one call instead of one for each step.
STEPS_A_DRAW = 16
# The table of bags of words may have so many cells for each that holds a word.
ROOM = 8


@dataclass(frozen=True)
class Bags:
    """Bags of words on the device: a table with a row for each document, and beside it what has no room there.

    The table is as wide as the longest document, unless this is out of proportion to all words: a few long documents
    do not make it wide.

    Parameters
    ----------
    lengths : (n,) int64, how many different words each document has.
    longest : the largest of `lengths`, at least 1.
    totals : (n, 1) float32, how many words each document has.
    words, minus_counts : (n, room) int64 and float32, word positions and their counts, negative, as the step takes
        them; shorter rows are filled with word 0 at count 0.
    surplus_words, surplus_counts : (m + longest - room,), the same of the m words that have no room in the table, one
        document's after another's; then zeros, so that `longest - room` can be read from every start.
    surplus_starts : (n,) int64, where each document's surplus begins.
    """

    lengths: Tensor
    longest: int
    totals: Tensor
    words: Tensor
    minus_counts: Tensor
    surplus_starts: Tensor
    surplus_words: Tensor
    surplus_counts: Tensor

    @classmethod
    def of(cls, counts: csr_matrix, device: torch.device | str = "cpu") -> Bags:
        """The rows of counts (n, V)."""
        lengths = np.diff(counts.indptr).astype(np.int64)
        longest = max(int(lengths.max(initial=0)), 1)
        room = min(longest, max(ROOM * counts.nnz // max(len(lengths), 1), 1))
        beside = np.maximum(lengths - room, 0)  # (n,)
        surplus_words = np.zeros(beside.sum() + longest - room, dtype=np.int64)
        surplus_counts = np.zeros(len(surplus_words), dtype=np.float32)
        inside = counts
        if room < longest:
            fits = np.arange(counts.nnz) - np.repeat(counts.indptr[:-1], lengths) < room
            surplus_words[: beside.sum()] = counts.indices[~fits]
            surplus_counts[: beside.sum()] = counts.data[~fits]
            starts = np.concatenate([[0], np.cumsum(lengths - beside)])
            inside = type(counts)((counts.data[fits], counts.indices[fits], starts), shape=counts.shape)
        words, numbers = padded_words(inside)
        arrays = dict(
            lengths=lengths,
            totals=np.asarray(counts.sum(axis=1), dtype=np.float32).reshape(-1, 1),
            words=words,
            minus_counts=np.negative(numbers, out=numbers),
            surplus_starts=np.cumsum(beside) - beside,
            surplus_words=surplus_words,
            surplus_counts=np.negative(surplus_counts, out=surplus_counts),
        )
        moved = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return cls(longest=longest, **moved)

    @property
    def room(self) -> int:
        return self.words.shape[1]

    def padded(self, part: slice) -> tuple[Tensor, Tensor]:
        """Words and counts of some documents, (m, w) each, as wide as the longest of them asks for."""
        rows = torch.arange(len(self.lengths), device=self.lengths.device)[part]
        width = max(int(self.lengths[part].max()), 1)
        words = torch.empty(len(rows), width, dtype=torch.int64, device=rows.device)
        minus_counts = torch.empty(len(rows), width, device=rows.device)
        self.pad(rows, words, minus_counts)
        return words, minus_counts.neg_()

    def pad(self, rows: Tensor, words: Tensor, minus_counts: Tensor) -> None:
        """Write the bags of some documents into arrays (m, w), filled up with word 0 at count 0.

        Parameters
        ----------
        rows : (m,) int64, documents of at most w different words.
        """
        room = min(words.shape[1], self.room)
        for table, array in ((self.words, words), (self.minus_counts, minus_counts)):
            torch.index_select(table[:, :room], 0, rows, out=array[:, :room])
        surplus = words.shape[1] - room
        if surplus == 0:
            return
        longer = (self.lengths[rows] > room).nonzero()[:, 0]
        starts, lengths = self.surplus_starts[rows[longer]], self.lengths[rows[longer]] - room
        beyond = torch.arange(surplus, device=rows.device) >= lengths.unsqueeze(1)
        for source, array in ((self.surplus_words, words), (self.surplus_counts, minus_counts)):
            array[:, room:] = 0
            array[longer, room:] = source.unfold(0, surplus, 1)[starts].masked_fill_(beyond, 0)


@dataclass(frozen=True)
class Documents:
    """Training documents on the device.

    Parameters
    ----------
    x : (n, D) embeddings, read as (x - shift) / scale.
    shift, scale : (D,)
    bags : their n bags of words.
    target : the teacher's mu and log_var, each (R, n, K), or None.
    """

    x: Tensor
    shift: Tensor
    scale: Tensor
    bags: Bags
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

    A filling's bags of words are as wide as its longest document asks for: `width` is the room that each document
    has, or the longest of all, or a quarter of that, and so on. So one long document costs one filling of an epoch,
    and there are few widths to bind.
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
        self.n_words = buffer(1)
        self.widths = [documents.bags.longest]
        while self.widths[0] > documents.bags.room:
            self.widths.insert(0, max(self.widths[0] // 4, documents.bags.room))
        self.width = self.widths[-1]
        self.cells = buffer(self.width, torch.int64).flatten(1), buffer(self.width).flatten(1)
        self.target = None if documents.target is None else (buffer(topics), buffer(topics))

    def epoch(self) -> Iterator[int]:
        """Shuffle, then fill the buffers again and again: yields how many steps each filling holds."""
        for replica, source in enumerate(self.generators):
            torch.randperm(self.n, generator=source, out=self.order[replica])
        widths = self._widths()
        for first in range(0, self.n_steps, self.size):
            steps = min(self.size, self.n_steps - first)
            self.width = next(widths)
            self._draw(steps)
            self._gather(first, steps)
            yield steps

    def step(self, index: int) -> Batch:
        """The batch of step `index` of the present filling."""
        target = (None, None) if self.target is None else (self.target[0][:, index], self.target[1][:, index])
        words, minus_counts = self._bags()
        return Batch(
            x=self.x[:, index],
            words=words[:, index],
            minus_counts=minus_counts[:, index],
            n_words=self.n_words[:, index],
            keep_hidden=self.keep_hidden[:, index],
            keep_theta=self.keep_theta[:, index],
            noise=self.noise[:, index],
            target_mu=target[0],
            target_log_var=target[1],
        )

    def _widths(self) -> Iterator[int]:
        """How wide each filling of the epoch is to be."""
        if len(self.widths) == 1:
            return repeat(self.width)
        lengths = self.documents.bags.lengths[self.order[:, : self.documents_an_epoch]]
        longest = torch.stack([part.max() for part in lengths.split(self.size * self.batch, dim=1)])
        return (self.widths[bisect_left(self.widths, length)] for length in longest.tolist())

    def _bags(self) -> tuple[Tensor, ...]:
        """Words and negative counts (R, steps, B, width) in the cells that they take of the buffers."""
        shape = (self.size, self.batch, self.width)
        return tuple(cells[:, : math.prod(shape)].unflatten(1, shape) for cells in self.cells)

    def _draw(self, steps: int) -> None:
        for keep in (self.keep_hidden, self.keep_theta):
            for replica, source in enumerate(self.generators):
                mask = keep[replica, :steps].uniform_(generator=source)
                torch.ge(mask, self.dropout, out=mask).mul_(1 / (1 - self.dropout))
        for replica, source in enumerate(self.generators):
            self.noise[replica, :steps].normal_(generator=source)

    def _gather(self, first: int, steps: int) -> None:
        documents, bags = self.documents, self._bags()
        for replica, order in enumerate(self.order):
            rows = order[first * self.batch : (first + steps) * self.batch]
            documents.bags.pad(rows, *(array[replica, :steps].flatten(0, 1) for array in bags))
            sources, buffers = [documents.x, documents.bags.totals], [self.x, self.n_words]
            if documents.target is not None:
                sources += [array[replica] for array in documents.target]
                buffers += self.target
            for source, buffer in zip(sources, buffers, strict=True):
                torch.index_select(source, 0, rows, out=buffer[replica, :steps].flatten(0, 1))
        self.x[:, :steps].sub_(documents.shift).mul_(self.inverse_scale)
