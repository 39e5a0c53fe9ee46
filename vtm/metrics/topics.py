"""Topics from arrays and words alone: which words stand for one, how coherent they are, how theta is spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vtm.config import numpy_generator
from vtm.errors import ConfigError, DataError, counted

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix, sparray, spmatrix


ORDERS = ("relevance", "probability", "ctfidf")
Topics = Sequence[Sequence[str]]  # lists of words, best first
DOCUMENTS = 65_536  # multiplied at once
EPSILON = 1e-12  # gensim's, added to a pair's probability
# A column of theta whose spread is below this share of its mean is rounding of float32, not a topic that varies.
_CONSTANT = 1e-6
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
    >>> from vtm.metrics.topics import relevance
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
    found = np.zeros((counts.shape[1], theta.shape[1]))
    for start in range(0, len(theta), DOCUMENTS):
        rows = slice(start, start + DOCUMENTS)
        found += counts[rows].T.astype(np.float64) @ np.asarray(theta[rows], dtype=np.float64)
    return found.T


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
    >>> from vtm.metrics.topics import class_tfidf
    >>> class_tfidf(np.array([[4.0, 3.0, 0.0], [4.0, 0.0, 3.0]])).argmax(axis=1).tolist()
    [1, 2]
    """
    counts = np.asarray(topic_counts, dtype=np.float64)
    total = counts.sum(axis=0)  # (V,)
    mean_words = counts.sum() / len(counts)
    return counts * np.log1p(mean_words / np.where(total > 0, total, np.inf))


def top_words(
    scores: np.ndarray, vocabulary: Sequence[str], top: int, *, forms: np.ndarray | None = None
) -> list[list[str]]:
    """The `top` words of the highest scores (K, V) in each topic, best first; ties in the vocabulary's order.

    Parameters
    ----------
    forms : (V,), optional
        A number for each word; of words with the same number only the best is taken, so that a word and its plural do
        not stand side by side. Then a topic may have fewer words than `top`.

    Raises
    ------
    ConfigError
        `top` below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from vtm.metrics.topics import top_words
    >>> scores, words = np.array([[0.1, 0.4, 0.3, 0.2]]), ("boat", "sail", "sails", "sea")
    >>> top_words(scores, words, 2), top_words(scores, words, 2, forms=np.array([0, 1, 1, 2]))
    ([['sail', 'sails']], [['sail', 'sea']])
    """
    if top < 1:
        raise ConfigError(f"top must be at least 1 word, not {top}")
    order = np.argsort(-scores, axis=1, kind="stable")
    if forms is None:
        return [[vocabulary[column] for column in row] for row in order[:, :top]]
    found = []
    for row in order:
        _, first = np.unique(forms[row], return_index=True)
        found.append([vocabulary[column] for column in row[np.sort(first)[:top]]])
    return found


def lift(topic_word: np.ndarray, topic_share: np.ndarray) -> np.ndarray:
    """How many times as frequent a word is in a topic as overall: p(w | k) / p(w), (K, V) float64.

    p(w) is the mean of p(w | k) over the topics' shares. Arguments and errors as `relevance`.

    Examples
    --------
    >>> import numpy as np
    >>> from vtm.metrics.topics import lift
    >>> lift(np.array([[0.6, 0.4], [0.2, 0.8]]), np.array([0.5, 0.5])).round(2).tolist()
    [[1.5, 0.67], [0.5, 1.33]]
    """
    return np.exp(relevance(topic_word, topic_share, weight=0))


def topic_tree(vectors: np.ndarray) -> list[tuple[int, int, float]]:
    """Which topics are alike, as a tree: the two nearest are joined, until one is left.

    Agglomerative clustering by the mean cosine distance of all pairs of two groups (average linkage, by
    `scipy.cluster.hierarchy`). On Open Clip Art (VTM+, K = 60) the tree keeps the distances of the topics' anchors best
    with it: a cophenetic correlation of 0.83, against 0.77 by complete and 0.64 by Ward's linkage.

    Parameters
    ----------
    vectors : (K, d)
        A direction of each topic, K at least 2.

    Returns
    -------
    K - 1 joins (a, b, distance), the nearest first. Join i makes node K + i of the nodes a and b; nodes 0 to K - 1 are the
    topics. Distances lie between 0 and 2.

    Raises
    ------
    DataError
        Fewer than two vectors, one of length 0, NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> from vtm.metrics.topics import topic_tree
    >>> [(a, b, round(distance, 2)) for a, b, distance in topic_tree(np.array([[4, 0], [4, 3], [0, 4]]))]
    [(0, 1, 0.2), (2, 3, 0.7)]
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist

    x = np.asarray(vectors, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all() or not x.any(axis=1).all():
        raise DataError(
            f"vectors of shape {x.shape}: a finite direction of each of two topics or more is needed"
        )
    # Rounding makes less than 0 of the distance of a topic to its equal, which linkage refuses.
    joins = linkage(np.maximum(pdist(x, "cosine"), 0), "average")
    return [(int(a), int(b), float(distance)) for a, b, distance, _ in joins]


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
    places, share = _seen_together(topics, documents, vocabulary, top)
    alone = np.diagonal(share)
    expected = np.outer(alone, alone)
    present = expected > 0
    information = np.log((share + EPSILON) / np.where(present, expected, 1.0))
    pairs = np.where(present, information / -np.log(share + EPSILON), -1.0)
    upper = np.triu_indices(top, k=1)
    return np.array([pairs[np.ix_(at, at)][upper].mean() for at in places])


def never_together(
    topics: Topics,
    documents: sparray | spmatrix | np.ndarray,
    vocabulary: Sequence[str],
    *,
    top: int = 10,
) -> np.ndarray:
    """(K,) share of each topic's word pairs that no document holds together; arguments and errors as `npmi`.

    NPMI says little of such a pair: it tells how rare the two words are, not how far apart.
    """
    places, share = _seen_together(topics, documents, vocabulary, top)
    upper = np.triu_indices(top, k=1)
    return np.array([(share[np.ix_(at, at)][upper] == 0).mean() for at in places])


def coherence_figures(
    topics: Topics, documents: sparray | spmatrix | np.ndarray, vocabulary: Sequence[str]
) -> dict[str, float]:
    """Means over topics: "npmi_5" and "npmi_10", of five and of ten words, and "never_together" of ten.

    Arguments and errors as `npmi`, topics of at least ten words.

    Examples
    --------
    >>> import numpy as np
    >>> from vtm.metrics.topics import coherence_figures
    >>> words = [*"abcdefghij"]
    >>> coherence_figures([words], np.eye(10), words)["never_together"]
    1.0
    """
    return {
        "npmi_5": float(npmi(topics, documents, vocabulary, top=5).mean()),
        "npmi_10": float(npmi(topics, documents, vocabulary, top=10).mean()),
        "never_together": float(never_together(topics, documents, vocabulary, top=10).mean()),
    }


def _seen_together(
    topics: Topics, documents: sparray | spmatrix | np.ndarray, vocabulary: Sequence[str], top: int
) -> tuple[list[list[int]], np.ndarray]:
    """Places of each topic's words in the (used, used) shares of documents that hold two words, which come with it.

    The diagonal holds the single words' shares.
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
    column = {position: i for i, position in enumerate(used)}
    return [[column[place[word]] for word in head] for head in heads], together / documents.shape[0]


def word_intrusion(
    topics: Topics,
    vectors: np.ndarray,
    vocabulary: Sequence[str],
    *,
    scores: np.ndarray | None = None,
    top: int = 5,
    draws: int = 20,
    seed: int = 0,
) -> np.ndarray:
    """How often a word of another topic, put among a topic's own, is the one that does not belong.

    The test of Chang et al. (2009), taken by vectors of words in place of people (after Lau et al. 2014, who learned
    to take it from co-occurrences): of the topic's words and the intruder, the one with the least sum of cosines to
    the others is named. An equal sum counts against the topic. Chance finds one of ``top + 1``.

    An intruder is drawn from the words that are among the `top` of another topic and low in this one: not among
    its list, nor in the upper half of its `scores`.

    Parameters
    ----------
    topics : K lists of str, best first, K at least 2
        The longer the lists, the surer an intruder is no word of the topic.
    vectors : (V, D)
        An embedding of each word, such as the text encoder's; their mean is taken away first.
    vocabulary : sequence of str, V long
    scores : (K, V), optional
        What stands for a word in a topic, such as p(w | k).
    top
        Words of each topic beside the intruder, at least 2.
    draws
        Intruders of a topic, each another word; fewer where there are not so many.

    Returns
    -------
    (K,) float64
        Share of a topic's intruders that are found. A topic that has none, since it has the words of all others,
        gets 0. We say that a topic passes above one half: ``(found > 0.5).mean()`` is the share of those.

    Raises
    ------
    ConfigError, DataError
        Topics shorter than `top` or with a word twice, words not in the vocabulary, shapes that do not fit, vectors
        with NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> from vtm.metrics.topics import word_intrusion
    >>> words = ["boat", "sail", "sea", "moon", "star", "sky"]
    >>> vectors = np.array([[5, 0], [4, 1], [5, 1], [0, 5], [1, 4], [1, 5]])
    >>> word_intrusion([words[:3], words[3:]], vectors, words, top=3).tolist()
    [1.0, 1.0]
    """
    heads = _heads(topics, top, at_least=2)
    if len(heads) < 2:
        raise DataError("word intrusion takes intruders from other topics: at least two are needed")
    if draws < 1:
        raise ConfigError(f"draws must be at least 1, not {draws}")
    x = np.asarray(vectors, dtype=np.float64)
    if x.ndim != 2 or len(x) != len(vocabulary):
        raise DataError(f"vectors of shape {x.shape} do not fit a vocabulary of {len(vocabulary)} words")
    if not np.isfinite(x).all():
        raise DataError("vectors: NaN or infinity")
    if scores is not None and np.shape(scores) != (len(heads), len(vocabulary)):
        raise DataError(f"scores of shape {np.shape(scores)}: {(len(heads), len(vocabulary))} is needed")
    place = {word: column for column, word in enumerate(vocabulary)}
    _require_known(heads, place, "the vocabulary")
    x = x - x.mean(axis=0)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    found = np.zeros(len(heads))
    for topic, head in enumerate(heads):
        pool = {word for other in heads for word in other} - set(topics[topic])
        if scores is not None:
            middle = np.median(scores[topic])
            pool = {word for word in pool if scores[topic][place[word]] <= middle}
        if not pool:
            continue
        random = numpy_generator(seed, f"intruders of topic {topic}")
        intruders = random.choice(sorted(pool), size=min(draws, len(pool)), replace=False)
        own = x[[place[word] for word in head]]  # (top, D)
        within = own @ own.T
        beside = own @ x[[place[str(word)] for word in intruders]].T  # (top, draws)
        to_others = within.sum(axis=1) - np.diagonal(within)  # (top,)
        # Rounding must not tell equal sums apart.
        found[topic] = (beside.sum(axis=0) + 1e-9 < (to_others[:, None] + beside).min(axis=0)).mean()
    return found


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
            raise DataError(f"topic {number} has {counted(len(head), 'word')}, {top} are needed: lower top")
        if len(set(head)) < top:
            twice = next(word for word in head if head.count(word) > 1)
            raise DataError(f"topic {number} holds {twice!r} twice among its first {top} words")
    return heads


def _require_known(heads: list[list[str]], known: dict[str, int] | set[str], where: str) -> None:
    unknown = sorted({word for head in heads for word in head if word not in known})
    if unknown:
        raise DataError(f"{len(unknown)} topic words are not in {where}, the first is {unknown[0]!r}")


def top_mass(theta: np.ndarray, k: int) -> np.ndarray:
    """Probability that each document puts on its k largest topics.

    Parameters
    ----------
    theta : (n, K)
    k : int
        From 1 to K.

    Returns
    -------
    (n,) float64

    Raises
    ------
    ConfigError
        k outside 1 .. K.
    DataError
        Rows that are not distributions.
    """
    theta = _distributions(theta, "theta")
    if not 1 <= k <= theta.shape[1]:
        raise ConfigError(f"k must lie between 1 and the number of topics, {theta.shape[1]}, not {k}")
    return np.sort(theta, axis=1)[:, -k:].sum(axis=1)


def effective_topics(theta: np.ndarray) -> np.ndarray:
    """(n,) exp of each row's entropy: 1 for a document of one topic, K for one spread evenly over all.

    The Hill number of order 1 (Hill 1973).

    Raises
    ------
    DataError
        Rows that are not distributions.
    """
    return np.exp(_entropy(_distributions(theta, "theta")))


def theta_information(theta: np.ndarray) -> float:
    """Mutual information of document and topic, in nats: ``H(mean of theta) - mean of H(theta)``.

    0 when all documents look alike, however peaked they are: the sign of a collapsed model. At most
    ``log(min(n, K))``.

    Parameters
    ----------
    theta : (n, K)

    Raises
    ------
    DataError
        Rows that are not distributions.
    """
    theta = _distributions(theta, "theta")
    return float(max(0.0, _entropy(theta.mean(axis=0)) - _entropy(theta).mean()))


def purity(assignment: Sequence[int] | np.ndarray, groups: Sequence[str]) -> float:
    """Share of documents that are of their cluster's commonest gold category (Manning et al. 2008, ch. 16).

    It grows with the number of clusters by itself: compare only equal numbers, or read it beside `nmi`.

    Parameters
    ----------
    assignment : (n,)
        The cluster of each document, such as ``theta.argmax(axis=1)``.
    groups : sequence of str, n long

    Raises
    ------
    DataError
        Lengths that do not fit, no documents.
    """
    from sklearn.metrics.cluster import contingency_matrix

    _check_pairs(assignment, groups)
    return float(contingency_matrix(groups, assignment).max(axis=0).sum() / len(groups))


def nmi(assignment: Sequence[int] | np.ndarray, groups: Sequence[str]) -> float:
    """Normalised mutual information of clusters and gold categories, 0 to 1.

    scikit-learn's, normalised by the mean of the two entropies. Arguments and errors as `purity`.

    Raises
    ------
    DataError
        Lengths that do not fit, no documents.
    """
    from sklearn.metrics import normalized_mutual_info_score

    _check_pairs(assignment, groups)
    return float(normalized_mutual_info_score(groups, assignment))


def topic_agreement(theta_text: np.ndarray, theta_image: np.ndarray) -> np.ndarray:
    """Do a text topic and an image topic rise and fall over the same documents?

    Parameters
    ----------
    theta_text : (n, K)
    theta_image : (n, L)
        Row i of both belongs to the same document.

    Returns
    -------
    (K, L) float64
        Pearson correlation of text topic i and image topic j. 0 where either is constant, since
        correlation is not defined there; `constant_topics` names those.

    Raises
    ------
    DataError
        Different numbers of documents, fewer than two, rows that are not distributions.
    """
    text, image = _distributions(theta_text, "theta_text"), _distributions(theta_image, "theta_image")
    if len(text) != len(image):
        raise DataError(
            f"{counted(len(text), 'text')} and {counted(len(image), 'image')}: agreement needs the same documents"
        )
    if len(text) < 2:
        raise DataError("agreement of topics needs at least two documents")
    return np.clip(_standardised(text).T @ _standardised(image), -1.0, 1.0)


def constant_topics(theta: np.ndarray) -> np.ndarray:
    """Positions of the topics that have the same probability in every document.

    Raises
    ------
    DataError
        Rows that are not distributions.
    """
    theta = _distributions(theta, "theta")
    return np.flatnonzero(_is_constant(theta))


def diagonal_summary(agreement: np.ndarray) -> dict[str, float]:
    """How well topic i of the texts agrees with topic i of the images.

    Parameters
    ----------
    agreement : (K, K)
        See `topic_agreement`.

    Returns
    -------
    dict
        ``mean``, ``median``, ``min``, ``max`` of the diagonal; ``off_mean``, the mean off the diagonal (NaN
        for one topic); ``own_best``, the share of text topics that no other image topic matches as well (an
        equal one counts against it).

    Raises
    ------
    DataError
        Not a square matrix.
    """
    matrix = np.asarray(agreement, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise DataError(f"a square matrix is needed, not shape {matrix.shape}: match the topics first")
    own = np.diagonal(matrix)
    others = matrix[~np.eye(len(matrix), dtype=bool)].reshape(len(matrix), -1)
    return {
        "mean": float(own.mean()),
        "median": float(np.median(own)),
        "min": float(own.min()),
        "max": float(own.max()),
        "off_mean": float(others.mean()) if others.size else float("nan"),
        "own_best": float((own[:, None] > others).all(axis=1).mean()),
    }


def match_topics(agreement: np.ndarray) -> np.ndarray:
    """One image topic for each text topic, so that the sum of their agreement is greatest.

    For two independently trained models, whose topics come in no common order: the assignment problem
    (Kuhn 1955).
    ``theta_image[:, match_topics(agreement)]`` puts the image topics in the order of the text topics.

    Parameters
    ----------
    agreement : (K, L)
        L at least K; see `topic_agreement`.

    Returns
    -------
    (K,) int64
        Different image topics, one for each text topic.

    Raises
    ------
    DataError
        Fewer image topics than text topics, NaN or infinity.
    """
    from scipy.optimize import linear_sum_assignment

    matrix = np.asarray(agreement, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] > matrix.shape[1]:
        raise DataError(f"each text topic needs an image topic of its own, but the shape is {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise DataError("agreement: NaN or infinity; see topic_agreement")
    _, columns = linear_sum_assignment(matrix, maximize=True)
    return columns.astype(np.int64)


def _distributions(theta: np.ndarray, name: str) -> np.ndarray:
    x = np.asarray(theta, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise DataError(f"{name}: (documents, topics) is needed, not shape {x.shape}")
    total = x.sum(axis=1, keepdims=True)
    # Not "greater than": NaN fails every comparison, and must be found here.
    good = (x >= 0).all(axis=1) & (np.abs(total[:, 0] - 1) <= 1e-3)
    if not good.all():
        first = np.flatnonzero(~good)[0]
        bad = int((~good).sum())
        raise DataError(f"{name}: {bad} of {len(x)} rows are no distribution, the first is row {first}")
    return x / total


def _entropy(p: np.ndarray) -> np.ndarray:
    """In nats, over the last axis."""
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)


def _is_constant(theta: np.ndarray) -> np.ndarray:
    return theta.std(axis=0) <= _CONSTANT * theta.mean(axis=0)


def _standardised(theta: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and length 1; constant ones are 0."""
    centred = theta - theta.mean(axis=0)
    constant = _is_constant(theta)
    length = np.linalg.norm(centred, axis=0)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, length))


def _check_pairs(assignment: Sequence[int] | np.ndarray, groups: Sequence[str]) -> None:
    if len(assignment) != len(groups) or len(groups) == 0:
        raise DataError(
            f"{counted(len(assignment), 'document')} with a cluster and {len(groups)} with a category"
        )
