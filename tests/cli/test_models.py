"""vtm train, tag, match and topics: what they print and write, and what they leave alone."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import xml.etree.ElementTree as ET
import zipfile
from collections import Counter
from copy import copy
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from explorer_data import simple
from PIL import Image
from stopping import PRINTED, STARTED, TOLD, start_waiting, wait_for
from typer.testing import CliRunner

from vtm.api import SharesOver, VisualTopicModel
from vtm.cli import app
from vtm.cli.options import SKIPPED, corpus_note, find_some
from vtm.cli.tags import tag_pictures
from vtm.config import parse_corpus
from vtm.corpora import absolute_corpus, load_corpus
from vtm.corpora.base import TWIN_IMAGE
from vtm.corpora.keywords import sidecar_path
from vtm.corpora.pictures import open_picture
from vtm.corpora.table import find_pictures
from vtm.encoders import embed_images, load_encoder
from vtm.errors import ConfigError, MissingError, storable
from vtm.files import hash_file
from vtm.metrics.calibration import ASKED
from vtm.metrics.topics import topic_diversity
from vtm.report.contact import Card, draw_sheet, html_sheet, write_sheet
from vtm.report.explorer import build_explorer
from vtm.report.figures import shares_chart

pytestmark = pytest.mark.usefixtures("data_folder")
runner = CliRunner()
NETWORK = ("--method", "joint", "--epochs", 100)


def run(*arguments: object, code: int = 0) -> Result:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def error(*arguments: object) -> str:
    """The one line on stderr of a command that fails."""
    result = run(*arguments, code=2)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Result]:
    """A model of 120 scenes, and what training it printed."""
    folder = tmp_path_factory.mktemp("model") / "m"
    return folder, run(
        "train", "scenes:n=120", "-o", folder, "--n-topics", 6, "--encoder", "pixels", *NETWORK
    )


@pytest.fixture(scope="module")
def model(trained) -> Path:
    return trained[0]


@pytest.fixture(scope="module")
def api(model) -> VisualTopicModel:
    return VisualTopicModel.load(model)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of 6 pictures in 2 folders, with other things between them."""
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    scenes = load_corpus("scenes", n=120)
    for number, path in enumerate(scenes.images[:6]):
        shutil.copy(path, folder / ("b" if number % 2 else "") / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".thumbnail.png").write_bytes(b"hidden")
    return folder


def picture_hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.png")}


# train


def test_train_reports_what_it_did_and_leaves_a_model(trained):
    folder, result = trained
    fitted = VisualTopicModel.load(folder)
    lines = {line[:26].strip(): line[26:].strip() for line in result.stdout.splitlines()}
    assert lines["pairs"] == "120, 20 of them held out to judge it"
    assert lines["left out"] == "0"
    assert lines["language"] == "en (by default)"
    assert lines["words"].startswith(f"{len(fitted.vocabulary_)}; only those in 3 texts")
    assert lines["topics"] == "6"
    assert lines["method"] == "joint"
    assert lines["NPMI, model of pictures"] == f"{fitted.coherence_['image'].mean():.3f}"
    assert lines["NPMI, model of texts"] == f"{fitted.coherence_['text'].mean():.3f}"
    assert lines["training"] == "ok"
    assert result.stderr == ""
    assert fitted.notes_["corpus"] == "scenes:n=120"
    assert {name: fitted.get_params()[name] for name in ("n_topics", "epochs", "language", "method")} == {
        "n_topics": 6,
        "epochs": 100,
        "language": "en",
        "method": "joint",
    }
    assert fitted.best_pictures_[0][0][0].startswith("scene-")


def test_train_on_a_table_of_ones_own(tmp_path, photos):
    scenes = load_corpus("scenes", n=120)
    (photos / "broken.png").write_bytes(b"no picture")
    with open(photos / "captions.csv", "w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file_name", "text"])
        for number in range(6):
            rows.writerow([f"{'b/' if number % 2 else ''}{number}.png", scenes.texts[number]])
        rows.writerows([["broken.png", "a broken picture"], ["gone.png", "a lost one"], ["b/1.png", ""]])
    result = run(
        *("train", photos / "captions.csv", "-o", tmp_path / "m", "--n-topics", 2, "--encoder", "pixels"),
        *("--min-df", 1, "--epochs", 1, "--language", "de", "--teacher", "joint", "--seed", 3),
    )
    assert re.search(r"pairs +6\n", result.stdout)
    assert re.search(r"left out +3\n", result.stdout)
    assert re.search(r"language +de\n", result.stdout)
    assert "are stop words of 'en'" in result.stderr
    for reason, name in (
        ("unreadable", "broken.png"),
        ("missing-picture", "gone.png"),
        ("empty-text", "b/1.png"),
    ):
        assert re.search(rf"  {reason} +1  such as {name}\n", result.stdout)
    # Six pairs hold none out, but show that one epoch is too few.
    assert re.search(r"training +doubtful\n", result.stdout)
    assert "student is no nearer to its teacher's posterior" in result.stderr
    fitted = VisualTopicModel.load(tmp_path / "m")
    assert [fitted.get_params()[name] for name in ("language", "teacher", "random_state")] == [
        "de",
        "joint",
        3,
    ]
    assert {name for topic in fitted.best_pictures_ for name, _ in topic} == {
        *("0.png", "b/1.png", "2.png", "b/3.png", "4.png", "b/5.png")
    }


def test_train_says_when_no_pairs_were_held_out(tmp_path):
    result = run(
        *("train", "scenes:n=60", "-o", tmp_path / "m", "--encoder", "pixels", "--n-topics", 6),
        *NETWORK,
    )
    assert re.search(r"training +not judged: no pairs were held out\n", result.stdout)
    assert result.stderr == ""


def test_train_warns_of_poor_topics(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("red\n", encoding="utf-8")
    result = run(
        *("train", "scenes:n=120", "-o", tmp_path / "m", "--encoder", "pixels", "--n-topics", 40),
        *("--max-words", 30, "--validation", 0, "--stop-words", own, "--ngrams", 2),
    )
    words = VisualTopicModel.load(tmp_path / "m").vocabulary_
    phrases = [word for word in words if " " in word]
    assert phrases and "red" not in words
    assert f"{len(words)}, {len(phrases)} of them phrases of two words\n" in result.stdout
    assert "warning: only 30 words for 40 topics" in result.stderr
    assert VisualTopicModel.load(tmp_path / "m").n_validation_ == 0


def test_few_words_of_few_captions_are_told_with_the_option_that_gives_more(tmp_path):
    for asked, hint in (
        ((), "; only those in 3 texts or more, a lower --min-df gives more"),
        (("--min-df", 1), ""),
        (("--max-words", 12), ""),
    ):
        result = run(
            "train", "scenes:n=120", "-o", tmp_path / "m", "--topics", 4, "--encoder", "pixels", *asked
        )
        n_words = len(VisualTopicModel.load(tmp_path / "m").vocabulary_)
        assert f"{'words':26} {n_words}{hint}\n" in result.stdout


def test_train_refuses_in_one_line_and_leaves_nothing(tmp_path):
    out = tmp_path / "m"
    assert "no corpus is called 'scene'" in error("train", "scene", "-o", out)
    assert "no encoder is called" in error("train", "scenes:n=120", "-o", out, "--encoder", "pixel")
    line = error("train", "scenes:n=120", "-o", out, "--encoder", "pixels", "--language", "german")
    assert "language='german': must be a code such as 'en' or 'de'" in line
    assert "choose from text, joint" in error("train", "scenes:n=120", "-o", out, "--teacher", "image")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    # Before anything is read: there is no such corpus either.
    line = error("train", "scene", "-o", tmp_path / "full")
    assert "full: is a folder, and a model is one file; name another place for the model" in line
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "mine.txt"]


# sweep


def test_sweep_shows_sizes_and_train_takes_what_it_recommends(tmp_path):
    asked = ("scenes:n=120", "--topics", "3,8", "--encoder", "pixels")
    result = run("sweep", *asked, "-o", tmp_path / "sweep.svg")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["topics"] for row in rows] == ["3", "8"] and "not tried" not in result.stderr
    scenes = load_corpus("scenes", n=120)
    model = VisualTopicModel((3, 8), encoder="pixels", language=scenes.language)
    model.fit(scenes.texts, scenes.images)
    for row, one in zip(rows, model.sizes_, strict=True):
        for name, values in (
            ("match", one.reciprocal),
            ("coherence", one.coherence),
            ("intrusion", one.intrusion),
        ):
            assert float(row[name]) == pytest.approx(values.mean(), abs=1e-6)
            assert float(row[f"{name} sd"]) == pytest.approx(np.std(values.mean(axis=1), ddof=1), abs=1e-6)
        assert float(row["stability"]) == pytest.approx(one.stability, abs=1e-6)
    (chosen,) = re.findall(r"^recommended: (\d) topics; ", result.stderr, re.M)
    drawn = ET.fromstring((tmp_path / "sweep.svg").read_text(encoding="utf-8"))
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    again = run("sweep", *asked, "-o", tmp_path / "again.svg", "--format", "table")
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "sweep.svg").read_bytes()
    assert re.search(r"0\.\d{3} ±0\.\d{3}", again.stdout) and f"recommended: {chosen} " in again.stderr
    trained = run("train", "scenes:n=120", "-o", tmp_path / "m", "--topics", "3,8", "--encoder", "pixels")
    assert re.search(rf"^topics +{chosen}, of 3, 8$", trained.stdout, re.M)
    assert VisualTopicModel.load(tmp_path / "m").n_topics == int(chosen)
    beyond = run("sweep", "scenes:n=120", "--topics", "3,500,8,500", "--encoder", "pixels")
    assert beyond.stdout == result.stdout
    learned = model.n_pairs_ - model.n_validation_
    assert f"not tried: 500; more topics than pairs to train on, {learned}\n" in beyond.stderr


def test_sweep_and_train_refuse_what_is_no_number_of_topics(tmp_path):
    for command in (("sweep", "scenes"), ("train", "scenes", "-o", tmp_path / "m")):
        told = error(*command, "--topics", "many")
        assert told == "error: --topics many: must be a number, several as in 20,40, or auto"
    assert "--topics 20: is one number" in error("sweep", "scenes", "--topics", "20")
    assert "drawn as .svg or .png" in error("sweep", "scenes", "-o", tmp_path / "sweep.pdf")
    assert "n_topics=1: must be a whole number, at least 2" in error(
        "train", "scenes:n=120", "-o", tmp_path / "m", "--n-topics", 1
    )


# update


def a_table(path: Path, rows: range, texts: dict[int, str] | None = None) -> Path:
    scenes = load_corpus("scenes", n=120)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file_name", "text"])
        for row in rows:
            name = f"{path.stem}-{row}.png"
            shutil.copy(scenes.images[row], path.parent / name)
            writer.writerow([name, (texts or {}).get(row, scenes.texts[row])])
    return path


def test_update_lets_new_pairs_join(tmp_path):
    old, more = a_table(tmp_path / "old.csv", range(90)), a_table(tmp_path / "more.csv", range(80, 120))
    model, grown = tmp_path / "m", tmp_path / "sub" / "grown"
    grown.parent.mkdir()
    run("train", old, "-o", model, "--n-topics", 6, "--encoder", "pixels")
    before, first = model.read_bytes(), VisualTopicModel.load(model)
    result = run("update", model, more, "-o", grown, "--new-topics", 1)
    assert model.read_bytes() == before
    updated = VisualTopicModel.load(grown)
    assert (updated.n_pairs_, updated.n_topics) == (120, 7)  # ten pairs were known
    assert updated.notes_["corpus"] == ["./../old.csv", "./../more.csv"]
    assert re.search(r"^new pairs +30$", result.stdout, re.M)
    assert re.search(r"^topics now +\d as before, \d changed, 1 new$", result.stdout, re.M)
    assert re.search(rf"^  new 6 +{re.escape(updated.topic_labels()[6])}$", result.stdout, re.M)
    # As in Python, and by the pictures.
    scenes = load_corpus("scenes", n=120)
    theta = [one.transform(scenes.images) for one in (first, updated)]
    moved = np.mean(theta[0].argmax(axis=1) != theta[1].argmax(axis=1))
    assert re.search(rf"^moved +{moved:.1%} of the pictures have another largest topic$", result.stdout, re.M)
    # What it was trained on is both tables, from wherever the model is.
    found = run("match", grown, "--text", "boats", "--all", "--top", 200)
    assert len(found.stdout.splitlines()) == 121
    assert f"trained on: {tmp_path}/old.csv\n" in found.stderr and f"{tmp_path}/more.csv\n" in found.stderr
    assert "all of its 40 pairs are in the model already" in run("update", grown, more, code=2).stderr


def test_update_replaces_the_model_and_takes_a_table_that_has_grown(tmp_path):
    table, model = a_table(tmp_path / "t.csv", range(90)), tmp_path / "m"
    run("train", table, "-o", model, "--n-topics", 6, "--encoder", "pixels")
    a_table(table, range(120))
    result = run("update", model, table)
    updated = VisualTopicModel.load(model)
    assert updated.n_pairs_ == 120 and updated.notes_["corpus"] == ["./t.csv"]
    assert re.search(r"^new pairs +30$", result.stdout, re.M)
    more = a_table(tmp_path / "more.csv", range(5), {row: f"a {row} boat on a lake" for row in range(5)})
    table.rename(tmp_path / "moved.csv")
    told = run("update", model, more, code=2).stderr.splitlines()[-1]
    assert told.startswith(f"error: {model}: was trained on {table}, which cannot be read now (")
    assert told.endswith("; name what it was trained on with --earlier")
    run("update", model, more, "--earlier", tmp_path / "moved.csv")
    updated = VisualTopicModel.load(model)
    assert updated.n_pairs_ == 125 and updated.notes_["corpus"] == ["./moved.csv", "./more.csv"]


def test_update_does_not_replace_a_model_whose_pairs_are_not_there(tmp_path):
    """A model moved to a folder with another table of the same name: its pairs are in it alone."""
    (tmp_path / "moved").mkdir()
    table, other = a_table(tmp_path / "t.csv", range(90)), a_table(tmp_path / "moved" / "t.csv", range(44))
    more, model = a_table(tmp_path / "more.csv", range(90, 100)), tmp_path / "moved" / "m"
    run("train", table, "-o", tmp_path / "m", "--n-topics", 6, "--encoder", "pixels")
    before = (tmp_path / "m").rename(model).read_bytes()
    told = run("update", model, more, code=2).stderr.splitlines()[-1]
    assert told == (
        f"error: {model}: of the 90 pairs that it was trained on 44 are left, and it would be replaced; name what it "
        "was trained on with --earlier, or another file for the updated model with -o"
    )
    assert model.read_bytes() == before
    run("update", model, more, "-o", tmp_path / "moved" / "small")
    assert VisualTopicModel.load(tmp_path / "moved" / "small").n_pairs_ == 54
    a_table(other, range(45))  # half of them
    run("update", model, more)
    assert VisualTopicModel.load(model).n_pairs_ == 55


def test_update_refuses_a_network_and_a_place_that_is_no_model(model, tmp_path):
    more = a_table(tmp_path / "more.csv", range(115, 120), {115: "a red boat, and no other word"})
    assert (
        "only a model of VTM+ can be updated"
        in run("update", model, more, "-o", tmp_path / "m", code=2).stderr
    )
    assert "exists and is no model" in error("update", model, more, "-o", more)
    assert "no such file" in error("update", model, tmp_path / "gone.csv", "-o", tmp_path / "m")


# match


def in_order(photos: Path) -> list[Path]:
    return [*(photos / f"{n}.png" for n in (0, 2, 4)), *(photos / "b" / f"{n}.png" for n in (1, 3, 5))]


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_tags_in_every_format_are_those_of_the_model(model, api, photos, tmp_path):
    asked = ("--min-confidence", 0, "--keywords", 4, "--top", 2, "--min-probability", 0.1, "--words", 4)
    paths, labels = in_order(photos), api.topics(4)
    expected = {}
    for path, keywords, theta in zip(
        paths, api.keywords(paths, top=4, min_confidence=0), api.transform(paths), strict=True
    ):
        order = [k for k in sorted(range(6), key=lambda k: -theta[k])[:2] if theta[k] >= 0.1]
        topics = [f"{k}: {' '.join(labels[k][:3])} ({theta[k]:.0%})" for k in order]
        expected[str(path)] = [(w.word, w.confidence) for w in keywords], topics, order
    assert any(words for words, *_ in expected.values())
    flat = [
        (path, word, None if chance is None else pytest.approx(chance, abs=1e-6), topics)
        for path, (words, topics, _) in expected.items()
        for word, chance in words or [("", None)]
    ]

    result = run("tag", model, photos, *asked)
    printed = list(csv.DictReader(io.StringIO(result.stdout)))
    run("tag", model, photos, *asked, "-o", tmp_path / "tags.csv")
    assert read_csv(tmp_path / "tags.csv") == printed
    found = [
        (
            r["picture"],
            r["keyword"],
            float(r["confidence"]) if r["keyword"] else None,
            r["topics"].split(", "),
        )
        for r in printed
    ]
    assert found == flat
    n_keywords = sum(len(words) for words, *_ in expected.values())
    without = sum(not words for words, *_ in expected.values())
    assert f"6 pictures: {6 - without} with {n_keywords} keywords, {without} without" in result.stderr

    run("tag", model, photos, *asked, "-o", tmp_path / "tags.parquet")
    assert [tuple(row.values()) for row in pq.read_table(tmp_path / "tags.parquet").to_pylist()] == found

    run("tag", model, photos, *asked, "-o", tmp_path / "tags.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "tags.jsonl").read_text().splitlines()]
    assert [line["picture"] for line in lines] == [str(path) for path in paths]
    for line in lines:
        words, _, order = expected[line["picture"]]
        assert [tuple(found.values()) for found in line["keywords"]] == [
            (word, pytest.approx(chance, abs=1e-6)) for word, chance in words
        ]
        assert [topic["topic"] for topic in line["topics"]] == order
        assert [topic["keywords"] for topic in line["topics"]] == [labels[k] for k in order]
    assert "keyword" in run("tag", model, photos, *asked, "--format", "table").stdout


def read_workbook(path: Path) -> list[list[str]]:
    """The cells of a workbook's first sheet, all of them text (ISO/IEC 29500, "inlineStr")."""
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(path) as archive:
        sheet = ET.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    assert not list(sheet.iter(f"{space}f")), "a formula"
    rows = []
    for row in sheet.iter(f"{space}row"):
        assert {cell.get("t", "inlineStr") for cell in row} == {"inlineStr"}
        rows.append(["".join(cell.itertext()) for cell in row])
    return rows


def test_one_row_a_picture_for_spreadsheets(model, api, photos, tmp_path):
    asked = ("--min-confidence", 0, "--keywords", 3)
    run("tag", model, photos, *asked, "--wide", "-o", tmp_path / "tags.csv")
    content = (tmp_path / "tags.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf") and content.count(b"\xef\xbb\xbf") == 1
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    assert rows[0] == ["picture", "keywords", "confidences", "topics", "fingerprint"]
    for row, path, found in zip(
        rows[1:], in_order(photos), api.keywords(in_order(photos), top=3, min_confidence=0), strict=True
    ):
        assert row[:3] == [
            str(path),
            ", ".join(keyword.word for keyword in found),
            ", ".join(f"{keyword.confidence:.2f}" for keyword in found),
        ]
    run("tag", model, photos, *asked, "--no-thumbnails", "-o", tmp_path / "tags.xlsx")
    assert read_workbook(tmp_path / "tags.xlsx") == rows


def test_a_picture_without_a_keyword_is_listed_in_every_format(model, photos, tmp_path):
    asked = ("--min-confidence", 1, "--min-probability", 1)
    result = run("tag", model, photos, *asked, "--format", "jsonl")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"picture": str(path), "keywords": [], "topics": []} for path in in_order(photos)
    ]
    assert "6 pictures: 0 with 0 keywords, 6 without (100%)" in result.stderr
    assert "6 of 6 pictures have no topic of 1.0 or more" in result.stderr
    told = run("tag", model, photos, *asked, "--format", "table", "--wide").stderr
    assert "not used: --wide; a table on a terminal has a block for each picture, a file (-o) a row\n" in told
    lines = run("tag", model, photos, *asked).stdout.splitlines()
    assert lines == ["picture,keyword,confidence,topics", *(f"{path},,," for path in in_order(photos))]
    told = run("tag", model, photos, *asked, "--wide", "--no-thumbnails")
    assert "not used: --no-thumbnails; only a workbook has small pictures\n" in told.stderr
    assert "--wide" not in told.stderr
    wide = told.stdout.splitlines()
    assert wide[0] == "picture,keywords,confidences,topics,fingerprint"
    assert [line.rpartition(",")[0] for line in wide[1:]] == [f"{path},,," for path in in_order(photos)]
    run("tag", model, photos, *asked, "-o", tmp_path / "tags.parquet")
    assert [row["picture"] for row in pq.read_table(tmp_path / "tags.parquet").to_pylist()] == [
        str(path) for path in in_order(photos)
    ]


def test_how_sure_keywords_are_is_said(model, api, photos, tmp_path):
    known = api.calibration_.keywords
    said = run("tag", model, photos).stderr
    if known.shown:
        assert known.precision >= 0.5
        assert f"keywords of {known.threshold:.2f} or more: {known.precision:.0%} of those were right" in said
    else:
        assert (
            "no keywords are shown: of the surest on held-out pairs, too, less than half were right" in said
        )
    run("train", "scenes:n=60", "-o", tmp_path / "few", "--encoder", "pixels", "--n-topics", 4)
    result = run("tag", tmp_path / "few", photos)
    assert "no pairs were held out in training: how sure the keywords are is not known" in result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 30 and {row["confidence"] for row in rows} == {""}


def test_other_words_for_the_topics(model, api, photos):
    for asked, topics in (
        (("--ctfidf",), api.topics(5, order="ctfidf")),
        (("--relevance", 0), api.topics(5, weight=0)),
    ):
        result = run("tag", model, photos / "0.png", "--top", 1, *asked, "--format", "jsonl")
        (topic,) = json.loads(result.stdout)["topics"]
        assert topic["keywords"] == topics[topic["topic"]]


def test_bad_pictures_are_listed_and_the_exit_code_says_so(model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("vtm.encoders.BLOCK", 2)
    (photos / "1broken.png").write_bytes(b"no picture")
    (photos / "b" / "empty.jpg").touch()
    missing = tmp_path / "gone.jpg"
    result = run("tag", model, photos, missing, "-o", tmp_path / "tags.csv", "--top", 1, code=SKIPPED)
    said = result.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in said if line.startswith("not used")] == [
        *(str(photos / "1broken.png"), str(photos / "b" / "empty.jpg"), str(missing))
    ]
    assert said[-1] == "3 not used (2 unreadable, 1 missing)"
    assert list(dict.fromkeys(row["picture"] for row in read_csv(tmp_path / "tags.csv"))) == [
        str(path) for path in in_order(photos)
    ]


def test_when_nothing_can_be_used_it_is_an_error_and_no_file(model, photos, tmp_path):
    for path in in_order(photos):
        path.write_bytes(b"no picture")
    out = tmp_path / "tags.csv"
    assert "none of 6 pictures can be used; the first: " in error("tag", model, photos, "-o", out)
    (tmp_path / "nothing").mkdir()
    assert "no picture is there" in error("tag", model, tmp_path / "nothing", "-o", out)
    assert "no model" in error("tag", photos, photos, "-o", out)
    assert "which format?" in error("tag", model, photos, "-o", tmp_path / "tags.txt")
    assert "--format xls: did you mean" in error("tag", model, photos, "--format", "xls")
    assert "Parquet goes into a file" in error("tag", model, photos, "--format", "parquet")
    assert "a table goes to the terminal" in error("tag", model, photos, "--format", "table", "-o", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nothing", "photos"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_interrupted_it_leaves_no_half_written_file(model, photos, tmp_path, monkeypatch, suffix):
    blocks = VisualTopicModel.tag_blocks
    monkeypatch.setattr("vtm.encoders.BLOCK", 2)

    def interrupted(self, images, **options):
        yield next(iter(blocks(self, images, **options)))
        raise KeyboardInterrupt

    monkeypatch.setattr(VisualTopicModel, "tag_blocks", interrupted)
    out = tmp_path / f"tags{suffix}"
    out.write_text("as it was")
    result = runner.invoke(app, ["tag", str(model), str(photos), "-o", str(out)])
    assert result.exit_code != 0
    assert out.read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", out.name]


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        *((name, signal.SIGTERM) for name in ("tag", "train", "match", "explore", "originals")),
        ("tag", signal.SIGINT),
    ],
)
def test_stopped_it_leaves_no_half_written_file(model, photos, tmp_path, command, sent):
    place = tmp_path / "place"
    shutil.copytree(photos, place / "photos")
    shutil.copy(model, place / "old")
    (place / "old.csv").write_text("as it was")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    arguments = {
        "tag": ("tag", model, photos, "-o", place / "old.csv"),
        "train": ("train", "scenes:n=120", "-o", place / "old", "--encoder", "pixels", "--n-topics", 4),
        "match": ("match", model, photos, "--text", "a boat", "--sheet", place / "sheet.png"),
        "explore": ("explore", model, photos, "-o", place / "page"),
        "originals": ("tag", model, place / "photos", "--write-originals", "--min-confidence", 0),
    }[command]
    child = start_waiting(place, tmp_path, list(map(str, arguments)))
    try:
        wait_for(place / STARTED, child.is_alive)
        half = [path for path in place.rglob("*") if path.is_file() and ".tmp" in str(path)]
        if child.is_alive():
            os.kill(child.pid, sent)
        child.join(120)
    finally:
        child.kill()
    told = (tmp_path / TOLD).read_text("utf-8")
    assert child.exitcode == 128 + sent, (tmp_path / PRINTED).read_text("utf-8") + told
    assert "Traceback" not in told
    assert half and (place / STARTED).exists(), "it was not stopped in the middle"
    (place / STARTED).unlink()
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_a_sidecar_that_is_no_file_is_passed_over(model, photos):
    os.mkfifo(sidecar_path(photos / "0.png"))
    result = run("tag", model, photos, "--min-confidence", 0, "--write-sidecars", code=SKIPPED)
    assert "5 sidecars written" in result.stderr
    assert f"no sidecar: {photos}/0.png.xmp: is no regular file" in result.stderr


def test_a_name_cannot_drive_the_terminal(model, photos, monkeypatch):
    shutil.copy(photos / "0.png", photos / "\x1b[31mx\n.png")
    (photos / "no\x9b1m.png").write_bytes(b"no picture")
    monkeypatch.setenv("COLUMNS", "400")
    for command in (("tag",), ("match", "--text", "a boat", "--all")):
        result = run(command[0], model, photos, *command[1:], "--format", "table", code=SKIPPED)
        assert r"photos/\x1b[31mx\n.png" in result.stdout and r"no\x9b1m.png" in result.stderr
        assert not {"\x1b", "\x9b"} & {*result.stdout, *result.stderr}


def test_names_that_are_no_text_are_shown(model, photos, tmp_path):
    odd = os.fsencode(photos) + b"/odd\xff,\n name.png"
    shutil.copy(photos / "0.png", odd)
    for path in in_order(photos):
        path.unlink()
    (row,) = csv.DictReader(io.StringIO(run("tag", model, photos, "--keywords", 1).stdout))
    assert row["picture"] == f"{photos}/odd\\xff,\n name.png" == storable(Path(os.fsdecode(odd)))
    for name in ("tags.csv", "tags.jsonl", "tags.parquet"):
        run("tag", model, photos, "-o", tmp_path / name)
    run("match", model, photos, "--text", "a boat", "--sheet", tmp_path / "sheet.html")
    run("match", model, photos, "--text", "a boat", "--sheet", tmp_path / "sheet.png")


# Sidecars


def keywords_in(path: Path, name: str) -> list[str]:
    return [li.text for one in ET.parse(path).iter(name) for li in one[0]]


def test_sidecars_get_the_keywords_and_pictures_stay_as_they_are(model, api, photos):
    before = picture_hashes(photos)
    sidecar_path(photos / "0.png").write_text(
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5">'
        "<dc:subject><rdf:Bag><rdf:li>mine</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>"
    )
    asked = ("--min-confidence", 0, "--keywords", 3)
    result = run("tag", model, photos, *asked, "--write-sidecars")
    assert "6 sidecars written, 0 had all keywords" in result.stderr
    by_picture: dict[str, list[str]] = {}
    for row in csv.DictReader(io.StringIO(result.stdout)):
        by_picture.setdefault(row["picture"], []).append(row["keyword"])
    for path in in_order(photos):
        words = by_picture[str(path)]
        flat = keywords_in(sidecar_path(path), "{http://purl.org/dc/elements/1.1/}subject")
        mine = ["mine"] if path.name == "0.png" else []
        assert flat == mine + words
        tree = keywords_in(sidecar_path(path), "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject")
        assert tree == mine + [f"vtm|{word}" for word in words]
    assert 'xmp:Rating="5"' in sidecar_path(photos / "0.png").read_text()
    assert picture_hashes(photos) == before
    again = run("tag", model, photos, *asked, "--write-sidecars")
    assert "0 sidecars written, 6 had all keywords" in again.stderr
    assert again.stdout == result.stdout
    run("tag", model, photos, *asked, "--top", 1, "--words", 4, "--write-sidecars", "--write-topics")
    labels = [" ".join(words[:3]) for words in api.topics(4)]
    for path, theta in zip(in_order(photos), api.transform(in_order(photos)), strict=True):
        flat = keywords_in(sidecar_path(path), "{http://purl.org/dc/elements/1.1/}subject")
        assert flat[-1] == labels[int(theta.argmax())]


def test_pictures_without_a_keyword_get_no_sidecar_and_are_counted(model, photos):
    result = run("tag", model, photos, "--min-confidence", 1, "--write-sidecars")
    assert "0 sidecars written, 0 had all keywords, 6 left as they are, without a keyword" in result.stderr
    assert not list(photos.rglob("*.xmp"))


def test_untag_gives_back_what_was_there(model, photos):
    (photos / "0.xmp").write_text(
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description/></rdf:RDF>'
    )
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    least = ("--min-confidence", 0)
    run("tag", model, photos, *least, "--write-originals")
    both = run("tag", model, photos, *least, "--write-sidecars", "--sidecar-name", "basename")
    assert "6 sidecars written" in both.stderr and "is there, too" not in both.stderr
    twice = run("tag", model, photos / "0.png", *least, "--write-sidecars")
    told = "vtm keeps its keywords in 0.png.xmp, which digiKam does not read then"
    assert f"{photos}/0.xmp: is there, too; {told}" in twice.stderr
    (photos / "b" / "1.xmp").chmod(0o444)
    result = run("untag", photos, code=SKIPPED)
    assert "keywords taken out of 12 files of 6 pictures" in result.stderr
    assert f"not written: {photos}/b/1.xmp: it is write-protected; it is left as it is" in result.stderr
    (photos / "b" / "1.xmp").chmod(0o644)
    assert "keywords taken out of 1 file" in run("untag", photos / "b").stderr
    assert {path: path.read_bytes() for path in photos.rglob("*.*")} == before
    assert "keywords taken out of 0 files" in run("untag", photos).stderr
    assert "must be full or basename" in error("tag", model, photos, "--sidecar-name", "short")


def test_a_sidecar_that_cannot_be_written_is_named(model, photos):
    sidecar_path(photos / "0.png").write_text("rating: 5")
    result = run("tag", model, photos, "--min-confidence", 0, "--write-sidecars", code=SKIPPED)
    assert f"no sidecar: {photos / '0.png'}.xmp: it is not XML" in result.stderr
    assert "5 sidecars written, 0 had all keywords, 1 skipped" in result.stderr
    assert sidecar_path(photos / "0.png").read_text() == "rating: 5"


def test_originals_get_the_keywords_when_asked_and_what_they_show_stays(model, photos, tmp_path):
    with Image.open(photos / "0.png") as scene:
        scene.save(photos / "6.jpg")
        scene.save(photos / "7.webp")
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    asked = ("tag", model, photos, "--min-confidence", 0, "--keywords", 3)
    plain = run(*asked)
    assert {path: path.read_bytes() for path in photos.rglob("*.*")} == before
    result = run(*asked, "--write-originals", code=SKIPPED)
    assert result.stdout == plain.stdout
    assert "7 pictures written, 0 had all keywords, 1 skipped" in result.stderr
    assert f"not written: {photos}/7.webp: it is neither JPEG nor PNG; it is left as it is" in result.stderr
    words: dict[str, list[str]] = {}
    for row in csv.DictReader(io.StringIO(result.stdout)):
        words.setdefault(row["picture"], []).append(row["keyword"])
    for path, old in before.items():
        if path.suffix == ".txt" or path.name in ("7.webp", ".thumbnail.png"):
            assert path.read_bytes() == old
            continue
        with Image.open(path) as picture, Image.open(io.BytesIO(old)) as unwritten:
            assert picture.tobytes() == unwritten.tobytes()
            xmp = picture.info.get("xmp") or picture.info["XML:com.adobe.xmp"]
        (tmp_path / "xmp").write_bytes(xmp if isinstance(xmp, bytes) else xmp.encode())
        flat = keywords_in(tmp_path / "xmp", "{http://purl.org/dc/elements/1.1/}subject")
        assert flat == list(dict.fromkeys(words[str(path)]))
    assert not list(photos.rglob("*.xmp"))
    written = {path: path.read_bytes() for path in before}
    again = run(*asked, "--write-originals", "--write-sidecars", code=SKIPPED)
    assert again.stdout == plain.stdout
    assert "8 sidecars written" in again.stderr and "0 pictures written, 7 had all keywords" in again.stderr
    assert {path: path.read_bytes() for path in before} == written


# Folders


def test_folders_are_searched_in_order_and_links_are_not_followed(photos, tmp_path):
    (photos / "c").mkdir()
    (photos / "c" / "PHOTO.JPEG").touch()
    (photos / ".hidden").mkdir()
    shutil.copy(photos / "0.png", photos / ".hidden" / "0.png")
    (photos / "circle").symlink_to(photos)
    (photos / "again.png").symlink_to(photos / "0.png")
    named_link = tmp_path / "named.png"
    named_link.symlink_to(photos / "0.png")
    found = find_pictures([photos / "b" / "5.png", photos, named_link, tmp_path / "gone.png"])
    folder = in_order(photos)
    expected = [folder[5], *folder[:5], photos / "c" / "PHOTO.JPEG", named_link, tmp_path / "gone.png"]
    assert list(found.pictures) == expected
    assert found.unreadable == ()
    assert [(item.reason, Path(item.id).name) for item in found.passed] == [
        ("link", "circle"), ("hidden", ".thumbnail.png"), ("link", "again.png"), ("hidden", "0.png")
    ]  # fmt: skip


def passed_over(found) -> dict[str, set[str]]:
    """The names of what was passed over, by the reason."""
    names: dict[str, set[str]] = {}
    for item in found.passed:
        names.setdefault(item.reason, set()).add(Path(item.id).name)
    return names


def test_what_programs_keep_for_themselves_is_passed_over_and_counted(tmp_path):
    """A share of network storage: its thumbnails, its bin, a program's previews; the owner's pictures among them."""
    root = tmp_path / "share"
    expected = {
        "hidden": ("._1.jpg", ".thumbnails/large/2.png", ".Trash-1000/files/3.jpg"),
        "program": (
            *("@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg", "a/@eaDir/SYNOINDEX.JPG", "#recycle/4.jpg"),
            *(
                "lost+found/5.png",
                "Lightroom Previews.lrdata/A/6.jpg",
                "a/@Recycle/.7.jpg",
                "__MACOSX/._8.jpg",
            ),
        ),
        "nomedia": ("whatsapp/9.jpg", "whatsapp/sent/.10.jpg"),
    }
    mine = ["1.jpg", "a/2.HEIC", "a/3.cr2", "a/@mum/4.jpg", "a/#2023/5.jpg", "media/6.jpg"]
    for name in (*mine, *itertools.chain(*expected.values()), "whatsapp/.nomedia", ".config/notes.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_pictures([root])
    assert {path.relative_to(root).as_posix() for path in found.pictures} == set(mine)
    assert passed_over(found) == {why: {Path(name).name for name in all} for why, all in expected.items()}
    assert len(found.passed) == sum(map(len, expected.values()))
    hidden, program, nomedia = found.told()
    assert hidden.startswith("3 pictures passed over, hidden") and f"{root}/.thumbnails, " in f"{hidden}, "
    assert (
        program.startswith("7 pictures passed over in folders that programs keep") and "THUMB" not in program
    )
    assert nomedia == f"2 pictures passed over in folders with a .nomedia: {root / 'whatsapp'}"
    # A folder that is named is searched whatever it is.
    assert [path.name for path in find_pictures([root / "@eaDir"]).pictures] == ["SYNOPHOTO_THUMB_XL.jpg"]
    assert [path.name for path in find_pictures([root / "whatsapp"]).pictures] == ["9.jpg"]


def test_what_is_excluded_is_counted(photos):
    def left(*patterns: str) -> list[str]:
        return [path.name for path in find_pictures([photos], exclude=patterns).pictures]

    assert left() == ["0.png", "2.png", "4.png", "1.png", "3.png", "5.png"]
    assert left("b") == left("b/*") == left("b/?.png") == ["0.png", "2.png", "4.png"]
    assert left("[0-3].png") == ["4.png", "5.png"]
    assert left("png", "B", "a/*") == left()
    found = find_pictures([photos / "b", photos / "0.png"], exclude=["0*", "5.*"])
    assert [path.name for path in found.pictures] == ["1.png", "3.png"]
    assert passed_over(found) == {"excluded": {"0.png", "5.png"}}


def test_what_was_passed_over_is_said_by_every_command_that_looks_for_pictures(model, photos, tmp_path):
    (photos / "@eaDir").mkdir()
    shutil.copy(photos / "0.png", photos / "@eaDir" / "thumb.png")
    (photos / "8.heic").write_bytes(b"no picture")
    for command in (
        ("tag", model),
        ("match", model, "--text", "red"),
        ("explore", model, "-o", tmp_path / "page"),
    ):
        said = run(*command, photos, "--exclude", "b", code=SKIPPED).stderr
        assert f"1 picture passed over in folders that programs keep for themselves: {photos}/@eaDir" in said
        assert f"3 pictures passed over by --exclude: {photos}/b" in said and "8.heic" in said
    with pytest.raises(MissingError, match="no picture is there.*1 picture passed over in folders"):
        find_some([photos], ["*.png", "*.heic", "b"])


def test_the_explorers_thumbnails_are_no_pictures(photos, tmp_path):
    build_explorer(simple(tmp_path / "painted"), photos / "explorer")
    (photos / "thumbnails-of-mine.webp").touch()  # with no explorer beside it
    assert list((photos / "explorer").glob("thumbnails-*.webp"))
    names = [path.name for path in find_pictures([photos]).pictures]
    assert names == ["0.png", "2.png", "4.png", "thumbnails-of-mine.webp", "1.png", "3.png", "5.png"]


def test_a_folder_that_cannot_be_read_is_named(photos, monkeypatch):
    scandir = os.scandir

    def forbidden(folder):
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", forbidden)
    found = find_pictures([photos])
    assert list(found.pictures) == in_order(photos)[:3]
    (drop,) = found.unreadable
    assert drop.detail == f"{photos / 'b'}: the folder cannot be read (Permission denied)"


def test_what_could_not_be_searched_is_said(model, photos):
    (photos / "again.png").symlink_to(photos / "0.png")
    assert f"1 link in folders not followed: {photos}/again.png\n" in run("tag", model, photos).stderr


def test_what_is_to_be_written_goes_with_an_option_that_writes(model, photos):
    assert "--write-topics: says what is written to files; give --write-sidecars or" in error(
        "tag", model, photos, "--write-topics"
    )
    for writes in ((), ("--write-originals",)):
        asked = ("tag", model, photos, "--sidecar-name", "basename", *writes)
        assert "--sidecar-name basename: names the sidecars of --write-sidecars" in error(*asked)
    assert not [*photos.rglob("*.xmp")]


def test_tagging_refuses_what_makes_no_sense(api, photos):
    for asked in ({"top": 0}, {"min_probability": 2}, {"words": 0}, {"min_confidence": 2}, {"keywords": -1}):
        with pytest.raises(ConfigError, match="at least 1|a number of words, and a chance from 0 to 1"):
            list(tag_pictures(api, [photos / "0.png"], **asked))


def test_a_picture_without_numbers_is_dropped_by_its_own_name(api, photos, monkeypatch):
    """The encoder may give a picture what the model cannot read, with no picture lost."""
    (photos / "broken.png").write_bytes(b"no picture")
    pictures = [photos / name for name in ("0.png", "broken.png", "2.png")]
    whole = type(api).tag_blocks

    def spoilt(self, images, **options):
        for theta, found, dropped in whole(self, images, **options):
            theta[0] = np.nan
            yield theta, found, dropped

    monkeypatch.setattr(type(api), "tag_blocks", spoilt)
    ((first, broken, last),) = tag_pictures(api, pictures)
    assert (first.id, first.reason) == (str(pictures[0]), "not-finite") and str(pictures[0]) in first.detail
    assert broken.id == str(pictures[1]) and "broken.png" in broken.detail
    assert last.picture == pictures[2] and last.tags


# match


def test_match_ranks_as_the_model_does_and_says_why(model, api, photos, tmp_path):
    text = "Two boats sail on the sea near a zeppelin."
    (photos / "zbroken.png").write_bytes(b"no picture")
    asked = ("--top", 4, "--words", 2, "--all")
    result = run("match", model, photos, "--text", text, *asked, code=SKIPPED)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    paths = in_order(photos)
    positions, scores = api.rank([text], paths, top=4)
    assert [row["picture"] for row in rows] == [str(paths[place]) for place in positions[0]]
    np.testing.assert_allclose([float(row["score"]) for row in rows], scores[0], atol=1e-6)
    answer = api.match(text, paths, top=4, words=2)
    for row, hit in zip(rows, answer.nearest, strict=True):
        assert float(row["probability"]) == pytest.approx(hit.probability, abs=1e-6)
        reasons = row["why"].split("; ")
        assert len(reasons) == len(hit.words) + len(hit.topics) > 0
        for reason, word in zip(reasons, hit.words, strict=False):
            assert reason == f"{word.word} ({word.lift:.1f} times as likely as overall)"
        for reason, topic in zip(reasons[len(hit.words) :], hit.topics, strict=True):
            assert reason == f"{', '.join(topic.words)} (text {topic.text:.0%}, picture {topic.picture:.0%})"
    assert "words that the model does not know: " in result.stderr and "zeppelin" in result.stderr
    assert "1 not used (1 unreadable)" in result.stderr
    (tmp_path / "article.txt").write_text(f"\ufeff{text}\n", encoding="utf-8")
    from_file = run("match", model, photos, "--text-file", tmp_path / "article.txt", *asked, code=3)
    assert from_file.stdout == result.stdout
    fits = run("match", model, photos, "--text", text, "--top", 4, code=SKIPPED).stdout.splitlines()[1:]
    assert len(fits) == sum(hit.probability >= answer.threshold for hit in answer.nearest)


def test_match_by_another_measure_is_by_the_topics(model, api, photos):
    text, paths = "Two boats sail on the sea.", in_order(photos)
    result = run("match", model, photos, "--text", text, "--measure", "cosine")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    theta, wanted = api.transform(paths), api.transform_text([text])[0]
    cosine = theta @ wanted / np.linalg.norm(theta, axis=1) / np.linalg.norm(wanted)
    assert [row["picture"] for row in rows] == [str(paths[i]) for i in np.argsort(-cosine, kind="stable")]
    assert {row["probability"] for row in rows} == {""}
    assert "measure='sine': did you mean 'cosine'? Choose" in error(
        "match", model, photos, "--text", text, "--measure", "sine"
    )


def test_where_nothing_fits_that_is_said(model, api, photos, monkeypatch):
    """A model whose threshold no chance reaches, and to which every text is flat."""
    calibration = api.calibration_.matches["unknown"]
    unlikely = {kind: replace(calibration, slope=1.0, threshold=1.1) for kind in ASKED}
    again = copy(api)
    again._tuned = replace(api.calibration_, matches=unlikely, flat=0.0)
    monkeypatch.setattr(VisualTopicModel, "load", lambda *_, **__: again)
    result = run("match", model, photos, "--text", "xyzzy plugh")
    assert result.stdout == "rank,probability,score,picture,why\n"
    assert "knows no word of the text, and its topics are flat: what is found is a guess" in result.stderr
    assert re.search(r"nothing fits well; the nearest is \d+% likely, see it with --all", result.stderr)
    rows = run("match", model, photos, "--text", "xyzzy plugh", "--all").stdout.splitlines()
    assert len(rows) == 7


def test_where_a_text_says_nothing_of_pictures_the_nearest_are_shown(model, api, photos, monkeypatch):
    """A score without a slope: each picture is as likely as the others."""
    again = copy(api)
    without = replace(api.calibration_.matches["unknown"], slope=0.0, intercept=-4.0, threshold=2.0)
    again._tuned = replace(api.calibration_, matches=dict.fromkeys(ASKED, without))
    monkeypatch.setattr(VisualTopicModel, "load", lambda *_, **__: again)
    result = run("match", model, photos, "--text", "xyzzy plugh")
    assert len(result.stdout.splitlines()) == 7
    assert "which of these fit cannot be told" in result.stderr and "nothing fits" not in result.stderr


def test_match_without_pictures_takes_those_it_was_trained_on(tmp_path, photos, monkeypatch):
    scenes = load_corpus("scenes", n=120)
    rows = [f"{'b/' if n % 2 else ''}{n}.png,{scenes.texts[n].replace(',', ' ')}" for n in range(6)]
    (photos / "captions.csv").write_text("\n".join(["file_name,title", *rows]), encoding="utf-8")
    small = ("--n-topics", 2, "--encoder", "pixels", "--min-df", 1)
    monkeypatch.chdir(photos)
    run("train", "captions.csv:text_column=title,lang=de", "-o", tmp_path / "m", *small)
    monkeypatch.chdir(tmp_path)
    corpus = f"{photos}/captions.csv:text_column=title,lang=de"
    assert VisualTopicModel.load("m").notes_["corpus"] == "./photos/captions.csv:text_column=title,lang=de"

    named = run("match", "m", photos, "--text", "two boats", "--all")
    shutil.copy(photos / "0.png", photos / "of-no-caption.png")
    result = run("match", "m", "--text", "two boats", "--all")
    assert result.stdout == named.stdout and len(result.stdout.splitlines()) == 7
    assert result.stderr.splitlines()[0] == f"with the corpus that the model was trained on: {corpus}"

    told = run("topics", "m", "--over", "year", code=2).stderr.splitlines()[-1]
    assert told.startswith(f"error: {photos}/captions.csv: no column 'year'; its columns are ")
    assert told.endswith(" (the model was trained on it); name a table with --table")

    (photos / "b" / "3.png").unlink()
    result = run("match", "m", "--text", "two boats", "--all")
    assert len(result.stdout.splitlines()) == 6
    assert "1 of its pairs is left out (1 missing-picture), such as " in result.stderr
    assert (
        "is one of the pictures"
        in run("match", "m", "--text", "a", "--sheet", photos / "0.png", code=2).stderr
    )

    (photos / "captions.csv").unlink()
    result = run("match", "m", "--text", "two boats", code=2)
    told, line = result.stderr.splitlines()
    assert line.startswith(f"error: m: was trained on {corpus}, which cannot be read now (")
    assert "no such file" in line and line.endswith("; name the pictures")


def test_a_model_that_is_moved_with_its_table_finds_it(tmp_path, photos, monkeypatch):
    scenes = load_corpus("scenes", n=120)
    rows = [f"{'b/' if n % 2 else ''}{n}.png,{scenes.texts[n].replace(',', ' ')}" for n in range(6)]
    (photos / "captions.csv").write_text("\n".join(["file_name,text", *rows]), encoding="utf-8")
    (tmp_path / "models").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "models")  # a folder from which `..` leads elsewhere
    small = ("--n-topics", 2, "--encoder", "pixels", "--min-df", 1)
    run("train", photos / "captions.csv", "-o", tmp_path / "link" / "m", *small)
    told = (tmp_path / "models" / "m").read_bytes()
    assert os.fsencode(tmp_path) not in told, "it tells where its maker's pictures lie"
    (tmp_path / "elsewhere").mkdir()
    for name in ("photos", "models"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    monkeypatch.chdir(tmp_path / "elsewhere" / "models")
    for model in ("m", tmp_path / "elsewhere" / "models" / "m"):
        result = run("match", model, "--text", "two boats", "--all")
        assert f"trained on: {tmp_path}/elsewhere/photos/captions.csv\n" in result.stderr
        assert len(result.stdout.splitlines()) == 7


def test_a_model_that_names_no_corpus_needs_pictures(api, tmp_path):
    for notes in ({}, {"corpus": 3}, {"corpus": " "}):
        api.save(tmp_path / "m", **notes)
        assert error("match", tmp_path / "m", "--text", "a boat") == (
            f"error: {tmp_path}/m: does not say which corpus it was trained on, only a model of `vtm train` does; "
            "name the pictures"
        )
    api.save(tmp_path / "m", corpus="no corpus\n")
    told = run("match", tmp_path / "m", "--text", "a boat", code=2).stderr
    assert f"cannot be read now ({tmp_path}/no corpus: no such file or folder" in told


def test_tag_asks_for_pictures(model):
    assert "Missing argument 'PICTURES...'" in run("tag", model, code=2).stderr


def test_what_a_model_notes_of_its_corpus_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", f"{tmp_path}/me")
    for folder in ("photos", "me", "models", "scenes"):
        (tmp_path / folder).mkdir()
    for table in ("b.csv", "me/b.csv", "a:b.csv"):
        (tmp_path / table).touch()
    (tmp_path / "link.csv").symlink_to(tmp_path / "me" / "b.csv")
    for typed, absolute, noted in (
        ("scenes:n=120,seed=3", "scenes:n=120,seed=3", "scenes:n=120,seed=3"),
        ("stamps", "stamps", "stamps"),
        ("photos", f"{tmp_path}/photos", "./../photos"),
        ("./scenes", f"{tmp_path}/scenes", "./../scenes"),
        ("link.csv", f"{tmp_path}/link.csv", "./../link.csv"),
        (" a/../b.csv:text_column=007,lang=de ", f"{tmp_path}/b.csv:text_column=007,lang=de", None),
        ("~/b.csv", f"{tmp_path}/me/b.csv", "./../me/b.csv"),
        ("a:b.csv", f"{tmp_path}/a:b.csv", "./../a:b.csv"),
        ("newsimages:folder=news,lang=de", f"newsimages:folder={tmp_path}/news,lang=de", None),
    ):
        assert absolute_corpus(typed) == absolute
        assert parse_corpus(absolute)[1].keys() == parse_corpus(typed)[1].keys()
        note = corpus_note(typed, tmp_path / "models" / "m")
        assert note == noted or (noted is None and note == absolute.replace(f"{tmp_path}", "./.."))
    assert corpus_note("./scenes", tmp_path / "m") == "./scenes"  # a folder, and not our own scenes
    assert absolute_corpus("gone.csv") == "gone.csv"


def test_match_needs_one_text(model, photos, tmp_path):
    article = tmp_path / "article.txt"
    article.write_bytes("Käse".encode("cp1252"))
    assert "either --text or --text-file" in error("match", model, photos)
    assert "either --text or --text-file" in error(
        "match", model, photos, "--text", "a", "--text-file", article
    )
    assert "not UTF-8 at byte 1" in error("match", model, photos, "--text-file", article)
    assert "the text is empty" in error("match", model, photos, "--text", " ")
    for pictures in ((photos,), ()):  # the corpus is not read in vain
        gone = error("match", model, *pictures, "--text-file", tmp_path / "gone.txt")
        assert gone == f"error: --text-file {tmp_path}/gone.txt: no such file; name one with the text"
        folder = error("match", model, *pictures, "--text-file", photos)
        assert folder == f"error: --text-file {photos}: is a folder; name a file with the text"
    assert "is drawn as .png or .html" in error(
        "match", model, photos, "--text", "a", "--sheet", tmp_path / "s.pdf"
    )


def encoded(api: VisualTopicModel, paths: list[Path]) -> np.ndarray:
    names, hashes = tuple(map(str, paths)), [hash_file(path) for path in paths]
    return embed_images(load_encoder("pixels").image, names, tuple(paths), hashes)[0]


def rows_of(*arguments: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run("match", *arguments).stdout)))


def test_match_finds_pictures_like_one_from_anywhere(model, api, photos, tmp_path):
    like, paths = load_corpus("scenes", n=120).images[40], in_order(photos)
    rows = rows_of(model, photos, "--like", like, "--words", 2)
    places = api.space_.embed("image", encoded(api, [like, *paths]))
    alike = places[1:] @ places[0]
    assert [row["picture"] for row in rows] == [str(paths[place]) for place in np.argsort(-alike)]
    np.testing.assert_allclose([float(row["score"]) for row in rows], np.sort(alike)[::-1], atol=1e-5)
    assert {row["probability"] for row in rows} == {""}
    assert all(re.search(r"\(given picture \d+%, picture \d+%\)", row["why"]) for row in rows)
    # In the folder it would be the first itself.
    again = run("match", model, photos, "--like", paths[2], "--sheet", tmp_path / "sheet.html")
    assert len(again.stdout.splitlines()) == 6 and f"{paths[2]}," not in again.stdout
    assert "score: the cosine with the given picture in the space" in again.stderr
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    headings = re.findall("<h2>(.*)</h2>", page)
    assert headings[0] == "like 4.png" and [one.partition(" ")[0] for one in headings[1:]] == [
        f"{n}." for n in range(1, 6)
    ]
    assert page.count("<img") == 6
    gone = error("match", model, photos, "--like", tmp_path / "gone.png")
    assert gone == f"error: --like {tmp_path}/gone.png: no such file; name a picture"
    assert "no other picture is there" in error("match", model, paths[0], "--like", paths[0])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert "like: 1 of 1 picture cannot be used; the first: " in error(
        "match", model, photos, "--like", tmp_path / "broken.png"
    )


def test_match_takes_away_what_is_not_wanted(model, api, photos):
    paths, like = in_order(photos), load_corpus("scenes", n=120).images[40]
    rows = rows_of(model, photos, "--text", "boats", "--minus", "sea", "--like", like)
    by = {}
    for name, asked in {
        "boats": {"texts": ["boats"]},
        "sea": {"texts": ["sea"]},
        "like": {"like": [like]},
    }.items():
        positions, scores = api.rank(images=paths, **asked)
        by[name] = scores[0][np.argsort(positions[0])]
    wanted = by["boats"] + 0.5 * by["like"] / api.calibration_.spread["text"]["space"] - 0.75 * by["sea"]
    assert [row["picture"] for row in rows] == [str(paths[i]) for i in np.argsort(-wanted)]
    np.testing.assert_allclose([float(row["score"]) for row in rows], np.sort(wanted)[::-1], atol=1e-5)
    assert all(
        re.search(r"; not wanted: sea \(\d+\.\d times as likely as overall\)$", r["why"]) for r in rows
    )
    assert "--minus: says what is not wanted" in error("match", model, photos, "--minus", "sea")
    assert "--minus: the text is empty" in error("match", model, photos, "--text", "a", "--minus", " ")
    by_topics = error("match", model, photos, "--text", "a", "--minus", "sea", "--measure", "cosine")
    assert by_topics == "error: measure='cosine': like, minus and topic are by the fused measure"


def test_match_shows_the_pictures_of_a_topic(model, api, photos):
    paths, theta = in_order(photos), api.transform(in_order(photos))
    for topic in (0, 5):
        rows = rows_of(model, photos, "--topic", topic, "--top", 3)
        best = np.argsort(-theta[:, topic], kind="stable")[:3]
        assert [row["picture"] for row in rows] == [str(paths[place]) for place in best]
        np.testing.assert_allclose([float(row["score"]) for row in rows], theta[best, topic], atol=1e-6)
        assert rows[0]["why"] == f"{', '.join(api.topics(5)[topic])} ({theta[best[0], topic]:.0%})"
    for topic in (6, -1):
        assert error("match", model, photos, "--topic", topic) == (
            f"error: topic={topic}: there is no such topic; the model has topics 0 to 5"
        )
    for other in (("--text", "a"), ("--like", paths[0]), ("--minus", "a")):
        assert "--topic: is asked for alone" in error("match", model, photos, "--topic", 1, *other)


def test_match_shows_of_near_duplicates_the_best(model, api, photos):
    for name in ("again.png", "zagain.png"):
        with Image.open(photos / "2.png") as picture:
            picture.save(photos / name, compress_level=0)  # the same picture in another file
    paths = [*in_order(photos), photos / "again.png", photos / "zagain.png"]
    asked = ("--text", "two boats", "--all")
    everything = rows_of(model, photos, *asked)
    rows = rows_of(model, photos, *asked, "--distinct")
    x = encoded(api, paths)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    alike = unit @ unit.T > TWIN_IMAGE
    seen: set[str] = set()
    for row in everything:  # best first, as a person would strike them out
        if row["picture"] in seen:
            continue
        twins = [str(paths[i]) for i in np.flatnonzero(alike[paths.index(Path(row["picture"]))])]
        twins = [other["picture"] for other in everything if other["picture"] in {*twins} - seen]
        found = rows.pop(0)
        assert found["picture"] == twins[0] and found["alike"] == ", ".join(twins[1:])
        assert found["why"].endswith(f"; and {len(twins) - 1} like it") == (len(twins) > 1)
        seen |= {*twins}
    assert not rows and any(len(row["alike"]) for row in rows_of(model, photos, *asked, "--distinct"))


class Page(HTMLParser):
    """Tags with their attributes, and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


HOSTILE = """<script>alert(1)</script> & "quotes" $x$"""


def test_an_html_sheet_is_one_file_and_all_text_is_escaped(model, photos, tmp_path):
    os.rename(photos / "0.png", photos / '"><img src=x onerror=alert(1)>.png')
    run("match", model, photos, "--text", HOSTILE, "--top", 6, "--all", "--sheet", tmp_path / "sheet.html")
    page = Page((tmp_path / "sheet.html").read_text(encoding="utf-8"))
    assert HOSTILE in page.text
    assert '"><img src=x onerror=alert(1)>.png' in page.text
    names = [tag for tag, _ in page.tags]
    assert names.count("img") == names.count("h2") == names.count("li") == 6
    assert not {"script", "link", "iframe", "object"} & set(names)
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            if name in attributes:
                inside = tag == "img" and attributes[name].startswith("data:image/jpeg;base64,")
                assert inside or (tmp_path / unquote(attributes[name])).is_file()
                # Nothing before the first slash that a browser could take for a protocol.
                assert inside or (tag == "a" and attributes[name].startswith("photos/"))
        assert tag != "img" or attributes["alt"]
        assert tag != "html" or attributes["lang"] == "en"


@pytest.mark.parametrize("named", ["picture", "folder", "link"])
@pytest.mark.parametrize("option", ["--sheet", "--out"])
def test_no_picture_is_written_over(model, photos, tmp_path, named, option):
    before = picture_hashes(photos)
    where = {"picture": photos / "0.png", "folder": photos, "link": tmp_path / "link.png"}[named]
    if named == "link":
        where.symlink_to(photos / "0.png")
    target = photos / "b" / ".." / "0.png"
    commands_ = [("match", model, "missing.png", where, "--text", "a boat", option, target)]
    if option == "--out":
        commands_ = [(*one, "--format", "csv") for one in (*commands_, ("tag", model, where, option, target))]
    for command in commands_:
        assert f"{option} {target}: is one of the pictures" in error(*command)
    assert picture_hashes(photos) == before
    run("match", model, where, "--text", "a boat", "--sheet", tmp_path / "sheet.png")
    run("match", model, where, "--text", "a boat", "--sheet", tmp_path / "sheet.png")


def test_a_png_sheet_holds_the_pictures(model, photos, tmp_path):
    result = run(
        "match", model, photos, "--text", HOSTILE, "--top", 6, "--all", "--sheet", tmp_path / "sheet.png"
    )
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        pixels = np.asarray(sheet.convert("RGB"))
    ranked = [row["picture"] for row in csv.DictReader(io.StringIO(result.stdout))]
    found = []
    for place, path in enumerate(ranked):
        thumbnail = np.asarray(open_picture(path, size=220))
        left = 16 + place % 5 * 236
        column = pixels[:, left : left + 220]
        found.append(
            [top for top in range(len(pixels) - 219) if (column[top : top + 220] == thumbnail).all()]
        )
    first, second = found[0], found[5]
    assert found[:5] == [first] * 5 and len(first) == len(second) == 1
    assert second[0] > first[0] + 220


def test_wide_letters_go_to_the_next_line_of_a_sheet(tmp_path):
    wide, narrow = (
        draw_sheet("", [Card(tmp_path / "gone.png", letter * 26, (letter * 26,))]) for letter in ("W", "i")
    )
    assert wide.height == narrow.height + 2 * 17
    assert np.asarray(wide.convert("L"))[:, 16 + 220 + 2 :].min() == 255  # beside the card


def test_sheets_bear_long_words_many_lines_and_lost_pictures(tmp_path):
    cards = [Card(tmp_path / "gone.png", "w" * 500, ("x" * 300, "ü " * 400)) for _ in range(7)]
    sheet = draw_sheet("y" * 5000, cards)
    assert sheet.width < 1300 and sheet.height < 1500
    assert Page(html_sheet("", cards)).tags[-1][0] != "img"
    assert draw_sheet("nothing", []).width > 100
    with pytest.raises(ConfigError, match="one of these suffixes"):
        write_sheet(tmp_path / "sheet.gif", "", cards)


# topics


def test_topics_shows_the_largest_first(model, api, tmp_path):
    result = run("topics", model, "--top", 4, "--pictures", 2)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    order = sorted(range(6), key=lambda k: -api.topic_share_[k])
    assert [int(row["topic"]) for row in rows] == order
    keywords = api.topics(4)
    for row, k in zip(rows, order, strict=True):
        assert float(row["share"]) == pytest.approx(api.topic_share_[k], abs=1e-6)
        assert float(row["coherence"]) == pytest.approx(api.coherence_["image"][k], abs=1e-6)
        assert row["keywords"].split(", ") == keywords[k]
        for word, times in zip(keywords[k], row["times as frequent"].split(", "), strict=True):
            column = api.vocabulary_.index(word)
            expected = api.topic_word_[k, column] / (api.topic_share_ @ api.topic_word_[:, column])
            assert float(times) == pytest.approx(expected, abs=0.05 if expected < 9.95 else 0.5)
        assert row["best pictures"].split(", ") == [name for name, _ in api.best_pictures_[k][:2]]
        assert float(row["intrusion"]) == pytest.approx(api.intrusion_[k], abs=1e-6)
        assert row["mixed"] == ("mixed" if api.intrusion_[k] <= 0.5 else "")
    mixed = int((api.intrusion_ <= 0.5).sum())
    assert (f"{mixed} topics are mixed" in result.stderr) == (mixed > 0)
    diversity = topic_diversity(api.image_model_.topics(25), top=25)
    assert f"6 topics of 120 pairs; mean coherence {api.coherence_['image'].mean():.3f}" in result.stderr
    assert f"diversity {diversity:.3f}" in result.stderr
    run("topics", model, "--ctfidf", "-o", tmp_path / "topics.jsonl")
    first = json.loads((tmp_path / "topics.jsonl").read_text().splitlines()[0])
    assert first["keywords"] == api.topics(10, order="ctfidf")[order[0]]
    assert first["mixed"] is bool(api.intrusion_[order[0]] <= 0.5)
    in_csv = next(csv.DictReader(io.StringIO(run("topics", model, "--ctfidf").stdout)))
    assert first["times as frequent"] == [float(times) for times in in_csv["times as frequent"].split(", ")]
    shown = run("topics", model, "--top", 1, "--format", "table").stdout
    assert shown.count("(mixed)") == mixed
    assert f"{row['keywords'].split(', ')[0]} {row['times as frequent'].split(', ')[0]}×" in shown
    assert "keywords" in shown and f"{api.topic_share_[order[0]]:.1%}" in shown


def test_topics_over_a_column_are_the_means_of_its_pictures(model, api, photos, tmp_path):
    """By hand: the mean of theta in each year, and what resampling gives."""
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("[0-9].png"))
    dates = ["2019-01-02", "2.3.2019", "2019", "2021-05-06", "someday", ""]
    write_table(
        photos / "dates.csv", ["file_name", "date"], [*zip(names, dates, strict=True), ("gone.png", "2019")]
    )
    asked = ("topics", model, "--over", "date", "--table", photos / "dates.csv")
    asked += ("--plot", tmp_path / "years.svg")
    result = run(*asked, code=SKIPPED)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    theta = api.transform([photos / name for name in names]).astype(float)
    draws = np.random.default_rng(1).integers(0, 3, size=(20_000, 3))
    assert len(rows) == 12
    for row in rows:
        k = int(row["topic"])
        own = theta[:3, k] if row["year"] == "2019" else theta[3:4, k]
        assert float(row["share"]) == pytest.approx(own.mean(), abs=1e-6) and int(row["pictures"]) == len(own)
        if len(own) == 1:
            assert row["low"] == row["high"] == ""
        else:
            expected = np.percentile(own[draws].mean(axis=1), [2.5, 97.5])
            np.testing.assert_allclose(
                [float(row["low"]), float(row["high"])], expected, atol=0.05 * np.ptp(own)
            )
    assert [row["topic"] for row in rows[::2]] == [row["topic"] for row in rows[1::2]]
    assert "4 pictures by date: 2 years" in result.stderr and "2019 to 2021" in result.stderr
    assert f"2 pictures have no date in date: {names[4]}, {names[5]}" in result.stderr
    assert "not used: dates.csv row 8: gone.png" in result.stderr
    drawing = (tmp_path / "years.svg").read_bytes()
    again = run(*asked[:-1], tmp_path / "again.svg", "--format", "table", code=SKIPPED)
    assert (tmp_path / "again.svg").read_bytes() == drawing and b"<svg" in drawing
    assert "2019" in again.stdout and "%" in again.stdout


def write_table(path, columns, rows):
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])


def test_topics_over_the_groups_of_what_the_model_was_trained_on(model, api, tmp_path):
    rows = list(csv.DictReader(io.StringIO(run("topics", model, "--over", "category").stdout)))
    corpus = load_corpus("scenes", n=120)
    theta, groups = api.transform(list(corpus.images)), np.array(corpus.groups)
    assert {row["group"] for row in rows} == {*corpus.groups}
    for row in rows[:: max(len(rows) // 7, 1)]:
        own = theta[groups == row["group"], int(row["topic"])]
        assert float(row["share"]) == pytest.approx(own.mean(), abs=1e-6) and int(row["pictures"]) == len(own)
        assert float(row["low"]) <= own.mean() <= float(row["high"])
    asked = ("--plot", tmp_path / "groups.png", "-o", tmp_path / "groups.parquet")
    run("topics", model, "--over", "category", *asked)
    with Image.open(tmp_path / "groups.png") as picture:
        assert picture.width > 300


def test_topics_over_a_column_that_a_table_of_an_update_lacks(tmp_path):
    old, model = a_table(tmp_path / "old.csv", range(90)), tmp_path / "m"
    first, *rows = lines_of(old)
    write_table(old, [*first, "year"], [[*row, 2019 + place % 2] for place, row in enumerate(rows)])
    more = a_table(tmp_path / "more.csv", range(90, 120))
    run("train", old, "-o", model, "--n-topics", 6, "--encoder", "pixels")
    run("update", model, more, "--new-topics", 0)
    result = run("topics", model, "--over", "year")
    names = [f"{'old' if row < 90 else 'more'}-{row}.png" for row in range(120)]
    assert "90 pictures by year: 2 years, 2019 to 2020" in result.stderr
    assert f"30 pictures have no date in year: {', '.join(names[90:100])} and 20 more" in result.stderr
    theta = VisualTopicModel.load(model).transform([tmp_path / name for name in names[:90:2]])
    shown = list(csv.DictReader(io.StringIO(result.stdout)))
    for row in [row for row in shown if row["year"] == "2019"]:
        share = theta[:, int(row["topic"])].mean()
        assert float(row["share"]) == pytest.approx(share, abs=1e-5) and row["pictures"] == "45"
    told = run("topics", model, "--over", "jear", code=2).stderr.splitlines()[-1]
    assert "old.csv: no column 'jear'; its columns are" in told and told.endswith("a table with --table")
    # Of a table that has grown, with the column only now, the pictures that were known have values.
    grown = [[name, "", 2021] for name in names[:100]]
    write_table(more, ["file_name", "text", "year"], grown)
    write_table(old, first, rows)
    told = run("topics", model, "--over", "year").stderr
    assert "100 pictures by year: 1 year, 2021 to 2021" in told and "have no" not in told


def lines_of(table):
    return list(csv.reader(table.read_text(encoding="utf-8").splitlines()))


def test_topics_over_the_categories_of_a_corpus_that_a_table_joined(tmp_path):
    model, more = tmp_path / "m", a_table(tmp_path / "more.csv", range(100, 120))
    run("train", "scenes:n=90", "-o", model, "--n-topics", 6, "--encoder", "pixels")
    run("update", model, more, "--new-topics", 0)
    result = run("topics", model, "--over", "category")
    groups = load_corpus("scenes", n=90).groups
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["group"]: int(row["pictures"]) for row in rows} == Counter(groups)
    assert "90 pictures by category" in result.stderr and "20 pictures have no value in" in result.stderr


def test_of_many_groups_the_drawing_shows_the_largest():
    n = np.array([1] * 30 + [2] * 30)  # the second half has more pictures
    share = np.linspace(0, 1, 60)[:, None] * [1, -1] + [0, 1]
    found = SharesOver(tuple(f"g{i}" for i in range(60)), "group", n, share, share, share, (), ())
    figure = shares_chart(found, ["rises", "falls"])
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == [f"g{i}" for i in (*range(10), *range(30, 60))]
    assert figure.get_suptitle() == "the 40 groups with most pictures, of 60"
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx(100 * share[[*range(10), *range(30, 60)], 0])
    few = replace(
        found, labels=found.labels[:40], n=n[:40], share=share[:40], low=share[:40], high=share[:40]
    )
    assert shares_chart(few, ["rises", "falls"]).get_suptitle() == ""


def test_topics_over_what_cannot_be_is_told(model, photos, tmp_path):
    write_table(photos / "dates.csv", ["file_name", "date"], [("0.png", ""), ("2.png", "nan")])
    for given, told in (
        (("--table", photos / "dates.csv"), "go with --over COLUMN"),
        (
            ("--over", "when", "--table", photos / "dates.csv"),
            "no column 'when'; its columns are",
        ),
        (
            ("--over", "date", "--table", photos / "dates.csv"),
            "the table dates.csv, column 'date': none of 2 pictures has a value",
        ),
        (("--over", "date"), "the corpus scenes:n=120 is no table, and has no columns but category"),
        (("--over", "date", "--tree"), "leave out --tree"),
        (("--over", "category", "--plot", tmp_path / "a.pdf"), "drawn as .svg or .png"),
    ):
        assert told in error("topics", model, *given).replace(str(photos), "")
