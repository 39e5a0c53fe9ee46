"""Small helpers for files: atomic writes and hashes. Nothing here knows about topics or pictures."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
import time
import warnings
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import DataError, MissingError, StorageError

if TYPE_CHECKING:
    import numpy as np

# What the system says of a place that is full, over its limit, read-only, another's, or broken.
_UNWRITABLE = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO")
    if hasattr(errno, name)
}
# A temporary file this old, in seconds, was left by a killed run.
LEFT_BEHIND = 3600.0


@contextmanager
def atomic_path(path: Path | str, *, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place in one step.

    After an error, or when the process is killed, `path` is what it was before.
    Missing parent folders are made.

    Parameters
    ----------
    mode
        Permissions of the file; by default those of any new one.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise _storage_error(path, error.strerror) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; what we write is as readable as any other file.
        if mode is None:
            mask = os.umask(0)
            os.umask(mask)
            mode = 0o666 & ~mask
        os.chmod(temporary, mode)
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except Exception as error:
        if told := _unwritable(error, temporary):
            raise _storage_error(path, told) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(error: Exception, temporary: Path) -> str:
    """What the system said, if it could not write `temporary`; "" for any other error."""
    if isinstance(error, OSError):
        ours = error.filename is None or str(error.filename) == str(temporary)
        return str(error.strerror) if ours and error.errno in _UNWRITABLE else ""
    # safetensors has one class of error for all that can happen, with the system's words in it.
    found = (
        re.search(r"\(os error (\d+)\)", str(error)) if type(error).__name__ == "SafetensorError" else None
    )
    return os.strerror(int(found[1])) if found and int(found[1]) in _UNWRITABLE else ""


def _storage_error(path: Path, told: str | None) -> StorageError:
    return StorageError(f"{path}: cannot be written ({told}); make room or name another folder")


def remove_leftovers(folder: Path | str) -> None:
    """Remove the temporary files of `atomic_path` below `folder` that killed runs left there."""
    for path in Path(folder).rglob(".*.tmp"):
        try:
            if path.is_file() and time.time() - path.stat().st_mtime > LEFT_BEHIND:
                path.unlink()
        except OSError:  # another process was faster, or it is not ours to remove
            continue


def check_regular(path: Path | str, *, most: int | None = None) -> None:
    """Look at a file before it is opened: a FIFO would be waited for without end, and a device never ends.

    Raises
    ------
    DataError
        It is no regular file, or larger than `most` bytes.
    OSError
        There is no such file, or no right to look.
    """
    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):
        raise DataError(f"{path}: is no regular file")
    if most is not None and about.st_size > most:
        raise DataError(f"{path}: is larger than {most / 1e6:.0f} MB")


def read_regular(path: Path | str, *, most: int | None = None) -> bytes:
    """The content of a file; errors as those of `check_regular`, and OSError where it cannot be read."""
    check_regular(path, most=most)
    return Path(path).read_bytes()


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; errors name the file and the remedy."""
    try:
        return json.loads(read_regular(path).decode("utf-8"))
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file; run the step that writes it first") from None
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        # No UTF-8, no JSON, a number of too many digits; or brackets nested too deep.
        raise DataError(f"{path}: not readable as JSON ({error}); delete it and run again") from None


def write_sealed(path: Path | str, value: dict[str, Any]) -> None:
    """As `write_json`, with a hash of the content under "seal", which `read_sealed` checks."""
    plain = json.loads(json.dumps(value))
    write_json(path, {**plain, "seal": hash_json(plain)})


def read_sealed(path: Path | str) -> dict[str, Any]:
    """What `write_sealed` wrote.

    Raises
    ------
    MissingError, DataError
        No such file, or its content is not what was written.
    """
    plain = read_json(path)
    if not isinstance(plain, dict) or plain.pop("seal", None) != hash_json(plain):
        raise DataError(f"{path}: its content is not what was written; delete it and run again")
    return plain


def read_current(path: Path | str, key: str) -> dict[str, Any] | None:
    """What was sealed with `key` under "key"; None where that has to be made again.

    That is where there is nothing, what was written under another key, or a damaged file, which is said.
    """
    try:
        plain = read_json(path)
        if not isinstance(plain, dict) or plain.get("key") != key:
            return None
        return read_sealed(path)
    except MissingError:
        return None
    except DataError as error:
        warnings.warn(f"{str(error).partition(';')[0]}; it is made again", stacklevel=2)
        return None


def read_tensors(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file.

    Raises
    ------
    MissingError, DataError
        No such file, or it is of another kind.
    """
    from safetensors.numpy import load_file

    try:
        check_regular(path)
        return load_file(path)
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file; run the step that writes it first") from None
    except (DataError, PermissionError):
        raise
    except Exception as error:  # of the many that safetensors and NumPy raise
        raise DataError(f"{path}: not readable as safetensors ({error}); delete it and run again") from None


def hash_file(path: Path | str, *, algorithm: str = "sha256") -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def hash_tree(folder: Path | str, suffixes: Container[str]) -> dict[str, str]:
    """Name below `folder` -> hex SHA-256 of the content, of all files with one of these suffixes, in order."""
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file())
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}


def hash_json(value: Any) -> str:
    """Hex SHA-256 of a value's canonical JSON form."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
