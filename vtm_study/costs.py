"""A measurement of `vtm bench` as lines of text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import KINDS
from vtm.errors import MissingError, VtmError
from vtm.experiment.prepare import Prepared
from vtm.experiment.results import Result, by_row
from vtm.files import read_json, read_sealed, results_dir
from vtm.report.figures import COLOURS, grid_of_axes, plain_numbers
from vtm.report.tables import frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def bench_lines(found: dict[str, Any]) -> list[str]:
    """The figures as lines of text, ratios with their spread where they were measured more than once."""
    details = found["details"]
    lines = [f"{name:<12} {value}" for name, value in found["machine"].items()]
    if grid := details.get("grid"):
        lines += _grid(grid)
    if fit := details.get("training"):
        lines += _training(fit)
    if embed := details.get("embedding"):
        lines += _embedding(embed)
    if search := details.get("search"):
        lines += _search(search)
    for row in details.get("growth", {}).get("rows", ()):
        lines.append(
            f"growth       {row['documents']:>9,} documents: {row['seconds_an_epoch']:.2f} s an epoch, "
            f"{row['microseconds_a_document']:.1f} microseconds a document, recovery {row['recovery']:.2f}, "
            f"{row['anonymous']:.0f} MiB of its own and {row['mapped']:.0f} MiB of mapped files"
        )
    if start := details.get("start-up"):
        lines.append(f"start-up     vtm --help {start['help_s']:.2f} s, import vtm {start['import_s']:.3f} s")
    lines += [f"skipped      {name}: {why}" for name, why in found["skipped"].items()]
    return lines


def with_spread(ratio: Sequence[float] | dict[str, float], form: str = ".2f") -> str:
    """ "2.00 (1.50 to 2.50)" of (low, middle, high); the middle alone where nothing spreads."""
    low, middle, high = (ratio["low"], ratio["median"], ratio["high"]) if isinstance(ratio, dict) else ratio
    spread = "" if math.isclose(low, high) else f" ({low:{form}} to {high:{form}})"
    return f"{middle:{form}}{spread}"


def _grid(grid: dict[str, Any]) -> list[str]:
    lines = [
        f"grid         {with_spread(grid['ratio'], '.1f')} times as fast as contextualized-topic-models' fit on "
        f"{grid['device']}: {grid['models']} models, {grid['n_seeds']} seeds side by side"
    ]
    for size, losses in grid["held_out"].items():
        lines.append(f"             {size} topics: {_losses(losses)}")
    return lines


def _training(fit: dict[str, Any]) -> list[str]:
    lines = [
        f"training     {with_spread(fit[key], '.1f')} times as fast as contextualized-topic-models' fit, {label}"
        for label, key in (("alone", "ratio"), ("3 seeds side by side, each", "side_by_side_ratio"))
    ]
    return [
        *lines,
        f"             its fit with {_threads(fit['reference_threads'])}, the faster; ours with "
        f"{_threads(fit['model_threads'])} a model",
        *(
            f"             {with_spread(ratio, '.1f')} times as fast, alone, as its fit as it comes, with {count}"
            for count, _, ratio in as_it_comes(fit)
        ),
        f"             {_losses(fit['held_out'])}",
    ]


def _embedding(embed: dict[str, Any]) -> list[str]:
    return [
        f"embedding    {embed['files_per_s']:.0f} pictures a second from files, "
        f"{with_spread(_range(embed['ratios']), '.0%')} of ONNX Runtime alone with the graph as published",
        f"             {with_spread(_range(own_ratios(embed)), '.0%')} of our encoder from arrays, which is at "
        f"{with_spread(_range(embed['encoder_ratios']), '.0%')}",
    ]


def _search(s: dict[str, Any]) -> list[str]:
    return [
        f"search       {s['search_exact_ms']:.1f} ms exact for one text among {s['n']:,}, {_threads(s['threads'])}; "
        f"faiss' flat index {s['flat_ms']:.1f} ms, {_threads(s['flat_threads'])}, the faster; ratio "
        f"{with_spread(s['flat_vs_exact'])}",
        f"             {s['batch_exact_ms'] / 1e3:.2f} s exact for {s['n_batch']:,} texts; flat "
        f"{s['batch_flat_ms'] / 1e3:.2f} s, ratio {with_spread(s['batch_flat_vs_exact'])}; flat with matrix products "
        f"{s['batch_blas_ms'] / 1e3:.2f} s, ratio {with_spread(s['batch_blas_vs_exact'])}",
        f"             {s['search_ms']:.2f} ms approximate, recall {s['search_recall']:.4f}",
    ]


def as_it_comes(fit: dict[str, Any]) -> list[tuple[str, list[float], tuple[float, float, float]]]:
    """Where the package is faster with fewer threads than torch takes by itself: how many, its seconds, the ratio."""
    by_threads = fit.get("reference_seconds_by_threads")  # older measurements do not have it
    if not by_threads or fit["reference_threads"] == fit["threads"]:
        return []
    taken = by_threads[str(fit["threads"])]
    ratios = [theirs / ours for theirs, ours in zip(taken, fit["seconds"], strict=True)]
    return [(_threads(fit["threads"]), taken, _range(ratios))]


def own_ratios(embed: dict[str, Any]) -> list[float]:
    """From files to cache as a share of our own encoder from arrays, round by round."""
    return [whole / alone for whole, alone in zip(embed["ratios"], embed["encoder_ratios"], strict=True)]


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[0], (ordered[half] + ordered[-half - 1]) / 2, ordered[-1]


def _losses(losses: dict[str, float]) -> str:
    return f"held-out loss {losses['ours']:.2f} nats a document, theirs {losses['reference']:.2f}"


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"


# What a stored measurement (`vtm bench -o`) compares, pair by pair, as words and ratios.


Pair = tuple[str, str, str, tuple[float, float, float]]


def measured_pairs(details: dict[str, Any]) -> list[Pair]:
    """(label, ours, the other, (low, middle, high) of the ratio) of each comparison that was made."""
    parts = {"training": _training_pairs, "embedding": _embedding_pairs, "search": _search_pairs}
    return [pair for part, pairs in parts.items() if part in details for pair in pairs(details[part])]


def _training_pairs(fit: dict[str, Any]) -> list[Pair]:
    def spread(r: dict[str, float]) -> tuple[float, float, float]:
        return r["low"], r["median"], r["high"]

    def seconds(values: Sequence[float], each: int = 1) -> str:
        return f"{np.median(values) / each:.2f} s"

    other = f"contextualized-topic-models, {seconds(fit['reference_seconds'])}{_threads_of_pair(fit, 'reference_threads')}"
    ours = seconds(fit["seconds"]) + _threads_of_pair(fit, "model_threads")
    return [
        ("training, one model", ours, other, spread(fit["ratio"])),
        *(
            (
                "the same, beside the package as it comes",
                ours,
                f"contextualized-topic-models, {seconds(taken)}, {count}",
                ratio,
            )
            for count, taken, ratio in as_it_comes(fit)
        ),
        (
            "training, each of three seeds",
            seconds(fit["side_by_side_seconds"], 3) + _threads_of_pair(fit, "threads"),
            other,
            spread(fit["side_by_side_ratio"]),
        ),
    ]


def _embedding_pairs(embed: dict[str, Any]) -> list[Pair]:
    def spread(ratios: Sequence[float]) -> tuple[float, float, float]:
        return min(ratios), float(np.median(ratios)), max(ratios)

    files, arrays = (f"{embed[name]:.0f} pictures a second" for name in ("files_per_s", "encoder_per_s"))
    raw = f"ONNX Runtime, graph as published, {embed['raw_per_s']:.0f}"
    return [
        ("embedding, file to cache", files, raw, spread(embed["ratios"])),
        (
            "the same, beside our encoder",
            files,
            f"our own encoder from arrays, {embed['encoder_per_s']:.0f}",
            spread(own_ratios(embed)),
        ),
        ("embedding, array to array", arrays, raw, spread(embed["encoder_ratios"])),
    ]


def _search_pairs(s: dict[str, Any]) -> list[Pair]:
    texts = f"{s['n_batch']:,} texts"
    ours, all_threads = _threads_of_pair(s, "threads"), _threads_of_pair(s, "faiss_threads")
    batch = f"{s['batch_exact_ms'] / 1e3:.2f} s{ours}"
    return [
        (
            "exact search, one text",
            f"{s['search_exact_ms']:.1f} ms{ours}",
            f"faiss IndexFlatIP, {s['flat_ms']:.1f} ms{_threads_of_pair(s, 'flat_threads')}",
            tuple(s["flat_vs_exact"]),
        ),
        (
            f"exact search, {texts}",
            batch,
            f"faiss IndexFlatIP, {s['batch_flat_ms'] / 1e3:.2f} s{all_threads}",
            tuple(s["batch_flat_vs_exact"]),
        ),
        (
            f"the same, {texts}",
            batch,
            f"faiss IndexFlatIP made to use matrix products, {s['batch_blas_ms'] / 1e3:.2f} s{all_threads}",
            tuple(s["batch_blas_vs_exact"]),
        ),
    ]


def _threads_of_pair(measured: dict[str, Any], name: str) -> str:
    """ ", 2 threads" where their number was stored."""
    count = measured.get(name)
    return "" if count is None else f", {count} thread{'s' * (count != 1)}"


# Tables and plots of the chapter on cost, from a stored measurement (`vtm bench -o`).
#
# A measurement may lack a part: it was skipped, or `--quick`. What needs it then says so.


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


# What training this book's models took, as the runs folder records it. Nothing is trained here.


# What the models of Table 1, of three seeds, were to take in the default profile on two cores.
AIM_MINUTES = 3.0


@dataclass(frozen=True)
class Trained:
    """Runs of one kind: `seconds` of those that are recorded, `wanted` how many the book has."""

    label: str
    seconds: tuple[float, ...]
    wanted: int
    in_table_1: bool = False


def recorded(data: Prepared, results: Sequence[Result]) -> list[Trained]:
    """The seconds of all trainings on these data: Table 1 (of `results`), the sweep of settings, the reference's fits.

    Those of the sweep and of the reference are read where they are on disk; a chapter that has not run has none.
    """
    rows = [
        Trained(name, tuple(run.figures["seconds"] for run in runs), len(runs), runs[0].n_topics > 0)
        for name, runs in by_row(results).items()
    ]
    return [*rows, _sweep(data), *_reference(data)]


def training_table(rows: Sequence[Trained]) -> pd.DataFrame:
    """Seconds of each kind of run, one and all together, and the sum of what is recorded."""
    lines = [
        {
            "": row.label,
            "runs": _share(len(row.seconds), row.wanted),
            "seconds a run": f"{sum(row.seconds) / len(row.seconds):.1f}" if row.seconds else "–",
            "seconds": f"{sum(row.seconds):.0f}" if row.seconds else "–",
        }
        for row in rows
    ]
    found, wanted = sum(len(row.seconds) for row in rows), sum(row.wanted for row in rows)
    lines.append(
        {"": "together", "runs": _share(found, wanted), "seconds a run": "", "seconds": f"{_total(rows):.0f}"}
    )
    return frame(lines)


def training_numbers(rows: Sequence[Trained]) -> dict[str, str]:
    """What the chapter's prose quotes, as text."""
    table_1 = _total([row for row in rows if row.in_table_1])
    aim = 60 * AIM_MINUTES
    return {
        "table_1_seconds": f"{table_1:.0f}",
        "training_aim": f"{AIM_MINUTES:.0f}",
        "training_aim_verdict": "less than that" if table_1 < aim else "more than that",
        "training_seconds": f"{_total(rows):.0f}",
        "training_total_verdict": "less" if _total(rows) < aim else "more",
    }


def _sweep(data: Prepared) -> Trained:
    """The settings chapter's runs, but for the setting that Table 1 has as well."""
    from vtm.experiment.results import Result
    from vtm.experiment.runs import KL_WEIGHTS, model_folder, result_key

    experiment, k = data.experiment, min(data.experiment.n_topics)
    configs = {
        dataclasses.replace(experiment.model, kl_weight=weight, standardize=standardize)
        for weight in KL_WEIGHTS
        for standardize in (True, False)
    } - {experiment.model}
    seconds, wanted = [], 0
    for kind in KINDS:
        for config in configs:
            folder = model_folder(data, kind, k, config=config)
            key = result_key(data, kind, k, config=config)
            for seed in experiment.seeds:
                wanted += 1
                if found := Result.current(folder / f"seed-{seed}", key):
                    seconds.append(found.figures["seconds"])
    return Trained("settings", tuple(sorted(seconds)), wanted)


def _reference(data: Prepared) -> list[Trained]:
    """The fits of the chapter on the reference package, by trainer."""
    from vtm.experiment.runs import run_folder
    from vtm_study.reference import OURS, THEIRS

    try:
        rows = read_sealed(run_folder(data) / "reference.json")["rows"]
    except VtmError:
        rows = []
    n_seeds = len(data.experiment.seeds)
    return [
        Trained(
            f"one teacher, {trainer}",
            tuple(row["seconds"] for row in rows if row["trainer"] == trainer),
            n_seeds,
        )
        for trainer in (OURS, THEIRS)
    ]


def _total(rows: Sequence[Trained]) -> float:
    return sum(sum(row.seconds) for row in rows)


def _share(found: int, wanted: int) -> str:
    return f"{found}" if found == wanted else f"{found} of {wanted} recorded"
