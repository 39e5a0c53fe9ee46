"""Pictures by an image model of transformers or timm, such as a plain vision transformer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.encoders.folders import as_width, hash_folder, read_object
from vtm.encoders.shared import in_rows, quiet_loading, use_cuda
from vtm.errors import ConfigError, DataError, VtmError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

POOLINGS = ("cls", "mean")


class VisionTransformer:
    """An image model's last layer, as it comes out: its first token ("cls") or the mean of all ("mean").

    It is handed whole pictures and prepares them with the processor that came with its weights.
    """

    size = None

    def __init__(self, folder: Path, *, pooling: str, device: str) -> None:
        self.folder = folder
        self.pooling = pooling
        self.device = device

    @cached_property
    def key(self) -> str:
        return f"vision-1/{hash_folder(self.folder)}/{self.pooling}"

    @cached_property
    def dim(self) -> int:
        config = read_object(self.folder / "config.json")
        widths = config.get("hidden_sizes")
        last = widths[-1] if isinstance(widths, list) and widths else 0
        width = as_width(config.get("hidden_size") or config.get("num_features") or last)
        if not width:
            raise DataError(f"{self.folder / 'config.json'}: states no hidden_size; is this an image model?")
        return width

    def preprocess(self, image: Image.Image) -> np.ndarray:
        processor = self._processor
        with self._explained("its processor cannot prepare a picture"):
            return processor(image, return_tensors="pt")["pixel_values"][0].float().numpy()

    def encode(self, batch: np.ndarray) -> np.ndarray:
        import torch

        model = self._model

        def run(padded: np.ndarray) -> np.ndarray:
            with torch.inference_mode(), self._explained("its model cannot compute prepared pictures"):
                state = model(pixel_values=torch.from_numpy(padded).to(model.device)).last_hidden_state
                rows = self._pool(state).float().cpu().numpy()
            if rows.shape[1] != self.dim:
                stated = f"its config.json says {self.dim}, its model gives {rows.shape[1]}"
                raise DataError(f"{self.folder}: dimensions of a picture: {stated}")
            return rows

        return in_rows(run, np.asarray(batch, dtype=np.float32), dim=self.dim)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except VtmError:
            raise
        except Exception as error:  # transformers raises many kinds
            told = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
            raise DataError(f"{self.folder}: {what} ({told})") from error

    def _pool(self, state: Tensor) -> Tensor:
        """A row for each picture, from tokens (b, t, d) or a map (b, d, h, w) or (b, h, w, d)."""
        if state.ndim == 3:
            return state[:, 0] if self.pooling == "cls" else state.mean(dim=1)
        if self.pooling == "cls":
            raise ConfigError(f"pooling=cls: {self.folder} has no tokens, but a map; give pooling=mean")
        return state.mean(dim=(2, 3) if state.shape[1] == self.dim else (1, 2))

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoImageProcessor

        try:
            with quiet_loading():
                return AutoImageProcessor.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:  # the loaders raise many kinds
            raise DataError(
                f"{self.folder}: how pictures are prepared is not known; put its preprocessor_config.json there"
            ) from error

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModel

        cuda = use_cuda(self.device)
        with self._explained("cannot be loaded as an image model"), quiet_loading():
            model = AutoModel.from_pretrained(self.folder, local_files_only=True)
        return model.float().to("cuda" if cuda else "cpu").eval()
