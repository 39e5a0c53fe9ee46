"""The content of a URL, from a server that need not be kind."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urljoin

from urllib3 import BaseHTTPResponse, PoolManager, Retry
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import DecodeError, HTTPError
from urllib3.exceptions import TimeoutError as Urllib3Timeout
from urllib3.util import Url, parse_url

from vtm.errors import ConfigError

HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
# A host that asks for a longer pause than this is left alone until the next run.
MAX_PAUSE = 120.0  # seconds
# A host that gave no answer so many times in a row is asked no more.
SILENT_LIMIT = 40
MAX_HOPS = 5
REDIRECTS = (301, 302, 303, 307, 308)
# The answers that may be different a moment later.
PASSING = (408, 425, 429, 500, 502, 503, 504)
REASONS = {403: "forbidden", 404: "not-found", 410: "gone", 429: "rate-limited"}
ENCODINGS = ("", "identity", "gzip", "x-gzip", "deflate")
# The page of an error is read up to here, so that the connection can be used again.
MAX_ERROR_PAGE = 1 << 16
CHUNK = 1 << 16
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Nobody's on the open internet, and some systems lead them to the IPv4 address inside: IPv4-compatible (RFC 4291,
# 2.5.5.1), IPv4-translated (RFC 7915) and local NAT64 (RFC 8215). Python counts them as global.
TRANSLATED = tuple(map(ipaddress.ip_network, ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48")))
# All that asking and reading may raise.
TROUBLE = (HTTPError, http.client.HTTPException, OSError, ValueError)


class FetchError(Exception):
    """Why a URL gave nothing; `reason` is the word that a report counts by."""

    def __init__(self, reason: str, detail: str, *, retry: bool = False, status: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry = retry  # it may go better a moment later
        self.status = status  # of the last answer over HTTP
        self.url = ""  # the one that failed, after the redirects before it
        self.attempts = 0  # how many times a server was asked


@dataclass(frozen=True)
class Body:
    """What a URL gave."""

    data: bytes  # unpacked
    url: str  # after redirects
    status: int = 200
    attempts: int = 1


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
    if parts.scheme not in ("http", "https"):
        raise FetchError("refused-scheme", f"not http or https: {url[:200]!r}")
    if not HOST.fullmatch(parts.host or "") or parts.auth is not None:
        raise FetchError("bad-url", f"no host, or a user name before it: {url[:200]!r}")
    return parts


def host_name(url: str) -> str:
    """The name of a URL's host as names are compared: lower case, IDNA, without a final dot; "" if there is none."""
    with suppress(FetchError):
        return (split_url(url).host or "").rstrip(".")
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


class _Exchange:
    """A request and its answer, which `cut` ends: a socket's own timeout begins anew with every byte."""

    def __init__(self, allow_private: bool) -> None:
        self.allow_private = allow_private
        self.is_cut = False
        self._sock: socket.socket | None = None

    def hold(self, sock: socket.socket) -> None:
        self._sock = sock
        if self.is_cut:
            self.cut()

    def cut(self) -> None:
        self.is_cut = True
        if self._sock is not None:
            # Not SSLSocket.shutdown, which takes the TLS state away from under the thread that reads.
            with suppress(OSError):
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


# The exchange of each thread: a connection comes from urllib3's pool, and is told nothing of whom it serves.
_current = threading.local()


class _Checked:
    """A connection to an address that was checked: what a name server says afterwards does no harm."""

    host: str
    port: int
    timeout: Any
    sock: socket.socket

    def _new_conn(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self.host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise FetchError("dns", f"{self.host}: {error}", retry=True) from None
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        private = [address for address in addresses if not is_public(address)]
        if private and not _current.exchange.allow_private:
            raise FetchError("refused-address", f"{self.host} is at {private[0]}, which is not public")
        for address in addresses:
            try:
                # A share of the time each, so that one that does not answer leaves time for the others.
                return socket.create_connection((address, self.port), self.timeout / len(addresses))
            except OSError as error:
                failure = error
        raise failure

    def request(self, *given: object, **options: object) -> None:
        super().request(*given, **options)  # type: ignore[misc]
        _current.exchange.hold(self.sock)


class _Http(_Checked, HTTPConnection):
    pass


class _Https(_Checked, HTTPSConnection):
    pass


@dataclass
class _Host:
    """What the threads know of a host."""

    slots: threading.Semaphore
    not_before: float = 0.0  # by time.monotonic()
    silent: int = 0  # tries without an answer, in a row


@dataclass
class Fetcher:
    """Gets one URL at a time for each of several threads.

    Only http and https URLs of the named hosts at public addresses are asked, and every redirect is checked like the
    first URL. Proxies of the environment are not used: they look names up by themselves, so nobody could check the
    address.

    Raises
    ------
    ConfigError
        A value that cannot be used.
    """

    hosts: frozenset[str] | None  # names as `host_name` gives them; None for any
    user_agent: str
    kinds: tuple[str, ...]  # patterns of the content types that are taken
    accept: str  # how a server is asked for them
    max_bytes: int = 20_000_000  # of the content, unpacked
    per_host: int = 4  # requests to one host at the same time
    # For a try, from the look-up of the name to the last byte, redirects included; waiting for one's turn comes on top.
    timeout: float = 20.0  # seconds
    retries: int = 3  # after connection errors, timeouts and the answers in PASSING
    backoff: float = 0.5  # seconds before the first retry; twice as many before each further one
    allow_private: bool = False  # loopback, private and link-local addresses, too
    _hosts: dict[str, _Host] = field(default_factory=dict)
    _under_way: set[_Exchange] = field(default_factory=set)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        for name in ("per_host", "max_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.timeout <= 0 or self.retries < 0 or self.backoff < 0:
            raise ConfigError(
                f"timeout={self.timeout}, retries={self.retries}, backoff={self.backoff}: the first must be "
                "positive, the others not negative"
            )
        self._pools = PoolManager(
            maxsize=self.per_host, retries=False, ssl_context=ssl.create_default_context()
        )

    def get(self, url: str) -> Body:
        """The content at `url`, asked for again where that may help.

        Raises
        ------
        FetchError
            There is none, or none that is allowed; "stopped" after `stop`.
        """
        attempts, status, again = 0, None, 0
        while True:
            try:
                return replace(self._try(url), attempts=attempts + 1)
            except FetchError as error:
                attempts += error.attempts
                error.attempts, error.status = attempts, error.status or status
                status = error.status
                if not error.retry or again == self.retries:
                    raise
            self._stopping.wait(self.backoff * 2**again)
            again += 1

    def stop(self) -> None:
        """Cut off what is under way and refuse what comes: `get` ends at once, in every thread."""
        self._stopping.set()
        for exchange in list(self._under_way):
            exchange.cut()

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pools.clear()

    def _try(self, url: str) -> Body:
        left, asked = self.timeout, list[str]()
        try:
            while True:
                parts = split_url(url)
                if self.hosts is not None and host_name(url) not in self.hosts:
                    raise FetchError(
                        "refused-host", f"{parts.host} is not one of the hosts that may be asked"
                    )
                if url in asked:
                    raise FetchError("redirect-loop", f"redirected to {url} again")
                if len(asked) > MAX_HOPS:
                    raise FetchError("too-many-redirects", f"more than {MAX_HOPS} redirects")
                host = self._hosts.setdefault(parts.host or "", _Host(threading.Semaphore(self.per_host)))
                with self._turn(host):
                    asked.append(url)
                    started = time.monotonic()
                    found = self._exchange(host, url, left)
                left -= time.monotonic() - started
                if isinstance(found, bytes):
                    return Body(found, url)
                if left <= 0:
                    raise FetchError("timeout", "the redirects took too long", retry=True)
                url = found
        except FetchError as error:
            # The last one was not asked, if there was no address to ask at.
            error.url, error.attempts = url, int(len(asked) > (error.reason in ("dns", "refused-address")))
            raise

    @contextmanager
    def _turn(self, host: _Host) -> Iterator[None]:
        """Wait until the host may be asked, and hold one of its slots meanwhile."""
        with host.slots:
            if host.silent >= SILENT_LIMIT:
                raise FetchError("host-silent", f"no answer {SILENT_LIMIT} times in a row; run again later")
            pause = host.not_before - time.monotonic()
            if pause > MAX_PAUSE:
                raise FetchError(
                    "rate-limited", f"the host asks for a pause of {pause:.0f} s; run again later"
                )
            if self._stopping.wait(max(pause, 0)):
                raise FetchError("stopped", "the download was stopped")
            yield

    def _exchange(self, host: _Host, url: str, left: float) -> bytes | str:
        """The content, or the URL to go on with, within `left` seconds."""
        exchange, answered = _Exchange(self.allow_private), False
        timer = threading.Timer(left, exchange.cut)
        timer.daemon = True
        _current.exchange = exchange
        self._under_way.add(exchange)
        if self._stopping.is_set():
            exchange.cut()
        timer.start()
        headers = {"User-Agent": self.user_agent, "Accept": self.accept, "Accept-Encoding": "identity"}
        pool = self._pools.connection_from_url(url)
        pool.ConnectionCls = _Https if pool.scheme == "https" else _Http  # type: ignore[assignment]
        try:
            response = pool.request(
                "GET", split_url(url).request_uri, headers=headers, timeout=left, redirect=False,
                preload_content=False,
            )  # fmt: skip
            try:
                # Headers that we cut off look like headers that came to their end.
                if exchange.is_cut:
                    raise TimeoutError
                answered, host.silent = True, 0
                found = self._read(host, url, response)
            finally:
                response.close()  # a connection that was not read to its end cannot be used again
                response.release_conn()
            # A body that ends with its connection looks whole when we cut it off.
            if exchange.is_cut and isinstance(found, bytes):
                raise TimeoutError
            return found
        except (FetchError, *TROUBLE) as error:
            failure = self._explain(error, answered, exchange.is_cut)
            if not answered and failure.reason != "refused-address":
                host.silent += 1
            raise failure from error
        finally:
            timer.cancel()
            self._under_way.discard(exchange)

    def _read(self, host: _Host, url: str, response: BaseHTTPResponse) -> bytes | str:
        status, headers = response.status, response.headers
        if status != 200:
            with suppress(*TROUBLE):
                _content(response, MAX_ERROR_PAGE, decode=False)
            if status in REDIRECTS:
                return _location(url, status, headers.get("location", "").strip())
            if status in (429, 503):
                with suppress(HTTPError, ValueError, OverflowError):
                    pause = Retry().parse_retry_after(headers.get("retry-after", "0"))
                    host.not_before = max(host.not_before, time.monotonic() + pause)
            reason = REASONS.get(status, f"http-{status}")
            raise FetchError(reason, f"HTTP {status}", retry=status in PASSING, status=status)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = headers.get("content-encoding", "").strip().lower()
        length = headers.get("content-length", "")
        if not any(fnmatchcase(kind, pattern) for pattern in self.kinds):
            found, wanted = kind[:80] or "of no stated type", " or ".join(self.kinds)
            raise FetchError("content-type", f"is {found}, not {wanted}", status=200)
        if encoding not in ENCODINGS:
            raise FetchError("content-encoding", f"packed as {encoding[:80]!r}", status=200)
        too_long = length.isdecimal() and int(length) > self.max_bytes
        data = None if too_long else _content(response, self.max_bytes, decode=True)
        if data is None:
            raise FetchError("too-many-bytes", f"more than {self.max_bytes} bytes", status=200)
        return data

    def _explain(self, error: Exception, answered: bool, is_cut: bool) -> FetchError:
        if self._stopping.is_set():
            return FetchError("stopped", "the download was stopped")
        if isinstance(error, FetchError):
            return error
        status = 200 if answered else None
        causes = (error, *error.args)
        if is_cut or any(isinstance(cause, Urllib3Timeout | TimeoutError) for cause in causes):
            detail = f"no whole answer in {self.timeout:g} s"
            return FetchError("timeout", detail, retry=True, status=status)
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return FetchError("certificate", str(error))
        if isinstance(error, DecodeError):
            return FetchError("content-encoding", f"cannot be unpacked ({error})", status=status)
        return FetchError("cut-off" if answered else "connection", str(error), retry=True, status=status)


def _content(response: BaseHTTPResponse, limit: int, *, decode: bool) -> bytes | None:
    """The whole content, or None when it is longer than `limit` bytes."""
    data = bytearray()
    for chunk in response.stream(CHUNK, decode_content=decode):
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)


def _location(url: str, status: int, location: str) -> str:
    if not location:
        raise FetchError("bad-redirect", "redirected to nowhere", status=status)
    # Headers are read as Latin-1; what servers write raw is UTF-8.
    with suppress(UnicodeError):
        location = location.encode("latin-1").decode("utf-8")
    try:
        return urljoin(url, location)
    except ValueError:
        raise FetchError("bad-redirect", f"redirected to {location[:200]!r}", status=status) from None
