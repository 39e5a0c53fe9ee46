"""The topic network: an embedding in, a Gaussian posterior over topics and a word distribution out.

It is the ZeroShot contextualized topic model (Bianchi et al. 2021, EACL), whose decoders are those of Srivastava
and Sutton (2017). R networks that differ in their seeds ("replicas") stand side by side in one module: every
array has a leading axis R, and no operation mixes replicas. Training takes its steps by `vtm.model.steps` or
`vtm.model.steps`, which have this network's gradients written out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtm.config import ModelConfig, generator

# Keeps the logarithm of the LDA decoder's word distribution finite; the reference package's constant.
EPSILON = 1e-10
# Batch norm's: torch's defaults, as in the reference package.
MOMENTUM, VARIANCE_FLOOR = 0.1, 1e-5


def state_shapes(
    *, n_inputs: int, n_topics: int, n_words: int, config: ModelConfig, n_replicas: int = 1
) -> dict[str, tuple[int, ...]]:
    """The shapes of a `TopicNetwork`'s state dict, without building one."""
    widths = (n_inputs, *config.hidden)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (n_in, n_out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        shapes |= {f"weights.{layer}": (n_replicas, n_in, n_out), f"biases.{layer}": (n_replicas, 1, n_out)}
    shapes |= {
        "head_weight": (n_replicas, widths[-1], 2 * n_topics),
        "head_bias": (n_replicas, 1, 2 * n_topics),
        "beta": (n_replicas, n_topics, n_words),
    }
    shapes |= {f"prior_{name}": (n_replicas, 1, n_topics) for name in ("mu", "log_var")}
    shapes |= {f"head_{name}": (n_replicas, 2 * n_topics) for name in ("mean", "var")}
    shapes |= {f"beta_{name}": (n_replicas, n_words) for name in ("mean", "var")}
    return shapes | {"shift": (n_inputs,), "scale": (n_inputs,)}


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

    def infer(self, x: Tensor, *, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Posterior of embeddings.

        Parameters
        ----------
        x : (R, n, D), or (1, n, D) for all replicas alike.
        keep : (R, n, H) dropout mask, already divided by the share kept; None in evaluation.

        Returns
        -------
        mu, log_var : (R, n, K)
        """
        hidden = ((x - self.shift) / self.scale).expand(self.n_replicas, -1, -1)
        activate = softplus if self.config.activation == "softplus" else F.relu
        for weight, bias in zip(self.weights, self.biases, strict=True):
            hidden = activate(torch.baddbmm(bias, hidden, weight))  # (R, n, H)
        if keep is not None:
            hidden = hidden * keep
        head = torch.baddbmm(self.head_bias, hidden, self.head_weight)  # (R, n, 2K)
        mu, log_var = self._batch_norm(head, "head").split(self.n_topics, dim=2)
        return mu, log_var

    def log_word_distribution(self, theta: Tensor) -> Tensor:
        """Logarithm of each document's distribution over words: theta (R, n, K) -> (R, n, V)."""
        if self.config.decoder == "prodLDA":
            return F.log_softmax(self._batch_norm(theta @ self.beta, "beta"), dim=2)
        return torch.log(theta @ self.topic_word_distribution() + EPSILON)

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
        normed = F.batch_norm(flat, mean, var, training=self.training, momentum=MOMENTUM, eps=VARIANCE_FLOOR)
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
        state = {name: value.detach().clone() for name, value in self._arrays_of(index)}
        one.load_state_dict(state)
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


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), to some 1e-7, in a fifth of the time of torch's own.

    -log(sigmoid(-x)) by operations that use the processor's vector units, as torch's log1p does not. sigmoid(-x)
    runs out of numbers near x = 87; softplus is x there, and never below it.
    """
    return torch.maximum(x, -torch.sigmoid(-x).clamp_min(torch.finfo(x.dtype).tiny).log())


def kl_divergence(mu: Tensor, log_var: Tensor, target_mu: Tensor, target_log_var: Tensor) -> Tensor:
    """KL(N(mu, exp(log_var)) || N(target_mu, exp(target_log_var))), diagonal, summed over topics.

    The target is the prior, or in distillation the teacher's posterior of the same document (Pivovarova and
    Zosa 2021). Shapes (..., K), broadcast; returns (...), in nats.
    """
    inverse = torch.exp(-target_log_var)
    terms = (log_var.exp() + (mu - target_mu) ** 2) * inverse - 1 + target_log_var - log_var
    return 0.5 * terms.sum(dim=-1)


def reconstruction_loss(log_words: Tensor, words: Tensor, numbers: Tensor) -> Tensor:
    """Negative log-likelihood of each document's words, in nats.

    Parameters
    ----------
    log_words : (R, n, V) logarithm of the word distributions.
    words, numbers : (R, n, L) word positions and their counts (`vtm.corpora.words.padded_words`).

    Returns
    -------
    (R, n)
    """
    return -(log_words.gather(2, words) * numbers).sum(dim=2)
