"""What an experiment is: frozen, checked, named by the hash of its parts, its draws seeded each for one purpose."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import numbers
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vtm.errors import ConfigError, check_choice

if TYPE_CHECKING:
    import numpy as np
    import torch


def stream(seed: int, purpose: str) -> int:
    """A 63-bit seed that depends on `seed` and `purpose` alone (0 is a seed like any other)."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str, *, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator for one purpose."""
    import torch

    return torch.Generator(device=device).manual_seed(stream(seed, purpose))


def numpy_generator(seed: int, purpose: str) -> np.random.Generator:
    """A NumPy generator for one purpose."""
    import numpy as np

    return np.random.default_rng(stream(seed, purpose))


KINDS = ("joint", "text-teacher")
MODES = ("posteriors", "priors", "none")
DECODERS = ("prodLDA", "LDA")
ACTIVATIONS = ("softplus", "relu")
MEASURES = ("cosine", "dot", "hellinger", "jensen-shannon")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def plain(value: Any) -> Any:
    """A parameter as JSON and notebooks have it: NumPy's numbers and arrays become Python's, tuples become lists.

    papermill 2.7 writes a tuple into a notebook as a string, and refuses NumPy's whole numbers.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def _whole_numbers(name: str, value: Any) -> tuple[int, ...]:
    """One whole number or some of them, as a tuple."""
    values = value if isinstance(value, list) else [value]
    _check(
        len(values) > 0 and all(isinstance(v, int) and not isinstance(v, bool) for v in values),
        f"{name}={value!r}: must be a whole number or a list of them",
    )
    return tuple(values)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    """Some texts, as a tuple."""
    _check(
        isinstance(value, list) and all(isinstance(v, str) for v in value),
        f"{name}={value!r}: must be a list of words",
    )
    return tuple(value)


def _check_types(config: Any) -> None:
    """Each value of a dataclass as the type of its default, or an error that names both; the same for every caller."""
    for f in dataclasses.fields(config):
        value, default = plain(getattr(config, f.name)), f.default
        if isinstance(default, tuple):
            value = _whole_numbers(f.name, value) if default else _texts(f.name, value)
        elif default is not dataclasses.MISSING:
            kind = numbers.Real if isinstance(default, float) else type(default)
            if not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool):
                raise ConfigError(
                    f"{f.name}={value!r}: must be of type {type(default).__name__}, as in {f.name}={default!r}"
                )
            value = float(value) if kind is numbers.Real else value
        else:
            continue
        object.__setattr__(config, f.name, value)


# All samples are drawn at once, and a saved model's number is not in its weights.
MOST_SAMPLES = 100_000


@dataclass(frozen=True)
class ModelConfig:
    """A topic network and its training.

    The defaults were chosen on validation parts (results/study/grid.json; chapter "Beyond the paper" of the book). The
    profile "paper" has the paper's own, those of ZeroShotTM: two hidden layers of 100 units, 100 epochs, a learning rate
    of 0.002, beta1 0.99, a KL weight of 1, embeddings as they come.

    Parameters
    ----------
    decoder : "prodLDA" | "LDA"
        prodLDA: word distribution = softmax(batch norm(theta @ beta)); LDA: theta @ softmax(beta).
    hidden : widths of the inference network's hidden layers; one number is one layer.
    activation : "softplus" | "relu", of the hidden layers.
    dropout : share of the last hidden layer's units, and of theta's topics, that is left out in training; at least 0
        and below 1.
    epochs : passes over the training documents.
    batch_size : documents of a training step, at least 2.
    lr : Adam's learning rate.
    beta1, beta2 : Adam's decay rates; both are 0.99 in the reference package.
    kl_weight : weight of the KL term.
    standardize : scale each embedding dimension to mean 0 and variance 1 over the training split.
    n_samples : samples of the posterior whose softmax is averaged to theta; 100,000 at most.

    Raises
    ------
    ConfigError
        A value that cannot be used; the message names it.

    Examples
    --------
    >>> from vtm import ModelConfig
    >>> config = ModelConfig(hidden=200, epochs=50)
    >>> config.hidden, config.epochs, config.decoder
    ((200,), 50, 'prodLDA')
    """

    decoder: str = "prodLDA"
    hidden: tuple[int, ...] = (200,)
    activation: str = "softplus"
    dropout: float = 0.2
    epochs: int = 60
    batch_size: int = 64
    lr: float = 0.006
    beta1: float = 0.9
    beta2: float = 0.99
    kl_weight: float = 0.03
    standardize: bool = True
    n_samples: int = 100

    def __post_init__(self) -> None:
        _check_types(self)
        for name, known in {"decoder": DECODERS, "activation": ACTIVATIONS}.items():
            check_choice(f"{name}={getattr(self, name)!r}", getattr(self, name), known)
        _check(
            all(width > 0 for width in self.hidden),
            f"hidden={self.hidden}: needs at least one layer, each at least 1 wide",
        )
        _check(0 <= self.dropout < 1, f"dropout={self.dropout}: must be at least 0 and below 1")
        for name in ("epochs", "batch_size", "n_samples"):
            _check(getattr(self, name) >= 1, f"{name}={getattr(self, name)}: must be at least 1")
        _check(
            self.n_samples <= MOST_SAMPLES, f"n_samples={self.n_samples}: must be at most {MOST_SAMPLES:,}"
        )
        _check(self.batch_size >= 2, f"batch_size={self.batch_size}: batch norm needs at least 2")
        _check(0 < self.lr < math.inf, f"lr={self.lr}: must be a number above 0")
        for name in ("beta1", "beta2"):
            _check(
                0 <= getattr(self, name) < 1, f"{name}={getattr(self, name)}: must be at least 0 and below 1"
            )
        _check(0 <= self.kl_weight < math.inf, f"kl_weight={self.kl_weight}: must be a number, not negative")


@dataclass(frozen=True)
class BowConfig:
    """Bag of words: the `max_words` most frequent words that stand in at least `min_df` training texts.

    Parameters
    ----------
    max_words : words of the vocabulary at most, phrases among them.
    min_df : texts that a word must stand in.
    max_df : the largest share of the texts that it may stand in.
    min_length : letters of a word.
    stop_words : words that are left out besides the language's own; of two words, a phrase.
    ngrams : 2 takes phrases of two words as well, side by side in a text and neither a stop word; 1 takes none.
    """

    max_words: int = 2000
    min_df: int = 3
    max_df: float = 0.5
    min_length: int = 3
    stop_words: tuple[str, ...] = ()
    ngrams: int = 1

    def __post_init__(self) -> None:
        _check_types(self)
        _check(self.max_words >= 1, f"max_words={self.max_words}: must be at least 1")
        _check(self.min_df >= 1, f"min_df={self.min_df}: must be at least 1 text")
        _check(0 < self.max_df <= 1, f"max_df={self.max_df}: is a share of the texts, above 0 and at most 1")
        _check(self.min_length >= 1, f"min_length={self.min_length}: must be at least 1 letter")
        _check(
            self.ngrams in (1, 2), f"ngrams={self.ngrams}: must be 1 (words) or 2 (words, and phrases of two)"
        )


@dataclass(frozen=True)
class Experiment:
    """One experiment: a corpus, an encoder, the models to train and the seeds to train them with.

    Parameters
    ----------
    corpus : "openclipart", "stamps", "scenes", or the path of a table or an imagefolder; options follow a
        colon: `stamps:lang=de`, `photos.csv:text_column=caption`.
    encoder : "offline", "clip", "sentence" or "pixels"; options follow a colon as for a corpus:
        `clip:language=de`.
    n_topics : the numbers of topics K, each trained and evaluated.
    seeds : one run for each; initial weights, dropout, batches and samples follow from the seed.
    split_seed : the split depends on this, on `fold`, and on the smallest id among each item's near-duplicates.
    fold : 0 to 4; the five test parts of a seed together hold each item once.
    twin_image, twin_text, twin_both : two items are near-duplicates, and stay in one part of the split, when the cosine
        of their pictures, or of their texts, or of each of the two, is above it; 0 (or 1 and more) is off.
    mode : what the student takes from the teacher.
    measure : similarity of two topic distributions.
    model : the network and its training.
    bow : which words make the vocabulary.
    device : "auto" (CUDA where there is one), "cpu" or "cuda".
    max_texts : limit of the news texts that the chapter on NewsImages trains on; 0 for all.
    study_folder : of the study's results that its chapters show; "" for those that come with the source.

    Attributes
    ----------
    corpus_name, encoder_name : the names without their options.
    corpus_options : the corpus' options, by name.

    Raises
    ------
    ConfigError
        A value that cannot be used; the message names it. Whether there is such a corpus or encoder is seen when it
        is loaded.

    Examples
    --------
    >>> from vtm import Experiment, ModelConfig
    >>> experiment = Experiment(corpus="scenes:n=60", encoder="pixels", n_topics=4, model=ModelConfig(epochs=5))
    >>> experiment.corpus_name, experiment.corpus_options, experiment.n_topics, experiment.seeds
    ('scenes', {'n': 60}, (4,), (0, 1, 2))
    """

    corpus: str = "openclipart"
    encoder: str = "offline"
    n_topics: tuple[int, ...] = (60, 120)
    seeds: tuple[int, ...] = (0, 1, 2)
    split_seed: int = 0
    fold: int = 0
    twin_image: float = 0.97
    twin_text: float = 0.97
    twin_both: float = 0.85
    mode: str = "posteriors"
    measure: str = "cosine"
    model: ModelConfig = field(default_factory=ModelConfig)
    bow: BowConfig = field(default_factory=BowConfig)
    device: str = "auto"
    max_texts: int = 0
    study_folder: str = ""

    def __post_init__(self) -> None:
        _check_types(self)
        parse_corpus(self.corpus)
        parse_encoder(self.encoder)
        for name in ("n_topics", "seeds"):
            values = getattr(self, name)
            _check(len(set(values)) == len(values), f"{name}={list(values)}: names a value twice")
        _check(min(self.n_topics) >= 2, f"n_topics={list(self.n_topics)}: a model needs at least 2 topics")
        _check(self.max_texts >= 0, f"max_texts={self.max_texts}: must be 0 (all) or a number of texts")
        _check(min(self.seeds) >= 0, f"seeds={list(self.seeds)}: a seed must not be negative")
        _check(0 <= self.fold < 5, f"fold={self.fold}: must be from 0 to 4")
        for name in ("twin_image", "twin_text", "twin_both"):
            above = getattr(self, name)
            _check(0 <= above < math.inf, f"{name}={above}: is a cosine, or 0 for off")
        check_choice(f"mode={self.mode!r}", self.mode, MODES)
        check_choice(f"measure={self.measure!r}", self.measure, MEASURES)

    @property
    def corpus_name(self) -> str:
        return parse_corpus(self.corpus)[0]

    @property
    def corpus_options(self) -> dict[str, str | int]:
        return parse_corpus(self.corpus)[1]

    @property
    def encoder_name(self) -> str:
        return parse_encoder(self.encoder)[0]

    def data_key(self) -> str:
        """Hash of what the data and its split follow from (not of the models)."""
        drawn = [self.split_seed, self.fold, self.twin_image, self.twin_text, self.twin_both]
        parts = [self.corpus, self.encoder, drawn, dataclasses.asdict(self.bow)]
        canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def parse_corpus(spec: str) -> tuple[str, dict[str, str | int]]:
    """Split `name:key=value,key=value` into the corpus' name and its options.

    >>> from vtm.config import parse_corpus
    >>> parse_corpus("stamps:lang=de")
    ('stamps', {'lang': 'de'})
    """
    return _parse(spec, f"corpus={spec!r}: name a corpus or a table, as in `stamps:lang=de`")


def parse_encoder(spec: str) -> tuple[str, dict[str, str | int]]:
    """Split an encoder's `name:key=value,key=value` as `parse_corpus` does a corpus'.

    >>> from vtm.config import parse_encoder
    >>> parse_encoder("clip:model=local-dir:/weights/clip")
    ('clip', {'model': 'local-dir:/weights/clip'})
    """
    name, options = _parse(
        spec, f"encoder={spec!r}: name an encoder, as in `clip:model=ViT-B-32,pretrained=openai`"
    )
    if "device" in options:
        raise ConfigError(f"encoder={spec!r}: device is a parameter of its own, and no option of an encoder")
    return name, options


def _parse(spec: str, message: str) -> tuple[str, dict[str, str | int]]:
    match = re.fullmatch(r"(.+?)(?::(\w+=[^,]*(?:,\w+=[^,]*)*))?", spec.strip(), re.DOTALL)
    if not match:
        raise ConfigError(message)
    options: dict[str, str | int] = {}
    for part in match[2].split(",") if match[2] else ():
        name, value = part.split("=", 1)
        # Digits that no number is written with, as in text_column=007, stay as they are.
        options[name] = int(value) if re.fullmatch("0|[1-9][0-9]{0,17}", value) else value
    return match[1], options


# The notebooks' parameters by the dataclass that holds them.
_EXPERIMENT = (
    *("corpus", "encoder", "n_topics", "seeds", "split_seed", "fold", "twin_image", "twin_text", "twin_both"),
    *("mode", "measure", "device", "max_texts", "study_folder"),
)
_MODEL = tuple(f.name for f in dataclasses.fields(ModelConfig))
_BOW = tuple(f.name for f in dataclasses.fields(BowConfig))
PARAMETERS = (*_EXPERIMENT, *_MODEL, *_BOW)


def from_parameters(parameters: Mapping[str, Any]) -> Experiment:
    """Build an experiment from flat parameters, as a notebook or a command line has them.

    `n_topics` and `seeds` may be one number or a list; what is not named keeps its default.

    Parameters
    ----------
    parameters
        The fields of `Experiment`, `ModelConfig` and `BowConfig` by their names, all on one level.

    Raises
    ------
    ConfigError
        An unknown name (the message suggests the nearest) or a value that cannot be used.

    Examples
    --------
    >>> from vtm import from_parameters
    >>> experiment = from_parameters({"corpus": "scenes:n=60", "encoder": "pixels", "n_topics": [4, 6], "epochs": 5})
    >>> experiment.n_topics, experiment.model.epochs, experiment.bow.min_df
    ((4, 6), 5, 3)
    """
    for name in parameters:
        if name not in PARAMETERS:
            raise ConfigError(unknown_parameter(name, PARAMETERS))

    def pick(names: Iterable[str]) -> dict[str, Any]:
        return {name: parameters[name] for name in names if name in parameters}

    return Experiment(**pick(_EXPERIMENT), model=ModelConfig(**pick(_MODEL)), bow=BowConfig(**pick(_BOW)))


def unknown_parameter(name: str, known: Iterable[str]) -> str:
    """The message for a parameter that nobody reads."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"unknown parameter {name!r}: {hint}"


# What IPython and papermill put into a notebook's namespace, besides the parameters.
_NOTEBOOK_NAMES = {"In", "Out", "exit", "quit", "open", "get_ipython", "vtm", "papermill"}


def from_notebook(namespace: Mapping[str, Any]) -> Experiment:
    """Build the experiment from a notebook's `globals()`, called right after the parameters' cell.

    papermill only prints a line for a parameter that the notebook does not know; here it is an error.

    Raises
    ------
    ConfigError
        As `from_parameters`.

    Examples
    --------
    >>> import vtm
    >>> corpus, encoder, n_topics = "scenes", "pixels", [4, 6]  # the parameters' cell
    >>> vtm.from_notebook(globals()).n_topics
    (4, 6)
    """
    parameters = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in _NOTEBOOK_NAMES
    }
    return from_parameters(parameters)


# name -> parameters of all notebooks.
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": dict(
        corpus="scenes:n=300",
        encoder="pixels",
        n_topics=[10, 16],
        seeds=[0, 1],
        epochs=40,
        batch_size=16,
        min_df=2,
        max_texts=300,
    ),
    "default": {},
    "paper": dict(
        corpus="newsimages",
        encoder="clip",
        seeds=[0, 1, 2, 3, 4],
        hidden=[100, 100],
        dropout=0.2,
        epochs=100,
        lr=2e-3,
        beta1=0.99,
        kl_weight=1.0,
        standardize=False,
        min_df=1,
    ),
    "study": dict(seeds=[0, 1, 2, 3, 4]),
}


def profile_parameters(profile: str) -> dict[str, Any]:
    """The parameters that a profile sets.

    Raises
    ------
    ConfigError
        No such profile.
    """
    check_choice(f"profile {profile!r}", profile, PROFILES)
    return dict(PROFILES[profile])
