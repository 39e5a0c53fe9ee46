"""Some items, embedded as `vtm.encoders` embeds them: rows, and what was dropped."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.corpora import Dropped
from vtm.encoders import embed_images, embed_texts
from vtm.engines.shards import Part, Shard
from vtm.errors import DataError
from vtm.files import hash_file

if TYPE_CHECKING:
    from vtm.encoders import ImageEncoder, TextEncoder


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
    """Embed some items, as `embed_images` and `embed_texts` do; it may turn out that none can be used."""
    options = _given(batch_size=batch_size, progress=progress)
    if side == "text":
        rows = embed_texts(encoder, sources, cache=cache, **options)
        return Shard(tuple(ids), tuple(contents), rows, ())
    options |= _given(workers=workers)
    try:
        rows, kept, dropped = embed_images(encoder, ids, sources, contents, cache=cache, **options)
    except DataError:
        dropped = _all_dropped(encoder, ids, sources, contents, **options)
        if len(dropped) < len(ids):
            raise
        return Shard((), (), np.empty((0, encoder.dim), dtype=np.float32), dropped)
    content_of = dict(zip(ids, contents, strict=True))
    return Shard(kept, tuple(content_of[id] for id in kept), rows, dropped)


def _all_dropped(
    encoder: ImageEncoder,
    ids: Sequence[str],
    images: Sequence[Path],
    contents: Sequence[str],
    **options: Any,
) -> tuple[Dropped, ...]:
    """Why none of these pictures can be used: `embed_images` says it of each if one beside them is good."""
    from PIL import Image

    with tempfile.TemporaryDirectory(prefix="vtm-") as scratch:
        white = Path(scratch) / "white.png"
        Image.new("RGB", (8, 8), "white").save(white)
        good = "a white picture"
        _, _, dropped = embed_images(
            encoder,
            [*ids, good],
            [*images, white],
            [*contents, hash_file(white)],
            cache=Path(scratch) / "cache",
            **options,
        )
    return dropped


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
