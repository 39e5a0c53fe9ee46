"""Give each notebook the set-up cell that it needs where vtm is not installed, as on Colab; none without an address.

The address and the branch are those of `repository_url` and `repository_branch` in _config.yml.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What it imports has a line before its name: any other name would be taken for a parameter of the notebook.
SETUP = """\
# Where vtm is not installed, as on Colab, this fetches it, its corpora and weights; elsewhere it does nothing.
import subprocess as _subprocess
import sys as _sys
from importlib.util import find_spec as _find_spec

if _find_spec("vtm") is None:
    _clone = "git clone --quiet --depth=1 --branch={branch} {url} /tmp/vtm"
    _subprocess.run(_clone.split(), check=True)
    _subprocess.run([_sys.executable, "-m", "pip", "install", "--quiet", "-e", "/tmp/vtm[book]"], check=True)
    _sys.path.insert(0, "/tmp/vtm")
    _subprocess.run([_sys.executable, "-m", "vtm", "prefetch"], check=True)"""


def write(notebooks: Path, url: str, branch: str) -> list[Path]:
    """Write the notebooks of a folder whose set-up cell was not that of an address, "" for none; returns them."""
    import nbformat

    written = []
    for path in sorted(notebooks.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        is_setup = ["setup" in cell.metadata.get("tags", ()) for cell in notebook.cells]
        there = [cell.source for cell, setup in zip(notebook.cells, is_setup, strict=True) if setup]
        wanted = [SETUP.format(url=url, branch=branch)] if url else []
        if there == wanted:
            continue
        notebook.cells = [cell for cell, setup in zip(notebook.cells, is_setup, strict=True) if not setup]
        for source in wanted:  # after the title
            tags = {"tags": ["setup", "remove-cell"]}
            notebook.cells.insert(1, nbformat.v4.new_code_cell(source, id="setup", metadata=tags))
        nbformat.write(notebook, path)
        written.append(path)
    return written


def main() -> int:
    import yaml

    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    theme = config["sphinx"]["config"]["html_theme_options"]
    for path in write(ROOT / "notebooks", theme["repository_url"], theme["repository_branch"]):
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
