"""How the study's tables print what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isnan
from typing import TYPE_CHECKING, Any

from vtm.metrics.retrieval import Test
from vtm.report.tables import frame

if TYPE_CHECKING:
    import pandas as pd


NB = "\u00a0"  # keeps a number and its sign on one line
NONE = "–"
Row = Mapping[str, Any]


def table(rows: Iterable[Row], columns: Mapping[str, str | Callable[[Row], Any]]) -> pd.DataFrame:
    """A line for each row; the first column heads the lines.

    Parameters
    ----------
    columns : label -> a format of the row's fields, as "{npmi:.3f}", or a function of the row; either gives "–" where
        the row lacks a field.
    """

    def cell(row: Row, how: str | Callable[[Row], Any]) -> Any:
        try:
            return how.format_map(row) if isinstance(how, str) else how(row)
        except KeyError:
            return NONE

    lines = [{label: cell(row, how) for label, how in columns.items()} for row in rows]
    return frame(lines, next(iter(columns)))


def difference_cell(test: Test) -> str:
    """A difference with its 95 % interval, as `+0.012 [-0.010, +0.036]`; alone where it has none."""
    if isnan(test.low):
        return f"{test.difference:+.3f}"
    return f"{test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}]"


def spread_cell(value: Mapping[str, float], *, digits: int = 3) -> str:
    """A mean over seeds with its standard deviation, where there are several seeds."""
    sd = "" if value["sd"] is None else f" ±{NB}{value['sd']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{sd}"


def interval_cell(value: Mapping[str, Any]) -> str:
    """As `spread_cell`, with the interval over items that the value has."""
    low, high = value["interval"]
    return f"{spread_cell(value)} [{low:.3f}, {high:.3f}]"


def p_cell(p: float) -> str:
    """A p-value with three digits, "–" for NaN."""
    if isnan(p):
        return NONE
    return f"{p:.3f}" if p >= 0.0005 else f"<{NB}0.001"
