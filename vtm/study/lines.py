"""A finding as a line of the closing table.

A finding is put as "A exceeds B". It held where the 95 % interval of A - B lies above 0, did not hold where it lies
below, and is not decided where it contains 0. No verdict is written by hand. Verdicts are by a line's own interval; its
p-value adjusted for its family stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan

from vtm.study.comparisons import Test
from vtm.study.families import adjusted

HELD, FAILED, OPEN, UNTESTED = "held", "did not hold", "not decided", "could not be tested"
PAPER, OURS = "the paper", "this study"


@dataclass(frozen=True)
class Line:
    """A finding: `whose` it is, what the paper reports, what was measured here, and what speaks to why.

    `difference`, `low`, `high` : A - B with its 95 % interval; NaN where nothing could be measured.
    `p`, `p_holm` : of the difference, alone and adjusted for its family; NaN where there is none.
    """

    whose: str
    finding: str
    paper: str
    measured: str
    difference: float
    low: float
    high: float
    why: str
    p: float = nan
    p_holm: float = nan

    @property
    def verdict(self) -> str:
        if isnan(self.low) or isnan(self.high):
            return UNTESTED
        if self.low > 0:
            return HELD
        return FAILED if self.high < 0 else OPEN


def tested(claim: str, measured: str, name: str, tests: Mapping[str, Test], sign: int, why: str) -> Line:
    """A line of the study from the test of that name; sign -1 turns it round."""
    p, family = tests[name].get("p"), adjusted(tests)
    return Line(
        OURS,
        claim,
        "",
        measured,
        *signed(tests[name], sign),
        why,
        nan if p is None else p,
        family.get(name, nan),
    )


def signed(test: Test, sign: int) -> tuple[float, float, float]:
    """A stored test of A - B as (difference, low, high), NaN without an interval; with sign -1 of B - A."""
    if test["low"] is None:
        return sign * test["difference"], nan, nan
    low, high = sorted((sign * test["low"], sign * test["high"]))
    return sign * test["difference"], low, high
