"""How the study's tables print a difference and a spread."""

from __future__ import annotations

NB = "\u00a0"  # keeps a number and its sign on one line


def difference_cell(test: dict[str, float], *, digits: int = 3) -> str:
    """A difference with its 95 % interval, as `+0.012 [-0.010, +0.036]`."""
    return f"{test['difference']:+.{digits}f} [{test['low']:+.{digits}f}, {test['high']:+.{digits}f}]"


def spread_cell(value: dict[str, float], *, digits: int = 3) -> str:
    """A mean over seeds with its standard deviation, where there are several seeds."""
    sd = "" if value["sd"] is None else f" ±{NB}{value['sd']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{sd}"


def interval_cell(value: dict[str, float], *, digits: int = 3) -> str:
    """As `spread_cell`, with the interval over items that the value has."""
    low, high = value["interval"]
    return f"{spread_cell(value, digits=digits)} [{low:.{digits}f}, {high:.{digits}f}]"
