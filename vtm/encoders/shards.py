"""Folders of embeddings: Parquet files for others to read, which are filled from the embedding cache."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vtm.config import parse_corpus
from vtm.corpora import Corpus, load_corpus
from vtm.corpora.base import Dropped
from vtm.encoders import load_named
from vtm.encoders.cache import Store, embed_side, hash_text
from vtm.errors import ConfigError, DataError, MissingError, check_choice, counted, require
from vtm.files import atomic_path, read_json, spare_folder, write_json

FORMAT = 1
MANIFEST = "manifest.json"
SHARD_NAME = re.compile(r"\d{5,}-[0-9a-f]{12}\.parquet")
OWN_NAMES = ("[0-9]*-*.parquet", MANIFEST)  # of a side's files, as patterns
ENGINES = ("local", "ray")
SIDES = ("image", "text")
# Rows of a file. No more are held in memory, and the cache is read once for each.
SHARD_ROWS = 16384


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
        plain = {name: value for name, value in vars(self).items() if name != "folder"}
        plain["format"] = FORMAT
        plain["shards"] = [{"file": name, "rows": rows, "sha256": sha} for name, rows, sha in self.shards]
        plain["dropped"] = {reason: [] for reason in self.drop_counts()}
        for item in self.dropped:
            plain["dropped"][item.reason].append({"id": item.id, "detail": item.detail})
        write_json(self.folder / MANIFEST, plain)

    @classmethod
    def load(cls, folder: Path | str, side: str | None = None) -> Manifest:
        """The manifest of one side of a folder of embeddings; `side` may be left out where there is one only.

        Raises
        ------
        MissingError, ConfigError, DataError
            No such side; two sides and none named; a manifest that is not one.
        """
        folder = Path(folder)
        there = [name for name in SIDES if (folder / name / MANIFEST).is_file()]
        if side is None and len(there) > 1:
            raise ConfigError(f"{folder}: holds {' and '.join(there)} embeddings; name the side")
        if not there or (side is not None and side not in there):
            kind = f"finished {side} embeddings" if side else "finished embeddings"
            raise MissingError(f"{folder}: holds no {kind}; `vtm embed` writes them")
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

    def read(self) -> Iterator[tuple[list[str], list[str], np.ndarray]]:
        """Ids, SHA-256 of the contents and embeddings (m, d) of the shards, each checked against its hash.

        Raises
        ------
        DataError
            A shard is missing or is not what was written.
        """
        require("pyarrow")
        import pyarrow as pa
        import pyarrow.parquet as pq

        for name, rows, sha in self.shards:
            path = self.folder / name
            data = path.read_bytes() if path.is_file() else None
            if data is None or hashlib.sha256(data).hexdigest() != sha:
                state = "is missing" if data is None else "is not what was written"
                raise DataError(f"{path}: {state}; run `vtm embed` again, which writes it anew")
            try:
                table = pq.read_table(pa.BufferReader(data))
                vectors = table["embedding"].combine_chunks().flatten().to_numpy()
                embeddings = vectors.reshape(len(table), self.dim)
                ids, contents = table["id"].to_pylist(), table["sha256"].to_pylist()
            except (KeyError, ValueError, AttributeError) as error:
                raise DataError(f"{path}: not a file of embeddings ({error})") from error
            if len(table) != rows:
                raise DataError(f"{path}: {counted(len(table), 'embedding')}, not {rows}")
            yield ids, contents, embeddings


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
    for names, _, rows in manifest.read():
        embeddings[len(ids) : len(ids) + len(names)] = rows
        ids.extend(names)
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
    manifest = Manifest.load(folder, side)
    store = Store(manifest.key, manifest.dim, cache)
    known = {content for content, _ in store.stored()}
    before = len(known)
    with store:
        for _, contents, rows in manifest.read():
            for content, row in zip(contents, rows, strict=True):
                if content not in known:
                    known.add(content)
                    store.add(content, row)
    return len(known) - before


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
    """Embed a corpus into FOLDER/image and FOLDER/text: Parquet files (id, embedding, sha256) and manifest.json.

    Both engines write the same rows. What is computed goes into the embedding cache at once, so that a run that broke
    off goes on where it was, and `vtm.experiment.prepare` encodes nothing again. A folder that is there, from another
    machine say, is put into the cache first.

    Parameters
    ----------
    corpus, encoder : as in `vtm.config.Experiment`: "stamps:lang=de", "photos.csv:text_column=caption";
        "clip:model=ViT-B-32".
    side : "image", "text" or "both".
    engine : "local", or "ray": a Ray Data job (`vtm.encoders.ray`).
    batch_size : items per call of the encoder; None: what `embed_images` and `embed_texts` take.
    workers : local: threads that decode pictures, 2 by default. ray: actors, each with an encoder; by default one for
        each CPU of the cluster.
    device : "auto", "cpu" or "cuda".
    address : of a Ray cluster, for the engine "ray": "auto" or "HOST:6379", on a machine of it; None starts one on
        this machine (`vtm.encoders.ray`).
    shard_rows : items of a file.
    cache : folder of all embedding caches; by default `embeddings` in the data folder.

    Returns
    -------
    The manifest of each side.

    Raises
    ------
    ConfigError, DataError, MissingError
        An unknown corpus, encoder, side or engine; a folder that holds other files; data that cannot be used; weights or Ray that are not here.
    """
    check_choice(f"engine={engine!r}", engine, ENGINES)
    check_choice(f"side={side!r}", side, (*SIDES, "both"))
    for name, number in (("batch_size", batch_size), ("workers", workers), ("shard_rows", shard_rows)):
        if number is not None and number < 1:
            raise ConfigError(f"{name}={number}: must be at least 1")
    folder = Path(folder)
    if not any((folder / one / MANIFEST).is_file() for one in SIDES):
        spare_folder(folder, "a folder of embeddings", *SIDES)
        for one in SIDES:
            spare_folder(folder / one, "a folder of embeddings", *OWN_NAMES)
    if engine == "ray":
        from vtm.encoders.ray import embed_on_ray, import_ray

        import_ray()  # fails before the corpus is read
        if address is not None and address.startswith("ray://"):
            raise ConfigError(
                f"address={address!r}: Ray Data does not run through Ray Client; run this on a machine of the cluster "
                "with address auto, or send it there with `ray job submit`"
            )
    name, named = parse_corpus(corpus)
    loaded = load_corpus(name, **named)
    pair = load_named(encoder, device=device, language=loaded.language)
    images = [Path(path).absolute() for path in loaded.images]
    halves: dict[str, tuple[Any, Sequence[Any], Sequence[str]]] = {
        "image": (pair.image, images, loaded.image_hashes),
        "text": (pair.text, loaded.texts, [hash_text(text) for text in loaded.texts]),
    }
    halves = {one: half for one, half in halves.items() if side in (one, "both")}
    for one, (half, _, _) in halves.items():
        _take_in(folder, one, half.key, cache)
    options: dict[str, Any] = dict(batch_size=batch_size, workers=workers, cache=cache, progress=progress)
    known: dict[str, Dropped] = {}
    if engine == "ray":
        load = partial(load_named, encoder, device=device, language=loaded.language)
        known = embed_on_ray(loaded.ids, halves, load=load, device=device, address=address, **options)
        options["workers"] = None
    return [
        _write(folder / one, loaded, one, encoder, *half, shard_rows=shard_rows, known=known, **options)
        for one, half in halves.items()
    ]


def _take_in(folder: Path, side: str, key: str, cache: Path | str | None) -> None:
    """Put what the folder holds of this encoder into the cache, up to the first file that is not whole."""
    try:
        if Manifest.load(folder, side).key == key:
            import_embeddings(folder, side=side, cache=cache)
    except MissingError:
        pass
    except DataError as error:
        warnings.warn(f"{str(error).partition(';')[0]}; it is written anew", stacklevel=3)


def _write(
    folder: Path,
    corpus: Corpus,
    side: str,
    spec: str,
    encoder: Any,
    sources: Sequence[Any],
    contents: Sequence[str],
    *,
    shard_rows: int,
    **options: Any,
) -> Manifest:
    """Write one side file by file, embedding what the cache does not have; then the manifest, then delete older files."""
    require("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards, dropped = list[tuple[str, int, str]](), list[Dropped]()
    content_of = dict(zip(corpus.ids, contents, strict=True))
    for start in range(0, len(corpus), shard_rows):
        here = slice(start, start + shard_rows)
        rows, ids, bad = embed_side(side, encoder, corpus.ids[here], sources[here], contents[here], **options)
        dropped.extend(bad)
        table = pa.table(
            {
                "id": pa.array(ids, pa.string()),
                "embedding": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), encoder.dim),
                "sha256": pa.array([content_of[id] for id in ids], pa.string()),
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, use_dictionary=False)
        data = sink.getvalue()
        sha = hashlib.sha256(data).hexdigest()
        # Named by its content: until there is a new manifest, the files of the older one stay what they are.
        shards.append((f"{len(shards):05d}-{sha[:12]}.parquet", len(ids), sha))
        with atomic_path(folder / shards[-1][0]) as temporary:
            temporary.write_bytes(data)
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
        raise DataError(f"corpus {corpus.name}: no {side} can be used; the first: {dropped[0].detail}")
    manifest.save()
    current = {name for name, _, _ in shards}
    for path in folder.iterdir():
        if SHARD_NAME.fullmatch(path.name) and path.name not in current:
            path.unlink(missing_ok=True)
    return manifest
