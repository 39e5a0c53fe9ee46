"""Tables and numbers of the training chapters: how the runs fared on the validation part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.metrics import expected_random, seed_summary
from vtm.results import Result, by_row, healthy
from vtm.theta_metrics import diagonal_summary, topic_agreement

if TYPE_CHECKING:
    import pandas as pd

VALIDATION = {
    "MRR@100": "validation_mrr_100",
    **{f"R@{k}": f"validation_recall_{k}" for k in (1, 5, 10, 50)},
}


def health_table(results: Sequence[Result]) -> pd.DataFrame:
    """Every run: whether training worked, by what it does on the validation part, and what it took."""
    lines = [
        {
            "": run.name,
            "seed": run.seed,
            "status": run.status,
            "validation MRR@100": f"{run.figures.get('validation_mrr_100', float('nan')):.3f}",
            "held-out loss, text": f"{run.figures.get('text_validation_reconstruction', float('nan')):.2f}",
            "held-out loss, image": f"{run.figures.get('image_validation_reconstruction', float('nan')):.2f}",
            "word frequencies": f"{run.figures.get('unigram_validation_reconstruction', float('nan')):.2f}",
            "reasons": "; ".join(run.reasons) or "–",
        }
        for run in results
    ]
    return frame(lines)


def failed_runs_table(results: Sequence[Result]) -> pd.DataFrame | str:
    """The runs that collapsed or diverged, or a sentence that there were none."""
    failed = [run for run in results if run.status != "ok"]
    return health_table(failed) if failed else f"None of the {len(results)} runs failed."


def validation_table(results: Sequence[Result]) -> pd.DataFrame:
    """Ranking figures on the validation part, mean ± sd over healthy runs, and chance."""
    lines = []
    for name, runs in by_row(results).items():
        good = healthy(runs)
        line = {"": name, "runs": f"{len(good)} of {len(runs)}"}
        for label, figure in VALIDATION.items():
            line[label] = spread([run.figures[figure] for run in good])
        line["seconds a seed"] = f"{np.mean([run.figures['seconds'] for run in runs]):.1f}"
        lines.append(line)
    chance = expected_random(len(results[0].ids["validation"]))
    lines.append(
        {"": "chance", "runs": "", "seconds a seed": ""}
        | {label: f"{chance[figure.removeprefix('validation_')]:.3f}" for label, figure in VALIDATION.items()}
    )
    return frame(lines)


def validation_numbers(results: Sequence[Result]) -> dict[str, float]:
    """The numbers that a training chapter's prose quotes; NaN where no run is healthy.

    `k_best` is the K with the best mean validation MRR@100; the figures beside it are of that K.
    """
    n_items = len(results[0].ids["validation"])
    means = {
        runs[0].n_topics: np.mean([run.figures["validation_mrr_100"] for run in healthy(runs)])
        for runs in by_row(results).values()
        if healthy(runs)
    }
    best = max(means, key=means.get) if means else results[0].n_topics
    good = [run for run in healthy(results) if run.n_topics == best]

    def mean(figure: str) -> float:
        values = [run.figures[figure] for run in good if figure in run.figures]
        return float(np.mean(values)) if values else float("nan")

    return {
        "n_runs": float(len(results)),
        "n_healthy": float(len(healthy(results))),
        "k_best": float(best),
        "validation_items": float(n_items),
        "validation_mrr": mean("validation_mrr_100"),
        "validation_mrr_random": expected_random(n_items)["mrr_100"],
        "npmi_text": mean("text_npmi"),
        "npmi_image": mean("image_npmi"),
    }


def shown_run(results: Sequence[Result]) -> Result:
    """The run whose topics are shown: the first healthy one with the most topics; the first one if none is healthy."""
    runs = healthy(results) or list(results)
    largest = max(run.n_topics for run in runs)
    return next(run for run in runs if run.n_topics == largest)


def topic_words_table(run: Result, *, n: int = 12, top: int = 10) -> pd.DataFrame:
    """Keywords of the n topics that text and picture agree on most, and of the n / 2 that they agree on least."""
    text, image = run.text("validation"), run.image("validation")
    agreement = np.diag(topic_agreement(text, image))
    order = np.argsort(-agreement, kind="stable")
    n = min(n, len(order))
    shown = list(dict.fromkeys([*order[:n], *order[-(n // 2) :]]))
    return frame(
        [
            {
                "topic": int(k),
                "agreement": f"{agreement[k]:.2f}",
                "share of pictures": f"{image[:, k].mean():.1%}",
                "words, text model": ", ".join(run.topics["text"][k][:top]),
                "words, image model": ", ".join(run.topics["image"][k][:top]),
            }
            for k in shown
        ],
        "topic",
    )


def agreement_numbers(run: Result, part: str = "test") -> dict[str, float]:
    """Mean correlation of text topic k with image topic k and with other topics, and how often k is its own best."""
    summary = diagonal_summary(topic_agreement(run.text(part), run.image(part)))
    return {
        "diagonal": float(summary["mean"]),
        "off_diagonal": float(summary["off_mean"]),
        "own_best": float(summary["own_best"]),
    }


def frame(lines: Sequence[dict], index: str = "") -> pd.DataFrame:
    """Lines as a table with one heading: the index' name stands in it instead of in a line of its own."""
    import pandas as pd

    return pd.DataFrame(lines).set_index(index).rename_axis(None).rename_axis(index or None, axis="columns")


def provenance(measured: Mapping[str, Any]) -> dict[str, str]:
    """Where a stored measurement comes from, as cells of a table: its date, commit and processor."""
    machine = measured["machine"]
    return {
        "date": measured["date"],
        "commit": measured["commit"] or "–",
        "processor": f"{machine['processor']}, {machine['cores']} cores",
    }


def spread(values: Sequence[float], *, digits: int = 3) -> str:
    """`mean ± sd` over runs; the mean alone for one run, a dash for none."""
    if len(values) == 0:
        return "–"
    summary = seed_summary(np.asarray(values, dtype=np.float64))
    text = f"{summary['mean']:.{digits}f}"
    return text if np.isnan(summary["sd"]) else f"{text} ±\u00a0{summary['sd']:.{digits}f}"
