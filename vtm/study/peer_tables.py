"""The study's tables of other models, from the stored result file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vtm.runs import frame
from vtm.study.cells import difference_cell, interval_cell, p_cell, spread_cell, told
from vtm.study.comparisons import welch
from vtm.study.families import adjusted, plus_tests

VERSUS = {"text-teacher": "minus_text_teacher", "VTM+, one member": "minus_one_member"}

if TYPE_CHECKING:
    import pandas as pd


def peers_table(found: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Other models beside ours on the test part: retrieval, coherence and diversity of words and of pictures."""
    peers, holm = found["peers"], adjusted(plus_tests(found))
    figures = {
        "R@10": "recall_10",
        "NPMI": "npmi",
        "NPMI, unseen": "npmi_unseen",
        "diversity of 10": "diversity_top10",
        "IEC": "iec",
        "IEPS": "ieps",
        "keyword hits": "keyword_hits",
    }
    return frame(
        [
            {"": row["model"], "MRR@100": interval_cell(row["mrr_100"])}
            | {
                f"minus {other}{suffix}": cell
                for other, key in VERSUS.items()
                for suffix, cell in zip(
                    ("", ", p (Holm)"),
                    (difference_cell(row[key]), p_cell(holm.get(f"peers {row['model']} {key}")))
                    if key in row and row["model"] != other
                    else ("–", "–"),
                    strict=True,
                )
            }
            | {
                label: f"{row['figures'][key]['mean']:.3f}" if key in row["figures"] else "–"
                for label, key in figures.items()
            }
            | {"package": row["package"] or "–"}
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
    """Who matches better than the plain text-teacher and who worse, who was not run, and which of the models that are not
    of this book have topics more coherent than its text model's, with an interval over seeds (Welch) above 0."""
    plain = next(row for row in peers["rows"] if row["model"] == "text-teacher")
    coherence = plain["figures"]["npmi"]["mean"]
    better, worse, level, coherent, unseen = [], [], [], [], []
    for row in peers["rows"]:
        if row["model"] in ("baseline", "text-teacher"):
            continue
        name, test = model_name(row), row["minus_text_teacher"]
        verdict = better if test["low"] > 0 else worse if test["high"] < 0 else level
        verdict.append(f"{name} {row['mrr_100']['mean']:.3f}")
        if row["model"].startswith(("VTM+", "text-teacher")):
            continue
        for key, listed in (("npmi", coherent), ("npmi_unseen", unseen)):
            value = row["figures"][key]
            if told(welch(value, plain["figures"][key]), True, False, False):
                listed.append(f"{name} {value['mean']:+.3f}")
    verdicts = {"match better": better, "match worse": worse, "are not told apart from it": level}
    said = "; ".join(f"{', '.join(names)} {verdict}" for verdict, names in verdicts.items() if names)
    text = (
        f"With {peers['n_topics']} topics the plain text-teacher reaches MRR@100 {plain['mrr_100']['mean']:.3f} on "
        f"the test part. By paired intervals, {said}. The topics of the text-teacher's text model have an NPMI of "
        f"{coherence:+.3f}; other models that have more, by intervals over seeds: {', '.join(coherent) or 'none'}. On the "
        f"test texts, which no model has seen, it is {plain['figures']['npmi_unseen']['mean']:+.3f}; others that have "
        f"more: {', '.join(unseen) or 'none'}."
    )
    text += _beside_one_member(peers)
    if peers["not_run"]:
        text += f" Not run: {'; '.join(f'{name} ({why})' for name, why in peers['not_run'].items())}."
    return text


def _beside_one_member(peers: dict[str, Any]) -> str:
    """Which of the other models one member of VTM+, which has as many topics, beats."""
    better, worse, level = [], [], []
    for row in peers["rows"]:
        if "minus_one_member" in row and not row["model"].startswith(("VTM+", "baseline")):
            test = row["minus_one_member"]
            told(test, worse, better, level).append(model_name(row))
    if not better + worse + level:
        return ""
    said = (("better than", better), ("worse than", worse), ("not told apart from", level))
    return (
        " One member of VTM+ with as many topics is "
        + "; ".join(f"{how} {', '.join(names)}" for how, names in said if names)
        + "."
    )


def model_name(row: dict[str, Any]) -> str:
    """A row's model with what follows its name in brackets, so that a sentence can list it."""
    name, comma, rest = row["model"].partition(", ")
    return f"{name} ({rest})" if comma else name
