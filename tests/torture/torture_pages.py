"""Scripts planted in captions, file names, categories and the corpus' name: none is in the book's pages, none runs.

The data and results chapters run on such a corpus with the smoke profile, and are built as the book is. Run by
`make torture`, or `pytest tests/torture/torture_pages.py`; needs Chromium and jupyter-book.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from browser import dump_dom, find_chromium, serve
from bs4 import BeautifulSoup
from killing import ROOT, environment
from record import record

from vtm.corpora import load_corpus

PLANTS = (
    '<script>document.documentElement.dataset.ran="1"</script>',
    '<img src="x" onerror="document.documentElement.dataset.ran=1">',
    '"><svg onload="document.documentElement.dataset.ran=1">',
    "'-alert(1)-' <iframe srcdoc='<script>parent.document.documentElement.dataset.ran=1</script>'>",
    "$\\href{javascript:alert(1)}{x}$ {{ 7*7 }} ```{raw} html",
    "[x](javascript:alert(1)) <a href='javascript:alert(1)'>x</a> $\\undefined$ $",
)
CHAPTERS = ("01", "03", "05", "06")


def plant(folder: Path) -> Path:
    """A table of scenes whose texts, names and categories hold the plants; returns its path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(folder / "scenes"))
        corpus = load_corpus("scenes", n=160)
    pictures = folder / "<img src=x onerror=alert(1)>"
    pictures.mkdir(parents=True)
    assert corpus.groups is not None
    rows = []
    for number, (text, picture, group) in enumerate(
        zip(corpus.texts, corpus.images, corpus.groups, strict=True)
    ):
        bad = PLANTS[number % len(PLANTS)]
        name = f"{number} {bad.replace('/', '_')}.png"[-200:]
        shutil.copy(picture, pictures / name)
        rows.append([name, f"{bad} {text}", f"{group} {PLANTS[0]}"])
    table = pictures / "<script>alert(2)<script>.csv"
    with open(table, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["file_name", "text", "kind"], *rows])
    return table


def test_no_planted_script_is_in_a_page_or_runs(tmp_path: Path) -> None:
    if find_chromium() is None:
        pytest.skip("no Chromium: apt-get install chromium")
    table = plant(tmp_path / "corpus")
    command = [
        sys.executable,
        "-m",
        "vtm",
        "reproduce",
        "--profile",
        "smoke",
        "--out",
        str(tmp_path / "executed"),
    ]
    command += [argument for chapter in CHAPTERS for argument in ("--only", chapter)]
    for parameter in (f"corpus={table}:group_column=kind", "n_topics=[6]", "seeds=[0]", "epochs=15"):
        command += ["-p", parameter]
    environ = environment(tmp_path)
    subprocess.run(command, cwd=ROOT, env=environ, check=True)

    book = tmp_path / "book"
    book.mkdir()
    chapters = sorted((tmp_path / "executed").glob("[0-9]*.ipynb"))
    assert len(chapters) == len(CHAPTERS)
    for chapter in chapters:
        shutil.copy(chapter, book / chapter.name)
    (book / "_toc.yml").write_text(
        f"format: jb-book\nroot: {chapters[0].stem}\nchapters:\n"
        + "".join(f"- file: {chapter.stem}\n" for chapter in chapters[1:])
    )
    shutil.copy(ROOT / "_config.yml", book / "_config.yml")
    (book / "references.bib").write_text("")
    (book / "executed" / "site").mkdir(parents=True)
    built = subprocess.run(
        [str(Path(sys.executable).with_name("jupyter-book")), "build", "--quiet", str(book)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-3000:]

    found, shown = 0, 0
    with serve(book / "_build" / "html") as address:
        for chapter in chapters:
            page = BeautifulSoup(
                (book / "_build" / "html" / f"{chapter.stem}.html").read_text("utf-8"), "html.parser"
            )
            outputs = page.select(".cell_output")
            assert outputs
            for output in outputs:
                assert not output.find_all(["script", "iframe", "object", "embed", "svg"])
                assert not [
                    tag for tag in output.find_all(True) if any(a.startswith("on") for a in tag.attrs)
                ]
                assert not [tag for tag in output.select("[href]") if tag["href"].startswith("javascript:")]
                shown += "dataset.ran" in output.get_text() or "alert(" in output.get_text()
            dom = BeautifulSoup(dump_dom(f"{address}{chapter.stem}.html"), "html.parser")
            found += "data-ran" in (dom.html.attrs if dom.html else {})
            assert not dom.select("[href^='javascript:']")
    record(
        "pages", {"planted": 160 * 3 + 2, "pages": len(chapters), "ran": found, "outputs_with_plants": shown}
    )
    assert found == 0
    # Else the chapters show nothing of what was planted, and the test could not fail.
    assert shown > 0
