"""How much of an image model's own speed is left when pictures come from files and go into the cache."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vtm.corpora.fetch import GROUPS, is_fetched
from vtm.corpora.pictures import open_picture
from vtm.encoders import ImageEncoder, embed_images, load_encoder
from vtm.errors import MissingError
from vtm.files import hash_file


def need_weights(name: str) -> None:
    """Raise MissingError where an encoder's weights are not on disk: a benchmark fetches nothing."""
    if not all(is_fetched(part) for part in GROUPS[f"encoder:{name}"]):
        raise MissingError(f"the encoder's weights are not here: `vtm prefetch --encoder {name}`")


def bench_encoder(name: str, **sizes: int) -> dict[str, float | list[float]]:
    """`bench_embedding` of an encoder's image side, beside its graph as published.

    Raises
    ------
    MissingError
        Its weights are not here.
    """
    need_weights(name)
    encoder = load_encoder(name).image
    return bench_embedding(encoder, raw=encoder.reference(), **sizes)


def bench_embedding(
    encoder: ImageEncoder,
    *,
    raw: Callable[[np.ndarray], object] | None = None,
    n: int = 256,
    rounds: int = 3,
    seed: int = 0,
    batch_size: int = 64,
) -> dict[str, float | list[float]]:
    """Time arrays in memory through `raw` and through the encoder, and JPEG files into an empty cache, in turns.

    From files all is timed: hashing, reading, decoding, resizing, encoding, writing the cache.

    Parameters
    ----------
    raw : what runs the encoder's model on a batch (b, ...) when nothing of this package is there; by default the
        encoder itself.
    n : pictures a round, photographs in size (1024 x 768) with drawn content.

    Returns
    -------
    dict
        `raw_per_s`, `encoder_per_s`, `files_per_s` (medians over rounds; the raw model's are those of the faster of
        batches of `batch_size` and of 16), `embed_vs_raw` and `encoder_vs_raw` (medians of each round's ratio),
        `ratios` and `encoder_ratios` (each round's).
    """
    raw = raw or encoder.encode
    with tempfile.TemporaryDirectory(prefix="vtm-bench-") as scratch:
        files = _pictures(Path(scratch) / "pictures", n, seed)
        ids = [path.stem for path in files]
        opened = (open_picture(path, size=encoder.size) for path in files[:batch_size])
        batch = np.stack([encoder.preprocess(picture) for picture in opened])
        for run in (encoder.encode, raw):
            run(batch[:16])  # loads the weights
        alone, ours, whole = [], [], []
        for turn in range(rounds):
            alone.append(max(_per_second(raw, batch, n, size) for size in {batch_size, 16}))
            ours.append(_per_second(encoder.encode, batch, n, batch_size))
            started = time.perf_counter()
            embed_images(
                encoder,
                ids,
                files,
                [hash_file(path) for path in files],
                cache=Path(scratch) / f"cache-{turn}",
                batch_size=batch_size,
                progress=False,
            )
            whole.append(n / (time.perf_counter() - started))
    ratios, encoder_ratios = np.divide(whole, alone), np.divide(ours, alone)
    return {
        "raw_per_s": float(np.median(alone)),
        "encoder_per_s": float(np.median(ours)),
        "files_per_s": float(np.median(whole)),
        "embed_vs_raw": float(np.median(ratios)),
        "encoder_vs_raw": float(np.median(encoder_ratios)),
        "ratios": [round(ratio, 4) for ratio in ratios.tolist()],
        "encoder_ratios": [round(ratio, 4) for ratio in encoder_ratios.tolist()],
    }


def _per_second(run: Callable[[np.ndarray], object], batch: np.ndarray, n: int, size: int) -> float:
    size = min(size, len(batch))
    started = time.perf_counter()
    for start in range(0, n, size):
        run(batch[: min(size, n - start)])
    return n / (time.perf_counter() - started)


def _pictures(folder: Path, n: int, seed: int) -> list[Path]:
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(seed)
    paths = []
    for i in range(n):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        path = folder / f"{i:06d}.jpg"
        coarse.resize((1024, 768), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths
