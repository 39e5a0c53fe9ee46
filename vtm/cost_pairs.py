"""What a stored measurement (`vtm bench -o`) compares, pair by pair, as words and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vtm.bench_lines import as_it_comes, own_ratios

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

    other = f"contextualized-topic-models, {seconds(fit['reference_seconds'])}{_threads(fit, 'reference_threads')}"
    ours = seconds(fit["seconds"]) + _threads(fit, "model_threads")
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
            seconds(fit["side_by_side_seconds"], 3) + _threads(fit, "threads"),
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
    ours, all_threads = _threads(s, "threads"), _threads(s, "faiss_threads")
    batch = f"{s['batch_exact_ms'] / 1e3:.2f} s{ours}"
    return [
        (
            "exact search, one text",
            f"{s['search_exact_ms']:.1f} ms{ours}",
            f"faiss IndexFlatIP, {s['flat_ms']:.1f} ms{_threads(s, 'flat_threads')}",
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


def _threads(measured: dict[str, Any], name: str) -> str:
    """ ", 2 threads" where their number was stored."""
    count = measured.get(name)
    return "" if count is None else f", {count} thread{'s' * (count != 1)}"
