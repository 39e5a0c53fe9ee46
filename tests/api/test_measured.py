"""What docstrings say was measured on Open Clip Art, measured again."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from vtm.api import ModelWarning, VisualTopicModel
from vtm.config import Experiment
from vtm.corpora import Corpus, split
from vtm.corpora.fetch import GROUPS, is_fetched
from vtm.experiment.prepare import Prepared, prepare
from vtm.metrics.calibration import MINUS
from vtm_study.updating import update_rows

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(
            is_fetched(name) for group in ("encoder:offline", "corpus:openclipart") for name in GROUPS[group]
        ),
        reason="not fetched",
    ),
]
K = 60


@pytest.fixture(scope="module")
def data() -> Prepared:
    """Near-duplicates are in one part: else the test part's pictures are found by their twins."""
    return prepare(Experiment(), progress=False)


@pytest.fixture(scope="module")
def corpus(data: Prepared) -> Corpus:
    return data.corpus


@pytest.fixture(scope="module")
def parts(data: Prepared) -> dict[str, np.ndarray]:
    return data.rows


def pairs(corpus: Corpus, rows: np.ndarray) -> tuple[list[str], list]:
    return [corpus.texts[row] for row in rows], [corpus.images[row] for row in rows]


def fitted(*pairs_: list, n_topics: int = K) -> VisualTopicModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        return VisualTopicModel(n_topics, progress=False).fit(*pairs_)


def updated(model: VisualTopicModel, new: tuple, earlier: tuple) -> VisualTopicModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        return model.partial_fit(*new, earlier=earlier)


def test_pictures_are_found_as_the_docstring_of_a_question_says(corpus, parts) -> None:
    model = fitted(*pairs(corpus, parts["train"]))
    texts, images = pairs(corpus, parts["test"])
    n = len(texts)
    held = model._vocabulary.counts(texts).toarray() > 0
    # Like: the first ten whose text says half of the same, by weight.
    weights = np.log(model._reader.frequency.max() + 1) - np.log(model._reader.frequency) + 0.1
    asked = held * weights / np.maximum((held * weights).sum(axis=1, keepdims=True), 1e-12)
    right = (asked @ held.T >= 0.5) & ~np.eye(n, dtype=bool)
    some = np.flatnonzero(right.any(axis=1))

    def hits(order: np.ndarray) -> float:
        others = [[place for place in row if place != one][:10] for one, row in zip(some, order, strict=True)]
        return float(np.mean([right[one, row] for one, row in zip(some, others, strict=True)]))

    by_place = hits(model.rank(like=[images[row] for row in some], images=images, top=11)[0])
    x, _ = model._embeddings(images, None)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    by_encoder = hits(np.argsort(-unit[some] @ unit.T, axis=1)[:, :11])
    assert (round(by_place, 2), round(by_encoder, 2)) == pytest.approx((0.20, 0.14), abs=0.011)
    # Minus: the first ten that have the one word alone, over all pairs of frequent words that stand together.
    frequent = np.argsort(-held.sum(axis=0), kind="stable")[:60]
    frequent = frequent[held[:, frequent].sum(axis=0) >= 8]
    words = [model.vocabulary_[w] for w in frequent]
    positions, scores = model.rank(words, images, top=n)
    of = np.take_along_axis(scores, np.argsort(positions, axis=1), axis=1)
    chance = model.calibration_.matches["words"]
    share: dict[str, list[float]] = {"less": [], "left out": [], "not told": []}
    for a, one in enumerate(frequent):
        for b, other in enumerate(frequent):
            alone = held[:, one] & ~held[:, other]
            if a == b or (held[:, one] & held[:, other]).sum() < 3 or alone.sum() < 5:
                continue
            out = np.where(chance.probability(of[b]) >= chance.threshold, -np.inf, of[a])
            ways = {"less": of[a] - MINUS * of[b], "left out": out, "not told": of[a]}
            for name, score in ways.items():
                share[name].append(alone[np.argsort(-score, kind="stable")[:10]].mean())
    found = {name: float(np.mean(values)) for name, values in share.items()}
    assert len(share["less"]) == 96
    assert found == pytest.approx({"less": 0.47, "left out": 0.47, "not told": 0.43}, abs=0.011)


def test_an_update_keeps_topics_and_costs_less_than_a_seed(data) -> None:
    updated, anew, other = update_rows(data, seed=0)
    assert updated["stay"] >= 0.95 and updated["moved"] < 0.15 and updated["added"] == 0
    assert 0.45 < anew["stay"] < 0.65 and 0.35 < anew["moved"] < 0.47
    assert 0.3 < other["stay"] < 0.55 and 0.45 < other["moved"] < 0.6
    for figure in ("ranks", "by_topics"):
        assert abs(updated[figure].mean() - anew[figure].mean()) < 0.015
    assert 0.16 < updated["ranks"].mean() < 0.2
    assert abs(updated["npmi"] - anew["npmi"]) < 0.06


def test_what_no_topic_knew_gets_topics(corpus) -> None:
    parts = split(corpus, seed=0)
    flags = np.array(["flag" in corpus.texts[row].lower() for row in parts["train"]])
    earlier, new = (pairs(corpus, parts["train"][some]) for some in (~flags, flags))
    grown = updated(fitted(*earlier, n_topics=40), new, earlier)
    assert grown.growth_.n_new > 300 and grown.growth_.new == (40, 41, 42, 43, 44)
    assert all("flag" in words for words in grown.topics(5)[40:])


def test_text_and_picture_have_the_same_piece_of_a_topic_more_often_than_by_chance(corpus, parts) -> None:
    n, same, by_chance = 0, 0, 0.0
    texts, images = pairs(corpus, parts["test"])
    for seed in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)
            model = VisualTopicModel(30, progress=False, random_state=seed).fit(
                *pairs(corpus, parts["train"])
            )
        whole = model.transform_text(texts), model.transform(images)
        for k in range(30):
            model.edit(split={k: 2})
            some = (whole[0][:, k] > 0.3) & (whole[1][:, k] > 0.3)
            if some.any():
                of_text = model.transform_text(texts)[some][:, [k, 30]].argmax(axis=1)
                of_picture = model.transform(images)[some][:, [k, 30]].argmax(axis=1)
                p, q = of_text.mean(), of_picture.mean()
                n, same = n + some.sum(), same + (of_text == of_picture).sum()
                by_chance += some.sum() * (p * q + (1 - p) * (1 - q))
            model.edit(undo=True)
    assert n == pytest.approx(295, abs=10)
    assert (same / n, by_chance / n) == pytest.approx((0.85, 0.76), abs=0.03)
