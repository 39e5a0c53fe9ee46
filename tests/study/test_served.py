"""What the tool gives its users, measured through its own calls."""

from types import SimpleNamespace

import numpy as np
import pytest

from vtm import from_parameters, prepare
from vtm_study.tags import chapter, served


@pytest.fixture(scope="module")
def found():
    # Scenes are alike by design: without clusters, each is by itself.
    off = {"twin_image": 0.0, "twin_text": 0.0, "twin_both": 0.0}
    data = prepare(from_parameters({"corpus": "scenes:n=150", "encoder": "pixels", **off}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "METHODS", ("plus",))
        return served.measure(data), len(data.corpus)


def test_every_pair_is_asked_for_once(found):
    measured, n = found
    assert measured["n_pictures"] == n
    ran = [row["name"] for row in measured["rows"] if "reason" not in row]
    assert ran[0] == "plus" and ran[-1] == served.NEAREST
    missing = {row["name"] for row in measured["rows"]} - set(ran)
    assert missing | set(ran[1:-1]) == set(served.EXTRA_PEERS)
    if not any(map(served.installed_version, missing)):
        assert all("not installed" in row["reason"] for row in measured["rows"] if row["name"] in missing)
    assert sum(point["n"] for point in measured["curves"]["keyword"]) == n * served.TOP


def test_a_model_of_drawn_scenes_is_far_above_chance(found):
    measured, n = found
    row = measured["rows"][0]
    chance = np.mean(
        1 / np.arange(1, n // 5 + 1)
    )  # mean reciprocal rank of a random order of a fold's pictures
    assert row["mrr_100"][1] > 1.5 * chance
    assert 0 <= row["without"] <= 1
    for figure in served.FIGURES:
        mean, low, high = row[figure]
        assert 0 <= low <= mean <= high <= 1


def test_figures_of_a_ranking_by_hand():
    known = [{"boat", "sea"}, {"boat"}, {"tree"}]
    assert served._queries([*known, {"boat"}]) == ["boat"]
    np.testing.assert_allclose(
        served._precision(["boat", "tree"], np.array([[0, 2], [2, 1]]), known), [0.5, 0.5]
    )
    np.testing.assert_allclose(served._reciprocal(np.array([[0, 1], [2, 1], [0, 1]])), [1, 0.5, 0])
    assert served._says_half({"boat", "sea"}, {"sea"}) and not served._says_half(set(), {"sea"})


def test_a_package_is_asked_as_ours_is_and_where_it_fails_the_reason_is_kept(monkeypatch):
    off = {"twin_image": 0.0, "twin_text": 0.0, "twin_both": 0.0}
    data = prepare(from_parameters({"corpus": "scenes:n=150", "encoder": "pixels", **off}))
    asked = []

    def knows_the_texts(name, text, image, tokens, vocabulary, ids, *, embed_words, n_topics, seed):
        """A package whose topics are the words of each test picture's own text."""
        if name == "turftopic":
            raise ValueError("no topics today\nand more")
        asked.append({part: len(rows) for part, rows in text.items()})
        assert len(tokens) == len(text["train"]) and len(ids) == len(text["validation"]) and all(tokens)
        column = {word: place for place, word in enumerate(vocabulary)}
        own = np.zeros((len(text["test"]), len(vocabulary)))
        for row, words in enumerate(test_words[len(asked) - 1]):
            own[row, [column[word] for word in words if word in column]] = 1
        same = {"test": np.eye(len(own))}
        return SimpleNamespace(text=same, image=same, topic_word=own)

    parts = served.folds(data.experiment)[:1]
    monkeypatch.setattr(served, "folds", lambda _: parts)
    test_words = [[data.vocabulary.tokens(text) for text in part.texts("test")] for part in parts]
    monkeypatch.setattr(served, "METHODS", ("plus",))
    monkeypatch.setattr(served, "extra_peer", knows_the_texts)
    monkeypatch.setattr(served, "installed_version", lambda name: "1.0")
    rows = {row["name"]: row for row in served.measure(data)["rows"]}
    assert rows["turftopic"]["reason"] == "ValueError: no topics today"
    assert rows["BERTopic"]["mrr_100"][0] == 1 and "shown_precision" not in rows["BERTopic"]
    assert rows["BERTopic"]["precision_5"][0] > rows["plus"]["precision_5"][0]
    assert [sum(sizes.values()) for sizes in asked] == [len(data.corpus)]


def test_three_tasks_are_shown_as_the_public_calls_answer_them():
    off = {"twin_image": 0.0, "twin_text": 0.0, "twin_both": 0.0}
    data = prepare(from_parameters({"corpus": "scenes:n=150", "encoder": "pixels", **off}))
    model = chapter.user_model(data)
    assert model.n_pairs_ + len(model.dropped_) == len(data.corpus) - len(data.rows["test"])

    def titles(figure):
        return [axes.get_title().replace("\n", " ") for axes in figure.axes if axes.get_title()]

    found = titles(chapter.find_figure(model, data))
    words = list(dict.fromkeys(title.partition(":")[0].strip("[]") for title in found))
    assert len(found) == 12 and len(words) == 3
    pictures = [data.pictures[id] for id in data.ids("test")]
    first = model.match(words[0], pictures, top=4).nearest[0]
    held = words[0] in model.words_of(data.texts("test")[first.position])[0]
    assert found[0] == f"{f'[{words[0]}]' if held else words[0]}: {first.probability:.0%}"
    assert len(titles(chapter.tag_figure(model, data))) == 8
    looked = titles(chapter.look_figure(model, data))
    theta = model.transform(pictures)
    labels = model.topic_labels()
    # Of topics with one label, one is shown.
    tops = [f"{theta[:, k].max():.0%}" for k, label in enumerate(labels) if looked[0].startswith(f"{label}")]
    assert len(looked) == 12 and tops and looked[0].endswith(tuple(tops))


def test_table_and_figure_show_what_was_measured(found):
    measured, _ = found
    studies = {"scenes": measured, "others": measured | {"rows": [{"name": "x", "reason": "not here"}]}}
    table = served.served_table(studies)
    shown = str((table.data if hasattr(table, "data") else table).to_dict())
    assert f"{measured['rows'][0]['mrr_100'][0]:.3f}" in shown and "not run" in shown
    why = served.not_run(studies)
    assert "not here" in str((why.data if hasattr(why, "data") else why).to_dict())
    assert len(served.served_figure(studies).axes) == 6
    # Of a measurement without some curves or packages, the others are shown, and what it lacks is named.
    part = {
        "scenes": measured | {"curves": {"match": measured["curves"]["match"]}, "rows": measured["rows"][:1]}
    }
    assert len(served.served_figure(part).axes) == 1
    lacking = served.not_run(part)
    assert list((lacking.data if hasattr(lacking, "data") else lacking).index) == list(served.EXTRA_PEERS)
    numbers = served.served_numbers(studies)
    assert numbers["served_mrr_100"] == measured["rows"][0]["mrr_100"][0]
    assert np.isnan(numbers["last_shown"])  # of a corpus on which nothing ran
    assert {f"served_error_{what}" for what in served.CURVES} <= set(numbers)
