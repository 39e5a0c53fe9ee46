"""What things cost, each beside what it is compared with, in one run on this machine."""

from __future__ import annotations

import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from vtm.errors import MissingError
from vtm.machine import machine
from vtm.paths import checkout

# The sizes of a full and of a quick run; ratios do not depend on epochs (`vtm.training_bench` shows it).
FULL: dict[str, Any] = {
    "fit": {"epochs": 100, "repeats": 3},
    "embedding": {"n": 1024, "rounds": 5},
    "search": {"n": 1_000_000, "n_batch": 1915, "rounds": 1},
    "starts": 7,
    "growth": {"sizes": (10_000, 100_000, 1_000_000)},
}
QUICK: dict[str, Any] = {
    "fit": {"epochs": 8, "repeats": 3},
    "embedding": {"n": 96, "rounds": 3},
    "search": {"n": 1_000_000, "n_batch": 64, "rounds": 1, "n_single": 15},
    "starts": 3,
}


def run_bench(*, quick: bool = False, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Measure all of it; a part whose package or weights are not here is left out and named under `skipped`.

    Returns
    -------
    dict
        fit_vs_ctm : how many times as fast as the reference package's `fit` one model is trained.
        embed_vs_raw : from files to cache, as a share of what ONNX Runtime's own session does with arrays in memory.
        search_exact_ms_1e6, search_ms_1e6, search_recall : exact and approximate top 100 among 10^6 images for one
        text, and what share of the exact answer the approximate one has.
        help_s, import_s : seconds until `vtm --help` has answered, and for `import vtm`.
        details : of each part, with spreads; a full run also has growth (`vtm.growth.grow`).
        machine, date, commit, skipped.
    """
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
        except MissingError as error:
            skipped[name] = str(error)
        else:
            found.update(figures(details[name]))

    def fit() -> dict[str, Any]:
        from vtm.training_bench import bench_fit

        return bench_fit(**sizes["fit"])

    def embedding() -> dict[str, Any]:
        from vtm.embedding_bench import bench_embedding
        from vtm.encoders import load_encoder
        from vtm.fetch import GROUPS, is_fetched

        if not all(is_fetched(name) for name in GROUPS["encoder:offline"]):
            raise MissingError("the encoder's weights are not here: `vtm prefetch --encoder offline`")
        encoder = load_encoder("offline").image
        return bench_embedding(encoder, raw=encoder.reference(), **sizes["embedding"])

    def search() -> dict[str, Any]:
        from vtm.search_bench import bench_search

        return bench_search(**sizes["search"])

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
        part("growth", lambda: {"rows": _grow(sizes["growth"])}, lambda d: {})
    return {
        **found,
        "quick": quick,
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "skipped": skipped,
        "details": details,
    }


def commit() -> str:
    """The checkout's commit, "" outside of one; with "+" where tracked files of the package differ from it."""
    root = checkout()
    if root is None:
        return ""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        return done.stdout.strip()

    head = git("rev-parse", "--short=12", "HEAD")
    return head + ("+" if head and git("status", "--porcelain", "--untracked-files=no", "vtm") else "")


def _grow(sizes: dict[str, Any]) -> list[dict[str, Any]]:
    """`vtm.growth.grow` in a process of its own, whose peak memory is nobody else's."""
    code = "import json, sys; from vtm.growth import grow; print(json.dumps(grow(**json.loads(sys.argv[1]))))"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(sizes)], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def bench_start(rounds: int = 7) -> dict[str, Any]:
    """Seconds of `vtm --help` and of `import vtm` as whole processes, less those of an empty one."""

    def seconds(*arguments: str) -> list[float]:
        taken = []
        for _ in range(rounds):
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], check=True, capture_output=True, env=dict(os.environ)
            )
            taken.append(time.perf_counter() - started)
        return taken

    seconds("-c", "pass")  # the first one reads the interpreter from disk
    empty, shown, imported = (
        seconds("-c", "pass"),
        seconds("-m", "vtm.cli", "--help"),
        seconds("-c", "import vtm"),
    )
    return {
        "help_s": statistics.median(shown),
        "import_s": max(0.0, statistics.median(imported) - statistics.median(empty)),
        "help": shown,
        "import": imported,
        "empty": empty,
    }


def bench_lines(found: dict[str, Any]) -> list[str]:
    """The figures as lines of text, ratios with their spread."""
    details = found["details"]
    lines = [f"{name:<12} {value}" for name, value in found["machine"].items()]
    if fit := details.get("training"):
        for label, key in (("alone", "ratio"), ("3 seeds side by side, each", "side_by_side_ratio")):
            r = fit[key]
            lines.append(
                f"training     {r['median']:.1f} times as fast as contextualized-topic-models' fit, {label} "
                f"({r['low']:.1f} to {r['high']:.1f})"
            )
    if embed := details.get("embedding"):
        ratios = embed["ratios"]
        lines.append(
            f"embedding    {embed['files_per_s']:.0f} pictures a second from files, {embed['embed_vs_raw']:.0%} of ONNX "
            f"Runtime alone ({min(ratios):.0%} to {max(ratios):.0%}); the encoder from arrays {embed['encoder_vs_raw']:.0%}"
        )
    if s := details.get("search"):
        low, middle, high = s["flat_vs_exact"]
        lines += [
            f"search       {s['search_exact_ms']:.0f} ms exact for one text among {s['n']:,}; faiss' flat index "
            f"{s['flat_ms']:.0f} ms, ratio {middle:.1f} ({low:.1f} to {high:.1f})",
            f"             {s['batch_exact_ms'] / 1e3:.2f} s exact for {s['n_batch']:,} texts; flat "
            f"{s['batch_flat_ms'] / 1e3:.2f} s",
            f"             {s['search_ms']:.2f} ms approximate, recall {s['search_recall']:.3f}",
        ]
    for row in details.get("growth", {}).get("rows", ()):
        lines.append(
            f"growth       {row['documents']:>9,} documents: {row['seconds_an_epoch']:.2f} s an epoch, "
            f"{row['microseconds_a_document']:.1f} microseconds a document, recovery {row['recovery']:.2f}, "
            f"peak {row['memory']:.0f} MiB"
        )
    start = details["start-up"]
    lines.append(f"start-up     vtm --help {start['help_s']:.2f} s, import vtm {start['import_s']:.2f} s")
    lines += [f"skipped      {name}: {why}" for name, why in found["skipped"].items()]
    return lines
