"""The study's chapter: tables and numbers of the stored result files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import MissingError
from vtm.files import read_sealed
from vtm.paths import checkout
from vtm.runs import frame

if TYPE_CHECKING:
    import pandas as pd

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
NB = "\u00a0"


def stored(folder: Path | str | None = None) -> dict[str, dict[str, Any]]:
    """The parts of a study that `vtm.study.run` wrote; by default those that come with the source.

    Raises
    ------
    MissingError
        There is no summary.
    """
    if folder is None:
        folder = (checkout() or Path()) / "results" / "study"
    folder = Path(folder)
    if not (folder / "summary.json").is_file():
        raise MissingError(
            f"{folder}/summary.json: no study there; `vtm reproduce --profile study` makes one"
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
        mrr = details["mrr"][name]
        versus = details["minus_baseline"].get(name)
        sd = f" ±{NB}{mrr['sd']:.3f}" if mrr["n"] > 1 else ""
        lines.append(
            {
                "": label,
                "MRR@100": f"{mrr['mean']:.3f}{sd} [{mrr['interval'][0]:.3f}, {mrr['interval'][1]:.3f}]",
                "minus baseline": _difference(versus) if versus else "–",
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
                "difference [95 %]": _difference(details[test], digits=4),
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


def candidates_table(validation: dict[str, Any]) -> pd.DataFrame:
    """The chosen setting of VTM+ and each other one that was tried, on the validation part."""
    columns = {
        "posterior": "posterior_mrr",
        "ten largest": "top10_mrr",
        "NPMI": "npmi",
        "diversity": "diversity",
        "keyword hits": "keyword_hit_rate",
    }
    return frame(
        [
            {"setting": row["setting"]} | {label: _spread(row[key]) for label, key in columns.items()}
            for row in validation["rows"]
        ],
        "setting",
    )


def contrastive_table(contrastive: dict[str, Any]) -> pd.DataFrame:
    """The models trained with a contrastive loss from random weights, on the validation part."""
    columns = {
        "mu": "mu_mrr",
        "posterior": "posterior_mrr",
        "ten largest": "top10_mrr",
        "NPMI": "npmi",
        "keyword hits": "keyword_hit_rate",
    }
    return frame(
        [
            {"setting": row["setting"]} | {label: _spread(row[key]) for label, key in columns.items()}
            for row in contrastive["rows"]
        ],
        "setting",
    )


def ablations_table(ablations: dict[str, Any]) -> pd.DataFrame:
    """The plain text-teacher and each change of it, on the validation part."""
    return frame(
        [
            {
                "setting": row["setting"],
                "MRR@100": _spread(row["figures"]["mrr, cosine of theta"]),
                "minus plain [95 %]": _difference(row["minus_plain"]),
                "cosine of mu": _spread(row["figures"]["mrr, cosine of mu"]),
                "NPMI, image": _spread(row["figures"]["npmi, image"]),
                "effective topics": f"{row['figures']['effective topics']['mean']:.1f}",
            }
            for row in ablations["rows"]
        ],
        "setting",
    )


def similarities_table(ablations: dict[str, Any]) -> pd.DataFrame:
    """The plain text-teacher by each similarity, on the validation part."""
    figures = ablations["rows"][0]["figures"]
    return frame(
        [
            {"similarity": name.removeprefix("mrr, "), "MRR@100": _spread(value)}
            for name, value in figures.items()
            if name.startswith("mrr, ")
        ],
        "similarity",
    )


def information_table(information: dict[str, Any]) -> pd.DataFrame:
    """What is left at each step, on the validation part."""
    columns = {
        "MRR, as it is": "mrr, as it is",
        "MRR, linear maps": "mrr, linear maps",
        "category, text": "category, text",
        "category, picture": "category, image",
        "effective topics": "effective topics",
    }
    return frame(
        [
            {"step": f"{row['model']}: {row['step']}"}
            | {
                label: _spread(row["figures"][key]) if key in row["figures"] else "–"
                for label, key in columns.items()
            }
            for row in information["rows"]
        ],
        "step",
    )


def mismatches_table(mismatches: dict[str, Any]) -> pd.DataFrame:
    """How often wrong pictures are at least of the text's own category, on the test part."""
    return frame(
        [
            {
                "": row["model"],
                "first picture is wrong": f"{row['mismatches']:.1%}",
                "of these, own category": f"{row['own category, mismatches']:.1%}",
                "best other picture, own category": (
                    f"{row['own category, best other']:.1%} [{row['interval'][0]:.1%}, {row['interval'][1]:.1%}]"
                ),
                "minus baseline": _difference(row["minus_baseline"]),
            }
            for row in mismatches["rows"]
        ]
    )


def numbers(found: dict[str, dict[str, Any]]) -> dict[str, float | str]:
    """The numbers that the chapter's prose quotes."""
    summary = found["summary"]
    details = summary["details"]
    steps = {
        (row["model"], row["step"]): row["figures"]["mrr, linear maps"]["mean"]
        for row in found["information"]["rows"]
    }
    wrong = {row["model"]: row for row in found["mismatches"]["rows"]}
    changed = {
        row["setting"]: row["figures"]["mrr, cosine of theta"]["mean"] for row in found["ablations"]["rows"]
    }
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
        "category_baseline": wrong["baseline"]["own category, best other"],
        "category_teacher": wrong["text-teacher"]["own category, best other"],
        "category_top10": wrong["VTM+, ten largest topics"]["own category, best other"],
        "category_plus": wrong["VTM+"]["own category, best other"],
    }


def _difference(test: dict[str, float], *, digits: int = 3) -> str:
    return f"{test['difference']:+.{digits}f} [{test['low']:+.{digits}f}, {test['high']:+.{digits}f}]"


def _spread(value: dict[str, float]) -> str:
    sd = "" if value["sd"] is None else f" ±{NB}{value['sd']:.3f}"
    return f"{value['mean']:.3f}{sd}"
