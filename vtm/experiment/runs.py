"""The experiment itself: baseline and models trained where no current result is on disk, then read back.

PyTorch is imported when something is trained: who finds all results on disk need not wait for it.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import KINDS, ModelConfig
from vtm.errors import VtmError, counted
from vtm.experiment.results import PARTS, Result, healthy
from vtm.files import atomic_path, code_hash, hash_json, locked, runs_dir, scratch
from vtm.metrics.retrieval import expected_random, retrieval_figures, seed_summary
from vtm.metrics.topics import (
    duplicated_topics,
    inverted_rbo,
    match_topics,
    npmi,
    topic_agreement,
    topic_diversity,
)
from vtm.model.health import judge, teacher_kl, unigram_reconstruction

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from vtm.experiment.prepare import Prepared
    from vtm.model.distill import Trained
    from vtm.model.topicmodel import TopicModel
    from vtm.model.training import Pairs


TOP_WORDS = 25
KL_WEIGHTS = (0.03, 0.1, 0.3, 1.0)
# Where the code that a result follows from ends: what these make is in the result's key by its content.
BY_CONTENT = ("vtm.experiment.prepare", "vtm.encoders", "vtm.errors", "vtm.files")


def run_baseline(data: Prepared) -> list[Result]:
    """The baseline's results: cosine of the embeddings where the encoder is aligned, else "aligned (contrastive)".

    One result for each seed; plain cosine has none to vary and gives one. Results go to the runs folder, and come from
    there where they are current.

    Returns
    -------
    list of vtm.experiment.results.Result
        Its `arrays` have the embeddings in the shared space, "test_text" and "test_image" (n, d) and so on.

    Raises
    ------
    ConfigError, DataError, StorageError
        A device that is not there, embeddings that are not finite, a runs folder that cannot be written.

    Examples
    --------
    >>> from vtm import from_parameters, prepare, run_baseline
    >>> data = prepare(from_parameters({"corpus": "scenes:n=60", "encoder": "pixels", "seeds": 0}))
    >>> (result,) = run_baseline(data)
    >>> result.name, result.arrays["test_text"].shape, result.arrays["test_image"].shape
    ('baseline', (14, 384), (14, 384))
    """
    seeds = data.experiment.seeds[:1] if data.aligned else data.experiment.seeds
    results = []
    for seed in seeds:
        key = hash_json([data.fingerprint(), data.aligned, seed, models_code()])
        folder = run_folder(data) / "baseline" / f"seed-{seed}"
        result = Result.current(folder, key)
        if result is None:
            with locked(folder):
                # Another process may have made it meanwhile.
                result = Result.current(folder, key)
                if result is None:
                    result = _baseline(data, seed)
                    result.save(folder, key)
        results.append(result)
    return results


def _baseline(data: Prepared, seed: int) -> Result:
    from vtm.model.align import fit_aligned

    started = time.perf_counter()
    arrays, history = {}, {}  # type: ignore[var-annotated]
    if data.aligned:
        for part in PARTS:
            pairs = data.pairs(part)
            arrays |= {f"{part}_text": pairs.text, f"{part}_image": pairs.image}
    else:
        aligned = fit_aligned(
            data.pairs("train"), data.pairs("validation"), seed=seed, device=data.experiment.device
        )
        history = {"baseline": {"validation_mrr_100": aligned.curve}}
        for part in PARTS:
            pairs = data.pairs(part)
            for reads in ("text", "image"):
                arrays[f"{part}_{reads}"] = aligned.embed(reads, pairs.embeddings(reads))
    result = Result(
        row="baseline",
        n_topics=0,
        seed=seed,
        measure="cosine",
        status="ok",
        reasons=(),
        ids={part: data.ids(part) for part in PARTS},
        n_missing=data.n_missing,
        arrays=arrays,
        history=history,
    )
    figures = validation_figures(result) | {"seconds": time.perf_counter() - started}
    return dataclasses.replace(result, figures=figures)


def run_models(
    data: Prepared,
    kind: str,
    *,
    config: ModelConfig | None = None,
    n_topics: Sequence[int] | None = None,
    progress: bool = True,
) -> list[Result]:
    """Results of one kind ("joint" or "text-teacher") for every K and seed of the experiment.

    Seeds without a current result are trained side by side; models, theta and figures are written to the runs
    folder, one folder a seed.

    Parameters
    ----------
    config, n_topics : in place of the experiment's, for studies that vary them.
    progress : show progress bars on stderr, on a terminal.

    Returns
    -------
    list of vtm.experiment.results.Result
        By K, then by seed. Its `arrays` have theta, "test_text" and "test_image" (n, K) and so on; `topics` the words;
        `status` and `reasons` say whether training worked.

    Raises
    ------
    ConfigError, DataError, StorageError
        An unknown kind, a device that is not there, embeddings that are not finite, a runs folder that cannot be
        written.

    Examples
    --------
    >>> from vtm import from_parameters, prepare, run_models
    >>> small = {"corpus": "scenes:n=60", "encoder": "pixels", "n_topics": 4, "seeds": [0, 1], "epochs": 5}
    >>> results = run_models(prepare(from_parameters(small)), "text-teacher")
    >>> [(result.name, result.seed, result.arrays["test_image"].shape) for result in results]
    [('text-teacher 4', 0, (14, 4)), ('text-teacher 4', 1, (14, 4))]
    """
    config = data.experiment.model if config is None else config
    results: list[Result] = []
    for k in data.experiment.n_topics if n_topics is None else n_topics:
        folder = model_folder(data, kind, k, config=config)
        key = result_key(data, kind, k, config=config)
        found = _current(folder, key, data.experiment.seeds)
        if len(found) < len(data.experiment.seeds):
            with locked(folder):
                # Another process may have trained some meanwhile.
                found = _current(folder, key, data.experiment.seeds)
                if missing := [seed for seed in data.experiment.seeds if seed not in found]:
                    found |= _train(data, kind, k, missing, config, folder, key, progress=progress)
        results.extend(found[seed] for seed in data.experiment.seeds)
    return results


def _current(folder: Path, key: str, seeds: Sequence[int]) -> dict[int, Result]:
    """The seeds' results that are on disk under `key`."""
    found = {seed: Result.current(folder / f"seed-{seed}", key) for seed in seeds}
    return {seed: result for seed, result in found.items() if result is not None}


def _train(
    data: Prepared,
    kind: str,
    k: int,
    seeds: Sequence[int],
    config: ModelConfig,
    folder: Path,
    key: str,
    *,
    progress: bool,
) -> dict[int, Result]:
    """Train some seeds side by side; write each seed's models and, last, its result."""
    from vtm.model.distill import train_pair

    found: dict[int, Result] = {}
    started = time.perf_counter()
    trained = train_pair(
        kind,
        data.pairs("train"),
        data.vocabulary.words,
        n_topics=k,
        config=config,
        seeds=seeds,
        mode=data.experiment.mode,
        validation=data.pairs("validation"),
        device=data.experiment.device,
        progress=progress,
    )
    seconds = (time.perf_counter() - started) / len(seeds)
    for seed, models in trained.items():
        result = _evaluate(data, kind, k, seed, models, seconds)
        for role in dict.fromkeys(("text", "image", "teacher")):
            model = getattr(models, role)
            model.save(
                folder / f"seed-{seed}" / role,
                kind=kind,
                corpus=data.experiment.corpus,
                encoder=data.experiment.encoder,
                measure=data.experiment.measure,
                mode=data.experiment.mode,
            )
        result.save(folder / f"seed-{seed}", key)
        found[seed] = result
    return found


def _evaluate(data: Prepared, kind: str, k: int, seed: int, models: Trained, seconds: float) -> Result:
    """Theta of the validation and test parts, the run's health, and figures of its topics."""
    arrays: dict[str, np.ndarray] = {}
    for part in PARTS:
        pairs = data.pairs(part)
        arrays[f"{part}_text"] = models.text.theta(pairs.text)
        arrays[f"{part}_image"] = models.image.theta(pairs.image)
    image_topics = models.image.topics(TOP_WORDS)
    if data.experiment.mode == "none":
        # Independent models number their topics differently: match them on the training pairs.
        pairs = data.pairs("train")
        order = match_topics(topic_agreement(models.text.theta(pairs.text), models.image.theta(pairs.image)))
        for part in PARTS:
            arrays[f"{part}_image"] = np.ascontiguousarray(arrays[f"{part}_image"][:, order])
        image_topics = [image_topics[k] for k in order]
    result = Result(
        row=kind,
        n_topics=k,
        seed=seed,
        measure=data.experiment.measure,
        status="ok",
        reasons=(),
        ids={part: data.ids(part) for part in PARTS},
        n_missing=data.n_missing,
        arrays=arrays,
        topics={"text": models.text.topics(TOP_WORDS), "image": image_topics},
        history={role: getattr(models, role).history for role in ("text", "image", "teacher")},
    )
    train, validation = data.pairs("train"), data.pairs("validation")
    unigram = unigram_reconstruction(train.counts, validation.counts)
    reconstruction = {
        reads: held_out_loss(getattr(models, reads), validation.embeddings(reads), validation.counts)
        for reads in ("text", "image")
    }
    figures = {f"{reads}_validation_reconstruction": loss for reads, loss in reconstruction.items()} | {
        "unigram_validation_reconstruction": unigram,
        "seconds": seconds,
    }
    teacher_log_var = models.teacher.posterior(train.embeddings(models.teacher.reads))[1]
    figures["teacher_smallest_variance"] = float(np.exp(teacher_log_var.min()))
    lessons = _lessons(models, validation) if data.experiment.mode == "posteriors" else {}
    for reads, (own, others, z) in lessons.items():
        figures |= {f"{reads}_teacher_kl": own, f"{reads}_other_teacher_kl": others, f"{reads}_teacher_z": z}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        reason = "theta of a validation or test document is no longer a number"
        return dataclasses.replace(result, status="diverged", reasons=(reason,), figures=figures)
    figures |= validation_figures(result) | _topic_figures(data, result)
    status, reasons = judge(
        curves=list(result.history.values()),
        reconstruction=reconstruction,
        unigram=unigram,
        ranks=result.ranks("validation"),
        n_items=len(validation),
        theta={reads: arrays[f"validation_{reads}"] for reads in ("text", "image")},
        repeated={reads: figures[f"{reads}_repeated_topics"] / k for reads in ("text", "image")},
        teacher={reads: z for reads, (_, _, z) in lessons.items()},
    )
    return dataclasses.replace(result, status=status, reasons=reasons, figures=figures)


def _lessons(models: Trained, validation: Pairs) -> dict[str, tuple[float, float, float]]:
    """Student -> `teacher_kl` on the validation part."""
    teacher = models.teacher.posterior(validation.embeddings(models.teacher.reads))
    students = {"text": models.text, "image": models.image}
    return {
        reads: teacher_kl(student.posterior(validation.embeddings(reads)), teacher)
        for reads, student in students.items()
        if student is not models.teacher
    }


def held_out_loss(model: TopicModel, x: np.ndarray, counts: csr_matrix) -> float:
    """Mean reconstruction loss of documents in evaluation mode, nats a document (`held_out_reconstruction`)."""
    from vtm.model.network import one_thread
    from vtm.model.training import held_out_reconstruction

    with one_thread():
        return float(held_out_reconstruction(model.network, x, counts).mean())  # type: ignore[arg-type]


def validation_figures(result: Result) -> dict[str, float]:
    """Retrieval figures on the validation part, by which settings are chosen and runs are judged."""
    return {
        f"validation_{name}": value for name, value in retrieval_figures(result.ranks("validation")).items()
    }


def _topic_figures(data: Prepared, result: Result) -> dict[str, float]:
    """NPMI (training texts as reference corpus), diversity, inverted RBO and repeated topics of both models."""
    counts = data.counts[data.rows["train"]]
    # The top words of all topics cannot be more different words than there are.
    figures = {"diversity_at_most": min(1.0, len(data.vocabulary) / (TOP_WORDS * result.n_topics))}
    for reads, topics in result.topics.items():
        figures |= {
            f"{reads}_npmi": float(npmi(topics, counts, data.vocabulary.words).mean()),
            f"{reads}_diversity": float(topic_diversity(topics)),
            f"{reads}_inverted_rbo": float(inverted_rbo(topics)),
            f"{reads}_repeated_topics": float(duplicated_topics(topics)),
        }
    return figures


def sweep(data: Prepared, *, kl_weights: Sequence[float] = KL_WEIGHTS) -> list[dict[str, Any]]:
    """Train every KL weight with standardized and raw embeddings, both kinds, all seeds, the smallest K.

    Returns
    -------
    A dict for each setting and kind: kind, kl_weight, standardize, runs, healthy, mrr (mean validation MRR@100 of
    all runs), sd (NaN for one seed), npmi_text, npmi_image, smallest_variance, chance.
    """
    k = min(data.experiment.n_topics)
    chance = expected_random(len(data.rows["validation"]))["mrr_100"]
    rows = []
    for kind in KINDS:
        for standardize in (True, False):
            for weight in kl_weights:
                config = dataclasses.replace(data.experiment.model, kl_weight=weight, standardize=standardize)
                results = run_models(data, kind, config=config, n_topics=[k])

                def values(figure: str, results=results) -> np.ndarray:
                    return np.array([run.figures.get(figure, np.nan) for run in results])

                mrr = seed_summary(np.nan_to_num(values("validation_mrr_100")))
                rows.append(
                    dict(
                        kind=kind,
                        n_topics=k,
                        kl_weight=weight,
                        standardize=standardize,
                        runs=len(results),
                        healthy=len(healthy(results)),
                        mrr=mrr["mean"],
                        sd=mrr["sd"],
                        npmi_text=float(values("text_npmi").mean()),
                        npmi_image=float(values("image_npmi").mean()),
                        smallest_variance=float(values("teacher_smallest_variance").min()),
                        chance=chance,
                    )
                )
    return rows


def run_folder(data: Prepared) -> Path:
    """Folder of everything that is trained on these data."""
    experiment = data.experiment
    return runs_dir() / f"{data.corpus.name}-{experiment.encoder_name}-{experiment.data_key()[:8]}"


def model_folder(data: Prepared, kind: str, n_topics: int, *, config: ModelConfig | None = None) -> Path:
    """Folder of the models of one kind and K, with a folder `seed-N` for each seed."""
    setting = _setting(data, data.experiment.model if config is None else config)
    return run_folder(data) / f"{kind}-{n_topics}-{setting[:8]}"


def saved_topic_word(data: Prepared, run: Result) -> dict[str, np.ndarray]:
    """Word distributions (K, V) of the topics of the models that were saved with a run, "text" and "image".

    Raises
    ------
    MissingError
        The run's models are not on disk.
    """
    from vtm.model.topicmodel import TopicModel

    folder = model_folder(data, run.row, run.n_topics) / f"seed-{run.seed}"
    return {reads: TopicModel.load(folder / reads).topic_word() for reads in ("text", "image")}


def result_key(data: Prepared, kind: str, n_topics: int, *, config: ModelConfig | None = None) -> str:
    """Under what the results of one kind and K are current, whatever the seed: data, settings and code."""
    setting = _setting(data, data.experiment.model if config is None else config)
    return hash_json([data.fingerprint(), setting, kind, n_topics, models_code()])


def _setting(data: Prepared, config: ModelConfig) -> str:
    return hash_json([dataclasses.asdict(config), data.experiment.mode, data.experiment.measure])


@cache
def models_code() -> str:
    """Hash of the modules that a result depends on, taken once: the process keeps the code that it has loaded."""
    return code_hash(__name__, without=BY_CONTENT)


def warm(data: Prepared, *, address: str | None = None) -> None:
    """Train on Ray what the notebooks train on the prepared data, so that they find it done.

    These are the models of the tables and those of the chapter on settings. The baseline, the reference package and
    the chapter on NewsImages stay with the notebooks.

    Parameters
    ----------
    address : of the Ray cluster; None starts one on this machine (`vtm.encoders.ray`).

    Raises
    ------
    MissingError, VtmError
        As `train_on_ray`.
    """
    experiment = data.experiment
    settings = [(k, experiment.model) for k in experiment.n_topics]
    for standardize in (True, False):
        for weight in KL_WEIGHTS:
            config = dataclasses.replace(experiment.model, kl_weight=weight, standardize=standardize)
            settings.append((min(experiment.n_topics), config))
    train_on_ray(data, [(kind, k, config) for k, config in settings for kind in KINDS], address=address)


def train_on_ray(
    data: Prepared, wanted: Iterable[tuple[str, int, ModelConfig]], *, address: str | None = None
) -> None:
    """Train for each kind, K and settings the seeds of the experiment that have no current result.

    What is trained lies in the runs folder afterwards as if it had been trained here: `vtm.run_models` reads it. It
    comes back through Ray, so that the machines need not share a file system; a task whose process or machine dies is
    run again, from the start of its training. A task is one kind, K and seed. On a CPU a seed trained alone gives the numbers that it gives beside others, to the bit. On GPUs they can differ by
    rounding, and a task trains all seeds of a kind and K side by side, as a local run does.

    Raises
    ------
    MissingError
        Ray or the cluster is not there.
    VtmError
        Some trainings failed, or a worker has another vtm. All that succeeded are kept.
    """
    from tqdm import tqdm

    from vtm.encoders.ray import RETRIES, plain_error, ray_cluster, resources

    absent = {one: seeds for one in dict.fromkeys(wanted) if (seeds := _absent(data, *one))}
    if not absent:
        return
    failed: list[tuple[str, VtmError]] = []
    with ray_cluster(address) as ray:
        _, gpus = resources(ray, workers=None, device=data.experiment.device)
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_train_apart)
        shared = ray.put(data)
        running = {
            task.remote(shared, *one, seeds, models_code()): (one, seeds)
            for one, missing in absent.items()
            for seeds in tasks_of(missing, together=bool(gpus))
        }
        for _ in tqdm(range(len(running)), desc="training on Ray", unit="", disable=None):
            (done,), _ = ray.wait(list(running), num_returns=1)
            one, seeds = running.pop(done)  # type: ignore[assignment]
            try:
                _keep(ray.get(done))
                if set(seeds) & set(_absent(data, *one)):
                    raise VtmError(
                        "what came back is not what was asked for; have all machines the same vtm?"
                    )
            except (VtmError, ray.exceptions.RayError) as error:
                name = f"{one[0]}, {one[1]} topics, seed{'s'[len(seeds) == 1 :]} {', '.join(map(str, seeds))}"
                failed.append((name, plain_error(error, "run it again")))
    if failed:
        name, first = failed[0]
        raise VtmError(
            f"{counted(len(failed), 'training')} failed, all others are kept; the first ({name}): {first}"
        ) from first


def tasks_of(seeds: Sequence[int], *, together: bool) -> list[tuple[int, ...]]:
    """The seeds that each task trains side by side."""
    return [tuple(seeds)] if together else [(seed,) for seed in seeds]


def _absent(data: Prepared, kind: str, k: int, config: ModelConfig) -> list[int]:
    """The seeds that have no current result."""
    key = result_key(data, kind, k, config=config)
    folder = model_folder(data, kind, k, config=config)
    return [seed for seed in data.experiment.seeds if Result.current(folder / f"seed-{seed}", key) is None]


def _train_apart(
    data: Prepared, kind: str, k: int, config: ModelConfig, seeds: tuple[int, ...], code: str
) -> dict[str, bytes]:
    """The task: train into a folder of its own; returns its files by their path in the runs folder."""
    if models_code() != code:
        raise VtmError(
            f"{socket.gethostname()}: has another version of vtm; install the same one on every machine"
        )
    data = dataclasses.replace(data, experiment=dataclasses.replace(data.experiment, seeds=seeds))
    with scratch() as folder:
        os.environ["VTM_RUNS"] = str(folder)  # of this process, which is Ray's
        run_models(data, kind, config=config, n_topics=[k], progress=False)
        root = runs_dir()
        # Not the folders' locks, which another run here may hold.
        files = sorted(path for path in root.rglob("*.safetensors"))
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def _keep(files: dict[str, bytes]) -> None:
    """Write a task's files into the runs folder; result.safetensors, by which a folder is current, last."""
    for name in sorted(files, key=lambda name: (Path(name).name == "result.safetensors", name)):
        with atomic_path(runs_dir() / name) as temporary:
            temporary.write_bytes(files[name])
