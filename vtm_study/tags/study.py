"""What the tags of pictures are worth: each system measured, stored run by run."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtm.config import KINDS, numpy_generator
from vtm.errors import MissingError
from vtm.experiment.prepare import PARTS, Prepared
from vtm.experiment.results import Result
from vtm.experiment.runs import BY_CONTENT, model_folder, run_folder
from vtm.files import code_hash, hash_json, kept
from vtm.metrics.retrieval import per_item
from vtm.metrics.topics import npmi, relevance, top_words, topic_diversity
from vtm_study.measures import reciprocal
from vtm_study.others import (
    EXTRA_PEERS,
    TEXT_PEERS,
    as_shares,
    fit_extra,
    fit_ridge,
    installed_version,
    text_peer,
)
from vtm_study.tags.metrics import (
    best_words,
    hit_rate,
    linear_probe,
    names_category,
    neighbour_probe,
    neighbour_words,
    partition_figures,
    words_of_topics,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class TagRun:
    """One system of one seed. What does not apply to a system is absent.

    Attributes
    ----------
    system : "joint", "text-teacher", a peer, or something to compare with (`vtm_study.tags.study`).
    n_topics : K; 0 where there are no topics.
    figures : "npmi", "diversity", "validation_linear", "validation_neighbours", "validation_hit_5",
        "validation_matched" (MRR@100), the settings that were chosen, "converged" (0 or 1), a peer's "seconds".
        NPMI and diversity are of the first five words of each topic.
    items : a value for each test picture: "linear", "neighbours" (category told or not), "mixture_5", "mixture_10",
        "largest" (share of keywords that the text contains); with a value more, the first, of all pictures: "nmi",
        "purity" (`vtm_study.tags.metrics.partition_figures`); "ami", of all alone; and of each validation text "matched", its picture's
        reciprocal rank.
    keywords : the five most probable words of each test picture.
    version : of the package that was used, for peers that are one.
    """

    system: str
    n_topics: int
    seed: int
    figures: dict[str, float] = field(default_factory=dict)
    items: dict[str, list[float]] = field(default_factory=dict, repr=False)
    keywords: list[list[str]] = field(default_factory=list, repr=False)
    version: str = ""

    @property
    def name(self) -> str:
        return f"{self.system} {self.n_topics}" if self.n_topics else self.system


@dataclass(frozen=True)
class PeerStatus:
    """Whether a peer ran; `reason` says why it did not."""

    name: str
    ran: bool
    version: str
    reason: str


@dataclass(frozen=True)
class TagStudy:
    """All runs, in the order of the tables.

    Attributes
    ----------
    ids : of the test pictures, in the order of the runs' items.
    groups : their gold categories, or None.
    n_new_groups : test pictures of a category that training lacks.
    n_named : test pictures whose text names their category (`vtm_study.tags.metrics.names_category`).
    n_wordless : test pictures whose text holds no word of the vocabulary: every keyword misses.
    unhealthy : runs of the topic models that collapsed or diverged, and are left out.
    """

    ids: list[str]
    groups: list[str] | None
    n_train: int
    n_validation: int
    n_words: int
    n_new_groups: int
    n_named: int
    n_wordless: int
    runs: tuple[TagRun, ...]
    peers: tuple[PeerStatus, ...]
    unhealthy: tuple[str, ...]

    def rows(self) -> dict[str, list[TagRun]]:
        """Name -> its runs, a run for each seed."""
        rows: dict[str, list[TagRun]] = {}
        for run in self.runs:
            rows.setdefault(run.name, []).append(run)
        return rows

    def items(self, name: str, figure: str) -> np.ndarray | None:
        """(S, n) values of the test pictures, None where the system has no such figure."""
        runs = [run for run in self.runs if run.name == name and figure in run.items]
        return np.array([run.items[figure] for run in runs]) if runs else None

    def best(self, systems: Sequence[str], figure: str) -> str | None:
        """The row of these systems with the best mean of a validation figure, None where there is none."""
        means = {
            name: float(np.mean([run.figures[figure] for run in runs]))
            for name, runs in self.rows().items()
            if runs[0].system in systems and figure in runs[0].figures
        }
        return max(means, key=lambda name: means[name]) if means else None


def healthy_models(results: Sequence[Result]) -> tuple[list[Result], tuple[str, ...]]:
    """The topic models' runs that can be measured, and a line for each of the others."""
    models = [run for run in results if run.n_topics]
    bad = [f"{run.name}, seed {run.seed}: {run.status}" for run in models if run.status != "ok"]
    return [run for run in models if run.status == "ok"], tuple(bad)


def stored(path: Path, key: str, measure: Callable[[], TagRun]) -> TagRun:
    """What was stored under `key`, else what `measure` returns, which is then stored."""
    found = dict(kept(path, key, lambda: dataclasses.asdict(measure())))
    del found["key"]
    return TagRun(**found)


# Numbers of keywords; settings are chosen by the first. A text has some four different words of the vocabulary.
TOPS = (5, 10)
# The largest topics of a picture that `vtm tag` shows.
LARGEST = 3
Measured = tuple[dict[str, float], dict[str, list[float]], list[list[str]]]


@dataclass(frozen=True)
class Material:
    """What tags are measured on, each a mapping of the parts "train", "validation", "test".

    Attributes
    ----------
    ids : of the pairs.
    image, text : (n, D), (n, E) embeddings.
    present : (n, V) bool, whether a text holds a word.
    groups : gold categories; None where the corpus has none.
    counts : (n, V) bags of words of the training part.
    frequency : (V,) number of training texts that hold a word.
    words : the vocabulary.
    """

    ids: Mapping[str, list[str]]
    image: Mapping[str, np.ndarray]
    text: Mapping[str, np.ndarray]
    present: Mapping[str, np.ndarray]
    groups: Mapping[str, Sequence[str]] | None
    counts: csr_matrix
    frequency: np.ndarray
    words: tuple[str, ...]


def material(data: Prepared) -> Material:
    """The arrays of a prepared corpus."""
    pairs = {part: data.pairs(part) for part in PARTS}
    present = {part: pairs[part].counts.toarray() > 0 for part in PARTS}
    groups = {part: data.groups(part) for part in PARTS}
    return Material(
        ids={part: data.ids(part) for part in PARTS},
        image={part: pairs[part].image for part in PARTS},
        text={part: pairs[part].text for part in PARTS},
        present=present,
        groups=None if data.corpus.groups is None else groups,
        counts=pairs["train"].counts,
        frequency=present["train"].sum(axis=0),
        words=data.vocabulary.words,
    )


def measure_topics(given: Material, theta: Mapping[str, np.ndarray], topic_word: np.ndarray) -> Measured:
    """Everything that topics of pictures can be asked: theta of each part (n, K), topic_word (K, V).

    Returns
    -------
    figures, items, keywords : as `vtm_study.tags.study.TagRun`
    """
    figures, items = measure_features(given, theta)
    if given.groups is not None:
        items |= measure_partition(given, theta["test"].argmax(axis=1))
    scores = {part: theta[part] @ topic_word for part in ("validation", "test")}
    hits, hit_items, keywords = measure_words(given, scores)
    first = min(TOPS[0], len(given.words))
    order = relevance(as_shares(topic_word), as_shares(theta["train"]).mean(axis=0))
    words = words_of_topics(theta["test"], order, first, largest=LARGEST)
    hit_items["largest"] = hit_rate(words, given.present["test"]).tolist()
    topics = top_words(topic_word, given.words, first)
    figures |= {
        "npmi": float(npmi(topics, given.counts, given.words, top=first).mean()),
        "diversity": float(topic_diversity(topics, top=first)),
    }
    return figures | hits, items | hit_items, keywords


def measure_features(
    given: Material, features: Mapping[str, np.ndarray]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Categories told from features by a linear classifier and by the nearest training pictures."""
    if given.groups is None:
        return {}, {}
    figures, items = {}, {}
    for name, probe in (("linear", linear_probe), ("neighbours", neighbour_probe)):
        found = probe(features, given.groups)
        figures |= {f"validation_{name}": found.validation, f"{name}_setting": found.setting}
        figures["converged"] = min(figures.get("converged", 1.0), float(found.converged))
        items[name] = found.correct.tolist()
    return figures, items


def measure_partition(given: Material, assignment: np.ndarray) -> dict[str, list[float]]:
    """NMI and purity of clusters of the test pictures, whole and without each picture, and their AMI."""
    from sklearn.metrics import adjusted_mutual_info_score

    assert given.groups is not None
    groups = given.groups["test"]
    found = {name: values.tolist() for name, values in partition_figures(assignment, groups).items()}
    return found | {"ami": [float(adjusted_mutual_info_score(groups, assignment))]}


def measure_words(given: Material, scores: Mapping[str, np.ndarray]) -> Measured:
    """Keywords by the score of each word, "validation" and "test" -> (n, V)."""
    found = {
        part: best_words(scores[part], max(TOPS), frequency=given.frequency)
        for part in ("validation", "test")
    }
    items = {
        f"mixture_{top}": hit_rate(found["test"][:, :top], given.present["test"]).tolist() for top in TOPS
    }
    first = TOPS[0]
    validation = hit_rate(found["validation"][:, :first], given.present["validation"]).mean()
    keywords = [[given.words[column] for column in row] for row in found["test"][:, :first]]
    return {f"validation_hit_{first}": float(validation)}, items, keywords


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
    found = neighbour_words(given.image["validation"], given.image["train"], given.present["train"], SIZES)
    size = max(SIZES, key=lambda size: _hits(given, found[size]))
    test = neighbour_words(given.image["test"], given.image["train"], given.present["train"], (size,))
    figures, items, keywords = measure_words(given, {"validation": found[size], "test": test[size]})
    return TagRun(NEIGHBOURS, 0, 0, figures | {"pictures": float(size)}, items, keywords)


def _linear(given: Material) -> TagRun:
    """Ridge regression from a picture's embedding to the words of its text, with no topics between."""
    ridge = fit_ridge(
        given.image["train"],
        given.present["train"],
        given.image["validation"],
        lambda scores: _hits(given, scores),
    )
    scores = {part: ridge.predict(given.image[part]) for part in ("validation", "test")}
    figures, items, keywords = measure_words(given, scores)
    return TagRun(LINEAR, 0, 0, figures | {"alpha": ridge[-1].alpha}, items, keywords)


def _hits(given: Material, scores: np.ndarray) -> float:
    """The share of validation texts' best words, by scores (n, V), that the texts hold."""
    words = best_words(scores, TOPS[0], frequency=given.frequency)
    return float(hit_rate(words, given.present["validation"]).mean())


def _own(given: Material) -> TagRun:
    """The most that can be hit: most texts hold fewer words than there are keywords."""
    scores = {part: given.present[part].astype(np.float64) for part in ("validation", "test")}
    return TagRun(OWN, 0, 0, *measure_words(given, scores))


def tag_study(
    data: Prepared, results: Sequence[Result], *, extras: bool = True, progress: bool = True
) -> TagStudy:
    """Measure the tags of the models' runs, of peers and of references; read back what is stored and current.

    Topics of pictures are held against gold categories, their keywords against the pictures' own texts. Settings are
    chosen on the validation part; the test part is read once, by what was chosen.

    Each measurement is a file in the runs folder, so that a study that was interrupted goes on where it was.

    Parameters
    ----------
    results : of `vtm.run_models`, trained on `data`; those of the baseline are passed over.
    extras : whether BERTopic and turftopic are fitted, where they are installed. What is stored of them is read back
        where they are not.
    """
    from threadpoolctl import threadpool_limits
    from tqdm import tqdm

    study = _Study(data)
    models, unhealthy = healthy_models(results)
    experiment = data.experiment
    tasks: list[Task] = [
        *references(study.given, experiment.n_topics, experiment.seeds),
        *(study.of_model(run) for run in models),
        *(
            study.of_peer(name, k, seed)
            for name in TEXT_PEERS
            for k in experiment.n_topics
            for seed in experiment.seeds
        ),
    ]
    # The matrices are small: threads that wait for each other take ten times as long as one.
    with threadpool_limits(limits=1):
        bar = tqdm(tasks, desc="tags", unit="run", disable=None if progress else True)
        runs = [study.run(task) for task in bar]
        peers = []
        for name in EXTRA_PEERS if extras else ():
            found, status = study.extra(name)
            runs += found
            peers.append(status)
    given = study.given
    return TagStudy(
        ids=given.ids["test"],
        groups=None if given.groups is None else list(given.groups["test"]),
        n_train=len(given.ids["train"]),
        n_validation=len(given.ids["validation"]),
        n_words=len(given.words),
        n_new_groups=_n_new(given),
        n_named=0
        if given.groups is None
        else int(names_category(data.texts("test"), given.groups["test"]).sum()),
        n_wordless=int((~given.present["test"].any(axis=1)).sum()),
        runs=tuple(runs),
        peers=tuple(peers),
        unhealthy=unhealthy,
    )


class _Study:
    """What all measurements of one corpus share."""

    def __init__(self, data: Prepared) -> None:
        self.data, self.given = data, material(data)
        self.folder = run_folder(data) / "tags"
        self.key = hash_json([data.fingerprint(), code_hash(__name__, without=BY_CONTENT)])

    def run(self, task: Task) -> TagRun:
        name, k, seed, measure = task
        if name in KINDS:  # their folder is named by the model's settings
            folder = model_folder(self.data, name, k).name
        else:
            words = "-".join(name.lower().replace("'", "").split())
            folder = f"{words}-{k}" if k else words
        return stored(
            self.folder / folder / f"seed-{seed}.json", hash_json([self.key, folder, seed]), measure
        )

    def of_model(self, result: Result) -> Task:
        def measure() -> TagRun:
            from vtm.model.topicmodel import TopicModel

            folder = model_folder(self.data, result.row, result.n_topics) / f"seed-{result.seed}"
            model = TopicModel.load(folder / "image")
            theta = {part: model.theta(self.given.image[part]) for part in PARTS}
            figures, items, keywords = measure_topics(self.given, theta, model.topic_word())
            items["matched"] = per_item(result.ranks("validation"))["mrr_100"].tolist()
            figures["validation_matched"] = float(np.mean(items["matched"]))
            return TagRun(result.row, result.n_topics, result.seed, figures, items, keywords)

        return result.row, result.n_topics, result.seed, measure

    def of_peer(self, name: str, k: int, seed: int) -> Task:
        return name, k, seed, lambda: self.measure_peer(name, k, seed)

    def measure_peer(self, name: str, k: int, seed: int) -> TagRun:
        given, ids = self.given, self.given.ids["validation"]
        if name in EXTRA_PEERS:
            peer = fit_extra(name, self.data, n_topics=k, seed=seed)
        else:
            pairs = {part: self.data.pairs(part) for part in PARTS}
            peer = text_peer(name, pairs, ids, given.words, n_topics=k, seed=seed)
        figures, items, keywords = measure_topics(given, peer.image, peer.topic_word)
        figures["converged"] = min(figures.get("converged", 1.0), float(peer.converged))
        figures |= {**peer.settings, "seconds": peer.seconds}
        matched = reciprocal(peer.text["validation"], peer.image["validation"], ids, measure="cosine")
        items["matched"] = matched.tolist()
        figures["validation_matched"] = float(matched.mean())
        return TagRun(name, k, seed, figures, items, keywords, installed_version(name) or "")

    def extra(self, name: str) -> tuple[list[TagRun], PeerStatus]:
        """Runs of an extra peer. Whatever goes wrong in it, the study goes on and says what it was."""
        experiment, runs = self.data.experiment, []
        try:
            for k in experiment.n_topics:
                for seed in experiment.seeds:
                    runs.append(self.run(self.of_peer(name, k, seed)))
        except MissingError as error:
            return runs, PeerStatus(name, False, "", str(error))
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            return runs, PeerStatus(name, False, installed_version(name) or "", reason)
        return runs, PeerStatus(name, True, runs[0].version, "")


def _n_new(given: Material) -> int:
    if given.groups is None:
        return 0
    known = set(given.groups["train"])
    return sum(group not in known for group in given.groups["test"])
