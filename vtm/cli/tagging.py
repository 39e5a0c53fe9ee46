"""The topics of pictures with their keywords, one after the other in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtm.cli.keywords import ROOT
from vtm.corpora import Dropped
from vtm.errors import ConfigError
from vtm.metrics.topics import RELEVANCE_WEIGHT

if TYPE_CHECKING:
    from vtm.api import VisualTopicModel


MIN_PROBABILITY = 0.05


@dataclass(frozen=True)
class Tag:
    """A topic of a picture, with its probability and keywords."""

    topic: int
    probability: float
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Tagged:
    """A picture with its topics, the largest first."""

    picture: Path
    tags: tuple[Tag, ...]

    @property
    def keywords(self) -> tuple[str, ...]:
        """The keywords of all its topics, each once."""
        return tuple(dict.fromkeys(word for tag in self.tags for word in tag.keywords))

    @property
    def hierarchy(self) -> tuple[tuple[str, str, str], ...]:
        """The keywords under their topic, for photo programs that show keywords as a tree."""
        return tuple((ROOT, " ".join(tag.keywords[:3]), word) for tag in self.tags for word in tag.keywords)


def tag_pictures(
    model: VisualTopicModel,
    pictures: Sequence[Path | str],
    *,
    top: int = 3,
    min_probability: float = MIN_PROBABILITY,
    words: int = 5,
    order: str = "relevance",
    weight: float = RELEVANCE_WEIGHT,
) -> Iterator[list[Tagged | Dropped]]:
    """Tag pictures, some hundred at a time.

    Parameters
    ----------
    top, min_probability
        At most so many topics for each picture, none below this probability.
    words, order, weight
        How many keywords of each topic, and which (`VisualTopicModel.topics`).

    Yields
    ------
    For each picture of the next few hundred, in their order, its tags, or why it cannot be used.

    Raises
    ------
    ConfigError
        No topics or words asked for, or a probability outside 0 to 1.

    Examples
    --------
    >>> from vtm.api import VisualTopicModel
    >>> from vtm.corpora import load_corpus
    >>> from vtm.cli.tagging import tag_pictures
    >>> corpus = load_corpus("scenes", n=120)
    >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=40, validation=0)
    >>> (block,) = tag_pictures(model.fit(corpus.texts, corpus.images), corpus.images[:2], top=1, words=4)
    >>> [(len(tagged.tags), len(tagged.keywords)) for tagged in block]
    [(1, 4), (1, 4)]
    """
    if top < 1 or not 0 <= min_probability <= 1:
        raise ConfigError(
            f"top={top}, min_probability={min_probability}: at least 1 topic, and a probability from 0 to 1"
        )
    keywords = [tuple(topic) for topic in model.topics(words, order=order, weight=weight)]
    start = 0
    for theta, dropped in model.transform_blocks(pictures):
        reasons = {item.id: item for item in dropped}
        block: list[Tagged | Dropped] = []
        for picture, row in zip(pictures[start : start + len(theta)], theta, strict=True):
            if np.isnan(row[0]):
                overflow = Dropped(
                    str(picture), "not-finite", f"{picture}: the model gives no numbers for it"
                )
                block.append(reasons.get(str(picture), overflow))
                continue
            best = [k for k in np.argsort(-row, kind="stable")[:top] if row[k] >= min_probability]
            tags = tuple(Tag(int(k), float(row[k]), keywords[k]) for k in best)
            block.append(Tagged(Path(picture), tags))
        start += len(theta)
        yield block
