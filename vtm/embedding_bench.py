"""How much of an image encoder's own speed is left when pictures come from files and go into the cache."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from vtm.encoders import ImageEncoder, embed_images
from vtm.files import hash_file
from vtm.pictures import open_picture


def bench_embedding(
    encoder: ImageEncoder, *, n: int = 256, rounds: int = 3, seed: int = 0, batch_size: int = 64
) -> dict[str, float | list[float]]:
    """Time the encoder on arrays in memory, and `embed_images` on JPEG files into an empty cache, in turns.

    Parameters
    ----------
    n : pictures a round, photographs in size (1024 x 768) with drawn content.

    Returns
    -------
    dict
        `raw_per_s`, `files_per_s` (medians over rounds), `embed_vs_raw` (median of each round's ratio) and
        `ratios`.
    """
    with tempfile.TemporaryDirectory(prefix="vtm-bench-") as scratch:
        files = _pictures(Path(scratch) / "pictures", n, seed)
        hashes = [hash_file(path) for path in files]
        ids = [path.stem for path in files]
        opened = (open_picture(path, size=encoder.size) for path in files[:batch_size])
        batch = np.stack([encoder.preprocess(picture) for picture in opened])
        encoder.encode(batch[:16])  # loads the weights
        raw, whole = [], []
        for turn in range(rounds):
            started = time.perf_counter()
            for start in range(0, n, batch_size):
                encoder.encode(batch[: n - start])
            raw.append(n / (time.perf_counter() - started))
            started = time.perf_counter()
            embed_images(
                encoder,
                ids,
                files,
                hashes,
                cache=Path(scratch) / f"cache-{turn}",
                batch_size=batch_size,
                progress=False,
            )
            whole.append(n / (time.perf_counter() - started))
    ratios = [b / a for a, b in zip(raw, whole, strict=True)]
    return {
        "raw_per_s": float(np.median(raw)),
        "files_per_s": float(np.median(whole)),
        "embed_vs_raw": float(np.median(ratios)),
        "ratios": [round(ratio, 4) for ratio in ratios],
    }


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
