#!/usr/bin/env bash
# pillow-jxl-plugin: a JPEG that is opened, changed and saved as JXL is saved as it was before the change.
#
# Expected: `save` writes the picture that is in memory, as it does for every other format of Pillow.
# What it does (pillow-jxl-plugin 1.3.8, Pillow 12.1.0): for a picture that came from a JPEG file it goes back to that
# file and repacks it without loss. What was painted over is there again, and a thumbnail has the size of the photograph.
# A warning speaks of "JPEG reconstruction", not of the lost change. `crop`, `resize` and `convert` make another object and
# are saved well; `paste`, `thumbnail`, `putpixel` and `ImageDraw`, which change the picture in place, are not.
# Who meets it: archives that turn to JXL and draw a caption or a watermark first, or make previews by `thumbnail`: the
# drawing is gone, the previews are photographs of full size.
# Way round: `save(path, lossless_jpeg=False)`, or save `picture.copy()`. Output seen:
#   painted over, then saved as PNG: mean of that half 0
#   painted over, then saved as JXL: mean of that half 131
#   painted over, lossless_jpeg=False: mean of that half 0
#   painted over, saved from a copy: mean of that half 0
#   thumbnail of 16 x 16, saved as JXL: 64 x 64
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow-jxl-plugin==1.3.8 pillow==12.1.0 numpy==2.4.6
cd "$folder"
cat > look.py <<'PY'
import warnings

import numpy as np
import pillow_jxl  # noqa: F401
from PIL import Image

warnings.simplefilter("ignore")
tiles = np.random.default_rng(0).integers(0, 255, (8, 8, 3))
Image.fromarray(np.kron(tiles, np.ones((8, 8, 1))).astype(np.uint8)).save("photo.jpg", quality=95)


def painted() -> Image.Image:
    picture = Image.open("photo.jpg")
    picture.paste((0, 0, 0), (0, 0, 32, 64))
    return picture


def left(path: str) -> int:
    return round(float(np.asarray(Image.open(path).convert("RGB"))[:, :32].mean()))


painted().save("a.png")
painted().save("a.jxl")
painted().save("b.jxl", lossless_jpeg=False)
painted().copy().save("c.jxl")
small = Image.open("photo.jpg")
small.thumbnail((16, 16))
small.save("d.jxl")
print("painted over, then saved as PNG: mean of that half", left("a.png"))
print("painted over, then saved as JXL: mean of that half", left("a.jxl"))
print("painted over, lossless_jpeg=False: mean of that half", left("b.jxl"))
print("painted over, saved from a copy: mean of that half", left("c.jxl"))
print("thumbnail of %d x %d, saved as JXL: %d x %d" % (*small.size, *Image.open("d.jxl").size))
assert left("a.png") == left("b.jxl") == left("c.jxl") == 0 < left("a.jxl"), "no longer as described"
assert small.size == (16, 16) and Image.open("d.jxl").size == (64, 64), "no longer as described"
PY
"$folder/venv/bin/python" look.py
