"""M3L-Contrast (Zosa and Pivovarova 2022, COLING) for one language and pictures, on our topic network.

An inference network for texts and one for pictures, one prodLDA decoder that reads texts alone, and a contrastive loss
between the two topic distributions of a pair. As in the published code: NT-Xent on sampled theta at temperature 0.07
and weight 50, the divergence of both theta, no term for the prior, dropout on the decoder's theta, Adam, batches of 32,
100 epochs, embeddings as they are. What differs: one language in place of two (one decoder, one pair of losses), and
theta at inference is the mean of 100 samples in place of 20.

`vtm_study.contrastive` differs more: linear maps in place of networks, nothing sampled, InfoNCE across modalities
alone with a learned scale, on mu as well as on theta, both sides decoded, weight decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vtm.config import ModelConfig, generator, stream
from vtm.errors import check_choice
from vtm.model.distill import Pairs
from vtm.model.network import TopicNetwork, kl_divergence
from vtm.model.topicmodel import TopicModel
from vtm.model.training import input_scaling, training_threads

DIVERGENCES = ("theta", "prior")


@dataclass(frozen=True)
class M3LConfig:
    """Settings; the defaults are the published code's.

    Parameters
    ----------
    contrast : weight of the contrastive loss, beside the mean reconstruction loss of a text.
    divergence : "theta": KL(theta of the picture || theta of the text), summed over the batch, as the code has it;
        "prior": KL of both posteriors to the learned prior, mean over the batch.
    """

    n_topics: int = 100
    contrast: float = 50.0
    divergence: str = "theta"
    temperature: float = 0.07
    epochs: int = 100
    batch_size: int = 32
    lr: float = 2e-3
    dropout: float = 0.2
    standardize: bool = False

    def __post_init__(self) -> None:
        check_choice(f"divergence={self.divergence!r}", self.divergence, DIVERGENCES)

    def network(self) -> ModelConfig:
        return ModelConfig(
            dropout=self.dropout, standardize=self.standardize, lr=self.lr, batch_size=self.batch_size
        )


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """NT-Xent (Chen et al. 2020): each row's partner against all other rows of both sides, by cosine.

    a, b : (R, n, d), row i of one belongs to row i of the other. Returns the mean over the 2n rows, (R,).
    """
    n = a.shape[1]
    z = F.normalize(torch.cat([a, b], dim=1), dim=2)
    scores = z @ z.transpose(1, 2) / temperature
    scores = scores.masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    partner = torch.arange(2 * n).roll(n)
    return F.cross_entropy(scores.transpose(1, 2), partner.expand(len(scores), -1), reduction="none").mean(
        dim=1
    )


def train_m3l(
    pairs: Pairs, vocabulary: Sequence[str], *, config: M3LConfig, seeds: Sequence[int]
) -> dict[int, tuple[TopicModel, TopicModel]]:
    """Train one model for each seed, side by side: seed -> the model of texts and that of pictures, of one beta.

    A batch of a single pair, which batch norm cannot read, is left out.
    """
    networks = {reads: _network(pairs, reads, config, seeds) for reads in ("text", "image")}
    x = {reads: torch.from_numpy(np.float32(pairs.embeddings(reads))) for reads in networks}
    counts = torch.from_numpy(np.asarray(pairs.counts.todense(), dtype=np.float32))
    text, image = networks["text"], networks["image"]
    unused = {id(image.beta), id(image.prior_mu), id(image.prior_log_var)}
    trained = [p for network in networks.values() for p in network.parameters() if id(p) not in unused]
    optimizer = torch.optim.Adam(trained, lr=config.lr, betas=(0.99, 0.99))
    orders = [generator(seed, "M3L: batches") for seed in seeds]
    draws = [generator(seed, "M3L: samples and dropout") for seed in seeds]
    n = len(pairs)
    with training_threads(len(seeds) * config.batch_size * config.n_topics * len(vocabulary)):
        for _ in range(config.epochs):
            shuffled = torch.stack([torch.randperm(n, generator=order) for order in orders])  # (R, n)
            for start in range(0, n, config.batch_size):
                rows = shuffled[:, start : start + config.batch_size]
                if rows.shape[1] < 2:
                    continue
                optimizer.zero_grad(set_to_none=True)
                _loss(networks, x, counts, rows, draws, config).sum().backward()
                optimizer.step()
    with torch.no_grad():
        for name in ("beta", "beta_mean", "beta_var"):
            getattr(image, name).copy_(getattr(text, name))
    return {
        seed: tuple(
            TopicModel(network.eval().replica(index), tuple(vocabulary), seed, reads)
            for reads, network in networks.items()
        )
        for index, seed in enumerate(seeds)
    }


def _network(pairs: Pairs, reads: str, config: M3LConfig, seeds: Sequence[int]) -> TopicNetwork:
    x = pairs.embeddings(reads)
    network = TopicNetwork(
        n_inputs=x.shape[1],
        n_topics=config.n_topics,
        n_words=pairs.counts.shape[1],
        config=config.network(),
        seeds=[stream(seed, f"M3L: {reads}") for seed in seeds],
    )
    for buffer, value in zip((network.shift, network.scale), input_scaling(x, config.network()), strict=True):
        buffer.copy_(torch.from_numpy(value))
    return network.train()


def _loss(
    networks: dict[str, TopicNetwork],
    x: dict[str, Tensor],
    counts: Tensor,
    rows: Tensor,
    draws: list[torch.Generator],
    config: M3LConfig,
) -> Tensor:
    """The loss of each replica on its own batch, (R,); rows (R, B)."""
    n = rows.shape[1]

    def keep(width: int) -> Tensor:
        drawn = [torch.rand(n, width, generator=g) >= config.dropout for g in draws]
        return torch.stack(drawn) / (1 - config.dropout)

    theta, posteriors = {}, {}
    for reads, network in networks.items():
        hidden = network.config.hidden[-1]
        mu, log_var = network.infer(x[reads][rows], keep=keep(hidden))
        noise = torch.stack([torch.randn(n, config.n_topics, generator=g) for g in draws])
        theta[reads] = F.softmax(mu + (0.5 * log_var).exp() * noise, dim=2)
        posteriors[reads] = mu, log_var
    text = networks["text"]
    words = text.log_word_distribution(theta["text"] * keep(config.n_topics))
    loss = -(counts[rows] * words).sum(dim=2).mean(dim=1)
    if config.divergence == "theta":
        logs = {reads: (t + 1e-12).log() for reads, t in theta.items()}
        loss = loss + (theta["image"] * (logs["image"] - logs["text"])).sum(dim=(1, 2))
    else:
        for mu, log_var in posteriors.values():
            loss = loss + kl_divergence(mu, log_var, text.prior_mu, text.prior_log_var).mean(dim=1)
    return loss + config.contrast * nt_xent(theta["text"], theta["image"], config.temperature)
