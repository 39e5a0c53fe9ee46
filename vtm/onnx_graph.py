"""A small writer of ONNX graphs: each method adds operations and returns the name of their result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.model import VARIANCE_FLOOR

if TYPE_CHECKING:
    from onnx import ModelProto

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
