"""The parameters of a visual topic model: kept as they are given, checked when the model is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

from vtm.bow import stop_words
from vtm.config import BowConfig, ModelConfig
from vtm.errors import ConfigError
from vtm.notebook_parameters import from_parameters
from vtm.pictures import MAX_PIXELS

if TYPE_CHECKING:
    from vtm.encoders import EncoderPair

TEACHERS = {"text": "text-teacher", "joint": "joint"}
MODEL_PARAMETERS = (
    *("decoder", "hidden", "activation", "dropout", "epochs", "batch_size", "lr", "beta1", "beta2"),
    *("kl_weight", "standardize", "n_samples"),
)
BOW_PARAMETERS = ("max_words", "min_df", "max_df", "min_length")
# Of the machine, not of the model: not saved with it.
MACHINE_PARAMETERS = ("device", "cache", "max_pixels", "progress")
# With some hundred pairs, batches of 64 make too few steps: on Open Clip Art, batches of 16 find more of the right
# pictures with 300 pairs, and no more of them with 1,000.
FEW_PAIRS, BATCH_OF_FEW = 500, 16
_MODEL, _BOW = ModelConfig(), BowConfig()


@dataclass(frozen=True)
class Settings:
    """Checked parameters of a training."""

    n_topics: int
    kind: str
    seed: int
    language: str
    validation: float
    model: ModelConfig
    bow: BowConfig


class Parameters(BaseEstimator):
    """The part of `vtm.api.VisualTopicModel` that holds its parameters, described there."""

    def __init__(
        self,
        n_topics: int = 60,
        *,
        teacher: str = "text",
        encoder: str | EncoderPair = "offline",
        language: str = "en",
        random_state: int = 0,
        validation: float = 0.1,
        max_words: int = _BOW.max_words,
        min_df: int = _BOW.min_df,
        max_df: float = _BOW.max_df,
        min_length: int = _BOW.min_length,
        decoder: str = _MODEL.decoder,
        hidden: tuple[int, ...] = _MODEL.hidden,
        activation: str = _MODEL.activation,
        dropout: float = _MODEL.dropout,
        epochs: int = _MODEL.epochs,
        batch_size: int | None = None,
        lr: float = _MODEL.lr,
        beta1: float = _MODEL.beta1,
        beta2: float = _MODEL.beta2,
        kl_weight: float = _MODEL.kl_weight,
        standardize: bool = _MODEL.standardize,
        n_samples: int = _MODEL.n_samples,
        device: str = "auto",
        cache: Path | str | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: bool = True,
    ) -> None:
        self.n_topics = n_topics
        self.teacher = teacher
        self.encoder = encoder
        self.language = language
        self.random_state = random_state
        self.validation = validation
        self.max_words = max_words
        self.min_df = min_df
        self.max_df = max_df
        self.min_length = min_length
        self.decoder = decoder
        self.hidden = hidden
        self.activation = activation
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.kl_weight = kl_weight
        self.standardize = standardize
        self.n_samples = n_samples
        self.device = device
        self.cache = cache
        self.max_pixels = max_pixels
        self.progress = progress

    def _settings(self, n_pairs: int) -> Settings:
        """The parameters for a training on `n_pairs` pairs, checked.

        Raises
        ------
        ConfigError
            The message names the parameter and what it may be.
        """
        given = self._plain_parameters()
        for name, least in (("n_topics", 2), ("random_state", 0)):
            value = given[name]
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                why = "; a run without a seed cannot be repeated" if name == "random_state" else ""
                raise ConfigError(f"{name}={value!r}: must be a whole number, at least {least}{why}")
        if given["teacher"] not in TEACHERS:
            raise ConfigError(f"teacher={given['teacher']!r}: must be one of {', '.join(TEACHERS)}")
        share = given["validation"]
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 0.5:
            raise ConfigError(f"validation={share!r}: is a share of the pairs, from 0 to 0.5")
        stop_words(given["language"])  # refuses what is no language
        if given["batch_size"] is None:
            given["batch_size"] = BATCH_OF_FEW if n_pairs < FEW_PAIRS else _MODEL.batch_size
        experiment = from_parameters({name: given[name] for name in (*MODEL_PARAMETERS, *BOW_PARAMETERS)})
        return Settings(
            n_topics=given["n_topics"],
            kind=TEACHERS[given["teacher"]],
            seed=given["random_state"],
            language=given["language"],
            validation=float(share),
            model=experiment.model,
            bow=experiment.bow,
        )

    def _model_parameters(self) -> dict[str, Any]:
        """What is saved: all but the machine's; an encoder that is no name cannot be."""
        given = {k: v for k, v in self._plain_parameters().items() if k not in MACHINE_PARAMETERS}
        return given | {"encoder": self.encoder if isinstance(self.encoder, str) else None}

    def _plain_parameters(self) -> dict[str, Any]:
        # NumPy's numbers, as grid searches hand them over, are numbers too.
        given = self.get_params(deep=False)
        return {name: v.item() if isinstance(v, np.generic) else v for name, v in given.items()}
