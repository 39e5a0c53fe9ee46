"""An index as files: its arrays in safetensors, everything else in JSON, with the arrays' hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtm.errors import DataError, MissingError
from vtm.files import atomic_path, hash_file, read_json, write_json

FORMAT = 1


def write_index(
    path: Path | str, arrays: Mapping[str, np.ndarray], *, measure: str, ids: Sequence[str]
) -> None:
    """Write `<path>.safetensors` and, last, `<path>.json`."""
    from safetensors.numpy import save_file

    tensors, description = _files(path)
    with atomic_path(tensors) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
    saved = {"format": FORMAT, "measure": measure, "ids": list(ids), "arrays_sha256": hash_file(tensors)}
    write_json(description, saved)


def read_index(path: Path | str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the description that `write_index` wrote.

    Raises
    ------
    MissingError, DataError
        A file is missing, of another format, or its arrays are not those that were saved.
    """
    from safetensors.numpy import load_file

    tensors, description = _files(path)
    if not tensors.is_file():
        raise MissingError(f"{tensors}: no such file; an index is its .safetensors and its .json file")
    saved = read_json(description)
    if saved.get("format") != FORMAT:
        raise DataError(
            f"{description}: format {saved.get('format')!r}, this version of vtm reads {FORMAT}; build the index anew"
        )
    if hash_file(tensors) != saved["arrays_sha256"]:
        raise DataError(f"{tensors}: not what was saved with {description.name}; build the index anew")
    return load_file(tensors), saved


def _files(path: Path | str) -> tuple[Path, Path]:
    base = Path(path)
    return base.parent / f"{base.name}.safetensors", base.parent / f"{base.name}.json"
