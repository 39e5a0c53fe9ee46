"""What things cost, each beside what it is compared with, in one run on this machine."""

from __future__ import annotations

import datetime
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from vtm.errors import MissingError, VtmError
from vtm_study.machine import commit, machine

# The sizes of a full and of a quick run; ratios do not depend on epochs (`benchmarks.training` shows it).
FULL: dict[str, Any] = {
    "fit": {"epochs": 100, "repeats": 3},
    "embedding": {"n": 1024, "rounds": 5},
    "search": {"n": 1_000_000, "n_batch": 1915, "rounds": 3},
    "starts": 15,
    "growth": {"sizes": (10_000, 100_000, 1_000_000)},
    "grid": {"epochs": 100, "repeats": 3},
}
QUICK: dict[str, Any] = {
    "fit": {"epochs": 8, "repeats": 3},
    "embedding": {"n": 96, "rounds": 3},
    "search": {"n": 1_000_000, "n_batch": 64, "rounds": 3, "n_single": 15},
    "starts": 7,
    "grid": {"epochs": 8, "repeats": 1},
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
        search_exact_ms_1e6, search_ms_1e6, search_recall : exact and approximate top 100 among 10^6 images for one
        text, and what share of the exact answer the approximate one has.
        help_s, import_s : seconds until `vtm --help` has answered, and for `import vtm`.
        grid_vs_ctm, device : with `device` alone.
        details : of each part, with spreads; a full run also has growth (`benchmarks.growth.grow`).
        machine, date, commit, skipped.

    Raises
    ------
    ConfigError
        `device` is another, or not there.
    """
    if device is not None:
        from benchmarks.training import check_device

        check_device(device)
    sizes = QUICK if quick else FULL
    found: dict[str, Any] = {}
    details: dict[str, Any] = {}
    skipped: dict[str, str] = {}

    def part(
        name: str, work: Callable[[], dict[str, Any]], figures: Callable[[dict[str, Any]], dict]
    ) -> None:
        say(f"measuring {name}")
        try:
            details[name] = work()
        except subprocess.CalledProcessError as error:
            said = (error.stderr or "").strip().splitlines()
            skipped[name] = said[-1] if said else f"its process ended with {error.returncode}"
        except (VtmError, OSError) as error:
            skipped[name] = str(error)
        else:
            found.update(figures(details[name]))

    def fit() -> dict[str, Any]:
        from benchmarks.training import bench_fit

        return bench_fit(**sizes["fit"])

    def embedding() -> dict[str, Any]:
        from benchmarks.embedding import bench_embedding
        from vtm.corpora.fetch import GROUPS, is_fetched
        from vtm.encoders import load_encoder

        if not all(is_fetched(name) for name in GROUPS["encoder:offline"]):
            raise MissingError("the encoder's weights are not here: `vtm prefetch --encoder offline`")
        encoder = load_encoder("offline").image
        return bench_embedding(encoder, raw=encoder.reference(), **sizes["embedding"])

    def search() -> dict[str, Any]:
        from benchmarks.search import bench_search

        return bench_search(**sizes["search"])

    def grid() -> dict[str, Any]:
        from benchmarks.training import bench_grid

        return bench_grid(device=str(device), **sizes["grid"])

    def growth() -> dict[str, Any]:
        from benchmarks.growth import grow

        return {"rows": grow(**sizes["growth"])}

    def about() -> dict[str, Any]:
        return {
            "quick": quick,
            "machine": machine(),
            "date": datetime.date.today().isoformat(),
            "commit": commit(),
            "skipped": skipped,
            "details": details,
        }

    if device is not None:
        part("grid", grid, lambda d: {"grid_vs_ctm": d["ratio"]["median"]})
        return {**found, "device": device, **about()}
    part(
        "start-up", lambda: bench_start(sizes["starts"]), lambda d: {k: d[k] for k in ("help_s", "import_s")}
    )
    part("training", fit, lambda d: {"fit_vs_ctm": d["ratio"]["median"]})
    part("embedding", embedding, lambda d: {"embed_vs_raw": d["embed_vs_raw"]})
    part(
        "search",
        search,
        lambda d: {
            "search_exact_ms_1e6": d["search_exact_ms"],
            "search_ms_1e6": d["search_ms"],
            "search_recall": d["search_recall"],
        },
    )
    if "growth" in sizes:
        part("growth", growth, lambda d: {})
    return {**found, **about()}


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
    for arguments in runs.values():
        seconds(*arguments)  # the first one reads its files from disk
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, arguments in runs.items():
            taken[name].append(seconds(*arguments))
    differences = [a - b for a, b in zip(taken["import"], taken["empty"], strict=True)]
    return {
        "help_s": statistics.median(taken["help"]),
        "import_s": statistics.median(differences),
        **taken,
    }


# The command that measures what things cost.


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
    from json import dumps

    from vtm.errors import ConfigError
    from vtm.files import atomic_path, write_json
    from vtm_study.costs import bench_lines

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
    typer.run(bench)
