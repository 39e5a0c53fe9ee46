"""Text topics of the real news: what can be trained of the paper's experiment without any picture."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.bow import Vocabulary, build_vocabulary
from vtm.config import Experiment
from vtm.corpora import split
from vtm.corpora.base import OWN_FRACTIONS
from vtm.corpora.newsimages import NewsImages
from vtm.encoders import embed_texts, load_named
from vtm.experiment import code_hash, held_out_loss
from vtm.files import hash_json, read_current, write_sealed
from vtm.health import unigram_reconstruction
from vtm.paths import runs_dir
from vtm.runs import frame, spread
from vtm.study.code import modules_hash
from vtm.theta_metrics import theta_information, top_mass
from vtm.topic_metrics import duplicated_topics, inverted_rbo, npmi, topic_diversity
from vtm.topicmodel import TopicModel
from vtm.training import train

if TYPE_CHECKING:
    import pandas as pd

TOP_WORDS = 25


@dataclass(frozen=True)
class TextRun:
    """A topic model of news texts, of one seed.

    Attributes
    ----------
    topics : each topic's most probable words, best first.
    npmi : of each topic, on the training texts.
    share : of each topic in the texts of the test batch, mean of theta.
    figures : npmi, diversity, inverted_rbo, repeated, held_out and unigram (nats a validation text), top3,
        information (of the test texts).
    """

    n_topics: int
    seed: int
    topics: list[list[str]]
    npmi: list[float]
    share: list[float]
    figures: dict[str, float]


@dataclass(frozen=True)
class TextStudy:
    """What was trained on, and the runs."""

    n_train: int
    n_validation: int
    n_test: int
    n_words: int
    encoder: str
    runs: tuple[TextRun, ...]

    @property
    def shown(self) -> TextRun:
        """The run whose topics are shown: the first seed with the most topics."""
        largest = max(run.n_topics for run in self.runs)
        return next(run for run in self.runs if run.n_topics == largest)

    @property
    def best(self) -> dict[str, float]:
        """`n_topics` with the best mean NPMI, and the means over its seeds of all figures."""
        means = []
        for k in dict.fromkeys(run.n_topics for run in self.runs):
            runs = [run.figures for run in self.runs if run.n_topics == k]
            means.append(
                {"n_topics": float(k)} | {name: float(np.mean([f[name] for f in runs])) for name in runs[0]}
            )
        return max(means, key=lambda mean: mean["npmi"])


def text_study(
    experiment: Experiment, news: NewsImages, *, lang: str = "de", progress: bool = True
) -> TextStudy:
    """Train ZeroShotTM on titles and snippets of batches 1 to 3 for every K and seed; read back what is current.

    The vocabulary is chosen on the training texts; validation texts are the seeded fifth by id that the corpus
    newsimages has too. `experiment.max_texts` limits the development texts (the first by hash of their id).

    Raises
    ------
    DataError, MissingError
        As the encoder and the trainer.
    """
    ids, texts = _development(news, experiment.max_texts)
    test = [text for article in news.test_articles if (text := article.text())]
    encoder = load_named(experiment.encoder, device=experiment.device, language=lang)
    rows = split(ids, seed=experiment.split_seed, fractions=OWN_FRACTIONS)
    vocabulary = build_vocabulary([texts[row] for row in rows["train"]], language=lang, config=experiment.bow)
    x = embed_texts(encoder.text, [*texts, *test], progress=progress)
    counts = vocabulary.counts(texts)
    known = np.asarray(counts.sum(axis=1)).ravel() > 0
    parts = {name: part[known[part]] for name, part in rows.items() if name != "test"}
    digest = hashlib.sha256(x.tobytes()).hexdigest()
    runs: list[TextRun] = []
    for k in experiment.n_topics:
        key = hash_json(
            [
                digest,
                ids,
                vocabulary.words,
                experiment.split_seed,
                k,
                dataclasses.asdict(experiment.model),
                code_hash(),
                modules_hash(__name__),
            ]
        )
        folder = runs_dir() / f"newsimages-text-{experiment.encoder_name}" / f"{k}-{key[:8]}"
        found = {seed: _load(folder, seed, key) for seed in experiment.seeds}
        missing = [seed for seed, run in found.items() if run is None]
        if missing:
            network, history = train(
                x[parts["train"]],
                counts[parts["train"]],
                n_topics=k,
                config=experiment.model,
                seeds=missing,
                validation=(x[parts["validation"]], counts[parts["validation"]]),
                device=experiment.device,
                progress=f"news texts, {k} topics" if progress else None,
            )
            for index, seed in enumerate(missing):
                model = TopicModel(network.replica(index), vocabulary.words, seed, "text", history.of(index))
                model.save(folder / f"seed-{seed}" / "text", corpus="newsimages", encoder=experiment.encoder)
                found[seed] = run = _measure(model, x, counts, parts, len(ids), vocabulary)
                write_sealed(
                    folder / f"seed-{seed}" / "figures.json", {"key": key, **dataclasses.asdict(run)}
                )
        runs += [run for run in found.values() if run is not None]
    return TextStudy(
        n_train=len(parts["train"]),
        n_validation=len(parts["validation"]),
        n_test=len(test),
        n_words=len(vocabulary),
        encoder=experiment.encoder,
        runs=tuple(runs),
    )


def _development(news: NewsImages, limit: int) -> tuple[list[str], list[str]]:
    """Ids and texts of the development batches; with a limit, those whose hashed ids come first."""
    pairs = [(item.article.id, item.article.text()) for item in news.development]
    pairs = [pair for pair in pairs if pair[1]]
    if 0 < limit < len(pairs):
        first = sorted(pairs, key=lambda pair: hashlib.sha256(pair[0].encode()).digest())[:limit]
        chosen = {id for id, _ in first}
        pairs = [pair for pair in pairs if pair[0] in chosen]
    return [id for id, _ in pairs], [text for _, text in pairs]


def _measure(
    model: TopicModel,
    x: np.ndarray,
    counts: Any,
    parts: dict[str, np.ndarray],
    n_development: int,
    vocabulary: Vocabulary,
) -> TextRun:
    topics = model.topics(TOP_WORDS)
    theta = model.theta(x[n_development:])
    coherence = npmi(topics, counts[parts["train"]], vocabulary.words)
    validation = parts["validation"]
    return TextRun(
        n_topics=model.n_topics,
        seed=model.seed,
        topics=topics,
        npmi=[float(value) for value in coherence],
        share=[float(value) for value in theta.mean(axis=0)],
        figures={
            "npmi": float(coherence.mean()),
            "diversity": float(topic_diversity(topics)),
            "inverted_rbo": float(inverted_rbo(topics)),
            "repeated": float(duplicated_topics(topics)),
            "held_out": held_out_loss(model, x[validation], counts[validation]),
            "unigram": unigram_reconstruction(counts[parts["train"]], counts[validation]),
            "top3": float(top_mass(theta, min(3, model.n_topics)).mean()),
            "information": theta_information(theta),
        },
    )


def _load(folder: Path, seed: int, key: str) -> TextRun | None:
    saved = read_current(folder / f"seed-{seed}" / "figures.json", key)
    if saved is None:
        return None
    saved.pop("key")
    return TextRun(**saved)


def quality_table(study: TextStudy) -> pd.DataFrame:
    """Topic quality by K: mean ± sd over seeds."""
    labels = {
        "npmi": "NPMI",
        "diversity": "diversity",
        "inverted_rbo": "inverted RBO",
        "repeated": "repeated topics",
        "held_out": "held-out loss, nats a text",
        "unigram": "the same, word frequencies alone",
        "top3": "three largest topics",
        "information": "information, nats",
    }
    lines = []
    for k in dict.fromkeys(run.n_topics for run in study.runs):
        runs = [run for run in study.runs if run.n_topics == k]
        lines.append(
            {"": f"{k} topics", "seeds": str(len(runs))}
            | {label: spread([run.figures[name] for run in runs]) for name, label in labels.items()}
        )
    return frame(lines).T


def topics_table(run: TextRun, *, n: int = 15, top: int = 10) -> pd.DataFrame:
    """Keywords of the n topics with the largest share of the test batch, and of the three least coherent ones."""
    order = np.argsort(-np.asarray(run.share), kind="stable")[:n]
    worst = np.argsort(run.npmi, kind="stable")[:3]
    return frame(
        [
            {
                "topic": int(k),
                "share": f"{run.share[k]:.1%}",
                "NPMI": f"{run.npmi[k]:.2f}",
                "words": ", ".join(run.topics[k][:top]),
            }
            for k in dict.fromkeys([*order.tolist(), *worst.tolist()])
        ],
        "topic",
    )
