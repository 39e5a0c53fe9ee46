"""The trainer: reproducible, replica by replica, and it finds topics that were planted."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from planted import padded_words, planted
from scipy.sparse import csr_matrix, vstack

from vtm.config import ModelConfig
from vtm.errors import ConfigError, DataError
from vtm.model import steps, topicmodel, training
from vtm.model.network import Batch, Posterior, TopicNetwork, loss, reconstruction_loss
from vtm.model.steps import AutogradStep, Bags, Draws
from vtm.model.topicmodel import check_embeddings
from vtm.model.training import (
    as_tensor,
    held_out_reconstruction,
    infer_posterior,
    input_scaling,
    resolve_device,
    train,
)

DATA = planted(150)
SMALL = ModelConfig(hidden=(20, 15), epochs=3, batch_size=32, kl_weight=1.0, standardize=False)


def fit(seeds=(0,), *, config=SMALL, data=DATA, n_topics=4, **options):
    return train(
        data.text, data.counts, n_topics=n_topics, config=config, seeds=seeds, device="cpu", **options
    )


def state(network, replica=None):
    network = network if replica is None else network.replica(replica)
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}


def test_the_same_seeds_give_the_same_arrays():
    torch.manual_seed(1)
    first, first_history = fit((3, 0))
    torch.manual_seed(2)  # the global state plays no part
    second, second_history = fit((3, 0))
    for name, value in state(first).items():
        np.testing.assert_array_equal(value, state(second)[name], err_msg=name)
    np.testing.assert_array_equal(first_history.reconstruction, second_history.reconstruction)
    np.testing.assert_array_equal(first_history.kl, second_history.kl)


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    fit()
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_seeds_differ_and_zero_is_one():
    network, _ = fit((0, 1, 2))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(state(network, a)["beta"] - state(network, b)["beta"]).max() > 0.05


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_a_seed_gives_the_same_numbers_alone_and_on_any_number_of_threads(decoder, threads):
    """To the bit: on the CPU each replica is trained for itself."""
    config = ModelConfig(hidden=(20, 15), epochs=3, batch_size=32, decoder=decoder)
    held_out = (DATA.text[:20], DATA.counts[:20])
    threads(3)
    stack, together = fit((5, 0, 8), config=config, validation=held_out)
    threads(1)
    for index, seed in enumerate((5, 0, 8)):
        alone, history = fit((seed,), config=config, validation=held_out)
        assert together.of(index) == history.of(0)
        for name, value in state(alone).items():
            np.testing.assert_array_equal(state(stack, index)[name], value, err_msg=name)


def plain_loop(seed, config, *, target=None, n_topics=4):
    """The training as a text book has it: the module, autograd, torch's Adam, the same draws."""
    network = TopicNetwork(
        n_inputs=16, n_topics=n_topics, n_words=40, config=config, seeds=(seed,), learn_prior=target is None
    ).train()
    for buffer, value in zip((network.shift, network.scale), input_scaling(DATA.text, config), strict=True):
        buffer.copy_(torch.from_numpy(value))
    lesson = None if target is None else tuple(torch.from_numpy(a) for a in (target.mu, target.log_var))
    bags = Bags.of(DATA.counts)
    source = Draws(network, torch.from_numpy(DATA.text), bags, seeds=(seed,), target=lesson)
    trained = [p for p in network.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, lr=config.lr, betas=(config.beta1, config.beta2))
    curves = np.zeros((2, config.epochs))
    for epoch in range(config.epochs):
        for n_steps in source.epoch():
            for b in (source.step(index) for index in range(n_steps)):
                total, reconstruction, kl = loss(network, Batch(**b))
                adam.zero_grad()
                total.sum().backward()
                adam.step()
                curves[:, epoch] += reconstruction.sum().item(), kl.sum().item()
    return network, curves / source.documents_an_epoch


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_training_is_the_plain_loop(decoder, taught):
    config = ModelConfig(hidden=(20, 15), epochs=3, batch_size=32, decoder=decoder, kl_weight=0.5)
    rng = np.random.default_rng(0)
    target = Posterior(*rng.normal(size=(2, 1, 150, 4)).astype(np.float32)) if taught else None
    network, history = fit((6,), config=config, target=target)
    expected, curves = plain_loop(6, config, target=target)
    np.testing.assert_allclose(history.reconstruction[0], curves[0], rtol=1e-4)
    np.testing.assert_allclose(history.kl[0], curves[1], rtol=1e-3)
    for name, value in expected.state_dict().items():
        # Where the gradient is 0 but for rounding, Adam walks at random: the bias that batch norm takes out (and
        # the mean that does so), and the prior's mean, as normed mu have mean 0.
        if name not in ("head_bias", "head_mean", "prior_mu", "shift", "scale"):
            np.testing.assert_allclose(
                state(network)[name], value.numpy(), rtol=1e-2, atol=2e-3, err_msg=name
            )


@pytest.mark.parametrize("mode", ["learned prior", "fixed prior", "target"])
@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_all_replicas_in_one_step_give_what_each_gives(decoder, mode, monkeypatch):
    """CUDA's way through the training, on the CPU."""
    rng = np.random.default_rng(0)
    n = {"fixed prior": 1, "target": 150}.get(mode)
    lesson = {} if n is None else {mode.split()[-1]: Posterior(*rng.normal(size=(2, 2, n, 4)).astype("f"))}
    config = ModelConfig(hidden=(20, 15), epochs=3, batch_size=32, decoder=decoder)
    options = dict(config=config, validation=(DATA.text[:20], DATA.counts[:20]), **lesson)
    apart, apart_history = fit((5, 0), **options)
    monkeypatch.setattr(training, "_together", lambda device: True)
    together, together_history = fit((5, 0), **options)
    for name, value in vars(apart_history).items():
        np.testing.assert_allclose(getattr(together_history, name), value, rtol=1e-3, err_msg=name)
    for name, value in state(apart).items():
        # Batch norm takes the mean out of mu: near 0 the prior's mean has gradients of rounding alone, which differ
        # from processor to processor, and Adam makes whole steps of them.
        atol = 4 * config.lr if name == "prior_mu" else 2e-3
        np.testing.assert_allclose(state(together)[name], value, rtol=1e-2, atol=atol, err_msg=name)


@pytest.mark.parametrize("decoder, kl_weight", [("prodLDA", 1.0), ("LDA", 0.1)])
def test_planted_topics_are_found(decoder, kl_weight):
    data = planted(400, seed=1)
    config = ModelConfig(epochs=60, decoder=decoder, kl_weight=kl_weight, standardize=False)
    # More topics than planted: with as many as planted, one in three runs merges two of them.
    network, history = train(data.text, data.counts, n_topics=8, config=config, seeds=(0, 1, 2), device="cpu")
    posterior = infer_posterior(network, data.text)
    beta = network.topic_word_distribution().detach().numpy()
    blocks = [set(block) for block in np.array_split(np.arange(40), 4)]
    for replica in range(3):
        assert history.reconstruction[replica, -1] < history.reconstruction[replica, 0] - 8
        table = np.zeros((8, 4))
        np.add.at(table, (posterior.mu[replica].argmax(axis=1), data.theta.argmax(axis=1)), 1)
        assert table.max(axis=1).sum() / 400 > 0.9  # documents of one found topic are of one planted topic
        for planted_topic, block in enumerate(blocks):
            found = table[:, planted_topic].argmax()
            assert len(block & set(np.argsort(-beta[replica, found])[:6])) >= 5


def test_history_has_one_value_an_epoch_and_seed_in_nats_a_document():
    held_out = (DATA.text[:20], DATA.counts[:20])
    _, history = fit((0, 1), validation=held_out)
    for curve in (history.reconstruction, history.kl, history.validation_reconstruction):
        assert curve.shape == (2, 3) and np.isfinite(curve).all()
    # A text has 25 words of 40: an untrained model pays about 25 log 40 nats.
    assert history.reconstruction[:, 0] == pytest.approx(25 * np.log(40), rel=0.3)
    assert (history.kl > 0).all()
    assert history.of(1)["kl"] == history.kl[1].tolist()
    _, without = fit((0, 1))
    assert np.isnan(without.validation_reconstruction).all()


def test_watching_validation_does_not_change_the_model():
    plain, _ = fit((0,))
    watched, _ = fit((0,), validation=(DATA.text[:20] * 3, DATA.counts[:20]))
    for name, value in state(plain).items():
        np.testing.assert_array_equal(value, state(watched)[name], err_msg=name)


def test_held_out_reconstruction_is_the_plain_formula():
    network, history = fit((0, 1), validation=(DATA.text[:20], DATA.counts[:20]))
    got = held_out_reconstruction(network, DATA.text[:20], DATA.counts[:20])
    for replica in (0, 1):
        s = state(network, replica)
        mu = infer_posterior(network, DATA.text[:20]).mu[replica].astype(np.float64)
        theta = np.exp(mu) / np.exp(mu).sum(axis=1, keepdims=True)
        logits = (theta @ s["beta"][0] - s["beta_mean"][0]) / np.sqrt(s["beta_var"][0] + 1e-5)
        log_words = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected = -(DATA.counts[:20].toarray() * log_words).sum(axis=1)
        np.testing.assert_allclose(got[replica].numpy(), expected, rtol=1e-4)
        assert history.validation_reconstruction[replica, -1] == pytest.approx(expected.mean(), rel=1e-4)


def test_held_out_documents_are_taken_some_at_a_time(monkeypatch):
    """As in one piece: to the bit where they are one, and but for rounding in pieces."""
    held_out = (DATA.text, DATA.counts)
    network, history = fit((0, 1), validation=held_out)
    words, numbers = (torch.from_numpy(a) for a in padded_words(DATA.counts))
    for index in (0, 1):
        one = network.replica(index)
        with torch.no_grad():
            mu, _ = one.infer(torch.from_numpy(DATA.text)[None])
            log_words = one.log_word_distribution(torch.softmax(mu, dim=2))
            whole = reconstruction_loss(log_words, words[None], numbers[None])
        assert history.validation_reconstruction[index, -1] == whole.mean(dim=1).item()
    options = (network, DATA.text, DATA.counts)
    expected = held_out_reconstruction(*options)
    dense = []
    distribution = TopicNetwork.log_word_distribution

    def watched(self, theta):
        dense.append(theta.shape[0] * theta.shape[1])
        return distribution(self, theta)

    monkeypatch.setattr(TopicNetwork, "log_word_distribution", watched)
    monkeypatch.setattr(training, "HELD_OUT_ROWS", 14)
    torch.testing.assert_close(held_out_reconstruction(*options), expected, rtol=1e-5, atol=1e-4)
    _, pieces = fit((0, 1), validation=held_out)
    np.testing.assert_allclose(pieces.validation_reconstruction, history.validation_reconstruction, rtol=1e-5)
    assert max(dense) == 14 and sum(dense) == 2 * 150 * (1 + SMALL.epochs)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_the_width_of_a_batch_does_not_move_the_model(decoder, together, monkeypatch):
    """One long document: to the bit the model of batches that are all as wide as it."""
    monkeypatch.setattr(training, "_together", lambda device: together)
    words = np.zeros((150, 300), dtype=np.float32)
    words[:, :40] = DATA.counts.toarray()
    words[77] = 1
    assert Bags.of(csr_matrix(words)).room < 300
    config = ModelConfig(hidden=(20, 15), epochs=3, batch_size=4, decoder=decoder)

    def both():
        return train(DATA.text, csr_matrix(words), n_topics=4, config=config, seeds=(3, 0), device="cpu")

    narrow, history = both()
    monkeypatch.setattr(steps, "ROOM", 1000)  # one width
    wide, wide_history = both()
    for name, value in state(wide).items():
        np.testing.assert_array_equal(state(narrow)[name], value, err_msg=name)
    np.testing.assert_array_equal(history.kl, wide_history.kl)
    np.testing.assert_allclose(history.reconstruction, wide_history.reconstruction, rtol=1e-5)


def peaks_of(code: str) -> list[float]:
    """Peak memory, in MiB, that a process of its own says."""
    code = f"""
import numpy as np
from scipy.sparse import csr_matrix, vstack
from vtm.config import ModelConfig
from vtm_study.machine import peak_memory
from vtm.model.training import train

def documents(n):
    rng = np.random.default_rng(0)
    words = rng.integers(0, 5000, 8 * n), np.repeat(np.arange(n), 8)
    counts = csr_matrix((np.ones(8 * n, dtype=np.float32), words[::-1]), shape=(n, 5000))
    return rng.normal(size=(n, 4)).astype(np.float32), counts

def fit(x, counts, **options):
    config = ModelConfig(epochs=1, hidden=(5,), decoder="LDA")
    train(x, counts, n_topics=3, config=config, device="cpu", **options)
    print(peak_memory())
{code}"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def test_one_long_document_does_not_multiply_the_memory():
    """A rectangle of all documents would take 12 bytes a cell: 460 MiB more."""
    without, with_it = peaks_of("""
x, counts = documents(20_000)
fit(x, counts)
long = csr_matrix((np.arange(5000) < 2000).astype(np.float32))
fit(x, vstack([counts[1:], long]).tocsr())
""")
    assert with_it - without < 150


def test_watching_validation_takes_bounded_memory():
    """Word distributions of all held-out documents would take 305 MiB, a few times over."""
    without, with_it = peaks_of("""
x, counts = documents(16_000)
fit(x[:500], counts[:500])
fit(x[:500], counts[:500], validation=(x, counts))
""")
    assert with_it - without < 330


def test_the_trained_network_is_in_evaluation_mode():
    network, _ = fit()
    assert not network.training
    one, many = infer_posterior(network, DATA.text[:1]), infer_posterior(network, DATA.text)
    np.testing.assert_allclose(one.mu[0, 0], many.mu[0, 0], rtol=1e-4, atol=1e-5)


def test_posteriors_do_not_depend_on_the_block():
    network, _ = fit((0, 1))
    whole, parts = infer_posterior(network, DATA.text), infer_posterior(network, DATA.text, block=7)
    np.testing.assert_allclose(whole.mu, parts.mu, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole.log_var, parts.log_var, rtol=1e-4, atol=1e-5)
    assert infer_posterior(network, DATA.text[:0]).mu.shape == (2, 0, 4)


def test_fewer_documents_than_a_batch_are_one_batch():
    few = planted(7)
    network, history = fit(data=few, config=ModelConfig(hidden=(8,), epochs=4))
    assert np.isfinite(history.reconstruction).all()
    assert not np.allclose(state(network)["beta_mean"], 0)  # it did take steps


def test_documents_without_words_train_and_cost_nothing():
    words = DATA.counts.toarray()
    words[::3] = 0
    _, history = train(DATA.text, csr_matrix(words), n_topics=4, config=SMALL, device="cpu")
    assert np.isfinite(history.reconstruction).all()
    _, silent = train(
        DATA.text, csr_matrix(words.shape, dtype=np.float32), n_topics=4, config=SMALL, device="cpu"
    )
    assert (silent.reconstruction == 0).all() and np.isfinite(silent.kl).all()


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
@pytest.mark.parametrize("name", ["beta", "weights.0", "head_weight"])
def test_a_diverged_replica_leaves_the_others_alone(name, decoder, together, monkeypatch):
    monkeypatch.setattr(training, "_together", lambda device: together)
    config = ModelConfig(hidden=(20, 15), epochs=3, batch_size=32, decoder=decoder)
    sound, sound_history = fit((0, 1, 2), config=config)
    draw = TopicNetwork.__init__

    def poisoned(self, **options):
        draw(self, **options)
        if self.n_replicas == 3:
            self.get_parameter(name).data[1, 0, 0] = float("nan")

    monkeypatch.setattr(TopicNetwork, "__init__", poisoned)
    broken, broken_history = fit((0, 1, 2), config=config)
    assert np.isnan(broken_history.reconstruction[1]).all() and np.isnan(broken_history.kl[1]).all()
    for replica in (0, 2):
        np.testing.assert_array_equal(
            broken_history.reconstruction[replica], sound_history.reconstruction[replica]
        )
        for key, value in state(sound, replica).items():
            np.testing.assert_array_equal(state(broken, replica)[key], value, err_msg=key)


def test_a_learning_rate_that_is_too_large_shows_in_the_curves():
    _, history = fit((0,), config=ModelConfig(hidden=(8,), epochs=5, lr=1e30))
    assert not np.isfinite(history.reconstruction[0, -1]) or history.reconstruction[0, -1] > 1e3


def test_standardised_inputs_do_not_care_for_scale_and_origin():
    config = ModelConfig(hidden=(20,), epochs=3, standardize=True)
    plain, _ = fit(config=config)
    moved = (DATA.text * 50 + 7).astype(np.float32)
    other, _ = train(moved, DATA.counts, n_topics=4, config=config, device="cpu")
    np.testing.assert_allclose(plain.shift, DATA.text.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        infer_posterior(plain, DATA.text).mu, infer_posterior(other, moved).mu, rtol=1e-2, atol=1e-2
    )


def test_a_fixed_prior_stays_and_pulls():
    mu, log_var = np.full((1, 1, 4), 1.5, dtype=np.float32), np.full((1, 1, 4), -1.0, dtype=np.float32)
    network, _ = fit(prior=Posterior(mu, log_var))
    np.testing.assert_array_equal(state(network)["prior_mu"], mu)
    np.testing.assert_array_equal(state(network)["prior_log_var"], log_var)
    learned, _ = fit()
    assert np.abs(state(learned)["prior_mu"]).max() > 0


def bad(row, value):
    x = DATA.text.copy()
    x[row, 2] = value
    return x


def posterior_of(*shape):
    return Posterior(np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(x=bad(5, np.nan)), "1 of 150 embeddings hold NaN or infinity, the first in row 5"),
        (dict(x=bad(0, np.inf)), "the first in row 0"),
        (dict(x=DATA.text[:-1]), "149 embeddings but 150 bags of words"),
        (dict(x=DATA.text[0]), r"shape \(16,\)"),
        (dict(x=DATA.text[:1], counts=DATA.counts[:1]), "at least 2 are needed"),
        (dict(target=posterior_of(1, 149, 4)), r"\(1, 149, 4\).*\(1, 150, 4\)"),
        (dict(target=posterior_of(1, 150, 5)), r"\(1, 150, 5\)"),
        (dict(target=posterior_of(2, 150, 4)), r"\(2, 150, 4\)"),
        (dict(prior=posterior_of(1, 1, 5)), r"prior has shape \(1, 1, 5\)"),
        (dict(validation=(DATA.text[:5, :3], DATA.counts[:5])), "3 dimensions, the model was trained on 16"),
        (dict(validation=(DATA.text[:5], DATA.counts[:4])), "validation has 5 embeddings"),
        (dict(validation=(DATA.text[:5], DATA.counts[:5, :9])), "validation has 5 embeddings"),
    ],
)
def test_data_that_do_not_fit_are_named(options, message):
    arguments = dict(x=DATA.text, counts=DATA.counts, n_topics=4, config=SMALL, device="cpu") | options
    with pytest.raises(DataError, match=message):
        train(arguments.pop("x"), arguments.pop("counts"), **arguments)


def test_arguments_that_contradict_are_refused():
    with pytest.raises(ConfigError, match="target and prior"):
        fit(target=posterior_of(1, 150, 4), prior=posterior_of(1, 1, 4))
    with pytest.raises(ConfigError, match="at least one"):
        fit(())
    with pytest.raises(DataError, match="3 dimensions, the model was trained on 16"):
        infer_posterior(fit()[0], DATA.text[:, :3])


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match="device='gpu'"):
        resolve_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device"):
            resolve_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_a_replayed_graph_is_the_steps_one_by_one(decoder, monkeypatch):
    """Training on CUDA with and without capture; and it learns there what it learns on the CPU."""
    data = planted(400, seed=1)
    config = ModelConfig(hidden=(20, 15), epochs=20, batch_size=16, decoder=decoder)  # 25 steps: two graphs

    def on_cuda(capture):
        monkeypatch.setattr(training, "AutogradStep", partial(AutogradStep, capture=capture))
        return train(data.text, data.counts, n_topics=4, seeds=(0, 1), config=config, device="cuda")

    (captured, history), (plain, plain_history) = on_cuda(True), on_cuda(False)
    assert captured.beta.is_cuda and (history.reconstruction[:, -1] < history.reconstruction[:, 0]).all()
    np.testing.assert_allclose(history.reconstruction, plain_history.reconstruction, rtol=1e-3)
    np.testing.assert_allclose(history.kl, plain_history.kl, rtol=1e-2)
    np.testing.assert_allclose(captured.beta.detach().cpu(), plain.beta.detach().cpu(), rtol=1e-2, atol=1e-2)
    assert infer_posterior(captured, data.text).mu.shape == (2, 400, 4)
    _, here = train(data.text, data.counts, n_topics=4, seeds=(0, 1), config=config, device="cpu")
    np.testing.assert_allclose(history.reconstruction[:, -1], here.reconstruction[:, -1], rtol=0.05)


def test_one_document_more_does_not_stop_training():
    """A last batch of one document, on which batch norm would fail, is left out."""
    counts = vstack([DATA.counts[:64], DATA.counts[:1]]).tocsr()
    x = np.concatenate([DATA.text[:64], DATA.text[:1]])
    _, history = train(x, counts, n_topics=4, config=ModelConfig(hidden=(8,), epochs=2), device="cpu")
    assert np.isfinite(history.reconstruction).all()


def test_a_mapped_file_trains_as_the_array_does_and_is_read_in_blocks(tmp_path, monkeypatch):
    """With blocks of few rows the checks and the scaling see each row, and training never holds a copy of x."""
    for module in (topicmodel, training):
        monkeypatch.setattr(module, "BLOCK", 7)
    x, counts = DATA.text[:60].copy(), DATA.counts[:60]
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert as_tensor(mapped).data_ptr() == mapped.ctypes.data, "no copy"
    shift, scale = input_scaling(mapped, ModelConfig())
    np.testing.assert_allclose(shift, x.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scale, x.std(axis=0) + 1e-6, rtol=1e-5)
    config = ModelConfig(hidden=(6,), epochs=3, batch_size=16)
    one, _ = train(mapped, counts, n_topics=3, config=config, device="cpu")
    other, _ = train(x, counts, n_topics=3, config=config, device="cpu")
    torch.testing.assert_close(one.beta, other.beta, rtol=0, atol=0)
    x[40, 2] = np.nan
    with pytest.raises(DataError, match="1 of 60 embeddings hold NaN or infinity, the first in row 40"):
        check_embeddings(x)
