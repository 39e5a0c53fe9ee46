"""How long a training takes beside the reference package's own `fit`, in one run, on documents drawn from topics."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vtm.bow import padded_words
from vtm.config import ModelConfig
from vtm.reference import copy_weights, fit_zeroshot
from vtm.seeds import numpy_generator
from vtm.training import held_out_reconstruction, train

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WORDS_A_TEXT = 10
N_HELD_OUT = 500


def synthetic(
    n: int, *, n_words: int, n_inputs: int, n_topics: int, seed: int = 0
) -> tuple[np.ndarray, csr_matrix]:
    """Documents with a known structure: sparse topics, embeddings linear in theta with noise.

    Returns
    -------
    x (n, D) float32, counts (n, V)
    """
    from scipy.sparse import csr_matrix

    rng = numpy_generator(seed, "synthetic documents")
    theta = rng.dirichlet(np.full(n_topics, 0.05), size=n)
    beta = rng.dirichlet(np.full(n_words, 0.02), size=n_topics)
    maps = rng.normal(size=(n_topics, n_inputs))
    x = theta @ maps + 0.05 * rng.normal(size=(n, n_inputs))
    chances = theta @ beta
    chances /= chances.sum(axis=1, keepdims=True)
    counts = csr_matrix(rng.multinomial(WORDS_A_TEXT, chances), dtype=np.float32)
    return x.astype(np.float32), counts


def bench_fit(
    *,
    n: int = 2202,
    n_words: int = 675,
    n_inputs: int = 384,
    n_topics: int = 60,
    epochs: int = 100,
    repeats: int = 3,
    seeds_at_once: int = 3,
    seed: int = 0,
) -> dict[str, Any]:
    """Time the reference package's `fit` and ours in turns; defaults are the paper's sizes.

    Both take time linear in the epochs (`doubled` shows it), so that fewer epochs give the same ratio.

    Parameters
    ----------
    repeats : pairs of fits; each pair gives one ratio.
    seeds_at_once : models that are trained side by side in a third fit of each round.

    Returns
    -------
    dict
        n, n_words, n_inputs, n_topics, epochs, threads : what was measured.
        reference_seconds, seconds, side_by_side_seconds : of one fit each, one value a round.
        ratio : {"median", "low", "high"} of reference_seconds / seconds.
        side_by_side_ratio : the same per model of those trained side by side.
        doubled : {"reference", "ours"}: how many times as long twice the epochs take.
        held_out : {"reference", "ours"}: loss of held-out documents, nats a document, after the last round.

    Raises
    ------
    MissingError
        The reference package is not installed.
    """
    x, counts = synthetic(n + N_HELD_OUT, n_words=n_words, n_inputs=n_inputs, n_topics=n_topics, seed=seed)
    vocabulary = [f"w{word}" for word in range(n_words)]
    settings = dict(n_topics=n_topics)

    def config(n_epochs: int) -> ModelConfig:
        return ModelConfig(epochs=n_epochs, kl_weight=1.0, standardize=False)

    def reference(n_epochs: int):
        fit = fit_zeroshot(x[:n], counts[:n], vocabulary, config=config(n_epochs), seed=seed, **settings)
        return copy_weights(fit, config=config(n_epochs))

    def ours(n_epochs: int, seeds: Sequence[int] = (seed,)):
        return train(x[:n], counts[:n], config=config(n_epochs), seeds=seeds, device="cpu", **settings)[0]

    many = range(seed, seed + seeds_at_once)
    for fit in (reference, ours):  # imports and first calls are not part of a fit
        fit(1)
    rounds = [
        (_timed(reference, epochs), _timed(ours, epochs), _timed(ours, epochs, many)) for _ in range(repeats)
    ]
    theirs, single, side_by_side = (
        [seconds for seconds, _ in column] for column in zip(*rounds, strict=True)
    )
    words, numbers = (torch.from_numpy(array) for array in padded_words(counts[n:]))
    held_out = {
        name: float(held_out_reconstruction(network, torch.from_numpy(x[n:]), words, numbers).mean())
        for name, (_, network) in zip(("reference", "ours"), rounds[-1], strict=False)
    }
    return {
        "n": n,
        "n_words": n_words,
        "n_inputs": n_inputs,
        "n_topics": n_topics,
        "epochs": epochs,
        "threads": torch.get_num_threads(),
        "reference_seconds": theirs,
        "seconds": single,
        "side_by_side_seconds": side_by_side,
        "ratio": _spread([a / b for a, b in zip(theirs, single, strict=True)]),
        "side_by_side_ratio": _spread(
            [seeds_at_once * a / b for a, b in zip(theirs, side_by_side, strict=True)]
        ),
        "doubled": {
            "reference": _timed(reference, 2 * epochs)[0] / statistics.median(theirs),
            "ours": _timed(ours, 2 * epochs)[0] / statistics.median(single),
        },
        "held_out": held_out,
    }


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}
