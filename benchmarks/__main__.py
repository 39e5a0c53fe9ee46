"""What things cost, each beside what it is compared with, in one run on this machine."""

from __future__ import annotations

import datetime
import functools
import operator
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from vtm.cli import Commands
from vtm.errors import ConfigError, VtmError
from vtm.files import atomic_path, write_json
from vtm_study.machine import commit, machine

# The sizes of a full and of a quick run; ratios do not depend on epochs (`benchmarks.training` shows it).
FULL: dict[str, Any] = {
    "fit": {"epochs": 100, "repeats": 3},
    "embedding": {"n": 1024, "rounds": 5},
    "precision": {"n": 256, "n_photos": 48, "rounds": 3},
    "search": {"sizes": (10_000, 100_000, 1_000_000), "rounds": 5},
    "starts": 15,
    "growth": {"sizes": (10_000, 100_000, 1_000_000)},
    "vtm+": {"sizes": (10_000, 100_000, 1_000_000)},
    "quality": {"n_seeds": 5},
    "grid": {"epochs": 100, "repeats": 3},
}
QUICK: dict[str, Any] = {
    "fit": {"epochs": 8, "repeats": 3},
    "embedding": {"n": 96, "rounds": 3},
    "search": {"sizes": (5_000, 20_000)},
    "starts": 7,
    "grid": {"epochs": 8, "repeats": 1},
}
# The figures of a run: where in its details each stands.
FIGURES = {
    "help_s": ("start-up", "help_s"),
    "import_s": ("start-up", "import_s"),
    "fit_vs_ctm": ("training", "ratio", "median"),
    "embed_vs_raw": ("embedding", "embed_vs_raw"),
    "match_us": ("search", "match_us"),
    "grid_vs_ctm": ("grid", "ratio", "median"),
}


def run_bench(
    *,
    quick: bool = False,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure all of it; a part that cannot be measured here is left out and named under `skipped`, with the reason.

    Parameters
    ----------
    device : "cpu" or "cuda": in place of all else, the whole grid of models on that device
        (`benchmarks.training.bench_grid`).

    Returns
    -------
    dict
        fit_vs_ctm : how many times as fast as the reference package's `fit` one model is trained.
        embed_vs_raw : from files to cache, as a share of what ONNX Runtime's own session does with arrays in memory
        and the graph as published (ours computes only what it uses of the last layer).
        match_us : microseconds for each picture among which one text is looked for, embeddings being at hand.
        help_s, import_s : seconds until `vtm --help` has answered, and for `import vtm`.
        grid_vs_ctm, device : with `device` alone.
        details : of each part, with spreads; a full run also has precision (`benchmarks.embedding.bench_precision`), growth
        (`benchmarks.growth.grow`), that of VTM+ (`benchmarks.growth.grow_plus`), and quality by time
        (`benchmarks.training.bench_quality`).
        machine, date, commit, skipped.

    Raises
    ------
    ConfigError
        `device` is another, or not there.
    """
    from benchmarks import embedding, growth, search, training

    sizes = QUICK if quick else FULL
    parts: dict[str, Callable[[], dict[str, Any]]]
    if device is not None:
        training.check_device(device)
        parts = {"grid": lambda: training.bench_grid(device=device, **sizes["grid"])}
    else:
        parts = {
            "start-up": lambda: bench_start(sizes["starts"]),
            "answer": lambda: bench_answer(sizes["starts"]),
            "training": lambda: training.bench_fit(**sizes["fit"]),
            "embedding": lambda: embedding.bench_encoder("offline", **sizes["embedding"]),
            "search": lambda: search.bench_search(**sizes["search"]),
        }
        if "precision" in sizes:
            parts["precision"] = lambda: embedding.bench_precision(**sizes["precision"])
        if "growth" in sizes:
            parts["growth"] = lambda: {"rows": growth.grow(**sizes["growth"])}
        if "vtm+" in sizes:
            parts["vtm+"] = lambda: {"rows": growth.grow_plus(**sizes["vtm+"])}
        if "quality" in sizes:
            parts["quality"] = lambda: training.bench_quality(**sizes["quality"])
    details: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for name, measure in parts.items():
        say(f"measuring {name}")
        try:
            details[name] = measure()
        except subprocess.CalledProcessError as error:
            said = (error.stderr or "").strip().splitlines()
            skipped[name] = said[-1] if said else f"its process ended with {error.returncode}"
        except (VtmError, OSError) as error:
            skipped[name] = str(error)
    return {
        name: functools.reduce(operator.getitem, place, details)
        for name, place in FIGURES.items()
        if place[0] in details
    } | {
        **({} if device is None else {"device": device}),
        "quick": quick,
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "skipped": skipped,
        "details": details,
    }


def in_turns(
    runs: dict[str, tuple[str, ...]], cost: Callable[..., float], rounds: int
) -> dict[str, list[float]]:
    """What each process costs by its arguments, one value a round, in turns: name -> (rounds,)."""
    for arguments in runs.values():
        cost(*arguments)  # the first one reads its files from disk
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, arguments in runs.items():
            taken[name].append(cost(*arguments))
    return taken


def bench_start(rounds: int = 7) -> dict[str, Any]:
    """Seconds of `vtm --help` as a whole process, and of `import vtm` beyond those of an empty one, in turns.

    Returns
    -------
    dict
        help_s : median; import_s : median of the rounds' differences, which noise can take below 0.
        help, import, empty : seconds of each process, one value a round.
    """

    def seconds(*arguments: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
        return time.perf_counter() - started

    runs = {
        "empty": ("-c", "pass"),
        "import": ("-c", "import vtm"),
        "help": ("-m", "vtm", "--help"),
    }
    taken = in_turns(runs, seconds, rounds)
    differences = [a - b for a, b in zip(taken["import"], taken["empty"], strict=True)]
    return {
        "help_s": statistics.median(taken["help"]),
        "import_s": statistics.median(differences),
        **taken,
    }


def bench_answer(rounds: int = 7) -> dict[str, Any]:
    """Processor seconds of commands that ask a trained model, each a process of its own, in turns.

    The model is VTM+ of 300 scenes and the encoder "offline"; all pictures are in the cache.

    Returns
    -------
    dict
        topics, tag, match : one value a round: its topics, the keywords of one picture, the pictures for one text.
        libraries : the same of a process that only imports PyTorch, scikit-learn and sentence-transformers, which train
            models and which none of the three loads.
    """
    from benchmarks.embedding import need_weights
    from vtm import VisualTopicModel, load_corpus
    from vtm.files import scratch

    need_weights("offline")
    corpus = load_corpus("scenes", n=300)
    pictures = str(Path(corpus.images[0]).parent)

    def seconds(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    with scratch() as folder:
        model = str(folder / "model")
        VisualTopicModel(20, progress=False).fit(corpus.texts, corpus.images).save(model)
        runs = {
            "topics": ("-m", "vtm", "topics", model),
            "tag": ("-m", "vtm", "tag", model, str(corpus.images[0])),
            "match": (
                "-m",
                "vtm",
                "match",
                model,
                pictures,
                "--text",
                f"{corpus.texts[0]} zeppelin",
                "--all",
            ),
            "libraries": ("-c", "import torch, sklearn.base, sentence_transformers"),
        }
        return in_turns(runs, seconds, rounds)


def bench_lines(found: dict[str, Any]) -> list[str]:
    """A measurement as lines of text, ratios with their spread where they were measured more than once."""
    from vtm_study import costs

    details = found["details"]
    lines = [f"{name:<12} {value}" for name, value in found["machine"].items()]
    for pair in costs.measured_pairs(details):
        lines.append(
            f"{pair.label}: {costs.with_spread(pair.ratio)} times as fast, {pair.ours} beside {pair.other}"
        )
    losses = {f"{size} topics": of for size, of in details.get("grid", {}).get("held_out", {}).items()}
    if fit := details.get("training"):
        losses["one model"] = fit["held_out"]
    for label, loss in losses.items():
        beside = f"theirs {loss['reference']:.2f}"
        lines.append(f"{label}: held-out loss {loss['ours']:.2f} nats a document, {beside}")
    for row in details.get("search", {}).get("rows", ()):
        lines.append(
            f"search       {row['pictures']:>9,} pictures: {row['seconds']:.2f} s for one text, "
            f"{row['microseconds_a_picture']:.0f} microseconds a picture; by topics that are read "
            f"{1000 * row['topics_seconds']:.1f} ms, faiss {1000 * row['flat_seconds']:.1f} ms"
        )
    for row in details.get("growth", {}).get("rows", ()):
        lines.append(
            f"growth       {row['documents']:>9,} documents: {row['seconds_an_epoch']:.2f} s an epoch, "
            f"{row['microseconds_a_document']:.1f} microseconds a document, recovery {row['recovery']:.2f}, "
            f"{row['anonymous']:.0f} MiB of its own and {row['mapped']:.0f} MiB of mapped files"
        )
    for row in details.get("vtm+", {}).get("rows", ()):
        lines.append(
            f"VTM+         {row['documents']:>9,} pairs: {row['processor_seconds']:.1f} processor seconds, "
            f"{row['microseconds_a_document']:.0f} microseconds a pair, recovery {row['recovery']:.3f}, "
            f"{row['anonymous']:.0f} MiB beyond {row['embeddings']:.0f} MiB of mapped embeddings"
        )
        for name, one in row["clusterings"].items():
            lines.append(
                f"             k-means by {name}: {one['processor_seconds']:.1f} s, mean cosine {one['fit']:.4f}"
            )
    for row in costs.quality_rows(found):
        lines.append(
            f"quality      {row['label']}: {row['before']:.3f} with the settings before, "
            + (f"in {row['share']:.2f} of the time by {row['how']}" if "share" in row else "not reached")
        )
    if start := details.get("start-up"):
        lines.append(f"start-up     vtm --help {start['help_s']:.2f} s, import vtm {start['import_s']:.3f} s")
    if answer := {name: min(taken) for name, taken in details.get("answer", {}).items()}:
        libraries = answer.pop("libraries")
        shares = ", ".join(f"{name} {s:.2f} s, {s / libraries:.2f} of it" for name, s in answer.items())
        lines.append(
            f"answer       importing what trains takes {libraries:.2f} s of the processor; vtm {shares}"
        )
    return [*lines, *(f"skipped      {name}: {why}" for name, why in found["skipped"].items())]


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    subcommand_metavar="",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer epochs and pictures: within 50 seconds.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            help="cuda or cpu: measure there the training of all models of Table 1, and nothing else.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the JSON to this file, too.")] = None,
) -> None:
    """Measure training, embedding, search and start-up beside what they are compared with, in one run."""
    if out is not None and out.is_dir():
        raise ConfigError(f"-o {out}: is a folder; name a file in it, as {out / 'bench.json'}")
    show = sys.stderr.isatty()
    # The file is begun first: a place that cannot be written must not cost a measurement.
    with nullcontext() if out is None else atomic_path(out) as begun:
        found = run_bench(
            quick=quick, device=device, say=lambda line: typer.echo(line, err=True) if show else None
        )
        for line in [dumps(found)] if json else bench_lines(found):
            typer.echo(line)
        if begun is not None:
            write_json(begun, found)


if __name__ == "__main__":
    app()
