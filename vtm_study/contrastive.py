"""The other way to VTM+, kept as a result: a topic model with a contrastive loss, trained from random weights.

Linear inference networks for texts and pictures, one prodLDA decoder for both, and InfoNCE between the two sides (as
in M3L-Contrast, Zosa and Pivovarova 2022) on mu, on theta, and on theta cut to ten topics, beside the plain text-teacher.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional as F

from vtm.config import generator
from vtm.experiment.prepare import Prepared
from vtm.experiment.runs import run_models
from vtm.model.distill import Pairs
from vtm.model.training import training_threads
from vtm_study.measures import (
    TOP_WORDS,
    over_seeds,
    paired,
    reciprocal,
    spread,
    teacher_figures,
    validation_figures,
)


@dataclass(frozen=True)
class ContrastiveConfig:
    """Weights of the losses (mu, theta, top10: InfoNCE; words: reconstruction, nats a text) and of the training."""

    n_topics: int = 120
    mu: float = 1.0
    theta: float = 1.0
    top10: float = 1.0
    words: float = 0.02
    temperature: float = 1.0
    epochs: int = 40
    batch_size: int = 256
    lr: float = 1e-3
    weight_decay: float = 5.0


VARIANTS = (
    ("InfoNCE on mu", ContrastiveConfig(theta=0, top10=0)),
    ("InfoNCE on mu, theta and ten topics", ContrastiveConfig()),
    ("more weight on words", ContrastiveConfig(words=0.2)),
    ("sharper theta", ContrastiveConfig(temperature=0.3)),
    ("K = 300", ContrastiveConfig(n_topics=300)),
)


@dataclass(frozen=True)
class ContrastiveModel:
    """Trained maps "text" and "image" (D + 1, K), the last line the bias; beta (K, V)."""

    config: ContrastiveConfig
    scaling: dict[str, tuple[np.ndarray, np.ndarray]]
    maps: dict[str, np.ndarray]
    beta: np.ndarray

    def mu(self, reads: str, x: np.ndarray) -> np.ndarray:
        mean, scale = self.scaling[reads]
        return (x - mean) / scale @ self.maps[reads][:-1] + self.maps[reads][-1]

    def theta(self, reads: str, x: np.ndarray) -> np.ndarray:
        return softmax(self.mu(reads, x) / self.config.temperature, axis=-1)


def info_nce(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """Mean over both directions of -log p(own partner), p by a softmax of scale * a . b (van den Oord et al. 2018).

    a, b : (n, d), row i of one belongs to row i of the other.
    """
    logits = scale * a @ b.T
    own = torch.arange(len(a))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def train_contrastive(pairs: Pairs, *, config: ContrastiveConfig, seed: int) -> ContrastiveModel:
    """Train both sides together."""
    draws = generator(seed, "contrastive: initial weights")
    order = generator(seed, "contrastive: batches")
    n_words, k = pairs.counts.shape[1], config.n_topics
    scaling, x, maps = {}, {}, {}
    for reads in ("text", "image"):
        rows = pairs.embeddings(reads)
        scaling[reads] = rows.mean(axis=0), rows.std(axis=0) + 1e-6
        x[reads] = torch.from_numpy(((rows - scaling[reads][0]) / scaling[reads][1]).astype(np.float32))
        start = torch.randn(rows.shape[1], k, generator=draws) / rows.shape[1] ** 0.5
        maps[reads] = (start.requires_grad_(), torch.zeros(k, requires_grad=True))
    beta = (torch.randn(k, n_words, generator=draws) * (2 / (k + n_words)) ** 0.5).requires_grad_()
    scales = torch.tensor([1 / 0.07, 10.0, 10.0]).log().requires_grad_()
    counts = torch.from_numpy(np.asarray(pairs.counts.todense(), dtype=np.float32))
    groups = [
        {"params": [maps["text"][0], maps["image"][0]], "weight_decay": config.weight_decay, "lr": config.lr},
        {"params": [maps["text"][1], maps["image"][1], scales], "weight_decay": 0.0, "lr": config.lr},
        {"params": [beta], "weight_decay": 0.0, "lr": 5 * config.lr},
    ]
    optimizer = torch.optim.AdamW(groups)
    batch = min(config.batch_size, len(pairs))
    steps = config.epochs * (len(pairs) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with training_threads(batch * k * n_words):
        for _ in range(config.epochs):
            shuffled = torch.randperm(len(pairs), generator=order)
            for start in range(0, len(pairs) - batch + 1, batch):
                rows = shuffled[start : start + batch]
                mu = [x[reads][rows] @ maps[reads][0] + maps[reads][1] for reads in ("text", "image")]
                optimizer.zero_grad(set_to_none=True)
                _loss(mu, beta, counts[rows], scales, config).backward()
                optimizer.step()
                schedule.step()
    found = {r: torch.cat([weight, bias[None]]).detach().numpy() for r, (weight, bias) in maps.items()}
    return ContrastiveModel(config, scaling, found, beta.detach().numpy())


def _loss(
    mu: list[Tensor], beta: Tensor, counts: Tensor, scales: Tensor, config: ContrastiveConfig
) -> Tensor:
    of_mu, of_theta, of_top10 = scales.exp().clamp(max=100)
    theta = [F.softmax(m / config.temperature, dim=1) for m in mu]
    loss = config.mu * info_nce(*(F.normalize(m, dim=1) for m in mu), of_mu)
    if config.theta:
        loss = loss + config.theta * info_nce(*((t + 1e-9).sqrt() for t in theta), of_theta)
    if config.top10:
        kept = [t * (t >= t.detach().topk(min(10, t.shape[1]), dim=1).values[:, -1:]) for t in theta]
        roots = [(t / t.sum(dim=1, keepdim=True) + 1e-9).sqrt() for t in kept]
        loss = loss + config.top10 * info_nce(*roots, of_top10)
    for t in theta:
        scores = t @ beta
        normed = (scores - scores.mean(dim=0)) / (scores.var(dim=0) + 1e-5).sqrt()
        loss = loss - config.words * (counts * F.log_softmax(normed, dim=1)).sum(dim=1).mean()
    return loss


def measure(data: Prepared) -> dict[str, Any]:
    """All variants with all seeds, on the validation part, each beside a text-teacher with as many topics.

    "minus_text_teacher" is paired over texts (the posterior's ranking); "npmi_minus_text_teacher" is over seeds.
    """
    limit, seeds = len(data.rows["train"]) // 2, data.experiment.seeds
    pairs, ids = data.pairs("validation"), data.ids("validation")
    rows = []
    for name, config in VARIANTS:
        config = replace(config, n_topics=min(config.n_topics, limit))
        models = [train_contrastive(data.pairs("train"), config=config, seed=seed) for seed in seeds]
        figures = [figures_of(model, data) for model in models]
        runs = run_models(data, "text-teacher", n_topics=[config.n_topics])
        theirs = [
            reciprocal(run.text("validation"), run.image("validation"), ids, measure=run.measure)
            for run in runs
        ]
        ours = [
            reciprocal(
                *(model.theta(reads, pairs.embeddings(reads)) for reads in ("text", "image")),
                ids,
                measure="hellinger",
            )
            for model in models
        ]
        beside = teacher_figures(runs, data, unseen="validation")["both"]
        rows.append(
            {"setting": name, "config": asdict(config)}
            | {figure: spread([f[figure] for f in figures]) for figure in figures[0]}
            | {
                "text_teacher_mrr": spread([float(v.mean()) for v in theirs]),
                "minus_text_teacher": paired(np.stack(ours), np.stack(theirs)),
                "npmi_minus_text_teacher": over_seeds(
                    [f["npmi"] for f in figures], [f["npmi"] for f in beside]
                ),
            }
        )
    return {"rows": rows, "part": "validation"}


def figures_of(model: ContrastiveModel, data: Prepared) -> dict[str, float]:
    """Retrieval, topic quality and keyword hits of one model on the validation part."""
    pairs, ids, vocabulary = data.pairs("validation"), data.ids("validation"), data.vocabulary.words
    mu = [model.mu(reads, pairs.embeddings(reads)) for reads in ("text", "image")]
    theta = [model.theta(reads, pairs.embeddings(reads)) for reads in ("text", "image")]
    topics = [[vocabulary[w] for w in np.argsort(-line, kind="stable")[:TOP_WORDS]] for line in model.beta]
    mu_mrr = float(reciprocal(*mu, ids, measure="cosine").mean())
    words = theta[1] @ softmax(model.beta)
    return {"mu_mrr": mu_mrr} | validation_figures(*theta, words, topics, data)
