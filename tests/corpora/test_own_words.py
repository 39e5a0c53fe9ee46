"""What people wrote into their pictures is read where photo programs put it, and what vtm wrote is not."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from vtm.cli import app
from vtm.corpora import load_corpus
from vtm.corpora.keywords import read_own_words, sidecar_path, write_original, write_sidecar
from vtm.errors import DataError

SPACES = (
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:digiKam="http://www.digikam.org/ns/1.0/"'
)


def xmp(inside: str) -> str:
    return f'<rdf:RDF {SPACES}><rdf:Description rdf:about="">{inside}</rdf:Description></rdf:RDF>'


def bag(name: str, *values: str, kind: str = "Bag") -> str:
    return f"<{name}><rdf:{kind}>{''.join(f'<rdf:li>{value}</rdf:li>' for value in values)}</rdf:{kind}></{name}>"


def alt(name: str, **values: str) -> str:
    said = "".join(
        f'<rdf:li xml:lang="{code.replace("_", "-")}">{text}</rdf:li>' for code, text in values.items()
    )
    return f"<{name}><rdf:Alt>{said}</rdf:Alt></{name}>"


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "photos" / "IMG_1.jpg"
    path.parent.mkdir()
    Image.new("RGB", (16, 16), "navy").save(path)
    return path


def test_a_sidecar_of_each_name_and_the_languages_of_a_caption(picture):
    sidecar_path(picture).write_text(
        xmp(
            alt("dc:description", x_default="A boat &amp; the sea", de_DE="Ein Boot und das Meer")
            + alt("dc:title", x_default="img_1")  # the file's name says nothing
            + bag("dc:subject", "boat", "sea")
            + bag("lr:hierarchicalSubject", "Places|Brittany", "boat")
            + bag(
                "digiKam:TagsList", "_Digikam_Internal_Tags_/Color Label None", "Places/Brittany", kind="Seq"
            )
        )
    )
    sidecar_path(picture, basename=True).write_text(xmp(bag("dc:subject", "holiday")))
    found = read_own_words(picture)
    assert found.captions == ("A boat & the sea",)
    assert set(found.keywords) == {"boat", "sea", "Places", "Brittany", "holiday"}
    assert found.where == ("captions in sidecars", "keywords in sidecars")
    assert read_own_words(picture, language="de").captions == ("Ein Boot und das Meer",)
    assert read_own_words(picture, language="fr,de").captions == ("Ein Boot und das Meer",)
    assert read_own_words(picture, language="fr").captions == ("A boat & the sea",)


def test_what_vtm_wrote_is_left_out_also_where_another_program_copied_it(picture):
    with Image.open(picture) as image:
        exif = Image.Exif()
        exif[0x010E] = "A lighthouse"
        # Windows' keywords: the owner's, and one that a program copied from vtm's.
        exif[0x9C9E] = "coast;boat\0".encode("utf-16-le")
        image.save(picture, exif=exif)
    plain = read_own_words(picture)
    assert (plain.captions, plain.keywords) == (("A lighthouse",), ("coast", "boat"))
    write_original(picture, ["ship", "coast"], [["vtm", "ship"]])
    write_sidecar(picture, ["ship", "moon"])
    assert read_own_words(picture) == plain
    exif[0x9C9E] = "coast;ship;boat\0".encode("utf-16-le")
    with Image.open(picture) as image:
        packet = image.info["xmp"]
        image.save(picture, exif=exif, xmp=packet)
    assert read_own_words(picture).keywords == (
        "coast",
        "boat",
    )  # boat stands in the XMP that began with Windows' words


def test_cameras_are_not_quoted_and_what_cannot_be_read_is_counted(picture):
    exif = Image.Exif()
    exif[0x010E] = "OLYMPUS DIGITAL CAMERA         "
    with Image.open(picture) as image:
        image.save(picture, exif=exif)
    assert read_own_words(picture).where == ()
    sidecar_path(picture).write_text("no XMP")
    with Image.open(picture) as image:
        image.save(picture, exif=exif, xmp=b"<rdf:RDF")
    assert read_own_words(picture).where == (
        "sidecars that cannot be read",
        "pictures' XMP that cannot be read",
    )
    picture.write_bytes(b"no picture")
    assert read_own_words(picture).where == ("sidecars that cannot be read",)


def folder_of(tmp_path: Path, n: int = 8) -> Path:
    """Drawn scenes whose captions stand in each of the places in turn; two pictures say nothing."""
    folder = tmp_path / "photos"
    (folder / "@eaDir").mkdir(parents=True)
    scenes = load_corpus("scenes", n=120)
    for number in range(n):
        text = scenes.texts[number].replace("&", "and")
        with Image.open(scenes.images[number]) as scene:
            path, exif = folder / f"{number}.jpg", Image.Exif()
            if number % 4 == 0:
                exif[0x010E] = text
            scene.convert("RGB").save(
                path,
                exif=exif,
                **({"xmp": xmp(alt("dc:description", x_default=text)).encode()} if number % 4 == 1 else {}),
            )
        if number % 4 == 2:
            sidecar_path(path).write_text(xmp(bag("dc:subject", *text.rstrip(".").split(" "))))
    shutil.copy(folder / "0.jpg", folder / "@eaDir" / "0.jpg")
    return folder


def test_a_folder_without_a_table_is_trained_on(tmp_path, monkeypatch):
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    folder = folder_of(tmp_path, 12)
    corpus, scenes = load_corpus(str(folder)), load_corpus("scenes", n=120)
    assert corpus.ids == tuple(f"{n}.jpg" for n in (0, 1, 10, 2, 4, 5, 6, 8, 9))
    words = {
        id: set(text.lower().replace(",", " ").replace(".", " ").split())
        for id, text in zip(corpus.ids, corpus.texts, strict=True)
    }
    for id, found in words.items():
        assert found == set(scenes.texts[int(id[:-4])].lower().replace(",", " ").replace(".", " ").split())
    assert corpus.drop_counts() == {"program": 1, "no-words": 3}
    assert dict(corpus.found) == {
        "captions in Exif": 3,
        "captions in pictures' XMP": 3,
        "keywords in sidecars": 3,
    }
    out = ["-o", str(tmp_path / "m"), "--n-topics", "2", "--encoder", "pixels", "--min-df", "1"]
    done = CliRunner().invoke(app, ["train", str(folder), *out])
    assert done.exit_code == 0, done.output
    for line in (
        "words found                of 9 pictures",
        "  captions in Exif              3",
        "  no-words                      3  such as 11.jpg",
    ):
        assert line in done.stdout
    tagged = CliRunner().invoke(
        app, ["tag", str(tmp_path / "m"), str(folder), "--min-confidence", "0", "--write-sidecars"]
    )
    assert tagged.exit_code == 0 and re.search(r"1[0-2] sidecars written", tagged.stderr), tagged.stderr
    again = load_corpus(str(folder))  # vtm does not learn from itself
    assert (again.ids, again.texts, again.found) == (corpus.ids, corpus.texts, corpus.found)
    explored = CliRunner().invoke(app, ["corpus", str(folder)])
    assert "source                     the words in the pictures of photos\nwords found" in explored.stdout


def test_too_few_pictures_with_words_are_told_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    done = CliRunner().invoke(app, ["train", str(folder_of(tmp_path, 4)), "-o", str(tmp_path / "m")])
    (line,) = done.stderr.splitlines()
    assert done.exit_code == 2 and done.stdout == ""
    assert (
        "3 of 4 pictures have captions or keywords in them or their sidecars, and at least 4 are needed"
        in line
    )
    assert line.endswith("write more, or a table with the columns file_name and text")


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not on the PATH")
@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "avif"])
def test_other_formats_are_read_as_well(tmp_path, suffix):
    picture = tmp_path / f"a.{suffix}"
    Image.new("RGB", (32, 32), "navy").save(picture)
    told = ["-XMP-dc:Description=A market", "-XMP-dc:Subject=cheese", "-EXIF:ImageDescription=Stalls"]
    subprocess.run(["exiftool", "-q", "-overwrite_original", *told, str(picture)], check=True)
    found = read_own_words(picture)
    assert (found.captions, found.keywords) == (("A market", "Stalls"), ("cheese",))


def test_a_folder_in_which_nobody_wrote_is_refused_with_the_remedy(tmp_path, picture):
    with pytest.raises(
        DataError,
        match=r"none of its 1 picture has a caption or keywords in it or its sidecar; write a table",
    ):
        load_corpus(str(picture.parent))
    write_sidecar(picture, ["ship"])
    done = CliRunner().invoke(app, ["train", str(picture.parent), "-o", str(tmp_path / "m")])
    assert (
        done.exit_code == 2 and len(done.stderr.splitlines()) == 1 and "none of its 1 picture" in done.stderr
    )


@pytest.mark.parametrize("program", ["exiftool", "exiv2"])
def test_what_other_programs_write_is_found(picture, program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on the PATH")
    if program == "exiftool":
        told = [
            "-q",
            "-overwrite_original",
            "-codedcharacterset=utf8",
            "-IPTC:Keywords=Käse",
            "-IPTC:Caption-Abstract=A market",
        ]
        told += [
            "-EXIF:ImageDescription=Stalls",
            "-XMP-dc:Title=Saturday",
            "-XMP-dc:Subject=cheese",
            "-XMP-lr:HierarchicalSubject=Food|Cheese",
        ]
        subprocess.run(["exiftool", *told, str(picture)], check=True)
        expected = {"A market", "Saturday"}, {"Käse", "cheese", "Food", "Cheese"}
        where = {
            "captions in IPTC",
            "keywords in IPTC",
            "captions in pictures' XMP",
            "keywords in pictures' XMP",
        }
    else:
        told = [
            "-M",
            "set Xmp.dc.description lang=en-GB A market",
            "-M",
            "set Exif.Image.ImageDescription Stalls",
            "-M",
            "set Iptc.Application2.Keywords String brie",
        ]
        subprocess.run(["exiv2", *told, str(picture)], check=True)
        expected = {"A market", "Stalls"}, {"brie"}
        where = {"captions in Exif", "captions in pictures' XMP", "keywords in IPTC"}
    found = read_own_words(picture)
    assert ({*found.captions}, {*found.keywords}, {*found.where}) == (*expected, where)
