"""Fetched files, compared with what their pinned archive holds before they are read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from vtm.errors import DataError, StorageError
from vtm.fetch import STAMP, Artifact, artifacts_for, fetch
from vtm.files import hash_json, hash_tree, read_json, write_json


def fetch_checked(name: str) -> tuple[Path, dict[str, str]]:
    """As `vtm.fetch.fetch`, and every file that a corpus reads is compared with the pinned archive's, by content.

    Some 25 MB are read for the stamps, 380 MB for Open Clip Art, so callers keep what they make of the latter.
    Files of other kinds, such as sounds, are not looked at.

    Parameters
    ----------
    name
        A key of `vtm.fetch.ARTIFACTS` with `suffixes`.

    Returns
    -------
    folder : Path
    contents : dict
        Name below the folder -> hex SHA-256 of the file.

    Raises
    ------
    ConfigError, MissingError
        As `vtm.fetch.fetch`.
    DataError
        A file was changed, removed or added.
    """
    folder = fetch(name)
    artifact = artifacts_for([name])[0]
    contents = hash_tree(folder, artifact.suffixes)
    stamp = read_json(folder / STAMP)
    if hash_json(contents) != artifact.contents:
        raise DataError(
            f"{_difference(artifact, stamp, contents)}; delete the folder {folder} and run `vtm fetch {name}`"
        )
    # Stamps of older versions lack the list, which tells a changed file's name. It is only an aid: the folder may be
    # read-only.
    if stamp.get("contents") != contents:
        with suppress(StorageError):
            write_json(folder / STAMP, {**stamp, "contents": contents})
    return folder, contents


def _difference(artifact: Artifact, stamp: dict[str, Any], contents: dict[str, str]) -> str:
    """The first file that differs, where the stamp has the right list; else how many files there are."""
    right = stamp.get("contents")
    if hash_json(right) != artifact.contents:
        return f"{artifact.folder}: its {len(contents)} files are not those that were fetched"
    name = min(name for name in {*right, *contents} if right.get(name) != contents.get(name))
    path = artifact.folder / name
    if name not in right:
        return f"{path}: was not fetched"
    return f"{path}: is not what was fetched" if name in contents else f"{path}: is missing"
