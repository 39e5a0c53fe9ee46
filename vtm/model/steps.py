"""A training step of the topic network, quick: what it reads, gathered for some steps at once, and two ways to take it.

On CPUs a step is a graph with the gradients of `vtm.model.network.loss` written out, which ONNX Runtime compiles; on
CUDA automatic differentiation of the loss is recorded once and replayed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.adam import adam

from vtm.config import generator

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession
    from scipy.sparse import csr_matrix

    from vtm.model.network import TopicNetwork

# Random numbers are drawn and documents gathered for so many steps at once: one call instead of one for each step.
STEPS_A_DRAW = 16
# A rectangle of bags of words may have so many cells for each that holds a word.
ROOM = 8


@dataclass(frozen=True)
class Bags:
    """Bags of words on the device, one document's words after another's, each with word 0 at count 0 at its end.

    Parameters
    ----------
    starts, lengths : (n,) int64, where each document's words begin, and how many different ones it has.
    words, counts : (m + n,) int64 and float32.
    longest : the largest of `lengths`, at least 1.
    room : so many words a document as a rectangle of all may be wide, `longest` at most.
    """

    starts: Tensor
    lengths: Tensor
    words: Tensor
    counts: Tensor
    longest: int
    room: int

    @classmethod
    def of(cls, counts: csr_matrix, device: torch.device | str = "cpu") -> Bags:
        """The rows of counts (n, V)."""
        lengths = np.diff(counts.indptr).astype(np.int64)
        longest = max(int(lengths.max(initial=0)), 1)
        room = min(longest, max(ROOM * counts.nnz // max(len(lengths), 1), 1))
        starts = counts.indptr[:-1].astype(np.int64) + np.arange(len(lengths))
        words = np.insert(counts.indices, counts.indptr[1:], 0).astype(np.int64)
        arrays = starts, lengths, words, np.insert(counts.data, counts.indptr[1:], 0).astype(np.float32)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays), longest, room)  # type: ignore[call-arg, arg-type]

    def pad(self, rows: Tensor, words: Tensor, counts: Tensor) -> None:
        """Write the bags of documents rows (m,) into arrays (m, w), w being enough for each of them."""
        column = torch.arange(words.shape[1], device=rows.device)
        places = torch.minimum(column, self.lengths[rows].unsqueeze(1))
        places.add_(self.starts[rows].unsqueeze(1))
        torch.take(self.words, places, out=words)
        torch.take(self.counts, places, out=counts)

    def padded(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Words and counts of some documents, (m, w) each, as wide as the longest of them asks for."""
        documents = torch.arange(len(self.lengths), device=self.lengths.device)[rows]
        shape = (len(documents), max(int(self.lengths[rows].max()), 1))
        words, counts = self.words.new_empty(shape), self.counts.new_empty(shape)
        self.pad(documents, words, counts)
        return words, counts


class Draws:
    """Batches of each epoch for R replicas; a replica's numbers depend on its own seed alone.

    Parameters
    ----------
    network : R replicas, on the device of what follows.
    x : (n, D) embeddings, read as (x - shift) / scale.
    bags : their n bags of words.
    seeds : of the replicas.
    target : the teacher's mu and log_var, each (R, n, K), or None.

    Notes
    -----
    All steps' arrays lie in buffers that are made once and written anew for the next steps: a batch is to be used
    before the next one is asked for.

    A filling's bags of words are as wide as its longest document asks for: `width` is the room that each document
    has, or the longest of all, or a quarter of that, and so on. So one long document costs one filling of an epoch,
    and there are few widths to compile for.
    """

    def __init__(
        self,
        network: TopicNetwork,
        x: Tensor,
        bags: Bags,
        *,
        seeds: Sequence[int],
        target: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        config, device = network.config, x.device
        self.x, self.bags = x, bags
        self.shift, self.inverse_scale = network.shift, 1 / network.scale  # type: ignore[operator]
        self.n, self.dropout = len(x), config.dropout
        self.batch = min(config.batch_size, self.n)
        # The last, smaller batch is left out, as in the reference package.
        self.n_steps = self.n // self.batch
        self.documents_an_epoch = self.n_steps * self.batch
        self.generators = [generator(seed, "training", device=device) for seed in seeds]
        self.order = torch.empty(len(seeds), self.n, dtype=torch.int64, device=device)
        self.size = min(STEPS_A_DRAW, self.n_steps)
        self.target = dict(zip(("target_mu", "target_log_var"), target or (), strict=False))
        widths = {"x": x.shape[1], "keep_hidden": config.hidden[-1]}
        widths |= dict.fromkeys(("keep_theta", "noise", *self.target), network.n_topics)
        lead = (len(seeds), self.size, self.batch)
        self.buffers = {name: torch.empty(*lead, width, device=device) for name, width in widths.items()}
        self.widths = [bags.longest]
        while self.widths[0] > bags.room:
            self.widths.insert(0, max(self.widths[0] // 4, bags.room))
        self.width = self.widths[-1]
        size = math.prod(lead[1:]) * self.width
        self.cells = {
            "words": torch.empty(len(seeds), size, dtype=torch.int64, device=device),
            "counts": torch.empty(len(seeds), size, device=device),
        }

    def epoch(self) -> Iterator[int]:
        """Shuffle, then fill the buffers again and again: yields how many steps each filling holds."""
        for replica, source in enumerate(self.generators):
            torch.randperm(self.n, generator=source, out=self.order[replica])
        for first in range(0, self.n_steps, self.size):
            steps = min(self.size, self.n_steps - first)
            rows = self.order[:, first * self.batch : (first + steps) * self.batch]
            if len(self.widths) > 1:
                longest = int(self.bags.lengths[rows].max())
                self.width = self.widths[bisect_left(self.widths, longest)]
            for replica, source in enumerate(self.generators):
                self._fill(replica, rows[replica], source)
            yield steps

    def step(self, index: int) -> dict[str, Tensor]:
        """The arrays of the `vtm.model.network.Batch` of step `index` of the present filling, by their names."""
        return {name: array[:, index] for name, array in (self.buffers | self._bags()).items()}

    def _bags(self) -> dict[str, Tensor]:
        """Words and counts (R, steps, B, width) in the cells that they take of the buffers."""
        shape = (self.size, self.batch, self.width)
        return {name: cells[:, : math.prod(shape)].unflatten(1, shape) for name, cells in self.cells.items()}

    def _fill(self, replica: int, rows: Tensor, source: torch.Generator) -> None:
        """Draw a replica's random numbers for the documents of some steps, and gather these."""
        arrays = {
            name: array[replica].flatten(0, 1)[: len(rows)]
            for name, array in (self.buffers | self._bags()).items()
        }
        for keep in (arrays["keep_hidden"], arrays["keep_theta"]):
            keep.uniform_(generator=source)
            torch.ge(keep, self.dropout, out=keep).mul_(1 / (1 - self.dropout))
        arrays["noise"].normal_(generator=source)
        self.bags.pad(rows, arrays["words"], arrays["counts"])
        for name, target in self.target.items():
            torch.index_select(target[replica], 0, rows, out=arrays[name])
        torch.index_select(self.x, 0, rows, out=arrays["x"])
        arrays["x"].sub_(self.shift).mul_(self.inverse_scale)  # type: ignore[arg-type]


class AutogradStep:
    """The step by automatic differentiation, of all replicas at once; on CUDA recorded, then replayed.

    A step is some hundred small kernels; launched one by one they leave the device waiting for Python. The steps that
    a filling of `Draws` holds are one CUDA graph, in the pattern of PyTorch's notes on CUDA graphs ("whole-network
    capture"): the first filling of each size runs as it is, on a stream of its own, since libraries and the optimizer
    set themselves up when they are first called, which a capture does not allow; the second one is recorded.

    Parameters
    ----------
    network : R replicas.
    draws : whose fillings are taken.
    losses : the arrays of a batch by name -> loss, reconstruction and KL, (R, B) each (`vtm.model.network.loss`).
    capture : record and replay; default: where the network lies on CUDA.

    Attributes
    ----------
    sums : (2, R, B) reconstruction and KL of the steps since its last zero_().
    """

    def __init__(
        self,
        network: TopicNetwork,
        draws: Draws,
        losses: Callable[[Mapping[str, Tensor]], tuple[Tensor, Tensor, Tensor]],
        *,
        capture: bool | None = None,
    ) -> None:
        self.network, self.draws, self.losses, config = network, draws, losses, network.config
        self.sums = torch.zeros(2, network.n_replicas, draws.batch, device=network.beta.device)
        self.capture = self.sums.is_cuda if capture is None else capture
        self.parameters = list(network.trained.values())
        betas = (config.beta1, config.beta2)
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=config.lr, betas=betas, capturable=self.sums.is_cuda
        )
        self.graphs: dict[tuple[int, int], torch.cuda.CUDAGraph | None] = {}

    def __call__(self, n_steps: int) -> None:
        """Take the first steps of the present filling."""
        self.network.train()
        key = (n_steps, self.draws.width)
        if not self.capture:
            self._take(n_steps)
        elif key not in self.graphs:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._take(n_steps)
            torch.cuda.current_stream().wait_stream(stream)
            self.graphs[key] = None
        else:
            if self.graphs[key] is None:
                self.graphs[key] = self._record(n_steps)
            self.graphs[key].replay()  # type: ignore[union-attr]

    def _record(self, n_steps: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)  # gradients are to lie in the graph's own memory
        with torch.cuda.graph(graph):  # records only; nothing runs before the replay
            self._take(n_steps)
        return graph

    def _take(self, n_steps: int) -> None:
        for index in range(n_steps):
            self.run(self.draws.step(index))

    def run(self, arrays: Mapping[str, Tensor]) -> None:
        """Take one step; the batch's losses are added to `sums`. Replicas do not touch one another."""
        loss, reconstruction, kl = self.losses(arrays)
        gradients = torch.autograd.grad(loss.sum(), self.parameters)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.sums.add_(torch.stack([reconstruction, kl]).detach())


STATISTICS = ("head_mean", "head_var", "beta_mean", "beta_var")


class CompiledStep:
    """The step of one replica on the CPU as a graph that ONNX Runtime compiles.

    ONNX Runtime runs the step's hundred operations in one call, without a compiler on the machine; its matrix products
    of this size take two thirds of the time of those of torch's library; and Python's other threads go on during the
    call, so that each core can train a replica.

    Parameters, attributes as of `AutogradStep`. All trained parameters become views of one array, their gradients of
    another, so that Adam (Kingma and Ba 2015) is one operation; so do the running means and variances.
    """

    def __init__(self, network: TopicNetwork, draws: Draws) -> None:
        self.network, self.draws, config = network, draws, network.config
        self.values, views = _joined(network.trained.values())
        for parameter, view in zip(network.trained.values(), views, strict=True):
            parameter.data = view
        self.gradient, views = _joined(torch.zeros_like(view) for view in views)
        self.gradients = dict(zip(network.trained, views, strict=True))
        self.running, views = _joined(getattr(network, name) for name in STATISTICS)
        for name, view in zip(STATISTICS, views, strict=True):
            setattr(network, name, view)
        self.batch_statistics, views = _joined(torch.zeros_like(view) for view in views)
        self.losses = torch.zeros(2, 1, draws.batch)  # of the last batch: reconstruction, KL
        self.sums = torch.zeros_like(self.losses)
        self.outputs = {"reconstruction": self.losses[0, 0].numpy(), "kl": self.losses[1, 0].numpy()}
        self.outputs |= {name: view.numpy() for name, view in zip(STATISTICS, views, strict=True)}
        self.outputs |= {f"d_{name}": gradient[0].numpy() for name, gradient in self.gradients.items()}
        # The function below torch.optim.Adam, which takes a tenth of a step's time for itself.
        state = [self.values, self.gradient, torch.zeros_like(self.values), torch.zeros_like(self.values)]
        rates = {"lr": config.lr, "beta1": config.beta1, "beta2": config.beta2, "eps": 1e-8}
        off = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
        arrays = [*([array] for array in state), [], [torch.zeros(())]]  # and the number of updates
        self.update = partial(adam, *arrays, **rates, **off, fused=True)  # type: ignore[misc, arg-type]
        self.sessions: dict[int, InferenceSession] = {}  # of each width of the bags of words, see `Draws`
        self.bound: dict[int, list[Callable[[], None]]] = {}  # the steps of a filling, of each width
        self.n_threads = torch.get_num_threads()

    def __call__(self, n_steps: int) -> None:
        """Take the first steps of the present filling."""
        width = self.draws.width
        if width not in self.bound:
            self.bound[width] = [self._bind(self.draws.step(index)) for index in range(self.draws.size)]
        for take in self.bound[width][:n_steps]:
            take()

    def run(self, arrays: Mapping[str, Tensor]) -> None:
        """Take one step; the batch's losses are added to `sums`."""
        self._bind(arrays)()

    def _bind(self, arrays: Mapping[str, Tensor]) -> Callable[[], None]:
        """The step of a batch whose arrays stay where they are, their numbers being written anew each time."""
        import onnxruntime

        inputs = {name: array[0].numpy() for name, array in arrays.items()}
        for name, array in self.network.named_parameters():
            if not ("target_mu" in arrays and name.startswith("prior_")):
                inputs[name] = array.detach()[0].numpy()
        width = arrays["words"].shape[2]
        if width not in self.sessions:
            graph = step_graph(self.network, inputs, self.outputs)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.n_threads
            self.sessions[width] = onnxruntime.InferenceSession(
                graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        session = self.sessions[width]
        binding = session.io_binding()
        for named, bind in ((inputs, binding.bind_input), (self.outputs, binding.bind_output)):
            for name, array in named.items():  # type: ignore[assignment]
                if not array.flags.c_contiguous:  # type: ignore[attr-defined]
                    raise ValueError(f"{name} is not contiguous: ONNX Runtime would read other numbers")
                bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)  # type: ignore[attr-defined]

        @torch.no_grad()
        def take(_arrays: object = (arrays, inputs)) -> None:  # they must live as long as the binding
            session.run_with_iobinding(binding)
            self.sums.add_(self.losses)
            self.running.lerp_(self.batch_statistics, self.network.MOMENTUM)
            self.update()

        return take


def _joined(arrays: Iterable[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """One array that holds all these, and views of its parts in their shapes."""
    arrays = [array.detach() for array in arrays]
    joined = torch.cat([array.flatten() for array in arrays])
    parts = joined.split([array.numel() for array in arrays])
    return joined, [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def step_graph(
    network: TopicNetwork, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> ModelProto:
    """Losses, batch statistics and gradients of a batch of B documents as one graph."""
    config, batch = network.config, len(inputs["x"])
    g = Graph(inputs, outputs["kl"].dtype, floor=network.VARIANCE_FLOOR)
    hidden, slopes = ["x"], []
    for layer in range(len(config.hidden)):
        raw = g.gemm(hidden[-1], f"weights.{layer}", bias=f"biases.{layer}")
        value, slope = (g.softplus if config.activation == "softplus" else g.relu)(raw)
        hidden.append(value)
        slopes.append(slope)
    dropped = g.op("Mul", hidden[-1], "keep_hidden")
    raw = g.gemm(dropped, "head_weight", bias="head_bias")
    head, scaling = g.batch_norm(raw, batch, mean="head_mean", var="head_var")
    mu, log_var = g.op("Split", head, n_outputs=2, axis=1, num_outputs=2)
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
    # 2 d KL / d log_var
    excess = g.op("Sub", g.op("Mul", g.op("Mul", sigma, sigma), inverse), g.constant(1.0))
    terms = g.op("Add", excess, g.op("Mul", distance, pull))
    g.scale(g.sum(g.op("Sub", g.op("Add", terms, target_log_var), log_var), 1, keepdims=0), 0.5, out="kl")
    if "d_prior_mu" in outputs:
        g.column_sums(pull, batch, -weight, out="d_prior_mu")
        g.column_sums(terms, batch, -0.5 * weight, out="d_prior_log_var")
    d_mu = g.op("Add", d_theta, g.scale(pull, weight))
    sampled = g.scale(g.op("Mul", d_theta, sigma_noise), 0.5)
    d_log_var = g.op("Add", sampled, g.scale(excess, 0.5 * weight))

    gradient = g.batch_norm_backward(g.op("Concat", d_mu, d_log_var, axis=1), head, scaling, batch)
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
    scores, scaling = g.batch_norm(g.gemm(kept, "beta"), batch, mean="beta_mean", var="beta_var")
    probability = g.op("Softmax", scores, axis=1)
    minus_counts = g.op("Neg", "counts")
    found = g.op("GatherElements", probability, "words", axis=1)
    _count_words(g, found, minus_counts, np.finfo(np.float32).tiny)  # type: ignore[arg-type]
    # d loss / d scores = number of words * softmax - counts; the counts are never made dense.
    expected = g.op("Mul", probability, g.sum("counts", 1))
    d_scores = g.op("ScatterElements", expected, "words", minus_counts, axis=1, reduction="add")
    gradient = g.batch_norm_backward(d_scores, scores, scaling, batch)
    g.gemm(kept, gradient, transposed=(True, False), out="d_beta")
    return g.gemm(gradient, "beta", transposed=(False, True))


def _mix(g: Graph, kept: str, network: TopicNetwork, batch: int) -> str:
    """LDA's loss and d_beta; returns the gradient of `kept`."""
    scores, scaling = g.batch_norm("beta", network.n_topics, mean="beta_mean", var="beta_var")
    topic_words = g.op("Softmax", scores, axis=1)
    words = g.gemm(kept, topic_words)
    minus_counts = g.op("Neg", "counts")
    found = g.op("GatherElements", words, "words", axis=1)
    probability = _count_words(g, found, minus_counts, network.EPSILON)
    share = g.op("Div", minus_counts, probability)
    nothing = g.constant(np.zeros((batch, network.n_words)))
    d_words = g.op("ScatterElements", nothing, "words", share, axis=1, reduction="add")
    gradient = g.softmax_backward(topic_words, g.gemm(kept, d_words, transposed=(True, False)))
    g.batch_norm_backward(gradient, scores, scaling, network.n_topics, out="d_beta")
    return g.gemm(d_words, topic_words, transposed=(False, True))


def _count_words(g: Graph, probability: str, minus_counts: str, offset: float) -> str:
    """The reconstruction loss from the probabilities (B, L) of the documents' words, which it returns + offset."""
    probability = g.op("Add", probability, g.constant(offset))
    g.sum(g.op("Mul", g.op("Log", probability), minus_counts), 1, keepdims=0, out="reconstruction")
    return probability


class Graph:
    """An ONNX graph under construction: each method adds operations and returns the name of their result.

    Parameters
    ----------
    inputs : name -> array of each input: its shape and type.
    dtype : of all other arrays.
    floor : added to variances by batch norm.
    """

    OPSET = 18
    IR_VERSION = 8  # the oldest that has this opset: read by every ONNX Runtime that this package accepts

    def __init__(self, inputs: dict[str, np.ndarray], dtype: np.dtype, *, floor: float) -> None:
        from onnx import helper, numpy_helper

        self.helper, self.from_array = helper, numpy_helper.from_array
        self.inputs, self.dtype, self.floor = inputs, dtype, floor
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def op(
        self, kind: str, *inputs: str, out: str | None = None, n_outputs: int = 1, **attributes: Any
    ) -> Any:
        """Add an operation; returns its output's name, or a list of them with `n_outputs`."""
        names = [out or f"{kind}_{len(self.nodes)}_{index}" for index in range(n_outputs)]
        self.nodes.append(self.helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if n_outputs == 1 else names

    def constant(self, value: Any, dtype: Any = None) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.from_array(np.asarray(value, dtype=dtype or self.dtype), name))
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
        bias: str = "",
        transposed: tuple[bool, bool] = (False, False),
        out: str | None = None,
    ) -> str:
        """a @ b (+ bias), each of a and b transposed first where asked."""
        inputs = (a, b, bias) if bias else (a, b)
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
        kind = self.helper.np_dtype_to_tensor_dtype(self.dtype)
        slope = self.op("Cast", self.op("Greater", x, self.constant(0.0)), to=kind)
        return self.op("Mul", x, slope), slope

    def softmax_backward(self, probability: str, gradient: str) -> str:
        """From the gradient of a softmax over axis 1 to that of its argument."""
        product = self.op("Mul", gradient, probability)
        return self.op("Sub", product, self.op("Mul", probability, self.sum(product, 1)))

    def column_sums(self, x: str, n: int, factor: float = 1.0, *, out: str | None = None) -> str:
        """Sums over the n rows of x, times a factor, (1, F): a product with a row of numbers is quickest."""
        return self.gemm(self.constant(np.full((1, n), factor)), x, out=out)

    def batch_norm(self, x: str, n: int, *, mean: str, var: str) -> tuple[str, str]:
        """Norm the columns of x (n, F); returns the result and what it was multiplied by.

        The mean and the unbiased variance (1, F) become outputs of these names.
        """
        centered = self.op("Sub", x, self.column_sums(x, n, 1 / n, out=mean))
        squares = self.op("Mul", centered, centered)
        unbiased = self.column_sums(squares, n, 1 / (n - 1), out=var)
        floored = self.op("Add", self.scale(unbiased, (n - 1) / n), self.constant(self.floor))
        inverse = self.op("Reciprocal", self.op("Sqrt", floored))
        return self.op("Mul", centered, inverse), inverse

    def batch_norm_backward(
        self, gradient: str, normed: str, inverse: str, n: int, *, out: str | None = None
    ) -> str:
        """From the gradient of the normed array to that of the raw one."""
        dot = self.column_sums(self.op("Mul", gradient, normed), n, 1 / n)
        centered = self.op("Sub", gradient, self.column_sums(gradient, n, 1 / n))
        rest = self.op("Sub", centered, self.op("Mul", normed, dot))
        return self.op("Mul", rest, inverse, out=out)

    def model(self, outputs: dict[str, Sequence[int]]) -> ModelProto:
        """The finished graph, with outputs of these names and shapes."""

        def value(name: str, dtype: np.dtype, shape: Sequence[int]) -> Any:
            return self.helper.make_tensor_value_info(
                name, self.helper.np_dtype_to_tensor_dtype(dtype), shape
            )

        graph = self.helper.make_graph(
            self.nodes,
            "step",
            [value(name, array.dtype, array.shape) for name, array in self.inputs.items()],
            [value(name, self.dtype, shape) for name, shape in outputs.items()],
            self.constants,
        )
        opset = self.helper.make_opsetid("", self.OPSET)
        return self.helper.make_model(graph, opset_imports=[opset], ir_version=self.IR_VERSION)
