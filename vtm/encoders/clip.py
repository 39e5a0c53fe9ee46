"""CLIP through open_clip: texts and pictures in one space. Embeddings have length 1.

By default ViT-B-32 / openai for English texts, xlm-roberta-base-ViT-B-32 / laion5b_s13b_b90k for any other
language. Pictures are prepared as the weights were trained: with their own resizing, cropping, mean and
standard deviation, texts with their own tokenizer and context length.

CLIP: Radford et al. 2021, arXiv:2103.00020. OpenCLIP: Ilharco et al. 2021, doi:10.5281/zenodo.5143773.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vtm.encoders import EncoderPair, TextEncoder
from vtm.encoders.clip_fetch import fetch_checkpoint
from vtm.encoders.clip_towers import Clip, ClipImage, ClipText
from vtm.encoders.clip_weights import LOCAL, find_checkpoint, is_file
from vtm.encoders.shared import use_cuda
from vtm.errors import ConfigError
from vtm.paths import data_dir

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
        from vtm.encoders.folders import find_folder
        from vtm.encoders.sentence import SentenceText

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
            from vtm.encoders.folders import fetch_folder

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
