"""The study's chapter: tables and figures from its stored result files."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import MissingError
from vtm.files import read_sealed, results_dir
from vtm.metrics.retrieval import Test, adjusted, told
from vtm.report.figures import COLOURS, grid_of_axes
from vtm.report.tables import TABLE_1, frame, provenance
from vtm_study.formats import NONE, Row, difference_cell, interval_cell, p_cell, spread_cell, table
from vtm_study.grid import BEFORE, OPTIONS, PAPER, choose, score
from vtm_study.machine import changed_since
from vtm_study.measures import measured, peer_tests

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


Part = dict[str, Any]  # what a result file holds
# The parts that chapters show.
CHAPTER = ("grid", "summary", "contrastive", "plus-validation", "peers")
MODELS = {
    "baseline": "baseline",
    "cca": "canonical correlations, no topics",
    "teacher_60": "text-teacher, 60 topics",
    "teacher_120": "text-teacher, 120 topics",
    "joint_60": "joint, 60 topics",
    "joint_120": "joint, 120 topics",
    "none_120": "text and picture model apart, 120 topics",
    "plus": "VTM+",
    "plus_top10": "VTM+, ten largest topics",
    "teacher_120_top10": "text-teacher, 120 topics, ten largest",
    "fused": "VTM+ fused with the baseline",
    "fused_with_cca": "canonical correlations fused with the baseline",
    "fused_without_topics": "nearest pictures' words fused with the baseline",
}
# Test -> what it would show where the difference is above zero.
CLAIMS = {
    "baseline_minus_teacher": "embeddings match better than topics (text-teacher, 120)",
    "baseline_minus_joint": "embeddings match better than topics (joint, 120)",
    "teacher_120_minus_60": "more topics match better (text-teacher)",
    "joint_120_minus_60": "more topics match better (joint)",
    "teacher_minus_joint_60": "the text-teacher matches better than joint training (60 topics)",
    "teacher_minus_joint_120": "the text-teacher matches better than joint training (120 topics)",
    "sparse_teacher_60": "three topics carry more than half of a picture's probability (text-teacher, 60)",
    "sparse_teacher_120": "three topics carry more than half of a picture's probability (text-teacher, 120)",
    "plus_single_minus_baseline_five": "one VTM+ matches better than the baselines of all seeds together",
    "plus_five_minus_baseline_five": "VTM+ matches better than the baseline, each of all seeds together",
    "plus_single_minus_baseline_single": "one VTM+ matches better than one baseline",
    "plus_single_minus_cca": "one VTM+ matches better than canonical correlations without topics",
    "plus_single_minus_teacher": "one VTM+ matches better than one text-teacher",
    "plus_five_minus_teacher_five": "VTM+ matches better than the text-teacher, each of all seeds together",
    "teacher_minus_none": "a teacher matches better than two models that learn apart (text-teacher, 120)",
    "teacher_five_minus_baseline_five": "the text-teacher matches better than the baseline, each of all seeds together",
    "cca_minus_baseline_single": "canonical correlations match better than one baseline",
    "fused_minus_fused_without_topics": "topics add more to the baseline than nearest pictures' words",
    "fused_minus_fused_with_cca": "topics add more to the baseline than canonical correlations",
    "fused_minus_baseline_five": "VTM+ adds to the baselines of all seeds together",
    "plus_top10_minus_95_percent": "ten topics reach more than 95 % of a VTM+'s whole posterior",
    "plus_five_minus_125_percent_of_baseline_five": "VTM+ of all seeds together reaches more than 1.25 times the baselines",
}


def stored(folder: Path | str = "") -> dict[str, Part]:
    """The parts of a study that `vtm_study.driver` wrote; by default those that come with the source.

    Raises
    ------
    MissingError
        A part that chapters show is missing.
    """
    folder = Path(folder or results_dir() / "study").expanduser()
    if missing := [name for name in CHAPTER if not (folder / f"{name}.json").is_file()]:
        raise MissingError(
            f"{folder}/{missing[0]}.json: not there; `vtm reproduce --profile study` measures it"
        )
    return {path.stem: measured(read_sealed(path)) for path in sorted(folder.glob("*.json"))}


def provenance_table(found: dict[str, Part]) -> pd.DataFrame:
    """Each part: when, on what commit and machine, with how many seeds, and whether its code has changed since."""
    from vtm_study.driver import PARTS

    lines = []
    for name, part in found.items():
        changed = changed_since(part["commit"], PARTS[name][0].__module__)
        since = "not known" if changed is None else f"{len(changed)} changed" if changed else "the same"
        lines.append(
            {"part": name, **provenance(part), "seeds": len(part["seeds"]), "modules since then": since}
        )
    return frame(lines, "part")


def test_of(stored: Mapping[str, Any]) -> Test:
    """A test of the summary's "tests", which also have "p_holm" and "family"."""
    return Test.read({name: stored[name] for name in Test.__match_args__})


def _share(value: Mapping[str, float], kind: str) -> str:
    return f"{value[kind]:.3f} [{value[f'{kind}_low']:.3f}, {value[f'{kind}_high']:.3f}]"


def models_table(summary: Part) -> pd.DataFrame:
    """MRR@100 and recall at 100 of every model, one and all seeds' together, with intervals over clusters and seeds."""
    of = summary["intervals"]
    lines = []
    for name, label in MODELS.items():
        whole = name.startswith("fused")
        line = {"": label}
        for figure, head in (("mrr", "MRR@100"), ("r100", "R@100")):
            line[f"{head}, one"] = NONE if whole else _share(of[figure][name], "single")
            line[f"{head}, all seeds together"] = NONE if name == "cca" else _share(of[figure][name], "five")
        lines.append(line)
    return frame(lines, "")


# Claim of the paper -> its rows of Table 1 that make it, (kind, topics) better and worse.
PAPERS = {
    "baseline_minus_teacher": (("baseline", 0), ("text-teacher", 120)),
    "baseline_minus_joint": (("baseline", 0), ("joint", 120)),
    "teacher_120_minus_60": (("text-teacher", 120), ("text-teacher", 60)),
    "joint_120_minus_60": (("joint", 120), ("joint", 60)),
    "teacher_minus_joint_60": (("text-teacher", 60), ("joint", 60)),
    "teacher_minus_joint_120": (("text-teacher", 120), ("joint", 120)),
}


def papers_figure(name: str) -> str:
    """What the paper's Table 1 has for a claim: MRR@100, and texts whose picture is among the first hundred."""
    if name not in PAPERS:
        return "told without a figure"
    rows = {(row.row, row.n_topics): row for row in TABLE_1}
    better, worse = (rows[which] for which in PAPERS[name])
    return (
        f"MRR@100 {better.mrr_100:.3f} and {worse.mrr_100:.3f}; in the first hundred {better.correct_100} and "
        f"{worse.correct_100}"
    )


def tests_table(summary: Part, family: str) -> pd.DataFrame:
    """The tests of a family, "paper" or "ours": each by MRR@100 and by recall at 100."""
    lines = []
    for name, test in summary["tests"].items():
        if test["family"] != family or name.endswith("_r100"):
            continue
        line = {"claim": CLAIMS[name]} | ({"the paper": papers_figure(name)} if family == "paper" else {})
        for figure, ending in (("MRR@100", ""), ("R@100", "_r100")):
            one = summary["tests"].get(name + ending)
            line[figure] = difference_cell(test_of(one)) if one else NONE
            line[f"{figure}, p (Holm)"] = p_cell(one["p_holm"]) if one else NONE
            line[f"{figure}: verdict"] = verdict(one) if one else NONE
        lines.append(line)
    return frame(lines, "claim")


def tests_figure(summary: Part, family: str) -> Figure:
    """A forest plot of a family's differences in MRR@100: points with their intervals, full where zero lies outside."""
    tests = [
        (CLAIMS[name], test)
        for name, test in summary["tests"].items()
        if test["family"] == family and not name.endswith("_r100") and not name.startswith("sparse")
    ]
    figure, grid = grid_of_axes(1, 1, width=4.2, height=0.58 * len(tests) + 0.8)
    (axes,) = grid[0]
    axes.axvline(0, color="0.5", linewidth=1)
    for row, (_, test) in enumerate(tests):
        decided = told(test_of(test), True, True, False, False)
        axes.plot([test["low"], test["high"]], [row, row], color=COLOURS[1])
        axes.plot(
            test["difference"], row, "o", color=COLOURS[1], markerfacecolor=COLOURS[1] if decided else "white"
        )
    axes.set_yticks(range(len(tests)), [textwrap.fill(claim, 36) for claim, _ in tests], fontsize="small")
    axes.set_ylim(len(tests) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("difference in MRR@100")
    return figure


def verdict(test: Mapping[str, Any], alpha: float = 0.05) -> str:
    """By the interval; one that Holm's p does not bear out says so."""
    said = told(test_of(test), "held", "did not hold", "not decided", "not tested")
    weak = said in ("held", "did not hold") and test["p_holm"] >= alpha
    return f"{said}, but not among so many tests" if weak else said


def category_table(summary: Part) -> pd.DataFrame:
    """Whether a text's best picture, its own left out, is of its category: model less model."""
    lines = []
    for name, test in summary["tests"].items():
        if test["family"] == "category" and not name.endswith("_unnamed"):
            one, other = name.removeprefix("category_").split("_minus_")
            unnamed = summary["tests"][f"{name}_unnamed"]
            lines.append(
                {
                    "": f"{MODELS[one]} less {MODELS[other]}",
                    "share": f"{summary['category'][one]:.1%} beside {summary['category'][other]:.1%}",
                    "difference": difference_cell(test_of(test)),
                    "verdict": verdict(test),
                    "texts that do not name their category": difference_cell(test_of(unnamed)),
                    "their verdict": verdict(unnamed),
                }
            )
    return frame(lines, "")


def topics_table(summary: Part) -> pd.DataFrame:
    """Topics as words: coherence at 5 and at 10 words, pairs never seen together, diversity, intrusion."""
    return frame(
        [
            {
                "": MODELS[name],
                "NPMI, 5 words": f"{of['npmi_5']:+.3f}",
                "NPMI, 10 words": f"{of['npmi_10']:+.3f}",
                "pairs never together": f"{of['never_together']:.0%}",
                "diversity, 10 words": f"{of['diversity_10']:.3f}",
                "at most": f"{of['diversity_10_at_most']:.3f}",
                "topics that pass the intrusion test": f"{summary['intrusion'][name]:.0%}",
            }
            for name, of in summary["topics"].items()
        ],
        "",
    )


def settings_table(grid: Part) -> pd.DataFrame:
    """Each family's settings: how many were tried, what they reached on one fold's validation part, and what was chosen."""
    lines = []
    for family, options in OPTIONS.items():
        own = [row for row in grid["rows"] if row["family"] == family]
        first = [row for row in own if row["round"] == 1]
        config = choose(grid["rows"], family)
        config = _as_stored(config if isinstance(config, dict) else dataclasses.asdict(config))
        line: dict[str, Any] = {"family": family, "settings": len({str(row["config"]) for row in own})}
        for label, before in (("the paper's", PAPER), ("the first edition's", BEFORE)):
            rows = [row for row in first if row["config"] == _as_stored(dataclasses.asdict(before))]
            line[f"{label}, one fold"] = f"{score(rows):.3f}" if rows else NONE
        line["best, one fold"] = f"{max(row['mrr_cosine'] for row in first):.3f}" if first else NONE
        final = [row for row in own if row["round"] == 2 and row["config"] == config]
        line["chosen, three folds"] = f"{score(final):.3f}"
        lines.append(line | {"chosen": ", ".join(f"{name} {config[name]}" for name in options)})
    return frame(lines, "family")


def _as_stored(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}


def effects_table(grid: Part) -> pd.DataFrame:
    """Mean validation MRR@100 of a family's settings by each value of each option."""
    import pandas as pd

    lines = []
    for row in grid["rows"]:
        if row["round"] == 1 and row["config"].get("standardize"):
            lines += [
                {
                    "option": name,
                    "value": str(row["config"][name]),
                    "family": row["family"],
                    "mrr": row["mrr_cosine"],
                }
                for name in OPTIONS["joint"]
            ]
    return pd.DataFrame(lines).pivot_table(index=["option", "value"], columns="family", values="mrr").round(3)


def reliability_figure(summary: Part) -> Figure:
    """What was said beside what came true, for the first picture and for topic probabilities."""
    curves = summary["calibration"]
    figure, axes = grid_of_axes(1, 2, width=4.5, height=4)
    for one, what in zip(axes[0], ("match", "theta"), strict=True):
        one.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for name, colour in zip(("baseline", "plus", "teacher_120"), COLOURS, strict=False):
            if f"{name} {what}" in curves:
                points = curves[f"{name} {what}"]["curve"]
                one.plot(
                    [p["said"] for p in points],
                    [p["true"] for p in points],
                    marker="o",
                    color=colour,
                    label=MODELS[name],
                )
        one.set_xlabel("probability that was said")
        one.set_ylabel("share that came true")
        one.set_title({"match": "this is the picture", "theta": "this is the text's largest topic"}[what])
        one.legend()
    return figure


def _less(key: str, *, of: str, itself: str) -> Callable[[Row], str]:
    """A column of differences, none for what all others are compared with."""
    return lambda row: NONE if row[of] == itself else difference_cell(row[key])


# The lines of the table of peers that are no peers.
OURS = (
    *("baseline", "text-teacher", "text-teacher, all seeds together"),
    *("VTM+", "VTM+, five members together"),
)
VERSUS = {"text-teacher": "minus_text_teacher", "VTM+": "minus_plus"}


def peers_table(found: dict[str, Part]) -> pd.DataFrame:
    """Other models beside ours on the test part: retrieval, coherence and diversity of words and of pictures."""
    holm = adjusted(peer_tests(found["peers"]))
    figures = {
        "R@10": "recall_10",
        "NPMI": "npmi",
        "NPMI, unseen": "npmi_unseen",
        "diversity of 10": "diversity_top10",
        "IEC": "iec",
        "IEPS": "ieps",
        "keyword hits": "keyword_hits",
    }
    columns: dict[str, Any] = {"": "{model}", "MRR@100": lambda row: interval_cell(row["mrr_100"])}
    for other, key in VERSUS.items():
        columns[f"minus {other}"] = _less(key, of="model", itself=other)
        columns[f"minus {other}, p (Holm)"] = lambda row, key=key: p_cell(holm[f"peers {row['model']} {key}"])
    columns |= {label: f"{{figures[{key}][mean]:.3f}}" for label, key in figures.items()}
    return table(found["peers"]["rows"], columns | {"package": lambda row: row["package"] or NONE})


def tried_table(peers: Part) -> pd.DataFrame:
    """What was tried for each other model on the validation part, and which of it was chosen."""
    lines = [
        {
            "": row["model"],
            "setting": name,
            "MRR@100, validation": spread_cell(value),
            "chosen": "yes" if name == row["chosen"] else "",
        }
        for row in peers["rows"]
        for name, value in row["validation"].items()
        if len(row["validation"]) > 1
    ]
    return frame(lines)


def candidates_table(validation: Part) -> pd.DataFrame:
    """The default setting of VTM+ and each other one that was tried, on the validation part."""
    columns = {
        "posterior": "posterior_mrr",
        "ten largest": "top10_mrr",
        "NPMI, training texts": "npmi",
        "NPMI, unseen texts": "npmi_unseen",
        "diversity of 10": "diversity_top10",
        "keyword hits": "keyword_hit_rate",
    }
    beside = {"setting": "(the plain text-teacher, mean of its two models)", **validation["text_teacher"]}
    return _settings_table([*validation["rows"], beside], columns)


def contrastive_table(contrastive: Part) -> pd.DataFrame:
    """The models trained with a contrastive loss from random weights, on the validation part."""
    columns = {
        "mu": "mu_mrr",
        "posterior": "posterior_mrr",
        "ten largest": "top10_mrr",
        "text-teacher": "text_teacher_mrr",
        "NPMI": "npmi",
        "NPMI, unseen texts": "npmi_unseen",
        "keyword hits": "keyword_hit_rate",
    }
    return _settings_table(contrastive["rows"], columns)


def _settings_table(rows: Sequence[Row], columns: Mapping[str, str]) -> pd.DataFrame:
    """A line for each setting, with the figures that the columns name."""
    spreads = {label: lambda row, key=key: spread_cell(row[key]) for label, key in columns.items()}
    return table(rows, {"setting": "{setting}", **spreads})


def numbers(found: dict[str, Part]) -> dict[str, float | str]:
    """The numbers and verdicts that the book's prose quotes."""
    summary = found["summary"]
    quoted: dict[str, float | str] = {
        "items": float(summary["items"]),
        "clusters": float(summary["clusters"]),
        "n_seeds": str(len(summary["seeds"])),
        "n_together": str(summary["seeds_of"]["baseline"]),
        "plus_top10_mrr": summary["plus_top10_mrr"],
        "plus_top10_share": summary["plus_top10_mrr"] / summary["mrr"]["plus"]["single"],
        "fused_mrr": summary["fused_mrr"],
        "fused_without_topics_mrr": summary["intervals"]["mrr"]["fused_without_topics"]["five"],
        "five_ratio": summary["mrr"]["plus"]["five"] / summary["mrr"]["baseline"]["five"],
        "as_published_mrr": summary["as_published_mrr"],
        "twins_share": summary["twins"]["share"],
        "twins_mrr": summary["twins"]["baseline_mrr_twins"],
        "rest_mrr": summary["twins"]["baseline_mrr_rest"],
        "aligned_test": difference_cell(summary["aligned_by_proxy"]["test"]),
        "aligned_verdict": told(summary["aligned_by_proxy"]["test"], "better", "worse", "not decided"),
        "intrusion_plus": summary["intrusion"]["plus"],
        "intrusion_teacher": summary["intrusion"]["teacher_120"],
        "diversity_plus": summary["diversity_10"]["plus"],
        "diversity_teacher": summary["diversity_10"]["teacher_120"],
        "diversity_at_most": summary["topics"]["plus"]["diversity_10_at_most"],
        "named_share": summary["named_share"],
        "plus_by_rule": found["plus-validation"]["by_rule"] or "none of them",
        "n_runs": str(sum(map(len, summary["statuses"].values()))),
        "n_unhealthy": str(sum(status != "ok" for of in summary["statuses"].values() for status in of)),
    }
    rows = {row["model"]: row for row in found["peers"]["rows"]}
    best = max(
        (row for name, row in rows.items() if name not in OURS), key=lambda row: row["mrr_100"]["mean"]
    )
    quoted |= {
        "best_peer": best["model"],
        "best_peer_mrr": best["mrr_100"]["mean"],
        "best_peer_test": difference_cell(best["minus_plus"]),
        "fold_plus_mrr": rows["VTM+"]["mrr_100"]["mean"],
    }
    for figure in ("mrr", "r100"):
        for name, value in summary[figure].items():
            quoted |= {f"{name}_{figure}_{kind}": value[kind] for kind in ("single", "five")}
    for name, test in summary["tests"].items():
        quoted[f"test_{name}"] = difference_cell(test_of(test))
        quoted[f"verdict_{name}"] = verdict(test)
    for family in ("paper", "ours"):
        for said, n in by_verdict(summary, family).items():
            quoted[f"{family}_{said.replace(' ', '_')}_n"] = str(n)
    return quoted


def by_verdict(summary: Part, family: str) -> dict[str, int]:
    """How many tests of a family have each verdict, by the interval."""
    verdicts = ("held", "did not hold", "not decided")
    said = [told(test_of(test), *verdicts) for test in summary["tests"].values() if test["family"] == family]
    return {verdict: said.count(verdict) for verdict in verdicts}
