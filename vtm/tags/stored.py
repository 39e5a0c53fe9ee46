"""The stored studies of tags, a corpus each: measured by `vtm reproduce --profile study --only tags`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import MissingError
from vtm.files import read_sealed
from vtm.paths import results_dir
from vtm.runs import frame, provenance

if TYPE_CHECKING:
    import pandas as pd

Studies = dict[str, dict[str, Any]]


def stored(folder: Path | str = "") -> Studies:
    """Corpus -> its study, from `tags.json` in a folder and in those in it; by default what comes with the source.

    Raises
    ------
    MissingError
        Nothing is stored there.
    """
    folder = Path(folder or results_dir() / "study").expanduser()
    paths = [path for path in (folder / "tags.json", *sorted(folder.glob("*/tags.json"))) if path.is_file()]
    if not paths:
        raise MissingError(
            f"{folder}/tags.json: not there; `vtm reproduce --profile study --only tags` measures it"
        )
    return {found["parameters"]["corpus"]: found for found in map(read_sealed, paths)}


def provenance_table(studies: Studies) -> pd.DataFrame:
    """Each corpus: when, on what commit and machine, with how many seeds and test pictures."""
    return frame(
        [
            {
                "corpus": corpus,
                **provenance(found),
                "seeds": len(found["seeds"]),
                "test pictures": found["n_test"],
                "minutes": f"{found['seconds'] / 60:.1f}",
            }
            for corpus, found in studies.items()
        ],
        "corpus",
    )


def overview_table(studies: Studies) -> pd.DataFrame:
    """What was measured on, and what was left out: a column for each corpus."""
    lines: dict[str, dict[str, Any]] = {}
    for corpus, found in studies.items():
        table = found["tables"]["overview"]
        for row, (value,) in zip(table["index"], table["data"], strict=True):
            lines.setdefault(row, {"": row})[corpus] = value
    return frame(list(lines.values()))


def stored_table(studies: Studies, name: str) -> pd.DataFrame | str:
    """A table of `vtm.tags.tables.TABLES`, one corpus below the other."""
    lines = []
    for corpus, found in studies.items():
        table = found["tables"].get(name)
        for row, cells in zip(table["index"], table["data"], strict=True) if table else ():
            lines.append({"": row, "corpus": corpus, **dict(zip(table["columns"], cells, strict=True))})
    return frame(lines) if lines else "No stored study has this table."


def findings_table(studies: Studies) -> pd.DataFrame:
    """What was found, in words."""
    return frame(
        [
            {"corpus": corpus, "finding": sentence}
            for corpus, found in studies.items()
            for sentence in found["findings"]
        ],
        "corpus",
    )
