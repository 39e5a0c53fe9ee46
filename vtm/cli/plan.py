"""What a run of the notebooks will train: on what, for how long, with what missing."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vtm.errors import DataError, MissingError

if TYPE_CHECKING:
    from vtm.config import Experiment

# Models of one seed by kind: a teacher and its student, or a teacher and two.
NETWORKS = {"text-teacher": 2, "joint": 3}
# Pairs and inputs that are assumed where the data or weights that would tell are not here.
ASSUMED_PAIRS, ASSUMED_INPUTS = 6000, 512


@dataclass(frozen=True)
class Plan:
    """The plan of an experiment.

    Attributes
    ----------
    n_train : training pairs; `counted` tells whether they were counted or assumed.
    aligned : whether the encoder's texts and images share one space.
    seconds : estimated time of training on this machine, all models together.
    missing : what is not here, each with the remedy.
    """

    experiment: Experiment
    n_train: int
    counted: bool
    n_inputs: int
    aligned: bool
    seconds: float
    missing: tuple[str, ...]

    def lines(self) -> list[str]:
        """The plan as lines of text."""
        e, n_seeds = self.experiment, len(self.experiment.seeds)
        seeds = f"{n_seeds} seed{'' if n_seeds == 1 else 's'}"
        pairs = f"{self.n_train} training pairs"
        assumed = "" if self.counted else " (assumed: the corpus is not complete)"
        return [
            f"corpus    {e.corpus}: {pairs}{assumed}, at most {e.bow.max_words} words",
            f"encoder   {e.encoder}: {self.n_inputs} numbers an embedding",
            f"baseline  1 row, {'cosine of the embeddings' if self.aligned else seeds}",
            *(
                f"models    {kind}, {k} topics: {seeds}, {n_seeds * NETWORKS[kind]} networks"
                for kind, k in _models(e)
            ),
            f"training  about {duration(self.seconds)} on this machine for the rows of Table 1, measured on a few steps; "
            "embedding, the settings chapter and the reference package come on top",
            *(f"missing   {what}" for what in self.missing or ["nothing"]),
        ]


def make_plan(experiment: Experiment) -> Plan:
    """Look what is there and time a few training steps; takes seconds, writes nothing.

    Raises
    ------
    ConfigError
        The experiment names something that does not exist.
    """
    from vtm.corpora import load_corpus, split
    from vtm.encoders import load_named

    missing: list[str] = []
    n_train, counted, language = ASSUMED_PAIRS, False, None
    try:
        _check_fetched("corpus", experiment.corpus_name)
        corpus = load_corpus(experiment.corpus_name, **experiment.corpus_options)
        language = corpus.language
        counted = bool(found := len(split(corpus, seed=experiment.split_seed)["train"]))
        n_train = found or n_train
        if lost := corpus.drop_counts().get("missing-picture"):
            missing.append(
                f"{lost} pictures of {experiment.corpus}: they are left out, or count as not found"
            )
    except (MissingError, DataError) as error:
        missing.append(str(error))
        if experiment.corpus_name == "newsimages":
            language = str(experiment.corpus_options.get("lang", "de"))
            n_train, lost = _news(experiment)
            missing += [what for what in lost if what not in missing]
    n_inputs, aligned = ASSUMED_INPUTS, experiment.encoder_name == "clip"
    try:
        _check_fetched("encoder", experiment.encoder_name)
        encoder = load_named(experiment.encoder, device=experiment.device, language=language)
        aligned, n_inputs = encoder.aligned, encoder.image.dim
        assert encoder.image.key and encoder.text.key  # raises where weights are not here
    except MissingError as error:
        missing.append(str(error))
    epoch_seconds = sum(
        NETWORKS[kind] * _epoch_seconds(experiment, n_train, k, n_inputs) for kind, k in _models(experiment)
    )
    seconds = epoch_seconds * experiment.model.epochs
    return Plan(experiment, n_train, counted, n_inputs, aligned, seconds, tuple(missing))


def duration(seconds: float) -> str:
    """A time as people say it: 7s, 1m20s, 2h05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _models(experiment: Experiment) -> list[tuple[str, int]]:
    from vtm.config import KINDS

    return [(kind, k) for kind in KINDS for k in experiment.n_topics]


def _news(experiment: Experiment) -> tuple[int, list[str]]:
    """Training pairs if all pictures were here, and how many pictures are not, where NewsImages cannot be loaded."""
    from vtm.corpora.base import OWN_FRACTIONS
    from vtm.newsimages import corpus as newsimages

    options = experiment.corpus_options
    try:
        news = newsimages.read(options.get("folder"), ground_truth=options.get("ground_truth"))
    except (MissingError, DataError) as error:
        return ASSUMED_PAIRS, [str(error)]
    where = Path(str(options.get("pictures") or newsimages.pictures_folder(news.folder)))
    lost = sum(newsimages.picture_path(picture, where) is None for picture in news.pictures)
    told = f"{lost} of {len(news.pictures)} pictures are not in {where}: `vtm fetch newsimages-images`"
    return round(OWN_FRACTIONS[0] * len(news.development)), [told] if lost else []


def _check_fetched(kind: str, name: str) -> None:
    """A plan fetches nothing: what loading would fetch is missing."""
    from vtm.corpora.fetch import GROUPS, is_fetched

    if not all(is_fetched(member) for member in GROUPS.get(f"{kind}:{name}", ())):
        raise MissingError(
            f"{kind}:{name}: `vtm prefetch --{kind} {name}` fetches it, and so does running the notebooks"
        )


def _epoch_seconds(experiment: Experiment, n_documents: int, n_topics: int, n_inputs: int) -> float:
    """Time of an epoch of one network for all seeds, from a few steps on random data."""
    import numpy as np
    from scipy.sparse import csr_matrix

    from vtm.model.training import train

    steps = 8
    batch = min(experiment.model.batch_size, n_documents)
    random = np.random.default_rng(0)
    x = random.standard_normal((steps * batch, n_inputs)).astype(np.float32)
    words = random.integers(0, experiment.bow.max_words, size=(len(x), 15))
    counts = csr_matrix(
        (np.ones(words.size, dtype=np.float32), (np.repeat(np.arange(len(x)), 15), words.ravel())),
        shape=(len(x), experiment.bow.max_words),
    )
    taken = []
    for epochs in (1, 3):
        config = dataclasses.replace(experiment.model, epochs=epochs)
        started = time.perf_counter()
        train(x, counts, n_topics=n_topics, config=config, seeds=experiment.seeds, device=experiment.device)
        taken.append(time.perf_counter() - started)
    return max(taken[1] - taken[0], 1e-6) / 2 * (n_documents // batch) / steps
