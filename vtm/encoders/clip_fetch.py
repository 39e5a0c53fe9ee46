"""Fetches CLIP weights from the Hugging Face hub, as a folder that open_clip and `read_folder` read."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from vtm.encoders.clip_checkpoint import CONFIG, TOKENIZER, TOWER, WEIGHTS, read_config, read_folder
from vtm.encoders.clip_weights import HUB, published, tag_name
from vtm.encoders.hub import Download, is_whole, weights_folder
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import write_json


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
