"""Embed a corpus into files, on this machine or on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtm.rows_out import printable


def embed(
    corpus: Annotated[str, typer.Argument(help="A corpus or a path; options as in stamps:lang=de.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the embeddings.")],
    encoder: Annotated[
        str, typer.Option(help="Encoder; options as in clip:model=ViT-B-32,pretrained=openai.")
    ] = "offline",
    side: Annotated[str, typer.Option(help="image, text or both.")] = "both",
    engine: Annotated[
        str, typer.Option(help="local, or ray: a Ray Data job on one machine or many.")
    ] = "local",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Items per call of the encoder.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that decode pictures; with ray, encoders at work.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster: auto or HOST:6379; by default one is started here."),
    ] = None,
) -> None:
    """Embed a corpus' pictures and texts into Parquet shards, and into the embedding cache; go on where it stopped."""
    from vtm.engines import embed_corpus

    for manifest in embed_corpus(
        corpus,
        out,
        encoder=encoder,
        side=side,
        engine=engine,
        batch_size=batch_size,
        workers=workers,
        device=device,
        address=address,
    ):
        shards = f"{len(manifest.shards)} shard{'' if len(manifest.shards) == 1 else 's'}"
        typer.echo(
            f"{manifest.side:<6} {manifest.rows} embeddings of {manifest.dim} numbers, {shards} in {manifest.folder}"
        )
        for reason, count in manifest.drop_counts().items():
            first = next(item for item in manifest.dropped if item.reason == reason)
            told = printable(f"such as {first.id} ({first.detail})")
            typer.echo(f"{'':<6} dropped, {reason}: {count}, {told}")
