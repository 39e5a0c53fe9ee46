"""How a reader is fuzzed: files to start from, what must hold of an answer, and edits of JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtm.errors import VtmError


@dataclass(frozen=True)
class Reader:
    """`read` raises for a finding: an error that is not vtm's, or an answer that cannot be right."""

    seeds: Sequence[bytes]
    read: Callable[[bytes], None]


def attempt(function: Callable[[], Any]) -> Any:
    """The function's answer; None where it refuses as vtm does, in one line."""
    try:
        return function()
    except VtmError as error:
        assert "\n" not in str(error) and str(error).strip(), f"message {str(error)!r}"
        return None


ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 1.5, -0.0, 1e400, float("nan"), 10**30, 2**63, 1000),
    *("", "x", "1", "\0", "\ud800", "NaN", [], {}, [[]], [None], ["x", "x"], [1, 2], {"x": 1}, "prodLDA"),
)
# Inputs to begin with: bytes that `edited` makes different edits of.
EDITS = tuple(bytes([0, n, 3, n, 7 * n % 251, 5, n, n]) for n in range(12))


def edited(seed: Any, data: bytes) -> bytes:
    """JSON like the seed, but for some of its values: replaced, removed, doubled, or moved, as the bytes say."""
    root = {"": json.loads(json.dumps(seed))}
    choices = iter(data)
    for _ in range(1 + next(choices, 0) % 4):
        holder, key = root, ""
        while isinstance(inner := holder[key], dict | list) and inner and next(choices, 0) % 4:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            holder, key = inner, keys[next(choices, 0) % len(keys)]
        action = next(choices, 0) % 8
        if action == 0 and holder is not root:
            del holder[key]
        elif action == 1 and isinstance(holder[key], list):
            holder[key] = [*holder[key], *holder[key]]
        elif action == 2 and isinstance(holder[key], dict):
            holder[key]["unknown"] = 1
        elif action == 3:
            holder[key] = {"inside": holder[key]} if next(choices, 0) % 2 else [holder[key]]
        else:
            holder[key] = copy.deepcopy(ODD_VALUES[next(choices, 0) % len(ODD_VALUES)])
    return json.dumps(root[""]).encode()


def json_reader(path: Path, seed: Any, check: Callable[[], Any]) -> Reader:
    """Most inputs are edits of the seed, the others are the file's bytes."""

    def read(data: bytes) -> None:
        path.write_bytes(data[1:] if data[:1] >= b"\xc0" else edited(seed, data[1:]))
        check()

    return Reader([b"\x00", *EDITS, b"\xff" + json.dumps(seed).encode()], read)


def about_reader(path: Path, check: Callable[[], Any]) -> Reader:
    """Edits of an array file's description, under their checksum; a part of the inputs are the file's bytes."""
    from vtm.files import load_arrays, save_arrays

    arrays, seed = load_arrays(path)

    def read(data: bytes) -> None:
        if data[:1] >= b"\xc0":
            path.write_bytes(data[1:])
        else:
            save_arrays(path, arrays, json.loads(edited(seed, data[1:])))
        check()

    return Reader([b"\x00", *EDITS, b"\xff" + path.read_bytes()], read)


def weights_reader(path: Path, check: Callable[[], Any]) -> Reader:
    """Arrays of any names and shapes under the description, and under their checksum, of a file."""
    from safetensors.numpy import load

    from vtm.files import load_about, save_arrays

    about = load_about(path)

    def read(data: bytes) -> None:
        try:
            arrays = load(data)
        except Exception:  # no safetensors file
            path.write_bytes(data)
        else:
            save_arrays(path, arrays, about)
        check()

    return Reader([path.read_bytes()], read)
