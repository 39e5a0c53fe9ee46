"""A run for the NewsImages task: all test articles against all test pictures that are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtm.corpora import Dropped
from vtm.corpora.newsimages import NewsImages, picture_path
from vtm.encoders import EncoderPair, embed_images, embed_texts
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import hash_file, read_json
from vtm.run_files import DEPTH
from vtm.task import rank_for_task
from vtm.topicmodel import TopicModel


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
    MissingError
        No picture is here, or the encoder's weights are not.
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
    models: tuple[TopicModel, TopicModel] | None = None,
    measure: str = "cosine",
    depth: int = DEPTH,
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
    return rank_for_task(text, image, task.articles, task.images, all_images, measure=measure, depth=depth)


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
    if not (folder / "text.json").is_file() or not (folder / "image.json").is_file():
        raise MissingError(
            f"{folder}: no text.json and image.json; give the folder of one seed, such as "
            "runs/newsimages-clip-1234abcd/text-teacher-120-5678abcd/seed-0"
        )
    notes = read_json(folder / "image.json").get("notes") or {}
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
            "nothing; name a folder of models, or an aligned encoder such as clip"
        )
