"""The files of NewsImages from their repository, and the command that downloads the pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

import pytest
from hostile_server import HostileServer, picture
from news import write_news
from typer.testing import CliRunner

from vtm.cli import app
from vtm.errors import DataError, MissingError
from vtm.newsimages import download as module
from vtm.newsimages.corpus import GROUND_TRUTH, news_folder, read
from vtm.newsimages.download import DownloadReport, Outcome

runner = CliRunner()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """URL -> content of a small dataset that stands for the published one, its hashes pinned."""
    news = write_news(tmp_path / "published", pictures=False)
    files = {path.name: path.read_bytes() for path in news.folder.glob("*.tsv")}
    hashes = {n: hashlib.sha256(c).hexdigest() for n, c in files.items() if n != GROUND_TRUTH}
    monkeypatch.setattr(module, "FILES", hashes)
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("VTM_NEWSIMAGES", raising=False)
    return {f"{module.RAW}/{name}": content for name, content in files.items()}


def test_files_come_verified_and_only_once(
    published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def get(url: str) -> bytes:
        asked.append(url)
        return published[url]

    monkeypatch.setattr(module, "_get", get)
    folder = module.fetch_files(progress=False)
    assert sorted(asked) == sorted(published)
    assert folder == news_folder() and len(read().truth) == 40
    module.fetch_files(progress=False)
    assert len(asked) == len(published), "what is there is not asked for again"


def test_a_wrong_or_missing_file_is_named_and_not_kept(
    published: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched_from(contents: dict[str, bytes], folder: Path) -> None:
        monkeypatch.setattr(module, "_get", contents.__getitem__)
        module.fetch_files(folder, progress=False)

    url = f"{module.RAW}/content2019-02.tsv"
    with pytest.raises(DataError, match=r"content2019-02\.tsv: SHA-256 is"):
        fetched_from({**published, url: b"another"}, tmp_path / "a")
    assert not (tmp_path / "a" / "content2019-02.tsv").exists()
    assert (tmp_path / "a" / "content2019-01.tsv").exists(), "what came before stays"
    truth = f"{module.RAW}/{GROUND_TRUTH}"
    with pytest.raises(DataError):
        fetched_from({**published, truth: b"<html>"}, tmp_path / "b")
    assert not (tmp_path / "b" / GROUND_TRUTH).exists()

    def offline(url: str) -> bytes:
        raise OSError("no route to host")

    monkeypatch.setattr(module, "_get", offline)
    with pytest.raises(MissingError, match="no route to host.*put it into"):
        module.fetch_files(tmp_path / "c", progress=False)


def test_only_texts_of_the_repositorys_host_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer() as server:
        with pytest.raises(OSError, match="not one of the hosts that may be asked"):
            module._get(server.url("/text-plain/a.tsv"))
        monkeypatch.setattr(module, "RAW_HOST", "127.0.0.1")
        with pytest.raises(OSError, match="which is not public"):
            module._get(server.url("/text-plain/a.tsv"))
        assert not server.asked

        here = {"allow_private": True}
        assert module._get(server.url("/text-plain/a.tsv"), **here) == picture("/text-plain/a.tsv")
        with pytest.raises(OSError, match="is text/html, not text/plain"):
            module._get(server.url("/html/a.tsv"), **here)
        with pytest.raises(OSError, match="HTTP 404"):
            module._get(server.url("/missing/a.tsv"), **here)
        elsewhere = quote(server.url("/text-plain/b.tsv", host="localhost"), safe="")
        with pytest.raises(OSError, match="localhost is not one of the hosts"):
            module._get(server.url(f"/redirect/a.tsv?to={elsewhere}"), **here)
        with pytest.raises(OSError, match="more than [0-9]+ bytes"):
            module._get(server.url("/text-plain/a.tsv"), max_bytes=1000, **here)
    assert {asked["User-Agent"].partition("/")[0] for _, _, asked in server.asked} == {"vtm"}


def test_commands(published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_get", published.__getitem__)
    told = runner.invoke(app, ["fetch", "corpus:newsimages"])
    assert told.exit_code == 0 and str(tmp_path / "data" / "corpora" / "newsimages") in told.stdout
    assert "corpus:newsimages" in runner.invoke(app, ["fetch"]).stdout

    calls = []

    def download(items, folder, **options) -> DownloadReport:
        calls.append((items, folder, options))
        return DownloadReport(
            (Outcome("1", "u", "f", "lost", "not-found", "HTTP 404"),), folder / "r.parquet", 0
        )

    monkeypatch.setattr(module, "download_pictures", download)
    told = runner.invoke(app, ["fetch", "newsimages-images", "--workers", "3", "--any-host"])
    assert told.exit_code == 0, told.output
    assert "not-found" in told.stdout
    ((items, folder, options),) = calls
    assert items == [(p.iid, p.url, p.file) for p in read().pictures]
    assert folder == tmp_path / "data" / "corpora" / "newsimages" / "pictures"
    assert options["any_host"] is True and options["workers"] == 3


@pytest.mark.network
def test_the_published_files_are_still_there(tmp_path: Path) -> None:
    try:
        folder = module.fetch_files(tmp_path, progress=False)
    except MissingError as error:
        pytest.skip(f"no network: {error}")
    assert len(read(folder).truth) == 1915
