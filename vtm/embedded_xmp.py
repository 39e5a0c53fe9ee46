"""The XMP inside a JPEG or a PNG, read and replaced; every other byte stays (ISO 16684-1; XMP part 3 by Adobe)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from vtm.errors import DataError

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# A JPEG's segments up to its first scan: other markers have no business there.
_SEGMENT = re.compile(rb"\xff+([\xc0-\xcf\xda-\xfe])(..)", re.DOTALL)
_APP0, _APP1, _APP2, _SCAN = b"\xe0", b"\xe1", b"\xe2", b"\xda"
_HEADER, _EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_MOST = 0xFFFF - 2 - len(_HEADER)  # bytes of XMP in one segment
_KEYWORD, _RAW = b"XML:com.adobe.xmp", b"raw profile type xmp"
_PLAIN = _KEYWORD + b"\0\0\0\0\0"  # not compressed, of no language


@dataclass(frozen=True)
class Place:
    """The XMP and the bytes, from `start` to before `end`, of what holds it; where there is none, it may go there."""

    start: int
    end: int
    xmp: bytes | None = None


def read_xmp(picture: bytes) -> bytes | None:
    """The XMP of a JPEG or PNG; None where it has none.

    Raises
    ------
    DataError
        Another format, a picture whose parts cannot be followed, or XMP in a form that cannot be replaced: in several
        parts, compressed, or in a JPEG of several pictures (MPO), which are found by their distance.
    """
    return _find(picture).xmp


def with_xmp(picture: bytes, xmp: bytes) -> bytes:
    """The picture with this XMP in place of its own.

    Raises
    ------
    DataError
        As `read_xmp`; or XMP that is too long for a JPEG.

    Examples
    --------
    >>> from vtm.corpora import load_corpus
    >>> from vtm.embedded_xmp import read_xmp, with_xmp
    >>> picture = load_corpus("scenes", n=120).images[0].read_bytes()
    >>> read_xmp(picture), read_xmp(with_xmp(picture, b"<rdf:RDF/>"))
    (None, b'<rdf:RDF/>')
    """
    place = _find(picture)
    if picture.startswith(_PNG):
        body = b"iTXt" + _PLAIN + xmp
        part = len(body[4:]).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    elif len(xmp) > _MOST:
        raise DataError(f"its XMP would be longer than the {_MOST} bytes that a JPEG has room for")
    else:
        part = b"\xff" + _APP1 + (2 + len(_HEADER) + len(xmp)).to_bytes(2) + _HEADER + xmp
    return picture[: place.start] + part + picture[place.end :]


def _find(picture: bytes) -> Place:
    if picture.startswith(_JPEG):
        free, places = _in_jpeg(picture)
    elif picture.startswith(_PNG):
        free, places = _in_png(picture)
    else:
        raise DataError("it is neither JPEG nor PNG")
    if len(places) > 1:
        raise DataError(f"it has {len(places)} XMP packets")
    return places[0] if places else Place(free, free)


def _in_jpeg(picture: bytes) -> tuple[int, list[Place]]:
    """The first byte after JFIF's and Exif's segments, which must stand first, and the XMP."""
    free, first, places = 2, True, []
    for marker, body, start, end in _segments(picture):
        if marker == _APP1 and body.startswith(_HEADER):
            places.append(Place(start, end, body[len(_HEADER) :]))
        elif marker == _APP1 and body.startswith(_EXTENSION):
            raise DataError("it has extended XMP")
        elif marker == _APP2 and body.startswith(b"MPF\0"):
            raise DataError("it holds several pictures (MPO)")
        first = first and (marker == _APP0 or (marker == _APP1 and body.startswith(b"Exif\0")))
        free = end if first else free
    return free, places


def _segments(picture: bytes) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Marker, body, first byte and end of each segment before the first scan."""
    at = 2
    while found := _SEGMENT.match(picture, at):
        if found[1] == _SCAN:
            return
        at = found.end(1) + int.from_bytes(found[2])
        if at < found.end() or at > len(picture):
            break
        yield found[1], picture[found.end() : at], found.start(1) - 1, at
    raise DataError("it is no whole JPEG")


def _in_png(picture: bytes) -> tuple[int, list[Place]]:
    """The first byte after the header's chunk, and the XMP."""
    free, places = 0, []
    for kind, body, start, end in _chunks(picture):
        free = free or end
        keyword = body[: len(_RAW) + 1].partition(b"\0")[0]
        if kind in (b"tEXt", b"zTXt") and keyword.lower() == _RAW:
            raise DataError("its XMP is in the form of ImageMagick")
        if kind == b"iTXt" and keyword == _KEYWORD:
            if not body.startswith(_PLAIN):
                raise DataError("its XMP is compressed or has a language")
            places.append(Place(start, end, body[len(_PLAIN) :]))
    return free, places


def _chunks(picture: bytes) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Kind, body, first byte and end of each chunk; the sum of each is checked."""
    at = len(_PNG)
    while at + 12 <= len(picture):
        end = at + 12 + int.from_bytes(picture[at : at + 4])
        kind, body = picture[at + 4 : at + 8], picture[at + 8 : end - 4]
        whole = end <= len(picture) and zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(
            picture[end - 4 : end]
        )
        if not whole or (at == len(_PNG)) != (kind == b"IHDR"):
            break
        yield kind, body, at, end
        if kind == b"IEND":
            return
        at = end
    raise DataError("it is no whole PNG")
