"""Where the information goes: from embedding over hidden layer, mu and theta to the largest topics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vtm.config import numpy_generator
from vtm.experiment.prepare import Prepared
from vtm.experiment.runs import model_folder, run_models
from vtm.metrics.topics import effective_topics, top_mass
from vtm.model.network import softplus
from vtm.model.plus import PlusModel, cut, fit_space
from vtm.model.topicmodel import TopicModel
from vtm_study.measures import reciprocal, spread
from vtm_study.validation import plus_config, plus_model

RIDGE = 0.15
PARTS = ("train", "validation")
# Steps whose dimensions of texts and of pictures have nothing to do with each other.
UNRELATED = ("embedding", "principal components", "random projection")


def measure(data: Prepared) -> dict[str, Any]:
    """Validation MRR@100 at each step, ranked as it is and after the best linear maps, and gold categories.

    "as it is": cosine of the step's arrays. "linear maps": what a shared space (`fit_space`) of the step's arrays,
    fitted on the training part, ranks; other maps might rank more. "category": accuracy of a ridge classifier of the gold
    category. Controls: the embeddings cut to as many dimensions as the hidden layer has, by principal components and by
    random projections, for what fewer dimensions cost by themselves.
    """
    config = plus_config(data)
    run_models(data, "text-teacher", n_topics=[config.n_topics])
    folder = model_folder(data, "text-teacher", config.n_topics)
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed in data.experiment.seeds:
        models = {reads: TopicModel.load(folder / f"seed-{seed}" / reads) for reads in ("text", "image")}
        plus = plus_model(data, config, seed)
        width = models["image"].network.config.hidden[-1]
        for model, steps in (
            ("text-teacher", _steps(models, data)),
            ("control", _controls(data, width, seed)),
            ("VTM+", _plus_steps(plus, data)),
        ):
            for step, arrays in steps.items():
                found.setdefault((model, step), []).append(_figures(step, arrays, data))
    rows = [
        {
            "model": model,
            "step": step,
            "figures": {name: spread([f[name] for f in values]) for name in values[0]},
        }
        for (model, step), values in found.items()
    ]
    return {"rows": rows, "width": width, "part": "validation"}


def hidden_layer(model: TopicModel, x: np.ndarray) -> np.ndarray:
    """The inference network's last hidden layer in evaluation mode: embeddings (n, D) -> (n, H)."""
    network = model.network
    activate = softplus if network.config.activation == "softplus" else torch.relu
    with torch.no_grad():
        rows = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(network.beta.device)
        hidden = ((rows - network.shift) / network.scale).unsqueeze(0)
        for weight, bias in zip(network.weights, network.biases, strict=True):
            hidden = activate(torch.baddbmm(bias, hidden, weight))
    return hidden[0].cpu().numpy()


def _steps(models: dict[str, TopicModel], data: Prepared) -> dict[str, dict[str, np.ndarray]]:
    def read(reads: str, x: np.ndarray) -> dict[str, np.ndarray]:
        model = models[reads]
        before = {"embedding": x, "hidden layer": hidden_layer(model, x), "mu": model.posterior(x)[0]}
        return before | _cuts(model.theta(x))

    return _collected(read, data)


def _controls(data: Prepared, width: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Standardised embeddings in `width` dimensions: the training part's principal components, and a seeded projection."""
    draws = numpy_generator(seed, "random projection")
    train = data.pairs("train")
    maps = {}
    for reads in ("text", "image"):
        x = np.float64(train.embeddings(reads))
        mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
        _, vectors = np.linalg.eigh(((x - mean) / scale).T @ ((x - mean) / scale))
        kept = min(width, x.shape[1])
        maps[reads] = mean, scale, vectors[:, ::-1][:, :kept], draws.normal(size=(x.shape[1], kept))

    def read(reads: str, x: np.ndarray) -> dict[str, np.ndarray]:
        mean, scale, components, projection = maps[reads]
        standardised = (x - mean) / scale
        return {
            "principal components": standardised @ components,
            "random projection": standardised @ projection,
        }

    return _collected(read, data)


def _plus_steps(plus: PlusModel, data: Prepared) -> dict[str, dict[str, np.ndarray]]:
    return _collected(
        lambda reads, x: {"shared space": plus.space.embed(reads, x)} | _cuts(plus.theta(reads, x)), data
    )


def _cuts(theta: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "theta": theta,
        "ten largest topics": cut(theta, 10),
        "three largest topics": cut(theta, 3),
    }


def _collected(
    read: Callable[[str, np.ndarray], dict[str, np.ndarray]], data: Prepared
) -> dict[str, dict[str, np.ndarray]]:
    """step -> "<part>_<reads>" -> arrays (n, d), of what `read` makes of each side's embeddings."""
    steps: dict[str, dict[str, np.ndarray]] = {}
    for part in PARTS:
        pairs = data.pairs(part)
        for reads in ("text", "image"):
            for step, array in read(reads, pairs.embeddings(reads)).items():
                steps.setdefault(step, {})[f"{part}_{reads}"] = array
    return steps


def _figures(step: str, arrays: dict[str, np.ndarray], data: Prepared) -> dict[str, float]:
    ids = data.ids("validation")
    text, image = arrays["validation_text"], arrays["validation_image"]
    figures = {}
    if text.shape[1] == image.shape[1] and step not in UNRELATED:
        how = "hellinger" if "theta" in step or "topics" in step else "cosine"
        figures["mrr, as it is"] = float(reciprocal(text, image, ids, measure=how).mean())
    space = fit_space(arrays["train_text"], arrays["train_image"], ridge=RIDGE)
    mapped = space.embed("text", text), space.embed("image", image)
    figures["mrr, linear maps"] = float(reciprocal(*mapped, ids, measure="cosine").mean())
    if (groups := data.groups("train")) is not None:
        for reads in ("text", "image"):
            accuracy = _probe(
                arrays[f"train_{reads}"], groups, arrays[f"validation_{reads}"], data.groups("validation")
            )
            figures[f"category, {reads}"] = accuracy
    if "theta" in step or "topics" in step:
        figures["effective topics"] = float(effective_topics(image).mean())
        figures["three largest"] = float(top_mass(image, 3).mean())
    return figures


def _probe(x: np.ndarray, groups: list[str], other: np.ndarray, other_groups: list[str]) -> float:
    from sklearn.linear_model import RidgeClassifier

    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    probe = RidgeClassifier(alpha=0.15 * len(x)).fit((x - mean) / scale, groups)
    return float(probe.score((other - mean) / scale, other_groups))
