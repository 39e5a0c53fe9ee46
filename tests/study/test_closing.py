"""The closing chapter: verdicts follow from intervals, signs are right, and every stored figure is read, not typed."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import ttest_ind

from vtm.experiment.results import Result
from vtm.metrics.retrieval import Test
from vtm.report.tables import TABLE_1
from vtm_study import findings as closing
from vtm_study.findings import FAILED, HELD, OPEN, OURS, PAPER, UNTESTED, Line
from vtm_study.measures import welch

N = 40


def line(difference: float, low: float, high: float, whose: str = OURS) -> Line:
    return Line(whose, f"claim {difference}", "", "", Test(difference, low, high), "")


def test_verdicts_follow_from_intervals() -> None:
    nan = float("nan")
    found = [line(0.2, 0.1, 0.3), line(-0.2, -0.3, -0.1), line(0.1, -0.1, 0.3), line(nan, nan, nan)]
    assert [one.verdict for one in found] == [HELD, FAILED, OPEN, UNTESTED]
    assert line(0.1, 0.0, 0.2).verdict == OPEN  # an interval that ends at 0 holds it
    numbers = closing.closing_numbers([*found, line(0.5, 0.4, 0.6, PAPER)])
    assert [numbers[f"ours_{name}"] for name in ("all", "held", "failed", "open", "untested")] == [
        *("4", "1", "1", "1", "1")
    ]
    assert numbers["ours_failed_list"] == "claim -0.2 (-0.200)" and numbers["paper_open_list"] == "none"
    assert numbers["paper_held_list"] == "claim 0.5 (+0.500)"
    table = closing.closing_table([*found, line(0.5, 0.4, 0.6, PAPER)], OURS)
    assert list(table["verdict"]) == [HELD, FAILED, OPEN, UNTESTED]
    assert table["difference [95 %]"].iloc[0] == "+0.200 [+0.100, +0.300]"
    assert table["difference [95 %]"].iloc[3] == "–"
    papers = closing.closing_table([*found, line(0.5, 0.4, 0.6, PAPER)], PAPER)
    assert list(papers.index) == ["claim 0.5"] and "the paper's figure" in papers and "p" not in papers
    assert list(papers.columns)[:2] == ["verdict", "difference [95 %]"]


def test_a_turned_comparison_has_a_turned_interval() -> None:
    tests = {"a": Test(0.1, -0.1, 0.4), "b": Test(0.1)}
    assert closing.tested("", "", "a", tests, 1, "").test == Test(0.1, -0.1, 0.4)
    turned = closing.tested("", "", "a", tests, -1, "").test
    assert (turned.difference, turned.low, turned.high) == (-0.1, -0.4, 0.1)
    without = closing.tested("", "", "b", tests, -1, "").test
    assert without.difference == -0.1 and np.isnan([without.low, without.high]).all()


def test_decided_lines_that_holm_leaves_open_are_named() -> None:
    weak, strong = line(0.2, 0.1, 0.3), line(-0.2, -0.3, -0.1)
    weak = dataclasses.replace(weak, test=dataclasses.replace(weak.test, p=0.02), p_holm=0.3)
    found = closing.closing_numbers([weak, dataclasses.replace(strong, p_holm=0.01)])
    assert found["holm_open"] == "1" and found["holm_open_list"] == "claim 0.2 (+0.200)"
    table = closing.closing_table([weak, strong], OURS)
    assert list(table["p"]) == ["0.020", "–"] and list(table["p (Holm)"]) == ["0.300", "–"]


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 0.2, 5), rng.normal(0.5, 0.6, 4)
    stored = [{"mean": v.mean(), "sd": v.std(ddof=1), "n": len(v)} for v in (a, b)]
    interval = ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    found = welch(*stored)
    expected = (a.mean() - b.mean(), interval.low, interval.high)
    assert (found.difference, found.low, found.high) == pytest.approx(expected)
    fixed = {"mean": 1.0, "sd": 0.0, "n": 5}
    found = welch(fixed, stored[1])
    assert found.difference - found.low == pytest.approx(3.182 * stored[1]["sd"] / 2, rel=1e-3)
    assert np.isnan(welch(fixed, fixed).low)


def result(row: str, n_topics: int, quality: float) -> Result:
    """A run whose text and picture of one pair are alike by `quality`."""
    rng = np.random.default_rng(n_topics)
    arrays = {}
    for part in ("validation", "test"):
        text = rng.dirichlet(np.ones(12) / 2, size=N)
        arrays[f"{part}_text"] = text
        arrays[f"{part}_image"] = quality * text + (1 - quality) * rng.dirichlet(np.ones(12) / 2, size=N)
    ids = [f"{i:02d}" for i in range(N)]
    return Result(row, n_topics, 0, "cosine", "ok", (), {"validation": ids, "test": ids}, arrays)


def spread(value: float) -> dict[str, float]:
    return {"mean": value, "sd": 0.01, "n": 5, "min": value, "max": value}


def change(setting: str, value: float) -> dict:
    figures = {
        "mrr, cosine of theta": spread(value),
        "npmi, image": spread(0.1),
        "effective topics": spread(40),
    }
    test = Test(value - 0.3, value - 0.31, value - 0.29, 0.01)
    return {"setting": setting, "figures": figures, "minus_plain": test}


def study() -> dict:
    """Stored parts with figures of our own making."""
    up, level = Test(0.1, 0.05, 0.15, 0.01), Test(0.0, -0.1, 0.1, 0.9)
    steps = {"embedding": 0.4, "hidden layer": 0.2, "theta": 0.2}
    controls = {"principal components": 0.3, "random projection": 0.1}
    qualities = ("npmi", "npmi_unseen", "diversity", "diversity_top10", "inverted_rbo")
    peer = {"figures": {"npmi": spread(-0.1)}, "mrr_100": spread(0.2)}
    return {
        "ablations": {
            "rows": [
                change(name, value) for name, value in {"plain": 0.3, "joint": 0.25, "K: 20": 0.2}.items()
            ],
            "width_and_depth": [
                {"what": "400 units in place of 100, in one layer", "mrr": level, "npmi": up}
            ],
        },
        "information": {
            "rows": [
                {"model": model, "step": step, "figures": {"mrr, linear maps": spread(value)}}
                for model, of in (("text-teacher", steps), ("control", controls))
                for step, value in of.items()
            ],
            "width": 100,
        },
        "mismatches": {
            "rows": [
                {"model": name, "own category, best other": 0.5, "minus_baseline": up}
                for name in ("baseline", "text-teacher", "VTM+")
            ]
        },
        "summary": {
            "details": {
                "minus_baseline": {
                    "posterior": level,
                    "fusion": up,
                    "one member posterior": level,
                    "one member top10": level,
                },
                "minus_shared_space": dict.fromkeys(
                    ("posterior", "top10", "one member posterior", "one member top10"), level
                ),
                "mrr": dict.fromkeys(
                    (
                        "baseline",
                        "posterior",
                        "one member posterior",
                        "one member top10",
                        "shared space",
                        "top10",
                    )
                    + ("fusion", "fusion with the space", "baselines together"),
                    spread(0.2),
                ),
                "quality": {
                    "difference": dict.fromkeys(qualities, level),
                    **{
                        model: dict.fromkeys(qualities, spread(0.1))
                        for model in ("vtm_plus", "text_teacher", "text_teacher text", "text_teacher image")
                    },
                    "whole": {
                        model: {"diversity_top10": 0.1, "inverted_rbo": 0.9}
                        for model in ("vtm_plus", "text_teacher")
                    },
                    "at_most": {"diversity_top10": 0.4},
                },
                "distinct_words": {"vtm_plus": 40.0, "vtm_plus one member": 70.0, "text_teacher": 60.0},
                "keyword_hit_rate": {"vtm_plus": 0.2, "text_teacher": 0.1},
                "top10_minus_90_percent_of_baseline": up,
                "fusion_minus_fusion_with_the_space": level,
                "fusion_minus_baselines_together": up,
                "keyword_hit_difference": up,
            }
        },
        "peers": {
            "rows": [
                {"model": name, "minus_text_teacher": level, **peer}
                for name in ("baseline", "text-teacher", "LDA")
            ]
        },
    }


@pytest.fixture(scope="module")
def lines() -> dict[str, Line]:
    runs = [result("baseline", 0, 1.0)]
    for k, quality in ((10, 0.4), (20, 0.6)):
        runs += [result("joint", k, quality - 0.3), result("text-teacher", k, quality)]
    found = closing.closing_lines(runs, ["a", "b"] * (N // 2), study())
    assert len({one.finding + one.measured for one in found}) == len(found)
    return {f"{one.finding}: {one.measured}": one for one in found}


def of(lines: dict[str, Line], start: str) -> Line:
    (found,) = [one for name, one in lines.items() if name.startswith(start)]
    return found


def test_the_papers_findings_stand_beside_the_papers_figures(lines: dict[str, Line]) -> None:
    papers = [one for one in lines.values() if one.whose == PAPER]
    assert [one.verdict for one in papers].count(UNTESTED) == 1 and len(papers) == 9
    first = papers[0]
    assert first.verdict == HELD and first.test.difference > 0
    mrr = {(row.row, row.n_topics): row.mrr_100 for row in TABLE_1}
    assert first.paper == f"MRR@100 {mrr['baseline', 0]:.3f} against {mrr['joint', 120]:.3f}"
    assert "0.400" in first.why and "0.200" in first.why
    more = of(lines, "more topics match better: text-teacher")
    assert more.verdict == HELD and "0.200 (20), 0.300 (60)" in more.why
    # What was measured of one model or number of topics stands in no other's line.
    assert of(lines, "more topics match better: joint").why == ""
    assert of(lines, "text-teacher beats joint: 20").why == ""
    assert of(lines, "two or three topics carry most of a picture's probability: text-teacher 10").why == ""
    assert of(
        lines, "two or three topics carry most of a picture's probability: text-teacher 20"
    ).why.endswith("of 20")
    assert of(lines, "text-teacher beats joint: 20").paper.endswith(
        "; 816 against 767 correct in the top 100"
    )
    own = closing.closing_numbers(papers)["papers_own_sentence"]
    assert "text-teacher has 816" in own and "0.042" in own and "joint model 767 and 0.043" in own
    told = closing.closing_numbers(papers)["paper_held_list"]
    assert f"more topics match better (text-teacher, {more.test.difference:+.3f})" in told
    assert told.startswith(f"{first.finding} ({first.test.difference:+.3f})")


def test_the_studys_findings_have_their_signs(lines: dict[str, Line]) -> None:
    assert of(lines, "60 topics match better than 20").verdict == HELD
    assert of(lines, "400 units in place of 100, in one layer: match better").verdict == OPEN
    assert of(lines, "linear maps rank better from the embeddings").verdict == HELD
    assert of(lines, "linear maps rank better from 100 principal").verdict == HELD
    assert of(lines, "linear maps rank better from the hidden layers than from 100 random").verdict == HELD
    assert of(lines, "linear maps rank better from the hidden layers than from theta").verdict == OPEN
    assert of(lines, "VTM+ by its whole posterior beats the shared space without topics").verdict == OPEN
    assert of(lines, "VTM+ by its whole posterior beats the baseline").verdict == OPEN
    assert of(lines, "VTM+ by ten topics reaches").verdict == HELD
    assert of(lines, "LDA matches better").verdict == OPEN
    # What was not measured has no line.
    assert not [name for name in lines if "whole texts" in name or name.startswith("baseline matches")]


def test_the_stored_study_fills_the_table() -> None:
    from vtm_study.chapter import stored

    found = stored()
    runs = [result("baseline", 0, 0.9), result("text-teacher", 60, 0.5), result("text-teacher", 120, 0.6)]
    lines = closing.closing_lines(runs, None, found)
    ours = {one.finding: one for one in lines if one.whose == OURS}
    top10 = ours["VTM+ by ten topics reaches more than 90 % of the baseline"]
    expected = found["summary"]["vtm_plus_top10_mrr"] - 0.9 * found["summary"]["baseline_mrr"]
    assert top10.test.difference == pytest.approx(expected)
    assert len([name for name in ours if name.startswith("whole texts")]) >= 3
    assert all(np.isfinite([one.test.low, one.test.high]).all() for one in ours.values())
    json.dumps([dataclasses.asdict(one) for one in lines])
    assert sum(len(closing.closing_table(lines, whose)) for whose in (PAPER, OURS)) == len(lines)
    why = {one.measured.partition(":")[0]: one.why for one in lines if one.finding.startswith("two or three")}
    assert why["text-teacher 60"].endswith("of 60") and why["text-teacher 120"].endswith("of 120")
