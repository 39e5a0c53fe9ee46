"""Headless Chromium for the tests: pages served from this machine, every other host out of reach."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from bs4 import BeautifulSoup

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost",
)
PROBE = "__probe__.html"


def find_chromium() -> str | None:
    """Path of an installed Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class _ProbeHandler(_QuietHandler):
    """Serves a folder, and one page more, kept in memory: the tests do not write into the book."""

    def __init__(self, *args: object, probe: bytes, **options: object) -> None:
        self.probe = probe
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        if self.path != f"/{PROBE}":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.probe)))
        self.end_headers()
        self.wfile.write(self.probe)


@contextmanager
def serve(folder: Path, probe: str = "") -> Iterator[str]:
    """Serve `folder` on a free port of localhost; yields the address, which ends in a slash."""
    handler = functools.partial(_ProbeHandler, directory=str(folder), probe=probe.encode())
    with ThreadingHTTPServer(("localhost", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://localhost:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def chromium(*arguments: str, timeout: float = 120) -> str:
    """Run Chromium with a profile of its own and return what it prints.

    Raises
    ------
    RuntimeError
        It is not installed, or ended with an error.
    subprocess.TimeoutExpired
    """
    path = find_chromium()
    if path is None:
        raise RuntimeError("no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        done = subprocess.run(
            [path, *FLAGS, f"--user-data-dir={profile}", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
    if done.returncode:
        raise RuntimeError(f"Chromium ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def dump_dom(url: str, *, width: int = 1400, height: int = 1000, wait_ms: int = 15000) -> str:
    """The page's HTML after its scripts have run."""
    return chromium(f"--window-size={width},{height}", f"--virtual-time-budget={wait_ms}", "--dump-dom", url)


def screenshot(url: str, path: Path, *, width: int = 1400, height: int = 1000, wait_ms: int = 15000) -> None:
    """Save what the window shows as a PNG. Chromium's windows are at least 500 px wide."""
    chromium(
        f"--window-size={width},{height}",
        f"--virtual-time-budget={wait_ms}",
        "--hide-scrollbars",
        f"--screenshot={path}",
        url,
    )


# Frames can be narrower than a window may be, and their pages can be asked how wide they came out.
_PROBE_PAGE = """<!doctype html><meta charset="utf-8"><pre id="found"></pre>{frames}<script>
addEventListener("load", async () => {{
  const found = {{}};
  for (const frame of document.querySelectorAll("iframe")) {{
    const inner = frame.contentWindow, page = frame.contentDocument;
    if (inner.MathJax?.startup) await inner.MathJax.startup.promise;
    await page.fonts.ready;
    found[frame.title] = {{
      width: page.documentElement.clientWidth,
      content: page.scrollingElement.scrollWidth,
      formulas: page.querySelectorAll("mjx-container").length,
      unset: page.querySelectorAll("div.math, span.math").length,
      foreign: inner.performance.getEntriesByType("resource").map((entry) => entry.name)
        .filter((name) => /^(http|ws)s?:/.test(name) && new URL(name).origin !== location.origin),
      broken: [...page.images].filter((image) => image.complete && !image.naturalWidth)
        .map((image) => image.src),
      sunk: [...page.querySelectorAll("table.dataframe tbody th")]
        .filter((heading) => inner.getComputedStyle(heading).verticalAlign !== "top").length,
      charts: [...page.querySelectorAll("figure > img")].map((image) => image.clientWidth),
    }};
  }}
  document.querySelector("#found").textContent = JSON.stringify(found);
}});
</script>"""


def measure(folder: Path, pages: Sequence[str], *, width: int, wait_ms: int = 30000) -> dict[str, dict]:
    """Open pages of a folder in frames `width` px wide and report how each came out.

    Returns
    -------
    page -> width and content: px; formulas: how many MathJax set; unset: how many the source has;
    foreign: addresses on other hosts that it asked for; broken: addresses of pictures that did not load;
    sunk: row headings that stand below their row's first line; charts: px, how wide each is drawn.
    Empty when the pages' scripts never came to an end.
    """
    frames = "".join(
        f'<iframe title="{escape(page)}" src="{quote(page)}" width="{width}" height="900"></iframe>'
        for page in pages
    )
    with serve(folder, _PROBE_PAGE.format(frames=frames)) as address:
        dom = dump_dom(address + PROBE, wait_ms=wait_ms)
    found = BeautifulSoup(dom, "html.parser").select_one("#found")
    return json.loads(found.text) if found and found.text else {}
