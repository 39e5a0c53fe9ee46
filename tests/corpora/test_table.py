"""Users' own tables: what is read, what is dropped with its row, and what the errors name."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from vtm.corpora import Dropped, load_corpus, split
from vtm.corpora.table import periods, read_rows
from vtm.errors import ConfigError, DataError, MissingError


@pytest.fixture
def folder(tmp_path) -> Path:
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
        (
            ["image,text,sku", "a.png,hat,7", "b.png,x,7"],
            {"id_column": "sku"},
            DataError,
            ["row 2", "row 3", "'7'"],
        ),
        (
            ["image,text", "a.png,hat"],
            {"captions": "all"},
            ConfigError,
            ["captions", "joined, first, drawn, none"],
        ),
        (["image,words", "a.png,hat"], {}, DataError, ["text_column", "image, words"]),
        (["image,text", "a.png,hat"], {"text_column": "words"}, ConfigError, ["words", "image, text"]),
        (["image,text", "a.png,hat"], {"encoding": "utf-99"}, ConfigError, ["utf-99"]),
        (["image,text", "a.png,hat"], {"colour": 1}, ConfigError, ["colour", "image_column"]),
        (["image,text,text", "a.png,hat,hat"], {}, DataError, ["text", "rename"]),
        (["image,text"], {}, DataError, ["t.csv: no usable pair", "no rows"]),
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
    told = (
        rf"t\.csv: not UTF-8 at byte {byte} .*; give its encoding, as in t\.csv:encoding=cp1252, or save it"
    )
    with pytest.raises(DataError, match=told):
        load_corpus(table)
    assert load_corpus(table, encoding="cp1252").texts == ("Hüte",)
    write(table, "image,text", "a.png,Hüte", encoding="utf-16")
    with pytest.raises(DataError, match=r"as in t\.csv:encoding=utf-16, or"):
        load_corpus(table)
    assert load_corpus(table, encoding="utf-16").texts == ("Hüte",)
    with pytest.raises(DataError, match="line 1\\); save it as UTF-8$"):  # where no option names one
        read_rows(table, None)
    table.unlink()
    for name in ("a.txt", "b.txt", "sub/c.txt"):  # beside the pictures
        write(folder / name, "Hüte", encoding="cp1252")
    with pytest.raises(DataError, match=r"a\.txt: not UTF-8 .* as in shop:encoding=cp1252, or"):
        load_corpus(folder)
    assert load_corpus(folder, encoding="cp1252").texts == ("Hüte",) * 3


def test_a_row_that_says_what_an_earlier_one_does_is_counted(folder):
    rows = ("a.png,hat,x", "b.png,coat,", "a.png, hat ,", "a.png,red hat,", "./b.png,coat,y")
    table = write(folder / "t.csv", "image,text,owner", *rows)
    corpus = load_corpus(table, columns="owner")
    assert corpus.texts == ("hat. red hat.", "coat") and corpus.columns == {"owner": ("x", "y")}
    assert [(item.id, item.reason, item.detail) for item in corpus.dropped] == [
        ("a.png", "repeated-row", "t.csv row 4: says of a.png what t.csv row 2 does"),
        ("b.png", "repeated-row", "t.csv row 6: says of ./b.png what t.csv row 3 does"),
    ]
    # Where no texts are read, a row for each caption is no repetition.
    assert load_corpus(table, captions="none").dropped == ()


def test_of_several_tables_some_may_lack_a_column(folder):
    write(folder / "metadata.csv", "file_name,text,year", "a.png,hat,2001", "b.png,coat,2002")
    write(folder / "sub/metadata.csv", "file_name,text", "c.png,shoe")
    corpus = load_corpus(folder, columns=("year",))
    assert dict(zip(corpus.ids, corpus.columns["year"], strict=True)) == {
        "a.png": "2001",
        "b.png": "2002",
        "sub/c.png": "",
    }
    with pytest.raises(ConfigError, match="shop: no column 'jear'; its columns are file_name, text, year"):
        load_corpus(folder, columns=("jear",))


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
        load_corpus(write(folder / "t.docx", "x"))
    with pytest.raises(DataError, match="t.xlsx: not readable as a workbook .*; save it as CSV"):
        load_corpus(write(folder / "t.xlsx", "x"))
    with pytest.raises(DataError, match="Parquet"):
        load_corpus(write(folder / "t.parquet", "x"))
    with pytest.raises(MissingError, match="nowhere"):
        load_corpus(tmp_path / "nowhere.csv")


def paint(path: Path, shade: int) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, 90, 0)).save(path)
    return path


def tree(root: Path, **folders: int) -> Path:
    """A folder of pictures with a metadata.jsonl for each part; in names _ is a folder's end."""
    shade = 0
    for name, n in folders.items():
        folder, rows = root / name.replace("_", "/"), []
        for number in range(n):
            paint(folder / f"{number}.png", shade := shade + 1)
            rows.append(json.dumps({"file_name": f"{number}.png", "text": f"picture {shade}"}))
        write(folder / "metadata.jsonl", *rows)
    return root


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ({"train": 40, "test": 9}, {"train": ["train"], "validation": ["train"], "test": ["test"]}),
        (
            {"train": 40, "validation": 7, "test": 9},
            {"train": ["train"], "validation": ["validation"], "test": ["test"]},
        ),
        ({"train": 40, "val": 7}, {"train": ["train"], "validation": ["val"], "test": ["train"]}),
        # Two levels down, with a folder of no part, which is not for tests.
        (
            {"train_cats": 20, "train_dogs": 20, "other": 5, "test_cats": 4, "test_dogs": 4},
            {"train": ["other", "train"], "validation": ["other", "train"], "test": ["test"]},
        ),
    ],
)
def test_an_owner_s_parts_are_kept(tmp_path, folders, expected):
    corpus = load_corpus(tree(tmp_path / "photos", **folders))
    assert len(corpus) == sum(folders.values())
    parts = split(corpus)
    found = {part: {corpus.ids[row].split("/")[0] for row in rows} for part, rows in parts.items()}
    assert all(found[part] <= set(names) and found[part] for part, names in expected.items())
    assert sorted(row for rows in parts.values() for row in rows) == list(range(len(corpus)))
    for part in ("validation", "test"):
        if expected[part] in (["test"], ["val"], ["validation"]):
            whole = {id for id in corpus.ids if id.split("/")[0] in expected[part]}
            assert {corpus.ids[row] for row in parts[part]} == whole


def test_folders_without_a_test_part_are_no_split(tmp_path):
    assert load_corpus(tree(tmp_path / "a", train=5, other=4)).parts is None
    assert load_corpus(tree(tmp_path / "b", test=5)).parts is None
    assert load_corpus(tree(tmp_path / "c", cats=5, attests=4)).parts is None


def test_all_metadata_of_a_tree_are_read_and_two_formats_in_a_folder_are_refused(folder):
    write(folder / "metadata.csv", "file_name,text", "a.png,hat", "b.png,coat")
    write(folder / "sub/metadata.jsonl", json.dumps({"file_name": "c.png", "text": "shoe"}))
    assert dict(zip(*(lambda c: (c.ids, c.texts))(load_corpus(folder)), strict=True)) == {
        "a.png": "hat", "b.png": "coat", "sub/c.png": "shoe",
    }  # fmt: skip
    write(folder / "sub/metadata.csv", "file_name,text", "c.png,shoe")
    with pytest.raises(DataError, match=r"sub: holds metadata\.csv and metadata\.jsonl; remove all but one"):
        load_corpus(folder)


FIVE = ["A dog runs .", "a dog is running", "A dog runs .", "Ein Hund läuft", "it runs!"]
JOINED = "A dog runs . a dog is running. Ein Hund läuft. it runs!"


def flickr(folder: Path) -> Path:
    """As Flickr8k is published: no header, pictures in a folder of their own."""
    paint(folder / "Flicker8k_Dataset/1_a.jpg", 10), paint(folder / "Flicker8k_Dataset/2_b.jpg", 200)
    rows = [f"1_a.jpg#{number}\t{caption}" for number, caption in enumerate(FIVE)]
    return write(folder / "Flickr8k.token.txt", *rows, "2_b.jpg#0\tA cat .", "gone.jpg#0\tA cow .")


def coco(folder: Path) -> Path:
    """As COCO is published: pictures and annotations apart, captions in any order."""
    paint(folder / "val2017/1_a.jpg", 10), paint(folder / "val2017/2_b.jpg", 200)
    images = [
        {"id": 7, "file_name": "1_a.jpg"},
        {"id": 9, "file_name": "2_b.jpg"},
        {"id": 3, "file_name": "gone.jpg"},
    ]
    said = [
        *((7, caption) for caption in FIVE[:2]),
        (9, "A cat ."),
        *((7, caption) for caption in FIVE[2:]),
        (3, "A cow ."),
    ]
    annotations = [{"image_id": id, "id": n, "caption": caption} for n, (id, caption) in enumerate(said)]
    (folder / "annotations").mkdir()
    return write(
        folder / "annotations/captions_val2017.json",
        json.dumps({"images": images, "annotations": annotations}),
    )


def kaggle(folder: Path) -> Path:
    paint(folder / "1_a.jpg", 10), paint(folder / "2_b.jpg", 200)
    rows = [f"1_a.jpg| {number}| {caption}" for number, caption in enumerate(FIVE)]
    return write(
        folder / "results.csv",
        "image_name| comment_number| comment",
        *rows,
        "2_b.jpg| 0| A cat .",
        "gone.jpg| 0| A cow .",
    )


@pytest.mark.parametrize("publish", [flickr, coco, kaggle])
@pytest.mark.parametrize("whole", [True, False])
def test_several_captions_are_one_pair(tmp_path, publish, whole):
    table = publish(tmp_path)
    place = tmp_path if whole else table
    corpus = load_corpus(place)
    assert [id.split("/")[-1] for id in corpus.ids] == ["1_a.jpg", "2_b.jpg"]
    assert corpus.texts == (JOINED, "A cat .") and "1 picture has several captions" in corpus.source
    *repeated, drop = corpus.dropped
    assert (drop.id.split("/")[-1], drop.reason) == ("gone.jpg", "missing-picture")
    # COCO's are no rows but a list for each picture.
    assert [item.reason for item in repeated] == ["repeated-row"] * (publish is not coco)
    assert load_corpus(place, captions="first").texts == (FIVE[0], "A cat .")
    drawn = load_corpus(place, captions="drawn").texts
    assert drawn[0] in FIVE and drawn == load_corpus(place, captions="drawn").texts


def test_captions_are_drawn_by_id_and_not_all_the_first(tmp_path):
    rows = []
    for number in range(12):
        paint(tmp_path / f"{number}.png", number)
        rows += [f"{number}.png,caption {caption}" for caption in range(5)]
    drawn = load_corpus(write(tmp_path / "t.csv", "image,caption", *rows), captions="drawn").texts
    assert len(set(drawn)) > 2


def test_coco_that_names_a_picture_it_lacks_is_refused(tmp_path):
    told = {"images": [], "annotations": [{"image_id": 5, "caption": "x"}]}
    with pytest.raises(DataError, match=r"t\.json: annotation 1 names the picture 5"):
        load_corpus(write(tmp_path / "t.json", json.dumps(told)))
    for content in ("{}", '{"images": [{"id": 1}], "annotations": []}', "{oops"):
        with pytest.raises(DataError, match=r"t\.json: holds no captions as COCO's"):
            load_corpus(write(tmp_path / "t.json", content))


def test_texts_beside_pictures(tmp_path):
    """Two levels, as img2dataset leaves files: a shard's folder, and a table of what could not be fetched."""
    for name in ("00000/000000000", "00000/000000001", "00001/000010000"):
        paint(tmp_path / f"{name}.jpg", int(name[-5:]) % 200)
        write(tmp_path / f"{name}.json", json.dumps({"caption": "x"}))
    write(tmp_path / "00000/000000000.txt", "a red  hat")
    write(tmp_path / "00001/000010000.txt", "a coat")
    write(tmp_path / "00000_stats.json", "{}")
    corpus = load_corpus(tmp_path)
    assert corpus.ids == ("00000/000000000.jpg", "00001/000010000.jpg")
    assert corpus.texts == ("a red hat", "a coat")
    assert [(drop.id, drop.reason) for drop in corpus.dropped] == [("00000/000000001.jpg", "empty-text")]


def test_webdataset(tmp_path, monkeypatch):
    import io
    import tarfile

    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    picture = paint(tmp_path / "x.png", 9).read_bytes()
    other = paint(tmp_path / "y.png", 99).read_bytes()
    (tmp_path / "shards").mkdir()
    for number, members in enumerate((
        [("0.png", picture), ("0.txt", b"a hat"), ("0.json", b'{"caption": "no"}'), ("../1.png", other), ("../1.txt", b"out")],
        [("a/2.JPG", other), ("a/2.json", b'{"caption": "a coat"}'), ("3.txt", b"no picture"), ("4.png", other)],
    )):  # fmt: skip
        with tarfile.open(tmp_path / f"shards/0000{number}.tar", "w") as archive:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    corpus = load_corpus(tmp_path / "shards")
    assert corpus.texts == ("a hat", "out", "a coat")
    assert corpus.ids == ("00000.tar/0.png", "00000.tar/../1.png", "00001.tar/a/2.jpg")
    assert [path.read_bytes() for path in corpus.images] == [picture, other, other]
    assert all(path.is_relative_to(tmp_path / "data") for path in corpus.images), "no name leads out of there"
    assert corpus.drop_counts() == {"missing-picture": 1, "empty-text": 1}
    assert load_corpus(tmp_path / "shards/00000.tar").texts == ("a hat", "out")
    (tmp_path / "shards/00001.tar").write_bytes(b"no tar")
    with pytest.raises(DataError, match=r"00001\.tar: not readable as a tar archive"):
        load_corpus(tmp_path / "shards")


def test_pictures_inside_parquet(folder, tmp_path, monkeypatch):
    """As Hugging Face's data sets have them, and img2dataset, too."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    a, b = ((folder / name).read_bytes() for name in ("a.png", "b.png"))
    images = [
        {"bytes": a, "path": "a.png"},
        {"bytes": b, "path": None},
        {"bytes": None, "path": "b.png"},
        None,
    ]
    texts = [["a hat", "hats"], ["a coat"], ["two coats"], ["nothing"]]
    pq.write_table(pa.table({"image": images, "captions": texts}), folder / "t.parquet")
    corpus = load_corpus(folder / "t.parquet")
    assert dict(zip(corpus.ids, corpus.texts, strict=True)) == {
        "a.png": "a hat. hats.", "t.parquet row 2": "a coat", "b.png": "two coats",
    }  # fmt: skip
    assert [path.read_bytes() for path in corpus.images] == [a, b, b]
    assert corpus.drop_counts() == {"missing-picture": 1}
    (tmp_path / "shards").mkdir()
    pq.write_table(
        pa.table({"jpg": [a, b], "caption": ["a hat", "a coat"]}), tmp_path / "shards/00000.parquet"
    )
    assert load_corpus(tmp_path / "shards").texts == ("a hat", "a coat")


@pytest.mark.parametrize("said", ["sep=;", '"sep=;"', "sep=;\r"])
def test_habits_of_spreadsheets(folder, said):
    table = write(
        folder / "t.csv", said, "Filepath;Text, in words;", "a.png;hat, red;", ";;", "b.png;coat;", ";;"
    )
    corpus = load_corpus(table, text_column="Text, in words")
    assert (corpus.ids, corpus.texts) == (("a.png", "b.png"), ("hat, red", "coat"))
    # Rows that were emptied are counted as any others.
    assert [(drop.id, drop.reason) for drop in corpus.dropped] == [
        ("t.csv row 4", "empty-text"),
        ("t.csv row 6", "empty-text"),
    ]
    write(table, said, "image;text", "a.png;hat", "b.png")
    with pytest.raises(DataError, match="row 4 has 1 fields"):
        load_corpus(table)


@pytest.mark.parametrize(
    "name", ["filepath", "file_path", "image_file_name", "photo_file_name", "Image_Name"]
)
def test_columns_by_other_usual_names(folder, name):
    assert load_corpus(write(folder / "t.csv", f"{name},caption", "a.png,hat")).ids == ("a.png",)


def test_pictures_in_another_folder_by_an_option_that_names_it(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    paint(elsewhere / "d.png", 1), paint(elsewhere / "e.png", 2), paint(tmp_path / "third.png", 3)
    (folder / "linked").symlink_to(elsewhere)
    table = write(
        folder / "t.csv", "image,text", "a.png,hat", "d.png,coat", "linked/e.png,shoe",
        f"{elsewhere / 'd.png'},belt", f"{tmp_path / 'third.png'},ring",
    )  # fmt: skip
    assert load_corpus(table).drop_counts() == {"missing-picture": 1, "outside-folder": 3}
    corpus = load_corpus(table, pictures=str(elsewhere))
    assert dict(zip(corpus.ids, corpus.texts, strict=True)) == {
        "a.png": "hat", "d.png": "coat. belt.", "linked/e.png": "shoe",
    }  # fmt: skip
    assert corpus.drop_counts() == {"outside-folder": 1}
    alone = write(folder / "alone.csv", "image,text", "linked/e.png,shoe")
    with pytest.raises(DataError, match=r"linked/e.png, lie outside .* as in alone.csv:pictures=FOLDER"):
        load_corpus(alone)


def test_a_list_of_records_is_no_captions(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"file_name": "a.png", "text": "a hat"}]')
    with pytest.raises(
        DataError, match="t.json: holds a list; a table in JSON has a row a line, in a file named .jsonl"
    ):
        load_corpus(tmp_path / "t.json")


def test_further_columns_are_kept_with_their_pairs(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    rows = [
        "file_name,text,year,who",
        "a.png,an owl,,Ana",
        "b.png,a fox,2001,",
        "a.png,the owl,1999,Ben",
        "c.png,a hen,,",
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    corpus = load_corpus(tmp_path / "t.csv", columns=("year", "who"))
    assert corpus.columns == {"year": ("1999", "2001", ""), "who": ("Ana", "", "")}, (
        "the first value of a picture"
    )
    assert corpus.without({"a.png": ("blurred", "")}).columns == {"year": ("2001", ""), "who": ("", "")}
    other = load_corpus(tmp_path / "t.csv", columns="year").without({"b.png": ("blurred", "")})
    assert corpus.without({"c.png": ("blurred", "")}).joined(other).columns == {
        "year": ("1999", "2001", ""),
        "who": ("Ana", "", ""),
    }
    assert corpus.fingerprint == load_corpus(tmp_path / "t.csv").fingerprint, "no result depends on them"
    with pytest.raises(ConfigError, match="no column 'jear'; its columns are file_name, text, year, who"):
        load_corpus(tmp_path / "t.csv", columns=("jear",))


@pytest.mark.parametrize(
    ("values", "labels", "unit"),
    [
        (["2019", "2020-03", "13/02/2021", "02/03/2021"], ["2019", "2020", "2021", "2021"], "year"),
        (["2021:03:04 10:11:12", "2021-01-31T23:59+02:00", None], ["2021-03", "2021-01", ""], "month"),
        (["2019-01-31", "2021-12-01", "soon"], ["2019-01", "2021-12", ""], "month"),
        (["2019-01-31", "2022-01-01", "nan"], ["2019", "2022", ""], "year"),
        (["2019.0", "nan", "2020.0"], ["2019", "", "2020"], "year"),
        (["2019.05", "2020.12"], ["2019-05", "2020-12"], "month"),
        (["12/31/2021", "01/02/2021", "3.3.2021"], ["2021-12", "2021-01", "2021-03"], "month"),
        (["5/5/2021", datetime.date(2021, 6, 1)], ["2021-05", "2021-06"], "month"),
        (["2021-02-30", "31.4.2021", "2021-02-28"], ["2021-02-30", "31.4.2021", "2021-02-28"], "group"),
        (["9999", "0815", "4711"], ["9999", "0815", "4711"], "group"),
        ([3, " a  b ", ""], ["3", "a b", ""], "group"),
        ([], [], "group"),
    ],
)
def test_dates_are_read_in_each_form_and_other_values_stay(values, labels, unit):
    assert periods(values) == (labels, unit)


def test_dates_that_can_be_read_in_two_ways_are_refused():
    with pytest.raises(DataError, match="'01/02/2021': which is the day"):
        periods(["01/02/2021", "05/05/2021"])


def test_pictures_alone_need_no_texts(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "dates.csv").write_text("file_name,date\na.png,2021\ngone.png,2022\n", encoding="utf-8")
    corpus = load_corpus(tmp_path / "dates.csv", captions="none", columns="date")
    assert (corpus.ids, corpus.texts, corpus.columns["date"]) == (("a.png",), ("",), ("2021",))
    assert corpus.drop_counts() == {"missing-picture": 1}
