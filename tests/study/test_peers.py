"""Peers: topics that were planted are found, the map is chosen on validation, extras run where they are installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.decomposition import NMF, LatentDirichletAllocation
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import Ridge

from vtm.errors import ConfigError, DataError, MissingError
from vtm.model.distill import Pairs
from vtm_study.measures import reciprocal
from vtm_study.others import (
    EXTRA_PEERS,
    LDA_ITERATIONS,
    LDA_PRIORS,
    TEXT_PEERS,
    as_shares,
    extra_peer,
    fit_extra,
    fit_ridge,
    fit_text_topics,
    installed_version,
    shared_space,
    text_peer,
)
from vtm_study.others import (
    mean_reciprocal as mrr,
)

SIZES = {"train": 120, "validation": 30, "test": 30}
K, V = 4, 40
WORDS = tuple(f"w{i:02d}" for i in range(V))
IDS = [f"v{i}" for i in range(SIZES["validation"])]


@pytest.fixture(scope="module")
def planted() -> tuple[dict[str, Pairs], dict[str, np.ndarray]]:
    """Documents of one topic each, ten words a topic; both embeddings are linear in the topic, with noise."""
    rng = np.random.default_rng(0)
    to_text, to_image = rng.normal(size=(K, 8)), rng.normal(size=(K, 12))
    pairs, topics = {}, {}
    for part, n in SIZES.items():
        topic = rng.integers(0, K, n)
        counts = np.zeros((n, V), dtype=np.float32)
        for row, k in enumerate(topic):
            counts[row, rng.choice(np.arange(10 * k, 10 * k + 10), 5, replace=False)] = 1
        text = to_text[topic] + 0.2 * rng.normal(size=(n, 8))
        image = to_image[topic] + 0.2 * rng.normal(size=(n, 12))
        pairs[part] = Pairs(text.astype(np.float32), image.astype(np.float32), csr_matrix(counts))
        topics[part] = topic
    return pairs, topics


def agreement(assigned: np.ndarray, topic: np.ndarray) -> float:
    """Share of documents in their cluster's commonest topic."""
    return sum(np.bincount(topic[assigned == k]).max() for k in set(assigned)) / len(topic)


def tokens(pairs: dict[str, Pairs]) -> list[list[str]]:
    return [[WORDS[j] for j in row.indices] for row in pairs["train"].counts]


@pytest.mark.parametrize("method", TEXT_PEERS)
def test_planted_topics_are_found_in_pictures(planted, method):
    pairs, topics = planted
    # LDA ends in a local optimum; one of several seeds finds all topics.
    found = [text_peer(method, pairs, IDS, WORDS, n_topics=K, seed=seed) for seed in range(5)]
    peer = max(found, key=lambda peer: agreement(peer.image["train"].argmax(axis=1), topics["train"]))
    for part, topic in topics.items():
        theta = peer.image[part]
        assert theta.shape == (len(topic), K) and (theta >= 0).all()
        np.testing.assert_allclose(theta.sum(axis=1), 1)
        assert agreement(theta.argmax(axis=1), topic) > 0.9, part
    for k, row in enumerate(peer.topic_word):
        assert len({int(column) // 10 for column in np.argsort(-row)[:8]}) == 1, k
    again = text_peer(method, pairs, IDS, WORDS, n_topics=K, seed=0)
    np.testing.assert_array_equal(found[0].image["test"], again.image["test"])


def test_peers_are_scikit_learns(planted):
    counts = {part: p.counts for part, p in planted[0].items()}
    theta, topic_word, _ = fit_text_topics("LDA", counts, n_topics=K, seed=3)
    model = LatentDirichletAllocation(K, max_iter=LDA_ITERATIONS, random_state=3, **LDA_PRIORS)
    model.fit(counts["train"])
    np.testing.assert_allclose(theta["validation"], model.transform(counts["validation"]), rtol=1e-5)
    expected = model.components_ / model.components_.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(topic_word, expected, rtol=1e-5)
    theta, _, _ = fit_text_topics("NMF", counts, n_topics=K, seed=3)
    scale = TfidfTransformer().fit(counts["train"])
    weights = NMF(K, init="nndsvda", random_state=3, max_iter=1000).fit(scale.transform(counts["train"]))
    found = weights.transform(scale.transform(counts["validation"]))
    np.testing.assert_allclose(theta["validation"], found / found.sum(axis=1, keepdims=True), atol=1e-4)


def test_nmf_takes_more_topics_than_words_and_a_text_without_words(planted):
    counts = {part: p.counts[:, :6] for part, p in planted[0].items()}
    theta, topic_word, _ = fit_text_topics("NMF", counts, n_topics=8, seed=0)
    assert topic_word.shape == (8, 6)
    empty = np.asarray(counts["validation"].sum(axis=1)).ravel() == 0
    assert empty.any()
    np.testing.assert_allclose(theta["validation"][empty], 1 / 8)
    with pytest.raises(ConfigError, match="peer 'LSA': did you mean 'LDA'. Choose from LDA, NMF"):
        fit_text_topics("LSA", counts, n_topics=2, seed=0)


def test_texts_of_the_test_part_are_not_read(planted):
    pairs, _ = planted
    blind = pairs | {
        "test": Pairs(pairs["test"].text * np.nan, pairs["test"].image, pairs["test"].counts * 0)
    }
    for method in TEXT_PEERS:
        one, other = (text_peer(method, p, IDS, WORDS, n_topics=K, seed=1) for p in (pairs, blind))
        np.testing.assert_array_equal(one.image["test"], other.image["test"])


def test_the_ridge_map_is_scikit_learns_of_the_best_penalty():
    rng = np.random.default_rng(1)
    x, y, new = rng.normal(2, 3, size=(40, 5)), rng.normal(size=(40, 3)), rng.normal(2, 3, size=(10, 5))
    truth = rng.normal(size=(10, 3))
    scale = (x - x.mean(axis=0)) / x.std(axis=0)
    predictions = {
        alpha: Ridge(alpha=alpha).fit(scale, y).predict((new - x.mean(axis=0)) / x.std(axis=0))
        for alpha in (0.1, 10.0, 1000.0)
    }
    errors = {alpha: ((found - truth) ** 2).sum() for alpha, found in predictions.items()}
    found = fit_ridge(x, y, new, lambda p: -((p - truth) ** 2).sum(), alphas=(0.1, 10.0, 1000.0))
    assert found[-1].alpha == min(errors, key=errors.get)
    np.testing.assert_allclose(found.predict(new), predictions[found[-1].alpha], atol=1e-9)


def test_shares_are_distributions():
    rows = np.array([[1.0, 3.0, -1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, 0.0]])
    np.testing.assert_allclose(as_shares(rows), [[0.25, 0.75, 0], [1 / 3] * 3, [1 / 3] * 3])
    with pytest.raises(DataError, match="NaN or infinity"):
        as_shares(np.array([[np.nan, 1.0]]))


def test_matching_is_the_mean_of_reciprocal_ranks():
    rng = np.random.default_rng(2)
    text, image, ids = rng.random((12, 5)), rng.random((12, 5)), [f"i{i}" for i in range(12)]
    cosine = (text / np.linalg.norm(text, axis=1, keepdims=True)) @ (
        image / np.linalg.norm(image, axis=1, keepdims=True)
    ).T
    expected = [1 / (1 + (cosine[i] > cosine[i, i]).sum()) for i in range(12)]
    np.testing.assert_allclose(reciprocal(text, image, ids, measure="cosine"), expected)
    assert mrr(text, image, ids) == pytest.approx(np.mean(expected))


def test_pictures_are_taken_into_the_space_of_texts(planted):
    pairs, topics = planted
    text, image = shared_space(pairs, IDS, aligned=False)
    assert image["test"].shape == text["test"].shape == (30, 8)
    np.testing.assert_allclose(np.linalg.norm(image["test"], axis=1), 1, rtol=1e-5)
    centres = np.stack([text["train"][topics["train"] == k].mean(axis=0) for k in range(K)])
    assert ((image["test"] @ centres.T).argmax(axis=1) == topics["test"]).mean() > 0.9
    same = {part: Pairs(p.text, p.text, p.counts) for part, p in pairs.items()}
    text, image = shared_space(same, IDS, aligned=True)
    np.testing.assert_array_equal(text["test"], image["test"])


def test_an_extra_that_is_not_installed_is_named_with_the_remedy(planted, monkeypatch):
    monkeypatch.setitem(sys.modules, "bertopic", None)
    monkeypatch.setattr("vtm_study.others.find_spec", lambda name: None)
    assert installed_version("BERTopic") is None
    with pytest.raises(MissingError, match=r"not installed: pip install bertopic turftopic"):
        fit_extra("BERTopic", None, n_topics=2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXTRA_PEERS)
def test_extras_find_planted_topics_offline_and_in_silence(planted, name, monkeypatch, capfd):
    pytest.importorskip(name.lower())
    import socket

    def no_network(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    pairs, topics = planted
    text, image = shared_space(pairs, IDS, aligned=False)
    # A word lies where its topic's texts lie.
    centres = np.stack([text["train"][topics["train"] == k].mean(axis=0) for k in range(K)])

    def embed_words(words):
        return np.stack([centres[int(word[1:]) // 10] for word in words])

    found = [
        extra_peer(name, text, image, tokens(pairs), WORDS, IDS, embed_words=embed_words, n_topics=K, seed=0)
        for _ in range(2)
    ]
    peer = found[0]
    np.testing.assert_allclose(peer.image["test"], found[1].image["test"], rtol=1e-4, atol=1e-5)
    assert peer.topic_word.shape == (K, V) and peer.text["validation"].shape == (30, K)
    assert mrr(peer.text["validation"], peer.image["validation"], IDS) > mrr(
        np.roll(peer.text["validation"], 7, axis=0), peer.image["validation"], IDS
    )
    if name == "BERTopic":
        assert agreement(peer.image["test"].argmax(axis=1), topics["test"]) > 0.9
        for row in peer.topic_word:
            assert len({int(column) // 10 for column in np.argsort(-row)[:8]}) == 1
    assert capfd.readouterr() == ("", "")
