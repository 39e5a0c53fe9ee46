"""Processes that are stopped in the middle of their work."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

# Children of a process that has imported already what takes seconds.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["vtm.api", "vtm.cli", "vtm.report.contact", "vtm.report.explorer", "onnxruntime"]
)
STARTED, PRINTED, TOLD = "started", "stdout.txt", "stderr.txt"


def wait_for(started: Path, is_alive: Callable[[], bool]) -> None:
    """Return when the child has made the file, has ended, or has had a minute."""
    deadline = time.monotonic() + 60
    while not started.exists() and is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)


def start_waiting(place: Path, said: Path, arguments: Sequence[str]) -> BaseProcess:
    """The command `vtm` in a process that waits where it would put a file in its place below `place`.

    It makes the file `place`/started then; what it prints goes into the folder `said`.
    """
    child = _FORKS.Process(target=_wait, args=(str(place), str(said), list(arguments), dict(os.environ)))
    child.start()
    return child


def _wait(place: str, said: str, arguments: list[str], environment: dict[str, str]) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)  # of the process that asks, not of the one that is forked
    for number, name in ((1, PRINTED), (2, TOLD)):
        os.dup2(os.open(Path(said, name), os.O_WRONLY | os.O_CREAT), number)
    replace = os.replace

    def replace_later(old: str, new: str) -> None:
        if str(new).startswith(place):  # written, and not yet in its place
            Path(place, STARTED).touch()
            time.sleep(60)
        replace(old, new)

    os.replace = replace_later
    from vtm.cli import main

    sys.argv = ["vtm", *arguments]
    main()
