"""What people decided about a model's topics: names, topics that are one or several, hidden topics, words not to be shown.

Topics keep their numbers. Where 4 and 7 are one, topic 4 is left; where 12 is hidden, all others are called as before; where
12 is split, its largest piece is still 12, and the others have the next free numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import numpy_generator
from vtm.errors import ConfigError
from vtm.metrics.ranking import best_columns
from vtm.model.plus import PlusConfig, spherical_kmeans, unit

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

LEAST_LEFT = 2  # topics that are shown
LEAST_PAIRS = 5  # of a piece of a topic
STARTS = 10  # of the clustering of a topic's pairs, of which the tightest is taken
SPREAD = 1.0  # pairs' worth of each word that all pieces of a topic have alike


@dataclass(frozen=True)
class Split:
    """A topic that was divided into several.

    Parameters
    ----------
    topic : its number, which its largest piece keeps.
    numbers : of the pieces, the first that of the topic.
    centres : a direction of each piece in the space that texts and pictures share, d numbers, of length 1.
    """

    topic: int
    numbers: tuple[int, ...]
    centres: tuple[tuple[float, ...], ...] = field(repr=False)


@dataclass(frozen=True)
class Pieces:
    """How topics that were split are divided, by the m training pairs that a model keeps.

    A pair at place p_i that has the topic k by p(k | i) has its piece j by p(k | i) p(j | k, i), where p(j | k, i) follows from
    the pieces' centres as VTM+'s topics do from their anchors (`vtm.model.plus`). A document has of each piece what the pairs
    around it have. So the pieces of a topic always sum to the topic.

    On Open Clip Art's test part (VTM+, K = 30, two seeds, each topic split in two), text and picture of a pair that both have
    0.3 of the topic or more have the same larger piece in 85 % of 295 cases; by chance 76 %.

    Parameters
    ----------
    topics : (m, K') of the pairs, pieces in the place of what was split.
    weights : for each split (m, j) what the pairs have of its j pieces.
    shares : for each split (j,) the pieces' shares of the topic; they sum to 1.
    words : for each split (j, V) each piece's share of the topic's occurrences of each word; they sum to 1.
    """

    topics: np.ndarray
    weights: tuple[np.ndarray, ...] = ()
    shares: tuple[np.ndarray, ...] = ()
    words: tuple[np.ndarray, ...] = ()

    @classmethod
    def of(cls, splits: Iterable[Split], topics: np.ndarray, places: np.ndarray, words: csr_matrix) -> Pieces:
        """By the pairs' topics (m, K), their places (m, d) and the words that their texts hold (m, V)."""
        found = cls(topics)
        for split in splits:
            logits = PlusConfig.pair_concentration * places @ np.array(split.centres).T
            inside = np.exp(logits - logits.max(axis=1, keepdims=True))
            inside /= inside.sum(axis=1, keepdims=True)
            part = inside * found.topics[:, split.topic, None]
            share = part.sum(axis=0) / part.sum()
            held = (words.T @ part).T
            found = cls(
                divided(found.topics.T, [split], [inside.T]).T,
                (*found.weights, part),
                (*found.shares, share),
                (*found.words, (held + SPREAD * share[:, None]) / (held.sum(axis=0) + SPREAD)),
            )
        return found

    def of_documents(self, near: np.ndarray) -> list[np.ndarray]:
        """For each split the pieces' shares of the topic, (j, n), in documents that are near to pairs by (n, m)."""
        found = []
        for weights, share in zip(self.weights, self.shares, strict=True):
            part = near @ weights  # (n, j)
            total = part.sum(axis=1, keepdims=True)
            found.append(np.where(total > 0, part / np.where(total > 0, total, 1), share).T)
        return found

    def best(self, splits: Iterable[Split], most: int) -> dict[int, list[tuple[int, float]]]:
        """Each piece -> the pairs that have more of it than of any other, `most` at most, and how much; best first."""
        pieces = sorted({k for split in splits for k in split.numbers})
        share, found = self.topics[:, pieces], {}
        largest = share.argmax(axis=1)
        for column, k in enumerate(pieces):
            own = np.flatnonzero(largest == column)
            rows = own[best_columns(share[own, column][None], most)[0]] if len(own) else own
            found[k] = [(int(row), float(share[row, column])) for row in rows]
        return found

    def centres(self, topic: int, into: int, places: np.ndarray, *, seed: int) -> np.ndarray:
        """Directions (into, d) by which a topic is best divided: clusters of the pairs that have most of it, the largest first.

        Raises
        ------
        ConfigError
            The topic has too few pairs.
        """
        own = places[self.topics.argmax(axis=1) == topic]
        if len(own) < LEAST_PAIRS * into:
            raise ConfigError(
                f"split {topic}:{into}: {len(own)} of the training pairs that the model keeps are of topic {topic} before all "
                f"others, and {LEAST_PAIRS} a piece are needed"
            )
        best, tightest = np.empty((0, 0)), -np.inf
        for start in range(STARTS):
            draws = numpy_generator(seed, f"split of topic {topic} into {into}, start {start}")
            nearest, centres = spherical_kmeans(own, into, draws=draws)
            if (tight := float((own * centres[nearest]).sum())) > tightest:
                best, tightest = centres[np.argsort(-np.bincount(nearest), kind="stable")], tight
        return unit(best.astype(np.float64))


def divided(values: np.ndarray, splits: Iterable[Split], parts: Iterable[np.ndarray]) -> np.ndarray:
    """What K topics have, (K, ...), with the pieces of those that were split in their place: (K', ...).

    `parts` are, for each split, the pieces' shares, (j, ...).
    """
    for split, part in zip(splits, parts, strict=True):
        rows = part * values[split.topic]
        values = np.concatenate([values, rows[1:].astype(values.dtype)])
        values[split.topic] = rows[0]
    return values


@dataclass(frozen=True)
class Shape:
    """Decisions about topics 0 to K - 1.

    Parameters
    ----------
    names : number -> what the topic is called.
    merged : number -> the topic that it was merged into, which may itself be merged.
    hidden : numbers of topics that are not shown.
    banned : words that are in no label and no keyword, nor are their other forms.
    splits : topics that were divided, in the order in which they were. What is said below of K topics counts their pieces.
    before : what had been decided before the last call.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    merged: Mapping[int, int] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    banned: tuple[str, ...] = ()
    splits: tuple[Split, ...] = ()
    before: Shape | None = field(default=None, repr=False)

    def root(self, k: int) -> int:
        """The topic that topic k is part of; itself where it was not merged."""
        while k in self.merged:
            k = self.merged[k]
        return k

    @property
    def n_added(self) -> int:
        """How many more topics there are than were trained."""
        return sum(len(split.numbers) - 1 for split in self.splits)

    def pieces(self, k: int) -> list[int]:
        """The numbers of what topic k was split into, itself the first; itself alone where it was not."""
        return [k, *(number for split in self.splits if split.topic == k for number in split.numbers[1:])]

    def numbers(self, n_topics: int) -> list[int]:
        """The topics that are shown, in order: the columns of theta; of so many, pieces too."""
        return [k for k in range(n_topics) if k not in self.merged and k not in self.hidden]

    def members(self, n_topics: int) -> dict[int, list[int]]:
        """Each topic that is shown -> the topics that it is made of, itself the first."""
        found = {k: [k] for k in self.numbers(n_topics)}
        for k in sorted(self.merged):
            if self.root(k) in found:
                found[self.root(k)].append(k)
        return found

    def name(self, k: int) -> str:
        """What topic k is called: by its own name, or else by that of a topic that was merged into it; "" without."""
        inside = [k, *(other for other in sorted(self.merged) if self.root(other) == k)]
        return next((self.names[other] for other in inside if other in self.names), "")

    def theta(self, theta: np.ndarray) -> np.ndarray:
        """Theta (n, K) of all topics -> (n, K') of those that are shown.

        The columns of merged topics are summed, those of hidden ones are left out, and the rest is scaled to sum 1. A
        row that lies in hidden topics alone is spread evenly.
        """
        if not self.merged and not self.hidden:
            return theta
        members = self.members(theta.shape[1]).values()
        wide = np.asarray(theta, dtype=np.float64)
        found = np.stack([wide[:, some].sum(axis=1) for some in members], axis=1)
        if self.hidden:
            total = found.sum(axis=1, keepdims=True)
            found = np.where(total > 0, found / np.where(total > 0, total, 1), 1 / found.shape[1])
        found[np.isnan(wide).any(axis=1)] = np.nan
        return found.astype(np.asarray(theta).dtype)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """What K topics have, (K, ...), for those that are shown: the sum of merged ones."""
        members = self.members(len(values)).values()
        return (
            values if not self.merged and not self.hidden else np.stack([values[k].sum(0) for k in members])
        )

    def measured(self, values: np.ndarray) -> np.ndarray:
        """A measure (K,) of the trained topics for those that are shown; NaN for merged ones and pieces: it is not known."""
        found = np.append(np.asarray(values, dtype=np.float64), np.full(self.n_added, np.nan))
        found[[self.root(k) for k in self.merged] + [split.topic for split in self.splits]] = np.nan
        return found[self.numbers(len(found))]

    def best(self, pictures: Sequence[Sequence[tuple[str, float]]]) -> list[list[tuple[str, float]]]:
        """The best pictures of K topics with their shares, for those that are shown.

        Of a merged topic they are known as far as they are among the best of one of its parts.
        """
        found = []
        for some in self.members(len(pictures)).values():
            share: dict[str, float] = {}
            for name, part in (pair for k in some for pair in pictures[k]):
                share[name] = share.get(name, 0.0) + part
            found.append(
                sorted(share.items(), key=lambda pair: -pair[1]) if len(some) > 1 else [*pictures[some[0]]]
            )
        return found

    def means(self, values: np.ndarray, share: np.ndarray) -> np.ndarray:
        """The same, (K, V), but the mean of merged ones, weighed by their share (K,)."""
        found = values[self.numbers(len(values))]
        for row, some in enumerate(self.members(len(values)).values()):
            if len(some) > 1:
                found[row] = np.average(values[some], axis=0, weights=np.maximum(share[some], 1e-12))
        return found

    def edited(
        self,
        n_topics: int,
        *,
        names: Mapping[int, str] | None = None,
        merge: Iterable[Sequence[int]] = (),
        hide: Iterable[int] = (),
        ban: Iterable[str] = (),
        show: Iterable[int] = (),
        unmerge: Iterable[int] = (),
        allow: Iterable[str] = (),
        split: Mapping[int, int] | None = None,
        centres: Callable[[tuple[Split, ...], int, int], np.ndarray] | None = None,
    ) -> Shape:
        """With further decisions; what is taken back comes first, then splits, names last. Itself where all are made already.

        Parameters
        ----------
        n_topics : how many were trained.
        names : an empty one takes the name away.
        merge : groups of topics; the first of each is left.
        split : topic -> how many topics it is to be. One that is several already is divided further: what it still is itself.
        centres : what was split earlier, a topic and a number -> the directions of so many pieces (`Pieces.centres`).

        Raises
        ------
        ConfigError
            A topic that does not exist, that is gone already, or that is not hidden or merged; fewer than two topics
            would be left; a topic that cannot be split; one to be hidden and shown, a word to be banned and allowed.
            One topic, word or pair in place of several; a topic that is no whole number, a word or a name that is no text.
        """
        hide, show, unmerge = _topics("hide", hide), _topics("show", show), _topics("unmerge", unmerge)
        ban, allow = _words("ban", ban), _words("allow", allow)
        merge = [_topics("merge", group, "[(4, 7)]") for group in _several("merge", merge, "[(4, 7)]")]
        names = _by_topic("names", names, str, "{3: 'harbour'}")
        split = _by_topic("split", split, int, "{3: 2}")
        if both := {*hide} & {*show}:
            raise ConfigError(f"topic {min(both)}: is to be hidden and to be shown; say one of them")
        if unclear := {*ban} & {*allow}:
            raise ConfigError(f"{min(unclear)}: is to be banned and to be allowed; say one of them")
        merged, hidden, called = dict(self.merged), set(self.hidden), dict(self.names)
        splits, n_all = self.splits, n_topics + self.n_added
        for k in unmerge:
            if k not in merged:
                raise ConfigError(f"topic {k}: is merged into no other")
            del merged[k]
        for k in show:
            if k not in hidden:
                raise ConfigError(f"topic {k}: is not hidden")
            hidden.remove(k)

        def checked(k: int) -> int:
            if not 0 <= k < n_all:
                raise ConfigError(f"there is no topic {k}; the model has topics 0 to {n_all - 1}")
            if k in merged:
                raise ConfigError(f"topic {k}: is part of topic {replace(self, merged=merged).root(k)}")
            return k

        for k, into in split.items():
            k = checked(k)
            there = len(self.pieces(k))
            if into < max(there, 2):
                why = f"it is {there} topics already" if there > 1 else "name 2 topics or more"
                raise ConfigError(f"split {k}:{into}: {why}")
            if k in hidden or k in merged.values():
                remedy = "show it again" if k in hidden else "take out what was merged into it"
                raise ConfigError(
                    f"split {k}: is {'hidden' if k in hidden else 'several topics in one'}; {remedy} first"
                )
            if into > there:
                numbers = (k, *range(n_all, n_all + into - there))
                found = np.round(centres(splits, k, len(numbers)), 6).tolist()  # type: ignore[misc]
                splits = (*splits, Split(k, numbers, tuple(map(tuple, found))))
                n_all += into - there
        for group in merge:
            if len(set(group)) < 2:
                raise ConfigError(f"merge {','.join(map(str, group))}: name two topics or more")
            first = checked(group[0])
            # What is part of it already stays so.
            is_part = replace(self, merged=merged).root
            others = [checked(k) for k in dict.fromkeys(group[1:]) if is_part(k) != first]
            if first in hidden and not hidden.issuperset(others):
                raise ConfigError(
                    f"merge {','.join(map(str, group))}: topic {first} is hidden, and the others would be with it; "
                    "show it again first, or name another one first"
                )
            merged |= dict.fromkeys(others, first)
            hidden -= set(others)
        hidden |= set(map(checked, hide))
        for k, name in names.items():
            called[checked(k)] = " ".join(name.split())
        gone = {*allow}
        if unknown := gone - set(self.banned):
            raise ConfigError(f"{sorted(unknown)[0]}: is not banned")
        banned = dict.fromkeys([*self.banned, *ban])
        found = Shape(
            {k: name for k, name in sorted(called.items()) if name},
            dict(sorted(merged.items())),
            frozenset(hidden),
            tuple(word for word in banned if word and word not in gone),
            splits,
            self,
        )
        found.check(n_topics)
        return self if found._plain() == self._plain() else found

    def check(self, n_topics: int) -> None:
        """Raise ConfigError where these cannot be decisions about so many trained topics."""
        for split in self.splits:
            new = range(n_topics, n_topics + len(split.centres) - 1)
            if not 0 <= split.topic < n_topics or split.numbers != (split.topic, *new):
                raise ConfigError(f"topic {split.topic}: cannot be split into {split.numbers}")
            n_topics += len(new)
        named = {*self.names, *self.merged, *self.merged.values(), *self.hidden}
        if wrong := sorted(k for k in named if not 0 <= k < n_topics):
            raise ConfigError(f"there is no topic {wrong[0]}; the model has topics 0 to {n_topics - 1}")
        for k in self.merged:
            way = [k]
            while (k := self.merged.get(k, -1)) >= 0:
                if k in way:
                    circle = ", ".join(map(str, sorted(way[way.index(k) :])))
                    raise ConfigError(f"topics {circle}: are merged into each other in a circle")
                way.append(k)
        if (left := len(self.numbers(n_topics))) < LEAST_LEFT:
            raise ConfigError(f"{left} of {n_topics} topics would be shown; at least {LEAST_LEFT} must be")

    def undone(self) -> Shape:
        """What had been decided before the last call.

        Raises
        ------
        ConfigError
            There was none.
        """
        if self.before is None:
            raise ConfigError("nothing to undo: the topics are as they were before the first decision")
        return self.before

    def changes(self, before: Shape) -> list[str]:
        """What is decided otherwise than before, a line for each."""
        lines = [
            f"{split.topic} is split into {' and '.join(map(str, split.numbers))}"
            for split in self.splits
            if split not in before.splits
        ]
        lines += [f"{split.topic} is whole again" for split in before.splits if split not in self.splits]
        lines += [f"{k} is part of {into}" for k, into in self.merged.items() if before.merged.get(k) != into]
        lines += [f"{k} stands for itself" for k in before.merged if k not in self.merged]
        lines += [f"{k} is hidden" for k in sorted(self.hidden - before.hidden)]
        lines += [f"{k} is shown" for k in sorted(before.hidden - self.hidden) if k not in self.merged]
        for k in sorted({*self.names, *before.names}):
            if (now := self.names.get(k)) != before.names.get(k):
                lines.append(f"{k} is called {now}" if now else f"{k} has no name")
        lines = [f"topic {line}" for line in lines]
        lines += [f"banned: {word}" for word in self.banned if word not in before.banned]
        return lines + [f"allowed: {word}" for word in before.banned if word not in self.banned]

    def held(
        self,
        *,
        names: Mapping[int, str] | None = None,
        merge: Iterable[Sequence[int]] = (),
        hide: Iterable[int] = (),
        ban: Iterable[str] = (),
        split: Mapping[int, int] | None = None,
        **_: Any,
    ) -> list[str]:
        """Of the decisions for `edited`, those that are made already, a line for each."""
        lines = []
        for k, into in (split or {}).items():
            if len(pieces := self.pieces(k)) == into:
                lines.append(
                    f"{k} is already split into {' and '.join(map(str, pieces))}; {k}:{into + 1} divides it further"
                )
        for first, *others in merge:
            parts = [k for k in dict.fromkeys(others) if k in self.merged and self.root(k) == first]
            lines += [f"{k} is already part of {first}" for k in parts]
        lines += [f"{k} is already hidden" for k in dict.fromkeys(hide) if k in self.hidden]
        for k, name in (names or {}).items():
            if " ".join(str(name).split()) == self.names.get(k, ""):
                lines.append(
                    f"{k} is already called {self.names[k]}" if k in self.names else f"{k} has no name"
                )
        lines = [f"topic {line}" for line in lines]
        known = dict.fromkeys(word for word in map(_lowered, ban) if word in self.banned)
        return lines + [f"already banned: {word}" for word in known]

    def trained(self, splits: Sequence[Split] | None = None) -> Shape:
        """The same decisions about a model in which all pieces are trained topics; in what came before, those not yet split
        are one topic again.
        """
        splits = self.splits if splits is None else splits
        own = dict(self.merged) | {
            k: split.topic for split in splits[len(self.splits) :] for k in split.numbers[1:]
        }
        before = self.before and self.before.trained(splits)
        return replace(self, merged=dict(sorted(own.items())), splits=(), before=before)

    def stored(self) -> dict[str, Any]:
        """For a JSON file."""
        log = [] if self.before is None else [*self.before.stored()["log"], self.before._plain()]
        return self._plain() | {"log": log}

    def _plain(self) -> dict[str, Any]:
        return {
            "names": {str(k): name for k, name in self.names.items()},
            "merged": {str(k): into for k, into in self.merged.items()},
            "hidden": sorted(self.hidden),
            "banned": list(self.banned),
            "splits": [vars(split) for split in self.splits],
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> Shape:
        """From what `stored` wrote; nothing is decided in files without it."""
        if stored is None:
            return cls()
        found: Shape | None = None
        for state in [*stored["log"], stored]:
            found = cls(
                {int(k): str(name) for k, name in state["names"].items()},
                {int(k): int(into) for k, into in state["merged"].items()},
                frozenset(map(int, state["hidden"])),
                tuple(map(str, state["banned"])),
                tuple(
                    Split(
                        int(one["topic"]),
                        tuple(map(int, one["numbers"])),
                        tuple(tuple(map(float, centre)) for centre in one["centres"]),
                    )
                    for one in state.get("splits", ())  # which older files have not
                ),
                found,
            )
        return found  # type: ignore[return-value]


def _several(option: str, given: Any, example: str) -> list[Any]:
    """What a caller gave as several things: one alone is refused, also a text, which would be several letters."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ConfigError(f"{option}={given!r}: give a list, as {option}={example}")
    return [*given]


def _topics(option: str, given: Any, example: str = "[3]") -> list[int]:
    return [_whole(option, k, example) for k in _several(option, given, example)]


def _words(option: str, given: Any) -> list[str]:
    words = _several(option, given, "['flag']")
    for wrong in (word for word in words if not isinstance(word, str)):
        raise ConfigError(f"{option}: {wrong!r} is no word; give a list of texts, as {option}=['flag']")
    return [*map(_lowered, words)]


def _by_topic(option: str, given: Any, kind: type, example: str) -> dict[int, Any]:
    """A value for each topic: a text, or a whole number."""
    if not isinstance(given or {}, Mapping):
        raise ConfigError(f"{option}={given!r}: give a dict, as {option}={example}")
    found = {}
    for k, value in (given or {}).items():
        if kind is str and not isinstance(value, str):
            raise ConfigError(f"{option}: {value!r} is no text; write {option}={example}")
        found[_whole(option, k, example)] = value if kind is str else _whole(option, value, example)
    return found


def _whole(option: str, number: Any, example: str) -> int:
    """A whole number of Python's or NumPy's."""
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise ConfigError(f"{option}: {number!r} is no whole number; write {option}={example}")
    return operator.index(number)


def _lowered(word: str) -> str:
    return word.strip().lower()
