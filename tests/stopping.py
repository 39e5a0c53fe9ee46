"""Wait for the moment at which a process is to be stopped."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path


def wait_for(started: Path, child: subprocess.Popen) -> None:
    """Return when the child has made the file, has ended, or has had a minute."""
    deadline = time.monotonic() + 60
    while not started.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
