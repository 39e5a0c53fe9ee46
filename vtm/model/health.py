"""Models judged on pairs that they were not trained on, never on the test part: did training work, and which size?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vtm.errors import ConfigError
from vtm.metrics.ranking import target_ranks
from vtm.metrics.retrieval import AT, per_item
from vtm.metrics.topics import (
    RELEVANCE_WEIGHT,
    duplicated_topics,
    match_topics,
    npmi,
    relevance,
    theta_information,
    top_words,
    topic_agreement,
    word_intrusion,
)
from vtm.model.plus import PlusConfig, PlusSide, fit_plus

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from vtm.model.topicmodel import TopicModel

# Topics whose words repeat another's, as a share of all, from which on a model has not found K topics.
REPEATED = 0.5
# Information of theta about its document, in nats, up to which all documents are alike; log K is the most.
ALIKE = 0.01
# Numbers of topics that are tried, each with so many seeds.
SIZES, SEEDS = (10, 20, 40, 80, 160), 5
MOST_TRIED = 20_000  # pairs that sizes are trained on
# Known words a topic, and pairs a topic, at least.
LEAST_WORDS, LEAST_PAIRS = 5, 5
LISTED, HEAD = 10, 5  # words that coherence and intrusion look at


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


def judge_pairs(
    x: Mapping[str, np.ndarray],
    counts: csr_matrix,
    theta: Mapping[str, np.ndarray],
    topics: Mapping[str, list[list[str]]],
    *,
    sides: Mapping[str, TopicModel | PlusSide],
    teacher: TopicModel | None,
    training: csr_matrix | None,
) -> tuple[str, list[str]]:
    """What some pairs, with their `theta`, say: "ok", "doubtful" with reasons, or "not judged".

    Without `training`, the bags of words that were trained on, the pairs are among these: then they can show a
    collapse, but not that all is well.

    `judge` asks for the reciprocal rank, as a paper's table needs it. Few held-out pairs say too little by that: here it is
    the mean rank, which a model that knows the broad topic already betters.
    """
    taught = {}
    if teacher is not None:
        both = np.concatenate([x["text"], x["image"]], axis=1)
        lesson = teacher.posterior({**x, "text+image": both}[teacher.reads])
        taught = {
            reads: teacher_kl(side.posterior(x[reads]), lesson)[2]  # type: ignore[union-attr]
            for reads, side in sides.items()
            if side is not teacher
        }
    signs = signs_of_collapse(
        theta=theta,
        repeated={
            reads: duplicated_topics(words, top=len(words[0])) / len(words) for reads, words in topics.items()
        },
        teacher=taught,
    )
    if training is None:
        return "doubtful" if signs else "not judged", signs
    unigram, reasons = unigram_reconstruction(training, counts), []
    for reads, side in sides.items():
        # VTM+ does not learn to predict words: it has no such loss.
        loss = math.nan if isinstance(side, PlusSide) else side.history["validation_reconstruction"][-1]
        if loss >= unigram:
            reasons.append(
                f"the {reads} model predicts held-out texts no better than the frequency of words does "
                f"({loss:.1f} nats a text, {unigram:.1f})"
            )
    reasons += signs
    rows = [str(row) for row in range(counts.shape[0])]
    ranks = target_ranks(theta["text"], theta["image"], rows, rows).ranks
    expected, best_of_chance = random_mean_rank(len(rows))
    if ranks.mean() >= best_of_chance:
        reasons.append(
            f"held-out texts find their pictures no better than by chance (mean rank {ranks.mean():.1f} of "
            f"{len(ranks)}; by chance {expected:.1f})"
        )
    return "doubtful" if reasons else "ok", reasons


def random_mean_rank(n: int) -> tuple[float, float]:
    """Mean rank of n items by n random rankings: expected, and what 97.5 % of trials exceed (normal approximation)."""
    expected = (n + 1) / 2
    deviation = math.sqrt((n * n - 1) / 12)  # of one rank, uniform from 1 to n
    return expected, expected - 1.96 * deviation / math.sqrt(n)


@dataclass(frozen=True)
class SizeTried:
    """What VTM+ of one size is worth, by S seeds.

    Parameters
    ----------
    reciprocal : (S, h) reciprocal rank of each held-out text's own picture among those held out, by topics alone.
    coherence : (S, K) NPMI of each topic's ten most probable words in all texts.
    intrusion : (S, K) share of foreign words that stand out (`vtm.metrics.topics.word_intrusion`); NaN without vectors.
    stability : mean correlation of the topics of two seeds over the training pictures, the best partners side by
        side; the mean of all pairs of seeds, NaN of one seed.
    struck : why the size is out of the question, or "".
    """

    n_topics: int
    reciprocal: np.ndarray
    coherence: np.ndarray
    intrusion: np.ndarray
    stability: float
    struck: str = ""

    @property
    def match(self) -> float:
        """Mean reciprocal rank."""
        return float(self.reciprocal.mean())


def try_sizes(
    x: Mapping[str, np.ndarray],
    counts: csr_matrix,
    vocabulary: Sequence[str],
    aside: np.ndarray,
    *,
    sizes: Sequence[int] = SIZES,
    seeds: Sequence[int] = tuple(range(SEEDS)),
    vectors: Callable[[list[str]], np.ndarray] | None = None,
    progress: bool = False,
) -> tuple[SizeTried, ...]:
    """Train VTM+ of several sizes and look what each is worth; sizes that cannot be trained are left out.

    With more than 20,000 pairs, sizes are trained on as many of them, spread evenly over all.

    Parameters
    ----------
    x : "text" (n, D) and "image" (n, E) embeddings of all pairs.
    counts : (n, V)
    aside : (n,) bool, the pairs that are held out.
    vectors : embeds some words, (w, D), for the test of intrusion.

    Raises
    ------
    ConfigError
        Nothing is held out, or no size can be trained.
    """
    from tqdm import tqdm

    learned, held = np.flatnonzero(~aside), np.flatnonzero(aside)
    learned = learned[:: -(-len(learned) // MOST_TRIED) or 1]
    if not len(held):
        raise ConfigError(
            "no pairs are held out, by which sizes are judged: bring more pairs, or name one number of topics"
        )
    sizes = [size for size in dict.fromkeys(sizes) if size <= len(learned)]
    if not sizes:
        raise ConfigError(f"n_topics: there are {len(learned)} pairs to train on only; name fewer topics")
    training = x["text"][learned], x["image"][learned], counts[learned]
    ids = [str(row) for row in held]
    found = []
    with tqdm(
        total=len(sizes) * len(seeds), desc="trying sizes", unit="", disable=None if progress else True
    ) as bar:
        for size in sizes:
            reciprocal, coherence, intrusion, thetas = [], [], [], []
            for seed in seeds:
                model = fit_plus(*training, config=PlusConfig(n_topics=size), seed=seed)
                topics = [model.theta(reads, x[reads][held]) for reads in ("text", "image")]
                reciprocal.append(1 / target_ranks(*topics, ids, ids).ranks)  # type: ignore[call-arg, arg-type]
                probable = top_words(model.topic_word[0], vocabulary, min(LISTED, len(vocabulary)))
                coherence.append(npmi(probable, counts, vocabulary, top=len(probable[0])))
                scores = relevance(model.topic_word[0], model.topic_share[0], weight=RELEVANCE_WEIGHT)
                heads = top_words(scores, vocabulary, min(HEAD, len(vocabulary)))
                intrusion.append(
                    intruders_found(heads, model.topic_word[0], vocabulary, vectors, seed=seed)
                    if vectors
                    else np.full(size, np.nan)
                )
                thetas.append(model.theta("image", training[1]))
                bar.update()
            agreements = [topic_agreement(a, b) for a, b in itertools.combinations(thetas, 2)]
            partners = [np.take_along_axis(a, match_topics(a)[:, None], axis=1).mean() for a in agreements]
            stable = float(np.mean(partners)) if partners else float("nan")
            struck = _struck(size, len(vocabulary), len(learned))
            measured = map(np.stack, (reciprocal, coherence, intrusion))
            found.append(SizeTried(size, *measured, stable, struck))  # type: ignore[call-arg, arg-type]
    return tuple(found)


def intruders_found(
    heads: list[list[str]],
    topic_word: np.ndarray,
    vocabulary: Sequence[str],
    vectors: Callable[[list[str]], np.ndarray],
    *,
    seed: int,
) -> np.ndarray:
    """`vtm.metrics.topics.word_intrusion` of topics (K, V), (K,), for which only their first words are embedded."""
    words = sorted({word for head in heads for word in head})
    column = {word: place for place, word in enumerate(vocabulary)}
    scores = topic_word[:, [column[word] for word in words]]
    return word_intrusion(heads, vectors(words), words, scores=scores, top=len(heads[0]), seed=seed)


def _struck(size: int, n_words: int, n_pairs: int) -> str:
    if n_words < LEAST_WORDS * size:
        return f"fewer than {LEAST_WORDS} of {n_words} words a topic"
    return f"fewer than {LEAST_PAIRS} of {n_pairs} pairs a topic" if n_pairs < LEAST_PAIRS * size else ""


def recommended_size(tried: Sequence[SizeTried]) -> tuple[SizeTried, str]:
    """The size to take, and why.

    Struck are sizes with fewer than five known words or five pairs a topic. Of the others, those are readable whose
    coherence and intrusion are both at most two standard errors of the difference below the best one's, over all topics
    of all seeds. Of the readable ones it is the smallest that finds held-out pictures as well as the best of them does:
    at most one standard error worse, pair by pair (Breiman et al. 1984). Where none is readable by both, coherence
    decides. On Open Clip Art, of 10, 20, 40 and 80 it is 40 with each of four sets of seeds and held-out pairs.
    """
    possible = [one for one in tried if not one.struck]
    if not possible:
        least = min(tried, key=lambda one: one.n_topics)
        return least, f"all sizes are struck, this is the smallest ({least.struck})"
    coherent = _near_best(possible, [one.coherence.ravel() for one in possible])
    readable = coherent
    if not np.isnan(possible[0].intrusion).any():
        told = _near_best(possible, [one.intrusion.ravel() for one in possible])
        readable = [one for one in coherent if one in told] or coherent
    best = max(readable, key=lambda one: one.match)
    for one in sorted(readable, key=lambda one: one.n_topics):
        less = (best.reciprocal - one.reciprocal).mean(axis=0)
        if less.mean() <= less.std(ddof=1) / np.sqrt(len(less)):
            break
    readable_sizes = ", ".join(str(size.n_topics) for size in readable)
    why = f"readable are {readable_sizes}; of these it is the smallest that finds pictures as well as {best.n_topics}"
    return one, why if one is not best else f"readable are {readable_sizes}; of these it finds pictures best"


def _near_best(tried: Sequence[SizeTried], values: Sequence[np.ndarray]) -> list[SizeTried]:
    """Those whose mean is at most two standard errors of the difference below the best mean."""
    means = np.array([value.mean() for value in values])
    errors = np.array([value.var(ddof=1) / len(value) for value in values])
    best = int(means.argmax())
    near = means + 2 * np.sqrt(errors + errors[best]) >= means[best]
    return [one for one, is_near in zip(tried, near, strict=True) if is_near]
