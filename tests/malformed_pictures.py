"""A corpus of unusual and malformed picture files, made on the spot: what each is, and what must come of it.

All show one scene of four coloured fields, or pretend to. A good file must be read as the scene; any other must be
refused for its reason, soon and in little memory.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 48, 32
COLOURS = (
    (220, 40, 30),
    (30, 150, 60),
    (40, 60, 200),
    (240, 210, 40),
)  # top left, top right, bottom left, ...
GREYS = (20, 90, 160, 230)
ALPHAS = (255, 255, 128, 0)
# How far a pixel may be off, out of 255: exact formats, and those that lose something.
EXACT, LOSSY = 1, 14
LONG_BYTES = 600 << 20
SMALL_PIXELS = 1_000_000
# One process reads all files in this address space; a telephone's picture of 200 megapixels alone is 800 MB, decoded.
MEMORY_LIMIT_MB = 3_000
UNREADABLE, TOO_LARGE, NOT_A_FILE, MISSING = "unreadable", "too-large", "not-a-file", "missing"


@dataclass(frozen=True)
class Case:
    """A file, its kind, and the reason it is refused for; or the scene (H, W, 3) it shows, if it is good."""

    path: Path
    kind: str
    reason: str = ""
    scene: np.ndarray | None = None
    tolerance: int = EXACT

    @property
    def good(self) -> bool:
        return not self.reason

    def difference(self, pixels: np.ndarray) -> int:
        """How far pixels (H, W, 3) are off the scene; of formats that lose something, inside the fields only."""
        difference = np.abs(pixels.astype(np.int16) - self.scene)
        if self.tolerance == LOSSY and self.scene.shape == SCENE.shape:
            difference = np.concatenate([difference[:10], difference[-10:]])
            difference = np.concatenate([difference[:, :14], difference[:, -14:]], axis=1)
        return int(difference.max())


def fields(values: tuple[Any, ...]) -> np.ndarray:
    """(32, 48, ...) uint8: the scene with a value for each of its four fields."""
    rows = np.arange(HEIGHT)[:, None] // (HEIGHT // 2)
    columns = np.arange(WIDTH)[None, :] // (WIDTH // 2)
    return np.array(values, dtype=np.uint8)[2 * rows + columns]


SCENE = fields(COLOURS)
GREY = fields(GREYS)
ALPHA = fields(ALPHAS)
GREY_SCENE = np.repeat(GREY[..., None], 3, axis=2)


def on_white(colours: np.ndarray) -> np.ndarray:
    alpha = ALPHA[..., None] / 255
    return np.rint(colours * alpha + 255 * (1 - alpha)).astype(np.uint8)


def encoded(picture: Image.Image | np.ndarray, format: str, **options: Any) -> bytes:
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def png(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int = 8,
    colour: int = 2,
    interlace: int = 0,
    **chunks: bytes,
) -> bytes:
    """A PNG written by hand; `rows` are the filtered rows, not compressed yet; `chunks` stand before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = b"".join(chunk(kind.encode(), data) for kind, data in chunks.items())
    compressed = chunk(b"IDAT", zlib.compress(rows, 6))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + compressed + chunk(b"IEND", b"")


def rows_of(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def interlaced() -> bytes:
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    rows = b"".join(rows_of(SCENE[top::down, left::right]) for top, left, down, right in passes)
    return png(WIDTH, HEIGHT, rows, interlace=1)


def turned(orientation: int, pixels: np.ndarray) -> np.ndarray:
    """The pixels to store so that, seen with this EXIF orientation, they are upright again."""
    inverse: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(inverse[orientation](pixels))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def without_segment(jpeg: bytes, marker: int) -> bytes:
    """A JPEG without its segments of a marker such as 0xEE (Adobe)."""
    out, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        out += b"" if jpeg[at + 1] == marker else jpeg[at:end]
        at = end
    return out + jpeg[at:]


def progressive_bomb(width: int, height: int, n_scans: int) -> bytes:
    """A small JPEG whose every scan goes over all blocks again and says nothing new of them."""
    quantisation = b"\xff\xdb\x00\x43\x00" + bytes([1] * 64)
    frame = b"\xff\xc2\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00"
    # One symbol, the run of 2^14 to 2^15 - 1 blocks without coefficients; its code is the bit 0.
    table = b"\xff\xc4" + struct.pack(">H", 2 + 1 + 16 + 1) + b"\x10" + b"\x01" + bytes(15) + b"\xe0"
    dc = b"\xff\xc4" + struct.pack(">H", 2 + 1 + 16 + 1) + b"\x00" + b"\x01" + bytes(15) + b"\x00"
    blocks = -(-width // 8) * -(-height // 8)
    first = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00" + bytes(-(-blocks // 8))
    bits = ("0" + "1" * 14) * -(-blocks // 32767)
    bits += "1" * (-len(bits) % 8)
    runs = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\x00")
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00" + runs
    return b"\xff\xd8" + quantisation + frame + dc + table + first + scan * n_scans + b"\xff\xd9"


class Corpus:
    """The cases of a folder, as they are made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases: list[Case] = []

    def good(
        self,
        kind: str,
        name: str,
        content: bytes,
        scene: np.ndarray = SCENE,
        tolerance: int = EXACT,
    ) -> None:
        path = self.folder / name
        path.write_bytes(content)
        self.cases.append(Case(path, kind, scene=scene, tolerance=tolerance))

    def bad(self, kind: str, name: str, content: bytes, reason: str = UNREADABLE) -> None:
        path = self.folder / name
        path.write_bytes(content)
        self.cases.append(Case(path, kind, reason))

    def too_long(self, kind: str, name: str, content: bytes) -> None:
        """A good picture followed by so many nulls that the file is too large; they take no room on most file systems."""
        self.bad(kind, name, content, TOO_LARGE)
        os.truncate(self.folder / name, LONG_BYTES)

    def place(self, kind: str, name: str, reason: str, make: Callable[[Path], object]) -> None:
        path = self.folder / name
        make(path)
        self.cases.append(Case(path, kind, reason))


def make(folder: Path) -> list[Case]:
    """Make all files in an empty folder."""
    corpus = Corpus(folder)
    for part in (plain, alphas, deep, animations, orientations, names, truncations, garbage):
        part(corpus)
    for part in (bombs, polyglots, foreign, damaged_headers, places):
        part(corpus)
    return corpus.cases


FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "gif": {"format": "GIF"},
    "webp": {"format": "WEBP", "lossless": True},
    "bmp": {"format": "BMP"},
    "tiff": {"format": "TIFF"},
    "ppm": {"format": "PPM"},
    "jp2": {"format": "JPEG2000"},
    "avif": {"format": "AVIF", "quality": 95, "subsampling": "4:4:4"},
}
LOSSLESS = ("png", "gif", "webp", "bmp", "tiff", "ppm", "jp2")


def plain(corpus: Corpus) -> None:
    for suffix, options in FORMATS.items():
        tolerance = EXACT if suffix in LOSSLESS else LOSSY
        corpus.good("plain", f"plain.{suffix}", encoded(SCENE, **options), tolerance=tolerance)
    for suffix in ("png", "jpg", "tiff", "webp", "bmp"):
        content = encoded(GREY_SCENE if suffix == "webp" else GREY, **FORMATS[suffix])
        corpus.good("grey", f"grey.{suffix}", content, GREY_SCENE, LOSSY)
    palette = Image.fromarray(SCENE).quantize(8, dither=Image.Dither.NONE)
    for suffix in ("png", "gif", "bmp", "tiff"):
        corpus.good("palette", f"palette.{suffix}", encoded(palette, FORMATS[suffix]["format"]))
    corpus.good("interlaced", "interlaced.png", interlaced())
    corpus.good(
        "progressive",
        "progressive.jpg",
        encoded(SCENE, "JPEG", quality=95, progressive=True),
        tolerance=LOSSY,
    )
    fine = encoded(SCENE, "JPEG", quality=95, subsampling=0, progressive=True)
    film = np.random.default_rng(2).bytes(8 << 20)  # FF DA, the marker of a scan, is in it over 100 times
    corpus.good("motion photo", "motion-photo.jpg", fine + film, tolerance=LOSSY)
    corpus.too_long("sparse file", "sparse.jpg", fine)
    corpus.good("subsampled", "subsampled.jpg", encoded(SCENE, "JPEG", quality=90), tolerance=LOSSY)
    bits = GREY > 127
    two = np.repeat(np.where(bits, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    for suffix in ("png", "tiff", "bmp"):
        corpus.good(
            "one bit", f"one-bit.{suffix}", encoded(Image.fromarray(bits), FORMATS[suffix]["format"]), two
        )
    cmyk = Image.fromarray(SCENE).convert("CMYK")
    inverted = encoded(cmyk, "JPEG", quality=95)  # as Adobe's programs write it, and Pillow too
    corpus.good("CMYK", "cmyk-adobe.jpg", inverted, tolerance=LOSSY)
    corpus.good("CMYK", "cmyk-no-marker.jpg", without_segment(inverted, 0xEE), tolerance=LOSSY)
    corpus.good("CMYK", "cmyk.tiff", encoded(cmyk, "TIFF"))
    corpus.good("CMYK", "cmyk-lzw.tiff", encoded(cmyk, "TIFF", compression="tiff_lzw"))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        corpus.good("compressed TIFF", f"{compression}.tiff", encoded(SCENE, "TIFF", compression=compression))
    for size in ((1, 1), (1, 40), (40, 1), (20_000, 1), (1, 20_000), (20_000, 40), (20_000, 2_000)):
        width, height = size
        scene = np.broadcast_to(np.array(COLOURS[0], dtype=np.uint8), (height, width, 3))
        kind = "20,000 px" if max(size) == 20_000 else "1 px"
        corpus.good(kind, f"{width}x{height}.png", png(width, height, rows_of(scene)), scene)
    telephone = Image.new("L", (16_320, 12_240), 128)
    grey = np.broadcast_to(np.uint8(128), (12_240, 16_320, 3))
    corpus.good("200 megapixels", "telephone.jpg", encoded(telephone, "JPEG"), grey, LOSSY)
    wide = Image.new("RGB", (20_000, 50), COLOURS[0])
    corpus.good("20,000 px", "wide.jpg", encoded(wide, "JPEG", quality=95), np.asarray(wide), LOSSY)


def alphas(corpus: Corpus) -> None:
    colour, grey = on_white(SCENE), on_white(GREY_SCENE)
    rgba = np.dstack([SCENE, ALPHA])
    for suffix in ("png", "webp", "tiff", "avif"):
        tolerance = LOSSY if suffix == "avif" else 2
        corpus.good("transparency", f"rgba.{suffix}", encoded(rgba, **FORMATS[suffix]), colour, tolerance)
    corpus.good("transparency", "rgba-lossy.webp", encoded(rgba, "WEBP", quality=95), colour, LOSSY)
    la = Image.fromarray(np.dstack([GREY, ALPHA]), "LA")
    corpus.good("transparency", "la.png", encoded(la, "PNG"), grey, 2)
    corpus.good("transparency", "ico-rgba.ico", encoded(rgba, "ICO", sizes=[(WIDTH, HEIGHT)]), colour, 2)
    corpus.good(
        "transparency", "ico-bmp.ico",
        encoded(rgba, "ICO", sizes=[(WIDTH, HEIGHT)], bitmap_format="bmp"), colour, 2,
    )  # fmt: skip
    index = Image.fromarray(fields((0, 1, 2, 3)), "P")
    index.putpalette([value for rgb in COLOURS for value in rgb])
    corpus.good(
        "palette with transparency",
        "palette-bytes.png",
        encoded(index, "PNG", transparency=bytes(ALPHAS)),
        colour,
        2,
    )
    last = SCENE.copy()
    last[ALPHA == 0] = 255
    for suffix in ("png", "gif"):
        content = encoded(index, FORMATS[suffix]["format"], transparency=3)
        corpus.good("palette with transparency", f"palette-index.{suffix}", content, last)
    corpus.good("transparency", "rgb-key.png", encoded(SCENE, "PNG", transparency=COLOURS[3]), last)
    key = GREY_SCENE.copy()
    key[ALPHA == 0] = 255
    corpus.good("transparency", "grey-key.png", encoded(GREY, "PNG", transparency=GREYS[3]), key)


def deep(corpus: Corpus) -> None:
    """Sixteen bits a channel; a value is 257 times that of eight bits, so that the scene is the same."""
    grey16, colour16 = GREY.astype(np.uint16) * 257, SCENE.astype(np.uint16) * 257
    kind = "16 bit"
    corpus.good(kind, "grey16.png", encoded(grey16, "PNG"), GREY_SCENE)
    corpus.good(kind, "grey16.tiff", encoded(grey16, "TIFF"), GREY_SCENE)
    corpus.good(kind, "grey16.jp2", encoded(grey16, "JPEG2000"), GREY_SCENE)
    big = Image.frombytes("I;16B", (WIDTH, HEIGHT), grey16.astype(">u2").tobytes())
    corpus.good(kind, "grey16-big-endian.tiff", encoded(big, "TIFF"), GREY_SCENE)
    inverted = encoded(65535 - grey16, "TIFF", tiffinfo={262: 0})  # PhotometricInterpretation: zero is white
    corpus.good(kind, "grey16-white-is-zero.tiff", inverted, GREY_SCENE)
    head = f"{WIDTH} {HEIGHT} 65535\n".encode()
    corpus.good(kind, "grey16.pgm", b"P5 " + head + grey16.astype(">u2").tobytes(), GREY_SCENE)
    corpus.good(kind, "rgb16.ppm", b"P6 " + head + colour16.astype(">u2").tobytes())
    corpus.good(kind, "rgb16.png", png(WIDTH, HEIGHT, rows_of(colour16.astype(">u2")), depth=16))
    rgba16 = np.dstack([colour16, ALPHA.astype(np.uint16) * 257])
    content = png(WIDTH, HEIGHT, rows_of(rgba16.astype(">u2")), depth=16, colour=6)
    corpus.good(kind, "rgba16.png", content, on_white(SCENE), 2)
    la16 = np.dstack([grey16, ALPHA.astype(np.uint16) * 257])
    content = png(WIDTH, HEIGHT, rows_of(la16.astype(">u2")), depth=16, colour=4)
    corpus.good(kind, "la16.png", content, on_white(GREY_SCENE), 2)
    key = GREY_SCENE.copy()
    key[ALPHA == 0] = 255
    content = png(
        WIDTH,
        HEIGHT,
        rows_of(grey16.astype(">u2")),
        depth=16,
        colour=0,
        tRNS=struct.pack(">H", GREYS[3] * 257),
    )
    corpus.good(kind, "grey16-key.png", content, key)


def animations(corpus: Corpus) -> None:
    first = Image.fromarray(SCENE)
    more = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ((0, 0, 0), (255, 255, 255), (9, 9, 99))]
    options = {"save_all": True, "append_images": more, "duration": 50}
    corpus.good("animation", "animated.gif", encoded(first, "GIF", **options))
    corpus.good("animation", "animated.webp", encoded(first, "WEBP", lossless=True, **options))
    corpus.good("animation", "animated.png", encoded(first, "PNG", **options))
    corpus.good("animation", "animated.avif", encoded(first, "AVIF", quality=95, **options), tolerance=LOSSY)
    pages = encoded(first, "TIFF", save_all=True, append_images=more)
    corpus.good("animation", "pages.tiff", pages)
    hidden = encoded(first, "PNG", default_image=True, **options)
    corpus.good("animation", "still-and-animation.png", hidden)


def orientations(corpus: Corpus) -> None:
    for suffix in ("jpg", "png", "webp", "tiff"):
        for orientation in range(1, 9):
            options = FORMATS[suffix] | {"exif": exif(orientation)}
            if suffix == "webp":
                options |= {"exact": True}
            content = encoded(turned(orientation, SCENE), **options)
            name = f"orientation-{orientation}.{suffix}"
            corpus.good("EXIF orientation", name, content, tolerance=LOSSY if suffix == "jpg" else EXACT)
    for orientation in (0, 9, 65535):
        content = encoded(SCENE, "JPEG", quality=95, subsampling=0, exif=exif(orientation))
        corpus.good("EXIF orientation", f"orientation-{orientation}.jpg", content, tolerance=LOSSY)
    broken = encoded(SCENE, "PNG").replace(b"IDAT", b"IDAT")
    at = broken.index(b"IDAT") - 4
    corpus.good(
        "damaged EXIF", "exif.png", broken[:at] + chunk(b"eXIf", b"MM\0\x2a\xff\xff\xff\xff") + broken[at:]
    )
    jpeg = encoded(SCENE, "JPEG", quality=95, subsampling=0)
    segment = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(40)
    damaged = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    corpus.good("damaged EXIF", "exif.jpg", damaged, tolerance=LOSSY)


def names(corpus: Corpus) -> None:
    content = encoded(SCENE, "PNG")
    for name in (
        *(
            "line\nbreak.png",
            "tab\tand\rreturn.png",
            " leading and trailing .png ",
            "-dash.png",
            "'quote\".png",
        ),
        *(
            "Grüße aus Köln.png",
            "Gru\u0308\u00dfe zerlegt.png",
            "日本語.png",
            "שלום.png",
            "\u202egnp.rtl",
            "😀.png",
        ),
        *("a%00b.png", "*?[x].png", "$(HOME).png", "~.png", "...png", "semi;colon&.png", "\x1b[31mred.png"),
        *("x" * 251 + ".png", "é" * 125 + ".png", "no suffix", "UPPER.PNG", "two.dots.tar.gz", "<b>.png"),
    ):
        corpus.good("name", name, content)
    corpus.good("name", os.fsdecode(b"not-utf8-\xff\xfe.png"), content)
    others = {
        "jpg": "png",
        "png": "jpg",
        "gif": "png",
        "webp": "jpg",
        "bmp": "gif",
        "tiff": "png",
        "ppm": "txt",
    }
    for real, pretended in others.items():
        tolerance = EXACT if real in LOSSLESS else LOSSY
        corpus.good(
            "wrong extension", f"{real}-as.{pretended}", encoded(SCENE, **FORMATS[real]), tolerance=tolerance
        )


def truncations(corpus: Corpus) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for suffix, options in FORMATS.items():
        content = encoded(noise, **options)
        for share in (2, 10, 35, 60, 85):
            corpus.bad("truncated", f"truncated-{share}.{suffix}", content[: len(content) * share // 100])
    for n_bytes in (1, 4, 8, 16):
        corpus.bad("truncated", f"truncated-{n_bytes}-bytes.png", encoded(noise, "PNG")[:n_bytes])


def garbage(corpus: Corpus) -> None:
    rng = np.random.default_rng(1)
    for suffix in ("png", "jpg", "gif", "webp", "tiff", "heic", "svg"):
        corpus.bad("zero bytes", f"empty.{suffix}", b"")
    for number, n_bytes in enumerate((1, 100, 10_000, 1_000_000)):
        corpus.bad("noise", f"noise-{number}.jpg", rng.bytes(n_bytes))
        corpus.bad("nulls", f"nulls-{number}.png", bytes(n_bytes))
    for suffix, options in FORMATS.items():
        content = encoded(SCENE, **options)
        corpus.bad("signature only", f"signature.{suffix}", content[:12] + bytes(300))
    corpus.bad("text", "text.png", b"this is not a picture\n")
    corpus.bad("text", "page.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>")
    corpus.bad("text", "answer.webp", b'{"error": "not found"}')


def damaged_headers(corpus: Corpus) -> None:
    rows = rows_of(SCENE)
    good = png(WIDTH, HEIGHT, rows)
    kind = "damaged header"
    corpus.bad(kind, "width-0.png", png(0, HEIGHT, rows))
    corpus.bad(kind, "height-0.png", png(WIDTH, 0, rows))
    corpus.bad(kind, "depth-3.png", png(WIDTH, HEIGHT, rows, depth=3))
    corpus.bad(kind, "colour-9.png", png(WIDTH, HEIGHT, rows, colour=9))
    corpus.bad(kind, "no-pixels.png", png(WIDTH, HEIGHT, b""))
    corpus.bad(kind, "too-few-rows.png", png(WIDTH, HEIGHT, rows[: len(rows) // 3]))
    corpus.bad(kind, "checksum.png", good.replace(good[29:33], b"\0\0\0\0", 1))
    corpus.bad(kind, "no-palette.png", png(WIDTH, HEIGHT, rows_of(GREY[:, :1]), colour=3)[:60])
    corpus.bad(kind, "filter.png", png(WIDTH, HEIGHT, rows.replace(b"\0", b"\x07", 1)))
    corpus.bad(kind, "not-zlib.png", good[:33] + chunk(b"IDAT", b"not zlib at all") + chunk(b"IEND", b""))
    jpeg = encoded(SCENE, "JPEG")
    fine = encoded(SCENE, "JPEG", quality=95, subsampling=0)
    # As in films: the decoder takes the usual tables.
    corpus.good("JPEG without its tables", "no-huffman.jpg", without_segment(fine, 0xC4), tolerance=LOSSY)
    corpus.bad(kind, "no-quantisation.jpg", without_segment(jpeg, 0xDB))
    corpus.bad(kind, "no-frame.jpg", without_segment(jpeg, 0xC0))
    at = jpeg.index(b"\xff\xc0") + 5
    corpus.bad(kind, "size-0.jpg", jpeg[:at] + b"\0\0\0\0" + jpeg[at + 4 :])
    corpus.bad(kind, "components-200.jpg", jpeg[: at + 4] + b"\xc8" + jpeg[at + 5 :])
    gif = encoded(SCENE, "GIF")
    corpus.bad(kind, "size-0.gif", gif[:6] + bytes(4) + gif[10:-30])
    corpus.bad(kind, "no-frame.gif", gif[:13] + b";")
    tiff = bytearray(encoded(SCENE, "TIFF"))
    tiff[4:8] = b"\xff\xff\xff\x7f"
    corpus.bad(kind, "directory-outside.tiff", bytes(tiff))
    tiff[4:8] = b"\x04\0\0\0"
    corpus.bad(kind, "directory-in-itself.tiff", bytes(tiff))
    corpus.bad(kind, "ppm-negative.ppm", b"P6 -5 10 255\n" + bytes(150))
    corpus.bad(kind, "ppm-words.ppm", b"P6 wide high deep\n" + bytes(150))
    corpus.bad(
        kind, "bmp-offset.bmp", b"BM" + struct.pack("<IHHI", 60, 0, 0, 2**31) + encoded(SCENE, "BMP")[14:60]
    )
    corpus.bad(kind, "ico-empty.ico", b"\0\0\1\0\0\0")
    corpus.bad(
        kind, "ico-outside.ico", b"\0\0\1\0\1\0\x20\x20\0\0\1\0\x20\0" + struct.pack("<II", 2**31, 2**31 - 9)
    )


def bombs(corpus: Corpus) -> None:
    """Small files that promise or hold far more than they weigh."""
    kind = "decompression bomb"
    for width, height in ((60_000, 60_000), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1), (100_000, 2_501)):
        corpus.bad(kind, f"promise-{width}x{height}.png", png(width, height, b""), TOO_LARGE)
    # 256 megapixels of zeros in some 250 KB: all there, so only the header warns of it.
    held = zlib.compressobj(6)
    packed = b"".join(held.compress(bytes(16_001)) for _ in range(16_000)) + held.flush()
    header = struct.pack(">IIBBBBB", 16_000, 16_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    corpus.bad(kind, "held.png", bomb, TOO_LARGE)
    text = zlib.compress(bytes(20_000_000), 6)
    for name, data in (
        ("zTXt", b"Comment\0\0" + text),
        ("iCCP", b"x\0\0" + text),
        ("iTXt", b"x\0\1\0\0\0" + text),
    ):
        corpus.bad(kind, f"{name}.png", png(WIDTH, HEIGHT, rows_of(SCENE), **{name: data}))
    extra = png(WIDTH, HEIGHT, rows_of(SCENE) + bytes(20_000_000))
    corpus.good("more data than pixels", "overlong.png", extra)
    gif = encoded(SCENE, "GIF")
    corpus.bad(kind, "screen.gif", gif[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:], TOO_LARGE)
    at = gif.index(b",")
    frame = gif[: at + 5] + struct.pack("<HH", 65_535, 65_535) + gif[at + 9 :]
    corpus.bad(kind, "frame.gif", frame, TOO_LARGE)
    frames = [Image.new("P", (2_000, 2_000), number) for number in range(30)]
    many = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    corpus.good("long animation", "frames.gif", many, np.asarray(frames[0].convert("RGB")))
    canvas = struct.pack("<I", 16_382)[:3]
    still = encoded(SCENE, "WEBP", lossless=True)[12:]
    for width, name in ((canvas, "canvas.webp"), (b"\xff\xff\xff", "canvas-16777216x256.webp")):
        height = canvas if name == "canvas.webp" else b"\xff\0\0"
        extended = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + width + height
        body = b"WEBP" + extended + still
        corpus.bad(kind, name, b"RIFF" + struct.pack("<I", len(body)) + body)
    # 81 megapixels are within the limit, the memory that it takes to decode them as WebP is not.
    whole = encoded(Image.new("RGB", (9_000, 9_000)), "WEBP", lossless=True, method=0)
    corpus.bad(kind, "held.webp", whole, TOO_LARGE)
    corpus.bad(kind, "held.tiff", _tiff_bomb(16_000, 16_000), TOO_LARGE)
    corpus.bad(kind, "strips.tiff", _tiff_bomb(60_000, 60_000), TOO_LARGE)
    inside = png(16_000, 16_000, b"", colour=0)
    directory = b"\0\0\1\0\1\0\x20\x20\0\0\1\0\x20\0" + struct.pack("<II", len(inside), 22)
    corpus.bad(kind, "png-inside.ico", directory + inside, TOO_LARGE)
    bitmap = struct.pack("<IiiHHIIiiII", 40, 30_000, 60_000, 1, 32, 0, 0, 0, 0, 0, 0) + bytes(100)
    directory = b"\0\0\1\0\1\0\x20\x20\0\0\1\0\x20\0" + struct.pack("<II", len(bitmap), 22)
    corpus.bad(kind, "bitmap-inside.ico", directory + bitmap, TOO_LARGE)
    bmp = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
    bmp += struct.pack("<IiiHHIIiiII", 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0)
    corpus.bad(kind, "promise.bmp", bmp, TOO_LARGE)
    corpus.bad(kind, "promise.ppm", b"P6 90000 90000 255\n", TOO_LARGE)
    jpeg = encoded(SCENE, "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    corpus.bad(
        kind, "promise.jpg", jpeg[:at] + struct.pack(">HH", 65_000, 65_000) + jpeg[at + 4 :], TOO_LARGE
    )
    corpus.bad(kind, "scans.jpg", progressive_bomb(7_000, 7_000, 2_000))
    jp2 = encoded(SCENE, "JPEG2000")
    at = jp2.index(b"ihdr") + 4
    corpus.bad(kind, "promise.jp2", jp2[:at] + struct.pack(">II", 60_000, 60_000) + jp2[at + 8 :], TOO_LARGE)


def _tiff_bomb(width: int, height: int) -> bytes:
    """One strip of deflated zeros that is all the picture, where that is small enough to make."""
    packing = zlib.compressobj(6)
    strip = b"".join(
        packing.compress(bytes(16_000)) for _ in range(min(width * height, 256_000_000) // 16_000)
    )
    strip += packing.flush()
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 0)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, len(strip))]
    start = 8 + 2 + 12 * len(tags) + 4
    tags[5] = (273, 4, start)
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + strip


def polyglots(corpus: Corpus) -> None:
    """Two kinds of file in one: what is a picture by its first bytes is read as one, anything else is not."""
    jpeg, picture, gif = (
        encoded(SCENE, "JPEG", quality=95, subsampling=0),
        encoded(SCENE, "PNG"),
        encoded(SCENE, "GIF"),
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("inside.txt", "x")
    pdf = b"%PDF-1.4\n1 0 obj<</Length 9>>stream\n"
    html = b"<html><script>alert(1)</script></html>"
    kind = "polyglot"
    corpus.good(kind, "jpeg-then-pdf.jpg", jpeg + pdf, tolerance=LOSSY)
    corpus.bad(kind, "pdf-then-jpeg.jpg", pdf + jpeg)
    comment = b"\xff\xfe" + struct.pack(">H", len(pdf) + 2) + pdf
    corpus.good(kind, "pdf-in-comment.jpg", jpeg[:2] + comment + jpeg[2:], tolerance=LOSSY)
    corpus.good(kind, "png-then-zip.png", picture + archive.getvalue())
    corpus.bad(kind, "zip-then-png.png", archive.getvalue() + picture)
    corpus.good(kind, "gif-then-html.gif", gif + html)
    corpus.bad(kind, "html-then-gif.gif", html + gif)
    corpus.good(kind, "gif-then-rar.gif", gif + b"Rar!\x1a\x07\0")
    corpus.good(kind, "jpeg-then-jpeg.jpg", jpeg + encoded(Image.new("RGB", (9, 9)), "JPEG"), tolerance=LOSSY)
    corpus.good(kind, "png-then-png.png", picture + encoded(Image.new("RGB", (9, 9)), "PNG"))
    corpus.bad(kind, "shell.png", b"#!/bin/sh\ntouch /tmp/pwned\n" + picture)


def foreign(corpus: Corpus) -> None:
    """Formats that are not read: they run programs or fetch links; and HEIC that is damaged."""
    folder = corpus.folder.resolve()
    entity = f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file://{folder}/plain.png">]>'.encode()
    laughs = b'<!DOCTYPE svg [<!ENTITY a "' + b"ha" * 50 + b'">'
    laughs += b"".join(
        f'<!ENTITY {n} "{f"&{p};" * 20}">'.encode() for p, n in zip("abcdefg", "bcdefgh", strict=True)
    )
    link = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/x.png"/></svg>'
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    script = svg.replace(b"<rect", b"<script>fetch('http://127.0.0.1:9')</script><rect")
    for name, content in {
        "plain": svg, "entity": entity + b"<svg>&x;</svg>", "laughs": laughs + b"]><svg>&h;</svg>", "link": link,
        "script": script, "include": b'<svg><use href="file:///etc/passwd#x"/></svg>', "gzip": zlib.compress(svg),
    }.items():  # fmt: skip
        corpus.bad("SVG", f"{name}.svg", content)
    corpus.bad("SVG", "svg-as.png", entity + svg)
    box = struct.pack(">I", 24) + b"ftyp" + b"heic" + bytes(4) + b"mif1" + b"heic"
    corpus.bad("HEIC", "photo.heic", box + struct.pack(">I", 12) + b"meta" + bytes(4) + bytes(500))
    corpus.bad("HEIC", "heic-as.jpg", box + bytes(500))
    corpus.bad("HEIC", "short.heic", box[:16])
    corpus.bad("other format", "page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n")
    corpus.bad("other format", "eps-as.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n")
    corpus.bad(
        "other format",
        "photo.psd",
        b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x20\0\0\0\x20\0\x08\0\3" + bytes(400),
    )
    corpus.bad("other format", "page.pdf", b"%PDF-1.4\n%%EOF\n")
    corpus.bad("other format", "film.mp4", struct.pack(">I", 24) + b"ftypisom" + bytes(400))
    corpus.bad("other format", "icon.icns", encoded(Image.new("RGB", (128, 128)), "ICNS"))
    corpus.bad("other format", "scene.tga", encoded(SCENE, "TGA"))
    corpus.bad("other format", "scene.pcx", encoded(SCENE, "PCX"))
    corpus.bad("other format", "scene.sgi", encoded(SCENE, "SGI"))
    corpus.bad("other format", "pickle.png", b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")


def places(corpus: Corpus) -> None:
    """What has a picture's name and is no file."""
    folder = corpus.folder
    picture = encoded(SCENE, "PNG")
    (folder / "target.png").write_bytes(picture)
    corpus.place("FIFO", "fifo.png", NOT_A_FILE, os.mkfifo)
    corpus.place("link to a FIFO", "fifo-link.png", NOT_A_FILE, lambda path: path.symlink_to("fifo.png"))
    corpus.place("folder", "folder.png", NOT_A_FILE, Path.mkdir)
    corpus.place(
        "link to a folder", "folder-link.png", NOT_A_FILE, lambda path: path.symlink_to("folder.png")
    )
    corpus.place("device", "zero.png", NOT_A_FILE, lambda path: path.symlink_to("/dev/zero"))
    corpus.place("device", "null.png", NOT_A_FILE, lambda path: path.symlink_to("/dev/null"))
    corpus.place("link loop", "loop.png", UNREADABLE, lambda path: path.symlink_to("loop.png"))
    corpus.place("link loop", "loop-a.png", UNREADABLE, lambda path: path.symlink_to("loop-b.png"))
    (folder / "loop-b.png").symlink_to("loop-a.png")
    corpus.place("link to nothing", "dangling.png", MISSING, lambda path: path.symlink_to("nowhere.png"))
    corpus.place("no file", "none.png", MISSING, lambda path: None)
    corpus.place("no file", "plain.png/inside.png", MISSING, lambda path: None)
    corpus.place("no file", "y" * 300 + ".png", UNREADABLE, lambda path: None)
    corpus.place("no file", "null\0byte.png", UNREADABLE, lambda path: None)
    (folder / "link.png").symlink_to("target.png")
    corpus.cases.append(Case(folder / "link.png", "link to a picture", scene=SCENE))


def by_kind(cases: list[Case]) -> Iterator[tuple[str, list[Case]]]:
    for kind in dict.fromkeys(case.kind for case in cases):
        yield kind, [case for case in cases if case.kind == kind]


MEASURE = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
limit = int(sys.argv[1]) << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from vtm.corpora.pictures import PictureError, open_picture
slowest, outcomes = ("", 0.0), []
for path in json.load(sys.stdin):
    started = time.perf_counter()
    try:
        open_picture(path, size=64)
        outcomes.append("")
    except PictureError as error:
        outcomes.append(error.reason)
    seconds = time.perf_counter() - started
    slowest = max(slowest, (path, seconds), key=lambda each: each[1])
# Not ru_maxrss, which counts what the process was before it became this one.
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
json.dump({"outcomes": outcomes, "slowest": slowest, "peak_mb": peak}, sys.stdout)
"""


def measured(cases: Sequence[Case]) -> dict[str, Any]:
    """All cases read in one process of bounded memory: outcomes, slowest (path, seconds), peak_mb."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(MEMORY_LIMIT_MB)],
        input=json.dumps([str(case.path) for case in cases]),
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return json.loads(done.stdout)
