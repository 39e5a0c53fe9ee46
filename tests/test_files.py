"""Arrays with a description in one file, and what is made once and kept."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from vtm import files
from vtm.errors import DataError, MissingError, StorageError, VtmError, said
from vtm.files import code_of, kept, load_about, load_arrays, locked, save_arrays, scratch

ARRAYS = {
    "theta": np.arange(12, dtype=np.float32).reshape(3, 4),
    "turned": np.arange(12).reshape(3, 4).T,
    "ordered": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "known": np.array([True, False]),
    "none": np.zeros((0, 3), np.float32),
    "single": np.array(2.5),
}
ABOUT = {"ids": ["a", "ä"], "n": 3, "nested": {"x": [1.5, None]}}


def test_what_was_saved_is_loaded_whatever_the_order_of_the_axes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.safetensors"
    save_arrays(path, ARRAYS, ABOUT)
    arrays, about = load_arrays(path)
    assert about == ABOUT == load_about(path)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
    np.testing.assert_array_equal(load_file(path)["turned"], ARRAYS["turned"])  # by the library itself


def test_mapped_arrays_are_those_that_were_written(tmp_path):
    arrays = {
        "numbers": np.random.default_rng(0).normal(size=(5, 3)),
        "single": np.float32([1.5]),
        "bytes": np.arange(7, dtype=np.uint8),
        "truth": np.array([[True], [False]]),
        "none": np.empty((0, 4), dtype=np.int64),
    }
    save_arrays(tmp_path / "a", arrays, {"about": 1})
    found, about = load_arrays(tmp_path / "a", mapped=True)
    assert about == {"about": 1} and found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and not (array.size and found[name].flags.writeable)
        np.testing.assert_array_equal(found[name], array)
    content = bytearray((tmp_path / "a").read_bytes())
    content[-1] ^= 1
    (tmp_path / "a").unlink()
    (tmp_path / "a").write_bytes(content)
    load_arrays(tmp_path / "a", mapped=True, checked=False)
    with pytest.raises(DataError, match="not what was written"):
        load_arrays(tmp_path / "a", mapped=True)


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\nfrom vtm.files import save_arrays\n"
        "save_arrays(sys.argv[1], {'b': np.ones(3), 'a': np.zeros(2)}, {'y': 1, 'x': 2})"
    )
    for seed in "12":
        command = [sys.executable, "-c", code, str(tmp_path / seed)]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_arrays(path, {"theta": ARRAYS["theta"]}, ABOUT)
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        try:
            arrays, about = load_arrays(path)
        except DataError as error:
            assert str(path) in str(error)
        else:  # white space that JSON does not read, or a digit of a name's escape
            assert about == ABOUT and np.array_equal(arrays["theta"], ARRAYS["theta"]), place
    path.write_bytes(good[:-1])
    with pytest.raises(DataError, match="delete it and run again"):
        load_arrays(path)
    with pytest.raises(MissingError, match="no such file"):
        load_about(tmp_path / "gone")


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "x.safetensors"
    for metadata in (None, {"format": "pt"}, {"vtm": "[]"}, {"vtm": json.dumps({"about": 1, "sha256": ""})}):
        save_file({"x": np.zeros(1)}, path, metadata)
        for read in (load_about, load_arrays):
            with pytest.raises(DataError, match="not a file of vtm's"):
                read(path)


@pytest.mark.parametrize("name", ["x.json", "x.safetensors"])
def test_it_is_made_once_for_a_key_and_again_for_another_or_when_damaged(tmp_path: Path, name: str) -> None:
    path, made = tmp_path / "folder" / name, []

    def make():
        made.append(1)
        about = {"n": len(made)}
        return ({"x": np.array([len(made)])}, about) if path.suffix == ".safetensors" else about

    def n(found) -> int:
        return found[1]["n"] if path.suffix == ".safetensors" else found["n"]

    assert [n(kept(path, key, make)) for key in ("one", "one", "two", "two")] == [1, 1, 2, 2]
    damaged = path.read_bytes().replace(b'n"', b'm"').replace(b'n\\"', b'm\\"')
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=f"{name}: .*; it is made again"):
        assert n(kept(path, "two", make)) == 3
    assert n(kept(path, "two", make)) == 3


def test_two_threads_make_it_once(tmp_path: Path) -> None:
    made, found = [], []
    entered = threading.Barrier(2, timeout=20)

    def work() -> None:
        entered.wait()
        found.append(kept(tmp_path / "x.json", "key", lambda: made.append(1) or {"n": 1}))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert made == [1] and [value["n"] for value in found] == [1, 1]


def test_others_are_made_in_the_same_folder_meanwhile(tmp_path: Path) -> None:
    """Two measurements in one folder do not wait for each other, one and the same does; no lock is left behind."""
    started, go_on = threading.Event(), threading.Event()
    found = []

    def slow() -> dict:
        started.set()
        assert go_on.wait(20)
        return {"n": 1}

    threads = [
        threading.Thread(target=lambda: found.append(kept(tmp_path / "a.json", "key", slow))),
        threading.Thread(target=lambda: found.append(kept(tmp_path / "a.json", "key", lambda: {"n": 2}))),
    ]
    threads[0].start()
    assert started.wait(20)
    threads[1].start()
    assert kept(tmp_path / "b.json", "key", lambda: {"n": 3})["n"] == 3 and not found
    go_on.set()
    for thread in threads:
        thread.join(timeout=20)
    assert [each["n"] for each in found] == [1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_an_error_of_what_makes_it_leaves_nothing_and_frees_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        kept(tmp_path / "x.json", "key", lambda: 1 / 0)
    with locked(tmp_path, wait=False):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        with pytest.raises(VtmError, match="is writing there"), locked(tmp_path, wait=False):
            pass


def test_the_code_that_a_figure_follows_from_is_what_its_module_imports() -> None:
    reached = code_of("vtm_study.reference", without=("vtm.errors",))
    assert {"vtm_study.reference", "vtm.model.network", "vtm.model.training", "vtm.config"} <= reached.keys()
    assert "vtm.errors" not in reached and "vtm.cli" not in reached
    peers = code_of("vtm_study.peers")
    assert "vtm_study.reference" in peers, "the peers seed with the reference trainer"
    assert "vtm.encoders" not in code_of("vtm_study.peers", without=("vtm.encoders",))


def test_a_module_that_is_imported_as_such_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_measure.py").write_text(
        "import json\nimport vtm_study.formats, vtm.metrics.topics as topics\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert {"vtm_study.formats", "vtm.metrics.topics"} <= code_of("a_measure").keys()


def test_a_file_that_another_process_replaces_is_read_as_one_of_the_two(tmp_path: Path) -> None:
    path, stop = tmp_path / "x.safetensors", threading.Event()
    contents = [({"x": np.full(9, number)}, {"n": number}) for number in (0, 1)]

    def write() -> None:
        while not stop.is_set():
            for content in contents:
                save_arrays(path, *content)

    save_arrays(path, *contents[0])
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(200):
            arrays, about = load_arrays(path)
            assert (arrays["x"] == about["n"]).all()
    finally:
        stop.set()
        thread.join()


def test_what_another_key_has_just_been_stored_under_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    save_arrays(path, {"x": np.zeros(1)}, {"key": "other"})
    read = files.load_about
    said = iter([{"key": "mine"}])  # the file as it was a moment before
    monkeypatch.setattr(files, "load_about", lambda path: next(said, None) or read(path))
    arrays, _ = kept(path, "mine", lambda: ({"x": np.ones(1)}, {}))
    assert arrays["x"] == 1


def test_a_full_disk_is_told_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageError, match="No space left.*; make room"), locked(tmp_path):
        pass
    monkeypatch.undo()
    with locked(tmp_path, wait=False):
        pass


def test_what_killed_runs_left_is_swept_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, signal\nfrom vtm.files import scratch\n"
        "with scratch() as folder:\n    (folder / 'half').write_text('x')\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == -signal.SIGKILL
    (killed,) = tmp_path.iterdir()
    (tmp_path / "vtm-runs").mkdir()  # a user's
    (tmp_path / "vtm-runs" / "model").touch()

    def age() -> None:
        long_ago = time.time() - 2 * files.LEFT_BEHIND
        for path in [*tmp_path.rglob("*"), *tmp_path.rglob(".*")]:
            os.utime(path, (long_ago, long_ago))

    with scratch():
        assert killed.exists(), "it may have been left a moment ago"
    age()
    with scratch() as mine:
        assert not killed.exists() and mine.is_dir()
        age()  # at work for long
        with scratch() as other:
            assert mine.is_dir() and other != mine
    assert [path.name for path in tmp_path.iterdir()] == ["vtm-runs"]
    assert (tmp_path / "vtm-runs" / "model").exists()


def test_a_temporary_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(StorageError, match=f"^{tempfile.gettempdir()}/.*: cannot be written .No space left"):
        with scratch():
            pass


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(13, "Permission denied", "a.csv"), "a.csv: Permission denied"),
        (PermissionError(13, "Permission denied", b"a.csv"), "a.csv: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device: something could not be .* in /.*"),
        (StorageError("a.csv: cannot be written"), "a.csv: cannot be written"),
        (OSError("as it was said"), "as it was said"),
        (MemoryError(), "there is not enough memory; .*"),
    ],
)
def test_what_the_system_says_is_told_with_its_place_and_without_its_number(
    error: OSError, text: str
) -> None:
    assert re.fullmatch(text, said(error)) and "Errno" not in said(error)


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read for their hash; a file's clock never stands still."""
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(files, "LATELY", 0)
    found: list[str] = []
    read = files.hash_file
    monkeypatch.setattr(files, "hash_file", lambda path: (found.append(Path(path).name), read(path))[1])
    return found


def test_a_file_is_read_for_its_hash_once(tmp_path: Path, reads: list[str]) -> None:
    picture = tmp_path / "one.jpg"
    picture.write_bytes(b"one")
    right = hashlib.sha256(b"one").hexdigest()
    assert {files.known_hash(picture) for _ in range(3)} == {right} and reads == ["one.jpg"]
    # By its full path, whatever it was called by; a name that is no UTF-8 is a name.
    with contextlib.chdir(tmp_path):
        assert files.known_hash("one.jpg") == right and len(reads) == 1
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg"))
    odd.write_bytes(b"odd")
    assert files.known_hash(odd) == files.known_hash(odd) == hashlib.sha256(b"odd").hexdigest()
    assert len(reads) == 2


def test_a_file_of_other_content_is_read_again_whatever_its_size_and_time_say(
    tmp_path: Path, reads: list[str]
) -> None:
    picture = tmp_path / "one.jpg"
    picture.write_bytes(b"one")
    files.known_hash(picture)
    before = picture.stat()
    time.sleep(0.02)
    picture.write_bytes(b"two")
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (picture.stat().st_size, picture.stat().st_mtime_ns) == (3, before.st_mtime_ns)
    assert files.known_hash(picture) == hashlib.sha256(b"two").hexdigest()
    # One that takes its place, too.
    other = tmp_path / "other.jpg"
    other.write_bytes(b"six")
    os.replace(other, picture)
    assert files.known_hash(picture) == hashlib.sha256(b"six").hexdigest()


def test_what_was_touched_just_now_is_not_kept(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LATELY", 10**12)
    (tmp_path / "one.jpg").write_bytes(b"one")
    files.known_hash(tmp_path / "one.jpg")
    files.known_hash(tmp_path / "one.jpg")
    assert reads == ["one.jpg", "one.jpg"]


@pytest.mark.parametrize("trouble", ["damaged", "a folder", "no place"])
def test_without_a_table_of_hashes_files_are_read(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    table = tmp_path / "data" / "hashes.sqlite3"
    if trouble == "no place":
        (tmp_path / "data").write_text("a file")
    elif trouble == "a folder":
        table.mkdir(parents=True)
    else:
        table.parent.mkdir()
        table.write_bytes(b"no table " * 1000)
    (tmp_path / "one.jpg").write_bytes(b"one")
    right = hashlib.sha256(b"one").hexdigest()
    assert files.known_hash(tmp_path / "one.jpg") == files.known_hash(tmp_path / "one.jpg") == right
    assert len(reads) == (1 if trouble == "damaged" else 2)  # a damaged one is made anew
    with pytest.raises(FileNotFoundError):
        files.known_hash(tmp_path / "none.jpg")
