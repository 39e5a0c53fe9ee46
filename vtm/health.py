"""Did training work? Judged by what a model does on the validation part, never on the test part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from vtm.metrics import AT, per_item


def unigram_reconstruction(train: csr_matrix, held_out: csr_matrix) -> float:
    """Held-out loss of a model that knows word frequencies only (add-one smoothed), nats per document.

    A topic model that does not beat it has learned nothing from its input.
    """
    frequency = np.asarray(train.sum(axis=0)).ravel() + 1.0
    return float(-(held_out @ np.log(frequency / frequency.sum())).mean())


def random_mrr_bound(n_items: int, n_queries: int, *, cutoff: int = 100) -> float:
    """MRR@cutoff that random rankings of `n_items` stay below in about 97.5 % of trials (normal approximation)."""
    reciprocal = np.zeros(n_items)
    ranks = np.arange(1, min(cutoff, n_items) + 1)
    reciprocal[: len(ranks)] = 1.0 / ranks
    return float(reciprocal.mean() + 1.96 * reciprocal.std() / np.sqrt(n_queries))


def judge(
    *,
    curves: Sequence[dict[str, list[float]]],
    reconstruction: dict[str, float],
    unigram: float,
    ranks: np.ndarray,
    n_items: int,
) -> tuple[str, tuple[str, ...]]:
    """Status of a run and the reasons for it.

    Parameters
    ----------
    curves : training curves of each model of the run.
    reconstruction : model -> held-out reconstruction loss on the validation part.
    unigram : `unigram_reconstruction` of the same part.
    ranks : (n,) validation ranks of the right pictures.

    Returns
    -------
    ("ok" | "collapsed" | "diverged", reasons)
    """
    values = [v for curve in curves for name in ("reconstruction", "kl") for v in curve[name]]
    if not np.isfinite([*values, *reconstruction.values()]).all():
        return "diverged", ("a loss is no longer a finite number",)
    reasons = [
        f"the {model} model's held-out loss of {loss:.2f} nats does not beat word frequencies alone ({unigram:.2f})"
        for model, loss in reconstruction.items()
        if loss >= unigram
    ]
    mrr = float(per_item(ranks, at=AT)["mrr_100"].mean())
    bound = random_mrr_bound(n_items, len(ranks))
    if mrr <= bound:
        reasons.append(f"validation MRR@100 of {mrr:.3f} is what random rankings reach ({bound:.3f})")
    return ("collapsed", tuple(reasons)) if reasons else ("ok", ())
