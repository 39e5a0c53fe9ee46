"""The command `vtm`. What is heavy is imported inside the commands, so that help comes at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import vtm
from vtm.cli import data, models, photos, tags
from vtm.errors import EXTRAS, ConfigError, MissingError, VtmError, check_choice, lacking, printable, said


class Commands(TyperGroup):
    """Prints a user's error as one line and exits with 2; `vtm --debug COMMAND` shows where it was raised."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (VtmError, OSError, MemoryError, ModuleNotFoundError) as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            if isinstance(error, ModuleNotFoundError):
                module = (error.name or "").partition(".")[0]
                if module not in EXTRAS:
                    raise
                error = lacking(module)
            text = said(error) if isinstance(error, OSError | MemoryError) else str(error)
            print(f"error: {printable(text.strip())}", file=sys.stderr)
            ctx.exit(2)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Visual topic modelling: topics for pictures, learned from texts, as a paper that runs."""


def reproduce(
    profile: Annotated[
        str, typer.Option(help="smoke, default or paper: a set of parameters; study: its measurements.")
    ] = "default",
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--parameter", metavar="NAME=VALUE", help="Set a parameter, as in -p n_topics=[60,120]."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the executed notebooks, or for the study's results.")
    ] = None,
    notebooks: Annotated[Path | None, typer.Option(help="Folder of the notebooks' sources.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run this notebook alone, as 03-joint, or this part of the study."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also run what is current.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write what was run as pages to this folder, as the book shows it.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local, or ray: train the models as tasks of a Ray cluster first.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster; by default one is started on this machine.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would run and why, what would be trained, and what is missing."
        ),
    ] = False,
) -> None:
    """Run the paper's notebooks in order, skipping those that are current; with --profile study, measure the study."""
    from vtm.cli import notebooks as pipeline

    if profile == "study":
        measure = _plugin(profile)
        if notebooks is not None or html is not None or engine != "local":
            raise ConfigError(
                "--profile study: runs no notebooks and trains here; leave out --notebooks, --html and --engine"
            )
        experiment = pipeline.experiment_of(profile, pipeline.parse_parameters(parameter or []))
        return measure(experiment, folder=out, parts=only or (), force=force, dry_run=dry_run)
    from rich.console import Console

    from vtm.encoders.shards import ENGINES

    check_choice(f"--engine {engine}", engine, ENGINES)
    overrides = pipeline.parse_parameters(parameter or [])
    if engine == "ray" and not dry_run:
        from vtm.encoders.ray import import_ray
        from vtm.experiment.prepare import prepare
        from vtm.experiment.runs import warm

        import_ray()  # fails before anything is embedded
        warm(prepare(pipeline.experiment_of(profile, overrides)), address=address)
    options: dict[str, Any] = {
        "out": out,
        "force": force,
        "only": only,
        "dry_run": dry_run,
        "console": Console(),
    }
    if html is not None:
        pipeline.check_pages(html := html.expanduser())  # before minutes have passed
    steps = pipeline.run_notebooks(profile, overrides, notebooks=notebooks, **options)
    if dry_run:
        for step in steps:
            typer.echo(f"current {step.name}" if not step.reason else f"run     {step.name} ({step.reason})")
            for name, value in step.parameters.items():
                typer.echo(f"          {name}={value}")
        typer.echo("\n".join(pipeline.make_plan(pipeline.experiment_of(profile, overrides)).lines()))
    elif html is not None:
        typer.echo(f"{pipeline.write_pages(steps, html)} shows what was run")


def _plugin(profile: str) -> Callable[..., None]:
    """What measures a profile that is no set of notebooks: packages beside vtm declare theirs as `vtm.profiles`."""
    from importlib.metadata import entry_points

    for found in entry_points(group="vtm.profiles", name=profile):
        return found.load()
    raise MissingError(f"--profile {profile}: is not installed; run `make setup`, or `pip install -e .`")


def version() -> None:
    """Print the version."""
    typer.echo(f"vtm {vtm.__version__}")


for _name, _command in {
    "reproduce": reproduce,
    "prefetch": data.prefetch,
    "fetch": data.fetch_named,
    "corpora": data.corpora,
    "corpus": data.show_corpus,
    "submit": data.submit_run,
    "check-run": data.check_run_file,
    "evaluate": data.evaluate_run_file,
    "train": models.train_model,
    "sweep": models.sweep_sizes,
    "update": models.update_model,
    "tag": tags.tag,
    "apply": tags.apply_sheet,
    "untag": tags.untag,
    "match": photos.match,
    "topics": models.show_topics,
    "edit": models.edit_model,
    "explore": photos.explore,
    "embed": data.embed,
    "version": version,
}.items():
    app.command(name=_name)(_command)  # type: ignore[type-var]


def _terminated(number: int, _: object) -> None:
    """Leave as Ctrl-C does, so that nothing half-written stays; a further signal must not disturb that."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main() -> None:
    """Entry point of the command `vtm`."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)
    app()
