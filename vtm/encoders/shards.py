"""Shards of embeddings: Parquet files that check themselves.

A shard holds the items of a fixed part of a corpus. Its name follows from these items and the encoder, so that a
shard that is there and whole need not be computed again, whoever computed it.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import parse_corpus
from vtm.corpora import Corpus, load_corpus
from vtm.corpora.base import Dropped
from vtm.encoders import embed_images, embed_texts, load_named
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import atomic_path, hash_file, hash_json, read_json, write_json

if TYPE_CHECKING:
    from vtm.encoders import ImageEncoder, TextEncoder


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
    from vtm.corpora.pictures import PictureError, open_picture

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


# The manifest of a folder of embeddings, and what is read by it: arrays, or rows for the embedding cache.


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
    """Put a folder's embeddings into the embedding cache, where `vtm.experiment.prepare` finds them.

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


# Some items, embedded as `vtm.encoders` embeds them: rows, and what was dropped.


def gather(part: Part, rows: dict[str, np.ndarray], drops: dict[str, Dropped]) -> Shard:
    """A part's shard, in the order of its items, from rows and drops by id."""
    kept = [place for place, id in enumerate(part.ids) if id in rows]
    found = [rows[part.ids[place]] for place in kept]
    return Shard(
        ids=tuple(part.ids[place] for place in kept),
        contents=tuple(part.contents[place] for place in kept),
        embeddings=np.stack(found) if found else np.empty((0, part.dim), dtype=np.float32),
        dropped=tuple(drops[id] for id in part.ids if id in drops),
    )


def embed_items(
    encoder: ImageEncoder | TextEncoder,
    side: str,
    ids: Sequence[str],
    sources: Sequence[Path | str],
    contents: Sequence[str],
    *,
    cache: Path | str | None,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Shard:
    """Embed some items, as `embed_images` and `embed_texts` do."""
    options = _given(batch_size=batch_size, progress=progress)
    if side == "text":
        rows = embed_texts(encoder, sources, cache=cache, **options)
        return Shard(tuple(ids), tuple(contents), rows, ())
    options |= _given(workers=workers)
    rows, kept, dropped = embed_images(encoder, ids, sources, contents, cache=cache, **options)
    content_of = dict(zip(ids, contents, strict=True))
    return Shard(kept, tuple(content_of[id] for id in kept), rows, dropped)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


# Embed a corpus into a folder of shards: what is there is kept, what is missing is given to an engine.


ENGINES = ("local", "ray")
SIDES = ("image", "text")
# A shard is what is written, repeated after a failure and skipped by a later run.
SHARD_ROWS = 512


def embed_corpus(
    corpus: str,
    folder: Path | str,
    *,
    encoder: str = "offline",
    side: str = "both",
    engine: str = "local",
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    address: str | None = None,
    shard_rows: int = SHARD_ROWS,
    cache: Path | str | None = None,
    progress: bool = True,
) -> list[Manifest]:
    """Embed a corpus into FOLDER/image and FOLDER/text: Parquet shards (id, embedding, sha256) and manifest.json.

    Both engines write the same rows. Shards that are there and whole are kept, so that a run that broke off goes
    on where it was. In the end the embeddings are in the embedding cache, too: `vtm.experiment.prepare` encodes nothing again.

    Parameters
    ----------
    corpus, encoder
        As in `vtm.config.Experiment`: "stamps:lang=de", "photos.csv:text_column=caption"; "clip:model=ViT-B-32".
    side
        "image", "text" or "both".
    engine
        "local", or "ray": a Ray Data job (`vtm.encoders.ray`).
    batch_size
        Items per call of the encoder; None: what `embed_images` and `embed_texts` take.
    workers
        local: threads that decode pictures, 2 by default. ray: actors, each with an encoder; by default one for each
        CPU of the cluster.
    device
        "auto", "cpu" or "cuda".
    address
        Of a Ray cluster, for the engine "ray": "auto" or "HOST:6379", on a machine of it; None starts one on this
        machine (`vtm.encoders.ray`).
    shard_rows
        Items of a shard.
    cache
        Folder of all embedding caches; by default `embeddings` in the data folder.

    Returns
    -------
    The manifest of each side.

    Raises
    ------
    ConfigError, DataError, MissingError
        An unknown corpus, encoder, side or engine; data that cannot be used; weights or Ray that are not here.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine={engine!r}: must be one of {', '.join(ENGINES)}")
    if side not in (*SIDES, "both"):
        raise ConfigError(f"side={side!r}: must be one of {', '.join(SIDES)}, both")
    for name, number in (("batch_size", batch_size), ("workers", workers), ("shard_rows", shard_rows)):
        if number is not None and number < 1:
            raise ConfigError(f"{name}={number}: must be at least 1")
    if engine == "ray":
        from vtm.encoders.ray import import_ray

        import_ray()  # fails before the corpus is read
        if address is not None and address.startswith("ray://"):
            raise ConfigError(
                f"address={address!r}: Ray Data does not run through Ray Client; run this on a machine of the cluster "
                "with address auto, or send it there with `ray job submit`"
            )
    name, options = parse_corpus(corpus)
    loaded = load_corpus(name, **options)
    pair = load_named(encoder, device=device, language=loaded.language)
    halves = {}
    for one in SIDES if side == "both" else (side,):
        half = getattr(pair, one)
        parts = list(_parts(loaded, one, half, Path(folder) / one, shard_rows))
        halves[one] = half, parts, [part for part in parts if not is_finished(part)]
    shared = dict(batch_size=batch_size, workers=workers, progress=progress)
    missing = {one: absent for one, (_, _, absent) in halves.items() if absent}
    if engine == "local":
        for one, absent in missing.items():
            _embed_here(halves[one][0], absent, cache=cache, **shared)
    elif missing:
        from vtm.encoders.ray import embed_on_ray

        ray_options = dict(encoder=encoder, language=loaded.language, device=device, address=address)
        embed_on_ray(list(missing.values()), **ray_options, **shared)
    manifests = []
    for one, (half, parts, absent) in halves.items():
        manifests.append(_finish(loaded, one, encoder, half, parts))
        if engine != "local" or len(absent) < len(parts):
            import_embeddings(folder, side=one, cache=cache)
    return manifests


def _parts(
    corpus: Corpus, side: str, encoder: ImageEncoder | TextEncoder, folder: Path, rows: int
) -> Iterator[Part]:
    if side == "image":
        sources: Sequence[Path | str] = [Path(path).absolute() for path in corpus.images]
        contents: Sequence[str] = corpus.image_hashes
    else:
        sources = corpus.texts
        contents = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in sources]
    for index, start in enumerate(range(0, len(corpus), rows)):
        here = slice(start, start + rows)
        yield Part(
            folder=folder,
            index=index,
            side=side,
            key=encoder.key,
            dim=encoder.dim,
            ids=tuple(corpus.ids[here]),
            sources=tuple(sources[here]),
            contents=tuple(contents[here]),
        )


def _embed_here(encoder: ImageEncoder | TextEncoder, parts: Sequence[Part], **options: Any) -> None:
    for group in groups(parts, [len(part.ids) for part in parts]):
        embedded = embed_items(
            encoder,
            group[0].side,
            [id for part in group for id in part.ids],
            [source for part in group for source in part.sources],
            [content for part in group for content in part.contents],
            **options,
        )
        rows = dict(zip(embedded.ids, embedded.embeddings, strict=True))
        drops = {item.id: item for item in embedded.dropped}
        for part in group:
            write_shard(part, gather(part, rows, drops))


def _finish(
    corpus: Corpus, side: str, spec: str, encoder: ImageEncoder | TextEncoder, parts: Sequence[Part]
) -> Manifest:
    """Write the manifest, then delete the shards of earlier corpora or encoders."""
    folder = parts[0].folder
    shards, dropped = [], []
    for part in parts:
        shard, _ = read_shard(part.path)
        shards.append((part.path.name, len(shard.ids), hash_file(part.path)))
        dropped.extend(shard.dropped)
    manifest = Manifest(
        folder=folder,
        corpus=corpus.name,
        fingerprint=corpus.fingerprint,
        side=side,
        encoder=spec,
        key=encoder.key,
        dim=encoder.dim,
        rows=sum(rows for _, rows, _ in shards),
        shards=tuple(shards),
        dropped=tuple(dropped),
    )
    if not manifest.rows:
        raise DataError(
            f"corpus {corpus.name}: no {side} can be used; the first: {manifest.dropped[0].detail}"
        )
    manifest.save()
    current = {name for name, _, _ in shards}
    for path in folder.iterdir():
        if SHARD_NAME.fullmatch(path.name) and path.name not in current:
            path.unlink(missing_ok=True)
    return manifest


# Where the long work is done: in this process or on a Ray cluster, with the same results in the same files.
