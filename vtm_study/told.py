"""What a chapter found in words, for those who run its notebook alone: only the book fills in what is glued."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import myst_nb

from vtm.errors import DataError
from vtm.files import checkout, read_json
from vtm_study.book import BRANCH, holds

if TYPE_CHECKING:
    from IPython.display import Markdown

GLUED: dict[str, Any] = {}
CLAIM = re.compile(r"^(:{3,})\{claim\} (.*)\n:of: .*\n([\s\S]*?)^\1$", re.MULTILINE)
ROLE = re.compile(r"\{glue:text\}`([^`:]+)(?::([^`]*))?`")


def glue(name: str, value: Any) -> None:
    """Keep a value for the book's prose, and for `told`."""
    GLUED[name] = value
    myst_nb.glue(name, value, display=False)


def told(chapter: str) -> Markdown:
    """The last section of a chapter ("10-cost") with the values that were glued, as the book shows it.

    Raises
    ------
    DataError
        A value that it names was not glued.
    """
    from IPython.display import Markdown

    cells = read_json(f"{checkout()}/notebooks/{chapter}.ipynb")["cells"]
    prose = next("".join(cell["source"]) for cell in reversed(cells) if cell["cell_type"] == "markdown")
    return Markdown(in_words(prose, GLUED))


def in_words(prose: str, values: dict[str, Any]) -> str:
    """Prose of the book with values in the place of its roles, and of each claim the branch that they bear."""

    def chosen(claim: re.Match[str]) -> str:
        branches = f"{claim[2]}\n{claim[3]}".split(f"\n{BRANCH}")
        parts = [part.partition("\n") for part in branches]
        return next((text.strip() for condition, _, text in parts if holds(condition.strip(), values)), "")

    def filled(role: re.Match[str]) -> str:
        if role[1] not in values:
            raise DataError(f"{role[1]}: the chapter's prose names a value that was not glued")
        return format(values[role[1]], role[2] or "")

    return ROLE.sub(filled, CLAIM.sub(chosen, prose))
