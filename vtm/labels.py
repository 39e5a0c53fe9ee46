"""Which words stand for a topic: by probability, by relevance, or by class-based TF-IDF. Arrays and words only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vtm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ORDERS = ("relevance", "probability", "ctfidf")
# Readers named topics best from words in the order of this weight (Sievert and Shirley 2014, section 4).
RELEVANCE_WEIGHT = 0.6


def relevance(
    topic_word: np.ndarray, topic_share: np.ndarray, *, weight: float = RELEVANCE_WEIGHT
) -> np.ndarray:
    """Relevance of each word to each topic (Sievert and Shirley 2014, eq. 1), by which pyLDAvis orders words.

    ``weight * log p(w | k) + (1 - weight) * log(p(w | k) / p(w))``. A weight of 1 orders words by their probability
    in the topic, 0 by their lift, which brings forward what is rare elsewhere.

    p(w) is the model's own, the mean of p(w | k) over the topics' shares. pyLDAvis takes the share of w in the
    texts, which is the same for LDA. The topics of prodLDA do not follow the frequency of words; against the texts'
    shares, their rarest words would come first.

    Parameters
    ----------
    topic_word : (K, V)
        p(w | k); rows sum to 1.
    topic_share : (K,)
        p(k); sums to 1.
    weight
        The paper's lambda, from 0 to 1.

    Returns
    -------
    (K, V) float64

    Raises
    ------
    ConfigError, DataError
        A weight outside 0 to 1; shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from vtm.labels import relevance
    >>> topic_word = np.array([[0.6, 0.3, 0.1], [0.6, 0.1, 0.3]])
    >>> relevance(topic_word, np.array([0.5, 0.5]), weight=1).argmax(axis=1).tolist()
    [0, 0]
    >>> relevance(topic_word, np.array([0.5, 0.5]), weight=0.2).argmax(axis=1).tolist()
    [1, 2]
    """
    if not 0 <= weight <= 1:
        raise ConfigError(f"the weight of relevance (lambda) must lie between 0 and 1, not {weight}")
    words = np.asarray(topic_word, dtype=np.float64)
    shares = np.asarray(topic_share, dtype=np.float64)
    if words.ndim != 2 or shares.shape != (len(words),):
        raise DataError(f"topics of shape {words.shape} do not fit shares of shape {shares.shape}")
    tiny = np.finfo(np.float64).tiny  # a float32 softmax may round to 0
    in_topic = np.log(np.maximum(words, tiny))
    overall = np.log(np.maximum(shares @ words, tiny))
    return in_topic - (1 - weight) * overall


def topic_word_counts(theta: np.ndarray, counts: csr_matrix) -> np.ndarray:
    """How often each word stands in the documents of each topic: theta (n, K), counts (n, V) -> (K, V) float64.

    A document counts for each topic by its share of it: documents of several topics belong to none alone.
    """
    if len(theta) != counts.shape[0]:
        raise DataError(f"{len(theta)} topic distributions but {counts.shape[0]} bags of words")
    return np.asarray(counts.T.astype(np.float64) @ np.asarray(theta, dtype=np.float64)).T


def class_tfidf(topic_counts: np.ndarray) -> np.ndarray:
    """Class-based TF-IDF of each word in each topic (Grootendorst 2022, eq. 2), by which BERTopic orders words.

    ``tf(w, k) * log(1 + A / tf(w))``, with tf(w, k) the count of w in the documents of topic k, tf(w) its count in
    all of them, and A the mean number of words of a topic.

    Parameters
    ----------
    topic_counts : (K, V)
        See `topic_word_counts`; not negative.

    Returns
    -------
    (K, V) float64, 0 where a word does not occur

    Examples
    --------
    >>> import numpy as np
    >>> from vtm.labels import class_tfidf
    >>> class_tfidf(np.array([[4.0, 3.0, 0.0], [4.0, 0.0, 3.0]])).argmax(axis=1).tolist()
    [1, 2]
    """
    counts = np.asarray(topic_counts, dtype=np.float64)
    total = counts.sum(axis=0)  # (V,)
    mean_words = counts.sum() / len(counts)
    return counts * np.log1p(mean_words / np.where(total > 0, total, np.inf))


def top_words(scores: np.ndarray, vocabulary: Sequence[str], top: int) -> list[list[str]]:
    """The `top` words of the highest scores (K, V) in each topic, best first; ties in the vocabulary's order.

    Raises
    ------
    ConfigError
        `top` below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from vtm.labels import top_words
    >>> top_words(np.array([[0.1, 0.5, 0.4]]), ("boat", "sail", "sea"), 2)
    [['sail', 'sea']]
    """
    if top < 1:
        raise ConfigError(f"top must be at least 1 word, not {top}")
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [[vocabulary[column] for column in row] for row in order]
