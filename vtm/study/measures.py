"""What the study measures, from arrays: ranks of fused similarities, keyword hits, similarities of Gaussians."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vtm.errors import DataError
from vtm.metrics import per_item, seed_summary
from vtm.ranking import NOT_FOUND, target_ranks
from vtm.study.space import unit

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def items(
    text: np.ndarray, image: np.ndarray, ids: Sequence[str], *, measure: str, n_missing: int = 0
) -> dict[str, np.ndarray]:
    """What each text adds to each retrieval figure (`vtm.metrics.per_item`), (n + n_missing,) each.

    n_missing : texts whose picture is lost; they count as not found, and come last.
    """
    ranks = target_ranks(text, image, ids, ids, measure=measure).ranks
    return per_item(np.concatenate([ranks, np.full(n_missing, NOT_FOUND, dtype=ranks.dtype)]))


def reciprocal(
    text: np.ndarray, image: np.ndarray, ids: Sequence[str], *, measure: str, n_missing: int = 0
) -> np.ndarray:
    """1/rank of each text's own picture, 0 past the hundredth or without one: as `items`. Its mean is MRR@100."""
    return items(text, image, ids, measure=measure, n_missing=n_missing)["mrr_100"]


def fused(embedding: np.ndarray, other: np.ndarray, *, weight: float) -> np.ndarray:
    """Vectors whose inner product is cosine(embeddings) + weight * the inner product of the others.

    embedding (n, d), other (n, K) -> (n, d + K); rank with measure "dot". For topics `other` is sqrt(theta), whose
    inner product is the Bhattacharyya coefficient.
    """
    return np.concatenate([unit(np.asarray(embedding, dtype=np.float64)), weight**0.5 * other], axis=1)


def keyword_hits(words: np.ndarray, counts: csr_matrix, *, top: int = 10) -> np.ndarray:
    """Share of each document's `top` likeliest words that its own text contains, (n,).

    Parameters
    ----------
    words : (n, V) each picture's distribution over words, theta @ beta; of equal words the first ones count.
    counts : (n, V) bags of words of the pictures' own texts, which the model has not seen.
    """
    if words.shape != counts.shape:
        raise DataError(f"words of shape {words.shape} for texts of shape {counts.shape}")
    best = np.argsort(-words, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(np.asarray(counts.todense()) > 0, best, axis=1).mean(axis=1)


def distinct_words(theta: np.ndarray, topics: Sequence[Sequence[str]], *, kept: int = 10) -> np.ndarray:
    """Number of different words in the lists of each document's `kept` largest topics, ten words a list: (n,).

    theta : (n, K); topics : K lists of words, best first.
    """
    largest = np.argsort(-theta, axis=1, kind="stable")[:, :kept]
    lists = [set(topic[:10]) for topic in topics]
    return np.array([len(set().union(*(lists[k] for k in row))) for row in largest])


def reciprocal_of(similarity: np.ndarray) -> np.ndarray:
    """1/rank of each row's own column (on the diagonal), 0 past the hundredth; equal ones rank before it: (n,)."""
    own = np.diagonal(similarity)[:, None]
    tolerance = 1e-9 * np.maximum(1, np.abs(own))
    return per_item((similarity >= own - tolerance).sum(axis=1))["mrr_100"]


def minus_gaussian_kl(
    mu: np.ndarray, log_var: np.ndarray, other_mu: np.ndarray, other_log_var: np.ndarray
) -> np.ndarray:
    """Minus the symmetric KL divergence of diagonal Gaussians, each with each: (n, K), (m, K) -> (n, m), nats."""

    def divergence(m: np.ndarray, lv: np.ndarray, om: np.ndarray, olv: np.ndarray) -> np.ndarray:
        inverse = np.exp(-olv)
        terms = (np.exp(lv) + m**2) @ inverse.T - 2 * m @ (om * inverse).T
        constant = (om**2 * inverse + olv).sum(axis=1)[None] - lv.sum(axis=1)[:, None] - m.shape[1]
        return 0.5 * (terms + constant)

    first = [np.asarray(a, dtype=np.float64) for a in (mu, log_var)]
    second = [np.asarray(a, dtype=np.float64) for a in (other_mu, other_log_var)]
    return -(divergence(*first, *second) + divergence(*second, *first).T)


def minus_bhattacharyya(
    mu: np.ndarray, log_var: np.ndarray, other_mu: np.ndarray, other_log_var: np.ndarray
) -> np.ndarray:
    """Minus the Bhattacharyya distance of diagonal Gaussians (Kailath 1967), each with each: (n, m)."""
    result = np.empty((len(mu), len(other_mu)))
    for row, (m, lv) in enumerate(zip(np.float64(mu), np.float64(log_var), strict=True)):
        mean_var = (np.exp(lv) + np.exp(np.float64(other_log_var))) / 2
        distance = (m - other_mu) ** 2 / (8 * mean_var) + 0.5 * np.log(mean_var) - 0.25 * (lv + other_log_var)
        result[row] = -distance.sum(axis=1)
    return result


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """`vtm.metrics.seed_summary` for a JSON file: the sd of one seed is None, as JSON knows no NaN."""
    found = seed_summary(values)
    return {**found, "sd": found["sd"] if found["n"] > 1 else None}
