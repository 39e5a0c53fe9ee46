"""Some three hundred unusual and malformed picture files: read right or refused with a reason, in bounded memory."""

from __future__ import annotations

import hashlib
import stat
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from malformed_pictures import COLOURS, SMALL_PIXELS, Case, by_kind, encoded, make, measured, png
from rights import not_root

from vtm.corpora.pictures import PictureError, open_picture
from vtm.encoders import embed_images, load_encoder
from vtm.errors import DataError

SIZE = 64
PEAK_MB = 400
SLOWEST_SECONDS = 30


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> list[Case]:
    return make(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # Pillow warns of damaged EXIF
        yield


def test_there_are_enough_and_of_every_kind(cases):
    assert len(cases) >= 200 and len({case.path for case in cases}) == len(cases)
    kinds = dict(by_kind(cases))
    for kind in (
        *("truncated", "wrong extension", "zero bytes", "1 px", "20,000 px", "decompression bomb", "CMYK"),
        *("16 bit", "palette with transparency", "animation", "EXIF orientation", "HEIC", "SVG", "polyglot"),
        *("FIFO", "link loop", "folder", "name", "motion photo", "sparse file"),
    ):
        assert kinds[kind], kind


def test_good_files_show_the_scene(cases):
    wrong = []
    for case in cases:
        if case.good and case.scene.size < 3 * SMALL_PIXELS:
            picture = open_picture(case.path, size=None)
            assert picture.mode == "RGB"
            pixels = np.asarray(picture)
            if pixels.shape != case.scene.shape:
                wrong.append(f"{case.path.name!r}: {pixels.shape}, not {case.scene.shape}")
            elif (difference := case.difference(pixels)) > case.tolerance:
                wrong.append(f"{case.path.name!r}: off by {difference}")
    assert not wrong


def test_good_files_stand_upright_in_the_square(cases):
    """The middle of each field is where it must be, in a square of 96 pixels around a scene of 96 x 64."""
    for case in cases:
        if case.good and case.scene.shape == (32, 48, 3):
            square = np.asarray(open_picture(case.path, size=96)).astype(int)
            assert (square[:12] == 255).all() and (square[-12:] == 255).all(), case.path.name
            for row, column in ((8, 12), (8, 36), (24, 12), (24, 36)):
                difference = np.abs(square[16 + 2 * row, 2 * column] - case.scene[row, column]).max()
                assert difference <= max(case.tolerance, 2), (case.path.name, row, column)


def test_huge_and_thin_pictures_fit_the_square(cases):
    for case in cases:
        if case.good and case.scene.shape != (32, 48, 3) and case.kind in ("1 px", "20,000 px"):
            height, width, _ = case.scene.shape
            square = np.asarray(open_picture(case.path, size=SIZE)).astype(int)
            drawn = np.abs(square - COLOURS[0]).max(axis=2) <= 16
            expected = [max(1, round(SIZE * side / max(width, height))) for side in (height, width)]
            assert [drawn.any(axis=1).sum(), drawn.any(axis=0).sum()] == expected, case.path.name


def test_bad_files_are_refused_for_their_reason(cases):
    wrong = []
    for case in cases:
        if not case.good:
            with pytest.raises(PictureError) as caught:
                open_picture(case.path, size=SIZE)
            message = str(caught.value)
            assert "\n" not in message and len(message) > len(case.path.name[:50]), case.path.name
            if caught.value.reason != case.reason:
                wrong.append(f"{case.path.name!r}: {caught.value.reason}, not {case.reason}: {message}")
    assert not wrong


def test_message_of_a_name_with_line_breaks_is_one_line(tmp_path):
    path = tmp_path / "two\nlines\r.png"
    path.write_bytes(b"no picture")
    with pytest.raises(PictureError) as caught:
        open_picture(path, size=SIZE)
    assert (
        "two\\nlines\\r.png: not a picture" in str(caught.value) and len(str(caught.value).splitlines()) == 1
    )


def content_hash(path: Path) -> str:
    """Hash of a regular file; of anything else, that of its name, as if it had changed since."""
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        regular = False
    return hashlib.sha256(path.read_bytes() if regular else repr(path).encode()).hexdigest()


def test_embedding_goes_on_past_every_bad_file(cases, tmp_path):
    encoder = load_encoder("pixels").image
    cases = [case for case in cases if case.kind != "sparse file"]  # hashing that one takes long
    # The good ones first make the clean run; then all, mixed, in another cache.
    good = [case for case in cases if case.good]
    ids = {case.path: f"picture {number}" for number, case in enumerate(cases)}
    hashes = {case.path: content_hash(case.path) for case in cases}

    def embed(some: list[Case], cache: str):
        paths = [case.path for case in some]
        return embed_images(
            encoder, [ids[p] for p in paths], paths, [hashes[p] for p in paths], cache=tmp_path / cache
        )

    mixed = [cases[row] for row in np.random.default_rng(0).permutation(len(cases))]
    clean, clean_ids, clean_dropped = embed(good, "clean")
    rows, kept, dropped = embed(mixed, "mixed")
    assert clean_dropped == () and len(clean_ids) == len(good)
    assert set(kept) == set(clean_ids)
    expected = dict(zip(clean_ids, clean, strict=True))
    for id, row in zip(kept, rows, strict=True):
        np.testing.assert_array_equal(row, expected[id], err_msg=id)
    assert len(kept) + len(dropped) == len(cases)
    reasons = {ids[case.path]: case.reason for case in cases if not case.good}
    assert {item.id: item.reason for item in dropped} == reasons
    assert Counter(item.reason for item in dropped) == Counter(reasons.values())
    assert all(item.detail and "\n" not in item.detail for item in dropped)
    # Again from the cache: the good ones as they were, the bad ones tried and refused again.
    again, kept_again, dropped_again = embed(mixed, "mixed")
    np.testing.assert_array_equal(again, rows)
    assert (kept_again, dropped_again) == (kept, dropped)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by Linux's /proc")
def test_memory_and_time_are_bounded(cases):
    told = measured(cases)
    assert told["outcomes"] == [case.reason for case in cases]
    assert told["peak_mb"] < PEAK_MB, told
    # Far above what any of them takes; without the limit of scans scans.jpg alone takes longer.
    assert told["slowest"][1] < SLOWEST_SECONDS, told["slowest"]


def test_an_icon_is_measured_by_the_picture_inside(tmp_path):
    """Pillow decodes an ICO while it reads its header, so the limit must be applied before."""
    inside = png(1_100, 1_000, bytes(1_000 * 1_101), colour=0)
    directory = (
        b"\0\0\1\0\1\0\x20\x20\0\0\1\0\x20\0" + len(inside).to_bytes(4, "little") + (22).to_bytes(4, "little")
    )
    (tmp_path / "a.ico").write_bytes(directory + inside)
    with pytest.raises(PictureError, match="1.1 megapixels, more than the limit of 1;"):
        open_picture(tmp_path / "a.ico", size=SIZE, max_pixels=SMALL_PIXELS)


def test_a_file_without_permission_is_told_from_a_damaged_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the folders above are closed to the other user
    tmp_path.chmod(0o755)
    Path("closed.png").write_bytes(encoded(np.zeros((9, 9, 3), np.uint8), "PNG"))
    Path("closed.png").chmod(0)
    with not_root(), pytest.raises(DataError, match="^closed.png: no permission to read it") as caught:
        open_picture("closed.png", size=SIZE)
    assert caught.value.reason == "unreadable"
