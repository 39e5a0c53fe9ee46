"""The explorer: its arrays against slow oracles, its sheets and its page read back."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bs4 import BeautifulSoup
from explorer_data import HOSTILE, colour, hostile_data, paint, peaked, read_data, simple, some_words
from PIL import Image

import vtm.report.explorer.shown as positions_module
from vtm.errors import ConfigError, DataError
from vtm.experiment.runs import saved_topic_word
from vtm.report.explorer import (
    COLUMNS,
    PER_SHEET,
    SCRIPTS,
    SIZE,
    Match,
    Sheets,
    build_explorer,
    from_arrays,
    from_results,
    layout,
    payload,
    render,
    shared_topics,
    to_json,
    write_sheets,
)
from vtm.report.explorer.shown import column_classes, meaning_of, words_with_weights

PAGE = Path(positions_module.__file__).parent / "page"


# The map's places


def test_layout_puts_like_pictures_together_the_same_way_each_time() -> None:
    theta = peaked(120, 6)
    places = layout(theta, 3)
    assert np.array_equal(places, layout(theta.copy(), 3))
    assert places.min(axis=0).tolist() == [0, 0] and places.max(axis=0).tolist() == [1, 1]
    apart = np.linalg.norm(places[:, None] - places, axis=2) + 9 * np.eye(120)
    same = theta.argmax(axis=1)[apart.argmin(axis=1)] == theta.argmax(axis=1)
    assert same.mean() > 0.9


def test_layout_of_many_follows_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions_module, "TSNE_UP_TO", 60)
    theta = np.tile(peaked(100, 6), (2, 1))
    places = layout(theta, 3)
    assert np.array_equal(places, layout(theta.copy(), 3))
    assert places.min(axis=0).tolist() == [0, 0] and places.max(axis=0).tolist() == [1, 1]
    assert np.allclose(places[100:], places[:100]), "equal pictures lie in one place"
    apart = np.linalg.norm(places[:100, None] - places[:100], axis=2) + 9 * np.eye(100)
    main = theta[:100].argmax(axis=1)
    assert (main[apart.argmin(axis=1)] == main).mean() > 0.9
    left = np.linalg.svd(np.sqrt(theta) - np.sqrt(theta).mean(axis=0), full_matrices=False)[0][:100, :2]
    apart = np.linalg.norm(left[:, None] - left, axis=2) + 9 * np.eye(100)
    assert (main[apart.argmin(axis=1)] == main).mean() < 0.9, "the first components alone mix them"


@pytest.mark.parametrize(
    "theta",
    [
        np.ones((1, 1)),
        np.full((1, 5), 0.2),
        np.full((50, 7), 1 / 7),
        np.eye(2),
        np.tile(np.eye(8)[:3], (9, 1)),
    ],
)
def test_layout_of_few_or_equal_pictures_is_within_the_map(theta: np.ndarray) -> None:
    places = layout(theta, 0)
    assert places.shape == (len(theta), 2) and ((places >= 0) & (places <= 1)).all()
    first = {tuple(row): tuple(place) for row, place in zip(theta, places, strict=True)}
    assert len(set(first.values())) == len(first), "different topics, different places"
    if len(first) == 1:
        assert (places == 0.5).all()


def test_layout_refuses_what_is_no_theta() -> None:
    for bad in (np.full((3, 2), np.nan), np.zeros((0, 4)), np.array([[-0.1, 1.1]]), np.ones(3)):
        with pytest.raises(DataError, match="layout"):
            layout(bad, 0)


# Thumbnails


def test_every_thumbnail_is_where_the_sheets_say(tmp_path: Path) -> None:
    pictures = paint(tmp_path, 125)
    pictures[7].write_bytes(b"no picture")
    pictures[8] = tmp_path / "gone.png"
    Image.new("RGB", (20, 10), (10, 200, 10)).save(pictures[9])
    order = list(np.random.default_rng(0).permutation(125))
    out = tmp_path / "out"
    sheets = write_sheets(pictures, order, out)
    assert sheets.unreadable == {7: "unreadable", 8: "missing"}
    assert sheets.place[7] == sheets.place[8] == -1
    assert sorted(place for place in sheets.place if place >= 0) == list(range(123))
    assert len(sheets.files) == 2 and sheets.lines == (10, 3)
    opened = [Image.open(out / name).convert("RGB") for name in sheets.files]
    assert [image.size for image in opened] == [(1280, 1280), (1280, 384)]
    for row, place in enumerate(sheets.place):
        if place < 0:
            continue
        line, column = divmod(place % PER_SHEET, COLUMNS)
        corner = (column * SIZE, line * SIZE)
        tile = np.asarray(
            opened[place // PER_SHEET].crop((*corner, corner[0] + SIZE, corner[1] + SIZE)), dtype=int
        )
        if row == 9:  # wider than high: white above and below
            assert tile[:28].min() > 230 and tile[-28:].min() > 230
            tile, expected = tile[36:-36], (10, 200, 10)
        else:
            expected = colour(row)
        assert np.abs(tile[4:-4, 4:-4] - expected).max() < 16, row
    again = write_sheets(pictures, order, tmp_path / "again")
    assert again == sheets, "names hold the hash of the content"
    for name in sheets.files:
        content = (out / name).read_bytes()
        assert hashlib.sha256(content).hexdigest()[:12] in name
        assert content == (tmp_path / "again" / name).read_bytes()


# What the page is told


def test_topics_are_counted_as_a_slow_oracle_counts(tmp_path: Path) -> None:
    data = simple(tmp_path)
    told = payload(data, Sheets((), (-1,) * 30, ()))
    theta = data.theta_image
    for k, topic in enumerate(told["topics"]):
        assert topic["share"] == pytest.approx(sum(row[k] for row in theta) / 30, abs=1e-4)
        assert topic["largest"] == sum(int(max(range(6), key=lambda j: row[j]) == k) for row in theta)
        ranked = sorted(range(30), key=lambda i: -theta[i][k])[:12]
        assert [row for row, _ in topic["best"]] == [row for row in ranked if theta[row][k] >= 0.01]
        assert all(share == round(1000 * theta[row][k]) for row, share in topic["best"])
        assert topic["coherence"] == {"text": pytest.approx(-0.5 + 0.2 * k, abs=1e-3), "image": None}
        assert topic["words"]["text"][0] == [f"text{k}a", 0.1]
    for row, topics in enumerate(told["pictureTopics"]):
        assert topics[0] == [int(theta[row].argmax()), round(1000 * theta[row].max())]
    assert json.loads(to_json(told)) == told


def test_matches_are_those_of_a_slow_oracle(tmp_path: Path) -> None:
    data = simple(tmp_path, compare=["id4", "id17"])
    assert [match.row for match in data.matches] == [4, 17]
    rng = np.random.default_rng(1)
    text, image = rng.normal(size=(30, 8)), rng.normal(size=(30, 8))
    told = payload(data, Sheets((), (-1,) * 30, ()))["matches"]

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    for row in (4, 17):
        for method, queries, items in (
            ("baseline", text, image),
            ("model", data.theta_text, data.theta_image),
        ):
            alike = [cosine(queries[row], item) for item in items]
            ranked = sorted(range(30), key=lambda i: -alike[i])
            shown = told[str(row)][method]
            assert [found["row"] for found in shown["found"]] == ranked[:8]
            assert shown["rank"] == ranked.index(row) + 1
            for found in shown["found"]:
                a, b = data.theta_text[row], data.theta_image[found["row"]]
                assert found["similarity"] == pytest.approx(cosine(a, b), abs=0.006)
                parts = {k: a[k] * b[k] / sum(a * b) for k in range(6)}
                best = sorted(parts, key=lambda k: -parts[k])[:3]
                assert found["why"] == [[k, round(1000 * parts[k])] for k in best if parts[k] >= 0.01]


def test_shared_topics_by_hand() -> None:
    assert shared_topics(np.array([0.5, 0.5, 0]), np.array([0.2, 0.6, 0.2])) == [
        (1, pytest.approx(0.75)),
        (0, pytest.approx(0.25)),
    ]
    assert shared_topics(np.array([1.0, 0]), np.array([0, 1.0])) == []


def test_top_words_with_ties() -> None:
    words = words_with_weights(np.array([[0.1, 0.4, 0.1, 0.4]]), ("a", "b", "c", "d"), top=3)
    assert words == ((("b", 0.4), ("d", 0.4), ("a", 0.1)),)
    with pytest.raises(DataError, match="vocabulary of 3"):
        words_with_weights(np.ones((1, 4)), ("a", "b", "c"))


def test_a_sample_is_drawn_with_the_seed_and_said(tmp_path: Path) -> None:
    data = simple(tmp_path, limit=12)
    whole = simple(tmp_path)
    assert len(data.ids) == 12 and data.n_all == 30
    assert data.ids == simple(tmp_path, limit=12).ids != simple(tmp_path, limit=12, seed=5).ids
    for row, id in enumerate(data.ids):
        place = whole.ids.index(id)
        assert data.texts[row] == whole.texts[place] and data.pictures[row] == whole.pictures[place]
        assert np.array_equal(data.theta_image[row], whole.theta_image[place])
    assert all(rank <= 12 for match in data.matches for rank in match.rank.values())
    assert payload(data, Sheets((), (-1,) * 12, ()))["nAll"] == 30


def test_pictures_without_texts_or_baseline(tmp_path: Path) -> None:
    pictures = paint(tmp_path, 6)
    words = {"image": some_words(3)["image"]}
    data = from_arrays(list("abcdef"), [""] * 6, pictures, peaked(6, 3), words=words)
    assert data.matches == () and data.theta_text is None
    told = read_data(build_explorer(data, tmp_path / "out").index)
    assert told["textTopics"] is None and told["matches"] == {}
    with_text = from_arrays(
        list("abcdef"),
        ["x", " ", "", "y", "", ""],
        pictures,
        peaked(6, 3),
        words=words,
        theta_text=peaked(6, 3),
    )
    assert [match.row for match in with_text.matches] == [0, 3], "an empty text asks for nothing"
    assert set(with_text.matches[0].found) == {"model"}


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    data = simple(tmp_path)
    words = some_words(6)
    changes = {
        "29 texts": {"texts": data.texts[1:]},
        "'id1' occurs twice": {"ids": ("id1", *data.ids[1:])},
        "rows of theta_image": {"theta_image": data.theta_image * 2},
        r"theta_text of shape \(29": {"theta_text": data.theta_text[1:]},
        "positions must lie": {"positions": data.positions + 1},
        "positions of shape": {"positions": data.positions.T},
        "5 topics of the text model": {"words": words | {"text": words["text"][1:]}},
        "words are of": {"words": {}},
        "no picture": {"ids": ()},
        "need theta_text": {"theta_text": None},
        "names a row": {"matches": (Match(0, {"model": (30,)}, {"model": 1}),)},
        "a match has": {"matches": (Match(0, {"model": (3,)}, {"baseline": 1}),)},
    }
    for message, change in changes.items():
        with pytest.raises(DataError, match=message):
            dataclasses.replace(data, **change)
    with pytest.raises(DataError, match="compare names the id 'nobody'"):
        simple(tmp_path, compare=["nobody"])
    with pytest.raises(DataError, match="theta_text and ids: 29 and 30"):
        simple(tmp_path, theta_text=peaked(29, 6))
    with pytest.raises(ConfigError, match="limit"):
        simple(tmp_path, limit=0)


# From an experiment


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A small experiment on drawn scenes, with its baseline and one model."""
    from vtm.config import Experiment, ModelConfig
    from vtm.experiment.prepare import prepare
    from vtm.experiment.runs import model_folder, run_baseline, run_models

    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(folder / "data"))
        patch.setenv("VTM_RUNS", str(folder / "runs"))
        patch.setenv("TQDM_DISABLE", "1")
        config = ModelConfig(epochs=2, hidden=(8,), n_samples=2)
        data = prepare(Experiment("scenes:n=80", "pixels", n_topics=(5,), seeds=(0,), model=config))
        (baseline,) = run_baseline(data)
        (model,) = run_models(data, "text-teacher")
        models = model_folder(data, "text-teacher", 5) / "seed-0"
        yield SimpleNamespace(data=data, baseline=baseline, model=model, models=models)


def test_results_of_an_experiment_are_shown_by_id(trained: SimpleNamespace, tmp_path: Path) -> None:
    from vtm.metrics.topics import npmi, relevance
    from vtm.model.topicmodel import TopicModel

    data, model = trained.data, trained.model
    shown = from_results(data, trained.baseline, model, topic_word=saved_topic_word(data, model))
    assert list(shown.ids) == data.ids("test") and list(shown.texts) == data.texts("test")
    assert shown.pictures == tuple(data.pictures[id] for id in shown.ids)
    assert np.array_equal(shown.theta_image, model.image("test"))
    for reads in ("text", "image"):
        topic_word = TopicModel.load(trained.models / reads).topic_word()
        for k, topic in enumerate(shown.words[reads]):
            scores = relevance(topic_word, model.image("test").mean(axis=0))[k]
            columns = [data.vocabulary.words.index(word) for word, _ in topic]
            assert columns == sorted(range(len(scores)), key=lambda word: (-scores[word], word))[:12]
            assert [weight for _, weight in topic] == pytest.approx(topic_word[k, columns])
        measured = npmi(model.topics[reads], data.counts[data.rows["train"]], data.vocabulary.words)
        assert np.allclose(shown.coherence[reads], measured)
    ranks = dict(zip(model.ids["test"], model.ranks("test"), strict=True))
    assert {shown.ids[m.row]: m.rank["model"] for m in shown.matches} == ranks
    built = build_explorer(shown, tmp_path / "page")
    assert built.unreadable == {} and read_data(built.index)["baseline"].startswith("baseline: ")

    # Rows in another order are found by their ids.
    turned = {part: ids[::-1] for part, ids in model.ids.items()}
    arrays = {name: array[::-1] for name, array in model.arrays.items()}
    again = from_results(
        data,
        trained.baseline,
        dataclasses.replace(model, ids=turned, arrays=arrays),
        topic_word=saved_topic_word(data, model),
    )
    assert np.array_equal(again.theta_image, shown.theta_image) and again.matches == shown.matches


def test_results_that_do_not_belong_together_are_refused(trained: SimpleNamespace) -> None:
    data, baseline, model = trained.data, trained.baseline, trained.model
    other = dataclasses.replace(
        baseline, ids=baseline.ids | {"test": [f"x{i}" for i in baseline.ids["test"]]}
    )
    with pytest.raises(DataError, match="baseline is of .* other test pairs"):
        from_results(data, other, model, topic_word=saved_topic_word(data, model))
    topics = {reads: [list(reversed(topic)) for topic in model.topics[reads]] for reads in model.topics}
    with pytest.raises(DataError, match="topic 0 of the result is none of the text model's"):
        from_results(
            data,
            baseline,
            dataclasses.replace(model, topics=topics),
            topic_word=saved_topic_word(data, model),
        )


# The page as a file


def test_hostile_texts_stay_texts_in_the_file(tmp_path: Path) -> None:
    data = hostile_data(tmp_path / "pictures")
    built = build_explorer(data, tmp_path / "out")
    page = built.index.read_text(encoding="utf-8")
    soup = BeautifulSoup(page, "html.parser")
    assert len(soup.find_all("script")) == 2 and not soup.find_all("img")
    assert soup.title.string == soup.h1.string == data.title
    told = read_data(built.index)
    assert told["texts"] == list(data.texts) and told["ids"] == list(data.ids)
    assert told["topics"][1]["words"]["text"][0][0] == HOSTILE[1]
    assert "<" not in soup.select_one("script#data").string
    assert built.unreadable == {data.ids[2]: "unreadable"}


def test_only_this_script_and_style_may_run(tmp_path: Path) -> None:
    page = build_explorer(simple(tmp_path), tmp_path / "out").index.read_text(encoding="utf-8")
    soup = BeautifulSoup(page, "html.parser")
    policy = soup.select_one("meta[http-equiv=Content-Security-Policy]")["content"]
    rules = {name: sources for name, *sources in (rule.split() for rule in policy.split(";"))}
    assert rules["default-src"] == ["'none'"]
    for rule, text in (("script-src", soup.find_all("script")[1].string), ("style-src", soup.style.string)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == [f"'sha256-{digest}'"]
    assert rules["img-src"] == ["'self'", "file:", "data:"]
    # The namespace of SVG is a name, not an address.
    assert set(re.findall(r"\w+://[^\s\"'`]+", page)) == {"http://www.w3.org/2000/svg"}


def test_what_is_put_in_is_not_searched_for_places() -> None:
    page = render("{{data}}", '"{{title}}"')
    soup = BeautifulSoup(page, "html.parser")
    assert soup.title.string == "{{data}}"
    assert soup.select_one("script#data").string == '"{{title}}"'


def test_every_asset_is_in_the_page_and_in_the_package() -> None:
    import tomllib

    assert {path.name for path in PAGE.iterdir()} == {*SCRIPTS, "explorer.css", "index.html"}
    project = tomllib.loads((PAGE.parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["vtm.report.explorer"]
    packed = {path for pattern in patterns for path in PAGE.parent.glob(pattern)}
    assert packed >= set(PAGE.iterdir())


def test_an_explorer_replaces_an_older_one_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = build_explorer(simple(tmp_path / "a", n=30), out)
    (out / "notes.txt").write_text("mine")
    (out / "thumbnails.webp").write_text("mine")
    second = build_explorer(simple(tmp_path / "a", n=12), out)
    names = {path.name for path in out.iterdir()}
    assert names == {"index.html", "notes.txt", "thumbnails.webp", *(path.name for path in second.sheets)}
    assert not {path.name for path in first.sheets} & names
    assert second.size == sum(path.stat().st_size for path in (second.index, *second.sheets))
    before = {path: path.read_bytes() for path in out.iterdir()}
    build_explorer(simple(tmp_path / "a", n=12), out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before, "the same data, the same bytes"


def test_a_page_of_someone_elses_is_left_alone(tmp_path: Path) -> None:
    data = simple(tmp_path / "a")
    (tmp_path / "index.html").write_text("<title>mine</title>")
    with pytest.raises(ConfigError, match="is not an explorer"):
        build_explorer(data, tmp_path)
    assert (tmp_path / "index.html").read_text() == "<title>mine</title>"
    assert not list(tmp_path.glob("*.webp"))
    with pytest.raises(
        ConfigError, match=r"a: holds other files, such as 0000\.png, and is not an explorer's"
    ):
        build_explorer(data, tmp_path / "a")
    assert not list((tmp_path / "a").glob("*.[hw]*"))
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "thumbnails-0123456789ab.webp").touch()
    (killed / ".DS_Store").touch()
    built = build_explorer(data, killed)
    assert {path.name for path in killed.iterdir()} == {
        ".DS_Store",
        *(path.name for path in (built.index, *built.sheets)),
    }
    with pytest.raises(ConfigError, match="is a file"):
        build_explorer(data, tmp_path / "index.html")


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_have_contrast_in_both_schemes() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    roots = re.findall(r":root[^{]*\{(.*?)\}", (PAGE / "explorer.css").read_text(encoding="utf-8"), re.S)
    light, dark = (dict(re.findall(r"(--[\w-]+): (#\w{6})", root)) for root in roots)
    assert light.keys() == dark.keys() and len(light) == 29
    for colours in (light, dark):
        for ground in ("--page", "--panel"):
            for name in ("--text", "--muted", "--link", "--own"):  # text: AA
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
            for name in (
                "--accent",
                "--control",
                "--bar",
                *(f"--topic-{i}" for i in range(10)),
                *(f"--ramp-{i}" for i in range(7)),
            ):  # graphics
                assert contrast(colours[name], colours[ground]) >= 3, (name, ground)
        assert contrast(colours["--mark-text"], colours["--mark"]) >= 4.5


# Machado, Oliveira and Fernandes 2009, of linear RGB, where one kind of cones is missing.
MISSING_CONES = {
    "red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(colour: str, cones: list[list[float]]) -> np.ndarray:
    """CIE L*a*b* of #rrggbb as it is seen."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(cones) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ seen / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("cones", MISSING_CONES.values(), ids=MISSING_CONES)
def test_classes_of_a_column_are_told_apart_without_one_kind_of_cones(cones: list[list[float]]) -> None:
    """Six shapes tell neighbours apart; of one shape, the first twelve values and all numbers differ in what is seen."""
    script = (PAGE / "data.js").read_text(encoding="utf-8")
    order = json.loads(re.search(r"COLOUR_ORDER = (\[.*?\])", script)[1])
    assert sorted(order) == list(range(10))
    roots = re.findall(r":root[^{]*\{(.*?)\}", (PAGE / "explorer.css").read_text(encoding="utf-8"), re.S)
    for root in roots:
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", root))
        ramp = [lab(colours[f"ramp-{i}"], cones) for i in range(7)]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(ramp, 2)) > 5
        assert all(a[0] < b[0] for a, b in itertools.pairwise(ramp)), "from dark to light"
        signs = [(f"topic-{order[i % 10]}", (i + i // 30) % 6) for i in range(12)]
        for (one, shape), (other, its) in itertools.combinations(signs, 2):
            if shape == its:
                assert np.linalg.norm(lab(colours[one], cones) - lab(colours[other], cones)) > 20, (
                    one,
                    other,
                )


# Columns


def test_a_column_of_numbers_is_cut_into_classes_of_about_as_many_pictures() -> None:
    random = np.random.default_rng(0)
    years = random.integers(1950, 2024, 900)
    column = column_classes("year", [str(year) for year in years])
    assert column.ordered and len(column.labels) == 7
    bounds = [tuple(map(int, label.split(" – "))) for label in column.labels]
    assert all(
        bounds[place][0] <= year <= bounds[place][1] for year, place in zip(years, column.of, strict=True)
    )
    assert [low for low, _ in bounds] == sorted(low for low, _ in bounds)
    sizes = np.bincount(column.of)
    assert sizes.min() > 100 and sizes.sum() == 900
    stars = column_classes("stars", ["3", "1", "", "3", "2.0", "2"])
    assert (stars.labels, stars.of) == (("1", "2", "3"), (2, 0, -1, 2, 1, 1))
    days = column_classes("day", ["2024-05-31", "2023-01-02T10:00:00", "2024-05-31 09:00"])
    assert (days.labels, days.of, days.ordered) == (("2023-01-02", "2024-05-31"), (1, 0, 1), True)
    assert column_classes("day", ["2024:05:31 09:00:00", "2.1.2023", "NaN"]).labels == (
        "2023-01-02",
        "2024-05-31",
    )
    assert column_classes("month", ["2024-05", "2023-01"]).labels == ("2023-01", "2024-05")
    either = column_classes("day", ["03/04/2021", "05/06/2021"])
    assert not either.ordered and set(either.labels) == {"03/04/2021", "05/06/2021"}
    assert column_classes("year", ["2018.0", "nan", "2020.0"]).labels == ("2018", "2020")
    counts = column_classes("n", ["10", "nan", "9"])
    assert (counts.labels, counts.of) == (("9", "10"), (1, -1, 0))
    skewed = column_classes("n", ["0"] * 500 + [str(i) for i in range(1, 40)])
    assert skewed.labels[0] == "0" and len(skewed.labels) == 7


def test_a_column_of_words_has_the_common_ones_first() -> None:
    column = column_classes("who", ["Ben", "Ana", "", "Ana", "nan 3", "nan"])
    assert (column.labels, column.of) == (("Ana", "Ben", "nan 3"), (1, 0, -1, 0, 2, -1))
    many = column_classes("id", [f"p{i % 100}" for i in range(150)])
    assert len(many.labels) == 60 and many.labels[-1] == "41 other values"
    assert sum(place == 59 for place in many.of) == 41 + 0
    assert column_classes("empty", ["", " "]).of == (-1, -1)


# Vectors


def test_vectors_of_a_page_keep_what_is_near(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    axes = np.linalg.qr(random.normal(size=(200, 200)))[0]
    words = random.normal(size=(120, 20)) @ axes[:20] + 0.01 * random.normal(size=(120, 200))
    pictures = random.normal(size=(7, 20)) @ axes[:20]
    words[5] = 0
    found = meaning_of([f"w{i}" for i in range(120)], words, pictures)
    assert found.word_vectors.shape == (119, 48) and found.picture_vectors.shape == (7, 48)
    assert found.word_vectors.dtype == found.picture_vectors.dtype == np.int8
    assert "w5" not in found.words and found.kept > 0.9

    def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = a.astype(float), b.astype(float)
        return (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))

    kept = np.delete(words, 5, axis=0)
    assert np.abs(cosines(found.picture_vectors, found.word_vectors) - cosines(pictures, kept)).max() < 0.05
    few = meaning_of(("a", "b"), np.eye(2), np.eye(2))
    assert few.word_vectors.tolist() == [[127, 0], [0, 127]] and few.kept == 1
    told = payload(
        simple(tmp_path, meaning=(["a", "b"], np.eye(2), np.tile([[1.0, 0]], (30, 1)))),
        Sheets((), (-1,) * 30, ()),
    )
    read = np.frombuffer(base64.b64decode(told["meaning"]["pictureVectors"]), np.int8).reshape(30, 2)
    assert read.tolist() == [[127, 0]] * 30
