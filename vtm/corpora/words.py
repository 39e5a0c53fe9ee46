"""Texts to bags of words: preprocessing, vocabulary, sparse counts."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from vtm.config import BowConfig
from vtm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


# When stop words of another language are taken for a sign of it.
READ_TEXTS = 1000
LEAST_SHARE = 0.1
LEAST_RATIO = 1.5
LEAST_STOP_WORDS = 20


def _letters(text: str) -> str:
    """Lower case, each accent with its letter where Unicode has the two as one (NFC).

    So "é" is one word whether it was written as one character or as two. Lower case comes first, since it takes
    some letters apart.
    """
    return unicodedata.normalize("NFC", text.lower())


@cache
def _word_pattern(min_length: int) -> str:
    """A word: letters of any script with their marks; digits and underscores separate words.

    Vowel signs (Devanagari and its kin) and decomposed accents are marks, which `\\w` does not match.
    """
    marks = "".join(chr(c) for c in range(0x300, 0x10000) if unicodedata.category(chr(c)).startswith("M"))
    return rf"(?:[^\W\d_][{marks}\u200c\u200d]*){{{min_length},}}"


@dataclass(frozen=True)
class Vocabulary:
    """The words of the bag of words, and how a text is cut into them.

    `words` is sorted, in lower case and composed (NFC); a word's position is its column in beta and in the counts.
    """

    words: tuple[str, ...]
    language: str
    min_length: int

    def __len__(self) -> int:
        return len(self.words)

    def counts(self, texts: Sequence[str]) -> csr_matrix:
        """Count the vocabulary's words in each text.

        Returns
        -------
        csr_matrix (n, V), float32; a text without a known word gives an empty row.
        """
        from sklearn.feature_extraction.text import CountVectorizer

        vectorizer = CountVectorizer(
            vocabulary=list(self.words),
            preprocessor=_letters,
            token_pattern=_word_pattern(self.min_length),
            dtype=np.float32,
        )
        counts = vectorizer.transform(texts).tocsr()
        counts.sort_indices()
        return counts

    def tokens(self, text: str) -> list[str]:
        """The text's known words in their order, for coherence measures that read running text."""
        known = set(self.words)
        return [w for w in re.findall(_word_pattern(self.min_length), _letters(text)) if w in known]


def stop_words(language: str) -> list[str]:
    """Stop words of a language (ISO 639-1), from the package stopwordsiso.

    A language that the package does not know has none.

    Raises
    ------
    ConfigError
        `language` is not a language code such as "en".
    """
    code = _code(language)
    import stopwordsiso

    return sorted(stopwordsiso.stopwords(code)) if stopwordsiso.has_lang(code) else []


def language_doubts(texts: Sequence[str], language: str) -> list[str]:
    """Reasons to doubt that the texts are in this language, or that its stop words are left out; often none.

    The stop words of each language are counted in the first thousand texts. Those of another language must make at
    least a tenth of the words, and half as many again as those of `language`, which related languages share.

    Raises
    ------
    ConfigError
        As `stop_words`.

    Examples
    --------
    >>> from vtm.corpora.words import language_doubts
    >>> language_doubts(["Ein Hund und eine Katze sind in dem Haus."] * 9, "de")
    []
    >>> language_doubts(["Ein Hund und eine Katze sind in dem Haus."] * 9, "en")
    ["67 % of the words are stop words of 'de', 11 % of 'en': if the texts are in 'de', set language (--language de)"]
    """
    import stopwordsiso

    own = _code(language)
    doubts = (
        [] if stopwordsiso.has_lang(own) else [f"no stop words are known for {language!r}: none are left out"]
    )
    pattern = _word_pattern(min_length=2)
    words = Counter(word for text in texts[:READ_TEXTS] for word in re.findall(pattern, _letters(text)))
    n_words = max(words.total(), 1)
    share = {own: 0.0}
    for code in sorted(stopwordsiso.langs()):
        share[code] = sum(words[word] for word in {*map(_letters, stopwordsiso.stopwords(code))}) / n_words
    best = max(share, key=share.__getitem__)
    enough = max(LEAST_SHARE, LEAST_RATIO * share[own], LEAST_STOP_WORDS / n_words)
    if best != own and share[best] >= enough:
        doubts.append(
            f"{share[best]:.0%} of the words are stop words of {best!r}, {share[own]:.0%} of {language!r}: "
            f"if the texts are in {best!r}, set language (--language {best})".replace("%", " %")
        )
    return doubts


def _code(language: str) -> str:
    """The code of the language itself, without country or script."""
    if not (isinstance(language, str) and re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*", language)):
        raise ConfigError(f"language={language!r}: must be a code such as 'en' or 'de'")
    return language.replace("-", "_").split("_")[0].lower()


def build_vocabulary(
    texts: Sequence[str], *, language: str = "en", config: BowConfig = BowConfig()
) -> Vocabulary:
    """Choose the vocabulary from the training texts.

    Lower case, composed (NFC), words of at least `config.min_length` letters, no stop words, in at least `min_df`
    texts and at most a share `max_df` of them; of these the `max_words` most frequent.

    Raises
    ------
    DataError
        No word is left.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    pattern = _word_pattern(config.min_length)
    vectorizer = CountVectorizer(
        preprocessor=_letters,
        token_pattern=pattern,
        # Stop words such as "n't" or "i" are no words by our pattern; CountVectorizer would warn of each.
        stop_words=[word for word in map(_letters, stop_words(language)) if re.fullmatch(pattern, word)]
        or None,
        min_df=max(min(config.min_df, len(texts)), 1),
        max_df=config.max_df if len(texts) > 1 else 1.0,
        max_features=config.max_words,
    )
    try:
        vectorizer.fit(texts)
    except ValueError as error:
        raise DataError(
            f"no word is left for the vocabulary of {len(texts)} texts ({error}); lower min_df "
            f"(now {config.min_df}) or min_length (now {config.min_length}), or bring more texts"
        ) from None
    words = tuple(sorted(vectorizer.vocabulary_))
    return Vocabulary(words=words, language=language, min_length=config.min_length)
