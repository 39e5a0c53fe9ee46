"""The study's own findings as lines of the closing table, read from its stored result files.

A finding is put as "A exceeds B". It held where the 95 % interval of A - B lies above 0, did not hold where it lies
below, and is not decided where it contains 0. No verdict is written by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, sqrt
from typing import Any

from vtm.study.ablation_settings import Setting
from vtm.study.peer_tables import model_name

HELD, FAILED, OPEN, UNTESTED = "held", "did not hold", "not decided", "could not be tested"
PAPER, OURS = "the paper", "this study"


@dataclass(frozen=True)
class Line:
    """A finding: `whose` it is, what the paper reports, what was measured here, and what speaks to why.

    `difference`, `low`, `high` : A - B with its 95 % interval; NaN where nothing could be measured.
    """

    whose: str
    finding: str
    paper: str
    measured: str
    difference: float
    low: float
    high: float
    why: str

    @property
    def verdict(self) -> str:
        if isnan(self.low) or isnan(self.high):
            return UNTESTED
        if self.low > 0:
            return HELD
        return FAILED if self.high < 0 else OPEN


def own_findings(study: dict[str, dict[str, Any]]) -> list[Line]:
    """What the study found: its ablations, where information is lost, VTM+, and other models."""
    return [*_ablated(study), *_located(study), *_plus(study), *_peers(study)]


def _ablated(study: dict[str, dict[str, Any]]) -> list[Line]:
    """Claims on single choices, each against the plain text-teacher. 1: the change is better; -1: it is worse."""
    rows = {row["setting"]: row for row in study["ablations"]["rows"]}
    claims = (
        ("mode: none, topics matched", -1, "distilled topics match better than topics matched afterwards"),
        ("mode: priors", -1, "a teacher's posteriors teach more than its prior"),
        (
            "teacher with dropout on",
            -1,
            "a teacher read without dropout teaches more (the published code has it)",
        ),
        ("KL weight: 1", -1, "a KL weight of a tenth matches better than 1"),
        ("hidden: (400,)", 1, "one wide hidden layer matches better than two narrow ones"),
        ("decoder: LDA", -1, "prodLDA matches better than LDA"),
        ("raw embeddings", -1, "standardised embeddings match better than raw ones"),
        ("no dropout", 1, "no dropout matches better than dropout"),
        ("training pairs: 50%", -1, "all training pairs match better than half of them"),
        ("K: 20", -1, f"{Setting('plain').n_topics} topics match better than 20"),
        ("K: 500", -1, f"{Setting('plain').n_topics} topics match better than 500"),
        ("texts cut to 1 word", -1, "whole texts match better than their first word"),
        ("texts cut to 2 words", -1, "whole texts match better than their first 2 words"),
        ("texts cut to 4 words", -1, "whole texts match better than their first 4 words"),
        ("texts cut to 8 words", -1, "whole texts match better than their first 8 words"),
        ("aligned (linear)", 1, "linearly aligned embeddings match better than separate ones"),
    )
    plain = rows["plain"]["figures"]
    lines = []
    for setting, sign, claim in claims:
        if setting not in rows:
            continue
        figures = rows[setting]["figures"]
        value, base = (f["mrr, cosine of theta"]["mean"] for f in (figures, plain))
        coherent, beside = (f["npmi, image"]["mean"] for f in (figures, plain))
        measured = f"MRR@100, validation: {value:.3f} ({setting}) beside {base:.3f} (plain)"
        why = f"NPMI of the picture model's topics {coherent:+.3f} beside {beside:+.3f}"
        lines.append(Line(OURS, claim, "", measured, *signed(rows[setting]["minus_plain"], sign), why))
    return lines


def _located(study: dict[str, dict[str, Any]]) -> list[Line]:
    """Where the information is lost: intervals over seeds, as steps are stored as mean and spread."""
    steps = steps_of(study)
    lines = []
    for before, after, claim in (
        ("embedding", "hidden layer", "information is lost on the way into the hidden layers"),
        ("hidden layer", "theta", "information is lost between hidden layers and theta"),
    ):
        test = welch(steps[before], steps[after])
        measured = f"MRR@100 by linear maps, validation: {before} less {after} (interval over seeds)"
        why = f"{steps[before]['mean']:.3f} and {steps[after]['mean']:.3f}"
        lines.append(Line(OURS, claim, "", measured, *test, why))
    return lines


def _plus(study: dict[str, dict[str, Any]]) -> list[Line]:
    summary = study["summary"]
    details, versus = summary["details"], summary["details"]["minus_baseline"]
    wrong = {row["model"]: row for row in study["mismatches"]["rows"]}
    share = "share of texts whose best other picture is of their category"

    def shares(model: str) -> tuple[dict[str, float] | None, str]:
        if model not in wrong:  # the corpus has no categories
            return None, ""
        own, base = (wrong[name]["own category, best other"] for name in (model, "baseline"))
        return wrong[model]["minus_baseline"], f"{own:.1%} beside {base:.1%}"

    mrr = {name: value["mean"] for name, value in details["mrr"].items()}
    npmi = details["npmi_of"]
    claims = (
        (
            "VTM+ by its whole posterior beats the baseline",
            "MRR@100, test",
            versus["posterior"],
            f"{mrr['posterior']:.3f} beside {mrr['baseline']:.3f}; one member {mrr['one member posterior']:.3f}, the "
            f"shared space without topics {mrr['shared space']:.3f}",
        ),
        (
            "VTM+ by ten topics reaches more than 90 % of the baseline",
            "MRR@100, test, less 0.9 times the baseline's",
            details["top10_minus_90_percent_of_baseline"],
            f"{mrr['top10']:.3f} beside {mrr['baseline']:.3f}",
        ),
        (
            "VTM+ fused with the baseline beats the baseline",
            "MRR@100, test",
            versus["fusion"],
            f"{mrr['fusion']:.3f}; the shared space fused with it {mrr['fusion with the space']:.3f}",
        ),
        (
            "VTM+ fused with the baseline beats the shared space alone",
            "MRR@100, test: what the topics add",
            details["fusion_minus_shared_space"],
            f"{mrr['fusion']:.3f} beside {mrr['shared space']:.3f}",
        ),
        (
            "VTM+'s topics are more coherent than the text-teacher's",
            "NPMI",
            details["npmi_difference"],
            f"{npmi['vtm_plus']:+.3f} beside {npmi['text_teacher text']:+.3f} (texts) and "
            f"{npmi['text_teacher image']:+.3f} (pictures)",
        ),
        (
            "VTM+'s topics are more diverse than the text-teacher's",
            "diversity",
            details["diversity_difference"],
            f"with so few words it cannot exceed {details['diversity_at_most']:.3f}",
        ),
        (
            "VTM+'s keywords fit pictures better than the text-teacher's",
            "keyword hit rate, test",
            details["keyword_hit_difference"],
            " beside ".join(
                f"{details['keyword_hit_rate'][name]:.3f}" for name in ("vtm_plus", "text_teacher")
            ),
        ),
        ("the text-teacher pictures the topic more than the baseline", share, *shares("text-teacher")),
        ("VTM+ pictures the topic more than the baseline", share, *shares("VTM+")),
    )
    return [
        Line(OURS, claim, "", measured, *signed(test, 1), why)
        for claim, measured, test, why in claims
        if test is not None
    ]


def _peers(study: dict[str, dict[str, Any]]) -> list[Line]:
    """Each other model against the plain text-teacher, on the test part."""
    rows = study.get("peers", {}).get("rows", [])
    plain = next((row for row in rows if row["model"] == "text-teacher"), None)
    lines = []
    for row in rows:
        if plain is None or row["model"] in ("baseline", "text-teacher"):
            continue
        measured = f"MRR@100, test: {row['mrr_100']['mean']:.3f} beside {plain['mrr_100']['mean']:.3f} (text-teacher)"
        npmi = row["figures"]["npmi"]["mean"]
        why = f"NPMI {npmi:+.3f} beside {plain['figures']['npmi']['mean']:+.3f}"
        claim = f"{model_name(row)} matches better than the text-teacher"
        lines.append(Line(OURS, claim, "", measured, *signed(row["minus_text_teacher"], 1), why))
    return lines


def welch(a: dict[str, float], b: dict[str, float]) -> tuple[float, float, float]:
    """Difference of two means over seeds with Welch's 95 % interval (1947), from stored means, sds and numbers.

    Without a spread on either side (a figure that has no seed) the other's alone counts; without any the interval is
    NaN.
    """
    from scipy.stats import t

    difference = a["mean"] - b["mean"]
    errors = [(v["sd"] ** 2 / v["n"], v["n"] - 1) for v in (a, b) if v["sd"]]
    error = sum(e for e, _ in errors)
    if error == 0:
        return difference, float("nan"), float("nan")
    freedom = error**2 / sum(e**2 / n for e, n in errors)
    reach = t.ppf(0.975, freedom) * sqrt(error)
    return difference, difference - reach, difference + reach


def signed(test: dict[str, float], sign: int) -> tuple[float, float, float]:
    """A stored test of A - B as (difference, low, high); with sign -1 of B - A."""
    low, high = sorted((sign * test["low"], sign * test["high"]))
    return sign * test["difference"], low, high


def steps_of(study: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Step of the text-teacher -> MRR@100 after linear maps, mean and spread over seeds."""
    return {
        row["step"]: row["figures"]["mrr, linear maps"]
        for row in study["information"]["rows"]
        if row["model"] == "text-teacher"
    }
