"""Which threads train: many small networks at once, each with one thread, or a large one with all of them."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vtm.config import ModelConfig
from vtm.errors import ConfigError, DataError
from vtm.model.network import TopicNetwork, reconstruction_loss
from vtm.model.steps import Bags, CompiledStep, Documents, Draws, Step, Steps

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


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


# What a training takes: its device and its arrays, checked before any work is done.


# Rows that are looked at together where x may be a file that is larger than the memory.
BLOCK = 16384
# Squares of larger numbers, and their sums over documents, are beyond what float32 holds.
LARGEST = 1e12


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


def blocks(x: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of x some at a time: of a memory-mapped x no more than a block need be in memory."""
    for start in range(0, len(x), BLOCK):
        yield x[start : start + BLOCK]


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
        mean = sum(block.sum(axis=0, dtype=np.float64) for block in blocks(x)) / len(x)
        square = sum(((block - mean) ** 2).sum(axis=0) for block in blocks(x)) / len(x)
        return mean.astype(np.float32), (np.sqrt(square) + 1e-6).astype(np.float32)
    return np.zeros(x.shape[1], dtype=np.float32), np.ones(x.shape[1], dtype=np.float32)


def check_embeddings(x: np.ndarray, n_inputs: int | None = None) -> None:
    """Raise DataError unless x is (n, D), finite and within `LARGEST` (and D is `n_inputs`, where given)."""
    if x.ndim != 2:
        raise DataError(f"embeddings have shape {x.shape}; they must be (documents, dimensions)")
    if n_inputs is not None and x.shape[1] != n_inputs:
        raise DataError(
            f"embeddings have {x.shape[1]} dimensions, the model was trained on {n_inputs}: use the same encoder"
        )
    bad = (
        np.concatenate([~np.isfinite(block).all(axis=1) for block in blocks(x)])
        if len(x)
        else np.zeros(0, bool)
    )
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} of {len(x)} embeddings hold NaN or infinity, the first in row {int(bad.argmax())}; "
            "leave these rows out or compute them anew"
        )
    if any(float(np.abs(block).max(initial=0)) > LARGEST for block in blocks(x)):
        raise DataError(f"embeddings hold numbers beyond {LARGEST:g}; scale them, or compute them anew")


def check_documents(x: np.ndarray, counts: csr_matrix, n_topics: int) -> int:
    """The number of training documents.

    Raises
    ------
    ConfigError
        Fewer than 2 topics.
    DataError
        Embeddings and bags of words do not agree, are of fewer than 2 documents, or have no dimension or no word.
    """
    if n_topics < 2:
        raise ConfigError(f"n_topics={n_topics}: a model needs at least 2 topics")
    check_embeddings(x)
    if len(x) != counts.shape[0]:
        raise DataError(
            f"{len(x)} embeddings but {counts.shape[0]} bags of words: give one of each a document"
        )
    if len(x) < 2:
        raise DataError(f"{len(x)} training document(s): at least 2 are needed")
    if not (x.shape[1] and counts.shape[1]):
        raise DataError(
            f"embeddings of {x.shape[1]} dimensions and {counts.shape[1]} words: some of both are needed"
        )
    return len(x)


def check_lesson(target: Posterior | None, prior: Posterior | None, shape: tuple[int, int, int]) -> None:
    """Raise unless the teacher's posteriors have `shape` (R, n, K), or the prior (R, 1, K); at most one is given."""
    if target is not None and prior is not None:
        raise ConfigError("target and prior: a student learns from one of them, give the other as None")
    if target is not None and not target.mu.shape == target.log_var.shape == shape:
        raise DataError(
            f"the teacher's posteriors have shape {target.mu.shape}; the student's (seeds, documents, topics) "
            f"are {shape}"
        )
    if prior is not None and not prior.mu.shape == prior.log_var.shape == (shape[0], 1, shape[2]):
        raise DataError(f"the prior has shape {prior.mu.shape}; it must be {(shape[0], 1, shape[2])}")


def check_validation(x: np.ndarray, counts: csr_matrix, n_inputs: int, n_words: int) -> None:
    """Raise DataError unless validation has the training documents' dimensions and words."""
    check_embeddings(x, n_inputs)
    if counts.shape != (len(x), n_words):
        raise DataError(
            f"validation has {len(x)} embeddings and bags of words of shape {counts.shape}; they must be "
            f"{(len(x), n_words)}"
        )


# Training: all data on the device, all seeds side by side, gradients written out, no DataLoader.


# Rows of dense word distributions, one of each document and replica, that are held at once.
HELD_OUT_ROWS = 4096


@dataclass(frozen=True)
class Posterior:
    """Gaussian posteriors over topics of n documents by R replicas: mu, log_var, each (R, n, K) float32."""

    mu: np.ndarray
    log_var: np.ndarray


@dataclass(frozen=True)
class History:
    """Training and validation curves, each (R, epochs): mean per document, in nats.

    `validation_reconstruction` is taken in evaluation mode with theta = softmax(mu); NaN without validation data.
    """

    reconstruction: np.ndarray
    kl: np.ndarray
    validation_reconstruction: np.ndarray

    def of(self, replica: int) -> dict[str, list[float]]:
        return {
            "reconstruction": self.reconstruction[replica].tolist(),
            "kl": self.kl[replica].tolist(),
            "validation_reconstruction": self.validation_reconstruction[replica].tolist(),
        }


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
        No seed, fewer than 2 topics, or both `target` and `prior`.
    """
    n = check_documents(x, counts, n_topics)
    if len(seeds) == 0:
        raise ConfigError("seeds: name at least one")
    check_lesson(target, prior, (len(seeds), n, n_topics))
    if validation is not None:
        check_validation(*validation, x.shape[1], counts.shape[1])
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
        buffer.copy_(torch.from_numpy(value))
    if prior is not None:
        network.prior_mu.data.copy_(torch.from_numpy(prior.mu))
        network.prior_log_var.data.copy_(torch.from_numpy(prior.log_var))
    network.to(where).train()
    documents = Documents(
        x=as_tensor(x).to(where),
        shift=network.shift,
        scale=network.scale,
        bags=Bags.of(counts, where),
        target=target and tuple(torch.from_numpy(a).to(where) for a in (target.mu, target.log_var)),
    )
    curves = np.full((3, len(seeds), config.epochs), np.nan)
    run = _Run(network, documents, config, tuple(seeds), _held_out(validation, where), curves)
    tasks = run.tasks(together=_together(where))
    multiplications = min(config.batch_size, n) * n_topics * counts.shape[1]

    from tqdm import tqdm

    with (
        training_threads(multiplications) as n_threads,
        tqdm(
            total=config.epochs * len(tasks),
            desc=progress,
            unit="epoch",
            leave=False,
            disable=True if progress is None else None,
        ) as bar,
    ):
        take_turns(tasks, n_threads=n_threads, after_each=bar.update)
    return network.eval(), History(*curves)


def _together(device: torch.device) -> bool:
    """Whether one step takes all replicas."""
    return device.type != "cpu"


@dataclass(frozen=True)
class _Run:
    """One training. Each of its tasks trains some replicas, an epoch at each turn, and fills in their curves.

    On CUDA all replicas are one task: a step of many takes it little longer than a step of one. On a CPU each
    replica is one, which keeps its arrays in the cache, makes its numbers independent of its neighbours and of the
    number of threads, and lets every core train another.
    """

    network: TopicNetwork
    documents: Documents
    config: ModelConfig
    seeds: tuple[int, ...]
    held_out: tuple[Tensor, Bags] | None
    curves: np.ndarray  # (3, R, epochs)

    def tasks(self, *, together: bool) -> list[Iterator[None]]:
        if together:
            return [self._epochs(self.network, slice(None))]
        return [self._alone(index) for index in range(len(self.seeds))]

    def _alone(self, index: int) -> Iterator[None]:
        one = self.network.replica(index)
        yield from self._epochs(one, slice(index, index + 1))
        self.network.put(index, one)

    def _epochs(self, network: TopicNetwork, replicas: slice) -> Iterator[None]:
        documents = self.documents
        if documents.target is not None:
            documents = replace(documents, target=tuple(array[replicas] for array in documents.target))
        widths = (self.config.hidden[-1], network.n_topics)
        draws = Draws(documents, widths=widths, config=self.config, seeds=self.seeds[replicas])
        step = (Step if _together(self.documents.x.device) else CompiledStep)(network, draws.batch)
        take = Steps(step, draws)
        for epoch in range(self.config.epochs):
            step.sums.zero_()
            for n_steps in draws.epoch():
                take(n_steps)
            self.curves[:2, replicas, epoch] = (step.sums.sum(dim=2) / draws.documents_an_epoch).cpu().numpy()
            if self.held_out is not None:
                losses = _held_out_losses(network, *self.held_out)
                self.curves[2, replicas, epoch] = losses.mean(dim=1).cpu().numpy()
            # A fast exp or maximum may give a number for NaN, so the losses alone do not show it.
            diverged = ~step.parameters.values.isfinite().all(dim=1).cpu().numpy()
            self.curves[:2, replicas, epoch][:, diverged] = np.nan
            yield


@torch.no_grad()
def held_out_reconstruction(network: TopicNetwork, x: Tensor, words: Tensor, numbers: Tensor) -> Tensor:
    """Reconstruction loss of documents in evaluation mode with theta = softmax(mu): (R, n), nats per document.

    Word distributions are made dense for some documents at a time.
    """
    network.eval()
    losses = []
    for rows in _blocks(len(x), network):
        mu, _ = network.infer(x[rows].unsqueeze(0))
        log_words = network.log_word_distribution(torch.softmax(mu, dim=2))
        bags = (array[rows].expand(network.n_replicas, -1, -1) for array in (words, numbers))
        losses.append(reconstruction_loss(log_words, *bags))
    return torch.cat(losses, dim=1)


def _held_out_losses(network: TopicNetwork, x: Tensor, bags: Bags) -> Tensor:
    """As `held_out_reconstruction`, with bags of words that are padded for some documents at a time too."""
    losses = [
        held_out_reconstruction(network, x[rows], *bags.padded(rows)) for rows in _blocks(len(x), network)
    ]
    return torch.cat(losses, dim=1)


def _blocks(n: int, network: TopicNetwork) -> Iterator[slice]:
    """Rows of some documents at a time: `HELD_OUT_ROWS` of all replicas together."""
    size = max(HELD_OUT_ROWS // network.n_replicas, 1)
    return (slice(start, start + size) for start in range(0, max(n, 1), size))


@torch.no_grad()
def infer_posterior(network: TopicNetwork, x: np.ndarray, *, block: int = 8192) -> Posterior:
    """Posteriors of embeddings (n, D) in evaluation mode, in blocks of bounded memory."""
    check_embeddings(x, network.n_inputs)
    network.eval()
    if network.n_replicas > 1 and not _together(network.beta.device):
        # A product of many matrices rounds otherwise than that of one; a seed's numbers must not depend on the others.
        alone = [
            infer_posterior(network.replica(index), x, block=block) for index in range(network.n_replicas)
        ]
        return Posterior(
            np.concatenate([one.mu for one in alone]), np.concatenate([one.log_var for one in alone])
        )
    device = network.beta.device
    parts = []
    for start in range(0, len(x), block):
        rows = torch.from_numpy(np.ascontiguousarray(x[start : start + block], dtype=np.float32))
        with one_thread():
            parts.append([a.cpu().numpy() for a in network.infer(rows.to(device).unsqueeze(0))])
    if not parts:
        empty = np.zeros((network.n_replicas, 0, network.n_topics), dtype=np.float32)
        return Posterior(empty, empty.copy())
    mu, log_var = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    return Posterior(mu, log_var)


def _held_out(
    validation: tuple[np.ndarray, csr_matrix] | None, device: torch.device
) -> tuple[Tensor, Bags] | None:
    if validation is None or len(validation[0]) == 0:
        return None
    x, counts = validation
    return torch.from_numpy(np.asarray(x, dtype=np.float32)).to(device), Bags.of(counts, device)
