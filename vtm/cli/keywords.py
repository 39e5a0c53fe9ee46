"""The keywords of a picture in XMP (ISO 16684-1), in a sidecar beside it or in the JPEG or PNG itself.

They stand in dc:subject, and those with a hierarchy in lr:hierarchicalSubject (Lightroom, digiKam, darktable). New ones
are put beside those of other programs; elements, attributes and comments that are not vtm's keep their content and
order, so that ratings and edits are kept also in forms that this module knows nothing of.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lxml import etree

from vtm.corpora.pictures import MAX_BYTES
from vtm.errors import DataError
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

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LISTS = (f"{_RDF}Bag", f"{_RDF}Seq", f"{_RDF}Alt")
# property -> prefix and namespace
_PROPERTIES = {
    "subject": ("dc", "http://purl.org/dc/elements/1.1/"),
    "hierarchicalSubject": ("lr", "http://ns.adobe.com/lightroom/1.0/"),
}
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# What lxml does not keep: a byte-order mark, and how the XML declares itself.
_DECLARATION = re.compile(rb"(?:\xef\xbb\xbf)?(?:<\?xml\s.*?\?>\s*)?", re.DOTALL)
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


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
    return {name: [text for _, text in _items(bag)] for name, bag in _lists(_parse(xmp)).items()}


def replace_keywords(xmp: bytes, keywords: Sequence[str], hierarchy: Sequence[Sequence[str]] = ()) -> bytes:
    """The XMP with these keywords in place of those that were put there under `ROOT` before.

    A keyword of another program stays, and stays that program's: it gets no place under `ROOT`.

    Parameters
    ----------
    keywords
        For dc:subject. Those that are there are not added again.
    hierarchy
        For lr:hierarchicalSubject, each from the most general to the most special. What stands below `ROOT`, and its
        twins in dc:subject, are the earlier keywords.

    Returns
    -------
    The same bytes, where it has these keywords already.

    Raises
    ------
    DataError
        Not XMP that can be added to.

    Examples
    --------
    >>> from vtm.cli.keywords import read_keywords, replace_keywords
    >>> old = b'''<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    ... <rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/></rdf:RDF>'''
    >>> first = replace_keywords(old, ["sea"], [["vtm", "sea"]])
    >>> read_keywords(replace_keywords(first, ["moon"], [["vtm", "moon"]]))
    {'subject': ['moon'], 'hierarchicalSubject': ['vtm|moon']}
    >>> b'xmp:Rating="5"' in first
    True
    """
    rdf = _parse(xmp)
    lists = _lists(rdf)
    there = {name: [text for _, text in _items(lists.get(name, ()))] for name in _PROPERTIES}
    ours = {path for path in there["hierarchicalSubject"] if path.startswith(f"{ROOT}|")}
    others = {path.rpartition("|")[2] for path in there["hierarchicalSubject"] if path not in ours}
    earlier = {
        "subject": {path.rpartition("|")[2] for path in ours} - others,
        "hierarchicalSubject": ours,
    }
    foreign = set(there["subject"]) - earlier["subject"]
    paths = [[_clean(level).replace("|", "/") for level in path] for path in hierarchy]
    wanted = {
        "subject": [_clean(keyword) for keyword in keywords],
        "hierarchicalSubject": ["|".join(path) for path in paths if path[-1] not in foreign],
    }
    kept = {name: set(there[name]) - earlier[name] for name in _PROPERTIES}
    if all(set(there[name]) == kept[name] | {*filter(None, wanted[name])} for name in _PROPERTIES):
        return xmp
    for name, values in wanted.items():
        for item, text in _items(lists.get(name, ())):
            if text in earlier[name]:
                _remove(item)
        for value in dict.fromkeys(values):
            if value and value not in kept[name]:
                if name not in lists:
                    lists[name] = _new_list(rdf, name)
                _append(lists[name], f"{_RDF}li").text = value
    root = rdf.getroottree().getroot()
    whole = [*reversed([*root.itersiblings(preceding=True)]), root, *root.itersiblings()]
    lines = [etree.tostring(node, encoding="utf-8", with_tail=False) + b"\n" for node in whole]
    return _DECLARATION.match(xmp)[0] + b"".join(lines)


def _parse(xmp: bytes) -> etree._Element:
    """The rdf:RDF of an XMP."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, strip_cdata=False)
    try:
        xmp.decode("utf-8")
        root = etree.fromstring(xmp, parser)
    except (etree.XMLSyntaxError, UnicodeDecodeError) as error:
        raise DataError(f"it is not XML in UTF-8 ({' '.join(str(error).split())})") from None
    about = root.getroottree().docinfo
    if about.encoding.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise DataError(f"it is in {about.encoding}, not in UTF-8")
    if about.doctype:
        raise DataError("it has a DOCTYPE, which XMP has not")
    rdf = next(root.iter(f"{_RDF}RDF"), None)
    if rdf is None:
        raise DataError("it is no XMP, which holds rdf:RDF")
    return rdf


def _lists(rdf: etree._Element) -> dict[str, etree._Element]:
    """The first list of each property; keywords of what is nested deeper are another picture's."""
    found: dict[str, etree._Element] = {}
    for description in rdf.iterchildren(f"{_RDF}Description"):
        for name, (prefix, namespace) in _PROPERTIES.items():
            tag = f"{{{namespace}}}{name}"
            lists = [next(element.iterchildren(*_LISTS), None) for element in description.iterchildren(tag)]
            if tag in description.attrib or (lists[:1] == [None] and name not in found):
                raise DataError(f"its {prefix}:{name} is not a list")
            if lists:
                found.setdefault(name, lists[0])
    return found


def _items(bag: Sequence[etree._Element]) -> list[tuple[etree._Element, str]]:
    """The items of a list with their texts, without what is nested in them."""
    return [(item, "".join(item.xpath("text()"))) for item in bag if item.tag == f"{_RDF}li"]


def _new_list(rdf: etree._Element, name: str) -> etree._Element:
    """An empty list of keywords in the first description, which is made where there is none."""
    description = rdf.find(f"{_RDF}Description")
    if description is None:
        description = _append(rdf, f"{_RDF}Description")
        description.set(f"{_RDF}about", "")
    prefix, namespace = _PROPERTIES[name]
    return _append(_append(description, f"{{{namespace}}}{name}", {prefix: namespace}), f"{_RDF}Bag")


def _append(parent: etree._Element, tag: str, nsmap: dict[str, str] | None = None) -> etree._Element:
    """A new element at the end of another, on a line of its own where the other is."""
    element = etree.SubElement(parent, tag, nsmap=nsmap)
    holder, name = _before(element)
    space = getattr(holder, name) or ""
    line = re.search(r"\n[ \t]*\Z", space or getattr(*_before(parent), "") or "")
    if line:
        setattr(holder, name, (space or line[0]) + " ")
        element.tail = line[0]
    return element


def _remove(item: etree._Element) -> None:
    """Take an item out, with the space before it."""
    holder, name = _before(item)
    setattr(holder, name, (getattr(holder, name) or "").rstrip(" \t\r\n") + (item.tail or ""))
    item.getparent().remove(item)


def _before(element: etree._Element) -> tuple[etree._Element | None, str]:
    """What holds the text before an element, its elder sibling or its parent, and under which name."""
    elder = element.getprevious()
    return (element.getparent(), "text") if elder is None else (elder, "tail")


def _clean(keyword: str) -> str:
    return " ".join(_NOT_IN_XML.sub("", keyword).split())


def sidecar_path(picture: Path | str) -> Path:
    """The sidecar of a picture: its whole name and `.xmp`, as digiKam and darktable call it.

    >>> from vtm.cli.keywords import sidecar_path
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
        As for `replace_keywords`.

    Returns
    -------
    Whether anything was written.

    Raises
    ------
    DataError
        What is there is no regular file, larger than `MAX_SIDECAR_BYTES` or no XMP, or its keywords are not a list; it
        stays as it is.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vtm.cli.keywords import read_keywords, write_sidecar
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
    with _named(path):
        after = replace_keywords(before, keywords, hierarchy)
    if after == before:
        return False
    with atomic_path(path) as temporary:
        temporary.write_bytes(after)
    return True


def write_original(
    picture: Path | str, keywords: Sequence[str], hierarchy: Sequence[Sequence[str]] = ()
) -> bool:
    """Put keywords into the XMP of a JPEG or PNG, in place of those of an earlier time; its other bytes stay.

    The file is exchanged for a new one in one step, with the permissions of the old one. Another name of the same file
    (a hard link) keeps the old one. Links are not followed.

    Parameters
    ----------
    keywords, hierarchy
        As for `replace_keywords`.

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
    with _named(path):
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & _WRITABLE or not os.access(path, os.W_OK):
            raise DataError("it is write-protected")
        old = read_xmp(before)
        old = EMPTY.encode() if old is None else old
        new = replace_keywords(old, keywords, hierarchy)
        if new == old:
            return False
        after = with_xmp(before, new)
    with atomic_path(path, mode=mode) as temporary:
        temporary.write_bytes(after)
        shutil.copystat(path, temporary)  # for the extended attributes
        os.utime(temporary)
    return True


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


def with_xmp(picture: bytes, xmp: bytes) -> bytes:
    """The picture with this XMP in place of its own; every other byte stays.

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
    start, end, _ = _find(picture)
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
