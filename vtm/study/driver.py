"""The parts of the study, each in a JSON file of its own that says where it comes from; what is current is kept."""

from __future__ import annotations

import dataclasses
import datetime
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vtm.bench import commit
from vtm.config import unknown_parameter
from vtm.errors import ConfigError
from vtm.experiment import code_hash
from vtm.files import hash_file, hash_json, read_current, read_sealed, write_sealed
from vtm.machine import machine
from vtm.paths import runs_dir
from vtm.prepare import Prepared
from vtm.study import ablations, contrastive, information, mismatches, summary, validation

# Name -> what it measures, and minutes on 2 cores with openclipart and 5 seeds.
PARTS: dict[str, tuple[Callable[[Prepared], dict[str, Any]], float]] = {
    "plus-validation": (validation.choose, 2),
    "summary": (summary.measure, 4),
    "information": (information.measure, 0.5),
    "mismatches": (mismatches.measure, 0.1),
    "contrastive": (contrastive.measure, 2),
    "ablations": (ablations.measure, 8),
}


def run_parts(
    data: Prepared, *, folder: Path | str | None = None, parts: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Run the named parts, by default all, in the order of `PARTS`, and write `<folder>/<part>.json`.

    Parameters
    ----------
    folder : by default `study` in the runs folder.

    Raises
    ------
    ConfigError
        No such part.
    """
    for part in parts:
        if part not in PARTS:
            raise ConfigError(unknown_parameter(part, PARTS))
    folder = runs_dir() / "study" if folder is None else Path(folder)
    found = {}
    for name, (measure, _) in PARTS.items():
        if parts and name not in parts:
            continue
        key = hash_json(
            [name, data.fingerprint(), dataclasses.asdict(data.experiment), code_hash(), _study_hash()]
        )
        path = folder / f"{name}.json"
        current = read_current(path, key)
        if current is None:
            started = time.perf_counter()
            current = {
                **measure(data),
                "key": key,
                "commit": commit(),
                "date": datetime.date.today().isoformat(),
                "machine": machine(),
                "seeds": list(data.experiment.seeds),
                "parameters": dataclasses.asdict(data.experiment),
                "seconds": round(time.perf_counter() - started, 1),
            }
            write_sealed(path, current)
            current = read_sealed(path)  # with lists for tuples, as it is read back
        found[name] = current
    return found


def _study_hash() -> str:
    """Of the modules that measure: those of the parts and what they share."""
    shared = [Path(__file__).with_name(f"{name}.py") for name in ("measures", "plus", "space")]
    own = [Path(sys.modules[measure.__module__].__file__) for measure, _ in PARTS.values()]
    return hash_json([hash_file(path) for path in sorted({*shared, *own})])
