"""Pictures drawn by vtm itself, with captions: a corpus in seconds, for tests and smoke runs."""

from __future__ import annotations

import hashlib
import io
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtm.corpora.base import Corpus, Pair, same_words
from vtm.errors import ConfigError
from vtm.files import atomic_path, code_hash, data_dir, hash_file, hash_json, read_current, write_sealed

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (214, 55, 58), "blue": (52, 104, 201), "green": (66, 150, 78), "yellow": (247, 205, 70),
    "orange": (240, 140, 50), "purple": (134, 82, 168), "white": (250, 250, 246), "pink": (238, 140, 175),
    "brown": (140, 94, 60), "grey": (140, 146, 156), "black": (40, 40, 48), "turquoise": (60, 180, 178),
}  # fmt: skip
DARK, WOOD, LEAF, GLASS = (50, 50, 60), (120, 80, 50), (70, 140, 74), (200, 228, 240)


@dataclass(frozen=True)
class Pen:
    """Draws in units of `radius` around a centre; y grows downwards, and the whole picture is 0..1."""

    draw: Any  # PIL.ImageDraw.ImageDraw
    side: int
    x: float = 0.0
    y: float = 0.0
    radius: float = 1.0

    def at(self, x: float, y: float, radius: float) -> Pen:
        return Pen(self.draw, self.side, x, y, radius)

    def _points(self, points: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
        def pixel(centre: float, offset: float) -> int:
            return round((centre + self.radius * offset) * self.side)

        return [(pixel(self.x, x), pixel(self.y, y)) for x, y in points]

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        self.draw.rectangle(self._points([(x0, y0), (x1, y1)]), fill=colour)

    def oval(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        self.draw.ellipse(self._points([(x0, y0), (x1, y1)]), fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.oval(x - radius, y - radius, x + radius, y + radius, colour)

    def shape(self, *points: tuple[float, float], colour: Colour) -> None:
        self.draw.polygon(self._points(points), fill=colour)

    def line(self, *points: tuple[float, float], colour: Colour, width: float = 0.1) -> None:
        self.draw.line(
            self._points(points), fill=colour, width=max(2, round(width * self.radius * self.side))
        )

    def star(self, corners: int, inner: float, colour: Colour) -> None:
        """A star, or with `inner` = 1 a regular polygon of twice as many corners."""
        turns = [(math.pi * k / corners - math.pi / 2, inner if k % 2 else 1.0) for k in range(2 * corners)]
        self.shape(*((r * math.cos(angle), r * math.sin(angle)) for angle, r in turns), colour=colour)


def shade(colour: Colour, factor: float) -> Colour:
    return tuple(min(255, round(channel * factor)) for channel in colour)  # type: ignore[return-value]


def star(p: Pen, c: Colour) -> None:
    p.star(5, 0.42, c)


def moon(p: Pen, c: Colour) -> None:
    p.disc(0, 0, 0.95, c)
    for x, y, r in ((-0.35, -0.3, 0.22), (0.35, 0.1, 0.28), (-0.15, 0.5, 0.16)):
        p.disc(x, y, r, shade(c, 0.85))


def planet(p: Pen, c: Colour) -> None:
    p.disc(0, 0, 0.65, c)
    p.oval(-0.6, -0.15, 0.6, 0.1, shade(c, 0.8))
    p.line((-1, 0.3), (1, -0.3), colour=shade(c, 1.3), width=0.12)


def rocket(p: Pen, c: Colour) -> None:
    p.shape((-0.25, 0.55), (0.25, 0.55), (0, 1), colour=COLOURS["orange"])
    p.shape((-0.6, 0.65), (0, -0.1), (0.6, 0.65), colour=shade(c, 0.7))
    p.oval(-0.33, -1, 0.33, 0.7, c)
    p.disc(0, -0.3, 0.16, GLASS)


def boat(p: Pen, c: Colour) -> None:
    p.box(-0.05, -0.9, 0.05, 0.4, WOOD)
    p.shape((0.1, -0.85), (0.1, 0.25), (0.8, 0.25), colour=(252, 250, 240))
    p.shape((-0.1, -0.6), (-0.1, 0.25), (-0.65, 0.25), colour=(236, 232, 218))
    p.shape((-0.95, 0.35), (0.95, 0.35), (0.6, 0.85), (-0.6, 0.85), colour=c)


def fish(p: Pen, c: Colour) -> None:
    p.shape((0.3, 0), (0.95, -0.5), (0.95, 0.5), colour=shade(c, 0.8))
    p.oval(-0.95, -0.5, 0.5, 0.5, c)
    p.disc(-0.55, -0.12, 0.11, (255, 255, 255))
    p.disc(-0.57, -0.12, 0.06, DARK)


def lighthouse(p: Pen, c: Colour) -> None:
    p.shape((-0.35, 1), (-0.22, -0.5), (0.22, -0.5), (0.35, 1), colour=(250, 250, 246))
    p.shape((-0.31, 0.6), (-0.27, 0.15), (0.27, 0.15), (0.31, 0.6), colour=c)
    p.box(-0.2, -0.75, 0.2, -0.5, COLOURS["yellow"])
    p.shape((-0.32, -0.72), (0.32, -0.72), (0, -1), colour=c)


def house(p: Pen, c: Colour) -> None:
    p.box(-0.75, -0.2, 0.75, 0.9, c)
    p.shape((-0.95, -0.2), (0.95, -0.2), (0, -0.95), colour=shade(c, 0.6))
    p.box(-0.15, 0.3, 0.2, 0.9, WOOD)
    p.box(-0.58, 0.05, -0.28, 0.38, GLASS)
    p.box(0.35, 0.05, 0.62, 0.38, GLASS)


def car(p: Pen, c: Colour) -> None:
    p.shape((-0.55, -0.05), (-0.35, -0.5), (0.3, -0.5), (0.55, -0.05), colour=shade(c, 0.85))
    p.shape((-0.4, -0.08), (-0.27, -0.4), (0.23, -0.4), (0.4, -0.08), colour=GLASS)
    p.box(-0.95, -0.1, 0.95, 0.38, c)
    for x in (-0.5, 0.5):
        p.disc(x, 0.4, 0.24, DARK)
        p.disc(x, 0.4, 0.1, COLOURS["grey"])


def bus(p: Pen, c: Colour) -> None:
    p.box(-0.95, -0.7, 0.95, 0.5, c)
    for x in (-0.8, -0.35, 0.1, 0.55):
        p.box(x, -0.5, x + 0.28, -0.1, GLASS)
    for x in (-0.5, 0.5):
        p.disc(x, 0.5, 0.22, DARK)


def flower(p: Pen, c: Colour) -> None:
    p.line((0, 0), (0, 1), colour=LEAF, width=0.12)
    p.oval(0, 0.5, 0.5, 0.75, LEAF)
    for k in range(6):
        p.disc(0.38 * math.cos(k * math.pi / 3), 0.38 * math.sin(k * math.pi / 3) - 0.35, 0.27, c)
    p.disc(0, -0.35, 0.24, shade(c, 0.55))


def butterfly(p: Pen, c: Colour) -> None:
    for x in (-1, 1):
        p.oval(min(0, x * 0.9), -0.8, max(0, x * 0.9), 0.1, c)
        p.oval(min(0, x * 0.7), -0.05, max(0, x * 0.7), 0.7, shade(c, 0.75))
    p.oval(-0.1, -0.7, 0.1, 0.7, DARK)


def tree(p: Pen, c: Colour) -> None:
    p.box(-0.14, 0.2, 0.14, 1, WOOD)
    for x, y in ((-0.4, -0.1), (0.4, -0.1), (0, -0.5)):
        p.disc(x, y, 0.48, c)


def cup(p: Pen, c: Colour) -> None:
    p.disc(0.6, 0.05, 0.36, shade(c, 0.8))
    p.disc(0.6, 0.05, 0.2, (246, 236, 214))
    p.shape((-0.7, -0.5), (0.6, -0.5), (0.45, 0.7), (-0.55, 0.7), colour=c)
    p.oval(-0.7, -0.65, 0.6, -0.35, shade(c, 0.6))


def apple(p: Pen, c: Colour) -> None:
    p.disc(-0.25, 0.15, 0.6, c)
    p.disc(0.25, 0.15, 0.6, c)
    p.line((0, -0.3), (0.1, -0.8), colour=WOOD, width=0.12)
    p.oval(0.1, -0.8, 0.6, -0.5, LEAF)


def cake(p: Pen, c: Colour) -> None:
    p.box(-0.85, 0.05, 0.85, 0.75, (226, 188, 130))
    p.box(-0.85, -0.2, 0.85, 0.2, c)
    for x in (-0.6, -0.2, 0.2, 0.6):
        p.disc(x, 0.2, 0.18, c)
    for x in (-0.4, 0, 0.4):
        p.box(x - 0.05, -0.6, x + 0.05, -0.2, (250, 250, 246))
        p.disc(x, -0.68, 0.1, COLOURS["orange"])


def snowman(p: Pen, c: Colour) -> None:
    white = (252, 253, 255)
    p.disc(0, 0.5, 0.5, white)
    p.disc(0, -0.2, 0.36, white)
    p.box(-0.36, 0, 0.36, 0.16, c)
    p.box(-0.3, -0.95, 0.3, -0.5, c)
    p.box(-0.5, -0.55, 0.5, -0.45, c)
    p.disc(-0.12, -0.28, 0.05, DARK)
    p.disc(0.12, -0.28, 0.05, DARK)
    p.shape((0, -0.2), (0, -0.1), (0.3, -0.12), colour=COLOURS["orange"])


def fir(p: Pen, c: Colour) -> None:
    p.box(-0.12, 0.7, 0.12, 1, WOOD)
    for top, width in ((-1, 0.45), (-0.55, 0.62), (-0.05, 0.8)):
        p.shape((-width, top + 0.8), (width, top + 0.8), (0, top), colour=c)


def mitten(p: Pen, c: Colour) -> None:
    p.oval(-0.55, -0.9, 0.4, 0.6, c)
    p.oval(0.1, -0.35, 0.8, 0.25, c)
    p.box(-0.5, 0.4, 0.35, 0.85, shade(c, 0.65))


def drum(p: Pen, c: Colour) -> None:
    p.box(-0.8, -0.3, 0.8, 0.6, c)
    p.oval(-0.8, 0.4, 0.8, 0.85, c)
    p.oval(-0.8, -0.55, 0.8, -0.05, (248, 242, 226))
    p.line((-0.6, -0.95), (0, -0.35), colour=WOOD, width=0.12)
    p.line((0.7, -0.95), (0.15, -0.35), colour=WOOD, width=0.12)


def guitar(p: Pen, c: Colour) -> None:
    p.box(-0.09, -1, 0.09, 0.2, WOOD)
    p.disc(0, 0.1, 0.38, c)
    p.disc(0, 0.52, 0.48, c)
    p.disc(0, 0.3, 0.17, DARK)


def note(p: Pen, c: Colour) -> None:
    p.oval(-0.75, 0.4, -0.2, 0.85, c)
    p.oval(0.25, 0.25, 0.8, 0.7, c)
    p.shape((-0.33, -0.75), (0.8, -0.95), (0.8, -0.65), (-0.33, -0.45), colour=c)
    p.box(-0.33, -0.7, -0.2, 0.6, c)
    p.box(0.67, -0.85, 0.8, 0.45, c)


def circle(p: Pen, c: Colour) -> None:
    p.disc(0, 0, 0.9, c)


def square(p: Pen, c: Colour) -> None:
    p.box(-0.8, -0.8, 0.8, 0.8, c)


def triangle(p: Pen, c: Colour) -> None:
    p.shape((0, -0.9), (0.95, 0.75), (-0.95, 0.75), colour=c)


def hexagon(p: Pen, c: Colour) -> None:
    p.star(3, 1.0, c)


def night(p: Pen, rng: random.Random) -> None:
    for _ in range(rng.randint(12, 30)):
        p.disc(rng.random(), rng.random(), rng.uniform(0.003, 0.007), (230, 232, 250))


def ground(colour: Colour, top: float) -> Callable[[Pen, random.Random], None]:
    def background(p: Pen, rng: random.Random) -> None:
        p.box(0, top + rng.uniform(-0.03, 0.03), 1, 1, shade(colour, rng.uniform(0.92, 1.05)))

    return background


def road(p: Pen, rng: random.Random) -> None:
    top = 0.76 + rng.uniform(-0.02, 0.02)
    p.box(0, top, 1, 1, (108, 110, 118))
    for k in range(5):
        p.box(0.2 * k + 0.05, top + 0.12, 0.2 * k + 0.15, top + 0.14, (244, 240, 220))


def snow(p: Pen, rng: random.Random) -> None:
    p.oval(-0.5, 0.6 + rng.uniform(-0.04, 0.04), 1.5, 1.8, (240, 246, 252))
    for _ in range(rng.randint(15, 35)):
        p.disc(rng.random(), rng.random(), 0.009, (252, 254, 255))


def paper(p: Pen, rng: random.Random) -> None:
    step = rng.choice((0.1, 0.125))
    for k in range(1, round(1 / step)):
        p.line((k * step, 0), (k * step, 1), colour=(222, 228, 236), width=0.004)
        p.line((0, k * step), (1, k * step), colour=(222, 228, 236), width=0.004)


@dataclass(frozen=True)
class Thing:
    """`band` is the part of the picture's height, from the top, where the thing may stand."""

    plural: str
    draw: Callable[[Pen, Colour], None]
    colours: tuple[str, ...]
    band: tuple[float, float] = (0.08, 0.92)


@dataclass(frozen=True)
class Theme:
    """`settings` end the sentence that names the things; `sentences` add words that go with the theme."""

    skies: tuple[Colour, ...]
    background: Callable[[Pen, random.Random], None]
    things: dict[str, Thing]
    settings: tuple[str, ...]
    sentences: tuple[str, ...]


THEMES: dict[str, Theme] = {
    "space": Theme(
        skies=((24, 28, 62), (32, 24, 58), (18, 34, 60)),
        background=night,
        things={
            "star": Thing("stars", star, ("yellow", "white", "orange")),
            "moon": Thing("moons", moon, ("yellow", "white", "grey", "orange")),
            "planet": Thing("planets", planet, ("red", "blue", "green", "orange", "purple", "turquoise")),
            "rocket": Thing("rockets", rocket, ("red", "white", "blue", "green", "grey")),
        },
        settings=("in the night sky", "in dark space", "far above the earth", "among the galaxies"),
        sentences=(
            "the telescope follows an orbit",
            "an astronaut dreams of a galaxy",
            "astronomy begins after midnight",
            "a comet passes the observatory",
            "gravity holds the orbit",
            "the launch lights the dark sky",
            "the astronaut counts the constellations",
            "a satellite crosses the night",
        ),
    ),
    "sea": Theme(
        skies=((150, 206, 236), (176, 220, 240), (250, 214, 170)),
        background=ground((44, 122, 176), 0.5),
        things={
            "boat": Thing("boats", boat, ("red", "blue", "green", "brown", "white"), (0.22, 0.72)),
            "fish": Thing("fish", fish, ("orange", "yellow", "red", "pink", "turquoise"), (0.52, 0.96)),
            "lighthouse": Thing("lighthouses", lighthouse, ("red", "blue", "black", "green"), (0.08, 0.7)),
        },
        settings=("by the sea", "on the ocean", "near the harbour", "in the waves"),
        sentences=(
            "the captain watches the tide",
            "sailors wait for the wind",
            "salt water washes the beach",
            "a gull cries over the harbour",
            "the waves carry the anchor",
            "the ocean current is strong",
            "sailors mend the nets on the shore",
            "the tide leaves shells on the beach",
        ),
    ),
    "street": Theme(
        skies=((198, 222, 240), (222, 226, 232), (244, 214, 190)),
        background=road,
        things={
            "house": Thing(
                "houses", house, ("red", "yellow", "white", "orange", "pink", "brown"), (0.2, 0.8)
            ),
            "car": Thing("cars", car, ("red", "blue", "green", "yellow", "black", "white"), (0.52, 0.96)),
            "bus": Thing("buses", bus, ("yellow", "red", "green", "orange", "purple"), (0.42, 0.94)),
        },
        settings=("in the street", "in the town", "along the road", "in the city traffic"),
        sentences=(
            "the driver waits at the crossing",
            "traffic stops at the corner",
            "neighbours talk on the pavement",
            "the city wakes to the traffic",
            "a passenger looks for the station",
            "the mayor opens a new road",
            "the driver turns at the town hall",
            "parking is difficult in the city",
        ),
    ),
    "garden": Theme(
        skies=((204, 232, 246), (226, 240, 226), (252, 238, 200)),
        background=ground((126, 188, 98), 0.62),
        things={
            "flower": Thing(
                "flowers", flower, ("red", "yellow", "pink", "purple", "white", "blue"), (0.36, 0.94)
            ),
            "butterfly": Thing(
                "butterflies", butterfly, ("orange", "blue", "yellow", "pink", "white"), (0.06, 0.6)
            ),
            "tree": Thing("trees", tree, ("green", "orange", "yellow", "turquoise"), (0.1, 0.84)),
        },
        settings=("in the garden", "on the meadow", "behind the fence", "in the spring sunshine"),
        sentences=(
            "the gardener waters the seeds",
            "bees gather pollen",
            "roots grow in warm soil",
            "petals open in the sunshine",
            "the meadow smells of grass",
            "the gardener cuts the hedge",
            "blossom and leaves follow the rain",
            "bees visit every blossom",
        ),
    ),
    "kitchen": Theme(
        skies=((246, 236, 214), (250, 228, 206), (232, 240, 226)),
        background=ground((186, 138, 92), 0.74),
        things={
            "cup": Thing("cups", cup, ("white", "blue", "red", "green", "turquoise"), (0.3, 0.86)),
            "apple": Thing("apples", apple, ("red", "green", "yellow"), (0.36, 0.9)),
            "cake": Thing("cakes", cake, ("pink", "white", "brown", "yellow", "purple"), (0.26, 0.88)),
        },
        settings=("on the kitchen table", "for breakfast", "at the bakery", "beside the oven"),
        sentences=(
            "the cook tastes the recipe",
            "flour and sugar wait in a bowl",
            "the oven is hot",
            "dessert comes after dinner",
            "breakfast smells of coffee",
            "the baker stirs butter and sugar",
            "a spoon of honey makes it sweet",
            "the recipe needs flour and eggs",
        ),
    ),
    "winter": Theme(
        skies=((176, 206, 232), (196, 212, 234), (148, 176, 212)),
        background=snow,
        things={
            "snowman": Thing("snowmen", snowman, ("red", "blue", "black", "purple", "green"), (0.2, 0.92)),
            "fir": Thing("firs", fir, ("green", "turquoise", "white"), (0.12, 0.92)),
            "mitten": Thing("mittens", mitten, ("red", "blue", "yellow", "purple", "pink"), (0.2, 0.9)),
        },
        settings=("in the snow", "on a cold winter day", "in the frost", "below the icy mountain"),
        sentences=(
            "children pull the sledge",
            "icicles hang from the roof",
            "the frozen lake is quiet",
            "skates glide over the ice",
            "a blizzard comes from the mountain",
            "a warm scarf keeps off the frost",
            "the sledge races down the slope",
            "December brings frozen windows",
        ),
    ),
    "music": Theme(
        skies=((250, 226, 214), (236, 220, 240), (222, 232, 250)),
        background=ground((150, 84, 74), 0.82),
        things={
            "drum": Thing("drums", drum, ("red", "blue", "green", "yellow", "purple"), (0.2, 0.9)),
            "guitar": Thing(
                "guitars", guitar, ("brown", "orange", "red", "black", "turquoise"), (0.12, 0.92)
            ),
            "note": Thing("notes", note, ("black", "purple", "blue", "red"), (0.06, 0.74)),
        },
        settings=("at the concert", "on the stage", "for the orchestra", "in the music room"),
        sentences=(
            "the singer learns the melody",
            "the audience claps the rhythm",
            "the conductor lifts the baton",
            "a choir practises the song",
            "the band plays a loud chord",
            "rhythm and melody fill the hall",
            "the audience knows the song",
            "the orchestra tunes before the concert",
        ),
    ),
    "geometry": Theme(
        skies=((250, 250, 248), (244, 248, 252), (252, 248, 240)),
        background=paper,
        things={
            "circle": Thing("circles", circle, ("red", "blue", "green", "yellow", "black", "purple")),
            "square": Thing("squares", square, ("red", "blue", "orange", "turquoise", "black", "pink")),
            "triangle": Thing("triangles", triangle, ("red", "blue", "green", "yellow", "purple", "grey")),
            "hexagon": Thing("hexagons", hexagon, ("orange", "blue", "green", "turquoise", "pink", "grey")),
        },
        settings=("on squared paper", "in a diagram", "for the geometry lesson", "on the blackboard plan"),
        sentences=(
            "the teacher measures every angle",
            "the compass and the ruler are ready",
            "symmetry needs an axis",
            "the pupils prove a theorem",
            "the diagonal divides the area",
            "the angle equals the other angle",
            "the ruler shows the length",
            "the pupils compute area and perimeter",
        ),
    ),
}


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
    key = hash_json([n, seed, code_hash(__name__, without=("vtm.errors", "vtm.files"))])
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
