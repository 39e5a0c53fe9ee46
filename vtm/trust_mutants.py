"""Tables of the chapter on trust about mutants: changes of the code, and whether the tests notice them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.runs import frame

if TYPE_CHECKING:
    import pandas as pd


def mutants_table(mutants: dict[str, Any]) -> pd.DataFrame:
    """Each module: mutants, and what the tests made of them."""
    explained = Counter(each["module"] for each in mutants["survivors"] if each["why"])
    return frame(
        [
            {
                "module": name,
                "mutants": counts["mutants"],
                "killed": counts["killed"],
                "never end": counts["timeouts"],
                "survive": counts["survived"],
                "of these, explained": explained[name],
            }
            for name, counts in mutants["modules"].items()
        ],
        "module",
    )


def survivors_table(mutants: dict[str, Any]) -> pd.DataFrame:
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
    shorter = min(map(len, sides))
    start = next((n for n in range(shorter) if sides[0][n] != sides[1][n]), shorter)
    rest = [side[start:] for side in sides]
    shorter = min(map(len, rest))
    end = next((n for n in range(shorter) if rest[0][-1 - n] != rest[1][-1 - n]), shorter)
    first, second = (" ".join(side[: len(side) - end]) or "–" for side in rest)
    return first, second
