"""One training step of the topic network with its gradients written out, in buffers that are made once.

Automatic differentiation of these small arrays costs more than their arithmetic: some two hundred operations and as
many allocations a step. Here every operation writes into a buffer that stays where it is, for R replicas at once, so
that a CUDA graph of the step can be replayed; `vtm.compiled_step` is the same step for a CPU. `vtm.model` holds the
network as a module, which the tests compare both with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vtm.flat import Batch, FlatParameters
from vtm.model import EPSILON, MOMENTUM, VARIANCE_FLOOR, TopicNetwork

TINY = torch.finfo(torch.float32).tiny


class BatchNorm:
    """Batch norm over axis 1 of (R, n, F) without affine parameters, in place, and its gradient.

    Means are kept as sums and divided where they are used, which saves a pass each.
    """

    def __init__(self, shape: tuple[int, int, int], mean: Tensor, var: Tensor) -> None:
        n_replicas, self.n, width = shape
        self.running_mean, self.running_var = mean.unsqueeze(1), var.unsqueeze(1)  # (R, 1, F)
        self.sum, self.squares, self.inverse, self.dot = torch.empty(
            4, n_replicas, 1, width, device=mean.device
        )
        self.floor, self.inertia = torch.tensor([VARIANCE_FLOOR, 1 - MOMENTUM], device=mean.device)
        self.product = torch.empty(shape, device=mean.device)

    def forward(self, x: Tensor) -> Tensor:
        """Norm x, and move the running mean and (unbiased) variance."""
        n = self.n
        torch.sum(x, dim=1, keepdim=True, out=self.sum)
        x.sub_(self.sum, alpha=1 / n)
        torch.mul(x, x, out=self.product)
        torch.sum(self.product, dim=1, keepdim=True, out=self.squares)
        torch.add(self.floor, self.squares, alpha=1 / n, out=self.inverse).rsqrt_()
        self.running_mean.mul_(self.inertia).add_(self.sum, alpha=MOMENTUM / n)
        self.running_var.mul_(self.inertia).add_(self.squares, alpha=MOMENTUM / (n - 1))
        return x.mul_(self.inverse)

    def backward(self, normed: Tensor, gradient: Tensor) -> Tensor:
        """From the gradient of the normed values to that of the raw ones, in place."""
        torch.mul(gradient, normed, out=self.product)
        torch.sum(self.product, dim=1, keepdim=True, out=self.dot)
        torch.sum(gradient, dim=1, keepdim=True, out=self.sum)
        gradient.sub_(self.sum, alpha=1 / self.n).addcmul_(normed, self.dot, value=-1 / self.n)
        return gradient.mul_(self.inverse)


class Layer:
    """A linear layer of the inference network with its softplus or relu, forward and backward.

    `slack` is 1 - the activation's slope: sigmoid(-x) for softplus, which its value needs as well.
    """

    def __init__(self, parameters: FlatParameters, index: int, batch: int) -> None:
        network = parameters.network
        self.weight, self.bias = network.weights[index].detach(), network.biases[index].detach()
        self.transposed = self.weight.transpose(1, 2)
        self.d_weight = parameters.gradients[f"weights.{index}"]
        self.d_bias = parameters.gradients[f"biases.{index}"]
        self.is_softplus = network.config.activation == "softplus"
        self.out, self.slack, self.gradient = torch.empty(
            3, network.n_replicas, batch, self.weight.shape[2], device=self.weight.device
        )
        self.out_transposed = self.out.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        out, slack = torch.baddbmm(self.bias, x, self.weight, out=self.out), self.slack
        if not self.is_softplus:
            torch.le(out, 0, out=slack)
            return out.relu_()
        # As `vtm.model.softplus`, which has the reasons.
        torch.neg(out, out=slack).sigmoid_().clamp_min_(TINY)
        return torch.maximum(out, torch.log(slack, out=self.gradient).neg_(), out=out)

    def backward(self, below_transposed: Tensor, d_below: Tensor | None) -> None:
        """From `gradient`, that of the output, to those of weight, bias and (where asked for) input."""
        gradient = self.gradient.addcmul_(self.gradient, self.slack, value=-1)
        torch.bmm(below_transposed, gradient, out=self.d_weight)
        torch.sum(gradient, dim=1, keepdim=True, out=self.d_bias)
        if d_below is not None:
            torch.bmm(gradient, self.transposed, out=d_below)


class Step:
    """The step itself: losses of a batch, gradients of their sum, one update."""

    def __init__(self, network: TopicNetwork, batch: int) -> None:
        self.network, self.config = network, network.config
        self.parameters = parameters = FlatParameters(network)
        n_replicas, topics, device = network.n_replicas, network.n_topics, network.beta.device

        def buffers(many: int, *shape: int) -> Tensor:
            return torch.empty(many, n_replicas, *shape, device=device)

        self.layers = [Layer(parameters, index, batch) for index in range(len(network.weights))]
        (self.dropped,) = buffers(1, batch, self.config.hidden[-1])
        self.head, self.d_head = buffers(2, batch, 2 * topics)
        self.mu, self.log_var = self.head.split(topics, dim=2)
        self.d_mu, self.d_log_var = self.d_head.split(topics, dim=2)
        self.head_norm = BatchNorm(self.head.shape, network.head_mean, network.head_var)
        self.head_weight, self.beta = network.head_weight.detach(), network.beta.detach()
        self.sigma_noise, self.theta, self.kept, self.d_theta = buffers(4, batch, topics)
        self.d_kept = torch.empty(n_replicas, topics, batch, device=device)  # transposed: a quicker product
        self.variance, self.inverse, self.distance, self.pull = buffers(4, batch, topics)
        self.words, self.d_words = buffers(2, batch, network.n_words)
        rows = topics if self.config.decoder == "LDA" else batch
        self.beta_norm = BatchNorm((n_replicas, rows, network.n_words), network.beta_mean, network.beta_var)
        if self.config.decoder == "LDA":
            self.scores, self.topic_words, self.d_topic_words = buffers(3, rows, network.n_words)
        self.transposed = {
            name: getattr(self, name).transpose(1, 2) for name in ("dropped", "kept", "head_weight")
        }
        # An array's product with a number on the device is quicker than with one of Python's.
        self.half = torch.tensor(0.5, device=device)
        self.sums = torch.zeros(
            2, n_replicas, batch, device=device
        )  # reconstruction and KL since the last zero_()

    def bind(self, batch: Batch) -> Callable[[], None]:
        """The step of a batch whose arrays stay where they are, their numbers being written anew each time."""
        return partial(self.run, batch)

    @torch.no_grad()
    def run(self, batch: Batch) -> None:
        """Take one step; the batch's losses are added to `sums`. Replicas do not touch one another."""
        self._infer(batch)
        self._sample(batch)
        if self.config.decoder == "LDA":
            self._mix(batch)
        else:
            self._multiply(batch)
        self._sample_backward(batch)
        self._divergence(batch)
        self._infer_backward(batch)
        self.parameters.update()

    def _infer(self, batch: Batch) -> None:
        hidden = batch.x
        for layer in self.layers:
            hidden = layer.forward(hidden)
        torch.mul(hidden, batch.keep_hidden, out=self.dropped)
        torch.baddbmm(self.network.head_bias, self.dropped, self.head_weight, out=self.head)
        self.head_norm.forward(self.head)

    def _sample(self, batch: Batch) -> None:
        """theta = softmax(mu + sigma * noise), and what dropout keeps of it."""
        torch.mul(self.log_var, self.half, out=self.sigma_noise).exp_()
        torch.mul(self.sigma_noise, self.sigma_noise, out=self.variance)
        self.sigma_noise.mul_(batch.noise)
        torch.add(self.mu, self.sigma_noise, out=self.kept)
        torch.softmax(self.kept, dim=2, out=self.theta)
        torch.mul(self.theta, batch.keep_theta, out=self.kept)

    def _multiply(self, batch: Batch) -> None:
        """prodLDA: words = softmax(batch norm(theta @ beta)); its loss and gradients."""
        scores = self.beta_norm.forward(torch.bmm(self.kept, self.beta, out=self.words))
        probability = torch.softmax(scores, dim=2, out=self.d_words)
        self._count_words(probability.gather(2, batch.words).clamp_min_(TINY), batch)
        # d loss / d scores = number of words * softmax - counts; the counts are never made dense.
        self.d_words.mul_(batch.n_words).scatter_add_(2, batch.words, batch.minus_counts)
        gradient = self.beta_norm.backward(scores, self.d_words)
        torch.bmm(self.transposed["kept"], gradient, out=self.parameters.gradients["beta"])
        torch.bmm(self.beta, gradient.transpose(1, 2), out=self.d_kept)

    def _mix(self, batch: Batch) -> None:
        """LDA: words = theta @ softmax(batch norm(beta)); its loss and gradients."""
        scores = self.beta_norm.forward(self.scores.copy_(self.beta))
        torch.softmax(scores, dim=2, out=self.topic_words)
        torch.bmm(self.kept, self.topic_words, out=self.words)
        probability = self.words.gather(2, batch.words).add_(EPSILON)  # (R, B, L)
        self.d_words.zero_().scatter_add_(2, batch.words, batch.minus_counts / probability)
        self._count_words(probability, batch)
        torch.bmm(self.transposed["kept"], self.d_words, out=self.d_topic_words)
        torch.bmm(self.topic_words, self.d_words.transpose(1, 2), out=self.d_kept)
        _softmax_backward(self.topic_words, self.d_topic_words)
        self.parameters.gradients["beta"].copy_(self.beta_norm.backward(scores, self.d_topic_words))

    def _count_words(self, probability: Tensor, batch: Batch) -> None:
        """Add the reconstruction loss, from the probabilities (R, B, L) of the documents' words."""
        self.sums[0].add_(probability.log_().mul_(batch.minus_counts).sum(dim=2))

    def _sample_backward(self, batch: Batch) -> None:
        """To mu and log_var, through dropout, softmax and the sampling."""
        torch.mul(self.d_kept.transpose(1, 2), batch.keep_theta, out=self.d_theta)
        gradient = _softmax_backward(self.theta, self.d_theta)
        self.d_mu.copy_(gradient)
        torch.mul(gradient, self.sigma_noise, out=self.d_log_var).mul_(self.half)

    def _divergence(self, batch: Batch) -> None:
        """KL(posterior || prior or teacher); its gradients are added to those of mu and log_var."""
        network, gradients, weight = self.network, self.parameters.gradients, self.config.kl_weight
        target_mu, target_log_var = network.prior_mu, network.prior_log_var
        if batch.target_mu is not None:
            target_mu, target_log_var = batch.target_mu, batch.target_log_var
        torch.neg(target_log_var.expand_as(self.inverse), out=self.inverse).exp_()
        torch.sub(self.mu, target_mu, out=self.distance)
        pull = torch.mul(self.distance, self.inverse, out=self.pull)  # d KL / d mu
        excess = self.variance.mul_(self.inverse).sub_(1)  # 2 d KL / d log_var
        self.d_mu.add_(pull, alpha=weight)
        self.d_log_var.add_(excess, alpha=0.5 * weight)
        terms = excess.addcmul_(self.distance, pull)
        if "prior_mu" in gradients:
            torch.sum(pull, dim=1, keepdim=True, out=gradients["prior_mu"]).mul_(-weight)
            torch.sum(terms, dim=1, keepdim=True, out=gradients["prior_log_var"]).mul_(-0.5 * weight)
        terms.add_(target_log_var).sub_(self.log_var)
        self.sums[1].add_(terms.sum(dim=2), alpha=0.5)

    def _infer_backward(self, batch: Batch) -> None:
        gradient = self.head_norm.backward(self.head, self.d_head)
        torch.bmm(self.transposed["dropped"], gradient, out=self.parameters.gradients["head_weight"])
        torch.bmm(gradient, self.transposed["head_weight"], out=self.layers[-1].gradient)
        self.layers[-1].gradient.mul_(batch.keep_hidden)
        for below, layer in zip(reversed(self.layers[:-1]), reversed(self.layers[1:]), strict=True):
            layer.backward(below.out_transposed, below.gradient)
        self.layers[0].backward(batch.x.transpose(1, 2), None)


def _softmax_backward(probability: Tensor, gradient: Tensor) -> Tensor:
    """From the gradient of a softmax (over the last axis) to that of its argument, in place."""
    gradient.mul_(probability)
    return gradient.addcmul_(probability, gradient.sum(dim=2, keepdim=True), value=-1)
