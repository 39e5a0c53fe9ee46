"""Keywords of topics, against slow definitions taken from the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from vtm.errors import ConfigError, DataError
from vtm.metrics.topics import class_tfidf, relevance, top_words, topic_tree, topic_word_counts


def topics(*, k: int = 5, v: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    return draws.dirichlet(np.full(v, 0.3), size=k), draws.dirichlet(np.ones(k))


@pytest.mark.parametrize("weight", [0, 0.3, 0.6, 1])
def test_relevance_is_sievert_and_shirleys(weight):
    topic_word, share = topics()
    found = relevance(topic_word, share, weight=weight)
    for k in range(5):
        for w in range(30):
            overall = sum(share[j] * topic_word[j, w] for j in range(5))
            lift = topic_word[k, w] / overall
            expected = weight * math.log(topic_word[k, w]) + (1 - weight) * math.log(lift)
            assert found[k, w] == pytest.approx(expected, rel=1e-12)


def test_relevance_orders_by_probability_at_1_and_by_lift_at_0():
    topic_word, share = topics(seed=1)
    lift = topic_word / (share @ topic_word)
    assert (relevance(topic_word, share, weight=1).argsort() == topic_word.argsort()).all()
    assert (relevance(topic_word, share, weight=0).argsort() == lift.argsort()).all()


def test_relevance_of_a_word_that_rounds_to_nothing_is_finite_and_last():
    found = relevance(np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]), np.array([0.5, 0.5]))
    assert np.isfinite(found).all()
    assert (found.argmin(axis=1) == 2).all()


def test_relevance_refuses_what_does_not_fit():
    topic_word, share = topics()
    with pytest.raises(ConfigError, match="between 0 and 1, not 1.5"):
        relevance(topic_word, share, weight=1.5)
    with pytest.raises(DataError, match="do not fit"):
        relevance(topic_word, share[:4])


CLASSES = ["boat sea sea", "boat road", "tree tree tree leaf"]
WORDS = ("boat", "leaf", "road", "sea", "tree", "unseen")


def test_class_tfidf_is_grootendorsts():
    counts = np.array([[document.split().count(word) for word in WORDS] for document in CLASSES])
    found = class_tfidf(counts)
    average = sum(len(document.split()) for document in CLASSES) / len(CLASSES)
    everything = " ".join(CLASSES).split()
    for k, document in enumerate(CLASSES):
        for w, word in enumerate(WORDS):
            in_all = everything.count(word)
            expected = document.split().count(word) * math.log(1 + average / in_all) if in_all else 0.0
            assert found[k, w] == pytest.approx(expected, rel=1e-12)


def test_words_count_for_a_topic_by_the_documents_share_of_it():
    draws = np.random.default_rng(3)
    theta, counts = draws.dirichlet(np.ones(4), size=20), draws.poisson(0.5, size=(20, 9))
    expected = np.zeros((4, 9))
    for document in range(20):
        for topic in range(4):
            expected[topic] += theta[document, topic] * counts[document]
    np.testing.assert_allclose(topic_word_counts(theta, csr_matrix(counts)), expected)
    whole = np.eye(4)[draws.integers(4, size=20)]  # each document in one topic: Grootendorst's classes
    of_first = counts[whole[:, 0] == 1].sum(axis=0)
    np.testing.assert_allclose(topic_word_counts(whole, csr_matrix(counts))[0], of_first)
    with pytest.raises(DataError, match="19 topic distributions but 20"):
        topic_word_counts(theta[:19], csr_matrix(counts))


def test_top_words_are_sorted_with_ties_in_the_vocabularys_order():
    scores = np.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    words = ("apple", "boat", "cat", "dog")
    assert top_words(scores, words, 3) == [["boat", "cat", "dog"], ["apple", "boat", "cat"]]
    assert top_words(scores, words, 9)[0] == ["boat", "cat", "dog", "apple"]
    with pytest.raises(ConfigError, match="at least 1 word"):
        top_words(scores, words, 0)


def test_a_tree_joins_the_two_groups_of_the_least_mean_distance():
    x = np.random.default_rng(0).normal(size=(12, 5))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    groups = {row: [row] for row in range(12)}
    for node, (a, b, distance) in enumerate(topic_tree(x), start=12):
        apart = {
            (i, j): np.mean([1 - unit[p] @ unit[q] for p in groups[i] for q in groups[j]])
            for i in groups
            for j in groups
            if i < j
        }
        assert (a, b) == min(apart, key=apart.get) and distance == pytest.approx(apart[a, b])
        groups[node] = groups.pop(a) + groups.pop(b)
    assert len(groups) == 1


@pytest.mark.parametrize("vectors", [[[1, 0]], [[1, 0], [0, 0]], [[1, 0], [math.nan, 1]]])
def test_a_tree_needs_directions(vectors):
    with pytest.raises(DataError, match="a finite direction of each of two topics or more"):
        topic_tree(np.array(vectors))


def test_equal_topics_are_joined_first_and_at_no_distance():
    x = np.random.default_rng(0).normal(size=(5, 7))
    assert topic_tree(np.vstack([x, 3 * x[2]]))[0] == (2, 5, pytest.approx(0, abs=1e-12))
