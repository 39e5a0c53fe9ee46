"""The NewsImages task: run files, their validator, and the score that the task's evaluator gives.

A run is one line an article: its id, then image ids (iid), best first, separated by tabs; the first 100
count. The rules follow the evaluator that the task publishes (NewsImagesDataset, Evaluator/EvalTask.java).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtm.corpora.newsimages_tsv import scrambled_to_truth
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import write_text
from vtm.metrics import retrieval
from vtm.ranking import NOT_FOUND, TIE_TOLERANCE

DEPTH = 100


@dataclass(frozen=True)
class RunLine:
    """One line of a run; `number` counts from 1."""

    number: int
    article: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A run file as it is, mistakes included; see `check_run`."""

    path: Path
    lines: tuple[RunLine, ...]

    def ranking(self) -> dict[str, tuple[str, ...]]:
        """Article id -> iids, best first. Lines that do not begin with a number are skipped, as by the task.

        Raises
        ------
        DataError
            Two lines are of one article, or no line is left.
        """
        ranking: dict[str, tuple[str, ...]] = {}
        for line in self.lines:
            if not _is_number(line.article):
                continue
            if line.article in ranking:
                raise DataError(f"{self.path}: line {line.number}: a second line of article {line.article}")
            ranking[line.article] = line.images
        if not ranking:
            raise DataError(f"{self.path}: no line begins with an article id; see `vtm submit`")
        return ranking


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
    similarity: np.ndarray,
    article_ids: Sequence[str],
    image_ids: Sequence[str],
    all_images: Sequence[str],
    *,
    depth: int = DEPTH,
) -> dict[str, tuple[str, ...]]:
    """The best images of each article, for `write_run`.

    Parameters
    ----------
    similarity : (n, m)
        Of n articles to the m images that are here; larger is better. Values that round to the same multiple
        of `vtm.ranking.TIE_TOLERANCE` stand in the order of their image ids.
    article_ids, image_ids : sequences of str, n and m long
    all_images : sequence of str
        The task's image ids in the order of its file. Where m is below `depth`, those that are not here
        follow in this order, for a run must name `depth` images.
    depth : int

    Returns
    -------
    dict
        Article id -> min(depth, number of all images) image ids, best first; in the order of `article_ids`.

    Raises
    ------
    ConfigError
        A depth below 1.
    DataError
        Ids that do not fit the shape, are repeated, or are not among `all_images`; NaN or infinity.
    """
    if depth < 1:
        raise ConfigError(f"depth={depth}: at least one image an article is needed")
    scores = np.asarray(similarity, dtype=np.float64)
    if scores.shape != (len(article_ids), len(image_ids)):
        raise DataError(
            f"similarities of shape {scores.shape} for {len(article_ids)} articles and {len(image_ids)} images"
        )
    for name, ids in (("article", article_ids), ("image", image_ids), ("task image", all_images)):
        if repeated := _first_repeated(ids):
            raise DataError(f"{name} id {repeated!r} occurs more than once")
    if unknown := set(image_ids) - set(all_images):
        raise DataError(f"image {min(unknown)!r} is not one of the task's {len(all_images)} images")
    if not np.isfinite(scores).all():
        raise DataError(f"similarities: {int((~np.isfinite(scores)).sum())} are NaN or infinite")
    order = sorted(range(len(image_ids)), key=image_ids.__getitem__)
    names = [image_ids[column] for column in order]
    best = np.argsort(-np.round(scores[:, order] / TIE_TOLERANCE), axis=1, kind="stable")[:, :depth]
    here = set(image_ids)
    rest = [id for id in all_images if id not in here][: max(0, depth - len(names))]
    return {
        article: (*(names[column] for column in row), *rest)
        for article, row in zip(article_ids, best, strict=True)
    }


def write_run(path: Path | str, ranking: Mapping[str, Sequence[str]], *, depth: int = DEPTH) -> None:
    """Write the first `depth` images of each article, a line each, atomically; `check_run` judges the result.

    Raises
    ------
    DataError
        No article, or an id that is no number.
    """
    if not ranking:
        raise DataError(f"{path}: no article to write a line of")
    rows = [[article, *images[:depth]] for article, images in ranking.items()]
    for row in rows:
        if wrong := [id for id in row if not _is_number(id)]:
            raise DataError(f"{path}: article {row[0]!r}: the id {wrong[0]!r} is no number")
    write_text(path, "".join("\t".join(row) + "\n" for row in rows))


def read_run(path: Path | str) -> Run:
    """Read a run file. Blank lines, spaces around iids and a first line without a digit (a header) are fine.

    Raises
    ------
    MissingError
        No such file.
    DataError
        Not a text file, or one that may not be read.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise MissingError(f"{path}: no such run file; `vtm submit` writes one") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no text file (byte {error.start}); a run holds ids and tabs") from None
    lines = []
    for number, line in enumerate(text.split("\n"), start=1):
        article, *images = line.rstrip().split("\t")
        header = number == 1 and not any(character.isdigit() for character in article)
        if article and not header:
            lines.append(RunLine(number, article, tuple(iid.strip() for iid in images)))
    return Run(path, tuple(lines))


def check_run(run: Run, articles: Sequence[str], images: Sequence[str], *, depth: int = DEPTH) -> list[str]:
    """What is wrong with a run; empty for one that can be handed in.

    Parameters
    ----------
    run
    articles, images
        The task's article ids, as in the test file (scrambled), and its image ids.
    depth
        How many images each line must name.

    Returns
    -------
    list of str
        One sentence a problem, with the line and the remedy: unknown, missing and repeated articles; unknown
        and repeated images; too few images.
    """
    known_articles, known_images = set(articles), set(images)
    unscrambled = {scrambled_to_truth(id): id for id in articles}
    problems: list[str] = []
    first: dict[str, int] = {}
    for line in run.lines:
        at = f"line {line.number}: article {line.article}"
        if line.article not in known_articles:
            own = unscrambled.get(line.article)
            remedy = f"write its scrambled id {own}" if own else "remove the line"
            problems.append(f"{at} is not one of the task's {len(known_articles)}; {remedy}")
        if (earlier := first.setdefault(line.article, line.number)) != line.number:
            problems.append(f"{at} has line {earlier} already; remove one")
        problems += [f"{at}: {problem}" for problem in _check_images(line.images, known_images, depth)]
    problems += [f"article {id} has no line; add one" for id in articles if id not in first]
    return problems


def _check_images(images: Sequence[str], known: set[str], depth: int) -> list[str]:
    problems = []
    places: dict[str, int] = {}
    for place, iid in enumerate(images, start=1):
        if iid not in known:
            problems.append(
                f"image {iid!r} at place {place} is not one of the task's {len(known)}; remove it"
            )
        elif (earlier := places.setdefault(iid, place)) != place:
            problems.append(f"image {iid} at place {place} is at place {earlier} already; remove it")
    if len(places) < depth:
        problems.append(f"{len(places)} different images of the task; name {depth}")
    return problems


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


def _is_number(id: str) -> bool:
    return id.isascii() and id.isdigit()


def _first_repeated(ids: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            return id
        seen.add(id)
    return None
