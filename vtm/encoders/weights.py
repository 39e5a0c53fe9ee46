"""What encoders with weights have in common: batches of one shape, the device, quiet loading."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vtm.errors import ConfigError, DataError, MissingError, VtmError
from vtm.files import data_dir, hash_file, hash_json, read_json, write_json

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


# Folders of weights from the Hugging Face hub: fetched once, hashed, and free to be copied elsewhere.
#
# Only `Download` uses the network. A folder is whole or not there: what has come waits beside it, so that a
# download that broke off goes on where it was.


RECORD = "vtm-files.json"


def weights_folder(encoder: str, name: str) -> Path:
    """Where the weights of that name belong: `weights/<encoder>/<name>` in the data folder."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    # Two names may look alike without their odd characters.
    mark = "" if plain == name else f"-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return data_dir() / "weights" / encoder / f"{plain}{mark}"


def how_to_get(spec: str) -> str:
    """The commands that bring the weights of an encoder like `clip:model=...` here."""
    return f"`{_prefetch(spec)}` fetches them; {how_to_bring(spec)}"


def how_to_bring(spec: str) -> str:
    """The two commands that bring an encoder's weights to a machine without a network."""
    there = shlex.quote(f"{socket.gethostname()}:{data_dir()}/")
    return (
        f"if there is no network here, run `VTM_DATA=vtm-weights {_prefetch(spec)}` on a machine that has "
        f"one, and then, there too, `rsync -a vtm-weights/ {there}`"
    )


def _prefetch(spec: str) -> str:
    return f"vtm prefetch --encoder {shlex.quote(spec)}"


def is_whole(folder: Path) -> bool:
    """Whether a fetched folder is there with all files of its record; a DataError where that is damaged."""
    return (folder / RECORD).is_file() and all((folder / name).is_file() for name in _recorded(folder))


def _recorded(folder: Path) -> dict[str, str]:
    """File -> SHA-256 of when the folder was fetched; nothing for a folder that was brought by other ways."""
    record = folder / RECORD
    if not record.is_file():
        return {}
    about = read_json(record)
    files = about.get("files") if isinstance(about, dict) else None
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise DataError(
            f"{record}: does not say what was fetched; delete the folder, and fetch or copy it again"
        )
    return files


def hash_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files in `folder`, each compared with the folder's record, if it has one.

    Raises
    ------
    DataError
        A file that is not what was fetched.
    """
    expected = _recorded(folder)
    found = {name: hash_file(folder / name) for name in names}
    for name, digest in found.items():
        if expected.get(name, digest) != digest:
            raise DataError(
                f"{folder / name}: SHA-256 is {digest}, recorded when it was fetched is {expected[name]}; "
                "delete the folder, and fetch or copy it again"
            )
    return found


class Download:
    """Puts a folder of weights together from files of the hub.

    Parameters
    ----------
    folder
        What will be there after `settle`.
    spec
        The encoder with its options, for messages.
    """

    def __init__(self, folder: Path, spec: str) -> None:
        self.folder = folder
        self.spec = spec
        self.waiting = folder.parent / f".{folder.name}.part"
        self._commits: dict[str, str] = {}
        self._names = cache(self._ask)

    def names(self, repository: str) -> tuple[str, ...]:
        """The files of a repository."""
        return tuple(self._names(repository))

    def file(self, repository: str, name: str) -> Path:
        """Fetch one file, unless it has come already.

        Raises
        ------
        MissingError
            It cannot be fetched.
        DataError
            Its SHA-256 is not the one that the hub states.
        """
        import huggingface_hub

        stated = self._names(repository).get(name)
        try:
            path = Path(
                huggingface_hub.hf_hub_download(
                    repository,
                    name,
                    revision=self._commits[repository],
                    local_dir=self.waiting / repository.replace("/", "--"),
                )
            )
        except Exception as error:  # of the HTTP client, of the hub, of the disk
            raise self._lost(f"{repository}/{name}", error) from error
        if stated and (found := hash_file(path)) != stated:
            path.unlink()
            raise DataError(
                f"{repository}/{name}: came damaged (SHA-256 {found}, not {stated}); fetch it again"
            )
        return path

    def settle(self, files: Mapping[str, Path], source: Mapping[str, Any]) -> Path:
        """Make the folder of the files, under these names, with a record of their SHA-256."""
        fresh = self.waiting / "folder"
        shutil.rmtree(fresh, ignore_errors=True)
        hashes = {name: hash_file(path) for name, path in files.items()}
        for name, path in files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, fresh / name)  # what has come stays, should this break off
            except OSError:
                shutil.copy2(path, fresh / name)
        record = {"source": dict(source), "commits": self._commits, "files": hashes}
        write_json(fresh / RECORD, record)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.rename(fresh, self.folder)
        shutil.rmtree(self.waiting, ignore_errors=True)
        return self.folder

    def _ask(self, repository: str) -> dict[str, str | None]:
        import huggingface_hub

        try:
            about = huggingface_hub.model_info(repository, files_metadata=True)
        except Exception as error:
            raise self._lost(repository, error) from error
        self._commits[repository] = about.sha
        return {file.rfilename: file.lfs.sha256 if file.lfs else None for file in about.siblings or ()}

    def _lost(self, what: str, error: Exception) -> VtmError:
        why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return MissingError(
            f"{what}: cannot be fetched from the Hugging Face hub ({why}); {how_to_bring(self.spec)}"
        )


# Folders with a model of transformers or sentence-transformers: a path, or fetched from the hub.


MODULES = "modules.json"  # makes a folder one of sentence-transformers; names the folders of its parts
ROUTERS = (
    "router_config.json",
    "config.json",
)  # either may name the folders of the parts that a part has itself
WIDEST = 1 << 20  # dimensions
SUFFIXES = (".json", ".txt", ".model", ".spm", ".safetensors", ".bin")


def find_folder(name: str, *, spec: str) -> Path:
    """The folder of a model: `name` itself, if it is one, or what was fetched under that name.

    Raises
    ------
    MissingError
        Neither; the message has the commands that bring it.
    """
    path = Path(name).expanduser()
    if (path / "config.json").is_file() or (path / MODULES).is_file():
        return path.absolute()
    if _is_path(name):
        raise MissingError(f"{name}: no folder with a model in it, which has a config.json")
    folder = weights_folder("sentence", name)
    if not is_whole(folder):
        raise MissingError(f"the model {name} is not in {folder.parent}; {how_to_get(spec)}")
    return folder


def fetch_folder(name: str, *, spec: str) -> Path:
    """As `find_folder`, but the model is fetched if it is not there.

    Raises
    ------
    MissingError
        The hub cannot be reached, or has no such model or no weights of it.
    DataError
        What came, or what was there, is damaged.
    """
    folder = weights_folder("sentence", name)
    if _is_path(name) or is_whole(folder):
        folder = find_folder(name, spec=spec)
        hash_folder(folder)  # raises where a file is damaged
        return folder
    download = Download(folder, spec)
    there = download.names(name)
    parts = _find_parts(lambda file: download.file(name, file) if file in there else None)
    wanted = _wanted(there, parts)
    if not any(file.endswith((".safetensors", ".bin")) for file in wanted):
        raise MissingError(f"{name}: the hub has no weights of it as safetensors or for PyTorch")
    return download.settle({file: download.file(name, file) for file in wanted}, source={"name": name})


def hash_folder(folder: Path) -> str:
    """Hash of a model: its weights, configuration and tokenizer or image processor.

    Raises
    ------
    DataError
        A file that is not what was fetched.
    """
    parts = all_parts(folder)
    files = (
        path
        for part in parts
        if os.path.isdir(folder / part)  # False for names that cannot be
        for path in (folder / part).glob("**/*" if part else "*")
    )
    names = {path.relative_to(folder).as_posix() for path in files if path.is_file()}
    return hash_json(hash_files(folder, _wanted(names, parts)))


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file with an object in it, as configurations are.

    Raises
    ------
    MissingError, DataError
        No such file, or it holds something else.
    """
    stated = read_json(path)
    if not isinstance(stated, dict):
        raise DataError(f"{path}: is not a model's configuration, a JSON object")
    return stated


def as_width(value: Any) -> int:
    """A number of dimensions that a configuration states; 0 for anything that is none."""
    return value if type(value) is int and 0 < value < WIDEST else 0


def _is_path(name: str) -> bool:
    return name.startswith(("/", "~", ".")) or Path(name).is_dir()


def read_parts(modules: Path) -> list[str]:
    """The folders of a sentence-transformers model's parts, in their order; "" is the folder of the model.

    Raises
    ------
    DataError
        The file does not say what the parts are, or one is in another folder or is not sentence-transformers' own: its
        code would be run.
    """
    stated = read_json(modules)
    whole = isinstance(stated, list) and all(
        isinstance(part, dict) and isinstance(part.get("path"), str) and isinstance(part.get("type"), str)
        for part in stated
    )
    if not whole:
        raise DataError(f"{modules}: is no list of a model's parts, with the path and the type of each")
    for part in stated:
        _check_part(modules, part["path"], part["type"])
    return [_joined(part["path"]) for part in stated]


def all_parts(folder: Path) -> list[str]:
    """The folders of a model and of all its parts, also of those inside a router; "" is that of the model.

    Raises
    ------
    DataError
        As `read_parts`.
    """
    return _find_parts(lambda file: folder / file if os.path.isfile(folder / file) else None)


def _find_parts(find: Callable[[str], Path | None]) -> list[str]:
    """As `all_parts`; `find` has the path of one of the model's files, None where there is no such file."""
    modules = find(MODULES)
    waiting = ["", *read_parts(modules)] if modules else []
    parts = dict.fromkeys(["", *waiting])
    while waiting:
        part = waiting.pop()
        for path in (find(_joined(part, name)) for name in ROUTERS):
            stated = read_json(path) if path else None
            types = stated.get("types") if isinstance(stated, dict) else None
            for name, kind in types.items() if isinstance(types, dict) else ():
                _check_part(path, name, str(kind))
                if (inner := _joined(part, name)) not in parts:
                    parts[inner] = None
                    waiting.append(inner)
    return list(parts)


def _joined(*names: str) -> str:
    path = PurePosixPath(*names)
    return str(path) if path.parts else ""


def _check_part(stated: Path, folder: str, kind: str) -> None:
    if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
        raise DataError(f"{stated}: the part {folder!r} is in another folder")
    if not kind.startswith("sentence_transformers."):
        raise DataError(f"{stated}: the part {kind!r} is code that came with the model, and is not run")


def _wanted(names: Iterable[str], parts: Iterable[str]) -> list[str]:
    """A model's files, in its folder and below those of its parts: no pickle beside safetensors, no ONNX and the like."""
    below = {PurePosixPath(part) for part in parts if part}
    files = [path for path in map(PurePosixPath, names) if path.suffix in SUFFIXES]
    mine = [path for path in files if len(path.parts) == 1 or below.intersection(path.parents)]
    safe = {path.parent for path in mine if path.suffix == ".safetensors"}
    return sorted(str(path) for path in mine if path.suffix != ".bin" or path.parent not in safe)
