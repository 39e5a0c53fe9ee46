"""Which CLIP weights an encoder's options name, and where they are on this machine.

Most of what goes wrong with CLIP weights goes wrong silently: weights trained with QuickGELU computed with
GELU, the mean and standard deviation of other weights, position embeddings stretched to another size. Here
these are errors.
"""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtm.encoders.clip_checkpoint import (
    CONFIG,
    Checkpoint,
    complete_preprocessing,
    read_config,
    read_folder,
)
from vtm.encoders.hub import how_to_get, is_whole, weights_folder
from vtm.errors import ConfigError, DataError, MissingError

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
