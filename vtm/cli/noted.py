"""The corpus that a model was trained on, as the model notes it.

Its places are seen from the model's file: both can be moved together, and whoever gets the model does not see where they
lay.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vtm.cli.options import say
from vtm.errors import ConfigError, DataError, MissingError

if TYPE_CHECKING:
    from vtm.api import VisualTopicModel
    from vtm.corpora import Corpus

NOTE = "corpus"


def corpus_note(spec: str, path: Path) -> str:
    """A corpus as a model that is saved in `path` notes it."""
    from vtm.corpora import absolute_corpus, with_places

    folder = os.path.realpath(path.parent)
    # With a dot in front no folder is taken for one of our corpora.
    return with_places(
        absolute_corpus(spec), lambda place: os.path.join(".", os.path.relpath(_real(place), folder))
    )


def load_trained_corpus(model: VisualTopicModel, path: Path) -> Corpus:
    """The corpus that the model in `path` notes; stderr says which, and what of it cannot be used.

    Raises
    ------
    ConfigError, MissingError
        The model does not say which, or it cannot be read any more.
    """
    from vtm.config import parse_corpus
    from vtm.corpora import load_corpus, with_places

    spec = model.notes_.get(NOTE)
    if not isinstance(spec, str) or not spec.strip():
        raise ConfigError(
            f"{path}: does not say which corpus it was trained on, only a model of `vtm train` does; "
            "name the pictures"
        )
    folder = os.path.realpath(path.parent)
    try:
        spec = with_places(spec, lambda place: os.path.normpath(os.path.join(folder, place)))
        say(f"with the corpus that the model was trained on: {spec}")
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


def _real(path: Path | str) -> str:
    """A path without the links above it: only so does `..` lead where it says."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)
