"""What `vtm` says to the mistakes that the page on troubleshooting shows, made in a folder of small files."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import socket
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

WIDTH = 78
# The data folder of what is typed: no weights, and of corpora the stamps, with one file changed.
NO_DATA, STAMPS = "no-data", "tuxpaint-stamps-default"
# Settings in which nothing is at hand and nothing can be fetched.
OFFLINE = {"PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}


def lay_out(folder: Path) -> None:
    """Tables with and without a mistake, damaged pictures, a changed corpus, and a trained model."""
    from vtm import VisualTopicModel, load_corpus

    scenes = load_corpus("scenes", n=120)
    for name in ("photos", "mixed", "documents", "older"):
        (folder / name).mkdir()
    (folder / "older" / "model.json").write_text("{}")
    rows = []
    for text, picture in zip(scenes.texts, scenes.images, strict=True):
        shutil.copy(picture, folder / "photos" / picture.name)
        rows.append([f"photos/{picture.name}", text])
    files = [row[0] for row in rows]

    def table(name: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
        with open(folder / name, "w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([columns, *lines])

    table("photos.csv", ["file_name", "text"], rows)
    table("columns.csv", ["photo", "words"], rows)
    table("few.csv", ["file_name", "text"], rows[:3])
    numbered = [[*row, number] for row, number in zip(rows, [*"123456789", "5"], strict=False)]
    table("twice.csv", ["file_name", "text", "number"], numbered)
    table("moved.csv", ["file_name", "text"], [[f"old/{name}", text] for name, text in rows])
    lines = ["file_name,text", f"{files[0]},a red balloon", f"{files[1]},a balloon, blue"]
    (folder / "commas.csv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "latin.csv").write_text(f"file_name,text\n{files[0]},Ein grüner Ball\n", encoding="cp1252")
    (folder / "captions.xls").write_bytes(b"PK\3\4")
    (folder / "documents" / "notes.txt").write_text("no picture")
    shutil.copy(scenes.images[0], folder / "mixed" / "whole.png")
    (folder / "mixed" / "torn.png").write_bytes(scenes.images[1].read_bytes()[:300])
    (folder / "mixed" / "empty.jpg").touch()
    _lay_out_stamps(folder / NO_DATA)
    model = VisualTopicModel(6, encoder="pixels", validation=0, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(scenes.texts, scenes.images).save(folder / "model")


def _lay_out_stamps(data: Path) -> None:
    """A data folder with two stamps for all that were fetched, one of them changed since."""
    from vtm.corpora.fetch import ARTIFACTS, STAMP
    from vtm.files import hash_tree, write_json

    stamps = ARTIFACTS[STAMPS]
    folder = data / stamps.target
    (folder / "animals").mkdir(parents=True)
    for name in ("cat", "owl"):
        (folder / "animals" / f"{name}.txt").write_text(f"A {name}.\n", encoding="utf-8")
    contents = hash_tree(folder, stamps.suffixes)
    write_json(folder / STAMP, {"sha256": stamps.sha256, "contents": contents})
    (folder / "animals" / "owl.txt").write_text("An owl at night.\n", encoding="utf-8")


def _fetched_stamps(data: Path) -> dict[str, Any]:
    """The stamps' pin, of those that `_lay_out_stamps` has fetched."""
    from vtm.corpora.fetch import ARTIFACTS, STAMP
    from vtm.files import hash_json, read_json

    stamps = ARTIFACTS[STAMPS]
    contents = read_json(data / stamps.target / STAMP)["contents"]
    return {STAMPS: replace(stamps, contents=hash_json(contents))}


def answer(block: str, folder: Path) -> str:
    """The block with what its command says now.

    Parameters
    ----------
    block
        Begins with `$ vtm ...`, or with lines `>>> ...` of Python of which the last is refused.

    Returns
    -------
    The same lines, then what is said on stderr or the error, wrapped. DATA stands for the data folder, HOST for the
    machine's name.
    """
    from vtm.corpora.fetch import ARTIFACTS
    from vtm.files import data_dir

    typed = [line for line in block.splitlines() if line.startswith(("$ ", ">>> "))]
    data = folder / NO_DATA
    settings, pins = {**OFFLINE, "VTM_DATA": str(data)}, _fetched_stamps(data)
    with chdir(folder), patch.dict(os.environ, settings), patch.dict(ARTIFACTS, pins):
        said = _command(typed[0]) if typed[0].startswith("$ ") else _python(typed, folder)
        said = said.replace(str(data_dir()), "DATA").replace(socket.gethostname(), "HOST")
    said = re.sub(r"could not be fetched \(.*?\);", "could not be fetched (...);", said)
    wrapped = (
        textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)
        for line in said.splitlines()
    )
    return "\n".join([*typed, *(part for line in wrapped for part in line)])


def _command(line: str) -> str:
    from typer.testing import CliRunner

    from vtm.cli import app

    program, *arguments = shlex.split(line.removeprefix("$ "))
    if program != "vtm":
        raise ValueError(f"{line}: not a command of vtm")
    result = CliRunner().invoke(app, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    # Progress of a download, which would be another on each machine.
    return "\n".join(part for part in result.stderr.splitlines() if not part.startswith("fetching "))


def _python(lines: Sequence[str], folder: Path) -> str:
    import numpy as np

    from vtm import VisualTopicModel, VtmError, load_corpus

    pictures = sorted((folder / "photos").glob("*.png"))
    names: dict[str, Any] = {
        "VisualTopicModel": VisualTopicModel,
        "load_corpus": load_corpus,
        "np": np,
        "pictures": pictures,
        "texts": list(load_corpus(folder / "photos.csv").texts),
    }
    *before, last = (line.removeprefix(">>> ") for line in lines)
    for line in before:
        exec(line, names)
    try:
        exec(last, names)
    except VtmError as error:
        return f"{type(error).__name__}: {error}"
    raise ValueError(f"{last}: was not refused")
