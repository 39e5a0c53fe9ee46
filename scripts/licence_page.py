"""Write the tables of book/licences.md anew, from what corpora and encoders say of themselves.

    python scripts/licence_page.py

A comment of MyST, `% table corpora` or `% table weights`, stands before each table.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vtm.corpora.fetch import corpus_terms, markdown_table, weight_terms  # noqa: E402
from vtm.files import write_text  # noqa: E402

PAGE = ROOT / "book" / "licences.md"
TABLES = {"corpora": corpus_terms, "weights": weight_terms}
_TABLE = re.compile(r"(?<=^% table )(\w+)\n(?:\|.*\n)*", re.MULTILINE)


def fill(page: str) -> str:
    """The page with every table as it is now."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{markdown_table(TABLES[found[1]]())}\n", page)


if __name__ == "__main__":
    write_text(PAGE, fill(PAGE.read_text(encoding="utf-8")))
