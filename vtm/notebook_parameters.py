"""An experiment from the flat parameters that a notebook or a command line has, and profiles of them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from vtm.config import BowConfig, Experiment, ModelConfig
from vtm.errors import ConfigError

# The notebooks' parameters by the dataclass that holds them.
_EXPERIMENT = (
    *("corpus", "encoder", "n_topics", "seeds", "split_seed", "mode", "measure", "device"),
    *("max_texts", "study_folder"),
)
_MODEL = tuple(f.name for f in dataclasses.fields(ModelConfig))
_BOW = tuple(f.name for f in dataclasses.fields(BowConfig))
PARAMETERS = (*_EXPERIMENT, *_MODEL, *_BOW)


def from_parameters(parameters: Mapping[str, Any]) -> Experiment:
    """Build an experiment from flat parameters, as a notebook or a command line has them.

    `n_topics` and `seeds` may be one number or a list; what is not named keeps its default.

    Parameters
    ----------
    parameters
        The fields of `Experiment`, `ModelConfig` and `BowConfig` by their names, all on one level.

    Raises
    ------
    ConfigError
        An unknown name (the message suggests the nearest) or a value that cannot be used.

    Examples
    --------
    >>> from vtm import from_parameters
    >>> experiment = from_parameters({"corpus": "scenes:n=60", "encoder": "pixels", "n_topics": [4, 6], "epochs": 5})
    >>> experiment.n_topics, experiment.model.epochs, experiment.bow.min_df
    ((4, 6), 5, 3)
    """
    for name in parameters:
        if name not in PARAMETERS:
            raise ConfigError(unknown_parameter(name, PARAMETERS))

    def pick(names: Iterable[str]) -> dict[str, Any]:
        return {name: parameters[name] for name in names if name in parameters}

    def build(cls: type, **values: Any) -> Any:
        for f in dataclasses.fields(cls):
            if f.name in values and f.default is not dataclasses.MISSING:
                values[f.name] = _as_type_of(f.name, f.default, values[f.name])
        return cls(**values)

    return build(
        Experiment,
        **pick(_EXPERIMENT),
        model=build(ModelConfig, **pick(_MODEL)),
        bow=build(BowConfig, **pick(_BOW)),
    )


def _as_type_of(name: str, default: Any, value: Any) -> Any:
    """`value` as the type of the parameter's default, or an error that names both."""
    if isinstance(default, tuple):
        return value
    if isinstance(default, bool) or isinstance(value, bool):
        good = isinstance(default, bool) and isinstance(value, bool)
    elif isinstance(default, float):
        good = isinstance(value, int | float)
        value = float(value) if good else value
    else:
        good = isinstance(value, type(default))
    if not good:
        raise ConfigError(
            f"{name}={value!r}: must be of type {type(default).__name__}, as in {name}={default!r}"
        )
    return value


def unknown_parameter(name: str, known: Iterable[str]) -> str:
    """The message for a parameter that nobody reads."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"unknown parameter {name!r}: {hint}"


# What IPython and papermill put into a notebook's namespace, besides the parameters.
_NOTEBOOK_NAMES = {"In", "Out", "exit", "quit", "open", "get_ipython", "vtm", "papermill"}


def from_notebook(namespace: Mapping[str, Any]) -> Experiment:
    """Build the experiment from a notebook's `globals()`, called right after the parameters' cell.

    papermill only prints a line for a parameter that the notebook does not know; here it is an error.

    Raises
    ------
    ConfigError
        As `from_parameters`.

    Examples
    --------
    >>> import vtm
    >>> corpus, encoder, n_topics = "scenes", "pixels", [4, 6]  # the parameters' cell
    >>> vtm.from_notebook(globals()).n_topics
    (4, 6)
    """
    parameters = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in _NOTEBOOK_NAMES
    }
    return from_parameters(parameters)


# name -> parameters of all notebooks.
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": dict(
        corpus="scenes:n=300",
        encoder="pixels",
        n_topics=[10, 16],
        seeds=[0, 1],
        epochs=40,
        batch_size=16,
        min_df=2,
        max_texts=300,
    ),
    "default": {},
    "paper": dict(
        corpus="newsimages",
        encoder="clip",
        seeds=[0, 1, 2, 3, 4],
        kl_weight=1.0,
        standardize=False,
        min_df=1,
    ),
    "study": dict(seeds=[0, 1, 2, 3, 4]),
}


def profile_parameters(profile: str) -> dict[str, Any]:
    """The parameters that a profile sets.

    Raises
    ------
    ConfigError
        No such profile.
    """
    if profile not in PROFILES:
        raise ConfigError(f"profile {profile!r}: must be one of {', '.join(PROFILES)}")
    return dict(PROFILES[profile])
