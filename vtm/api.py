"""The parameters of a visual topic model: kept as they are given, checked when the model is fitted."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError as SklearnNotFittedError

from vtm.config import BowConfig, ModelConfig, from_parameters
from vtm.corpora import Dropped
from vtm.corpora.pictures import MAX_PIXELS, PictureError, check_file
from vtm.corpora.words import Vocabulary, build_vocabulary, language_doubts, stop_words
from vtm.encoders import EncoderPair, embed_images, embed_texts, load_named
from vtm.errors import ConfigError, DataError, MissingError, VtmError, printable
from vtm.files import (
    atomic_folder,
    atomic_path,
    hash_file,
    read_json,
    read_sealed,
    read_tensors,
    recover_folder,
    write_sealed,
)
from vtm.metrics.index import MEASURES as INDEXED
from vtm.metrics.index import ThetaIndex
from vtm.metrics.ranking import target_ranks, top_items
from vtm.metrics.topics import (
    ORDERS,
    RELEVANCE_WEIGHT,
    class_tfidf,
    duplicated_topics,
    npmi,
    relevance,
    top_words,
    topic_word_counts,
)
from vtm.model.distill import Pairs, Trained, train_pair
from vtm.model.health import signs_of_collapse, teacher_kl, unigram_reconstruction
from vtm.model.topicmodel import TopicModel, package_versions

if TYPE_CHECKING:
    from vtm.encoders import EncoderPair, ImageEncoder
    from vtm.model.topicmodel import TopicModel


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


# What a user may hand to a model, checked: texts, pictures as files, PIL images or arrays, and embeddings.


def as_texts(texts: Any, name: str = "texts") -> list[str]:
    """A list of texts.

    Raises
    ------
    ConfigError, DataError
        One text instead of several, or something that is no text.
    """
    if isinstance(texts, str | bytes):
        raise ConfigError(f"{name}: give a list of texts, as in {name}=[{texts[:20]!r}]")
    texts = list(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{name}[{row}] is of type {type(text).__name__}, not a text; leave it out")
    return [str(text) for text in texts]


def as_images(images: Any) -> list[Any]:
    """A list of pictures: paths, PIL images, or uint8 arrays (H, W), (H, W, 3) or (H, W, 4).

    Raises
    ------
    ConfigError, DataError
        One picture instead of several, or something that is no picture.
    """
    single = isinstance(images, str | bytes | Path) or _is_pil(images)
    if single or (isinstance(images, np.ndarray) and images.dtype != object and images.ndim != 4):
        raise ConfigError("images: give a list of pictures, also of one: [picture]")
    images = list(images)
    for row, image in enumerate(images):
        if isinstance(image, np.ndarray):
            fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
            if image.dtype != np.uint8 or not fits or image.size == 0:
                raise DataError(
                    f"images[{row}]: an array of shape {image.shape} and type {image.dtype}; pictures are uint8 "
                    "arrays of shape (H, W), (H, W, 3) or (H, W, 4)"
                )
        elif not (isinstance(image, str | Path) or _is_pil(image)):
            raise DataError(
                f"images[{row}] is of type {type(image).__name__}; give a path, a PIL image or a uint8 array"
            )
    return images


def as_embeddings(x: Any, name: str, n: int | None = None) -> np.ndarray:
    """Embeddings as a finite float32 array (n, D).

    Raises
    ------
    DataError
        Complex numbers, another shape, another number of rows than `n`, or NaN.
    """
    try:
        if np.iscomplexobj(x):
            raise TypeError("its numbers are complex")
        x = np.asarray(x, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: not an array of numbers ({error})") from None
    if x.ndim != 2:
        raise DataError(f"{name}: must be of shape (documents, dimensions), not {x.shape}")
    if n is not None and len(x) != n:
        raise DataError(f"{name}: {len(x)} rows for {n} texts; give one for each")
    if len(bad := np.flatnonzero(~np.isfinite(x).all(axis=1))):
        raise DataError(f"{name}: NaN or infinity in {len(bad)} of {len(x)} rows, the first is row {bad[0]}")
    return x


def picture_names(images: Sequence[Any] | None, n: int) -> list[str]:
    """What pictures are called in messages: their path, or their position."""
    if images is None:
        return [str(row) for row in range(n)]
    return [str(image) if isinstance(image, str | Path) else str(row) for row, image in enumerate(images)]


def _is_pil(image: Any) -> bool:
    from PIL import Image

    return isinstance(image, Image.Image)


# Training for `vtm.api`: from embedded pairs to two models, with what is known of their topics and their health.


MIN_PAIRS = 4
FEWEST_HELD_OUT, MOST_HELD_OUT = 20, 1000
MOST_KNOWN = 0.9  # share of texts with a known word below which many are lost
WORDS_A_TOPIC = 5
COHERENCE_WORDS = 10
ROWS = 128
BEST_PICTURES = 10


@dataclass(frozen=True)
class Fitted:
    """Two models of the same topics, and what the training pairs say of the topics.

    Attributes
    ----------
    topic_share : (K,) mean theta of the pictures.
    topic_counts : (K, V) words of the texts, by the topics of their pictures (`vtm.metrics.topics.topic_word_counts`).
    coherence : "text", "image" -> (K,) NPMI of the ten most probable words in the texts.
    best_pictures : for each topic the ids of the pictures with most of it, with their probability.
    dropped : pairs that were left out.
    n_pairs, n_validation : pairs used, and how many of them were held out.
    status : "ok", "doubtful" or "not judged" (no pairs held out, and no sign of collapse in the others).
    warnings : reasons for doubt in the training and the topics, one line each.
    encoder_keys : "text", "image" -> key of the encoder that made the embeddings; None: they were given.
    """

    text_model: TopicModel
    image_model: TopicModel
    vocabulary: Vocabulary
    topic_share: np.ndarray
    topic_counts: np.ndarray
    coherence: dict[str, np.ndarray]
    best_pictures: tuple[tuple[tuple[str, float], ...], ...]
    dropped: tuple[Dropped, ...]
    n_pairs: int
    n_validation: int
    status: str
    warnings: tuple[str, ...]
    encoder_keys: dict[str, str | None]


def held_out(texts: Sequence[str], *, share: float, seed: int) -> np.ndarray:
    """(n,) bool: the pairs that judge the training and are not trained on.

    A share of the pairs, but 20 at least, since fewer judge nothing, and 1,000 at most. None where 20 would be more
    than a quarter, or the share is 0. Drawn by the hash of seed and text: the order of the pairs changes nothing.
    """
    n = min(max(math.ceil(share * len(texts)), FEWEST_HELD_OUT), MOST_HELD_OUT)
    chosen = np.zeros(len(texts), dtype=bool)
    if share > 0 and FEWEST_HELD_OUT <= len(texts) / 4:
        digests = [_digest(f"held out {seed}:{text}") for text in texts]
        chosen[sorted(range(len(texts)), key=digests.__getitem__)[:n]] = True
    return chosen


def fit_models(
    texts: Sequence[str],
    text: np.ndarray,
    image: np.ndarray,
    ids: Sequence[str],
    settings: Settings,
    *,
    dropped: Sequence[Dropped] = (),
    encoder_keys: dict[str, str | None],
    device: str = "auto",
    progress: bool = False,
) -> Fitted:
    """Train on n pairs of texts, text embeddings (n, D) and image embeddings (n, E).

    Raises
    ------
    DataError
        Fewer than four pairs, fewer than two words, or a loss that is no longer a number.
    """
    _check_number(len(texts), dropped)
    vocabulary = build_vocabulary(texts, language=settings.language, config=settings.bow)
    if len(vocabulary) < 2:
        raise DataError(
            f"only the word {vocabulary.words[0]!r} stands in {settings.bow.min_df} texts or more (min_df); "
            "topics need several words: lower min_df or bring more texts"
        )
    counts = vocabulary.counts(texts)
    known = np.asarray(counts.sum(axis=1)).ravel() > 0
    dropped = (
        *dropped,
        *(Dropped(ids[row], "no-known-word", texts[row][:80]) for row in np.flatnonzero(~known)),
    )
    _check_number(int(known.sum()), dropped)
    pairs = Pairs(text[known], image[known], counts[known])
    kept = [ids[row] for row in np.flatnonzero(known)]
    aside = held_out(
        [texts[row] for row in np.flatnonzero(known)], share=settings.validation, seed=settings.seed
    )
    training, validation = _part(pairs, ~aside), _part(pairs, aside)
    models = train_pair(
        settings.kind,
        training,
        vocabulary.words,
        n_topics=settings.n_topics,
        config=settings.model,
        seeds=[settings.seed],
        validation=validation if len(validation) else None,
        device=device,
        progress=progress,
    )[settings.seed]
    by_input = {"text": models.text, "image": models.image}
    for model in (*by_input.values(), models.teacher):
        model.network.cpu()  # theta is the same wherever the model was trained
    theta = {reads: model.theta(pairs.embeddings(reads)) for reads, model in by_input.items()}
    curves = [model.history for model in (*by_input.values(), models.teacher)]
    losses = [loss for curve in curves for name in ("reconstruction", "kl") for loss in curve[name]]
    if not (np.isfinite(losses).all() and all(np.isfinite(rows).all() for rows in theta.values())):
        raise DataError(
            f"training diverged: a loss is no longer a number; lower lr (now {settings.model.lr}), or take another "
            "random_state"
        )
    top = min(COHERENCE_WORDS, len(vocabulary))
    topics = {reads: model.topics(top) for reads, model in by_input.items()}
    # Without held-out pairs some of the others can still show a collapse; spread, as they may be sorted.
    told = aside if aside.any() else slice(None, None, math.ceil(len(pairs) / MOST_HELD_OUT))
    status, reasons = _judge(
        training,
        _part(pairs, told),
        {reads: rows[told] for reads, rows in theta.items()},
        models,
        topics,
        held_out=bool(aside.any()),
    )
    reasons += _doubts(settings, len(texts), len(pairs), topics["image"], len(vocabulary))
    return Fitted(
        text_model=models.text,
        image_model=models.image,
        vocabulary=vocabulary,
        topic_share=theta["image"].mean(axis=0, dtype=np.float64),
        topic_counts=topic_word_counts(theta["image"], pairs.counts),
        coherence={
            reads: npmi(words, pairs.counts, vocabulary.words, top=top) for reads, words in topics.items()
        },
        best_pictures=_best_pictures(theta["image"], kept),
        dropped=dropped,
        n_pairs=len(pairs),
        n_validation=len(validation),
        status=status,
        warnings=reasons,
        encoder_keys=encoder_keys,
    )


def theta_of(model: TopicModel, x: np.ndarray) -> np.ndarray:
    """Topic distributions (n, K) of embeddings (n, D), each the same to the bit whatever stands beside it.

    Products of matrices round differently for another number of rows; so they are always of as many.
    """
    theta = np.empty((len(x), model.n_topics), dtype=np.float32)
    for start in range(0, len(x), ROWS):
        part = x[start : start + ROWS]
        filled = np.zeros((ROWS, x.shape[1]), dtype=np.float32)
        filled[: len(part)] = part
        theta[start : start + ROWS] = model.theta(filled)[: len(part)]
    return theta


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _check_number(n: int, dropped: Sequence[Dropped]) -> None:
    if n < MIN_PAIRS:
        why = f" ({len(dropped)} were left out, the first for {dropped[0].reason})" if dropped else ""
        raise DataError(f"{n} usable pairs of text and picture{why}: at least {MIN_PAIRS} are needed")


def _part(pairs: Pairs, rows: np.ndarray | slice) -> Pairs:
    return Pairs(pairs.text[rows], pairs.image[rows], pairs.counts[rows])


def _judge(
    training: Pairs,
    judges: Pairs,
    theta: dict[str, np.ndarray],
    models: Trained,
    topics: dict[str, list[list[str]]],
    *,
    held_out: bool,
) -> tuple[str, tuple[str, ...]]:
    """What the pairs `judges`, with their `theta`, say: "ok", "doubtful" with reasons, or "not judged".

    Pairs that were trained on can show a collapse, but not that all is well.

    `vtm.model.health.judge` asks for the reciprocal rank, as a paper's table needs it. Few held-out pairs say too little by
    that: here it is the mean rank, which a model that knows the broad topic already betters.
    """
    by_input = {"text": models.text, "image": models.image}
    lesson = models.teacher.posterior(judges.embeddings(models.teacher.reads))
    signs = signs_of_collapse(
        theta=theta,
        repeated={
            reads: duplicated_topics(words, top=len(words[0])) / len(words) for reads, words in topics.items()
        },
        teacher={
            reads: teacher_kl(model.posterior(judges.embeddings(reads)), lesson)[2]
            for reads, model in by_input.items()
            if model is not models.teacher
        },
    )
    if not held_out:
        return "doubtful" if signs else "not judged", tuple(signs)
    unigram = unigram_reconstruction(training.counts, judges.counts)
    reasons = [
        f"the {reads} model predicts held-out texts no better than the frequency of words does "
        f"({loss:.1f} nats a text, {unigram:.1f})"
        for reads, model in by_input.items()
        if (loss := model.history["validation_reconstruction"][-1]) >= unigram
    ]
    reasons += signs
    rows = [str(row) for row in range(len(judges))]
    ranks = target_ranks(theta["text"], theta["image"], rows, rows).ranks
    expected, best_of_chance = random_mean_rank(len(judges))
    if ranks.mean() >= best_of_chance:
        reasons.append(
            f"held-out texts find their pictures no better than by chance (mean rank {ranks.mean():.1f} of "
            f"{len(ranks)}; by chance {expected:.1f})"
        )
    return ("doubtful", tuple(reasons)) if reasons else ("ok", ())


def random_mean_rank(n: int) -> tuple[float, float]:
    """Mean rank of n items by n random rankings: expected, and what 97.5 % of trials exceed (normal approximation)."""
    expected = (n + 1) / 2
    deviation = math.sqrt((n * n - 1) / 12)  # of one rank, uniform from 1 to n
    return expected, expected - 1.96 * deviation / math.sqrt(n)


def _doubts(
    settings: Settings, n_texts: int, n_known: int, topics: list[list[str]], n_words: int
) -> tuple[str, ...]:
    """What makes topics poor although training worked."""
    doubts = []
    if n_known < MOST_KNOWN * n_texts and settings.bow.min_df > 1:
        doubts.append(
            f"{n_texts - n_known} of {n_texts} texts have no word that stands in {settings.bow.min_df} texts or "
            "more: lower min_df"
        )
    if n_words < WORDS_A_TOPIC * settings.n_topics:
        doubts.append(f"only {n_words} words for {settings.n_topics} topics: lower min_df, or n_topics")
    if repeated := duplicated_topics(topics, top=len(topics[0])):
        doubts.append(
            f"{repeated} of {settings.n_topics} topics share most of their words with another: lower n_topics"
        )
    return tuple(doubts)


def _best_pictures(theta: np.ndarray, ids: Sequence[str]) -> tuple[tuple[tuple[str, float], ...], ...]:
    order = np.argsort(-theta, axis=0, kind="stable")[:BEST_PICTURES]  # (10, K)
    return tuple(
        tuple((ids[row], float(theta[row, topic])) for row in rows) for topic, rows in enumerate(order.T)
    )


# Texts and pictures of any kind to embeddings, a row for each, also where a picture cannot be used.


# Pictures embedded between two ticks of the bar; what is held at once does not grow with the number of pictures.
BLOCK = 256
# What PNG and TIFF hold as it is; pictures of other modes become RGB.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_TIFF_MODES = ("I", "F")
_ORIENTATION = 0x0112  # of EXIF


@dataclass(frozen=True)
class Block:
    """Embeddings (b, D) float32 of b pictures: NaN for those that cannot be used, which `dropped` names."""

    embeddings: np.ndarray
    dropped: tuple[Dropped, ...]


class Encoding:
    """The encoder of a model, loaded when it is first needed.

    `keys` says with which encoder texts and pictures were embedded: another one is refused from then on.
    """

    def __init__(
        self,
        encoder: str | EncoderPair | None,
        *,
        language: str,
        device: str,
        cache: Path | str | None,
        max_pixels: int,
        keys: Mapping[str, str | None] | None = None,
    ) -> None:
        self._given = encoder
        self._language, self._device = language, device
        self._cache, self._max_pixels = cache, max_pixels
        self.keys: dict[str, str | None] = {"text": None, "image": None} | dict(keys or {})

    def texts(self, texts: Sequence[str], *, progress: bool) -> np.ndarray:
        """Embeddings (n, D) of texts."""
        return embed_texts(self._encoder("text"), texts, cache=self._cache, progress=progress)

    def blocks(self, images: Sequence[Any], names: Sequence[str], *, progress: bool) -> Iterator[Block]:
        """Embeddings of pictures, block by block (`embed_pictures`)."""
        return embed_pictures(
            self._encoder("image"),
            images,
            names,
            cache=self._cache,
            max_pixels=self._max_pixels,
            progress=progress,
        )

    def images(
        self, images: Sequence[Any], names: Sequence[str], *, progress: bool
    ) -> tuple[np.ndarray, tuple[Dropped, ...]]:
        """Embeddings (n, E) of pictures, NaN for those that cannot be used, and these with the reason."""
        blocks = list(self.blocks(images, names, progress=progress))
        empty = np.empty((0, self._encoder("image").dim), dtype=np.float32)
        dropped = tuple(drop for block in blocks for drop in block.dropped)
        return np.concatenate([empty, *(block.embeddings for block in blocks)]), dropped

    def _encoder(self, reads: str) -> Any:
        encoder = getattr(self.pair, reads)
        known = self.keys[reads]
        if known is not None and known != encoder.key:
            raise DataError(
                f"the model was trained with the {reads} encoder {known}, this one is {encoder.key}: name the "
                "encoder that it was trained with"
            )
        self.keys[reads] = encoder.key
        return encoder

    @cached_property
    def pair(self) -> EncoderPair:
        """The encoder itself.

        Raises
        ------
        ConfigError, MissingError, DataError
            There is none, or it cannot be loaded.
        """
        if self._given is None:
            raise ConfigError(
                "the model was trained with an encoder of your own: load it with encoder=..., or give embeddings"
            )
        if isinstance(self._given, EncoderPair):
            return self._given
        if not isinstance(self._given, str):
            raise ConfigError(f"encoder={self._given!r}: must be a name or an EncoderPair")
        return load_named(self._given, device=self._device, language=self._language)


def embed_pictures(
    encoder: ImageEncoder,
    images: Sequence[Any],
    names: Sequence[str],
    *,
    cache: Path | str | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: bool = False,
) -> Iterator[Block]:
    """Embed pictures block by block, in their order, from the cache where it has them.

    Parameters
    ----------
    images
        See `vtm.api.as_images`.
    names
        What `Dropped.id` says of a picture that cannot be used.
    progress
        Show a bar on stderr, on a terminal.

    Raises
    ------
    DataError
        The cache cannot be written.
    """
    from tqdm import tqdm

    in_one = len(images) <= BLOCK  # then the bar of embed_images counts single pictures
    silent = True if in_one or not progress else None
    with tqdm(total=len(images), desc="embedding pictures", unit="", disable=silent) as bar:
        for start in range(0, len(images), BLOCK):
            rows = slice(start, start + BLOCK)
            embeddings, dropped = _embed_block(
                encoder,
                images[rows],
                names[rows],
                cache=cache,
                max_pixels=max_pixels,
                progress=progress and in_one,
            )
            bar.update(len(embeddings))
            yield Block(embeddings, dropped)


def _embed_block(
    encoder: ImageEncoder, images: Sequence[Any], names: Sequence[str], **options: Any
) -> tuple[np.ndarray, tuple[Dropped, ...]]:
    # By row, so that a picture that comes twice, or two of one name, are two.
    dropped: dict[int, Dropped] = {}
    files: dict[str, tuple[Path, str]] = {}
    with tempfile.TemporaryDirectory(prefix="vtm-") as name:
        folder = Path(name)
        for row, image in enumerate(images):
            try:
                path = _as_file(image, folder / str(row))
                files[str(row)] = (path, hash_file(path))
            except PictureError as error:
                dropped[row] = Dropped(names[row], error.reason, str(error))
            except (OSError, ValueError) as error:
                dropped[row] = Dropped(names[row], "unreadable", f"{names[row]}: cannot be read ({error})")
        found, kept, bad = embed_images(
            encoder,
            tuple(files),
            tuple(path for path, _ in files.values()),
            tuple(content for _, content in files.values()),
            **options,
        )
    for drop in bad:
        row = int(drop.id)
        detail = drop.detail if isinstance(images[row], str | Path) else f"picture {names[row]}"
        dropped[row] = Dropped(names[row], drop.reason, detail)
    embeddings = np.full((len(images), encoder.dim), np.nan, dtype=np.float32)
    for id, embedding in zip(kept, found, strict=True):
        embeddings[int(id)] = embedding
    return embeddings, tuple(dropped[row] for row in sorted(dropped))


def _as_file(image: Any, base: Path) -> Path:
    """The picture's file, or a lossless one of it: so all pictures take the same way to their embedding."""
    if isinstance(image, str | Path):
        check_file(path := Path(image))
        return path
    from PIL import Image

    try:
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        exif = Image.Exif()
        if turned := picture.getexif().get(_ORIENTATION):
            exif[_ORIENTATION] = turned
        if picture.mode not in (*_PNG_MODES, *_TIFF_MODES):
            picture = picture.convert("RGB")
        if picture.mode in _TIFF_MODES:
            picture.save(path := base.with_suffix(".tiff"), exif=exif)
        else:
            picture.save(path := base.with_suffix(".png"), exif=exif, compress_level=1)
        return path
    except Exception as error:  # Pillow's decoders let many kinds of errors through
        raise PictureError(f"a {type(image).__name__} cannot be read ({error})", "unreadable") from error


# What a fitted model says of its topics: keywords, labels, and why a picture fits a text.


class NotFittedError(VtmError, SklearnNotFittedError):
    """A model is asked for something before it is fitted."""


@dataclass(frozen=True)
class SharedTopic:
    """A topic that a text and a picture have in common.

    Attributes
    ----------
    topic : its number.
    text, picture : its probability in the text and in the picture.
    contribution : its part of the cosine of the two; those of all topics sum to 1.
    words : its keywords.
    """

    topic: int
    text: float
    picture: float
    contribution: float
    words: tuple[str, ...]


class Topics:
    """The part of `vtm.api.VisualTopicModel` that shows topics."""

    _fitted: Fitted

    def topics(
        self,
        top: int = 10,
        *,
        reads: str = "image",
        order: str = "relevance",
        weight: float = RELEVANCE_WEIGHT,
    ) -> list[list[str]]:
        """Keywords of each topic, best first.

        Parameters
        ----------
        top
            How many words.
        reads
            "image" or "text": whose model's words.
        order
            "relevance" (`vtm.metrics.topics.relevance`), "probability" in the topic, or "ctfidf"
            (`vtm.metrics.topics.class_tfidf`: of the texts of `fit`, by their pictures' topics, whatever `reads` says).
        weight
            Of relevance, the paper's lambda: 1 is the order of probability, less brings forward what is rare in
            other topics.

        Raises
        ------
        NotFittedError, ConfigError

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=40, validation=0)
        >>> topics = model.fit(corpus.texts, corpus.images).topics(top=5)
        >>> len(topics), len(topics[0])
        (8, 5)
        """
        self._check_fitted()
        if order not in ORDERS:
            raise ConfigError(f"order={order!r}: must be one of {', '.join(ORDERS)}")
        if reads not in ("image", "text"):
            raise ConfigError(f"reads={reads!r}: must be image or text")
        fitted = self._fitted
        model = fitted.image_model if reads == "image" else fitted.text_model
        if order == "ctfidf":
            scores = class_tfidf(fitted.topic_counts)
        else:
            weight = weight if order == "relevance" else 1.0
            scores = relevance(model.topic_word(), fitted.topic_share, weight=weight)
        return top_words(scores, model.vocabulary, top)

    def topic_labels(
        self,
        words: int = 3,
        *,
        separator: str = ", ",
        reads: str = "image",
        order: str = "relevance",
        weight: float = RELEVANCE_WEIGHT,
    ) -> list[str]:
        """A short name of each topic: its first keywords; `reads`, `order` and `weight` as for `topics`.

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=40, validation=0)
        >>> labels = model.fit(corpus.texts, corpus.images).topic_labels(words=2, separator=" and ")
        >>> [len(label.split(" and ")) for label in labels]
        [2, 2, 2, 2, 2, 2, 2, 2]
        """
        topics = self.topics(words, reads=reads, order=order, weight=weight)
        return [separator.join(topic) for topic in topics]

    def explain(
        self, text_theta: np.ndarray, image_theta: np.ndarray, *, top: int = 3, words: int = 5
    ) -> tuple[SharedTopic, ...]:
        """The topics by which a picture fits a text, those that add most to their cosine first.

        Parameters
        ----------
        text_theta, image_theta : (K,)
            A row of `transform_text` and a row of `transform`.
        top, words
            How many topics, and keywords of each.

        Raises
        ------
        NotFittedError, DataError
            Not fitted, or not two topic distributions of this model.

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> model = model.fit(corpus.texts, corpus.images)
        >>> text, picture = model.transform_text(corpus.texts[:1])[0], model.transform(corpus.images[:1])[0]
        >>> reasons = model.explain(text, picture, top=8)
        >>> round(sum(reason.contribution for reason in reasons), 6)
        1.0
        """
        keywords = self.topics(words)
        text, picture = (np.asarray(row, dtype=np.float64) for row in (text_theta, image_theta))
        for name, row in (("text_theta", text), ("image_theta", picture)):
            if row.shape != (len(keywords),) or not np.isfinite(row).all():
                raise DataError(f"{name}: must be one row of {len(keywords)} probabilities, not {row.shape}")
        product = text * picture
        parts = product / max(product.sum(), np.finfo(np.float64).tiny)
        order = np.argsort(-parts, kind="stable")[:top]
        return tuple(
            SharedTopic(int(k), float(text[k]), float(picture[k]), float(parts[k]), tuple(keywords[k]))
            for k in order
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                "this VisualTopicModel is not fitted yet; call fit, or VisualTopicModel.load a saved one"
            )


# What a fitted model reads in pictures and texts: their topics, and which pictures fit which texts.


class ModelWarning(UserWarning):
    """Pairs or pictures were left out, or there is reason to doubt a trained model."""


class Readings(Topics):
    """The part of `vtm.api.VisualTopicModel` that reads pictures and texts."""

    text_model_: TopicModel
    image_model_: TopicModel
    progress: bool
    _encoding: Encoding

    def transform(
        self,
        images: Sequence[Any] | None = None,
        *,
        image_embeddings: np.ndarray | None = None,
        errors: str = "nan",
    ) -> np.ndarray:
        """Topic distributions of pictures.

        Parameters
        ----------
        images : n pictures, as for `fit`.
        image_embeddings : (n, E), in place of pictures; both together are refused.
        errors
            "nan": a picture that cannot be used gets a row of NaN, so that row i is picture i, and a warning names
            it. "raise": it is an error.

        Returns
        -------
        (n, K) float32
            Rows sum to 1. A picture's row does not depend on the others.

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> theta = model.fit(corpus.texts, corpus.images).transform(corpus.images[:3])
        >>> theta.sum(axis=1).round(3).tolist()
        [1.0, 1.0, 1.0]
        """
        if errors not in ("nan", "raise"):
            raise ConfigError(f"errors={errors!r}: must be 'nan' or 'raise'")
        theta, bad = self._image_theta(images, image_embeddings)
        if bad and errors == "raise":
            raise DataError(f"{len(bad)} of {len(theta)} pictures cannot be used; the first: {bad[0].detail}")
        if bad:
            warnings.warn(_unusable(bad, len(theta), "their rows are NaN"), ModelWarning, stacklevel=2)
        return theta

    def transform_blocks(self, images: Sequence[Any]) -> Iterator[tuple[np.ndarray, tuple[Dropped, ...]]]:
        """Topic distributions of very many pictures, some hundred at a time, in their order.

        Yields
        ------
        theta : (b, K) float32
            Of the next b pictures; NaN for those that cannot be used.
        dropped : tuple of vtm.corpora.Dropped
            These, with the reason.

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> model = model.fit(corpus.texts, corpus.images)
        >>> sum(len(theta) for theta, dropped in model.transform_blocks(corpus.images))
        120
        """
        self._check_fitted()
        images = as_images(images)
        names = picture_names(images, len(images))
        for block in self._encoding.blocks(images, names, progress=self.progress):
            yield self._theta_of_rows(block.embeddings), block.dropped

    def transform_text(
        self, texts: Sequence[str] | None = None, *, text_embeddings: np.ndarray | None = None
    ) -> np.ndarray:
        """Topic distributions of n texts, or else of their embeddings (n, D): (n, K) float32, rows sum to 1.

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> model.fit(corpus.texts, corpus.images).transform_text(["a boat on the sea"]).shape
        (1, 8)
        """
        self._check_fitted()
        _check_one("texts", texts, "text_embeddings", text_embeddings)
        if text_embeddings is not None:
            return theta_of(self.text_model_, as_embeddings(text_embeddings, "text_embeddings"))
        return theta_of(self.text_model_, self._encoding.texts(as_texts(texts), progress=self.progress))

    def rank(
        self,
        texts: Sequence[str] | None = None,
        images: Sequence[Any] | None = None,
        *,
        top: int = 100,
        text_embeddings: np.ndarray | None = None,
        image_embeddings: np.ndarray | None = None,
        measure: str = "cosine",
    ) -> tuple[np.ndarray, np.ndarray]:
        """The pictures whose topics are most like each text's; `explain` gives the reason.

        Parameters
        ----------
        texts, images, text_embeddings, image_embeddings
            n texts and m pictures, or their embeddings; of each one, not both.
        top
            At most so many pictures for each text.
        measure
            "cosine", "dot", "hellinger" or "jensen-shannon" (`vtm.metrics.ranking.similarity`).

        Returns
        -------
        positions : (n, min(top, m)) int64
            Of pictures, best first; equal ones in their order. Pictures that cannot be used are not ranked, and a
            warning names them.
        similarities : of the same shape, float64

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> model = model.fit(corpus.texts, corpus.images)
        >>> positions, similarities = model.rank(["a boat on the sea"], corpus.images, top=3)
        >>> positions.shape, bool(similarities[0, 0] >= similarities[0, 1])
        ((1, 3), True)
        """
        self._check_fitted()
        _check_one("images", images, "image_embeddings", image_embeddings)  # before the texts are embedded
        text = self.transform_text(texts, text_embeddings=text_embeddings)
        image, bad = self._image_theta(images, image_embeddings)
        usable = np.flatnonzero(~np.isnan(image).any(axis=1))
        if bad and len(usable):
            warnings.warn(_unusable(bad, len(image), "they are not ranked"), ModelWarning, stacklevel=2)
        if not len(text) or not len(usable):
            why = f"; the first: {bad[0].detail}" if bad else ""
            raise DataError(f"{len(text)} texts and {len(usable)} usable pictures: nothing to rank{why}")
        places = [f"{row:012d}" for row in usable]  # sorted as the numbers are
        if measure in INDEXED:
            index = ThetaIndex.build(image[usable], places, measure=measure)
            positions, similarities = index.search(text, top)
        else:
            positions, similarities = top_items(text, image[usable], places, k=top, measure=measure)
        return usable[positions], similarities

    def _image_theta(self, images: Any, image_embeddings: Any) -> tuple[np.ndarray, tuple[Dropped, ...]]:
        """Theta (n, K) of pictures or their embeddings, NaN for those that cannot be used."""
        self._check_fitted()
        _check_one("images", images, "image_embeddings", image_embeddings)
        if image_embeddings is not None:
            return theta_of(self.image_model_, as_embeddings(image_embeddings, "image_embeddings")), ()
        images = as_images(images)
        names = picture_names(images, len(images))
        x, bad = self._encoding.images(images, names, progress=self.progress)
        return self._theta_of_rows(x), bad

    def _theta_of_rows(self, x: np.ndarray) -> np.ndarray:
        theta = np.full((len(x), self.image_model_.n_topics), np.nan, dtype=np.float32)
        usable = ~np.isnan(x).any(axis=1)
        theta[usable] = theta_of(self.image_model_, x[usable])
        return theta


def _check_one(name: str, given: Any, other: str, embeddings: Any) -> None:
    if given is None and embeddings is None:
        raise ConfigError(f"give {name}, or {other} in their place")
    if given is not None and embeddings is not None:
        raise ConfigError(f"give {name} or {other}, not both: the embeddings would be taken alone")


def _unusable(bad: Sequence[Dropped], n: int, so: str) -> str:
    named = ", ".join(item.id for item in bad[:5]) + (", ..." if len(bad) > 5 else "")
    return f"{len(bad)} of {n} pictures cannot be used, {so}: {named}"


# A fitted model as a folder: safetensors and JSON, with the hash of every file. No pickle.


FORMAT = 2
MODEL_FILE, ARRAYS_FILE = "model.json", "topics.safetensors"
FILES = ("text.safetensors", "image.safetensors", ARRAYS_FILE)
NAMED = 3  # entries of a folder that an error names
PACKAGES = (
    *("vtm", "torch", "numpy", "scipy", "scikit-learn", "pillow", "onnxruntime", "sentence-transformers"),
    "open-clip-torch",
)


def check_place(path: Path | str) -> None:
    """Refuse a place where a model would replace something else than a model.

    Raises
    ------
    DataError
        `path` is a file, or a folder that holds something else than a model.
    """
    path = Path(path)
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise DataError(f"{path}: exists and is no model; remove it, or name another folder for the model")
    ours = {MODEL_FILE, *FILES} if _holds_model(path) else set()
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in ours or entry.is_dir())
    if others:
        named = ", ".join(printable(name) for name in others[:NAMED])
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        raise DataError(
            f"{path}: exists and is no model{' alone' if ours else ''} (it holds {named}{more}); "
            "name another folder for the model, or move what is in it"
        )


def write_model(
    path: Path | str, fitted: Fitted, parameters: Mapping[str, Any], notes: Mapping[str, Any]
) -> None:
    """Write a model's folder. It takes the place of an older model in one step, after it is complete.

    Raises
    ------
    DataError
        `path` is a file, or a folder that holds something else than a model.
    """
    check_place(path)
    with atomic_folder(path) as folder:
        _write_files(folder, fitted, parameters, notes)


def _holds_model(folder: Path) -> bool:
    """Whether a model of this or an earlier format is there, be it damaged; other programs have a model.json, too."""
    try:
        saved = read_json(folder / MODEL_FILE) if (folder / MODEL_FILE).is_file() else None
    except (OSError, DataError):
        return False
    return isinstance(saved, dict) and isinstance(saved.get("format"), int) and "sha256" in saved


def _write_files(
    folder: Path, fitted: Fitted, parameters: Mapping[str, Any], notes: Mapping[str, Any]
) -> None:
    from safetensors.numpy import save_file

    # What `vtm submit` reads of a run's models.
    about = {"kind": parameters["teacher"], "encoder": parameters["encoder"], "measure": "cosine"}
    for model in (fitted.text_model, fitted.image_model):
        model.save(folder / model.reads, **about, mode="posteriors")
    arrays = {"topic_share": fitted.topic_share, "topic_counts": fitted.topic_counts}
    arrays |= {f"coherence_{reads}": values for reads, values in fitted.coherence.items()}
    with atomic_path(folder / ARRAYS_FILE) as temporary:
        save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, temporary)
    write_sealed(
        folder / MODEL_FILE,
        {
            "format": FORMAT,
            "parameters": dict(parameters),
            "vocabulary": {
                "language": fitted.vocabulary.language,
                "min_length": fitted.vocabulary.min_length,
            },
            "encoder_keys": fitted.encoder_keys,
            "n_pairs": fitted.n_pairs,
            "n_validation": fitted.n_validation,
            "dropped": [[item.id, item.reason, item.detail] for item in fitted.dropped],
            "status": fitted.status,
            "warnings": list(fitted.warnings),
            "best_pictures": [[[id, share] for id, share in topic] for topic in fitted.best_pictures],
            "notes": dict(notes),
            "sha256": {name: hash_file(folder / name) for name in FILES},
            "versions": package_versions(PACKAGES),
        },
    )


def read_model(path: Path | str) -> tuple[Fitted, dict[str, Any], dict[str, Any]]:
    """What `write_model` wrote: the fitted model, the parameters and the notes.

    Raises
    ------
    MissingError, DataError
        No model's folder, files of another format, or files that are not those that were saved.
    """
    path = Path(path)
    recover_folder(path)
    if not (path / MODEL_FILE).is_file():
        raise MissingError(
            f"{path}: no model ({MODEL_FILE} is missing); `vtm train CORPUS -o {path}` makes one"
        )
    saved = read_json(path / MODEL_FILE)
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        found = saved.get("format") if isinstance(saved, dict) else None
        raise DataError(f"{path}: format {found!r}, this version of vtm reads {FORMAT}; train anew")
    saved = read_sealed(path / MODEL_FILE)
    hashes = saved.get("sha256") if isinstance(saved.get("sha256"), dict) else {}
    for name in FILES:
        if not (path / name).is_file():
            raise MissingError(f"{path / name}: no such file; the model is incomplete, train anew")
        if hash_file(path / name) != hashes.get(name):
            raise DataError(f"{path / name}: its content is not what was saved with {MODEL_FILE}; train anew")
    try:
        return _fitted(path, saved), dict(saved["parameters"]), dict(saved["notes"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{path / MODEL_FILE}: does not hold what a model's does ({error!r}); train anew"
        ) from None


def _fitted(path: Path, saved: dict[str, Any]) -> Fitted:
    text, image = TopicModel.load(path / "text"), TopicModel.load(path / "image")
    arrays = read_tensors(path / ARRAYS_FILE)
    return Fitted(
        text_model=text,
        image_model=image,
        vocabulary=Vocabulary(words=image.vocabulary, **saved["vocabulary"]),
        topic_share=arrays["topic_share"],
        topic_counts=arrays["topic_counts"],
        coherence={reads: arrays[f"coherence_{reads}"] for reads in ("text", "image")},
        best_pictures=tuple(
            tuple((str(id), float(share)) for id, share in topic) for topic in saved["best_pictures"]
        ),
        dropped=tuple(Dropped(*item) for item in saved["dropped"]),
        n_pairs=int(saved["n_pairs"]),
        n_validation=int(saved["n_validation"]),
        status=str(saved["status"]),
        warnings=tuple(saved["warnings"]),
        encoder_keys=dict(saved["encoder_keys"]),
    )


# A visual topic model to fit, ask and save, in the manner of scikit-learn.


class VisualTopicModel(Readings, Parameters):
    """Topics for pictures, learned from pictures with texts (Pivovarova and Zosa 2021).

    Two topic models are trained: one reads texts, the other pictures, and topic k means the same in both. Once
    trained, a picture needs no text.

    Parameters
    ----------
    n_topics
        K, the number of topics; 60 suits some thousand pairs.
    teacher
        "text": the model of texts is trained first and teaches that of pictures. "joint": a model of both
        teaches one of each.
    encoder
        Name of an encoder with its options, as in "clip:model=ViT-B-32,pretrained=openai" (see
        `vtm.encoders.load_encoder`), or an `EncoderPair` of your own.
    language
        Code of the texts' language, for stop words and for encoders that choose their weights by it.
    random_state
        The seed, a whole number from 0; None is refused, since such a run could not be repeated.
    validation
        Share of the pairs, from 0 to 0.5, that is not trained on but tells whether training worked (`status_`,
        `warnings_`): at least 20 pairs and at most 1,000; of fewer than 80 pairs none.
    max_words, min_df, max_df, min_length
        Which words make the vocabulary (`vtm.config.BowConfig`).
    decoder, hidden, activation, dropout, epochs, batch_size, lr, beta1, beta2, kl_weight, standardize, n_samples
        The network and its training (`vtm.config.ModelConfig`); a `batch_size` of None is 64, and 16 for fewer than
        500 pairs.
    device
        "auto" (CUDA where there is one), "cpu" or "cuda", for embedding and training.
    cache
        Folder of the embeddings' cache; None: in the data folder.
    max_pixels
        Larger pictures are not used.
    progress
        Show progress bars on stderr, on a terminal.

    Attributes
    ----------
    text_model_, image_model_
        The two trained models, each a `vtm.model.topicmodel.TopicModel`.
    vocabulary_
        Tuple of the V words.
    topic_word_
        (K, V) p(w | k) of the picture model.
    topic_share_
        (K,) mean share of each topic in the pictures of `fit`.
    coherence_
        {"text": (K,), "image": (K,)} NPMI of the ten most probable words in the texts of `fit`.
    best_pictures_
        For each topic up to ten (name, probability) of pictures of `fit`, best first.
    dropped_
        Tuple of `vtm.corpora.Dropped`: pairs that were left out of `fit`, with the reason.
    n_pairs_, n_validation_
        Pairs used, and how many of them were held out.
    status_
        "ok"; "doubtful" where the held-out pairs do not show that training worked; without such "not judged", or
        "doubtful" where the other pairs show that it did not.
    warnings_
        Tuple of reasons to doubt the training or the topics.
    n_features_in_
        Dimensions of a picture's embedding.

    Examples
    --------
    >>> from vtm.api import VisualTopicModel
    >>> from vtm.corpora import load_corpus
    >>> corpus = load_corpus("scenes", n=120)
    >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=60)
    >>> model.fit(corpus.texts, corpus.images)
    VisualTopicModel(encoder='pixels', epochs=60, n_topics=8)
    >>> model.transform(corpus.images[:2]).shape
    (2, 8)
    >>> len(model.topic_labels())
    8
    """

    def fit(
        self,
        texts: Sequence[str],
        images: Sequence[Any] | None = None,
        *,
        text_embeddings: np.ndarray | None = None,
        image_embeddings: np.ndarray | None = None,
        ids: Sequence[str] | None = None,
    ) -> VisualTopicModel:
        """Train on pairs: text i belongs to picture i.

        Pairs whose picture cannot be read, or whose text has no word of the vocabulary, are left out; `dropped_`
        lists them and a warning counts them.

        Parameters
        ----------
        texts : n texts.
        images : n pictures: paths, PIL images or uint8 arrays (H, W), (H, W, 3), (H, W, 4), also mixed.
        text_embeddings, image_embeddings : (n, D), (n, E)
            In place of the encoder's; with `image_embeddings` no pictures are needed, and none are opened: `images`
            then only name the pairs, where `ids` do not.
        ids
            Names of the pairs in `dropped_` and `best_pictures_`; the pictures' paths or positions by default.

        Returns
        -------
        The model itself.

        Raises
        ------
        ConfigError, DataError, MissingError
            Parameters that cannot be used, inputs of unequal length, too few usable pairs, training that diverged,
            an encoder without its weights.

        Examples
        --------
        >>> import numpy as np
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> embeddings = np.random.default_rng(0).normal(size=(120, 16))
        >>> model = VisualTopicModel(n_topics=8, epochs=5, validation=0)
        >>> model.fit(corpus.texts, text_embeddings=embeddings, image_embeddings=embeddings).n_pairs_
        120
        """
        texts = as_texts(texts)
        settings, parameters = self._settings(len(texts)), self._model_parameters()
        if images is not None:
            images = as_images(images)
        elif image_embeddings is None:
            raise ConfigError("fit needs images, or image_embeddings in their place")
        for given, what in ((images, "images"), (ids, "ids")):
            if given is not None and len(given) != len(texts):
                raise DataError(f"{len(given)} {what} for {len(texts)} texts; give one for each")
        names = picture_names(images, len(texts)) if ids is None else [str(id) for id in ids]
        encoding = self._encoding_of(self.encoder)
        bad: tuple[Dropped, ...] = ()
        if image_embeddings is None:
            image, bad = encoding.images(images, names, progress=self.progress)
        else:
            image = as_embeddings(image_embeddings, "image_embeddings", len(texts))
        if text_embeddings is None:
            text = encoding.texts(texts, progress=self.progress)
        else:
            text = as_embeddings(text_embeddings, "text_embeddings", len(texts))
        rows = np.flatnonzero(~np.isnan(image).any(axis=1))
        fitted = fit_models(
            [texts[row] for row in rows],
            text[rows],
            image[rows],
            [names[row] for row in rows],
            settings,
            dropped=bad,
            encoder_keys=encoding.keys,
            device=self.device,
            progress=self.progress,
        )
        doubts = language_doubts(texts, self.language)
        fitted = replace(fitted, warnings=(*doubts, *fitted.warnings))
        self._take(fitted, encoding, parameters)
        if self.dropped_:
            why = ", ".join(sorted({item.reason for item in self.dropped_}))
            left_out = f"{len(self.dropped_)} of {len(texts)} pairs were left out ({why}); see dropped_"
            warnings.warn(left_out, ModelWarning, stacklevel=2)
        if self.warnings_:
            warnings.warn("; ".join(self.warnings_), ModelWarning, stacklevel=2)
        return self

    def save(self, path: Path | str, **notes: Any) -> None:
        """Write the model as a folder of safetensors and JSON files; an older model there is replaced.

        Parameters
        ----------
        notes
            Kept with the model as `notes_`: what JSON can hold.

        Raises
        ------
        NotFittedError, DataError
            Not fitted; or `path` is a file, or a folder that holds something else than a model.

        Examples
        --------
        >>> import tempfile
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.fit(corpus.texts, corpus.images).save(f"{folder}/scenes", owner="me")
        ...     VisualTopicModel.load(f"{folder}/scenes").notes_
        {'owner': 'me'}
        """
        self._check_fitted()
        write_model(path, self._fitted, self._fitted_parameters, notes)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        encoder: str | EncoderPair | None = None,
        device: str = "auto",
        cache: Path | str | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: bool = True,
    ) -> VisualTopicModel:
        """Read a model that `save` wrote: theta is the same as before.

        Parameters
        ----------
        encoder
            In place of the saved one; needed for a model that was trained with an `EncoderPair` of your own. One
            whose weights or preparation of pictures differ is refused when it is used.
        device, cache, max_pixels, progress
            As for the class.

        Raises
        ------
        MissingError, DataError
            No model, or files that are not those that were saved.

        Examples
        --------
        >>> import tempfile
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.fit(corpus.texts, corpus.images).save(f"{folder}/scenes")
        ...     loaded = VisualTopicModel.load(f"{folder}/scenes")
        >>> bool((loaded.transform(corpus.images[:3]) == model.transform(corpus.images[:3])).all())
        True
        """
        fitted, parameters, notes = read_model(path)
        parameters |= {"device": device, "cache": cache, "max_pixels": max_pixels, "progress": progress}
        parameters["encoder"] = parameters.get("encoder") if encoder is None else encoder
        try:
            model = cls(**parameters)
            model.hidden = tuple(model.hidden)
        except TypeError as error:
            raise DataError(f"{path}: {error}; the model is of another version of vtm, train anew") from None
        encoding = model._encoding_of(model.encoder, fitted.encoder_keys)
        model._take(fitted, encoding, model._model_parameters(), notes)
        return model

    def _encoding_of(self, encoder: str | EncoderPair | None, keys: Any = None) -> Encoding:
        return Encoding(
            encoder,
            language=self.language,
            device=self.device,
            cache=self.cache,
            max_pixels=self.max_pixels,
            keys=keys,
        )

    def _take(
        self,
        fitted: Fitted,
        encoding: Encoding,
        parameters: dict[str, Any],
        notes: dict[str, Any] | None = None,
    ) -> None:
        self._fitted, self._encoding, self._fitted_parameters = fitted, encoding, parameters
        self.notes_ = dict(notes or {})
        self.text_model_, self.image_model_ = fitted.text_model, fitted.image_model
        self.vocabulary_ = fitted.vocabulary.words
        self.topic_word_ = fitted.image_model.topic_word()
        self.topic_share_, self.coherence_ = fitted.topic_share, fitted.coherence
        self.best_pictures_, self.dropped_ = fitted.best_pictures, fitted.dropped
        self.n_pairs_, self.n_validation_ = fitted.n_pairs, fitted.n_validation
        self.status_, self.warnings_ = fitted.status, fitted.warnings
        self.n_features_in_ = fitted.image_model.network.n_inputs
