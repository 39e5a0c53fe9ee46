"""A Hugging Face hub that is a local folder, and a network that nobody may use."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest


def block_network(patch: pytest.MonkeyPatch) -> list[str]:
    """Refuse every attempt to connect or to look up a name.

    Returns
    -------
    list of str
        Grows with each attempt: who asks may well swallow the error.
    """
    attempts: list[str] = []

    def refuse(*asked: object, **_: object) -> None:
        attempts.append(repr(asked))
        raise OSError("the network was asked")

    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket, "getaddrinfo", refuse)
    return attempts


COMMIT = "0123abcd" * 5


class FakeHub:
    """Answers huggingface_hub's requests from the folders `root/ORGANIZATION/NAME`, and counts what is asked for.

    The client, with its cache, is the real one; it sends its requests to no socket, but here.

    Parameters
    ----------
    break_at
        Names of files at which the connection breaks.
    damage
        Names of files that come with another last byte.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        import httpx2

        self.root = root
        self.served: list[str] = []
        self.break_at: set[str] = set()
        self.damage: set[str] = set()
        self._response = httpx2.Response
        client = httpx2.Client(transport=httpx2.MockTransport(self.answer), follow_redirects=True)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        patch.setattr("huggingface_hub.utils._http._GLOBAL_CLIENT", client)

    def answer(self, request: Any) -> Any:
        """The answer to a request of huggingface_hub's; see its `HfApi` and `hf_hub_download`."""
        path = request.url.path.removeprefix("/api/models").strip("/")
        repository = "/".join(path.split("/")[:2])
        folder = self.root / repository
        if not folder.is_dir():
            return self._response(404, headers={"X-Error-Code": "RepoNotFound"})
        rest = path.removeprefix(repository).strip("/")
        if rest.startswith("revision/"):
            return self._response(200, json={"id": repository, "sha": COMMIT})
        if rest.startswith("tree/"):
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            return self._response(200, json=[_entry(folder, path) for path in files])
        name = rest.removeprefix(f"resolve/{COMMIT}/")
        if Path(name).name in self.break_at:
            return self._response(403, headers={"X-Error-Message": "the line went dead"})
        content = (folder / name).read_bytes()
        entry = _entry(folder, folder / name)
        if Path(name).name in self.damage:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": entry.get("lfs", entry)["oid"], "X-Repo-Commit": COMMIT}
        if request.method == "HEAD":
            return self._response(200, headers={**headers, "Content-Length": str(len(content))})
        self.served.append(f"{repository}/{name}")
        return self._response(200, headers=headers, content=content)


def _entry(folder: Path, path: Path) -> dict[str, Any]:
    """A file as the hub lists it: it knows the SHA-256 of large files only, and git's hash of others."""
    content, name = path.read_bytes(), path.relative_to(folder).as_posix()
    entry = {"type": "file", "path": name, "size": len(content)}
    if path.suffix == ".json":
        return {**entry, "oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
    large = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return {**entry, "oid": "0" * 40, "lfs": large}
