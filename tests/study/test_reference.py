"""The reference package's trainer, read by our code; and what counts as agreement with it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from planted import planted

from vtm.config import ModelConfig
from vtm.errors import DataError, MissingError
from vtm_study import reference
from vtm_study.reference import (
    FIGURES,
    OURS,
    THEIRS,
    agree,
    compare,
    copy_weights,
    fit_ours,
    fit_reference,
    fit_zeroshot,
)

DATA = planted(120)
SMALL = ModelConfig(hidden=(20, 15), epochs=3, batch_size=32, kl_weight=0.5, standardize=False)


@pytest.fixture(autouse=True)
def installed():
    pytest.importorskip(
        "contextualized_topic_models.models.ctm",
        reason="the reference package is not installed (extra 'reference')",
    )


def zeroshot(x=DATA.text, **changes):
    config = ModelConfig(**{**SMALL.__dict__, **changes})
    return fit_zeroshot(x, DATA.counts, DATA.vocabulary, n_topics=5, config=config, seed=2), config


def reference_posterior(model, x):
    model.model.eval()
    with torch.no_grad():
        mu, log_var = model.model.get_posterior(None, torch.from_numpy(x))
    return mu.numpy(), log_var.numpy()


@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_the_converted_model_is_the_packages(decoder):
    model, config = zeroshot(decoder=decoder)
    ours = fit_reference(DATA.text, DATA.counts, DATA.vocabulary, n_topics=5, config=config, seed=2)
    for got, expected in zip(ours.posterior(DATA.text), reference_posterior(model, DATA.text), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert ours.network.config == config and not ours.network.training
    if decoder == "prodLDA":
        assert ours.topics(6) == model.get_topic_lists(6)
    else:  # the package's own lists read beta before its batch norm; its decoder mixes it after
        with torch.no_grad():
            model.model(torch.zeros(2, 40), torch.from_numpy(DATA.text[:2]))
        np.testing.assert_allclose(ours.topic_word(), model.get_topic_word_matrix(), rtol=1e-4, atol=1e-6)


def test_standardised_embeddings_go_in_and_raw_ones_are_read():
    config = ModelConfig(**{**SMALL.__dict__, "standardize": True})
    raw = (DATA.text * 30 + 5).astype(np.float32)
    ours = fit_reference(raw, DATA.counts, DATA.vocabulary, n_topics=5, config=config, seed=2)
    scaled = (raw - raw.mean(axis=0)) / (raw.std(axis=0) + 1e-6)
    model, _ = zeroshot(scaled)
    np.testing.assert_allclose(
        ours.posterior(raw)[0], reference_posterior(model, scaled)[0], rtol=1e-3, atol=1e-3
    )


def test_our_settings_reach_the_package():
    model, _ = zeroshot(dropout=0.1, lr=0.01, beta1=0.8, beta2=0.95, batch_size=999)
    group = model.optimizer.param_groups[0]
    assert group["betas"] == (0.8, 0.95) and group["lr"] == 0.01
    assert model.model.inf_net.dropout_enc.p == model.model.drop_theta.p == 0.1
    assert model.weights == {"beta": 0.5} and model.batch_size == 120 and model.num_epochs == 3


def test_a_fit_is_seeded_silent_and_leaves_the_global_random_state(capfd):
    np.random.seed(1)
    torch.manual_seed(1)
    expected = np.random.rand(), torch.rand(1).item()
    np.random.seed(1)
    torch.manual_seed(1)
    first, _ = zeroshot()
    assert (np.random.rand(), torch.rand(1).item()) == expected
    second, _ = zeroshot()
    assert torch.equal(first.model.beta, second.model.beta)
    other = fit_zeroshot(DATA.text, DATA.counts, DATA.vocabulary, n_topics=5, config=SMALL, seed=3)
    assert not torch.equal(first.model.beta, other.model.beta)
    assert capfd.readouterr() == ("", "")


def test_both_start_and_learn_alike():
    """One small training each way: the training documents are explained about equally well."""
    config = ModelConfig(hidden=(20,), epochs=25, batch_size=30, kl_weight=1.0, standardize=False)
    rows = compare(DATA.pairs, planted(60).pairs, DATA.vocabulary, n_topics=6, config=config, seeds=(0, 1, 2))
    assert [(row["trainer"], row["seed"]) for row in rows] == [
        (t, s) for t in (OURS, THEIRS) for s in (0, 1, 2)
    ]
    for row in rows:
        assert row.keys() == {"trainer", "seed", *FIGURES, "seconds"}
        assert -1 <= row["npmi"] <= 1 and 0 < row["diversity"] <= 1 and 0 < row["mrr_100"] <= 1
        assert row["seconds"] > 0
    result = agree(rows)
    assert abs(result["reconstruction"]["difference"]) < 0.03 * result["reconstruction"]["reference"]


def test_fit_ours_is_the_experiments_text_teacher():
    from vtm.model.distill import train_pair

    teacher = train_pair(
        "text-teacher", DATA.pairs, DATA.vocabulary, n_topics=5, config=SMALL, seeds=(4,), device="cpu"
    )[4].text
    again = fit_ours(DATA.text, DATA.counts, DATA.vocabulary, n_topics=5, config=SMALL, seed=4)
    np.testing.assert_allclose(again.theta(DATA.text), teacher.theta(DATA.text), atol=1e-5)


def test_a_diverged_teacher_gives_no_figures(monkeypatch):
    def broken(*arguments, seed, **options):
        model = fit_ours(*arguments, seed=seed, **options)
        if seed == 1:
            model.network.beta.data[:] = float("nan")
            model.network.head_bias.data[:] = float("nan")
        return model

    monkeypatch.setattr(reference, "fit_reference", broken)
    rows = compare(DATA.pairs, DATA.pairs, DATA.vocabulary, n_topics=5, config=SMALL, seeds=(0, 1, 2))
    for row in rows:
        failed = (row["trainer"], row["seed"]) == (THEIRS, 1)
        assert all(np.isnan(row[figure]) == failed for figure in FIGURES)
    assert agree(rows)["npmi"]["diverged"] == 1


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "contextualized_topic_models.models.ctm", None)
    with pytest.raises(MissingError, match=r"pip install -e '\.\[reference\]'"):
        zeroshot()


def rows_of(ours, theirs):
    return [
        {"trainer": trainer, "seed": seed, **dict.fromkeys(FIGURES, value)}
        for trainer, values in ((OURS, ours), (THEIRS, theirs))
        for seed, value in enumerate(values)
    ]


def test_agreement_is_welchs_test():
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(0)
    for shift in (0.0, 0.5, 2.0, 5.0):
        ours, theirs = rng.normal(shift, 1, size=3), rng.normal(0, 0.3, size=4)
        result = agree(rows_of(ours, theirs))["npmi"]
        oracle = ttest_ind(ours, theirs, equal_var=False)
        interval = oracle.confidence_interval(0.95)
        assert (result["low"], result["high"]) == pytest.approx((interval.low, interval.high))
        assert result["within"] == (oracle.pvalue >= 0.05)
        assert result["difference"] == pytest.approx(ours.mean() - theirs.mean())
        assert result["vtm_sd"] == pytest.approx(ours.std(ddof=1))


def test_agreement_at_the_edges():
    assert agree(rows_of([1, 1], [1, 1]))["npmi"]["within"] is True
    assert agree(rows_of([1, 1], [2, 2]))["npmi"]["within"] is False
    with_nan = agree(rows_of([1, np.nan, 2], [1, 2]))["mrr_100"]
    assert with_nan["diverged"] == 1 and with_nan["vtm"] == 1.5
    with pytest.raises(DataError, match="npmi of vtm: 1 finite value"):
        agree(rows_of([1], [1, 2]))


def test_copied_weights_are_copies():
    model, _ = zeroshot()
    before = model.model.beta.detach().clone()
    copy_weights(model).beta.data += 1
    assert torch.equal(model.model.beta, before)
