"""Kill a job without warning, run it again, and compare what it leaves with what an undisturbed run left."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtm.files import load_arrays

ROOT = Path(__file__).resolve().parent.parent
# What an undisturbed run would take another time: measured, so no figure of the run.
MEASURED = {"seconds"}
# A command that takes so many times as long as the undisturbed one, and this many seconds more, hangs.
TIMES, MORE_SECONDS = 10, 120
# Between two looks at a job; longer, and the machine was asleep.
LONGEST_STEP = 1.0
STARTING = "starting"
MARK = "stage: "

EXPERIMENT = """
import sys, json
from vtm.encoders import cache
cache.SHARD_ROWS = 16  # more moments between two shards
from vtm.config import KINDS
from vtm.config import from_parameters
from vtm.experiment.runs import run_baseline, run_models
from vtm.experiment.prepare import prepare
print("stage: embedding", flush=True)
data = prepare(from_parameters(json.loads(sys.argv[1])), progress=False)
print("stage: training", flush=True)
run_baseline(data)
for kind in KINDS:
    run_models(data, kind, progress=False)
"""


# The parameters of an experiment that is over in seconds.
PARAMETERS = {
    **{"corpus": "scenes:n=100", "encoder": "pixels", "n_topics": [4], "seeds": [0, 1]},
    **{"epochs": 4, "batch_size": 16, "min_df": 2},
}


class DidNotFinish(AssertionError):
    """A command ended with an error, whose last lines are the message, or not at all."""


@dataclass(frozen=True)
class Job:
    """Commands, run one after the other, whose whole state is in folders below the one that they are given.

    Parameters
    ----------
    commands : folder -> (stage, command) each; a command that prints "stage: NAME" begins another stage.
    prepare : makes in an empty folder what the commands need.
    without : stage -> what takes out of a finished folder what that stage and those after it have made; kills of
        such a stage start from there.
    """

    name: str
    commands: Callable[[Path], list[tuple[str, list[str]]]]
    prepare: Callable[[Path], None] = lambda folder: None
    without: dict[str, Callable[[Path], None]] | None = None

    def command(self, folder: Path) -> list[str]:
        """The first command."""
        return self.commands(folder)[0][1]

    def start(self, folder: Path, package: Path = ROOT, *, number: int = 0) -> subprocess.Popen[bytes]:
        folder.mkdir(parents=True, exist_ok=True)
        stage, command = self.commands(folder)[number]
        with open(folder / "log.txt", "ab") as log:
            log.write(f"{MARK}{stage}\n".encode())
            log.flush()
            return subprocess.Popen(
                command,
                cwd=package,
                env=environment(folder, package),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(
        self,
        folder: Path,
        package: Path = ROOT,
        *,
        timeout: float = float("inf"),
        watch: Callable[[str, float, subprocess.Popen[bytes]], bool] = lambda *told: False,
    ) -> dict[str, float]:
        """Run all commands; returns stage -> seconds.

        `watch` is called some hundred times a second, with the stage and the seconds since the start; when it
        returns True the run is left as it is.

        Raises
        ------
        DidNotFinish
        """
        seconds: dict[str, float] = {}
        passed, last = 0.0, time.monotonic()
        for number in range(len(self.commands(folder))):
            process = self.start(folder, package, number=number)
            while True:
                ended = process.poll() is not None
                stage, now = reached(folder), time.monotonic()
                step, last = min(now - last, LONGEST_STEP), now
                seconds[stage] = seconds.get(stage, 0.0) + step
                passed += step
                if watch(stage, passed, process):
                    return seconds
                if ended:
                    break
                if passed > timeout:
                    kill(process, "all")
                    raise DidNotFinish(f"{self.name}: not at its end after {timeout:.0f} seconds")
                time.sleep(0.005)
            if process.returncode:
                said = (folder / "log.txt").read_text("utf-8", "replace")[-3000:]
                raise DidNotFinish(f"{self.name} ended with {process.returncode}: {said}")
        return seconds


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


def reached(folder: Path) -> str:
    """The stage that a job has begun last, by its log."""
    try:
        said = (folder / "log.txt").read_bytes().decode("utf-8", "replace")
    except OSError:
        return STARTING
    lines = [line for line in said.splitlines() if line.startswith(MARK)]
    return lines[-1].removeprefix(MARK) if lines else STARTING


def experiment(parameters: dict[str, Any], name: str = "experiment", **options: Any) -> Job:
    """Embedding, baseline and training of all models, without notebooks."""
    command = [sys.executable, "-c", EXPERIMENT, json.dumps(parameters)]
    return Job(name, lambda _: [(STARTING, command)], **options)


def copy_package(target: Path) -> Path:
    """A copy of the checkout that a job can run from, so that an edit meanwhile changes nothing."""
    for name in ("vtm", "vtm_study", "notebooks"):
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


def flip(path: Path, position: int, mask: int = 0x10) -> None:
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= mask
    path.write_bytes(content)


def damage(path: Path, draws: random.Random) -> str:
    """One fault of a disk: a flipped bit, a lost end, a hole."""
    content = path.read_bytes()
    how = draws.choice(("bit", "end", "hole"))
    place = draws.randrange(len(content))
    if how == "bit":
        flip(path, place, 1 << draws.randrange(8))
    elif how == "end":
        path.write_bytes(content[:place])
    else:
        path.write_bytes(content[:place] + bytes(min(64, len(content) - place)) + content[place + 64 :])
    return f"{how} at {place} of {path.name}"


def contents(folder: Path) -> dict[str, Any]:
    """Everything a job's results consist of, comparable bit by bit.

    Arrays, and descriptions without the measured seconds, embeddings by content (which shard holds which is chance), the
    outputs of executed notebooks, and the files of a built book. Columns of tables that tell seconds do not count, in pages
    and in CSV; the book's copies of the notebooks are not compared, as they hold the times of each cell.
    """
    found: dict[str, Any] = {}
    for path in sorted((folder / "runs").rglob("*.*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".safetensors":
            arrays, about = load_arrays(path)
            found[name] = [json.dumps(_without_measured(about), sort_keys=True)]
            found[name] += [[key, str(a.dtype), a.shape, a.tobytes()] for key, a in sorted(arrays.items())]
        elif path.suffix == ".json":
            found[name] = json.dumps(_without_measured(json.loads(path.read_text("utf-8"))), sort_keys=True)
    for encoder in sorted(path for path in (folder / "data" / "embeddings").glob("*") if path.is_dir()):
        found[f"embeddings/{encoder.name}"] = embeddings(encoder)
    for path in sorted((folder / "book" / "executed").glob("[0-9]*.ipynb")):
        for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
            if cell.get("outputs"):
                found[f"executed/{path.name}/{number}"] = json.dumps(_shown(cell["outputs"]), sort_keys=True)
    pages = folder / "book" / "_build" / "html"
    for path in sorted(path for path in pages.rglob("*") if path.is_file()):
        name = path.relative_to(pages).as_posix()
        if not name.startswith("_sources/"):
            kept = path.read_bytes()
            if emptied := {".html": _without_seconds, ".csv": _rows_without_seconds}.get(path.suffix):
                kept = emptied(kept.decode()).encode()
            found[f"book/{name}"] = hashlib.sha256(kept).hexdigest()
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


def _shown(outputs: list[dict[str, Any]]) -> list[Any]:
    """What a cell shows: of a table that is there as a page and as plain text, the page."""
    shown = []
    for output in outputs:
        data = output.get("data", output.get("text"))
        if isinstance(data, dict) and "text/html" in data:
            page = _without_seconds("".join(data["text/html"]))
            data = {name: part for name, part in data.items() if name != "text/plain"} | {"text/html": page}
        shown.append(data)
    return shown


def _rows_without_seconds(table: str) -> str:
    """A table in CSV without its columns of seconds."""
    lines = list(csv.reader(io.StringIO(table)))
    measured = {n for n, name in enumerate(lines[0] if lines else []) if "seconds" in name}
    return json.dumps([[cell for n, cell in enumerate(line) if n not in measured] for line in lines])


def _without_seconds(page: str) -> str:
    """A page whose tables' columns of seconds are empty."""
    if "seconds" not in page:
        return page
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(page, "html.parser")
    for table in soup.find_all("table"):
        lines = [line.find_all(["th", "td"]) for line in table.find_all("tr")]
        measured = [n for n, cell in enumerate(lines[0]) if "seconds" in cell.get_text()] if lines else []
        for cell in (line[n] for line in lines[1:] for n in measured if n < len(line)):
            cell.string = ""
    return str(soup)
