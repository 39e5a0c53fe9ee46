"""What the two forms of a training step share: the batch they read and the parameters they move."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.adam import adam

from vtm.config import ModelConfig, generator
from vtm.corpora.words import padded_words
from vtm.model.network import EPSILON, MOMENTUM, VARIANCE_FLOOR, TopicNetwork

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession
    from scipy.sparse import csr_matrix


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


# A small writer of ONNX graphs: each method adds operations and returns the name of their result.


OPSET = 18
IR_VERSION = 8  # the oldest that has this opset: read by every ONNX Runtime that this package accepts


@dataclass(frozen=True)
class Normed:
    """A batch norm's result: the normed array, what it was multiplied by, and over how many rows."""

    normed: str
    inverse: str
    n: int


class Graph:
    """A graph under construction.

    Parameters
    ----------
    inputs : name -> array of each input: its shape and type.
    dtype : of all other arrays.
    """

    def __init__(self, inputs: dict[str, np.ndarray], dtype: np.dtype) -> None:
        self.inputs, self.dtype = inputs, dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def op(
        self, kind: str, *inputs: str, out: str | None = None, n_outputs: int = 1, **attributes: Any
    ) -> Any:
        """Add an operation; returns its output's name, or a list of them with `n_outputs`."""
        from onnx import helper

        names = [out or f"{kind}_{len(self.nodes)}_{index}" for index in range(n_outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if n_outputs == 1 else names

    def constant(self, value: Any, dtype: Any = None) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        array = np.asarray(value, dtype=self.dtype if dtype is None else dtype)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def scale(self, x: str, factor: float, *, out: str | None = None) -> str:
        return self.op("Mul", x, self.constant(factor), out=out)

    def sum(self, x: str, axis: int, *, keepdims: int = 1, out: str | None = None) -> str:
        return self.op("ReduceSum", x, self.constant([axis], np.int64), keepdims=keepdims, out=out)

    def gemm(
        self,
        a: str,
        b: str,
        *,
        bias: str | None = None,
        transposed: tuple[bool, bool] = (False, False),
        out: str | None = None,
    ) -> str:
        """a @ b (+ bias), each of a and b transposed first where asked."""
        inputs = (a, b) if bias is None else (a, b, bias)
        return self.op("Gemm", *inputs, transA=int(transposed[0]), transB=int(transposed[1]), out=out)

    def softplus(self, x: str) -> tuple[str, str]:
        """log(1 + exp(x)) and its slope. ONNX Runtime's own Softplus takes four times as long.

        (x + |x|) / 2 in place of max(x, 0), which may lose a NaN.
        """
        size = self.op("Abs", x)
        rest = self.op("Log", self.op("Add", self.op("Exp", self.op("Neg", size)), self.constant(1.0)))
        return self.op("Add", self.scale(self.op("Add", x, size), 0.5), rest), self.op("Sigmoid", x)

    def relu(self, x: str) -> tuple[str, str]:
        """max(x, 0) and its slope."""
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        slope = self.op("Cast", self.op("Greater", x, self.constant(0.0)), to=kind)
        return self.op("Mul", x, slope), slope

    def softmax_backward(self, probability: str, gradient: str) -> str:
        """From the gradient of a softmax over axis 1 to that of its argument."""
        product = self.op("Mul", gradient, probability)
        return self.op("Sub", product, self.op("Mul", probability, self.sum(product, 1)))

    def column_sums(self, x: str, n: int, factor: float = 1.0, *, out: str | None = None) -> str:
        """Sums over the n rows of x, times a factor, (1, F): a product with a row of numbers is quickest."""
        return self.gemm(self.constant(np.full((1, n), factor)), x, out=out)

    def batch_norm(self, x: str, n: int, *, mean: str, var: str) -> Normed:
        """Norm the columns of x (n, F); its mean and unbiased variance (1, F) become outputs of these names."""
        centered = self.op("Sub", x, self.column_sums(x, n, 1 / n, out=mean))
        squares = self.op("Mul", centered, centered)
        unbiased = self.column_sums(squares, n, 1 / (n - 1), out=var)
        floored = self.op("Add", self.scale(unbiased, (n - 1) / n), self.constant(VARIANCE_FLOOR))
        inverse = self.op("Reciprocal", self.op("Sqrt", floored))
        return Normed(self.op("Mul", centered, inverse), inverse, n)

    def batch_norm_backward(self, norm: Normed, gradient: str, *, out: str | None = None) -> str:
        """From the gradient of the normed array to that of the raw one."""
        n = norm.n
        dot = self.column_sums(self.op("Mul", gradient, norm.normed), n, 1 / n)
        centered = self.op("Sub", gradient, self.column_sums(gradient, n, 1 / n))
        rest = self.op("Sub", centered, self.op("Mul", norm.normed, dot))
        return self.op("Mul", rest, norm.inverse, out=out)

    def model(self, outputs: dict[str, Sequence[int]]) -> ModelProto:
        """The finished graph, with outputs of these names and shapes."""
        from onnx import helper

        def value(name: str, dtype: np.dtype, shape: Sequence[int]) -> Any:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)

        graph = helper.make_graph(
            self.nodes,
            "step",
            [value(name, array.dtype, array.shape) for name, array in self.inputs.items()],
            [value(name, self.dtype, shape) for name, shape in outputs.items()],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


# What a training step reads, gathered for some steps at once: shuffled documents, dropout masks, noise.


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


# One training step of the topic network with its gradients written out, in buffers that are made once.
#
# Automatic differentiation of these small arrays costs more than their arithmetic: some two hundred operations and as
# many allocations a step. Here every operation writes into a buffer that stays where it is, for R replicas at once, so
# that a CUDA graph of the step can be replayed; `vtm.model.steps` is the same step for a CPU. `vtm.model.network` holds the
# network as a module, which the tests compare both with.


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
        # As `vtm.model.network.softplus`, which has the reasons.
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


# The training step of one replica as a graph that ONNX Runtime compiles, for CPUs.
#
# The same mathematics as `vtm.model.steps`, with which the tests compare it. ONNX Runtime runs the step's hundred operations
# in one call, without a compiler on the machine; its matrix products of this size take two thirds of the time of those
# of torch's library; and Python's other threads go on during the call, so that each core can train a replica.


STATISTICS = ("head_mean", "head_var", "beta_mean", "beta_var")


class CompiledStep:
    """As `vtm.model.steps.Step`, for a network with one replica on the CPU."""

    def __init__(self, network: TopicNetwork, batch: int) -> None:
        self.network, self.parameters = network, FlatParameters(network)
        self.losses = torch.zeros(2, 1, batch)  # of the last batch: reconstruction, KL
        self.sums = torch.zeros_like(self.losses)
        # Running means and variances are views of one array, so that one operation moves them all.
        buffers = [getattr(network, name) for name in STATISTICS]
        widths = [buffer.numel() for buffer in buffers]
        self.running = torch.cat([buffer.flatten() for buffer in buffers])
        self.batch_statistics = torch.zeros_like(self.running)
        for name, view in zip(STATISTICS, self.running.split(widths), strict=True):
            setattr(network, name, view.unsqueeze(0))
        self.outputs = {"reconstruction": self.losses[0, 0].numpy(), "kl": self.losses[1, 0].numpy()}
        for name, array in zip(STATISTICS, self.batch_statistics.split(widths), strict=True):
            self.outputs[name] = array.unsqueeze(0).numpy()
        for name, gradient in self.parameters.gradients.items():
            self.outputs[f"d_{name}"] = gradient[0].numpy()
        self.sessions: dict[int, InferenceSession] = {}  # of each width of the bags of words, see `Draws`
        self.n_threads = torch.get_num_threads()

    def bind(self, batch: Batch) -> Callable[[], None]:
        """The step of a batch whose arrays stay where they are, their numbers being written anew each time."""
        import onnxruntime

        inputs = {name: array[0].numpy() for name, array in vars(batch).items() if array is not None}
        taught = batch.target_mu is not None
        for name, array in self.network.named_parameters():
            if not (taught and name.startswith("prior_")):
                inputs[name] = array.detach()[0].numpy()
        width = batch.words.shape[2]
        if width not in self.sessions:
            graph = step_graph(self.network, inputs, self.outputs)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.n_threads
            self.sessions[width] = onnxruntime.InferenceSession(
                graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        session = self.sessions[width]
        binding = session.io_binding()
        for arrays, bind in ((inputs, binding.bind_input), (self.outputs, binding.bind_output)):
            for name, array in arrays.items():
                if not array.flags.c_contiguous:
                    raise ValueError(f"{name} is not contiguous: ONNX Runtime would read other numbers")
                bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

        @torch.no_grad()
        def take(_arrays: object = (batch, inputs)) -> None:  # they must live as long as the binding
            session.run_with_iobinding(binding)
            self.sums.add_(self.losses)
            self.running.lerp_(self.batch_statistics, MOMENTUM)
            self.parameters.update()

        return take

    def run(self, batch: Batch) -> None:
        """Take one step; the batch's losses are added to `sums`."""
        self.bind(batch)()


def step_graph(
    network: TopicNetwork, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> ModelProto:
    """Losses, batch statistics and gradients of a batch of B documents as one graph."""
    config, batch = network.config, len(inputs["x"])
    g = Graph(inputs, outputs["kl"].dtype)
    hidden, slopes = ["x"], []
    for layer in range(len(config.hidden)):
        raw = g.gemm(hidden[-1], f"weights.{layer}", bias=f"biases.{layer}")
        value, slope = (g.softplus if config.activation == "softplus" else g.relu)(raw)
        hidden.append(value)
        slopes.append(slope)
    dropped = g.op("Mul", hidden[-1], "keep_hidden")
    raw = g.gemm(dropped, "head_weight", bias="head_bias")
    head = g.batch_norm(raw, batch, mean="head_mean", var="head_var")
    mu, log_var = g.op("Split", head.normed, n_outputs=2, axis=1, num_outputs=2)
    sigma = g.op("Exp", g.scale(log_var, 0.5))
    sigma_noise = g.op("Mul", sigma, "noise")
    theta = g.op("Softmax", g.op("Add", mu, sigma_noise), axis=1)
    kept = g.op("Mul", theta, "keep_theta")

    d_kept = (_mix if config.decoder == "LDA" else _multiply)(g, kept, network, batch)
    d_theta = g.softmax_backward(theta, g.op("Mul", d_kept, "keep_theta"))

    # KL(posterior || prior or teacher), and its gradients.
    weight = config.kl_weight
    source = "target" if "target_mu" in inputs else "prior"
    target_mu, target_log_var = f"{source}_mu", f"{source}_log_var"
    inverse = g.op("Exp", g.op("Neg", target_log_var))
    distance = g.op("Sub", mu, target_mu)
    pull = g.op("Mul", distance, inverse)  # d KL / d mu
    excess = g.op(
        "Sub", g.op("Mul", g.op("Mul", sigma, sigma), inverse), g.constant(1.0)
    )  # 2 d KL / d log_var
    terms = g.op("Add", excess, g.op("Mul", distance, pull))
    g.scale(g.sum(g.op("Sub", g.op("Add", terms, target_log_var), log_var), 1, keepdims=0), 0.5, out="kl")
    if "d_prior_mu" in outputs:
        g.column_sums(pull, batch, -weight, out="d_prior_mu")
        g.column_sums(terms, batch, -0.5 * weight, out="d_prior_log_var")
    d_mu = g.op("Add", d_theta, g.scale(pull, weight))
    sampled = g.scale(g.op("Mul", d_theta, sigma_noise), 0.5)
    d_log_var = g.op("Add", sampled, g.scale(excess, 0.5 * weight))

    gradient = g.batch_norm_backward(head, g.op("Concat", d_mu, d_log_var, axis=1))
    g.gemm(dropped, gradient, transposed=(True, False), out="d_head_weight")
    gradient = g.op("Mul", g.gemm(gradient, "head_weight", transposed=(False, True)), "keep_hidden")
    for layer in reversed(range(len(config.hidden))):
        gradient = g.op("Mul", gradient, slopes[layer])
        g.gemm(hidden[layer], gradient, transposed=(True, False), out=f"d_weights.{layer}")
        g.column_sums(gradient, batch, out=f"d_biases.{layer}")
        if layer > 0:
            gradient = g.gemm(gradient, f"weights.{layer}", transposed=(False, True))
    return g.model({name: array.shape for name, array in outputs.items()})


def _multiply(g: Graph, kept: str, network: TopicNetwork, batch: int) -> str:
    """prodLDA's loss and d_beta; returns the gradient of `kept`, what dropout keeps of theta."""
    scores = g.batch_norm(g.gemm(kept, "beta"), batch, mean="beta_mean", var="beta_var")
    probability = g.op("Softmax", scores.normed, axis=1)
    _count_words(g, g.op("GatherElements", probability, "words", axis=1), np.finfo(np.float32).tiny)
    # d loss / d scores = number of words * softmax - counts; the counts are never made dense.
    expected = g.op("Mul", probability, "n_words")
    d_scores = g.op("ScatterElements", expected, "words", "minus_counts", axis=1, reduction="add")
    gradient = g.batch_norm_backward(scores, d_scores)
    g.gemm(kept, gradient, transposed=(True, False), out="d_beta")
    return g.gemm(gradient, "beta", transposed=(False, True))


def _mix(g: Graph, kept: str, network: TopicNetwork, batch: int) -> str:
    """LDA's loss and d_beta; returns the gradient of `kept`."""
    scores = g.batch_norm("beta", network.n_topics, mean="beta_mean", var="beta_var")
    topic_words = g.op("Softmax", scores.normed, axis=1)
    words = g.gemm(kept, topic_words)
    probability = _count_words(g, g.op("GatherElements", words, "words", axis=1), EPSILON)
    share = g.op("Div", "minus_counts", probability)
    nothing = g.constant(np.zeros((batch, network.n_words)))
    d_words = g.op("ScatterElements", nothing, "words", share, axis=1, reduction="add")
    gradient = g.softmax_backward(topic_words, g.gemm(kept, d_words, transposed=(True, False)))
    g.batch_norm_backward(scores, gradient, out="d_beta")
    return g.gemm(d_words, topic_words, transposed=(False, True))


def _count_words(g: Graph, probability: str, offset: float) -> str:
    """The reconstruction loss from the probabilities (B, L) of the documents' words, which it returns + offset."""
    probability = g.op("Add", probability, g.constant(offset))
    g.sum(g.op("Mul", g.op("Log", probability), "minus_counts"), 1, keepdims=0, out="reconstruction")
    return probability


# Several training steps at one call: one after the other, or on CUDA as one graph that is replayed.


class Steps:
    """Takes the steps that a filling of `Draws` holds.

    Parameters
    ----------
    capture : record the steps as a CUDA graph and replay it; default: where the step lies on CUDA. A step is some
        eighty small kernels; launched one by one they leave the device waiting for Python.
    """

    def __init__(self, step: Step | CompiledStep, draws: Draws, *, capture: bool | None = None) -> None:
        self.step, self.draws = step, draws
        self.takes: dict[int, list[Callable[[], None]]] = {}  # of each width that a filling has had
        self.capture = step.sums.is_cuda if capture is None else capture
        self.graphs: dict[tuple[int, int], torch.cuda.CUDAGraph | None] = {}

    def __call__(self, n_steps: int) -> None:
        key = (n_steps, self.draws.width)
        if not self.capture:
            self._take(n_steps)
        elif key not in self.graphs:
            # Libraries set themselves up when they are first called, which a capture does not allow.
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._take(n_steps)
            torch.cuda.current_stream().wait_stream(stream)
            self.graphs[key] = None
        else:
            if self.graphs[key] is None:
                self.graphs[key] = self._record(n_steps)
            self.graphs[key].replay()

    def _record(self, n_steps: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):  # records only; nothing runs before the replay
            self._take(n_steps)
        return graph

    def _take(self, n_steps: int) -> None:
        width = self.draws.width
        if width not in self.takes:
            self.takes[width] = [self.step.bind(self.draws.step(index)) for index in range(self.draws.size)]
        for take in self.takes[width][:n_steps]:
            take()
