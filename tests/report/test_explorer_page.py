"""The explorer's page in a browser: mouse, keys, fingers, screen reader; nothing runs that should not."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import find_chromium, serve
from devtools import Tab, open_tab
from explorer_data import HOSTILE, colour, full_data, hostile_data, read_data, simple, some_words
from PIL import Image

import vtm.report.explorer.shown as positions_module
from vtm.metrics.topics import relevance
from vtm.report.explorer import build_explorer, payload, render, to_json, write_sheets
from vtm.report.explorer.shown import relevance_of

AXE = importlib.util.find_spec("axe_core_python")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    with open_tab() as tab:
        yield tab


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explorer")
    data = simple(folder / "pictures")
    texts = ("Café au lait", "an owl by night", *data.texts[2:])
    return build_explorer(dataclasses.replace(data, texts=texts), folder / "out").index


FRAGMENTS = ("", "#topic=1", "#text=id3", "#selected", "#word=owl", "#topic=99")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all that a page can have."""
    folder = tmp_path_factory.mktemp("full")
    return build_explorer(full_data(folder / "pictures"), folder / "out", originals=True).index


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    """A fresh page in a window of usual size; at the end nothing may have been complained of or fetched elsewhere."""
    browser.open("about:blank")
    browser.forget()
    browser.size(1400, 1000)
    browser.prefer(prefers_reduced_motion="reduce")
    yield browser
    assert browser.problems == []
    assert [
        name for name in browser.requests if not name.startswith(("file:", "data:", "http://localhost:"))
    ] == []


def start(tab: Tab, index: Path, fragment: str = "") -> None:
    tab.open(index.as_uri() + fragment)
    tab.wait_for("performance.getEntriesByName('explorer-interactive').length")


def point(tab: Tab, row: int) -> tuple[float, float]:
    """Where a picture lies in the window while the whole map is shown."""
    left, top, width, height, margin = tab.evaluate(
        "(() => { const b = document.querySelector('#canvas').getBoundingClientRect();"
        "return [b.left, b.top, b.width, b.height, MARGIN]; })()"
    )
    x, y = tab.evaluate(f"[data.x[{row}] / 10000, data.y[{row}] / 10000]")
    return left + margin + x * (width - 2 * margin), top + margin + y * (height - 2 * margin)


def heading(tab: Tab) -> str:
    return tab.evaluate("document.querySelector('#panel h2').textContent")


def seen(tab: Tab, path: Path, x: float, y: float) -> tuple[int, ...]:
    """Colour of one pixel of what the window shows."""
    tab.screenshot(path)
    with Image.open(path) as shot:
        return shot.convert("RGB").getpixel((round(x), round(y)))


def near(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 16


def test_the_tests_hear_what_a_page_complains_of(browser: Tab, tmp_path: Path) -> None:
    """Were these not reported, the fixture `tab` could not fail."""
    (tmp_path / "bad.html").write_text(
        "<!doctype html><meta http-equiv='Content-Security-Policy' content=\"img-src 'none'\">"
        "<script>console.error('told')</script><script src='http://elsewhere.invalid/x.js'></script>"
        "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='><script>absent()</script>"
    )
    browser.open((tmp_path / "bad.html").as_uri())
    browser.evaluate("1")
    problems = "\n".join(browser.problems)
    for what in ("told", "Content Security Policy", "absent is not defined", "ERR_NAME_NOT_RESOLVED"):
        assert what in problems, what
    assert "http://elsewhere.invalid/x.js" in browser.requests


def test_overview_lists_topics_by_share(tab: Tab, explorer: Path) -> None:
    start(tab, explorer)
    assert heading(tab) == "All topics" and tab.evaluate("document.title").endswith("Pictures of colours")
    shown = tab.evaluate("[...document.querySelectorAll('#panel ol.topics a')].map((a) => a.hash)")
    shares = [topic["share"] for topic in read_data(explorer)["topics"]]
    assert shown == [f"#topic={k}" for k in sorted(range(6), key=lambda k: -shares[k])]


def test_search_finds_topics_and_texts(tab: Tab, explorer: Path) -> None:
    start(tab, explorer)
    tab.click("#query")
    tab.type("IMAGE3")
    assert tab.wait_for("document.querySelector('#found').textContent") == "1 topic and 0 texts found"
    assert tab.evaluate("document.querySelector('#found').getAttribute('role')") == "status"
    assert tab.evaluate("[...document.querySelectorAll('#results mark')].length") == 5
    tab.click("#results a")
    tab.wait_for("location.hash === '#topic=3'")
    tab.wait_for("document.querySelector('#panel h2').textContent.startsWith('Topic 3: ')")
    assert tab.evaluate("document.querySelector('#results').hidden")

    tab.evaluate("document.querySelector('#query').value = ''")
    tab.click("#query")
    tab.type("cafe lait")
    assert tab.wait_for("document.querySelector('#found').textContent") == "0 topics and 1 text found"
    tab.press("Enter")
    tab.wait_for("location.hash === '#text=id0'")
    tab.wait_for("document.querySelector('#panel blockquote')?.textContent === 'Café au lait'")

    tab.evaluate("document.querySelector('#query').value = ''")
    tab.click("#query")
    tab.type("nothing like this")
    assert tab.wait_for("document.querySelector('#found').textContent") == "0 topics and 0 texts found"


def test_a_word_finds_words_and_pictures_near_in_meaning(tab: Tab, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    words = ["owl", "fox", "polar bear", "boat", "sea", "nowhere"]
    vectors, pictures = random.normal(size=(6, 4)), random.normal(size=(30, 4))
    vectors[5] = 0
    data = simple(tmp_path / "pictures", meaning=(words, vectors, pictures))
    start(tab, build_explorer(data, tmp_path / "out").index)

    def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return y @ x / np.linalg.norm(x) / np.linalg.norm(y, axis=1)

    for query, asked in (("OWL", [0]), ("sea boat", [4, 3]), ("polar bear", [2])):
        mean = sum(vectors[i] / np.linalg.norm(vectors[i]) for i in asked)
        tab.evaluate("document.querySelector('#query').value = ''")
        tab.click("#query")
        tab.type(query)
        tab.wait_for("!document.querySelector('#results').hidden")
        tab.evaluate(
            "[...document.querySelectorAll('#results a')].find((a) => a.hash.startsWith('#word')).click()"
        )
        tab.wait_for(
            f"document.querySelector('#panel h2').textContent === 'Near in meaning: {query.lower()}'"
        )
        shown = tab.evaluate("[...document.querySelectorAll('#panel ol.topics a')].map((a) => a.textContent)")
        others = [i for i in range(5) if i not in asked]
        alike = cosines(mean, vectors[others])
        assert shown == [words[others[i]] for i in np.argsort(-alike)]
        told = tab.evaluate(
            "[...document.querySelectorAll('#panel ol.topics .number')].map((n) => n.textContent)"
        )
        assert [float(number.replace("−", "-")) for number in told] == pytest.approx(
            sorted(alike, reverse=True), abs=0.02
        )
        found = tab.evaluate(
            "meaning.near(meaning.wordsIn(decode(location.hash.slice(6)))).pictures.map(([row]) => row)"
        )
        alike = cosines(mean, pictures)
        assert len(found) == 24 and set(found[:8]) <= set(np.argsort(-alike)[:12])
        assert tab.evaluate("map.state().found") == 24, "the others are faint"
    tab.evaluate("document.querySelector('#query').value = ''")
    tab.click("#query")
    tab.type("bo")
    begun = "[...document.querySelectorAll('#results a')].map((a) => a.hash)"
    assert tab.evaluate(begun) == ["#word=boat"]
    tab.click("#panel button")
    assert len(tab.evaluate("selection.sorted()")) == 24
    for query in ("nowhere", "owl unknown"):
        tab.evaluate(f"location.hash = '#word={query}'")
        tab.wait_for(f"document.querySelector('#panel').innerText.includes('There is no word {query}')")
    assert tab.evaluate("map.state().found") is None
    tab.evaluate("location.hash = OVERVIEW")
    tab.wait_for("document.querySelector('#panel').innerText.includes('5 words, and each picture')")


def test_search_by_keyboard(tab: Tab, explorer: Path) -> None:
    start(tab, explorer)
    tab.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "query"
    tab.type("sort2")
    tab.press("ArrowDown", "ArrowDown", "ArrowUp", "ArrowDown")
    links = tab.evaluate("[...document.querySelectorAll('#results a')].map((a) => a.hash)")
    assert len(links) == 5
    assert tab.evaluate("document.activeElement.hash") == links[1]
    tab.press("Escape")
    assert tab.evaluate("[document.activeElement.id, document.querySelector('#results').hidden]") == [
        "query",
        True,
    ]
    assert tab.evaluate("document.querySelector('#query').value") == "sort2"
    tab.type("x")
    tab.evaluate("document.querySelector('#query').select()")
    tab.type("sort2")
    tab.press("ArrowDown", "ArrowDown", "Enter")
    tab.wait_for(f"location.hash === {json.dumps(links[1])}")
    tab.wait_for("document.activeElement.id === 'panel-heading'")
    tab.press("Escape")
    tab.wait_for("document.querySelector('#panel h2').textContent === 'All topics'")
    assert tab.evaluate("document.activeElement.id") == "query", "back where the reader was"


def test_a_topic_shows_words_share_coherence_and_pictures(tab: Tab, explorer: Path, tmp_path: Path) -> None:
    start(tab, explorer, "#topic=2")
    told = read_data(explorer)["topics"][2]
    text = tab.evaluate("document.querySelector('#panel').innerText")
    assert f"{100 * told['share']:.1f}% of all" in text and f"{told['largest']} pictures of 30" in text
    assert "NPMI −0.10" in text and "not measured" in text
    words = tab.evaluate(
        "[...document.querySelectorAll('ol.keywords')].map((l) => [...l.children].map((i) => i.firstChild.textContent))"
    )
    assert words == [[f"{reads}2{letter}" for letter in "abcde"] for reads in ("text", "image")]
    widths = tab.evaluate(
        "[...document.querySelectorAll('ol.keywords .track span')].map((s) => s.style.width)"
    )
    assert widths[:2] == ["100%", "90%"]
    # Each thumbnail is the picture it says: every picture has a colour of its own.
    rows = tab.evaluate(
        "[...document.querySelectorAll('.gallery a')].map((a) => rowOfId.get(a.hash.slice(6)))"
    )
    assert rows == [row for row, _ in told["best"]]
    for number, row in enumerate(rows[:3]):
        x, y = tab.place(f".gallery li:nth-child({number + 1}) .thumbnail")
        assert near(seen(tab, tmp_path / "shot.png", x, y), colour(row)), row
    headings = tab.evaluate("[...document.querySelectorAll('#panel h3')].map((h) => h.textContent)")
    assert headings == ["Keywords", "Best pictures, with the topic’s share in each"]
    assert tab.evaluate("document.querySelectorAll('#panel h3')[1].nextElementSibling.className") == "gallery"
    tab.click(".gallery a")
    tab.wait_for(f"location.hash === '#text=id{rows[0]}'")


def test_a_slider_orders_a_topics_words_by_relevance(tab: Tab, tmp_path: Path) -> None:
    words = ("a", "b", "c", "d")
    topic_word = {"image": np.array([[0.4, 0.3, 0.2, 0.1], [0.5, 0.1, 0.1, 0.3]])}
    share = np.array([0.5, 0.5])

    def first_two(reads: str, weight: float) -> list[list[str]]:
        scores = relevance(topic_word[reads], share, weight=weight)
        return [[words[i] for i in np.argsort(-row, kind="stable")[:2]] for row in scores]

    known = relevance_of(first_two, topic_word, share, words, weight=0.6)
    data = simple(
        tmp_path / "pictures", k=2, words={"image": some_words(2)["image"]}, coherence=None, relevance=known
    )
    start(tab, build_explorer(data, tmp_path / "out").index, "#topic=0")
    shown = "[...document.querySelectorAll('ol.keywords li')].map((i) => i.firstChild.textContent)"
    assert tab.evaluate(shown)[:2] == first_two("image", 0.6)[0] == ["b", "a"]
    assert tab.evaluate("document.querySelector('#lambda').labels[0].textContent") == "Relevance λ"
    tab.evaluate("document.querySelector('#lambda').focus()")
    for key, weight in (("End", 1), ("Home", 0), ("ArrowRight", 0.05)):
        tab.press(key)
        assert tab.evaluate("document.querySelector('output').textContent") == f"{weight:.2f}"
        assert tab.evaluate(shown)[:2] == first_two("image", weight)[0], weight
    tab.press("End")
    tab.evaluate("location.hash = '#topic=1'")
    tab.wait_for("document.querySelector('#panel h2').textContent.startsWith('Topic 1')")
    assert tab.evaluate("document.querySelector('#lambda').value") == "1", "as the reader left it"
    assert tab.evaluate(shown)[:2] == ["a", "d"]


def test_topics_stand_in_a_tree_with_their_distances(tab: Tab, tmp_path: Path) -> None:
    """Vectors at these angles: 0 and 1 are nearest, then 3 joins them, then 2; 4 and 5 lie opposite."""
    angles = np.deg2rad([0, 10, 60, 25, 180, 200])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    data = simple(tmp_path / "pictures", topic_vectors=vectors)
    index = build_explorer(data, tmp_path / "out").index
    start(tab, index)
    tab.click(".tree > summary")
    read = """(function read(list) { return [...list.children].map((item) => item.querySelector(":scope > a")
        ? Number(item.querySelector("a").hash.slice(7)) : read(item.querySelector("ul"))); })"""
    (tree,) = tab.evaluate(f"{read}(document.querySelector('.tree > ul'))")

    def sets(node: int | list) -> frozenset:
        return frozenset([node]) if isinstance(node, int) else frozenset().union(*map(sets, node))

    def branches(node: int | list) -> set[frozenset]:
        return set() if isinstance(node, int) else {sets(node)}.union(*map(branches, node))

    assert branches(tree) == {
        frozenset(some) for some in ((0, 1), (4, 5), (0, 1, 3), (0, 1, 2, 3), (0, 1, 2, 3, 4, 5))
    }
    told = tab.evaluate(
        "[...document.querySelectorAll('.tree li summary .number')].map((n) => n.textContent)"
    )
    assert f"2 topics, {1 - np.cos(np.deg2rad(10)):.2f} apart" in told and len(told) == 5
    tab.evaluate("location.hash = '#topic=0'")
    tab.wait_for("document.querySelector('#panel h2').textContent.startsWith('Topic 0')")
    near = tab.evaluate("[...document.querySelectorAll('ol.near a')].map((a) => a.hash)")
    assert near == [f"#topic={k}" for k in (1, 3, 2, 5, 4)]
    distances = tab.evaluate(
        "[...document.querySelectorAll('ol.near .number')].map((n) => Number(n.textContent))"
    )
    assert distances == pytest.approx([1 - np.cos(angles[k]) for k in (1, 3, 2, 5, 4)], abs=0.006)


def test_a_text_shows_what_both_methods_find_and_why(tab: Tab, explorer: Path) -> None:
    start(tab, explorer, "#text=id1")
    match = read_data(explorer)["matches"]["1"]
    assert tab.evaluate("document.querySelector('#panel blockquote').textContent") == "an owl by night"
    shown = tab.evaluate(
        """[...document.querySelectorAll(".matches > section")].map((s) => ({
          rank: Number(/rank (\\d+) of 30/.exec(s.innerText)[1]),
          found: [...s.querySelectorAll("li.match")].map((li) => ({
            row: rowOfId.get(decodeURIComponent(li.querySelector("a").hash.slice(6))),
            own: li.innerText.includes("own picture"),
            why: [...li.querySelectorAll(".why a")].map((a) => Number(a.hash.slice(7))),
          })),
        }))"""
    )
    for method, section in zip(("baseline", "model"), shown, strict=True):
        assert section["rank"] == match[method]["rank"]
        assert [found["row"] for found in section["found"]] == [
            found["row"] for found in match[method]["found"]
        ]
        for found, expected in zip(section["found"], match[method]["found"], strict=True):
            assert found["why"] == [k for k, _ in expected["why"]]
            assert found["own"] == (found["row"] == 1)
    boxes = tab.evaluate(
        "[...document.querySelectorAll('.matches > section')].map((s) => s.getBoundingClientRect().y)"
    )
    assert boxes[0] == boxes[1], "side by side"


def test_map_by_mouse(tab: Tab, explorer: Path, tmp_path: Path) -> None:
    start(tab, explorer)
    x, y = point(tab, 7)
    tab.move(x, y)
    tab.wait_for("map.state().active === 7")
    tab.wait_for("!document.querySelector('#tip').hidden")
    assert "caption number7" in tab.evaluate("document.querySelector('#tip').innerText")
    thumbnail = tab.place("#tip .thumbnail")
    assert near(seen(tab, tmp_path / "tip.png", *thumbnail), colour(7))
    tab.press("Escape")
    tab.wait_for("document.querySelector('#tip').hidden")
    tab.move(5, 5)
    tab.click_at(x, y)
    tab.wait_for("location.hash === '#text=id7'")
    assert tab.wait_for("map.state().chosen === 7")

    tab.evaluate("location.hash = '#topics'")
    for _ in range(3):
        tab.wheel(x, y, -300)
    tab.wait_for("map.state().zoom > 5 && map.state().thumbnails > 0")
    tab.move(5, 5)
    tab.wait_for("map.state().active === -1")
    assert near(seen(tab, tmp_path / "map.png", x, y), colour(7)), "zoomed in where the pointer was"
    before = tab.evaluate("map.state()")
    tab.drag((x, y), (x - 60, y - 40))
    after = tab.evaluate("map.state()")
    assert after["x"] > before["x"] and after["y"] > before["y"] and after["zoom"] == before["zoom"]
    assert tab.evaluate("location.hash") == "#topics", "dragging opens nothing"
    tab.click("#zoom-all")
    tab.wait_for("map.state().zoom === 1")


def look_at(tab: Tab, zoom: float, left: float, top: float) -> list[dict]:
    """The labels when a part of the map is seen, from this corner of the unit square on."""
    return tab.evaluate(f"(map.look({zoom}, {left}, {top}), map.labels())")


def test_labels_are_more_the_deeper_the_zoom_and_never_overlap(tab: Tab, tmp_path: Path) -> None:
    k, n = 60, 900
    centres = np.random.default_rng(0).random((k, 2))
    noise = np.random.default_rng(1).normal(scale=0.03, size=(n, 2))
    data = simple(tmp_path / "pictures", n=n, k=k, compare=[])
    places = np.clip(centres[np.arange(n) % k] + noise, 0, 1)
    index = build_explorer(dataclasses.replace(data, positions=places), tmp_path / "out").index
    start(tab, index)
    width, height = tab.evaluate("[map.box.clientWidth, map.box.clientHeight]")
    names = [f"{topic} image{topic}a, image{topic}b" for topic in range(k)]
    named, longest = {}, {}
    for zoom in (1, 2, 4, 8):
        seen = [look_at(tab, zoom, left / zoom, top / zoom) for left in range(zoom) for top in range(zoom)]
        for labels in seen:
            for one in labels:
                assert one["text"].startswith(names[one["k"]]), "a topic's number and its first words"
                assert one["left"] >= 0 and one["right"] <= width
                assert one["top"] >= 0 and one["bottom"] <= height
            for one, other in itertools.combinations(labels, 2):
                apart = one["right"] <= other["left"] or other["right"] <= one["left"]
                assert apart or one["bottom"] <= other["top"] or other["bottom"] <= one["top"], (one, other)
            assert len({one["k"] for one in labels}) == len(labels), "a topic is named once"
        named[zoom] = {one["k"] for labels in seen for one in labels}
        longest[zoom] = max(len(one["text"].split()) for labels in seen for one in labels)
    assert len(named[1]) < len(named[2]) < len(named[4]) and len(named[4]) > 0.9 * k
    assert longest[8] > longest[1], "there is room for more words"
    tab.wait_for("map.state().thumbnails > 0")
    tab.evaluate("location.hash = '#topic=7'")
    tab.wait_for("map.state().topic === 7")
    assert {one["k"] for one in look_at(tab, 1, 0, 0)} == {7}, "the chosen topic alone"


def test_a_label_does_not_cover_the_only_points_of_its_topic(tab: Tab, tmp_path: Path) -> None:
    n, k = 40, 6
    data = simple(tmp_path / "pictures", n=n, k=k, compare=[])
    # One picture in the middle, one at the upper edge, two side by side, and the others between them.
    of = np.array([0, 1, 2, 2, *(3 + row % 3 for row in range(n - 4))])
    places = np.random.default_rng(0).random((n, 2)) * [1, 0.1] + [0, 0.2]
    places[:4] = [(0.5, 0.5), (0.2, 0.0), (0.8, 0.8), (0.803, 0.8)]
    data = dataclasses.replace(data, theta_image=np.eye(k)[of], positions=places)
    start(tab, build_explorer(data, tmp_path / "out").index)
    left, top = tab.evaluate("(({ left, top }) => [left, top])(map.box.getBoundingClientRect())")
    labels = {one["k"]: one for one in tab.evaluate("map.labels()")}
    assert {0, 1, 2} <= labels.keys()
    for topic in (0, 1, 2):
        box = labels[topic]
        for row in np.flatnonzero(of == topic):
            x, y = point(tab, int(row))
            assert (
                abs(x - left - box["x"]) < 120 and 12 < abs(y - top - (box["top"] + box["bottom"]) / 2) < 24
            ), topic


def test_the_map_is_coloured_by_a_column_with_a_legend(tab: Tab, tmp_path: Path) -> None:
    columns = {
        "who": [["Ana", "Ben", "Céline", ""][i % 4] for i in range(30)],
        "year": [str(1990 + i) for i in range(30)],
    }
    start(tab, build_explorer(simple(tmp_path / "pictures", columns=columns), tmp_path / "out").index)
    legend = "[...document.querySelectorAll('#legend button')].map((b) => b.textContent)"
    choose = (
        "(() => {{ const c = document.querySelector('#colouring'); c.value = {};"
        "c.dispatchEvent(new Event('change')); }})()"
    )
    assert tab.evaluate("document.querySelector('#legend').hidden")
    assert tab.evaluate("[...document.querySelectorAll('#colouring option')].map((o) => o.textContent)") == [
        *("largest topic", "who", "year")
    ]
    tab.evaluate(choose.format(1))
    assert tab.evaluate(legend) == ["Ana (8)", "Ben (8)", "Céline (7)", "no value (7)"]
    # What is drawn where a picture lies is the colour that the legend has for its value.
    left, top = tab.evaluate("(({x, y}) => [x, y])(map.box.getBoundingClientRect())")
    boxes = tab.evaluate("map.labels()")
    compared = 0
    for row in range(30):
        x, y = point(tab, row)
        a, b = x - left, y - top
        if any(
            one["left"] < a + 9 < one["right"] + 18 and one["top"] < b + 9 < one["bottom"] + 18
            for one in boxes
        ):
            continue
        sign = f"colourings[1].signs[colourings[1].of[{row}]].colour"
        wanted = f"rgb(getComputedStyle(document.documentElement).getPropertyValue('--' + {sign}).trim())"
        if near(seen(tab, tmp_path / "map.png", x, y), tuple(tab.evaluate(wanted))):
            compared += 1
    assert compared > 8, "others lie below another picture"
    tab.click("#legend button:nth-child(2)")
    assert tab.evaluate("map.state().only") == 1
    pressed = "[...document.querySelectorAll('#legend [aria-pressed=true]')].map((b) => b.textContent)"
    assert tab.evaluate(pressed) == ["Ben (8)"]
    tab.click("#legend button:nth-child(2)")
    assert tab.evaluate("map.state().only") is None and tab.evaluate(pressed) == []
    tab.evaluate(choose.format(2))
    assert tab.evaluate(legend)[0] == "1990 – 1994 (5)" and len(tab.evaluate(legend)) == 7
    fills = "[...document.querySelectorAll('#legend path')].map((p) => p.style.fill)"
    assert tab.evaluate(fills) == [f"var(--ramp-{i})" for i in range(7)]
    tab.evaluate(choose.format(0))
    assert tab.evaluate("document.querySelector('#legend').hidden")


def test_a_lasso_selects_and_the_list_does(tab: Tab, explorer: Path) -> None:
    start(tab, explorer)
    around = tab.evaluate("map.box.getBoundingClientRect().toJSON()")
    middle = around["x"] + around["width"] / 2
    places = [point(tab, row) for row in range(30)]
    left_half = {row for row, (x, _) in enumerate(places) if x < middle}
    corners = [
        (around["x"] + 2, around["y"] + 2),
        (middle, around["y"] + 2),
        (middle, around["y"] + around["height"] - 2),
        (around["x"] + 2, around["y"] + around["height"] - 2),
    ]
    selected = "selection.sorted()"
    tab.click("#lasso")
    before = tab.evaluate("map.state()")
    tab.draw(corners)
    assert set(tab.evaluate(selected)) == left_half and len(left_half) > 3
    assert tab.evaluate("location.hash") == "" and tab.evaluate("map.state().zoom") == before["zoom"]
    assert (
        tab.evaluate("document.querySelector('#n-selected').textContent")
        == f"{len(left_half)} pictures selected"
    )
    tab.click("#clear")
    assert tab.evaluate(selected) == [] and tab.evaluate("document.querySelector('#selection').hidden")
    # Only what is not faint.
    tab.evaluate("location.hash = '#topic=2'")
    tab.wait_for("map.state().topic === 2")
    tab.draw(corners)
    assert set(tab.evaluate(selected)) == {row for row in left_half if row % 6 == 2}
    tab.click("#lasso")
    tab.click("#clear")
    tab.evaluate("document.querySelector('#list a[tabindex=\"0\"]').focus()")
    tab.press("ArrowDown", " ")
    row = tab.evaluate("Number(document.activeElement.dataset.row)")
    assert tab.evaluate(selected) == [row]
    tab.press(" ")
    assert tab.evaluate(selected) == []
    tab.evaluate("location.hash = '#selected'")
    tab.wait_for("document.querySelector('#panel h2').textContent === 'Nothing is selected'")


def test_decisions_are_not_lost_unawares(tab: Tab, full: Path) -> None:
    start(tab, full, "#text=id3")
    told = "document.querySelector('#n-reviewed').textContent"
    keywords = "document.querySelector('ul.review').innerText"
    tab.click("[aria-label='Accept owl']")
    assert tab.evaluate(told) == "1 picture reviewed, 1 keyword undecided (not in the table)"
    assert tab.evaluate("document.activeElement.ariaLabel") == "Accept owl", "the focus stays where it was"
    assert tab.evaluate("document.activeElement.ariaPressed") == "true"
    assert "83%" in tab.evaluate(keywords) and "NaN" not in tab.evaluate(keywords)
    # One click asks, and takes nothing; after a while it asks anew.
    tab.click("#discard")
    assert tab.evaluate("document.querySelector('#discard').textContent") == "Really discard all?"
    assert tab.evaluate("review.accepted(3)") == ["owl"]
    tab.click("#discard")
    assert tab.evaluate("review.accepted(3)") == [] and tab.evaluate(
        "document.querySelector('#review').hidden"
    )
    assert tab.evaluate("document.activeElement.id") == "canvas"
    start(tab, full, "#text=id3")
    assert tab.evaluate("review.accepted(3)") == []
    # What another tab decides is here as well; a browser that keeps nothing says so.
    stored = {"id4": {"yes": ["hen"], "no": [], "address": "", "fingerprint": ""}}
    tab.evaluate(f"localStorage.setItem(STORE, {json.dumps(json.dumps(stored))})")
    tab.evaluate("dispatchEvent(new StorageEvent('storage', {key: STORE}))")
    assert tab.evaluate("review.accepted(4)") == ["hen"]
    tab.evaluate("Storage.prototype.setItem = () => { throw new Error('full'); }")
    tab.evaluate("review.decide([[3, 'owl']], true)")
    assert tab.evaluate(told).endswith(
        "This browser keeps nothing: download the table before you close the page"
    )
    assert tab.evaluate("review.accepted(3)") == ["owl"]
    tab.evaluate("localStorage.clear()")


def test_twenty_thousand_pictures_can_be_moved(
    tab: Tab, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Frames a second are printed, not judged, as in the test of two thousand thumbnails."""
    n, some = 20_000, simple(tmp_path / "pictures", n=50, k=50)
    random = np.random.default_rng(0)
    places = np.tile(random.random((50, 2)), (n // 50, 1)) + random.normal(scale=0.04, size=(n, 2))
    data = dataclasses.replace(
        some,
        ids=tuple(f"id{i}" for i in range(n)),
        texts=("",) * n,
        pictures=some.pictures * (n // 50),
        theta_image=np.tile(some.theta_image, (n // 50, 1)),
        theta_text=None,
        matches=(),
        positions=np.clip(places, 0, 1),
    )
    sheets = write_sheets(some.pictures, range(50), tmp_path)
    sheets = dataclasses.replace(sheets, place=sheets.place * (n // 50))
    index = tmp_path / "index.html"
    index.write_text(render("Many", to_json(payload(data, sheets))), encoding="utf-8")
    start(tab, index)
    for zoom in (1.5, 4, 16):
        rate = tab.evaluate(
            f"""(async () => {{
              const frame = () => new Promise((done) => requestAnimationFrame(done));
              map.look({zoom}, 0, 0.4);
              await new Promise((done) => setTimeout(done, 1000));
              let frames = 0, last = await frame();
              const first = last;
              while (last - first < 2000) {{
                const part = (last - first) / 2000;
                map.look({zoom}, part * (1 - 1 / {zoom}), 0.4);
                last = await frame();
                frames += 1;
              }}
              return (1000 * frames) / (last - first);
            }})()"""
        )
        with capsys.disabled():
            print(f"\n20,000 pictures, zoom {zoom}: {rate:.0f} frames a second")
    moved = tab.evaluate("map.state()")
    assert moved["x"] > 0.8
    tab.wait_for("map.state().thumbnails > 5")


def test_list_by_keyboard_moves_on_the_map(tab: Tab, explorer: Path) -> None:
    start(tab, explorer)
    rows = tab.evaluate("[...document.querySelectorAll('#list a')].map((a) => Number(a.dataset.row))")
    assert sorted(rows) == list(range(30))
    tab.evaluate("document.querySelector('#list-box summary').focus()")
    tab.press("Tab")
    active = "map.state().active"
    assert tab.evaluate(active) == rows[0] == int(tab.evaluate("document.activeElement.dataset.row"))
    moves = {
        "ArrowDown": 1,
        "ArrowRight": 2,
        "PageDown": 12,
        "ArrowUp": 11,
        "End": 29,
        "PageUp": 19,
        "Home": 0,
    }
    for key, place in moves.items():
        tab.press(key)
        assert tab.evaluate(active) == rows[place], key
        assert tab.wait_for("!document.querySelector('#tip').hidden")
    tab.press("ArrowUp")
    assert tab.evaluate(active) == rows[0], "the list has an end"
    tab.press("PageDown")
    tab.press("Tab", shift=True)
    assert tab.evaluate("document.activeElement.tagName") == "SUMMARY", "the list is one stop of the Tab key"
    tab.press("Tab")
    assert tab.evaluate(active) == rows[10], "which goes on where it was left"
    tab.press("Home")
    tab.press("ArrowDown", "Enter")
    tab.wait_for(f"location.hash === '#text=id{rows[1]}'")
    tab.wait_for("document.activeElement.id === 'panel-heading'")
    tab.press("Escape")
    tab.wait_for("document.querySelector('#panel h2').textContent === 'All topics'")
    assert tab.evaluate("Number(document.activeElement.dataset.row)") == rows[1]


def test_map_by_keyboard(tab: Tab, explorer: Path) -> None:
    start(tab, explorer)
    tab.evaluate("document.querySelector('#canvas').focus()")
    tab.press("+", "+", "+")
    zoomed = tab.evaluate("map.state()")
    assert zoomed["zoom"] == pytest.approx(1.5**3)
    tab.press("ArrowRight", "ArrowDown")
    moved = tab.evaluate("map.state()")
    assert moved["x"] > zoomed["x"] and moved["y"] > zoomed["y"]
    tab.press("ArrowLeft", "ArrowUp", "-")
    assert tab.evaluate("map.state().zoom") == pytest.approx(1.5**2)
    tab.press("0")
    assert tab.evaluate("map.state().zoom") == 1


@pytest.mark.parametrize("fragment", FRAGMENTS[:5])
def test_all_that_can_be_done_can_be_reached_by_tab(tab: Tab, full: Path, fragment: str) -> None:
    start(tab, full, fragment)
    tab.evaluate("selection.add([1, 2, 7]), review.decide([[1, 'owl']], false)")
    wanted = tab.evaluate(
        """[...document.querySelectorAll("a[href], button, input, select, summary, canvas")]
          .filter((node) => node.checkVisibility() && node.tabIndex >= 0).map((node, i) => (node.dataset.stop = i)).length"""
    )
    tab.evaluate("(document.activeElement.blur(), getSelection().collapse(document.body, 0))")
    stops, unseen = set(), []
    for _ in range(wanted + 10):
        tab.press("Tab")
        about = tab.evaluate(
            """(() => { const node = document.activeElement, style = getComputedStyle(node);
              return [node.dataset.stop ?? "", style.outlineStyle, parseFloat(style.outlineWidth), node.outerHTML.slice(0, 80)]; })()"""
        )
        if about[0]:
            stops.add(about[0])
            if about[1] == "none" or about[2] < 2:
                unseen.append(about[3])
    assert stops == {str(i) for i in range(wanted)}
    assert unseen == []


def test_addresses(tab: Tab, explorer: Path) -> None:
    start(tab, explorer, "#topic=4")
    assert heading(tab).startswith("Topic 4: ") and tab.evaluate("map.state().topic") == 4
    for fragment, expected in (
        ("#topic=99", "There is no topic 99"),
        ("#topic=-1", "There is no topic -1"),
        ("#topic=", "There is no topic"),
        ("#text=nobody", "There is no text nobody"),
        ("#text=%zz%3Cimg%3E", "There is no text %zz%3Cimg%3E"),
    ):
        tab.evaluate(f"location.hash = {json.dumps(fragment)}")
        tab.wait_for(f"document.querySelector('#panel').innerText.includes({json.dumps(expected)})")
    tab.evaluate("location.hash = '#text=id9'")
    tab.wait_for("document.querySelector('#panel .id')?.textContent === 'id9'")
    tab.evaluate("history.back()")
    tab.wait_for("document.querySelector('#panel').innerText.includes('%zz')")
    tab.evaluate("location.hash = '#something-else'")
    tab.wait_for("document.querySelector('#panel h2').textContent === 'All topics'")


def test_hostile_texts_are_shown_and_never_run(tab: Tab, tmp_path: Path) -> None:
    data = hostile_data(tmp_path / "pictures")
    index = build_explorer(data, tmp_path / "out").index
    start(tab, index)
    shown = [tab.evaluate("document.body.innerText")]
    assert tab.evaluate("document.querySelector('h1').textContent") == data.title
    for row, (id, text) in enumerate(zip(data.ids, data.texts, strict=True)):
        tab.evaluate(f"location.hash = textAddress({row})")
        tab.wait_for(f"map.state().chosen === {row}")
        assert tab.evaluate("document.querySelector('#panel .id').textContent") == id
        if text:
            assert tab.evaluate("document.querySelector('#panel blockquote').textContent") == text
        tab.evaluate(f"map.activate({row})")
        tab.wait_for("!document.querySelector('#tip').hidden")
        shown.append(tab.evaluate("document.body.innerText"))
        # A reload reads the same address from outside.
        start(tab, index, tab.evaluate("location.hash"))
        assert tab.evaluate("map.state().chosen") == row
    for k, text in enumerate(HOSTILE):
        tab.evaluate(f"location.hash = topicAddress({k})")
        tab.wait_for(f"map.state().topic === {k}")
        assert tab.evaluate("document.querySelector('.keywords li').firstChild.textContent") == text
    for i in range(5):
        name = tab.evaluate(
            f"(() => {{ const c = document.querySelector('#colouring'); c.value = {i + 1};"
            "c.dispatchEvent(new Event('change')); return c.selectedOptions[0].textContent; })()"
        )
        assert name == " ".join(HOSTILE[i].split()) or name == HOSTILE[i]
        shown.append(tab.evaluate("document.querySelector('#legend').innerText"))
    tab.evaluate("selection.add([0, 1, 4]), location.hash = SELECTED")
    tab.wait_for("document.querySelector('#panel h2').textContent === '3 pictures selected'")
    assert tab.evaluate(
        "[...document.querySelectorAll('.review li > :first-child')].map((s) => s.textContent)"
    ) == [*HOSTILE]
    tab.evaluate("review.decide([[0, HOSTILE_WORD]], true)".replace("HOSTILE_WORD", json.dumps(HOSTILE[1])))
    start(tab, index, "#text=nothing")
    assert tab.evaluate("review.accepted(0)") == [HOSTILE[1]], "it comes back as it was"
    tab.evaluate("location.hash = OVERVIEW")
    tab.click("#query")
    tab.type("script")
    tab.wait_for("document.querySelector('#found').textContent")
    shown.append(tab.evaluate("document.body.innerText"))
    everything = " ".join(shown)
    assert all(text in everything for text in HOSTILE[:4])
    assert data.pictures[2].name in everything, "the file that could not be read is named"
    assert tab.evaluate("typeof window.ran") == "undefined"
    assert tab.evaluate("document.querySelectorAll('script').length") == 2
    assert tab.evaluate("document.images.length") == 0


def test_the_policy_stops_what_gets_past_the_escaping(tab: Tab, explorer: Path) -> None:
    start(tab, explorer)
    refused = tab.evaluate(
        """(() => { try { document.body.innerHTML += "<img src=x onerror='window.ran = 1'>"; return false; }
          catch { return true; } })()"""
    )
    assert refused
    tab.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://elsewhere.invalid/x.png'}))")
    tab.wait_for("document.images.length === 1")
    tab.wait_for("document.images[0].complete")
    assert any("Content Security Policy" in problem for problem in tab.problems)
    assert "http://elsewhere.invalid/x.png" not in tab.requests
    assert tab.evaluate("typeof window.ran") == "undefined"
    tab.problems.clear()


@pytest.mark.parametrize("width", [320, 360])
def test_on_a_phone(tab: Tab, explorer: Path, tmp_path: Path, width: int) -> None:
    index = build_explorer(hostile_data(tmp_path / "pictures"), tmp_path / "out").index
    tab.size(width, 740, phone=True)
    for page in (index, explorer):
        start(tab, page)
        for address in (
            *("OVERVIEW", "topicAddress(0)", "textAddress(0)", "textAddress(4)", "textAddress(6)"),
            "SELECTED",
        ):
            tab.evaluate(f"location.hash = {address}")
            tab.wait_for(f"document.querySelector('#panel h2') && location.hash === {address}")
            tab.evaluate("document.querySelector('#list-box').open = true")
            tab.evaluate(
                "(({c}) => (c.selectedIndex = c.options.length - 1))({c: document.querySelector('#colouring')})"
            )
            tab.evaluate("document.querySelector('#colouring').dispatchEvent(new Event('change'))")
            tab.evaluate("selection.add([0, 1]), review.decide([[0, 'W'.repeat(200)]], true)")
            found = tab.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
            assert found == [width, width], (page, address)
    tab.evaluate("location.hash = OVERVIEW")
    tab.wait_for("document.activeElement.textContent === 'All topics'")
    x, y = (round(value) for value in tab.place("#canvas"))
    tab.touch([(x - 20, y), (x + 20, y)], [(x - 40, y), (x + 40, y)], [(x - 90, y), (x + 90, y)])
    tab.wait_for("map.state().zoom > 3")
    tab.click("#zoom-all")
    tab.wait_for("map.state().zoom === 1")
    tab.place("#canvas")
    tab.touch([point(tab, 5)])
    tab.wait_for("location.hash === '#text=id5'")
    tab.wait_for("map.state().chosen === 5")
    top = tab.evaluate("document.querySelector('#panel').getBoundingClientRect().top")
    assert abs(top) < 5, "the panel comes into sight"


def test_dark_scheme_and_motion(tab: Tab, explorer: Path, tmp_path: Path) -> None:
    start(tab, explorer)
    corner = (tab.evaluate("document.querySelector('#map').getBoundingClientRect().x") + 3, 300)
    assert seen(tab, tmp_path / "light.png", *corner) == (255, 255, 255)
    tab.prefer(prefers_color_scheme="dark", prefers_reduced_motion="reduce")
    tab.wait_for("getComputedStyle(document.body).backgroundColor === 'rgb(20, 24, 28)'")
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert seen(tab, tmp_path / "dark.png", *corner) == (20, 24, 28), "the canvas follows"
    tab.evaluate("document.querySelector('#zoom-in').click()")
    tab.evaluate("document.querySelector('#zoom-all').click()")
    assert tab.evaluate("map.state().zoom") == 1, "no gliding where motion is unwanted"
    tab.prefer(prefers_reduced_motion="no-preference")
    tab.evaluate("document.querySelector('#zoom-in').click()")
    assert tab.evaluate("(document.querySelector('#zoom-all').click(), map.state().zoom)") > 1
    tab.wait_for("map.state().zoom === 1")


def test_the_books_theme_is_followed(tab: Tab, explorer: Path) -> None:
    """As sphinx-book-theme keeps what a reader chose: in the storage, under "mode"; "auto" follows the system."""
    theme = "document.querySelector('iframe').contentDocument.documentElement.dataset.theme"
    book = '<!doctype html><link rel="icon" href="data:,"><iframe src="index.html"></iframe>'
    with serve(explorer.parent, {"book.html": book}) as address:
        tab.open(f"{address}book.html")
        for mode, system, expected in (
            ("dark", "light", "dark"),
            ("light", "dark", "light"),
            ("auto", "dark", "dark"),
            ("auto", "light", "light"),
        ):
            tab.prefer(prefers_color_scheme=system)
            tab.evaluate(f"localStorage.setItem('mode', '{mode}')")
            tab.wait_for(f"{theme} === '{expected}'")
        tab.evaluate("localStorage.clear()")
        tab.open("about:blank")


@pytest.mark.parametrize("fragment", ["", "#topic=1", "#text=id3"])
def test_a_screen_reader_is_told_everything(tab: Tab, explorer: Path, fragment: str) -> None:
    start(tab, explorer, fragment)
    tab.send("Accessibility.enable")
    nodes = [node for node in tab.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    found: dict[str, list[str]] = {}
    for node in nodes:
        found.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    for role in ("link", "button", "searchbox", "image", "region", "navigation", "heading"):
        assert all(found.get(role, ["-"])), f"a {role} without a name"
    assert {"Map of the pictures", heading(tab)} <= set(found["region"])
    assert found["searchbox"] == ["Search words and texts"]
    assert "status" in found and "search" in found and "main" in found
    assert any(name.startswith("Map of 30 pictures") for name in found["image"])
    texts = set(read_data(explorer)["texts"])
    assert len(texts & set(found["link"])) == 30, "the list holds every picture"
    tab.send("Accessibility.disable")


@pytest.mark.skipif(AXE is None, reason="no axe-core (pip install axe-core-python)")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "dark")])
def test_axe_finds_nothing(browser: Tab, full: Path, width: int, scheme: str) -> None:
    axe = (Path(AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    browser.size(width, 900, phone=width < 500)
    browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    browser.send("Page.setBypassCSP", enabled=True)  # axe makes styles
    try:
        start(browser, full)
        browser.evaluate("selection.add([1, 2, 7]), review.decide([[1, 'owl']], false)")
        browser.evaluate("document.querySelector('#colouring').value = 1")
        browser.evaluate("document.querySelector('#colouring').dispatchEvent(new Event('change'))")
        browser.evaluate(axe + "; 0")
        for fragment in FRAGMENTS:
            browser.evaluate(f"location.hash = {json.dumps(fragment)}")
            browser.evaluate("new Promise((done) => setTimeout(done, 200))")
            found = browser.evaluate(
                "axe.run(document, {resultTypes: ['violations']}).then(({violations}) =>"
                " violations.map((rule) => [rule.id, ...rule.nodes.slice(0, 3).map((node) => node.html.slice(0, 200))]))"
            )
            assert found == [], fragment
    finally:
        browser.send("Page.setBypassCSP", enabled=False)


def test_from_a_server_as_well(tab: Tab, explorer: Path, tmp_path: Path) -> None:
    with serve(explorer.parent) as address:
        tab.open(f"{address}index.html#text=id3")
        tab.wait_for("performance.getEntriesByName('explorer-interactive').length")
        x, y = tab.place("figure.own .thumbnail")
        assert near(seen(tab, tmp_path / "shot.png", x, y), colour(3))
        tab.open("about:blank")


def test_two_thousand_thumbnails(
    tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """How long it takes until the page answers is printed, not judged: a busy machine is no fault of the page."""
    monkeypatch.setattr(positions_module, "TSNE_UP_TO", 100)
    built = build_explorer(simple(tmp_path / "pictures", n=2000, k=60), tmp_path / "out")
    assert len(built.sheets) == 20
    start(tab, built.index)
    ready = tab.evaluate("performance.getEntriesByName('explorer-interactive')[0].startTime")
    tab.click("#query")
    tab.type("number1999")
    tab.wait_for("document.querySelector('#found').textContent")
    assert tab.evaluate("document.querySelector('#found').textContent") == "0 topics and 1 text found"
    tab.press("Enter")
    tab.wait_for("document.querySelector('#panel .id')?.textContent === 'id1999'")
    size = built.size / 1e6
    with capsys.disabled():
        print(f"\n2,000 thumbnails, {size:.1f} MB: interactive after {ready:.0f} ms")
