"""The keywords of a picture in XMP (ISO 16684-1), in a sidecar beside it or in the JPEG or PNG itself.

They stand in dc:subject, in lr:hierarchicalSubject, and in the lists that digiKam, Windows, iView and ACDSee keep in step
with these where the picture has them. Bytes that are not vtm's stay as they are. What vtm adds it notes beside it
(`vtm:record`), so that it can be taken out again: to the byte where nobody else wrote to the XMP since, and else by what
stands below `ROOT`, which is how keywords come back from programs that keep them in a database of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, cast
from xml.parsers import expat
from xml.sax.saxutils import escape

from vtm.corpora.pictures import MAX_BYTES, RAW_SUFFIXES, SUFFIXES, read_header
from vtm.errors import DataError, said
from vtm.files import atomic_path, read_regular

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


@dataclass(frozen=True)
class Kind:
    """A list of keywords: its property, the type that exiftool gives it, and what parts the levels of a path, if any."""

    prefix: str
    namespace: str
    type: str
    separator: str


# In the order in which digiKam looks for them: it takes the first that is there.
KINDS = {
    "TagsList": Kind("digiKam", "http://www.digikam.org/ns/1.0/", "Seq", "/"),
    "LastKeywordXMP": Kind("MicrosoftPhoto", "http://ns.microsoft.com/photo/1.0/", "Bag", "/"),
    "hierarchicalSubject": Kind("lr", "http://ns.adobe.com/lightroom/1.0/", "Bag", "|"),
    "CatalogSets": Kind("mediapro", "http://ns.iview-multimedia.com/mediapro/1.0/", "Bag", "|"),
    # No list but a text, which is XML in its turn.
    "categories": Kind("acdsee", "http://ns.acdsee.com/iptc/1.0/", "", "|"),
    "subject": Kind("dc", "http://purl.org/dc/elements/1.1/", "Bag", ""),
}
FLAT, TREE, CATEGORIES = "subject", "hierarchicalSubject", "categories"
_TREES = [name for name in KINDS if name != FLAT]

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns# "
_BAGS = (f"{_RDF}Bag", f"{_RDF}Seq", f"{_RDF}Alt")
_LANGUAGE = "http://www.w3.org/XML/1998/namespace lang"
# exiftool writes that of Windows without the slash at its end.
_NAMES = {
    f"{space} {name}": name for name, kind in KINDS.items() for space in (kind.namespace, kind.namespace[:-1])
}
_RECORD = Kind("vtm", "urn:visual-topic-modelling:keywords/", "", "")
# How a picture was developed, which is in its pixels already: darktable would do it once more.
_DEVELOPED = ("http://darktable.sf.net/", "http://ns.adobe.com/xmp/note/")
_CAMERA_RAW = "http://ns.adobe.com/camera-raw-settings/1.0/"

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAG = re.compile(rb"""<([^\s/>]+)(?:\s+[^\s=/>]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*(/?)>""")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=/>]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_LINE = re.compile(rb"\r?\n[ \t]*\Z")
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

# What vtm notes, see `_put_in`.
_NOTHING: dict[str, Any] = {
    **{"sha256": "", "undo": [], "new": False},
    **{"added": [], "theirs": [], "levels": [], "mirrored": {}, "made": {}},
}
# A new element: its name with its attributes, and its text or elements.
_Piece = tuple[str, Any]


def read_keywords(xmp: bytes) -> dict[str, list[str]]:
    """The keywords of an XMP by the names of `KINDS`, of those that it has; paths as the list has them.

    Raises
    ------
    DataError
        Not XMP.

    Examples
    --------
    >>> from vtm.corpora.keywords import read_keywords
    >>> read_keywords(b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>')
    {}
    """
    return {name: _values(found) for name, found in _lists(_parse(xmp)).items()}


def replace_keywords(
    xmp: bytes | None,
    keywords: Sequence[str],
    hierarchy: Sequence[Sequence[str]] = (),
    *,
    beside: Mapping[str, Sequence[str]] | None = None,
    start: bytes = EMPTY.encode(),
) -> bytes | None:
    """The XMP with these keywords in place of those that vtm put there before; without any, as it was before vtm.

    A keyword of another program stays, and stays that program's: it gets no place under `ROOT`. A list that is new
    begins with what readers found in its absence: dc:subject with the keywords in `beside`, the tree with the paths of
    the other lists and the flat keywords, each a level of its own. A list that stands as text or attribute or has the
    wrong type is written as exiftool does, and so is a property that comes twice, which the XMP toolkit refuses.

    Parameters
    ----------
    xmp : none where there is none.
    keywords : for dc:subject. Those that are there are not added again.
    hierarchy : for the trees, each from `ROOT` to the keyword; a keyword that has none stands right below `ROOT`.
    beside
        By the names of `KINDS`, keywords that readers find elsewhere as long as this XMP has no list of that name.
    start : what a new XMP starts from.

    Returns
    -------
    The same bytes, where it has these keywords already; None where there is, or was before vtm, none.

    Raises
    ------
    DataError
        Not XMP that can be added to.

    Examples
    --------
    >>> from vtm.corpora.keywords import read_keywords, replace_keywords
    >>> old = b'''<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    ... <rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/></rdf:RDF>'''
    >>> first = replace_keywords(old, ["sea"])
    >>> read_keywords(replace_keywords(first, ["moon"], [["vtm", "night", "moon"]]))
    {'hierarchicalSubject': ['vtm|night|moon'], 'subject': ['moon']}
    >>> replace_keywords(first, []) == old
    True
    """
    before = None if xmp is None else _take_out(xmp)
    base = start if before is None else before
    after = _put_in(base, keywords, hierarchy, beside or {}, new=before is None)
    return before if after is None else after


def _take_out(xmp: bytes) -> bytes | None:
    """The XMP as it was before vtm; None where there was none."""
    rdf = _parse(xmp)
    key = f"{_RECORD.namespace} record"
    records = [node for node in rdf.walk() if node.name == key]
    marked = [node for node in _descriptions(rdf) if key in node.attributes]  # exiv2 makes an attribute of it
    noted = [*(node.text for node in records), *(node.attributes[key] for node in marked)]
    note = _note(noted[0] if len(noted) == 1 else "")
    if note["sha256"] and records:
        with suppress(ValueError):  # places that are none any more
            base = _undone(xmp[: records[0].start] + xmp[records[0].end :], note["undo"])
            if hashlib.sha256(base).hexdigest() == note["sha256"]:
                return None if note["new"] else base
    lists, edits = _lists(rdf), _Edits(xmp)
    every = _paths({name: _values(found) for name, found in lists.items()})

    def is_ours(name: str, value: str) -> bool:
        if name == FLAT:
            return value in ours
        return _is_ours(_split(name, value)) or value in note["mirrored"].get(name, ())

    ours = {level for path in every if _is_ours(path) for level in path} | {*note["added"]}
    others = {level for path in every if not _is_ours(path) for level in path} - {*note["levels"]}
    ours -= others | {*note["theirs"]}
    for name, found in lists.items():
        left = []
        for one in found:
            for node, value in one.items:
                if name == CATEGORIES:
                    edits.exchange(one, _without_categories(value))
                elif node is not None and is_ours(name, value):
                    edits.remove(node)
                else:
                    left.append(value)
        # A list that vtm made, and that holds what vtm began it with: readers find that where they did before.
        if sorted(left) == sorted(note["made"].get(name, [None])) and [one.bag for one in found] != [None]:
            edits.forget(found[0].owner)
    for record in records:
        edits.remove(record)
    for node in marked:
        edits.drop(node, key, declared=True)
    return edits.apply()


def _put_in(
    base: bytes,
    keywords: Sequence[str],
    hierarchy: Sequence[Sequence[str]],
    beside: Mapping[str, Sequence[str]],
    *,
    new: bool,
) -> bytes | None:
    """The XMP with keywords and a record of how it was without them; None where it has them all."""
    rdf = _parse(base)
    lists, edits = _lists(rdf), _Edits(base)
    there = {name: _values(lists.get(name, ())) for name in KINDS}
    seen = {name: there[name] or list(dict.fromkeys(map(_storable, beside.get(name, ())))) for name in KINDS}
    if not there[TREE]:
        # Flat keywords of the place in which a tree was found were hidden by it; those of this XMP were not.
        seen[TREE] = _tree_of(seen, there[FLAT] if seen[TREE] else seen[FLAT])
    theirs = {*seen[FLAT]}
    words = [word for word in dict.fromkeys(map(_clean, keywords)) if word]
    wanted = [word for word in words if word not in theirs]
    paths = [tuple(map(_clean, path)) for path in hierarchy]
    placed = {path[-1] for path in paths}
    paths = [path for path in paths if path[-1] in wanted]
    paths += [(ROOT, word) for word in wanted if word not in placed]
    if not wanted:
        return None
    made: dict[str, list[str]] = {}
    mirrored: dict[str, list[str]] = {}
    for name in reversed(KINDS):
        if name not in (FLAT, TREE) and not seen[name]:
            continue  # nobody keeps this list
        added = wanted
        if name != FLAT:
            ends = {_split(name, value)[-1] for value in seen[name]}
            mirrored[name] = [word for word in words if word in theirs - ends]
            added = [*mirrored[name], *(_joined(name, path) for path in dict.fromkeys(paths))]
        if not there[name]:
            made[name] = seen[name]
            added = [*seen[name], *added]
        if name == CATEGORIES:
            for one in lists.get(name, ())[:1]:
                edits.exchange(one, _with_categories(one.items[0][1], paths))
            continue
        edits.extend(rdf, name, lists.get(name, ()), added)
    levels = {level for path in paths for level in path}
    others = {level for path in _paths(seen) for level in path}
    note = {
        "new": new,
        "added": wanted,  # to dc:subject
        "theirs": sorted(theirs & levels),  # keywords of others that are called as a level of ours
        "levels": sorted(others & levels - theirs),  # levels of others' paths that are, and no keywords
        "mirrored": mirrored,  # keywords of others that stood in dc:subject and not in these lists
        "made": made,  # lists, with what they began with
    }
    return edits.apply(rdf, note)


def _tree_of(seen: Mapping[str, Sequence[str]], flat: Sequence[str]) -> list[str]:
    """What stands in a new tree, so that programs that look there first lose nothing: other trees and flat keywords."""
    paths = dict.fromkeys(_paths(seen))
    ends = {path[-1] for path in paths}
    return [*(_joined(TREE, path) for path in paths), *(word for word in flat if word not in ends)]


def _split(name: str, value: str) -> tuple[str, ...]:
    return tuple(value.split(KINDS[name].separator))


def _paths(keywords: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """The paths of all trees among keywords by the names of `KINDS`."""
    return [_split(name, value) for name in _TREES for value in keywords.get(name, ())]


def _joined(name: str, path: Sequence[str]) -> str:
    """A path as a list has it; a level that holds the separator gets another sign for it, as digiKam does."""
    separator = KINDS[name].separator
    return separator.join(level.replace(separator, "/" if separator == "|" else "\\") for level in path)


def _is_ours(path: Sequence[str]) -> bool:
    return len(path) > 1 and path[0] == ROOT


def _clean(keyword: str) -> str:
    return " ".join(_storable(keyword).split())


def _storable(text: str) -> str:
    return _NOT_IN_XML.sub("", text)


def _note(text: str) -> dict[str, Any]:
    """What vtm noted, or nothing where that cannot be read any more."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        note = json.loads(text)
        if all(type(note[name]) is type(value) for name, value in _NOTHING.items()):
            several = [*note["mirrored"].values(), *note["made"].values()]
            words = chain(note["added"], note["theirs"], note["levels"], *several)
            if all(isinstance(word, str) for word in words):
                return note
    return _NOTHING


def _undone(xmp: bytes, undo: Sequence[Any]) -> bytes:
    """The bytes from before some splices. ValueError: they do not fit."""
    parts, at = [], 0
    for step in undo:
        if not isinstance(step, list) or [type(part) for part in step] != [int, int, str]:
            raise ValueError("no step")
        start, length, removed = step
        parts += [xmp[at:start], removed.encode()]
        at = start + length
    return b"".join([*parts, xmp[at:]])


# XML with the places of its elements: no library tells them, and without them other bytes would not stay.
@dataclass(eq=False)
class _Node:
    """An element: the `start` of its first tag, the `body` behind that, the `close` of its last tag, and the `end`."""

    name: str  # namespace and local name, with a space between
    attributes: dict[str, str]
    start: int = 0
    body: int = 0
    close: int = 0
    end: int = 0
    raw: str = ""  # the name as it is written
    empty: bool = False  # one tag is all
    texts: list[str] = field(default_factory=list)
    children: list[_Node] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def prefix(self) -> str:
        return self.raw[: self.raw.rfind(":") + 1]

    def walk(self) -> Iterator[_Node]:
        left = [self]
        while left:
            node = left.pop()
            yield node
            left += reversed(node.children)


def _read_xml(content: bytes) -> _Node:
    """The first element. DataError: not XML in UTF-8, or with a DOCTYPE."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    stack = [_Node("", {})]

    def declared(_version: str, encoding: str | None, _alone: int) -> None:
        if encoding and encoding.lower() not in ("utf-8", "utf8", "us-ascii"):
            raise DataError(f"it is in {encoding}, not in UTF-8")

    def doctype(*_: object) -> None:
        raise DataError("it has a DOCTYPE, which XMP has not")

    def started(name: str, attributes: dict[str, str]) -> None:
        node = _Node(name, attributes, parser.CurrentByteIndex)
        tag = _TAG.match(content, node.start)
        if tag is None:
            raise DataError("it is not XML in UTF-8 (a tag that cannot be followed)")
        node.body, node.raw, node.empty = tag.end(), tag[1].decode(), bool(tag[2])
        stack[-1].children.append(node)
        stack.append(node)

    def ended(_: str) -> None:
        node = stack.pop()
        node.close = node.body if node.empty else parser.CurrentByteIndex
        node.end = node.body if node.empty else content.index(b">", node.close) + 1

    parser.XmlDeclHandler, parser.StartDoctypeDeclHandler = declared, doctype
    parser.StartElementHandler, parser.EndElementHandler = started, ended
    parser.CharacterDataHandler = lambda text: stack[-1].texts.append(text)
    try:
        content.decode("utf-8")
        parser.Parse(content.rstrip(b"\0"), True)
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise DataError(f"it is not XML in UTF-8 ({' '.join(str(error).split())})") from None
    return stack[0].children[0]


def _parse(xmp: bytes) -> _Node:
    """The rdf:RDF of an XMP."""
    rdf = next((node for node in _read_xml(xmp).walk() if node.name == f"{_RDF}RDF"), None)
    if rdf is None:
        raise DataError("it is no XMP, which holds rdf:RDF")
    return rdf


def _descriptions(rdf: _Node) -> list[_Node]:
    return [node for node in rdf.children if node.name == f"{_RDF}Description"]


@dataclass(frozen=True)
class _Found:
    """Where an XMP has one of the lists, in whichever form, and its items with their elements, if they have any."""

    name: str
    key: str  # of its element or attribute
    owner: _Node  # its element, or the rdf:Description whose attribute it is
    bag: _Node | None  # rdf:Bag, rdf:Seq or rdf:Alt
    items: list[tuple[_Node | None, str]]

    @property
    def is_attribute(self) -> bool:
        return self.owner.name == f"{_RDF}Description"


def _lists(rdf: _Node) -> dict[str, list[_Found]]:
    """Each list wherever the XMP has it; keywords of what is nested deeper are another picture's."""
    found: dict[str, list[_Found]] = {}
    for description in _descriptions(rdf):
        for key, value in description.attributes.items():
            if name := _NAMES.get(key):
                found.setdefault(name, []).append(_Found(name, key, description, None, _one_item(value)))
        for element in description.children:
            if name := _NAMES.get(element.name):
                bag = next((child for child in element.children if child.name in _BAGS), None)
                if bag is None:
                    items = _one_item(_value(element))
                else:
                    items = [(item, _value(item)) for item in bag.children if item.name == f"{_RDF}li"]
                found.setdefault(name, []).append(_Found(name, element.name, element, bag, items))
    return {name: found[name] for name in KINDS if name in found}


def _one_item(value: str) -> list[tuple[_Node | None, str]]:
    """A property that is no list is a list of one, as exiftool and exiv2 read it, whatever commas it holds."""
    return [(None, value)] if value.strip() else []


def _value(node: _Node) -> str:
    """The text of an element in any of the forms of RDF, without what is nested in it."""
    if f"{_RDF}resource" in node.attributes:
        return node.attributes[f"{_RDF}resource"]
    values = [inner for child in node.children for inner in child.walk() if inner.name == f"{_RDF}value"]
    return values[0].text if values else node.text


def _values(found: Sequence[_Found]) -> list[str]:
    """The keywords of a list; of ACDSee's categories the paths to those that are assigned."""
    texts = [value for one in found for _, value in one.items if value.strip()]
    if found and found[0].name == CATEGORIES:
        return ["|".join(path) for text in texts for path in _assigned(text)]
    return texts


def _assigned(categories: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    with suppress(DataError):
        left: list[tuple[tuple[str, ...], _Node]] = [((), _read_xml(categories.encode()))]
        while left:
            path, node = left.pop()
            if node.attributes.get("Assigned") == "1":
                found.append(path)
            left += [((*path, child.text.strip()), child) for child in reversed(node.children)]
    return found


def _without_categories(categories: str) -> str:
    """ACDSee's categories without those below `ROOT`."""
    try:
        edits = _Edits(categories.encode())
        for node in _read_xml(edits.xmp).children:
            if node.text.strip() == ROOT and node.children:
                edits.remove(node)
        return edits.apply().decode()
    except DataError:
        return categories


def _with_categories(categories: str, paths: Sequence[Sequence[str]]) -> str:
    """ACDSee's categories with more, each assigned at the end of its path."""
    tree: dict[str, Any] = {}
    for path in paths:
        level = tree
        for name in path:
            level = level.setdefault(name, {})

    def written(level: dict[str, Any]) -> str:
        return "".join(
            f'<Category Assigned="{int(not below)}">{escape(name)}{written(below)}</Category>'
            for name, below in level.items()
        )

    content = categories.encode()
    close = _read_xml(content).close
    return (content[:close] + written(tree).encode() + content[close:]).decode()


class _Edits:
    """Changes to an XMP at the places that they concern; every other byte stays."""

    def __init__(self, xmp: bytes) -> None:
        self.xmp = xmp
        self.splices: list[
            tuple[int, int, bytes]
        ] = []  # first byte and end of what goes, and what comes there
        self.inside: dict[_Node, list[_Piece]] = {}
        self.renamed: dict[_Node, str] = {}

    def apply(self, rdf: _Node | None = None, note: dict[str, Any] | None = None) -> bytes:
        """The new XMP, with a note of how to undo it."""
        record = (_declared(_RECORD, "record"), "")
        if note is not None:
            self.add(cast(_Node, rdf), record)
        filled = [self._filled(node, pieces) for node, pieces in self.inside.items()]
        empty = _render(record, "").encode()
        parts, at, grown, undo = [], 0, 0, []
        for start, end, new in sorted([*self.splices, *filled]):
            length = len(new) - len(empty) * (note is not None and empty in new)
            undo.append([start + grown, length, self.xmp[start:end].decode()])
            grown += length - (end - start)
            parts += [self.xmp[at:start], new]
            at = end
        after = b"".join([*parts, self.xmp[at:]])
        if note is None:
            return after
        noted = json.dumps({"sha256": hashlib.sha256(self.xmp).hexdigest(), "undo": undo, **note})
        return after.replace(empty, _render((record[0], noted), "").encode(), 1)

    def add(self, rdf: _Node, piece: _Piece) -> None:
        """A property of the picture. Readers that look at one rdf:Description look at the first."""
        self.inside.setdefault(next(iter(_descriptions(rdf)), rdf), []).append(piece)

    def remove(self, node: _Node) -> None:
        """Take an element out, with the space before it."""
        start = node.start
        while self.xmp[start - 1 : start].isspace():
            start -= 1
        self.splices.append((start, node.end, b""))

    def forget(self, node: _Node) -> None:
        """Take an element out, with all that would be changed in it."""
        self.splices = [one for one in self.splices if not (node.start <= one[0] and one[1] <= node.end)]
        self.remove(node)

    def drop(self, node: _Node, key: str, *, declared: bool = False) -> None:
        """Take an attribute out, and on demand the declaration of its prefix that stands beside it."""
        found = self._attribute(node, key)
        self.splices.append((found.start(), found.end(), b""))
        prefix = b"xmlns:" + found[1].partition(b":")[0]
        for one in _ATTRIBUTE.finditer(self.xmp, node.start, node.body) if declared else ():
            if one[1] == prefix:
                self.splices.append((one.start(), one.end(), b""))

    def exchange(self, found: _Found, text: str) -> None:
        """Another text in place of a property's."""
        if text == found.items[0][1]:
            return
        if found.is_attribute:
            attribute = self._attribute(found.owner, found.key)
            start, end = attribute.span(2 if attribute[2] is not None else 3)
        else:
            start, end = found.owner.body, found.owner.close
        new = escape(text, {'"': "&quot;", "'": "&apos;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
        self.splices.append((start, end, new.encode()))

    def extend(self, rdf: _Node, name: str, found: Sequence[_Found], added: Sequence[str]) -> None:
        """Keywords at the end of a list, which is made where there is none, and mended where it is none of its type."""
        kind, old = KINDS[name], [value for one in found for _, value in one.items]
        bag = found[0].bag if len(found) == 1 else None
        if bag is None:
            for one in found:
                if one.is_attribute:
                    self.drop(one.owner, one.key)
                else:
                    self.remove(one.owner)
            prefix = next(iter(_descriptions(rdf)), rdf).prefix
            items = [(f"{prefix}li", value) for value in [*old, *added]]
            self.add(rdf, (_declared(kind, name), [(f"{prefix}{kind.type}", items)]))
            return
        if bag.name != f"{_RDF}{kind.type}":
            self._rename(bag, f"{bag.prefix}{kind.type}")
        for item in bag.children:
            if _LANGUAGE in item.attributes:  # with languages the XMP toolkit takes a list for one text
                self.drop(item, _LANGUAGE)
        self.inside.setdefault(bag, []).extend((f"{bag.prefix}li", value) for value in added)

    def _rename(self, node: _Node, name: str) -> None:
        self.renamed[node] = name
        for at in [node.start + 1] if node.empty else [node.start + 1, node.close + 2]:
            self.splices.append((at, at + len(node.raw.encode()), name.encode()))

    def _attribute(self, node: _Node, key: str) -> re.Match[bytes]:
        written = [
            found
            for found in _ATTRIBUTE.finditer(self.xmp, node.start, node.body)
            if found[1].partition(b":")[0] != b"xmlns"
        ]
        return written[list(node.attributes).index(key)]

    def _filled(self, node: _Node, pieces: Sequence[_Piece]) -> tuple[int, int, bytes]:
        """Elements at the end of another, on lines of their own where others are."""
        if node.name == f"{_RDF}RDF":
            about = f' {node.prefix}about=""' if node.prefix else ""
            pieces = [(f"{node.prefix}Description{about}", list(pieces))]
        own = self._line(node)
        if node.children:
            line = self._line(node.children[-1])
            at = node.children[-1].end
            return at, at, "".join(_render(piece, line) for piece in pieces).encode()
        new = "".join(_render(piece, f"{own} " if own else "") for piece in pieces)
        if node.empty:
            new = f">{new}{own}</{self.renamed.get(node, node.raw)}>"
            return node.body - 2, node.body, new.encode()
        if b"\n" not in self.xmp[node.body : node.close]:
            new += own
        return node.body, node.body, new.encode()

    def _line(self, node: _Node) -> str:
        """The line's end and the space before an element that stands first on its line."""
        found = _LINE.search(self.xmp[max(0, node.start - 200) : node.start])
        return found[0].decode() if found else ""


def _declared(kind: Kind, name: str) -> str:
    return f'{kind.prefix}:{name} xmlns:{kind.prefix}="{kind.namespace}"'


def _render(piece: _Piece, line: str) -> str:
    start, content = piece
    name = start.partition(" ")[0]
    if isinstance(content, str):
        return f"{line}<{start}>{escape(content, {chr(13): '&#13;'})}</{name}>"
    inner = "".join(_render(one, f"{line} " if line else "") for one in content)
    return f"{line}<{start}>{inner}{line}</{name}>"


# What a picture says of itself.
_TEXTS = (
    ("title", "Alt", (2, 5), None),
    ("description", "Alt", (2, 120), 0x010E),
    ("creator", "Seq", (2, 80), 0x013B),
    ("rights", "Alt", (2, 116), 0x8298),
)
_IPTC_KEYWORDS, _IPTC_CHARSET = (2, 25), (1, 90)
_EXIF_KEYWORDS, _EXIF_RATING = 0x9C9E, 0x4746  # as Windows writes them
_LATIN = (b"\x1b.A", b"\x1b-A")


@dataclass(frozen=True)
class _Own:
    """The XMP in a picture, as it was before vtm, and what it says in the older forms, IPTC and Exif."""

    xmp: bytes | None = None
    keywords: tuple[str, ...] = ()
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rating: int | None = None
    of_exif: frozenset[str] = frozenset()  # what of these is not from IPTC
    ours: frozenset[str] = frozenset()  # keywords that vtm wrote, which other programs may have copied


def _read_own(content: bytes) -> _Own:
    """What a picture says; nothing where Pillow cannot open it. DataError: its XMP cannot be read."""
    from PIL import IptcImagePlugin

    xmp: bytes | str | None = None
    try:
        with read_header(BytesIO(content)) as image:
            try:
                xmp = read_xmp(content)
            except DataError:  # in a form that can be read, if not replaced
                if image.format == "PNG":
                    image.load()
                xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
            iptc = IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]
            # Of a PNG it would decode all to look for what stands behind the picture.
            exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
            exif = {key: exif.get(key) for key in (0x010E, 0x013B, 0x8298, _EXIF_KEYWORDS, _EXIF_RATING)}
    except Exception:  # Pillow lets many kinds of errors through; the pictures' own loop tells them
        return _Own()
    charset = iptc.get(_IPTC_CHARSET, b"")
    texts, of_exif = {}, set()
    for name, _, dataset, tag in _TEXTS:
        values = [_decoded(one, charset) for one in _many(iptc.get(dataset))]
        if not values and tag is not None and isinstance(exif.get(tag), str):
            values = [exif[tag].strip("\0 ")]
            of_exif.add(name)
        if any(value.strip() for value in values):
            texts[name] = [value for value in map(_storable, values) if value.strip()]
    keywords = [_decoded(one, charset) for one in _many(iptc.get(_IPTC_KEYWORDS))]
    if not keywords and isinstance(exif[_EXIF_KEYWORDS], bytes | tuple):
        keywords = bytes(exif[_EXIF_KEYWORDS]).decode("utf-16-le", "replace").strip("\0").split(";")
        of_exif.add(FLAT)
    rating = exif[_EXIF_RATING]
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    return _Own(
        None if xmp is None else _take_out(xmp),
        tuple(word for word in keywords if word.strip()),
        texts,
        rating if isinstance(rating, int) and 0 < rating <= 5 else None,
        frozenset(of_exif),
        frozenset() if xmp is None else _below_root(xmp),
    )


def _below_root(xmp: bytes) -> frozenset[str]:
    """The keywords that vtm wrote into an XMP: those of others get no place below `ROOT`."""
    return frozenset(path[-1] for path in _paths(read_keywords(xmp)) if _is_ours(path))


def _many(value: bytes | list[bytes] | None) -> list[bytes]:
    return [value] if isinstance(value, bytes) else value or []


def _decoded(text: bytes, charset: object) -> str:
    """A text of IPTC: in UTF-8 where it says so or can be it, else in what Windows and old Macs' programs took for Latin."""
    if charset not in _LATIN:
        with suppress(UnicodeDecodeError):
            return text.decode()
    with suppress(UnicodeDecodeError):
        return text.decode("cp1252")
    return text.decode("latin-1")


def _new_sidecar(own: _Own, dropped: Sequence[str]) -> bytes:
    """A sidecar that says what a picture does, for programs that take the sidecar in place of all that."""
    base = EMPTY.encode() if own.xmp is None else own.xmp.rstrip(b"\0")
    base = re.sub(rb"\s+(?=<\?xpacket end)", b"\n", base)  # room for changes, which a file need not have
    rdf, edits, there = _parse(base), _Edits(base), set()
    for description in _descriptions(rdf):
        for key in description.attributes:
            there.add(key)
            if key.rpartition(" ")[0] in dropped:
                edits.drop(description, key)
        for element in description.children:
            there.add(element.name)
            if element.name.rpartition(" ")[0] in dropped:
                edits.remove(element)
    prefix = next(iter(_descriptions(rdf)), rdf).prefix
    for name, type_, *_ in _TEXTS:
        kind = Kind("dc", KINDS[FLAT].namespace, type_, "")
        if f"{kind.namespace} {name}" not in there and own.texts.get(name):
            language = ' xml:lang="x-default"' if type_ == "Alt" else ""
            values = own.texts[name][:1] if type_ == "Alt" else own.texts[name]
            items = [(f"{prefix}li{language}", value) for value in values]
            edits.add(rdf, (_declared(kind, name), [(f"{prefix}{type_}", items)]))
    basic = Kind("xmp", "http://ns.adobe.com/xap/1.0/", "", "")
    if f"{basic.namespace} Rating" not in there and own.rating is not None:
        edits.add(rdf, (_declared(basic, "Rating"), str(own.rating)))
    # darktable finds the keywords of IPTC besides those of XMP, but not where there is a sidecar.
    lists, keywords = _lists(rdf), list(dict.fromkeys(map(_storable, own.keywords)))
    for name in (FLAT, TREE):
        values = _values(lists.get(name, ()))
        held = {level for value in values for level in (_split(name, value) if name == TREE else [value])}
        missing = [_joined(TREE, [word]) if name == TREE else word for word in keywords if word not in held]
        if values and missing:
            edits.extend(rdf, name, lists[name], missing)
    return edits.apply()


def _stars(xmp: bytes) -> int | None:
    key = "http://ns.adobe.com/xap/1.0/ Rating"
    descriptions = _descriptions(_parse(xmp))
    told = [description.attributes.get(key, "") for description in descriptions]
    told += [
        child.text for description in descriptions for child in description.children if child.name == key
    ]
    return next((int(stars) for stars in map(str.strip, told) if stars in ("1", "2", "3", "4", "5")), None)


def sidecar_path(picture: Path | str, *, basename: bool = False) -> Path:
    """The sidecar of a picture: its whole name and `.xmp`, as digiKam and darktable call it, or as Lightroom does.

    >>> from vtm.corpora.keywords import sidecar_path
    >>> sidecar_path("holiday/boat.jpg").as_posix(), sidecar_path("holiday/boat.jpg", basename=True).as_posix()
    ('holiday/boat.jpg.xmp', 'holiday/boat.xmp')
    """
    picture = Path(picture)
    return picture.with_suffix(".xmp") if basename else picture.with_name(f"{picture.name}.xmp")


def write_sidecar(
    picture: Path | str,
    keywords: Sequence[str],
    hierarchy: Sequence[Sequence[str]] = (),
    *,
    basename: bool = False,
) -> bool:
    """Put keywords into a picture's sidecar, in place of those of an earlier time; the picture itself stays as it is.

    A new sidecar says all that the picture does: programs take it in place of that. Without keywords, one that is new
    since vtm goes. An old one keeps its permissions, owner and group.

    Parameters
    ----------
    keywords, hierarchy : as for `replace_keywords`.
    basename : as for `sidecar_path`.

    Returns
    -------
    Whether anything was written.

    Raises
    ------
    DataError
        What is there is no regular file, larger than `MAX_SIDECAR_BYTES`, write-protected or no XMP; or the picture's own
        XMP is none, or another picture would share the sidecar. It stays as it is.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vtm.corpora.keywords import read_keywords, write_sidecar
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_sidecar(f"{folder}/boat.jpg", ["boat", "sea"], [["vtm", "boat sea", "boat"]])
    ...     read_keywords(Path(f"{folder}/boat.jpg.xmp").read_bytes())
    True
    {'hierarchicalSubject': ['vtm|boat sea|boat', 'vtm|sea'], 'subject': ['boat', 'sea']}
    """
    picture = Path(picture)
    path, other = (sidecar_path(picture, basename=named) for named in (basename, not basename))
    before = _read_sidecar(path)
    with _named(path):
        if before is not None:
            _check_writable(path)
        if basename and keywords and (twins := _twins(picture, raw=False)):
            raise DataError(f"it would be the sidecar of {twins[0]}, too; leave out --sidecar-name basename")
        start, beside = _around(picture, other, _DEVELOPED + (_CAMERA_RAW,) * basename, new=before is None)
        after = replace_keywords(before, keywords, hierarchy, beside=beside, start=start)
        if after == before:
            return False
        if after is None:
            path.unlink()
        elif before is None:
            with atomic_path(path) as temporary:
                temporary.write_bytes(after)
        else:
            _exchange(path, after)
    return True


def _read_sidecar(path: Path) -> bytes | None:
    if path.is_symlink():
        raise DataError(f"{path}: it is a link; it is left as it is")
    try:
        return read_regular(path, most=MAX_SIDECAR_BYTES)
    except FileNotFoundError:
        return None


def _twins(picture: Path, *, raw: bool) -> list[str]:
    """Other pictures whose name differs in the suffix alone. A raw file is the one whose sidecar it is."""
    if picture.suffix.lower() in RAW_SUFFIXES:
        return []
    lower = SUFFIXES if raw else SUFFIXES - RAW_SUFFIXES
    suffixes = sorted({*lower, *map(str.upper, lower)} - {picture.suffix})
    others = [other for other in map(picture.with_suffix, suffixes) if other.exists()]
    # A file system that knows no capitals finds the picture itself.
    return [other.name for other in others if not (picture.exists() and other.samefile(picture))]


def _around(
    picture: Path, other: Path, dropped: Sequence[str], *, new: bool
) -> tuple[bytes, dict[str, Sequence[str]]]:
    """What a new sidecar starts from, and keywords that programs find elsewhere: in a sidecar of the other name, or in the
    picture.
    """
    own, beside, start = _Own(), dict[str, Sequence[str]](), None
    with suppress(FileNotFoundError):
        content = read_regular(picture, most=MAX_BYTES)
        try:
            own = _read_own(content)
        except DataError as error:
            if new:
                raise DataError(
                    f"the picture's own XMP, which belongs in it, is unreadable: {error}"
                ) from None
    with suppress(DataError):  # one that cannot be read, programs do not read either
        if (found := _read_sidecar(other)) and (found := _take_out(found)):
            beside |= read_keywords(found)
            if not _twins(picture, raw=True):
                start = _new_sidecar(_Own(found), dropped)
            else:  # another picture's, whose stars darktable and digiKam show of this one, too
                own = replace(own, rating=own.rating or _stars(found))
    for name, values in ({} if own.xmp is None else read_keywords(own.xmp)).items():
        beside[name] = beside.get(name) or values
    beside[FLAT] = beside.get(FLAT) or own.keywords
    return start or _new_sidecar(own, dropped), beside


def write_original(
    picture: Path | str, keywords: Sequence[str], hierarchy: Sequence[Sequence[str]] = ()
) -> bool:
    """Put keywords into the XMP of a JPEG or PNG, in place of those of an earlier time; its other bytes stay.

    The file is exchanged for a new one in one step, with the permissions, owner and group of the old one. Another name of
    the same file (a hard link) keeps the old one. Links are not followed. A new dc:subject begins with the keywords that
    the picture has in IPTC, or else in Exif. Without keywords, XMP that is new since vtm goes.

    Parameters
    ----------
    keywords, hierarchy : as for `replace_keywords`.

    Returns
    -------
    Whether anything was written.

    Raises
    ------
    DataError
        A link, a file that is write-protected or larger than `vtm.corpora.pictures.MAX_BYTES`, another format, or XMP
        that cannot be added to (`read_xmp`, `replace_keywords`); it stays as it is.
    OSError
        It cannot be read or written.

    Examples
    --------
    >>> import shutil, tempfile
    >>> from PIL import Image
    >>> from vtm.corpora import load_corpus
    >>> from vtm.corpora.keywords import write_original
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
    with _named(path):
        _check_writable(path)
        old = read_xmp(before)
        new = replace_keywords(old, keywords, hierarchy, beside={FLAT: _read_own(before).keywords})
        if new == old:
            return False
        _exchange(path, with_xmp(before, new))
    return True


def remove_keywords(picture: Path | str) -> tuple[list[Path], list[str]]:
    """Take vtm's keywords out of a picture and its sidecars of both names; what is without them is not touched.

    Returns
    -------
    The files that were changed, or removed where they are new since vtm; and why others could not be.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vtm.corpora.keywords import remove_keywords, write_sidecar
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_sidecar(f"{folder}/boat.jpg", ["boat"])
    ...     changed, failures = remove_keywords(f"{folder}/boat.jpg")
    ...     [path.name for path in changed], failures, list(Path(folder).iterdir())
    True
    (['boat.jpg.xmp'], [], [])
    """
    picture = Path(picture)
    full, short = (sidecar_path(picture, basename=basename) for basename in (False, True))
    changed, failures = [], []
    for path, most in ((full, MAX_SIDECAR_BYTES), (short, MAX_SIDECAR_BYTES), (picture, MAX_BYTES)):
        try:
            if _has_ours(path, most):
                is_changed = (
                    write_original(path, [])
                    if path == picture
                    else write_sidecar(picture, [], basename=path == short)
                )
                changed += [path] * is_changed
        except DataError as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(said(error, path))
    return changed, failures


def _has_ours(path: Path, most: int) -> bool:
    try:
        content = read_regular(path, most=most)
    except FileNotFoundError:
        return False
    # The second is how keywords come back from programs that drop what they do not know.
    return _RECORD.namespace.encode() in content or f">{ROOT}|".encode() in content


def _check_writable(path: Path) -> None:
    if not path.stat().st_mode & _WRITABLE or not os.access(path, os.W_OK):
        raise DataError("it is write-protected")


def _exchange(path: Path, content: bytes) -> None:
    """Put a new file in the place of another in one step, with its permissions, owner, group and attributes."""
    old = path.stat()
    with atomic_path(path, mode=stat.S_IMODE(old.st_mode)) as temporary:
        temporary.write_bytes(content)
        new = temporary.stat()
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            try:
                os.chown(temporary, old.st_uid, old.st_gid)
            except PermissionError:
                raise DataError("it belongs to another user or group, and a new one would be yours") from None
        shutil.copystat(path, temporary)  # for the extended attributes
        os.utime(temporary)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}; it is left as it is") from None


# XMP part 3 by Adobe. A JPEG's segments up to its first scan: other markers have no business there.
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_SEGMENT = re.compile(rb"\xff+([\xc0-\xcf\xda-\xfe])(..)", re.DOTALL)
_APP0, _APP1, _APP2, _SCAN = b"\xe0", b"\xe1", b"\xe2", b"\xda"
_HEADER, _EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_MOST = 0xFFFF - 2 - len(_HEADER)  # bytes of XMP in one segment
_KEYWORD, _RAW = b"XML:com.adobe.xmp", b"raw profile type xmp"
_PLAIN = _KEYWORD + b"\0\0\0\0\0"  # not compressed, of no language


def read_xmp(picture: bytes) -> bytes | None:
    """The XMP of a JPEG or PNG; None where it has none.

    Raises
    ------
    DataError
        Another format, a picture whose parts cannot be followed, or XMP in a form that cannot be replaced: in several
        parts, compressed, or in a JPEG of several pictures (MPO), which are found by their distance.
    """
    return _find(picture)[2]


def with_xmp(picture: bytes, xmp: bytes | None) -> bytes:
    """The picture with this XMP, or none, in place of its own; every other byte stays.

    Raises
    ------
    DataError
        As `read_xmp`; or XMP that is too long for a JPEG.

    Examples
    --------
    >>> from vtm.corpora import load_corpus
    >>> from vtm.corpora.keywords import read_xmp, with_xmp
    >>> picture = load_corpus("scenes", n=120).images[0].read_bytes()
    >>> read_xmp(picture), read_xmp(with_xmp(picture, b"<rdf:RDF/>"))
    (None, b'<rdf:RDF/>')
    """
    start, end, _ = _find(picture)
    if xmp is None:
        return picture[:start] + picture[end:]
    if picture.startswith(_PNG):
        body = b"iTXt" + _PLAIN + xmp
        part = len(body[4:]).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    elif len(xmp) > _MOST:
        raise DataError(f"its XMP would be longer than the {_MOST} bytes that a JPEG has room for")
    else:
        part = b"\xff" + _APP1 + (2 + len(_HEADER) + len(xmp)).to_bytes(2) + _HEADER + xmp
    return picture[:start] + part + picture[end:]


def _find(picture: bytes) -> tuple[int, int, bytes | None]:
    """First byte and end of what holds the XMP, with the XMP; where there is none, twice the place for it, and None."""
    if picture.startswith(_JPEG):
        free, found = _in_jpeg(picture)
    elif picture.startswith(_PNG):
        free, found = _in_png(picture)
    else:
        raise DataError("it is neither JPEG nor PNG")
    if len(found) > 1:
        raise DataError(f"it has {len(found)} XMP packets")
    return found[0] if found else (free, free, None)


def _in_jpeg(picture: bytes) -> tuple[int, list[tuple[int, int, bytes]]]:
    """The first byte after JFIF's and Exif's segments, which must stand first, and the XMP with its place."""
    free, at, first, found = 2, 2, True, []
    while (segment := _SEGMENT.match(picture, at)) and segment[1] != _SCAN:
        marker, start = segment[1], segment.start(1) - 1
        at = segment.end(1) + int.from_bytes(segment[2])
        if at < segment.end() or at > len(picture):
            break
        body = picture[segment.end() : at]
        if marker == _APP1 and body.startswith(_HEADER):
            found.append((start, at, body[len(_HEADER) :]))
        elif marker == _APP1 and body.startswith(_EXTENSION):
            raise DataError("it has extended XMP")
        elif marker == _APP2 and body.startswith(b"MPF\0"):
            raise DataError("it holds several pictures (MPO)")
        first = first and (marker == _APP0 or (marker == _APP1 and body.startswith(b"Exif\0")))
        free = at if first else free
    if segment is None or segment[1] != _SCAN:
        raise DataError("it is no whole JPEG")
    return free, found


def _in_png(picture: bytes) -> tuple[int, list[tuple[int, int, bytes]]]:
    """The first byte after the header's chunk, and the XMP with its place; the sum of each chunk is checked."""
    at, free, kind, found = len(_PNG), 0, b"", []
    while kind != b"IEND":
        start, at = at, at + 12 + int.from_bytes(picture[at : at + 4])
        kind, body, sum_ = picture[start + 4 : start + 8], picture[start + 8 : at - 4], picture[at - 4 : at]
        whole = at <= len(picture) and zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(sum_)
        if not whole or (start == len(_PNG)) != (kind == b"IHDR"):
            raise DataError("it is no whole PNG")
        keyword = body[: len(_RAW) + 1].partition(b"\0")[0]
        if kind in (b"tEXt", b"zTXt") and keyword.lower() == _RAW:
            raise DataError("its XMP is in the form of ImageMagick")
        if kind == b"iTXt" and keyword == _KEYWORD:
            if not body.startswith(_PLAIN):
                raise DataError("its XMP is compressed or has a language")
            found.append((start, at, body[len(_PLAIN) :]))
        free = free or at
    return free, found


# Chunks of a PNG that are not seen.
_UNSEEN = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME")


def fingerprint(picture: Path | str) -> str:
    """What a picture shows, in 17 characters, which are the same after words were written into a JPEG or PNG.

    Of these all is read but what programs note in them; of other files everything.

    Raises
    ------
    DataError, OSError
        Larger than `vtm.corpora.pictures.MAX_BYTES`; it cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> import shutil, tempfile
    >>> from vtm.corpora import load_corpus
    >>> from vtm.corpora.keywords import fingerprint, write_original
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     copy = shutil.copy(load_corpus("scenes", n=120).images[0], folder)
    ...     before = fingerprint(copy)
    ...     write_original(copy, ["boat"]), fingerprint(copy) == before
    (True, True)
    """
    content = read_regular(picture, most=MAX_BYTES)
    seen = content
    if content.startswith(_JPEG):
        parts, at = [], 2
        while (segment := _SEGMENT.match(content, at)) and segment[1] != _SCAN:
            start, at = at, segment.end(1) + max(2, int.from_bytes(segment[2]))
            if not _APP0 <= segment[1] <= b"\xef" and segment[1] != b"\xfe":
                parts.append(content[start:at])
        seen = b"".join([*parts, content[at:]])
    elif content.startswith(_PNG):
        parts, at = [], len(_PNG)
        while at < len(content):
            start, at = at, at + 12 + int.from_bytes(content[at : at + 4])
            if content[start + 4 : start + 8] not in _UNSEEN:
                parts.append(content[start:at])
        seen = b"".join(parts)
    # A letter in front: of digits alone a spreadsheet makes a number.
    return f"x{hashlib.sha256(seen).hexdigest()[:16]}"


# What cameras write for a description, in small letters, and the roots of what programs keep among the keywords.
_OF_CAMERAS = frozenset(
    ("olympus digital camera", "minolta digital camera", "kodak digital still camera", "sony dsc", "samsung")
    + ("digital camera", "exif_jpeg_picture", "exif jpeg", "dcf 1.0", "jpeg", "default", "untitled")
)
_OF_PROGRAMS = ("_Digikam_root_tag_", "_Digikam_Internal_Tags_", "darktable")


@dataclass(frozen=True)
class OwnWords:
    """What people wrote about a picture.

    Attributes
    ----------
    captions : description and title.
    keywords : levels of paths are keywords, too.
    where : the places that had any of it, or could not be read.
    """

    captions: tuple[str, ...]
    keywords: tuple[str, ...]
    where: tuple[str, ...]


def read_own_words(picture: Path | str, *, language: str = "") -> OwnWords:
    """Captions and keywords in a picture, as XMP, IPTC and Exif, and in its sidecars of both names, each once.

    What vtm wrote is left out, and so are titles that are the file's name, and descriptions that cameras write.

    Parameters
    ----------
    language : code of the language, or of several, in which a caption is taken; where there is none, the first.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from vtm.corpora.keywords import read_own_words, write_sidecar
    >>> exif = Image.Exif()
    >>> exif[0x010E] = "A boat at sea"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (8, 8)).save(f"{folder}/boat.jpg", exif=exif)
    ...     _ = write_sidecar(f"{folder}/boat.jpg", ["ship"])
    ...     read_own_words(f"{folder}/boat.jpg")
    OwnWords(captions=('A boat at sea',), keywords=(), where=('captions in Exif',))
    """
    picture = Path(picture)
    captions: dict[str, None] = {}
    keywords: dict[str, None] = {}
    ours: set[str] = set()
    where: dict[str, None] = {}

    def note(place: str, texts: Iterable[str], words: Iterable[str]) -> None:
        of_texts = [text for text in map(_clean, texts) if _is_caption(text, picture)]
        of_words = [word for word in map(_clean, words) if word and word not in ours]
        captions.update(dict.fromkeys(of_texts))
        keywords.update(dict.fromkeys(of_words))
        where.update({f"captions in {place}": None} if of_texts else {})
        where.update({f"keywords in {place}": None} if of_words else {})

    for path in [sidecar_path(picture)] + [sidecar_path(picture, basename=True)] * (
        not _twins(picture, raw=True)
    ):
        try:
            if (xmp := _read_sidecar(path)) is not None:
                ours |= _below_root(xmp)
                if (xmp := _take_out(xmp)) is not None:
                    note("sidecars", *_said_in(xmp, language))
        except (DataError, OSError):
            where["sidecars that cannot be read"] = None
    try:
        own = _read_own(read_regular(picture, most=MAX_BYTES))
    except (DataError, OSError):
        own, where["pictures' XMP that cannot be read"] = _Own(), None
    ours |= own.ours
    if own.xmp is not None:
        note("pictures' XMP", *_said_in(own.xmp, language))
    for name in ("description", "title"):
        note("Exif" if name in own.of_exif else "IPTC", own.texts.get(name, ()), ())
    note("Exif" if FLAT in own.of_exif else "IPTC", (), own.keywords)
    return OwnWords(tuple(captions), tuple(keywords), tuple(where))


def _is_caption(text: str, picture: Path) -> bool:
    return bool(text) and text.lower() not in {*_OF_CAMERAS, picture.name.lower(), picture.stem.lower()}


def _said_in(xmp: bytes, language: str) -> tuple[list[str], list[str]]:
    """Captions and keywords of an XMP."""
    rdf, found = _parse(xmp), read_keywords(xmp)
    levels = [level for path in _paths(found) if path[0] not in _OF_PROGRAMS for level in path]
    captions = [
        _one_language(rdf, f"{KINDS[FLAT].namespace} {name}", language) for name in ("description", "title")
    ]
    return [caption for caption in captions if caption], [*found.get(FLAT, ()), *levels]


def _one_language(rdf: _Node, key: str, language: str) -> str:
    """A text that may stand there in several languages."""
    codes = re.findall("[a-z]+", language.lower())
    for description in _descriptions(rdf):
        if key in description.attributes:
            return description.attributes[key]
        for element in description.children:
            if element.name == key:
                items = [item for bag in element.children if bag.name in _BAGS for item in bag.children]
                spoken = {
                    item.attributes.get(_LANGUAGE, "").lower(): _value(item) for item in reversed(items)
                }
                wanted = (text for code, text in spoken.items() if code.split("-")[0] in codes)
                return next(wanted, spoken.get("x-default", next(reversed(spoken.values()), _value(element))))
    return ""
