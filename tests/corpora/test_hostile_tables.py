"""Bad tables, texts and embeddings end in one clear line or a right result; findings of the fuzzer stay found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fuzz_findings import FINDINGS, small_model, small_result
from hostile_tables import (
    INPUTS,
    TABLES,
    TEXTS,
    Input,
    Table,
    check_input,
    check_table,
    parquet,
    prepared,
    table_of,
    write_pictures,
)
from rights import not_root

from vtm.corpora import load_corpus
from vtm.errors import ConfigError, DataError
from vtm.files import load_arrays, read_json
from vtm.newsimages.corpus import MAX_BYTES, read_ground_truth
from vtm.newsimages.task import read_run


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))


@pytest.mark.parametrize("case", TABLES, ids=lambda case: case.name)
def test_table(case: Table, tmp_path):
    check_table(case, tmp_path)


@pytest.mark.parametrize("case", INPUTS, ids=lambda case: case.name)
def test_input(case: Input, tmp_path):
    check_input(case, tmp_path)


@pytest.mark.parametrize("case", FINDINGS, ids=lambda case: case.name)
def test_finding_of_the_fuzzer(case: Input, tmp_path):
    check_input(case, tmp_path)


def test_what_the_findings_are_edits_of_is_good(tmp_path):
    from vtm.experiment.results import Result
    from vtm.model.topicmodel import TopicModel

    model = TopicModel.load(small_model(tmp_path))
    assert model.theta(np.ones((2, 3), dtype=np.float32)).shape == (2, 2)
    assert Result.load(small_result(tmp_path), "k").ranks().tolist() == [2, 2]


@pytest.mark.parametrize("column", ["2019", "007", "0", "00"])
def test_a_column_of_digits_comes_through_the_experiment(tmp_path, column):
    """Found by the fuzzer: 007 was read as the number 7."""
    from vtm.config import from_parameters

    write_pictures(tmp_path)
    (tmp_path / "t.csv").write_text(f"image,{column},7\na.png,hat,coat\n", encoding="utf-8")
    experiment = from_parameters({"corpus": f"{tmp_path / 't.csv'}:text_column={column}"})
    assert load_corpus(experiment.corpus_name, **experiment.corpus_options).texts == ("hat",)
    scenes = from_parameters({"corpus": "scenes:n=6,seed=0"})
    assert len(load_corpus(scenes.corpus_name, **scenes.corpus_options)) == 6


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"corpus": "scenes:name_or_path=x"}, "no option 'name_or_path'"),
        ({"encoder": "pixels:name=x"}, "no option 'name'"),
        ({"encoder": "pixels:device=cpu"}, "device is a parameter of its own"),
        ({"encoder": "offline:image_size=0112"}, "image_size '0112'"),
    ],
)
def test_an_option_named_like_a_parameter_is_refused(parameters, message):
    """Found by the fuzzer: Python took such a name for its own argument."""
    from vtm.config import from_parameters
    from vtm.experiment.prepare import prepare

    with pytest.raises(ConfigError, match=message):
        prepare(from_parameters({"corpus": "scenes:n=20", "encoder": "pixels"} | parameters), progress=False)


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "x/" * 3000, "~nobody-of-this-name/t.csv"])
def test_a_name_that_no_file_can_have_is_one_clear_line(name):
    """Found by the fuzzer: asking whether there is such a file was an error."""
    with pytest.raises(DataError, match="is not a corpus, and cannot be read as a file") as raised:
        load_corpus(name)
    assert len(str(raised.value).splitlines()) == 1


def test_an_encoder_may_be_told_the_language(monkeypatch):
    """As in clip:language=de, whatever the corpus' own."""
    from vtm.config import from_parameters
    from vtm.encoders import pixels
    from vtm.experiment.prepare import prepare

    asked = []
    load = pixels.load

    def with_language(*, device: str, language: str = "en"):
        asked.append(language)
        return load(device=device)

    monkeypatch.setattr(pixels, "load", with_language)
    for encoder in ("pixels", "pixels:language=de"):
        prepare(from_parameters({"corpus": "scenes:n=60", "encoder": encoder, "min_df": 1}), progress=False)
    assert asked == ["en", "de"]


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"t\.csv: is no regular file"):
        load_corpus(tmp_path / "t.csv")
    for read in (read_run, read_ground_truth, read_json, load_arrays):
        with pytest.raises(DataError, match=r"t\.csv: is no regular file"):
            read(tmp_path / "t.csv")


@pytest.mark.parametrize("read", [read_run, read_ground_truth])
def test_a_file_without_end_is_not_read(tmp_path, read):
    with pytest.raises(DataError, match="/dev/zero: is no regular file"):
        read("/dev/zero")
    sparse = tmp_path / "run.tsv"
    with open(sparse, "wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(DataError, match=r"run\.tsv: is larger than 200 MB"):
        read(sparse)


def test_a_picture_without_permission_is_dropped(tmp_path, monkeypatch):
    table = table_of(tmp_path, ["hat", "coat"])
    monkeypatch.chdir(tmp_path)  # the folders above are closed to the other user
    tmp_path.chmod(0o755)
    Path("1.png").chmod(0)
    with not_root():
        corpus = load_corpus(table.name)
    assert corpus.ids == ("0.png",) and corpus.drop_counts() == {"no-permission": 1}
    assert corpus.dropped[0].detail == "corpus.csv row 3: 1.png"


def test_a_file_without_permission_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    for name in ("t.csv", "t.jsonl", "t.parquet", "run.tsv"):
        Path(name).write_text("x\n", encoding="utf-8")
        Path(name).chmod(0)
    with not_root():
        for name in ("t.csv", "t.jsonl", "t.parquet"):
            with pytest.raises(DataError, match=rf"{name}: .*Permission denied"):
                load_corpus(name)
        for read in (read_run, read_ground_truth):
            with pytest.raises(DataError, match=r"run\.tsv: cannot be read \(Permission denied\)"):
                read("run.tsv")


def test_news_header_that_names_a_column_twice_is_refused(tmp_path):
    path = tmp_path / "gt.tsv"
    path.write_text("article\tiid\tiid\n5\t1\t2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"gt\.tsv: two columns 'iid'"):
        read_ground_truth(path)


def test_embeddings_of_other_ids_are_refused(tmp_path, monkeypatch):
    def in_another_order(*given, **options):
        image, kept, bad = embed_images(*given, **options)
        return image, (*kept[1:], kept[0]), bad

    from vtm.encoders import embed_images

    monkeypatch.setattr("vtm.experiment.prepare.embed_images", in_another_order)
    with pytest.raises(DataError, match="embeddings and ids do not agree"):
        prepared(tmp_path, TEXTS * 2)


@pytest.mark.parametrize("id", ["250\u00b9", "\u0662\u0660", "1_0", "+1", "1.0", ""])
def test_ground_truth_takes_ascii_digits_alone(tmp_path, id):
    """Found by the fuzzer: a superscript is a digit to Python, and no id of the task."""
    path = tmp_path / "gt.tsv"
    path.write_text(f"article\tiid\n5\t1\n{id}\t7\n", encoding="utf-8")
    with pytest.raises(DataError, match="row 3"):
        read_ground_truth(path)


def test_parquet_text_that_is_not_utf8_is_refused(tmp_path):
    """Found by the fuzzer: Parquet's texts are only decoded when they are asked for."""
    import pyarrow
    import pyarrow.parquet

    write_pictures(tmp_path)
    wrong = pyarrow.Array.from_buffers(
        pyarrow.string(),
        1,
        [None, pyarrow.py_buffer(np.array([0, 2], np.int32)), pyarrow.py_buffer(b"\xff\xfe")],
    )
    pyarrow.parquet.write_table(
        pyarrow.table({"image": pyarrow.array(["a.png"]), "text": wrong}), tmp_path / "t.parquet"
    )
    with pytest.raises(DataError, match=r"t\.parquet: column 'text' holds what cannot be read"):
        load_corpus(tmp_path / "t.parquet")


@pytest.mark.parametrize("kind", ["date", "duration", "time zone"])
def test_parquet_values_that_python_has_none_for(tmp_path, kind):
    import pyarrow as pa
    import pyarrow.parquet

    odd = {
        "date": pa.array([2**30, None], pa.date32()),
        "duration": pa.array([2**62, None], pa.duration("s")),
        "time zone": pa.array([0, None], pa.timestamp("s", tz="Mars/Olympus")),
    }[kind]
    write_pictures(tmp_path)
    columns = {"image": ["a.png", "b.png"], "text": ["hat", "coat"], "a.taken": odd}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert load_corpus(tmp_path / "t.parquet").texts == ("hat", "coat")
    for option in ("text_column", "group_column"):
        with pytest.raises(DataError, match=r"t\.parquet: column 'a\.taken' holds what cannot be read"):
            load_corpus(tmp_path / "t.parquet", **{option: "a.taken"})


def test_parquet_columns_that_are_not_used_are_not_read(tmp_path, monkeypatch):
    """A column of pictures' bytes may be larger than the memory."""
    import pyarrow.parquet

    read, seen = pyarrow.parquet.read_table, []
    monkeypatch.setattr(pyarrow.parquet, "read_table", lambda *a, **o: seen.append(t := read(*a, **o)) or t)
    write_pictures(tmp_path)
    (tmp_path / "t.parquet").write_bytes(
        parquet({"image": ["a.png"], "text": ["hat"], "bytes": [b"1"], "n.o": [3], "price": [2.5]})
    )
    corpus = load_corpus(tmp_path / "t.parquet", group_column="n.o")
    assert corpus.texts == ("hat",) and corpus.groups == ("3",)
    assert [table.column_names for table in seen] == [["image", "text", "n.o"]]
