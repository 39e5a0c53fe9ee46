"""Files as vtm keeps them: places, hashes, whole or not at all, made once. Importing this module creates nothing."""

from __future__ import annotations

import ast
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import ConfigError, DataError, MissingError, StorageError, VtmError

if TYPE_CHECKING:
    import sqlite3

    import numpy as np


# What the system says of a place that is full, over its limit, read-only, another's, or broken.
_UNWRITABLE = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO")
    if hasattr(errno, name)
}
# A temporary file this old, in seconds, was left by a killed run.
LEFT_BEHIND = 3600.0
# How the names of temporary folders begin.
SCRATCH = "vtm-scratch-"
# Nanoseconds that a clock of files may stand still, with room to spare.
LATELY = 2_000_000_000
# One at a time uses a connection.
_HASHING = threading.Lock()
# Of the file in a folder that has one writer at a time, see `locked`.
LOCK = ".lock"
# Whose source a stored figure may follow from.
_OURS = ("vtm", "vtm_study", "benchmarks")
# File systems that have no locks say so by one of these; then nothing is locked.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
# What a formula begins with in Excel, LibreOffice and Google's spreadsheets, also behind a tab or a line break.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# The one entry of metadata in a file of `save_arrays`.
_HEAD = "vtm"


def checkout() -> Path | None:
    """The root of the source checkout that this package runs from, or None when it is installed."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "_toc.yml").is_file() else None


def results_dir() -> Path:
    """The measurements that come with the source: `results/` in a checkout, or `./results`."""
    return (checkout() or Path()) / "results"


def data_dir() -> Path:
    """Downloads, corpora and embedding caches: $VTM_DATA, or `data/` in a checkout, or the user's cache."""
    if named := os.environ.get("VTM_DATA"):
        return Path(named).expanduser().resolve()
    if root := checkout():
        return root / "data"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "vtm"


def runs_dir() -> Path:
    """Trained models, theta and tables: $VTM_RUNS, or `runs/` in a checkout, or `./vtm-runs`."""
    if named := os.environ.get("VTM_RUNS"):
        return Path(named).expanduser().resolve()
    if root := checkout():
        return root / "runs"
    return Path.cwd() / "vtm-runs"


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
    number = _system_error(error)
    return os.strerror(number) if number in _UNWRITABLE else ""


def _system_error(error: BaseException) -> int:
    """The system's number in an error of safetensors, which has one class for all that can happen; 0: there is none."""
    of_safetensors = type(error).__name__ == "SafetensorError"
    found = re.search(r"\(os error (\d+)\)", str(error)) if of_safetensors else None
    return int(found[1]) if found else 0


def _storage_error(path: Path, told: str | None) -> StorageError:
    return StorageError(f"{path}: cannot be written ({told}); make room or name another folder")


def spare_folder(folder: Path | str, what: str, *own: str) -> None:
    """Refuse a place to write to that is neither a new or an empty folder nor one with files of our own alone.

    Parameters
    ----------
    what : what it is to be, as in "an explorer's folder".
    own : patterns of the names that may be there. Hidden files may, too: file managers leave them.

    Raises
    ------
    ConfigError
        The place is a file, or holds other files, such as pictures.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; name a folder")
    names = (path.name for path in folder.iterdir()) if folder.exists() else ()
    if other := min(
        (name for name in names if not any(fnmatch(name, one) for one in (".*", *own))), default=""
    ):
        raise ConfigError(
            f"{folder}: holds other files, such as {other}, and is not {what}; name a new or an empty one"
        )


def remove_leftovers(folder: Path | str, name: str = "**/.*.tmp") -> None:
    """Remove the temporary files of `atomic_path` below `folder`, or of one name, that killed runs left there.

    A temporary folder of such a name goes, too, when nothing was written in it for as long.
    """
    for path in Path(folder).glob(name):
        try:
            inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
            if time.time() - max(each.lstat().st_mtime for each in (path, *inside)) > LEFT_BEHIND:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError:  # another process was faster, or it is not ours to remove
            continue


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder for the time of the context; those that killed runs left behind are removed."""
    root = Path(tempfile.gettempdir())
    for path in root.glob(f"{SCRATCH}*"):
        with suppress(OSError):
            # Its lock says that its process is at work, however long nothing was written in it.
            if path.stat().st_uid == os.getuid() and not path.is_symlink() and not _is_locked(path):
                remove_leftovers(root, path.name)
    try:
        folder = tempfile.mkdtemp(prefix=SCRATCH)
    except OSError as error:
        raise _storage_error(root / f"{SCRATCH}...", error.strerror) from error
    try:
        with locked(folder):
            yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_locked(folder: Path) -> bool:
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, thread_local=False, fallback_to_soft=False)
    if not (folder / LOCK).exists():
        return False
    try:
        lock.acquire(timeout=0)
    except (Timeout, NotImplementedError):
        return True
    lock.release()
    return False


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


def as_text(cell: Any, *, is_path: bool = False) -> Any:
    """A cell of a CSV file that a spreadsheet takes for text, not for a formula, whatever a file was called.

    A path goes on naming its file; before any other text stands an apostrophe. A number stays one.
    """
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return cell
    return f"./{cell}" if is_path else f"'{cell}"


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


def save_arrays(path: Path | str, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write arrays and a description of them as one safetensors file, atomically.

    Parameters
    ----------
    arrays : name -> array of numbers or truth values, of any shape.
    about : what JSON can hold. It lies in the file's metadata, with the SHA-256 of everything.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save_file

    # safetensors 0.8 writes the memory of an array as it lies, whatever the order of its axes.
    plain = {name: np.asarray(array, order="C") for name, array in sorted(arrays.items())}
    described = json.loads(json.dumps(about))
    # One entry: the order of several is another in each process.
    # In ASCII: a file's name may be no text, which UTF-8 cannot hold.
    head = json.dumps({"about": described, "sha256": _digest(plain, described)})
    with atomic_path(path) as temporary:
        save_file(plain, temporary, {_HEAD: head})


def load_arrays(
    path: Path | str, *, mapped: bool = False, checked: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `save_arrays` wrote: the arrays and their description.

    Parameters
    ----------
    mapped : leave the arrays in the file, read-only. For files that are replaced or removed, and never written into.
    checked : compare the content with its SHA-256, for which all of it is read.

    Raises
    ------
    MissingError, DataError
        No such file; it is of another kind, or its content is not what was written.
    """
    # From one opening: another process may put another file in this place at any moment.
    with _opened(path) as (stored, head):
        arrays = _mapped(path) if mapped else {name: stored.get_tensor(name) for name in stored.keys()}
    if checked and head["sha256"] != _digest(arrays, head["about"]):
        raise DataError(f"{path}: its content is not what was written; delete it and run again")
    return arrays, head["about"]


def _mapped(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, where its header says that they lie."""
    import numpy as np

    kinds = {"F32": "<f4", "F64": "<f8", "U8": "u1", "I32": "<i4", "I64": "<i8", "BOOL": "?"}
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(start - 8))
        head.pop("__metadata__", None)
        arrays = {}
        for name, array in head.items():
            begin, end = array["data_offsets"]
            kind, shape = np.dtype(kinds[array["dtype"]]), tuple(array["shape"])
            # What is empty cannot be mapped.
            arrays[name] = (
                np.memmap(file, kind, "r", start + begin, shape) if end > begin else np.empty(shape, kind)
            )
    return arrays


def load_about(path: Path | str) -> dict[str, Any]:
    """The description alone, of a file that `save_arrays` wrote; errors as those of `load_arrays`. Reads no array."""
    with _opened(path) as (_, head):
        return head["about"]


@contextmanager
def _opened(path: Path | str) -> Iterator[tuple[Any, dict[str, Any]]]:
    from safetensors import safe_open

    try:
        check_regular(path)
        with safe_open(path, framework="np") as stored:
            head = json.loads((stored.metadata() or {})[_HEAD])
            if not (isinstance(head["about"], dict) and isinstance(head["sha256"], str)):
                raise TypeError("no description")
            yield stored, head
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file; run the step that writes it first") from None
    except DataError:
        raise
    except (ValueError, LookupError, TypeError, RecursionError) as error:  # of JSON and NumPy
        raise DataError(f"{path}: not a file of vtm's ({error}); delete it and run again") from None
    except BaseException as error:
        kind = type(error).__name__
        if kind == "SafetensorError":
            if told := _system_error(error):
                raise OSError(told, os.strerror(told), str(path)) from error
            raise DataError(
                f"{path}: not readable as safetensors ({error}); delete it and run again"
            ) from None
        # So safetensors 0.8 ends where memory is short, which is no fault of the file.
        if kind in ("SystemError", "PanicException"):
            raise MemoryError(f"{path}: not enough memory to read it") from error
        raise


def _digest(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
    """Hex SHA-256 of the arrays' names, types, shapes and numbers and of their description."""
    total = hashlib.sha256(hash_json(about).encode())
    for name, array in sorted(arrays.items()):
        total.update(hash_json([name, str(array.dtype), array.shape]).encode())
        total.update(memoryview(array).cast("B") if array.size else b"")  # type: ignore[arg-type]
    return total.hexdigest()


def hash_file(path: Path | str, *, algorithm: str = "sha256") -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def known_hash(path: Path | str) -> str:
    """`hash_file` of a file that is read again only where it looks otherwise than when it was read.

    A program can set a file's size and time back, not the time of its last change (`st_ctime`), which the system keeps. What
    was found is in `hashes.sqlite3` of the data folder; where that cannot be written or read, every file is read.
    """
    looks = file_looks(os.stat(path))
    known = _known_hashes(data_dir() / "hashes.sqlite3", os.getpid())
    if known is None:
        return hash_file(path)
    name = os.fsencode(os.path.abspath(path))
    with _HASHING, suppress(known.Error):
        row = known.execute("SELECT hash FROM files WHERE path = ? AND looks = ?", (name, looks)).fetchone()
        if row:
            return row[0]
    found = hash_file(path)
    about = os.stat(path)
    if file_looks(about) == looks and not touched_lately(about):
        with _HASHING, suppress(known.Error):
            known.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (name, looks, found))
    return found


def file_looks(about: os.stat_result) -> str:
    """What a file looks like from outside: where it is on the disk, its size and times."""
    return f"{about.st_dev} {about.st_ino} {about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"


def touched_lately(about: os.stat_result) -> bool:
    """Whether another change might bear the same time."""
    return max(about.st_mtime_ns, about.st_ctime_ns) >= time.time_ns() - LATELY


@lru_cache(maxsize=2)
def _known_hashes(path: Path, pid: int) -> sqlite3.Connection | None:
    """The table of known hashes, made anew where it is damaged; None where there can be none.

    A connection is of one process: a forked one must not use it.
    """
    try:
        import sqlite3

        path.parent.mkdir(parents=True, exist_ok=True)
    except (ImportError, OSError):
        return None
    table = "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, looks TEXT, hash TEXT) WITHOUT ROWID"
    for _ in range(2):
        try:
            # Lost rows are found again, so nothing waits for the disk; several processes take turns.
            known = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
            known.execute("PRAGMA synchronous = OFF")
            known.execute(table)
            return known
        except sqlite3.OperationalError:  # a folder that cannot be written, a disk that is full
            return None
        except sqlite3.DatabaseError:
            with suppress(OSError):
                path.unlink()
    return None


def hash_tree(folder: Path | str, suffixes: Container[str] = ()) -> dict[str, str]:
    """Name below `folder` -> hex SHA-256 of the content, of all files with one of these suffixes, in order.

    Without suffixes it is all files but hidden ones.
    """
    folder = Path(folder)
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    paths = (path for path in found if (path.suffix in suffixes if suffixes else path.name[0] != "."))
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}


def hash_json(value: Any) -> str:
    """Hex SHA-256 of a value's canonical JSON form."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def code_hash(*modules: str, without: Sequence[str] = ()) -> str:
    """Which code a stored figure follows from: the hash of `modules` and of all of ours that they import.

    Parameters
    ----------
    without : modules and packages at which the walk ends, because what they make is in the figure's key by its content.
    """
    return hash_json({name: hash_file(path) for name, path in code_of(*modules, without=without).items()})


def code_of(*modules: str, without: Sequence[str] = ()) -> dict[str, Path]:
    """The modules that `code_hash` hashes, by name, with their files; imports for type checking alone do not count."""
    found: dict[str, Path] = {}
    waiting = [*modules]
    while waiting:
        name = waiting.pop()
        if name in found or any(name == end or name.startswith(f"{end}.") for end in without):
            continue
        found[name] = Path(find_spec(name).origin)  # type: ignore[union-attr, arg-type]
        waiting += _imports(found[name].read_text(encoding="utf-8"))
    return dict(sorted(found.items()))


@cache
def _imports(source: str) -> tuple[str, ...]:
    return tuple(_imported(ast.parse(source)))


def _imported(node: ast.AST) -> Iterator[str]:
    """Names of our modules that a piece of source imports, wherever in it."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (
            alias.name for alias in node.names if alias.name.partition(".")[0] in _OURS and "." in alias.name
        )
    if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in _OURS:
        # The packages' own names are loaded when used: what is used says where it is from.
        if node.module not in _OURS:
            yield node.module
        yield from (name for alias in node.names if _is_module(name := f"{node.module}.{alias.name}"))
    for child in ast.iter_child_nodes(node):
        yield from _imported(child)


def _is_module(name: str) -> bool:
    package, _, last = name.rpartition(".")
    folders = map(Path, find_spec(package).submodule_search_locations or ())  # type: ignore[union-attr]
    return any((f / f"{last}.py").is_file() or (f / last / "__init__.py").is_file() for f in folders)


@contextmanager
def locked(folder: Path | str, *, name: str = "", wait: bool = True) -> Iterator[None]:
    """Be the one writer in `folder`, which is made, and remove what killed runs were writing there.

    The lock goes with its process: a killed one leaves none behind.

    Parameters
    ----------
    name : of the one file there that is to be written, so that others can be written meanwhile; by default all.
    wait : wait for whoever holds it (said on a terminal); else that is an error.

    Raises
    ------
    VtmError
        Another process or thread holds it, and `wait` is False; the message has its process id.
    StorageError
        The folder cannot be written.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    place = folder / (f".{name}{LOCK}" if name else LOCK)
    # Without its stand-in for file systems that have no locks, which would outlive a killed process.
    lock = FileLock(place, thread_local=False, fallback_to_soft=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            holder = place.read_text(encoding="utf-8")[:20].strip() or "unknown"
            if not wait:
                raise VtmError(
                    f"{folder}: another run (process {holder}) is writing there; wait until it has ended, or "
                    "name another folder"
                ) from None
            if sys.stderr.isatty():
                print(f"waiting for process {holder}, which is writing to {folder}", file=sys.stderr)
            lock.acquire()
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
        place.write_text(str(os.getpid()), encoding="utf-8")
        remove_leftovers(folder, f".{glob.escape(name)}.*.tmp" if name else "**/.*.tmp")
    except OSError as error:
        lock.release()
        raise StorageError(
            f"{folder}: cannot be written ({error.strerror}); make room, make it writable or name another folder"
        ) from error
    try:
        yield
    finally:
        if name:
            place.unlink(missing_ok=True)  # who waits for it sees that, and begins again
        lock.release()


def kept(path: Path | str, key: str, make: Callable[[], Any]) -> Any:
    """What is stored at `path` under `key`, or else what `make` gives, which is stored there and read back.

    Two processes that want the same make it once: the second waits for the first. A damaged file is said, and made again.

    Parameters
    ----------
    path : of a `.json` file, of which `make` gives the content as a dict (`write_sealed`); or of a `.safetensors` file, of
        which it gives arrays and what is to be said about them (`save_arrays`).
    key : changes when anything does that the content follows from.

    Returns
    -------
    As `make`; the dict has the key under "key".
    """
    path = Path(path)
    read = _current_arrays if path.suffix == ".safetensors" else read_current
    if (found := read(path, key)) is not None:
        return found
    with locked(path.parent, name=path.name):
        if (found := read(path, key)) is None:
            made = make()
            if path.suffix == ".safetensors":
                save_arrays(path, made[0], {**made[1], "key": key})
            else:
                write_sealed(path, {**made, "key": key})
            found = read(path, key)
    return found


def _current_arrays(path: Path, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    try:
        if load_about(path).get("key") != key:
            return None
        arrays, about = load_arrays(path)
        return (arrays, about) if about.get("key") == key else None
    except MissingError:
        return None
    except DataError as error:
        warnings.warn(f"{str(error).partition(';')[0]}; it is made again", stacklevel=3)
        return None


@cache
def package_versions(
    names: Sequence[str] = ("vtm", "torch", "numpy", "onnxruntime", "sentence-transformers"),
) -> dict[str, str]:
    """Installed versions of the packages that a result may depend on."""
    from importlib.metadata import PackageNotFoundError, version

    import vtm

    found = {}
    for name in names:
        try:
            # Its distribution has another name, and need not be installed to be used from a checkout.
            found[name] = vtm.__version__ if name == "vtm" else version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
