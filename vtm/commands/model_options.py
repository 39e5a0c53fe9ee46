"""What the commands on models share: options, loading, and speaking on stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtm.rows_out import printable

if TYPE_CHECKING:
    from vtm.api import VisualTopicModel

Model = Annotated[Path, typer.Argument(help="Folder of a model that `vtm train` wrote.", metavar="MODEL")]
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
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Encoder = Annotated[
    str | None, typer.Option(help="The model's encoder under another name, if its weights lie elsewhere.")
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Larger pictures are not used.")]
Order = Annotated[
    bool, typer.Option("--ctfidf", help="Choose keywords by class-based TF-IDF, not by relevance.")
]
Relevance = Annotated[
    float, typer.Option(min=0, max=1, help="Lambda of relevance: 1 orders by probability, 0 by lift.")
]


def load_model(path: Path, **options: Any) -> VisualTopicModel:
    """The model of a folder; options as for `VisualTopicModel.load`."""
    from vtm.api import VisualTopicModel

    return VisualTopicModel.load(path, **options)


def say(text: str) -> None:
    """Print a line to stderr; stdout is for rows."""
    print(printable(text), file=sys.stderr)
