"""Try every bad picture, table and embedding that the tests know, fuzz the readers, and write down what came of it.

    python tests/torture/torture_inputs.py --fuzz-seconds 600 --out results/torture-inputs.json

Exit status 1 when anything came out otherwise than it must.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from vtm.files import write_sealed  # noqa: E402

PARTS = ("pictures", "tables", "texts_and_embeddings", "mended_findings")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fuzz-seconds", type=int, default=600, help="0 leaves the fuzzer out")
    parser.add_argument(
        "--fuzz-file", type=Path, help="figures of an earlier run of fuzz.py, in place of a new one"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "torture-inputs.json")
    options = parser.parse_args()
    from vtm_study.machine import commit, machine

    started = time.monotonic()
    about = {"machine": machine(), "date": datetime.date.today().isoformat(), "commit": commit()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["VTM_DATA"] = str(folder / "data")
        warnings.simplefilter("ignore")
        told = {"pictures": pictures(folder / "pictures")} | cases(folder)
        told["fuzz"] = fuzz(folder, options.fuzz_seconds, options.fuzz_file)
    seconds = time.monotonic() - started
    if options.fuzz_file is not None:
        seconds += told["fuzz"]["seconds"]
    write_sealed(options.out, told | about | {"seconds": round(seconds, 1)})
    wrong = sum(len(told[part]["wrong"]) for part in PARTS)
    findings = told["fuzz"]["findings"] if told["fuzz"] else 0
    print(f"{options.out}: {wrong} inputs came out wrong, the fuzzer has {findings} findings")
    return 1 if wrong or findings else 0


def pictures(folder: Path) -> dict[str, Any]:
    """Each file of the malformed corpus in a process of bounded memory; good ones are compared with the scene."""
    from malformed_pictures import MEMORY_LIMIT_MB, SMALL_PIXELS, make, measured

    from vtm.corpora.pictures import open_picture

    folder.mkdir()
    made = make(folder)
    told = measured(made)
    by_kind: dict[str, Counter[str]] = {}
    wrong = []
    for case, outcome in zip(made, told["outcomes"], strict=True):
        by_kind.setdefault(case.kind, Counter())[outcome or "read"] += 1
        right = outcome == case.reason
        if right and case.good and case.scene.size < 3 * SMALL_PIXELS:
            import numpy as np

            right = case.difference(np.asarray(open_picture(case.path, size=None))) <= case.tolerance
        if not right:
            wrong.append(f"{case.kind}: {ascii(case.path.name)}: {outcome or 'read'}")
    return {
        "tried": len(made),
        "outcomes": dict(sum(by_kind.values(), Counter())),
        "by_kind": {kind: dict(counts) for kind, counts in by_kind.items()},
        "wrong": wrong,
        "peak_memory_mb": round(told["peak_mb"]),
        "memory_limit_mb": MEMORY_LIMIT_MB,
        "slowest": {"file": Path(told["slowest"][0]).name, "seconds": round(told["slowest"][1], 2)},
    }


def cases(folder: Path) -> dict[str, Any]:
    """The bad tables, the bad texts and embeddings, and what the fuzzer has found so far."""
    from fuzz_findings import FINDINGS
    from hostile_tables import INPUTS, TABLES, check_input, check_table

    told = {}
    for part, known, check in (
        ("tables", TABLES, check_table),
        ("texts_and_embeddings", INPUTS, check_input),
        ("mended_findings", FINDINGS, check_input),
    ):
        by_kind: dict[str, Counter[str]] = {}
        wrong = []
        for number, case in enumerate(known):
            own = folder / f"{part}-{number}"
            own.mkdir()
            try:
                outcome = check(case, own)
            except Exception as error:  # whatever it is, it is not what must come
                outcome = "wrong"
                wrong.append(f"{case.kind}: {case.name}: {' '.join(str(error).split())[:200]}")
            by_kind.setdefault(case.kind, Counter())[outcome] += 1
        told[part] = {
            "tried": len(known),
            "outcomes": dict(sum(by_kind.values(), Counter())),
            "by_kind": {kind: dict(counts) for kind, counts in by_kind.items()},
            "wrong": wrong,
        }
    return told


def fuzz(folder: Path, seconds: int, done: Path | None) -> dict[str, Any] | None:
    if done is None and seconds > 0:
        done = folder / "fuzz.json"
        script = str(Path(__file__).with_name("fuzz.py"))
        subprocess.run([sys.executable, script, "--seconds", str(seconds), "--out", str(done)], check=False)
        if not done.is_file():
            sys.exit("the fuzzer did not run; --fuzz-seconds 0 leaves it out")
    return None if done is None else json.loads(done.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
