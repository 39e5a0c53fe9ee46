"""Sidecars: a picture's keywords in a file beside it, which photo programs read; it is not written to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vtm.errors import DataError
from vtm.files import atomic_path, read_regular
from vtm.xmp import replace_keywords

MAX_BYTES = 20_000_000  # photo programs write some kilobytes
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
        As for `vtm.xmp.replace_keywords`, with the root "vtm".

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
    >>> from vtm.sidecars import write_sidecar
    >>> from vtm.xmp import read_keywords
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
        before = read_regular(path, most=MAX_BYTES)
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
