"""The files of NewsImages, and the pictures that they name by URLs, downloaded into folders.

It needs urllib3 from 2.6 on, which unpacks no more than it is asked for. A run that was broken off, or in which
some pictures failed, goes on where it stood when it is called again.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from vtm import __version__
from vtm.corpora.pictures import PictureError, open_picture
from vtm.errors import ConfigError, DataError, MissingError, counted, printable
from vtm.files import atomic_path, data_dir, hash_file
from vtm.newsimages.corpus import FILES, GROUND_TRUTH, REPOSITORY, NewsImages, find_file, read_ground_truth
from vtm.newsimages.web import Fetcher, FetchError, host_name

if TYPE_CHECKING:
    import pyarrow

# Newspapers answer programs that name themselves alone with an error; the organisers of NewsImages ask for a browser's
# name. Be honest where you can: give your own, with an address.
USER_AGENT = f"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 vtm/{__version__}"
ACCEPT = "image/jpeg,image/png,image/gif,image/webp;q=0.9,image/*;q=0.5"
# How the formats begin that are kept: JPEG, PNG, GIF; WebP is RIFF with its name at byte 8.
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
# A small size decodes a JPEG to its end as well, and faster.
CHECKED_SIZE = 64
REPORT = "downloads.parquet"

# A name of a file that stays in its folder, on every system: no control characters, no devices of Windows.
NAME = re.compile(
    r"(?![. ]|(con|prn|aux|nul|(com|lpt)[0-9¹²³])\s*(\.|$))[^\x00-\x1f\x7f-\x9f\ud800-\udfff/\\:*?\"<>|]+(?<![. ])",
    re.IGNORECASE,
)
# What is being written has a longer name for a moment, and file systems stop at 255 bytes.
MAX_NAME_BYTES = 200

GOOD, LOST, FAILED, REFUSED = STATUSES = ("good", "lost", "failed", "refused")
MEANING = {
    LOST: "gone for good, not asked again",
    FAILED: "asked again the next time",
    REFUSED: "not allowed, asked for no further",
}

COMMIT = "9e19caad81a2e7fe4a6ef4171eb705a665a8d2af"
RAW_HOST = "raw.githubusercontent.com"
RAW = f"{REPOSITORY.replace('https://github.com', f'https://{RAW_HOST}')}/{COMMIT}/Data"
# GitHub takes a text that is not in UTF-8 for a binary file.
FILE_KINDS = ("text/plain", "text/tab-separated-values", "application/octet-stream")


@dataclass(frozen=True)
class Outcome:
    """A row of the report: an item, and what became of it."""

    id: str
    url: str
    file: str
    # "good", "lost" (HTTP 404 or 410), "failed" (anything else that went wrong) or "refused" (a URL, a host, an address
    # or a file name that is not allowed).
    status: str
    # A word to count by: "fetched", "found" (the file was there), "copied" (from an item with the same URL),
    # "not-found", "gone", "forbidden", "timeout", "content-type", "not-a-picture", ...
    reason: str
    detail: str = ""  # the reason in a sentence, empty for good ones
    bytes: int | None = None  # of the file when it was last good, as its SHA-256
    sha256: str | None = None
    seconds: float = 0.0  # of the last asking, waits between tries included
    attempts: int = 0  # how many times it was asked for, itself
    http_status: int | None = None  # of the last answer
    final_url: str | None = None  # where the redirects ended; None if nobody was asked


@dataclass(frozen=True)
class DownloadReport:
    """What became of the items of one call.

    Attributes
    ----------
    outcomes : one an item, in the order of the items.
    path : the Parquet file; it also keeps the rows of earlier calls with other items.
    n_kept : how many rows stand as an earlier call left them.
    """

    outcomes: tuple[Outcome, ...]
    path: Path
    n_kept: int

    def status_counts(self) -> dict[str, int]:
        """Number of items by status, all four of them."""
        found = Counter(outcome.status for outcome in self.outcomes)
        return {status: found[status] for status in STATUSES}

    def reason_counts(self, status: str) -> dict[str, int]:
        """Number of items of a status by reason, most frequent first."""
        found = Counter(outcome.reason for outcome in self.outcomes if outcome.status == status)
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def summary(self) -> str:
        """A few lines: how many there are, how many are not and why, each reason with an example."""
        counts = self.status_counts()
        total = f"{counts[GOOD]} of {counted(len(self.outcomes), 'picture is', 'pictures are')} there"
        lines = [f"{total}; {counted(self.n_kept, 'item')} stood as an earlier run left them"]
        for status, meaning in MEANING.items():
            if counts[status]:
                lines.append(f"{status:<10}{counts[status]:>7}  {meaning}")
            for reason, count in self.reason_counts(status).items():
                first = next(one for one in self.outcomes if (one.status, one.reason) == (status, reason))
                example = printable(f"{first.id}: {first.detail[:100]}")
                lines.append(f"  {reason:<20}{count:>7}  such as {example}")
        return "\n".join([*lines, f"report     {self.path}"])


def read_outcomes(path: Path | str) -> dict[str, Outcome]:
    """Rows of a report by id; none if there is no such file.

    Raises
    ------
    DataError
        The file is there, but it is no report.
    """
    path = Path(path)
    if not path.exists():
        return {}
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path, schema=_schema()).to_pylist()
        return {row["id"]: Outcome(**row) for row in rows}
    except (pyarrow.ArrowException, OSError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not readable as a report of downloads ({str(error).splitlines()[0]}); "
            "delete it and run again, pictures that are there are recognised"
        ) from None


def write_outcomes(path: Path | str, outcomes: Iterable[Outcome]) -> None:
    """Write a report, atomically."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([vars(outcome) for outcome in outcomes], schema=_schema())
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    types = {"bytes": pa.int64(), "seconds": pa.float64(), "attempts": pa.int32(), "http_status": pa.int32()}
    return pa.schema([(field.name, types.get(field.name, pa.string())) for field in fields(Outcome)])


@dataclass(frozen=True)
class _Pictures:
    """A folder of pictures, filled by any number of threads.

    An item is the row of an earlier run for its URL and file, or a new one that has no status yet.
    """

    folder: Path
    fetcher: Fetcher
    retry_lost: bool

    def fill_all(
        self,
        groups: Iterable[list[Outcome]],
        rows: dict[str, Outcome],
        *,
        workers: int,
        save_every: int,
        bar: tqdm,
    ) -> None:
        """As `fill`, in threads; the outcomes are added to `rows`, which are written to the report now and then."""
        waiting = iter(groups)
        # So few are handed out at a time that no more than `save_every` can come between two saves.
        window = 2 * workers
        unsaved = 0
        handed_out: set[Future[list[Outcome]]] = set()
        with ThreadPoolExecutor(workers) as pool:
            try:
                while True:
                    room = window - len(handed_out)
                    handed_out |= {pool.submit(self.fill, group) for group in islice(waiting, room)}
                    if not handed_out:
                        break
                    for future in wait(handed_out, return_when=FIRST_COMPLETED).done:
                        rows.update({outcome.id: outcome for outcome in future.result()})
                        handed_out.remove(future)
                        bar.update(len(future.result()))
                        unsaved += len(future.result())
                    if unsaved >= max(1, save_every - window):
                        write_outcomes(self.folder / REPORT, rows.values())
                        unsaved = 0
            except BaseException:
                self.fetcher.stop()
                pool.shutdown(cancel_futures=True)
                raise
            finally:
                for future in handed_out:
                    if not future.cancelled() and future.exception() is None:
                        rows.update({outcome.id: outcome for outcome in future.result()})
                write_outcomes(self.folder / REPORT, rows.values())
                self.fetcher.close()

    def fill(self, group: Sequence[Outcome]) -> list[Outcome]:
        """What becomes of items with the same URL.

        Raises
        ------
        FetchError
            The download is being stopped.
        OSError
            A file cannot be written.
        """
        outcomes = {item.id: outcome for item in group if (outcome := self._as_it_stands(item))}
        missing = [item for item in group if item.id not in outcomes]
        twins = [one for status in (GOOD, LOST) for one in outcomes.values() if one.status == status]
        if missing and not twins:
            twins = [self._fetched(missing[0])]
            outcomes[missing.pop(0).id] = twins[0]
        outcomes |= {item.id: self._like(twins[0], item) for item in missing}
        return [outcomes[item.id] for item in group]

    def _as_it_stands(self, item: Outcome) -> Outcome | None:
        """The outcome if nobody needs to be asked: the file is there, or it is lost."""
        path = self.folder / item.file
        if path.exists() and not path.is_file():
            return Outcome(item.id, item.url, item.file, REFUSED, "bad-name", "is the name of a folder")
        if path.exists():
            digest = hash_file(path)
            if item.status == GOOD and item.sha256 == digest:
                return item
            if item.sha256 == digest or (not item.sha256 and _problem(path) is None):
                size = path.stat().st_size
                return Outcome(item.id, item.url, item.file, GOOD, "found", bytes=size, sha256=digest)
        return item if item.status == LOST and not self.retry_lost else None

    def _like(self, twin: Outcome, item: Outcome) -> Outcome:
        """The outcome of an item whose URL gave `twin`, the file copied."""
        alike = replace(twin, id=item.id, file=item.file, attempts=0, seconds=0.0)
        if twin.status != GOOD:
            return replace(alike, bytes=item.bytes, sha256=item.sha256)
        if twin.file != item.file:
            self._write(self.folder / item.file, (self.folder / twin.file).read_bytes())
        return replace(alike, reason="copied")

    def _fetched(self, item: Outcome) -> Outcome:
        """Ask for an item's URL. The hash of a file that was good once is kept: a damaged one is not taken for it."""
        started = time.monotonic()
        try:
            answer = self.fetcher.get(item.url)
            self._write(self.folder / item.file, answer.data)
            digest = hashlib.sha256(answer.data).hexdigest()
            item = replace(item, bytes=len(answer.data), sha256=digest)
            status, reason, detail = GOOD, "fetched", ""
        except PictureError as error:
            reason = "too-many-pixels" if error.reason == "too-large" else "not-a-picture"
            status, detail = FAILED, str(error)
        except FetchError as error:
            if error.reason == "stopped":
                raise
            answer, reason, detail = error, error.reason, str(error)  # type: ignore[assignment]
            refused = reason == "bad-url" or reason.startswith("refused")
            status = LOST if error.status in (404, 410) else REFUSED if refused else FAILED
        return replace(
            item,
            status=status,
            reason=reason,
            detail=detail,
            seconds=round(time.monotonic() - started, 3),
            attempts=answer.attempts,
            http_status=answer.status,
            final_url=answer.url if answer.attempts else None,
        )

    def _write(self, path: Path, data: bytes) -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
            if problem := _problem(temporary):
                raise problem


def _problem(path: Path) -> PictureError | None:
    """Why a file is no picture that is kept; None if it is one."""
    with open(path, "rb") as stream:
        beginning = stream.read(12)
    webp = beginning[:4] == b"RIFF" and beginning[8:] == b"WEBP"
    if not (webp or beginning.startswith(BEGINNINGS)):
        return PictureError(f"no JPEG, PNG, WebP or GIF; begins with {beginning!r}", "unreadable")
    try:
        open_picture(path, size=CHECKED_SIZE)
    except PictureError as error:
        return PictureError(str(error).removeprefix(f"{path}: "), error.reason)
    return None


def download_pictures(
    items: Sequence[tuple[str, str, str]],
    folder: Path | str,
    *,
    any_host: bool = False,
    workers: int = 8,
    user_agent: str = USER_AGENT,
    retry_lost: bool = False,
    save_every: int = 100,
    progress: bool = True,
    **limits: Any,
) -> DownloadReport:
    """Download pictures into a folder; what is there already is not asked for again.

    A picture is kept when it came whole, as `image/*`, is a JPEG, PNG, WebP or GIF by its content, and can be
    decoded; until then nothing stands under its name. A file that an earlier run recorded is kept if its hash is the
    recorded one, and fetched again if not; a file that nobody recorded is kept if it can be decoded. Lost pictures
    (404, 410) are not asked for again. One call at a time may work on a folder.

    Parameters
    ----------
    items : n tuples of id, URL and file name; ids are unique. A URL that several items share is fetched once.
    folder : is made if it is not there.
    any_host : follow redirects to hosts that the items' URLs do not name.
    workers : requests at the same time.
    user_agent : what the servers are told; by default a browser's name, because many refuse anything else.
    retry_lost : ask for lost pictures again.
    save_every : the report, `downloads.parquet` in the folder, is written so often that a kill loses at most so
        many of its rows, if this is more than twice `workers`; it loses no picture. It is also written when the
        call ends or is broken off by an error or by Ctrl-C.
    progress : show a bar on stderr, on a terminal.
    **limits
        Of `vtm.newsimages.web.Fetcher`: `per_host`, `timeout`, `retries`, `backoff`, `max_bytes`, `allow_private`.

    Returns
    -------
    DownloadReport
        One outcome an item, in their order.

    Raises
    ------
    ConfigError
        A parameter that cannot be used.
    DataError
        An id that is there twice, or one file name for two URLs; an unreadable report.
    OSError
        The folder or the report cannot be written; what was done until then is recorded.
    """
    for name, value in {"workers": workers, "save_every": save_every}.items():
        if value < 1:
            raise ConfigError(f"{name}={value}: must be at least 1")
    folder = Path(folder)
    known = read_outcomes(folder / REPORT)
    groups, refused = _group(items, known)
    hosts = None if any_host else frozenset(map(host_name, groups)) - {""}
    fetcher = Fetcher(hosts, user_agent, ("image/*",), ACCEPT, **limits)
    folder.mkdir(parents=True, exist_ok=True)
    # What a killed run was writing; see `vtm.files.atomic_path` for the names.
    names = {item.file for group in groups.values() for item in group} | {REPORT}
    for left in folder.glob(".*.tmp"):
        if left.name[1:].removesuffix(".tmp").rpartition(".")[0] in names:
            left.unlink(missing_ok=True)

    rows = known | {outcome.id: outcome for outcome in refused}
    pictures = _Pictures(folder, fetcher, retry_lost)
    hidden = None if progress else True
    with tqdm(total=len(items), initial=len(refused), unit="picture", disable=hidden) as bar:
        pictures.fill_all(groups.values(), rows, workers=workers, save_every=save_every, bar=bar)
    outcomes = tuple(rows[str(identity)] for identity, _, _ in items)
    return DownloadReport(outcomes, folder / REPORT, sum(known.get(one.id) is one for one in outcomes))


def _group(
    items: Sequence[tuple[str, str, str]], known: dict[str, Outcome]
) -> tuple[dict[str, list[Outcome]], list[Outcome]]:
    """Items by URL, and the outcomes of those whose file name cannot be used."""
    groups: dict[str, list[Outcome]] = {}
    refused: list[Outcome] = []
    owners: dict[str, Outcome] = {}
    seen: set[str] = set()
    for identity, url, file in ((str(one), two.strip(), three) for one, two, three in items):
        if identity in seen:
            raise DataError(f"two pictures have the id {identity}; ids must be unique")
        seen.add(identity)
        if not NAME.fullmatch(file) or len(file.encode()) > MAX_NAME_BYTES or file == REPORT:
            detail = f"{file[:80]!r} cannot be a file's name here, or not on every system"
            refused.append(Outcome(identity, url, file, REFUSED, "bad-name", detail))
            continue
        item = known.get(identity)
        if item is None or (item.url, item.file) != (url, file):
            item = Outcome(identity, url, file, "", "")
        # Names that differ in case, or in the form of their accents, are one file on some system.
        owner = owners.setdefault(unicodedata.normalize("NFC", file.casefold()), item)
        if owner.url != url:
            raise DataError(
                f"{owner.id} and {identity} would both be saved as {file}, but from {owner.url} and from "
                f"{url}; give them different file names"
            )
        groups.setdefault(url, []).append(item)
    return groups, refused


def fetch_files(folder: Path | None = None, *, progress: bool = True) -> Path:
    """Put the five files and the ground truth into `folder` (by default in the data folder), if not there.

    The five are compared with their pinned SHA-256. The ground truth's is not known here: it is read, and kept
    when it is a ground truth. GitHub alone is asked, for at most 20 MB each.

    Raises
    ------
    MissingError
        A file cannot be had from here; the message says which, from where, and where to put it.
    DataError
        What came is not the published file.
    """
    folder = data_dir() / "corpora" / "newsimages" if folder is None else folder
    for name, sha256 in {**FILES, GROUND_TRUTH: None}.items():
        if find_file(folder, name):
            continue
        if progress:
            print(f"fetching {name}", file=sys.stderr, flush=True)
        url = f"{RAW}/{name}"
        try:
            content = _get(url)
        except OSError as error:
            raise MissingError(
                f"{url}: could not be fetched ({error}); is the network there? Or bring the file from the folder "
                f"Data of {REPOSITORY} and put it into {folder}"
            ) from None
        found = hashlib.sha256(content).hexdigest()
        if sha256 is not None and found != sha256:
            raise DataError(f"{url}: SHA-256 is {found}, expected {sha256}; nothing was kept, fetch it again")
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
            if sha256 is None:
                read_ground_truth(temporary)
    return folder


def _get(url: str, **limits: Any) -> bytes:
    fetcher = Fetcher(
        frozenset({RAW_HOST}),
        f"vtm/{__version__}",
        FILE_KINDS,
        ", ".join(FILE_KINDS),
        **{"timeout": 60.0, **limits},
    )
    try:
        return fetcher.get(url).data
    except FetchError as error:
        raise OSError(str(error)) from None
    finally:
        fetcher.close()


def fetch_pictures(news: NewsImages, folder: Path, **options: Any) -> DownloadReport:
    """Download the pictures of all batches, with the options of `download_pictures`; called again, it goes on."""
    items = [(picture.iid, picture.url, picture.file) for picture in news.pictures]
    return download_pictures(items, folder, **options)
