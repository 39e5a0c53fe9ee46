"""Figures of document-topic distributions theta (n, K): how peaked they are, what they say of the
documents, how they fit gold categories, and whether texts and images agree on a topic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vtm.errors import ConfigError, DataError

# A column whose spread is below this share of its mean is rounding of float32, not a topic that varies.
_CONSTANT = 1e-6


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
    clusters, labels = _labels(assignment, groups)
    table = np.zeros((clusters.max() + 1, labels.max() + 1))
    np.add.at(table, (clusters, labels), 1)
    return float(table.max(axis=1).sum() / len(labels))


def nmi(assignment: Sequence[int] | np.ndarray, groups: Sequence[str]) -> float:
    """Normalised mutual information of clusters and gold categories, 0 to 1.

    scikit-learn's, normalised by the mean of the two entropies. Arguments and errors as `purity`.

    Raises
    ------
    DataError
        Lengths that do not fit, no documents.
    """
    from sklearn.metrics import normalized_mutual_info_score

    clusters, labels = _labels(assignment, groups)
    return float(normalized_mutual_info_score(labels, clusters))


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
        raise DataError(f"{len(text)} texts and {len(image)} images: agreement needs the same documents")
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


def _labels(assignment: Sequence[int] | np.ndarray, groups: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    if len(assignment) != len(groups) or len(groups) == 0:
        raise DataError(f"{len(assignment)} documents with a cluster and {len(groups)} with a category")
    _, clusters = np.unique(np.asarray(assignment), return_inverse=True)
    _, labels = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return clusters, labels
