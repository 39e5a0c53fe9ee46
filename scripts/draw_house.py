"""Draw docs/architecture.svg: the rooms of the house, and which imports which, from the imports themselves."""

from __future__ import annotations

import tomllib
from itertools import product
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGES = ("vtm", "vtm_study", "benchmarks")
WIDTH, BOX, HEIGHT, STEP = 760, 150, 34, 74

Edges = set[tuple[str, str]]


def floors() -> list[list[str]]:
    """The rooms, from the top floor down: the layers that pyproject.toml states."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = [contract["layers"] for contract in stated["contracts"] if contract["type"] == "layers"]
    return [[room.strip() for room in layer.split("|")] for layer in layers]


def imports(rooms: list[str]) -> Edges:
    """(a, b) where a module of room a imports one of room b; imports inside functions count."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)

    def room_of(module: str) -> str | None:
        return max((room for room in rooms if f"{module}.".startswith(f"{room}.")), key=len, default=None)

    found = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = room_of(module), room_of(imported)
            if None not in pair and pair[0] != pair[1]:
                found.add(pair)
    return found


def reduced(edges: Edges) -> Edges:
    """Without what follows: a to c goes where a reaches b, and b reaches c."""
    nodes = {node for edge in edges for node in edge}
    reached = set(edges)
    for b, a, c in product(nodes, repeat=3):
        if (a, b) in reached and (b, c) in reached:
            reached.add((a, c))
    return {(a, c) for a, c in edges if not any((a, b) in reached and (b, c) in reached for b in nodes)}


def drawn(rows: list[list[str]], edges: Edges) -> str:
    """The picture as SVG: a row of boxes a floor, a line from each room to those it needs directly."""
    places = {
        room: (WIDTH * (column + 1) / (len(row) + 1), STEP * floor + 8)
        for floor, row in enumerate(rows)
        for column, room in enumerate(row)
    }
    # A room alone on its floor stands above those that it needs, so that no line runs behind it.
    for row in reversed(rows):
        below = [places[b][0] for a, b in edges if a == row[0]]
        if len(row) == 1 and below:
            places[row[0]] = (sum(below) / len(below), places[row[0]][1])
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {STEP * len(rows) - 24}" role="img"'
        ' font-family="sans-serif" font-size="15" text-anchor="middle">',
        "<title>The rooms of vtm: a line leads down from a room to one that it imports</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for above, below in sorted(edges):
        (x, y), (u, v) = places[above], places[below]
        bend = (v - y - HEIGHT) / 2
        path = f"M{x:.0f} {y + HEIGHT} C{x:.0f} {y + HEIGHT + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v}"
        lines.append(f'<path d="{path}" fill="none" stroke="#6b7785" stroke-width="1.5"/>')
    for room, (x, y) in places.items():
        lines += [
            f'<rect x="{x - BOX / 2:.0f}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="6" fill="#eef4fb"'
            ' stroke="#33597f"/>',
            f'<text x="{x:.0f}" y="{y + 22}" fill="#10263b">{room}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def picture() -> str:
    rows = floors()
    return drawn(rows, reduced(imports([room for row in rows for room in row])))


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
