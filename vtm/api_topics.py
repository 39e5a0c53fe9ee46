"""What a fitted model says of its topics: keywords, labels, and why a picture fits a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.exceptions import NotFittedError as SklearnNotFittedError

from vtm.errors import ConfigError, DataError, VtmError
from vtm.labels import ORDERS, RELEVANCE_WEIGHT, class_tfidf, relevance, top_words

if TYPE_CHECKING:
    from vtm.api_fit import Fitted


class NotFittedError(VtmError, SklearnNotFittedError):
    """A model is asked for something before it is fitted."""


@dataclass(frozen=True)
class SharedTopic:
    """A topic that a text and a picture have in common.

    Attributes
    ----------
    topic : its number.
    text, picture : its probability in the text and in the picture.
    contribution : its part of the cosine of the two; those of all topics sum to 1.
    words : its keywords.
    """

    topic: int
    text: float
    picture: float
    contribution: float
    words: tuple[str, ...]


class Topics:
    """The part of `vtm.api.VisualTopicModel` that shows topics."""

    _fitted: Fitted

    def topics(
        self,
        top: int = 10,
        *,
        reads: str = "image",
        order: str = "relevance",
        weight: float = RELEVANCE_WEIGHT,
    ) -> list[list[str]]:
        """Keywords of each topic, best first.

        Parameters
        ----------
        top
            How many words.
        reads
            "image" or "text": whose model's words.
        order
            "relevance" (`vtm.labels.relevance`), "probability" in the topic, or "ctfidf"
            (`vtm.labels.class_tfidf`: of the texts of `fit`, by their pictures' topics, whatever `reads` says).
        weight
            Of relevance, the paper's lambda: 1 is the order of probability, less brings forward what is rare in
            other topics.

        Raises
        ------
        NotFittedError, ConfigError

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=40, validation=0)
        >>> topics = model.fit(corpus.texts, corpus.images).topics(top=5)
        >>> len(topics), len(topics[0])
        (8, 5)
        """
        self._check_fitted()
        if order not in ORDERS:
            raise ConfigError(f"order={order!r}: must be one of {', '.join(ORDERS)}")
        if reads not in ("image", "text"):
            raise ConfigError(f"reads={reads!r}: must be image or text")
        fitted = self._fitted
        model = fitted.image_model if reads == "image" else fitted.text_model
        if order == "ctfidf":
            scores = class_tfidf(fitted.topic_counts)
        else:
            weight = weight if order == "relevance" else 1.0
            scores = relevance(model.topic_word(), fitted.topic_share, weight=weight)
        return top_words(scores, model.vocabulary, top)

    def topic_labels(
        self,
        words: int = 3,
        *,
        separator: str = ", ",
        reads: str = "image",
        order: str = "relevance",
        weight: float = RELEVANCE_WEIGHT,
    ) -> list[str]:
        """A short name of each topic: its first keywords; `reads`, `order` and `weight` as for `topics`.

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=40, validation=0)
        >>> labels = model.fit(corpus.texts, corpus.images).topic_labels(words=2, separator=" and ")
        >>> [len(label.split(" and ")) for label in labels]
        [2, 2, 2, 2, 2, 2, 2, 2]
        """
        topics = self.topics(words, reads=reads, order=order, weight=weight)
        return [separator.join(topic) for topic in topics]

    def explain(
        self, text_theta: np.ndarray, image_theta: np.ndarray, *, top: int = 3, words: int = 5
    ) -> tuple[SharedTopic, ...]:
        """The topics by which a picture fits a text, those that add most to their cosine first.

        Parameters
        ----------
        text_theta, image_theta : (K,)
            A row of `transform_text` and a row of `transform`.
        top, words
            How many topics, and keywords of each.

        Raises
        ------
        NotFittedError, DataError
            Not fitted, or not two topic distributions of this model.

        Examples
        --------
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> model = model.fit(corpus.texts, corpus.images)
        >>> text, picture = model.transform_text(corpus.texts[:1])[0], model.transform(corpus.images[:1])[0]
        >>> reasons = model.explain(text, picture, top=8)
        >>> round(sum(reason.contribution for reason in reasons), 6)
        1.0
        """
        keywords = self.topics(words)
        text, picture = (np.asarray(row, dtype=np.float64) for row in (text_theta, image_theta))
        for name, row in (("text_theta", text), ("image_theta", picture)):
            if row.shape != (len(keywords),) or not np.isfinite(row).all():
                raise DataError(f"{name}: must be one row of {len(keywords)} probabilities, not {row.shape}")
        product = text * picture
        parts = product / max(product.sum(), np.finfo(np.float64).tiny)
        order = np.argsort(-parts, kind="stable")[:top]
        return tuple(
            SharedTopic(int(k), float(text[k]), float(picture[k]), float(parts[k]), tuple(keywords[k]))
            for k in order
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                "this VisualTopicModel is not fitted yet; call fit, or VisualTopicModel.load a saved one"
            )
