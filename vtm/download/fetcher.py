"""A URL's content from a server that need not be kind: limits, and redirects followed by hand."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urljoin

from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import DecodeError, HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3Timeout
from urllib3.util import Retry, Url

from vtm.download.connections import TROUBLE, Connections
from vtm.download.hosts import PORTS, FetchError, Host, Hosts, split_url

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
