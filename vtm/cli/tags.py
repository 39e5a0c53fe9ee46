"""Commands that give pictures keywords, in sheets, sidecars or the pictures themselves."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
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
from vtm.cli.rows import ROOM, cell_text, choose_format, open_rows
from vtm.corpora.keywords import (
    ROOT,
    fingerprint,
    remove_keywords,
    sidecar_path,
    write_original,
    write_sidecar,
)
from vtm.corpora.pictures import MAX_PIXELS
from vtm.corpora.table import IMAGE_COLUMNS, Found, read_rows
from vtm.errors import ConfigError, DataError, MissingError, counted, listed, printable, said, storable
from vtm.files import as_text

if TYPE_CHECKING:
    from vtm.api import Keyword, VisualTopicModel
    from vtm.corpora import Dropped


Wide = Annotated[
    bool,
    typer.Option("--wide", help="One row for each picture, for spreadsheets; always so in a workbook."),
]
WriteSidecars = Annotated[
    bool,
    typer.Option(
        "--write-sidecars",
        help="Add the keywords to PICTURE.xmp beside each picture; pictures themselves stay as they are.",
    ),
]
SidecarName = Annotated[
    str,
    typer.Option(
        help="full: boat.jpg.xmp, as digiKam and darktable call it; basename: boat.xmp, as Lightroom does.",
        metavar="NAME",
    ),
]
VocabularyFile = Annotated[
    Path | None,
    typer.Option(
        help="Only these keywords: a table with columns term, broader and synonyms, the last two if you like.",
        metavar="FILE",
    ),
]
WriteOriginals = Annotated[
    bool,
    typer.Option(
        "--write-originals",
        help="Add the keywords to the JPEG and PNG files themselves, as XMP; what they show stays as it is.",
    ),
]


class TermList:
    """A fixed vocabulary: which term a keyword is, whatever its case or form, and what stands above each term.

    Attributes
    ----------
    paths : each term with its path, from the top.
    left_out : how often each keyword that is no term was asked for.
    """

    def __init__(
        self, broader: Mapping[str, str], synonyms: Mapping[str, str] | None = None, *, language: str = "en"
    ) -> None:
        """`broader` has for each term the one above it, or ""; `synonyms` for each other name its term."""
        self.paths: dict[str, tuple[str, ...]] = {}
        self.left_out: Counter[str] = Counter()
        self._language = language
        for term in dict.fromkeys((*broader, *filter(None, broader.values()))):
            path = [term]
            while above := broader.get(path[0]):
                if above in path:
                    raise DataError(f"{' < '.join([*reversed(path), above])}: stands below itself")
                path.insert(0, above)
            self.paths[term] = tuple(path)
        terms = {_folded(term) for term in self.paths}
        self._names = dict(zip(self.paths, self.paths, strict=True))
        self._names |= {name: term for name, term in (synonyms or {}).items() if _folded(name) not in terms}
        self._known = {_folded(name): term for name, term in reversed(self._names.items())}

    def learn(self, keywords: Iterable[str]) -> None:
        """Look up which terms have forms of these keywords; of several terms it is the first."""
        from vtm.corpora.words import word_forms

        new = sorted({_folded(keyword) for keyword in keywords} - self._known.keys())
        names = [_folded(name) for name in self._names]
        forms = word_forms((*names, *new), self._language).tolist() if new else []
        by_form = dict(zip(reversed(forms[: len(names)]), reversed(self._names.values()), strict=True))
        self._known |= {
            word: by_form.get(form, "") for word, form in zip(new, forms[len(names) :], strict=True)
        }

    def term(self, keyword: str) -> str:
        """The term that a keyword is; "" for none."""
        if _folded(keyword) not in self._known:
            self.learn([keyword])
        return self._known[_folded(keyword)]

    def told(self, path: Path | str | None) -> list[str]:
        """What was left out, in a line; none where nothing was."""
        if not self.left_out:
            return []
        most = [f"{printable(word)} ({number})" for word, number in self.left_out.most_common()]
        n = counted(self.left_out.total(), "keyword left out, which is", "keywords left out, which are")
        return [f"{n} not in {path}: {listed(most)}"]


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name.casefold()).split())


def read_terms(path: Path | str, *, language: str = "en") -> TermList:
    """A fixed vocabulary from a table with a column `term`, and if you like `broader` (or `parent`) and `synonyms`.

    A term that others stand below is one, too, where it has no row. Synonyms have commas or semicolons between them.

    Raises
    ------
    DataError
        No table, no such column or no term; a term in two rows, a synonym of two terms, a term below itself, or one with a
        comma or semicolon, which part keywords in sheets.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vtm.cli.tags import read_terms
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "terms.csv").write_text("term,broader,synonyms\\nBoat,Vehicle,ship;vessel\\n")
    ...     terms = read_terms(f"{folder}/terms.csv")
    >>> [terms.term(word) for word in ("boats", "SHIPS", "vehicle", "sea")], terms.paths["Boat"]
    (['Boat', 'Boat', 'Vehicle', ''], ('Vehicle', 'Boat'))
    """
    path = Path(path)
    if not path.exists():
        raise MissingError(f"--vocabulary {path}: no such file; name a table with a column term")
    columns, rows = read_rows(path, None)
    named = {column.lower(): column for column in reversed(columns)}
    if "term" not in named:
        raise DataError(f"{path}: needs a column term; it has {', '.join(filter(None, columns)) or 'none'}")
    above = named.get("broader", named.get("parent"))
    broader: dict[str, str] = {}
    synonyms: dict[str, str] = {}
    spelled: dict[str, str] = {}  # a name as it is compared -> as it was first written
    where: dict[str, tuple[str, str]] = {}  # a name as it is compared -> its term, and the row that says so
    for row in rows():
        term = " ".join(cell_text(row.values[named["term"]]).split())
        parent = " ".join(cell_text(row.values.get(above)).split())  # type: ignore[arg-type]
        if not term:
            continue
        others = _keywords(row.values.get(named.get("synonyms")), several=True)  # type: ignore[arg-type]
        if parted := next((name for name in (term, parent) if re.search("[,;]", name)), ""):
            raise DataError(
                f"{row}: {parted!r} has a comma or semicolon, which part keywords; write it without"
            )
        term, parent = (spelled.setdefault(_folded(name), name) for name in (term, parent))
        for name in (term, *others):
            owner, first = where.setdefault(_folded(name), (term, str(row)))
            if (owner, first) != (term, str(row)):
                raise DataError(f"{row}: {name!r} is in {first} already, for {owner!r}; keep it in one row")
        broader[term] = parent
        synonyms |= dict.fromkeys(others, term)
    if not broader:
        raise DataError(f"{path}: holds no term; it needs a row for each")
    try:
        return TermList(broader, synonyms, language=language)
    except DataError as error:
        raise DataError(f"{path}: {error}; correct what is broader") from None


@dataclass(frozen=True)
class Tag:
    """A topic of a picture, with its probability and keywords."""

    topic: int
    probability: float
    keywords: tuple[str, ...]
    name: str = ""

    @property
    def label(self) -> str:
        """A short name of the topic."""
        return self.name or " ".join(self.keywords[:3])


@dataclass(frozen=True)
class Tagged:
    """A picture with its keywords, the surest first, and its topics, the largest first."""

    picture: Path
    words: tuple[Keyword, ...]
    tags: tuple[Tag, ...]
    topics_too: bool = False  # whether labels of topics are written to files as well
    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of terms, from the top

    @property
    def keywords(self) -> tuple[str, ...]:
        """What is written to files: its keywords, and the labels of its topics where they are asked for."""
        labels = [tag.label for tag in self.tags if self.topics_too]
        return tuple(dict.fromkeys([*(found.word for found in self.words), *labels]))


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
    terms: TermList | None = None,
) -> Iterator[list[Tagged | Dropped]]:
    """Tag pictures, some hundred at a time.

    Parameters
    ----------
    keywords, min_confidence
        At most this many keywords for each picture, none below this chance (`VisualTopicModel.keywords`).
    top, min_probability
        At most this many topics for each picture, none below this probability.
    words, order, weight
        How many keywords of each topic, and which (`VisualTopicModel.topics`).
    topics_too
        Whether files get the labels of topics, too.
    terms
        A fixed vocabulary: keywords are the likeliest of its terms. What would have stood among the keywords without it and
        is no term is counted there.

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
    from vtm.metrics.ranking import best_columns

    if top < 1 or not 0 <= min_probability <= 1:
        raise ConfigError(
            f"top={top}, min_probability={min_probability}: at least 1 topic, and a probability from 0 to 1"
        )
    labels = [tuple(topic) for topic in model.topics(words, order=order, weight=weight)]
    numbers = model.topic_numbers_
    names = [model.shape_.name(k) for k in numbers]
    start, asked, paths = 0, keywords, {} if terms is None else terms.paths
    if terms is not None:
        asked = len(model.vocabulary_)  # of which some may be terms
        terms.learn(model.vocabulary_)
    for theta, found, dropped in model.tag_blocks(pictures, top=asked, min_confidence=min_confidence):
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
            tags = tuple(Tag(numbers[k], float(row[k]), labels[k], names[k]) for k in best)
            chosen = sure if terms is None else _as_terms(sure, terms, keywords)
            block.append(Tagged(Path(picture), chosen, tags, topics_too, paths))
        start += len(theta)
        yield block


def _as_terms(words: Sequence[Keyword], terms: TermList, most: int) -> tuple[Keyword, ...]:
    """The first terms among a picture's words, each as sure as its surest form."""
    found: dict[str, Keyword] = {}
    for place, word in enumerate(words):
        if term := terms.term(word.word):
            found.setdefault(term, replace(word, word=term))
        elif place < most:
            terms.left_out[word.word] += 1
    return tuple(found.values())[:most]


def tag(
    model: Model,
    pictures: Pictures,
    format: Format = None,
    out: Out = None,
    wide: Wide = False,
    thumbnails: Annotated[bool, typer.Option(help="Small pictures in a workbook.")] = True,
    keywords: Annotated[int, typer.Option(min=0, help="At most this many keywords for each picture.")] = 5,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="No keyword below this chance; by default that at which half were right on held-out pairs.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="At most this many topics for each picture.")] = 3,
    min_probability: Annotated[
        float, typer.Option(min=0, max=1, help="No topic below this probability.")
    ] = 0.05,
    words: Words = 5,
    ctfidf: Order = False,
    relevance: Relevance = 0.6,
    write_sidecars: WriteSidecars = False,
    sidecar_name: SidecarName = "full",
    write_originals: WriteOriginals = False,
    vocabulary: VocabularyFile = None,
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
    takes up again where it was. To correct the keywords before they are written, see `vtm apply`.
    """
    from vtm.api import VisualTopicModel

    writers = _writers(write_sidecars, sidecar_name, write_originals)
    if write_topics and not writers:
        raise ConfigError(
            "--write-topics: says what is written to files; give --write-sidecars or --write-originals, too"
        )
    kind = choose_format(format, out)
    if wide and kind == "table":
        say("not used: --wide; a table on a terminal has a block for each picture, a file (-o) a row")
    if not thumbnails and kind != "xlsx":
        say("not used: --no-thumbnails; only a workbook has small pictures")
    wide = wide or kind == "xlsx"
    found = find_some(pictures, exclude)
    spare_pictures(found, "--out", out)
    loaded = VisualTopicModel.load(model, encoder=encoder, device=device, max_pixels=max_pixels)
    terms = None if vocabulary is None else read_terms(vocabulary, language=loaded.language)
    bad, tagged, without, topicless, n_keywords = list(found.unreadable), 0, 0, 0, 0
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
        terms=terms,
    )
    columns = BLOCKS if kind == "table" else WIDE if wide else LONG
    if kind == "xlsx" and thumbnails:
        columns = {"thumbnail": bytes, **columns}
    with open_rows(kind, out, columns, mark=wide) as write:
        for block in blocks:
            good = [item for item in block if isinstance(item, Tagged)]
            bad += [item for item in block if not isinstance(item, Tagged)]
            write([row for item in good for row in _tag_rows(item, kind, wide, columns)])
            tagged += len(good)
            without += sum(not item.words for item in good)
            topicless += sum(not item.tags for item in good)
            n_keywords += sum(len(item.words) for item in good)
            for writer in writers:
                writer.write(good)
        require_some(tagged, bad)
    _say_how_sure(loaded, min_confidence)
    say(f"{_summary(tagged, n_keywords, without)} ({without / tagged:.0%})")
    if topicless:
        say(
            f"{topicless} of {counted(tagged, 'picture has', 'pictures have')} no topic of {min_probability} or more"
        )
    for line in terms.told(vocabulary) if terms else ():
        say(line)
    finish(found, bad, sum(writer.report() for writer in writers))


def _summary(n_pictures: int, n_keywords: int, without: int) -> str:
    """How many pictures have how many keywords."""
    some = f"{n_pictures - without} with {counted(n_keywords, 'keyword')}"
    return f"{counted(n_pictures, 'picture')}: {some}, {without} without"


LONG: dict[str, type] = {"picture": str, "keyword": str, "confidence": float, "topics": list}
# On a terminal, a block for each picture.
BLOCKS: dict[str, type] = {"picture": str, "keywords": str, "topics": str}
WIDE: dict[str, type] = {
    "picture": str,
    "keywords": list,
    "confidences": list,
    "topics": list,
    "fingerprint": str,
}


def _tag_rows(tagged: Tagged, kind: str, wide: bool, columns: Container[str]) -> list[dict[str, Any]]:
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
    told = [f"{tag.topic}: {tag.label} ({tag.probability:.0%})" for tag in tagged.tags]
    if kind == "table":
        sure = [found.word + _percent(found.confidence) for found in tagged.words]
        return [{"picture": picture, "keywords": ", ".join(sure) or "none", "topics": ", ".join(told)}]
    if wide:
        sure = [f"{found.confidence:.2f}" for found in tagged.words if found.confidence == found.confidence]
        words = [found.word for found in tagged.words]
        row: dict[str, Any] = {"picture": picture, "keywords": words, "confidences": sure, "topics": told}
        row["fingerprint"] = fingerprint(tagged.picture)
        if "thumbnail" in columns:
            row["thumbnail"] = _thumbnail(tagged.picture)
        return [row]
    rows = [(found.word, rounded(found.confidence)) for found in tagged.words] or [("", None)]
    return [
        {"picture": picture, "keyword": word, "confidence": confidence, "topics": told}
        for word, confidence in rows
    ]


def _thumbnail(picture: Path) -> bytes:
    from vtm.corpora.pictures import open_picture

    small = BytesIO()
    open_picture(picture, size=ROOM - 4).save(small, "JPEG", quality=80)
    return small.getvalue()


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
        say(
            "no keywords are shown: of the surest on held-out pairs, too, less than half were right; "
            "see all with --min-confidence 0"
        )


def _writers(write_sidecars: bool, sidecar_name: str, write_originals: bool) -> list[_Writer]:
    if sidecar_name not in ("full", "basename"):
        raise ConfigError(f"--sidecar-name {sidecar_name}: must be full or basename")
    if sidecar_name != "full" and not write_sidecars:
        raise ConfigError(
            f"--sidecar-name {sidecar_name}: names the sidecars of --write-sidecars; give it, too"
        )
    writers = [_Writer("sidecar", basename=sidecar_name == "basename")] * write_sidecars
    return writers + [_Writer("picture")] * write_originals


class _Writer:
    """Sidecars or pictures written so far, and those that could not be."""

    def __init__(self, what: str, *, basename: bool = False) -> None:
        self.what = what
        self.basename = basename
        self.written: list[bool] = []  # False: it had all keywords
        self.without = 0  # no keyword for them, and none there to be taken out
        self.failures: list[str] = []
        self.doubles: list[str] = []  # sidecars whose picture has one of the other name, too

    def write(self, block: Sequence[Tagged | Reviewed]) -> None:
        for tagged in block:
            # Under vtm's root, for photo programs that show keywords as a tree.
            keywords = tagged.keywords, [(ROOT, *tagged.paths.get(word, (word,))) for word in tagged.keywords]
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
                self.failures.append(said(error, tagged.picture))
            other = sidecar_path(tagged.picture, basename=not self.basename)
            if self.what == "sidecar" and other.exists():
                path = sidecar_path(tagged.picture, basename=self.basename)
                program = "darktable" if self.basename else "digiKam"
                told = f"vtm keeps its keywords in {path.name}, which {program} does not read then"
                self.doubles.append(f"{other}: is there, too; {told}")

    def report(self) -> int:
        counts = (
            f"{counted(sum(self.written), self.what)} written, {self.written.count(False)} had all keywords"
        )
        counts += f", {self.without} left as they are, without a keyword" if self.without else ""
        say(f"{counts}, {len(self.failures)} skipped" if self.failures else counts)
        for failure in self.failures:
            say(f"{'no sidecar' if self.what == 'sidecar' else 'not written'}: {failure}")
        for double in self.doubles:
            say(double)
        return len(self.failures)


def untag(pictures: Pictures) -> None:
    """Take the keywords of `vtm tag` out of pictures and their sidecars again.

    Both names of sidecars are looked for. A file that was not changed since becomes what it was, byte for byte, and sidecars
    that `vtm tag` made are deleted. Where other programs wrote since, only the keywords of vtm go. What cannot be written to
    is listed at the end; the exit code is then 3.
    """
    found, changed, failures = find_some(pictures), [], []
    for picture in found.pictures:
        some, others = remove_keywords(picture)
        changed += some
        failures += others
    say(f"keywords taken out of {counted(len(changed), 'file')} of {counted(len(found.pictures), 'picture')}")
    for failure in failures:
        say(f"not written: {failure}")
    finish(found, list(found.unreadable), len(failures))


@dataclass
class Reviewed:
    """A picture with the keywords that a sheet gives it, and where it does."""

    picture: Path
    keywords: tuple[str, ...]
    rows: list[str] = field(default_factory=list)
    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def in_terms(self, terms: TermList) -> Reviewed:
        """With the terms of a fixed vocabulary in place of the keywords, which counts what is none."""
        found = {word: terms.term(word) for word in self.keywords}
        terms.left_out.update(word for word, term in found.items() if not term)
        kept = tuple(dict.fromkeys(filter(None, found.values())))
        return replace(self, keywords=kept, paths=terms.paths)


@dataclass(frozen=True)
class Review:
    """What a sheet says.

    Attributes
    ----------
    pictures : in the order in which the sheet first names them.
    problems : a line for each row or picture that cannot be followed.
    elsewhere : rows of pictures other than those that were asked for.
    """

    pictures: tuple[Reviewed, ...]
    problems: tuple[str, ...]
    elsewhere: int


def read_review(
    sheet: Path | str, pictures: Sequence[Path] | None = None, *, encoding: str | None = None
) -> Review:
    """The keywords of pictures in a sheet of `vtm tag`, after a person went through it.

    Rows and columns may stand in any order. A sheet with a column `keywords` has one row for each picture, with commas,
    semicolons or line breaks between keywords; one with a column `keyword` a row for each keyword. Paths are as seen from
    the working folder, or else from the sheet's. A column `fingerprint` tells a picture that is another one now.

    Parameters
    ----------
    pictures : only these; by default all that the sheet names.
    encoding : of a CSV file, where it is not UTF-8.

    Raises
    ------
    DataError
        No table, or one without rows or without these columns.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vtm.cli.tags import read_review
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "boat.jpg").touch()
    ...     _ = Path(folder, "tags.csv").write_text("keywords,picture\\nsea; boat,boat.jpg\\nsea,gone.jpg\\n")
    ...     review = read_review(f"{folder}/tags.csv")
    >>> [one.keywords for one in review.pictures], [line[:18] for line in review.problems]
    ([('sea', 'boat')], ['tags.csv row 3: go'])
    """
    sheet = Path(sheet)
    columns, rows = read_rows(sheet, encoding, option="--encoding ")
    named = {column.lower(): column for column in reversed(columns)}
    image = next((named[name] for name in ("picture", *IMAGE_COLUMNS) if name in named), None)
    words = next((named[name] for name in ("keywords", "keyword") if name in named), None)
    if image is None or words is None:
        told = ", ".join(filter(None, columns)) or "none"
        raise DataError(
            f"{sheet}: needs columns picture and keywords, as `vtm tag` writes them; it has {told}"
        )
    wide, mark = words.lower() == "keywords", named.get("fingerprint")
    wanted = None if pictures is None else {_place(storable(path)): path for path in pictures}
    found: dict[str, Reviewed] = {}
    problems: dict[str, str] = {}  # of a picture, or of a row that names none
    n_rows = elsewhere = 0
    for row in rows():
        n_rows += 1
        name = cell_text(row.values[image])
        given = _keywords(row.values[words], several=wide)
        if not name:
            problems[str(row)] = f"{row}: names no picture; fill its cell, or delete the row"
            continue
        picture, place = _picture_of(name, sheet.parent, wanted)
        if picture is None:
            if wanted is not None and os.path.exists(place):
                elsewhere += 1
            else:
                problems[place] = f"{row}: {name}: no such picture; was it moved or renamed? Correct the path"
            continue
        try:
            changed = mark and cell_text(row.values[mark]) not in ("", fingerprint(picture))
        except (DataError, OSError) as error:
            problems[place] = f"{row}: {said(error) if isinstance(error, OSError) else error}"
            continue
        if changed:
            problems[place] = (
                f"{row}: {name}: shows something else than when it was tagged; tag it again, or empty its fingerprint"
            )
        before = found.setdefault(place, Reviewed(picture, given))
        if wide and {*before.keywords} != {*given}:
            first, again = before.rows[0], re.sub(r".* (row )?", "", str(row))
            problems[place] = f"{first} and {again}: {name}: has other keywords in each; keep one row"
        before.rows.append(str(row))
        before.keywords = tuple(dict.fromkeys((*before.keywords, *given)))
    if not n_rows:
        raise DataError(f"{sheet}: has no row; `vtm tag MODEL PICTURES -o {sheet.name}` writes it anew")
    kept = [one for place, one in found.items() if place not in problems]
    return Review(tuple(kept), tuple(problems.values()), elsewhere)


def _place(path: Path | str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _picture_of(name: str, folder: Path, wanted: dict[str, Path] | None) -> tuple[Path | None, str]:
    """The picture of a cell, or None, and its place; by its place in the working folder, or else in the sheet's."""
    spelled = [name] if os.sep in name or "\\" not in name else [name, name.replace("\\", "/")]
    places = [_place(where) for one in spelled for where in (one, folder / one)]
    for place in places:
        if wanted is not None and place in wanted:
            return wanted[place], place
        if wanted is None and os.path.isfile(place):
            return Path(place), place
    return None, next(filter(os.path.exists, places), places[0])


def _keywords(value: Any, *, several: bool) -> tuple[str, ...]:
    """The keywords of a cell, each once; JSON Lines have a list of them."""
    if isinstance(value, list):
        words = [cell_text(one.get("keyword") if isinstance(one, dict) else one) for one in value]
    else:
        words = re.split(r"[,;\n]", cell_text(value)) if several else [cell_text(value)]
    return tuple(dict.fromkeys(filter(None, (" ".join(_typed(word).split()) for word in words))))


def _typed(word: str) -> str:
    """A word without the apostrophe that `as_text` puts before what a spreadsheet would compute."""
    return word[1:] if word.startswith("'") and as_text(word[1:]) == word else word


def apply_sheet(
    sheet: Annotated[
        Path,
        typer.Argument(
            help="A sheet that `vtm tag` wrote and you corrected: .xlsx, .ods, .csv, .jsonl or .parquet."
        ),
    ],
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Only these pictures, or those in these folders; by default all that the sheet names.",
            metavar="[PICTURES]...",
        ),
    ] = None,
    write_sidecars: WriteSidecars = False,
    sidecar_name: SidecarName = "full",
    write_originals: WriteOriginals = False,
    table: Annotated[
        Path | None,
        typer.Option(help="Write a table of pictures and keywords, to train a model on.", metavar="FILE"),
    ] = None,
    vocabulary: VocabularyFile = None,
    language: Annotated[str, typer.Option(help="Of the vocabulary, for the forms of its words.")] = "en",
    encoding: Annotated[str | None, typer.Option(help="Of a CSV file, as cp1252; by default UTF-8.")] = None,
    exclude: Exclude = None,
) -> None:
    """Write the keywords of a sheet that you went through, exactly these, in place of those that vtm wrote before.

    Delete, add and correct keywords; rows are found by the picture's path, so they may be sorted or moved. A row without a
    keyword takes those of vtm out; a picture without a row stays as it is. What you or other programs wrote to pictures and
    sidecars stays in any case. Without an option that writes, the sheet is only checked. Rows that cannot be followed are
    listed; the exit code is then 3.
    """
    writers = _writers(write_sidecars, sidecar_name, write_originals)
    kind = None if table is None else choose_format(None, table)
    found = find_some(pictures, exclude) if pictures else None
    terms = None if vocabulary is None else read_terms(vocabulary, language=language)
    review = read_review(sheet, found and found.pictures, encoding=encoding)  # type: ignore[arg-type]
    if terms is not None:
        terms.learn(word for one in review.pictures for word in one.keywords)
        review = replace(review, pictures=tuple(one.in_terms(terms) for one in review.pictures))
    if not review.pictures:
        told = (
            review.problems[0]
            if review.problems
            else f"it names pictures elsewhere, in {counted(review.elsewhere, 'row')}"
        )
        raise DataError(f"{sheet}: no row can be followed; the first: {told}")
    shown = Found(tuple(one.picture for one in review.pictures))
    if table is not None:
        spare_pictures(shown, "--table", table)
        if table.exists() and os.path.samefile(sheet, table):
            raise ConfigError(f"--table {table}: is the sheet itself; name another file")
    for writer in writers:
        writer.write(review.pictures)
    n_keywords = sum(len(one.keywords) for one in review.pictures)
    without = sum(not one.keywords for one in review.pictures)
    say(_summary(len(review.pictures), n_keywords, without))
    for line in terms.told(vocabulary) if terms else ():
        say(line)
    if review.elsewhere:
        say(
            f"{counted(review.elsewhere, 'row is', 'rows are')} of other pictures than the named ones: left as they are"
        )
    if found and (rest := len(found.pictures) - len(shown.pictures)):
        say(f"{counted(rest, 'picture has', 'pictures have')} no row that can be followed: left as they are")
    failures = sum(writer.report() for writer in writers)
    if table is not None:
        _write_table(table, kind, [one for one in review.pictures if one.keywords])  # type: ignore[arg-type]
    elif not writers:
        say("nothing was written; see --write-sidecars, --write-originals and --table")
    for problem in review.problems:
        say(f"not followed: {problem}")
    finish(found or Found(()), [] if found is None else found.unreadable, failures + len(review.problems))


def _write_table(table: Path, kind: str, reviewed: Sequence[Reviewed]) -> None:
    """Pictures with their keywords as texts, by paths as `vtm train` looks for them: from the table's folder."""
    folder, rows = _place(table.parent), []
    for one in reviewed:
        below = os.path.relpath(_place(one.picture), folder)
        outside = below.startswith(os.pardir)
        name = storable(_place(one.picture) if outside else below)
        rows.append({"file_name": name, "text": ", ".join(one.keywords)})
    with open_rows(kind, table, {"file_name": str, "text": str}) as write:
        write(rows)
    away = [row["file_name"] for row in rows if os.path.isabs(row["file_name"])]
    where = f":pictures={os.path.commonpath([*map(os.path.dirname, away)])}" if away else ""
    say(f"{table}: {counted(len(rows), 'picture')}; `vtm train {table}{where} -o MODEL` trains on it")
