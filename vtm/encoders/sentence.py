"""Texts by a BERT or sentence-transformers model, pictures by a vision transformer; not aligned.

The paper's variant with a ViT and a German BERT. Models are named as on the Hugging Face hub, or by folder.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.encoders import EncoderPair, ImageEncoder
from vtm.encoders.weights import (
    Hub,
    embed_sentences,
    hash_files,
    in_rows,
    quiet_loading,
    read_object,
    use_cuda,
)
from vtm.errors import ConfigError, DataError, MissingError, VtmError, check_choice, require
from vtm.files import hash_json, read_json

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


POOLINGS = ("cls", "mean")
MODULES = "modules.json"  # makes a folder one of sentence-transformers; names the folders of its parts
# Either may name the folders of the parts that a part has itself.
ROUTERS = ("router_config.json", "config.json")
SUFFIXES = (".json", ".txt", ".model", ".spm", ".safetensors", ".bin")
WIDEST = 1 << 20  # dimensions
OFFLINE = "offline"


def load(
    *,
    device: str = "auto",
    fetch: bool = False,
    text: str = "",
    image: str = OFFLINE,
    pooling: str = "cls",
    image_size: int = 112,
    precision: str = "float32",
) -> EncoderPair:
    """The pair "sentence". Nothing is downloaded but for `image="offline"`, unless told to `fetch`.

    Parameters
    ----------
    text
        Name or folder of a sentence-transformers model; of any other text model of transformers the mean of
        the tokens is taken, as sentence-transformers does.
    image
        Name or folder of an image model of transformers or timm, or "offline" for the image encoder of the
        pair of that name.
    pooling
        What stands for a picture, of the image model's last layer: "cls", its first token, or "mean", the
        mean of all.
    image_size, precision
        For `image="offline"`, as in the pair of that name.
    """
    if not text:
        raise ConfigError("encoder sentence: which text model? Give text=NAME or text=FOLDER")
    check_choice(f"pooling={pooling}", pooling, POOLINGS)
    require("sentence_transformers")
    hub = Hub(f"sentence:text={text}" + ("" if image == OFFLINE else f",image={image}"), fetch=fetch)
    texts = SentenceText(_checked_whole(find_folder(text, hub=hub)), device=device)
    pictures: ImageEncoder
    if image == OFFLINE:
        from vtm.encoders.offline import load_image

        pictures = load_image(device=device, image_size=image_size, precision=precision)
    else:
        pictures = VisionTransformer(find_folder(image, hub=hub), pooling=pooling, device=device)
    return EncoderPair(name="sentence", text=texts, image=pictures, aligned=False)


class SentenceText:
    """A text model, as sentence-transformers computes it; of length 1 only where the model scales it so."""

    def __init__(self, folder: Path, *, device: str) -> None:
        self.folder = folder
        self.device = device

    @cached_property
    def key(self) -> str:
        return f"sentence-text-1/{hash_folder(self.folder)}"

    @cached_property
    def dim(self) -> int:
        if stated := _stated_dim(self.folder):
            return stated
        # Called another name in older releases.
        known = getattr(self._model, "get_embedding_dimension", None)
        return (known or self._model.get_sentence_embedding_dimension)()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        prompt = self._model.prompts.get(self._model.default_prompt_name) or ""
        if prompt and any(not getattr(part, "include_prompt", True) for part in self._model.modules()):
            raise DataError(f"{self.folder}: leaves its prompt out of the mean, which is not supported")
        return embed_sentences(self._model, [prompt + text for text in texts], dim=self.dim)

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer

        all_parts(self.folder)  # no code of a model's own is run
        device = "cuda" if use_cuda(self.device) else "cpu"
        with _explained(self.folder, "not a model that sentence-transformers reads"), quiet_loading():
            model = SentenceTransformer(str(self.folder), device=device, local_files_only=True)
            model = model.float().eval()
            # Damage that loading does not notice shows here, not after hours.
            embed_sentences(model, ["a"], dim=1)
        for router in (part for part in model.modules() if hasattr(part, "default_route")):
            default = router.sub_modules[router.default_route][0]  # type: ignore[index]
            # The first route's tokenizer makes the tokens.
            if getattr(default, "tokenizer", None) is not getattr(router, "tokenizer", None):
                raise DataError(
                    f"{self.folder}: its routes have different tokenizers, which is not supported"
                )
        return model


@contextmanager
def _explained(folder: Path, what: str) -> Iterator[None]:
    """Errors of transformers, of many kinds, as a DataError."""
    try:
        yield
    except VtmError:
        raise
    except Exception as error:
        told = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
        raise DataError(f"{folder}: {what} ({told})") from error


def _stated_dim(folder: Path) -> int:
    """Length of an embedding by the configuration, so that a full cache needs no weights; 0: not stated."""
    if not (folder / MODULES).is_file():
        return as_width(read_object(folder / "config.json").get("hidden_size"))
    parts = read_parts(folder)
    about = folder / "config_sentence_transformers.json"
    if about.is_file() and read_object(about).get("truncate_dim"):
        return 0
    if len(all_parts(folder)) > len({"", *parts}):
        return 0  # what a router routes to decides
    for path in (folder / part / "config.json" for part in reversed(parts[1:])):
        part = read_object(path) if path.is_file() else {}
        if "out_features" in part:
            return as_width(part["out_features"])
        if width := as_width(part.get("embedding_dimension") or part.get("word_embedding_dimension")):
            modes = part.get("pooling_mode") or [
                name for name in part if name.startswith("pooling_mode_") and part[name]
            ]
            return width * (len(modes) if isinstance(modes, list) else 1)
    return 0


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
        with _explained(self.folder, "its processor cannot prepare a picture"):
            return processor(image, return_tensors="pt")["pixel_values"][0].float().numpy()

    def encode(self, batch: np.ndarray) -> np.ndarray:
        import torch

        model = self._model

        def run(padded: np.ndarray) -> np.ndarray:
            with (
                torch.inference_mode(),
                _explained(self.folder, "its model cannot compute prepared pictures"),
            ):
                state = model(pixel_values=torch.from_numpy(padded).to(model.device)).last_hidden_state
                rows = self._pool(state).float().cpu().numpy()
            if rows.shape[1] != self.dim:
                stated = f"its config.json says {self.dim}, its model gives {rows.shape[1]}"
                raise DataError(f"{self.folder}: dimensions of a picture: {stated}")
            return rows

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
        except Exception as error:  # the loaders raise many kinds
            raise DataError(
                f"{self.folder}: how pictures are prepared is not known; put its preprocessor_config.json there"
            ) from error

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModel

        cuda = use_cuda(self.device)
        with _explained(self.folder, "cannot be loaded as an image model"), quiet_loading():
            model = AutoModel.from_pretrained(self.folder, local_files_only=True)
        return model.float().to("cuda" if cuda else "cpu").eval()


def find_folder(name: str, *, hub: Hub) -> Path:
    """The folder of a model of transformers or sentence-transformers: `name` itself, if it is one, or the hub's.

    A MissingError where it is neither; the message has the commands that bring it. Or the hub has no weights of it.
    """
    path = Path(name).expanduser()
    if (path / "config.json").is_file() or (path / MODULES).is_file():
        return path.absolute()
    if name.startswith(("/", "~", ".")) or path.is_dir():
        raise MissingError(f"{name}: no folder with a model in it, which has a config.json")
    what = f"the model {name} is"
    folder = hub.snapshot(name, "*.json", but=("onnx/*", "openvino/*"), what=what)
    names = hub.names(name) or [path.relative_to(folder).as_posix() for path in folder.rglob("*.*")]
    wanted = _wanted(names, all_parts(folder))
    if not any(file.endswith((".safetensors", ".bin")) for file in wanted):
        raise MissingError(f"{name}: the hub has no weights of it as safetensors or for PyTorch")
    return hub.snapshot(name, *wanted, what=what)


def _checked_whole(folder: Path) -> Path:
    """The folder; a DataError where it is one of sentence-transformers that has lost the list of its parts.

    sentence-transformers 6.2 then takes the mean of the tokens, without a word, and leaves out what else the model does.
    """
    if not (folder / MODULES).is_file():
        names = (
            "config_sentence_transformers.json",
            "sentence_*_config.json",
            "[0-9]*_*/config.json",
            "*_Normalize",
        )
        if found := sorted(path for name in names for path in folder.glob(name)):
            raise DataError(
                f"{folder}: has {found[0].relative_to(folder)}, as a model of sentence-transformers, but no {MODULES}; "
                "without it vectors lose their length of 1 and other layers: copy that file, too"
            )
    return folder


def hash_folder(folder: Path) -> str:
    """Hash of a model: its weights, configuration and tokenizer or image processor; errors as of `hash_files`."""
    parts = all_parts(folder)
    names = set()
    for part in parts:
        if os.path.isdir(folder / part):  # False for names that cannot be
            found = (folder / part).glob("**/*" if part else "*")
            names |= {path.relative_to(folder).as_posix() for path in found if path.is_file()}
    return hash_json(hash_files(folder, _wanted(names, parts)))


def _wanted(names: Iterable[str], parts: Iterable[str]) -> list[str]:
    """A model's files, in its folder and below those of its parts: no pickle beside safetensors, no ONNX and the like."""
    below = {PurePosixPath(part) for part in parts if part}
    files = [path for path in map(PurePosixPath, names) if path.suffix in SUFFIXES]
    mine = [path for path in files if len(path.parts) == 1 or below.intersection(path.parents)]
    safe = {path.parent for path in mine if path.suffix == ".safetensors"}
    return sorted(str(path) for path in mine if path.suffix != ".bin" or path.parent not in safe)


def read_parts(folder: Path) -> list[str]:
    """The folders of a sentence-transformers model's parts, in their order; "" is the folder of the model.

    A DataError where the file does not say what the parts are, or one is in another folder or is not
    sentence-transformers' own: its code would be run.
    """
    stated, where = read_json(folder / MODULES), folder / MODULES
    for part in stated if isinstance(stated, list) else [None]:
        known = part if isinstance(part, dict) else {}
        if not (isinstance(known.get("path"), str) and isinstance(known.get("type"), str)):
            raise DataError(f"{where}: is no list of a model's parts, with the path and the type of each")
    return [_checked_part(where, "", part["path"], part["type"]) for part in stated]


def all_parts(folder: Path) -> list[str]:
    """The folders of a model and of all its parts, also of those inside a router; errors as of `read_parts`."""
    parts = list(dict.fromkeys(["", *(read_parts(folder) if (folder / MODULES).is_file() else ())]))
    for part in parts:  # which grows
        for path in (folder / part / name for name in ROUTERS):
            stated = read_json(path) if os.path.isfile(path) else None
            types = stated.get("types") if isinstance(stated, dict) else None
            for name, kind in types.items() if isinstance(types, dict) else ():
                inner = _checked_part(path, part, name, str(kind))
                if inner not in parts:
                    parts.append(inner)
    return parts


def _checked_part(stated: Path, part: str, name: str, kind: str) -> str:
    path = PurePosixPath(part, name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{stated}: the part {name!r} is in another folder")
    if not kind.startswith("sentence_transformers."):
        raise DataError(f"{stated}: the part {kind!r} is code that came with the model, and is not run")
    return str(path) if path.parts else ""


def as_width(value: Any) -> int:
    """A number of dimensions that a configuration states; 0 for anything that is none."""
    return value if type(value) is int and 0 < value < WIDEST else 0
