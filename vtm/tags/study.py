"""The study of tags: topics of pictures against gold categories, their keywords against the pictures' own texts.

Settings are chosen on the validation part; the test part is read once, by what was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from vtm.config import KINDS
from vtm.errors import MissingError
from vtm.experiment import code_hash, model_folder, run_folder
from vtm.files import hash_file, hash_json
from vtm.metrics import per_item
from vtm.peers import PARTS, TEXT_PEERS, PeerTopics, reciprocal_ranks, text_peer
from vtm.peers_extra import EXTRA_PEERS, INSTALL, extra_peer, installed_version, shared_space
from vtm.prepare import Prepared
from vtm.results import Result
from vtm.tags.measures import Material, material, measure_topics
from vtm.tags.metrics import names_category
from vtm.tags.references import Task, references
from vtm.tags.runs import PeerStatus, TagRun, TagStudy, healthy_models, stored
from vtm.topicmodel import TopicModel

# Modules whose text the stored measurements depend on, besides those that the models depend on.
_CODE = (
    *(f"tags/{name}" for name in ("study", "measures", "metrics", "probes", "references", "runs")),
    *("labels", "peers", "peers_extra"),
)


def tag_study(
    data: Prepared, results: Sequence[Result], *, extras: bool = True, progress: bool = True
) -> TagStudy:
    """Measure the tags of the models' runs, of peers and of references; read back what is stored and current.

    Each measurement is a file in the runs folder, so that a study that was interrupted goes on where it was.

    Parameters
    ----------
    results : of `vtm.run_models`, trained on `data`; those of the baseline are passed over.
    extras : whether BERTopic and turftopic are fitted, where they are installed. What is stored of them is read back
        where they are not.
    """
    from threadpoolctl import threadpool_limits
    from tqdm import tqdm

    study = _Study(data)
    models, unhealthy = healthy_models(results)
    experiment = data.experiment
    tasks: list[Task] = [
        *references(study.given, experiment.n_topics, experiment.seeds),
        *(study.of_model(run) for run in models),
        *(
            study.of_peer(name, k, seed)
            for name in TEXT_PEERS
            for k in experiment.n_topics
            for seed in experiment.seeds
        ),
    ]
    # The matrices are small: threads that wait for each other take ten times as long as one.
    with threadpool_limits(limits=1):
        bar = tqdm(tasks, desc="tags", unit="run", disable=None if progress else True)
        runs = [study.run(task) for task in bar]
        peers = []
        for name in EXTRA_PEERS if extras else ():
            found, status = study.extra(name)
            runs += found
            peers.append(status)
    given = study.given
    return TagStudy(
        ids=given.ids["test"],
        groups=None if given.groups is None else list(given.groups["test"]),
        n_train=len(given.ids["train"]),
        n_validation=len(given.ids["validation"]),
        n_words=len(given.words),
        n_new_groups=_n_new(given),
        n_named=0
        if given.groups is None
        else int(names_category(data.texts("test"), given.groups["test"]).sum()),
        n_wordless=int((~given.present["test"].any(axis=1)).sum()),
        runs=tuple(runs),
        peers=tuple(peers),
        unhealthy=unhealthy,
    )


class _Study:
    """What all measurements of one corpus share, made when it is first asked for."""

    def __init__(self, data: Prepared) -> None:
        here = Path(__file__).parent.parent
        self.data = data
        self.folder = run_folder(data) / "tags"
        code = [code_hash(), *(hash_file(here / f"{name}.py") for name in _CODE)]
        self.key = hash_json([data.fingerprint(), code])

    @cached_property
    def given(self) -> Material:
        return material(self.data)

    @cached_property
    def space(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        pairs = {part: self.data.pairs(part) for part in PARTS}
        return shared_space(pairs, self.data.ids("validation"), aligned=self.data.aligned)

    @cached_property
    def tokens(self) -> list[list[str]]:
        return [self.data.vocabulary.tokens(text) for text in self.data.texts("train")]

    def run(self, task: Task) -> TagRun:
        name, k, seed, measure = task
        if name in KINDS:  # their folder is named by the model's settings
            folder = model_folder(self.data, name, k).name
        else:
            words = "-".join(name.lower().replace("'", "").split())
            folder = f"{words}-{k}" if k else words
        return stored(
            self.folder / folder / f"seed-{seed}.json", hash_json([self.key, folder, seed]), measure
        )

    def of_model(self, result: Result) -> Task:
        def measure() -> TagRun:
            folder = model_folder(self.data, result.row, result.n_topics) / f"seed-{result.seed}"
            model = TopicModel.load(folder / "image")
            theta = {part: model.theta(self.given.image[part]) for part in PARTS}
            figures, items, keywords = measure_topics(self.given, theta, model.topic_word())
            items["matched"] = per_item(result.ranks("validation"))["mrr_100"].tolist()
            figures["validation_matched"] = float(np.mean(items["matched"]))
            return TagRun(result.row, result.n_topics, result.seed, figures, items, keywords)

        return result.row, result.n_topics, result.seed, measure

    def of_peer(self, name: str, k: int, seed: int) -> Task:
        def fit() -> PeerTopics:
            pairs = {part: self.data.pairs(part) for part in PARTS}
            return text_peer(name, pairs, self.data.ids("validation"), n_topics=k, seed=seed)

        return name, k, seed, lambda: self.measure_peer(fit(), name, k, seed)

    def of_extra(self, name: str, k: int, seed: int) -> Task:
        def fit() -> PeerTopics:
            if installed_version(name) is None:  # before the encoders are loaded for it
                raise MissingError(f"not installed: {INSTALL}")
            text, image = self.space
            return extra_peer(
                name,
                text,
                image,
                self.tokens,
                self.data.vocabulary.words,
                self.data.ids("validation"),
                embed_words=self.embed_words,
                n_topics=k,
                seed=seed,
            )

        return name, k, seed, lambda: self.measure_peer(fit(), name, k, seed)

    def measure_peer(self, peer: PeerTopics, name: str, k: int, seed: int) -> TagRun:
        figures, items, keywords = measure_topics(self.given, peer.image, peer.topic_word)
        figures["converged"] = min(figures.get("converged", 1.0), peer.figures["converged"])
        figures = peer.figures | figures
        matched = reciprocal_ranks(peer.text, peer.image["validation"], self.given.ids["validation"])
        items["matched"] = matched.tolist()
        figures["validation_matched"] = float(matched.mean())
        return TagRun(name, k, seed, figures, items, keywords, installed_version(name) or "")

    def extra(self, name: str) -> tuple[list[TagRun], PeerStatus]:
        """Runs of an extra peer. Whatever goes wrong in it, the study goes on and says what it was."""
        experiment, runs = self.data.experiment, []
        try:
            for k in experiment.n_topics:
                for seed in experiment.seeds:
                    runs.append(self.run(self.of_extra(name, k, seed)))
        except MissingError as error:
            return runs, PeerStatus(name, False, "", str(error))
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            return runs, PeerStatus(name, False, installed_version(name) or "", reason)
        return runs, PeerStatus(name, True, runs[0].version, "")

    def embed_words(self, words: Sequence[str]) -> np.ndarray:
        from vtm.encoders import embed_texts, load_named

        experiment = self.data.experiment
        encoder = load_named(experiment.encoder, device=experiment.device, language=self.data.corpus.language)
        return embed_texts(encoder.text, list(words), progress=False)


def _n_new(given: Material) -> int:
    if given.groups is None:
        return 0
    known = set(given.groups["train"])
    return sum(group not in known for group in given.groups["test"])
