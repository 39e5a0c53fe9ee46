"""Vocabulary and counts against plain counting."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtm.config import BowConfig
from vtm.corpora.words import (
    Vocabulary,
    build_vocabulary,
    known_forms,
    language_doubts,
    read_words,
    stop_words,
    word_forms,
)
from vtm.errors import ConfigError, DataError, MissingError

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


def test_texts_that_are_alike_are_told_so():
    for texts, words in (
        (
            ["a red boat at sea"] * 40,
            "the 40 texts|the texts are all alike, each word stands in more than 50% of them",
        ),
        ([f"a red boat at sea {number}" for number in range(40)], "the texts differ too little, each word"),
    ):
        with pytest.raises(DataError, match=words) as told:
            build_vocabulary(texts, config=BowConfig(max_df=0.5))
        assert "lower min_df" not in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(DataError, match="lower min_df"):
        build_vocabulary(["one boat", "two ships", "red sails", "blue waves"], config=BowConfig(min_df=3))


def test_stop_words_follow_the_language():
    texts = ["der Hund und the dog"] * 3
    assert words(texts, language="de") == ("dog", "hund", "the")
    assert words(texts, language="de-AT") == words(texts, language="de_CH.UTF8".split(".")[0])
    assert words(texts, language="en") == ("der", "dog", "hund", "und")
    assert words(texts, language="tlh") == ("der", "dog", "hund", "the", "und")
    assert stop_words("tlh") == []
    assert stop_words("es-419") == stop_words("es")


# man, face, fire, house, computer, world, room, page, old, young, small and others, translated by hand.
THINGS = {
    "en": "man face fire home computer world room page old young small woman child sun tree water day group area work",
    "de": "mann gesicht feuer haus computer welt zimmer seite alt alte jung junge klein kleine frau kind sonne tag",
    "fr": "homme visage feu maison ordinateur monde chambre page vieux vieille jeune petit femme enfant soleil jour",
    "es": "hombre cara fuego casa ordenador mundo cuarto página viejo joven pequeño mujer niño sol día lado lugar",
    "it": "uomo faccia volto fuoco casa computer mondo stanza pagina vecchio giovane piccolo donna bambino giorno",
    "pt": "homem rosto fogo casa computador mundo quarto página velho jovem pequeno mulher dia noite trabalho ponto",
    "nl": "gezicht vuur huis computer wereld kamer pagina oud jong klein vrouw kind zon boom water dag",
    "sv": "ansikte eld hus dator värld rum sida gammal ung liten kvinna barn sol träd vatten dag",
    "fi": "mies kasvot tuli talo koti tietokone maailma huone sivu vanha nuori pieni nainen lapsi aurinko",
    "pl": "mężczyzna twarz ogień dom komputer świat pokój strona stary młody mały kobieta dziecko dzień",
    "cs": "muž tvář oheň dům počítač svět pokoj strana starý mladý malý žena dítě slunce den",
    "ru": "человек мужчина лицо огонь дом компьютер мир комната страница старый молодой маленький женщина день",
    "uk": "чоловік обличчя вогонь дім світ кімната сторінка старий молодий малий жінка дитина день",
    "tr": "adam yüz ateş ev bilgisayar dünya oda sayfa eski yaşlı genç küçük kadın çocuk",
    "id": "pria orang wajah api rumah komputer dunia kamar halaman tua muda kecil wanita anak hari",
    "ms": "lelaki orang wajah api rumah dunia bilik halaman tua muda kecil wanita anak air hari",
    "ar": "رجل وجه نار بيت حاسوب عالم غرفة صفحة قديم شاب صغير امرأة طفل يوم",
    "fa": "مرد چهره آتش خانه رایانه جهان اتاق صفحه پیر جوان کوچک زن کودک روز",
    "hi": "आदमी चेहरा आग घर कंप्यूटर दुनिया कमरा पृष्ठ पुराना छोटा औरत बच्चा दिन",
    "zh": "男人 脸 火 家 电脑 世界 房间 页 老 小 女人 孩子 日 人",
    "ja": "男 顔 火 家 世界 部屋 頁 女 子 人 犬",
    "ko": "남자 얼굴 불 집 컴퓨터 세계 방 페이지 여자 아이",
    "th": "ผู้ชาย หน้า ไฟ บ้าน โลก ห้อง แก่ เล็ก เด็ก วัน",
    "vi": "người mặt lửa nhà phòng trang già trẻ nhỏ cây ngày",
}


@pytest.mark.parametrize("language", THINGS)
def test_what_people_say_of_pictures_is_no_stop_word(language):
    listed = stop_words(language)
    assert not set(THINGS[language].split()) & set(listed) and len(listed) > 90
    vocabulary = words([THINGS[language]] * 2, language=language, min_length=1)
    assert set(vocabulary) == set(THINGS[language].split())


@pytest.mark.parametrize(
    "language, functions",
    [
        ("en", "the of and which"),
        ("de-AT", "der und nicht"),
        ("cs", "který jsem"),  # Czech is cz in the package, Norwegian nb
        ("no", "ikke hvorfor"),
        ("nb", "ikke hvorfor"),
        ("el", "και από"),
        ("th", "ที่ และ"),
        ("de,en", "the der"),
        ("en + fr", "the avec"),
    ],
)
def test_function_words_are_stop_words(language, functions):
    assert set(functions.split()) <= set(stop_words(language))


def test_every_language_that_stopwordsiso_has_keeps_a_list():
    import stopwordsiso

    assert {code for code in stopwordsiso.langs() if not stop_words(code)} == set()


def test_own_stop_words_are_left_out_as_the_texts_are_cut(tmp_path):
    texts = ["A CLIP-art photo of a red boat", "clip art: a photo, red boat"]
    own = tmp_path / "own.txt"
    own.write_bytes("\ufeffPhoto\n\n# comment\n Clip-Art \nnever seen\n".encode())
    given = read_words(own)
    assert given == ("Photo", "Clip-Art", "never seen")
    assert words(texts, stop_words=given) == ("art", "boat", "clip", "red")
    # A phrase is left out as a phrase, its words stay.
    assert words(texts, stop_words=given, ngrams=2) == ("art", "boat", "clip", "red", "red boat")
    assert "clip art" in words(texts, ngrams=2)


def test_own_stop_words_are_no_unknown_words_either():
    """However they are written: in capitals, or as letters with marks of their own."""
    vocabulary, own = (
        Vocabulary(("boat", "red boat"), "en", 2),
        ("ZOO", unicodedata.normalize("NFD", "Caf\u00e9")),
    )
    text = "The boats and a boat, a zoo, a caf\u00e9, a zeppelin"
    assert vocabulary.known_and_not(text, own) == (("boat",), ("zeppelin",))
    assert vocabulary.known_and_not(text) == (("boat",), ("zoo", "caf\u00e9", "zeppelin"))
    assert vocabulary.strange([text, "red zeppelin"], own, most=9) == {"red": [1], "zeppelin": [0, 1]}
    assert len(vocabulary.strange(["one two three four five six seven"], most=3)) == 3


def test_a_file_of_stop_words_that_cannot_be_read_is_one_clear_line(tmp_path):
    with pytest.raises(MissingError, match="there is no file .*none.txt; it holds one word a line"):
        read_words(tmp_path / "none.txt")
    (tmp_path / "latin").write_bytes("für\n".encode("latin-1"))
    with pytest.raises(DataError, match="latin: is not text in UTF-8"):
        read_words(tmp_path / "latin")
    with pytest.raises(DataError, match="is no regular file"):
        read_words(tmp_path)


def test_phrases_are_two_words_side_by_side():
    texts = ["Red boat, a red-boat. Red, boat", "state of art", "boat T rex", "the red boat house"]
    found = build_vocabulary(texts, config=BowConfig(min_df=1, max_df=1.0, ngrams=2))
    # "of" is a stop word, "T" is too short, and a comma parts: neither side makes a phrase.
    assert [word for word in found.words if " " in word] == ["boat house", "red boat"]
    assert found.n_phrases == 2
    assert found.tokens(texts[0]) == ["red", "boat", "red boat", "red", "boat", "red boat", "red", "boat"]
    assert found.tokens("house boat house") == ["house", "boat", "house", "boat house"]
    limited = BowConfig(min_df=1, max_df=1.0, ngrams=2, max_words=3)
    assert build_vocabulary(texts, config=limited).words == ("boat", "red", "red boat")


@pytest.mark.parametrize("language", ["", "12", "e n", "../de", "german", "deutsch", "e"])
def test_what_is_no_language_code_is_refused(language):
    with pytest.raises(ConfigError, match="must be a code"):
        stop_words(language)


@pytest.mark.parametrize(
    "language, text",
    [
        (
            "en",
            "boat boats | man men | child children | mouse mice | city cities | sign | signal | new | news",
        ),
        ("de-AT", "haus häuser | mann männer | blume blumen | rot rote roter | vogel vögel | hund"),
        ("fr", "cheval chevaux | fleur fleurs | bateau bateaux | jour"),
        ("es,en", "casa casas | árbol árboles | women woman | sol"),
        ("uk", "кіт коти | місто міста | сонце"),  # not Snowball's, simplemma's
        ("tlh", "boat | boats"),  # of neither
        ("en", "red boat red boats | boat boats | red"),
    ],
)
def test_forms_of_a_word_have_one_number(language, text):
    groups = [re.findall(r"red boats?|\w+", group) for group in text.split(" | ")]
    vocabulary = [word for group in groups for word in group]
    found = word_forms(vocabulary, language)
    assert found.shape == (len(vocabulary),)
    by_number = {
        number: [w for w, n in zip(vocabulary, found, strict=True) if n == number] for number in found
    }
    assert list(by_number.values()) == groups
    assert word_forms([], language).shape == (0,)


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


@pytest.mark.parametrize(
    "package, language, text, expected",
    [
        # Particles, auxiliaries and numbers are no words of a topic; verbs come as the dictionary has them.
        ("janome", "ja", "青い海に白い船が浮かんでいます。犬", ("海", "浮かぶ", "犬", "白い", "船", "青い")),
        ("rjieba", "zh", "小狗坐在红色的船上", ("坐在", "小狗", "红色", "船上")),
        ("rjieba", "zh-TW,en", "a red boat, 红色的船", ("boat", "red", "红色", "船")),
        ("pythainlp", "th", "เรือสีแดงลอยในทะเล", ("ทะเล", "ลอย", "สีแดง", "เรือ")),
    ],
)
def test_languages_without_spaces_are_cut_into_words(package, language, text, expected):
    pytest.importorskip(package)
    vocabulary = build_vocabulary([text] * 2, language=language, config=EVERY)
    assert vocabulary.words == tuple(sorted(expected))
    assert vocabulary.counts([text]).toarray().tolist() == [[1] * len(expected)]
    assert language_doubts([text] * 9, language) == []
    # Without the package the remedy is said; that it would be another's, too.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vtm.corpora.words._segmenter", lambda code: None)
        (doubt,) = language_doubts([text] * 9, language)
    assert "no spaces between words" in doubt and "pip install 'visual-topic-modelling[words]'" in doubt


@pytest.mark.parametrize(
    "text, of",
    [
        ("青い海に白い船が浮かんでいます", "ja"),
        ("小狗坐在红色的船上", "zh"),
        ("ลอยในทะเล", "th"),
        ("ເຮືອແລ່ນ", "lo"),
    ],
)
def test_texts_without_spaces_are_doubted_in_a_language_with_them(text, of):
    (doubt,) = language_doubts([text] * 9, "en")
    assert f"those of '{of}'" in doubt and f"(--language {of})" in doubt


def test_a_language_without_spaces_that_nothing_cuts_is_said():
    (doubt,) = [each for each in language_doubts(["ເຮືອແລ່ນ"] * 9, "lo") if "spaces" in each]
    assert "put spaces between them" in doubt


def test_what_stands_beside_a_particle_is_no_phrase():
    pytest.importorskip("janome")
    found = build_vocabulary(
        ["白い船の海"] * 2, language="ja", config=BowConfig(min_df=1, max_df=1.0, ngrams=2)
    )
    assert [word for word in found.words if " " in word] == ["白い 船"]


@pytest.mark.parametrize("texts", [[], ["", " "], ["the and of"] * 4, ["a b c"], ["12 34"]])
def test_no_word_left_is_one_clear_line(texts):
    with pytest.raises(
        DataError, match=rf"no word is left for the vocabulary of {len(texts)} texts?\b"
    ) as error:
        build_vocabulary(texts)
    assert "\n" not in str(error.value) and "min_df" in str(error.value)


@given(st.lists(st.text(alphabet="abß ü,1_\u0308ि", max_size=20), min_size=1, max_size=4), st.booleans())
def test_counts_and_tokens_cut_alike(texts, phrases):
    words = ("aab", "ab", "abb", "ba", "bab", "bü")
    vocabulary = Vocabulary((*words, "ab ba") if phrases else words, language="en", min_length=2)
    counts = vocabulary.counts(texts).toarray()
    for row, text in enumerate(texts):
        tokens = Counter(vocabulary.tokens(text))
        assert counts[row].tolist() == [tokens[word] for word in vocabulary.words]
        known = re.findall(r"(?:[^\W\d_][\u0308ि]*){2,}", unicodedata.normalize("NFC", text.lower()))
        assert {word: tokens[word] for word in words} == {word: known.count(word) for word in words}


def test_a_word_counts_as_the_shortest_known_word_of_which_it_is_a_form():
    known = ("boat", "boating", "child", "red boats", "sea")
    assert known_forms(["boats", "children", "zeppelin", "sea"], known, "en") == {
        "boats": "boat",
        "children": "child",
        "sea": "sea",
    }
    assert known_forms(["häuser"], ("hauses", "haus"), "de") == {"häuser": "haus"}
    assert known_forms(["boats"], (), "en") == {} == known_forms(["boats"], known, "xx")
