"""The paper's findings with those of the study, each a line of the table of chapter 15.

A finding is put as "A exceeds B". It held where the 95 % interval of A - B lies above 0, did not hold where it lies
below, and is not decided where it contains 0. No verdict is written by hand. Verdicts are by a line's own interval; its
p-value adjusted for its family stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING

from vtm.experiment.results import Result
from vtm.metrics.retrieval import Test, told
from vtm.report.findings import findings
from vtm.report.tables import TABLE_1
from vtm_study.chapter import THETA, Part, model_name
from vtm_study.formats import NONE, difference_cell, p_cell, table
from vtm_study.measures import ablation_tests, adjusted, information_tests, plus_tests
from vtm_study.settings import Setting

if TYPE_CHECKING:
    import pandas as pd


HELD, FAILED, OPEN, UNTESTED = "held", "did not hold", "not decided", "could not be tested"
PAPER, OURS = "the paper", "this study"
ALPHA = 0.05
# Rankings of the summary, as findings call them.
PLUS = {
    "posterior": "VTM+ by its whole posterior",
    "top10": "VTM+ by ten topics",
    "one member posterior": "one member of VTM+ by its whole posterior",
    "one member top10": "one member of VTM+ by ten topics",
    "fusion": "VTM+ fused with the baseline",
}
BESIDE = {
    "baseline": "the baseline",
    "baselines together": "the baselines of all seeds together",
    "fusion with the space": "the shared space fused with it",
    "shared space": "the shared space without topics",
}
ADD, COST = ": what the topics add", ": what the topics cost"
COHERENT = "VTM+'s topics are more coherent than the text-teacher's on"


@dataclass(frozen=True)
class Line:
    """A finding: `whose` it is, what the paper reports, what was measured here, its test, and what speaks to why.

    `p_holm` : of the test, adjusted for its family; NaN where there is none.
    """

    whose: str
    finding: str
    paper: str
    measured: str
    test: Test
    why: str
    p_holm: float = nan

    @property
    def verdict(self) -> str:
        return told(self.test, HELD, FAILED, OPEN, UNTESTED)


def tested(claim: str, measured: str, name: str, tests: Mapping[str, Test], sign: int, why: str) -> Line:
    """A line of the study from the test of that name; sign -1 turns it round."""
    test = tests[name] if sign > 0 else -tests[name]
    return Line(OURS, claim, "", measured, test, why, adjusted(tests).get(name, nan))


def plus_lines(study: dict[str, Part]) -> list[Line]:
    """VTM+ beside the baseline, beside the shared space without topics, and beside the text-teacher."""
    details = study["summary"]["details"]
    tests = plus_tests(study)
    wrong = {row["model"]: row["own category, best other"] for row in study["mismatches"]["rows"]}
    mrr = {name: value["mean"] for name, value in details["mrr"].items()}
    quality, words, hits = details["quality"], details["distinct_words"], details["keyword_hit_rate"]

    def both(a: str, b: str) -> str:
        return f"{mrr[a]:.3f} beside {mrr[b]:.3f}"

    def topics(name: str) -> str:
        ours, mean, text, image = (
            f"{quality[model][name]['mean']:+.3f}"
            for model in ("vtm_plus", "text_teacher", "text_teacher text", "text_teacher image")
        )
        return f"{ours} beside {mean} (mean of the text-teacher's text model, {text}, and picture model, {image})"

    whole, most = quality["whole"], quality["at_most"]
    lists = (
        f"different words in a picture's ten lists: {words['vtm_plus']:.1f}, one member {words['vtm_plus one member']:.1f}, "
        f"text-teacher {words['text_teacher']:.1f}"
    )
    # Claim, what was measured, the test's name, why.
    claims = [
        (f"{PLUS[a]} beats {BESIDE[b]}", f"MRR@100, test{what}", name, f"{both(a, b)}{why}")
        for a, b, name, what, why in (
            ("posterior", "baseline", "minus_baseline posterior", "", ""),
            ("one member posterior", "baseline", "minus_baseline one member posterior", "", ""),
            ("one member top10", "baseline", "minus_baseline one member top10", "", f"; {lists}"),
            ("fusion", "baseline", "minus_baseline fusion", "", ""),
            ("fusion", "baselines together", "fusion_minus_baselines_together", "", ""),
            ("fusion", "fusion with the space", "fusion_minus_fusion_with_the_space", ADD, ""),
            *(
                (name, "shared space", f"minus_shared_space {name}", COST, "")
                for name in ("posterior", "top10", "one member posterior", "one member top10")
            ),
        )
    ]
    nine_tenths = (
        f"{PLUS['top10']} reaches more than 90 % of the baseline",
        "MRR@100, test, less 0.9 times the baseline's",
        "top10_minus_90_percent_of_baseline",
        f"{both('top10', 'baseline')}; {lists}",
    )
    claims.insert(2, nine_tenths)
    diverse = (
        f"{topics('diversity_top10')}, at most {most['diversity_top10']:.3f}; all members together "
        f"{whole['vtm_plus']['diversity_top10']:.3f}, all teachers {whole['text_teacher']['diversity_top10']:.3f}"
    )
    for claim, figure, name, why in (
        (f"{COHERENT} the texts that it was trained on", "NPMI, training texts", "npmi", topics("npmi")),
        (
            f"{COHERENT} texts that no model has seen",
            "NPMI, test texts",
            "npmi_unseen",
            topics("npmi_unseen"),
        ),
        (
            "VTM+'s topics are more diverse than the text-teacher's",
            "diversity of ten words, a member",
            "diversity_top10",
            diverse,
        ),
        (
            "VTM+'s topics overlap less than the text-teacher's",
            "inverted RBO, a member",
            "inverted_rbo",
            topics("inverted_rbo"),
        ),
    ):
        claims.append((claim, f"{figure} (interval over seeds)", f"quality {name}", why))
    fit = f"{hits['vtm_plus']:.3f} beside {hits['text_teacher']:.3f}"
    claim = "VTM+'s keywords fit pictures better than the text-teacher's"
    claims.append((claim, "keyword hit rate, test", "keyword_hit_difference", fit))
    lines = [tested(claim, measured, name, tests, 1, why) for claim, measured, name, why in claims]
    share = "share of texts whose best other picture is of their category"
    for model, name in (("text-teacher", "the text-teacher"), ("VTM+", "VTM+")):
        if model in wrong:  # else the corpus has no categories
            why = f"{wrong[model]:.1%} beside {wrong['baseline']:.1%}"
            claim = f"{name} pictures the topic more than the baseline"
            lines.append(tested(claim, share, f"mismatches {model}", tests, 1, why))
    return lines


def peer_lines(study: dict[str, Part]) -> list[Line]:
    """Each other model against the plain text-teacher, and one member of VTM+ against each, on the test part."""
    rows = {row["model"]: row for row in study.get("peers", {}).get("rows", [])}
    if "text-teacher" not in rows:
        return []
    tests, one = plus_tests(study), "VTM+, one member"
    lines = []
    for better, worse, sign in (
        *((name, "text-teacher", 1) for name in rows),
        *((one, name, -1) for name in rows if not name.startswith("VTM+")),
    ):
        test = f"peers {better if sign == 1 else worse} minus_{'text_teacher' if sign == 1 else 'one_member'}"
        if test not in tests:
            continue
        (value, coherent), (other, beside) = (
            (rows[name]["mrr_100"]["mean"], rows[name]["figures"]["npmi"]["mean"]) for name in (better, worse)
        )
        measured = f"MRR@100, test: {value:.3f} beside {other:.3f} ({worse})"
        claim = f"{model_name(rows[better])} matches better than {'the text-teacher' if sign == 1 else model_name(rows[worse])}"
        read = " (the text-teacher's text model)" if "text-teacher" in (better, worse) else ""
        why = f"NPMI {coherent:+.3f} beside {beside:+.3f}{read}"
        lines.append(tested(claim, measured, test, tests, sign, why))
    return lines


def own_findings(study: dict[str, Part]) -> list[Line]:
    """What the study found: its ablations, where information is lost, VTM+, and other models."""
    return [*_ablated(study), *_located(study), *plus_lines(study), *peer_lines(study)]


def _ablated(study: dict[str, Part]) -> list[Line]:
    """Claims on single choices, each against the plain text-teacher. 1: the change is better; -1: it is worse."""
    rows = {row["setting"]: row for row in study["ablations"]["rows"]}
    tests = ablation_tests(study["ablations"])
    claims = (
        ("mode: none, topics matched", -1, "distilled topics match better than topics matched afterwards"),
        ("mode: priors", -1, "a teacher's posteriors teach more than its prior"),
        (
            "teacher with dropout on",
            -1,
            "a teacher read without dropout teaches more (the published code has it)",
        ),
        ("KL weight: 1", -1, "a KL weight of a tenth matches better than 1"),
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
        value, base = (f[THETA]["mean"] for f in (figures, plain))
        coherent, beside = (f["npmi, image"]["mean"] for f in (figures, plain))
        measured = f"MRR@100, validation: {value:.3f} ({setting}) beside {base:.3f} (plain)"
        why = f"NPMI of the picture model's topics {coherent:+.3f} beside {beside:+.3f}"
        lines.append(tested(claim, measured, setting, tests, sign, why))
    for one in study["ablations"]["width_and_depth"]:
        claim = f"{one['what']}: match better"
        why = f"NPMI of the picture model's topics {difference_cell(one['npmi'])}, over seeds"
        lines.append(tested(claim, "MRR@100, validation", one["what"], tests, 1, why))
    return lines


def _located(study: dict[str, Part]) -> list[Line]:
    """What linear maps rank at each step: intervals over seeds, as steps are stored as mean and spread."""
    tests = information_tests(study["information"])
    width = study["information"]["width"]
    steps = {
        row["step"]: row["figures"]["mrr, linear maps"]
        for row in study["information"]["rows"]
        if row["model"] != "VTM+"
    }
    few = f"{width} principal components of the embeddings"
    lines = []
    for before, after, claim in (
        (
            "embedding",
            "hidden layer",
            "linear maps rank better from the embeddings than from the hidden layers",
        ),
        (
            "principal components",
            "hidden layer",
            f"linear maps rank better from {few} than from the hidden layers",
        ),
        (
            "hidden layer",
            "random projection",
            f"linear maps rank better from the hidden layers than from {width} random directions",
        ),
        ("hidden layer", "theta", "linear maps rank better from the hidden layers than from theta"),
    ):
        measured = f"MRR@100 by linear maps, validation: {before} less {after} (interval over seeds)"
        why = f"{steps[before]['mean']:.3f} and {steps[after]['mean']:.3f}"
        lines.append(tested(claim, measured, f"{before} - {after}", tests, 1, why))
    return lines


def steps_of(study: dict[str, Part]) -> dict[str, dict[str, float]]:
    """Step of the text-teacher -> MRR@100 after linear maps, mean and spread over seeds."""
    return {
        row["step"]: row["figures"]["mrr, linear maps"]
        for row in study["information"]["rows"]
        if row["model"] == "text-teacher"
    }


def closing_lines(
    results: Sequence[Result], groups: Sequence[str] | None, study: dict[str, Part]
) -> list[Line]:
    """All findings.

    Parameters
    ----------
    results : of the baseline and of both kinds of models, of this run.
    groups : gold categories of the test pairs, or None.
    study : the stored parts of the study (`vtm_study.chapter.stored`).
    """
    return [*_papers(results, groups, study), *own_findings(study)]


def closing_table(lines: Sequence[Line], whose: str) -> pd.DataFrame:
    """The findings of `whose`, PAPER or OURS: the paper's with its figures, the study's with their p."""
    own = {
        PAPER: {"the paper's figure": "{line.paper}"},
        OURS: {
            "p": lambda row: p_cell(row["line"].test.p),
            "p (Holm)": lambda row: p_cell(row["line"].p_holm),
        },
    }
    columns = {
        "finding": "{line.finding}",
        "verdict": "{line.verdict}",
        "difference [95 %]": lambda row: _size(row["line"], difference_cell(row["line"].test), NONE),
        "measured here": "{line.measured}",
        **own[whose],
        "what speaks to why": lambda row: row["line"].why or NONE,
    }
    return table([{"line": line} for line in lines if line.whose == whose], columns)


def _size(line: Line, size: str, untested: str) -> str:
    return untested if line.verdict == UNTESTED else size


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
    return f"{line.finding} ({where}{_size(line, f'{line.test.difference:+.3f}', UNTESTED)})"


def _papers(results: Sequence[Result], groups: Sequence[str] | None, study: dict[str, Part]) -> list[Line]:
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
            finding.test,
            why.get(name, ""),
        )
        for name, finding in findings(results, groups).items()
    ] + [
        Line(
            PAPER,
            "encoders that were not trained together match only slightly worse than CLIP",
            "told without a figure",
            "nothing: it takes runs with both on the same pictures, and a run of this book has one pair of encoders",
            Test(nan),
            "see linearly aligned embeddings, below",
        )
    ]


def _evidence(study: dict[str, Part], *, small: int, large: int) -> dict[str, str]:
    """By a finding's name, what the study measured that speaks to its reason.

    What belongs to one number of topics stands with the finding on that number alone.
    """
    steps = steps_of(study)
    changed = {row["setting"]: row["figures"] for row in study["ablations"]["rows"]}

    def mrr(setting: str) -> float:
        return changed[setting][THETA]["mean"]

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
