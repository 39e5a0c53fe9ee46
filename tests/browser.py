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
    """Serves a folder, and pages more, kept in memory: the tests do not write into the book."""

    def __init__(self, *args: object, pages: dict[str, bytes], missing: list[str], **options: object) -> None:
        self.pages, self.missing = pages, missing
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        if name not in self.pages:
            return super().do_GET()
        kind = "text/javascript" if name.endswith(".js") else "text/html"
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(self.pages[name])))
        self.end_headers()
        self.wfile.write(self.pages[name])

    def send_error(self, code: int, *args: object, **options: object) -> None:
        self.missing.append(f"{code} {self.path}")
        super().send_error(code, *args, **options)


@contextmanager
def serve(
    folder: Path, pages: dict[str, str] | None = None, missing: list[str] | None = None
) -> Iterator[str]:
    """Serve `folder` on a free port of localhost; yields the address, which ends in a slash.

    pages : served besides, by name. missing : what was asked for in vain is added to it.
    """
    kept = {name: text.encode() for name, text in (pages or {}).items()}
    handler = functools.partial(
        _ProbeHandler, directory=str(folder), pages=kept, missing=[] if missing is None else missing
    )
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
      charts: [...page.querySelectorAll("figure > img:not(.narrow)")].map((image) => image.clientWidth),
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
    with serve(folder, {PROBE: _PROBE_PAGE.format(frames=frames)}) as address:
        dom = dump_dom(address + PROBE, wait_ms=wait_ms)
    found = BeautifulSoup(dom, "html.parser").select_one("#found")
    return json.loads(found.text) if found and found.text else {}


# Errors of a page's scripts are noted from its first line on. The pages are looked at one after the other.
_NOTE_ERRORS = """<head><script>window.noted = [];
addEventListener("error", (event) => noted.push(event.message ?? String(event.target?.src)), true);
console.error = (...words) => noted.push(words.join(" "));</script>"""
_AUDIT_PAGE = """<!doctype html><html lang="en"><title>audit</title><link rel="icon" href="data:,"><pre id="found"></pre>
<script>
(async () => {{
  const found = {{}};
  localStorage.setItem("mode", "{theme}");
  localStorage.setItem("theme", "{theme}");
  const axe = await (await fetch("__axe__.js")).text();
  for (const page of {pages}) {{
    const frame = document.createElement("iframe");
    frame.title = page; frame.width = {width}; frame.height = 900; frame.src = page;
    const loaded = new Promise((done) => frame.addEventListener("load", done));
    document.body.append(frame);
    await loaded;
    const inner = frame.contentWindow, document_ = frame.contentDocument;
    if (inner.MathJax?.startup) await inner.MathJax.startup.promise;
    await document_.fonts.ready;
    const script = document_.createElement("script");
    script.textContent = axe;
    document_.head.append(script);
    const {{violations}} = await inner.axe.run(document_, {{resultTypes: ["violations"], iframes: false}});
    found[page] = {{
      theme: document_.documentElement.dataset.theme,
      errors: inner.noted,
      content: document_.scrollingElement.scrollWidth,
      violations: violations.map((rule) => [rule.id, ...rule.nodes.slice(0, 4).map((node) => node.html.slice(0, 160))]),
    }};
    frame.remove();
  }}
  document.querySelector("#found").textContent = JSON.stringify(found);
}})();
</script>"""


def audit(
    folder: Path, pages: Sequence[str], *, width: int, theme: str, axe: str
) -> tuple[dict[str, dict], list[str]]:
    """Run axe-core, whose source `axe` is, on pages of a folder in a frame `width` px wide.

    Returns
    -------
    page -> theme that was shown; errors of its scripts; content: px; violations: rule and elements. And the
    addresses that were asked for in vain.
    """
    noted = {
        page: (folder / page).read_text(encoding="utf-8").replace("<head>", _NOTE_ERRORS, 1) for page in pages
    }
    probe = _AUDIT_PAGE.format(pages=json.dumps(list(pages)), width=width, theme=theme)
    missing: list[str] = []
    with serve(folder, {PROBE: probe, "__axe__.js": axe} | noted, missing) as address:
        dom = chromium(
            "--window-size=1400,1000",
            "--virtual-time-budget=900000",
            "--dump-dom",
            address + PROBE,
            timeout=1200,
        )
    found = BeautifulSoup(dom, "html.parser").select_one("#found")
    return (json.loads(found.text) if found and found.text else {}), missing
