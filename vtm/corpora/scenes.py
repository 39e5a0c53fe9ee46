"""Pictures drawn by vtm itself, with captions: a corpus in seconds, for tests and smoke runs."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtm.corpora import base, scene_parts, scene_themes
from vtm.corpora.base import Corpus, same_words
from vtm.corpora.scene_parts import COLOURS
from vtm.corpora.scene_themes import THEMES, Theme
from vtm.errors import ConfigError
from vtm.files import atomic_path, hash_file, hash_json, read_current, write_sealed
from vtm.paths import data_dir

SOURCE = "drawn by vtm from a seed"
SIZE = 96  # pixels
OVERSAMPLING = 4
COUNTS = ("one", "two", "three", "four")
PLACES = {"on the left": (0.06, 0.5), "on the right": (0.5, 0.94), "in the middle": (0.28, 0.72)}
MAX_ATTEMPTS = 200


@dataclass(frozen=True)
class Item:
    """Some equal things in one place of a scene."""

    thing: str
    colour: str
    count: int
    place: str


def load(*, n: int = 400, seed: int = 0) -> Corpus:
    """`n` different scenes of eight themes, drawn the first time and read afterwards.

    A caption names the things in the picture with their number, colour and place, and adds words of the
    theme that the picture does not show one by one. Scene i is the same for every `n`. Group: the theme.

    Parameters
    ----------
    n
        Number of scenes, from 1 to 100,000.
    seed
        Another seed, other scenes.

    Raises
    ------
    ConfigError
        `n` or `seed` is not such a number.
    """
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= 100_000:
        raise ConfigError(f"scenes: n is {n!r}; give a whole number from 1 to 100000")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ConfigError(f"scenes: seed is {seed!r}; give a whole number")
    folder = data_dir() / "corpora" / f"scenes-{n}-{seed}"
    listing = folder / "scenes.json"
    modules = (__file__, base.__file__, scene_parts.__file__, scene_themes.__file__)
    key = hash_json([n, seed, *map(hash_file, modules)])
    stored = read_current(listing, key)
    if stored is None or not _whole(folder, stored["scenes"]):
        scenes = []
        for scene in _scenes(n, seed):
            picture = scene.pop("picture")
            with atomic_path(folder / f"{scene['id']}.png") as temporary:
                temporary.write_bytes(picture)
            scenes.append(scene)
        stored = {"key": key, "scenes": scenes}
        write_sealed(listing, stored)  # last: a folder with this file is complete
    scenes = stored["scenes"]
    return Corpus(
        name=f"scenes-{n}-{seed}",
        ids=tuple(scene["id"] for scene in scenes),
        texts=tuple(scene["text"] for scene in scenes),
        images=tuple(folder / f"{scene['id']}.png" for scene in scenes),
        image_hashes=tuple(scene["image_hash"] for scene in scenes),
        groups=tuple(scene["group"] for scene in scenes),
        source=SOURCE,
    )


def _whole(folder: Path, scenes: list[dict[str, Any]]) -> bool:
    """Whether every picture is there as it was drawn."""
    try:
        return all(hash_file(folder / f"{scene['id']}.png") == scene["image_hash"] for scene in scenes)
    except OSError:
        return False


def _scenes(n: int, seed: int) -> Iterator[dict[str, Any]]:
    """Draw `n` scenes one by one, no two with the same words or the same picture."""
    names = list(THEMES)
    seen: set[str] = set()
    for index in range(n):
        name = names[index % len(names)]
        for attempt in range(MAX_ATTEMPTS):
            # A string seeds Random by its SHA-512: the same on every machine.
            rng = random.Random(f"scenes {seed} {index} {attempt}")
            items = _compose(THEMES[name], rng)
            text = _caption(THEMES[name], items, rng)
            picture = _draw(THEMES[name], items, rng)
            image_hash = hashlib.sha256(picture).hexdigest()
            if not {same_words(text), image_hash} & seen:
                break
        else:
            raise ConfigError(f"scenes: there are no {n} different scenes; give a smaller n")
        seen |= {same_words(text), image_hash}
        scene = {"id": f"scene-{index:05d}", "text": text, "group": name, "image_hash": image_hash}
        yield {**scene, "picture": picture}


def _compose(theme: Theme, rng: random.Random) -> list[Item]:
    places = rng.sample(["on the left", "on the right"], 2) if rng.random() < 0.75 else ["in the middle"]
    things = rng.sample(sorted(theme.things), len(places))
    return [
        Item(thing, rng.choice(theme.things[thing].colours), rng.choice((1, 1, 2, 2, 3, 4)), place)
        for thing, place in zip(things, places, strict=True)
    ]


def _caption(theme: Theme, items: list[Item], rng: random.Random) -> str:
    told = []
    for item in items:
        thing = theme.things[item.thing]
        noun = item.thing if item.count == 1 else thing.plural
        told.append(f"{COUNTS[item.count - 1]} {item.colour} {noun} {item.place}")
    opening = (
        rng.choice(("", "", "a drawing with ", "a picture of ", "we see ", "here are "))
        if len(told) > 1
        else ""
    )
    setting = rng.choice(theme.settings)
    sentences = [f"{opening}{' and '.join(told)} {setting}", *rng.sample(theme.sentences, rng.choice((1, 2)))]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def _draw(theme: Theme, items: list[Item], rng: random.Random) -> bytes:
    """The scene as a PNG of SIZE x SIZE pixels."""
    from PIL import Image, ImageDraw

    side = SIZE * OVERSAMPLING
    image = Image.new("RGB", (side, side), rng.choice(theme.skies))
    pen = scene_parts.Pen(ImageDraw.Draw(image), side)
    theme.background(pen, rng)
    for item in items:
        thing = theme.things[item.thing]
        left, right = PLACES[item.place]
        # Two columns at most, so that things of the same group never hide each other.
        columns = 1 if item.count == 1 else 2
        rows = (item.count + 1) // 2 if item.count > 1 else 1
        top, bottom = thing.band
        width, height = (right - left) / columns, (bottom - top) / rows
        radius = min(width, height) * rng.uniform(0.36, 0.44)
        for number in range(item.count):
            x = left + width * (number % columns + 0.5) + rng.uniform(-0.05, 0.05) * width
            y = top + height * (number // columns + 0.5) + rng.uniform(-0.04, 0.04) * height
            thing.draw(pen.at(x, y, radius), COLOURS[item.colour])
    stream = io.BytesIO()
    image.reduce(OVERSAMPLING).save(stream, format="PNG")
    return stream.getvalue()
