"""What the files of MediaEval 2021 NewsImages say: articles, pictures, and which belong together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from vtm.corpora.base import Dropped
from vtm.corpora.newsimages_tsv import (
    BATCHES,
    FILES,
    GROUND_TRUTH,
    REPOSITORY,
    TEST_ARTICLES,
    TEST_IMAGES,
    Odd,
    Row,
    Table,
    TsvFile,
    find_file,
    read_ground_truth,
    read_tsv,
    scrambled_to_truth,
)
from vtm.errors import DataError, MissingError
from vtm.paths import data_dir

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
