"""Folders with a model of transformers or sentence-transformers: a path, or fetched from the hub."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from vtm.encoders.hub import Download, hash_files, how_to_get, is_whole, weights_folder
from vtm.errors import DataError, MissingError
from vtm.files import hash_json, read_json

MODULES = "modules.json"  # makes a folder one of sentence-transformers; names the folders of its parts
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
    parts = ["", *read_parts(download.file(name, MODULES))] if MODULES in there else [""]
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
    parts = ["", *read_parts(folder / MODULES)] if (folder / MODULES).is_file() else [""]
    files = (
        path
        for part in dict.fromkeys(parts)
        if (folder / part).is_dir()
        for path in (folder / part).iterdir()
    )
    names = [path.relative_to(folder).as_posix() for path in files if path.is_file()]
    return hash_json(hash_files(folder, _wanted(names, parts)))


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
        if PurePosixPath(part["path"]).is_absolute() or ".." in PurePosixPath(part["path"]).parts:
            raise DataError(f"{modules}: the part {part['path']!r} is in another folder")
        if not part["type"].startswith("sentence_transformers."):
            raise DataError(
                f"{modules}: the part {part['type']!r} is code that came with the model, and is not run"
            )
    return [part["path"] for part in stated]


def _wanted(names: Iterable[str], parts: Iterable[str]) -> list[str]:
    """A model's files in its folders: no other framework's weights, no pickle beside safetensors."""
    folders = {PurePosixPath(part) for part in parts}
    mine = [path for path in map(PurePosixPath, names) if path.parent in folders and path.suffix in SUFFIXES]
    safe = {path.parent for path in mine if path.suffix == ".safetensors"}
    return sorted(str(path) for path in mine if path.suffix != ".bin" or path.parent not in safe)
