"""`vtm explore`: a user's own model and pictures as a page."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import numpy as np
import pytest
from browser import find_chromium
from bs4 import BeautifulSoup
from devtools import open_tab
from explorer_data import read_data
from PIL import Image
from scipy.spatial.distance import cosine
from typer.testing import CliRunner

from vtm.api import VisualTopicModel
from vtm.cli import app
from vtm.cli.tags import read_review
from vtm.corpora import load_corpus
from vtm.corpora.keywords import fingerprint
from vtm.encoders import EncoderPair, embed_images, load_encoder
from vtm.errors import DataError
from vtm.report.explorer import build_explorer
from vtm.report.explorer.shown import ExplorerData, from_model

runner = CliRunner()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("explore")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(folder / "data"))
        corpus = load_corpus("scenes", n=120, seed=0)
        model = VisualTopicModel(6, encoder="pixels", min_df=2, progress=False)
        model.fit(corpus.texts, corpus.images).save(folder / "model")
        pictures = folder / "pictures"
        pictures.mkdir()
        lines = ["file_name,text"]
        for i, (text, image) in enumerate(zip(corpus.texts[:20], corpus.images, strict=False)):
            shutil.copyfile(image, pictures / f"p{i:02d}.png")
            lines.append(f'p{i:02d}.png,"{text}"')
        (folder / "table.csv").write_text("\n".join(lines).replace("\np", "\npictures/p") + "\n")
        yield folder


def test_a_table_gives_a_page_with_texts(home: Path) -> None:
    told = runner.invoke(
        app, ["explore", str(home / "model"), str(home / "table.csv"), "-o", str(home / "a")]
    )
    assert told.exit_code == 0, told.output
    page = (home / "a" / "index.html").read_text(encoding="utf-8")
    assert re.search(r"index\.html: \d+ pictures", told.stdout.replace("\n", ""))
    first = (home / "table.csv").read_text().splitlines()[1].split(",", 1)[1].strip('"')
    assert first in page and "http://" not in page.replace("http://www.w3.org", "")


def test_without_a_source_the_page_is_of_the_corpus_it_was_trained_on(home: Path) -> None:
    model = VisualTopicModel.load(home / "model")
    model.save(home / "noted", corpus=str(home / "table.csv"))
    for name, source in (("named", [str(home / "table.csv")]), ("noted-page", [])):
        told = runner.invoke(app, ["explore", str(home / "noted"), *source, "-o", str(home / name)])
        assert told.exit_code == 0, told.output
    assert told.stderr == f"with the corpus that the model was trained on: {home / 'table.csv'}\n"
    pages = [(home / name / "index.html").read_bytes() for name in ("named", "noted-page")]
    assert pages[0] == pages[1]
    told = runner.invoke(app, ["explore", str(home / "model"), "-o", str(home / "none")])
    assert told.exit_code == 2 and not (home / "none").exists()
    assert "does not say which corpus" in told.stderr and told.stderr.endswith("; name the pictures\n")


def test_columns_of_the_table_colour_the_map(home: Path, tmp_path: Path) -> None:
    lines = (home / "table.csv").read_text().splitlines()
    years = ["1999", "2024", ""]
    wide = [f"{line},{years[row % 3]},owl" for row, line in enumerate(lines[1:])]
    (home / "wide.csv").write_text("\n".join([f"{lines[0]},year,who", *wide]) + "\n")
    asked = ["explore", str(home / "model"), str(home / "wide.csv"), "-o", str(tmp_path / "page")]
    told = runner.invoke(app, [*asked, "--column", "year", "--column", "who"])
    assert told.exit_code == 0, told.output
    page = read_data(tmp_path / "page" / "index.html")
    year, who = page["columns"]
    assert year["name"] == "year" and year["labels"] == ["1999", "2024"] and year["ordered"]
    by_id = {f"pictures/p{row:02d}.png": years[row % 3] for row in range(20)}
    shown = [year["labels"][place] if place >= 0 else "" for place in year["of"]]
    assert shown == [by_id[id] for id in page["ids"]]
    assert who["labels"] == ["owl"] and set(who["of"]) == {0}

    told = runner.invoke(app, [*asked, "--column", "jear"])
    assert told.exit_code == 2 and "no column 'jear'; its columns are" in told.stderr
    told = runner.invoke(app, ["explore", asked[1], str(home / "pictures"), *asked[3:], "--column", "year"])
    assert told.exit_code == 2 and "--column: pictures alone have no columns" in told.stderr
    told = runner.invoke(app, ["explore", asked[1], "scenes:n=120", *asked[3:], "--column", "year"])
    assert told.exit_code == 2 and "--column: the corpus scenes is no table" in told.stderr
    # A model notes its corpus; its columns are asked for in the same way.
    VisualTopicModel.load(home / "model").save(home / "wide", corpus=str(home / "wide.csv"))
    told = runner.invoke(app, ["explore", str(home / "wide"), *asked[3:], "--column", "year"])
    assert told.exit_code == 0, told.output
    assert read_data(tmp_path / "page" / "index.html")["columns"] == [year]


def test_pictures_alone_and_those_that_cannot_be_read(home: Path) -> None:
    folder = home / "some"
    shutil.copytree(home / "pictures", folder)
    (folder / "bad.png").write_bytes(b"no picture")
    told = runner.invoke(
        app, ["explore", str(home / "model"), str(folder), "-o", str(home / "b"), "--title", "Mine"]
    )
    assert told.exit_code == 3
    assert "20 pictures" in told.stdout.replace("\n", "") and "bad.png" in told.stderr
    assert "<title>Mine</title>" in (home / "b" / "index.html").read_text(encoding="utf-8")


def test_originals_are_linked_and_named(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    names = ["plain.png", "javascript:alert(1).png", "a b#c?d%20.png", "ü.png", "x\udcff.png"]
    for name in names:
        shutil.copyfile(home / "pictures" / "p00.png", folder / name)
    asked = ["explore", str(home / "model"), str(folder), "-o", str(tmp_path / "page")]
    assert runner.invoke(app, asked).exit_code == 0
    page = read_data(tmp_path / "page" / "index.html")
    assert len(page["originals"]) == 5 and len(page["keywords"]) == 5
    for file, (address, mark) in zip(page["files"], page["originals"], strict=True):
        assert address.startswith("../photos/") and ":" not in address
        path = os.fsdecode(unquote_to_bytes(urlsplit(urljoin("file:///a/page/index.html", address)).path))
        assert path == f"/a/photos/{file}" or "\udcff" in path
        assert mark == fingerprint(folder / Path(path).name)
    assert runner.invoke(app, [*asked, "--no-originals"]).exit_code == 0
    assert read_data(tmp_path / "page" / "index.html")["originals"] is None
    assert "photos" not in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")


def test_the_tree_is_that_of_vtm_topics(home: Path, tmp_path: Path) -> None:
    model = VisualTopicModel.load(home / "model").edit(merge=[(1, 4)], hide=[2])
    data, _ = from_model(model, [home / "pictures" / "p00.png"])
    told = page_of(data, tmp_path / "page")["tree"]
    numbers = model.topic_numbers_
    inside = [[number] for number in numbers]
    for a, b, _ in told["joins"]:
        inside.append(inside[a] + inside[b])
    shown = {
        (tuple(sorted(topics)), tuple(words), distance)
        for topics, words, (_, _, distance) in zip(
            inside[len(numbers) :], told["words"], told["joins"], strict=True
        )
    }
    assert shown == {
        (tuple(sorted(branch.topics)), branch.words, round(branch.distance, 5))
        for _, branch in model.tree().walk()
        if branch.parts
    }
    anchors = model._topic_vectors()
    for k, near in enumerate(told["near"]):
        apart = {j: cosine(anchors[k], anchors[j]) for j in range(len(numbers)) if j != k}
        assert [other for other, _ in near] == sorted(apart, key=lambda j: apart[j])[:5]
        assert [distance for _, distance in near] == pytest.approx(
            [apart[other] for other, _ in near], abs=1e-5
        )


def test_words_lie_where_the_model_reads_them(home: Path) -> None:
    """As `Reader.word_query` places a query of one word."""
    model = VisualTopicModel.load(home / "model").edit(ban=["boat"])
    pictures = sorted((home / "pictures").iterdir())
    data, _ = from_model(model, pictures)
    found = data.meaning
    assert not {"boat", "boats"} & set(found.words) and len(found.words) > 20
    asked = np.zeros((len(found.words), len(model.vocabulary_)), dtype=np.float32)
    asked[np.arange(len(asked)), [model.vocabulary_.index(word) for word in found.words]] = 1
    exact = model._reader.word_query(asked).place
    small = found.word_vectors / np.linalg.norm(found.word_vectors.astype(float), axis=1, keepdims=True)
    assert np.abs(exact @ exact.T - small @ small.T).mean() < 0.02 and found.kept > 0.8


def test_the_keywords_to_review_are_those_of_vtm_tag(home: Path, tmp_path: Path) -> None:
    model, pictures = VisualTopicModel.load(home / "model"), sorted((home / "pictures").iterdir())
    data, _ = from_model(model, pictures)
    shown = page_of(data, tmp_path / "page")["keywords"]
    assert [[word for word, _ in some] for some in shown] == [
        [keyword.word for keyword in some] for some in model.keywords(pictures)
    ]
    assert any(shown) and all(0 <= chance <= 1000 for some in shown for _, chance in some)


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium (apt-get install chromium)")
def test_what_is_reviewed_on_the_page_is_applied(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted, rejected and added on the page; downloaded; read by `vtm apply` from another folder; in the sidecars."""
    shutil.copytree(home / "pictures", tmp_path / "my photos, 2024")
    photos = sorted((tmp_path / "my photos, 2024").iterdir())
    photos[1] = photos[1].rename(photos[1].with_name("=1+2 ü.png"))
    data, _ = from_model(VisualTopicModel.load(home / "model"), photos)
    data = dataclasses.replace(data, keywords=tuple((("boat", 0.8), ("sea", 0.6)) for _ in photos))
    index = build_explorer(data, tmp_path / "page", originals=True).index
    click = (
        "((row, name) => {{ location.hash = textAddress(row); show({{focus: false}});"
        "[...panel.querySelectorAll('button')].find((b) => (b.ariaLabel ?? b.textContent) === name).click(); }})({}, {!r})"
    )
    with open_tab() as tab:
        (tmp_path / "got").mkdir()
        tab.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "got"))
        tab.open(index.as_uri())
        tab.wait_for("performance.getEntriesByName('explorer-interactive').length")
        tab.evaluate(click.format(0, "Accept boat"))
        tab.evaluate(click.format(0, "Reject sea"))
        tab.evaluate(click.format(1, "Accept all"))
        link = "document.querySelector('figure.own a').href"
        assert tab.evaluate(link) == photos[1].as_uri(), "the thumbnail leads to the picture"
        tab.evaluate("document.querySelector('#new-keyword').focus()")
        tab.type('-dash, “quoted” "twice"; boat')
        tab.press("Enter")
        tab.evaluate(click.format(2, "Reject all"))
        tab.evaluate(click.format(3, "Accept sea"))
        told = "4 pictures reviewed, 1 keyword undecided (not in the table)"
        assert tab.evaluate("document.querySelector('#n-reviewed').textContent") == told
        # Taken back, it is as if nothing had been decided.
        tab.evaluate(click.format(4, "Accept boat"))
        tab.evaluate(click.format(4, "Accept boat"))
        # Another visit finds it all again.
        tab.open("about:blank")
        tab.open(index.as_uri())
        tab.wait_for("performance.getEntriesByName('explorer-interactive').length")
        assert tab.evaluate("document.querySelector('#n-reviewed').textContent") == told
        tab.click("#download-review")
        sheet = wait_for_file(tmp_path / "got" / "reviewed.csv")
        # Several at once, and the tags of a selection.
        tab.evaluate("selection.add([5, 6, 7])")
        tab.evaluate("location.hash = SELECTED")
        tab.wait_for("document.querySelector('#panel h2').textContent === '3 pictures selected'")
        tab.click("[aria-label='Reject sea']")
        tab.evaluate("document.querySelector('#new-keyword').focus()")
        tab.type("harbour")
        tab.press("Enter")
        tab.click("#download-tags")
        tags = wait_for_file(tmp_path / "got" / "tags.csv")
        tab.click("#download-ids")
        ids = wait_for_file(tmp_path / "got" / "ids.csv")
        assert tab.problems == []
    expected = {0: ("boat",), 1: ("boat", "sea", "-dash", '“quoted” "twice"'), 2: (), 3: ("sea",)}
    review = read_review(sheet)
    assert review.problems == () and len(review.pictures) == 4
    assert {one.picture: one.keywords for one in review.pictures} == {
        photos[i]: words for i, words in expected.items()
    }
    assert all(len(one.rows) == 1 for one in review.pictures), "one row a picture"
    monkeypatch.chdir(tmp_path / "got")
    told = runner.invoke(app, ["apply", str(sheet), "--write-sidecars"])
    assert told.exit_code == 0, told.output
    for row, photo in enumerate(photos):
        assert set(written(photo)) == set(expected.get(row, ()))
    assert {one.picture: one.keywords for one in read_review(tags).pictures} == {
        photos[i]: ("boat", "harbour") for i in (5, 6, 7)
    }
    assert ids.read_text(encoding="utf-8-sig").splitlines() == ["id", *(data.ids[i] for i in (5, 6, 7))]
    # A picture that shows something else by now is not written.
    Image.new("RGB", (9, 9)).save(photos[3])
    assert "shows something else" in read_review(sheet).problems[0]


def wait_for_file(path: Path) -> Path:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} was not downloaded"
        time.sleep(0.05)
    return path


def written(photo: Path) -> list[str]:
    """The keywords in a picture's sidecar."""
    sidecar = photo.with_name(f"{photo.name}.xmp")
    if not sidecar.exists():
        return []
    subject = BeautifulSoup(sidecar.read_text(encoding="utf-8"), "xml").find("subject")
    return [item.text for item in subject.find_all("li")] if subject else []


def test_nothing_to_show_is_an_error(home: Path, tmp_path: Path) -> None:
    told = runner.invoke(app, ["explore", str(home / "model"), str(tmp_path), "-o", str(tmp_path / "out")])
    assert told.exit_code == 2 and "no picture is there" in told.stderr
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of 1 picture can"):
        from_model(VisualTopicModel.load(home / "model"), [tmp_path / "bad.png"])


def test_no_page_is_put_among_pictures(home: Path) -> None:
    before = sorted((home / "pictures").iterdir())
    asked = ["explore", str(home / "model"), str(home / "pictures"), "-o", str(home / "pictures")]
    told = runner.invoke(app, asked)
    assert (
        told.exit_code == 2 and "pictures: holds other files, such as p00.png, and is not an" in told.stderr
    )
    assert told.stderr.endswith("; name a new or an empty one\n") and told.stdout == ""
    assert sorted((home / "pictures").iterdir()) == before


def test_the_keywords_are_those_of_vtm_topics(home: Path) -> None:
    model, pictures = VisualTopicModel.load(home / "model"), [home / "pictures" / "p00.png"]
    for asked in ({}, {"order": "ctfidf"}, {"weight": 0.1}):
        data, _ = from_model(model, pictures, **asked)
        for reads in ("text", "image"):
            shown = [[word for word, _ in topic] for topic in data.words[reads]]
            assert shown == model.topics(12, reads=reads, **asked)
    topic_word = model.image_model_.topic_word()
    for k, topic in enumerate(data.words["image"]):
        for word, weight in topic:
            assert weight == pytest.approx(topic_word[k, model.vocabulary_.index(word)])


def test_words_at_every_lambda_are_those_of_vtm_topics(home: Path, tmp_path: Path) -> None:
    """The page sorts what it has; the same here, by hand, from what it was given."""
    model = VisualTopicModel.load(home / "model")
    data, _ = from_model(model, [home / "pictures" / "p00.png"], weight=0.45)
    told = page_of(data, tmp_path / "page")["relevance"]
    assert told["weight"] == 0.45
    for step in range(21):
        weight = step / 20
        for reads in ("text", "image"):
            for k, expected in enumerate(model.topics(12, reads=reads, weight=weight)):
                scored = [
                    (-(math.log(p) - (1 - weight) * math.log(told["overall"][reads][place])), place)
                    for place, p in told["topics"][reads][k]
                ]
                found, forms = [], set()
                for _, place in sorted(scored):
                    if told["forms"][place] not in forms:
                        forms.add(told["forms"][place])
                        found.append(told["words"][place])
                assert found[:12] == expected, (weight, reads, k)
    ordered, _ = from_model(model, [home / "pictures" / "p00.png"], order="ctfidf")
    assert page_of(ordered, tmp_path / "other")["relevance"] is None


def test_pictures_of_one_name_in_two_folders_keep_apart(home: Path, tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        shutil.copyfile(home / "pictures" / "p00.png", tmp_path / name / "same.png")
    model = VisualTopicModel.load(home / "model")
    data, dropped = from_model(model, [tmp_path / "x" / "same.png", tmp_path / "y" / "same.png"])
    assert len(set(data.ids)) == 2 and dropped == ()


def page_of(data: ExplorerData, out: Path) -> dict[str, Any]:
    """What the page's script reads."""
    page = build_explorer(data, out, progress=False).index.read_text(encoding="utf-8")
    return json.loads(re.search(r"<script[^>]*application/json[^>]*>(.*?)</script>", page, re.DOTALL)[1])


def notes_on_topics(model: VisualTopicModel) -> tuple[str, ...]:
    """What the page says where a model has topics of several themes."""
    mixed = [str(topic) for topic, is_mixed in enumerate(model.mixed_) if is_mixed]
    return (f"Topics whose words belong to several themes: {', '.join(mixed)}.",) if mixed else ()


def test_an_aligned_encoders_own_pictures_stand_beside_the_models(home: Path, tmp_path: Path) -> None:
    """An encoder that puts each text where the next text's picture is: that picture it finds first, by itself."""
    corpus = load_corpus(home / "table.csv")
    pixels = load_encoder("pixels")
    pictures, _, _ = embed_images(pixels.image, corpus.ids, corpus.images, corpus.image_hashes)
    next_to = dict(zip(corpus.texts, np.roll(pictures, -1, axis=0), strict=True))

    class Texts:
        key, dim = "test-next-picture", pixels.image.dim

        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.stack([next_to.get(text, np.ones(self.dim, np.float32)) for text in texts])

    shared = EncoderPair("shared", Texts(), pixels.image, aligned=True)
    model = VisualTopicModel(4, encoder=shared, min_df=1, validation=0, progress=False)
    model.fit(corpus.texts, corpus.images)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    data, dropped = from_model(
        model,
        [tmp_path / "bad.png", *corpus.images],
        ids=["bad", *corpus.ids],
        texts=["no text", *corpus.texts],
    )
    assert len(dropped) == 1 and len(data.matches) == len(corpus) == 20
    assert data.notes == notes_on_topics(model)
    for match in data.matches:
        assert match.found["baseline"][0] == (match.row + 1) % 20
        assert match.found["model"] and match.rank["baseline"] > 1
    page = page_of(data, tmp_path / "page")
    assert page["baseline"] == "baseline: cosine (shared)"
    assert all(match.keys() == {"baseline", "model"} for match in page["matches"].values())


def test_without_a_space_in_common_the_page_says_why_there_is_no_baseline(home: Path, tmp_path: Path) -> None:
    model, corpus = VisualTopicModel.load(home / "model"), load_corpus(home / "table.csv")
    data, _ = from_model(model, corpus.images, ids=corpus.ids, texts=corpus.texts)
    page = page_of(data, tmp_path / "page")
    assert all(match.keys() == {"model"} for match in page["matches"].values()) and page["matches"]
    note, *others = page["notes"]
    assert tuple(others) == notes_on_topics(model)
    assert "No baseline" in note and "the encoder pixels has one space for texts and another" in note
    alone, _ = from_model(model, corpus.images)
    assert alone.notes == notes_on_topics(model), "where nothing is compared, nothing is missing"
