"""A visual topic model to fit, ask and save, in the manner of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vtm.api_encoding import Encoding
from vtm.api_fit import Fitted, fit_models
from vtm.api_inputs import as_embeddings, as_images, as_texts, picture_names
from vtm.api_io import read_model, write_model
from vtm.api_parameters import Parameters
from vtm.api_readings import ModelWarning, Readings
from vtm.api_topics import NotFittedError, SharedTopic
from vtm.bow import language_doubts
from vtm.corpora import Dropped
from vtm.encoders import EncoderPair
from vtm.errors import ConfigError, DataError
from vtm.pictures import MAX_PIXELS

__all__ = ["ModelWarning", "NotFittedError", "SharedTopic", "VisualTopicModel"]


class VisualTopicModel(Readings, Parameters):
    """Topics for pictures, learned from pictures with texts (Pivovarova and Zosa 2021).

    Two topic models are trained: one reads texts, the other pictures, and topic k means the same in both. Once
    trained, a picture needs no text.

    Parameters
    ----------
    n_topics
        K, the number of topics; 60 suits some thousand pairs.
    teacher
        "text": the model of texts is trained first and teaches that of pictures. "joint": a model of both
        teaches one of each.
    encoder
        Name of an encoder with its options, as in "clip:model=ViT-B-32,pretrained=openai" (see
        `vtm.encoders.load_encoder`), or an `EncoderPair` of your own.
    language
        Code of the texts' language, for stop words and for encoders that choose their weights by it.
    random_state
        The seed, a whole number from 0; None is refused, since such a run could not be repeated.
    validation
        Share of the pairs, from 0 to 0.5, that is not trained on but tells whether training worked (`status_`,
        `warnings_`): at least 20 pairs and at most 1,000; of fewer than 80 pairs none.
    max_words, min_df, max_df, min_length
        Which words make the vocabulary (`vtm.config.BowConfig`).
    decoder, hidden, activation, dropout, epochs, batch_size, lr, beta1, beta2, kl_weight, standardize, n_samples
        The network and its training (`vtm.config.ModelConfig`); a `batch_size` of None is 64, and 16 for fewer than
        500 pairs.
    device
        "auto" (CUDA where there is one), "cpu" or "cuda", for embedding and training.
    cache
        Folder of the embeddings' cache; None: in the data folder.
    max_pixels
        Larger pictures are not used.
    progress
        Show progress bars on stderr, on a terminal.

    Attributes
    ----------
    text_model_, image_model_
        The two trained models, each a `vtm.topicmodel.TopicModel`.
    vocabulary_
        Tuple of the V words.
    topic_word_
        (K, V) p(w | k) of the picture model.
    topic_share_
        (K,) mean share of each topic in the pictures of `fit`.
    coherence_
        {"text": (K,), "image": (K,)} NPMI of the ten most probable words in the texts of `fit`.
    best_pictures_
        For each topic up to ten (name, probability) of pictures of `fit`, best first.
    dropped_
        Tuple of `vtm.corpora.Dropped`: pairs that were left out of `fit`, with the reason.
    n_pairs_, n_validation_
        Pairs used, and how many of them were held out.
    status_
        "ok"; "doubtful" where the held-out pairs do not show that training worked; without such "not judged", or
        "doubtful" where the other pairs show that it did not.
    warnings_
        Tuple of reasons to doubt the training or the topics.
    n_features_in_
        Dimensions of a picture's embedding.

    Examples
    --------
    >>> from vtm.api import VisualTopicModel
    >>> from vtm.corpora import load_corpus
    >>> corpus = load_corpus("scenes", n=120)
    >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=60)
    >>> model.fit(corpus.texts, corpus.images)
    VisualTopicModel(encoder='pixels', epochs=60, n_topics=8)
    >>> model.transform(corpus.images[:2]).shape
    (2, 8)
    >>> len(model.topic_labels())
    8
    """

    def fit(
        self,
        texts: Sequence[str],
        images: Sequence[Any] | None = None,
        *,
        text_embeddings: np.ndarray | None = None,
        image_embeddings: np.ndarray | None = None,
        ids: Sequence[str] | None = None,
    ) -> VisualTopicModel:
        """Train on pairs: text i belongs to picture i.

        Pairs whose picture cannot be read, or whose text has no word of the vocabulary, are left out; `dropped_`
        lists them and a warning counts them.

        Parameters
        ----------
        texts : n texts.
        images : n pictures: paths, PIL images or uint8 arrays (H, W), (H, W, 3), (H, W, 4), also mixed.
        text_embeddings, image_embeddings : (n, D), (n, E)
            In place of the encoder's; with `image_embeddings` no pictures are needed, and none are opened: `images`
            then only name the pairs, where `ids` do not.
        ids
            Names of the pairs in `dropped_` and `best_pictures_`; the pictures' paths or positions by default.

        Returns
        -------
        The model itself.

        Raises
        ------
        ConfigError, DataError, MissingError
            Parameters that cannot be used, inputs of unequal length, too few usable pairs, training that diverged,
            an encoder without its weights.

        Examples
        --------
        >>> import numpy as np
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> embeddings = np.random.default_rng(0).normal(size=(120, 16))
        >>> model = VisualTopicModel(n_topics=8, epochs=5, validation=0)
        >>> model.fit(corpus.texts, text_embeddings=embeddings, image_embeddings=embeddings).n_pairs_
        120
        """
        texts = as_texts(texts)
        settings, parameters = self._settings(len(texts)), self._model_parameters()
        if images is not None:
            images = as_images(images)
        elif image_embeddings is None:
            raise ConfigError("fit needs images, or image_embeddings in their place")
        for given, what in ((images, "images"), (ids, "ids")):
            if given is not None and len(given) != len(texts):
                raise DataError(f"{len(given)} {what} for {len(texts)} texts; give one for each")
        names = picture_names(images, len(texts)) if ids is None else [str(id) for id in ids]
        encoding = self._encoding_of(self.encoder)
        bad: tuple[Dropped, ...] = ()
        if image_embeddings is None:
            image, bad = encoding.images(images, names, progress=self.progress)
        else:
            image = as_embeddings(image_embeddings, "image_embeddings", len(texts))
        if text_embeddings is None:
            text = encoding.texts(texts, progress=self.progress)
        else:
            text = as_embeddings(text_embeddings, "text_embeddings", len(texts))
        rows = np.flatnonzero(~np.isnan(image).any(axis=1))
        fitted = fit_models(
            [texts[row] for row in rows],
            text[rows],
            image[rows],
            [names[row] for row in rows],
            settings,
            dropped=bad,
            encoder_keys=encoding.keys,
            device=self.device,
            progress=self.progress,
        )
        doubts = language_doubts(texts, self.language)
        fitted = replace(fitted, warnings=(*doubts, *fitted.warnings))
        self._take(fitted, encoding, parameters)
        if self.dropped_:
            why = ", ".join(sorted({item.reason for item in self.dropped_}))
            left_out = f"{len(self.dropped_)} of {len(texts)} pairs were left out ({why}); see dropped_"
            warnings.warn(left_out, ModelWarning, stacklevel=2)
        if self.warnings_:
            warnings.warn("; ".join(self.warnings_), ModelWarning, stacklevel=2)
        return self

    def save(self, path: Path | str, **notes: Any) -> None:
        """Write the model as a folder of safetensors and JSON files; an older model there is replaced.

        Parameters
        ----------
        notes
            Kept with the model as `notes_`: what JSON can hold.

        Raises
        ------
        NotFittedError, DataError
            Not fitted; or `path` is a file, or a folder that holds something else than a model.

        Examples
        --------
        >>> import tempfile
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.fit(corpus.texts, corpus.images).save(f"{folder}/scenes", owner="me")
        ...     VisualTopicModel.load(f"{folder}/scenes").notes_
        {'owner': 'me'}
        """
        self._check_fitted()
        write_model(path, self._fitted, self._fitted_parameters, notes)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        encoder: str | EncoderPair | None = None,
        device: str = "auto",
        cache: Path | str | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: bool = True,
    ) -> VisualTopicModel:
        """Read a model that `save` wrote: theta is the same as before.

        Parameters
        ----------
        encoder
            In place of the saved one; needed for a model that was trained with an `EncoderPair` of your own. One
            whose weights or preparation of pictures differ is refused when it is used.
        device, cache, max_pixels, progress
            As for the class.

        Raises
        ------
        MissingError, DataError
            No model, or files that are not those that were saved.

        Examples
        --------
        >>> import tempfile
        >>> from vtm.api import VisualTopicModel
        >>> from vtm.corpora import load_corpus
        >>> corpus = load_corpus("scenes", n=120)
        >>> model = VisualTopicModel(n_topics=8, encoder="pixels", epochs=5, validation=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.fit(corpus.texts, corpus.images).save(f"{folder}/scenes")
        ...     loaded = VisualTopicModel.load(f"{folder}/scenes")
        >>> bool((loaded.transform(corpus.images[:3]) == model.transform(corpus.images[:3])).all())
        True
        """
        fitted, parameters, notes = read_model(path)
        parameters |= {"device": device, "cache": cache, "max_pixels": max_pixels, "progress": progress}
        parameters["encoder"] = parameters.get("encoder") if encoder is None else encoder
        try:
            model = cls(**parameters)
            model.hidden = tuple(model.hidden)
        except TypeError as error:
            raise DataError(f"{path}: {error}; the model is of another version of vtm, train anew") from None
        encoding = model._encoding_of(model.encoder, fitted.encoder_keys)
        model._take(fitted, encoding, model._model_parameters(), notes)
        return model

    def _encoding_of(self, encoder: str | EncoderPair | None, keys: Any = None) -> Encoding:
        return Encoding(
            encoder,
            language=self.language,
            device=self.device,
            cache=self.cache,
            max_pixels=self.max_pixels,
            keys=keys,
        )

    def _take(
        self,
        fitted: Fitted,
        encoding: Encoding,
        parameters: dict[str, Any],
        notes: dict[str, Any] | None = None,
    ) -> None:
        self._fitted, self._encoding, self._fitted_parameters = fitted, encoding, parameters
        self.notes_ = dict(notes or {})
        self.text_model_, self.image_model_ = fitted.text_model, fitted.image_model
        self.vocabulary_ = fitted.vocabulary.words
        self.topic_word_ = fitted.image_model.topic_word()
        self.topic_share_, self.coherence_ = fitted.topic_share, fitted.coherence
        self.best_pictures_, self.dropped_ = fitted.best_pictures, fitted.dropped
        self.n_pairs_, self.n_validation_ = fitted.n_pairs, fitted.n_validation
        self.status_, self.warnings_ = fitted.status, fitted.warnings
        self.n_features_in_ = fitted.image_model.network.n_inputs
