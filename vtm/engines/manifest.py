"""The manifest of a folder of embeddings, and what is read by it: arrays, or rows for the embedding cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtm.corpora.base import Dropped
from vtm.engines.shards import FORMAT, GROUP_ROWS, Shard, read_shard
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import hash_file, read_json, write_json

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a finished folder holds.

    Attributes
    ----------
    encoder, key, dim : the encoder as it was named, the key that its cache has, and the length of an embedding.
    rows : number of embeddings.
    shards : (file name, rows, SHA-256) each, in the corpus' order.
    dropped : items that have no embedding.
    """

    folder: Path
    corpus: str
    fingerprint: str
    side: str
    encoder: str
    key: str
    dim: int
    rows: int
    shards: tuple[tuple[str, int, str], ...]
    dropped: tuple[Dropped, ...]

    def drop_counts(self) -> dict[str, int]:
        """How many items were dropped for each reason."""
        return dict(Counter(item.reason for item in self.dropped))

    def save(self) -> None:
        reasons: dict[str, list[dict[str, str]]] = {reason: [] for reason in self.drop_counts()}
        for item in self.dropped:
            reasons[item.reason].append({"id": item.id, "detail": item.detail})
        names = ("corpus", "fingerprint", "side", "encoder", "key", "dim", "rows")
        write_json(
            self.folder / MANIFEST,
            {name: getattr(self, name) for name in names}
            | {
                "format": FORMAT,
                "shards": [{"file": f, "rows": rows, "sha256": sha} for f, rows, sha in self.shards],
                "dropped": reasons,
            },
        )

    @classmethod
    def load(cls, folder: Path | str, side: str | None = None) -> Manifest:
        """The manifest of one side of a folder of embeddings; `side` may be left out where there is one only.

        Raises
        ------
        MissingError, ConfigError, DataError
            No such side; two sides and none named; a manifest that is not one.
        """
        folder = Path(folder)
        there = [name for name in ("image", "text") if (folder / name / MANIFEST).is_file()]
        if side is None and len(there) > 1:
            raise ConfigError(f"{folder}: holds {' and '.join(there)} embeddings; name the side")
        if not there or (side is not None and side not in there):
            raise MissingError(
                f"{folder}: holds no finished {side or ''} embeddings; `vtm embed` writes them".replace(
                    "  ", " "
                )
            )
        place = folder / (side or there[0])
        plain: dict[str, Any] = read_json(place / MANIFEST)
        try:
            if plain.pop("format") != FORMAT:
                raise ValueError("another format")
            shards = tuple((shard["file"], shard["rows"], shard["sha256"]) for shard in plain.pop("shards"))
            dropped = tuple(
                Dropped(item["id"], reason, item["detail"])
                for reason, items in plain.pop("dropped").items()
                for item in items
            )
            manifest = cls(folder=place, shards=shards, dropped=dropped, **plain)
            manifest._check()
            return manifest
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{place / MANIFEST}: not a manifest of embeddings ({error})") from None

    def _check(self) -> None:
        """Raise ValueError where what a file states cannot be, or would name a file elsewhere."""
        numbers = (self.dim, self.rows, *(rows for _, rows, _ in self.shards))
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("dim and rows are whole numbers")
        if self.rows != sum(rows for _, rows, _ in self.shards):
            raise ValueError(f"{self.rows} rows, but the shards have another number of them")
        if not all(isinstance(name, str) and Path(name).name == name for name, _, _ in self.shards):
            raise ValueError("a shard is no file of this folder")

    def read(self) -> Iterator[Shard]:
        """The shards one by one, each checked against its hash.

        Raises
        ------
        DataError
            A shard is missing or is not what was written.
        """
        for name, rows, sha in self.shards:
            path = self.folder / name
            if not path.is_file() or hash_file(path) != sha:
                state = "is not what was written" if path.is_file() else "is missing"
                raise DataError(f"{path}: {state}; run `vtm embed` again, which computes this shard only")
            shard, _ = read_shard(path)
            if shard.embeddings.shape != (rows, self.dim):
                raise DataError(f"{path}: {shard.embeddings.shape} embeddings, not {(rows, self.dim)}")
            yield shard


def read_embeddings(folder: Path | str, *, side: str | None = None) -> tuple[tuple[str, ...], np.ndarray]:
    """Embeddings that `vtm embed` wrote, checked against their hashes.

    Parameters
    ----------
    folder : the folder that `vtm embed` was given.
    side : "image" or "text"; may be left out where the folder holds one of them only.

    Returns
    -------
    ids : n ids, in the corpus' order; dropped items are in the manifest.
    embeddings : (n, d) float32.

    Raises
    ------
    MissingError, ConfigError, DataError
        Nothing there; both sides there and none named; a file that is not what was written.
    """
    manifest = Manifest.load(folder, side)
    embeddings = np.empty((manifest.rows, manifest.dim), dtype=np.float32)
    ids: list[str] = []
    for shard in manifest.read():
        embeddings[len(ids) : len(ids) + len(shard.ids)] = shard.embeddings
        ids.extend(shard.ids)
    if len(ids) != manifest.rows:
        raise DataError(
            f"{manifest.folder}: {len(ids)} embeddings, not {manifest.rows}; run `vtm embed` again"
        )
    return tuple(ids), embeddings


def import_embeddings(folder: Path | str, *, side: str | None = None, cache: Path | str | None = None) -> int:
    """Put a folder's embeddings into the embedding cache, where `vtm.prepare` finds them.

    Parameters
    ----------
    folder, side : as for `read_embeddings`.
    cache : folder of all caches; by default `embeddings` in the data folder.

    Returns
    -------
    The number of embeddings that the cache did not have.
    """
    from vtm.encoders.cache import Store

    manifest = Manifest.load(folder, side)
    store = Store(manifest.key, manifest.dim, cache)
    added = 0
    waiting: dict[str, np.ndarray] = {}

    def put() -> int:
        known = store.read(waiting)
        new = {content: row for content, row in waiting.items() if content not in known}
        for content, row in new.items():
            store.add(content, row)
        waiting.clear()
        return len(new)

    with store:
        for shard in manifest.read():
            waiting.update(zip(shard.contents, shard.embeddings, strict=True))
            if len(waiting) >= GROUP_ROWS:
                added += put()
        return added + put()
