"""Which hosts may be asked, at which addresses, and how often: what the threads of a download share.

A name is looked up once, its addresses are checked, and the caller connects to an address that was checked:
an answer of the name server that changes in between does no harm.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from urllib3.exceptions import HTTPError
from urllib3.util import Url, parse_url

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
