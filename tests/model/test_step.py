"""Both steps against automatic differentiation of the loss, torch's Adam and the reference package's own step."""

from __future__ import annotations

import pkgutil
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from vtm.config import ModelConfig
from vtm.model.network import Batch, TopicNetwork, loss
from vtm.model.steps import AutogradStep, CompiledStep
from vtm.model.training import _losses

R, B, D, K, V, L = 3, 11, 9, 5, 23, 6

# The two ways to take a step, and the seeds of the network that each takes.
FORMS = pytest.mark.parametrize("form, seeds", [(AutogradStep, (4, 0, 9)), (CompiledStep, (4,))])


def made(form: type, net: TopicNetwork) -> AutogradStep | CompiledStep:
    draws = SimpleNamespace(batch=B)  # the steps are taken one by one here
    return AutogradStep(net, draws, partial(_losses, net)) if form is AutogradStep else form(net, draws)


def gradients(step: AutogradStep | CompiledStep) -> dict[str, torch.Tensor]:
    if isinstance(step, CompiledStep):
        return step.gradients
    return {name: p.grad for name, p in step.network.trained.items()}


@pytest.fixture
def double():
    """Double precision, in which a forgotten term cannot hide behind rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def network(config: ModelConfig, *, seeds=(4, 0, 9), learn_prior=True) -> TopicNetwork:
    made = TopicNetwork(
        n_inputs=D, n_topics=K, n_words=V, config=config, seeds=seeds, learn_prior=learn_prior
    )
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():  # anything but the initial values, so that a forgotten term shows
        for array in (made.prior_mu, made.prior_log_var, made.head_mean, made.beta_mean):
            array.copy_(torch.randn(array.shape, generator=g))
    return made.train()


def batch(seed=0, *, taught=False, dropout=0.3, replicas=R) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(replicas, B, *shape, generator=g)

    def keep(width):
        return (torch.rand(replicas, B, width, generator=g) >= dropout) / (1 - dropout)

    # Words in any order, each once in a document; filled up with word 0 at count 0, as `padded_words` does.
    words = torch.rand(replicas, B, V, generator=g).argsort(dim=2)[:, :, :L].contiguous()
    counts = torch.randint(1, 4, words.shape, generator=g).to(torch.get_default_dtype())
    words[:, ::2, 4:], counts[:, ::2, 4:] = 0, 0
    counts[:, 0] = 0  # a document without words
    arrays = dict(
        x=2 * normal(D),
        words=words,
        counts=counts,
        keep_hidden=keep(7),
        keep_theta=keep(K),
        noise=normal(K),
    )
    return arrays | (dict(target_mu=normal(K), target_log_var=normal(K)) if taught else {})


def test_what_the_methods_chapter_names_exists():
    text = (Path(__file__).parents[2] / "book" / "method.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(vtm\.[\w.]+)`", text))
    assert {"vtm.model.network.loss", "vtm.model.network.kl_divergence"} <= named
    assert all(pkgutil.resolve_name(name) for name in named)


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_the_loss_is_the_methods_formulas(double, decoder, taught):
    """In NumPy, replica by replica, on dense counts."""
    net = network(ModelConfig(decoder=decoder, hidden=(8, 7), kl_weight=0.7))
    b = batch(taught=taught)
    found = loss(net, Batch(**b))
    state = {name: array.numpy() for name, array in net.state_dict().items()}

    def normed(x):
        return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)

    for r in range(R):
        hidden = b["x"][r].numpy()
        for layer in (0, 1):
            hidden = np.log1p(np.exp(hidden @ state[f"weights.{layer}"][r] + state[f"biases.{layer}"][r]))
        head = normed(
            (hidden * b["keep_hidden"][r].numpy()) @ state["head_weight"][r] + state["head_bias"][r]
        )
        mu, log_var = head[:, :K], head[:, K:]
        theta = softmax(mu + np.exp(log_var / 2) * b["noise"][r].numpy()) * b["keep_theta"][r].numpy()
        beta = state["beta"][r]
        words = softmax(normed(theta @ beta)) if decoder == "prodLDA" else theta @ softmax(normed(beta))
        counts = np.array([np.bincount(w, n, V) for w, n in zip(b["words"][r], b["counts"][r], strict=True)])
        reconstruction = -(counts * np.log(words)).sum(axis=1)
        source = {"mu": b["target_mu"][r], "log_var": b["target_log_var"][r]} if taught else None
        source = source or {name: torch.from_numpy(state[f"prior_{name}"][r]) for name in ("mu", "log_var")}
        posterior, target = (
            Independent(Normal(torch.as_tensor(m), torch.exp(torch.as_tensor(lv) / 2)), 1)
            for m, lv in ((mu, log_var), (source["mu"], source["log_var"]))
        )
        kl = kl_divergence(posterior, target).numpy()
        for got, expected in zip(found, (reconstruction + 0.7 * kl, reconstruction, kl), strict=True):
            np.testing.assert_allclose(got[r].detach().numpy(), expected, rtol=1e-6, atol=1e-6)


@FORMS
@pytest.mark.parametrize("prior", ["learned", "fixed", "teacher"])
@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
@pytest.mark.parametrize(
    "activation, hidden", [("softplus", (8, 7)), ("relu", (7,)), ("softplus", (6, 5, 7))]
)
def test_losses_gradients_and_running_statistics_are_autograds(
    double, form, seeds, decoder, activation, hidden, prior
):
    config = ModelConfig(decoder=decoder, activation=activation, hidden=hidden, kl_weight=0.7)
    ours, theirs = (network(config, seeds=seeds, learn_prior=prior == "learned") for _ in range(2))
    b = batch(taught=prior == "teacher", replicas=len(seeds))
    total, reconstruction, kl = loss(theirs, Batch(**b))
    total.sum().backward()
    close = dict(rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(total, reconstruction + config.kl_weight * kl, **close)

    step = made(form, ours)
    step.run(b)
    torch.testing.assert_close(step.sums[0], reconstruction.detach(), **close)
    torch.testing.assert_close(step.sums[1], kl.detach(), **close)
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    assert expected.pop("head_bias").abs().max() < 1e-10  # batch norm takes it out: it need not be trained
    assert expected.keys() == gradients(step).keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients(step)[name], gradient, **close, msg=name)
    for name, value in theirs.named_buffers():
        torch.testing.assert_close(getattr(ours, name), value, **close, msg=name)


@FORMS
@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_several_steps_are_those_of_torchs_adam(double, form, seeds, decoder):
    config = ModelConfig(decoder=decoder, hidden=(8, 7), lr=1e-2, beta1=0.9, beta2=0.95)
    ours, theirs = network(config, seeds=seeds), network(config, seeds=seeds)
    adam = torch.optim.Adam(
        [p for name, p in theirs.named_parameters() if name != "head_bias"], lr=1e-2, betas=(0.9, 0.95)
    )
    step = made(form, ours)
    before = ours.beta.detach().clone()
    for seed in range(12):
        b = batch(seed, replicas=len(seeds))
        adam.zero_grad()
        loss(theirs, Batch(**b))[0].sum().backward()
        adam.step()
        step.run(b)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-6, atol=1e-6, msg=name)
    assert (ours.beta - before).abs().mean() > 0.01


@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_replicas_of_one_step_do_not_mix(decoder):
    """Side by side, as on CUDA: each replica takes the step that it takes alone, whatever becomes of another."""
    config = ModelConfig(decoder=decoder, hidden=(8, 7))
    together, b = network(config), batch()
    alone = [together.replica(index) for index in range(R)]
    together.beta.data[1, 0, 0] = float("nan")
    step = made(AutogradStep, together)
    step.run(b)
    assert step.sums[0, 1].isnan().any()
    for index in (0, 2):
        one = made(AutogradStep, alone[index])
        one.run({name: value[index : index + 1] for name, value in b.items()})
        torch.testing.assert_close(step.sums[:, index], one.sums[:, 0], rtol=1e-5, atol=1e-5)
        for name, value in alone[index].state_dict().items():
            got = together.state_dict()[name]
            got = got if name in ("shift", "scale") else got[index : index + 1]
            torch.testing.assert_close(got, value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("form", [AutogradStep, CompiledStep])
@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_a_steps_gradients_are_the_reference_packages(double, form, decoder, monkeypatch):
    """Gradients of the package's loss by autograd; its logarithm has an offset of 1e-10."""
    package = pytest.importorskip(
        "contextualized_topic_models.models.ctm",
        reason="the reference package is not installed (extra 'reference')",
    )
    from vtm_study.reference import copy_weights

    torch.manual_seed(3)
    model = package.ZeroShotTM(
        bow_size=V, contextual_size=D, n_components=K, model_type=decoder, hidden_sizes=(8, 7)
    )
    config = ModelConfig(decoder=decoder, hidden=(8, 7), kl_weight=1.0)
    ours, b = copy_weights(model, config=config).train(), batch(dropout=0.0, replicas=1)
    for module in model.model.modules():
        module.train(not isinstance(module, torch.nn.Dropout))
    monkeypatch.setattr(torch, "randn_like", lambda like: b["noise"][0])
    counts = torch.zeros(B, V).scatter_add_(1, b["words"][0], b["counts"][0])
    prior_mean, prior_variance, mu, sigma, log_var, words, _ = model.model(counts, b["x"][0])
    kl, reconstruction = model._loss(counts, words, prior_mean, prior_variance, mu, sigma, log_var)
    (kl + reconstruction).sum().backward()

    step = made(form, ours)
    step.run(b)
    close = dict(rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(step.sums[0, 0], reconstruction.detach(), **close)
    torch.testing.assert_close(step.sums[1, 0], kl.detach(), **close)
    net, inference = model.model, model.model.inf_net
    expected = {
        "beta": net.beta.grad,
        "weights.0": inference.input_layer.weight.grad.T,
        "biases.0": inference.input_layer.bias.grad[None],
        "weights.1": inference.hiddens[0][0].weight.grad.T,
        "head_weight": torch.cat([inference.f_mu.weight.grad, inference.f_sigma.weight.grad]).T,
        "prior_mu": net.prior_mean.grad[None],
    }
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients(step)[name][0], gradient, **close, msg=name)


@FORMS
def test_extreme_activations_stay_finite(form, seeds):
    config = ModelConfig(hidden=(8, 7))
    ours, theirs = network(config, seeds=seeds), network(config, seeds=seeds)
    b = batch(replicas=len(seeds))
    b["x"].mul_(300)
    _, reconstruction, kl = loss(theirs, Batch(**b))
    step = made(form, ours)
    step.run(b)
    assert step.sums.isfinite().all() and all(p.isfinite().all() for p in ours.parameters())
    torch.testing.assert_close(step.sums[0], reconstruction.detach(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(step.sums[1], kl.detach(), rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_a_step_on_cuda_is_the_step_on_the_cpu(decoder):
    config = ModelConfig(decoder=decoder, hidden=(8, 7))
    here, there, b = network(config), network(config).cuda(), batch()
    cpu, cuda = made(AutogradStep, here), made(AutogradStep, there)
    cpu.run(b)
    cuda.run({name: value.cuda() for name, value in b.items()})
    torch.testing.assert_close(cuda.sums.cpu(), cpu.sums, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients(cpu).items():
        torch.testing.assert_close(gradients(cuda)[name].cpu(), gradient, rtol=1e-3, atol=1e-4, msg=name)
