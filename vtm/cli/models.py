"""Commands that make a model and show it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from vtm.cli.options import (
    NOTE,
    Device,
    Encoder,
    Format,
    Language,
    MaxPixels,
    MaxWords,
    MinDf,
    Model,
    Order,
    Out,
    Relevance,
    TrainCorpus,
    TrainEncoder,
    corpus_note,
    finish,
    load_spec,
    load_trained_corpus,
    load_with_columns,
    report,
    report_dropped,
    rounded,
    say,
    show_found,
    trained_specs,
)
from vtm.cli.rows import cell_text, choose_format, open_rows
from vtm.corpora.pictures import MAX_PIXELS
from vtm.corpora.table import Found
from vtm.errors import ConfigError, DataError, counted, listed, printable, storable

if TYPE_CHECKING:
    from vtm.api import Branch, VisualTopicModel
    from vtm.corpora import Corpus, Dropped
    from vtm.corpora.table import Row
    from vtm.model.health import SizeTried
    from vtm.model.plus import Growth


def train_model(
    corpus: TrainCorpus,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The model's file; an older model there is replaced.")
    ],
    n_topics: Annotated[
        str,
        typer.Option(
            "--n-topics", "--topics", help="How many topics; auto, or several as in 20,40: as sweep says."
        ),
    ] = "60",
    method: Annotated[
        str, typer.Option(help="plus (VTM+), or the paper's networks: text-teacher or joint.")
    ] = "plus",
    teacher: Annotated[
        str | None, typer.Option(help="text or joint: another name for the paper's two methods.")
    ] = None,
    encoder: TrainEncoder = "offline",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="How often a network sees each pair.")] = 60,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=2, help="Pairs per step of a network; by default 64, and 16 for fewer than 500 pairs."
        ),
    ] = None,
    min_df: MinDf = 3,
    max_words: MaxWords = 2000,
    stop_words: Annotated[
        Path | None,
        typer.Option(help="A file of words to leave out besides the language's, one a line.", metavar="FILE"),
    ] = None,
    ngrams: Annotated[int, typer.Option(min=1, max=2, help="2 takes phrases of two words as well.")] = 1,
    validation: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Share of the pairs that judges the training; 0 trains on all."),
    ] = 0.1,
    language: Language = "",
    max_pixels: MaxPixels = MAX_PIXELS,
    device: Device = "auto",
) -> None:
    """Train a model on a corpus or on a table of your own pictures and texts."""
    from vtm.api import MIN_PAIRS, ModelWarning, VisualTopicModel, check_place
    from vtm.config import parse_corpus

    check_place(out)
    data = load_spec(corpus)
    if data.found and len(data) < MIN_PAIRS:
        raise DataError(
            f"{corpus}: {len(data)} of {counted(len(data) + data.drop_counts().get('no-words', 0), 'picture has', 'pictures have')} captions "
            f"or keywords in them or their sidecars, and at least {MIN_PAIRS} are needed; write more, or a table with the columns "
            "file_name and text"
        )
    model = VisualTopicModel(
        _sizes(n_topics),
        method=method,
        teacher=teacher,
        encoder=encoder,
        language=language or data.language,
        random_state=seed,
        epochs=epochs,
        batch_size=batch_size,
        min_df=min_df,
        max_words=max_words,
        stop_words=stop_words or (),
        ngrams=ngrams,
        validation=validation,
        device=device,
        max_pixels=max_pixels,
    )
    with warnings.catch_warnings(action="ignore", category=ModelWarning):  # the report says it all
        model.fit(data.texts, data.images, ids=data.ids)
    model.save(out, **{NOTE: corpus_note(corpus, out)}, source=data.source)
    show_found(data)
    assumed = "" if language or "lang" in parse_corpus(corpus)[1] else " (by default)"
    _report(model, out, data.dropped, language=f"{language or data.language}{assumed}")


def update_model(
    model: Model,
    corpus: Annotated[
        str,
        typer.Argument(
            help="New pictures with texts, as for train; those that the model was trained on may be among them."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The updated model's file; by default it replaces the model."),
    ] = None,
    earlier: Annotated[
        str | None,
        typer.Option(
            help="What the model was trained on, if it is no longer where it was.", metavar="CORPUS"
        ),
    ] = None,
    new_topics: Annotated[
        int | None,
        typer.Option(min=0, help="How many topics to add; by default as many as the new pairs need."),
    ] = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    device: Device = "auto",
    encoder: Encoder = None,
) -> None:
    """Let new pictures with texts join those of a model; topics keep their numbers, new ones come after them.

    Words, topics and chances are computed again from all pairs, so the old ones must still be there. What the encoders
    made of them is kept.
    """
    from vtm.api import ModelWarning, VisualTopicModel, check_place

    out = out or model
    check_place(out)
    loaded = VisualTopicModel.load(model, encoder=encoder, device=device, max_pixels=max_pixels)
    more = load_spec(corpus)
    show_found(more)
    remedy = "name what it was trained on with --earlier"
    specs = [earlier] if earlier is not None else trained_specs(loaded, model, remedy=remedy)
    if earlier is None:
        old = load_trained_corpus(loaded, model, remedy=remedy)
    else:
        old = load_spec(earlier)
    both, n = old.joined(more), len(old)
    if len(both) == len(old):  # a table that has grown holds the new pairs, too
        n = min(n, loaded.n_pairs_ + len(loaded.dropped_))
    if n == len(both):
        raise DataError(
            f"{corpus}: all of its {counted(len(more), 'pair is', 'pairs are')} in the model already; name new ones"
        )
    # A model that was moved finds the table of its new folder: what it knows must not be lost to that.
    if 2 * n < loaded.n_pairs_ and out == model:
        raise DataError(
            f"{model}: of the {loaded.n_pairs_} pairs that it was trained on {n} are left, and it would be replaced; "
            f"{remedy}, or another file for the updated model with -o"
        )
    labels = loaded.trained(divided=True).topic_labels()
    with warnings.catch_warnings(action="ignore", category=ModelWarning):  # the report says it all
        loaded.partial_fit(
            both.texts[n:],
            both.images[n:],
            ids=both.ids[n:],
            earlier=(both.texts[:n], both.images[:n], both.ids[:n]),
            new_topics=new_topics,
        )
    notes = dict.fromkeys(corpus_note(spec, out) for spec in (*specs, corpus))
    loaded.save(out, **loaded.notes_ | {NOTE: list(notes)})
    known = [item for item in both.dropped if item.reason != "known-pair"]
    _report(loaded, out, known, language=loaded.language)
    _report_growth(loaded, labels)


def _report_growth(model: VisualTopicModel, labels: Sequence[str]) -> None:
    """What an update changed; `labels` of the topics of before."""
    growth, now = cast("Growth", model.growth_), model.trained().topic_labels()
    report("new pairs", str(growth.n_new))
    if growth.unlike == growth.unlike:
        report("  unlike", f"{growth.unlike:.0%} lie farther from every topic than 95% of the earlier")
    numbers = f"{len(growth.kept)} as before, {len(growth.changed)} changed, {len(growth.new)} new"
    report("topics now", numbers)
    for k in growth.changed:
        alike = f"(cosine of its shares in the pictures {growth.similarity[k]:.2f})"
        report(f"  changed {k}", f"{labels[k]} -> {now[k]} {alike}")
    for k in growth.new:
        report(f"  new {k}", now[k])
    report("moved", f"{growth.moved:.1%} of the pictures have another largest topic")


def _sizes(text: str) -> int | str | tuple[int, ...]:
    """Numbers of topics as they were typed."""
    if text == "auto":
        return text
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--topics {text}: must be a number, several as in 20,40, or auto") from None
    return sizes if len(sizes) > 1 else sizes[0]


def sweep_sizes(
    corpus: TrainCorpus,
    topics: Annotated[str, typer.Option(help="Numbers of topics to try, or auto.")] = "10,20,40,80",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Draw the figures into this file, .svg or .png.", metavar="FILE"),
    ] = None,
    encoder: TrainEncoder = "offline",
    seed: Annotated[int, typer.Option(min=0, help="The first of five seeds.")] = 0,
    min_df: MinDf = 3,
    max_words: MaxWords = 2000,
    language: Language = "",
    max_pixels: MaxPixels = MAX_PIXELS,
    device: Device = "auto",
    format: Format = None,
) -> None:
    """Try several numbers of topics on held-out pairs, each with five seeds, and recommend one.

    Match is the mean reciprocal rank of each held-out text's own picture, by topics alone. Coherence is the NPMI of the
    ten most probable words. Intrusion is how often a foreign word among a topic's first five stands out. Stability is
    how alike the topics of two seeds are, from 0 to 1. Behind ± stands how far seeds differ (standard deviation).
    """
    from vtm.api import ModelWarning, VisualTopicModel
    from vtm.model.health import recommended_size
    from vtm.report import figures

    kind = choose_format(format, None)
    if out is not None:
        figures.check_drawing(out)
    sizes = _sizes(topics)
    if isinstance(sizes, int):
        raise ConfigError(f"--topics {topics}: is one number; name several, as in 20,40,80")
    data = load_spec(corpus)
    model = VisualTopicModel(
        sizes,
        encoder=encoder,
        language=language or data.language,
        random_state=seed,
        min_df=min_df,
        max_words=max_words,
        device=device,
        max_pixels=max_pixels,
    )
    with warnings.catch_warnings(action="ignore", category=ModelWarning):
        model.fit(data.texts, data.images, ids=data.ids)
    chosen, why = recommended_size(model.sizes_)

    def row(one: SizeTried) -> dict[str, Any]:
        figures = {
            "match": one.reciprocal.mean(axis=1),
            "coherence": one.coherence.mean(axis=1),
            "intrusion": one.intrusion.mean(axis=1),
        }
        found: dict[str, Any] = {"topics": one.n_topics}
        for what, values in figures.items():
            mean, spread = float(values.mean()), float(values.std(ddof=1))
            if kind == "table":
                found[what] = f"{mean:.3f} ±{spread:.3f}"
            else:
                found |= {what: rounded(mean), f"{what} sd": rounded(spread)}
        found |= {"stability": rounded(one.stability), "struck": one.struck}
        return found

    rows = [row(one) for one in model.sizes_]
    of_text = ("match", "coherence", "intrusion", "struck") if kind == "table" else ("struck",)
    columns = {name: str if name in of_text else int if name == "topics" else float for name in rows[0]}
    with open_rows(kind, None, columns) as write:
        write(rows)
    tried = {one.n_topics for one in model.sizes_}
    if isinstance(sizes, tuple) and (
        left := [str(size) for size in dict.fromkeys(sizes) if size not in tried]
    ):
        say(
            f"not tried: {', '.join(left)}; more topics than pairs to train on, {model.n_pairs_ - model.n_validation_}"
        )
    say(f"recommended: {chosen.n_topics} topics; {why}")
    say(
        f"judged by {model.n_validation_} held-out pairs of {model.n_pairs_}; train with --topics {chosen.n_topics}"
    )
    if out is not None:
        figures.write_figure(figures.sizes_chart(model.sizes_, chosen.n_topics), out)


def _report(model: VisualTopicModel, out: Path, dropped: Sequence[Dropped], *, language: str) -> None:
    from vtm.api import FEW_PAIRS

    held_out = f", {model.n_validation_} of them held out to judge it" if model.n_validation_ else ""
    report("pairs", f"{model.n_pairs_}{held_out}")
    report_dropped("left out", (*dropped, *model.dropped_))
    report("language", language)
    phrases = sum(" " in word for word in model.vocabulary_)
    of_two = f", {phrases} of them phrases of two words" if phrases else ""
    few = model.n_pairs_ < FEW_PAIRS and len(model.vocabulary_) < model.max_words and model.min_df > 1
    hint = f"; only those in {model.min_df} texts or more, a lower --min-df gives more" if few else ""
    report("words", f"{len(model.vocabulary_)}{of_two}{hint}")
    report("method", model.method_)
    tried = "" if not model.sizes_ else f", of {', '.join(str(one.n_topics) for one in model.sizes_)}"
    report("topics", f"{len(model.topic_word_)}{tried}")
    for reads, what in (("text", "texts"), ("image", "pictures")):
        report(f"NPMI, model of {what}", f"{model.coherence_[reads].mean():.3f}")
    judged = {"not judged": "not judged: no pairs were held out"}
    report("training", judged.get(model.status_, model.status_))
    report("model", f"{out}; `vtm topics {out}` shows its topics")
    for warning in model.warnings_:
        typer.echo(f"warning: {warning}", err=True)
    if model.status_ == "doubtful":
        typer.echo("warning: another --n-topics or more pairs may help", err=True)


def show_topics(
    model: Model,
    top: Annotated[
        int | None, typer.Option(min=1, help="Keywords of each topic; by default 10, in a tree 4.")
    ] = None,
    ctfidf: Order = False,
    relevance: Relevance = 0.6,
    all_forms: Annotated[
        bool, typer.Option("--all-forms", help="Also a keyword's plural and other forms.")
    ] = False,
    pictures: Annotated[
        int, typer.Option(min=0, max=10, help="Training pictures to name for each topic.")
    ] = 3,
    tree: Annotated[bool, typer.Option("--tree", help="Which topics are alike, as a tree.")] = False,
    over: Annotated[
        str | None,
        typer.Option(
            help="Each topic's share over the dates or groups of a table's column.", metavar="COLUMN"
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            help="With --over: the table with the pictures and that column; by default that of the training.",
            metavar="TABLE",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="With --over: draw it into this file, .svg or .png.", metavar="FILE")
    ] = None,
    format: Format = None,
    out: Out = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    device: Device = "auto",
    encoder: Encoder = None,
) -> None:
    """Show a model's topics, the largest first: keywords, share of the training pictures, coherence, best pictures.

    Behind a keyword stands how many times as frequent it is in the topic as overall; in other formats than a table,
    in a column of its own. Coherence is the NPMI of the picture model's ten most probable words in the training texts,
    from -1 to 1. A topic is marked as mixed where a foreign word, put among its first five, mostly does not stand out by
    the text encoder: its words belong to several themes. Other formats have the share that does (intrusion).

    --tree joins the two topics that are most alike, then the next, until all are one; each branch has the keywords of all
    its topics together. Other formats than a table have a row for each branch, with the row that it is part of.

    --over reads the pictures of a table, and shows what share of them each topic has in each year, month or group, with a 95%
    interval; the table needs no texts. Pictures without a date are counted; the exit code is 3 if some cannot be used.
    """
    import numpy as np

    from vtm.api import VisualTopicModel
    from vtm.metrics.topics import lift, topic_diversity

    kind = choose_format(format, out)
    if over is None and (table or plot):
        raise ConfigError("--table, --plot: go with --over COLUMN, which names a column of dates or groups")
    if plot is not None:
        from vtm.report.figures import check_drawing

        check_drawing(plot)
    loaded = VisualTopicModel.load(model, encoder=encoder, device=device, max_pixels=max_pixels)
    if over is not None:
        if tree or ctfidf:
            raise ConfigError("--over: shows shares; leave out --tree and --ctfidf")
        return _show_over(loaded, model, over, table, top or 4, kind, out, plot)
    if tree:
        if ctfidf or all_forms:
            raise ConfigError("--tree: names branches by relevance; leave out --ctfidf and --all-forms")
        return _show_tree(loaded.tree(top or 4, weight=relevance), kind, out)
    order = "ctfidf" if ctfidf else "relevance"
    keywords = loaded.topics(top or 10, order=order, weight=relevance, all_forms=all_forms)
    column = {word: place for place, word in enumerate(loaded.vocabulary_)}
    shape = loaded.shape_
    shares, numbers = loaded.shown_share_, loaded.topic_numbers_
    times = lift(loaded._topic_words("image"), shares / shares.sum())
    coherence, intrusion = shape.measured(loaded.coherence_["image"]), shape.measured(loaded.intrusion_)
    mixed, best_pictures = shape.measured(loaded.mixed_) == 1, loaded.shown_pictures_

    def row(k: int) -> dict[str, Any]:
        share, lifts = float(shares[k]), [times[k, column[word]] for word in keywords[k]]
        frequent = [f"{one:.1f}" if one < 9.95 else f"{one:.0f}" for one in lifts]
        best = [storable(name) for name, _ in best_pictures[k][:pictures]]
        found: dict[str, Any] = {
            "topic": numbers[k],
            "share": round(share, 6),
            "coherence": rounded(float(coherence[k])),
            "mixed": "mixed" if mixed[k] else "",
            "keywords": keywords[k],
            "times as frequent": frequent,
            "best pictures": best,
            "intrusion": rounded(float(intrusion[k])),
            "name": shape.name(numbers[k]),
            **SHEET,
        }
        if kind == "table":
            beside = [f"{word} {one}×" for word, one in zip(keywords[k], frequent, strict=True)]
            beside += ["(mixed)"] * bool(mixed[k])
            beside[:0] = [f"{found['name']}:"] * bool(found["name"])
            found |= {"share": f"{share:.1%}", "keywords": beside}
        elif kind == "jsonl":
            found = {name: value for name, value in found.items() if name not in SHEET}
            found |= {"mixed": bool(mixed[k]), "times as frequent": [*map(float, frequent)]}
        return found

    columns = {"topic": int, "share": float, "coherence": float, "keywords": list}
    if kind != "table":
        columns |= {
            "times as frequent": list,
            "best pictures": list,
            "intrusion": float,
            "mixed": str,
            "name": str,
            "merge into": int,
            "split into": int,
            "hide": str,
        }
    else:
        columns["best pictures"] = list
    with open_rows(kind, out, columns) as write:
        write([row(k) for k in np.argsort(-shares, kind="stable")])
    depth = min(25, len(loaded.vocabulary_))
    diversity = topic_diversity(loaded.topics(depth, order="probability", all_forms=True), top=depth)
    say(
        f"{len(keywords)} topics of {loaded.n_pairs_} pairs; mean coherence {np.nanmean(coherence):.3f}, "
        f"diversity {diversity:.3f} (different words among the {depth} most probable of all topics)"
    )
    if n_mixed := int(mixed.sum()):
        told = counted(
            n_mixed,
            "topic is mixed: a foreign word among its",
            "topics are mixed: a foreign word among their",
        )
        say(f"{told} first five mostly does not stand out")
    _say_shape(loaded)
    for warning in loaded.warnings_:
        say(f"warning: {warning}")


def _show_over(
    model: VisualTopicModel,
    path: Path,
    column: str,
    table: str | None,
    top: int,
    kind: str,
    out: Path | None,
    plot: Path | None,
) -> None:
    """The share of each topic over a column: a row for each topic and period or group."""
    import numpy as np

    corpus, values = _with_column(model, path, column, table)
    try:
        found = model.shares_over(values, corpus.images)
    except DataError as error:
        raise DataError(f"{corpus.source}, column {column!r}: {error}") from None
    numbers, labels = model.topic_numbers_, model.topic_labels(top)
    rows = []
    for k in np.argsort(-found.share.mean(axis=0), kind="stable"):
        for row, label in enumerate(found.labels):
            share, low, high = (rounded(float(part[row, k])) for part in (found.share, found.low, found.high))
            one = {
                "topic": numbers[k],
                "keywords": labels[k],
                found.unit: label,
                "pictures": int(found.n[row]),
            }
            if kind == "table":
                known = "" if low is None else f"{low:.1%} to {high:.1%}"
                rows.append(one | {"share": f"{share:.1%}", "95% of resamples": known})
            else:
                rows.append(one | {"share": share, "low": low, "high": high})
    columns = {"topic": int, "keywords": str, found.unit: str, "pictures": int}
    if kind == "table":
        columns |= {"share": str, "95% of resamples": str}
    else:
        columns |= {"share": float, "low": float, "high": float}
    with open_rows(kind, out, columns) as write:
        write(rows)
    if plot is not None:
        from vtm.report import figures

        names = [f"{k}: {label}" for k, label in zip(numbers, labels, strict=True)]
        figures.write_figure(figures.shares_chart(found, names), plot)
    told = f"{counted(found.n.sum(), 'picture')} by {column}: {counted(len(found.labels), found.unit)}"
    if found.unit != "group":
        why = (
            "less than three years, else years"
            if found.unit == "month"
            else "three years or more, else months"
        )
        told += f", {found.labels[0]} to {found.labels[-1]} ({found.unit}s where dates span {why})"
    say(told)
    if found.without:
        named = listed([corpus.ids[row] for row in found.without])
        what = "value" if found.unit == "group" else "date"
        say(f"{counted(len(found.without), 'picture has', 'pictures have')} no {what} in {column}: {named}")
    # What is left out of the training's own corpus was told when it was read.
    finish(Found(()), [*(corpus.dropped if table else ()), *found.dropped])


def _with_column(
    model: VisualTopicModel, path: Path, column: str, table: str | None
) -> tuple[Corpus, Sequence[str]]:
    """The pictures of a table, or of what the model was trained on, with the values of a column."""
    if table is None:
        remedy = "name a table with --table"
        corpus = load_trained_corpus(model, path, remedy=remedy, columns=[column], captions="none")
    else:
        corpus, lacks = load_with_columns(table, [column], captions="none")
        for error in lacks.values():
            raise ConfigError(f"--over {column}: {error}")
    return corpus, corpus.columns[column]


def _show_tree(tree: Branch, kind: str, out: Path | None) -> None:
    """A tree of topics, drawn on a terminal, else a row for each branch."""
    branches = list(tree.walk())
    if kind == "table":
        from rich.console import Console
        from rich.text import Text
        from rich.tree import Tree

        drawn: list[Tree] = []  # from the first branch down to the last
        for level, branch in branches:
            called = branch.name or ", ".join(branch.words)
            label = Text(printable(called if branch.parts else f"{branch.topics[0]}: {called}"))
            label.append(f" {branch.share:.1%}", "dim")
            drawn[level:] = [drawn[level - 1].add(label) if level else Tree(label)]
        Console().print(drawn[0])
        return
    above: list[int] = []
    rows = []
    for node, (level, branch) in enumerate(branches):
        above[level:] = [node]
        rows.append(
            {
                "branch": node,
                "part of": above[level - 1] if level else None,
                "level": level,
                "distance": round(branch.distance, 6),
                "share": round(branch.share, 6),
                "topics": [k if kind == "jsonl" else str(k) for k in branch.topics],
                "keywords": list(branch.words),
                "name": branch.name,
            }
        )
    whole, parts = dict.fromkeys(("branch", "part of", "level"), int), {"distance": float, "share": float}
    with open_rows(kind, out, whole | parts | {"topics": list, "keywords": list, "name": str}) as write:
        write(rows)


def _say_shape(model: VisualTopicModel) -> None:
    """What is not shown of the trained topics, by what people decided."""
    shape = model.shape_
    if pieces := dict.fromkeys(k for split in shape.splits for k in split.numbers):
        say(
            f"pieces of topics that were split: {', '.join(map(str, pieces))}; of these, coherence is not known"
        )
    if shape.merged:
        merged = counted(len(shape.merged), "topic is", "topics are")
        say(f"{merged} merged into others; of these, coherence is not known")
    share = model._divided(model.topic_share_)
    if hidden := [k for k in range(len(share)) if shape.root(k) in shape.hidden]:
        share = share[hidden].sum()
        say(
            f"hidden, with {share:.1%} of the training pictures' topics, which the others share: "
            f"{', '.join(map(str, hidden))}"
        )
    if shape.banned:
        say(f"banned words: {', '.join(shape.banned)}")


# Columns of a sheet of topics in which people decide.
SHEET = {"merge into": None, "split into": None, "hide": ""}
SHEET_WORDS = 50  # among which the keywords of a sheet are looked for
NO, YES = ("", "no", "n", "false", "0"), ("yes", "y", "x", "true", "1")


def edit_model(
    model: Model,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="What a topic is called; nothing after = takes the name away.", metavar="TOPIC=NAME"
        ),
    ] = None,
    merge: Annotated[
        list[str] | None,
        typer.Option(help="Topics to join, as in 4,7: topic 4 stays.", metavar="TOPICS"),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="A topic to split, in two or in as many as stand behind a colon, as in 9 or 9:3.",
            metavar="TOPIC[:INTO]",
        ),
    ] = None,
    hide: Annotated[
        list[str] | None, typer.Option(help="Topics that are not shown, as in 12,15.", metavar="TOPICS")
    ] = None,
    ban: Annotated[
        list[str] | None,
        typer.Option(help="Words for no label and no keyword, as in misc,untitled.", metavar="WORDS"),
    ] = None,
    unmerge: Annotated[
        list[str] | None, typer.Option(help="Topics that stand for themselves again.", metavar="TOPICS")
    ] = None,
    show: Annotated[
        list[str] | None, typer.Option(help="Topics that are not hidden any more.", metavar="TOPICS")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Words that are not banned any more.", metavar="WORDS")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A table that `vtm topics -o` wrote, with names, numbers under 'merge into' and 'split into', and 'yes' "
            "under 'hide'.",
        ),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what the last `vtm edit` did.")] = False,
) -> None:
    """Decide about a model's topics: names, topics that are one or several, hidden topics, banned words.

    Topics keep their numbers; of a topic that is split the largest piece keeps it, and the others get the next free ones. All
    commands show topics as decided; pictures are still found by the trained ones. The
    options may be repeated; without any, what was decided is printed. The model's file is replaced as a whole.
    """
    from vtm.api import VisualTopicModel
    from vtm.files import locked
    from vtm.model.shape import Shape

    decisions: dict[str, Any] = {
        "names": _once("--name", map(_named, name or ())),
        "merge": [_numbers("--merge", one) for one in merge or ()],
        "split": _once("--split", map(_split, split or ())),
        "hide": [k for one in hide or () for k in _numbers("--hide", one)],
        "ban": _words("--ban", ban),
        "unmerge": [k for one in unmerge or () for k in _numbers("--unmerge", one)],
        "show": [k for one in show or () for k in _numbers("--show", one)],
        "allow": _words("--allow", allow),
    }
    decisions = {option: given for option, given in decisions.items() if given}
    if not model.is_file():
        VisualTopicModel.load(model)  # says what is wrong
    with locked(model.parent, name=model.name):
        loaded = VisualTopicModel.load(model)
        before = loaded.shape_
        if sheet is not None:
            if decisions or undo:
                raise ConfigError("--from: the table says it all; leave out the other options")
            decisions = _of_sheet(sheet, loaded)
        if decisions or undo:
            loaded.edit(undo=undo, **decisions)
        if loaded.shape_ is not before:
            loaded.save(model, **loaded.notes_)
    asked = bool(decisions) or undo or sheet is not None
    # Without an option, all that is decided.
    told = loaded.shape_.changes(before if asked else Shape())
    held = [] if undo else before.held(**decisions)
    if not told:
        nothing = "nothing changed" if asked else "nothing is decided"
        told, held = [": ".join([nothing, *filter(None, ["; ".join(held)])])], []
    for line in (*told, *held):
        typer.echo(printable(line))
    if unknown := [
        word for word in decisions.get("ban", ()) if word.strip().lower() not in loaded.vocabulary_
    ]:
        say(f"the model does not know {', '.join(unknown)}; a later training may")
    _say_shape(loaded)


def _of_sheet(sheet: Path, model: VisualTopicModel) -> dict[str, Any]:
    """What a table of topics decides; a topic without a row, and a column that is not there, stay as they are.

    Raises
    ------
    ConfigError, DataError
        No topics, a topic twice, a cell that says neither, or the sheet of another model.
    """
    from vtm.corpora.table import read_rows

    columns, rows = read_rows(sheet, None)
    if "topic" not in columns:
        raise DataError(
            f"{sheet}: has no column 'topic'; `vtm topics MODEL -o topics.csv` writes such a table"
        )
    if {"name", *SHEET}.isdisjoint(columns):
        raise DataError(
            f"{sheet}: decides nothing: it has none of the columns 'name', 'merge into', 'split into' and 'hide'"
        )
    numbers, every = model.topic_numbers_, range(model._n_topics)
    known = {k: {*words} for k, words in zip(numbers, model.topics(SHEET_WORDS, all_forms=True), strict=True)}
    decided: dict[str, Any] = {"names": {}, "merge": [], "split": {}, "hide": []}
    seen: dict[int, Any] = {}
    for row in rows():
        cells = {name: cell_text(value) for name, value in row.values.items()}
        topic = _cell_number(row, "topic", cells["topic"])
        if topic in seen:
            raise DataError(f"{row}: topic {topic} has a row already, {seen[topic]}; leave one")
        if topic not in numbers:
            why = "is hidden or part of another one" if topic in every else "the model does not have"
            raise DataError(f"{row}: topic {topic} {why}; take the table of this model, as it is now")
        seen[topic] = row.number
        words = [word.strip() for word in cells.get("keywords", "").split(",") if word.strip()]
        if words and not known[topic] & {*words}:
            raise DataError(
                f"{row}: the keywords are not those of topic {topic}: the table is of another model"
            )
        if "name" in cells and " ".join(cells["name"].split()) != model.shape_.name(topic):
            decided["names"][topic] = cells["name"]
        if cells.get("merge into"):
            decided["merge"].append((_cell_number(row, "merge into", cells["merge into"]), topic))
        if cells.get("split into"):
            decided["split"][topic] = _cell_number(row, "split into", cells["split into"], "number of topics")
        hide = cells.get("hide", "").lower()
        if hide not in (*NO, *YES):
            raise DataError(f"{row}: hide: {hide!r} is neither yes nor no")
        if hide in YES:
            decided["hide"].append(topic)
    if not seen:
        raise DataError(f"{sheet}: has no rows")
    return {option: given for option, given in decided.items() if given}


def _cell_number(row: Row, column: str, text: str, what: str = "topic's number") -> int:
    """A whole number in a cell; spreadsheets write 4 as 4.0."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not number.is_integer():
        raise DataError(f"{row}: {column}: {text!r} is no {what}")
    return int(number)


def _words(option: str, given: Sequence[str] | None) -> list[str]:
    words = [word.strip() for one in given or () for word in one.split(",") if word.strip()]
    if given and not words:
        raise ConfigError(f"{option}: give words, as in {option} misc,untitled")
    return words


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} {text}: give numbers of topics, as in {option} 4,7") from None


def _once(option: str, given: Iterable[tuple[int, Any]]) -> dict[int, Any]:
    """What an option says of each topic."""
    found: dict[int, Any] = {}
    for topic, what in given:
        if found.setdefault(topic, what) != what:
            raise ConfigError(
                f"{option}: topic {topic} is named twice, {found[topic]!r} and {what!r}; name it once"
            )
    return found


def _named(text: str) -> tuple[int, str]:
    topic, equals, name = text.partition("=")
    if not equals or not topic.strip().isdecimal():
        raise ConfigError(f"--name {text}: give the number of a topic and its name, as in --name 3=harbour")
    return int(topic), name


def _split(text: str) -> tuple[int, int]:
    topic, _, into = text.partition(":")
    try:
        return int(topic), int(into or 2)
    except ValueError:
        raise ConfigError(
            f"--split {text}: give the number of a topic, as in --split 9, or 9:3 for three"
        ) from None
