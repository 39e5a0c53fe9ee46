"""Corpora: the dataclass, the split, the drawn scenes, and the two Debian corpora, small and in full."""

from __future__ import annotations

import dataclasses
import json
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import numpy as np
import pytest

from vtm.corpora import Corpus, Dropped, load_corpus, openclipart, split
from vtm.corpora import base as corpora_base
from vtm.corpora import fetch as fetching
from vtm.corpora import openclipart as svg_text
from vtm.corpora.scenes import THEMES
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import hash_file, hash_json, hash_tree


def corpus_of(*ids: str, **fields) -> Corpus:
    defaults = {
        "name": "toy",
        "ids": ids,
        "texts": tuple(f"text of {id}" for id in ids),
        "images": tuple(Path(f"{id}.png") for id in ids),
        "image_hashes": tuple(f"hash of {id}" for id in ids),
    }
    return Corpus(**{**defaults, **fields})


def test_dropping_keeps_fields_aligned_and_counts():
    corpus = corpus_of("a", "b", "c", "d", groups=("1", "2", "3", "4"), dropped=(Dropped("z", "early"),))
    left = corpus.without({"b": ("unreadable", "truncated"), "d": ("unreadable", "")})
    assert left.ids == ("a", "c") and left.groups == ("1", "3") and len(left) == 2
    assert left.texts == ("text of a", "text of c") and left.image_hashes == ("hash of a", "hash of c")
    assert left.drop_counts() == {"early": 1, "unreadable": 2}
    assert left.dropped[1] == Dropped("b", "unreadable", "truncated")
    kept = corpus.keep(["c", "a"], reason="no known words")
    assert kept.ids == ("a", "c") and kept.drop_counts() == {"early": 1, "no known words": 2}
    assert corpus.ids == ("a", "b", "c", "d")


def test_joined_corpora_lose_no_pair_and_hold_none_twice():
    first = corpus_of("a", "b", dropped=(Dropped("z", "early"),))
    other = corpus_of(
        *("b", "c", "d", "a"),
        name="more",
        texts=("another text of b", "text of c", "text of a", "text of a"),
        image_hashes=("hash of b", "hash of c", "hash of d", "hash of a"),
        dropped=(Dropped("y", "late"),),
    )
    both = first.joined(other)
    assert both.ids == ("a", "b", "more/b", "c", "d")
    assert both.texts == ("text of a", "text of b", "another text of b", "text of c", "text of a")
    assert both.image_hashes == ("hash of a", "hash of b", "hash of b", "hash of c", "hash of d")
    assert both.images[2:] == other.images[:3]
    assert both.drop_counts() == {"early": 1, "late": 1, "known-pair": 1} and both.dropped[-1].id == "a"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: corpus_of(), "no usable pair"),
        (lambda: corpus_of("a", "b", "a"), "'a'"),
        (lambda: corpus_of("a", "b", texts=("one",)), "texts and ids: 1 and 2"),
        (lambda: corpus_of("a", groups=()), "groups and ids: 0 and 1"),
        (lambda: corpus_of("a").without({"x": ("r", "")}), "'x'"),
        (lambda: corpus_of("a").without({"a": ("unreadable", "")}), "1 unreadable"),
        (lambda: corpus_of("a").keep(["y"], reason="r"), "'y'"),
    ],
)
def test_an_invalid_corpus_is_refused(make, told):
    with pytest.raises(DataError, match=re.escape(told)):
        make()


def test_fingerprint_follows_what_results_depend_on():
    base = corpus_of("a", "b")
    assert (
        base.fingerprint == corpus_of("a", "b", images=(Path("elsewhere/a"), Path("elsewhere/b"))).fingerprint
    )
    others = [
        corpus_of("b", "a"),
        corpus_of("a", "b", texts=("text of a", "other")),
        corpus_of("a", "b", name="new"),
        corpus_of("a", "b", image_hashes=("x", "hash of b")),
        corpus_of("a", "b", groups=("1", "2")),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_split_is_a_partition_of_about_the_sizes_asked_for():
    ids = [f"id/{number}" for number in range(5000)]
    parts = split(ids, seed=3)
    assert list(parts) == ["train", "validation", "test"]
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts.values())
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(5000))
    for name, fraction in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        # Five standard deviations of a binomial count.
        assert abs(len(parts[name]) - 5000 * fraction) < 5 * (5000 * fraction * (1 - fraction)) ** 0.5


def test_an_id_keeps_its_part_when_the_corpus_grows_or_is_shuffled():
    def part_of(ids, seed=0):
        return {ids[i]: name for name, positions in split(ids, seed=seed).items() for i in positions}

    small = [f"id {number}" for number in range(300)]
    grown = [f"new {number}" for number in range(500)] + small[::-1]
    before, after = part_of(small), part_of(grown)
    assert all(after[id] == part for id, part in before.items())
    assert part_of(small, seed=1) != before


def test_split_is_pinned_and_follows_fractions():
    # The first 16 digits of `printf 0:a | sha256sum`.
    edge = 0x9DF3C5FAB8EF8FE7 / 2**64
    assert len(split(["a"], fractions=(edge + 1e-6, 0.0, 1 - edge - 1e-6))["train"]) == 1
    assert len(split(["a"], fractions=(edge - 1e-6, 0.0, 1 - edge + 1e-6))["test"]) == 1
    assert len(split(["a", "b", "c"], fractions=(0, 0, 1))["test"]) == 3
    for fractions in ((0.7, 0.1, 0.1), (1.1, -0.1, 0.0), (0.5, 0.5)):
        with pytest.raises(ConfigError, match="sum to 1"):
            split(["a"], fractions=fractions)


def test_five_folds_test_each_pair_once_and_fold_0_is_the_plain_split():
    ids = [f"id {number}" for number in range(400)]
    clusters = np.random.default_rng(0).integers(300, size=400)
    folds = [split(ids, seed=2, fold=fold, clusters=clusters) for fold in range(5)]
    for fold in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate(list(fold.values()))), np.arange(400))
        # The validation part lies beside the test part: no pair is in both, and about a tenth is in it.
        assert 15 < len(fold["validation"]) < 70
    np.testing.assert_array_equal(np.sort(np.concatenate([fold["test"] for fold in folds])), np.arange(400))
    for part, rows in split(ids, seed=2, fold=0, clusters=np.arange(400)).items():
        np.testing.assert_array_equal(rows, split(ids, seed=2)[part])
    for fold in (-1, 5, 0.5, "1"):
        with pytest.raises(ConfigError, match="fold="):
            split(ids, fold=fold)
    with pytest.raises(DataError, match="399 numbers of clusters for 400 pairs"):
        split(ids, clusters=clusters[1:])


def test_a_cluster_is_in_one_part_and_stays_there_when_the_corpus_grows():
    rng = np.random.default_rng(1)
    ids = [f"id {number:03d}" for number in range(300)]
    clusters = rng.integers(120, size=300)
    part_of = {ids[row]: part for part, rows in split(ids, seed=4, clusters=clusters).items() for row in rows}
    by_id = dict(zip(ids, clusters, strict=True))
    for cluster in set(clusters):
        members = [id for id in ids if by_id[id] == cluster]
        # As its smallest id alone would.
        alone = next(part for part, rows in split(members[:1], seed=4).items() if len(rows))
        assert {part_of[id] for id in members} == {alone}
    # New pairs, in old clusters and in new ones, under other numbers and in another order.
    order = rng.permutation(400)
    grown = [*ids, *(f"later {number}" for number in range(100))]
    numbers = 1000 - np.concatenate([clusters, rng.integers(170, size=100)])
    after = split([grown[row] for row in order], seed=4, clusters=numbers[order])
    for part, rows in after.items():
        assert {part_of.get(grown[order[row]], part) for row in rows} <= {part}


def plain_clusters(text, image, twin_image, twin_text, twin_both):
    """Pair by pair, and from pair to pair, in double precision."""

    def cosine(a, b):
        return float(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b) or 1.0)

    numbers = list(range(len(text)))
    for i in range(len(text)):
        for j in range(i):
            by_image, by_text = cosine(image[i], image[j]), cosine(text[i], text[j])
            if by_image > twin_image or by_text > twin_text or min(by_image, by_text) > twin_both:
                numbers = [numbers[j] if number == numbers[i] else number for number in numbers]
    return [list(dict.fromkeys(numbers)).index(number) for number in numbers]


@pytest.mark.parametrize("thresholds", [(0.97, 0.97, 0.85), (0.9, 2, 2), (2, 0.9, 2), (2, 2, 0.7)])
def test_near_duplicates_are_those_of_a_slow_search(thresholds, monkeypatch):
    monkeypatch.setattr(corpora_base, "_TILE", 7)  # so that clusters go across the tiles
    rng = np.random.default_rng(3)
    image, text = (
        rng.normal(size=(12, 6))[rng.integers(12, size=60)] * rng.uniform(1, 9, size=(60, 1))
        + rng.normal(size=(60, 6)) * scale
        for scale in (0.7, 0.9)
    )
    image[5] = text[6] = 0
    options = dict(zip(("twin_image", "twin_text", "twin_both"), thresholds, strict=True))
    found = corpora_base.near_duplicates(text, image, **options)
    assert found.dtype == np.int64 and 5 < found.max() < 55
    assert found.tolist() == plain_clusters(text, image, *thresholds)
    off = dict.fromkeys(options, 0)
    np.testing.assert_array_equal(corpora_base.near_duplicates(text, image, **off), np.arange(60))
    np.testing.assert_array_equal(
        corpora_base.near_duplicates(image, image, **dict.fromkeys(options, 1.01)), np.arange(60)
    )


@pytest.mark.parametrize("thresholds", [(0.97, 0.97, 0.85), (0.9, 2, 2), (2, 0.9, 2), (2, 2, 0.8)])
def test_near_duplicates_of_many_pairs_are_those_of_a_comparison_of_all(thresholds, monkeypatch):
    rng = np.random.default_rng(4)
    n = 3000
    image, text = (rng.normal(size=(40, width))[rng.integers(40, size=n)] for width in (24, 32))
    image, text = (x + 0.8 * rng.normal(size=x.shape) for x in (image, text))
    twins, first = np.arange(0, 600), np.arange(1000, 1600)
    image[twins], text[twins] = image[first], text[first]
    # Some equal, some that differ on one side, and some that differ a little on both.
    for x, rows in ((image, slice(100, 250)), (text, slice(250, 400))):
        x[rows] = rng.normal(size=x[rows].shape)
    for x in (image, text):
        x[400:600] += rng.uniform(0.1, 0.7, size=(200, 1)) * rng.normal(size=x[400:600].shape)
    image[2000:2300] = text[2990:] = 0  # like nothing, not even one another
    options = dict(zip(("twin_image", "twin_text", "twin_both"), thresholds, strict=True))
    known = corpora_base.near_duplicates(text, image, **options)
    monkeypatch.setattr(corpora_base, "_MOST_COMPARED", 1)
    monkeypatch.setattr(corpora_base, "_TILE", 50)
    found = corpora_base.near_duplicates(text, image, **options)
    assert found.dtype == np.int64 and found[0] == 0
    alike = known[:, None] == known
    together = found[:, None] == found
    assert not (together & ~alike).any()
    assert (together & alike).sum() - n >= 0.99 * (alike.sum() - n) > 300


def test_an_owner_s_split_keeps_its_twins_and_they_are_told():
    parts = ("test", "development") * 30
    corpus = corpus_of(*(f"id {number:02d}" for number in range(60)), parts=parts)
    clusters = np.arange(60) // 3
    rows = split(corpus, clusters=clusters)
    np.testing.assert_array_equal(rows["test"], np.arange(0, 60, 2))
    assert not set(clusters[rows["train"]]) & set(clusters[rows["validation"]])
    expected = [
        row for row in range(0, 60, 2) if any(row != r and r // 3 == row // 3 and r % 2 for r in range(60))
    ]
    np.testing.assert_array_equal(corpora_base.leaking(clusters, rows), expected)
    folds = [split(corpus, clusters=clusters, fold=fold)["validation"] for fold in range(5)]
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(1, 60, 2))


@pytest.mark.parametrize("sizes, told", [([4] * 10, ""), ([5, *[1] * 35], "5 of 40 pairs"), ([3, 1], "")])
def test_a_cluster_of_more_than_a_tenth_is_told(sizes, told):
    said = corpora_base.large_cluster(np.repeat(np.arange(len(sizes)), sizes))
    assert said.startswith(told) and bool(said) == bool(told)


def test_unknown_names_and_options_list_the_possible_ones(monkeypatch, tmp_path):
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"'openclipar'.*openclipart, stamps, scenes"):
        load_corpus("openclipar")
    with pytest.raises(ConfigError, match=r"'lang'.*n, seed"):
        load_corpus("scenes", lang="de")
    with pytest.raises(ConfigError, match=r"'n'.*no options"):
        load_corpus("openclipart", n=3)
    with pytest.raises(MissingError, match="here/pictures"):
        load_corpus("here/pictures")
    (tmp_path / "photos.csv").touch()
    for typed, in_python in (
        ("scenes:n=60", r"load_corpus\('scenes', n=60\)"),
        ("photos.csv:lang=de", r"load_corpus\('photos.csv', lang='de'\)"),
    ):
        with pytest.raises(ConfigError, match=f"'{typed}': in Python options are arguments, .*{in_python}"):
            load_corpus(typed)
    (tmp_path / "photos.csv").unlink()
    with pytest.raises(MissingError, match="lost.csv:lang=de: no such file"):
        load_corpus("lost.csv:lang=de")
    for bad in (0, 1.5, True, "9"):
        with pytest.raises(ConfigError, match="n is"):
            load_corpus("scenes", n=bad)
    assert list(tmp_path.iterdir()) == []


def test_importing_corpora_is_light():
    code = "import sys, vtm.corpora; print({'torch', 'PIL', 'pandas', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Corpus:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(tmp_path_factory.mktemp("data")))
        return load_corpus("scenes", n=120, seed=0)


def test_scenes_are_pictures_that_differ_with_captions_that_differ(scenes):
    from PIL import Image

    assert len(scenes) == len(set(scenes.texts)) == len(set(scenes.image_hashes)) == 120
    for path, image_hash in zip(scenes.images, scenes.image_hashes, strict=True):
        assert hash_file(path) == image_hash
        with Image.open(path) as image:
            assert (image.format, image.size, image.mode) == ("PNG", (96, 96), "RGB")
            assert len(image.getcolors(96 * 96)) > 8
    assert {scenes.groups.count(group) for group in THEMES} == {15}


def test_captions_use_the_words_of_their_theme_only(scenes):
    nouns = {noun: group for group, theme in THEMES.items() for noun in theme.things}
    assert len(nouns) == sum(len(theme.things) for theme in THEMES.values())
    for text, group in zip(scenes.texts, scenes.groups, strict=True):
        first = re.findall(r"\w+", text.split(".")[0].lower())
        named = {
            thing
            for thing, theme in nouns.items()
            if {thing, THEMES[theme].things[thing].plural} & set(first)
        }
        assert named and {nouns[thing] for thing in named} == {group}, text


def test_the_caption_tells_what_is_drawn(scenes):
    """A scene of red squares has red pixels; where the caption says "on the left" they are on the left."""
    from PIL import Image

    found = 0
    for text, path, group in zip(scenes.texts, scenes.images, scenes.groups, strict=True):
        if group != "geometry":
            continue
        for colour, place in re.findall(
            r"(red|blue|green) (?:square|circle|triangle|hexagon)s? on the (left|right)", text
        ):
            with Image.open(path) as image:
                pixels = np.asarray(image).astype(int)
            channel = ("red", "green", "blue").index(colour)
            rest = [other for other in range(3) if other != channel]
            strong = (pixels[..., [channel]] - pixels[..., rest] > 40).all(axis=-1)
            if len(re.findall(colour, text)) == 1:
                left, right = strong[:, :48].sum(), strong[:, 48:].sum()
                assert (left > 4 * right) if place == "left" else (right > 4 * left), (path, text)
                found += 1
    assert found >= 3


def test_scenes_are_the_same_in_another_process_and_for_another_n(scenes, tmp_path):
    code = (
        "import json; from vtm.corpora import load_corpus; c = load_corpus('scenes', n=40); "
        "print(json.dumps([c.texts, c.image_hashes]))"
    )
    environment = {
        "VTM_DATA": str(tmp_path),
        "PYTHONHASHSEED": "77",
        "PYTHONPATH": str(Path(fetching.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    texts, hashes = json.loads(done.stdout)
    assert tuple(texts) == scenes.texts[:40] and tuple(hashes) == scenes.image_hashes[:40]


def test_interrupted_or_stale_scenes_are_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    first = load_corpus("scenes", n=8, seed=5)
    assert load_corpus("scenes", n=8, seed=6).texts != first.texts
    (first.images[0].parent / "scenes.json").write_text('{"key": "of older code"}')
    first.images[0].write_bytes(b"half")
    again = load_corpus("scenes", n=8, seed=5)
    assert again.fingerprint == first.fingerprint
    assert hash_file(again.images[0]) == again.image_hashes[0]


SVG = """<?xml version="1.0" encoding="{encoding}"?>
<!DOCTYPE svg [<!ENTITY ns "http://ns/"> <!ENTITY file SYSTEM "file:///etc/hostname">]>
<svg xmlns="http://www.w3.org/2000/svg"><title>layer</title><metadata>
<rdf:RDF xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work rdf:about="">
<dc:title>{title}</dc:title><dc:description>{description}</dc:description>
<dc:subject><rdf:Bag>{keywords}</rdf:Bag></dc:subject>
<dc:publisher><cc:Agent><dc:title>Open Clip Art Library</dc:title></cc:Agent></dc:publisher>
<dc:creator><cc:Agent><dc:title>{creator}</dc:title></cc:Agent></dc:creator>
<dc:rights><cc:Agent><dc:title>{creator}</dc:title></cc:Agent></dc:rights>
<dc:format>image/svg+xml</dc:format></cc:Work></rdf:RDF></metadata><path d="M0 0"/></svg>"""


def svg(title="", description="", keywords=(), creator="Ann Example", encoding="UTF-8") -> bytes:
    items = "".join(f"<rdf:li>{keyword}</rdf:li>" for keyword in keywords)
    text = SVG.format(
        title=title, description=description, keywords=items, creator=creator, encoding=encoding
    )
    return text.encode(encoding)


def text_of(content: bytes, stem: str = "x/y", agents=()) -> str:
    return svg_text.plain_text(
        svg_text.read_metadata(content), stem=stem, names=svg_text.names_pattern(agents)
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"title": "Red Barn", "description": "A barn.", "keywords": ["farm", "", "house"]},
            "Red Barn. A barn. farm, house.",
        ),
        ({"title": "Barn", "description": "barn", "keywords": ["BARN", "farm", "Farm"]}, "Barn. farm."),
        (
            {"title": "glace_01", "keywords": ["AfricanDrum2", "united_nations_member"]},
            "glace. African Drum, united nations member.",
        ),
        (
            {"title": "dog.svg", "keywords": ["hash", "HASH(0x8a41038)", "0xa120760", "unsorted", "11"]},
            "dog.",
        ),
        (
            {"title": "Hill by Ann Example", "description": "Ann Example's hill, mail ann@example.org"},
            "Hill. hill, mail.",
        ),
        (
            {"title": "Hill", "description": "see http://a.example/b?c=1 or www.hill.example."},
            "Hill. see or.",
        ),
        ({"title": "Hill", "description": "Created with Inkscape", "keywords": ["inkscape"]}, "Hill."),
        (
            {"title": "Hill Example", "description": "Derived from Bob Other", "keywords": ["Other Bob"]},
            "Hill.",
        ),
        (
            {"title": "Baden-W&amp;uuml;rttemberg", "description": "&lt;b&gt;flag&lt;/b&gt;"},
            "Baden-Württemberg. flag.",
        ),
        ({"title": "Clipart by Jeff Smith - New Mexico"}, ""),
        ({"title": "Flag of Málaga", "encoding": "iso-8859-1"}, "Flag of Málaga."),
        (
            {"title": "Nikon Coolpix 4500", "keywords": ["1989 Celebrity", "0.5"]},
            "Nikon Coolpix 4500. 1989 Celebrity, 0.5.",
        ),
    ],
)
def test_text_of_a_drawing(fields, text):
    assert text_of(svg(**fields), agents=[("Bob Other (bob@other.example)", "Royal Navy")]) == text


def test_a_title_left_over_from_another_drawing_goes():
    content = svg("Clipart by Jeff Smith - New Mexico", keywords=["flag"])
    assert text_of(content, stem="flags/usa_new_mexico_01") == "New Mexico. flag."
    assert text_of(content, stem="animals/chipmunk") == "flag."


def test_no_entity_is_expanded_and_odd_files_are_no_metadata():
    assert svg_text.read_metadata(svg(title="&file;")) is None
    assert svg_text.read_metadata(b"<svg/>") is None
    assert svg_text.read_metadata(b"\xff\xfe\x00 no svg at all") is None
    assert svg_text.read_metadata(svg(title="a &lt; b", encoding="UTF-8")[:-900]) is None


def test_prefixes_may_be_declared_on_svg():
    """As Inkscape writes them; the slow way is a parser of the whole file."""
    plain = svg("Brown Owl", "sits", ["bird", "night"])
    declared = re.findall(rb"\sxmlns:\w+=\"[^\"]+\"", plain)
    assert len(declared) > 1
    bare = re.sub(rb"\sxmlns:\w+=\"[^\"]+\"", b"", plain)
    moved = re.sub(rb"<svg\b", b"<svg" + b" ".join(declared), bare, count=1)
    whole = ElementTree.fromstring(moved)
    assert whole.findtext(f".//{svg_text.DC}title") == "Brown Owl"
    expected = svg_text.read_metadata(plain)
    assert expected is not None and svg_text.read_metadata(moved) == expected
    assert svg_text.read_metadata(moved.replace(b'"', b"'")) == expected
    other = re.sub(rb"\bdc:", b"d-c.1:", moved).replace(b"xmlns:dc=", b"xmlns:d-c.1=")
    assert svg_text.read_metadata(other) == expected
    # Entities in other declarations are not looked at; a prefix that is not declared makes no metadata.
    doubled = moved.replace(b"<svg", b'<svg xmlns:x="&file;" xmlns:y="z"', 1)
    assert svg_text.read_metadata(doubled) == expected
    assert svg_text.read_metadata(bare) is None


def png(colour: int, size: tuple[int, int] = (2, 2), *, level: int = -1, blank: bool = False) -> bytes:
    """A PNG file, white above and of one grey below; a large size is in the header only."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = [b"\0" + bytes([shade]) * 2 for shade in (colour if blank else 255, colour)]
    pixels = zlib.compress(b"".join(rows), level)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def pretend_fetched(name: str) -> Path:
    artifact = fetching.ARTIFACTS[name]
    artifact.folder.mkdir(parents=True)
    (artifact.folder / fetching.STAMP).write_text(json.dumps({"sha256": artifact.sha256}))
    return artifact.folder


def pin(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the folder now is what was fetched."""
    artifact = fetching.ARTIFACTS[name]
    contents = hash_json(hash_tree(artifact.folder, artifact.suffixes))
    monkeypatch.setitem(fetching.ARTIFACTS, name, dataclasses.replace(artifact, contents=contents))


@pytest.fixture
def clipart(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Eleven drawings of use and no use, and twenty of a theme with one title."""
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    svgs, pngs = pretend_fetched("openclipart-svg"), pretend_fetched("openclipart-png")
    drawings = {
        "animals/owl": (svg("Brown Owl", "sits", ["bird", "night"]), png(1, level=0)),
        "animals/birds/owl": (svg("Brown Owl", "sits", ["bird", "night"]), png(1)),
        "animals/hawk": (svg("Hawk", keywords=["bird", "prey"]), png(2)),
        "animals/hawk_02": (svg("Hawk 2", keywords=["bird", "prey"]), png(3)),
        "food/pear": (svg("Pear", keywords=["of", "the"]), png(4)),
        "food/wall": (svg("Wall of plates", keywords=["dinner"]), png(5, (15400, 15000))),
        "food/torn": (svg("Torn bread roll", keywords=["bakery"]), b"GIF89a"),
        "food/none": (b"<svg/>", png(6)),
        "food/gone": (svg("Green soup bowl"), None),
        "food/snow": (svg("Ice cream", keywords=["white", "dinner"]), png(255, blank=True)),
        "food/half": (svg("Half an apple", keywords=["fruit"]), png(7)[:45]),
    }
    for number in range(20):
        drawings[f"computer/icon{number:02d}"] = (
            svg("Icon Theme", f"thing {number} here", ["icon"]),
            png(50 + number),
        )
    for stem, (drawing, picture) in drawings.items():
        for folder, suffix, content in ((svgs, "svg", drawing), (pngs, "png", picture)):
            path = folder / f"{stem}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(content)
    for name in ("openclipart-svg", "openclipart-png"):
        pin(name, monkeypatch)
    return svgs, pngs


def test_openclipart_drops_by_the_stated_reasons(clipart):
    corpus = load_corpus("openclipart")
    assert corpus.ids == ("animals/birds/owl", "animals/hawk")
    assert corpus.texts == ("Brown Owl. sits. bird, night.", "Hawk. bird, prey.")
    assert corpus.groups == ("animals", "animals")
    assert corpus.images[1] == clipart[1] / "animals/hawk.png"
    assert corpus.image_hashes[1] == hash_file(corpus.images[1])
    assert corpus.drop_counts() == {
        "no-metadata": 1,
        "template-title": 20,
        "unreadable-picture": 3,
        "huge-picture": 1,
        "blank-picture": 1,
        "near-empty-text": 1,
        "identical-picture": 1,
        "duplicate-text": 1,
    }
    why = {drop.id: (drop.reason, drop.detail) for drop in corpus.dropped}
    assert why["animals/owl"] == ("identical-picture", "as animals/birds/owl")
    assert hash_file(clipart[1] / "animals/owl.png") != corpus.image_hashes[0], "other bytes, the same pixels"
    assert why["food/snow"][0] == "blank-picture" and why["food/half"][0] == "unreadable-picture"
    assert why["animals/hawk_02"] == ("duplicate-text", "as animals/hawk")
    assert why["food/wall"] == ("huge-picture", "15400 x 15000 pixels")


def test_openclipart_is_parsed_once_and_again_when_the_data_change(clipart, monkeypatch):
    first = load_corpus("openclipart")
    with monkeypatch.context() as patch:
        patch.setattr(openclipart, "_build", lambda *_: pytest.fail("was to be read from the cache"))
        assert load_corpus("openclipart") == first
    cache = clipart[0].parents[1] / "openclipart.json"
    cache.write_text('{"half')
    with pytest.warns(UserWarning, match="openclipart.json: .*; it is made again"):
        assert load_corpus("openclipart") == first
    cache.write_text(json.dumps({**json.loads(cache.read_text()), "key": "of older code", "pairs": []}))
    assert load_corpus("openclipart") == first


@pytest.fixture
def stamps(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    folder = pretend_fetched("tuxpaint-stamps-default")
    captions = {
        "animals/birds/owl": "An owl.\nde.utf8=Eine  Eule.\npt_BR.utf8=Uma coruja.\n",
        "animals/cat": "A cat.\nde.utf8=\npt_BR.utf8=Um gato.\n",
        "town/dot": "...\nde.utf8=Ein Punkt.\n",
        "town/house": "A house.\nde.utf8=Ein Haus.\nxx=not a caption\n",
        "town/home": "a house!\nde.utf8=Ein Heim.\n",
        "town/copy": "A copy.\nde.utf8=Eine Kopie.\n",
        "town/drawn": "A drawing.\nde.utf8=Eine Zeichnung.\n",
    }
    for number, (stem, text) in enumerate(captions.items()):
        (folder / stem).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}.txt").write_text(text, encoding="utf-8")
        picture = folder / f"{stem}.{'svg' if stem == 'town/drawn' else 'png'}"
        picture.write_bytes(png(3 if stem == "town/copy" else number, level=number))
    (folder / "town/house_desc.ogg").write_bytes(b"")
    pin("tuxpaint-stamps-default", monkeypatch)
    return folder


def test_stamps_in_english_and_in_other_languages(stamps, monkeypatch):
    english = load_corpus("stamps")
    # town/copy is the picture of town/house in another file; the first id in order stays.
    assert dict(zip(english.ids, english.texts, strict=True)) == {
        "animals/birds/owl": "An owl.",
        "animals/cat": "A cat.",
        "town/copy": "A copy.",
        "town/home": "a house!",
    }
    assert english.groups == ("animals", "animals", "town", "town")
    assert english.drop_counts() == {"no-text": 1, "no-png": 1, "identical-picture": 1}
    german = load_corpus("stamps", lang="de")
    assert (
        german.texts == ("Eine Eule.", "Eine Kopie.", "Ein Punkt.", "Ein Heim.") and german.language == "de"
    )
    assert Dropped("animals/cat", "no-text") in german.dropped
    assert german.fingerprint != english.fingerprint
    (stamps / "town/house.png").write_bytes(png(99))
    pin("tuxpaint-stamps-default", monkeypatch)
    assert load_corpus("stamps").drop_counts()["duplicate-text"] == 1


@pytest.mark.parametrize("name", ["animals/birds/owl.txt", "animals/cat.png", "animals/cat.txt"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"An owl of another kind.")])
def test_stamps_that_are_not_those_that_were_fetched_are_refused(stamps, name, damage):
    load_corpus("stamps")
    damage(stamps / name)
    with pytest.raises(DataError, match=f"stamps/{name}: is .*; delete the folder .*stamps and run"):
        load_corpus("stamps")


def test_openclipart_is_only_made_of_what_was_fetched(clipart):
    first = load_corpus("openclipart")
    drawing = clipart[0] / "animals/hawk.svg"
    drawing.write_bytes(drawing.read_bytes().replace(b"Hawk", b"Duck"))
    assert load_corpus("openclipart") == first, "the pairs that were made of the right files stay"
    (clipart[0].parents[1] / "openclipart.json").unlink()
    with pytest.raises(DataError, match=r"animals/hawk\.svg: is not what was fetched; delete the folder"):
        load_corpus("openclipart")


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(path.read_bytes()[:-1]), Path.unlink])
def test_a_damaged_picture_of_openclipart_is_an_error_and_no_smaller_corpus(clipart, harm):
    load_corpus("openclipart")
    harm(clipart[1] / "animals/hawk.png")
    with pytest.raises(DataError, match=r"animals/hawk\.png: is .*; delete the folder .* and run `vtm fetch"):
        load_corpus("openclipart")


def test_unknown_language_lists_the_available_ones(stamps):
    assert load_corpus("stamps", lang="de").name == "stamps-de"
    with pytest.raises(ConfigError, match=r"'xx'; available: de, en, pt_BR$"):
        load_corpus("stamps", lang="xx")


def real(name: str, **options) -> Corpus:
    for artifact in fetching.artifacts_for([f"corpus:{name}"]):
        if not fetching.is_fetched(artifact.name):
            pytest.skip(f"{artifact.name} is not in the data folder; `vtm prefetch` gets it")
    return load_corpus(name, **options)


@pytest.mark.data
def test_real_openclipart():
    corpus = real("openclipart")
    assert len(corpus) + len(corpus.dropped) == 8121
    assert 2200 < len(corpus) < 2700
    assert len(set(corpus.image_hashes)) == len(corpus) == len({text.lower() for text in corpus.texts})
    assert set(corpus.drop_counts()) == {
        "template-title",
        "near-empty-text",
        "huge-picture",
        "blank-picture",
        "identical-picture",
        "duplicate-text",
    }
    for text in corpus.texts:
        assert not re.search(r"@|https?:|www\.|HASH|0x[0-9a-f]{5}|Open Clip Art|svg\+xml|<\w|&\w+;", text), (
            text
        )
        assert not re.search(r"Gerald G|Buculei|Benji Park|Horkan|Rollandin|Balin\b|Vasamaa", text, re.I), (
            text
        )
    assert all(path.is_file() for path in corpus.images)
    by_id = dict(zip(corpus.ids, corpus.texts, strict=True))
    assert by_id["signs_and_symbols/flags/america/haiti"].startswith(
        "Haiti. united nations member, caribbean"
    )


@pytest.mark.data
@pytest.mark.parametrize("lang", ["en", "de", "ja"])
def test_real_stamps(lang):
    corpus = real("stamps", lang=lang)
    assert len(corpus) > 550 and len(set(corpus.image_hashes)) == len(corpus)
    owl = dict(zip(corpus.ids, corpus.texts, strict=True))["animals/birds/owl"]
    assert owl == {"en": "An owl.", "de": "Eine Eule.", "ja": "フクロウ"}.get(lang)
