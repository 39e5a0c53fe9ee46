"""Text and image encoders behind one small protocol, and embeddings that are computed once."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vtm.config import parse_encoder
from vtm.encoders.cache import embed_images, embed_texts
from vtm.errors import ConfigError, check_choice
from vtm.files import data_dir

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


__all__ = [
    "ENCODERS",
    "PREFETCH",
    "EncoderPair",
    "ImageEncoder",
    "TextEncoder",
    "embed_images",
    "embed_texts",
    "load_encoder",
    "load_named",
    "prefetch_encoder",
]


class ImageEncoder(Protocol):
    """Embeds pictures. `preprocess` is called from several threads at once, `encode` from one.

    Attributes
    ----------
    key : name, weights hash, preprocessing and size: all that an embedding depends on besides the picture. Known
        before any weights are loaded.
    dim : length d of an embedding.
    size : side in pixels of the square picture that `preprocess` takes; None: it takes the whole picture.
    """

    @property
    def key(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def size(self) -> int | None: ...

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """RGB picture, square or whole, to a float32 array (3, h, w), the same h and w for all pictures."""
        ...

    def encode(self, batch: np.ndarray) -> np.ndarray:
        """Batch (b, 3, h, w) to float32 embeddings (b, d); a row depends on its picture alone."""
        ...


class TextEncoder(Protocol):
    """Embeds texts; `key` and `dim` as for an `ImageEncoder`."""

    @property
    def key(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """b texts to float32 embeddings (b, d); a row depends on its text alone."""
        ...


@dataclass(frozen=True)
class EncoderPair:
    """A text encoder and an image encoder.

    Attributes
    ----------
    aligned : whether the two share one space, so that the cosine of a text and an image means something.
    """

    name: str
    text: TextEncoder
    image: ImageEncoder
    aligned: bool


# Each module has a function load(*, device, ...) -> EncoderPair, with the errors of `load_encoder`.
ENCODERS = {
    "offline": "vtm.encoders.offline",
    "pixels": "vtm.encoders.pixels",
    "clip": "vtm.encoders.clip",
    "sentence": "vtm.encoders.sentence",
}
# Those whose load has an option fetch, without which it does not use the network.
PREFETCH = ("clip", "sentence")


def load_encoder(
    name: str, /, *, device: str = "auto", language: str | None = None, **options: Any
) -> EncoderPair:
    """An encoder pair by name. Cheap: weights are loaded when something is encoded that no cache holds.

    Parameters
    ----------
    name : "offline" (a DINOv2 ViT-S/14 and all-MiniLM-L6-v2, not aligned), "clip" (any of open_clip's), "sentence"
        (a BERT and a ViT, not aligned) or "pixels" (no weights; for tests).
    device : "auto" (CUDA where there is one), "cpu" or "cuda".
    language : of the texts, such as "de"; for encoders that choose their weights by it.
    **options : of the encoder; see the `load` of its module.

    Raises
    ------
    ConfigError
        Unknown name, option or device; the message lists the possible ones. Options that do not go together.
    MissingError
        Weights that are not here and cannot be fetched; the message says how to get them.
    DataError
        Weights that are damaged or do not say what they are; of some this shows when they are used first.

    Examples
    --------
    >>> from vtm.encoders import load_encoder
    >>> load_encoder("pixels").text.encode(["a red balloon"]).shape
    (1, 256)
    """
    load = _load_function(name, options)
    check_choice(f"device {device!r}", device, ("auto", "cpu", "cuda"))
    if language is not None and "language" in inspect.signature(load).parameters:
        options.setdefault("language", language)
    return load(device=device, **options)


def load_named(spec: str, *, device: str = "auto", language: str | None = None) -> EncoderPair:
    """As `load_encoder`, by a name with options, such as `clip:language=de`, that `vtm.config.parse_encoder` reads.

    An option `language` goes before the other one.
    """
    name, options = parse_encoder(spec)
    return load_encoder(name, device=device, **{"language": language, **options})  # type: ignore[arg-type]


def prefetch_encoder(name: str, /, **options: Any) -> Path:
    """Fetch an encoder's weights, so that `load_encoder` with the same options needs no network.

    Returns the folder that the weights are in. Errors are those of `load_encoder`; a ConfigError for an encoder that
    is not among `PREFETCH`, a MissingError where weights cannot be fetched from here.
    """
    load = _load_function(name, options)
    check_choice(f"encoder {name} has no weights on the hub", name, PREFETCH)
    pair = load(device="cpu", fetch=True, **options)
    _ = pair.text.key, pair.image.key  # reads, and so checks, all files
    return data_dir() / "weights"


def _load_function(name: str, options: dict[str, Any]) -> Callable[..., EncoderPair]:
    """The encoder's `load`, which knows all of the options."""
    check_choice(f"no encoder is called {name!r}", name, ENCODERS)
    load: Callable[..., EncoderPair] = importlib.import_module(ENCODERS[name]).load
    possible = [option for option in inspect.signature(load).parameters if option not in ("device", "fetch")]
    if unknown := [option for option in options if option not in possible]:
        has = f"its options are {', '.join(possible)}" if possible else "it has no options"
        raise ConfigError(f"encoder {name} has no option {unknown[0]!r}; {has}")
    return load
