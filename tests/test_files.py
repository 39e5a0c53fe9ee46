"""A folder that replaces an older one: what is there after an error, and after a kill at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vtm import files as folders
from vtm.files import LEFT_BEHIND, atomic_folder, exchange, recover_folder

# Replace the folder that is named, and die at the nth moment before or after a folder changes its name.
REPLACE = """
import os, signal, sys
from vtm import files as folders

path, system, moment = sys.argv[1], sys.argv[2], int(sys.argv[3])
moments = 0

def around(step):
    def stepped(*arguments):
        die()
        done = step(*arguments)
        die()
        return done
    return stepped

def die():
    global moments
    moments += 1
    if moments == moment:
        os.kill(os.getpid(), signal.SIGKILL)

os.rename = around(os.rename)
folders.exchange = around(folders.exchange) if system == "exchange" else lambda *names: False
with folders.atomic_folder(path) as new:
    for name in "ab":
        (new / name).write_text("second")
"""


def write(path: Path, text: str) -> None:
    with atomic_folder(path) as new:
        for name in "ab":
            (new / name).write_text(text)


def content(path: Path) -> dict[str, str]:
    return {entry.name: entry.read_text() for entry in path.iterdir()}


def replace(path: Path, system: str, moment: int) -> int:
    command = [sys.executable, "-c", REPLACE, str(path), system, str(moment)]
    return subprocess.run(command, check=False).returncode


def leave_behind(*asides: Path) -> None:
    for aside in asides:
        os.utime(aside, (time.time() - LEFT_BEHIND - 9,) * 2)


FIRST, SECOND = ({name: text for name in "ab"} for text in ("first", "second"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "m[1]"
    write(path, "first")
    return path


@pytest.fixture(params=["exchange", "renames"])
def system(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Systems that can exchange two folders, and others."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    if request.param == "renames":
        monkeypatch.setattr(folders, "exchange", lambda *names: False)
    elif not exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this system cannot exchange two folders")
    return request.param


def test_a_folder_is_made_replaced_and_kept_after_an_error(place: Path, system: str) -> None:
    assert content(place) == FIRST
    write(place, "second")
    assert content(place) == SECOND
    with pytest.raises(ZeroDivisionError), atomic_folder(place) as new:
        (new / "a").write_text("third")
        raise ZeroDivisionError
    assert content(place) == SECOND
    assert list(place.parent.iterdir()) == [place]


def test_two_folders_change_places(tmp_path: Path) -> None:
    if sys.platform != "linux":
        assert not exchange(tmp_path, tmp_path)
        return
    write(tmp_path / "one", "first")
    write(tmp_path / "other", "second")
    inodes = [(tmp_path / name).stat().st_ino for name in ("one", "other")]
    if not exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this file system cannot exchange two folders")
    assert content(tmp_path / "one") == SECOND and content(tmp_path / "other") == FIRST
    assert [(tmp_path / name).stat().st_ino for name in ("other", "one")] == inodes
    assert not exchange(tmp_path / "one", tmp_path / "gone")


@pytest.mark.parametrize("broken", [1, 2])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_the_older_folder_comes_back_when_the_new_one_cannot_take_its_place(
    place: Path, monkeypatch: pytest.MonkeyPatch, broken: int, error: BaseException
) -> None:
    renames = iter(range(1, 9))
    rename = os.rename

    def failing(*names) -> None:
        if next(renames) == broken:
            raise error
        rename(*names)

    monkeypatch.setattr(folders, "exchange", lambda *names: False)
    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(type(error)):
        write(place, "second")
    assert content(place) == FIRST
    assert list(place.parent.iterdir()) == [place]


# What is in the place after a kill at each moment; None: nothing, until the folder is recovered.
AFTER = {"exchange": [FIRST, SECOND], "renames": [FIRST, None, None, SECOND]}


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
def test_a_kill_leaves_the_older_folder_or_the_new_one(place: Path, system: str, moment: int) -> None:
    if moment > len(AFTER[system]):
        assert replace(place, system, moment) == 0
        assert content(place) == SECOND
        return
    assert replace(place, system, moment) == -signal.SIGKILL
    assert len(list(place.parent.glob(".*.tmp"))) == 1
    expected = AFTER[system][moment - 1]
    assert place.exists() == (expected is not None)
    recover_folder(place)
    assert content(place) == (expected or SECOND)
    leave_behind(*place.parent.glob(".*.tmp"))
    write(place, "third")
    assert set(content(place).values()) == {"third"}
    assert list(place.parent.iterdir()) == [place]


def test_what_is_missing_is_recovered_before_it_is_replaced(place: Path) -> None:
    assert replace(place, "renames", 2) == -signal.SIGKILL
    with pytest.raises(ZeroDivisionError), atomic_folder(place):
        raise ZeroDivisionError
    assert content(place) == SECOND
    assert list(place.parent.iterdir()) == [place]


def test_only_what_killed_runs_left_of_the_same_folder_goes(place: Path) -> None:
    def aside(name: str, *entries: str) -> Path:
        for entry in entries:
            (place.parent / name / entry).mkdir(parents=True)
        return place.parent / name

    old = aside(".m[1].abcdefgh.tmp", "new")
    leave_behind(old, other := aside(".m[1].x.abcdefgh.tmp", "new"), mine := aside(".m[1].pictures.tmp", "a"))
    young = aside(".m[1].hgfedcba.tmp", "new")
    recover_folder(place.parent / "m")
    write(place, "second")
    assert set(place.parent.iterdir()) == {place, other, mine, young}
