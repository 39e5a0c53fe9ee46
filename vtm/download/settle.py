"""What becomes of the items of one URL: kept, copied, fetched, or an account of why not."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from vtm.download.fetcher import Body, Fetcher
from vtm.download.hosts import FetchError
from vtm.download.report import FAILED, GOOD, LOST, REFUSED, Outcome, write_outcomes
from vtm.files import atomic_path, hash_file
from vtm.pictures import PictureError, open_picture

if TYPE_CHECKING:
    from tqdm import tqdm

# How the formats begin that are kept: JPEG, PNG, GIF; WebP is RIFF with its name at byte 8.
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
# A small size decodes a JPEG to its end as well, and faster.
CHECKED_SIZE = 64
LOST_STATUS = (404, 410)


@dataclass(frozen=True)
class Item:
    """A picture to be had; `known` is its row of an earlier run, if its URL and file are still the same."""

    id: str
    url: str
    file: str
    known: Outcome | None = None


@dataclass(frozen=True)
class Settler:
    """Settles items, in any thread."""

    folder: Path
    fetcher: Fetcher
    retries: int
    backoff: float  # seconds
    max_pixels: int
    retry_lost: bool

    def settle(self, group: Sequence[Item]) -> list[Outcome]:
        """An outcome for each of some items with the same URL; none if the download is being stopped.

        Raises
        ------
        OSError
            A file cannot be written.
        """
        settled = {item.id: outcome for item in group if (outcome := self._as_it_stands(item))}
        missing = [item for item in group if item.id not in settled]
        twins = [
            outcome for status in (GOOD, LOST) for outcome in settled.values() if outcome.status == status
        ]
        if missing and twins:
            settled |= {item.id: self._like(twins[0], item) for item in missing}
        elif missing:
            try:
                settled |= self._fetch(missing)
            except _Stopped:
                return []
        return [settled[item.id] for item in group]

    def _as_it_stands(self, item: Item) -> Outcome | None:
        """The outcome if nobody needs to be asked: the file is there, or it is lost."""
        path, known = self.folder / item.file, item.known
        if path.exists() and not path.is_file():
            return Outcome(item.id, item.url, item.file, REFUSED, "bad-name", "is the name of a folder")
        if path.exists():
            digest = hash_file(path)
            if known and known.status == GOOD and known.sha256 == digest:
                return known
            recorded = known and known.sha256
            if recorded == digest or (not recorded and self._problem(path) is None):
                size = path.stat().st_size
                return Outcome(item.id, item.url, item.file, GOOD, "found", bytes=size, sha256=digest)
        if known and known.status == LOST and not self.retry_lost:
            return known
        return None

    def _like(self, twin: Outcome, item: Item) -> Outcome:
        """The outcome of an item whose URL gave `twin`, the file copied."""
        if twin.status == GOOD and twin.file != item.file:
            self._write(self.folder / item.file, (self.folder / twin.file).read_bytes())
        reason = "copied" if twin.status == GOOD else twin.reason
        return replace(twin, id=item.id, file=item.file, reason=reason, attempts=0, seconds=0.0)

    def _fetch(self, missing: Sequence[Item]) -> dict[str, Outcome]:
        """Ask for the URL of some items, and write the file of each."""
        first = missing[0]
        started = time.monotonic()
        answer, attempts = ask(self.fetcher, first.url, retries=self.retries, backoff=self.backoff)
        if isinstance(answer, FetchError) and answer.reason == "stopped":
            raise _Stopped
        outcome = Outcome(
            first.id,
            first.url,
            first.file,
            GOOD,
            "fetched",
            seconds=round(time.monotonic() - started, 3),
            attempts=attempts,
            http_status=answer.status,
            final_url=answer.url if attempts else None,
        )
        if isinstance(answer, Body):
            try:
                self._write(self.folder / first.file, answer.data)
                digest = hashlib.sha256(answer.data).hexdigest()
                outcome = replace(outcome, bytes=len(answer.data), sha256=digest)
            except PictureError as error:
                reason = "too-many-pixels" if error.reason == "too-large" else "not-a-picture"
                outcome = replace(outcome, status=FAILED, reason=reason, detail=str(error))
        else:
            outcome = replace(outcome, status=_status(answer), reason=answer.reason, detail=str(answer))
        if outcome.status == GOOD:
            return {first.id: outcome} | {item.id: self._like(outcome, item) for item in missing[1:]}
        # The hash of the file that was good once is kept, so that a damaged one is not taken for it.
        return {
            item.id: replace(
                outcome,
                id=item.id,
                file=item.file,
                bytes=item.known and item.known.bytes,
                sha256=item.known and item.known.sha256,
            )
            for item in missing
        }

    def _write(self, path: Path, data: bytes) -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
            if problem := self._problem(temporary):
                raise problem

    def _problem(self, path: Path) -> PictureError | None:
        """Why a file is no picture that is kept; None if it is one."""
        with open(path, "rb") as stream:
            beginning = stream.read(12)
        webp = beginning[:4] == b"RIFF" and beginning[8:] == b"WEBP"
        if not (webp or beginning.startswith(BEGINNINGS)):
            return PictureError(f"no JPEG, PNG, WebP or GIF; begins with {beginning!r}", "unreadable")
        try:
            open_picture(path, size=CHECKED_SIZE, max_pixels=self.max_pixels)
        except PictureError as error:
            return PictureError(str(error).removeprefix(f"{path}: "), error.reason)
        return None


def ask(fetcher: Fetcher, url: str, *, retries: int, backoff: float) -> tuple[Body | FetchError, int]:
    """What the last try gave, and how many times a server was asked.

    Parameters
    ----------
    retries, backoff
        As `vtm.download.download_pictures`.
    """
    attempts, wait, status = 0, backoff, None
    for left in range(retries, -1, -1):
        try:
            return fetcher.get(url), attempts + 1
        except FetchError as error:
            failure = error
            attempts += failure.asked
            failure.status = status = failure.status or status
        if not failure.retry or not left:
            break
        fetcher.pause(wait)
        wait *= 2
    return failure, attempts


def settle_all(
    settler: Settler,
    groups: Iterable[list[Item]],
    rows: dict[str, Outcome],
    path: Path,
    *,
    workers: int,
    save_every: int,
    bar: tqdm,
) -> None:
    """Settle every group in threads, add the outcomes to `rows` and write these to `path` now and then."""
    waiting = iter(groups)
    # So few are handed out at a time that no more than `save_every` can come between two saves.
    window = 2 * workers
    enough = max(1, save_every - window)
    unsaved = 0
    handed_out: set[Future[list[Outcome]]] = set()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                room = window - len(handed_out)
                handed_out |= {pool.submit(settler.settle, group) for group in islice(waiting, room)}
                if not handed_out:
                    break
                for future in wait(handed_out, return_when=FIRST_COMPLETED).done:
                    settled = future.result()
                    rows.update({outcome.id: outcome for outcome in settled})
                    handed_out.remove(future)
                    bar.update(len(settled))
                    unsaved += len(settled)
                if unsaved >= enough:
                    write_outcomes(path, rows.values())
                    unsaved = 0
        except BaseException:
            settler.fetcher.stop()
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            for future in handed_out:
                if not future.cancelled() and future.exception() is None:
                    rows.update({outcome.id: outcome for outcome in future.result()})
            write_outcomes(path, rows.values())
            settler.fetcher.close()


class _Stopped(Exception):
    """The download is being stopped: there is no outcome."""


def _status(error: FetchError) -> str:
    if error.status in LOST_STATUS:
        return LOST
    return REFUSED if error.reason == "bad-url" or error.reason.startswith("refused") else FAILED
