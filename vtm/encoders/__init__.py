"""Text and image encoders behind one small protocol, and embeddings that are computed once."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vtm.encoders.cache import embed_images, embed_texts
from vtm.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

__all__ = [
    "ENCODERS",
    "EncoderPair",
    "ImageEncoder",
    "TextEncoder",
    "embed_images",
    "embed_texts",
    "load_encoder",
]


class ImageEncoder(Protocol):
    """Embeds pictures. `preprocess` is called from several threads at once, `encode` from one.

    Attributes
    ----------
    key
        Name, weights hash, preprocessing and size: all that an embedding depends on besides the picture.
        Known before any weights are loaded.
    dim
        Length d of an embedding.
    size
        Side in pixels of the square picture that `preprocess` takes.
    """

    key: str
    dim: int
    size: int

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """RGB picture (size, size) to a float32 array (3, size, size)."""
        ...

    def encode(self, batch: np.ndarray) -> np.ndarray:
        """Batch (b, 3, size, size) to float32 embeddings (b, d); a row depends on its picture alone."""
        ...


class TextEncoder(Protocol):
    """Embeds texts; `key` and `dim` as for an `ImageEncoder`."""

    key: str
    dim: int

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """b texts to float32 embeddings (b, d); a row depends on its text alone."""
        ...


@dataclass(frozen=True)
class EncoderPair:
    """A text encoder and an image encoder.

    Attributes
    ----------
    aligned
        Whether the two share one space, so that the cosine of a text and an image means something.
    """

    name: str
    text: TextEncoder
    image: ImageEncoder
    aligned: bool


# Each module has a function load(*, device, ...) -> EncoderPair.
ENCODERS = {
    "offline": "vtm.encoders.offline",
    "pixels": "vtm.encoders.pixels",
}


def load_encoder(name: str, *, device: str = "auto", **options: Any) -> EncoderPair:
    """An encoder pair by name. Cheap: weights are loaded when something is encoded that no cache holds.

    Parameters
    ----------
    name
        "offline" (a DINOv2 ViT-S/14 and all-MiniLM-L6-v2, not aligned) or "pixels" (no weights; for tests).
    device
        "auto" (CUDA where there is one), "cpu" or "cuda".
    **options
        Of the encoder; `image_size` for offline.

    Raises
    ------
    ConfigError
        Unknown name, option or device; the message lists the possible ones.
    MissingError
        Weights that cannot be fetched.

    Examples
    --------
    >>> from vtm.encoders import load_encoder
    >>> load_encoder("pixels").text.encode(["a red balloon"]).shape
    (1, 256)
    """
    if name not in ENCODERS:
        raise ConfigError(f"no encoder is called {name!r}; choose from {', '.join(ENCODERS)}")
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device {device!r}; choose from auto, cpu, cuda")
    load: Callable[..., EncoderPair] = importlib.import_module(ENCODERS[name]).load
    possible = [option for option in inspect.signature(load).parameters if option != "device"]
    if unknown := [option for option in options if option not in possible]:
        has = f"its options are {', '.join(possible)}" if possible else "it has no options"
        raise ConfigError(f"encoder {name} has no option {unknown[0]!r}; {has}")
    return load(device=device, **options)
