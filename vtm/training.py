"""Training: all data on the device, all seeds side by side, no DataLoader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vtm.bow import padded_words
from vtm.config import ModelConfig
from vtm.errors import ConfigError, DataError
from vtm.model import TopicNetwork, kl_divergence, reconstruction_loss
from vtm.seeds import generator

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Random numbers are drawn for this many steps at once: one call instead of one for each step.
STEPS_A_DRAW = 16
# Below so many multiplications a step (of the decoder, the largest part) a second thread waits longer than it
# works; with one thread the result does not depend on how many there are either.
ONE_THREAD_BELOW = 100_000_000


@contextmanager
def training_threads(multiplications: int) -> Iterator[None]:
    """Train small networks with one thread, and give torch its threads back afterwards."""
    threads = torch.get_num_threads()
    if multiplications < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
    x : (n, D) embeddings.
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
        Shapes that do not agree, or embeddings that are not finite.
    ConfigError
        No seed, or both `target` and `prior`.
    """
    n = _check_documents(x, counts)
    if len(seeds) == 0:
        raise ConfigError("seeds: name at least one")
    _check_lesson(target, prior, (len(seeds), n, n_topics))
    if validation is not None:
        _check_validation(*validation, x.shape[1], counts.shape[1])
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

    data = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(where)
    words, numbers = (torch.from_numpy(a).to(where) for a in padded_words(counts))
    teacher = None
    if target is not None:
        teacher = torch.from_numpy(target.mu).to(where), torch.from_numpy(target.log_var).to(where)
    held_out = _held_out(validation, where)

    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)
    draws = _Draws(network, n, config, seeds, where)
    replicas = torch.arange(len(seeds), device=where).unsqueeze(1)  # (R, 1)
    curves = np.full((3, len(seeds), config.epochs), np.nan)

    from tqdm import tqdm

    bar = tqdm(
        total=config.epochs,
        desc=progress,
        unit="epoch",
        leave=False,
        disable=True if progress is None else None,
    )
    with training_threads(len(seeds) * draws.batch * n_topics * counts.shape[1]):
        for epoch in range(config.epochs):
            sums = torch.zeros(2, len(seeds), device=where)
            for rows, keep_hidden, noise, keep_theta in draws.epoch():
                mu, log_var = network.infer(data[rows], keep=keep_hidden)  # (R, B, K)
                theta = torch.softmax(mu + torch.exp(0.5 * log_var) * noise, dim=2) * keep_theta
                log_words = network.log_word_distribution(theta)  # (R, B, V)
                loss_words = reconstruction_loss(log_words, words[rows], numbers[rows])  # (R, B)
                if teacher is None:
                    kl = kl_divergence(mu, log_var, network.prior_mu, network.prior_log_var)
                else:
                    kl = kl_divergence(mu, log_var, teacher[0][replicas, rows], teacher[1][replicas, rows])
                optimizer.zero_grad(set_to_none=True)
                # Summed over the batch, as in the reference package; Adam does not care for the scale.
                (loss_words + config.kl_weight * kl).sum().backward()
                optimizer.step()
                with torch.no_grad():
                    sums += torch.stack([loss_words.sum(dim=1), kl.sum(dim=1)])
            curves[:2, :, epoch] = (sums / draws.documents_an_epoch).cpu().numpy()
            if held_out is not None:
                curves[2, :, epoch] = held_out_reconstruction(network, *held_out).mean(dim=1).cpu().numpy()
                network.train()
            bar.update()
    bar.close()
    return network.eval(), History(*curves)


@torch.no_grad()
def held_out_reconstruction(network: TopicNetwork, x: Tensor, words: Tensor, numbers: Tensor) -> Tensor:
    """Reconstruction loss of documents in evaluation mode with theta = softmax(mu): (R, n), nats per document."""
    network.eval()
    mu, _ = network.infer(x.unsqueeze(0))
    log_words = network.log_word_distribution(torch.softmax(mu, dim=2))
    shape = (network.n_replicas, *words.shape)
    return reconstruction_loss(log_words, words.expand(shape), numbers.expand(shape))


@torch.no_grad()
def infer_posterior(network: TopicNetwork, x: np.ndarray, *, block: int = 8192) -> Posterior:
    """Posteriors of embeddings (n, D) in evaluation mode, in blocks of bounded memory."""
    check_embeddings(x, network.n_inputs)
    network.eval()
    device = network.beta.device
    parts = []
    for start in range(0, len(x), block):
        rows = torch.from_numpy(np.ascontiguousarray(x[start : start + block], dtype=np.float32))
        parts.append([a.cpu().numpy() for a in network.infer(rows.to(device).unsqueeze(0))])
    if not parts:
        empty = np.zeros((network.n_replicas, 0, network.n_topics), dtype=np.float32)
        return Posterior(empty, empty.copy())
    mu, log_var = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    return Posterior(mu, log_var)


def input_scaling(x: np.ndarray, config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """shift and scale (D,) of the network's inputs, from the training embeddings (n, D).

    Mean and standard deviation of each dimension with `config.standardize`, else 0 and 1.
    """
    if config.standardize:
        return x.mean(axis=0), x.std(axis=0) + 1e-6
    return np.zeros(x.shape[1], dtype=np.float32), np.ones(x.shape[1], dtype=np.float32)


def check_embeddings(x: np.ndarray, n_inputs: int | None = None) -> None:
    """Raise DataError unless x is (n, D) and finite (and D is `n_inputs`, where given)."""
    if x.ndim != 2:
        raise DataError(f"embeddings have shape {x.shape}; they must be (documents, dimensions)")
    if n_inputs is not None and x.shape[1] != n_inputs:
        raise DataError(
            f"embeddings have {x.shape[1]} dimensions, the model was trained on {n_inputs}: use the same encoder"
        )
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} of {len(x)} embeddings hold NaN or infinity, the first in row {int(bad.argmax())}; "
            "leave these rows out or compute them anew"
        )


def _check_documents(x: np.ndarray, counts: csr_matrix) -> int:
    check_embeddings(x)
    if len(x) != counts.shape[0]:
        raise DataError(
            f"{len(x)} embeddings but {counts.shape[0]} bags of words: give one of each a document"
        )
    if len(x) < 2:
        raise DataError(f"{len(x)} training document(s): at least 2 are needed")
    return len(x)


def _check_lesson(target: Posterior | None, prior: Posterior | None, shape: tuple[int, int, int]) -> None:
    if target is not None and prior is not None:
        raise ConfigError("target and prior: a student learns from one of them, give the other as None")
    if target is not None and not target.mu.shape == target.log_var.shape == shape:
        raise DataError(
            f"the teacher's posteriors have shape {target.mu.shape}; the student's (seeds, documents, topics) "
            f"are {shape}"
        )
    if prior is not None and not prior.mu.shape == prior.log_var.shape == (shape[0], 1, shape[2]):
        raise DataError(f"the prior has shape {prior.mu.shape}; it must be {(shape[0], 1, shape[2])}")


def _check_validation(x: np.ndarray, counts: csr_matrix, n_inputs: int, n_words: int) -> None:
    check_embeddings(x, n_inputs)
    if counts.shape != (len(x), n_words):
        raise DataError(
            f"validation has {len(x)} embeddings and bags of words of shape {counts.shape}; they must be "
            f"{(len(x), n_words)}"
        )


def _held_out(
    validation: tuple[np.ndarray, csr_matrix] | None, device: torch.device
) -> tuple[Tensor, Tensor, Tensor] | None:
    if validation is None or len(validation[0]) == 0:
        return None
    x, counts = validation
    words, numbers = padded_words(counts)
    return tuple(torch.from_numpy(a).to(device) for a in (np.asarray(x, dtype=np.float32), words, numbers))


class _Draws:
    """Batches and noise of each epoch; a replica's numbers depend on its own seed alone."""

    def __init__(
        self, network: TopicNetwork, n: int, config: ModelConfig, seeds: Sequence[int], device: torch.device
    ) -> None:
        self.n, self.device = n, device
        self.batch = min(config.batch_size, n)
        self.n_steps = n // self.batch  # the last, smaller batch is left out, as in the reference package
        self.documents_an_epoch = self.n_steps * self.batch
        self.generators = [generator(seed, "training", device=device) for seed in seeds]
        self.widths = (config.hidden[-1], network.n_topics)
        self.dropout = config.dropout

    def epoch(self):
        """Yield (rows (R, B), keep_hidden (R, B, H), noise (R, B, K), keep_theta (R, B, K)) of each step."""
        order = torch.stack(
            [torch.randperm(self.n, generator=g, device=self.device) for g in self.generators]
        )
        hidden, topics = self.widths
        for first in range(0, self.n_steps, STEPS_A_DRAW):
            steps = min(STEPS_A_DRAW, self.n_steps - first)
            keep_hidden = self._keep(steps, hidden)
            keep_theta = self._keep(steps, topics)
            noise = self._draw(torch.randn, steps, topics)
            for step in range(steps):
                start = (first + step) * self.batch
                rows = order[:, start : start + self.batch]
                yield rows, keep_hidden[:, step], noise[:, step], keep_theta[:, step]

    def _draw(self, function, steps: int, width: int) -> Tensor:
        shape = (steps, self.batch, width)
        return torch.stack([function(shape, generator=g, device=self.device) for g in self.generators])

    def _keep(self, steps: int, width: int) -> Tensor:
        """Dropout mask, divided by the share kept: (R, steps, B, width)."""
        keep = self._draw(torch.rand, steps, width) >= self.dropout
        return keep.float() / (1 - self.dropout)
