"""A folder as a photographer has it goes through train, tag, retag and untag, and nothing of it is lost."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from camera_files import HEIC, camera_file
from lxml import etree
from malformed_pictures import encoded
from PIL import Image, IptcImagePlugin
from test_keywords import COAST, SPACES, by_darktable, by_digikam, by_lightroom, iptc, lists, packet
from test_models import run
from test_originals import in_jpeg, segment
from test_sidecars import DARKTABLE

from vtm.cli.options import SKIPPED
from vtm.corpora import load_corpus
from vtm.errors import counted

XMP = b"http://ns.adobe.com/xap/1.0/\0"
RATING = 0x4746  # in EXIF, as Windows writes it
ASKED = ("--min-confidence", 0, "--keywords", 3)

LIGHTROOM = packet(
    "<dc:subject><rdf:Bag><rdf:li>Coast</rdf:li><rdf:li>Trips</rdf:li></rdf:Bag></dc:subject>"
    "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Trips|Coast</rdf:li></rdf:Bag></lr:hierarchicalSubject>",
    ' xmp:Rating="4" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Exposure2012="+0.35"',
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>%s<?xpacket end="w"?>',
)
DIGIKAM = packet(
    "<digiKam:TagsList><rdf:Seq><rdf:li>Trips/Coast</rdf:li></rdf:Seq></digiKam:TagsList>"
    "<MicrosoftPhoto:LastKeywordXMP><rdf:Bag><rdf:li>Trips/Coast</rdf:li></rdf:Bag></MicrosoftPhoto:LastKeywordXMP>"
    "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Trips|Coast</rdf:li></rdf:Bag></lr:hierarchicalSubject>"
    "<mediapro:CatalogSets><rdf:Bag><rdf:li>Trips|Coast</rdf:li></rdf:Bag></mediapro:CatalogSets>"
    "<dc:subject><rdf:Bag><rdf:li>Coast</rdf:li></rdf:Bag></dc:subject>",
    ' xmp:Rating="5" acdsee:categories="&lt;Categories&gt;&lt;Category Assigned=&quot;0&quot;&gt;Trips&lt;Category '
    'Assigned=&quot;1&quot;&gt;Coast&lt;/Category&gt;&lt;/Category&gt;&lt;/Categories&gt;"',
)
WINDOWS = Image.Exif()
WINDOWS[RATING], WINDOWS[0x9C9E] = 3, "Coast;Käse\0".encode("utf-16-le")
# What is in the folder and is no picture of the owner's -> the words by which it is counted.
PASSED_OVER = {
    "@eaDir/lightroom.jpg/SYNOPHOTO_THUMB_XL.jpg": "in folders that programs keep for themselves",
    "trip/@eaDir/digikam.jpg/SYNOPHOTO_THUMB_M.jpg": "in folders that programs keep for themselves",
    "._lightroom.jpg": "hidden by a name that begins with a dot",
    "trip/.picasa.jpg": "hidden by a name that begins with a dot",
}
# Pictures that cannot be read, with and without the libraries.
UNREADABLE = ["broken.cr3", "trip/cut.jpg"]
PROTECTED_PICTURE, PROTECTED_SIDECAR = "protected.jpg", "trip/locked.jpg.xmp"
PROGRAMS = ("darktable", "digikam", "lightroom")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Iterable[list[Path]]:
    """Two models of drawn scenes that do not know the same words."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("models")
        patch.setenv("VTM_DATA", str(folder / "data"))
        asked = ("--encoder", "pixels", "--n-topics", 6)
        run("train", "scenes:n=120", "-o", folder / "first", *asked)
        run("train", "scenes:n=120", "-o", folder / "second", *asked, "--max-words", 25)
        yield [folder / "first", folder / "second"]


@pytest.fixture
def collection(models, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VTM_DATA", str(models[0].parent / "data"))
    folder = tmp_path / "Pictures"
    scenes = iter(load_corpus("scenes", n=120).images)

    def jpeg(*parts: bytes, **options: object) -> bytes:
        with Image.open(next(scenes)) as scene:
            return in_jpeg(encoded(np.asarray(scene.convert("RGB")), "JPEG", **options), *parts)

    def inside(xmp: bytes) -> bytes:
        return segment(0xE1, XMP + xmp)

    darktable = DARKTABLE.encode()
    raw = camera_file(jpeg(), 1)
    content = {
        "lightroom.jpg": jpeg(inside(LIGHTROOM), COAST),
        "untouched.jpg": jpeg(),
        "iptc.jpg": jpeg(iptc((2, 25, b"Coast"), (2, 25, "Käse".encode("latin-1")))),
        "windows.jpg": jpeg(exif=WINDOWS),
        PROTECTED_PICTURE: jpeg(inside(LIGHTROOM)),
        "phone.HEIC": HEIC,
        "broken.cr3": bytes(range(256)) * 8,
        # Lightroom's name for a camera's file, and the JPEG that the camera wrote with it.
        "shot.DNG": raw,
        "shot.xmp": LIGHTROOM,
        "shot.jpg": jpeg(),
        "trip/digikam.jpg": jpeg(inside(DIGIKAM), COAST),
        "trip/beside.jpg": jpeg(),
        "trip/beside.jpg.xmp": DIGIKAM,
        "trip/darktable.jpg": jpeg(inside(LIGHTROOM)),
        "trip/darktable.jpg.xmp": darktable,
        # Of both names, from two programs.
        "trip/both.jpg": jpeg(),
        "trip/both.jpg.xmp": darktable,
        "trip/both.xmp": LIGHTROOM,
        "trip/locked.jpg": jpeg(),
        PROTECTED_SIDECAR: darktable,
        "trip/cut.jpg": jpeg()[:300],
        "trip/notes.txt": b"no picture",
        "trip/film.mp4": bytes(64),
        **{name: jpeg(inside(LIGHTROOM)) for name in PASSED_OVER},
    }
    for name, written in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written)
        path.chmod(0o640)
    for name in (PROTECTED_PICTURE, PROTECTED_SIDECAR):
        (folder / name).chmod(0o444)
    if shutil.which("exiftool"):
        shutil.copy(folder / "untouched.jpg", folder / "exiftool.jpg")
        told = ("-XMP-dc:Subject=Coast", "-XMP-dc:Subject=Trips", "-IPTC:Keywords=Coast", "-XMP:Rating=4")
        command = ["exiftool", "-q", "-overwrite_original", *told, str(folder / "exiftool.jpg")]
        subprocess.run(command, check=True)
    return folder


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All files with their bytes and modes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode) for path in files}


def of_picture(path: Path, program) -> tuple[str, set[str], set[str]]:
    """Stars, keywords and flat keywords that Pillow finds in a picture; IPTC's and Windows' where XMP has none."""
    try:
        with Image.open(path) as image:
            xmp, own = image.info.get("xmp"), IptcImagePlugin.getiptcinfo(image) or {}
            stars, words = image.getexif().get(RATING, ""), image.getexif().get(0x9C9E, b"")
    except OSError:
        return "", set(), set()
    listed = own.get((2, 25), [])
    utf8 = own.get((1, 90)) == b"\x1b%G"
    flat = [
        word.decode("utf-8" if utf8 else "latin-1")
        for word in (listed if isinstance(listed, list) else [listed])
    ]
    if xmp and any(lists(xmp).values()):
        found = of_xmp(xmp, program)
        # darktable shows the keywords of IPTC besides.
        besides = set(flat) if program is by_darktable else set()
        return found[0] or str(stars or ""), found[1] | besides, found[2]
    flat = flat or [word for word in bytes(words).decode("utf-16-le").strip("\0").split(";") if word]
    return str(stars or ""), set(flat), set(flat)


def of_xmp(xmp: bytes, program) -> tuple[str, set[str], set[str]]:
    stars = etree.fromstring(xmp).xpath(
        "string(//rdf:Description/@xmp:Rating | //xmp:Rating)", namespaces=SPACES
    )
    return stars, set(program(xmp)), set(lists(xmp)["dc:subject"])


def seen(folder: Path, names: Iterable[str]) -> dict[tuple[str, str], tuple[str, set[str], set[str]]]:
    """Stars, keywords and flat keywords that each program shows of each picture.

    darktable and digiKam take the sidecar of the whole name in place of all that the picture holds, and where there is none
    the one of the other name, which is a camera file's where there is such a file. Lightroom has a sidecar for these alone.
    """
    readers = {"darktable": by_darktable, "digikam": by_digikam, "lightroom": by_lightroom}
    found = {}
    for name in names:
        picture = folder / name
        full, short = picture.with_name(f"{picture.name}.xmp"), picture.with_suffix(".xmp")
        raw = picture.suffix == ".DNG"
        of_another = not raw and picture.with_suffix(".DNG").exists()
        for program in PROGRAMS:
            beside = [short] * raw if program == "lightroom" else [full] + [short] * (not of_another)
            sidecar = next((path for path in beside if path.is_file()), None)
            found[program, name] = (
                of_xmp(sidecar.read_bytes(), readers[program])
                if sidecar
                else of_picture(picture, readers[program])
            )
    return found


def closing(result) -> list[int]:
    """The numbers of what a command says at its end: all files of pictures are among them."""
    told = result.stderr
    (tagged,) = map(int, re.findall(r"^(\d+) pictures?: ", told, re.M))
    passed = sum(map(int, re.findall(r"^(\d+) pictures? passed over", told, re.M)))
    unused = sum(map(int, re.findall(r"^(\d+) not used \(", told, re.M)))
    return [tagged, passed, unused]


def keywords(result) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in csv.DictReader(io.StringIO(result.stdout)):
        found.setdefault(row["picture"], set()).add(row["keyword"])
    return found


def leaves(paths: Iterable[str]) -> set[str]:
    return {path.rpartition("|")[2] for path in paths}


def test_a_photographers_folder_loses_nothing(models, collection):
    folder, (first, second) = collection, models
    start = state(folder)
    sidecars = [name for name in start if name.endswith(".xmp")]
    pictures = [name for name in start if name not in (*sidecars, "trip/notes.txt", "trip/film.mp4")]
    wanted = [name for name in pictures if name not in PASSED_OVER]
    unread = [
        *UNREADABLE,
        *["phone.HEIC"] * (not find_spec("pi_heif")),
        *["shot.DNG"] * (not find_spec("rawpy")),
    ]
    read = [name for name in wanted if name not in unread]
    before = seen(folder, read)
    # What one program saw of the owner's, of a picture or beside it, the others may see afterwards.
    owners: dict[str, set[str]] = {}
    for (_, name), (_, tree, flat) in before.items():
        owners.setdefault(name.partition(".")[0], set()).update(leaves(tree), flat)
    for name in sidecars:
        owners[name.partition(".")[0]].update(leaves(by_lightroom(start[name][0])))
    # Of each kind there is one whose owner's keywords and stars are there to be lost.
    assert before["darktable", "lightroom.jpg"] == ("4", {"Trips|Coast", "Coast", "Käse"}, {"Coast", "Trips"})
    assert before["digikam", "trip/beside.jpg"][:2] == ("5", {"Trips|Coast"})
    assert before["darktable", "trip/darktable.jpg"][:2] == ("4", {"holiday", "Käse & Brot"})
    assert before["lightroom", "windows.jpg"] == ("3", {"Coast", "Käse"}, {"Coast", "Käse"})
    assert before["digikam", "iptc.jpg"][1] == {"Coast", "Käse"}

    def check(result, model_words: dict[str, set[str]], *, programs=PROGRAMS[:2], but=()) -> None:
        """All that was seen before is seen, and our keywords of this time beside it, and no others."""
        for (program, name), (stars, tree, flat) in seen(folder, read).items():
            old_stars, old_tree, old_flat = before[program, name]
            # darktable and digiKam show the stars of the camera's file for its JPEG, too.
            assert stars == (old_stars or "4" * (name == "shot.jpg" and stars == "4"))
            assert old_flat <= flat and leaves(old_tree) <= leaves(tree), (
                program,
                name,
            )
            if program in programs and name not in but:
                known = owners[name.partition(".")[0]]
                ours = model_words[str(folder / name)]
                assert leaves(tree) - known == flat - known == ours - known, (program, name)
                assert ours <= leaves(tree) and ours <= flat, (program, name)
        now = state(folder)
        assert all(
            now[name] == start[name] for name in (*PASSED_OVER, *unread, "trip/notes.txt", "trip/film.mp4")
        )
        assert now[PROTECTED_SIDECAR] == start[PROTECTED_SIDECAR]
        assert {name: mode for name, (_, mode) in now.items() if name in start} == {
            name: mode for name, (_, mode) in start.items()
        }
        assert closing(result) == [len(read), len(PASSED_OVER), len(unread)]
        for words in set(PASSED_OVER.values()):
            number = list(PASSED_OVER.values()).count(words)
            assert (
                f"{counted(number, 'picture')} passed over{'' if words.startswith('in ') else ','} {words}: "
                in result.stderr
            )
        for name in unread:
            assert f"not used: {folder / name}: " in result.stderr

    # Into sidecars.
    result = run("tag", first, folder, *ASKED, "--write-sidecars", code=SKIPPED)
    assert f"{len(read) - 1} sidecars written, 0 had all keywords, 1 skipped" in result.stderr
    assert f"no sidecar: {folder / PROTECTED_SIDECAR}: it is write-protected" in result.stderr
    assert f"{folder / 'trip/both.xmp'}: is there, too" in result.stderr
    check(result, keywords(result), but=["trip/locked.jpg"])
    tagged = state(folder)
    assert all(tagged[name] == start[name] for name in (*pictures, "shot.xmp", "trip/both.xmp"))
    again = run("tag", first, folder, *ASKED, "--write-sidecars", code=SKIPPED)
    assert f"0 sidecars written, {len(read) - 1} had all keywords, 1 skipped" in again.stderr
    assert again.stdout == result.stdout and state(folder) == tagged

    # By another model, into the pictures as well.
    other = run("tag", second, folder, *ASKED, "--write-sidecars", "--write-originals", code=SKIPPED)
    assert keywords(other) != keywords(result)
    no_jpeg = [name for name in read if not name.endswith(".jpg")]
    writable = len(read) - len(no_jpeg) - 1
    skipped = len(no_jpeg) + 1
    assert f"{writable} pictures written, 0 had all keywords, {skipped} skipped" in other.stderr
    assert f"not written: {folder / PROTECTED_PICTURE}: it is write-protected" in other.stderr
    kept = [PROTECTED_PICTURE, *no_jpeg]
    check(other, keywords(other), but=["trip/locked.jpg"])
    check(other, keywords(other), programs=["lightroom"], but=kept)
    now = state(folder)
    assert all(now[name] == start[name] for name in (*kept, "shot.xmp", "trip/both.xmp"))
    for name in read:
        if name not in kept:
            with Image.open(folder / name) as image, Image.open(io.BytesIO(start[name][0])) as old:
                assert image.tobytes() == old.tobytes() and image.getexif() == old.getexif()

    # And out of them again.
    result = run("untag", folder)
    assert (
        f"keywords taken out of {len(read) - 1 + writable} files of {len(wanted)} pictures" in result.stderr
    )
    assert state(folder) == start


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not on the PATH")
def test_exiftool_sees_of_a_photographers_folder_what_it_saw(models, collection):
    """With the rules of the Metadata Working Group, which weigh XMP, IPTC and EXIF against each other."""

    def told() -> dict[str, dict]:
        asked = ["exiftool", "-j", "-r", "-q", "-q", "-m", "-struct", "-use", "MWG"]
        asked += ["-MWG:Keywords", "-MWG:Rating", "-XMP:all", "-IPTC:all", "-EXIF:all", str(collection)]
        done = subprocess.run(asked, capture_output=True, text=True)
        return {one.pop("SourceFile"): one for one in json.loads(done.stdout)}

    before = told()
    result = run("tag", models[0], collection, *ASKED, "--write-originals", code=SKIPPED)
    after, ours = told(), keywords(result)
    assert before.keys() == after.keys() and len(before) > 20
    written = 0
    for name, old in before.items():
        new = after[name]
        for key, value in old.items():
            if key not in ("Keywords", "Subject", "XMPToolkit") and not isinstance(value, list):
                assert new[key] == value or key == "Categories", (name, key)
            else:
                was, is_now = ({str(v) for v in np.atleast_1d(one.get(key, []))} for one in (old, new))
                assert was <= is_now, (name, key)
        if new != old:
            written += 1
            assert ours[name] <= {str(word) for word in np.atleast_1d(new["Keywords"])}
    assert f"{written} pictures written" in result.stderr and written > 8
