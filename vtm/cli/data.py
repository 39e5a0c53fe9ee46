"""Commands on corpora, those of the NewsImages task among them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtm.cli.options import Corpus, Device, NewsFolder, RunFile, load_spec, report, report_dropped, show_found
from vtm.errors import ConfigError, DataError, choice, counted, printable

if TYPE_CHECKING:
    from vtm.model.plus import PlusSide
    from vtm.model.topicmodel import TopicModel

# What is fetched by other ways than the artifacts of vtm.corpora.fetch.
NEWS_FILES, NEWS_PICTURES = "corpus:newsimages", "newsimages-images"
SHOWN = 20  # problems of a run; a wrong id column makes thousands
COLUMNS = {
    "correct_100": "correct in top 100",
    "mrr_100": "MRR@100",
    **{f"recall_{k}": f"Recall@{k}" for k in (1, 5, 10, 50, 100)},
}


def prefetch(
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Fetch this encoder's weights; options as in clip:model=ViT-B-32,pretrained=openai."
        ),
    ] = None,
    corpus: Annotated[list[str] | None, typer.Option(help="Fetch this corpus.")] = None,
) -> None:
    """Fetch all data that the book and the tests need, or only what is named."""
    from vtm.config import parse_encoder
    from vtm.corpora.fetch import GROUPS
    from vtm.encoders import PREFETCH, prefetch_encoder

    named = [("encoder", name) for name in encoder or []] + [("corpus", name) for name in corpus or []]
    groups = []
    for kind, spec in named:
        name, options = parse_encoder(spec) if kind == "encoder" else (spec, {})
        if kind == "encoder" and name in PREFETCH:
            typer.echo(f"{spec}: everything is in {prefetch_encoder(name, **options)}")
        elif f"{kind}:{name}" == NEWS_FILES:
            _fetch_news_files()
        elif f"{kind}:{name}" in GROUPS:
            groups.append(f"{kind}:{name}")
        else:
            known = [group.partition(":")[2] for group in (*GROUPS, NEWS_FILES) if group.startswith(kind)]
            known += PREFETCH if kind == "encoder" else []
            raise ConfigError(f"--{kind} {name}: there is nothing to fetch: {choice(name, known)}")
    if groups or not named:
        _fetch_groups(groups or list(GROUPS))


def fetch_named(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Artifacts or groups.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="newsimages-images: where to put them, if not the usual place.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="newsimages-images: requests at the same time.")] = 8,
    timeout: Annotated[float, typer.Option(help="newsimages-images: seconds for a try at a picture.")] = 20.0,
    retries: Annotated[int, typer.Option(min=0, help="newsimages-images: further tries at a picture.")] = 3,
    user_agent: Annotated[str, typer.Option(help="newsimages-images: what the servers are told.")] = "",
    any_host: Annotated[
        bool, typer.Option("--any-host", help="newsimages-images: ask hosts that the files do not name, too.")
    ] = False,
    retry_lost: Annotated[
        bool, typer.Option("--retry-lost", help="newsimages-images: ask again for those that were gone.")
    ] = False,
) -> None:
    """Fetch artifacts or groups by name, or newsimages-images; without a name, list them."""
    from vtm.corpora.fetch import ARTIFACTS, GROUPS, artifacts_for

    if names:
        groups = [name for name in names if name not in (NEWS_FILES, NEWS_PICTURES)]
        artifacts_for(groups)  # an unknown name fails before anything is fetched
        if groups:
            _fetch_groups(groups)
        if NEWS_FILES in names:
            _fetch_news_files()
        if NEWS_PICTURES in names:
            options: dict[str, Any] = {"workers": workers, "timeout": timeout, "retries": retries}
            options |= {"user_agent": user_agent} if user_agent else {}
            _fetch_news_pictures(folder, any_host=any_host, retry_lost=retry_lost, **options)
        return
    for group, members in GROUPS.items():
        report(group, f"{_megabytes(members)}  {_licence(group)}")
        for name in members:
            state = "fetched" if _is_fetched([name]) else "not fetched"
            report(f"  {name}", f"{_megabytes([name])}  {ARTIFACTS[name].version}, {state}")
    report(NEWS_FILES, f"   7 MB  {_licence(NEWS_FILES)}")
    report(NEWS_PICTURES, "         the pictures of corpus:newsimages, from the newspaper's own server")


def corpora() -> None:
    """List the corpora."""
    from vtm.corpora import CORPORA
    from vtm.corpora.fetch import GROUPS

    for name, description in CORPORA.items():
        members = GROUPS.get(f"corpus:{name}", ())
        state = "fetched" if _is_fetched(members) else f"not fetched, {_megabytes(members).strip()}"
        typer.echo(f"{name:<12}  {description}" + (f" [{state}]" if members else ""))
    typer.echo(
        f"{'PATH':<12}  your own: a table (CSV, TSV, JSON Lines, Parquet, workbook) or a folder, of pictures with captions"
    )


def show_corpus(
    name: Corpus,
    split_seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    fold: Annotated[int, typer.Option(min=0, max=4, help="Which fifth the split tests.")] = 0,
    encoder: Annotated[
        str | None,
        typer.Option(help="Embed the pairs, to show near-duplicates and the split that keeps them together."),
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="How many pairs to show.")] = 3,
) -> None:
    """Show what a corpus holds: counts, what was dropped and why, the split, some pairs."""
    from vtm.corpora import split
    from vtm.corpora.base import near_duplicates

    corpus, clusters = load_spec(name), None
    if encoder is not None:
        from vtm.encoders import load_named
        from vtm.experiment.prepare import embed_pairs

        corpus, text, image = embed_pairs(corpus, load_named(encoder, language=corpus.language))
        clusters = near_duplicates(text, image)
    groups = (
        f", {counted(len(set(corpus.groups)), 'gold category', 'gold categories')}" if corpus.groups else ""
    )
    report(printable(corpus.name), f"{counted(len(corpus), 'pair')}{groups}; texts in {corpus.language!r}")
    report("source", printable(corpus.source))
    show_found(corpus)
    parts = split(corpus, seed=split_seed, fold=fold, clusters=clusters)
    report("split", ", ".join(f"{part} {len(positions)}" for part, positions in parts.items()))
    if clusters is not None:
        _show_twins(corpus, clusters, parts)
    report_dropped("dropped", corpus.dropped)
    # Spread over the corpus: neighbours are often alike.
    step = max(1, len(corpus) // max(1, examples))
    for position in range(0, len(corpus), step)[:examples]:
        report("example", f"{printable(corpus.ids[position])}: {_short(corpus.texts[position])}")


def _show_twins(corpus: Any, clusters: Any, parts: dict[str, Any]) -> None:
    import numpy as np

    from vtm.corpora.base import large_cluster, leaking

    sizes = np.bincount(clusters)
    told = f"{sizes[sizes > 1].sum()} pairs in {counted((sizes > 1).sum(), 'cluster')}, the largest of {sizes.max()}"
    report("near-duplicates", told)
    if corpus.parts is not None:
        among = f"{len(leaking(clusters, parts))} of the owners' {len(parts['test'])} test pairs have one among the others"
        report("", among)
    if warning := large_cluster(clusters):
        report("", warning)


def _fetch_groups(names: Iterable[str]) -> None:
    from vtm.corpora.fetch import artifacts_for, fetch
    from vtm.files import data_dir

    for name in names:
        members = [artifact.name for artifact in artifacts_for([name])]
        state = "already there" if _is_fetched(members) else "to be fetched"
        report(name, f"{_megabytes(members)}  {state}; {_licence(name)}")
        for member in members:
            fetch(member)
    typer.echo(f"everything is in {data_dir()}")


def _fetch_news_files() -> None:
    from vtm.newsimages.download import fetch_files

    typer.echo(f"{NEWS_FILES}: everything is in {fetch_files()}")


def _fetch_news_pictures(folder: Path | None, **options: Any) -> None:
    from vtm.newsimages import corpus as newsimages
    from vtm.newsimages.download import fetch_pictures

    news = newsimages.read()
    fetched = fetch_pictures(news, folder or newsimages.pictures_folder(news.folder), **options)
    typer.echo(fetched.summary())


def _is_fetched(members: Iterable[str]) -> bool:
    from vtm.corpora.fetch import is_fetched

    return all(is_fetched(name) for name in members)


def _megabytes(members: Iterable[str]) -> str:
    from vtm.corpora.fetch import ARTIFACTS

    return f"{sum(ARTIFACTS[name].size for name in members) / 1e6:4.0f} MB"


def _licence(name: str) -> str:
    """Where a group, or the group of a single artifact, comes from and its licence."""
    from vtm.corpora.fetch import GROUPS, licence_of

    return licence_of(name if ":" in name else next(group for group in GROUPS if name in GROUPS[group]))


def _short(text: str) -> str:
    from textwrap import shorten

    return printable(shorten(text, 100, placeholder=" ..."))


def embed(
    corpus: Corpus,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Folder to write, a new or empty one or that of older embeddings."),
    ],
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
    device: Device = "auto",
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster: auto or HOST:6379; by default one is started here."),
    ] = None,
) -> None:
    """Embed a corpus' pictures and texts into Parquet shards, and into the embedding cache; go on where it stopped."""
    from vtm.encoders.shards import embed_corpus

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
        shards = counted(len(manifest.shards), "shard")
        typer.echo(
            f"{manifest.side:<6} {counted(manifest.rows, 'embedding')} of {manifest.dim} numbers, {shards} in {manifest.folder}"
        )
        for reason, count in manifest.drop_counts().items():
            first = next(item for item in manifest.dropped if item.reason == reason)
            told = printable(f"such as {first.id} ({first.detail})")
            typer.echo(f"{'':<6} dropped, {reason}: {count}, {told}")


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
    pair: tuple[TopicModel | PlusSide, TopicModel | PlusSide] | None = None
    notes: dict[str, Any] = {}
    if Path(models).is_file():
        own = VisualTopicModel.load(models, encoder=encoder or None, device=device)
        pair, notes = (own.text_model_, own.image_model_), {"encoder": own.encoder}
        for reads in ("text", "image"):
            own._encoders.checked(reads)
    elif models != "baseline":
        of_texts, of_pictures, notes = task.load_models(models)
        pair = of_texts, of_pictures
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
        f"{out}: {counted(len(ranking), 'article')}, ranked among {len(embedded.images)} of {counted(len(all_images), 'image')}"
    )
    if embedded.missing:
        typer.echo(
            f"{counted(len(embedded.missing), 'picture is', 'pictures are')} missing; an article with one of them cannot be found"
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
        raise DataError(f"{run}: {counted(len(problems), 'problem')}{more}")
    typer.echo(
        f"{run}: a valid run, {counted(len(content.lines), 'article')} with {task.DEPTH} images or more each"
    )


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
