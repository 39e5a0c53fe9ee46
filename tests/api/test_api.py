"""VisualTopicModel: what scikit-learn expects, what goes in, what comes out, and that it survives being saved."""

from __future__ import annotations

import copy
import doctest
import importlib
import inspect
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from vtm import api
from vtm.api import ModelWarning, NotFittedError, SharedTopic, VisualTopicModel, chosen_method
from vtm.config import ModelConfig
from vtm.corpora import Corpus, load_corpus
from vtm.corpora.base import held_out, near_duplicates
from vtm.corpora.words import Vocabulary
from vtm.encoders import EncoderPair, embed_images, embed_texts, load_encoder
from vtm.errors import ConfigError, DataError, MissingError, VtmError
from vtm.files import LEFT_BEHIND, load_arrays, save_arrays
from vtm.metrics.calibration import ASKED, MINUS, SCORES, mixed
from vtm.metrics.topics import class_tfidf, npmi
from vtm.model import distill, health
from vtm.model.health import random_mean_rank
from vtm.model.plus import PlusConfig, fit_plus, space_arrays

# The examples of the model itself are run by test_examples.
MODULES = (
    *(
        "config",
        "corpora",
        "corpora.base",
        "corpora.words",
        "encoders",
        "metrics.topics",
        "newsimages.corpus",
    ),
    *("corpora.table", "cli.tags", "corpora.keywords", "report.contact"),
)
SMALL = {"n_topics": 6, "encoder": "pixels", "device": "cpu", "method": "text-teacher", "epochs": 100}
PLUS = {"n_topics": 6, "encoder": "pixels", "device": "cpu"}
pytestmark = pytest.mark.usefixtures("data_folder")


@pytest.fixture(scope="module")
def corpus(data_folder) -> Corpus:
    return load_corpus("scenes", n=120)


@pytest.fixture(scope="module")
def model(corpus) -> VisualTopicModel:
    return VisualTopicModel(**SMALL).fit(corpus.texts, corpus.images)


@pytest.fixture(scope="module")
def plus(corpus) -> VisualTopicModel:
    return VisualTopicModel(**PLUS).fit(corpus.texts, corpus.images)


@pytest.fixture(scope="module")
def embeddings(corpus) -> tuple[np.ndarray, np.ndarray]:
    """Text and image embeddings, by the encoder itself."""
    pair = load_encoder("pixels")
    image, _, _ = embed_images(pair.image, corpus.ids, corpus.images, corpus.image_hashes)
    return embed_texts(pair.text, corpus.texts), image


def held_out_of(fitted: VisualTopicModel, corpus: Corpus) -> np.ndarray:
    """(n,) bool, the pairs that were held out."""
    pair = load_encoder("pixels")
    image, _, _ = embed_images(pair.image, corpus.ids, corpus.images, corpus.image_hashes)
    clusters = near_duplicates(text=embed_texts(pair.text, corpus.texts), image=image)
    return held_out(corpus.texts, share=fitted.validation, seed=fitted.random_state, clusters=clusters)


def broken(folder: Path) -> Path:
    path = folder / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return path


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name):
    # They import what they use, as a reader has to.
    result = doctest.testmod(importlib.import_module(f"vtm.{name}"), globs={})
    assert result.attempted > 0
    assert result.failed == 0


# scikit-learn's conventions


def test_the_constructor_keeps_parameters_as_they_are():
    given = {"n_topics": object(), "hidden": [7], "random_state": None, "encoder": object()}
    model = VisualTopicModel(**given)
    assert all(model.get_params()[name] is value for name, value in given.items())


def test_clone_and_set_params(model):
    again = clone(model)
    assert again.get_params() == model.get_params()
    with pytest.raises(SklearnNotFittedError):
        check_is_fitted(again)
    check_is_fitted(model)
    assert again.set_params(n_topics=9).n_topics == 9
    with pytest.raises(ValueError, match="Invalid parameter"):
        again.set_params(n_topic=9)


def test_the_networks_defaults_are_those_of_the_experiments():
    ours, theirs = VisualTopicModel().get_params(), ModelConfig()
    follow = ("batch_size", "kl_weight")  # from the number of pairs
    assert {name: ours[name] for name in vars(theirs) if name not in follow} == {
        name: value for name, value in vars(theirs).items() if name not in follow
    }


def test_a_model_that_is_not_fitted_says_so(tmp_path):
    calls = {
        "transform": ([],),
        "transform_text": ([],),
        "topics": (),
        "topic_labels": (),
        "rank": ([], []),
        "save": (tmp_path / "m",),
        "explain": ([], []),
    }
    for name, arguments in calls.items():
        with pytest.raises(NotFittedError, match="not fitted yet; call fit") as caught:
            getattr(VisualTopicModel(), name)(*arguments)
        assert isinstance(caught.value, VtmError) and isinstance(caught.value, SklearnNotFittedError)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_topics": 1}, "n_topics=1: must be a whole number, at least 2"),
        ({"n_topics": 2.5}, "n_topics=2.5"),
        ({"random_state": None}, "random_state=None: .* cannot be repeated"),
        ({"random_state": -1}, "random_state=-1"),
        ({"teacher": "image"}, "choose from text, joint"),
        ({"method": "minus"}, "choose from plus, text-teacher, joint"),
        ({"teacher": "joint"}, "'text-teacher', teacher='joint': these are two methods; name one"),
        ({"validation": 0.9}, "validation=0.9: is a share"),
        ({"epochs": "3"}, "epochs='3': must be of type int"),
        ({"lr": -1}, "lr=-1"),
        ({"min_df": 0}, "min_df=0"),
        ({"language": ""}, "language=''"),
        ({"language": None}, "language=None"),
        ({"encoder": "pixel"}, "no encoder is called 'pixel'"),
        ({"encoder": 3}, "encoder=3"),
    ],
)
def test_parameters_are_checked_when_the_model_is_fitted(corpus, parameters, message):
    model = VisualTopicModel(**SMALL | parameters)
    with pytest.raises(ConfigError, match=message):
        model.fit(corpus.texts, corpus.images)


def test_numpys_numbers_are_numbers(corpus, model):
    numbers = {"n_topics": np.int64(6), "random_state": np.int32(0), "lr": np.float64(ModelConfig().lr)}
    again = VisualTopicModel(**SMALL | numbers).fit(corpus.texts, corpus.images)
    np.testing.assert_array_equal(again.topic_word_, model.topic_word_)


@pytest.mark.filterwarnings("ignore::vtm.api.ModelWarning")
def test_the_seed_is_all_that_makes_a_difference(corpus, model):
    same = VisualTopicModel(**SMALL, random_state=0).fit(corpus.texts, corpus.images)
    other = VisualTopicModel(**SMALL, random_state=1).fit(corpus.texts, corpus.images)
    np.testing.assert_array_equal(same.transform(corpus.images), model.transform(corpus.images))
    assert not np.allclose(other.transform(corpus.images), model.transform(corpus.images))


@pytest.mark.parametrize("method", api.METHODS)
def test_every_method_gives_models_of_the_same_topics(corpus, method):
    # Networks need more of a lesson where there are a hundred pairs.
    network = {} if method == "plus" else {"epochs": 100, "kl_weight": 0.1, "lr": 0.002}
    fitted = VisualTopicModel(**PLUS, method=method, **network).fit(corpus.texts, corpus.images)
    assert fitted.method_ == method
    text, image = fitted.transform_text(corpus.texts), fitted.transform(corpus.images)
    assert text.shape == image.shape == (120, 6)
    agreement = [np.corrcoef(text[:, k], image[:, k])[0, 1] for k in range(6)]
    assert np.mean(agreement) > 0.3


def test_the_teachers_are_other_names_of_the_papers_methods():
    for teacher, method in (("text", "text-teacher"), ("joint", "joint")):
        assert chosen_method("plus", teacher) == chosen_method(method, teacher) == method
    assert chosen_method("plus", None) == "plus"


@pytest.mark.filterwarnings("ignore::vtm.api.ModelWarning")
def test_a_setting_of_networks_is_said_to_be_idle_where_there_is_none(corpus, embeddings, plus):
    text, image = embeddings
    given = VisualTopicModel(**PLUS, epochs=7, hidden=(9,))
    given.fit(corpus.texts, text_embeddings=text, image_embeddings=image)
    (idle,) = set(given.warnings_) - set(plus.warnings_)
    assert idle.startswith("hidden=(9,), epochs=7: of the paper's networks, which the method 'plus' has not")
    np.testing.assert_array_equal(given.topic_word_, plus.topic_word_)


WITHOUT_TORCH = """
import sys, numpy as np
from vtm.api import VisualTopicModel
draws = np.random.default_rng(0)
texts = [f"boat sea {'sail' if row % 2 else 'harbour'}" for row in range(90)]
x, y = draws.normal(size=(2, 90, 8))
model = VisualTopicModel(3, progress=False).fit(texts, text_embeddings=x, image_embeddings=y)
model.save(sys.argv[1])
VisualTopicModel.load(sys.argv[1]).rank(text_embeddings=x, image_embeddings=y)
print(sorted({"torch", "onnxruntime"} & set(sys.modules)))
"""


def test_vtm_plus_needs_no_torch(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_TORCH, tmp_path / "m"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_vtm_plus_of_the_model_is_vtm_plus(corpus, embeddings, plus):
    """As fitted by itself, from the pairs that are not held out."""
    text, image = embeddings
    counts = Vocabulary(plus.vocabulary_, "en", 3).counts(corpus.texts)
    rows = ~held_out_of(plus, corpus)
    config = PlusConfig(n_topics=6)
    alone = fit_plus(text[rows], image[rows], counts[rows], config=config)
    np.testing.assert_allclose(plus.transform(corpus.images), alone.theta("image", image), atol=1e-5)
    np.testing.assert_allclose(plus.transform_text(corpus.texts), alone.theta("text", text), atol=1e-5)
    np.testing.assert_allclose(plus.topic_word_, alone.topic_word[0], atol=1e-6)


def test_a_fitted_model_is_a_step_of_a_pipeline(corpus, plus):
    """Frozen: a pipeline fits its steps on pictures and labels, and a topic model learns from texts."""
    labels = [text.split()[-1] for text in corpus.texts]
    images = np.array([str(path) for path in corpus.images], dtype=object)
    steps = make_pipeline(FrozenEstimator(plus), LogisticRegression())
    told = steps.fit(images, labels).predict(images)
    theta = plus.transform(corpus.images)
    np.testing.assert_array_equal(told, LogisticRegression().fit(theta, labels).predict(theta))
    np.testing.assert_array_equal(plus.transform(images[:3].astype(str)), theta[:3])
    assert steps[:-1].get_feature_names_out().tolist() == [f"topic{k}" for k in range(6)]


def test_fit_transform_and_score_are_fit_transform_and_rank(corpus, plus, embeddings):
    text, image = embeddings
    given = {"text_embeddings": text, "image_embeddings": image}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        theta = VisualTopicModel(**PLUS).fit_transform(corpus.texts, **given)
    np.testing.assert_array_equal(theta, plus.transform(corpus.images))
    texts, images = corpus.texts[:30], corpus.images[:30]
    positions, _ = plus.rank(texts, images)
    ranks = [list(found).index(row) + 1 for row, found in enumerate(positions)]
    assert plus.score(texts, images) == pytest.approx(np.mean([1 / rank for rank in ranks]))
    with pytest.raises(DataError, match="29 images for 30 texts"):
        plus.score(texts, images[:29])


# What goes in


def test_theta_is_the_topic_models_own(corpus, model, embeddings):
    text, image = embeddings
    np.testing.assert_allclose(model.transform(corpus.images), model.image_model_.theta(image), atol=1e-6)
    np.testing.assert_allclose(model.transform_text(corpus.texts), model.text_model_.theta(text), atol=1e-6)
    assert model.n_features_in_ == image.shape[1]


@pytest.mark.parametrize("which", ["model", "plus"])
def test_theta_does_not_depend_on_what_stands_beside_a_picture(corpus, which, request):
    model = request.getfixturevalue(which)
    theta = model.transform(corpus.images)
    order = np.random.default_rng(0).permutation(len(corpus))
    np.testing.assert_array_equal(model.transform([corpus.images[row] for row in order]), theta[order])
    for row in (0, 17, 119):
        np.testing.assert_array_equal(model.transform([corpus.images[row]])[0], theta[row])
        np.testing.assert_array_equal(
            model.transform_text([corpus.texts[row]])[0], model.transform_text(corpus.texts)[row]
        )


def test_pictures_may_be_paths_images_and_arrays(corpus, model):
    theta = model.transform(corpus.images[:4])
    opened = [Image.open(path) for path in corpus.images[:4]]
    arrays = np.stack([np.asarray(picture) for picture in opened])
    mixed = [
        str(corpus.images[0]),
        opened[1],
        arrays[2],
        np.dstack([arrays[3], np.full((96, 96), 255, np.uint8)]),
    ]
    for pictures in (opened, arrays, list(arrays), mixed):
        np.testing.assert_array_equal(model.transform(pictures), theta)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_a_picture_in_memory_is_taken_as_its_file_is(corpus, model, tmp_path, mode):
    picture = Image.open(corpus.images[3])
    picture = picture.convert("L").convert(mode) if mode in ("I;16", "F") else picture.convert(mode)
    picture.save(tmp_path / "picture.tiff")
    in_memory, file = model.transform([picture]), model.transform([tmp_path / "picture.tiff"])
    np.testing.assert_array_equal(in_memory, file)
    if mode == "L":
        np.testing.assert_array_equal(model.transform([np.asarray(picture)]), file)


def test_the_orientation_of_a_picture_in_memory_counts(corpus, model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.open(corpus.images[3]).save(tmp_path / "turned.png", exif=exif)
    turned = model.transform([tmp_path / "turned.png"])
    np.testing.assert_array_equal(model.transform([Image.open(tmp_path / "turned.png")]), turned)
    assert not np.allclose(model.transform([corpus.images[3]]), turned)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, c: m.fit("a text", c.images), ConfigError, "give a list of texts"),
        (lambda m, c: m.fit(["a", None], c.images[:2]), DataError, r"texts\[1\] is of type NoneType"),
        (lambda m, c: m.fit(c.texts), ConfigError, "fit needs images, or image_embeddings"),
        (lambda m, c: m.fit(c.texts, c.images[:5]), DataError, "5 images for 120 texts"),
        (lambda m, c: m.fit(c.texts, c.images, ids=["a"]), DataError, "1 id for 120 texts"),
        (
            lambda m, c: m.fit(c.texts, image_embeddings=np.ones((3, 4))),
            DataError,
            "image_embeddings: 3 rows for 120 texts",
        ),
        (
            lambda m, c: m.fit(c.texts, c.images, text_embeddings=np.full((120, 4), np.nan)),
            DataError,
            "text_embeddings: NaN or infinity in 120 of 120 rows",
        ),
        (
            lambda m, c: m.fit(c.texts, c.images, text_embeddings=np.full((120, 4), 1j)),
            DataError,
            r"text_embeddings: .*\(its numbers are complex\)",
        ),
        (lambda m, c: m.transform(image_embeddings=[[1, 2j]]), DataError, "its numbers are complex"),
        (lambda m, c: m.fit(c.texts[:3], c.images[:3]), DataError, "3 usable pairs .* at least 4"),
        (lambda m, c: m.fit(["xyz xyz"] * 5, c.images[:5]), DataError, "no word is left|only the word"),
        (lambda m, c: m.transform(c.images[0]), ConfigError, "give a list of pictures"),
        (lambda m, c: m.transform(str(c.images[0])), ConfigError, "give a list of pictures"),
        (lambda m, c: m.transform(np.zeros((9, 9, 3), np.uint8)), ConfigError, "give a list of pictures"),
        (lambda m, c: m.transform([np.zeros((9, 9, 3))]), DataError, r"images\[0\]: .* float64"),
        (lambda m, c: m.transform([np.zeros((9, 9, 2), np.uint8)]), DataError, r"shape \(9, 9, 2\)"),
        (lambda m, c: m.transform([3]), DataError, r"images\[0\] is of type int"),
        (lambda m, c: m.transform(), ConfigError, "give images, or image_embeddings"),
        (
            lambda m, c: m.transform(pd.DataFrame({"file_name": c.images})),
            ConfigError,
            "images: a table of columns file_name; give one of them",
        ),
        (
            lambda m, c: m.transform_text(pd.DataFrame({"text": c.texts})),
            ConfigError,
            "columns text; give one",
        ),
        (lambda m, c: m.match(images=c.images), ConfigError, "give a text, like or a topic"),
        (
            lambda m, c: m.transform(c.images[:2], image_embeddings=np.ones((2, 208))),
            ConfigError,
            "give images or image_embeddings, not both",
        ),
        (
            lambda m, c: m.transform([], image_embeddings=np.ones((2, 208))),
            ConfigError,
            "give images or image_embeddings, not both",
        ),
        (
            lambda m, c: m.transform_text(c.texts, text_embeddings=np.ones((120, 256))),
            ConfigError,
            "give texts or text_embeddings, not both",
        ),
        (
            lambda m, c: m.rank(c.texts, c.images, image_embeddings=np.ones((120, 208))),
            ConfigError,
            "give images or image_embeddings, not both",
        ),
        (
            lambda m, c: m.rank(c.texts, c.images, text_embeddings=np.ones((120, 256))),
            ConfigError,
            "give texts or text_embeddings, not both",
        ),
        (lambda m, c: m.rank(c.texts), ConfigError, "give images, or image_embeddings"),
        (lambda m, c: m.transform(image_embeddings=np.ones((2, 5))), DataError, "trained on 208"),
        (lambda m, c: m.transform(image_embeddings=np.ones(5)), DataError, "documents, dimensions"),
        (lambda m, c: m.transform(c.images, errors="skip"), ConfigError, "must be 'nan' or 'raise'"),
        (lambda m, c: m.transform_text("a text"), ConfigError, "give a list of texts"),
        (lambda m, c: m.transform_text(), ConfigError, "give texts, or text_embeddings"),
        (lambda m, c: m.rank([], c.images), DataError, "nothing to rank"),
        (lambda m, c: m.rank(c.texts, c.images, measure="sine"), ConfigError, "measure="),
        (lambda m, c: m.topics(order="size"), ConfigError, "choose from relevance, probability, ctfidf"),
        (lambda m, c: m.topics(reads="sound"), ConfigError, "reads=.sound.: choose from image, text"),
        (lambda m, c: m.explain(np.ones(3), np.ones(6)), DataError, "one row of 6 probabilities"),
    ],
)
def test_mistakes_are_one_clear_line(corpus, model, call, error, message):
    subject = model if "fit(" not in inspect.getsource(call) else clone(model)
    with pytest.raises(error, match=message) as caught:
        call(model if subject is model else subject, corpus)
    assert "\n" not in str(caught.value)


def test_nothing_gives_nothing(model):
    assert model.transform([]).shape == model.transform_text([]).shape == (0, 6)


# Bad pictures


def test_bad_pairs_are_left_out_of_fit_and_listed(corpus, model, tmp_path):
    bad = broken(tmp_path)
    images = [bad, tmp_path / "missing.png", tmp_path, *corpus.images]
    texts = ["one", "two", "three", *corpus.texts]
    texts[10] = "zzz"  # a word of no other text
    with pytest.warns(ModelWarning, match="4 of 123 pairs were left out") as warned:
        fitted = VisualTopicModel(**SMALL).fit(texts, images)
    assert warned[0].filename == __file__
    assert [(item.id, item.reason) for item in fitted.dropped_] == [
        (str(bad), "unreadable"),
        (str(tmp_path / "missing.png"), "missing"),
        (str(tmp_path), "not-a-file"),
        (str(corpus.images[7]), "no-known-word"),
    ]
    assert fitted.n_pairs_ == 119
    rows = [row for row in range(120) if row != 7]
    same = VisualTopicModel(**SMALL).fit([corpus.texts[r] for r in rows], [corpus.images[r] for r in rows])
    np.testing.assert_array_equal(fitted.topic_word_, same.topic_word_)


def test_a_bad_picture_keeps_its_row(corpus, model, tmp_path):
    images = [corpus.images[0], broken(tmp_path), corpus.images[1], tmp_path / "missing.png"]
    with pytest.warns(
        ModelWarning, match=r"2 of 4 pictures cannot be used, their rows are NaN: .*broken.png"
    ) as warned:
        theta = model.transform(images)
    assert warned[0].filename == __file__
    assert np.isnan(theta).all(axis=1).tolist() == [False, True, False, True]
    np.testing.assert_array_equal(theta[[0, 2]], model.transform(corpus.images[:2]))
    with pytest.raises(DataError, match="2 of 4 pictures cannot be used; the first: .*broken.png"):
        model.transform(images, errors="raise")
    with pytest.warns(ModelWarning):
        assert np.isnan(model.transform([images[1]])).all()


def test_a_picture_in_memory_that_cannot_be_read_is_a_bad_picture(corpus, model, tmp_path):
    whole = corpus.images[0].read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(ModelWarning, match="1 of 2 pictures"):
        theta = model.transform([Image.open(tmp_path / "cut.png"), corpus.images[0]])
    assert np.isnan(theta[0]).all() and not np.isnan(theta[1]).any()


def test_pictures_larger_than_the_limit_are_not_used(corpus, model, tmp_path):
    model.save(tmp_path / "m")
    careful = VisualTopicModel.load(tmp_path / "m", max_pixels=96 * 96 - 1, cache=tmp_path / "cache")
    with pytest.warns(ModelWarning, match="1 of 1 picture cannot"):
        careful.transform(corpus.images[:1])
    open_hearted = VisualTopicModel.load(tmp_path / "m", max_pixels=96 * 96, cache=tmp_path / "cache")
    np.testing.assert_array_equal(
        open_hearted.transform(corpus.images[:1]), model.transform(corpus.images[:1])
    )
    assert list((tmp_path / "cache").rglob("*.safetensors"))


def test_many_pictures_come_block_by_block_in_their_order(corpus, model, tmp_path, monkeypatch):
    monkeypatch.setattr("vtm.encoders.BLOCK", 7)
    images = list(corpus.images)
    images[5], images[20] = tmp_path / "gone.png", broken(tmp_path)
    blocks = list(model.transform_blocks(images))
    assert [len(theta) for theta, _ in blocks] == [7] * 17 + [1]
    assert [item.id for _, dropped in blocks for item in dropped] == [str(images[5]), str(images[20])]
    expected = model.transform(corpus.images)
    expected[[5, 20]] = np.nan
    np.testing.assert_array_equal(np.concatenate([theta for theta, _ in blocks]), expected)


# Embeddings in place of texts and pictures


def test_embeddings_take_the_place_of_texts_and_pictures(corpus, model, embeddings, tmp_path, monkeypatch):
    monkeypatch.setenv("VTM_DATA", str(tmp_path))  # "offline" would need weights that are not here
    text, image = embeddings
    given = VisualTopicModel(**SMALL | {"encoder": "offline"})
    given.fit(corpus.texts, text_embeddings=text.tolist(), image_embeddings=image.astype(np.float64))
    np.testing.assert_array_equal(given.topic_word_, model.topic_word_)
    theta = given.transform(image_embeddings=image)
    np.testing.assert_array_equal(theta, given.image_model_.theta(image))
    positions, _ = given.rank(text_embeddings=text[:2], image_embeddings=image, top=4)
    assert positions.shape == (2, 4)
    assert given.best_pictures_[0][0][0] == str(int(np.argmax(theta[:, 0])))
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_ones_own_embeddings_refuses_what_an_encoder_would_read(corpus, embeddings, tmp_path):
    text, image = embeddings
    own = VisualTopicModel(**PLUS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        own.fit(corpus.texts, text_embeddings=text, image_embeddings=image).save(tmp_path / "m")
    loaded = VisualTopicModel.load(tmp_path / "m")
    renamed = VisualTopicModel.load(tmp_path / "m", encoder="pixels")
    (word, *_) = own.words_of(corpus.texts[0])[0]
    for refusing in (own, loaded, renamed):
        for call in (
            lambda m: m.transform(corpus.images[:1]),
            lambda m: next(m.transform_blocks(corpus.images[:1])),
            lambda m: m.keywords(corpus.images[:1]),
            lambda m: m.match(word, corpus.images[:1]),
            lambda m: m.rank(text_embeddings=text[:1], images=corpus.images[:1]),
        ):
            with pytest.raises(DataError, match="embeddings of your own, .* no encoder can read pictures"):
                call(refusing)
        with pytest.raises(DataError, match="no encoder can read texts for it: give text_embeddings"):
            refusing.transform_text(["a new text"])
        assert len(refusing.match(word, image_embeddings=image[:3]).nearest) == 3  # a known word needs none
    mixed = VisualTopicModel(**PLUS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        mixed.fit(corpus.texts, corpus.images, text_embeddings=text)
    assert mixed.transform(corpus.images[:1]).shape == (1, 6)
    with pytest.raises(DataError, match="no encoder can read texts"):
        mixed.transform_text(["a new text"])


# Matches and keywords


def test_matches_and_keywords_come_with_reasons_and_chances(corpus, plus, tmp_path):
    plus.save(tmp_path / "m")
    loaded = VisualTopicModel.load(tmp_path / "m")
    assert loaded.calibration_ == plus.calibration_
    for text in (corpus.texts[0], "boats", "xyzzy", "a boat beside a xyzzy"):
        answer = plus.match(text, corpus.images, top=8)
        assert loaded.match(text, corpus.images, top=8) == answer
        positions, scores = plus.rank([text], corpus.images, top=8)
        assert [hit.position for hit in answer.nearest] == positions[0].tolist()
        assert [hit.score for hit in answer.nearest] == scores[0].tolist()
        chances = [hit.probability for hit in answer.nearest]
        assert chances == sorted(chances, reverse=True) and 0 <= chances[-1] and chances[0] <= 1
        assert all(hit.topics or hit.words for hit in answer.nearest)
        assert answer.fits == tuple(hit for hit in answer.nearest if hit.probability >= answer.threshold)
        known = set(plus.vocabulary_)
        assert set(answer.known) <= known and not set(answer.unknown) & known
        for hit in answer.nearest:
            assert {word.word for word in hit.words} <= set(answer.known)
    assert plus.words_of("The xyzzy of the boats") == (("boats",), ("xyzzy",))
    # A form that no text of the training holds asks for the word that they hold.
    assert "boating" not in known and plus.words_of("boating") == (("boats",), ())
    assert (
        plus.match("boating", corpus.images, top=3).nearest
        == plus.match("boats", corpus.images, top=3).nearest
    )
    found = plus.keywords(corpus.images, top=6, min_confidence=0)
    assert loaded.keywords(corpus.images, top=6, min_confidence=0) == found
    assert plus.keywords(corpus.images[5:6], top=6, min_confidence=0) == found[5:6]
    for keywords, sure in zip(found, plus.keywords(corpus.images, top=6), strict=True):
        assert len({keyword.word for keyword in keywords}) == 6
        assert sure == tuple(k for k in keywords if k.confidence >= plus.min_confidence_)


def test_a_word_without_another_finds_more_of_those_that_have_the_one_alone(corpus, plus):
    """On the held-out pairs, by counting, over all pairs of words that stand together often enough."""
    aside = np.flatnonzero(held_out_of(plus, corpus))
    texts, images = [corpus.texts[row] for row in aside], [corpus.images[row] for row in aside]
    has = Vocabulary(plus.vocabulary_, "en", 3).counts(texts).toarray() > 0
    both, hits = has.T.astype(int) @ has, {"with": [], "alone": []}
    frequent = has.sum(axis=0)
    for one, other in np.argwhere((both >= 3) & (both <= frequent[:, None] - 3)):
        words = [[plus.vocabulary_[w]] for w in (one, other)]
        right = has[:, one] & ~has[:, other]
        for name, minus in (("with", None), ("alone", words[1])):
            positions, _ = plus.rank(words[0], images, minus=minus, top=5)
            hits[name].append(right[positions[0]].mean())
    assert len(hits["with"]) >= 10 and np.mean(hits["alone"]) > np.mean(hits["with"])


def test_pictures_are_asked_for_as_files_arrays_and_embeddings(corpus, plus, embeddings):
    text, image = embeddings
    positions, scores = plus.rank(like=corpus.images[:2], images=corpus.images[2:30], top=5)
    given = plus.rank(like=list(image[:2]), image_embeddings=image[2:30], top=5)
    np.testing.assert_array_equal(positions, given[0])
    np.testing.assert_allclose(scores, given[1], atol=1e-6)
    place = plus.space_.embed("image", image[:30])
    np.testing.assert_array_equal(positions, np.argsort(-place[:2] @ place[2:].T, axis=1)[:, :5])
    both = plus.rank(["boats"], corpus.images[2:30], like=[image[0]], top=28)
    answer = plus.match("boats", corpus.images[2:30], like=image[0], top=28)
    assert [hit.position for hit in answer.nearest] == both[0][0].tolist()
    assert answer.known == ("boats",) and np.isnan(answer.threshold) and answer.fits == answer.nearest
    one = plus.match(like=image[0], images=corpus.images[2:30], top=1).nearest[0]
    assert one.position == positions[0, 0] and one.topics and not one.words and not one.without
    theta = plus.transform([corpus.images[0], corpus.images[2 + one.position]])
    assert one.topics == plus.explain(*theta)[: len(one.topics)]
    with pytest.raises(DataError, match="1 of text, 2 of like: give one for each"):
        plus.rank(["boats"], corpus.images, like=corpus.images[:2])
    with pytest.raises(ConfigError, match="topic=1: is asked for alone"):
        plus.match("boats", corpus.images, topic=1)
    with pytest.raises(ConfigError, match="give texts, or text_embeddings"):
        plus.match(images=corpus.images, minus="boats")


def test_a_known_word_finds_the_pictures_whose_texts_have_it(corpus, plus):
    """Better than chance, measured on the held-out pairs, by counting."""
    aside = np.flatnonzero(held_out_of(plus, corpus))
    texts, images = [corpus.texts[row] for row in aside], [corpus.images[row] for row in aside]
    has = Vocabulary(plus.vocabulary_, "en", 3).counts(texts).toarray() > 0
    asked = [w for w in range(has.shape[1]) if 3 <= has[:, w].sum() <= 10]
    positions, _ = plus.rank([plus.vocabulary_[w] for w in asked], images, top=3)
    hits = np.mean([has[found, w].mean() for found, w in zip(positions, asked, strict=True)])
    assert hits > 1.5 * has[:, asked].mean()


def test_new_pairs_join_and_topics_keep_their_numbers(corpus, tmp_path):
    n, (texts, images, ids) = len(corpus) - 30, (corpus.texts, corpus.images, corpus.ids)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        earlier = VisualTopicModel(**PLUS).fit(texts[:n], images[:n], ids=ids[:n])
        grown = copy.deepcopy(earlier)
        new = {"texts": texts[n:], "images": images[n:], "ids": ids[n:]}
        assert grown.partial_fit(**new, earlier=(texts[:n], images[:n], ids[:n]), new_topics=0) is grown
        anew = VisualTopicModel(**PLUS).fit(texts, images, ids=ids)
        more = copy.deepcopy(earlier).partial_fit(
            **new, earlier=(texts[:n], images[:n], ids[:n]), new_topics=2
        )
    before, now = earlier.transform(images), grown.transform(images)
    agreement = np.corrcoef(before.T, now.T)[:6, 6:]
    assert (agreement.argmax(axis=1) == np.arange(6)).all()
    assert grown.growth_.moved == (before.argmax(axis=1) != now.argmax(axis=1)).mean() < 0.3
    assert grown.growth_.n_new == 30 and grown.growth_.new == ()
    # All but where topics begin is as it is when trained anew.
    assert grown.vocabulary_ == anew.vocabulary_ and grown.n_pairs_ == anew.n_pairs_ == len(corpus)
    np.testing.assert_array_equal(grown.space_.correlations, anew.space_.correlations)
    np.testing.assert_array_equal(grown._reader.places, anew._reader.places)
    assert abs(grown.score(texts, images) - anew.score(texts, images)) < 0.05
    assert more.n_topics == 8 == more.transform(images[:1]).shape[1] and more.growth_.new == (6, 7)
    more.save(tmp_path / "m")
    loaded = VisualTopicModel.load(tmp_path / "m")
    assert loaded.growth_ is None and loaded.get_params()["n_topics"] == 8
    np.testing.assert_array_equal(loaded.transform(images[:5]), more.transform(images[:5]))


def test_the_number_of_topics_is_chosen_on_held_out_pairs(corpus, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        several = VisualTopicModel(**PLUS | {"n_topics": (3, 9)}).fit(corpus.texts, corpus.images)
        chosen = len(several.topic_word_)
        alone = VisualTopicModel(**PLUS | {"n_topics": chosen}).fit(corpus.texts, corpus.images)
        auto = VisualTopicModel(**PLUS | {"n_topics": "auto"}).fit(corpus.texts, corpus.images)
    assert (
        [one.n_topics for one in several.sizes_] == [3, 9] and chosen in (3, 9) and several.n_topics == (3, 9)
    )
    np.testing.assert_array_equal(several.transform(corpus.images), alone.transform(corpus.images))
    # For 160 topics there are too few pairs.
    assert alone.sizes_ == () and [one.n_topics for one in auto.sizes_] == [10, 20, 40, 80]
    several.save(tmp_path / "m")
    loaded = VisualTopicModel.load(tmp_path / "m")
    assert loaded.n_topics == chosen and loaded.sizes_ == ()
    for n_topics, options, why in (
        ("automatic", {}, "n_topics='automatic': must be a whole number"),
        ((3, 1), {}, "n_topics=1: must be a whole number, at least 2"),
        ((), {}, r"n_topics=\[\]: must be a whole number"),
        ("auto", {"method": "joint"}, "sizes are tried with VTM. only"),
        ("auto", {"validation": 0}, "no pairs are held out"),
    ):
        with pytest.raises(ConfigError, match=why):
            VisualTopicModel(**PLUS | {"n_topics": n_topics} | options).fit(corpus.texts, corpus.images)


def test_what_cannot_be_updated_stays_as_it_was(corpus, plus, model, embeddings):
    texts, images = corpus.texts, corpus.images
    before, kept = plus.transform(images[:5]), dict(vars(plus))
    refused = (
        ({"earlier": (texts,)}, "earlier: give the texts and the pictures"),
        ({"earlier": (texts, images), "ids": ["a"]}, "ids: give them of the earlier and of the new"),
        ({"earlier": (texts, images), "new_topics": -1}, "must be 0 or more"),
        ({"earlier": (texts, images), "new_topics": 2}, "new_topics=2: only 1 new pair is there"),
        ({"earlier": (texts, images), "text_embeddings": embeddings[0]}, "rows for 121 texts"),
    )
    for options, why in refused:
        with pytest.raises(VtmError, match=why):
            plus.partial_fit(["a red boat on the sea"], images[:1], **options)
    assert vars(plus) == kept and (plus.transform(images[:5]) == before).all()
    with pytest.raises(ConfigError, match="only a model of VTM"):
        model.partial_fit(texts[:1], images[:1], earlier=(texts, images))
    with pytest.raises(NotFittedError):
        VisualTopicModel(**PLUS).partial_fit(texts[:1], images[:1], earlier=(texts, images))
    with pytest.warns(ModelWarning, match="20 of the 120 pairs that the model was trained on are missing"):
        copy.deepcopy(plus).partial_fit(texts[100:101], images[100:101], earlier=(texts[:100], images[:100]))


def test_a_bad_picture_gets_no_keywords_and_is_no_match(corpus, plus, tmp_path):
    images = [broken(tmp_path), *corpus.images[:2]]
    with pytest.warns(ModelWarning, match="1 of 3 pictures cannot be used, they get no keywords"):
        first, *others = plus.keywords(images, min_confidence=0)
    assert first == () and others == plus.keywords(corpus.images[:2], min_confidence=0)
    answer = plus.match("boats", images)
    assert {hit.position for hit in answer.nearest} == {1, 2}
    assert [item.id for item in answer.dropped] == [str(images[0])]


def test_without_held_out_pairs_no_chance_is_known(corpus):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        few = VisualTopicModel(**PLUS, validation=0).fit(corpus.texts, corpus.images)
    assert few.calibration_.keywords is None and few.min_confidence_ == 0
    assert all(np.isnan(keyword.confidence) for keyword in few.keywords(corpus.images[:1])[0])
    answer = few.match("boats", corpus.images, top=4)
    assert len(answer.fits) == 4 and np.isnan(answer.nearest[0].probability)


def test_one_side_may_be_given(corpus, model, embeddings):
    text, image = embeddings
    for sides in ({"text_embeddings": text}, {"image_embeddings": image}):
        fitted = VisualTopicModel(**SMALL).fit(corpus.texts, corpus.images, **sides)
        np.testing.assert_array_equal(fitted.topic_word_, model.topic_word_)


def test_pictures_beside_their_embeddings_name_the_pairs_of_fit_alone(corpus, model, embeddings):
    gone = [f"gone/{row}.png" for row in range(120)]
    fitted = VisualTopicModel(**SMALL).fit(corpus.texts, gone, image_embeddings=embeddings[1])
    np.testing.assert_array_equal(fitted.topic_word_, model.topic_word_)
    place = {str(path): row for row, path in enumerate(corpus.images)}
    for topic, same in zip(fitted.best_pictures_, model.best_pictures_, strict=True):
        assert [name for name, _ in topic] == [gone[place[name]] for name, _ in same]


# Topics


def test_what_is_known_of_topics_follows_from_the_pairs_of_fit(corpus, model):
    theta = model.transform(corpus.images)
    counts = Vocabulary(model.vocabulary_, "en", 3).counts(corpus.texts)
    np.testing.assert_allclose(model.topic_share_, theta.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(model.topic_word_, model.image_model_.topic_word())
    for reads, own in (("image", model.image_model_), ("text", model.text_model_)):
        expected = npmi(own.topics(10), counts, model.vocabulary_)
        np.testing.assert_allclose(model.coherence_[reads], expected)
    for topic, best in enumerate(model.best_pictures_):
        order = np.argsort(-theta[:, topic])[:10]
        assert [name for name, _ in best] == [str(corpus.images[row]) for row in order]
        np.testing.assert_allclose([share for _, share in best], theta[order, topic], rtol=1e-5)
    tfidf = class_tfidf(theta.T.astype(np.float64) @ counts.toarray())
    expected = [[model.vocabulary_[w] for w in np.argsort(-row, kind="stable")[:5]] for row in tfidf]
    assert model.topics(5, order="ctfidf", all_forms=True) == expected


def test_topics_by_probability_are_the_models_own(model):
    assert model.topics(8, order="probability", all_forms=True) == model.image_model_.topics(8)
    assert model.topics(8, weight=1.0, all_forms=True) == model.image_model_.topics(8)
    assert model.topics(8, reads="text", order="probability", all_forms=True) == model.text_model_.topics(8)
    assert model.topics(8, weight=0.0) != model.topics(8)
    # A topic whose two first words were wolf and wolves has one of them among its keywords.
    every = model.topics(9, all_forms=True)[0]
    named = copy.copy(model)
    names = {every[0]: "wolf", every[1]: "wolves"}
    named.vocabulary_ = tuple(names.get(word, word) for word in model.vocabulary_)
    named._forms = None  # those of the words that stood there
    assert named.topics(3, all_forms=True)[0] == ["wolf", "wolves", every[2]]
    assert "wolves" not in named.topics(8)[0] and len(named.topics(8)[0]) == 8
    assert named.topic_labels(2, separator=" ")[0] == f"wolf {every[2]}"
    assert model.topic_labels(2, separator=" + ") == [" + ".join(words) for words in model.topics(2)]


def test_rank_is_by_the_cosine_of_the_topics(corpus, model, tmp_path):
    images = [broken(tmp_path), *corpus.images[:30]]
    with pytest.warns(ModelWarning, match="1 of 31 pictures cannot be used, they are not ranked"):
        positions, similarities = model.rank(corpus.texts[:5], images, top=8, measure="cosine")
    text, image = model.transform_text(corpus.texts[:5]), model.transform(images[1:])
    for row in range(5):
        cosines = [
            float(np.dot(text[row], other) / np.linalg.norm(text[row]) / np.linalg.norm(other))
            for other in image
        ]
        order = sorted(range(30), key=lambda i: -cosines[i])[:8]
        assert positions[row].tolist() == [i + 1 for i in order]
        np.testing.assert_allclose(similarities[row], [cosines[i] for i in order], rtol=1e-5)
    assert model.rank(corpus.texts[:1], corpus.images[:3])[0].shape == (1, 3)
    with pytest.raises(DataError, match="nothing to rank; the first: .*broken.png"):
        model.rank(corpus.texts, images[:1])


MIXES = (
    ({"topics": 0.5, "pairs": 0.5}, {"space": 0.25, "topics": 0.25, "pairs": 0.25, "words": 0.25}),
    ({"topics": 1.0, "pairs": 0.0}, {"space": 0.25, "topics": 0.0, "pairs": 0.0, "words": 0.75}),
    ({"topics": 0.0, "pairs": 1.0}, {"space": 0.0, "topics": 0.0, "pairs": 0.0, "words": 1.0}),
    ({"topics": 0.5, "pairs": 0.5}, {"space": 0.0, "topics": 0.5, "pairs": 0.0, "words": 0.5}),
    ({"topics": 0.5, "pairs": 0.5}, {"space": 1.0, "topics": 0.0, "pairs": 0.0, "words": 0.0}),
    ({"topics": 0.5, "pairs": 0.5}, {"space": 0.0, "topics": 0.0, "pairs": 1.0, "words": 0.0}),
)


@pytest.mark.parametrize(("word_mix", "mix"), MIXES)
@pytest.mark.parametrize("which", ["model", "plus"])
def test_an_answer_is_what_reading_all_of_each_picture_gives(
    embeddings, which, word_mix, mix, request, monkeypatch
):
    """However little of the pictures is computed for it, whatever else is asked, and whatever stands beside them."""
    some, x = copy.deepcopy(request.getfixturevalue(which)), embeddings[1]
    ones = dict.fromkeys(ASKED, dict.fromkeys(SCORES, 1.0))
    tuned = some._tuned = replace(some._tuned, word_mix=word_mix, mix=dict.fromkeys(ASKED, mix), spread=ones)
    texts, minus = ["boats", "a zeppelin above a boat and red trees", "xyzzy"], ["red", "tree", "boats"]
    theta, place = some.image_model_.theta(x), some.space_.embed("image", x).astype(np.float32)
    pictures = some._reader.picture(theta, place)
    read = some._read_texts(texts), some._read_texts(minus)
    assert [kind for kind, _ in read[0]] == list(ASKED)
    expected, less = (
        np.array(
            [tuned.match(kind, some._reader.scores(text, pictures, word_mix))[0] for kind, text in asked]
        )
        for asked in read
    )
    monkeypatch.setattr(api, "IN_PARTS", 50)
    given = {"image_embeddings": x, "top": len(x)}
    for more, wanted in (({}, expected), ({"minus": minus}, expected - MINUS * less)):
        positions, scores = some.rank(texts, **given, **more)
        assert (np.sort(positions, axis=1) == np.arange(len(x))).all() and (
            np.diff(scores, axis=1) <= 0
        ).all()
        found = np.empty_like(scores)
        np.put_along_axis(found, positions, scores, axis=1)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        few, best = some.rank(texts, **given | {"top": 7}, **more)
        np.testing.assert_array_equal((few, best), (positions[:, :7], scores[:, :7]))
        for row, text in enumerate(texts):
            alone = some.rank([text], **given, **{name: [asked[row]] for name, asked in more.items()})
            np.testing.assert_allclose(alone[1][0], np.sort(found[row])[::-1], rtol=1e-4, atol=1e-5)
        beside = some.rank(texts, **given | {"image_embeddings": x[::-3]}, **more)
        np.testing.assert_array_equal(beside[1], np.take_along_axis(found[:, ::-3], beside[0], axis=1))


def test_memory_does_not_grow_with_the_pictures_that_are_searched(embeddings, plus, monkeypatch):
    monkeypatch.setattr(api, "IN_PARTS", 500)
    texts = ["boats", "a zeppelin above a boat and red trees"] * 20

    def held(n: int) -> int:
        """Bytes that a search among n pictures holds at most, beside these."""
        x = np.resize(embeddings[1], (n, embeddings[1].shape[1]))
        tracemalloc.start()
        try:
            plus.rank(texts, image_embeddings=x, top=5)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    held(1500)
    few, many = held(1500), held(6000)
    # All scores would be 40 x 4,500 more numbers.
    assert abs(many - few) < 40 * 4500


def test_keywords_and_topics_that_people_decided_about_are_read_of_the_same_pictures(embeddings, plus):
    some, x = copy.deepcopy(plus), embeddings[1]
    before = some.keywords(image_embeddings=x, top=3, min_confidence=0)
    banned = before[0][0].word
    k = int(some.shown_share_.argmax())
    some.edit(ban=[banned], split={k: 2}, hide=[(k + 1) % 6])
    theta, found = some._tags(x, top=3, min_confidence=0)
    np.testing.assert_array_equal(theta, some.transform(image_embeddings=x))
    pictures = some._reader.picture(
        some.image_model_.theta(x), some.space_.embed("image", x).astype(np.float32)
    )
    words = mixed(pictures.words, some._tuned.word_mix)
    for row, (one, other) in enumerate(zip(found, before, strict=True)):
        assert banned not in {keyword.word for keyword in one} and len(one) == 3
        chance = some._tuned.keywords.probability(np.log(words[row]))
        for keyword in (*one, *other):
            np.testing.assert_allclose(
                keyword.confidence, chance[some.vocabulary_.index(keyword.word)], rtol=1e-4
            )
    answer = some.match(topic=k, image_embeddings=x, top=5)
    column = theta[:, some.topic_numbers_.index(k)]
    assert [one.position for one in answer.nearest] == np.argsort(-column, kind="stable")[:5].tolist()


def test_explain_names_the_topics_that_make_the_cosine(corpus, model):
    text, picture = model.transform_text(corpus.texts[:1])[0], model.transform(corpus.images[:1])[0]
    reasons = model.explain(text, picture, top=6, words=4)
    products = {k: float(text[k]) * float(picture[k]) for k in range(6)}
    assert [reason.topic for reason in reasons] == sorted(products, key=products.get, reverse=True)
    for reason in reasons:
        k = reason.topic
        assert reason == SharedTopic(
            k,
            pytest.approx(text[k]),
            pytest.approx(picture[k]),
            pytest.approx(products[k] / sum(products.values())),
            tuple(model.topics(4)[k]),
        )
    assert model.explain(text, picture, top=2) == model.explain(text, picture, top=6)[:2]


# Is it any good?


def test_pairs_are_held_out_by_their_text():
    texts = [f"text {i}" for i in range(300)]
    chosen = held_out(texts, share=0.1, seed=0)
    assert chosen.sum() == 30
    np.testing.assert_array_equal(held_out(texts[::-1], share=0.1, seed=0), chosen[::-1])
    assert (held_out(texts, share=0.1, seed=1) != chosen).any()
    sizes = {n: int(held_out(texts[:n], share=0.1, seed=0).sum()) for n in (79, 80, 199, 201)}
    assert sizes == {79: 0, 80: 20, 199: 20, 201: 21}
    assert held_out([str(i) for i in range(20_000)], share=0.1, seed=0).sum() == 1000
    assert not held_out(texts, share=0, seed=0).any()


def test_near_duplicates_are_held_out_together(corpus, embeddings, monkeypatch):
    texts = [f"text {i}" for i in range(300)]
    clusters = np.concatenate([np.repeat(np.arange(40), 4), np.full(80, 40), np.arange(41, 101)])
    chosen = held_out(texts, share=0.1, seed=0, clusters=clusters)
    assert chosen.sum() == 30
    shares = np.bincount(clusters, weights=chosen) / np.bincount(clusters)
    assert set(shares) == {0, 1} and shares[40] == 0
    again = held_out(texts[::-1], share=0.1, seed=0, clusters=clusters[::-1])
    np.testing.assert_array_equal(again, chosen[::-1])
    # Ten subjects that are one half of all are no part of the judges while there are others.
    half = np.concatenate([np.repeat(np.arange(10), 15), np.arange(10, 160)])
    for seed in range(5):
        assert not held_out(texts, share=0.1, seed=seed, clusters=half)[:150].any()
    alone = held_out(texts, share=0.1, seed=0)
    np.testing.assert_array_equal(held_out(texts, share=0.1, seed=0, clusters=np.arange(300)), alone)
    # One cluster of everything cannot be held out: it is drawn from, and that is said.
    np.testing.assert_array_equal(held_out(texts, share=0.1, seed=0, clusters=np.zeros(300)), alone)

    # The same in `fit`, which finds them: every third picture comes twice.
    text, image = (rows[np.arange(120) // 3 * 3] if rows is embeddings[1] else rows for rows in embeddings)
    drawn = []
    monkeypatch.setattr(api, "held_out", lambda *a, **k: drawn.append(held_out(*a, **k)) or drawn[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        VisualTopicModel(**SMALL).fit(corpus.texts, text_embeddings=text, image_embeddings=image)
    assert drawn[0].sum() >= 20
    assert set(drawn[0].reshape(40, 3).mean(axis=1)) == {0, 1}


class Watched(np.ndarray):
    """An array that notes how many rows of as many columns are made of it at once."""

    rows: ClassVar[list[int]] = []

    def __array_finalize__(self, made_of):
        if self.shape[1:] == (20,):  # embeddings, and places in the shared space
            Watched.rows.append(len(self))


def test_embeddings_that_lie_in_files_are_read_in_parts(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    n, width = 1500, 20
    group = rng.integers(6, size=n)
    text, image = (
        (rng.normal(size=(6, width))[group] + rng.normal(size=(n, width))).astype(np.float32) for _ in "ab"
    )
    image[1::250], text[1::250] = image[::250], text[::250]  # near-duplicates
    texts = [f"{'abcdef'[k] * 3} {'abcdef'[(k + 1) % 6] * 4}" for k in group]
    texts[7] = "of the"  # left out
    for name, value in {
        **{"api.IN_PARTS": 100, "api.MOST_PAIRS": 100, "model.plus.BLOCK": 64, "model.plus.SAMPLE": 50},
        **{"corpora.base._MOST_COMPARED": 1, "corpora.base._TILE": 64},
        **{"api.PlusConfig": partial(PlusConfig, prototypes=100)},
    }.items():
        monkeypatch.setattr(f"vtm.{name}", value)

    def fitted(text, image):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)
            model = VisualTopicModel(6, progress=False)
            return model.fit(texts, text_embeddings=text, image_embeddings=image)

    known = fitted(text, image)
    for name, array in (("text", text), ("image", image)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r").view(Watched) for name in ("text", "image")]
    monkeypatch.setattr(api, "_as_embeddings", lambda x, *_: x)
    Watched.rows.clear()
    found = fitted(*mapped)
    assert found.n_pairs_ == n - 1 and 64 < max(Watched.rows) <= 300
    np.testing.assert_array_equal(
        found.transform(image_embeddings=image), known.transform(image_embeddings=image)
    )
    np.testing.assert_array_equal(found.topic_word_, known.topic_word_)


def test_held_out_pairs_are_not_trained_on(data_folder, monkeypatch):
    """Other pictures for them change the judgement, not the model."""
    monkeypatch.setattr(api, "near_duplicates", lambda text, image: np.arange(len(text)))
    # So many pairs that the judgement can be a good one, and the model be known to have learned.
    corpus, pair = load_corpus("scenes", n=200), load_encoder("pixels")
    text = embed_texts(pair.text, corpus.texts)
    image, _, _ = embed_images(pair.image, corpus.ids, corpus.images, corpus.image_hashes)
    aside = held_out(corpus.texts, share=0.2, seed=0)
    other = image.copy()
    other[aside] = image[aside][::-1]
    options = SMALL | {"validation": 0.2}
    model, changed = VisualTopicModel(**options), VisualTopicModel(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        model.fit(corpus.texts, text_embeddings=text, image_embeddings=image)
        changed.fit(corpus.texts, text_embeddings=text, image_embeddings=other)
    np.testing.assert_array_equal(changed.topic_word_, model.topic_word_)
    assert (model.n_validation_, aside.sum()) == (40, 40)
    assert (model.status_, changed.status_) == ("ok", "doubtful")


def test_pictures_that_are_all_alike_teach_nothing_and_that_is_said(corpus):
    image = np.ones((120, 20))
    model = VisualTopicModel(**SMALL)
    with pytest.warns(
        ModelWarning,
        match=r"find their pictures no better than by chance \(mean rank 20.0 of 20; by chance 10.5.*; "
        "120 of 120 pairs are one cluster of near-duplicates",
    ):
        model.fit(corpus.texts, image_embeddings=image)
    assert model.status_ == "doubtful"


@pytest.mark.parametrize("n", [60, 120])
@pytest.mark.parametrize("alike", [("image",), ("text", "image")])
@pytest.mark.parametrize("value", [0, 1])
def test_a_collapse_is_said_when_no_pairs_are_held_out(corpus, embeddings, n, alike, value):
    given = {
        f"{reads}_embeddings": np.full((n, 20), value) if reads in alike else rows[:n]
        for reads, rows in zip(("text", "image"), embeddings, strict=True)
    }
    model = VisualTopicModel(**SMALL | {"epochs": 20, "validation": 0.1 if n < 80 else 0})
    with pytest.warns(ModelWarning, match="theta is alike for all documents") as warned:
        model.fit(corpus.texts[:n], **given)
    assert (model.status_, model.n_validation_) == ("doubtful", 0)
    assert str(warned[0].message) == "; ".join(model.warnings_)
    said = [reason.partition("'s")[0] for reason in model.warnings_ if "alike for all documents" in reason]
    assert said == [f"the {reads} model" for reads in alike]


@pytest.mark.parametrize("method", api.METHODS[1:])
def test_no_collapse_is_seen_in_a_good_model_without_held_out_pairs(corpus, embeddings, method, monkeypatch):
    monkeypatch.setattr(api, "MOST_HELD_OUT", 50)  # of more pairs some are enough
    judging = []
    signs = health.signs_of_collapse
    monkeypatch.setattr(health, "signs_of_collapse", lambda **told: judging.append(told) or signs(**told))
    model = VisualTopicModel(**SMALL | {"validation": 0, "method": method})
    model.fit(corpus.texts, text_embeddings=embeddings[0], image_embeddings=embeddings[1])
    assert (model.status_, model.warnings_, model.n_validation_) == ("not judged", (), 0)
    for reads, rows in zip(("text", "image"), embeddings, strict=True):
        theta = getattr(model, f"{reads}_model_").theta(rows)
        np.testing.assert_allclose(judging[0]["theta"][reads], theta[::3], atol=1e-6)


def test_chance_is_what_random_ranks_give():
    draws = np.random.default_rng(0).integers(1, 26, size=(20_000, 25)).mean(axis=1)
    expected, best_of_chance = random_mean_rank(25)
    assert draws.mean() == pytest.approx(expected, abs=0.05)
    assert np.quantile(draws, 0.025) == pytest.approx(best_of_chance, abs=0.1)


def test_poor_topics_are_doubted(corpus):
    texts = [f"{text} word{row}" if row % 2 else f"word{row}" for row, text in enumerate(corpus.texts)]
    # With 12 words, the first ten of two topics share eight at least.
    poor = VisualTopicModel(**SMALL | {"n_topics": 40, "validation": 0, "max_words": 12})
    with pytest.warns(ModelWarning) as warned:
        poor.fit(texts, corpus.images)
    said = " ".join(str(warning.message) for warning in warned)
    n_known = poor.n_pairs_
    assert n_known <= 60
    assert f"{120 - n_known} of 120 texts have no word that stands in 3 texts or more: lower min_df" in said
    assert "only 12 words for 40 topics: lower min_df, or n_topics" in said
    assert "40 of 40 topics share most of their words with another: lower n_topics" in said
    for reads in ("text", "image"):
        assert f"100% of the {reads} model's topics repeat another topic's words" in said
    assert len(poor.warnings_) == 5


def test_training_that_diverges_is_an_error(corpus, embeddings):
    with pytest.raises(DataError, match="training diverged"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        VisualTopicModel(**SMALL | {"lr": 1e30, "epochs": 5}).fit(
            corpus.texts, text_embeddings=embeddings[0], image_embeddings=embeddings[1]
        )


def test_few_pairs_are_trained_on_in_smaller_batches_and_nearer_to_the_teacher(corpus, monkeypatch):
    asked = []

    def train_pair(*_, config, **__):
        asked.append((config.batch_size, config.kl_weight))
        raise ZeroDivisionError

    monkeypatch.setattr(distill, "train_pair", train_pair)
    for n, given in ((499, {}), (500, {}), (499, {"batch_size": 64, "kl_weight": 0.03})):
        model = VisualTopicModel(method="joint", **given)
        x = np.ones((n, 2))
        with pytest.raises(ZeroDivisionError):
            model.fit(
                ["boat sea"] * (n // 3) + ["tree leaf"] * (n - n // 3), text_embeddings=x, image_embeddings=x
            )
    assert asked == [(16, 0.1), (64, 0.03), (64, 0.03)]


# Saved and loaded


@pytest.mark.parametrize("which", ["model", "plus"])
def test_a_loaded_model_is_the_saved_one(corpus, which, tmp_path, request):
    model = request.getfixturevalue(which)
    model.save(tmp_path / "m", about={"owner": "me"})
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]
    loaded = VisualTopicModel.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.transform(corpus.images), model.transform(corpus.images))
    np.testing.assert_array_equal(loaded.transform_text(corpus.texts), model.transform_text(corpus.texts))
    assert loaded.get_params() == model.get_params() | {"device": "auto"}
    assert loaded.notes_ == {"about": {"owner": "me"}}
    np.testing.assert_equal(space_arrays(loaded.space_), space_arrays(model.space_))
    for name in vars(model):
        if name.endswith("_") and name not in ("text_model_", "image_model_", "notes_", "space_"):
            np.testing.assert_equal(getattr(loaded, name), getattr(model, name))
    for order in ("relevance", "probability", "ctfidf"):
        assert loaded.topics(order=order) == model.topics(order=order)
    loaded.save(tmp_path / "again", about={"owner": "me"})
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_own_stop_words_and_phrases_are_saved_as_words(corpus, embeddings, tmp_path):
    (tmp_path / "own.txt").write_text("Red\nblue\n", encoding="utf-8")
    chosen = dict(n_topics=4, validation=0, encoder="pixels", ngrams=2)
    text, image = embeddings
    by_path, by_words = (
        VisualTopicModel(stop_words=words, **chosen) for words in (str(tmp_path / "own.txt"), ("red", "blue"))
    )
    plain = VisualTopicModel(**chosen)
    for model in (by_path, by_words, plain):
        model.fit(corpus.texts, text_embeddings=text, image_embeddings=image)
    assert by_path.vocabulary_ == by_words.vocabulary_
    assert {"red", "blue"} <= set(plain.vocabulary_) and not {"red", "blue"} & set(by_path.vocabulary_)
    assert any(" " in word for word in by_path.vocabulary_)
    by_path.save(tmp_path / "m")
    (tmp_path / "own.txt").unlink()
    loaded = VisualTopicModel.load(tmp_path / "m")
    assert loaded.stop_words == ("Red", "blue") and loaded.ngrams == 2
    assert loaded.vocabulary_ == by_path.vocabulary_


def test_the_file_is_safetensors_and_names_the_encoders_and_versions(model, tmp_path):
    from safetensors.numpy import load_file

    model.save(tmp_path / "m")
    arrays, about = load_arrays(tmp_path / "m")
    assert load_file(tmp_path / "m").keys() == arrays.keys() >= {"text/beta", "image/beta", "topic_share"}
    assert about["parameters"]["encoder"] == "pixels"
    assert about["versions"].keys() >= {"vtm", "torch", "numpy"}
    assert about["encoder_keys"] == {
        "text": load_encoder("pixels").text.key,
        "image": load_encoder("pixels").image.key,
    }
    (tmp_path / "other").touch()
    assert (tmp_path / "m").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_name_that_is_no_text_is_saved(corpus, tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff.png"))
    shutil.copy(corpus.images[0], odd)
    fitted = VisualTopicModel(**SMALL | {"epochs": 2, "validation": 0})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        fitted.fit(corpus.texts, [odd] * 60 + list(corpus.images[60:]))
    fitted.save(tmp_path / "m")
    loaded = VisualTopicModel.load(tmp_path / "m")
    assert loaded.best_pictures_ == fitted.best_pictures_
    assert str(odd) in {name for topic in loaded.best_pictures_ for name, _ in topic}


def test_a_damaged_model_is_refused(model, tmp_path):
    place = tmp_path / "m"
    model.save(place)
    content = place.read_bytes()
    for position in (len(content) - 1, len(content) // 2, content.index(b"about") + 300):
        place.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(DataError, match="/m: .*; name a model, or train anew"):
            VisualTopicModel.load(place)
    place.write_bytes(content[:-9])
    with pytest.raises(DataError, match="/m: not readable as safetensors"):
        VisualTopicModel.load(place)
    place.write_bytes(content)
    arrays, about = load_arrays(place)
    for change, message in (
        ({"format": 99}, "format 99, this version of vtm reads 4; train anew"),
        ({"kind": "other"}, "holds no visual topic model but 'other'; name a model"),
        ({"image": None}, "does not hold what a model's does"),
        ({"encoder_keys": {"image": "an encoder", "inside": "another"}}, "does not hold .*text"),
        ({"parameters": about["parameters"] | {"colour": "red"}}, "what a model's does .*colour"),
        ({"image": about["image"] | {"n_topics": 10**9}}, "is stated as of shape"),
        *(
            ({"parameters": about["parameters"] | {name: value}}, f"does not hold .*{name}")
            for name, value in {
                "n_topics": 9,
                "learning_rate": -1.0,
                "dropout": 7.0,
                "epochs": 0,
                "min_df": -5,
                "validation": 3,
                "random_state": -1,
                "language": "none of these",
                "max_words": 0,
            }.items()
        ),
        ({"n_validation": about["n_pairs"] + 1}, "does not hold .*n_validation"),
        ({"best_pictures": about["best_pictures"][:-1]}, "does not hold .*best_pictures"),
    ):
        save_arrays(place, arrays, about | change)
        with pytest.raises(DataError, match=message) as refused:
            VisualTopicModel.load(place)
        assert "\n" not in str(refused.value)
    save_arrays(place, arrays | {"topic_share": arrays["topic_share"][:-1]}, about)
    with pytest.raises(DataError, match="does not hold .*topic_share"):
        VisualTopicModel.load(place)


def test_what_is_no_model_is_said(tmp_path):
    with pytest.raises(MissingError, match="none: no model; `vtm train CORPUS -o .*none` makes one"):
        VisualTopicModel.load(tmp_path / "none")
    with pytest.raises(MissingError, match="no model; a folder is none; `vtm train CORPUS"):
        VisualTopicModel.load(tmp_path)
    (tmp_path / "table.csv").write_text("file_name,text\n")
    with pytest.raises(DataError, match="table.csv: not readable as safetensors .*; name a model, or train"):
        VisualTopicModel.load(tmp_path / "table.csv")


def test_the_folder_of_an_older_version_is_named_as_such(tmp_path):
    (tmp_path / "model.json").write_text('{"format": 2}')
    with pytest.raises(
        DataError, match="older versions .* train again, or load it with the version that wrote"
    ):
        VisualTopicModel.load(tmp_path)


def test_an_older_model_is_replaced_and_nothing_else_is(model, tmp_path):
    model.save(tmp_path / "m", number=1)
    model.save(tmp_path / "m", number=2)
    assert VisualTopicModel.load(tmp_path / "m").notes_ == {"number": 2}
    with pytest.raises(TypeError):
        model.save(tmp_path / "m", number=object())  # no JSON
    assert VisualTopicModel.load(tmp_path / "m").notes_ == {"number": 2}
    arrays, about = load_arrays(tmp_path / "m")
    save_arrays(tmp_path / "m", arrays, about | {"format": 99})
    model.save(tmp_path / "m", number=3)  # of another version
    (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes()[:-1] + b"?")
    with pytest.raises(DataError):
        VisualTopicModel.load(tmp_path / "m")
    for damaged in (slice(None), slice(-9), slice(2000), slice(0)):  # the end changed, cut off, all lost
        (tmp_path / "damaged").write_bytes((tmp_path / "m").read_bytes()[damaged])
        model.save(tmp_path / "damaged", number=4)
        assert VisualTopicModel.load(tmp_path / "damaged").notes_ == {"number": 4}
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "model.json").write_text('{"format": 2}')
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("file_name,text\n")
    (tmp_path / "lost").symlink_to(tmp_path / "gone")
    save_arrays(tmp_path / "theta", {"theta": np.ones(3)}, {"kind": "other"})
    os.mkfifo(tmp_path / "fifo")
    before = tree(tmp_path)
    for name, message in (
        ("older", "is a folder, and a model is one file; name another place for the model"),
        ("empty", "is a folder, and a model is one file; name another place for the model"),
        ("table.csv", "exists and is no model; remove it, or name another file for the model"),
        ("lost", "exists and is no model"),
        ("theta", "exists and is no model"),
        ("fifo", "exists and is no model"),
    ):
        with pytest.raises(DataError, match=f"/{name}: {message}"):
            model.save(tmp_path / name)
    assert tree(tmp_path) == before


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_model_is_there_when_its_replacement_was_killed(corpus, model, tmp_path, moment):
    place = tmp_path / "m"
    model.save(place, number=1)
    replace = os.replace

    def die(*names):
        if moment == "after":
            replace(*names)
        os.kill(os.getpid(), signal.SIGKILL)

    if (child := os.fork()) == 0:
        os.replace = die
        try:
            model.save(place, number=3)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    loaded = VisualTopicModel.load(place)
    assert loaded.notes_ == {"number": 1 if moment == "before" else 3}
    np.testing.assert_array_equal(loaded.transform(corpus.images[:3]), model.transform(corpus.images[:3]))
    (tmp_path / ".mine.tmp").touch()
    for left in tmp_path.glob(".m*.tmp"):
        os.utime(left, (time.time() - LEFT_BEHIND - 9,) * 2)
    model.save(place, number=4)
    assert VisualTopicModel.load(place).notes_ == {"number": 4}
    assert {*tmp_path.iterdir()} == {place, tmp_path / ".mine.tmp"}


def test_a_model_is_pickled_copied_and_sent_to_workers(corpus, model, tmp_path):
    from joblib.externals.loky import ProcessPoolExecutor

    theta, text = model.transform(corpus.images[:8]), model.transform_text(corpus.texts[:8])
    # As a session of ONNX Runtime is, the encoder's state cannot be pickled.
    model._encoders.pair.image.session = threading.Lock()
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    assert hasattr(model._encoders.pair.image, "session")
    for again in copies:
        np.testing.assert_array_equal(again.transform(corpus.images[:8]), theta)
        np.testing.assert_array_equal(again.transform_text(corpus.texts[:8]), text)
        assert again._encoders.keys == model._encoders.keys
        again.save(tmp_path / "m")
    with ProcessPoolExecutor(max_workers=1) as workers:  # what joblib.Parallel sends its work to
        np.testing.assert_array_equal(workers.submit(model.transform, corpus.images[:8]).result(), theta)


def test_what_is_saved_is_what_was_fitted(corpus, tmp_path):
    fitted = VisualTopicModel(**SMALL | {"epochs": 3, "validation": 0}).fit(corpus.texts, corpus.images)
    fitted.set_params(n_topics=50, epochs=7).save(tmp_path / "m")
    assert VisualTopicModel.load(tmp_path / "m").get_params()["n_topics"] == 6


class Other:
    """Encoders under another name, as weights of another version are."""

    def __init__(self, encoder) -> None:
        self._encoder, self.key, self.dim = encoder, f"other-{encoder.key}", encoder.dim
        self.size = getattr(encoder, "size", None)

    def preprocess(self, image):
        return self._encoder.preprocess(image)

    def encode(self, batch):
        return self._encoder.encode(batch)


def test_another_encoder_than_that_of_training_is_refused(corpus, model, tmp_path):
    pair = load_encoder("pixels")
    other = EncoderPair("other", Other(pair.text), Other(pair.image), aligned=False)
    model.save(tmp_path / "m")
    for another, reads in (
        (other, "text encoder pixels-hashed"),
        (EncoderPair("mixed", pair.text, other.image, aligned=False), "image encoder pixels-colours"),
    ):
        with pytest.raises(DataError, match=f"trained with the {reads}") as raised:
            VisualTopicModel.load(tmp_path / "m", encoder=another)
        assert "\n" not in str(raised.value)


def test_an_encoder_that_is_not_here_is_missed_only_where_it_is_needed(corpus, model, tmp_path, monkeypatch):
    model.save(tmp_path / "m")
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "empty"))
    asked = []

    def fetched_no_more(name, *_):
        asked.append(name)
        raise MissingError("no weights")

    monkeypatch.setattr("vtm.encoders.offline.fetch_checked", fetched_no_more)
    loaded = VisualTopicModel.load(tmp_path / "m", encoder="offline")
    assert loaded.topics(3) == model.topics(3) and not asked
    with pytest.raises(MissingError, match="no weights"):
        loaded.transform(corpus.images[:1])


def test_topics_whose_words_do_not_belong_together_are_mixed(corpus, embeddings, tmp_path):
    plain = load_encoder("pixels")
    odd = {}

    class Themes:
        """A word lies with the other words of its topic, but each of the first topic's with another topic's."""

        key, dim = "themes", 256

        def encode(self, texts):
            if not set(texts) <= set(odd):
                return plain.text.encode(texts)
            return np.stack([odd[text] for text in texts]).astype(np.float32)

    options = SMALL | {
        "method": "plus",
        "epochs": 60,
        "encoder": EncoderPair("t", Themes(), plain.image, False),
    }
    before = VisualTopicModel(**options, cache=tmp_path / "a").fit(corpus.texts, corpus.images)
    heads = before.topics(5, all_forms=True)
    for k, head in enumerate(heads):
        for place, word in enumerate(head):
            vector = np.zeros(256)
            vector[1 + place if k == 0 else k] = 1
            odd.setdefault(word, vector)
    after = VisualTopicModel(**options, cache=tmp_path / "b").fit(corpus.texts, corpus.images)
    assert after.topics(5, all_forms=True) == heads
    # Words that a topic shares with the first one lie with that one's.
    assert after.mixed_[0] and (~after.mixed_[1:]).sum() >= 4
    after.save(tmp_path / "m")
    loaded = VisualTopicModel.load(tmp_path / "m", encoder=options["encoder"])
    np.testing.assert_array_equal(loaded.intrusion_, after.intrusion_)
    text, image = embeddings
    own = VisualTopicModel(**SMALL | {"method": "plus", "epochs": 60})
    own.fit(corpus.texts, text_embeddings=text, image_embeddings=image)
    assert np.isnan(own.intrusion_).all() and not own.mixed_.any()


def test_an_encoder_of_ones_own_is_given_again(corpus, embeddings, tmp_path):
    pair = load_encoder("pixels")
    own = EncoderPair("own", Other(pair.text), Other(pair.image), aligned=False)
    fitted = VisualTopicModel(**SMALL | {"encoder": own}).fit(corpus.texts, corpus.images)
    fitted.save(tmp_path / "m")
    theta = fitted.transform(corpus.images[:3])
    without = VisualTopicModel.load(tmp_path / "m")
    np.testing.assert_array_equal(without.transform(image_embeddings=embeddings[1][:3]), theta)
    with pytest.raises(ConfigError, match="an encoder of your own: load it with encoder="):
        without.transform(corpus.images[:3])
    given = VisualTopicModel.load(tmp_path / "m", encoder=own)
    np.testing.assert_array_equal(given.transform(corpus.images[:3]), theta)
