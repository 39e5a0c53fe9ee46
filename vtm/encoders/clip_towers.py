"""A CLIP model's towers as text and image encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.encoders.clip_checkpoint import Checkpoint
from vtm.encoders.clip_model import build_model, build_tokenizer
from vtm.encoders.shared import ROWS, in_rows

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

# Rows of one call on CUDA, where small batches waste time; on the CPU `ROWS`.
CUDA_ROWS = 64


class Clip:
    """A checkpoint with its model, which is built when it is used first."""

    def __init__(self, checkpoint: Checkpoint, *, device: str, precision: str) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.precision = precision
        self.rows = ROWS if device == "cpu" else CUDA_ROWS

    @cached_property
    def model(self) -> Any:
        return build_model(self.checkpoint, device=self.device)

    @cached_property
    def tokenizer(self) -> Any:
        return build_tokenizer(self.checkpoint, self.model)

    def unit_rows(self, encode: Callable[[Tensor], Tensor], inputs: Tensor) -> np.ndarray:
        """The model's output for `inputs` (b, ...), each row scaled to length 1: float32 (b, dim)."""
        import torch
        from torch.nn.functional import normalize

        with torch.inference_mode(), self._arithmetic():
            return normalize(encode(inputs.to(self.device)).float(), dim=-1).cpu().numpy()

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        import torch

        half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.precision)
        autocast = torch.autocast(self.device, dtype=half) if half else nullcontext()
        # By default convolutions on CUDA round float32 to TF32, and may choose another algorithm each time.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with autocast, exact if self.device != "cpu" else nullcontext():
            yield


class ClipImage:
    """The image tower; it is handed whole pictures, which CLIP resizes and crops itself."""

    size = None

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.dim = clip.checkpoint.dim

    @cached_property
    def key(self) -> str:
        return f"clip-image-1/{self.clip.checkpoint.image_hash}/{self.clip.precision}"

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return self._transform(image).numpy()

    def encode(self, batch: np.ndarray) -> np.ndarray:
        import torch

        def run(padded: np.ndarray) -> np.ndarray:
            return self.clip.unit_rows(self.clip.model.encode_image, torch.from_numpy(padded))

        return in_rows(run, np.asarray(batch, dtype=np.float32), dim=self.dim, rows=self.clip.rows)

    @cached_property
    def _transform(self) -> Any:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        stated = self.clip.checkpoint.preprocessing
        return image_transform_v2(PreprocessCfg(**{**stated, "size": tuple(stated["size"])}), is_train=False)


class ClipText:
    """The text tower; longer texts are cut at the context length that it was trained with."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.dim = clip.checkpoint.dim

    @cached_property
    def key(self) -> str:
        return f"clip-text-1/{self.clip.checkpoint.text_hash}/{self.clip.precision}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        embeddings = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), self.clip.rows):
            part = list(texts[start : start + self.clip.rows])
            # Empty texts rather than rows of zeros: a text without any token has no mean.
            tokens = self.clip.tokenizer(part + [""] * (self.clip.rows - len(part)))
            rows = self.clip.unit_rows(self.clip.model.encode_text, torch.as_tensor(tokens))
            embeddings[start : start + len(part)] = rows[: len(part)]
        return embeddings
