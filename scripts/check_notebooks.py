"""Hold the executed notebooks against the table of contents: each page is there, none holds an error.

Jupyter Book builds a notebook that stopped with an error as if nothing had happened.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUFFIXES = (".md", ".ipynb")


def toc_files(toc: Any) -> Iterator[str]:
    """Every page that a parsed _toc.yml names, in reading order, without suffix."""
    if isinstance(toc, dict):
        for key, value in toc.items():
            if key in ("root", "file"):
                yield value
            else:
                yield from toc_files(value)
    elif isinstance(toc, list):
        for item in toc:
            yield from toc_files(item)


def find_page(book: Path, name: str) -> Path | None:
    """The source of a page, or None when there is none."""
    return next((path for suffix in SUFFIXES if (path := book / f"{name}{suffix}").is_file()), None)


def notebook_problems(path: Path) -> list[str]:
    """One line for each thing that should not be in an executed notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError) as error:
        return [f"{path}: not a notebook ({error!r}); run `vtm reproduce` again"]
    problems = []
    code = [(number, cell) for number, cell in enumerate(cells, start=1) if cell["cell_type"] == "code"]
    for number, cell in code:
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                problems.append(f"{path}: cell {number} stopped with {output['ename']}: {output['evalue']}")
            if "...</td>" in "".join(output.get("data", {}).get("text/html", "")):
                problems.append(
                    f"{path}: cell {number} shows a table with cut cells; call figures.style() first"
                )
    if code and not any(cell["execution_count"] for _, cell in code):
        problems.append(f"{path}: was never executed; run `vtm reproduce`")
    return problems


def book_problems(book: Path) -> list[str]:
    """One line for each page that is missing, was not executed, or holds an error."""
    import yaml

    problems = []
    for name in toc_files(yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))):
        page = find_page(book, name)
        if page is None:
            problems.append(f"{book / name}: no such page, although _toc.yml names it; run `vtm reproduce`")
        elif page.suffix == ".ipynb":
            problems.extend(notebook_problems(page))
    return problems


def main() -> int:
    """Print the problems of the book named on the command line; 1 when there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("book", type=Path, help="the folder with _toc.yml and the pages")
    problems = book_problems(parser.parse_args().book)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
