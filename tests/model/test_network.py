"""The topic network against the reference package (contextualized-topic-models) and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vtm.config import ModelConfig
from vtm.model.network import TopicNetwork, kl_divergence, reconstruction_loss, softplus
from vtm_study.reference import copy_weights

D, K, V, N = 24, 7, 53, 40

reference = pytest.importorskip(
    "contextualized_topic_models.models.ctm",
    reason="the reference package is not installed (extra 'reference')",
)


def reference_model(decoder: str, activation: str = "softplus", hidden: tuple[int, ...] = (100, 100)):
    torch.manual_seed(3)
    model = reference.ZeroShotTM(
        bow_size=V,
        contextual_size=D,
        n_components=K,
        model_type=decoder,
        activation=activation,
        hidden_sizes=hidden,
    )
    net = model.model
    with torch.no_grad():  # anything but the initial values, so that a forgotten term shows
        net.prior_mean.copy_(torch.randn(K))
        net.prior_variance.copy_(torch.rand(K) + 0.5)
        for norm in (net.beta_batchnorm, net.inf_net.f_mu_batchnorm, net.inf_net.f_sigma_batchnorm):
            norm.running_mean.copy_(torch.randn_like(norm.running_mean))
            norm.running_var.copy_(torch.rand_like(norm.running_var) + 0.5)
    return model


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.normal(size=(N, D)).astype("f")), torch.from_numpy(
        rng.poisson(0.3, size=(N, V)).astype("f")
    )


@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation, hidden", [("softplus", (100, 100)), ("relu", (16,))])
def test_posterior_words_and_losses_are_the_reference_packages(
    decoder, training, activation, hidden, monkeypatch
):
    model = reference_model(decoder, activation, hidden)
    ours = copy_weights(model)
    x, counts = batch()
    # Dropout off on both sides (its noise cannot be shared); batch norm in either mode.
    for module in model.model.modules():
        module.train(training and not isinstance(module, torch.nn.Dropout))
    ours.train(training)
    noise = torch.randn(N, K)
    monkeypatch.setattr(torch, "randn_like", lambda like: noise)

    prior_mean, prior_variance, mu, sigma, log_var, word_dist, _ = model.model(counts, x)
    kl, recon = model._loss(counts, word_dist, prior_mean, prior_variance, mu, sigma, log_var)

    our_mu, our_log_var = ours.infer(x.unsqueeze(0))
    theta = torch.softmax(our_mu + torch.exp(0.5 * our_log_var) * noise, dim=2)
    our_words = ours.log_word_distribution(theta)
    every_word = torch.arange(V).expand(1, N, V)
    close = dict(rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(our_mu[0], mu, **close)
    torch.testing.assert_close(our_log_var[0], log_var, **close)
    torch.testing.assert_close(our_words[0].exp(), word_dist, **close)
    torch.testing.assert_close(
        kl_divergence(our_mu, our_log_var, ours.prior_mu, ours.prior_log_var)[0], kl, **close
    )
    torch.testing.assert_close(
        reconstruction_loss(our_words, every_word, counts.unsqueeze(0))[0], recon, **close
    )
    if training:  # the running means and variances moved alike
        torch.testing.assert_close(ours.beta_mean[0], model.model.beta_batchnorm.running_mean, **close)
        torch.testing.assert_close(
            ours.head_var[0, :K], model.model.inf_net.f_mu_batchnorm.running_var, **close
        )


def test_initial_weights_are_drawn_as_in_the_reference_package():
    """Same distribution (not the same numbers): bounds and spread of every layer."""
    model, ours = (
        reference.ZeroShotTM(bow_size=V, contextual_size=D, n_components=K),
        TopicNetwork(n_inputs=D, n_topics=K, n_words=V, config=ModelConfig(hidden=(100, 100))),
    )
    theirs = [
        model.model.inf_net.input_layer.weight,
        model.model.inf_net.hiddens[0][0].weight,
        model.model.beta,
    ]
    for a, b in zip([ours.weights[0], ours.weights[1], ours.beta], theirs, strict=True):
        assert a.abs().max().item() == pytest.approx(b.abs().max().item(), rel=0.1)
        assert a.std().item() == pytest.approx(b.std().item(), rel=0.15)
    assert ours.prior_log_var.exp().detach().numpy()[0, 0] == pytest.approx(
        model.model.prior_variance.detach().numpy()
    )


def test_kl_divergence_is_torch_distributions():
    g = torch.Generator().manual_seed(0)
    mu, log_var, target_mu, target_log_var = torch.randn(4, 3, N, K, generator=g)
    from torch.distributions import Independent, Normal
    from torch.distributions import kl_divergence as oracle

    def normal(m, lv):
        return Independent(Normal(m, torch.exp(0.5 * lv)), 1)

    expected = oracle(normal(mu, log_var), normal(target_mu, target_log_var))
    torch.testing.assert_close(kl_divergence(mu, log_var, target_mu, target_log_var), expected)
    assert expected.shape == (3, N)  # one figure a document, not one a batch


def test_replicas_do_not_mix():
    """Each replica of a stack gives what it gives alone, in training mode too."""
    config = ModelConfig(hidden=(12, 9))
    stack = TopicNetwork(n_inputs=D, n_topics=K, n_words=V, config=config, seeds=(5, 0, 8))
    x, _ = batch()
    for index, seed in enumerate((5, 0, 8)):
        alone = TopicNetwork(n_inputs=D, n_topics=K, n_words=V, config=config, seeds=(seed,))
        for a, b in zip(stack.infer(x.unsqueeze(0)), alone.infer(x.unsqueeze(0)), strict=True):
            torch.testing.assert_close(a[index], b[0])
        theta = torch.softmax(stack.infer(x.unsqueeze(0))[0], dim=2)
        torch.testing.assert_close(
            stack.replica(index).log_word_distribution(theta[index : index + 1])[0],
            stack.log_word_distribution(theta)[index],
        )


def test_gradients_reach_every_trained_parameter_and_no_other():
    network = TopicNetwork(n_inputs=D, n_topics=K, n_words=V, seeds=(0, 1), learn_prior=False)
    x, counts = batch()
    mu, log_var = network.infer(x.unsqueeze(0))
    words = network.log_word_distribution(torch.softmax(mu, dim=2))
    every_word = torch.arange(V).expand(2, N, V)
    loss = reconstruction_loss(words, every_word, counts.expand(2, N, V)) + kl_divergence(
        mu, log_var, network.prior_mu, network.prior_log_var
    )
    loss.sum().backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert sorted(missing) == ["prior_log_var", "prior_mu"]


def test_softplus_is_torchs_at_any_size():
    x = torch.cat([torch.linspace(-120, 120, 4801), torch.tensor([-1e30, 1e30, float("nan")])])
    torch.testing.assert_close(
        softplus(x), torch.nn.functional.softplus(x), rtol=1e-6, atol=2e-7, equal_nan=True
    )
    assert softplus(torch.tensor([float("inf"), -float("inf")])).tolist() == [float("inf"), 0.0]
    x = x[:-3].double().requires_grad_()
    softplus(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.sigmoid(x.detach()), rtol=1e-6, atol=1e-9)
