"""A trained model: theta, topics, and the files it is kept in."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from planted import planted
from safetensors.numpy import load_file, save_file

import vtm
from vtm.config import ModelConfig, generator
from vtm.errors import DataError, MissingError
from vtm.files import load_about, load_arrays, save_arrays
from vtm.model.network import TopicNetwork
from vtm.model.topicmodel import TopicModel, model_arrays, standard_normal, state_shapes
from vtm.model.training import infer_posterior, train

ROOT = Path(vtm.__file__).resolve().parent.parent
DATA = planted(80)
CONFIG = ModelConfig(hidden=(20, 15), epochs=3, batch_size=32, activation="relu", standardize=True)


@pytest.fixture(scope="module")
def model() -> TopicModel:
    network, history = train(DATA.text, DATA.counts, n_topics=4, config=CONFIG, seeds=(7,), device="cpu")
    return TopicModel(network, DATA.vocabulary, 7, "text", history.of(0))


def test_rows_of_theta_are_distributions(model):
    theta = model.theta(DATA.text)
    assert theta.shape == (80, 4) and theta.dtype == np.float32
    np.testing.assert_allclose(theta.sum(axis=1), 1, atol=1e-6)
    assert (theta > 0).all()
    assert model.theta(DATA.text[:0]).shape == (0, 4)


def test_theta_is_the_same_each_time_and_leaves_the_global_state(model):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = model.theta(DATA.text)
    torch.manual_seed(6)
    np.testing.assert_array_equal(first, model.theta(DATA.text))
    torch.manual_seed(5)
    model.theta(DATA.text)
    assert torch.equal(torch.get_rng_state(), state)


def test_theta_of_a_row_does_not_depend_on_the_others(model):
    whole = model.theta(DATA.text)
    order = np.random.default_rng(0).permutation(80)
    np.testing.assert_allclose(model.theta(DATA.text[order]), whole[order], atol=1e-6)
    np.testing.assert_allclose(model.theta(DATA.text[33:34])[0], whole[33], atol=1e-6)
    np.testing.assert_allclose(model.theta(DATA.text, block=7), whole, atol=1e-6)


def test_theta_is_the_mean_of_softmax_over_the_posterior(model):
    """Against numerical integration: Gauss-Hermite nodes in each of the four dimensions."""
    mu, log_var = model.posterior(DATA.text[:5])
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    grid = np.stack(np.meshgrid(*[nodes] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    mass = np.prod(np.stack(np.meshgrid(*[weights] * 4, indexing="ij"), axis=-1).reshape(-1, 4), axis=1)
    expected = []
    for m, lv in zip(mu.astype(np.float64), log_var.astype(np.float64), strict=True):
        e = np.exp(m + np.exp(0.5 * lv) * grid)
        expected.append((mass[:, None] * e / e.sum(axis=1, keepdims=True)).sum(axis=0) / mass.sum())
    coarse = np.abs(model.theta(DATA.text[:5], n_samples=20) - expected).max()
    fine = np.abs(model.theta(DATA.text[:5], n_samples=20_000) - expected).max()
    assert fine < 0.004 and coarse > 0.01
    # It is not softmax(mu): the spread of the posterior flattens it.
    assert np.abs(np.exp(mu) / np.exp(mu).sum(axis=1, keepdims=True) - expected).max() > 0.01


def test_n_samples_comes_from_the_configuration(model):
    np.testing.assert_array_equal(model.theta(DATA.text), model.theta(DATA.text, n_samples=CONFIG.n_samples))
    assert not np.array_equal(model.theta(DATA.text), model.theta(DATA.text, n_samples=CONFIG.n_samples + 1))


def test_texts_and_images_do_not_share_their_noise(model):
    """With shared noise, theta of a text and of an image would err alike, and row i would resemble row i."""
    n_samples = 10
    errors = {}
    for reads, seed in (("text", 7), ("image", 7), ("text+image", 7), ("image", 8)):
        other = TopicModel(model.network, model.vocabulary, seed, reads)
        errors[reads, seed] = other.theta(DATA.text, n_samples=n_samples) - other.theta(
            DATA.text, n_samples=5000
        )
    same = TopicModel(model.network, model.vocabulary, 7, "text").theta(DATA.text, n_samples=n_samples)
    np.testing.assert_array_equal(same, model.theta(DATA.text, n_samples=n_samples))
    keys = list(errors)
    for i, a in enumerate(keys):
        for b in keys[:i]:
            assert np.abs(errors[a] - errors[b]).max() > 0.02, (a, b)


@pytest.mark.parametrize(
    "x, message",
    [
        (DATA.image, "12 dimensions, the model was trained on 16: use the same encoder"),
        (DATA.text[0], r"shape \(16,\)"),
        (np.where(np.arange(80)[:, None] == 3, np.nan, DATA.text), "1 of 80 .* row 3"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(model, x, message):
    for ask in (model.theta, model.posterior):
        with pytest.raises(DataError, match=message):
            ask(x)


@pytest.mark.parametrize("activation", ["softplus", "relu"])
@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_numpy_reads_a_network_as_torch_does(activation, decoder):
    """Posterior, topics and theta, each by the network's own methods and PyTorch's own draws."""
    config = ModelConfig(**{**CONFIG.__dict__, "activation": activation, "decoder": decoder})
    network, _ = train(DATA.text, DATA.counts, n_topics=4, config=config, seeds=(3,), device="cpu")
    model = TopicModel(network, DATA.vocabulary, 3, "text")
    expected = infer_posterior(network, DATA.text)
    for found, by_torch in zip(
        model.posterior(DATA.text), (expected.mu[0], expected.log_var[0]), strict=True
    ):
        np.testing.assert_allclose(found, by_torch, rtol=1e-5, atol=2e-6)
    with torch.no_grad():
        words = network.topic_word_distribution()[0].numpy()
        noise = torch.randn(config.n_samples, 4, generator=generator(3, "theta of text"))
        mu, log_var = torch.from_numpy(expected.mu), torch.from_numpy(expected.log_var)
        sampled = torch.softmax(mu + torch.exp(0.5 * log_var) * noise[:, None], dim=2).mean(dim=0)
    np.testing.assert_allclose(model.topic_word(), words, rtol=1e-5)
    np.testing.assert_allclose(model.theta(DATA.text), sampled.numpy(), atol=1e-6)


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 5, 2**63 - 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 5), (4, 4), (100, 60), (100, 7), (1, 17), (33, 1)])
def test_the_draws_are_those_of_torch(seed, shape):
    expected = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).numpy()
    np.testing.assert_allclose(standard_normal(seed, *shape), expected, rtol=1e-5, atol=1e-6)


def plain_model(beta, vocabulary, decoder="prodLDA"):
    config = ModelConfig(decoder=decoder, hidden=(3,))
    network = TopicNetwork(n_inputs=2, n_topics=beta.shape[0], n_words=beta.shape[1], config=config).eval()
    network.beta.data[0] = torch.from_numpy(beta)
    return TopicModel(network, vocabulary, 0, "text")


def test_topics_are_the_heaviest_words_and_ties_go_by_the_word():
    beta = np.array([[0, 2, 1, 2, -1], [1, 1, 1, 1, 1], [5, 4, 3, 2, 1]], dtype=np.float32)
    model = plain_model(beta, ("ant", "bee", "cow", "dog", "emu"))
    assert model.topics(3) == [["bee", "dog", "cow"], ["ant", "bee", "cow"], ["ant", "bee", "cow"]]
    assert model.topics(99)[0] == ["bee", "dog", "cow", "ant", "emu"]
    np.testing.assert_allclose(
        model.topic_word(), np.exp(beta) / np.exp(beta).sum(axis=1, keepdims=True), rtol=1e-5
    )


def test_topics_of_lda_are_those_its_decoder_mixes():
    """Batch norm of beta moves words against each other: the topics are read after it."""
    rng = np.random.default_rng(0)
    beta = rng.normal(size=(3, 6)).astype(np.float32)
    model = plain_model(beta, tuple("abcdef"), "LDA")
    model.network.beta_mean[0] = torch.from_numpy(rng.normal(size=6).astype(np.float32))
    model.network.beta_var[0] = torch.from_numpy(rng.uniform(0.1, 2, size=6).astype(np.float32))
    logits = (beta - model.network.beta_mean[0].numpy()) / np.sqrt(model.network.beta_var[0].numpy() + 1e-5)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.topic_word(), expected, rtol=1e-5)
    one_topic = torch.eye(3).unsqueeze(0)  # theta that is all of one topic gives that topic's words
    words = model.network.log_word_distribution(one_topic).exp()[0].detach().numpy()
    np.testing.assert_allclose(words, expected, rtol=1e-5)


@pytest.mark.parametrize("decoder", ["prodLDA", "LDA"])
def test_a_loaded_model_gives_the_same_theta_to_the_bit(tmp_path, decoder):
    config = ModelConfig(**{**CONFIG.__dict__, "decoder": decoder})
    network, history = train(DATA.text, DATA.counts, n_topics=4, config=config, seeds=(0,), device="cpu")
    saved = TopicModel(network, DATA.vocabulary, 0, "image", history.of(0))
    saved.save(tmp_path / "deep" / "model.v1", corpus="planted")
    loaded = TopicModel.load(tmp_path / "deep" / "model.v1")
    np.testing.assert_array_equal(loaded.theta(DATA.text), saved.theta(DATA.text))
    np.testing.assert_array_equal(loaded.topic_word(), saved.topic_word())
    assert loaded.topics() == saved.topics()
    assert loaded.network.config == config
    assert (loaded.vocabulary, loaded.seed, loaded.reads) == (saved.vocabulary, 0, "image")
    assert loaded.history["kl"] == saved.history["kl"]
    assert np.isnan(loaded.history["validation_reconstruction"]).all()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model.v1.safetensors"]


def test_a_model_of_one_process_is_that_of_another(model, tmp_path):
    model.save(tmp_path / "model")
    np.save(tmp_path / "x.npy", DATA.text)
    code = (
        "import sys, numpy as np; from vtm.model.topicmodel import TopicModel; folder = sys.argv[1]; "
        "np.save(folder + '/theta.npy', TopicModel.load(folder + '/model').theta(np.load(folder + '/x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=ROOT)
    np.testing.assert_allclose(np.load(tmp_path / "theta.npy"), model.theta(DATA.text), atol=1e-6)


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "joblib"])
def test_a_model_that_was_used_can_be_copied(model, tmp_path, way):
    """As joblib's workers and scikit-learn's searches copy what they are given."""
    expected = model.theta(DATA.text)
    if way == "joblib":
        joblib.dump(model, tmp_path / "model.joblib")
        copied = joblib.load(tmp_path / "model.joblib")
    else:
        copied = copy.deepcopy(model) if way == "deepcopy" else pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.theta(DATA.text), expected)
    assert copied.topics() == model.topics()


def test_the_file_holds_no_pickle_and_names_the_versions(model, tmp_path):
    model.save(tmp_path / "model", corpus="planted")
    weights = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == model.network.state_dict().keys()
    np.testing.assert_array_equal(weights["beta"], model.network.beta.detach().numpy())
    content = (tmp_path / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header.keys() - {"__metadata__"} == weights.keys()  # a safetensors header, not a zip or a pickle
    description = load_about(tmp_path / "model.safetensors")
    assert description["versions"]["torch"] == version("torch")
    assert description["versions"]["numpy"] == version("numpy")
    assert description["notes"] == {"corpus": "planted"} and description["seed"] == 7


def test_saving_again_replaces(model, tmp_path):
    model.save(tmp_path / "model")
    other = TopicModel(model.network, model.vocabulary, 9, "image")
    other.save(tmp_path / "model")
    assert TopicModel.load(tmp_path / "model").seed == 9


def test_weights_that_were_changed_are_refused(model, tmp_path):
    model.save(tmp_path / "model")
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError, match="model.safetensors: its content is not what was written"):
        TopicModel.load(tmp_path / "model")


HUGE = 10**9
EMPTY = (0, HUGE, HUGE)  # of such a shape an array needs no bytes


@pytest.mark.parametrize(
    ("sizes", "stored"),
    [
        ({"n_topics": HUGE}, {}),
        ({"n_inputs": HUGE}, {}),
        ({"hidden": (HUGE, 15)}, {}),
        ({"hidden": (20,) * 1000}, {}),
        ({"n_topics": 10**30}, {}),
        ({"n_topics": HUGE}, {"beta": (0, HUGE, len(DATA.vocabulary)), "weights.1": (0, 20, HUGE)}),
        ({"n_inputs": HUGE, "hidden": (HUGE,)}, {"weights.0": EMPTY, "beta": (0, 4, len(DATA.vocabulary))}),
        ({"n_inputs": 16.0}, {}),
        ({"n_topics": True}, {}),
        ({"n_inputs": 0}, {"weights.0": (1, 0, 20)}),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused_before_memory_is_taken(
    model, tmp_path, monkeypatch, sizes, stored
):
    """Whoever wrote the file wrote its hash, too; no network may be built of the sizes that they state."""

    def build(*sizes: object) -> None:
        pytest.fail(f"a network is built of {sizes}")

    model.save(tmp_path / "model")
    arrays, saved = load_arrays(tmp_path / "model.safetensors")
    arrays |= {name: np.zeros(shape, np.float32) for name, shape in stored.items()}
    config = saved["config"] | {name: value for name, value in sizes.items() if name == "hidden"}
    sizes = {name: value for name, value in sizes.items() if name != "hidden"}
    save_arrays(tmp_path / "model.safetensors", arrays, saved | sizes | {"config": config})
    monkeypatch.setattr("vtm.model.topicmodel.StoredNetwork", build)
    with pytest.raises(
        DataError, match=r"model.safetensors: does not hold what a model's does \(.*stated as"
    ):
        TopicModel.load(tmp_path / "model")


@pytest.mark.parametrize("hidden", [(3,), (20, 15), (2, 3, 4)])
def test_the_shapes_that_are_looked_for_are_a_networks(hidden):
    sizes = {"n_inputs": 5, "n_topics": 6, "n_words": 7, "config": ModelConfig(hidden=hidden)}
    state = TopicNetwork(**sizes, seeds=(0, 1)).state_dict()
    assert state_shapes(**sizes, n_replicas=2) == {name: tuple(array.shape) for name, array in state.items()}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingError, match="model.safetensors: no such file"):
        TopicModel.load(tmp_path / "model")


@pytest.mark.parametrize("about, message", [({"format": 99}, "format 99"), ({}, "format None")])
def test_descriptions_of_another_kind_are_refused(model, tmp_path, about, message):
    model.save(tmp_path / "model")
    arrays, _ = load_arrays(tmp_path / "model.safetensors")
    save_arrays(tmp_path / "model.safetensors", arrays, about)
    with pytest.raises(DataError, match=f"model.safetensors: .*{message}"):
        TopicModel.load(tmp_path / "model")


def test_a_model_of_two_files_of_an_earlier_version_is_named(model, tmp_path):
    save_file(model_arrays(model)[0], tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="model.safetensors: not a file of vtm's"):
        TopicModel.load(tmp_path / "model")
    (tmp_path / "model.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match="earlier version of vtm, whose models are this file and model.json"):
        TopicModel.load(tmp_path / "model")


def test_a_huge_variance_gives_a_distribution_all_the_same():
    """Batch norm can blow up the log-variance of a document unlike all others; theta stays a distribution."""
    network = TopicNetwork(n_inputs=3, n_topics=4, n_words=5).eval()
    with torch.no_grad():
        network.head_var[0, 4:] = 1e-30
    model = TopicModel(network, tuple("abcde"), 0, "image")
    x = np.random.default_rng(0).normal(size=(6, 3)).astype("f")
    assert np.abs(model.posterior(x)[1]).max() > 177  # exp(log_var / 2) would overflow float32
    theta = model.theta(x)
    assert np.isfinite(theta).all()
    np.testing.assert_allclose(theta.sum(axis=1), 1, rtol=1e-5)
