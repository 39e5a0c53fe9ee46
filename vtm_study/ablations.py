"""What each choice of the plain text-teacher costs or brings, on the validation part; one row is kept at a time."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from vtm.config import ModelConfig, generator, stream
from vtm.errors import DataError
from vtm.experiment.prepare import Prepared
from vtm.experiment.runs import BY_CONTENT
from vtm.files import code_hash, hash_json, kept, runs_dir
from vtm.metrics.topics import (
    effective_topics,
    match_topics,
    npmi,
    top_mass,
    topic_agreement,
    topic_diversity,
)
from vtm.model.distill import Pairs, Trained, train_pair
from vtm.model.network import Posterior
from vtm.model.plus import PlusConfig, SharedSpace, fit_space
from vtm.model.topicmodel import TopicModel
from vtm.model.training import train
from vtm_study.measures import (
    minus_bhattacharyya,
    minus_gaussian_kl,
    paired,
    reciprocal,
    reciprocal_of,
    spread,
    welch,
)
from vtm_study.others import embed
from vtm_study.settings import SETTINGS, WIDTH_AND_DEPTH, Setting


def first_words(text: str, n: int) -> str:
    """The first n words of a text, words being what blanks separate.

    >>> first_words("Bay at dusk. boat, sea.", 3)
    'Bay at dusk.'
    """
    return " ".join(text.split()[:n])


def shortened(data: Prepared, part: str, n: int) -> Pairs:
    """The part's pairs with each text cut to its first n words: embedded and counted anew, by the same vocabulary.

    Training pairs whose cut text has no known word are left out, as elsewhere; they would teach nothing.
    """
    texts = [first_words(text, n) for text in data.texts(part)]
    image = data.image[data.rows[part]]
    counts = data.vocabulary.counts(texts)
    pairs = Pairs(embed(data, texts), image, counts)
    return known(pairs) if part == "train" else pairs


def known(pairs: Pairs) -> Pairs:
    """The pairs whose text has a word of the vocabulary."""
    return chosen(pairs, np.flatnonzero(np.asarray(pairs.counts.sum(axis=1)).ravel() > 0))


def chosen(pairs: Pairs, rows: np.ndarray) -> Pairs:
    return Pairs(pairs.text[rows], pairs.image[rows], pairs.counts[rows])


def in_space(space: SharedSpace, pairs: Pairs) -> Pairs:
    """The pairs with both embeddings replaced by their places in a shared space, float32."""
    places = (np.float32(space.embed(reads, pairs.embeddings(reads))) for reads in ("text", "image"))
    return Pairs(*places, pairs.counts)


def measure(data: Prepared, settings: tuple[Setting, ...] = SETTINGS) -> dict[str, Any]:
    """Every setting with all seeds. A row that is on disk is read back, so that a run can be interrupted.

    Settings that these data cannot be trained with are named in "not_run", with the reason. "width_and_depth" compares
    settings that differ in one of the two.
    """
    from tqdm import tqdm

    rows, not_run, items, plain = [], {}, {}, None
    for setting in tqdm(settings, desc="ablations", leave=False, disable=None):
        try:
            row = _row(data, setting)
        except DataError as error:
            if plain is None:
                raise
            not_run[setting.label] = str(error)
            continue
        values = np.array(row.pop("reciprocal"))  # (S, n)
        plain = values if plain is None else plain
        items[setting.label] = values
        rows.append({**row, "minus_plain": paired(values, plain)})
    npmi_of = {row["setting"]: row["figures"]["npmi, image"] for row in rows}
    compared = [
        {
            "what": what,
            "mrr": paired(items[more], items[less]),
            "npmi": welch(npmi_of[more], npmi_of[less]),
        }
        for what, more, less in WIDTH_AND_DEPTH
        if {more, less} <= items.keys()
    ]
    return {
        "rows": rows,
        "width_and_depth": compared,
        "not_run": not_run,
        "kind": "text-teacher",
        "part": "validation",
    }


def _row(data: Prepared, setting: Setting) -> dict[str, Any]:
    described = [setting.described(), dataclasses.asdict(data.experiment.model), data.experiment.seeds]
    # Which settings there are does not matter to the row of one.
    code = code_hash(__name__, without=(*BY_CONTENT, "vtm_study.settings"))
    key = hash_json([data.fingerprint(), described, code])
    path = runs_dir() / "study-rows" / f"{hash_json(described)[:12]}.json"
    return dict(kept(path, key, lambda: {"row": _measured(data, setting)})["row"])


def _measured(data: Prepared, setting: Setting) -> dict[str, Any]:
    config = dataclasses.replace(data.experiment.model, **dict(setting.changes))
    ids = data.ids("validation")
    pairs, validation = (
        shortened(data, part, setting.text_words) if setting.text_words else data.pairs(part)
        for part in ("train", "validation")
    )
    whole = data.pairs("train").counts  # texts that were cut are no measure of coherence
    if setting.aligned:
        space = fit_space(pairs.text, pairs.image, ridge=PlusConfig().ridge)
        pairs, validation = in_space(space, pairs), in_space(space, validation)
    if setting.share < 1:
        order = np.argsort([stream(0, name) for name in data.ids("train")])
        pairs = chosen(pairs, np.sort(order[: round(setting.share * len(order))]))
    words = np.arange(len(data.vocabulary))
    if 0 < setting.max_words < len(words):
        total = np.asarray(pairs.counts.sum(axis=0)).ravel()
        words = np.sort(np.argsort(-total, kind="stable")[: setting.max_words])
        pairs = known(Pairs(pairs.text, pairs.image, pairs.counts[:, words]))
    reference = whole if setting.text_words else pairs.counts
    vocabulary = tuple(data.vocabulary.words[word] for word in words)
    common = {"n_topics": setting.n_topics, "config": config, "device": data.experiment.device}
    common["seeds"] = data.experiment.seeds
    if setting.dropout_teacher:
        models = _train_with_dropout(pairs, vocabulary, **common)
    else:
        models = train_pair(setting.kind, pairs, vocabulary, mode=setting.mode, **common)
    figures, values = [], []
    for one in models.values():
        found = similarities(one, validation, ids, matched_on=pairs if setting.mode == "none" else None)
        values.append(found["cosine of theta"])
        theta = one.image.theta(validation.image)
        figures.append(
            {f"mrr, {name}": float(v.mean()) for name, v in found.items()}
            | {
                f"npmi, {reads}": float(npmi(getattr(one, reads).topics(10), reference, vocabulary).mean())
                for reads in ("text", "image")
            }
            | {
                "diversity": float(topic_diversity(one.image.topics(25))),
                "effective topics": float(effective_topics(theta).mean()),
                "three largest": float(top_mass(theta, 3).mean()),
            }
        )
    return {
        "setting": setting.label,
        "figures": {name: spread([f[name] for f in figures]) for name in figures[0]},
        "reciprocal": [v.tolist() for v in values],
        "n_train": len(pairs),
        "n_words": len(vocabulary),
    }


def similarities(
    models: Trained, pairs: Pairs, ids: list[str], *, matched_on: Pairs | None = None
) -> dict[str, np.ndarray]:
    """Reciprocal ranks (n,) of one pair of models by each similarity of topic distributions or posteriors."""
    text, image = models.text.theta(pairs.text), models.image.theta(pairs.image)
    posteriors = [*models.text.posterior(pairs.text), *models.image.posterior(pairs.image)]
    one = [models.text.theta(pairs.text, n_samples=1), models.image.theta(pairs.image, n_samples=1)]
    order = np.arange(image.shape[1])
    if matched_on is not None:
        agreement = topic_agreement(models.text.theta(matched_on.text), models.image.theta(matched_on.image))
        order = match_topics(agreement)
    image, one[1] = image[:, order], one[1][:, order]
    posteriors[2:] = [array[:, order] for array in posteriors[2:]]
    means = [softmax(np.float64(posteriors[index]), axis=-1) for index in (0, 2)]
    found = {
        "cosine of theta": reciprocal(text, image, ids, measure="cosine"),
        "Hellinger": reciprocal(text, image, ids, measure="hellinger"),
        "Jensen-Shannon": reciprocal(text, image, ids, measure="jensen-shannon"),
        "one sample of theta": reciprocal(*one, ids, measure="cosine"),
        "softmax of mu": reciprocal(*means, ids, measure="cosine"),
        "cosine of mu": reciprocal(posteriors[0], posteriors[2], ids, measure="cosine"),
        "KL of Gaussians": reciprocal_of(minus_gaussian_kl(*posteriors)),
        "Bhattacharyya of Gaussians": reciprocal_of(minus_bhattacharyya(*posteriors)),
    }
    for power in (2, 4):  # a sharper theta, as temperature 1 / power makes it
        sharp = [np.float64(theta) ** power for theta in (text, image)]
        found[f"theta to the power of {power}"] = reciprocal(*sharp, ids, measure="cosine")
    return found


def _train_with_dropout(
    pairs: Pairs,
    vocabulary: tuple[str, ...],
    *,
    n_topics: int,
    config: ModelConfig,
    seeds: tuple[int, ...],
    device: str,
) -> dict[int, Trained]:
    """A text-teacher whose posteriors are taken in training mode: dropout, and norms of the batch."""
    common = {"n_topics": n_topics, "config": config, "device": device}
    teacher, history = train(
        pairs.text, pairs.counts, seeds=[stream(seed, "teacher") for seed in seeds], **common
    )
    state = {name: value.clone() for name, value in teacher.state_dict().items()}
    x = torch.from_numpy(np.ascontiguousarray(pairs.text, dtype=np.float32)).to(teacher.beta.device)
    draws = generator(seeds[0], "teacher's dropout", device=x.device)
    parts = []
    teacher.train()
    with torch.no_grad():
        # A batch of one has no spread to be normed by: near-equal parts of at most a batch.
        for rows in torch.arange(len(x), device=x.device).tensor_split(-(-len(x) // config.batch_size)):
            shape = (len(seeds), len(rows), config.hidden[-1])
            keep = torch.empty(shape, device=x.device).bernoulli_(1 - config.dropout, generator=draws)
            parts.append(teacher.infer(x[rows].unsqueeze(0), keep=keep / (1 - config.dropout)))
    teacher.load_state_dict(state)
    teacher.eval()
    lesson = Posterior(*(torch.cat(arrays, dim=1).cpu().numpy() for arrays in zip(*parts, strict=True)))
    student, student_history = train(
        pairs.image,
        pairs.counts,
        seeds=[stream(seed, "image student") for seed in seeds],
        target=lesson,
        **common,
    )
    found = {}
    for index, seed in enumerate(seeds):
        text = TopicModel(teacher.replica(index), vocabulary, seed, "text", history.of(index))
        image = TopicModel(student.replica(index), vocabulary, seed, "image", student_history.of(index))
        found[seed] = Trained(text=text, image=image, teacher=text)
    return found
