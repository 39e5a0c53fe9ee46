"""Training of topic networks: all data on the device, all seeds side by side, no DataLoader."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vtm.config import ModelConfig
from vtm.errors import ConfigError, DataError
from vtm.model.network import (
    Batch,
    Posterior,
    TopicNetwork,
    loss,
    one_thread,
    reconstruction_loss,
)
from vtm.model.steps import AutogradStep, Bags, CompiledStep, Draws
from vtm.model.topicmodel import BLOCK, blocks, check_embeddings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Below so many multiplications a step (of the decoder, the largest part) a second thread waits longer than it
# works; with one thread the result does not depend on how many there are either.
ONE_THREAD_BELOW = 100_000_000
# Rows of dense word distributions, one of each document and replica, that are held at once.
HELD_OUT_ROWS = 4096


@dataclass(frozen=True)
class Pairs:
    """Documents to train or validate on, row i of each array for document i.

    Parameters
    ----------
    text, image : (n, D), (n, E) embeddings.
    counts : (n, V) how often each word of the vocabulary stands in each text.

    Raises
    ------
    DataError
        Arrays of unequal length.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> from vtm import Pairs
    >>> words = csr_matrix([[2, 0, 1], [0, 1, 0]])
    >>> pairs = Pairs(text=np.zeros((2, 16)), image=np.zeros((2, 24)), counts=words)
    >>> len(pairs), pairs.embeddings("text+image").shape
    (2, (2, 40))
    """

    text: np.ndarray
    image: np.ndarray
    counts: csr_matrix

    def __post_init__(self) -> None:
        if not len(self.text) == len(self.image) == self.counts.shape[0]:
            raise DataError(
                f"{len(self.text)} text embeddings, {len(self.image)} image embeddings and "
                f"{self.counts.shape[0]} bags of words: these must be of the same documents"
            )

    def __len__(self) -> int:
        return len(self.text)

    def embeddings(self, reads: str) -> np.ndarray:
        """Embeddings that a model of `reads` ("text", "image", "text+image") takes."""
        if reads == "text+image":
            return np.concatenate([self.text, self.image], axis=1)
        return {"text": self.text, "image": self.image}[reads]


@dataclass(frozen=True)
class History:
    """Training and validation curves, each (R, epochs): mean per document, in nats.

    `validation_reconstruction` is taken in evaluation mode with theta = softmax(mu); NaN without validation data.
    """

    reconstruction: np.ndarray
    kl: np.ndarray
    validation_reconstruction: np.ndarray

    def of(self, replica: int) -> dict[str, list[float]]:
        return {name: curves[replica].tolist() for name, curves in vars(self).items()}


def train(
    x: np.ndarray,
    counts: csr_matrix,
    *,
    n_topics: int,
    config: ModelConfig = ModelConfig(),
    seeds: Sequence[int] = (0,),
    target: Posterior | None = None,
    prior: Posterior | None = None,
    validation: tuple[np.ndarray, csr_matrix] | None = None,
    device: str = "auto",
    progress: str | None = None,
) -> tuple[TopicNetwork, History]:
    """Train one topic network for each seed, side by side.

    Parameters
    ----------
    x : (n, D) embeddings; a memory-mapped float32 file stays on disk on the CPU, batches are read from it.
    counts : (n, V) bags of words of the same documents.
    target : the teacher's posteriors of the same documents, (R, n, K); replica r learns from the teacher's
        replica r. The KL term points there in place of the prior (distillation).
    prior : a fixed prior (R, 1, K) instead of a learned one; not with `target`.
    validation : embeddings and counts of held-out documents, for the curves only.
    progress : a label for the progress bar, or None for silence.

    Returns
    -------
    The trained network, in evaluation mode, and its curves. A replica whose loss is no longer finite keeps NaN
    in its curves; the others are not touched by it.

    Raises
    ------
    DataError
        Shapes that do not agree, nothing to learn from, or embeddings that are not finite or beyond 1e12.
    ConfigError
        No seed, fewer than 2 topics, both `target` and `prior`, or a device that is not there.

    Notes
    -----
    On CUDA a step takes all replicas: one of many takes it little longer than one of one. On a CPU each replica is
    trained for itself, which keeps its arrays in the cache, makes its numbers independent of its neighbours and of the
    number of threads, and lets every core train another.
    """
    _check(x, counts, n_topics, len(seeds), target, prior, validation)
    where = resolve_device(device)
    network = TopicNetwork(
        n_inputs=x.shape[1],
        n_topics=n_topics,
        n_words=counts.shape[1],
        config=config,
        seeds=seeds,
        learn_prior=target is None and prior is None,
    )
    for buffer, value in zip((network.shift, network.scale), input_scaling(x, config), strict=True):
        buffer.copy_(torch.from_numpy(value))  # type: ignore[operator]
    if prior is not None:
        network.prior_mu.data.copy_(torch.from_numpy(prior.mu))
        network.prior_log_var.data.copy_(torch.from_numpy(prior.log_var))
    network.to(where).train()
    embeddings, bags = as_tensor(x).to(where), Bags.of(counts, where)
    lesson = target and tuple(torch.from_numpy(array).to(where) for array in (target.mu, target.log_var))
    held_out = None
    if validation is not None and len(validation[0]):
        held_out = as_tensor(validation[0]).to(where), Bags.of(validation[1], where)
    curves = np.full((3, len(seeds), config.epochs), np.nan)

    def epochs(network: TopicNetwork, replicas: slice) -> Iterator[None]:
        """Train some replicas, an epoch at each turn, and fill in their curves."""
        own = lesson and tuple(array[replicas] for array in lesson)
        draws = Draws(network, embeddings, bags, seeds=seeds[replicas], target=own)  # type: ignore[arg-type]
        step = (
            AutogradStep(network, draws, partial(_losses, network))
            if together
            else CompiledStep(network, draws)
        )
        for epoch in range(config.epochs):
            step.sums.zero_()
            for n_steps in draws.epoch():
                step(n_steps)
            curves[:2, replicas, epoch] = (step.sums.sum(dim=2) / draws.documents_an_epoch).cpu().numpy()
            if held_out is not None:
                curves[2, replicas, epoch] = _held_out(network, *held_out).mean(dim=1).cpu().numpy()
            # A fast exp or maximum may give a number for NaN, so the losses alone do not show it.
            finite = torch.stack([p.isfinite().flatten(1).all(dim=1) for p in network.trained.values()])
            curves[:2, replicas, epoch][:, ~finite.all(dim=0).cpu().numpy()] = np.nan
            yield

    def alone(index: int) -> Iterator[None]:
        one = network.replica(index)
        yield from epochs(one, slice(index, index + 1))
        network.put(index, one)

    together = _together(where)
    tasks = [epochs(network, slice(None))] if together else [alone(index) for index in range(len(seeds))]

    from tqdm import tqdm

    hidden = True if progress is None else None  # None: on a terminal only
    with (
        training_threads(min(config.batch_size, len(x)) * n_topics * counts.shape[1]) as n_threads,
        tqdm(
            total=config.epochs * len(tasks), desc=progress, unit="epoch", leave=False, disable=hidden
        ) as bar,
    ):
        take_turns(tasks, n_threads=n_threads, after_each=bar.update)
    return network.eval(), History(*curves)


def _together(device: torch.device) -> bool:
    """Whether one step takes all replicas."""
    return device.type != "cpu"


def _losses(network: TopicNetwork, arrays: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return loss(network, Batch(**arrays))


@torch.no_grad()
def infer_posterior(network: TopicNetwork, x: np.ndarray, *, block: int = 8192) -> Posterior:
    """Posteriors of embeddings (n, D) in evaluation mode, in blocks of bounded memory.

    Raises
    ------
    DataError
        Another number of dimensions than the network reads, or numbers that cannot be used.
    """
    check_embeddings(x, network.n_inputs)
    network.eval()
    device, n_replicas = network.beta.device, network.n_replicas
    alone = [network]
    if n_replicas > 1 and device.type == "cpu":
        # A product of many matrices rounds otherwise than that of one; a seed's numbers must not depend on the others.
        alone = [network.replica(index) for index in range(n_replicas)]
    mu, log_var = np.empty((2, n_replicas, len(x), network.n_topics), dtype=np.float32)
    for start in range(0, len(x), block):
        rows = torch.from_numpy(np.ascontiguousarray(x[start : start + block], dtype=np.float32))
        with one_thread():
            parts = [one.infer(rows.to(device).unsqueeze(0)) for one in alone]
        for array, found in zip((mu, log_var), zip(*parts, strict=True), strict=True):
            array[:, start : start + block] = torch.cat(found).cpu().numpy()
    return Posterior(mu, log_var)


def held_out_reconstruction(network: TopicNetwork, x: np.ndarray, counts: csr_matrix) -> Tensor:
    """Reconstruction loss of documents in evaluation mode with theta = softmax(mu): (R, n), nats per document.

    Parameters
    ----------
    x, counts : (n, D) embeddings and (n, V) bags of words.
    """
    device = network.beta.device
    return _held_out(network, as_tensor(x).to(device), Bags.of(counts, device))


@torch.no_grad()
def _held_out(network: TopicNetwork, x: Tensor, bags: Bags) -> Tensor:
    """The same; word distributions are made dense, and bags padded, for some documents at a time."""
    network.eval()
    losses, size = [], max(HELD_OUT_ROWS // network.n_replicas, 1)
    for rows in (slice(start, start + size) for start in range(0, max(len(x), 1), size)):
        mu, _ = network.infer(x[rows].unsqueeze(0))
        log_words = network.log_word_distribution(torch.softmax(mu, dim=2))
        padded = (array.expand(network.n_replicas, -1, -1) for array in bags.padded(rows))
        losses.append(reconstruction_loss(log_words, *padded))
    return torch.cat(losses, dim=1)


@contextmanager
def training_threads(multiplications: int) -> Iterator[int]:
    """Train small networks with one thread each, and give torch its threads back afterwards.

    Yields how many networks may be trained at once: as many as torch had threads, but large ones, which use all
    threads for themselves, one by one.
    """
    if multiplications >= ONE_THREAD_BELOW:
        yield 1
    else:
        with one_thread() as threads:
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
    waiting, end = deque(tasks), object()
    if min(n_threads, len(waiting)) <= 1:
        while waiting:
            if next(waiting[0], end) is end:
                waiting.popleft()
            else:
                waiting.rotate(-1)
                after_each()
        return
    pool = ThreadPoolExecutor(n_threads)
    try:
        turns = {pool.submit(next, task, end): task for task in waiting}
        while turns:
            for turn in wait(turns, return_when=FIRST_COMPLETED).done:
                task = turns.pop(turn)
                if turn.result() is not end:
                    turns[pool.submit(next, task, end)] = task
                    after_each()
    finally:
        pool.shutdown(cancel_futures=True)


def resolve_device(device: str) -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU.

    Raises
    ------
    ConfigError
        The device is unknown or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"device={device!r}: must be 'auto', 'cpu' or 'cuda'") from None
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={device!r}: no CUDA device is available; use device='cpu' or 'auto'")
    return resolved


def as_tensor(x: np.ndarray) -> Tensor:
    """x as a float32 tensor over the same memory where it is float32 already, so that a file stays mapped."""
    with warnings.catch_warnings():
        # A file that is mapped to be read only cannot be written through the tensor, and nobody tries.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


def input_scaling(x: np.ndarray, config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """shift and scale (D,) of the network's inputs, from the training embeddings (n, D).

    Mean and standard deviation of each dimension with `config.standardize`, else 0 and 1.
    """
    if config.standardize and len(x) <= BLOCK:
        return x.mean(axis=0), x.std(axis=0) + 1e-6
    if config.standardize:
        mean = sum(rows.sum(axis=0, dtype=np.float64) for _, rows in blocks(x)) / len(x)
        square = sum(((rows - mean) ** 2).sum(axis=0) for _, rows in blocks(x)) / len(x)
        return mean.astype(np.float32), (np.sqrt(square) + 1e-6).astype(np.float32)
    return np.zeros(x.shape[1], dtype=np.float32), np.ones(x.shape[1], dtype=np.float32)


def _check(
    x: np.ndarray,
    counts: csr_matrix,
    n_topics: int,
    n_seeds: int,
    target: Posterior | None,
    prior: Posterior | None,
    validation: tuple[np.ndarray, csr_matrix] | None,
) -> None:
    """Raise the errors that `train` names, before any work is done."""
    if n_topics < 2:
        raise ConfigError(f"n_topics={n_topics}: a model needs at least 2 topics")
    check_embeddings(x)
    n, n_words = counts.shape
    if len(x) != n:
        raise DataError(f"{len(x)} embeddings but {n} bags of words: give one of each a document")
    if n < 2:
        raise DataError(f"{n} training document(s): at least 2 are needed")
    if not (x.shape[1] and n_words):
        raise DataError(f"embeddings of {x.shape[1]} dimensions and {n_words} words: some of both are needed")
    if n_seeds == 0:
        raise ConfigError("seeds: name at least one")
    if target is not None and prior is not None:
        raise ConfigError("target and prior: a student learns from one of them, give the other as None")
    shape = (n_seeds, n, n_topics)
    if target is not None and not target.mu.shape == target.log_var.shape == shape:
        raise DataError(
            f"the teacher's posteriors have shape {target.mu.shape}; the student's (seeds, documents, topics) "
            f"are {shape}"
        )
    shape = (n_seeds, 1, n_topics)
    if prior is not None and not prior.mu.shape == prior.log_var.shape == shape:
        raise DataError(f"the prior has shape {prior.mu.shape}; it must be {shape}")
    if validation is not None:
        held_out, words = validation
        check_embeddings(held_out, x.shape[1])
        if words.shape != (len(held_out), n_words):
            raise DataError(
                f"validation has {len(held_out)} embeddings and bags of words of shape {words.shape}; they must be "
                f"{(len(held_out), n_words)}"
            )
