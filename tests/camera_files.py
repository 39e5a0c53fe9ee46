"""Files as telephones and cameras write them, made here."""

from __future__ import annotations

import base64
import io
import struct

import numpy as np
from PIL import Image

# Four fields of 48 x 32, stored with an orientation of 6; made with pillow-heif 1.8.1, which can write HEIC.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAaBtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ADRpbG9jAAAAAERAAAIAAQAAAAABxAABAAAAAAAAAMgAAgAAAAACjAABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAA32lwcnAAAAC/aXBjbwAAAHdodmNDAQQIAAAA"
    "njgAAAAAHvAA/P/4+AAADwNgAAEAF0ABDAH//wQIAAADAJ44AAADAAAeugJAYQABACpCAQEECAAAAwCeOAAAAwAAHpAGECCy3Ukl"
    "Nc3AQ0GBAAADABkAAAMAAQhiAAEACEQBwXKGDAIkAAAAE2NvbHJuY2x4AAEADQAGgAAAABRpc3BlAAAAAAAAAGAAAABAAAAAEHBp"
    "eGkAAAAAAwgICAAAAAlpcm90AwAAABhpcG1hAAAAAAAAAAEAAQWBAgMEhQAAABppcmVmAAAAAAAAAA5jZHNjAAIAAQABAAAA9G1k"
    "YXQAAADEKAGvBjjw0b8/Tf2mH///utH6H+oXuLvlabrtdRvu67//6lF2Y4U6PGwiMhma6TGam1Y5KnH6iEUPwwcnf3JWoYw3j5Fd"
    "u5eE9SodRB/H6pGTx/IP/f/3ifVUsGezs+mnkl50ZTZdak5Jqlj9ody8V4reP3WZ9SUOpsj7IQF+iLxqTkmqTx7i+LPSMFvhpQ//"
    "2NPlj20a///8xr0f8CwQGvhdtJEFHstUhWsXvfgB3h8WixzOGPnTYB84XIA7Ym9Vf9zhRwAAAAZFeGlmAABNTQAqAAAACAABARIA"
    "AwAAAAEABgAAAAAAAA=="
)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def camera_file(preview: bytes, orientation: int) -> bytes:
    """A DNG: a JPEG of 320 x 240 in the first directory, in a second the sensor's grey values, 64 x 48."""
    sizes = {1: "B", 3: "H", 4: "I"}

    def directory(at: int, tags: dict[int, tuple[int, bytes | list[int]]]) -> bytes:
        entries, behind = b"", b""
        for tag, (kind, values) in sorted(tags.items()):
            data = (
                values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{sizes[kind]}", *values)
            )
            number = len(data) // 8 if kind == 10 else len(values)
            if len(data) > 4:
                place = at + 2 + 12 * len(tags) + 4 + len(behind)
                data, behind = struct.pack("<I", place), behind + data + bytes(len(data) % 2)
            entries += struct.pack("<HHI", tag, kind, number) + data.ljust(4, b"\0")
        return struct.pack("<H", len(tags)) + entries + bytes(4) + behind

    preview += bytes(len(preview) % 2)
    sensor = np.full((48, 64), 2000, "<u2").tobytes()
    second = 8 + len(preview) + len(sensor)
    inner = directory(second, {
        254: (4, [0]), 256: (4, [64]), 257: (4, [48]), 258: (3, [16]), 259: (3, [1]), 262: (3, [32803]),
        273: (4, [8 + len(preview)]), 277: (3, [1]), 278: (4, [48]), 279: (4, [len(sensor)]),
        33421: (3, [2, 2]), 33422: (1, [0, 1, 1, 2]), 50717: (4, [65535]),
    })  # fmt: skip
    first = second + len(inner)
    unit = struct.pack("<18i", 1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)
    outer = directory(first, {
        254: (4, [1]), 256: (4, [320]), 257: (4, [240]), 258: (3, [8, 8, 8]), 259: (3, [7]), 262: (3, [6]),
        271: (2, b"Maker\0"), 272: (2, b"Camera\0"), 273: (4, [8]), 274: (3, [orientation]), 277: (3, [3]),
        278: (4, [240]), 279: (4, [len(preview)]), 330: (4, [second]), 50706: (1, [1, 4, 0, 0]),
        50708: (2, b"Maker Camera\0"), 50721: (10, unit),
    })  # fmt: skip
    return b"II*\0" + struct.pack("<I", first) + preview + sensor + inner + outer


def left_red(orientation: int = 1) -> bytes:
    """A JPEG of 320 x 240, the left half red, the other blue; without a word on how it is to be turned unless asked."""
    picture = Image.new("RGB", (320, 240), (20, 30, 200))
    picture.paste((200, 30, 20), (0, 0, 160, 240))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95, **({"exif": turned(orientation)} if orientation > 1 else {}))
    return stream.getvalue()
