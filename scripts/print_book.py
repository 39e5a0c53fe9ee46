"""Print the book's single page as one PDF with bookmarks, by Chromium."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--no-pdf-header-footer", "--generate-pdf-document-outline", "--virtual-time-budget=120000"),
)


def print_page(page: Path, pdf: Path, *, timeout: float = 1800) -> None:
    """Write what a browser shows of a local page into a PDF, in one step.

    Raises
    ------
    RuntimeError
        No Chromium, or it wrote no PDF.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise RuntimeError("no Chromium, which prints the PDF: apt-get install chromium")
    pdf.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True, dir=pdf.parent) as folder:
        made = Path(folder) / "book.pdf"
        done = subprocess.run(
            [
                program,
                *FLAGS,
                f"--user-data-dir={folder}/profile",
                f"--print-to-pdf={made}",
                page.resolve().as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode or not made.is_file() or not made.read_bytes().startswith(b"%PDF-"):
            raise RuntimeError(f"Chromium wrote no PDF of {page}: {done.stderr[-300:].strip()}")
        made.replace(pdf)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, help="index.html of the single page")
    parser.add_argument("pdf", type=Path)
    arguments = parser.parse_args()
    try:
        print_page(arguments.page, arguments.pdf)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
