"""Rows on a terminal or in a file: a table, CSV, JSON Lines, Parquet or a workbook, written as they come.

A table shows control characters and line breaks escaped. The other formats are for programs, which want the name that
opens the file and the text as it is: they keep both, between quotes where the format needs them.
"""

from __future__ import annotations

import csv
import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO, cast

from vtm.errors import (
    CONTROLS,
    ConfigError,
    DataError,
    StorageError,
    check_choice,
    printable,
    require,
    shortened,
)
from vtm.files import as_text, atomic_path

Row = Mapping[str, Any]
Write = Callable[[Sequence[Row]], None]
# As `Write`, and whether the columns' names have been written.
Put = Callable[[Sequence[Row], bool], None]

# Columns that name files.
PATHS = ("picture", "file_name")
# Columns for programs, which a workbook does not show.
HIDDEN = ("fingerprint",)
ROOM = 100  # px, of the rows and columns in which a workbook has pictures
EPOCH = datetime(2000, 1, 1)  # of workbooks, whose bytes follow from their rows alone
FORMATS = ("table", "csv", "jsonl", "parquet", "xlsx")
_BY_SUFFIX = {
    **{".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"},
    **{".parquet": "parquet", ".pq": "parquet", ".xlsx": "xlsx"},
}
_IN_FILES = {"parquet": "Parquet", "xlsx": "a workbook"}


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
    check_choice(f"--format {format}", format, FORMATS)
    if format in _IN_FILES and out is None:
        raise ConfigError(f"--format {format}: {_IN_FILES[format]} goes into a file, name it with -o")
    if format == "table" and out is not None:
        raise ConfigError(
            "--format table: a table goes to the terminal; use csv, jsonl, parquet or xlsx with -o"
        )
    if format == "xlsx":
        require("xlsxwriter")
    return format


@contextmanager
def open_rows(
    format: str, out: Path | None, columns: Mapping[str, type], *, mark: bool = False
) -> Iterator[Write]:
    """A function that writes some rows; a file appears when all are written, and not at all after an error.

    On the terminal the columns' names come with the first rows, or at the end where there are none: what fails before
    has printed nothing.

    Parameters
    ----------
    columns
        Name -> str, int, float or list (of str), of all formats but JSON Lines, which writes rows as they are; in
        workbooks also bytes, a picture of at most `ROOM` pixels a side. A value may be None.
    mark
        Begin a CSV file with a byte-order mark, by which Excel knows that it is UTF-8.
    """
    with ExitStack() as stack:
        if format == "xlsx":
            _spare_workbook(cast(Path, out))
        path = None if out is None else stack.enter_context(atomic_path(out))
        if format == "parquet":
            put = stack.enter_context(_parquet(cast(Path, path), columns))
        elif format == "xlsx":
            put = stack.enter_context(_workbook(cast(Path, path), columns))
        elif format == "table":
            put = _table(columns)
        else:
            stream = sys.stdout
            if path is not None:
                encoding = "utf-8-sig" if mark and format == "csv" else "utf-8"
                stream = stack.enter_context(open(path, "w", encoding=encoding, newline=""))
            put = _csv(stream, columns) if format == "csv" else _json_lines(stream)
        headed = False

        def write(rows: Sequence[Row]) -> None:
            nonlocal headed
            if rows:
                put(rows, headed)
                headed = True

        yield write
        if not headed:
            put([], False)
        if path is None:
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise StorageError(
                    f"standard output: cannot be written ({error.strerror}); make room"
                ) from error


def _csv(stream: TextIO, columns: Mapping[str, type]) -> Put:
    # A writer quotes the characters of its own line end, so it must have both; the stream gets one.
    lines = SimpleNamespace(write=lambda line: stream.write(line.removesuffix("\r\n") + "\n"))
    writer = csv.writer(lines, lineterminator="\r\n")

    def put(rows: Sequence[Row], headed: bool) -> None:
        if not headed:
            writer.writerow(columns)
        for row in rows:
            cells = {
                name: ", ".join(row[name]) if kind is list else row[name] for name, kind in columns.items()
            }
            writer.writerow(as_text(cell, is_path=name in PATHS) for name, cell in cells.items())

    return put


def _json_lines(stream: TextIO) -> Put:
    def put(rows: Sequence[Row], _: bool) -> None:
        for row in rows:
            # JSON itself escapes the control characters below 32 only. Escaped, they read back the same.
            text = json.dumps(row, ensure_ascii=False)
            stream.write(CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")

    return put


@contextmanager
def _parquet(path: Path, columns: Mapping[str, type]) -> Iterator[Put]:
    require("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), list: pa.list_(pa.string())}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    with pq.ParquetWriter(path, schema) as writer:
        yield lambda rows, _: writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _spare_workbook(path: Path) -> None:
    """Raise ConfigError where a workbook was saved by another program: a person may have worked in it."""
    if not path.exists():
        return
    modified = ""
    with suppress(zipfile.BadZipFile, KeyError, OSError), zipfile.ZipFile(path) as archive:
        modified = archive.read("docProps/core.xml").decode("utf-8", "replace")
    if f">{EPOCH:%Y-%m-%dT%H:%M:%SZ}</dcterms:modified>" not in modified:
        raise ConfigError(f"{path}: was saved by another program, and is not overwritten; name another file")


@contextmanager
def _workbook(path: Path, columns: Mapping[str, type]) -> Iterator[Put]:
    import xlsxwriter

    # Text that begins with = is text, and a name that looks like an address is no link.
    options = {"strings_to_formulas": False, "strings_to_urls": False, "constant_memory": True}
    with xlsxwriter.Workbook(str(path), options) as book:
        book.set_properties({"created": EPOCH})
        sheet = book.add_worksheet("vtm")
        n_rows, has_pictures = 0, bytes in columns.values()
        for column, (name, kind) in enumerate(columns.items()):
            if kind is bytes:
                sheet.set_column_pixels(column, column, ROOM)
            elif name in HIDDEN:
                sheet.set_column(column, column, None, None, {"hidden": True})
            elif has_pictures:
                sheet.set_column(column, column, 40)  # beside pictures, text is to be read whole

        def put_row(values: Sequence[Any]) -> None:
            nonlocal n_rows
            if n_rows and has_pictures:
                sheet.set_row_pixels(n_rows, ROOM)
            for column, value in enumerate(values):
                if isinstance(value, bytes):
                    place = {"image_data": BytesIO(value), "object_position": 1}  # moves with its row
                    sheet.insert_image(n_rows, column, "thumbnail.jpg", place)
                    continue
                value = ", ".join(value) if isinstance(value, list) else value
                write = sheet.write_number if isinstance(value, int | float) else sheet.write_string
                # What is too long, or too far below, is passed over and told by a code alone.
                if value is not None and write(n_rows, column, value):
                    raise DataError(f"row {n_rows + 1}: more than a workbook holds; write CSV or Parquet")
            n_rows += 1

        def put(rows: Sequence[Row], headed: bool) -> None:
            if not headed:
                put_row(list(columns))
            for row in rows:
                put_row([row[name] for name in columns])

        yield put


def _table(columns: Mapping[str, type]) -> Put:
    """Tables of equal column widths below each other, the first with the columns' names; paths on two lines at most."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    from tqdm import tqdm

    console = Console()
    widths = {name: max(len(name), 6) for name, kind in columns.items() if kind in (int, float)}
    # A space stands on both sides of each column.
    room = console.width - sum(widths.values()) - 2 * len(columns)
    wide = max(room // max(len(columns) - len(widths), 1), 6)

    def on_two_lines(path: str) -> str:
        path = shortened(path, 2 * wide)
        return f"{path[:wide]}\n{path[wide:]}" if len(path) > wide else path

    def put(rows: Sequence[Row], headed: bool) -> None:
        table = Table(box=None, show_header=not headed, expand=True)
        for name in columns:
            if name in widths:
                table.add_column(name, justify="right", width=widths[name], overflow="fold")
            else:
                table.add_column(name, ratio=1, overflow="fold")
        for row in rows:
            cells = {name: _shown(row[name]) for name in columns}
            cells |= {name: on_two_lines(cells[name]) for name in PATHS if name in cells}
            table.add_row(*map(Text, cells.values()))
        with tqdm.external_write_mode(file=sys.stdout):  # a progress bar makes room
            console.print(table)

    return put


def cell_text(value: Any) -> str:
    """What a person typed into a cell of a table that is read, without the space around it."""
    return "" if value is None else str(value).strip()


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    return printable(", ".join(value) if isinstance(value, list | tuple) else str(value))
