"""Users' own tables: what is read, what is dropped with its row, and what the errors name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from vtm.corpora import Dropped, load_corpus
from vtm.errors import ConfigError, DataError, MissingError


@pytest.fixture
def folder(tmp_path) -> Path:
    from PIL import Image

    for index, name in enumerate(["a.png", "b.png", "sub/c.png"]):
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (index * 50, 0, 0)).save(path)
    Image.new("RGB", (4, 4)).save(tmp_path / "outside.png")
    return tmp_path / "shop"


def test_a_caption_of_any_length_is_read(folder):
    """The module csv takes 131,072 characters of a field, unless it is told otherwise."""
    long = "boat " * 40_000
    corpus = load_corpus(str(write(folder / "t.csv", "image,text", f"a.png,{long}", "b.png,A red hat")))
    assert corpus.texts == (long.strip(), "A red hat")


def write(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("t.csv", ["image,text", 'a.png,"A red, round hat"', "sub/c.png,Zwei Hüte"]),
        ("t.csv", ["text;image", "A red, round hat;a.png", "Zwei Hüte;sub/c.png"]),
        ("t.tsv", ["path\tcaption", "a.png\tA red, round hat", "./sub/c.png\tZwei  Hüte "]),
        ("t.jsonl", ['{"file_name": "a.png", "text": "A red, round hat"}', "",
                     '{"file_name": "sub/c.png", "text": "Zwei Hüte"}']),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_kinds_of_tables(folder, name, lines, encoding):
    corpus = load_corpus(write(folder / name, *lines, encoding=encoding))
    assert corpus.ids == ("a.png", "sub/c.png")
    assert corpus.texts == ("A red, round hat", "Zwei Hüte")
    assert [path.read_bytes() for path in corpus.images] == [
        (folder / "a.png").read_bytes(), (folder / "sub/c.png").read_bytes(),
    ]  # fmt: skip
    assert corpus.image_hashes[0] == hashlib.sha256((folder / "a.png").read_bytes()).hexdigest()
    assert corpus.groups is None and corpus.dropped == ()


def test_parquet_with_missing_values(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"image": ["a.png", "b.png", None], "text": ["hat", None, "coat"], "price": [1.5, 2.0, 3.0]}
    pq.write_table(pa.table(columns), folder / "t.parquet")
    corpus = load_corpus(str(folder / "t.parquet"), group_column="price")
    assert corpus.ids == ("a.png",) and corpus.groups == ("1.5",)
    assert corpus.dropped == (
        Dropped("b.png", "empty-text", "t.parquet row 2: b.png"),
        Dropped("t.parquet row 3", "missing-picture", "t.parquet row 3"),
    )


def test_named_columns_and_quoted_line_breaks(folder):
    table = write(
        folder / "t.csv", "sku,foto,text,worte,art", '7,a.png,x,"two\nlines",hat', "8,b.png,y,one,coat"
    )
    corpus = load_corpus(
        table, image_column="foto", text_column="worte", id_column="sku", group_column="art", lang="de"
    )
    assert (corpus.ids, corpus.texts, corpus.groups) == (("7", "8"), ("two lines", "one"), ("hat", "coat"))
    assert corpus.language == "de"


def test_unusable_rows_leave_with_reason_and_row(folder, tmp_path):
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "inside.png").symlink_to("a.png")
    table = write(
        folder / "t.csv", "image,text", "a.png,hat", "none.png,hat", "b.png,", "sub/c.png,NaN",
        "../outside.png,hat", f"{tmp_path / 'outside.png'},hat", "link.png,hat", ",hat", "inside.png,coat",
        "sub,hat",
    )  # fmt: skip
    corpus = load_corpus(table)
    assert corpus.ids == ("a.png", "inside.png")
    assert corpus.drop_counts() == {"missing-picture": 3, "empty-text": 2, "outside-folder": 3}
    rows = [drop.detail.split(":")[0] for drop in corpus.dropped]
    assert rows == [f"t.csv row {number}" for number in (3, 4, 5, 6, 7, 8, 9, 11)]


def test_imagefolder_and_its_splits(folder):
    write(folder / "metadata.csv", "file_name,text", "a.png,hat", "sub/c.png,coat")
    assert load_corpus(folder).ids == ("a.png", "sub/c.png")
    (folder / "metadata.csv").unlink()
    write(folder / "sub/metadata.jsonl", json.dumps({"file_name": "c.png", "text": "coat"}))
    assert load_corpus(folder).ids == ("sub/c.png",)


@pytest.mark.parametrize(
    ("lines", "options", "error", "named"),
    [
        (["image,text", "a.png,hat", "b.png,hat,coat"], {}, DataError, ["t.csv", "row 3", "3 fields"]),
        (["image,text", "a.png"], {}, DataError, ["row 2", "1 fields"]),
        (["image,text", 'a.png,"hat', "b.png,coat"], {}, DataError, ["row 2", "quote"]),
        (["image,text", "a.png,hat", "b.png,x", "./a.png,y"], {}, DataError, ["row 2", "row 4", "a.png"]),
        (["image,words", "a.png,hat"], {}, DataError, ["text_column", "image, words"]),
        (["image,text", "a.png,hat"], {"text_column": "words"}, ConfigError, ["words", "image, text"]),
        (["image,text", "a.png,hat"], {"encoding": "utf-99"}, ConfigError, ["utf-99"]),
        (["image,text", "a.png,hat"], {"colour": 1}, ConfigError, ["colour", "image_column"]),
        (["image,text,text", "a.png,hat,hat"], {}, DataError, ["text", "rename"]),
        (["image,text"], {}, DataError, ["no usable pair"]),
        (["image,text", "none.png,hat"], {}, DataError, ["no usable pair", "1 missing-picture"]),
        ([""], {}, DataError, ["empty"]),
    ],
)
def test_errors_name_the_thing(folder, lines, options, error, named):
    with pytest.raises(error) as caught:
        load_corpus(write(folder / "t.csv", *lines), **options)
    assert all(part in str(caught.value) for part in named), str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_encodings(folder):
    table = write(folder / "t.csv", "image,text", "a.png,Hüte", encoding="cp1252")
    byte = table.read_bytes().index("ü".encode("cp1252"))
    with pytest.raises(DataError, match=rf"t\.csv: not UTF-8 at byte {byte} .*encoding="):
        load_corpus(table)
    assert load_corpus(table, encoding="cp1252").texts == ("Hüte",)


@pytest.mark.parametrize(
    ("line", "named"),
    [("{oops", "row 2"), ("[1]", "row 2"), ('{"file_name": "b.png", "text": {"en": 1}}', "row 2")],
)
def test_bad_json_lines(folder, line, named):
    table = write(folder / "t.jsonl", '{"file_name": "a.png", "text": "hat"}', line)
    with pytest.raises(DataError, match=named):
        load_corpus(table)


def test_files_that_are_no_tables(folder, tmp_path):
    with pytest.raises(DataError, match=r"metadata\.csv"):
        load_corpus(folder / "sub")
    with pytest.raises(DataError, match=r"\.csv"):
        load_corpus(write(folder / "t.xlsx", "x"))
    with pytest.raises(DataError, match="Parquet"):
        load_corpus(write(folder / "t.parquet", "x"))
    with pytest.raises(MissingError, match="nowhere"):
        load_corpus(tmp_path / "nowhere.csv")
