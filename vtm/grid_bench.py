"""How long all models of Table 1 take to train on one device, beside the reference package's `fit` on the same device."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import torch

from vtm.config import KINDS, ModelConfig
from vtm.distill import Pairs, Trained, train_pair
from vtm.errors import ConfigError
from vtm.inputs import resolve_device
from vtm.seeds import numpy_generator
from vtm.training_bench import (
    N_HELD_OUT,
    held_out_loss,
    reference_network,
    spread,
    synthetic,
    thread_counts,
    threads,
    timed,
)

MODELS_A_SEED = {"joint": 3, "text-teacher": 2}  # a teacher and its students


def check_device(device: str) -> None:
    """Whether the grid can be measured there.

    Raises
    ------
    ConfigError
        Neither "cpu" nor "cuda", or no CUDA device is there.
    """
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device={device!r}: the comparison runs on 'cpu' or 'cuda'")
    resolve_device(device)


def bench_grid(
    *,
    device: str,
    n: int = 2202,
    n_words: int = 675,
    n_inputs: int = 384,
    sizes: tuple[int, ...] = (60, 120),
    n_seeds: int = 5,
    epochs: int = 100,
    repeats: int = 3,
    seed: int = 0,
) -> dict[str, Any]:
    """Time both kinds of models at all sizes and seeds, trained as the book trains them: seeds side by side.

    The reference package cannot train students; each model of the grid counts as one `fit` of its size, which reads
    texts. On a CPU it counts with the faster of one thread and all of torch's. What a training sets up once (CUDA
    graphs) weighs more where epochs are few.

    Parameters
    ----------
    device : "cpu" or "cuda", for both.
    sizes : numbers of topics.
    repeats : rounds, each with one fit of the package for each size and the whole grid of ours.

    Returns
    -------
    dict
        device, n, n_words, n_inputs, sizes, n_seeds, epochs : what was measured; models : how many the grid has.
        fit_seconds : size -> seconds of the package's one fit, one value a round.
        reference_seconds : of as many fits as the grid has models, computed from those; seconds : of our grid.
        ratio : {"median", "low", "high"} of reference_seconds / seconds.
        held_out : size -> {"reference", "ours"}: held-out loss of a text teacher, nats a document, mean over seeds
        (of the package's: over rounds).

    Raises
    ------
    ConfigError
        See `check_device`.
    MissingError
        The reference package is not installed.
    """
    check_device(device)
    x, counts = synthetic(n + N_HELD_OUT, n_words=n_words, n_inputs=n_inputs, n_topics=min(sizes), seed=seed)
    random = numpy_generator(seed, "pictures of the drawn documents")
    turned = x @ random.normal(size=(n_inputs, n_inputs)) / n_inputs**0.5
    image = (turned + 0.05 * random.normal(size=x.shape)).astype(np.float32)
    pairs = Pairs(x[:n], image[:n], counts[:n])
    words = [f"w{word}" for word in range(n_words)]
    seeds = range(seed, seed + n_seeds)

    def config(n_epochs: int) -> ModelConfig:
        return ModelConfig(epochs=n_epochs, kl_weight=1.0, standardize=False)

    def reference(n_epochs: int, size: int, seed: int) -> Any:
        options = {"n_topics": size, "config": config(n_epochs), "seed": seed, "device": device}
        return reference_network(x[:n], counts[:n], **options)

    def grid(n_epochs: int) -> dict[tuple[str, int], dict[int, Trained]]:
        options = {"config": config(n_epochs), "seeds": seeds, "mode": "posteriors", "device": device}
        return {
            (kind, size): train_pair(kind, pairs, words, n_topics=size, **options)
            for kind in KINDS
            for size in sizes
        }

    reference(1, sizes[0], seed), grid(1)  # imports and first calls are not part of a fit
    fits: dict[int, list[float]] = {size: [] for size in sizes}
    losses: dict[int, list[float]] = {size: [] for size in sizes}
    ours = []
    for turn in range(seed, seed + repeats):
        for size in sizes:
            taken = []
            for count in thread_counts() if device == "cpu" else [torch.get_num_threads()]:
                with threads(count):
                    seconds, network = timed(reference, epochs, size, turn)
                taken.append(seconds)
            fits[size].append(min(taken))
            losses[size].append(held_out_loss(network, x[n:], counts[n:]))
        seconds, trained = timed(grid, epochs)
        ours.append(seconds)
    each = n_seeds * sum(MODELS_A_SEED[kind] for kind in KINDS)
    theirs = [each * sum(taken) for taken in zip(*fits.values(), strict=True)]
    held_out = {
        str(size): {
            "reference": statistics.fmean(losses[size]),
            "ours": statistics.fmean(
                held_out_loss(models.text.network.cpu(), x[n:], counts[n:])
                for models in trained["text-teacher", size].values()
            ),
        }
        for size in sizes
    }
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "n": n,
        "n_words": n_words,
        "n_inputs": n_inputs,
        "sizes": list(sizes),
        "n_seeds": n_seeds,
        "epochs": epochs,
        "models": each * len(sizes),
        "fit_seconds": {str(size): taken for size, taken in fits.items()},
        "reference_seconds": theirs,
        "seconds": ours,
        "ratio": spread([a / b for a, b in zip(theirs, ours, strict=True)]),
        "held_out": held_out,
    }
