"""A Hugging Face hub that is a local folder, and a network that nobody may use."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from vtm.files import hash_file


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


class FakeHub:
    """Serves the folders `root/ORGANIZATION/NAME` in place of the hub, and counts what is asked for.

    Parameters
    ----------
    break_at
        Names of files at which the connection breaks.
    damage
        Names of files that come with one more byte.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        self.root = root
        self.served: list[str] = []
        self.break_at: set[str] = set()
        self.damage: set[str] = set()
        patch.setattr(huggingface_hub, "model_info", self.model_info)
        patch.setattr(huggingface_hub, "hf_hub_download", self.hf_hub_download)

    def model_info(self, repository: str, *, files_metadata: bool) -> SimpleNamespace:
        folder = self.root / repository
        if not folder.is_dir():
            raise OSError(f"404: there is no repository {repository}\nmore about it")
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        siblings = [
            SimpleNamespace(
                rfilename=path.relative_to(folder).as_posix(),
                # The hub knows the SHA-256 of large files only.
                lfs=SimpleNamespace(sha256=hash_file(path)) if path.suffix != ".json" else None,
            )
            for path in files
        ]
        return SimpleNamespace(sha="0123abcd", siblings=siblings)

    def hf_hub_download(self, repository: str, name: str, *, revision: str, local_dir: Path) -> str:
        assert revision == "0123abcd"
        target = Path(local_dir) / name
        if not target.exists():
            if name in self.break_at:
                raise ConnectionError("the line went dead")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / repository / name, target)
            if name in self.damage:
                target.write_bytes(target.read_bytes() + b"\0")
            self.served.append(f"{repository}/{name}")
        return str(target)
