"""Write the explorer: a page that holds its script, its styles and its data, and sheets of thumbnails beside it."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from vtm.errors import ConfigError
from vtm.explorer.data import ExplorerData
from vtm.explorer.payload import payload, to_json
from vtm.explorer.sheets import PATTERN, write_sheets
from vtm.files import atomic_path

# One script: a browser that opens a file lets it load no others under a strict policy.
_NAMES = ("data", "elements", "map", "gestures", "places", "panels", "search", "explorer")
SCRIPTS = tuple(f"{name}.js" for name in _NAMES)
_MARK = '<meta name="generator" content="vtm explorer">'


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


def build_explorer(data: ExplorerData, out: Path | str, *, progress: bool = True) -> Built:
    """Write the explorer into the folder `out`: index.html and sheets of thumbnails.

    The folder can be opened from disk, copied, or put on any web server; the page loads nothing from
    elsewhere. An explorer that is already there is replaced, and stays whole until the new one is; other
    files are left alone.

    Raises
    ------
    ConfigError
        `out` is a file, or holds an index.html of something else.
    """
    out = Path(out)
    index = out / "index.html"
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; name a folder for the explorer")
    if index.exists() and not holds_explorer(out):
        raise ConfigError(f"{index}: is there and is not an explorer; name another folder")
    out.mkdir(parents=True, exist_ok=True)
    sheets = write_sheets(data.pictures, packing_order(data), out, progress=progress)
    page = render(data.title, to_json(payload(data, sheets)))
    with atomic_path(index) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    for old in out.glob(PATTERN):
        if old.name not in sheets.files:
            old.unlink()
    return Built(
        index=index,
        sheets=tuple(out / name for name in dict.fromkeys(sheets.files)),
        unreadable={data.ids[row]: reason for row, reason in sorted(sheets.unreadable.items())},
    )


def holds_explorer(folder: Path | str) -> bool:
    """Whether a folder's index.html is an explorer's."""
    try:
        with open(Path(folder) / "index.html", encoding="utf-8", errors="replace") as page:
            return _MARK in page.read(4000)
    except OSError:
        return False


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
        "mark": _MARK,
        "policy": html.escape(policy, quote=False),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": json,
    }
    # One pass over the template alone: what is put in is never searched for further places.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("index.html"))


def _asset(name: str) -> str:
    return (resources.files("vtm.explorer") / "page" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """A content hash as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
