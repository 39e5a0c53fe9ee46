"""From a user's own model and pictures to what the explorer shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.corpora import Dropped
from vtm.errors import DataError
from vtm.explorer.arrays import LIMIT, from_arrays
from vtm.explorer.data import READS, SHOWN_WORDS, ExplorerData, Words
from vtm.labels import RELEVANCE_WEIGHT
from vtm.report import baseline_name

if TYPE_CHECKING:
    from vtm.api import VisualTopicModel

NO_BASELINE = (
    "No baseline stands beside the topic model: the encoder {encoder} has one space for texts and another for pictures, "
    "so it finds no pictures for a text by itself. An encoder such as CLIP does, and a model trained with it has both."
)


def from_model(
    model: VisualTopicModel,
    pictures: Sequence[Path],
    *,
    ids: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    limit: int = LIMIT,
    seed: int = 0,
    title: str = "Topic explorer",
    order: str = "relevance",
    weight: float = RELEVANCE_WEIGHT,
) -> tuple[ExplorerData, tuple[Dropped, ...]]:
    """Read the pictures, and the texts where there are some, with the model.

    Where texts and pictures have a space in common by the model's encoder itself (`EncoderPair.aligned`), the page
    shows beside what the model finds for a text what the cosine of the embeddings finds; else it says why not.

    Parameters
    ----------
    pictures : n files.
    ids : n names; by default the files' own, or their paths where two have one name.
    texts : n texts, "" for none; without any the page compares no pictures for texts.
    order, weight : which keywords stand for a topic (`VisualTopicModel.topics`).

    Returns
    -------
    What the explorer shows, and the pictures that could not be read.

    Raises
    ------
    DataError
        No picture can be read.
    """
    if ids is None:
        names = [path.name for path in pictures]
        ids = names if len(set(names)) == len(names) else [str(path) for path in pictures]
    dropped: list[Dropped] = []
    blocks = []
    for block, bad in model.transform_blocks(list(pictures)):
        blocks.append(block)
        dropped += bad
    theta = np.concatenate(blocks) if blocks else np.zeros((0, model.n_topics), dtype=np.float32)
    good = np.flatnonzero(np.isfinite(theta).all(axis=1))
    if not len(good):
        raise DataError(
            f"none of the {len(pictures)} pictures can be read: {dropped[0].detail if dropped else ''}"
        )
    theta_text = None
    beside: dict[str, Any] = {}
    kept_texts = [""] * len(good)
    if texts is not None and any(texts[row] for row in good):
        kept_texts = [texts[row] for row in good]
        theta_text = model.transform_text(kept_texts)
        beside = _baseline(model, kept_texts, [pictures[row] for row in good])
    data = from_arrays(
        [ids[row] for row in good],
        kept_texts,
        [pictures[row] for row in good],
        theta[good],
        theta_text=theta_text,
        words={reads: _words(model, reads, order=order, weight=weight) for reads in READS},
        coherence=model.coherence_,
        limit=limit,
        seed=seed,
        title=title,
        model_name=f"topic model: {model.teacher} teacher, {model.n_topics} topics",
        language=model.language,
        **beside,
    )
    return data, tuple(dropped)


def _baseline(model: VisualTopicModel, texts: Sequence[str], pictures: Sequence[Path]) -> dict[str, Any]:
    """What `from_arrays` takes of a baseline: the encoder's own embeddings, or the reason why there is none.

    All were embedded for theta before, so that they come from the cache.
    """
    encoding = model._encoding
    name = encoding.pair.name
    if not encoding.pair.aligned:
        return {"notes": (NO_BASELINE.format(encoder=name),)}
    image, _ = encoding.images(pictures, [str(path) for path in pictures], progress=False)
    return {
        "baseline": (encoding.texts(texts, progress=False), image),
        "baseline_name": f"baseline: {baseline_name(True, name)}",
    }


def _words(model: VisualTopicModel, reads: str, *, order: str, weight: float) -> tuple[Words, ...]:
    """The keywords of each topic, as `VisualTopicModel.topics` orders them, with their probability."""
    column = {word: place for place, word in enumerate(model.vocabulary_)}
    trained = model.text_model_ if reads == "text" else model.image_model_
    topics = model.topics(SHOWN_WORDS, reads=reads, order=order, weight=weight)
    return tuple(
        tuple((word, float(probability[column[word]])) for word in words)
        for words, probability in zip(topics, trained.topic_word(), strict=True)
    )
