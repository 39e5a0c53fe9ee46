"""Tables and plots of the chapter on cost, from a stored measurement (`vtm bench -o`).

A measurement may lack a part: it was skipped, or `--quick`. What needs it then says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.bench_lines import own_ratios, with_spread
from vtm.cost_pairs import measured_pairs
from vtm.errors import MissingError
from vtm.figures import COLOURS, grid_of_axes, plain_numbers
from vtm.files import read_json
from vtm.paths import results_dir
from vtm.runs import frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PARTS = ("training", "embedding", "search", "start-up", "growth")
NOT_MEASURED = "(not measured)"
# What the exact search for one text was to reach beside a flat scan, set before it was written.
SEARCH_AIM = 3.0


def stored(path: Path | str | None = None) -> dict[str, Any]:
    """A measurement that `vtm bench -o PATH` wrote; by default the one that comes with the source.

    Raises
    ------
    MissingError
        There is none.
    """
    if path is None:
        path = results_dir() / "bench.json"
    if not Path(path).is_file():
        raise MissingError(f"{path}: no measurement there; `vtm bench -o {path}` makes one")
    return read_json(path)


def provenance_table(found: dict[str, Any]) -> pd.DataFrame:
    """Where the figures come from: machine, date, commit, and what was not measured."""
    lines = {**found["machine"], "date": found["date"], "commit": found["commit"] or "–"}
    option = "--device" if "device" in found else "--quick"
    if left_out := [
        f"{part} ({found['skipped'].get(part, f'left out by {option}')})"
        for part in PARTS
        if part not in found["details"]
    ]:
        lines["not measured"] = "; ".join(left_out)
    return frame([{"": name, "value": value} for name, value in lines.items()])


def ratios_table(found: dict[str, Any]) -> pd.DataFrame | str:
    """Each measured pair: ours, what it is compared with, and the ratio with its spread; or that there is none."""
    if not (pairs := measured_pairs(found["details"])):
        return "None of the pairs was measured."
    return frame(
        [
            {"": label, "ours": ours, "compared with": other, "times as fast": with_spread(ratio)}
            for label, ours, other, ratio in pairs
        ]
    )


def ratios(found: dict[str, Any]) -> Figure:
    """The ratios as bars on a logarithmic scale with their spread; 1 is equally fast."""
    figure, grid = grid_of_axes(1, 1, width=7, height=3.6)
    axes = grid[0][0]
    if not (pairs := measured_pairs(found["details"])):
        return _without(figure, "no pair was measured")
    for place, (_, _, _, (low, middle, high)) in enumerate(pairs):
        axes.barh(place, middle - 1, left=1, color=COLOURS[1], height=0.6)
        axes.plot([low, high], [place, place], color=COLOURS[0], linewidth=2)
    axes.axvline(1, color=COLOURS[0], linewidth=1)
    axes.set_yticks(range(len(pairs)), [label for label, *_ in pairs])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="times as fast as what it is compared with")
    plain_numbers(axes.xaxis)
    return figure


def growth(found: dict[str, Any]) -> Figure:
    """Seconds an epoch and memory by number of documents; where growth was not measured, these words."""
    figure, grid = grid_of_axes(1, 2, width=4.2, height=3.4)
    rows = _growth_rows(found)
    if not rows:
        return _without(figure, "growth was not measured")
    documents = [row["documents"] for row in rows]
    time, memory = grid[0]
    time.plot(documents, [row["seconds_an_epoch"] for row in rows], "o-", color=COLOURS[1], label="measured")
    per_document = rows[0]["seconds_an_epoch"] / documents[0]
    time.plot(
        documents,
        [per_document * n for n in documents],
        "--",
        color=COLOURS[0],
        label="linear from the first",
    )
    time.set(xscale="log", yscale="log", xlabel="documents", ylabel="seconds an epoch")
    lines = {"anonymous": "its own", "mapped": "mapped files", "memory": "process, peak"}
    for place, (name, label) in enumerate(lines.items()):
        if all(row.get(name) for row in rows):
            memory.plot(documents, [row[name] for row in rows], "o-", color=COLOURS[place + 1], label=label)
    memory.plot(
        documents, [row["embeddings"] for row in rows], "s--", color=COLOURS[0], label="embeddings, on disk"
    )
    memory.set(xscale="log", xlabel="documents", ylabel="MiB")
    for axis in (time.xaxis, time.yaxis, memory.xaxis):
        plain_numbers(axis)
    for axes in grid[0]:
        axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def growth_table(found: dict[str, Any]) -> pd.DataFrame | str:
    """The growth measurements as a table, or a sentence that there are none."""
    rows = _growth_rows(found)
    if not rows:
        return "Growth was not measured."

    def mib(row: dict[str, Any], name: str) -> str:
        return f"{row[name]:.0f}" if row.get(name) else "–"

    return frame(
        [
            {
                "": f"{row['documents']:,} documents",
                "epochs": row["epochs"],
                "seconds an epoch": f"{row['seconds_an_epoch']:.2f}",
                "microseconds a document": f"{row['microseconds_a_document']:.1f}",
                "its own memory, MiB": mib(row, "anonymous"),
                "mapped files, MiB": mib(row, "mapped"),
                "process, peak, MiB": mib(row, "memory"),
                "embeddings, MiB": mib(row, "embeddings"),
                "topics recovered": f"{row['recovery']:.2f}",
            }
            for row in rows
        ]
    )


def cost_numbers(found: dict[str, Any]) -> dict[str, str]:
    """What the chapter's prose quotes, as text; `NOT_MEASURED` for what the measurement lacks."""
    details = found["details"]
    numbers = {"search_aim": f"{SEARCH_AIM:.0f}"}

    def quote(name: str, value: Callable[[], str]) -> None:
        try:
            numbers[name] = value()
        except KeyError:
            numbers[name] = NOT_MEASURED

    def losses() -> str:
        by_seed = details["training"]["held_out_by_seed"].values()
        return f"{max(max(losses) - min(losses) for losses in by_seed):.2f}"

    def verdict() -> str:
        return "was reached" if details["search"]["flat_vs_exact"][1] >= SEARCH_AIM else "was not reached"

    def rows() -> list[dict[str, Any]]:
        return details["growth"]["rows"]

    def a_document(name: str) -> str:
        first, last = rows()[0], rows()[-1]
        return f"{(last[name] - first[name]) * 2**20 / (last['documents'] - first['documents']):.0f}"

    quote("fit_vs_ctm", lambda: f"{found['fit_vs_ctm']:.1f}")
    quote("held_out_ours", lambda: f"{details['training']['held_out']['ours']:.2f}")
    quote("held_out_reference", lambda: f"{details['training']['held_out']['reference']:.2f}")
    quote("held_out_spread", losses)
    quote("embed_share", lambda: f"{found['embed_vs_raw']:.0%}")
    quote("embed_own_share", lambda: f"{np.median(own_ratios(details['embedding'])):.0%}")
    quote("search_exact_ms", lambda: f"{found['search_exact_ms_1e6']:.1f}")
    quote("search_ms", lambda: f"{found['search_ms_1e6']:.2f}")
    quote("search_recall", lambda: f"{found['search_recall']:.4f}")
    quote("search_flat_ratio", lambda: f"{details['search']['flat_vs_exact'][1]:.1f}")
    quote("search_aim_verdict", verdict)
    quote("help_s", lambda: f"{found['help_s']:.2f}")
    quote("import_ms", lambda: f"{1000 * found['import_s']:.1f}")
    quote("growth_documents", lambda: f"{rows()[-1]['documents']:,}")
    quote(
        "growth_ratio",
        lambda: f"{rows()[-1]['microseconds_a_document'] / rows()[0]['microseconds_a_document']:.2f}",
    )
    quote("growth_bytes", lambda: a_document("anonymous"))
    quote("growth_embedding_bytes", lambda: a_document("embeddings"))
    return numbers


def _without(figure: Figure, why: str) -> Figure:
    figure.clear()
    figure.text(0.5, 0.5, why, ha="center")
    return figure


def _growth_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    return found["details"].get("growth", {}).get("rows", [])
