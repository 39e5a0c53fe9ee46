"""BERTopic and turftopic in their multimodal modes, where they are installed: `pip install bertopic turftopic`.

Both take the mean of a document's text and picture embedding, which needs one space for the two. Encoders such as CLIP
have one. For others a ridge map takes pictures into the space of texts, as it gives LDA and NMF their pictures' topics.
At inference both read the picture's embedding alone. No model is fetched: embeddings are handed over.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from vtm.errors import MissingError
from vtm.peers import PARTS, PeerTopics, fit_ridge, mrr

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import CountVectorizer

    from vtm.distill import Pairs

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
        lambda found: mrr(text["validation"], found, validation_ids),
    )
    return text, {part: _unit(ridge(pairs[part].image)) for part in PARTS}


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
) -> PeerTopics:
    """Fit BERTopic or turftopic on the training part.

    Parameters
    ----------
    name : "BERTopic" or "turftopic".
    text, image : part -> (n, D) of `shared_space`.
    tokens : words of each training text, all of `vocabulary`.
    embed_words : words to their embeddings (V, D) in the same space; turftopic asks for them.

    Raises
    ------
    MissingError
        The package is not installed.
    """
    if installed_version(name) is None:
        raise MissingError(f"{name} is not installed: {INSTALL}")
    started = time.perf_counter()
    documents = [" ".join(words) for words in tokens]
    together = ((text["train"] + image["train"]) / 2).astype(np.float32)
    with _quiet() as converged:
        if name == "BERTopic":
            found = _bertopic(
                documents, together, text, image, vocabulary, validation_ids, n_topics=n_topics, seed=seed
            )
        else:
            found = _turftopic(
                documents, together, text, image, vocabulary, embed_words, n_topics=n_topics, seed=seed
            )
    figures = {"converged": float(converged()), "seconds": time.perf_counter() - started}
    return PeerTopics(found.image, found.text, found.topic_word, found.figures | figures)


def _bertopic(
    documents: list[str],
    together: np.ndarray,
    text: Mapping[str, np.ndarray],
    image: Mapping[str, np.ndarray],
    vocabulary: Sequence[str],
    validation_ids: Sequence[str],
    *,
    n_topics: int,
    seed: int,
) -> PeerTopics:
    """UMAP, k-means for a given K (HDBSCAN, its default, chooses K and leaves half of the documents without a topic).

    k-means gives a document one topic. For a distribution over them, as BERTopic does for models that it loads from a
    file, documents are compared with the topics' embeddings by cosine; softmax makes that a distribution.
    """
    from bertopic import BERTopic
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
        from scipy.special import softmax

        return softmax(cosine_similarity(x, centres) / temperature, axis=1)

    best = max(
        TEMPERATURES,
        key=lambda t: mrr(theta(text["validation"], t), theta(image["validation"], t), validation_ids),
    )
    return PeerTopics(
        image={part: theta(image[part], best) for part in PARTS},
        text=theta(text["validation"], best),
        topic_word=np.asarray(model.c_tf_idf_.todense()),
        figures={"temperature": best},
    )


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
) -> PeerTopics:
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

    def topics(x: np.ndarray) -> np.ndarray:
        return model.transform(None, embeddings=x)

    return PeerTopics(
        image={part: topics(image[part]) for part in PARTS},
        text=topics(text["validation"]),
        topic_word=np.asarray(model.components_),
        figures={},
    )


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
    from sklearn.exceptions import ConvergenceWarning

    with capture_output(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        yield lambda: not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
