"""Commands that read pictures with a model."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtm.cli.options import (
    Device,
    Encoder,
    Format,
    MaxPixels,
    Model,
    Order,
    Out,
    Relevance,
    Words,
    load_trained_corpus,
    say,
)
from vtm.cli.rows import choose_format, open_rows
from vtm.corpora.pictures import MAX_PIXELS, SUFFIXES
from vtm.errors import ConfigError, DataError, MissingError, printable, said, storable

if TYPE_CHECKING:
    from vtm.api import Answer, FoundPicture, Keyword, VisualTopicModel
    from vtm.corpora import Corpus, Dropped

# Ids and texts, where they have any, and pictures.
Items = tuple[list[str] | None, list[str] | None, list[Path]]

# Folders in which network storage and programs keep copies, or what was deleted, in small letters.
PROGRAM_FOLDERS = frozenset(
    (
        *("@eadir", "@recycle", "@recently-snapshot", "@__thumb", "@synoeastream", "@tmp", "@transcode"),
        *("#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found", "__macosx"),
    )
)
# Of Lightroom's previews, and of Apple's and Capture One's libraries.
PROGRAM_SUFFIXES = (".lrdata", ".photoslibrary", ".photolibrary", ".cocatalog", ".aplibrary")
# Why a picture in a folder is passed over -> how that is said, after the number.
PASSED_OVER = {
    "link": "links in folders were not followed",
    "hidden": "pictures passed over, hidden by a name that begins with a dot",
    "program": "pictures passed over in folders that programs keep for themselves",
    "nomedia": "pictures passed over in folders with a .nomedia",
    "excluded": "pictures passed over by --exclude",
    "explorer": "pictures passed over, an explorer's thumbnails",
}
MOST_NAMED = 10  # places that are named for each of these reasons
SKIPPED = 3  # exit code: the work is done, but for some pictures or sidecars, which stderr names

Pictures = Annotated[
    list[Path], typer.Argument(help="Pictures, or folders to search for them.", metavar="PICTURES...")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        help="Pass over files and folders of this name, as in '*_small.jpg'; may be repeated.", metavar="GLOB"
    ),
]


@dataclass(frozen=True)
class Found:
    """Pictures that were named or lie in named folders, in order.

    Attributes
    ----------
    unreadable : folders that could not be read.
    passed : pictures and links in folders that were passed over, each with its reason (`PASSED_OVER`) and as its detail
        the place that is to be named: its own, or that of the folder above it which is the reason.
    """

    pictures: tuple[Path, ...]
    unreadable: tuple[Dropped, ...] = ()
    passed: tuple[Dropped, ...] = ()

    def told(self) -> list[str]:
        """What was passed over, a line for each reason."""
        lines = []
        for reason, words in PASSED_OVER.items():
            passed = [item for item in self.passed if item.reason == reason]
            places = list(dict.fromkeys(item.detail for item in passed))
            if passed:
                more = f" and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else ""
                lines.append(f"{len(passed)} {words}: {', '.join(places[:MOST_NAMED])}{more}")
        return lines


def find_pictures(paths: Iterable[Path | str], *, exclude: Sequence[str] = ()) -> Found:
    """The named pictures, and those in named folders and their subfolders, sorted by folder and name.

    In folders, what is hidden (its name begins with a dot) is passed over, and so are the folders that programs keep for
    themselves, folders with a .nomedia, and an explorer's sheets of thumbnails. Links are not followed: they may lead in
    a circle or to the same picture again. A folder that is named is searched whatever it is. A picture that is found
    twice counts once.

    Parameters
    ----------
    exclude : patterns as of a shell, each for the name of a file or folder, or for its path below the named folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vtm.cli.photos import find_pictures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png"):
    ...         Path(folder, name).touch()
    ...     found = find_pictures([folder])
    >>> [picture.name for picture in found.pictures], [item.reason for item in found.passed]
    (['a.png', 'b.JPG'], ['hidden'])
    """
    from vtm.corpora import Dropped

    pictures: dict[str, Path] = {}
    unreadable: list[Dropped] = []
    passed: list[Dropped] = []
    # Folder -> why its pictures are passed over and where that begins; only these are in it.
    inside: dict[str, tuple[str, str]] = {}

    def refused(error: OSError) -> None:
        where = str(error.filename)
        if where not in inside:
            unreadable.append(
                Dropped(where, "unreadable", f"{where}: the folder cannot be read ({error.strerror})")
            )

    def excluded(path: str, root: Path) -> bool:
        below = Path(os.path.relpath(path, root)).as_posix()
        names = (os.path.basename(path), below)
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude for name in names)

    for named in map(Path, paths):
        if not named.is_dir():
            if excluded(str(named), named.parent):
                passed.append(Dropped(str(named), "excluded", str(named)))
            else:
                pictures.setdefault(os.path.abspath(named), named)
            continue
        for folder, subfolders, files in os.walk(named, onerror=refused):
            subfolders.sort()
            if ".nomedia" in files and folder != str(named):
                inside.setdefault(folder, ("nomedia", folder))
            sheets = _explorer_sheets(folder, files)
            for name, is_folder in [(name, True) for name in subfolders] + [
                (name, False) for name in sorted(files)
            ]:
                path = os.path.join(folder, name)
                if not is_folder and os.path.splitext(name)[1].lower() not in SUFFIXES:
                    continue
                if os.path.islink(path):
                    why = ("link", path)
                elif folder in inside:
                    why = inside[folder]
                elif excluded(path, named):
                    why = ("excluded", path)
                elif name.startswith("."):
                    why = ("hidden", path)
                elif is_folder and _is_of_a_program(name):
                    why = ("program", path)
                else:
                    why = ("explorer", path) if name in sheets else None
                if is_folder and why and why[0] != "link":
                    inside[path] = why
                elif why:
                    passed.append(Dropped(path, *why))
                elif not is_folder:
                    pictures.setdefault(os.path.abspath(path), Path(path))
            subfolders[:] = [name for name in subfolders if not os.path.islink(os.path.join(folder, name))]
    return Found(tuple(pictures.values()), tuple(unreadable), tuple(passed))


def _is_of_a_program(name: str) -> bool:
    return name.lower() in PROGRAM_FOLDERS or name.lower().endswith(PROGRAM_SUFFIXES)


def _explorer_sheets(folder: str, files: Sequence[str]) -> set[str]:
    """The files of a folder that are sheets of an explorer there."""
    if "index.html" not in files:
        return set()
    from vtm.report.explorer import PATTERN, holds_explorer

    return set(fnmatch.filter(files, PATTERN)) if holds_explorer(folder) else set()


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
        from vtm.cli.keywords import ROOT

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
    >>> from vtm.cli.photos import tag_pictures
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
    found = _find(pictures, exclude)
    _spare(found, "--out", out)
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
        _require_some(tagged, bad)
    _say_how_sure(loaded, min_confidence)
    say(
        f"{tagged} pictures: {tagged - without} with {n_keywords} keywords, {without} without ({without / tagged:.0%})"
    )
    if topicless:
        say(f"{topicless} of {tagged} pictures have no topic of {min_probability} or more")
    _finish(found, bad, sum(writer.report() for writer in writers))


LONG = {"picture": str, "keyword": str, "confidence": float, "topics": list}
# On a terminal, a block for each picture.
BLOCKS = {"picture": str, "keywords": str, "topics": str}
WIDE = {"picture": str, "keywords": list, "confidences": list, "topics": list}


def _tag_rows(tagged: Tagged, kind: str, wide: bool) -> list[dict[str, Any]]:
    """One row for each keyword, and one without for a picture that has none; one for each picture where that reads well."""
    picture = storable(tagged.picture)
    if kind == "jsonl":
        keywords = [
            {"keyword": found.word, "confidence": _rounded(found.confidence)} for found in tagged.words
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
    rows = [(found.word, _rounded(found.confidence)) for found in tagged.words] or [("", None)]
    return [
        {"picture": picture, "keyword": word, "confidence": confidence, "topics": topics}
        for word, confidence in rows
    ]


def _percent(chance: float) -> str:
    """A chance behind a word; nothing where it is not known."""
    return "" if chance != chance else f" {chance:.0%}"


def _rounded(chance: float) -> float | None:
    """A chance for a file; None where it is not known."""
    return None if chance != chance else round(chance, 6)


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
        from vtm.cli.keywords import sidecar_path, write_original, write_sidecar

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
    from vtm.cli.keywords import remove_keywords

    found, changed, failures = _find(pictures), [], []
    for picture in found.pictures:
        some, others = remove_keywords(picture)
        changed += some
        failures += others
    say(f"keywords taken out of {len(changed)} files of {len(found.pictures)} pictures")
    for failure in failures:
        say(f"not written: {failure}")
    _finish(found, list(found.unreadable), len(failures))


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
    found = _find(pictures, exclude) if pictures else None
    loaded = VisualTopicModel.load(model, encoder=encoder, device=device, max_pixels=max_pixels)
    found = found or _find(load_trained_corpus(loaded, model).images)
    _spare(found, "--sheet", sheet)
    _spare(found, "--out", out)
    answer = loaded.match(wanted, found.pictures, top=top, words=words, measure=measure)
    bad = [*found.unreadable, *answer.dropped]
    _require_some(len(answer.nearest), bad)
    shown = answer.nearest if everything else answer.fits
    rows, cards = [], []
    for place, hit in enumerate(shown, start=1):
        picture, reasons = found.pictures[hit.position], _reasons(hit)
        rows.append(
            {
                "rank": place,
                "probability": _rounded(hit.probability),
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
    _finish(found, bad)


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


def _find(pictures: Sequence[Path | str], exclude: Sequence[str] | None = None) -> Found:
    found = find_pictures(pictures, exclude=exclude or ())
    if not found.pictures:
        where, passed = ", ".join(map(printable, pictures)), "; ".join(["", *map(printable, found.told())])
        raise MissingError(
            f"{where}: no picture is there; pictures are .jpg, .png, .webp, .tif and the like{passed}"
        )
    return found


def _spare(found: Found, option: str, path: Path | None) -> None:
    """Raise ConfigError where the file to be written is one of the pictures."""
    if path is None or not path.exists():
        return
    there = path.stat()
    for picture in found.pictures:
        with suppress(OSError):  # none of its name, or no right to look: that is told when it is read
            if os.path.samestat(there, picture.stat()):
                raise ConfigError(f"{option} {path}: is one of the pictures; name another file")


def _require_some(n_usable: int, bad: Sequence[Dropped]) -> None:
    if not n_usable:
        raise DataError(f"none of {len(bad)} pictures can be used; the first: {printable(bad[0].detail)}")


def _finish(found: Found, bad: Sequence[Dropped], failures: int = 0) -> None:
    """Say on stderr what was passed over; the exit code says whether anything was."""
    for line in found.told():
        say(line)
    for item in bad:
        say(f"not used: {item.detail}")
    if bad:
        counts = ", ".join(f"{n} {reason}" for reason, n in Counter(item.reason for item in bad).items())
        say(f"{len(bad)} not used ({counts})")
    if bad or failures:
        raise typer.Exit(SKIPPED)


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
