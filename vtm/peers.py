"""Topic models of others on the same texts: LDA and NMF, made to read pictures by one linear map.

Each is fitted to the training texts' bags of words. A ridge regression then maps a picture's embedding to the topics
of its text, which is the simplest thing that could give a picture topics.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.errors import ConfigError, DataError
from vtm.metrics import per_item
from vtm.ranking import target_ranks

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from vtm.distill import Pairs

PARTS = ("train", "validation", "test")
TEXT_PEERS = ("LDA", "NMF")
ALPHAS = (1.0, 10.0, 100.0, 1000.0, 10000.0)
# Of LDA's priors, 1/K each (scikit-learn's) and these, the latter match better on the validation part of openclipart.
LDA_PRIORS = dict(doc_topic_prior=0.1, topic_word_prior=0.01)
LDA_ITERATIONS = 20
NMF_ITERATIONS = 1000


@dataclass(frozen=True)
class PeerTopics:
    """A peer that was fitted.

    Attributes
    ----------
    image : part -> (n, K) topics of the pictures; larger is more. Rows sum to 1 unless the peer has signed topics.
    text : (n, K) topics of the validation texts.
    topic_word : (K, V) weights of the words.
    figures : "alpha" (of the ridge map), "converged" (1 or 0), "seconds".
    """

    image: dict[str, np.ndarray]
    text: np.ndarray
    topic_word: np.ndarray
    figures: dict[str, float]


@dataclass(frozen=True)
class RidgeMap:
    """A linear map from embeddings (n, D), with the penalty that did best on validation."""

    alpha: float
    model: Any

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(x)


def fit_ridge(
    x: np.ndarray,
    y: np.ndarray,
    x_validation: np.ndarray,
    score: Callable[[np.ndarray], float],
    *,
    alphas: Sequence[float] = ALPHAS,
) -> RidgeMap:
    """Ridge regression of y (n, K) on x (n, D), scaled to mean 0 and variance 1 by the training documents.

    Parameters
    ----------
    score : of the predictions for `x_validation`; the penalty with the largest is kept, at equal scores the first.
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    best: tuple[float, RidgeMap] | None = None
    for alpha in alphas:
        model = make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit(
            np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        )
        value = score(model.predict(np.asarray(x_validation, dtype=np.float64)))
        if best is None or value > best[0]:
            best = (value, RidgeMap(alpha, model))
    if best is None:
        raise ConfigError("alphas: at least one is needed")
    return best[1]


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
    from sklearn.exceptions import ConvergenceWarning
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
        raise ConfigError(f"peer {method!r}: must be one of {', '.join(TEXT_PEERS)}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(weights["train"])
        theta = {part: as_shares(model.transform(bags)) for part, bags in weights.items()}
    stopped = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return theta, as_shares(model.components_), not stopped


def text_peer(
    method: str, pairs: Mapping[str, Pairs], validation_ids: Sequence[str], *, n_topics: int, seed: int
) -> PeerTopics:
    """LDA or NMF of the training texts, and pictures' topics by a ridge map with the best validation MRR@100.

    Parameters
    ----------
    pairs : "train", "validation", "test" -> text and image embeddings and counts; texts of the test part are not read.
    """
    started = time.perf_counter()
    counts = {part: pairs[part].counts for part in ("train", "validation")}
    theta, topic_word, converged = fit_text_topics(method, counts, n_topics=n_topics, seed=seed)
    ridge = fit_ridge(
        pairs["train"].image,
        theta["train"],
        pairs["validation"].image,
        lambda found: mrr(theta["validation"], as_shares(found), validation_ids),
    )
    return PeerTopics(
        image={part: as_shares(ridge(pairs[part].image)) for part in PARTS},
        text=theta["validation"],
        topic_word=topic_word,
        figures={
            "alpha": ridge.alpha,
            "converged": float(converged),
            "seconds": time.perf_counter() - started,
        },
    )


def reciprocal_ranks(text: np.ndarray, image: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """What each text adds to MRR@100, when pictures of the same ids are ranked by cosine (`vtm.ranking`): (n,)."""
    return per_item(target_ranks(text, image, ids, ids).ranks)["mrr_100"]


def mrr(text: np.ndarray, image: np.ndarray, ids: Sequence[str]) -> float:
    """MRR@100, the mean of `reciprocal_ranks`."""
    return float(reciprocal_ranks(text, image, ids).mean())


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
