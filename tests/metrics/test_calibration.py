"""Calibration: against closed forms, slow oracles, scikit-learn, and answers of known chances."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score

from vtm.errors import DataError
from vtm.metrics.calibration import (
    ASKED,
    SCORES,
    Calibration,
    PairWords,
    Reader,
    Tuned,
    average_precision,
    best_f1,
    best_mix,
    calibrate,
    calibration_error,
    half_right,
    mixed,
    own_reciprocal_ranks,
    reliability,
    share_hit,
    tune,
)


def answers(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, whether each answer is right, and its true chance."""
    draws = np.random.default_rng(seed)
    score = draws.normal(size=n) * 3
    chance = expit(0.8 * score - 1.2)
    return score, draws.random(n) < chance, chance


def test_chances_are_found_again_and_are_those_of_logistic_regression():
    score, right, chance = answers(20_000)
    found = calibrate(score, right, choose=best_f1)
    assert (found.slope, found.intercept) == (pytest.approx(0.8, abs=0.05), pytest.approx(-1.2, abs=0.05))
    np.testing.assert_allclose(found.probability(score), chance, atol=0.02)
    theirs = LogisticRegression(C=np.inf).fit(score[:, None], right)
    np.testing.assert_allclose(
        found.probability(score), theirs.predict_proba(score[:, None])[:, 1], atol=2e-3
    )
    assert calibration_error(found.probability(score), right) < 0.02


def test_the_order_of_scores_stays_and_no_slope_is_infinite():
    score = np.arange(10.0)
    apart = calibrate(score, score >= 5, choose=best_f1)
    assert 0 < apart.slope < 100 and (np.diff(apart.probability(score)) > 0).all()
    against = calibrate(score, score < 5, choose=best_f1)
    assert against.slope == 0
    # One chance for all tells nothing, unless most are right.
    assert calibrate(score, score < 4, choose=best_f1).threshold > 1
    assert calibrate(score, score < 8, choose=best_f1).shown == 1
    for right in (np.zeros(10, bool), np.ones(10, bool)):
        assert np.isfinite(calibrate(score, right, choose=best_f1).probability(score)).all()
    with pytest.raises(DataError, match="one number for each"):
        calibrate(np.full(3, np.nan), np.ones(3, bool), choose=best_f1)


def test_thresholds_are_those_that_trying_all_finds():
    score, right, _ = answers(300)
    chance, once = expit(score).round(2), np.ones(300)  # with ties
    tried = np.unique(chance)
    f1 = [f1_score(right, chance >= threshold) for threshold in tried]
    assert f1_score(right, chance >= best_f1(chance, right, once)) == pytest.approx(max(f1))

    shown = [right[chance >= threshold] for threshold in tried]
    good = [t for t, of in zip(tried, shown, strict=True) if of.mean() >= 0.5 + 0.5 / len(of) ** 0.5]
    assert half_right(chance, right, once) == min(good)
    nothing = np.zeros(300, bool)
    assert half_right(chance, nothing, once) > 1 and best_f1(chance, nothing, once) > 1
    found = calibrate(score, right, choose=half_right)
    shown = found.probability(score) >= found.threshold
    assert found.precision == right[shown].mean() >= 0.5 and found.shown == shown.mean()


@pytest.mark.parametrize("choose", [half_right, best_f1])
def test_an_answer_that_counts_twice_is_two_answers(choose):
    score, right, _ = answers(200)
    often = np.random.default_rng(5).integers(1, 4, 200)
    weighed = calibrate(score, right, choose=choose, weight=often)
    repeated = calibrate(np.repeat(score, often), np.repeat(right, often), choose=choose)
    for name, value in vars(repeated).items():
        assert vars(weighed)[name] == pytest.approx(value, rel=1e-3), name


def test_the_reliability_curve_counts():
    probability = np.array([0.1, 0.1, 0.9, 0.9])
    right = np.array([False, True, True, True])
    mean, share, n = reliability(probability, right, bins=2)
    np.testing.assert_allclose((mean, share, n), ([0.1, 0.9], [0.5, 1.0], [2, 2]))
    assert calibration_error(probability, right, bins=2) == pytest.approx(0.25)


def test_a_mix_is_chosen_where_it_is_better_and_else_the_usual_stays():
    draws = np.random.default_rng(0)
    right = np.eye(60, dtype=bool)
    scores = {"good": right + draws.normal(size=(60, 60)) * 0.2, "bad": draws.normal(size=(60, 60))}
    usual = {"good": 0.5, "bad": 0.5}
    best = best_mix(usual, lambda mix: own_reciprocal_ranks(mixed(scores, mix), right))
    assert best == {"good": 1.0, "bad": 0.0}
    noise = {"good": draws.normal(size=(60, 60)), "bad": draws.normal(size=(60, 60))}
    assert best_mix(usual, lambda mix: own_reciprocal_ranks(mixed(noise, mix), right)[:4]) == usual


def test_figures_are_what_slow_ones_find():
    draws = np.random.default_rng(1)
    score, right = draws.normal(size=(6, 20)), draws.random((6, 20)) < 0.3
    right[2] = False
    expected = [average_precision_score(r, s) for r, s in zip(right, score, strict=True) if r.any()]
    np.testing.assert_allclose(average_precision(score, right), expected)
    square, own = draws.normal(size=(9, 9)), np.eye(9, dtype=bool)
    ranks = [sorted(-row).index(-row[i]) + 1 for i, row in enumerate(square)]
    np.testing.assert_allclose(own_reciprocal_ranks(square, own), 1 / np.array(ranks))
    best = [sorted(range(20), key=lambda w: -row[w])[:4] for row in score]
    np.testing.assert_allclose(
        share_hit(score, right, top=4), [right[i, words].mean() for i, words in enumerate(best)]
    )


@pytest.fixture(scope="module")
def planted() -> tuple[Reader, dict, csr_matrix]:
    """120 pairs of 4 themes with 3 words each; 80 to read by, and theta, place and words of the others."""
    draws = np.random.default_rng(0)
    themes = draws.integers(4, size=120)
    place = np.eye(4)[themes][:, None] + draws.normal(size=(120, 2, 4)) * 0.4  # of text and picture
    place /= np.linalg.norm(place, axis=2, keepdims=True)
    theta = np.exp(3 * place)
    theta /= theta.sum(axis=2, keepdims=True)
    has = np.zeros((120, 12))
    for row, theme in enumerate(themes):
        has[row, draws.choice(3, size=2, replace=False) + 3 * theme] = 1
    topic_word = np.kron(np.eye(4), np.full(3, 1 / 3)) * 0.9 + 0.1 / 12
    both = place[:80].sum(axis=1)
    reader = Reader(
        topic_word,
        np.full(4, 0.25),
        both / np.linalg.norm(both, axis=1, keepdims=True),
        PairWords.of(csr_matrix(has[:80])),
        has[:80].sum(axis=0) + 1,
    )
    return reader, {"theta": theta[80:], "place": place[80:]}, csr_matrix(has[80:])


def has_words(reader: Reader) -> np.ndarray:
    words = reader.pair_words
    found = np.zeros((len(words.indptr) - 1, words.n_words))
    for pair, (start, end) in enumerate(itertools.pairwise(words.indptr)):
        found[pair, words.indices[start:end]] = 1
    return found


def test_words_of_pairs_are_summed_alike_with_and_without_scipy():
    draws = np.random.default_rng(0)
    has = draws.random((200, 40)) < 0.2
    weights = draws.random((5, 200)).astype(np.float32)
    asked = draws.random((3, 40)) * (draws.random((3, 40)) < 0.2)
    counts = csr_matrix(has)
    words = PairWords(counts.indices, counts.indptr, 40)
    alone = words.near(weights)
    np.testing.assert_allclose(alone, weights @ has.astype(np.float32), rtol=1e-5)
    np.testing.assert_array_equal(words.matrix.toarray(), has)
    np.testing.assert_array_equal(words.near(weights), alone)
    np.testing.assert_allclose(words.mean(asked), asked @ (has / np.maximum(has.sum(axis=0), 1)).T, rtol=1e-6)


@pytest.mark.parametrize(
    ("indices", "indptr"),
    [
        ([0, 5], [0, 2]),
        ([0, -1], [0, 2]),
        ([0], [0, 2]),
        ([0, 1], [0, 1]),
        ([0, 1], [1, 2]),
        ([0, 1], [0, 3, 2]),
        ([], []),
    ],
)
def test_words_of_pairs_that_are_none_are_refused(indices, indptr):
    with pytest.raises(ValueError, match="words"):
        PairWords(np.array(indices, dtype=np.int32), np.array(indptr, dtype=np.int32), 5)


def readings(planted):
    reader, held, counts = planted
    text = reader.text(held["theta"][:, 0], held["place"][:, 0], counts)
    return text, reader.picture(held["theta"][:, 1], held["place"][:, 1])


def test_scores_are_what_their_names_say(planted):
    reader, held, counts = planted
    text, picture = readings(planted)
    mix = {"topics": 0.5, "pairs": 0.5}
    scores = reader.scores(text, picture, mix)
    assert tuple(scores) == SCORES
    i, j = 3, 7
    a, b = held["place"][i, 0], held["place"][j, 1]
    assert scores["space"][i, j] == pytest.approx(a @ b)
    near = np.exp(20 * (reader.places @ b))
    by_pairs = near @ has_words(reader)
    by_topics = held["theta"][j, 1] @ reader.topic_word
    words = (by_pairs / by_pairs.sum() + by_topics / by_topics.sum()) / 2
    overall = reader.frequency / reader.frequency.sum()
    rare = np.log(reader.frequency.max() + 1) - np.log(reader.frequency) + 0.1
    weights = (counts.toarray()[i] > 0) * rare
    lift = np.log((words / overall + 0.3) / 1.3)
    assert scores["words"][i, j] == pytest.approx(weights @ lift / weights.sum())
    one = reader.picture(held["theta"][j : j + 1, 1], held["place"][j : j + 1, 1])
    for name, found in reader.scores(text, one, mix).items():
        np.testing.assert_allclose(found[:, 0], scores[name][:, j])


def test_what_is_tuned_on_held_out_pairs_finds_their_themes(planted):
    text, picture = readings(planted)
    reader, _, counts = planted
    tuned = tune(reader, text, picture, counts, held_out=True, n_pictures=40)
    assert set(tuned.mix) == set(tuned.matches) == set(ASKED) and "words" not in tuned.mix["unknown"]
    for weights in (tuned.word_mix, *tuned.mix.values()):
        assert sum(weights.values()) == pytest.approx(1)
    query = reader.word_query(csr_matrix(np.eye(12)))
    score = tuned.match("words", reader.scores(query, picture, tuned.word_mix))
    right = counts.toarray().T > 0
    found = average_precision(score, right)
    assert found.mean() > right.mean() + 0.3
    assert tuned.keywords.precision >= 0.5 and tuned.flat < 5
    assert Tuned.read(json.loads(json.dumps(tuned.stored()))) == tuned


def test_in_a_larger_collection_a_text_s_own_picture_is_found_less_easily(planted):
    text, picture = readings(planted)
    reader, _, counts = planted
    few, many = (
        tune(reader, text, picture, counts, held_out=True, n_pictures=n).matches for n in (40, 40_000)
    )
    has = counts.toarray() > 0
    own = np.eye(len(has), dtype=bool)
    right = (text.words["asked"] @ has.T >= 0.5)[~own]
    tuned = tune(reader, text, picture, counts, held_out=True, n_pictures=40_000)
    score = tuned.match("text", reader.scores(text, picture, tuned.word_mix))[~own]
    looked = score >= np.quantile(score, 0.9)
    # Where its own picture hardly counts, the chances are the share of the other pictures that are right.
    said = many["text"].probability(score)[looked].mean()
    assert said == pytest.approx(right[looked].mean(), abs=0.05)
    assert few["text"].probability(score)[looked].mean() > said


def test_chances_of_what_no_known_word_finds_are_those_of_unknown_words(planted):
    text, picture = readings(planted)
    reader, _, counts = planted
    # Words that stand in one text each, and say nothing of its picture.
    holds = np.eye(40, dtype=bool)[np.random.default_rng(0).permutation(40)]
    by_texts, by_words = (
        tune(reader, text, picture, counts, held_out=True, n_pictures=40, strange=strange)
        for strange in (None, (text, holds))
    )
    assert by_words.mix == by_texts.mix
    assert all(by_words.matches[what] == by_texts.matches[what] for what in ("words", "text"))
    said = by_words.matches["unknown"].probability(
        by_words.match("unknown", reader.scores(text, picture, by_words.word_mix))
    )
    assert said.max() < 0.3 and said.mean() == pytest.approx(1 / 40, abs=0.03)


def test_without_held_out_pairs_nothing_is_chosen_or_calibrated(planted):
    text, picture = readings(planted)
    tuned = tune(planted[0], text, picture, planted[2], held_out=False, n_pictures=40)
    assert (tuned.keywords, tuned.matches, tuned.flat) == (None, None, float("inf"))
    assert tuned.word_mix == {"topics": 0.5, "pairs": 0.5}
    assert Tuned.read(json.loads(json.dumps(tuned.stored()))) == tuned


def test_a_threshold_that_shows_nothing_is_stored():
    none = calibrate(np.arange(9.0), np.zeros(9, bool), choose=half_right)
    again = Calibration(**json.loads(json.dumps(vars(none))))
    assert again.threshold > 1 and np.isnan(again.precision) and again.shown == 0
