"""CLIP weights with what belongs to them: architecture, activation, preprocessing, tokenizer.

All of it is known before the weights are read, and none of it is guessed.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.encoders import EncoderPair, TextEncoder
from vtm.encoders.weights import (
    ROWS,
    Download,
    hash_files,
    how_to_get,
    in_rows,
    is_whole,
    quiet_loading,
    use_cuda,
    weights_folder,
)
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import data_dir, hash_json, read_json, write_json

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
# In the order of open_clip's liking; it looks for .pt files in no folder.
SUFFIXES = (".safetensors", ".bin", ".pth")
# The text tower's own configuration lies here, where the tower is one of transformers' models.
TOWER = "hf_model/config.json"
VOCABULARY = ("tokenizer.json", "vocab.*", "*.model", "*.spm")
TOKENIZER = (
    *VOCABULARY,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
)
# What open_clip takes where a published configuration is silent; mean and deviation are always stated.
PREPROCESSING = {"mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0}


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a CLIP model with all that belongs to them.

    Parameters
    ----------
    name : what messages call it, and what tells whether two models share a space.
    weights : the file.
    config : open_clip's model configuration: embed_dim, quick_gelu, vision_cfg, text_cfg.
    preprocessing : open_clip's preprocessing of pictures: size (height, width), mean, std, ...
    folder : an open_clip folder, which holds the tokenizer too; None for a file of a built-in architecture.
    architecture : the built-in one, where there is no folder.
    """

    name: str
    weights: Path
    config: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    folder: Path | None = None
    architecture: str = ""

    @property
    def dim(self) -> int:
        return self.config["embed_dim"]

    @property
    def text_config(self) -> Mapping[str, Any]:
        return self.config["text_cfg"]

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the weights, compared with the recorded one where they were fetched."""
        return hash_files(self.weights.parent, [self.weights.name])[self.weights.name]

    @cached_property
    def image_hash(self) -> str:
        """Hash of weights, image tower and preprocessing."""
        tower = {name: value for name, value in self.config.items() if name != "text_cfg"}
        return hash_json([self.weights_hash, tower, self.preprocessing])

    @cached_property
    def text_hash(self) -> str:
        """Hash of weights, text tower and tokenizer."""
        tower = {name: value for name, value in self.config.items() if name != "vision_cfg"}
        files = {}
        if self.folder is not None and self.text_config.get("hf_tokenizer_name"):
            found = [
                path for pattern in (*TOKENIZER, "config.json", TOWER) for path in self.folder.glob(pattern)
            ]
            files = hash_files(self.folder, [path.relative_to(self.folder).as_posix() for path in found])
        return hash_json([self.weights_hash, tower, files])

    def check(self) -> tuple[str, str]:
        """Both hashes; a DataError where a file is not what was fetched."""
        return self.image_hash, self.text_hash


def read_folder(folder: Path, *, name: str) -> Checkpoint:
    """The weights in a folder as open_clip publishes and reads it (`local-dir:`).

    Where the text tower is one of transformers' models, its configuration is expected in
    `hf_model/config.json`: open_clip names it only, and would ask the hub.

    Raises
    ------
    MissingError
        No such folder, no configuration, no tokenizer, or no configuration of the text tower.
    DataError
        A configuration that does not state what is needed, or no single file of weights.
    """
    if not (folder / CONFIG).is_file():
        raise MissingError(
            f"{folder}: no {CONFIG} there, so that architecture and preprocessing are not known; "
            "give a folder as open_clip publishes it, or model=ARCHITECTURE,pretrained=FILE"
        )
    stated = read_config(folder / CONFIG)
    config = stated.get("model_cfg")
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise DataError(f"{folder / CONFIG}: needs a model_cfg with embed_dim, vision_cfg and text_cfg")
    if not (isinstance(config["vision_cfg"], dict) and isinstance(config["text_cfg"], dict)):
        raise DataError(f"{folder / CONFIG}: vision_cfg and text_cfg must be objects of their settings")
    if type(config["embed_dim"]) is not int or config["embed_dim"] < 1:
        raise DataError(
            f"{folder / CONFIG}: embed_dim {config['embed_dim']!r}: must be a number of dimensions"
        )
    tokenizer, tower = (config["text_cfg"].get(f"hf_{part}_name") for part in ("tokenizer", "model"))
    if tokenizer and not any(any(folder.glob(pattern)) for pattern in VOCABULARY):
        raise MissingError(f"{folder}: lacks the files of the tokenizer, {tokenizer}; put them there")
    if tower and not (folder / TOWER).is_file():
        raise MissingError(f"{folder}: lacks {TOWER}; put the config.json of the text tower, {tower}, there")
    return Checkpoint(
        name=name,
        weights=_weights_in(folder),
        config=config,
        preprocessing=complete_preprocessing(config, stated.get("preprocess_cfg"), where=folder / CONFIG),
        folder=folder,
    )


def read_config(path: Path) -> dict[str, Any]:
    """A configuration of open_clip's, whatever is in it."""
    stated = read_json(path)
    if not isinstance(stated, dict):
        raise DataError(f"{path}: is not a configuration of open_clip's, with model_cfg and preprocess_cfg")
    return stated


def _weights_in(folder: Path) -> Path:
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise DataError(
            f"{folder}: expected one file of weights, found {found}; name the right one {WEIGHTS}"
        )
    return files[0]


def complete_preprocessing(config: Mapping[str, Any], stated: Any, *, where: Path) -> dict[str, Any]:
    """All of open_clip's preprocessing, from what a configuration states and the size of the image tower.

    Raises
    ------
    DataError
        Mean or standard deviation is not stated, or the size is none.
    """
    stated = stated if isinstance(stated, dict) else {}
    stated = {key: value for key, value in stated.items() if value is not None}
    if not all(_three_numbers(stated.get(key)) for key in ("mean", "std")):
        raise DataError(
            f"{where}: how pictures are prepared is not known; it needs a preprocess_cfg with mean and std "
            "of the three colours"
        )
    size = config["vision_cfg"].get("image_size", 224)
    sides = list(size) if isinstance(size, list | tuple) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise DataError(f"{where}: image_size {size!r}: must be a number of pixels, or height and width")
    taken = {key: stated.get(key, value) for key, value in PREPROCESSING.items()}
    return taken | {"mean": list(stated["mean"]), "std": list(stated["std"]), "size": sides}


def _three_numbers(stated: Any) -> bool:
    return (
        isinstance(stated, list)
        and len(stated) == 3
        and all(type(value) in (int, float) and math.isfinite(value) for value in stated)
    )


# Which CLIP weights an encoder's options name, and where they are on this machine.
#
# Most of what goes wrong with CLIP weights goes wrong silently: weights trained with QuickGELU computed with
# GELU, the mean and standard deviation of other weights, position embeddings stretched to another size. Here
# these are errors.


LOCAL, HUB = "local-dir:", "hf-hub:"
FILES = (".safetensors", ".bin", ".pth", ".pt")
QUICK = "-quickgelu"


def find_checkpoint(model: str, pretrained: str, *, spec: str) -> Checkpoint:
    """The weights that an encoder's options name; nothing is downloaded.

    Parameters
    ----------
    model
        `local-dir:FOLDER` or `hf-hub:ORGANIZATION/NAME`, or the name of one of open_clip's architectures.
    pretrained
        With an architecture: a tag of open_clip's, or a file of weights.
    spec
        The encoder with its options, for the command that fetches it.

    Raises
    ------
    ConfigError
        Names that open_clip does not know, or options that do not go together.
    MissingError
        Weights that are not on this machine; the message has the commands that bring them.
    DataError
        A folder or file that does not say what is needed.
    """
    if model.startswith((LOCAL, HUB)) and pretrained:
        raise ConfigError(f"pretrained={pretrained}: {model} has its own weights; leave pretrained out")
    if model.startswith(LOCAL):
        return read_folder(Path(model.removeprefix(LOCAL)).expanduser().absolute(), name=model)
    if model.startswith(HUB):
        name = model
    elif is_file(pretrained):
        return _read_file(model, Path(pretrained).expanduser().absolute())
    else:
        # Asking open_clip for its names takes seconds; what was fetched under a name needs no asking.
        names = (tag_name(model, pretrained), tag_name(model + QUICK, pretrained))
        there = [name for name in names if is_whole(weights_folder("clip", name))]
        name = there[0] if there else tag_name(*published(model, pretrained))
    folder = weights_folder("clip", name)
    if not is_whole(folder):
        raise MissingError(f"the CLIP weights {name} are not in {folder.parent}; {how_to_get(spec)}")
    return read_folder(folder, name=name)


def is_file(pretrained: str) -> bool:
    """Whether `pretrained` is meant as a file, there or not; tags have neither slash nor suffix."""
    return "/" in pretrained or pretrained.endswith(FILES)


def tag_name(architecture: str, tag: str) -> str:
    """What published weights are called here, their folder too."""
    return f"{architecture}--{tag.lower().replace('-', '_')}"


def published(model: str, tag: str) -> tuple[str, str]:
    """Architecture and tag of published weights, the activation being the one they were trained with.

    So ViT-B-32 / openai is ViT-B-32-quickgelu / openai.

    Raises
    ------
    ConfigError
        An unknown architecture or tag, or an activation that the weights were not trained with.
    """
    import open_clip

    _check_architecture(model)
    about = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    if not about:
        plain = model.removesuffix(QUICK)
        if tag and open_clip.is_pretrained_cfg(plain, tag):
            raise ConfigError(
                f"model={model}: {tag} was trained with GELU, not QuickGELU; give model={plain}"
            )
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none published"
        wrong = f"pretrained={tag}: not among the" if tag else f"model={model} needs pretrained, one of its"
        raise ConfigError(f"{wrong} published weights ({tags}), or a file")
    quick = about.get("quick_gelu") and model + QUICK in open_clip.list_models()
    return (model + QUICK if quick else model), tag


def _check_architecture(model: str) -> None:
    import open_clip

    names = open_clip.list_models()
    if model not in names:
        near = ", ".join(difflib.get_close_matches(model, names, n=3)) or "ViT-B-32"
        instead = f"or give {LOCAL}FOLDER or {HUB}ORGANIZATION/NAME"
        raise ConfigError(f"model={model}: open_clip has no such architecture (near: {near}); {instead}")


def _read_file(model: str, path: Path) -> Checkpoint:
    """A file of weights, of a built-in architecture.

    How pictures are prepared is in the configuration beside the file; without one it is what all published
    weights of the architecture share.
    """
    import open_clip

    if not path.is_file():
        raise MissingError(f"pretrained={path}: no such file")
    beside = path.parent / CONFIG
    if not model:
        whole = f", or model={LOCAL}{path.parent} for the {CONFIG} there" if beside.is_file() else ""
        raise ConfigError(
            f"pretrained={path}: weights do not say their architecture; give model=ARCHITECTURE, one of "
            f"open_clip's{whole}"
        )
    _check_architecture(model)
    config = open_clip.get_model_config(model)
    if tokenizer := config["text_cfg"].get("hf_tokenizer_name"):
        raise ConfigError(
            f"pretrained={path}: a file lacks the tokenizer of {model}, {tokenizer}; give "
            f"model={LOCAL}FOLDER with {CONFIG}, the weights and the tokenizer's files in it"
        )
    if beside.is_file():
        stated = read_config(beside)
        _check_activation(model, config, stated.get("model_cfg") or {}, beside)
        preprocessing = stated.get("preprocess_cfg")
    else:
        preprocessing = _common_preprocessing(model, path)
    checkpoint = Checkpoint(
        name=f"{model}/{path}",
        weights=path,
        config=config,
        preprocessing=complete_preprocessing(config, preprocessing, where=beside),
        architecture=model,
    )
    if not beside.is_file():
        _check_known_file(checkpoint)
    return checkpoint


def _variants(model: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(architecture, tag, about) of all published weights of an architecture, of either activation."""
    import open_clip

    plain = model.removesuffix(QUICK)
    return [
        (architecture, tag, open_clip.get_pretrained_cfg(architecture, tag))
        for architecture in (plain, plain + QUICK)
        for tag in open_clip.list_pretrained_tags_by_model(architecture)
    ]


def _common_preprocessing(model: str, path: Path) -> Mapping[str, Any]:
    """The preprocessing that all published weights of the architecture share."""
    keys = ("mean", "std", "interpolation", "resize_mode")
    known = {json.dumps({key: about.get(key) for key in keys}) for _, _, about in _variants(model)}
    if len(known) != 1:
        example = min(known) if known else '{"mean": [...], "std": [...], "interpolation": "bicubic"}'
        raise DataError(
            f"{path}: how pictures are prepared for these weights is not known, as {model} does not tell; "
            f"write {path.parent / CONFIG} with how they were trained, "
            f'such as {{"preprocess_cfg": {example}}}'
        )
    return json.loads(known.pop())


def _check_activation(model: str, config: Mapping[str, Any], stated: Mapping[str, Any], where: Path) -> None:
    quick = bool(config.get("quick_gelu"))
    if "embed_dim" in stated and bool(stated.get("quick_gelu")) != quick:
        right = model.removesuffix(QUICK) if quick else model + QUICK
        names = ("QuickGELU", "GELU") if quick else ("GELU", "QuickGELU")
        raise ConfigError(
            f"model={model} computes {names[0]}, but {where} says {names[1]}; give model={right}"
        )


def _check_known_file(checkpoint: Checkpoint) -> None:
    """Compare the activation with that of published weights, where the file is one of them."""
    quick = bool(checkpoint.config.get("quick_gelu"))
    activations = set()
    for _, tag, about in _variants(checkpoint.architecture):
        activations.add(bool(about.get("quick_gelu")))
        digest = _digest_in_url(about.get("url") or "")
        if digest and checkpoint.weights_hash.startswith(digest):
            if bool(about.get("quick_gelu")) == quick:
                return
            right = checkpoint.architecture.removesuffix(QUICK) + ("" if quick else QUICK)
            raise ConfigError(
                f"pretrained={checkpoint.weights}: these are the weights {tag}, trained with another "
                f"activation than model={checkpoint.architecture} computes; give model={right}"
            )
    if len(activations) > 1:
        warnings.warn(
            f"{checkpoint.weights}: weights do not say their activation; taken as {checkpoint.architecture}, "
            f"with {'QuickGELU' if quick else 'GELU'} (weights by OpenAI, MetaCLIP and DFN have QuickGELU, "
            f"most others GELU). The {CONFIG} that came with them, put beside them, settles it",
            stacklevel=2,
        )


def _digest_in_url(url: str) -> str:
    """The SHA-256, or its start, that the address of published weights contains."""
    parts = url.split("/")
    if "openaipublic" in url:
        return parts[-2]
    return parts[-1].rpartition("-")[2].partition(".")[0] if "mlfoundations" in url else ""


# Fetches CLIP weights from the Hugging Face hub, as a folder that open_clip and `read_folder` read.


def fetch_checkpoint(model: str, pretrained: str, *, spec: str) -> Path:
    """The folder of published weights, fetched first if it is not there.

    Parameters
    ----------
    model, pretrained, spec
        As for `find_checkpoint`.

    Raises
    ------
    ConfigError
        Names that open_clip does not know, or weights that the hub does not have.
    MissingError
        The hub cannot be reached or has no such weights.
    DataError
        What came, or what was there, is damaged.
    """
    name = model if model.startswith(HUB) else tag_name(*published(model, pretrained))
    folder = weights_folder("clip", name)
    if is_whole(folder):
        read_folder(folder, name=name).check()
        return folder
    download = Download(folder, spec)
    if model.startswith(HUB):
        repository, file = model.removeprefix(HUB), ""
        stated = read_config(download.file(repository, CONFIG))
    else:
        repository, file, stated = _published(*published(model, pretrained))
    files = {WEIGHTS: _weights(download, repository, file)}
    files |= _text_files(download, stated.get("model_cfg", {}).get("text_cfg", {}))
    files[CONFIG] = download.waiting / CONFIG
    write_json(files[CONFIG], stated)
    return download.settle(files, source={"name": name, "repository": repository})


def _published(architecture: str, tag: str) -> tuple[str, str, dict[str, Any]]:
    """Repository, file ("" for the usual one) and configuration of published weights, by open_clip."""
    import open_clip

    about = open_clip.get_pretrained_cfg(architecture, tag)
    repository, _, file = about.get("hf_hub", "").rpartition("/")
    if not repository:
        raise ConfigError(
            f"{architecture} / {tag}: is not on the Hugging Face hub; download {about.get('url')} "
            "and give the file"
        )
    config = open_clip.get_model_config(architecture)
    if about.get("quick_gelu"):
        config["quick_gelu"] = True
    keys = ("mean", "std", "interpolation", "resize_mode", "fill_color")
    preprocessing = {key: about[key] for key in keys if key in about}
    return repository, file, {"model_cfg": config, "preprocess_cfg": preprocessing}


def _weights(download: Download, repository: str, file: str) -> Path:
    names = download.names(repository)
    pickled = file or "open_clip_pytorch_model.bin"
    safe = f"{pickled.rpartition('.')[0]}.safetensors" if file else WEIGHTS
    if safe in names:
        return download.file(repository, safe)
    if pickled in names:
        return _as_safetensors(download.file(repository, pickled))
    raise MissingError(f"{repository}: has neither {safe} nor {pickled}, so no weights that open_clip reads")


def _as_safetensors(path: Path) -> Path:
    """The weights of a pickle, which is read without running anything in it, in a file beside it."""
    import torch
    from open_clip.factory import load_state_dict
    from safetensors.torch import save_file

    try:
        tensors = load_state_dict(str(path), weights_only=True)
        # Tensors that share memory are not saved; a copy shares none.
        copies = {
            name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
        }
    except Exception as error:  # of the many that unpickling raises
        told = textwrap.shorten(str(error), 200)
        raise DataError(f"{path.name}: is not a plain file of weights ({told})") from error
    converted = path.with_suffix(".converted.safetensors")
    save_file(copies, converted)
    return converted


def _text_files(download: Download, text: Mapping[str, Any]) -> dict[str, Path]:
    """Tokenizer and configuration of a text tower of transformers; nothing for open_clip's own."""
    files: dict[str, Path] = {}
    if repository := text.get("hf_tokenizer_name"):
        for name in _matching(download.names(repository), (*TOKENIZER, "config.json")):
            files[name] = download.file(repository, name)
    if repository := text.get("hf_model_name"):
        files[TOWER] = download.file(repository, "config.json")
    return files


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return [name for name in names if "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)]


# From a CLIP checkpoint to open_clip's model and tokenizer, checked against each other.


def build_model(checkpoint: Checkpoint, *, device: str) -> Any:
    """open_clip's model with the checkpoint's weights, float32, in eval mode.

    Raises
    ------
    DataError
        Weights that are damaged, not of the architecture, or not to be read without running what is in them.
    """
    import open_clip

    checkpoint.check()
    options: dict[str, Any] = {}
    if checkpoint.folder is not None:
        name, pretrained = f"local-dir:{checkpoint.folder}", None
        if checkpoint.text_config.get("hf_model_name"):
            tower = str((checkpoint.folder / TOWER).parent)
            options["text_cfg"] = {
                **checkpoint.text_config,
                "hf_model_name": tower,
                "hf_model_pretrained": False,
            }
    else:
        name, pretrained = checkpoint.architecture, str(checkpoint.weights)
        options["force_preprocess_cfg"] = dict(checkpoint.preprocessing)
    try:
        with quiet_loading():
            model = open_clip.create_model(name, pretrained, **options)
    except Exception as error:  # the loaders raise many kinds
        raise DataError(_explain(checkpoint, error)) from error
    _check_positions(checkpoint, model)
    _check_preprocessing(checkpoint, model)
    return model.float().eval().to(device)


def build_tokenizer(checkpoint: Checkpoint, model: Any) -> Any:
    """open_clip's tokenizer of the checkpoint: texts to token ids (b, context length).

    Raises
    ------
    DataError
        A tokenizer that is not the one the text tower was trained with.
    """
    import open_clip

    where = f"local-dir:{checkpoint.folder}" if checkpoint.folder is not None else checkpoint.architecture
    try:
        tokenizer = open_clip.get_tokenizer(where)
    except Exception as error:
        raise DataError(f"{checkpoint.name}: its tokenizer cannot be read ({_first_line(error)})") from error
    size = getattr(getattr(model, "text", model), "vocab_size", None)
    inner = getattr(tokenizer, "tokenizer", None)  # that of transformers, in open_clip's wrapper
    if inner is None:
        known = tokenizer.vocab_size
        fits = known == size
    else:
        padding = getattr(getattr(getattr(model, "text", None), "config", None), "pad_token_id", None)
        known = inner.vocab_size
        fits = known <= size and padding in (None, inner.pad_token_id)
    if not fits:
        raise DataError(
            f"{checkpoint.name}: its tokenizer knows {known} tokens, its text tower {size}, or they pad in "
            "different ways; put the tokenizer's files that came with the weights into their folder"
        )
    return tokenizer


def _explain(checkpoint: Checkpoint, error: Exception) -> str:
    what = checkpoint.architecture or "the configuration beside them"
    return (
        f"{checkpoint.weights}: not the weights of {what} ({_first_line(error)}); give the architecture they "
        "were trained as, and the weights as safetensors or as a state dict saved by torch.save"
    )


def _first_line(error: Exception) -> str:
    """The line that says what is wrong: the first that is no heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    return said if len(said) <= 200 else f"{said[:200]}..."


def _check_positions(checkpoint: Checkpoint, model: Any) -> None:
    # open_clip stretches position embeddings of another length without a word.
    mine = _position_shapes({name: tuple(tensor.shape) for name, tensor in model.named_parameters()})
    for name, shape in _position_shapes(_stored_shapes(checkpoint.weights)).items():
        if mine.get(name, shape) != shape:
            raise DataError(
                f"{checkpoint.weights}: trained with other sizes than "
                f"{checkpoint.architecture or 'the configuration'} ({name} is {shape}, not {mine[name]}); "
                "give the architecture they were trained as"
            )


def _position_shapes(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {
        name.removeprefix("module.").removeprefix("text."): shape
        for name, shape in shapes.items()
        if name.endswith("positional_embedding")
    }


def _stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as tensors:
            names = list(tensors.keys())
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    from open_clip.factory import load_state_dict

    return {
        name: tuple(tensor.shape) for name, tensor in load_state_dict(str(path), weights_only=True).items()
    }


def _check_preprocessing(checkpoint: Checkpoint, model: Any) -> None:
    found = dict(model.visual.preprocess_cfg)
    size = found["size"]
    found["size"] = list(size) if isinstance(size, list | tuple) else [size, size]
    found = {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
    if found != checkpoint.preprocessing:
        raise DataError(
            f"{checkpoint.name}: open_clip prepares pictures as {found}, the configuration says "
            f"{checkpoint.preprocessing}; report this to the authors of vtm"
        )


# A CLIP model's towers as text and image encoder.


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


# CLIP through open_clip: texts and pictures in one space. Embeddings have length 1.
#
# By default ViT-B-32 / openai for English texts, xlm-roberta-base-ViT-B-32 / laion5b_s13b_b90k for any other
# language. Pictures are prepared as the weights were trained: with their own resizing, cropping, mean and
# standard deviation, texts with their own tokenizer and context length.
#
# CLIP: Radford et al. 2021, arXiv:2103.00020. OpenCLIP: Ilharco et al. 2021, doi:10.5281/zenodo.5143773.


ENGLISH = ("ViT-B-32-quickgelu", "openai")
MULTILINGUAL = ("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k")
PRECISIONS = ("auto", "fp32", "fp16", "bf16")
# A text model of sentence-transformers.
SENTENCE = "sentence:"
# Text models that were trained to the pictures of another model, whose space they share: the first by
# distillation (Reimers and Gurevych 2020, arXiv:2004.09813), the second with that image tower frozen.
ALIGNED = {
    ("sentence:sentence-transformers/clip-ViT-B-32-multilingual-v1", "ViT-B-32-quickgelu--openai"),
    ("xlm-roberta-large-ViT-H-14--frozen_laion5b_s13b_b90k", "ViT-H-14--laion2b_s32b_b79k"),
}


def load(
    *,
    device: str = "auto",
    language: str = "en",
    model: str = "",
    pretrained: str = "",
    text_model: str = "",
    text_pretrained: str = "",
    aligned: str = "auto",
    precision: str = "auto",
) -> EncoderPair:
    """The pair "clip". Nothing is downloaded: `prefetch` does that.

    Parameters
    ----------
    language
        Of the texts; chooses the weights where none are named.
    model, pretrained
        One of open_clip's architectures with a tag or a file of weights; or, as `model` alone,
        `local-dir:FOLDER` or `hf-hub:ORGANIZATION/NAME`. Published weights are computed with the activation
        they were trained with, so ViT-B-32 / openai with QuickGELU. A file does not state its activation, so
        the architecture's name must (ViT-B-32-quickgelu), nor its preprocessing, unless the
        open_clip_config.json that came with it lies beside it.
    text_model, text_pretrained
        The same for texts, where they have another model than the pictures; or `sentence:NAME`, a model of
        sentence-transformers.
    aligned
        Whether texts and pictures share one space: "yes", "no", or "auto". One model's do. Two models' do
        not, unless the text model is known to have been trained to the other's pictures.
    precision
        "fp32", or "fp16" or "bf16" on CUDA (torch.autocast); "auto" is fp16 on CUDA and fp32 on the CPU.
        Embeddings are float32 in any case.

    Raises
    ------
    ConfigError
        Options that cannot be used, or half precision on the CPU.
    MissingError
        Weights that are not on this machine; the message has the commands that bring them.
    DataError
        Weights whose architecture or preprocessing is not known.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision={precision}: choose from {', '.join(PRECISIONS)}")
    if aligned not in ("auto", "yes", "no"):
        raise ConfigError(f"aligned={aligned}: choose from auto, yes, no")
    cuda = use_cuda(device)
    if precision in ("fp16", "bf16") and not cuda:
        raise ConfigError(f"precision={precision}: half precision needs a CUDA device; give fp32 or auto")
    if precision == "auto":
        precision = "fp16" if cuda else "fp32"
    image_model, text_name = _models(language, model, pretrained, text_model, text_pretrained)
    spec = _spec(image_model, text_name)
    how = {"device": "cuda" if cuda else "cpu", "precision": precision}

    pictures = Clip(find_checkpoint(*image_model, spec=spec), **how)
    text: TextEncoder
    if text_name[0].startswith(SENTENCE):
        from vtm.encoders.sentence import SentenceText
        from vtm.encoders.weights import find_folder

        name = text_name[0]
        text = SentenceText(find_folder(name.removeprefix(SENTENCE), spec=spec), device=how["device"])
    elif text_name == image_model:
        name, text = pictures.checkpoint.name, ClipText(pictures)
    else:
        texts = Clip(find_checkpoint(*text_name, spec=spec), **how)
        name, text = texts.checkpoint.name, ClipText(texts)
    image = ClipImage(pictures)
    if aligned == "yes" and text.dim != image.dim:
        raise ConfigError(
            f"aligned=yes: texts have {text.dim} numbers and pictures {image.dim}, so they share no space"
        )
    share = name == pictures.checkpoint.name or (name, pictures.checkpoint.name) in ALIGNED
    return EncoderPair(
        name="clip", text=text, image=image, aligned=share if aligned == "auto" else aligned == "yes"
    )


def prefetch(
    *,
    language: str = "en",
    model: str = "",
    pretrained: str = "",
    text_model: str = "",
    text_pretrained: str = "",
    **_: Any,
) -> Path:
    """Fetch the weights that `load` needs with the same options, unless they are there.

    Returns
    -------
    Path
        The folder of the weights; of two models the folder of all weights.

    Raises
    ------
    ConfigError, MissingError, DataError
        Unknown weights; weights that cannot be fetched; damaged ones.
    """
    models = _models(language, model, pretrained, text_model, text_pretrained)
    spec = _spec(*models)
    remote = [(name, tag) for name, tag in models if not (name.startswith(LOCAL) or is_file(tag))]
    if not remote:
        raise ConfigError(f"{spec}: names weights on this machine; there is nothing to fetch")
    folders = set()
    for name, tag in remote:
        if name.startswith(SENTENCE):
            from vtm.encoders.weights import fetch_folder

            folders.add(fetch_folder(name.removeprefix(SENTENCE), spec=spec))
        else:
            folders.add(fetch_checkpoint(name, tag, spec=spec))
    return folders.pop() if len(folders) == 1 else data_dir() / "weights"


def _models(
    language: str, model: str, pretrained: str, text_model: str, text_pretrained: str
) -> tuple[tuple[str, str], tuple[str, str]]:
    """(model, pretrained) for pictures and for texts, as the options name them or by default."""
    model, pretrained, text_model, text_pretrained = (
        str(value) for value in (model, pretrained, text_model, text_pretrained)
    )
    if model or pretrained:
        image = (model, pretrained)
    else:
        image = ENGLISH if re.split("[-_]", language.lower())[0] == "en" else MULTILINGUAL
    if text_model.startswith(SENTENCE) and text_pretrained:
        raise ConfigError(
            f"text_pretrained={text_pretrained}: {text_model} has its own weights; leave it out"
        )
    if not text_model and not text_pretrained:
        return image, image
    return image, (text_model or image[0], text_pretrained)


def _spec(image: tuple[str, str], text: tuple[str, str]) -> str:
    """The encoder with these models, as configurations and commands name it."""
    options = {"model": image[0], "pretrained": image[1]}
    if text != image:
        options |= {"text_model": text[0], "text_pretrained": text[1]}
    return "clip:" + ",".join(f"{name}={value}" for name, value in options.items() if value)
