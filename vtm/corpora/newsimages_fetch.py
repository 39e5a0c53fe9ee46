"""The files of NewsImages from the dataset's repository, and the pictures from where the files say they are."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vtm.corpora.newsimages_files import NewsImages
from vtm.corpora.newsimages_tsv import FILES, GROUND_TRUTH, REPOSITORY, find_file, read_ground_truth
from vtm.errors import DataError, MissingError
from vtm.files import atomic_path
from vtm.paths import data_dir

if TYPE_CHECKING:
    from vtm.download import DownloadReport

COMMIT = "9e19caad81a2e7fe4a6ef4171eb705a665a8d2af"
RAW = f"{REPOSITORY.replace('https://github.com', 'https://raw.githubusercontent.com')}/{COMMIT}/Data"
HOST = "raw.githubusercontent.com"
TIMEOUT = 60.0  # seconds for a try at a file of 2 MB
MAX_BYTES = 20_000_000
# GitHub takes a text that is not in UTF-8 for a binary file.
KINDS = ("text/plain", "text/tab-separated-values", "application/octet-stream")


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
    from vtm.download.fetcher import Fetcher
    from vtm.download.hosts import FetchError
    from vtm.download.settle import ask

    fetcher = Fetcher(
        hosts=frozenset({HOST}),
        per_host=1,
        timeout=TIMEOUT,
        user_agent=f"vtm/{__version__}",
        max_bytes=MAX_BYTES,
        allow_private=False,
        kinds=KINDS,
        accept=", ".join(KINDS),
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
    options : of `vtm.download.download_pictures`.
    """
    from vtm.download import download_pictures

    items = [(picture.iid, picture.url, picture.file) for picture in news.pictures]
    return download_pictures(
        items, folder, hosts={"*"} if any_host else None, retry_lost=retry_lost, **options
    )
