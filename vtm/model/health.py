"""Did training work? Judged by what a model does on the validation part, never on the test part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vtm.metrics.retrieval import AT, per_item
from vtm.metrics.topics import theta_information

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Topics whose words repeat another's, as a share of all, from which on a model has not found K topics.
REPEATED = 0.5
# Information of theta about its document, in nats, up to which all documents are alike; log K is the most.
ALIKE = 0.01


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


def teacher_kl(
    student: tuple[np.ndarray, np.ndarray], teacher: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float, float]:
    """How much better a student fits its teacher's posteriors than those of other documents.

    Parameters
    ----------
    student, teacher : mu and log_var of the same n documents, (n, K) each; n is at least 2.

    Returns
    -------
    own : mean of KL(student || teacher) of the same document, in nats, summed over topics.
    others : the same with the teacher's posteriors of all other documents, as when they are shuffled.
    z : the mean of others - own in standard errors over documents. A student that ignores its teacher has a z around
        0; below 1.96 its posteriors do not show that it has learned anything of the single document.
    """
    (mu, log_var), (target, target_log_var) = (
        tuple(np.asarray(array, dtype=np.float64) for array in pair) for pair in (student, teacher)
    )
    n = len(mu)
    precision = np.exp(-target_log_var)
    # (n, n): row i the student's document, column j the teacher's.
    kl = (np.exp(log_var) + mu**2) @ precision.T - 2 * mu @ (target * precision).T
    kl += (target**2 * precision + target_log_var).sum(axis=1) - (log_var + 1).sum(axis=1)[:, None]
    kl *= 0.5
    own = np.diagonal(kl)
    others = (kl.sum(axis=1) - own) / (n - 1)
    gain = others - own
    error = gain.std(ddof=1) / np.sqrt(n)
    return float(own.mean()), float(others.mean()), float(gain.mean() / error) if error > 0 else 0.0


def signs_of_collapse(
    *, theta: Mapping[str, np.ndarray], repeated: Mapping[str, float], teacher: Mapping[str, float]
) -> list[str]:
    """What shows that models have not found K topics that tell documents apart; a line for each sign.

    Parameters
    ----------
    theta : model -> theta of n documents, (n, K): of the validation part, where there is one.
    repeated : model -> the share of its topics that repeat another's words.
    teacher : student -> z of `teacher_kl` on the same documents.
    """
    signs = [
        f"the {model} model's theta is alike for all documents ({told:.4f} nats of information)"
        for model, told in ((model, theta_information(rows)) for model, rows in theta.items())
        if told <= ALIKE
    ]
    signs += [
        f"{share:.0%} of the {model} model's topics repeat another topic's words"
        for model, share in repeated.items()
        if share > REPEATED
    ]
    signs += [
        f"the {model} student is no nearer to its teacher's posterior of a document than to those of other "
        f"documents (z = {z:.2f})"
        for model, z in teacher.items()
        if not z >= 1.96
    ]
    return signs


def judge(
    *,
    curves: Sequence[dict[str, list[float]]],
    reconstruction: dict[str, float],
    unigram: float,
    ranks: np.ndarray,
    n_items: int,
    theta: Mapping[str, np.ndarray] | None = None,
    repeated: Mapping[str, float] | None = None,
    teacher: Mapping[str, float] | None = None,
) -> tuple[str, tuple[str, ...]]:
    """Status of a run and the reasons for it.

    Parameters
    ----------
    curves : training curves of each model of the run.
    reconstruction : model -> held-out reconstruction loss on the validation part.
    unigram : `unigram_reconstruction` of the same part.
    ranks : (n,) validation ranks of the right pictures.
    theta, repeated, teacher : as `signs_of_collapse` takes them.

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
    reasons += signs_of_collapse(theta=theta or {}, repeated=repeated or {}, teacher=teacher or {})
    mrr = float(per_item(ranks, at=AT)["mrr_100"].mean())
    bound = random_mrr_bound(n_items, len(ranks))
    if mrr <= bound:
        reasons.append(f"validation MRR@100 of {mrr:.3f} is what random rankings reach ({bound:.3f})")
    return ("collapsed", tuple(reasons)) if reasons else ("ok", ())
