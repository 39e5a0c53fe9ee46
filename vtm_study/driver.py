"""The parts of the study, each in a JSON file of its own that says where it comes from; what is current is kept."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtm.config import unknown_parameter
from vtm.errors import ConfigError, DataError
from vtm.experiment.prepare import Prepared
from vtm.experiment.runs import BY_CONTENT
from vtm.files import (
    code_hash,
    hash_json,
    locked,
    read_current,
    read_json,
    read_sealed,
    results_dir,
    runs_dir,
    write_sealed,
)
from vtm_study import contrastive, grid, peers, summary, validation
from vtm_study.machine import changed_since, commit, machine
from vtm_study.measures import plain
from vtm_study.tags import chapter as tags
from vtm_study.tags import served

# Name -> what measures it, and minutes on 2 cores with openclipart and 5 seeds.
PARTS: dict[str, tuple[Callable[[Prepared], dict[str, Any]], float]] = {
    "grid": (grid.measure, 30),
    "plus-validation": (validation.choose, 4),
    "summary": (summary.measure, 30),
    "contrastive": (contrastive.measure, 2.5),
    "peers": (peers.measure, 25),
    "tags": (tags.measure, 7),
    "served": (served.measure, 8),
}
# What is stored beside the study's parts, and the modules of ours that it is about.
BESIDE = {
    "bench.json": ("benchmarks.__main__",),
    "mutants.json": ("vtm.metrics.retrieval", "vtm.metrics.ranking", "vtm.model.distill"),
    "torture.json": ("vtm.cli.notebooks", "vtm.experiment.runs", "vtm_study.book"),
    "torture-inputs.json": ("vtm.api", "vtm.newsimages.task"),
}
# What the minutes were measured with.
MEASURED = "openclipart and 5 seeds"
MEASURED_SEEDS, MEASURED_PAIRS = 5, 1628


@dataclass(frozen=True)
class PlannedPart:
    """A part of the study: `minutes` is what it takes, `stored` the date of the file that is there, "" without one."""

    name: str
    minutes: float
    stored: str


def run_parts(
    data: Prepared,
    *,
    folder: Path | str | None = None,
    parts: Sequence[str] = (),
    force: bool = False,
    progress: bool = False,
) -> dict[str, dict[str, Any]]:
    """Run the named parts, by default all, in the order of `PARTS`, and write `<folder>/<part>.json`.

    A part that was interrupted goes on where its models and rows on disk end.

    Parameters
    ----------
    folder : by default `study` in the runs folder.
    force : measure what is current, too; models and rows that are on disk are still read back.
    progress : show a bar, in minutes of the parts' usual cost.

    Raises
    ------
    ConfigError
        No such part.
    """
    from tqdm import tqdm

    folder = study_folder(folder)
    planned = plan_parts(folder=folder, parts=parts)
    found = {}
    with (
        locked(folder, wait=False),
        tqdm(
            total=sum(PARTS[part.name][1] for part in planned),
            unit="min",
            bar_format="{desc:<16} {percentage:3.0f} % |{bar}| {elapsed} of about {total:.0f} min",
            leave=False,
            disable=None if progress else True,
        ) as bar,
    ):
        for part in planned:
            bar.set_description_str(part.name)
            measure, minutes = PARTS[part.name]
            path, key = folder / f"{part.name}.json", _key(data, part.name)
            current = None if force else read_current(path, key)
            found[part.name] = current or _run(data, measure, path, key)
            bar.update(minutes)
    return found


def plan_parts(*, folder: Path | str | None = None, parts: Sequence[str] = ()) -> list[PlannedPart]:
    """The parts that `run_parts` would go through. Whether a stored one is current is seen when the data are read.

    Raises
    ------
    ConfigError
        No such part.
    """
    for part in parts:
        if part not in PARTS:
            raise ConfigError(unknown_parameter(part, PARTS).replace("parameter", "part of the study"))
    folder = study_folder(folder)
    return [
        PlannedPart(name, minutes, _date(folder / f"{name}.json"))
        for name, (_, minutes) in PARTS.items()
        if not parts or name in parts
    ]


def cost_factor(*, n_seeds: int, n_train: int | None) -> float:
    """By how much the parts' minutes grow with seeds and training pairs; without their number, with seeds alone."""
    return n_seeds / MEASURED_SEEDS * (1 if n_train is None else n_train / MEASURED_PAIRS)


def study_folder(folder: Path | str | None = None) -> Path:
    """Where results go: never to those that come with the source, unless that folder is named."""
    return runs_dir() / "study" if folder is None else Path(folder).expanduser()


def older_than_code() -> dict[str, list[str]]:
    """The stored measurements that come with the source and with which code that has changed since: file -> modules.

    One that cannot be told, because the history is not there, is left out.
    """
    folder = results_dir()
    found = {path: (PARTS[path.stem][0].__module__,) for path in sorted(folder.glob("study/**/*.json"))}
    found |= {folder / name: modules for name, modules in BESIDE.items()}
    told = {}
    for path, modules in found.items():
        changed = {
            name for commit in _commits(read_json(path)) for name in changed_since(commit, *modules) or ()
        }
        if changed:
            told[str(path.relative_to(folder))] = sorted(changed)
    return told


def _commits(stored: Any) -> set[str]:
    """The commits that a file names: its own, or those of its parts."""
    if not isinstance(stored, dict):
        return set()
    if "commit" in stored:
        return {stored["commit"]}
    return set().union(*map(_commits, stored.values()))


def _date(path: Path) -> str:
    try:
        found = read_json(path)
    except (OSError, DataError):
        return ""
    return str(found.get("date", "")) if isinstance(found, dict) else ""


def _run(
    data: Prepared, measure: Callable[[Prepared], dict[str, Any]], path: Path, key: str
) -> dict[str, Any]:
    started = time.perf_counter()
    stored = {
        **plain(measure(data)),
        "key": key,
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "seeds": list(data.experiment.seeds),
        "parameters": dataclasses.asdict(data.experiment),
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_sealed(path, stored)
    return read_sealed(path)  # with lists for tuples, as it is read back


def _key(data: Prepared, name: str) -> str:
    """A part follows from the data, the experiment, the models' code, and the study's code that it reaches."""
    described = dataclasses.asdict(data.experiment)
    described.pop("study_folder")  # where chapters look for results
    code = code_hash(PARTS[name][0].__module__, without=BY_CONTENT)
    return hash_json([name, data.fingerprint(), data.n_missing, described, code])
