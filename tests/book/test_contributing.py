"""CONTRIBUTING.md: its example changes apply to the package as it is, and do what they are for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHANGES = re.findall(
    r"^```diff\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)

RUN = """
import json, pathlib, sys
import numpy, vtm
from vtm.metrics.retrieval import median_rank
from vtm_study.told import GLUED

cells = json.loads(pathlib.Path("notebooks/16-lengths.ipynb").read_text())["cells"]
parameters, *rest = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
space = {}
exec(parameters, space)
exec('corpus = "tiles"; encoder = "grey"; min_df = 1', space)
for cell in rest:
    exec(cell, space)
data = space["data"]
numpy.savez("out.npz", image=data.image, ids=data.corpus.ids, **GLUED, median=median_rank(numpy.array([9, 1, 2, 40])))
print(vtm.__file__)
"""


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the changes are about, with all of them applied."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    copy = tmp_path_factory.mktemp("contributing")
    for package in ("vtm", "vtm_study"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "notebooks", copy / "notebooks")
    shutil.copy(ROOT / "_toc.yml", copy)
    for change in CHANGES:
        command = ["git", "apply", "--whitespace=error", "-"]
        # Not in the repository that the temporary folder may lie in.
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(copy.parent)}
        done = subprocess.run(
            command, cwd=copy, input=change, text=True, capture_output=True, env=environment
        )
        assert done.returncode == 0, f"{done.stderr}\n{change[:200]}: bring CONTRIBUTING.md up to date"
    return copy


def test_there_is_an_example_of_each_kind() -> None:
    touched = [re.findall(r"^\+\+\+ b/(\S+)", change, re.MULTILINE) for change in CHANGES]
    assert touched == [
        ["vtm/encoders/__init__.py", "vtm/encoders/grey.py"],
        ["vtm/corpora/__init__.py", "vtm/corpora/tiles.py"],
        ["vtm/metrics/retrieval.py"],
        ["_toc.yml", "notebooks/16-lengths.ipynb"],
    ]


def test_the_examples_run(changed: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(changed), "VTM_DATA": "data", "VTM_RUNS": "runs"}
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=changed, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(changed / "vtm" / "__init__.py")]
    out = np.load(changed / "out.npz")
    # A tile covers one of the 64 cells, and its picture's number says which.
    assert out["ids"].tolist() == [f"{i:02}" for i in range(64)]
    np.testing.assert_array_equal(out["image"], np.eye(64))
    # Of a caption the words that stand in all captions are left out; two tell the place.
    assert out["mean_words"] == 2 and out["median"] == 5.5


def test_the_example_chapter_is_written_as_the_chapters_are(changed: Path) -> None:
    notebook = nbformat.read(changed / "notebooks" / "16-lengths.ipynb", as_version=4)
    nbformat.validate(notebook)
    parameters = notebook.cells[1]
    assert parameters.metadata.tags == ["parameters", "remove-cell"]
    assert notebook.cells[0].source.startswith("# ") and "{glue:" in notebook.cells[-1].source
    parts = yaml.safe_load((changed / "_toc.yml").read_text("utf-8"))["parts"]
    assert "executed/16-lengths" in [chapter["file"] for part in parts for chapter in part["chapters"]]
