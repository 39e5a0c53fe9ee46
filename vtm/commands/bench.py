"""The command that measures what things cost."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer epochs and pictures: within 50 seconds.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            help="cuda or cpu: measure there the training of all models of Table 1, and nothing else.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the JSON to this file, too.")] = None,
) -> None:
    """Measure training, embedding, search and start-up beside what they are compared with, in one run."""
    from json import dumps

    from vtm.bench import run_bench
    from vtm.bench_lines import bench_lines
    from vtm.errors import ConfigError
    from vtm.files import atomic_path, write_json

    if out is not None and out.is_dir():
        raise ConfigError(f"-o {out}: is a folder; name a file in it, as {out / 'bench.json'}")
    show = sys.stderr.isatty()
    # The file is begun first: a place that cannot be written must not cost a measurement.
    with nullcontext() if out is None else atomic_path(out) as begun:
        found = run_bench(
            quick=quick, device=device, say=lambda line: typer.echo(line, err=True) if show else None
        )
        for line in [dumps(found)] if json else bench_lines(found):
            typer.echo(line)
        if begun is not None:
            write_json(begun, found)
