"""What training this book's models took, as the runs folder records it. Nothing is trained here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vtm.config import KINDS
from vtm.errors import VtmError
from vtm.files import read_current, read_sealed
from vtm.prepare import Prepared
from vtm.results import Result, by_row
from vtm.runs import frame

if TYPE_CHECKING:
    import pandas as pd

# What the models of Table 1, of three seeds, were to take in the default profile on two cores.
AIM_MINUTES = 3.0


@dataclass(frozen=True)
class Trained:
    """Runs of one kind: `seconds` of those that are recorded, `wanted` how many the book has."""

    label: str
    seconds: tuple[float, ...]
    wanted: int
    in_table_1: bool = False


def recorded(data: Prepared, results: Sequence[Result]) -> list[Trained]:
    """The seconds of all trainings on these data: Table 1 (of `results`), the sweep of settings, the reference's fits.

    Those of the sweep and of the reference are read where they are on disk; a chapter that has not run has none.
    """
    rows = [
        Trained(name, tuple(run.figures["seconds"] for run in runs), len(runs), runs[0].n_topics > 0)
        for name, runs in by_row(results).items()
    ]
    return [*rows, _sweep(data), *_reference(data)]


def training_table(rows: Sequence[Trained]) -> pd.DataFrame:
    """Seconds of each kind of run, one and all together, and the sum of what is recorded."""
    lines = [
        {
            "": row.label,
            "runs": _share(len(row.seconds), row.wanted),
            "seconds a run": f"{sum(row.seconds) / len(row.seconds):.1f}" if row.seconds else "–",
            "seconds": f"{sum(row.seconds):.0f}" if row.seconds else "–",
        }
        for row in rows
    ]
    found, wanted = sum(len(row.seconds) for row in rows), sum(row.wanted for row in rows)
    lines.append(
        {"": "together", "runs": _share(found, wanted), "seconds a run": "", "seconds": f"{_total(rows):.0f}"}
    )
    return frame(lines)


def training_numbers(rows: Sequence[Trained]) -> dict[str, str]:
    """What the chapter's prose quotes, as text."""
    table_1 = _total([row for row in rows if row.in_table_1])
    aim = 60 * AIM_MINUTES
    return {
        "table_1_seconds": f"{table_1:.0f}",
        "training_aim": f"{AIM_MINUTES:.0f}",
        "training_aim_verdict": "less than that" if table_1 < aim else "more than that",
        "training_seconds": f"{_total(rows):.0f}",
        "training_total_verdict": "less" if _total(rows) < aim else "more",
    }


def _sweep(data: Prepared) -> Trained:
    """The settings chapter's runs, but for the setting that Table 1 has as well."""
    from vtm.experiment import model_folder, result_key
    from vtm.settings import KL_WEIGHTS

    experiment, k = data.experiment, min(data.experiment.n_topics)
    configs = {
        dataclasses.replace(experiment.model, kl_weight=weight, standardize=standardize)
        for weight in KL_WEIGHTS
        for standardize in (True, False)
    } - {experiment.model}
    seconds, wanted = [], 0
    for kind in KINDS:
        for config in configs:
            folder = model_folder(data, kind, k, config=config)
            key = result_key(data, kind, k, config=config)
            for seed in experiment.seeds:
                wanted += 1
                if found := read_current(folder / f"seed-{seed}" / "result.json", key):
                    seconds.append(found["figures"]["seconds"])
    return Trained("settings", tuple(sorted(seconds)), wanted)


def _reference(data: Prepared) -> list[Trained]:
    """The fits of the chapter on the reference package, by trainer."""
    from vtm.experiment import run_folder
    from vtm.reference import OURS, THEIRS

    try:
        rows = read_sealed(run_folder(data) / "reference.json")["rows"]
    except VtmError:
        rows = []
    n_seeds = len(data.experiment.seeds)
    return [
        Trained(
            f"one teacher, {trainer}",
            tuple(row["seconds"] for row in rows if row["trainer"] == trainer),
            n_seeds,
        )
        for trainer in (OURS, THEIRS)
    ]


def _total(rows: Sequence[Trained]) -> float:
    return sum(sum(row.seconds) for row in rows)


def _share(found: int, wanted: int) -> str:
    return f"{found}" if found == wanted else f"{found} of {wanted} recorded"
