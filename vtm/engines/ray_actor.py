"""What passes between the driver and the actors of an embedding job: tables of a part's items, and their rows."""

from __future__ import annotations

import os
import socket
import tempfile
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.corpora import Dropped
from vtm.encoders import load_named
from vtm.engines.items import embed_items
from vtm.engines.ray_cluster import RETRIES
from vtm.engines.shards import Part, Shard
from vtm.errors import VtmError

if TYPE_CHECKING:
    import pyarrow as pa

WORKER_DIED = "worker-died"


class Attempts:
    """An actor that counts how often each shard was begun: Ray gives it to an actor again without end."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()

    def begin(self, part: int) -> int:
        self.begun[part] += 1
        return self.begun[part]


class Embedder:
    """The actor: an encoder, and for each shard that it is given its rows."""

    def __init__(
        self,
        *,
        encoder: str,
        language: str | None,
        device: str,
        side: str,
        key: str,
        dim: int,
        batch_size: int | None,
        decoders: int | None,
        attempts: Any,
    ) -> None:
        self.spec, self.side, self.key, self.dim, self.attempts = encoder, side, key, dim, attempts
        self.load_options = {"device": device, "language": language}
        self.embed_options = {"batch_size": batch_size, "workers": decoders}

    @cached_property
    def encoder(self) -> Any:
        # Not in the constructor: what fails there Ray takes for a machine's failure.
        encoder = getattr(load_named(self.spec, **self.load_options), self.side)
        if encoder.key != self.key:
            raise VtmError(
                f"{socket.gethostname()}: its encoder {self.spec} is another one ({encoder.key} instead of {self.key}); "
                "install the same vtm and the same weights on every machine"
            )
        return encoder

    def __call__(self, table: pa.Table) -> pa.Table:
        import ray

        ids, contents = table["id"].to_pylist(), table["sha256"].to_pylist()
        sources = [_decode(self.side, source) for source in table["source"].to_pylist()]
        if ray.get(self.attempts.begin.remote(table["part"][0].as_py())) > 1 + RETRIES:
            dropped = tuple(Dropped(id, WORKER_DIED) for id in ids)
            return self._answer(table, Shard((), (), np.empty((0, self.dim)), dropped))
        # embed_images keeps what it computes in a cache; here the shard is what is kept.
        with tempfile.TemporaryDirectory(prefix="vtm-") as scratch:
            shard = embed_items(
                self.encoder,
                self.side,
                ids,
                sources,
                contents,
                cache=scratch,
                **self.embed_options,
            )
        return self._answer(table, shard)

    def _answer(self, asked: pa.Table, shard: Shard) -> pa.Table:
        """A row for each that was asked for, with its embedding or the reason why it has none."""
        import pyarrow as pa

        ids = asked["id"].to_pylist()
        place = {id: row for row, id in enumerate(shard.ids)}
        drops = {item.id: item for item in shard.dropped}
        embeddings = np.zeros((len(ids), self.dim), dtype=np.float32)
        for row, id in enumerate(ids):
            if id in place:
                embeddings[row] = shard.embeddings[place[id]]
        return pa.table(
            {
                "part": asked["part"],
                "id": asked["id"],
                "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), self.dim),
                "reason": [drops[id].reason if id in drops else "" for id in ids],
                "detail": [drops[id].detail if id in drops else "" for id in ids],
            }
        )


def table_of(number: int, part: Part) -> pa.Table:
    """What an actor needs to know of a part."""
    import pyarrow as pa

    return pa.table(
        {
            "part": pa.array([number] * len(part.ids), pa.int64()),
            "id": pa.array(part.ids, pa.string()),
            "source": pa.array([_encode(source) for source in part.sources], pa.binary()),
            "sha256": pa.array(part.contents, pa.string()),
        }
    )


def _encode(source: Path | str) -> bytes:
    # Neither file names nor texts need be valid Unicode, which Arrow's strings are.
    return os.fsencode(source) if isinstance(source, Path) else source.encode("utf-8", "surrogatepass")


def _decode(side: str, source: bytes) -> Path | str:
    return Path(os.fsdecode(source)) if side == "image" else source.decode("utf-8", "surrogatepass")


def rows_of(table: pa.Table) -> tuple[dict[str, np.ndarray], dict[str, Dropped]]:
    """What an actor answered: embeddings and drops, by id."""
    vectors = table["embedding"].combine_chunks()
    embeddings = vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size)
    rows, drops = {}, {}
    columns = (table[name].to_pylist() for name in ("id", "reason", "detail"))
    for row, (id, reason, detail) in enumerate(zip(*columns, strict=True)):
        if reason:
            drops[id] = Dropped(id, reason, detail)
        else:
            rows[id] = embeddings[row]
    return rows, drops
