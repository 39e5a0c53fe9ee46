"""MediaEval 2021 NewsImages, the paper's data: German news articles, each with its photograph.

Batches 1 to 3 are for development. Batch 4 is the test: its articles and images come in two files, and a
third, the ground truth, says which belong together. The pictures are not in the files, only their addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from vtm.corpora.base import Corpus, Dropped
from vtm.errors import ConfigError, MissingError
from vtm.files import data_dir, hash_file
from vtm.newsimages.files import REPOSITORY, TEST_BATCH, NewsItem, Picture, read

SOURCE = (
    f"MediaEval 2021 NewsImages ({REPOSITORY.removeprefix('https://')}); texts and pictures belong to their "
    "publisher (ksta.de), for research only"
)
SEPARATOR = ". "  # between title and snippet, as in the paper's code
TESTS = ("ground-truth", "development")


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
    folder, ground_truth
        As `read`.
    pictures
        Folder of the pictures; by default that of `pictures_folder`.
    test : {"ground-truth", "development"}
        "ground-truth": batches 1 to 3 are for development, batch 4 is the test. "development": batches 1 to
        3 alone, split by id into train, validation and test; needs no ground truth.
    separator, snippet
        A text is title, separator, snippet, as in the paper's code; or the title alone.
    lang
        Code of the language whose stop words are left out of the vocabulary.

    Raises
    ------
    ConfigError
        Another value of `test` or `snippet`.
    MissingError
        Files, the ground truth, or all pictures are missing; the message says how to get them.
    DataError
        As `read`.
    """
    if test not in TESTS:
        raise ConfigError(f"newsimages: test={test!r}; choose from {', '.join(TESTS)}")
    with_snippet = _flag("snippet", snippet)
    data = read(folder, ground_truth=ground_truth)
    items, unknown = data.development, ()
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
    kept: list[tuple[NewsItem, str, Path]] = []
    for item in items:
        text = item.article.text(separator=separator, snippet=with_snippet)
        path = picture_path(item.picture, where)
        if not text:
            dropped.append(Dropped(item.article.id, "empty-text"))
        elif path is None:
            dropped.append(Dropped(item.article.id, "missing-picture", item.picture.file))
        else:
            kept.append((item, text, path))
    if not kept:
        raise MissingError(
            f"{where}: none of the {len(items)} pictures is there; `vtm fetch newsimages-images` downloads "
            "those that are still online, or bring them, named as the column imgFile says"
        )
    fixed = test == "ground-truth"
    own = tuple("test" if item.article.batch == TEST_BATCH else "development" for item, _, _ in kept)
    return Corpus(
        name="newsimages" if fixed else "newsimages-development",
        ids=tuple(item.article.id for item, _, _ in kept),
        texts=tuple(text for _, text, _ in kept),
        images=tuple(path for _, _, path in kept),
        image_hashes=tuple(hash_file(path) for _, _, path in kept),
        groups=tuple(item.article.category for item, _, _ in kept),
        dropped=tuple(dropped),
        language=lang,
        source=SOURCE,
        parts=own if fixed else None,
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
