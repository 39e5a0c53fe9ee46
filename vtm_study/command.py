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

    Raises
    ------
    ConfigError
        A parameter that the study does not read; no such part.
    """
    from vtm_study.driver import MEASURED, cost_factor, plan_parts, run_parts, study_folder

    _refuse_unread(experiment)
    planned = plan_parts(folder=folder, parts=parts)
    folder = study_folder(folder).resolve()
    if dry_run:
        from vtm.cli.notebooks import make_plan

        plan = make_plan(experiment)
        factor = cost_factor(n_seeds=len(experiment.seeds), n_train=plan.n_train if plan.counted else None)
        for part in planned:
            checked = part.stored and not force
            when = f"stored on {part.stored}: again only if data, parameters or code have changed, "
            typer.echo(
                f"{'check' if checked else 'run':<9} {part.name} "
                f"({when if checked else ''}about {part.minutes * factor:.2g} min)"
            )
        total = factor * sum(part.minutes for part in planned)
        for line in plan.lines():
            if line.startswith(("corpus", "encoder", "missing")):
                typer.echo(line)
        typer.echo(f"seeds     {', '.join(map(str, experiment.seeds))}")
        typer.echo(
            f"cost      about {total:.2g} minutes in all, from what it took with {MEASURED} on 2 cores, by the number of "
            f"seeds{' and of training pairs' if plan.counted else '; how many pairs there will be is not known'}; models "
            "and rows that are on disk are read back"
        )
        typer.echo(f"results   {folder}")
        return
    from vtm.experiment.prepare import prepare

    found = run_parts(prepare(experiment), folder=folder, parts=parts, force=force, progress=True)
    for name, part in found.items():
        typer.echo(f"{name:<16} {part['date']}, {part['seconds']:.0f} s")
    typer.echo(f"results are in {folder}; to show them in the book's chapters:")
    typer.echo(f"vtm reproduce -p study_folder={folder}")


def _refuse_unread(experiment: Experiment) -> None:
    """Parameters that would change nothing: the study trains with numbers of topics and a folder of its own."""
    from vtm.config import Experiment
    from vtm.errors import ConfigError

    usual = Experiment()
    for name in ("n_topics", "max_texts", "study_folder"):
        if getattr(experiment, name) != getattr(usual, name):
            raise ConfigError(
                f"--profile study: does not read {name}, and would give the same without it: leave it out"
            )
