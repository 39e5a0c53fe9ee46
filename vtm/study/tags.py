"""The study of tags (`vtm.tags`) as a part: its tables are stored, so that peers that are no part of vtm are in the book."""

from __future__ import annotations

from typing import Any

from vtm.config import KINDS
from vtm.experiment import run_models
from vtm.prepare import Prepared
from vtm.tags import findings, tables
from vtm.tags.study import tag_study


def measure(data: Prepared) -> dict[str, Any]:
    """Tags of both kinds of model, of references and of all peers that are installed.

    Returns
    -------
    tables : name (`vtm.tags.tables.TABLES`) -> {"index", "columns", "data"}; those that need gold categories are
        absent where there are none.
    findings : what the chapter says of its own corpus, sentence by sentence.
    n_test, part : what was read.
    """
    study = tag_study(data, [run for kind in KINDS for run in run_models(data, kind)], progress=False)
    made = {name: make(study) for name, make in tables.TABLES.items()}
    return {
        "tables": {
            name: table.to_dict("split") for name, table in made.items() if not isinstance(table, str)
        },
        "findings": list(findings.chapter_numbers(study).values()),
        "n_test": len(study.ids),
        "part": "test",
    }
