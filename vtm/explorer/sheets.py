"""Thumbnails, packed into sheets of a hundred: few files, and one that is only loaded when it is looked at."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vtm.files import atomic_path
from vtm.pictures import PictureError, open_picture

if TYPE_CHECKING:
    from PIL import Image as PILImage

SIZE = 128  # px, both sides of a thumbnail
COLUMNS = 10
PER_SHEET = 100
PATTERN = "thumbnails-*.webp"
_QUALITY = 80


@dataclass(frozen=True)
class Sheets:
    """Where the thumbnails are.

    Parameters
    ----------
    files : names of the sheets, in order; a name holds the hash of its content.
    place : per picture, its number in the sheets, counted line by line; -1 where it could not be read.
    lines : lines of each sheet; all have 10 columns.
    unreadable : position of a picture -> why there is no thumbnail of it.
    """

    files: tuple[str, ...]
    place: tuple[int, ...]
    lines: tuple[int, ...]
    unreadable: dict[int, str] = field(default_factory=dict)


def write_sheets(
    pictures: Sequence[Path], order: Sequence[int], out: Path, *, progress: bool = True
) -> Sheets:
    """Write the thumbnails into `out`.

    Parameters
    ----------
    pictures : n files. One that cannot be read gets no thumbnail.
    order : the n positions, in the order in which the thumbnails are packed: those that are looked at
        together should follow each other.
    """
    from tqdm import tqdm

    files, lines, unreadable = [], [], {}
    place = [-1] * len(pictures)
    waiting: list[PILImage.Image] = []

    def write() -> None:
        name, n_lines = _write_sheet(waiting, out)
        files.append(name)
        lines.append(n_lines)
        waiting.clear()

    for row in tqdm(order, desc="thumbnails", unit="picture", disable=None if progress else True):
        try:
            thumbnail = open_picture(pictures[row], size=SIZE)
        except PictureError as error:
            unreadable[row] = error.reason
            continue
        place[row] = PER_SHEET * len(files) + len(waiting)
        waiting.append(thumbnail)
        if len(waiting) == PER_SHEET:
            write()
    if waiting:
        write()
    return Sheets(tuple(files), tuple(place), tuple(lines), unreadable)


def _write_sheet(thumbnails: Sequence[PILImage.Image], out: Path) -> tuple[str, int]:
    """Name and number of lines of a new sheet."""
    from PIL import Image

    n_lines = -(-len(thumbnails) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIZE, n_lines * SIZE), (255, 255, 255))
    for number, thumbnail in enumerate(thumbnails):
        line, column = divmod(number, COLUMNS)
        sheet.paste(thumbnail, (column * SIZE, line * SIZE))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=_QUALITY, method=4)
    content = buffer.getvalue()
    name = PATTERN.replace("*", hashlib.sha256(content).hexdigest()[:12])
    with atomic_path(out / name) as temporary:
        temporary.write_bytes(content)
    return name, n_lines
