"""A space that texts and pictures share, in closed form: canonical correlations with a ridge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtm.errors import ConfigError, DataError


@dataclass(frozen=True)
class SharedSpace:
    """Linear maps of both embeddings into one space.

    Parameters
    ----------
    means, scales : "text" and "image" -> (D,) of the training part.
    maps : "text" (D, d) and "image" (E, d).
    correlations : (d,) canonical correlations, falling; the maps are multiplied by them.
    """

    means: dict[str, np.ndarray]
    scales: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
    correlations: np.ndarray

    def embed(self, reads: str, x: np.ndarray) -> np.ndarray:
        """Embeddings of "text" or "image" (n, D) in the shared space: (n, d), of length 1."""
        if x.ndim != 2 or x.shape[1] != len(self.means[reads]):
            raise DataError(
                f"{reads} embeddings of shape {x.shape}: {len(self.means[reads])} columns are needed"
            )
        return unit((x - self.means[reads]) / self.scales[reads] @ self.maps[reads])


def fit_space(text: np.ndarray, image: np.ndarray, *, ridge: float) -> SharedSpace:
    """Regularised canonical correlation analysis (Vinod 1976) of standardised embeddings.

    With the covariances S, U diag(rho) V' = (S_tt + ridge)^(-1/2) S_ti (S_ii + ridge)^(-1/2), the maps are
    (S_tt + ridge)^(-1/2) U diag(rho) and (S_ii + ridge)^(-1/2) V diag(rho): directions weigh as much as they correlate.

    Parameters
    ----------
    text, image : (n, D), (n, E) embeddings of the training pairs, row by row.
    ridge : added to the variance of each standardised dimension; above 0.

    Raises
    ------
    ConfigError, DataError
        A ridge that is not above 0; different numbers of texts and images.
    """
    if not ridge > 0:
        raise ConfigError(f"ridge={ridge}: must be above 0")
    if len(text) != len(image) or len(text) < 2:
        raise DataError(f"{len(text)} texts and {len(image)} images: at least two pairs are needed")
    means, scales, centred, roots = {}, {}, {}, {}
    for reads, x in (("text", text), ("image", image)):
        x = np.asarray(x, dtype=np.float64)
        means[reads], scales[reads] = x.mean(axis=0), x.std(axis=0) + 1e-6
        centred[reads] = (x - means[reads]) / scales[reads]
        values, vectors = np.linalg.eigh(centred[reads].T @ centred[reads] / len(x))
        roots[reads] = vectors / np.sqrt(np.maximum(values, 0) + ridge) @ vectors.T
    cross = roots["text"] @ (centred["text"].T @ centred["image"] / len(text)) @ roots["image"]
    left, correlations, right = np.linalg.svd(cross, full_matrices=False)
    maps = {"text": roots["text"] @ left * correlations, "image": roots["image"] @ right.T * correlations}
    return SharedSpace(means, scales, maps, correlations)


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
