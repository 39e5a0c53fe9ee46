"""The study's stored result files: read, with the tables of the test part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import MissingError
from vtm.files import read_sealed
from vtm.paths import results_dir
from vtm.runs import frame, provenance
from vtm.study.cells import difference_cell, interval_cell, p_cell, spread_cell
from vtm.study.families import adjusted, plus_tests

if TYPE_CHECKING:
    import pandas as pd

# The parts that chapters show.
CHAPTER = ("summary", "information", "mismatches", "ablations", "contrastive", "plus-validation", "peers")
NAMES = {
    "baseline": "baseline",
    "baselines together": "all seeds' baselines together",
    "text_teacher": "text-teacher",
    "shared space": "shared space alone",
    "one member posterior": "VTM+, one member, posterior",
    "one member top10": "VTM+, one member, ten largest topics",
    "posterior": "VTM+, posterior",
    "top10": "VTM+, ten largest topics",
    "fusion": "VTM+ fused with the baseline",
    "fusion with the space": "shared space fused with the baseline",
}
QUALITIES = {
    "npmi": "NPMI, training texts",
    "npmi_unseen": "NPMI, test texts",
    "diversity": "diversity of 25 words",
    "diversity_top10": "diversity of 10 words",
    "inverted_rbo": "inverted RBO",
}
TEACHER = ("text_teacher", "text_teacher text", "text_teacher image")


def stored(folder: Path | str = "") -> dict[str, dict[str, Any]]:
    """The parts of a study that `vtm.study.run` wrote; by default those that come with the source.

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
    return {path.stem: read_sealed(path) for path in sorted(folder.glob("*.json"))}


def provenance_table(found: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Each part: when, on what commit and machine, with how many seeds."""
    return frame(
        [
            {
                "part": name,
                **provenance(part),
                "seeds": len(part["seeds"]),
            }
            for name, part in found.items()
        ],
        "part",
    )


def names(summary: dict[str, Any]) -> dict[str, str]:
    """Ranking -> its label; the baseline is called what it was."""
    return NAMES | {"baseline": f"baseline: {summary['details']['baseline_name']}"}


def ranking_table(found: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """MRR@100 on the test part: mean, sd over seeds, interval over items, and paired differences from the baseline, with
    p alone and adjusted, and from the shared space without topics."""
    summary = found["summary"]
    details, holm = summary["details"], adjusted(plus_tests(found))
    lines = []
    for name, label in names(summary).items():
        versus, space = details["minus_baseline"].get(name), details["minus_shared_space"].get(name)
        lines.append(
            {
                "": label,
                "MRR@100": interval_cell(details["mrr"][name]),
                "minus baseline": difference_cell(versus) if versus else "–",
                "p": p_cell(versus["p"]) if versus else "–",
                "p (Holm)": p_cell(holm.get(f"minus_baseline {name}")),
                "minus the shared space": difference_cell(space) if space else "–",
            }
        )
    return frame(lines)


def quality_table(found: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Coherence, diversity and keyword hits of VTM+ and of the text-teacher, mean of its two models and each, and VTM+
    less the mean."""
    details, holm = found["summary"]["details"], adjusted(plus_tests(found))
    quality, hits, words = details["quality"], details["keyword_hit_rate"], details["distinct_words"]
    most = quality["at_most"]
    lines = []
    for key, label in QUALITIES.items():
        values = [spread_cell(quality[model][key]) for model in ("vtm_plus", *TEACHER)]
        lines.append(
            [label, *values, f"{most[key]:.3f}" if key in most else "–"]
            + [difference_cell(quality["difference"][key]), p_cell(holm.get(f"quality {key}"))]
        )
    for key, label in (("diversity_top10", "diversity of 10 words"), ("inverted_rbo", "inverted RBO")):
        whole = [f"{quality['whole'][model][key]:.3f}" for model in ("vtm_plus", "text_teacher")]
        most_of = f"{most['whole vtm_plus']:.3f}" if key == "diversity_top10" else "–"
        lines.append([f"{label}, all members together", *whole, "–", "–", most_of, "–", "–"])
    test = details["keyword_hit_difference"]
    lines.append(
        ["keyword hit rate", f"{hits['vtm_plus']:.3f}", f"{hits['text_teacher']:.3f}", "–", "–", "–"]
        + [difference_cell(test), p_cell(holm.get("keyword_hit_difference"))]
    )
    for name, label in (("vtm_plus", ""), ("vtm_plus one member", ", one member")):
        lines.append(
            [f"words in a picture's ten lists{label}", f"{words[name]:.1f}", f"{words['text_teacher']:.1f}"]
            + ["–"] * 5
        )
    columns = (
        "figure",
        "VTM+",
        "text-teacher, mean of its models",
        "its text model",
        "its picture model",
        "at most",
        "difference [95 %]",
        "p (Holm)",
    )
    return frame([dict(zip(columns, line, strict=True)) for line in lines], "figure")


def goals_table(summary: dict[str, Any]) -> pd.DataFrame:
    """Each goal of the study, whether it is met, and what it is judged by, with the interval of the difference."""
    details = summary["details"]
    quality, mrr = details["quality"], details["mrr"]
    base = mrr["baseline"]["mean"]
    whole, most, hits = quality["whole"], quality["at_most"], details["keyword_hit_rate"]

    def beside(name: str) -> str:
        ours, theirs = (quality[model][name]["mean"] for model in ("vtm_plus", "text_teacher"))
        return f"{ours:.3f} beside {theirs:.3f}: {difference_cell(quality['difference'][name])}"

    judged = {
        "posterior at least the baseline": f"{mrr['posterior']['mean']:.3f} beside {base:.3f}: "
        + difference_cell(details["minus_baseline"]["posterior"]),
        "ten largest topics at least 90 % of the baseline": f"{mrr['top10']['mean']:.3f} beside {0.9 * base:.3f}: "
        + difference_cell(details["top10_minus_90_percent_of_baseline"]),
        "fusion above the baseline": f"{mrr['fusion']['mean']:.3f} beside {base:.3f}: "
        + difference_cell(details["minus_baseline"]["fusion"]),
        "NPMI not below": f"training texts, as is usual: {beside('npmi')}",
        "NPMI not below on unseen texts": f"test texts: {beside('npmi_unseen')}",
        "diversity not below": (
            f"of ten words, a member: {beside('diversity_top10')}, at most "
            f"{most['diversity_top10']:.3f}; all members together {whole['vtm_plus']['diversity_top10']:.3f} (at most "
            f"{most['whole vtm_plus']:.3f}), all teachers {whole['text_teacher']['diversity_top10']:.3f} (at most "
            f"{most['whole text_teacher']:.3f})"
        ),
        "keyword hits not below": f"{hits['vtm_plus']:.3f} beside {hits['text_teacher']:.3f}: "
        + difference_cell(details["keyword_hit_difference"]),
    }
    return frame(
        [
            {"goal": goal, "met": "yes" if summary["goals"][goal] else "no", "judged by": by}
            for goal, by in judged.items()
        ],
        "goal",
    )


def mismatches_table(mismatches: dict[str, Any]) -> pd.DataFrame:
    """How often wrong pictures are at least of the text's own category, on the test part; else why that is not known."""
    if not mismatches["rows"]:
        return frame([{"": mismatches["reason"]}])
    return frame(
        [
            {
                "": row["model"],
                "first picture is wrong": f"{row['mismatches']:.1%}",
                "of these, own category": f"{row['own category, mismatches']:.1%}",
                "best other picture, own category": (
                    f"{row['own category, best other']:.1%} [{row['interval'][0]:.1%}, {row['interval'][1]:.1%}]"
                ),
                "minus baseline": "–"
                if row["model"] == "baseline"
                else difference_cell(row["minus_baseline"]),
            }
            for row in mismatches["rows"]
        ]
    )
