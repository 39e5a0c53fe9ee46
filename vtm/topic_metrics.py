"""Figures of topic quality from the topics' words: coherence and diversity.

Topics are lists of words, best first. NPMI comes first and C_V second, and both name the documents they
were measured on: neither figure means anything without its reference corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vtm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from scipy.sparse import sparray, spmatrix

Topics = Sequence[Sequence[str]]
EPSILON = 1e-12  # gensim's, added to a pair's probability


def npmi(
    topics: Topics,
    documents: sparray | spmatrix | np.ndarray,
    vocabulary: Sequence[str],
    *,
    top: int = 10,
) -> np.ndarray:
    """Normalised pointwise mutual information of each topic's word pairs.

    For a pair, with the share of documents that hold a word (or both) as its probability, it is
    ``log((P(a, b) + eps) / (P(a) P(b))) / -log(P(a, b) + eps)`` with eps = 1e-12 (Bouma 2009; Lau et al.
    2014): what gensim's ``CoherenceModel(coherence="c_npmi")`` gives when its window is as long as the
    longest document. Hence, as there: a pair never seen together is not exactly -1 but
    ``-1 + log(P(a) P(b)) / log(eps)``, some -0.7 for words in 2% of the documents, and a pair seen in every
    document is -1. A word of the vocabulary that no document holds, where gensim divides by zero, makes
    its pairs -1.

    Parameters
    ----------
    topics : K lists of str
    documents : (n, V) counts, scipy sparse or dense
        The reference corpus.
    vocabulary : sequence of str, V long
    top : int
        Words taken from each topic, at least 2.

    Returns
    -------
    (K,) float64
        Mean over the topic's pairs.

    Raises
    ------
    ConfigError, DataError
        Topics shorter than `top` or with a word twice, words not in the vocabulary, shapes that do not fit.
    """
    heads = _heads(topics, top, at_least=2)
    if documents.ndim != 2 or documents.shape[1] != len(vocabulary) or documents.shape[0] == 0:
        shape = tuple(documents.shape)
        raise DataError(f"documents of shape {shape} do not fit a vocabulary of {len(vocabulary)} words")
    place = {word: column for column, word in enumerate(vocabulary)}
    _require_known(heads, place, "the vocabulary")
    used = sorted({place[word] for head in heads for word in head})
    seen = (documents[:, used] > 0).astype(np.float64)  # (n, used)
    together = seen.T @ seen
    together = together.toarray() if hasattr(together, "toarray") else np.asarray(together)
    share = together / documents.shape[0]  # (used, used); the diagonal holds the single words' shares
    alone = np.diagonal(share)
    expected = np.outer(alone, alone)
    present = expected > 0
    information = np.log((share + EPSILON) / np.where(present, expected, 1.0))
    pairs = np.where(present, information / -np.log(share + EPSILON), -1.0)

    column = {position: i for i, position in enumerate(used)}
    upper = np.triu_indices(top, k=1)
    scores = np.empty(len(heads))
    for topic, head in enumerate(heads):
        at = [column[place[word]] for word in head]
        scores[topic] = pairs[np.ix_(at, at)][upper].mean()
    return scores


def c_v(topics: Topics, texts: Sequence[Sequence[str]], *, top: int = 10) -> np.ndarray:
    """C_V coherence of each topic, as gensim computes it (Röder et al. 2015), windows of 110 words.

    Parameters
    ----------
    topics : K lists of str
    texts : n lists of str
        The tokenised reference corpus, in reading order.
    top : int
        Words taken from each topic, at least 2.

    Returns
    -------
    (K,) float64

    Raises
    ------
    ConfigError, DataError
        Topics shorter than `top` or with a word twice, words that no text holds.
    """
    heads = _heads(topics, top, at_least=2)
    _require_known(heads, {word for text in texts for word in text}, "the texts")

    from gensim.corpora import Dictionary
    from gensim.models import CoherenceModel

    texts = [list(text) for text in texts]
    model = CoherenceModel(
        topics=heads, texts=texts, dictionary=Dictionary(texts), coherence="c_v", topn=top, processes=1
    )
    return np.array(model.get_coherence_per_topic(), dtype=np.float64)


def topic_diversity(topics: Topics, *, top: int = 25) -> float:
    """Share of different words among the top words of all topics (Dieng et al. 2020).

    1 when no topic shares a word with another, 1/K when all are the same.

    Raises
    ------
    ConfigError, DataError
        No topics, topics shorter than `top` or with a word twice.
    """
    heads = _heads(topics, top)
    return len({word for head in heads for word in head}) / (top * len(heads))


def inverted_rbo(topics: Topics, *, top: int = 10, p: float = 0.9) -> float:
    """1 - mean rank-biased overlap of all pairs of topics (Bianchi et al. 2021; Webber et al. 2010).

    With X_d the number of words shared by the first d of two lists of `top` words, the overlap is
    Webber et al.'s extrapolated estimate, eq. 32: ``(1 - p) sum_d p^(d-1) X_d / d + p^top X_top / top``.

    Parameters
    ----------
    topics : K lists of str, K at least 2
    top : int
    p : float
        Between 0 and 1: the smaller, the more the first words weigh.

    Raises
    ------
    ConfigError, DataError
        p outside (0, 1), fewer than two topics, topics shorter than `top` or with a word twice.
    """
    if not 0 < p < 1:
        raise ConfigError(f"p must lie between 0 and 1, not {p}")
    heads = _heads(topics, top)
    if len(heads) < 2:
        raise DataError("inverted RBO compares topics: at least two are needed")
    overlap = np.zeros((len(heads), len(heads)))
    for depth in range(1, top + 1):
        agreement = _shared_words(heads, depth) / depth
        overlap += (1 - p) * p ** (depth - 1) * agreement
    overlap += p**top * agreement
    return float(1 - overlap[np.triu_indices(len(heads), k=1)].mean())


def topic_overlap(topics: Topics, *, top: int = 10) -> np.ndarray:
    """(K, K) share of top words that two topics have in common; 1 on the diagonal.

    Raises
    ------
    ConfigError, DataError
        No topics, topics shorter than `top` or with a word twice.
    """
    return _shared_words(_heads(topics, top), top) / top


def duplicated_topics(topics: Topics, *, top: int = 10, share: float = 0.8) -> int:
    """Number of topics that share at least `share` of their top words with another topic.

    Raises
    ------
    ConfigError, DataError
        A share outside (0, 1], no topics, topics shorter than `top` or with a word twice.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share must lie between 0 and 1, not {share}")
    overlap = topic_overlap(topics, top=top)
    np.fill_diagonal(overlap, 0.0)
    return int((overlap >= share - 1e-9).any(axis=1).sum())


def _shared_words(heads: list[list[str]], depth: int) -> np.ndarray:
    """(K, K) number of words that the first `depth` words of two topics share."""
    columns = {word: i for i, word in enumerate(sorted({word for head in heads for word in head[:depth]}))}
    member = np.zeros((len(heads), len(columns)))
    for topic, head in enumerate(heads):
        member[topic, [columns[word] for word in head[:depth]]] = 1.0
    return member @ member.T


def _heads(topics: Topics, top: int, *, at_least: int = 1) -> list[list[str]]:
    """The first `top` words of each topic, checked."""
    if top < at_least:
        raise ConfigError(f"top must be at least {at_least}, not {top}")
    if len(topics) == 0:
        raise DataError("no topics: there is nothing to measure")
    heads = [list(topic[:top]) for topic in topics]
    for number, head in enumerate(heads):
        if len(head) < top:
            raise DataError(f"topic {number} has {len(head)} words, {top} are needed: lower top")
        if len(set(head)) < top:
            twice = next(word for word in head if head.count(word) > 1)
            raise DataError(f"topic {number} holds {twice!r} twice among its first {top} words")
    return heads


def _require_known(heads: list[list[str]], known: dict[str, int] | set[str], where: str) -> None:
    unknown = sorted({word for head in heads for word in head if word not in known})
    if unknown:
        raise DataError(f"{len(unknown)} topic words are not in {where}, the first is {unknown[0]!r}")
