"""From a corpus' name to arrays that models train on: pictures and texts embedded, split, counted."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtm.config import Experiment
from vtm.corpora import Corpus, Dropped, load_corpus, split
from vtm.corpora.base import large_cluster, leaking, near_duplicates
from vtm.corpora.words import Vocabulary, build_vocabulary
from vtm.encoders import EncoderPair, load_named
from vtm.encoders.cache import embed_images, embed_texts
from vtm.errors import DataError, counted

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from vtm.model.training import Pairs


PARTS = ("train", "validation", "test")
# Fewer pairs than this in a part cannot train, choose or test anything.
MIN_PAIRS = 4


@dataclass(frozen=True)
class Prepared:
    """A corpus ready for training.

    Parameters
    ----------
    corpus : the pairs whose picture could be read; `corpus.dropped` holds all others with the reason.
    text, image : (n, D), (n, E) float32 embeddings, row i for `corpus.ids[i]`.
    counts : (n, V) bags of words.
    clusters : (n,) int64, near-duplicates have one number (`vtm.corpora.base.near_duplicates`).
    rows : part -> positions. A cluster is in one part, but where the corpus' owners fixed parts, or where there are too
        few clusters (`n_leaking`). Training pairs without a known word are left out (`no_known_word`).
    aligned : whether text and image embeddings share one space.
    """

    experiment: Experiment
    corpus: Corpus
    text: np.ndarray
    image: np.ndarray
    counts: csr_matrix
    vocabulary: Vocabulary
    clusters: np.ndarray
    rows: dict[str, np.ndarray]
    no_known_word: tuple[Dropped, ...]
    aligned: bool

    def ids(self, part: str) -> list[str]:
        return [self.corpus.ids[row] for row in self.rows[part]]

    def texts(self, part: str) -> list[str]:
        return [self.corpus.texts[row] for row in self.rows[part]]

    @property
    def pictures(self) -> dict[str, Path]:
        """id -> picture file, of all parts."""
        return dict(zip(self.corpus.ids, self.corpus.images, strict=True))

    @property
    def texts_by_id(self) -> dict[str, str]:
        """id -> text, of all parts."""
        return dict(zip(self.corpus.ids, self.corpus.texts, strict=True))

    def drop_counts(self) -> dict[str, int]:
        """Pairs that left the corpus, by reason; training pairs without a known word last."""
        counts = self.corpus.drop_counts()
        return counts | ({"no-known-word": len(self.no_known_word)} if self.no_known_word else {})

    @property
    def n_missing(self) -> int:
        """Test articles that the corpus' task counts and that are not here: each counts as not found."""
        return 0 if self.corpus.n_test is None else self.corpus.n_test - len(self.rows["test"])

    @property
    def n_twins(self) -> int:
        """Pairs that have a near-duplicate in the corpus."""
        return int((np.bincount(self.clusters)[self.clusters] > 1).sum())

    @property
    def n_leaking(self) -> int:
        """Test pairs with a near-duplicate in another part: 0 but where `rows` says so."""
        return len(leaking(self.clusters, self.rows))

    def groups(self, part: str) -> list[str] | None:
        """Gold categories, for evaluation only; None where the corpus has none."""
        if self.corpus.groups is None:
            return None
        return [self.corpus.groups[row] for row in self.rows[part]]

    def pairs(self, part: str) -> Pairs:
        from vtm.model.training import Pairs

        rows = self.rows[part]
        return Pairs(self.text[rows], self.image[rows], self.counts[rows])

    def fingerprint(self) -> str:
        """Hash of everything that a model trained on these data depends on."""
        digest = hashlib.sha256(self.corpus.fingerprint.encode())
        counts = (self.counts.indptr.astype(np.int64), self.counts.indices.astype(np.int64), self.counts.data)
        for array in (self.text, self.image, *(self.rows[part] for part in PARTS), *counts):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr(self.vocabulary).encode())
        return digest.hexdigest()


def prepare(experiment: Experiment, *, progress: bool = True) -> Prepared:
    """Load, embed, split and count the experiment's corpus. Embeddings come from the cache where it has them.

    Near-duplicates, which the embeddings tell, stay in one part.

    Parameters
    ----------
    progress
        Show progress bars on stderr, on a terminal.

    Raises
    ------
    ConfigError, DataError, MissingError
        An unknown corpus or encoder; data that cannot be used; a corpus too small to be split.

    Warns
    -----
    UserWarning
        One cluster of near-duplicates holds more than a tenth of the pairs, or there are too few clusters to be split.

    Examples
    --------
    >>> from vtm import from_parameters, prepare
    >>> data = prepare(from_parameters({"corpus": "scenes:n=60", "encoder": "pixels"}))
    >>> {part: len(rows) for part, rows in data.rows.items()}
    {'train': 40, 'validation': 6, 'test': 14}
    >>> data.text.shape, data.image.shape, data.counts.shape == (60, len(data.vocabulary))
    ((60, 256), (60, 208), True)
    """
    corpus = load_corpus(experiment.corpus_name, **experiment.corpus_options)
    encoder = load_named(experiment.encoder, device=experiment.device, language=corpus.language)
    corpus, text, image = embed_pairs(corpus, encoder, progress=progress)
    thresholds = {name: getattr(experiment, name) for name in ("twin_image", "twin_text", "twin_both")}
    clusters = near_duplicates(text, image, **thresholds)
    if told := large_cluster(clusters):
        warnings.warn(f"corpus {corpus.name}: {told}", stacklevel=2)
    rows = split(corpus, seed=experiment.split_seed, fold=experiment.fold, clusters=clusters)
    if min(map(len, rows.values())) < MIN_PAIRS:
        one_by_one = split(corpus, seed=experiment.split_seed, fold=experiment.fold)
        if min(map(len, one_by_one.values())) >= MIN_PAIRS:
            warnings.warn(
                f"corpus {corpus.name}: its {clusters.max() + 1} clusters of near-duplicates leave too few pairs for a "
                "part, so pairs are split one by one, and what is tested was seen in training",
                stacklevel=2,
            )
            rows = one_by_one
    small = [part for part in PARTS if len(rows[part]) < MIN_PAIRS]
    if small:
        raise DataError(
            f"corpus {corpus.name}: {counted(len(corpus), 'pair leaves', 'pairs leave')} {len(rows[small[0]])} for the {small[0]} part; "
            f"at least {MIN_PAIRS} are needed, so bring more pairs (about 70, 10 and 20 % train, validate and test; "
            f"near-duplicates stay together, in {counted(clusters.max() + 1, 'cluster')})"
        )
    vocabulary = build_vocabulary(
        [corpus.texts[row] for row in rows["train"]], language=corpus.language, config=experiment.bow
    )
    if len(vocabulary) < 2:
        raise DataError(
            f"corpus {corpus.name}: only the word {vocabulary.words[0]!r} is left for the vocabulary; topics need "
            f"several words: lower min_df (now {experiment.bow.min_df}) or bring more texts"
        )
    counts = vocabulary.counts(corpus.texts)
    n_known = np.asarray(counts.sum(axis=1)).ravel()
    unknown = [row for row in rows["train"] if n_known[row] == 0]
    rows = {**rows, "train": np.asarray([row for row in rows["train"] if n_known[row] > 0], dtype=np.int64)}
    if len(rows["train"]) < MIN_PAIRS:
        raise DataError(
            f"corpus {corpus.name}: {len(unknown)} training texts have no word of the vocabulary, which leaves "
            f"{len(rows['train'])}; at least {MIN_PAIRS} are needed, so lower min_df (now {experiment.bow.min_df})"
        )
    return Prepared(
        experiment=experiment,
        corpus=corpus,
        text=text,
        image=image,
        counts=counts,
        vocabulary=vocabulary,
        clusters=clusters,
        rows=rows,
        no_known_word=tuple(
            Dropped(corpus.ids[row], "no-known-word", corpus.texts[row][:80]) for row in unknown
        ),
        aligned=encoder.aligned,
    )


def embed_pairs(
    corpus: Corpus, encoder: EncoderPair, *, progress: bool = True
) -> tuple[Corpus, np.ndarray, np.ndarray]:
    """The pairs whose picture can be used, and their embeddings (n, D) of texts and (n, E) of pictures.

    Raises
    ------
    DataError
        No picture can be used.
    """
    image, kept, bad = embed_images(
        encoder.image, corpus.ids, corpus.images, corpus.image_hashes, progress=progress
    )
    if bad and not kept:
        raise DataError(f"none of {counted(len(bad), 'picture')} can be used; the first: {bad[0].detail}")
    if bad:
        corpus = corpus.without({item.id: (item.reason, item.detail) for item in bad})
    if corpus.ids != tuple(kept):
        raise DataError(f"corpus {corpus.name}: embeddings and ids do not agree; delete the embedding cache")
    return corpus, embed_texts(encoder.text, corpus.texts, progress=progress), image
