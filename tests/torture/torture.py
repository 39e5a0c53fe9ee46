"""Kill, starve and damage the pipeline, run it again, and write down what came of it, for the chapter on trust.

    python tests/torture/torture.py --kills 50 --seed 0 --out results/torture.json

Four suites: kills (tests/torture/kills.py), faults and pages (pytest, tests/torture/torture_*.py), repeats
(tests/torture/repeats.py). A run that was cut off goes on where it was. Exit status 1 when anything came out otherwise
than it must; what was found is written all the same.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "torture")]

SUITES = ("kills", "faults", "pages", "repeats")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how often the pipeline is killed")
    parser.add_argument("--seed", type=int, default=0, help="chooses the moments")
    parser.add_argument("--suites", default=",".join(SUITES), help="some of them, separated by commas")
    parser.add_argument("--work", type=Path, help="folder of the rounds; $VTM_RUNS/torture by default")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "torture.json")
    options = parser.parse_args()
    suites = options.suites.split(",")
    if unknown := [name for name in suites if name not in SUITES]:
        parser.error(f"no suite is called {unknown[0]!r}; there are {', '.join(SUITES)}")

    from kills import code

    from vtm.files import hash_file, hash_json, read_current, read_sealed, runs_dir, write_sealed
    from vtm_study.machine import commit, machine

    work = (options.work or runs_dir() / "torture").resolve()
    work.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = read_sealed(options.out) if options.out.is_file() else {}
    for suite in suites:
        part = work / f"{suite}-done.json"
        own = [options.kills, options.seed] if suite == "kills" else hash_file(file_of(suite))
        key = hash_json([code(), own])
        if (done := read_current(part, key)) is None:
            started = time.monotonic()
            figures = SUITE[suite](work, options)
            done = {
                "seconds": round(time.monotonic() - started),
                **figures,
                "key": key,
                **{"date": datetime.date.today().isoformat(), "commit": commit()},
            }
            write_sealed(part, done)
        told[suite] = done
        told["machine"] = machine()
        write_sealed(options.out, told)
        print(f"{suite}: {'as it must be' if done['passed'] else 'NOT as it must be'}", flush=True)
    return 0 if all(told[suite]["passed"] for suite in suites) else 1


def file_of(suite: str) -> Path:
    """The file of a suite that is not `kills`, whose own is part of `code`."""
    folder = ROOT / "tests" / "torture"
    return next(path for path in (folder / f"torture_{suite}.py", folder / f"{suite}.py") if path.is_file())


def killed(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    import kills

    from vtm.files import data_dir

    found = kills.run(
        options.kills, seed=options.seed, work=work, package=copied_package(work), data=data_dir()
    )
    return found | {"passed": found["survived"] == found["tried"]}


def repeated(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    import repeats

    from vtm.files import data_dir

    return repeats.run(work=work, package=copied_package(work), data=data_dir())


def copied_package(work: Path) -> Path:
    """A copy of the checkout, so that an edit meanwhile changes nothing; that of the run that is continued, if any."""
    from killing import copy_package
    from kills import code

    target = work / f"package-{code()[:8]}"
    if not target.is_dir():
        partial = target.with_name(f"{target.name}-partial")
        shutil.rmtree(partial, ignore_errors=True)
        copy_package(partial).rename(target)
    return target


def tested(suite: str) -> Callable[[Path, argparse.Namespace], dict[str, Any]]:
    """A suite that is a file of tests, which record their figures as JSON."""

    def run(work: Path, options: argparse.Namespace) -> dict[str, Any]:
        from vtm.files import read_json

        figures = work / f"{suite}.json"
        figures.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
        environ = {**os.environ, "TQDM_DISABLE": "1", "VTM_TORTURE_OUT": str(work)}
        done = subprocess.run([*command, str(file_of(suite))], cwd=ROOT, env=environ, check=False)
        return (read_json(figures) if figures.is_file() else {}) | {"passed": done.returncode == 0}

    return run


SUITE = {"kills": killed, "faults": tested("faults"), "pages": tested("pages"), "repeats": repeated}

if __name__ == "__main__":
    sys.exit(main())
