"""Run files of the NewsImages task: written, read, and checked against the task.

A run is one line an article: its id, then image ids (iid), best first, separated by tabs; the first 100
count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vtm.corpora.newsimages_tsv import MAX_BYTES, scrambled_to_truth
from vtm.errors import DataError, MissingError
from vtm.files import read_regular, write_text

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
        Not a text file, one that may not be read, or one of more than 200 MB.
    """
    path = Path(path)
    try:
        text = read_regular(path, most=MAX_BYTES).decode("utf-8")
    except FileNotFoundError:
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


def _is_number(id: str) -> bool:
    return id.isascii() and id.isdigit()
