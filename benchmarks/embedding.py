"""How much of an image model's own speed is left when pictures come from files and go into the cache."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from vtm.corpora.fetch import GROUPS, is_fetched
from vtm.corpora.pictures import open_picture
from vtm.encoders import ImageEncoder, embed_images, load_encoder, load_named
from vtm.encoders.weights import cores
from vtm.errors import MissingError
from vtm.files import hash_file

# The encoder in both precisions of `vtm.encoders.offline`.
SPECS = {"float32": "offline", "int8": "offline:precision=int8"}
# Models whose ranking is compared: names of `vtm_study.crossfit.runs`.
RANKED = ("baseline", "teacher_60", "plus")


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
        opened = (open_picture(path, size=encoder.size) for path in files[:batch_size])
        batch = np.stack([encoder.preprocess(picture) for picture in opened])
        for run in (encoder.encode, raw):
            run(batch[:16])  # loads the weights
        alone, ours, whole = [], [], []
        for turn in range(rounds):
            alone.append(max(_per_second(raw, batch, n, size) for size in {batch_size, 16}))
            ours.append(_per_second(encoder.encode, batch, n, batch_size))
            whole.append(_files_per_second(encoder, files, Path(scratch) / f"cache-{turn}", batch_size))
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


def _files_per_second(
    encoder: ImageEncoder, files: Sequence[Path], cache: Path, batch_size: int | None = None
) -> float:
    started = time.perf_counter()
    embed_images(
        encoder,
        [path.stem for path in files],
        files,
        [hash_file(path) for path in files],
        cache=cache,
        batch_size=batch_size,
        progress=False,
    )
    return len(files) / (time.perf_counter() - started)


def bench_precision(
    corpora: Sequence[str] = ("openclipart", "scenes"),
    *,
    n: int = 256,
    n_photos: int = 48,
    rounds: int = 3,
    seeds: Sequence[int] = (0, 1, 2),
) -> dict[str, Any]:
    """The encoder "offline" in float32 and in int8: speed in turns, and what its embeddings are good for.

    Parameters
    ----------
    n : pictures a round, as arrays.
    n_photos : JPEG files of 12 megapixels a round, as of a telephone.

    Returns
    -------
    dict
        threads.
        encoder_per_s, files_per_s : precision -> median pictures a second, of arrays, and of the photographs into an empty
        cache; ratios, file_ratios : int8 to float32 in each round.
        decoded_per_s : photographs read and prepared a second, nothing else, in as many threads.
        corpora : corpus -> n; cosine, mean of a picture's two embeddings; neighbours, share of the ten nearest pictures
        that both have in common; mrr, model -> precision -> MRR@100 on the validation part, one a seed.

    Raises
    ------
    MissingError, ConfigError
        The weights are not here; a processor on which int8 is refused.
    """
    need_weights("offline")
    encoders = {precision: load_named(spec, device="cpu").image for precision, spec in SPECS.items()}
    batch = np.random.default_rng(0).normal(size=(64, 3, 112, 112)).astype(np.float32)
    arrays, files, decoded = {name: [] for name in SPECS}, {name: [] for name in SPECS}, []
    with tempfile.TemporaryDirectory(prefix="vtm-bench-") as scratch:
        photos = _photos(Path(scratch), n_photos)
        for encoder in encoders.values():
            encoder.encode(batch[:16])  # loads the weights
        for turn in range(rounds):
            started = time.perf_counter()
            with ThreadPoolExecutor(cores()) as pool:
                list(pool.map(lambda path: encoders["int8"].preprocess(open_picture(path, size=112)), photos))
            decoded.append(n_photos / (time.perf_counter() - started))
            for name, encoder in encoders.items():
                arrays[name].append(_per_second(encoder.encode, batch, n, len(batch)))
                files[name].append(_files_per_second(encoder, photos, Path(scratch) / f"{name}-{turn}"))
    return {
        "threads": cores(),
        "encoder_per_s": {name: float(np.median(rates)) for name, rates in arrays.items()},
        "files_per_s": {name: float(np.median(rates)) for name, rates in files.items()},
        "ratios": np.divide(arrays["int8"], arrays["float32"]).tolist(),
        "file_ratios": np.divide(files["int8"], files["float32"]).tolist(),
        "decoded_per_s": float(np.median(decoded)),
        "corpora": {corpus: _both(corpus, seeds) for corpus in corpora},
    }


def _both(corpus: str, seeds: Sequence[int]) -> dict[str, Any]:
    """What `bench_precision` tells of a corpus; models have the settings that the study chose, and are kept on disk."""
    from vtm.config import from_parameters
    from vtm.experiment.runs import validation_figures
    from vtm.metrics.ranking import top_items
    from vtm_study import crossfit

    data, nearest, mrr = {}, {}, {name: {} for name in RANKED}
    for precision, spec in SPECS.items():
        experiment = from_parameters(
            {"corpus": corpus, "encoder": spec, "seeds": list(seeds), "device": "cpu"}
        )
        data[precision] = found = crossfit.fold_data(experiment, 0)
        positions, _ = top_items(found.image, found.image, found.corpus.ids, k=11)
        nearest[precision] = [set(row) - {place} for place, row in enumerate(positions.tolist())]
        for name in RANKED:
            runs = crossfit.runs(found, name)
            mrr[name][precision] = [validation_figures(run)["validation_mrr_100"] for run in runs]
    one, other = (of.image / np.linalg.norm(of.image, axis=1, keepdims=True) for of in data.values())
    common = [len(a & b) / max(len(a), 1) for a, b in zip(*nearest.values(), strict=True)]
    return {
        "n": len(one),
        "cosine": float((one * other).sum(axis=1).mean()),
        "neighbours": float(np.mean(common)),
        "mrr": mrr,
    }


def _photos(folder: Path, n: int) -> list[Path]:
    """JPEG files of 12 megapixels and some 3 MB, which differ in a comment."""
    from PIL import Image

    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 216, (24, 32, 3), dtype=np.uint8))
    drawn = np.asarray(coarse.resize((4000, 3000), Image.Resampling.BICUBIC))
    noise = random.integers(0, 40, drawn.shape, dtype=np.uint8)  # as a sensor's
    Image.fromarray(drawn // 2 + noise + 40).save(folder / "photo.jpg", quality=85)
    start, rest = (whole := (folder / "photo.jpg").read_bytes())[:2], whole[2:]
    paths = [folder / f"{i:06d}.jpg" for i in range(n)]
    for path in paths:
        path.write_bytes(start + b"\xff\xfe\x00\x08" + path.stem.encode() + rest)
    return paths


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
