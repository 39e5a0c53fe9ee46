"""What a training takes: its device and its arrays, checked before any work is done."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vtm.config import ModelConfig
from vtm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from vtm.training import Posterior

# Rows that are looked at together where x may be a file that is larger than the memory.
BLOCK = 16384
# Squares of larger numbers, and their sums over documents, are beyond what float32 holds.
LARGEST = 1e12


def resolve_device(device: str) -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU.

    Raises
    ------
    ConfigError
        The device is unknown or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"device={device!r}: must be 'auto', 'cpu' or 'cuda'") from None
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={device!r}: no CUDA device is available; use device='cpu' or 'auto'")
    return resolved


def blocks(x: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of x some at a time: of a memory-mapped x no more than a block need be in memory."""
    for start in range(0, len(x), BLOCK):
        yield x[start : start + BLOCK]


def as_tensor(x: np.ndarray) -> Tensor:
    """x as a float32 tensor over the same memory where it is float32 already, so that a file stays mapped."""
    with warnings.catch_warnings():
        # A file that is mapped to be read only cannot be written through the tensor, and nobody tries.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


def input_scaling(x: np.ndarray, config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """shift and scale (D,) of the network's inputs, from the training embeddings (n, D).

    Mean and standard deviation of each dimension with `config.standardize`, else 0 and 1.
    """
    if config.standardize and len(x) <= BLOCK:
        return x.mean(axis=0), x.std(axis=0) + 1e-6
    if config.standardize:
        mean = sum(block.sum(axis=0, dtype=np.float64) for block in blocks(x)) / len(x)
        square = sum(((block - mean) ** 2).sum(axis=0) for block in blocks(x)) / len(x)
        return mean.astype(np.float32), (np.sqrt(square) + 1e-6).astype(np.float32)
    return np.zeros(x.shape[1], dtype=np.float32), np.ones(x.shape[1], dtype=np.float32)


def check_embeddings(x: np.ndarray, n_inputs: int | None = None) -> None:
    """Raise DataError unless x is (n, D), finite and within `LARGEST` (and D is `n_inputs`, where given)."""
    if x.ndim != 2:
        raise DataError(f"embeddings have shape {x.shape}; they must be (documents, dimensions)")
    if n_inputs is not None and x.shape[1] != n_inputs:
        raise DataError(
            f"embeddings have {x.shape[1]} dimensions, the model was trained on {n_inputs}: use the same encoder"
        )
    bad = (
        np.concatenate([~np.isfinite(block).all(axis=1) for block in blocks(x)])
        if len(x)
        else np.zeros(0, bool)
    )
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} of {len(x)} embeddings hold NaN or infinity, the first in row {int(bad.argmax())}; "
            "leave these rows out or compute them anew"
        )
    if any(float(np.abs(block).max(initial=0)) > LARGEST for block in blocks(x)):
        raise DataError(f"embeddings hold numbers beyond {LARGEST:g}; scale them, or compute them anew")


def check_documents(x: np.ndarray, counts: csr_matrix, n_topics: int) -> int:
    """The number of training documents.

    Raises
    ------
    ConfigError
        Fewer than 2 topics.
    DataError
        Embeddings and bags of words do not agree, are of fewer than 2 documents, or have no dimension or no word.
    """
    if n_topics < 2:
        raise ConfigError(f"n_topics={n_topics}: a model needs at least 2 topics")
    check_embeddings(x)
    if len(x) != counts.shape[0]:
        raise DataError(
            f"{len(x)} embeddings but {counts.shape[0]} bags of words: give one of each a document"
        )
    if len(x) < 2:
        raise DataError(f"{len(x)} training document(s): at least 2 are needed")
    if not (x.shape[1] and counts.shape[1]):
        raise DataError(
            f"embeddings of {x.shape[1]} dimensions and {counts.shape[1]} words: some of both are needed"
        )
    return len(x)


def check_lesson(target: Posterior | None, prior: Posterior | None, shape: tuple[int, int, int]) -> None:
    """Raise unless the teacher's posteriors have `shape` (R, n, K), or the prior (R, 1, K); at most one is given."""
    if target is not None and prior is not None:
        raise ConfigError("target and prior: a student learns from one of them, give the other as None")
    if target is not None and not target.mu.shape == target.log_var.shape == shape:
        raise DataError(
            f"the teacher's posteriors have shape {target.mu.shape}; the student's (seeds, documents, topics) "
            f"are {shape}"
        )
    if prior is not None and not prior.mu.shape == prior.log_var.shape == (shape[0], 1, shape[2]):
        raise DataError(f"the prior has shape {prior.mu.shape}; it must be {(shape[0], 1, shape[2])}")


def check_validation(x: np.ndarray, counts: csr_matrix, n_inputs: int, n_words: int) -> None:
    """Raise DataError unless validation has the training documents' dimensions and words."""
    check_embeddings(x, n_inputs)
    if counts.shape != (len(x), n_words):
        raise DataError(
            f"validation has {len(x)} embeddings and bags of words of shape {counts.shape}; they must be "
            f"{(len(x), n_words)}"
        )
