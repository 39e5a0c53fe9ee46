"""Keywords in XMP, the XML that photo programs keep their notes on pictures in (ISO 16684-1).

They stand in dc:subject, and those with a hierarchy in lr:hierarchicalSubject (Lightroom, digiKam, darktable). New
ones are put beside those of other programs and every other byte stays, so that ratings, edits and comments are kept
also in forms that this module knows nothing of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

from vtm.errors import DataError
from vtm.xmp_places import PROPERTIES, RDF, Element, Reader

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
    >>> from vtm.xmp import read_keywords, replace_keywords
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
    >>> from vtm.xmp import read_keywords
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
