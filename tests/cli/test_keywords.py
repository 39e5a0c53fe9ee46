"""A guest in other people's keywords: whoever reads a picture sees what it saw before, and afterwards the same again."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest
from lxml import etree
from malformed_pictures import SCENE, encoded
from PIL import Image
from test_originals import in_jpeg, segment
from test_sidecars import DARKTABLE

from vtm.corpora.keywords import (
    read_xmp,
    remove_keywords,
    replace_keywords,
    sidecar_path,
    with_xmp,
    write_original,
    write_sidecar,
)
from vtm.errors import DataError

SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/",
    "acdsee": "http://ns.acdsee.com/iptc/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}
DECLARED = "".join(f' xmlns:{prefix}="{space}"' for prefix, space in SPACES.items())
# As digiKam 7.9 looks for them, the first that is there.
TREES = (
    "digiKam:TagsList",
    "MicrosoftPhoto:LastKeywordXMP",
    "lr:hierarchicalSubject",
    "mediapro:CatalogSets",
)
WORDS = ("sea", "Anniversary", "Käse & Brot", "boat", "<3", "two words", "a, b", "鷗", "moon")
RECORD = b"urn:visual-topic-modelling:keywords/"
BOAT = ["boat", "sea"], [["vtm", "boat moon", "boat"], ["vtm", "boat moon", "sea"]]


def packet(properties: str, attributes: str = "", around: str = "%s") -> bytes:
    rdf = f"<rdf:RDF{DECLARED}>\n <rdf:Description rdf:about=''{attributes}>{properties}</rdf:Description>\n</rdf:RDF>"
    return (around % f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>').encode()


def some_packet(draw: random.Random) -> bytes:
    """Keywords of an owner, in some of the lists and in whichever form programs have been seen to write them."""
    properties, attributes = ["<xmp:Rating>4</xmp:Rating>"], ""
    line = draw.choice(["", "\n   ", "\r\n\t"])
    for name in draw.sample([*TREES, "dc:subject"], 5):
        if draw.random() < 0.45:
            continue
        bar = "/" if name in TREES[:2] else "|"
        values = draw.sample(WORDS, draw.randint(0, 3))
        if name != "dc:subject":
            values = [value.replace("/", "") for value in values]
            values = [
                bar.join([*draw.sample(["Places", "Trips", "sea"], draw.randint(0, 2)), v]) for v in values
            ]
        form = draw.choice(["Bag", "Bag", "Seq", "Alt", "one line", "text", "attribute"])
        if form == "text" and len(values) < 2:
            properties.append(f"<{name}>{escape(''.join(values))}</{name}>" if values else f"<{name}/>")
        elif form == "attribute" and len(values) < 2:
            attributes += f"\n  {name}={quoteattr(''.join(values))}"
        else:
            bag = form if form in ("Bag", "Seq", "Alt") else "Bag"
            language = ' xml:lang="x-default"' if bag == "Alt" and len(values) == 1 else ""
            inner = "" if form == "one line" else line
            items = "".join(f"{inner}<rdf:li{language}>{escape(value)}</rdf:li>" for value in values)
            content = f"<rdf:{bag}>{items}{inner}</rdf:{bag}>" if items else f"<rdf:{bag}/>"
            properties.append(f"<{name}>{inner}{content}{inner}</{name}>")
    if draw.random() < 0.3:
        categories = '<Categories><Category Assigned="0">Trips<Category Assigned="1">Coast</Category></Category></Categories>'
        attributes += f" acdsee:categories={quoteattr(categories)}"
    draw.shuffle(properties)
    return packet(
        line.join(["", *properties, ""]), attributes, draw.choice(["%s", "\ufeff%s", "<!-- a -->\n%s\n \n"])
    )


def lists(xmp: bytes) -> dict[str, list[str]]:
    """What stands in the lists of an XMP, by lxml."""
    found = {}
    for description in etree.fromstring(xmp).iterfind(".//rdf:RDF/rdf:Description", SPACES):
        for name in [*TREES, "dc:subject"]:
            prefix, local = name.split(":")
            tag = f"{{{SPACES[prefix]}}}{local}"
            values = [description.get(tag, "")]
            for element in description.iterfind(tag):
                items = element.findall("*/rdf:li", SPACES)
                values += [item.text or "" for item in items] if len(element) else [element.text or ""]
            found[name] = found.get(name, []) + [value for value in values if value.strip()]
        for text in description.xpath("@acdsee:categories", namespaces=SPACES):
            assigned = etree.fromstring(text).iterfind(".//Category[@Assigned='1']")
            found["acdsee"] = [
                "|".join([*(one.text for one in reversed([*node.iterancestors("Category")])), node.text])
                for node in assigned
            ]
    return found


def by_darktable(xmp: bytes) -> list[str]:
    found = lists(xmp)
    return found["lr:hierarchicalSubject"] or found["dc:subject"]


def by_digikam(xmp: bytes) -> list[str]:
    found = lists(xmp)
    first = next((found[name] for name in (*TREES, "acdsee", "dc:subject") if found.get(name)), [])
    return [value.replace("/", "|") for value in first]


def by_lightroom(xmp: bytes) -> list[str]:
    found = lists(xmp)
    return found["lr:hierarchicalSubject"] + found["dc:subject"]


def ends(values: Iterable[str]) -> set[str]:
    return {value.replace("/", "|").rpartition("|")[2] for value in values}


READERS = (by_darktable, by_digikam, by_lightroom, lambda xmp: lists(xmp)["dc:subject"])


def rewritten(xmp: bytes) -> bytes:
    """The same XMP as another program writes it that keeps what it does not know."""
    return etree.tostring(etree.fromstring(xmp), encoding="utf-8", xml_declaration=True)


@pytest.mark.parametrize("seed", range(120))
def test_tag_retag_and_untag_lose_nothing_of_any_mixture_of_lists(seed):
    draw = random.Random(seed)
    before = some_packet(draw)
    words = draw.sample([*WORDS, "harbour", "sledge"], 3)
    first = replace_keywords(before, words, [["vtm", draw.choice(["sea", "boat moon"]), words[0]]])
    second = replace_keywords(first, ["wave"])
    everything = ends(value for values in lists(before).values() for value in values)
    for reader in READERS:
        told, after, again = reader(before), reader(first), reader(second)
        # A flat keyword that is at the end of a path, too, is told by the path.
        assert ends(told) <= ends(after) and ends(told) <= ends(again)
        assert {path for path in told if "|" in path} <= {*after} & {*again}
        assert set(words) <= ends(after), "a reader that does not see our keywords"
        assert ends(again) - {"wave"} <= everything, "keywords of the earlier time are left"
    kept = lists(before)
    for name, values in lists(first).items():
        if kept.get(name):
            assert len(values) > len(kept[name]), f"{name} is not kept in step"
    assert replace_keywords(first, words, [["vtm", "x", words[0]]]) != before
    assert replace_keywords(second, []) == before == replace_keywords(first, [])
    # Where another program wrote since, the bytes are its own, and what readers see is the owner's.
    undone = replace_keywords(rewritten(first), [])
    assert RECORD not in undone
    for reader in READERS:
        assert sorted(reader(undone)) == sorted(reader(before))
    assert replace_keywords(rewritten(second), words[:1]) == replace_keywords(undone, words[:1])


def exiftool(*arguments: object) -> list[dict]:
    command = ["exiftool", "-j", "-m", "-a", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def told_by_exiftool(folder: Path) -> dict[str, dict[str, list[str]]]:
    names = (
        "Subject",
        "HierarchicalSubject",
        "TagsList",
        "LastKeywordXMP",
        "CatalogSets",
        "Categories",
        "Rating",
    )
    found = {}
    for told in exiftool(*(f"-XMP:{name}" for name in names), folder):
        values = {key: [*map(str, one)] if isinstance(one, list) else [str(one)] for key, one in told.items()}
        found[Path(told.pop("SourceFile")).name] = {
            key: [value for value in one if value.strip()]
            for key, one in values.items()
            if key != "SourceFile"
        }
    return found


def told_by_exiv2(folder: Path) -> list[str]:
    """A line a file and list, their keywords in order."""
    keys = (
        "dc.subject",
        "lr.hierarchicalSubject",
        "digiKam.TagsList",
        "MicrosoftPhoto.LastKeywordXMP",
        "xmp.Rating",
    )
    asked = [argument for key in keys for argument in ("-K", f"Xmp.{key}")]
    command = ["exiv2", "-q", *asked, "-PXkv", *sorted(path.name for path in folder.iterdir())]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.splitlines()
    return sorted(line for line in told if len(line.split()) > 2)  # else it is empty


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not on the PATH")
def test_exiftool_sees_the_owners_keywords_with_ours_and_the_owners_again(tmp_path):
    """Also where exiftool itself wrote in between: it writes all of the XMP anew."""
    folders = {name: tmp_path / name for name in ("before", "tagged", "rated")}
    for folder in folders.values():
        folder.mkdir()
    for seed in range(40):
        before = some_packet(random.Random(seed))
        (folders["before"] / f"{seed}.xmp").write_bytes(before)
        (folders["tagged"] / f"{seed}.xmp").write_bytes(replace_keywords(before, *BOAT))
        (folders["rated"] / f"{seed}.xmp").write_bytes(replace_keywords(before, *BOAT))
    before, tagged = (told_by_exiftool(folders[name]) for name in ("before", "tagged"))
    assert len(before) == 40
    for name, lists_before in before.items():
        assert {"boat", "sea"} <= set(tagged[name]["Subject"])
        for key, values in lists_before.items():
            assert set(values) <= set(tagged[name][key]) or key == "Categories"
    asked = ["exiftool", "-q", "-q", "-m", "-overwrite_original", "-XMP:Rating=3", folders["rated"]]
    subprocess.run(list(map(str, asked)), check=True, capture_output=True)
    for path in folders["rated"].iterdir():
        path.write_bytes(replace_keywords(path.read_bytes(), []))
    for name, found in told_by_exiftool(folders["rated"]).items():
        expected = {key: sorted(values) for key, values in before[name].items() if values}
        assert {key: sorted(values) for key, values in found.items() if values} == {
            **expected,
            "Rating": ["3"],
        }


@pytest.mark.skipif(shutil.which("exiv2") is None, reason="exiv2 is not on the PATH")
def test_exiv2_sees_the_owners_keywords_with_ours_and_the_owners_again(tmp_path):
    """Also where exiv2 itself wrote in between, as darktable and digiKam do."""
    packets = (some_packet(random.Random(seed)) for seed in range(80))
    # It takes a file that begins with a comment for no XMP at all.
    for number, xmp in enumerate([xmp for xmp in packets if not xmp.startswith(b"<!--")][:40]):
        (tmp_path / f"{number}.xmp").write_bytes(xmp)
    before = told_by_exiv2(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(replace_keywords(path.read_bytes(), *BOAT))
    tagged = [line for line in told_by_exiv2(tmp_path) if " Xmp.dc.subject " in line]
    assert len(tagged) == 40 and all("boat" in line for line in tagged)
    names = [path.name for path in tmp_path.iterdir()]
    subprocess.run(["exiv2", "-q", "-M", "set Xmp.xmp.Rating 3", *names], cwd=tmp_path, check=True)
    for path in tmp_path.iterdir():
        path.write_bytes(replace_keywords(path.read_bytes(), []))
    # Lists of several languages it tells in lines of their own.
    after = [line for line in told_by_exiv2(tmp_path) if " Xmp.xmp.Rating " not in line]
    odd = (" Xmp.xmp.Rating ", 'type="', 'lang="', "]")
    plain = [line for line in before if not any(one in line for one in odd)]
    assert len(plain) > 60 and set(plain) <= set(after)


# What a picture says of itself.
def iptc(*records: tuple[int, int, bytes]) -> bytes:
    """Photoshop's segment with IPTC (IIM 4.2)."""
    data = b"".join(
        b"\x1c" + bytes([record, dataset]) + len(value).to_bytes(2) + value
        for record, dataset, value in records
    )
    return segment(
        0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(data).to_bytes(4) + data + bytes(len(data) % 2)
    )


UTF8 = (1, 90, b"\x1b%G")
JPEG = encoded(SCENE, "JPEG")
COAST = iptc(
    UTF8, (2, 25, b"Coast"), (2, 25, "Käse".encode()), (2, 5, b"At sea"), (2, 80, b"Ann"), (2, 80, b"Bob")
)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([UTF8, (2, 25, "Käse".encode())], "Käse"),
        ([(2, 25, "Käse".encode("latin-1"))], "Käse"),
        ([(2, 25, "Käse €".encode("cp1252"))], "Käse €"),
        ([(2, 25, "Käse".encode())], "Käse"),  # as many programs write it, without saying so
        ([(1, 90, b"\x1b.A"), (2, 25, "Ã¤".encode("latin-1"))], "Ã¤"),
    ],
)
def test_keywords_of_iptc_are_carried_into_a_new_list(tmp_path, records, expected):
    picture = tmp_path / "boat.jpg"
    picture.write_bytes(in_jpeg(JPEG, iptc(*records)))
    before = picture.read_bytes()
    assert write_original(picture, *BOAT)
    found = lists(read_xmp(picture.read_bytes()))
    assert found["dc:subject"] == [expected, "boat", "sea"]
    assert found["lr:hierarchicalSubject"] == [expected, "vtm|boat moon|boat", "vtm|boat moon|sea"]
    assert write_original(picture, ["moon"])
    assert lists(read_xmp(picture.read_bytes()))["dc:subject"] == [expected, "moon"]
    assert remove_keywords(picture) == ([picture], []) and picture.read_bytes() == before


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not on the PATH")
def test_the_rules_of_the_metadata_working_group_see_the_keywords_of_iptc(tmp_path):
    for number, records in enumerate([[UTF8, (2, 25, "Käse".encode())], [(2, 25, "Käse".encode("latin-1"))]]):
        picture = tmp_path / f"{number}.jpg"
        picture.write_bytes(in_jpeg(JPEG, iptc(*records, (2, 25, b"Coast"))))
        write_original(picture, ["boat"])
    for told in exiftool("-use", "MWG", "-MWG:Keywords", tmp_path):
        assert told["Keywords"] == ["Käse", "Coast", "boat"]


def test_a_dc_subject_that_is_there_gets_no_keywords_of_iptc(tmp_path):
    """Whoever prefers XMP did not see them before."""
    picture = tmp_path / "boat.jpg"
    picture.write_bytes(with_xmp(in_jpeg(JPEG, COAST), DARKTABLE.encode()))
    write_original(picture, ["boat"])
    assert lists(read_xmp(picture.read_bytes()))["dc:subject"] == ["holiday", "Käse & Brot", "boat"]


def test_keywords_of_windows_are_carried_where_there_are_no_others(tmp_path):
    exif = Image.Exif()
    exif[0x9C9E] = "Coast;Käse\0".encode("utf-16-le")
    for name, parts, expected in (("a", [], ["Coast", "Käse"]), ("b", [iptc((2, 25, b"Tide"))], ["Tide"])):
        picture = tmp_path / f"{name}.jpg"
        picture.write_bytes(in_jpeg(encoded(SCENE, "JPEG", exif=exif), *parts))
        write_original(picture, ["boat"])
        assert lists(read_xmp(picture.read_bytes()))["dc:subject"] == [*expected, "boat"]


def text(xmp: bytes, path: str) -> list[str]:
    return [str(found).strip() for found in etree.fromstring(xmp).xpath(path, namespaces=SPACES)]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "PNG at the end", "WEBP", "TIFF"])
def test_a_new_sidecar_says_what_the_picture_does(tmp_path, kind):
    picture, sidecar = tmp_path / "boat.picture", tmp_path / "boat.picture.xmp"
    if kind.startswith("PNG"):
        before = with_xmp(encoded(SCENE, "PNG"), DARKTABLE.encode())
        if kind == "PNG at the end":
            at, end = before.index(b"iTXt") - 4, before.index(b"iTXt") + len(DARKTABLE.encode()) + 30
            before = before[:at] + before[end:-12] + before[at:end] + before[-12:]
    else:
        given = {"tiffinfo": {700: DARKTABLE.encode()}} if kind == "TIFF" else {"xmp": DARKTABLE.encode()}
        before = encoded(SCENE, kind, **given)
    picture.write_bytes(before)
    assert write_sidecar(picture, *BOAT)
    written = sidecar.read_bytes()
    assert lists(written)["dc:subject"] == ["holiday", "Käse & Brot", "boat", "sea"]
    assert text(written, "//@xmp:Rating") == ["4"]
    # How the picture was developed is in its pixels: darktable would do it once more.
    assert b"darktable:history" in before and b"darktable:history" not in written
    assert not write_sidecar(picture, *BOAT)
    assert remove_keywords(picture) == ([sidecar], []) and list(tmp_path.iterdir()) == [picture]
    assert picture.read_bytes() == before


def test_a_new_sidecar_says_what_the_picture_does_in_iptc_and_exif(tmp_path):
    exif = Image.Exif()
    exif[0x4746], exif[0x010E], exif[0x8298], exif[0x013B] = 4, "A quiet bay", "Ann", "Exif's"
    picture = tmp_path / "boat.jpg"
    picture.write_bytes(in_jpeg(encoded(SCENE, "JPEG", exif=exif), COAST))
    write_sidecar(picture, ["boat"])
    written = sidecar_path(picture).read_bytes()
    assert lists(written)["dc:subject"] == ["Coast", "Käse", "boat"]
    assert text(written, "//dc:title//text()[normalize-space()]") == ["At sea"]
    assert text(written, "//dc:creator//text()[normalize-space()]") == ["Ann", "Bob"]
    assert text(written, "//dc:description/rdf:Alt/rdf:li[@xml:lang='x-default']/text()") == ["A quiet bay"]
    assert text(written, "//dc:rights//text()[normalize-space()]") == ["Ann"]
    assert text(written, "//xmp:Rating/text()") == ["4"]


def test_a_list_that_is_new_in_an_old_sidecar_begins_with_the_pictures(tmp_path):
    """digiKam takes from the picture what the sidecar has not, property by property."""
    picture, sidecar = tmp_path / "boat.jpg", tmp_path / "boat.jpg.xmp"
    own = "<digiKam:TagsList><rdf:Seq><rdf:li>Trips/Coast</rdf:li></rdf:Seq></digiKam:TagsList>"
    picture.write_bytes(with_xmp(JPEG, packet(own + "<dc:subject>Coast</dc:subject>")))
    rated = packet("<xmp:Rating>2</xmp:Rating>")
    sidecar.write_bytes(rated)
    write_sidecar(picture, ["boat"])
    found = lists(sidecar.read_bytes())
    assert found["digiKam:TagsList"] == ["Trips/Coast", "vtm/boat"]
    assert found["dc:subject"] == ["Coast", "boat"]
    assert found["lr:hierarchicalSubject"] == ["Trips|Coast", "vtm|boat"]
    assert remove_keywords(picture) == ([sidecar], []) and sidecar.read_bytes() == rated


def test_a_new_sidecar_holds_the_keywords_of_iptc_that_xmp_has_not(tmp_path):
    """darktable reads both of a picture, and a sidecar in place of both; of XMP it takes the tree, if there is one."""
    picture, sidecar = tmp_path / "boat.jpg", tmp_path / "boat.jpg.xmp"
    subject = "<dc:subject><rdf:Bag><rdf:li>Coast</rdf:li><rdf:li>Ebb</rdf:li></rdf:Bag></dc:subject>"
    tree = "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Trips|Coast</rdf:li></rdf:Bag></lr:hierarchicalSubject>"
    own = [(2, 25, word) for word in ("Käse".encode(), b"Coast", b"Trips", b"Ebb")]
    for properties in (subject, tree, subject + tree):
        picture.write_bytes(with_xmp(in_jpeg(JPEG, iptc(UTF8, *own)), packet(properties)))
        write_sidecar(picture, ["boat"])
        written = sidecar.read_bytes()
        levels = {level for path in by_darktable(written) for level in path.split("|")}
        assert levels == {"Käse", "Coast", "Trips", "Ebb", "vtm", "boat"}
        assert {"Käse", "Coast", "Ebb", "boat"} <= set(lists(written)["dc:subject"])
        assert remove_keywords(picture) == ([sidecar], []) and not sidecar.exists()


def test_the_stars_that_programs_show_by_the_camera_files_sidecar_stay(tmp_path):
    """darktable and digiKam take boat.xmp for boat.jpg as well, where that has no sidecar of its own."""
    picture, sidecar = tmp_path / "boat.jpg", tmp_path / "boat.jpg.xmp"
    (tmp_path / "boat.dng").touch()
    for attributes, properties in ((' xmp:Rating="4"', ""), ("", "<xmp:Rating> 4 </xmp:Rating>")):
        picture.write_bytes(JPEG)
        (tmp_path / "boat.xmp").write_bytes(packet(f"<xmp:Label>Red</xmp:Label>{properties}", attributes))
        write_sidecar(picture, ["boat"])
        assert text(sidecar.read_bytes(), "//xmp:Rating/text()") == ["4"]
        assert text(sidecar.read_bytes(), "//xmp:Label/text()") == []
        assert remove_keywords(picture) == ([sidecar], []) and not sidecar.exists()


def test_a_tree_of_the_picture_hides_no_flat_keyword_of_its_sidecar(tmp_path):
    """darktable takes the sidecar, which has no tree; in one that held the picture's paths alone they would be lost."""
    picture, sidecar = tmp_path / "boat.jpg", tmp_path / "boat.jpg.xmp"
    own = "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Trips|Coast</rdf:li></rdf:Bag></lr:hierarchicalSubject>"
    picture.write_bytes(with_xmp(JPEG, packet(own)))
    sidecar.write_bytes(DARKTABLE.encode())
    before = set(by_darktable(sidecar.read_bytes()))
    assert before == {"holiday", "Käse & Brot"}
    write_sidecar(picture, ["boat"])
    assert set(by_darktable(sidecar.read_bytes())) == {*before, "Trips|Coast", "vtm|boat"}
    assert remove_keywords(picture) == ([sidecar], []) and sidecar.read_bytes() == DARKTABLE.encode()


def test_a_picture_with_unreadable_xmp_gets_no_new_sidecar(tmp_path):
    picture = tmp_path / "boat.jpg"
    picture.write_bytes(in_jpeg(JPEG, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0rating: 5")))
    with pytest.raises(
        DataError, match=r"boat\.jpg\.xmp: the picture's own XMP, .* is unreadable: it is not XML"
    ):
        write_sidecar(picture, ["boat"])
    assert list(tmp_path.iterdir()) == [picture]


def test_a_sidecar_that_others_wrote_to_since_stays(tmp_path):
    picture, sidecar = tmp_path / "boat.jpg", tmp_path / "boat.jpg.xmp"
    picture.write_bytes(JPEG)
    write_sidecar(picture, ["boat"])
    sidecar.write_bytes(
        rewritten(sidecar.read_bytes()).replace(b"</rdf:Description>", b"<!-- 1 --></rdf:Description>")
    )
    assert remove_keywords(picture) == ([sidecar], [])
    assert b"<!-- 1 -->" in sidecar.read_bytes() and not any(lists(sidecar.read_bytes()).values())
    assert remove_keywords(picture) == ([], [])


# Names, permissions, owners.
def test_both_names_of_a_sidecar_are_written_and_cleared(tmp_path):
    picture, full, short = (tmp_path / name for name in ("boat.jpg", "boat.jpg.xmp", "boat.xmp"))
    picture.write_bytes(JPEG)
    short.write_bytes(packet("<xmp:Rating>3</xmp:Rating><dc:subject>Coast</dc:subject>"))
    before = short.read_bytes()
    assert write_sidecar(picture, ["boat"], basename=True) and not full.exists()
    assert lists(short.read_bytes())["dc:subject"] == ["Coast", "boat"]
    # Programs that know both names take the new one: it says what the other one does.
    assert write_sidecar(picture, ["boat"])
    assert lists(full.read_bytes())["dc:subject"] == ["Coast", "boat"]
    assert text(full.read_bytes(), "//xmp:Rating/text()") == ["3"]
    assert remove_keywords(picture) == ([full, short], [])
    assert short.read_bytes() == before and not full.exists()


def test_two_pictures_share_no_sidecar(tmp_path):
    for name in ("boat.jpg", "boat.png"):
        (tmp_path / name).write_bytes(JPEG)
    with pytest.raises(DataError, match=r"boat\.xmp: it would be the sidecar of boat\.png, too; leave out"):
        write_sidecar(tmp_path / "boat.jpg", ["boat"], basename=True)
    # Nor is a sidecar that may be the other's what a new one starts from, but for stars and keywords.
    (tmp_path / "boat.xmp").write_bytes(packet("<xmp:Rating>3</xmp:Rating><xmp:Label>Red</xmp:Label>"))
    write_sidecar(tmp_path / "boat.jpg", ["boat"])
    assert text((tmp_path / "boat.jpg.xmp").read_bytes(), "//xmp:Rating/text()") == ["3"]
    assert b"Label" not in (tmp_path / "boat.jpg.xmp").read_bytes()
    # A JPEG and its raw file are one photo to Lightroom.
    (tmp_path / "ship.jpg").write_bytes(JPEG)
    (tmp_path / "ship.CR2").write_bytes(b"II*\0")
    assert write_sidecar(tmp_path / "ship.jpg", ["ship"], basename=True)
    assert write_sidecar(tmp_path / "ship.CR2", ["ship"]) and (tmp_path / "ship.CR2.xmp").exists()


def test_a_sidecar_keeps_mode_owner_and_group(tmp_path):
    picture, sidecar = tmp_path / "boat.jpg", tmp_path / "boat.jpg.xmp"
    sidecar.write_text(DARKTABLE)
    os.chmod(sidecar, 0o664)
    if os.geteuid() == 0:
        os.chown(sidecar, 12345, 23456)
    before = os.stat(sidecar)
    for words in (["boat"], []):
        assert write_sidecar(picture, words)
        after = os.stat(sidecar)
        assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_sidecar_of_another_is_left_where_its_owner_cannot_be_kept(tmp_path, monkeypatch):
    picture, sidecar = tmp_path / "boat.jpg", tmp_path / "boat.jpg.xmp"
    sidecar.write_text(DARKTABLE)
    try:
        os.chown(sidecar, 12345, 23456)
    except PermissionError:
        pytest.skip("only root can give a file away")

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("vtm.corpora.keywords.os.chown", refused)
    with pytest.raises(DataError, match="belongs to another user or group"):
        write_sidecar(picture, ["boat"])
    assert sidecar.read_text() == DARKTABLE and list(tmp_path.iterdir()) == [sidecar]


def test_a_protected_sidecar_is_refused(tmp_path):
    picture, sidecar = tmp_path / "boat.jpg", tmp_path / "boat.jpg.xmp"
    picture.write_bytes(JPEG)
    write_sidecar(picture, ["boat"])
    before = sidecar.read_bytes()
    os.chmod(sidecar, 0o444)
    for words in (["moon"], []):
        with pytest.raises(DataError, match=r"boat\.jpg\.xmp: it is write-protected; it is left as it is"):
            write_sidecar(picture, words)
    assert sidecar.read_bytes() == before and stat.S_IMODE(os.stat(sidecar).st_mode) == 0o444


def test_what_is_without_keywords_of_vtm_is_not_touched(tmp_path):
    """Not even looked at closely: what cannot be written to is no failure then."""
    for name, content in (
        ("a.jpg", in_jpeg(JPEG, COAST)),
        ("a.jpg.xmp", DARKTABLE.encode()),
        ("b.gif", b"GIF89a"),
    ):
        (tmp_path / name).write_bytes(content)
        os.chmod(tmp_path / name, 0o444)
    assert remove_keywords(tmp_path / "a.jpg") == remove_keywords(tmp_path / "b.gif") == ([], [])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        "{}",
        '{"sha256": 1}',
        "[" * 100_000,
        '{"sha256":"0","undo":[[0,1]],"new":true,"made":{"subject":5}}',
    ],
)
def test_a_record_that_cannot_be_read_removes_no_more_than_keywords_below_the_root(note):
    before = packet("<dc:subject><rdf:Bag><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>")
    tagged = replace_keywords(before, ["boat"])
    start = tagged.index(b">", tagged.index(b"<vtm:record")) + 1
    damaged = tagged[:start] + note.encode() + tagged[tagged.index(b"</vtm:record") :]
    undone = lists(replace_keywords(damaged, []))
    assert undone["dc:subject"] == undone["lr:hierarchicalSubject"] == ["sea"]
