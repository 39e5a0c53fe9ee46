"""Shards of embeddings: Parquet files that check themselves.

A shard holds the items of a fixed part of a corpus. Its name follows from these items and the encoder, so that a
shard that is there and whole need not be computed again, whoever computed it.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vtm.corpora.base import Dropped
from vtm.errors import DataError
from vtm.files import atomic_path, hash_file, hash_json

FORMAT = 1
METADATA = b"vtm"
SHARD_NAME = re.compile(r"\d{5,}-[0-9a-f]{12}\.parquet")


@dataclass(frozen=True)
class Part:
    """What one shard is of: some items of one side of a corpus, and the encoder that embeds them.

    Parameters
    ----------
    key, dim : of the encoder.
    ids : n ids.
    sources : n picture files or texts.
    contents : n SHA-256 of the files' or texts' content, hex.
    """

    folder: Path
    index: int
    side: str
    key: str
    dim: int
    ids: tuple[str, ...]
    sources: tuple[Path | str, ...]
    contents: tuple[str, ...]

    @cached_property
    def plan(self) -> str:
        return hash_json([FORMAT, self.side, self.key, self.dim, self.ids, self.contents])

    @property
    def path(self) -> Path:
        return self.folder / f"{self.index:05d}-{self.plan[:12]}.parquet"


@dataclass(frozen=True)
class Shard:
    """m embedded items, row by row, and those that were dropped.

    Parameters
    ----------
    embeddings : (m, d) float32.
    """

    ids: tuple[str, ...]
    contents: tuple[str, ...]
    embeddings: np.ndarray
    dropped: tuple[Dropped, ...]

    def checksum(self, plan: str) -> str:
        dropped = [[item.id, item.reason, item.detail] for item in self.dropped]
        digest = hashlib.sha256(hash_json([plan, self.ids, self.contents, dropped]).encode())
        digest.update(np.ascontiguousarray(self.embeddings, dtype="<f4").tobytes())
        return digest.hexdigest()


def write_shard(part: Part, shard: Shard) -> None:
    """Write a part's shard, atomically.

    Raises
    ------
    DataError
        An item is there twice or not at all, or the folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if sorted([*shard.ids, *(item.id for item in shard.dropped)]) != sorted(part.ids):
        raise DataError(f"{part.path}: not every item of the shard was embedded or dropped exactly once")
    embeddings = np.ascontiguousarray(shard.embeddings, dtype=np.float32)
    about = {
        "side": part.side,
        "key": part.key,
        "plan": part.plan,
        "checksum": shard.checksum(part.plan),
        "dropped": [[item.id, item.reason, item.detail] for item in shard.dropped],
    }
    columns = {
        "id": pa.array(shard.ids, pa.string()),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), part.dim),
        "sha256": pa.array(shard.contents, pa.string()),
    }
    table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(about)})
    try:
        with atomic_path(part.path) as temporary:
            pq.write_table(table, temporary, use_dictionary=False)
    except OSError as error:
        raise DataError(
            f"{part.folder}: cannot be written ({error}); make room, or name another folder"
        ) from error


def read_shard(path: Path) -> tuple[Shard, str]:
    """A shard and its plan.

    Raises
    ------
    DataError
        The file is damaged.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[METADATA])
        vectors = table["embedding"].combine_chunks()
        shard = Shard(
            ids=tuple(table["id"].to_pylist()),
            contents=tuple(table["sha256"].to_pylist()),
            embeddings=vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size),
            dropped=tuple(Dropped(*item) for item in about["dropped"]),
        )
        if shard.checksum(about["plan"]) != about["checksum"]:
            raise ValueError("its checksum is wrong")
        return shard, about["plan"]
    except Exception as error:  # whatever Arrow makes of damaged bytes
        raise DataError(f"{path}: not a whole shard of embeddings ({error})") from error


def is_finished(part: Part) -> bool:
    """Whether the part's shard is there and whole, and no picture that it dropped can be used by now."""
    if not part.path.is_file():
        return False
    try:
        shard, plan = read_shard(part.path)
    except DataError as error:
        warnings.warn(f"{error}; it is computed again", stacklevel=2)
        return False
    return plan == part.plan and not _mended(part, shard.dropped)


def _mended(part: Part, dropped: Sequence[Dropped]) -> bool:
    """Whether a dropped picture can be opened now, and is the one that the corpus means."""
    from vtm.pictures import PictureError, open_picture

    place = dict(zip(part.ids, range(len(part.ids)), strict=True)) if dropped else {}
    for item in dropped:
        if item.reason in ("not-finite", "too-large"):
            continue  # follows from the picture's content, which is the same
        row = place[item.id]
        try:
            open_picture(part.sources[row], size=64)
            if hash_file(part.sources[row]) == part.contents[row]:
                return True
        except (PictureError, OSError):
            pass
    return False


# Shards are imported, and embedded by the local engine, so many rows at a time: the cache is read once for each
# such group, and no more is held in memory.
GROUP_ROWS = 16384


def groups(parts: Sequence[Any], sizes: Sequence[int]) -> Iterator[list[Any]]:
    """Consecutive parts, together up to `GROUP_ROWS` rows or one part that is larger."""
    group: list[Any] = []
    rows = 0
    for part, size in zip(parts, sizes, strict=True):
        if group and rows + size > GROUP_ROWS:
            yield group
            group, rows = [], 0
        group.append(part)
        rows += size
    if group:
        yield group
