"""Scores of texts, pictures and words for each other, weighed and made sure of on pairs that were held out.

A score says which of two answers is better, not how good it is. Held-out answers, of which it is known whether they are
right, give each score its chance (`Calibration`), the score from which on an answer is worth showing, and how much
weight each of several scores deserves (`best_mix`). `Reader` has the scores, `tune` weighs and calibrates them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vtm.errors import DataError
from vtm.metrics.topics import effective_topics

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

STEPS = 4  # weights of a mix are multiples of a quarter


@dataclass(frozen=True)
class Calibration:
    """The chance of a score to be right, ``1 / (1 + exp(-(slope * score + intercept)))``, and what is worth showing.

    Parameters
    ----------
    slope, intercept : the slope is not negative, so that the order of scores stays.
    threshold : the chance from which on an answer is shown; above 1 where none is good enough.
    precision : share of right ones among the held-out answers that the threshold shows; NaN where it shows none.
    shown : share of the held-out answers that it shows.
    """

    slope: float
    intercept: float
    threshold: float
    precision: float
    shown: float

    def probability(self, score: np.ndarray) -> np.ndarray:
        """The chance of each score, of the same shape."""
        return _sigmoid(self.slope * np.asarray(score, dtype=np.float64) + self.intercept)


def calibrate(
    score: np.ndarray,
    right: np.ndarray,
    *,
    choose: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
    weight: np.ndarray | None = None,
) -> Calibration:
    """Learn the chance of scores by logistic regression (Platt 1999), and the threshold from the chances.

    Parameters
    ----------
    score : (n,) of held-out answers.
    right : (n,) bool, which of them are right.
    choose : chances, `right` and weights -> the threshold, as `half_right` or `best_f1` choose it.
    weight : (n,) how often each answer counts; once by default.

    Raises
    ------
    DataError
        No answers, other numbers of them, or scores that are no numbers.
    """
    from scipy.optimize import minimize

    score, right = np.asarray(score, dtype=np.float64), np.asarray(right, dtype=bool)
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, dtype=np.float64)
    if score.shape != right.shape or score.ndim != 1 or not len(score) or not np.isfinite(score).all():
        raise DataError(
            f"scores of shape {score.shape} and answers of {right.shape}: one number for each is needed"
        )
    # Platt's targets: so that a score which tells all apart does not get an infinite slope.
    total = weight.sum()
    n_right = weight @ right
    target = np.where(right, (n_right + 1) / (n_right + 2), 1 / (total - n_right + 2))
    centre, scale = score.mean(), max(score.std(), 1e-12)
    x, share = (score - centre) / scale, weight / total

    def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
        logit = line[0] * x + line[1]
        error = (_sigmoid(logit) - target) * share
        return float((np.logaddexp(0, logit) - target * logit) @ share), np.array([error @ x, error.sum()])

    start = np.array([1.0, np.log((n_right + 1) / (total - n_right + 1))])
    slope, intercept = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)]).x
    line = float(slope / scale), float(intercept - slope * centre / scale)
    chance = _sigmoid(line[0] * score + line[1])
    threshold = choose(chance, right, weight)
    shown = chance >= threshold
    precision = float(weight[shown] @ right[shown] / weight[shown].sum()) if shown.any() else float("nan")
    return Calibration(*line, float(threshold), precision, float(weight[shown].sum() / total))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return np.exp(-np.logaddexp(0, -x))


def half_right(chance: np.ndarray, right: np.ndarray, weight: np.ndarray) -> float:
    """The lowest threshold at which more than half of the shown answers is right, by one standard error of a half.

    Of few answers half may be right by luck, and new ones may be harder. Above 1 where no threshold reaches that.
    `weight` says how often each answer counts.
    """
    order = np.argsort(-chance, kind="stable")
    n = np.cumsum(weight[order])
    precision = np.cumsum((right * weight)[order]) / n
    # Answers of one chance are shown together or not at all.
    last = np.append(np.diff(chance[order]) < 0, True)
    good = np.flatnonzero(last & (precision >= 0.5 + 0.5 / np.sqrt(n)))
    return float(chance[order][good[-1]]) if len(good) else 2.0


def best_f1(chance: np.ndarray, right: np.ndarray, weight: np.ndarray) -> float:
    """The threshold of the best F1: it weighs right answers that are shown against all shown and all right ones.

    Above 1 where no answer is right, or all have one chance, below a half: then nothing tells the right ones.
    """
    order = np.argsort(-chance, kind="stable")
    hits = np.cumsum((right * weight)[order])
    f1 = 2 * hits / (np.cumsum(weight[order]) + max(hits[-1], np.finfo(np.float64).tiny))
    last = np.append(np.diff(chance[order]) < 0, True)
    told = hits[-1] and chance.max() > min(chance.min(), 0.5)
    return float(chance[order][np.where(last, f1, -1).argmax()]) if told else 2.0


def reliability(
    probability: np.ndarray, right: np.ndarray, *, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The reliability curve: in bins of as many answers each, mean probability, share of right ones, and number.

    Parameters
    ----------
    probability, right : (n,)

    Returns
    -------
    (b,) each, b at most `bins`; the bins in rising order of probability.
    """
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    mean = np.array([probability[part].mean() for part in parts])
    share = np.array([np.asarray(right)[part].mean() for part in parts])
    return mean, share, np.array([len(part) for part in parts])


def calibration_error(probability: np.ndarray, right: np.ndarray, *, bins: int = 10) -> float:
    """Expected calibration error: the mean distance of `reliability`'s curve from the diagonal (Naeini et al. 2015)."""
    mean, share, n = reliability(probability, right, bins=bins)
    return float(np.abs(mean - share) @ n / n.sum())


def mixes(names: Sequence[str]) -> Iterator[dict[str, float]]:
    """All weights of the names that are multiples of a quarter and sum to 1."""
    for parts in itertools.product(range(STEPS + 1), repeat=len(names)):
        if sum(parts) == STEPS:
            yield {name: part / STEPS for name, part in zip(names, parts, strict=True)}


def best_mix(
    usual: Mapping[str, float], value: Callable[[Mapping[str, float]], np.ndarray]
) -> dict[str, float]:
    """The weights by which held-out items fare best.

    The usual ones stay where no others are better by more than the standard error of the difference: with few items the
    best of many is a matter of luck.

    Parameters
    ----------
    usual : weights of what is weighed.
    value : weights -> (n,), what each item is worth under them; more is better.
    """
    before = np.asarray(value(usual), dtype=np.float64)
    best, gain = dict(usual), np.zeros_like(before)
    for mix in mixes(list(usual)):
        better = np.asarray(value(mix), dtype=np.float64) - before
        if better.mean() > gain.mean():
            best, gain = mix, better
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    return best if gain.mean() > error else dict(usual)


def own_reciprocal_ranks(score: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(n,) of each row's own column among the columns of (n, n), other right ones left out; ties count against it."""
    own = np.diagonal(score)[:, None]
    return 1 / (1 + ((score >= own) & ~right).sum(axis=1))


def average_precision(score: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(q,) average precision of each row's ranking of n items, (q, n) each; rows without a right one are left out."""
    some = right.any(axis=1)
    order = np.argsort(-score[some], axis=1, kind="stable")
    hit = np.take_along_axis(right[some], order, axis=1)
    precision = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    return (precision * hit).sum(axis=1) / hit.sum(axis=1)


def share_hit(score: np.ndarray, right: np.ndarray, *, top: int = 5) -> np.ndarray:
    """(n,) share of right ones among the `top` best of each row of (n, V)."""
    best = np.argsort(-score, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(right, best, axis=1).mean(axis=1)


SCORES = ("space", "topics", "pairs", "words")
WORD_SCORES = ("topics", "pairs")
# What is asked for (`asked_for`).
ASKED = ("words", "text", "unknown")
FEW_WORDS = 3
SHARPNESS = (
    20.0  # of the nearness to training pairs; of 10, 20 and 30 the best on held-out pairs of Open Clip Art
)
UNSEEN = 0.3  # weight of the words' overall frequency, so that no word is impossible in a picture
MOST_PAIRS = 2000  # training pairs that are kept to compare with
MOST_QUERIES = 200  # held-out words that are asked for
KEYWORDS = 5
LOOKED_AT = (
    0.1  # share of the best held-out answers from which chances are learned, as no others are ever shown
)
SAME = 0.5  # share of a text's words, by their weight, that a picture's own text has where the text meant such one
# Beside a text, weights of a picture that is to be alike and of a text that is not to fit (`Question`).
LIKE, MINUS = 0.5, 0.75
FLAT = 0.95  # share of the held-out texts whose topics are less spread than those of a text that is said to be flat


def asked_for(known: Sequence[str], unknown: Sequence[str]) -> str:
    """Which of `ASKED` a text of these words is: a few that are all known, a text with some known ones, one without any."""
    if known and not unknown and len(known) <= FEW_WORDS:
        return "words"
    return "text" if known else "unknown"


@dataclass(frozen=True)
class Reading:
    """What is known of n texts or pictures.

    Parameters
    ----------
    theta : (n, K) topics.
    place : (n, d) in the space that texts and pictures share, of length 1.
    near : (n, m) nearness to the kept training pairs, rows sum to 1.
    words : (n, V) p(word | picture) by "topics" and by "pairs"; for texts, "asked": weights of the words that they hold,
        and for a few words alone "rarity": (n, 1) weighted log p(word).

    Of pictures, theta and `near` may be left out, and words be some alone (`Needed`).
    """

    theta: np.ndarray
    place: np.ndarray
    near: np.ndarray
    words: dict[str, np.ndarray]

    def first(self, n: int) -> Reading:
        """The first n of them."""
        words = {name: by[:n] for name, by in self.words.items()}
        return Reading(self.theta[:n], self.place[:n], self.near[:n], words)


@dataclass(frozen=True)
class Needed:
    """What is needed of pictures.

    Parameters
    ----------
    names : of `SCORES`, those that are weighed.
    by : of `WORD_SCORES`, those by which words are found.
    words : (c,) numbers of the words that are asked for, rising; None for all.
    """

    names: tuple[str, ...] = SCORES
    by: tuple[str, ...] = WORD_SCORES
    words: np.ndarray | None = None

    @property
    def parts(self) -> set[str]:
        """Whether theta ("topics") and the nearness to training pairs ("pairs") are needed."""
        return {*WORD_SCORES}.intersection(self.names + self.by)


@dataclass(frozen=True)
class PairWords:
    """Which words the texts of m pairs hold, (m, V), kept as scipy.sparse's CSR matrices keep their places.

    A few documents are read without SciPy, which takes longer to load than they take.

    Parameters
    ----------
    indices : the words of all pairs, one pair after the other.
    indptr : (m + 1,) where in `indices` the words of each pair begin; the last number is its length.
    n_words : V.

    Raises
    ------
    ValueError
        Numbers that name no words.
    """

    indices: np.ndarray
    indptr: np.ndarray
    n_words: int

    def __post_init__(self) -> None:
        whole = all(part.ndim == 1 and part.dtype.kind == "i" for part in (self.indices, self.indptr))
        starts = (
            np.diff(self.indptr, prepend=0, append=len(self.indices)) if whole and len(self.indptr) else [-1]
        )
        if starts[0] != 0 or starts[-1] != 0 or min(starts) < 0:
            raise ValueError("the words of pairs do not begin where they are said to")
        if len(self.indices) and not 0 <= self.indices.min() <= self.indices.max() < self.n_words:
            raise ValueError(f"pairs hold words beyond the {self.n_words} that there are")

    @classmethod
    def of(cls, counts: csr_matrix) -> PairWords:
        """From bags of words (m, V), by which SciPy is loaded."""
        found = cls(counts.indices, counts.indptr, counts.shape[1])
        _ = found.matrix
        return found

    @cached_property
    def matrix(self) -> csr_matrix:
        """(m, V) of ones; asked for once, it is what `near` calculates by, to the same bits and several times as fast."""
        from scipy.sparse import csr_matrix

        ones = np.ones(len(self.indices), dtype=np.float32)
        return csr_matrix((ones, self.indices, self.indptr), (len(self.indptr) - 1, self.n_words))

    def near(self, weights: np.ndarray) -> np.ndarray:
        """The sum of the weights (n, m) of the pairs that hold each word: (n, V)."""
        if "matrix" in vars(self):
            return weights @ self.matrix
        total, of_pairs = np.zeros((self.n_words, len(weights)), dtype=weights.dtype), weights.T.copy()
        for pair in np.flatnonzero(np.diff(self.indptr)):
            total[self.indices[self.indptr[pair] : self.indptr[pair + 1]]] += of_pairs[pair]
        return total.T

    def some(self, words: np.ndarray) -> PairWords:
        """Of the words of these numbers (c,) alone: (m, c)."""
        column = np.full(self.n_words, -1, dtype=self.indices.dtype)
        column[words] = np.arange(len(words))
        found = column[self.indices]
        indptr = np.append(0, np.cumsum(found >= 0))[self.indptr]
        return PairWords(found[found >= 0], indptr, len(words))

    def mean(self, asked: np.ndarray) -> np.ndarray:
        """What words are asked for, (n, V), shared among the pairs that hold each: (n, m)."""
        share = (1 / np.maximum(np.bincount(self.indices, minlength=self.n_words), 1)).astype(np.float32)
        pairs = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        shared = share[self.indices] * asked[:, self.indices]
        return np.array([np.bincount(pairs, row, minlength=len(self.indptr) - 1) for row in shared])


@dataclass(frozen=True)
class Reader:
    """Reads texts and pictures by topics, by their place, and by the training pairs that they are near to.

    Parameters
    ----------
    topic_word : (K, V) p(word | topic).
    topic_share : (K,)
    places : (m, d) of training pairs in the shared space, of length 1.
    pair_words : (m, V) the words that the pairs' texts hold.
    frequency : (V,) how many of all training texts hold the word, by their number, plus 1.
    part : where these V words are some of more, their numbers there, and what all of those have together (`some`).
    """

    topic_word: np.ndarray
    topic_share: np.ndarray
    places: np.ndarray
    pair_words: PairWords
    frequency: np.ndarray
    part: tuple[np.ndarray, Any] | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """All but the topics' words, by name: what `of_arrays` takes."""
        own = {name: getattr(self, name) for name in ("topic_share", "places", "frequency")}
        return own | {name: getattr(self.pair_words, name) for name in ("indices", "indptr")}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], topic_word: np.ndarray, width: int) -> Reader:
        """The reader that `arrays` took apart, of topics (K, V) in a space of `width` dimensions.

        Raises
        ------
        LookupError, ValueError
            Something is missing, or arrays of shapes that do not fit together.
        """
        (n_topics, n_words), places = topic_word.shape, arrays["places"]
        words = PairWords(arrays["indices"], arrays["indptr"], n_words)
        reader = cls(topic_word, arrays["topic_share"], places, words, arrays["frequency"])
        found = reader.topic_share.shape, places.shape, reader.frequency.shape, words.indptr.shape
        if found != ((n_topics,), (len(places), width), (n_words,), (len(places) + 1,)):
            raise ValueError(f"shares, places, frequencies and pairs are of shapes {found}")
        return reader

    @cached_property
    def _sums(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Of all words: p(word | topic) (K,), how many each pair holds (m,), the frequencies."""
        if self.part is not None:
            return self.part[1]
        held = np.diff(self.pair_words.indptr).astype(self.places.dtype)
        return self.topic_word.sum(axis=1), held, self.frequency.sum()

    @property
    def overall(self) -> np.ndarray:
        """(V,) p(word)."""
        return self.frequency / self._sums[2]

    def some(self, words: np.ndarray, topics: np.ndarray | None = None) -> Reader:
        """What reads pictures as this does, but looks at the words of these numbers (c,) alone.

        With the `topics` (P, K) of P documents, it takes in place of theta what pictures have of these, (n, P).
        """
        topic_word, (of_topics, *sums) = self.topic_word[:, words], self._sums
        if topics is not None:
            topic_word, of_topics = (
                (topics @ one).astype(self.topic_word.dtype) for one in (topic_word, of_topics)
            )
        return Reader(
            topic_word,
            self.topic_share,
            self.places,
            self.pair_words.some(words),
            self.frequency[words],
            (words, (of_topics, *sums)),
        )

    def picture(self, theta: np.ndarray | None, place: np.ndarray, needed: Needed = Needed()) -> Reading:
        """Pictures by their topics (n, K), None where they are not needed, and their places (n, d)."""
        none = np.empty((len(place), 0), dtype=np.float32)
        theta = none if theta is None else theta
        near = self.near(place) if "pairs" in needed.parts else none
        of_topics, of_pairs, _ = self._sums
        words = {}
        if "topics" in needed.by:
            words["topics"] = theta @ self.topic_word / (theta @ of_topics)[:, None]
        if "pairs" in needed.by:
            seldom = (1e-9 * self.overall).astype(near.dtype)
            words["pairs"] = (self.pair_words.near(near) + seldom) / (near @ of_pairs + 1e-9)[:, None]
        return Reading(theta, place, near, words)

    def text(self, theta: np.ndarray, place: np.ndarray, counts: csr_matrix | np.ndarray) -> Reading:
        """Texts by their topics, places and bags of words (n, V)."""
        return Reading(theta, place, self.near(place), {"asked": self._weights(counts)})

    def word_query(self, counts: csr_matrix | np.ndarray) -> Reading:
        """Texts of a few known words, by these alone: their topics, and the places of the pairs that hold them."""
        asked = self._weights(counts)
        by_topic = self.topic_share[:, None] * self.topic_word
        theta = asked @ (by_topic / by_topic.sum(axis=0)).T
        place = _unit(self.pair_words.mean(asked) @ self.places)
        # It ranks the same for one query; yet for rare words, a high lift is still a small chance.
        rarity = asked @ np.log(self.overall)
        return Reading(theta, place, self.near(place), {"asked": asked, "rarity": rarity[:, None]})

    def scores(self, text: Reading, picture: Reading, word_mix: Mapping[str, float]) -> dict[str, np.ndarray]:
        """How well each picture fits each text, (q, n) by each of `SCORES`; more is better."""
        return self.compared(text, self.shown(picture, word_mix))

    def shown(
        self, picture: Reading, word_mix: Mapping[str, float], names: Sequence[str] = SCORES
    ) -> dict[str, np.ndarray]:
        """What the scores of these names take of n pictures, (n, ...) each: the same for all texts."""
        take = {
            "space": lambda: picture.place,
            "topics": lambda: _unit(picture.theta),
            "pairs": lambda: _unit(picture.near),
            "words": lambda: np.log(self.lift(mixed(picture.words, word_mix))),
        }
        return {name: take[name]() for name in names}

    def compared(
        self, text: Reading, shown: Mapping[str, np.ndarray], names: Sequence[str] = SCORES
    ) -> dict[str, np.ndarray]:
        """The scores of these names (q, n) of texts with pictures, by what `shown` took of these."""
        take = {
            "space": lambda: text.place,
            "topics": lambda: _unit(text.theta),
            "pairs": lambda: _unit(text.near),
        }
        scores = {
            name: take[name]().astype(shown[name].dtype) @ shown[name].T for name in names if name != "words"
        }
        if "words" in names:
            asked, lift = text.words["asked"], shown["words"]
            if self.part is not None:
                # Others are there where several texts are asked.
                asked = asked[:, self.part[0]]
                own = np.flatnonzero(asked.any(axis=0))
                asked, lift = asked[:, own], lift[:, own]
            scores["words"] = asked @ lift.T + text.words.get("rarity", 0.0)
        return scores

    def lift(self, words: np.ndarray) -> np.ndarray:
        """How many times as likely as overall each word is, (n, V), drawn towards 1 where little is known."""
        return (words / self.overall + UNSEEN) / (1 + UNSEEN)

    def near(self, place: np.ndarray) -> np.ndarray:
        """How near places (n, d) are to the kept pairs: (n, m), rows sum to 1."""
        near = place @ self.places.T
        # In its place: arrays of this size take longer to get than to fill.
        near -= 1
        near *= SHARPNESS
        np.exp(near, out=near)
        near /= np.maximum(near.sum(axis=1, keepdims=True), 1e-300)
        return near

    def _weights(self, counts: csr_matrix | np.ndarray) -> np.ndarray:
        """Weights of the words that texts hold, (n, V), rare ones more; rows sum to 1, or are 0 without a word."""
        rare = np.log(self.frequency.max() + 1) - np.log(self.frequency) + 0.1
        held = counts > 0
        weights = (held.toarray() if hasattr(held, "toarray") else held) * rare
        return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)


def mixed(parts: Mapping[str, np.ndarray], mix: Mapping[str, float]) -> np.ndarray:
    """The weighted sum of arrays."""
    return cast(np.ndarray, sum(weight * parts[name] for name, weight in mix.items() if weight))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class Tuned:
    """Weights of the scores, and their chances.

    Parameters
    ----------
    word_mix : weights of `WORD_SCORES`, by which a picture's words are found.
    mix : what is asked for (`ASKED`) -> weights of `SCORES`, each divided by its `spread`.
    spread : what is asked for -> standard deviation of each score.
    keywords : chances of the logarithm of a word's probability, with a threshold at which half of the words are right;
        None where no pairs were held out.
    matches : what is asked for -> chances of the weighed score, with the threshold of the best F1; {} likewise.
    flat : effective number of topics from which on a text's topics tell nothing; inf likewise.
    """

    word_mix: dict[str, float]
    mix: dict[str, dict[str, float]]
    spread: dict[str, dict[str, float]]
    keywords: Calibration | None = None
    matches: dict[str, Calibration] | None = None
    flat: float = float("inf")

    def weighed(self, asked: str) -> tuple[str, ...]:
        """The `SCORES` that count for what is asked."""
        return tuple(name for name, weight in self.mix[asked].items() if weight)

    @property
    def words_by(self) -> tuple[str, ...]:
        """The `WORD_SCORES` that count."""
        return tuple(name for name, weight in self.word_mix.items() if weight)

    def needed(self, questions: Sequence[Question]) -> Needed:
        """What pictures are read for, where these are asked."""
        names = set().union(*(question.names(self) for question in questions))
        by = self.words_by if "words" in names else ()
        words = np.unique(np.concatenate([question.words for question in questions])) if by else None
        return Needed(tuple(name for name in SCORES if name in names), by, words)

    def match(self, asked: str, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """The weighed score, of the shape of each."""
        weights = {name: weight / self.spread[asked][name] for name, weight in self.mix[asked].items()}
        return mixed(scores, weights)

    def stored(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Tuned:
        """From what `stored` wrote."""
        keywords, matches = stored["keywords"], stored["matches"]
        return cls(
            **{
                **stored,
                "keywords": keywords and Calibration(**keywords),
                "matches": matches and {name: Calibration(**found) for name, found in matches.items()},
            }
        )


def _worth(
    figure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    scores: Mapping[str, np.ndarray],
    right: np.ndarray,
    mix: Mapping[str, float],
) -> np.ndarray:
    return figure(mixed(scores, mix), right)


def tune(
    reader: Reader,
    text: Reading,
    picture: Reading,
    counts: csr_matrix,
    *,
    held_out: bool,
    n_pictures: int,
    strange: tuple[Reading, np.ndarray] | None = None,
) -> Tuned:
    """Weigh and calibrate the scores of a reader on pairs, row i of each argument for pair i.

    Parameters
    ----------
    counts : (n, V) of the pairs' texts.
    held_out : whether these pairs were not trained on; else nothing is chosen by them, and nothing calibrated.
    n_pictures : size of a usual collection, for which chances are learned. Among the few pictures that were held out,
        a text's own one is a larger share than it is there, and counts less by as much.
    strange : readings of q unknown words, and which of the n texts hold each, (q, n) bool: the chances of what is found by
        a text without a known word are learned from these. By default from whole texts, which say more than such a word.
    """
    has = np.asarray((counts > 0).todense())
    word_mix = {name: 1 / len(WORD_SCORES) for name in WORD_SCORES}
    if held_out:
        word_mix = best_mix(word_mix, lambda mix: share_hit(mixed(picture.words, mix), has, top=KEYWORDS))
    frequent = np.argsort(-has.sum(axis=0), kind="stable")[:MOST_QUERIES]
    frequent = frequent[has[:, frequent].any(axis=0)]
    queries = np.zeros((len(frequent), has.shape[1]), dtype=bool)
    queries[np.arange(len(frequent)), frequent] = True
    asked = text.words["asked"]
    # A picture is meant by a text where its own text says half of the same, and always by its own text.
    own = np.eye(len(has), dtype=bool)
    meant = (asked @ has.T >= SAME) | own
    often = np.where(own, len(has) / n_pictures, 1.0)
    readings = {
        "words": (reader.word_query(queries), has[:, frequent].T, np.ones((len(frequent), len(has))), SCORES),
        "text": (text, meant, often, SCORES),
        "unknown": (text, meant, often, tuple(name for name in SCORES if name != "words")),
    }
    mix, spread, matches = {}, {}, {}
    for what, (reading, right, weight, names) in readings.items():
        scores = reader.scores(reading, picture, word_mix)
        spread[what] = {name: max(float(scores[name].std()), 1e-9) for name in names}
        scaled = {name: scores[name] / spread[what][name] for name in names}
        # One word stands in no context that an encoder could read.
        mix[what] = {name: float(name == "words") if what == "words" else 1 / len(names) for name in names}
        if held_out:
            figure = average_precision if what == "words" else own_reciprocal_ranks
            mix[what] = best_mix(mix[what], partial(_worth, figure, scaled, right))
            if what == "unknown" and strange is not None:
                reading, right = strange
                scores = reader.scores(reading, picture, word_mix)
                scaled = {name: scores[name] / spread[what][name] for name in names}
                weight = np.where(right, len(has) / n_pictures, 1.0)
            score = mixed(scaled, mix[what]).ravel()
            best = score >= np.quantile(score, 1 - LOOKED_AT)
            matches[what] = calibrate(
                score[best], right.ravel()[best], choose=best_f1, weight=weight.ravel()[best]
            )
    if not held_out:
        return Tuned(word_mix, mix, spread)
    words = mixed(picture.words, word_mix)
    best = np.argsort(-words, axis=1, kind="stable")[:, :KEYWORDS]
    keywords = calibrate(
        np.log(np.take_along_axis(words, best, axis=1)).ravel(),
        np.take_along_axis(has, best, axis=1).ravel(),
        choose=half_right,
    )
    flat = float(np.quantile(effective_topics(text.theta), FLAT))
    return Tuned(word_mix, mix, spread, keywords, matches, flat)


@dataclass(frozen=True)
class Question:
    """What pictures are looked for: those that fit a text, are like a picture, do not fit another text; or have a topic.

    A picture is alike by the cosine in the space that texts and pictures share. On Open Clip Art's test part, 20 % of the
    ten most alike have a text that says half of the same or more; by the cosine of the encoder's own vectors, 14 %. A word
    without another is looked for by the score of the one less 0.75 times that of the other, the best of four weights on
    the validation part. On the test part (96 pairs of words) 47 % of the first ten have the one word alone; as many where
    pictures that are likely to fit the other word are left out, 43 % where the other word is not told. Beside a text, a
    picture weighs half: of the pictures that have a word and one of the given picture's words, 41 % are then among the
    first ten, 43 % by the word alone, 34 % where both weigh the same (of a test part that had twins in the training part).

    Parameters
    ----------
    text, minus : what the text asks for (`ASKED`), and its reading.
    like : the reading of the picture.
    topic : its number; then all else is None. Its scores are its shares, as theta has them.
    """

    text: tuple[str, Reading] | None = None
    like: Reading | None = None
    minus: tuple[str, Reading] | None = None
    topic: int | None = None

    @property
    def calibrated(self) -> bool:
        """Whether its scores have chances: those of a text alone."""
        return self.text is not None and self.like is None and self.minus is None

    @property
    def reading(self) -> Reading:
        """Of the text, or else of the picture."""
        return self.text[1] if self.text else self.like  # type: ignore[return-value]

    @property
    def told(self) -> str:
        """What its scores are."""
        if self.topic is not None:
            return f"the share of topic {self.topic}"
        if self.text is None and self.minus is None:
            return "the cosine with the given picture in the space that texts and pictures share"
        parts = ["the text's weighted score"] * (self.text is not None)
        parts += [f"{LIKE} times the weighted cosine with the given picture"] * (self.like is not None)
        less = "" if self.minus is None else f", less {MINUS} times the weighted score of what is not wanted"
        return " and ".join(parts) + less

    def names(self, tuned: Tuned) -> set[str]:
        """The `SCORES` that it needs."""
        if self.topic is not None:
            return {"topics"}
        weighed = [name for asked in (self.text, self.minus) if asked for name in tuned.weighed(asked[0])]
        return {*weighed, *(["space"] if self.like else [])}

    @property
    def words(self) -> np.ndarray:
        """(c,) numbers of the words that it asks for."""
        asked = [item[1].words["asked"] for item in (self.text, self.minus) if item]
        return np.flatnonzero(np.concatenate(asked).any(axis=0)) if asked else np.empty(0, dtype=np.int64)

    def scores(self, reader: Reader, tuned: Tuned, shown: Mapping[str, np.ndarray]) -> np.ndarray:
        """How well each of n pictures answers it, (n,), by what `Reader.shown` took of them; more is better."""
        of_texts = [
            tuned.match(asked[0], reader.compared(asked[1], shown, tuned.weighed(asked[0])))[0]
            if asked
            else 0.0
            for asked in (self.text, self.minus)
        ]
        if self.like is None:
            return cast(np.ndarray, of_texts[0] - MINUS * of_texts[1])
        alike = (shown["space"] @ self.like.place[0]).astype(np.float64)
        if self.text is None and self.minus is None:
            return alike
        return of_texts[0] + LIKE * alike / tuned.spread["text"]["space"] - MINUS * of_texts[1]
