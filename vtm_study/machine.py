"""What machine and what state of the source a measurement was made on."""

from __future__ import annotations

import ast
import io
import os
import platform
import subprocess
import tarfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

from vtm.files import checkout, code_of


def machine() -> dict[str, str]:
    """Processor, cores, memory, accelerator and versions, as text; what cannot be found out is left out."""
    import torch

    import vtm

    found = {
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0)) if _LINUX else os.cpu_count()),
    }
    if memory := _memory():
        found["memory"] = memory
    if torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    found |= {
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vtm": vtm.__version__,
    }
    return found


_LINUX = hasattr(os, "sched_getaffinity")


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError, AttributeError):
        return ""


def peak_memory() -> float:
    """Peak resident memory of this process so far, in MiB."""
    import resource
    import sys

    # What getrusage tells on Linux begins with the peak of the process that started this one.
    if own := _status("VmHWM"):
        return own["VmHWM"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class MemoryWatch:
    """Largest amounts of memory that this process holds inside a `with` block, in MiB, sampled by a thread.

    Attributes
    ----------
    anonymous : what only this process holds: arrays, heaps, stacks; 0 where the system does not tell (Linux does).
    mapped : pages of files that lie in memory, such as mapped arrays and libraries. The system takes them back when
        it needs room.
    """

    def __init__(self, interval: float = 0.02) -> None:
        self.anonymous = self.mapped = 0.0
        self._interval, self._stop = interval, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="vtm-memory", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        found = _status("RssAnon", "RssFile")
        self.anonymous = max(self.anonymous, found.get("RssAnon", 0.0))
        self.mapped = max(self.mapped, found.get("RssFile", 0.0))


def _status(*names: str) -> dict[str, float]:
    """Amounts of /proc/self/status in MiB, those that are there."""
    found = {}
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            name, _, amount = line.partition(":")
            if name in names:
                found[name] = int(amount.split()[0]) / 2**10
    return found


def commit() -> str:
    """The checkout's commit, "" outside of one; with "+" where files of the package differ from it or are new."""
    head = _git("rev-parse", "--short=12", "HEAD").decode().strip()
    return head + ("+" if head and _git("status", "--porcelain", *_PACKAGES) else "")


def changed_since(commit: str, *modules: str) -> list[str] | None:
    """Which code a measurement follows from is no longer what it was, comments, docstrings and types aside.

    Parameters
    ----------
    commit : where it was measured.
    modules : what measured it; all of ours that they import counts (`vtm.files.code_of`).

    Returns
    -------
    names : of the modules that differ or were not there yet. None where that cannot be told: outside of a checkout, in one
        that does not reach back so far, or of files that differed from their commit ("+").
    """
    root, then = checkout(), _sources(commit)
    if not then:
        return None
    now = {
        name: (path.relative_to(root).as_posix(), path.read_bytes())
        for name, path in code_of(*modules).items()
    }
    return [
        name
        for name, (path, source) in now.items()
        if source != then.get(path) and (path not in then or _statements(source) != _statements(then[path]))
    ]


@cache
def _sources(commit: str) -> dict[str, bytes]:
    """Path -> content of the Python files of a commit, none where there is no such commit."""
    archive = _git("archive", "--end-of-options", commit, ":(glob)**/*.py") if commit else b""
    if not archive:
        return {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        return {file.name: files.extractfile(file).read() for file in files if file.isfile()}


_PACKAGES = ("vtm", "vtm_study", "benchmarks")


def _git(*arguments: str) -> bytes:
    """What git prints of the checkout; nothing outside of one, or where git refuses."""
    if root := checkout():
        with suppress(OSError, subprocess.CalledProcessError):
            return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True).stdout
    return b""


@cache
def _statements(source: bytes) -> str:
    tree = _Untyped().visit(ast.parse(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
    return ast.dump(tree)


class _Untyped(ast.NodeTransformer):
    """Takes out what is there for readers and type checkers alone."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        # What a class declares, such as the fields of a data class, stays with its types.
        node.body = [one if isinstance(one, ast.AnnAssign) else self.visit(one) for one in node.body]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return ast.Assign([node.target], node.value, lineno=node.lineno) if node.value else None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "typing" else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        is_cast = isinstance(node.func, ast.Name) and node.func.id == "cast" and len(node.args) == 2
        return node.args[1] if is_cast else node
