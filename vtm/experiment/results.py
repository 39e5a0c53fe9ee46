"""What a run leaves behind, as files: theta (or embeddings), figures, health. Knows neither torch nor encoders."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vtm.errors import DataError, MissingError
from vtm.files import load_about, load_arrays, save_arrays
from vtm.metrics.ranking import NOT_FOUND, target_ranks

PARTS = ("validation", "test")
FILE = "result.safetensors"


@dataclass(frozen=True)
class Result:
    """One run of one row of the tables.

    Parameters
    ----------
    row : "baseline", "joint" or "text-teacher".
    n_topics : K; 0 for the baseline.
    status : "ok", "collapsed" or "diverged", judged on the validation part (`reasons` says by what).
    ids : part -> ids of its pairs, in the order of the arrays.
    arrays : "<part>_text" and "<part>_image", theta or embeddings in one space, (n, d) each.
    topics : "text" and "image" -> each topic's most probable words (25, where there are so many).
    figures : what else was measured once for the run (topic quality, seconds, validation figures).
    history : role -> training curves.
    n_missing : test articles that the task counts and that are not in the corpus, as their pictures are lost; each
        counts as not found.
    """

    row: str
    n_topics: int
    seed: int
    measure: str
    status: str
    reasons: tuple[str, ...]
    ids: dict[str, list[str]]
    arrays: dict[str, np.ndarray] = field(repr=False)
    topics: dict[str, list[list[str]]] = field(default_factory=dict, repr=False)
    figures: dict[str, float] = field(default_factory=dict)
    history: dict[str, dict[str, list[float]]] = field(default_factory=dict, repr=False)
    n_missing: int = 0

    @property
    def name(self) -> str:
        return self.row if self.n_topics == 0 else f"{self.row} {self.n_topics}"

    def text(self, part: str = "test") -> np.ndarray:
        return self.arrays[f"{part}_text"]

    def image(self, part: str = "test") -> np.ndarray:
        return self.arrays[f"{part}_image"]

    def ranks(self, part: str = "test") -> np.ndarray:
        """Rank of each text's own picture among all pictures of the part, in the order of `ids[part]`.

        In the test part `n_missing` articles follow that were not found.
        """
        ids = self.ids[part]
        found = target_ranks(self.text(part), self.image(part), ids, ids, measure=self.measure).ranks
        missing = self.n_missing if part == "test" else 0
        return np.concatenate([found, np.full(missing, NOT_FOUND, dtype=found.dtype)])

    def save(self, folder: Path | str, key: str) -> None:
        """Write result.safetensors into a folder: the arrays, described by all else and by `key`."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "arrays"}
        save_arrays(Path(folder) / FILE, self.arrays, plain | {"key": key})

    @classmethod
    def load(cls, folder: Path | str, key: str | None = None) -> Result | None:
        """Read what `save` wrote; None where there is nothing, or nothing that was saved under `key`.

        Raises
        ------
        DataError
            The arrays, or the description, are not what was saved.
        """
        path = Path(folder) / FILE
        try:
            if key is not None and load_about(path).get("key") != key:
                return None
            arrays, plain = load_arrays(path)
        except MissingError:
            return None
        if key is not None and plain.get("key") != key:  # another process has just put its own here
            return None
        try:
            plain.pop("key")
            result = cls(arrays=arrays, **plain | {"reasons": tuple(plain["reasons"])})
            if type(result.n_missing) is not int or not 0 <= result.n_missing < 2**31:
                raise ValueError(f"n_missing={result.n_missing!r}")
            for part in PARTS:
                if not len(result.ids[part]) == len(result.text(part)) == len(result.image(part)):
                    raise ValueError(f"the {part} part has other ids than arrays")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: does not hold what a result's does ({error}); delete it and run again"
            ) from None
        return result

    @classmethod
    def current(cls, folder: Path | str, key: str) -> Result | None:
        """As `load`, but a damaged result is none: it is said, and the caller makes it again."""
        try:
            return cls.load(folder, key)
        except DataError as error:
            warnings.warn(f"{str(error).partition(';')[0]}; it is made again", stacklevel=2)
            return None


def healthy(results: Sequence[Result]) -> list[Result]:
    """The runs that neither collapsed nor diverged."""
    return [result for result in results if result.status == "ok"]


def by_row(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Row name -> its runs, rows in the order in which they first occur."""
    rows: dict[str, list[Result]] = {}
    for result in results:
        rows.setdefault(result.name, []).append(result)
    return rows
