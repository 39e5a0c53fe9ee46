"""A user's own pairs: a table beside its pictures, or a folder in Hugging Face's imagefolder convention."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from vtm.corpora.base import Corpus, Dropped, Pair
from vtm.corpora.pictures import PictureError, check_file
from vtm.errors import ConfigError, DataError
from vtm.files import check_regular, hash_file


class Row(NamedTuple):
    """A row of a table; `number` is the line in the file (the header is 1), or the row of a Parquet file."""

    table: Path
    number: int
    values: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.table.name} row {self.number}"


# The rows with their values in some columns, by default in all; other values may come along.
Rows = Callable[..., Iterator[Row]]


def read_rows(table: Path, encoding: str | None) -> tuple[list[str], Rows]:
    """Column names of a CSV, TSV, JSON Lines or Parquet file, and a function that gives its rows, once.

    The function takes the names of the columns that are used; of a Parquet file no other is read.

    Raises
    ------
    ConfigError
        There is no such encoding.
    DataError
        The file is of another kind, has another encoding, or a row cannot be read (while iterating); two columns
        have one name; a used column of a Parquet file holds a value that Python has none for.
    """
    try:
        check_regular(table)
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror})") from None
    kind = table.suffix.lower()
    if kind in (".csv", ".tsv", ".txt"):
        return _read_csv(table, _decoded(table, encoding), "\t" if kind == ".tsv" else None)
    if kind in (".jsonl", ".ndjson"):
        return _read_jsonl(table, _decoded(table, encoding))
    if kind in (".parquet", ".pq"):
        return _read_parquet(table)
    raise DataError(f"{table}: tables are read from .csv, .tsv, .jsonl and .parquet; save it as one of these")


def _decoded(table: Path, encoding: str | None) -> str:
    try:
        content = table.read_bytes()
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror})") from None
    try:
        return content.decode(encoding or "utf-8-sig")
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = content.count(b"\n", 0, start) + 1
        raise DataError(
            f"{table}: not {encoding or 'UTF-8'} at byte {start} (0x{content[start : start + 1].hex()}, line {line}); "
            "give its encoding, as encoding='cp1252' or encoding='utf-16', or save it as UTF-8"
        ) from None
    except (LookupError, ValueError):  # ValueError: a null byte in the name
        raise ConfigError(f"no encoding is called {encoding!r}; try cp1252 or utf-16") from None


def _read_csv(table: Path, text: str, delimiter: str | None) -> tuple[list[str], Rows]:
    if not text.strip():
        raise DataError(f"{table}: the file is empty; it needs a header and at least one row")
    if delimiter is None:
        first = text.lstrip().splitlines()[0]
        delimiter = max(",;\t", key=first.count)
    # Of a caption of any length; the limit is one of the process, and is never lowered here.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)

    def numbered() -> Iterator[tuple[int, list[str]]]:
        number = 1
        try:
            for fields in reader:
                if fields:
                    yield number, fields
                number = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{table}: row {number} cannot be read ({error}): an open quote?") from None

    lines = numbered()
    columns = [name.strip() for name in next(lines, (1, []))[1]]
    if any("\0" in name for name in columns):
        raise DataError(
            f"{table}: null bytes in its header, as in UTF-16 without a byte-order mark; give its encoding, "
            "as encoding='utf-16-le', or save it as UTF-8"
        )
    _check_columns(table, columns)

    def rows(_: Iterable[str] | None = None) -> Iterator[Row]:
        for number, fields in lines:
            if len(fields) != len(columns):
                raise DataError(
                    f"{table}: row {number} has {len(fields)} fields, the header has {len(columns)}; "
                    f"put a text that holds {delimiter!r} or a line break between double quotes"
                )
            yield Row(table, number, dict(zip(columns, fields, strict=True)))

    return columns, rows


def _read_jsonl(table: Path, text: str) -> tuple[list[str], Rows]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line, object_pairs_hook=_unrepeated)
        except (ValueError, RecursionError) as error:  # a number of too many digits is a plain ValueError
            raise DataError(f"{table}: row {number} is not JSON that can be read ({error})") from None
        if not isinstance(values, dict):
            raise DataError(f"{table}: row {number} is no JSON object, as every line must be")
        rows.append(Row(table, number, values))
    return list(dict.fromkeys(name for row in rows for name in row.values)), lambda _=None: iter(rows)


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(name for name in values if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"it names {twice!r} twice")
    return values


def _read_parquet(table: Path) -> tuple[list[str], Rows]:
    import pyarrow
    import pyarrow.parquet

    try:
        columns = list(pyarrow.parquet.read_schema(table).names)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _not_parquet(table, error) from None
    _check_columns(table, columns)

    def rows(used: Iterable[str] | None = None) -> Iterator[Row]:
        names = columns if used is None else list(dict.fromkeys(used))
        try:
            read = pyarrow.parquet.read_table(table, columns=names, partitioning=None)
        except (pyarrow.ArrowException, OSError) as error:
            raise _not_parquet(table, error) from None
        values = {}
        for name in names:
            try:
                values[name] = read.column(name).to_pylist()
            # A text that is not UTF-8, a date past the year 9999, an unknown time zone.
            except (pyarrow.ArrowException, ValueError, ArithmeticError, LookupError) as error:
                raise DataError(
                    f"{table}: column {name!r} holds what cannot be read ({_said(error)}); save it as text"
                ) from None
        for number, row in enumerate(zip(*values.values(), strict=True), start=1):
            yield Row(table, number, dict(zip(values, row, strict=True)))

    return columns, rows


def _not_parquet(table: Path, error: Exception) -> DataError:
    return DataError(f"{table}: not readable as Parquet ({_said(error)})")


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_columns(table: Path, columns: list[str]) -> None:
    # A row is a dictionary: of two values under one name it would keep the last.
    if twice := [name for name in columns if name and columns.count(name) > 1]:
        raise DataError(f"{table}: two columns are called {twice[0]!r}; rename one")


# Tried in this order, whatever their case.
IMAGE_COLUMNS = ("file_name", "filename", "image", "image_path", "path", "file", "picture")
TEXT_COLUMNS = ("text", "caption", "description", "title")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
# What other programs write for "no value".
NO_VALUE = frozenset(("", "nan", "null", "none", "<na>"))
# A null byte, or half of a surrogate pair, which no file can be written with.
BAD_CHARACTERS = re.compile("[\0\ud800-\udfff]")


def load(
    path: Path,
    *,
    image_column: str | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
    group_column: str | None = None,
    encoding: str | None = None,
    lang: str = "en",
) -> Corpus:
    """Read a table whose picture paths are relative to the table's folder.

    Dropped, each with its row: `empty-text`, `missing-picture`, `outside-folder`, a path that leads out of the
    table's folder, `no-permission` or `unreadable`, a picture whose bytes cannot be had, `too-large`, a file that
    holds more than any picture needs, and `bad-characters`, a null byte or half of a surrogate pair in a value that
    is used.

    Parameters
    ----------
    path
        A .csv, .tsv, .jsonl or .parquet file, or a folder that holds metadata.csv, metadata.jsonl or
        metadata.parquet, itself or in its subfolders (train/, test/).
    image_column, text_column
        Guessed from the usual names when not given.
    id_column
        When not given, a pair's id is the picture's path relative to `path`'s folder.
    group_column
        Gold category, for evaluation only.
    encoding
        Of a CSV, TSV or JSON Lines file; UTF-8, with or without a byte-order mark, when not given.
    lang
        Code of the texts' language.

    Raises
    ------
    ConfigError
        A named column does not exist; the message lists those that do.
    DataError
        No column could be guessed, a row has too many or too few fields, an id occurs twice, the encoding is
        another one, or no row is usable.
    """
    path = Path(path)
    root = path if path.is_dir() else path.parent
    pairs: list[Pair] = []
    dropped: list[Dropped] = []
    rows_by_id: dict[str, Row] = {}
    for table in _tables(path):
        columns, rows = read_rows(table, encoding)
        used = {
            "image": _column(table, columns, "image_column", image_column, IMAGE_COLUMNS),
            "text": _column(table, columns, "text_column", text_column, TEXT_COLUMNS),
        }
        for value, option, name in (("id", "id_column", id_column), ("group", "group_column", group_column)):
            if name:
                used[value] = _column(table, columns, option, name, ())
        for row in rows(used.values()):
            values = {value: _value(row, column) for value, column in used.items()}
            if any(map(BAD_CHARACTERS.search, values.values())):
                dropped.append(Dropped(str(row), "bad-characters", str(row)))
                continue
            named = values["image"]
            picture, reason = _picture(table.parent, named)
            if not values["text"]:
                reason = "empty-text"
            id = values["id"] if id_column else (_relative(picture, root) or named)
            content, reason = ("", reason) if reason else _hash(picture)
            if reason:
                dropped.append(Dropped(id or str(row), reason, f"{row}: {named}" if named else str(row)))
                continue
            if not id:
                raise DataError(f"{row}: no id in column {id_column!r}; fill it, or leave id_column out")
            if earlier := rows_by_id.get(id):
                raise DataError(
                    f"{earlier} and {row} have the same id {id!r}; remove one, or name another id_column"
                )
            rows_by_id[id] = row
            pairs.append(Pair(id, values["text"], picture, values.get("group", ""), content))
    return Corpus.of(
        pairs,
        name="table-" + re.sub(r"[^\w.-]+", "-", path.resolve().stem),
        grouped=bool(group_column),
        dropped=tuple(dropped),
        language=lang,
        source=f"the table {path.name}",
    )


def _tables(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    for folders in ([path], sorted(folder for folder in path.iterdir() if folder.is_dir())):
        found = [
            next((folder / name for name in METADATA if (folder / name).is_file()), None)
            for folder in folders
        ]
        if tables := [table for table in found if table]:
            return tables
    raise DataError(
        f"{path}: no {', '.join(METADATA)} in this folder or its subfolders; write one with the columns "
        "file_name and text, or give the path of a table"
    )


def _column(
    table: Path, columns: Sequence[str], option: str, name: str | None, guesses: Sequence[str]
) -> str:
    """The column that the user named, or else the first of the usual names."""
    found = ", ".join(textwrap.shorten(column, 100, placeholder="...") for column in columns) or "none"
    if name is not None:
        if name not in columns:
            raise ConfigError(f"{table}: no column {name!r} for {option}; its columns are {found}")
        return name
    by_lower = {column.lower(): column for column in reversed(columns)}
    for guess in guesses:
        if guess in by_lower:
            return by_lower[guess]
    raise DataError(f"{table}: which column is the {option}? Name it by that option; its columns are {found}")


def _value(row: Row, column: str) -> str:
    """A cell as text on one line; "" for no value."""
    value = row.values.get(column)
    if isinstance(value, (dict, list, bytes)):
        raise DataError(f"{row}: column {column!r} holds no text; write pictures to files, and name those")
    text = " ".join(str("" if value is None else value).split())
    return "" if text.lower() in NO_VALUE else text


def _picture(folder: Path, named: str) -> tuple[Path, str]:
    """Path of a row's picture, and the reason why it cannot be used ("" when it can)."""
    if os.sep == "/" and "\\" in named and not (folder / named).exists():
        named = named.replace("\\", "/")  # written on Windows
    path = folder / named
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return path, "outside-folder"
        return path, "" if named and path.is_file() else "missing-picture"
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, a loop of links
        return path, "missing-picture"


def _hash(picture: Path) -> tuple[str, str]:
    """Hash of a picture's content, and the reason why it cannot be read ("" when it can)."""
    try:
        check_file(picture)
        return hash_file(picture), ""
    except PictureError as error:
        return "", error.reason
    except PermissionError:
        return "", "no-permission"
    except OSError:
        return "", "unreadable"


def _relative(picture: Path, root: Path) -> str:
    """`picture` as seen from `root`, normalised; "" outside of it."""
    seen = PurePath(os.path.relpath(os.path.abspath(picture), os.path.abspath(root)))
    return "" if ".." in seen.parts or seen == PurePath(".") else seen.as_posix()
