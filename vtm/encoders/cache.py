"""A cache of embeddings for several processes at once, which a killed one leaves whole.

A cache is one folder per encoder key, full of shards. A shard is an array file (`vtm.files.save_arrays`) with some
contents' hashes and their embeddings; it is written once, under a name of its own, and never changed. So an
interrupted run loses little.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from vtm.corpora.base import Dropped
from vtm.corpora.pictures import MAX_PIXELS, PictureError, open_picture
from vtm.encoders.weights import ROWS, cores
from vtm.errors import DataError, MissingError, counted
from vtm.files import data_dir, hash_file, load_arrays, remove_leftovers, save_arrays

if TYPE_CHECKING:
    from vtm.encoders import ImageEncoder, TextEncoder

Item = TypeVar("Item")

# A shard is written when it has this many rows or is this old, and when a run ends or breaks off.
SHARD_ROWS = 256
SHARD_SECONDS = 20.0
# At the end of a run, shards below the first number of rows are merged into shards of up to the second.
SMALL_ROWS = 2048
MERGED_ROWS = 8192
# The name of the last shard that was found to be damaged.
DAMAGED = "last.damaged"


class Store:
    """The shards of one encoder. As a context it writes what was added, also when the work breaks off.

    Where the same store is asked again and again, it reads each shard once: from then on, it knows which contents are
    where, and takes their rows from the file.

    Parameters
    ----------
    key, dim : the encoder's.
    cache : folder of all caches; by default `embeddings` in the data folder.
    """

    def __init__(self, key: str, dim: int, cache: Path | str | None) -> None:
        root = data_dir() / "embeddings" if cache is None else Path(cache)
        name = re.sub(r"[^A-Za-z0-9.]+", "-", key)[:32].strip("-.")
        # The number of the shards' format is hashed with the key: others lie in folders of their own.
        self.folder = root / f"{name}-{hashlib.sha256(f'2 {key}'.encode()).hexdigest()[:16]}"
        self.key = key
        self.dim = dim
        self._added: dict[str, np.ndarray] = {}
        self._shards: dict[Path, Shard] = {}
        self._written_at = time.monotonic()

    def __enter__(self) -> Store:
        self._written_at = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.flush()
        if kind is None:
            with suppress(DataError):  # everything is written already; merging only makes fewer files of it
                self.merge()

    def stored(self, wanted: Iterable[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
        """The wanted contents, or all, that are in the cache with their rows, shard by shard; some may come again.

        A row is a view of its shard: to be copied, so that the shard need not be kept.
        """
        names = [] if wanted is None else list(wanted)
        sought = _sortable(_bytes_of(names))
        known, self._shards = self._shards, {}
        seen: set[Path] = set()
        # Another process may merge shards meanwhile: what vanished from this list is in a shard of the next.
        while unseen := sorted(set(self.folder.glob("*.safetensors")) - seen):
            seen.update(unseen)
            for path in unseen:
                if wanted is None:
                    yield from self._read_shard(path).items()
                elif shard := known.get(path) or self._shard(path, checked=False):
                    places, rows = shard.find(sought)
                    # What is not asked for need not be read; what is, has to be what was written.
                    if len(rows) and not shard.checked and not (shard := self._shard(path, checked=True)):
                        continue
                    self._shards[path] = shard
                    yield from (
                        (names[place], shard.embeddings[row]) for place, row in zip(places, rows, strict=True)
                    )

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
        contents = _bytes_of(rows)
        embeddings = np.stack(list(rows.values())).astype(np.float32, copy=False)
        path = self.folder / f"{len(rows)}-{uuid.uuid4().hex}.safetensors"
        try:
            save_arrays(path, {"contents": contents, "embeddings": embeddings}, {"key": self.key})
        except OSError as error:
            raise DataError(
                f"{self.folder}: embeddings cannot be written ({error}); make room, or use another folder"
            ) from error

    def _read_shard(self, path: Path) -> dict[str, np.ndarray]:
        """A shard's rows by content; nothing where `_arrays` has none."""
        found = self._arrays(path)
        return {} if found is None else dict(zip(map(bytes.hex, map(bytes, found[0])), found[1], strict=True))

    def _shard(self, path: Path, *, checked: bool) -> Shard | None:
        """A shard whose rows stay in its file; None where `_arrays` has none."""
        found = self._arrays(path, mapped=True, checked=checked)
        if found is None or not len(found[0]):
            return None
        contents = _sortable(found[0])
        order = np.argsort(contents)
        return Shard(contents[order], order, found[1], checked)

    def _arrays(self, path: Path, **options: bool) -> tuple[np.ndarray, np.ndarray] | None:
        """Contents and embeddings; None if the shard is gone, or is damaged or of another encoder, which is said.

        Damage is what the file itself shows, a wrong header or checksum: no lack of memory, and no failing disk.
        """
        try:
            arrays, about = load_arrays(path, **options)
        except MissingError:
            return None
        except DataError as error:
            # One is kept for whoever wants to know what befell it.
            aside = self.folder / DAMAGED
            with suppress(OSError):
                path.replace(aside)
            why = str(error).removeprefix(f"{path}: ").partition(";")[0]
            warnings.warn(
                f"{path}: damaged ({why}); set aside as {aside.name}, its embeddings are computed again",
                stacklevel=2,
            )
            return None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); use another cache folder") from error
        contents, embeddings = arrays.get("contents"), arrays.get("embeddings")
        known = about.get("key") == self.key and contents is not None and embeddings is not None
        if not known or embeddings.shape != (len(contents), self.dim):  # type: ignore[union-attr, arg-type]
            warnings.warn(f"{path}: holds embeddings of another encoder; it is not read", stacklevel=2)
            return None
        return cast(np.ndarray, contents), cast(np.ndarray, embeddings)


@dataclass(frozen=True)
class Shard:
    """A shard whose rows stay in its file, to be found by content.

    Parameters
    ----------
    contents : (n,) the contents' hashes as bytes, ascending.
    rows : (n,) where each one's row is.
    embeddings : (n, d), mapped.
    checked : whether this is known to be what was written.
    """

    contents: np.ndarray
    rows: np.ndarray
    embeddings: np.ndarray
    checked: bool

    def find(self, sought: np.ndarray) -> tuple[list[int], list[int]]:
        """Places in `sought` (m,), sortable hashes, of those that are here, and their rows."""
        at = np.minimum(np.searchsorted(self.contents, sought), len(self.contents) - 1)
        here = np.flatnonzero(self.contents[at] == sought)
        return here.tolist(), self.rows[at[here]].tolist()


def _bytes_of(contents: Collection[str]) -> np.ndarray:
    """Hashes in hex, as (n, b) uint8."""
    width = len(next(iter(contents), "")) // 2
    return np.frombuffer(bytes.fromhex("".join(contents)), dtype=np.uint8).reshape(len(contents), width)


def _sortable(contents: np.ndarray) -> np.ndarray:
    """Hashes (n, b) uint8 as (n,) items that have an order."""
    return np.ascontiguousarray(contents).view(f"S{max(contents.shape[1], 1)}").ravel()


def _rows_by_name(path: Path) -> int:
    rows = path.name.partition("-")[0]
    return int(rows) if rows.isdigit() else 0


def embed_images(
    encoder: ImageEncoder,
    ids: Sequence[str],
    images: Sequence[Path],
    image_hashes: Sequence[str],
    *,
    cache: Path | str | Store | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    known: Mapping[str, Dropped] | None = None,
    progress: bool = True,
) -> tuple[np.ndarray, tuple[str, ...], tuple[Dropped, ...]]:
    """Embeddings of pictures, from the cache where it has them.

    Pictures of the same content are encoded once. A picture that cannot be used is dropped and tried again
    the next time. The result is the same whether it comes from the cache, from one run or from several.

    Parameters
    ----------
    encoder : its `key` chooses the part of the cache.
    ids, images, image_hashes : n ids, n files, n SHA-256 of the files' content (hex).
    cache : folder of all caches; by default `embeddings` in the data folder. Or the encoder's own store, which reads
        what is there once for many calls; who opened it closes it.
    batch_size : pictures per call of the encoder; by default 64, and on more than four cores 16 for each.
    workers : threads that decode ahead, by default 2, and on more cores one for each; at most two batches of decoded
        pictures are held.
    max_pixels : pictures with more pixels are dropped unread.
    known : hash -> why a picture cannot be used, where that is known already: it is not tried.
    progress : show a bar on stderr, on a terminal.

    Returns
    -------
    embeddings : (m, d) float32
        Of the kept ids, in the order of `ids`; (0, d) where none can be used.
    kept_ids : tuple of m str
    dropped : tuple of Dropped
        The other n - m, with the reason: "missing", "not-a-file", "unreadable", "too-large", "changed" (the
        content is not that of its hash) or "not-finite" (the encoder gave something that is no number).

    Raises
    ------
    DataError
        Sequences of unequal length, or a cache that cannot be written.
    """
    if not len(ids) == len(images) == len(image_hashes):
        counts = f"{counted(len(ids), 'id')}, {counted(len(images), 'picture')} and {counted(len(image_hashes), 'hash', 'hashes')}"
        raise DataError(f"{counts}; give as many of each")
    if unusable := [name for name in image_hashes if not re.fullmatch("[0-9a-f]{64}", name)]:
        raise DataError(f"picture hash {unusable[0]!r} is not a SHA-256 in lower-case hex")
    store = cache if isinstance(cache, Store) else Store(encoder.key, encoder.dim, cache)
    rows = Rows(image_hashes, store)
    known, missing = known or {}, rows.missing()
    # Of what is missing alone: another process may have embedded the rest since.
    failures = {name: (known[name].reason, known[name].detail) for name in missing if name in known}
    missing = [content for content in missing if content not in failures]

    def prepare(content: str) -> np.ndarray:
        path = Path(images[rows.first[content]])
        picture = open_picture(path, size=encoder.size, max_pixels=max_pixels)
        try:
            unchanged = hash_file(path) == content
        except OSError as error:
            raise PictureError(f"{path}: cannot be read ({error})", "unreadable") from error
        if not unchanged:
            raise PictureError(f"{path}: changed since the corpus was read; read it again", "changed")
        return encoder.preprocess(picture)

    def usable(prepared: Iterable[tuple[str, Future[np.ndarray]]]) -> Iterator[tuple[str, np.ndarray]]:
        for content, future in prepared:
            try:
                yield content, future.result()
            except PictureError as error:
                failures[content] = error.reason, str(error)
                bar.update()

    def not_finite(content: str) -> None:
        failures[content] = "not-finite", f"{images[rows.first[content]]}: has no finite embedding"

    threads = cores() if len(missing) > ROWS else 1  # for a few, asking takes as long as decoding
    batch_size = batch_size or max(64, ROWS * threads)
    decoding = _ahead(prepare, missing, workers=workers or max(2, threads), depth=2 * batch_size)
    kept_open = nullcontext() if store is cache else store
    with closing(decoding), _bar(len(missing), "pictures", progress) as bar, kept_open:  # type: ignore[type-var]
        for batch in batches(usable(decoding), batch_size):
            contents, pictures = zip(*batch, strict=True)
            rows.compute(encoder, contents, np.stack(pictures), not_finite)
            bar.update(len(batch))
        store.flush()
    embeddings, kept = rows.finish()
    dropped = tuple(
        Dropped(id, *failures[content])
        for id, content in zip(ids, image_hashes, strict=True)
        if content in failures
    )
    return embeddings, tuple(ids[i] for i in kept), dropped


def embed_texts(
    encoder: TextEncoder,
    texts: Sequence[str],
    *,
    cache: Path | str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Embeddings of texts, from the cache where it has them; cache and progress as in `embed_images`.

    Parameters
    ----------
    batch_size : texts per call of the encoder; by default 256.

    Returns
    -------
    (n, d) float32
        In the order of `texts`; equal texts are encoded once.

    Raises
    ------
    DataError
        A text whose embedding is not finite, or a cache that cannot be written.
    """
    store = Store(encoder.key, encoder.dim, cache)
    rows = Rows([hash_text(text) for text in texts], store)
    missing = rows.missing()

    def not_finite(content: str) -> None:
        start = texts[rows.first[content]][:60]
        raise DataError(f"the text {start!r} has no finite embedding; leave it out")

    with _bar(len(missing), "texts", progress) as bar, store:
        for batch in batches(missing, batch_size or 256):
            rows.compute(encoder, batch, [texts[rows.first[content]] for content in batch], not_finite)
            bar.update(len(batch))
    return rows.finish()[0]


def embed_side(
    side: str,
    encoder: Any,
    ids: Sequence[str],
    sources: Sequence[Any],
    contents: Sequence[str],
    *,
    workers: int | None = None,
    known: Mapping[str, Dropped] | None = None,
    **options: Any,
) -> tuple[np.ndarray, tuple[str, ...], tuple[Dropped, ...]]:
    """As `embed_images`, of pictures or of texts by the name of the side."""
    if side == "text":
        return embed_texts(encoder, sources, **options), tuple(ids), ()
    return embed_images(encoder, ids, sources, contents, workers=workers, known=known, **options)


def hash_text(text: str) -> str:
    """The content by which the cache knows a text: its SHA-256, hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Rows:
    """The embeddings of some items in one array: from the cache, and then as they are computed; equal contents once.

    Parameters
    ----------
    contents : n hashes (hex), one of each item.
    store : what it has is read at once, what is computed goes there.
    """

    def __init__(self, contents: Sequence[str], store: Store) -> None:
        self.contents = contents
        self.first: dict[str, int] = {}  # where a content comes first
        for position, content in enumerate(contents):
            self.first.setdefault(content, position)
        self.array = np.empty((len(contents), store.dim), dtype=np.float32)
        self.filled = np.zeros(len(contents), dtype=bool)
        self.store = store
        for content, row in store.stored(self.first):
            if not self.filled[self.first[content]]:
                self._put(content, row)

    def _put(self, content: str, row: np.ndarray) -> None:
        self.array[self.first[content]] = row
        self.filled[self.first[content]] = True

    def missing(self) -> list[str]:
        """The contents without a row, in order."""
        return [content for content, position in self.first.items() if not self.filled[position]]

    def compute(
        self, encoder: Any, contents: Sequence[str], batch: Any, not_finite: Callable[[str], None]
    ) -> None:
        """Encode one batch; of contents that get something that is no number, `not_finite` is told."""
        embeddings = np.asarray(encoder.encode(batch), dtype=np.float32)
        if embeddings.shape != (len(batch), encoder.dim):
            expected = (len(batch), encoder.dim)
            raise DataError(f"encoder {encoder.key} gave {embeddings.shape}, expected {expected}")
        for content, row in zip(contents, embeddings, strict=True):
            if np.isfinite(row).all():
                self._put(content, row)
                self.store.add(content, row)
            else:
                not_finite(content)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows (m, d) of the items that have one, and their positions (m,). To be called once, at the end.

        Rows are moved where they are, so that the memory never holds two arrays of them.
        """
        for position, content in enumerate(self.contents):
            first = self.first[content]
            if position != first and self.filled[first]:
                self.array[position] = self.array[first]
                self.filled[position] = True
        kept = np.flatnonzero(self.filled)
        if len(kept) < len(self.array):
            for to, position in enumerate(kept.tolist()):
                self.array[to] = self.array[position]
        return self.array[: len(kept)], kept


def _bar(total: int, unit: str, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=f"embedding {unit}", unit="", disable=None if progress and total else True)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def _ahead(
    function: Callable[[str], np.ndarray], items: Iterable[str], *, workers: int, depth: int
) -> Iterator[tuple[str, Future[np.ndarray]]]:
    """Each item with the future of `function(item)`, in order, done in threads, at most `depth` ahead."""
    items = iter(items)
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = deque((item, pool.submit(function, item)) for item in islice(items, depth))
        while waiting:
            yield waiting.popleft()
            waiting.extend((item, pool.submit(function, item)) for item in islice(items, 1))
    finally:
        pool.shutdown(cancel_futures=True)
