"""Keywords in XMP: read back by XML parsers that know nothing of ours, and nothing else of a sidecar changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from xml.dom import minidom
from xml.parsers import expat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtm.corpora import keywords as sidecars
from vtm.corpora.keywords import read_keywords, replace_keywords, sidecar_path, write_sidecar
from vtm.errors import DataError

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
SUBJECT = "{http://purl.org/dc/elements/1.1/}subject"
HIERARCHY = "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject"
RECORD = "{urn:visual-topic-modelling:keywords/}record"

DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:darktable="http://darktable.sf.net/"
   xmp:Rating="4"
   darktable:note="first line&#10;second &lt;line&gt; &gt; 1">
   <!-- edited by hand -->
   <dc:subject>
    <rdf:Bag>
     <rdf:li>holiday</rdf:li>
     <rdf:li>K&#228;se &amp; Brot</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <darktable:history>
    <rdf:Seq/>
   </darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
IN_ONE_LINE = (
    """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about='a > b' """
    """xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Label='"red" />' /></rdf:RDF>"""
)
OTHER_PREFIXES = """<RDF xmlns="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="urn:other">
 <Description><d:subject xmlns:d="http://purl.org/dc/elements/1.1/"><Bag/></d:subject></Description>
 <Description dc:kept="yes"/>
</RDF>"""
NO_DESCRIPTION = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>"""
# Lightroom keeps notes on the parts of a panorama: their keywords are not the picture's.
NESTED = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:m="http://ns.adobe.com/xap/1.0/mm/"><m:Pantry><rdf:Bag><rdf:li><rdf:Description>
<dc:subject xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Bag><rdf:li>part</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:li></rdf:Bag></m:Pantry></rdf:Description></rdf:RDF></x:xmpmeta>"""
SIDECARS = {
    "darktable": DARKTABLE,
    "with a byte-order mark": "\ufeff" + DARKTABLE,
    "with Windows' line ends": DARKTABLE.replace("\n", "\r\n"),
    "in one line": IN_ONE_LINE,
    "with other prefixes": OTHER_PREFIXES,
    "without a description": NO_DESCRIPTION,
    "with keywords of another picture": NESTED,
}


def items(xmp: bytes, name: str) -> list[str]:
    """The keywords of a picture, by ElementTree."""
    root = ET.fromstring(xmp)
    rdf = root if root.tag == f"{RDF}RDF" else root.find(f"{RDF}RDF")
    found = [one for d in rdf.findall(f"{RDF}Description") for one in d.findall(name)]
    assert len(found) <= 1, "a property may come once only"
    return [li.text for one in found for bag in one for li in bag]


def without_keywords(xmp: bytes) -> str:
    """The canonical form of all but a picture's keywords and vtm's record; space counts where it is not between elements."""
    builder = ET.TreeBuilder(insert_comments=True, insert_pis=True)
    root = ET.fromstring(xmp, ET.XMLParser(target=builder))
    rdf = root if root.tag == f"{RDF}RDF" else root.find(f"{RDF}RDF")
    for description in rdf.findall(f"{RDF}Description"):
        for name in (SUBJECT, HIERARCHY, RECORD):
            for one in description.findall(name):
                description.remove(one)
        if not len(description) and not set(description.attrib) - {f"{RDF}about"}:
            rdf.remove(description)
    for element in root.iter():
        if len(element) or element in (rdf, *rdf):
            element.text = (element.text or "").strip() and element.text
        element.tail = (element.tail or "").strip() and element.tail
    return ET.canonicalize(ET.tostring(root, encoding="unicode"), with_comments=True)


def events(xmp: bytes) -> list[tuple]:
    """All that an XML parser tells of a file, with prefixes as they are written; no space between elements."""
    found: list[tuple] = []
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = lambda *told: found.append(("start", *told))
    parser.EndElementHandler = lambda *told: found.append(("end", *told))
    parser.CommentHandler = lambda *told: found.append(("comment", *told))
    parser.ProcessingInstructionHandler = lambda *told: found.append(("instruction", *told))
    parser.XmlDeclHandler = lambda *told: found.append(("declaration", *told))
    parser.CharacterDataHandler = lambda text: found.append(("text", text)) if text.strip() else None
    parser.Parse(xmp, True)
    return found


def by_another_program(xmp: bytes, subject: list[str], paths: list[str]) -> bytes:
    """Keywords added to the lists that a picture has."""
    document = minidom.parseString(xmp)
    for name, values in ((SUBJECT, subject), (HIERARCHY, paths)):
        namespace, local = name[1:].split("}")
        (found,) = [
            one
            for one in document.getElementsByTagNameNS(namespace, local)
            if one.parentNode.parentNode.localName == "RDF"
        ]
        (bag,) = [child for child in found.childNodes if child.localName in ("Bag", "Seq")]
        for value in values:
            item = document.createElementNS(RDF[1:-1], bag.tagName.replace("Bag", "li"))
            item.appendChild(document.createTextNode(value))
            bag.appendChild(item)
    return document.toxml(encoding="utf-8")


@pytest.mark.parametrize("kind", SIDECARS)
def test_keywords_are_added_and_nothing_else_changes(kind):
    before = SIDECARS[kind].encode()
    keywords = ["boat", "holiday", "<Möwe> & 鷗"], [["vtm", "boat sea", "boat"]]
    after = replace_keywords(before, *keywords)
    old = items(before, SUBJECT)
    assert items(after, SUBJECT) == old + [w for w in ("boat", "holiday", "<Möwe> & 鷗") if w not in old]
    # A tree that did not hold the flat keywords would hide them: darktable and digiKam look there first.
    new = [f"vtm|{word}" for word in ("holiday", "<Möwe> & 鷗") if word not in old]
    assert items(after, HIERARCHY) == [*old, "vtm|boat sea|boat", *new]
    assert without_keywords(after) == without_keywords(before)
    rest = iter(events(after))
    lost = [event for event in events(before) if event not in rest]
    assert lost == [], "what was in the old sidecar is gone or changed"
    assert after.startswith(b"\xef\xbb\xbf") == before.startswith(b"\xef\xbb\xbf")
    assert read_keywords(after) == {
        "subject": items(after, SUBJECT),
        "hierarchicalSubject": items(after, HIERARCHY),
    }
    assert replace_keywords(after, *keywords) == after
    again = replace_keywords(after, ["boat", "new"], [["vtm", "boat sea", "boat"], ["vtm", "new"]])
    assert items(again, SUBJECT) == [*old, "boat", "new"]
    assert items(again, HIERARCHY) == [*old, "vtm|boat sea|boat", "vtm|new"]
    assert replace_keywords(again, []) == before


@pytest.mark.parametrize("kind", SIDECARS)
def test_tagged_again_only_the_new_keywords_stand_beside_those_of_others(kind):
    before = SIDECARS[kind].encode()
    old = items(before, SUBJECT)
    first = replace_keywords(
        before, ["boat", "sea", "sail"], [["vtm", "b s", word] for word in ("boat", "sea", "sail")]
    )
    assert items(first, SUBJECT) == [*old, "boat", "sea", "sail"]
    # Between the two, another program adds its own: "sail" is now in its tree as well.
    other = by_another_program(first, ["harbour"], ["Places|sail", "vtmx|sea"])
    second = replace_keywords(other, ["moon", "sea"], [["vtm", "m", "moon"], ["vtm", "m", "sea"]])
    assert items(second, SUBJECT) == [*old, "sea", "sail", "harbour", "moon"]
    assert items(second, HIERARCHY) == [*old, "Places|sail", "vtmx|sea", "vtm|m|moon"]
    assert without_keywords(second) == without_keywords(other)
    none = replace_keywords(second, [])
    assert items(none, SUBJECT) == [*old, "sea", "sail", "harbour"]
    assert items(none, HIERARCHY) == [*old, "Places|sail", "vtmx|sea"]
    assert RECORD[1:-7].encode() not in none


def test_a_keyword_that_was_there_before_stays_its_owners():
    holiday = ["holiday", "boat"], [["vtm", "h b", "holiday"], ["vtm", "h b", "boat"]]
    first = replace_keywords(DARKTABLE.encode(), *holiday)
    assert items(first, HIERARCHY) == ["holiday", "Käse & Brot", "vtm|h b|boat"]
    assert replace_keywords(first, *holiday) == first
    assert items(replace_keywords(first, []), SUBJECT) == ["holiday", "Käse & Brot"]


def test_items_outside_of_a_list_are_no_keywords():
    """Found by the fuzzer: they were taken for items of the next list, and for items that vtm had written."""
    li = "<rdf:li>stray</rdf:li><rdf:Seq><rdf:li>of another list</rdf:li></rdf:Seq>"
    subject = "<dc:subject><rdf:Bag><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>"
    xmp = f"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Description>{li}{subject}{li}</rdf:Description></rdf:RDF>""".encode()
    assert read_keywords(xmp) == {"subject": ["sea"]}
    assert read_keywords(replace_keywords(xmp, ["stray"]))["subject"] == ["sea", "stray"]
    inner = "<rdf:Seq><rdf:li>of another list</rdf:li></rdf:Seq>"
    nested = xmp.replace(b">sea<", f">sea{inner}side<".encode())
    assert read_keywords(nested) == {"subject": ["seaside"]}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("&#10;", " "),
        ("by hand", "by other hand"),
        ('Rating="4"', 'Rating="5"'),
        ("<rdf:Seq/>", "<rdf:Seq> </rdf:Seq>"),
        ("darktable:history", "darktable:History"),
    ],
)
def test_the_checks_that_nothing_changes_can_fail(old, new):
    changed = DARKTABLE.replace(old, new)
    assert without_keywords(changed.encode()) != without_keywords(DARKTABLE.encode())
    assert events(changed.encode()) != events(DARKTABLE.encode()) or new.endswith("> </rdf:Seq>")


def test_what_stands_around_the_xmp_is_kept():
    around = '<?xpacket begin="" id="W5M0"?>\n<!-- first -->\n'
    xmp = f'{around}{IN_ONE_LINE}\n<!-- last --><?xpacket end="w"?>'.encode()
    after = replace_keywords(xmp, ["boat"])
    assert after.decode().startswith(around)
    assert [event for event in events(after) if event[0] in ("comment", "instruction")] == [
        ("instruction", "xpacket", 'begin="" id="W5M0"'),
        ("comment", " first "),
        ("comment", " last "),
        ("instruction", "xpacket", 'end="w"'),
    ]


def test_a_new_sidecar_and_keywords_in_it_are_written_as_people_indent_them():
    after = replace_keywords(sidecars.EMPTY.encode(), ["boat"], [["vtm", "boat"]]).decode()
    subject = """  <rdf:Description rdf:about="">
   <dc:subject xmlns:dc="http://purl.org/dc/elements/1.1/">
    <rdf:Bag>
     <rdf:li>boat</rdf:li>
    </rdf:Bag>
   </dc:subject>
"""
    tree = """   <lr:hierarchicalSubject xmlns:lr="http://ns.adobe.com/lightroom/1.0/">
    <rdf:Bag>
     <rdf:li>vtm|boat</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
"""
    assert subject + tree in after
    assert replace_keywords(after.encode(), []).decode() == sidecars.EMPTY


def test_added_keywords_are_indented_as_the_old_ones():
    after = replace_keywords(DARKTABLE.encode(), ["boat"]).decode()
    assert "Brot</rdf:li>\n     <rdf:li>boat</rdf:li>\n    </rdf:Bag>\n" in after


ENTITY = '<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>\n'
# Some gigabytes, where it is believed.
LEVELS = "".join(
    f'<!ENTITY {one} "{10 * f"&{other};"}">' for one, other in zip("bcdefghij", "abcdefghi", strict=True)
)
BOMB = f'<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">{LEVELS}]>{IN_ONE_LINE.replace("a > b", "&j;")}'


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not XML"),
        (b"rating: 5", "not XML"),
        (DARKTABLE[:-20].encode(), "not XML"),
        (
            DARKTABLE.replace('<?xml version="1.0" encoding="UTF-8"?>', "").encode("utf-16"),
            "not XML in UTF-8",
        ),
        (DARKTABLE.replace("UTF-8", "iso-8859-1").encode(), "in iso-8859-1"),
        ((ENTITY + NO_DESCRIPTION).encode(), "DOCTYPE"),
        (BOMB.encode(), "not XML|DOCTYPE"),
        (b"<svg/>", "no XMP"),
    ],
)
def test_what_is_no_xmp_is_left_as_it_is(tmp_path, content, why):
    sidecar = tmp_path / "boat.jpg.xmp"
    sidecar.write_bytes(content)
    with pytest.raises(DataError, match=why) as caught:
        write_sidecar(tmp_path / "boat.jpg", ["boat"])
    assert str(sidecar) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sidecar.read_bytes() == content
    assert list(tmp_path.iterdir()) == [sidecar]


def test_a_link_is_not_followed(tmp_path):
    target = tmp_path / "elsewhere.xmp"
    target.write_text(DARKTABLE)
    (tmp_path / "boat.jpg.xmp").symlink_to(target)
    with pytest.raises(DataError, match="it is a link"):
        write_sidecar(tmp_path / "boat.jpg", ["boat"])
    assert target.read_text() == DARKTABLE


@pytest.mark.parametrize("kind", ["fifo", "folder", "large"])
def test_what_is_no_file_or_too_large_is_left(tmp_path, kind):
    sidecar = tmp_path / "boat.jpg.xmp"
    if kind == "large":
        sidecar.touch()
        os.truncate(sidecar, sidecars.MAX_SIDECAR_BYTES + 1)
    else:
        (os.mkfifo if kind == "fifo" else os.mkdir)(sidecar)
    before = os.stat(sidecar)
    told = "is larger than 20 MB" if kind == "large" else "is no regular file"
    with pytest.raises(DataError, match=rf"boat\.jpg\.xmp: {told}"):
        write_sidecar(tmp_path / "boat.jpg", ["boat"])
    assert os.stat(sidecar) == before and list(tmp_path.iterdir()) == [sidecar]


def test_a_new_sidecar_lies_beside_the_picture_under_its_whole_name(tmp_path):
    for name in ("boat.jpg", "boat.png"):  # they must not share one
        assert write_sidecar(tmp_path / name, [f"from {name}"], [["vtm", "a|b", "c"]])
    for name in ("boat.jpg", "boat.png"):
        written = sidecar_path(tmp_path / name).read_bytes()
        assert items(written, SUBJECT) == [f"from {name}"]
        assert items(written, HIERARCHY) == [f"vtm|from {name}"]
    write_sidecar(tmp_path / "boat.jpg", ["a|b"], [["vtm", "c|d", "a|b"]])
    written = sidecar_path(tmp_path / "boat.jpg").read_bytes()
    assert items(written, SUBJECT) == ["a|b"]
    assert items(written, HIERARCHY) == ["vtm|c/d|a/b"]  # a bar parts the levels
    assert len(list(tmp_path.iterdir())) == 2


def test_a_sidecar_with_all_keywords_is_not_written_again(tmp_path):
    assert write_sidecar(tmp_path / "boat.jpg", ["boat"])
    before = os.stat(tmp_path / "boat.jpg.xmp")
    assert not write_sidecar(tmp_path / "boat.jpg", ["boat", " boat "])
    after = os.stat(tmp_path / "boat.jpg.xmp")
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert write_sidecar(tmp_path / "boat.jpg", []) and not list(tmp_path.iterdir())
    assert not write_sidecar(tmp_path / "boat.jpg", []) and not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_sidecar(tmp_path, monkeypatch):
    sidecar = tmp_path / "boat.jpg.xmp"
    sidecar.write_text(DARKTABLE)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("vtm.files.os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        write_sidecar(tmp_path / "boat.jpg", ["boat"])
    assert sidecar.read_text() == DARKTABLE
    assert list(tmp_path.iterdir()) == [sidecar]


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_text_makes_well_formed_keywords(words):
    after = replace_keywords(sidecars.EMPTY.encode(), words, [["vtm", word] for word in words])
    found = items(after, SUBJECT)
    assert len(set(found)) == len(found)
    plain = [word for word in words if word.isprintable() and word.strip()]
    assert {" ".join(word.split()) for word in plain} <= set(found)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not on the PATH")
@pytest.mark.parametrize("kind", [None, *(kind for kind in SIDECARS if kind != "with other prefixes")])
def test_exiftool_reads_the_keywords(tmp_path, kind):
    """exiftool itself reads RDF under its usual prefix only."""
    picture = tmp_path / "boat.jpg"
    if kind is not None:
        Path(f"{picture}.xmp").write_bytes(SIDECARS[kind].encode())
    write_sidecar(picture, ["boat", "Möwe & <sea>"], [["vtm", "boat sea", "boat"]])
    command = ["exiftool", "-j", "-Subject", "-HierarchicalSubject", f"{picture}.xmp"]
    (found,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["Subject"][-2:] == ["boat", "Möwe & <sea>"]
    assert found["HierarchicalSubject"][-2:] == ["vtm|boat sea|boat", "vtm|Möwe & <sea>"]
