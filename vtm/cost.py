"""Tables and plots of the chapter on cost, from a stored measurement (`vtm bench -o`) and the results at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.errors import MissingError
from vtm.figures import COLOURS, grid_of_axes, plain_numbers
from vtm.files import read_json
from vtm.paths import checkout
from vtm.results import Result
from vtm.runs import frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def stored(path: Path | str | None = None) -> dict[str, Any]:
    """A measurement that `vtm bench -o PATH` wrote; by default the one that comes with the source.

    Raises
    ------
    MissingError
        There is none.
    """
    if path is None:
        root = checkout()
        path = (root or Path()) / "results" / "bench.json"
    if not Path(path).is_file():
        raise MissingError(f"{path}: no measurement there; `vtm bench -o {path}` makes one")
    return read_json(path)


def provenance_table(found: dict[str, Any]) -> pd.DataFrame:
    """Where the figures come from: machine, date, commit."""
    lines = {**found["machine"], "date": found["date"], "commit": found["commit"] or "–"}
    return frame([{"": name, "value": value} for name, value in lines.items()])


def ratios_table(found: dict[str, Any]) -> pd.DataFrame:
    """Each measured pair: ours, what it is compared with, and the ratio with its spread."""
    return frame(
        [
            {"": label, "ours": ours, "compared with": other, "times as fast": _ratio(*spread)}
            for label, ours, other, spread in _pairs(found["details"])
        ]
    )


def ratios(found: dict[str, Any]) -> Figure:
    """The ratios as bars on a logarithmic scale with their spread; 1 is equally fast."""
    figure, grid = grid_of_axes(1, 1, width=7, height=3.2)
    axes = grid[0][0]
    pairs = _pairs(found["details"])
    for place, (_, _, _, (low, middle, high)) in enumerate(pairs):
        axes.barh(place, middle, color=COLOURS[1], height=0.6)
        axes.plot([low, high], [place, place], color=COLOURS[0], linewidth=2)
    axes.axvline(1, color=COLOURS[0], linewidth=1)
    axes.set_yticks(range(len(pairs)), [label for label, *_ in pairs])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="times as fast as what it is compared with")
    plain_numbers(axes.xaxis)
    return figure


def growth(found: dict[str, Any]) -> Figure:
    """Seconds an epoch and memory by number of documents."""
    figure, grid = grid_of_axes(1, 2, width=4.2, height=3.4)
    rows = found["details"]["growth"]["rows"]
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
    memory.plot(documents, [row["memory"] for row in rows], "o-", color=COLOURS[1], label="process, peak")
    memory.plot(
        documents, [row["embeddings"] for row in rows], "s--", color=COLOURS[2], label="embeddings, on disk"
    )
    memory.set(xscale="log", xlabel="documents", ylabel="MiB")
    for axis in (time.xaxis, time.yaxis, memory.xaxis):
        plain_numbers(axis)
    for axes in grid[0]:
        axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def growth_table(found: dict[str, Any]) -> pd.DataFrame:
    """The growth measurements as a table."""
    return frame(
        [
            {
                "": f"{row['documents']:,} documents",
                "epochs": row["epochs"],
                "seconds an epoch": f"{row['seconds_an_epoch']:.2f}",
                "microseconds a document": f"{row['microseconds_a_document']:.1f}",
                "peak memory, MiB": f"{row['memory']:.0f}",
                "embeddings, MiB": f"{row['embeddings']:.0f}",
                "topics recovered": f"{row['recovery']:.2f}",
            }
            for row in found["details"]["growth"]["rows"]
        ]
    )


def training_table(results: Sequence[Result]) -> pd.DataFrame:
    """Seconds that each row of Table 1 took here, a seed and all seeds together."""
    lines = []
    for name in dict.fromkeys(run.name for run in results if run.n_topics):
        seconds = [run.figures["seconds"] for run in results if run.name == name]
        lines.append(
            {
                "": name,
                "seeds": len(seconds),
                "seconds a seed": f"{np.mean(seconds):.1f}",
                "seconds": f"{np.sum(seconds):.0f}",
            }
        )
    return frame(lines)


def cost_numbers(found: dict[str, Any], results: Sequence[Result]) -> dict[str, float | str]:
    """The numbers that the chapter's prose quotes."""
    details = found["details"]
    rows = details["growth"]["rows"]
    return {
        "fit_vs_ctm": float(found["fit_vs_ctm"]),
        "embed_share": float(found["embed_vs_raw"]),
        "search_exact_ms": float(found["search_exact_ms_1e6"]),
        "search_ms": float(found["search_ms_1e6"]),
        "search_recall": float(found["search_recall"]),
        "search_flat_ratio": float(details["search"]["flat_vs_exact"][1]),
        "help_s": float(found["help_s"]),
        "import_s": float(found["import_s"]),
        "growth_documents": float(rows[-1]["documents"]),
        "growth_ratio": rows[-1]["microseconds_a_document"] / rows[0]["microseconds_a_document"],
        "training_seconds": float(sum(run.figures["seconds"] for run in results if run.n_topics)),
    }


def _pairs(details: dict[str, Any]) -> list[tuple[str, str, str, tuple[float, float, float]]]:
    """(label, ours, the other, (low, middle, high) of the ratio) of each comparison."""
    fit, embed, search = details["training"], details["embedding"], details["search"]

    def spread(r: dict[str, float]) -> tuple[float, float, float]:
        return r["low"], r["median"], r["high"]

    def seconds(values: Sequence[float], each: int = 1) -> str:
        return f"{np.median(values) / each:.2f} s"

    reference = f"contextualized-topic-models, {seconds(fit['reference_seconds'])}"
    texts = f"{search['n_batch']:,} texts"
    return [
        ("training, one model", seconds(fit["seconds"]), reference, spread(fit["ratio"])),
        (
            "training, each of three seeds",
            seconds(fit["side_by_side_seconds"], 3),
            reference,
            spread(fit["side_by_side_ratio"]),
        ),
        (
            "embedding, file to cache",
            f"{embed['files_per_s']:.0f} pictures a second",
            f"ONNX Runtime alone, {embed['raw_per_s']:.0f}",
            (min(embed["ratios"]), embed["embed_vs_raw"], max(embed["ratios"])),
        ),
        (
            "embedding, array to array",
            f"{embed['encoder_per_s']:.0f} pictures a second",
            f"ONNX Runtime alone, {embed['raw_per_s']:.0f}",
            (min(embed["encoder_ratios"]), embed["encoder_vs_raw"], max(embed["encoder_ratios"])),
        ),
        (
            "exact search, one text",
            f"{search['search_exact_ms']:.1f} ms",
            f"faiss IndexFlatIP, {search['flat_ms']:.1f} ms",
            tuple(search["flat_vs_exact"]),
        ),
        (
            f"exact search, {texts}",
            f"{search['batch_exact_ms'] / 1e3:.2f} s",
            f"faiss IndexFlatIP, {search['batch_flat_ms'] / 1e3:.2f} s",
            tuple(search["batch_flat_vs_exact"]),
        ),
        (
            f"the same, {texts}",
            f"{search['batch_exact_ms'] / 1e3:.2f} s",
            f"faiss IndexFlatIP made to use matrix products, {search['batch_blas_ms'] / 1e3:.2f} s",
            tuple(search["batch_blas_vs_exact"]),
        ),
    ]


def _ratio(low: float, middle: float, high: float) -> str:
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
