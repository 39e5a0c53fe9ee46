"""Every public name has an example in its docstring, and the examples do what they show."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import vtm
from vtm.model.topicmodel import TopicModel

CLASSES = (vtm.VisualTopicModel, TopicModel)


def public() -> dict[str, Any]:
    """Name -> object: what `vtm` exports, and the public methods of its models."""
    # From their modules: once it is imported, the module `vtm.experiment.prepare` stands in the place of the function.
    found = {
        name: getattr(importlib.import_module(vtm._NAMES[name]), name)
        for name in vtm.__all__
        if name != "__version__"
    }
    for cls in CLASSES:
        found |= {
            f"{cls.__name__}.{name}": method
            for name, method in inspect.getmembers(cls, inspect.isroutine)
            if name[0] != "_" and method.__module__.startswith("vtm")
        }
    return found


PUBLIC = public()


def example_of(docstring: str | None, name: str) -> doctest.DocTest:
    """The section "Examples" of a docstring."""
    _, heading, section = inspect.cleandoc(docstring or "").partition("\nExamples\n--------\n")
    assert heading, f"{name}: no section Examples"
    test = doctest.DocTestParser().get_doctest(section, {}, name, None, 0)
    assert test.examples, f"{name}: no example"
    assert any(example.want for example in test.examples), f"{name}: its example shows nothing"
    return test


def run(test: doctest.DocTest) -> str:
    """What differs from what the example shows."""
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return "".join(said)


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory: pytest.TempPathFactory):
    """Data and runs of their own, and no network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("VTM_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setattr("socket.socket.connect", lambda *_: pytest.fail("an example needs the network"))
        yield


def test_the_models_methods_are_among_the_public_names() -> None:
    assert len(PUBLIC) > len(vtm.__all__) + 12
    assert {f"VisualTopicModel.{name}" for name in ("fit", "transform", "rank", "save", "load")} <= set(
        PUBLIC
    )
    assert {f"TopicModel.{name}" for name in ("theta", "topics", "save", "load")} <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_does_what_it_shows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An example that left a file would leave it in the reader's folder.
    monkeypatch.chdir(tmp_path)
    assert run(example_of(PUBLIC[name].__doc__, name)) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("docstring", "message"),
    [
        (None, "no section Examples"),
        ("Of use.\n\n>>> 1\n1\n", "no section Examples"),
        ("Of use.\n\nExamples\n--------\nSee the tutorial.\n", "no example"),
        ("Of use.\n\nExamples\n--------\n>>> x = 1\n", "shows nothing"),
    ],
)
def test_a_docstring_without_an_example_is_found(docstring: str | None, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        example_of(docstring, "it")


def test_an_example_that_shows_something_else_is_found() -> None:
    said = run(example_of("Of use.\n\nExamples\n--------\n>>> 1 + 1\n3\n", "it"))
    assert re.search(r"Expected:\s+3\s+Got:\s+2", said)
