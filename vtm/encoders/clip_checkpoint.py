"""CLIP weights with what belongs to them: architecture, activation, preprocessing, tokenizer.

All of it is known before the weights are read, and none of it is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vtm.encoders.hub import hash_files
from vtm.errors import DataError, MissingError
from vtm.files import hash_json, read_json

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
