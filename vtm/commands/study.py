"""`vtm reproduce --profile study`: the study's measurements, in place of the notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from vtm.config import Experiment


def reproduce_study(
    experiment: Experiment,
    *,
    folder: Path | None = None,
    parts: Sequence[str] = (),
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Run the parts of the study into a folder, or say what that would be.

    Parameters
    ----------
    folder : of the result files; by default `study` in the runs folder. Those that come with the source stay as they
        are, unless their folder is named.
    """
    from vtm.study.driver import plan_parts, study_folder

    planned = plan_parts(folder=folder, parts=parts)
    folder = study_folder(folder).resolve()
    if dry_run:
        from vtm.plan import make_plan

        for part in planned:
            checked = part.stored and not force
            when = f"stored on {part.stored}: again only if data, parameters or code have changed, "
            typer.echo(
                f"{'check' if checked else 'run':<9} {part.name} "
                f"({when if checked else ''}about {part.minutes:g} min)"
            )
        plan = make_plan(experiment)
        total = sum(part.minutes for part in planned)
        for line in plan.lines():
            if line.startswith(("corpus", "encoder", "missing")):
                typer.echo(line)
        typer.echo(f"seeds     {', '.join(map(str, experiment.seeds))}")
        typer.echo(
            f"cost      about {total:.0f} minutes in all, measured on 2 cores with openclipart and 5 seeds; "
            "models and rows that are on disk are read back"
        )
        typer.echo(f"results   {folder}")
        return
    from vtm import study
    from vtm.prepare import prepare

    found = study.run(prepare(experiment), folder=folder, parts=parts, force=force, progress=True)
    for name, part in found.items():
        typer.echo(f"{name:<16} {part['date']}, {part['seconds']:.0f} s")
    typer.echo(f"results are in {folder}; to show them in the book's chapters:")
    typer.echo(f"vtm reproduce -p study_folder={folder}")
