"""Other inputs for the same pairs: texts cut short, words to embed, both embeddings in one linear space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vtm.distill import Pairs
from vtm.encoders import embed_texts, load_named
from vtm.prepare import Prepared
from vtm.study.space import SharedSpace


def embed(data: Prepared, texts: Sequence[str]) -> np.ndarray:
    """Embeddings (n, D) of other texts by the text encoder that the data were embedded with."""
    experiment = data.experiment
    encoder = load_named(experiment.encoder, device=experiment.device, language=data.corpus.language)
    return embed_texts(encoder.text, list(texts), progress=False)


def first_words(text: str, n: int) -> str:
    """The first n words of a text, words being what blanks separate.

    >>> first_words("Bay at dusk. boat, sea.", 3)
    'Bay at dusk.'
    """
    return " ".join(text.split()[:n])


def shortened(data: Prepared, part: str, n: int) -> Pairs:
    """The part's pairs with each text cut to its first n words: embedded and counted anew, by the same vocabulary.

    Training pairs whose cut text has no known word are left out, as elsewhere; they would teach nothing.
    """
    texts = [first_words(text, n) for text in data.texts(part)]
    image = data.image[data.rows[part]]
    counts = data.vocabulary.counts(texts)
    pairs = Pairs(embed(data, texts), image, counts)
    return known(pairs) if part == "train" else pairs


def known(pairs: Pairs) -> Pairs:
    """The pairs whose text has a word of the vocabulary."""
    return chosen(pairs, np.flatnonzero(np.asarray(pairs.counts.sum(axis=1)).ravel() > 0))


def chosen(pairs: Pairs, rows: np.ndarray) -> Pairs:
    return Pairs(pairs.text[rows], pairs.image[rows], pairs.counts[rows])


def in_space(space: SharedSpace, pairs: Pairs) -> Pairs:
    """The pairs with both embeddings replaced by their places in a shared space, float32."""
    places = (np.float32(space.embed(reads, pairs.embeddings(reads))) for reads in ("text", "image"))
    return Pairs(*places, pairs.counts)
