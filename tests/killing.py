"""Kill a job without warning, run it again, and compare what it leaves with what an undisturbed run left."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# What an undisturbed run would take another time: measured, so no figure of the run.
MEASURED = {"seconds"}

EXPERIMENT = """
import sys, json
from vtm.encoders import cache
cache.SHARD_ROWS = 16  # more moments between two shards
from vtm.config import KINDS, from_parameters
from vtm.experiment import run_baseline, run_models
from vtm.prepare import prepare
data = prepare(from_parameters(json.loads(sys.argv[1])), progress=False)
run_baseline(data)
for kind in KINDS:
    run_models(data, kind, progress=False)
"""


@dataclass(frozen=True)
class Job:
    """A command whose whole state is in folders below the one it is given."""

    name: str
    command: Callable[[Path], list[str]]
    prepare: Callable[[Path], None] = lambda folder: None

    def start(self, folder: Path, package: Path = ROOT) -> subprocess.Popen[bytes]:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "log.txt", "ab") as log:
            return subprocess.Popen(
                self.command(folder),
                cwd=package,
                env=environment(folder, package),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, folder: Path, package: Path = ROOT) -> float:
        """Run to the end; returns the seconds.

        Raises
        ------
        AssertionError
            It ended with an error, whose last lines are the message.
        """
        started = time.monotonic()
        code = self.start(folder, package).wait()
        assert code == 0, f"{self.name} ended with {code}: {(folder / 'log.txt').read_text()[-3000:]}"
        return time.monotonic() - started


def environment(folder: Path, package: Path = ROOT) -> dict[str, str]:
    """The environment of a job: data and results in `folder`, the package from the folder `package`."""
    names = {"VTM_DATA": "data", "VTM_RUNS": "runs", "TMPDIR": "tmp"}
    places = {name: str(folder / place) for name, place in names.items()}
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        **places,
        "PYTHONPATH": str(package),
        "TQDM_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def experiment(parameters: dict[str, Any], name: str = "experiment", **options: Any) -> Job:
    """Embedding, baseline and training of all models, without notebooks."""
    return Job(name, lambda _: [sys.executable, "-c", EXPERIMENT, json.dumps(parameters)], **options)


def notebooks(names: Sequence[str], *parameters: str) -> Job:
    """Some of the book's chapters with the smoke profile."""
    chosen = [argument for name in names for argument in ("--only", name)]
    chosen += [argument for parameter in parameters for argument in ("-p", parameter)]
    command = [sys.executable, "-m", "vtm.cli", "reproduce", "--profile", "smoke", *chosen]
    return Job("notebooks", lambda folder: [*command, "--out", str(folder / "executed")])


def openclipart_slice(data: Path, n: int, **parameters: Any) -> Job:
    """The first `n` pairs of openclipart, copied from the data folder `data`, with the encoder "offline"."""

    def prepare(folder: Path) -> None:
        stored = json.loads((data / "corpora" / "openclipart.json").read_text("utf-8"))["pairs"]
        pictures = folder / "pictures"
        pictures.mkdir(parents=True)
        step = len(stored) // n
        with open(pictures / "metadata.csv", "w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow(["file_name", "text"])
            for number, pair in enumerate(stored[: n * step : step]):
                shutil.copy(
                    data / "corpora" / "openclipart" / "png" / f"{pair['id']}.png", pictures / f"{number}.png"
                )
                table.writerow([f"{number}.png", pair["text"]])
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / "weights").symlink_to(data / "weights")

    def command(folder: Path) -> list[str]:
        # Relative to no working folder, and the same words in every folder: the corpus' name is part of the key.
        corpus = str(folder / "pictures" / "metadata.csv")
        return [
            sys.executable,
            "-c",
            EXPERIMENT,
            json.dumps({**parameters, "corpus": corpus, "encoder": "offline"}),
        ]

    return Job("openclipart", command, prepare)


def copy_package(target: Path) -> Path:
    """A copy of the checkout that a job can run from, so that an edit meanwhile changes nothing."""
    for name in ("vtm", "notebooks"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "_toc.yml"):
        shutil.copy(ROOT / name, target / name)
    return target


def descendants(pid: int) -> list[int]:
    """Process ids of a process' children and theirs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def kill(process: subprocess.Popen[bytes], whom: str) -> None:
    """SIGKILL: "all", or only the "parent", whose children find out by themselves, or only the "children"."""
    below = descendants(process.pid)
    victims = {"all": [process.pid, *below], "parent": [process.pid], "children": below or [process.pid]}[
        whom
    ]
    # Stopped first, so that none acts on the end of another.
    for sent in (signal.SIGSTOP, signal.SIGKILL):
        for pid in victims:
            try:
                os.kill(pid, sent)
            except ProcessLookupError:
                continue
    process.wait()


def stage(folder: Path) -> str:
    """How far a job has come, by its files."""
    if any((folder / "runs").rglob("result.json")):
        return "training, some results written"
    if any((folder / "runs").rglob("*.*")):
        return "training, no result yet"
    if any((folder / "data" / "embeddings").rglob("*.safetensors")):
        return "embedding or training"
    return "before the first shard"


@dataclass
class Kills:
    """What came of the kills of one job."""

    job: str
    undisturbed_seconds: float = 0.0
    tried: int = 0
    survived: int = 0
    too_late: int = 0  # the job had ended by itself
    stages: dict[str, int] = field(default_factory=dict)  # how far it had come -> kills
    whom: dict[str, int] = field(default_factory=dict)
    compared: int = 0  # things compared after each
    differences: list[str] = field(default_factory=list)


def survive(job: Job, kills: int, *, seed: int, scratch: Path, package: Path) -> Kills:
    """Kill `job` at random moments; after each kill it is run to its end and compared.

    Raises
    ------
    AssertionError
        A run after a kill did not end well.
    """
    draws = random.Random(f"kills of {job.name} {seed}")
    # The folder's name is part of a table's path, which is part of the keys; so each round takes the same place.
    place, found = scratch / job.name, Kills(job.name)

    def fresh() -> Path:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        job.prepare(place)
        return place

    found.undisturbed_seconds = job.run(fresh(), package)
    expected = contents(place)
    job.run(fresh(), package)
    again = contents(place)
    stable = {name for name, value in expected.items() if again.get(name) == value}
    unstable = sorted(set(expected) ^ stable)
    assert not [name for name in unstable if not name.startswith("executed")], unstable
    expected = {name: expected[name] for name in stable}
    found.compared = len(expected)
    while found.tried < kills:
        fresh()
        whom = draws.choice(("all", "all", "parent", "children"))
        process = job.start(place, package)
        try:
            process.wait(draws.uniform(0.1, 1.0) * found.undisturbed_seconds)
            found.too_late += 1
            continue
        except subprocess.TimeoutExpired:
            reached = stage(place)
            kill(process, whom)
        found.tried += 1
        found.stages[reached] = found.stages.get(reached, 0) + 1
        found.whom[whom] = found.whom.get(whom, 0) + 1
        job.run(place, package)
        now = contents(place)
        wrong = [name for name, value in expected.items() if now.get(name) != value]
        found.differences += [f"{job.name}, kill {found.tried}: {name}" for name in wrong]
        found.survived += not wrong
        print(f"{job.name}: kill {found.tried} of {kills} ({whom}), {len(wrong)} differences", flush=True)
    return found


def contents(folder: Path) -> dict[str, Any]:
    """Everything a job's results consist of, comparable bit by bit.

    Arrays and models by their bytes, descriptions without the measured seconds, embeddings by content (which shard
    holds which is chance), and the outputs of executed notebooks.
    """
    found: dict[str, Any] = {}
    for path in sorted((folder / "runs").rglob("*.*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".safetensors":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".json":
            found[name] = json.dumps(_without_measured(json.loads(path.read_text("utf-8"))), sort_keys=True)
    for encoder in sorted(path for path in (folder / "data" / "embeddings").glob("*") if path.is_dir()):
        found[f"embeddings/{encoder.name}"] = embeddings(encoder)
    for path in sorted((folder / "executed").glob("[0-9]*.ipynb")):
        for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
            if outputs := [o.get("data", o.get("text")) for o in cell.get("outputs", ())]:
                found[f"executed/{path.name}/{number}"] = json.dumps(outputs, sort_keys=True)
    return found


def embeddings(encoder: Path) -> str:
    """Digest of all embeddings of an encoder's folder in the cache, in the order of their contents' hashes."""
    from safetensors.numpy import load_file

    rows: dict[bytes, bytes] = {}
    for path in encoder.glob("*.safetensors"):
        tensors = load_file(path)
        for content, row in zip(tensors["contents"], tensors["embeddings"], strict=True):
            earlier = rows.setdefault(content.tobytes(), row.tobytes())
            assert earlier == row.tobytes(), f"{path}: two embeddings of one content"
    return hashlib.sha256(b"".join(key + rows[key] for key in sorted(rows))).hexdigest()


def _without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        # A seal is over the seconds, too.
        return {
            name: _without_measured(part)
            for name, part in value.items()
            if name not in MEASURED and name != "seal"
        }
    return [_without_measured(part) for part in value] if isinstance(value, list) else value
