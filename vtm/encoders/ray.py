"""Work on a Ray cluster, be it one that is started for it on this machine or one that runs already."""

from __future__ import annotations

import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vtm.corpora.base import Dropped
from vtm.encoders.cache import Store, batches, embed_side
from vtm.errors import ConfigError, DataError, MissingError, VtmError
from vtm.files import scratch

if TYPE_CHECKING:
    import pyarrow as pa

# Of a cluster on this machine. What is larger goes to disk.
OBJECT_STORE_BYTES = 200_000_000
# How often a piece of work is given to another process after its process or machine died.
RETRIES = 5
# Items that an actor is given at once: they are computed again when it dies.
BLOCK_ROWS = 512
# Threads that decode pictures for an encoder on a GPU, which takes many more of them than one on a CPU.
GPU_DECODERS = 8
WORKER_DIED = "worker-died"


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
    address : None: a cluster on this machine. "auto": the one that this machine is part of. "HOST:6379": the one with
        this head, for a machine that is part of it. "ray://HOST:10001": by Ray Client from a machine outside it, for
        training only; needs `pip install "ray[client]"`.
    workers : CPUs of a cluster on this machine; by default as many as there are.

    Raises
    ------
    MissingError
        Ray is not installed, or no cluster is there.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    ours = {
        "address": "local",  # RAY_ADDRESS may name another
        "num_cpus": workers,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    options = ours if address is None else {"address": address}
    try:
        try:
            _check_reachable(address)
            ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, ImportError, OSError, RuntimeError, ValueError) as error:
            raise MissingError(
                f"Ray cluster {address or 'on this machine'}: cannot be reached ({_lines(error)[0]}); "
                "`ray start --head` starts one, see docs/cluster.md"
            ) from error
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
    found: VtmError | None = None
    cause: BaseException | None = error
    while cause is not None:
        # Ray's wrapper of an error is of the error's class, too: the innermost has the plain message.
        found = cause if isinstance(cause, VtmError) else found
        cause = getattr(cause, "cause", None) or cause.__cause__
    if found is not None:
        kind = next(k for k in (ConfigError, DataError, MissingError, VtmError) if isinstance(found, k))
        return kind(_lines(found)[0])  # Ray adds lines on how to retry
    return VtmError(f"on the Ray cluster: {_lines(error)[-1]}; {kept}")


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]


class Attempts:
    """An actor that counts how often each block was begun: Ray gives it to an actor again without end."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()

    def begin(self, block: str) -> int:
        self.begun[block] += 1
        return self.begun[block]


class Embedder:
    """The actor: encoders, and for each block of items that it is given their embeddings.

    Parameters
    ----------
    load : gives the encoder pair.
    keys : side -> key that its encoder has on the driver.
    decoders : threads that decode pictures.
    """

    def __init__(
        self,
        *,
        load: Callable[[], Any],
        keys: Mapping[str, str],
        batch_size: int | None,
        decoders: int | None,
        attempts: Any,
    ) -> None:
        self.load, self.keys, self.attempts = load, keys, attempts
        self.options = {"batch_size": batch_size, "workers": decoders, "progress": False}

    @cached_property
    def pair(self) -> Any:
        # Not in the constructor: what fails there Ray takes for a machine's failure.
        pair = self.load()
        for side, key in self.keys.items():
            if (ours := getattr(pair, side).key) != key:
                raise VtmError(
                    f"{socket.gethostname()}: its encoder {pair.name} is another one ({ours} instead of {key}); "
                    "install the same vtm and the same weights on every machine"
                )
        return pair

    def __call__(self, asked: pa.Table) -> pa.Table:
        """The items with three columns more: the embedding's bytes, or the reason and detail why there is none."""
        import pyarrow as pa
        import ray

        side, contents = asked["side"][0].as_py(), asked["content"].to_pylist()
        if ray.get(self.attempts.begin.remote(contents[0])) > 1 + RETRIES:
            answers = {content: (b"", WORKER_DIED, "") for content in contents}
        else:
            encoder = getattr(self.pair, side)
            sources = [_decode(side, source) for source in asked["source"].to_pylist()]
            # What is computed is kept by the driver.
            with scratch() as folder:
                rows, kept, dropped = embed_side(
                    side,
                    encoder,
                    contents,
                    sources,
                    contents,
                    cache=folder,
                    **cast(dict[str, Any], self.options),
                )
            answers = {content: (row.tobytes(), "", "") for content, row in zip(kept, rows, strict=True)}
            answers |= {item.id: (b"", item.reason, item.detail) for item in dropped}
        columns = zip(*(answers[content] for content in contents), strict=True)
        for name, column in zip(("embedding", "reason", "detail"), columns, strict=True):
            asked = asked.append_column(name, pa.array(column))
        return asked


def _decode(side: str, source: bytes) -> Path | str:
    return Path(os.fsdecode(source)) if side == "image" else source.decode("utf-8", "surrogatepass")


def embed_on_ray(
    ids: Sequence[str],
    halves: Mapping[str, tuple[Any, Sequence[Path | str], Sequence[str]]],
    *,
    load: Callable[[], Any],
    device: str = "auto",
    address: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    cache: Path | str | None = None,
    progress: bool = True,
) -> dict[str, Dropped]:
    """Compute as a Ray Data job what the cache does not have, and put it there as it comes back, in any order.

    The embeddings come back through Ray, so that the machines need to share the pictures' folder only. An actor whose
    process or machine dies is started again, and its block is given to an actor once more.

    Parameters
    ----------
    ids : n ids.
    halves : side -> its encoder, n picture files or texts, and n SHA-256 of their content.
    load : gives the encoder pair on a worker; the function is sent by its name.
    batch_size, workers, device, address, cache, progress : as in `vtm.encoders.shards.embed_corpus`.

    Returns
    -------
    Content -> why it has no embedding.

    Raises
    ------
    MissingError
        Ray, the cluster, or on a worker the pictures or the encoder's weights are not there.
    VtmError
        A worker failed; the embeddings that came back until then are kept. Or workers died again and again at the same
        block; all others are kept.
    """
    import pyarrow as pa
    from tqdm import tqdm

    stores = {side: Store(half.key, half.dim, cache) for side, (half, _, _) in halves.items()}
    blocks = []
    for side, (_, sources, contents) in halves.items():
        known = {content for content, _ in stores[side].stored()}
        items: dict[str, dict[str, Any]] = {}
        for id, source, content in zip(ids, sources, contents, strict=True):
            if content not in known:
                # Neither file names nor texts need be valid Unicode, which Arrow's strings are.
                plain = (
                    os.fsencode(source) if side == "image" else str(source).encode("utf-8", "surrogatepass")
                )
                items.setdefault(content, {"side": side, "id": id, "source": plain, "content": content})
        blocks += [pa.Table.from_pylist(some) for some in batches(items.values(), BLOCK_ROWS)]
    dropped: dict[str, Dropped] = {}
    died: list[str] = []
    if not blocks:
        return dropped
    with ray_cluster(address, workers=workers) as ray, ExitStack() as stack:
        for store in stores.values():
            stack.enter_context(store)
        stack.enter_context(_quiet_data(ray))
        actors, gpus = resources(ray, workers=workers, device=device)
        job = ray.data.from_arrow(blocks).map_batches(
            Embedder,
            fn_constructor_kwargs=dict(
                load=load,
                keys={side: store.key for side, store in stores.items()},
                batch_size=batch_size,
                decoders=GPU_DECODERS if gpus else None,
                attempts=ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote(),
            ),
            # A block whole: the encoder's batches are made within it, while the next pictures are decoded.
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(blocks))),
            num_cpus=1,
            num_gpus=gpus,
        )
        total, hidden = sum(map(len, blocks)), None if progress else True
        bar = stack.enter_context(tqdm(total=total, desc="embedding on Ray", unit="", disable=hidden))
        try:
            for table in job.iter_batches(batch_size=None, batch_format="pyarrow"):
                for row in table.to_pylist():
                    side, content, reason = row["side"], row["content"], row["reason"]
                    if not reason:
                        stores[side].add(content, np.frombuffer(row["embedding"], np.float32))
                    elif reason == WORKER_DIED:
                        died.append(f"{side} {row['id']}")
                    elif reason == "missing" and (path := Path(_decode(side, row["source"]))).exists():
                        raise MissingError(
                            f"{path}: is here and not on a worker; let all machines see the pictures under the same "
                            "path (a shared file system), see docs/cluster.md"
                        )
                    else:
                        dropped[content] = Dropped(row["id"], reason, row["detail"])
                    bar.update()
        except ray.exceptions.RayError as error:
            kept = "the embeddings that came back until now are kept, run `vtm embed` again"
            raise plain_error(error, kept) from error
    if died:
        raise VtmError(
            f"{len(died)} of {total} items were given up, as {1 + RETRIES} workers died at each block of them, the first "
            f"{died[0]}, the last {died[-1]}; all others are kept. Give the workers more memory, or leave out what "
            "kills them"
        )
    return dropped


@contextmanager
def _quiet_data(ray: Any) -> Iterator[None]:
    """Ray Data without bars and log lines of its own, and with a worker's own error; put back afterwards."""
    context = ray.data.DataContext.get_current()
    wanted = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "raise_original_map_exception": True,
        "max_consecutive_actor_init_deaths": RETRIES,
    }
    before = {name: getattr(context, name) for name in wanted if hasattr(context, name)}
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    for name in before:
        setattr(context, name, wanted[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        logger.setLevel(level)
