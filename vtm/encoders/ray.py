"""A Ray cluster: one on this machine, started quietly and stopped again, or one that runs already."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.corpora.base import Dropped
from vtm.encoders import load_named
from vtm.encoders.shards import Part, Shard, embed_items, gather, write_shard
from vtm.errors import ConfigError, DataError, MissingError, VtmError

if TYPE_CHECKING:
    import pyarrow as pa


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


# What passes between the driver and the actors of an embedding job: tables of a part's items, and their rows.


WORKER_DIED = "worker-died"


class Attempts:
    """An actor that counts how often each shard was begun: Ray gives it to an actor again without end."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()

    def begin(self, part: int) -> int:
        self.begun[part] += 1
        return self.begun[part]


class Embedder:
    """The actor: an encoder, and for each shard that it is given its rows."""

    def __init__(
        self,
        *,
        encoder: str,
        language: str | None,
        device: str,
        side: str,
        key: str,
        dim: int,
        batch_size: int | None,
        decoders: int | None,
        attempts: Any,
    ) -> None:
        self.spec, self.side, self.key, self.dim, self.attempts = encoder, side, key, dim, attempts
        self.load_options = {"device": device, "language": language}
        self.embed_options = {"batch_size": batch_size, "workers": decoders}

    @cached_property
    def encoder(self) -> Any:
        # Not in the constructor: what fails there Ray takes for a machine's failure.
        encoder = getattr(load_named(self.spec, **self.load_options), self.side)
        if encoder.key != self.key:
            raise VtmError(
                f"{socket.gethostname()}: its encoder {self.spec} is another one ({encoder.key} instead of {self.key}); "
                "install the same vtm and the same weights on every machine"
            )
        return encoder

    def __call__(self, table: pa.Table) -> pa.Table:
        import ray

        ids, contents = table["id"].to_pylist(), table["sha256"].to_pylist()
        sources = [_decode(self.side, source) for source in table["source"].to_pylist()]
        if ray.get(self.attempts.begin.remote(table["part"][0].as_py())) > 1 + RETRIES:
            dropped = tuple(Dropped(id, WORKER_DIED) for id in ids)
            return self._answer(table, Shard((), (), np.empty((0, self.dim)), dropped))
        # embed_images keeps what it computes in a cache; here the shard is what is kept.
        with tempfile.TemporaryDirectory(prefix="vtm-") as scratch:
            shard = embed_items(
                self.encoder,
                self.side,
                ids,
                sources,
                contents,
                cache=scratch,
                **self.embed_options,
            )
        return self._answer(table, shard)

    def _answer(self, asked: pa.Table, shard: Shard) -> pa.Table:
        """A row for each that was asked for, with its embedding or the reason why it has none."""
        import pyarrow as pa

        ids = asked["id"].to_pylist()
        place = {id: row for row, id in enumerate(shard.ids)}
        drops = {item.id: item for item in shard.dropped}
        embeddings = np.zeros((len(ids), self.dim), dtype=np.float32)
        for row, id in enumerate(ids):
            if id in place:
                embeddings[row] = shard.embeddings[place[id]]
        return pa.table(
            {
                "part": asked["part"],
                "id": asked["id"],
                "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), self.dim),
                "reason": [drops[id].reason if id in drops else "" for id in ids],
                "detail": [drops[id].detail if id in drops else "" for id in ids],
            }
        )


def table_of(number: int, part: Part) -> pa.Table:
    """What an actor needs to know of a part."""
    import pyarrow as pa

    return pa.table(
        {
            "part": pa.array([number] * len(part.ids), pa.int64()),
            "id": pa.array(part.ids, pa.string()),
            "source": pa.array([_encode(source) for source in part.sources], pa.binary()),
            "sha256": pa.array(part.contents, pa.string()),
        }
    )


def _encode(source: Path | str) -> bytes:
    # Neither file names nor texts need be valid Unicode, which Arrow's strings are.
    return os.fsencode(source) if isinstance(source, Path) else source.encode("utf-8", "surrogatepass")


def _decode(side: str, source: bytes) -> Path | str:
    return Path(os.fsdecode(source)) if side == "image" else source.decode("utf-8", "surrogatepass")


def rows_of(table: pa.Table) -> tuple[dict[str, np.ndarray], dict[str, Dropped]]:
    """What an actor answered: embeddings and drops, by id."""
    vectors = table["embedding"].combine_chunks()
    embeddings = vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size)
    rows, drops = {}, {}
    columns = (table[name].to_pylist() for name in ("id", "reason", "detail"))
    for row, (id, reason, detail) in enumerate(zip(*columns, strict=True)):
        if reason:
            drops[id] = Dropped(id, reason, detail)
        else:
            rows[id] = embeddings[row]
    return rows, drops


# Embedding as a Ray Data job: actors with an encoder each take shards; the driver writes what comes back.
#
# The shards come back through Ray, so that the machines need to share the pictures' folder only. An actor whose
# process or machine dies is started again, and its shards are given to an actor once more.


# Threads that decode pictures for an encoder on a GPU, which takes many more of them than one on a CPU.
GPU_DECODERS = 8


def embed_on_ray(
    sides: Sequence[Sequence[Part]],
    *,
    encoder: str,
    language: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    address: str | None = None,
    progress: bool = True,
) -> None:
    """Compute and write the shards of the parts of each side; parameters as in `vtm.encoders.shards.embed_corpus`.

    Raises
    ------
    MissingError
        Ray, the cluster, or on a worker the pictures or the encoder's weights are not there.
    VtmError
        A worker failed; the shards written until then are kept. Or workers died again and again at the same shard;
        all others are kept.
    """
    with ray_cluster(address, workers=workers) as ray, _quiet_data(ray):
        actors, gpus = resources(ray, workers=workers, device=device)
        for parts in sides:
            attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()
            options = dict(encoder=encoder, language=language, device=device, batch_size=batch_size)
            options |= {name: getattr(parts[0], name) for name in ("side", "key", "dim")}
            options |= {"decoders": GPU_DECODERS if gpus else None, "attempts": attempts}
            embedded = ray.data.from_arrow([table_of(*part) for part in enumerate(parts)]).map_batches(
                Embedder,
                fn_constructor_kwargs=options,
                # A block is a shard; the encoder's batches are made within it, while the next pictures are decoded.
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=min(actors, len(parts))),
                num_cpus=1,
                num_gpus=gpus,
            )
            try:
                _write(parts, embedded, progress=progress)
            except ray.exceptions.RayError as error:
                kept = "the shards written until now are kept, run `vtm embed` again"
                raise plain_error(error, kept) from error


def _write(parts: Sequence[Part], embedded: Any, *, progress: bool) -> None:
    """Run the job; write each shard when it is there."""
    from tqdm import tqdm

    total = sum(len(part.ids) for part in parts)
    label = f"embedding {parts[0].side}s on Ray"
    fatal = []
    with tqdm(total=total, desc=label, unit="", disable=None if progress else True) as bar:
        blocks = embedded.iter_batches(batch_size=None, batch_format="pyarrow")
        for part, table in _whole_parts(parts, blocks):
            rows, drops = rows_of(table)
            _check_shared(part, drops)
            if any(item.reason == WORKER_DIED for item in drops.values()):
                fatal.append(part)
            else:
                write_shard(part, gather(part, rows, drops))
            bar.update(len(part.ids))
    if fatal:
        ids = fatal[0].ids
        raise VtmError(
            f"{len(fatal)} of {len(parts)} shards were given up, as {1 + RETRIES} workers died at each, the first with "
            f"the {fatal[0].side}s {ids[0]} to {ids[-1]}; all others are kept. Give the workers more memory, or leave "
            "out what kills them"
        )


def _whole_parts(parts: Sequence[Part], tables: Iterator[pa.Table]) -> Iterator[tuple[Part, pa.Table]]:
    """Each part with all of its rows, as soon as they are there; Ray may cut and join blocks, in any order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    waiting: dict[int, list[pa.Table]] = {}
    for table in tables:
        for number in pc.unique(table["part"]).to_pylist():
            pieces = waiting.setdefault(number, [])
            pieces.append(table.filter(pc.equal(table["part"], number)))
            if sum(map(len, pieces)) == len(parts[number].ids):
                yield parts[number], pa.concat_tables(waiting.pop(number)).combine_chunks()


def _check_shared(part: Part, drops: dict[str, Dropped]) -> None:
    """A picture that a worker does not see and this machine does is no bad picture."""
    for source, id in zip(part.sources, part.ids, strict=True):
        if id in drops and drops[id].reason == "missing" and Path(source).exists():
            raise MissingError(
                f"{source}: is here and not on a worker; let all machines see the pictures under the same path "
                "(a shared file system), see docs/cluster.md"
            )


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
