"""What a user may hand to a model, checked: texts, pictures as files, PIL images or arrays, and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtm.errors import ConfigError, DataError


def as_texts(texts: Any, name: str = "texts") -> list[str]:
    """A list of texts.

    Raises
    ------
    ConfigError, DataError
        One text instead of several, or something that is no text.
    """
    if isinstance(texts, str | bytes):
        raise ConfigError(f"{name}: give a list of texts, as in {name}=[{texts[:20]!r}]")
    texts = list(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{name}[{row}] is of type {type(text).__name__}, not a text; leave it out")
    return [str(text) for text in texts]


def as_images(images: Any) -> list[Any]:
    """A list of pictures: paths, PIL images, or uint8 arrays (H, W), (H, W, 3) or (H, W, 4).

    Raises
    ------
    ConfigError, DataError
        One picture instead of several, or something that is no picture.
    """
    single = isinstance(images, str | bytes | Path) or _is_pil(images)
    if single or (isinstance(images, np.ndarray) and images.dtype != object and images.ndim != 4):
        raise ConfigError("images: give a list of pictures, also of one: [picture]")
    images = list(images)
    for row, image in enumerate(images):
        if isinstance(image, np.ndarray):
            fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
            if image.dtype != np.uint8 or not fits or image.size == 0:
                raise DataError(
                    f"images[{row}]: an array of shape {image.shape} and type {image.dtype}; pictures are uint8 "
                    "arrays of shape (H, W), (H, W, 3) or (H, W, 4)"
                )
        elif not (isinstance(image, str | Path) or _is_pil(image)):
            raise DataError(
                f"images[{row}] is of type {type(image).__name__}; give a path, a PIL image or a uint8 array"
            )
    return images


def as_embeddings(x: Any, name: str, n: int | None = None) -> np.ndarray:
    """Embeddings as a finite float32 array (n, D).

    Raises
    ------
    DataError
        Complex numbers, another shape, another number of rows than `n`, or NaN.
    """
    try:
        if np.iscomplexobj(x):
            raise TypeError("its numbers are complex")
        x = np.asarray(x, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: not an array of numbers ({error})") from None
    if x.ndim != 2:
        raise DataError(f"{name}: must be of shape (documents, dimensions), not {x.shape}")
    if n is not None and len(x) != n:
        raise DataError(f"{name}: {len(x)} rows for {n} texts; give one for each")
    if len(bad := np.flatnonzero(~np.isfinite(x).all(axis=1))):
        raise DataError(f"{name}: NaN or infinity in {len(bad)} of {len(x)} rows, the first is row {bad[0]}")
    return x


def picture_names(images: Sequence[Any] | None, n: int) -> list[str]:
    """What pictures are called in messages: their path, or their position."""
    if images is None:
        return [str(row) for row in range(n)]
    return [str(image) if isinstance(image, str | Path) else str(row) for row, image in enumerate(images)]


def _is_pil(image: Any) -> bool:
    from PIL import Image

    return isinstance(image, Image.Image)
