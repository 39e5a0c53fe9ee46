"""The corpus that a model was trained on: noted with the model, and found again from any folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vtm.commands.model_options import say
from vtm.errors import ConfigError, DataError, MissingError

if TYPE_CHECKING:
    from vtm.api import VisualTopicModel
    from vtm.corpora import Corpus

NOTE = "corpus"
# Options of a corpus that name a file or a folder.
_PLACES = ("folder", "pictures", "ground_truth")


def absolute_corpus(spec: str) -> str:
    """A corpus as it was named, its files and folders by their absolute paths; options stay.

    >>> absolute_corpus("stamps:lang=de"), absolute_corpus("/photos/../a.csv:text_column=title")
    ('stamps:lang=de', '/a.csv:text_column=title')
    """
    from vtm.config import parse_corpus
    from vtm.corpora import CORPORA

    name, options = parse_corpus(spec)
    if name not in CORPORA:
        return _absolute(name) + spec.strip()[len(name) :]
    settings = ",".join(
        f"{key}={_absolute(str(value)) if key in _PLACES else value}" for key, value in options.items()
    )
    return f"{name}:{settings}" if settings else name


def load_trained_corpus(model: VisualTopicModel, path: Path) -> Corpus:
    """The corpus that the model in `path` was trained on; stderr says which, and what of it cannot be used.

    Raises
    ------
    ConfigError, MissingError
        The model does not say which, or it cannot be read any more.
    """
    from vtm.config import parse_corpus
    from vtm.corpora import load_corpus

    spec = model.notes_.get(NOTE)
    if not isinstance(spec, str) or not spec.strip():
        raise ConfigError(
            f"{path}: does not say which corpus it was trained on, only a model of `vtm train` does; "
            "name the pictures"
        )
    say(f"with the corpus that the model was trained on: {spec}")
    try:
        name, options = parse_corpus(spec)
        corpus = load_corpus(name, **options)
    except (ConfigError, DataError, MissingError) as error:
        raise MissingError(
            f"{path}: was trained on {spec}, which cannot be read now ({error}); name the pictures"
        ) from None
    if corpus.dropped:
        counts = ", ".join(f"{count} {reason}" for reason, count in corpus.drop_counts().items())
        say(f"{len(corpus.dropped)} of its pairs are left out ({counts}), such as {corpus.dropped[0].id}")
    return corpus


def _absolute(path: str) -> str:
    return os.path.abspath(Path(path).expanduser())
