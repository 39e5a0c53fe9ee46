"""One writer at a time in a folder. A lock goes with its process: a killed one leaves none behind."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vtm.errors import StorageError, VtmError
from vtm.files import remove_leftovers

NAME = ".lock"
# File systems that have no locks say so by one of these; then nothing is locked.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def exclusive(folder: Path | str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of `folder`, which is made, and remove what killed runs were writing there.

    Parameters
    ----------
    wait : wait for whoever holds it (said on a terminal); else that is an error.

    Raises
    ------
    VtmError
        Another process or thread holds it, and `wait` is False; the message has its process id.
    StorageError
        The folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(folder / NAME, "a+", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written ({error.strerror}); make it writable or name another folder"
        ) from error
    with stream:
        if not _take(stream.fileno(), wait=False):
            stream.seek(0)
            holder = stream.read(20).strip() or "unknown"
            if not wait:
                raise VtmError(
                    f"{folder}: another run (process {holder}) is writing there; wait until it has ended, or "
                    "name another folder"
                )
            if sys.stderr.isatty():
                print(f"waiting for process {holder}, which is writing to {folder}", file=sys.stderr)
            _take(stream.fileno(), wait=True)
        try:
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
        except OSError as error:
            raise StorageError(f"{folder}: cannot be written ({error.strerror}); make room") from error
        remove_leftovers(folder)
        yield


def _take(handle: int, *, wait: bool) -> bool:
    """Whether the lock is ours; always, where there are no locks."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True
