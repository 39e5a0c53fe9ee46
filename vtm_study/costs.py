"""The chapter on cost: a stored measurement (`python -m benchmarks -o`), and what the runs on disk took to train."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from vtm.config import KINDS
from vtm.errors import MissingError, VtmError
from vtm.experiment.prepare import Prepared
from vtm.experiment.results import Result, by_row
from vtm.experiment.runs import KL_WEIGHTS, model_folder, result_key, run_folder
from vtm.files import read_json, read_sealed, results_dir
from vtm.report.figures import COLOURS, grid_of_axes, plain_numbers
from vtm.report.tables import frame
from vtm_study.formats import NONE, table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


# A measurement may lack a part: it was skipped, or `--quick`. What needs it then says so.
PARTS = ("start-up", "answer", "training", "quality", "embedding", "precision", "search", "growth", "vtm+")
NOT_MEASURED = "(not measured)"
# What the models of Table 1, of three seeds, were to take in the default profile on two cores.
AIM_MINUTES = 3.0


class Pair(NamedTuple):
    """A comparison: ours, what it is compared with, and how many times as fast ours is, (low, middle, high)."""

    label: str
    ours: str
    other: str
    ratio: tuple[float, float, float]


def measured_pairs(details: dict[str, Any]) -> list[Pair]:
    """Each comparison that was made, in a measurement's `details`."""
    parts = {
        "grid": _grid_pairs,
        "training": _training_pairs,
        "embedding": _embedding_pairs,
    }
    return [pair for part, pairs in parts.items() if part in details for pair in pairs(details[part])]


def with_spread(ratio: Sequence[float], form: str = ".2f") -> str:
    """ "2.00 (1.50 to 2.50)" of (low, middle, high); the middle alone where nothing spreads."""
    low, middle, high = ratio
    spread = "" if math.isclose(low, high) else f" ({low:{form}} to {high:{form}})"
    return f"{middle:{form}}{spread}"


def as_it_comes(fit: dict[str, Any]) -> list[tuple[str, list[float], tuple[float, float, float]]]:
    """Where the package is faster with fewer threads than torch takes by itself: how many, its seconds, the ratio."""
    by_threads = fit.get("reference_seconds_by_threads")  # older measurements do not have it
    if not by_threads or fit["reference_threads"] == fit["threads"]:
        return []
    taken = by_threads[str(fit["threads"])]
    ratios = [theirs / ours for theirs, ours in zip(taken, fit["seconds"], strict=True)]
    return [(_threads(fit, "threads"), taken, _range(ratios))]


def own_ratios(embed: dict[str, Any]) -> list[float]:
    """From files to cache as a share of our own encoder from arrays, round by round."""
    return [whole / alone for whole, alone in zip(embed["ratios"], embed["encoder_ratios"], strict=True)]


def _training_pairs(fit: dict[str, Any]) -> list[Pair]:
    def package(values: Sequence[float], threads: str) -> str:
        return f"contextualized-topic-models, {median(values):.2f} s{threads}"

    other = package(fit["reference_seconds"], _threads(fit, "reference_threads"))
    ours = f"{median(fit['seconds']):.2f} s{_threads(fit, 'model_threads')}"
    beside = f"{median(fit['side_by_side_seconds']) / 3:.2f} s{_threads(fit, 'threads')}"
    return [
        Pair("training, one model", ours, other, _spread(fit["ratio"])),
        *(
            Pair("the same, beside the package as it comes", ours, package(taken, threads), ratio)
            for threads, taken, ratio in as_it_comes(fit)
        ),
        Pair("training, each of three seeds", beside, other, _spread(fit["side_by_side_ratio"])),
    ]


def _grid_pairs(grid: dict[str, Any]) -> list[Pair]:
    label = f"training on {grid['device']}, {grid['models']} models, {grid['n_seeds']} seeds side by side"
    other = f"as many fits of contextualized-topic-models, {median(grid['reference_seconds']):.0f} s"
    return [Pair(label, f"{median(grid['seconds']):.1f} s", other, _spread(grid["ratio"]))]


def _embedding_pairs(embed: dict[str, Any]) -> list[Pair]:
    files, arrays = (f"{embed[name]:.0f} pictures a second" for name in ("files_per_s", "encoder_per_s"))
    raw = f"ONNX Runtime, graph as published, {embed['raw_per_s']:.0f}"
    own = f"our own encoder from arrays, {embed['encoder_per_s']:.0f}"
    return [
        Pair("embedding, file to cache", files, raw, _range(embed["ratios"])),
        Pair("the same, beside our encoder", files, own, _range(own_ratios(embed))),
        Pair("embedding, array to array", arrays, raw, _range(embed["encoder_ratios"])),
    ]


def _spread(ratio: dict[str, float]) -> tuple[float, float, float]:
    return ratio["low"], ratio["median"], ratio["high"]


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)


def _threads(measured: dict[str, Any], name: str) -> str:
    """ ", 2 threads" where their number was stored."""
    count = measured.get(name)
    return "" if count is None else f", {count} thread{'s' * (count != 1)}"


def stored(path: Path | str | None = None) -> dict[str, Any]:
    """A measurement that `python -m benchmarks -o PATH` wrote; by default the one that comes with the source.

    Raises
    ------
    MissingError
        There is none.
    """
    if path is None:
        path = results_dir() / "bench.json"
    if not Path(path).is_file():
        raise MissingError(f"{path}: no measurement there; `python -m benchmarks -o {path}` makes one")
    found = read_json(path)
    if "rows" not in found["details"].get("search", {"rows"}):
        del found["details"]["search"]
        found["skipped"]["search"] = "of an index that vtm no longer has"
    return found


def provenance_table(found: dict[str, Any]) -> pd.DataFrame:
    """Where the figures come from: machine, date, commit, and what was not measured."""
    lines = {**found["machine"], "date": found["date"], "commit": found["commit"] or NONE}
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
    columns = {"": "{label}", "ours": "{ours}", "compared with": "{other}"}
    columns |= {"times as fast": lambda pair: with_spread(pair["ratio"])}
    pairs = [pair._asdict() for pair in measured_pairs(found["details"])]
    return table(pairs, columns) if pairs else "None of the pairs was measured."


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
    axes.set_yticks(range(len(pairs)), [pair.label for pair in pairs])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="times as fast as what it is compared with")
    plain_numbers(axes.xaxis, at=(1, 2, 5))
    return figure


def growth(found: dict[str, Any]) -> Figure:
    """Seconds an epoch and memory by number of documents; where growth was not measured, these words."""
    import pandas as pd

    figure, grid = grid_of_axes(1, 2, width=4.2, height=4.2)
    rows = pd.DataFrame(_rows(found, "growth"))
    if rows.empty:
        return _without(figure, "growth was not measured")
    documents, taken = rows["documents"], rows["seconds_an_epoch"]
    time, memory = grid[0]
    time.plot(documents, taken, "o-", color=COLOURS[1], label="measured")
    linear = taken[0] / documents[0] * documents
    time.plot(documents, linear, "--", color=COLOURS[0], label="linear from the first")
    time.set(xscale="log", yscale="log", xlabel="documents", ylabel="seconds an epoch")
    lines = {"anonymous": "its own", "mapped": "mapped files", "memory": "process, peak"}
    for colour, mark, (name, label) in zip(COLOURS[1:], "o^D", lines.items(), strict=False):
        if name in rows and rows[name].all():
            memory.plot(documents, rows[name], f"{mark}-", color=colour, label=label)
    memory.plot(documents, rows["embeddings"], "s--", color=COLOURS[0], label="embeddings, on disk")
    memory.set(xscale="log", xlabel="documents", ylabel="MiB")
    for axis in (time.xaxis, time.yaxis, memory.xaxis):
        plain_numbers(axis)
    for axes in grid[0]:  # below, where no line runs
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    figure.tight_layout()
    return figure


def growth_table(found: dict[str, Any]) -> pd.DataFrame | str:
    """The growth measurements as a table, or a sentence that there are none."""
    memory = {"its own memory": "anonymous", "mapped files": "mapped", "process, peak": "memory"}
    columns = {
        "": "{documents:,} documents",
        "epochs": "{epochs}",
        "seconds an epoch": "{seconds_an_epoch:.2f}",
        "microseconds a document": "{microseconds_a_document:.1f}",
        **{
            f"{label}, MiB": lambda row, name=name: f"{row[name]:.0f}" if row[name] else NONE
            for label, name in (memory | {"embeddings": "embeddings"}).items()
        },
        "topics recovered": "{recovery:.2f}",
    }
    rows = _rows(found, "growth")
    return _measured(rows, columns, "Growth")


# Models whose rankings are compared in float32 and int8 (`benchmarks.embedding.bench_precision`).
PRECISION_MODELS = {"baseline": "baseline", "teacher_60": "text-teacher, 60 topics", "plus": "VTM+"}
# What is compared in a measurement of quality by time (`benchmarks.training.bench_quality`).
QUALITY = {"mrr": "MRR@100", "npmi_text": "NPMI, teacher's topics", "npmi_image": "NPMI, student's topics"}


def _quality(found: dict[str, Any]) -> pd.DataFrame:
    """Means over folds and seeds, by corpus, setting and epochs; no lines where it was not measured."""
    import pandas as pd

    names = ["corpus", "setting", "epochs"]
    rows = pd.DataFrame(_rows(found, "quality"), columns=[*names, *QUALITY, "seconds"])
    return rows.groupby(names, sort=False).mean().reset_index()


def quality_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """For each corpus and figure: what the settings before reach, and in which `share` of their time today's do, `how`."""
    means, rows = _quality(found), []
    for corpus in means["corpus"].unique():
        own = means[means["corpus"] == corpus]
        before = own[own["setting"] == "before"].iloc[0]
        for name, label in QUALITY.items():
            row: dict[str, Any] = {"corpus": corpus, "figure": name, "label": f"{corpus}, {label}"}
            row["before"] = before[name]
            as_good = own[(own["setting"] != "before") & (own[name] >= before[name])]
            if len(as_good):
                quickest = as_good.loc[as_good["seconds"].idxmin()]
                row["seconds"], row["share"] = quickest["seconds"], quickest["seconds"] / before["seconds"]
                row["how"] = f"{quickest['epochs']} epochs, {quickest['setting']}"
            rows.append(row)
    return rows


def quality_table(found: dict[str, Any]) -> pd.DataFrame | str:
    """`quality_rows` as a table, or that there are none."""
    columns = {"": "{label}", "before": "{before:.3f}", "share of the time": "{share:.2f}", "by": "{how}"}
    rows = quality_rows(found)
    return _measured(rows, columns, "Quality by time")


def quality(found: dict[str, Any]) -> Figure:
    """MRR@100 by processor seconds of a text-teacher and its student, longer and longer, a corpus beside the other."""
    means = _quality(found)
    corpora = list(means["corpus"].unique())
    figure, grid = grid_of_axes(1, max(len(corpora), 1), width=4.2 if len(corpora) > 1 else 7, height=3.6)
    if not corpora:
        return _without(figure, "quality by time was not measured")
    for axes, corpus in zip(grid[0], corpora, strict=True):
        own = means[means["corpus"] == corpus]
        for colour, mark, (name, line) in zip(
            COLOURS, "*osD", own.groupby("setting", sort=False), strict=False
        ):
            axes.plot(line["seconds"], line["mrr"], f"{mark}-", color=colour, label=name)
        axes.axhline(own[own["setting"] == "before"]["mrr"].iloc[0], color=COLOURS[0], linestyle=":")
        axes.set(title=corpus, xlabel="processor seconds", ylabel="MRR@100, validation", xlim=(0, None))
        axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def _mrr_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """For each corpus and model: mean MRR@100 over seeds, in float32 and in int8."""
    return [
        {"label": f"MRR@100, {corpus}: {PRECISION_MODELS[name]}"}
        | {precision: sum(of) / len(of) for precision, of in mrr.items()}
        for corpus, about in found["details"].get("precision", {}).get("corpora", {}).items()
        for name, mrr in about["mrr"].items()
    ]


def precision_table(found: dict[str, Any]) -> pd.DataFrame | str:
    """Speed and use of embeddings in float32 and in int8; or that they were not measured."""
    if not (measured := found["details"].get("precision")):
        return "Embedding in int8 was not measured."
    speeds = {"arrays in memory": "encoder_per_s", "JPEG of 12 megapixels": "files_per_s"}
    rows: list[dict[str, Any]] = [
        {"label": f"pictures a second, {label}"} | {of: f"{rate:.0f}" for of, rate in measured[key].items()}
        for label, key in speeds.items()
    ]
    rows += [
        {name: cell if name == "label" else f"{cell:.3f}" for name, cell in row.items()}
        for row in _mrr_rows(found)
    ]
    return table(rows, {"": "{label}", "float32": "{float32}", "int8": "{int8}"})


def answers_table(found: dict[str, Any]) -> pd.DataFrame | str:
    """Processor seconds of commands that ask a trained model, beside those of importing what trains."""
    labels = {
        "topics": "vtm topics",
        "tag": "vtm tag, one picture",
        "match": "vtm match, one text",
        "libraries": "importing PyTorch, scikit-learn and sentence-transformers",
    }
    taken = found["details"].get("answer", {})
    rows = [{"label": label, "s": median(taken[name])} for name, label in labels.items() if name in taken]
    columns = {"": "{label}", "processor seconds": "{s:.2f}"}
    return _measured(rows, columns, "The first answer")


def search_table(found: dict[str, Any]) -> pd.DataFrame | str:
    """What a search costs by the number of pictures, or a sentence that it was not measured."""
    columns = {
        "": "{pictures:,} pictures",
        "a text: s": "{seconds:.2f}",
        "microseconds a picture": "{microseconds_a_picture:.0f}",
        "a known word: s": "{word_seconds:.2f}",
        "its own memory, MiB": "{anonymous:.0f}",
        "reading all topics: s": "{theta_seconds:.2f}",
        "by topics that are read: ms": lambda row: f"{1000 * row['topics_seconds']:.1f}",
        "the same, faiss: ms": lambda row: f"{1000 * row['flat_seconds']:.1f}",
    }
    rows = _rows(found, "search")
    return _measured(rows, columns, "Search")


def plus_table(found: dict[str, Any]) -> pd.DataFrame | str:
    """VTM+ on growing numbers of pairs, and its clusters beside those of others; or that it was not measured."""

    def clusters(name: str, key: str) -> Callable[[Any], str]:
        return lambda row: f"{row['clusterings'][name][key]:.{2 if key == 'processor_seconds' else 3}f}"

    columns: dict[str, str | Callable[[Any], Any]] = {
        "": "{documents:,} pairs",
        "processor seconds": "{processor_seconds:.1f}",
        "microseconds a pair": "{microseconds_a_document:.0f}",
        "its own memory, MiB": "{anonymous:.0f}",
        "embeddings, MiB": "{embeddings:.0f}",
        "topics recovered": "{recovery:.3f}",
    }
    others = {
        "vtm": "ours",
        "vtm, all pairs": "k-means of all pairs",
        "faiss": "faiss",
        "MiniBatchKMeans": "mini-batches",
    }
    for name, label in others.items():
        columns[f"{label}: s"] = clusters(name, "processor_seconds")
        columns[f"{label}: cosine"] = clusters(name, "fit")
    rows = _rows(found, "vtm+")
    return _measured(rows, columns, "The growth of VTM+")


def cost_numbers(found: dict[str, Any]) -> dict[str, str]:
    """What the chapter's prose quotes, as text; `NOT_MEASURED` for what the measurement lacks."""
    details = found["details"]

    def spread() -> str:
        by_seed = details["training"]["held_out_by_seed"].values()
        return f"{max(max(losses) - min(losses) for losses in by_seed):.2f}"

    def ends() -> tuple[dict[str, Any], dict[str, Any]]:
        return details["growth"]["rows"][0], details["growth"]["rows"][-1]

    def slower() -> str:
        first, last = ends()
        return f"{last['microseconds_a_document'] / first['microseconds_a_document']:.2f}"

    def a_document(name: str) -> str:
        first, last = ends()
        return f"{(last[name] - first[name]) * 2**20 / (last['documents'] - first['documents']):.0f}"

    # Of the first corpus.
    as_good = {row["figure"]: row for row in reversed(quality_rows(found))}

    def reached(figure: str) -> str:
        if "share" in as_good[figure]:
            return f"in {as_good[figure]['share']:.0%} of the time"
        tried = (row["epochs"] for row in details["quality"]["rows"] if row["setting"] != "before")
        return f"not within {max(tried)} epochs"

    def beside_package(chosen: Callable[[Any], float]) -> str:
        row = as_good["mrr"]
        fits = details["quality"]["reference_seconds_by_threads"][row["corpus"]]
        return f"{2 * chosen(fits.values()) / row['seconds']:.0f}"  # the package fits the teacher alone

    def precision(form: str) -> str:
        return form.format_map(details["precision"])

    def of_corpora(key: str, form: str) -> str:
        values = [about[key] for about in details["precision"]["corpora"].values()]
        return " and ".join(form.format(value) for value in values)

    def mrr_change(chosen: Callable[..., float]) -> str:
        return f"{chosen(row['int8'] - row['float32'] for row in _mrr_rows(found)):+.3f}"

    def mrr_seeds() -> str:
        by_model = [
            by["float32"] for of in details["precision"]["corpora"].values() for by in of["mrr"].values()
        ]
        return f"{max(max(seeds) - min(seeds) for seeds in by_model):.3f}"

    def answer(name: str) -> str:
        return f"{median(details['answer'][name]):.2f}"

    def search(form: str) -> str:
        return form.format_map(details["search"]["rows"][-1])

    def plus(form: str) -> str:
        return form.format_map(details["vtm+"]["rows"][-1])

    quoted: dict[str, Callable[[], str]] = {
        **{f"quality_{name}": partial(reached, name) for name in QUALITY},
        "quality_how": lambda: as_good["mrr"]["how"],
        "quality_vs_package": lambda: beside_package(min),
        "quality_vs_package_as_it_comes": lambda: beside_package(lambda fits: list(fits)[-1]),
        **{f"answer_{name}": partial(answer, name) for name in ("topics", "tag", "match", "libraries")},
        "plus_pairs": lambda: plus("{documents:,}"),
        "plus_seconds": lambda: plus("{processor_seconds:.0f}"),
        "plus_memory": lambda: plus("{anonymous:.0f}"),
        "fit_vs_ctm": lambda: f"{found['fit_vs_ctm']:.1f}",
        "held_out_ours": lambda: f"{details['training']['held_out']['ours']:.2f}",
        "held_out_reference": lambda: f"{details['training']['held_out']['reference']:.2f}",
        "held_out_spread": spread,
        "embed_share": lambda: f"{found['embed_vs_raw']:.0%}",
        "embed_own_share": lambda: f"{median(own_ratios(details['embedding'])):.0%}",
        "int8_ratio": lambda: f"{median(details['precision']['ratios']):.1f}",
        "int8_file_ratio": lambda: f"{median(details['precision']['file_ratios']):.1f}",
        "int8_threads": lambda: precision("{threads}"),
        "int8_decoded": lambda: precision("{decoded_per_s:.0f}"),
        "int8_rate": lambda: precision("{encoder_per_s[int8]:.0f}"),
        "float32_rate": lambda: precision("{encoder_per_s[float32]:.0f}"),
        "int8_cosine": lambda: of_corpora("cosine", "{:.4f}"),
        "int8_neighbours": lambda: of_corpora("neighbours", "{:.0%}"),
        "int8_mrr_low": lambda: mrr_change(min),
        "int8_mrr_seeds": mrr_seeds,
        "int8_mrr_high": lambda: mrr_change(max),
        "match_us": lambda: f"{found['match_us']:.0f}",
        "match_pictures": lambda: search("{pictures:,}"),
        "match_seconds": lambda: search("{seconds:.1f}"),
        "match_flat_ms": lambda: f"{1000 * details['search']['rows'][-1]['flat_seconds']:.1f}",
        "help_s": lambda: f"{found['help_s']:.2f}",
        # A difference of whole processes, which noise can take below 0.
        "import_ms": lambda: (
            f"{1000 * found['import_s']:.1f}" if found["import_s"] >= 1e-3 else "less than 1"
        ),
        "growth_documents": lambda: f"{ends()[1]['documents']:,}",
        "growth_ratio": slower,
        "growth_bytes": lambda: a_document("anonymous"),
        "growth_embedding_bytes": lambda: a_document("embeddings"),
    }

    def told(value: Callable[[], str]) -> str:
        try:
            return value()
        except (KeyError, ValueError):
            return NOT_MEASURED

    return {name: told(value) for name, value in quoted.items()}


def _without(figure: Figure, why: str) -> Figure:
    figure.clear()
    axes = figure.add_subplot()  # a notebook shows no figure without axes
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center")
    return figure


def _rows(found: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """The rows of a part of a measurement; none where it was not measured."""
    return found["details"].get(part, {}).get("rows", [])


def _measured(rows: Sequence[Any], columns: dict[str, Any], what: str) -> pd.DataFrame | str:
    return table(rows, columns) if rows else f"{what} was not measured."


@dataclass(frozen=True)
class TrainedRuns:
    """Runs of one kind: `seconds` of those that are recorded, `wanted` how many the book has."""

    label: str
    seconds: tuple[float, ...]
    wanted: int
    in_table_1: bool = False


def recorded(data: Prepared, results: Sequence[Result]) -> list[TrainedRuns]:
    """The seconds of all trainings on these data: Table 1 (of `results`), the sweep of settings, the reference's fits.

    Those of the sweep and of the reference are read where they are on disk; a chapter that has not run has none.
    """
    rows = [
        TrainedRuns(name, tuple(run.figures["seconds"] for run in runs), len(runs), runs[0].n_topics > 0)
        for name, runs in by_row(results).items()
    ]
    return [*rows, _sweep(data), *_reference(data)]


def training_table(rows: Sequence[TrainedRuns]) -> pd.DataFrame:
    """Seconds of each kind of run, one and all together, and the sum of what is recorded."""

    def share(found: int, wanted: int) -> str:
        return f"{found}" if found == wanted else f"{found} of {wanted} recorded"

    lines = [
        {
            "": row.label,
            "runs": share(len(row.seconds), row.wanted),
            "seconds a run": f"{sum(row.seconds) / len(row.seconds):.1f}" if row.seconds else NONE,
            "seconds": f"{sum(row.seconds):.0f}" if row.seconds else NONE,
        }
        for row in rows
    ]
    runs = share(sum(len(row.seconds) for row in rows), sum(row.wanted for row in rows))
    total = f"{_total(rows):.0f}"
    return frame([*lines, {"": "together", "runs": runs, "seconds a run": "", "seconds": total}])


def training_numbers(rows: Sequence[TrainedRuns]) -> dict[str, str]:
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


def _sweep(data: Prepared) -> TrainedRuns:
    """The settings chapter's runs, but for the setting that Table 1 has as well."""
    experiment, k = data.experiment, min(data.experiment.n_topics)
    configs = {
        dataclasses.replace(experiment.model, kl_weight=weight, standardize=standardize)
        for weight in KL_WEIGHTS
        for standardize in (True, False)
    } - {experiment.model}
    runs = [
        Result.current(
            model_folder(data, kind, k, config=config) / f"seed-{seed}",
            result_key(data, kind, k, config=config),
        )
        for kind in KINDS
        for config in configs
        for seed in experiment.seeds
    ]
    return TrainedRuns("settings", tuple(sorted(run.figures["seconds"] for run in runs if run)), len(runs))


def _reference(data: Prepared) -> list[TrainedRuns]:
    """The fits of the chapter on the reference package, by trainer."""
    from vtm_study.reference import OURS, THEIRS

    try:
        rows = read_sealed(run_folder(data) / "reference.json")["rows"]
    except VtmError:
        rows = []
    seconds = {
        trainer: tuple(row["seconds"] for row in rows if row["trainer"] == trainer)
        for trainer in (OURS, THEIRS)
    }
    n = len(data.experiment.seeds)
    return [TrainedRuns(f"one teacher, {trainer}", taken, n) for trainer, taken in seconds.items()]


def _total(rows: Sequence[TrainedRuns]) -> float:
    return sum(sum(row.seconds) for row in rows)
