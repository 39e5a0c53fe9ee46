"""Corpora of pairs (text, picture), each with what was dropped and why."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from vtm.config import parse_corpus
from vtm.corpora.base import Corpus, Dropped, split
from vtm.errors import ConfigError, DataError, MissingError, choice

__all__ = ["CORPORA", "Corpus", "Dropped", "absolute_corpus", "load_corpus", "split"]

CORPORA = {
    "openclipart": "Debian's Open Clip Art: drawings with titles, descriptions and keywords",
    "stamps": "Debian's Tux Paint stamps: pictures with one-line captions in many languages (lang=de ...)",
    "scenes": "pictures drawn by vtm itself, with captions; needs no download (n=400, seed=0)",
    "newsimages": "MediaEval 2021 NewsImages, the paper's own data: German news and their photographs "
    "(test=development without the ground truth)",
}
# Options of a corpus that name a file or a folder.
PLACES = ("folder", "pictures", "ground_truth")


def load_corpus(name_or_path: str | Path, /, **options: Any) -> Corpus:
    """Load a corpus by name, or a user's own table or folder of pictures by its path.

    Parameters
    ----------
    name_or_path
        "openclipart", "stamps", "scenes" or "newsimages"; or a CSV, TSV, Parquet or JSON Lines file, or a workbook; or a
        folder with a metadata.csv or metadata.jsonl (Hugging Face's imagefolder), or another of the forms that
        `vtm.corpora.table.load` lists.
    **options
        Passed to the corpus: `lang` for stamps; `n` and `seed` for scenes; `folder`, `pictures`,
        `ground_truth`, `test`, `separator`, `snippet` and `lang` for newsimages; `image_column`,
        `text_column`, `id_column`, `group_column`, `columns`, `encoding`, `captions`, `pictures` and `lang` for tables.

    Raises
    ------
    ConfigError
        Unknown name, or an option that this corpus does not have; the message lists the possible ones.
    MissingError
        The path does not exist, or the data cannot be fetched.
    DataError
        The data do not hold what they should.

    Examples
    --------
    >>> from vtm.corpora import load_corpus
    >>> corpus = load_corpus("scenes", n=60, seed=0)
    >>> len(corpus)
    60
    """
    name = str(name_or_path)
    if name in CORPORA:
        loader: Callable[..., Corpus] = importlib.import_module(module_of(name)).load
        arguments: tuple[Any, ...] = ()
    else:
        try:
            path = Path(name).expanduser()
            there = path.exists()
        except (
            OSError,
            RuntimeError,
        ) as error:  # a name too long for a file, no right to look, an unknown home
            why = getattr(error, "strerror", None) or error
            raise DataError(
                f"{name[:200]!r}: is not a corpus, and cannot be read as a file ({why})"
            ) from None
        if not there:
            typed, given = parse_corpus(name) if ":" in name else (name, {})
            if given and (typed in CORPORA or Path(typed).exists()):
                named = ", ".join([repr(typed), *(f"{option}={value!r}" for option, value in given.items())])
                raise ConfigError(f"{name!r}: in Python options are arguments, as in load_corpus({named})")
            if path.suffix or len(path.parts) > 1:
                raise MissingError(f"{path}: no such file or folder; the corpus is read from there")
            raise ConfigError(
                f"no corpus is called {name!r}: {choice(name, CORPORA)}, or give the path of "
                "a table (CSV, TSV, Parquet, JSON Lines) or of a folder with metadata.csv or metadata.jsonl"
            )
        loader = importlib.import_module("vtm.corpora.table").load
        arguments = (path,)
    possible = {
        option.name: option.annotation
        for option in inspect.signature(loader, eval_str=True).parameters.values()
        if option.kind is inspect.Parameter.KEYWORD_ONLY
    }
    if unknown := [option for option in options if option not in possible]:
        raise ConfigError(
            f"corpus {name} has no option {unknown[0]!r}; "
            + (f"its options are {', '.join(possible)}" if possible else "it has no options")
        )
    return loader(*arguments, **{key: _as_annotated(value, possible[key]) for key, value in options.items()})


def absolute_corpus(spec: str) -> str:
    """A corpus as it was named, for another working folder: its files and folders by their absolute paths.

    Links stay, and so does a table that is not there: its error names it as it was typed.

    >>> from vtm.corpora import absolute_corpus
    >>> absolute_corpus("stamps:lang=de"), absolute_corpus("newsimages:folder=/a/../news,lang=de")
    ('stamps:lang=de', 'newsimages:folder=/news,lang=de')
    """

    def absolute(path: str) -> str:
        return os.path.abspath(Path(path).expanduser())

    name = parse_corpus(spec)[0]
    return with_places(spec, absolute) if name in CORPORA or os.path.exists(absolute(name)) else spec


def with_places(spec: str, change: Callable[[str], str]) -> str:
    """A corpus as it was named, with its files and folders as `change` gives them; other options stay."""
    name, options = parse_corpus(spec)
    if name not in CORPORA:
        name = change(name)
    settings = (
        f"{option}={change(str(value)) if option in PLACES else value}" for option, value in options.items()
    )
    return f"{name}:{','.join(settings)}" if options else name


def module_of(corpus: str) -> str:
    """The module that reads a corpus, by name: it has `load` and `SOURCE`."""
    return "vtm.newsimages.corpus" if corpus == "newsimages" else f"vtm.corpora.{corpus}"


def _as_annotated(value: Any, annotation: Any) -> Any:
    """An option as its loader takes it: in `photos.csv:text_column=2019` the digits are a name, in `n=400` not."""
    types = get_args(annotation) or (annotation,)
    digits = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if digits and str in types and int not in types else value
