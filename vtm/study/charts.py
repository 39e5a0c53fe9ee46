"""The study's figures, from the stored result files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vtm.figures import COLOURS, grid_of_axes
from vtm.study.report import names
from vtm.study.sentences import THETA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vtm.prepare import Prepared


def ranking_figure(summary: dict[str, Any]) -> Figure:
    """MRR@100 of all rankings with intervals over test items; the line is the baseline."""
    figure, grid = grid_of_axes(1, 1, width=7, height=3.4)
    axes = grid[0][0]
    mrr = summary["details"]["mrr"]
    labels = names(summary)
    for place, name in enumerate(labels):
        own = name in ("posterior", "top10", "fusion")
        axes.barh(place, mrr[name]["mean"], color=COLOURS[2] if own else COLOURS[1], height=0.6)
        axes.plot(mrr[name]["interval"], [place, place], color=COLOURS[0], linewidth=2)
    axes.axvline(mrr["baseline"]["mean"], color=COLOURS[0], linewidth=1, linestyle="--")
    axes.set_yticks(range(len(labels)), labels.values())
    axes.invert_yaxis()
    axes.set(xlabel="MRR@100, test part")
    return figure


def information_figure(information: dict[str, Any]) -> Figure:
    """What linear maps can still rank at each step."""
    figure, grid = grid_of_axes(1, 1, width=7, height=3.2)
    axes = grid[0][0]
    models = dict.fromkeys(row["model"] for row in information["rows"] if row["model"] != "control")
    for position, model in enumerate(models):
        # The shared space is itself two maps fitted on the training part: fitted once more, they only lose.
        rows = [row for row in information["rows"] if row["model"] == model and row["step"] != "shared space"]
        axes.plot(
            [row["step"] for row in rows],
            [row["figures"]["mrr, linear maps"]["mean"] for row in rows],
            "o-" if position == 0 else "s--",
            color=COLOURS[1 + position],
            label=model,
        )
    for row, style in zip(
        (r for r in information["rows"] if r["model"] == "control"), (":", "-."), strict=False
    ):
        value = row["figures"]["mrr, linear maps"]["mean"]
        axes.axhline(value, color=COLOURS[0], linewidth=1, linestyle=style, label=f"embedding, {row['step']}")
    highest = max(row["figures"]["mrr, linear maps"]["mean"] for row in information["rows"])
    axes.set(ylabel="MRR@100 after linear maps", ylim=(0, 1.1 * highest))  # no marker is cut at the edge
    axes.tick_params(axis="x", rotation=20)
    axes.legend(frameon=False)
    return figure


def sparsity_figure(ablations: dict[str, Any]) -> Figure:
    """MRR@100 of each setting of the ablations against how many topics a picture has, and how much the largest hold."""
    figure, grid = grid_of_axes(1, 2, width=4.2, height=3.2)
    rows = ablations["rows"]
    labels = {
        "effective topics": "effective topics a picture",
        "three largest": "share of its three largest topics",
    }
    for axes, (key, label) in zip(grid[0], labels.items(), strict=True):
        for row in rows:
            plain = row["setting"] == "plain"
            place = row["figures"][key]["mean"], row["figures"][THETA]["mean"]
            axes.plot(*place, "D" if plain else "o", color=COLOURS[2] if plain else COLOURS[1])
            if plain:
                axes.annotate("plain", place, xytext=(4, 4), textcoords="offset points", fontsize=8)
        axes.set(xlabel=label, ylabel="MRR@100, validation part")
    grid[0][0].set_xscale("log")
    figure.tight_layout()
    return figure


def examples_figure(mismatches: dict[str, Any], data: Prepared) -> Figure | None:
    """The stored examples of wrong first pictures: each text's own picture, and the first of VTM+ and of the baseline.

    None where there are no examples, or where these data are not those of the study.
    """
    from vtm.pictorial import contact_sheet

    pictures, texts = data.pictures, data.texts_by_id
    examples = mismatches.get("examples", [])
    if not examples or not {i for example in examples for i in example.values()} <= pictures.keys():
        return None
    group = dict(zip(data.corpus.ids, data.corpus.groups or [], strict=False))
    shown, captions = [], []
    for example in examples:
        own = example["text"]
        shown.append(pictures[own])
        captions.append(texts[own])
        for model in ("VTM+", "baseline"):
            found = example[model]
            same = "own" if group.get(found) == group.get(own) else "another"
            shown.append(pictures[found])
            captions.append(f"{model}: {same} category")
    return contact_sheet(shown, captions, columns=6)
