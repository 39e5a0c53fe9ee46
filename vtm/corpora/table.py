"""A user's own pairs, in the forms in which people publish them: tables, folders of pictures, archives.

Every reader gives rows with a column of pictures and one of captions; what follows is the same for all.
"""

from __future__ import annotations

import codecs
import csv
import fnmatch
import hashlib
import io
import json
import os
import re
import tarfile
import textwrap
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePath
from typing import Any, NamedTuple, cast

from vtm.corpora.base import Corpus, Dropped, Pair
from vtm.corpora.keywords import read_own_words
from vtm.corpora.pictures import MAX_BYTES, SUFFIXES, PictureError, check_file
from vtm.errors import ConfigError, DataError, check_choice, counted, listed, require
from vtm.files import atomic_path, check_regular, data_dir, known_hash

# Bytes of XML in a workbook, of which a million rows take 200 million; and cells between its first and its last.
MAX_WORKBOOK, MAX_CELLS = 400_000_000, 20_000_000

_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# The place of a cell or a row in a sheet.
_CELL = re.compile(rb"""\br\s*=\s*["']\s*([A-Za-z]*)(\d+)""")


class Row(NamedTuple):
    """A row of a table; `number` is the line in the file (the header is 1), the row of a Parquet file or a sheet, or a key."""

    table: Path
    number: int | str
    values: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.table.name} {'row ' if isinstance(self.number, int) else ''}{self.number}"


# The rows with their values in some columns, by default in all; other values may come along.
Rows = Callable[..., Iterator[Row]]


def read_rows(table: Path, encoding: str | None, *, option: str = "") -> tuple[list[str], Rows]:
    """Column names of a table, an archive or a folder, and a function that gives its rows, once.

    The function takes the names of the columns that are used; of a Parquet file no other is read.

    Parameters
    ----------
    option : what users write before the name of another encoding, as in "--encoding "; "" where they cannot name one.

    Raises
    ------
    ConfigError
        There is no such encoding.
    DataError
        The file is of another kind, has another encoding, or a row cannot be read (while iterating); two columns
        have one name; a used column of a Parquet file holds a value that Python has none for.
    """
    if table.is_dir():
        return list(NAMED), lambda _=None: _read_texts(table, encoding, option)
    try:
        check_regular(table)
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror})") from None
    kind = table.suffix.lower()
    if kind == ".tar":
        return list(NAMED), lambda _=None: _read_tar(table)
    if kind == ".json":
        return list(NAMED), lambda _=None: _read_coco(table, _decoded(table, encoding, option))
    if kind in (".csv", ".tsv", ".txt", ".token"):
        text = _decoded(table, encoding, option)
        if kind in (".txt", ".token") and _TOKEN.match(text):
            return list(NAMED), lambda _=None: _read_tokens(table, text)
        return _read_csv(table, text, "\t" if kind == ".tsv" else None, option)
    if kind in (".jsonl", ".ndjson"):
        return _read_jsonl(table, _decoded(table, encoding, option))
    if kind in (".parquet", ".pq"):
        return _read_parquet(table)
    if kind in (".xlsx", ".ods"):
        return _read_workbook(table)
    raise DataError(
        f"{table}: tables are read from .csv, .tsv, .jsonl, .parquet, .xlsx and .ods, captions from .json, .token "
        "and .tar; save it as one of these"
    )


def _decoded(table: Path, encoding: str | None, option: str) -> str:
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
            + _of_encoding(option, "utf-16" if content.startswith(_BYTE_ORDER_MARKS) else "cp1252")
        ) from None
    except (LookupError, ValueError):  # ValueError: a null byte in the name
        raise ConfigError(f"no encoding is called {encoding!r}; try cp1252 or utf-16") from None


def _of_encoding(option: str, likely: str) -> str:
    """What helps where a table is in another encoding."""
    return f"give its encoding, as in {option}{likely}, or save it as UTF-8" if option else "save it as UTF-8"


def _read_csv(table: Path, text: str, delimiter: str | None, option: str) -> tuple[list[str], Rows]:
    if not text.strip():
        raise DataError(f"{table}: the file is empty; it needs a header and at least one row")
    # A first line that spreadsheets read, and do not show.
    said = re.match(r'\s*"?sep=(.)"?[ \t]*\r?\n', text)
    skipped = text[: said.end()].count("\n") if said else 0
    text = text[said.end() :] if said else text
    if delimiter is None or said:
        first = (text.lstrip().splitlines() or [""])[0]
        delimiter = said[1] if said else max(",;\t|", key=first.count)
    # Of a caption of any length; the limit is one of the process, and is never lowered here.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)

    def numbered() -> Iterator[tuple[int, list[str]]]:
        number = 1 + skipped
        try:
            for fields in reader:
                if fields:
                    yield number, fields
                number = reader.line_num + 1 + skipped
        except csv.Error as error:
            raise DataError(f"{table}: row {number} cannot be read ({error}): an open quote?") from None

    lines = numbered()
    columns = [name.strip() for name in next(lines, (1, []))[1]]
    if any("\0" in name for name in columns):
        raise DataError(
            f"{table}: null bytes in its header, as in UTF-16 without a byte-order mark; "
            + _of_encoding(option, "utf-16-le")
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
    require("pyarrow")
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


def _read_workbook(table: Path) -> tuple[list[str], Rows]:
    """The sheet that is called vtm, or else the first; rows are numbered as spreadsheets show them."""
    require("python_calamine")
    import python_calamine

    try:
        _check_workbook(table)
        with python_calamine.CalamineWorkbook.from_path(table) as book:
            name = "vtm" if "vtm" in book.sheet_names else book.sheet_names[0]
            cells = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    except DataError:
        raise
    except BaseException as error:  # as Rust's PanicException is
        # RuntimeError is zipfile's: encrypted, a compression that it lacks.
        known = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, LookupError, RuntimeError)
        panicked = type(error).__name__ == "PanicException"
        if not panicked and not isinstance(error, (*known, python_calamine.CalamineError)):
            raise
        raise DataError(f"{table}: not readable as a workbook ({_said(error)}); save it as CSV") from None
    filled = [(number, row) for number, row in enumerate(cells, start=1) if any(cell != "" for cell in row)]
    if not filled:
        raise DataError(f"{table}: the sheet is empty; it needs a header and at least one row")
    columns = [str(_plain(cell)).strip() for cell in filled[0][1]]
    _check_columns(table, columns)

    def rows(_: Iterable[str] | None = None) -> Iterator[Row]:
        for number, row in filled[1:]:
            yield Row(table, number, dict(zip(columns, map(_plain, row), strict=True)))

    return columns, rows


def _check_workbook(table: Path) -> None:
    """Refuse a workbook for which calamine 0.9 asks for more memory than there is, and ends the process."""
    with zipfile.ZipFile(table) as archive:
        parts = [part for part in archive.infolist() if part.filename.lower().endswith((".xml", ".bin"))]
        if sum(part.file_size for part in parts) > MAX_WORKBOOK:
            raise DataError(f"{table}: more than {MAX_WORKBOOK / 1e6:.0f} MB of cells; save it as CSV")
        for part in parts:
            if "worksheets/" in part.filename.lower():
                cells = _CELL.findall(archive.read(part))
                rows = max((int(digits) for _, digits in cells), default=0)
                columns = max(
                    (_column_number(letters) for letters in {letters for letters, _ in cells}), default=0
                )
                if rows * columns > MAX_CELLS:
                    raise DataError(
                        f"{table}: a cell lies far from the others; delete what is there, or save it as CSV"
                    )


def _column_number(letters: bytes) -> int:
    """AB is the 28th column."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + letter - ord("A") + 1
    return number


def _plain(cell: Any) -> Any:
    """A cell as it was typed: spreadsheets make 1.0 of 1, and TRUE of true."""
    if isinstance(cell, bool):
        return str(cell).lower()
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _not_parquet(table: Path, error: Exception) -> DataError:
    return DataError(f"{table}: not readable as Parquet ({_said(error)})")


def _said(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_columns(table: Path, columns: list[str]) -> None:
    # A row is a dictionary: of two values under one name it would keep the last.
    if twice := [name for name in columns if name and columns.count(name) > 1]:
        raise DataError(f"{table}: two columns are called {twice[0]!r}; rename one")


def _captioned(table: Path, number: int | str, picture: Any, text: Any) -> Row:
    """A row of what has no header."""
    return Row(table, number, {"file_name": picture, "text": text})


def _read_tokens(table: Path, text: str) -> Iterator[Row]:
    """Flickr8k and Flickr30k: `picture.jpg#0`, a tab, a caption."""
    for number, line in enumerate(text.splitlines(), start=1):
        named, tab, caption = line.partition("\t")
        if line.strip():
            if not tab:
                raise DataError(
                    f"{table}: row {number} has no tab between the picture's name and its caption"
                )
            yield _captioned(table, number, named.rpartition("#")[0] or named, caption)


def _read_coco(table: Path, text: str) -> Iterator[Row]:
    """COCO's captions: pictures by id, and annotations that name these ids."""
    try:
        content = json.loads(text)
        if isinstance(content, list):
            raise DataError(
                f"{table}: holds a list; a table in JSON has a row a line, in a file named .jsonl"
            )
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        captions: dict[Any, list[Any]] = {id: [] for id in names}
        for number, annotation in enumerate(content["annotations"], start=1):
            if annotation["image_id"] not in captions:
                raise DataError(
                    f"{table}: annotation {number} names the picture {annotation['image_id']!r}, which is not there"
                )
            captions[annotation["image_id"]].append(annotation["caption"])
    except DataError:
        raise
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise DataError(
            f"{table}: holds no captions as COCO's files do, with images (id, file_name) and annotations (image_id, "
            f"caption): {error!r}"
        ) from None
    for number, (id, name) in enumerate(names.items(), start=1):
        yield _captioned(table, number, name, captions[id])


def _read_texts(folder: Path, encoding: str | None, option: str) -> Iterator[Row]:
    """Pictures with a text of the same name beside them, as img2dataset leaves them."""
    for path in _walk(folder):
        if _is_picture(path):
            beside = path.with_suffix(".txt")
            caption = _decoded(beside, encoding, option) if beside.is_file() else ""
            named = path.relative_to(folder).as_posix()
            yield _captioned(folder, named, named, caption)


def _read_own_words(
    folder: Path, where: Counter[str], dropped: list[Dropped], language: str
) -> Iterator[Row]:
    """Pictures with the words that they or their sidecars have; counts where these were, and what is passed over."""
    found = find_pictures([folder])
    for item in (*found.unreadable, *found.passed):
        dropped.append(Dropped(os.path.relpath(item.id, folder), item.reason, item.detail))
    for picture in found.pictures:
        words = read_own_words(picture, language=language)
        where.update(words.where)
        named = picture.relative_to(folder).as_posix()
        texts = [*words.captions, ", ".join(words.keywords)]
        yield _captioned(folder, named, named, texts)


def _read_tar(table: Path) -> Iterator[Row]:
    """WebDataset: files of one name up to the first dot of its last part are one sample."""
    key, sample = "", dict[str, bytes]()
    try:
        with tarfile.open(table) as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                stem, _, kind = name.partition(".")
                if not member.isreg() or not stem or member.size > MAX_BYTES:
                    continue
                if sample and f"{folder}/{stem}" != key:
                    yield _sample(table, key, sample)
                    sample = {}
                key = f"{folder}/{stem}"
                sample[kind.lower()] = archive.extractfile(member).read()  # type: ignore[union-attr]
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{table}: not readable as a tar archive ({error})") from None
    if sample:
        yield _sample(table, key, sample)


def _sample(table: Path, key: str, files: dict[str, bytes]) -> Row:
    key = key.removeprefix("/")
    image = next((kind for kind in files if f".{kind}" in PICTURE_SUFFIXES), None)
    try:
        text: Any = files["txt"].decode("utf-8-sig") if "txt" in files else ""
        if not text and "json" in files:
            about = json.loads(files["json"])
            text = next((about[name] for name in TEXT_COLUMNS if about.get(name)), "")
    except (ValueError, RecursionError, AttributeError) as error:
        raise DataError(f"{table}: the text of {key} cannot be read ({error})") from None
    picture = {"bytes": files[image], "path": f"{table.name}/{key}.{image}"} if image else None
    return _captioned(table, key, picture, text)


# The columns of what has no header.
NAMED = ("file_name", "text")
# Tried in this order, whatever their case; then a column whose name ends as the first does.
IMAGE_COLUMNS = (
    *("file_name", "filename", "image", "image_path", "path", "file", "picture"),
    *("filepath", "file_path", "image_name", "jpg", "png", "webp"),
)
TEXT_COLUMNS = ("text", "caption", "description", "title", "captions", "comment")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
PICTURE_SUFFIXES = frozenset(".png .jpg .jpeg .gif .webp .bmp .tif .tiff .avif .heic .jp2".split())
# Files of captions as their makers publish them, in a folder without metadata.
PUBLISHED = ("captions_*.json", "*.token", "*.token.txt", "captions.txt", "results.csv")
# Of a table of captions that has no header.
_TOKEN = re.compile(r"[^\t\n]+\.\w+#\d+\t")
# Folders that the captions' makers put their pictures into.
_PICTURES = (
    "Images",
    "images",
    "Flicker8k_Dataset",
    "Flickr8k_Dataset",
    "flickr30k-images",
    "flickr30k_images",
)
# Folders that hold a part of an owner's split, and that part; COCO's have a year.
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_PART = re.compile(rf"({'|'.join(_PARTS)})(\d{{4}})?", re.IGNORECASE)
CAPTIONS = ("joined", "first", "drawn", "none")
# A date, with the time of day behind it or without; cameras write colons. Years of four digits, as codes have, are no others.
_YEAR = r"(?P<year>1\d{3}|2[01]\d{2})"
_DATES = (
    # pandas writes whole numbers as 2021.0 where some are missing.
    rf"{_YEAR}(?:\.0|[-:/.](?P<month>\d{{1,2}})(?:[-:/.](?P<day>\d{{1,2}}))?)?",
    rf"(?P<day>\d{{1,2}})\.(?P<month>\d{{1,2}})\.{_YEAR}",
    # Of these, a column has one or the other.
    rf"(?P<day>\d{{1,2}})[-/](?P<month>\d{{1,2}})[-/]{_YEAR}",
    rf"(?P<month>\d{{1,2}})[-/](?P<day>\d{{1,2}})[-/]{_YEAR}",
)
MONTHS = 36  # that dates span, from which on years are told apart, not months
# What other programs write for "no value".
NO_VALUE = frozenset(("", "nan", "null", "none", "<na>"))
# A null byte, or half of a surrogate pair, which no file can be written with.
BAD_CHARACTERS = re.compile("[\0\ud800-\udfff]")


class NoColumnError(ConfigError):
    """A table has not the further column that was asked for."""

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


class _Gathered(NamedTuple):
    """A picture on its way into the corpus, with all captions that its rows have."""

    row: Row
    picture: Path
    content: str
    group: str
    captions: list[str]
    columns: list[str]


def load(
    path: Path,
    *,
    image_column: str | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
    group_column: str | None = None,
    columns: tuple[str, ...] | str = (),
    encoding: str | None = None,
    captions: str = "joined",
    pictures: str | None = None,
    lang: str = "en",
) -> Corpus:
    """Read captioned pictures; paths are relative to the folder of the table that names them.

    A picture that several rows name, or whose caption is a list, is one pair. In a folder, pictures below train/ and
    test/ (validation/, too) keep these parts (`Corpus.parts`).

    Dropped, each with its row: `repeated-row`, a picture and a caption that an earlier row has, `empty-text`, `missing-picture`, `outside-folder`, a path that leads out of the
    table's folder, `no-permission` or `unreadable`, a picture whose bytes cannot be had, `too-large`, a file that
    holds more than any picture needs, and `bad-characters`, a null byte or half of a surrogate pair in a value that
    is used.

    Parameters
    ----------
    path : a .csv, .tsv, .jsonl, .parquet, .xlsx or .ods file; in Parquet a column may hold the pictures themselves ({bytes, path});
        captions as Flickr8k and Flickr30k (.token) or COCO (.json) have them; a WebDataset (.tar). Or a folder with
        any of these: metadata.csv, metadata.jsonl or metadata.parquet in it and below, or published captions, or
        archives, or a .txt beside each picture, or nothing but pictures whose captions and keywords are in them or their
        sidecars (`vtm.corpora.keywords.read_own_words`; dropped are those without, `no-words`). Pictures out of tables and archives are put into the data folder.
    image_column, text_column : guessed from the usual names when not given.
    id_column : when not given, a pair's id is the picture's path relative to `path`'s folder.
    group_column : gold category, for evaluation only.
    columns : further columns to keep (`Corpus.columns`); of several rows of one picture, the first that has a value. Of several
        tables in a folder some may lack one.
    encoding : of tables and captions that are text; UTF-8, with or without a byte-order mark, when not given.
    captions : of a picture with several: "joined", the "first", or one "drawn" by the hash of the picture's id; "none" reads
        pictures alone, and needs no column of texts.
    pictures : another folder in which pictures are looked for, and into which absolute paths and links may lead.
    lang : code of the texts' language.

    Raises
    ------
    ConfigError
        A named column does not exist; the message lists those that do. `captions` is none of the four.
    DataError
        No column could be guessed, a row has too many or too few fields, two pictures have one id, the encoding is
        another one, a folder holds metadata in two formats, or no row is usable.
    """
    check_choice(f"captions={captions!r}", captions, CAPTIONS)
    path = Path(path)
    root = path if path.is_dir() else path.parent
    more = [Path(pictures).expanduser()] if pictures else []
    found: dict[str, _Gathered] = {}
    dropped: list[Dropped] = []
    where: Counter[str] = Counter()
    tables = _tables(path)
    own = not tables
    more_columns = (columns,) if isinstance(columns, str) else tuple(columns)
    every: dict[str, None] = {}
    for table in tables or [path]:
        there, rows = (
            (list(NAMED), lambda _=None: _read_own_words(path, where, dropped, lang))
            if own
            else read_rows(table, encoding, option=f"{path.name}:encoding=")
        )
        used = {"image": _column(table, there, "image_column", image_column, IMAGE_COLUMNS)}
        if captions != "none":
            used["text"] = _column(table, there, "text_column", text_column, TEXT_COLUMNS)
        for value, option, name in (("id", "id_column", id_column), ("group", "group_column", group_column)):
            if name:
                used[value] = _column(table, there, option, name, ())
        every.update(dict.fromkeys(there))
        if table in (path, *tables[-1:]):  # the last of them
            for name in more_columns:
                _column(path, [*every], "columns", name, ())
        kept = {*more_columns} & {*there}
        folders = [*more, *_picture_folders(table)]
        for row in rows([*used.values(), *kept]):
            texts = _texts(row, used["text"]) if "text" in used else [""]
            picture, named, reason = _picture_of(row, used["image"], folders)
            values = {value: _value(row, used[value]) for value in ("id", "group") if value in used}
            further = [", ".join(_texts(row, name)) if name in kept else "" for name in more_columns]
            if any(map(BAD_CHARACTERS.search, (named, *texts, *values.values()))):
                dropped.append(Dropped(str(row), "bad-characters", str(row)))
                continue
            if not texts:
                reason = "no-words" if own else "empty-text"
            id = (
                values["id"] if id_column else (_relative(picture, [root, *more]) if picture else "") or named
            )
            earlier = found.get(id) if id else None
            content = earlier.content if earlier and earlier.picture == picture else ""
            if not reason and not content:
                content, reason = _hash(cast(Path, picture))
            if reason:
                dropped.append(Dropped(id or str(row), reason, f"{row}: {named}" if named else str(row)))
            elif not id:
                raise DataError(f"{row}: no id in column {id_column!r}; fill it, or leave id_column out")
            elif not earlier:
                found[id] = _Gathered(
                    row, cast(Path, picture), content, values.get("group", ""), texts, further
                )
            elif earlier.content == content:
                new = [text for text in texts if text not in earlier.captions]
                if "text" in used and not new:
                    dropped.append(
                        Dropped(id, "repeated-row", f"{row}: says of {named} what {earlier.row} does")
                    )
                earlier.captions.extend(new)
                earlier.columns[:] = [old or new for old, new in zip(earlier.columns, further, strict=True)]
            else:
                raise DataError(
                    f"{earlier.row} and {row} have the same id {id!r}; remove one, or name another id_column"
                )
    if own and not found:
        n = sum(item.reason == "no-words" for item in dropped)
        raise DataError(
            f"{path}: no {', '.join(METADATA)} in this folder or its subfolders, and none of its {counted(n, 'picture')} has a "
            "caption or keywords in it or its sidecar; write a table with the columns file_name and text, or give the "
            "path of one"
        )
    if not (found or dropped):
        raise DataError(f"{path}: no usable pair of text and picture: it has no rows")
    if not found and {item.reason for item in dropped} == {"outside-folder"}:
        raise DataError(
            f"{path}: no usable pair of text and picture: all pictures, such as {dropped[0].id}, lie outside of the "
            f"table's folder; name theirs, as in {path.name}:pictures=FOLDER, in Python pictures='FOLDER'"
        )
    several = 0 if own else sum(len(item.captions) > 1 for item in found.values())
    return Corpus.of(
        [
            Pair(id, _one_caption(id, item.captions, captions), item.picture, item.group, item.content)
            for id, item in found.items()
        ],
        name="table-" + re.sub(r"[^\w.-]+", "-", path.resolve().stem),
        grouped=bool(group_column),
        dropped=tuple(dropped),
        language=lang,
        found=tuple(sorted(where.items())),
        columns={
            name: tuple(item.columns[place] for item in found.values())
            for place, name in enumerate(more_columns)
        },
        source=f"the {'words in the pictures of' if own else 'table'} {path.name}"
        + (
            f"; {counted(several, 'picture has', 'pictures have')} several captions ({captions})"
            if several
            else ""
        ),
        parts=_own_parts([_seen_from(item, root) for item in found.values()]) if path.is_dir() else None,
    )


def _tables(path: Path) -> list[Path]:
    """The table, or what a folder holds: metadata files in it and below, else published captions, archives, texts.

    None where it holds nothing but pictures.
    """
    if not path.is_dir():
        return [path]
    files = list(_walk(path))
    names = set(files)
    by_folder: dict[Path, list[Path]] = {}
    for file in files:
        if file.name in METADATA:
            by_folder.setdefault(file.parent, []).append(file)
    for folder, several in by_folder.items():
        if len(several) > 1:
            told = " and ".join(file.name for file in several)
            raise DataError(f"{folder}: holds {told}; remove all but one, or name one as the corpus")
    if by_folder:
        return [file for several in by_folder.values() for file in several]
    kinds = (
        [file for file in files if any(file.match(pattern) for pattern in PUBLISHED)],
        [file for file in files if file.suffix.lower() == ".tar"],
        [path] if any(file.with_suffix(".txt") in names for file in files if _is_picture(file)) else [],
        [
            file
            for file in files
            if re.fullmatch(r"(train-|test-|validation-)?\d+(-of-\d+)?\.parquet", file.name)
        ],
    )
    return next((kind for kind in kinds if kind), [])


def _walk(folder: Path) -> Iterator[Path]:
    """The files in a folder and below, in order; nothing hidden, and no linked folder."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (Path(place, name) for name in sorted(names) if name[0] != ".")


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES


def _picture_folders(table: Path) -> list[Path]:
    """The table's folder; of published captions also those beside it that their makers use."""
    if table.is_dir():
        return [table]
    folder = table.parent
    if not any(table.match(pattern) for pattern in PUBLISHED):
        return [folder]
    bases = [folder, folder.parent] if folder.name == "annotations" else [folder]
    year = re.search(r"_(\w+\d{4})$", table.stem)  # captions_val2017.json
    names = (*((year[1], f"images/{year[1]}") if year else ()), *_PICTURES)
    return [folder, *(place for base in bases for name in names if (place := base / name).is_dir())]


def _own_parts(places: Sequence[PurePath]) -> list[str] | None:
    """The owners' part of each picture, by the folders that it lies in; None where there is no test or validation part.

    Without a validation part, or without one for tests, that part is drawn from their training part.
    """
    told = [filter(None, map(_PART.fullmatch, place.parts[:-1])) for place in places]
    parts = [next((_PARTS[match[1].lower()] for match in matches), "train") for matches in told]
    if "train" not in parts or not {"validation", "test"} & set(parts):
        return None
    complete = {"validation", "test"} <= set(parts)
    return parts if complete else ["development" if part == "train" else part for part in parts]


def _seen_from(item: _Gathered, root: Path) -> PurePath:
    """Where a picture lies, or else the table that names it."""
    seen = _relative(item.picture, [root])
    return PurePath(seen) if seen else item.row.table.relative_to(root)


def _one_caption(id: str, captions: Sequence[str], how: str) -> str:
    if how == "drawn":
        return captions[
            int.from_bytes(hashlib.sha256(id.encode("utf-8", "surrogatepass")).digest()) % len(captions)
        ]
    if how == "first" or len(captions) == 1:
        return captions[0]
    return " ".join(caption if caption[-1] in ".!?" else f"{caption}." for caption in captions)


def _column(
    table: Path, columns: Sequence[str], option: str, name: str | None, guesses: Sequence[str]
) -> str:
    """The column that the user named, or else the first of the usual names."""
    found = ", ".join(textwrap.shorten(column, 100, placeholder="...") for column in columns) or "none"
    if name is not None:
        if name not in columns:
            if option == "columns":
                raise NoColumnError(f"{table}: no column {name!r}; its columns are {found}", name)
            raise ConfigError(f"{table}: no column {name!r} for {option}; its columns are {found}")
        return name
    by_lower = {column.lower(): column for column in reversed(columns)}
    ending = [name for name in by_lower if guesses[:1] and name.endswith(f"_{guesses[0]}")]
    for guess in (*guesses, *ending):
        if guess in by_lower:
            return by_lower[guess]
    raise DataError(
        f"{table}: which column is the {option}? Its columns are {found}; name one, as in {table.name}:{option}=NAME, in "
        f"Python {option}='NAME'"
    )


def _texts(row: Row, column: str) -> list[str]:
    """The captions in a cell, each on one line; none for no value."""
    value = row.values.get(column)
    several = value if isinstance(value, list) else [value]
    texts = (_value(Row(row.table, row.number, {column: each}), column) for each in several)
    return list(dict.fromkeys(text for text in texts if text))


def _value(row: Row, column: str) -> str:
    """A cell as text on one line; "" for no value."""
    value = row.values.get(column)
    if isinstance(value, (dict, list, bytes)):
        raise DataError(f"{row}: column {column!r} holds no text; write pictures to files, and name those")
    text = " ".join(str("" if value is None else value).split())
    return "" if text.lower() in NO_VALUE else text


def _picture_of(row: Row, column: str, folders: Sequence[Path]) -> tuple[Path | None, str, str]:
    """A row's picture, how it is named, and the reason why it cannot be used ("" when it can)."""
    value = row.values.get(column)
    content, named = value, ""
    if isinstance(value, dict) and "bytes" in value:
        content, named = value["bytes"], " ".join(str(value.get("path") or "").split())
    if isinstance(content, bytes):
        return _kept_picture(content), named or str(row), ""
    named = named or _value(row, column)
    picture, reason = _picture(folders, named)
    return picture, named, reason


def _kept_picture(content: bytes) -> Path:
    """A file with these bytes, in the data folder; one for all rows that hold them."""
    name = hashlib.sha256(content).hexdigest()
    place = data_dir() / "corpora" / "from-tables" / name[:2] / name
    if not place.is_file() or place.stat().st_size != len(content):
        with atomic_path(place) as temporary:
            temporary.write_bytes(content)
    return place


def _picture(folders: Sequence[Path], named: str) -> tuple[Path, str]:
    """Path of a row's picture, and the reason why it cannot be used ("" when it can)."""
    if os.sep == "/" and "\\" in named and not (folders[0] / named).exists():
        named = named.replace("\\", "/")  # written on Windows
    outside = False
    for folder in folders:
        path = folder / named
        try:
            inside = any(path.resolve().is_relative_to(other.resolve()) for other in folders)
            if inside and named and path.is_file():
                return path, ""
            outside |= not inside
        except (OSError, ValueError, RuntimeError):  # a name that no file can have, a loop of links
            continue
    return folders[0] / named, "outside-folder" if outside else "missing-picture"


def _hash(picture: Path) -> tuple[str, str]:
    """Hash of a picture's content, and the reason why it cannot be read ("" when it can)."""
    try:
        check_file(picture)
        return known_hash(picture), ""
    except PictureError as error:
        return "", error.reason
    except PermissionError:
        return "", "no-permission"
    except OSError:
        return "", "unreadable"


def _relative(picture: Path, roots: Sequence[Path]) -> str:
    """`picture` as seen from the first of `roots` that it lies in, normalised; "" outside of them."""
    for root in roots:
        seen = PurePath(os.path.relpath(os.path.abspath(picture), os.path.abspath(root)))
        if ".." not in seen.parts and seen != PurePath("."):
            return seen.as_posix()
    return ""


# Folders in which network storage and programs keep copies, or what was deleted, in small letters.
PROGRAM_FOLDERS = frozenset(
    (
        *("@eadir", "@recycle", "@recently-snapshot", "@__thumb", "@synoeastream", "@tmp", "@transcode"),
        *("#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found", "__macosx"),
    )
)
# Of Lightroom's previews, and of Apple's and Capture One's libraries.
PROGRAM_SUFFIXES = (".lrdata", ".photoslibrary", ".photolibrary", ".cocatalog", ".aplibrary")
# Why a picture in a folder is passed over -> what is counted, and how it is said.
PASSED_OVER = {
    "link": ("link", "in folders not followed"),
    "hidden": ("picture", "passed over, hidden by a name that begins with a dot"),
    "program": ("picture", "passed over in folders that programs keep for themselves"),
    "nomedia": ("picture", "passed over in folders with a .nomedia"),
    "excluded": ("picture", "passed over by --exclude"),
    "explorer": ("picture", "passed over, an explorer's thumbnails"),
}
# An explorer's sheets of thumbnails, and what stands in its page.
EXPLORER_SHEETS, EXPLORER_MARK = "thumbnails-*.webp", '<meta name="generator" content="vtm explorer">'


@dataclass(frozen=True)
class Found:
    """Pictures that were named or lie in named folders, in order.

    Attributes
    ----------
    unreadable : folders that could not be read.
    passed : pictures and links in folders that were passed over, each with its reason (`PASSED_OVER`) and as its detail
        the place that is to be named: its own, or that of the folder above it which is the reason.
    """

    pictures: tuple[Path, ...]
    unreadable: tuple[Dropped, ...] = ()
    passed: tuple[Dropped, ...] = ()

    def told(self) -> list[str]:
        """What was passed over, a line for each reason."""
        lines = []
        for reason, (what, words) in PASSED_OVER.items():
            passed = [item for item in self.passed if item.reason == reason]
            places = list(dict.fromkeys(item.detail for item in passed))
            if passed:
                lines.append(f"{counted(len(passed), what)} {words}: {listed(places)}")
        return lines


def periods(values: Iterable[Any]) -> tuple[list[str], str]:
    """The months or years of dates (`dates_of`): months where all have one, over less than three years. Other values stay.

    Parameters
    ----------
    values : of a column, one for each picture.

    Returns
    -------
    labels : "2021", "2021-03", or the value; "" where there is none, or no date among dates.
    unit : "year", "month" or "group".

    Raises
    ------
    DataError
        As `dates_of`.

    Examples
    --------
    >>> from vtm.corpora.table import periods
    >>> periods(["2021-03-04", "14.2.2021", "unknown", "2021-05-06 12:00"])
    (['2021-03', '2021-02', '', '2021-05'], 'month')
    >>> periods(["sea", None, "woods"])
    (['sea', '', 'woods'], 'group')
    """
    texts = cell_texts(values)
    dates = dates_of(texts)
    if not dates:
        return texts, "group"
    first, last = min(dates.values()), max(dates.values())
    by_month = 12 * (last.year - first.year) + last.month - first.month < MONTHS
    by_month &= not any(re.fullmatch(r"\d{4}(\.0)?", text) for text in dates)  # a year alone
    labels = {
        text: f"{date.year}-{date.month:02}" if by_month else str(date.year) for text, date in dates.items()
    }
    return [labels.get(text, "") for text in texts], "month" if by_month else "year"


def cell_texts(values: Iterable[Any]) -> list[str]:
    """The values of a column as text, with single spaces; "" for what programs write where there is none."""
    texts = (" ".join(str("" if value is None else value).split()) for value in values)
    return ["" if text.lower() in NO_VALUE else text for text in texts]


def dates_of(texts: Iterable[str]) -> dict[str, date]:
    """The dates among the texts of a column; none unless half of the different texts are some.

    Dates are 2021, 2021-03, 2021-03-04, 2021:03:04 as cameras write it, 4.3.2021 or 04/03/2021, with a time or without.

    Raises
    ------
    DataError
        Dates of which the day and the month cannot be told apart.

    Examples
    --------
    >>> from vtm.corpora.table import dates_of
    >>> [str(found) for found in dates_of(["2021:03:04 10:00:00", "14.2.2021", "unknown"]).values()]
    ['2021-03-04', '2021-02-14']
    """
    different = sorted({*texts} - {""})
    year_first, dotted, *others = (_dates(different, pattern) for pattern in _DATES)
    more, fewer = sorted(others, key=len, reverse=True)
    dates = year_first | dotted | more
    if 2 * len(dates) < len(different):
        return {}
    if len(more) == len(fewer) and (twice := next((one for one in more if more[one] != fewer[one]), "")):
        raise DataError(f"{twice!r}: which is the day, and which is the month? Write dates as in 2021-03-31")
    return dates


def _dates(texts: Iterable[str], pattern: str) -> dict[str, date]:
    """The texts that are dates by a pattern, and these."""
    found = {}
    for text in texts:
        if match := re.fullmatch(rf"{pattern}(?:[T ,].*)?", text):
            with suppress(ValueError):  # no such day
                found[text] = date(*(int(match[part] or 1) for part in ("year", "month", "day")))
    return found


def find_pictures(paths: Iterable[Path | str], *, exclude: Sequence[str] = ()) -> Found:
    """The named pictures, and those in named folders and their subfolders, sorted by folder and name.

    In folders, what is hidden (its name begins with a dot) is passed over, and so are the folders that programs keep for
    themselves, folders with a .nomedia, and an explorer's sheets of thumbnails. Links are not followed: they may lead in
    a circle or to the same picture again. A folder that is named is searched whatever it is. A picture that is found
    twice counts once.

    Parameters
    ----------
    exclude : patterns as of a shell, each for the name of a file or folder, or for its path below the named folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vtm.corpora.table import find_pictures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png"):
    ...         Path(folder, name).touch()
    ...     found = find_pictures([folder])
    >>> [picture.name for picture in found.pictures], [item.reason for item in found.passed]
    (['a.png', 'b.JPG'], ['hidden'])
    """
    pictures: dict[str, Path] = {}
    unreadable: list[Dropped] = []
    passed: list[Dropped] = []
    # Folder -> why its pictures are passed over and where that begins; only these are in it.
    inside: dict[str, tuple[str, str]] = {}

    def refused(error: OSError) -> None:
        where = str(error.filename)
        if where not in inside:
            unreadable.append(
                Dropped(where, "unreadable", f"{where}: the folder cannot be read ({error.strerror})")
            )

    def excluded(path: str, root: Path) -> bool:
        below = Path(os.path.relpath(path, root)).as_posix()
        names = (os.path.basename(path), below)
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude for name in names)

    for named in map(Path, paths):
        if not named.is_dir():
            if excluded(str(named), named.parent):
                passed.append(Dropped(str(named), "excluded", str(named)))
            else:
                pictures.setdefault(os.path.abspath(named), named)
            continue
        for folder, subfolders, files in os.walk(named, onerror=refused):
            subfolders.sort()
            if ".nomedia" in files and folder != str(named):
                inside.setdefault(folder, ("nomedia", folder))
            is_explorer = "index.html" in files and holds_explorer(folder)
            sheets = {*fnmatch.filter(files, EXPLORER_SHEETS)} if is_explorer else set()
            for name, is_folder in [(name, True) for name in subfolders] + [
                (name, False) for name in sorted(files)
            ]:
                path = os.path.join(folder, name)
                if not is_folder and os.path.splitext(name)[1].lower() not in SUFFIXES:
                    continue
                if os.path.islink(path):
                    why = ("link", path)
                elif folder in inside:
                    why = inside[folder]
                elif excluded(path, named):
                    why = ("excluded", path)
                elif name.startswith("."):
                    why = ("hidden", path)
                elif is_folder and _is_of_a_program(name):
                    why = ("program", path)
                else:
                    why = ("explorer", path) if name in sheets else None  # type: ignore[assignment]
                if is_folder and why and why[0] != "link":
                    inside[path] = why
                elif why:
                    passed.append(Dropped(path, *why))
                elif not is_folder:
                    pictures.setdefault(os.path.abspath(path), Path(path))
            subfolders[:] = [name for name in subfolders if not os.path.islink(os.path.join(folder, name))]
    return Found(tuple(pictures.values()), tuple(unreadable), tuple(passed))


def _is_of_a_program(name: str) -> bool:
    return name.lower() in PROGRAM_FOLDERS or name.lower().endswith(PROGRAM_SUFFIXES)


def holds_explorer(folder: Path | str) -> bool:
    """Whether a folder's index.html is an explorer's."""
    try:
        with open(Path(folder) / "index.html", encoding="utf-8", errors="replace") as page:
            return EXPLORER_MARK in page.read(4000)
    except OSError:
        return False
