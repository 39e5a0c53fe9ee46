"""What several test files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import forked_kernels

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """The real NewsImages files, where VTM_NEWSIMAGES does not say, may lie beside the checkout."""
    folder = ROOT.parent / "shared" / "newsimages"
    if folder.is_dir():
        os.environ.setdefault("VTM_NEWSIMAGES", str(folder))


# Files whose tests read the executed chapters, which are run once.
SMOKE = ("tests/book/test_book.py", "tests/book/test_notebooks.py")
# A file of long tests that share nothing.
APART = "tests/book/test_docs.py"


def worker_group(nodeid: str) -> str:
    """What one worker of pytest-xdist takes as a whole: a file, for its fixtures' sake; some files together, one apart."""
    path = nodeid.partition("::")[0]
    if path in SMOKE:
        return "smoke"
    return nodeid.partition("[")[0] if path == APART else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Its own `loadgroup` does nothing with pytest 9.2: no node has the attribute any more that xdist 3.8 writes to."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return worker_group(nodeid)

    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The executed chapters come first, then groups with a slow test: begun late, they would be waited for."""
    slow = {worker_group(item.nodeid) for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (worker_group(item.nodeid) != "smoke", worker_group(item.nodeid) not in slow))


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder of data for the tests of a file, which name it in `pytest.mark.usefixtures`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(folder := tmp_path_factory.mktemp("data")))
        yield folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After the whole suite: which stored measurements are older than the code that they follow from."""
    from vtm_study.driver import older_than_code

    if terminalreporter.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    if older := older_than_code():
        terminalreporter.section("stored measurements that are older than their code")
        for name, modules in older.items():
            terminalreporter.write_line(f"results/{name}: since then changed {', '.join(modules)}")


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
