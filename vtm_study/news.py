"""The chapter on the real news: what is here of the paper's setting, and what can be trained without any picture."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import KINDS, Experiment
from vtm.corpora import split
from vtm.corpora.base import OWN_FRACTIONS
from vtm.corpora.words import Vocabulary, build_vocabulary
from vtm.encoders import embed_texts, load_named
from vtm.errors import ConfigError, MissingError
from vtm.experiment.prepare import prepare
from vtm.experiment.runs import BY_CONTENT, held_out_loss, model_folder, run_models
from vtm.files import code_hash, hash_json, read_current, runs_dir, write_sealed
from vtm.metrics.topics import (
    duplicated_topics,
    inverted_rbo,
    npmi,
    theta_information,
    top_mass,
    topic_diversity,
)
from vtm.model.health import unigram_reconstruction
from vtm.model.topicmodel import TopicModel
from vtm.model.training import train
from vtm.newsimages.corpus import GROUND_TRUTH, NewsImages, picture_path, pictures_folder, read
from vtm.newsimages.task import embed_task, evaluate, load_models, task_run
from vtm.report.tables import FIGURES, LABELS, frame, paper_rows, spread
from vtm_study.formats import Row, table
from vtm_study.measures import TOP_WORDS

if TYPE_CHECKING:
    import pandas as pd


HERE, NOT_HERE = "here", "not here"


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
                code_hash(__name__, without=BY_CONTENT),
            ]
        )
        folder = runs_dir() / f"newsimages-text-{experiment.encoder_name}" / f"{k}-{key[:8]}"
        paths = {seed: folder / f"seed-{seed}" / "figures.json" for seed in experiment.seeds}
        saved = {seed: read_current(path, key) for seed, path in paths.items()}
        missing = [seed for seed, run in saved.items() if run is None]
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
                run = _measure(model, x, counts, parts, len(ids), vocabulary)
                saved[seed] = {"key": key, **dataclasses.asdict(run)}
                write_sealed(paths[seed], saved[seed])
        for run in saved.values():
            runs.append(TextRun(**{name: value for name, value in run.items() if name != "key"}))
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
    by_size = {}
    for run in study.runs:
        by_size.setdefault(run.n_topics, []).append(run.figures)

    def figure(name: str) -> Callable[[Row], str]:
        return lambda row: spread([figures[name] for figures in row["runs"]])

    columns = {"": "{k} topics", "seeds": lambda row: str(len(row["runs"]))}
    columns |= {label: figure(name) for name, label in labels.items()}
    return table([{"k": k, "runs": runs} for k, runs in by_size.items()], columns).T


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


@dataclass(frozen=True)
class PaperSetting:
    """What is here of the paper's own setting.

    Attributes
    ----------
    news : the files' content, or None where they are not here.
    pictures : how many of the pictures that the files name are here.
    weights : whether the weights of the encoder "clip" are here.
    lines : what, state, and how to get it.
    """

    news: NewsImages | None
    pictures: int
    weights: bool
    lines: tuple[tuple[str, str, str], ...]

    @property
    def complete(self) -> bool:
        """Whether the paper's Table 1 can be computed."""
        return bool(self.news and self.news.truth and self.pictures and self.weights)


def setting(encoder: str = "") -> PaperSetting:
    """Look what is here; needs nothing and fetches nothing.

    Parameters
    ----------
    encoder : the encoder of the experiment; the default weights of clip for German are looked for unless it is a clip.
    """

    def line(what: str, known: bool, remedy: str, state: str = "") -> tuple[str, str, str]:
        return what, state or (HERE if known else NOT_HERE), "–" if known else remedy

    try:
        news = read()
    except MissingError:
        news = None
    lines = [line("articles and picture addresses", news is not None, "vtm fetch corpus:newsimages")]
    n_pictures = 0
    if news is None:
        lines.append(line("pictures", False, "after the files: vtm fetch newsimages-images"))
    else:
        folder, n_all = pictures_folder(news.folder), len(news.pictures)
        n_pictures = sum(picture_path(picture, folder) is not None for picture in news.pictures)
        state = f"{n_pictures} of {n_all}"
        lines.append(line("pictures", n_pictures == n_all, "vtm fetch newsimages-images", state))
        remedy = f"vtm fetch corpus:newsimages, or put {GROUND_TRUTH} beside the other files"
        lines.append(line("ground truth of the test batch", news.truth is not None, remedy))
    spec = encoder if encoder.partition(":")[0] == "clip" else "clip"
    weights = _weights_are_here(spec)
    remedy = f"vtm prefetch --encoder {'clip:language=de' if spec == 'clip' else spec}"
    lines.append(line("weights of the encoder clip", weights, remedy))
    return PaperSetting(news, n_pictures, weights, tuple(lines))


def _weights_are_here(spec: str) -> bool:
    try:
        encoder = load_named(spec, device="cpu", language="de")
        return bool(encoder.image.key and encoder.text.key)
    except MissingError:
        return False


def setting_table(found: PaperSetting) -> pd.DataFrame:
    """What the paper's setting needs, whether it is here, and how to get it."""
    return frame([{"": what, "state": state, "to get it": how} for what, state, how in found.lines])


def files_table(news: NewsImages) -> pd.DataFrame:
    """Each file: its encoding, rows, items, and whether it is byte for byte the published one."""
    columns = {
        "": "{file.name}",
        "encoding": "{file.encoding}",
        "rows": lambda row: row["file"].n_rows,
        "items": lambda row: row["file"].n_items,
        "as published": lambda row: "yes" if row["file"].as_published else "no",
    }
    return table([{"file": file} for file in news.files], columns)


def odd_table(news: NewsImages) -> pd.DataFrame | str:
    """Rows that are not as they should be, by file and reason."""
    counts = Counter((odd.reason, odd.file, odd.dropped) for odd in news.odd)
    lines = [
        {"": reason, "file": file, "rows": n, "row is": "left out" if dropped else "kept"}
        for (reason, file, dropped), n in sorted(counts.items())
    ]
    return frame(lines) if lines else "Every row is as it should be."


def chapter_numbers(
    experiment: Experiment, found: PaperSetting, study: TextStudy | None
) -> dict[str, float | str]:
    """The numbers that the chapter's prose quotes; 0 for what is not here, or was not trained."""
    news = found.news
    quoted: dict[str, float | str] = {
        "n_development": float(len(news.development)) if news else 0.0,
        "n_test_articles": float(len(news.test_articles)) if news else 0.0,
        "n_test_images": float(len(news.test_images)) if news else 0.0,
        "characters_a_text": float(np.mean([len(item.article.text()) for item in news.development]))
        if news
        else 0.0,
        "pictures_here": float(found.pictures),
        "weights_here": "the" if found.weights else "no",
        "table_1_ran": float(can_run(experiment, found)),
        "corpus_name": experiment.corpus_name,
        "encoder_name": experiment.encoder_name,
        **dict.fromkeys(("text_topics", "text_npmi", "text_diversity", "text_gain", "text_n_train"), 0.0),
    }
    if study:
        best = study.best
        quoted |= {f"text_{name}": float(best[name]) for name in ("npmi", "diversity")}
        quoted["text_topics"], quoted["text_n_train"] = float(best["n_topics"]), float(study.n_train)
        quoted["text_gain"] = float(best["unigram"] - best["held_out"])
    return quoted


def task_table(experiment: Experiment, found: PaperSetting) -> pd.DataFrame:
    """The paper's Table 1 as published, and above it ours, scored as the task does, where they could be run.

    Raises
    ------
    ConfigError
        Everything is here but the experiment is of another corpus or encoder.
    """
    return frame([*(_own_rows(experiment, found.news) if can_run(experiment, found) else []), *paper_rows()])


def can_run(experiment: Experiment, found: PaperSetting) -> bool:
    """Whether the experiment is the paper's, and everything that it needs is here."""
    return found.complete and experiment.corpus_name == "newsimages"


def _own_rows(experiment: Experiment, news: NewsImages | None) -> list[dict[str, str]]:
    if news is None or news.truth is None:
        raise ConfigError(
            "the NewsImages files and their ground truth are needed; see the table of what is here"
        )
    data = prepare(experiment)
    encoder = load_named(experiment.encoder, device=experiment.device, language=data.corpus.language)
    task = embed_task(news, encoder, pictures_folder(news.folder))
    all_images = [picture.iid for picture in news.test_images]

    def score(models=None, measure: str = "cosine") -> dict[str, float]:
        ranking = task_run(task, all_images, models=models, measure=measure)
        return evaluate(ranking, news.truth).figures

    rows = []
    if encoder.aligned:
        rows.append(_row(f"baseline: cosine ({experiment.encoder_name})", [score()]))
    for kind in KINDS:
        results = run_models(data, kind)  # trained, or read back
        for k in experiment.n_topics:
            folder = model_folder(data, kind, k)
            seeds = [result.seed for result in results if result.n_topics == k and result.status == "ok"]
            scores = []
            for seed in seeds:
                text, image, notes = load_models(folder / f"seed-{seed}")
                scores.append(score((text, image), notes["measure"]))
            rows.append(_row(f"{kind} {k}", scores))
    return rows


def _row(label: str, scores: Sequence[dict[str, float]]) -> dict[str, str]:
    def cell(figure: str) -> str:
        return spread([s[figure] for s in scores], digits=0 if figure == "correct_100" else 3)

    return {"": label, "runs": str(len(scores))} | {LABELS[figure]: cell(figure) for figure in FIGURES}
