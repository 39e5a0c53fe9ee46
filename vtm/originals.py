"""Keywords in the picture files themselves, for who asks for it; sidecars (`vtm.sidecars`) leave them alone."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from vtm.embedded_xmp import read_xmp, with_xmp
from vtm.errors import DataError
from vtm.files import atomic_path, read_regular
from vtm.pictures import MAX_BYTES
from vtm.sidecars import EMPTY, ROOT
from vtm.xmp import replace_keywords

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
        As for `vtm.sidecars.write_sidecar`.

    Returns
    -------
    Whether anything was written.

    Raises
    ------
    DataError
        A link, a file that is write-protected or larger than `vtm.pictures.MAX_BYTES`, another format, or XMP that
        cannot be added to (`vtm.embedded_xmp.read_xmp`, `vtm.xmp.replace_keywords`); it stays as it is.
    OSError
        It cannot be read or written.

    Examples
    --------
    >>> import shutil, tempfile
    >>> from PIL import Image
    >>> from vtm.corpora import load_corpus
    >>> from vtm.originals import write_original
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
