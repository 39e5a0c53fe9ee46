"""Pictures drawn by vtm itself, with captions: a corpus in seconds, for tests and smoke runs."""

from __future__ import annotations

import hashlib
import io
import math
import random
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from vtm.corpora.base import Corpus, Pair, same_words
from vtm.errors import ConfigError
from vtm.files import atomic_path, code_hash, data_dir, hash_file, hash_json, read_current, write_sealed

Colour = tuple[int, int, int]

DRAWINGS = Path(__file__).with_suffix(".toml")
_DRAWN = tomllib.loads(DRAWINGS.read_text(encoding="utf-8"))
_COLOURS: dict[str, Colour] = {
    name: tuple(colour) for name, colour in (_DRAWN["colours"] | _DRAWN["shades"]).items()
}


@dataclass(frozen=True)
class Thing:
    """`drawing` is shapes, and `band` the part of the picture's height where it may stand, as the file explains."""

    plural: str
    colours: list[str]
    drawing: str
    band: tuple[float, float] = (0.08, 0.92)


@dataclass(frozen=True)
class Theme:
    """What the pictures and captions of a theme are made of, as the file explains."""

    skies: list[Colour]
    background: str
    things: dict[str, Thing]
    settings: list[str]
    sentences: list[str]
    ground: Colour | None = None
    horizon: float = 0.0


def _theme(stated: dict[str, Any]) -> Theme:
    things = {name: Thing(**thing) for name, thing in stated["things"].items()}
    return Theme(**{**stated, "skies": [tuple(sky) for sky in stated["skies"]], "things": things})


THEMES = {name: _theme(stated) for name, stated in _DRAWN["themes"].items()}


@dataclass(frozen=True)
class Pen:
    """Draws in units of `radius` around a centre; y grows downwards, and the whole picture is 0..1."""

    draw: Any  # PIL.ImageDraw.ImageDraw
    side: int
    x: float = 0.0
    y: float = 0.0
    radius: float = 1.0

    def shape(self, kind: str, colour: Colour, *numbers: float, width: float = 0.0) -> None:
        """One of the shapes that the file explains."""
        if kind == "ring":
            x, y, radius, n, far = numbers
            for turn in (k * math.tau / n for k in range(round(n))):
                self.shape("disc", colour, far * math.cos(turn) + x, far * math.sin(turn) + y, radius)
        elif kind == "disc":
            x, y, radius = numbers
            self.shape("oval", colour, x - radius, y - radius, x + radius, y + radius)
        elif kind == "star":
            corners, inner = round(numbers[0]), numbers[1]
            turns = [
                (math.pi * k / corners - math.pi / 2, inner if k % 2 else 1.0) for k in range(2 * corners)
            ]
            points = [(r * math.cos(turn), r * math.sin(turn)) for turn, r in turns]
            self.shape("shape", colour, *(number for point in points for number in point))
        else:
            points = list(
                zip(self._pixels(self.x, numbers[::2]), self._pixels(self.y, numbers[1::2]), strict=True)
            )
            if kind == "line":
                thick = max(2, round(width * self.radius * self.side))
                self.draw.line(points, fill=colour, width=thick)
            else:
                kinds = {"box": self.draw.rectangle, "oval": self.draw.ellipse, "shape": self.draw.polygon}
                kinds[kind](points, fill=colour)

    def _pixels(self, centre: float, offsets: Sequence[float]) -> list[int]:
        return [round((centre + self.radius * offset) * self.side) for offset in offsets]

    def thing(self, drawing: str, own: Colour) -> None:
        """A drawing of the file, in its caption's colour."""
        for shape in drawing.split(";"):
            kind, colour, *numbers = shape.split()
            kind, _, width = kind.partition(":")
            name, _, factor = colour.partition("*")
            shaded = shade(own if name == "own" else _COLOURS[name], float(factor or 1))
            self.shape(kind, shaded, *map(float, numbers), width=float(width or 0))


def shade(colour: Colour, factor: float) -> Colour:
    return tuple(min(255, round(channel * factor)) for channel in colour)  # type: ignore[return-value]


def _background(p: Pen, theme: Theme, rng: random.Random) -> None:
    if theme.background == "night":
        for _ in range(rng.randint(12, 30)):
            p.shape("disc", (230, 232, 250), rng.random(), rng.random(), rng.uniform(0.003, 0.007))
    elif theme.background == "ground":
        top = theme.horizon + rng.uniform(-0.03, 0.03)
        p.shape("box", shade(cast("Colour", theme.ground), rng.uniform(0.92, 1.05)), 0, top, 1, 1)
    elif theme.background == "road":
        top = 0.76 + rng.uniform(-0.02, 0.02)
        p.shape("box", (108, 110, 118), 0, top, 1, 1)
        for k in range(5):
            p.shape("box", (244, 240, 220), 0.2 * k + 0.05, top + 0.12, 0.2 * k + 0.15, top + 0.14)
    elif theme.background == "snow":
        p.shape("oval", (240, 246, 252), -0.5, 0.6 + rng.uniform(-0.04, 0.04), 1.5, 1.8)
        for _ in range(rng.randint(15, 35)):
            p.shape("disc", (252, 254, 255), rng.random(), rng.random(), 0.009)
    else:  # squared paper
        step = rng.choice((0.1, 0.125))
        for k in range(1, round(1 / step)):
            p.shape("line", (222, 228, 236), k * step, 0, k * step, 1, width=0.004)
            p.shape("line", (222, 228, 236), 0, k * step, 1, k * step, width=0.004)


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
    n : number of scenes, from 1 to 100,000.
    seed : another seed, other scenes.

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
    code = code_hash(__name__, without=("vtm.errors", "vtm.files"))
    key = hash_json([n, seed, code, hash_file(DRAWINGS)])
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
    pairs = [Pair(image=folder / f"{scene['id']}.png", **scene) for scene in stored["scenes"]]
    return Corpus.of(pairs, name=f"scenes-{n}-{seed}", source=SOURCE)


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
    pen = Pen(ImageDraw.Draw(image), side)
    _background(pen, theme, rng)
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
            Pen(pen.draw, side, x, y, radius).thing(thing.drawing, _COLOURS[item.colour])
    stream = io.BytesIO()
    image.reduce(OVERSAMPLING).save(stream, format="PNG")
    return stream.getvalue()
