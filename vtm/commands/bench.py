"""The command that measures what things cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer epochs and pictures: within 50 seconds.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the JSON to this file, too.")] = None,
) -> None:
    """Measure training, embedding, search and start-up beside what they are compared with, in one run."""
    from vtm.bench import bench_lines, run_bench
    from vtm.files import write_json

    show = sys.stderr.isatty()
    found = run_bench(quick=quick, say=lambda line: typer.echo(line, err=True) if show else None)
    if out is not None:
        write_json(out, found)
    if json:
        from json import dumps

        typer.echo(dumps(found))
        return
    for line in bench_lines(found):
        typer.echo(line)
