"""Teacher and student: knowledge distillation from one topic model to another (Pivovarova and Zosa 2021).

Every function here trains all seeds side by side; seed i of a student learns from seed i of its teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vtm.config import KINDS, MODES, ModelConfig, stream
from vtm.errors import check_choice
from vtm.model.network import Posterior, TopicNetwork
from vtm.model.topicmodel import TopicModel
from vtm.model.training import History, Pairs, infer_posterior, train


@dataclass(frozen=True)
class Trained:
    """The models of one seed: `text` reads texts, `image` reads images; both are compared by theta.

    In text-teacher `text` is the teacher; in joint `teacher` reads both embeddings and `text` and `image` are its
    students.
    """

    text: TopicModel
    image: TopicModel
    teacher: TopicModel


def teacher_posteriors(teacher: TopicNetwork, x: np.ndarray) -> Posterior:
    """The teacher's posteriors of the training documents, taken once, in evaluation mode, without gradients.

    The published code takes them with dropout on; Hinton et al. (2015) and every distillation since use the
    teacher as it predicts.
    """
    was_training = teacher.training
    posterior = infer_posterior(teacher, x)
    teacher.train(was_training)
    return posterior


def learned_prior(teacher: TopicNetwork) -> Posterior:
    """The prior that the teacher has learned, as arrays (R, 1, K)."""
    return Posterior(
        teacher.prior_mu.detach().cpu().numpy().copy(), teacher.prior_log_var.detach().cpu().numpy().copy()
    )


def train_pair(
    kind: str,
    pairs: Pairs,
    vocabulary: Sequence[str],
    *,
    n_topics: int,
    config: ModelConfig = ModelConfig(),
    seeds: Sequence[int] = (0,),
    mode: str = "posteriors",
    validation: Pairs | None = None,
    device: str = "auto",
    progress: bool = False,
) -> dict[int, Trained]:
    """Train a text model and an image model whose topics correspond, for each seed.

    Parameters
    ----------
    kind : "text-teacher" (teacher on texts, student on images) or "joint" (teacher on both embeddings
        concatenated, a student for texts and one for images).
    pairs : n documents to train on.
    vocabulary : V words, in the order of the columns of `pairs.counts`.
    n_topics : K.
    config : the networks and their training.
    seeds : one run for each.
    mode : "posteriors" (the paper: the student's KL term points at the teacher's posterior of the same
        document), "priors" (the student takes over the teacher's learned prior, fixed), or "none" (independent
        models, whose topics must be matched before they can be compared).
    validation : documents whose loss is kept in the models' `history`; they change nothing else.
    device : "auto" (CUDA where there is one), "cpu" or "cuda".
    progress : show progress bars on stderr, on a terminal.

    Returns
    -------
    seed -> models

    Raises
    ------
    ConfigError, DataError
        An unknown kind or mode, no seed, a device that is not there; arrays that do not agree, or that nothing can be
        learned from.

    Examples
    --------
    >>> from vtm import ModelConfig, from_parameters, prepare, train_pair
    >>> data = prepare(from_parameters({"corpus": "scenes:n=60", "encoder": "pixels"}))
    >>> pairs, config = data.pairs("train"), ModelConfig(epochs=5)
    >>> models = train_pair("joint", pairs, data.vocabulary.words, n_topics=4, config=config, seeds=[0, 1])
    >>> models[1].image.theta(pairs.image).shape
    (40, 4)
    """
    check_choice(f"kind={kind!r}", kind, KINDS)
    check_choice(f"mode={mode!r}", mode, MODES)

    def fit(reads: str, role: str, **target: Posterior) -> tuple[TopicNetwork, History]:
        return train(
            pairs.embeddings(reads),
            pairs.counts,
            n_topics=n_topics,
            config=config,
            # A teacher and its students must not start from the same weights or see the same batches.
            seeds=[stream(seed, role) for seed in seeds],
            validation=None if validation is None else (validation.embeddings(reads), validation.counts),
            device=device,
            progress=f"{kind} {n_topics} topics, {role}" if progress else None,
            **target,
        )

    teacher_reads = "text" if kind == "text-teacher" else "text+image"
    teacher = fit(teacher_reads, "teacher")
    lesson: dict[str, Posterior] = {}
    if mode == "posteriors":
        lesson = {"target": teacher_posteriors(teacher[0], pairs.embeddings(teacher_reads))}
    elif mode == "priors":
        lesson = {"prior": learned_prior(teacher[0])}
    image = fit("image", "image student", **lesson)
    text = teacher if kind == "text-teacher" else fit("text", "text student", **lesson)

    def model(trained: tuple[TopicNetwork, History], reads: str, index: int) -> TopicModel:
        network, history = trained
        return TopicModel(network.replica(index), tuple(vocabulary), seeds[index], reads, history.of(index))

    result = {}
    for index, seed in enumerate(seeds):
        text_model = model(text, "text", index)
        teacher_model = text_model if kind == "text-teacher" else model(teacher, teacher_reads, index)
        result[seed] = Trained(text=text_model, image=model(image, "image", index), teacher=teacher_model)
    return result
