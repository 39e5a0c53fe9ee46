"""Commands that give pictures keywords, in sheets, sidecars or the pictures themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    Pictures,
    Relevance,
    Words,
    find_some,
    finish,
    require_some,
    rounded,
    say,
    spare_pictures,
)
from vtm.cli.rows import choose_format, open_rows
from vtm.corpora.pictures import MAX_PIXELS
from vtm.errors import ConfigError, DataError, said, storable

if TYPE_CHECKING:
    from vtm.api import Keyword, VisualTopicModel
    from vtm.corpora import Dropped


@dataclass(frozen=True)
class Tag:
    """A topic of a picture, with its probability and keywords."""

    topic: int
    probability: float
    keywords: tuple[str, ...]

    @property
    def label(self) -> str:
        """A short name of the topic."""
        return " ".join(self.keywords[:3])


@dataclass(frozen=True)
class Tagged:
    """A picture with its keywords, the surest first, and its topics, the largest first."""

    picture: Path
    words: tuple[Keyword, ...]
    tags: tuple[Tag, ...]
    topics_too: bool = False  # whether labels of topics are written to files as well

    @property
    def keywords(self) -> tuple[str, ...]:
        """What is written to files: its keywords, and the labels of its topics where they are asked for."""
        labels = [tag.label for tag in self.tags if self.topics_too]
        return tuple(dict.fromkeys([*(found.word for found in self.words), *labels]))

    @property
    def hierarchy(self) -> tuple[tuple[str, ...], ...]:
        """The same under vtm's root, for photo programs that show keywords as a tree."""
        from vtm.corpora.keywords import ROOT

        return tuple((ROOT, word) for word in self.keywords)


def tag_pictures(
    model: VisualTopicModel,
    pictures: Sequence[Path | str],
    *,
    keywords: int = 5,
    min_confidence: float | None = None,
    top: int = 3,
    min_probability: float = 0.05,
    words: int = 5,
    order: str = "relevance",
    weight: float = 0.6,
    topics_too: bool = False,
) -> Iterator[list[Tagged | Dropped]]:
    """Tag pictures, some hundred at a time.

    Parameters
    ----------
    keywords, min_confidence
        At most so many keywords for each picture, none below this chance (`VisualTopicModel.keywords`).
    top, min_probability
        At most so many topics for each picture, none below this probability.
    words, order, weight
        How many keywords of each topic, and which (`VisualTopicModel.topics`).
    topics_too
        Whether files get the labels of topics, too.

    Yields
    ------
    For each picture of the next few hundred, in their order, its tags, or why it cannot be used.

    Raises
    ------
    ConfigError
        No topics or words asked for, or a chance outside 0 to 1.

    Examples
    --------
    >>> from vtm.api import VisualTopicModel
    >>> from vtm.corpora import load_corpus
    >>> from vtm.cli.tags import tag_pictures
    >>> corpus = load_corpus("scenes", n=120)
    >>> model = VisualTopicModel(n_topics=8, encoder="pixels").fit(corpus.texts, corpus.images)
    >>> (block,) = tag_pictures(model, corpus.images[:2], keywords=4, min_confidence=0, top=1)
    >>> [(len(tagged.tags), len(tagged.keywords)) for tagged in block]
    [(1, 4), (1, 4)]
    """
    import numpy as np

    from vtm.corpora import Dropped
    from vtm.metrics.calibration import best_columns

    if top < 1 or not 0 <= min_probability <= 1:
        raise ConfigError(
            f"top={top}, min_probability={min_probability}: at least 1 topic, and a probability from 0 to 1"
        )
    labels = [tuple(topic) for topic in model.topics(words, order=order, weight=weight)]
    start = 0
    for theta, found, dropped in model.tag_blocks(pictures, top=keywords, min_confidence=min_confidence):
        reasons = {item.id: item for item in dropped}
        block: list[Tagged | Dropped] = []
        rows = zip(pictures[start : start + len(theta)], theta, best_columns(theta, top), found, strict=True)
        for picture, row, largest, sure in rows:
            if np.isnan(row[0]):
                overflow = Dropped(
                    str(picture), "not-finite", f"{picture}: the model gives no numbers for it"
                )
                block.append(reasons.get(str(picture), overflow))
                continue
            best = [k for k in largest if row[k] >= min_probability]
            tags = tuple(Tag(int(k), float(row[k]), labels[k]) for k in best)
            block.append(Tagged(Path(picture), sure, tags, topics_too))
        start += len(theta)
        yield block


def tag(
    model: Model,
    pictures: Pictures,
    format: Format = None,
    out: Out = None,
    wide: Annotated[
        bool,
        typer.Option("--wide", help="One row for each picture, for spreadsheets; always so in a workbook."),
    ] = False,
    keywords: Annotated[int, typer.Option(min=0, help="At most so many keywords for each picture.")] = 5,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="No keyword below this chance; by default that at which half were right on held-out pairs.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="At most so many topics for each picture.")] = 3,
    min_probability: Annotated[
        float, typer.Option(min=0, max=1, help="No topic below this probability.")
    ] = 0.05,
    words: Words = 5,
    ctfidf: Order = False,
    relevance: Relevance = 0.6,
    write_sidecars: Annotated[
        bool,
        typer.Option(
            "--write-sidecars",
            help="Add the keywords to PICTURE.xmp beside each picture; pictures themselves stay as they are.",
        ),
    ] = False,
    sidecar_name: Annotated[
        str,
        typer.Option(
            help="full: boat.jpg.xmp, as digiKam and darktable call it; basename: boat.xmp, as Lightroom does.",
            metavar="NAME",
        ),
    ] = "full",
    write_originals: Annotated[
        bool,
        typer.Option(
            "--write-originals",
            help="Add the keywords to the JPEG and PNG files themselves, as XMP; what they show stays as it is.",
        ),
    ] = False,
    write_topics: Annotated[
        bool, typer.Option("--write-topics", help="With the keywords, write the labels of topics, too.")
    ] = False,
    exclude: Exclude = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    device: Device = "auto",
    encoder: Encoder = None,
) -> None:
    """Give pictures keywords, each with the chance that it is right, and their topics.

    Every picture that can be read is listed, also without a keyword. Those that cannot be used are listed at the end; the
    exit code is 3 if there are any, and the others' tags are complete. Interrupted, it leaves no half-written file, and
    takes up again where it was.
    """
    from vtm.api import VisualTopicModel

    if sidecar_name not in ("full", "basename"):
        raise ConfigError(f"--sidecar-name {sidecar_name}: must be full or basename")
    kind = choose_format(format, out)
    wide = wide or kind == "xlsx"
    found = find_some(pictures, exclude)
    spare_pictures(found, "--out", out)
    loaded = VisualTopicModel.load(model, encoder=encoder, device=device, max_pixels=max_pixels)
    bad, tagged, without, topicless, n_keywords = list(found.unreadable), 0, 0, 0, 0
    writers = [_Writer("sidecar", basename=sidecar_name == "basename")] * write_sidecars
    writers += [_Writer("picture")] * write_originals
    blocks = tag_pictures(
        loaded,
        found.pictures,
        keywords=keywords,
        min_confidence=min_confidence,
        top=top,
        min_probability=min_probability,
        words=words,
        order="ctfidf" if ctfidf else "relevance",
        weight=relevance,
        topics_too=write_topics,
    )
    if kind == "table":
        columns = BLOCKS
    else:
        columns = WIDE if wide else LONG
    with open_rows(kind, out, columns, mark=wide) as write:
        for block in blocks:
            good = [item for item in block if isinstance(item, Tagged)]
            bad += [item for item in block if not isinstance(item, Tagged)]
            write([row for item in good for row in _tag_rows(item, kind, wide)])
            tagged += len(good)
            without += sum(not item.words for item in good)
            topicless += sum(not item.tags for item in good)
            n_keywords += sum(len(item.words) for item in good)
            for writer in writers:
                writer.write(good)
        require_some(tagged, bad)
    _say_how_sure(loaded, min_confidence)
    say(
        f"{tagged} pictures: {tagged - without} with {n_keywords} keywords, {without} without ({without / tagged:.0%})"
    )
    if topicless:
        say(f"{topicless} of {tagged} pictures have no topic of {min_probability} or more")
    finish(found, bad, sum(writer.report() for writer in writers))


LONG = {"picture": str, "keyword": str, "confidence": float, "topics": list}
# On a terminal, a block for each picture.
BLOCKS = {"picture": str, "keywords": str, "topics": str}
WIDE = {"picture": str, "keywords": list, "confidences": list, "topics": list}


def _tag_rows(tagged: Tagged, kind: str, wide: bool) -> list[dict[str, Any]]:
    """One row for each keyword, and one without for a picture that has none; one for each picture where that reads well."""
    picture = storable(tagged.picture)
    if kind == "jsonl":
        keywords = [
            {"keyword": found.word, "confidence": rounded(found.confidence)} for found in tagged.words
        ]
        topics = [
            {"topic": tag.topic, "probability": round(tag.probability, 6), "keywords": list(tag.keywords)}
            for tag in tagged.tags
        ]
        return [{"picture": picture, "keywords": keywords, "topics": topics}]
    topics = [f"{tag.topic}: {tag.label} ({tag.probability:.0%})" for tag in tagged.tags]
    if kind == "table":
        sure = [found.word + _percent(found.confidence) for found in tagged.words]
        return [{"picture": picture, "keywords": ", ".join(sure) or "none", "topics": ", ".join(topics)}]
    if wide:
        sure = [f"{found.confidence:.2f}" for found in tagged.words if found.confidence == found.confidence]
        words = [found.word for found in tagged.words]
        return [{"picture": picture, "keywords": words, "confidences": sure, "topics": topics}]
    rows = [(found.word, rounded(found.confidence)) for found in tagged.words] or [("", None)]
    return [
        {"picture": picture, "keyword": word, "confidence": confidence, "topics": topics}
        for word, confidence in rows
    ]


def _percent(chance: float) -> str:
    """A chance behind a word; nothing where it is not known."""
    return "" if chance != chance else f" {chance:.0%}"


def _say_how_sure(model: VisualTopicModel, min_confidence: float | None) -> None:
    """What the confidence of keywords is worth."""
    known = model.calibration_.keywords
    if known is None:
        return say("no pairs were held out in training: how sure the keywords are is not known")
    if min_confidence is None and known.shown:
        say(
            f"keywords of {known.threshold:.2f} or more: {known.precision:.0%} of those were right on held-out pairs, "
            f"where {known.shown:.0%} of the five likeliest words were shown"
        )
    elif min_confidence is None:
        say("no chance makes half of the keywords right on held-out pairs; see all with --min-confidence 0")


class _Writer:
    """Sidecars or pictures written so far, and those that could not be."""

    def __init__(self, what: str, *, basename: bool = False) -> None:
        self.what = what
        self.basename = basename
        self.written: list[bool] = []  # False: it had all keywords
        self.without = 0  # no keyword for them, and none there to be taken out
        self.failures: list[str] = []
        self.doubles: list[str] = []  # sidecars whose picture has one of the other name, too

    def write(self, block: Sequence[Tagged]) -> None:
        from vtm.corpora.keywords import sidecar_path, write_original, write_sidecar

        for tagged in block:
            keywords = tagged.keywords, tagged.hierarchy
            try:
                if self.what == "picture":
                    changed = write_original(tagged.picture, *keywords)
                else:
                    changed = write_sidecar(tagged.picture, *keywords, basename=self.basename)
                if changed or tagged.keywords:
                    self.written.append(changed)
                else:
                    self.without += 1
            except DataError as error:
                self.failures.append(str(error))
            except OSError as error:
                self.failures.append(f"{'' if error.filename else f'{tagged.picture}: '}{said(error)}")
            other = sidecar_path(tagged.picture, basename=not self.basename)
            if self.what == "sidecar" and other.exists():
                path = sidecar_path(tagged.picture, basename=self.basename)
                program = "darktable" if self.basename else "digiKam"
                told = f"vtm keeps its keywords in {path.name}, which {program} does not read then"
                self.doubles.append(f"{other}: is there, too; {told}")

    def report(self) -> int:
        counts = f"{sum(self.written)} {self.what}s written, {self.written.count(False)} had all keywords"
        counts += f", {self.without} left as they are, without a keyword" if self.without else ""
        say(f"{counts}, {len(self.failures)} skipped" if self.failures else counts)
        for failure in self.failures:
            say(f"{'no sidecar' if self.what == 'sidecar' else 'not written'}: {failure}")
        for double in self.doubles:
            say(double)
        return len(self.failures)


def untag(pictures: Pictures) -> None:
    """Take the keywords of `vtm tag` out of pictures and their sidecars again.

    Both names of sidecars are looked for. What was not changed since becomes what it was, to the byte, and sidecars that
    `vtm tag` made go; where other programs wrote since, only the keywords of vtm go. What cannot be written to is listed at
    the end; the exit code is then 3.
    """
    from vtm.corpora.keywords import remove_keywords

    found, changed, failures = find_some(pictures), [], []
    for picture in found.pictures:
        some, others = remove_keywords(picture)
        changed += some
        failures += others
    say(f"keywords taken out of {len(changed)} files of {len(found.pictures)} pictures")
    for failure in failures:
        say(f"not written: {failure}")
    finish(found, list(found.unreadable), len(failures))
