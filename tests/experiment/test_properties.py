"""From a table to theta, whatever stands in the table: nothing lost uncounted, nothing misaligned, no bad number."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vtm.config import BowConfig, ModelConfig, from_parameters
from vtm.corpora import load_corpus, split
from vtm.corpora.pictures import open_picture
from vtm.corpora.table import read_rows
from vtm.corpora.words import build_vocabulary
from vtm.encoders import load_encoder
from vtm.errors import DataError
from vtm.experiment.prepare import MIN_PAIRS, PARTS, prepare
from vtm.model.distill import train_pair

N_PICTURES, N_BROKEN = 120, 4
BROKEN = [f"broken{number}.png" for number in range(N_BROKEN)]
WORDS = (
    "apple",
    "pear",
    "horse",
    "cow",
    "hut",
    "Hütte",
    "Hu\u0308tte",
    "naïve",
    "кошка",
    "שלום",
    "हिन्दी",
    "mañana",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    for number in range(N_PICTURES):
        colours = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((16, 12)).save(folder / f"{number}.png")
    for number, name in enumerate(BROKEN):
        (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(number))
    (folder / "folder.png").mkdir()
    return folder


words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
odd_texts = st.one_of(
    st.sampled_from(
        ["", " ", "NaN", "null", "12 34", "the of and", "!?", "\u202e", "\u0308", "<b>", '"', "'", "\0"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
odd_pictures = st.sampled_from(
    [*BROKEN, "folder.png", "none.png", "", "../up.png", "/etc/passwd", "x" * 300, "."]
)
odd_rows = st.one_of(
    st.tuples(odd_pictures, words), st.tuples(odd_pictures, odd_texts), st.tuples(st.just(""), odd_texts)
)


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[str, str]]:
    """(picture, text): up to 120 rows with pictures of their own, some of odd texts, and rows of odd pictures between."""
    n = draw(st.one_of(st.integers(0, N_PICTURES), st.integers(N_PICTURES * 3 // 4, N_PICTURES)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 6))) for _ in range(n)]
    for text in draw(st.lists(odd_texts, max_size=min(n, 12))):
        texts[rng.integers(n)] = text
    good = [(f"{number}.png", texts[place]) for place, number in enumerate(rng.permutation(N_PICTURES)[:n])]
    rows = [*good, *draw(st.lists(odd_rows, max_size=8))]
    return [rows[place] for place in rng.permutation(len(rows))]


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    if path.suffix == ".jsonl":
        lines = (json.dumps({"image": picture, "text": text}) for picture, text in rows)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("image", "text"), *rows])


@given(tables(), st.sampled_from(["t.csv", "t.jsonl"]), st.integers(2, 5), st.integers(0, 3))
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_from_table_to_theta(folder, monkeypatch, rows, name, n_topics, seed):
    monkeypatch.setenv("VTM_DATA", str(folder / "data"))
    table = folder / name
    write(table, rows)
    text_of = dict(rows)
    try:
        corpus = load_corpus(table)
    except DataError as error:
        assert "no usable pair" in str(error)
        assert len(str(error).splitlines()) == 1
        return
    named = Counter(picture for picture, _ in rows if picture in BROKEN)
    if max(named.values(), default=0) > 1:  # several captions of one picture are one pair
        assert len(corpus) + len(corpus.dropped) <= len(rows)
        return
    assert len(corpus) + len(corpus.dropped) == len(rows) == sum(1 for _ in read_rows(table, None)[1]())
    assert set(corpus.ids) <= text_of.keys()

    experiment = from_parameters({"corpus": str(table), "encoder": "pixels", "min_df": 1, "max_df": 1.0})
    try:
        data = prepare(experiment, progress=False)
    except DataError as error:
        assert re.search("are needed|no word is left|several words|none of", str(error)), str(error)
        assert len(str(error).splitlines()) == 1
        return
    check_prepared(data, rows)
    pairs = data.pairs("train")
    config = ModelConfig(epochs=2, batch_size=8, hidden=(8,), n_samples=3)
    models = train_pair(
        "joint", pairs, data.vocabulary.words, n_topics=n_topics, config=config, seeds=[seed]
    )[seed]
    for model, x in ((models.text, data.text), (models.image, data.image)):
        theta = model.theta(x)
        assert theta.shape == (len(data.corpus), n_topics) and np.isfinite(theta).all() and (theta >= 0).all()
        np.testing.assert_allclose(theta.sum(axis=1), 1, atol=1e-5)
        # Row i is of id i, wherever it is asked for.
        moved = model.theta(np.roll(x, 1, axis=0))
        np.testing.assert_allclose(moved, np.roll(theta, 1, axis=0), atol=1e-5)


def check_prepared(data, rows) -> None:
    corpus, text_of = data.corpus, dict(rows)
    assert len(corpus) + len(corpus.dropped) == len(rows)
    assert not set(corpus.ids) & set(BROKEN)
    assert len(data.text) == len(data.image) == data.counts.shape[0] == len(corpus)
    encoder = load_encoder("pixels")
    for row, id in enumerate(corpus.ids):
        assert corpus.texts[row] == " ".join(text_of[id].split())
        picture = encoder.image.preprocess(open_picture(corpus.images[row], size=encoder.image.size))
        np.testing.assert_array_equal(data.image[row], encoder.image.encode(picture[None])[0])
        assert corpus.images[row].name == id
    np.testing.assert_array_equal(data.text, encoder.text.encode(list(corpus.texts)))
    parts = split(corpus, seed=0, clusters=data.clusters)
    if min(map(len, parts.values())) < MIN_PAIRS:
        parts = split(corpus, seed=0)
    taken = [row for part in PARTS for row in data.rows[part]]
    assert len(taken) == len(set(taken)) == len(corpus) - len(data.no_known_word)
    lost = {item.id for item in data.no_known_word}
    assert {corpus.ids[row] for row in parts["train"]} == set(data.ids("train")) | lost
    known = np.asarray(data.counts.sum(axis=1)).ravel()
    assert all(known[corpus.ids.index(id)] == 0 for id in lost) and all(
        known[row] > 0 for row in data.rows["train"]
    )


letters = st.text(alphabet="aeou\u0301\u0308\u0327ñüǖ한각ß ", max_size=25)


@given(st.lists(letters, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_words_do_not_depend_on_how_accents_are_written(texts):
    import unicodedata

    config = BowConfig(min_df=1, max_df=1.0, min_length=1)
    forms = [[unicodedata.normalize(form, text) for text in texts] for form in ("NFC", "NFD")]
    try:
        vocabularies = [build_vocabulary(form, language="tlh", config=config) for form in [texts, *forms]]
    except DataError:
        return
    assert vocabularies[0].words == vocabularies[1].words == vocabularies[2].words
    counts = [vocabularies[0].counts(form).toarray() for form in [texts, *forms]]
    np.testing.assert_array_equal(counts[0], counts[1])
    np.testing.assert_array_equal(counts[0], counts[2])
    assert [vocabularies[0].tokens(text) for text in texts] == [
        vocabularies[0].tokens(text) for text in forms[1]
    ]
