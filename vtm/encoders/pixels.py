"""Encoders without weights, for the drawn corpus `scenes`, for tests and for smoke runs.

They are not good encoders. Pictures become colours and edge directions on a coarse grid, so that two pictures
are near when they have the same colours in the same places, not when they show the same thing. Texts become
hashed words and word pairs, so that two texts are near when they share words; synonyms are strangers. Not
aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.encoders import EncoderPair

if TYPE_CHECKING:
    from PIL import Image


GRID = 4
DIRECTIONS = 6
SHADES = 4  # per channel, so 64 colours


def load(*, device: str = "auto") -> EncoderPair:
    """The pair "pixels"; it runs on the CPU whatever `device` says."""
    return EncoderPair(name="pixels", text=HashedWords(), image=ColoursAndEdges(), aligned=False)


class ColoursAndEdges:
    """Colour histogram of the whole (64), mean colour (3) and edge directions (6) of 16 cells: 208 numbers.

    Each of the three parts has length 1 before they are joined, so that none outweighs the others.
    """

    key = "pixels-colours-edges/2/64"
    dim = SHADES**3 + GRID * GRID * (3 + DIRECTIONS)
    size = 64

    def preprocess(self, image: Image.Image) -> np.ndarray:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def encode(self, batch: np.ndarray) -> np.ndarray:
        embeddings = np.empty((len(batch), self.dim), dtype=np.float32)
        for row, picture in enumerate(np.asarray(batch, dtype=np.float64)):  # (3, H, W)
            # Square roots keep the white ground from outweighing what is drawn on it.
            colours = np.sqrt(_colour_histogram(picture))
            side = self.size // GRID
            cells = (1 - picture).reshape(3, GRID, side, GRID, side).mean(axis=(2, 4)).ravel()
            edges = np.sqrt(_edge_directions(picture.mean(axis=0)))
            parts = (colours, cells, edges)
            embeddings[row] = np.concatenate([part / max(np.linalg.norm(part), 1e-12) for part in parts])
        return embeddings


def _colour_histogram(picture: np.ndarray) -> np.ndarray:
    shades = np.minimum((picture * SHADES).astype(np.int64), SHADES - 1)
    colours = (shades[0] * SHADES + shades[1]) * SHADES + shades[2]
    return np.bincount(colours.ravel(), minlength=SHADES**3) / colours.size


def _edge_directions(grey: np.ndarray) -> np.ndarray:
    """Strength of the edges by direction (modulo a half turn) in each cell: (GRID * GRID * DIRECTIONS,)."""
    down, right = np.gradient(grey)
    strength = np.hypot(down, right)
    turn = np.arctan2(down, right) % np.pi / np.pi  # [0, 1]
    direction = np.minimum((turn * DIRECTIONS).astype(np.int64), DIRECTIONS - 1)
    place = np.arange(len(grey)) * GRID // len(grey)
    cell = place[:, None] * GRID + place[None, :]
    bins = cell * DIRECTIONS + direction
    return np.bincount(bins.ravel(), weights=strength.ravel(), minlength=GRID * GRID * DIRECTIONS)


class HashedWords:
    """Hashed words and pairs of words, projected at random (seeded) to 256 numbers, scaled to length 1."""

    key = "pixels-hashed-words/1"
    dim = 256

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        from sklearn.preprocessing import normalize

        counts = self._words.transform(texts)  # (b, 2**14), sparse
        return normalize(np.asarray((counts @ self._projection).todense())).astype(np.float32)

    @cached_property
    def _words(self) -> Any:
        from sklearn.feature_extraction.text import HashingVectorizer

        words = r"(?u)\b\w+\b"
        return HashingVectorizer(n_features=2**14, ngram_range=(1, 2), token_pattern=words, norm=None)

    @cached_property
    def _projection(self) -> Any:
        from sklearn.random_projection import SparseRandomProjection

        projection = SparseRandomProjection(self.dim, density=1 / 16, random_state=0)
        return projection.fit(np.zeros((1, 2**14))).components_.T.tocsr()
