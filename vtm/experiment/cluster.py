"""Training as Ray tasks, whose results the driver writes into the folders that a local run writes.

A task is one kind, K and seed. Results come back through Ray, so that the machines need not share a file system. A task
whose process or machine dies is run again, from the start of its training.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from vtm.config import KINDS, Experiment, ModelConfig
from vtm.encoders.ray import RETRIES, import_ray, plain_error, ray_cluster, resources
from vtm.errors import VtmError
from vtm.experiment.prepare import Prepared, prepare
from vtm.experiment.results import Result
from vtm.experiment.runs import KL_WEIGHTS, model_folder, models_code, result_key, run_models
from vtm.files import atomic_path, runs_dir


def warm(experiment: Experiment, *, address: str | None = None) -> None:
    """Train on Ray what the notebooks train on the experiment's corpus, so that they find it done.

    These are the models of the tables and those of the chapter on settings. The baseline, the reference package and
    the chapter on NewsImages stay with the notebooks.

    Parameters
    ----------
    address : of the Ray cluster; None starts one on this machine (`vtm.encoders.ray`).

    Raises
    ------
    ConfigError, DataError, MissingError, VtmError
        As `vtm.experiment.prepare` and `train_on_ray`.
    """
    import_ray()  # fails before anything is embedded
    data = prepare(experiment)
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

    What is trained lies in the runs folder afterwards as if it had been trained here: `vtm.run_models` reads it. On a
    CPU a seed trained alone gives the numbers that it gives beside others, to the bit. On GPUs they can differ by
    rounding, and a task trains all seeds of a kind and K side by side, as a local run does.

    Raises
    ------
    MissingError
        Ray or the cluster is not there.
    VtmError
        Some trainings failed, or a worker has another vtm. All that succeeded are kept.
    """
    from tqdm import tqdm

    absent = {one: seeds for one in dict.fromkeys(wanted) if (seeds := _absent(data, *one))}
    if not absent:
        return
    failed: list[tuple[str, VtmError]] = []
    with ray_cluster(address) as ray:
        _, gpus = resources(ray, workers=None, device=data.experiment.device)
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_train)
        shared = ray.put(data)
        running = {
            task.remote(shared, *one, seeds, models_code()): (one, seeds)
            for one, missing in absent.items()
            for seeds in tasks_of(missing, together=bool(gpus))
        }
        for _ in tqdm(range(len(running)), desc="training on Ray", unit="", disable=None):
            (done,), _ = ray.wait(list(running), num_returns=1)
            one, seeds = running.pop(done)
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
        name, error = failed[0]
        raise VtmError(
            f"{len(failed)} trainings failed, all others are kept; the first ({name}): {error}"
        ) from error


def tasks_of(seeds: Sequence[int], *, together: bool) -> list[tuple[int, ...]]:
    """The seeds that each task trains side by side."""
    return [tuple(seeds)] if together else [(seed,) for seed in seeds]


def _absent(data: Prepared, kind: str, k: int, config: ModelConfig) -> list[int]:
    """The seeds that have no current result."""
    key = result_key(data, kind, k, config=config)
    folder = model_folder(data, kind, k, config=config)
    return [seed for seed in data.experiment.seeds if Result.current(folder / f"seed-{seed}", key) is None]


def _train(
    data: Prepared, kind: str, k: int, config: ModelConfig, seeds: tuple[int, ...], code: str
) -> dict[str, bytes]:
    """The task: train into a folder of its own; returns its files by their path in the runs folder."""
    if models_code() != code:
        raise VtmError(
            f"{socket.gethostname()}: has another version of vtm; install the same one on every machine"
        )
    data = dataclasses.replace(data, experiment=dataclasses.replace(data.experiment, seeds=seeds))
    with tempfile.TemporaryDirectory(prefix="vtm-") as scratch:
        os.environ["VTM_RUNS"] = scratch  # of this process, which is Ray's
        run_models(data, kind, config=config, n_topics=[k], progress=False)
        root = runs_dir()
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def _keep(files: dict[str, bytes]) -> None:
    """Write a task's files into the runs folder; result.safetensors, by which a folder is current, last."""
    for name in sorted(files, key=lambda name: (Path(name).name == "result.safetensors", name)):
        with atomic_path(runs_dir() / name) as temporary:
            temporary.write_bytes(files[name])
