"""Open Clip Art as Debian packages it: drawings with the title, description and keywords of their makers.

What a drawing says about itself stands in the metadata of its SVG file, which are made into a plain text.

Only the RDF block of the file is parsed, as a document of its own, with the namespaces that are declared around it: it
holds no document type, so no entity is declared, and none expanded or fetched.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ftfy

from vtm.corpora.base import Corpus, Dropped, Pair, drop_by_looks, drop_repeats, same_words
from vtm.corpora.fetch import ARTIFACTS, fetch, fetch_checked
from vtm.corpora.pictures import looks
from vtm.files import code_hash, data_dir, hash_file, hash_json, kept

DC = "{http://purl.org/dc/elements/1.1/}"
ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
RDF_BLOCK = re.compile(r"<(\w+:)?RDF[\s>].*?</(\w+:)?RDF>", re.DOTALL)
# Of a prefix, as Inkscape has them on <svg>; none with an entity in it.
NAMESPACE = re.compile(r"""\sxmlns:(?!xml)([\w.-]+)\s*=\s*("[^"<&]+"|'[^'<&]+')""")
ENCODING = re.compile(rb"""^\s*<\?xml[^>]*encoding\s*=\s*["']([\w.-]+)""")

# Keywords that say nothing of the picture: remains of the library's upload scripts ("hash", "11"), and names
# of the library and its shelves for the unsorted.
EMPTY_KEYWORDS = frozenset(
    "hash 11 unsorted miscellany misc various openclipart clipart image images media externalsource "
    "unchecked svg png jpg inkscape sodipodi cc none other untitled title".split()
) | {"clip art", "open clip art", "public domain", "signs and symbols weather"}
# Agents that are no persons; their names may be what a drawing shows ("Royal Navy").
ORGANISATION = re.compile(
    r"\b(library|project|domain|clip ?art|navy|army|nasa|museum|code|signals|anonymous|various)\b", re.I
)

LINK = re.compile(
    r"""\S*[\w.+-]+@[\w-]+\.[\w.-]+|\bhttps?://[^\s<>"]+|\bmailto:\S+|\bwww\.[^\s<>"\])]+"""
    r"""|\b[\w-]+(?:\.[\w-]+)*\.(?:com|net|org|info|edu|gov|de|fr|it|br|es|eu|ch|uk)\b(?:/\S*)?""",
    re.I,
)
TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][^<>]*>", re.DOTALL)
TOOL = re.compile(
    r"\b(?:was\s+)?(?:created?|made|drawn|done)\s+(?:with|in|using)\s+(?:the\s+)?(?:inkscape|sodipodi)\b",
    re.I,
)
NAME = r"[A-Z][\w.'’-]*(?:\s+(?:de|da|di|van|von|der|la)\b)?(?:\s+[A-Z][\w.'’-]*){0,3}"
BY_NAME = re.compile(
    rf"(?:\b(?:[Cc]lip ?art|[Cc]reated|[Mm]ade|[Dd]rawn|[Dd]esigned|[Ee]dited|[Dd]istributed|[Dd]rawing)\s+)?"
    rf"\b[Bb]y\s+{NAME}"
)
# A label whose name or address was taken out.
EMPTY_LABEL = re.compile(
    r"\b(?:created(?: by)?|derived from|derivative (?:of|from)|edited from|e-?mail(?: adress)?"
    r"|contact|author)\s*:?\s*(?=[.,;)\]]|$)",
    re.I,
)
BOILERPLATE = re.compile(
    r"\bopen ?clip ?art(?: library| project)?\b|\bopenclipart\b|image/svg\+xml|\bpublic domain\b"
    r"|\bHASH\(0x[0-9a-f]+\)|\b0x[0-9a-f]{6,}\b|\.(?:svg|png)\b",
    re.I,
)
LICENCE = re.compile(r"\b(?:this|the) (?:work|image|drawing) is (?:hereby )?released\b.*", re.I | re.DOTALL)
CLIPART_BY = re.compile(r"^\s*clipart by .+? - (.+)$", re.I | re.DOTALL)
NUMBERING = re.compile(r"(?<![^\W_])([^\W\d_]+)[\s#_-]*\d{1,3}$|\b0\d\b")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Metadata:
    """The fields of an SVG file's Work, as they were written."""

    title: str
    description: str
    keywords: tuple[str, ...]
    agents: tuple[str, ...]


def read_metadata(content: bytes) -> Metadata | None:
    """Title, description, keywords and agents (creator, rights, publisher) of an SVG file.

    None when the file has no readable metadata.
    """
    declared = ENCODING.match(content.removeprefix(b"\xef\xbb\xbf"))
    try:
        text = content.decode(declared[1].decode() if declared else "utf-8")
    except (LookupError, UnicodeDecodeError):
        text = content.decode("cp1252", errors="replace")
    block = RDF_BLOCK.search(text)
    if block is None:
        return None
    try:
        # Of two declarations of a prefix the nearer one counts.
        around = dict(NAMESPACE.findall(text, 0, block.start()))
        declarations = "".join(f" xmlns:{prefix}={name}" for prefix, name in around.items())
        (root,) = ElementTree.fromstring(f"<svg{declarations}>{block[0]}</svg>")
    except ElementTree.ParseError:
        return None
    work = next((element for element in root if element.tag.endswith("}Work")), None)
    if work is None:
        return None
    subject = work.find(f"{DC}subject")
    return Metadata(
        title=work.findtext(f"{DC}title") or "",
        description=work.findtext(f"{DC}description") or "",
        keywords=() if subject is None else tuple(item.text or "" for item in subject.iter(ITEM)),
        agents=tuple(
            element.text
            for field in work
            if field.tag != f"{DC}title"
            for element in field.iter(f"{DC}title")
            if element.text
        ),
    )


def plain_text(
    metadata: Metadata, *, stem: str, names: re.Pattern[str], with_description: bool = True
) -> str:
    """Title, description and keywords as sentences; without links, addresses, contributors and boilerplate.

    Parameters
    ----------
    metadata
        From `read_metadata`.
    stem
        The drawing's path. It adds nothing to the text; some titles are file names, left over from another
        drawing of a series, and such a title only stays if it shares a word with the path.
    names
        From `names_pattern`: contributors of the whole library.
    with_description
        False leaves the description out.
    """
    own = names_pattern([metadata.agents], single_words=True)
    title = metadata.title
    if leftover := CLIPART_BY.match(title):
        words = re.findall(r"[^\W\d_]{3,}", leftover[1].lower())
        title = leftover[1] if any(word in stem.lower() for word in words) else ""
    parts = [_clean(_unnumbered(title), names, own)]
    if with_description:
        parts.append(_clean(metadata.description, names, own))
    keywords: dict[str, str] = {}
    for keyword in metadata.keywords:
        cleaned = _clean(_unnumbered(keyword), names, own)
        if cleaned and same_words(cleaned) not in EMPTY_KEYWORDS:
            keywords.setdefault(same_words(cleaned), cleaned)
    said = {same_words(part) for part in parts}
    parts.append(", ".join(keyword for same, keyword in keywords.items() if same not in said))
    unique = {same_words(part): part for part in reversed(parts) if same_words(part)}
    sentences = [part if part[-1] in ".!?" else f"{part}." for part in reversed(unique.values())]
    return " ".join(sentences)


def names_pattern(agents: Iterable[tuple[str, ...]], *, single_words: bool = False) -> re.Pattern[str]:
    """A pattern that finds the persons among the agents, in either order of a two-word name.

    Names of a single word ("mo", "Greg") are too much like other words to be looked for everywhere: they are
    left out unless `single_words`, which also looks for surnames of five letters or more.
    """
    names = set()
    for agent in {agent for drawing in agents for agent in drawing}:
        for part in re.split(r"[()\[\]<>/&,;:]|\band\b", LINK.sub(" ", ftfy.fix_text(agent))):
            words = part.split()
            if len(part.strip()) < 2 or ORGANISATION.search(part):
                continue
            if len(words) > 1 or single_words:
                names.add(" ".join(words).lower())
            if single_words and len(words[-1]) >= 5:
                names.add(words[-1].lower())
            if len(words) == 2:
                names.add(f"{words[1]} {words[0]}".lower())
    if not names:
        return re.compile(r"(?!)")
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    one = "|".join(r"[\s_]+".join(map(re.escape, name.split())) for name in longest_first)
    return re.compile(rf"(?<!\w)(?:by\s+)?(?:{one})(?:['’]?s)?(?!\w)", re.I)


def _unnumbered(text: str) -> str:
    """Without file-name manners: "AfricanDrum2" is "African Drum", "glace_01" is "glace"."""
    text = re.sub(r"\.(?:svg|png)$", "", text.strip(), flags=re.I)
    return CAMEL.sub(" ", NUMBERING.sub(r"\1", text))


def _clean(text: str, names: re.Pattern[str], own: re.Pattern[str]) -> str:
    text = TAG.sub(" ", ftfy.fix_text(text))
    for pattern in (LICENCE, LINK, TOOL, names, own, BY_NAME, BOILERPLATE):
        text = pattern.sub(" ", text)
    text = re.sub(r"[\s_]+", " ", text)
    text = re.sub(r"\(\s*\)|\[\s*\]", " ", EMPTY_LABEL.sub(" ", text.strip()))
    text = re.sub(r"\s+([.,;:!?)])", r"\1", re.sub(r"\s+", " ", text))
    return text.strip(" .,;:-–—=*/|#")


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
    """The usable pairs: some 2,300 of 8,121 pictures.

    Drawings and pictures are compared with the packages' when the pairs are made of them; these are kept under a
    seal, with the hash of each picture, with which the pictures are compared again: one that was damaged since is an
    error, and no smaller corpus.

    Text: title, description and keywords. Group: the top folder of the library, a gold category.
    Dropped, in this order: `no-metadata`; `template-title`, a title shared by 20 or more pictures;
    `near-empty-text`, fewer than 3 distinct content words; `unreadable-picture`; `huge-picture`, more than 20
    megapixels by the file's header; `blank-picture`, of one colour; `identical-picture`, the same as an earlier id's
    when both are decoded and scaled; and `duplicate-text`, the same words in the same order as an earlier id's.

    Raises
    ------
    MissingError
        The packages cannot be fetched.
    DataError
        A file is not the packages'.
    """
    svg, png = fetch("openclipart-svg"), fetch("openclipart-png")
    # What was computed is only reused with the same data and the same code.
    code = code_hash(__name__, without=("vtm.errors", "vtm.files"))
    key = hash_json([ARTIFACTS["openclipart-svg"].sha256, ARTIFACTS["openclipart-png"].sha256, code])
    stored = kept(data_dir() / "corpora" / "openclipart.json", key, lambda: _build(svg, png))
    pairs = [Pair(image=png / f"{pair['id']}.png", **pair) for pair in stored["pairs"]]
    if any(not pair.image.is_file() or hash_file(pair.image) != pair.image_hash for pair in pairs):
        fetch_checked("openclipart-png")  # says which file it is, and what helps
    return Corpus.of(
        pairs,
        name="openclipart",
        dropped=tuple(Dropped(*item) for item in stored["dropped"]),
        source=SOURCE,
    )


def _build(svg: Path, png: Path) -> dict[str, Any]:
    """Read all drawings' metadata and pictures, when these are the packages'; see `load` for the order of the drops."""
    for name in ("openclipart-svg", "openclipart-png"):
        fetch_checked(name)
    files = {path.relative_to(svg).with_suffix("").as_posix(): path for path in svg.rglob("*.svg")}
    read = {stem: read_metadata(files[stem].read_bytes()) for stem in sorted(files)}
    found = {stem: metadata for stem, metadata in read.items() if metadata is not None}
    dropped = [Dropped(stem, "no-metadata") for stem in read if stem not in found]

    names = names_pattern(metadata.agents for metadata in found.values())
    titles = Counter(same_words(metadata.title) for metadata in found.values())
    descriptions = Counter(same_words(metadata.description) for metadata in found.values())
    pairs = []
    for stem, metadata in found.items():
        title = same_words(metadata.title)
        if title and titles[title] >= TEMPLATE_SHARE:
            dropped.append(Dropped(stem, "template-title", metadata.title.strip()))
            continue
        told = descriptions[same_words(metadata.description)] < TEMPLATE_SHARE
        text = plain_text(metadata, stem=stem, names=names, with_description=told)
        if len(content_words(text)) < MIN_WORDS:
            dropped.append(Dropped(stem, "near-empty-text", text))
            continue
        pair = Pair(id=stem, text=text, image=png / f"{stem}.png", group=stem.split("/")[0])
        if drop := _unusable(pair):
            dropped.append(drop)
        else:
            pairs.append(pair)
    pairs = [Pair(p.id, p.text, p.image, p.group, hash_file(p.image)) for p in pairs]
    pairs, unseen = drop_by_looks(pairs, looks(pair.image for pair in pairs))
    pairs, duplicate = drop_repeats(pairs, lambda pair: same_words(pair.text), "duplicate-text")
    return {
        "pairs": [{"id": p.id, "text": p.text, "group": p.group, "image_hash": p.image_hash} for p in pairs],
        "dropped": [[drop.id, drop.reason, drop.detail] for drop in [*dropped, *unseen, *duplicate]],
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
