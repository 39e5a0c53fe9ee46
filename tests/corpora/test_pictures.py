from __future__ import annotations

import os
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from camera_files import HEIC, camera_file, left_red, turned
from malformed_pictures import progressive_bomb
from PIL import Image

from vtm.corpora import pictures as module
from vtm.corpora.pictures import looks, open_picture
from vtm.errors import DataError


def pixels(path: Path, size: int = 32, **options: int) -> np.ndarray:
    picture = open_picture(path, size=size, **options)
    assert picture.mode == "RGB" and picture.size == (size, size)
    return np.asarray(picture).astype(int)


def big_png(path: Path, width: int, height: int) -> Path:
    """A PNG whose header promises width x height and whose content is not there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp", "tiff", "ppm"])
def test_formats_give_the_same_colour(tmp_path, suffix):
    path = tmp_path / f"red.{suffix}"
    Image.new("RGB", (40, 40), (200, 30, 20)).save(path)
    assert np.abs(pixels(path) - [200, 30, 20]).max() <= 6


def test_content_counts_not_suffix(tmp_path):
    Image.new("RGB", (8, 8), (0, 0, 255)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.txt")
    assert pixels(tmp_path / "a.txt")[16, 16].tolist() == [0, 0, 255]


@pytest.mark.parametrize("width,height", [(200, 100), (100, 200), (4, 2), (3000, 1)])
def test_aspect_is_kept_and_the_rest_is_white(tmp_path, width, height):
    path = tmp_path / "black.png"
    Image.new("RGB", (width, height)).save(path)
    drawn = pixels(path).sum(axis=2) < 3 * 128
    rows, columns = drawn.any(axis=1).sum(), drawn.any(axis=0).sum()
    assert (columns, rows) == (
        max(1, round(32 * width / max(width, height))),
        max(1, round(32 * height / max(width, height))),
    )
    centre = np.argwhere(drawn).mean(axis=0)
    assert np.abs(centre - 15.5).max() <= 0.5


def half_transparent(mode: str, path: Path) -> None:
    """Left half black and opaque, right half transparent over a colour that must not show."""
    alpha = np.zeros((32, 32), np.uint8)
    alpha[:, :16] = 255
    if mode in ("RGBA", "LA"):
        picture = Image.new(mode[:-1], (32, 32))
        picture.putalpha(Image.fromarray(alpha))
        picture.save(path)
    elif mode == "P":
        picture = Image.fromarray((alpha == 0).astype(np.uint8))
        picture = picture.convert("P")
        picture.putpalette([0, 0, 0, 10, 200, 10])
        picture.save(path, transparency=1)
    elif mode == "P-bytes":
        picture = Image.fromarray((alpha == 0).astype(np.uint8)).convert("P")
        picture.putpalette([0, 0, 0, 10, 200, 10])
        picture.save(path, transparency=bytes([255, 0]))
    elif mode == "RGB":
        grey = np.where(alpha == 255, 0, 77).astype(np.uint8)
        Image.fromarray(np.stack([grey] * 3, axis=2)).save(path, transparency=(77, 77, 77))
    elif mode == "I;16":
        Image.fromarray(np.where(alpha == 255, 0, 30000).astype(np.uint16)).save(path, transparency=30000)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P-bytes", "RGB", "I;16"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    path = tmp_path / "half.png"
    half_transparent(mode, path)
    got = pixels(path)
    assert got[:, :16].max() == 0
    assert got[:, 16:].min() == 255


def test_partial_alpha_is_blended(tmp_path):
    Image.new("RGBA", (20, 20), (0, 0, 0, 51)).save(tmp_path / "a.png")
    assert np.abs(pixels(tmp_path / "a.png") - 204).max() <= 1


def test_transparent_colours_do_not_bleed_when_shrunk(tmp_path):
    colours = np.zeros((320, 320, 4), np.uint8)
    colours[..., 0] = 255  # red everywhere, visible in no pixel of every second column
    colours[:, ::2, 3] = 255
    Image.fromarray(colours).save(tmp_path / "a.png")
    got = pixels(tmp_path / "a.png")[8:24, 8:24]
    assert np.abs(got - [255, 128, 128]).max() <= 4


@pytest.mark.parametrize("value,expected", [(0, 0), (65535, 255), (32896, 128)])
def test_sixteen_bit_grey_is_scaled(tmp_path, value, expected):
    Image.fromarray(np.full((20, 20), value, np.uint16)).save(tmp_path / "grey.png")
    assert np.abs(pixels(tmp_path / "grey.png") - expected).max() <= 1


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_float_grey_goes_from_darkest_to_brightest(tmp_path, white_is_zero):
    ramp = np.tile(np.linspace(-3, 5, 32, dtype=np.float32), (32, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.tiff", tiffinfo={262: 0 if white_is_zero else 1})
    got = pixels(tmp_path / "ramp.tiff")[0, :, 0]
    expected = np.linspace(0, 255, 32)
    assert np.abs(got - (expected[::-1] if white_is_zero else expected)).max() <= 1


def comment(n_bytes: int, content: bytes = b"") -> bytes:
    """A segment of a JPEG, of so many bytes in all."""
    return b"\xff\xfe" + (n_bytes - 2).to_bytes(2) + content.ljust(n_bytes - 4, b".")


def test_scans_of_a_jpeg_are_counted_up_to_its_end(tmp_path):
    path = tmp_path / "a.jpg"

    def refused(content: bytes) -> bool:
        path.write_bytes(content)
        try:
            assert open_picture(path, size=32).size == (32, 32)
        except DataError as error:
            assert str(error) == f"{path}: a JPEG of more than 100 scans, the limit; save it anew"
            return True
        return False

    good, bad = progressive_bomb(64, 64, 99), progressive_bomb(64, 64, 100)  # and one before them
    assert not refused(good) and refused(bad)
    assert not refused(good + bad)
    # What is inside a segment is neither a scan nor the end; fill bytes may stand before a marker.
    inside = comment(500, b"\xff\xda" * 200), comment(9, b"\xff\xd9")
    assert not refused(good[:-2] + inside[0] + good[-2:])
    assert refused(bad[:2] + inside[1] + bad[2:])
    assert refused(bad.replace(b"\xff\xda", b"\xff" * 70_000 + b"\xff\xda"))
    # Wherever a marker lies to the chunks that the file is read in.
    first = good.index(b"\xff\xda")
    for shift in range(-8, 8):
        padding = comment(60_000) + comment((1 << 16) - 60_000 - first + shift)
        assert not refused(good[:first] + padding + good[first:]), shift
        assert refused(bad[:first] + padding + bad[first:]), shift


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr", "LAB", "I"])
def test_other_modes(tmp_path, mode):
    whites = {"1": 1, "L": 255, "CMYK": (0, 0, 0, 0), "YCbCr": (255, 128, 128), "LAB": (255, 128, 128)}
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "tiff"
    Image.new(mode, (20, 20), whites.get(mode, 0)).save(tmp_path / f"a.{suffix}")
    assert np.abs(pixels(tmp_path / f"a.{suffix}") - (0 if mode == "I" else 255)).max() <= 3


@pytest.mark.parametrize("mode,suffix", [("RGB", "jpg"), ("RGBA", "png"), ("P", "png")])
def test_exif_orientation_is_applied(tmp_path, mode, suffix):
    picture = Image.new("RGB", (64, 32), (255, 255, 255))
    picture.paste((0, 0, 0), (0, 0, 32, 32))  # left half black
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    picture.convert(mode).save(tmp_path / f"a.{suffix}", exif=exif)
    got = pixels(tmp_path / f"a.{suffix}").mean(axis=2)
    assert got[2:14, 10:22].max() < 20  # the left has become the top, in the middle of the square
    assert got[18:].min() > 235 and got[:, :6].min() > 235


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    for suffix in ("gif", "webp", "png"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
        assert np.abs(pixels(path) - [255, 0, 0]).max() <= 3, suffix


def test_large_jpeg_is_like_the_plain_way(tmp_path):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    coarse.resize((3000, 3000), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", quality=95)
    plain = Image.open(tmp_path / "a.jpg").resize((32, 32), Image.Resampling.BICUBIC)
    assert np.abs(pixels(tmp_path / "a.jpg") - np.asarray(plain).astype(int)).max() <= 5


@pytest.mark.parametrize("width,height", [(21_000, 12_000), (60_000, 60_000)])
def test_too_many_pixels_are_refused_by_the_header(tmp_path, width, height):
    path = big_png(tmp_path / "big.png", width, height)
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError) as caught:
            open_picture(path, size=32)
    megapixels = f"{width * height / 1e6:g}"
    assert str(caught.value) == (
        f"{path}: {megapixels} megapixels, more than the limit of 250; shrink it, or raise the limit (--max-pixels, in "
        "Python max_pixels)"
    )
    assert caught.value.reason == "too-large"
    assert Image.MAX_IMAGE_PIXELS == limit


def test_limit_can_be_raised_and_lowered(tmp_path):
    Image.new("1", (10_000, 9_500)).save(tmp_path / "a.png")  # 95 megapixels: Pillow itself would warn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(tmp_path / "a.png", max_pixels=95_000_000).max() == 255  # the white margin
    with pytest.raises(DataError, match="0.01 megapixels, more than the limit of 0.0099"):
        Image.new("L", (100, 100)).save(tmp_path / "b.png")
        open_picture(tmp_path / "b.png", size=32, max_pixels=9_900)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp", "tiff"])
def test_truncated_files_are_refused(tmp_path, suffix):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(tmp_path / f"a.{suffix}")
    content = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(DataError, match=f"a.{suffix}: ") as caught:
        open_picture(tmp_path / f"a.{suffix}", size=32)
    assert caught.value.reason == "unreadable"


def test_what_is_no_picture_is_named_with_its_reason(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<svg></svg>")
    (tmp_path / "postscript.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "fifo.png")
    expected = {
        "empty.png": ("unreadable", "is empty"),
        "text.png": ("unreadable", "not a picture in a format that can be read"),
        "postscript.eps": ("unreadable", "not a picture in a format that can be read"),
        "folder.png": ("not-a-file", "is a folder"),
        "fifo.png": ("not-a-file", "is a FIFO"),
        "dangling.png": ("missing", "no such file"),
        "none.png": ("missing", "no such file"),
        "text.png/inside.png": ("missing", "no such file"),
    }
    for name, (reason, words) in expected.items():
        with pytest.raises(DataError) as caught:
            open_picture(tmp_path / name, size=32)
        assert caught.value.reason == reason, name
        assert str(caught.value).startswith(f"{tmp_path / name}: ") and words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_threads_get_what_one_thread_gets(tmp_path):
    paths = []
    for number in range(40):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (30, 20), (number * 6, 0, 255 - number * 6)).save(paths[-1])
    limit = Image.MAX_IMAGE_PIXELS
    got: dict[Path, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda part=paths[i::4]: got.update({path: pixels(path) for path in part}))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(got[path], pixels(path)) for path in paths)
    assert Image.MAX_IMAGE_PIXELS == limit


# From 8160 x 6144, a telephone, to the largest back of a studio camera and the largest sensor of a telephone.
@pytest.mark.parametrize("width,height", [(8_160, 6_144), (14_204, 10_652), (16_320, 12_240)])
def test_what_cameras_make_is_within_the_limit(tmp_path, monkeypatch, width, height):
    monkeypatch.setattr(module, "_decode", lambda path, image, size: image.size)
    assert open_picture(big_png(tmp_path / "a.png", width, height), size=32) == (width, height)


@pytest.mark.parametrize(
    ("name", "size", "waits"),
    [("a.jpg", 112, False), ("a.jpg", None, True), ("a.png", 112, True), ("progressive.jpg", 112, True)],
)
def test_only_what_takes_much_memory_is_decoded_one_at_a_time(tmp_path, monkeypatch, name, size, waits):
    """A telephone's JPEG is made smaller as it is read, and threads read several at once."""
    from vtm.corpora import pictures

    taken = []

    class Lock:
        def __enter__(self):
            taken.append(name)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(pictures, "_large_picture", Lock())
    options = {"progressive": True, "subsampling": 0} if name.startswith("progressive") else {}
    Image.new("RGB", (4000, 3000), "teal").save(tmp_path / name, **options)
    assert open_picture(tmp_path / name, size=size).getpixel((50, 50)) == pytest.approx((0, 128, 128), abs=5)
    assert bool(taken) == waits


def test_a_picture_that_takes_too_much_memory_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    """What decoding takes is worked out here from the format's own rules, not from the table."""
    monkeypatch.setattr(module, "MAX_DECODED", 3_000_000)
    drawn = Image.linear_gradient("L").resize((1000, 800)).convert("RGB")
    told = {}
    for name, options in {
        "plain.jpg": {},
        "progressive.jpg": {"progressive": True, "subsampling": 0},
    }.items():
        drawn.save(tmp_path / name, **options)
        told[name] = pixels(tmp_path / name) if name == "plain.jpg" else None
    assert told["plain.jpg"].std() > 10  # decoded at an eighth: 4 x 100 x 100 bytes
    # Two bytes for each of three coefficients of 800,000 pixels, and the picture made small.
    with pytest.raises(
        DataError, match="0.0049 GB of memory to decode, more than the limit of 0.003; "
    ) as caught:
        open_picture(tmp_path / "progressive.jpg", size=32)
    assert caught.value.reason == "too-large"
    drawn.save(tmp_path / "a.png")  # four bytes a pixel
    with pytest.raises(DataError, match="0.0032 GB"):
        open_picture(tmp_path / "a.png", size=32)


def test_grey_of_sixteen_bits_is_scaled_in_strips_as_at_once(tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(size=(70, 50)).astype(np.float32)
    values[3, 4], values[60, 2] = np.nan, np.inf
    Image.fromarray(values).save(tmp_path / "a.tiff")
    at_once = np.asarray(open_picture(tmp_path / "a.tiff", size=None))
    monkeypatch.setattr(module, "_STRIP_ROWS", 16)
    assert np.array_equal(np.asarray(open_picture(tmp_path / "a.tiff", size=None)), at_once)
    finite = values[np.isfinite(values)].astype(float)
    row = (values[10].astype(float) - finite.min()) * 255 / (finite.max() - finite.min())
    assert np.abs(at_once[10, :, 0] - row).max() <= 0.51


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_huge_picture_that_is_wanted_whole_is_halved(tmp_path, monkeypatch, name):
    picture = Image.linear_gradient("L").resize((600, 400)).convert("RGB")
    picture.save(tmp_path / name, quality=95, exif=turned(6))
    assert open_picture(tmp_path / name, size=None).size == (400, 600)
    monkeypatch.setattr(module, "MAX_WHOLE", 59_999)  # of 240,000: a half is still too much
    halved = open_picture(tmp_path / name, size=None)
    assert halved.size == (100, 150)
    plain = picture.transpose(Image.Transpose.ROTATE_270).resize((100, 150), Image.Resampling.BOX)
    assert np.abs(np.asarray(halved).astype(int) - np.asarray(plain)).max() <= 6


def test_a_telephones_heic_is_read_upright(tmp_path):
    pytest.importorskip("pi_heif")
    (tmp_path / "a.HEIC").write_bytes(HEIC)
    (tmp_path / "b.jpg").write_bytes(HEIC)  # content counts
    for name in ("a.HEIC", "b.jpg"):
        picture = np.asarray(open_picture(tmp_path / name, size=None)).astype(int)
        assert picture.shape == (96, 64, 3)
        # Stored: red, green above blue, yellow; turned to the right by a quarter.
        for row, column, colour in (
            (9, 9, (40, 60, 200)), (9, -9, (220, 40, 30)), (-9, 9, (240, 210, 40)), (-9, -9, (30, 150, 60))
        ):  # fmt: skip
            assert np.abs(picture[row, column] - colour).max() <= 8
    with pytest.raises(DataError, match="0.006144 megapixels, more than the limit of 0.006"):
        open_picture(tmp_path / "a.HEIC", size=32, max_pixels=6_000)
    (tmp_path / "c.heic").write_bytes(HEIC[:500])
    with pytest.raises(DataError, match="c.heic: ") as caught:
        open_picture(tmp_path / "c.heic", size=32)
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize("inside", [1, 6])
@pytest.mark.parametrize("orientation,red", [(1, "left"), (3, "right"), (6, "top"), (8, "bottom")])
def test_of_a_cameras_raw_file_the_preview_is_taken_and_turned(tmp_path, orientation, red, inside):
    """As the camera says; where the preview says how it is to be turned, too, it says the same."""
    pytest.importorskip("rawpy")
    content = camera_file(left_red(orientation if inside > 1 else 1), orientation)
    (tmp_path / "a.DNG").write_bytes(content)
    with Image.open(tmp_path / "a.DNG") as taken_for_a_tiff:
        assert taken_for_a_tiff.format == "TIFF"
    picture = np.asarray(open_picture(tmp_path / "a.DNG", size=None)).astype(int)
    assert picture.shape == ((240, 320, 3) if orientation in (1, 3) else (320, 240, 3))
    middle = [side // 2 for side in picture.shape[:2]]
    row, column = {
        "left": (middle[0], 9), "right": (middle[0], -9), "top": (9, middle[1]), "bottom": (-9, middle[1])
    }[red]  # fmt: skip
    assert np.abs(picture[row, column] - (200, 30, 20)).max() <= 8
    assert np.abs(picture[-1 - row, -1 - column] - (20, 30, 200)).max() <= 8


def test_a_raw_file_that_cannot_be_read_is_named_with_the_remedy(tmp_path):
    pytest.importorskip("rawpy")
    (tmp_path / "noise.cr3").write_bytes(np.random.default_rng(0).bytes(2000))
    (tmp_path / "empty.nef").touch()
    Image.new("RGB", (9, 9)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "tiff.nef")
    for name in ("noise.cr3", "empty.nef", "tiff.nef"):
        with pytest.raises(DataError, match=f"{name}: ") as caught:
            open_picture(tmp_path / name, size=32)
        assert caught.value.reason == "unreadable" and "\n" not in str(caught.value)


def test_where_a_library_is_missing_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    noise = np.random.default_rng(0).bytes(2000)
    for name, content, words in (
        (
            "a.heic",
            HEIC,
            "is HEIF, as HEIC, which pi-heif reads; pip install 'visual-topic-modelling[photos]'",
        ),
        (
            "b.png",
            HEIC,
            "is HEIF, as HEIC, which pi-heif reads; pip install 'visual-topic-modelling[photos]'",
        ),
        (
            "c.HEIC",
            noise,
            "is HEIF, as HEIC, which pi-heif reads; pip install 'visual-topic-modelling[photos]'",
        ),
        (
            "d.CR3",
            noise,
            "is a camera's RAW file, which rawpy reads; pip install 'visual-topic-modelling[photos]'",
        ),
        ("e.jxl", noise, "is JPEG XL, which is not read; save it as JPEG or PNG"),
        ("f.jpg", b"\xff\x0a" + noise, "is JPEG XL, which is not read; save it as JPEG or PNG"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            open_picture(tmp_path / name, size=32)
        assert str(caught.value) == f"{tmp_path / name}: {words}" and caught.value.reason == "unreadable"


def test_looks_are_those_of_the_pixels_whatever_the_file(tmp_path):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, size=(40, 60, 3), dtype=np.uint8))
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.png", compress_level=0)
    picture.save(tmp_path / "c.bmp")
    turned.save(tmp_path / "d.png", exif=exif)
    picture.convert("RGBA").save(tmp_path / "e.tiff")
    turned.save(tmp_path / "turned.png")
    names = ["a.png", "b.png", "c.bmp", "d.png", "e.tiff", "turned.png"]
    seen = looks(tmp_path / name for name in names)
    assert len(set(seen[:5])) == 1 and seen[5] != seen[0]
    Image.new("RGBA", (9, 9), (5, 5, 5, 0)).save(tmp_path / "clear.png")
    Image.new("L", (9, 9), 7).save(tmp_path / "grey.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    assert looks(tmp_path / f"{name}.png" for name in ("clear", "grey", "torn", "gone")) == [
        "",
        "",
        None,
        None,
    ]
