"""The files of MediaEval 2021 NewsImages, read as they are: which files there are, and what each row says.

The files are tab-separated with CRLF line ends, in UTF-8 or Windows-1252. A spreadsheet wrote some of their
fields between double quotes, so quotes never join lines here: a field loses them only when they are whole.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import urlsplit

from vtm.corpora.base import Dropped
from vtm.errors import DataError, MissingError
from vtm.files import data_dir, hash_file, read_regular

REPOSITORY = "https://github.com/NewsImagesDataset/NewsImagesDataset"
# The five files that are published without the answers, in their folder Data; SHA-256 of each.
FILES = {
    "content2019-01.tsv": "8d80d402b497f1e0e212286fda7efffa4c1997dabf6fc20be0979258c8d01451",
    "content2019-02.tsv": "e56d378a90ab501eae7a961140020d2530ae137f093bf4f8c1acd679d5fcbb6b",
    "content2019-03.tsv": "55cfaeb9fc27a7054a098c344996d69042fac3929279c6eed0c418bf58b94c6f",
    "MediaEvalNewsImagesBatch04articles.tsv": "2d4e8b5489723315b4739db9eb183f568a859ba367b1e94831eed4be3d316dcb",
    "MediaEvalNewsImagesBatch04images.tsv": "a5a9edb631374ae1c7abecd507b4486acacb7ffef98792305f4da4079b7134b1",
}
BATCHES = ("content2019-01.tsv", "content2019-02.tsv", "content2019-03.tsv")
TEST_ARTICLES = "MediaEvalNewsImagesBatch04articles.tsv"
TEST_IMAGES = "MediaEvalNewsImagesBatch04images.tsv"
GROUND_TRUTH = "content2019-04-gt.tsv"  # in the same folder; its SHA-256 is not known here
MAX_BYTES = 200_000_000  # of a file that is read; the largest of the task's has some 2 MB


class Odd(NamedTuple):
    """A row that is not as it should be; `dropped` tells whether it was left out."""

    file: str
    row: int
    reason: str
    detail: str = ""
    dropped: bool = False


@dataclass(frozen=True)
class TsvFile:
    """What a file held: each of its `n_rows` rows gave one of `n_items` items, or is dropped in the odd rows."""

    name: str
    encoding: str
    n_rows: int
    n_items: int
    as_published: bool


class Row(NamedTuple):
    """A row's values by column; `number` is the line in the file (the header is 1)."""

    file: str
    number: int
    values: dict[str, str]

    def __str__(self) -> str:
        return f"{self.file} row {self.number}"


@dataclass
class Table:
    """A file's rows, less the blank ones, and what was odd; readers of rows add to `odd`."""

    path: Path
    encoding: str
    n_rows: int
    rows: list[Row]
    odd: list[Odd]

    def note(self, row: Row, reason: str, detail: str = "", *, dropped: bool = False) -> None:
        self.odd.append(Odd(row.file, row.number, reason, detail, dropped))

    def unique(self, columns: Sequence[str], seen: dict[tuple[str, str], Row]) -> Iterator[Row]:
        """Rows with ids in `columns` that no earlier row has; others are dropped. `seen` is kept over files."""
        for row in self.rows:
            repeated = ""
            for column in columns:
                id = row.values[column]
                if not _is_number(id):
                    raise DataError(f"{self.path}: row {row.number}: {column} {id!r} is no number; {REMEDY}")
                earlier = seen.setdefault((column, id), row)
                if earlier is not row and not repeated:
                    repeated = f"{column} {id}, as in {earlier}"
            if repeated:
                self.note(row, "repeated-id", repeated, dropped=True)
            else:
                yield row

    def summary(self) -> TsvFile:
        name = self.path.name.replace("-v3.tsv", ".tsv")
        return TsvFile(
            name=self.path.name,
            encoding=self.encoding,
            n_rows=self.n_rows,
            n_items=self.n_rows - sum(odd.dropped for odd in self.odd),
            as_published=FILES.get(name) == hash_file(self.path),
        )


REMEDY = f"fetch the file again from {REPOSITORY}"


def find_file(folder: Path, name: str) -> Path | None:
    """The file of this name in `folder`, under the repository's name or the one that papers use (`-v3`)."""
    names = (name, name.replace("-gt.tsv", ".tsv").replace(".tsv", "-v3.tsv"))
    return next((folder / each for each in names if (folder / each).is_file()), None)


def read_tsv(path: Path, columns: Sequence[str]) -> Table:
    """Read a file whose header names at least `columns`; headers without a name are fine.

    Odd rows: `blank-row` (dropped), `undecodable-line` (each wrong byte becomes U+FFFD), `quoted-field`
    (the quotes around it are removed).

    Raises
    ------
    MissingError
        No such file.
    DataError
        The file cannot be read or has more than 200 MB, a column is missing or there twice, or a row has too many or
        too few fields.
    """
    try:
        raw = read_regular(path, most=MAX_BYTES)
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file; it is one of those of {REPOSITORY}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    encoding, lines, undecodable = _decode(raw)
    header = [name.strip() for name in lines[0].split("\t")]
    if missing := [name for name in columns if name not in header]:
        raise DataError(f"{path}: no column {missing[0]!r} in its header; {REMEDY}")
    if twice := [name for name in columns if header.count(name) > 1]:
        raise DataError(f"{path}: two columns {twice[0]!r} in its header; {REMEDY}")
    table = Table(path, encoding, len(lines) - 1, [], [])
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("\t")
        values = [_unquoted(value).strip() for value in fields]
        row = Row(path.name, number, dict(zip(header, values, strict=False)))
        if not any(values):
            table.note(row, "blank-row", dropped=True)
            continue
        if len(fields) != len(header):
            raise DataError(
                f"{path}: row {number} has {len(fields)} fields, the header has {len(header)}; {REMEDY}"
            )
        if number in undecodable:
            table.note(row, "undecodable-line", f"not {encoding}")
        if any(len(_unquoted(value)) < len(value) for value in fields):
            table.note(row, "quoted-field")
        table.rows.append(row)
    return table


def _decode(raw: bytes) -> tuple[str, list[str], set[int]]:
    """Encoding, lines and the numbers (from 1) of the lines that are not in it.

    UTF-8, if all the file is. Otherwise what most of its lines with a byte past ASCII are: a German line in
    Windows-1252 is hardly ever UTF-8, so one damaged line cannot turn a whole file's umlauts into garbage.
    """
    lines = [line.removesuffix(b"\r") for line in raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    is_utf8 = Counter(_decodes(line, "utf-8") for line in lines if not line.isascii())
    encoding = "utf-8" if is_utf8[True] >= is_utf8[False] else "cp1252"
    wrong = {number for number, line in enumerate(lines, start=1) if not _decodes(line, encoding)}
    return encoding, [line.decode(encoding, errors="replace") for line in lines], wrong


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _unquoted(value: str) -> str:
    """A field as it was before a spreadsheet put it between quotes and doubled those inside."""
    inner = value[1:-1]
    whole = len(value) > 1 and value[0] == value[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if whole else value


def _is_number(id: str) -> bool:
    return id.isascii() and id.isdigit()


def scrambled_to_truth(article_id: str) -> str:
    """The ground truth's id of a test article: characters 7 to 10 of its scrambled id, then 2 to 6.

    >>> scrambled_to_truth("1000265260")
    '526000026'

    Raises
    ------
    DataError
        Not 10 digits.
    """
    if not (len(article_id) == 10 and article_id.isascii() and article_id.isdigit()):
        raise DataError(
            f"article id {article_id!r}: a test article's id has 10 digits, as in {TEST_ARTICLES}"
        )
    return article_id[6:10] + article_id[1:6]


def read_ground_truth(path: Path | str) -> dict[str, str]:
    """Article id -> id of its image (`iid`), from the task's ground truth.

    Raises
    ------
    MissingError, DataError
        As `read_tsv`; also for a repeated article id, or no row.
    """
    table = read_tsv(Path(path), ("article", "iid"))
    truth: dict[str, str] = {}
    for row in table.rows:
        article, iid = row.values["article"], row.values["iid"]
        if article in truth or not (_is_number(article) and _is_number(iid)):
            raise DataError(
                f"{path}: row {row.number}: article {article!r} with image {iid!r}; each article has one row, "
                f"and ids are numbers; {REMEDY}"
            )
        truth[article] = iid
    if not truth:
        raise DataError(f"{path}: no row; {REMEDY}")
    return truth


# What the files of MediaEval 2021 NewsImages say: articles, pictures, and which belong together.


TEST_BATCH = 4


@dataclass(frozen=True)
class Article:
    """A news item's text; `id` is the task's articleID, scrambled in the test batch (4)."""

    id: str
    aid: str
    url: str
    title: str
    snippet: str
    batch: int

    @property
    def category(self) -> str:
        """The newspaper's section: the first part of the address' path, "other" where the article stands above all."""
        parts = [part for part in urlsplit(self.url).path.split("/") if part]
        return parts[0] if len(parts) > 1 else "other"

    def text(self, *, separator: str = ". ", snippet: bool = True) -> str:
        """Title, separator and snippet; what is empty is left out with the separator."""
        return separator.join(part for part in (self.title, self.snippet if snippet else "") if part)


@dataclass(frozen=True)
class Picture:
    """A news item's photograph: `iid` is the task's image id, `file` the name to keep it under."""

    iid: str
    url: str
    file: str
    batch: int


@dataclass(frozen=True)
class Item:
    """An article and the picture that belongs to it."""

    article: Article
    picture: Picture


@dataclass(frozen=True)
class NewsImages:
    """All that the files say.

    Attributes
    ----------
    development
        The pairs of batches 1 to 3.
    test_articles, test_images
        Batch 4, in the order of its files, which tells nothing of the pairs.
    truth
        Article id (as the ground truth has it, see `scrambled_to_truth`) -> iid; None without that file.
    files, odd
        What each file held, and each row that is not as it should be.
    """

    folder: Path
    development: tuple[Item, ...]
    test_articles: tuple[Article, ...]
    test_images: tuple[Picture, ...]
    truth: dict[str, str] | None
    files: tuple[TsvFile, ...]
    odd: tuple[Odd, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, those of the development batches first."""
        return tuple(item.picture for item in self.development) + self.test_images

    def test_pairs(self) -> tuple[tuple[Item, ...], tuple[Dropped, ...]]:
        """The test articles with their pictures by the ground truth, and those that it does not know.

        Raises
        ------
        MissingError
            There is no ground truth.
        DataError
            It is that of other articles.
        """
        if self.truth is None:
            raise MissingError(
                f"no {GROUND_TRUTH} in {self.folder}: without the ground truth there are no test pairs; "
                f"`vtm fetch corpus:newsimages` gets it, or put it there from {REPOSITORY} (folder Data), or give "
                "ground_truth=PATH, or use the development batches alone: newsimages:test=development"
            )
        pictures = {picture.iid: picture for picture in self.test_images}
        items, dropped = [], []
        for article in self.test_articles:
            picture = pictures.get(self.truth.get(scrambled_to_truth(article.id), ""))
            if picture:
                items.append(Item(article, picture))
            else:
                dropped.append(Dropped(article.id, "no-ground-truth"))
        if not items:
            raise DataError(
                f"the ground truth names no pair of a test article and a test image of {self.folder}; "
                f"it should be {GROUND_TRUTH} of {REPOSITORY}"
            )
        return tuple(items), tuple(dropped)


def find_folder() -> Path:
    """The folder with the five files: $VTM_NEWSIMAGES, or in the data folder.

    Raises
    ------
    MissingError
        The files are nowhere; the message says what to put where.
    """
    named = os.environ.get("VTM_NEWSIMAGES")
    return _complete(Path(named).expanduser() if named else data_dir() / "corpora" / "newsimages")


def _complete(folder: Path) -> Path:
    if missing := [name for name in FILES if not find_file(folder, name)]:
        raise MissingError(
            f"{folder}: no {', '.join(missing)}; `vtm fetch corpus:newsimages` gets all files, or put "
            f"{'it' if len(missing) == 1 else 'them'} there from {REPOSITORY} (folder Data), or set "
            "VTM_NEWSIMAGES to the folder that holds them"
        )
    return folder


def read(folder: Path | str | None = None, *, ground_truth: Path | str | None = None) -> NewsImages:
    """Read the files; the batches may be called content2019-01.tsv or content2019-01-v3.tsv.

    Odd rows, beside those of `read_tsv`: `repeated-id` (dropped: an article or image id that an earlier row
    has), `empty-text` (no title or no snippet), `repeated-text` (title and snippet of an earlier article),
    `repeated-image-file`.

    Parameters
    ----------
    folder
        By default that of `find_folder`.
    ground_truth
        By default content2019-04-gt.tsv in `folder`, where it is there.

    Raises
    ------
    MissingError
        A file is missing; the message says what to put where.
    DataError
        A row cannot be read; the message names the file and the row.
    """
    folder = find_folder() if folder is None else _complete(Path(folder).expanduser())
    truth_path = find_file(folder, GROUND_TRUTH) if ground_truth is None else Path(ground_truth).expanduser()
    seen: dict[tuple[str, str], Row] = {}
    tables: list[Table] = []

    def rows_of(name: str, ids: tuple[str, ...], *columns: str) -> list[Row]:
        path = find_file(folder, name)
        assert path is not None  # by _complete
        tables.append(table := read_tsv(path, (*ids, *columns)))
        rows = list(table.unique(ids, seen))
        _note_repeats(table, rows, seen)
        return rows

    development = [
        Item(_article(row, "article", batch), _picture(row, batch))
        for batch, name in enumerate(BATCHES, start=1)
        for row in rows_of(name, ("article", "iid"), "aid", "url", "img", "title", "text", "imgFile")
    ]
    articles = [
        _article(row, "articleID", TEST_BATCH)
        for row in rows_of(TEST_ARTICLES, ("articleID",), "url", "title", "text")
    ]
    for article in articles:
        scrambled_to_truth(article.id)  # an id that is not of the test's form is refused here
    images = [_picture(row, TEST_BATCH) for row in rows_of(TEST_IMAGES, ("iid",), "img", "imgFile")]
    return NewsImages(
        folder=folder,
        development=tuple(development),
        test_articles=tuple(articles),
        test_images=tuple(images),
        truth=None if truth_path is None else read_ground_truth(truth_path),
        files=tuple(table.summary() for table in tables),
        odd=tuple(odd for table in tables for odd in table.odd),
    )


def _article(row: Row, id_column: str, batch: int) -> Article:
    values = row.values
    return Article(
        values[id_column], values.get("aid", ""), values["url"], values["title"], values["text"], batch
    )


def _picture(row: Row, batch: int) -> Picture:
    name = row.values["imgFile"]
    if name != PurePath(name).name or name in ("", ".", "..") or "\\" in name:
        raise DataError(f"{row}: imgFile {name!r} is no file name; fetch the file again from {REPOSITORY}")
    return Picture(row.values["iid"], row.values["img"], name, batch)


def _note_repeats(table: Table, rows: Iterable[Row], seen: dict[tuple[str, str], Row]) -> None:
    for row in rows:
        values = row.values
        if "title" in values:
            if not (values["title"] and values["text"]):
                table.note(row, "empty-text", "no title" if values["text"] else "no snippet")
            text = f"{values['title']}\t{values['text']}"
            if (earlier := seen.setdefault(("title and text", text), row)) is not row:
                table.note(row, "repeated-text", f"as in {earlier}")
        file = values.get("imgFile")
        if file and (earlier := seen.setdefault(("imgFile", file), row)) is not row:
            table.note(row, "repeated-image-file", f"{file}, as in {earlier}")
