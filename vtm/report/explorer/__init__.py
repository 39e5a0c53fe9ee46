"""A page to explore a topic model with: a map of its pictures, its topics, and what it finds for a text.

The page needs no server and asks no other host for anything. What it shows is made by `shown`; here it is
written: thumbnails packed into sheets of a hundred, few files of which one is only loaded when it is looked at, and
the page.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from vtm.corpora.keywords import fingerprint
from vtm.corpora.pictures import PictureError, open_picture
from vtm.corpora.table import EXPLORER_MARK, EXPLORER_SHEETS, holds_explorer
from vtm.errors import DataError
from vtm.files import atomic_path, spare_folder
from vtm.metrics.ranking import similarity
from vtm.metrics.topics import topic_tree
from vtm.report.explorer.shown import (
    SHOWN_WORDS,
    ExplorerData,
    Match,
    from_arrays,
    from_results,
    layout,
)

if TYPE_CHECKING:
    from PIL import Image as PILImage


__all__ = ["Built", "ExplorerData", "Match", "build_explorer", "from_arrays", "from_results", "layout"]

SIZE = 128  # px, both sides of a thumbnail
COLUMNS = 10
PER_SHEET = 100
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

    files: list[str] = []
    lines: list[int] = []
    unreadable: dict[int, str] = {}
    place = [-1] * len(pictures)

    def thumbnails() -> Iterator[tuple[int, PILImage.Image]]:
        for row in tqdm(order, desc="thumbnails", unit="picture", disable=None if progress else True):
            try:
                yield row, open_picture(pictures[row], size=SIZE)
            except PictureError as error:
                unreadable[row] = error.reason

    found = thumbnails()
    while sheet := dict(islice(found, PER_SHEET)):
        for number, row in enumerate(sheet, start=PER_SHEET * len(files)):
            place[row] = number
        name, n_lines = _write_sheet([*sheet.values()], out)
        files.append(name)
        lines.append(n_lines)
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
    name = EXPLORER_SHEETS.replace("*", hashlib.sha256(content).hexdigest()[:12])
    with atomic_path(out / name) as temporary:
        temporary.write_bytes(content)
    return name, n_lines


TOPICS_SHOWN = 5  # of a picture or a text
REASONS = 3  # topics that explain a match
BEST = 12  # pictures of a topic
SMALLEST_SHARE = 0.01  # of a document or of a match; smaller ones are not worth a line


def payload(
    data: ExplorerData, sheets: Sheets, *, originals: Sequence[Original] | None = None
) -> dict[str, Any]:
    """Everything the page shows, as JSON values: rounded, shares in thousandths, positions in place of ids."""
    theta = np.asarray(data.theta_image, dtype=np.float64)
    return {
        "title": data.title,
        "model": data.model_name,
        "baseline": data.baseline_name,
        "language": re.split("[,+]", data.language)[0].strip(),
        "nAll": max(data.n_all, len(data.ids)),
        "ids": list(data.ids),
        "texts": list(data.texts),
        "files": [picture.name for picture in data.pictures],
        "x": _thousandths(data.positions[:, 0] * 10),
        "y": _thousandths(data.positions[:, 1] * 10),
        "thumbnails": {
            "sheets": list(sheets.files),
            "lines": list(sheets.lines),
            "place": list(sheets.place),
            "columns": COLUMNS,
            "perSheet": PER_SHEET,
            "unreadable": {str(row): reason for row, reason in sorted(sheets.unreadable.items())},
        },
        "pictureTopics": [_largest(row) for row in theta],
        "textTopics": None if data.theta_text is None else [_largest(row) for row in data.theta_text],
        "topics": [_topic(data, theta, k) for k in range(data.n_topics)],
        "matches": {str(match.row): _match(data, match) for match in data.matches},
        "columns": [
            {"name": column.name, "labels": column.labels, "of": column.of, "ordered": column.ordered}
            for column in data.columns
        ],
        "relevance": _relevance(data),
        "keywords": [
            [[word, None if math.isnan(chance) else round(1000 * chance)] for word, chance in some]
            for some in data.keywords
        ],
        "originals": None if originals is None else [[one.address, one.fingerprint] for one in originals],
        "meaning": None
        if data.meaning is None
        else {
            "words": data.meaning.words,
            "dims": data.meaning.word_vectors.shape[1],
            "wordVectors": _base64(data.meaning.word_vectors),
            "pictureVectors": _base64(data.meaning.picture_vectors),
            "kept": None if math.isnan(data.meaning.kept) else round(data.meaning.kept, 3),
        },
        "tree": _tree(data),
        "notes": list(data.notes),
    }


def _relevance(data: ExplorerData) -> dict[str, Any] | None:
    if (found := data.relevance) is None:
        return None
    return {
        "weight": found.weight,
        "top": SHOWN_WORDS,
        "words": found.words,
        "forms": found.forms,
        "overall": {reads: [_digits(p) for p in values] for reads, values in found.overall.items()},
        "topics": {
            reads: [[[place, _digits(p)] for place, p in topic] for topic in topics]
            for reads, topics in found.topics.items()
        },
    }


NEIGHBOURS = 5  # of a topic


def _tree(data: ExplorerData) -> dict[str, Any] | None:
    """The joins of topics, [a, b, distance], their words, and each topic's nearest ones, [k, distance]."""
    if data.topic_vectors is None or data.n_topics < 2:
        return None
    x = np.asarray(data.topic_vectors, dtype=np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    apart = 1 - x @ x.T
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, : min(NEIGHBOURS, data.n_topics - 1)]
    return {
        "joins": [[a, b, round(distance, 5)] for a, b, distance in topic_tree(x)],
        "words": [list(words) for words in data.branches],
        "near": [
            [[int(k), round(float(apart[row, k]), 5)] for k in some] for row, some in enumerate(nearest)
        ],
    }


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _digits(p: float) -> float:
    """So many that words keep their order."""
    return float(f"{p:.8g}")


def to_json(value: Any) -> str:
    """JSON that can stand in an HTML script element and in a UTF-8 file.

    `<` and `>` are escaped, so that no text can end the element or open a comment; so are the halves of
    surrogate pairs, which file names of other systems may hold and UTF-8 cannot.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace(">", "\\u003e")
    # Inside a JSON string, "backslashreplace" writes just the escape that JSON has for a lone surrogate.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shared_topics(text: np.ndarray, image: np.ndarray) -> list[tuple[int, float]]:
    """The topics k with the largest theta_text[k] * theta_image[k], and each one's share of the sum.

    Parameters
    ----------
    text, image : (K,)

    Returns
    -------
    Up to 3 pairs (k, share), largest first, ties by the number; shares below 1 % are left out.
    """
    products = np.asarray(text, dtype=np.float64) * np.asarray(image, dtype=np.float64)
    total = products.sum()
    if total <= 0:
        return []
    order = np.argsort(-products, kind="stable")[:REASONS]
    return [(int(k), float(products[k] / total)) for k in order if products[k] / total >= SMALLEST_SHARE]


def _topic(data: ExplorerData, theta: np.ndarray, k: int) -> dict[str, Any]:
    first = np.argsort(-theta[:, k], kind="stable")[:BEST]
    best = [row for row in first if theta[row, k] >= SMALLEST_SHARE]
    return {
        "number": data.numbers[k] if data.numbers else k,
        "name": data.names[k] if data.names else "",
        "words": {
            reads: [[word, float(f"{weight:.3g}")] for word, weight in topics[k]]
            for reads, topics in data.words.items()
        },
        "coherence": {reads: _or_none(values[k]) for reads, values in data.coherence.items()},
        "share": float(f"{theta[:, k].mean():.4g}"),
        "largest": int((theta.argmax(axis=1) == k).sum()),
        "best": [[int(row), round(1000 * theta[row, k])] for row in best],
    }


def _match(data: ExplorerData, match: Match) -> dict[str, Any]:
    assert data.theta_text is not None  # ExplorerData has seen to it
    text = data.theta_text[match.row]
    shown = {}
    for method, rows in match.found.items():
        alike = similarity(text[None], data.theta_image[list(rows)], measure=data.measure)[0]
        shown[method] = {
            "rank": match.rank[method],
            "found": [
                {
                    "row": row,
                    "similarity": float(f"{score:.2f}") + 0.0,  # + 0.0: no minus before a zero
                    "why": [
                        [k, round(1000 * share)] for k, share in shared_topics(text, data.theta_image[row])
                    ],
                }
                for row, score in zip(rows, alike, strict=True)
            ],
        }
    return shown


def _largest(row: np.ndarray) -> list[list[int]]:
    """The largest topics with their shares; the very largest is always there."""
    order = np.argsort(-row, kind="stable")[:TOPICS_SHOWN]
    return [
        [int(k), round(1000 * float(row[k]))]
        for i, k in enumerate(order)
        if i == 0 or row[k] >= SMALLEST_SHARE
    ]


def _thousandths(values: np.ndarray) -> list[int]:
    return np.rint(1000 * np.asarray(values, dtype=np.float64)).astype(int).tolist()


def _or_none(value: float) -> float | None:
    return float(f"{value:.3f}") + 0.0 if np.isfinite(value) else None


# One script: a browser that opens a file lets it load no others under a strict policy.
_NAMES = "theme data elements points labels map gestures legend "
_NAMES += "tables selection review meaning places panels search explorer"
SCRIPTS = tuple(f"{name}.js" for name in _NAMES.split())


@dataclass(frozen=True)
class Built:
    """What was written.

    Parameters
    ----------
    index : the page to open.
    sheets : the sheets of thumbnails beside it.
    unreadable : id -> why its picture could not be read; the page shows it without a thumbnail.
    """

    index: Path
    sheets: tuple[Path, ...]
    unreadable: dict[str, str]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in (self.index, *self.sheets))


@dataclass(frozen=True)
class Original:
    """Where a picture's own file lies, as seen from the page, and what it shows.

    Parameters
    ----------
    address : a relative address; "" where there is none, as between drives.
    fingerprint : `vtm.corpora.keywords.fingerprint`, "" where the file cannot be read.
    """

    address: str
    fingerprint: str

    @classmethod
    def of(cls, picture: Path, out: Path) -> Original:
        try:
            # A name's own bytes, escaped: no name can be taken for another kind of address. Links stay, as browsers
            # know of none.
            address = quote(os.fsencode(os.path.relpath(picture, out)).replace(os.sep.encode(), b"/"))
            return cls(address, fingerprint(picture))
        except (DataError, OSError, ValueError):
            return cls("", "")


def build_explorer(
    data: ExplorerData, out: Path | str, *, originals: bool = False, progress: bool = True
) -> Built:
    """Write the explorer into the folder `out`: index.html and sheets of thumbnails.

    The folder can be opened from disk, copied, or put on any web server; the page loads nothing from
    elsewhere. An explorer that is already there is replaced, and stays whole until the new one is; what was put beside it
    is left alone.

    Parameters
    ----------
    originals : whether the page says where the pictures' files lie: it links to them, and tables of reviewed keywords
        name them.

    Raises
    ------
    ConfigError
        As `check_folder`.
    """
    out = Path(out)
    check_folder(out)
    index = out / "index.html"
    out.mkdir(parents=True, exist_ok=True)
    sheets = write_sheets(data.pictures, packing_order(data), out, progress=progress)
    links = [Original.of(picture, out) for picture in data.pictures] if originals else None
    page = render(data.title, to_json(payload(data, sheets, originals=links)))
    with atomic_path(index) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    for old in out.glob(EXPLORER_SHEETS):
        if old.name not in sheets.files:
            old.unlink()
    return Built(
        index=index,
        sheets=tuple(out / name for name in dict.fromkeys(sheets.files)),
        unreadable={data.ids[row]: reason for row, reason in sorted(sheets.unreadable.items())},
    )


def check_folder(out: Path) -> None:
    """Refuse a place for an explorer that is neither a new or empty folder nor one with an explorer (`spare_folder`)."""
    if not holds_explorer(out):
        spare_folder(out, "an explorer's folder", EXPLORER_SHEETS)  # one that was killed leaves sheets


def packing_order(data: ExplorerData) -> list[int]:
    """Pictures by their largest topic, the surest first: a topic's pictures lie in one or two sheets."""
    theta = np.asarray(data.theta_image)
    return [int(row) for row in np.lexsort((-theta.max(axis=1), theta.argmax(axis=1)))]


def render(title: str, json: str) -> str:
    """The page's HTML.

    The policy lets only this very script and style run, whatever else a text may have brought in, and
    pictures come from the page's own place: 'self' on a server, file: when opened from disk.
    """
    style, script = _asset("explorer.css"), "\n".join(_asset(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src 'self' file: data:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )
    parts = {
        "mark": EXPLORER_MARK,
        "policy": html.escape(policy, quote=False),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": json,
    }
    # One pass over the template alone: what is put in is never searched for further places.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("index.html"))


def _asset(name: str) -> str:
    return (resources.files("vtm.report.explorer") / "page" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """A content hash as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
