"""Keywords in the picture files themselves: Pillow reads them back, and every other byte is the old one."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed_pictures import SCENE, chunk, encoded
from PIL import Image
from test_sidecars import DARKTABLE, HIERARCHY, SIDECARS, SUBJECT, items, without_keywords

from vtm.corpora import keywords as originals
from vtm.corpora.keywords import read_xmp, replace_keywords, with_xmp, write_original
from vtm.encoders import embed_images, load_encoder
from vtm.errors import DataError
from vtm.files import hash_file

BOAT = ["boat", "sea"], [["vtm", "boat sea", "boat"], ["vtm", "boat sea", "sea"]]
MOON = ["moon"], [["vtm", "moon", "moon"]]
STANDARD, EXTENDED = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
EXIF = Image.Exif()
EXIF[0x010E] = "a description"
OLD = DARKTABLE.encode()


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body


def in_jpeg(jpeg: bytes, *parts: bytes) -> bytes:
    """Segments behind the first one, which is JFIF's."""
    at = 4 + int.from_bytes(jpeg[4:6])
    return jpeg[:at] + b"".join(parts) + jpeg[at:]


def in_png(png: bytes, *parts: bytes) -> bytes:
    """Chunks behind the header."""
    return png[:33] + b"".join(parts) + png[33:]


JPEG, PNG = encoded(SCENE, "JPEG"), encoded(SCENE, "PNG")
ITXT = b"XML:com.adobe.xmp\0\0\0\0\0"
# Each with the XMP that it has, by what Pillow writes or by hand.
WITHOUT = {
    "JPEG": JPEG,
    "JPEG with EXIF": encoded(SCENE, "JPEG", exif=EXIF, comment=b"a comment", dpi=(72, 72)),
    "progressive JPEG": encoded(SCENE, "JPEG", progressive=True, quality=95, icc_profile=bytes(300)),
    "grey JPEG": encoded(SCENE[..., 0].copy(), "JPEG"),
    "CMYK JPEG": encoded(Image.fromarray(SCENE).convert("CMYK"), "JPEG"),
    "JPEG with bytes behind its end": JPEG + b"\xff\xe1more",
    "JPEG with filled markers": in_jpeg(JPEG, b"\xff\xff" + segment(0xFE, b"note")),
    "PNG": PNG,
    "PNG with EXIF": encoded(SCENE, "PNG", exif=EXIF, dpi=(72, 72)),
    "palette PNG": encoded(Image.fromarray(SCENE).quantize(4), "PNG", transparency=1),
    "16-bit PNG": encoded(Image.fromarray(SCENE[..., 0].astype(np.uint16) * 257), "PNG"),
    "animated PNG": encoded(
        Image.fromarray(SCENE), "PNG", save_all=True, append_images=[Image.fromarray(255 - SCENE)]
    ),
    "PNG with bytes behind its end": PNG + b"more",
    "PNG with other texts": in_png(
        PNG, chunk(b"tEXt", b"Title\0XML:com.adobe.xmp"), chunk(b"iTXt", b"Author" + bytes(5) + b"me")
    ),
}
WITH = {
    "JPEG": in_jpeg(JPEG, segment(0xE1, STANDARD + OLD)),
    "JPEG with EXIF": in_jpeg(WITHOUT["JPEG with EXIF"], segment(0xE1, STANDARD + OLD)),
    "JPEG with filled markers": in_jpeg(JPEG, b"\xff\xff" + segment(0xE1, STANDARD + OLD)),
    "PNG": in_png(PNG, chunk(b"iTXt", ITXT + OLD)),
    "PNG at the end": PNG[:-12] + chunk(b"iTXt", ITXT + OLD) + PNG[-12:],
}


def saved(folder: Path, content: bytes) -> Path:
    """The picture under a name whose suffix says nothing of it."""
    path = folder / "boat.picture"
    path.write_bytes(content)
    return path


def frames(content: bytes) -> list[tuple[str, bytes]]:
    with Image.open(io.BytesIO(content)) as picture:
        found = []
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            found.append((picture.mode, picture.tobytes()))
        return found


def xmp_of(path: Path) -> bytes:
    """The XMP as Pillow finds it."""
    with Image.open(path) as picture:
        picture.load()
        found = picture.info["xmp"] if picture.format == "JPEG" else picture.info["XML:com.adobe.xmp"]
    return found if isinstance(found, bytes) else found.encode()


def other_info(content: bytes) -> dict:
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        return {name: value for name, value in picture.info.items() if "xmp" not in name.lower()}


@pytest.mark.parametrize("kind", WITHOUT)
def test_a_picture_without_xmp_gets_one_and_keeps_all_its_bytes(tmp_path, kind):
    before = WITHOUT[kind]
    path = saved(tmp_path, before)
    assert read_xmp(before) is None
    assert write_original(path, *BOAT)
    after = path.read_bytes()
    assert items(xmp_of(path), SUBJECT) == ["boat", "sea"]
    assert items(xmp_of(path), HIERARCHY) == ["vtm|boat sea|boat", "vtm|boat sea|sea"]
    assert frames(after) == frames(before) and other_info(after) == other_info(before)
    start = next(at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)
    added = len(after) - len(before)
    # The first bytes of what is new may be those of what was there.
    assert any(after[:at] + after[at + added :] == before for at in range(max(0, start - 4), start + 1))
    assert write_original(path, []) and path.read_bytes() == before


@pytest.mark.parametrize("kind", WITH)
def test_the_xmp_of_others_is_kept(tmp_path, kind):
    before = WITH[kind]
    path = saved(tmp_path, before)
    assert read_xmp(before) == xmp_of(path) == OLD
    assert write_original(path, *BOAT)
    assert items(xmp_of(path), SUBJECT) == ["holiday", "Käse & Brot", "boat", "sea"]
    assert without_keywords(xmp_of(path)) == without_keywords(OLD)
    assert write_original(path, *MOON)
    after = path.read_bytes()
    assert items(xmp_of(path), SUBJECT) == ["holiday", "Käse & Brot", "moon"]
    assert items(xmp_of(path), HIERARCHY) == ["holiday", "Käse & Brot", "vtm|moon|moon"]
    assert frames(after) == frames(before) and other_info(after) == other_info(before)
    assert with_xmp(after, OLD) == before
    assert write_original(path, []) and path.read_bytes() == before


@pytest.mark.parametrize("kind", SIDECARS)
@pytest.mark.parametrize("picture", [JPEG, PNG], ids=["JPEG", "PNG"])
def test_it_is_merged_as_a_sidecar_is(tmp_path, kind, picture):
    xmp = SIDECARS[kind].encode()
    path = saved(tmp_path, with_xmp(picture, xmp))
    for keywords, hierarchy in (BOAT, MOON, ([], [])):
        assert write_original(path, keywords, hierarchy)
        xmp = replace_keywords(xmp, keywords, hierarchy)
        assert xmp_of(path) == xmp


@pytest.mark.parametrize("kind", [*WITHOUT, *WITH])
def test_twice_gives_the_same_bytes(tmp_path, kind):
    path = saved(tmp_path, {**WITHOUT, **WITH}[kind])
    assert write_original(path, *BOAT)
    before, status = path.read_bytes(), os.stat(path)
    assert not write_original(path, *BOAT)
    assert path.read_bytes() == before
    assert (os.stat(path).st_ino, os.stat(path).st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    assert list(tmp_path.iterdir()) == [path]


def test_without_keywords_nothing_is_written(tmp_path):
    path = saved(tmp_path, JPEG)
    assert not write_original(path, [])
    assert path.read_bytes() == JPEG


def test_xmp_comes_after_jfif_and_exif_which_must_stand_first(tmp_path):
    content = segment(0xE1, b"Exif\0\0" + EXIF.tobytes()).join([JPEG[:2], JPEG[2:]])  # no JFIF before it
    for jpeg in (WITHOUT["JPEG with EXIF"], content):
        path = saved(tmp_path, jpeg)
        write_original(path, *BOAT)
        after = path.read_bytes()
        assert after[:4] == jpeg[:4]
        assert after.index(b"JFIF\0") < after.index(b"Exif\0") < after.index(STANDARD) or jpeg is content
        assert after.index(b"Exif\0") < after.index(STANDARD)
        with Image.open(path) as picture:
            assert picture.getexif()[0x010E] == "a description"


def test_mode_and_attributes_are_kept_and_the_time_is_new(tmp_path):
    path = saved(tmp_path, PNG)
    os.chmod(path, 0o640)
    os.utime(path, (10**9, 10**9))
    attributes = hasattr(os, "setxattr")
    try:
        os.setxattr(path, "user.rating", b"5")
    except (AttributeError, OSError):
        attributes = False
    write_original(path, *BOAT)
    status = os.stat(path)
    assert stat.S_IMODE(status.st_mode) == 0o640 and status.st_mtime > 10**9 + 1
    assert not attributes or os.getxattr(path, "user.rating") == b"5"


RAW = b"Raw profile type xmp\0\0"
BAD_SUM = chunk(b"iTXt", ITXT + OLD)[:-1] + b"?"
REFUSED = {
    "other format": (encoded(SCENE, "WEBP"), "neither JPEG nor PNG"),
    "TIFF": (encoded(SCENE, "TIFF", xmp=OLD), "neither JPEG nor PNG"),
    "empty": (b"", "neither JPEG nor PNG"),
    "extended XMP": (
        in_jpeg(JPEG, segment(0xE1, STANDARD + OLD), segment(0xE1, EXTENDED + bytes(40))),
        "extended XMP",
    ),
    "two packets": (
        in_jpeg(JPEG, segment(0xE1, STANDARD + OLD), segment(0xE1, STANDARD + OLD)),
        "2 XMP packets",
    ),
    "several pictures": (
        encoded(Image.fromarray(SCENE), "MPO", save_all=True, append_images=[Image.fromarray(255 - SCENE)]),
        "several pictures",
    ),
    "no scan": (JPEG[: JPEG.index(b"\xff\xda")], "no whole JPEG"),
    "cut segment": (JPEG[:12], "no whole JPEG"),
    "length below its own": (in_jpeg(JPEG, b"\xff\xfe\0\1"), "no whole JPEG"),
    "no marker": (in_jpeg(JPEG, b"text"), "no whole JPEG"),
    "room": (
        in_jpeg(
            JPEG, segment(0xE1, STANDARD + OLD.replace(b"by hand", b"by hand" + b"!" * (65504 - len(OLD))))
        ),
        "longer than the 65504",
    ),
    "JPEG with bad XMP": (in_jpeg(JPEG, segment(0xE1, STANDARD + b"rating: 5")), "not XML"),
    "PNG with bad XMP": (in_png(PNG, chunk(b"iTXt", ITXT + OLD[:-9])), "not XML"),
    "two chunks": (in_png(PNG, *[chunk(b"iTXt", ITXT + OLD)] * 2), "2 XMP packets"),
    "compressed": (
        in_png(PNG, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(OLD))),
        "compressed",
    ),
    "ImageMagick's": (in_png(PNG, chunk(b"zTXt", RAW + zlib.compress(b"\nxmp\n3\n"))), "ImageMagick"),
    "sum": (in_png(PNG, BAD_SUM), "no whole PNG"),
    "cut PNG": (PNG[:-6], "no whole PNG"),
    "no end": (PNG[:-12], "no whole PNG"),
    "no header": (PNG[:8] + PNG[33:], "no whole PNG"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_followed_is_left_as_it_is(tmp_path, kind):
    content, why = REFUSED[kind]
    path = saved(tmp_path, content)
    before = os.stat(path)
    with pytest.raises(DataError, match=why) as caught:
        write_original(path, *BOAT)
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).endswith("; it is left as it is")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content and os.stat(path).st_mtime_ns == before.st_mtime_ns
    assert list(tmp_path.iterdir()) == [path]


def test_the_room_of_a_jpeg_is_used_to_the_last_byte():
    xmp = OLD + b" " * (65504 - len(OLD))
    assert read_xmp(with_xmp(JPEG, xmp)) == xmp
    with pytest.raises(DataError, match="longer than the 65504"):
        with_xmp(JPEG, xmp + b" ")


def test_links_protected_files_and_folders_are_left(tmp_path):
    path, link = saved(tmp_path, JPEG), tmp_path / "link.jpg"
    link.symlink_to(path)
    with pytest.raises(DataError, match=r"link\.jpg: it is a link"):
        write_original(link, *BOAT)
    os.chmod(path, 0o444)
    with pytest.raises(DataError, match="it is write-protected"):
        write_original(path, *BOAT)
    with pytest.raises(DataError, match="no regular file"):
        write_original(tmp_path, *BOAT)
    with pytest.raises(FileNotFoundError):
        write_original(tmp_path / "gone.jpg", *BOAT)
    assert link.is_symlink() and path.read_bytes() == JPEG


def test_a_write_that_fails_leaves_the_old_picture(tmp_path, monkeypatch):
    path = saved(tmp_path, JPEG)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(originals.shutil, "copystat", full)
    with pytest.raises(OSError, match="No space left"):
        write_original(path, *BOAT)
    assert path.read_bytes() == JPEG and list(tmp_path.iterdir()) == [path]


@given(
    st.sampled_from([*WITHOUT.values(), *WITH.values()]),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4),
)
def test_a_damaged_picture_is_refused_or_keeps_its_other_bytes(content, damages):
    for share, put, removed in damages:
        at = int(share * min(len(content), 700))
        content = content[:at] + put + content[at + removed :]
    try:
        old, after = read_xmp(content), with_xmp(content, b"<new/>")
    except DataError:
        return
    assert read_xmp(after) == b"<new/>"
    if old is None:
        added = len(after) - len(content)
        assert any(after[:at] + after[at + added :] == content for at in range(len(content) + 1))
    else:
        assert with_xmp(after, old) == content


def test_a_tagged_picture_is_a_new_one_to_the_cache_and_gives_the_same_numbers(tmp_path):
    """The tutorial says so."""
    path, encoder = saved(tmp_path, PNG), load_encoder("pixels").image
    found = []
    for _ in range(2):
        hashes = [hash_file(path)]
        found.append((hashes, embed_images(encoder, ["a"], [path], hashes, cache=tmp_path / "c")[0]))
        write_original(path, *BOAT)
    assert found[0][0] != found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not on the PATH")
@pytest.mark.parametrize("kind", [*WITHOUT, *WITH])
def test_exiftool_reads_the_keywords(tmp_path, kind):
    path = saved(tmp_path, {**WITHOUT, **WITH}[kind])
    write_original(path, *BOAT)
    command = ["exiftool", "-j", "-validate", "-XMP:Subject", str(path)]
    (found,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["Subject"][-2:] == ["boat", "sea"]
