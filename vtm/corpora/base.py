"""What a corpus is, and how it is split: near-duplicates stay together."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import ConfigError, DataError, counted
from vtm.files import hash_json

if TYPE_CHECKING:
    import numpy as np


PARTS = ("train", "validation", "test")
# Of a split that a corpus' owners fixed. What they call development is drawn: into train and what they left out.
OWN_PARTS = ("development", "train", "validation", "test")
OWN_FRACTIONS = (0.8, 0.2, 0.0)
FOLDS = 5
# Two pairs are near-duplicates when the cosine of their pictures is above the first, or of their texts above the
# second, or both above the third.
TWIN_IMAGE, TWIN_TEXT, TWIN_BOTH = 0.97, 0.97, 0.85
# Pairs compared at once with as many others.
_TILE = 2048
# Up to so many pairs, all are compared with all. Of more, a pair is compared with those of the cells it is nearest to.
_MOST_COMPARED = 20_000
_CELLS_A_PAIR = 8
# Pairs that are held out of a user's model, at least and at most.
FEWEST_HELD_OUT, MOST_HELD_OUT = 20, 1000
# Share of all pairs that one cluster may hold before it is said, and a number that is never too large.
_LARGE_CLUSTER, _SMALL_CLUSTER = 0.1, 3


@dataclass(frozen=True)
class Dropped:
    """A pair that is not in the corpus, and why."""

    id: str
    reason: str
    detail: str = ""


def by_reason(dropped: Iterable[Dropped]) -> str:
    """How many were dropped for each reason, as in "2 empty-text, 1 too-large"."""
    counts = Counter(item.reason for item in dropped)
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())


@dataclass(frozen=True)
class Pair:
    """A candidate for a corpus, on its way through the drops."""

    id: str
    text: str
    image: Path
    group: str = ""
    image_hash: str = ""


@dataclass(frozen=True)
class Corpus:
    """n pairs of a text and a picture, aligned by `ids`.

    Attributes
    ----------
    name
        Which corpus, with its options.
    ids, texts, images, image_hashes
        Length n each; an image hash is the SHA-256 of the picture file's content.
    groups
        Gold category per pair (length n), or None. For evaluation only: no model may see it.
    dropped
        What was left out, with the reason.
    language
        Code of the texts' language, "en" for English.
    source
        One line: where the data come from, and their licence.
    parts
        "development", "train", "validation" or "test" per pair (length n): a split that the corpus' owners fixed.
        None: the split follows from the ids.
    found
        Where a reader found texts that stood in several places, and how many times.
    columns
        Name -> value per pair (length n): further columns of a table, by which pictures can be shown. No model sees them.
    n_test
        How many test texts the owners' task counts, where that is more than the corpus holds (a picture is
        missing): the others count as not found. Needs `parts`.

    Raises
    ------
    DataError
        No pair, a repeated id, sequences of unequal length, a part of another name, or `n_test` below the
        number of test pairs.

    Examples
    --------
    >>> from vtm import load_corpus
    >>> corpus = load_corpus("scenes", n=60)
    >>> corpus.name, len(corpus), corpus.images[0].name
    ('scenes-60-0', 60, 'scene-00000.png')
    >>> less = corpus.without({corpus.ids[0]: ("blurred", "as the photographer says")})
    >>> len(less), less.drop_counts()
    (59, {'blurred': 1})
    """

    name: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    images: tuple[Path, ...]
    image_hashes: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    dropped: tuple[Dropped, ...] = ()
    language: str = "en"
    source: str = ""
    parts: tuple[str, ...] | None = None
    n_test: int | None = None
    found: tuple[tuple[str, int], ...] = ()
    columns: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.ids:
            raise DataError(f"corpus {self.name}: no usable pair of text and picture{self._why_dropped()}")
        fields = {
            name: getattr(self, name) for name in ("texts", "images", "image_hashes", "groups", "parts")
        }
        for field, values in (
            fields | {f"values of {name}": of for name, of in self.columns.items()}
        ).items():
            if values is not None and len(values) != len(self.ids):
                raise DataError(f"corpus {self.name}: {field} and ids: {len(values)} and {len(self.ids)}")
        twice = [id for id, count in Counter(self.ids).items() if count > 1]
        if twice:
            raise DataError(f"corpus {self.name}: the id {twice[0]!r} occurs twice; ids must be unique")
        if other := set(self.parts or ()) - set(OWN_PARTS):
            raise DataError(f"corpus {self.name}: a part {min(other)!r}; it is one of {', '.join(OWN_PARTS)}")
        if self.n_test is not None and (self.parts is None or self.n_test < self.parts.count("test")):
            raise DataError(
                f"corpus {self.name}: n_test={self.n_test} needs parts with at most so many test pairs"
            )

    @classmethod
    def of(cls, pairs: Sequence[Pair], *, grouped: bool = True, **about: Any) -> Corpus:
        """The corpus of some pairs; what else is to be said of it by its attributes' names."""
        return cls(
            ids=tuple(pair.id for pair in pairs),
            texts=tuple(pair.text for pair in pairs),
            images=tuple(pair.image for pair in pairs),
            image_hashes=tuple(pair.image_hash for pair in pairs),
            groups=tuple(pair.group for pair in pairs) if grouped else None,
            **about,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over what a result depends on: name, ids, texts, picture contents, groups, own split."""
        content: list[object] = [self.name, self.ids, self.texts, self.image_hashes, self.groups]
        if self.parts is not None:
            content.append({"parts": self.parts, "n_test": self.n_test})
        return hash_json(content)

    def drop_counts(self) -> dict[str, int]:
        """How many pairs were dropped for each reason, in the order in which the reasons first applied."""
        return dict(Counter(item.reason for item in self.dropped))

    def without(self, drops: Mapping[str, tuple[str, str]]) -> Corpus:
        """The corpus less the pairs in `drops`, a mapping of id to (reason, detail).

        `n_test` stays: the task counts a test text whose pair is dropped.

        Raises
        ------
        DataError
            An id is not in the corpus, or nothing would be left.
        """
        if unknown := drops.keys() - set(self.ids):
            raise DataError(f"corpus {self.name}: has no id {min(unknown)!r} that could be dropped")
        kept = [position for position, id in enumerate(self.ids) if id not in drops]
        dropped = self.dropped + tuple(Dropped(id, *drops[id]) for id in self.ids if id in drops)
        if not kept:
            raise DataError(f"corpus {self.name}: no pair is left{self._why_dropped(dropped)}")
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[i] for i in kept),
            texts=tuple(self.texts[i] for i in kept),
            images=tuple(self.images[i] for i in kept),
            image_hashes=tuple(self.image_hashes[i] for i in kept),
            groups=None if self.groups is None else tuple(self.groups[i] for i in kept),
            parts=None if self.parts is None else tuple(self.parts[i] for i in kept),
            columns={name: tuple(values[i] for i in kept) for name, values in self.columns.items()},
            dropped=dropped,
        )

    def joined(self, other: Corpus) -> Corpus:
        """The corpus with the pairs of another one behind its own; of equal pairs, text and picture, the first stays.

        An id that both have gets the other one's name in front of it. Groups and own splits are left out. A column that one of
        them lacks has no values there; an equal pair brings the value that the first has not.

        Examples
        --------
        >>> from vtm import load_corpus
        >>> corpus = load_corpus("scenes", n=60)
        >>> both = corpus.joined(load_corpus("scenes", n=60, seed=1))
        >>> len(both), both.ids[60], corpus.joined(corpus).drop_counts()
        (120, 'scenes-60-1/scene-00000', {'known-pair': 60})
        """
        pairs_here = zip(self.texts, self.image_hashes, strict=True)
        known = {pair: row for row, pair in reversed([*enumerate(pairs_here)])}
        ids = set(self.ids)
        names = dict.fromkeys([*self.columns, *other.columns])
        columns = {name: list(self.columns.get(name, [""] * len(self))) for name in names}
        own = zip(self.ids, self.texts, self.images, self.image_hashes, strict=True)
        pairs = [Pair(id, text, image, image_hash=image_hash) for id, text, image, image_hash in own]
        dropped = []
        theirs = zip(other.ids, other.texts, other.images, other.image_hashes, strict=True)
        for row, (id, text, image, image_hash) in enumerate(theirs):
            if (first := known.get((text, image_hash))) is not None:
                dropped.append(Dropped(id, "known-pair", f"{id}: is there already"))
                for name, theirs_of in other.columns.items():
                    columns[name][first] = columns[name][first] or theirs_of[row]
                continue
            while id in ids:
                id = f"{other.name}/{id}"
            ids.add(id)
            pairs.append(Pair(id, text, image, image_hash=image_hash))
            for name, values in columns.items():
                values.append(other.columns[name][row] if name in other.columns else "")
        about: dict[str, Any] = {"language": self.language, "source": self.source}
        about["columns"] = {name: tuple(values) for name, values in columns.items()}
        dropped = (*self.dropped, *other.dropped, *dropped)  # type: ignore[assignment]
        return Corpus.of(pairs, grouped=False, name=self.name, dropped=dropped, **about)

    def keep(self, ids: Iterable[str], *, reason: str, detail: str = "") -> Corpus:
        """The corpus with only the pairs in `ids`, in its own order; the others are dropped for `reason`."""
        wanted = set(ids)
        if unknown := wanted - set(self.ids):
            raise DataError(f"corpus {self.name}: has no id {min(unknown)!r} that could be kept")
        return self.without({id: (reason, detail) for id in self.ids if id not in wanted})

    def _why_dropped(self, dropped: Sequence[Dropped] | None = None) -> str:
        told = by_reason(self.dropped if dropped is None else dropped)
        return f" (dropped: {told})" if told else ""


def drop_repeats(
    pairs: Iterable[Pair], key: Callable[[Pair], Hashable], reason: str
) -> tuple[list[Pair], list[Dropped]]:
    """Of the pairs with the same key only the first stays; the detail of a drop names that one."""
    first: dict[Hashable, Pair] = {}
    dropped = []
    for pair in pairs:
        earlier = first.setdefault(key(pair), pair)
        if earlier is not pair:
            dropped.append(Dropped(pair.id, reason, f"as {earlier.id}"))
    return list(first.values()), dropped


def drop_by_looks(pairs: Sequence[Pair], seen: Sequence[str | None]) -> tuple[list[Pair], list[Dropped]]:
    """Without the pictures that cannot be read, that are of one colour, or that look like an earlier one.

    Parameters
    ----------
    seen : what `vtm.corpora.pictures.looks` says of each pair's picture.
    """
    of = dict(zip((pair.id for pair in pairs), seen, strict=True))
    dropped = [
        Dropped(pair.id, "unreadable-picture" if of[pair.id] is None else "blank-picture")
        for pair in pairs
        if not of[pair.id]
    ]
    kept, identical = drop_repeats(
        (pair for pair in pairs if of[pair.id]), lambda pair: of[pair.id], "identical-picture"
    )
    return kept, dropped + identical


def same_words(text: str) -> str:
    """A text's words in lower case: equal for texts that differ in case and punctuation only."""
    return " ".join(re.findall(r"\w+", text.lower()))


def near_duplicates(
    text: np.ndarray,
    image: np.ndarray,
    *,
    twin_image: float = TWIN_IMAGE,
    twin_text: float = TWIN_TEXT,
    twin_both: float = TWIN_BOTH,
) -> np.ndarray:
    """Clusters of near-duplicates: pairs that are alike by a threshold, and those alike to these (single linkage).

    Up to 20,000 pairs, all are compared with all others. Of more, a pair is compared with those whose picture, or whose
    text, lies in one of the eight cells that its own is nearest to (as an inverted file does it, Sivic and Zisserman
    2003; the cells are around pairs drawn by a fixed seed). What is found is alike; at the default thresholds, less than
    one in a hundred of those that are alike is missed. The time grows with n^1.5 instead of n^2, the memory with n, and
    mapped arrays are read in parts.

    Parameters
    ----------
    text, image : (n, D), (n, E) embeddings, row i of both for pair i.
    twin_image, twin_text : two pairs are alike when the cosine of their pictures, or of their texts, is above it.
    twin_both : so they are when both cosines are above it. A threshold of 0, or of 1 and more, is off.

    Returns
    -------
    (n,) int64
        Number of each pair's cluster, 0 for the first pair's, the next one for the first pair outside of it.

    Examples
    --------
    >>> import numpy as np
    >>> from vtm.corpora.base import near_duplicates
    >>> near_duplicates(np.eye(3), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])).tolist()
    [0, 1, 0]
    """
    import numpy as np

    n = len(text)
    labels = np.arange(n)
    # What is off is never reached.
    limits = [above if 0 < above < 1 else math.inf for above in (twin_image, twin_text, twin_both)]
    if n <= _MOST_COMPARED:
        for here, there in _alike_of_all(text, image, limits):
            labels = _joined(labels, here, there)
    else:
        parts: list[np.ndarray] = []
        n_new = 0
        for here, there in _alike_in_cells(text, image, limits):
            # Pairs that belong together by others already say nothing new.
            new = labels[here] != labels[there]
            parts.append(np.stack([here[new], there[new]]))
            # Joining takes n steps, so it is done for many at once.
            n_new += new.sum()
            if n_new >= n:
                labels, parts, n_new = _joined(labels, *np.concatenate(parts, axis=1)), [], 0
        if parts:
            labels = _joined(labels, *np.concatenate(parts, axis=1))
    _, first, labels = np.unique(labels, return_index=True, return_inverse=True)
    # From the order of the labels to that of the first pairs.
    return np.argsort(np.argsort(first))[labels].astype(np.int64)


def _joined(labels: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The clusters (n,) when the pairs `here` belong to those `there`, (m,) each."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    here, there = labels[here], labels[there]
    if not (here != there).any():
        return labels
    edges = coo_matrix((np.ones(len(here), dtype=bool), (here, there)), shape=(len(labels), len(labels)))
    return connected_components(edges, directed=False)[1][labels]


def _alike_of_all(
    text: np.ndarray, image: np.ndarray, limits: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs that are alike, by position, some thousand compared with as many others at a time."""
    import numpy as np

    n = len(text)
    image, text = _of_length_one(image), _of_length_one(text)
    for top in range(0, n if min(limits) < 1 else 0, _TILE):
        for left in range(top, n, _TILE):
            rows, columns = slice(top, top + _TILE), slice(left, left + _TILE)
            by_image, by_text = image[rows] @ image[columns].T, text[rows] @ text[columns].T
            alike = (by_image > limits[0]) | (by_text > limits[1])
            alike |= np.minimum(by_image, by_text) > limits[2]
            here, there = np.nonzero(alike)
            yield here + top, there + left


def _alike_in_cells(
    text: np.ndarray, image: np.ndarray, limits: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Nearly all pairs that are alike, by position: those of neighbouring cells, of pictures and then of texts."""
    import numpy as np

    for own, other, alone in ((image, text, limits[0]), (text, image, limits[1])):
        least = min(alone, limits[2])
        if least > 1:
            continue
        rows = np.arange(len(own))
        if alone < 1:  # many equal rows would all lie in one cell
            rows, here, there = _equal_rows(own)
            yield here, there
        for members, visitors in _cells(own, rows):
            for top in range(0, len(members), _TILE):
                residents = members[top : top + _TILE]
                columns = _of_length_one(own[residents]).T
                for start in range(0, len(visitors), _TILE):
                    guests = visitors[start : start + _TILE]
                    close = _of_length_one(own[guests]) @ columns
                    here, there = np.nonzero(close > least)
                    alike = close[here, there] > alone
                    here, there = guests[here], residents[there]
                    if limits[2] < 1:
                        unsure = np.flatnonzero(~alike & (here != there))
                        a, b = (_of_length_one(other[side[unsure]]) for side in (here, there))
                        alike[unsure] = np.einsum("ij,ij->i", a, b) > limits[2]
                    yield here[alike], there[alike]


def _equal_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One position of each different row of (n, D), and those of the other rows beside that of their like."""
    import numpy as np

    first: dict[bytes, int] = {}
    like = np.empty(len(x), dtype=np.int64)
    for row in range(len(x)):
        content = hashlib.blake2b(x[row].tobytes(), digest_size=16).digest()
        like[row] = first.setdefault(content, row)
    again = np.flatnonzero(like != np.arange(len(x)))
    again = again[[bool(x[row].any()) for row in again]]  # zeros are like nothing
    return np.setdiff1d(np.arange(len(x)), again), again, like[again]


def _cells(x: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cells around some of the rows of (n, D): positions of those that lie in each, and of those that are near to it."""
    import numpy as np

    # So many cells that it costs as much to find a row's cells as to compare it with what is in them.
    n_near, n_cells = _CELLS_A_PAIR, math.isqrt(_CELLS_A_PAIR * len(rows))
    n_near = min(n_near, n_cells)
    chosen = np.random.default_rng(0).choice(len(rows), n_cells, replace=False)
    centres = _of_length_one(x[rows[np.sort(chosen)]]).T
    near = np.empty((len(rows), n_near), dtype=np.int32)
    for start in range(0, len(rows), _TILE):
        part = slice(start, start + _TILE)
        far = -(_of_length_one(x[rows[part]]) @ centres)
        some = np.argpartition(far, n_near - 1, axis=1)[:, :n_near]
        order = np.argsort(np.take_along_axis(far, some, axis=1), axis=1)
        near[part] = np.take_along_axis(some, order, axis=1)
    order = np.argsort(near.ravel(), kind="stable")
    row, place = np.divmod(order, n_near)
    ends = np.cumsum(np.bincount(near.ravel(), minlength=n_cells))[:-1]
    for visitors, places in zip(np.split(rows[row], ends), np.split(place, ends), strict=True):
        yield visitors[places == 0], visitors


def large_cluster(clusters: np.ndarray) -> str:
    """What is to be said when one cluster holds more than a tenth of the pairs; "" otherwise."""
    import numpy as np

    largest = int(np.bincount(clusters).max())
    if largest <= max(_LARGE_CLUSTER * len(clusters), _SMALL_CLUSTER):
        return ""
    return (
        f"{largest} of {len(clusters)} pairs are one cluster of near-duplicates, which cannot be split: the encoder calls "
        "too much alike, or many texts are the same (twin_image, twin_text and twin_both are the thresholds)"
    )


def leaking(clusters: np.ndarray, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Positions of the test pairs that have a near-duplicate in another part of a split (`rows`: part -> positions)."""
    import numpy as np

    others = [clusters[positions] for part, positions in rows.items() if part != "test"]
    return rows["test"][np.isin(clusters[rows["test"]], np.concatenate(others))]


def _of_length_one(embeddings: np.ndarray) -> np.ndarray:
    import numpy as np

    embeddings = np.asarray(embeddings, dtype=np.float32)
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.maximum(length, np.finfo(np.float32).tiny)


def split(
    pairs: Corpus | Sequence[str],
    *,
    seed: int = 0,
    fold: int = 0,
    clusters: Sequence[int] | np.ndarray | None = None,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
) -> dict[str, np.ndarray]:
    """Split into train, validation and test, so that an id keeps its part when the corpus grows or shrinks.

    An id's part depends on the id, the seed, the fold and the fractions alone: the SHA-256 of "seed:id", read as a
    number in [0, 1), falls into one of three intervals. The sizes are therefore only about those asked for. A cluster
    falls whole into the part of its smallest id: a pair that joins changes the part only where its id is smaller, or
    where it makes one cluster of two.

    Parameters
    ----------
    pairs
        A corpus, or n unique ids. A corpus whose owners fixed parts (`Corpus.parts`) keeps them: there only the
        development pairs are drawn, 80 % train and 20 % validation, or test where they fixed a validation part.
    seed
        Another seed, another split.
    fold
        0 to 4: the intervals are turned by so many fifths. So the five test parts of a seed hold each pair once (of a
        corpus with `parts`, the five validation parts hold each development pair once).
    clusters
        (n,) number of each pair's cluster (`near_duplicates`); None: each pair is alone.
    fractions
        Of train, validation and test; they sum to 1.

    Returns
    -------
    dict
        "train", "validation", "test": int64 positions into `pairs`, ascending, disjoint, together all n.

    Raises
    ------
    ConfigError
        The fractions are not three numbers from 0 to 1 that sum to 1, or there is no such fold.
    DataError
        Another number of clusters' numbers than of pairs.
    """
    import numpy as np

    if fold not in range(FOLDS):
        raise ConfigError(f"fold={fold!r}: must be a whole number from 0 to {FOLDS - 1}")
    if clusters is not None and len(clusters) != len(pairs):
        raise DataError(
            f"{counted(len(clusters), 'number', 'numbers')} of clusters for {counted(len(pairs), 'pair')}; give one for each"
        )
    if isinstance(pairs, Corpus) and pairs.parts is not None:
        own = np.array(pairs.parts)
        rows = {part: np.flatnonzero(own == part).astype(np.int64) for part in OWN_PARTS}
        development = rows.pop("development")
        drawn = split(
            [pairs.ids[row] for row in development],
            seed=seed,
            fold=fold,
            clusters=None if clusters is None else np.asarray(clusters)[development],
            fractions=(0.8, 0.0, 0.2) if len(rows["validation"]) else OWN_FRACTIONS,
        )
        return {part: np.sort(np.append(rows[part], development[drawn[part]])) for part in PARTS}
    proper = len(fractions) == 3 and all(0 <= part <= 1 for part in fractions)
    if not proper or not math.isclose(sum(fractions), 1.0, abs_tol=1e-9):
        raise ConfigError(f"split fractions {tuple(fractions)}: give three numbers from 0 to 1 that sum to 1")
    ids = pairs.ids if isinstance(pairs, Corpus) else pairs
    named = ids if clusters is None else _smallest(ids, clusters)
    digests = (hashlib.sha256(f"{seed}:{id}".encode()).digest() for id in named)
    # 53 bits make a float in [0, 1) without rounding up to 1.
    places = np.array([(int.from_bytes(digest[:8]) >> 11) / 2**53 for digest in digests], dtype=np.float64)
    parts = np.searchsorted(np.cumsum(fractions)[:2], (places + fold / FOLDS) % 1.0, side="right")
    return {name: np.flatnonzero(parts == index).astype(np.int64) for index, name in enumerate(PARTS)}


def _smallest(names: Sequence[str], clusters: Sequence[int] | np.ndarray) -> list[str]:
    """For each name the smallest one of its cluster."""
    smallest: dict[int, str] = {}
    for name, cluster in zip(names, clusters, strict=True):
        smallest[cluster] = min(name, smallest.get(cluster, name))
    return [smallest[cluster] for cluster in clusters]


def held_out(
    texts: Sequence[str], *, share: float, seed: int, clusters: np.ndarray | None = None
) -> np.ndarray:
    """(n,) bool: the pairs that judge the training and are not trained on.

    A share of the pairs, but 20 at least, since fewer judge nothing, and 1,000 at most. None where 20 would be more
    than a quarter, or the share is 0. Drawn by the hash of seed and text: the order of the pairs changes nothing.

    Parameters
    ----------
    clusters
        (n,) number of each pair's cluster (`vtm.corpora.base.near_duplicates`). A cluster is drawn whole, by its
        smallest text, those of more than a quarter of what is wanted last; one of more pairs than are still wanted is
        passed over, but for what lacks to the first 20.
        Where even these are not to be had, all is too much alike, and pairs are drawn one by one. None: each pair is
        alone.
    """
    import numpy as np

    chosen = np.zeros(len(texts), dtype=bool)
    if share == 0 or FEWEST_HELD_OUT > len(texts) / 4:
        return chosen
    members: dict[int, list[int]] = {}
    for row, cluster in enumerate(range(len(texts)) if clusters is None else clusters):
        members.setdefault(int(cluster), []).append(row)

    def place(rows: list[int]) -> bytes:
        smallest = min(texts[row] for row in rows)
        return hashlib.sha256(f"held out {seed}:{smallest}".encode("utf-8", "surrogatepass")).digest()

    wanted = min(max(math.ceil(share * len(texts)), FEWEST_HELD_OUT), MOST_HELD_OUT)
    # One large cluster would judge by a single subject: smaller ones come first.
    drawn = sorted(members.values(), key=place)
    for rows in sorted(drawn, key=lambda rows, large=wanted / 4: len(rows) > large):  # type: ignore[misc]
        few = chosen.sum() < FEWEST_HELD_OUT
        if len(rows) <= max(wanted, few * FEWEST_HELD_OUT):
            chosen[rows] = True
            wanted -= len(rows)
    if clusters is not None and chosen.sum() < FEWEST_HELD_OUT:
        return held_out(texts, share=share, seed=seed)
    return chosen
