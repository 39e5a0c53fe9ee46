"""The topic network: an embedding in, a Gaussian posterior over topics and a word distribution out.

It is the ZeroShot contextualized topic model (Bianchi et al. 2021, EACL), whose decoders are those of Srivastava
and Sutton (2017); `loss` is what it is trained by. R networks that differ in their seeds ("replicas") stand side by
side in one module: every array has a leading axis R, and no operation mixes replicas. Names in brackets are those of
the equations in the book's chapter on the method.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtm.config import ModelConfig, generator


class TopicNetwork(nn.Module):
    """R replicas of a topic network.

    Parameters
    ----------
    n_inputs : D, length of an embedding.
    n_topics : K.
    n_words : V, size of the vocabulary.
    config : decoder, hidden widths, activation, dropout.
    seeds : one for each replica; its initial weights follow from it alone.
    learn_prior : whether the prior N(prior_mu, exp(prior_log_var)) is trained, as in the paper.

    Notes
    -----
    The prior's variance starts at 1 - 1/K (the Laplace approximation of a symmetric Dirichlet, Srivastava and
    Sutton 2017, eq. 3). It is kept as a logarithm: the reference package trains the variance itself, which can
    become negative and then gives a loss of NaN.
    """

    # Keeps the logarithm of the LDA decoder's word distribution finite; the reference package's constant.
    EPSILON = 1e-10
    # Batch norm's: torch's defaults, as in the reference package.
    MOMENTUM, VARIANCE_FLOOR = 0.1, 1e-5

    def __init__(
        self,
        *,
        n_inputs: int,
        n_topics: int,
        n_words: int,
        config: ModelConfig = ModelConfig(),
        seeds: Sequence[int] = (0,),
        learn_prior: bool = True,
    ) -> None:
        super().__init__()
        self.n_inputs, self.n_topics, self.n_words = n_inputs, n_topics, n_words
        self.config = config
        n_replicas = len(seeds)
        generators = [generator(seed, "initial weights") for seed in seeds]

        def uniform(bound: float, *shape: int) -> nn.Parameter:
            drawn = [torch.empty(shape).uniform_(-bound, bound, generator=g) for g in generators]
            return nn.Parameter(torch.stack(drawn))  # (R, *shape)

        def linear(n_in: int, n_out: int) -> tuple[nn.Parameter, nn.Parameter]:
            bound = 1 / math.sqrt(n_in)  # as torch.nn.Linear
            return uniform(bound, n_in, n_out), uniform(bound, 1, n_out)

        widths = (n_inputs, *config.hidden)
        layers = [linear(n_in, n_out) for n_in, n_out in zip(widths[:-1], widths[1:], strict=True)]
        self.weights = nn.ParameterList(weight for weight, _ in layers)  # (R, in, out)
        self.biases = nn.ParameterList(bias for _, bias in layers)  # (R, 1, out)
        # mu's and log_var's layers side by side, since they read the same input.
        self.head_weight, self.head_bias = linear(widths[-1], 2 * n_topics)  # (R, H, 2K), (R, 1, 2K)
        self.beta = uniform(math.sqrt(6 / (n_topics + n_words)), n_topics, n_words)  # (R, K, V), Xavier

        prior_mu = torch.zeros(n_replicas, 1, n_topics)
        prior_log_var = torch.full((n_replicas, 1, n_topics), math.log(1 - 1 / n_topics))
        self.prior_mu = nn.Parameter(prior_mu, requires_grad=learn_prior)
        self.prior_log_var = nn.Parameter(prior_log_var, requires_grad=learn_prior)

        for name, width in (("head", 2 * n_topics), ("beta", n_words)):
            self.register_buffer(f"{name}_mean", torch.zeros(n_replicas, width))
            self.register_buffer(f"{name}_var", torch.ones(n_replicas, width))
        # Inputs are read as (x - shift) / scale; both stay as they are unless `standardize` sets them.
        self.register_buffer("shift", torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(n_inputs))

    @property
    def n_replicas(self) -> int:
        return self.beta.shape[0]

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that training moves.

        `head_bias` is not among them: batch norm takes it out again, its gradient is 0, and what rounding leaves of
        that would be a random walk under Adam.
        """
        return {name: p for name, p in self.named_parameters() if p.requires_grad and name != "head_bias"}

    def infer(self, x: Tensor, *, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """mu and log_var, each (R, n, K), of embeddings x (R, n, D), or (1, n, D) for all replicas alike."""
        scaled = (x - self.shift) / self.scale  # type: ignore[operator]
        return self.posterior(scaled.expand(self.n_replicas, -1, -1), keep=keep)

    def posterior(self, scaled: Tensor, *, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Posterior of scaled embeddings, [posterior].

        Parameters
        ----------
        scaled : (R, n, D) embeddings, (x - shift) / scale.
        keep : (R, n, H) dropout mask, already divided by the share kept; None in evaluation.

        Returns
        -------
        mu, log_var : (R, n, K)
        """
        activate = softplus if self.config.activation == "softplus" else F.relu
        hidden = scaled
        for weight, bias in zip(self.weights, self.biases, strict=True):
            hidden = activate(torch.baddbmm(bias, hidden, weight))  # (R, n, H)
        if keep is not None:
            hidden = hidden * keep
        head = torch.baddbmm(self.head_bias, hidden, self.head_weight)  # (R, n, 2K)
        mu, log_var = self._batch_norm(head, "head").split(self.n_topics, dim=2)
        return mu, log_var

    def log_word_distribution(self, theta: Tensor) -> Tensor:
        """Logarithm of each document's distribution over words, [decoders]: theta (R, n, K) -> (R, n, V)."""
        if self.config.decoder == "prodLDA":
            return F.log_softmax(self._batch_norm(theta @ self.beta, "beta"), dim=2)
        return torch.log(theta @ self.topic_word_distribution() + self.EPSILON)

    def topic_word_distribution(self) -> Tensor:
        """Each topic's distribution over words, (R, K, V).

        LDA: softmax of the batch-normalised beta, as the decoder mixes it. prodLDA has no such distribution of
        its own (topics are multiplied, not mixed); softmax(beta) is the usual reading and ranks words as beta does.
        """
        if self.config.decoder == "LDA":
            return F.softmax(self._batch_norm(self.beta, "beta"), dim=2)
        return F.softmax(self.beta, dim=2)

    def _batch_norm(self, x: Tensor, name: str) -> Tensor:
        """Batch norm without affine parameters over axis 1 of x (R, n, F), each replica for itself."""
        n_replicas, n, width = x.shape
        flat = x.transpose(0, 1).reshape(n, n_replicas * width)
        mean, var = getattr(self, f"{name}_mean").view(-1), getattr(self, f"{name}_var").view(-1)
        options = {"momentum": self.MOMENTUM, "eps": self.VARIANCE_FLOOR}
        normed = F.batch_norm(flat, mean, var, training=self.training, **options)  # type: ignore[arg-type]
        return normed.view(n, n_replicas, width).transpose(0, 1)

    def replica(self, index: int) -> TopicNetwork:
        """A copy of one replica as a network with R = 1."""
        one = TopicNetwork(
            n_inputs=self.n_inputs,
            n_topics=self.n_topics,
            n_words=self.n_words,
            config=self.config,
            learn_prior=self.prior_mu.requires_grad,
        )
        one.load_state_dict(dict(self._arrays_of(index)))
        return one.to(self.beta.device).train(self.training)

    @torch.no_grad()
    def put(self, index: int, one: TopicNetwork) -> None:
        """Take over the arrays of a network with R = 1 as those of replica `index`."""
        state = one.state_dict()
        for name, value in self._arrays_of(index):
            value.copy_(state[name])

    def _arrays_of(self, index: int) -> Iterator[tuple[str, Tensor]]:
        for name, value in self.state_dict().items():
            yield name, value if name in ("shift", "scale") else value[index : index + 1]


@dataclass(frozen=True)
class Batch:
    """What the loss reads: B documents for each of R replicas.

    Parameters
    ----------
    x : (R, B, D) embeddings, already shifted and scaled.
    words, counts : (R, B, L) int64 positions of a document's words, and how often each stands in it; shorter rows are
        filled with word 0 at count 0.
    keep_hidden, keep_theta : (R, B, H), (R, B, K) dropout masks, divided by the share kept.
    noise : (R, B, K) standard normal.
    target_mu, target_log_var : (R, B, K) the teacher's posterior of the same documents, or None for the prior.
    """

    x: Tensor
    words: Tensor
    counts: Tensor
    keep_hidden: Tensor
    keep_theta: Tensor
    noise: Tensor
    target_mu: Tensor | None = None
    target_log_var: Tensor | None = None


def loss(network: TopicNetwork, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of each document, [loss], and its two parts: the negative ELBO with a weight at its KL term.

    The readable definition of the method. `vtm.model.steps` takes its gradients, and is tested against it.

    Returns
    -------
    loss, reconstruction, kl : (R, B), in nats; loss = reconstruction + kl_weight * kl.
    """
    # The posterior of the topics, from the embedding alone [posterior] (Bianchi et al. 2021).
    mu, log_var = network.posterior(batch.x, keep=batch.keep_hidden)  # (R, B, K)
    # One sample of it, through which gradients flow (Kingma and Welling 2014), made to sum to one [theta].
    theta = torch.softmax(mu + torch.exp(0.5 * log_var) * batch.noise, dim=2)
    # The words that its topics foretell [decoders] (Srivastava and Sutton 2017).
    log_words = network.log_word_distribution(theta * batch.keep_theta)  # (R, B, V)
    reconstruction = reconstruction_loss(log_words, batch.words, batch.counts)
    # A student is drawn to its teacher's posterior of the same document (Pivovarova and Zosa 2021) [distillation-kl].
    target_mu, target_log_var = batch.target_mu, batch.target_log_var
    if target_mu is None:
        target_mu, target_log_var = network.prior_mu, network.prior_log_var
    kl = kl_divergence(mu, log_var, target_mu, target_log_var)  # type: ignore[arg-type]
    return reconstruction + network.config.kl_weight * kl, reconstruction, kl


def reconstruction_loss(log_words: Tensor, words: Tensor, counts: Tensor) -> Tensor:
    """Negative log-likelihood of each document's words, in nats.

    Parameters
    ----------
    log_words : (R, n, V) logarithm of the word distributions.
    words, counts : (R, n, L) as in `Batch`.

    Returns
    -------
    (R, n)
    """
    return -(log_words.gather(2, words) * counts).sum(dim=2)


def kl_divergence(mu: Tensor, log_var: Tensor, target_mu: Tensor, target_log_var: Tensor) -> Tensor:
    """KL(N(mu, exp(log_var)) || N(target_mu, exp(target_log_var))), diagonal, summed over topics.

    The target is the prior, or in distillation the teacher's posterior of the same document. Shapes (..., K),
    broadcast; returns (...), in nats.
    """
    inverse = torch.exp(-target_log_var)
    terms = (log_var.exp() + (mu - target_mu) ** 2) * inverse - 1 + target_log_var - log_var
    return 0.5 * terms.sum(dim=-1)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), to some 1e-7, in a fifth of the time of torch's own.

    -log(sigmoid(-x)) by operations that use the processor's vector units, as torch's log1p does not. sigmoid(-x)
    runs out of numbers near x = 87; softplus is x there, and never below it.
    """
    return torch.maximum(x, -torch.sigmoid(-x).clamp_min(torch.finfo(x.dtype).tiny).log())


@dataclass(frozen=True)
class Posterior:
    """Gaussian posteriors over topics of n documents by R replicas: mu, log_var, each (R, n, K) float32."""

    mu: np.ndarray
    log_var: np.ndarray


@contextmanager
def one_thread() -> Iterator[int]:
    """Compute with one thread, so that the last bits do not depend on how many there are; yields how many torch had."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
