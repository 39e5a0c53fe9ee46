"""Keywords in XMP, the XML that photo programs keep their notes on pictures in (ISO 16684-1).

They stand in dc:subject, and those with a hierarchy in lr:hierarchicalSubject (Lightroom, digiKam, darktable). New
ones are put beside the old ones and every other byte stays, so that ratings, edits and comments are kept also in
forms that this module knows nothing of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from vtm.errors import DataError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DESCRIPTION = (f"{RDF} RDF", f"{RDF} Description")
# property -> prefix and namespace
PROPERTIES = {
    "subject": ("dc", "http://purl.org/dc/elements/1.1/"),
    "hierarchicalSubject": ("lr", "http://ns.adobe.com/lightroom/1.0/"),
}
_TAG = re.compile(rb"""<([^\s/>]+)(?:\s+[^\s=]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*(/?)>""")
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
    >>> from vtm.xmp import add_keywords, read_keywords
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
    found = _Reader(xmp)
    additions: dict[_Element, list[str]] = {}
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
    merged = _Reader(xmp).lists if additions else found.lists
    for name, values in wanted.items():
        if any(value and value not in merged[name].items for value in values):
            raise DataError(f"keywords cannot be added to its {name}")
    return xmp


def read_keywords(xmp: bytes) -> dict[str, list[str]]:
    """The keywords of an XMP: "subject" and "hierarchicalSubject", where it has them.

    Raises
    ------
    DataError
        Not XMP.

    Examples
    --------
    >>> from vtm.xmp import read_keywords
    >>> read_keywords(b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>')
    {}
    """
    return {name: list(found.items) for name, found in _Reader(xmp).lists.items()}


@dataclass(frozen=True)
class _Element:
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
class _List:
    element: _Element
    items: list[str] = field(default_factory=list)


class _Reader:
    """Where the keywords of an XMP stand."""

    def __init__(self, xmp: bytes) -> None:
        self.lists: dict[str, _List] = {}
        self.description: _Element | None = None
        self.rdf: _Element
        self._xmp = xmp
        self._open: list[tuple[str, str, int, bool]] = []  # name, name as written, inner, empty
        self._items: list[str] = []
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
        if self._path() == _DESCRIPTION:
            for local, (prefix, namespace) in PROPERTIES.items():
                if f"{namespace} {local}" in attributes:
                    raise DataError(f"its {prefix}:{local} is not a list")
        elif name == f"{RDF} li":
            self._items.append("")

    def _text(self, text: str) -> None:
        if self._items and any(name == f"{RDF} li" for name, *_ in self._open):
            self._items[-1] += text

    def _end(self, name: str) -> None:
        path = self._path()
        _, written, inner, empty = self._open.pop()
        element = _Element(written, inner, inner if empty else self._parser.CurrentByteIndex, empty)
        if path == _DESCRIPTION[:1]:
            self.rdf = element
        elif path == _DESCRIPTION:
            self.description = self.description or element
        for local, (prefix, namespace) in PROPERTIES.items():
            whole = (*_DESCRIPTION, f"{namespace} {local}")
            if path in [(*whole, f"{RDF} {kind}") for kind in ("Bag", "Seq", "Alt")]:
                self.lists.setdefault(local, _List(element, self._items))
            elif path == whole and local not in self.lists:
                raise DataError(f"its {prefix}:{local} is not a list")
        if name in (f"{RDF} Bag", f"{RDF} Seq", f"{RDF} Alt"):
            self._items = []

    def _path(self) -> tuple[str, ...]:
        """The open elements from rdf:RDF on."""
        names = [name for name, *_ in self._open]
        return tuple(names[names.index(_DESCRIPTION[0]) :]) if _DESCRIPTION[0] in names else ()


def _items(values: Sequence[str], list_: _Element) -> list[str]:
    li = list_.sibling("li")
    return [f"<{li}>{escape(value)}</{li}>" for value in values]


def _property(local: str, values: Sequence[str], description: _Element) -> list[str]:
    prefix, namespace = PROPERTIES[local]
    bag = description.sibling("Bag")
    return [
        f'<{prefix}:{local} xmlns:{prefix}="{namespace}">',
        f" <{bag}>",
        *(f"  {item}" for item in _items(values, description)),
        f" </{bag}>",
        f"</{prefix}:{local}>",
    ]


def _described(lines: Sequence[str], rdf: _Element) -> list[str]:
    name = rdf.sibling("Description")
    # An attribute without a prefix would have no namespace.
    about = f'{rdf.name.rpartition(":")[0]}:about=""' if ":" in rdf.name else f'xmlns:r="{RDF}" r:about=""'
    return [f"<{name} {about}>", *(f" {line}" for line in lines), f"</{name}>"]


def _insert(xmp: bytes, element: _Element, lines: Sequence[str]) -> bytes:
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
