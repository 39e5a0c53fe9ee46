"""Commands that search pictures with a model."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtm.cli.options import (
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
    load_spec,
    load_trained_corpus,
    require_some,
    rounded,
    say,
    spare_pictures,
)
from vtm.cli.rows import choose_format, open_rows
from vtm.corpora.pictures import MAX_PIXELS, SUFFIXES
from vtm.corpora.table import Found, find_pictures
from vtm.errors import ConfigError, DataError, MissingError, counted, printable, storable

if TYPE_CHECKING:
    from vtm.api import Answer, FoundPicture
    from vtm.corpora import Corpus

# Ids and texts, where they have any, pictures, and what is said of them in columns.
Items = tuple[list[str] | None, list[str] | None, list[Path], dict[str, Sequence[str]]]


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
    like: Annotated[
        Path | None,
        typer.Option(
            help="A picture, from anywhere, that the found ones are to be like; with a text or without.",
            metavar="PICTURE",
        ),
    ] = None,
    minus: Annotated[
        str | None,
        typer.Option(help="With a text or --like: what is not to be in the pictures.", metavar="TEXT"),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(
            help="Instead: the pictures with most of this topic, by its number or name.", metavar="TOPIC"
        ),
    ] = None,
    distinct: Annotated[
        bool, typer.Option("--distinct", help="Of near-duplicates the best one, which names the others.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="At most this many pictures.")] = 10,
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
    With --like, --minus or --topic no such chance is known: the nearest are shown, and stderr says what the score is.
    Pictures that cannot be used are listed at the end; the exit code is 3 if there are any.
    """
    from vtm.api import VisualTopicModel
    from vtm.report.contact import Card, check_suffix, write_sheet

    kind, wanted = choose_format(format, out), _text(text, text_file, like, minus, topic)
    if sheet is not None:
        check_suffix(sheet)
    found = find_some(pictures, exclude) if pictures else None
    loaded = VisualTopicModel.load(model, encoder=encoder, device=device, max_pixels=max_pixels)
    is_number = topic is not None and topic.strip().lstrip("-").isdecimal()
    number = None if topic is None else loaded.topic_number(int(topic) if is_number else topic)
    found = found or find_some(load_trained_corpus(loaded, model).images)
    spare_pictures(found, "--sheet", sheet)
    spare_pictures(found, "--out", out)
    asked = found.pictures if like is None else _without(found.pictures, like)
    answer = loaded.match(
        wanted,
        asked,
        top=top,
        words=words,
        measure=measure,
        like=like,
        minus=minus,
        topic=number,
        distinct=distinct,
    )
    bad = [*found.unreadable, *answer.dropped]
    require_some(len(answer.nearest), bad)
    shown = answer.nearest if everything else answer.fits
    rows: list[dict[str, Any]] = []
    cards = [Card(like, f"like {printable(like.name)}")] if like is not None else []
    for place, hit in enumerate(shown, start=1):
        picture, reasons = asked[hit.position], _reasons(hit, wanted is not None, topic is not None)
        rows.append(
            {
                "rank": place,
                "probability": rounded(hit.probability),
                "score": round(hit.score, 6),
                "picture": storable(picture),
                "why": "; ".join(reasons),
                "alike": [storable(asked[place]) for place in hit.alike],
            }
        )
        if hit.probability == hit.probability:
            likely = f"{hit.probability:.0%} likely"
        else:
            likely = f"{hit.score:.0%} of the picture" if topic is not None else f"score {hit.score:.2f}"
        cards.append(Card(picture, f"{place}. {printable(picture.name)}", (likely, *reasons)))
    columns = {"rank": int, "probability": float, "score": float, "picture": str, "why": str}
    if distinct and kind != "table":
        columns["alike"] = list
    with open_rows(kind, out, columns) as write:
        write(rows)
    if sheet is not None:
        names = dict(zip(loaded.topic_numbers_, loaded.topic_labels(), strict=True))
        write_sheet(sheet, _asked_for(wanted, like, minus, number, names), cards, language=loaded.language)
    if wanted is not None:
        _say_of_text(answer, len(shown))
    if like is not None or minus is not None or topic is not None:
        say(f"score: {answer.score}; it ranks the pictures and is not a probability")
    finish(found, bad)


def _reasons(hit: FoundPicture, by_text: bool, by_topic: bool) -> list[str]:
    """Why a picture was found, a line for each reason."""
    reasons = [f"{word.word} ({word.lift:.1f} times as likely as overall)" for word in hit.words]
    asked = "text" if by_text else "given picture"
    for topic in hit.topics:
        shares = f"text {topic.text:.0%}, picture {topic.picture:.0%}".replace("text", asked)
        reasons.append(
            f"{topic.name or ', '.join(topic.words)} ({f'{topic.picture:.0%}' if by_topic else shares})"
        )
    reasons += [
        f"not wanted: {word.word} ({word.lift:.1f} times as likely as overall)" for word in hit.without
    ]
    return reasons + [f"and {len(hit.alike)} like it"] * bool(hit.alike)


def _asked_for(
    text: str | None, like: Path | None, minus: str | None, topic: int | None, names: Mapping[int, str]
) -> str:
    """What was looked for, as the heading of a sheet."""
    parts = [text] if text else []
    parts += [f"like {printable(like.name)}"] if like else []
    parts += [f"without {minus}"] if minus else []
    parts += [f"topic {topic}: {names[topic]}"] if topic is not None else []
    return "\n".join(parts)


def _without(pictures: Sequence[Path], like: Path) -> list[Path]:
    """The pictures but that which they are to be like: of these it would always be the first."""
    if not like.is_file():
        raise MissingError(f"--like {like}: no such file; name a picture")
    others = []
    for picture in pictures:
        with suppress(OSError):  # none of its name: that is told when it is read
            if os.path.samefile(picture, like):
                continue
        others.append(picture)
    if not others:
        raise MissingError(f"--like {like}: no other picture is there; name more pictures to look among")
    return others


def _say_of_text(answer: Answer, n_shown: int) -> None:
    """What the model knows of the text, and whether anything fits."""
    if answer.guess:
        say("the model knows no word of the text, and its topics are flat: what is found is a guess")
    elif answer.unknown:
        say(f"words that the model does not know: {', '.join(answer.unknown[:10])}")
    if math.isnan(answer.threshold) and not math.isnan(answer.nearest[0].probability):
        say(
            "which of these fit cannot be told: on held-out pairs such a text said too little of its picture; these are "
            "the nearest"
        )
    elif not n_shown:
        say(
            f"nothing fits well; the nearest is {answer.nearest[0].probability:.0%} likely, see it with --all"
        )


def _text(
    text: str | None, text_file: Path | None, like: Path | None, minus: str | None, topic: str | None
) -> str | None:
    """The text, where one is given; what is asked for is checked."""
    by_text = text is not None or text_file is not None
    if text is not None and text_file is not None:
        raise ConfigError("give the text, by either --text or --text-file")
    if topic is not None and (by_text or like is not None or minus is not None):
        raise ConfigError("--topic: is asked for alone, without a text, --like and --minus")
    if minus is not None and not minus.strip():
        raise DataError("--minus: the text is empty; give one with words")
    if not by_text and like is None:
        if minus is not None:
            raise ConfigError("--minus: says what is not wanted; give a text or --like, too")
        if topic is None:
            raise ConfigError("say what to look for, by either --text or --text-file, --like or --topic")
    if not by_text:
        return None
    if text_file is not None:
        try:
            text = text_file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{text_file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
        except FileNotFoundError:
            raise MissingError(f"--text-file {text_file}: no such file; name one with the text") from None
        except IsADirectoryError:
            raise ConfigError(f"--text-file {text_file}: is a folder; name a file with the text") from None
    if not (wanted := (text or "").strip()):
        raise DataError("the text is empty; give one with words")
    return wanted


def explore(
    model: Model,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="Folder to write, a new or empty one or that of an older page; open its index.html.",
        ),
    ],
    source: Annotated[
        list[str] | None,
        typer.Argument(
            help="A corpus or a table with texts, as for train; or pictures and folders without texts; by default "
            "the corpus that the model was trained on.",
            metavar="[CORPUS_OR_PICTURES]...",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="A column of the table by which the map can be coloured, as year; may be repeated.",
            metavar="NAME",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Topic explorer",
    originals: Annotated[
        bool,
        typer.Option(help="Link to the pictures themselves, and name them in tables that the page writes."),
    ] = True,
    limit: Annotated[
        int, typer.Option(min=1, help="At most this many pictures, drawn with the seed.")
    ] = 5000,
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
    it can, as CLIP does. On the page keywords can be accepted, rejected and added; it writes them as a table for
    `vtm apply`. Pictures that cannot be read are named; the exit code is then 3.
    """
    from vtm.api import VisualTopicModel
    from vtm.report.explorer import build_explorer, check_folder
    from vtm.report.explorer.shown import from_model

    check_folder(out)  # before the pictures are read
    kept: dict[str, Any] = {"columns": tuple(dict.fromkeys(column))} if column else {}
    items, found = _items(source, exclude, **kept) if source else (None, Found(()))
    loaded = VisualTopicModel.load(model, encoder=encoder, device=device, max_pixels=max_pixels)
    ids, texts, pictures, columns = items or _of_corpus(load_trained_corpus(loaded, model, **kept))
    data, dropped = from_model(
        loaded,
        pictures,
        ids=ids,
        texts=texts,
        columns=columns,
        limit=limit,
        seed=seed,
        title=title,
        order="ctfidf" if ctfidf else "relevance",
        weight=relevance,
    )
    built = build_explorer(data, out, originals=originals)
    typer.echo(f"{built.index}: {counted(len(data.ids), 'picture')}, {built.size / 1e6:.1f} MB")
    finish(found, [*found.unreadable, *dropped])


def _items(source: list[str], exclude: Sequence[str] | None, **kept: Any) -> tuple[Items, Found]:
    """Ids, texts and pictures of a corpus or table, or pictures alone, and what was found of these."""
    from vtm.config import parse_corpus
    from vtm.corpora import CORPORA
    from vtm.corpora.table import METADATA

    name, _ = parse_corpus(source[0])
    path = Path(name).expanduser()
    is_table = path.is_file() and path.suffix.lower() not in SUFFIXES
    has_table = path.is_dir() and any((path / metadata).is_file() for metadata in METADATA)
    if len(source) == 1 and (name in CORPORA or is_table or has_table):
        if kept and name in CORPORA:
            raise ConfigError(f"--column: the corpus {name} is no table, and has no columns; leave it out")
        return _of_corpus(load_spec(source[0], **kept)), Found(())
    if kept:
        raise ConfigError("--column: pictures alone have no columns; name a table of them")
    found = find_pictures(source, exclude=exclude or ())
    if not found.pictures:
        raise MissingError(
            f"{', '.join(source)}: no picture is there; name pictures, folders of them, or a table"
        )
    return (None, None, list(found.pictures), {}), found


def _of_corpus(corpus: Corpus) -> Items:
    from vtm.report.explorer.shown import columns_of

    return list(corpus.ids), list(corpus.texts), list(corpus.images), columns_of(corpus)
