"""VTM+: its shared space, its clusters and its topics, against closed forms and topics that are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from planted import planted

from vtm.errors import ConfigError, DataError
from vtm.model import plus
from vtm.model.plus import (
    Growth,
    PlusConfig,
    cut,
    fit_plus,
    fit_space,
    grown_topics,
    spherical_kmeans,
    unit,
)

SMALL = PlusConfig(n_topics=4, members=2, pair_concentration=4.0)


def test_the_space_finds_the_canonical_correlations() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(5000, 2))
    text = np.column_stack([shared[:, 0] + rng.normal(size=5000), rng.normal(size=5000), shared[:, 1]])
    image = np.column_stack([shared[:, 1] + 0.5 * rng.normal(size=5000), shared[:, 0]])
    space = fit_space(text, image, ridge=1e-6)
    # corr(s + n, s) = 1 / sqrt(2) and corr(s, s + n / 2) = 1 / sqrt(1.25).
    np.testing.assert_allclose(space.correlations, [1.25**-0.5, 2**-0.5], atol=0.02)
    assert space.embed("text", text).shape == (5000, 2)
    np.testing.assert_allclose(np.linalg.norm(space.embed("image", image), axis=1), 1)
    assert fit_space(text, image, ridge=1.0).correlations[0] < space.correlations[0]


def test_the_space_refuses_what_it_cannot_fit() -> None:
    with pytest.raises(ConfigError, match="ridge"):
        fit_space(np.eye(3), np.eye(3), ridge=0)
    with pytest.raises(ConfigError, match="ridge"):
        fit_space(np.eye(3), np.eye(3), ridge=1, image_ridge=-1)
    with pytest.raises(ConfigError, match="dims"):
        fit_space(np.eye(3), np.eye(3), ridge=1, dims=0)
    with pytest.raises(DataError, match="3 texts and 2 images"):
        fit_space(np.eye(3), np.eye(3)[:2], ridge=1)
    with pytest.raises(DataError, match="3 columns"):
        fit_space(np.eye(3), np.eye(3), ridge=1).embed("text", np.eye(2))


def test_the_space_is_that_of_whole_matrices_however_far_from_zero_the_embeddings_are() -> None:
    rng = np.random.default_rng(0)
    text = rng.normal(size=(300, 6))
    image = text[:, :4] + rng.normal(size=(300, 4))
    space = fit_space(text, image, ridge=0.5, image_ridge=2.0, dims=3)
    # In one step from correlation matrices: S_tt^-1 S_ti S_ii^-1 S_it has the squares of the correlations.
    whole = np.corrcoef(text.T, image.T)
    s_tt, s_ii = whole[:6, :6] + 0.5 * np.eye(6), whole[6:, 6:] + 2.0 * np.eye(4)
    product = np.linalg.solve(s_tt, whole[:6, 6:]) @ np.linalg.solve(s_ii, whole[6:, :6])
    squares = np.sort(np.linalg.eigvals(product).real)[::-1]
    np.testing.assert_allclose(space.correlations**2, squares[:3], rtol=1e-4)
    far = fit_space(text + 1e6, image - 1e6, ridge=0.5, image_ridge=2.0, dims=3)
    np.testing.assert_allclose(far.correlations, space.correlations, rtol=1e-6)
    cosine = np.abs((far.embed("text", text + 1e6) * space.embed("text", text)).sum(axis=1))
    assert space.maps["text"].shape == (6, 3) and cosine.min() > 1 - 1e-5


def test_kmeans_finds_what_lies_apart_and_leaves_no_cluster_empty() -> None:
    rng = np.random.default_rng(0)
    known = np.repeat(np.arange(3), 20)
    x = unit(np.eye(5)[known] + 0.05 * rng.normal(size=(60, 5)))
    found, centres = spherical_kmeans(x, 3, draws=np.random.default_rng(1))
    assert len({(a, b) for a, b in zip(known, found, strict=True)}) == 3
    same = np.repeat(unit(np.ones((1, 4))), 6, axis=0)
    assert set(spherical_kmeans(same, 4, draws=np.random.default_rng(0))[0]) == {0, 1, 2, 3}


def test_kmeans_that_begins_where_it_ended_stays_there() -> None:
    x = unit(np.random.default_rng(0).normal(size=(200, 5)))
    found, centres = spherical_kmeans(x, 4, draws=np.random.default_rng(1), iterations=100)
    again, same = spherical_kmeans(x, 4, draws=np.random.default_rng(2), start=found)
    np.testing.assert_array_equal(again, found)
    np.testing.assert_allclose(same, centres, atol=1e-12)


def test_topics_keep_their_numbers_and_what_is_new_comes_after_them() -> None:
    """Planted topics, the last of which no earlier pair is about."""
    drawn = planted(600, n_topics=5, n_words=50)
    about = drawn.theta.argmax(axis=1)
    is_new = (about == 4) | (np.arange(600) % 5 == 0)
    one = PlusConfig(n_topics=4, pair_concentration=4.0)
    earlier = fit_plus(drawn.text[~is_new], drawn.image[~is_new], drawn.counts[~is_new], config=one)

    def planted_topics(model) -> list[int]:
        theta = model.theta("image", drawn.image)
        return np.corrcoef(theta.T, drawn.theta.T)[: theta.shape[1], theta.shape[1] :].argmax(axis=1).tolist()

    start, n_topics, unlike = grown_topics(earlier, drawn.text, drawn.image, is_new)
    assert n_topics > 4 and unlike > 0.3
    assert np.mean(about[start >= 4] == 4) > 0.9
    # One more is what was planted.
    start, n_topics, _ = grown_topics(earlier, drawn.text, drawn.image, is_new, n_added=1)
    five = dataclasses.replace(one, n_topics=n_topics)
    grown = fit_plus(drawn.text, drawn.image, drawn.counts, config=five, start=start, seed=7)
    before = planted_topics(earlier)
    assert sorted(before) == [0, 1, 2, 3] and planted_topics(grown) == [*before, 4]
    # Pairs like the earlier ones ask for no topic.
    alike = (about != 4) & (np.arange(600) % 5 == 0)
    rows = np.flatnonzero((about != 4) & ~is_new | alike)
    assert grown_topics(earlier, drawn.text[rows], drawn.image[rows], alike[rows])[1] == 4
    with pytest.raises(ConfigError, match="new_topics=601: only 600 new pairs are there"):
        grown_topics(earlier, drawn.text, drawn.image, np.ones(600, dtype=bool), n_added=601)


def test_growth_tells_what_moved() -> None:
    rng = np.random.default_rng(0)
    before = rng.dirichlet(np.ones(3), 50)
    now = np.column_stack([before[:, 0], rng.dirichlet(np.ones(2), 50)[:, 0], before[:, 2] * 3, np.zeros(50)])
    growth = Growth.between(before, now, n_new=4, unlike=0.1)
    cosine = before[:, 1] @ now[:, 1] / np.sqrt((before[:, 1] ** 2).sum() * (now[:, 1] ** 2).sum())
    np.testing.assert_allclose(growth.similarity, [1, cosine, 1, np.nan])
    assert (
        growth.moved
        == sum(
            max(range(3), key=b.__getitem__) != max(range(4), key=n.__getitem__)
            for b, n in zip(before.tolist(), now.tolist(), strict=True)
        )
        / 50
    )
    assert (growth.kept, growth.changed, growth.new) == (
        ((0, 2), (1,), (3,)) if cosine < 0.7 else ((0, 1, 2), (), (3,))
    )
    assert dataclasses.replace(growth, similarity=np.array([0.69, 0.7, np.nan])).changed == (0,)


def test_plus_recovers_planted_topics() -> None:
    drawn = planted(400)
    model = fit_plus(drawn.text, drawn.image, drawn.counts, config=SMALL)
    theta = model.theta("image", drawn.image)
    assert theta.shape == (400, 8)
    np.testing.assert_allclose(theta.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(model.topic_word.sum(axis=2), 1)
    # Each member has one topic for each planted one: the same documents, and keywords of its block of words.
    blocks = np.array_split(np.arange(40), 4)
    for member in range(2):
        own = theta[:, 4 * member : 4 * member + 4]
        agreement = np.corrcoef(own.T, drawn.theta.T)[:4, 4:]
        best = agreement.argmax(axis=1)
        assert sorted(best) == [0, 1, 2, 3] and agreement.max(axis=1).min() > 0.6
        topics = model.topics(drawn.vocabulary, 5)[4 * member : 4 * member + 4]
        for topic, block in zip(topics, best, strict=True):
            assert set(topic) <= {drawn.vocabulary[word] for word in blocks[block]}


def test_theta_is_the_topics_of_the_pairs_around_a_document() -> None:
    drawn = planted(100)
    config = dataclasses.replace(SMALL, members=1, prototypes=30)
    model = fit_plus(drawn.text, drawn.image, drawn.counts, config=config)
    pairs = unit(
        model.space.embed("text", drawn.text) + config.image_weight * model.space.embed("image", drawn.image)
    )
    # Prototypes are 30 of the pairs' places.
    of = (pairs @ model.prototypes.T).argmax(axis=0)
    assert len(set(of)) == 30
    np.testing.assert_allclose(pairs[of], model.prototypes)
    found = model.theta("image", drawn.image[:5])
    for row, place in enumerate(model.space.embed("image", drawn.image[:5])):
        near = [np.exp(config.concentration * place @ one) for one in model.prototypes]
        own = [np.exp(config.pair_concentration * (model.anchors[0] @ one)) for one in model.prototypes]
        mean = sum(n * topics / topics.sum() for n, topics in zip(near, own, strict=True)) / sum(near)
        np.testing.assert_allclose(found[row], mean, rtol=1e-5)  # computed in float32


def test_pairs_read_in_blocks_make_the_same_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn = planted(120)
    whole = fit_plus(drawn.text, drawn.image, drawn.counts, config=SMALL)
    np.save(tmp_path / "text.npy", drawn.text)
    monkeypatch.setattr(plus, "BLOCK", 17)
    blocks = fit_plus(np.load(tmp_path / "text.npy", mmap_mode="r"), drawn.image, drawn.counts, config=SMALL)
    for name in ("prototypes", "anchors", "topic_word", "topic_share"):
        np.testing.assert_allclose(getattr(blocks, name), getattr(whole, name), atol=1e-6)
    np.testing.assert_allclose(
        blocks.theta("image", drawn.image), whole.theta("image", drawn.image), atol=1e-6
    )


def test_clusters_found_among_some_pairs_are_those_found_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = planted(600)
    one = dataclasses.replace(SMALL, members=1)

    def recovered() -> np.ndarray:
        theta = fit_plus(drawn.text, drawn.image, drawn.counts, config=one).theta("image", drawn.image)
        return np.sort(np.corrcoef(theta.T, drawn.theta.T)[:4, 4:].max(axis=1))

    whole = recovered()
    monkeypatch.setattr(plus, "SAMPLE", 25)  # 100 of the 600 pairs
    np.testing.assert_allclose(recovered(), whole, atol=0.02)


def test_the_same_seed_gives_the_same_model_and_another_one_another() -> None:
    drawn = planted(120)
    a, b, c = (fit_plus(drawn.text, drawn.image, drawn.counts, config=SMALL, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a.anchors, b.anchors)
    np.testing.assert_array_equal(a.topic_word, b.topic_word)
    assert not np.array_equal(a.anchors, c.anchors)


def test_plus_refuses_what_it_cannot_fit() -> None:
    drawn = planted(20)
    with pytest.raises(ConfigError, match="20 pairs"):
        fit_plus(drawn.text, drawn.image, drawn.counts, config=PlusConfig(n_topics=30))
    with pytest.raises(DataError):
        fit_plus(drawn.text[:5], drawn.image, drawn.counts, config=SMALL)
    with pytest.raises(ConfigError, match="members"):
        PlusConfig(members=0)


def test_cut_keeps_the_largest_topics() -> None:
    theta = np.array([[0.1, 0.5, 0.4, 0.0], [0.25, 0.25, 0.25, 0.25]])
    np.testing.assert_allclose(cut(theta, 2), [[0, 5 / 9, 4 / 9, 0], [0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(cut(theta, 9), theta)
    with pytest.raises(ConfigError):
        cut(theta, 0)
