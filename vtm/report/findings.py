"""The paper's findings, tested: each a comparison with an interval and a verdict that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vtm.experiment.results import Result, by_row, healthy
from vtm.metrics.retrieval import Test, expected_random, paired_bootstrap, per_item, told
from vtm.metrics.topics import top_mass
from vtm.report.tables import TABLE_1, mean, own_category

PAPER_TOPICS = 120  # the more of the paper's two numbers of topics, with which its models match better
HELD, REVERSED, OPEN, UNTESTED = "held", "did not hold", "not decided", "not tested"


@dataclass(frozen=True)
class Finding:
    """A claim of the paper: by `figure`, `more` exceeds `less`; and the test of it over test items."""

    claim: str
    figure: str
    more: str
    less: str
    test: Test

    @property
    def verdict(self) -> str:
        return told(self.test, HELD, REVERSED, OPEN, UNTESTED)


def reciprocal_ranks(results: Sequence[Result], figure: str = "mrr_100") -> np.ndarray:
    """Reciprocal ranks within the first 100 of every healthy run, (S, n); (0, 0) where none is healthy.

    figure : another one of `vtm.metrics.retrieval.per_item` in its place.
    """
    runs = healthy(results)
    if not runs:
        return np.zeros((0, 0))
    return np.stack([per_item(run.ranks())[figure] for run in runs])


def best_on_validation(results: Sequence[Result]) -> str:
    """The row of topic models with the best mean MRR@100 on the validation part; unhealthy runs do not count."""
    scores = {
        name: np.mean([per_item(run.ranks("validation"))["mrr_100"].mean() for run in runs])
        for name, runs in by_row(healthy(results)).items()
        if name != "baseline"
    }
    return max(scores, key=scores.__getitem__) if scores else next(r.name for r in results if r.n_topics)


def compare(a: np.ndarray, b: np.ndarray) -> Test:
    """Whether a exceeds b; both (S, n) over the same test items, averaged over seeds item by item; (0, 0) is untested."""
    return Test(float("nan")) if a.size == 0 or b.size == 0 else paired_bootstrap(a, b)


def findings(results: Sequence[Result], groups: Sequence[str] | None) -> dict[str, Finding]:
    """All findings that these results can test; those on matching by MRR@100 and, "_r100", by recall at 100.

    Parameters
    ----------
    results : of the baseline and of both kinds.
    groups : gold categories of the test pairs; None leaves the finding on categories untested.
    """
    rows = by_row(results)
    sizes = sorted({run.n_topics for run in results if run.n_topics})
    named = {"small": sizes[0], "large": sizes[-1]}
    best = best_on_validation(results)
    pairs = {"embeddings": ("embeddings match better than topics", "baseline", best)}
    for kind in dict.fromkeys(run.row for run in results if run.n_topics):
        more, less = f"{kind} {sizes[-1]}", f"{kind} {sizes[0]}"
        pairs[f"more_topics_{_short(kind)}"] = ("more topics match better", more, less)
    for name, k in named.items():
        more, less = f"text-teacher {k}", f"joint {k}"
        if {more, less} <= rows.keys():
            pairs[f"text_teacher_{name}"] = ("text-teacher beats joint", more, less)
    found: dict[str, Finding] = {}
    for figure, label, ending in (("mrr_100", "MRR@100", ""), ("recall_100", "recall at 100", "_r100")):
        values = {name: reciprocal_ranks(runs, figure) for name, runs in rows.items()}
        for name, (claim, more, less) in pairs.items():
            test = compare(values[more], values[less])
            found[name + ending] = Finding(claim, label, more, less, test)
    for name, k in named.items():
        runs = healthy(rows.get(f"text-teacher {k}", []))
        mass = np.stack([top_mass(run.image(), 3) for run in runs]) - 0.5 if runs else np.zeros((0, 0))
        found[f"sparsity_{name}"] = Finding(
            "two or three topics carry most of a picture's probability",
            *("probability of the three largest topics", f"text-teacher {k}", "one half"),
            compare(mass, np.zeros_like(mass)),
        )
    shares = [
        np.zeros((0, 0)) if groups is None else own_category(rows[name], groups)
        for name in (best, "baseline")
    ]
    found["topic_not_fact"] = Finding(
        "the model pictures a text's topic rather than its facts",
        *("own category among the ten best others", best, "baseline"),
        compare(*shares),
    )
    return found


def headline(results: Sequence[Result], groups: Sequence[str] | None) -> dict[str, float | str]:
    """The numbers and verdicts that the book's prose quotes, by name.

    `small` and `large` are the smallest and largest K of the results.
    """
    found = findings(results, groups)
    rows = by_row(results)
    sizes = sorted({run.n_topics for run in results if run.n_topics})
    n_test = len(results[0].ids["test"])
    chance = expected_random(n_test)
    names = {"baseline": "baseline"} | {
        f"{_short(kind)}_{name}": f"{kind} {k}"
        for kind in ("joint", "text-teacher")
        for name, k in (("small", sizes[0]), ("large", sizes[-1]))
    }
    quoted: dict[str, float | str] = {
        "n_test": float(n_test),
        "n_seeds": float(len({run.seed for run in results})),
        "k_small": float(sizes[0]),
        "k_large": float(sizes[-1]),
        "n_runs": float(sum(run.n_topics > 0 for run in results)),
        "n_unhealthy": float(sum(run.status != "ok" for run in results)),
        "mrr_random": chance["mrr_100"],
        "recall10_random": chance["recall_10"],
        "best_model": best_on_validation(results),
    }
    published = {(line.row, line.n_topics): line for line in TABLE_1}
    for kind in ("joint", "text-teacher"):
        line = published[kind, PAPER_TOPICS]
        quoted[f"paper_mrr_{_short(kind)}"] = line.mrr_100
        quoted[f"paper_correct_{_short(kind)}"] = float(line.correct_100)
    quoted["paper_topics"] = float(PAPER_TOPICS)
    for short, name in names.items():
        runs = healthy(rows.get(name, []))
        items = [per_item(run.ranks()) for run in runs]
        for figure, quote in (("mrr_100", "mrr"), ("recall_10", "recall10")):
            quoted[f"{quote}_{short}"] = mean([values[figure] for values in items])
        if short != "baseline":
            quoted[f"top3_mass_{short}"] = mean([top_mass(run.image(), 3).mean() for run in runs])
    leading = rows[best_on_validation(results)]
    best = reciprocal_ranks(leading)
    for name, runs in (("baseline", rows["baseline"]), ("best", leading)):
        items = [per_item(run.ranks()) for run in healthy(runs)]
        for depth in (1, 100):
            quoted[f"recall{depth}_{name}"] = mean([item[f"recall_{depth}"].mean() for item in items])
    mrr_best = float(best.mean()) if best.size else 0.0
    quoted["mrr_best"] = mrr_best
    quoted["best_times_chance"] = mrr_best / chance["mrr_100"]
    quoted["best_share"] = mrr_best / float(quoted["mrr_baseline"])
    quoted |= {f"verdict_{name}": finding.verdict for name, finding in found.items()}
    return quoted


def _short(kind: str) -> str:
    return "text" if kind == "text-teacher" else kind
