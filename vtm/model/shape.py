"""What people decided about a model's topics: names, topics that are one, hidden topics, words that are not to be shown.

Topics keep their numbers. Where 4 and 7 are one, topic 4 is left; where 12 is hidden, all others are called as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vtm.errors import ConfigError

LEAST_LEFT = 2  # topics that are shown


@dataclass(frozen=True)
class Shape:
    """Decisions about topics 0 to K - 1.

    Parameters
    ----------
    names : number -> what the topic is called.
    merged : number -> the topic that it was merged into, which may itself be merged.
    hidden : numbers of topics that are not shown.
    banned : words that are in no label and no keyword, nor are their other forms.
    before : what had been decided before the last call.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    merged: Mapping[int, int] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    banned: tuple[str, ...] = ()
    before: Shape | None = field(default=None, repr=False)

    def root(self, k: int) -> int:
        """The topic that topic k is part of; itself where it was not merged."""
        while k in self.merged:
            k = self.merged[k]
        return k

    def numbers(self, n_topics: int) -> list[int]:
        """The topics that are shown, in order: the columns of theta."""
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
        """Theta (n, K) of the trained topics -> (n, K') of those that are shown.

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
        """A measure (K,) of topics for those that are shown; NaN for merged ones, of which it is not known."""
        found = np.array(values, dtype=np.float64)
        found[[self.root(k) for k in self.merged]] = np.nan
        return found[self.numbers(len(values))]

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
    ) -> Shape:
        """With further decisions; what is taken back comes first, names come last. Itself where all are made already.

        Parameters
        ----------
        names : an empty one takes the name away.
        merge : groups of topics; the first of each is left.

        Raises
        ------
        ConfigError
            A topic that does not exist, that is gone already, or that is not hidden or merged; fewer than two topics
            would be left.
        """
        merged, hidden, called = dict(self.merged), set(self.hidden), dict(self.names)
        for k in map(int, unmerge):
            if k not in merged:
                raise ConfigError(f"topic {k}: is merged into no other")
            del merged[k]
        for k in map(int, show):
            if k not in hidden:
                raise ConfigError(f"topic {k}: is not hidden")
            hidden.remove(k)

        def checked(k: int) -> int:
            if not 0 <= k < n_topics:
                raise ConfigError(f"there is no topic {k}; the model has topics 0 to {n_topics - 1}")
            if k in merged:
                raise ConfigError(f"topic {k}: is part of topic {replace(self, merged=merged).root(k)}")
            return int(k)

        for group in merge:
            if len(set(group)) < 2:
                raise ConfigError(f"merge {','.join(map(str, group))}: name two topics or more")
            first = checked(group[0])
            # What is part of it already stays so.
            is_part = replace(self, merged=merged).root
            others = [checked(k) for k in dict.fromkeys(group[1:]) if is_part(k) != first]
            merged |= dict.fromkeys(others, first)
            hidden -= set(others)
        hidden |= set(map(checked, hide))
        for k, name in (names or {}).items():
            called[checked(k)] = " ".join(str(name).split())
        gone = {word.lower() for word in allow}
        if unknown := gone - set(self.banned):
            raise ConfigError(f"{sorted(unknown)[0]}: is not banned")
        banned = dict.fromkeys([*self.banned, *(word.strip().lower() for word in ban)])
        found = Shape(
            {k: name for k, name in sorted(called.items()) if name},
            dict(sorted(merged.items())),
            frozenset(hidden),
            tuple(word for word in banned if word and word not in gone),
            self,
        )
        found.check(n_topics)
        return self if found._plain() == self._plain() else found

    def check(self, n_topics: int) -> None:
        """Raise ConfigError where these cannot be decisions about so many topics."""
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
            raise ConfigError("nothing to undo: the topics are as they were trained")
        return self.before

    def changes(self, before: Shape) -> list[str]:
        """What is decided otherwise than before, a line for each."""
        lines = [f"{k} is part of {into}" for k, into in self.merged.items() if before.merged.get(k) != into]
        lines += [f"{k} stands for itself" for k in before.merged if k not in self.merged]
        lines += [f"{k} is hidden" for k in sorted(self.hidden - before.hidden)]
        lines += [f"{k} is shown" for k in sorted(before.hidden - self.hidden) if k not in self.merged]
        for k in sorted({*self.names, *before.names}):
            if (now := self.names.get(k)) != before.names.get(k):
                lines.append(f"{k} is called {now}" if now else f"{k} has no name")
        lines = [f"topic {line}" for line in lines]
        lines += [f"banned: {word}" for word in self.banned if word not in before.banned]
        return lines + [f"allowed: {word}" for word in before.banned if word not in self.banned]

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
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> Shape:
        """From what `stored` wrote; nothing is decided in files without it."""
        if stored is None:
            return cls()
        found = None
        for state in [*stored["log"], stored]:
            found = cls(
                {int(k): str(name) for k, name in state["names"].items()},
                {int(k): int(into) for k, into in state["merged"].items()},
                frozenset(map(int, state["hidden"])),
                tuple(map(str, state["banned"])),
                found,
            )
        return found
