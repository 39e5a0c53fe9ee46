"""A measurement of `vtm bench` as lines of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


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
