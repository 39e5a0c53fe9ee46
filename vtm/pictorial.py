"""Figures that show pictures: topics with their pictures, the paper's Figure 1, contact sheets."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtm.errors import VtmError
from vtm.figures import grid_of_axes
from vtm.pictures import open_picture
from vtm.ranking import top_items
from vtm.report import CONTRASTIVE
from vtm.results import Result
from vtm.seeds import numpy_generator
from vtm.theta_metrics import topic_agreement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_SIZE = 128


def draw_ids(ids: Sequence[str], *, n: int, seed: int) -> list[str]:
    """n of the ids, drawn with a seed, in sorted order."""
    order = numpy_generator(seed, "shown pairs").permutation(len(ids))[:n]
    return sorted(ids[row] for row in order)


def contact_sheet(pictures: Sequence[Path], captions: Sequence[str], *, columns: int = 6) -> Figure:
    """Pictures with captions, in lines of `columns`."""
    figure, grid = grid_of_axes(-(-len(pictures) // columns), columns, width=1.6, height=2.1)
    flat = [axes for line in grid for axes in line]
    for axes, picture, caption in zip(flat, pictures, captions, strict=False):
        _show(axes, picture)
        axes.set_title(textwrap.fill(caption, 24, max_lines=3, placeholder=" …"), fontsize=6)
    for axes in flat[len(pictures) :]:
        axes.axis("off")
    figure.tight_layout()
    return figure


def best_topics(run: Result, *, n: int = 6, part: str = "test") -> list[int]:
    """The n topics that text and picture agree on most (correlation over the part's pairs), best first.

    A rule, not a choice by eye. Of topics that are the largest in less than 1 % of the pictures nothing could be
    shown but their one or two pictures; they come last.
    """
    text, image = run.text(part), run.image(part)
    agreement = np.diag(topic_agreement(text, image)).copy()
    share = np.bincount(image.argmax(axis=1), minlength=image.shape[1]) / len(image)
    agreement[share < 0.01] -= 2.0
    return [int(k) for k in np.argsort(-agreement, kind="stable")[:n]]


def topics_with_pictures(
    run: Result,
    pictures: dict[str, Path],
    topics: Sequence[int],
    *,
    columns: int = 6,
    words: int = 8,
    part: str = "test",
) -> Figure:
    """A line for each topic: its keywords, and the pictures in which it is largest.

    Parameters
    ----------
    pictures : id -> file.
    """
    ids, theta = run.ids[part], run.image(part)
    figure, grid = grid_of_axes(len(topics), columns, width=1.45, height=1.75)
    for line, topic in zip(grid, topics, strict=True):
        for axes, row in zip(line, np.argsort(-theta[:, topic], kind="stable")[:columns], strict=False):
            _show(axes, pictures[ids[row]])
            axes.set_title(f"{theta[row, topic]:.2f}", fontsize=7, pad=2)
        line[0].annotate(
            f"topic {topic}: " + ", ".join(run.topics["image"][topic][:words]),
            (0, 1.24),
            xycoords="axes fraction",
            fontsize=8,
            weight="bold",
        )
        for axes in line[theta.shape[0] :]:
            axes.axis("off")
    figure.subplots_adjust(hspace=0.5, wspace=0.05)
    return figure


def figure_1_texts(
    run: Result,
    groups: Sequence[str] | None,
    *,
    n: int = 8,
    seed: int = 0,
    part: str = "test",
) -> list[str]:
    """Texts for Figure 1, by a rule: drawn with a seed from all test texts, at most one of each gold category."""
    ids = run.ids[part]
    order = numpy_generator(seed, "figure 1").permutation(len(ids))
    chosen, seen = [], set()
    for row in order:
        group = groups[row] if groups is not None else ids[row]
        if group not in seen:
            seen.add(group)
            chosen.append(ids[row])
        if len(chosen) == n:
            break
    return chosen


def figure_1(
    baseline: Result,
    run: Result,
    texts: dict[str, str],
    pictures: dict[str, Path],
    chosen: Sequence[str],
    *,
    name: str = CONTRASTIVE,
    part: str = "test",
) -> Figure:
    """The paper's Figure 1: for each text the first and second picture of the baseline and of the topic model.

    The text's own picture stands beside it; where a method found it, it has a frame.
    """
    figure, grid = grid_of_axes(len(chosen), 6, width=1.75, height=1.9)
    tops = [
        top_items(r.text(part), r.image(part), r.ids[part], k=2, measure=r.measure)[0]
        for r in (baseline, run)
    ]
    row_of = {i: row for row, i in enumerate(run.ids[part])}
    topics = run.topics["text"]
    for line, text_id in zip(grid, chosen, strict=True):
        row = row_of[text_id]
        largest = int(run.text(part)[row].argmax())
        words = ", ".join(topics[largest][:5])
        caption = textwrap.fill(texts[text_id], 30, max_lines=6, placeholder=" …")
        line[0].text(0, 0.98, f"{caption}\n\n", fontsize=7, va="top", wrap=True)
        line[0].text(0, 0.02, textwrap.fill(f"topic: {words}", 32), fontsize=7, va="bottom", style="italic")
        _show(line[1], pictures[text_id])
        for method, top in enumerate(tops):
            for place in range(2):
                axes = line[2 + 2 * method + place]
                found = run.ids[part][top[row, place]]
                _show(axes, pictures[found], frame=found == text_id)
        line[0].axis("off")
    headings = ("text", "its own picture", f"{name}:\nfirst", "second", f"{run.name}:\nfirst", "second")
    for axes, heading in zip(grid[0], headings, strict=True):
        axes.set_title(heading, fontsize=8)
    figure.tight_layout()
    return figure


def _show(axes, path: Path, *, frame: bool = False) -> None:
    try:
        axes.imshow(np.asarray(open_picture(path, size=PICTURE_SIZE)))
    except VtmError:
        axes.text(0.5, 0.5, "unreadable", ha="center", fontsize=7)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    # A thin line shows where a picture ends that is as white as the page.
    for spine in axes.spines.values():
        spine.set_linewidth(3 if frame else 0.5)
        spine.set_color("#D55E00" if frame else "#BBBBBB")
