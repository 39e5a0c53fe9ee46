"""Which code a stored measurement follows from: a part's own module and those of the study that it imports."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from vtm.files import hash_file, hash_json

# The packages whose modules measure.
_PACKAGES = ("vtm.study", "vtm.tags")
# What they measure with, besides those modules and those in `vtm.experiment.code_hash`.
_SHARED = ("vtm.peers", "vtm.peers_extra", "vtm.labels")


def modules_hash(module: str, *, without: Sequence[str] = ()) -> str:
    """Hash of the source of `module` and of all modules of the study that it reaches, but for those named."""
    return hash_json(
        {name: hash_file(path) for name, path in modules_of(module).items() if name not in without}
    )


def modules_of(module: str) -> dict[str, Path]:
    """The modules by name, with their files."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = Path(find_spec(name).origin)
        for node in ast.walk(ast.parse(found[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                waiting += [name for name in (node.module, *names) if _counts(name)]
    return dict(sorted(found.items()))


def _counts(name: str) -> bool:
    """Whether an imported name is a module that measures, not a function of one."""
    own = name.rpartition(".")[0] in _PACKAGES and find_spec(name) is not None
    return own or name in _SHARED
