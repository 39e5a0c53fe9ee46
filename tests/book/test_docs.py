"""The pages for users: what they have the reader type works, and prints what they show."""

from __future__ import annotations

import csv
import importlib
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import yaml

import vtm
from vtm.cli import app
from vtm.corpora.fetch import GROUPS, is_fetched

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import doc_blocks  # noqa: E402
import doc_errors  # noqa: E402
from doc_blocks import Block, BlockError, fill, find_blocks, run_blocks, type_command  # noqa: E402

PAGES = {
    name: (ROOT / "book" / f"{name}.md").read_text("utf-8") for name in ("tutorial", "choosing-k", "own-data")
}
TROUBLES = (ROOT / "book" / "troubleshooting.md").read_text("utf-8")
REFUSED = [block for block in find_blocks(TROUBLES) if block.kind == "refused"]


def up_to_numbers(text: str) -> str:
    """Words only: numbers, and how lines are broken, may differ."""
    return " ".join(re.sub(r"-?\d+(\.\d+)?", "0", text).split())


def needs(*groups: str) -> pytest.MarkDecorator:
    missing = [name for group in groups for name in GROUPS[group] if not is_fetched(name)]
    return pytest.mark.skipif(bool(missing), reason=f"not fetched: {', '.join(missing)}")


def stand_in_for(*groups: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        all(is_fetched(name) for group in groups for name in GROUPS[group]),
        reason="the data are there, and the same page is typed with them",
    )


def keywords_of(tags: Path) -> dict[str, list[str]]:
    """The keywords of each picture in a table of `vtm tag`."""
    found: dict[str, list[str]] = {}
    with open(tags, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["picture"], []).extend(filter(None, [row["keyword"]]))
    return found


def check(page: str, folder: Path, change: Callable[[Block], str] | None = None) -> list[tuple[Block, str]]:
    """Type a page's blocks; what they print must be what the page shows, up to numbers."""
    printed = list(run_blocks(page, folder, change=change))
    for block, text in printed:
        assert text.strip(), block
        if block.varies:
            assert up_to_numbers(text).split()[0] == up_to_numbers(block.text).split()[0]
            assert len(text.splitlines()) > 1 or len(block.text.splitlines()) == 1
        else:
            assert up_to_numbers(text) == up_to_numbers(block.text)
    return printed


# The pages as they are, on real data


@pytest.mark.data
@pytest.mark.slow
@needs("encoder:offline", "corpus:openclipart")
def test_tutorial_as_typed(tmp_path: Path) -> None:
    printed = [text for _, text in check(PAGES["tutorial"], tmp_path)]
    (report,) = [text for text in printed if text.startswith("pairs")]
    (grown,) = [text for text in printed if "topics now" in text]
    assert re.search(r"^new pairs +5$", grown, re.M) and re.search(
        r"^topics now +30 as before, 0", grown, re.M
    )
    assert re.search(r"^training +ok$", report, re.M)
    shown = keywords_of(tmp_path / "tags.csv")
    assert "animal" in shown["new/0080-brown-fish.png"] and "flag" in shown["new/0040-blue-dragonfly.png"]
    found, like, minus = [text for text in printed if "rank  probability" in text]
    assert "given picture" in like and "not wanted: bird" in minus
    (right, *first), (wrong, *second) = re.findall(r"^ +[12] +(0\.\d+) .*?new/(\d+-\w+)", found, re.M)
    assert (first, second) == (["2220-sailing"], ["1360-chemistry"]) and float(wrong) < float(right) / 2


@pytest.mark.data
@pytest.mark.slow
@needs("encoder:offline", "corpus:openclipart")
def test_sweep_shows_what_the_page_says(tmp_path: Path) -> None:
    ((_, text),) = check(PAGES["choosing-k"], tmp_path)
    assert (tmp_path / "sweep.svg").is_file()
    assert re.search(r"^recommended: 40 topics; readable are .*40", text, re.M)
    rows = re.findall(r"^ +(\d+) +(-?[\d.]+) ± *[\d.]* +(-?[\d.]+) ± *[\d.]* +(-?[\d.]+) ±", text, re.M)
    sizes, match, coherence, intrusion = (
        [float(cell) for cell in column] for column in zip(*rows, strict=True)
    )
    assert sizes == [10, 20, 40, 80, 160] and match == sorted(match)
    assert max(coherence) == coherence[2] and max(intrusion) in intrusion[1:3]


# The same with small stand-ins for the reader's folder, which need nothing


@pytest.fixture
def no_data(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("empty")
    monkeypatch.setenv("VTM_DATA", str(folder / "data"))
    monkeypatch.setenv("VTM_RUNS", str(folder / "runs"))


def replaced(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text, f"{old!r} is no longer in the page"
        text = text.replace(old, new)
    return text


@pytest.mark.slow
@stand_in_for("encoder:offline", "corpus:openclipart")
def test_tutorial_with_stand_ins(tmp_path: Path, no_data: None) -> None:
    def change(block: Block) -> str:
        if block.option == "practice.py":
            return replaced(block.text, ('load_corpus("openclipart")', 'load_corpus("scenes", n=120)'))
        if block.option == "more.csv":
            return re.sub(r"new/(\d+)-[\w-]+", r"new/\1-scene-0\1", block.text)
        text = block.text.replace("vtm train", "vtm train --encoder pixels")
        text = text.replace("new/0080-brown-fish.png new/0040-blue-dragonfly.png", "new")
        text = text.replace("--split 8", "--name 8=few")  # which a topic of four pairs cannot be
        return text.replace("--like new/0080-brown-fish.png", '--like "$(ls new/*.png | head -n 1)"')

    printed = list(run_blocks(PAGES["tutorial"], tmp_path, change=change))
    assert all(text for _, text in printed)
    new = sorted(path.name for path in (tmp_path / "new").iterdir())
    pictures = [name for name in new if name.endswith(".png")]
    tagged = [Path(name).name for name, words in keywords_of(tmp_path / "tags.csv").items() if words]
    assert len(pictures) == 6 and new == sorted([*pictures, *(f"{name}.xmp" for name in tagged)])
    for made in ("model", "tags.csv", "sheet.html", "explorer/index.html"):
        assert (tmp_path / made).is_file(), made


@pytest.mark.slow
@stand_in_for("encoder:offline", "corpus:openclipart")
def test_sweep_with_stand_ins(tmp_path: Path, no_data: None) -> None:
    def change(block: Block) -> str:
        return replaced(
            block.text, ("sweep openclipart --topics 10,20,40,80,160", "sweep scenes --encoder pixels")
        )

    ((_, text),) = run_blocks(PAGES["choosing-k"], tmp_path, change=change)
    assert "recommended: " in text and (tmp_path / "sweep.svg").is_file()


@pytest.mark.slow
def test_own_data_as_typed(tmp_path: Path, no_data: None) -> None:
    """All but the encoder, the epochs and how many chapters."""

    def change(block: Block) -> str:
        quick = '-p encoder=pixels -p epochs=10 -p "n_topics=[4]" -p "seeds=[0,1]" --only 04-text-teacher'
        return (
            block.text.replace("vtm reproduce", f"vtm reproduce {quick}")
            .replace(
                "-p n_topics 20", "-p n_topics 4 -p encoder pixels -p epochs 10 -p min_df 1 --log-level ERROR"
            )
            .replace("papermill notebooks", "papermill --no-progress-bar notebooks")
            .replace("vtm train photos", "vtm train --encoder pixels photos")
        )

    doc_blocks.lay_out(tmp_path)
    check(PAGES["own-data"], tmp_path, change)
    for made in ("my-book/04-text-teacher.ipynb", "out.ipynb", "from-arrays", "years.svg"):
        assert (tmp_path / made).is_file(), made
    assert "photos.csv:text_column=headline" in (tmp_path / "out.ipynb").read_text("utf-8")


# Troubleshooting


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(tmp_path_factory.mktemp("data")))
        doc_errors.lay_out(folder)
    return folder


def test_troubleshooting_covers_what_people_meet() -> None:
    assert len(REFUSED) >= 20
    assert len({block.text.splitlines()[0] for block in REFUSED if block.text.startswith("$")}) >= 15


@pytest.mark.parametrize("block", REFUSED, ids=lambda block: block.text.splitlines()[0][2:60])
def test_troubleshooting_shows_what_is_said(block: Block, mistakes: Path) -> None:
    if "cuda" in block.text:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device, so this is no mistake")
    assert up_to_numbers(doc_errors.answer(block.text, mistakes)) == up_to_numbers(block.text)


def test_a_mistake_that_is_none_is_found(mistakes: Path) -> None:
    with pytest.raises(ValueError, match="was not refused"):
        doc_errors.answer(">>> len(pictures)", mistakes)
    good = "$ vtm topics model --format csv"
    assert "error" not in doc_errors.answer(good, mistakes)


# Commands that are not typed by a test, and names


def unmarked_commands() -> list[str]:
    found = []
    for page in (*PAGES.values(), TROUBLES):
        lines = page.splitlines()
        marked = {number for block in find_blocks(page) for number in range(block.start, block.end)}
        found += [
            line.partition("#")[0].strip()
            for number, line in enumerate(lines)
            if number not in marked and line.startswith("vtm ")
        ]
        found += [command for command in re.findall(r"`(vtm [a-z]+ [^`]*)`", page) if "..." not in command]
    return found


@pytest.mark.parametrize("command", sorted(set(unmarked_commands())))
def test_other_commands_have_these_options(command: str) -> None:
    """Parsed as the command line parses it, and not run."""
    _, name, *arguments = shlex.split(command)
    subcommand = typer.main.get_command(app).commands[name]
    try:
        subcommand.make_context(name, arguments)
    except Exception as error:  # in a sentence only the option that it is about is shown
        if type(error).__name__ not in ("MissingParameter", "Exit"):  # Exit: of --help
            raise


def test_commands_to_parse_are_found() -> None:
    assert len(unmarked_commands()) > 8


def documented() -> list[str]:
    """Full names of what api.md documents."""
    found, module = [], ""
    for kind, name in re.findall(
        r"^\.\. (currentmodule|auto\w+):: (\S+)", (ROOT / "book/api.md").read_text("utf-8"), re.M
    ):
        if kind == "currentmodule":
            module = name
        else:
            found.append(name if "." in name else f"{module}.{name}")
    return found


def test_reference_has_every_public_name() -> None:
    short = {name.rpartition(".")[2] for name in documented()}
    # Of the notebooks' first cell; a reader's own code calls from_parameters.
    assert set(vtm.__all__) - {"__version__", "from_notebook"} <= short


@pytest.mark.parametrize("name", documented())
def test_reference_documents_what_there_is(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert (getattr(importlib.import_module(module), attribute).__doc__ or "").strip()


def test_reference_is_generated_by_the_books_build() -> None:
    sphinx = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["sphinx"]
    assert {"sphinx.ext.autodoc", "sphinx.ext.napoleon"} <= set(sphinx["extra_extensions"])


# The script that runs the pages


def test_blocks_are_found_run_and_filled(tmp_path: Path) -> None:
    page = "# T\n\n% file a.txt\n```text\nred\ngreen\nblue\n```\n\n% run\n```sh\ncat a.txt\n```\n\n% printed 2\n```\nold\n```\nend\n"
    ((block, text),) = printed = list(run_blocks(page, tmp_path))
    assert (block.text, text) == ("old", "red\ngreen\n...")
    assert fill(page, printed) == page.replace("old", "red\ngreen\n...")
    assert fill(fill(page, printed), list(run_blocks(fill(page, printed), tmp_path))) == fill(page, printed)


def test_a_command_that_fails_and_a_mark_alone_are_found(tmp_path: Path) -> None:
    with pytest.raises(BlockError, match="ended with 3"):
        list(run_blocks("% run\n```sh\n(exit 3)\necho on\n```\n", tmp_path))
    with pytest.raises(BlockError, match="no block follows"):
        find_blocks("% run\ntext\n")
    with pytest.raises(BlockError, match="does not end"):
        find_blocks("% run\n```sh\nls\n")


def test_commands_are_typed_on_a_terminal_and_bars_are_left_out(tmp_path: Path) -> None:
    program = (
        "import sys; from tqdm import tqdm; print(sys.stdout.isatty(), sys.stderr.isatty()); "
        "list(tqdm(range(3), disable=None)); print('done', file=sys.stderr)"
    )
    assert type_command(f"{sys.executable} -c {shlex.quote(program)}", tmp_path) == "True True\ndone"
