"""What the explorer shows, as arrays and lists."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import numpy_generator, stream
from vtm.corpora import Corpus, Dropped
from vtm.corpora.table import cell_texts, dates_of
from vtm.errors import ConfigError, DataError, counted
from vtm.metrics.ranking import target_ranks, top_items
from vtm.metrics.topics import RELEVANCE_WEIGHT, npmi, relevance, topic_tree
from vtm.model.plus import unit
from vtm.report.tables import baseline_name

if TYPE_CHECKING:
    from vtm.api import VisualTopicModel
    from vtm.experiment.prepare import Prepared
    from vtm.experiment.results import Result


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


MOST_VALUES = 59  # of a column, which have signs of their own on the map
MOST_CLASSES = 7  # of a column of numbers or dates


@dataclass(frozen=True)
class Column:
    """What a column of a table says of n pictures, in classes that can be told apart on a map.

    Parameters
    ----------
    name : of the column.
    labels : of its classes, in order.
    of : n numbers of classes; -1 where a picture has no value.
    ordered : whether they are numbers or dates, ascending.
    """

    name: str
    labels: tuple[str, ...]
    of: tuple[int, ...]
    ordered: bool


def column_classes(name: str, values: Sequence[str]) -> Column:
    """A column in classes: numbers and dates (`dates_of`) in up to 7 of about as many pictures, others by value.

    Of more than 59 values, the rarest are one class. What `cell_texts` makes empty is no value, and dates of which the
    day and the month cannot be told apart are values like others.

    Examples
    --------
    >>> from vtm.report.explorer.shown import column_classes
    >>> column_classes("year", ["2001", "", "1999", "2001"])
    Column(name='year', labels=('1999', '2001'), of=(1, -1, 0, 1), ordered=True)
    >>> column_classes("kind", ["owl", "fox", "owl", ""]).labels
    ('owl', 'fox')
    """
    values = cell_texts(values)
    counts = Counter(value for value in values if value)
    keys: dict[str, float | str] = {value: of for value in counts if (of := _number(value)) is not None}
    if keys.keys() != counts.keys():
        keys = _days(counts)
    ordered = bool(counts) and keys.keys() == counts.keys()
    if not ordered:
        common = [value for value, _ in counts.most_common()]
        if len(common) > MOST_VALUES + 1:
            rare = f"{len(common) - MOST_VALUES} other values"
            class_of = {value: min(place, MOST_VALUES) for place, value in enumerate(common)}
            labels = (*common[:MOST_VALUES], rare)
        else:
            class_of, labels = {value: place for place, value in enumerate(common)}, tuple(common)
        return Column(name, labels, tuple(class_of.get(value, -1) for value in values), False)
    weight: Counter[float | str] = Counter()
    for value, number in counts.items():
        weight[keys[value]] += number
    classes: list[list[Any]] = []
    left, room = sum(weight.values()), MOST_CLASSES if len(weight) > MOST_CLASSES else len(weight)
    filled = 0
    for place, key in enumerate(sorted(weight)):
        # A class begins where the last one has its share of the pictures, or where each is to have its own.
        if not classes or (filled >= left / room and room > 1) or len(weight) - place <= room - 1:
            if classes:
                left, room = left - filled, room - 1
            classes.append([])
            filled = 0
        classes[-1].append(key)
        filled += weight[key]
    names = {
        key: value.removesuffix(".0") if isinstance(key, float) else key
        for value, key in sorted(keys.items(), reverse=True)
    }
    labels = tuple(
        names[some[0]] if len(some) == 1 else f"{names[some[0]]} – {names[some[-1]]}" for some in classes
    )
    number_of = {key: place for place, some in enumerate(classes) for key in some}
    return Column(name, labels, tuple(number_of[keys[v]] if v else -1 for v in values), True)


def _days(texts: Collection[str]) -> dict[str, float | str]:
    """The dates among some texts, to the day, or to the month where none has a day of its own."""
    try:
        dates = dates_of(texts)
    except DataError:
        return {}
    of_months = all(date.day == 1 for date in dates.values())
    return {text: date.isoformat()[: 7 if of_months else 10] for text, date in dates.items()}


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


DIMS = 48  # of the vectors on a page, of 8 bits each


@dataclass(frozen=True)
class Meaning:
    """Places of words and pictures in one space, where what is alike in meaning points the same way.

    Parameters
    ----------
    words : V words.
    word_vectors : (V, d) int8
    picture_vectors : (n, d) int8
    kept : how many of each word's ten nearest words by the vectors as they were are among its ten nearest by these, 0 to 1.
    """

    words: tuple[str, ...]
    word_vectors: np.ndarray = field(repr=False)
    picture_vectors: np.ndarray = field(repr=False)
    kept: float


def meaning_of(words: Sequence[str], word_vectors: np.ndarray, picture_vectors: np.ndarray) -> Meaning:
    """Vectors that take little room: of at most 48 dimensions, those in which the words differ most, and 8 bits each.

    Parameters
    ----------
    word_vectors, picture_vectors : (V, d), (n, d)
        Directions in one space. Words without one, and their vectors of length 0, are left out.
    """
    known = np.flatnonzero(np.asarray(word_vectors).any(axis=1)).tolist()
    exact = unit(np.asarray(word_vectors, dtype=np.float64)[known])
    pictures = unit(np.asarray(picture_vectors, dtype=np.float64))
    if exact.shape[1] > DIMS:
        values, axes = np.linalg.eigh(exact.T @ exact)
        axes = axes[:, np.argsort(-values, kind="stable")[:DIMS]]
        axes *= np.sign(axes[np.abs(axes).argmax(axis=0), range(DIMS)])  # the same on every machine
        few, pictures = unit(exact @ axes), unit(pictures @ axes)
    else:
        few = exact
    small = np.rint(127 * few).astype(np.int8)
    return Meaning(
        tuple(words[place] for place in known),
        small,
        np.rint(127 * pictures).astype(np.int8),
        _same_neighbours(exact, unit(small.astype(np.float64))),
    )


def _same_neighbours(exact: np.ndarray, small: np.ndarray, *, top: int = 10) -> float:
    """Share of each row's `top` nearest rows in one space that are among its nearest in the other; NaN of one row."""
    rows = np.arange(0, len(exact), max(1, len(exact) // 500))
    top = min(top, len(exact) - 1)
    if top < 1:
        return float("nan")
    near = []
    for x in (exact, small):
        alike = x[rows] @ x.T
        alike[np.arange(len(rows)), rows] = -2
        near.append(np.argsort(-alike, axis=1, kind="stable")[:, :top])
    return float(np.mean([len(set(a) & set(b)) / top for a, b in zip(*near, strict=True)]))


LAMBDAS = tuple(step / 20 for step in range(21))


@dataclass(frozen=True)
class Relevance:
    """What a page needs to order each topic's words by relevance, at any lambda of `LAMBDAS`.

    Parameters
    ----------
    weight : lambda at first.
    words : those that are among a topic's first 12 at one of them, in the vocabulary's order.
    forms : for each a number, which is that of its other forms, too: of these a topic shows the best.
    overall : "text" and "image" -> p(w) of each.
    topics : the same keys -> K lists of (place in `words`, p(w | k)).
    """

    weight: float
    words: tuple[str, ...]
    forms: tuple[int, ...]
    overall: dict[str, tuple[float, ...]]
    topics: dict[str, tuple[tuple[tuple[int, float], ...], ...]]


def relevance_of(
    topics_at: Callable[[str, float], Sequence[Sequence[str]]],
    topic_word: Mapping[str, np.ndarray],
    share: np.ndarray,
    vocabulary: Sequence[str],
    *,
    weight: float,
    forms: np.ndarray | None = None,
) -> Relevance:
    """What the page's slider needs.

    Parameters
    ----------
    topics_at : of "text" or "image" and a lambda, the first words of each of K topics.
    topic_word : "text" and "image" -> (K, V) p(w | k).
    share : (K,) p(k), as relevance takes it.
    forms : (V,) which words are forms of one; by default none are.
    """
    column = {word: place for place, word in enumerate(vocabulary)}
    shown = {
        reads: [{column[word] for found in each for word in found} for each in zip(*at, strict=True)]
        for reads in topic_word
        for at in [[topics_at(reads, value) for value in dict.fromkeys((*LAMBDAS, weight))]]
    }
    used = sorted(set().union(*(words for topics in shown.values() for words in topics)))
    place = {word: i for i, word in enumerate(used)}
    same = np.arange(len(vocabulary)) if forms is None else np.unique(forms, return_inverse=True)[1]
    return Relevance(
        weight=weight,
        words=tuple(vocabulary[word] for word in used),
        forms=tuple(int(same[word]) for word in used),
        overall={
            reads: tuple((np.asarray(share, np.float64) @ matrix.astype(np.float64))[used].tolist())
            for reads, matrix in topic_word.items()
        },
        topics={
            reads: tuple(
                tuple((place[word], float(topic_word[reads][k, word])) for word in sorted(words))
                for k, words in enumerate(topics)
            )
            for reads, topics in shown.items()
        },
    )


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
    numbers, names : K each, what topics are called; by default 0 to K - 1, and by their words.
    columns : by which pictures can be coloured, n values each.
    relevance : by which words of topics can be ordered anew; None where they cannot.
    keywords : n lists of (word, chance that it is right or NaN), which can be reviewed; none where there are none.
    meaning : by which words find words and pictures that are near in meaning; None where they cannot.
    topic_vectors : (K, d) a direction of each topic, by which they are compared; None where they are not.
    branches : what each branch of their tree is about: K - 1 lists of words, in the order of `vtm.metrics.topics.topic_tree`;
        none where its topics' own words tell it.

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
    numbers: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    relevance: Relevance | None = field(default=None, repr=False)
    keywords: tuple[Words, ...] = field(default=(), repr=False)
    meaning: Meaning | None = field(default=None, repr=False)
    topic_vectors: np.ndarray | None = field(default=None, repr=False)
    branches: tuple[tuple[str, ...], ...] = field(default=(), repr=False)

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
        if self.keywords:
            _same("lists of keywords", len(self.keywords), n)
        if self.topic_vectors is not None:
            _same("vectors of topics", len(self.topic_vectors), self.n_topics)
        if self.branches:
            _same("branches of the tree", len(self.branches), self.n_topics - 1)
        if self.meaning:
            _same("vectors of pictures", len(self.meaning.picture_vectors), n)
        for column in self.columns:
            _same(f"values of {column.name}", len(column.of), n)
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
        for name, n in [
            (name, len(of)) for some in (self.words, self.coherence) for name, of in some.items()
        ]:
            _same(f"topics of the {name} model", n, self.n_topics)

    def _check_matches(self) -> None:
        if self.matches and self.theta_text is None:
            raise DataError("explorer: matches need theta_text, which explains them")
        for match in self.matches:
            rows = {match.row, *(row for found in match.found.values() for row in found)}
            if not rows <= set(range(len(self.ids))):
                raise DataError(f"explorer: the match of row {match.row} names a row that is not there")
            if set(match.found) - set(METHODS) or match.found.keys() != match.rank.keys():
                raise DataError(f"explorer: a match has {' and '.join(METHODS)}, not {list(match.found)}")


def words_with_weights(
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
        By which the words are ordered, as `vtm.metrics.topics.relevance`; by default their probability.

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


def _same(name: str, found: int, n: int) -> None:
    if found != n:
        raise DataError(f"explorer: {found} {name}, {n} are needed")


def _check_theta(name: str, theta: np.ndarray, shape: tuple[int, int]) -> None:
    if theta.shape != shape:
        raise DataError(f"explorer: {name} of shape {theta.shape}, {shape} is needed")
    # Not "not ... > 1e-3": NaN fails every comparison, and must be found here.
    if not ((theta >= 0).all() and (np.abs(theta.sum(axis=1) - 1) <= 1e-3).all()):
        raise DataError(f"explorer: rows of {name} must not be negative and must sum to 1")


TSNE_UP_TO = 5000  # pictures; beyond, t-SNE takes minutes
NEAREST = 5  # of those that t-SNE placed, by which another picture is placed
PERPLEXITY = 30.0


def layout(theta: np.ndarray, seed: int) -> np.ndarray:
    """Positions of pictures on the map, in the unit square: those with alike topics lie together.

    t-SNE (van der Maaten and Hinton 2008) of the square roots of theta, whose Euclidean distance is the
    Hellinger distance of the distributions, started from their principal components. Of more than 5,000 pictures, so
    many are drawn and placed, and each other one is put where those are that it is most alike to. The principal
    components alone where t-SNE has no neighbours to keep: fewer than 5 different pictures.

    Parameters
    ----------
    theta : (n, K)
        Not negative.
    seed : int

    Returns
    -------
    (n, 2) float64
        Each coordinate from 0 to 1; 0.5 for a coordinate in which all agree.

    Raises
    ------
    DataError
        No rows, NaN, negative values.
    """
    theta = np.asarray(theta, dtype=np.float64)
    if theta.ndim != 2 or 0 in theta.shape or not np.isfinite(theta).all() or (theta < 0).any():
        raise DataError(f"layout: needs rows of topic probabilities, not shape {theta.shape} or NaN")
    roots = np.sqrt(theta)
    n_different = len(np.unique(theta.round(6), axis=0))
    small = min(n_different, theta.shape[1]) < 5
    places = _components(roots) if small else _tsne(roots, seed)
    low, high = places.min(axis=0), places.max(axis=0)
    span = high - low
    # What is left of a coordinate without spread is rounding.
    flat = span <= 1e-9 * max(1.0, float(np.abs(places).max()))
    return np.where(flat, 0.5, (places - low) / np.where(flat, 1.0, span))


def _components(roots: np.ndarray) -> np.ndarray:
    """(n, 2) first principal components, zeros where there are none; each one's largest entry is positive."""
    from sklearn.decomposition import PCA

    places = np.zeros((len(roots), 2))
    n_components = min(2, *roots.shape)
    if len(roots) > 1 and np.ptp(roots, axis=0).any():
        found = PCA(n_components, svd_solver="full").fit_transform(roots)
        places[:, :n_components] = found * np.sign(found[np.abs(found).argmax(axis=0), range(n_components)])
    return places


def _tsne(roots: np.ndarray, seed: int) -> np.ndarray:
    """(n, 2) places by t-SNE, of many by that of some of them."""
    if len(roots) > TSNE_UP_TO:
        some = _shown_rows(len(roots), TSNE_UP_TO, seed)
        return _placed_by(_tsne(roots[some], seed), roots[some], roots)
    from sklearn.manifold import TSNE

    return TSNE(
        perplexity=min(PERPLEXITY, (len(roots) - 1) / 3),
        init="pca",
        learning_rate="auto",
        random_state=stream(seed, "layout of the map") % 2**32,
    ).fit_transform(roots)


def _placed_by(places: np.ndarray, known: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Places (n, 2) of roots (n, K): the median of the nearest of those that have one, drawn towards the very nearest.

    A median of places that lie in two groups is in one of them, where a mean would be between.
    """
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=NEAREST, algorithm="brute").fit(known).kneighbors(roots)[1]
    return (np.median(places[near], axis=1) + places[near[:, 0]]) / 2


LIMIT = 5000  # pictures of one page; its data grow with them
FOUND = 8  # pictures shown for a text


def from_arrays(
    ids: Sequence[str],
    texts: Sequence[str],
    pictures: Sequence[Path | str],
    theta_image: np.ndarray,
    *,
    words: Mapping[str, Sequence[Sequence[tuple[str, float]]]],
    theta_text: np.ndarray | None = None,
    coherence: Mapping[str, Sequence[float] | np.ndarray] | None = None,
    baseline: tuple[np.ndarray, np.ndarray] | None = None,
    compare: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    keywords: Sequence[Sequence[tuple[str, float]]] | None = None,
    meaning: tuple[Sequence[str], np.ndarray, np.ndarray] | None = None,
    measure: str = "cosine",
    baseline_measure: str = "cosine",
    limit: int = LIMIT,
    seed: int = 0,
    **more: Any,
) -> ExplorerData:
    """What the explorer shows, from the arrays of any model.

    Parameters
    ----------
    ids, texts, pictures : n each, aligned; ids are unique. Pass empty texts for pictures that have none.
    theta_image : (n, K)
    words : "text" and/or "image" -> K lists of (word, weight), as `words_with_weights` makes them from a matrix.
    theta_text : (n, K), optional
        Without it the page compares no pictures for texts.
    coherence : the keys of `words` -> (K,) NPMI.
    baseline : (n, d) text and (n, d) image embeddings of one space, optional
        The page then shows what they find beside what the model finds.
    compare : ids of the texts to find pictures for; all that are not empty by default.
    columns : name -> n values, by which the map can be coloured (`column_classes`).
    keywords : n lists of (word, chance that it is right, or NaN), which a reader can review.
    meaning : V words, and the directions (V, d) of these and (n, d) of the pictures in one space (`meaning_of`).
    measure, baseline_measure : see `vtm.metrics.ranking.similarity`.
    limit : int
        Of more pictures than this, so many are drawn with the seed; everything the page shows, ranks too, is
        then among these, and the page says so.
    seed : int
        Of the map and of the draw.
    more : title, model_name, baseline_name, language, notes, relevance, topic_vectors, branches; see `ExplorerData`.

    Raises
    ------
    ConfigError
        A limit below 1, an unknown measure.
    DataError
        Arrays that do not fit (see `ExplorerData`), an id in `compare` that is not there.
    """
    if limit < 1:
        raise ConfigError(f"limit must be at least 1 picture, not {limit}")
    n_all = len(ids)
    arrays = {"theta_image": np.asarray(theta_image)}
    if theta_text is not None:
        arrays["theta_text"] = np.asarray(theta_text)
    if meaning is not None:
        arrays["picture vectors"] = np.asarray(meaning[2])
    if baseline is not None:
        arrays["baseline text embeddings"], arrays["baseline image embeddings"] = map(np.asarray, baseline)
    columns = columns or {}
    given: dict[str, Any] = {"texts": texts, "pictures": pictures, **columns, **arrays}
    if keywords is not None:
        given["keywords"] = keywords
    for name, values in given.items():
        if len(values) != n_all:
            raise DataError(f"explorer: {name} and ids: {len(values)} and {n_all}")
    if unknown := set(compare or ()) - set(ids):
        raise DataError(f"explorer: compare names the id {min(unknown)!r}, which is not there")

    rows = _shown_rows(n_all, limit, seed).tolist()
    arrays = {name: array[rows] for name, array in arrays.items()}
    ids = tuple(str(ids[row]) for row in rows)
    texts = tuple(texts[row] for row in rows)
    matches: tuple[Match, ...] = ()
    if "theta_text" in arrays:
        spaces = {"model": (arrays["theta_text"], arrays["theta_image"], measure)}
        if baseline is not None:
            both = arrays["baseline text embeddings"], arrays["baseline image embeddings"]
            spaces = {"baseline": (*both, baseline_measure)} | spaces
        wanted = set(compare) if compare is not None else None
        asked = [
            row for row, id in enumerate(ids) if (texts[row].strip() if wanted is None else id in wanted)
        ]
        matches = find_matches(ids, asked, spaces)
    return ExplorerData(
        ids=ids,
        texts=texts,
        pictures=tuple(Path(pictures[row]) for row in rows),
        theta_image=arrays["theta_image"],
        theta_text=arrays.get("theta_text"),
        positions=layout(arrays["theta_image"], seed),
        words={
            reads: tuple(tuple((str(word), float(weight)) for word, weight in topic) for topic in topics)
            for reads, topics in words.items()
        },
        coherence={
            reads: np.asarray(values, dtype=np.float64) for reads, values in (coherence or {}).items()
        },
        matches=matches,
        columns=tuple(
            column_classes(name, [values[row] for row in rows]) for name, values in columns.items()
        ),
        keywords=() if keywords is None else tuple(tuple(keywords[row]) for row in rows),
        meaning=None if meaning is None else meaning_of(*meaning[:2], arrays["picture vectors"]),
        measure=measure,
        n_all=n_all,
        **more,
    )


def find_matches(
    ids: Sequence[str],
    rows: Sequence[int],
    spaces: Mapping[str, tuple[np.ndarray, np.ndarray, str]],
) -> tuple[Match, ...]:
    """The best 8 pictures and the rank of the own picture, for the texts in `rows`, by each method.

    Parameters
    ----------
    spaces : method -> (n, d) texts, (n, d) pictures, measure.
    """
    if not rows:
        return ()
    asked = [ids[row] for row in rows]
    found, ranks = {}, {}
    for method, (text, image, measure) in spaces.items():
        queries = text[list(rows)]
        found[method] = top_items(queries, image, ids, k=FOUND, measure=measure)[0]
        ranks[method] = target_ranks(queries, image, asked, ids, measure=measure).ranks
    return tuple(
        Match(
            row=int(row),
            found={method: tuple(int(i) for i in found[method][place]) for method in spaces},
            rank={method: int(ranks[method][place]) for method in spaces},
        )
        for place, row in enumerate(rows)
    )


def _shown_rows(n: int, limit: int, seed: int) -> np.ndarray:
    """All rows, or `limit` of them drawn with the seed, in ascending order."""
    if n <= limit:
        return np.arange(n)
    return np.sort(numpy_generator(seed, "pictures of the explorer").permutation(n)[:limit])


def from_results(
    data: Prepared,
    baseline: Result,
    model: Result,
    *,
    topic_word: Mapping[str, np.ndarray],
    part: str = "test",
    limit: int = LIMIT,
    seed: int = 0,
    title: str = "Topic explorer",
    weight: float = RELEVANCE_WEIGHT,
) -> ExplorerData:
    """What the explorer shows of one run: the pictures of a part, the run's topics, and the baseline beside it.

    Parameters
    ----------
    topic_word : "text" and "image" -> (K, V) word distributions of the run's topics, rows in any order
        (`vtm.experiment.runs.saved_topic_word`).
    limit, seed : see `from_arrays`.
    weight : of relevance, by which a topic's words are ordered (`vtm.metrics.topics.relevance`).

    Raises
    ------
    DataError
        The three do not belong together: other ids, or topics that no row of `topic_word` has.
    """
    ids = data.ids(part)
    counts = data.counts[data.rows["train"]]
    name = baseline_name(data.aligned, data.experiment.encoder_name)
    notes = [f"Corpus {data.corpus.name}, {part} part, encoder {data.experiment.encoder}, seed {model.seed}."]
    if data.corpus.source:
        notes.append(data.corpus.source)
    if model.status != "ok":
        notes.append(f"This run is not healthy ({model.status}): {'; '.join(model.reasons)}.")
    row_of = {id: row for row, id in enumerate(data.corpus.ids)}
    theta = _in_order(model, "image", part, ids)
    share = theta.mean(axis=0, dtype=np.float64)
    vocabulary = data.vocabulary.words
    ordered = {reads: _rows_of(model.topics[reads], topic_word[reads], vocabulary, reads) for reads in READS}

    def words_at(reads: str, value: float) -> tuple[Words, ...]:
        scores = relevance(ordered[reads], share, weight=value)
        return words_with_weights(ordered[reads], vocabulary, scores=scores)

    return from_arrays(
        ids,
        data.texts(part),
        [data.pictures[id] for id in ids],
        theta,
        theta_text=_in_order(model, "text", part, ids),
        words={reads: words_at(reads, weight) for reads in READS},
        topic_vectors=np.sqrt(ordered["image"].astype(np.float64)),
        # The cosine of the roots of two distributions over topics is their Bhattacharyya coefficient.
        meaning=(vocabulary, np.sqrt(_topics_of_words(ordered["image"], share)), np.sqrt(theta)),
        relevance=relevance_of(
            lambda reads, value: [[word for word, _ in topic] for topic in words_at(reads, value)],
            ordered,
            share,
            vocabulary,
            weight=weight,
        ),
        coherence={reads: npmi(model.topics[reads], counts, vocabulary) for reads in model.topics},
        baseline=(_in_order(baseline, "text", part, ids), _in_order(baseline, "image", part, ids)),
        measure=model.measure,
        baseline_measure=baseline.measure,
        limit=limit,
        seed=seed,
        title=title,
        model_name=f"topic model: {model.name}",
        baseline_name=f"baseline: {name}",
        language=data.corpus.language,
        notes=tuple(notes),
        columns={
            name: [values[row_of[id]] for id in ids] for name, values in columns_of(data.corpus).items()
        },
    )


def _topics_of_words(topic_word: np.ndarray, share: np.ndarray) -> np.ndarray:
    """p(k | w), (V, K), of p(w | k) (K, V) and p(k)."""
    both = (share[:, None] * topic_word.astype(np.float64)).T
    return both / np.maximum(both.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)


def columns_of(corpus: Corpus) -> dict[str, Sequence[str]]:
    """The columns that a corpus has, and its gold category as one more."""
    groups = {} if corpus.groups is None else {"category": corpus.groups}
    return {**groups, **corpus.columns}


def _in_order(result: Result, reads: str, part: str, ids: list[str]) -> np.ndarray:
    """Rows of a result in the order of `ids`."""
    row_of = {id: row for row, id in enumerate(result.ids[part])}
    if row_of.keys() != set(ids):
        raise DataError(
            f"explorer: the result {result.name} is of {len(row_of)} other {part} pairs than the data's {len(ids)}"
        )
    return result.arrays[f"{part}_{reads}"][[row_of[id] for id in ids]]


def _rows_of(
    topics: list[list[str]], topic_word: np.ndarray, vocabulary: tuple[str, ...], reads: str
) -> np.ndarray:
    """The rows (K, V) of the topics, found by their most probable words: they may stand in another order."""
    probable = words_with_weights(topic_word, vocabulary, top=len(topics[0]))
    row_of = {tuple(word for word, _ in topic): row for row, topic in enumerate(probable)}
    missing = [k for k, topic in enumerate(topics) if tuple(topic) not in row_of]
    if missing:
        raise DataError(
            f"explorer: topic {missing[0]} of the result is none of the {reads} model's: "
            "the model on disk is of another run; run the experiment again"
        )
    return topic_word[[row_of[tuple(topic)] for topic in topics]]


NO_BASELINE = (
    "No baseline stands beside the topic model: the encoder {encoder} has one space for texts and another for pictures, "
    "so it finds no pictures for a text by itself. An encoder such as CLIP does, and a model trained with it has both."
)


def from_model(
    model: VisualTopicModel,
    pictures: Sequence[Path],
    *,
    ids: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    limit: int = LIMIT,
    seed: int = 0,
    title: str = "Topic explorer",
    order: str = "relevance",
    weight: float = RELEVANCE_WEIGHT,
) -> tuple[ExplorerData, tuple[Dropped, ...]]:
    """Read the pictures, and the texts where there are some, with the model.

    Where texts and pictures have a space in common by the model's encoder itself (`EncoderPair.aligned`), the page
    shows beside what the model finds for a text what the cosine of the embeddings finds; else it says why not.

    Parameters
    ----------
    pictures : n files.
    ids : n names; by default the files' own, or their paths where two have one name.
    texts : n texts, "" for none; without any the page compares no pictures for texts.
    columns : name -> n values, by which the map can be coloured.
    order, weight : which keywords stand for a topic (`VisualTopicModel.topics`).

    Returns
    -------
    What the explorer shows, and the pictures that could not be read.

    Raises
    ------
    DataError
        No picture can be read.
    """
    if ids is None:
        names = [path.name for path in pictures]
        ids = names if len(set(names)) == len(names) else [str(path) for path in pictures]
    dropped: list[Dropped] = []
    blocks, keywords = [], []
    for block, found, bad in model.tag_blocks(list(pictures)):
        blocks.append(block)
        keywords += [tuple((keyword.word, keyword.confidence) for keyword in some) for some in found]
        dropped += bad
    theta = np.concatenate(blocks) if blocks else np.zeros((0, 1), dtype=np.float32)
    good = np.flatnonzero(np.isfinite(theta).all(axis=1)).tolist()
    if not good:
        raise DataError(
            f"none of {counted(len(pictures), 'picture')} can be read: {dropped[0].detail if dropped else ''}"
        )
    theta_text = None
    beside: dict[str, Any] = {}
    kept_texts = [""] * len(good)
    if texts is not None and any(texts[row] for row in good):
        kept_texts = [texts[row] for row in good]
        theta_text = model.transform_text(kept_texts)
        beside = _baseline(model, kept_texts, [pictures[row] for row in good])
    if len(some := np.flatnonzero(model.shape_.measured(model.mixed_) == 1)):
        mixed = ", ".join(str(model.topic_numbers_[k]) for k in some)
        beside["notes"] = (*beside.get("notes", ()), f"Topics whose words belong to several themes: {mixed}.")
    data = from_arrays(
        [ids[row] for row in good],
        kept_texts,
        [pictures[row] for row in good],
        theta[good],
        theta_text=theta_text,
        words={reads: _words_of_model(model, reads, order=order, weight=weight) for reads in READS},
        coherence={reads: model.shape_.measured(found) for reads, found in model.coherence_.items()},
        relevance=_relevance_of_model(model, weight) if order == "relevance" else None,
        numbers=tuple(model.topic_numbers_),
        names=tuple(map(model.shape_.name, model.topic_numbers_)),
        columns={name: [values[row] for row in good] for name, values in (columns or {}).items()},
        keywords=[keywords[row] for row in good],
        topic_vectors=model._topic_vectors(),
        branches=_branches_of_model(model, weight),
        meaning=_meaning_of_model(model, [pictures[row] for row in good]),
        limit=limit,
        seed=seed,
        title=title,
        model_name=f"topic model: {model.method_}, {model.n_topics} topics",
        language=model.language,
        **beside,
    )
    return data, tuple(dropped)


def _baseline(model: VisualTopicModel, texts: Sequence[str], pictures: Sequence[Path]) -> dict[str, Any]:
    """What `from_arrays` takes of a baseline: the encoder's own embeddings, or the reason why there is none.

    All were embedded for theta before, so that they come from the cache.
    """
    encoders = model._encoders
    name = encoders.pair.name
    if not encoders.pair.aligned:
        return {"notes": (NO_BASELINE.format(encoder=name),)}
    image, _ = encoders.embed_images(pictures, [str(path) for path in pictures], progress=False)
    return {
        "baseline": (encoders.embed_texts(texts, progress=False), image),
        "baseline_name": f"baseline: {baseline_name(True, name)}",
    }


def _words_of_model(model: VisualTopicModel, reads: str, *, order: str, weight: float) -> tuple[Words, ...]:
    """The keywords of each topic, as `VisualTopicModel.topics` orders them, with their probability."""
    column = {word: place for place, word in enumerate(model.vocabulary_)}
    topic_word = model._topic_words(reads)
    topics = model.topics(SHOWN_WORDS, reads=reads, order=order, weight=weight)
    return tuple(
        tuple((word, float(probability[column[word]])) for word in words)
        for words, probability in zip(topics, topic_word, strict=True)
    )


def _meaning_of_model(
    model: VisualTopicModel, pictures: Sequence[Path]
) -> tuple[Sequence[str], np.ndarray, np.ndarray]:
    """The model's space: a word lies where the training pairs lie whose texts hold it (`Reader.word_query`)."""
    image, _ = model._encoders.embed_images(pictures, [str(path) for path in pictures], progress=False)
    reader, allowed = model._reader, np.flatnonzero(model._allowed())
    words = np.asarray(reader.pair_words.matrix.T @ reader.places)
    return [model.vocabulary_[word] for word in allowed], words[allowed], model.space_.embed("image", image)


def _branches_of_model(model: VisualTopicModel, weight: float) -> tuple[tuple[str, ...], ...]:
    """The words of `VisualTopicModel.tree`, in the order of the joins."""
    about = {frozenset(branch.topics): branch.words for _, branch in model.tree(weight=weight).walk()}
    numbers = model.topic_numbers_
    inside = [frozenset([number]) for number in numbers]
    for a, b, _ in topic_tree(model._topic_vectors()):
        inside.append(inside[a] | inside[b])
    return tuple(about[topics] for topics in inside[len(numbers) :])


def _relevance_of_model(model: VisualTopicModel, weight: float) -> Relevance:
    return relevance_of(
        lambda reads, value: model.topics(SHOWN_WORDS, reads=reads, weight=value),
        {reads: model._topic_words(reads) for reads in READS},
        model.shown_share_,
        model.vocabulary_,
        weight=weight,
        forms=model._word_forms(),
    )
