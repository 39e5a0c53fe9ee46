"""Full disks, read-only folders, damaged files, two runs at once: the many tries that the normal run has no time for.

Run by `make torture`, or `pytest tests/torture/torture_faults.py`. Mounting needs root; without it those tests skip.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from killing import PARAMETERS, contents, copy_package, damage, experiment
from record import record
from rights import without_rights
from safetensors.numpy import load_file

from vtm.errors import DataError
from vtm.experiment.results import Result
from vtm.model.topicmodel import TopicModel

FLIPS = int(os.environ.get("VTM_TORTURE_FLIPS", "2000"))
SIZES_KIB = (16, 64, 128, 256, 400, 800, 1600, 8000)
RACES = 4
FOUND: dict[str, dict[str, int]] = {}


def tell(fault: str, outcomes: Counter[str]) -> None:
    FOUND[fault] = dict(outcomes)
    record("faults", {"tried": sum(sum(each.values()) for each in FOUND.values()), "outcomes": FOUND})


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_package(tmp_path_factory.mktemp("torture") / "package")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    experiment(PARAMETERS).run(folder, package)
    return folder


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Callable[[str], None]]:
    """A disk of some KiB at `folder`; yields what mounts it again with other options."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def last_line(folder: Path) -> str:
    return (folder / "log.txt").read_text("utf-8").strip().splitlines()[-1]


def test_disks_that_fill_up(undisturbed: Path, package: Path, tmp_path: Path) -> None:
    """At each size the run says which file could not be written; with more room it ends as if nothing had been."""
    job, outcomes = experiment(PARAMETERS), Counter[str]()
    for kib in SIZES_KIB:
        folder = tmp_path / str(kib)
        for part in ("data", "runs"):
            # The log stays outside: it must be readable afterwards.
            (folder / part).parent.mkdir(exist_ok=True)
        with small_disk(folder / "disk", kib) as remount:
            for part in ("data", "runs"):
                (folder / "disk" / part).mkdir()
                (folder / part).symlink_to(folder / "disk" / part)
            if job.start(folder, package).wait():
                said = last_line(folder)
                assert "cannot be written" in said and str(folder) in said and "make room" in said, said
                outcomes["refused, then finished"] += 1
            else:
                outcomes["had room"] += 1
            remount("size=64m")
            job.run(folder, package)
            assert contents(folder) == contents(undisturbed)
    assert outcomes["refused, then finished"] >= len(SIZES_KIB) // 2, outcomes
    tell("disk full", outcomes)


def test_folders_that_become_read_only(undisturbed: Path, package: Path, tmp_path: Path) -> None:
    """What is there is read; what would have to be written is named."""
    job, outcomes = experiment(PARAMETERS), Counter[str]()
    for lost in ("", "runs", "data/embeddings", "data/corpora"):
        folder = tmp_path / (lost.replace("/", "-") or "nothing")
        with small_disk(folder / "disk", 65536) as remount:
            for part in ("data", "runs"):
                shutil.copytree(undisturbed / part, folder / "disk" / part)
                (folder / part).symlink_to(folder / "disk" / part)
            if lost:
                shutil.rmtree(folder / "disk" / lost)
            remount("ro")
            code = job.start(folder, package).wait()
            if not lost:
                assert code == 0 and contents(folder) == contents(undisturbed), last_line(folder)
                outcomes["read"] += 1
                continue
            said = last_line(folder)
            assert code and "cannot be written" in said and "Read-only file system" in said, said
            remount("rw")
            job.run(folder, package)
            assert contents(folder) == contents(undisturbed)
            outcomes["refused, then finished"] += 1
    tell("read-only folder", outcomes)


def test_damaged_files(undisturbed: Path, tmp_path: Path) -> None:
    """Each is noticed, or what is read is bit for bit what was written."""
    folder, draws, outcomes = tmp_path / "copied", random.Random(1), Counter[str]()
    shutil.copytree(undisturbed, folder)
    seeds = sorted(path.parent for path in (folder / "runs").rglob("result.safetensors"))
    for _ in range(FLIPS):
        seed = draws.choice(seeds)
        model = draws.choice(("text", "image", "teacher"))
        if draws.random() < 0.5 or not (seed / f"{model}.safetensors").is_file():
            path, read = seed / "result.safetensors", partial(Result.load, seed)
        else:
            path, read = seed / f"{model}.safetensors", partial(TopicModel.load, seed / model)
        whole = path.read_bytes()
        how = damage(path, draws)
        if path.read_bytes() == whole:
            continue
        try:
            read()
        except DataError:
            outcomes["refused"] += 1
        else:
            raise AssertionError(f"{how} was not noticed in {seed}")
        finally:
            path.write_bytes(whole)
    tell("damaged result or model", outcomes)


def test_damaged_shards(undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with a shard, embeddings are those of the encoder."""
    import warnings

    from vtm.config import from_parameters
    from vtm.experiment.prepare import prepare

    draws, outcomes = random.Random(2), Counter[str]()
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    shutil.copytree(undisturbed / "data", tmp_path / "data")
    expected = prepare(from_parameters(PARAMETERS), progress=False).fingerprint()
    for _ in range(max(1, FLIPS // 20)):
        path = draws.choice(sorted((tmp_path / "data" / "embeddings").rglob("*.safetensors")))
        whole = path.read_bytes()
        damage(path, draws)
        changed = path.read_bytes() != whole
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert prepare(from_parameters(PARAMETERS), progress=False).fingerprint() == expected
        noticed = any("set aside" in str(warning.message) for warning in said)
        # A bit of the header's padding may change nothing that is read.
        outcomes["set aside, computed again" if noticed else "changed nothing"] += changed
    for path in (tmp_path / "data" / "embeddings").rglob("*.safetensors"):
        load_file(path)
    tell("damaged cache shard", outcomes)


def test_two_runs_at_once(undisturbed: Path, package: Path, tmp_path: Path) -> None:
    """On one data folder and one runs folder: both end well, with the numbers of one that was alone."""
    job, outcomes = experiment(PARAMETERS), Counter[str]()
    for number in range(RACES):
        folder = tmp_path / str(number)
        processes = [job.start(folder, package) for _ in range(2)]
        assert [process.wait() for process in processes] == [0, 0], (folder / "log.txt").read_text()[-3000:]
        assert contents(folder) == contents(undisturbed)
        outcomes["both finished"] += 1
    tell("two runs at once", outcomes)


def test_a_reader_without_rights(undisturbed: Path, package: Path, tmp_path: Path) -> None:
    """Another user's folders, readable but not writable: the results that are there are read."""
    command = without_rights()
    if command is None:
        pytest.skip("root without setpriv: rights do not bind this process")
    folder, outcomes = tmp_path / "shared", Counter[str]()
    shutil.copytree(undisturbed, folder)
    job = experiment(PARAMETERS)
    for path in [*folder.rglob("*")]:
        if path.is_dir() and path.name != "tmp":
            path.chmod(0o555)
    code = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    done = subprocess.run(
        [*command, sys.executable, "-c", code, *job.command(folder)],
        cwd=package,
        env={
            **os.environ,
            "VTM_DATA": str(folder / "data"),
            "VTM_RUNS": str(folder / "runs"),
            "PYTHONPATH": str(package),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes["read"] += 1
    tell("folders of another user", outcomes)
