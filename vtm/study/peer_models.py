"""Models of others, fitted to our data: topics of texts and pictures in each part, and words of topics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from vtm.distill import Pairs
from vtm.errors import MissingError
from vtm.labels import top_words
from vtm.peers import as_shares, fit_ridge, fit_text_topics, mrr
from vtm.peers_extra import INSTALL, extra_peer, installed_version, shared_space
from vtm.prepare import PARTS, Prepared
from vtm.reference import global_seed, silence
from vtm.seeds import stream
from vtm.study.fitted import Fit, Fitted
from vtm.study.inputs import embed
from vtm.study.m3l import M3LConfig, train_m3l
from vtm.study.quality import TOP_WORDS


def text_topics(method: str) -> Fit:
    """LDA or NMF of the texts (`vtm.peers`), and a ridge map from pictures to their texts' topics."""

    def fit(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
        pairs = {part: data.pairs(part) for part in PARTS}
        counts = {part: p.counts for part, p in pairs.items()}
        found = {}
        for seed in seeds:
            started = time.perf_counter()
            theta, topic_word, _ = fit_text_topics(method, counts, n_topics=n_topics, seed=seed)
            found[seed] = _mapped(theta, topic_word, pairs, data, started)
        return found

    return fit


def combined(kl_weight: float) -> Fit:
    """CombinedTM (Bianchi et al. 2021, ACL) of the package contextualized-topic-models with its own defaults.

    It reads a text's bag of words beside its embedding, which a picture has not: pictures get topics by a ridge map.
    """

    def fit(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
        try:
            from contextualized_topic_models.datasets.dataset import CTMDataset
            from contextualized_topic_models.models.ctm import CombinedTM
        except ImportError:
            raise MissingError("not installed; in the checkout: pip install -e '.[reference]'") from None
        pairs = {part: data.pairs(part) for part in PARTS}
        words = dict(enumerate(data.vocabulary.words))
        read = {part: CTMDataset(np.float32(p.text), p.counts, words) for part, p in pairs.items()}
        found = {}
        for seed in seeds:
            started = time.perf_counter()
            with global_seed(stream(seed, "CombinedTM")), silence():
                model = CombinedTM(
                    bow_size=len(words),
                    contextual_size=data.text.shape[1],
                    n_components=n_topics,
                    num_data_loader_workers=0,
                    loss_weights={"beta": kl_weight},
                )
                model.fit(read["train"], do_train_predictions=False)
                theta = {
                    part: model.get_doc_topic_distribution(data, n_samples=100) for part, data in read.items()
                }
            beta = model.best_components.detach().cpu().numpy()
            topic_word = np.exp(beta - beta.max(axis=1, keepdims=True))
            topic_word /= topic_word.sum(axis=1, keepdims=True)
            found[seed] = _mapped(theta, topic_word, pairs, data, started)
        return found

    return fit


def m3l(**changes: Any) -> Fit:
    """M3L-Contrast (`vtm.study.m3l`); all seeds train side by side, and share the time."""

    def fit(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
        config = M3LConfig(n_topics=n_topics, **changes)
        started = time.perf_counter()
        trained = train_m3l(data.pairs("train"), data.vocabulary.words, config=config, seeds=seeds)
        seconds = (time.perf_counter() - started) / len(seeds)
        pairs = {part: data.pairs(part) for part in ("validation", "test")}
        return {
            seed: Fitted(
                {part: text.theta(p.text) for part, p in pairs.items()},
                {part: image.theta(p.image) for part, p in pairs.items()},
                text.topic_word(),
                text.topics(TOP_WORDS),
                seconds,
            )
            for seed, (text, image) in trained.items()
        }

    return fit


def extra(name: str) -> Fit:
    """BERTopic or turftopic in their multimodal modes (`vtm.peers_extra`), where they are installed."""

    def fit(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
        if installed_version(name) is None:
            raise MissingError(f"not installed: {INSTALL}")
        ids = data.ids("validation")
        text, image = shared_space({part: data.pairs(part) for part in PARTS}, ids, aligned=data.aligned)
        # The peer reads any places of the space: the test part's texts go in behind its pictures.
        places = {**image, "test": np.concatenate([image["test"], text["test"]])}
        tokens = [data.vocabulary.tokens(one) for one in data.texts("train")]
        found = {}
        for seed in seeds:
            started = time.perf_counter()
            peer = extra_peer(
                name,
                text,
                places,
                tokens,
                data.vocabulary.words,
                ids,
                embed_words=lambda words: embed(data, words),
                n_topics=n_topics,
                seed=seed,
            )
            seconds = time.perf_counter() - started
            n = len(image["test"])
            found[seed] = Fitted(
                {"validation": peer.text, "test": peer.image["test"][n:]},
                {"validation": peer.image["validation"], "test": peer.image["test"][:n]},
                peer.topic_word,
                top_words(peer.topic_word, data.vocabulary.words, TOP_WORDS),
                seconds,
                settings={k: v for k, v in peer.figures.items() if k == "temperature"},
            )
        return found

    return fit


def _mapped(
    theta: dict[str, np.ndarray],
    topic_word: np.ndarray,
    pairs: dict[str, Pairs],
    data: Prepared,
    started: float,
) -> Fitted:
    """Texts' topics, and pictures' by the ridge map whose penalty has the best validation MRR@100."""
    ridge = fit_ridge(
        pairs["train"].image,
        theta["train"],
        pairs["validation"].image,
        lambda found: mrr(theta["validation"], as_shares(found), data.ids("validation")),
    )
    seconds = time.perf_counter() - started
    return Fitted(
        {part: theta[part] for part in ("validation", "test")},
        {part: as_shares(ridge(pairs[part].image)) for part in ("validation", "test")},
        topic_word,
        top_words(topic_word, data.vocabulary.words, TOP_WORDS),
        seconds,
        settings={"ridge": ridge.alpha},
    )
