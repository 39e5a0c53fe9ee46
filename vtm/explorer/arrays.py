"""From plain arrays to what the explorer shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vtm.errors import ConfigError, DataError
from vtm.explorer.data import ExplorerData, Match, checked_words
from vtm.explorer.positions import layout
from vtm.ranking import target_ranks, top_items
from vtm.seeds import numpy_generator

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
    measure: str = "cosine",
    baseline_measure: str = "cosine",
    limit: int = LIMIT,
    seed: int = 0,
    **names: str | tuple[str, ...],
) -> ExplorerData:
    """What the explorer shows, from the arrays of any model.

    Parameters
    ----------
    ids, texts, pictures : n each, aligned; ids are unique. Pass empty texts for pictures that have none.
    theta_image : (n, K)
    words : "text" and/or "image" -> K lists of (word, weight), as `top_words` makes them from a matrix.
    theta_text : (n, K), optional
        Without it the page compares no pictures for texts.
    coherence : the keys of `words` -> (K,) NPMI.
    baseline : (n, d) text and (n, d) image embeddings of one space, optional
        The page then shows what they find beside what the model finds.
    compare : ids of the texts to find pictures for; all that are not empty by default.
    measure, baseline_measure : see `vtm.ranking.similarity`.
    limit : int
        Of more pictures than this, so many are drawn with the seed; everything the page shows, ranks too, is
        then among these, and the page says so.
    seed : int
        Of the map and of the draw.
    names : title, model_name, baseline_name, language, notes; see `ExplorerData`.

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
    arrays = {"theta_image": theta_image, "theta_text": theta_text}
    if baseline is not None:
        arrays |= {"baseline text embeddings": baseline[0], "baseline image embeddings": baseline[1]}
    arrays = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    for name, rows in (("texts", texts), ("pictures", pictures), *arrays.items()):
        if len(rows) != n_all:
            raise DataError(f"explorer: {len(rows)} {name} for {n_all} ids")
    if unknown := set(compare or ()) - set(ids):
        raise DataError(f"explorer: compare names the id {min(unknown)!r}, which is not there")

    rows = _shown_rows(n_all, limit, seed)
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
        words=checked_words(words),
        coherence={
            reads: np.asarray(values, dtype=np.float64) for reads, values in (coherence or {}).items()
        },
        matches=matches,
        measure=measure,
        n_all=n_all,
        **names,
    )


def find_matches(
    ids: Sequence[str],
    rows: Sequence[int],
    spaces: Mapping[str, tuple[np.ndarray, np.ndarray, str]],
    *,
    top: int = FOUND,
) -> tuple[Match, ...]:
    """The `top` pictures and the rank of the own picture, for the texts in `rows`, by each method.

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
        found[method] = top_items(queries, image, ids, k=top, measure=measure)[0]
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
