"""What was measured of one way to tag pictures, as a file; and what is averaged over its seeds. Knows no model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vtm.files import read_current, write_sealed
from vtm.results import Result


@dataclass(frozen=True)
class TagRun:
    """One system of one seed. What does not apply to a system is absent.

    Attributes
    ----------
    system : "joint", "text-teacher", a peer, or something to compare with (`vtm.tags.study`).
    n_topics : K; 0 where there are no topics.
    figures : "npmi", "diversity", "validation_linear", "validation_neighbours", "validation_hit_5",
        "validation_matched" (MRR@100), the settings that were chosen, "converged" (0 or 1), a peer's "seconds".
        NPMI and diversity are of the first five words of each topic.
    items : a value for each test picture: "linear", "neighbours" (category told or not), "mixture_5", "mixture_10",
        "largest" (share of keywords that the text contains); with a value more, the first, of all pictures: "nmi",
        "purity" (`vtm.tags.metrics.partition_figures`); "ami", of all alone; and of each validation text "matched", its picture's
        reciprocal rank.
    keywords : the five most probable words of each test picture.
    version : of the package that was used, for peers that are one.
    """

    system: str
    n_topics: int
    seed: int
    figures: dict[str, float] = field(default_factory=dict)
    items: dict[str, list[float]] = field(default_factory=dict, repr=False)
    keywords: list[list[str]] = field(default_factory=list, repr=False)
    version: str = ""

    @property
    def name(self) -> str:
        return f"{self.system} {self.n_topics}" if self.n_topics else self.system


@dataclass(frozen=True)
class PeerStatus:
    """Whether a peer ran; `reason` says why it did not."""

    name: str
    ran: bool
    version: str
    reason: str


@dataclass(frozen=True)
class TagStudy:
    """All runs, in the order of the tables.

    Attributes
    ----------
    ids : of the test pictures, in the order of the runs' items.
    groups : their gold categories, or None.
    n_new_groups : test pictures of a category that training lacks.
    n_named : test pictures whose text names their category (`vtm.tags.metrics.names_category`).
    n_wordless : test pictures whose text holds no word of the vocabulary: every keyword misses.
    unhealthy : runs of the topic models that collapsed or diverged, and are left out.
    """

    ids: list[str]
    groups: list[str] | None
    n_train: int
    n_validation: int
    n_words: int
    n_new_groups: int
    n_named: int
    n_wordless: int
    runs: tuple[TagRun, ...]
    peers: tuple[PeerStatus, ...]
    unhealthy: tuple[str, ...]

    def rows(self) -> dict[str, list[TagRun]]:
        """Name -> its runs, a run for each seed."""
        rows: dict[str, list[TagRun]] = {}
        for run in self.runs:
            rows.setdefault(run.name, []).append(run)
        return rows

    def items(self, name: str, figure: str) -> np.ndarray | None:
        """(S, n) values of the test pictures, None where the system has no such figure."""
        runs = [run for run in self.runs if run.name == name and figure in run.items]
        return np.array([run.items[figure] for run in runs]) if runs else None

    def best(self, systems: Sequence[str], figure: str) -> str | None:
        """The row of these systems with the best mean of a validation figure, None where there is none."""
        means = {
            name: float(np.mean([run.figures[figure] for run in runs]))
            for name, runs in self.rows().items()
            if runs[0].system in systems and figure in runs[0].figures
        }
        return max(means, key=lambda name: means[name]) if means else None


def healthy_models(results: Sequence[Result]) -> tuple[list[Result], tuple[str, ...]]:
    """The topic models' runs that can be measured, and a line for each of the others."""
    models = [run for run in results if run.n_topics]
    bad = [f"{run.name}, seed {run.seed}: {run.status}" for run in models if run.status != "ok"]
    return [run for run in models if run.status == "ok"], tuple(bad)


def stored(path: Path, key: str, measure: Callable[[], TagRun]) -> TagRun:
    """What was stored under `key`, else what `measure` returns, which is then stored."""
    if saved := read_current(path, key):
        del saved["key"]
        return TagRun(**saved)
    run = measure()
    write_sealed(path, {"key": key, **dataclasses.asdict(run)})
    return run
