"""What is noticed of training that went wrong: topics all alike, repeated topics, a teacher that nobody listened to."""

from __future__ import annotations

import dataclasses
import itertools
import warnings

import numpy as np
import pytest
import torch
from planted import planted

from vtm.config import from_parameters
from vtm.errors import ConfigError
from vtm.experiment.prepare import prepare
from vtm.experiment.runs import run_baseline, run_models
from vtm.metrics.topics import npmi
from vtm.model import health
from vtm.model.health import SizeTried, judge, recommended_size, teacher_kl, try_sizes
from vtm.model.plus import PlusConfig, fit_plus, unit

CURVE = {"reconstruction": [3.0, 2.0], "kl": [1.0, 0.5]}
PARAMETERS = dict(
    corpus="scenes:n=160", encoder="pixels", n_topics=6, seeds=[0, 1], epochs=12, batch_size=16, min_df=2
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("health")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(folder / "data"))
        patch.setenv("VTM_RUNS", str(folder / "runs"))
        yield prepare(from_parameters(PARAMETERS), progress=False)


@pytest.fixture(scope="module")
def results(data):
    return [
        *run_baseline(data),
        *run_models(data, "joint", progress=False),
        *run_models(data, "text-teacher", progress=False),
    ]


def posteriors(rng: np.random.Generator, n: int = 60, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(n, k)), rng.normal(scale=0.3, size=(n, k))


def test_kl_to_the_teacher_is_that_of_torch():
    rng = np.random.default_rng(0)
    student, teacher = posteriors(rng, n=7), posteriors(rng, n=7)

    def normal(pair, row):
        mu, log_var = (torch.from_numpy(array[row]) for array in pair)
        return torch.distributions.Normal(mu, torch.exp(0.5 * log_var))

    kl = np.array(
        [
            [
                float(torch.distributions.kl_divergence(normal(student, i), normal(teacher, j)).sum())
                for j in range(7)
            ]
            for i in range(7)
        ]
    )
    own, others, _ = teacher_kl(student, teacher)
    assert own == pytest.approx(np.diagonal(kl).mean())
    assert others == pytest.approx(kl[~np.eye(7, dtype=bool)].mean())


def test_a_student_that_ignores_its_teacher_is_noticed():
    rng = np.random.default_rng(1)
    teacher = posteriors(rng)
    near = (teacher[0] + rng.normal(scale=0.5, size=teacher[0].shape), teacher[1])
    own, others, z = teacher_kl(near, teacher)
    assert own < others and z > 5
    # One whose posteriors are unrelated, and one that gives all documents the same.
    assert all(abs(teacher_kl(posteriors(rng), teacher)[2]) < 3 for _ in range(5))
    constant = tuple(np.repeat(array.mean(axis=0, keepdims=True), len(array), axis=0) for array in teacher)
    assert abs(teacher_kl(constant, teacher)[2]) < 1.96

    good = dict(
        curves=[CURVE], reconstruction={"image": 4.0}, unigram=5.0, ranks=np.ones(50, int), n_items=50
    )
    assert judge(**good, teacher={"image": 5.0}) == ("ok", ())
    for z in (1.0, -4.0, float("nan")):
        status, reasons = judge(**good, teacher={"text": 5.0, "image": z})
        assert status == "collapsed" and len(reasons) == 1
        assert reasons[0].startswith("the image student is no nearer to its teacher's posterior")


def test_documents_all_alike_and_repeated_topics_are_noticed():
    good = dict(
        curves=[CURVE], reconstruction={"image": 4.0}, unigram=5.0, ranks=np.ones(50, int), n_items=50
    )
    rng = np.random.default_rng(0)
    spread = rng.dirichlet(np.full(6, 0.2), size=50)
    peaked = np.tile([0.95, 0.01, 0.01, 0.01, 0.01, 0.01], (50, 1))
    assert judge(**good, theta={"text": spread, "image": spread}) == ("ok", ())
    status, reasons = judge(**good, theta={"text": spread, "image": peaked})
    assert status == "collapsed" and reasons == (
        "the image model's theta is alike for all documents (0.0000 nats of information)",
    )
    assert judge(**good, repeated={"text": 0.5}) == ("ok", ())
    status, reasons = judge(**good, repeated={"text": 0.75})
    assert status == "collapsed" and reasons == (
        "75% of the text model's topics repeat another topic's words",
    )


def test_a_run_whose_student_learned_from_a_shuffled_teacher_is_not_healthy(data, monkeypatch, tmp_path):
    """From end to end: the lesson of each document is another document's."""
    import vtm.model.distill as module
    from vtm.model.network import Posterior

    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    teach = module.teacher_posteriors

    def shuffled(teacher, x):
        lesson = teach(teacher, x)
        order = np.random.default_rng(0).permutation(len(x))
        return Posterior(lesson.mu[:, order], lesson.log_var[:, order])

    monkeypatch.setattr(module, "teacher_posteriors", shuffled)
    config = dataclasses.replace(data.experiment.model, kl_weight=20.0)
    for run in run_models(data, "text-teacher", config=config, n_topics=[6], progress=False):
        assert run.status == "collapsed" and run.figures["image_teacher_z"] < 1.96
        assert any("no nearer to its teacher" in reason for reason in run.reasons)


def test_students_of_healthy_runs_follow_their_teacher(results):
    for run in results:
        if run.n_topics and run.status == "ok":
            assert run.figures["image_teacher_z"] > 1.96
            assert run.figures["image_teacher_kl"] < run.figures["image_other_teacher_kl"]
        assert ("text_teacher_z" in run.figures) == (run.row == "joint")


def api_model(data, **parameters):
    from vtm.api import ModelWarning, VisualTopicModel

    options = dict(
        n_topics=6,
        method="text-teacher",
        encoder="pixels",
        epochs=80,
        batch_size=16,
        min_df=2,
        validation=0.2,
    )
    model = VisualTopicModel(**options | {"progress": False} | parameters)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        model.fit(list(data.corpus.texts), text_embeddings=data.text, image_embeddings=data.image)
    said = [str(item.message) for item in raised if issubclass(item.category, ModelWarning)]
    assert bool(said) == bool(model.warnings_)
    return model


def test_a_model_of_ones_own_is_judged_as_a_run_is(data, monkeypatch):
    """The same three signs, by the same words: theta alike, repeated topics, a teacher that taught nothing."""
    import vtm.model.distill as module
    from vtm.model.network import Posterior
    from vtm.model.topicmodel import TopicModel

    assert api_model(data).status_ == "ok"

    teach = module.teacher_posteriors

    def shuffled(teacher, x):
        lesson = teach(teacher, x)
        order = np.random.default_rng(0).permutation(len(x))
        return Posterior(lesson.mu[:, order], lesson.log_var[:, order])

    with monkeypatch.context() as patch:
        patch.setattr(module, "teacher_posteriors", shuffled)
        untaught = api_model(data, kl_weight=20.0)
    assert untaught.status_ == "doubtful"
    assert any("student is no nearer to its teacher's posterior" in reason for reason in untaught.warnings_)

    theta = TopicModel.theta
    with monkeypatch.context() as patch:
        patch.setattr(
            TopicModel, "theta", lambda self, x, **options: np.repeat(theta(self, x)[:1], len(x), 0)
        )
        alike = api_model(data)
    assert alike.status_ == "doubtful"
    for reads in ("text", "image"):
        reason = f"the {reads} model's theta is alike for all documents (0.0000 nats of information)"
        assert reason in alike.warnings_

    topics = TopicModel.topics
    with monkeypatch.context() as patch:
        patch.setattr(TopicModel, "topics", lambda self, top=10: [topics(self, top)[0]] * self.n_topics)
        repeated = api_model(data)
    assert repeated.status_ == "doubtful"
    assert "100% of the image model's topics repeat another topic's words" in repeated.warnings_


def tried(n_topics: int, match, coherence, intrusion, struck: str = "") -> SizeTried:
    """Of two seeds; the same spread of topics and pairs everywhere."""
    spread = np.array([[-0.1, 0.1] * 10] * 2)
    return SizeTried(n_topics, match + spread, coherence + spread, intrusion + spread, 0.5, struck)


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        # Match is better with each step; what is out of reach by coherence or by intrusion does not count.
        (
            [
                tried(10, 0.1, 0.0, 0.5),
                tried(20, 0.3, 0.0, 0.5),
                tried(40, 0.5, -0.1, 0.5),
                tried(80, 0.7, 0.0, 0.4),
            ],
            20,
        ),
        # Nor does what is struck, and it is no measure for the others.
        ([tried(10, 0.1, 0.0, 0.5), tried(20, 0.3, 0.0, 0.5), tried(40, 0.5, 0.9, 0.9, "few words")], 20),
        # What is no more than two standard errors worse is as good: 0.1 over the root of 40 is 0.016.
        ([tried(10, 0.3, 0.0, 0.5), tried(20, 0.3, 0.03, 0.47)], 10),
        # No words' vectors.
        ([tried(10, 0.1, 0.0, np.nan), tried(20, 0.3, 0.0, np.nan), tried(40, 0.5, -0.1, np.nan)], 20),
        # Coherence and intrusion name different ones: then coherence decides.
        ([tried(10, 0.5, 0.0, 0.5), tried(20, 0.3, 0.1, 0.4)], 20),
        ([tried(20, 0.5, 0.0, 0.5, "few"), tried(10, 0.3, 0.1, 0.4, "few")], 10),
    ],
)
def test_the_size_is_chosen_as_the_rule_says(sizes: list[SizeTried], chosen: int) -> None:
    best, why = recommended_size(sizes)
    assert best.n_topics == chosen
    assert ("struck" in why) == all(one.struck for one in sizes)


def test_sizes_are_tried_as_models_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each figure of a size anew, from the model of that seed."""
    drawn = planted(200, n_topics=4)
    aside = np.arange(200) % 5 == 0
    x = {"text": drawn.text, "image": drawn.image}
    vectors = np.random.default_rng(0).normal(size=(40, 8))

    def of_words(words: list[str]) -> np.ndarray:
        return vectors[[drawn.vocabulary.index(word) for word in words]]

    found = try_sizes(
        x, drawn.counts, drawn.vocabulary, aside, sizes=(4, 9, 4, 400), seeds=(3, 5), vectors=of_words
    )
    assert [one.n_topics for one in found] == [4, 9]
    assert [bool(one.struck) for one in found] == [
        False,
        True,
    ]  # 40 words are fewer than 5 for each of 9 topics
    thetas = []
    for row, seed in enumerate((3, 5)):
        model = fit_plus(
            *(some[~aside] for some in (drawn.text, drawn.image, drawn.counts)),
            config=PlusConfig(n_topics=4),
            seed=seed,
        )
        text, image = (unit(model.theta(reads, x[reads][aside])) for reads in ("text", "image"))
        scores = text @ image.T
        ranks = 1 + (scores >= np.diag(scores)[:, None] - 1e-9).sum(axis=1) - 1
        np.testing.assert_allclose(found[0].reciprocal[row], 1 / ranks)
        topics = [
            [drawn.vocabulary[w] for w in np.argsort(-of, kind="stable")[:10]] for of in model.topic_word[0]
        ]
        np.testing.assert_allclose(found[0].coherence[row], npmi(topics, drawn.counts, drawn.vocabulary))
        thetas.append(model.theta("image", drawn.image[~aside]))
    agreement = np.corrcoef(thetas[0].T, thetas[1].T)[:4, 4:]
    best = max(
        sum(agreement[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(4))
    )
    assert found[0].stability == pytest.approx(best / 4)
    assert 0 <= found[0].intrusion.min() <= found[0].intrusion.max() <= 1
    monkeypatch.setattr(health, "MOST_TRIED", 60)
    few = try_sizes(x, drawn.counts, drawn.vocabulary, aside, sizes=(4,), seeds=(3,))
    some = np.flatnonzero(~aside)[::3]  # the evenest 60 or fewer of 160
    model = fit_plus(
        drawn.text[some], drawn.image[some], drawn.counts[some], config=PlusConfig(n_topics=4), seed=3
    )
    topics = [
        [drawn.vocabulary[w] for w in np.argsort(-of, kind="stable")[:10]] for of in model.topic_word[0]
    ]
    np.testing.assert_allclose(few[0].coherence[0], npmi(topics, drawn.counts, drawn.vocabulary))
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="no pairs are held out"):
        try_sizes(x, drawn.counts, drawn.vocabulary, np.zeros(200, dtype=bool))
    with pytest.raises(ConfigError, match="there are 160 pairs to train on only"):
        try_sizes(x, drawn.counts, drawn.vocabulary, aside, sizes=(161,))
