"""From a CLIP checkpoint to open_clip's model and tokenizer, checked against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vtm.encoders.clip_checkpoint import TOWER, Checkpoint
from vtm.encoders.shared import quiet_loading
from vtm.errors import DataError


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
