"""CLIP through open_clip: texts and pictures in one space. Embeddings have length 1.

By default ViT-B-32 / openai for English texts, xlm-roberta-base-ViT-B-32 / laion5b_s13b_b90k for any other
language. Pictures are prepared as the weights were trained: with their own resizing, cropping, mean and
standard deviation, texts with their own tokenizer and context length.

Most of what goes wrong with CLIP weights goes wrong silently: weights trained with QuickGELU computed with
GELU, the mean and standard deviation of other weights, position embeddings stretched to another size. Here
these are errors. What belongs to weights is known before they are read, and none of it is guessed.

CLIP: Radford et al. 2021, arXiv:2103.00020. OpenCLIP: Ilharco et al. 2021, doi:10.5281/zenodo.5143773.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.encoders import EncoderPair, TextEncoder
from vtm.encoders.weights import ROWS, Hub, hash_files, in_rows, quiet_loading, read_object, use_cuda
from vtm.errors import ConfigError, DataError, MissingError, check_choice, require
from vtm.files import hash_file, hash_json

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


ENGLISH = ("ViT-B-32-quickgelu", "openai")
MULTILINGUAL = ("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k")
PRECISIONS = ("auto", "fp32", "fp16", "bf16")
# Text models that were trained to the pictures of another model, whose space they share: the first by
# distillation (Reimers and Gurevych 2020, arXiv:2004.09813), the second with that image tower frozen.
ALIGNED = {
    ("sentence:sentence-transformers/clip-ViT-B-32-multilingual-v1", "ViT-B-32-quickgelu--openai"),
    ("xlm-roberta-large-ViT-H-14--frozen_laion5b_s13b_b90k", "ViT-H-14--laion2b_s32b_b79k"),
}
# Weights in a folder, on the hub, a text model of sentence-transformers, weights in a file.
LOCAL, HUB, SENTENCE = "local-dir:", "hf-hub:", "sentence:"
FILES = (".safetensors", ".bin", ".pth", ".pt")
QUICK = "-quickgelu"
CONFIG = "open_clip_config.json"
OF_CLIP = "a configuration of open_clip's, with model_cfg and preprocess_cfg"
WEIGHTS = "open_clip_model.safetensors"
# Where a folder has the configuration of its text tower, if the tower is one of transformers' models.
TOWER = "hf_model/config.json"
VOCABULARY = ("tokenizer.json", "vocab.*", "*.model", "*.spm")
SETTINGS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "config.json",
)
# What open_clip takes where a published configuration is silent; mean and deviation are always stated.
PREPROCESSING = {"mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0}
# Rows of one call on CUDA, where small batches waste time; on the CPU `ROWS`.
CUDA_ROWS = 64


def load(
    *,
    device: str = "auto",
    fetch: bool = False,
    language: str = "en",
    model: str = "",
    pretrained: str = "",
    text_model: str = "",
    text_pretrained: str = "",
    aligned: str = "auto",
    precision: str = "auto",
) -> EncoderPair:
    """The pair "clip". Nothing is downloaded, unless told to `fetch`.

    Parameters
    ----------
    language : of the texts; chooses the weights where none are named.
    model, pretrained : one of open_clip's architectures with a tag or a file of weights; or, as `model` alone,
        `local-dir:FOLDER` or `hf-hub:ORGANIZATION/NAME`. Published weights are computed with the activation they
        were trained with, so ViT-B-32 / openai with QuickGELU. A file does not state its activation, so the
        architecture's name must (ViT-B-32-quickgelu), nor its preprocessing, unless the open_clip_config.json that
        came with it lies beside it.
    text_model, text_pretrained : the same for texts, where they have another model than the pictures; or
        `sentence:NAME`, a model of sentence-transformers.
    aligned : whether texts and pictures share one space: "yes", "no", or "auto". One model's do. Two models' do
        not, unless the text model is known to have been trained to the other's pictures.
    precision : "fp32", or "fp16" or "bf16" on CUDA (torch.autocast); "auto" is fp16 on CUDA and fp32 on the CPU.
        Embeddings are float32 in any case.

    Refused are half precision on the CPU, and weights whose architecture or preprocessing is not known; when they are
    used first, weights that are damaged, not of the architecture, or not to be read without running what is in them,
    and a tokenizer that is not the one the text tower was trained with.
    """
    check_choice(f"precision={precision}", precision, PRECISIONS)
    check_choice(f"aligned={aligned}", aligned, ("auto", "yes", "no"))
    require("open_clip")
    cuda = use_cuda(device)
    if precision in ("fp16", "bf16") and not (cuda or fetch):
        raise ConfigError(f"precision={precision}: half precision needs a CUDA device; give fp32 or auto")
    if precision == "auto":
        precision = "fp16" if cuda else "fp32"
    pictures, texts = _models(language, str(model), str(pretrained), str(text_model), str(text_pretrained))
    hub = Hub(_spec(pictures, texts), fetch=fetch)
    if fetch and all(name.startswith(LOCAL) or is_file(tag) for name, tag in (pictures, texts)):
        raise ConfigError(f"{hub.spec}: names weights on this machine; there is nothing to fetch")
    how: dict[str, Any] = {"device": "cuda" if cuda else "cpu", "precision": precision}
    clip = replace(find_clip(*pictures, hub=hub), **how)
    name, image = clip.name, ClipImage(clip)
    text: TextEncoder = ClipText(clip)
    if texts[0].startswith(SENTENCE):
        from vtm.encoders.sentence import SentenceText, find_folder

        folder = find_folder(texts[0].removeprefix(SENTENCE), hub=hub)
        name, text = texts[0], SentenceText(folder, device=how["device"])
    elif texts != pictures:
        own = replace(find_clip(*texts, hub=hub), **how)
        name, text = own.name, ClipText(own)
    if aligned == "yes" and text.dim != image.dim:
        raise ConfigError(
            f"aligned=yes: texts have {text.dim} numbers and pictures {image.dim}, so they share no space"
        )
    share = name == clip.name or (name, clip.name) in ALIGNED
    share = share if aligned == "auto" else aligned == "yes"
    return EncoderPair(name="clip", text=text, image=image, aligned=share)


def _models(
    language: str, model: str, pretrained: str, text_model: str, text_pretrained: str
) -> tuple[tuple[str, str], tuple[str, str]]:
    """(model, pretrained) for pictures and for texts, as the options name them or by default."""
    if model or pretrained:
        image = (model, pretrained)
    else:
        codes = {re.split("[-_]", one.strip())[0] for one in re.split("[,+]", language.lower())}
        image = ENGLISH if codes == {"en"} else MULTILINGUAL
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


@dataclass
class Clip:
    """A CLIP model: weights with all that belongs to them; it is built when it is used first.

    Parameters
    ----------
    name : what messages call it, and what tells whether two models share a space.
    source : what open_clip calls it: one of its architectures, or `local-dir:FOLDER`.
    weights : the file.
    config : open_clip's model configuration: embed_dim, quick_gelu, vision_cfg, text_cfg.
    preprocessing : open_clip's preprocessing of pictures: size (height, width), mean, std, ...
    tokenizer_folder : that of a tokenizer of transformers; None: open_clip's own.
    tower : the config.json of a text tower of transformers; None: open_clip's own.
    """

    name: str
    source: str
    weights: Path
    config: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    tokenizer_folder: Path | None = None
    tower: Path | None = None
    device: str = "cpu"
    precision: str = "fp32"

    @property
    def rows(self) -> int:
        return ROWS if self.device == "cpu" else CUDA_ROWS

    @cached_property
    def hashes(self) -> dict[str, str]:
        """For pictures that of weights, image tower and preprocessing, for texts of weights, text tower and tokenizer.

        A DataError where a file is not what was fetched.
        """
        (weights,) = hash_files(self.weights.parent, [self.weights.name]).values()
        image = {name: value for name, value in self.config.items() if name != "text_cfg"}
        text = {name: value for name, value in self.config.items() if name != "vision_cfg"}
        files = {}
        if folder := self.tokenizer_folder:
            found = [path.name for pattern in (*VOCABULARY, *SETTINGS) for path in folder.glob(pattern)]
            files = hash_files(folder, found)
        if self.tower:
            (files[TOWER],) = hash_files(self.tower.parent, [self.tower.name]).values()
        return {
            "image": hash_json([weights, image, self.preprocessing]),
            "text": hash_json([weights, text, files]),
        }

    @cached_property
    def model(self) -> Any:
        """open_clip's model, float32, in eval mode."""
        import open_clip

        _ = self.hashes  # raises where a file is not what was fetched
        options: dict[str, Any] = {}
        origin = "the configuration beside them"
        if not self.source.startswith(LOCAL):
            origin = self.source
            options = {
                "pretrained": str(self.weights),
                "force_quick_gelu": bool(self.config.get("quick_gelu")),
                "force_preprocess_cfg": dict(self.preprocessing),
            }
        if self.tower:
            tower = {"hf_model_name": str(self.tower.parent), "hf_model_pretrained": False}
            options["text_cfg"] = {**self.config["text_cfg"], **tower}
        try:
            with quiet_loading():
                model = open_clip.create_model(self.source, **options)
            stored = open_clip.factory.load_state_dict(str(self.weights))
        except Exception as error:  # the loaders raise many kinds
            raise DataError(
                f"{self.weights}: not the weights of {origin} ({_first_line(error)}); give the architecture they "
                "were trained as, and the weights as safetensors or as a state dict saved by torch.save"
            ) from error
        # open_clip stretches position embeddings of another length without a word.
        mine = _position_shapes(model.named_parameters())
        for name, shape in _position_shapes(stored.items()).items():
            if mine.get(name, shape) != shape:
                raise DataError(
                    f"{self.weights}: trained with other sizes than {origin} ({name} is {shape}, not "
                    f"{mine[name]}); give the architecture they were trained as"
                )
        found = json.loads(json.dumps(model.visual.preprocess_cfg))
        found["size"] = [found["size"]] * 2 if type(found["size"]) is int else found["size"]
        if found != self.preprocessing:
            raise DataError(
                f"{self.name}: open_clip prepares pictures as {found}, the configuration says "
                f"{self.preprocessing}; report this to the authors of vtm"
            )
        return model.float().eval().to(self.device)

    @cached_property
    def tokenizer(self) -> Any:
        """open_clip's tokenizer: texts to token ids (b, context length)."""
        from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer

        stated = self.config["text_cfg"]
        options = {"context_length": stated.get("context_length", DEFAULT_CONTEXT_LENGTH)}
        options |= stated.get("tokenizer_kwargs", {})
        try:
            if folder := self.tokenizer_folder:
                mode = stated.get("tokenizer_mode")
                tokenizer = HFTokenizer(str(folder), tokenizer_mode=mode, **options)
            else:
                tokenizer = SimpleTokenizer(**options)
        except Exception as error:
            raise DataError(f"{self.name}: its tokenizer cannot be read ({_first_line(error)})") from error
        text = getattr(self.model, "text", self.model)
        size = getattr(text, "vocab_size", None)
        if self.tokenizer_folder:
            inner = tokenizer.tokenizer  # that of transformers, in open_clip's wrapper
            known, padding = inner.vocab_size, getattr(getattr(text, "config", None), "pad_token_id", None)
            fits = known <= size and padding in (None, inner.pad_token_id)
        else:
            known = tokenizer.vocab_size
            fits = known == size
        if not fits:
            raise DataError(
                f"{self.name}: its tokenizer knows {known} tokens, its text tower {size}, or they pad in "
                "different ways; put the tokenizer's files that came with the weights into their folder"
            )
        return tokenizer

    def unit_rows(self, tower: str, batch: np.ndarray) -> np.ndarray:
        """A tower's output for a batch (b, ...), each row scaled to length 1: float32 (b, dim)."""
        import torch
        from torch.nn.functional import normalize

        encode = getattr(self.model, tower)
        cuda = self.device != "cpu"
        half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.precision)

        def run(padded: np.ndarray) -> np.ndarray:
            autocast = torch.autocast(self.device, dtype=half) if half else nullcontext()
            # By default convolutions on CUDA round float32 to TF32, and may choose another algorithm each time.
            exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
            with torch.inference_mode(), autocast, exact if cuda else nullcontext():
                rows = encode(torch.from_numpy(padded).to(self.device))
                return normalize(rows.float(), dim=-1).cpu().numpy()

        return in_rows(run, batch, dim=self.config["embed_dim"], rows=self.rows)


def _position_shapes(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, tuple[int, ...]]:
    found = {name: tuple(tensor.shape) for name, tensor in tensors if name.endswith("positional_embedding")}
    return {name.removeprefix("text."): shape for name, shape in found.items()}


def _first_line(error: Exception) -> str:
    """The line that says what is wrong: the first that is no heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    return said if len(said) <= 200 else f"{said[:200]}..."


class ClipImage:
    """The image tower; it is handed whole pictures, which CLIP resizes and crops itself."""

    size = None

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.dim = clip.config["embed_dim"]

    @cached_property
    def key(self) -> str:
        return f"clip-image-1/{self.clip.hashes['image']}/{self.clip.precision}"

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return self._transform(image).numpy()

    def encode(self, batch: np.ndarray) -> np.ndarray:
        return self.clip.unit_rows("encode_image", np.asarray(batch, dtype=np.float32))

    @cached_property
    def _transform(self) -> Any:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        stated = self.clip.preprocessing
        return image_transform_v2(PreprocessCfg(**{**stated, "size": tuple(stated["size"])}), is_train=False)


class ClipText:
    """The text tower; longer texts are cut at the context length that it was trained with."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.dim = clip.config["embed_dim"]

    @cached_property
    def key(self) -> str:
        return f"clip-text-1/{self.clip.hashes['text']}/{self.clip.precision}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        # Filled up with empty texts rather than rows of zeros: a text without any token has no mean.
        spare = -len(texts) % self.clip.rows if len(texts) else self.clip.rows
        tokens = self.clip.tokenizer([*texts, *[""] * spare])
        return self.clip.unit_rows("encode_text", np.asarray(tokens))[: len(texts)]


def find_clip(model: str, pretrained: str, *, hub: Hub) -> Clip:
    """The model that options of `load` name, whose errors this raises."""
    if model.startswith((LOCAL, HUB)) and pretrained:
        raise ConfigError(f"pretrained={pretrained}: {model} has its own weights; leave pretrained out")
    if model.startswith(LOCAL):
        return read_folder(Path(model.removeprefix(LOCAL)).expanduser().absolute(), name=model)
    if is_file(pretrained):
        return _read_file(model, Path(pretrained).expanduser().absolute())
    if model.startswith(HUB):
        folder = _fetch_weights(hub, model.removeprefix(HUB), "", name=model).parent
        return read_folder(folder, name=model, hub=hub)
    architecture, about = published(model, pretrained)
    name = f"{architecture}--{pretrained.lower().replace('-', '_')}"
    repository, _, file = about.get("hf_hub", "").rpartition("/")
    if not repository:
        raise ConfigError(
            f"{architecture} / {pretrained}: is not on the Hugging Face hub; download {about.get('url')} and "
            "give the file"
        )
    weights = _fetch_weights(hub, repository, file, name=name)
    config = _built_in(architecture) | ({"quick_gelu": True} if about.get("quick_gelu") else {})
    preprocessing = complete_preprocessing(config, about, where=name)
    return Clip(name, architecture, weights, config, preprocessing, *_text_parts(hub, config, name))


def _fetch_weights(hub: Hub, repository: str, file: str, *, name: str) -> Path:
    """A repository's weights, beside their configuration; no pickle where there are safetensors."""
    pickled = file or "open_clip_pytorch_model.bin"
    safe = f"{file.rpartition('.')[0]}.safetensors" if file else WEIGHTS
    for one in (safe, pickled):
        path = hub.snapshot(repository, CONFIG, one, what=f"the CLIP weights {name} are") / one
        if path.is_file():
            return path
    raise MissingError(f"{repository}: has neither {safe} nor {pickled}, so no weights that open_clip reads")


def _text_parts(hub: Hub, config: Mapping[str, Any], name: str) -> tuple[Path | None, Path | None]:
    """Tokenizer and configuration of a text tower of transformers, as a `Clip` has them."""
    tokenizer, tower = (config["text_cfg"].get(f"hf_{part}_name") for part in ("tokenizer", "model"))
    what = f"the CLIP weights {name} are"
    return (
        hub.snapshot(tokenizer, *VOCABULARY, *SETTINGS, what=what) if tokenizer else None,
        hub.snapshot(tower, "config.json", what=what) / "config.json" if tower else None,
    )


def read_folder(folder: Path, *, name: str, hub: Hub | None = None) -> Clip:
    """The weights in a folder as open_clip publishes and reads it (`local-dir:`).

    Where the text tower is one of transformers' models, its configuration is expected in
    `hf_model/config.json`: open_clip names it only, and would ask the hub. Files of the tokenizer are expected
    beside the weights. With a `hub`, both come from there.
    """
    config, preprocessing = read_config(folder)
    # open_clip looks for .pt files in no folder.
    files = sorted(path for path in folder.iterdir() if path.suffix in FILES[:3] and path.is_file())
    if folder / WEIGHTS in files:
        files = [folder / WEIGHTS]
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise DataError(
            f"{folder}: expected one file of weights, found {found}; name the right one {WEIGHTS}"
        )
    known = (name, f"{LOCAL}{folder}", files[0], config, preprocessing)
    if hub:
        return Clip(*known, *_text_parts(hub, config, name))
    tokenizer, tower = (config["text_cfg"].get(f"hf_{part}_name") for part in ("tokenizer", "model"))
    if tokenizer and not any(any(folder.glob(pattern)) for pattern in VOCABULARY):
        raise MissingError(f"{folder}: lacks the files of the tokenizer, {tokenizer}; put them there")
    if tower and not (folder / TOWER).is_file():
        raise MissingError(f"{folder}: lacks {TOWER}; put the config.json of the text tower, {tower}, there")
    return Clip(*known, folder if tokenizer else None, folder / TOWER if tower else None)


def read_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and complete preprocessing of the model in an open_clip folder."""
    path = folder / CONFIG
    if not path.is_file():
        raise MissingError(
            f"{folder}: no {CONFIG} there, so that architecture and preprocessing are not known; "
            "give a folder as open_clip publishes it, or model=ARCHITECTURE,pretrained=FILE"
        )
    stated = read_object(path, what=OF_CLIP)
    config = stated.get("model_cfg")
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise DataError(f"{path}: needs a model_cfg with embed_dim, vision_cfg and text_cfg")
    if not (isinstance(config["vision_cfg"], dict) and isinstance(config["text_cfg"], dict)):
        raise DataError(f"{path}: vision_cfg and text_cfg must be objects of their settings")
    if type(config["embed_dim"]) is not int or config["embed_dim"] < 1:
        raise DataError(f"{path}: embed_dim {config['embed_dim']!r}: must be a number of dimensions")
    return config, complete_preprocessing(config, stated.get("preprocess_cfg"), where=path)


def complete_preprocessing(config: Mapping[str, Any], stated: Any, *, where: Path | str) -> dict[str, Any]:
    """All of open_clip's preprocessing, from what a configuration states and the size of the image tower."""
    stated = stated if isinstance(stated, dict) else {}
    colours = {key: stated.get(key) for key in ("mean", "std")}
    for value in colours.values():
        numbers = value if isinstance(value, list | tuple) and len(value) == 3 else [math.nan]
        if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
            raise DataError(
                f"{where}: how pictures are prepared is not known; it needs a preprocess_cfg with mean and std "
                "of the three colours"
            )
    size = config["vision_cfg"].get("image_size", 224)
    sides = list(size) if isinstance(size, list | tuple) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise DataError(f"{where}: image_size {size!r}: must be a number of pixels, or height and width")
    taken = {key: value for key, value in stated.items() if key in PREPROCESSING and value is not None}
    return PREPROCESSING | taken | {key: list(value) for key, value in colours.items()} | {"size": sides}


def is_file(pretrained: str) -> bool:
    """Whether `pretrained` is meant as a file, there or not; tags have neither slash nor suffix."""
    return "/" in pretrained or pretrained.endswith(FILES)


def published(model: str, tag: str) -> tuple[str, dict[str, Any]]:
    """Architecture of published weights, with the activation they were trained with, and open_clip's notes of them.

    So ViT-B-32 / openai is of ViT-B-32-quickgelu.
    """
    import open_clip

    _built_in(model)
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
    return (model + QUICK if quick else model), about


def _built_in(model: str) -> dict[str, Any]:
    """open_clip's configuration of an architecture."""
    import open_clip

    names = open_clip.list_models()
    if model not in names:
        near = ", ".join(difflib.get_close_matches(model, names, n=3)) or "ViT-B-32"
        instead = f"or give {LOCAL}FOLDER or {HUB}ORGANIZATION/NAME"
        raise ConfigError(f"model={model}: open_clip has no such architecture (near: {near}); {instead}")
    return open_clip.get_model_config(model)


def _read_file(model: str, path: Path) -> Clip:
    """A file of weights, of a built-in architecture.

    How pictures are prepared is in the configuration beside the file; without one it is what all published
    weights of the architecture share.
    """
    if not path.is_file():
        raise MissingError(f"pretrained={path}: no such file")
    beside = path.parent / CONFIG
    if not model:
        whole = f", or model={LOCAL}{path.parent} for the {CONFIG} there" if beside.is_file() else ""
        raise ConfigError(
            f"pretrained={path}: weights do not say their architecture; give model=ARCHITECTURE, one of "
            f"open_clip's{whole}"
        )
    config = _built_in(model)
    if tokenizer := config["text_cfg"].get("hf_tokenizer_name"):
        raise ConfigError(
            f"pretrained={path}: a file lacks the tokenizer of {model}, {tokenizer}; give "
            f"model={LOCAL}FOLDER with {CONFIG}, the weights and the tokenizer's files in it"
        )
    quick = bool(config.get("quick_gelu"))
    stated = (
        read_object(beside, what=OF_CLIP) if beside.is_file() else _common_config(model, path, quick=quick)
    )
    named = stated.get("model_cfg") or {}
    if "embed_dim" in named and bool(named.get("quick_gelu")) != quick:
        names = ("QuickGELU", "GELU") if quick else ("GELU", "QuickGELU")
        raise ConfigError(
            f"model={model} computes {names[0]}, but {beside} says {names[1]}; give model={_other(model)}"
        )
    preprocessing = complete_preprocessing(config, stated.get("preprocess_cfg"), where=beside)
    return Clip(f"{model}/{path}", model, path, config, preprocessing)


def _other(model: str) -> str:
    """The architecture with the other activation."""
    return model.removesuffix(QUICK) if model.endswith(QUICK) else model + QUICK


def _common_config(model: str, path: Path, *, quick: bool) -> dict[str, Any]:
    """The preprocessing that all published weights of an architecture share, for a file that says nothing.

    Where the file is one of them, the activation is compared, too.
    """
    import open_clip

    known = [
        (tag, open_clip.get_pretrained_cfg(name, tag))
        for name in (model, _other(model))
        for tag in open_clip.list_pretrained_tags_by_model(name)
    ]
    keys = ("mean", "std", "interpolation", "resize_mode")
    ways = {json.dumps({key: about.get(key) for key in keys}) for _, about in known}
    if len(ways) != 1:
        example = min(ways) if ways else '{"mean": [...], "std": [...], "interpolation": "bicubic"}'
        raise DataError(
            f"{path}: how pictures are prepared for these weights is not known, as {model} does not tell; "
            f"write {path.parent / CONFIG} with how they were trained, "
            f'such as {{"preprocess_cfg": {example}}}'
        )
    stated = {"preprocess_cfg": json.loads(ways.pop())}
    digest = hash_file(path)
    for tag, about in known:
        # The address of published weights contains their SHA-256, or its start.
        *_, folder, name = f"/{about.get('url') or ''}".split("/")
        start = folder if "openaipublic" in about.get("url", "") else Path(name).stem.rpartition("-")[2]
        if len(start) >= 8 and digest.startswith(start):
            if bool(about.get("quick_gelu")) == quick:
                return stated
            raise ConfigError(
                f"pretrained={path}: these are the weights {tag}, trained with another activation than "
                f"model={model} computes; give model={_other(model)}"
            )
    if len({bool(about.get("quick_gelu")) for _, about in known}) > 1:
        warnings.warn(
            f"{path}: weights do not say their activation; taken as {model}, with "
            f"{'QuickGELU' if quick else 'GELU'} (weights by OpenAI, MetaCLIP and DFN have QuickGELU, "
            f"most others GELU). The {CONFIG} that came with them, put beside them, settles it",
            stacklevel=2,
        )
    return stated
