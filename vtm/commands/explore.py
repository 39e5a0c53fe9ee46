"""The command that makes a page of a model's topics and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vtm.commands.model_options import Device, Encoder, MaxPixels, Model, Order, Relevance, load_model, say
from vtm.commands.pictures import SKIPPED
from vtm.commands.trained_corpus import load_trained_corpus
from vtm.errors import MissingError
from vtm.pictures import MAX_PIXELS

if TYPE_CHECKING:
    from vtm.corpora import Corpus

Items = tuple[list[str] | None, list[str] | None, list[Path]]


def explore(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write; open its index.html.")],
    source: Annotated[
        list[str] | None,
        typer.Argument(
            help="A corpus or a table with texts, as for train; or pictures and folders without texts; by default "
            "the corpus that the model was trained on.",
            metavar="[CORPUS_OR_PICTURES]...",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Topic explorer",
    limit: Annotated[int, typer.Option(min=1, help="At most so many pictures, drawn with the seed.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Of the map and of the draw.")] = 0,
    ctfidf: Order = False,
    relevance: Relevance = 0.6,
    max_pixels: MaxPixels = MAX_PIXELS,
    device: Device = "auto",
    encoder: Encoder = None,
) -> None:
    """Make a page to explore a model: a map of pictures by topic, topics, search; one folder, no server.

    With texts the page also shows the pictures that fit each text, beside those that the encoder finds by itself where
    it can, as CLIP does. Pictures that cannot be read are named; the exit code is then 3.
    """
    from vtm.explorer import build_explorer
    from vtm.explorer.own import from_model

    items = _items(source) if source else None
    loaded = load_model(model, encoder=encoder, device=device, max_pixels=max_pixels)
    ids, texts, pictures = items or _of_corpus(load_trained_corpus(loaded, model))
    data, dropped = from_model(
        loaded,
        pictures,
        ids=ids,
        texts=texts,
        limit=limit,
        seed=seed,
        title=title,
        order="ctfidf" if ctfidf else "relevance",
        weight=relevance,
    )
    built = build_explorer(data, out)
    typer.echo(f"{built.index}: {len(data.ids)} pictures, {built.size / 1e6:.1f} MB")
    if dropped:
        for item in dropped:
            say(f"left out: {item.detail or item.id}")
        raise typer.Exit(SKIPPED)


def _items(source: list[str]) -> Items:
    """Ids, texts and pictures of a corpus or table, or pictures alone."""
    from vtm.config import parse_corpus
    from vtm.corpora import CORPORA, load_corpus
    from vtm.corpora.table import METADATA
    from vtm.tagging import SUFFIXES, find_pictures

    name, options = parse_corpus(source[0])
    path = Path(name).expanduser()
    is_table = path.is_file() and path.suffix.lower() not in SUFFIXES
    has_table = path.is_dir() and any((path / metadata).is_file() for metadata in METADATA)
    if len(source) == 1 and (name in CORPORA or is_table or has_table):
        return _of_corpus(load_corpus(name, **options))
    found = find_pictures(source)
    if not found.pictures:
        raise MissingError(
            f"{', '.join(source)}: no picture is there; name pictures, folders of them, or a table"
        )
    return None, None, list(found.pictures)


def _of_corpus(corpus: Corpus) -> Items:
    return list(corpus.ids), list(corpus.texts), list(corpus.images)
