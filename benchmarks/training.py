"""How long a training takes beside the reference package's own `fit`, in one run, on documents drawn from topics."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch

from benchmarks import timed
from benchmarks.growth import draw_documents
from vtm.config import KINDS, ModelConfig, from_parameters, numpy_generator
from vtm.corpora.fetch import GROUPS, is_fetched
from vtm.errors import ConfigError, MissingError
from vtm.experiment.prepare import prepare
from vtm.model.distill import Pairs, Trained, train_pair
from vtm.model.network import TopicNetwork
from vtm.model.training import held_out_reconstruction, resolve_device, train, training_threads
from vtm_study.grid import BEFORE, network_rows
from vtm_study.reference import copy_weights, fit_zeroshot

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


N_HELD_OUT = 500


def config(epochs: int) -> ModelConfig:
    """The settings that both train with."""
    return ModelConfig(epochs=epochs, kl_weight=1.0, standardize=False)


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
    """Time the reference package's `fit` and ours in turns, on the CPU; defaults are the paper's sizes.

    Both take time linear in the epochs (`doubled` shows it), so that fewer epochs give the same ratio. The package is
    timed with one thread and with all of torch's, and counts with the faster. Each round trains another seed.

    Parameters
    ----------
    repeats : pairs of fits; each pair gives one ratio.
    seeds_at_once : models that are trained side by side in a third fit of each round.

    Returns
    -------
    dict
        n, n_words, n_inputs, n_topics, epochs, threads : what was measured.
        model_threads : with how many threads ours trains one model; those side by side share `threads`.
        reference_seconds, seconds, side_by_side_seconds : of one fit each, one value a round.
        reference_threads : in the faster of the package's two; reference_seconds_by_threads : those of both.
        ratio : {"median", "low", "high"} of reference_seconds / seconds.
        side_by_side_ratio : the same per model of those trained side by side.
        doubled : {"reference", "ours"}: how many times as long twice the epochs take.
        held_out : {"reference", "ours"}: loss of held-out documents, nats a document, mean over the rounds' seeds.
        held_out_by_seed : the same, seed by seed.

    Raises
    ------
    MissingError
        The reference package is not installed.
    """
    sizes = {"n_topics": n_topics, "n_words": n_words, "n_inputs": n_inputs}
    drawn = draw_documents(None, n + N_HELD_OUT, **sizes, seed=seed)
    x, counts = drawn.x, drawn.counts

    def reference(n_epochs: int, seed: int = seed) -> TopicNetwork:
        return reference_network(
            x[:n], counts[:n], n_topics=n_topics, config=config(n_epochs), seed=seed, device="cpu"
        )

    def ours(n_epochs: int, *seeds: int) -> TopicNetwork:
        fit = train(x[:n], counts[:n], n_topics=n_topics, config=config(n_epochs), seeds=seeds, device="cpu")
        return fit[0]

    reference(1), ours(1, seed)  # imports and first calls are not part of a fit
    by_threads: dict[int, list[float]] = {count: [] for count in thread_counts()}
    single, side_by_side = [], []
    losses: dict[str, list[float]] = {"reference": [], "ours": []}
    for turn in range(seed, seed + repeats):
        for count, taken in by_threads.items():
            with threads(count):
                seconds, theirs = timed(reference, epochs, turn)
            taken.append(seconds)
        seconds, network = timed(ours, epochs, turn)
        single.append(seconds)
        side_by_side.append(timed(ours, epochs, *range(turn, turn + seeds_at_once))[0])
        losses["reference"].append(held_out_loss(theirs, x[n:], counts[n:]))
        losses["ours"].append(held_out_loss(network, x[n:], counts[n:]))
    best = min(by_threads, key=lambda count: statistics.median(by_threads[count]))
    with training_threads(config(1).batch_size * n_topics * n_words):
        model_threads = torch.get_num_threads()
    with threads(best):
        longer = timed(reference, 2 * epochs)[0]
    return {
        "n": n,
        **sizes,
        "epochs": epochs,
        "threads": torch.get_num_threads(),
        "model_threads": model_threads,
        "reference_threads": best,
        "reference_seconds_by_threads": {str(count): taken for count, taken in by_threads.items()},
        "reference_seconds": by_threads[best],
        "seconds": single,
        "side_by_side_seconds": side_by_side,
        "ratio": spread([a / b for a, b in zip(by_threads[best], single, strict=True)]),
        "side_by_side_ratio": spread(
            [seeds_at_once * a / b for a, b in zip(by_threads[best], side_by_side, strict=True)]
        ),
        "doubled": {
            "reference": longer / statistics.median(by_threads[best]),
            "ours": timed(ours, 2 * epochs, seed)[0] / statistics.median(single),
        },
        "held_out": {name: statistics.fmean(values) for name, values in losses.items()},
        "held_out_by_seed": losses,
    }


def reference_network(
    x: np.ndarray,
    counts: csr_matrix,
    *,
    n_topics: int,
    config: ModelConfig,
    seed: int,
    device: str,
) -> TopicNetwork:
    """The reference package's ZeroShotTM, trained by its own `fit` on "cpu" or "cuda", as a network of ours.

    The package takes CUDA where there is any, and has no argument that says otherwise.
    """
    hidden = mock.patch("torch.cuda.is_available", return_value=False)
    with hidden if device == "cpu" else contextlib.nullcontext():
        vocabulary = [f"w{word}" for word in range(counts.shape[1])]
        fit = fit_zeroshot(x, counts, vocabulary, n_topics=n_topics, config=config, seed=seed)
        return copy_weights(fit, config=config)


def held_out_loss(network: TopicNetwork, x: np.ndarray, counts: csr_matrix) -> float:
    """Reconstruction loss of documents that were not trained on, nats a document, of a network on the CPU."""
    return float(held_out_reconstruction(network, x, counts).mean())


def thread_counts() -> list[int]:
    """One thread, and as many as torch has."""
    return sorted({1, torch.get_num_threads()})


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch with so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


# How long the text-teacher is trained until it is as good as with the settings that were the defaults before.
EPOCHS = (10, 20, 30, 60)
RATES = (0.006, 0.01)


def bench_quality(
    *,
    corpora: tuple[str, ...] = ("openclipart", "stamps"),
    folds: tuple[int, ...] = (0, 2, 4),
    n_seeds: int = 5,
    encoder: str = "offline",
    n_topics: int = 120,
    epochs: tuple[int, ...] = EPOCHS,
) -> dict[str, Any]:
    """Quality by processor time: text-teachers of today's settings, trained longer and longer, beside those before.

    All on validation parts, on the CPU, one seed at a time. The settings before are `vtm_study.grid.BEFORE`, with their
    100 epochs; today's are `ModelConfig`'s, at two learning rates.

    Returns
    -------
    dict
        n_topics; rows : for each corpus, fold, seed and setting ("before", "lr 0.006", "lr 0.01"; epochs) mrr (MRR@100
        by cosine), npmi_text and npmi_image (of ten words a topic), seconds (of the processor, teacher and student).
        reference_seconds_by_threads : corpus -> threads -> seconds of the package's `fit` of one teacher, first fold and
        seed, with the settings before; {} where the package is not installed.

    Raises
    ------
    MissingError
        A corpus or the encoder's weights are not on disk.
    """
    for group in (f"encoder:{encoder}", *(f"corpus:{corpus}" for corpus in corpora)):
        if not all(is_fetched(name) for name in GROUPS.get(group, ())):
            what, name = group.split(":")
            raise MissingError(f"{name} is not here: `vtm prefetch --{what} {name}`")
    rows: list[dict[str, Any]] = []
    by_threads: dict[str, dict[str, float]] = {}
    settings = {"before": BEFORE} | {f"lr {lr}": dataclasses.replace(ModelConfig(), lr=lr) for lr in RATES}
    for corpus in corpora:
        for fold in folds:
            data = prepare(
                from_parameters({"corpus": corpus, "encoder": encoder, "fold": fold}), progress=False
            )
            for name, of in settings.items():
                for count in epochs if name != "before" else (of.epochs,):
                    for seed in range(n_seeds):
                        (row,) = network_rows(
                            data,
                            dataclasses.replace(of, epochs=count),
                            n_topics=n_topics,
                            seed=seed,
                            families=("text-teacher",),
                        )
                        figures = {key: row[key] for key in ("npmi_text", "npmi_image", "seconds")}
                        told = {
                            "corpus": corpus,
                            "fold": fold,
                            "seed": seed,
                            "setting": name,
                            "epochs": count,
                        }
                        rows.append(told | {"mrr": row["mrr_cosine"]} | figures)
            if fold == folds[0]:
                pairs, by_threads[corpus] = data.pairs("train"), {}
                fit = functools.partial(
                    reference_network,
                    pairs.text,
                    pairs.counts,
                    n_topics=n_topics,
                    config=BEFORE,
                    seed=0,
                    device="cpu",
                )
                for count in thread_counts():
                    with contextlib.suppress(MissingError), threads(count):
                        by_threads[corpus][str(count)] = timed(fit)[0]
    return {"n_topics": n_topics, "rows": rows, "reference_seconds_by_threads": by_threads}


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
    of_words = {"n_words": n_words, "n_inputs": n_inputs}
    drawn = draw_documents(None, n + N_HELD_OUT, n_topics=min(sizes), **of_words, seed=seed)
    x, counts = drawn.x, drawn.counts
    random = numpy_generator(seed, "pictures of the drawn documents")
    turned = x @ random.normal(size=(n_inputs, n_inputs)) / n_inputs**0.5
    image = (turned + 0.05 * random.normal(size=x.shape)).astype(np.float32)
    pairs = Pairs(x[:n], image[:n], counts[:n])
    words = [f"w{word}" for word in range(n_words)]
    seeds = range(seed, seed + n_seeds)

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
