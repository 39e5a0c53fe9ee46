"""Figures of the book, made from results: charts by matplotlib, and Figure 1 as a table of texts and pictures."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtm.config import numpy_generator
from vtm.corpora.pictures import open_picture
from vtm.errors import VtmError, storable
from vtm.experiment.results import Result, by_row, healthy
from vtm.files import atomic_path
from vtm.metrics.ranking import top_items
from vtm.metrics.topics import topic_agreement
from vtm.report.contact import check_suffix, html_picture
from vtm.report.tables import CONTRASTIVE, row_label

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from vtm.api import SharesOver
    from vtm.model.health import SizeTried


# Okabe and Ito's colours, told apart by the colour-blind; each row also has its own line style and marker.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))


def style() -> None:
    """The book's style of plots and tables; call once, before the first of them."""
    import matplotlib
    import pandas
    import seaborn
    from IPython import get_ipython
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    pandas.options.display.max_colwidth = None  # a cut cell tells nothing

    seaborn.set_theme(style="whitegrid", context="notebook", palette=COLOURS)
    matplotlib.rcParams |= {
        "figure.dpi": 110,
        "savefig.bbox": "tight",
        "axes.titlesize": "medium",
        "svg.hashsalt": "vtm",
        # Captions come from data: two dollar signs in one are no formula, and a wrong formula would be an error.
        "text.parse_math": False,
    }
    if get_ipython() is not None:
        # Sharp at any size; without the time of drawing, the same figure is the same file.
        set_matplotlib_formats("svg", metadata={"Date": None})


def check_drawing(path: Path) -> None:
    """Raise ConfigError unless a figure can be written to `path`."""
    check_suffix(path, (".svg", ".png"))


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as SVG or PNG, by the suffix of `path`; the same figure is the same file."""
    import matplotlib

    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
    with atomic_path(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "vtm"}):
        figure.savefig(temporary, format=path.suffix[1:].lower(), metadata=metadata)


def plain_numbers(axis: Axis, *, at: Sequence[int] = ()) -> None:
    """Label a logarithmic axis with numbers; by default they are formulas, which are not drawn as such (`style`).

    at : the multiples of each power of ten that are labelled, such as (1, 2, 5); without it, as many as there is room for.
    """
    from matplotlib.ticker import FuncFormatter, LogFormatter, LogLocator, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1, 0.4)))
    if at:
        axis.set_major_locator(LogLocator(subs=at))
        axis.set_minor_formatter(NullFormatter())


def _line(position: int) -> dict[str, object]:
    """Colour and style of the line of a row, or of a seed, by its place."""
    return {"color": COLOURS[position % len(COLOURS)], "linestyle": STYLES[position % len(STYLES)]}


def recall_curves(results: Sequence[Result], *, baseline: str = CONTRASTIVE, best: str = "") -> Figure:
    """Recall at every depth, mean over healthy runs with the range of the seeds as a band, and chance.

    best : a row, such as "joint 120"; the depth from which its curve and the baseline's have changed sides is marked.
    """
    figure, axes = _axes(5.2, 4.2)
    n_items = len(results[0].ids["test"])
    depth = np.arange(1, min(n_items, 200) + 1)
    curves = {}
    for position, (name, runs) in enumerate(by_row(results).items()):
        if not healthy(runs):
            continue
        recall = recall_by_depth(runs, depth)  # (S, depth)
        curves[name] = recall.mean(axis=0)
        line = _line(position)
        axes.plot(depth, curves[name], **line, label=row_label(runs[0].row, runs[0].n_topics, baseline))
        low, high = recall.min(axis=0), recall.max(axis=0)
        axes.fill_between(depth, low, high, color=line["color"], alpha=0.15, linewidth=0)
    axes.plot(depth, depth / n_items, color="#777777", linewidth=1, label="chance")
    if best in curves and "baseline" in curves and (at := crossing(curves["baseline"], curves[best])):
        height = curves[best][at - 1]
        leader = best if curves[best][at - 1] > curves["baseline"][at - 1] else "the baseline"
        axes.plot(at, height, "o", color="#000000", fillstyle="none", markersize=9)
        axes.annotate(
            f"from picture {at} on\n{leader} leads",
            (at, height),
            xytext=(12, -34) if height > 0.3 else (-70, 24),
            textcoords="offset points",
            fontsize="small",
            arrowprops={"arrowstyle": "-", "color": "#333333"},
        )
    axes.set(
        xscale="log",
        xlabel=f"depth of the list, of {n_items} pictures",
        ylabel="recall",
        ylim=(0, 1),
        xlim=(1, depth[-1]),
    )
    plain_numbers(axes.xaxis)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2, fontsize="small")
    return figure


def recall_by_depth(runs: Sequence[Result], depth: np.ndarray) -> np.ndarray:
    """Share of texts with their picture among the first `depth`, (S, len(depth)), of healthy runs."""
    return np.stack([(run.ranks()[:, None] <= depth).mean(axis=0) for run in healthy(runs)])


def crossing(first: np.ndarray, second: np.ndarray) -> int | None:
    """The depth, counted from 1, from which the curve that was behind at first stays ahead; None where none does so."""
    ahead = np.sign(np.asarray(second) - np.asarray(first))
    led = ahead[ahead != 0]
    if not led.size or led[0] == led[-1]:
        return None
    return int(np.flatnonzero(ahead != led[-1])[-1]) + 2 if ahead[-1] == led[-1] else None


def training_curves(results: Sequence[Result]) -> Figure:
    """Losses by epoch of every run: reconstruction and KL on the training part, reconstruction on validation."""
    rows = by_row(results)
    panels = (
        ("reconstruction", "reconstruction, training"),
        ("kl", "KL, training"),
        ("validation_reconstruction", "reconstruction, validation"),
    )
    roles = [r for r in ("teacher", "text", "image") if any(r in run.history for run in results)]
    figure, grid = grid_of_axes(len(rows), len(panels), width=3.4, height=2.6)
    for line, (name, runs) in zip(grid, rows.items(), strict=True):
        for axes, (key, title) in zip(line, panels, strict=True):
            for position, role in enumerate(roles):
                if role == "text" and runs[0].row == "text-teacher":
                    continue  # the teacher itself
                for index, run in enumerate(runs):
                    curve = run.history[role][key]
                    axes.plot(
                        range(1, len(curve) + 1),
                        curve,
                        color=COLOURS[position + 1],
                        linestyle=STYLES[position],
                        linewidth=1.2,
                        label=role if index == 0 else None,
                    )
            axes.set_title(f"{name}\n{title}", fontsize="small")
            axes.set(xlabel="epoch", ylabel="nats a document")
            if key == "kl":
                axes.set_yscale("log")
                plain_numbers(axes.yaxis, at=(1, 2, 5))
    grid[0][0].legend(frameon=False, fontsize="small")
    figure.tight_layout()
    return figure


def alignment_curves(results: Sequence[Result]) -> Figure:
    """The contrastive baseline's validation MRR@100 by epoch, one line a seed.

    The cosine of an aligned encoder has no curve; its validation MRR@100 is drawn as a level.
    """
    figure, axes = _axes(6, 3.2)
    for position, run in enumerate(results):
        if "baseline" not in run.history:
            axes.axhline(
                run.figures["validation_mrr_100"], color=COLOURS[0], label="cosine, nothing to learn"
            )
            continue
        curve = run.history["baseline"]["validation_mrr_100"]
        axes.plot(range(1, len(curve) + 1), curve, **_line(position), label=f"seed {run.seed}")
        best = int(np.argmax(curve))
        axes.plot(best + 1, curve[best], "o", color=_line(position)["color"])
    axes.set(xlabel="epoch", ylabel="MRR@100, validation")
    axes.legend(frameon=False)
    return figure


def topic_mass(results: Sequence[Result]) -> Figure:
    """How much of a document's probability its ten largest topics carry, for pictures and for texts."""
    figure, grid = grid_of_axes(1, 2, width=4.2, height=3.6)
    for axes, reads in zip(grid[0], ("image", "text"), strict=True):
        for position, (name, runs) in enumerate(by_row(results).items()):
            good = healthy(runs)
            if runs[0].n_topics == 0 or not good:
                continue
            theta = np.stack([getattr(run, reads)() for run in good])  # (S, n, K)
            mass = np.cumsum(-np.sort(-theta, axis=2), axis=2).mean(axis=(0, 1))[:10]
            axes.plot(range(1, len(mass) + 1), mass, **_line(position), marker="o", markersize=3, label=name)
        axes.set(xlabel="largest topics", ylabel="share of probability", ylim=(0, 1), title=f"{reads}s")
    grid[0][0].legend(frameon=False, fontsize="small")
    figure.tight_layout()
    return figure


def agreement_heatmap(run: Result) -> Figure:
    """Correlation over documents between text topic i and image topic j, for the 30 topics of most weight."""
    import seaborn

    text, image = run.text(), run.image()
    order = np.argsort(-(text + image).sum(axis=0), kind="stable")[:30]
    figure, axes = _axes(6.2, 5.2)
    seaborn.heatmap(
        topic_agreement(text, image)[np.ix_(order, order)],
        ax=axes,
        vmin=-1,
        vmax=1,
        cmap="PuOr_r",
        square=True,
        xticklabels=order,
        yticklabels=order,
        cbar_kws={"label": "correlation"},
    )
    axes.tick_params(labelsize=6)
    axes.set(xlabel="topic, read from the picture", ylabel="topic, read from the text")
    return figure


def group_sizes(train: Sequence[str] | None, test: Sequence[str] | None) -> Figure:
    """Bars: pairs of each gold category in two parts; an empty figure where the corpus has none."""
    from collections import Counter

    if train is None or test is None:
        figure, axes = _axes(5, 1)
        axes.text(0.5, 0.5, "This corpus has no gold categories.", ha="center", va="center")
        axes.axis("off")
        return figure
    counts = Counter(train), Counter(test)
    names = [name for name, _ in counts[0].most_common()] + sorted(set(counts[1]) - set(counts[0]))
    figure, axes = _axes(7, max(2.0, 0.26 * len(names)))
    place = np.arange(len(names))
    for shift, (part, count) in enumerate(zip(("train", "test"), counts, strict=True)):
        axes.barh(
            place + 0.4 * shift,
            [count[name] for name in names],
            height=0.4,
            color=COLOURS[1 + shift],
            label=part,
        )
    axes.set_yticks(place + 0.2, names)
    axes.invert_yaxis()
    axes.set(xlabel="pairs")
    axes.legend(frameon=False, loc="lower right")  # where the bars of the smallest categories leave room
    return figure


def settings_chart(rows: Sequence[dict]) -> Figure:
    """Validation MRR@100 by KL weight, a panel for each kind, a line for raw and for standardized embeddings."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    weights = sorted({row["kl_weight"] for row in rows})
    figure, grid = grid_of_axes(1, len(kinds), width=4.2, height=3.4)
    for axes, kind in zip(grid[0], kinds, strict=True):
        for position, standardize in enumerate((True, False)):
            mine = [row for row in rows if row["kind"] == kind and row["standardize"] == standardize]
            axes.errorbar(
                [row["kl_weight"] for row in mine],
                [row["mrr"] for row in mine],
                yerr=[0.0 if np.isnan(row["sd"]) else row["sd"] for row in mine],
                color=COLOURS[position + 1],
                linestyle=STYLES[position],
                marker="os"[position],
                capsize=3,
                label="standardized" if standardize else "raw",
            )
        axes.axhline(rows[0]["chance"], color="#777777", linewidth=1, label="chance")
        axes.set(
            xscale="log",
            title=kind,
            xlabel="weight of the KL term",
            ylabel="MRR@100, validation",
            ylim=(0, None),
        )
        axes.set_xticks(weights, [f"{weight:g}" for weight in weights])
        axes.set_xticks([], minor=True)
    grid[0][-1].legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def sizes_chart(tried: Sequence[SizeTried], chosen: int) -> Figure:
    """What each number of topics is worth: match, coherence, intrusion and stability, with the spread of seeds."""
    figure, grid = grid_of_axes(1, 4, width=3.2, height=3.0)
    sizes = [one.n_topics for one in tried]
    panels = {
        "match (MRR by topics)": [one.reciprocal.mean(axis=1) for one in tried],
        "coherence (NPMI)": [one.coherence.mean(axis=1) for one in tried],
        "intruders found": [one.intrusion.mean(axis=1) for one in tried],
        "stability over seeds": [np.array([one.stability]) for one in tried],
    }
    for position, (axes, (title, values)) in enumerate(zip(grid[0], panels.items(), strict=True)):
        mean = [value.mean() for value in values]
        spread = [value.std(ddof=1) if len(value) > 1 else 0.0 for value in values]
        axes.errorbar(sizes, mean, yerr=spread, color=COLOURS[1], marker="o", capsize=3)
        axes.axvline(
            chosen, color=COLOURS[2], linestyle="--", label=f"{chosen} topics" if position == 0 else None
        )
        axes.set(xscale="log", title=title, xlabel="topics")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xticks([], minor=True)
    grid[0][0].legend(frameon=False, fontsize="small")
    figure.tight_layout()
    return figure


MOST_PANELS = 12
MOST_GROUPS = 40


def shares_chart(found: SharesOver, names: Sequence[str]) -> Figure:
    """The share of topics over periods or groups with their intervals, a panel each: the 12 whose share differs most.

    Of more than 40 groups those with most pictures are drawn, and the figure says so.
    """
    n_found, most = len(found.labels), np.argsort(-found.n, kind="stable")[:MOST_GROUPS]
    if found.unit == "group" and n_found > MOST_GROUPS:
        kept, figures = np.sort(most), ("n", "share", "low", "high")
        found = replace(
            found,
            labels=tuple(found.labels[row] for row in kept),
            **{name: getattr(found, name)[kept] for name in figures},
        )
    place, by_time = np.arange(len(found.labels)), found.unit != "group"
    if by_time:  # years and months without pictures take their place on the axis
        parts = [[int(part) for part in label.split("-")] for label in found.labels]
        place = np.array([part[0] + (part[1] - 1) / 12 if len(part) > 1 else part[0] for part in parts])
    shown = np.argsort(-np.ptp(found.share, axis=0), kind="stable")[:MOST_PANELS]
    columns = min(len(shown), 3)
    height = 2.2 if by_time else max(1.6, 0.24 * len(place) + 0.8)
    figure, grid = grid_of_axes(-(-len(shown) // columns), columns, width=3.6, height=height)
    panels = [axes for line in grid for axes in line]
    ticks = place[:: -(-len(place) // 5)] if by_time else place
    for axes, k in zip(panels, shown, strict=False):
        share, low, high = (100 * part[:, k] for part in (found.share, found.low, found.high))
        # An interval may lie beside the mean by rounding; of a single picture there is none.
        error = np.nan_to_num(np.maximum([share - low, high - share], 0))
        if by_time:
            axes.errorbar(place, share, yerr=error, color=COLOURS[1], marker="o", markersize=3, capsize=2)
            axes.set_xticks(ticks, [found.labels[row] for row in np.searchsorted(place, ticks)])
            axes.set(ylim=(0, None), ylabel="% of pictures")
        else:
            axes.barh(place, share, xerr=error, color=COLOURS[1], ecolor=COLOURS[0], capsize=2)
            axes.set_yticks(place, found.labels)
            axes.invert_yaxis()
            axes.set(xlim=(0, None), xlabel="% of pictures")
        axes.set_title(textwrap.fill(names[k], 40, max_lines=2, placeholder=" …"), fontsize="small")
        axes.tick_params(labelsize="small")
    for axes in panels[len(shown) :]:
        axes.axis("off")
    if len(found.labels) < n_found:
        figure.suptitle(f"the {len(found.labels)} groups with most pictures, of {n_found}", fontsize="small")
    figure.tight_layout()
    return figure


def _axes(width: float, height: float):
    figure, grid = grid_of_axes(1, 1, width=width, height=height)
    return figure, grid[0][0]


def grid_of_axes(lines: int, columns: int, *, width: float, height: float):
    """A closed figure with a grid of axes, lines by columns; each axes `width` by `height` inches."""
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(lines, columns, figsize=(width * columns, height * lines), squeeze=False)
    pyplot.close(figure)  # a notebook would show an open figure a second time
    return figure, grid


PICTURE_SIZE = 128
DRAWN = 96  # side of a picture of Figure 1 on the page, which holds twice as many pixels


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


def best_topics(run: Result, *, n: int = 6) -> list[int]:
    """The n topics that text and picture agree on most (correlation over the test pairs), best first.

    A rule, not a choice by eye. Of topics that are the largest in less than 1 % of the pictures nothing could be
    shown but their one or two pictures; they come last.
    """
    text, image = run.text(), run.image()
    agreement = np.diag(topic_agreement(text, image)).copy()
    share = np.bincount(image.argmax(axis=1), minlength=image.shape[1]) / len(image)
    agreement[share < 0.01] -= 2.0
    return [int(k) for k in np.argsort(-agreement, kind="stable")[:n]]


def topics_with_pictures(run: Result, pictures: dict[str, Path], topics: Sequence[int]) -> Figure:
    """A line for each topic: its keywords, and the six pictures in which it is largest.

    Parameters
    ----------
    pictures : id -> file.
    """
    ids, theta = run.ids["test"], run.image()
    figure, grid = grid_of_axes(len(topics), 6, width=1.45, height=1.75)
    for line, topic in zip(grid, topics, strict=True):
        for axes, row in zip(line, np.argsort(-theta[:, topic], kind="stable")[:6], strict=False):
            _show(axes, pictures[ids[row]])
            axes.set_title(f"{theta[row, topic]:.2f}", fontsize=7, pad=2)
        line[0].annotate(
            f"topic {topic}: " + ", ".join(run.topics["image"][topic][:8]),
            (0, 1.24),
            xycoords="axes fraction",
            fontsize=8,
            weight="bold",
        )
        for axes in line[theta.shape[0] :]:
            axes.axis("off")
    figure.subplots_adjust(hspace=0.5, wspace=0.05)
    return figure


# What a method puts first for a text, and what Figure 1 calls it.
OUTCOMES = {
    "found": "The text's own picture",
    "right_topic": "Wrong picture, right topic: another one of the text's category",
    "failed": "Plain failure: a picture of another category",
}


def outcomes(run: Result, groups: Sequence[str] | None) -> dict[str, list[int]]:
    """Test texts (their rows) by the picture that the run ranks first: their own, another of their category, or neither.

    Parameters
    ----------
    groups : gold categories of the test pairs; where a corpus has none, the largest topic of text and picture counts.
    """
    top, _ = top_items(run.text(), run.image(), run.ids["test"], k=1, measure=run.measure)
    first, own = top[:, 0], np.arange(len(top))
    gold = None if groups is None else np.asarray(groups)
    of_text = run.text().argmax(axis=1) if gold is None else gold
    of_picture = run.image().argmax(axis=1) if gold is None else gold
    found, same = first == own, of_text == of_picture[first]
    masks = (found, ~found & same, ~found & ~same)
    return {name: np.flatnonzero(mask).tolist() for name, mask in zip(OUTCOMES, masks, strict=True)}


def figure_1(
    baseline: Result,
    run: Result,
    texts: dict[str, str],
    pictures: dict[str, Path],
    groups: Sequence[str] | None,
    *,
    name: str = CONTRASTIVE,
    n: int = 3,
    seed: int = 0,
) -> HTML:
    """The paper's Figure 1 as a table: texts, their own pictures, and the first two of the baseline and of the topic model.

    A rule picks the texts: of each of the `outcomes` of `run`, n are drawn with the seed, at most one of a category.

    Parameters
    ----------
    texts, pictures : by id.
    groups : gold categories of the test pairs, or None.
    name : what the baseline is called.
    """
    from IPython.display import HTML

    ids = run.ids["test"]
    tops = [top_items(r.text(), r.image(), r.ids["test"], k=2, measure=r.measure)[0] for r in (baseline, run)]
    largest = run.text().argmax(axis=1)
    category = dict(enumerate(groups if groups is not None else [""] * len(ids)))

    def cell(found: int, *, own: bool = False) -> str:
        shown = html_picture(pictures[ids[found]], _short(texts[ids[found]], 80), 2 * DRAWN, drawn=DRAWN)
        # A folder's name, such as signs_and_symbols, may be wider than its picture.
        below = html.escape("its own" if own else storable(category[found])).replace("_", "_<wbr>")
        frame = f"border: {'3px solid #D55E00' if own else '1px solid #BBBBBB'}; display: inline-block"
        return f'<td><span style="{frame}">{shown or "unreadable"}</span><br><small>{below}</small></td>'

    lines = []
    for outcome, rows in outcomes(run, groups).items():
        head = f"{OUTCOMES[outcome]} ({len(rows) / len(ids):.0%} of the test texts)"
        lines.append(f'<tr><th colspan="6" scope="rowgroup"><span>{head}</span></th></tr>')
        drawn: dict[str, int] = {}
        for row in map(int, numpy_generator(seed, f"figure 1, {outcome}").permutation(rows)):
            drawn.setdefault(category[row] or ids[row], row)
        for row in list(drawn.values())[:n]:
            words = ", ".join(run.topics["text"][largest[row]][:5])
            about = f"{html.escape(_short(texts[ids[row]], 200))}<br><em>topic: {html.escape(words)}</em>"
            cells = [
                cell(row),
                *(cell(found, own=found == row) for top in tops for found in map(int, top[row])),
            ]
            lines.append(f'<tr><th scope="row" style="font-weight: normal">{about}</th>{"".join(cells)}</tr>')
    names = ("text", "its own picture", f"{name}: first", "second", f"{run.name}: first", "second")
    heads = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in names)
    return HTML(
        f'<table class="dataframe examples"><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    )


def _short(text: str, most: int) -> str:
    return textwrap.shorten(storable(text), most, placeholder=" …")


def _show(axes, path: Path) -> None:
    try:
        axes.imshow(np.asarray(open_picture(path, size=PICTURE_SIZE)))
    except VtmError:
        axes.text(0.5, 0.5, "unreadable", ha="center", fontsize=7)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    # A thin line shows where a picture ends that is as white as the page.
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
        spine.set_color("#BBBBBB")
