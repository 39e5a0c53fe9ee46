#!/usr/bin/env bash
# Pillow: `getexif` of a PNG decodes all its pixels, where for a JPEG it reads the header alone.
#
# Expected: after `Image.open`, which reads the header, `getexif()` costs as little; the orientation of a thousand files is
# asked for without decoding one.
# What it does (Pillow 12.0.0): a PNG may hold its EXIF behind the pixels (chunk eXIf, allowed anywhere), so `getexif` calls
# `load` when the header had none. Most PNGs have none: each is decoded in full, with the memory that this takes, and a
# file that is cut off raises, though nobody asked for its pixels.
# Who meets it: programs that sort or index folders by orientation or date, or look at the EXIF before a size limit.
# Way round: check `image.size` first; read the chunks up to IDAT by hand where what stands behind does not matter.
# Output seen:
#   JPEG getexif(): decoded False
#   PNG  getexif(): decoded True
#   PNG, cut off behind its header: OSError
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pillow==12.0.0
"$work/venv/bin/python" - "$work" <<'PY'
import io
import sys
from unittest import mock

from PIL import Image, ImageFile

found = {}
for kind in ("JPEG", "PNG"):
    path = f"{sys.argv[1]}/a.{kind.lower()}"
    Image.new("RGB", (400, 300), (200, 30, 20)).save(path)
    with Image.open(path) as image, mock.patch.object(type(image), "load", side_effect=image.load) as load:
        image.getexif()
        found[kind] = load.called
    print(f"{kind:4} getexif(): decoded {found[kind]}")
head = open(f"{sys.argv[1]}/a.png", "rb").read()[:60]
try:
    with Image.open(io.BytesIO(head)) as image:
        image.getexif()
    found["cut off"] = "nothing"
except OSError as error:
    found["cut off"] = type(error).__name__
print(f"PNG, cut off behind its header: {found['cut off']}")
assert found == {"JPEG": False, "PNG": True, "cut off": "OSError"}, f"the behaviour has changed: {found}"
PY
echo "as described"
