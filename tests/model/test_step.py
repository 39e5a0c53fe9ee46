"""The written-out step against automatic differentiation, torch's Adam and the reference package's own step."""

from __future__ import annotations

import pytest
import torch

from vtm.config import ModelConfig
from vtm.model.network import TopicNetwork, kl_divergence, reconstruction_loss
from vtm.model.steps import Batch, CompiledStep, Step

R, B, D, K, V, L = 3, 11, 9, 5, 23, 6

# The two forms of the step, and the seeds of the network that each takes.
FORMS = pytest.mark.parametrize("form, seeds", [(Step, (4, 0, 9)), (CompiledStep, (4,))])


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


def batch(seed=0, *, taught=False, dropout=0.3, replicas=R) -> Batch:
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
    return Batch(
        x=2 * normal(D),
        words=words,
        minus_counts=-counts,
        n_words=counts.sum(dim=2, keepdim=True),
        keep_hidden=keep(7),
        keep_theta=keep(K),
        noise=normal(K),
        target_mu=normal(K) if taught else None,
        target_log_var=normal(K) if taught else None,
    )


def losses(net: TopicNetwork, b: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Reconstruction and KL (R, B) by the module, as the text of the method has them."""
    mu, log_var = net.infer(b.x, keep=b.keep_hidden)
    theta = torch.softmax(mu + torch.exp(0.5 * log_var) * b.noise, dim=2) * b.keep_theta
    reconstruction = reconstruction_loss(net.log_word_distribution(theta), b.words, -b.minus_counts)
    target = (net.prior_mu, net.prior_log_var) if b.target_mu is None else (b.target_mu, b.target_log_var)
    return reconstruction, kl_divergence(mu, log_var, *target)


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
    reconstruction, kl = losses(theirs, b)
    (reconstruction + config.kl_weight * kl).sum().backward()

    step = form(ours, B)
    step.run(b)
    close = dict(rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(step.sums[0], reconstruction.detach(), **close)
    torch.testing.assert_close(step.sums[1], kl.detach(), **close)
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    assert expected.pop("head_bias").abs().max() < 1e-10  # batch norm takes it out: it need not be trained
    assert expected.keys() == step.parameters.gradients.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(step.parameters.gradients[name], gradient, **close, msg=name)
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
    step = form(ours, B)
    before = ours.beta.detach().clone()
    for seed in range(12):
        b = batch(seed, replicas=len(seeds))
        reconstruction, kl = losses(theirs, b)
        adam.zero_grad()
        (reconstruction + config.kl_weight * kl).sum().backward()
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
    step = Step(together, B)
    step.run(b)
    assert step.sums[0, 1].isnan().any()
    for index in (0, 2):
        one = Step(alone[index], B)
        part = {name: value if value is None else value[index : index + 1] for name, value in vars(b).items()}
        one.run(Batch(**part))
        torch.testing.assert_close(step.sums[:, index], one.sums[:, 0], rtol=1e-5, atol=1e-5)
        for name, value in alone[index].state_dict().items():
            got = together.state_dict()[name]
            got = got if name in ("shift", "scale") else got[index : index + 1]
            torch.testing.assert_close(got, value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("form", [Step, CompiledStep])
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
    monkeypatch.setattr(torch, "randn_like", lambda like: b.noise[0])
    counts = torch.zeros(B, V).scatter_add_(1, b.words[0], -b.minus_counts[0])
    prior_mean, prior_variance, mu, sigma, log_var, words, _ = model.model(counts, b.x[0])
    kl, reconstruction = model._loss(counts, words, prior_mean, prior_variance, mu, sigma, log_var)
    (kl + reconstruction).sum().backward()

    step = form(ours, B)
    step.run(b)
    close = dict(rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(step.sums[0, 0], reconstruction.detach(), **close)
    torch.testing.assert_close(step.sums[1, 0], kl.detach(), **close)
    net, inference = model.model, model.model.inf_net
    gradients = {
        "beta": net.beta.grad,
        "weights.0": inference.input_layer.weight.grad.T,
        "biases.0": inference.input_layer.bias.grad[None],
        "weights.1": inference.hiddens[0][0].weight.grad.T,
        "head_weight": torch.cat([inference.f_mu.weight.grad, inference.f_sigma.weight.grad]).T,
        "prior_mu": net.prior_mean.grad[None],
    }
    for name, gradient in gradients.items():
        torch.testing.assert_close(step.parameters.gradients[name][0], gradient, **close, msg=name)


@FORMS
def test_extreme_activations_stay_finite(form, seeds):
    config = ModelConfig(hidden=(8, 7))
    ours, theirs = network(config, seeds=seeds), network(config, seeds=seeds)
    b = batch(replicas=len(seeds))
    b.x.mul_(300)
    reconstruction, kl = losses(theirs, b)
    step = form(ours, B)
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
    moved = Batch(**{name: value if value is None else value.cuda() for name, value in vars(b).items()})
    cpu, cuda = Step(here, B), Step(there, B)
    cpu.run(b)
    cuda.run(moved)
    torch.testing.assert_close(cuda.sums.cpu(), cpu.sums, rtol=1e-4, atol=1e-4)
    for name, gradient in cpu.parameters.gradients.items():
        torch.testing.assert_close(
            cuda.parameters.gradients[name].cpu(), gradient, rtol=1e-3, atol=1e-4, msg=name
        )
