"""The charts: what their axes say can be read, and nothing lies upon what is drawn."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from PIL import Image

from vtm.experiment.results import Result
from vtm.report import figures

N, K = 40, 6


@pytest.fixture(autouse=True)
def book_style(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib
    import pandas

    with matplotlib.rc_context(), pandas.option_context("display.max_colwidth", 50):
        figures.style()
        yield


def run(first: float, last: float, row: str = "text-teacher") -> Result:
    """A run whose KL falls from `first` to `last`."""
    arrays = {
        f"{part}_{side}": np.random.default_rng(seed).dirichlet(np.ones(K), size=N)
        for part in ("validation", "test")
        for seed, side in enumerate(("text", "image"))
    }
    ids = [f"{i:02d}" for i in range(N)]
    curve = list(np.geomspace(first, last, 20))
    losses = {"reconstruction": curve, "kl": curve, "validation_reconstruction": curve}
    history = {role: losses for role in ("teacher", "text", "image")}
    return Result(row, K, 0, "cosine", "ok", (), {"validation": ids, "test": ids}, arrays, history=history)


def settings_rows(weights: tuple[float, ...]) -> list[dict]:
    return [
        dict(kind=kind, kl_weight=weight, standardize=scale, mrr=0.2, sd=0.01, chance=0.02)
        for kind in ("joint", "text-teacher")
        for scale in (True, False)
        for weight in weights
    ]


# Pairs of each category, as in a real corpus: a few large, many small.
TRAIN = (*(476, 189, 182, 125, 125, 115, 58, 58, 37, 35, 34), *(34, 26, 26, 21, 17, 11, 9, 8, 7, 4, 1))
TEST = (131, 41, 39, 32, 38, 41, 21, 12, 18, 14, 14, 11, 8, 8, 5, 6, 2, 4)


def categories(counts: tuple[int, ...]) -> list[str]:
    return [f"category {i:02}" for i, count in enumerate(counts) for _ in range(count)]


def labels(axis) -> list[str]:
    """What stands at an axis' ticks, major and minor, within its limits."""
    axis.figure.draw_without_rendering()
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    inside = [tick for tick in ticks if low <= tick.get_loc() <= high]
    return [text for tick in inside if (text := tick.label1.get_text())]


def logarithmic(figure: Figure) -> list:
    axes = [axis for each in figure.axes for axis in (each.xaxis, each.yaxis)]
    return [axis for axis in axes if axis.get_scale() == "log"]


@pytest.mark.parametrize(
    "figure",
    [
        lambda: figures.recall_curves([run(900, 20)]),
        lambda: figures.training_curves([run(900, 20)]),
        lambda: figures.settings_chart(settings_rows((0.03, 0.1, 0.3, 1.0))),
    ],
    ids=["recall", "training", "settings"],
)
def test_logarithmic_axes_show_numbers(figure) -> None:
    """Formulas are not drawn as such in the book, so `10^{0}` would be read as it is typed."""
    axes = logarithmic(figure())
    assert axes
    for axis in axes:
        assert labels(axis)
        assert all(float(text.replace(",", "")) > 0 for text in labels(axis)), labels(axis)


def test_settings_are_marked_at_the_weights_that_were_tried() -> None:
    for axis in logarithmic(figures.settings_chart(settings_rows((0.03, 0.1, 0.3, 1.0)))):
        assert labels(axis) == ["0.03", "0.1", "0.3", "1"]


@pytest.mark.parametrize(("first", "last"), [(900, 20), (700, 25), (2500, 50), (60, 30)])
def test_numbers_of_the_kl_axis_stand_apart(first: float, last: float) -> None:
    (axis,) = logarithmic(figures.training_curves([run(first, last)]))
    axis.figure.draw_without_rendering()
    boxes = [tick.label1.get_window_extent() for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())]
    low, high = axis.axes.get_window_extent().intervaly
    shown = sorted((b for b in boxes if b.width and low < (b.y0 + b.y1) / 2 < high), key=lambda b: b.y0)
    assert shown
    assert all(below.y1 < above.y0 for below, above in pairwise(shown))


def test_the_legend_of_the_settings_lies_upon_no_line() -> None:
    figure = figures.settings_chart(settings_rows((0.03, 0.1, 0.3, 1.0)))
    figure.draw_without_rendering()
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_the_legend_of_the_categories_stands_where_bars_are_short() -> None:
    figure = figures.group_sizes(categories(TRAIN), categories(TEST))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend = axes.get_legend().get_window_extent()
    beside = [bar.get_window_extent() for bar in axes.patches]
    beside = [bar for bar in beside if bar.y0 < legend.y1 and bar.y1 > legend.y0]
    # Marks of the legend beside the bars' ends would be taken for bars.
    assert beside and all(bar.x1 + 100 < legend.x0 for bar in beside)


@pytest.mark.parametrize("seed", range(30))
def test_a_crossing_is_where_the_curve_that_was_behind_stays_ahead(seed: int) -> None:
    """Held to a walk over all depths."""
    first, second = np.random.default_rng(seed).integers(0, 4, size=(2, 9))
    led = [b > a for a, b in zip(first, second, strict=True) if a != b]
    stays = [
        depth
        for depth in range(1, 10)
        if led
        and all(
            (b > a) if led[-1] else (a > b)
            for a, b in zip(first[depth - 1 :], second[depth - 1 :], strict=True)
        )
    ]
    expected = min(stays) if stays and led[0] != led[-1] else None
    assert figures.crossing(first, second) == expected


GROUPS = [f"kind {i % 7} <b>" for i in range(N)]


def first_picture(run: Result, row: int) -> int:
    """The most similar picture by a walk over all of them; of equals the one whose id comes first."""
    text, image = run.text()[row], run.image()
    cosine = [text @ other / np.linalg.norm(text) / np.linalg.norm(other) for other in image]
    return max(range(N), key=lambda i: (cosine[i], -i))


@pytest.mark.parametrize("groups", [GROUPS, None], ids=["gold", "no gold"])
def test_outcomes_say_what_comes_first(groups) -> None:
    tested = run(900, 20)
    found = figures.outcomes(tested, groups)
    assert sorted(row for rows in found.values() for row in rows) == list(range(N))
    assert sum(bool(rows) for rows in found.values()) == 3
    for outcome, rows in found.items():
        for row in rows:
            first = first_picture(tested, row)
            if groups:
                same = groups[first] == groups[row]
            else:
                same = tested.image()[first].argmax() == tested.text()[row].argmax()
            assert outcome == ("found" if first == row else "right_topic" if same else "failed")


def test_figure_1_draws_of_each_outcome_and_shows_what_was_found(tmp_path: Path) -> None:
    tested = run(900, 20)
    tested.topics["text"] = [[f"word{k}", "<i>"] for k in range(K)]
    ids = tested.ids["test"]
    pictures = {i: tmp_path / f"{i}.png" for i in ids}
    for number, path in enumerate(pictures.values()):
        Image.new("RGB", (40, 30), (number * 6, 0, 0)).save(path)
    texts = {i: f"text {i} <script>" for i in ids}
    arguments = (tested, tested, texts, pictures, GROUPS)
    shown = figures.figure_1(*arguments, n=2)
    assert (
        shown.data == figures.figure_1(*arguments, n=2).data != figures.figure_1(*arguments, n=2, seed=1).data
    )
    table = BeautifulSoup(shown.data, "html.parser")
    assert not table.select("script, i, b") and len(table.select("thead th")) == 6
    expected, outcome, seen = figures.outcomes(tested, GROUPS), None, set()
    heads = dict(zip(figures.OUTCOMES.values(), figures.OUTCOMES, strict=True))
    lines = []
    for line in table.select("tbody tr"):
        cells = line.find_all("td")
        if not cells:
            said, _, share = line.get_text().partition(" (")
            outcome, seen = heads[said], set()
            assert share.startswith(f"{len(expected[outcome]) / N:.0%} ")
            continue
        text = line.th.get_text()
        row = ids.index(text.split()[1])
        assert f"word{tested.text()[row].argmax()}, <i>" in text
        assert row in expected[outcome] and GROUPS[row] not in seen
        seen.add(GROUPS[row])
        alts = [cell.img["alt"].split()[1] for cell in cells]
        assert alts[0] == ids[row] and alts[3] == ids[first_picture(tested, row)] == alts[1]
        below = [cell.small.get_text() for cell in cells]
        own = [alt == ids[row] and place > 0 for place, alt in enumerate(alts)]
        assert below == ["its own" if o else GROUPS[ids.index(a)] for o, a in zip(own, alts, strict=True)]
        assert ["3px" in cell.span["style"] for cell in cells] == own
        lines.append(outcome)
    assert lines == [
        outcome for outcome, rows in expected.items() for _ in range(min(2, len({GROUPS[r] for r in rows})))
    ]
