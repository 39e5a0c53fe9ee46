"""Change the code of the figures in small ways, one at a time, and see whether the tests notice (mutmut).

    python tests/torture/mutants.py --out results/mutants.json

Needs mutmut (see `make mutants`, which keeps it out of the project's environment). A run that was cut off goes on where it
was. Every mutant that survives has to be explained in tests/torture/mutants.toml; exit status 1 when one is not.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("vtm/metrics/retrieval.py", "vtm/metrics/ranking.py", "vtm/model/distill.py")
TESTS = ("tests/metrics/test_retrieval.py", "tests/metrics/test_ranking.py", "tests/model/test_distill.py")
BESIDE = ("tests/planted.py",)
EXPLANATIONS = Path(__file__).with_suffix(".toml")
SETTINGS = f"""
[tool.mutmut]
source_paths = ["vtm"]
only_mutate = {json.dumps(MODULES)}
pytest_add_cli_args_test_selection = {json.dumps(TESTS)}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-o", "pythonpath=tests"]
use_git_change_detection = false
use_setproctitle = false
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, help="folder of the mutants; $VTM_RUNS/mutants by default")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "mutants.json")
    parser.add_argument("--processes", type=int, default=1, help="mutants tried at once")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    try:
        version = importlib.metadata.version("mutmut")
    except importlib.metadata.PackageNotFoundError:
        parser.error("mutmut is not here: `make mutants` brings it")

    from vtm.files import runs_dir, write_sealed, write_text
    from vtm_study.machine import commit, machine

    work = (options.work or runs_dir() / "mutants").resolve()
    lay_out(work)
    started = time.monotonic()
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(options.processes)]
    # Workers are forked from a process that has run the tests once, and a fork does not survive threads of OpenMP.
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # Its progress is drawn for a terminal; what becomes of each mutant is read from its files.
    shown = None if sys.stdout.isatty() else subprocess.DEVNULL
    subprocess.run(command, cwd=work, env={**os.environ, **threads}, check=True, stdout=shown)
    # Together with what earlier runs took that were cut off.
    spent = work / "seconds"
    before = float(spent.read_text("utf-8")) if spent.is_file() else 0.0
    write_text(spent, str(before + time.monotonic() - started))
    told = outcomes(work)
    known = tomllib.loads(EXPLANATIONS.read_text("utf-8"))["explained"] if EXPLANATIONS.is_file() else []
    left = explain(told["survivors"], known)
    told |= {
        "tool": f"mutmut {version}",
        "tests": list(TESTS),
        "seconds": round(float(spent.read_text("utf-8"))),
    }
    told |= {"date": datetime.date.today().isoformat(), "commit": commit(), "machine": machine()}
    write_sealed(options.out, told)
    unexplained = [each for each in told["survivors"] if not each["why"]]
    for each in unexplained:
        print(f"survives, not explained: {each['module']} {each['function']}\n{each['change']}")
    for each in left:
        print(f"explained in {EXPLANATIONS.name}, but does not survive: {each['function']}\n{each['change']}")
    print(f"{options.out}: {len(told['survivors'])} survive, {len(unexplained)} of them are not explained")
    return 1 if unexplained or left else 0


def lay_out(work: Path) -> None:
    """Copy what is mutated and tested to `work`, unless that is there already, with the mutants tried so far."""
    from vtm.files import hash_file, hash_json, write_text

    files = [*(ROOT / "vtm").rglob("*.py"), *(ROOT / name for name in (*TESTS, *BESIDE, "pyproject.toml"))]
    key = hash_json([SETTINGS, {str(path.relative_to(ROOT)): hash_file(path) for path in sorted(files)}])
    mark = work / "key"
    if mark.is_file() and mark.read_text("utf-8") == key:
        return
    shutil.rmtree(work, ignore_errors=True)
    for path in files:
        target = work / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    with open(work / "pyproject.toml", "a", encoding="utf-8") as stream:
        stream.write(SETTINGS)
    write_text(mark, key)


def outcomes(work: Path) -> dict[str, Any]:
    """What became of each mutant: counts by module, and the survivors and those that ran too long, as changed lines."""
    # mutmut finds its files from the working folder.
    os.chdir(work)
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code

    modules, survivors, timeouts = {}, [], []
    for name in MODULES:
        data = SourceFileMutationData(path=name)
        data.load()
        counts = {"mutants": len(data.exit_code_by_key), "killed": 0, "timeouts": 0, "survived": 0}
        for mutant, code in data.exit_code_by_key.items():
            status = status_by_exit_code[code]
            kind = {"killed": "killed", "timeout": "timeouts"}.get(status, "survived")
            counts[kind] += 1
            if kind == "killed":
                continue
            diff = get_diff_for_mutant(mutant, path=name).splitlines()
            lines = [line for line in diff if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")]
            function = mutant.rpartition(".")[2].rpartition("__mutmut_")[0].removeprefix("x_")
            told = {"module": name, "function": function, "change": "\n".join(lines)}
            (timeouts if kind == "timeouts" else survivors).append(told | {"status": status})
        modules[name] = counts
    return {"modules": modules, "survivors": survivors, "timeouts": timeouts}


def explain(survivors: list[dict[str, str]], known: list[dict[str, str]]) -> list[dict[str, str]]:
    """Put the explanation to each survivor under "why", "" where there is none; returns those that explain nothing."""

    def text(each: dict[str, str]) -> tuple[str, str, str]:
        lines = "\n".join(" ".join(line.split()) for line in each["change"].strip().splitlines())
        return each["module"], each["function"], lines

    why = {text(each): each["why"] for each in known}
    for each in survivors:
        each["why"] = why.get(text(each), "")
    used = {text(each) for each in survivors}
    return [each for each in known if text(each) not in used]


if __name__ == "__main__":
    sys.exit(main())
