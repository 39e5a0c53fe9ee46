"""How alike the pictures of a topic are, and how alike those of different topics (Gonzalez-Pizarro and Carenini 2024)."""

from __future__ import annotations

import numpy as np

from vtm.errors import ConfigError, DataError
from vtm.study.space import unit


def top_pictures(theta: np.ndarray, *, top: int = 10) -> np.ndarray:
    """Positions of each topic's `top` pictures, those with the most of it: theta (n, K) -> (K, top).

    Of pictures with as much of a topic, the first ones count.

    Raises
    ------
    ConfigError
        Fewer than 2 pictures a topic, or more than there are.
    """
    if not 2 <= top <= len(theta):
        raise ConfigError(f"top={top}: must lie between 2 and the number of pictures, {len(theta)}")
    return np.argsort(-theta, axis=0, kind="stable")[:top].T


def image_coherence(theta: np.ndarray, embeddings: np.ndarray, *, top: int = 10) -> np.ndarray:
    """Image embedding-based coherence (IEC) of each topic, (K,); larger is better.

    The mean cosine of the embeddings of all pairs of a topic's top pictures:
    ``IEC_k = 2 / (T (T - 1)) sum_{i < j} cos(x_i, x_j)`` over the T pictures with the largest theta_k.

    Parameters
    ----------
    theta : (n, K) topics of pictures.
    embeddings : (n, D) the same pictures' embeddings by an encoder.
    """
    x = _checked(theta, embeddings)
    sets = x[top_pictures(theta, top=top)]  # (K, T, D)
    total = (sets.sum(axis=1) ** 2).sum(
        axis=1
    )  # the sum over all ordered pairs, of a picture with itself too
    alone = (sets**2).sum(axis=(1, 2))
    return (total - alone) / (top * (top - 1))


def image_similarity(theta: np.ndarray, embeddings: np.ndarray, *, top: int = 10) -> float:
    """Image embedding-based pairwise similarity (IEPS) of the topics; smaller is better.

    The mean cosine between pictures of different topics:
    ``IEPS = mean_{k < l} 1 / T^2 sum_{i in k, j in l} cos(x_i, x_j)``, which is 1 when all topics have one picture.

    Parameters
    ----------
    theta, embeddings : as in `image_coherence`; at least 2 topics.
    """
    x = _checked(theta, embeddings)
    if theta.shape[1] < 2:
        raise DataError("IEPS compares topics: at least two are needed")
    means = x[top_pictures(theta, top=top)].mean(axis=1)  # (K, D)
    similarity = means @ means.T
    return float(similarity[np.triu_indices(len(means), k=1)].mean())


def mean_similarity(embeddings: np.ndarray) -> float:
    """Mean cosine of two different pictures, which is IEC and IEPS of sets drawn at random."""
    x = unit(np.asarray(embeddings, dtype=np.float64))
    n = len(x)
    return float(((x.sum(axis=0) ** 2).sum() - (x**2).sum()) / (n * (n - 1)))


def _checked(theta: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    if len(theta) != len(embeddings):
        raise DataError(f"topics of {len(theta)} pictures for {len(embeddings)} embeddings")
    return unit(np.asarray(embeddings, dtype=np.float64))
