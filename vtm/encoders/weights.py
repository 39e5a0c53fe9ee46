"""What encoders with weights have in common: files of the hub, batches of one shape, the device, quiet loading."""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import data_dir, hash_file, read_json

# Matrix products may round differently for another shape. Shapes are therefore fixed: this many rows at a
# time, texts padded to a multiple of this many tokens. So a row does not depend on the rows beside it.
ROWS = 16
TOKENS = 16
# Longer texts are cut, by models that state no limit of their own.
LONGEST = 8192


def in_rows(
    encode: Callable[[np.ndarray], np.ndarray],
    batch: np.ndarray,
    *,
    dim: int,
    rows: int = ROWS,
    threads: int = 1,
) -> np.ndarray:
    """Embeddings (b, dim) of a batch (b, ...), `rows` at a time; the last ones are filled up with zeros.

    `encode` is called from up to `threads` threads at once.
    """
    embeddings = np.empty((len(batch), dim), dtype=np.float32)

    def fill(start: int) -> None:
        part = batch[start : start + rows]
        padded = np.zeros((rows, *batch.shape[1:]), dtype=batch.dtype)
        padded[: len(part)] = part
        embeddings[start : start + rows] = encode(padded)[: len(part)]

    starts = range(0, len(batch), rows)
    if min(threads, len(starts)) > 1:
        with ThreadPoolExecutor(threads) as pool:
            deque(pool.map(fill, starts), maxlen=0)  # raises what a call raised
    else:
        for start in starts:
            fill(start)
    return embeddings


def cores() -> int:
    """How many threads this process may keep busy: its share of the machine, or OMP_NUM_THREADS, if that is less.

    Ray tells its workers their number of CPUs by that variable.
    """
    from joblib import cpu_count

    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(cpu_count(), int(told)) if told.isdigit() and int(told) else cpu_count()


def embed_sentences(model: Any, texts: Sequence[str], *, dim: int) -> np.ndarray:
    """Embeddings (b, dim) of b texts by a SentenceTransformer, in batches of fixed shapes."""
    import torch

    embeddings = np.empty((len(texts), dim), dtype=np.float32)
    if not len(texts):
        return embeddings
    longest = min(model.max_seq_length or LONGEST, LONGEST)
    tokens = model.tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    # Texts of about the same length go together.
    lengths = np.array([len(row) for row in tokens])
    padded_length = np.minimum(-(-lengths // TOKENS) * TOKENS, longest)
    for length in np.unique(padded_length):
        same = np.flatnonzero(padded_length == length)
        for start in range(0, len(same), ROWS):
            rows = same[start : start + ROWS]
            part = [texts[row] for row in rows] + [""] * (ROWS - len(rows))
            features = model.tokenizer(
                part, padding="max_length", truncation=True, max_length=int(length), return_tensors="pt"
            )
            with torch.inference_mode():
                output = model(dict(features.to(model.device)))["sentence_embedding"]
            embeddings[rows] = output[: len(rows), :dim].float().cpu().numpy()
    return embeddings


def use_cuda(device: str) -> bool:
    """Whether PyTorch is to use CUDA: where there is one, unless `device` is "cpu".

    Raises
    ------
    ConfigError
        "cuda" where there is none.
    """
    if device == "cpu":
        return False
    import torch

    if torch.cuda.is_available():
        return True
    if device == "cuda":
        raise ConfigError("device cuda: PyTorch sees no CUDA device here; use device cpu or auto")
    return False


@contextmanager
def quiet_loading() -> Iterator[None]:
    """While weights are loaded: no bars off a terminal, and no talk of heads that are not used."""
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@dataclass(frozen=True)
class Hub:
    """Files of the Hugging Face hub, in huggingface_hub's own cache inside of the data folder.

    A model that has come whole stays at its commit, until it is deleted.

    Parameters
    ----------
    spec
        The encoder with its options, for messages.
    fetch
        Whether to fetch what is not here; otherwise the network is not used.
    """

    spec: str
    fetch: bool = False

    def snapshot(self, repository: str, *patterns: str, what: str, but: Sequence[str] = ()) -> Path:
        """The folder of a repository's files whose names fit the patterns, and do not fit those in `but`.

        Raises
        ------
        MissingError
            Not all are here, or they cannot be fetched; the message says how to get `what`, "the weights X are".
        """
        import huggingface_hub

        prefetch = f"vtm prefetch --encoder {shlex.quote(self.spec)}"
        elsewhere = (
            f"if there is no network here, run `VTM_DATA=vtm-weights {prefetch}` on a machine that has one, and "
            f"then, there too, `rsync -a vtm-weights/ {shlex.quote(f'{socket.gethostname()}:{data_dir()}/')}`"
        )
        where: dict[str, Any] = {
            "cache_dir": hub_folder(),
            "allow_patterns": patterns,
            "ignore_patterns": list(but),
        }
        try:
            folder = Path(huggingface_hub.snapshot_download(repository, local_files_only=True, **where))
            # A cache that another program filled may lack the list of what belongs to it.
            if self.names(repository) or not self.fetch:
                return folder
        except Exception as error:  # nothing, or not all
            if not self.fetch:
                told = f"{what} not in {hub_folder()}; `{prefetch}` fetches them; {elsewhere}"
                raise MissingError(told) from error
        if not sys.stderr.isatty():
            huggingface_hub.utils.disable_progress_bars()
        try:
            return Path(huggingface_hub.snapshot_download(repository, **where))
        except Exception as error:  # of the HTTP client, of the hub, of the disk
            why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise MissingError(
                f"{repository}: cannot be fetched from the Hugging Face hub ({why}); {elsewhere}"
            ) from error

    def names(self, repository: str) -> list[str]:
        """All files of a repository, here or not, of which a snapshot is here; none where the cache has no list."""
        import huggingface_hub

        try:
            tree = huggingface_hub.get_cached_repo_tree(repository, cache_dir=hub_folder())
        except huggingface_hub.errors.CachedRepoTreeNotFoundError:
            return []
        return [file.path for file in tree]


def hub_folder() -> Path:
    """Where what comes from the hub belongs."""
    return data_dir() / "weights" / "hub"


def read_object(path: Path, *, what: str = "a model's configuration, a JSON object") -> dict[str, Any]:
    """A JSON file with an object in it, as configurations are; a DataError where it holds something else."""
    stated = read_json(path)
    if not isinstance(stated, dict):
        raise DataError(f"{path}: is not {what}")
    return stated


def hash_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files in `folder`; those from the hub are compared with the hub's own hash.

    Raises
    ------
    DataError
        A file that is not what was fetched.
    """
    found = {name: hash_file(folder / name) for name in names}
    for name, digest in found.items():
        stored = (folder / name).resolve()
        if stored.parent.name != "blobs":
            continue
        # The hub's cache names files by their content: large ones by SHA-256, others as git does.
        if len(stored.name) != 64:
            content = stored.read_bytes()
            digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if digest != stored.name:
            raise DataError(
                f"{folder / name}: its hash is {digest}, that of what was fetched is {stored.name}; "
                f"delete the folder {stored.parent.parent}, and fetch or copy it again"
            )
    return found
