"""The reference package's own trainer beside ours: contextualized-topic-models (Bianchi et al. 2021, EACL).

`compare` trains the same text teachers with both and measures both with the same code; `agree` says whether the
figures differ by more than the seeds make them differ. The package is the extra `reference`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vtm.config import ModelConfig, stream
from vtm.errors import DataError, MissingError
from vtm.experiment.prepare import Prepared
from vtm.experiment.runs import BY_CONTENT, run_folder
from vtm.files import code_hash, hash_json, kept
from vtm.metrics.ranking import target_ranks
from vtm.metrics.retrieval import Test, retrieval_figures, seed_summary
from vtm.metrics.topics import npmi, topic_diversity
from vtm.model.distill import Pairs, teacher_posteriors
from vtm.model.network import Posterior, TopicNetwork
from vtm.model.topicmodel import TopicModel, check_embeddings
from vtm.model.training import held_out_reconstruction, input_scaling, train
from vtm.report.tables import spread
from vtm_study.formats import Row, table
from vtm_study.measures import welch

if TYPE_CHECKING:
    import pandas as pd
    from contextualized_topic_models.models.ctm import ZeroShotTM
    from scipy.sparse import csr_matrix


OURS, THEIRS = "vtm", "contextualized-topic-models"
FIGURES = {
    "npmi": "NPMI",
    "diversity": "diversity",
    "reconstruction": "held-out reconstruction, nats a text",
    "mrr_100": "MRR@100",
}


def fit_zeroshot(
    x: np.ndarray,
    counts: csr_matrix,
    vocabulary: Sequence[str],
    *,
    n_topics: int,
    config: ModelConfig = ModelConfig(),
    seed: int = 0,
) -> ZeroShotTM:
    """Train the reference package's ZeroShotTM by its own `fit`, with our settings.

    Parameters
    ----------
    x : (n, D) embeddings, read as they are (`config.standardize` is the caller's affair).
    counts : (n, V) bags of words of the same documents.

    Notes
    -----
    The package draws from the global random state; it is seeded for the fit and put back afterwards. What the
    package prints is swallowed.

    Raises
    ------
    MissingError
        The package is not installed.
    DataError
        Embeddings that are not finite.
    """
    check_embeddings(x)
    try:
        from contextualized_topic_models.datasets.dataset import CTMDataset
        from contextualized_topic_models.models.ctm import ZeroShotTM
    except ImportError:
        raise MissingError(
            "the comparison needs the package contextualized-topic-models: pip install -e '.[reference]' in the checkout"
        ) from None

    data = CTMDataset(np.asarray(x, dtype=np.float32), counts, dict(enumerate(vocabulary)))
    with global_seed(stream(seed, "reference")), silence():
        model = ZeroShotTM(
            bow_size=counts.shape[1],
            contextual_size=x.shape[1],
            n_components=n_topics,
            model_type=config.decoder,
            hidden_sizes=config.hidden,
            activation=config.activation,
            dropout=config.dropout,
            batch_size=min(config.batch_size, len(x)),
            lr=config.lr,
            num_epochs=config.epochs,
            num_data_loader_workers=0,
            loss_weights={"beta": config.kl_weight},
        )
        # The package has no argument for these two.
        model.optimizer.param_groups[0]["betas"] = (config.beta1, config.beta2)
        model.model.inf_net.dropout_enc.p = config.dropout
        model.fit(data, do_train_predictions=False)
    return model


def copy_weights(model: ZeroShotTM, *, config: ModelConfig | None = None) -> TopicNetwork:
    """A ZeroShotTM's weights and batch norms in a network of ours, in evaluation mode.

    Parameters
    ----------
    config : the settings that the network is to carry; by default the model's decoder, activation and widths.
    """
    net, inf = model.model, model.model.inf_net
    if config is None:
        config = ModelConfig(decoder=model.model_type, activation=model.activation, hidden=model.hidden_sizes)
    ours = TopicNetwork(
        n_inputs=model.contextual_size, n_topics=model.n_components, n_words=model.bow_size, config=config
    )
    layers = [inf.input_layer, *(block[0] for block in inf.hiddens)]
    heads, norms = (inf.f_mu, inf.f_sigma), (inf.f_mu_batchnorm, inf.f_sigma_batchnorm)
    with torch.no_grad():
        for weight, bias, layer in zip(ours.weights, ours.biases, layers, strict=True):
            weight[0].copy_(layer.weight.T)
            bias[0, 0].copy_(layer.bias)
        ours.head_weight[0].copy_(torch.cat([head.weight for head in heads]).T)
        ours.head_bias[0, 0].copy_(torch.cat([head.bias for head in heads]))
        ours.beta[0].copy_(net.beta)
        ours.prior_mu[0, 0].copy_(net.prior_mean)
        ours.prior_log_var[0, 0].copy_(net.prior_variance.log())
        ours.head_mean[0].copy_(torch.cat([norm.running_mean for norm in norms]))
        ours.head_var[0].copy_(torch.cat([norm.running_var for norm in norms]))
        ours.beta_mean[0].copy_(net.beta_batchnorm.running_mean)
        ours.beta_var[0].copy_(net.beta_batchnorm.running_var)
    return ours.eval()


def fit_reference(
    x: np.ndarray,
    counts: csr_matrix,
    vocabulary: Sequence[str],
    *,
    n_topics: int,
    config: ModelConfig = ModelConfig(),
    seed: int = 0,
    reads: str = "text",
) -> TopicModel:
    """A topic model trained by the reference package, read by our code.

    Parameters, errors as `fit_zeroshot`; with `config.standardize` the package gets standardised embeddings and
    the model takes them raw, as one of `vtm.model.training.train` does.
    """
    shift, scale = input_scaling(x, config)
    model = fit_zeroshot((x - shift) / scale, counts, vocabulary, n_topics=n_topics, config=config, seed=seed)
    network = copy_weights(model, config=config)
    network.shift.copy_(torch.from_numpy(shift))
    network.scale.copy_(torch.from_numpy(scale))
    return TopicModel(network, tuple(vocabulary), seed, reads)


def fit_ours(
    x: np.ndarray,
    counts: csr_matrix,
    vocabulary: Sequence[str],
    *,
    n_topics: int,
    config: ModelConfig = ModelConfig(),
    seed: int = 0,
    reads: str = "text",
) -> TopicModel:
    """The same by our trainer: the text teacher that `vtm.model.distill.train_pair` trains for this seed."""
    network, history = train(x, counts, n_topics=n_topics, config=config, seeds=[stream(seed, "teacher")])
    return TopicModel(network, tuple(vocabulary), seed, reads, history.of(0))


def compare(
    pairs: Pairs,
    validation: Pairs,
    vocabulary: Sequence[str],
    *,
    n_topics: int,
    config: ModelConfig = ModelConfig(),
    seeds: Sequence[int] = (0, 1, 2),
) -> list[dict[str, Any]]:
    """Train text teachers with both trainers, distil each into an image student, measure both alike.

    Returns
    -------
    One row for each trainer and seed:
        trainer, seed;
        npmi, diversity : of the teacher's topics, NPMI on the training documents;
        reconstruction : of held-out texts by the teacher, nats per document;
        mrr_100 : of validation texts (teacher) searching their images (student);
        seconds : the teacher's fit alone.
        The four figures are NaN where the teacher or its student diverged.

    Raises
    ------
    MissingError, DataError
    """
    rows: list[dict[str, Any]] = []
    for trainer, fit in ((OURS, fit_ours), (THEIRS, fit_reference)):
        teachers, seconds = [], []
        for seed in seeds:
            start = time.perf_counter()
            teachers.append(
                fit(pairs.text, pairs.counts, vocabulary, n_topics=n_topics, config=config, seed=seed)
            )
            seconds.append(time.perf_counter() - start)
        students = _students(teachers, pairs, n_topics=n_topics, config=config, seeds=seeds)
        for seed, teacher, student, duration in zip(seeds, teachers, students, seconds, strict=True):
            figures = _figures(teacher, student, pairs, validation)
            rows.append({"trainer": trainer, "seed": seed, **figures, "seconds": duration})
    return rows


def _students(
    teachers: Sequence[TopicModel], pairs: Pairs, *, n_topics: int, config: ModelConfig, seeds: Sequence[int]
) -> list[TopicModel]:
    """One image student for each teacher, as `vtm.model.distill.train_pair` trains it."""
    lessons = [teacher_posteriors(teacher.network, pairs.text) for teacher in teachers]
    target = Posterior(
        np.concatenate([lesson.mu for lesson in lessons]),
        np.concatenate([lesson.log_var for lesson in lessons]),
    )
    network, _ = train(
        pairs.image,
        pairs.counts,
        n_topics=n_topics,
        config=config,
        seeds=[stream(seed, "image student") for seed in seeds],
        target=target,
    )
    return [
        TopicModel(network.replica(index), teacher.vocabulary, seed, "image")
        for index, (seed, teacher) in enumerate(zip(seeds, teachers, strict=True))
    ]


def _figures(teacher: TopicModel, student: TopicModel, pairs: Pairs, validation: Pairs) -> dict[str, float]:
    theta_text, theta_image = teacher.theta(validation.text), student.theta(validation.image)
    if not all(np.isfinite(a).all() for a in (theta_text, theta_image, teacher.topic_word())):
        return dict.fromkeys(FIGURES, math.nan)
    reconstruction = held_out_reconstruction(teacher.network, validation.text, validation.counts)
    ids = [str(row) for row in range(len(validation))]
    return {
        "npmi": float(npmi(teacher.topics(), pairs.counts, teacher.vocabulary).mean()),
        "diversity": topic_diversity(teacher.topics(25)),
        "reconstruction": float(reconstruction.mean()),
        "mrr_100": retrieval_figures(target_ranks(theta_text, theta_image, ids, ids).ranks)["mrr_100"],
    }


def agree(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Does our trainer give what the reference package gives, within the seeds' spread?

    Rule: a figure agrees when Welch's 95 % interval of the difference of the two means over seeds
    (`vtm_study.measures.welch`) holds 0. With three seeds the interval is wide: it is part of the answer, so that a reader sees how large a
    difference would have gone unseen.

    Parameters
    ----------
    rows : what `compare` returns; values that are not finite (diverged models) are left out and counted.

    Returns
    -------
    figure -> vtm, reference (means), vtm_sd, reference_sd (over seeds), difference (vtm - reference), low, high
    (its interval), within (bool), diverged (number of values left out)

    Raises
    ------
    DataError
        Fewer than two finite values of either trainer: they have no spread.
    """
    return {figure: _agreement(rows, figure) for figure in FIGURES}


def _agreement(rows: Sequence[dict[str, Any]], figure: str) -> dict[str, Any]:
    values = {t: [row[figure] for row in rows if row["trainer"] == t] for t in (OURS, THEIRS)}
    finite = {trainer: [value for value in of if np.isfinite(value)] for trainer, of in values.items()}
    for trainer, v in finite.items():
        if len(v) < 2:
            raise DataError(
                f"{figure} of {trainer}: {len(v)} finite value(s); a spread needs at least 2 seeds"
            )
    ours, theirs = (seed_summary(finite[trainer]) for trainer in (OURS, THEIRS))
    test = welch(ours, theirs)
    if math.isnan(test.low):  # no spread at all leaves an interval of no width
        test = Test(test.difference, test.difference, test.difference)
    return {
        "vtm": ours["mean"],
        "reference": theirs["mean"],
        "vtm_sd": ours["sd"],
        "reference_sd": theirs["sd"],
        "difference": test.difference,
        "low": test.low,
        "high": test.high,
        "within": test.verdict == "undecided",
        "diverged": sum(map(len, values.values())) - sum(map(len, finite.values())),
    }


@contextlib.contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed torch's and NumPy's global random state, and put it back afterwards."""
    before = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(before)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what a package prints to itself."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def reference_rows(data: Prepared) -> dict[str, Any]:
    """Our trainer and the reference package's `fit`, each with all seeds and the smallest K; read back if current.

    Returns
    -------
    {"rows": a dict for each trainer and seed (`compare`), "agreement": figure -> both means, their
    difference and whether they agree (`agree`); empty where there are too few runs to say}
    """
    experiment = data.experiment
    k = min(experiment.n_topics)
    code = code_hash(__name__, without=BY_CONTENT)
    key = hash_json([data.fingerprint(), dataclasses.asdict(experiment.model), k, experiment.seeds, code])

    def measured() -> dict[str, Any]:
        rows = compare(
            data.pairs("train"),
            data.pairs("validation"),
            data.vocabulary.words,
            n_topics=k,
            config=experiment.model,
            seeds=experiment.seeds,
        )
        try:
            return {"rows": rows, "agreement": agree(rows)}
        except DataError:
            return {"rows": rows, "agreement": {}}

    return kept(run_folder(data) / "reference.json", key, measured)


def reference_table(saved: dict[str, Any]) -> pd.DataFrame:
    """`reference_rows` as the book shows it: mean ± sd of both trainers, the difference and its interval."""

    def column(trainer: str) -> Callable[[Row], str]:
        values = {name: [row[name] for row in saved["rows"] if row["trainer"] == trainer] for name in FIGURES}
        return lambda row: spread([value for value in values[row["figure"]] if np.isfinite(value)])

    lines = [{"figure": name, **saved["agreement"].get(name, {})} for name in FIGURES]
    columns = {
        "figure": lambda row: FIGURES[row["figure"]],
        **{trainer: column(trainer) for trainer in (OURS, THEIRS)},
        "difference [95 %]": "{difference:+.3f} [{low:+.3f}, {high:+.3f}]",
        "agree": lambda row: "yes" if row["within"] else "no",
    }
    return table(lines, columns)


def reference_numbers(saved: dict[str, Any]) -> dict[str, float]:
    """The numbers that the reference chapter quotes: how many figures agree of those that could be compared, and the
    seconds of one seed's fit.
    """
    seconds: dict[str, list[float]] = {}
    for row in saved["rows"]:
        seconds.setdefault(row["trainer"], []).append(row["seconds"])
    ours, theirs = (float(np.mean(seconds[name])) for name in (OURS, THEIRS))
    return {
        "n_figures": float(len(saved["agreement"])),
        "n_agree": float(sum(found["within"] for found in saved["agreement"].values())),
        "seconds_ours": ours,
        "seconds_reference": theirs,
        "speed_up": theirs / ours,
    }
