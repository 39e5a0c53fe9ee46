"""What the commands on models share: options, loading, and speaking on stderr."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtm.cli.rows import choose_format, open_rows
from vtm.corpora.pictures import MAX_PIXELS
from vtm.errors import ConfigError, DataError, MissingError, printable, storable

if TYPE_CHECKING:
    from vtm.api import VisualTopicModel
    from vtm.corpora import Corpus, Dropped


Model = Annotated[Path, typer.Argument(help="A model that `vtm train` wrote.", metavar="MODEL")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="table, csv, jsonl or parquet; by default a table on a terminal, else CSV.",
        metavar="NAME",
    ),
]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", help="Write to this file; its suffix names the format.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Encoder = Annotated[
    str | None, typer.Option(help="The model's encoder under another name, if its weights lie elsewhere.")
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Larger pictures are not used.")]
Order = Annotated[
    bool, typer.Option("--ctfidf", help="Choose keywords by class-based TF-IDF, not by relevance.")
]
Relevance = Annotated[
    float, typer.Option(min=0, max=1, help="Lambda of relevance: 1 orders by probability, 0 by lift.")
]


def load_model(path: Path, **options: Any) -> VisualTopicModel:
    """A saved model; options as for `VisualTopicModel.load`."""
    from vtm.api import VisualTopicModel

    return VisualTopicModel.load(path, **options)


def say(text: str) -> None:
    """Print a line to stderr; stdout is for rows."""
    print(printable(text), file=sys.stderr)


# What a model notes of its training: the corpus, its places as seen from the model's file. Both can be moved together,
# and whoever gets the model does not see where they lay.
NOTE = "corpus"


def corpus_note(spec: str, path: Path) -> str:
    """A corpus as a model that is saved in `path` notes it."""
    from vtm.corpora import absolute_corpus, with_places

    folder = os.path.realpath(path.parent)
    # With a dot in front no folder is taken for one of our corpora.
    return with_places(
        absolute_corpus(spec), lambda place: os.path.join(".", os.path.relpath(_real(place), folder))
    )


def load_trained_corpus(model: VisualTopicModel, path: Path) -> Corpus:
    """The corpus that the model in `path` notes; stderr says which, and what of it cannot be used.

    Raises
    ------
    ConfigError, MissingError
        The model does not say which, or it cannot be read any more.
    """
    from vtm.config import parse_corpus
    from vtm.corpora import load_corpus, with_places

    spec = model.notes_.get(NOTE)
    if not isinstance(spec, str) or not spec.strip():
        raise ConfigError(
            f"{path}: does not say which corpus it was trained on, only a model of `vtm train` does; "
            "name the pictures"
        )
    folder = os.path.realpath(path.parent)
    try:
        spec = with_places(spec, lambda place: os.path.normpath(os.path.join(folder, place)))
        say(f"with the corpus that the model was trained on: {spec}")
        name, options = parse_corpus(spec)
        corpus = load_corpus(name, **options)
    except (ConfigError, DataError, MissingError) as error:
        raise MissingError(
            f"{path}: was trained on {spec}, which cannot be read now ({error}); name the pictures"
        ) from None
    if corpus.dropped:
        counts = ", ".join(f"{count} {reason}" for reason, count in corpus.drop_counts().items())
        say(f"{len(corpus.dropped)} of its pairs are left out ({counts}), such as {corpus.dropped[0].id}")
    return corpus


def _real(path: Path | str) -> str:
    """A path without the links above it: only so does `..` lead where it says."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def train(
    corpus: Annotated[
        str,
        typer.Argument(
            help="A corpus, or a table with columns file_name and text; options as in photos.csv:text_column=title."
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The model's file; an older model there is replaced.")
    ],
    n_topics: Annotated[int, typer.Option(min=2, help="How many topics.")] = 60,
    teacher: Annotated[str, typer.Option(help="What the picture model learns from: text or joint.")] = "text",
    encoder: Annotated[str, typer.Option(help="offline, clip, ...; options follow a colon.")] = "offline",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="How often training sees each pair.")] = 100,
    batch_size: Annotated[
        int | None,
        typer.Option(min=2, help="Pairs per step; by default 64, and 16 for fewer than 500 pairs."),
    ] = None,
    min_df: Annotated[int, typer.Option(min=1, help="A word must stand in so many texts.")] = 3,
    max_words: Annotated[int, typer.Option(min=2, help="At most so many words are known.")] = 2000,
    validation: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Share of the pairs that judges the training; 0 trains on all."),
    ] = 0.1,
    language: Annotated[str, typer.Option(help="Of the texts, as in de; the corpus' by default.")] = "",
    max_pixels: MaxPixels = MAX_PIXELS,
    device: Device = "auto",
) -> None:
    """Train a model on a corpus or on a table of your own pictures and texts."""
    from vtm.api import ModelWarning, VisualTopicModel, check_place
    from vtm.config import parse_corpus
    from vtm.corpora import load_corpus

    check_place(out)
    name, options = parse_corpus(corpus)
    data = load_corpus(name, **options)
    model = VisualTopicModel(
        n_topics,
        teacher=teacher,
        encoder=encoder,
        language=language or data.language,
        random_state=seed,
        epochs=epochs,
        batch_size=batch_size,
        min_df=min_df,
        max_words=max_words,
        validation=validation,
        device=device,
        max_pixels=max_pixels,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)  # the report says it all
        model.fit(data.texts, data.images, ids=data.ids)
    model.save(out, **{NOTE: corpus_note(corpus, out)}, source=data.source)
    _report(model, out, data.dropped, language=_language_line(language, data.language, options))


def _language_line(given: str, of_corpus: str, options: Mapping[str, Any]) -> str:
    """Which language the texts are taken to be in, and who says so."""
    if given:
        return given
    return of_corpus if "lang" in options else f"{of_corpus} (by default)"


def _report(model: VisualTopicModel, out: Path, dropped: Sequence[Dropped], *, language: str) -> None:
    held_out = f", {model.n_validation_} of them held out to judge it" if model.n_validation_ else ""
    typer.echo(_line("pairs", f"{model.n_pairs_}{held_out}"))
    by_reason: dict[str, list[str]] = {}
    for item in (*dropped, *model.dropped_):
        by_reason.setdefault(item.reason, []).append(item.id)
    typer.echo(_line("left out", str(sum(map(len, by_reason.values())))))
    for reason, ids in by_reason.items():
        typer.echo(_line(f"  {reason}", f"{len(ids):6}  such as {printable(ids[0])}"))
    typer.echo(_line("language", language))
    typer.echo(_line("words", str(len(model.vocabulary_))))
    typer.echo(_line("topics", str(model.n_topics)))
    for reads, what in (("text", "texts"), ("image", "pictures")):
        typer.echo(_line(f"NPMI, model of {what}", f"{model.coherence_[reads].mean():.3f}"))
    judged = {"not judged": "not judged: no pairs were held out"}
    typer.echo(_line("training", judged.get(model.status_, model.status_)))
    typer.echo(_line("model", f"{out}; `vtm topics {out}` shows its topics"))
    for warning in model.warnings_:
        typer.echo(f"warning: {warning}", err=True)
    if model.status_ == "doubtful":
        typer.echo("warning: another --n-topics or more pairs may help", err=True)


def topics(
    model: Model,
    top: Annotated[int, typer.Option(min=1, help="Keywords of each topic.")] = 10,
    ctfidf: Order = False,
    relevance: Relevance = 0.6,
    pictures: Annotated[
        int, typer.Option(min=0, max=10, help="Training pictures to name for each topic.")
    ] = 3,
    format: Format = None,
    out: Out = None,
) -> None:
    """Show a model's topics, the largest first: keywords, share of the training pictures, coherence, best pictures.

    Coherence is the NPMI of the picture model's ten most probable words in the training texts, from -1 to 1.
    """
    import numpy as np

    from vtm.metrics.topics import topic_diversity

    kind, loaded = choose_format(format, out), load_model(model)
    keywords = loaded.topics(top, order="ctfidf" if ctfidf else "relevance", weight=relevance)
    rows = [
        {
            "topic": int(k),
            "share": round(float(loaded.topic_share_[k]), 6),
            "coherence": round(float(loaded.coherence_["image"][k]), 6),
            "keywords": keywords[k],
            "best pictures": [storable(name) for name, _ in loaded.best_pictures_[k][:pictures]],
        }
        for k in np.argsort(-loaded.topic_share_, kind="stable")
    ]
    columns = {"topic": int, "share": float, "coherence": float, "keywords": list, "best pictures": list}
    with open_rows(kind, out, columns) as write:
        write(rows)
    depth = min(25, len(loaded.vocabulary_))
    diversity = topic_diversity(loaded.topics(depth, order="probability"), top=depth)
    say(
        f"{len(keywords)} topics of {loaded.n_pairs_} pairs; mean coherence {loaded.coherence_['image'].mean():.3f}, "
        f"diversity {diversity:.3f} (different words among the {depth} most probable of all topics)"
    )
    for warning in loaded.warnings_:
        say(f"warning: {warning}")


def _line(label: str, text: str) -> str:
    return f"{label:<26} {text}"
