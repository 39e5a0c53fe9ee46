"""Run a command to which file permissions apply, also when the tests run as root."""

from __future__ import annotations

import os
import shutil

DROPPED = "-dac_override,-dac_read_search"


def without_rights() -> list[str] | None:
    """What to put before a command so that permissions bind it; None where that cannot be had."""
    if os.geteuid() != 0:
        return []
    if setpriv := shutil.which("setpriv"):
        return [setpriv, "--bounding-set", DROPPED, "--inh-caps", DROPPED]
    return None
