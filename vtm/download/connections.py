"""Connections that are kept for the next request, and that end when their time is over."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import Url

from vtm.download.hosts import port_of

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
