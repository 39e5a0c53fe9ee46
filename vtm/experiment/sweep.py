"""Studies on the validation part: how the settings were chosen, and our trainer beside the reference package's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import KINDS
from vtm.experiment.prepare import Prepared
from vtm.experiment.results import healthy
from vtm.experiment.runs import run_models
from vtm.metrics.retrieval import expected_random, seed_summary
from vtm.report.tables import frame

if TYPE_CHECKING:
    import pandas as pd


KL_WEIGHTS = (0.03, 0.1, 0.3, 1.0)


def sweep(data: Prepared, *, kl_weights: Sequence[float] = KL_WEIGHTS) -> list[dict[str, Any]]:
    """Train every KL weight with standardized and raw embeddings, both kinds, all seeds, the smallest K.

    Returns
    -------
    A dict for each setting and kind: kind, kl_weight, standardize, runs, healthy, mrr (mean validation MRR@100 of
    all runs), sd (NaN for one seed), npmi_text, npmi_image, smallest_variance, chance.
    """
    k = min(data.experiment.n_topics)
    chance = expected_random(len(data.rows["validation"]))["mrr_100"]
    rows = []
    for kind in KINDS:
        for standardize in (True, False):
            for weight in kl_weights:
                config = dataclasses.replace(data.experiment.model, kl_weight=weight, standardize=standardize)
                results = run_models(data, kind, config=config, n_topics=[k])

                def values(figure: str, results=results) -> np.ndarray:
                    return np.array([run.figures.get(figure, np.nan) for run in results])

                mrr = seed_summary(np.nan_to_num(values("validation_mrr_100")))
                rows.append(
                    dict(
                        kind=kind,
                        n_topics=k,
                        kl_weight=weight,
                        standardize=standardize,
                        runs=len(results),
                        healthy=len(healthy(results)),
                        mrr=mrr["mean"],
                        sd=mrr["sd"],
                        npmi_text=float(values("text_npmi").mean()),
                        npmi_image=float(values("image_npmi").mean()),
                        smallest_variance=float(values("teacher_smallest_variance").min()),
                        chance=chance,
                    )
                )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """`sweep`'s rows as the book shows them."""
    return frame(
        [
            {
                "kind": row["kind"],
                "KL weight": f"{row['kl_weight']:g}",
                "embeddings": _scale(row),
                "healthy": f"{row['healthy']} of {row['runs']}",
                "MRR@100": _mean_and_sd(row["mrr"], row["sd"]),
                "NPMI, text": f"{row['npmi_text']:.3f}",
                "NPMI, image": f"{row['npmi_image']:.3f}",
                "teacher's smallest variance": f"{row['smallest_variance']:.1e}",
            }
            for row in rows
        ],
        "kind",
    )


def numbers(rows: Sequence[dict[str, Any]]) -> dict[str, float | str]:
    """The numbers that the settings chapter quotes.

    "best" has the highest mean MRR@100 over both kinds; "chosen" is the largest KL weight, with the same scale of the
    embeddings, whose mean lies within the seeds' standard deviation of the best: the KL term is what ties a student
    to its teacher, and is kept as strong as the validation part allows. One seed has no standard deviation: there the
    chosen setting is the best.
    """
    settings: dict[tuple[float, bool], list[dict[str, Any]]] = {}
    for row in rows:
        settings.setdefault((row["kl_weight"], row["standardize"]), []).append(row)
    mean = {setting: float(np.mean([row["mrr"] for row in group])) for setting, group in settings.items()}
    best = max(mean, key=mean.__getitem__)
    sd = float(np.mean([row["sd"] for row in settings[best]]))
    within = 0.0 if np.isnan(sd) else sd
    near = [setting for setting in mean if setting[1] == best[1] and mean[setting] >= mean[best] - within]
    chosen = max(near)
    paper = settings[(1.0, False)]
    return {
        "best_mrr": mean[best],
        "best_weight": float(best[0]),
        "best_scale": _scale(settings[best][0]),
        "best_sd": "–" if np.isnan(sd) else f"{sd:.3f}",
        "chosen_weight": float(chosen[0]),
        "chosen_mrr": mean[chosen],
        "paper_mrr": mean[(1.0, False)],
        "paper_healthy": float(sum(row["healthy"] for row in paper)),
        "paper_runs": float(sum(row["runs"] for row in paper)),
        "smallest_variance": float(min(row["smallest_variance"] for row in paper)),
    }


def _mean_and_sd(mean: float, sd: float) -> str:
    return f"{mean:.3f}" if np.isnan(sd) else f"{mean:.3f}\u00a0±\u00a0{sd:.3f}"


def _scale(row: dict[str, Any]) -> str:
    return "standardized" if row["standardize"] else "raw"
