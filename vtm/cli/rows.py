"""Rows on a terminal or in a file: a table, CSV, JSON Lines or Parquet, written as they come.

A table shows control characters and line breaks escaped. The other formats are for programs, which want the name that
opens the file and the text as it is: they keep both, between quotes where the format needs them.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from vtm.errors import CONTROLS, ConfigError, printable
from vtm.files import atomic_path

Row = Mapping[str, Any]
Write = Callable[[Sequence[Row]], None]

FORMATS = ("table", "csv", "jsonl", "parquet")
_BY_SUFFIX = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}


def choose_format(format: str | None, out: Path | None) -> str:
    """The format that was named, or else the one that the file's suffix or the terminal suggests.

    Raises
    ------
    ConfigError
        An unknown format, or one that does not go where it should.
    """
    if format is None:
        if out is None:
            return "table" if sys.stdout.isatty() else "csv"
        if out.suffix.lower() not in _BY_SUFFIX:
            raise ConfigError(f"{out}: which format? Give --format, or a suffix of {', '.join(_BY_SUFFIX)}")
        return _BY_SUFFIX[out.suffix.lower()]
    if format not in FORMATS:
        raise ConfigError(f"--format {format}: must be one of {', '.join(FORMATS)}")
    if format == "parquet" and out is None:
        raise ConfigError("--format parquet: Parquet goes into a file, name it with -o")
    if format == "table" and out is not None:
        raise ConfigError("--format table: a table goes to the terminal; use csv, jsonl or parquet with -o")
    return format


@contextmanager
def open_rows(format: str, out: Path | None, columns: Mapping[str, type]) -> Iterator[Write]:
    """A function that writes some rows; a file appears when all are written, and not at all after an error.

    On the terminal the columns' names come with the first rows, or at the end where there are none: what fails before
    has printed nothing.

    Parameters
    ----------
    columns
        Name -> str, int, float or list (of str), of all formats but JSON Lines, which writes rows as they are.
    """
    with _opened(format, out, columns) as write_block:
        headed = False

        def write(rows: Sequence[Row]) -> None:
            nonlocal headed
            if rows:
                write_block(rows)
                headed = True

        yield write
        if not headed:
            write_block([])


@contextmanager
def _opened(format: str, out: Path | None, columns: Mapping[str, type]) -> Iterator[Write]:
    """A function that writes rows, and before the first of them, or of none, the columns' names."""
    if format == "table":
        yield _table(columns)
    elif out is None:
        yield _text(format, sys.stdout, columns)
    else:
        with atomic_path(out) as temporary:
            if format == "parquet":
                with _parquet(temporary, columns) as write:
                    yield write
            else:
                with open(temporary, "w", encoding="utf-8", newline="") as stream:
                    yield _text(format, stream, columns)


def _text(format: str, stream: TextIO, columns: Mapping[str, type]) -> Write:
    if format == "jsonl":

        def write_json(rows: Sequence[Row]) -> None:
            stream.writelines(_json(row) + "\n" for row in rows)

        return write_json
    writer = csv.writer(_UnixLines(stream), lineterminator="\r\n")
    headed = False

    def write_csv(rows: Sequence[Row]) -> None:
        nonlocal headed
        if not headed:
            writer.writerow(columns)
            headed = True
        writer.writerows(
            [", ".join(row[name]) if kind is list else row[name] for name, kind in columns.items()]
            for row in rows
        )

    return write_csv


def _json(row: Row) -> str:
    # JSON itself escapes the control characters below 32 only. Escaped, they read back the same.
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(row, ensure_ascii=False))


class _UnixLines:
    """A CSV writer's stream: it quotes the characters of its own line end, so it must have both, and here is one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        self._stream.write(line.removesuffix("\r\n") + "\n")


@contextmanager
def _parquet(path: Path, columns: Mapping[str, type]) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), list: pa.list_(pa.string())}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    with pq.ParquetWriter(path, schema) as writer:

        def write(rows: Sequence[Row]) -> None:
            if rows:
                writer.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema))

        yield write


def _table(columns: Mapping[str, type]) -> Write:
    """Tables of equal column widths below each other, the first with the columns' names."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    from tqdm import tqdm

    console = Console()
    headed = False

    def write(rows: Sequence[Row]) -> None:
        nonlocal headed
        table = Table(box=None, show_header=not headed, expand=True)
        for name, kind in columns.items():
            number = kind in (int, float)
            table.add_column(
                name,
                justify="right" if number else "left",
                width=max(len(name), 6) if number else None,
                ratio=None if number else 1,
                overflow="fold",
            )
        for row in rows:
            table.add_row(*(Text(_shown(row[name])) for name in columns))
        headed = True
        with tqdm.external_write_mode(file=sys.stdout):  # a progress bar makes room
            console.print(table)

    return write


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return printable(", ".join(value) if isinstance(value, list | tuple) else str(value))
