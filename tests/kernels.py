"""Kernels forked from a process that has imported already what takes seconds: a chapter's own needs the rest."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

PRELOADED = (
    *("ipykernel.kernelapp", "ipykernel.ipkernel", "myst_nb", "pandas", "torch", "onnx", "onnxruntime"),
    *("scipy.stats", "sklearn.feature_extraction.text", "sklearn.linear_model", "sklearn.random_projection"),
    *(
        "matplotlib.figure",
        "matplotlib.ticker",
        "vtm.experiment.runs",
        "vtm.model.align",
        "vtm.model.distill",
    ),
    *("vtm.report.figures", "vtm.report.tables", "vtm_study.chapter", "vtm_study.costs"),
)
# Loaded by a kernel, it has figures shown at the end of a cell; loaded before there is one, it does not.
NOT_PRELOADED = ("matplotlib.pyplot", "matplotlib_inline.backend_inline")
# Of the process that starts a kernel, which is not the forked one's parent.
PARENTS = ("JPY_PARENT_PID", "JPY_INTERRUPT_EVENT")


@contextlib.contextmanager
def forked_kernels(folder: Path) -> Iterator[dict[str, str]]:
    """The variables with which Jupyter's kernel "python3" is one that is forked."""
    door = folder / "door"
    server = subprocess.Popen([sys.executable, __file__, "serve", str(door)], stdout=subprocess.PIPE)
    assert server.stdout is not None and server.stdout.readline() == b"ready\n"
    spec = folder / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    command = [sys.executable, "-S", "-E", __file__, "ask", str(door), "{connection_file}"]
    spec.write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
    try:
        yield {"JUPYTER_PATH": str(folder)}
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def ask(door: str, connection: str, *options: str) -> None:
    """What Jupyter starts as the kernel: asks for a fork, and lives as long as that."""
    parent = os.getppid()
    told = json.dumps([["-f", connection, *options], os.getcwd(), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(door)
        socket.send_fds(server, [len(told).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(told)
        # Until the fork has ended, or whoever wanted the kernel was killed.
        while os.getppid() == parent and not select.select([server], [], [], 1)[0]:
            pass


def serve(door: str) -> None:
    """Fork a kernel for everyone who asks."""
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as every kernel does
    for name in PRELOADED:
        importlib.import_module(name)
    assert not [name for name in NOT_PRELOADED if name in sys.modules]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(door)
        listener.listen()
        print("ready", flush=True)
        while True:
            asker, _ = listener.accept()
            if os.fork() == 0:
                break
            asker.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _become_kernel(asker)


def _become_kernel(asker: socket.socket) -> None:
    length, streams, _, _ = socket.recv_fds(asker, 8, 3)
    with asker.makefile("rb") as told:
        arguments, folder, environment = json.loads(told.read(int.from_bytes(length, "big")))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.environ.clear()
    os.environ.update({name: value for name, value in environment.items() if name not in PARENTS})
    os.chdir(folder)
    # Whoever asked is killed in this one's place.
    threading.Thread(target=lambda: os._exit(len(asker.recv(1))), daemon=True).start()
    sys.argv = ["ipykernel_launcher", *arguments]
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()


if __name__ == "__main__":
    {"ask": ask, "serve": serve}[sys.argv[1]](*sys.argv[2:])
