"""Figures of the retrieval tables, with their uncertainty.

From ranks (see `vtm.metrics.ranking.target_ranks`) to counts, MRR and recall, their bootstrap intervals over test
items and their spread over seeds; and the closed forms of a random and of a perfect ranking. None of
them depends on the order of the items: values are sorted before they are summed or resampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import TypeVar

import numpy as np

from vtm.errors import ConfigError, DataError, counted

AT = (1, 5, 10, 50, 100)
_CHUNK_VALUES = 2**22  # resampled values held at once
T = TypeVar("T")


@dataclass(frozen=True)
class Test:
    """What was found of "A is more than B": the difference A - B, its 95 % interval, and its p-value.

    `low`, `high` and `p` are NaN where there are none, as for one run a side; all are where nothing was measured.
    """

    __test__ = False  # pytest takes classes of this name for its own

    difference: float
    low: float = nan
    high: float = nan
    p: float = nan

    @classmethod
    def read(cls, stored: Mapping[str, float | None]) -> Test:
        """From what `stored` wrote."""
        return cls(**{name: nan if stored.get(name) is None else stored[name] for name in cls.__match_args__})  # type: ignore[arg-type]

    def stored(self) -> dict[str, float | None]:
        """For a JSON file, which knows no NaN: None in its place."""
        return {name: None if isnan(value) else value for name, value in vars(self).items()}

    def __neg__(self) -> Test:
        """Of "B is more than A"."""
        return Test(-self.difference, -self.high, -self.low, self.p)

    @property
    def verdict(self) -> str:
        """ "better" where the interval lies above 0, "worse" where below, "undecided" where it holds 0 or ends there,
        "untested" where there is none."""
        if isnan(self.low) or isnan(self.high):
            return "untested"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "undecided"


def told(test: Test, better: T, worse: T, undecided: T, untested: T | None = None) -> T:
    """The word for a test's verdict; without a word of its own, an untested one is undecided."""
    words = {"better": better, "worse": worse, "undecided": undecided}
    return words.get(test.verdict, undecided if untested is None else untested)


def adjusted(tests: Mapping[str, Test]) -> dict[str, float]:
    """Holm's adjusted p-values (1979) of a family of tests, by name; a test without p has none.

    The i-th smallest of m is multiplied by m - i + 1; none is below a smaller one's, nor above 1.
    """
    known = sorted((test.p, name) for name, test in tests.items() if not isnan(test.p))
    found, largest = {}, 0.0
    for place, (value, name) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - place) * value))
        found[name] = largest
    return found


def per_item(ranks: np.ndarray, *, cutoff: int = 100, at: Sequence[int] = AT) -> dict[str, np.ndarray]:
    """What each query adds to each retrieval figure; the arrays to bootstrap.

    Parameters
    ----------
    ranks : (n,) int
        1 is best; a target that was not found has a rank past every cutoff.
    cutoff : int
        Depth of the MRR and of the count of correct items.
    at : sequence of int
        Depths of the recall.

    Returns
    -------
    dict of (n,) float64
        ``correct_<cutoff>`` (0 or 1), ``mrr_<cutoff>`` (1/rank, 0 past the cutoff), ``recall_<k>`` (0 or 1:
        each query has one target).

    Raises
    ------
    ConfigError
        A depth below 1.
    DataError
        No ranks, or ranks that are not whole numbers from 1.
    """
    if bad := [k for k in (cutoff, *at) if k < 1]:
        raise ConfigError(f"a ranking cannot be cut at {bad[0]}: depths start at 1")
    ranks = np.asarray(ranks)
    if ranks.ndim != 1 or len(ranks) == 0:
        raise DataError(f"ranks: one for each query is needed, not shape {ranks.shape}")
    if not np.issubdtype(ranks.dtype, np.integer) or ranks.min() < 1:
        raise DataError("ranks: whole numbers from 1 are needed")
    inside = ranks <= cutoff
    values = {
        f"correct_{cutoff}": inside.astype(np.float64),
        f"mrr_{cutoff}": np.where(inside, 1.0 / ranks, 0.0),
    }
    return values | {f"recall_{k}": (ranks <= k).astype(np.float64) for k in at}


def retrieval_figures(ranks: np.ndarray, *, cutoff: int = 100, at: Sequence[int] = AT) -> dict[str, float]:
    """Retrieval figures over all queries.

    Parameters
    ----------
    ranks, cutoff, at
        As `per_item`.

    Returns
    -------
    dict of float
        ``correct_<cutoff>`` is the count of queries whose target is within the cutoff; ``mrr_<cutoff>`` and
        ``recall_<k>`` are means over all n queries, those without a target among the items included.
        With the defaults: correct_100, mrr_100, recall_1, recall_5, recall_10, recall_50, recall_100.

    Raises
    ------
    ConfigError, DataError
        As `per_item`.
    """
    values = per_item(ranks, cutoff=cutoff, at=at)
    return {
        name: float(np.sort(v).sum() if name == f"correct_{cutoff}" else np.sort(v).mean())
        for name, v in values.items()
    }


def expected_random(
    n_items: int, *, n_queries: int | None = None, cutoff: int = 100, at: Sequence[int] = AT
) -> dict[str, float]:
    """Expectation of `retrieval_figures` when every target's rank is uniform over 1 .. n_items.

    ``recall_k = min(k, N) / N`` and ``mrr_c = (1 + 1/2 + ... + 1/min(c, N)) / N``; `n_queries` (by default
    n_items) scales the count of correct ones.

    Raises
    ------
    DataError
        No items.
    """
    if n_items < 1:
        raise DataError("a random ranking needs at least one item")
    n_queries = n_items if n_queries is None else n_queries
    depth = min(cutoff, n_items)
    figures = {
        f"correct_{cutoff}": n_queries * depth / n_items,
        f"mrr_{cutoff}": float((1.0 / np.arange(1, depth + 1)).sum() / n_items),
    }
    return figures | {f"recall_{k}": min(k, n_items) / n_items for k in at}


def perfect(n_queries: int, *, cutoff: int = 100, at: Sequence[int] = AT) -> dict[str, float]:
    """`retrieval_figures` when every target comes first."""
    return retrieval_figures(np.ones(n_queries, dtype=np.int64), cutoff=cutoff, at=at)


def bootstrap_interval(
    values: np.ndarray, *, seed: int = 0, n_resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over test items (Efron & Tibshirani 1993, ch. 13).

    Parameters
    ----------
    values : (n,) or (S, n)
        One figure per item (see `per_item`); with S training seeds, a row each. A resample draws n items
        with replacement and keeps each item's S values together: the interval tells how the mean over
        seeds would vary with other test items, not with other seeds (see `seed_summary` for that).
    seed : int
    n_resamples : int
    level : float
        Coverage aimed at, between 0 and 1.

    Returns
    -------
    (low, high) : floats

    Raises
    ------
    ConfigError
        A level or number of resamples that cannot be.
    DataError
        No values, NaN or infinity.
    """
    means = _resampled_means(_per_item_mean(values, "values"), seed=seed, n_resamples=n_resamples)
    return _percentiles(means, level)


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, *, seed: int = 0, n_resamples: int = 2000, level: float = 0.95
) -> Test:
    """Does system `a` differ from `b` on the same test items?

    Parameters
    ----------
    a, b : (n,) or (S, n)
        As `bootstrap_interval`; the n items are the same in both, in the same order; S may differ.
    seed, n_resamples, level
        As `bootstrap_interval`.

    Returns
    -------
    Test
        Mean of a minus mean of b, its percentile interval, and a two-sided p: twice the smaller share of
        resampled differences on one side of 0, as (count + 1) / (n_resamples + 1), at most 1.

    Raises
    ------
    ConfigError, DataError
        As `bootstrap_interval`; also for different numbers of items.
    """
    first, second = _per_item_mean(a, "a"), _per_item_mean(b, "b")
    if len(first) != len(second):
        raise DataError(
            f"a has {counted(len(first), 'item')} and b {len(second)}: a paired test needs the same items"
        )
    differences = first - second
    means = _resampled_means(differences, seed=seed, n_resamples=n_resamples)
    low, high = _percentiles(means, level)
    one_side = min((means <= 0).sum(), (means >= 0).sum())
    p = min(1.0, 2 * (one_side + 1) / (n_resamples + 1))
    return Test(float(np.sort(differences).mean()), low, high, float(p))


def seed_summary(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Mean and spread of a figure over training seeds.

    Parameters
    ----------
    values : (S,)

    Returns
    -------
    dict
        ``mean``, ``sd`` (of the sample, n - 1 below; NaN for one seed), ``min``, ``max``, ``n``.

    Raises
    ------
    DataError
        No values, NaN or infinity: a diverged run is to be counted by the caller, not averaged.
    """
    v = np.sort(_finite(values, "values"))
    if v.ndim != 1:
        raise DataError(f"values: one per seed is needed, not shape {v.shape}")
    return {
        "mean": float(v.mean()),
        "sd": float(v.std(ddof=1)) if len(v) > 1 else float("nan"),
        "min": float(v[0]),
        "max": float(v[-1]),
        "n": len(v),
    }


def group_hit(
    top_positions: np.ndarray, query_groups: Sequence[str], item_groups: Sequence[str]
) -> np.ndarray:
    """Share of each query's top k items that are of its own gold category.

    Parameters
    ----------
    top_positions : (n, k) int
        Into the items (see `vtm.metrics.ranking.top_items`).
    query_groups, item_groups : sequences of str, n and m long

    Returns
    -------
    (n,) float64
        Its mean is the figure of the tables; with k = 1 that is the share of queries whose first item is of
        their category.

    Raises
    ------
    DataError
        Lengths that do not fit, positions outside the items.
    """
    top = np.asarray(top_positions)
    if top.ndim != 2 or 0 in top.shape or len(top) != len(query_groups):
        raise DataError(f"positions of shape {top.shape} do not fit {len(query_groups)} query groups")
    if top.min() < 0 or top.max() >= len(item_groups):
        raise DataError(f"positions run to {top.max()}, but there are {len(item_groups)} item groups")
    own, found = np.asarray(query_groups, dtype=object), np.asarray(item_groups, dtype=object)
    return (found[top] == own[:, None]).astype(np.float64).mean(axis=1)


def _finite(values: Sequence[float] | np.ndarray, name: str) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise DataError(f"{name}: empty, there is nothing to average")
    if not np.isfinite(x).all():
        raise DataError(f"{name}: {int((~np.isfinite(x)).sum())} of {x.size} are NaN or infinite")
    return x


def _per_item_mean(values: np.ndarray, name: str) -> np.ndarray:
    x = _finite(values, name)
    if x.ndim not in (1, 2):
        raise DataError(f"{name}: (items,) or (seeds, items) is needed, not shape {x.shape}")
    return x if x.ndim == 1 else x.mean(axis=0)


def _resampled_means(values: np.ndarray, *, seed: int, n_resamples: int) -> np.ndarray:
    """(n_resamples,) means of draws with replacement."""
    if n_resamples < 1:
        raise ConfigError(f"n_resamples must be at least 1, not {n_resamples}")
    values = np.sort(values)  # so that the interval is blind to the items' order
    rng = np.random.default_rng(seed)
    chunks = [values[draws].mean(axis=1) for draws in _draws(rng, len(values), n_resamples)]
    return np.concatenate(chunks)


def _draws(rng: np.random.Generator, n: int, n_resamples: int) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK_VALUES // n)
    for start in range(0, n_resamples, step):
        yield rng.integers(0, n, size=(min(step, n_resamples - start), n))


def _percentiles(means: np.ndarray, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, not {level}")
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
