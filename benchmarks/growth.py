"""How cost grows with the number of documents, on drawn documents whose topics are known."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import ModelConfig, numpy_generator
from vtm_study.machine import MemoryWatch, peak_memory

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from vtm.model.plus import PlusModel


BLOCK = 20_000
WORDS_A_TEXT = 12


@dataclass(frozen=True)
class Drawn:
    """Documents drawn from known topics.

    Attributes
    ----------
    x : (n, D) float32, linear in theta, with noise.
    counts : (n, V) sparse bags of words.
    theta : (n, K) float32, what the documents were drawn from.
    beta : (K, V) the topics' word distributions.
    """

    x: np.ndarray
    counts: csr_matrix
    theta: np.ndarray
    beta: np.ndarray


def draw_documents(
    folder: Path | None,
    n: int,
    *,
    n_topics: int = 20,
    n_words: int = 1000,
    n_inputs: int = 128,
    seed: int = 0,
) -> Drawn:
    """Draw documents block by block; embeddings and theta go to files in `folder`, if one is given, and are mapped.

    A document of fewer than all documents is the same whatever `n` is, up to its block.
    """
    from scipy.sparse import csr_matrix, vstack

    random = numpy_generator(seed, "topics of drawn documents")
    beta = random.dirichlet(np.full(n_words, 0.05), size=n_topics)
    maps = random.normal(size=(n_topics, n_inputs))
    cumulative = np.cumsum(beta, axis=1)
    cumulative[:, -1] = 1.0

    def empty(name: str, width: int) -> np.ndarray:
        options = {"dtype": np.float32, "shape": (n, width)}
        if folder is None:
            return np.empty(**options)
        return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", **options)

    x, theta = empty("x", n_inputs), empty("theta", n_topics)
    blocks = []
    for start in range(0, n, BLOCK):
        random = numpy_generator(seed, f"drawn documents from {start}")
        size = min(BLOCK, n - start)
        shares = random.dirichlet(np.full(n_topics, 0.1), size=BLOCK)[:size]
        noise = random.normal(size=(BLOCK, n_inputs))[:size]
        x[start : start + size] = shares @ maps + 0.1 * noise
        theta[start : start + size] = shares
        # A word: its topic by the document's shares, then itself by the topic's words.
        places = random.random((2, BLOCK, WORDS_A_TEXT))[:, :size]
        topics = (places[0][:, :, None] > np.cumsum(shares, axis=1)[:, None, :]).sum(axis=2)
        topics = np.minimum(topics, n_topics - 1)
        words = np.empty_like(topics)
        for k in range(n_topics):
            of_topic = topics == k
            words[of_topic] = np.searchsorted(cumulative[k], places[1][of_topic])
        rows = np.repeat(np.arange(size), WORDS_A_TEXT)
        ones = np.ones(rows.size, dtype=np.float32)
        blocks.append(csr_matrix((ones, (rows, words.ravel())), shape=(size, n_words)))
    if folder is not None:
        x.flush(), theta.flush()
        x, theta = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("x", "theta"))
    return Drawn(x, vstack(blocks, format="csr"), theta, beta)


def recovery(found: np.ndarray, known: np.ndarray) -> float:
    """Mean cosine of known topics (K, V) and found ones (K', V), matched one to one for the largest sum.

    1 when every known topic was found; topics drawn at random reach about 0.1 here.
    """
    from scipy.optimize import linear_sum_assignment

    a = found / np.linalg.norm(found, axis=1, keepdims=True)
    b = known / np.linalg.norm(known, axis=1, keepdims=True)
    similarity = b @ a.T
    rows, columns = linear_sum_assignment(-similarity)
    return float(similarity[rows, columns].sum() / len(known))


def grow(
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000),
    *,
    steps: int = 30_000,
    n_topics: int = 20,
    seed: int = 0,
    folder: Path | None = None,
) -> list[dict[str, Any]]:
    """Train on growing numbers of documents with about the same number of steps.

    Each size is drawn in one process and trained in another, whose memory is then that of the training alone.

    Parameters
    ----------
    steps : gradient steps for each size, rounded up to whole epochs.
    folder : where the drawn documents lie meanwhile; a temporary one by default.

    Returns
    -------
    A dict for each size: documents, epochs, seconds_an_epoch, microseconds_a_document, memory (peak of the training
    process, in MiB, mapped pages included), anonymous, mapped (`vtm_study.machine.MemoryWatch`), embeddings (their size in
    MiB), recovery.

    Raises
    ------
    subprocess.CalledProcessError
        One of the processes failed; its `stderr` says why.
    """
    rows = []
    for n in sizes:
        with tempfile.TemporaryDirectory(dir=folder, prefix="vtm-growth-") as scratch:
            drawn = {"folder": scratch, "n": n, "n_topics": n_topics, "seed": seed}
            _apart("keep_drawn", **drawn)
            rows.append(_apart("train_on", **drawn, steps=steps))
    return rows


def keep_drawn(folder: Path | str, n: int, n_topics: int, seed: int, *, n_inputs: int = 128) -> None:
    """Draw documents into files of `folder`, from which `train_on` reads."""
    from scipy.sparse import save_npz

    folder = Path(folder)
    drawn = draw_documents(folder, n, n_topics=n_topics, n_inputs=n_inputs, seed=seed)
    save_npz(folder / "counts.npz", drawn.counts, compressed=False)
    np.save(folder / "beta.npy", drawn.beta)


def train_on(folder: Path | str, n: int, n_topics: int, seed: int, steps: int) -> dict[str, Any]:
    """Train on what `keep_drawn` left, and measure (`grow`): embeddings are mapped, bags of words are read."""
    from scipy.sparse import load_npz

    from vtm.model.training import train

    folder = Path(folder)
    config = ModelConfig(decoder="LDA", epochs=max(1, -(-steps * 64 // n)), kl_weight=1.0)
    with MemoryWatch() as watch:
        x, counts = np.load(folder / "x.npy", mmap_mode="r"), load_npz(folder / "counts.npz")
        started = time.perf_counter()
        network, _ = train(x, counts, n_topics=n_topics, config=config, seeds=[seed], device="cpu")
        seconds = (time.perf_counter() - started) / config.epochs
    found = network.topic_word_distribution()[0].detach().numpy()
    return {
        "documents": n,
        "epochs": config.epochs,
        "seconds_an_epoch": seconds,
        "microseconds_a_document": 1e6 * seconds / n,
        "memory": peak_memory(),
        "anonymous": watch.anonymous,
        "mapped": watch.mapped,
        "embeddings": x.nbytes / 2**20,
        "recovery": recovery(found, np.load(folder / "beta.npy")),
    }


def grow_plus(
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000),
    *,
    n_topics: int = 20,
    n_inputs: int = 384,
    compared: int = 100_000,
    seed: int = 0,
    folder: Path | None = None,
) -> list[dict[str, Any]]:
    """Fit VTM+ to growing numbers of pairs, whose embeddings lie in mapped files, as `grow` does with networks.

    Parameters
    ----------
    compared : the largest number of pairs for which k-means is also done with all pairs, and by others.

    Returns
    -------
    A dict for each size: documents, processor_seconds, microseconds_a_document (of the processor), anonymous, mapped,
    embeddings (MiB, of both sides), recovery; clusterings: name -> processor_seconds and, as the mean cosine of all pairs
    to their cluster's centre, fit: of ours, ours with all pairs, faiss and scikit-learn's MiniBatchKMeans, where these
    are installed.

    Raises
    ------
    subprocess.CalledProcessError
        One of the processes failed; its `stderr` says why.
    """
    rows = []
    for n in sizes:
        with tempfile.TemporaryDirectory(dir=folder, prefix="vtm-growth-") as scratch:
            drawn = {"folder": scratch, "n": n, "n_topics": n_topics, "n_inputs": n_inputs, "seed": seed}
            _apart("keep_pairs", **drawn)
            rows.append(_apart("fit_on", folder=scratch, n_topics=n_topics, seed=seed, compare=n <= compared))
    return rows


def keep_pairs(folder: Path | str, n: int, n_topics: int, n_inputs: int, seed: int) -> None:
    """Draw documents as `keep_drawn` does, and for each the embedding of a picture: linear in theta, with more noise."""
    folder = Path(folder)
    keep_drawn(folder, n, n_topics, seed, n_inputs=n_inputs)
    theta = np.load(folder / "theta.npy", mmap_mode="r")
    random = numpy_generator(seed, "pictures of drawn documents")
    maps = random.normal(size=(n_topics, n_inputs))
    image = np.lib.format.open_memmap(folder / "y.npy", mode="w+", dtype=np.float32, shape=(n, n_inputs))
    for start in range(0, n, BLOCK):
        shares = theta[start : start + BLOCK]
        image[start : start + BLOCK] = shares @ maps + 0.3 * random.normal(size=(len(shares), n_inputs))
    image.flush()


def fit_on(folder: Path | str, n_topics: int, seed: int, compare: bool) -> dict[str, Any]:
    """Fit VTM+ to what `keep_pairs` left, and measure (`grow_plus`)."""
    from scipy.sparse import load_npz

    from vtm.model.plus import PlusConfig, fit_plus

    folder, config = Path(folder), PlusConfig(n_topics=n_topics)
    with MemoryWatch() as watch:
        text, image = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in "xy")
        counts = load_npz(folder / "counts.npz")
        started = time.process_time()
        model = fit_plus(text, image, counts, config=config, seed=seed)
        seconds = time.process_time() - started
    return {
        "documents": len(text),
        "processor_seconds": seconds,
        "microseconds_a_document": 1e6 * seconds / len(text),
        "anonymous": watch.anonymous,
        "mapped": watch.mapped,
        "embeddings": (text.nbytes + image.nbytes) / 2**20,
        "recovery": recovery(model.topic_word[0], np.load(folder / "beta.npy")),
        "clusterings": _clusterings(model, text, image, seed) if compare else {},
    }


def _clusterings(model: PlusModel, text: np.ndarray, image: np.ndarray, seed: int) -> dict[str, Any]:
    """Ours among some pairs and among all, faiss' and scikit-learn's: of the same places, for as many rounds."""
    from vtm.model.plus import SAMPLE, pair_places, spherical_kmeans

    config, k = model.config, model.config.n_topics
    joint = pair_places(model.space, text, image, config.image_weight)[1]

    def ours(most: int) -> np.ndarray:
        draws = numpy_generator(seed, "VTM+ benchmark")
        rows = np.sort(draws.choice(len(joint), min(most, len(joint)), replace=False))
        return spherical_kmeans(joint[rows], k, draws=draws, iterations=config.iterations)[1]

    def by_faiss() -> np.ndarray:
        import faiss

        options = {"niter": config.iterations, "seed": seed, "spherical": True}
        means = faiss.Kmeans(joint.shape[1], k, **options)
        means.train(joint)
        return means.centroids

    def mini_batches() -> np.ndarray:
        from sklearn.cluster import MiniBatchKMeans

        means = MiniBatchKMeans(k, random_state=seed, max_iter=config.iterations, n_init=1)
        return means.fit(joint).cluster_centers_

    found = {}
    for name, cluster in {
        "vtm": lambda: ours(SAMPLE * k),
        "vtm, all pairs": lambda: ours(len(joint)),
        "faiss": by_faiss,
        "MiniBatchKMeans": mini_batches,
    }.items():
        started = time.process_time()
        try:
            centres = cluster()
        except ImportError:
            continue
        seconds = time.process_time() - started
        centres = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
        found[name] = {
            "processor_seconds": seconds,
            "fit": float((joint @ centres.T.astype(np.float32)).max(axis=1).mean(dtype=np.float64)),
        }
    return found


def _apart(function: str, **arguments: Any) -> Any:
    """What a function of this module returns in a process of its own."""
    code = (
        "import json, sys; from benchmarks import growth\n"
        "print(json.dumps(getattr(growth, sys.argv[1])(**json.loads(sys.argv[2]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, function, json.dumps(arguments)],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)
