"""The themes of `scenes`: what each shows, and the words that go with it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from vtm.corpora import scene_parts as parts
from vtm.corpora.scene_parts import Colour, Pen


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
        background=parts.night,
        things={
            "star": Thing("stars", parts.star, ("yellow", "white", "orange")),
            "moon": Thing("moons", parts.moon, ("yellow", "white", "grey", "orange")),
            "planet": Thing(
                "planets", parts.planet, ("red", "blue", "green", "orange", "purple", "turquoise")
            ),
            "rocket": Thing("rockets", parts.rocket, ("red", "white", "blue", "green", "grey")),
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
        background=parts.ground((44, 122, 176), 0.5),
        things={
            "boat": Thing("boats", parts.boat, ("red", "blue", "green", "brown", "white"), (0.22, 0.72)),
            "fish": Thing("fish", parts.fish, ("orange", "yellow", "red", "pink", "turquoise"), (0.52, 0.96)),
            "lighthouse": Thing(
                "lighthouses", parts.lighthouse, ("red", "blue", "black", "green"), (0.08, 0.7)
            ),
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
        background=parts.road,
        things={
            "house": Thing(
                "houses", parts.house, ("red", "yellow", "white", "orange", "pink", "brown"), (0.2, 0.8)
            ),
            "car": Thing(
                "cars", parts.car, ("red", "blue", "green", "yellow", "black", "white"), (0.52, 0.96)
            ),
            "bus": Thing("buses", parts.bus, ("yellow", "red", "green", "orange", "purple"), (0.42, 0.94)),
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
        background=parts.ground((126, 188, 98), 0.62),
        things={
            "flower": Thing(
                "flowers", parts.flower, ("red", "yellow", "pink", "purple", "white", "blue"), (0.36, 0.94)
            ),
            "butterfly": Thing(
                "butterflies", parts.butterfly, ("orange", "blue", "yellow", "pink", "white"), (0.06, 0.6)
            ),
            "tree": Thing("trees", parts.tree, ("green", "orange", "yellow", "turquoise"), (0.1, 0.84)),
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
        background=parts.ground((186, 138, 92), 0.74),
        things={
            "cup": Thing("cups", parts.cup, ("white", "blue", "red", "green", "turquoise"), (0.3, 0.86)),
            "apple": Thing("apples", parts.apple, ("red", "green", "yellow"), (0.36, 0.9)),
            "cake": Thing("cakes", parts.cake, ("pink", "white", "brown", "yellow", "purple"), (0.26, 0.88)),
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
        background=parts.snow,
        things={
            "snowman": Thing(
                "snowmen", parts.snowman, ("red", "blue", "black", "purple", "green"), (0.2, 0.92)
            ),
            "fir": Thing("firs", parts.fir, ("green", "turquoise", "white"), (0.12, 0.92)),
            "mitten": Thing("mittens", parts.mitten, ("red", "blue", "yellow", "purple", "pink"), (0.2, 0.9)),
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
        background=parts.ground((150, 84, 74), 0.82),
        things={
            "drum": Thing("drums", parts.drum, ("red", "blue", "green", "yellow", "purple"), (0.2, 0.9)),
            "guitar": Thing(
                "guitars", parts.guitar, ("brown", "orange", "red", "black", "turquoise"), (0.12, 0.92)
            ),
            "note": Thing("notes", parts.note, ("black", "purple", "blue", "red"), (0.06, 0.74)),
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
        background=parts.paper,
        things={
            "circle": Thing("circles", parts.circle, ("red", "blue", "green", "yellow", "black", "purple")),
            "square": Thing("squares", parts.square, ("red", "blue", "orange", "turquoise", "black", "pink")),
            "triangle": Thing(
                "triangles", parts.triangle, ("red", "blue", "green", "yellow", "purple", "grey")
            ),
            "hexagon": Thing(
                "hexagons", parts.hexagon, ("orange", "blue", "green", "turquoise", "pink", "grey")
            ),
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
