"""One system's tags measured: what its topics tell of categories, and which of its keywords the texts confirm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vtm.labels import relevance, top_words
from vtm.peers import as_shares
from vtm.tags.metrics import best_words, hit_rate, partition_figures, words_of_topics
from vtm.tags.probes import linear_probe, neighbour_probe
from vtm.topic_metrics import npmi, topic_diversity

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from vtm.prepare import Prepared

PARTS = ("train", "validation", "test")
# Numbers of keywords; settings are chosen by the first. A text has some four different words of the vocabulary.
TOPS = (5, 10)
# The largest topics of a picture that `vtm tag` shows.
LARGEST = 3
Measured = tuple[dict[str, float], dict[str, list[float]], list[list[str]]]


@dataclass(frozen=True)
class Material:
    """What tags are measured on, each a mapping of the parts "train", "validation", "test".

    Attributes
    ----------
    ids : of the pairs.
    image, text : (n, D), (n, E) embeddings.
    present : (n, V) bool, whether a text holds a word.
    groups : gold categories; None where the corpus has none.
    counts : (n, V) bags of words of the training part.
    frequency : (V,) number of training texts that hold a word.
    words : the vocabulary.
    """

    ids: Mapping[str, list[str]]
    image: Mapping[str, np.ndarray]
    text: Mapping[str, np.ndarray]
    present: Mapping[str, np.ndarray]
    groups: Mapping[str, Sequence[str]] | None
    counts: csr_matrix
    frequency: np.ndarray
    words: tuple[str, ...]


def material(data: Prepared) -> Material:
    """The arrays of a prepared corpus."""
    pairs = {part: data.pairs(part) for part in PARTS}
    present = {part: pairs[part].counts.toarray() > 0 for part in PARTS}
    groups = {part: data.groups(part) for part in PARTS}
    return Material(
        ids={part: data.ids(part) for part in PARTS},
        image={part: pairs[part].image for part in PARTS},
        text={part: pairs[part].text for part in PARTS},
        present=present,
        groups=None if data.corpus.groups is None else groups,
        counts=pairs["train"].counts,
        frequency=present["train"].sum(axis=0),
        words=data.vocabulary.words,
    )


def measure_topics(given: Material, theta: Mapping[str, np.ndarray], topic_word: np.ndarray) -> Measured:
    """Everything that topics of pictures can be asked: theta of each part (n, K), topic_word (K, V).

    Returns
    -------
    figures, items, keywords : as `vtm.tags.runs.TagRun`
    """
    figures, items = measure_features(given, theta)
    if given.groups is not None:
        items |= measure_partition(given, theta["test"].argmax(axis=1))
    scores = {part: theta[part] @ topic_word for part in ("validation", "test")}
    hits, hit_items, keywords = measure_words(given, scores)
    first = min(TOPS[0], len(given.words))
    order = relevance(as_shares(topic_word), as_shares(theta["train"]).mean(axis=0))
    words = words_of_topics(theta["test"], order, first, largest=LARGEST)
    hit_items["largest"] = hit_rate(words, given.present["test"]).tolist()
    topics = top_words(topic_word, given.words, first)
    figures |= {
        "npmi": float(npmi(topics, given.counts, given.words, top=first).mean()),
        "diversity": float(topic_diversity(topics, top=first)),
    }
    return figures | hits, items | hit_items, keywords


def measure_features(
    given: Material, features: Mapping[str, np.ndarray]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Categories told from features by a linear classifier and by the nearest training pictures."""
    if given.groups is None:
        return {}, {}
    figures, items = {}, {}
    for name, probe in (("linear", linear_probe), ("neighbours", neighbour_probe)):
        found = probe(features, given.groups)
        figures |= {f"validation_{name}": found.validation, f"{name}_setting": found.setting}
        figures["converged"] = min(figures.get("converged", 1.0), float(found.converged))
        items[name] = found.correct.tolist()
    return figures, items


def measure_partition(given: Material, assignment: np.ndarray) -> dict[str, list[float]]:
    """NMI and purity of clusters of the test pictures, whole and without each picture, and their AMI."""
    from sklearn.metrics import adjusted_mutual_info_score

    assert given.groups is not None
    groups = given.groups["test"]
    found = {name: values.tolist() for name, values in partition_figures(assignment, groups).items()}
    return found | {"ami": [float(adjusted_mutual_info_score(groups, assignment))]}


def measure_words(given: Material, scores: Mapping[str, np.ndarray]) -> Measured:
    """Keywords by the score of each word, "validation" and "test" -> (n, V)."""
    found = {
        part: best_words(scores[part], max(TOPS), frequency=given.frequency)
        for part in ("validation", "test")
    }
    items = {
        f"mixture_{top}": hit_rate(found["test"][:, :top], given.present["test"]).tolist() for top in TOPS
    }
    first = TOPS[0]
    validation = hit_rate(found["validation"][:, :first], given.present["validation"]).mean()
    keywords = [[given.words[column] for column in row] for row in found["test"][:, :first]]
    return {f"validation_hit_{first}": float(validation)}, items, keywords
