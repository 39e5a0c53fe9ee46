"""The page on how real tools behave: every row has a test, here or elsewhere, that the tool does what it says."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (.+?) \| .+? \| .+? \|$", re.MULTILINE)
# What is tested beside vtm's own way with it.
ELSEWHERE = {
    **dict.fromkeys(
        ("darktable 4.2, sidecars", "darktable 4.2, IPTC", "darktable 4.2, keywords"),
        "torture/programs.py::test_darktable_takes_the_sidecar_and_in_it_the_tree",
    ),
    "darktable 4.2, levels": "torture/programs.py::test_what_darktable_saves_afterwards_has_all_and_untag_leaves_the_owners",
    **dict.fromkeys(
        ("digiKam 7.9", "digiKam 7.9, names"), "torture/programs.py::test_digikam_takes_the_first_list"
    ),
    "Pillow 13, camera files": "corpora/test_pictures.py::test_of_a_cameras_raw_file_the_preview_is_taken_and_turned",
    "rawpy 0.28": "corpora/test_pictures.py::test_of_a_cameras_raw_file_the_preview_is_taken_and_turned",
    "pi-heif 1.4": "corpora/test_pictures.py::test_a_telephones_heic_is_read_upright",
    "spreadsheets": "cli/test_rows.py::test_a_spreadsheet_computes_nothing_and_the_file_is_still_named",
    "sentence-transformers 6.2": "encoders/test_sentence.py::test_a_model_that_lost_the_list_of_its_parts_is_refused",
}


def pillow_decodes_a_png_for_its_exif(folder: Path) -> None:
    Image.new("RGB", (2000, 2000)).save(folder / "a.png")
    cut = (folder / "a.png").read_bytes()[:200]
    with Image.open(io.BytesIO(cut)) as image:
        assert image.size == (2000, 2000)
        with pytest.raises(OSError, match="truncated"):
            image.getexif()


def exiftool_prints_a_thousand_keywords(folder: Path) -> None:
    if not shutil.which("exiftool"):
        pytest.skip("no exiftool: apt-get install libimage-exiftool-perl")
    words = "".join(f"<rdf:li>w{number}</rdf:li>" for number in range(1200))
    (folder / "a.xmp").write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag>'
        f"{words}</rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    asked = ["exiftool", "-s3", "-sep", ",", "-XMP-dc:Subject", folder / "a.xmp"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert len(done.stdout.split(",")) == 1000


SUBJECT = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Seq><rdf:li>sea</rdf:li>'
    "</rdf:Seq></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def exiv2(*told: str | Path) -> str:
    if not shutil.which("exiv2"):
        pytest.skip("no exiv2: apt-get install exiv2")
    return subprocess.run(["exiv2", *map(str, told)], capture_output=True, text=True).stdout


def exiv2_sets_by_adding(folder: Path) -> None:
    from vtm.corpora.keywords import read_keywords, replace_keywords

    (folder / "a.xmp").write_text(SUBJECT)
    (folder / "b.xmp").write_bytes(replace_keywords(SUBJECT.encode(), ["boat"]))
    exiv2("-M", "set Xmp.dc.subject moon", folder / "a.xmp", folder / "b.xmp")
    plain, tagged = ((folder / name).read_bytes() for name in ("a.xmp", "b.xmp"))
    assert read_keywords(plain)["subject"] == ["sea", "moon"] and b"rdf:Seq" not in plain
    assert read_keywords(tagged)["subject"] == ["sea", "boat", "moon"]
    assert read_keywords(replace_keywords(tagged, [])) == {"subject": ["sea", "moon"]}


def exiv2_takes_no_comment_first(folder: Path) -> None:
    (folder / "a.xmp").write_text(SUBJECT)
    (folder / "b.xmp").write_text(f"<!-- by hand -->\n{SUBJECT}")
    assert "sea" in exiv2("-q", "-PXkv", folder / "a.xmp")
    assert exiv2("-q", "-PXkv", folder / "b.xmp") == ""


def safetensors_shuffles_what_was_turned(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    turned = np.arange(6.0).reshape(2, 3).T
    save_file({"x": turned}, folder / "x")
    read = load_file(folder / "x")["x"]
    assert read.shape == (3, 2) and not np.array_equal(read, turned)


def safetensors_orders_metadata_at_random(folder: Path) -> None:
    from safetensors.numpy import save

    metadata = {name: name for name in "abcdefgh"}
    assert len({save({"x": np.zeros(1)}, metadata) for _ in range(30)}) > 1


def csv_has_a_limit(folder: Path) -> None:
    before = csv.field_size_limit(131_072)  # as it is when Python starts
    try:
        with pytest.raises(csv.Error, match="field larger than field limit"):
            list(csv.reader(["x" * 131_073]))
    finally:
        csv.field_size_limit(before)


def papermill_turns_tuples_into_text(folder: Path) -> None:
    from papermill.translators import PythonTranslator

    assert PythonTranslator.translate([60, 120]) == "[60, 120]"
    assert PythonTranslator.translate((60, 120)) == '"(60, 120)"'


def a_clone_of_a_frozen_estimator_is_the_original(folder: Path) -> None:
    from sklearn.base import clone
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.arange(8.0).reshape(4, 2)
    original = StandardScaler().fit(x)
    clone(FrozenEstimator(original)).set_output(transform="pandas")
    assert type(original.transform(x)).__name__ == "DataFrame"

    from vtm import VisualTopicModel

    with pytest.raises(ValueError, match="Unable to configure output"):
        make_pipeline(FrozenEstimator(VisualTopicModel())).set_output(transform="pandas")


def words_of_one_character_are_dropped(folder: Path) -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    assert CountVectorizer().build_analyzer()("犬 と 散歩") == ["散歩"]


def things_are_stop_words(folder: Path) -> None:
    import stopwordsiso

    assert {"man", "face", "fire", "home"} <= stopwordsiso.stopwords("en")


def reciprocal_ranks_break_ties_in_opposite_ways(folder: Path) -> None:
    import ir_measures
    from ir_measures import RR

    run = [ir_measures.ScoredDoc("query", doc, 1.0) for doc in "abc"]
    got = ir_measures.calc_aggregate([RR, RR @ 100], [ir_measures.Qrel("query", "a", 1)], run)
    assert (got[RR], got[RR @ 100]) == (pytest.approx(1 / 3), 1)


def scores_are_compared_in_single_precision(folder: Path) -> None:
    import pytrec_eval

    evaluator = pytrec_eval.RelevanceEvaluator({"query": {"b": 1}}, {"recip_rank"})
    found = [evaluator.evaluate({"query": {"a": 1 + lead, "b": 1.0}})["query"] for lead in (1e-6, 1e-9)]
    assert [each["recip_rank"] for each in found] == [0.5, 1.0]


HERE: dict[str, Callable[[Path], None]] = {
    "Pillow 13, `getexif`": pillow_decodes_a_png_for_its_exif,
    "exiftool 12": exiftool_prints_a_thousand_keywords,
    "exiv2 0.27": exiv2_sets_by_adding,
    "exiv2 0.27, comments": exiv2_takes_no_comment_first,
    "safetensors 0.8, NumPy": safetensors_shuffles_what_was_turned,
    "safetensors 0.8, metadata": safetensors_orders_metadata_at_random,
    "Python 3, `csv`": csv_has_a_limit,
    "papermill 2.7": papermill_turns_tuples_into_text,
    "scikit-learn 1.9, `FrozenEstimator`": a_clone_of_a_frozen_estimator_is_the_original,
    "scikit-learn 1.9, `CountVectorizer`": words_of_one_character_are_dropped,
    "stopwordsiso 0.7": things_are_stop_words,
    "ir-measures 0.4": reciprocal_ranks_break_ties_in_opposite_ways,
    "pytrec_eval 0.5": scores_are_compared_in_single_precision,
}


def test_every_row_has_its_test() -> None:
    page = (ROOT / "book" / "tools.md").read_text(encoding="utf-8")
    rows = [row for row in ROW.findall(page) if row != "Tool"]
    assert len(rows) == len(set(rows)) and set(rows) == {*HERE, *ELSEWHERE}
    for place in ELSEWHERE.values():
        file, _, name = place.partition("::")
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), place


@pytest.mark.parametrize("row", HERE)
def test_the_tool_does_what_the_row_says(row: str, tmp_path: Path) -> None:
    HERE[row](tmp_path)
