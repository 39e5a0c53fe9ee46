"""Rows on a terminal or in a file: what failed before the first row has printed nothing."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from vtm.cli import app
from vtm.cli.rows import open_rows
from vtm.corpora import Dropped
from vtm.errors import DataError, StorageError, printable, storable

COLUMNS = {"picture": str, "probability": float, "keywords": list}
ROWS = [{"picture": "a.png", "probability": 0.5, "keywords": ["sea", "boat"]}]


@pytest.mark.parametrize("format", ["csv", "jsonl", "table"])
@pytest.mark.parametrize("blocks", [[], [[]]])
def test_nothing_is_printed_when_it_fails_before_the_first_row(format, blocks, capsys):
    with pytest.raises(DataError), open_rows(format, None, COLUMNS) as write:
        for block in blocks:
            write(block)
        raise DataError("no picture")
    assert capsys.readouterr().out == ""


def test_the_head_comes_once_with_the_first_rows_and_without_rows_at_the_end(capsys):
    with open_rows("csv", None, COLUMNS) as write:
        write([])
        write(ROWS)
        write(ROWS)
    lines = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert lines == [list(COLUMNS)] + 2 * [["a.png", "0.5", "sea, boat"]]
    with open_rows("csv", None, COLUMNS) as write:
        write([])
    assert capsys.readouterr().out == "picture,probability,keywords\n"
    with open_rows("table", None, COLUMNS):
        pass
    assert capsys.readouterr().out.split() == list(COLUMNS)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_file_without_rows_can_be_read_and_after_an_error_there_is_none(suffix, tmp_path):
    import pandas as pd

    path = tmp_path / f"rows.{suffix}"
    with pytest.raises(DataError), open_rows(suffix, path, COLUMNS):
        raise DataError("no picture")
    assert list(tmp_path.iterdir()) == []
    with open_rows(suffix, path, COLUMNS):
        pass
    if suffix == "jsonl":
        assert path.read_bytes() == b""
    else:
        found = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
        assert list(found.columns) == list(COLUMNS) and len(found) == 0


@pytest.mark.parametrize("name", ["=1+1.png", "+1.png", "-2+3.png", "@SUM(A1).png", "\t=1.png", "＝1.png"])
def test_a_spreadsheet_computes_nothing_and_the_file_is_still_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"picture")
    row = {"picture": name, "probability": -0.5, "keywords": [name, "sea"]}
    with open_rows("csv", Path("rows.csv"), COLUMNS) as write:
        write([row])
    with open("rows.csv", encoding="utf-8", newline="") as stream:
        (read,) = csv.DictReader(stream)
    assert Path(read["picture"]).read_bytes() == b"picture"
    assert read["keywords"] == f"'{name}, sea" and float(read["probability"]) == -0.5
    assert not read["picture"].startswith(tuple("=+-@\t＝")) and not read["keywords"].startswith(
        tuple("=+-@\t＝")
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full is Linux's /dev/full")
def test_a_full_disk_is_told_with_what_could_not_be_written(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(
            StorageError, match="^standard output: cannot be written .No space left on device"
        ):
            with open_rows("csv", None, COLUMNS) as write:
                write(ROWS)
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()


def test_a_terminal_gets_paths_on_two_lines_that_end_as_they_do(capsys, monkeypatch):
    long = f"photos/{'of a summer/' * 30}harbour.jpg"
    monkeypatch.setenv("COLUMNS", "80")
    for path in (long, "photos/harbour.jpg"):
        with open_rows("table", None, {"rank": int, "picture": str, "why": str}) as write:
            write([{"rank": 1, "picture": path, "why": "boat"}])
        lines = capsys.readouterr().out.splitlines()[1:]
        start, end = 8, 8 + max(line.find("boat") for line in lines) - 8
        shown = "".join(line[start:end].strip(" ") for line in lines)
        assert len(lines) <= 2
        if path == long:
            assert shown.startswith("photos/of a ") and "…" in shown and shown.endswith("harbour.jpg")
        else:
            assert shown == path
    with open_rows("csv", None, {"picture": str}) as write:
        write([{"picture": long}])
    assert capsys.readouterr().out == f"picture\n{long}\n"


ODD = '\x1b]0;own\x07 \x9b31m x\r\ny\rz\x7f\u2028,\t"é"'
# What no terminal gets from us: it may act on these, or end the line.
UNSAFE = {*map(chr, (*range(32), *range(127, 160))), "\u2028", "\u2029"}


def test_a_terminal_gets_no_control_characters(capsys, monkeypatch):
    shown = r"\x1b]0;own\x07 \x9b31m x\r\ny\rz\x7f\u2028,\t" + '"é"'
    assert printable(ODD) == shown == printable(Path(ODD))
    monkeypatch.setenv("COLUMNS", "200")
    with open_rows("table", None, COLUMNS) as write:
        write([{"picture": ODD, "probability": 0.5, "keywords": ["sea", ODD]}])
    head, row, *rest = capsys.readouterr().out.split("\n")
    assert not UNSAFE & {*head, *row} and rest == [""]
    assert row.split() == f"{shown} 0.500 sea, {shown}".split()


@pytest.mark.parametrize("text", ["\udcff\udc00.png", "half a pair \ud800"])
def test_what_is_no_utf8_can_be_printed_and_stored(text):
    assert storable(text).encode() and printable(text) == storable(text)
    assert storable(os.fsdecode(b"\xff.png")) == "\\xff.png"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_files_for_programs_keep_texts_as_they_are(suffix, tmp_path):
    import pyarrow.parquet

    path = tmp_path / f"rows.{suffix}"
    with open_rows(suffix, path, COLUMNS) as write:
        write(2 * [{"picture": ODD, "probability": 0.5, "keywords": ["sea", "boat"]}])
    if suffix == "csv":
        with open(path, encoding="utf-8", newline="") as stream:
            found = [row["picture"] for row in csv.DictReader(stream)]
    elif suffix == "jsonl":
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not UNSAFE & set("".join(lines))
        found = [json.loads(line)["picture"] for line in lines]
    else:
        found = pyarrow.parquet.read_table(path)["picture"].to_pylist()
    assert found == [ODD, ODD]


def test_corpus_and_errors_are_printed_without_control_characters(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a\x1b[31m.png")
    table = tmp_path / "z.csv"
    with open(table, "w", encoding="utf-8", newline="") as stream:
        rows = [("a\x1b[31m.png", f"a ship {ODD}"), ("gone\x07.png", "a boat")]
        csv.writer(stream).writerows([("image", "text"), *rows])
    done = CliRunner().invoke(app, ["corpus", str(table)])
    assert done.exit_code == 0 and "own" in done.stdout
    assert not (UNSAFE - {"\n"}) & set(done.stdout)
    assert r"a\x1b[31m.png: a ship \x1b]0;own\x07" in done.stdout and r"such as gone\x07.png" in done.stdout
    failed = CliRunner().invoke(app, ["corpus", str(tmp_path / "no\x1b[31m.csv")])
    assert failed.exit_code == 2 and r"no\x1b[31m.csv" in failed.stderr
    assert not (UNSAFE - {"\n"}) & set(failed.stderr)


@pytest.mark.parametrize("stop", [None, DataError("the model reads pictures of another encoder")])
def test_tag_prints_no_head_before_an_error(stop, tmp_path, monkeypatch):
    """The first picture cannot be used, or the model fails at it."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def tag_pictures(model, found, **options):
        if stop:
            raise stop
        yield [Dropped("a.png", "unreadable", "a.png: not a picture")]

    monkeypatch.setattr("vtm.api.VisualTopicModel.load", lambda *arguments, **options: None)
    monkeypatch.setattr("vtm.cli.tags.tag_pictures", tag_pictures)
    done = CliRunner().invoke(app, ["tag", "model", str(tmp_path), "--format", "csv"])
    assert done.exit_code == 2, done.output
    assert done.stdout == ""


def test_text_in_a_workbook_is_text_and_what_does_not_fit_is_said(tmp_path):
    from test_models import read_workbook

    columns = {"picture": str, "keywords": list}
    texts = ["=1+1", "http://example.org", "@a", "-1", "a\x1b\n"]
    for name in ("one.xlsx", "again.xlsx"):
        with open_rows("xlsx", tmp_path / name, columns) as write:
            write([{"picture": text, "keywords": ["a", "b"]} for text in texts])
    assert [row[0] for row in read_workbook(tmp_path / "one.xlsx")[1:5]] == texts[:4]
    assert (tmp_path / "one.xlsx").read_bytes() == (tmp_path / "again.xlsx").read_bytes()
    with (
        pytest.raises(DataError, match="row 2: more than a workbook holds; write CSV or Parquet"),
        open_rows("xlsx", tmp_path / "long.xlsx", columns) as write,
    ):
        write([{"picture": "x" * 32_768, "keywords": []}])
    assert not (tmp_path / "long.xlsx").exists()
