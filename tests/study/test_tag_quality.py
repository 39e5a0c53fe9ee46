"""Figures of tags against slow oracles, and the study on drawn scenes: what is chosen where, and that it is read back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from vtm.config import KINDS, from_parameters
from vtm.errors import DataError, MissingError
from vtm.experiment.prepare import prepare
from vtm.experiment.runs import model_folder, run_models
from vtm.metrics.topics import nmi, npmi, purity, relevance
from vtm.model.topicmodel import TopicModel
from vtm_study.tags import chapter as findings
from vtm_study.tags import chapter as tables
from vtm_study.tags import study as measured_in
from vtm_study.tags.chapter import provenance_table, stored_table
from vtm_study.tags.chapter import stored as stored_studies
from vtm_study.tags.chapter import stored_overview_table as overview_table
from vtm_study.tags.metrics import (
    best_words,
    hit_rate,
    jackknife_interval,
    linear_probe,
    names_category,
    neighbour_probe,
    neighbour_words,
    partition_figures,
    words_of_topics,
)
from vtm_study.tags.study import (
    SIZES,
    PeerStatus,
    TagRun,
    TagStudy,
    healthy_models,
    material,
    stored,
    tag_study,
)

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(folder / "data"))
        patch.setenv("VTM_RUNS", str(folder / "runs"))
        parameters = dict(
            corpus="scenes:n=200", encoder="pixels", n_topics=6, seeds=[0, 1], epochs=40, batch_size=16
        )
        yield prepare(from_parameters(parameters), progress=False)


@pytest.fixture(scope="module")
def results(data):
    """Their health is another test's business."""
    return [dataclasses.replace(run, status="ok") for run in run_models(data, "text-teacher", progress=False)]


@pytest.fixture(scope="module")
def study(data, results):
    return tag_study(data, results, extras=False, progress=False)


# Figures


def test_partition_figures_leave_each_document_out_as_scikit_learn_would():
    rng = np.random.default_rng(0)
    clusters, groups = rng.integers(0, 7, 60), rng.choice(list("abcd"), 60)
    clusters[0], groups[1] = 9, "alone"  # a cluster and a category of one document vanish with it
    found = partition_figures(clusters, groups.tolist())
    assert found["nmi"][0] == pytest.approx(nmi(clusters, groups))
    assert found["purity"][0] == pytest.approx(purity(clusters, groups))
    for left_out in range(60):
        others = np.arange(60) != left_out
        expected = normalized_mutual_info_score(groups[others], clusters[others])
        assert found["nmi"][1 + left_out] == pytest.approx(expected, abs=1e-9)
        expected = purity(clusters[others], groups[others].tolist())
        assert found["purity"][1 + left_out] == pytest.approx(expected)


def test_one_cluster_of_one_category_agrees_entirely():
    assert (partition_figures(np.zeros(3), ["a", "a", "a"])["nmi"] == 1).all()
    assert partition_figures(np.zeros(4), ["a", "a", "b", "b"])["nmi"][0] == 0
    with pytest.raises(DataError, match="3 documents with a cluster and 2"):
        partition_figures(np.zeros(3), ["a", "b"])


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(1).random(size=(2, 50))
    n = values.shape[1]
    without = (values.sum(axis=1, keepdims=True) - values) / (n - 1)
    low, high = jackknife_interval(np.concatenate([values.mean(axis=1, keepdims=True), without], axis=1))
    means = values.mean(axis=0)
    error = means.std(ddof=1) / np.sqrt(n)
    assert low == pytest.approx(means.mean() - 1.96 * error)
    assert high == pytest.approx(means.mean() + 1.96 * error)
    assert jackknife_interval(np.array([0.99, 0.9, 1.0, 1.0]))[1] == 1


def test_keywords_are_counted_as_a_reader_would():
    words = np.array(["boat", "cat", "dog", "sea"])
    texts = [{"sea", "boat"}, {"cat"}, set()]
    present = np.array([[word in text for word in words] for text in texts])
    scores = np.array([[0.4, 0.1, 0.1, 0.4], [0.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]])
    frequency = np.array([1, 5, 2, 5])
    found = best_words(scores, 2, frequency=frequency)
    # Equal scores: the more frequent word first, then the earlier one.
    assert words[found].tolist() == [["sea", "boat"], ["cat", "sea"], ["sea", "dog"]]
    expected = [len(texts[i] & set(words[row])) / 2 for i, row in enumerate(found)]
    assert hit_rate(found, present).tolist() == expected == [1.0, 0.5, 0.0]
    assert best_words(scores, 9, frequency=frequency).shape == (3, 4)


def test_words_of_the_largest_topics_come_in_turn_and_once():
    topic_word = np.array([[0.6, 0.3, 0.1, 0.0], [0.5, 0.0, 0.1, 0.4], [0.0, 0.1, 0.3, 0.6]])
    theta = np.array([[0.5, 0.3, 0.2], [0.0, 0.4, 0.6]])
    # Document 0, topics 0 and 1: first words 0, 0; second 1, 3. Document 1, topics 2 and 1: 3, 0; 2, 3.
    assert words_of_topics(theta, topic_word, 3, largest=2).tolist() == [[0, 1, 3], [3, 0, 2]]
    assert words_of_topics(theta, topic_word, 4, largest=9).shape == (2, 4)


def test_a_text_names_its_category_by_a_whole_word_of_four_letters_or_more():
    texts = ["An animal, and more", "animalistic", "Signs of LIFE", "and so on", "Tool"]
    groups = ["animals", "animals", "signs_and_symbols", "signs_and_symbols", "tools/hand"]
    assert names_category(texts, groups).tolist() == [True, False, True, False, True]


def test_words_of_neighbours_are_summed_one_by_one():
    rng = np.random.default_rng(2)
    queries, items = rng.normal(size=(5, 4)), rng.normal(size=(9, 4))
    present = rng.random((9, 6)) < 0.4
    found = neighbour_words(queries, items, present, (1, 3))
    for k, scores in found.items():
        for i, query in enumerate(queries):
            cosine = [query @ item / np.linalg.norm(query) / np.linalg.norm(item) for item in items]
            nearest = sorted(range(9), key=lambda j: -cosine[j])[:k]
            expected = sum(cosine[j] * present[j] for j in nearest)
            np.testing.assert_allclose(scores[i], expected, atol=1e-12)


def test_probes_tell_what_can_be_told_and_choose_on_validation_alone():
    rng = np.random.default_rng(3)
    groups = {
        part: rng.choice(["a", "b", "c"], n).tolist() for part, n in zip(PARTS, (90, 30, 30), strict=True)
    }
    at = {"a": (3.0, 0.0), "b": (0.0, 3.0), "c": (-3.0, -3.0)}
    features = {
        part: np.array([at[group] for group in labels]) + rng.normal(size=(len(labels), 2))
        for part, labels in groups.items()
    }
    for probe in (linear_probe, neighbour_probe):
        found = probe(features, groups)
        assert found.correct.mean() > 0.9 and found.validation > 0.9
        noise = {part: rng.normal(size=x.shape) for part, x in features.items()}
        assert probe(noise, groups).correct.mean() < 0.7

    # Other test labels change what is told, not what is chosen.
    other = groups | {"test": ["new"] * 30}
    again = linear_probe(features, other)
    assert again.correct.sum() == 0
    first = linear_probe(features, groups)
    assert (again.setting, again.validation) == (first.setting, first.validation)
    with pytest.raises(DataError, match="validation: 30 documents and 29 categories"):
        linear_probe(features, groups | {"validation": groups["validation"][:-1]})


def test_the_neighbour_probe_is_one_neighbour_by_cosine():
    rng = np.random.default_rng(4)
    features = {part: rng.normal(size=(20, 3)) for part in PARTS}
    groups = {part: rng.choice(["a", "b"], 20).tolist() for part in PARTS}
    found = neighbour_probe(features, groups, neighbours=(1, 99))
    unit = {part: x / np.linalg.norm(x, axis=1, keepdims=True) for part, x in features.items()}
    nearest = (unit["test"] @ unit["train"].T).argmax(axis=1)
    expected = [groups["train"][j] == groups["test"][i] for i, j in enumerate(nearest)]
    assert found.setting == 1 and found.correct.tolist() == [float(told) for told in expected]


def test_the_number_of_neighbours_is_the_first_of_the_best_on_validation():
    rng = np.random.default_rng(5)
    groups = {part: rng.choice(["a", "b", "c"], 60).tolist() for part in PARTS}
    at = {"a": (2.0, 0.0, 1.0), "b": (0.0, 2.0, 1.0), "c": (1.0, 1.0, 2.0)}
    features = {
        part: np.array([at[g] for g in labels]) + 0.7 * rng.normal(size=(60, 3))
        for part, labels in groups.items()
    }
    for probe, name, settings in (
        (neighbour_probe, "neighbours", (3, 10, 20, 1)),
        (linear_probe, "penalties", (1e-3, 0.1, 10.0, 1e-6)),
    ):
        alone = {setting: probe(features, groups, **{name: (setting,)}) for setting in settings}
        accuracy = {setting: found.validation for setting, found in alone.items()}
        assert len(set(accuracy.values())) > 1
        best = max(accuracy, key=accuracy.get)
        assert best != settings[-1], "the last would be found without a choice"
        found = probe(features, groups, **{name: settings})
        assert (found.setting, found.validation) == (best, accuracy[best])
        assert found.correct.tolist() == alone[best].correct.tolist()


def test_one_category_in_training_is_all_that_is_ever_told():
    features = {part: np.arange(6.0).reshape(3, 2) for part in PARTS}
    groups = {"train": ["a"] * 3, "validation": ["a", "b", "b"], "test": ["b", "a", "b"]}
    assert linear_probe(features, groups).correct.tolist() == [0, 1, 0]


# The study


def test_the_study_holds_every_system_and_measures_test_pictures(data, study):
    assert [run.seed for run in study.rows()["text-teacher 6"]] == [0, 1]
    assert {"LDA 6", "NMF 6", "majority category", "image embeddings", "its own words"} <= set(study.rows())
    n_test, n_validation = len(data.rows["test"]), len(data.rows["validation"])
    for run in study.runs:
        for figure, values in run.items.items():
            lengths = {"nmi": n_test + 1, "purity": n_test + 1, "matched": n_validation, "ami": 1}
            expected = lengths.get(figure, n_test)
            assert len(values) == expected, (run.name, figure)
    assert study.ids == data.ids("test") and study.peers == () and study.unhealthy == ()


def test_hits_are_those_of_the_saved_models_words(data, results, study):
    """Counted anew from the texts, with the models that are on disk."""
    run = study.rows()["text-teacher 6"][1]
    model = TopicModel.load(model_folder(data, "text-teacher", 6) / "seed-1" / "image")
    theta = model.theta(data.pairs("test").image)
    np.testing.assert_allclose(theta, results[1].image("test"), atol=1e-6)
    words = data.vocabulary.words
    for i, (id, row) in enumerate(zip(study.ids, theta @ model.topic_word(), strict=True)):
        own = set(data.vocabulary.tokens(data.texts_by_id[id]))
        best = [words[j] for j in np.argsort(-row)[:5]]
        assert run.keywords[i] == best
        assert run.items["mixture_5"][i] == pytest.approx(len(own & set(best)) / 5)
    order = relevance(model.topic_word(), model.theta(data.pairs("train").image).mean(axis=0))
    for i, row in enumerate(theta):
        shown = []
        for place in range(5):
            for k in np.argsort(-row)[:3]:
                word = words[np.argsort(-order[k], kind="stable")[place]]
                shown += [] if word in shown else [word]
        own = set(data.vocabulary.tokens(data.texts_by_id[study.ids[i]]))
        assert run.items["largest"][i] == pytest.approx(len(own & set(shown[:5])) / 5)
    topics = model.topics(5)
    assert run.figures["npmi"] == pytest.approx(npmi(topics, data.pairs("train").counts, words, top=5).mean())
    assert run.figures["diversity"] == pytest.approx(len({word for topic in topics for word in topic}) / 30)
    groups = data.groups("test")
    assert run.items["nmi"][0] == pytest.approx(nmi(theta.argmax(axis=1), groups))
    assert run.items["purity"][0] == pytest.approx(purity(theta.argmax(axis=1), groups))
    assert run.items["ami"] == [pytest.approx(adjusted_mutual_info_score(groups, theta.argmax(axis=1)))]


def test_references_are_what_they_are_called(data, study):
    commonest = max(
        set(data.groups("train")), key=lambda g: (data.groups("train").count(g), [-ord(c) for c in g])
    )
    told = [float(group == commonest) for group in data.groups("test")]
    assert study.items("majority category", "linear")[0].tolist() == told
    assert study.items("majority category", "purity")[0, 0] == pytest.approx(
        max(data.groups("test").count(g) for g in set(data.groups("test"))) / len(told)
    )
    own = [len(set(data.vocabulary.tokens(text))) for text in data.texts("test")]
    assert study.items("its own words", "mixture_5")[0].tolist() == [min(n, 5) / 5 for n in own]
    frequent = study.rows()["most frequent words"][0]
    number = {
        w: sum(w in data.vocabulary.tokens(t) for t in data.texts("train")) for w in data.vocabulary.words
    }
    by_frequency = sorted(number, key=lambda word: (-number[word], word))
    assert frequent.keywords == [by_frequency[:5]] * len(own)


def test_the_tagger_looks_at_as_many_pictures_as_hit_most_on_validation(data, study):
    given = material(data)
    hits = {}
    for size in SIZES:
        scores = neighbour_words(
            given.image["validation"], given.image["train"], given.present["train"], (size,)
        )
        words = best_words(scores[size], 5, frequency=given.frequency)
        hits[size] = hit_rate(words, given.present["validation"]).mean()
    best = max(hits, key=hits.get)
    assert best != SIZES[0]
    (run,) = study.rows()["nearest pictures' words"]
    assert run.figures["pictures"] == best and run.figures["validation_hit_5"] == pytest.approx(hits[best])


def test_the_test_part_decides_nothing(data, results, study, monkeypatch, tmp_path):
    """With test texts that hold other words and categories, all that was chosen is the same."""
    monkeypatch.setenv("VTM_RUNS", str(tmp_path / "runs"))
    test = set(data.ids("test"))
    groups = tuple("x" if i in test else g for i, g in zip(data.corpus.ids, data.corpus.groups, strict=True))
    counts = data.counts.tolil()
    counts[data.rows["test"]] = 0
    changed = dataclasses.replace(
        data, corpus=dataclasses.replace(data.corpus, groups=groups), counts=counts.tocsr()
    )
    again = tag_study(changed, [], extras=False, progress=False)
    for run in again.runs:
        (same,) = [r for r in study.runs if (r.name, r.seed) == (run.name, run.seed)]
        first, second = ({k: v for k, v in r.figures.items() if k != "seconds"} for r in (same, run))
        assert first == second, run.name
    assert again.n_wordless == len(test) and again.n_new_groups == len(test)


def test_the_study_is_read_back_and_measured_again_when_the_data_change(data, results, study, monkeypatch):
    def nothing(*args, **kwargs):
        raise AssertionError("measured again")

    monkeypatch.setattr(measured_in, "measure_topics", nothing)
    monkeypatch.setattr(measured_in, "text_peer", nothing)
    assert tag_study(data, results, extras=False, progress=False) == study
    texts = ("another text", *data.corpus.texts[1:])
    changed = dataclasses.replace(data, corpus=dataclasses.replace(data.corpus, texts=texts))
    with pytest.raises(AssertionError, match="measured again"):
        tag_study(changed, results, extras=False, progress=False)


def test_what_is_stored_under_another_key_is_measured(tmp_path):
    path, calls = tmp_path / "run.json", []

    def measure() -> TagRun:
        calls.append(1)
        return TagRun("x", 2, 0, {"npmi": 0.5}, {"linear": [1.0, 0.0]}, [["a"], ["b"]])

    first = stored(path, "one", measure)
    assert stored(path, "one", measure) == first and len(calls) == 1
    stored(path, "two", measure)
    assert len(calls) == 2


def test_collapsed_runs_are_named_and_left_out(results):
    bad = dataclasses.replace(results[0], status="collapsed")
    good, named = healthy_models([bad, results[1]])
    assert good == [results[1]] and named == ("text-teacher 6, seed 0: collapsed",)


def test_a_peer_that_fails_is_reported_and_the_study_goes_on(data, results, study, monkeypatch):
    from vtm_study import others as peers_extra

    def broken(*args, **kwargs):
        raise RuntimeError("no space\nleft")

    def installed(name):
        return "1.0" if name == "BERTopic" else None

    for module in (measured_in, peers_extra):
        monkeypatch.setattr(module, "installed_version", installed)
    monkeypatch.setattr(peers_extra, "shared_space", broken)
    found = tag_study(data, results, progress=False)
    assert found.peers == (
        PeerStatus("BERTopic", False, "1.0", "RuntimeError: no space"),
        PeerStatus("turftopic", False, "", f"not installed: {peers_extra.INSTALL}"),
    )
    assert found.runs == study.runs
    table = tables.status_table(found)
    assert table.loc["BERTopic", "why not"] == "RuntimeError: no space"


# Tables, figures, numbers


def synthetic(ours: float, peer: float, reference: float) -> TagStudy:
    """A study in which 200 pictures' values have these means."""

    def run(system: str, k: int, share: float, seed: int = 0) -> TagRun:
        values = np.random.default_rng(int(1000 * share) + seed).permutation(np.arange(200) < 200 * share)
        items = {
            f: values.astype(float).tolist() for f in ("linear", "neighbours", "mixture_5", "mixture_10")
        }
        figures = {f"validation_{f}": share for f in ("linear", "neighbours", "hit_5", "matched")}
        if k:
            items["matched"] = items["linear"]
            figures |= {"npmi": 0.1, "diversity": 0.5, "seconds": 1.0, "converged": 1.0}
        return TagRun(system, k, seed, figures, items, [["a"] * 5] * 200)

    others = ("majority category", "image embeddings", "text embeddings", "most frequent words")
    others += ("nearest pictures' words", "linear map to words", "its own words")
    runs = [run(name, 0, reference) for name in others]
    runs += [run("joint", 6, ours), run("joint", 6, ours, 1), run("joint", 9, 0.05), run("LDA", 6, peer)]
    return TagStudy(
        ids=[f"i{i}" for i in range(200)],
        groups=["a"] * 200,
        n_train=100,
        n_validation=50,
        n_words=30,
        n_new_groups=0,
        n_named=0,
        n_wordless=0,
        runs=tuple(runs),
        peers=(),
        unhealthy=(),
    )


def test_comparisons_take_the_best_of_validation_and_say_which_is_more():
    found = findings.comparisons(synthetic(0.8, 0.2, 0.5))
    assert {c.one for c in found.values()} == {"joint 6"}
    assert found["linear_peer"].other == "LDA 6" and found["linear_peer"].verdict == "more"
    assert found["words_map"].test.difference == pytest.approx(0.3) and found["words_map"].verdict == "more"
    found = findings.comparisons(synthetic(0.2, 0.8, 0.5))
    assert {c.verdict for c in found.values()} == {"less"}
    assert found["matched_peer"].test.difference == pytest.approx(-0.6)
    close = findings.comparisons(synthetic(0.52, 0.5, 0.5))["words_map"]
    assert close.test.difference == pytest.approx(0.02) and close.verdict == "not decided"


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [((0.8, 0.2, 0.5), "more"), ((0.2, 0.8, 0.5), "less"), ((0.5, 0.5, 0.5), "not decided")],
)
def test_what_the_prose_quotes_are_the_means_and_their_verdict(shares, verdict):
    quoted = findings.chapter_numbers(synthetic(*shares))
    ours, peer, reference = (f"{share:.3f}" for share in shares)
    assert quoted["words_map_mean_ours"] == ours and quoted["words_map_mean_theirs"] == reference
    assert quoted["linear_peer_theirs"] == "LDA 6" and quoted["linear_peer_mean_theirs"] == peer
    difference = shares[0] - shares[2]
    assert quoted["words_map_test"].startswith(f"{difference:+.3f} [")
    assert quoted["words_map_test"].endswith(f"], {verdict}")
    assert "nan" not in " ".join(quoted.values())


def test_tables_show_the_runs(study):
    table = tables.keywords_table(study)
    hits = study.items("text-teacher 6", "mixture_5").mean()
    assert table.loc["text-teacher 6", "5 words"].startswith(f"{hits:.3f} ±")
    assert table.loc["most frequent words", "5 words of 3 topics"] == "–"
    table = tables.clusters_table(study)
    assert table.loc["text-teacher 6", "NMI"].startswith(
        f"{study.items('text-teacher 6', 'nmi')[:, 0].mean():.3f}"
    )
    assert list(tables.peers_table(study).index) == ["text-teacher 6", "LDA 6", "NMF 6"]
    rows = list(tables.categories_table(study).index)
    assert rows[0] == "majority category" and rows[-1] == "text embeddings"
    assert "text-teacher 6" in tables.comparisons_table(study)["ours"].tolist()
    assert tables.status_table(study) == "They were not asked for."


def test_figures_hold_every_system_and_the_own_words_in_brackets(data, study):
    chart = tables.tags_chart(study)
    assert [axes.get_xlabel() for axes in chart.axes][-1] == "keywords hit, of 5"
    labels = [label.get_text() for label in chart.axes[-1].get_yticklabels()]
    assert labels == list(tables.keywords_table(study).index)
    shown = [axes for axes in tables.examples(study, data).axes if axes.get_title()]
    assert len(shown) == min(tables.EXAMPLES, len(study.ids))
    run = study.rows()[study.best(KINDS, "validation_hit_5")][0]
    hits = dict(zip(study.ids, run.items["mixture_5"], strict=True))
    from vtm.report.figures import draw_ids

    for id, axes in zip(draw_ids(study.ids, n=tables.EXAMPLES, seed=0), shown, strict=True):
        if not axes.get_title().endswith("…"):
            assert axes.get_title().count("[") == round(hits[id] * 5)


def test_a_corpus_without_categories_is_measured_by_its_words_alone(data, results, monkeypatch, tmp_path):
    monkeypatch.setenv("VTM_RUNS", str(tmp_path / "runs"))
    plain = dataclasses.replace(data, corpus=dataclasses.replace(data.corpus, groups=None))
    results = run_models(plain, "text-teacher", progress=False)
    found = tag_study(plain, results, extras=False, progress=False)
    assert not any({"linear", "nmi"} & set(run.items) for run in found.runs)
    assert tables.clusters_table(found) == tables.categories_table(found) == tables.NO_GROUPS
    quoted = findings.chapter_numbers(found)
    assert {quoted[name] for name in ("named", "text", "linear_image_test")} == {"–"}
    assert quoted["words_map_test"] != "–"
    assert len(tables.tags_chart(found).axes) == 1
    assert "none" in tables.overview_table(found)["value"].tolist()


def test_without_a_healthy_run_the_chapter_says_so(data, monkeypatch):
    found = tag_study(data, [], extras=False, progress=False)
    quoted = findings.chapter_numbers(found)
    assert {quoted[f"{key}_{of}"] for key in tables.QUOTED for of in ("ours", "mean_theirs", "test")} == {"–"}
    assert tables.comparisons_table(found) == "No run of the topic models was healthy."
    assert len(tables.examples(found, data).axes) > 0


def test_a_stored_study_shows_the_tables_that_were_measured(data, results, study, tmp_path, monkeypatch):
    from vtm_study import driver
    from vtm_study.tags import chapter as part

    with pytest.raises(MissingError, match="reproduce --profile study --only tags"):
        stored_studies(tmp_path)
    monkeypatch.setattr(part, "run_models", lambda data, kind: results if kind == "text-teacher" else [])
    monkeypatch.setattr(part, "tag_study", lambda data, results, progress: study)
    driver.run_parts(data, folder=tmp_path / "scenes", parts=["tags"])
    found = stored_studies(tmp_path)
    assert list(found) == [data.experiment.corpus]
    for name, make in tables.TABLES.items():
        table, shown = make(study), stored_table(found, name)
        if isinstance(table, str):
            assert isinstance(shown, str), name
            continue
        assert list(shown.index) == list(table.index)
        assert set(shown.pop("corpus")) == {data.experiment.corpus}
        assert shown.astype(str).equals(table.astype(str)), name
    overview = overview_table(found)
    assert overview[data.experiment.corpus].tolist() == tables.overview_table(study)["value"].tolist()
    assert provenance_table(found)["test pictures"].tolist() == [len(data.ids("test"))]


def test_the_stored_studies_are_of_both_corpora_with_all_peers():
    found = stored_studies()
    assert {name.partition(":")[0] for name in found} >= {"openclipart", "stamps"}
    for corpus, one in found.items():
        assert not one["commit"].endswith("+"), f"{corpus}: measured with code that is not in the repository"
        ran = dict(zip(one["tables"]["status"]["index"], one["tables"]["status"]["data"], strict=True))
        assert set(ran) == {"BERTopic", "turftopic"} and all(cells[0] == "yes" for cells in ran.values())
