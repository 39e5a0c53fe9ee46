"""The study's figures, from the stored result files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vtm.figures import COLOURS, grid_of_axes
from vtm.study.report import NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ranking_figure(summary: dict[str, Any]) -> Figure:
    """MRR@100 of all rankings with intervals over test items; the line is the baseline."""
    figure, grid = grid_of_axes(1, 1, width=7, height=3.4)
    axes = grid[0][0]
    mrr = summary["details"]["mrr"]
    for place, name in enumerate(NAMES):
        own = name in ("posterior", "top10", "fusion")
        axes.barh(place, mrr[name]["mean"], color=COLOURS[2] if own else COLOURS[1], height=0.6)
        axes.plot(mrr[name]["interval"], [place, place], color=COLOURS[0], linewidth=2)
    axes.axvline(mrr["baseline"]["mean"], color=COLOURS[0], linewidth=1, linestyle="--")
    axes.set_yticks(range(len(NAMES)), NAMES.values())
    axes.invert_yaxis()
    axes.set(xlabel="MRR@100, test part")
    return figure


def information_figure(information: dict[str, Any]) -> Figure:
    """What linear maps can still rank at each step."""
    figure, grid = grid_of_axes(1, 1, width=7, height=3.2)
    axes = grid[0][0]
    for position, model in enumerate(dict.fromkeys(row["model"] for row in information["rows"])):
        # The shared space is itself two maps fitted on the training part: fitted once more, they only lose.
        rows = [row for row in information["rows"] if row["model"] == model and row["step"] != "shared space"]
        axes.plot(
            [row["step"] for row in rows],
            [row["figures"]["mrr, linear maps"]["mean"] for row in rows],
            "o-" if position == 0 else "s--",
            color=COLOURS[1 + position],
            label=model,
        )
    axes.set(ylabel="MRR@100 after linear maps", ylim=(0, None))
    axes.tick_params(axis="x", rotation=20)
    axes.legend(frameon=False)
    return figure
