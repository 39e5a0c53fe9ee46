"""Rows of a table in one of several kinds of file; errors name the file and the row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vtm.errors import ConfigError, DataError
from vtm.files import check_regular


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
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)

    def numbered() -> Iterator[tuple[int, list[str]]]:
        number = 1
        try:
            for fields in reader:
                if fields:
                    yield number, fields
                number = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{table}: row {number} cannot be read ({error}): an open quote? Longer fields than that are read "
                "from .jsonl and .parquet"
            ) from None

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
