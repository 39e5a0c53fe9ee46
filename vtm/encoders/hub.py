"""Folders of weights from the Hugging Face hub: fetched once, hashed, and free to be copied elsewhere.

Only `Download` uses the network. A folder is whole or not there: what has come waits beside it, so that a
download that broke off goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import socket
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from vtm.errors import DataError, MissingError, VtmError
from vtm.files import hash_file, read_json, write_json
from vtm.paths import data_dir

RECORD = "vtm-files.json"


def weights_folder(encoder: str, name: str) -> Path:
    """Where the weights of that name belong: `weights/<encoder>/<name>` in the data folder."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    # Two names may look alike without their odd characters.
    mark = "" if plain == name else f"-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return data_dir() / "weights" / encoder / f"{plain}{mark}"


def how_to_get(spec: str) -> str:
    """The commands that bring the weights of an encoder like `clip:model=...` here."""
    return f"`{_prefetch(spec)}` fetches them; {how_to_bring(spec)}"


def how_to_bring(spec: str) -> str:
    """The two commands that bring an encoder's weights to a machine without a network."""
    there = shlex.quote(f"{socket.gethostname()}:{data_dir()}/")
    return (
        f"if there is no network here, run `VTM_DATA=vtm-weights {_prefetch(spec)}` on a machine that has "
        f"one, and then, there too, `rsync -a vtm-weights/ {there}`"
    )


def _prefetch(spec: str) -> str:
    return f"vtm prefetch --encoder {shlex.quote(spec)}"


def is_whole(folder: Path) -> bool:
    """Whether a fetched folder is there with all files of its record; a DataError where that is damaged."""
    return (folder / RECORD).is_file() and all((folder / name).is_file() for name in _recorded(folder))


def _recorded(folder: Path) -> dict[str, str]:
    """File -> SHA-256 of when the folder was fetched; nothing for a folder that was brought by other ways."""
    record = folder / RECORD
    if not record.is_file():
        return {}
    about = read_json(record)
    files = about.get("files") if isinstance(about, dict) else None
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise DataError(
            f"{record}: does not say what was fetched; delete the folder, and fetch or copy it again"
        )
    return files


def hash_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files in `folder`, each compared with the folder's record, if it has one.

    Raises
    ------
    DataError
        A file that is not what was fetched.
    """
    expected = _recorded(folder)
    found = {name: hash_file(folder / name) for name in names}
    for name, digest in found.items():
        if expected.get(name, digest) != digest:
            raise DataError(
                f"{folder / name}: SHA-256 is {digest}, recorded when it was fetched is {expected[name]}; "
                "delete the folder, and fetch or copy it again"
            )
    return found


class Download:
    """Puts a folder of weights together from files of the hub.

    Parameters
    ----------
    folder
        What will be there after `settle`.
    spec
        The encoder with its options, for messages.
    """

    def __init__(self, folder: Path, spec: str) -> None:
        self.folder = folder
        self.spec = spec
        self.waiting = folder.parent / f".{folder.name}.part"
        self._commits: dict[str, str] = {}
        self._names = cache(self._ask)

    def names(self, repository: str) -> tuple[str, ...]:
        """The files of a repository."""
        return tuple(self._names(repository))

    def file(self, repository: str, name: str) -> Path:
        """Fetch one file, unless it has come already.

        Raises
        ------
        MissingError
            It cannot be fetched.
        DataError
            Its SHA-256 is not the one that the hub states.
        """
        import huggingface_hub

        stated = self._names(repository).get(name)
        try:
            path = Path(
                huggingface_hub.hf_hub_download(
                    repository,
                    name,
                    revision=self._commits[repository],
                    local_dir=self.waiting / repository.replace("/", "--"),
                )
            )
        except Exception as error:  # of the HTTP client, of the hub, of the disk
            raise self._lost(f"{repository}/{name}", error) from error
        if stated and (found := hash_file(path)) != stated:
            path.unlink()
            raise DataError(
                f"{repository}/{name}: came damaged (SHA-256 {found}, not {stated}); fetch it again"
            )
        return path

    def settle(self, files: Mapping[str, Path], source: Mapping[str, Any]) -> Path:
        """Make the folder of the files, under these names, with a record of their SHA-256."""
        fresh = self.waiting / "folder"
        shutil.rmtree(fresh, ignore_errors=True)
        hashes = {name: hash_file(path) for name, path in files.items()}
        for name, path in files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, fresh / name)  # what has come stays, should this break off
            except OSError:
                shutil.copy2(path, fresh / name)
        record = {"source": dict(source), "commits": self._commits, "files": hashes}
        write_json(fresh / RECORD, record)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.rename(fresh, self.folder)
        shutil.rmtree(self.waiting, ignore_errors=True)
        return self.folder

    def _ask(self, repository: str) -> dict[str, str | None]:
        import huggingface_hub

        try:
            about = huggingface_hub.model_info(repository, files_metadata=True)
        except Exception as error:
            raise self._lost(repository, error) from error
        self._commits[repository] = about.sha
        return {file.rfilename: file.lfs.sha256 if file.lfs else None for file in about.siblings or ()}

    def _lost(self, what: str, error: Exception) -> VtmError:
        why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return MissingError(
            f"{what}: cannot be fetched from the Hugging Face hub ({why}); {how_to_bring(self.spec)}"
        )
