"""A web server on this machine that misbehaves in every way that pictures on the web do.

The first part of a path says how it answers, as in `/truncated/7.jpg`; the rest makes paths, and the pictures
behind them, different.
"""

from __future__ import annotations

import gzip
import io
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

# Between two bytes of an answer that dribbles.
DRIBBLE = 0.03
# How long an answer that does not come is waited for by those who ought to send it.
PATIENCE = 10.0


@cache
def picture(path: str, *, kind: str = "JPEG", size: tuple[int, int] = (48, 32)) -> bytes:
    """A picture full of noise that depends on the path."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(zlib.crc32(path.encode())).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind)
    return stream.getvalue()


@cache
def large_picture() -> bytes:
    """256 megapixels, above the limit for pictures, in some kilobytes."""
    from PIL import Image

    stream = io.BytesIO()
    Image.new("1", (16000, 16000)).save(stream, "PNG")
    return stream.getvalue()


class HostileServer(ThreadingHTTPServer):
    """Serves on a free port of 127.0.0.1 while it is a context; notes what it was asked.

    Attributes
    ----------
    asked
        Path, time and headers of every request, in order.
    n_connections, most_at_once
        How many connections there were, and how many requests for `/good` at the same time.
    n_given_up
        How many answers of `/says-nothing` ended because the server lost patience.
    n_sent
        Bytes of the endless answers that were sent.
    delay
        Seconds before an answer to `/good`.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, float, dict[str, str]]] = []
        self.n_connections = self.at_once = self.most_at_once = self.n_sent = self.n_given_up = 0
        self.delay = 0.0
        self.lock = threading.Lock()
        self.over = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are what this is for."""

    @property
    def port(self) -> int:
        return self.server_address[1]

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def counts(self) -> Counter[str]:
        """How often each path was asked for."""
        return Counter(path for path, _, _ in list(self.asked))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HostileServer

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.n_connections += 1

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.asked.append((self.path, time.monotonic(), dict(self.headers)))
        with suppress(ConnectionError):
            BEHAVIOURS[self.path.split("/")[1]](self)

    def times(self) -> int:
        return self.server.counts()[self.path]

    def send(
        self, body: bytes, *, status: int = 200, kind: str = "image/jpeg", length: bool = True, **headers: str
    ) -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        if length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def dribble(self, data: bytes) -> None:
        for position in range(len(data)):
            if self.server.over.wait(DRIBBLE):
                break
            self.wfile.write(data[position : position + 1])


def good(handler: Handler) -> None:
    server = handler.server
    with server.lock:
        server.at_once += 1
        server.most_at_once = max(server.most_at_once, server.at_once)
    server.over.wait(server.delay)
    with server.lock:
        server.at_once -= 1
    handler.send(picture(handler.path))


def dribble(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "image/jpeg")
    handler.send_header("Content-Length", str(len(picture(handler.path))))
    handler.end_headers()
    handler.dribble(picture(handler.path))


def dribble_headers(handler: Handler) -> None:
    handler.dribble(b"HTTP/1.1 200 OK\r\n" + b"X-Wait: a little\r\n" * 50)
    handler.hang_up()


def never_ends(handler: Handler) -> None:
    """A whole picture without a length, and the connection stays open."""
    handler.send(picture(handler.path), length=False, Connection="close")
    handler.server.over.wait(PATIENCE)


def bye(handler: Handler) -> None:
    """A picture, and then the connection is closed without a word."""
    handler.send(picture(handler.path))
    handler.hang_up()


def says_nothing(handler: Handler) -> None:
    if not handler.server.over.wait(PATIENCE):
        handler.server.n_given_up += 1


def drop(handler: Handler) -> None:
    body = picture(handler.path)
    handler.send_response(200)
    handler.send_header("Content-Type", "image/jpeg")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.hang_up()


def drop_once(handler: Handler) -> None:
    (drop if handler.times() == 1 else good)(handler)


def drop_chunks(handler: Handler) -> None:
    handler.send(b"", length=False, Transfer_Encoding="chunked")
    half = picture(handler.path)[:500]
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(half), half))
    handler.hang_up()


def hangs_up(handler: Handler) -> None:
    handler.hang_up()


def truncated(handler: Handler) -> None:
    """The part of a picture that the path says, as `/truncated/60/1.jpg`, with the right length."""
    body = picture(handler.path)
    handler.send(body[: len(body) * int(handler.path.split("/")[2]) // 100])


def redirect(handler: Handler) -> None:
    handler.send(b"", status=302, Location=parse_qs(urlsplit(handler.path).query)["to"][0])


def hops(handler: Handler) -> None:
    """So many redirects, as `/hops/3/1.jpg`, then a picture."""
    left, rest = handler.path.split("/", 3)[2:]
    handler.send(
        b"", status=301, Location=f"/hops/{int(left) - 1}/{rest}" if int(left) > 1 else f"/good/{rest}"
    )


def loop(handler: Handler) -> None:
    there = handler.path.replace("/ping/", "/pong/") if "/ping/" in handler.path else None
    handler.send(b"", status=302, Location=there or handler.path.replace("/pong/", "/ping/"))


def busy_once(handler: Handler) -> None:
    if handler.times() == 1:
        handler.send(b"slowly, please", status=429, kind="text/plain", Retry_After="1")
    else:
        good(handler)


def busy_for_long(handler: Handler) -> None:
    handler.send(b"tomorrow", status=503, kind="text/plain", Retry_After="86400")


def moody(handler: Handler) -> None:
    """A picture the first time, and every other time; in between there is none."""
    if handler.times() % 2:
        good(handler)
    else:
        handler.send(html(), status=404, kind="text/html")


def shaky(handler: Handler) -> None:
    if handler.times() <= 2:
        handler.send(b"oh", status=500, kind="text/plain")
    else:
        good(handler)


def huge(handler: Handler) -> None:
    """JPEG's first bytes, then more and more; in chunks, or until the connection's end, which never comes."""
    chunked = "chunks" in handler.path
    handler.send(
        b"", length=False, **({"Transfer_Encoding": "chunked"} if chunked else {"Connection": "close"})
    )
    block = picture(handler.path)[:1000] + bytes(64_000)
    while not handler.server.over.is_set():
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        with handler.server.lock:
            handler.server.n_sent += len(block)


def claims_huge(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "image/jpeg")
    handler.send_header("Content-Length", str(10**15))
    handler.end_headers()


@cache
def bomb() -> bytes:
    return gzip.compress(bytes(40_000_000))


def html() -> bytes:
    return b"<!DOCTYPE html><title>Nothing here</title>" + b"<p>Sorry.</p>" * 50


def answer(body: Callable[[str], bytes], **options: object) -> Callable[[Handler], None]:
    return lambda handler: handler.send(body(handler.path), **options)


BEHAVIOURS: dict[str, Callable[[Handler], None]] = {
    "good": good,
    "png": answer(lambda path: picture(path, kind="PNG"), kind="image/png"),
    "webp": answer(lambda path: picture(path, kind="WEBP"), kind="image/webp"),
    "gif": answer(lambda path: picture(path, kind="GIF"), kind="image/gif"),
    "bmp": answer(lambda path: picture(path, kind="BMP"), kind="image/bmp"),
    "zipped": answer(lambda path: gzip.compress(picture(path)), Content_Encoding="gzip"),
    "badly-zipped": answer(picture, Content_Encoding="gzip"),
    "brotli": answer(picture, Content_Encoding="br"),
    "dribble": dribble,
    "dribble-headers": dribble_headers,
    "never-ends": never_ends,
    "bye": bye,
    "says-nothing": says_nothing,
    "drop": drop,
    "drop-once": drop_once,
    "drop-chunks": drop_chunks,
    "hangs-up": hangs_up,
    "truncated": truncated,
    "redirect": redirect,
    "nowhere": answer(lambda _: b"", status=302),
    "hops": hops,
    "ping": loop,
    "pong": loop,
    "self": lambda handler: handler.send(b"", status=302, Location=handler.path),
    "html": answer(lambda _: html(), kind="text/html; charset=utf-8"),
    "html-as-jpeg": answer(lambda _: html()),
    "text-plain": answer(picture, kind="text/plain"),
    "no-type": answer(picture, kind=""),
    "empty": answer(lambda _: b""),
    "many-pixels": answer(lambda _: large_picture(), kind="image/png"),
    "missing": answer(lambda _: html(), status=404, kind="text/html"),
    "gone": answer(lambda _: html(), status=410, kind="text/html"),
    "forbidden": answer(lambda _: html(), status=403, kind="text/html"),
    "broken": answer(lambda _: b"oh", status=500, kind="text/plain"),
    "busy-once": busy_once,
    "busy-for-long": busy_for_long,
    "moody": moody,
    "shaky": shaky,
    "huge": huge,
    "claims-huge": claims_huge,
    "bomb": answer(lambda _: bomb(), Content_Encoding="gzip"),
}
