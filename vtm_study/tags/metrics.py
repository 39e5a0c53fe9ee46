"""Figures of tags, from arrays alone: how topics fit gold categories, and which keywords a text confirms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vtm.errors import DataError
from vtm_study.measures import convergence

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin


def partition_figures(assignment: np.ndarray, groups: Sequence[str]) -> dict[str, np.ndarray]:
    """NMI and purity of a partition, whole and without each document in turn.

    Parameters
    ----------
    assignment : (n,) int, each document's cluster.
    groups : gold categories, n long.

    Returns
    -------
    "nmi", "purity" -> (1 + n,)
        First of all documents (as `vtm.metrics.topics`), then without document 0, 1, ...: see `jackknife_interval`.

    Raises
    ------
    DataError
        Lengths that do not fit, fewer than two documents.
    """
    if len(assignment) != len(groups) or len(groups) < 2:
        raise DataError(f"{len(assignment)} documents with a cluster and {len(groups)} with a category")
    clusters = np.unique(np.asarray(assignment), return_inverse=True)[1]
    labels = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    table = np.zeros((clusters.max() + 1, labels.max() + 1))
    np.add.at(table, (clusters, labels), 1)
    # A document's absence changes its own cell only, so that one table for each cell that is not empty will do.
    cells = np.argwhere(table > 0)
    tables = np.repeat(table[None], len(cells) + 1, axis=0)
    tables[np.arange(1, len(tables)), cells[:, 0], cells[:, 1]] -= 1
    number = np.zeros(table.shape, dtype=np.int64)
    number[cells[:, 0], cells[:, 1]] = np.arange(1, len(tables))
    order = np.concatenate([[0], number[clusters, labels]])
    total = tables.sum(axis=(1, 2))
    by_cluster, by_label = _entropy(tables.sum(axis=2)), _entropy(tables.sum(axis=1))
    mean = (by_cluster + by_label) / 2
    information = by_cluster + by_label - _entropy(tables.reshape(len(tables), -1))
    # One cluster and one category agree entirely; scikit-learn calls that 1.
    nmi = np.where(mean > 0, information / np.where(mean > 0, mean, 1.0), 1.0)
    return {"nmi": nmi[order], "purity": (tables.max(axis=2).sum(axis=1) / total)[order]}


def _entropy(counts: np.ndarray) -> np.ndarray:
    """In nats, of rows of counts (m, cells)."""
    p = counts / counts.sum(axis=1, keepdims=True)
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)


def jackknife_interval(values: np.ndarray, *, z: float = 1.96) -> tuple[float, float]:
    """Interval of a figure that is no mean over documents (Efron and Tibshirani 1993, ch. 11).

    A bootstrap draws documents twice, and NMI and purity rise by that alone; leaving one out does not bend them.

    Parameters
    ----------
    values : (1 + n,) or (S, 1 + n)
        The figure of all documents, then without each; a row for each seed, whose mean is the figure.
    z : standard errors to each side; 1.96 covers 95 %.

    Returns
    -------
    (low, high) : floats, cut at 0 and 1, between which both figures lie.
    """
    means = np.atleast_2d(values).mean(axis=0)
    whole, without = means[0], means[1:]
    n = len(without)
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    return float(max(0.0, whole - z * error)), float(min(1.0, whole + z * error))


def best_words(scores: np.ndarray, top: int, *, frequency: np.ndarray) -> np.ndarray:
    """Columns of each document's `top` highest scores, best first.

    Parameters
    ----------
    scores : (n, V)
    frequency : (V,)
        Of equal scores the more frequent word comes first, then the earlier one.

    Returns
    -------
    (n, min(top, V)) int64
    """
    columns = np.argsort(-np.asarray(frequency), kind="stable")
    order = np.argsort(-scores[:, columns], axis=1, kind="stable")[:, :top]
    return columns[order]


def words_of_topics(theta: np.ndarray, scores: np.ndarray, top: int, *, largest: int = 3) -> np.ndarray:
    """Keywords of each document's largest topics: the first word of each, then the second of each, none twice.

    Parameters
    ----------
    theta : (n, K)
    scores : (K, V) of each word in each topic.
    top : at most V.
    largest : topics of a document that are read.

    Returns
    -------
    (n, top) int64, columns of the vocabulary
    """
    ranked = np.argsort(-scores, axis=1, kind="stable")
    topics = np.argsort(-theta, axis=1, kind="stable")[:, :largest]
    lines = [list(dict.fromkeys(ranked[row].T.ravel().tolist()))[:top] for row in topics]
    return np.array(lines, dtype=np.int64)


def hit_rate(keywords: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Share of each document's keywords that its own text contains.

    Parameters
    ----------
    keywords : (n, top) columns of the vocabulary.
    present : (n, V) bool, whether the text holds the word.

    Returns
    -------
    (n,) float64
    """
    return np.take_along_axis(np.asarray(present, dtype=np.float64), keywords, axis=1).mean(axis=1)


def names_category(texts: Sequence[str], groups: Sequence[str]) -> np.ndarray:
    """Whether each text holds a word of its category's name: (n,) bool.

    Words of three letters and less ("and") do not count; a final s makes no difference.
    """

    def words(text: str) -> set[str]:
        return {word.rstrip("s") for word in re.findall(r"[^\W\d_]{4,}", text.lower())}

    return np.array([bool(words(t) & words(g)) for t, g in zip(texts, groups, strict=True)], dtype=bool)


def neighbour_words(
    queries: np.ndarray, items: np.ndarray, present: np.ndarray, neighbours: Sequence[int]
) -> dict[int, np.ndarray]:
    """Score of each word for a query: the summed cosine of its nearest items whose text holds the word.

    Parameters
    ----------
    queries, items : (n, D), (m, D)
    present : (m, V) bool, the words of the items' texts.
    neighbours : numbers of items to look at.

    Returns
    -------
    number -> (n, V) float64
    """
    from sklearn.metrics.pairwise import cosine_similarity

    cosine = cosine_similarity(queries, items)
    nearest = np.argsort(-cosine, axis=1, kind="stable")
    words = np.asarray(present, dtype=np.float64)
    scores = {}
    for k in neighbours:
        weights = np.zeros_like(cosine)
        np.put_along_axis(weights, nearest[:, :k], np.take_along_axis(cosine, nearest[:, :k], axis=1), axis=1)
        scores[k] = weights @ words
    return scores


# Inverse weights of the linear probe's penalty, and numbers of neighbours; one of each is chosen on validation.
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
NEIGHBOURS = (1, 3, 5, 10, 20, 30, 50)


@dataclass(frozen=True)
class Probe:
    """What a classifier tells of the test part.

    Attributes
    ----------
    setting : the penalty or number of neighbours with the best accuracy on the validation part.
    validation : that accuracy.
    correct : (n,) 1 for each test document whose category was told, else 0.
    converged : whether every fit came to its end.
    """

    setting: float
    validation: float
    correct: np.ndarray
    converged: bool


def linear_probe(
    features: Mapping[str, np.ndarray],
    groups: Mapping[str, Sequence[str]],
    *,
    penalties: Sequence[float] = PENALTIES,
) -> Probe:
    """Multinomial logistic regression on features of mean 0 and variance 1 over the training part.

    Parameters
    ----------
    features : "train", "validation", "test" -> (n, D)
    groups : the same parts -> gold categories, n long. A test category that training lacks is never told.
    penalties : inverse weights of the L2 penalty; at equal validation accuracy the first is taken.

    Raises
    ------
    DataError
        Lengths that do not fit, a part without documents.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _check(features, groups)
    if len(set(groups["train"])) == 1:
        return _choose([(0.0, DummyClassifier())], features, groups)
    return _choose(
        (
            (c, make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000, tol=1e-3)))
            for c in penalties
        ),
        features,
        groups,
    )


def neighbour_probe(
    features: Mapping[str, np.ndarray],
    groups: Mapping[str, Sequence[str]],
    *,
    neighbours: Sequence[int] = NEIGHBOURS,
) -> Probe:
    """The category that most of the nearest training documents have, by cosine, each weighted by its nearness.

    Parameters and errors as `linear_probe`; `neighbours` beyond the number of training documents are passed over.
    """
    from sklearn.neighbors import KNeighborsClassifier

    _check(features, groups)
    sizes = [k for k in neighbours if k <= len(features["train"])]
    return _choose(
        ((float(k), KNeighborsClassifier(k, metric="cosine", weights="distance")) for k in sizes),
        features,
        groups,
    )


def _check(features: Mapping[str, np.ndarray], groups: Mapping[str, Sequence[str]]) -> None:
    for part in ("train", "validation", "test"):
        if len(features[part]) != len(groups[part]) or len(groups[part]) == 0:
            raise DataError(f"{part}: {len(features[part])} documents and {len(groups[part])} categories")


def _choose(
    classifiers: Iterable[tuple[float, ClassifierMixin]],
    features: Mapping[str, np.ndarray],
    groups: Mapping[str, Sequence[str]],
) -> Probe:
    """Fit each, keep the best on validation; only that one sees the test part."""
    y = {part: np.asarray(labels, dtype=str) for part, labels in groups.items()}
    with convergence() as converged:
        fitted = [
            (setting, classifier.fit(features["train"], y["train"])) for setting, classifier in classifiers
        ]
    accuracy = [found.score(features["validation"], y["validation"]) for _, found in fitted]
    best = int(np.argmax(accuracy))  # the first of equal ones
    setting, chosen = fitted[best]
    correct = (chosen.predict(features["test"]) == y["test"]).astype(np.float64)
    return Probe(setting, float(accuracy[best]), correct, converged())
