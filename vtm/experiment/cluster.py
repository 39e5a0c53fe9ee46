"""Training as Ray tasks: a task for each kind, K and seed; the driver writes the folders that a local run writes.

Results come back through Ray, so that the machines need not share a file system. A task whose process or machine
dies is run again, from the start of its training.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtm.config import KINDS, Experiment, ModelConfig
from vtm.encoders.ray import RETRIES, import_ray, plain_error, ray_cluster, resources
from vtm.errors import VtmError
from vtm.experiment.prepare import Prepared, prepare
from vtm.experiment.results import Result
from vtm.experiment.runs import model_folder, models_code, result_key, run_models
from vtm.files import atomic_path, runs_dir


@dataclass(frozen=True)
class Training:
    """What one task trains: a kind, K and settings, with some seeds."""

    kind: str
    n_topics: int
    config: ModelConfig
    seeds: tuple[int, ...]

    def __str__(self) -> str:
        seeds = f"seed{'' if len(self.seeds) == 1 else 's'} {', '.join(map(str, self.seeds))}"
        return f"{self.kind}, {self.n_topics} topics, {seeds}"


def warm(experiment: Experiment, *, address: str | None = None) -> None:
    """Train on Ray what the notebooks train on the experiment's corpus, so that they find it done.

    These are the models of the tables and those of the chapter on settings; what is current is left alone. The
    baseline, the reference package and the chapter on NewsImages stay with the notebooks.

    Parameters
    ----------
    address
        Of the Ray cluster; None starts one on this machine (`vtm.encoders.ray`).

    Raises
    ------
    ConfigError, DataError, MissingError, VtmError
        As `vtm.experiment.prepare` and `run_models_on_ray`.
    """
    from vtm.experiment.runs import KL_WEIGHTS

    import_ray()  # fails before anything is embedded
    data = prepare(experiment)
    wanted = _missing(data, KINDS, experiment.n_topics, experiment.model)
    for standardize in (True, False):
        for weight in KL_WEIGHTS:
            config = dataclasses.replace(experiment.model, kl_weight=weight, standardize=standardize)
            wanted += _missing(data, KINDS, [min(experiment.n_topics)], config)
    _train_on_ray(data, list(dict.fromkeys(wanted)), address=address)


def run_models_on_ray(
    experiment: Experiment,
    kinds: Sequence[str] = KINDS,
    *,
    config: ModelConfig | None = None,
    n_topics: Sequence[int] | None = None,
    address: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> list[Result]:
    """`vtm.run_models` for some kinds, every K and seed a Ray task of its own.

    What is current in the runs folder is not trained again, and what is trained lies there afterwards as if it had
    been trained here: the notebooks read it. On a CPU a seed trained alone gives the numbers that it gives beside
    others, to the bit. On GPUs they can differ by rounding, and a task trains all seeds of a kind and K side by side, as a
    local run does.

    Parameters
    ----------
    kinds : "joint", "text-teacher".
    config, n_topics : in place of the experiment's.
    address : of the Ray cluster; None starts one on this machine (`vtm.encoders.ray`).
    workers : CPUs of a cluster on this machine; by default as many as there are.

    Returns
    -------
    Results in the order of kinds, K and seeds.

    Raises
    ------
    MissingError
        Ray or the cluster is not there.
    VtmError
        Some trainings failed, or a worker has another vtm. All that succeeded are kept.
    """
    import_ray()
    data = prepare(experiment, progress=progress)
    sizes = experiment.n_topics if n_topics is None else n_topics
    wanted = _missing(data, kinds, sizes, experiment.model if config is None else config)
    _train_on_ray(data, wanted, address=address, workers=workers, progress=progress)
    return [
        result
        for kind in kinds
        for result in run_models(data, kind, config=config, n_topics=sizes, progress=progress)
    ]


def _missing(
    data: Prepared, kinds: Sequence[str], n_topics: Sequence[int], config: ModelConfig
) -> list[Training]:
    """The trainings that have no current result, a seed each."""
    every = (
        Training(kind, k, config, (seed,))
        for kind in kinds
        for k in n_topics
        for seed in data.experiment.seeds
    )
    return [training for training in every if not _is_current(data, training)]


def _is_current(data: Prepared, training: Training) -> bool:
    kind, k, config = training.kind, training.n_topics, training.config
    key = result_key(data, kind, k, config=config)
    folder = model_folder(data, kind, k, config=config)
    return all(Result.current(folder / f"seed-{seed}", key) is not None for seed in training.seeds)


def _train_on_ray(
    data: Prepared,
    trainings: Sequence[Training],
    *,
    address: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Run the trainings as tasks and write each result when it comes."""
    from tqdm import tqdm

    if not trainings:
        return
    failed: list[tuple[Training, VtmError]] = []
    with ray_cluster(address, workers=workers) as ray:
        _, gpus = resources(ray, workers=workers, device=data.experiment.device)
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_train)
        shared = ray.put(data)
        running = {
            task.remote(shared, training, models_code()): training
            for training in (_side_by_side(trainings) if gpus else trainings)
        }
        with tqdm(
            total=len(running), desc="training on Ray", unit="", disable=None if progress else True
        ) as bar:
            while running:
                (done,), _ = ray.wait(list(running), num_returns=1)
                training = running.pop(done)
                try:
                    _keep(data, training, ray.get(done))
                except (VtmError, ray.exceptions.RayError) as error:
                    failed.append((training, plain_error(error, "run it again")))
                bar.update()
    if failed:
        training, error = failed[0]
        raise VtmError(
            f"{len(failed)} trainings failed, all others are kept; the first ({training}): {error}"
        ) from error


def _side_by_side(trainings: Sequence[Training]) -> list[Training]:
    """The same trainings with all seeds of a kind, K and settings in one."""
    seeds: dict[Training, tuple[int, ...]] = {}
    for training in trainings:
        rest = dataclasses.replace(training, seeds=())
        seeds[rest] = (*seeds.get(rest, ()), *training.seeds)
    return [dataclasses.replace(rest, seeds=found) for rest, found in seeds.items()]


def _train(data: Prepared, training: Training, code: str) -> dict[str, bytes]:
    """The task: train into a folder of its own; returns its files by their path in the runs folder."""
    if models_code() != code:
        raise VtmError(
            f"{socket.gethostname()}: has another version of vtm; install the same one on every machine"
        )
    experiment = dataclasses.replace(data.experiment, seeds=training.seeds)
    with tempfile.TemporaryDirectory(prefix="vtm-") as scratch, _runs_in(scratch):
        run_models(
            dataclasses.replace(data, experiment=experiment),
            training.kind,
            config=training.config,
            n_topics=[training.n_topics],
            progress=False,
        )
        root = runs_dir()
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


@contextmanager
def _runs_in(folder: str) -> Iterator[None]:
    before: Any = os.environ.get("VTM_RUNS")
    os.environ["VTM_RUNS"] = folder
    try:
        yield
    finally:
        del os.environ["VTM_RUNS"]
        if before is not None:
            os.environ["VTM_RUNS"] = before


def _keep(data: Prepared, training: Training, files: dict[str, bytes]) -> None:
    """Write a task's files into the runs folder; result.safetensors, by which a folder is current, last."""
    for name in sorted(files, key=lambda name: (Path(name).name == "result.safetensors", name)):
        with atomic_path(runs_dir() / name) as temporary:
            temporary.write_bytes(files[name])
    if not _is_current(data, training):
        raise VtmError(
            f"{training}: what came back is not what was asked for; have all machines the same vtm?"
        )
