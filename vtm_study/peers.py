"""Other models on the same split: what each reaches with as many topics as VTM+, chosen on the validation part.

The test part is evaluated once, with the chosen setting of each model. A model that is done is kept.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from tqdm import tqdm

from vtm.config import stream
from vtm.errors import MissingError, VtmError
from vtm.experiment.prepare import PARTS, Prepared
from vtm.experiment.results import Result
from vtm.experiment.runs import BY_CONTENT, model_folder, run_baseline, run_models
from vtm.files import code_hash, hash_json, kept, runs_dir
from vtm.metrics.retrieval import bootstrap_interval
from vtm.model.plus import PlusConfig
from vtm.model.topicmodel import TopicModel
from vtm_study.m3l import M3LConfig, train_m3l
from vtm_study.measures import (
    N_RESAMPLES,
    TOP_WORDS,
    image_coherence,
    image_similarity,
    items,
    keyword_hits,
    mean_similarity,
    mrr,
    paired,
    spread,
    topic_figures,
)
from vtm_study.others import EXTRA_PEERS, Fitted, fit_extra, text_peer, with_ridge
from vtm_study.reference import global_seed, silence
from vtm_study.validation import plus_config, plus_model

Fit = Callable[[Prepared, int, Sequence[int]], dict[int, Fitted]]
RANKED = ("validation", "test")


def baseline(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """The baseline of the tables; an aligned encoder's has no seed and is the same for all."""
    runs = run_baseline(data)
    return {seed: _of_run(runs[min(index, len(runs) - 1)]) for index, seed in enumerate(seeds)}


def text_teacher(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """The plain text-teacher: topics of its text model, and pictures tagged with its picture model's."""
    folder = model_folder(data, "text-teacher", n_topics)
    found = {}
    for run in run_models(data, "text-teacher", n_topics=[n_topics]):
        model = TopicModel.load(folder / f"seed-{run.seed}" / "image")
        found[run.seed] = _of_run(run, model.topic_word(), run.topics["text"])
    return found


def _of_run(run: Result, topic_word: np.ndarray | None = None, topics: Sequence[list[str]] = ()) -> Fitted:
    text, image = ({part: read(part) for part in RANKED} for read in (run.text, run.image))
    return Fitted(text, image, topic_word, list(topics), run.figures["seconds"])


def teachers_together(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """The text-teachers of all seeds side by side, as members of one VTM+ are: one model, which has no spread over seeds."""
    every = list(text_teacher(data, n_topics, seeds).values())

    def beside(arrays: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {part: np.concatenate([a[part] for a in arrays], axis=1) / len(arrays) for part in arrays[0]}

    one = Fitted(
        beside([each.text for each in every]),
        beside([each.image for each in every]),
        np.concatenate([each.topic_word for each in every]),
        [topic for each in every for topic in each.topics],
        sum(each.seconds for each in every),
        members=len(every),
    )
    return {seeds[0]: one}


def each_seed(fit: Callable[[Prepared, int, int], Fitted]) -> Fit:
    """A model that is fitted one seed at a time."""
    return lambda data, n_topics, seeds: {seed: fit(data, n_topics, seed) for seed in seeds}


def plus(**changes: Any) -> Fit:
    """VTM+ with its default settings, or with changes."""

    def fit(data: Prepared, n_topics: int, seed: int) -> Fitted:
        started = time.perf_counter()
        config = dataclasses.replace(PlusConfig(n_topics=n_topics), **changes)
        model = plus_model(data, config, seed)
        seconds = time.perf_counter() - started
        pairs = {part: data.pairs(part) for part in RANKED}
        text, image = (
            {part: model.theta(reads, p.embeddings(reads)) for part, p in pairs.items()}
            for reads in ("text", "image")
        )
        words = model.topic_word.reshape(-1, model.topic_word.shape[2])
        topics = model.topics(data.vocabulary.words, TOP_WORDS)
        return Fitted(text, image, words, topics, seconds, members=len(model.anchors))

    return each_seed(fit)


def text_topics(method: str) -> Fit:
    """LDA or NMF of the texts (`vtm_study.others`), and a ridge map from pictures to their texts' topics."""

    def fit(data: Prepared, n_topics: int, seed: int) -> Fitted:
        pairs = {part: data.pairs(part) for part in PARTS}
        ids, words = data.ids("validation"), data.vocabulary.words
        return text_peer(method, pairs, ids, words, n_topics=n_topics, seed=seed)

    return each_seed(fit)


def combined(kl_weight: float) -> Fit:
    """CombinedTM (Bianchi et al. 2021, ACL) of the package contextualized-topic-models with its own defaults.

    It reads a text's bag of words beside its embedding, which a picture has not: pictures get topics by a ridge map.
    """

    def fit(data: Prepared, n_topics: int, seed: int) -> Fitted:
        try:
            from contextualized_topic_models.datasets.dataset import CTMDataset
            from contextualized_topic_models.models.ctm import CombinedTM
        except ImportError:
            raise MissingError("not installed; in the checkout: pip install -e '.[reference]'") from None
        started = time.perf_counter()
        pairs = {part: data.pairs(part) for part in PARTS}
        words = dict(enumerate(data.vocabulary.words))
        read = {part: CTMDataset(np.float32(p.text), p.counts, words) for part, p in pairs.items()}
        with global_seed(stream(seed, "CombinedTM")), silence():
            model = CombinedTM(
                bow_size=len(words),
                contextual_size=data.text.shape[1],
                n_components=n_topics,
                num_data_loader_workers=0,
                loss_weights={"beta": kl_weight},
            )
            model.fit(read["train"], do_train_predictions=False)
            theta = {
                part: model.get_doc_topic_distribution(texts, n_samples=100) for part, texts in read.items()
            }
        beta = model.best_components.detach().cpu().numpy()
        topic_word = np.exp(beta - beta.max(axis=1, keepdims=True))
        topic_word /= topic_word.sum(axis=1, keepdims=True)
        ids, vocabulary = data.ids("validation"), data.vocabulary.words
        return with_ridge(theta, topic_word, pairs, ids, vocabulary, started=started)

    return each_seed(fit)


def m3l(**changes: Any) -> Fit:
    """M3L-Contrast (`vtm_study.m3l`); all seeds train side by side, and share the time."""

    def fit(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
        config = M3LConfig(n_topics=n_topics, **changes)
        started = time.perf_counter()
        trained = train_m3l(data.pairs("train"), data.vocabulary.words, config=config, seeds=seeds)
        seconds = (time.perf_counter() - started) / len(seeds)
        pairs = {part: data.pairs(part) for part in RANKED}
        return {
            seed: Fitted(
                {part: text.theta(p.text) for part, p in pairs.items()},
                {part: image.theta(p.image) for part, p in pairs.items()},
                text.topic_word(),
                text.topics(TOP_WORDS),
                seconds,
            )
            for seed, (text, image) in trained.items()
        }

    return fit


def extra(name: str) -> Fit:
    """BERTopic or turftopic in their multimodal modes (`vtm_study.others`), where they are installed."""
    return each_seed(lambda data, n_topics, seed: fit_extra(name, data, n_topics=n_topics, seed=seed))


BASELINE, TEACHER, PLUS = "baseline", "text-teacher", "VTM+"
# What a row is compared with, over the same test items.
COMPARED = {"minus_baseline": BASELINE, "minus_text_teacher": TEACHER, "minus_plus": PLUS}
MEASURES = ("cosine", "hellinger")


@dataclass(frozen=True)
class Peer:
    """A line of the table: its settings that are tried (label -> how it is fitted) and similarities to choose from.

    Without `measures` it is ranked by the experiment's. `package` is that of a model that is not of this project.
    """

    name: str
    candidates: dict[str, Fit]
    measures: tuple[str, ...] = MEASURES
    package: str = ""


PEERS = (
    Peer(BASELINE, {"": baseline}, ("cosine",)),
    Peer(TEACHER, {"": text_teacher}, ()),
    Peer("text-teacher, all seeds together", {"": teachers_together}, ()),
    Peer(PLUS, {"": plus()}, ("hellinger",)),
    Peer("VTM+, five members together", {"": plus(members=5)}, ("hellinger",)),
    Peer("LDA, ridge map", {"": text_topics("LDA")}, package="scikit-learn"),
    Peer("NMF, ridge map", {"": text_topics("NMF")}, package="scikit-learn"),
    Peer(
        "CombinedTM, ridge map",
        {"KL weight 1 (its default)": combined(1.0), "KL weight 0.1": combined(0.1)},
        package="contextualized-topic-models",
    ),
    Peer("M3L-Contrast, as published", {"": m3l()}),
    Peer(
        "M3L-Contrast, chosen",
        {
            "contrast 5": m3l(contrast=5.0),
            "KL to the prior": m3l(divergence="prior"),
            "standardised": m3l(standardize=True),
            "standardised, contrast 5": m3l(standardize=True, contrast=5.0),
            "standardised, KL to the prior": m3l(standardize=True, divergence="prior"),
        },
    ),
    # turftopic's topics have a sign, for which Hellinger's distance is not defined; BERTopic's are softmaxes of cosines.
    *(Peer(name, {"": extra(name)}, ("cosine",), package=name.lower()) for name in EXTRA_PEERS),
)


def measure(data: Prepared, peers: tuple[Peer, ...] = PEERS) -> dict[str, Any]:
    """Every peer with all seeds: retrieval on the test part, quality of topics, keywords and pictures, time.

    Returns
    -------
    rows : a line a peer; "chosen" and "validation" say what was tried, "package" whose version it is. A peer whose
        package is missing has no line.
    not_run : name -> why.
    chance : what IEC and IEPS are for sets of pictures drawn at random.
    """
    n_topics = plus_config(data).n_topics
    rows, not_run, reciprocal = [], {}, {}
    for peer in tqdm(peers, desc="peers", leave=False, disable=None):
        try:
            row = _row(data, peer, n_topics)
        except Exception as error:
            # Whatever goes wrong in another's package, the study goes on and says what it was.
            if not isinstance(error, VtmError) and peer.name not in EXTRA_PEERS:
                raise
            not_run[peer.name] = (
                str(error) if isinstance(error, VtmError) else f"{type(error).__name__}: {error}"
            )
            continue
        reciprocal[peer.name] = np.array(row.pop("reciprocal"))  # (S, n)
        hits = row.pop("hits")
        if hits is not None:
            row["keyword_hits_interval"] = list(bootstrap_interval(np.array(hits), n_resamples=N_RESAMPLES))
        rows.append(row)
    for row in rows:
        own = reciprocal[row["model"]]
        row |= {
            name: paired(own, reciprocal[other]) for name, other in COMPARED.items() if other in reciprocal
        }
    return {
        "rows": rows,
        "not_run": not_run,
        "n_topics": n_topics,
        "chance": mean_similarity(data.pairs("test").image),
        "n_test": len(data.rows["test"]),
        "n_missing": data.n_missing,
        "part": "test",
    }


def _row(data: Prepared, peer: Peer, n_topics: int) -> dict[str, Any]:
    package = _version(peer.package)
    measures = peer.measures or (data.experiment.measure,)
    described = [peer.name, list(peer.candidates), measures, n_topics, data.experiment.seeds, package]
    described.append(data.n_missing)
    key = hash_json([data.fingerprint(), described, code_hash(__name__, without=BY_CONTENT)])
    path = runs_dir() / "study-rows" / f"peer-{hash_json(described)[:12]}.json"
    found = kept(path, key, lambda: {"row": _measured(data, peer, n_topics)})
    return {**found["row"], "package": package}


def _version(package: str) -> str:
    """A package with its version; "" where it is not installed, or there is none."""
    try:
        return f"{package} {version(package)}" if package else ""
    except PackageNotFoundError:
        return ""


def _measured(data: Prepared, peer: Peer, n_topics: int) -> dict[str, Any]:
    """Choose on the validation part; then read the test part with what was chosen."""
    seeds, ids = data.experiment.seeds, data.ids("validation")
    tried, best = {}, None
    for label, fit in peer.candidates.items():
        runs = fit(data, n_topics, seeds)
        for how in peer.measures or (data.experiment.measure,):
            scores = [
                items(one.text["validation"], one.image["validation"], ids, measure=how)["mrr_100"].mean()
                for one in runs.values()
            ]
            name = ", ".join(part for part in (label, how) if part)
            tried[name] = spread(scores)
            if best is None or tried[name]["mean"] > tried[best[0]]["mean"]:
                best = name, how, runs
    name, how, runs = best
    test = data.pairs("test")
    figures, reciprocal, hits = [], [], []
    for one in runs.values():
        retrieval = items(
            one.text["test"], one.image["test"], data.ids("test"), measure=how, n_missing=data.n_missing
        )
        reciprocal.append(retrieval["mrr_100"].tolist())
        line = {"recall_10": float(retrieval["recall_10"].mean()), "seconds": one.seconds}
        if one.topic_word is not None:
            hits.append(keyword_hits(one.image["test"] @ one.topic_word, test.counts).tolist())
            members = np.array_split(np.arange(one.image["test"].shape[1]), one.members)
            line |= topic_figures(one.topics, data, unseen="test", members=one.members)
            line |= {
                "keyword_hits": float(np.mean(hits[-1])),
                "iec": float(image_coherence(one.image["test"], test.image).mean()),
                "ieps": float(
                    np.mean(
                        [image_similarity(one.image["test"][:, member], test.image) for member in members]
                    )
                ),
            }
        figures.append(line)
    values = np.array(reciprocal)
    return {
        "model": peer.name,
        "chosen": name,
        "fitted": [one.settings for one in runs.values()],
        "validation": tried,
        "mrr_100": mrr(values),
        "figures": {key: spread([f[key] for f in figures]) for key in figures[0]},
        "reciprocal": reciprocal,
        "hits": hits or None,
    }
