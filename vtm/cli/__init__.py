"""The command `vtm`. What is heavy is imported inside the commands, so that help comes at once."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import vtm
from vtm.cli import data, models, photos, submit
from vtm.errors import ConfigError, MissingError, VtmError, printable


class Commands(TyperGroup):
    """Prints a user's error as one line and exits with 2; `vtm --debug COMMAND` shows where it was raised."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (VtmError, OSError) as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
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
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Visual topic modelling: topics for pictures, learned from texts, as a paper that runs."""


@app.command()
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
    force: Annotated[bool, typer.Option("--force", help="Run also what is current.")] = False,
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
    if profile == "study":
        from vtm.cli import reproduce as pipeline

        reproduce_study = _plugin("study")

        if notebooks is not None or engine != "local":
            raise ConfigError(
                "--profile study: runs no notebooks and trains here; leave out --notebooks and --engine"
            )
        experiment = pipeline.experiment_of(profile, parse_parameters(parameter or []))
        return reproduce_study(experiment, folder=out, parts=only or (), force=force, dry_run=dry_run)
    from rich.console import Console

    from vtm.cli import reproduce as pipeline
    from vtm.encoders.shards import ENGINES

    if engine not in ENGINES:
        raise ConfigError(f"--engine {engine}: choose from {', '.join(ENGINES)}")
    if engine == "ray" and not dry_run:
        from vtm.experiment.cluster import warm

        warm(pipeline.experiment_of(profile, parse_parameters(parameter or [])), address=address)
    steps = pipeline.reproduce(
        profile,
        parse_parameters(parameter or []),
        notebooks=notebooks,
        out=out,
        force=force,
        only=only,
        dry_run=dry_run,
        console=Console(),
    )
    if dry_run:
        for step in steps:
            typer.echo(f"current {step.name}" if not step.reason else f"run     {step.name} ({step.reason})")
            for name, value in step.parameters.items():
                typer.echo(f"          {name}={value}")
        from vtm.cli.reproduce import make_plan

        typer.echo(
            "\n".join(make_plan(pipeline.experiment_of(profile, parse_parameters(parameter or []))).lines())
        )


def _plugin(profile: str) -> Callable[..., None]:
    """What measures a profile that is no set of notebooks: packages beside vtm declare theirs as `vtm.profiles`."""
    for found in entry_points(group="vtm.profiles", name=profile):
        return found.load()
    raise MissingError(f"--profile {profile}: is not installed; run `make setup`, or `pip install -e .`")


def parse_parameters(assignments: Iterable[str]) -> dict[str, Any]:
    """The values of `name=value`, read as YAML: `n_topics=[60,120]`, `corpus=stamps:lang=de`, `lr=2e-3`.

    Raises
    ------
    ConfigError
        No `=`, a name given twice, or a value that is not YAML.
    """
    import yaml

    found: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigError(f"-p {assignment}: write NAME=VALUE, as in -p epochs=20")
        if name in found:
            raise ConfigError(f"-p {assignment}: {name} is set twice; give several values as [60,120]")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"-p {assignment}: the value is not YAML ({error.__class__.__name__})"
            ) from None
        found[name] = _number(value) if value == text.strip() else value
    return found


def _number(word: str) -> str | float:
    # YAML 1.1 takes 2e-3 for a word, because it has no point.
    return float(word) if re.fullmatch(r"[+-]?\d+e[+-]?\d+", word, re.IGNORECASE) else word


for command in (data.prefetch, data.fetch, data.corpora):
    app.command()(command)
app.command(name="corpus")(data.show_corpus)
for command in (submit.submit, submit.check_run, submit.evaluate):
    app.command()(command)
for command in (models.train, photos.tag, photos.match, models.topics, photos.explore, data.embed):
    app.command()(command)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"vtm {vtm.__version__}")


def _terminated(number: int, _: object) -> None:
    """Leave as Ctrl-C does, so that nothing half-written stays; a further signal must not disturb that."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main() -> None:
    """Entry point of the command `vtm`."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)
    app()


if __name__ == "__main__":
    main()
