"""Which hosts may be asked, at which addresses, and how often: what the threads of a download share.

A name is looked up once, its addresses are checked, and the caller connects to an address that was checked:
an answer of the name server that changes in between does no harm.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import re
import socket
import ssl
import sys
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from tqdm import tqdm
from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import DecodeError, HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3Timeout
from urllib3.util import Retry, Url, parse_url

from vtm.corpora.pictures import MAX_PIXELS, PictureError, open_picture
from vtm.errors import ConfigError, DataError, MissingError, printable
from vtm.files import atomic_path, data_dir, hash_file
from vtm.newsimages.files import FILES, GROUND_TRUTH, REPOSITORY, NewsImages, find_file, read_ground_truth

if TYPE_CHECKING:
    import pyarrow
    from tqdm import tqdm


PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
# A host that asks for a longer pause than this is left alone until the next run.
MAX_PAUSE = 120.0  # seconds
# A host that gave no answer so many times in a row is asked no more.
SILENT_LIMIT = 40
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Nobody's on the open internet, and some systems lead them to the IPv4 address inside: IPv4-compatible (RFC 4291,
# 2.5.5.1), IPv4-translated (RFC 7915) and local NAT64 (RFC 8215). Python counts them as global.
TRANSLATED = tuple(map(ipaddress.ip_network, ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48")))


class FetchError(Exception):
    """Why a URL gave no picture.

    Attributes
    ----------
    reason
        The word that the report counts by.
    retry
        Whether it may go better a moment later.
    status
        The HTTP status of the last answer, None without one.
    url
        The URL that failed, after the redirects before it.
    asked
        Whether a server was asked at all.
    """

    def __init__(self, reason: str, detail: str, *, retry: bool = False, status: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry = retry
        self.status = status
        self.url = ""
        self.asked = False


@dataclass
class Host:
    """What is known of a host."""

    slots: threading.Semaphore
    lock: threading.Lock = field(default_factory=threading.Lock)
    addresses: dict[int, list[str]] = field(default_factory=dict)  # by port
    not_before: float = 0.0  # by time.monotonic()
    silent: int = 0  # tries without an answer, in a row


def split_url(url: str) -> Url:
    """The parts of an http or https URL; the host in lower case, IPv6 addresses in brackets.

    Raises
    ------
    FetchError
        It is no URL, has another scheme, no host, or a user name.
    """
    try:
        parts = parse_url(url)
    except (HTTPError, ValueError):
        raise FetchError("bad-url", f"not a URL: {url[:200]!r}") from None
    if parts.scheme not in PORTS:
        raise FetchError("refused-scheme", f"not http or https: {url[:200]!r}")
    if not HOST.fullmatch(parts.host or "") or parts.auth is not None:
        raise FetchError("bad-url", f"no host, or a user name before it: {url[:200]!r}")
    return parts


def port_of(parts: Url) -> int:
    """The port of a URL, by its scheme if it names none."""
    return parts.port or PORTS[parts.scheme]


def host_name(host: str) -> str:
    """A host's name as names are compared: lower case, IDNA, without a final dot; "" if it cannot be one."""
    with suppress(FetchError):
        return split_url(f"http://{host.strip()}").host.rstrip(".")
    return ""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not private, loopback, link-local or multicast.

    An IPv4 address inside an IPv6 one (mapped, 6to4, NAT64) counts as itself; forms that only local translators
    know are not public.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.is_site_local or any(found in network for network in TRANSLATED):
            return False
        low_bits = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        found = found.ipv4_mapped or found.sixtofour or (low_bits if found in NAT64 else found)
    return found.is_global and not found.is_multicast


class Hosts:
    """The hosts of a download.

    Parameters
    ----------
    allowed
        Names (as `host_name` gives them) of those that may be asked; None for any.
    per_host
        At most so many requests to one host at the same time.
    allow_private
        Allow addresses that are not of the open internet.
    stopping
        When it is set, nobody waits and nobody gets a turn.
    """

    def __init__(
        self, allowed: frozenset[str] | None, per_host: int, allow_private: bool, stopping: threading.Event
    ) -> None:
        self._allowed = allowed
        self._per_host = per_host
        self._allow_private = allow_private
        self._stopping = stopping
        self._lock = threading.Lock()
        self._hosts: dict[str, Host] = {}

    def __getitem__(self, name: str) -> Host:
        """The host called `name`.

        Raises
        ------
        FetchError
            It is not one of those that may be asked.
        """
        if self._allowed is not None and host_name(name) not in self._allowed:
            raise FetchError("refused-host", f"{name} is not one of the hosts that may be asked")
        with self._lock:
            if name not in self._hosts:
                self._hosts[name] = Host(threading.Semaphore(self._per_host))
            return self._hosts[name]

    @contextmanager
    def turn(self, host: Host) -> Iterator[None]:
        """Wait until the host may be asked, and hold one of its slots meanwhile.

        Raises
        ------
        FetchError
            It does not answer at all, asks for too long a pause, or the download is being stopped.
        """
        with host.slots:
            if host.silent >= SILENT_LIMIT:
                raise FetchError("host-silent", f"no answer {SILENT_LIMIT} times in a row; run again later")
            wait = host.not_before - time.monotonic()
            if wait > MAX_PAUSE:
                raise FetchError(
                    "rate-limited", f"the host asks for a pause of {wait:.0f} s; run again later"
                )
            if self._stopping.wait(max(wait, 0)):
                raise FetchError("stopped", "the download was stopped")
            yield

    def addresses(self, host: Host, parts: Url) -> list[str]:
        """IP addresses of a URL's host, every one of them checked; looked up when they are not known.

        Raises
        ------
        FetchError
            The name is unknown, or one of its addresses is not public.
        """
        port = port_of(parts)
        with host.lock:
            if port not in host.addresses:
                try:
                    found = socket.getaddrinfo(parts.host.strip("[]"), port, type=socket.SOCK_STREAM)
                except (OSError, UnicodeError) as error:
                    host.silent += 1
                    raise FetchError("dns", f"{parts.host}: {error}", retry=True) from None
                host.addresses[port] = list(dict.fromkeys(str(info[4][0]) for info in found))
            known = host.addresses[port]
        private = [] if self._allow_private else [address for address in known if not is_public(address)]
        if private:
            raise FetchError("refused-address", f"{parts.host} is at {private[0]}, which is not public")
        return known

    def failed(self, host: Host) -> None:
        """Note that the host gave no answer; its addresses are looked up again."""
        with host.lock:
            host.silent += 1
            host.addresses.clear()


# Connections that are kept for the next request, and that end when their time is over.


# All that opening a connection, asking and reading may raise.
TROUBLE = (HTTPError, http.client.HTTPException, OSError, ValueError)


class Connections:
    """Open connections of several threads, by scheme, host and port.

    Proxies of the environment (`HTTPS_PROXY`) are not used: a proxy looks names up by itself, so nobody could
    check the address.

    Parameters
    ----------
    stopping
        When it is set, `cut_all` follows, and every new use of a connection is cut off at once.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._tls = ssl.create_default_context()
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str, int], list[HTTPConnection]] = {}
        self._busy: set[socket.socket] = set()

    def open(self, addresses: list[str], parts: Url, seconds: float) -> HTTPConnection:
        """A connection to the host of a URL: one that was kept, or one to the first address that answers.

        TLS verifies the name in the URL, whatever the address.

        Raises
        ------
        TROUBLE
            None could be opened within `seconds`.
        """
        if connection := self._take(_key(parts)):
            return connection
        error: Exception = OSError(f"{parts.host} has no address")
        for address in addresses:
            # A share of the time each, so that one that does not answer leaves time for the others.
            timeout = seconds / len(addresses)
            if parts.scheme == "https":
                name = parts.host.strip("[]").rstrip(".")
                connection = HTTPSConnection(
                    address, port_of(parts), timeout=timeout, ssl_context=self._tls, server_hostname=name
                )
            else:
                connection = HTTPConnection(address, port_of(parts), timeout=timeout)
            try:
                connection.connect()
                return connection
            except TROUBLE as failure:
                connection.close()
                error = failure
        raise error

    def _take(self, key: tuple[str, str, int]) -> HTTPConnection | None:
        with self._lock:
            while self._kept.get(key):
                connection = self._kept[key].pop()
                if connection.is_connected:
                    return connection
                connection.close()
        return None

    def keep(self, connection: HTTPConnection, parts: Url) -> None:
        """Keep a connection, whose last answer was read to its end, for the next request."""
        if not connection.is_connected:
            connection.close()
            return
        with self._lock:
            self._kept.setdefault(_key(parts), []).append(connection)

    @contextmanager
    def within(self, seconds: float, connection: HTTPConnection) -> Iterator[threading.Event]:
        """Cut a connection off after `seconds`; the event that is yielded says whether that happened.

        The socket's own timeout is not enough: it begins anew with every byte.
        """
        sock, late = connection.sock, threading.Event()

        def cut() -> None:
            late.set()
            _cut(sock)

        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        with self._lock:
            self._busy.add(sock)
        if self._stopping.is_set():
            _cut(sock)
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()
            with self._lock:
                self._busy.discard(sock)

    def cut_all(self) -> None:
        """Cut off every connection that is in use."""
        with self._lock:
            for sock in self._busy:
                _cut(sock)

    def close(self) -> None:
        """Close the connections that were kept."""
        with self._lock:
            for connection in (one for kept in self._kept.values() for one in kept):
                connection.close()
            self._kept.clear()


def _key(parts: Url) -> tuple[str, str, int]:
    return parts.scheme, parts.host, port_of(parts)


def _cut(sock: socket.socket) -> None:
    # Not SSLSocket.shutdown, which takes the TLS state away from under the thread that reads.
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


# A URL's content from a server that need not be kind: limits, and redirects followed by hand.


REDIRECTS = (301, 302, 303, 307, 308)
MAX_HOPS = 5
# The answers that may be different a moment later.
PASSING = (408, 425, 429, 500, 502, 503, 504)
REASONS = {403: "forbidden", 404: "not-found", 410: "gone", 429: "rate-limited"}
ENCODINGS = ("", "identity", "gzip", "x-gzip", "deflate")
KINDS = ("image/*",)
ACCEPT = "image/jpeg,image/png,image/gif,image/webp;q=0.9,image/*;q=0.5"
# The page of an error is read up to here, so that the connection can be used again.
MAX_ERROR_PAGE = 1 << 16
CHUNK = 1 << 16


@dataclass(frozen=True)
class Body:
    """What a URL gave: its unpacked content, the HTTP status, the URL after redirects."""

    data: bytes
    status: int
    url: str


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    data: bytes | None  # None: not read to its end


class Fetcher:
    """Gets one URL at a time for each of several threads.

    Parameters
    ----------
    hosts
        Names of the hosts that may be asked, as `host_name` gives them; None for any.
    per_host
        At most so many requests to one host at the same time.
    timeout
        Seconds from the first connection to the last byte, redirects included; looking a name up and
        waiting for one's turn come on top.
    max_bytes
        Largest content, unpacked.
    allow_private
        Allow addresses that are not of the open internet.
    kinds, accept
        Patterns of the content types that are taken, and how a server is asked for them.
    """

    def __init__(
        self,
        *,
        hosts: frozenset[str] | None,
        per_host: int,
        timeout: float,
        user_agent: str,
        max_bytes: int,
        allow_private: bool,
        kinds: tuple[str, ...] = KINDS,
        accept: str = ACCEPT,
    ) -> None:
        self._kinds = kinds
        self._accept = accept
        self._timeout = timeout
        self._user_agent = user_agent
        self._max_bytes = max_bytes
        self._stopping = threading.Event()
        self._hosts = Hosts(hosts, per_host, allow_private, self._stopping)
        self._connections = Connections(self._stopping)

    def get(self, url: str) -> Body:
        """The content at `url`, asked once; redirects are followed.

        Raises
        ------
        FetchError
            There is none, or none that is allowed; says whether to try again.
        """
        left, asked = self._timeout, []
        try:
            while True:
                parts = split_url(url)
                host = self._hosts[parts.host]
                if url in asked:
                    raise FetchError("redirect-loop", f"redirected to {url} again")
                if len(asked) > MAX_HOPS:
                    raise FetchError("too-many-redirects", f"more than {MAX_HOPS} redirects")
                with self._hosts.turn(host):
                    addresses = self._hosts.addresses(host, parts)
                    asked.append(url)
                    started = time.monotonic()
                    answer = self._exchange(host, addresses, parts, left)
                left -= time.monotonic() - started
                if answer.status not in REDIRECTS:
                    return _accept(host, answer, url)
                if left <= 0:
                    raise FetchError("timeout", "the redirects took too long", retry=True)
                url = _location(url, answer)
        except FetchError as error:
            error.url, error.asked = url, bool(asked)
            raise

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond `stop`."""
        self._stopping.wait(seconds)

    def stop(self) -> None:
        """Cut off what is under way and refuse what comes: `get` ends at once, in every thread."""
        self._stopping.set()
        self._connections.cut_all()

    def close(self) -> None:
        """Close the connections that were kept."""
        self._connections.close()

    def _exchange(self, host: Host, addresses: list[str], parts: Url, left: float) -> _Answer:
        """One request and its answer, within `left` seconds."""
        deadline = time.monotonic() + left
        connection: HTTPConnection | None = None
        begun = whole = cut = False
        try:
            connection = self._connections.open(addresses, parts, left)
            connection.timeout = max(deadline - time.monotonic(), 0.001)
            with self._connections.within(connection.timeout, connection) as late:
                try:
                    connection.request(
                        "GET", parts.request_uri, headers=self._headers(parts), preload_content=False
                    )
                    response = connection.getresponse()
                    # Headers that we cut off look like headers that came to their end.
                    if late.is_set() or self._stopping.is_set():
                        raise TimeoutError
                    begun, host.silent = True, 0
                    try:
                        answer = self._read(response)
                    finally:
                        response.close()
                finally:
                    cut = late.is_set()
            # A body that ends with its connection looks whole when we cut it off.
            if self._stopping.is_set() or (cut and answer.status == 200):
                raise TimeoutError
            whole = answer.data is not None
            return answer
        except TROUBLE as error:
            if not begun:
                self._hosts.failed(host)
            raise self._explain(error, begun, cut) from error
        finally:
            if whole:
                self._connections.keep(connection, parts)
            elif connection is not None:
                connection.close()

    def _headers(self, parts: Url) -> dict[str, str]:
        usual = parts.port in (None, PORTS[parts.scheme])
        return {
            "Host": parts.host if usual else f"{parts.host}:{parts.port}",
            "User-Agent": self._user_agent,
            "Accept": self._accept,
            "Accept-Encoding": "identity",
        }

    def _read(self, response: HTTPResponse) -> _Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        if response.status != 200:
            page = None
            with suppress(*TROUBLE):
                page = _content(response, MAX_ERROR_PAGE, decode=False)
            return _Answer(response.status, headers, page)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = headers.get("content-encoding", "").strip().lower()
        length = headers.get("content-length", "")
        if not any(fnmatchcase(kind, pattern) for pattern in self._kinds):
            found, wanted = kind[:80] or "of no stated type", " or ".join(self._kinds)
            raise FetchError("content-type", f"is {found}, not {wanted}", status=200)
        if encoding not in ENCODINGS:
            raise FetchError("content-encoding", f"packed as {encoding[:80]!r}", status=200)
        too_long = length.isdecimal() and int(length) > self._max_bytes
        data = None if too_long else _content(response, self._max_bytes, decode=True)
        if data is None:
            raise FetchError("too-many-bytes", f"more than {self._max_bytes} bytes", status=200)
        return _Answer(200, headers, data)

    def _explain(self, error: Exception, begun: bool, cut: bool) -> FetchError:
        if self._stopping.is_set():
            return FetchError("stopped", "the download was stopped")
        status = 200 if begun else None
        # urllib3 counts a connection that is refused among the timeouts.
        slow = isinstance(error, Urllib3Timeout | TimeoutError) and not isinstance(error, NewConnectionError)
        if cut or slow:
            detail = f"no whole answer in {self._timeout:g} s"
            return FetchError("timeout", detail, retry=True, status=status)
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in (error, *error.args)):
            return FetchError("certificate", str(error))
        if isinstance(error, DecodeError):
            return FetchError("content-encoding", f"cannot be unpacked ({error})", status=status)
        return FetchError("cut-off" if begun else "connection", str(error), retry=True, status=status)


def _content(response: HTTPResponse, limit: int, *, decode: bool) -> bytes | None:
    """The whole content, or None when it is longer than `limit` bytes."""
    data = bytearray()
    for chunk in response.stream(CHUNK, decode_content=decode):
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)


def _accept(host: Host, answer: _Answer, url: str) -> Body:
    status = answer.status
    if status == 200:
        return Body(answer.data or b"", status, url)
    if status in (429, 503):
        with suppress(HTTPError, ValueError, OverflowError):
            pause = Retry().parse_retry_after(answer.headers.get("retry-after", "0"))
            host.not_before = max(host.not_before, time.monotonic() + pause)
    reason = REASONS.get(status, f"http-{status}")
    raise FetchError(reason, f"HTTP {status}", retry=status in PASSING, status=status)


def _location(url: str, answer: _Answer) -> str:
    location = answer.headers.get("location", "").strip()
    if not location:
        raise FetchError("bad-redirect", "redirected to nowhere", status=answer.status)
    # Headers are read as Latin-1; what servers write raw is UTF-8.
    with suppress(UnicodeError):
        location = location.encode("latin-1").decode("utf-8")
    try:
        return urljoin(url, location)
    except ValueError:
        raise FetchError("bad-redirect", f"redirected to {location[:200]!r}", status=answer.status) from None


# File names that stay inside their folder, on every system.


# What is being written has a longer name for a moment, and file systems stop at 255 bytes.
MAX_NAME_BYTES = 200
FORBIDDEN = set('/\\:*?"<>|')
# Devices on Windows, whatever their suffix.
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³")}


def name_problem(name: str) -> str | None:
    """Why a name cannot be that of a file in a folder; None if it can."""
    if not name:
        return "is empty"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "has control characters"
    if bad := sorted(FORBIDDEN & set(name)):
        return f"has {bad[0]!r} in it"
    if name[0] in ". " or name[-1] in ". ":
        return "begins or ends with a dot or a space"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    if name.partition(".")[0].rstrip().casefold() in DEVICES:
        return "is the name of a device on Windows"
    return None


def name_key(name: str) -> str:
    """Names with the same key are one file on some system: case and the form of accents do not count."""
    return unicodedata.normalize("NFC", name.casefold())


# What became of each picture that was to be downloaded: a Parquet file with one row an item.


GOOD, LOST, FAILED, REFUSED = STATUSES = ("good", "lost", "failed", "refused")
MEANING = {
    GOOD: "there",
    LOST: "gone for good, not asked again",
    FAILED: "asked again the next time",
    REFUSED: "not allowed, asked for no further",
}


@dataclass(frozen=True)
class Outcome:
    """A row of the report.

    Attributes
    ----------
    id, url, file
        The item.
    status
        "good", "lost" (HTTP 404 or 410), "failed" (anything else that went wrong) or "refused" (a URL, a
        host, an address or a file name that is not allowed).
    reason
        A word to count by: "fetched", "found" (the file was there), "copied" (from an item with the same
        URL), "not-found", "gone", "forbidden", "timeout", "content-type", "not-a-picture", ...
    detail
        The reason in a sentence, empty for good ones.
    bytes, sha256
        Size and SHA-256 of the file when it was last good; None if it never was.
    seconds
        Time that the last asking took, waits between tries included.
    attempts
        How many times it was asked for.
    http_status
        Of the last answer; None without one.
    final_url
        Where the redirects ended; None if nobody was asked.
    """

    id: str
    url: str
    file: str
    status: str
    reason: str
    detail: str = ""
    bytes: int | None = None
    sha256: str | None = None
    seconds: float = 0.0
    attempts: int = 0
    http_status: int | None = None
    final_url: str | None = None


@dataclass(frozen=True)
class DownloadReport:
    """What became of the items of one call.

    Attributes
    ----------
    outcomes
        One an item, in the order of the items.
    path
        The Parquet file; it also keeps the rows of earlier calls with other items.
    n_kept
        How many rows stand as an earlier call left them.
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
        total = f"{counts[GOOD]} of {len(self.outcomes)} pictures are there"
        lines = [f"{total}; {self.n_kept} items stood as an earlier run left them"]
        for status in (LOST, FAILED, REFUSED):
            if counts[status]:
                lines.append(f"{status:<10}{counts[status]:>7}  {MEANING[status]}")
            for reason, count in self.reason_counts(status).items():
                first = next(one for one in self.outcomes if (one.status, one.reason) == (status, reason))
                lines.append(
                    f"  {reason:<20}{count:>7}  such as {printable(f'{first.id}: {first.detail[:100]}')}"
                )
        return "\n".join([*lines, f"report     {self.path}"])


def print_summary(report: DownloadReport) -> None:
    """Print `report.summary()`."""
    print(report.summary())


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
        outcomes = [Outcome(**row) for row in rows]
    except (pyarrow.ArrowException, OSError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not readable as a report of downloads ({str(error).splitlines()[0]}); "
            "delete it and run again, pictures that are there are recognised"
        ) from None
    return {outcome.id: outcome for outcome in outcomes}


def write_outcomes(path: Path | str, outcomes: Iterable[Outcome]) -> None:
    """Write a report, atomically."""
    import pyarrow
    import pyarrow.parquet

    rows = list(outcomes)
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Outcome)}
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns, schema=_schema()), temporary)


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    types = {"bytes": pa.int64(), "seconds": pa.float64(), "attempts": pa.int32(), "http_status": pa.int32()}
    return pa.schema([(field.name, types.get(field.name, pa.string())) for field in fields(Outcome)])


# What becomes of the items of one URL: kept, copied, fetched, or an account of why not.


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
        As `vtm.newsimages.download.download_pictures`.
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


# Pictures named by URLs, downloaded into a folder, with a report of what became of each.
#
# It needs urllib3 from 2.6 on, which unpacks no more than it is asked for. A run that was broken off, or in
# which some pictures failed, goes on where it stood when it is called again.


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


# The files of NewsImages from the dataset's repository, and the pictures from where the files say they are.


COMMIT = "9e19caad81a2e7fe4a6ef4171eb705a665a8d2af"
RAW = f"{REPOSITORY.replace('https://github.com', 'https://raw.githubusercontent.com')}/{COMMIT}/Data"
NEWS_HOST = "raw.githubusercontent.com"
TIMEOUT = 60.0  # seconds for a try at a file of 2 MB
MAX_NEWS_BYTES = 20_000_000
# GitHub takes a text that is not in UTF-8 for a binary file.
NEWS_KINDS = ("text/plain", "text/tab-separated-values", "application/octet-stream")


def fetch_files(
    folder: Path | None = None, *, get: Callable[[str], bytes] | None = None, progress: bool = True
) -> Path:
    """Put the five files and the ground truth into `folder` (by default in the data folder), if not there.

    The five are compared with their pinned SHA-256. The ground truth's is not known here: it is read, and kept
    when it is a ground truth.

    Parameters
    ----------
    get : URL -> content; by default an HTTPS request to GitHub alone, of at most 20 MB.

    Raises
    ------
    MissingError
        A file cannot be had from here; the message says which, from where, and where to put it.
    DataError
        What came is not the published file.
    """
    folder = data_dir() / "corpora" / "newsimages" if folder is None else folder
    get = _get if get is None else get
    for name, sha256 in {**FILES, GROUND_TRUTH: None}.items():
        if find_file(folder, name):
            continue
        if progress:
            print(f"fetching {name}", file=sys.stderr, flush=True)
        url = f"{RAW}/{name}"
        try:
            content = get(url)
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


def _get(url: str) -> bytes:
    from vtm import __version__

    fetcher = Fetcher(
        hosts=frozenset({NEWS_HOST}),
        per_host=1,
        timeout=TIMEOUT,
        user_agent=f"vtm/{__version__}",
        max_bytes=MAX_NEWS_BYTES,
        allow_private=False,
        kinds=NEWS_KINDS,
        accept=", ".join(NEWS_KINDS),
    )
    try:
        answer, _ = ask(fetcher, url, retries=3, backoff=0.5)
    finally:
        fetcher.close()
    if isinstance(answer, FetchError):
        raise OSError(str(answer))
    return answer.data


def fetch_pictures(
    news: NewsImages, folder: Path, *, any_host: bool = False, retry_lost: bool = False, **options: object
) -> DownloadReport:
    """Download the pictures of all batches; called again, it goes on where it stood.

    Parameters
    ----------
    any_host : follow redirects to hosts that the files do not name.
    options : of `vtm.newsimages.download.download_pictures`.
    """

    items = [(picture.iid, picture.url, picture.file) for picture in news.pictures]
    return download_pictures(
        items, folder, hosts={"*"} if any_host else None, retry_lost=retry_lost, **options
    )
