"""A folder that takes the place of an older one in one step, as `vtm.files.atomic_path` does with files."""

from __future__ import annotations

import ctypes
import glob
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vtm.files import LEFT_BEHIND

NEW, OLD = "new", "old"
# Of linux/fcntl.h and linux/fs.h.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it takes `path`'s place, and what was there is removed.

    After an error `path` is what it was before. When the process is killed, it is what it was or the new folder; where
    the system cannot exchange two folders, there may be none, until `recover_folder` brings the new one. Missing
    parent folders are made, and what killed runs left is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(path)
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        new, old = aside / NEW, aside / OLD
        new.mkdir()
        yield new
        if not os.path.lexists(path):
            new.rename(path)
        elif not exchange(new, path):
            try:
                path.rename(old)
                new.rename(path)
            except BaseException:
                if not os.path.lexists(path):
                    old.rename(path)
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for left in _asides(path):
        with suppress(OSError):  # another process was faster
            if time.time() - left.stat().st_mtime > LEFT_BEHIND:
                shutil.rmtree(left, ignore_errors=True)


def recover_folder(path: Path | str) -> None:
    """Finish what a killed `atomic_folder` began: where it took the older folder away, bring the new one."""
    path = Path(path)
    if os.path.lexists(path):
        return
    for aside in _asides(path):
        # The new folder is complete before the older one is taken away.
        if (aside / OLD).is_dir() and (aside / NEW).is_dir():
            with suppress(OSError):  # another process was faster, or it is not ours to move
                (aside / NEW).rename(path)
                shutil.rmtree(aside, ignore_errors=True)
                return


def exchange(one: Path, other: Path) -> bool:
    """Let two paths of one file system change places in one step; False where that cannot be done."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None).renameat2
    except AttributeError:  # an older C library
        return False
    names = os.fsencode(one), os.fsencode(other)
    return rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0


def _asides(path: Path) -> list[Path]:
    """Folders that `atomic_folder` has made beside `path`, by the names that it gives them."""
    found = path.parent.glob(f"{glob.escape(f'.{path.name}.')}{'?' * 8}.tmp")
    return [aside for aside in found if aside.is_dir() and _entries(aside) <= {NEW, OLD}]


def _entries(folder: Path) -> set[str]:
    with suppress(OSError):
        return set(os.listdir(folder))
    return set()
