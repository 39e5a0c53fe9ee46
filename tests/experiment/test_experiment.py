"""The experiment on drawn scenes: health, results on disk, findings, the baseline, and ranking without leaks."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from vtm.config import from_parameters
from vtm.corpora import split
from vtm.errors import DataError
from vtm.experiment.prepare import prepare
from vtm.experiment.results import Result
from vtm.experiment.runs import run_baseline, run_folder, run_models
from vtm.metrics.ranking import target_ranks
from vtm.metrics.retrieval import expected_random, retrieval_figures
from vtm.model.align import AlignConfig, fit_aligned
from vtm.model.distill import Pairs
from vtm.model.health import judge, random_mrr_bound, unigram_reconstruction
from vtm.report.findings import (
    HELD,
    OPEN,
    REVERSED,
    UNTESTED,
    Finding,
    compare,
    findings,
    headline,
    own_category,
)
from vtm.report.tables import findings_table, retrieval_summary, side_by_side, table_1

CURVE = {"reconstruction": [3.0, 2.0], "kl": [1.0, 0.5]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(folder / "data"))
        patch.setenv("VTM_RUNS", str(folder / "runs"))
        yield prepare(
            from_parameters(
                dict(
                    corpus="scenes:n=160",
                    encoder="pixels",
                    n_topics=6,
                    seeds=[0, 1],
                    epochs=12,
                    batch_size=16,
                )
            ),
            progress=False,
        )


def test_what_models_are_trained_on_is_in_the_datas_fingerprint(data):
    rows = {**data.rows, "train": data.rows["train"][1:]}
    others = [
        dataclasses.replace(data, **change)
        for change in (
            {"text": data.text + 1},
            {"image": -data.image},
            {"counts": 2 * data.counts},
            {"rows": rows},
        )
    ]
    assert len({each.fingerprint() for each in (data, *others)}) == 1 + len(others)


@pytest.fixture(scope="module")
def results(data):
    return [
        *run_baseline(data),
        *run_models(data, "joint", progress=False),
        *run_models(data, "text-teacher", progress=False),
    ]


def fake(row: str, k: int, seed: int, theta: np.ndarray, image: np.ndarray, status: str = "ok") -> Result:
    ids = [f"id{i}" for i in range(len(theta))]
    arrays = {f"{p}_{r}": a for p in ("validation", "test") for r, a in (("text", theta), ("image", image))}
    return Result(row, k, seed, "cosine", status, (), {"validation": ids, "test": ids}, arrays)


def test_the_vocabulary_and_the_split_are_of_the_training_part_alone(data):
    train_words = {w for text in data.texts("train") for w in data.vocabulary.tokens(text)}
    assert set(data.vocabulary.words) <= train_words
    parts = [set(data.ids(part)) for part in ("train", "validation", "test")]
    assert len(set.union(*parts)) == sum(map(len, parts)) == len(data.corpus)


def test_near_duplicates_are_in_one_part_and_the_plain_split_is_a_parameter_away(data):
    parts = [set(data.clusters[rows]) for rows in data.rows.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)), "a cluster is in one part"
    sizes = np.bincount(data.clusters)
    assert (data.n_twins, data.n_leaking) == (sizes[sizes > 1].sum(), 0) and data.n_twins > 0
    off = dataclasses.replace(data.experiment, twin_image=0, twin_text=0, twin_both=0)
    plain = prepare(off, progress=False)
    np.testing.assert_array_equal(plain.clusters, np.arange(len(plain.corpus)))
    for part, rows in split(data.corpus.ids).items():
        if part != "train":  # which leaves out texts without a known word
            np.testing.assert_array_equal(plain.rows[part], rows)
    assert off.data_key() != data.experiment.data_key() and plain.fingerprint() != data.fingerprint()
    leaking = dataclasses.replace(plain, clusters=data.clusters).n_leaking
    others = np.concatenate([plain.rows["train"], plain.rows["validation"]])
    assert leaking == sum(data.clusters[row] in data.clusters[others] for row in plain.rows["test"])


def test_a_corpus_of_which_no_picture_can_be_used_is_refused(data, tmp_path):
    whole = data.corpus.images[0].read_bytes()
    names = [f"{number}.png" for number in range(4)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2 + number])  # the end is missing
    (tmp_path / "t.csv").write_text("\n".join(["file_name,text", *(f"{name},a boat" for name in names)]))
    with pytest.raises(DataError, match="none of 4 pictures can be used; the first: .*0.png"):
        prepare(from_parameters({"corpus": str(tmp_path / "t.csv"), "encoder": "pixels"}), progress=False)


def test_results_are_read_back_and_not_trained_again(data, results, monkeypatch):
    def no_training(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr("vtm.model.distill.train_pair", no_training)
    again = run_models(data, "joint", progress=False)
    for new, old in zip(again, [r for r in results if r.row == "joint"], strict=True):
        for name in old.arrays:
            np.testing.assert_array_equal(new.arrays[name], old.arrays[name])
        assert new.figures == old.figures
    with pytest.raises(AssertionError, match="trained again"):  # another setting is another result
        run_models(data, "joint", config=dataclasses.replace(data.experiment.model, lr=1e-3), progress=False)


def test_the_same_seed_gives_the_same_numbers_in_another_folder(data, results, tmp_path, monkeypatch):
    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    again = run_models(data, "text-teacher", progress=False)
    for new, old in zip(again, [r for r in results if r.row == "text-teacher"], strict=True):
        np.testing.assert_array_equal(new.image(), old.image())
        assert run_folder(data).is_relative_to(tmp_path)


def test_a_changed_array_is_noticed(data, results, tmp_path):
    results[0].save(tmp_path, "key")
    assert Result.load(tmp_path, "another key") is None
    loaded = Result.load(tmp_path, "key")
    np.testing.assert_array_equal(loaded.text(), results[0].text())
    file = tmp_path / "result.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(DataError, match="not what was written"):
        Result.load(tmp_path, "key")


def test_permuting_the_pictures_leaves_every_figure_unchanged(data, results):
    """theta's noise does not depend on a row's place, so the order of the pictures cannot leak into the ranks."""
    from vtm.model.topicmodel import TopicModel

    folder = next(run_folder(data).glob("text-teacher-6-*/seed-0"))
    text, image = TopicModel.load(folder / "text"), TopicModel.load(folder / "image")
    pairs, ids = data.pairs("test"), data.ids("test")
    straight = target_ranks(text.theta(pairs.text), image.theta(pairs.image), ids, ids)
    order = np.random.default_rng(0).permutation(len(ids))
    shuffled = target_ranks(
        text.theta(pairs.text), image.theta(pairs.image[order]), ids, [ids[i] for i in order]
    )
    assert retrieval_figures(straight.ranks) == retrieval_figures(shuffled.ranks)
    run = next(r for r in results if r.row == "text-teacher" and r.seed == 0)
    np.testing.assert_array_equal(straight.ranks, run.ranks())


def test_health_is_judged_by_word_frequencies_and_chance():
    counts = csr_matrix(np.array([[2.0, 0], [1, 1]], dtype="f"))
    p = np.array([4, 2]) / 6  # counts 3 and 1, add-one smoothed
    assert unigram_reconstruction(counts, counts) == pytest.approx(-(3 * np.log(p[0]) + np.log(p[1])) / 2)

    good = dict(
        curves=[CURVE], reconstruction={"image": 4.0}, unigram=5.0, ranks=np.ones(50, int), n_items=50
    )
    assert judge(**good) == ("ok", ())
    status, reasons = judge(**good | dict(reconstruction={"image": 5.0}))
    assert status == "collapsed" and "word frequencies" in reasons[0]
    status, reasons = judge(**good | dict(ranks=np.arange(1, 51)))  # every rank once: exactly chance
    assert status == "collapsed" and "random rankings" in reasons[0]
    assert judge(**good | dict(curves=[CURVE | {"kl": [1.0, float("nan")]}]))[0] == "diverged"
    assert judge(**good | dict(reconstruction={"text": float("inf")}))[0] == "diverged"


def test_a_model_whose_theta_is_no_number_has_diverged(data, results, monkeypatch, tmp_path):
    """Its ranks would be meaningless, so it must not be judged by them."""
    from vtm.model.topicmodel import TopicModel

    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    theta = TopicModel.theta
    monkeypatch.setattr(TopicModel, "theta", lambda self, x: theta(self, x) * np.float32("nan"))
    for run in run_models(data, "text-teacher", progress=False):
        assert run.status == "diverged" and "no longer a number" in run.reasons[0]


def test_random_rankings_stay_below_the_bound_about_as_often_as_said():
    rng = np.random.default_rng(0)
    ranks = rng.integers(1, 201, size=(4000, 150))
    mrr = np.where(ranks <= 100, 1 / ranks, 0).mean(axis=1)
    assert 0.94 < (mrr < random_mrr_bound(200, 150)).mean() < 0.99


def test_verdicts_follow_the_interval():
    rng = np.random.default_rng(1)
    a = rng.random((2, 300))
    undecided = a + np.resize([0.1, -0.1], 300)
    tests = {
        HELD: (a + 0.2, a),
        REVERSED: (a - 0.2, a),
        OPEN: (undecided, a),
        UNTESTED: (np.zeros((0, 0)), a),
    }
    found = {name: Finding("", "", "a", "b", compare(*arrays)) for name, arrays in tests.items()}
    assert [finding.verdict for finding in found.values()] == list(found)
    table = findings_table(found)
    assert list(table["difference"] == "–") == [False, False, False, True]


def test_own_category_leaves_out_the_own_picture():
    eye = np.eye(4)
    # Each text finds its own picture first, then one of the other category.
    image = eye + 0.5 * np.roll(eye, 1, axis=1)
    run = fake("joint", 4, 0, image, eye)
    share = own_category([run], ["a", "b", "a", "b"], k=1)
    np.testing.assert_array_equal(share, np.zeros((1, 4)))
    np.testing.assert_array_equal(own_category([run], ["a"] * 4, k=1), np.ones((1, 4)))


def test_a_collapsed_run_is_counted_and_not_averaged():
    eye = np.eye(5)
    flat = np.full((5, 5), 0.2)
    runs = [
        fake("baseline", 0, 0, eye, eye),
        fake("joint", 5, 0, eye, eye),
        fake("joint", 5, 1, flat, flat, "collapsed"),
    ]
    summary = retrieval_summary(runs).set_index(["row", "figure"])
    assert summary.loc[("joint", "mrr_100"), "mean"] == 1.0
    line = table_1(runs).loc["joint 5"]
    assert line["runs"].replace("\u00a0", " ") == "1 of 2 (1 collapsed)"
    assert line["MRR@100"].startswith("1.000")
    quoted = headline([*runs, fake("text-teacher", 5, 0, eye, eye)], None)
    assert quoted["n_unhealthy"] == 1.0 and quoted["mrr_joint_small"] == 1.0
    assert quoted["mrr_random"] == expected_random(5)["mrr_100"]


def test_table_1_has_the_papers_figures_in_neighbouring_columns():
    eye, flat = np.eye(5), np.full((5, 5), 0.2)
    runs = [fake("baseline", 0, 0, eye, eye)]
    runs += [fake(kind, k, 0, eye, eye) for kind in ("joint", "text-teacher") for k in (5, 7)]
    runs.append(fake("joint", 5, 1, flat, flat, "collapsed"))
    table = side_by_side(runs)
    assert list(table.index) == [
        "baseline: aligned (contrastive) (paper: CLIP)",
        *("joint 7 (paper: 120)", "joint 5 (paper: 60)"),
        *("text-teacher 7 (paper: 120)", "text-teacher 5 (paper: 60)"),
    ]
    assert list(table.loc["joint 5 (paper: 60)", "MRR@100"]) == ["0.030", "1.000"]
    # Chance is the mean of 1/rank over all ranks, 0 beyond the first hundred: of 1,915 items, and of five.
    chance = sum(1 / r for r in range(1, 101)) / 1915, sum(1 / r for r in range(1, 6)) / 5
    assert list(table.iloc[0]["times chance"]) == [f"{0.169 / chance[0]:.1f}", f"{1 / chance[1]:.1f}"]


def test_the_best_topics_are_chosen_on_validation_and_tested_by_two_figures():
    eye, other = np.eye(5), np.roll(np.eye(5), 1, axis=0)
    joint = fake("joint", 5, 0, eye, eye)  # best on the test part, worst on validation
    arrays = {**joint.arrays, "validation_image": other}
    runs = [
        fake("baseline", 0, 0, eye, eye),
        dataclasses.replace(joint, arrays=arrays),
        fake("text-teacher", 5, 0, eye, (eye + 0.5 * other) / 1.5),
    ]
    found = findings(runs, None)
    assert found["embeddings"].less == found["embeddings_r100"].less == "text-teacher 5"
    assert found["embeddings_r100"].figure == "recall at 100"
    assert found["embeddings_r100"].test.difference == 0
    assert found["topic_not_fact"].verdict == UNTESTED, "there are no categories"
    table = findings_table(found)
    assert len(table) == len(found) and (table["p (Holm)"] != "").all()


def test_findings_of_the_scenes_cover_every_claim(data, results):
    found = findings(results, data.groups("test"))
    for claim in ("embeddings", "more_topics", "text_teacher", "sparsity", "topic_not_fact"):
        assert any(name.startswith(claim) for name in found), claim
    baseline = np.mean([retrieval_figures(r.ranks())["mrr_100"] for r in results if r.row == "baseline"])
    assert headline(results, data.groups("test"))["mrr_baseline"] == pytest.approx(baseline)


def test_the_contrastive_baseline_finds_a_linear_tie_and_nothing_where_there_is_none():
    rng = np.random.default_rng(0)
    text = rng.normal(size=(300, 12)).astype("f")
    image = (text @ rng.normal(size=(12, 20)) + 0.1 * rng.normal(size=(300, 20))).astype("f")
    counts = csr_matrix((300, 1), dtype="f")

    def mrr(image: np.ndarray) -> float:
        train, held_out = (Pairs(text[r], image[r], counts[r]) for r in (slice(0, 220), slice(220, 300)))
        aligned = fit_aligned(train, held_out, config=AlignConfig(dim=16, epochs=60, batch_size=64, lr=1e-2))
        ids = [str(i) for i in range(80)]
        a, b = aligned.embed("text", held_out.text), aligned.embed("image", held_out.image)
        np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, rtol=1e-5)
        value = retrieval_figures(target_ranks(a, b, ids, ids).ranks)["mrr_100"]
        assert value == pytest.approx(max(aligned.curve))  # the maps of the best epoch were kept
        return value

    assert mrr(image) > 0.6
    # The best of 60 epochs, chosen on the same 80 pairs: above chance, far below a tie.
    assert mrr(image[rng.permutation(300)]) < 0.2


def test_independent_models_show_the_words_of_the_topics_that_their_theta_has(data, tmp_path, monkeypatch):
    """With mode "none" the image model's topics are renumbered: theta and words together."""
    from vtm.model.topicmodel import TopicModel

    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    apart = dataclasses.replace(
        data, experiment=dataclasses.replace(data.experiment, mode="none", seeds=(0,))
    )
    (run,) = run_models(apart, "text-teacher", progress=False)
    model = TopicModel.load(next(tmp_path.rglob("seed-0")) / "image")
    theta = model.theta(apart.pairs("test").image)
    order = [int(np.flatnonzero((theta == column[:, None]).all(axis=0))[0]) for column in run.image().T]
    assert sorted(order) == list(range(6)) and order != list(range(6))
    assert run.topics["image"] == [model.topics(25)[k] for k in order]


def test_prepare_can_be_called_before_and_after_its_module_is_imported():
    code = "import vtm; a = vtm.prepare; import vtm.experiment.prepare; b = vtm.prepare; print(callable(a), callable(b))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
