"""What the two forms of a training step share: the batch they read and the parameters they move."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam

from vtm.model import TopicNetwork


@dataclass(frozen=True)
class Batch:
    """What a step reads: B documents for each of R replicas.

    Parameters
    ----------
    x : (R, B, D) embeddings, already shifted and scaled.
    words, minus_counts : (R, B, L) word positions and their counts, negative, as loss and gradient take them.
    n_words : (R, B, 1) number of words.
    keep_hidden, keep_theta : (R, B, H), (R, B, K) dropout masks, divided by the share kept.
    noise : (R, B, K) standard normal.
    target_mu, target_log_var : (R, B, K) the teacher's posterior of the same documents, or None for the prior.
    """

    x: Tensor
    words: Tensor
    minus_counts: Tensor
    n_words: Tensor
    keep_hidden: Tensor
    keep_theta: Tensor
    noise: Tensor
    target_mu: Tensor | None = None
    target_log_var: Tensor | None = None


class FlatParameters:
    """A network's trained parameters in one array (R, P), their gradients in another, and Adam over both.

    The network's own parameters become views of the array. `head_bias` is not among them: batch norm takes it out
    again, its gradient is 0, and what rounding leaves of that would be a random walk under Adam.
    """

    def __init__(self, network: TopicNetwork) -> None:
        self.network = network
        trained = {
            name: p for name, p in network.named_parameters() if p.requires_grad and name != "head_bias"
        }
        self.values = torch.cat([p.detach().flatten(1) for p in trained.values()], dim=1)  # (R, P)
        self.gradient = torch.zeros_like(self.values)
        self.gradients: dict[str, Tensor] = {}
        start = 0
        for name, p in trained.items():
            stop = start + p[0].numel()
            p.data = self.values[:, start:stop].view(p.shape)
            self.gradients[name] = self.gradient[:, start:stop].view(p.shape)
            start = stop
        self.moments = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.steps = torch.zeros((), device=self.values.device)

    def update(self) -> None:
        """One step of Adam (Kingma and Ba 2015) along `gradient`."""
        first, second = self.moments
        config = self.network.config
        adam(
            [self.values],
            [self.gradient],
            [first],
            [second],
            [],
            [self.steps],
            fused=True,
            amsgrad=False,
            beta1=config.beta1,
            beta2=config.beta2,
            lr=config.lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
