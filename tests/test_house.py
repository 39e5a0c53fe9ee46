"""Imports follow the data: config, corpora, encoders and words, model, theta, figures; and `import vtm` is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vtm

PACKAGE = Path(vtm.__file__).resolve().parent
HEAVY = ("torch", "open_clip", "gensim", "onnxruntime", "sentence_transformers", "matplotlib")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


class Imports(ast.NodeVisitor):
    """All that a module imports, in functions too, but for what only type checkers read."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports are absolute"
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            self.found.add(whole if whole in FILES else node.module)


def imports_of(source: str) -> set[str]:
    visitor = Imports()
    visitor.visit(ast.parse(source))
    return visitor.found


DIRECT = {name: imports_of(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def reach(module: str) -> set[str]:
    """What a module imports, and what these import in turn: modules of vtm, and others by their first name.

    `vtm.config` makes torch's generators as well as NumPy's: it is torch to those alone who import torch themselves.
    """
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for name in DIRECT[waiting.pop()]:
            known = name if name in FILES else name.partition(".")[0]
            if known not in seen:
                seen.add(known)
                if known in FILES and known != "vtm.config":
                    waiting.append(known)
    return seen


def within(modules: set[str], *tops: str) -> set[str]:
    """Those of `modules` that are one of `tops` or part of it."""
    return {name for name in modules for top in tops if name == top or name.startswith(top + ".")}


def members(*names: str) -> list[str]:
    return sorted(within(set(FILES), *(f"vtm.{name}" for name in names)))


DATA = ("vtm.corpora", "vtm.encoders", "vtm.corpora.fetch", "vtm.corpora.pictures")
MODEL = (
    *(
        "vtm.model.network",
        "vtm.model.training",
        "vtm.model.topicmodel",
        "vtm.model.distill",
        "vtm.model.align",
        "vtm_study.reference",
    ),
    *(
        "vtm.model.steps",
        "vtm.model.steps",
        "vtm.model.steps",
        "vtm.model.steps",
        "vtm.model.steps",
        "vtm.model.steps",
        "vtm.model.training",
    ),
    *("vtm.model.training", "benchmarks.growth", "benchmarks.training"),
)
TOP = (
    *("vtm.api", "vtm.api", "vtm.api", "vtm.api", "vtm.api", "vtm.api"),
    *("vtm.api", "vtm.api", "vtm.cli.tagging"),
    "vtm.experiment.prepare",
    "vtm.experiment.runs",
    "vtm.cli.notebooks",
    "vtm.cli.plan",
    "vtm.cli",
)
REPORT = (
    "vtm.report.tables",
    "vtm.report.figures",
    "vtm.report.findings",
    "vtm.experiment.results",
    "vtm.report.tables",
    "vtm.report.tables",
)


def test_the_walk_sees_imports_wherever_they_stand():
    source = """
from typing import TYPE_CHECKING
import numpy.linalg
if TYPE_CHECKING:
    import pandas
def f():
    from vtm.metrics import ranking
    from vtm.corpora import load_corpus
    if True:
        import torch
"""
    assert imports_of(source) == {"typing", "numpy.linalg", "vtm.metrics.ranking", "vtm.corpora", "torch"}
    assert {
        "vtm.config",
        "vtm.model.network",
        "vtm.corpora.base",
        "vtm.encoders.cache",
        "vtm.model.distill",
    } <= FILES.keys()
    assert {"torch", "vtm.model.network", "vtm.model.training", "vtm.config"} <= reach("vtm.model.distill")


@pytest.mark.parametrize("module", ["vtm.config", "vtm.config"])
def test_config_imports_none_of_the_others(module):
    assert within(reach(module), "vtm") <= {"vtm.config", "vtm.errors", "vtm.files"}
    assert not reach(module) & {"numpy", *HEAVY}


@pytest.mark.parametrize("module", members("ranking", "metrics", "topic_metrics", "theta_metrics"))
def test_from_theta_on_there_are_arrays_only(module):
    assert "torch" not in reach(module)
    assert within(reach(module), "vtm") <= {"vtm.errors", "vtm.metrics.ranking", "vtm.metrics.retrieval"}


@pytest.mark.parametrize("module", members("corpora", "encoders", "bow", "fetch", "pictures"))
def test_data_know_no_model(module):
    assert not within(reach(module), *MODEL, *TOP, *REPORT)


@pytest.mark.parametrize("module", members("corpora", "bow"))
def test_corpora_and_words_know_no_encoder(module):
    assert not within(reach(module), "vtm.encoders", "torch", "onnxruntime", "sentence_transformers")


@pytest.mark.parametrize("module", members(*(name.removeprefix("vtm.") for name in MODEL)))
def test_models_know_no_corpus_encoder_or_report(module):
    assert not within(reach(module), *DATA, *TOP, *REPORT)


@pytest.mark.parametrize("module", members("report", "figures", "findings", "results", "runs", "data_tables"))
def test_reports_read_files_only(module):
    assert not within(
        reach(module), *MODEL, *TOP, "vtm.encoders", "vtm.corpora", "torch", "open_clip", "onnxruntime"
    )


def test_the_top_is_imported_from_above_only():
    above = {
        "vtm.cli": {"vtm.__main__"},
        "vtm.cli.notebooks": {"vtm.cli"},
        "vtm.cli.plan": {"vtm.cli.notebooks"},
    }
    for top, allowed in above.items():
        assert {name for name, found in DIRECT.items() if top in found} <= allowed


def test_no_import_goes_in_a_circle():
    """A package's own parts may ask their package for its types; otherwise no module reaches itself."""
    circles = {name for name in FILES if name in reach(name)}
    assert circles <= set(members("encoders"))


def loaded_by(statement: str) -> set[str]:
    """Which heavy modules a fresh interpreter holds after a statement."""
    code = f"{statement}; import sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PACKAGE.parent)
    return set(done.stdout.split())


def test_the_check_of_loaded_modules_can_fail():
    assert loaded_by("import vtm.model.network") >= {"torch"}


@pytest.mark.parametrize(
    "statement",
    ["import vtm", "import vtm.config, vtm.corpora, vtm.encoders, vtm.corpora.words", "import vtm.cli"],
)
def test_light_imports(statement):
    assert loaded_by(statement) == set()


def test_metrics_and_reports_load_no_model():
    statement = "import vtm.metrics.ranking, vtm.metrics.retrieval, vtm.metrics.topics, vtm.metrics.topics, vtm.report.figures, vtm.report.findings"
    assert not loaded_by(statement) & {"torch", "onnxruntime", "sentence_transformers", "open_clip", "gensim"}


def test_importing_everything_light_makes_no_file(tmp_path):
    code = "import vtm, vtm.config, vtm.files, vtm.corpora, vtm.encoders, vtm.cli"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(PACKAGE.parent), "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert list(tmp_path.iterdir()) == []
