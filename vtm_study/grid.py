"""Settings of every family, chosen on validation parts with one budget: the same number of drawn settings for each."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from vtm.config import KINDS, ModelConfig, numpy_generator
from vtm.corpora.base import FOLDS as N_FOLDS
from vtm.experiment.prepare import Prepared, prepare
from vtm.experiment.runs import BY_CONTENT
from vtm.files import code_hash, hash_json, kept, read_json, results_dir, runs_dir
from vtm.metrics.ranking import target_ranks
from vtm.metrics.retrieval import retrieval_figures
from vtm.metrics.topics import match_topics, npmi, topic_agreement
from vtm.model.align import AlignConfig, fit_aligned
from vtm.model.distill import train_pair
from vtm.model.plus import fit_space

# Settings that are drawn for each family, besides the paper's and those that were the defaults before.
N_DRAWN = 18
# The fold that all settings are tried on, how many of them are finalists, and the folds that these are tried on.
FIRST_FOLD = 0
N_FINALISTS = 4
FINAL_FOLDS = (0, 2, 4)
N_TOPICS = 120
NETWORKS: dict[str, tuple[Any, ...]] = {
    "hidden": ((400,), (200,), (100, 100)),
    "dropout": (0.0, 0.2),
    "kl_weight": (0.03, 0.1, 0.3),
    "lr": (2e-3, 6e-3),
    "beta1": (0.9, 0.99),
    "epochs": (30, 60, 100),
}
PAPER = ModelConfig(
    hidden=(100, 100), dropout=0.2, kl_weight=1.0, lr=2e-3, beta1=0.99, epochs=100, standardize=False
)
BEFORE = dataclasses.replace(PAPER, kl_weight=0.1, standardize=True)
BASELINES: dict[str, tuple[Any, ...]] = {
    "dim": (128, 384),
    "batch_size": (128, 256, 512),
    "lr": (3e-4, 1e-3, 3e-3),
    "weight_decay": (1.0, 5.0, 15.0),
}
CCAS: dict[str, tuple[Any, ...]] = {
    "ridge": (0.1, 0.3, 1.0),
    "image_ridge": (0.1, 0.3, 1.0),
    "dims": (50, 100, 384),
}


def drawn(options: dict[str, tuple[Any, ...]], n: int = N_DRAWN) -> list[dict[str, Any]]:
    """`n` settings: each value of an option about equally often, the options shuffled against each other."""
    columns = {}
    for name, values in options.items():
        column = list(itertools.islice(itertools.cycle(range(len(values))), n))
        numpy_generator(0, f"grid: {name}").shuffle(column)
        columns[name] = [values[index] for index in column]
    return [dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True)]


def network_settings() -> list[ModelConfig]:
    """The settings of the topic networks: those before, the paper's, and the drawn ones."""
    return [BEFORE, PAPER, *(dataclasses.replace(BEFORE, **setting) for setting in drawn(NETWORKS))]


def baseline_settings() -> list[AlignConfig]:
    """The settings of the contrastive baseline; its number of epochs is chosen by each run (`AlignConfig.patience`)."""
    return [AlignConfig(), AlignConfig(lr=1e-3), *(AlignConfig(**setting) for setting in drawn(BASELINES))]


def retrieval(text: np.ndarray, image: np.ndarray, *, measure: str) -> dict[str, float]:
    """MRR@100 and recall at 100 of the validation part's rankings, under the measure's name."""
    ids = [str(row) for row in range(len(text))]
    figures = retrieval_figures(target_ranks(text, image, ids, ids, measure=measure).ranks)
    return {f"mrr_{measure}": figures["mrr_100"], f"r100_{measure}": figures["recall_100"]}


def network_rows(
    data: Prepared,
    config: ModelConfig,
    *,
    n_topics: int,
    seed: int,
    families: Sequence[str] = (*KINDS, "none"),
) -> list[dict[str, Any]]:
    """One setting of the topic networks on the validation part, a row a family: a kind, or "none" (no distillation)."""
    train, validation = data.pairs("train"), data.pairs("validation")
    words, counts = data.vocabulary.words, data.counts[data.rows["train"]]
    rows = []
    for family in families:
        started = time.process_time()
        models = train_pair(
            "text-teacher" if family == "none" else family,
            train,
            words,
            n_topics=n_topics,
            config=config,
            seeds=[seed],
            mode="none" if family == "none" else "posteriors",
            device="cpu",
        )[seed]
        text, image = models.text.theta(validation.text), models.image.theta(validation.image)
        if family == "none":
            agreement = topic_agreement(models.text.theta(train.text), models.image.theta(train.image))
            image = np.ascontiguousarray(image[:, match_topics(agreement)])
        row = {"family": family, "n_topics": n_topics, "seed": seed, "config": dataclasses.asdict(config)}
        for measure in ("cosine", "hellinger"):
            row |= retrieval(text, image, measure=measure)
        for reads in ("text", "image"):
            row[f"npmi_{reads}"] = float(npmi(getattr(models, reads).topics(10), counts, words).mean())
        rows.append(row | {"seconds": round(time.process_time() - started, 2)})
    return rows


def baseline_row(data: Prepared, config: AlignConfig, *, seed: int) -> dict[str, Any]:
    """One setting of the contrastive baseline on the validation part, at its best epoch."""
    started = time.process_time()
    validation = data.pairs("validation")
    model = fit_aligned(data.pairs("train"), validation, seed=seed, config=config, device="cpu")
    found = retrieval(
        *(model.embed(reads, validation.embeddings(reads)) for reads in ("text", "image")), measure="cosine"
    )
    row = {"family": "baseline", "seed": seed, "config": dataclasses.asdict(config), **found}
    return row | {
        "epochs": int(np.argmax(model.curve)) + 1,
        "seconds": round(time.process_time() - started, 2),
    }


def cca_row(data: Prepared, config: Mapping[str, Any]) -> dict[str, Any]:
    """Canonical correlations with one setting, arguments of `fit_space`, on the validation part."""
    train, validation = data.pairs("train"), data.pairs("validation")
    space = fit_space(train.text, train.image, **config)
    found = retrieval(
        *(space.embed(reads, validation.embeddings(reads)) for reads in ("text", "image")), measure="cosine"
    )
    return {"family": "cca", "config": dict(config), **found}


FAMILIES = (*KINDS, "none", "baseline", "cca")
OPTIONS = {family: NETWORKS for family in (*KINDS, "none")} | {"baseline": BASELINES, "cca": CCAS}


def score(rows: Iterable[Mapping[str, Any]]) -> float:
    """Mean validation MRR@100, by cosine, of some rows."""
    return float(np.mean([row["mrr_cosine"] for row in rows]))


def finalists(rows: Sequence[Mapping[str, Any]], family: str, n: int = N_FINALISTS) -> list[dict[str, Any]]:
    """Of all combinations of a family's options the `n` that are likely best, by the effect of each option alone.

    The logarithm of MRR@100 is fitted as a sum of one effect for each value of each option and each fold (least
    squares with a small ridge), on the family's rows; the best setting that was measured is always among the finalists.
    """
    options, own = OPTIONS[family], [r for r in rows if r["family"] == family and r["round"] == 1]
    own = [
        row
        for row in own
        if all(_plain(row["config"][name]) in map(_plain, options[name]) for name in options)
    ]
    folds = sorted({row["fold"] for row in own})

    def effects(config: Mapping[str, Any]) -> np.ndarray:
        flags = [
            _plain(config[name]) == _plain(value) for name, values in options.items() for value in values
        ]
        return np.array(flags, dtype=np.float64)

    design = np.stack([np.concatenate([effects(r["config"]), [r["fold"] == f for f in folds]]) for r in own])
    target = np.log([max(row["mrr_cosine"], 1e-6) for row in own])
    centre = target.mean()
    weights = np.linalg.solve(design.T @ design + 0.5 * np.eye(design.shape[1]), design.T @ (target - centre))
    every = [dict(zip(options, line, strict=True)) for line in itertools.product(*options.values())]
    predicted = sorted(every, key=lambda config: -float(effects(config) @ weights[: -len(folds)]))
    by_setting: dict[str, list[Mapping[str, Any]]] = {}
    for row in own:
        by_setting.setdefault(hash_json(row["config"]), []).append(row)
    measured = max(by_setting.values(), key=score)[0]["config"]
    best = {name: next(v for v in options[name] if _plain(v) == _plain(measured[name])) for name in options}
    return [best, *(config for config in predicted if config != best)][:n]


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def measure(data: Prepared) -> dict[str, Any]:
    """All settings of all families on one fold's validation part, and each family's finalists on those of three folds.

    A row that is on disk is read back.
    """
    folds = [prepare(dataclasses.replace(data.experiment, fold=fold), progress=False) for fold in FINAL_FOLDS]
    rows: list[dict[str, Any]] = []
    for family in (*KINDS, "none", "baseline"):
        start, settings = BEFORE, network_settings()
        if family == "baseline":
            start, settings = AlignConfig(), baseline_settings()
        for config in settings:
            rows += [{**row, "round": 1} for row in _kept_rows(folds[FIRST_FOLD], config, family)]
        for setting in finalists(rows, family):
            for fold in folds:
                found = _kept_rows(fold, dataclasses.replace(start, **setting), family)
                rows += [{**row, "round": 2} for row in found]
    for fold in folds:
        for line in itertools.product(*CCAS.values()):
            row = cca_row(fold, dict(zip(CCAS, line, strict=True)))
            rows.append({**row, "fold": fold.experiment.fold, "round": 2})
    return {"rows": rows, "part": "validation", "n_topics": N_TOPICS}


def _kept_rows(data: Prepared, config: Any, family: str) -> list[dict[str, Any]]:
    """The row of one setting of a family on one fold, in a list."""

    def make() -> dict[str, Any]:
        if family == "baseline":
            return {"rows": [baseline_row(data, config, seed=0)]}
        return {"rows": network_rows(data, config, n_topics=N_TOPICS, seed=0, families=(family,))}

    described = [family, dataclasses.asdict(config), data.experiment.fold]
    key = hash_json([data.fingerprint(), described, code_hash(__name__, without=BY_CONTENT)])
    path = runs_dir() / "study-rows" / f"grid-{hash_json(described)[:12]}.json"
    return [{**row, "fold": data.experiment.fold} for row in kept(path, key, make)["rows"]]


def chosen(family: str, *, fold: int | None = None) -> Any:
    """A family's setting: `ModelConfig` of a kind of topic networks, `AlignConfig` of the baseline, `fit_space`'s of "cca".

    The best mean validation MRR@100 of the settings that were measured on all of `FINAL_FOLDS`. For a fold, those validation
    pairs do not count that are in its test part: the validation part of fold f - 1 lies in the test part of fold f.
    """
    return _chosen(family, fold, str(results_dir()))


@cache
def _chosen(family: str, fold: int | None, results: str) -> Any:
    return choose(read_json(f"{results}/study/grid.json")["rows"], family, fold)


def choose(rows: Sequence[Mapping[str, Any]], family: str, fold: int | None = None) -> Any:
    """As `chosen`, from rows."""
    by_setting: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        if row["family"] == family and row["round"] == 2:
            by_setting.setdefault(hash_json(row["config"]), {})[row["fold"]] = row
    finals = [of for of in by_setting.values() if of.keys() >= set(FINAL_FOLDS)]
    used = [f for f in FINAL_FOLDS if fold is None or f != (fold - 1) % N_FOLDS]
    config = max(finals, key=lambda of: score(of[f] for f in used))[FINAL_FOLDS[0]]["config"]
    if family == "cca":
        return config
    return (AlignConfig if family == "baseline" else ModelConfig)(**config)
