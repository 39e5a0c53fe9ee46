"""Texts and pictures of any kind to embeddings, a row for each, also where a picture cannot be used."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.corpora import Dropped
from vtm.encoders import EncoderPair, embed_images, embed_texts, load_named
from vtm.errors import ConfigError, DataError
from vtm.files import hash_file
from vtm.pictures import MAX_PIXELS, PictureError, check_file

if TYPE_CHECKING:
    from vtm.encoders import ImageEncoder

# Pictures embedded between two ticks of the bar; what is held at once does not grow with the number of pictures.
BLOCK = 256
_BLANK = "blank"
# What PNG and TIFF hold as it is; pictures of other modes become RGB.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_TIFF_MODES = ("I", "F")
_ORIENTATION = 0x0112  # of EXIF


@dataclass(frozen=True)
class Block:
    """Embeddings (b, D) float32 of b pictures: NaN for those that cannot be used, which `dropped` names."""

    embeddings: np.ndarray
    dropped: tuple[Dropped, ...]


class Encoding:
    """The encoder of a model, loaded when it is first needed.

    `keys` says with which encoder texts and pictures were embedded: another one is refused from then on.
    """

    def __init__(
        self,
        encoder: str | EncoderPair | None,
        *,
        language: str,
        device: str,
        cache: Path | str | None,
        max_pixels: int,
        keys: Mapping[str, str | None] | None = None,
    ) -> None:
        self._given = encoder
        self._language, self._device = language, device
        self._cache, self._max_pixels = cache, max_pixels
        self.keys: dict[str, str | None] = {"text": None, "image": None} | dict(keys or {})

    def texts(self, texts: Sequence[str], *, progress: bool) -> np.ndarray:
        """Embeddings (n, D) of texts."""
        return embed_texts(self._encoder("text"), texts, cache=self._cache, progress=progress)

    def blocks(self, images: Sequence[Any], names: Sequence[str], *, progress: bool) -> Iterator[Block]:
        """Embeddings of pictures, block by block (`embed_pictures`)."""
        return embed_pictures(
            self._encoder("image"),
            images,
            names,
            cache=self._cache,
            max_pixels=self._max_pixels,
            progress=progress,
        )

    def images(
        self, images: Sequence[Any], names: Sequence[str], *, progress: bool
    ) -> tuple[np.ndarray, tuple[Dropped, ...]]:
        """Embeddings (n, E) of pictures, NaN for those that cannot be used, and these with the reason."""
        blocks = list(self.blocks(images, names, progress=progress))
        empty = np.empty((0, self._encoder("image").dim), dtype=np.float32)
        dropped = tuple(drop for block in blocks for drop in block.dropped)
        return np.concatenate([empty, *(block.embeddings for block in blocks)]), dropped

    def _encoder(self, reads: str) -> Any:
        encoder = getattr(self.pair, reads)
        known = self.keys[reads]
        if known is not None and known != encoder.key:
            raise DataError(
                f"the model was trained with the {reads} encoder {known}, this one is {encoder.key}: name the "
                "encoder that it was trained with"
            )
        self.keys[reads] = encoder.key
        return encoder

    @cached_property
    def pair(self) -> EncoderPair:
        """The encoder itself.

        Raises
        ------
        ConfigError, MissingError, DataError
            There is none, or it cannot be loaded.
        """
        if self._given is None:
            raise ConfigError(
                "the model was trained with an encoder of your own: load it with encoder=..., or give embeddings"
            )
        if isinstance(self._given, EncoderPair):
            return self._given
        if not isinstance(self._given, str):
            raise ConfigError(f"encoder={self._given!r}: must be a name or an EncoderPair")
        return load_named(self._given, device=self._device, language=self._language)


def embed_pictures(
    encoder: ImageEncoder,
    images: Sequence[Any],
    names: Sequence[str],
    *,
    cache: Path | str | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: bool = False,
) -> Iterator[Block]:
    """Embed pictures block by block, in their order, from the cache where it has them.

    Parameters
    ----------
    images
        See `vtm.api_inputs.as_images`.
    names
        What `Dropped.id` says of a picture that cannot be used.
    progress
        Show a bar on stderr, on a terminal.

    Raises
    ------
    DataError
        The cache cannot be written.
    """
    from tqdm import tqdm

    in_one = len(images) <= BLOCK  # then the bar of embed_images counts single pictures
    silent = True if in_one or not progress else None
    with tqdm(total=len(images), desc="embedding pictures", unit="", disable=silent) as bar:
        for start in range(0, len(images), BLOCK):
            rows = slice(start, start + BLOCK)
            embeddings, dropped = _embed_block(
                encoder,
                images[rows],
                names[rows],
                cache=cache,
                max_pixels=max_pixels,
                progress=progress and in_one,
            )
            bar.update(len(embeddings))
            yield Block(embeddings, dropped)


def _embed_block(
    encoder: ImageEncoder, images: Sequence[Any], names: Sequence[str], **options: Any
) -> tuple[np.ndarray, tuple[Dropped, ...]]:
    from PIL import Image

    # By row, so that a picture that comes twice, or two of one name, are two.
    dropped: dict[int, Dropped] = {}
    files: dict[str, tuple[Path, str]] = {}
    with tempfile.TemporaryDirectory(prefix="vtm-") as name:
        folder = Path(name)
        for row, image in enumerate(images):
            try:
                path = _as_file(image, folder / str(row))
                files[str(row)] = (path, hash_file(path))
            except PictureError as error:
                dropped[row] = Dropped(names[row], error.reason, str(error))
            except (OSError, ValueError) as error:
                dropped[row] = Dropped(names[row], "unreadable", f"{names[row]}: cannot be read ({error})")
        # embed_images refuses pictures of which none can be used. Here that is an answer: so a blank one goes along.
        Image.new("RGB", (8, 8), "white").save(folder / "blank.png")
        files[_BLANK] = (folder / "blank.png", hash_file(folder / "blank.png"))
        found, kept, bad = embed_images(
            encoder,
            tuple(files),
            tuple(path for path, _ in files.values()),
            tuple(content for _, content in files.values()),
            **options,
        )
    for drop in bad:
        if drop.id != _BLANK:
            row = int(drop.id)
            detail = drop.detail if isinstance(images[row], str | Path) else f"picture {names[row]}"
            dropped[row] = Dropped(names[row], drop.reason, detail)
    embeddings = np.full((len(images), encoder.dim), np.nan, dtype=np.float32)
    for id, embedding in zip(kept, found, strict=True):
        if id != _BLANK:
            embeddings[int(id)] = embedding
    return embeddings, tuple(dropped[row] for row in sorted(dropped))


def _as_file(image: Any, base: Path) -> Path:
    """The picture's file, or a lossless one of it: so all pictures take the same way to their embedding."""
    if isinstance(image, str | Path):
        check_file(path := Path(image))
        return path
    from PIL import Image

    try:
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        exif = Image.Exif()
        if turned := picture.getexif().get(_ORIENTATION):
            exif[_ORIENTATION] = turned
        if picture.mode not in (*_PNG_MODES, *_TIFF_MODES):
            picture = picture.convert("RGB")
        if picture.mode in _TIFF_MODES:
            picture.save(path := base.with_suffix(".tiff"), exif=exif)
        else:
            picture.save(path := base.with_suffix(".png"), exif=exif, compress_level=1)
        return path
    except Exception as error:  # Pillow's decoders let many kinds of errors through
        raise PictureError(f"a {type(image).__name__} cannot be read ({error})", "unreadable") from error
