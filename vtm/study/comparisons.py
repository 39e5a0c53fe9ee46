"""The study's tests: paired over items, between seeds, and what is left of them where there are many (Holm)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

import numpy as np

from vtm.metrics import bootstrap_interval, paired_bootstrap
from vtm.study.measures import spread

# So many that p can go below .001: its smallest value is 2 / (N_RESAMPLES + 1).
N_RESAMPLES = 10_000

Test = dict[str, float | None]


def paired(a: np.ndarray, b: np.ndarray) -> Test:
    """`vtm.metrics.paired_bootstrap` of a - b over items, (n,) or (S, n) each, with the study's resamples."""
    return paired_bootstrap(a, b, n_resamples=N_RESAMPLES)


def mrr(values: np.ndarray) -> dict[str, float | list[float] | None]:
    """Mean and spread over seeds of items' values (S, n), with the 95 % interval of the mean over items."""
    interval = bootstrap_interval(values, n_resamples=N_RESAMPLES)
    return {**spread(values.mean(axis=1)), "interval": list(interval)}


def over_seeds(a: Sequence[float], b: Sequence[float]) -> Test:
    """Difference of the means of a and b, a value a seed, with Welch's interval (see `welch`)."""
    return welch(spread(a), spread(b))


def welch(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> Test:
    """Difference of two means over seeds with Welch's 95 % interval and p (1947), from means, sds and numbers.

    Values of one seed share their data, so that a seed counts once. Without a spread on one side (a figure that has no
    seed) the other's alone counts; without any, low, high and p are None.
    """
    from scipy.stats import t

    difference = a["mean"] - b["mean"]
    errors = [(v["sd"] ** 2 / v["n"], v["n"] - 1) for v in (a, b) if v["sd"]]
    error = sum(e for e, _ in errors)
    if error == 0:
        return {"difference": difference, "low": None, "high": None, "p": None}
    freedom = error**2 / sum(e**2 / n for e, n in errors)
    reach = t.ppf(0.975, freedom) * sqrt(error)
    p = 2 * t.sf(abs(difference) / sqrt(error), freedom)
    return {
        "difference": float(difference),
        "low": float(difference - reach),
        "high": float(difference + reach),
        "p": float(p),
    }


def not_below(test: Test) -> bool:
    """Whether a is not below b within the interval; without one, by the difference alone."""
    return bool((test["difference"] if test["high"] is None else test["high"]) >= 0)


def holm(p: Mapping[str, float | None]) -> dict[str, float]:
    """Holm's adjusted p-values (1979) of a family of tests, by name; a test without p is left out.

    The i-th smallest of m is multiplied by m - i + 1; none is below a smaller one's, nor above 1.
    """
    known = sorted((value, name) for name, value in p.items() if value is not None)
    found, largest = {}, 0.0
    for place, (value, name) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - place) * value))
        found[name] = largest
    return found
