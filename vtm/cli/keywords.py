"""Where the keywords of an XMP stand: their elements and items by their bytes, so that all else can stay."""

from __future__ import annotations

import os
import re
import shutil
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape

from vtm.corpora.pictures import MAX_BYTES
from vtm.errors import DataError
from vtm.files import atomic_path, read_regular

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DESCRIPTION = (f"{RDF} RDF", f"{RDF} Description")
ITEM = f"{RDF} li"
LISTS = tuple(f"{RDF} {kind}" for kind in ("Bag", "Seq", "Alt"))
# property -> prefix and namespace
PROPERTIES = {
    "subject": ("dc", "http://purl.org/dc/elements/1.1/"),
    "hierarchicalSubject": ("lr", "http://ns.adobe.com/lightroom/1.0/"),
}
_TAG = re.compile(rb"""<([^\s/>]+)(?:\s+[^\s=]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*(/?)>""")


@dataclass(frozen=True)
class Element:
    """An element by its place: `inner` is the byte after its start tag, `end` the first one of its end tag.

    `name` is as written, with its prefix; an empty element (`<a/>`) has no end tag, `end` is then `inner`.
    """

    name: str
    inner: int
    end: int
    empty: bool

    def sibling(self, local: str) -> str:
        """Another name with the same prefix."""
        prefix, colon, _ = self.name.rpartition(":")
        return f"{prefix}{colon}{local}"


@dataclass
class KeywordList:
    element: Element
    items: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(
        default_factory=list
    )  # first byte of each item, and the first after it


class Reader:
    """Where the keywords of an XMP stand."""

    def __init__(self, xmp: bytes) -> None:
        self.lists: dict[str, KeywordList] = {}
        self.description: Element | None = None
        self.rdf: Element
        self._xmp = xmp
        self._open: list[tuple[str, str, int, bool]] = []  # name, name as written, inner, empty
        # The lists that are open, each with its items and their spans; an item outside of a list is none of them.
        self._lists: list[tuple[list[str], list[tuple[int, int]]]] = []
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.XmlDeclHandler = self._declared
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            xmp.decode("utf-8")
            parser.Parse(xmp, True)
        except (expat.ExpatError, UnicodeDecodeError) as error:
            raise DataError(f"it is not XML in UTF-8 ({error})") from None
        if not hasattr(self, "rdf"):
            raise DataError("it is no XMP, which holds rdf:RDF")

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if (encoding or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
            raise DataError(f"it is in {encoding}, not in UTF-8")

    def _doctype(self, *_: object) -> None:
        raise DataError("it has a DOCTYPE, which XMP has not")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = _TAG.match(self._xmp, self._parser.CurrentByteIndex)
        if tag is None:
            raise DataError("one of its tags cannot be found again")
        self._open.append((name, tag[1].decode(), tag.end(), bool(tag[2])))
        if self._path() == DESCRIPTION:
            for local, (prefix, namespace) in PROPERTIES.items():
                if f"{namespace} {local}" in attributes:
                    raise DataError(f"its {prefix}:{local} is not a list")
        elif name in LISTS:
            self._lists.append(([], []))
        elif name == ITEM and self._lists:
            items, spans = self._lists[-1]
            items.append("")
            spans.append((self._parser.CurrentByteIndex, 0))

    def _text(self, text: str) -> None:
        inside = next((name for name, *_ in reversed(self._open) if name in (ITEM, *LISTS)), "")
        if inside == ITEM and self._lists:
            self._lists[-1][0][-1] += text

    def _end(self, name: str) -> None:
        path = self._path()
        _, written, inner, empty = self._open.pop()
        element = Element(written, inner, inner if empty else self._parser.CurrentByteIndex, empty)
        if path == DESCRIPTION[:1]:
            self.rdf = element
        elif path == DESCRIPTION:
            self.description = self.description or element
        for local, (prefix, namespace) in PROPERTIES.items():
            whole = (*DESCRIPTION, f"{namespace} {local}")
            if path in [(*whole, kind) for kind in LISTS]:
                self.lists.setdefault(local, KeywordList(element, *self._lists[-1]))
            elif path == whole and local not in self.lists:
                raise DataError(f"its {prefix}:{local} is not a list")
        if name == ITEM and self._lists:
            spans = self._lists[-1][1]
            spans[-1] = (spans[-1][0], inner if empty else self._xmp.index(b">", element.end) + 1)
        if name in LISTS:
            self._lists.pop()

    def _path(self) -> tuple[str, ...]:
        """The open elements from rdf:RDF on."""
        names = [name for name, *_ in self._open]
        return tuple(names[names.index(DESCRIPTION[0]) :]) if DESCRIPTION[0] in names else ()


# Keywords in XMP, the XML that photo programs keep their notes on pictures in (ISO 16684-1).
#
# They stand in dc:subject, and those with a hierarchy in lr:hierarchicalSubject (Lightroom, digiKam, darktable). New
# ones are put beside those of other programs and every other byte stays, so that ratings, edits and comments are kept
# also in forms that this module knows nothing of.


_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def add_keywords(xmp: bytes, keywords: Sequence[str], hierarchy: Sequence[Sequence[str]] = ()) -> bytes:
    """The XMP with further keywords; all else is the same to the byte.

    Parameters
    ----------
    keywords
        For dc:subject. Those that are there are not added again; none is taken away.
    hierarchy
        For lr:hierarchicalSubject, each from the most general to the most special.

    Raises
    ------
    DataError
        Not XMP that can be added to.

    Examples
    --------
    >>> from vtm.cli.keywords import add_keywords, read_keywords
    >>> old = b'''<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    ... <rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/></rdf:RDF>'''
    >>> new = add_keywords(old, ["sea"])
    >>> read_keywords(new)["subject"], b'xmp:Rating="5"' in new
    (['sea'], True)
    """
    wanted = {
        "subject": [_clean(keyword) for keyword in keywords],
        "hierarchicalSubject": [
            "|".join(_clean(part).replace("|", "/") for part in path) for path in hierarchy
        ],
    }
    found = Reader(xmp)
    additions: dict[Element, list[str]] = {}
    for name, values in wanted.items():
        there = found.lists.get(name)
        new = [value for value in dict.fromkeys(values) if value and not (there and value in there.items)]
        if new and there:
            additions[there.element] = _items(new, there.element)
        elif new:
            target = found.description or found.rdf
            additions.setdefault(target, []).extend(_property(name, new, target))
    if found.description is None and additions:
        (lines,) = additions.values()
        additions[found.rdf] = _described(lines, found.rdf)
    # From the end to the start, so that what is still to be inserted keeps its place.
    for element in sorted(additions, key=lambda element: element.end, reverse=True):
        xmp = _insert(xmp, element, additions[element])
    merged = Reader(xmp).lists if additions else found.lists
    for name, values in wanted.items():
        if any(value and value not in merged[name].items for value in values):
            raise DataError(f"keywords cannot be added to its {name}")
    return xmp


def replace_keywords(
    xmp: bytes, keywords: Sequence[str], hierarchy: Sequence[Sequence[str]], *, root: str
) -> bytes:
    """The XMP with these keywords in place of those that were put there under `root` before.

    A keyword of another program stays, and stays that program's: it gets no place under `root`.

    Parameters
    ----------
    keywords, hierarchy
        As for `add_keywords`.
    root
        First level of the hierarchy: what stands below it, and its twins in dc:subject, are the earlier keywords.

    Raises
    ------
    DataError
        As `add_keywords`.

    Examples
    --------
    >>> from vtm.cli.keywords import read_keywords, replace_keywords
    >>> old = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'
    >>> first = replace_keywords(old, ["sea"], [["vtm", "sea"]], root="vtm")
    >>> read_keywords(replace_keywords(first, ["moon"], [["vtm", "moon"]], root="vtm"))
    {'subject': ['moon'], 'hierarchicalSubject': ['vtm|moon']}
    """
    lists = Reader(xmp).lists
    tree = lists["hierarchicalSubject"].items if "hierarchicalSubject" in lists else []
    flat = lists["subject"].items if "subject" in lists else []
    ours = {path for path in tree if path.startswith(f"{root}|")}
    others = {path.rpartition("|")[2] for path in tree if path not in ours}
    twins = {path.rpartition("|")[2] for path in ours} - others
    foreign = {word for word in flat if word not in twins}
    bare = _without(xmp, {"hierarchicalSubject": ours, "subject": twins})
    new = add_keywords(
        bare, keywords, [path for path in hierarchy if _clean(path[-1]).replace("|", "/") not in foreign]
    )
    before, after = read_keywords(xmp), read_keywords(new)
    same = all(set(before.get(name, ())) == set(after.get(name, ())) for name in PROPERTIES)
    return xmp if same else new


def _without(xmp: bytes, unwanted: dict[str, set[str]]) -> bytes:
    """The XMP without these items, each with the space before it."""
    found = Reader(xmp).lists
    spans = [
        span
        for name, values in unwanted.items()
        if name in found
        for span, value in zip(found[name].spans, found[name].items, strict=True)
        if value in values
    ]
    for start, end in sorted(spans, reverse=True):
        xmp = xmp[:start].rstrip(b" \t\r\n") + xmp[end:]
    return xmp


def read_keywords(xmp: bytes) -> dict[str, list[str]]:
    """The keywords of an XMP: "subject" and "hierarchicalSubject", where it has them.

    Raises
    ------
    DataError
        Not XMP.

    Examples
    --------
    >>> from vtm.cli.keywords import read_keywords
    >>> read_keywords(b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>')
    {}
    """
    return {name: list(found.items) for name, found in Reader(xmp).lists.items()}


def _items(values: Sequence[str], list_: Element) -> list[str]:
    li = list_.sibling("li")
    return [f"<{li}>{escape(value)}</{li}>" for value in values]


def _property(local: str, values: Sequence[str], description: Element) -> list[str]:
    prefix, namespace = PROPERTIES[local]
    bag = description.sibling("Bag")
    return [
        f'<{prefix}:{local} xmlns:{prefix}="{namespace}">',
        f" <{bag}>",
        *(f"  {item}" for item in _items(values, description)),
        f" </{bag}>",
        f"</{prefix}:{local}>",
    ]


def _described(lines: Sequence[str], rdf: Element) -> list[str]:
    name = rdf.sibling("Description")
    # An attribute without a prefix would have no namespace.
    about = f'{rdf.name.rpartition(":")[0]}:about=""' if ":" in rdf.name else f'xmlns:r="{RDF}" r:about=""'
    return [f"<{name} {about}>", *(f" {line}" for line in lines), f"</{name}>"]


def _insert(xmp: bytes, element: Element, lines: Sequence[str]) -> bytes:
    """Put lines at the end of an element, indented as it is."""
    if element.empty:
        body = "".join(line.lstrip() for line in lines)
        return xmp[: element.inner - 2] + f">{body}</{element.name}>".encode() + xmp[element.inner :]
    line = re.search(rb"\n([ \t]*)\Z", xmp[: element.end])
    if line:
        margin = line[1].decode()
        body = " " + f"\n{margin} ".join(lines) + f"\n{margin}"
    else:
        body = "".join(line.lstrip() for line in lines)
    return xmp[: element.end] + body.encode() + xmp[element.end :]


def _clean(keyword: str) -> str:
    return " ".join(_NOT_IN_XML.sub("", keyword).split())


# The XMP inside a JPEG or a PNG, read and replaced; every other byte stays (ISO 16684-1; XMP part 3 by Adobe).


_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# A JPEG's segments up to its first scan: other markers have no business there.
_SEGMENT = re.compile(rb"\xff+([\xc0-\xcf\xda-\xfe])(..)", re.DOTALL)
_APP0, _APP1, _APP2, _SCAN = b"\xe0", b"\xe1", b"\xe2", b"\xda"
_HEADER, _EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_MOST = 0xFFFF - 2 - len(_HEADER)  # bytes of XMP in one segment
_KEYWORD, _RAW = b"XML:com.adobe.xmp", b"raw profile type xmp"
_PLAIN = _KEYWORD + b"\0\0\0\0\0"  # not compressed, of no language


@dataclass(frozen=True)
class Place:
    """The XMP and the bytes, from `start` to before `end`, of what holds it; where there is none, it may go there."""

    start: int
    end: int
    xmp: bytes | None = None


def read_xmp(picture: bytes) -> bytes | None:
    """The XMP of a JPEG or PNG; None where it has none.

    Raises
    ------
    DataError
        Another format, a picture whose parts cannot be followed, or XMP in a form that cannot be replaced: in several
        parts, compressed, or in a JPEG of several pictures (MPO), which are found by their distance.
    """
    return _find(picture).xmp


def with_xmp(picture: bytes, xmp: bytes) -> bytes:
    """The picture with this XMP in place of its own.

    Raises
    ------
    DataError
        As `read_xmp`; or XMP that is too long for a JPEG.

    Examples
    --------
    >>> from vtm.corpora import load_corpus
    >>> from vtm.cli.keywords import read_xmp, with_xmp
    >>> picture = load_corpus("scenes", n=120).images[0].read_bytes()
    >>> read_xmp(picture), read_xmp(with_xmp(picture, b"<rdf:RDF/>"))
    (None, b'<rdf:RDF/>')
    """
    place = _find(picture)
    if picture.startswith(_PNG):
        body = b"iTXt" + _PLAIN + xmp
        part = len(body[4:]).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    elif len(xmp) > _MOST:
        raise DataError(f"its XMP would be longer than the {_MOST} bytes that a JPEG has room for")
    else:
        part = b"\xff" + _APP1 + (2 + len(_HEADER) + len(xmp)).to_bytes(2) + _HEADER + xmp
    return picture[: place.start] + part + picture[place.end :]


def _find(picture: bytes) -> Place:
    if picture.startswith(_JPEG):
        free, places = _in_jpeg(picture)
    elif picture.startswith(_PNG):
        free, places = _in_png(picture)
    else:
        raise DataError("it is neither JPEG nor PNG")
    if len(places) > 1:
        raise DataError(f"it has {len(places)} XMP packets")
    return places[0] if places else Place(free, free)


def _in_jpeg(picture: bytes) -> tuple[int, list[Place]]:
    """The first byte after JFIF's and Exif's segments, which must stand first, and the XMP."""
    free, first, places = 2, True, []
    for marker, body, start, end in _segments(picture):
        if marker == _APP1 and body.startswith(_HEADER):
            places.append(Place(start, end, body[len(_HEADER) :]))
        elif marker == _APP1 and body.startswith(_EXTENSION):
            raise DataError("it has extended XMP")
        elif marker == _APP2 and body.startswith(b"MPF\0"):
            raise DataError("it holds several pictures (MPO)")
        first = first and (marker == _APP0 or (marker == _APP1 and body.startswith(b"Exif\0")))
        free = end if first else free
    return free, places


def _segments(picture: bytes) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Marker, body, first byte and end of each segment before the first scan."""
    at = 2
    while found := _SEGMENT.match(picture, at):
        if found[1] == _SCAN:
            return
        at = found.end(1) + int.from_bytes(found[2])
        if at < found.end() or at > len(picture):
            break
        yield found[1], picture[found.end() : at], found.start(1) - 1, at
    raise DataError("it is no whole JPEG")


def _in_png(picture: bytes) -> tuple[int, list[Place]]:
    """The first byte after the header's chunk, and the XMP."""
    free, places = 0, []
    for kind, body, start, end in _chunks(picture):
        free = free or end
        keyword = body[: len(_RAW) + 1].partition(b"\0")[0]
        if kind in (b"tEXt", b"zTXt") and keyword.lower() == _RAW:
            raise DataError("its XMP is in the form of ImageMagick")
        if kind == b"iTXt" and keyword == _KEYWORD:
            if not body.startswith(_PLAIN):
                raise DataError("its XMP is compressed or has a language")
            places.append(Place(start, end, body[len(_PLAIN) :]))
    return free, places


def _chunks(picture: bytes) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Kind, body, first byte and end of each chunk; the sum of each is checked."""
    at = len(_PNG)
    while at + 12 <= len(picture):
        end = at + 12 + int.from_bytes(picture[at : at + 4])
        kind, body = picture[at + 4 : at + 8], picture[at + 8 : end - 4]
        whole = end <= len(picture) and zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(
            picture[end - 4 : end]
        )
        if not whole or (at == len(_PNG)) != (kind == b"IHDR"):
            break
        yield kind, body, at, end
        if kind == b"IEND":
            return
        at = end
    raise DataError("it is no whole PNG")


# Sidecars: a picture's keywords in a file beside it, which photo programs read; it is not written to.


MAX_SIDECAR_BYTES = 20_000_000  # photo programs write some kilobytes
ROOT = "vtm"  # of the hierarchy: what stands below it is ours
EMPTY = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="">
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def sidecar_path(picture: Path | str) -> Path:
    """The sidecar of a picture: its whole name and `.xmp`, as digiKam and darktable call it.

    >>> sidecar_path("holiday/boat.jpg").as_posix()
    'holiday/boat.jpg.xmp'
    """
    picture = Path(picture)
    return picture.with_name(f"{picture.name}.xmp")


def write_sidecar(
    picture: Path | str, keywords: Sequence[str], hierarchy: Sequence[Sequence[str]] = ()
) -> bool:
    """Put keywords into a picture's sidecar, in place of those of an earlier time; the picture itself is not opened.

    Parameters
    ----------
    keywords, hierarchy
        As for `vtm.cli.keywords.replace_keywords`, with the root "vtm".

    Returns
    -------
    Whether anything was written.

    Raises
    ------
    DataError
        What is there is no regular file, larger than `MAX_BYTES` or no XMP, or its keywords are not a list; it stays
        as it is.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vtm.cli.keywords import write_sidecar
    >>> from vtm.cli.keywords import read_keywords
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_sidecar(f"{folder}/boat.jpg", ["boat", "sea"], [["vtm", "boat sea", "boat"]])
    ...     read_keywords(Path(f"{folder}/boat.jpg.xmp").read_bytes())
    True
    {'subject': ['boat', 'sea'], 'hierarchicalSubject': ['vtm|boat sea|boat']}
    """
    path = sidecar_path(picture)
    if path.is_symlink():
        raise DataError(f"{path}: it is a link; it is left as it is")
    try:
        before = read_regular(path, most=MAX_SIDECAR_BYTES)
    except FileNotFoundError:
        before = EMPTY.encode()
    try:
        after = replace_keywords(before, keywords, hierarchy, root=ROOT)
    except DataError as error:
        raise DataError(f"{path}: {error}; it is left as it is") from None
    if after == before:
        return False
    with atomic_path(path) as temporary:
        temporary.write_bytes(after)
    return True


# Keywords in the picture files themselves, for who asks for it; sidecars (`vtm.cli.keywords`) leave them alone.


_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def write_original(
    picture: Path | str, keywords: Sequence[str], hierarchy: Sequence[Sequence[str]] = ()
) -> bool:
    """Put keywords into the XMP of a JPEG or PNG, in place of those of an earlier time; its other bytes stay.

    The file is exchanged for a new one in one step, with the permissions of the old one. Another name of the same file
    (a hard link) keeps the old one. Links are not followed.

    Parameters
    ----------
    keywords, hierarchy
        As for `vtm.cli.keywords.write_sidecar`.

    Returns
    -------
    Whether anything was written.

    Raises
    ------
    DataError
        A link, a file that is write-protected or larger than `vtm.corpora.pictures.MAX_BYTES`, another format, or XMP that
        cannot be added to (`vtm.cli.keywords.read_xmp`, `vtm.cli.keywords.replace_keywords`); it stays as it is.
    OSError
        It cannot be read or written.

    Examples
    --------
    >>> import shutil, tempfile
    >>> from PIL import Image
    >>> from vtm.corpora import load_corpus
    >>> from vtm.cli.keywords import write_original
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     copy = shutil.copy(load_corpus("scenes", n=120).images[0], folder)
    ...     write_original(copy, ["boat"]), write_original(copy, ["boat"])
    ...     with Image.open(copy) as picture:
    ...         "<rdf:li>boat</rdf:li>" in picture.info["XML:com.adobe.xmp"]
    (True, False)
    True
    """
    path = Path(picture)
    if path.is_symlink():
        raise DataError(f"{path}: it is a link; name the picture that it leads to")
    before = read_regular(path, most=MAX_BYTES)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & _WRITABLE or not os.access(path, os.W_OK):
            raise DataError("it is write-protected")
        old = read_xmp(before)
        xmp = EMPTY.encode() if old is None else old
        new = replace_keywords(xmp, keywords, hierarchy, root=ROOT)
        if new == xmp:
            return False
        after = with_xmp(before, new)
    except DataError as error:
        raise DataError(f"{path}: {error}; it is left as it is") from None
    with atomic_path(path, mode=mode) as temporary:
        temporary.write_bytes(after)
        shutil.copystat(path, temporary)  # for the extended attributes
        os.utime(temporary)
    return True
