"""What the study measures, from arrays: ranks of fused similarities, keyword hits, similarities of Gaussians."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isnan, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.errors import ConfigError, DataError
from vtm.experiment.prepare import Prepared
from vtm.experiment.results import Result
from vtm.metrics.ranking import NOT_FOUND, target_ranks
from vtm.metrics.retrieval import Test, bootstrap_interval, paired_bootstrap, per_item, seed_summary
from vtm.metrics.topics import inverted_rbo, npmi, topic_diversity
from vtm.model.plus import cut, unit

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def items(
    text: np.ndarray, image: np.ndarray, ids: Sequence[str], *, measure: str, n_missing: int = 0
) -> dict[str, np.ndarray]:
    """What each text adds to each retrieval figure (`vtm.metrics.retrieval.per_item`), (n + n_missing,) each.

    n_missing : texts whose picture is lost; they count as not found, and come last.
    """
    ranks = target_ranks(text, image, ids, ids, measure=measure).ranks
    return per_item(np.concatenate([ranks, np.full(n_missing, NOT_FOUND, dtype=ranks.dtype)]))


def reciprocal(
    text: np.ndarray, image: np.ndarray, ids: Sequence[str], *, measure: str, n_missing: int = 0
) -> np.ndarray:
    """1/rank of each text's own picture, 0 past the hundredth or without one: as `items`. Its mean is MRR@100."""
    return items(text, image, ids, measure=measure, n_missing=n_missing)["mrr_100"]


def fused(embedding: np.ndarray, other: np.ndarray, *, weight: float) -> np.ndarray:
    """Vectors whose inner product is cosine(embeddings) + weight * the inner product of the others.

    embedding (n, d), other (n, K) -> (n, d + K); rank with measure "dot". For topics `other` is sqrt(theta), whose
    inner product is the Bhattacharyya coefficient.
    """
    return np.concatenate([unit(np.asarray(embedding, dtype=np.float64)), weight**0.5 * other], axis=1)


def keyword_hits(words: np.ndarray, counts: csr_matrix, *, top: int = 10) -> np.ndarray:
    """Share of each document's `top` likeliest words that its own text contains, (n,).

    Parameters
    ----------
    words : (n, V) each picture's distribution over words, theta @ beta; of equal words the first ones count.
    counts : (n, V) bags of words of the pictures' own texts, which the model has not seen.
    """
    if words.shape != counts.shape:
        raise DataError(f"words of shape {words.shape} for texts of shape {counts.shape}")
    best = np.argsort(-words, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(np.asarray(counts.todense()) > 0, best, axis=1).mean(axis=1)


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """`vtm.metrics.retrieval.seed_summary` for a JSON file: the sd of one seed is None, as JSON knows no NaN."""
    found = seed_summary(values)
    return {**found, "sd": found["sd"] if found["n"] > 1 else None}


# The study's tests: paired over items, between seeds, and what is left of them where there are many (Holm).


# So many that p can go below .001: its smallest value is 2 / (N_RESAMPLES + 1).
N_RESAMPLES = 10_000


def paired(a: np.ndarray, b: np.ndarray) -> Test:
    """`vtm.metrics.retrieval.paired_bootstrap` of a - b over items, (n,) or (S, n) each, with the study's resamples."""
    return paired_bootstrap(a, b, n_resamples=N_RESAMPLES)


def mrr(values: np.ndarray) -> dict[str, float | list[float] | None]:
    """Mean and spread over seeds of items' values (S, n), with the 95 % interval of the mean over items."""
    interval = bootstrap_interval(values, n_resamples=N_RESAMPLES)
    return {**spread(values.mean(axis=1)), "interval": list(interval)}


def over_seeds(a: Sequence[float], b: Sequence[float]) -> Test:
    """Difference of the means of a and b, a value a seed, with Welch's interval (see `welch`)."""
    return welch(spread(a), spread(b))


def welch(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> Test:
    """Difference of two means over seeds with Welch's 95 % interval and p (1947), from means, sds and numbers.

    Values of one seed share their data, so that a seed counts once. Without a spread on one side (a figure that has no
    seed) the other's alone counts; without any there is the difference alone.
    """
    from scipy.stats import t

    difference = float(a["mean"] - b["mean"])
    errors = [(v["sd"] ** 2 / v["n"], v["n"] - 1) for v in (a, b) if v["sd"]]
    error = sum(e for e, _ in errors)
    if error == 0:
        return Test(difference)
    freedom = error**2 / sum(e**2 / n for e, n in errors)
    reach = float(t.ppf(0.975, freedom) * sqrt(error))
    p = 2 * t.sf(abs(difference) / sqrt(error), freedom)
    return Test(difference, difference - reach, difference + reach, float(p))


def not_below(test: Test) -> bool:
    """Whether a is not below b within the interval; without one, by the difference alone."""
    return bool((test.difference if isnan(test.high) else test.high) >= 0)


def plain(value: Any) -> Any:
    """What was measured as JSON can hold it: a test is a dict (`Test.stored`)."""
    if isinstance(value, Test):
        return value.stored()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def measured(stored: Any) -> Any:
    """The inverse of `plain`: what it made of tests are tests again."""
    if isinstance(stored, dict):
        if stored.keys() == Test(0.0).stored().keys():
            return Test.read(stored)
        return {name: measured(each) for name, each in stored.items()}
    return [measured(each) for each in stored] if isinstance(stored, list) else stored


@contextmanager
def convergence() -> Iterator[Callable[[], bool]]:
    """Yields whether all fits of scikit-learn so far came to their end; their warnings are not shown."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        yield lambda: not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


# The study's tests by family, by name, and their p-values adjusted for how many there are (Holm 1979).


def peer_tests(peers: dict[str, Any]) -> dict[str, Test]:
    """Each other model against the text-teacher and against VTM+."""
    return {
        f"peers {row['model']} {name}": row[name]
        for row in peers.get("rows", [])
        for name, own in (("minus_text_teacher", ()), ("minus_plus", ("VTM+",)))
        # VTM+ and the text-teacher are compared once.
        if name in row and row["model"] not in ("baseline", "text-teacher", *own)
    }


# How good topics are as words: coherence on texts that were read and on texts that were not, and how much they differ.


TOP_WORDS = 25


def topic_figures(
    topics: Sequence[Sequence[str]], data: Prepared, *, unseen: str, members: int = 1
) -> dict[str, float]:
    """Coherence and diversity of a model's topics, lists of 25 words.

    "npmi" counts words in the training texts, as is usual, "npmi_unseen" in those of the part `unseen`, which no model
    has read. "diversity" is of the 25 first words of each topic (Dieng et al. 2020), "diversity_top10" and
    "inverted_rbo" of the ten first (Terragni et al. 2021): means over members; "_whole" of all members' topics together.

    Parameters
    ----------
    members : how many models of equally many topics stand side by side.
    """
    lists = [[topics[k] for k in rows] for rows in np.array_split(np.arange(len(topics)), members)]
    words = data.vocabulary.words
    return {
        "npmi": float(npmi(topics, data.counts[data.rows["train"]], words).mean()),
        "npmi_unseen": float(npmi(topics, data.counts[data.rows[unseen]], words).mean()),
        "diversity": float(np.mean([topic_diversity(one, top=TOP_WORDS) for one in lists])),
        "diversity_top10": float(np.mean([topic_diversity(one, top=10) for one in lists])),
        "inverted_rbo": float(np.mean([inverted_rbo(one) for one in lists])),
        "diversity_top10_whole": topic_diversity(topics, top=10),
        "inverted_rbo_whole": inverted_rbo(topics),
    }


def validation_figures(
    text: np.ndarray,
    image: np.ndarray,
    words: np.ndarray,
    topics: Sequence[Sequence[str]],
    data: Prepared,
    *,
    kept: int = 10,
    members: int = 1,
) -> dict[str, float]:
    """Retrieval by all topics and by the `kept` largest, topic quality and keyword hits, on the validation part.

    text, image : theta (n, K); words : (n, V) each picture's distribution over words; topics, members : as
    `topic_figures`.
    """
    ids, counts = data.ids("validation"), data.pairs("validation").counts
    largest = cut(text, kept), cut(image, kept)
    return {
        "posterior_mrr": float(reciprocal(text, image, ids, measure="hellinger").mean()),
        "top10_mrr": float(reciprocal(*largest, ids, measure="hellinger").mean()),
        **topic_figures(topics, data, unseen="validation", members=members),
        "keyword_hit_rate": float(keyword_hits(words, counts).mean()),
    }


def teacher_figures(
    runs: Sequence[Result], data: Prepared, *, unseen: str
) -> dict[str, list[dict[str, float]]]:
    """`topic_figures` of a text-teacher's two models and their mean, "text", "image" and "both", a line a seed."""
    found = {
        reads: [topic_figures(run.topics[reads], data, unseen=unseen) for run in runs]
        for reads in ("text", "image")
    }
    both = [
        {name: (text[name] + image[name]) / 2 for name in text}
        for text, image in zip(found["text"], found["image"], strict=True)
    ]
    return found | {"both": both}


# How alike the pictures of a topic are, and how alike those of different topics (Gonzalez-Pizarro and Carenini 2024).


def top_pictures(theta: np.ndarray, *, top: int = 10) -> np.ndarray:
    """Positions of each topic's `top` pictures, those with the most of it: theta (n, K) -> (K, top).

    Of pictures with as much of a topic, the first ones count.

    Raises
    ------
    ConfigError
        Fewer than 2 pictures a topic, or more than there are.
    """
    if not 2 <= top <= len(theta):
        raise ConfigError(f"top={top}: must lie between 2 and the number of pictures, {len(theta)}")
    return np.argsort(-theta, axis=0, kind="stable")[:top].T


def image_coherence(theta: np.ndarray, embeddings: np.ndarray, *, top: int = 10) -> np.ndarray:
    """Image embedding-based coherence (IEC) of each topic, (K,); larger is better.

    The mean cosine of the embeddings of all pairs of a topic's top pictures:
    ``IEC_k = 2 / (T (T - 1)) sum_{i < j} cos(x_i, x_j)`` over the T pictures with the largest theta_k.

    Parameters
    ----------
    theta : (n, K) topics of pictures.
    embeddings : (n, D) the same pictures' embeddings by an encoder.
    """
    x = _checked(theta, embeddings)
    sets = x[top_pictures(theta, top=top)]  # (K, T, D)
    total = (sets.sum(axis=1) ** 2).sum(
        axis=1
    )  # the sum over all ordered pairs, of a picture with itself too
    alone = (sets**2).sum(axis=(1, 2))
    return (total - alone) / (top * (top - 1))


def image_similarity(theta: np.ndarray, embeddings: np.ndarray, *, top: int = 10) -> float:
    """Image embedding-based pairwise similarity (IEPS) of the topics; smaller is better.

    The mean cosine between pictures of different topics:
    ``IEPS = mean_{k < l} 1 / T^2 sum_{i in k, j in l} cos(x_i, x_j)``, which is 1 when all topics have one picture.

    Parameters
    ----------
    theta, embeddings : as in `image_coherence`; at least 2 topics.
    """
    x = _checked(theta, embeddings)
    if theta.shape[1] < 2:
        raise DataError("IEPS compares topics: at least two are needed")
    means = x[top_pictures(theta, top=top)].mean(axis=1)  # (K, D)
    similarity = means @ means.T
    return float(similarity[np.triu_indices(len(means), k=1)].mean())


def mean_similarity(embeddings: np.ndarray) -> float:
    """Mean cosine of two different pictures, which is IEC and IEPS of sets drawn at random."""
    x = unit(np.asarray(embeddings, dtype=np.float64))
    n = len(x)
    return float(((x.sum(axis=0) ** 2).sum() - (x**2).sum()) / (n * (n - 1)))


def _checked(theta: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    if len(theta) != len(embeddings):
        raise DataError(f"topics of {len(theta)} pictures for {len(embeddings)} embeddings")
    return unit(np.asarray(embeddings, dtype=np.float64))
