"""Vocabulary and counts against plain counting."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtm.config import BowConfig
from vtm.corpora.words import Vocabulary, build_vocabulary, language_doubts, stop_words
from vtm.errors import ConfigError, DataError

EVERY = BowConfig(min_df=1, max_df=1.0)


def words(texts, *, language="en", **config):
    config = {"min_df": 1, "max_df": 1.0} | config
    return build_vocabulary(texts, language=language, config=BowConfig(**config)).words


def test_counts_are_those_of_a_plain_loop():
    texts = ["Red apple, red APPLE; green pear!", "pear_tree pear2 plum", "nothing known", "", "Äpfel äpfel"]
    vocabulary = build_vocabulary(
        [*texts, "apple pear"], config=BowConfig(min_df=1, max_df=1.0, min_length=4)
    )
    counts = vocabulary.counts(texts)
    assert counts.shape == (5, len(vocabulary)) and counts.dtype == np.float32
    for row, text in enumerate(texts):
        plain = Counter(word for word in re.split(r"[\W\d_]+", text.lower()) if word in vocabulary.words)
        got = {vocabulary.words[j]: counts[row, j] for j in counts[row].indices}
        assert got == plain
        assert Counter(vocabulary.tokens(text)) == plain
    assert "red" not in vocabulary.words  # three letters
    assert "äpfel" in vocabulary.words


def test_vocabulary_is_sorted_and_knows_only_training_words():
    vocabulary = build_vocabulary(["zebra lion", "lion tiger"], config=EVERY)
    assert vocabulary.words == ("lion", "tiger", "zebra")
    unseen = vocabulary.counts(["lion panther", "panther leopard"])
    assert unseen.toarray().tolist() == [[1, 0, 0], [0, 0, 0]]
    assert vocabulary.tokens("panther lion zebra lion") == ["lion", "zebra", "lion"]


def test_min_df_and_max_df_count_texts_not_occurrences():
    texts = ["rare rare rare rare shared", "shared lemon", "shared lemon", "shared other"]
    assert words(texts) == ("lemon", "rare", "shared")  # "other" is a stop word
    assert words(texts, min_df=2) == ("lemon", "shared")
    assert words(texts, max_df=0.5) == ("lemon", "rare")
    assert words(texts, max_df=0.75, min_df=2) == ("lemon",)


def test_max_words_keeps_the_most_frequent():
    texts = ["apple apple apple pear pear plum", "apple pear fig", "plum plum"]
    assert words(texts, max_words=2) == ("apple", "pear")
    assert words(texts, max_words=3) == ("apple", "pear", "plum")


def test_min_df_does_not_exceed_the_number_of_texts():
    assert words(["apple pear", "apple"], min_df=5) == ("apple",)


def test_stop_words_follow_the_language():
    texts = ["der Hund und the dog"] * 3
    assert words(texts, language="de") == ("dog", "hund", "the")
    assert words(texts, language="de-AT") == words(texts, language="de_CH.UTF8".split(".")[0])
    assert words(texts, language="en") == ("der", "dog", "hund", "und")
    assert words(texts, language="tlh") == ("der", "dog", "hund", "the", "und")
    assert stop_words("tlh") == []
    assert stop_words("es-419") == stop_words("es")


@pytest.mark.parametrize("language", ["", "12", "e n", "../de", "german", "deutsch", "e"])
def test_what_is_no_language_code_is_refused(language):
    with pytest.raises(ConfigError, match="must be a code"):
        stop_words(language)


GERMAN = ["Der Hund und die Katze sind in dem Haus.", "Das ist eine Eule, die auf einem Baum sitzt."] * 5
ENGLISH = ["The dog and the cat are in the house.", "This is an owl that sits on a tree."] * 5


def test_texts_of_another_language_are_doubted():
    assert language_doubts(GERMAN, "de") == language_doubts(GERMAN, "de-AT") == []
    assert language_doubts(ENGLISH, "en") == []
    (doubt,) = language_doubts(GERMAN, "en")
    assert "stop words of 'de'" in doubt and "(--language de)" in doubt
    (doubt,) = language_doubts(ENGLISH, "de")
    assert "stop words of 'en'" in doubt
    # Words alone, or one text, are no sign.
    assert language_doubts(["Hund Katze Haus"] * 90, "en") == language_doubts(GERMAN[:1], "en") == []


def test_a_language_without_stop_words_is_said():
    (doubt,) = language_doubts(["qaleghqa’ ghuH"] * 20, "tlh")
    assert doubt == "no stop words are known for 'tlh': none are left out"
    assert len(language_doubts(GERMAN, "tlh")) == 2


@pytest.mark.parametrize(
    "language, text, word",
    [
        ("hi", "हिन्दी", "हिन्दी"),  # vowel signs and virama are marks, not letters
        ("ta", "விலங்கு", "விலங்கு"),
        ("de", "Schu\u0308ler", "sch\u00fcler"),  # a decomposed accent
        ("el", "Γάτα", "γάτα"),
        ("ru", "Кошка", "кошка"),
    ],
)
def test_words_of_other_scripts_stay_whole(language, text, word):
    vocabulary = build_vocabulary([text] * 2, language=language, config=EVERY)
    assert vocabulary.words == (word,)
    assert vocabulary.counts([f"{text}, {text}!"]).toarray().tolist() == [[2]]
    assert vocabulary.tokens(text) == [word]


@pytest.mark.parametrize("texts", [[], ["", " "], ["the and of"] * 4, ["a b c"], ["cat dog"] * 10, ["12 34"]])
def test_no_word_left_is_one_clear_line(texts):
    with pytest.raises(
        DataError, match=rf"no word is left for the vocabulary of {len(texts)} texts"
    ) as error:
        build_vocabulary(texts)
    assert "\n" not in str(error.value) and "min_df" in str(error.value)


@given(st.lists(st.text(alphabet="abß ü,1_\u0308ि", max_size=20), min_size=1, max_size=4))
def test_counts_and_tokens_cut_alike(texts):
    vocabulary = Vocabulary(words=("aab", "ab", "abb", "ba", "bab", "bü"), language="en", min_length=2)
    counts = vocabulary.counts(texts).toarray()
    for row, text in enumerate(texts):
        tokens = Counter(vocabulary.tokens(text))
        assert counts[row].tolist() == [tokens[word] for word in vocabulary.words]
