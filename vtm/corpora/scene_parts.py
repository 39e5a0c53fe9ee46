"""What scenes are drawn with: colours, a pen, things and backgrounds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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
