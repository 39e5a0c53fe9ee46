"""Texts to bags of words: preprocessing, vocabulary, sparse counts."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import BowConfig
from vtm.errors import ConfigError, DataError, MissingError, counted
from vtm.files import read_regular

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


# When stop words of another language are taken for a sign of it.
READ_TEXTS = 1000
LEAST_SHARE = 0.1
LEAST_RATIO = 1.5
LEAST_STOP_WORDS = 20
MOST_BYTES = 16 * 2**20  # of a file of stop words


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


def _japanese() -> Callable[[str], list[str]]:
    from janome.tokenizer import Tokenizer

    tokenizer = Tokenizer()

    def cut(run: str) -> list[str]:
        # Nouns, verbs, adjectives and adverbs that stand alone, as the dictionary has them; a comma for all others,
        # so that what stands on both sides of them is no phrase.
        return [
            (token.surface if token.base_form == "*" else token.base_form) if content(token) else ","  # type: ignore[union-attr]
            for token in tokenizer.tokenize(run)
        ]

    def content(token: Any) -> bool:
        kind, detail = token.part_of_speech.split(",")[:2]
        return kind in ("名詞", "動詞", "形容詞", "副詞") and detail not in ("非自立", "接尾", "代名詞", "数")

    return cut


def _chinese() -> Callable[[str], list[str]]:
    from rjieba import cut

    return cut


def _thai() -> Callable[[str], list[str]]:
    # Otherwise it makes a folder in the user's home.
    os.environ.setdefault("PYTHAINLP_READ_ONLY", "1")
    from pythainlp.tokenize import word_tokenize

    return partial(word_tokenize, engine="newmm", keep_whitespace=False)


# Languages without spaces between words: a run of their letters, what cuts it (of the extra `words`, but for the last),
# and the letters that a word must have; 犬 is one.
_KANA = "\u3040-\u30ff\u31f0-\u31ff"
_HAN = "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNSPACED = {
    "ja": (f"[{_KANA}{_HAN}]+", _japanese, 1),
    "zh": (f"[{_HAN}]+", _chinese, 1),
    "th": ("[\u0e00-\u0e4e]+", _thai, 2),
    "lo": ("[\u0e80-\u0eff]+", None, 2),
    "my": ("[\u1000-\u109f]+", None, 2),
    "km": ("[\u1780-\u17ff]+", None, 2),
}


@cache
def _segmenter(code: str) -> Callable[[str], list[str]] | None:
    """What cuts a run of the language's letters into words; None where nothing is installed for it."""
    make = _UNSPACED[code][1]
    try:
        return make() if make else None
    except ImportError:
        return None


@lru_cache(maxsize=2**16)
def _spaced(text: str, codes: tuple[str, ...]) -> str:
    """The text with spaces between the words of languages that have none, as far as their packages are here."""
    for code in codes:
        cut = _segmenter(code)
        if cut:
            text = re.sub(_UNSPACED[code][0], lambda run, cut=cut: f" {' '.join(cut(run[0]))} ", text)  # type: ignore[misc]
    return text


def words_of(
    text: str, *, language: str, min_length: int, ngrams: int = 1, stops: Container[str] = ()
) -> list[str]:
    """The words of a text in its order, and with `ngrams` of 2 each phrase after its second word.

    A phrase is two words of the text side by side, with a space or a hyphen between them. Japanese, Chinese and Thai
    are cut by janome, rjieba and pythainlp where they are installed: a word of theirs may have one letter, in Thai
    two, whatever `min_length` says; Japanese verbs and adjectives come in the form of the dictionary.
    """
    unspaced = tuple(code for code in _codes(language) if code in _UNSPACED)
    if unspaced:
        text = _spaced(unicodedata.normalize("NFC", text), unspaced)
        min_length = min(min_length, *(_UNSPACED[code][2] for code in unspaced))
    text = _letters(text)
    if ngrams == 1:
        return [word for word in re.findall(_word_pattern(min_length), text) if word not in stops]
    found: list[str] = []
    long_enough, end, before = re.compile(_word_pattern(min_length)), -1, None
    # Shorter words are read as well: what stands on both sides of one is no phrase.
    for match in re.finditer(_word_pattern(1), text):
        word = match[0] if long_enough.fullmatch(match[0]) and match[0] not in stops else None
        if word:
            beside = before and text[end : match.start()].strip() in ("", "-")
            phrase = f"{before} {word}"
            found += [word, phrase] if beside and phrase not in stops else [word]
        before, end = word, match.end()
    return found


@dataclass(frozen=True)
class Vocabulary:
    """The words of the bag of words, and how a text is cut into them.

    `words` is sorted, in lower case and composed (NFC); a word's position is its column in beta and in the counts.
    Phrases of two words have a space in them.
    """

    words: tuple[str, ...]
    language: str
    min_length: int

    def __len__(self) -> int:
        return len(self.words)

    @property
    def n_phrases(self) -> int:
        """How many of the words are phrases."""
        return sum(" " in word for word in self.words)

    def counts(self, texts: Sequence[str]) -> csr_matrix:
        """Count the vocabulary's words in each text.

        Returns
        -------
        csr_matrix (n, V), float32; a text without a known word gives an empty row.
        """
        from scipy.sparse import csr_matrix

        place = {word: column for column, word in enumerate(self.words)}
        rows = [sorted(Counter(place[word] for word in self.tokens(text)).items()) for text in texts]
        columns = np.array([column for row in rows for column, _ in row], dtype=np.int32)
        counts = np.array([count for row in rows for _, count in row], dtype=np.float32)
        starts = np.cumsum([0, *map(len, rows)], dtype=np.int32)
        return csr_matrix((counts, columns, starts), shape=(len(rows), len(self.words)))

    def tokens(self, text: str) -> list[str]:
        """The text's known words in their order, for coherence measures that read running text."""
        cut = words_of(
            text, language=self.language, min_length=self.min_length, ngrams=2 if self.n_phrases else 1
        )
        return [word for word in cut if word in self._known]

    def said(self, text: str, own: Iterable[str] = ()) -> list[str]:
        """All words of a text, known or not, each once, but for stop words and `own` ones like them."""
        stops = _ignored(self.language, tuple(own))
        cut = words_of(text, language=self.language, min_length=self.min_length, stops=stops)
        return list(dict.fromkeys(cut))

    def known_and_not(self, text: str, own: Iterable[str] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The words of a text that are known, and those that are not; stop words and `own` ones are neither.

        A word that is not known counts as the known word of which it is a form (`known_forms`).
        """
        known = dict.fromkeys(self.tokens(text))
        parts = {part for word in known for part in word.split()}
        unknown = [word for word in self.said(text, own) if word not in parts]
        forms = known_forms(unknown, self.words, self.language) if unknown else {}
        known |= dict.fromkeys(forms.values())
        return tuple(known), tuple(word for word in unknown if word not in forms)

    def strange(self, texts: Sequence[str], own: Iterable[str] = (), *, most: int) -> dict[str, list[int]]:
        """The words of texts that are known in no form, `most` at most, and which texts hold each."""
        found: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            for word in self.said(text, own):
                if word not in self._known:
                    found.setdefault(word, []).append(place)
        forms = known_forms(found, self.words, self.language)
        strange = sorted(word for word in found if word not in forms)
        step = max(len(strange) / most, 1)
        return {
            word: found[word] for word in (strange[int(n * step)] for n in range(int(len(strange) / step)))
        }

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.words)


def read_words(path: Path | str) -> tuple[str, ...]:
    """A file's words, one a line; blank lines and lines that begin with # are passed over.

    Raises
    ------
    MissingError, DataError
        No such file; not text in UTF-8.
    """
    if not Path(path).exists():
        raise MissingError(f"stop words: there is no file {path}; it holds one word a line")
    try:
        lines = read_regular(path, most=MOST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not text in UTF-8 ({error.reason}); save it as UTF-8") from None
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


# What people say of pictures is no stop word, though the lists below hold it: day, man, small, house and their kin.
_THINGS = {
    "af": "dag",
    "ar": "يوم",
    "bg": "ден",
    "bn": "দিন মানুষ",
    "cs": "den",
    "fa": "روز کوچک",
    "hi": "घर",
    "id": "kecil hari",
    "it": "faccia",
    "ko": "아이",
    "ms": "air anak bandar dunia hari kecil malam orang rumah wanita",
    "ru": "год день жизнь человек",
    "sl": "dan majhen stran",
    "sw": "watu",
    "th": "วัน",
    "tr": "yüz",
    "uk": "день",
    "vi": "cây người ngày nhà nhỏ nước tay",
    "zh": "人 大 小 日",
}
_ISO = {"cz": "cs", "nb": "no"}


def stop_words(language: str) -> list[str]:
    """Function words of a language (ISO 639-1), or of several with commas between them, in lower case.

    The lists are those of the package stop-words, of 2018: Snowball's and their kin, 174 words in English. Its later
    ones, and stopwordsiso's, hold a thousand more, among them man, face, fire, room and old. A language that it
    does not have gets the list of stopwordsiso; one that neither has gets none.

    Raises
    ------
    ConfigError
        `language` is not a language code such as "en".

    Examples
    --------
    >>> from vtm.corpora.words import stop_words
    >>> "the" in stop_words("en"), "fire" in stop_words("en"), "der" in stop_words("de,en")
    (True, False, True)
    """
    return sorted(set().union(*map(_listed, _codes(language))))


@cache
def _listed(code: str) -> frozenset[str]:
    """The words that are listed for one language; none where it is not known."""
    import stop_words as snowball
    import stopwordsiso

    code = _ISO.get(code, code)
    if code in _packaged():
        listed = set(snowball.get_stop_words(_packaged()[code]))
    elif code == "ms":
        # The Malay list is of a newspaper's commonest words. Those that Indonesian's has too are its grammar.
        listed = stopwordsiso.stopwords("ms") & stopwordsiso.stopwords("id")
    else:
        listed = stopwordsiso.stopwords(code) if stopwordsiso.has_lang(code) else set()
    return frozenset({*map(_letters, listed)} - set(_THINGS.get(code, "").split()) - {""})


@cache
def _packaged() -> dict[str, str]:
    """The languages that the package stop-words has, by their codes; it calls Czech cz."""
    from stop_words import LANGUAGE_MAPPING

    return {_ISO.get(code, code): name for code, name in LANGUAGE_MAPPING.items()}


def word_forms(vocabulary: Sequence[str], language: str) -> np.ndarray:
    """Which words are forms of one word, such as boat and boats: (V,) a number for each word, the same for its forms.

    English words have the lemma of simplemma, which knows men and mice. Those of other languages have the stem of
    Snowball, or where it does not know the language simplemma's lemma; a language that neither knows has no forms. Of
    several languages each may say so. A phrase is a form of another where its words are.

    Parameters
    ----------
    vocabulary : V words, in lower case as a vocabulary's are: stems and lemmas are of those.

    Raises
    ------
    ConfigError
        As `stop_words`.

    Examples
    --------
    >>> from vtm.corpora.words import word_forms
    >>> word_forms(("boat", "boats", "children", "child", "red boat", "red boats"), "en").tolist()
    [0, 0, 1, 1, 2, 2]
    """
    return np.array(_word_forms(tuple(vocabulary), tuple(_codes(language))), dtype=np.int64)


@lru_cache(maxsize=16)
def _ignored(language: str, own: tuple[str, ...]) -> frozenset[str]:
    """Stop words, and own ones as the texts are cut: a hyphen or an apostrophe parts them."""
    lines = (words_of(line, language=language, min_length=1) for line in own)
    return frozenset([*stop_words(language), *map(" ".join, lines)])


@lru_cache(maxsize=16)
def _word_forms(vocabulary: tuple[str, ...], codes: tuple[str, ...]) -> tuple[int, ...]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first: dict[tuple[str, str], int] = {}
    same = []
    for code in codes:
        form = _form_of(code)
        for place, word in enumerate(vocabulary):
            key = (code, " ".join(map(form, word.split())))
            same.append((place, first.setdefault(key, place)))
    ends = np.array(same, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(same)), ends), shape=(len(vocabulary),) * 2)
    return tuple(connected_components(graph, directed=False)[1].tolist())


def known_forms(words: Iterable[str], vocabulary: Sequence[str], language: str) -> dict[str, str]:
    """Words that are no vocabulary's words but forms of one (`word_forms`), and which: the shortest where it has several.

    Examples
    --------
    >>> from vtm.corpora.words import known_forms
    >>> known_forms(["boats", "zeppelin"], ("boat", "boating", "sea"), "en")
    {'boats': 'boat'}
    """
    codes = tuple(_codes(language))
    by_form = _by_form(tuple(vocabulary), codes)
    found = {}
    for word in words:
        known = [by_form[key] for key in ((code, _form_of(code)(word)) for code in codes) if key in by_form]
        if known:
            found[word] = min(known, key=lambda known: (len(known), known))
    return found


@lru_cache(maxsize=16)
def _by_form(vocabulary: tuple[str, ...], codes: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """The shortest single word of each form, by language and form."""
    single = (word for word in vocabulary if " " not in word)
    shortest_last = sorted(single, key=lambda word: (len(word), word), reverse=True)
    return {(code, _form_of(code)(word)): word for code in codes for word in shortest_last}


@cache
def _form_of(code: str) -> Callable[[str], str]:
    """What stands for all forms of a word in a language."""
    import simplemma
    import snowballstemmer

    code = _ISO.get(code, code)
    name = _packaged().get(code)
    if code != "en" and name in snowballstemmer.algorithms():
        return cache(snowballstemmer.stemmer(name).stemWord)
    try:
        simplemma.lemmatize("a", lang=code)
    except ValueError:  # it does not know the language
        return str
    return cache(lambda word: simplemma.lemmatize(word, lang=code).lower())


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

    own = _codes(language)
    doubts = [f"no stop words are known for {code!r}: none are left out" for code in own if not _listed(code)]
    doubts += _unspaced_doubts(texts[:READ_TEXTS], own)
    words = Counter(
        word for text in texts[:READ_TEXTS] for word in words_of(text, language=language, min_length=2)
    )
    n_words = max(words.total(), 1)

    def share(listed: Iterable[str]) -> float:
        return sum(words[word] for word in listed) / n_words

    own_share = share(stop_words(language))
    known = sorted({*_packaged(), *stopwordsiso.langs()} - {_ISO.get(code, code) for code in own})
    others = {code: share(_listed(code)) for code in known}
    best = max(others, key=others.__getitem__)
    if others[best] >= max(LEAST_SHARE, LEAST_RATIO * own_share, LEAST_STOP_WORDS / n_words):
        doubts.append(
            f"{others[best]:.0%} of the words are stop words of {best!r}, {own_share:.0%} of {language!r}: "
            f"if the texts are in {best!r}, set language (--language {best})".replace("%", " %")
        )
    return doubts


def _unspaced_doubts(texts: Sequence[str], own: Sequence[str]) -> list[str]:
    """Doubts of texts without spaces between words, which are read as if whole phrases were words."""
    letters = max(sum(char.isalpha() for text in texts for char in text), 1)
    share = {
        code: sum(len(run) for text in texts for run in re.findall(letter, text)) / letters
        for code, (letter, _, _) in _UNSPACED.items()
    }
    kana = sum(len(run) for text in texts for run in re.findall(f"[{_KANA}]+", text)) / letters
    # Chinese letters are Japanese where kana stand between them.
    share["ja" if kana < LEAST_SHARE * share["zh"] else "zh"] = 0.0
    doubts = []
    for code in _UNSPACED:
        if code in own and not _segmenter(code):
            remedy = (
                "pip install 'visual-topic-modelling[words]'"
                if _UNSPACED[code][1]
                else "put spaces between them"
            )
            doubts.append(
                f"texts in {code!r} have no spaces between words, and nothing is installed that separates them: whole "
                f"phrases are taken for words; {remedy}"
            )
        elif code not in own and share[code] >= 0.5:
            doubts.append(
                f"{share[code]:.0%} of the letters are those of {code!r}, which has no spaces between words: whole "
                f"phrases are taken for words; set language (--language {code})".replace("%", " %", 1)
            )
    return doubts


def _codes(language: str) -> list[str]:
    """The codes of the languages themselves, without country or script; several have commas between them."""
    parts = re.split(r"\s*[,+]\s*", language) if isinstance(language, str) else [""]
    if not all(re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*", part) for part in parts):
        raise ConfigError(f"language={language!r}: must be a code such as 'en' or 'de', or several: 'de,en'")
    return [part.replace("-", "_").split("_")[0].lower() for part in parts]


def build_vocabulary(
    texts: Sequence[str], *, language: str = "en", config: BowConfig = BowConfig()
) -> Vocabulary:
    """Choose the vocabulary from the training texts.

    Lower case, composed (NFC), words of at least `config.min_length` letters, no stop words, in at least `min_df`
    texts and at most a share `max_df` of them; of these the `max_words` most frequent, phrases of two words among
    them where `ngrams` is 2.

    Raises
    ------
    DataError
        No word is left.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    cut = partial(words_of, language=language, min_length=config.min_length, ngrams=config.ngrams)
    vectorizer = CountVectorizer(
        analyzer=partial(cut, stops=_ignored(language, config.stop_words)),
        min_df=max(min(config.min_df, len(texts)), 1),
        max_df=config.max_df if len(texts) > 1 else 1.0,
        max_features=config.max_words,
    )
    try:
        vectorizer.fit(texts)
    except ValueError as error:
        in_texts = Counter(word for text in texts for word in set(vectorizer.analyzer(text)))
        if in_texts and min(in_texts.values()) > config.max_df * len(texts):
            what = "the texts are all alike" if len({*texts}) == 1 else "the texts differ too little"
            raise DataError(
                f"no word is left for the vocabulary of {counted(len(texts), 'text')}: {what}, each word stands in more than "
                f"{config.max_df:.0%} of them (max_df); bring texts that tell one picture from another"
            ) from None
        raise DataError(
            f"no word is left for the vocabulary of {counted(len(texts), 'text')} ({error}); lower min_df "
            f"(now {config.min_df}) or min_length (now {config.min_length}), or bring more texts"
        ) from None
    words = tuple(sorted(vectorizer.vocabulary_))
    return Vocabulary(words=words, language=language, min_length=config.min_length)
