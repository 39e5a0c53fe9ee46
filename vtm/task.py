"""The NewsImages task: the ranking that a run holds, and the score that the task's evaluator gives.

The rules follow the evaluator that the task publishes (NewsImagesDataset, Evaluator/EvalTask.java).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vtm.corpora.newsimages_tsv import scrambled_to_truth
from vtm.errors import ConfigError, DataError
from vtm.metrics import retrieval
from vtm.ranking import NOT_FOUND, top_items
from vtm.run_files import DEPTH, Run


@dataclass(frozen=True)
class Score:
    """What a run is worth.

    Attributes
    ----------
    figures
        correct_100 (a count), mrr_100, recall_1, recall_5, recall_10, recall_50, recall_100.
    n_articles
        Of the ground truth; all figures but the count are divided by it.
    n_in_run
        How many of these have a line in the run; the others count as not found.
    """

    figures: dict[str, float]
    n_articles: int
    n_in_run: int


def rank_for_task(
    text: np.ndarray,
    image: np.ndarray,
    article_ids: Sequence[str],
    image_ids: Sequence[str],
    all_images: Sequence[str],
    *,
    measure: str = "cosine",
    depth: int = DEPTH,
) -> dict[str, tuple[str, ...]]:
    """The best images of each article, for `vtm.run_files.write_run`.

    Parameters
    ----------
    text, image : (n, D), (m, D)
        Of n articles and of the m images that are here: embeddings in one space, or theta.
    article_ids, image_ids : sequences of str, n and m long
    all_images : sequence of str
        The task's image ids in the order of its file. Where m is below `depth`, those that are not here
        follow in this order, for a run must name `depth` images.
    measure : str
        See `vtm.ranking.similarity`; equal images stand in the order of their ids, as in `vtm.ranking.top_items`.
    depth : int

    Returns
    -------
    dict
        Article id -> min(depth, number of all images) image ids, best first; in the order of `article_ids`.

    Raises
    ------
    ConfigError
        A depth below 1, or an unknown measure.
    DataError
        Ids that do not fit the rows, are repeated, or are not among `all_images`; as `vtm.ranking.similarity`.
    """
    if depth < 1:
        raise ConfigError(f"depth={depth}: at least one image an article is needed")
    if len(article_ids) != len(text):
        raise DataError(f"{len(article_ids)} article ids for {len(text)} rows: each row needs its own")
    for name, ids in (("article", article_ids), ("task image", all_images)):
        if repeated := _first_repeated(ids):
            raise DataError(f"{name} id {repeated!r} occurs more than once")
    here = set(image_ids)
    if unknown := here - set(all_images):
        raise DataError(f"image {min(unknown)!r} is not one of the task's {len(all_images)} images")
    best, _ = top_items(text, image, image_ids, k=depth, measure=measure)
    rest = [id for id in all_images if id not in here][: max(0, depth - len(here))]
    return {
        article: (*(image_ids[position] for position in row), *rest)
        for article, row in zip(article_ids, best, strict=True)
    }


def evaluate(run: Run | Mapping[str, Sequence[str]], truth: Mapping[str, str]) -> Score:
    """Score a run as the task does: an image past place 100, or an article without a line, is not found.

    Parameters
    ----------
    run
        A run file's content, or article id -> image ids, best first. Article ids are scrambled ones, or those
        of the ground truth.
    truth
        Article id -> image id (see `vtm.corpora.newsimages.read_ground_truth`).

    Raises
    ------
    DataError
        The ground truth is empty; an article that it does not know, or two lines of one.
    """
    if not truth:
        raise DataError("the ground truth has no article")
    ranking = run.ranking() if isinstance(run, Run) else run
    ranks = {id: NOT_FOUND for id in truth}
    in_run: dict[str, str] = {}
    for article, images in ranking.items():
        id = article if article in truth else _unscrambled(article)
        if id not in truth:
            raise DataError(
                f"article {article!r} of the run is not in the ground truth; are the run and the ground truth "
                "of the same batch?"
            )
        if (earlier := in_run.setdefault(id, article)) != article:
            raise DataError(f"articles {earlier!r} and {article!r} of the run are the same one; remove one")
        if truth[id] in images:
            ranks[id] = list(images).index(truth[id]) + 1
    figures = retrieval(np.fromiter(ranks.values(), dtype=np.int64), cutoff=DEPTH)
    return Score(figures=figures, n_articles=len(truth), n_in_run=len(in_run))


def _unscrambled(article: str) -> str:
    try:
        return scrambled_to_truth(article)
    except DataError:
        return article


def _first_repeated(ids: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            return id
        seen.add(id)
    return None
