"""What the explorer shows, as arrays and lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vtm.errors import DataError

READS = ("text", "image")
METHODS = ("baseline", "model")
SHOWN_WORDS = 12  # of a topic
# A topic's words with their probability, in the order in which they stand for it.
Words = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Match:
    """The pictures that were found for one text.

    Parameters
    ----------
    row : position of the text.
    found : "model" and, where there is one, "baseline" -> positions of the pictures, best first.
    rank : the same methods -> rank of the text's own picture among all pictures, 1 is best.
    """

    row: int
    found: dict[str, tuple[int, ...]]
    rank: dict[str, int]


@dataclass(frozen=True)
class ExplorerData:
    """n pictures with their texts and K topics. Row i of every array belongs to `ids[i]`.

    `from_arrays` and `from_results` make it.

    Parameters
    ----------
    ids, texts, pictures : n each; a text may be empty.
    theta_image : (n, K) topic distributions of the pictures.
    theta_text : (n, K) those of the texts, or None where texts have no topics.
    positions : (n, 2) places on the map, both coordinates from 0 to 1.
    words : "text" and "image", the two models -> K lists of words with their weights. One of them may be
        missing.
    coherence : the same keys -> (K,) NPMI of each topic; NaN, or no key, where it was not measured.
    matches : the texts for which pictures were looked for.
    measure : the similarity of two topic distributions by which the model looks.
    n_all : of how many pictures these n are a sample; 0 for no sample.
    title : the page's title.
    model_name, baseline_name : what the page calls them.
    language : code of the language of texts and words, as in HTML's `lang`.
    notes : sentences for the page's last section: where the data come from, under which licence.

    Raises
    ------
    DataError
        Lengths or shapes that do not fit, a repeated id, theta that is no distribution, positions outside
        0 to 1, a match with a row that is not there.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    pictures: tuple[Path, ...]
    theta_image: np.ndarray = field(repr=False)
    positions: np.ndarray = field(repr=False)
    words: dict[str, tuple[Words, ...]] = field(repr=False)
    theta_text: np.ndarray | None = field(default=None, repr=False)
    coherence: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    matches: tuple[Match, ...] = field(default=(), repr=False)
    measure: str = "cosine"
    n_all: int = 0
    title: str = "Topic explorer"
    model_name: str = "visual topic model"
    baseline_name: str = "baseline"
    language: str = "en"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.ids)
        if n == 0:
            raise DataError("explorer: no picture to show")
        for name in ("texts", "pictures"):
            _same(name, len(getattr(self, name)), n)
        if twice := [id for id, count in Counter(self.ids).items() if count > 1]:
            raise DataError(f"explorer: the id {twice[0]!r} occurs twice; ids must be unique")
        _check_theta("theta_image", self.theta_image, (n, self.n_topics))
        if self.theta_text is not None:
            _check_theta("theta_text", self.theta_text, (n, self.n_topics))
        if self.positions.shape != (n, 2):
            raise DataError(f"explorer: positions of shape {self.positions.shape}, ({n}, 2) is needed")
        if not ((self.positions >= 0) & (self.positions <= 1)).all():
            raise DataError("explorer: positions must lie between 0 and 1; `layout` makes such ones")
        self._check_topics()
        self._check_matches()

    @property
    def n_topics(self) -> int:
        return self.theta_image.shape[-1]

    def _check_topics(self) -> None:
        if not self.words or set(self.words) - set(READS):
            raise DataError(f"explorer: words are of {' and '.join(READS)}, not {list(self.words)}")
        for name, values in (*self.words.items(), *self.coherence.items()):
            _same(f"topics of the {name} model", len(values), self.n_topics)

    def _check_matches(self) -> None:
        if self.matches and self.theta_text is None:
            raise DataError("explorer: matches need theta_text, which explains them")
        for match in self.matches:
            rows = {match.row, *(row for found in match.found.values() for row in found)}
            if not rows <= set(range(len(self.ids))):
                raise DataError(f"explorer: the match of row {match.row} names a row that is not there")
            if set(match.found) - set(METHODS) or match.found.keys() != match.rank.keys():
                raise DataError(f"explorer: a match has {' and '.join(METHODS)}, not {list(match.found)}")


def top_words(
    topic_word: np.ndarray,
    vocabulary: Sequence[str],
    *,
    top: int = SHOWN_WORDS,
    scores: np.ndarray | None = None,
) -> tuple[Words, ...]:
    """The first words of each topic, with their probability; ties by the word's place in the vocabulary.

    Parameters
    ----------
    topic_word : (K, V)
    vocabulary : V words.
    scores : (K, V), optional
        By which the words are ordered, as `vtm.labels.relevance`; by default their probability.

    Raises
    ------
    DataError
        Another number of words than columns.
    """
    topic_word = np.asarray(topic_word)
    if topic_word.ndim != 2 or topic_word.shape[1] != len(vocabulary):
        raise DataError(
            f"topic words of shape {topic_word.shape} for a vocabulary of {len(vocabulary)} words"
        )
    order = np.argsort(-(topic_word if scores is None else scores), axis=1, kind="stable")[:, :top]
    return tuple(
        tuple((vocabulary[column], float(weights[column])) for column in columns)
        for weights, columns in zip(topic_word, order, strict=True)
    )


def checked_words(words: Mapping[str, Sequence[Sequence[tuple[str, float]]]]) -> dict[str, tuple[Words, ...]]:
    """The same as tuples of (str, float)."""
    return {
        reads: tuple(tuple((str(word), float(weight)) for word, weight in topic) for topic in topics)
        for reads, topics in words.items()
    }


def _same(name: str, found: int, n: int) -> None:
    if found != n:
        raise DataError(f"explorer: {found} {name}, {n} are needed")


def _check_theta(name: str, theta: np.ndarray, shape: tuple[int, int]) -> None:
    if theta.shape != shape:
        raise DataError(f"explorer: {name} of shape {theta.shape}, {shape} is needed")
    # Not "not ... > 1e-3": NaN fails every comparison, and must be found here.
    if not ((theta >= 0).all() and (np.abs(theta.sum(axis=1) - 1) <= 1e-3).all()):
        raise DataError(f"explorer: rows of {name} must not be negative and must sum to 1")
