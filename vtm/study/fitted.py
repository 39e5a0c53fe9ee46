"""A fitted model as arrays, whoever's it is: topics of texts and pictures, words of topics; and ours in that form."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vtm.experiment import model_folder, run_baseline, run_models
from vtm.prepare import Prepared
from vtm.study.plus import PlusConfig
from vtm.study.quality import TOP_WORDS
from vtm.study.validation import plus_model
from vtm.topicmodel import TopicModel


@dataclass(frozen=True)
class Fitted:
    """One model of one seed.

    Parameters
    ----------
    text, image : "validation" and "test" -> (n, K) topics, or embeddings of one space.
    topic_word : (K, V) weights of the words by which pictures are tagged; None where there are no topics.
    topics : each topic's 25 best words.
    seconds : of the fit, on this machine.
    members : how many models of K / members topics stand side by side.
    settings : what was chosen in the fit, on the validation part.
    """

    text: dict[str, np.ndarray]
    image: dict[str, np.ndarray]
    topic_word: np.ndarray | None
    topics: list[list[str]]
    seconds: float
    members: int = 1
    settings: dict[str, float] = field(default_factory=dict)


Fit = Callable[[Prepared, int, Sequence[int]], dict[int, Fitted]]


def baseline(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """The baseline of the tables; an aligned encoder's has no seed and is the same for all."""
    runs = run_baseline(data)
    found = {}
    for index, seed in enumerate(seeds):
        run = runs[min(index, len(runs) - 1)]
        text = {part: run.text(part) for part in ("validation", "test")}
        image = {part: run.image(part) for part in ("validation", "test")}
        found[seed] = Fitted(text, image, None, [], run.figures["seconds"])
    return found


def text_teacher(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """The plain text-teacher: topics of its text model, and pictures tagged with its picture model's."""
    folder = model_folder(data, "text-teacher", n_topics)
    found = {}
    for run in run_models(data, "text-teacher", n_topics=[n_topics]):
        model = TopicModel.load(folder / f"seed-{run.seed}" / "image")
        text = {part: run.text(part) for part in ("validation", "test")}
        image = {part: run.image(part) for part in ("validation", "test")}
        found[run.seed] = Fitted(text, image, model.topic_word(), run.topics["text"], run.figures["seconds"])
    return found


def teachers_together(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """The text-teachers of all seeds side by side, as VTM+'s members are: one model, which has no spread over seeds."""
    every = list(text_teacher(data, n_topics, seeds).values())

    def beside(arrays: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {part: np.concatenate([a[part] for a in arrays], axis=1) / len(arrays) for part in arrays[0]}

    one = Fitted(
        beside([each.text for each in every]),
        beside([each.image for each in every]),
        np.concatenate([each.topic_word for each in every]),
        [topic for each in every for topic in each.topics],
        sum(each.seconds for each in every),
        members=len(every),
    )
    return {seeds[0]: one}


def vtm_plus(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """VTM+ with its default settings."""
    return _plus(data, PlusConfig(n_topics=n_topics), seeds)


def one_member(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """VTM+'s first member alone: as many topics as the other models have."""
    return _plus(data, dataclasses.replace(PlusConfig(n_topics=n_topics), members=1), seeds)


def _plus(data: Prepared, config: PlusConfig, seeds: Sequence[int]) -> dict[int, Fitted]:
    found = {}
    for seed in seeds:
        started = time.perf_counter()
        model = plus_model(data, config, seed)
        seconds = time.perf_counter() - started
        theta = {
            reads: {
                part: model.theta(reads, data.pairs(part).embeddings(reads))
                for part in ("validation", "test")
            }
            for reads in ("text", "image")
        }
        words = model.topic_word.reshape(-1, model.topic_word.shape[2])
        topics = model.topics(data.vocabulary.words, TOP_WORDS)
        found[seed] = Fitted(
            theta["text"], theta["image"], words, topics, seconds, members=len(model.anchors)
        )
    return found
