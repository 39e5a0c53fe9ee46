"""What several commands share: options, lines for people, the pictures that are named, the corpus that a model notes."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from vtm.corpora.base import by_reason
from vtm.corpora.table import Found, find_pictures
from vtm.errors import ConfigError, DataError, MissingError, counted, printable

if TYPE_CHECKING:
    from vtm import corpora
    from vtm.api import VisualTopicModel
    from vtm.corpora import Dropped

Corpus = Annotated[str, typer.Argument(help="A corpus or a path; options as in stamps:lang=de.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Model = Annotated[Path, typer.Argument(help="A model that `vtm train` wrote.", metavar="MODEL")]
Encoder = Annotated[
    str | None, typer.Option(help="The model's encoder under another name, if its weights lie elsewhere.")
]
TrainCorpus = Annotated[
    str,
    typer.Argument(
        help="A corpus, a table with columns file_name and text, or a folder of pictures that hold their captions and "
        "keywords; options as in photos.csv:text_column=title."
    ),
]
TrainEncoder = Annotated[str, typer.Option(help="offline, clip, ...; options follow a colon.")]
MinDf = Annotated[int, typer.Option(min=1, help="In how many texts a word must stand.")]
MaxWords = Annotated[int, typer.Option(min=2, help="At most this many words are known.")]
Language = Annotated[str, typer.Option(help="Of the texts, as in de or de,en; the corpus' by default.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Larger pictures are not used.")]
Words = Annotated[int, typer.Option(min=1, help="Keywords of each topic.")]
Order = Annotated[
    bool, typer.Option("--ctfidf", help="Choose keywords by class-based TF-IDF, not by relevance.")
]
Relevance = Annotated[
    float, typer.Option(min=0, max=1, help="Lambda of relevance: 1 orders by probability, 0 by lift.")
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="table, csv, jsonl, parquet or xlsx; by default a table on a terminal, else CSV.",
        metavar="NAME",
    ),
]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", help="Write to this file; its suffix names the format.")
]
NewsFolder = Annotated[
    Path | None, typer.Option(help="Folder of the NewsImages files, if not the usual one.")
]
RunFile = Annotated[Path, typer.Argument(help="A run file.")]
Pictures = Annotated[
    list[Path], typer.Argument(help="Pictures, or folders to search for them.", metavar="PICTURES...")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        help="Pass over files and folders of this name, as in '*_small.jpg'; may be repeated.", metavar="GLOB"
    ),
]

CATEGORY = "category"  # how the categories of our own corpora are asked for as a column
SKIPPED = 3  # exit code: the work is done, but for some pictures or sidecars, which stderr names


def say(text: str) -> None:
    """Print a line to stderr; stdout is for rows."""
    print(printable(text), file=sys.stderr)


def report(label: str, text: str) -> None:
    """Print a line of a report: what it is about, in a column of its own, and what there is to say."""
    typer.echo(f"{label:<26} {text}")


def report_dropped(label: str, dropped: Sequence[Dropped]) -> None:
    """Print how many were dropped, for each reason with an example."""
    report(label, str(len(dropped)))
    first = {item.reason: item.id for item in reversed(dropped)}
    for reason, count in Counter(item.reason for item in dropped).items():
        report(f"  {reason}", f"{count:6}  such as {printable(first[reason])}")


def load_spec(spec: str, **more: Any) -> corpora.Corpus:
    """A corpus as it is named in a command, `name:key=value`; `more` are further options."""
    from vtm.config import parse_corpus
    from vtm.corpora import load_corpus

    name, options = parse_corpus(spec)
    return load_corpus(name, **options | more)


# What a model notes of its training: the corpus, its places as seen from the model's file. Both can be moved together,
# and whoever gets the model does not see where they lay.
NOTE = "corpus"


def corpus_note(spec: str, path: Path) -> str:
    """A corpus as a model that is saved in `path` notes it."""
    from vtm.corpora import absolute_corpus, with_places

    folder = os.path.realpath(path.parent)
    # With a dot in front no folder is taken for one of our corpora.
    return with_places(
        absolute_corpus(spec), lambda place: os.path.join(".", os.path.relpath(_real(place), folder))
    )


def trained_specs(model: VisualTopicModel, path: Path, *, remedy: str) -> list[str]:
    """The corpora that the model in `path` notes, as they are named from here.

    Raises
    ------
    ConfigError
        The model does not say which.
    """
    from vtm.corpora import with_places

    noted = model.notes_.get(NOTE)
    specs = noted if isinstance(noted, list) else [noted]
    if not specs or not all(isinstance(spec, str) and spec.strip() for spec in specs):
        raise ConfigError(
            f"{path}: does not say which corpus it was trained on, only a model of `vtm train` does; {remedy}"
        )
    folder = os.path.realpath(path.parent)
    return [
        with_places(cast(str, spec), lambda place: os.path.normpath(os.path.join(folder, place)))
        for spec in specs
    ]


def load_trained_corpus(
    model: VisualTopicModel,
    path: Path,
    *,
    remedy: str = "name the pictures",
    columns: Sequence[str] = (),
    **more: Any,
) -> corpora.Corpus:
    """The corpus that the model in `path` notes; stderr says which, and what of it cannot be used.

    Of an updated model it is several in one.

    Parameters
    ----------
    columns : further columns (`load_with_columns`), each of them in one of the corpora at least.
    more : further options of tables (`load_corpus`).

    Raises
    ------
    ConfigError, MissingError
        The model does not say which, it cannot be read any more, or it has no such column.
    """
    from vtm.config import parse_corpus
    from vtm.corpora import CORPORA, Corpus

    specs, parts, lacks = trained_specs(model, path, remedy=remedy), [], dict[str, list[ConfigError]]()
    if {*columns} - {CATEGORY} and {parse_corpus(spec)[0] for spec in specs} <= {*CORPORA}:
        raise ConfigError(f"{_no_columns(specs[0])}; {remedy}")
    for spec in specs:
        say(f"with the corpus that the model was trained on: {spec}")
        try:
            part, without = load_with_columns(spec, columns, **more)
        except (ConfigError, DataError, MissingError) as error:
            raise MissingError(
                f"{path}: was trained on {spec}, which cannot be read now ({error}); {remedy}"
            ) from None
        parts.append(part)
        for column, why in without.items():
            lacks.setdefault(column, []).append(why)
    for errors in lacks.values():
        if len(errors) == len(specs):
            raise ConfigError(f"{errors[0]} (the model was trained on it); {remedy}")
    corpus = reduce(Corpus.joined, parts)
    if corpus.dropped:
        n = counted(len(corpus.dropped), "of its pairs is", "of its pairs are")
        say(f"{n} left out ({by_reason(corpus.dropped)}), such as {corpus.dropped[0].id}")
    return corpus


def load_with_columns(
    spec: str, columns: Sequence[str], **more: Any
) -> tuple[corpora.Corpus, dict[str, ConfigError]]:
    """A corpus with those of some columns that it has, and why it has not the others.

    The categories of our own corpora are a column; they have no other, and no options of tables (`more`).
    """
    from vtm.config import parse_corpus
    from vtm.corpora import CORPORA
    from vtm.corpora.table import NoColumnError

    if parse_corpus(spec)[0] in CORPORA:
        corpus = load_spec(spec)
        own = {} if corpus.groups is None else {CATEGORY: corpus.groups}
        lacks = {column: ConfigError(_no_columns(spec)) for column in columns if column not in own}
        return replace(corpus, columns=own), lacks
    lacks = {}
    while True:
        kept = {"columns": tuple(column for column in columns if column not in lacks)} if columns else {}
        try:
            return load_spec(spec, **more | kept), lacks
        except NoColumnError as error:
            lacks[error.column] = error


def _no_columns(corpus: str) -> str:
    return f"the corpus {corpus} is no table, and has no columns but {CATEGORY}, where it has categories"


def _real(path: Path | str) -> str:
    """A path without the links above it: only so does `..` lead where it says."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def find_some(pictures: Sequence[Path | str], exclude: Sequence[str] | None = None) -> Found:
    found = find_pictures(pictures, exclude=exclude or ())
    if not found.pictures:
        where, passed = ", ".join(map(printable, pictures)), "; ".join(["", *map(printable, found.told())])
        raise MissingError(
            f"{where}: no picture is there; pictures are .jpg, .png, .webp, .tif and the like{passed}"
        )
    return found


def spare_pictures(found: Found, option: str, path: Path | None) -> None:
    """Raise ConfigError where the file to be written is one of the pictures."""
    if path is None or not path.exists():
        return
    there = path.stat()
    for picture in found.pictures:
        with suppress(OSError):  # none of its name, or no right to look: that is told when it is read
            if os.path.samestat(there, picture.stat()):
                raise ConfigError(f"{option} {path}: is one of the pictures; name another file")


def require_some(n_usable: int, bad: Sequence[Dropped]) -> None:
    if not n_usable:
        raise DataError(
            f"none of {counted(len(bad), 'picture')} can be used; the first: {printable(bad[0].detail)}"
        )


def finish(found: Found, bad: Sequence[Dropped], failures: int = 0) -> None:
    """Say on stderr what was passed over; the exit code says whether anything was."""
    for line in found.told():
        say(line)
    for item in bad:
        say(f"not used: {item.detail or item.id}")
    if bad:
        say(f"{len(bad)} not used ({by_reason(bad)})")
    if bad or failures:
        raise typer.Exit(SKIPPED)


def rounded(chance: float) -> float | None:
    """A chance for a file; None where it is not known."""
    return None if chance != chance else round(chance, 6)


def show_found(corpus: corpora.Corpus) -> None:
    """Print where the texts of a corpus stood, where they stood in several places."""
    if corpus.found:
        report("words found", f"of {counted(len(corpus), 'picture')}")
    for where, number in corpus.found:
        report(f"  {where}", f"{number:6}")
