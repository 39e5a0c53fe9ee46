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
    from vtm.api import VisualTopicModel
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
LEAST_CONTRIBUTION = 0.05  # a topic with less of the similarity is no reason for it
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


@dataclass(frozen=True)
class Tagged:
    """A picture with its topics, the largest first."""

    picture: Path
    tags: tuple[Tag, ...]

    @property
    def keywords(self) -> tuple[str, ...]:
        """The keywords of all its topics, each once."""
        return tuple(dict.fromkeys(word for tag in self.tags for word in tag.keywords))

    @property
    def hierarchy(self) -> tuple[tuple[str, str, str], ...]:
        """The keywords under their topic, for photo programs that show keywords as a tree."""
        from vtm.cli.keywords import ROOT

        return tuple((ROOT, " ".join(tag.keywords[:3]), word) for tag in self.tags for word in tag.keywords)


def tag_pictures(
    model: VisualTopicModel,
    pictures: Sequence[Path | str],
    *,
    top: int = 3,
    min_probability: float = 0.05,
    words: int = 5,
    order: str = "relevance",
    weight: float = 0.6,
) -> Iterator[list[Tagged | Dropped]]:
    """Tag pictures, some hundred at a time.

    Parameters
    ----------
    top, min_probability
        At most so many topics for each picture, none below this probability.
    words, order, weight
        How many keywords of each topic, and which (`VisualTopicModel.topics`).

    Yields
    ------
    For each picture of the next few hundred, in their order, its tags, or why it cannot be used.

    Raises
    ------
    ConfigError
        No topics or words asked for, or a probability outside 0 to 1.

    Examples
    --------
    >>> from vtm.api import VisualTopicModel
    >>> from vtm.corpora import load_corpus
    >>> from vtm.cli.photos import tag_pictures
    >>> corpus = load_corpus("scenes", n=120)
    >>> model = VisualTopicModel(n_topics=8, encoder="pixels", validation=0)
    >>> (block,) = tag_pictures(model.fit(corpus.texts, corpus.images), corpus.images[:2], top=1, words=4)
    >>> [(len(tagged.tags), len(tagged.keywords)) for tagged in block]
    [(1, 4), (1, 4)]
    """
    import numpy as np

    from vtm.corpora import Dropped

    if top < 1 or not 0 <= min_probability <= 1:
        raise ConfigError(
            f"top={top}, min_probability={min_probability}: at least 1 topic, and a probability from 0 to 1"
        )
    keywords = [tuple(topic) for topic in model.topics(words, order=order, weight=weight)]
    start = 0
    for theta, dropped in model.transform_blocks(pictures):
        reasons = {item.id: item for item in dropped}
        block: list[Tagged | Dropped] = []
        for picture, row in zip(pictures[start : start + len(theta)], theta, strict=True):
            if np.isnan(row[0]):
                overflow = Dropped(
                    str(picture), "not-finite", f"{picture}: the model gives no numbers for it"
                )
                block.append(reasons.get(str(picture), overflow))
                continue
            best = [k for k in np.argsort(-row, kind="stable")[:top] if row[k] >= min_probability]
            tags = tuple(Tag(int(k), float(row[k]), keywords[k]) for k in best)
            block.append(Tagged(Path(picture), tags))
        start += len(theta)
        yield block


def tag(
    model: Model,
    pictures: Pictures,
    format: Format = None,
    out: Out = None,
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
    exclude: Exclude = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    device: Device = "auto",
    encoder: Encoder = None,
) -> None:
    """Tag pictures with topics: their probability and keywords.

    Pictures that cannot be used are listed at the end; the exit code is 3 if there are any, and the others' tags are
    complete. Interrupted, it leaves no half-written file, and takes up again where it was.
    """
    from vtm.api import VisualTopicModel

    if sidecar_name not in ("full", "basename"):
        raise ConfigError(f"--sidecar-name {sidecar_name}: must be full or basename")
    kind = choose_format(format, out)
    columns = {"picture": str, "topic": int, "probability": float, "keywords": list}
    found = _find(pictures, exclude)
    _spare(found, "--out", out)
    loaded = VisualTopicModel.load(model, encoder=encoder, device=device, max_pixels=max_pixels)
    bad, untagged, tagged = list(found.unreadable), 0, 0
    writers = [_Writer("sidecar", basename=sidecar_name == "basename")] * write_sidecars
    writers += [_Writer("picture")] * write_originals
    blocks = tag_pictures(
        loaded,
        found.pictures,
        top=top,
        min_probability=min_probability,
        words=words,
        order="ctfidf" if ctfidf else "relevance",
        weight=relevance,
    )
    with open_rows(kind, out, columns) as write:
        for block in blocks:
            good = [item for item in block if isinstance(item, Tagged)]
            bad += [item for item in block if not isinstance(item, Tagged)]
            write([row for item in good for row in _tag_rows(item, kind)])
            tagged += len(good)
            untagged += sum(not item.tags for item in good)
            for writer in writers:
                writer.write(good)
        _require_some(tagged, bad)
    if untagged:
        say(f"{untagged} of {tagged} pictures have no topic of {min_probability} or more")
    _finish(found, bad, sum(writer.report() for writer in writers))


def _tag_rows(tagged: Tagged, kind: str) -> list[dict[str, Any]]:
    """One row for each topic; in JSON Lines one object for each picture."""
    picture = storable(tagged.picture)
    topics = [
        {"topic": tag.topic, "probability": round(tag.probability, 6), "keywords": list(tag.keywords)}
        for tag in tagged.tags
    ]
    if kind == "jsonl":
        return [{"picture": picture, "topics": topics}]
    return [{"picture": picture, **topic} for topic in topics]


class _Writer:
    """Sidecars or pictures written so far, and those that could not be."""

    def __init__(self, what: str, *, basename: bool = False) -> None:
        self.what = what
        self.basename = basename
        self.written: list[bool] = []  # False: it had all keywords
        self.failures: list[str] = []
        self.doubles: list[str] = []  # sidecars whose picture has one of the other name, too

    def write(self, block: Sequence[Tagged]) -> None:
        from vtm.cli.keywords import sidecar_path, write_original, write_sidecar

        for tagged in block:
            keywords = tagged.keywords, tagged.hierarchy
            try:
                if self.what == "picture":
                    self.written.append(write_original(tagged.picture, *keywords))
                    continue
                self.written.append(write_sidecar(tagged.picture, *keywords, basename=self.basename))
            except DataError as error:
                self.failures.append(str(error))
            except OSError as error:
                self.failures.append(f"{'' if error.filename else f'{tagged.picture}: '}{said(error)}")
            other = sidecar_path(tagged.picture, basename=not self.basename)
            if self.what == "sidecar" and other.exists():
                path = sidecar_path(tagged.picture, basename=self.basename)
                self.doubles.append(f"{other}: is there, too; vtm keeps its keywords in {path.name}")

    def report(self) -> int:
        counts = f"{sum(self.written)} {self.what}s written, {self.written.count(False)} had all keywords"
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
    """Find the pictures that fit a text's topics, with the topics that they share as the reason.

    Pictures that cannot be used are listed at the end; the exit code is 3 if there are any.
    """
    import numpy as np

    from vtm.api import VisualTopicModel
    from vtm.metrics.index import ThetaIndex
    from vtm.report.contact import Card, check_suffix, write_sheet

    kind, wanted = choose_format(format, out), _text(text, text_file)
    if sheet is not None:
        check_suffix(sheet)
    found = _find(pictures, exclude) if pictures else None
    loaded = VisualTopicModel.load(model, encoder=encoder, device=device, max_pixels=max_pixels)
    found = found or _find(load_trained_corpus(loaded, model).images)
    _spare(found, "--sheet", sheet)
    _spare(found, "--out", out)
    text_theta = loaded.transform_text([wanted])
    blocks, bad = [], list(found.unreadable)
    for block, dropped in loaded.transform_blocks(found.pictures):
        blocks.append(block)
        bad += dropped
    theta = np.concatenate(blocks)
    usable = np.flatnonzero(~np.isnan(theta[:, 0]))
    _require_some(len(usable), bad)
    index = ThetaIndex.build(theta[usable], [f"{row:012d}" for row in usable])
    positions, similarities = index.search(text_theta, top)
    rows, cards = [], []
    for row, similarity in zip(usable[positions[0]], similarities[0], strict=True):
        picture, place = found.pictures[row], len(rows) + 1
        topics = [
            f"{', '.join(shared.words)} ({shared.contribution:.0%})"
            for shared in loaded.explain(text_theta[0], theta[row], words=words)
            if shared.contribution >= LEAST_CONTRIBUTION
        ]
        rows.append(
            {
                "rank": place,
                "similarity": round(float(similarity), 6),
                "picture": storable(picture),
                "shared topics": "; ".join(topics),
            }
        )
        cards.append(
            Card(picture, f"{place}. {printable(picture.name)}", (f"similarity {similarity:.2f}", *topics))
        )
    columns = {"rank": int, "similarity": float, "picture": str, "shared topics": str}
    with open_rows(kind, out, columns) as write:
        write(rows)
    if sheet is not None:
        write_sheet(sheet, wanted, cards, language=loaded.language)
    _finish(found, bad)


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
