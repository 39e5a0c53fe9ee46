"""Pictures by an image model of transformers or timm, such as a plain vision transformer."""

from __future__ import annotations

import textwrap
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.encoders.folders import hash_folder
from vtm.encoders.shared import in_rows, quiet_loading, use_cuda
from vtm.errors import ConfigError, DataError
from vtm.files import read_json

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
        config = read_json(self.folder / "config.json")
        width = (
            config.get("hidden_size") or config.get("num_features") or (config.get("hidden_sizes") or [0])[-1]
        )
        if not width:
            raise DataError(f"{self.folder / 'config.json'}: states no hidden_size; is this an image model?")
        return int(width)

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return self._processor(image, return_tensors="pt")["pixel_values"][0].float().numpy()

    def encode(self, batch: np.ndarray) -> np.ndarray:
        import torch

        def run(padded: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                pixels = torch.from_numpy(padded).to(self._model.device)
                return self._pool(self._model(pixel_values=pixels).last_hidden_state).float().cpu().numpy()

        return in_rows(run, np.asarray(batch, dtype=np.float32), dim=self.dim)

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
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.folder}: how pictures are prepared is not known; put its preprocessor_config.json there"
            ) from error

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModel

        cuda = use_cuda(self.device)
        try:
            with quiet_loading():
                model = AutoModel.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:  # the loaders raise many kinds
            told = textwrap.shorten(str(error), 200)
            raise DataError(f"{self.folder}: cannot be loaded as an image model ({told})") from error
        return model.float().to("cuda" if cuda else "cpu").eval()
