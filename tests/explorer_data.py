"""Small explorers for tests: pictures of one colour each, peaked topics, and texts that look like markup."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from bs4 import BeautifulSoup
from PIL import Image

from vtm.metrics.topics import relevance
from vtm.report.explorer import ExplorerData, from_arrays
from vtm.report.explorer.shown import relevance_of

HOSTILE = (
    "<script>window.ran = 1</script>",
    "</script><script>window.ran = 2</script>",
    '"><img src=x onerror="window.ran = 3">',
    "<!--<script>",
    "{{script}} &lt; ' \" \\ \u2028 \x00 ]]>",
)


def colour(number: int) -> tuple[int, int, int]:
    """One of many colours far enough apart to survive lossy compression."""
    return (40 + 50 * (number % 5), 40 + 50 * (number // 5 % 5), 40 + 50 * (number // 25 % 5))


def paint(folder: Path, n: int, names: list[str] | None = None) -> list[Path]:
    """n pictures, each of one colour."""
    paths = [folder / (names[i] if names else f"{i:04d}.png") for i in range(n)]
    for number, path in enumerate(paths):
        Image.new("RGB", (24, 24), colour(number)).save(path, "PNG")
    return paths


def peaked(n: int, k: int, *, seed: int = 0) -> np.ndarray:
    """(n, k) distributions, row i mostly of topic i % k."""
    theta = np.random.default_rng(seed).dirichlet(np.full(k, 0.5), size=n) * 0.4
    theta[np.arange(n), np.arange(n) % k] += 0.6
    return theta


def some_words(k: int) -> dict[str, list[list[tuple[str, float]]]]:
    return {
        reads: [
            [(f"{reads}{topic}{letter}", 0.1 - 0.01 * i) for i, letter in enumerate("abcde")]
            for topic in range(k)
        ]
        for reads in ("text", "image")
    }


def simple(folder: Path, n: int = 30, k: int = 6, **options) -> ExplorerData:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    return from_arrays(
        [f"id{i}" for i in range(n)],
        [f"caption number{i} of sort{i % k}" for i in range(n)],
        paint(folder, n),
        peaked(n, k),
        **{
            "theta_text": peaked(n, k, seed=1),
            "words": some_words(k),
            "coherence": {"text": np.linspace(-0.5, 0.5, k), "image": [float("nan")] * k},
            "baseline": (rng.normal(size=(n, 8)), rng.normal(size=(n, 8))),
            "title": "Pictures of colours",
            **options,
        },
    )


def full_data(folder: Path) -> ExplorerData:
    """All that a page can have: columns, keywords, words that can be ordered."""
    n, k = 30, 6
    words = tuple("owl fox hen boat sea tree".split())
    topic_word = {reads: peaked(k, len(words), seed=seed) for seed, reads in enumerate(("text", "image"))}
    share = np.full(k, 1 / k)
    random = np.random.default_rng(2)

    def first(reads: str, weight: float) -> list[list[str]]:
        scores = relevance(topic_word[reads], share, weight=weight)
        return [[words[i] for i in np.argsort(-row, kind="stable")[:4]] for row in scores]

    return simple(
        folder,
        n,
        k,
        columns={
            "who": [("Ana", "Ben", "Céline", "")[i % 4] for i in range(n)],
            "year": [str(1990 + i) for i in range(n)],
        },
        topic_vectors=random.normal(size=(k, 8)),
        meaning=(words, random.normal(size=(len(words), 8)), random.normal(size=(n, 8))),
        keywords=[(("owl", 0.83), ("fox", float("nan"))) for _ in range(n)],
        relevance=relevance_of(first, topic_word, share, words, weight=0.6),
    )


def read_data(index: Path) -> dict:
    soup = BeautifulSoup(index.read_text(encoding="utf-8"), "html.parser")
    return json.loads(soup.select_one("script#data").string)


def hostile_data(folder: Path) -> ExplorerData:
    """Something that a browser must not take for markup, everywhere a text can stand."""
    folder.mkdir(exist_ok=True)
    n, k = 12, 5
    # No file name holds a slash or a NUL; all else may be there.
    names = [f"{i}{HOSTILE[i % 5]}.png".replace("/", "∕").replace("\x00", "") for i in range(n)]
    pictures = paint(folder, n, names)
    pictures[2].write_bytes(b"<script>")
    rng = np.random.default_rng(0)
    return from_arrays(
        [*(f"{text} {i}" for i, text in enumerate(HOSTILE)), "half \udcff", "a=b&c#d%zz", "ü ß", *"stuv"],
        [*HOSTILE, "", "W" * 300, "plain caption", *(f"text {i}" for i in range(4))],
        pictures,
        peaked(n, k),
        theta_text=peaked(n, k, seed=1),
        words={
            reads: [[(text, 0.2), (f"w{i}", 0.1)] for i, text in enumerate(HOSTILE)]
            for reads in ("text", "image")
        },
        coherence={"text": [0.1] * k},
        baseline=(rng.normal(size=(n, 3)), rng.normal(size=(n, 3))),
        columns={text: [HOSTILE[(i + j) % 5] for i in range(n)] for j, text in enumerate(HOSTILE)},
        keywords=[[(text, 0.5) for text in HOSTILE] for _ in range(n)],
        meaning=(HOSTILE, rng.normal(size=(5, 4)), rng.normal(size=(n, 4))),
        topic_vectors=rng.normal(size=(k, 4)),
        title=f"Title {HOSTILE[1]}",
        model_name=HOSTILE[0],
        baseline_name=HOSTILE[2],
        language='en"><script>window.ran = 4</script>',
        notes=HOSTILE,
    )
