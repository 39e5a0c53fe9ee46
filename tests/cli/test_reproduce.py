"""`reproduce` on small notebooks: what runs, what is skipped and why, and what a failure leaves behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from rich.console import Console
from stopping import wait_for
from typer.testing import CliRunner

from vtm import files as paths
from vtm.cli import app
from vtm.cli import notebooks as pipeline
from vtm.cli.notebooks import Step, duration, run_notebooks, write_pages
from vtm.config import PARAMETERS, PROFILES
from vtm.errors import ConfigError, DataError, MissingError, VtmError

# Leaves one line for each execution, in the folder that the kernel works in.
LOG = "from pathlib import Path\nwith open('log.txt', 'a') as log:\n    print({values}, file=log)"


def write_notebook(folder: Path, name: str, parameters: str, *cells: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    notebook = new_notebook(
        cells=[
            new_markdown_cell(f"# {name}"),
            new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            *map(new_code_cell, cells),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two notebooks that write a log, and the folder for what they become."""
    return make_folders(tmp_path, monkeypatch)


def make_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VTM_RUNS", str(tmp_path / "runs"))
    source, out = tmp_path / "notebooks", tmp_path / "executed"
    write_notebook(source, "01-first", "epochs = 100", LOG.format(values="'first', epochs"))
    write_notebook(
        source, "02-second", "seeds = [0]\nmode = 'none'", LOG.format(values="'second', seeds, mode")
    )
    return source, out


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run of the two notebooks leaves."""
    folder = tmp_path_factory.mktemp("{finished}")  # papermill takes braces for placeholders
    with pytest.MonkeyPatch.context() as patch:
        source, out = make_folders(folder, patch)
        run((source, out))
    return out


@pytest.fixture
def ran(folders: tuple[Path, Path], finished: Path) -> tuple[Path, Path]:
    """As `folders`, after a run."""
    shutil.copytree(finished, folders[1])
    return folders


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps run in this process, where only what is run matters: a kernel takes seconds to start."""

    def execute(step: Step, console: Console) -> None:
        notebook = nbformat.read(step.source, as_version=4)
        namespace: dict[str, object] = {}
        with contextlib.chdir(step.output.parent):
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    exec(cell.source, namespace)
                if "parameters" in cell.metadata.get("tags", ()):
                    namespace |= step.parameters
        notebook.metadata["run"] = time.time_ns()  # a kernel's times differ from run to run, too
        nbformat.write(notebook, step.output)

    monkeypatch.setattr(pipeline, "_execute", execute)


def run(folders: tuple[Path, Path], parameters: dict | None = None, **options: object) -> list[Step]:
    source, out = folders
    return run_notebooks("default", parameters, notebooks=source, out=out, **options)


def statuses(steps: list[Step]) -> list[str]:
    return [step.status for step in steps]


def test_a_page_that_a_step_wrote_is_made_again_where_it_is_damaged_or_gone(
    folders: tuple[Path, Path], here: None
) -> None:
    """As the explorer's: a folder of files beside the outputs. What a later step wrote over is that step's."""
    source, out = folders
    page = "from pathlib import Path\nPath('site').mkdir(exist_ok=True)\n"
    page += "for name, text in {files}.items():\n    Path('site', name).write_text(text)"
    write_notebook(
        source, "02-second", "seeds = [0]", page.format(files={"a.html": "page", "b.webp": "sheet"})
    )
    write_notebook(source, "03-third", "seeds = [0]", page.format(files={"a.html": "another page"}))
    run(folders)
    assert statuses(run(folders)) == ["current"] * 3
    (out / "site" / "of-the-user.txt").write_text("not ours")
    assert statuses(run(folders)) == ["current"] * 3
    why = "a file that it wrote is missing or is not what was written"
    for name, harm, first in (
        ("b.webp", lambda path: path.write_text("shee"), 1),
        ("b.webp", Path.unlink, 1),
        ("a.html", Path.unlink, 2),
    ):
        harm(out / "site" / name)
        steps = run(folders)
        assert statuses(steps) == ["current"] * first + ["ran"] * (3 - first) and steps[first].reason == why
        assert (out / "site" / "b.webp").read_text() == "sheet"
        assert (out / "site" / "a.html").read_text() == "another page"
    assert statuses(run(folders)) == ["current"] * 3


def log(out: Path) -> list[str]:
    return (out / "log.txt").read_text("utf-8").splitlines()


def test_runs_in_order_with_the_parameters_that_each_declares(folders: tuple[Path, Path]) -> None:
    source, out = folders
    before = {path: path.read_bytes() for path in source.iterdir()}
    steps = run(folders, {"epochs": 3, "seeds": [4, 5]})
    assert log(out) == ["first 3", "second [4, 5] none"]
    assert [(step.name, step.status) for step in steps] == [("01-first", "ran"), ("02-second", "ran")]
    assert [dict(step.parameters) for step in steps] == [{"epochs": 3}, {"seeds": [4, 5]}]
    executed = nbformat.read(out / "02-second.ipynb", as_version=4)
    nbformat.validate(executed)
    injected = [cell for cell in executed.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert [cell.source.splitlines()[-1] for cell in injected] == ["seeds = [4, 5]"]
    assert executed.metadata.language_info.pygments_lexer == "ipython3"  # by which the book colours code
    assert {path: path.read_bytes() for path in source.iterdir()} == before
    visible = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    assert visible == ["01-first.ipynb", "02-second.ipynb", "log.txt"]
    assert str(source) not in (out / "02-second.ipynb").read_text("utf-8")


def test_profile_gives_parameters_and_overrides_win(folders: tuple[Path, Path]) -> None:
    steps = run_notebooks("smoke", {"epochs": 7}, notebooks=folders[0], out=folders[1], dry_run=True)
    assert [dict(step.parameters) for step in steps] == [{"epochs": 7}, {"seeds": PROFILES["smoke"]["seeds"]}]
    steps = run_notebooks("smoke", notebooks=folders[0], out=folders[1], dry_run=True)
    assert dict(steps[0].parameters) == {"epochs": PROFILES["smoke"]["epochs"]}
    assert not folders[1].exists()


def test_kernel_sees_the_same_folders_and_the_same_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VTM_DATA", "here/data")  # relative: means another folder in the kernel's own
    monkeypatch.delenv("VTM_RUNS", raising=False)
    monkeypatch.setattr("vtm.cli.notebooks.runs_dir", lambda: tmp_path / "elsewhere")
    seen = "import json, vtm\nfrom vtm.files import data_dir, runs_dir\n"
    seen += "print(json.dumps([str(data_dir()), str(runs_dir()), vtm.__file__]))"
    write_notebook(tmp_path / "notebooks", "01-where", "seeds = [0]", seen)
    run_notebooks(notebooks="notebooks", out="executed")
    printed = nbformat.read(tmp_path / "executed" / "01-where.ipynb", as_version=4).cells[-1].outputs[0].text
    package = Path(pipeline.__file__).parents[1]
    expected = [tmp_path / "here" / "data", tmp_path / "elsewhere", package / "__init__.py"]
    assert json.loads(printed) == [*map(str, expected)]
    assert "VTM_RUNS" not in os.environ and os.environ["VTM_DATA"] == "here/data"
    assert Path.cwd() == tmp_path


@pytest.mark.usefixtures("here")
def test_second_run_skips(ran: tuple[Path, Path]) -> None:
    before = {path: path.read_bytes() for path in ran[1].iterdir()}
    assert statuses(run(ran)) == ["current", "current"]
    assert {path: path.read_bytes() for path in ran[1].iterdir()} == before


@pytest.mark.usefixtures("here")
def test_same_content_in_another_form_is_current(ran: tuple[Path, Path]) -> None:
    """Touched, run in an editor, or given new cell ids: not a change of what the notebook does."""
    path = ran[0] / "01-first.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].execution_count = 3
    notebook.cells[-1].id = "another"
    nbformat.write(notebook, path)
    assert statuses(run(ran)) == ["current", "current"]


def change_source(folders: tuple[Path, Path], name: str) -> None:
    path = folders[0] / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source += ", changed"
    nbformat.write(notebook, path)


@pytest.mark.usefixtures("here")
def test_changed_source_runs_it_and_what_follows(ran: tuple[Path, Path]) -> None:
    change_source(ran, "02-second")
    assert statuses(run(ran)) == ["current", "ran"]
    change_source(ran, "01-first")
    steps = run(ran)
    assert [step.reason for step in steps] == ["the notebook changed", "the step before it was run again"]
    assert len(log(ran[1])) == 2 + 1 + 2


@pytest.mark.usefixtures("here")
def test_changed_parameter_runs_it_and_what_follows(ran: tuple[Path, Path]) -> None:
    assert statuses(run(ran, {"mode": "priors"})) == ["current", "ran"]
    steps = run(ran, {"epochs": 2, "mode": "priors"})
    assert [step.reason for step in steps] == ["its parameters changed", "the step before it was run again"]
    assert log(ran[1])[-2:] == ["first 2", "second [0] priors"]


@pytest.mark.usefixtures("here")
def test_changed_code_runs_all(ran: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_code_hash", lambda: "another")
    assert [step.reason for step in run(ran)] == ["the code of vtm changed"] * 2
    assert statuses(run(ran)) == ["current", "current"]


def test_code_hash_depends_on_every_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "vtm"
    (package / "corpora").mkdir(parents=True)
    for name in ("api.py", "model.py", "corpora/table.py"):
        (package / name).write_text(f"# {name}\n")
    monkeypatch.setattr(pipeline, "__file__", str(package / "cli" / "notebooks.py"))
    hashes = [pipeline._code_hash()]
    assert pipeline._code_hash() == hashes[0]
    (package / "corpora" / "table.py").write_text("# other\n")
    hashes.append(pipeline._code_hash())
    (package / "model.py").rename(package / "models.py")
    hashes.append(pipeline._code_hash())
    (package / "corpora" / "table.toml").write_text("of = 'the package, and no module'\n")
    hashes.append(pipeline._code_hash())
    assert len(set(hashes)) == 4


@pytest.mark.usefixtures("here")
def test_lost_or_altered_output_runs_again(ran: tuple[Path, Path]) -> None:
    (ran[1] / "02-second.ipynb").unlink()
    assert statuses(run(ran)) == ["current", "ran"]
    with (ran[1] / "02-second.ipynb").open("a") as stream:
        stream.write("\n")
    assert [step.reason for step in run(ran)] == ["", "its output is not what was written"]
    (ran[1] / ".02-second.json").write_text("[")
    assert statuses(run(ran)) == ["current", "ran"]
    (ran[1] / ".02-second.json").write_text("[]")
    assert statuses(run(ran)) == ["current", "ran"]
    assert statuses(run(ran)) == ["current", "current"]


@pytest.mark.usefixtures("here")
def test_table_corpus_is_part_of_the_inputs(
    tmp_path: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_notebook(folders[0], "01-first", "corpus = 'scenes'", LOG.format(values="corpus"))
    (tmp_path / "mine.csv").write_text("image,text\n")
    spec = {"corpus": "mine.csv:text_column=text"}
    run(folders, spec)
    assert log(folders[1])[0] == f"{tmp_path / 'mine.csv'}:text_column=text"
    assert statuses(run(folders, spec)) == ["current", "current"]
    (tmp_path / "mine.csv").write_text("image,text\na.png,a tree\n")
    assert run(folders, spec)[0].reason == "the corpus' files changed"
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "metadata.csv").write_text("file_name,text\n")
    run(folders, {"corpus": "photos"})
    assert statuses(run(folders, {"corpus": "photos"})) == ["current", "current"]
    (photos / "a.png").write_bytes(b"picture")
    assert run(folders, {"corpus": "photos"})[0].reason == "the corpus' files changed"


@pytest.mark.usefixtures("here")
def test_a_folder_of_the_news_is_found_from_the_kernels_folder(
    tmp_path: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "news").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    write_notebook(folders[0], "01-first", "corpus = 'scenes'", LOG.format(values="corpus"))
    run(folders, {"corpus": "newsimages:folder=news,pictures=../link,lang=en"})
    assert log(folders[1])[0] == (
        f"newsimages:folder={tmp_path / 'here' / 'news'},pictures={tmp_path / 'link'},lang=en"
    )


@pytest.mark.usefixtures("here")
def test_stored_measurements_are_part_of_the_inputs_of_what_shows_them(
    tmp_path: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, mine = tmp_path / "root", tmp_path / "mine"
    for folder in (root / "results" / "study", mine / "stamps"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(pipeline, "results_dir", lambda: root / "results")
    shows = LOG.format(values="'stored()', study_folder")
    write_notebook(folders[0], "02-second", "study_folder = ''", shows)
    changed = "the stored measurements changed"
    for parameters, file in (
        ({}, root / "results" / "study" / "a.json"),
        ({"study_folder": str(mine)}, mine / "stamps" / "a.json"),
    ):
        run(folders, parameters)
        assert statuses(run(folders, parameters)) == ["current", "current"]
        file.write_text("{}")
        assert [step.reason for step in run(folders, parameters)] == ["", changed]
        file.write_text("[]")
        assert [step.reason for step in run(folders, parameters)] == ["", changed]


def test_every_notebook_that_shows_stored_measurements_is_known_to(tmp_path: Path) -> None:
    steps = pipeline._steps(Path(__file__).parents[2] / "notebooks", tmp_path, {})
    shows = [step.name for step in steps if pipeline._step_parts(step)["stored"]]
    assert shows == ["10-cost", "12-study", "13-tags", "14-trust", "15-findings"]


@pytest.mark.usefixtures("here")
def test_force_runs_all(ran: tuple[Path, Path]) -> None:
    assert statuses(run(ran, force=True)) == ["ran", "ran"]


@pytest.mark.usefixtures("here")
def test_only_runs_one_and_makes_what_follows_stale(folders: tuple[Path, Path]) -> None:
    (step,) = run(folders, only="02")
    assert (step.name, step.status) == ("02-second", "ran")
    assert log(folders[1]) == ["second [0] none"]
    assert statuses(run(folders, only="02-second.ipynb")) == ["current"]
    assert statuses(run(folders)) == ["ran", "ran"]
    assert statuses(run(folders, only=["01-first"], force=True)) == ["ran"]
    assert statuses(run(folders)) == ["current", "ran"]
    with pytest.raises(ConfigError, match=r"'03-third'.*01-first, 02-second"):
        run(folders, only="03-third")


@pytest.mark.usefixtures("here")
def test_what_was_run_is_written_as_pages(ran: tuple[Path, Path], tmp_path: Path) -> None:
    (ran[1] / "site").mkdir()
    (ran[1] / "site" / "map.html").write_text("<title>a map</title>", encoding="utf-8")
    steps, folder = run(ran, only="02-second"), tmp_path / "pages" / "of mine"
    page = write_pages(steps, folder)
    assert page == folder / "executed" / "02-second.html"
    assert "02-second" in BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").h1.get_text()
    assert not (folder / "executed" / "01-first.html").exists()
    assert (folder / "map.html").is_file()  # what a chapter wrote is there, too
    # Pages of ours are replaced; other files never are.
    (folder / "old.html").touch()
    write_pages(steps, folder)
    assert not (folder / "old.html").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").touch()
    with pytest.raises(ConfigError, match="photos: holds other files"):
        write_pages(steps, tmp_path / "photos")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["mine.jpg"]
    with pytest.raises(ConfigError, match="mine.jpg: is a file"):
        write_pages(steps, tmp_path / "photos" / "mine.jpg")


def test_a_folder_that_pages_cannot_go_to_is_refused_before_anything_runs(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").touch()
    options = ["reproduce", "--notebooks", str(folders[0]), "--out", str(folders[1])]
    told = CliRunner().invoke(app, [*options, "--html", str(tmp_path / "photos")])
    assert told.exit_code != 0 and not folders[1].exists()


@pytest.mark.usefixtures("here")
def test_dry_run_says_what_a_run_does(ran: tuple[Path, Path]) -> None:
    change_source(ran, "01-first")
    before = {path: path.read_bytes() for path in ran[1].iterdir()}
    planned = run(ran, dry_run=True)
    assert statuses(planned) == ["pending", "pending"]
    assert {path: path.read_bytes() for path in ran[1].iterdir()} == before
    assert [step.reason for step in planned] == [step.reason for step in run(ran)]
    assert statuses(run(ran, dry_run=True)) == ["current", "current"]


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"epoch": 3}, "unknown parameter 'epoch': did you mean 'epochs'"),
        ({"epochs": "many"}, "epochs='many'"),
        ({"corpus": "openclip"}, "no corpus is called 'openclip': did you mean 'openclipart'? Choose from"),
        ({"encoder": "pixel"}, "encoder='pixel': did you mean 'pixels'? Choose from offline, pixels"),
        ({"min_df": 2}, "unknown parameter 'min_df'"),  # known to vtm, but read by no notebook
    ],
)
def test_wrong_parameters_fail_before_anything_runs(
    folders: tuple[Path, Path], parameters: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        run(folders, parameters)
    assert not folders[1].exists()


def test_missing_corpus_fails_before_anything_runs(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="gone.csv: no such file"):
        run(folders, {"corpus": str(tmp_path / "gone.csv")})
    assert not folders[1].exists()


def test_parameter_that_the_chosen_notebook_does_not_read(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="unknown parameter 'epochs'.* in 02-second"):
        run(folders, {"epochs": 3}, only="02")


def test_unknown_profile(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="smoke, default, paper"):
        run_notebooks("fast", notebooks=folders[0], out=folders[1])


def test_failure_stops_and_leaves_the_earlier_output(ran: tuple[Path, Path]) -> None:
    source, out = ran
    good = (out / "01-first.ipynb").read_bytes()
    second = (out / "02-second.ipynb").read_bytes()
    bad = ("print('before')", "def deep():\n    raise KeyError('no\\nsuch')\ndeep()", "print('after')")
    write_notebook(source, "01-first", "epochs = 100", *bad)
    with pytest.raises(VtmError) as raised:
        run(ran, {"epochs": 3})
    message = str(raised.value)
    assert "01-first stopped in cell 5 with KeyError: 'no\\nsuch'" in message and "\n" not in message
    assert (out / "01-first.ipynb").read_bytes() == good
    assert (out / "02-second.ipynb").read_bytes() == second
    failed = out / "01-first.failed.ipynb"
    assert str(failed) in message
    kept = nbformat.read(failed, as_version=4)
    nbformat.validate(kept)
    # Cell 5 as a person counts it, injected parameters included, holds the error.
    assert kept.cells[4].outputs[0].ename == "KeyError"
    assert kept.cells[3].outputs[0].text == "before\n" and kept.cells[5].outputs == []
    assert not [path for path in out.iterdir() if "partial" in path.name or path.suffix == ".tmp"]

    write_notebook(source, "01-first", "epochs = 100", "print('mended')")
    assert statuses(run(ran)) == ["ran", "ran"]
    assert not failed.exists()


def test_a_users_error_is_told_without_its_class(folders: tuple[Path, Path]) -> None:
    raising = "from vtm.errors import DataError\nraise DataError('pets.csv: no column image; name one')"
    write_notebook(folders[0], "01-first", "epochs = 100", raising)
    with pytest.raises(VtmError) as raised:
        run(folders)
    assert str(raised.value) == "01-first, cell 3: pets.csv: no column image; name one"


@pytest.mark.parametrize(
    "cell, message",
    [
        ("import os\nos._exit(3)", "cell 3 with DeadKernelError: the kernel died"),
        # papermill takes a notebook that leaves by itself for done.
        ("raise SystemExit", "cell 3 with SystemExit"),
        ("1 +", "cell 3 with SyntaxError"),
    ],
)
def test_other_ways_to_stop(folders: tuple[Path, Path], cell: str, message: str) -> None:
    write_notebook(folders[0], "01-first", "epochs = 100", cell, "print('after')")
    with pytest.raises(VtmError, match=re.escape(message)):
        run(folders)
    assert (folders[1] / "01-first.failed.ipynb").is_file()
    assert not (folders[1] / "01-first.ipynb").exists() and not (folders[1] / "log.txt").exists()


def test_error_that_a_cell_may_raise_is_found_in_the_outputs(folders: tuple[Path, Path]) -> None:
    path = write_notebook(folders[0], "01-first", "epochs = 100", "1 / 0")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].metadata["tags"] = ["raises-exception"]
    nbformat.write(notebook, path)
    with pytest.raises(VtmError, match="cell 3 with ZeroDivisionError: division by zero"):
        run(folders)


def test_missing_kernel_is_named(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "01-first.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.kernelspec.name = "no-such-kernel"
    nbformat.write(notebook, path)
    with pytest.raises(MissingError, match="'no-such-kernel' is not installed"):
        run(folders)


@pytest.mark.parametrize("text", ["", "not json", '{"cells": []}'])
def test_what_is_not_a_notebook_is_named(folders: tuple[Path, Path], text: str) -> None:
    (folders[0] / "02-second.ipynb").write_text(text)
    with pytest.raises(DataError, match="02-second.ipynb: not a notebook"):
        run(folders)
    assert not folders[1].exists()


def test_folders_that_cannot_be_used(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    with pytest.raises(MissingError, match="no-folder: no such folder"):
        run_notebooks(notebooks=tmp_path / "no-folder", out=folders[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="empty: no notebook"):
        run_notebooks(notebooks=tmp_path / "empty", out=folders[1])
    with pytest.raises(ConfigError, match="overwrite"):
        run_notebooks(notebooks=folders[0], out=folders[0])


def test_without_a_checkout_the_notebooks_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages" / "vtm" / "paths.py"
    monkeypatch.setattr(paths, "__file__", str(installed))
    assert paths.checkout() is None
    with pytest.raises(MissingError, match="source checkout.*--notebooks DIR"):
        run_notebooks("smoke")


def test_braces_and_spaces_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "a {b} c", tmp_path / "{}"
    write_notebook(source, "01-first", "epochs = 100", LOG.format(values="epochs"))
    assert statuses(run_notebooks(notebooks=source, out=out)) == ["ran"]
    assert log(out) == ["100"]


def test_killed_in_the_middle_leaves_no_half_notebook(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    source, out = folders
    waiting = "from pathlib import Path\nimport time\nPath('started').touch()\ntime.sleep(60)"
    write_notebook(source, "02-second", "seeds = [0]", "print(1)", waiting)
    code = f"from vtm.cli.notebooks import run_notebooks\nrun_notebooks(notebooks={str(source)!r}, out={str(out)!r})"
    root = str(Path(pipeline.__file__).parents[2])
    for sent in (signal.SIGKILL, signal.SIGINT):
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            wait_for(out / "started", lambda child=child: child.poll() is None)
            assert (out / "started").exists()
            child.send_signal(sent)
            child.communicate(timeout=120)
        finally:
            child.kill()
        assert child.returncode == -sent
        (out / "started").unlink()
        names = {path.name for path in out.iterdir()}
        assert names == {"01-first.ipynb", ".01-first.json", "log.txt", ".lock"}
    write_notebook(source, "02-second", "seeds = [0]", "print(1)")
    assert statuses(run(folders)) == ["current", "ran"]


def test_progress_lines(folders: tuple[Path, Path]) -> None:
    plain = io.StringIO()
    run(folders, console=Console(file=plain, width=20))
    lines = [re.sub(r"\d+s", "Ns", line) for line in plain.getvalue().splitlines()]
    assert lines == [
        "running 01-first",
        "done    01-first in Ns (it has not been run yet)",
        "running 02-second",
        "done    02-second in Ns (it has not been run yet)",
    ]
    change_source(folders, "02-second")
    terminal = io.StringIO()
    run(folders, console=Console(file=terminal, force_terminal=True, width=100))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert (
        "current 01-first" in shown and "running 02-second, cell 3" in shown and "done    02-second" in shown
    )


@pytest.mark.parametrize(
    "seconds, told", [(0.2, "0s"), (59.4, "59s"), (59.6, "1m00s"), (80, "1m20s"), (7500, "2h05m")]
)
def test_duration(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_fake_parameters_are_real_ones() -> None:
    assert {"epochs", "seeds", "mode", "corpus", "min_df"} <= set(PARAMETERS)
