"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """The real NewsImages files, where VTM_NEWSIMAGES does not say, may lie beside the checkout."""
    folder = ROOT.parent / "shared" / "newsimages"
    if folder.is_dir():
        os.environ.setdefault("VTM_NEWSIMAGES", str(folder))


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a smoke run of the checkout's notebooks left: data/, runs/ and executed/."""
    from vtm.cli.notebooks import run_notebooks

    folder = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(folder / "data"))
        patch.setenv("VTM_RUNS", str(folder / "runs"))
        patch.setenv("TQDM_DISABLE", "1")
        run_notebooks("smoke", out=folder / "executed")
    return folder


@pytest.fixture(scope="session")
def executed_smoke(smoke_run: Path) -> Path:
    """The folder of the notebooks executed with the smoke profile."""
    return smoke_run / "executed"
