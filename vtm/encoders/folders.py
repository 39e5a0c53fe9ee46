"""Folders with a model of transformers or sentence-transformers: a path, or fetched from the hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from vtm.encoders.hub import Download, hash_files, how_to_get, is_whole, weights_folder
from vtm.errors import DataError, MissingError
from vtm.files import hash_json, read_json

MODULES = "modules.json"  # makes a folder one of sentence-transformers; names the folders of its parts
ROUTERS = (
    "router_config.json",
    "config.json",
)  # either may name the folders of the parts that a part has itself
WIDEST = 1 << 20  # dimensions
SUFFIXES = (".json", ".txt", ".model", ".spm", ".safetensors", ".bin")


def find_folder(name: str, *, spec: str) -> Path:
    """The folder of a model: `name` itself, if it is one, or what was fetched under that name.

    Raises
    ------
    MissingError
        Neither; the message has the commands that bring it.
    """
    path = Path(name).expanduser()
    if (path / "config.json").is_file() or (path / MODULES).is_file():
        return path.absolute()
    if _is_path(name):
        raise MissingError(f"{name}: no folder with a model in it, which has a config.json")
    folder = weights_folder("sentence", name)
    if not is_whole(folder):
        raise MissingError(f"the model {name} is not in {folder.parent}; {how_to_get(spec)}")
    return folder


def fetch_folder(name: str, *, spec: str) -> Path:
    """As `find_folder`, but the model is fetched if it is not there.

    Raises
    ------
    MissingError
        The hub cannot be reached, or has no such model or no weights of it.
    DataError
        What came, or what was there, is damaged.
    """
    folder = weights_folder("sentence", name)
    if _is_path(name) or is_whole(folder):
        folder = find_folder(name, spec=spec)
        hash_folder(folder)  # raises where a file is damaged
        return folder
    download = Download(folder, spec)
    there = download.names(name)
    parts = _find_parts(lambda file: download.file(name, file) if file in there else None)
    wanted = _wanted(there, parts)
    if not any(file.endswith((".safetensors", ".bin")) for file in wanted):
        raise MissingError(f"{name}: the hub has no weights of it as safetensors or for PyTorch")
    return download.settle({file: download.file(name, file) for file in wanted}, source={"name": name})


def hash_folder(folder: Path) -> str:
    """Hash of a model: its weights, configuration and tokenizer or image processor.

    Raises
    ------
    DataError
        A file that is not what was fetched.
    """
    parts = all_parts(folder)
    files = (
        path
        for part in parts
        if os.path.isdir(folder / part)  # False for names that cannot be
        for path in (folder / part).glob("**/*" if part else "*")
    )
    names = {path.relative_to(folder).as_posix() for path in files if path.is_file()}
    return hash_json(hash_files(folder, _wanted(names, parts)))


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file with an object in it, as configurations are.

    Raises
    ------
    MissingError, DataError
        No such file, or it holds something else.
    """
    stated = read_json(path)
    if not isinstance(stated, dict):
        raise DataError(f"{path}: is not a model's configuration, a JSON object")
    return stated


def as_width(value: Any) -> int:
    """A number of dimensions that a configuration states; 0 for anything that is none."""
    return value if type(value) is int and 0 < value < WIDEST else 0


def _is_path(name: str) -> bool:
    return name.startswith(("/", "~", ".")) or Path(name).is_dir()


def read_parts(modules: Path) -> list[str]:
    """The folders of a sentence-transformers model's parts, in their order; "" is the folder of the model.

    Raises
    ------
    DataError
        The file does not say what the parts are, or one is in another folder or is not sentence-transformers' own: its
        code would be run.
    """
    stated = read_json(modules)
    whole = isinstance(stated, list) and all(
        isinstance(part, dict) and isinstance(part.get("path"), str) and isinstance(part.get("type"), str)
        for part in stated
    )
    if not whole:
        raise DataError(f"{modules}: is no list of a model's parts, with the path and the type of each")
    for part in stated:
        _check_part(modules, part["path"], part["type"])
    return [_joined(part["path"]) for part in stated]


def all_parts(folder: Path) -> list[str]:
    """The folders of a model and of all its parts, also of those inside a router; "" is that of the model.

    Raises
    ------
    DataError
        As `read_parts`.
    """
    return _find_parts(lambda file: folder / file if os.path.isfile(folder / file) else None)


def _find_parts(find: Callable[[str], Path | None]) -> list[str]:
    """As `all_parts`; `find` has the path of one of the model's files, None where there is no such file."""
    modules = find(MODULES)
    waiting = ["", *read_parts(modules)] if modules else []
    parts = dict.fromkeys(["", *waiting])
    while waiting:
        part = waiting.pop()
        for path in (find(_joined(part, name)) for name in ROUTERS):
            stated = read_json(path) if path else None
            types = stated.get("types") if isinstance(stated, dict) else None
            for name, kind in types.items() if isinstance(types, dict) else ():
                _check_part(path, name, str(kind))
                if (inner := _joined(part, name)) not in parts:
                    parts[inner] = None
                    waiting.append(inner)
    return list(parts)


def _joined(*names: str) -> str:
    path = PurePosixPath(*names)
    return str(path) if path.parts else ""


def _check_part(stated: Path, folder: str, kind: str) -> None:
    if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
        raise DataError(f"{stated}: the part {folder!r} is in another folder")
    if not kind.startswith("sentence_transformers."):
        raise DataError(f"{stated}: the part {kind!r} is code that came with the model, and is not run")


def _wanted(names: Iterable[str], parts: Iterable[str]) -> list[str]:
    """A model's files, in its folder and below those of its parts: no pickle beside safetensors, no ONNX and the like."""
    below = {PurePosixPath(part) for part in parts if part}
    files = [path for path in map(PurePosixPath, names) if path.suffix in SUFFIXES]
    mine = [path for path in files if len(path.parts) == 1 or below.intersection(path.parents)]
    safe = {path.parent for path in mine if path.suffix == ".safetensors"}
    return sorted(str(path) for path in mine if path.suffix != ".bin" or path.parent not in safe)
