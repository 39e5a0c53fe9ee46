"""Every finding, the paper's and ours, in one table: what was measured, how large it is, and whether it held."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING, Any

from vtm.findings import findings
from vtm.paper import TABLE_1
from vtm.results import Result
from vtm.runs import frame
from vtm.study.ablation_settings import Setting
from vtm.study.cells import p_cell
from vtm.study.findings import own_findings, steps_of
from vtm.study.lines import FAILED, HELD, OPEN, OURS, PAPER, UNTESTED, Line

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05


def closing_lines(
    results: Sequence[Result], groups: Sequence[str] | None, study: dict[str, dict[str, Any]]
) -> list[Line]:
    """All findings.

    Parameters
    ----------
    results : of the baseline and of both kinds of models, of this run.
    groups : gold categories of the test pairs, or None.
    study : the stored parts of the study (`vtm.study.report.stored`).
    """
    return [*_papers(results, groups, study), *own_findings(study)]


def closing_table(lines: Sequence[Line], whose: str) -> pd.DataFrame:
    """The findings of `whose`, PAPER or OURS: the paper's with its figures, the study's with their p."""
    return frame(
        [
            {
                "finding": line.finding,
                "verdict": line.verdict,
                "difference [95 %]": "–"
                if line.verdict == UNTESTED
                else f"{line.difference:+.3f} [{line.low:+.3f}, {line.high:+.3f}]",
                "measured here": line.measured,
            }
            | (
                {"the paper's figure": line.paper}
                if whose == PAPER
                else {"p": p_cell(line.p), "p (Holm)": p_cell(line.p_holm)}
            )
            | {"what speaks to why": line.why or "–"}
            for line in lines
            if line.whose == whose
        ],
        "finding",
    )


def closing_numbers(lines: Sequence[Line]) -> dict[str, str]:
    """What the chapter's last cell quotes: counts, the findings by verdict, and the decided ones that Holm's p leaves open."""
    found: dict[str, str] = {}
    for key, whose in (("paper", PAPER), ("ours", OURS)):
        own = [line for line in lines if line.whose == whose]
        found[f"{key}_all"] = str(len(own))
        for name, verdict in (
            ("held", HELD),
            ("failed", FAILED),
            ("open", OPEN),
            ("untested", UNTESTED),
        ):
            of_verdict = [line for line in own if line.verdict == verdict]
            found[f"{key}_{name}"] = str(len(of_verdict))
            found[f"{key}_{name}_list"] = "; ".join(_told(line) for line in of_verdict) or "none"
    weak = [line for line in lines if line.verdict in (HELD, FAILED) and line.p_holm >= ALPHA]
    return found | {
        "holm_open": str(len(weak)),
        "holm_open_list": "; ".join(_told(line) for line in weak) or "none",
        "alpha": f"{ALPHA:g}",
        "papers_own_sentence": _papers_own(),
    }


def _papers_own() -> str:
    """The paper's two measures of text-teacher and joint training, with its larger number of topics."""
    largest = max(row.n_topics for row in TABLE_1)
    text, joint = (
        next(row for row in TABLE_1 if (row.row, row.n_topics) == (kind, largest))
        for kind in ("text-teacher", "joint")
    )
    return (
        f"With {largest} topics the paper's text-teacher has {text.correct_100} right pictures among the first hundred and "
        f"MRR@100 {text.mrr_100:.3f}, its joint model {joint.correct_100} and {joint.mrr_100:.3f}."
    )


def _told(line: Line) -> str:
    """The finding with its size, and, where it is tested more than once, of what."""
    of_what = line.measured.partition(": ")[0]
    where = f"{of_what}, " if line.whose == PAPER and of_what != line.measured else ""
    size = UNTESTED if line.verdict == UNTESTED else f"{line.difference:+.3f}"
    return f"{line.finding} ({where}{size})"


def _papers(
    results: Sequence[Result], groups: Sequence[str] | None, study: dict[str, dict[str, Any]]
) -> list[Line]:
    mrr = {(row.row, row.n_topics): row.mrr_100 for row in TABLE_1}
    correct = {(row.row, row.n_topics): row.correct_100 for row in TABLE_1}
    best = max(value for (row, _), value in mrr.items() if row != "baseline")
    sizes = sorted({k for _, k in mrr if k})

    def pair(a: tuple[str, int], b: tuple[str, int]) -> str:
        return f"MRR@100 {mrr[a]:.3f} against {mrr[b]:.3f}; {correct[a]} against {correct[b]} correct in the top 100"

    papers = {
        "embeddings": f"MRR@100 {mrr['baseline', 0]:.3f} against {best:.3f}",
        "more_topics_joint": pair(("joint", sizes[-1]), ("joint", sizes[0])),
        "more_topics_text": pair(("text-teacher", sizes[-1]), ("text-teacher", sizes[0])),
        "text_teacher_small": pair(("text-teacher", sizes[0]), ("joint", sizes[0])),
        "text_teacher_large": pair(("text-teacher", sizes[-1]), ("joint", sizes[-1])),
    }
    here = sorted({result.n_topics for result in results if result.n_topics})
    why = _evidence(study, small=here[0], large=here[-1])
    return [
        Line(
            PAPER,
            finding.claim,
            papers.get(name, "told without a figure"),
            finding.measured,
            finding.difference,
            finding.low,
            finding.high,
            why.get(name, ""),
        )
        for name, finding in findings(results, groups).items()
    ] + [
        Line(
            PAPER,
            "encoders that were not trained together match only slightly worse than CLIP",
            "told without a figure",
            "nothing: it takes runs with both on the same pictures, and a run of this book has one pair of encoders",
            *(nan, nan, nan),
            "see linearly aligned embeddings, below",
        )
    ]


def _evidence(study: dict[str, dict[str, Any]], *, small: int, large: int) -> dict[str, str]:
    """By a finding's name, what the study measured that speaks to its reason.

    What belongs to one number of topics stands with the finding on that number alone.
    """
    steps = steps_of(study)
    changed = {row["setting"]: row["figures"] for row in study["ablations"]["rows"]}

    def mrr(setting: str) -> float:
        return changed[setting]["mrr, cosine of theta"]["mean"]

    plain = Setting("plain").n_topics
    by_k = {plain: mrr("plain")} | {
        int(name.removeprefix("K: ")): mrr(name) for name in changed if name.startswith("K: ")
    }
    own = {row["model"]: row["own category, best other"] for row in study["mismatches"]["rows"]}
    found = {
        "embeddings": (
            f"linear maps rank {steps['embedding']['mean']:.3f} from the text-teacher's embeddings and "
            f"{steps['hidden layer']['mean']:.3f} from its hidden layer"
        ),
        "more_topics_text": "on the validation part by K: "
        + ", ".join(f"{value:.3f} ({k})" for k, value in sorted(by_k.items())),
        "topic_not_fact": ", ".join(f"{name} {value:.1%}" for name, value in own.items())
        + ": best other picture of the own category",
    }
    for size, k in (("small", small), ("large", large)):
        setting = "plain" if k == plain else f"K: {k}"
        if setting in changed:
            effective = changed[setting]["effective topics"]["mean"]
            found[f"sparsity_{size}"] = f"{effective:.0f} effective topics a picture, of {k}"
        if k == plain:
            found[f"text_teacher_{size}"] = (
                f"on the validation part {mrr('plain'):.3f} against {mrr('joint'):.3f}"
            )
    return found
