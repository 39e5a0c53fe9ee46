"""Options that several commands have, declared once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vtm.errors import printable

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
        help="table, csv, jsonl or parquet; by default a table on a terminal, else CSV.",
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
