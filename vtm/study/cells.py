"""How the study's tables and sentences print a difference, a spread and a p-value."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import TypeVar

T = TypeVar("T")
NB = "\u00a0"  # keeps a number and its sign on one line


def difference_cell(test: Mapping[str, float | None], *, digits: int = 3) -> str:
    """A difference with its 95 % interval, as `+0.012 [-0.010, +0.036]`; alone where it has none."""
    if test["low"] is None:
        return f"{test['difference']:+.{digits}f}"
    return f"{test['difference']:+.{digits}f} [{test['low']:+.{digits}f}, {test['high']:+.{digits}f}]"


def spread_cell(value: Mapping[str, float], *, digits: int = 3) -> str:
    """A mean over seeds with its standard deviation, where there are several seeds."""
    sd = "" if value["sd"] is None else f" ±{NB}{value['sd']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{sd}"


def interval_cell(value: Mapping[str, float], *, digits: int = 3) -> str:
    """As `spread_cell`, with the interval over items that the value has."""
    low, high = value["interval"]
    return f"{spread_cell(value, digits=digits)} [{low:.{digits}f}, {high:.{digits}f}]"


def p_cell(p: float | None) -> str:
    """A p-value with three digits, "–" for none."""
    if p is None or isnan(p):
        return "–"
    return f"{p:.3f}" if p >= 0.0005 else f"<{NB}0.001"


def told(test: Mapping[str, float | None], better: T, worse: T, level: T) -> T:
    """The word (or list) for a difference that lies above 0 with its interval, below it, or neither."""
    if test["low"] is None or test["low"] <= 0 <= test["high"]:
        return level
    return better if test["low"] > 0 else worse
