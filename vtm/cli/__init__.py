"""The command `vtm`. What is heavy is imported inside the commands, so that help comes at once."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import vtm
from vtm.cli import data, models, notebooks, photos, submit
from vtm.errors import VtmError, printable


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
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Visual topic modelling: topics for pictures, learned from texts, as a paper that runs."""


def version() -> None:
    """Print the version."""
    typer.echo(f"vtm {vtm.__version__}")


for _name, _command in {
    "reproduce": notebooks.reproduce,
    "prefetch": data.prefetch,
    "fetch": data.fetch_named,
    "corpora": data.corpora,
    "corpus": data.show_corpus,
    "submit": submit.submit_run,
    "check-run": submit.check_run_file,
    "evaluate": submit.evaluate_run_file,
    "train": models.train_model,
    "tag": photos.tag,
    "match": photos.match,
    "topics": models.show_topics,
    "explore": photos.explore,
    "embed": data.embed,
    "version": version,
}.items():
    app.command(name=_name)(_command)


def _terminated(number: int, _: object) -> None:
    """Leave as Ctrl-C does, so that nothing half-written stays; a further signal must not disturb that."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main() -> None:
    """Entry point of the command `vtm`."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)
    app()
