"""What it costs to find pictures for a text, by the number of pictures; a scan of ready vectors by faiss is the yardstick."""

from __future__ import annotations

import string
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import timed
from benchmarks.growth import draw_documents
from vtm.api import ModelWarning, VisualTopicModel
from vtm.config import numpy_generator
from vtm.errors import MissingError
from vtm.files import scratch
from vtm.metrics.ranking import top_items
from vtm_study.machine import MemoryWatch

BLOCK = 20_000
UNKNOWN = "zeppelin"  # beside known words: such a text is read by its embedding and by its words
KNOWN = 5


def bench_search(
    sizes: Sequence[int] = (10_000, 100_000),
    *,
    rounds: int = 3,
    top: int = 100,
    n_pairs: int = 6000,
    n_topics: int = 60,
    n_words: int = 2000,
    n_inputs: int = 384,
    seed: int = 0,
) -> dict[str, Any]:
    """Time the search for one text among pictures whose embeddings are at hand, by VTM+ trained on drawn pairs.

    Parameters
    ----------
    sizes : numbers of pictures, rising.
    rounds : texts that are searched for, one after the other; the first is done once more before, and not counted.
    top : pictures that are asked for.
    n_pairs, n_topics, n_words, n_inputs : of the pairs that the model is trained on (`benchmarks.growth.draw_documents`).

    Returns
    -------
    dict
        rows: for each size, pictures; seconds and word_seconds, medians of `VisualTopicModel.rank` by the fused measure for
        a text of five known words and an unknown one, and for a known word; microseconds_a_picture of the former; anonymous,
        MiB that the process held for it. What follows is by topics alone, among theta that was read before (theta_seconds):
        topics_seconds by `vtm.metrics.ranking.top_items`, flat_seconds by faiss' IndexFlatIP, flat_vs_topics, how many times
        as fast ours is, as [least, median, largest], difference, the largest of a similarity.
        match_us: microseconds_a_picture of the largest size. The parameters.

    Raises
    ------
    MissingError
        faiss is not installed.
    """
    _faiss()
    with scratch() as folder:
        pairs = draw_documents(
            None, n_pairs, n_topics=n_topics, n_words=n_words, n_inputs=n_inputs, seed=seed
        )
        words = np.array([_word(number) for number in range(n_words)])
        texts = [" ".join(words[row.indices]) for row in pairs.counts]
        model = VisualTopicModel(n_topics, encoder="pixels", random_state=seed, cache=folder, progress=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)  # about drawn pairs
            model.fit(texts, image_embeddings=pairs.x)
        queries = [f"{' '.join(text.split()[:KNOWN])} {UNKNOWN}" for text in texts[:rounds]]
        rows = [
            _search(model, _pictures(folder / "pictures.npy", pairs.x, n, seed), queries, top) for n in sizes
        ]
    return {
        "rows": rows,
        "match_us": rows[-1]["microseconds_a_picture"],
        "rounds": rounds,
        "top": top,
        "n_pairs": n_pairs,
        "n_topics": n_topics,
        "n_words": len(model.vocabulary_),
        "n_inputs": n_inputs,
        "seed": seed,
    }


def _search(model: VisualTopicModel, x: np.ndarray, queries: list[str], top: int) -> dict[str, Any]:
    def ranked(texts: Sequence[str]) -> list[float]:
        return _seconds(lambda text: model.rank([text], image_embeddings=x, top=top), texts)

    with MemoryWatch() as before:
        model.rank(queries[:1], image_embeddings=x[:BLOCK], top=top)
    with MemoryWatch() as held:
        fused = ranked(queries)
    by_word = ranked([query.split()[0] for query in queries])
    theta_seconds, theta = timed(lambda: model.transform(image_embeddings=x))
    asked, ids = model.transform_text(queries), [f"{row:09d}" for row in range(len(x))]
    flat = _faiss().IndexFlatIP(theta.shape[1])
    flat.add(_unit(theta))
    rows = range(len(queries))
    ours, theirs = [], []
    for row in [0, *rows]:  # in turns
        ours.append(timed(lambda row=row: top_items(asked[row : row + 1], theta, ids, k=top))[0])
        theirs.append(timed(lambda row=row: flat.search(_unit(asked[row : row + 1]), top))[0])
    ratios = np.divide(theirs[1:], ours[1:])
    difference = top_items(asked, theta, ids, k=top)[1] - flat.search(_unit(asked), top)[0]
    return {
        "pictures": len(x),
        "seconds": float(np.median(fused)),
        "word_seconds": float(np.median(by_word)),
        "microseconds_a_picture": 1e6 * float(np.median(fused)) / len(x),
        "anonymous": held.anonymous - before.anonymous,
        "theta_seconds": theta_seconds,
        "topics_seconds": float(np.median(ours[1:])),
        "flat_seconds": float(np.median(theirs[1:])),
        "flat_vs_topics": [float(value) for value in np.quantile(ratios, [0.0, 0.5, 1.0])],
        "difference": float(np.abs(difference).max()),
    }


def _pictures(path: Path, known: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Embeddings (n, D) in a mapped file: each between two of those known, with noise."""
    random = numpy_generator(seed, "pictures to search")
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, known.shape[1]))
    for start in range(0, n, BLOCK):
        some = min(BLOCK, n - start)
        one, other = known[random.integers(len(known), size=(2, some))]
        share = random.uniform(0.5, 1.0, size=(some, 1))
        noise = 0.1 * known.std() * random.normal(size=one.shape)
        x[start : start + some] = share * one + (1 - share) * other + noise
    return x


def _word(number: int) -> str:
    """A word of letters, as vocabularies have."""
    letters = string.ascii_lowercase
    return "q" + "".join(letters[number // 26**place % 26] for place in range(3)) + "x"


def _seconds(work: Callable[[str], Any], texts: Sequence[str]) -> list[float]:
    return [timed(work, text)[0] for text in [texts[0], *texts]][1:]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingError(
            "faiss is not installed, beside which search is measured: pip install faiss-cpu"
        ) from None
    return faiss


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
