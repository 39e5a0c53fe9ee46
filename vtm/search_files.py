"""An index as files: its arrays in safetensors, everything else in JSON, sealed, with the arrays' hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtm.errors import DataError, MissingError
from vtm.files import atomic_path, hash_file, read_json, read_sealed, read_tensors, write_sealed

FORMAT = 2


def write_index(
    path: Path | str, arrays: Mapping[str, np.ndarray], *, measure: str, ids: Sequence[str]
) -> None:
    """Write `<path>.safetensors` and, last, `<path>.json`."""
    from safetensors.numpy import save_file

    tensors, description = _files(path)
    with atomic_path(tensors) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
        # Of what was written here: another process may put its own in this place at once.
        written = hash_file(temporary)
    write_sealed(
        description, {"format": FORMAT, "measure": measure, "ids": list(ids), "arrays_sha256": written}
    )


def read_index(path: Path | str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the description that `write_index` wrote.

    Raises
    ------
    MissingError, DataError
        A file is missing, of another format, or not what was saved.
    """
    tensors, description = _files(path)
    if not tensors.is_file():
        raise MissingError(f"{tensors}: no such file; an index is its .safetensors and its .json file")
    saved = read_json(description)
    found = saved.get("format") if isinstance(saved, dict) else None
    if found != FORMAT:
        raise DataError(
            f"{description}: format {found!r}, this version of vtm reads {FORMAT}; build the index anew"
        )
    saved = read_sealed(description)
    if hash_file(tensors) != saved.get("arrays_sha256"):
        raise DataError(f"{tensors}: not what was saved with {description.name}; build the index anew")
    arrays = read_tensors(tensors)
    if not (_fit(arrays) and isinstance(saved.get("ids"), list) and isinstance(saved.get("measure"), str)):
        raise DataError(f"{description}: does not hold what an index's does; build the index anew")
    return arrays, saved


def _fit(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether there is theta (n, K), and centres, if any, are (n_cells, K)."""
    theta = arrays.get("theta", np.empty(0))
    centres = arrays.get("centres", theta)
    return theta.ndim == centres.ndim == 2 and theta.shape[1] == centres.shape[1]


def _files(path: Path | str) -> tuple[Path, Path]:
    base = Path(path)
    return base.parent / f"{base.name}.safetensors", base.parent / f"{base.name}.json"
