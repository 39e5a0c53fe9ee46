"""What the cross-fitted figures are held against: near-duplicates, the published procedure, other data, calibration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from vtm.config import Experiment, ModelConfig, generator, stream
from vtm.experiment.prepare import prepare
from vtm.experiment.runs import BY_CONTENT
from vtm.files import code_hash, hash_json, kept, runs_dir
from vtm.metrics.calibration import calibration_error, reliability
from vtm.metrics.ranking import similarity
from vtm.metrics.retrieval import per_item
from vtm.model.align import fit_aligned
from vtm.model.distill import Trained, train_pair
from vtm.model.network import Posterior
from vtm.model.plus import PlusConfig, fit_plus, fit_space
from vtm.model.topicmodel import TopicModel
from vtm.model.training import Pairs, train
from vtm_study.crossfit import Sides, System, fold_data, folds, ranks, resampled, runs
from vtm_study.grid import BEFORE, FAMILIES, PAPER, chosen
from vtm_study.measures import measured, plain

# Near-duplicates by other thresholds of cosine: (pictures', texts', each of the two).
THRESHOLDS = ((0.95, 0.95, 0.8), (0.97, 0.97, 0.85), (0.0, 0.0, 0.0))
K = 120  # topics of what is trained here
SEEDS = 1
LADDER_FOLDS = 1
CORPORA = ("openclipart", "stamps")


def mrr(sides: Sides, measure: str) -> np.ndarray:
    """(n,) what each text adds to MRR@100."""
    return per_item(ranks(sides, measure))["mrr_100"]


def _off(experiment: Experiment) -> Experiment:
    return dataclasses.replace(experiment, twin_image=0.0, twin_text=0.0, twin_both=0.0)


def twins(experiment: Experiment) -> dict[str, Any]:
    """What near-duplicates across the split are worth: one split by each pair's own id, as if there were none.

    "share" of its test texts have a near-duplicate among its training pairs; MRR@100 of them and of the rest.
    """
    one = dataclasses.replace(_off(experiment), seeds=experiment.seeds[:SEEDS])
    data, whole = fold_data(one, 0), fold_data(experiment, 0)
    clusters = {id_: cluster for id_, cluster in zip(whole.corpus.ids, whole.clusters, strict=True)}
    trained = {clusters[id_] for id_ in data.ids("train")}
    twin = np.array([clusters[id_] in trained for id_ in data.ids("test")])
    found: dict[str, Any] = {"share": float(twin.mean()), "items": len(twin)}
    for name in ("baseline", "teacher_120", "plus"):
        values = np.stack([mrr((run.text(), run.image()), run.measure) for run in runs(data, name)]).mean(
            axis=0
        )
        found |= {
            f"{name}_mrr": float(values.mean()),
            f"{name}_mrr_twins": float(values[twin].mean()),
            f"{name}_mrr_rest": float(values[~twin].mean()),
        }
    return found


def sensitivity(experiment: Experiment) -> list[dict[str, Any]]:
    """MRR@100 of canonical correlations and of a single VTM+, cross-fitted, by what counts as a near-duplicate."""
    rows = []
    for image, text, both in THRESHOLDS:
        one = dataclasses.replace(experiment, twin_image=image, twin_text=text, twin_both=both)
        one = dataclasses.replace(one, seeds=experiment.seeds[:1])
        row: dict[str, Any] = {"twin_image": image, "twin_text": text, "twin_both": both}
        row["clusters"] = int(fold_data(one, 0).clusters.max() + 1)
        for name in ("cca", "plus"):
            found = []
            for data in folds(one):
                (run,) = runs(data, name)
                found.append(mrr((run.text(), run.image()), run.measure))
            row[f"{name}_mrr"] = float(np.concatenate(found).mean())
        rows.append(row)
    return rows


# From the authors' procedure to the tuned one, a repair at a time; (label, config, teacher read in training mode).
def ladder_steps() -> list[tuple[str, ModelConfig, bool]]:
    """The steps of `ladder`, the first of which is the authors' procedure."""
    published = dataclasses.replace(PAPER, decoder="LDA", n_samples=20)
    return [
        ("as published", published, True),
        ("the teacher is read in evaluation mode", published, False),
        ("prodLDA in place of LDA, 100 samples", PAPER, False),
        ("standardised embeddings", dataclasses.replace(BEFORE, kl_weight=1.0), False),
        ("a KL weight of 0.1", BEFORE, False),
        ("tuned on validation", chosen("text-teacher"), False),
    ]


def ladder(experiment: Experiment) -> list[dict[str, Any]]:
    """What each repair of the authors' procedure brings: text-teacher, `K` topics, one seed, some folds.

    "As published": LDA as decoder, raw embeddings, KL weight 1, 20 samples, and the teacher's posteriors taken in
    training mode, with dropout and with batch norm over rows as they stand in the file.
    """
    rows = []
    for label, config, training_mode in ladder_steps():
        values = []
        for data in folds(experiment)[:LADDER_FOLDS]:
            pairs, words, test = data.pairs("train"), data.vocabulary.words, data.pairs("test")
            if training_mode:
                models = published_pair(pairs, words, n_topics=K, config=config, seed=0)
            else:
                models = train_pair(
                    "text-teacher", pairs, words, n_topics=K, config=config, seeds=[0], device="cpu"
                )[0]
            theta = models.text.theta(test.text), models.image.theta(test.image)
            values.append(mrr(theta, experiment.measure))
        rows.append({"step": label, "mrr": float(np.concatenate(values).mean())})
    return rows


def published_pair(
    pairs: Pairs, vocabulary: Sequence[str], *, n_topics: int, config: ModelConfig, seed: int
) -> Trained:
    """A text-teacher whose posteriors are taken in training mode: dropout, and norms of batches in the rows' order."""
    common = {"n_topics": n_topics, "config": config, "device": "cpu"}
    teacher, history = train(pairs.text, pairs.counts, seeds=[stream(seed, "teacher")], **common)
    state = {name: value.clone() for name, value in teacher.state_dict().items()}
    x = torch.from_numpy(np.ascontiguousarray(pairs.text, dtype=np.float32))
    draws, parts = generator(seed, "teacher's dropout"), []
    teacher.train()
    with torch.no_grad():
        # A batch of one has no spread to be normed by: near-equal parts of at most a batch.
        for rows in torch.arange(len(x)).tensor_split(-(-len(x) // config.batch_size)):
            keep = torch.empty((1, len(rows), config.hidden[-1])).bernoulli_(
                1 - config.dropout, generator=draws
            )
            parts.append(teacher.infer(x[rows].unsqueeze(0), keep=keep / (1 - config.dropout)))
    teacher.load_state_dict(state)
    teacher.eval()
    lesson = Posterior(*(torch.cat(arrays, dim=1).numpy() for arrays in zip(*parts, strict=True)))
    student, learned = train(
        pairs.image, pairs.counts, seeds=[stream(seed, "image student")], target=lesson, **common
    )
    text = TopicModel(teacher.replica(0), tuple(vocabulary), seed, "text", history.of(0))
    image = TopicModel(student.replica(0), tuple(vocabulary), seed, "image", learned.of(0))
    return Trained(text=text, image=image, teacher=text)


def aligned_by_proxy(experiment: Experiment) -> dict[str, Any]:
    """Are encoders that were trained together better for topics? A stand-in, as there are none here.

    Half of a fold's training clusters align the embeddings (canonical correlations); the other half trains a
    text-teacher with `K` topics, once on raw and once on aligned embeddings. All folds, one seed.
    """
    seeds, values, clusters = list(experiment.seeds[:1]), {"raw": [], "aligned": []}, []
    for data in folds(experiment):
        fold = data.experiment.fold
        rows = data.rows["train"]
        first = np.array([stream(0, f"half: {cluster}") % 2 == 0 for cluster in data.clusters[rows]])
        half, other, test = (
            Pairs(data.text[r], data.image[r], data.counts[r])
            for r in (rows[first], rows[~first], data.rows["test"])
        )
        space = fit_space(half.text, half.image, **chosen("cca", fold=fold))

        def in_space(pairs: Pairs, space=space) -> Pairs:
            places = (np.float32(space.embed(reads, pairs.embeddings(reads))) for reads in ("text", "image"))
            return Pairs(*places, pairs.counts)

        for name, (train_on, test_on) in {
            "raw": (other, test),
            "aligned": (in_space(other), in_space(test)),
        }.items():
            models = train_pair(
                "text-teacher",
                train_on,
                data.vocabulary.words,
                n_topics=K,
                config=chosen("text-teacher", fold=fold),
                seeds=seeds,
                device="cpu",
            )
            thetas = [(m.text.theta(test_on.text), m.image.theta(test_on.image)) for m in models.values()]
            values[name].append(np.stack([mrr(theta, experiment.measure) for theta in thetas]))
        clusters.append(data.clusters[data.rows["test"]])
    raw, aligned = (np.concatenate(values[name], axis=1) for name in ("raw", "aligned"))
    test = resampled(aligned, raw, np.concatenate(clusters))
    return {"raw_mrr": float(raw.mean()), "aligned_mrr": float(aligned.mean()), "test": test, "seeds": seeds}


def across(experiment: Experiment) -> list[dict[str, Any]]:
    """Trained on the training part of one corpus, tested on all of another: MRR@100, mean over seeds, and by chance."""
    rows = []
    for source, target in (CORPORA, CORPORA[::-1]):
        data, other = (
            prepare(dataclasses.replace(experiment, corpus=name), progress=False) for name in (source, target)
        )
        train_on, held_out, words = data.pairs("train"), data.pairs("validation"), data.vocabulary.words
        x = {"text": other.text, "image": other.image}
        values: dict[str, list[float]] = {}

        def add(
            name: str, embed: Callable[[str, np.ndarray], np.ndarray], measure: str, x=x, values=values
        ) -> None:
            sides = embed("text", x["text"]), embed("image", x["image"])
            values.setdefault(name, []).append(float(mrr(sides, measure).mean()))

        space = fit_space(train_on.text, train_on.image, **chosen("cca"))
        add("cca", space.embed, "cosine")
        for seed in experiment.seeds[:SEEDS]:
            add("baseline", fit_aligned(train_on, held_out, seed=seed, device="cpu").embed, "cosine")
            config = dataclasses.replace(PlusConfig(), members=1)
            plus = fit_plus(train_on.text, train_on.image, train_on.counts, config=config, seed=seed)
            add("plus", plus.theta, "hellinger")
            models = train_pair(
                "text-teacher",
                train_on,
                words,
                n_topics=K,
                config=chosen("text-teacher"),
                seeds=[seed],
                device="cpu",
            )[seed]
            add("teacher_120", lambda reads, e, m=models: getattr(m, reads).theta(e), experiment.measure)
        n = len(other.text)
        chance = float((1 / np.arange(1, min(n, 100) + 1)).sum() / n)
        rows.append(
            {"trained on": source, "tested on": target, "items": n, "chance": chance}
            | {name: float(np.mean(of)) for name, of in values.items()}
        )
    return rows


def calibration(experiment: Experiment) -> dict[str, Any]:
    """Reliability of "this is the picture" and of topic probabilities, over all folds.

    "match": probability of a text's first picture, a softmax over the fold's test pictures whose one temperature is
    fitted on the validation part; right where it is the text's own. "theta": a picture's probability of a topic;
    right where the topic is the largest one of its text.
    """
    found: dict[str, Any] = {}
    for name in ("baseline", "plus", "teacher_120"):
        match, theta = [], []
        for data in folds(experiment):
            results = runs(data, name)[:1]
            sides = {part: System.of(results, part).single[0] for part in ("validation", "test")}
            scores = {part: similarity(*of, measure=results[0].measure) for part, of in sides.items()}
            chance = softmax(temperature(scores["validation"]) * scores["test"], axis=1)
            first = chance.argmax(axis=1)
            match.append((chance.max(axis=1), first == np.arange(len(first))))
            if name != "baseline":
                text, image = sides["test"]
                largest = np.eye(image.shape[1], dtype=bool)[text.argmax(axis=1)]
                theta.append((image.ravel(), largest.ravel()))
        for what, points in (("match", match), ("theta", theta)):
            if points:
                said, right = (np.concatenate(of) for of in zip(*points, strict=True))
                if what == "theta":  # nearly all are near nought: those of at least a hundredth are looked at
                    said, right = said[said >= 0.01], right[said >= 0.01]
                curve = zip(*reliability(said, right), strict=True)
                found[f"{name} {what}"] = {
                    "curve": [{"said": float(p), "true": float(share), "n": int(n)} for p, share, n in curve],
                    "error": calibration_error(said, right),
                }
    return found


def temperature(scores: np.ndarray) -> float:
    """The factor of similarities (n, n) by which the softmax of each row makes its own column likeliest."""

    def loss(log_factor: float) -> float:
        scaled = np.exp(log_factor) * scores
        return float((logsumexp(scaled, axis=1) - np.diagonal(scaled)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 8), method="bounded").x))


CONTROLS: dict[str, Callable[[Experiment], Any]] = {
    "twins": twins,
    "ladder": ladder,
    "sensitivity": sensitivity,
    "aligned_by_proxy": aligned_by_proxy,
    "across": across,
    "calibration": calibration,
}


def control(name: str, experiment: Experiment) -> Any:
    """One of `CONTROLS`, measured where it is not on disk."""
    data = fold_data(experiment, 0)
    settings = [repr(chosen(family)) for family in FAMILIES]
    described = [name, dataclasses.asdict(experiment), settings]
    key = hash_json([data.fingerprint(), described, code_hash(__name__, without=BY_CONTENT)])
    path = runs_dir() / "study-rows" / f"{name}-{hash_json(described)[:12]}.json"
    return measured(kept(path, key, lambda: {"value": plain(CONTROLS[name](experiment))})["value"])
