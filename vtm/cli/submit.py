"""Commands of the NewsImages task: write a run file, check one, score one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtm.cli.options import Device, NewsFolder, RunFile
from vtm.errors import DataError, printable

SHOWN = 20  # problems of a run; a wrong id column makes thousands
COLUMNS = {
    "correct_100": "correct in top 100",
    "mrr_100": "MRR@100",
    **{f"recall_{k}": f"Recall@{k}" for k in (1, 5, 10, 50, 100)},
}


def submit_run(
    models: Annotated[
        str,
        typer.Argument(
            help="A model, or the folder of one seed's models (runs/.../seed-0), or `baseline`: the encoder's own "
            "cosine."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The run file to write.")],
    encoder: Annotated[
        str, typer.Option(help="Encoder; by default that of the models, or clip for the baseline.")
    ] = "",
    folder: NewsFolder = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of the pictures, if not the usual one.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Write a run for the NewsImages task: for each test article the 100 best images."""
    from vtm.api import VisualTopicModel
    from vtm.config import parse_corpus
    from vtm.encoders import load_named
    from vtm.newsimages import corpus as newsimages
    from vtm.newsimages import task

    data = newsimages.read(folder)
    pair, notes = None, {}
    if Path(models).is_file():
        own = VisualTopicModel.load(models, encoder=encoder or None, device=device)
        pair, notes = (own.text_model_, own.image_model_), {"encoder": own.encoder}
        for reads in ("text", "image"):
            own._encoders.checked(reads)
    elif models != "baseline":
        *pair, notes = task.load_models(models)
    encoders = load_named(encoder or notes.get("encoder") or "clip", device=device, language="de")
    if pair is None:
        task.check_encoder(encoders)
    # A text is put together as it was for the models.
    corpus, settings = parse_corpus(notes.get("corpus", "newsimages"))
    text_options = newsimages.text_options(settings) if corpus == "newsimages" else {}
    where = pictures or newsimages.pictures_folder(data.folder)
    embedded = task.embed_task(data, encoders, where, **text_options)
    all_images = [picture.iid for picture in data.test_images]
    ranking = task.task_run(embedded, all_images, models=pair, measure=notes.get("measure", "cosine"))
    task.write_run(out, ranking)
    depth = min(task.DEPTH, len(all_images))
    problems = task.check_run(task.read_run(out), embedded.articles, all_images, depth=depth)
    if problems:
        raise DataError(f"{out}: {problems[0]}")
    typer.echo(
        f"{out}: {len(ranking)} articles, ranked among {len(embedded.images)} of {len(all_images)} images"
    )
    if embedded.missing:
        typer.echo(
            f"{len(embedded.missing)} pictures are missing; an article with one of them cannot be found"
        )


def check_run_file(
    run: RunFile,
    folder: NewsFolder = None,
) -> None:
    """Check a run file against the NewsImages task; refuse it with all its problems."""
    from vtm.newsimages import corpus as newsimages
    from vtm.newsimages import task

    content = task.read_run(run)
    data = newsimages.read(folder)
    problems = task.check_run(
        content,
        [article.id for article in data.test_articles],
        [picture.iid for picture in data.test_images],
    )
    for problem in problems[:SHOWN]:
        typer.echo(printable(problem), err=True)
    if problems:
        more = f", the first {SHOWN} above" if len(problems) > SHOWN else ""
        raise DataError(f"{run}: {len(problems)} {'problem' if len(problems) == 1 else 'problems'}{more}")
    typer.echo(f"{run}: a valid run, {len(content.lines)} articles with {task.DEPTH} images or more each")


def evaluate_run_file(
    run: RunFile,
    ground_truth: Annotated[Path, typer.Argument(help="The task's content2019-04-gt.tsv.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a run as the NewsImages task does; articles without a line count as not found."""
    from vtm.newsimages import task
    from vtm.newsimages.corpus import read_ground_truth

    score = task.evaluate(task.read_run(run), read_ground_truth(ground_truth))
    if json:
        from json import dumps

        typer.echo(dumps({**score.figures, "n_articles": score.n_articles, "n_in_run": score.n_in_run}))
        return
    typer.echo(f"{'articles':<20}{score.n_articles:>8}, {score.n_in_run} of them in the run")
    for name, label in COLUMNS.items():
        value = score.figures[name]
        typer.echo(f"{label:<20}{value:>8.0f}" if name == "correct_100" else f"{label:<20}{value:>8.5f}")
