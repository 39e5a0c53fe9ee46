"""The errors a user can mend: each message is one line that names the thing and the remedy."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Control characters, with which a terminal can be driven (ECMA-48), and what breaks a line.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class VtmError(Exception):
    """Base of all errors that the command line prints as one line, without a traceback.

    Examples
    --------
    >>> from vtm import VtmError, from_parameters
    >>> try:
    ...     from_parameters({"n_topic": 20})
    ... except VtmError as error:
    ...     print(f"{type(error).__name__}: {error}")
    ConfigError: unknown parameter 'n_topic': did you mean 'n_topics'?
    """


class ConfigError(VtmError, ValueError):
    """A parameter has a value that cannot be used."""


class DataError(VtmError, ValueError):
    """A file of the user's or of a corpus does not hold what it should."""


class StorageError(VtmError, OSError):
    """A place cannot be written: it is full, read-only, or not the user's; the message names it."""

    # OSError formats itself from errno; ours is a plain sentence.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class MissingError(VtmError, FileNotFoundError):
    """Something that must be there is not; the message says how to get it."""

    __str__ = StorageError.__str__


def said(error: OSError | MemoryError, of: Path | str = "") -> str:
    """What an error of the system's says, after the file that it says it of, and what helps; without its number.

    of : the file, where the error does not name it.

    >>> said(PermissionError(13, "Permission denied", "a.csv"))
    'a.csv: Permission denied'
    """
    if of and not getattr(error, "filename", None):
        return f"{of}: {said(error)}"
    if isinstance(error, VtmError) or not (isinstance(error, MemoryError) or error.strerror):
        return str(error)
    if isinstance(error, MemoryError):
        return str(error) or "there is not enough memory; close other programs, or give smaller numbers"
    if error.filename is None:
        # Of a write to what is open already: the standard output, or a file in the folder for temporary ones.
        return (
            f"{error.strerror}: something could not be read or written; is there room where the output goes, and in "
            f"{tempfile.gettempdir()}?"
        )
    return f"{os.fsdecode(error.filename)}: {error.strerror}"


def storable(path: Path | str) -> str:
    """A path as text that can be written as UTF-8: bytes of a name that are not UTF-8 become \\xff."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, which no name has
        return os.fspath(path).encode("utf-8", "backslashreplace").decode()


def printable(text: Path | str) -> str:
    """A path or another text on one line that a terminal shows as it is: as `storable`, control characters escaped.

    >>> printable("red \\x1b[31m")
    'red \\\\x1b[31m'
    """
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), storable(text))


def counted(n: int, one: str, many: str = "") -> str:
    """A number with what it counts; `many` where that is not `one` with an s.

    >>> counted(1, "picture has", "pictures have"), counted(2, "pair")
    ('1 picture has', '2 pairs')
    """
    return f"{n} {one if n == 1 else many or f'{one}s'}"


def listed(items: Sequence[str], most: int = 10) -> str:
    """The first of some things, and how many more there are.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def choice(value: object, known: Collection[str]) -> str:
    """The end of a message about a value that is not among those that are known: one that is near, and all.

    >>> choice("text_teacher", ["joint", "text-teacher"])
    "did you mean 'text-teacher'? Choose from joint, text-teacher"
    """
    from difflib import get_close_matches

    near = get_close_matches(str(value), known, n=1)
    return (
        f"did you mean {near[0]!r}? Choose from {', '.join(known)}"
        if near
        else f"choose from {', '.join(known)}"
    )


def check_choice(what: str, value: object, known: Collection[str]) -> None:
    """Raise a ConfigError that begins with `what` unless a value is one of those that are known."""
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{what}: {choice(value, known)}")


def check_column(name: str, given: Any) -> None:
    """Raise a ConfigError for a table in place of one of its columns: a data frame would be read as its columns' names."""
    if getattr(given, "ndim", 1) == 2 and hasattr(given, "columns"):
        raise ConfigError(
            f"{name}: a table of columns {listed([*map(str, given.columns)])}; give one of them"
        )


def shortened(text: str, most: int) -> str:
    """A text of at most `most` characters; of a longer one, what stands in the middle is left out.

    >>> shortened("photos/2019/summer/harbour.jpg", 20)
    'photo…er/harbour.jpg'
    """
    if len(text) <= most:
        return text
    tail = 3 * (most - 1) // 4  # of a path, its name
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


# The extra of this package that brings what is not always installed, by the name that it is imported by.
EXTRAS = {
    "gensim": "paper",
    "IPython": "paper",
    "ipykernel": "paper",
    "jupyter_book": "book",
    "jupyter_client": "paper",
    "matplotlib_inline": "paper",
    "nbclient": "paper",
    "nbformat": "paper",
    "open_clip": "clip",
    "pandas": "paper",
    "papermill": "paper",
    "pyarrow": "parquet",
    "python_calamine": "sheets",
    "seaborn": "paper",
    "sentence_transformers": "sentence",
    "torch": "paper",
    "torchvision": "clip",
    "transformers": "sentence",
    "xlsxwriter": "sheets",
}


def require(*modules: str) -> None:
    """Raise a MissingError, which names the extra, unless these of `EXTRAS` are installed; loads nothing."""
    for module in modules:
        if find_spec(module) is None:
            raise lacking(module)


def lacking(module: str) -> MissingError:
    """The error that says which extra brings one of `EXTRAS`."""
    return MissingError(
        f"this needs {module}, which is not installed: pip install 'visual-topic-modelling[{EXTRAS[module]}]'"
    )
