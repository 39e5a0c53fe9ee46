"""The study: the shared space, VTM+, its measures and the stored answer, against closed forms and slow oracles."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import planted
from scipy.sparse import csr_matrix
from scipy.stats import multivariate_normal

from vtm.config import BowConfig, Experiment, ModelConfig
from vtm.errors import ConfigError, DataError
from vtm.model import kl_divergence
from vtm.prepare import prepare
from vtm.study import ablations, contrastive, measures, validation
from vtm.study.plus import PlusConfig, cut, fit_plus, spherical_kmeans
from vtm.study.space import fit_space, unit

SMALL = PlusConfig(n_topics=4, members=2, word_concentration=4.0)


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
    with pytest.raises(DataError, match="3 texts and 2 images"):
        fit_space(np.eye(3), np.eye(3)[:2], ridge=1)
    with pytest.raises(DataError, match="3 columns"):
        fit_space(np.eye(3), np.eye(3), ridge=1).embed("text", np.eye(2))


def test_kmeans_finds_what_lies_apart_and_leaves_no_cluster_empty() -> None:
    rng = np.random.default_rng(0)
    known = np.repeat(np.arange(3), 20)
    x = unit(np.eye(5)[known] + 0.05 * rng.normal(size=(60, 5)))
    found = spherical_kmeans(x, 3, draws=np.random.default_rng(1))
    assert len({(a, b) for a, b in zip(known, found, strict=True)}) == 3
    same = np.repeat(unit(np.ones((1, 4))), 6, axis=0)
    assert set(spherical_kmeans(same, 4, draws=np.random.default_rng(0))) == {0, 1, 2, 3}


def test_plus_recovers_planted_topics() -> None:
    drawn = planted(400)
    model = fit_plus(drawn.text, drawn.image, drawn.counts, config=SMALL)
    theta = model.theta("image", drawn.image)
    assert theta.shape == (400, 8)
    np.testing.assert_allclose(theta.sum(axis=1), 1)
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


def test_theta_is_the_posterior_of_a_von_mises_fisher_mixture() -> None:
    drawn = planted(100)
    model = fit_plus(drawn.text, drawn.image, drawn.counts, config=dataclasses.replace(SMALL, members=1))
    place = model.space.embed("text", drawn.text[:5])
    density = np.exp(model.config.concentration * place @ model.anchors[0].T)  # equal shares, equal constants
    np.testing.assert_allclose(
        model.theta("text", drawn.text[:5]), density / density.sum(axis=1, keepdims=True)
    )


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


def test_fused_vectors_have_the_sum_of_both_similarities() -> None:
    rng = np.random.default_rng(0)
    text, image = rng.normal(size=(2, 6, 3))
    theta, other = rng.dirichlet(np.ones(4), size=(2, 6))
    found = (
        measures.fused(text, np.sqrt(theta), weight=2.0) @ measures.fused(image, np.sqrt(other), weight=2.0).T
    )
    expected = unit(text) @ unit(image).T + 2 * np.sqrt(theta) @ np.sqrt(other).T
    np.testing.assert_allclose(found, expected)


def test_keyword_hits_by_hand() -> None:
    words = np.array([[0.5, 0.3, 0.2, 0.0], [0.1, 0.1, 0.1, 0.7]])
    counts = csr_matrix([[2, 0, 1, 0], [0, 0, 0, 3]])
    np.testing.assert_allclose(measures.keyword_hits(words, counts, top=2), [0.5, 0.5])
    with pytest.raises(DataError):
        measures.keyword_hits(words[:1], counts)


def test_reciprocal_of_a_matrix_counts_ties_against_the_target() -> None:
    similarity = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    np.testing.assert_allclose(measures.reciprocal_of(similarity), [1 / 2, 1, 1 / 3])
    theta = np.random.default_rng(0).dirichlet(np.ones(5), size=(2, 30))
    ids = [f"{row:02d}" for row in range(30)]
    np.testing.assert_allclose(
        measures.reciprocal_of(np.sqrt(theta[0]) @ np.sqrt(theta[1]).T),
        measures.reciprocal(*theta, ids, measure="hellinger"),
    )


def test_divergences_of_gaussians_against_one_pair_at_a_time() -> None:
    rng = np.random.default_rng(0)
    mu, other_mu = rng.normal(size=(2, 3, 4))
    log_var, other_log_var = rng.normal(size=(2, 3, 4)) * 0.5
    found = measures.minus_gaussian_kl(mu, log_var, other_mu, other_log_var)
    distance = measures.minus_bhattacharyya(mu, log_var, other_mu, other_log_var)
    grid = np.random.default_rng(1)
    for row in range(3):
        for column in range(3):
            one = [torch.tensor(a[row]) for a in (mu, log_var)]
            two = [torch.tensor(a[column]) for a in (other_mu, other_log_var)]
            both = kl_divergence(*one, *two) + kl_divergence(*two, *one)
            assert found[row, column] == pytest.approx(-float(both))
            p = multivariate_normal(mu[row], np.diag(np.exp(log_var[row])))
            q = multivariate_normal(other_mu[column], np.diag(np.exp(other_log_var[column])))
            drawn = p.rvs(40_000, random_state=grid)
            coefficient = np.sqrt(q.pdf(drawn) / p.pdf(drawn)).mean()  # E_p sqrt(q / p)
            assert np.exp(distance[row, column]) == pytest.approx(coefficient, rel=0.15)


def test_mean_difference_of_two_samples() -> None:
    rng = np.random.default_rng(0)
    found = measures.mean_difference(rng.normal(1, 1, 400), rng.normal(0, 1, 300))
    assert found["low"] < 1 < found["high"]
    # Its width is that of the normal interval: 2 * 1.96 * sqrt(1 / 400 + 1 / 300).
    assert found["high"] - found["low"] == pytest.approx(3.92 * (1 / 400 + 1 / 300) ** 0.5, rel=0.15)


@pytest.fixture(scope="module")
def data():
    experiment = Experiment(
        corpus="scenes:n=300",
        encoder="pixels",
        n_topics=(10,),
        seeds=(0, 1),
        model=ModelConfig(epochs=4, batch_size=16),
        bow=BowConfig(min_df=2),
    )
    return prepare(experiment, progress=False)


def test_figures_of_a_model(data) -> None:
    model = validation.plus_model(data, SMALL, 0)
    found = validation.figures_of(model, data)
    assert 0 < found["top10_mrr"] <= 1 and 0 < found["diversity"] <= 1 and -1 <= found["npmi"] <= 1
    # With ten topics kept of eight, cutting changes nothing.
    assert found["top10_mrr"] == found["posterior_mrr"]
    assert found["keyword_hit_rate"] == found["keyword_hit_rate_top10"]


def test_parts_are_written_once_and_read_back(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vtm import study
    from vtm.study import driver

    calls = []
    monkeypatch.setenv("VTM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(driver, "PARTS", {"one": (lambda data: {"rows": calls.append(1) or [1]}, 0.1)})
    first = study.run(data, folder=tmp_path, parts=["one"])
    assert study.run(data, folder=tmp_path) == first and calls == [1]
    stored = json.loads((tmp_path / "one.json").read_text())
    assert {"commit", "date", "machine", "seeds", "parameters", "rows"} <= stored.keys()
    with pytest.raises(ConfigError, match="did you mean 'one'"):
        study.run(data, folder=tmp_path, parts=["ones"])


def test_summary_information_and_mismatches_on_scenes(data, tmp_path: Path, monkeypatch) -> None:
    from vtm.study import information, mismatches, summary

    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    for module in (validation, summary, information, mismatches):
        monkeypatch.setattr(module, "PlusConfig", lambda n_topics=8: PlusConfig(n_topics=8, members=2))
    found = summary.measure(data)
    low, high = found["fusion_minus_baseline_mrr_ci"]
    difference = found["details"]["minus_baseline"]["fusion"]["difference"]
    assert low <= difference <= high
    assert difference == pytest.approx(found["fusion_mrr"] - found["baseline_mrr"])
    steps = information.measure(data)["rows"]
    assert [row["step"] for row in steps][:3] == ["embedding", "hidden layer", "mu"]
    rows = mismatches.measure(data)["rows"]
    assert rows[0]["model"] == "baseline" and rows[0]["minus_baseline"]["difference"] == 0
    assert all(0 <= row["own category, best other"] <= 1 for row in rows)


def test_info_nce_against_loops() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3))
    loss = 0.0
    for own in range(5):
        for left, right in ((a, b), (b, a)):
            scores = [2.5 * float(left[own] @ other) for other in right]
            loss -= np.log(np.exp(scores[own]) / np.exp(scores).sum()) / 10
    found = contrastive.info_nce(torch.tensor(a), torch.tensor(b), torch.tensor(2.5))
    assert float(found) == pytest.approx(loss)


def test_the_contrastive_model_learns_pairs_and_repeats_itself(data) -> None:
    config = contrastive.ContrastiveConfig(n_topics=12, epochs=15, batch_size=64)
    pairs = data.pairs("train")
    once, again = (contrastive.train_contrastive(pairs, config=config, seed=0) for _ in range(2))
    np.testing.assert_array_equal(once.beta, again.beta)
    before = contrastive.train_contrastive(
        pairs, config=dataclasses.replace(config, epochs=1, lr=1e-9), seed=0
    )
    found = contrastive.figures_of(once, data)
    assert found["posterior_mrr"] > contrastive.figures_of(before, data)["posterior_mrr"] + 0.02
    np.testing.assert_allclose(once.theta("text", pairs.text).sum(axis=1), 1, rtol=1e-6)


def test_ablations_keep_each_row(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    settings = tuple(
        dataclasses.replace(s, n_topics=6)
        for s in (
            ablations.Setting("plain"),
            ablations.Setting("teacher with dropout on", dropout_teacher=True),
            ablations.Setting("half", share=0.5, max_words=40, mode="none"),
        )
    )
    rows = ablations.measure(data, settings)["rows"]
    assert [row["setting"] for row in rows] == ["plain", "teacher with dropout on", "half"]
    assert rows[0]["minus_plain"]["difference"] == 0
    assert rows[2]["n_words"] == 40 and rows[2]["n_train"] <= rows[0]["n_train"] / 2 + 1
    monkeypatch.setattr(ablations, "_measured", lambda *_: pytest.fail("a row was measured again"))
    assert ablations.measure(data, settings)["rows"] == rows


KEYS = {
    *("baseline_mrr", "text_teacher_mrr", "vtm_plus_posterior_mrr", "vtm_plus_top10_mrr", "fusion_mrr"),
    *("fusion_minus_baseline_mrr_ci", "npmi", "diversity", "keyword_hit_rate", "seeds", "commit", "date"),
    *("machine", "parameters"),
}


def test_the_stored_summary_says_where_it_comes_from() -> None:
    from vtm.files import read_sealed
    from vtm.study.report import stored

    path = Path(__file__).parents[1] / "results" / "study" / "summary.json"
    found = read_sealed(path)
    assert found.keys() >= KEYS and stored()["summary"] == found
    low, high = found["fusion_minus_baseline_mrr_ci"]
    assert low < high and len(found["seeds"]) >= 5
    for name in ("npmi", "diversity", "keyword_hit_rate"):
        assert found[name].keys() == {"text_teacher", "vtm_plus"}
    assert found["goals"]["fusion above the baseline"] == (low > 0)
