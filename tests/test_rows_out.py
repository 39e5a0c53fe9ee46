"""Rows on a terminal or in a file: what failed before the first row has printed nothing."""

from __future__ import annotations

import csv
import io

import pytest
from PIL import Image
from typer.testing import CliRunner

from vtm.cli import app
from vtm.commands import pictures
from vtm.corpora import Dropped
from vtm.errors import DataError
from vtm.rows_out import open_rows

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


@pytest.mark.parametrize("stop", [None, DataError("the model reads pictures of another encoder")])
def test_tag_prints_no_head_before_an_error(stop, tmp_path, monkeypatch):
    """The first picture cannot be used, or the model fails at it."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def tag_pictures(model, found, **options):
        if stop:
            raise stop
        yield [Dropped("a.png", "unreadable", "a.png: not a picture")]

    monkeypatch.setattr(pictures, "load_model", lambda *arguments, **options: None)
    monkeypatch.setattr("vtm.tagging.tag_pictures", tag_pictures)
    done = CliRunner().invoke(app, ["tag", "model", str(tmp_path), "--format", "csv"])
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
