"""Write the tables of book/licences.md anew, from what corpora and encoders say of themselves.

    python scripts/licence_page.py

A comment of MyST, `% table corpora` or `% table weights`, stands before each table.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vtm.corpora.fetch import WEIGHTS, Terms, corpus_terms  # noqa: E402
from vtm.files import write_text  # noqa: E402

PAGE = ROOT / "book" / "licences.md"
TABLES = {"corpora": corpus_terms(), "weights": WEIGHTS}
_TABLE = re.compile(r"(?<=^% table )(\w+)\n(?:\|.*\n)*", re.MULTILINE)


def fill(page: str) -> str:
    """The page with every table as it is now."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{markdown_table(TABLES[found[1]])}\n", page)


def markdown_table(terms: Iterable[Terms]) -> str:
    """Terms as a table in Markdown."""
    rows = [(f"`{each.used_as}`", each.name, each.licence, each.pinned) for each in terms]
    head = ("Used as", "What it is", "Licence", "Pinned files")
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines)


if __name__ == "__main__":
    write_text(PAGE, fill(PAGE.read_text(encoding="utf-8")))
