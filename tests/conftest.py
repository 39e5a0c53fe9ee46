"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kernels import forked_kernels

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """The real NewsImages files, where VTM_NEWSIMAGES does not say, may lie beside the checkout."""
    folder = ROOT.parent / "shared" / "newsimages"
    if folder.is_dir():
        os.environ.setdefault("VTM_NEWSIMAGES", str(folder))


def worker_group(item: pytest.Item) -> str:
    """What one worker of pytest-xdist takes as a whole: a file, for its fixtures' sake, or what a mark names."""
    if "smoke_run" in item.fixturenames:
        return "smoke"  # in several files
    named = item.get_closest_marker("xdist_group")
    return named.args[0] if named else item.nodeid.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The executed chapters come first, then groups with a slow test: begun late, they would be waited for."""
    groups = {item: worker_group(item) for item in items}
    for item, group in groups.items():
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(group))
    slow = {groups[item] for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (groups[item] != "smoke", groups[item] not in slow))


@pytest.fixture(scope="session")
def smoke_parameters() -> dict[str, int]:
    """Set over the smoke profile's: a study of fewer texts has the same tables."""
    return {"max_texts": 100}


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory, smoke_parameters: dict[str, int]) -> Path:
    """A folder with what a smoke run of the checkout's notebooks left: data/, runs/ and executed/."""
    from vtm.cli.notebooks import run_notebooks

    folder = tmp_path_factory.mktemp("smoke")
    kernels = forked_kernels(tmp_path_factory.mktemp("kernels"))
    with pytest.MonkeyPatch.context() as patch, kernels as variables:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setenv("VTM_DATA", str(folder / "data"))
        patch.setenv("VTM_RUNS", str(folder / "runs"))
        patch.setenv("TQDM_DISABLE", "1")
        run_notebooks("smoke", smoke_parameters, out=folder / "executed")
    return folder


@pytest.fixture(scope="session")
def executed_smoke(smoke_run: Path) -> Path:
    """The folder of the notebooks executed with the smoke profile."""
    return smoke_run / "executed"
