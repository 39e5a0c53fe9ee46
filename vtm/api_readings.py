"""What a fitted model reads in pictures and texts: their topics, and which pictures fit which texts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.api_fit import theta_of
from vtm.api_inputs import as_embeddings, as_images, as_texts, picture_names
from vtm.api_topics import Topics
from vtm.corpora import Dropped
from vtm.errors import ConfigError, DataError
from vtm.ranking import top_items

if TYPE_CHECKING:
    from vtm.api_encoding import Encoding
    from vtm.topicmodel import TopicModel


class ModelWarning(UserWarning):
    """Pairs or pictures were left out, or there is reason to doubt a trained model."""


class Readings(Topics):
    """The part of `vtm.api.VisualTopicModel` that reads pictures and texts."""

    text_model_: TopicModel
    image_model_: TopicModel
    progress: bool
    _encoding: Encoding

    def transform(
        self,
        images: Sequence[Any] | None = None,
        *,
        image_embeddings: np.ndarray | None = None,
        errors: str = "nan",
    ) -> np.ndarray:
        """Topic distributions of pictures.

        Parameters
        ----------
        images : n pictures, as for `fit`.
        image_embeddings : (n, E), in place of pictures; both together are refused.
        errors
            "nan": a picture that cannot be used gets a row of NaN, so that row i is picture i, and a warning names
            it. "raise": it is an error.

        Returns
        -------
        (n, K) float32
            Rows sum to 1. A picture's row does not depend on the others.

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> theta = model.fit(corpus.texts, corpus.images).transform(corpus.images[:3])
        >>> theta.sum(axis=1).round(3).tolist()
        [1.0, 1.0, 1.0]
        """
        if errors not in ("nan", "raise"):
            raise ConfigError(f"errors={errors!r}: must be 'nan' or 'raise'")
        theta, bad = self._image_theta(images, image_embeddings)
        if bad and errors == "raise":
            raise DataError(f"{len(bad)} of {len(theta)} pictures cannot be used; the first: {bad[0].detail}")
        if bad:
            warnings.warn(_unusable(bad, len(theta), "their rows are NaN"), ModelWarning, stacklevel=2)
        return theta

    def transform_blocks(self, images: Sequence[Any]) -> Iterator[tuple[np.ndarray, tuple[Dropped, ...]]]:
        """Topic distributions of very many pictures, some hundred at a time, in their order.

        Yields
        ------
        theta : (b, K) float32
            Of the next b pictures; NaN for those that cannot be used.
        dropped : tuple of vtm.corpora.Dropped
            These, with the reason.

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> model = model.fit(corpus.texts, corpus.images)
        >>> sum(len(theta) for theta, dropped in model.transform_blocks(corpus.images))
        120
        """
        self._check_fitted()
        images = as_images(images)
        names = picture_names(images, len(images))
        for block in self._encoding.blocks(images, names, progress=self.progress):
            yield self._theta_of_rows(block.embeddings), block.dropped

    def transform_text(
        self, texts: Sequence[str] | None = None, *, text_embeddings: np.ndarray | None = None
    ) -> np.ndarray:
        """Topic distributions of n texts, or else of their embeddings (n, D): (n, K) float32, rows sum to 1.

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> model.fit(corpus.texts, corpus.images).transform_text(["a boat on the sea"]).shape
        (1, 8)
        """
        self._check_fitted()
        _check_one("texts", texts, "text_embeddings", text_embeddings)
        if text_embeddings is not None:
            return theta_of(self.text_model_, as_embeddings(text_embeddings, "text_embeddings"))
        return theta_of(self.text_model_, self._encoding.texts(as_texts(texts), progress=self.progress))

    def rank(
        self,
        texts: Sequence[str] | None = None,
        images: Sequence[Any] | None = None,
        *,
        top: int = 100,
        text_embeddings: np.ndarray | None = None,
        image_embeddings: np.ndarray | None = None,
        measure: str = "cosine",
    ) -> tuple[np.ndarray, np.ndarray]:
        """The pictures whose topics are most like each text's; `explain` gives the reason.

        Parameters
        ----------
        texts, images, text_embeddings, image_embeddings
            n texts and m pictures, or their embeddings; of each one, not both.
        top
            At most so many pictures for each text.
        measure
            "cosine", "dot", "hellinger" or "jensen-shannon" (`vtm.ranking.similarity`).

        Returns
        -------
        positions : (n, min(top, m)) int64
            Of pictures, best first; equal ones in their order. Pictures that cannot be used are not ranked, and a
            warning names them.
        similarities : of the same shape, float64

        Raises
        ------
        NotFittedError, ConfigError, DataError, MissingError

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> model = model.fit(corpus.texts, corpus.images)
        >>> positions, similarities = model.rank(["a boat on the sea"], corpus.images, top=3)
        >>> positions.shape, bool(similarities[0, 0] >= similarities[0, 1])
        ((1, 3), True)
        """
        self._check_fitted()
        _check_one("images", images, "image_embeddings", image_embeddings)  # before the texts are embedded
        text = self.transform_text(texts, text_embeddings=text_embeddings)
        image, bad = self._image_theta(images, image_embeddings)
        usable = np.flatnonzero(~np.isnan(image).any(axis=1))
        if bad and len(usable):
            warnings.warn(_unusable(bad, len(image), "they are not ranked"), ModelWarning, stacklevel=2)
        if not len(text) or not len(usable):
            why = f"; the first: {bad[0].detail}" if bad else ""
            raise DataError(f"{len(text)} texts and {len(usable)} usable pictures: nothing to rank{why}")
        places = [f"{row:012d}" for row in usable]  # sorted as the numbers are
        positions, similarities = top_items(text, image[usable], places, k=top, measure=measure)
        return usable[positions], similarities

    def _image_theta(self, images: Any, image_embeddings: Any) -> tuple[np.ndarray, tuple[Dropped, ...]]:
        """Theta (n, K) of pictures or their embeddings, NaN for those that cannot be used."""
        self._check_fitted()
        _check_one("images", images, "image_embeddings", image_embeddings)
        if image_embeddings is not None:
            return theta_of(self.image_model_, as_embeddings(image_embeddings, "image_embeddings")), ()
        images = as_images(images)
        names = picture_names(images, len(images))
        x, bad = self._encoding.images(images, names, progress=self.progress)
        return self._theta_of_rows(x), bad

    def _theta_of_rows(self, x: np.ndarray) -> np.ndarray:
        theta = np.full((len(x), self.image_model_.n_topics), np.nan, dtype=np.float32)
        usable = ~np.isnan(x).any(axis=1)
        theta[usable] = theta_of(self.image_model_, x[usable])
        return theta


def _check_one(name: str, given: Any, other: str, embeddings: Any) -> None:
    if given is None and embeddings is None:
        raise ConfigError(f"give {name}, or {other} in their place")
    if given is not None and embeddings is not None:
        raise ConfigError(f"give {name} or {other}, not both: the embeddings would be taken alone")


def _unusable(bad: Sequence[Dropped], n: int, so: str) -> str:
    named = ", ".join(item.id for item in bad[:5]) + (", ..." if len(bad) > 5 else "")
    return f"{len(bad)} of {n} pictures cannot be used, {so}: {named}"
