"""VTM+: topics as places in a space that texts and pictures share, words as what stands there.

The space is found in closed form, by canonical correlations with ridges. A topic is a direction e_k of it, found by
spherical k-means among training pairs. A pair at place p_i has the topics p(k | i) ~ exp(a * p_i . e_k), the posterior
of a mixture of von Mises-Fisher distributions (Banerjee et al. 2005). A document at place z, found by one linear map
from its text or from its picture alone, has the topics of the pairs around it: theta_k = sum_i p(i | z) p(k | i) with
p(i | z) ~ exp(b * z . p_i), kernel regression on a sphere (Nadaraya 1964; Watson 1964). Both modalities thus have one
theta, and a topic has one list of words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import numpy_generator
from vtm.errors import ConfigError, DataError, counted
from vtm.metrics.topics import relevance, top_words, topic_word_counts

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Rows read at once: memory does not grow with the number of pairs.
BLOCK = 4096
# Pairs a topic among which clusters are found, as many as faiss takes.
SAMPLE = 256
# A topic is the same as before where its shares in the pictures are alike by this cosine.
SAME_TOPIC = 0.7
# Share of the earlier pairs that lie farther from every topic than a limit; of new ones like them, as many do.
UNLIKE = 0.05
OWN_ARRAYS = ("prototypes", "anchors", "topic_word", "topic_share")


@dataclass(frozen=True)
class SharedSpace:
    """Linear maps of both embeddings into one space.

    Parameters
    ----------
    means, scales : "text" and "image" -> (D,) of the training part.
    maps : "text" (D, d) and "image" (E, d).
    correlations : (d,) canonical correlations, falling; the maps are multiplied by them.
    """

    means: dict[str, np.ndarray]
    scales: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
    correlations: np.ndarray

    def embed(self, reads: str, x: np.ndarray) -> np.ndarray:
        """Embeddings of "text" or "image" (n, D) in the shared space: (n, d), of length 1."""
        if x.ndim != 2 or x.shape[1] != len(self.means[reads]):
            raise DataError(
                f"{reads} embeddings of shape {x.shape}: {len(self.means[reads])} columns are needed"
            )
        return unit((x - self.means[reads]) / self.scales[reads] @ self.maps[reads])


def fit_space(
    text: np.ndarray,
    image: np.ndarray,
    *,
    ridge: float,
    image_ridge: float | None = None,
    dims: int | None = None,
) -> SharedSpace:
    """Regularised canonical correlation analysis (Vinod 1976) of standardised embeddings.

    With the covariances S, U diag(rho) V' = (S_tt + ridge)^(-1/2) S_ti (S_ii + ridge)^(-1/2), the maps are
    (S_tt + ridge)^(-1/2) U diag(rho) and (S_ii + ridge)^(-1/2) V diag(rho): directions weigh as much as they correlate.
    The embeddings are read once, block by block.

    Parameters
    ----------
    text, image : (n, D), (n, E) embeddings of the training pairs, row by row.
    ridge : added to the variance of each standardised dimension of texts, and of pictures; above 0.
    image_ridge : that of pictures, where it is another one.
    dims : directions kept, those that correlate most; by default all.

    Raises
    ------
    ConfigError, DataError
        A ridge that is not above 0, dims below 1; different numbers of texts and images.
    """
    ridges = {"text": ridge, "image": ridge if image_ridge is None else image_ridge}
    if bad := [value for value in ridges.values() if not value > 0]:
        raise ConfigError(f"ridge={bad[0]}: must be above 0")
    if dims is not None and dims < 1:
        raise ConfigError(f"dims={dims}: must be at least 1")
    if len(text) != len(image) or len(text) < 2:
        raise DataError(
            f"{counted(len(text), 'text')} and {counted(len(image), 'image')}: at least two pairs are needed"
        )
    mean, covariance = _moments(text, image)
    parts = {"text": slice(0, text.shape[1]), "image": slice(text.shape[1], None)}
    scale = np.sqrt(np.maximum(np.diagonal(covariance), 0)) + 1e-6
    covariance = covariance / np.outer(scale, scale)
    roots = {}
    for reads, own in parts.items():
        values, vectors = np.linalg.eigh(covariance[own, own])
        roots[reads] = vectors / np.sqrt(np.maximum(values, 0) + ridges[reads]) @ vectors.T
    cross = roots["text"] @ covariance[parts["text"], parts["image"]] @ roots["image"]
    left, correlations, right = np.linalg.svd(cross, full_matrices=False)
    left, correlations, right = left[:, :dims], correlations[:dims], right[:dims]
    return SharedSpace(
        means={reads: mean[own] for reads, own in parts.items()},
        scales={reads: scale[own] for reads, own in parts.items()},
        maps={"text": roots["text"] @ left * correlations, "image": roots["image"] @ right.T * correlations},
        correlations=correlations,
    )


def _moments(text: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the pairs' embeddings side by side: (D + E,), (D + E, D + E), in one pass."""
    origin = np.concatenate([x[:BLOCK].mean(axis=0, dtype=np.float64) for x in (text, image)])
    total, products = 0.0, 0.0
    for rows in _blocks(len(text)):
        # Squares are taken about a point among the rows: about 0 they would lose what the rows differ by.
        x = np.concatenate([text[rows], image[rows]], axis=1, dtype=np.float64) - origin
        total, products = total + x.sum(axis=0), products + x.T @ x
    shift = total / len(text)
    return origin + shift, products / len(text) - np.outer(shift, shift)


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class PlusConfig:
    """VTM+'s settings; the defaults were chosen on validation parts (results/study/plus-validation.json).

    Parameters
    ----------
    n_topics : K of each member.
    members : models that differ in their seed alone and whose topics stand side by side.
    ridge, image_ridge : of the shared space, for texts and for pictures (see `fit_space`).
    dims : directions of the shared space.
    image_weight : weight of a pair's picture, its text's being 1, where topics are found and where pairs stand.
    concentration : of documents about pairs, b above.
    pair_concentration : of pairs about topics, a above; words are counted for topics by it, too.
    prototypes : pairs that a model keeps for documents to be compared with; of more, so many are drawn.
    smoothing : words of the corpus as a whole that are added to each topic's, so that none is impossible in a topic.
    kept : largest topics that a document is counted for, and that matches are explained by.
    relevance : weight by which topics' words are ordered (`vtm.metrics.topics.relevance`).
    iterations : of k-means.
    """

    n_topics: int = 120
    members: int = 1
    ridge: float = 1.0
    image_ridge: float = 0.2
    dims: int = 150
    image_weight: float = 0.7
    concentration: float = 20.0
    pair_concentration: float = 14.0
    prototypes: int = 4000
    smoothing: float = 5.0
    kept: int = 10
    relevance: float = 0.8
    iterations: int = 20

    def __post_init__(self) -> None:
        for name in ("n_topics", "members", "prototypes", "kept", "iterations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")


@dataclass(frozen=True)
class PlusModel:
    """A trained VTM+.

    Parameters
    ----------
    prototypes : (P, d) places of training pairs, of length 1.
    anchors : (M, K, d) directions of the topics of M members, of length 1.
    topic_word : (M, K, V) p(word | topic).
    topic_share : (M, K) p(topic) over the training pairs.
    """

    config: PlusConfig
    space: SharedSpace
    prototypes: np.ndarray
    anchors: np.ndarray
    topic_word: np.ndarray
    topic_share: np.ndarray

    @cached_property
    def prototype_topics(self) -> np.ndarray:
        """p(topic | prototype) of all members side by side, each row's sum 1: (P, M * K)."""
        members = [_topics_of(self.prototypes, anchors, self.config) for anchors in self.anchors]
        return np.concatenate(members, axis=1) / len(members)

    @cached_property
    def _compared(self) -> tuple[np.ndarray, np.ndarray]:
        """What documents are compared with: the places of the prototypes (d, P), and their topics (P, M * K)."""
        # In float32: it takes half the time, and moves theta by some 1e-6.
        return self.prototypes.T.astype(np.float32, order="C"), self.prototype_topics.astype(np.float32)

    def theta(self, reads: str, x: np.ndarray) -> np.ndarray:
        """Topic distributions of "text" or "image" embeddings (n, D), members side by side: (n, M * K)."""
        theta = np.empty((len(x), self.topic_share.size))
        for rows in _blocks(len(x)):
            theta[rows] = self.theta_at(self.space.embed(reads, x[rows]))
        return theta

    def near_at(self, place: np.ndarray) -> np.ndarray:
        """How near documents at (n, d) in the shared space, some thousand at most, are to prototypes: (n, P) float32."""
        near = place.astype(np.float32) @ self._compared[0]
        near -= near.max(axis=1, keepdims=True)
        near *= self.config.concentration
        return np.exp(near, out=near)

    def theta_at(self, place: np.ndarray) -> np.ndarray:
        """Topic distributions of documents at (n, d) in the shared space, some thousand at most: (n, M * K) float32."""
        theta = self.near_at(place) @ self._compared[1]
        # Not by the sum of near: what the product rounds by is in both.
        theta /= theta.sum(axis=1, keepdims=True)
        return theta

    def nearest(self, text: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The topic of the first member that each pair (n, D), (n, E) is nearest to, and the cosine to it: (n,) each."""
        topics, cosines = np.empty(len(text), dtype=np.int64), np.empty(len(text))
        for rows in _blocks(len(text)):
            near = (
                pair_places(self.space, text[rows], image[rows], self.config.image_weight)[0]
                @ self.anchors[0].T
            )
            topics[rows], cosines[rows] = near.argmax(axis=1), near.max(axis=1)
        return topics, cosines

    def words(self, theta: np.ndarray) -> np.ndarray:
        """Each document's distribution over words, theta (n, M * K) -> (n, V)."""
        return theta @ self.topic_word.reshape(-1, self.topic_word.shape[2])

    def topics(self, vocabulary: Sequence[str], top: int = 10) -> list[list[str]]:
        """Keywords of each topic, best first; member by member."""
        found = []
        for words, share in zip(self.topic_word, self.topic_share, strict=True):
            found += top_words(relevance(words, share, weight=self.config.relevance), vocabulary, top)
        return found


def fit_plus(
    text: np.ndarray,
    image: np.ndarray,
    counts: csr_matrix,
    *,
    config: PlusConfig = PlusConfig(),
    seed: int = 0,
    start: np.ndarray | None = None,
) -> PlusModel:
    """Find topics of training pairs: text (n, D), image (n, E) embeddings and counts (n, V), row by row.

    Parameters
    ----------
    start : (n,) the topic that each pair is of at first, as `grown_topics` has it; by default pairs are drawn for that.

    Raises
    ------
    ConfigError, DataError
        More topics than pairs; different numbers of documents.
    """
    if not len(text) == len(image) == counts.shape[0]:
        raise DataError(
            f"{counted(len(text), 'text')}, {counted(len(image), 'image')}, {counted(counts.shape[0], 'bag', 'bags')} of words"
        )
    if config.n_topics > len(text):
        raise ConfigError(f"n_topics={config.n_topics}: more than the {counted(len(text), 'pair')}")
    space = fit_space(text, image, ridge=config.ridge, image_ridge=config.image_ridge, dims=config.dims)
    kept = _drawn(len(text), config.prototypes, numpy_generator(seed, "VTM+ prototypes"))
    prototypes, _ = pair_places(space, text[kept], image[kept], config.image_weight)
    members = [
        _fit_member(space, text, image, counts, config, numpy_generator(seed, f"VTM+ member {member}"), start)
        for member in range(config.members)
    ]
    anchors, topic_word, topic_share = (np.stack(parts) for parts in zip(*members, strict=True))
    return PlusModel(config, space, prototypes, anchors, topic_word, topic_share)


def _fit_member(
    space: SharedSpace,
    text: np.ndarray,
    image: np.ndarray,
    counts: csr_matrix,
    config: PlusConfig,
    draws: np.random.Generator,
    start: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Anchors (K, d), topic_word (K, V) and topic_share (K,) of one member, from the clusters `start` (n,)."""
    n, k, weight = len(text), config.n_topics, config.image_weight
    # Clusters are found among so many pairs a topic; all pairs then say where each topic lies and what it speaks of.
    sample = _drawn(n, SAMPLE * k, draws)
    joint = pair_places(space, text[sample], image[sample], weight)[1]
    begun = None if start is None else start[sample]
    _, centres = spherical_kmeans(joint, k, draws=draws, iterations=config.iterations, start=begun)
    anchors = np.zeros((k, len(space.correlations)))
    for rows in _blocks(n):
        place, joint = pair_places(space, text[rows], image[rows], weight)
        anchors += _memberships((joint @ centres.T).argmax(axis=1), k) @ place
    anchors = unit(anchors)
    words, share = np.zeros((k, counts.shape[1])), np.zeros(k)
    for rows in _blocks(n):
        place, _ = pair_places(space, text[rows], image[rows], weight)
        largest = cut(_topics_of(place, anchors, config), config.kept)
        words += topic_word_counts(largest, counts[rows])
        share += largest.sum(axis=0)
    overall = np.asarray(counts.sum(axis=0), dtype=np.float64).ravel() + 1
    words += config.smoothing * overall / overall.sum()
    return anchors, words / words.sum(axis=1, keepdims=True), share / n


def pair_places(
    space: SharedSpace, text: np.ndarray, image: np.ndarray, image_weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where pairs stand, between text and picture (n, d), and both side by side (n, 2 d) float32; of length 1."""
    own, other = space.embed("text", text), image_weight * space.embed("image", image)
    return unit(own + other), unit(np.hstack([own, other])).astype(np.float32)


def _topics_of(place: np.ndarray, anchors: np.ndarray, config: PlusConfig) -> np.ndarray:
    """p(topic | pair) of pairs at (n, d) among topics at (K, d): (n, K)."""
    return _softmax(config.pair_concentration * place @ anchors.T)


def _softmax(x: np.ndarray) -> np.ndarray:
    """The softmax of each row, written over x: arrays of this size take longer to get than to fill."""
    x -= x.max(axis=1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=1, keepdims=True)
    return x


def _drawn(n: int, most: int, draws: np.random.Generator) -> np.ndarray:
    """`most` of n rows, in order; all where there are fewer."""
    return np.arange(n) if n <= most else np.sort(draws.choice(n, most, replace=False))


def weighted_words(counts: csr_matrix) -> np.ndarray:
    """Words that occur, weighted by inverse document frequency, rows of length 1: (n, V)."""
    seen = np.asarray((counts > 0).todense(), dtype=np.float64)
    return unit(seen * np.log(len(seen) / (1 + seen.sum(axis=0))))


def spherical_kmeans(
    x: np.ndarray,
    n_clusters: int,
    *,
    draws: np.random.Generator,
    iterations: int = 20,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster rows of length 1 by cosine (Dhillon and Modha 2001), from k-means++ seeds.

    Parameters
    ----------
    start : (n,) the cluster that each row begins in, in place of seeds.

    Returns
    -------
    nearest, centres : cluster of each row (n,), none of them empty, and each cluster's mean at length 1 (K, d).
    """
    if start is None:
        centres = x[_spread_seeds(x, n_clusters, draws)]
    else:
        centres = unit(_memberships(start, n_clusters) @ x).astype(x.dtype)
    nearest = np.full(len(x), -1)
    for _ in range(iterations):
        before, nearest = nearest, (x @ centres.T).argmax(axis=1)
        empty = np.setdiff1d(np.arange(n_clusters), nearest)
        if len(empty):  # a cluster that lost all its rows takes those that fit theirs worst, from larger ones
            fit = (x * centres[nearest]).sum(axis=1)
            alone = np.bincount(nearest, minlength=n_clusters)[nearest] == 1
            nearest[np.argsort(np.where(alone, np.inf, fit), kind="stable")[: len(empty)]] = empty
        if np.array_equal(before, nearest):
            break
        centres = unit(_memberships(nearest, n_clusters) @ x).astype(x.dtype)
    return nearest, centres


def _memberships(cluster: np.ndarray, n_clusters: int) -> csr_matrix:
    """(K, n) with a one where a row is of a cluster: its product with rows is each cluster's sum."""
    from scipy.sparse import csr_matrix

    n = len(cluster)
    return csr_matrix((np.ones(n, dtype=np.float32), (cluster, np.arange(n))), shape=(n_clusters, n))


def _spread_seeds(x: np.ndarray, n_clusters: int, draws: np.random.Generator) -> list[int]:
    """Rows drawn one after the other, each with the chance of its distance to the nearest drawn one."""
    chosen = [int(draws.integers(len(x)))]
    distance = 1 - x @ x[chosen[0]]
    for _ in range(n_clusters - 1):
        chance = np.clip(distance, 0, None)
        chance[chosen] = 0
        total = chance.sum()
        if total > 0:
            row = int(draws.choice(len(x), p=chance / total))
        else:
            row = int(draws.choice(np.setdiff1d(np.arange(len(x)), chosen)))
        chosen.append(row)
        distance = np.minimum(distance, 1 - x @ x[row])
    return chosen


@dataclass(frozen=True)
class Growth:
    """What new pairs changed in the topics of a model.

    Parameters
    ----------
    similarity : (K,) cosine of each topic's shares in the pictures, now and before; NaN of a topic that there was not.
    moved : share of the pictures that have another largest topic than before.
    n_new : new pairs that are used.
    unlike : share of them that lie farther from every topic of before than 95 % of the earlier pairs do; NaN without any.
    """

    similarity: np.ndarray
    moved: float
    n_new: int
    unlike: float

    @classmethod
    def between(cls, before: np.ndarray, now: np.ndarray, *, n_new: int, unlike: float) -> Growth:
        """By the topics of n pictures before (n, K) and now (n, K or more), topic k being topic k."""
        k = before.shape[1]
        cosines = np.einsum("ij,ij->j", before, now[:, :k], dtype=np.float64)
        cosines /= np.maximum(np.linalg.norm(before, axis=0) * np.linalg.norm(now[:, :k], axis=0), 1e-12)
        moved = float((before.argmax(axis=1) != now.argmax(axis=1)).mean())
        return cls(np.append(cosines, np.full(now.shape[1] - k, np.nan)), moved, n_new, unlike)

    @property
    def new(self) -> tuple[int, ...]:
        """Numbers of the topics that there were not."""
        return tuple(np.flatnonzero(np.isnan(self.similarity)).tolist())

    @property
    def changed(self) -> tuple[int, ...]:
        """Numbers of the topics that are no longer what they were: alike by less than `SAME_TOPIC`."""
        return tuple(np.flatnonzero(self.similarity < SAME_TOPIC).tolist())

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of all others."""
        return tuple(np.flatnonzero(self.similarity >= SAME_TOPIC).tolist())


def grown_topics(
    model: PlusModel,
    text: np.ndarray,
    image: np.ndarray,
    is_new: np.ndarray,
    *,
    n_added: int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, int, float]:
    """Topics to begin with when new pairs join: those of a model, and then some for new pairs that are unlike these.

    A pair is unlike where it lies farther from every topic than 95 % of the earlier pairs. As many topics are added as
    the pairs beyond the 5 % that are to be expected would fill, by the number of earlier pairs a topic. So pairs drawn
    like the earlier ones add none: on Open Clip Art, 9 % of a random tenth are unlike, which gives no topic. Of the 324
    pairs on flags, when the 40 topics of before knew no flag, 53 % are, which gives 5 topics, all on flags.

    Parameters
    ----------
    text, image : (n, D), (n, E) embeddings of all pairs.
    is_new : (n,) bool
    n_added : how many topics are added, whatever the pairs are like.

    Returns
    -------
    start : (n,) each pair's topic.
    n_topics : how many there are.
    unlike : share of the new pairs that are unlike; NaN without any.

    Raises
    ------
    ConfigError
        More added topics than new pairs.
    """
    topics, cosines = model.nearest(text, image)
    n_topics, new = model.topic_share.shape[1], np.flatnonzero(is_new)
    if n_added is not None and n_added > len(new):
        raise ConfigError(
            f"new_topics={n_added}: only {counted(len(new), 'new pair is', 'new pairs are')} there"
        )
    if not len(new) or len(new) == len(topics):
        return topics, n_topics, float("nan")
    far = new[np.argsort(cosines[new], kind="stable")]
    n_unlike = int((cosines[new] < np.quantile(cosines[~is_new], UNLIKE)).sum())
    if n_added is None:
        n_added = max(0, round((n_unlike - UNLIKE * len(new)) * n_topics / (len(topics) - len(new))))
    if n_added:
        some = np.sort(far[: max(n_unlike, n_added)])
        places = pair_places(model.space, text[some], image[some], model.config.image_weight)[1]
        draws = numpy_generator(seed, "VTM+ new topics")
        topics[some] = n_topics + spherical_kmeans(places, n_added, draws=draws)[0]
    return topics, n_topics + n_added, n_unlike / len(new)


def cut(theta: np.ndarray, k: int) -> np.ndarray:
    """Each document's k largest topics, scaled to sum 1, others 0; of equal topics the first ones stay: (n, K).

    Raises
    ------
    ConfigError
        k below 1.
    """
    if k < 1:
        raise ConfigError(f"k={k}: at least one topic must stay")
    largest = np.argsort(-theta, axis=1, kind="stable")[:, :k]
    kept = np.zeros_like(theta)
    np.put_along_axis(kept, largest, np.take_along_axis(theta, largest, axis=1), axis=1)
    return kept / kept.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class PlusSide:
    """What VTM+ makes of "text" or of "image", read as a `vtm.model.topicmodel.TopicModel` is."""

    model: PlusModel
    vocabulary: tuple[str, ...]
    reads: str

    @property
    def n_topics(self) -> int:
        """K, of all members together."""
        return self.model.topic_share.size

    @property
    def n_inputs(self) -> int:
        """Dimensions of an embedding."""
        return len(self.model.space.means[self.reads])

    def theta(self, x: np.ndarray) -> np.ndarray:
        """Topic distributions of embeddings (n, D): (n, K) float32, rows sum to 1."""
        theta = np.empty((len(x), self.n_topics), dtype=np.float32)
        for rows in _blocks(len(x)):
            theta[rows] = self.model.theta(self.reads, np.asarray(x[rows]))
        return theta

    def topic_word(self) -> np.ndarray:
        """p(word | topic), (K, V) float32: the same for both sides."""
        return self.model.topic_word.reshape(-1, len(self.vocabulary)).astype(np.float32)

    def topics(self, top: int = 10) -> list[list[str]]:
        """The `top` most probable words of each topic, best first; ties by the word."""
        return top_words(self.topic_word(), self.vocabulary, top)


def space_arrays(space: SharedSpace) -> dict[str, np.ndarray]:
    """The arrays of a space by name: what `space_of_arrays` takes."""
    arrays = {"correlations": space.correlations}
    for name in ("means", "scales", "maps"):
        arrays |= {f"{name}/{reads}": array for reads, array in getattr(space, name).items()}
    return arrays


def space_of_arrays(arrays: Mapping[str, np.ndarray]) -> SharedSpace:
    """The space that `space_arrays` took apart.

    Raises
    ------
    LookupError, ValueError
        An array is missing, or of another shape than the others ask for.
    """
    correlations = arrays["correlations"]
    parts = {
        name: {reads: arrays[f"{name}/{reads}"] for reads in ("text", "image")}
        for name in ("means", "scales", "maps")
    }
    for reads, maps in parts["maps"].items():
        expected = (len(maps),), (len(maps),), (len(maps), len(correlations))
        found = tuple(part[reads].shape for part in parts.values())
        if found != expected:
            raise ValueError(f"the space's {reads} arrays are of shapes {found}, not {expected}")
    return SharedSpace(**parts, correlations=correlations)


def plus_arrays(model: PlusModel) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a model by name, and all else as JSON can hold it: what `plus_of_arrays` takes."""
    own = {name: getattr(model, name) for name in OWN_ARRAYS}
    return own | space_arrays(model.space), asdict(model.config)


def plus_of_arrays(arrays: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> PlusModel:
    """The model that `plus_arrays` took apart.

    Raises
    ------
    LookupError, TypeError, ValueError
        Something is missing, or arrays of shapes that do not fit together.
    """
    space = space_of_arrays(arrays)
    prototypes, anchors, topic_word, topic_share = (arrays[name] for name in OWN_ARRAYS)
    sizes = {anchors.shape[:2], topic_word.shape[:2], topic_share.shape}
    widths = {anchors.shape[2:], prototypes.shape[1:], space.correlations.shape}
    if len(sizes) != 1 or topic_word.ndim != 3 or len(widths) != 1:
        raise ValueError(
            f"anchors of shape {anchors.shape}, prototypes of {prototypes.shape}, words of {topic_word.shape} and "
            f"shares of {topic_share.shape} are of different topics"
        )
    return PlusModel(PlusConfig(**config), space, prototypes, anchors, topic_word, topic_share)
