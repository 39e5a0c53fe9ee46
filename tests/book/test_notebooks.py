"""The notebooks: how their sources are written, and that running them again gives what they show."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
import yaml
from kernels import forked_kernels
from papermill.exceptions import PapermillExecutionError

from vtm.cli.notebooks import run_notebooks
from vtm.config import PARAMETERS, PROFILES, Experiment, from_parameters
from vtm.errors import ConfigError, VtmError

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def defaults(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """What the parameters' cell sets: it may hold nothing but literals."""
    (cell,) = tagged(notebook, "parameters")
    found = {}
    for statement in ast.parse(cell.source).body:
        assert isinstance(statement, ast.Assign), f"not `name = value`: {ast.unparse(statement)}"
        (target,) = statement.targets
        assert target.id not in found, f"{target.id} is set twice"
        found[target.id] = ast.literal_eval(statement.value)
    return found


def test_every_chapter_of_the_book_has_a_source_and_the_reverse() -> None:
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))["parts"]
    chapters = [chapter["file"] for part in parts for chapter in part["chapters"]]
    executed = [name for name in chapters if name.startswith("executed/")]
    assert sorted(executed) == [f"executed/{path.stem}" for path in SOURCES]
    # Whoever reads on reads the conclusions right after the findings that they rest on.
    assert chapters[chapters.index("executed/15-findings") + 1] == "conclusions"
    assert [path.stem[:2] for path in SOURCES] == [f"{n:02d}" for n in range(1, len(SOURCES) + 1)]


@each_source
def test_source_is_a_valid_notebook_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "papermill" not in notebook.metadata and "widgets" not in notebook.metadata
    for cell in notebook.cells:
        assert cell.source.strip(), "an empty cell"
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            ast.parse(cell.source)


@each_source
def test_source_opens_with_a_title_and_ends_with_prose(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert len(cells[0].source.splitlines()) > 2, "the title alone says not what the chapter asks"
    assert cells[-2].cell_type == "markdown" and "{glue:" in cells[-2].source
    # The book fills it in; for who runs the notebook alone, the last cell does.
    assert cells[-1].source == f'told("{path.stem}")' and cells[-1].metadata.tags == ["remove-cell"]


@each_source
def test_source_sets_the_books_style(path: Path) -> None:
    """Without it a table's cells are cut after fifty characters, so only where a text is long enough to notice."""
    cells = nbformat.read(path, as_version=4).cells
    assert any("figures.style()" in cell.source.splitlines() for cell in cells if cell.cell_type == "code")


@each_source
def test_parameters_are_known_and_have_the_experiments_defaults(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    (cell,) = tagged(notebook, "parameters")
    assert "remove-cell" in cell.metadata.tags
    found = defaults(notebook)
    assert set(found) <= set(PARAMETERS)
    assert from_parameters(found) == Experiment()
    assert {name: papermill.inspect_notebook(str(path))[name]["name"] for name in found} == {
        n: n for n in found
    }


def test_every_parameter_of_a_profile_is_read_by_a_notebook() -> None:
    declared = {name for path in SOURCES for name in defaults(nbformat.read(path, as_version=4))}
    for profile, parameters in PROFILES.items():
        assert set(parameters) <= declared, profile


def until_the_experiment(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells up to the line that reads the experiment; the one after it says that it was passed."""
    cells = notebook.cells
    reading = next(n for n, cell in enumerate(cells) if "vtm.from_notebook(globals())" in cell.source)
    lines = cells[reading].source.splitlines()
    last = next(number for number, line in enumerate(lines) if "from_notebook" in line)
    # Should the name pass, this says so, rather than that hours of computing begin.
    cells[reading].source = "\n".join([*lines[: last + 1], "raise SystemExit('passed')"])
    return cells[: reading + 1]


@each_source
def test_unknown_parameter_given_by_hand_is_an_error(path: Path) -> None:
    namespace: dict[str, Any] = {}
    with pytest.raises(ConfigError, match="unknown parameter 'n_topic': did you mean 'n_topics'\\?"):
        for cell in until_the_experiment(nbformat.read(path, as_version=4)):
            if cell.cell_type == "code":
                exec(cell.source, namespace)
            if "parameters" in cell.metadata.get("tags", ()):
                namespace["n_topic"] = 12


def test_papermill_passes_an_unknown_parameter_on(tmp_path: Path) -> None:
    """It prints a line itself, and goes on with the defaults."""
    notebook = nbformat.read(SOURCES[0], as_version=4)
    notebook.cells = until_the_experiment(notebook)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        with pytest.raises(PapermillExecutionError) as raised:
            papermill.execute_notebook(
                notebook,
                str(tmp_path / "out.ipynb"),
                parameters={"n_topic": 12},
                progress_bar=False,
                cwd=str(tmp_path),
            )
    assert raised.value.ename == "ConfigError"
    assert raised.value.evalue == "unknown parameter 'n_topic': did you mean 'n_topics'?"


def test_unknown_parameter_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(VtmError, match="unknown parameter 'n_topic': did you mean 'n_topics'"):
        run_notebooks("smoke", {"n_topic": 12}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_smoke_run_holds_every_chapter_and_no_error(executed_smoke: Path) -> None:
    assert [path.name for path in sorted(executed_smoke.glob("*.ipynb"))] == [path.name for path in SOURCES]
    for path in sorted(executed_smoke.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code), path.name
        # What is on stderr would not stand in the book: a warning there is one that nobody reads.
        said = [
            o for cell in code for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"
        ]
        assert said == [], path.name
        (told,) = notebook.cells[-1].outputs
        assert told.data["text/markdown"].startswith("## What this chapter found\n"), path.name
        assert "{" not in told.data["text/markdown"] and ":::" not in told.data["text/markdown"], path.name
        (injected,) = tagged(notebook, "injected-parameters")
        assert "scenes" in injected.source


SANITIZE = """
import re, sys
patterns = re.findall("^regex: (.*)$", open(sys.argv[1], encoding="utf-8").read(), re.MULTILINE)
line = "<img src='data:image/webp;base64," + "ab1C2d/+" * 2**17 + "'>"
print(len(patterns), *{re.sub(pattern, "x", line) == line for pattern in patterns})
"""


def test_a_picture_within_a_line_is_compared_at_once() -> None:
    """A pattern that is tried from each place of a line to its end takes a quarter of an hour for a megabyte."""
    command = [sys.executable, "-c", SANITIZE, str(ROOT / "nbval_sanitize.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "7 True\n"


@pytest.mark.slow
def test_running_again_gives_what_the_chapters_show(smoke_run: Path, tmp_path: Path) -> None:
    """nbval runs each cell anew and compares its outputs; trained models are read from the first run.

    Its kernels are of another process than the first run's: Python's hashes have another seed.
    """
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-sanitize-with"]
    command += [str(ROOT / "nbval_sanitize.cfg"), "-q", "-p", "no:cacheprovider", "--rootdir", str(smoke_run)]
    executed = sorted(map(str, (smoke_run / "executed").glob("*.ipynb")))
    assert len(executed) == len(SOURCES)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "VTM_DATA": str(smoke_run / "data"),
        "VTM_RUNS": str(smoke_run / "runs"),
        "TQDM_DISABLE": "1",
    }
    with forked_kernels(tmp_path) as variables:
        done = subprocess.run(
            [*command, *executed], capture_output=True, text=True, env=environment | variables, timeout=1800
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.slow
def test_smoke_run_is_current_afterwards(smoke_run: Path, smoke_parameters: dict[str, int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(smoke_run / "data"))
        patch.setenv("VTM_RUNS", str(smoke_run / "runs"))
        steps = run_notebooks("smoke", smoke_parameters, out=smoke_run / "executed", dry_run=True)
    assert [(step.name, step.status) for step in steps] == [(path.stem, "current") for path in SOURCES]
