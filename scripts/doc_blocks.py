"""Run the marked blocks of a page of the book, and put what they print into the page.

A comment of MyST before a block marks it:

    % file NAME        the block is a file that the reader saves under this name
    % run              the block is typed into a shell
    % run long         ... and takes long: the tests type it with smaller settings, this script does not
    % printed          the block holds what the last command printed on a terminal
    % printed 12       ... its first 12 lines
    % printed varies   ... which may differ a little from one machine to another (also `varies 12`)
    % refused          the block holds a mistake and what vtm says to it (see doc_errors.py)

`python scripts/doc_blocks.py book/tutorial.md` runs the page in a new folder and writes the printed blocks anew.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import doc_errors

COLUMNS, LINES = 78, 40
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
CUT = "..."
_MARK = re.compile(r"% (file|run|printed|refused)\b *(.*)")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = re.compile(r"\d+%\|")  # of a progress bar, which is drawn over and over in its line


class BlockError(Exception):
    """A mark without its block, or a command that failed."""


@dataclass(frozen=True)
class Block:
    """A marked block.

    Attributes
    ----------
    kind : "file", "run", "printed" or "refused".
    option : what follows the kind in the mark.
    start, end : its lines in the page, without the fences.
    """

    kind: str
    option: str
    start: int
    end: int
    text: str

    @property
    def varies(self) -> bool:
        return "varies" in self.option.split()

    @property
    def n_lines(self) -> int | None:
        """How many lines are shown; None: all."""
        return next((int(word) for word in self.option.split() if word.isdecimal()), None)


def find_blocks(page: str) -> list[Block]:
    """The marked blocks of a page, in their order.

    Raises
    ------
    BlockError
        A mark that no block follows, or a block that does not end.
    """
    lines = page.splitlines()
    found = []
    for number, line in enumerate(lines):
        if not (mark := _MARK.fullmatch(line.rstrip())):
            continue
        start = number + 2
        if not lines[number + 1].startswith("```"):
            raise BlockError(f"line {number + 1}: no block follows {line!r}")
        try:
            end = lines.index("```", start)
        except ValueError:
            raise BlockError(f"line {number + 2}: the block does not end") from None
        found.append(Block(mark[1], mark[2], start, end, "\n".join(lines[start:end])))
    return found


def run_blocks(
    page: str, folder: Path, *, change: Callable[[Block], str] | None = None
) -> Iterator[tuple[Block, str]]:
    """Run a page's blocks in `folder`; yields each printed block with what was printed this time.

    Parameters
    ----------
    change
        Gives the text to write or run in a block's place. Without it long blocks are left out.

    Raises
    ------
    BlockError
        A command failed.
    """
    text_of = change or (lambda block: block.text)
    printed = ""
    for block in find_blocks(page):
        if block.kind == "file":
            (folder / block.option).write_text(text_of(block) + "\n", encoding="utf-8")
        elif block.kind == "run" and (change or block.option != "long"):
            printed = type_command(text_of(block), folder)
        elif block.kind == "printed":
            yield block, _cut(printed, block.n_lines)


def lay_out(folder: Path) -> None:
    """What pages take for granted: a table photos.csv with columns "headline" and "taken", its pictures; the notebooks."""
    from vtm.corpora import load_corpus

    scenes = load_corpus("scenes", n=240)
    (folder / "photos").mkdir()
    with open(folder / "photos.csv", "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file_name", "headline", "taken"])
        for number, (text, picture) in enumerate(zip(scenes.texts, scenes.images, strict=True)):
            shutil.copy(picture, folder / "photos" / picture.name)
            taken = f"{2019 + number % 5}-{1 + number % 12:02}-01" if number % 60 else ""
            table.writerow([f"photos/{picture.name}", text, taken])
        table.writerow(["photos/lost.png", "a picture that is not there", "2019"])
        table.writerow([f"photos/{scenes.images[0].name}", "", ""])
    (folder / "notebooks").symlink_to(NOTEBOOKS)


def type_command(command: str, folder: Path) -> str:
    """What a command prints on a terminal of 78 columns, both streams together, without colours and progress bars.

    Raises
    ------
    BlockError
        The command failed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(
        ["bash", "-euc", command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={
            **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "TERM": "xterm",
            "NO_COLOR": "1",
        },
    )
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            said += chunk
    except OSError:  # on Linux the end of a terminal is an input/output error
        pass
    os.close(ours)
    text = _ANSI.sub("", said.decode("utf-8", "replace")).replace("\r\n", "\n")
    if process.wait():
        raise BlockError(f"`{command}` ended with {process.returncode}:\n{text}")
    lines = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.strip("\n").split("\n"))
    return "\n".join(line for line in lines if not _BAR.search(line))


def _cut(printed: str, n_lines: int | None) -> str:
    lines = printed.split("\n")
    return printed if n_lines is None or len(lines) <= n_lines else "\n".join([*lines[:n_lines], CUT])


def fill(page: str, printed: list[tuple[Block, str]]) -> str:
    """The page with other printed blocks."""
    lines = page.splitlines()
    for block, text in reversed(printed):
        lines[block.start : block.end] = text.split("\n")
    return "\n".join(lines) + "\n"


def renew(page: str) -> str:
    """The page with what its blocks print now.

    Raises
    ------
    BlockError
        A command failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        refused = [block for block in find_blocks(page) if block.kind == "refused"]
        if refused:
            doc_errors.lay_out(folder)
            return fill(page, [(block, doc_errors.answer(block.text, folder)) for block in refused])
        lay_out(folder)
        return fill(page, list(run_blocks(page, folder)))


def main() -> int:
    """Run a page, and write it with what its commands print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    path = parser.parse_args().page
    try:
        page = renew(path.read_text(encoding="utf-8"))
    except BlockError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    path.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
