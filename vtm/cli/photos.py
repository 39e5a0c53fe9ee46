"""Commands that search pictures with a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vtm.cli.options import (
    SKIPPED,
    Device,
    Encoder,
    Exclude,
    Format,
    MaxPixels,
    Model,
    Order,
    Out,
    Relevance,
    Words,
    find_some,
    finish,
    load_trained_corpus,
    require_some,
    rounded,
    say,
    spare_pictures,
)
from vtm.cli.rows import choose_format, open_rows
from vtm.corpora.pictures import MAX_PIXELS, SUFFIXES
from vtm.corpora.table import Found, find_pictures
from vtm.errors import ConfigError, DataError, MissingError, printable, storable

if TYPE_CHECKING:
    from vtm.api import Answer, FoundPicture
    from vtm.corpora import Corpus

# Ids and texts, where they have any, and pictures.
Items = tuple[list[str] | None, list[str] | None, list[Path]]


def match(
    model: Model,
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Pictures, or folders to search for them; by default the corpus that the model was trained on.",
            metavar="[PICTURES]...",
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The text to illustrate.")] = None,
    text_file: Annotated[Path | None, typer.Option(help="A file with the text, in UTF-8.")] = None,
    top: Annotated[int, typer.Option(min=1, help="At most so many pictures.")] = 10,
    everything: Annotated[
        bool, typer.Option("--all", help="The nearest pictures also where they do not fit well.")
    ] = False,
    measure: Annotated[
        str,
        typer.Option(help="fused, or by topics alone: cosine, dot, hellinger, jensen-shannon."),
    ] = "fused",
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a contact sheet, .png or .html.", metavar="FILE")
    ] = None,
    words: Words = 5,
    format: Format = None,
    out: Out = None,
    exclude: Exclude = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    device: Device = "auto",
    encoder: Encoder = None,
) -> None:
    """Find the pictures that a person who wrote the text would have meant, with the reasons.

    A picture is shown where that is likely enough by what held-out pairs tell; --all shows the nearest ones in any case.
    Pictures that cannot be used are listed at the end; the exit code is 3 if there are any.
    """
    from vtm.api import VisualTopicModel
    from vtm.report.contact import Card, check_suffix, write_sheet

    kind, wanted = choose_format(format, out), _text(text, text_file)
    if sheet is not None:
        check_suffix(sheet)
    found = find_some(pictures, exclude) if pictures else None
    loaded = VisualTopicModel.load(model, encoder=encoder, device=device, max_pixels=max_pixels)
    found = found or find_some(load_trained_corpus(loaded, model).images)
    spare_pictures(found, "--sheet", sheet)
    spare_pictures(found, "--out", out)
    answer = loaded.match(wanted, found.pictures, top=top, words=words, measure=measure)
    bad = [*found.unreadable, *answer.dropped]
    require_some(len(answer.nearest), bad)
    shown = answer.nearest if everything else answer.fits
    rows, cards = [], []
    for place, hit in enumerate(shown, start=1):
        picture, reasons = found.pictures[hit.position], _reasons(hit)
        rows.append(
            {
                "rank": place,
                "probability": rounded(hit.probability),
                "score": round(hit.score, 6),
                "picture": storable(picture),
                "why": "; ".join(reasons),
            }
        )
        likely = (
            f"score {hit.score:.2f}" if rows[-1]["probability"] is None else f"{hit.probability:.0%} likely"
        )
        cards.append(Card(picture, f"{place}. {printable(picture.name)}", (likely, *reasons)))
    columns = {"rank": int, "probability": float, "score": float, "picture": str, "why": str}
    with open_rows(kind, out, columns) as write:
        write(rows)
    if sheet is not None:
        write_sheet(sheet, wanted, cards, language=loaded.language)
    _say_of_text(answer, len(shown))
    finish(found, bad)


def _reasons(hit: FoundPicture) -> list[str]:
    """Why a picture was found, a line for each reason."""
    words = [f"{word.word} ({word.lift:.1f} times as likely as overall)" for word in hit.words]
    return words + [
        f"{', '.join(topic.words)} (text {topic.text:.0%}, picture {topic.picture:.0%})"
        for topic in hit.topics
    ]


def _say_of_text(answer: Answer, n_shown: int) -> None:
    """What the model knows of the text, and whether anything fits."""
    if answer.guess:
        say("the model knows no word of the text, and its topics are flat: what is found is a guess")
    elif answer.unknown:
        say(f"words that the model does not know: {', '.join(answer.unknown[:10])}")
    if not n_shown:
        say(
            f"nothing fits well; the nearest is {answer.nearest[0].probability:.0%} likely, see it with --all"
        )


def _text(text: str | None, text_file: Path | None) -> str:
    if (text is None) == (text_file is None):
        raise ConfigError("give the text, by either --text or --text-file")
    if text_file is not None:
        try:
            text = text_file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{text_file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
        except FileNotFoundError:
            raise MissingError(f"--text-file {text_file}: no such file; name one with the text") from None
        except IsADirectoryError:
            raise ConfigError(f"--text-file {text_file}: is a folder; name a file with the text") from None
    if not text.strip():
        raise DataError("the text is empty; give one with words")
    return text.strip()


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
    exclude: Exclude = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    device: Device = "auto",
    encoder: Encoder = None,
) -> None:
    """Make a page to explore a model: a map of pictures by topic, topics, search; one folder, no server.

    With texts the page also shows the pictures that fit each text, beside those that the encoder finds by itself where
    it can, as CLIP does. Pictures that cannot be read are named; the exit code is then 3.
    """
    from vtm.api import VisualTopicModel
    from vtm.report.explorer import build_explorer
    from vtm.report.explorer.shown import from_model

    items, found = _items(source, exclude) if source else (None, Found(()))
    loaded = VisualTopicModel.load(model, encoder=encoder, device=device, max_pixels=max_pixels)
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
    for line in found.told():
        say(line)
    if dropped := [*found.unreadable, *dropped]:
        for item in dropped:
            say(f"left out: {item.detail or item.id}")
        raise typer.Exit(SKIPPED)


def _items(source: list[str], exclude: Sequence[str] | None) -> tuple[Items, Found]:
    """Ids, texts and pictures of a corpus or table, or pictures alone, and what was found of these."""
    from vtm.config import parse_corpus
    from vtm.corpora import CORPORA, load_corpus
    from vtm.corpora.table import METADATA

    name, options = parse_corpus(source[0])
    path = Path(name).expanduser()
    is_table = path.is_file() and path.suffix.lower() not in SUFFIXES
    has_table = path.is_dir() and any((path / metadata).is_file() for metadata in METADATA)
    if len(source) == 1 and (name in CORPORA or is_table or has_table):
        return _of_corpus(load_corpus(name, **options)), Found(())
    found = find_pictures(source, exclude=exclude or ())
    if not found.pictures:
        raise MissingError(
            f"{', '.join(source)}: no picture is there; name pictures, folders of them, or a table"
        )
    return (None, None, list(found.pictures)), found


def _of_corpus(corpus: Corpus) -> Items:
    return list(corpus.ids), list(corpus.texts), list(corpus.images)
