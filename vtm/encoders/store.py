"""A cache of embeddings that survives being killed and that several processes can share.

A cache is one folder per encoder key, full of shards. A shard is a safetensors file with some contents'
hashes, their embeddings and a checksum of both; it is written once, under a name of its own, and never
changed. So an interrupted run loses little.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
import warnings
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from vtm.errors import DataError
from vtm.files import atomic_path, remove_leftovers
from vtm.paths import data_dir

# A shard is written when it has this many rows or is this old, and when a run ends or breaks off.
SHARD_ROWS = 256
SHARD_SECONDS = 20.0
# At the end of a run, shards below the first number of rows are merged into shards of up to the second.
SMALL_ROWS = 2048
MERGED_ROWS = 8192


class Store:
    """The shards of one encoder. As a context it writes what was added, also when the work breaks off.

    Parameters
    ----------
    key, dim : the encoder's.
    cache : folder of all caches; by default `embeddings` in the data folder.
    """

    def __init__(self, key: str, dim: int, cache: Path | str | None) -> None:
        root = data_dir() / "embeddings" if cache is None else Path(cache)
        name = re.sub(r"[^A-Za-z0-9.]+", "-", key)[:32].strip("-.")
        self.folder = root / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        self.key = key
        self.dim = dim
        self._added: dict[str, np.ndarray] = {}
        self._written_at = time.monotonic()

    def __enter__(self) -> Store:
        self._written_at = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.flush()
        if kind is None:
            with suppress(DataError):  # everything is written already; merging only makes fewer files of it
                self.merge()

    def read(self, wanted: Container[str]) -> dict[str, np.ndarray]:
        """The rows of the wanted contents that are in the cache, by content."""
        rows: dict[str, np.ndarray] = {}
        for content, row in self.stored(wanted):
            if content not in rows:
                rows[content] = row.copy()
        return rows

    def stored(self, wanted: Container[str]) -> Iterator[tuple[str, np.ndarray]]:
        """The wanted contents that are in the cache with their rows, shard by shard; some may come again.

        A row is a view of its shard: to be copied, so that the shard need not be kept.
        """
        seen: set[Path] = set()
        # Another process may merge shards meanwhile: what vanished from this list is in a shard of the next.
        while unseen := sorted(set(self.folder.glob("*.safetensors")) - seen):
            seen.update(unseen)
            for path in unseen:
                for content, row in self._read_shard(path).items():
                    if content in wanted:
                        yield content, row

    def add(self, content: str, row: np.ndarray) -> None:
        """Keep a content's row; rows are written when there are many, or when the last writing was long ago."""
        self._added[content] = row
        if len(self._added) >= SHARD_ROWS or time.monotonic() - self._written_at > SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        if self._added:
            self._write_shard(self._added)
            self._added = {}
        self._written_at = time.monotonic()

    def merge(self) -> None:
        """Merge small shards. They are deleted after the merged one is on disk, so nothing can be lost."""
        remove_leftovers(self.folder)
        shards = sorted(self.folder.glob("*.safetensors"))
        small = [path for path in shards if _rows_by_name(path) < SMALL_ROWS]
        merged: dict[str, np.ndarray] = {}
        sources: list[Path] = []
        for number, path in enumerate(small, start=1):
            shard = self._read_shard(path)
            if shard:
                merged = shard | merged
                sources.append(path)
            if len(merged) >= MERGED_ROWS or number == len(small):
                if len(sources) > 1:
                    self._write_shard(merged)
                    for source in sources:
                        source.unlink(missing_ok=True)
                merged, sources = {}, []

    def _write_shard(self, rows: dict[str, np.ndarray]) -> None:
        from safetensors.numpy import save_file

        contents = np.frombuffer(bytes.fromhex("".join(rows)), dtype=np.uint8).reshape(len(rows), -1)
        tensors = {
            "contents": contents,
            "embeddings": np.stack(list(rows.values())).astype(np.float32, copy=False),
        }
        metadata = {"key": self.key, "checksum": self._checksum(tensors)}
        try:
            with atomic_path(self.folder / f"{len(rows)}-{uuid.uuid4().hex}.safetensors") as temporary:
                save_file(tensors, temporary, metadata)
        except OSError as error:
            raise DataError(
                f"{self.folder}: embeddings cannot be written ({error}); make room, or use another folder"
            ) from error

    def _read_shard(self, path: Path) -> dict[str, np.ndarray]:
        """A shard's rows by content; nothing if the shard is gone, or is damaged, which is said."""
        from safetensors import safe_open

        try:
            with safe_open(path, framework="numpy") as shard:
                metadata = shard.metadata() or {}
                tensors = {name: shard.get_tensor(name) for name in shard.keys()}
            if metadata["key"] != self.key or metadata["checksum"] != self._checksum(tensors):
                raise ValueError("its checksum is wrong")
            names = (content.tobytes().hex() for content in tensors["contents"])
            return dict(zip(names, tensors["embeddings"], strict=True))
        except FileNotFoundError:
            return {}
        except PermissionError as error:
            raise DataError(f"{path}: no permission to read it; use another cache folder") from error
        except Exception as error:  # whatever safetensors and NumPy make of damaged bytes
            aside = path.with_suffix(".damaged")
            with suppress(OSError):
                path.rename(aside)
            warnings.warn(
                f"{path}: damaged ({error}); set aside as {aside.name}, its embeddings are computed again",
                stacklevel=2,
            )
            return {}

    def _checksum(self, tensors: dict[str, np.ndarray]) -> str:
        contents, embeddings = tensors["contents"], tensors["embeddings"]
        shapes = f"{self.key} {contents.shape} {embeddings.shape} {embeddings.dtype} {self.dim}"
        digest = hashlib.sha256(shapes.encode())
        for array in (contents, embeddings):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _rows_by_name(path: Path) -> int:
    rows = path.name.partition("-")[0]
    return int(rows) if rows.isdigit() else 0
