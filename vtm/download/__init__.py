"""Pictures named by URLs, downloaded into a folder, with a report of what became of each.

It needs urllib3 from 2.6 on, which unpacks no more than it is asked for. A run that was broken off, or in
which some pictures failed, goes on where it stood when it is called again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from vtm.download.fetcher import Fetcher
from vtm.download.hosts import FetchError, host_name, split_url
from vtm.download.names import name_key, name_problem
from vtm.download.report import (
    REFUSED,
    DownloadReport,
    Outcome,
    print_summary,
    read_outcomes,
)
from vtm.download.settle import Item, Settler, settle_all
from vtm.errors import ConfigError, DataError
from vtm.pictures import MAX_PIXELS

__all__ = ["DownloadReport", "Outcome", "download_pictures", "print_summary", "read_outcomes"]

# Newspapers answer programs that name themselves with an error; the organisers of NewsImages ask for a
# browser's name. Be honest where you can: give your own, with an address.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
MAX_BYTES = 20_000_000
REPORT = "downloads.parquet"
ANY_HOST = "*"
SAVE_EVERY = 100


def download_pictures(
    items: Sequence[tuple[str, str, str]],
    folder: Path | str,
    *,
    hosts: set[str] | None = None,
    workers: int = 8,
    per_host: int = 4,
    retries: int = 3,
    backoff: float = 0.5,
    timeout: float = 20.0,
    user_agent: str = USER_AGENT,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    allow_private: bool = False,
    retry_lost: bool = False,
    report: Path | str | None = None,
    save_every: int = SAVE_EVERY,
    progress: bool = True,
) -> DownloadReport:
    """Download pictures into a folder; what is there already is not asked for again.

    A picture is kept when it came whole, as `image/*`, is a JPEG, PNG, WebP or GIF by its content, and can be
    decoded; until then nothing stands under its name. Connection errors, timeouts and the statuses 408, 425,
    429 and 5xx are tried again, after a pause that doubles or that the host asked for. A file that an earlier
    run recorded is kept if its hash is the recorded one, and fetched again if not; a file that nobody
    recorded is kept if it can be decoded. Lost pictures (404, 410) are not asked for again.

    Only http and https URLs of allowed hosts at public addresses are asked, and every redirect (at most 5) is
    checked like a URL of the items. One call at a time may work on a folder.

    Parameters
    ----------
    items
        n tuples of id, URL and file name; ids are unique. A URL that several items share is fetched once.
    folder
        Is made if it is not there.
    hosts
        Names of the hosts that may be asked, redirects included; by default those in the items' URLs. "*"
        among them allows any.
    workers, per_host
        Requests at the same time, in all and to one host.
    retries
        How many times a picture is tried again.
    backoff
        Seconds to wait before the first retry; twice as many before each further one.
    timeout
        Seconds for one try at one picture, from the first connection to the last byte.
    user_agent
        What the servers are told; by default a browser's name, because many refuse anything else.
    max_bytes, max_pixels
        Larger pictures are not kept; of larger contents nothing more is read.
    allow_private
        Allow loopback, private and link-local addresses.
    retry_lost
        Ask for lost pictures again.
    report
        The report's file; by default `downloads.parquet` in the folder.
    save_every
        The report is written so often that a kill loses at most so many of its rows, if this is more than
        twice `workers`; it loses no picture. It is also written when the call ends or is broken off by an
        error or by Ctrl-C.
    progress
        Show a bar on stderr, on a terminal.

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
    limits = {"workers": workers, "per_host": per_host, "max_bytes": max_bytes, "max_pixels": max_pixels}
    for name, value in (limits | {"save_every": save_every}).items():
        if value < 1:
            raise ConfigError(f"{name}={value}: must be at least 1")
    if timeout <= 0 or retries < 0 or backoff < 0:
        raise ConfigError(
            f"timeout={timeout}, retries={retries}, backoff={backoff}: the first must be positive, "
            "the others not negative"
        )
    folder = Path(folder)
    path = Path(report) if report is not None else folder / REPORT
    known = read_outcomes(path)
    groups, refused = _group(items, known, reserved=path.name if path.parent == folder else None)
    fetcher = Fetcher(
        hosts=_allowed(hosts, groups),
        per_host=per_host,
        timeout=timeout,
        user_agent=user_agent,
        max_bytes=max_bytes,
        allow_private=allow_private,
    )
    settler = Settler(folder, fetcher, retries, backoff, max_pixels, retry_lost)
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder, {item.file for group in groups.values() for item in group} | {path.name})

    rows = known | {outcome.id: outcome for outcome in refused}
    hidden = None if progress else True
    with tqdm(total=len(items), initial=len(refused), unit="picture", disable=hidden) as bar:
        settle_all(settler, groups.values(), rows, path, workers=workers, save_every=save_every, bar=bar)
    outcomes = tuple(rows[str(identity)] for identity, _, _ in items)
    return DownloadReport(outcomes, path, sum(known.get(one.id) is one for one in outcomes))


def _group(
    items: Sequence[tuple[str, str, str]], known: dict[str, Outcome], *, reserved: str | None
) -> tuple[dict[str, list[Item]], list[Outcome]]:
    """Items by URL, and the outcomes of those whose file name cannot be used.

    Raises
    ------
    DataError
        An id that is there twice, or one file name for two URLs.
    """
    groups: dict[str, list[Item]] = {}
    refused: list[Outcome] = []
    owners: dict[str, Item] = {}
    seen: set[str] = set()
    for identity, url, file in ((str(one), two.strip(), three) for one, two, three in items):
        if identity in seen:
            raise DataError(f"two pictures have the id {identity}; ids must be unique")
        seen.add(identity)
        problem = "is the name of the report" if file == reserved else name_problem(file)
        if problem:
            refused.append(Outcome(identity, url, file, REFUSED, "bad-name", f"{file[:80]!r} {problem}"))
            continue
        row = known.get(identity)
        item = Item(identity, url, file, row if row and (row.url, row.file) == (url, file) else None)
        owner = owners.setdefault(name_key(file), item)
        if owner.url != url:
            raise DataError(
                f"{owner.id} and {identity} would both be saved as {file}, but from {owner.url} and from "
                f"{url}; give them different file names"
            )
        groups.setdefault(url, []).append(item)
    return groups, refused


def _allowed(hosts: set[str] | None, urls: Iterable[str]) -> frozenset[str] | None:
    """Names of the hosts that may be asked; None for any.

    Raises
    ------
    ConfigError
        One of `hosts` is no host's name.
    """
    if hosts is None:
        return frozenset(name for url in urls if (name := _host_of(url)))
    for host in hosts - {ANY_HOST}:
        if "/" in host or not host_name(host):
            raise ConfigError(f"{host!r} is no host; write names as in www.example.org, or * for any")
    return None if ANY_HOST in hosts else frozenset(map(host_name, hosts))


def _host_of(url: str) -> str:
    try:
        return host_name(split_url(url).host)
    except FetchError:
        return ""


def _sweep(folder: Path, names: set[str]) -> None:
    """Remove what a killed run was writing; see `vtm.files.atomic_path` for the names."""
    for path in folder.glob(".*.tmp"):
        if path.name[1:].removesuffix(".tmp").rpartition(".")[0] in names:
            path.unlink(missing_ok=True)
