"""Text and image encoders behind one small protocol, and embeddings that are computed once."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vtm.config import parse_encoder
from vtm.corpora.base import Dropped
from vtm.corpora.pictures import PictureError, picture_file
from vtm.encoders.cache import Store, embed_images, embed_texts
from vtm.errors import ConfigError, DataError, VtmError, check_choice
from vtm.files import data_dir, hash_file, known_hash, scratch

if TYPE_CHECKING:
    from PIL import Image


__all__ = [
    "ENCODERS",
    "PREFETCH",
    "EncoderPair",
    "ImageEncoder",
    "ModelEncoders",
    "TextEncoder",
    "embed_images",
    "embed_texts",
    "joined",
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
OWN = "embeddings of your own"  # in place of an encoder's key
# Pictures embedded between two ticks of the bar; what is held at once does not grow with the number of pictures.
BLOCK = 256


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


class ModelEncoders:
    """The encoders of a model, loaded when they are first needed, and left out of copies and pickles.

    `keys` says with which encoder texts and pictures were embedded: another one is refused from then on.
    """

    def __init__(self, given: Mapping[str, Any], keys: Mapping[str, str | None] | None = None) -> None:
        self._given = given
        self.keys: dict[str, str | None] = {"text": None, "image": None, **(keys or {})}

    def __getstate__(self) -> dict[str, Any]:
        # A session of ONNX Runtime cannot be pickled, and CUDA's memory is of one process.
        return {name: value for name, value in vars(self).items() if name != "pair"}

    @cached_property
    def pair(self) -> EncoderPair:
        """The encoders themselves.

        Raises
        ------
        ConfigError, MissingError, DataError
            There are none, or they cannot be loaded.
        """
        encoder = self._given["encoder"]
        if encoder is None:
            raise ConfigError(
                "the model was trained with an encoder of your own: load it with encoder=..., or give embeddings"
            )
        if isinstance(encoder, EncoderPair):
            return encoder
        if not isinstance(encoder, str):
            raise ConfigError(f"encoder={encoder!r}: must be a name or an EncoderPair")
        return load_named(encoder, device=self._given["device"], language=self._given["language"])

    def checked(self, reads: str) -> Any:
        """The encoder of "text" or of "image".

        Raises
        ------
        DataError
            It is another one than that of the training, or there was none.
        """
        known = self.keys[reads]
        if known == OWN:
            what, given = {"text": ("texts", "text"), "image": ("pictures", "image")}[reads]
            raise DataError(
                f"the model was fitted on embeddings of your own, so that no encoder can read {what} for it: give "
                f"{given}_embeddings of the same kind in Python; commands cannot use it"
            )
        encoder = getattr(self.pair, reads)
        if known is not None and known != encoder.key:
            raise DataError(
                f"the model was trained with the {reads} encoder {known}, this one is {encoder.key}: name the "
                "encoder that it was trained with"
            )
        self.keys[reads] = encoder.key
        return encoder

    def check_at_once(self) -> None:
        """Refuse another encoder than that of the training before it is used.

        Without one topics can still be read; what cannot be loaded is told when it is needed.

        Raises
        ------
        DataError
            It is another one.
        """
        trained = [reads for reads, key in self.keys.items() if key not in (None, OWN)]
        try:
            _ = [getattr(self.pair, reads).key for reads in trained]
        except VtmError:
            return
        for reads in trained:
            self.checked(reads)

    def embed_texts(self, texts: Sequence[str], *, progress: bool) -> np.ndarray:
        """Embeddings (n, D) of texts, from the cache where it has them."""
        return embed_texts(self.checked("text"), texts, cache=self._given["cache"], progress=progress)

    def blocks(
        self, images: Sequence[Any], names: Sequence[str], *, progress: bool
    ) -> Iterator[tuple[np.ndarray, tuple[Dropped, ...]]]:
        """Embeddings (b, E) of pictures, b at a time: NaN for those that cannot be used, which are named, too."""
        from tqdm import tqdm

        encoder = self.checked("image")
        in_one = len(images) <= BLOCK  # then the bar of embed_images counts single pictures
        silent = True if in_one or not progress else None
        store = Store(encoder.key, encoder.dim, self._given["cache"])
        options = {"cache": store, "max_pixels": self._given["max_pixels"]}
        with store, tqdm(total=len(images), desc="embedding pictures", unit="", disable=silent) as bar:
            for start in range(0, len(images), BLOCK):
                rows = slice(start, start + BLOCK)
                block = _embed_block(
                    encoder, images[rows], names[rows], progress=progress and in_one, **options
                )
                bar.update(len(block[0]))
                yield block

    def embed_images(
        self, images: Sequence[Any], names: Sequence[str], *, progress: bool
    ) -> tuple[np.ndarray, tuple[Dropped, ...]]:
        """All blocks in one."""
        return joined(self.blocks(images, names, progress=progress), self.checked("image").dim)


def joined(
    blocks: Iterable[tuple[np.ndarray, tuple[Dropped, ...]]], width: int
) -> tuple[np.ndarray, tuple[Dropped, ...]]:
    """Rows (b, width) that come in blocks, each with what was dropped, in one."""
    rows, dropped = [np.empty((0, width), dtype=np.float32)], list[Dropped]()
    for block, bad in blocks:
        rows.append(block)
        dropped += bad
    return np.concatenate(rows), tuple(dropped)


def _embed_block(
    encoder: ImageEncoder, images: Sequence[Any], names: Sequence[str], **options: Any
) -> tuple[np.ndarray, tuple[Dropped, ...]]:
    """One of `ModelEncoders.blocks`."""
    # By row, so that a picture that comes twice, or two of one name, are two.
    dropped: dict[int, Dropped] = {}
    files: dict[str, Path] = {}
    hashes: list[str] = []
    with scratch() as folder:
        for row, image in enumerate(images):
            try:
                path = picture_file(image, folder / str(row))
                hashes.append(known_hash(path) if isinstance(image, str | Path) else hash_file(path))
                files[str(row)] = path
            except PictureError as error:
                dropped[row] = Dropped(names[row], error.reason, str(error))
            except (OSError, ValueError) as error:
                dropped[row] = Dropped(names[row], "unreadable", f"{names[row]}: cannot be read ({error})")
        found, kept, bad = embed_images(encoder, tuple(files), tuple(files.values()), hashes, **options)
    for item in bad:
        row = int(item.id)
        detail = item.detail if isinstance(images[row], str | Path) else f"picture {names[row]}"
        dropped[row] = Dropped(names[row], item.reason, detail)
    embeddings = np.full((len(images), encoder.dim), np.nan, dtype=np.float32)
    embeddings[[int(row) for row in kept]] = found
    return embeddings, tuple(dropped[row] for row in sorted(dropped))
