"""Cross-fitting: every model trained on each of five folds, so that every pair is tested once, and compared.

Near-duplicates stay in one part of a fold (`vtm.corpora.base.split`). Each fold ranks the pictures of its own test
part. A "single" is one trained model, its figure the mean over seeds; "five" are the models of all seeds side by side,
ranked by their embeddings or thetas one after the other.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from vtm.config import Experiment
from vtm.corpora.base import FOLDS as N_FOLDS
from vtm.encoders import load_named
from vtm.encoders.cache import embed_texts
from vtm.experiment.prepare import Prepared, prepare
from vtm.experiment.results import Result
from vtm.experiment.runs import BY_CONTENT, TOP_WORDS, run_baseline, run_folder, run_models
from vtm.files import code_hash, hash_json, kept
from vtm.metrics.ranking import NOT_FOUND, target_ranks, top_items
from vtm.metrics.retrieval import Test, adjusted, per_item
from vtm.metrics.topics import coherence_figures, top_mass, topic_diversity, word_intrusion
from vtm.model.align import AlignConfig, fit_aligned
from vtm.model.plus import PlusConfig, cut, fit_plus, fit_space, unit, weighted_words
from vtm_study.grid import FAMILIES, chosen
from vtm_study.measures import N_RESAMPLES, fused

# Models that are trained in seconds have so many seeds, however few the topic networks have.
FIVE_SEEDS = 5
PARTS = ("validation", "test")
FIGURES = {"mrr": "mrr_100", "r100": "recall_100"}
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
NEIGHBOURS = (5, 10, 20, 40)
# Topic models of the paper: name -> (family of settings, K); "none": two models that no teacher holds together.
NETWORKS = {
    "teacher_60": ("text-teacher", 60),
    "teacher_120": ("text-teacher", 120),
    "joint_60": ("joint", 60),
    "joint_120": ("joint", 120),
    "none_120": ("none", 120),
}
MODELS = ("baseline", "cca", *NETWORKS, "plus")
# Whose pictures' probability is said to lie on two or three topics.
SPARSE = ("teacher_60", "teacher_120")


@cache
def fold_data(experiment: Experiment, fold: int) -> Prepared:
    """The experiment's corpus, split for one fold."""
    return prepare(dataclasses.replace(experiment, fold=fold), progress=False)


def folds(experiment: Experiment) -> list[Prepared]:
    """All folds; the one split of a corpus whose owners fixed it."""
    first = fold_data(experiment, 0)
    if first.corpus.parts is not None:
        return [first]
    return [first, *(fold_data(experiment, fold) for fold in range(1, N_FOLDS))]


def runs(data: Prepared, name: str) -> list[Result]:
    """One of `MODELS` trained on a fold, a result for each seed (one where the model has none); kept on disk."""
    if name == "baseline" and data.aligned:
        return run_baseline(data)
    if name == "cca":
        return [_cca(data)]
    if name in OWN:
        return [_own(data, name, seed) for seed in data.experiment.seeds]
    kind, n_topics = NETWORKS[name]
    config = chosen(kind, fold=data.experiment.fold)
    if kind == "none":
        apart = dataclasses.replace(data.experiment, mode="none")
        data, kind = dataclasses.replace(data, experiment=apart), "text-teacher"
    return run_models(data, kind, config=config, n_topics=[n_topics], progress=False)


def _result(
    data: Prepared, name: str, seed: int, measure: str, arrays: dict[str, np.ndarray], **more: Any
) -> Result:
    ids = {part: data.ids(part) for part in PARTS}
    return Result(name, 0, seed, measure, "ok", (), ids, arrays, n_missing=data.n_missing, **more)


def _sides(data: Prepared, embed: Callable[[str, np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """Both parts' arrays of a model that reads "text" and "image"."""
    return {
        f"{part}_{reads}": embed(reads, data.pairs(part).embeddings(reads))
        for part in PARTS
        for reads in ("text", "image")
    }


def _cca(data: Prepared) -> Result:
    train = data.pairs("train")
    space = fit_space(train.text, train.image, **chosen("cca", fold=data.experiment.fold))
    return _result(data, "cca", 0, "cosine", _sides(data, space.embed))


def _fit_baseline(data: Prepared, seed: int, config: AlignConfig) -> Result:
    model = fit_aligned(data.pairs("train"), data.pairs("validation"), seed=seed, config=config)
    return _result(data, "baseline", seed, "cosine", _sides(data, model.embed))


def _fit_plus(data: Prepared, seed: int, config: PlusConfig) -> Result:
    train = data.pairs("train")
    model = fit_plus(train.text, train.image, train.counts, config=config, seed=seed)
    topics = model.topics(data.vocabulary.words, TOP_WORDS)
    arrays = _sides(data, model.theta)
    return _result(data, "plus", seed, "hellinger", arrays, topics={"text": topics, "image": topics})


# Models that the package's runs do not keep: name -> (what trains one, the module it follows from, a fold's setting).
OWN: dict[str, tuple[Callable[[Prepared, int, Any], Result], str, Callable[[int], Any]]] = {
    "baseline": (_fit_baseline, "vtm.model.align", lambda fold: chosen("baseline", fold=fold)),
    "plus": (_fit_plus, "vtm.model.plus", lambda _: dataclasses.replace(PlusConfig(), members=1)),
}


def _own(data: Prepared, name: str, seed: int) -> Result:
    """One model of one seed, trained where it is not on disk."""
    fit, module, setting = OWN[name]
    config = setting(data.experiment.fold)
    code = code_hash(module, without=BY_CONTENT)
    key = hash_json([data.fingerprint(), dataclasses.asdict(config), seed, code])
    folder = run_folder(data) / f"study-{name}" / f"seed-{seed}"
    if (found := Result.current(folder, key)) is None:
        found = fit(data, seed, config)
        found.save(folder, key)
    return found


def together(results: Sequence[Result], part: str) -> tuple[np.ndarray, np.ndarray]:
    """The models' text and image arrays side by side; thetas are divided by how many there are."""
    share = len(results) if results[0].row not in ("baseline", "cca") else 1
    text, image = (
        np.concatenate([result.arrays[f"{part}_{reads}"] / share for result in results], axis=1)
        for reads in ("text", "image")
    )
    return text, image


Sides = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class System:
    """What ranks a fold's pictures: text and image arrays of one model a seed, and of all together; by `measure`."""

    single: list[Sides]
    five: Sides
    measure: str

    @classmethod
    def of(cls, results: Sequence[Result], part: str) -> System:
        single = [(result.text(part), result.image(part)) for result in results]
        return cls(single, together(results, part), results[0].measure)

    def cut(self, kept: int) -> System:
        """By each document's largest topics alone."""
        return System(
            [tuple(cut(side, kept) for side in sides) for sides in self.single],
            tuple(cut(side, kept) for side in self.five),
            self.measure,
        )


def fuse(embedding: Sides, other: Sides, weight: float) -> System:
    """Embeddings with something else beside their similarity, see `vtm_study.measures.fused`."""
    sides = tuple(fused(e, o, weight=weight) for e, o in zip(embedding, other, strict=True))
    return System([sides], sides, "dot")


def ranks(sides: Sides, measure: str, n_missing: int = 0) -> np.ndarray:
    """Rank of each text's own picture, row i of both sides belonging together; then texts that cannot be found: (n,)."""
    ids = [f"{row:09d}" for row in range(len(sides[0]))]
    found = target_ranks(*sides, ids, ids, measure=measure).ranks
    return np.concatenate([found, np.full(n_missing, NOT_FOUND, dtype=found.dtype)])


def mrr_of(system: System) -> float:
    return float(per_item(ranks(system.five, system.measure))["mrr_100"].mean())


def nearest_words(data: Prepared, part: str, n: int) -> Sides:
    """Words without topics: a text's own ones; a picture's are those of the `n` training pictures that look most alike.

    Both weighted by inverse document frequency, rows of length 1: (n, V) each.
    """
    train, pairs = data.pairs("train"), data.pairs(part)
    words = weighted_words(train.counts)
    mean, scale = train.image.mean(axis=0), train.image.std(axis=0) + 1e-6
    near = unit((pairs.image - mean) / scale) @ unit((train.image - mean) / scale).T
    rows = np.argsort(-near, axis=1, kind="stable")[:, :n]
    rarity = np.log(len(words) / (1 + np.asarray((train.counts > 0).sum(axis=0)).ravel()))
    own = np.asarray((pairs.counts > 0).todense(), dtype=np.float64) * rarity
    return unit(own), unit(words[rows].mean(axis=1))


def fold_systems(data: Prepared, results: dict[str, list[Result]]) -> dict[str, System]:
    """All models of a fold and what is put together from them, on its test part.

    The weights of the fusions, and how many neighbours count, are those with the best MRR@100 on its validation part.
    """
    found = {part: {name: System.of(of, part) for name, of in results.items()} for part in PARTS}
    largest = PlusConfig().kept
    systems = found["test"] | {
        "plus_top10": found["test"]["plus"].cut(largest),
        "teacher_120_top10": found["test"]["teacher_120"].cut(largest),
    }

    baselines = {part: found[part]["baseline"].five for part in PARTS}

    def best(other: Callable[[str, Any], Sides], options: Sequence[Any] = (None,)) -> System:
        scores = {}
        for option, weight in itertools.product(options, WEIGHTS):
            fusion = fuse(baselines["validation"], other("validation", option), weight)
            scores[option, weight] = mrr_of(fusion)
        option, weight = max(scores, key=scores.__getitem__)
        return fuse(baselines["test"], other("test", option), weight)

    systems["fused"] = best(lambda part, _: tuple(np.sqrt(s) for s in found[part]["plus"].five))
    systems["fused_with_cca"] = best(lambda part, _: found[part]["cca"].five)
    systems["fused_without_topics"] = best(lambda part, n: nearest_words(data, part, n), NEIGHBOURS)
    return systems


@dataclass(frozen=True)
class Items:
    """What every system found for every test pair of all folds, in one order.

    Parameters
    ----------
    clusters, fold : (n,) of the texts; near-duplicates have one cluster. Texts whose picture is lost are among them.
    test : (m,) clusters of the pairs whose picture is there, which the following are of.
    ranks : system -> {"single": (S, n), "five": (1, n)} ranks of each text's own picture.
    category : system -> (S, m), whether the best picture that is not the text's own is of its gold category, of single
        models; empty where the corpus has no categories.
    mass : system -> (S, m), probability of each picture's three largest topics.
    named : (m,) whether the text names its category.
    """

    clusters: np.ndarray
    fold: np.ndarray
    test: np.ndarray
    ranks: dict[str, dict[str, np.ndarray]]
    category: dict[str, np.ndarray]
    mass: dict[str, np.ndarray]
    named: np.ndarray

    def values(self, system: str, kind: str, figure: str) -> np.ndarray:
        """(S, n) or (1, n): what each item adds to "mrr" (MRR@100) or "r100" (recall at 100)."""
        return np.stack([per_item(row)[FIGURES[figure]] for row in self.ranks[system][kind]])


def fold_found(data: Prepared) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `Items` holds of one fold, and figures of its models' topics; trained and measured where it is not on disk."""
    settings = [repr(chosen(family, fold=data.experiment.fold)) for family in FAMILIES]
    code = code_hash(__name__, without=BY_CONTENT)
    key = hash_json([data.fingerprint(), data.n_missing, data.experiment.seeds, settings, code])
    return kept(run_folder(data) / "study-fold.safetensors", key, lambda: _fold_found(data))


def _fold_found(data: Prepared) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    seeds = tuple(range(max(FIVE_SEEDS, len(data.experiment.seeds))))
    more = dataclasses.replace(data, experiment=dataclasses.replace(data.experiment, seeds=seeds))
    results = {name: runs(more if name in OWN else data, name) for name in MODELS}
    systems, groups = fold_systems(data, results), data.groups("test")
    clusters, lost = data.clusters[data.rows["test"]], data.n_missing
    found = {
        # A text whose picture is lost is alone, and not found.
        "clusters": np.concatenate([clusters, data.clusters.max() + 1 + np.arange(lost)]),
        "fold": np.full(len(clusters) + lost, data.experiment.fold),
        "test": clusters,
        "named": np.zeros(len(clusters), dtype=bool),
    }
    for name, system in systems.items():
        found[f"{name} single"] = np.stack([ranks(sides, system.measure, lost) for sides in system.single])
        found[f"{name} five"] = ranks(system.five, system.measure, lost)[None]
        if name in SPARSE:
            found[f"{name} mass"] = np.stack([top_mass(image, 3) for _, image in system.single])
        if groups is not None:
            found[f"{name} category"] = np.stack(
                [own_category(sides, system.measure, groups) for sides in system.single]
            )
    if groups is not None:
        texts = [text.lower() for text in data.texts("test")]
        found["named"] = np.array([names(text, group) for text, group in zip(texts, groups, strict=True)])
    statuses = {name: [run.status for run in of] for name, of in results.items()}
    return found, {"topics": topic_figures(data, results), "statuses": statuses}


def collect(experiment: Experiment) -> tuple[Items, list[dict[str, Any]]]:
    """Every test pair of every fold as every system ranks it, and what was found of each fold's models."""
    parts = [fold_found(data) for data in folds(experiment)]
    whole = {name: np.concatenate([arrays[name] for arrays, _ in parts], axis=-1) for name in parts[0][0]}
    systems = [name.removesuffix(" five") for name in whole if name.endswith(" five")]
    items = Items(
        *(whole[name] for name in ("clusters", "fold", "test")),
        ranks={name: {kind: whole[f"{name} {kind}"] for kind in ("single", "five")} for name in systems},
        category={name: whole[f"{name} category"] for name in systems if f"{name} category" in whole},
        mass={name: whole[f"{name} mass"] for name in SPARSE},
        named=whole["named"],
    )
    return items, [about for _, about in parts]


def own_category(sides: Sides, measure: str, groups: Sequence[str]) -> np.ndarray:
    """Whether each text's best picture, its own left out, is of the text's gold category: (n,) 0 or 1."""
    ids = [f"{row:09d}" for row in range(len(groups))]
    top, _ = top_items(*sides, ids, k=2, measure=measure)
    other = np.where(top[:, 0] == np.arange(len(ids)), top[:, 1], top[:, 0])
    labels = np.asarray(groups)
    return (labels[other] == labels).astype(np.float64)


def names(text: str, group: str) -> bool:
    """Whether a text in lower case holds a word of its category's name, of four letters or more, plural or not.

    >>> names("a red fox, animals", "animals"), names("a red fox", "animals"), names("an animal", "animals")
    (True, False, True)
    """
    words = [word.rstrip("s") for word in group.lower().replace("/", " ").replace("_", " ").split()]
    return any(len(word) >= 4 and word in text for word in words)


@lru_cache(maxsize=4)
def _drawn(n_clusters: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each resample has each cluster, (n_resamples, C): the same for all tests, which are so comparable."""
    chances = np.full(n_clusters, 1 / n_clusters)
    return np.random.default_rng([seed, 0]).multinomial(n_clusters, chances, size=n_resamples).astype(float)


def resampled(
    a: np.ndarray, b: np.ndarray, clusters: np.ndarray, *, n_resamples: int = 0, seed: int = 0
) -> Test:
    """Mean of a minus mean of b with a bootstrap over clusters and seeds together.

    Parameters
    ----------
    a, b : (S, n) values of the same n items, of S and S' models.
    clusters : (n,) which items are near-duplicates. A resample draws whole clusters, and models of each side, with
        replacement (two independent factors, as McCullagh 2000).
    n_resamples : 0 for the study's.
    """
    n_resamples = n_resamples or N_RESAMPLES
    _, of, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    drawn = _drawn(len(sizes), n_resamples, seed)
    rng, means = np.random.default_rng([seed, 1]), []
    for side in (a, b):
        sums = np.stack([np.bincount(of, weights=row) for row in side])  # (S, C)
        models = rng.multinomial(len(side), np.full(len(side), 1 / len(side)), size=n_resamples) / len(side)
        means.append((models * (drawn @ sums.T)).sum(axis=1) / (drawn @ sizes))
    differences = means[0] - means[1]
    low, high = np.quantile(differences, [0.025, 0.975])
    one_side = min((differences <= 0).sum(), (differences >= 0).sum())
    p = min(1.0, 2 * (one_side + 1) / (n_resamples + 1))
    return Test(float(a.mean() - b.mean()), float(low), float(high), float(p))


# Name of a test -> (one system, its kind), (another, its kind); each is tested by MRR@100 and by recall at 100.
SINGLE, FIVE = "single", "five"
PAPER = {
    "baseline_minus_teacher": (("baseline", SINGLE), ("teacher_120", SINGLE)),
    "baseline_minus_joint": (("baseline", SINGLE), ("joint_120", SINGLE)),
    "teacher_minus_joint_60": (("teacher_60", SINGLE), ("joint_60", SINGLE)),
    "teacher_minus_joint_120": (("teacher_120", SINGLE), ("joint_120", SINGLE)),
    "teacher_120_minus_60": (("teacher_120", SINGLE), ("teacher_60", SINGLE)),
    "joint_120_minus_60": (("joint_120", SINGLE), ("joint_60", SINGLE)),
}
OURS = {
    "plus_single_minus_baseline_five": (("plus", SINGLE), ("baseline", FIVE)),
    "plus_five_minus_baseline_five": (("plus", FIVE), ("baseline", FIVE)),
    "plus_single_minus_baseline_single": (("plus", SINGLE), ("baseline", SINGLE)),
    "plus_single_minus_cca": (("plus", SINGLE), ("cca", SINGLE)),
    "plus_single_minus_teacher": (("plus", SINGLE), ("teacher_120", SINGLE)),
    "plus_five_minus_teacher_five": (("plus", FIVE), ("teacher_120", FIVE)),
    "teacher_minus_none": (("teacher_120", SINGLE), ("none_120", SINGLE)),
    "teacher_five_minus_baseline_five": (("teacher_120", FIVE), ("baseline", FIVE)),
    "cca_minus_baseline_single": (("cca", SINGLE), ("baseline", SINGLE)),
    "fused_minus_fused_without_topics": (("fused", FIVE), ("fused_without_topics", FIVE)),
    "fused_minus_fused_with_cca": (("fused", FIVE), ("fused_with_cca", FIVE)),
    "fused_minus_baseline_five": (("fused", FIVE), ("baseline", FIVE)),
}
CATEGORIES = (
    ("teacher_120", "baseline"),
    ("teacher_120", "cca"),
    ("plus", "baseline"),
    ("plus", "cca"),
    ("cca", "baseline"),
)


def tests(items: Items) -> dict[str, dict[str, Any]]:
    """Every comparison: difference, 95 % interval, p, and p adjusted within its family (Holm).

    A comparison by recall at 100 has "_r100" after its name. Families: the paper's findings, ours, and whether the
    topic is pictured rather than the fact.
    """
    families: dict[str, dict[str, Test]] = {"paper": {}, "ours": {}, "category": {}}
    for family, compared in (("paper", PAPER), ("ours", OURS)):
        for name, (one, other) in compared.items():
            for figure, ending in (("mrr", ""), ("r100", "_r100")):
                sides = [items.values(*which, figure) for which in (one, other)]
                families[family][name + ending] = resampled(*sides, items.clusters)
    for name, mass in items.mass.items():
        families["paper"][f"sparse_{name}"] = resampled(mass, np.full_like(mass, 0.5), items.test)
    top10, whole = (items.values(name, SINGLE, "mrr") for name in ("plus_top10", "plus"))
    families["ours"]["plus_top10_minus_95_percent"] = resampled(top10, 0.95 * whole, items.clusters)
    five, others = (items.values(name, FIVE, "mrr") for name in ("plus", "baseline"))
    families["ours"]["plus_five_minus_125_percent_of_baseline_five"] = resampled(
        five, 1.25 * others, items.clusters
    )
    if items.category:
        unnamed = ~items.named
        for one, other in CATEGORIES:
            sides = items.category[one], items.category[other]
            families["category"][f"category_{one}_minus_{other}"] = resampled(*sides, items.test)
            families["category"][f"category_{one}_minus_{other}_unnamed"] = resampled(
                *(side[:, unnamed] for side in sides), items.test[unnamed]
            )
    found = {}
    for family, of in families.items():
        holm = adjusted(of)
        for name, test in of.items():
            found[name] = {**test.stored(), "p_holm": holm[name], "family": family}
    return found


def figures(items: Items, figure: str) -> dict[str, dict[str, float]]:
    """System -> "single" and "five", with the 95 % interval of each over clusters and seeds."""
    found = {}
    for name, of in items.ranks.items():
        found[name] = {}
        for kind in of:
            values = items.values(name, kind, figure)
            test = resampled(values, np.zeros((1, values.shape[1])), items.clusters, n_resamples=2000)
            found[name] |= {kind: test.difference, f"{kind}_low": test.low, f"{kind}_high": test.high}
    return found


def topic_figures(data: Prepared, results: dict[str, list[Result]]) -> dict[str, dict[str, float]]:
    """Of each model's topics, means over seeds and both sides: coherence at 5 and 10 words, diversity at 10, intrusion.

    Beside them the share of pairs of words that never stand in one training text, and what diversity could be at most.
    "intrusion" is the share of topics in which a word of another topic is found by the text encoder's embeddings of the
    words.
    """
    counts, words = data.counts[data.rows["train"]], data.vocabulary.words
    encoder = load_named(
        data.experiment.encoder, device=data.experiment.device, language=data.corpus.language
    )
    vectors = embed_texts(encoder.text, words, progress=False)
    found = {}
    for name in (*NETWORKS, "plus"):
        lists = [(run.seed, topics) for run in results[name] for topics in _different(run.topics)]
        lines = [
            {
                **coherence_figures(topics, counts, words),
                "diversity_10": float(topic_diversity(topics, top=10)),
                "diversity_10_at_most": min(1.0, len(words) / (10 * len(topics))),
                "intrusion": float((word_intrusion(topics, vectors, words, seed=seed) > 0.5).mean()),
                "n_topics": len(topics),
            }
            for seed, topics in lists
        ]
        found[name] = {key: float(np.mean([line[key] for line in lines])) for key in lines[0]}
    return found


def _different(topics: dict[str, list[list[str]]]) -> list[list[list[str]]]:
    """The lists of both sides, once where they are the same."""
    text, image = topics["text"], topics["image"]
    return [text] if text == image else [text, image]


def topic_means(folds_found: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """`topic_figures` of all folds: their means."""
    names = folds_found[0]["topics"]
    return {
        name: {
            key: float(np.mean([found["topics"][name][key] for found in folds_found])) for key in names[name]
        }
        for name in names
    }
