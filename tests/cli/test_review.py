"""vtm apply: what a person left in the sheet is what pictures and sidecars say, and nobody else's words go."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from pathlib import Path

import openpyxl
import pytest
from PIL import Image
from test_models import error, run
from test_sidecars import HIERARCHY, SUBJECT, items

from vtm.cli.options import SKIPPED
from vtm.cli.rows import open_rows
from vtm.corpora import load_corpus
from vtm.corpora.keywords import fingerprint, sidecar_path, write_original

ASKED = ("--min-confidence", 0, "--keywords", 3)
pytestmark = pytest.mark.usefixtures("data_folder")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m"
    run("train", "scenes:n=120", "-o", path, "--n-topics", 6, "--encoder", "pixels")
    return path


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for number, path in enumerate(load_corpus("scenes", n=120).images[:6]):
        shutil.copy(path, folder / ("b" if number % 2 else "") / f"{number}.png")
    return folder


def write_sheet(path: Path, *rows: tuple[object, ...], header=("picture", "keywords")) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def flat(picture: Path) -> list[str]:
    return items(sidecar_path(picture).read_bytes(), SUBJECT)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*.*")}


def test_the_whole_circle_through_a_workbook_that_another_program_saved(model, photos, tmp_path):
    """Train, tag, edit, apply, train: rows sorted, columns moved, words deleted, added and corrected."""
    sheet, again = tmp_path / "tags.xlsx", tmp_path / "edited.xlsx"
    run("tag", model, photos, *ASKED, "--write-sidecars", "-o", sheet)
    with zipfile.ZipFile(sheet) as archive:
        small = [
            Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist() if "/media/" in name
        ]
    assert len(small) == 6 and {picture.size for picture in small} == {(96, 96)}
    book = openpyxl.load_workbook(sheet)
    (head, *rows) = [[cell.value for cell in row] for row in book.active.rows]
    assert head == ["thumbnail", "picture", "keywords", "confidences", "topics", "fingerprint"]
    assert book.active.column_dimensions["F"].hidden and not book.active.column_dimensions["B"].hidden
    assert {picture.anchor._from.row for picture in book.active._images} == {1, 2, 3, 4, 5, 6}
    by_name = {Path(row[1]).name: dict(zip(head, row, strict=True)) for row in rows}
    tagged = {name: row["keywords"].split(", ") for name, row in by_name.items()}
    assert all(len(words) == 3 for words in tagged.values())
    by_name["0.png"]["keywords"] = ", ".join(tagged["0.png"][1:])  # a word less
    by_name["1.png"]["keywords"] += "; harbour \n2024 , =1"  # three more
    by_name["2.png"]["keywords"] = None  # none at all
    by_name["3.png"]["keywords"] = 2024.0  # as spreadsheets keep a number
    run("tag", model, photos, *ASKED, "-o", sheet)  # nobody worked in it
    book.save(sheet)
    line = error("tag", model, photos, *ASKED, "-o", sheet)
    assert f"{sheet}: was saved by another program, and is not overwritten; name another file" in line
    edited = openpyxl.Workbook()
    edited.active.title = "notes"
    table = edited.create_sheet("vtm")
    table.append(["note", "keywords", "fingerprint", "picture"])
    for row in reversed(by_name.values()):
        table.append(["", row["keywords"], row["fingerprint"], row["picture"]])
        table.append([])
    edited.save(again)
    wanted = {
        "0.png": tagged["0.png"][1:],
        "1.png": [*tagged["1.png"], "harbour", "2024", "=1"],
        "3.png": ["2024"],
        "4.png": tagged["4.png"],
        "5.png": tagged["5.png"],
    }
    told = run("apply", again, photos, "--write-sidecars", "--table", tmp_path / "corrected.csv").stderr
    assert (
        "6 pictures: 5 with 15 keywords, 1 without" in told
        and "4 sidecars written, 2 had all keywords" in told
    )
    for picture in photos.rglob("*.png"):
        if picture.name == "2.png":
            assert not sidecar_path(picture).exists()
            continue
        assert flat(picture) == wanted[picture.name]
        tree = items(sidecar_path(picture).read_bytes(), HIERARCHY)
        assert tree == [f"vtm|{word}" for word in wanted[picture.name]]
    with open(tmp_path / "corrected.csv", encoding="utf-8", newline="") as stream:
        found = {row["file_name"]: row["text"] for row in csv.DictReader(stream)}
    assert {Path(name).name: text.split(", ") for name, text in found.items()} == wanted
    assert all((tmp_path / name).is_file() for name in found)
    report = run(
        *("train", tmp_path / "corrected.csv", "-o", tmp_path / "next", "--n-topics", 2, "--min-df", 1),
        *("--encoder", "pixels", "--validation", 0),
    )
    assert "pairs                      4\n" in report.stdout  # "2024" is no word
    assert "harbour" in run("topics", tmp_path / "next", "--format", "csv").stdout
    told = run("apply", again, photos, "--write-sidecars").stderr
    assert "0 sidecars written, 5 had all keywords, 1 left as they are, without a keyword" in told
    run("untag", photos)
    assert not list(photos.rglob("*.xmp"))


@pytest.mark.parametrize("suffix", ["csv", "wide.csv", "jsonl", "parquet", "xlsx"])
def test_a_sheet_that_nobody_touched_writes_what_tag_does(model, photos, tmp_path, suffix):
    sheet = tmp_path / f"tags.{suffix}"
    run("tag", model, photos, *ASKED, *["--wide"] * ("wide" in suffix), "--write-originals", "-o", sheet)
    before = contents(photos)
    told = run(
        "apply", sheet, "--write-originals"
    ).stderr  # the pictures' bytes are others now, and what they show is not
    assert "0 pictures written, 6 had all keywords" in told
    assert contents(photos) == before
    assert (
        "5 sidecars written"
        in run("apply", sheet, photos / "b", photos / "0.png", photos / "2.png", "--write-sidecars").stderr
    )


def test_words_of_others_stay_and_those_of_vtm_go(model, photos, tmp_path):
    picture = photos / "0.png"
    sidecar_path(picture).write_text(
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<dc:subject><rdf:Bag><rdf:li>mine</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>"
    )
    start = sidecar_path(picture).read_bytes()
    sheet = write_sheet(tmp_path / "tags.csv", (picture, "mine, sea, boat"))
    run("apply", sheet, "--write-sidecars")
    assert flat(picture) == ["mine", "sea", "boat"]
    run("apply", write_sheet(sheet, (picture, "boat")), "--write-sidecars")
    assert flat(picture) == ["mine", "boat"]
    run("apply", write_sheet(sheet, (picture, "")), "--write-sidecars")
    assert sidecar_path(picture).read_bytes() == start
    assert "apply" not in run("untag", photos).stderr and sidecar_path(picture).read_bytes() == start


def test_one_row_for_each_keyword_and_a_picture_without_a_row_stays(model, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    run("tag", model, photos, *ASKED, "--write-sidecars")
    before = contents(photos)
    header = ("keyword", "confidence", "picture")
    sheet = write_sheet(
        tmp_path / "t.csv", ("sea", 1, "0.png"), ("", "", "2.png"), ("boat", "", "./0.png"), header=header
    )
    told = run("apply", sheet, photos, "--write-sidecars").stderr
    assert "2 pictures: 1 with 2 keywords, 1 without" in told
    assert "4 pictures have no row that can be followed: left as they are" in told
    assert flat(photos / "0.png") == ["sea", "boat"] and not sidecar_path(photos / "2.png").exists()
    after = contents(photos)
    assert {path for path in before if before[path] != after.get(path)} == {
        sidecar_path(photos / "0.png"),
        sidecar_path(photos / "2.png"),
    }
    told = run("apply", sheet, photos / "b", photos / "0.png").stderr
    assert "1 row is of other pictures than the named ones: left as they are" in told
    assert "nothing was written" in told and contents(photos) == after


def test_rows_that_cannot_be_followed_are_listed_and_the_others_are_written(photos, tmp_path):
    with Image.open(photos / "0.png") as scene:
        marks = {name: fingerprint(photos / name) for name in ("0.png", "2.png")}
        scene.save(photos / "2.png")
        write_original(photos / "0.png", ["boat"])
    sheet = write_sheet(
        tmp_path / "tags.csv",
        ("photos/0.png", "sea", marks["0.png"]),
        ("photos/2.png", "sea", marks["2.png"]),
        ("photos/gone.png", "sea", ""),
        ("", "sea", ""),
        ("photos\\b\\1.png", "sea", ""),
        ("photos/b/3.png", "sea", ""),
        ("photos/b/1.png", "sea, sea", ""),
        ("photos/b/../b/3.png", "boat", ""),
        header=("Picture", "Keywords", "Fingerprint"),
    )
    told = run("apply", sheet, "--write-sidecars", code=SKIPPED).stderr.splitlines()
    assert "2 sidecars written, 0 had all keywords" in told
    assert [line for line in told if line.startswith("not followed")] == [
        "not followed: tags.csv row 3: photos/2.png: shows something else than when it was tagged; tag it again, or "
        "empty its fingerprint",
        "not followed: tags.csv row 4: photos/gone.png: no such picture; was it moved or renamed? Correct the path",
        "not followed: tags.csv row 5: names no picture; fill its cell, or delete the row",
        "not followed: tags.csv row 7 and 9: photos/b/../b/3.png: has other keywords in each; keep one row",
    ]
    assert sorted(path.name for path in photos.rglob("*.xmp")) == ["0.png.xmp", "1.png.xmp"]


def test_what_is_no_sheet_is_refused_in_one_line(photos, tmp_path):
    sheet, picture = tmp_path / "tags.csv", photos / "0.png"
    assert "has no row; `vtm tag MODEL PICTURES -o tags.csv` writes it anew" in error(
        "apply", write_sheet(sheet)
    )
    line = error("apply", write_sheet(sheet, (1, 2), header=("picture", "words")))
    assert "needs columns picture and keywords, as `vtm tag` writes them; it has picture, words" in line
    line = error("apply", write_sheet(sheet, ("gone.png", "sea")))
    assert "no row can be followed; the first: tags.csv row 2: gone.png: no such picture" in line
    write_sheet(sheet, (picture, "sea"))
    assert "no row can be followed; the first: it names pictures elsewhere, in 1 row" in error(
        "apply", sheet, photos / "b"
    )
    assert "is one of the pictures" in error(
        "apply",
        write_sheet(sheet, (shutil.copy(picture, photos / "x.csv"), "a")),
        "--table",
        photos / "x.csv",
    )
    write_sheet(sheet, (picture, "sea"))
    assert "is the sheet itself" in error("apply", sheet, "--table", sheet)
    assert "which format" in error("apply", sheet, "--table", tmp_path / "table.txt")
    assert "must be full or basename" in error("apply", sheet, "--write-sidecars", "--sidecar-name", "x")
    book = openpyxl.Workbook()
    book.save(tmp_path / "empty.xlsx")
    assert "empty.xlsx: the sheet is empty; it needs a header and at least one row" in error(
        "apply", tmp_path / "empty.xlsx"
    )
    sheet.write_bytes("picture;keywords\n0.png;Käse\n".encode("cp1252"))
    assert "not UTF-8" in error("apply", sheet)
    sheet.write_bytes(f"picture;keywords\n{picture};Käse\n".encode("cp1252"))
    run("apply", sheet, "--write-sidecars", "--encoding", "cp1252")
    assert flat(picture) == ["Käse"]
    assert not list(tmp_path.glob("*.tmp*"))


def test_a_table_for_training_that_lies_elsewhere_says_where_the_pictures_are(photos, tmp_path):
    sheet = write_sheet(
        tmp_path / "tags.csv", (photos / "0.png", "sea"), (photos / "b" / "1.png", "sea, boat")
    )
    (tmp_path / "there").mkdir()
    told = run("apply", sheet, "--table", tmp_path / "there" / "t.jsonl").stderr
    assert f"t.jsonl:pictures={photos} -o MODEL` trains on it" in told
    corpus = load_corpus(str(tmp_path / "there" / "t.jsonl"), pictures=str(photos))
    assert dict(zip(corpus.ids, corpus.texts, strict=True)) == {"0.png": "sea", "b/1.png": "sea, boat"}


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_fingerprint_is_that_of_what_is_seen(photos, tmp_path, format):
    with Image.open(photos / "0.png") as scene, Image.open(photos / "2.png") as other:
        scene, other = scene.convert("RGB"), other.convert("RGB")
        exif = Image.Exif()
        exif[0x010E] = "a description"
        scene.save(tmp_path / "plain", format)
        scene.save(tmp_path / "described", format, exif=exif)
        other.save(tmp_path / "other", format)
    plain, described, changed = (fingerprint(tmp_path / name) for name in ("plain", "described", "other"))
    assert plain != changed and len(plain) == 17 and not plain[0].isdigit()
    assert (plain == described) == (format != "WEBP")


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\0", b"\x89PNG\r\n\x1a\n\0\0\0\0IDA"]
)
def test_broken_pictures_have_a_fingerprint_too(tmp_path, garbage):
    (tmp_path / "x.jpg").write_bytes(garbage)
    assert len(fingerprint(tmp_path / "x.jpg")) == 17


ODS = """<?xml version="1.0" encoding="UTF-8"?><office:document-content
 xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" office:version="1.2"><office:body><office:spreadsheet>
 <table:table table:name="Sheet1">%s</table:table></office:spreadsheet></office:body></office:document-content>"""


def test_a_sheet_of_libreoffice_is_read(photos, tmp_path):
    """By the standard for OpenDocument (ISO/IEC 26300): equal cells and rows that follow each other are said once."""

    def cell(text: str) -> str:
        return f'<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>'

    rows = [
        f"<table:table-row>{cell('picture')}{cell('keywords')}</table:table-row>",
        '<table:table-row table:number-rows-repeated="2"><table:table-cell table:number-columns-repeated="2"/></table:table-row>',
        f"<table:table-row>{cell('photos/0.png')}{cell('sea, boat')}</table:table-row>",
    ]
    with zipfile.ZipFile(tmp_path / "tags.ods", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", ODS % "".join(rows))
        archive.writestr(
            "META-INF/manifest.xml",
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
        )
    run("apply", tmp_path / "tags.ods", "--write-sidecars")
    assert flat(photos / "0.png") == ["sea", "boat"]


def test_a_workbook_of_captions_is_a_table(photos, tmp_path):
    columns = {"file_name": str, "text": str, "year": int}
    with open_rows("xlsx", photos / "captions.xlsx", columns) as write:
        write(
            [
                {"file_name": "0.png", "text": "a ship", "year": 2024},
                {"file_name": "b/1.png", "text": "", "year": 1},
            ]
        )
    corpus = load_corpus(str(photos / "captions.xlsx"))
    assert (corpus.ids, corpus.texts) == (("0.png",), ("a ship",))
    assert [item.reason for item in corpus.dropped] == ["empty-text"]
    assert load_corpus(str(photos / "captions.xlsx"), text_column="year").texts == ("2024", "1")


def test_a_workbook_of_too_many_cells_is_refused_before_it_is_read(photos, tmp_path, monkeypatch):
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "picture", "x"
    book.save(tmp_path / "far.xlsx")
    line = error("apply", tmp_path / "far.xlsx")
    assert "far.xlsx: a cell lies far from the others; delete what is there, or save it as CSV" in line
    monkeypatch.setattr("vtm.corpora.table.MAX_CELLS", 280)  # AB is the 28th column
    for last, told in {
        "AB10": "needs columns",
        "AB11": "far from",
        "A280": "needs columns",
        "B141": "far from",
    }.items():
        book = openpyxl.Workbook()
        book.active["A1"], book.active[last] = "x", "y"
        book.save(tmp_path / "near.xlsx")
        assert told in error("apply", tmp_path / "near.xlsx")
    monkeypatch.setattr("vtm.corpora.table.MAX_WORKBOOK", 100)
    assert "MB of cells; save it as CSV" in error("apply", tmp_path / "far.xlsx")


def test_a_long_sheet_is_no_far_cell(photos, tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["picture", "keywords"])
    book.active["B1048576"], book.active["A1048576"] = "sea", "photos/0.png"
    book.save(tmp_path / "long.xlsx")
    run("apply", tmp_path / "long.xlsx", "--write-sidecars")
    assert flat(photos / "0.png") == ["sea"]


def test_json_lines_of_ones_own_may_have_plain_lists(photos, tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({"picture": "photos/0.png", "keywords": ["sea", "boat"]}))
    run("apply", tmp_path / "t.jsonl", "--write-sidecars")
    assert flat(photos / "0.png") == ["sea", "boat"]


# A fixed vocabulary


def write_terms(path: Path, *rows: tuple[str, ...], header=("term", "broader", "synonyms")) -> Path:
    return write_sheet(path, *rows, header=header)


def tree(picture: Path) -> list[str]:
    return items(sidecar_path(picture).read_bytes(), HIERARCHY)


def test_a_corrected_sheet_is_mapped_to_a_vocabulary_and_its_hierarchy_is_written(photos, tmp_path):
    terms = write_terms(
        tmp_path / "terms.csv",
        ("Sailing boat", "Boat", "yacht; sailboat"),
        ("Boat", "Vehicle", "ship"),
        ("Mouse", "Animal", ""),
        ("", "", ""),
    )
    sheet = write_sheet(
        tmp_path / "tags.csv",
        ("photos/0.png", "yachts, BOATS, ship, harbour"),
        ("photos/2.png", "mice, harbour, sun"),
        ("photos/b/1.png", "sun, vehicles"),
        ("photos/b/3.png", "sun"),
    )
    told = run(
        "apply", sheet, "--write-sidecars", "--vocabulary", terms, "--table", tmp_path / "t.csv"
    ).stderr
    assert f"5 keywords left out, which are not in {terms}: sun (3), harbour (2)" in told
    assert "4 pictures: 3 with 4 keywords, 1 without" in told
    assert flat(photos / "0.png") == ["Sailing boat", "Boat"]
    assert tree(photos / "0.png") == ["vtm|Vehicle|Boat|Sailing boat", "vtm|Vehicle|Boat"]
    assert tree(photos / "2.png") == ["vtm|Animal|Mouse"] and tree(photos / "b" / "1.png") == ["vtm|Vehicle"]
    assert not sidecar_path(photos / "b" / "3.png").exists()
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as stream:
        assert [row["text"] for row in csv.DictReader(stream)] == ["Sailing boat, Boat", "Mouse", "Vehicle"]
    run("untag", photos)
    assert not list(photos.rglob("*.xmp"))


def test_forms_are_those_of_the_language(photos, tmp_path):
    terms = write_terms(tmp_path / "terms.csv", ("Boot",), header=("Term",))
    sheet = write_sheet(tmp_path / "tags.csv", ("photos/0.png", "Boote"))
    run("apply", sheet, "--vocabulary", terms, "--language", "de", "--write-sidecars")
    assert flat(photos / "0.png") == ["Boot"]
    told = run("apply", sheet, "--vocabulary", terms, "--language", "tlh").stderr
    assert f"1 keyword left out, which is not in {terms}: Boote (1)" in told


def test_tag_takes_the_likeliest_terms_and_counts_what_it_left_out(model, photos, tmp_path):
    def keywords(*more: object) -> tuple[dict[str, list[tuple[str, float]]], str]:
        result = run("tag", model, photos, "--min-confidence", 0, "--format", "jsonl", *more)
        rows = map(json.loads, result.stdout.splitlines())
        found = {row["picture"]: [tuple(one.values()) for one in row["keywords"]] for row in rows}
        return found, result.stderr

    free, _ = keywords("--keywords", 2000)
    known = [word for word, _ in next(iter(free.values()))]
    chosen, gone = sorted(known)[::2], {*sorted(known)[1::2]}
    terms = write_terms(tmp_path / "terms.csv", *((word.upper(), "All", "") for word in chosen))
    found, told = keywords("--keywords", 3, "--vocabulary", terms, "--write-sidecars")
    # By hand, from what the model says without a vocabulary; forms of a chosen word count as that word.
    from simplemma import lemmatize

    by_lemma = {lemmatize(word, lang="en").lower(): word.upper() for word in reversed(chosen)}
    names = {word: word.upper() for word in chosen}
    names |= {word: by_lemma[key] for word in gone if (key := lemmatize(word, lang="en").lower()) in by_lemma}
    missed = 0
    for picture, every in free.items():
        expected: dict[str, float] = {}
        for word, chance in every:
            if word in names:
                expected.setdefault(names[word], chance)
        assert found[picture] == list(expected.items())[:3]
        missed += sum(word not in names for word, _ in every[:3])
        assert tree(Path(picture)) == [f"vtm|All|{word}" for word, _ in found[picture]]
    assert missed and f"{missed} keywords left out, which are not in {terms}: " in told


def test_a_vocabulary_that_cannot_be_followed_is_refused_in_one_line(model, photos, tmp_path):
    sheet = write_sheet(tmp_path / "tags.csv", (photos / "0.png", "sea"))
    path = tmp_path / "terms.csv"

    def refused(*rows: tuple[str, ...], **options: object) -> str:
        return error("apply", sheet, "--vocabulary", write_terms(path, *rows, **options), "--write-sidecars")

    assert "needs a column term; it has word" in refused(("a",), header=("word",))
    assert "holds no term; it needs a row for each" in refused()
    assert "a < b < a: stands below itself; correct what is broader" in refused(
        ("a", "b", ""), ("b", "a", "")
    )
    assert "terms.csv row 3: 'a' is in terms.csv row 2 already, for 'a'" in refused(
        ("a", "", ""), ("A", "b", "")
    )
    assert "row 3: 'sea' is in terms.csv row 2 already, for 'a'" in refused(
        ("a", "", "sea"), ("b", "", "c,sea")
    )
    assert "row 2: 'Rome, Italy' has a comma or semicolon" in refused(("Rome, Italy", "", ""))
    assert "none.csv: no such file; name a table with a column term" in error(
        "tag", model, photos, "--vocabulary", "none.csv"
    )
    assert not list(photos.rglob("*.xmp"))
