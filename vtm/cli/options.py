"""What several commands share: options, lines for people, the corpus that a model notes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vtm.errors import ConfigError, DataError, MissingError, printable

if TYPE_CHECKING:
    from vtm import corpora
    from vtm.api import VisualTopicModel

Corpus = Annotated[str, typer.Argument(help="A corpus or a path; options as in stamps:lang=de.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Model = Annotated[Path, typer.Argument(help="A model that `vtm train` wrote.", metavar="MODEL")]
Encoder = Annotated[
    str | None, typer.Option(help="The model's encoder under another name, if its weights lie elsewhere.")
]
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


def say(text: str) -> None:
    """Print a line to stderr; stdout is for rows."""
    print(printable(text), file=sys.stderr)


def labelled(label: str, text: str) -> str:
    """A line of a report: what it is about, in a column of its own."""
    return f"{label:<26} {text}"


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


def load_trained_corpus(model: VisualTopicModel, path: Path) -> corpora.Corpus:
    """The corpus that the model in `path` notes; stderr says which, and what of it cannot be used.

    Raises
    ------
    ConfigError, MissingError
        The model does not say which, or it cannot be read any more.
    """
    from vtm.config import parse_corpus
    from vtm.corpora import load_corpus, with_places

    spec = model.notes_.get(NOTE)
    if not isinstance(spec, str) or not spec.strip():
        raise ConfigError(
            f"{path}: does not say which corpus it was trained on, only a model of `vtm train` does; "
            "name the pictures"
        )
    folder = os.path.realpath(path.parent)
    try:
        spec = with_places(spec, lambda place: os.path.normpath(os.path.join(folder, place)))
        say(f"with the corpus that the model was trained on: {spec}")
        name, options = parse_corpus(spec)
        corpus = load_corpus(name, **options)
    except (ConfigError, DataError, MissingError) as error:
        raise MissingError(
            f"{path}: was trained on {spec}, which cannot be read now ({error}); name the pictures"
        ) from None
    if corpus.dropped:
        counts = ", ".join(f"{count} {reason}" for reason, count in corpus.drop_counts().items())
        say(f"{len(corpus.dropped)} of its pairs are left out ({counts}), such as {corpus.dropped[0].id}")
    return corpus


def _real(path: Path | str) -> str:
    """A path without the links above it: only so does `..` lead where it says."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)
