"""A fitted model as arrays, whoever's it is: topics of texts and pictures, words of topics; and ours in that form."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from vtm.config import ModelConfig, generator, stream
from vtm.errors import ConfigError, MissingError, VtmError
from vtm.experiment.prepare import PARTS, Prepared
from vtm.experiment.runs import BY_CONTENT, model_folder, run_baseline, run_models
from vtm.files import code_hash, hash_json, read_current, runs_dir, write_sealed
from vtm.metrics.retrieval import bootstrap_interval
from vtm.metrics.topics import top_words
from vtm.model.distill import Pairs
from vtm.model.network import TopicNetwork, kl_divergence
from vtm.model.plus import PlusConfig
from vtm.model.topicmodel import TopicModel
from vtm.model.training import input_scaling, training_threads
from vtm_study.ablations import embed
from vtm_study.measures import (
    N_RESAMPLES,
    TOP_WORDS,
    image_coherence,
    image_similarity,
    items,
    keyword_hits,
    mean_similarity,
    mrr,
    paired,
    spread,
    topic_figures,
)
from vtm_study.others import (
    EXTRA_PEERS,
    INSTALL,
    as_shares,
    extra_peer,
    fit_ridge,
    fit_text_topics,
    installed_version,
    mean_reciprocal,
    shared_space,
)
from vtm_study.reference import global_seed, silence
from vtm_study.validation import plus_model


@dataclass(frozen=True)
class Fitted:
    """One model of one seed.

    Parameters
    ----------
    text, image : "validation" and "test" -> (n, K) topics, or embeddings of one space.
    topic_word : (K, V) weights of the words by which pictures are tagged; None where there are no topics.
    topics : each topic's 25 best words.
    seconds : of the fit, on this machine.
    members : how many models of K / members topics stand side by side.
    settings : what was chosen in the fit, on the validation part.
    """

    text: dict[str, np.ndarray]
    image: dict[str, np.ndarray]
    topic_word: np.ndarray | None
    topics: list[list[str]]
    seconds: float
    members: int = 1
    settings: dict[str, float] = field(default_factory=dict)


Fit = Callable[[Prepared, int, Sequence[int]], dict[int, Fitted]]


def baseline(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """The baseline of the tables; an aligned encoder's has no seed and is the same for all."""
    runs = run_baseline(data)
    found = {}
    for index, seed in enumerate(seeds):
        run = runs[min(index, len(runs) - 1)]
        text = {part: run.text(part) for part in ("validation", "test")}
        image = {part: run.image(part) for part in ("validation", "test")}
        found[seed] = Fitted(text, image, None, [], run.figures["seconds"])
    return found


def text_teacher(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """The plain text-teacher: topics of its text model, and pictures tagged with its picture model's."""
    folder = model_folder(data, "text-teacher", n_topics)
    found = {}
    for run in run_models(data, "text-teacher", n_topics=[n_topics]):
        model = TopicModel.load(folder / f"seed-{run.seed}" / "image")
        text = {part: run.text(part) for part in ("validation", "test")}
        image = {part: run.image(part) for part in ("validation", "test")}
        found[run.seed] = Fitted(text, image, model.topic_word(), run.topics["text"], run.figures["seconds"])
    return found


def teachers_together(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """The text-teachers of all seeds side by side, as VTM+'s members are: one model, which has no spread over seeds."""
    every = list(text_teacher(data, n_topics, seeds).values())

    def beside(arrays: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {part: np.concatenate([a[part] for a in arrays], axis=1) / len(arrays) for part in arrays[0]}

    one = Fitted(
        beside([each.text for each in every]),
        beside([each.image for each in every]),
        np.concatenate([each.topic_word for each in every]),
        [topic for each in every for topic in each.topics],
        sum(each.seconds for each in every),
        members=len(every),
    )
    return {seeds[0]: one}


def vtm_plus(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """VTM+ with its default settings."""
    return _plus(data, PlusConfig(n_topics=n_topics), seeds)


def one_member(data: Prepared, n_topics: int, seeds: Sequence[int]) -> dict[int, Fitted]:
    """VTM+'s first member alone: as many topics as the other models have."""
    return _plus(data, dataclasses.replace(PlusConfig(n_topics=n_topics), members=1), seeds)


def _plus(data: Prepared, config: PlusConfig, seeds: Sequence[int]) -> dict[int, Fitted]:
    found = {}
    for seed in seeds:
        started = time.perf_counter()
        model = plus_model(data, config, seed)
        seconds = time.perf_counter() - started
        theta = {
            reads: {
                part: model.theta(reads, data.pairs(part).embeddings(reads))
                for part in ("validation", "test")
            }
            for reads in ("text", "image")
        }
        words = model.topic_word.reshape(-1, model.topic_word.shape[2])
        topics = model.topics(data.vocabulary.words, TOP_WORDS)
        found[seed] = Fitted(
            theta["text"], theta["image"], words, topics, seconds, members=len(model.anchors)
        )
    return found


# M3L-Contrast (Zosa and Pivovarova 2022, COLING) for one language and pictures, on our topic network.
#
# An inference network for texts and one for pictures, one prodLDA decoder that reads texts alone, and a contrastive loss
# between the two topic distributions of a pair. As in the published code: NT-Xent on sampled theta at temperature 0.07
# and weight 50, the divergence of both theta, no term for the prior, dropout on the decoder's theta, Adam, batches of 32,
# 100 epochs, embeddings as they are. What differs: one language in place of two (one decoder, one pair of losses), and
# theta at inference is the mean of 100 samples in place of 20.
#
# `vtm_study.contrastive` differs more: linear maps in place of networks, nothing sampled, InfoNCE across modalities
# alone with a learned scale, on mu as well as on theta, both sides decoded, weight decay.


DIVERGENCES = ("theta", "prior")


@dataclass(frozen=True)
class M3LConfig:
    """Settings; the defaults are the published code's.

    Parameters
    ----------
    contrast : weight of the contrastive loss, beside the mean reconstruction loss of a text.
    divergence : "theta": KL(theta of the picture || theta of the text), summed over the batch, as the code has it;
        "prior": KL of both posteriors to the learned prior, mean over the batch.
    """

    n_topics: int = 100
    contrast: float = 50.0
    divergence: str = "theta"
    temperature: float = 0.07
    epochs: int = 100
    batch_size: int = 32
    lr: float = 2e-3
    dropout: float = 0.2
    standardize: bool = False

    def __post_init__(self) -> None:
        if self.divergence not in DIVERGENCES:
            raise ConfigError(f"divergence={self.divergence!r}: must be one of {', '.join(DIVERGENCES)}")

    def network(self) -> ModelConfig:
        return ModelConfig(
            dropout=self.dropout, standardize=self.standardize, lr=self.lr, batch_size=self.batch_size
        )


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """NT-Xent (Chen et al. 2020): each row's partner against all other rows of both sides, by cosine.

    a, b : (R, n, d), row i of one belongs to row i of the other. Returns the mean over the 2n rows, (R,).
    """
    n = a.shape[1]
    z = F.normalize(torch.cat([a, b], dim=1), dim=2)
    scores = z @ z.transpose(1, 2) / temperature
    scores = scores.masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    partner = torch.arange(2 * n).roll(n)
    return F.cross_entropy(scores.transpose(1, 2), partner.expand(len(scores), -1), reduction="none").mean(
        dim=1
    )


def train_m3l(
    pairs: Pairs, vocabulary: Sequence[str], *, config: M3LConfig, seeds: Sequence[int]
) -> dict[int, tuple[TopicModel, TopicModel]]:
    """Train one model for each seed, side by side: seed -> the model of texts and that of pictures, of one beta.

    A batch of a single pair, which batch norm cannot read, is left out.
    """
    networks = {reads: _network(pairs, reads, config, seeds) for reads in ("text", "image")}
    x = {reads: torch.from_numpy(np.float32(pairs.embeddings(reads))) for reads in networks}
    counts = torch.from_numpy(np.asarray(pairs.counts.todense(), dtype=np.float32))
    text, image = networks["text"], networks["image"]
    unused = {id(image.beta), id(image.prior_mu), id(image.prior_log_var)}
    trained = [p for network in networks.values() for p in network.parameters() if id(p) not in unused]
    optimizer = torch.optim.Adam(trained, lr=config.lr, betas=(0.99, 0.99))
    orders = [generator(seed, "M3L: batches") for seed in seeds]
    draws = [generator(seed, "M3L: samples and dropout") for seed in seeds]
    n = len(pairs)
    with training_threads(len(seeds) * config.batch_size * config.n_topics * len(vocabulary)):
        for _ in range(config.epochs):
            shuffled = torch.stack([torch.randperm(n, generator=order) for order in orders])  # (R, n)
            for start in range(0, n, config.batch_size):
                rows = shuffled[:, start : start + config.batch_size]
                if rows.shape[1] < 2:
                    continue
                optimizer.zero_grad(set_to_none=True)
                _loss(networks, x, counts, rows, draws, config).sum().backward()
                optimizer.step()
    with torch.no_grad():
        for name in ("beta", "beta_mean", "beta_var"):
            getattr(image, name).copy_(getattr(text, name))
    return {
        seed: tuple(
            TopicModel(network.eval().replica(index), tuple(vocabulary), seed, reads)
            for reads, network in networks.items()
        )
        for index, seed in enumerate(seeds)
    }


def _network(pairs: Pairs, reads: str, config: M3LConfig, seeds: Sequence[int]) -> TopicNetwork:
    x = pairs.embeddings(reads)
    network = TopicNetwork(
        n_inputs=x.shape[1],
        n_topics=config.n_topics,
        n_words=pairs.counts.shape[1],
        config=config.network(),
        seeds=[stream(seed, f"M3L: {reads}") for seed in seeds],
    )
    for buffer, value in zip((network.shift, network.scale), input_scaling(x, config.network()), strict=True):
        buffer.copy_(torch.from_numpy(value))
    return network.train()


def _loss(
    networks: dict[str, TopicNetwork],
    x: dict[str, Tensor],
    counts: Tensor,
    rows: Tensor,
    draws: list[torch.Generator],
    config: M3LConfig,
) -> Tensor:
    """The loss of each replica on its own batch, (R,); rows (R, B)."""
    n = rows.shape[1]

    def keep(width: int) -> Tensor:
        drawn = [torch.rand(n, width, generator=g) >= config.dropout for g in draws]
        return torch.stack(drawn) / (1 - config.dropout)

    theta, posteriors = {}, {}
    for reads, network in networks.items():
        hidden = network.config.hidden[-1]
        mu, log_var = network.infer(x[reads][rows], keep=keep(hidden))
        noise = torch.stack([torch.randn(n, config.n_topics, generator=g) for g in draws])
        theta[reads] = F.softmax(mu + (0.5 * log_var).exp() * noise, dim=2)
        posteriors[reads] = mu, log_var
    text = networks["text"]
    words = text.log_word_distribution(theta["text"] * keep(config.n_topics))
    loss = -(counts[rows] * words).sum(dim=2).mean(dim=1)
    if config.divergence == "theta":
        logs = {reads: (t + 1e-12).log() for reads, t in theta.items()}
        loss = loss + (theta["image"] * (logs["image"] - logs["text"])).sum(dim=(1, 2))
    else:
        for mu, log_var in posteriors.values():
            loss = loss + kl_divergence(mu, log_var, text.prior_mu, text.prior_log_var).mean(dim=1)
    return loss + config.contrast * nt_xent(theta["text"], theta["image"], config.temperature)


# Models of others, fitted to our data: topics of texts and pictures in each part, and words of topics.


def text_topics(method: str) -> Fit:
    """LDA or NMF of the texts (`vtm_study.others`), and a ridge map from pictures to their texts' topics."""

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
    """M3L-Contrast (`vtm_study.peers`); all seeds train side by side, and share the time."""

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
    """BERTopic or turftopic in their multimodal modes (`vtm_study.others`), where they are installed."""

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
        lambda found: mean_reciprocal(theta["validation"], as_shares(found), data.ids("validation")),
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


# Other models on the same split: what each reaches with as many topics as a member of VTM+, chosen on the validation part.
#
# The test part is evaluated once, with the chosen setting of each model. A model that is done is kept.


BASELINE, TEACHER, ONE_MEMBER = "baseline", "text-teacher", "VTM+, one member"
# What a row is compared with, over the same test items.
COMPARED = {"minus_baseline": BASELINE, "minus_text_teacher": TEACHER, "minus_one_member": ONE_MEMBER}
MEASURES = ("cosine", "hellinger")


@dataclass(frozen=True)
class Peer:
    """A line of the table: its settings that are tried (label -> how it is fitted) and similarities to choose from.

    Without `measures` it is ranked by the experiment's. `package` is that of a model that is not of this project.
    """

    name: str
    candidates: dict[str, Fit]
    measures: tuple[str, ...] = MEASURES
    package: str = ""


PEERS = (
    Peer(BASELINE, {"": baseline}, ("cosine",)),
    Peer(TEACHER, {"": text_teacher}, ()),
    Peer("text-teacher, all seeds together", {"": teachers_together}, ()),
    Peer("VTM+", {"": vtm_plus}, ("hellinger",)),
    Peer(ONE_MEMBER, {"": one_member}, ("hellinger",)),
    Peer("LDA, ridge map", {"": text_topics("LDA")}, package="scikit-learn"),
    Peer("NMF, ridge map", {"": text_topics("NMF")}, package="scikit-learn"),
    Peer(
        "CombinedTM, ridge map",
        {"KL weight 1 (its default)": combined(1.0), "KL weight 0.1": combined(0.1)},
        package="contextualized-topic-models",
    ),
    Peer("M3L-Contrast, as published", {"": m3l()}),
    Peer(
        "M3L-Contrast, chosen",
        {
            "contrast 5": m3l(contrast=5.0),
            "KL to the prior": m3l(divergence="prior"),
            "standardised": m3l(standardize=True),
            "standardised, contrast 5": m3l(standardize=True, contrast=5.0),
            "standardised, KL to the prior": m3l(standardize=True, divergence="prior"),
        },
    ),
    # turftopic's topics have a sign, for which Hellinger's distance is not defined; BERTopic's are softmaxes of cosines.
    *(Peer(name, {"": extra(name)}, ("cosine",), package=name.lower()) for name in EXTRA_PEERS),
)


def measure(data: Prepared, peers: tuple[Peer, ...] = PEERS) -> dict[str, Any]:
    """Every peer with all seeds: retrieval on the test part, quality of topics, keywords and pictures, time.

    Returns
    -------
    rows : a line a peer; "chosen" and "validation" say what was tried, "package" whose version it is. A peer whose
        package is missing has no line.
    not_run : name -> why.
    chance : what IEC and IEPS are for sets of pictures drawn at random.
    """
    n_topics = min(PlusConfig().n_topics, len(data.rows["train"]) // 2)
    rows, not_run, reciprocal = [], {}, {}
    for peer in tqdm(peers, desc="peers", leave=False, disable=None):
        try:
            row = _row(data, peer, n_topics)
        except Exception as error:
            # Whatever goes wrong in another's package, the study goes on and says what it was.
            if not isinstance(error, VtmError) and peer.name not in EXTRA_PEERS:
                raise
            not_run[peer.name] = (
                str(error) if isinstance(error, VtmError) else f"{type(error).__name__}: {error}"
            )
            continue
        reciprocal[peer.name] = np.array(row.pop("reciprocal"))  # (S, n)
        hits = row.pop("hits")
        if hits is not None:
            row["keyword_hits_interval"] = list(bootstrap_interval(np.array(hits), n_resamples=N_RESAMPLES))
        rows.append(row)
    for row in rows:
        own = reciprocal[row["model"]]
        row |= {
            name: paired(own, reciprocal[other]) for name, other in COMPARED.items() if other in reciprocal
        }
    return {
        "rows": rows,
        "not_run": not_run,
        "n_topics": n_topics,
        "chance": mean_similarity(data.pairs("test").image),
        "n_test": len(data.rows["test"]),
        "n_missing": data.n_missing,
        "part": "test",
    }


def _row(data: Prepared, peer: Peer, n_topics: int) -> dict[str, Any]:
    package = _version(peer.package)
    measures = peer.measures or (data.experiment.measure,)
    described = [peer.name, list(peer.candidates), measures, n_topics, data.experiment.seeds, package]
    described.append(data.n_missing)
    key = hash_json([data.fingerprint(), described, code_hash(__name__, without=BY_CONTENT)])
    path = runs_dir() / "study-rows" / f"peer-{hash_json(described)[:12]}.json"
    if (found := read_current(path, key)) is None:
        found = {"key": key, "row": _measured(data, peer, n_topics)}
        write_sealed(path, found)
    return {**found["row"], "package": package}


def _version(package: str) -> str:
    """A package with its version; "" where it is not installed, or there is none."""
    try:
        return f"{package} {version(package)}" if package else ""
    except PackageNotFoundError:
        return ""


def _measured(data: Prepared, peer: Peer, n_topics: int) -> dict[str, Any]:
    """Choose on the validation part; then read the test part with what was chosen."""
    seeds, ids = data.experiment.seeds, data.ids("validation")
    tried, best = {}, None
    for label, fit in peer.candidates.items():
        runs = fit(data, n_topics, seeds)
        for how in peer.measures or (data.experiment.measure,):
            scores = [
                items(one.text["validation"], one.image["validation"], ids, measure=how)["mrr_100"].mean()
                for one in runs.values()
            ]
            name = ", ".join(part for part in (label, how) if part)
            tried[name] = spread(scores)
            if best is None or tried[name]["mean"] > tried[best[0]]["mean"]:
                best = name, how, runs
    name, how, runs = best
    test = data.pairs("test")
    figures, reciprocal, hits = [], [], []
    for one in runs.values():
        retrieval = items(
            one.text["test"], one.image["test"], data.ids("test"), measure=how, n_missing=data.n_missing
        )
        reciprocal.append(retrieval["mrr_100"].tolist())
        line = {"recall_10": float(retrieval["recall_10"].mean()), "seconds": one.seconds}
        if one.topic_word is not None:
            hits.append(keyword_hits(one.image["test"] @ one.topic_word, test.counts).tolist())
            members = np.array_split(np.arange(one.image["test"].shape[1]), one.members)
            line |= topic_figures(one.topics, data, unseen="test", members=one.members)
            line |= {
                "keyword_hits": float(np.mean(hits[-1])),
                "iec": float(image_coherence(one.image["test"], test.image).mean()),
                "ieps": float(
                    np.mean(
                        [image_similarity(one.image["test"][:, member], test.image) for member in members]
                    )
                ),
            }
        figures.append(line)
    values = np.array(reciprocal)
    return {
        "model": peer.name,
        "chosen": name,
        "fitted": [one.settings for one in runs.values()],
        "validation": tried,
        "mrr_100": mrr(values),
        "figures": {key: spread([f[key] for f in figures]) for key in figures[0]},
        "reciprocal": reciprocal,
        "hits": hits or None,
    }
