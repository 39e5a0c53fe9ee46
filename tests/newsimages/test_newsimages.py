"""NewsImages: small files with the defects of the real ones, and the real ones where they are."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vtm.config import parse_corpus
from vtm.corpora import Corpus, load_corpus, split
from vtm.errors import ConfigError, DataError, MissingError
from vtm.newsimages import corpus as newsimages
from vtm.newsimages.corpus import FILES, Article, news_folder, read, read_ground_truth, scrambled_to_truth

HEADER = ["article", "aid", "url", "img", "iid", "hashvalue", "title", "text", "imgFile"]
# The answers that the small files below are made from: ground truth's article id -> iid.
TRUTH = {"700000001": "9003", "700000002": "9001", "700000003": "9002", "700000004": "9004"}


def scrambled(id: str) -> str:
    return "1" + id[4:9] + id[:4]


def tsv(rows: list[list[str]], encoding: str = "utf-8") -> bytes:
    return "".join("\t".join(row) + "\r\n" for row in rows).encode(encoding)


def row_of(number: int, *, title: str = "", text: str = "", iid: str = "") -> list[str]:
    """A row with the nine columns of a development batch."""
    iid = iid or str(8000 + number)
    return [
        str(500000000 + number),
        str(7000 + number),
        f"https://news.example/{number}",
        f"https://news.example/image/{number}/a.big.png",
        iid,
        f"hash{iid}",
        title or f"Titel {number}",
        text or f"Text über Nummer {number}",
        f"hash{iid}.jpg",
    ]


@pytest.fixture(params=["", "-v3"])
def folder(request, tmp_path) -> Path:
    """Five small files with the real ones' defects, in both namings of the batches; no ground truth."""
    folder = tmp_path / "files"
    folder.mkdir()
    batches = [
        [row_of(1, title='Er sagte "ja" und ging', text='"Halb offen'), row_of(2), row_of(3)],
        [row_of(4, title='"Das ""Fest"" am Rhein"', text='"Erst dies; dann das"'), row_of(5)],
        [row_of(6, text=" "), row_of(7, title="Zwölf Kühe – „frei“")],
    ]
    for number, batch in enumerate(batches, start=1):
        (folder / f"content2019-0{number}{request.param}.tsv").write_bytes(tsv([HEADER, *batch]))
    articles = [
        [
            scrambled(id),
            "",
            f"https://news.example/{id}",
            "",
            "",
            "",
            f"Prüfung {n}",
            f"Größe {n} – “gut”…" * (n < 3),
        ]
        for n, id in enumerate(TRUTH)
    ]
    header = ["articleID", "aid", "url", "", "", "hashvalue", "title", "text"]
    (folder / "MediaEvalNewsImagesBatch04articles.tsv").write_bytes(tsv([header, *articles], "cp1252"))
    # One image more than there are articles, and a row of nothing.
    images = [[f"https://news.example/{iid}.jpg", str(iid), f"p{iid}.jpg"] for iid in range(9001, 9006)]
    (folder / "MediaEvalNewsImagesBatch04images.tsv").write_bytes(
        tsv([["img", "iid", "imgFile"], *images, ["", "", ""]])
    )
    return folder


def put_ground_truth(folder: Path, truth: dict[str, str] = TRUTH) -> Path:
    rows = [[id, "1", "u", "i", iid, "h", "t", "x", f"p{iid}.jpg"] for id, iid in truth.items()]
    path = folder / "content2019-04-gt.tsv"
    path.write_bytes(tsv([HEADER, *rows]))
    return path


def put_pictures(folder: Path, where: Path | None = None) -> Path:
    where = where or folder / "pictures"
    where.mkdir(parents=True, exist_ok=True)
    for picture in read(folder).pictures:
        (where / picture.file).write_bytes(f"picture {picture.iid}".encode())
    return where


def batch_of(folder: Path, number: int) -> Path:
    return next(folder.glob(f"content2019-0{number}*.tsv"))


# Reading


def test_every_row_is_read_right_whatever_its_defects(folder):
    data = read(folder)
    titles = {item.article.id: item.article.title for item in data.development}
    assert len(titles) == 7
    assert titles["500000001"] == 'Er sagte "ja" und ging'
    assert data.development[0].article.snippet == '"Halb offen'
    assert titles["500000004"] == 'Das "Fest" am Rhein'
    assert data.development[3].article.snippet == "Erst dies; dann das"
    assert titles["500000007"] == "Zwölf Kühe – „frei“"
    assert [item.article.batch for item in data.development] == [1, 1, 1, 2, 2, 3, 3]
    first = data.development[1]
    assert (first.article.aid, first.article.url) == ("7002", "https://news.example/2")
    assert (first.picture.iid, first.picture.file, first.picture.url) == (
        "8002",
        "hash8002.jpg",
        "https://news.example/image/2/a.big.png",
    )
    assert [article.id for article in data.test_articles] == [scrambled(id) for id in TRUTH]
    assert data.test_articles[2].title == "Prüfung 2" and data.test_articles[2].snippet == "Größe 2 – “gut”…"
    assert [picture.iid for picture in data.test_images] == ["9001", "9002", "9003", "9004", "9005"]
    assert len(data.pictures) == 12 and data.truth is None

    assert {file.encoding for file in data.files[:3]} == {"utf-8"} and data.files[3].encoding == "cp1252"
    assert [(file.n_rows, file.n_items) for file in data.files] == [(3, 3), (2, 2), (2, 2), (4, 4), (6, 5)]
    assert not any(file.as_published for file in data.files)
    assert Counter(odd.reason for odd in data.odd) == {"quoted-field": 1, "empty-text": 2, "blank-row": 1}
    blank = data.odd[-1]
    assert (blank.file, blank.row, blank.dropped) == ("MediaEvalNewsImagesBatch04images.tsv", 7, True)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda row: row[:-1], r"tsv: row 3 has 8 fields, the header has 9; fetch the file again"),
        (lambda row: [*row, "more"], "row 3 has 10 fields"),
        (lambda row: ["50000000x", *row[1:]], "row 3: article '50000000x' is no number"),
        (lambda row: [*row[:4], "", *row[5:]], "row 3: iid '' is no number"),
        (lambda row: [*row[:8], "../out.jpg"], r"row 3: imgFile '../out.jpg' is no file name"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(folder, damage, told):
    path = batch_of(folder, 2)
    path.write_bytes(tsv([HEADER, row_of(4), damage(row_of(5))]))
    with pytest.raises(DataError, match=re.escape(path.stem) + ".*" + told):
        read(folder)


def test_a_file_without_a_needed_column_is_refused(folder):
    batch_of(folder, 1).write_bytes(tsv([HEADER[:-1], row_of(1)[:-1]]))
    with pytest.raises(DataError, match="no column 'imgFile' in its header"):
        read(folder)
    articles = folder / "MediaEvalNewsImagesBatch04articles.tsv"
    put_back = tsv([HEADER, row_of(1)])
    batch_of(folder, 1).write_bytes(put_back)
    articles.write_bytes(articles.read_bytes().replace(scrambled("700000001").encode(), b"700000001"))
    with pytest.raises(DataError, match="'700000001': a test article's id has 10 digits"):
        read(folder)


def test_one_damaged_line_spoils_no_other(folder):
    path = batch_of(folder, 1)
    rows = [row_of(1, title="Köln"), row_of(2, title="Düren"), row_of(3, title="Brühl")]
    path.write_bytes(tsv([HEADER, *rows]).replace("Düren".encode(), b"D\xfcren"))
    data = read(folder)
    assert [item.article.title for item in data.development[:3]] == ["Köln", "D\ufffdren", "Brühl"]
    assert data.files[0].encoding == "utf-8"
    assert [(odd.row, odd.file) for odd in data.odd if odd.reason == "undecodable-line"] == [(3, path.name)]

    path.write_bytes(tsv([HEADER, *rows], "cp1252").replace(b"D\xfcren", b"D\x81ren"))
    data = read(folder)
    assert [item.article.title for item in data.development[:3]] == ["Köln", "D\ufffdren", "Brühl"]
    assert data.files[0].encoding == "cp1252"
    assert [odd.row for odd in data.odd if odd.reason == "undecodable-line"] == [3]

    path.write_bytes(b"\xef\xbb\xbf" + tsv([HEADER, *rows]))
    assert read(folder).development[1].article.title == "Düren"


def test_repeated_ids_are_dropped_repeated_texts_are_only_noted(folder):
    again = row_of(1, title="Neu")
    same_image = row_of(8, iid="8004")
    same_text = row_of(9, title="Titel 5", text="Text über Nummer 5")
    same_file = [*row_of(10)[:8], "hash8005.jpg"]
    batch_of(folder, 3).write_bytes(tsv([HEADER, again, same_image, same_text, same_file, row_of(7)]))
    data = read(folder)
    assert [item.article.id[-2:] for item in data.development] == [
        "01",
        "02",
        "03",
        "04",
        "05",
        "09",
        "10",
        "07",
    ]
    odd = {odd.row: odd for odd in data.odd if odd.file == batch_of(folder, 3).name}
    assert {row: (each.reason, each.dropped) for row, each in odd.items()} == {
        2: ("repeated-id", True),
        3: ("repeated-id", True),
        4: ("repeated-text", False),
        5: ("repeated-image-file", False),
    }
    assert odd[2].detail == f"article 500000001, as in {batch_of(folder, 1).name} row 2"
    assert "iid 8004" in odd[3].detail and f"{batch_of(folder, 2).name} row 3" in odd[4].detail
    assert (data.files[2].n_rows, data.files[2].n_items) == (5, 3)
    put_pictures(folder)
    corpus = newsimages.load(folder=folder, test="development")
    assert corpus.drop_counts() == {"repeated-id": 2} and len(corpus) == 8


# Where the files are


def test_the_folder_is_found_or_the_message_says_what_to_put_where(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("VTM_NEWSIMAGES", raising=False)
    own = tmp_path / "data" / "corpora" / "newsimages"
    with pytest.raises(MissingError) as error:
        news_folder()
    assert all(name in str(error.value) for name in (*FILES, str(own), newsimages.REPOSITORY))

    own.parent.mkdir(parents=True)
    own.symlink_to(folder)
    assert news_folder() == own
    monkeypatch.setenv("VTM_NEWSIMAGES", str(folder))
    assert news_folder() == folder
    (folder / "MediaEvalNewsImagesBatch04images.tsv").unlink()
    with pytest.raises(
        MissingError, match=r"files: no MediaEvalNewsImagesBatch04images.tsv; .* put it there"
    ):
        read()
    with pytest.raises(MissingError, match="no MediaEvalNewsImagesBatch04images.tsv; .* put it there"):
        read(folder)


# The corpus


def test_pairs_follow_the_ground_truth(folder):
    put_ground_truth(folder)
    put_pictures(folder)
    corpus = newsimages.load(folder=folder)
    assert corpus.name == "newsimages" and corpus.language == "de" and corpus.dropped == ()
    assert corpus.parts == ("development",) * 7 + ("test",) * 4 and corpus.n_test == 4
    pictures = dict(zip(corpus.ids, corpus.images, strict=True))
    for id, iid in TRUTH.items():
        assert pictures[scrambled(id)].name == f"p{iid}.jpg"
    assert pictures["500000003"].name == "hash8003.jpg"
    texts = dict(zip(corpus.ids, corpus.texts, strict=True))
    assert texts["500000002"] == "Titel 2. Text über Nummer 2"
    assert texts["500000006"] == "Titel 6"
    assert texts[scrambled("700000003")] == "Prüfung 2. Größe 2 – “gut”…"
    assert corpus.image_hashes[0] == hashlib.sha256(b"picture 8001").hexdigest()

    plain = newsimages.load(folder=folder, snippet="false", lang="en")
    assert plain.texts[1] == "Titel 2" and plain.language == "en"
    assert newsimages.load(folder=folder, separator=" | ").texts[1] == "Titel 2 | Text über Nummer 2"
    assert plain.fingerprint != corpus.fingerprint


def test_missing_pictures_are_counted_and_the_task_counts_on(folder, tmp_path):
    put_ground_truth(folder, {id: iid for id, iid in TRUTH.items() if id != "700000004"})
    pictures = put_pictures(folder, tmp_path / "elsewhere")
    (pictures / "hash8002.jpg").unlink()
    (pictures / "hash8003.jpg").rename(pictures / "8003.big.png")  # as the task's own script names it
    (pictures / "p9001.jpg").write_bytes(b"")
    corpus = newsimages.load(folder=folder, pictures=pictures)
    assert corpus.drop_counts() == {"no-ground-truth": 1, "missing-picture": 2}
    assert {drop.id: drop.detail for drop in corpus.dropped if drop.reason == "missing-picture"} == {
        "500000002": "hash8002.jpg",
        scrambled("700000002"): "p9001.jpg",
    }
    assert pictures / "8003.big.png" in corpus.images
    assert corpus.parts.count("test") == 2 and corpus.n_test == 4


def test_without_ground_truth_there_is_a_clear_error_and_the_development_part(folder, tmp_path):
    put_pictures(folder)
    with pytest.raises(MissingError, match=r"no content2019-04-gt\.tsv .* newsimages:test=development"):
        newsimages.load(folder=folder)
    name, options = parse_corpus(f"newsimages:folder={folder},test=development,snippet=0")
    corpus = load_corpus(name, **options)
    assert corpus.name == "newsimages-development" and corpus.texts[1] == "Titel 2"
    assert len(corpus) == 7 and corpus.parts is None and corpus.n_test is None

    put_ground_truth(folder).rename(folder / "content2019-04-v3.tsv")  # as the task's evaluator calls it
    assert read(folder).truth == TRUTH
    elsewhere = put_ground_truth(tmp_path)
    assert newsimages.load(folder=folder, ground_truth=elsewhere).parts.count("test") == 4
    other = put_ground_truth(tmp_path, {"700000009": "9001"})
    with pytest.raises(DataError, match="names no pair"):
        newsimages.load(folder=folder, ground_truth=other)
    with pytest.raises(MissingError, match="no such file"):
        newsimages.load(folder=folder, ground_truth=tmp_path / "none.tsv")


def test_no_picture_at_all_and_wrong_options(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    with pytest.raises(MissingError, match=r"data/corpora/newsimages/pictures: none of 7 pictures is there"):
        newsimages.load(folder=folder, test="development")
    with pytest.raises(ConfigError, match="test='train': choose from ground-truth, development"):
        newsimages.load(folder=folder, test="train")
    with pytest.raises(ConfigError, match="snippet='maybe'"):
        newsimages.load(folder=folder, snippet="maybe")
    with pytest.raises(
        ConfigError, match="no option 'text'.*folder, pictures, ground_truth, test, separator"
    ):
        load_corpus("newsimages", text="title")


def test_ground_truth_is_read_strictly(tmp_path):
    path = put_ground_truth(tmp_path)
    assert read_ground_truth(path) == TRUTH
    rows = [HEADER, row_of(1), row_of(1, iid="77")]
    path.write_bytes(tsv(rows))
    with pytest.raises(DataError, match=r"row 3: article '500000001' with image '77'; each article has one"):
        read_ground_truth(path)
    path.write_bytes(tsv([HEADER]))
    with pytest.raises(DataError, match="no row"):
        read_ground_truth(path)


def test_scrambled_ids():
    assert scrambled_to_truth("1000265260") == "526000026"
    assert all(scrambled_to_truth(scrambled(id)) == id for id in TRUTH)
    for bad in ("526000026", "10002652601", "100026526x", "", "１000265260"):
        with pytest.raises(DataError, match="10 digits"):
            scrambled_to_truth(bad)


# A split that the owners fixed


def corpus_of(n: int, **fields) -> Corpus:
    ids = tuple(f"id {i}" for i in range(n))
    defaults = {"texts": ids, "images": tuple(map(Path, ids)), "image_hashes": ids}
    return Corpus(name="toy", ids=ids, **{**defaults, **fields})


def test_own_parts_are_kept_and_the_rest_is_drawn_by_id():
    plain = corpus_of(2000)
    for seed in (0, 3):
        for name, rows in split(plain.ids, seed=seed).items():
            np.testing.assert_array_equal(split(plain, seed=seed)[name], rows)

    parts = tuple("test" if i % 4 == 1 else "development" for i in range(2000))
    corpus = corpus_of(2000, parts=parts, n_test=510)
    drawn = split(corpus, seed=3)
    assert list(drawn) == ["train", "validation", "test"]
    np.testing.assert_array_equal(drawn["test"], np.arange(1, 2000, 4))
    np.testing.assert_array_equal(np.sort(np.concatenate(list(drawn.values()))), np.arange(2000))
    assert all(rows.dtype == np.int64 and (np.diff(rows) > 0).all() for rows in drawn.values())
    # Five standard deviations of a binomial count.
    assert abs(len(drawn["train"]) - 0.8 * 1500) < 5 * (1500 * 0.8 * 0.2) ** 0.5
    assert not np.array_equal(drawn["train"], split(corpus, seed=4)["train"])

    # An id keeps its part when pairs are dropped; the task's number of test texts stays.
    smaller = corpus.without({f"id {i}": ("gone", "") for i in range(0, 2000, 3)})
    assert smaller.n_test == 510
    assert smaller.parts == tuple(parts[i] for i in range(2000) if i % 3)
    part_of = {corpus.ids[i]: name for name, rows in drawn.items() for i in rows}
    for name, rows in split(smaller, seed=3).items():
        assert {part_of[smaller.ids[i]] for i in rows} == {name}


def test_fingerprint_changes_with_the_own_split_only_where_there_is_one():
    plain = corpus_of(2)
    content = ["toy", plain.ids, plain.texts, plain.image_hashes, None]
    text = json.dumps(content, separators=(",", ":"))
    assert plain.fingerprint == hashlib.sha256(text.encode()).hexdigest()
    with_parts = replace(plain, parts=("development", "test"))
    swapped = replace(plain, parts=("test", "development"))
    counted = replace(with_parts, n_test=5)
    assert len({each.fingerprint for each in (plain, with_parts, swapped, counted)}) == 4


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"parts": ("test",)}, "parts and ids: 1 and 2"),
        ({"parts": ("test", "dev")}, "a part 'dev'; it is one of "),
        ({"parts": ("test", "test"), "n_test": 1}, "n_test=1 needs parts with at most so many test pairs"),
        ({"n_test": 5}, "n_test=5 needs parts"),
    ],
)
def test_an_impossible_own_split_is_refused(fields, told):
    with pytest.raises(DataError, match=told):
        corpus_of(2, **fields)


def test_importing_newsimages_is_light():
    code = "import sys, vtm.newsimages.corpus; print({'torch', 'PIL', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# The real files


@pytest.fixture(scope="module")
def real() -> Path:
    try:
        return news_folder()
    except MissingError as error:
        pytest.skip(str(error))


ENCODINGS = dict.fromkeys(FILES, "utf-8") | {"MediaEvalNewsImagesBatch04articles.tsv": "cp1252"}


@pytest.mark.data
def test_every_row_of_the_real_files_is_accounted_for(real):
    data = read(real)
    assert [file.n_rows for file in data.files] == [2539, 2604, 2387, 1915, 1916]
    assert [file.n_items for file in data.files] == [2539, 2604, 2387, 1915, 1915]
    assert all(file.as_published for file in data.files)
    assert [file.encoding for file in data.files] == list(ENCODINGS.values())
    assert len(data.development) == 7530
    assert len(data.test_articles) == len(data.test_images) == 1915
    # What is odd, counted by hand: the one image too many is a row of two tabs.
    assert Counter(odd.reason for odd in data.odd) == {
        "quoted-field": 91,
        "repeated-text": 10,
        "empty-text": 1,
        "blank-row": 1,
    }
    (blank,) = (odd for odd in data.odd if odd.dropped)
    assert (blank.file, blank.row) == ("MediaEvalNewsImagesBatch04images.tsv", 1917)
    assert len({picture.file for picture in data.pictures}) == len(data.pictures) == 9445
    assert len({scrambled_to_truth(article.id) for article in data.test_articles}) == 1915


@pytest.mark.data
def test_the_real_files_are_what_python_s_csv_reads(real):
    """Here, where every quote is a spreadsheet's, the csv module splits the fields right as well."""
    read_by_csv = {}
    for name, encoding in ENCODINGS.items():
        path = next(path for path in real.glob("*.tsv") if path.name.replace("-v3", "") == name)
        text = path.read_bytes().decode(encoding)
        read_by_csv[name] = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t"))[1:]
    batches, articles, images = list(read_by_csv.values())[:3], *list(read_by_csv.values())[3:]
    data = read(real)
    expected = [(str(batch), *row[:5], *row[6:]) for batch, rows in enumerate(batches, 1) for row in rows]
    found = [
        (str(a.batch), a.id, a.aid, a.url, p.url, p.iid, a.title, a.snippet, p.file)
        for a, p in ((item.article, item.picture) for item in data.development)
    ]
    assert found == expected
    assert [(a.id, a.url, a.title, a.snippet) for a in data.test_articles] == [
        (row[0], row[2], row[6], row[7]) for row in articles
    ]
    assert [[p.url, p.iid, p.file] for p in data.test_images] == [row for row in images if any(row)]


@pytest.mark.data
def test_the_real_files_with_drawn_answers_and_pictures_make_a_corpus(real, tmp_path):
    data = read(real)
    rng = np.random.default_rng(0)
    iids = [data.test_images[i].iid for i in rng.permutation(1915)]
    truth = {scrambled_to_truth(a.id): iid for a, iid in zip(data.test_articles, iids, strict=True)}
    ground_truth = put_ground_truth(tmp_path, truth)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    lost = {picture.iid for picture in data.pictures[::10]}
    for picture in data.pictures:
        if picture.iid not in lost:
            (pictures / picture.file).write_bytes(picture.iid.encode())
    corpus = newsimages.load(folder=real, pictures=pictures, ground_truth=ground_truth)
    assert corpus.drop_counts() == {"missing-picture": len(lost)} and len(corpus) == 9445 - len(lost)
    assert corpus.n_test == 1915
    own = {a.id: iid for a, iid in zip(data.test_articles, iids, strict=True)}
    own |= {item.article.id: item.picture.iid for item in data.development}
    assert [path.read_text() for path in corpus.images] == [own[id] for id in corpus.ids]
    sizes = {name: len(rows) for name, rows in split(corpus, seed=0).items()}
    assert sizes["test"] == sum(iid not in lost for iid in iids)
    assert abs(sizes["train"] / (sizes["train"] + sizes["validation"]) - 0.8) < 0.03


@pytest.mark.parametrize(
    "url, section",
    [
        ("https://news.example/sport/fc--sieg-123", "sport"),
        ("https://news.example/koeln/innenstadt/dom-1?x=/a/b", "koeln"),
        ("https://news.example/a-text-of-no-section-123", "other"),
        ("", "other"),
    ],
)
def test_an_article_s_category_is_its_newspaper_s_section(url, section):
    assert Article("1", "", url, "t", "s", 1).category == section
