"""The study's tables of other models, from the stored result file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vtm.runs import frame
from vtm.study.cells import difference_cell, interval_cell, spread_cell

if TYPE_CHECKING:
    import pandas as pd


def peers_table(peers: dict[str, Any]) -> pd.DataFrame:
    """Other models beside ours on the test part: retrieval, coherence and diversity of words and of pictures, time."""
    figures = {
        "R@10": "recall_10",
        "NPMI": "npmi",
        "diversity": "diversity",
        "IEC": "iec",
        "IEPS": "ieps",
        "keyword hits": "keyword_hits",
    }
    return frame(
        [
            {
                "": row["model"],
                "MRR@100": interval_cell(row["mrr_100"]),
                "minus text-teacher": difference_cell(row["minus_text_teacher"])
                if "minus_text_teacher" in row and row["model"] != "text-teacher"
                else "–",
            }
            | {
                label: f"{row['figures'][key]['mean']:.3f}" if key in row["figures"] else "–"
                for label, key in figures.items()
            }
            | {"seconds a seed": f"{row['figures']['seconds']['min']:.1f}"}
            for row in peers["rows"]
        ]
    )


def tried_table(peers: dict[str, Any]) -> pd.DataFrame:
    """What was tried for each other model on the validation part, and which of it was chosen."""
    return frame(
        [
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
    )


def peers_sentence(peers: dict[str, Any]) -> str:
    """Who matches better than the plain text-teacher and who worse, whose topics are more coherent, who was not run."""
    plain = next(row for row in peers["rows"] if row["model"] == "text-teacher")
    coherence = plain["figures"]["npmi"]["mean"]
    better, worse, level, coherent = [], [], [], []
    for row in peers["rows"]:
        if row["model"] in ("baseline", "text-teacher"):
            continue
        name, test = model_name(row), row["minus_text_teacher"]
        verdict = better if test["low"] > 0 else worse if test["high"] < 0 else level
        verdict.append(f"{name} {row['mrr_100']['mean']:.3f}")
        if row["figures"]["npmi"]["mean"] > coherence:
            coherent.append(f"{name} {row['figures']['npmi']['mean']:+.3f}")
    verdicts = {"match better": better, "match worse": worse, "are not told apart from it": level}
    told = "; ".join(f"{', '.join(names)} {verdict}" for verdict, names in verdicts.items() if names)
    text = (
        f"With {peers['n_topics']} topics the plain text-teacher reaches MRR@100 {plain['mrr_100']['mean']:.3f} on "
        f"the test part. By paired intervals, {told}. The text-teacher's topics have an NPMI of {coherence:+.3f}; "
        f"those with more: {', '.join(coherent) or 'none'}."
    )
    if peers["not_run"]:
        text += f" Not run: {'; '.join(f'{name} ({why})' for name, why in peers['not_run'].items())}."
    return text


def model_name(row: dict[str, Any]) -> str:
    """A row's model with what follows its name in brackets, so that a sentence can list it."""
    name, comma, rest = row["model"].partition(", ")
    return f"{name} ({rest})" if comma else name
