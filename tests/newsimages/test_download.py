"""Downloads from a server on this machine that is slow, breaks off, lies and sends clients in circles."""

from __future__ import annotations

import hashlib
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet
import pytest
from hostile_server import HostileServer, bomb, large_picture, picture

import vtm
from vtm.errors import ConfigError, DataError
from vtm.newsimages import web
from vtm.newsimages.download import USER_AGENT, DownloadReport, Outcome, download_pictures, read_outcomes
from vtm.newsimages.web import SILENT_LIMIT, host_name, is_public

QUICK = {
    "allow_private": True, "timeout": 5.0, "retries": 0, "backoff": 0.01, "max_bytes": 1_000_000,
    "progress": False,
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


def fetch(server: HostileServer, folder: Path, *paths: str, **options: object) -> DownloadReport:
    """Download paths of the server; the id is the path, the file its last part."""
    items = [(path, server.url(path), path.rpartition("/")[2]) for path in paths]
    return download_pictures(items, folder, **(QUICK | options))


def by_id(report: DownloadReport) -> dict[str, tuple[str, str]]:
    return {one.id: (one.status, one.reason) for one in report.outcomes}


# path -> status, reason, attempts (with one retry), HTTP status
EXPECTED = {
    "/good/plain.jpg": ("good", "fetched", 1, 200),
    "/png/a.png": ("good", "fetched", 1, 200),
    "/webp/a.webp": ("good", "fetched", 1, 200),
    "/gif/a.gif": ("good", "fetched", 1, 200),
    "/zipped/zipped.jpg": ("good", "fetched", 1, 200),
    "/drop-once/drop-once.jpg": ("good", "fetched", 2, 200),
    "/hops/5/five.jpg": ("good", "fetched", 1, 200),
    "/hops/6/six.jpg": ("failed", "too-many-redirects", 1, None),
    "/self/self.jpg": ("failed", "redirect-loop", 1, None),
    "/ping/ping.jpg": ("failed", "redirect-loop", 1, None),
    "/nowhere/nowhere.jpg": ("failed", "bad-redirect", 1, 302),
    "/dribble/dribble.jpg": ("failed", "timeout", 2, 200),
    "/dribble-headers/headers.jpg": ("failed", "timeout", 2, None),
    "/never-ends/never.jpg": ("failed", "timeout", 2, 200),
    "/says-nothing/nothing.jpg": ("failed", "timeout", 2, None),
    "/drop/drop.jpg": ("failed", "cut-off", 2, 200),
    "/drop-chunks/chunks.jpg": ("failed", "cut-off", 2, 200),
    "/hangs-up/hangs-up.jpg": ("failed", "connection", 2, None),
    "/broken/broken.jpg": ("failed", "http-500", 2, 500),
    "/missing/missing.jpg": ("lost", "not-found", 1, 404),
    "/gone/gone.jpg": ("lost", "gone", 1, 410),
    "/forbidden/forbidden.jpg": ("failed", "forbidden", 1, 403),
    "/html/html.jpg": ("failed", "content-type", 1, 200),
    "/text-plain/text.jpg": ("failed", "content-type", 1, 200),
    "/no-type/no-type.jpg": ("failed", "content-type", 1, 200),
    "/html-as-jpeg/liar.jpg": ("failed", "not-a-picture", 1, 200),
    "/bmp/bmp.jpg": ("failed", "not-a-picture", 1, 200),
    "/empty/empty.jpg": ("failed", "not-a-picture", 1, 200),
    "/truncated/50/t50.jpg": ("failed", "not-a-picture", 1, 200),
    "/truncated/98/t98.jpg": ("failed", "not-a-picture", 1, 200),
    "/many-pixels/pixels.png": ("failed", "too-many-pixels", 1, 200),
    "/badly-zipped/badly.jpg": ("failed", "content-encoding", 1, 200),
    "/brotli/brotli.jpg": ("failed", "content-encoding", 1, 200),
    "/bomb/bomb.jpg": ("failed", "too-many-bytes", 1, 200),
    "/huge/ended.jpg": ("failed", "too-many-bytes", 1, 200),
    "/huge/chunks.jpg-chunks": ("failed", "too-many-bytes", 1, 200),
    "/claims-huge/claims.jpg": ("failed", "too-many-bytes", 1, 200),
}  # fmt: skip


@pytest.fixture(scope="module")
def ordeal(tmp_path_factory) -> Iterator[tuple[HostileServer, Path, DownloadReport]]:
    """All of the server's answers in one download."""
    folder = tmp_path_factory.mktemp("pictures")
    bomb(), large_picture(), *map(picture, EXPECTED)  # made beforehand, so that they come in time
    with HostileServer() as server:
        options = {"retries": 1, "timeout": 1.0, "per_host": 8, "user_agent": "a browser"}
        yield server, folder, fetch(server, folder, *EXPECTED, **options)


@pytest.mark.parametrize("path", EXPECTED)
def test_every_answer_has_its_outcome(ordeal, path):
    server, folder, report = ordeal
    outcome = next(one for one in report.outcomes if one.id == path)
    assert (outcome.status, outcome.reason, outcome.attempts, outcome.http_status) == EXPECTED[path]
    assert (folder / outcome.file).exists() == (outcome.status == "good")
    assert bool(outcome.detail) == (outcome.status != "good")
    if not path.startswith(("/hops", "/ping", "/self")):
        assert server.counts()[path] == outcome.attempts


def test_what_is_saved_is_what_was_sent(ordeal):
    server, folder, report = ordeal
    kinds = {"png": "PNG", "webp": "WEBP", "gif": "GIF"}
    good = [one for one in report.outcomes if one.status == "good"]
    for outcome in good:
        path = "/good/five.jpg" if "hops" in outcome.id else outcome.id
        sent = picture(path, kind=kinds[path.split("/")[1]]) if path.split("/")[1] in kinds else picture(path)
        assert (folder / outcome.file).read_bytes() == sent
        assert (outcome.bytes, outcome.sha256) == (len(sent), hashlib.sha256(sent).hexdigest())
        assert outcome.final_url == server.url(path)
    assert {path.name for path in folder.iterdir()} == {one.file for one in good} | {"downloads.parquet"}


def test_the_report_is_a_table_that_says_the_same(ordeal):
    _, folder, report = ordeal
    assert report.path == folder / "downloads.parquet"
    rows = pyarrow.parquet.read_table(report.path).to_pylist()
    assert {row["id"]: Outcome(**row) for row in rows} == {one.id: one for one in report.outcomes}
    expected = [status for status, *_ in EXPECTED.values()]
    assert report.status_counts() == {
        status: expected.count(status) for status in ("good", "lost", "failed", "refused")
    }
    assert report.reason_counts("failed")["timeout"] == 4
    said = report.summary()
    assert f"7 of {len(EXPECTED)} pictures" in said
    assert "lost            2" in said and "/missing/missing.jpg" in said


def test_an_endless_body_is_left_after_the_limit(ordeal):
    server, _, _ = ordeal
    # Two of them; what is under way in the buffers comes on top of the limit of a million.
    assert server.n_sent < 2 * 12_000_000


def test_servers_see_the_browser_and_no_wish_for_packing(ordeal):
    server, _, _ = ordeal
    for _, _, headers in server.asked:
        assert (headers["User-Agent"], headers["Accept-Encoding"]) == ("a browser", "identity")
        assert headers["Host"] == f"127.0.0.1:{server.port}"


def test_a_browser_s_name_is_told_with_ours(server, tmp_path):
    fetch(server, tmp_path, "/good/a.jpg")
    (asked,) = server.asked
    assert asked[2]["User-Agent"] == USER_AGENT
    assert USER_AGENT.startswith("Mozilla/5.0") and USER_AGENT.endswith(f" vtm/{vtm.__version__}")


def test_retries_end_with_the_first_good_answer(server, tmp_path):
    report = fetch(server, tmp_path, "/shaky/a.jpg", retries=5)
    assert [(one.status, one.attempts) for one in report.outcomes] == [("good", 3)]
    assert server.counts() == {"/shaky/a.jpg": 3}


def test_a_host_that_asks_for_a_pause_gets_it_from_everyone(server, tmp_path):
    paths = ["/busy-once/1.jpg", "/good/2.jpg", "/good/3.jpg"]
    assert fetch(server, tmp_path, *paths, retries=1, workers=1).status_counts()["good"] == 3
    first, *later = [when for _, when, _ in server.asked]
    assert len(later) == 3 and min(later) >= first + 1


def test_a_host_that_asks_for_a_day_is_left_alone(server, tmp_path):
    paths = ["/busy-for-long/1.jpg", "/good/2.jpg", "/good/3.jpg"]
    report = fetch(server, tmp_path, *paths, retries=3, workers=1)
    assert [one.reason for one in report.outcomes] == ["rate-limited"] * 3
    assert [(one.attempts, one.http_status) for one in report.outcomes] == [(1, 503), (0, None), (0, None)]
    assert len(server.asked) == 1


def test_no_more_requests_at_once_than_a_host_may_get(server, tmp_path):
    server.delay = 0.02
    paths = [f"/good/{n}.jpg" for n in range(24)]
    fetch(server, tmp_path, *paths, workers=8, per_host=3)
    assert server.most_at_once == 3
    assert server.n_connections <= 3  # they are used again


def test_a_connection_that_was_closed_meanwhile_is_opened_again(server, tmp_path):
    report = fetch(server, tmp_path, *(f"/bye/{n}.jpg" for n in range(4)), workers=1, retries=1)
    assert report.status_counts()["good"] == 4 and server.n_connections == 4


def test_a_host_that_never_answers_is_given_up(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        items = [(str(n), f"{url}/{n}", f"{n}.jpg") for n in range(SILENT_LIMIT + 10)]
        report = download_pictures(items, tmp_path, workers=1, **QUICK)
    assert report.reason_counts("failed") == {"connection": SILENT_LIMIT, "host-silent": 10}


def test_odd_urls_arrive_as_a_browser_sends_them(server, tmp_path):
    url = server.url("/good/a b/%C3%BC/ü.jpg?x=1&y=ä#part")
    report = download_pictures([("a", f" {url}\n", "a.jpg")], tmp_path, **QUICK)
    assert [path for path, _, _ in server.asked] == ["/good/a%20b/%C3%BC/%C3%BC.jpg?x=1&y=%C3%A4"]
    assert by_id(report) == {"a": ("good", "fetched")}


def redirect(server: HostileServer, to: str) -> str:
    return server.url(f"/redirect/?to={quote(to, safe='')}")


@pytest.mark.parametrize(
    ("to", "outcome"),
    [
        ("http://localhost:{port}/good/a.jpg", ("refused", "refused-host")),
        ("//localhost:{port}/good/a.jpg", ("refused", "refused-host")),
        ("file:///etc/passwd", ("refused", "refused-scheme")),
        ("ftp://127.0.0.1/a.jpg", ("refused", "refused-scheme")),
        ("http://127.0.0.1@localhost:{port}/good/a.jpg", ("refused", "bad-url")),
        ("http://[::1/good/a.jpg", ("failed", "bad-redirect")),
        ("/missing/a.jpg", ("lost", "not-found")),
        ("../good/ü.jpg", ("good", "fetched")),
    ],
)
def test_redirects_lead_nowhere_that_urls_may_not(server, tmp_path, to, outcome):
    url = redirect(server, to.format(port=server.port))
    report = download_pictures([("a", url, "a.jpg")], tmp_path, **QUICK)
    assert by_id(report) == {"a": outcome}
    assert (tmp_path / "a.jpg").exists() == (outcome[0] == "good")
    assert not [path for path, _, headers in server.asked if "localhost" in headers["Host"]]


@pytest.mark.parametrize("named", [True, False])
def test_redirects_to_hosts_that_are_named_or_to_any(server, tmp_path, named):
    url = redirect(server, server.url("/good/a.jpg", host="localhost"))
    items = [("a", url, "a.jpg"), ("b", server.url("/missing/b", host="LOCALHOST."), "b.jpg")]
    report = download_pictures(items if named else items[:1], tmp_path, any_host=not named, **QUICK)
    assert by_id(report)["a"] == ("good", "fetched")
    assert report.outcomes[0].final_url == server.url("/good/a.jpg", host="localhost")


def test_urls_that_are_refused_are_not_asked(server, tmp_path):
    urls = {
        "file": "file:///etc/passwd", "data": "data:image/png;base64,AAAA", "none": "", "word": "a.jpg",
        "user": f"http://me:pw@127.0.0.1:{server.port}/good/a.jpg", "open": "http://[::1/a.jpg",
    }  # fmt: skip
    items = [(name, url, f"{name}.jpg") for name, url in urls.items()]
    report = download_pictures(items, tmp_path, **QUICK)
    assert report.status_counts()["refused"] == len(urls)
    assert {one.id: one.reason for one in report.outcomes} == {
        **dict.fromkeys(("file", "data", "none", "word"), "refused-scheme"),
        "user": "bad-url", "open": "bad-url",
    }  # fmt: skip
    assert not any(one.attempts for one in report.outcomes) and not server.asked


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]"]
)
def test_this_machine_is_refused_unless_asked_for(server, tmp_path, host):
    items = [("a", server.url("/good/a.jpg", host=host), "a.jpg")]
    report = download_pictures(items, tmp_path, **(QUICK | {"allow_private": False, "any_host": True}))
    assert by_id(report) == {"a": ("refused", "refused-address")}
    assert not server.asked


def test_which_addresses_are_public():
    closed = """10.0.0.1 172.16.5.5 192.168.1.1 127.0.0.1 169.254.169.254 100.64.0.1 0.0.0.0 255.255.255.255
        224.0.0.1 192.0.2.1 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fec0::1 ff02::1 2001:db8::1 ::ffff:10.0.0.1
        64:ff9b::7f00:1 2002:7f00:1:: ::127.0.0.1 ::8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b:1::7f00:1
        64:ff9b:1:ffff::8.8.8.8"""
    assert [address for address in closed.split() if is_public(address)] == []
    assert all(map(is_public, ["8.8.8.8", "185.15.59.224", "2a02:ec80:300:ed1a::1", "64:ff9b::808:808"]))


def test_names_of_hosts_are_compared_as_the_web_does():
    assert host_name("http://WWW.Example.ORG./a") == "www.example.org"
    assert host_name("https://köln.example") == "xn--kln-sna.example"
    assert host_name("http://[::1]:80/") == "[::1]" and host_name("http://a b") == ""


class Names:
    """A name server that answers once a name, and then something else."""

    def __init__(self, monkeypatch, **answers: list[str]) -> None:
        self.answers, self.asked, self.real = answers, [], socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host, port, *rest, **options):
        if not host.endswith(".test"):
            return self.real(host, port, *rest, **options)
        self.asked.append(host)
        addresses = self.answers[host.split(".")[0]] if self.asked.count(host) == 1 else ["127.0.0.9"]
        return [info for address in addresses for info in self.real(address, port, *rest, **options)]


def test_the_connection_goes_to_the_address_that_was_checked(server, tmp_path, monkeypatch):
    """The name server's second answer, at the second connection, is checked as the first one was."""
    names = Names(monkeypatch, pictures=["127.0.0.1"])
    monkeypatch.setattr(web, "is_public", lambda address: address == "127.0.0.1")
    items = [
        (str(n), server.url(f"/{path}/{n}.jpg", host="pictures.test"), f"{n}.jpg")
        for n, path in enumerate(["good", "good", "good", "bye", "good"])
    ]
    report = download_pictures(items, tmp_path, workers=1, **(QUICK | {"allow_private": False}))
    assert [one.reason for one in report.outcomes] == ["fetched"] * 4 + ["refused-address"]
    assert names.asked == ["pictures.test"] * 2 and server.n_connections == 1
    assert {headers["Host"] for _, _, headers in server.asked} == {f"pictures.test:{server.port}"}


def test_a_name_with_one_private_address_is_refused(server, tmp_path, monkeypatch):
    Names(monkeypatch, mixed=["8.8.8.8", "127.0.0.1"])
    items = [("a", server.url("/good/a.jpg", host="mixed.test"), "a.jpg")]
    report = download_pictures(items, tmp_path, **(QUICK | {"allow_private": False}))
    assert by_id(report) == {"a": ("refused", "refused-address")} and not server.asked


def test_the_next_address_is_tried_when_one_does_not_answer(server, tmp_path, monkeypatch):
    Names(monkeypatch, two=["127.0.0.5", "127.0.0.1"])
    items = [("a", server.url("/good/a.jpg", host="two.test"), "a.jpg")]
    assert download_pictures(items, tmp_path, **QUICK).status_counts()["good"] == 1


def test_unknown_names_are_failures(tmp_path):
    items = [("a", "http://there-is-no-such-host.invalid/a.jpg", "a.jpg")]
    assert by_id(download_pictures(items, tmp_path, **QUICK)) == {"a": ("failed", "dns")}


def test_tls_verifies_the_name_in_the_url(server, tmp_path, monkeypatch):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=pictures.test",
    ]
    command += ["-addext", "subjectAltName=DNS:pictures.test", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not here to make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    Names(monkeypatch, pictures=["127.0.0.1"], others=["127.0.0.1"])
    hosts = {"right": "pictures.test", "wrong": "others.test"}
    items = [
        (name, f"https://{host}:{server.port}/good/a.jpg", f"{name}.jpg") for name, host in hosts.items()
    ]
    items.append(("slow", f"https://pictures.test:{server.port}/dribble/a.jpg", "slow.jpg"))
    report = download_pictures(items, tmp_path / "pictures", **(QUICK | {"timeout": 0.7, "workers": 1}))
    assert by_id(report) == {
        "right": ("good", "fetched"), "wrong": ("failed", "certificate"), "slow": ("failed", "timeout"),
    }  # fmt: skip


BAD_NAMES = ["../out.jpg", "/tmp/out.jpg", "a/b.jpg", "a\\b.jpg", "..", ".", "", "a\0.jpg", "a\n.jpg",
             ".hidden.jpg", "NUL.jpg", "con", "a.jpg.", "a.jpg ", "C:a.jpg", "a" * 201, "ä" * 101,
             "downloads.parquet"]  # fmt: skip


def test_no_name_leads_out_of_the_folder(server, tmp_path):
    folder = tmp_path / "in" / "pictures"
    items = [(f"{n}", server.url(f"/good/{n}"), name) for n, name in enumerate(BAD_NAMES)]
    report = download_pictures(items, folder, **QUICK)
    assert [one.reason for one in report.outcomes] == ["bad-name"] * len(BAD_NAMES)
    assert report.status_counts()["refused"] == len(BAD_NAMES) and not server.asked
    everything = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert everything == {folder / "downloads.parquet"}


def test_a_folder_in_a_pictures_place_is_left(server, tmp_path):
    (tmp_path / "a.jpg").mkdir()
    items = [(name, server.url("/good/1"), f"{name}.jpg") for name in "ab"]
    report = download_pictures(items, tmp_path, **QUICK)
    assert by_id(report) == {"a": ("refused", "bad-name"), "b": ("good", "fetched")}
    assert (tmp_path / "a.jpg").is_dir()


@pytest.mark.parametrize("name", ["same.jpg", "SAME.jpg"])
def test_one_name_for_two_urls_is_an_error(server, tmp_path, name):
    items = [("one", server.url("/good/1"), "same.jpg"), ("two", server.url("/good/2"), name)]
    with pytest.raises(DataError, match=r"one and two .*/good/1 and .*/good/2"):
        download_pictures(items, tmp_path, **QUICK)
    with pytest.raises(DataError, match="id one"):
        download_pictures([("one", "http://a", "a"), ("one", "http://b", "b")], tmp_path, **QUICK)
    assert not server.asked


def test_a_url_is_fetched_once_for_all_its_items(server, tmp_path):
    url = server.url("/good/x")
    items = [("a", url, "a.jpg"), ("b", url, "b.jpg"), ("c", url, "a.jpg")]
    report = download_pictures(items, tmp_path, **QUICK)
    assert by_id(report) == {"a": ("good", "fetched"), "b": ("good", "copied"), "c": ("good", "copied")}
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes() == picture("/good/x")
    (tmp_path / "b.jpg").unlink()
    assert by_id(download_pictures(items, tmp_path, **QUICK))["b"] == ("good", "copied")
    assert len(server.asked) == 1


def test_a_second_run_asks_only_for_what_may_come(server, tmp_path):
    paths = ["/good/1.jpg", "/good/2.jpg", "/missing/3.jpg", "/gone/4.jpg", "/forbidden/5.jpg", "/html/6.jpg"]
    first = fetch(server, tmp_path, *paths)
    server.asked.clear()
    second = fetch(server, tmp_path, *paths)
    assert server.counts() == {"/forbidden/5.jpg": 1, "/html/6.jpg": 1}
    assert by_id(second) == by_id(first) and second.outcomes[:4] == first.outcomes[:4]
    assert (first.n_kept, second.n_kept) == (0, 4)
    server.asked.clear()
    fetch(server, tmp_path, *paths, retry_lost=True)
    assert set(server.counts()) == set(paths[2:])


def test_other_items_leave_the_rows_of_earlier_ones(server, tmp_path):
    fetch(server, tmp_path, "/good/1.jpg", "/missing/2.jpg")
    report = fetch(server, tmp_path, "/good/3.jpg")
    assert [one.id for one in report.outcomes] == ["/good/3.jpg"]
    assert set(read_outcomes(report.path)) == {"/good/1.jpg", "/missing/2.jpg", "/good/3.jpg"}


def test_an_item_whose_url_changed_is_a_new_one(server, tmp_path):
    download_pictures([("a", server.url("/missing/a"), "a.jpg")], tmp_path, **QUICK)
    report = download_pictures([("a", server.url("/good/a"), "a.jpg")], tmp_path, **QUICK)
    assert by_id(report) == {"a": ("good", "fetched")}


def test_a_damaged_file_is_fetched_again(server, tmp_path):
    fetch(server, tmp_path, "/good/1.jpg", "/good/2.jpg")
    # A whole picture, but another one.
    (tmp_path / "1.jpg").write_bytes(picture("another"))
    report = fetch(server, tmp_path, "/good/1.jpg", "/good/2.jpg")
    assert (tmp_path / "1.jpg").read_bytes() == picture("/good/1.jpg")
    assert server.counts() == {"/good/1.jpg": 2, "/good/2.jpg": 1} and report.n_kept == 1


def test_a_damaged_file_that_is_not_to_be_had_again_is_not_taken_for_good(server, tmp_path):
    path = "/moody/1.jpg"
    good = fetch(server, tmp_path, path)
    (tmp_path / "1.jpg").write_bytes(picture("another"))
    outcomes = [by_id(fetch(server, tmp_path, path))[path] for _ in range(2)]
    assert outcomes == [("lost", "not-found")] * 2 and len(server.asked) == 2
    assert by_id(fetch(server, tmp_path, path, retry_lost=True)) == by_id(good)
    assert (tmp_path / "1.jpg").read_bytes() == picture(path)


def test_a_lost_file_that_is_brought_back_is_found(server, tmp_path):
    fetch(server, tmp_path, "/missing/1.jpg")
    (tmp_path / "1.jpg").write_bytes(picture("brought by hand"))
    assert by_id(fetch(server, tmp_path, "/missing/1.jpg")) == {"/missing/1.jpg": ("good", "found")}


def test_without_its_report_what_is_there_is_recognised(server, tmp_path):
    paths = [f"/good/{n}.jpg" for n in range(4)]
    report = fetch(server, tmp_path, *paths)
    report.path.unlink()
    (tmp_path / "1.jpg").write_bytes(picture("/good/1.jpg")[:-200])
    (tmp_path / ".2.jpg.abcdefgh.tmp").write_bytes(b"half of it")
    (tmp_path / ".keep.tmp").write_bytes(b"not ours")
    server.asked.clear()
    again = fetch(server, tmp_path, *paths)
    assert [one.reason for one in again.outcomes] == ["found", "fetched", "found", "found"]
    assert [one.sha256 for one in again.outcomes] == [one.sha256 for one in report.outcomes]
    assert server.counts() == {"/good/1.jpg": 1}
    assert {path.name for path in tmp_path.glob(".*")} == {".keep.tmp"}


RUN = """
import signal, sys
from vtm.newsimages.download import download_pictures
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
items = [tuple(line.split()) for line in sys.stdin]
download_pictures(items, sys.argv[1], allow_private=True, save_every=int(sys.argv[2]), workers=3, retries=0)
"""
SAVE_EVERY, WORKERS = 8, 3


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_broken_off_goes_on_where_it_stood(server, tmp_path, how):
    paths = [f"/{'missing' if n % 4 == 0 else 'good'}/{n}.jpg" for n in range(160)]
    hangs = "/says-nothing/hangs.jpg"  # so that something is under way when the signal comes
    server.delay = 0.01
    items = [(path, server.url(path), path.rpartition("/")[2]) for path in [*paths[:30], hangs, *paths[30:]]]
    command = [sys.executable, "-c", RUN, str(tmp_path), str(SAVE_EVERY)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdin.write("".join(" ".join(item) + "\n" for item in items))
    process.stdin.close()
    while len(server.asked) < 40 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(how)
    with process.stderr:
        said = process.stderr.read()
    assert process.wait(timeout=20) == -how, said
    asked_before = set(server.counts())
    assert hangs in asked_before and 40 <= len(asked_before) < len(paths)
    recorded = read_outcomes(tmp_path / "downloads.parquet")
    unrecorded = asked_before - set(recorded)
    assert hangs in unrecorded and server.n_given_up == 0  # Ctrl-C did not wait for it
    assert len(unrecorded) <= (SAVE_EVERY if how == signal.SIGKILL else WORKERS)

    server.delay = 0.0
    report = fetch(server, tmp_path, *paths, workers=WORKERS)
    assert report.status_counts() == {"good": 120, "lost": 40, "failed": 0, "refused": 0}
    twice = {path for path, times in server.counts().items() if times > 1}
    assert max(server.counts().values()) <= 2 and twice <= unrecorded
    # Pictures that were there without a row were recognised: only what was under way is asked for again.
    assert len([path for path in twice if "good" in path]) <= WORKERS
    for path in paths:
        if "good" in path:
            assert (tmp_path / path.rpartition("/")[2]).read_bytes() == picture(path)
    assert not list(tmp_path.glob(".*"))


def test_what_comes_while_the_report_is_written_is_counted_too(server, tmp_path, monkeypatch):
    saved, unsaved = [0], []

    def write(_path, rows):
        n_rows, n_asked = len(list(rows)), -1
        while n_asked != len(server.asked):  # until the workers have nothing more to do
            n_asked = len(server.asked)
            time.sleep(0.05)
        unsaved.append(n_asked - saved[-1])
        saved.append(n_rows)

    monkeypatch.setattr("vtm.newsimages.download.write_outcomes", write)
    fetch(server, tmp_path, *(f"/good/{n}.jpg" for n in range(40)), workers=2, save_every=10)
    assert saved[-1] == 40 and 1 < max(unsaved) <= 10


def test_a_file_that_is_no_report_is_an_error(server, tmp_path):
    (tmp_path / "downloads.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match=r"downloads\.parquet: .* delete it"):
        fetch(server, tmp_path, "/good/1.jpg")


@pytest.mark.parametrize(
    "options",
    [{"workers": 0}, {"per_host": 0}, {"timeout": 0}, {"retries": -1}, {"save_every": 0}, {"max_bytes": 0},
     {"backoff": -1}],
)  # fmt: skip
def test_parameters_that_cannot_be_used(tmp_path, options):
    with pytest.raises(ConfigError):
        download_pictures([("a", "http://127.0.0.1:9/", "a.jpg")], tmp_path, **(QUICK | options))


def test_nothing_to_do_is_done(tmp_path):
    report = download_pictures([], tmp_path / "new", progress=False)
    assert report.outcomes == () and read_outcomes(report.path) == {}
