"""Places for the pictures on a map: those with alike topics lie together."""

from __future__ import annotations

import numpy as np

from vtm.errors import DataError
from vtm.seeds import stream

TSNE_UP_TO = 5000  # pictures; beyond, t-SNE takes minutes
PERPLEXITY = 30.0


def layout(theta: np.ndarray, seed: int) -> np.ndarray:
    """Positions in the unit square.

    t-SNE (van der Maaten and Hinton 2008) of the square roots of theta, whose Euclidean distance is the
    Hellinger distance of the distributions, started from their principal components. The principal
    components alone for fewer than 5 or more than 5,000 pictures, and where t-SNE has no neighbours to
    keep: fewer than 5 different pictures.

    Parameters
    ----------
    theta : (n, K)
        Not negative.
    seed : int

    Returns
    -------
    (n, 2) float64
        Each coordinate from 0 to 1; 0.5 for a coordinate in which all agree.

    Raises
    ------
    DataError
        No rows, NaN, negative values.
    """
    theta = np.asarray(theta, dtype=np.float64)
    if theta.ndim != 2 or 0 in theta.shape or not np.isfinite(theta).all() or (theta < 0).any():
        raise DataError(f"layout: needs rows of topic probabilities, not shape {theta.shape} or NaN")
    roots = np.sqrt(theta)
    n_different = len(np.unique(theta.round(6), axis=0))
    small = min(n_different, theta.shape[1]) < 5
    places = _components(roots) if small or len(theta) > TSNE_UP_TO else _tsne(roots, seed)
    low, high = places.min(axis=0), places.max(axis=0)
    span = high - low
    # What is left of a coordinate without spread is rounding.
    flat = span <= 1e-9 * max(1.0, float(np.abs(places).max()))
    return np.where(flat, 0.5, (places - low) / np.where(flat, 1.0, span))


def _components(roots: np.ndarray) -> np.ndarray:
    """(n, 2) first principal components, zeros where there are none; each one's largest entry is positive."""
    from sklearn.decomposition import PCA

    places = np.zeros((len(roots), 2))
    n_components = min(2, *roots.shape)
    if len(roots) > 1 and np.ptp(roots, axis=0).any():
        found = PCA(n_components, svd_solver="full").fit_transform(roots)
        places[:, :n_components] = found * np.sign(found[np.abs(found).argmax(axis=0), range(n_components)])
    return places


def _tsne(roots: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    return TSNE(
        perplexity=min(PERPLEXITY, (len(roots) - 1) / 3),
        init="pca",
        learning_rate="auto",
        random_state=stream(seed, "layout of the map") % 2**32,
    ).fit_transform(roots)
