"""Parameters: each bad value is refused by name, and each good one changes the hash of what follows from it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vtm import config as notebook_parameters
from vtm.config import (
    BowConfig,
    Experiment,
    ModelConfig,
    from_notebook,
    from_parameters,
    parse_corpus,
    profile_parameters,
)
from vtm.errors import ConfigError

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "name, value",
    [
        ("decoder", "prodlda"),
        ("decoder", 1),
        ("hidden", []),
        ("hidden", [100, 0]),
        ("hidden", [100.5]),
        ("hidden", "100,100"),
        ("hidden", None),
        ("activation", "tanh"),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", NAN),
        ("epochs", 0),
        ("epochs", 2.0),
        ("epochs", True),
        ("epochs", "100"),
        ("batch_size", 1),
        ("n_samples", 0),
        ("n_samples", 100_001),
        ("lr", 0.0),
        ("lr", NAN),
        ("lr", INF),
        ("lr", "0.1"),
        ("beta1", 1.0),
        ("beta2", -0.5),
        ("kl_weight", -1.0),
        ("kl_weight", NAN),
        ("kl_weight", INF),
        ("standardize", 1),
        ("standardize", "false"),
        ("max_words", 0),
        ("min_df", 0),
        ("max_df", 0.0),
        ("max_df", 1.5),
        ("min_length", 0),
        ("stop_words", "photo"),
        ("stop_words", [3]),
        ("ngrams", 0),
        ("ngrams", 3),
        ("corpus", ""),
        ("corpus", 3),
        ("encoder", None),
        ("n_topics", 1),
        ("n_topics", [60, 1]),
        ("n_topics", []),
        ("n_topics", [60, 60]),
        ("n_topics", 60.0),
        ("n_topics", "60"),
        ("n_topics", None),
        ("n_topics", True),
        ("seeds", -1),
        ("seeds", [0, 0]),
        ("seeds", [0.5]),
        ("split_seed", "0"),
        ("fold", 5),
        ("fold", -1),
        ("fold", 0.5),
        ("twin_image", -0.1),
        ("twin_text", "0.97"),
        ("twin_both", float("nan")),
        ("mode", "posterior"),
        ("measure", "euclid"),
        ("device", 0),
    ],
)
def test_bad_values_are_named(name, value):
    with pytest.raises(ConfigError, match=rf"\b{name}=") as error:
        from_parameters({name: value})
    assert "\n" not in str(error.value)


def test_unknown_parameters_get_a_suggestion():
    with pytest.raises(ConfigError, match=r"unknown parameter 'n_topic': did you mean 'n_topics'\?"):
        from_parameters({"n_topic": 60})
    with pytest.raises(
        ConfigError, match="unknown parameter 'xyzzy': there are corpus, encoder, .*min_length"
    ):
        from_parameters({"xyzzy": 1})


def test_parameters_reach_their_part():
    experiment = from_parameters(
        {
            "n_topics": 30,
            "seeds": [4],
            "hidden": [50],
            "lr": 1,
            "standardize": True,
            "max_df": 1,
            "corpus": "scenes",
        }
    )
    assert experiment.n_topics == (30,) and experiment.seeds == (4,)
    assert experiment.model == ModelConfig(hidden=(50,), lr=1.0, standardize=True)
    assert isinstance(experiment.model.lr, float) and isinstance(experiment.bow.max_df, float)
    assert experiment.bow == BowConfig(max_df=1.0)
    assert from_parameters({}) == Experiment()


def test_parameters_name_every_field_once():
    fields = [f.name for cls in (Experiment, ModelConfig, BowConfig) for f in dataclasses.fields(cls)]
    assert sorted(notebook_parameters.PARAMETERS) == sorted(set(fields) - {"model", "bow"})
    assert len(set(notebook_parameters.PARAMETERS)) == len(notebook_parameters.PARAMETERS)


def test_a_notebook_takes_its_parameters_and_no_stray_name():
    notebook = {"In": [""], "Out": {}, "get_ipython": None, "_i1": "", "__name__": "__main__", "vtm": pytest}
    assert from_notebook(notebook | {"n_topics": 30}) == from_parameters({"n_topics": 30})
    with pytest.raises(ConfigError, match="unknown parameter 'epoch': did you mean 'epochs'"):
        from_notebook(notebook | {"epoch": 3})


OTHER = {
    "corpus": "scenes",
    "encoder": "pixels",
    "split_seed": 1,
    "fold": 1,
    "twin_image": 0.5,
    "twin_text": 0.5,
    "twin_both": 1.01,
    "mode": "none",
    "decoder": "LDA",
    "hidden": (100,),
    "activation": "relu",
    "standardize": not ModelConfig().standardize,
    "stop_words": ["photo"],
}


def other(name, default):
    if name in OTHER:
        return OTHER[name]
    return default / 2 if isinstance(default, float) else default + 1


@pytest.mark.parametrize("cls, part", [(ModelConfig, "model"), (BowConfig, "bow")])
def test_the_data_s_key_changes_with_every_field_of_the_words_and_none_of_the_models(cls, part):
    plain = Experiment()
    assert plain.data_key() == Experiment().data_key()
    for f in dataclasses.fields(cls):
        changed = from_parameters({f.name: other(f.name, f.default)})
        assert (changed.data_key() != plain.data_key()) == (part == "bow"), f.name


@pytest.mark.parametrize(
    "name", ["corpus", "encoder", "split_seed", "fold", "twin_image", "twin_text", "twin_both"]
)
def test_the_key_changes_with_the_data(name):
    assert from_parameters({name: OTHER[name]}).data_key() != Experiment().data_key()


def test_the_key_is_blind_to_what_the_data_do_not_follow_from():
    changed = Experiment(measure="dot", device="cpu", n_topics=(9,), seeds=(7,), mode="none")
    assert changed.data_key() == Experiment().data_key()


@pytest.mark.parametrize(
    "spec, name, options",
    [
        ("openclipart", "openclipart", {}),
        ("stamps:lang=de", "stamps", {"lang": "de"}),
        ("scenes:n=300", "scenes", {"n": 300}),
        (
            " photos/a b.csv:text_column=caption,image_column=file ",
            "photos/a b.csv",
            {"text_column": "caption", "image_column": "file"},
        ),
        ("C:\\photos\\a.csv", "C:\\photos\\a.csv", {}),
        ("C:\\photos\\a.csv:text_column=t", "C:\\photos\\a.csv", {"text_column": "t"}),
        ("a.csv:text_column=x=y", "a.csv", {"text_column": "x=y"}),
        ("new\nphotos:text_column=t", "new\nphotos", {"text_column": "t"}),
    ],
)
def test_corpus_and_its_options(spec, name, options):
    assert parse_corpus(spec) == (name, options)
    experiment = Experiment(corpus=spec)
    assert (experiment.corpus_name, experiment.corpus_options) == (name, options)


@pytest.mark.parametrize("profile", notebook_parameters.PROFILES)
def test_profiles_are_experiments(profile):
    parameters = profile_parameters(profile)
    from_parameters(parameters)
    parameters["epochs"] = 1
    assert profile_parameters(profile) != parameters  # a copy


def test_an_unknown_profile_is_refused():
    with pytest.raises(ConfigError, match="profile 'fast': choose from smoke, default, paper"):
        profile_parameters("fast")


def test_configurations_are_frozen():
    for value in (Experiment(), ModelConfig(), BowConfig()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.corpus = "x"


@pytest.mark.parametrize(
    "given, meant",
    [
        ({"epochs": np.int64(5)}, {"epochs": 5}),
        ({"lr": np.float32(0.5)}, {"lr": 0.5}),
        ({"standardize": np.bool_(False)}, {"standardize": False}),
        ({"n_topics": (4, 6)}, {"n_topics": [4, 6]}),
        ({"n_topics": np.array([4, 6])}, {"n_topics": [4, 6]}),
        ({"seeds": [np.int32(3)]}, {"seeds": 3}),
        ({"hidden": (np.int64(7),)}, {"hidden": 7}),
    ],
    ids=str,
)
def test_numbers_of_numpy_and_tuples_are_what_they_look_like_wherever_they_come_in(given, meant) -> None:
    assert from_parameters(given) == from_parameters(meant)
    (name,) = given
    for cls in (ModelConfig, BowConfig, Experiment):
        if name in {f.name for f in dataclasses.fields(cls)}:
            found = getattr(cls(**given), name)
            assert found == getattr(cls(**meant), name)
            parts = found if isinstance(found, tuple) else [found]
            assert {type(part) for part in parts} <= {int, float, bool}


@pytest.mark.parametrize(
    "wrong", [{"epochs": np.float64(5)}, {"seeds": (True,)}, {"hidden": [np.True_]}], ids=str
)
def test_what_is_no_whole_number_is_refused_at_every_door(wrong) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        from_parameters(wrong)
    with pytest.raises(ConfigError, match=name):
        (Experiment if name == "seeds" else ModelConfig)(**wrong)
