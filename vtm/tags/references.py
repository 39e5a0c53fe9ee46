"""What tags are held against: guesses, the embeddings themselves, and keywords without any topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from vtm.peers import fit_ridge
from vtm.seeds import numpy_generator
from vtm.tags.measures import TOPS, Material, measure_features, measure_partition, measure_words
from vtm.tags.metrics import best_words, hit_rate, neighbour_words
from vtm.tags.runs import TagRun

MAJORITY = "majority category"
RANDOM = "random topics"
CLUSTERS = "k-means of image embeddings"
IMAGE = "image embeddings"
TEXT = "text embeddings"
FREQUENT = "most frequent words"
NEIGHBOURS = "nearest pictures' words"
LINEAR = "linear map to words"
OWN = "its own words"
# Numbers of nearest pictures to take words from; one is chosen on validation.
SIZES = (1, 2, 3, 5, 10, 20, 50)

Task = tuple[str, int, int, Callable[[], TagRun]]


def references(given: Material, sizes: tuple[int, ...], seeds: tuple[int, ...]) -> Iterator[Task]:
    """Name, K, seed and measurement of each reference; those of categories only where the corpus has some.

    Parameters
    ----------
    sizes, seeds : numbers of topics and seeds of the experiment, for what needs as many clusters.
    """
    if given.groups is not None:
        yield MAJORITY, 0, 0, lambda: _majority(given)
        for k in sizes:
            for seed in seeds:
                yield RANDOM, k, seed, lambda k=k, seed=seed: _random(given, k, seed)
                yield CLUSTERS, k, seed, lambda k=k, seed=seed: _clusters(given, k, seed)
        yield IMAGE, 0, 0, lambda: TagRun(IMAGE, 0, 0, *measure_features(given, given.image))
        yield TEXT, 0, 0, lambda: TagRun(TEXT, 0, 0, *measure_features(given, given.text))
    yield FREQUENT, 0, 0, lambda: _frequent(given)
    yield NEIGHBOURS, 0, 0, lambda: _neighbours(given)
    yield LINEAR, 0, 0, lambda: _linear(given)
    yield OWN, 0, 0, lambda: _own(given)


def _majority(given: Material) -> TagRun:
    """Every picture is of the commonest training category."""
    assert given.groups is not None
    counts = Counter(given.groups["train"])
    commonest = min(counts, key=lambda group: (-counts[group], group))
    told = {part: np.array([group == commonest for group in given.groups[part]], float) for part in given.ids}
    figures = {f"validation_{name}": float(told["validation"].mean()) for name in ("linear", "neighbours")}
    items = {name: told["test"].tolist() for name in ("linear", "neighbours")}
    items |= measure_partition(given, np.zeros(len(told["test"]), dtype=np.int64))
    return TagRun(MAJORITY, 0, 0, figures, items)


def _random(given: Material, k: int, seed: int) -> TagRun:
    """A topic for each picture by lot: what NMI and purity come to by the number of topics alone."""
    draws = numpy_generator(seed, "random topics").integers(0, k, len(given.ids["test"]))
    return TagRun(RANDOM, k, seed, items=measure_partition(given, draws))


def _clusters(given: Material, k: int, seed: int) -> TagRun:
    """k-means of the training pictures' embeddings, scaled to length 1; test pictures go to the nearest centre."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize

    k = min(k, len(given.image["train"]))
    model = KMeans(k, n_init=4, random_state=seed).fit(normalize(given.image["train"]))
    return TagRun(
        CLUSTERS, k, seed, items=measure_partition(given, model.predict(normalize(given.image["test"])))
    )


def _frequent(given: Material) -> TagRun:
    scores = {part: np.tile(given.frequency, (len(given.ids[part]), 1)) for part in ("validation", "test")}
    return TagRun(FREQUENT, 0, 0, *measure_words(given, scores))


def _neighbours(given: Material) -> TagRun:
    """Words of the training pictures nearest by cosine; how many pictures, by the hits on validation."""
    best: tuple[float, int] | None = None
    top = TOPS[0]
    found = neighbour_words(given.image["validation"], given.image["train"], given.present["train"], SIZES)
    for size, scores in found.items():
        words = best_words(scores, top, frequency=given.frequency)
        hits = float(hit_rate(words, given.present["validation"]).mean())
        if best is None or hits > best[0]:
            best = (hits, size)
    assert best is not None
    size = best[1]
    test = neighbour_words(given.image["test"], given.image["train"], given.present["train"], (size,))
    figures, items, keywords = measure_words(given, {"validation": found[size], "test": test[size]})
    return TagRun(NEIGHBOURS, 0, 0, figures | {"pictures": float(size)}, items, keywords)


def _linear(given: Material) -> TagRun:
    """Ridge regression from a picture's embedding to the words of its text, with no topics between."""

    def hits(scores: np.ndarray) -> float:
        words = best_words(scores, TOPS[0], frequency=given.frequency)
        return float(hit_rate(words, given.present["validation"]).mean())

    ridge = fit_ridge(given.image["train"], given.present["train"], given.image["validation"], hits)
    scores = {part: ridge(given.image[part]) for part in ("validation", "test")}
    figures, items, keywords = measure_words(given, scores)
    return TagRun(LINEAR, 0, 0, figures | {"alpha": ridge.alpha}, items, keywords)


def _own(given: Material) -> TagRun:
    """The most that can be hit: most texts hold fewer words than there are keywords."""
    scores = {part: given.present[part].astype(np.float64) for part in ("validation", "test")}
    return TagRun(OWN, 0, 0, *measure_words(given, scores))
