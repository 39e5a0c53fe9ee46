"""Open Clip Art as Debian packages it: drawings with the title, description and keywords of their makers."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from vtm.contents import fetch_checked
from vtm.corpora import base, svg_text
from vtm.corpora.base import Corpus, Dropped, Pair, drop_repeats, same_words
from vtm.fetch import ARTIFACTS, fetch
from vtm.files import hash_file, hash_json, read_current, write_sealed
from vtm.paths import data_dir

SOURCE = "Open Clip Art Library 0.18 (Debian packages openclipart-svg and openclipart-png); public domain"
TEMPLATE_SHARE = 20  # a title or description of this many pictures is a template
MIN_WORDS = 3  # distinct content words of 3 letters or more
MAX_PIXELS = 20_000_000
# Words of three letters and more that say nothing of a picture; nearly all texts are English.
FUNCTION_WORDS = frozenset(
    "the and for with from this that these those are was were has have had not but its his her their our "
    "your one two can will all any some use used using very just more most other into out off over under "
    "about like which who what when where you they them then than there here also only made make may "
    "been being image picture drawing".split()
)


def load() -> Corpus:
    """The usable pairs: some 2,500 of 8,121 pictures.

    Drawings and pictures are compared with the packages' when the pairs are made of them; these are kept under a
    seal, with the hash of each picture, which `vtm.encoders.embed_images` compares before it embeds one.

    Text: title, description and keywords. Group: the top folder of the library, a gold category.
    Dropped, in this order: `no-metadata`; `template-title`, a title shared by 20 or more pictures;
    `near-empty-text`, fewer than 3 distinct content words; `unreadable-picture`; `huge-picture`, more than 20
    megapixels by the file's header; `identical-picture`, the same file content as an earlier id's; and
    `duplicate-text`, the same words in the same order as an earlier id's.

    Raises
    ------
    MissingError
        The packages cannot be fetched.
    DataError
        A file is not the packages'.
    """
    svg, png = fetch("openclipart-svg"), fetch("openclipart-png")
    # What was computed is only reused with the same data and the same code.
    code = [hash_file(module) for module in (__file__, base.__file__, svg_text.__file__)]
    key = hash_json([ARTIFACTS["openclipart-svg"].sha256, ARTIFACTS["openclipart-png"].sha256, code])
    cache = data_dir() / "corpora" / "openclipart.json"
    stored = read_current(cache, key)
    if stored is None:
        for name in ("openclipart-svg", "openclipart-png"):
            fetch_checked(name)
        stored = {"key": key, **_build(svg, png)}
        write_sealed(cache, stored)
    pairs = stored["pairs"]
    return Corpus(
        name="openclipart",
        ids=tuple(pair["id"] for pair in pairs),
        texts=tuple(pair["text"] for pair in pairs),
        images=tuple(png / f"{pair['id']}.png" for pair in pairs),
        image_hashes=tuple(pair["image_hash"] for pair in pairs),
        groups=tuple(pair["group"] for pair in pairs),
        dropped=tuple(Dropped(*item) for item in stored["dropped"]),
        source=SOURCE,
    )


def _build(svg: Path, png: Path) -> dict[str, Any]:
    """Read all drawings' metadata and pictures; see `load` for the order of the drops."""
    files = {path.relative_to(svg).with_suffix("").as_posix(): path for path in svg.rglob("*.svg")}
    read = {stem: svg_text.read_metadata(files[stem].read_bytes()) for stem in sorted(files)}
    found = {stem: metadata for stem, metadata in read.items() if metadata is not None}
    dropped = [Dropped(stem, "no-metadata") for stem in read if stem not in found]

    names = svg_text.names_pattern(metadata.agents for metadata in found.values())
    titles = Counter(same_words(metadata.title) for metadata in found.values())
    descriptions = Counter(same_words(metadata.description) for metadata in found.values())
    pairs = []
    for stem, metadata in found.items():
        title = same_words(metadata.title)
        if title and titles[title] >= TEMPLATE_SHARE:
            dropped.append(Dropped(stem, "template-title", metadata.title.strip()))
            continue
        told = descriptions[same_words(metadata.description)] < TEMPLATE_SHARE
        text = svg_text.plain_text(metadata, stem=stem, names=names, with_description=told)
        if len(content_words(text)) < MIN_WORDS:
            dropped.append(Dropped(stem, "near-empty-text", text))
            continue
        pair = Pair(id=stem, text=text, image=png / f"{stem}.png", group=stem.split("/")[0])
        if drop := _unusable(pair):
            dropped.append(drop)
        else:
            pairs.append(pair)
    pairs = [Pair(p.id, p.text, p.image, p.group, hash_file(p.image)) for p in pairs]
    pairs, identical = drop_repeats(pairs, lambda pair: pair.image_hash, "identical-picture")
    pairs, duplicate = drop_repeats(pairs, lambda pair: same_words(pair.text), "duplicate-text")
    return {
        "pairs": [{"id": p.id, "text": p.text, "group": p.group, "image_hash": p.image_hash} for p in pairs],
        "dropped": [[drop.id, drop.reason, drop.detail] for drop in [*dropped, *identical, *duplicate]],
    }


def content_words(text: str) -> set[str]:
    """Distinct words of at least three letters that are not function words."""
    return set(re.findall(r"[^\W\d_]{3,}", text.lower())) - FUNCTION_WORDS


def _unusable(pair: Pair) -> Dropped | None:
    """Judge a picture by its header: some have 231 megapixels, and must not be decoded to learn that."""
    try:
        with open(pair.image, "rb") as stream:
            header = stream.read(24)
    except OSError as error:
        return Dropped(pair.id, "unreadable-picture", error.strerror or str(error))
    # Signature, length and type of the first chunk, width, height (PNG specification, 5.2 and 11.2.2).
    if len(header) < 24 or header[:8] != b"\x89PNG\r\n\x1a\n" or header[12:16] != b"IHDR":
        return Dropped(pair.id, "unreadable-picture", "not a PNG file")
    width, height = int.from_bytes(header[16:20]), int.from_bytes(header[20:24])
    if width * height > MAX_PIXELS:
        return Dropped(pair.id, "huge-picture", f"{width} x {height} pixels")
    return None
