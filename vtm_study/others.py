"""Topic models of others on the same texts: LDA and NMF, made to read pictures by one linear map.

Each is fitted to the training texts' bags of words. A ridge regression then maps a picture's embedding to the topics
of its text, which is the simplest thing that could give a picture topics.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from vtm.encoders import embed_texts, load_named
from vtm.errors import ConfigError, DataError, MissingError, choice
from vtm.experiment.prepare import PARTS
from vtm.metrics.topics import top_words
from vtm_study.measures import TOP_WORDS, convergence, reciprocal

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import Pipeline

    from vtm.experiment.prepare import Prepared
    from vtm.model.distill import Pairs


TEXT_PEERS = ("LDA", "NMF")
ALPHAS = (1.0, 10.0, 100.0, 1000.0, 10000.0)
# Of LDA's priors, 1/K each (scikit-learn's) and these, the latter match better on the validation part of openclipart.
LDA_PRIORS = dict(doc_topic_prior=0.1, topic_word_prior=0.01)
LDA_ITERATIONS = 20
NMF_ITERATIONS = 1000


@dataclass(frozen=True)
class Fitted:
    """One model of one seed.

    Parameters
    ----------
    text, image : part -> (n, K) topics, or embeddings of one space. Rows of topics sum to 1 unless they are signed.
    topic_word : (K, V) weights of the words by which pictures are tagged; None where there are no topics.
    topics : each topic's 25 best words.
    seconds : of the fit, on this machine.
    members : how many models of K / members topics stand side by side.
    settings : what was chosen in the fit, on the validation part.
    converged : whether all its fits came to their end.
    """

    text: dict[str, np.ndarray]
    image: dict[str, np.ndarray]
    topic_word: np.ndarray | None
    topics: list[list[str]]
    seconds: float
    members: int = 1
    settings: dict[str, float] = field(default_factory=dict)
    converged: bool = True


def fit_ridge(
    x: np.ndarray,
    y: np.ndarray,
    x_validation: np.ndarray,
    score: Callable[[np.ndarray], float],
    *,
    alphas: Sequence[float] = ALPHAS,
) -> Pipeline:
    """Ridge regression of y (n, K) on x (n, D), scaled to mean 0 and variance 1 by the training documents.

    Parameters
    ----------
    score : of the predictions for `x_validation`; the penalty with the largest is kept, at equal scores the first.

    Returns
    -------
    A map whose `predict` takes embeddings (n, D); its last step has the penalty as `alpha`.
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, held_out = (np.asarray(a, dtype=np.float64) for a in (x, y, x_validation))
    maps = [make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit(x, y) for alpha in alphas]
    return max(maps, key=lambda found: score(found.predict(held_out)))


def fit_text_topics(
    method: str, counts: Mapping[str, csr_matrix], *, n_topics: int, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray, bool]:
    """LDA or NMF (scikit-learn) of the training part.

    NMF reads the counts as TF-IDF, its usual input; the words are the same. A text without a known word gets all
    topics alike.

    Parameters
    ----------
    method : "LDA" or "NMF".
    counts : "train" and others -> (n, V) bags of words.

    Returns
    -------
    theta : part -> (n, K), rows sum to 1
    topic_word : (K, V), rows sum to 1
    converged

    Raises
    ------
    ConfigError
        Another method.
    """
    from sklearn.decomposition import NMF, LatentDirichletAllocation
    from sklearn.feature_extraction.text import TfidfTransformer

    if method == "LDA":
        model = LatentDirichletAllocation(n_topics, max_iter=LDA_ITERATIONS, random_state=seed, **LDA_PRIORS)
        weights = dict(counts)
    elif method == "NMF":
        few = n_topics <= min(counts["train"].shape)  # what "nndsvda" needs
        model = NMF(n_topics, init="nndsvda" if few else "random", max_iter=NMF_ITERATIONS, random_state=seed)
        scale = TfidfTransformer().fit(counts["train"])
        weights = {part: scale.transform(bags) for part, bags in counts.items()}
    else:
        raise ConfigError(f"peer {method!r}: {choice(method, TEXT_PEERS)}")
    with convergence() as converged:
        model.fit(weights["train"])
        theta = {part: as_shares(model.transform(bags)) for part, bags in weights.items()}
    return theta, as_shares(model.components_), converged()


def text_peer(
    method: str,
    pairs: Mapping[str, Pairs],
    validation_ids: Sequence[str],
    vocabulary: Sequence[str],
    *,
    n_topics: int,
    seed: int,
) -> Fitted:
    """LDA or NMF of the training texts, with a ridge map for pictures.

    Parameters
    ----------
    pairs : "train", "validation", "test" -> text and image embeddings and counts. Pictures get their topics without
        any text of the test part.
    """
    started = time.perf_counter()
    counts = {part: pairs[part].counts for part in PARTS}
    theta, topic_word, converged = fit_text_topics(method, counts, n_topics=n_topics, seed=seed)
    fitted = with_ridge(theta, topic_word, pairs, validation_ids, vocabulary, started=started)
    return replace(fitted, converged=converged)


def with_ridge(
    theta: dict[str, np.ndarray],
    topic_word: np.ndarray,
    pairs: Mapping[str, Pairs],
    validation_ids: Sequence[str],
    vocabulary: Sequence[str],
    *,
    started: float,
) -> Fitted:
    """A model of texts, part -> theta (n, K), that reads pictures by the ridge map with the best validation MRR@100.

    started : when the fit began, by `time.perf_counter`.
    """
    ridge = fit_ridge(
        pairs["train"].image,
        theta["train"],
        pairs["validation"].image,
        lambda found: mean_reciprocal(theta["validation"], as_shares(found), validation_ids),
    )
    image = {part: as_shares(ridge.predict(pairs[part].image)) for part in PARTS}
    topics, settings = top_words(topic_word, vocabulary, TOP_WORDS), {"alpha": ridge[-1].alpha}
    return Fitted(theta, image, topic_word, topics, time.perf_counter() - started, settings=settings)


def mean_reciprocal(text: np.ndarray, image: np.ndarray, ids: Sequence[str]) -> float:
    """MRR@100, when pictures of the same ids are ranked by cosine."""
    return float(reciprocal(text, image, ids, measure="cosine").mean())


def as_shares(weights: np.ndarray) -> np.ndarray:
    """Rows (n, K) as distributions: what is negative becomes 0; a row of nothing gets all alike.

    Raises
    ------
    DataError
        NaN or infinity.
    """
    positive = np.maximum(np.asarray(weights, dtype=np.float64), 0.0)
    if not np.isfinite(positive).all():
        raise DataError("topic weights: NaN or infinity")
    total = positive.sum(axis=1, keepdims=True)
    return np.where(total > 0, positive / np.where(total > 0, total, 1.0), 1.0 / positive.shape[1])


# BERTopic and turftopic in their multimodal modes, where they are installed: `pip install bertopic turftopic`.
#
# Both take the mean of a document's text and picture embedding, which needs one space for the two. Encoders such as CLIP
# have one. For others a ridge map takes pictures into the space of texts, as it gives LDA and NMF their pictures' topics.
# At inference both read the picture's embedding alone. No model is fetched: embeddings are handed over.


EXTRA_PEERS = ("BERTopic", "turftopic")
INSTALL = "pip install bertopic turftopic"
# How sharply BERTopic's topics are told apart by a picture's cosine to them; chosen on validation.
TEMPERATURES = (0.02, 0.05, 0.1, 0.2)


def installed_version(name: str) -> str | None:
    """Version of an extra peer, None where it is not installed."""
    try:
        return version(name.lower()) if find_spec(name.lower()) else None
    except PackageNotFoundError:
        return None


def shared_space(
    pairs: Mapping[str, Pairs], validation_ids: Sequence[str], *, aligned: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Text and picture embeddings of each part in one space, rows of length 1.

    Parameters
    ----------
    aligned : whether they are in one space already; else pictures are mapped to their text's embedding by ridge
        regression, with the best validation MRR@100.

    Returns
    -------
    text, image : part -> (n, D) float32
    """
    text = {part: _unit(pairs[part].text) for part in PARTS}
    if aligned:
        return text, {part: _unit(pairs[part].image) for part in PARTS}
    ridge = fit_ridge(
        pairs["train"].image,
        text["train"],
        pairs["validation"].image,
        lambda found: mean_reciprocal(text["validation"], found, validation_ids),
    )
    return text, {part: _unit(ridge.predict(pairs[part].image)) for part in PARTS}


def embed(data: Prepared, texts: Sequence[str]) -> np.ndarray:
    """Embeddings (n, D) of other texts by the text encoder that the data were embedded with."""
    experiment = data.experiment
    encoder = load_named(experiment.encoder, device=experiment.device, language=data.corpus.language)
    return embed_texts(encoder.text, list(texts), progress=False)


def fit_extra(name: str, data: Prepared, *, n_topics: int, seed: int) -> Fitted:
    """BERTopic or turftopic of a prepared corpus.

    Raises
    ------
    MissingError
        The package is not installed.
    """
    if installed_version(name) is None:
        raise MissingError(f"not installed: {INSTALL}")
    ids = data.ids("validation")
    text, image = shared_space({part: data.pairs(part) for part in PARTS}, ids, aligned=data.aligned)
    tokens = [data.vocabulary.tokens(one) for one in data.texts("train")]

    def embed_words(words: Sequence[str]) -> np.ndarray:
        return embed(data, words)

    options = {"embed_words": embed_words, "n_topics": n_topics, "seed": seed}
    return extra_peer(name, text, image, tokens, data.vocabulary.words, ids, **options)


def extra_peer(
    name: str,
    text: Mapping[str, np.ndarray],
    image: Mapping[str, np.ndarray],
    tokens: Sequence[Sequence[str]],
    vocabulary: Sequence[str],
    validation_ids: Sequence[str],
    *,
    embed_words: Callable[[Sequence[str]], np.ndarray],
    n_topics: int,
    seed: int,
) -> Fitted:
    """Fit BERTopic or turftopic on the training part.

    Parameters
    ----------
    name : "BERTopic" or "turftopic".
    text, image : part -> (n, D) of `shared_space`.
    tokens : words of each training text, all of `vocabulary`.
    embed_words : words to their embeddings (V, D) in the same space; turftopic asks for them.
    """
    started = time.perf_counter()
    documents = [" ".join(words) for words in tokens]
    together = ((text["train"] + image["train"]) / 2).astype(np.float32)
    settings = {}
    with _quiet() as converged:
        if name == "BERTopic":
            theta, topic_word = _bertopic(documents, together, vocabulary, n_topics=n_topics, seed=seed)

            def matched(temperature: float) -> float:
                sides = (theta(side["validation"], temperature) for side in (text, image))
                return mean_reciprocal(*sides, validation_ids)

            settings["temperature"] = max(TEMPERATURES, key=matched)
            topics = functools.partial(theta, temperature=settings["temperature"])
        else:
            topics, topic_word = _turftopic(
                documents, together, text, image, vocabulary, embed_words, n_topics=n_topics, seed=seed
            )
        sides = [{part: topics(side[part]) for part in PARTS} for side in (text, image)]
    words = top_words(topic_word, vocabulary, TOP_WORDS)
    seconds = time.perf_counter() - started
    return Fitted(*sides, topic_word, words, seconds, settings=settings, converged=converged())


def _bertopic(
    documents: list[str], together: np.ndarray, vocabulary: Sequence[str], *, n_topics: int, seed: int
) -> tuple[Callable[[np.ndarray, float], np.ndarray], np.ndarray]:
    """UMAP, k-means for a given K (HDBSCAN, its default, chooses K and leaves half of the documents without a topic).

    k-means gives a document one topic. For a distribution over them, as BERTopic does for models that it loads from a
    file, documents are compared with the topics' embeddings by cosine; softmax makes that a distribution.
    """
    from bertopic import BERTopic
    from scipy.special import softmax
    from sklearn.cluster import KMeans
    from sklearn.metrics.pairwise import cosine_similarity
    from umap import UMAP

    n_neighbours = min(15, len(documents) - 1)
    model = BERTopic(
        # "english" would strip letters with accents from the texts.
        language="multilingual",
        embedding_model=None,
        umap_model=UMAP(
            n_neighbors=n_neighbours,
            n_components=5,
            min_dist=0.0,
            metric="cosine",
            random_state=seed,
            n_jobs=1,
        ),
        hdbscan_model=KMeans(n_topics, n_init=4, random_state=seed),
        vectorizer_model=_vectorizer(vocabulary),
    )
    model.fit(documents, embeddings=together)
    centres = np.asarray(model.topic_embeddings_)

    def theta(x: np.ndarray, temperature: float) -> np.ndarray:
        return softmax(cosine_similarity(x, centres) / temperature, axis=1)

    return theta, np.asarray(model.c_tf_idf_.todense())


def _turftopic(
    documents: list[str],
    together: np.ndarray,
    text: Mapping[str, np.ndarray],
    image: Mapping[str, np.ndarray],
    vocabulary: Sequence[str],
    embed_words: Callable[[Sequence[str]], np.ndarray],
    *,
    n_topics: int,
    seed: int,
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Semantic signal separation: independent components, along which words and documents lie, with either sign."""
    from turftopic import SemanticSignalSeparation

    class Encoder:
        def encode(self, words: Sequence[str]) -> np.ndarray:
            return _unit(embed_words(list(words)))

    model = SemanticSignalSeparation(
        n_topics, encoder=Encoder(), vectorizer=_vectorizer(vocabulary), random_state=seed
    )
    model.fit_transform_multimodal(
        documents,
        images=[None] * len(documents),
        embeddings={
            "text_embeddings": text["train"],
            "image_embeddings": image["train"],
            "document_embeddings": together,
        },
    )
    return lambda x: model.transform(None, embeddings=x), np.asarray(model.components_)


def _vectorizer(vocabulary: Sequence[str]) -> CountVectorizer:
    """Of documents whose words are separated by blanks; a word's column is its place in the vocabulary."""
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(vocabulary=list(vocabulary), token_pattern=r"\S+", lowercase=False)


def _unit(x: np.ndarray) -> np.ndarray:
    from sklearn.preprocessing import normalize

    return normalize(np.asarray(x, dtype=np.float32))


@contextmanager
def _quiet() -> Iterator[Callable[[], bool]]:
    """Keep what the packages print and warn of out of a notebook; yields whether all fits converged."""
    from IPython.utils.capture import capture_output

    with capture_output(), convergence() as converged:
        yield converged
