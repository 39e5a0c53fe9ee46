"""The training step of one replica as a graph that ONNX Runtime compiles, for CPUs.

The same mathematics as `vtm.step`, with which the tests compare it. ONNX Runtime runs the step's hundred operations
in one call, without a compiler on the machine; its matrix products of this size take two thirds of the time of those
of torch's library; and Python's other threads go on during the call, so that each core can train a replica.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from vtm.flat import Batch, FlatParameters
from vtm.model import EPSILON, MOMENTUM, TopicNetwork
from vtm.onnx_graph import Graph

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

STATISTICS = ("head_mean", "head_var", "beta_mean", "beta_var")


class CompiledStep:
    """As `vtm.step.Step`, for a network with one replica on the CPU."""

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
