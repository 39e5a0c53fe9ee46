"""From the results of an experiment to what the explorer shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtm.errors import DataError
from vtm.explorer.arrays import LIMIT, from_arrays
from vtm.explorer.data import READS, ExplorerData, Words, top_words
from vtm.labels import RELEVANCE_WEIGHT, relevance
from vtm.report import baseline_name

if TYPE_CHECKING:
    from vtm.prepare import Prepared
    from vtm.results import Result


def from_results(
    data: Prepared,
    baseline: Result,
    model: Result,
    *,
    topic_word: Mapping[str, np.ndarray] | None = None,
    part: str = "test",
    limit: int = LIMIT,
    seed: int = 0,
    title: str = "Topic explorer",
    weight: float = RELEVANCE_WEIGHT,
) -> ExplorerData:
    """What the explorer shows of one run: the pictures of a part, the run's topics, and the baseline beside it.

    Parameters
    ----------
    topic_word : "text" and "image" -> (K, V) word distributions of the topics, rows in any order. By
        default those of the models that the experiment saved with the run.
    limit, seed : see `from_arrays`.
    weight : of relevance, by which a topic's words are ordered (`vtm.labels.relevance`).

    Raises
    ------
    DataError
        The three do not belong together: other ids, or topics that no row of `topic_word` has.
    MissingError
        The run's models are not on disk.
    """
    from vtm.topic_metrics import npmi

    if topic_word is None:
        topic_word = _saved_topic_word(data, model)
    ids = data.ids(part)
    counts = data.counts[data.rows["train"]]
    name = baseline_name(data.aligned, data.experiment.encoder_name)
    notes = [f"Corpus {data.corpus.name}, {part} part, encoder {data.experiment.encoder}, seed {model.seed}."]
    if data.corpus.source:
        notes.append(data.corpus.source)
    if model.status != "ok":
        notes.append(f"This run is not healthy ({model.status}): {'; '.join(model.reasons)}.")
    theta = _in_order(model, "image", part, ids)
    share = theta.mean(axis=0, dtype=np.float64)
    return from_arrays(
        ids,
        data.texts(part),
        [data.pictures[id] for id in ids],
        theta,
        theta_text=_in_order(model, "text", part, ids),
        words={
            reads: _words(
                model.topics[reads],
                topic_word[reads],
                data.vocabulary.words,
                reads,
                share=share,
                weight=weight,
            )
            for reads in READS
        },
        coherence={reads: npmi(model.topics[reads], counts, data.vocabulary.words) for reads in model.topics},
        baseline=(_in_order(baseline, "text", part, ids), _in_order(baseline, "image", part, ids)),
        measure=model.measure,
        baseline_measure=baseline.measure,
        limit=limit,
        seed=seed,
        title=title,
        model_name=f"topic model: {model.name}",
        baseline_name=f"baseline: {name}",
        language=data.corpus.language,
        notes=tuple(notes),
    )


def _saved_topic_word(data: Prepared, model: Result) -> dict[str, np.ndarray]:
    from vtm.experiment import model_folder
    from vtm.topicmodel import TopicModel

    folder: Path = model_folder(data, model.row, model.n_topics) / f"seed-{model.seed}"
    return {reads: TopicModel.load(folder / reads).topic_word() for reads in READS}


def _in_order(result: Result, reads: str, part: str, ids: list[str]) -> np.ndarray:
    """Rows of a result in the order of `ids`."""
    row_of = {id: row for row, id in enumerate(result.ids[part])}
    if row_of.keys() != set(ids):
        raise DataError(
            f"explorer: the result {result.name} is of {len(row_of)} other {part} pairs than the data's {len(ids)}"
        )
    return result.arrays[f"{part}_{reads}"][[row_of[id] for id in ids]]


def _words(
    topics: list[list[str]],
    topic_word: np.ndarray,
    vocabulary: tuple[str, ...],
    reads: str,
    *,
    share: np.ndarray,
    weight: float,
) -> tuple[Words, ...]:
    """Words of each topic by relevance, with their probability.

    A topic's row is found by its most probable words: rows may stand in another order than the topics.
    """
    probable = top_words(topic_word, vocabulary, top=len(topics[0]))
    row_of = {tuple(word for word, _ in topic): row for row, topic in enumerate(probable)}
    missing = [k for k, topic in enumerate(topics) if tuple(topic) not in row_of]
    if missing:
        raise DataError(
            f"explorer: topic {missing[0]} of the result is none of the {reads} model's: "
            "the model on disk is of another run; run the experiment again"
        )
    in_order = topic_word[[row_of[tuple(topic)] for topic in topics]]
    return top_words(in_order, vocabulary, scores=relevance(in_order, share, weight=weight))
