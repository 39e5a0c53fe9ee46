"""Contact sheets: pictures with what is to be said of each, as one PNG or one HTML file that needs no other."""

from __future__ import annotations

import base64
import html
import io
import os
import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from vtm.corpora.pictures import PictureError, open_picture
from vtm.errors import ConfigError, printable, shortened
from vtm.files import atomic_path, write_text

if TYPE_CHECKING:
    from PIL import Image


SUFFIXES = (".png", ".html", ".htm")
# Pixels of the PNG.
_SIDE, _GAP, _FONT, _LINE, _LETTER = 220, 16, 13, 17, 8  # a letter: many are wider
_COLUMNS = 5
_HTML_SIDE = 320
_PAGE = Path(__file__).with_suffix(".html")


@dataclass(frozen=True)
class Card:
    """A picture on a sheet: its heading and the lines below. Its path is shown, too."""

    picture: Path
    heading: str
    lines: tuple[str, ...] = ()


def write_sheet(path: Path | str, heading: str, cards: Sequence[Card], *, language: str = "en") -> None:
    """Write a contact sheet, PNG or HTML by the suffix of `path`. Pictures that cannot be read are left out.

    Parameters
    ----------
    heading : a line or more above the pictures.
    language : code of the language of headings and lines, for screen readers.

    Raises
    ------
    ConfigError
        Another suffix than .png, .html or .htm.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vtm.report.contact import Card, write_sheet
    >>> from vtm.corpora import load_corpus
    >>> picture = load_corpus("scenes", n=120).images[0]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_sheet(f"{folder}/sheet.html", "Boats <3", [Card(picture, "1. boat")])
    ...     "Boats &lt;3" in Path(f"{folder}/sheet.html").read_text()
    True
    """
    path = Path(path)
    check_suffix(path)
    if path.suffix.lower() == ".png":
        with atomic_path(path) as temporary:
            draw_sheet(heading, cards).save(temporary, format="PNG")
    else:
        write_text(path, html_sheet(heading, cards, language=language, folder=path.parent))


def check_suffix(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raise ConfigError unless a sheet, or a figure with other suffixes, can be written to `path`."""
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"{path}: is drawn as {' or '.join(suffixes)}; give it one of these suffixes")


def draw_sheet(heading: str, cards: Sequence[Card]) -> Image.Image:
    """The sheet as an RGB picture, five cards in a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image, ImageDraw

    columns = min(_COLUMNS, max(len(cards), 3))
    width = _GAP + columns * (_SIDE + _GAP)
    title = _wrap(heading, width - 2 * _GAP, 6)
    texts = [
        (
            _wrap(card.heading, _SIDE, 2, "bold"),
            [
                line
                for text in (shortened(printable(card.picture), 3 * _SIDE // _LETTER), *card.lines)
                for line in _wrap(text, _SIDE, 3)
            ],
        )
        for card in cards
    ]
    top = _GAP + len(title) * _LINE + _GAP
    lines = [texts[start : start + columns] for start in range(0, len(texts), columns)]
    heights = [_SIDE + _GAP + max(len(b) + len(p) for b, p in line) * _LINE + _GAP for line in lines]
    height = top + sum(heights)
    figure = Figure((width / 72, height / 72), dpi=72, facecolor="white")  # a point is a pixel
    canvas = FigureCanvasAgg(figure)

    def write(x: int, y: int, rows: Sequence[str], weight: str = "normal") -> None:
        for place, row in enumerate(rows):
            at = x / width, 1 - (y + place * _LINE) / height
            figure.text(*at, row, size=_FONT, weight=weight, va="top", parse_math=False)

    write(_GAP, _GAP, title)
    places = [
        (_GAP + index % columns * (_SIDE + _GAP), top + sum(heights[: index // columns]))
        for index in range(len(cards))
    ]
    for (x, y), (bold, plain) in zip(places, texts, strict=True):
        y += _SIDE + 4
        write(x, y, bold, "bold")
        write(x, y + len(bold) * _LINE, plain)
    with warnings.catch_warnings(action="ignore"):  # of characters that the font lacks
        canvas.draw()
    sheet = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    draw = ImageDraw.Draw(sheet)
    for card, (x, y) in zip(cards, places, strict=True):
        if thumbnail := _thumbnail(card.picture, _SIDE):
            sheet.paste(thumbnail, (x, y))
        # Around the picture, which may be as white as the sheet.
        draw.rectangle((x - 1, y - 1, x + _SIDE, y + _SIDE), outline="#bbbbbb")
    return sheet


def html_sheet(
    heading: str, cards: Sequence[Card], *, language: str = "en", folder: Path | None = None
) -> str:
    """The sheet as a page with its pictures inside; it asks no server for anything.

    Where the `folder` is known that it will lie in, each path is a link to the original, as seen from there.
    """
    items = []
    for card in cards:
        picture = html_picture(card.picture, printable(card.picture.name), _HTML_SIDE)
        where = html.escape(printable(card.picture))
        if folder is not None:
            seen = os.path.relpath(os.path.realpath(card.picture), os.path.realpath(folder))
            where = f'<a href="{html.escape(quote(os.fsencode(seen)))}">{where}</a>'
        lines = f"<p>{where}</p>" + "".join(f"<p>{html.escape(line)}</p>" for line in card.lines)
        items.append(f"<li>{picture}<h2>{html.escape(card.heading)}</h2>{lines}</li>")
    return Template(_PAGE.read_text(encoding="utf-8")).substitute(
        language=html.escape(re.split("[,+]", language)[0].strip()),
        title=html.escape(textwrap.shorten(heading, 80, placeholder=" …")),
        heading=html.escape(heading),
        cards="\n".join(items),
    )


def html_picture(picture: Path, alt: str, side: int, *, drawn: int | None = None) -> str:
    """An img element that holds its picture, cut to a square of `side` pixels; "" where it cannot be read.

    drawn : how many pixels of a page a side takes, `side` by default.
    """
    thumbnail = _thumbnail(picture, side)
    if thumbnail is None:
        return ""
    jpeg = io.BytesIO()
    thumbnail.save(jpeg, format="JPEG", quality=85)
    data = base64.b64encode(jpeg.getvalue()).decode()
    size = f'width="{drawn or side}" height="{drawn or side}"'
    return f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(alt)}" {size}>'


def _thumbnail(picture: Path, side: int) -> Image.Image | None:
    try:
        return open_picture(picture, size=side)
    except PictureError:
        return None


def _wrap(text: str, width: int, most: int, weight: str = "normal") -> list[str]:
    """A text in at most `most` lines that are not wider than `width` pixels; words that are too long are cut."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer, font = RendererAgg(1, 1, 72), FontProperties(size=_FONT, weight=weight)
    lines: list[str] = []
    with warnings.catch_warnings(action="ignore"):  # of characters that the font lacks
        for letters in range(width // _LETTER, 2, -1):
            lines = textwrap.wrap(text, letters, max_lines=most, placeholder=" …")
            if all(renderer.get_text_width_height_descent(line, font, False)[0] <= width for line in lines):
                break
    return lines
