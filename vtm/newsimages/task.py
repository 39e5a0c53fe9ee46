"""Runs for the NewsImages task.

A run is one line an article: its id, then image ids (iid), best first, separated by tabs; the first 100 count. The
rules follow the evaluator that the task publishes (NewsImagesDataset, Evaluator/EvalTask.java).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtm.corpora import Dropped
from vtm.encoders import EncoderPair, embed_images, embed_texts
from vtm.errors import ConfigError, DataError, MissingError, counted
from vtm.files import hash_file, load_about, read_regular, write_text
from vtm.metrics.ranking import NOT_FOUND, top_items
from vtm.metrics.retrieval import retrieval_figures
from vtm.model.plus import PlusSide
from vtm.model.topicmodel import TopicModel
from vtm.newsimages.corpus import MAX_BYTES, NewsImages, is_number, picture_path, scrambled_to_truth

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
            if not is_number(line.article):
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
        if wrong := [id for id in row if not is_number(id)]:
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
    articles, images : the task's article ids, as in the test file (scrambled), and its image ids.
    depth : how many images each line must name.

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


@dataclass(frozen=True)
class Score:
    """What a run is worth.

    Attributes
    ----------
    figures : correct_100 (a count), mrr_100, recall_1, recall_5, recall_10, recall_50, recall_100.
    n_articles : of the ground truth; all figures but the count are divided by it.
    n_in_run : how many of these have a line in the run; the others count as not found.
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
    """The best images of each article, for `write_run`.

    Parameters
    ----------
    text, image : (n, D), (m, D)
        Of n articles and of the m images that are here: embeddings in one space, or theta.
    article_ids, image_ids : sequences of str, n and m long
    all_images : sequence of str
        The task's image ids in the order of its file. Where m is below `depth`, those that are not here
        follow in this order, for a run must name `depth` images.
    measure : str
        See `vtm.metrics.ranking.similarity`; equal images stand in the order of their ids, as in `vtm.metrics.ranking.top_items`.
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
        Ids that do not fit the rows, are repeated, or are not among `all_images`; as `vtm.metrics.ranking.similarity`.
    """
    if depth < 1:
        raise ConfigError(f"depth={depth}: at least one image an article is needed")
    if len(article_ids) != len(text):
        raise DataError(
            f"{counted(len(article_ids), 'article id')} for {counted(len(text), 'row')}: each row needs its own"
        )
    for name, ids in (("article", article_ids), ("task image", all_images)):
        if repeated := [id for id, times in Counter(ids).items() if times > 1]:
            raise DataError(f"{name} id {repeated[0]!r} occurs more than once")
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
    run : a run file's content, or article id -> image ids, best first. Article ids are scrambled ones, or those of
        the ground truth.
    truth : article id -> image id (see `vtm.newsimages.corpus.read_ground_truth`).

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
        id = article
        if article not in truth:
            with suppress(DataError):
                id = scrambled_to_truth(article)
        if id not in truth:
            raise DataError(
                f"article {article!r} of the run is not in the ground truth; are the run and the ground truth "
                "of the same batch?"
            )
        if (earlier := in_run.setdefault(id, article)) != article:
            raise DataError(f"articles {earlier!r} and {article!r} of the run are the same one; remove one")
        if truth[id] in images:
            ranks[id] = list(images).index(truth[id]) + 1
    figures = retrieval_figures(np.fromiter(ranks.values(), dtype=np.int64), cutoff=DEPTH)
    return Score(figures=figures, n_articles=len(truth), n_in_run=len(in_run))


@dataclass(frozen=True)
class TaskEmbeddings:
    """Embeddings of all test articles and of those test pictures that are here.

    Attributes
    ----------
    articles, images : ids of the rows.
    text, image : (n, D), (m, E) float32.
    missing : pictures that are not here or cannot be read, by iid.
    """

    articles: tuple[str, ...]
    images: tuple[str, ...]
    text: np.ndarray
    image: np.ndarray
    missing: tuple[Dropped, ...]


def embed_task(
    news: NewsImages,
    encoder: EncoderPair,
    pictures: Path,
    *,
    separator: str = ". ",
    snippet: bool = True,
    progress: bool = True,
) -> TaskEmbeddings:
    """Embed the test batch; needs no ground truth.

    Raises
    ------
    MissingError, DataError
        No picture is here, or the encoder's weights are not; none of the pictures can be used.
    """
    found = {picture.iid: picture_path(picture, pictures) for picture in news.test_images}
    here = {iid: path for iid, path in found.items() if path is not None}
    if not here:
        raise MissingError(
            f"{pictures}: none of the {len(found)} test pictures is there; `vtm fetch newsimages-images` "
            "downloads those that are still online"
        )
    image, kept, bad = embed_images(
        encoder.image,
        tuple(here),
        tuple(here.values()),
        tuple(hash_file(path) for path in here.values()),
        progress=progress,
    )
    if not kept:
        raise DataError(f"none of {counted(len(bad), 'picture')} can be used; the first: {bad[0].detail}")
    texts = [article.text(separator=separator, snippet=snippet) for article in news.test_articles]
    return TaskEmbeddings(
        articles=tuple(article.id for article in news.test_articles),
        images=tuple(kept),
        text=embed_texts(encoder.text, texts, progress=progress),
        image=image,
        missing=(*(Dropped(iid, "missing-picture") for iid in found if iid not in here), *bad),
    )


def task_run(
    task: TaskEmbeddings,
    all_images: Sequence[str],
    *,
    models: tuple[TopicModel | PlusSide, TopicModel | PlusSide] | None = None,
    measure: str = "cosine",
) -> dict[str, tuple[str, ...]]:
    """The best images of each article: by theta of a text model and an image model, or by the embeddings.

    Parameters
    ----------
    all_images : the task's image ids in the order of its file; those that are not here come last.
    models : None for the baseline, the cosine of an aligned encoder's embeddings.

    Raises
    ------
    DataError
        Embeddings that the models were not trained on.
    """
    text, image = task.text, task.image
    if models is not None:
        text, image = models[0].theta(text), models[1].theta(image)
    elif text.shape[1] != image.shape[1]:
        raise DataError(
            f"text embeddings have {text.shape[1]} dimensions and image embeddings {image.shape[1]}: only an "
            "aligned encoder can be ranked without a model"
        )
    return rank_for_task(text, image, task.articles, task.images, all_images, measure=measure)


def load_models(folder: Path | str) -> tuple[TopicModel, TopicModel, dict[str, str]]:
    """The text and the image model that a run left in its folder, and how they were made.

    Returns
    -------
    text model, image model, notes
        Notes: `corpus`, `encoder`, `measure` and `mode`, where they were written.

    Raises
    ------
    MissingError
        The folder holds no pair of models.
    ConfigError
        The models were trained apart (mode "none"): topic k of one is not topic k of the other.
    """
    folder = Path(folder)
    if not (folder / "text.safetensors").is_file() or not (folder / "image.safetensors").is_file():
        raise MissingError(
            f"{folder}: no text.safetensors and image.safetensors; give the folder of one seed, such as "
            "runs/newsimages-clip-1234abcd/text-teacher-120-5678abcd/seed-0"
        )
    notes = load_about(folder / "image.safetensors").get("notes") or {}
    if notes.get("mode") == "none":
        raise ConfigError(
            f"{folder}: these models were trained apart (mode none); their topics do not correspond"
        )
    return TopicModel.load(folder / "text"), TopicModel.load(folder / "image"), notes


def check_encoder(encoder: EncoderPair) -> None:
    """Refuse the baseline for an encoder whose texts and images share no space.

    Raises
    ------
    ConfigError
    """
    if not encoder.aligned:
        raise ConfigError(
            f"encoder {encoder.name}: its text and image embeddings share no space, so their cosine means "
            "nothing; name a model or a folder of models, or an aligned encoder such as clip"
        )
