"""Where the keywords of an XMP stand: their elements and items by their bytes, so that all else can stay."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from vtm.errors import DataError

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
