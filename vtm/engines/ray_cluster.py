"""A Ray cluster: one on this machine, started quietly and stopped again, or one that runs already."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vtm.errors import ConfigError, DataError, MissingError, VtmError

# Of a cluster on this machine. What is larger goes to disk.
OBJECT_STORE_BYTES = 200_000_000
# How often a piece of work is given to another process after its process or machine died.
RETRIES = 5


def import_ray() -> Any:
    """The module `ray` with `ray.data`.

    Raises
    ------
    MissingError
        Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to Ray's makers
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingError(
            f'the engine "ray" needs Ray ({error}); on every machine: pip install -e ".[ray]" in the checkout'
        ) from None
    return ray


@contextmanager
def ray_cluster(address: str | None = None, *, workers: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected to a cluster; afterwards disconnected, and a cluster of our own stopped.

    A connection that the caller has made already (`ray.init`) is taken as it is, and stays.

    Parameters
    ----------
    address
        None: a cluster on this machine. "auto": the one that this machine is part of. "HOST:6379": the one with
        this head, for a machine that is part of it. "ray://HOST:10001": by Ray Client from a machine outside it, for
        training only; needs `pip install "ray[client]"`.
    workers
        CPUs of a cluster on this machine; by default as many as there are.

    Raises
    ------
    MissingError
        Ray is not installed, or no cluster is there.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        options |= {
            "address": "local",  # RAY_ADDRESS may name another
            "num_cpus": workers,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    else:
        options["address"] = address
    try:
        _check_reachable(address)
        ray.init(**options)
    except (ConnectionError, ImportError, OSError, RuntimeError, ValueError) as error:
        ray.shutdown()
        raise MissingError(
            f"Ray cluster {address or 'on this machine'}: cannot be reached ({_first_line(error)}); "
            "`ray start --head` starts one, see docs/cluster.md"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Raise OSError where nothing listens: Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def resources(ray: Any, *, workers: int | None, device: str) -> tuple[int, float]:
    """How many workers fit, and how many GPUs each gets.

    A worker takes a CPU, and with device "cuda" a GPU; with "auto" a GPU where the cluster has one at all.

    Raises
    ------
    MissingError
        The cluster has no CPU, or no GPU although the device is "cuda".
    """
    there = ray.cluster_resources()
    cpus, gpus = int(there.get("CPU", 0)), int(there.get("GPU", 0))
    if not cpus or (device == "cuda" and not gpus):
        instead = ", or take device=auto" if cpus else ""
        raise MissingError(
            f"the Ray cluster has {cpus} CPUs and {gpus} GPUs; `ray start --address HOST:6379` on another machine "
            f"adds its own{instead}"
        )
    each = 1.0 if gpus and device != "cpu" else 0.0
    fit = min(cpus, gpus) if each else cpus
    return min(workers or fit, fit), each


def plain_error(error: BaseException, kept: str) -> VtmError:
    """What went wrong on a worker, in a line: our own error as it is, any other by its last line."""
    found, cause = None, error
    while cause is not None:
        # Ray's wrapper of an error is of the error's class, too: the innermost has the plain message.
        found = cause if isinstance(cause, VtmError) else found
        cause = getattr(cause, "cause", None) or cause.__cause__
    if found is not None:
        kind = next(k for k in (ConfigError, DataError, MissingError, VtmError) if isinstance(found, k))
        return kind(_first_line(found))  # Ray adds lines on how to retry
    last = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return VtmError(f"on the Ray cluster: {last[-1]}; {kept}")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
