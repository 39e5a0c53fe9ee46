"""The study's stored result files: read, with the tables of the test part and the numbers that chapters quote."""

from __future__ import annotations

from collections import defaultdict
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import MissingError
from vtm.files import read_sealed
from vtm.paths import checkout
from vtm.runs import frame
from vtm.study.cells import difference_cell, interval_cell
from vtm.study.peer_tables import peers_sentence

if TYPE_CHECKING:
    import pandas as pd

# The parts that chapters show.
CHAPTER = ("summary", "information", "mismatches", "ablations", "contrastive", "plus-validation", "peers")
NAMES = {
    "baseline": "baseline: aligned (contrastive)",
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


def stored(folder: Path | str = "") -> dict[str, dict[str, Any]]:
    """The parts of a study that `vtm.study.run` wrote; by default those that come with the source.

    Raises
    ------
    MissingError
        A part that chapters show is missing.
    """
    folder = Path(folder or (checkout() or Path()) / "results" / "study").expanduser()
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
                "date": part["date"],
                "commit": part["commit"] or "–",
                "processor": f"{part['machine']['processor']}, {part['machine']['cores']} cores",
                "seeds": len(part["seeds"]),
            }
            for name, part in found.items()
        ],
        "part",
    )


def ranking_table(summary: dict[str, Any]) -> pd.DataFrame:
    """MRR@100 on the test part: mean, sd over seeds, interval over items, and the paired difference from the baseline."""
    details = summary["details"]
    lines = []
    for name, label in NAMES.items():
        versus = details["minus_baseline"].get(name)
        lines.append(
            {
                "": label,
                "MRR@100": interval_cell(details["mrr"][name]),
                "minus baseline": difference_cell(versus) if versus else "–",
                "p": f"{versus['p']:.4f}" if versus else "–",
            }
        )
    return frame(lines)


def quality_table(summary: dict[str, Any]) -> pd.DataFrame:
    """NPMI, diversity and keyword hits of both models and their differences."""
    details = summary["details"]
    rows = (
        ("NPMI", "npmi", "npmi_difference"),
        ("diversity", "diversity", "diversity_difference"),
        ("keyword hit rate", "keyword_hit_rate", "keyword_hit_difference"),
    )
    return frame(
        [
            {
                "figure": label,
                "text-teacher": f"{summary[key]['text_teacher']:.4f}",
                "VTM+": f"{summary[key]['vtm_plus']:.4f}",
                "difference [95 %]": difference_cell(details[test], digits=4),
            }
            for label, key, test in rows
        ],
        "figure",
    )


def goals_table(summary: dict[str, Any]) -> pd.DataFrame:
    """Each goal of the study and whether it is met."""
    return frame(
        [{"goal": goal, "met": "yes" if met else "no"} for goal, met in summary["goals"].items()], "goal"
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
                "minus baseline": difference_cell(row["minus_baseline"]),
            }
            for row in mismatches["rows"]
        ]
    )


def numbers(found: dict[str, dict[str, Any]]) -> dict[str, float | str]:
    """The numbers that the chapter's prose quotes; NaN for what these data cannot tell."""
    summary = found["summary"]
    details = summary["details"]
    steps = {
        (row["model"], row["step"]): row["figures"]["mrr, linear maps"]["mean"]
        for row in found["information"]["rows"]
    }
    own = {row["model"]: row["own category, best other"] for row in found["mismatches"]["rows"]}
    changed = {
        row["setting"]: row["figures"]["mrr, cosine of theta"]["mean"] for row in found["ablations"]["rows"]
    }
    own, changed = defaultdict(lambda: nan, own), defaultdict(lambda: nan, changed)
    met = sum(summary["goals"].values())
    return {
        "baseline_mrr": summary["baseline_mrr"],
        "together_mrr": details["mrr"]["baselines together"]["mean"],
        "teacher_mrr": summary["text_teacher_mrr"],
        "space_mrr": details["mrr"]["shared space"]["mean"],
        "one_mrr": details["mrr"]["one member posterior"]["mean"],
        "posterior_mrr": summary["vtm_plus_posterior_mrr"],
        "top10_mrr": summary["vtm_plus_top10_mrr"],
        "top10_share": summary["vtm_plus_top10_mrr"] / summary["baseline_mrr"],
        "fusion_mrr": summary["fusion_mrr"],
        "space_fusion_mrr": details["mrr"]["fusion with the space"]["mean"],
        "plain_mrr": changed["plain"],
        "wide_mrr": changed["hidden: (400,)"],
        "narrow_mrr": changed["hidden: (20, 20)"],
        "dropout_mrr": changed["teacher with dropout on"],
        "none_mrr": changed["mode: none, topics matched"],
        "kl_one_mrr": changed["KL weight: 1"],
        "topics_add": details["fusion_minus_shared_space"]["difference"],
        "topics_add_low": details["fusion_minus_shared_space"]["low"],
        "topics_add_high": details["fusion_minus_shared_space"]["high"],
        "posterior_low": details["minus_baseline"]["posterior"]["low"],
        "posterior_high": details["minus_baseline"]["posterior"]["high"],
        "fusion_low": summary["fusion_minus_baseline_mrr_ci"][0],
        "fusion_high": summary["fusion_minus_baseline_mrr_ci"][1],
        "goals_met": str(met),
        "goals_all": str(len(summary["goals"])),
        "k": str(details["plus"]["n_topics"]),
        "members": str(details["plus"]["members"]),
        "n_seeds": str(len(summary["seeds"])),
        "embedding_mrr": steps["text-teacher", "embedding"],
        "hidden_mrr": steps["text-teacher", "hidden layer"],
        "mu_mrr": steps["text-teacher", "mu"],
        "theta_mrr": steps["text-teacher", "theta"],
        "plus_theta_mrr": steps["VTM+", "theta"],
        "category_baseline": own["baseline"],
        "category_teacher": own["text-teacher"],
        "category_top10": own["VTM+, ten largest topics"],
        "category_plus": own["VTM+"],
        "peers_sentence": peers_sentence(found["peers"]),
        "one_word_mrr": changed["texts cut to 1 word"],
        "two_words_mrr": changed["texts cut to 2 words"],
        "four_words_mrr": changed["texts cut to 4 words"],
        "aligned_mrr": changed["aligned (linear)"],
    }
