"""What people decide about topics, against theta and words that are added up by hand."""

from __future__ import annotations

import csv
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vtm.api import METHODS, VisualTopicModel
from vtm.cli import app
from vtm.corpora import load_corpus
from vtm.errors import ConfigError, DataError
from vtm.files import load_arrays, save_arrays
from vtm.model.shape import Shape

K = 6


@pytest.fixture(scope="module", params=METHODS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shape") / "model"
    with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning):
        patch.setenv("VTM_DATA", str(path.parent / "data"))
        corpus = load_corpus("scenes", n=80)
        model = VisualTopicModel(
            K, method=request.param, encoder="pixels", epochs=2, min_df=2, progress=False
        )
        model.fit(corpus.texts, corpus.images).save(path, owner="me")
    return path


@pytest.fixture
def model(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VTM_DATA", str(trained.parent / "data"))
    copy = tmp_path / "model"
    copy.write_bytes(trained.read_bytes())
    return copy


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == code, result.output
    return result.output


def pictures() -> list[Path]:
    return list(load_corpus("scenes", n=80).images[:5])


def test_all_that_is_shown_honours_what_was_decided(model: Path) -> None:
    raw = VisualTopicModel.load(model)
    theta, text = raw.transform(pictures()), raw.transform_text(["a boat"])
    banned = raw.topics(1, order="probability")[2][0]
    output = run(
        *("edit", model, "--name", "4=harbour and ships", "--merge", "4,1", "--hide", 5, "--ban", banned)
    )
    assert "topic 1 is part of topic 4" in output.replace("part of 4", "part of topic 4")
    assert f"{raw.topic_share_[5]:.1%}" in output, "the share of what is hidden is told"
    shaped = VisualTopicModel.load(model)
    assert shaped.topic_numbers_ == [0, 2, 3, 4] and shaped.notes_ == {"owner": "me"}
    for before, now in ((theta, shaped.transform(pictures())), (text, shaped.transform_text(["a boat"]))):
        kept = 1 - before[:, 5].astype(float)
        expected = [before[:, 0], before[:, 2], before[:, 3], before[:, 4] + before[:, 1]]
        np.testing.assert_allclose(now, np.transpose(expected) / kept[:, None], rtol=1e-4, atol=1e-7)
    weight = raw.topic_share_[[4, 1]]
    mean = (weight[0] * raw.topic_word_[4] + weight[1] * raw.topic_word_[1]) / weight.sum()
    best = [raw.vocabulary_[w] for w in np.argsort(-mean, kind="stable") if raw.vocabulary_[w] != banned]
    assert shaped.topics(3, order="probability", all_forms=True)[3] == best[:3]
    assert shaped.topic_labels()[3] == "harbour and ships"
    assert all(banned not in words for words in shaped.topics(len(raw.vocabulary_)))
    found = shaped.keywords(pictures(), top=len(raw.vocabulary_), min_confidence=0)
    assert len(found[0]) > 5 and all(banned != one.word for words in found for one in words)
    assert shaped.get_feature_names_out().tolist() == ["topic0", "topic2", "topic3", "topic4"]


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ({"ban": "flag"}, "ban='flag': give a list, as ban=['flag']"),
        ({"ban": [1]}, "ban: 1 is no word"),
        ({"hide": 3}, "hide=3: give a list, as hide=[3]"),
        ({"hide": ["1"]}, "hide: '1' is no whole number"),
        ({"hide": [1.0]}, "hide: 1.0 is no whole number"),
        ({"merge": (1, 2)}, "merge=1: give a list, as merge=[(4, 7)]"),
        ({"merge": [(True, 2)]}, "merge: True is no whole number"),
        ({"names": ["a"]}, "names=['a']: give a dict, as names={3: 'harbour'}"),
        ({"names": {"1": "x"}}, "names: '1' is no whole number"),
        ({"names": {1: None}}, "names: None is no text"),
        ({"split": [2]}, "split=[2]: give a dict, as split={3: 2}"),
        ({"split": {2: "2"}}, "split: '2' is no whole number"),
    ],
)
def test_what_is_no_decision_is_refused(decisions, said) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        Shape().edited(6, **decisions)


def test_numbers_of_numpy_decide(model: Path) -> None:
    found = Shape().edited(6, hide=np.array([1]), merge=np.array([[4, 5]]), names={np.int64(0): "sea"})
    assert found == Shape().edited(6, hide=[1], merge=[(4, 5)], names={0: "sea"})


def test_what_is_found_and_its_chances_stay(model: Path) -> None:
    raw = VisualTopicModel.load(model)
    shaped = VisualTopicModel.load(model).edit(merge=[(0, 1)], hide=[2], names={0: "water"})
    before, now = (one.match("boat", pictures()) for one in (raw, shaped))
    assert [(hit.position, hit.score) for hit in before.nearest] == [
        (hit.position, hit.score) for hit in now.nearest
    ]
    assert all(topic.topic in shaped.topic_numbers_ for hit in now.nearest for topic in hit.topics)
    theta = shaped.transform(pictures())
    ranked = shaped.match(topic=0, images=pictures()).nearest
    assert [hit.position for hit in ranked] == np.argsort(-theta[:, 0], kind="stable").tolist()
    assert {topic.name for hit in ranked for topic in hit.topics} == {"water"}
    with pytest.raises(ConfigError, match="topic=1: is part of topic 0"):
        shaped.match(topic=1, images=pictures())


def test_commands_show_names_and_numbers(model: Path, tmp_path: Path) -> None:
    run("edit", model, "--name", "3=ships, small", "--merge", "3,0", "--hide", "1")
    rows = [
        json.loads(line) for line in run("topics", model, "--format", "jsonl").splitlines() if line[0] == "{"
    ]
    assert {row["topic"] for row in rows} == {2, 3, 4, 5}
    assert {row["topic"]: row["name"] for row in rows}[3] == "ships, small"
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-4)
    tags = run("tag", model, *pictures(), "--top", 6, "--min-probability", 0, "--format", "csv")
    assert "3: ships, small (" in tags and "0: " not in tags.replace("10: ", "")
    run("explore", model, *pictures(), "-o", tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert '"number":3,"name":"ships, small"' in page and '"number":0' not in page


def test_a_tree_has_what_is_shown_and_its_branches_add_up(model: Path) -> None:
    raw = VisualTopicModel.load(model)
    run("edit", model, "--merge", "3,0", "--hide", 1, "--name", "4=boats", "--ban", raw.topics(1)[2][0])
    shaped = VisualTopicModel.load(model)
    tree, share = shaped.tree(), raw.topic_share_
    every = [branch for _, branch in tree.walk()]
    assert sorted(tree.topics) == [2, 3, 4, 5] and len(every) == 7 and tree.share == pytest.approx(1)
    for branch in every:
        trained = [k for topic in branch.topics for k in ((3, 0) if topic == 3 else (topic,))]
        assert branch.share == pytest.approx(share[trained].sum() / (1 - share[1]), rel=1e-5)
        assert raw.topics(1)[2][0] not in branch.words
        # Of the words of all its topics, those that it has more than the whole has come first.
        mean = np.average(raw.topic_word_[trained], axis=0, weights=share[trained])
        shown = [0, 2, 3, 4, 5]
        order = 0.6 * np.log(mean) + 0.4 * np.log(mean / (share[shown] @ raw.topic_word_[shown]))
        places = [raw.vocabulary_.index(word) for word in branch.words]
        np.testing.assert_array_equal(np.argsort(-order[places], kind="stable"), range(len(places)))
        if branch.parts:
            one, other = branch.parts
            assert one.topics + other.topics == branch.topics and one.share >= other.share
            assert branch.name == "" and branch.distance >= max(one.distance, other.distance)
        else:
            assert branch.name == ("boats" if branch.topics == (4,) else "")


def test_topics_that_are_alike_stand_together_in_the_tree(model: Path) -> None:
    """By what each method compares topics by: VTM+'s anchors, or words."""
    loaded = VisualTopicModel.load(model)
    x = loaded.image_model_.model.anchors[0] if loaded.method_ == "plus" else np.sqrt(loaded.topic_word_)
    cosine = x @ x.T / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(x, axis=1))
    a, b = np.unravel_index(np.argmax(cosine - 2 * np.eye(K)), cosine.shape)
    pair = next(branch for _, branch in loaded.tree().walk() if {*branch.topics} == {a, b})
    assert pair.distance == pytest.approx(1 - cosine[a, b], abs=1e-6)


def test_a_tree_is_drawn_or_written_as_rows(model: Path, tmp_path: Path) -> None:
    run("edit", model, "--name", "4=[boats]")
    drawn = run("topics", model, "--tree", "--format", "table").splitlines()
    assert len(drawn) == 2 * K - 1 and sum("── 4: [boats] " in line for line in drawn) == 1
    branches = [branch for _, branch in VisualTopicModel.load(model).tree(2).walk()]
    rows = [
        json.loads(line)
        for line in run("topics", model, "--tree", "--top", 2, "--format", "jsonl").splitlines()
    ]
    assert [row["keywords"] for row in rows] == [list(branch.words) for branch in branches]
    for row in rows[1:]:
        above = rows[row["part of"]]
        assert {*row["topics"]} < {*above["topics"]} and row["level"] == above["level"] + 1
    assert rows[0]["part of"] is None and [row["topics"] for row in rows if row["name"] == "[boats]"] == [[4]]
    run("topics", model, "--tree", "-o", tmp_path / "tree.csv")
    with open(tmp_path / "tree.csv", encoding="utf-8", newline="") as stream:
        assert [row["topics"] for row in csv.DictReader(stream)] == [
            ", ".join(map(str, row["topics"])) for row in rows
        ]
    assert "leave out --ctfidf" in run("topics", model, "--tree", "--ctfidf", code=2)


def largest(model: Path) -> int:
    """The topic that most of the kept pairs have."""
    topics = VisualTopicModel.load(model)._pieces_of(()).topics
    return int(np.bincount(topics.argmax(axis=1)).argmax())


def test_the_pieces_of_a_topic_add_up_to_it(model: Path) -> None:
    raw, k = VisualTopicModel.load(model), largest(model)
    assert f"topic {k} is split into {k} and 6\n" in (output := run("edit", model, "--split", k))
    assert f"pieces of topics that were split: {k}, 6; of these, coherence is not known" in output
    loaded = VisualTopicModel.load(model)
    assert loaded.topic_numbers_ == [0, 1, 2, 3, 4, 5, 6] and loaded.notes_ == {"owner": "me"}
    texts = ["a boat", "two yellow moons in the dark"]
    for before, now in (
        (raw.transform(pictures()), loaded.transform(pictures())),
        (raw.transform_text(texts), loaded.transform_text(texts)),
        (raw.topic_share_[None], loaded.shown_share_[None]),
    ):
        others = [other for other in range(K) if other != k]
        np.testing.assert_array_equal(now[:, others], before[:, others])
        np.testing.assert_allclose(now[:, k] + now[:, 6], before[:, k], rtol=1e-5)
        assert (now[:, [k, 6]] > 0).all() and now.shape[1] == K + 1
    # Of each word, what the two have of it is what the topic had.
    counts = loaded._divided(raw._topic_counts)
    np.testing.assert_allclose(counts[k] + counts[6], raw._topic_counts[k], rtol=1e-9)
    np.testing.assert_allclose(loaded._topic_words("image").sum(axis=1), 1, rtol=1e-5)
    assert loaded.topics(5)[k] != loaded.topics(5)[6]
    shown = {row["topic"]: row for row in rows_of("topics", model)}
    assert {*shown} == {*range(7)} and [shown[one]["coherence"] for one in (k, 6)] == [None, None]
    ids = {*map(str, load_corpus("scenes", n=80).images)}
    own = [{*shown[one]["best pictures"]} for one in (k, 6)]
    assert all(own) and own[0] | own[1] <= ids and not own[0] & own[1]


def test_pieces_do_not_depend_on_what_stands_beside_a_picture(model: Path) -> None:
    loaded, some = VisualTopicModel.load(model), pictures()
    before = loaded.match("boat", some)
    loaded.edit(split={(k := largest(model)): 2})
    theta = loaded.transform(some)
    for row, picture in enumerate(some):
        np.testing.assert_array_equal(loaded.transform([picture])[0], theta[row])
    ((tagged, _, _),) = loaded.tag_blocks(some)
    np.testing.assert_array_equal(tagged, theta)
    x, _ = loaded._embeddings(some, None)
    np.testing.assert_array_equal(loaded.transform(image_embeddings=x), theta)
    # Trained topics rank as before; a piece is asked for by its share.
    now = loaded.match("boat", some)
    assert [(hit.position, hit.score) for hit in before.nearest] == [
        (hit.position, hit.score) for hit in now.nearest
    ]
    found = loaded.match(topic=6, images=some).nearest
    assert [hit.position for hit in found] == np.argsort(-theta[:, 6], kind="stable").tolist()
    np.testing.assert_allclose([hit.score for hit in found], theta[[hit.position for hit in found], 6])
    shared = {topic.topic for hit in found for topic in hit.topics}
    assert shared == {6} and k in loaded.topic_numbers_


def test_a_split_is_repeated_deepened_and_taken_back(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vtm.model.shape.LEAST_PAIRS", 1)
    before, k = model.read_bytes(), largest(model)
    run("edit", model, "--split", k)
    once = model.read_bytes()
    two = VisualTopicModel.load(model).transform(pictures())
    for again in (k, f"{k}:2"):
        assert run("edit", model, "--split", again).startswith(
            f"nothing changed: topic {k} is already split into {k} and 6; {k}:3 divides it further\n"
        )
    assert model.read_bytes() == once
    told = run("edit", model, "--split", k, "--name", f"{k}=large").splitlines()
    assert told[:2] == [
        f"topic {k} is called large",
        f"topic {k} is already split into {k} and 6; {k}:3 divides it further",
    ]
    run("edit", model, "--undo")
    assert model.read_bytes() == once
    run("edit", model, "--split", f"{k}:3", "--name", "7=small", "--merge", "6,0", "--hide", 1)
    loaded = VisualTopicModel.load(model)
    assert loaded.topic_numbers_ == [n for n in range(2, 6)] + [6, 7] or k in (0, 1)
    assert loaded.shape_.splits[1].numbers == (k, 7) and loaded.topic_number("small") == 7
    deeper = VisualTopicModel.load(model).edit(undo=True).edit(split={k: 3}).transform(pictures())
    np.testing.assert_array_equal(deeper[:, 6], two[:, 6])
    np.testing.assert_allclose(deeper[:, k] + deeper[:, 7], two[:, k], rtol=1e-5)
    # Merged again, they are the topic that they were.
    merged = VisualTopicModel.load(model).edit(undo=True).edit(merge=[(k, 6)])
    np.testing.assert_allclose(
        merged.transform(pictures()), VisualTopicModel.load(model).trained().transform(pictures()), rtol=1e-5
    )
    tree = merged.edit(undo=True).tree()
    assert sorted(tree.topics) == [0, 1, 2, 3, 4, 5, 6]
    run("explore", model, *pictures(), "-o", tmp_path / "page")
    assert '"number":7,"name":"small"' in (tmp_path / "page" / "index.html").read_text("utf-8")
    assert "topic 7 has no name" in (told := run("edit", model, "--undo"))
    assert f"topic {k} is whole again" in told
    assert model.read_bytes() == once
    run("edit", model, "--undo")
    assert model.read_bytes() == before


def rows_of(command: str, *given: object) -> list[dict]:
    lines = run(command, *given, "--format", "jsonl").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--split", "9"), "there is no topic 9; the model has topics 0 to 5"),
        (("--split", "0:1"), "split 0:1: name 2 topics or more"),
        (("--split", "0:99"), "and 5 a piece are needed"),
        (("--split", "0:x"), "--split 0:x: give the number of a topic"),
        (("--merge", "0,1", "--split", 0), None),
        (("--hide", 0, "--split", 0), None),
    ],
)
def test_what_cannot_be_split_is_told(model: Path, given: tuple[object, ...], told: str | None) -> None:
    before = model.read_bytes()
    if told is None:  # what was decided in an earlier call
        run("edit", model, *given[:2])
        before, given = model.read_bytes(), given[2:]
        told = "split 0: is hidden; show it again first"
        if VisualTopicModel.load(model).shape_.merged:
            told = "split 0: is several topics in one; take out what was merged into it first"
    output = run("edit", model, *given, code=2)
    assert told in output and len(output.strip().splitlines()) == 1
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [{"topic": 6}, {"numbers": [0, 7]}, {"centres": [[1.0], [0.0]]}, {"numbers": [0, 6, 7]}, {"topic": -1}],
)
def test_a_damaged_split_is_refused_when_the_model_is_loaded(model: Path, change: dict) -> None:
    run("edit", model, "--split", largest(model))
    arrays, about = load_arrays(model)
    (split,) = about["shape"]["splits"]
    split |= {"topic": 0, "numbers": [0, 6]} | change
    save_arrays(model, arrays, about)
    with pytest.raises(DataError, match="model: does not hold what a model's does"):
        VisualTopicModel.load(model)


@pytest.mark.parametrize("method", ["plus", "text-teacher"])
def test_a_split_finds_the_two_kinds_of_which_a_topic_is_made(method: str) -> None:
    draws = np.random.default_rng(0)
    words = [
        "wave sail harbour gull",
        "oak moss fern deer",
        "tram bridge market square",
        "peak snow hut goat",
    ]
    kinds = draws.integers(0, 4, size=300)
    texts = [" ".join(draws.choice(words[kind].split(), 3)) for kind in kinds]
    centres = draws.normal(size=(4, 16))
    text, image = (centres[kinds] + 0.6 * draws.normal(size=(300, 16)) for _ in range(2))
    model = VisualTopicModel(3, method=method, epochs=30, progress=False, validation=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(texts, text_embeddings=text, image_embeddings=image)
    theta = model.transform(image_embeddings=image)
    of_kind = np.array([theta[kinds == kind].mean(axis=0).argmax() for kind in range(4)])
    k = int(np.bincount(of_kind).argmax())
    both = np.flatnonzero(of_kind == k)
    assert len(both) == 2, "three topics for four kinds"
    theta = model.edit(split={k: 2}).transform(image_embeddings=image)
    some = np.isin(kinds, both)
    piece = theta[some][:, [k, 3]].argmax(axis=1)
    right = (piece == (kinds[some] == both[1])).mean()
    assert max(right, 1 - right) > 0.95
    # Words as well: those of one kind each.
    for one in (k, 3):
        first = model.topics(4, order="probability")[one]
        assert {*first} in [{*words[kind].split()} for kind in both]


def test_undo_takes_back_one_call_after_the_other(model: Path) -> None:
    before = model.read_bytes()
    run("edit", model, "--merge", "0,1")
    run("edit", model, "--name", "0=a", "--hide", 2)
    assert "topic 2 is shown" in run("edit", model, "--undo")
    assert VisualTopicModel.load(model).topic_numbers_ == [0, 2, 3, 4, 5]
    run("edit", model, "--undo")
    assert model.read_bytes() == before
    assert "nothing to undo" in run("edit", model, "--undo", code=2)


def test_what_decides_nothing_is_refused(model: Path, tmp_path: Path) -> None:
    before, table = model.read_bytes(), tmp_path / "topics.csv"
    table.write_text("topic,called\n2,harbour\n", encoding="utf-8")
    assert "none of the columns 'name', 'merge into', 'split into' and 'hide'" in run(
        "edit", model, "--from", table, code=2
    )
    for option in ("--ban", "--allow"):
        for given in ("", " , "):
            assert f"error: {option}: give words" in run("edit", model, option, given, code=2)
    assert "banned: boat\nbanned: sea\n" in run("edit", model, "--ban", "boat,,sea")
    run("edit", model, "--undo")
    assert model.read_bytes() == before


def test_a_decision_that_is_made_already_adds_no_step(model: Path) -> None:
    asked = ("--name", "3=ships, small", "--merge", "4,1,0", "--hide", 5, "--ban", "boat")
    run("edit", model, *asked)
    once = model.read_bytes(), model.stat().st_ino
    for again, told in (
        (asked, "topic 1 is already part of 4; topic 0 is already part of 4; topic 5 is already hidden"),
        (("--merge", "4,0"), "topic 0 is already part of 4"),
        (("--hide", 5), "topic 5 is already hidden"),
        (("--ban", " Boat"), "already banned: boat"),
        (("--name", "3= ships,  small "), "topic 3 is already called ships, small"),
        (("--name", "2="), "topic 2 has no name"),
    ):
        assert run("edit", model, *again).startswith(f"nothing changed: {told}")
        assert (model.read_bytes(), model.stat().st_ino) == once, "the file is not even written"
    run("edit", model, "--merge", "4,0,2")
    shape = VisualTopicModel.load(model).shape_
    assert shape.merged == {0: 4, 1: 4, 2: 4} and shape.before.merged == {0: 4, 1: 4}
    assert shape.before.before == Shape()


def test_a_topic_is_found_by_its_name(model: Path, tmp_path: Path) -> None:
    run("edit", model, "--name", "3=Ships, small", "--name", "4=large  ships", "--name", "5=Sea", "--hide", 1)
    loaded = VisualTopicModel.load(model)
    for called, k in (("ships,  SMALL", 3), ("large", 4), ("sea", 5), (np.int64(3), 3)):
        assert loaded.topic_number(called) == k
    words = [word for label in loaded.topic_labels() for word in label.split(", ")]
    for word in loaded.topic_labels()[0].split(", "):  # of a topic without a name
        if words.count(word) == 1:
            assert loaded.topic_number(word) == 0
    # A name does not hide the keywords of the topic.
    first = loaded.topics(3)
    own = [word for word in first[loaded.topic_numbers_.index(5)] if sum(word in some for some in first) == 1]
    assert own and all(loaded.topic_number(word.upper()) == 5 for word in own if word not in words)
    by_number = run("match", model, *pictures(), "--topic", 4, "-o", tmp_path / "a.csv")
    assert run("match", model, *pictures(), "--topic", "Large Ships", "-o", tmp_path / "b.csv") == by_number
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    for called, told in (
        ("ships", "several are called so: 3 (Ships, small), 4 (large ships); give a number"),
        ("shisp", "no topic is called so; near are 3 (Ships, small), 4 (large ships); `vtm topics`"),
        ("xyzzy", "no topic is called so; `vtm topics` shows all"),
        ("", "no topic is called so"),
    ):
        output = run("match", model, *pictures(), "--topic", called, code=2)
        assert told in output and len(output.strip().splitlines()) == 1
    assert "topic=1: is hidden" in run("match", model, *pictures(), "--topic", "1", code=2)


def test_an_update_keeps_what_was_decided(model: Path) -> None:
    corpus = load_corpus("scenes", n=90)
    shaped = VisualTopicModel.load(model)
    if shaped.method_ != "plus":
        pytest.skip("only VTM+ is updated")
    shaped.edit(names={2: "ships"}, merge=[(2, 4)], hide=[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        earlier = corpus.texts[:80], corpus.images[:80]
        shaped.partial_fit(corpus.texts[80:], corpus.images[80:], earlier=earlier)
    assert shaped.n_pairs_ > 80 and shaped.topic_numbers_[:3] == [1, 2, 3]
    assert shaped.topic_labels()[1] == "ships" and len(shaped.shape_.undone().names) == 0


def test_an_update_makes_topics_of_pieces(model: Path, tmp_path: Path) -> None:
    loaded, k = VisualTopicModel.load(model), largest(model)
    if loaded.method_ != "plus":
        pytest.skip("only VTM+ is updated")
    corpus = load_corpus("scenes", n=90)
    (other,) = {0, 1} - {k} if k < 2 else {0}
    loaded.edit(hide=[other]).edit(split={k: 2}, names={6: "small"})
    before = loaded.transform(corpus.images[:80])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded.partial_fit(
            corpus.texts[80:],
            corpus.images[80:],
            earlier=(corpus.texts[:80], corpus.images[:80]),
            new_topics=0,
        )
    assert loaded.image_model_.n_topics == K + 1 and loaded.shape_.splits == ()
    assert (
        loaded.topic_numbers_ == [n for n in range(K + 1) if n != other] and loaded.shape_.name(6) == "small"
    )
    now = loaded.transform(corpus.images[:80])
    cosine = (before * now).sum(axis=0) / np.linalg.norm(before, axis=0) / np.linalg.norm(now, axis=0)
    assert (cosine > 0.7).all(), "topics and pieces are what they were"
    assert not np.isnan(loaded.shape_.measured(loaded.coherence_["image"])).any()
    loaded.save(tmp_path / "again")
    # What was one topic before the call is one again.
    back = VisualTopicModel.load(tmp_path / "again").edit(undo=True)
    assert back.topic_numbers_ == [n for n in range(K) if n != other] and back.shape_.merged == {6: k}
    np.testing.assert_allclose(
        back.transform(pictures())[:, back.topic_numbers_.index(k)],
        loaded.trained().transform(pictures())[:, [k, 6]].sum(axis=1)
        / (1 - loaded.trained().transform(pictures())[:, other]),
        rtol=1e-4,
    )


def test_models_without_decisions_are_as_they_were_trained(model: Path) -> None:
    arrays, about = load_arrays(model)
    del about["shape"]
    save_arrays(model, arrays, about)
    loaded = VisualTopicModel.load(model)
    assert loaded.shape_ == Shape() and loaded.topic_numbers_ == list(range(K))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--hide", 6), "there is no topic 6; the model has topics 0 to 5"),
        (("--merge", "4"), "merge 4: name two topics or more"),
        (("--merge", "4,x"), "--merge 4,x: give numbers of topics"),
        (("--name", "boats"), "--name boats: give the number of a topic and its name"),
        (("--merge", "0,1", "--merge", "2,1"), "topic 1: is part of topic 0"),
        (("--hide", "0,1,2,3,4"), "1 of 6 topics would be shown"),
        (("--show", 3), "topic 3: is not hidden"),
        (("--unmerge", 3), "topic 3: is merged into no other"),
        (("--allow", "boat"), "boat: is not banned"),
        (("--undo", "--hide", 1), "undo: takes back the last call alone"),
        (("--name", "2=a", "--name", "2=b"), "--name: topic 2 is named twice, 'a' and 'b'"),
        (("--split", "2", "--split", "2:3"), "--split: topic 2 is named twice, 2 and 3"),
        (("--hide", "1,2", "--show", 2), "topic 2: is to be hidden and to be shown"),
        (("--ban", "Boat", "--allow", "boat"), "boat: is to be banned and to be allowed"),
    ],
)
def test_what_cannot_be_decided_is_told_in_a_line_and_changes_nothing(
    model: Path, given: tuple[object, ...], told: str
) -> None:
    before = model.read_bytes()
    output = run("edit", model, *given, code=2)
    assert told in output and len(output.strip().splitlines()) == 1
    assert model.read_bytes() == before


def test_a_topic_does_not_vanish_in_one_that_is_hidden() -> None:
    shape = Shape().edited(6, hide=[3])
    with pytest.raises(ConfigError, match="merge 3,1: topic 3 is hidden, and the others would be with it"):
        shape.edited(6, merge=[(3, 1)])
    assert shape.edited(6, merge=[(1, 3)]).numbers(6) == [0, 1, 2, 4, 5]
    assert shape.edited(6, show=[3], merge=[(3, 1)]).numbers(6) == [0, 2, 3, 4, 5]
    both = shape.edited(6, hide=[1])
    assert both.edited(6, merge=[(3, 1)]).numbers(6) == [0, 2, 4, 5], "two hidden ones may be one"


def test_decisions_in_a_circle_are_refused() -> None:
    with pytest.raises(ConfigError, match="topics 0, 1: are merged into each other in a circle"):
        Shape(merged={0: 1, 1: 0}).check(4)


def test_decisions_are_taken_back_one_by_one() -> None:
    shape = Shape().edited(6, names={1: "b"}, ban=["Misc"]).edited(6, merge=[(0, 1)], hide=[2])
    assert shape.name(0) == "b", "a name is not lost with its topic"
    back = shape.edited(6, unmerge=[1], show=[2], allow=["misc"], names={1: ""})
    assert (back.names, back.merged, back.hidden, back.banned) == ({}, {}, frozenset(), ())
    assert Shape.read(json.loads(json.dumps(back.stored()))) == back


def test_pictures_of_hidden_topics_alone_are_spread_evenly() -> None:
    theta = np.array([[0, 0, 1], [0.5, 0.25, 0.25], [np.nan] * 3])
    shown = Shape(hidden=frozenset({2})).theta(theta)
    np.testing.assert_allclose(shown, [[0.5, 0.5], [2 / 3, 1 / 3], [np.nan] * 2])


def test_a_table_of_topics_that_a_person_filled_in_decides_the_same(model: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "topics.csv"
    run("topics", model, "-o", sheet)
    rows = list(csv.DictReader(sheet.read_text("utf-8-sig").splitlines()))
    for row in rows:
        told = {"3": {"name": "harbour, and ships"}, "5": {"merge into": "2.0"}, "1": {"hide": "Yes"}}
        row |= told.get(row["topic"], {})
    write(sheet, rows[::-1])  # sorted by somebody

    run("edit", model, "--from", sheet)
    shape = VisualTopicModel.load(model).shape_
    assert (shape.names, shape.merged, shape.hidden) == ({3: "harbour, and ships"}, {5: 2}, {1})
    # A table of what is shown now, given back as it is, decides nothing; without the name it takes it away.
    again = tmp_path / "again.csv"
    run("topics", model, "-o", again)
    assert run("edit", model, "--from", again).startswith("nothing changed")
    assert VisualTopicModel.load(model).shape_ == shape
    write(again, [row | {"name": ""} for row in csv.DictReader(again.read_text("utf-8-sig").splitlines())])
    run("edit", model, "--from", again)
    assert VisualTopicModel.load(model).shape_.names == {}
    assert "topic 1 is hidden" in run("edit", model, "--from", sheet, code=2)  # of before


def test_a_table_of_topics_splits_them(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtm.model.shape.LEAST_PAIRS", 1)
    sheet, k = tmp_path / "topics.csv", largest(model)
    run("topics", model, "-o", sheet)
    rows = list(csv.DictReader(sheet.read_text("utf-8-sig").splitlines()))
    write(sheet, [row | {"split into": "2.0" if row["topic"] == str(k) else ""} for row in rows])
    assert f"topic {k} is split into {k} and 6\n" in run("edit", model, "--from", sheet)
    assert VisualTopicModel.load(model).topic_numbers_ == [0, 1, 2, 3, 4, 5, 6]
    assert run("edit", model, "--from", sheet).startswith(f"nothing changed: topic {k} is already split")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topic": "9"}, "topic 9 the model does not have"),
        ({"topic": "four"}, "topic: 'four' is no topic's number"),
        ({"topic": "1"}, "topic 1 has a row already"),
        ({"keywords": "zeppelin, xyzzy"}, "the table is of another model"),
        ({"hide": "perhaps"}, "'perhaps' is neither yes nor no"),
        ({"merge into": "77"}, "there is no topic 77"),
        ({"split into": "two"}, "split into: 'two' is no number of topics"),
        ({"split into": "1"}, "split 0:1: name 2 topics or more"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_by_its_row(model, tmp_path, change, message) -> None:
    sheet = tmp_path / "topics.csv"
    run("topics", model, "-o", sheet)
    rows = list(csv.DictReader(sheet.read_text("utf-8-sig").splitlines()))
    rows = [row | change if row["topic"] == "0" else row for row in rows]
    write(sheet, sorted(rows, key=lambda row: row["topic"] == "0"))
    before = model.read_bytes()
    assert message in " ".join(run("edit", model, "--from", sheet, code=2).split())
    assert model.read_bytes() == before


def write(sheet: Path, rows: list[dict[str, str]]) -> None:
    with open(sheet, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
