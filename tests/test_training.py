"""The trainer: reproducible, replica by replica, and it finds topics that were planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import planted
from scipy.sparse import csr_matrix, vstack

from vtm.bow import padded_words
from vtm.config import ModelConfig
from vtm.errors import ConfigError, DataError
from vtm.model import TopicNetwork
from vtm.training import (
    Posterior,
    _Draws,
    held_out_reconstruction,
    infer_posterior,
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


@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_a_seed_in_a_stack_gives_what_it_gives_alone(decoder):
    config = ModelConfig(hidden=(20, 15), epochs=3, batch_size=32, decoder=decoder)
    stack, together = fit((5, 0, 8), config=config)
    for index, seed in enumerate((5, 0, 8)):
        alone, history = fit((seed,), config=config)
        np.testing.assert_allclose(together.reconstruction[index], history.reconstruction[0], rtol=1e-4)
        np.testing.assert_allclose(together.kl[index], history.kl[0], rtol=1e-3)
        for name, value in state(alone).items():
            np.testing.assert_allclose(state(stack, index)[name], value, rtol=1e-2, atol=2e-3, err_msg=name)


def test_a_seeds_draws_do_not_depend_on_its_neighbours():
    """Batches, dropout and noise to the bit, over more steps than are drawn at once."""
    config = ModelConfig(hidden=(6,), batch_size=4)
    network = TopicNetwork(n_inputs=3, n_topics=5, n_words=7, config=config)

    def draws(seeds):
        source = _Draws(network, 90, config, seeds, torch.device("cpu"))
        return [*source.epoch(), *source.epoch()]

    together, alone = draws((7, 0)), draws((0,))
    assert len(together) == len(alone) == 2 * (90 // 4)
    for several, one in zip(together, alone, strict=True):
        for a, b in zip(several, one, strict=True):
            assert torch.equal(a[1], b[0])
            assert not torch.equal(a[0], a[1])


def test_draws_are_what_they_claim_to_be():
    config = ModelConfig(hidden=(50,), batch_size=20, dropout=0.2)
    network = TopicNetwork(n_inputs=3, n_topics=40, n_words=7, config=config)
    source = _Draws(network, 107, config, (0,), torch.device("cpu"))
    steps = list(source.epoch())
    rows = torch.cat([step[0][0] for step in steps])
    assert len(steps) == 5 and len(rows.unique()) == len(rows) == source.documents_an_epoch == 100
    hidden, noise, topics = (torch.cat([step[i][0] for step in steps]) for i in (1, 2, 3))
    for mask in (hidden, topics):
        assert set(mask.unique().tolist()) == {0.0, 1.25}
        assert mask.mean().item() == pytest.approx(1, abs=0.03)
    assert noise.mean().item() == pytest.approx(0, abs=0.05) and noise.std().item() == pytest.approx(
        1, abs=0.05
    )
    next_rows = torch.cat([step[0][0] for step in source.epoch()])
    assert not torch.equal(rows, next_rows)  # shuffled anew


def test_no_dropout_keeps_everything():
    config = ModelConfig(hidden=(5,), batch_size=4, dropout=0.0)
    network = TopicNetwork(n_inputs=3, n_topics=4, n_words=7, config=config)
    for _, hidden, _, topics in _Draws(network, 8, config, (0,), torch.device("cpu")).epoch():
        assert (hidden == 1).all() and (topics == 1).all()


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
    words, numbers = padded_words(DATA.counts[:20])
    got = held_out_reconstruction(network, *(torch.from_numpy(a) for a in (DATA.text[:20], words, numbers)))
    for replica in (0, 1):
        s = state(network, replica)
        mu = infer_posterior(network, DATA.text[:20]).mu[replica].astype(np.float64)
        theta = np.exp(mu) / np.exp(mu).sum(axis=1, keepdims=True)
        logits = (theta @ s["beta"][0] - s["beta_mean"][0]) / np.sqrt(s["beta_var"][0] + 1e-5)
        log_words = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected = -(DATA.counts[:20].toarray() * log_words).sum(axis=1)
        np.testing.assert_allclose(got[replica].numpy(), expected, rtol=1e-4)
        assert history.validation_reconstruction[replica, -1] == pytest.approx(expected.mean(), rel=1e-4)


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


def test_a_diverged_replica_leaves_the_others_alone(monkeypatch):
    sound, sound_history = fit((0, 1, 2))
    draw = TopicNetwork.__init__

    def poisoned(self, **options):
        draw(self, **options)
        if self.n_replicas == 3:
            self.beta.data[1, 0, 0] = float("nan")

    monkeypatch.setattr(TopicNetwork, "__init__", poisoned)
    broken, broken_history = fit((0, 1, 2))
    assert np.isnan(broken_history.reconstruction[1]).all()
    for replica in (0, 2):
        np.testing.assert_array_equal(
            broken_history.reconstruction[replica], sound_history.reconstruction[replica]
        )
        for name, value in state(sound, replica).items():
            np.testing.assert_array_equal(state(broken, replica)[name], value, err_msg=name)


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
def test_the_same_code_trains_on_cuda():
    data = planted(400, seed=1)
    network, history = train(
        data.text, data.counts, n_topics=4, seeds=(0, 1), config=ModelConfig(epochs=20), device="cuda"
    )
    assert network.beta.is_cuda and (history.reconstruction[:, -1] < history.reconstruction[:, 0]).all()
    assert infer_posterior(network, data.text).mu.shape == (2, 400, 4)


def test_one_document_more_does_not_stop_training():
    """A last batch of one document, on which batch norm would fail, is left out."""
    counts = vstack([DATA.counts[:64], DATA.counts[:1]]).tocsr()
    x = np.concatenate([DATA.text[:64], DATA.text[:1]])
    _, history = train(x, counts, n_topics=4, config=ModelConfig(hidden=(8,), epochs=2), device="cpu")
    assert np.isfinite(history.reconstruction).all()
