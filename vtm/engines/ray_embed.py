"""Embedding as a Ray Data job: actors with an encoder each take shards; the driver writes what comes back.

The shards come back through Ray, so that the machines need to share the pictures' folder only. An actor whose
process or machine dies is started again, and its shards are given to an actor once more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.corpora import Dropped
from vtm.engines.items import gather
from vtm.engines.ray_actor import WORKER_DIED, Attempts, Embedder, rows_of, table_of
from vtm.engines.ray_cluster import RETRIES, plain_error, ray_cluster, resources
from vtm.engines.shards import Part, write_shard
from vtm.errors import MissingError, VtmError

if TYPE_CHECKING:
    import pyarrow as pa

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
    """Compute and write the shards of the parts of each side; parameters as in `vtm.engines.embed_corpus`.

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
