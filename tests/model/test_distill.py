"""Distillation: the teacher stays as it is, and the student learns from that teacher's posteriors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import planted
from scipy.sparse import csr_matrix

from vtm.config import ModelConfig
from vtm.errors import ConfigError, DataError
from vtm.model import distill
from vtm.model.distill import Trained, learned_prior, teacher_posteriors, train_pair
from vtm.model.network import Posterior
from vtm.model.training import Pairs, infer_posterior, train

DATA = planted(150)
SMALL = ModelConfig(hidden=(20, 15), epochs=4, batch_size=32, kl_weight=1.0)


def teach(seeds=(0, 1), config=SMALL, **options):
    return train(DATA.text, DATA.counts, n_topics=4, config=config, seeds=seeds, device="cpu", **options)


def study(target=None, *, seeds=(0, 1), config=SMALL, counts=DATA.counts, **options):
    return train(
        DATA.image, counts, n_topics=4, config=config, seeds=seeds, target=target, device="cpu", **options
    )[0]


def pair(kind="text-teacher", **options):
    options = dict(n_topics=4, config=SMALL, seeds=(0, 1), device="cpu") | options
    return train_pair(kind, DATA.pairs, DATA.vocabulary, **options)


def snapshot(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("training", [False, True])
def test_the_teacher_is_the_same_before_and_after(training):
    teacher, _ = teach()
    teacher.train(training)
    before = snapshot(teacher)
    assert {"head_mean", "head_var", "beta_mean", "beta_var"} <= before.keys()
    target = teacher_posteriors(teacher, DATA.text)
    study(target)
    assert_same(before, snapshot(teacher))
    assert teacher.training is training


def test_posteriors_are_plain_arrays_that_no_gradient_can_follow():
    target = teacher_posteriors(teach()[0], DATA.text)
    assert type(target.mu) is np.ndarray and type(target.log_var) is np.ndarray
    assert target.mu.shape == target.log_var.shape == (2, 150, 4)


def test_posteriors_are_taken_in_evaluation_mode():
    teacher, _ = teach()
    evaluated = infer_posterior(teacher, DATA.text)
    teacher.train()
    target = teacher_posteriors(teacher, DATA.text)
    np.testing.assert_array_equal(target.mu, evaluated.mu)
    np.testing.assert_array_equal(target.log_var, evaluated.log_var)
    np.testing.assert_array_equal(target.mu, teacher_posteriors(teacher, DATA.text).mu)
    # A document's posterior does not depend on which others stand beside it.
    alone = teacher_posteriors(teacher, DATA.text[:1])
    np.testing.assert_allclose(alone.mu[:, 0], target.mu[:, 0], rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # the batch's own mean and variance give others (and move the running ones)
        mu, _ = teacher.infer(torch.from_numpy(DATA.text).unsqueeze(0))
    assert np.abs(mu.numpy() - target.mu).max() > 0.01


@pytest.mark.parametrize("kind", ["text-teacher", "joint"])
def test_train_pair_leaves_the_teacher_frozen(kind, monkeypatch):
    """Between the teacher's own training and its return, nothing touches a number of it."""
    snapshots, targets = [], []

    def watched(x, counts, **options):
        trained = train(x, counts, **options)
        snapshots.append((trained[0], snapshot(trained[0])))
        targets.append(options.get("target"))
        return trained

    monkeypatch.setattr(distill, "train", watched)
    result = pair(kind)
    for network, before in snapshots:
        assert_same(before, snapshot(network))
    teacher = snapshots[0][0]
    assert targets[0] is None and len(targets) == (2 if kind == "text-teacher" else 3)
    expected = infer_posterior(
        teacher, DATA.pairs.embeddings("text" if kind == "text-teacher" else "text+image")
    )
    for target in targets[1:]:
        np.testing.assert_array_equal(target.mu, expected.mu)
        np.testing.assert_array_equal(target.log_var, expected.log_var)
    for index, seed in enumerate((0, 1)):
        assert_same(snapshot(teacher.replica(index)), snapshot(result[seed].teacher.network))


def reach(student, target, replica=0):
    """Mean KL(student || target) per document, by torch.distributions."""
    from torch.distributions import Independent, Normal, kl_divergence

    posterior = infer_posterior(student, DATA.image)

    def normal(p, r):
        mu, log_var = torch.from_numpy(p.mu[r]), torch.from_numpy(p.log_var[r])
        return Independent(Normal(mu, torch.exp(0.5 * log_var)), 1)

    return kl_divergence(normal(posterior, replica), normal(target, replica)).mean().item()


# Documents without words leave only the KL term: its minimum is the teacher's own posterior.
SILENT = csr_matrix(DATA.counts.shape, dtype=np.float32)
LONG = ModelConfig(hidden=(60,), epochs=150, batch_size=50, dropout=0.0, lr=1e-2, kl_weight=1.0)


@pytest.fixture(scope="module")
def lesson():
    teacher, _ = teach(config=ModelConfig(hidden=(20,), epochs=30, batch_size=32, kl_weight=1.0))
    return teacher_posteriors(teacher, DATA.text)


def test_with_the_kl_alone_the_student_approaches_its_teacher(lesson):
    untaught = ModelConfig(hidden=(60,), epochs=1, lr=1e-9, kl_weight=1.0)
    before = reach(study(lesson, config=untaught, counts=SILENT), lesson)
    student = study(lesson, config=LONG, counts=SILENT)
    assert reach(student, lesson) < 0.15 * before
    learned = infer_posterior(student, DATA.image).mu[0]
    assert np.corrcoef(learned.ravel(), lesson.mu[0].ravel())[0, 1] > 0.9
    # And each seed approaches its own teacher, not the other's.
    crossed = Posterior(lesson.mu[::-1].copy(), lesson.log_var[::-1].copy())
    for replica in (0, 1):
        assert reach(student, lesson, replica) < 0.5 * reach(student, crossed, replica)


def test_the_lesson_belongs_to_its_document(lesson):
    """The same posteriors dealt out to other documents teach nothing about these."""
    order = np.random.default_rng(0).permutation(150)
    shuffled = Posterior(lesson.mu[:, order], lesson.log_var[:, order])
    straight, crossed = (study(target, config=LONG, counts=SILENT) for target in (lesson, shuffled))
    assert reach(straight, lesson) < 0.3 * reach(crossed, lesson)


def test_seed_i_learns_from_teacher_i():
    """Another teacher for one seed changes that seed's student and no other."""
    target = teacher_posteriors(teach()[0], DATA.text)
    changed = Posterior(target.mu.copy(), target.log_var)
    changed.mu[1] += 0.5
    first, second = study(target), study(changed)
    assert_same(snapshot(first.replica(0)), snapshot(second.replica(0)))
    assert not torch.equal(first.replica(1).head_weight, second.replica(1).head_weight)


def test_a_taught_student_trains_no_prior():
    student = study(teacher_posteriors(teach()[0], DATA.text))
    assert not student.prior_mu.requires_grad and not student.prior_log_var.requires_grad
    assert (student.prior_mu == 0).all()


@pytest.mark.parametrize("kind", ["text-teacher", "joint"])
def test_one_result_for_each_seed(kind):
    result = pair(kind, seeds=(4, 0))
    assert list(result) == [4, 0]
    for seed, models in result.items():
        assert isinstance(models, Trained)
        assert (models.text.reads, models.image.reads) == ("text", "image")
        assert models.text.seed == models.image.seed == seed
        assert models.text.vocabulary == DATA.vocabulary
        assert models.text.theta(DATA.text).shape == models.image.theta(DATA.image).shape == (150, 4)
        assert len(models.image.history["kl"]) == SMALL.epochs
        if kind == "text-teacher":
            assert models.teacher is models.text
        else:
            assert models.teacher.reads == "text+image"
            both = np.concatenate([DATA.text, DATA.image], axis=1)
            assert models.teacher.theta(both).shape == (150, 4)
            with pytest.raises(DataError):
                models.teacher.theta(DATA.text)


@pytest.mark.parametrize("kind", ["text-teacher", "joint"])
def test_a_seed_does_not_depend_on_its_neighbours(kind):
    together, alone = pair(kind, seeds=(0, 3)), pair(kind, seeds=(3,))
    for role in ("text", "image", "teacher"):
        a, b = getattr(together[3], role), getattr(alone[3], role)
        np.testing.assert_allclose(a.topic_word(), b.topic_word(), rtol=1e-2, atol=1e-4)


def test_the_student_keeps_its_own_beta_and_starts_elsewhere():
    for kind in ("text-teacher", "joint"):
        models = pair(kind)[0]
        betas = [models.teacher.network.beta, models.image.network.beta]
        if kind == "joint":
            betas.append(models.text.network.beta)
        for i in range(len(betas)):
            for j in range(i):
                # Not one that moved a little from the other's start: they are uncorrelated but for what both learned.
                assert (betas[i] - betas[j]).abs().mean() > 0.05


def test_distillation_makes_topics_correspond():
    """The same topic comes first for a text and its image: in most runs, and by chance alone without a teacher."""
    config = ModelConfig(epochs=60, batch_size=32, kl_weight=1.0, standardize=True)

    def agreement(mode):
        shares = []
        for models in pair(config=config, seeds=range(5), mode=mode).values():
            text, image = models.text.theta(DATA.text), models.image.theta(DATA.image)
            shares.append((text.argmax(axis=1) == image.argmax(axis=1)).mean())
        return np.median(shares)

    assert agreement("posteriors") > 0.9
    assert agreement("none") < 0.6


ROLES = {"text-teacher": ["teacher", "image student"], "joint": ["teacher", "image student", "text student"]}


@pytest.mark.parametrize("kind", ROLES)
def test_each_role_has_its_own_seeds_bar_and_device(kind, monkeypatch):
    """The names of the roles are part of the seeds: with others, published numbers would not come again."""
    from vtm.config import stream

    seen = []
    monkeypatch.setattr(distill, "train", lambda *a, **options: seen.append(options) or train(*a, **options))
    pair(kind, progress=True)
    assert [options["progress"] for options in seen] == [f"{kind} 4 topics, {role}" for role in ROLES[kind]]
    assert [options["seeds"] for options in seen] == [
        [stream(s, role) for s in (0, 1)] for role in ROLES[kind]
    ]
    assert len({seed for options in seen for seed in options["seeds"]}) == 2 * len(seen)
    assert {options["device"] for options in seen} == {"cpu"}
    seen.clear()
    train_pair(kind, DATA.pairs, DATA.vocabulary, n_topics=4, config=SMALL)
    assert [(o["progress"], o["device"], len(o["seeds"])) for o in seen] == [(None, "auto", 1)] * len(
        ROLES[kind]
    )


def lessons(monkeypatch, kind, mode):
    seen = []

    def watched(x, counts, **options):
        seen.append((x, options.get("target"), options.get("prior")))
        return train(x, counts, **options)

    monkeypatch.setattr(distill, "train", watched)
    return pair(kind, mode=mode), seen


@pytest.mark.parametrize("kind", ["text-teacher", "joint"])
def test_mode_none_trains_independent_models(kind, monkeypatch):
    _, seen = lessons(monkeypatch, kind, "none")
    assert all(target is None and prior is None for _, target, prior in seen)


@pytest.mark.parametrize("kind", ["text-teacher", "joint"])
def test_mode_priors_hands_over_the_learned_prior(kind, monkeypatch):
    result, seen = lessons(monkeypatch, kind, "priors")
    assert seen[0][1:] == (None, None)
    for index, seed in enumerate((0, 1)):
        teacher, image = result[seed].teacher.network, result[seed].image.network
        assert teacher.prior_mu.abs().max() > 0  # it was learned
        assert torch.equal(image.prior_mu, teacher.prior_mu) and torch.equal(
            image.prior_log_var, teacher.prior_log_var
        )
        for _, target, prior in seen[1:]:
            assert target is None
            np.testing.assert_array_equal(prior.mu[index], teacher.prior_mu[0].detach())


def test_the_learned_prior_is_a_copy():
    teacher, _ = teach()
    prior = learned_prior(teacher)
    prior.mu[:] += 1
    assert not np.allclose(teacher.prior_mu.detach().numpy(), prior.mu)
    assert prior.mu.shape == prior.log_var.shape == (2, 1, 4)


def test_what_each_model_reads(monkeypatch):
    both = np.concatenate([DATA.text, DATA.image], axis=1)
    for kind, expected in (
        ("text-teacher", [DATA.text, DATA.image]),
        ("joint", [both, DATA.image, DATA.text]),
    ):
        _, seen = lessons(monkeypatch, kind, "posteriors")
        for (x, _, _), right in zip(seen, expected, strict=True):
            np.testing.assert_array_equal(x, right)


def test_validation_curves_are_of_the_models_own_embeddings():
    held_out = planted(40, seed=0).pairs
    for kind in ("text-teacher", "joint"):
        models = pair(kind, validation=held_out)[0]
        for model in (models.text, models.image, models.teacher):
            assert np.isfinite(model.history["validation_reconstruction"]).all()


def test_wrong_kinds_and_modes_are_refused():
    with pytest.raises(
        ConfigError, match="kind='text_teacher': did you mean 'text-teacher'. Choose from joint, text-teacher"
    ):
        pair("text_teacher")
    with pytest.raises(
        ConfigError, match="mode='posterior': did you mean 'posteriors'. Choose from posteriors, priors, none"
    ):
        pair(mode="posterior")


def test_pairs_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="150 text embeddings, 149 image embeddings and 150 bags of words"):
        Pairs(DATA.text, DATA.image[:-1], DATA.counts)
    with pytest.raises(DataError, match="149 bags"):
        Pairs(DATA.text, DATA.image, DATA.counts[:-1])
    assert len(DATA.pairs) == 150
