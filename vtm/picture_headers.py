"""What picture files hold that Pillow does not look at, or looks at too late, before they are decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# A progressive JPEG has some ten scans, and each goes over all pixels: a small file may hold thousands.
MAX_SCANS = 100

# The markers of a JPEG that have a segment, and that of its end. Among the coded pixels FF stands before 00 or the
# marker of a restart, too, which are none of these.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_SCAN, _END = b"\xda", b"\xd9"
_CHUNK_BYTES = 1 << 16


def largest_in_icon(stream: BinaryIO) -> tuple[int, int]:
    """Width and height of the largest picture in an ICO; (0, 0) for any other file.

    Pillow decodes an ICO while it reads the header, and its directory may say less than the pictures inside are.
    """
    head = stream.read(6)
    sizes = [(0, 0)]
    if head[:4] == b"\0\0\1\0":
        directory = stream.read(16 * int.from_bytes(head[4:], "little"))
        for entry in range(0, len(directory) - 15, 16):
            stream.seek(int.from_bytes(directory[entry + 12 : entry + 16], "little"))
            inside = stream.read(24).ljust(24, b"\0")
            if inside.startswith(b"\x89PNG"):
                sizes.append(struct.unpack(">II", inside[16:]))
            elif inside[:4] == b"\x0c\0\0\0":
                sizes.append(struct.unpack("<HH", inside[4:8]))
            else:
                width, height = struct.unpack("<ii", inside[4:12])
                sizes.append((abs(width), abs(height) // 2))  # the other half is its mask
    stream.seek(0)
    return max(sizes, key=lambda size: size[0] * size[1])


def has_too_many_scans(path: Path) -> bool:
    """Whether a JPEG has more than `MAX_SCANS` scans; it is read no further than that, or than its end."""
    with open(path, "rb") as stream:
        scans = (marker for marker in _jpeg_markers(stream) if marker == _SCAN)
        return any(number > MAX_SCANS for number, _ in enumerate(scans, start=1))


def _jpeg_markers(stream: BinaryIO) -> Iterator[bytes]:
    """The markers of a JPEG, as libjpeg comes to them: not those inside segments or behind its end."""
    held, at = b"", 0
    while True:
        found = _MARKER.search(held, at)
        if found and found[1] == _END:
            return
        if found and found.end() + 2 <= len(held):
            yield found[1]
            at = found.end() + max(2, int.from_bytes(held[found.end() : found.end() + 2]))
            if at > len(held):
                stream.seek(at - len(held), 1)
                held, at = b"", 0
        else:
            # A marker and the length of its segment may lie in two chunks.
            start = found.start() if found else max(at, len(held) - 1)
            if not (chunk := stream.read(_CHUNK_BYTES)):
                return
            held, at = held[start:] + chunk, 0
