"""Run a command, or some lines, to which file permissions apply, also when the tests run as root."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest

DROPPED = "-dac_override,-dac_read_search"


def without_rights() -> list[str] | None:
    """What to put before a command so that permissions bind it; None where that cannot be had."""
    if os.geteuid() != 0:
        return []
    if setpriv := shutil.which("setpriv"):
        return [setpriv, "--bounding-set", DROPPED, "--inh-caps", DROPPED]
    return None


@contextlib.contextmanager
def not_root() -> Iterator[None]:
    """As a user whom permissions stop, also where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except OSError as error:
        pytest.skip(f"root reads everything, and this root cannot be another user ({error})")
    try:
        yield
    finally:
        os.seteuid(0)
