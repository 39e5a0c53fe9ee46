"""Documents drawn from known topics, for tests: what a topic model should find again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from vtm.model.training import Pairs


@dataclass(frozen=True)
class Planted:
    text: np.ndarray  # (n, 16) embeddings, linear in theta, with noise
    image: np.ndarray  # (n, 12), another linear map
    counts: csr_matrix  # (n, V)
    theta: np.ndarray  # (n, K)
    beta: np.ndarray  # (K, V)
    vocabulary: tuple[str, ...]

    @property
    def pairs(self) -> Pairs:
        return Pairs(self.text, self.image, self.counts)


def planted(
    n: int = 200, *, n_topics: int = 4, n_words: int = 40, words_a_text: int = 25, seed: int = 0
) -> Planted:
    rng = np.random.default_rng(seed)
    theta = rng.dirichlet(np.full(n_topics, 0.1), size=n)
    beta = np.full((n_topics, n_words), 0.1 / n_words)
    for topic, block in enumerate(np.array_split(np.arange(n_words), n_topics)):
        beta[topic, block] += rng.dirichlet(np.full(len(block), 2.0)) * 0.9
    beta /= beta.sum(axis=1, keepdims=True)
    counts = np.array([rng.multinomial(words_a_text, row) for row in theta @ beta])

    def embed(width: int) -> np.ndarray:
        linear = theta @ rng.normal(size=(n_topics, width))
        return (linear + 0.05 * rng.normal(size=linear.shape)).astype(np.float32)

    vocabulary = tuple(f"w{i:03d}" for i in range(n_words))
    return Planted(embed(16), embed(12), csr_matrix(counts.astype(np.float32)), theta, beta, vocabulary)


def padded_words(counts: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Sparse counts as two rectangular arrays, so that a batch is one index operation.

    Returns
    -------
    words (n, L) int64, numbers (n, L) float32
        L is the largest number of different words in a text; shorter rows are filled with count 0.
    """
    n_words = np.diff(counts.indptr)  # (n,)
    width = max(int(n_words.max(initial=0)), 1)
    words = np.zeros((counts.shape[0], width), dtype=np.int64)
    numbers = np.zeros((counts.shape[0], width), dtype=np.float32)
    rows = np.repeat(np.arange(counts.shape[0]), n_words)
    columns = np.arange(counts.nnz) - np.repeat(counts.indptr[:-1], n_words)
    words[rows, columns] = counts.indices
    numbers[rows, columns] = counts.data
    return words, numbers
