"""MediaEval 2021 NewsImages, the paper's data: German news articles, each with its photograph.

Batches 1 to 3 are for development. Batch 4 is the test: its articles and images come in two files, and a
third, the ground truth, says which belong together. The pictures are not in the files, only their addresses.

The files are read as they are: tab-separated with CRLF line ends, in UTF-8 or Windows-1252. A spreadsheet wrote some
of their fields between double quotes, so quotes never join lines here: a field loses them only when they are whole.
(Python's csv reads the published files alike, but joins all lines that follow a quote which is never closed.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from vtm.corpora.base import Corpus, Dropped, Pair
from vtm.errors import ConfigError, DataError, MissingError, check_choice, counted
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
*BATCHES, TEST_ARTICLES, TEST_IMAGES = FILES
TEST_BATCH = 4
GROUND_TRUTH = "content2019-04-gt.tsv"  # in the same folder; its SHA-256 is not known here
MAX_BYTES = 200_000_000  # of a file that is read; the largest of the task's has some 2 MB
REMEDY = f"fetch the file again from {REPOSITORY}"
SOURCE = (
    f"MediaEval 2021 NewsImages ({REPOSITORY.removeprefix('https://')}); texts and pictures belong to their "
    "publisher (ksta.de), for research only"
)
SEPARATOR = ". "  # between title and snippet, as in the paper's code
TESTS = ("ground-truth", "development")


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


class TsvRow(NamedTuple):
    """A row's values by column; `number` is the line in the file (the header is 1)."""

    file: str
    number: int
    values: dict[str, str]

    def __str__(self) -> str:
        return f"{self.file} row {self.number}"


def find_file(folder: Path, name: str) -> Path | None:
    """The file of this name in `folder`, under the repository's name or the one that papers use (`-v3`)."""
    names = (name, name.replace("-gt.tsv", ".tsv").replace(".tsv", "-v3.tsv"))
    return next((folder / each for each in names if (folder / each).is_file()), None)


def read_tsv(
    path: Path,
    columns: Sequence[str],
    *,
    ids: Sequence[str] = (),
    seen: dict[tuple[str, str], TsvRow] | None = None,
) -> tuple[list[TsvRow], TsvFile, list[Odd]]:
    """Read a file whose header names at least `columns` and `ids`; headers without a name are fine.

    Odd rows: `blank-row` (dropped), `undecodable-line` (each wrong byte becomes U+FFFD), `quoted-field` (the quotes
    around it are removed), `repeated-id` (dropped: an id in `ids` that an earlier row has), and, where there are `ids`,
    `empty-text` (no title or no snippet), `repeated-text` (title and snippet of an earlier row), `repeated-image-file`.

    Parameters
    ----------
    seen : column and value -> row, of earlier files; what is new in this one is added.

    Raises
    ------
    MissingError
        No such file.
    DataError
        The file cannot be read or has more than 200 MB, a column is missing or there twice, a row has too many or
        too few fields, or an id is no number.
    """
    try:
        raw = read_regular(path, most=MAX_BYTES)
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file; it is one of those of {REPOSITORY}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    lines = [line.removesuffix(b"\r") for line in raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    # UTF-8, or what most of the lines with a byte past ASCII are: a German line in Windows-1252 is hardly ever UTF-8,
    # so one damaged line cannot turn a whole file's umlauts into garbage.
    are_utf8 = [_decodes(line, "utf-8") for line in lines if not line.isascii()]
    encoding = "utf-8" if 2 * sum(are_utf8) >= len(are_utf8) else "cp1252"
    header = [name.strip() for name in lines[0].decode(encoding, errors="replace").split("\t")]
    for name in (*ids, *columns):
        if header.count(name) != 1:
            problem = "two columns" if name in header else "no column"
            raise DataError(f"{path}: {problem} {name!r} in its header; {REMEDY}")

    rows: list[TsvRow] = []
    odd: list[Odd] = []
    seen = {} if seen is None else seen
    for number, line in enumerate(lines[1:], start=2):
        fields = line.decode(encoding, errors="replace").split("\t")
        unquoted = [_unquoted(field) for field in fields]
        values = [field.strip() for field in unquoted]
        row = TsvRow(path.name, number, dict(zip(header, values, strict=False)))
        if not any(values):
            odd.append(Odd(path.name, number, "blank-row", dropped=True))
            continue
        if len(fields) != len(header):
            raise DataError(
                f"{path}: row {number} has {len(fields)} fields, the header has {len(header)}; {REMEDY}"
            )
        if not _decodes(line, encoding):
            odd.append(Odd(path.name, number, "undecodable-line", f"not {encoding}"))
        if unquoted != fields:
            odd.append(Odd(path.name, number, "quoted-field"))
        repeats = []
        for column in ids:
            id = row.values[column]
            if not is_number(id):
                raise DataError(f"{path}: row {number}: {column} {id!r} is no number; {REMEDY}")
            if (earlier := seen.setdefault((column, id), row)) is not row:
                repeats.append(f"{column} {id}, as in {earlier}")
        if repeats:
            odd.append(Odd(path.name, number, "repeated-id", repeats[0], dropped=True))
            continue
        rows.append(row)
        if ids:
            odd += [Odd(path.name, number, *note) for note in _oddities(row, seen)]
    as_published = FILES.get(path.name.replace("-v3.tsv", ".tsv")) == hash_file(path)
    return rows, TsvFile(path.name, encoding, len(lines) - 1, len(rows), as_published), odd


def _oddities(row: TsvRow, seen: dict[tuple[str, str], TsvRow]) -> Iterator[tuple[str, str]]:
    """Reason and detail of what may stay as it is, but ought to be known."""
    title, text, file = (row.values.get(column, "") for column in ("title", "text", "imgFile"))
    if "title" in row.values:
        if not (title and text):
            yield "empty-text", "no title" if text else "no snippet"
        if (earlier := seen.setdefault(("title and text", f"{title}\t{text}"), row)) is not row:
            yield "repeated-text", f"as in {earlier}"
    if file and (earlier := seen.setdefault(("imgFile", file), row)) is not row:
        yield "repeated-image-file", f"{file}, as in {earlier}"


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


def is_number(id: str) -> bool:
    """Whether an id has the form of the task's."""
    return id.isascii() and id.isdigit()


def scrambled_to_truth(article_id: str) -> str:
    """The ground truth's id of a test article: characters 7 to 10 of its scrambled id, then 2 to 6.

    >>> from vtm.newsimages.corpus import scrambled_to_truth
    >>> scrambled_to_truth("1000265260")
    '526000026'

    Raises
    ------
    DataError
        Not 10 digits.
    """
    if len(article_id) != 10 or not is_number(article_id):
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
    truth: dict[str, str] = {}
    rows, _, _ = read_tsv(Path(path), ("article", "iid"))
    for row in rows:
        article, iid = row.values["article"], row.values["iid"]
        if article in truth or not (is_number(article) and is_number(iid)):
            raise DataError(
                f"{path}: row {row.number}: article {article!r} with image {iid!r}; each article has one row, "
                f"and ids are numbers; {REMEDY}"
            )
        truth[article] = iid
    if not truth:
        raise DataError(f"{path}: no row; {REMEDY}")
    return truth


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
class NewsItem:
    """An article and the picture that belongs to it."""

    article: Article
    picture: Picture


@dataclass(frozen=True)
class NewsImages:
    """All that the files say.

    Attributes
    ----------
    development : the pairs of batches 1 to 3.
    test_articles, test_images : batch 4, in the order of its files, which tells nothing of the pairs.
    truth : article id (as the ground truth has it, see `scrambled_to_truth`) -> iid; None without that file.
    files, odd : what each file held, and each row that is not as it should be.
    """

    folder: Path
    development: tuple[NewsItem, ...]
    test_articles: tuple[Article, ...]
    test_images: tuple[Picture, ...]
    truth: dict[str, str] | None
    files: tuple[TsvFile, ...]
    odd: tuple[Odd, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, those of the development batches first."""
        return tuple(item.picture for item in self.development) + self.test_images

    def test_pairs(self) -> tuple[tuple[NewsItem, ...], tuple[Dropped, ...]]:
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
                items.append(NewsItem(article, picture))
            else:
                dropped.append(Dropped(article.id, "no-ground-truth"))
        if not items:
            raise DataError(
                f"the ground truth names no pair of a test article and a test image of {self.folder}; "
                f"it should be {GROUND_TRUTH} of {REPOSITORY}"
            )
        return tuple(items), tuple(dropped)


def news_folder(folder: Path | str | None = None) -> Path:
    """The folder with the five files: the one that is named, $VTM_NEWSIMAGES, or in the data folder.

    Raises
    ------
    MissingError
        A file is not there; the message says what to put where.
    """
    named = folder or os.environ.get("VTM_NEWSIMAGES")
    folder = Path(named).expanduser() if named else data_dir() / "corpora" / "newsimages"
    if missing := [name for name in FILES if not find_file(folder, name)]:
        raise MissingError(
            f"{folder}: no {', '.join(missing)}; `vtm fetch corpus:newsimages` gets all files, or put "
            f"{'it' if len(missing) == 1 else 'them'} there from {REPOSITORY} (folder Data), or set "
            "VTM_NEWSIMAGES to the folder that holds them"
        )
    return folder


def read(folder: Path | str | None = None, *, ground_truth: Path | str | None = None) -> NewsImages:
    """Read the files; the batches may be called content2019-01.tsv or content2019-01-v3.tsv.

    Parameters
    ----------
    folder : as `news_folder`.
    ground_truth : by default content2019-04-gt.tsv in `folder`, where it is there.

    Raises
    ------
    MissingError
        A file is missing; the message says what to put where.
    DataError
        A row cannot be read; the message names the file and the row.
    """
    folder = news_folder(folder)
    truth_path = find_file(folder, GROUND_TRUTH) if ground_truth is None else Path(ground_truth).expanduser()
    files: list[TsvFile] = []
    odd: list[Odd] = []
    seen: dict[tuple[str, str], TsvRow] = {}

    def rows_of(name: str, ids: tuple[str, ...], *columns: str) -> list[TsvRow]:
        path = find_file(folder, name) or folder / name
        rows, about, notes = read_tsv(path, columns, ids=ids, seen=seen)
        files.append(about)
        odd.extend(notes)
        return rows

    development = [
        NewsItem(_article(row, "article", batch), _picture(row, batch))
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
        files=tuple(files),
        odd=tuple(odd),
    )


def _article(row: TsvRow, id_column: str, batch: int) -> Article:
    values = row.values
    aid = values.get("aid", "")
    return Article(values[id_column], aid, values["url"], values["title"], values["text"], batch)


def _picture(row: TsvRow, batch: int) -> Picture:
    name = row.values["imgFile"]
    if name != PurePath(name).name or name in ("", ".", "..") or "\\" in name:
        raise DataError(f"{row}: imgFile {name!r} is no file name; {REMEDY}")
    return Picture(row.values["iid"], row.values["img"], name, batch)


def pictures_folder(folder: Path) -> Path:
    """Where the downloaded pictures are: `pictures` beside the files, or else in the data folder."""
    beside = folder / "pictures"
    return beside if beside.is_dir() else data_dir() / "corpora" / "newsimages" / "pictures"


def picture_path(picture: Picture, folder: Path) -> Path | None:
    """The picture's file in `folder`: named as the task's files say, or by iid as the task's own script does."""
    own_script = picture.iid + "".join(PurePath(picture.url.rpartition("/")[2]).suffixes)
    for name in (picture.file, own_script):
        path = folder / name
        if path.is_file() and path.stat().st_size:
            return path
    return None


def load(
    *,
    folder: Path | str | None = None,
    pictures: Path | str | None = None,
    ground_truth: Path | str | None = None,
    test: str = "ground-truth",
    separator: str = SEPARATOR,
    snippet: bool | str = True,
    lang: str = "de",
) -> Corpus:
    """The pairs whose picture is there; a pair's id is its articleID, its gold category the newspaper's section.

    Dropped: `repeated-id`; `empty-text`; `no-ground-truth`, a test article that the ground truth lacks;
    `missing-picture`. A test article that is dropped still counts: `n_test` is the task's number, 1,915.

    Parameters
    ----------
    folder, ground_truth : as `read`.
    pictures : folder of the pictures; by default that of `pictures_folder`.
    test : {"ground-truth", "development"}
        "ground-truth": batches 1 to 3 are for development, batch 4 is the test. "development": batches 1 to
        3 alone, split by id into train, validation and test; needs no ground truth.
    separator, snippet : a text is title, separator, snippet, as in the paper's code; or the title alone.
    lang : code of the language whose stop words are left out of the vocabulary.

    Raises
    ------
    ConfigError
        Another value of `test` or `snippet`.
    MissingError
        Files, the ground truth, or all pictures are missing; the message says how to get them.
    DataError
        As `read`.
    """
    check_choice(f"newsimages: test={test!r}", test, TESTS)
    with_snippet = _flag("snippet", snippet)
    data = read(folder, ground_truth=ground_truth)
    items, unknown = data.development, tuple[Dropped, ...]()
    if test == "ground-truth":
        test_items, unknown = data.test_pairs()
        items += test_items
    where = pictures_folder(data.folder) if pictures is None else Path(pictures).expanduser()

    dropped = [
        Dropped(f"{odd.file} row {odd.row}", odd.reason, odd.detail)
        for odd in data.odd
        if odd.reason == "repeated-id"
    ]
    dropped += unknown
    kept: list[Pair] = []
    own: list[str] = []
    for item in items:
        article, path = item.article, picture_path(item.picture, where)
        text = article.text(separator=separator, snippet=with_snippet)
        if not text:
            dropped.append(Dropped(article.id, "empty-text"))
        elif path is None:
            dropped.append(Dropped(article.id, "missing-picture", item.picture.file))
        else:
            kept.append(Pair(article.id, text, path, article.category, hash_file(path)))
            own.append("test" if article.batch == TEST_BATCH else "development")
    if not kept:
        raise MissingError(
            f"{where}: none of {counted(len(items), 'picture')} is there; `vtm fetch newsimages-images` downloads "
            "those that are still online, or bring them, named as the column imgFile says"
        )
    fixed = test == "ground-truth"
    return Corpus.of(
        kept,
        name="newsimages" if fixed else "newsimages-development",
        dropped=tuple(dropped),
        language=lang,
        source=SOURCE,
        parts=tuple(own) if fixed else None,
        n_test=len(data.test_articles) if fixed else None,
    )


def text_options(options: Mapping[str, object]) -> dict[str, Any]:
    """Of the options of `load` those that say what a text is, as `Article.text` takes them."""
    return {
        "separator": str(options.get("separator", SEPARATOR)),
        "snippet": _flag("snippet", options.get("snippet", True)),
    }


def _flag(name: str, value: object) -> bool:
    """An option as it comes from `newsimages:snippet=false`."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in known:
        raise ConfigError(f"newsimages: {name}={value!r}; write true or false")
    return known[str(value).lower()]
