"""The study's tables of the validation part, from the stored result files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vtm.runs import frame
from vtm.study.cells import difference_cell, p_cell, spread_cell
from vtm.study.families import ablation_tests, adjusted

if TYPE_CHECKING:
    import pandas as pd


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
                label: spread_cell(row["figures"][key], digits=1 if key == "effective topics" else 3)
                if key in row["figures"]
                else "–"
                for label, key in columns.items()
            }
            for row in information["rows"]
        ],
        "step",
    )


def ablations_table(ablations: dict[str, Any]) -> pd.DataFrame:
    """The plain text-teacher and each change of it, on the validation part."""
    holm = adjusted(ablation_tests(ablations))
    return frame(
        [
            {
                "setting": row["setting"],
                "MRR@100": spread_cell(row["figures"]["mrr, cosine of theta"]),
                "minus plain [95 %]": "–"
                if row["setting"] == "plain"
                else difference_cell(row["minus_plain"]),
                "p (Holm)": p_cell(holm.get(row["setting"])),
                "cosine of mu": spread_cell(row["figures"]["mrr, cosine of mu"]),
                "NPMI, picture model": spread_cell(row["figures"]["npmi, image"]),
                "effective topics": f"{row['figures']['effective topics']['mean']:.1f}",
                "training pairs": row["n_train"],
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
            {"similarity": name.removeprefix("mrr, "), "MRR@100": spread_cell(value)}
            for name, value in figures.items()
            if name.startswith("mrr, ")
        ],
        "similarity",
    )


def candidates_table(validation: dict[str, Any]) -> pd.DataFrame:
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


def width_table(ablations: dict[str, Any]) -> pd.DataFrame:
    """Width and depth of the inference network, each with the other kept, on the validation part."""
    holm = adjusted(ablation_tests(ablations))
    return frame(
        [
            {
                "change": one["what"],
                "MRR@100": difference_cell(one["mrr"]),
                "p (Holm)": p_cell(holm.get(one["what"])),
                "NPMI, picture model": difference_cell(one["npmi"]),
            }
            for one in ablations["width_and_depth"]
        ],
        "change",
    )


def contrastive_table(contrastive: dict[str, Any]) -> pd.DataFrame:
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


def _settings_table(rows: list[dict[str, Any]], columns: dict[str, str]) -> pd.DataFrame:
    """A line for each setting, with the figures that the columns name."""
    return frame(
        [
            {"setting": row["setting"]}
            | {label: spread_cell(row[key]) if key in row else "–" for label, key in columns.items()}
            for row in rows
        ],
        "setting",
    )
