"""Embed a corpus into a folder of shards: what is there is kept, what is missing is given to an engine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.config import parse_corpus
from vtm.corpora import Corpus, load_corpus
from vtm.encoders import load_named
from vtm.engines.items import embed_items, gather
from vtm.engines.manifest import Manifest, import_embeddings
from vtm.engines.shards import SHARD_NAME, Part, groups, is_finished, read_shard, write_shard
from vtm.errors import ConfigError, DataError
from vtm.files import hash_file

if TYPE_CHECKING:
    from vtm.encoders import ImageEncoder, TextEncoder

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
    on where it was. In the end the embeddings are in the embedding cache, too: `vtm.prepare` encodes nothing again.

    Parameters
    ----------
    corpus, encoder
        As in `vtm.config.Experiment`: "stamps:lang=de", "photos.csv:text_column=caption"; "clip:model=ViT-B-32".
    side
        "image", "text" or "both".
    engine
        "local", or "ray": a Ray Data job (`vtm.engines.ray_embed`).
    batch_size
        Items per call of the encoder; None: what `embed_images` and `embed_texts` take.
    workers
        local: threads that decode pictures, 2 by default. ray: actors, each with an encoder; by default one for each
        CPU of the cluster.
    device
        "auto", "cpu" or "cuda".
    address
        Of a Ray cluster, for the engine "ray": "auto" or "HOST:6379", on a machine of it; None starts one on this
        machine (`vtm.engines.ray_cluster`).
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
        from vtm.engines.ray_cluster import import_ray

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
        from vtm.engines.ray_embed import embed_on_ray

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
