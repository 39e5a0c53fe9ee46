"""Tables and numbers of the chapter on trust, from the stored results of `make torture` and `make mutants`."""

from __future__ import annotations

import re
from collections import Counter
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import MissingError
from vtm.files import read_sealed, results_dir
from vtm.report.tables import frame, provenance
from vtm_study.formats import NONE, table

if TYPE_CHECKING:
    import pandas as pd


Part = dict[str, Any]
# What is stored, and the target of make that makes it.
FILES = {
    "torture": ("torture.json", "torture"),
    "inputs": ("torture-inputs.json", "torture"),
    "mutants": ("mutants.json", "mutants"),
}
SUITES = {
    "kills": "killed without warning",
    "faults": "faults of disks, files and rights",
    "pages": "scripts planted in a corpus",
    "repeats": "other processes and threads",
}
INPUTS = {
    "pictures": "pictures",
    "tables": "tables",
    "texts_and_embeddings": "texts and embeddings",
    "mended_findings": "earlier findings of the fuzzer",
}
# What a case that came out well came out as; anything else is the reason of a refusal.
WELL = ("read", "right")
WHOM = {"all": "all processes", "parent": "the first alone", "children": "the others alone"}


def stored(folder: Path | str | None = None) -> dict[str, Part]:
    """What the suites wrote: "torture", "inputs" and "mutants"; by default the files that come with the source.

    Raises
    ------
    MissingError, DataError
        A file is missing, or is not what was written.
    """
    if folder is None:
        folder = results_dir()
    found = {}
    for part, (name, target) in FILES.items():
        path = Path(folder) / name
        if not path.is_file():
            raise MissingError(f"{path}: no such file; `make {target}` makes it")
        found[part] = read_sealed(path)
    return found


def provenance_table(found: dict[str, Part]) -> pd.DataFrame:
    """Each suite: when, on what commit and machine, and how long."""
    parts = {label: found["torture"][suite] for suite, label in SUITES.items()}
    parts |= {"odd inputs and fuzzing": found["inputs"], "mutants of the code": found["mutants"]}
    unknown = {"date": NONE, "commit": "", "machine": found["torture"]["machine"]}
    lines = [
        {
            "suite": label,
            **provenance({**unknown, **part}),
            "minutes": f"{part['seconds'] / 60:.0f}" if "seconds" in part else NONE,
        }
        for label, part in parts.items()
    ]
    return frame(lines, "suite")


def kills_table(torture: Part) -> pd.DataFrame:
    """Each job and the stage in which it was killed: how often, which of its processes, and what came of it."""
    import pandas as pd

    kills = pd.DataFrame(torture["kills"]["kills"])
    kills["same"] = kills["outcome"] == "the same"
    lines = [
        {
            "job": job,
            "killed during": stage,
            "kills": len(some),
            **{label: int((some["whom"] == name).sum()) for name, label in WHOM.items()},
            "after seconds": f"{some['seconds'].min():.1f} to {some['seconds'].max():.1f}",
            "ended with the same bits": int(some["same"].sum()),
        }
        for (job, stage), some in kills.groupby(["job", "stage"], sort=False)
    ]
    return frame(lines, "job")


def jobs_table(torture: Part) -> pd.DataFrame:
    """Each job: how long it takes undisturbed, and what was compared after each kill."""
    columns = {
        "job": "{name}",
        "seconds, undisturbed": lambda job: f"{sum(job['seconds'].values()):.0f}",
        "compared": lambda job: job["compared"],
        "vary by themselves": lambda job: len(job["varying"]),
    }
    return table(_named(torture["kills"]["jobs"]), columns)


def faults_table(torture: Part) -> pd.DataFrame:
    """Each fault: how often it was made, and what came of it."""
    lines = [
        {
            "fault": fault,
            "tried": f"{sum(outcomes.values()):,}",
            "outcome": ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items()),
        }
        for fault, outcomes in torture["faults"]["outcomes"].items()
    ]
    pages = torture["pages"]
    planted = {"fault": "script planted in a text, a name or a category", "tried": f"{pages['planted']:,}"}
    lines.append(planted | {"outcome": f"{pages['ran']} of {pages['pages']} pages ran one"})
    return frame(lines, "fault")


def inputs_table(inputs: Part) -> pd.DataFrame:
    """Odd inputs of each part: how many were read right, and how many refused for which reason."""
    return frame([_outcomes(label, inputs[part]) for part, label in INPUTS.items()], "input")


def kinds_table(inputs: Part, part: str) -> pd.DataFrame:
    """As `inputs_table`, for each kind of a part of `INPUTS`."""
    wrong = Counter(line.partition(": ")[0] for line in inputs[part]["wrong"])
    lines = []
    for kind, outcomes in inputs[part]["by_kind"].items():
        told = {"tried": sum(outcomes.values()), "outcomes": outcomes, "wrong": [kind] * wrong[kind]}
        lines.append(_outcomes(kind, told))
    return frame(lines, "input")


def _outcomes(label: str, told: Part) -> dict[str, Any]:
    known = (*WELL, "wrong", "refused")
    refused = {reason: count for reason, count in told["outcomes"].items() if reason not in known}
    count = sum(refused.values()) + told["outcomes"].get("refused", 0)
    reasons = ", ".join(f"{count} {reason}" for reason, count in refused.items())
    return {
        "input": label,
        "tried": told["tried"],
        "read right": sum(told["outcomes"].get(name, 0) for name in WELL),
        "refused": f"{count} ({reasons})" if reasons else str(count),
        "came out wrong": len(told["wrong"]),
    }


def fuzz_table(inputs: Part) -> pd.DataFrame:
    """Each reader of files: for how long it was fuzzed, with how many inputs, and how many findings there are."""
    columns = {
        "reader": "{name}",
        "seconds": "{seconds:.0f}",
        "inputs": "{executions:,}",
        "findings": lambda told: len(told["findings"]),
    }
    return table(_named(inputs["fuzz"]["readers"]), columns)


def repeats_table(torture: Part) -> pd.DataFrame:
    """The same seed twice: how many arrays have the same bits, and how far the others differ, at the most."""
    pairs = torture["repeats"]["compared"]

    def apart(difference: float) -> str:
        return f"{difference:.0e}" if difference else "0"

    whole = ", all threads at one network"
    columns = {
        "data": lambda pair: pair["data"] + (whole if pair["all_threads"] else ""),
        "threads": lambda pair: " and ".join(map(str, pair["threads"])),
        "arrays": lambda pair: pair["arrays"],
        "same bits": lambda pair: pair["same"],
        **{
            f"{kind}, apart": lambda pair, kind=kind: apart(pair["largest"][kind])
            for kind in pairs[0]["largest"]
        },
        "MRR@100, apart": lambda pair: apart(pair["mrr"]),
    }
    return table(pairs, columns)


def mutants_table(mutants: Part) -> pd.DataFrame:
    """Each module: mutants, and what the tests made of them."""
    explained = Counter(each["module"] for each in mutants["survivors"] if each["why"])
    counts = {"mutants": "mutants", "killed": "killed", "never end": "timeouts", "survive": "survived"}
    columns = {
        "module": "{name}",
        **{label: lambda told, key=key: told[key] for label, key in counts.items()},
        "of these, explained": lambda told: explained[told["name"]],
    }
    return table(_named(mutants["modules"]), columns)


def _named(parts: dict[str, Part]) -> list[Part]:
    return [{"name": name, **part} for name, part in parts.items()]


def trust_numbers(found: dict[str, Part]) -> dict[str, float | str]:
    """The numbers that the chapter's prose quotes."""
    torture, inputs, mutants = found["torture"], found["inputs"], found["mutants"]
    modules = mutants["modules"].values()
    same, other = (
        [each for each in torture["repeats"]["compared"] if (len(set(each["threads"])) == 1) == equal]
        for equal in (True, False)
    )
    return {
        "kills": float(torture["kills"]["tried"]),
        "kills_survived": float(torture["kills"]["survived"]),
        "compared": float(max(job["compared"] for job in torture["kills"]["jobs"].values())),
        "faults": float(torture["faults"]["tried"]),
        "scripts_planted": float(torture["pages"]["planted"]),
        "scripts_ran": float(torture["pages"]["ran"]),
        "malformed": float(sum(inputs[part]["tried"] for part in INPUTS)),
        "malformed_wrong": float(sum(len(inputs[part]["wrong"]) for part in INPUTS)),
        "pictures": float(inputs["pictures"]["tried"]),
        "picture_memory": float(inputs["pictures"]["peak_memory_mb"]),
        "picture_seconds": float(inputs["pictures"]["slowest"]["seconds"]),
        "fuzz_minutes": inputs["fuzz"]["seconds"] / 60,
        "fuzz_inputs": float(inputs["fuzz"]["executions"]),
        "fuzz_readers": float(len(inputs["fuzz"]["readers"])),
        "fuzz_findings": float(inputs["fuzz"]["findings"]),
        "mutants": float(sum(counts["mutants"] for counts in modules)),
        "mutants_noticed": float(sum(counts["killed"] + counts["timeouts"] for counts in modules)),
        "mutants_survived": float(sum(counts["survived"] for counts in modules)),
        "mutants_explained": float(sum(bool(each["why"]) for each in mutants["survivors"])),
        "restarts": float(len(same)),
        "restarts_same": float(sum(each["same"] == each["arrays"] for each in same)),
        "threads_same": float(sum(each["same"] == each["arrays"] for each in other)),
        "threads_compared": float(len(other)),
        "threads_theta": max(each["largest"]["theta"] for each in other),
        "threads_mrr": max(each["mrr"] for each in other),
    }


def survivors_table(mutants: Part) -> pd.DataFrame:
    """Each change of the code that no test noticed, and why none can."""
    lines = []
    for each in mutants["survivors"]:
        was, now = _changed(each["change"])
        place = f"{Path(each['module']).stem}.{each['function']}"
        code = {"in": place, "code": was, "changed to": now}
        lines.append(
            {name: _breaking(text) for name, text in code.items()} | {"why": each["why"] or "not explained"}
        )
    return frame(lines, "in")


def _breaking(code: str) -> str:
    """Code with places (of no width) where a line may end, so that a column of it can be narrow."""
    return re.sub(r"(?<=[.,(=\]_])(?=\w|\()", "\u200b", code)


def _changed(change: str) -> tuple[str, str]:
    """The words of the two lines of a change that differ; "–" for none."""
    sides = [
        " ".join(line[1:] for line in change.splitlines() if line.startswith(sign)).split() for sign in "-+"
    ]
    start = len(commonprefix(sides))
    rest = [side[start:] for side in sides]
    end = len(commonprefix([side[::-1] for side in rest]))
    first, second = (" ".join(side[: len(side) - end]) or "–" for side in rest)
    return first, second
