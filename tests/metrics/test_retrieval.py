"""Every figure of the tables against something independent of it: a reference package or a closed form."""

from __future__ import annotations

import itertools
import math
import re
import warnings

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, Success
from scipy import sparse, stats

from vtm.errors import ConfigError, DataError
from vtm.metrics import retrieval as metrics
from vtm.metrics import topics as theta_metrics
from vtm.metrics import topics as topic_metrics
from vtm.metrics.ranking import NOT_FOUND, similarity, target_ranks


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# Retrieval


def ir_measures_figures(scores: np.ndarray, targets: list[int | None]) -> dict[str, float]:
    """The same figures from ir-measures (trec_eval), which ranks by score itself.

    It breaks ties by name. So each score is replaced by the place of its value among the row's different
    values, and the pessimistic rule put into it: the target is half a place lower.
    """
    places = [np.unique(np.round(row, 9), return_inverse=True)[1] for row in scores]
    qrels, run = [], []
    for q, (row, target) in enumerate(zip(places, targets, strict=True)):
        qrels.append(ir_measures.Qrel(str(q), f"d{target}", 1))
        for d, place in enumerate(row):
            run.append(ir_measures.ScoredDoc(str(q), f"d{d}", float(place) - (0.5 if d == target else 0.0)))
    wanted = {"mrr_100": RR @ 100, "correct_100": Success @ 100}
    wanted |= {f"recall_{k}": R @ k for k in metrics.AT}
    found = ir_measures.calc_aggregate(list(wanted.values()), qrels, run)
    figures = {name: found[measure] for name, measure in wanted.items()}
    return figures | {"correct_100": figures["correct_100"] * len(scores)}


@pytest.mark.parametrize("ties", [False, True])
def test_retrieval_is_what_ir_measures_says(ties):
    rng = np.random.default_rng(0)
    n, m = 40, 150
    items = rng.normal(size=(m, 3))
    if ties:
        items = np.round(items)
        items[:, 2] = 1.0  # few different vectors, none of them zero
    queries = items[:n] + rng.normal(size=(n, 3)) * 0.4
    targets = [d if d % 9 else None for d in range(n)]  # some are not among the items
    wanted = {str(q): f"d{target}" for q, target in enumerate(targets)}
    found = target_ranks(queries, items, list(wanted), [f"d{d}" for d in range(m)], wanted)
    scores = similarity(queries, items)
    assert (len(np.unique(np.round(scores[0], 9))) < m / 2) == ties
    assert metrics.retrieval_figures(found.ranks) == pytest.approx(ir_measures_figures(scores, targets))


def test_retrieval_by_hand():
    figures = metrics.retrieval_figures(np.array([1, 4, 100, 101, NOT_FOUND]))
    assert figures == {
        "correct_100": 3.0,
        "mrr_100": pytest.approx((1 + 1 / 4 + 1 / 100) / 5),
        "recall_1": 0.2,
        "recall_5": 0.4,
        "recall_10": 0.4,
        "recall_50": 0.4,
        "recall_100": 0.6,
    }
    shallow = metrics.retrieval_figures(np.array([2, 3]), cutoff=2, at=(2,))
    assert shallow == {"correct_2": 1.0, "mrr_2": 0.25, "recall_2": 0.5}


@settings(max_examples=50)
@given(ranks=st.lists(st.integers(1, 300), min_size=1, max_size=60), seed=st.integers(0, 9))
def test_no_figure_or_interval_depends_on_the_order_of_the_items(ranks, seed):
    ranks = np.array(ranks)
    moved = np.random.default_rng(seed).permutation(ranks)
    assert metrics.retrieval_figures(ranks) == metrics.retrieval_figures(moved)
    before, after = metrics.per_item(ranks)["mrr_100"], metrics.per_item(moved)["mrr_100"]
    intervals = [metrics.bootstrap_interval(values, n_resamples=50) for values in (before, after)]
    assert intervals[0] == intervals[1]
    assert before.mean() == pytest.approx(metrics.retrieval_figures(ranks)["mrr_100"])


def test_perfect_and_random():
    assert metrics.perfect(7) == metrics.retrieval_figures(np.ones(7, dtype=int))
    assert set(metrics.perfect(7).values()) == {7.0, 1.0}
    # A ranking in which each rank occurs once is the uniform distribution itself.
    for n in (30, 100, 250):
        assert metrics.expected_random(n) == pytest.approx(metrics.retrieval_figures(np.arange(1, n + 1)))
    assert metrics.expected_random(200, n_queries=10)["correct_100"] == 5.0
    assert set(metrics.expected_random(1).values()) == {1.0}
    assert metrics.perfect(3, cutoff=2, at=(7,)) == {"correct_2": 3.0, "mrr_2": 1.0, "recall_7": 1.0}


@pytest.mark.parametrize("ranks", [[], [0, 1], [1.0, 2.0], [[1, 2]]])
def test_ranks_that_cannot_be(ranks):
    with pytest.raises(DataError, match="ranks"):
        metrics.retrieval_figures(np.array(ranks))
    with pytest.raises(ConfigError, match="0"):
        metrics.retrieval_figures(np.array([1]), at=(0,))


def test_group_hit():
    top = np.array([[0, 1, 2], [2, 1, 0]])
    shares = metrics.group_hit(top, ["cat", "dog"], ["cat", "dog", "cat"])
    np.testing.assert_allclose(shares, [2 / 3, 1 / 3])
    np.testing.assert_allclose(metrics.group_hit(top[:, :1], ["cat", "dog"], ["cat", "dog", "cat"]), [1, 0])
    with pytest.raises(DataError, match="run to 2"):
        metrics.group_hit(top, ["cat", "dog"], ["cat", "dog"])
    with pytest.raises(DataError, match="1 query groups"):
        metrics.group_hit(top, ["cat"], ["cat", "dog", "cat"])


def test_group_hit_tells_apart_what_a_text_array_does_not():
    """NumPy's own text arrays drop a null byte at the end of a text."""
    top = np.array([[0], [1]])
    for own, items in ((["a\0", "b"], ["a", "b"]), (["a", "b"], ["a\0", "b"])):
        assert metrics.group_hit(top, own, items).tolist() == [0.0, 1.0]


NAN = float("nan")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.per_item(np.array([0])), "ranks: whole numbers from 1 are needed"),
        (lambda: metrics.expected_random(0), "a random ranking needs at least one item"),
        (lambda: metrics.bootstrap_interval([]), "values: empty, there is nothing to average"),
        (lambda: metrics.bootstrap_interval([1.0, NAN, 2.0]), "values: 1 of 3 are NaN or infinite"),
        (
            lambda: metrics.bootstrap_interval(np.ones((1, 1, 3))),
            "values: (items,) or (seeds, items) is needed, not shape (1, 1, 3)",
        ),
        (
            lambda: metrics.bootstrap_interval([1.0], n_resamples=0),
            "n_resamples must be at least 1, not 0",
        ),
        (lambda: metrics.bootstrap_interval([1.0], level=0), "level must lie between 0 and 1, not 0"),
        (lambda: metrics.bootstrap_interval([1.0], level=1), "level must lie between 0 and 1, not 1"),
        (lambda: metrics.bootstrap_interval([1.0], level=1.5), "level must lie between 0 and 1, not 1.5"),
        (lambda: metrics.paired_bootstrap([], [1.0]), "a: empty, there is nothing to average"),
        (lambda: metrics.paired_bootstrap([1.0], []), "b: empty, there is nothing to average"),
        (lambda: metrics.seed_summary([]), "values: empty, there is nothing to average"),
        (lambda: metrics.seed_summary([1.0, NAN, 2.0]), "values: 1 of 3 are NaN or infinite"),
        (lambda: metrics.seed_summary([[1.0]]), "values: one per seed is needed, not shape (1, 1)"),
        (
            lambda: metrics.group_hit(np.zeros((2, 0), int), ["a", "b"], ["a"]),
            "positions of shape (2, 0) do not fit 2 query groups",
        ),
        (
            lambda: metrics.group_hit(np.array([0, 0]), ["a", "b"], ["a"]),
            "positions of shape (2,) do not fit 2 query groups",
        ),
    ],
)
def test_what_cannot_be_is_said_in_these_words(call, message):
    with pytest.raises((ConfigError, DataError), match=f"^{re.escape(message)}$"):
        call()


# Uncertainty


def by_hand(values: np.ndarray, *, seed: int, n_resamples: int) -> np.ndarray:
    """Means of resamples, all drawn at once."""
    draws = np.random.default_rng(seed).integers(0, len(values), size=(n_resamples, len(values)))
    return np.sort(values)[draws].mean(axis=1)


@pytest.mark.parametrize("held", [2**22, 1, 100])
def test_resamples_are_those_that_the_seed_says(held, monkeypatch):
    monkeypatch.setattr(metrics, "_CHUNK_VALUES", held)
    values = np.random.default_rng(21).exponential(size=30)
    # By default seed 0, 2000 resamples, 95 %.
    expected = np.quantile(by_hand(values, seed=0, n_resamples=2000), [0.025, 0.975])
    np.testing.assert_allclose(metrics.bootstrap_interval(values), expected, rtol=1e-12)
    expected = np.quantile(by_hand(values, seed=3, n_resamples=17), [0.1, 0.9])
    found = metrics.bootstrap_interval(values, seed=3, n_resamples=17, level=0.8)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    low, high = metrics.bootstrap_interval(values, n_resamples=1)
    assert low == high == pytest.approx(by_hand(values, seed=0, n_resamples=1)[0])

    other = np.random.default_rng(22).exponential(size=30)
    for options, seed, n in (({}, 0, 2000), ({"seed": 5, "n_resamples": 300}, 5, 300)):
        means = by_hand(values - other, seed=seed, n_resamples=n)
        found = metrics.paired_bootstrap(values, other, **options)
        np.testing.assert_allclose([found.low, found.high], np.quantile(means, [0.025, 0.975]), rtol=1e-12)
        assert found.p == pytest.approx(2 * (min((means <= 0).sum(), (means >= 0).sum()) + 1) / (n + 1))


@pytest.mark.parametrize(("n", "held"), [(5, 1), (5, 12), (5, 10**6)])
def test_no_more_is_drawn_at_once_than_may_be_held(n, held, monkeypatch):
    monkeypatch.setattr(metrics, "_CHUNK_VALUES", held)
    shapes = [draws.shape for draws in metrics._draws(np.random.default_rng(0), n, 7)]
    assert sum(rows for rows, _ in shapes) == 7 and {columns for _, columns in shapes} == {n}
    assert max(rows for rows, _ in shapes) == min(7, max(1, held // n))


def test_figures_are_of_double_precision():
    values = np.full(1000, 0.1, dtype=np.float32)
    exact = float(values[0])
    assert abs(float(values.mean()) - exact) > 1e-9  # what single precision makes of it
    assert metrics.seed_summary(values)["mean"] == pytest.approx(exact, abs=1e-15)
    assert metrics.bootstrap_interval(values, n_resamples=5) == pytest.approx((exact, exact), abs=1e-15)
    for figure in metrics.per_item(np.array([1, 200], dtype=np.int32)).values():
        assert figure.dtype == np.float64


def test_interval_is_that_of_scipy():
    values = np.random.default_rng(1).exponential(size=80)
    expected = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=20000,
        method="percentile",
        confidence_level=0.9,
        random_state=np.random.default_rng(2),
    ).confidence_interval
    found = metrics.bootstrap_interval(values, n_resamples=20000, level=0.9, seed=0)
    width = expected.high - expected.low
    assert found == pytest.approx((expected.low, expected.high), abs=0.03 * width)
    assert found == metrics.bootstrap_interval(values, n_resamples=20000, level=0.9, seed=0)
    assert found != metrics.bootstrap_interval(values, n_resamples=20000, level=0.9, seed=1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    inside = 0
    for trial in range(400):
        hits = (rng.random(120) < 0.3).astype(float)
        low, high = metrics.bootstrap_interval(hits, seed=trial, n_resamples=400)
        inside += low <= 0.3 <= high
    assert 0.90 <= inside / 400 <= 0.98


def test_seeds_are_resampled_together_and_memory_is_bounded(monkeypatch):
    rng = np.random.default_rng(4)
    items = rng.normal(size=200)
    # Three runs that are nearly the same say no more about the items than one run does.
    runs = items + rng.normal(size=(3, 200)) * 1e-6
    one, three = metrics.bootstrap_interval(items), metrics.bootstrap_interval(runs)
    assert three == pytest.approx(one, abs=1e-4)
    monkeypatch.setattr(metrics, "_CHUNK_VALUES", 1000)
    assert metrics.bootstrap_interval(items) == pytest.approx(one, abs=1e-12)


def test_paired_bootstrap():
    rng = np.random.default_rng(5)
    b = rng.normal(size=(3, 300))
    better = b[:2] + 0.2 + rng.normal(size=(2, 300)) * 0.1
    found = metrics.paired_bootstrap(better.mean(axis=0), b[:2])
    assert found.low < 0.2 < found.high
    assert found.difference == pytest.approx(0.2, abs=0.02)
    assert found.p == pytest.approx(2 / 2001)
    same = metrics.paired_bootstrap(b, b)
    assert same == metrics.Test(0.0, 0.0, 0.0, 1.0)
    with pytest.raises(DataError, match=r"^a has 300 items and b 9: a paired test needs the same items$"):
        metrics.paired_bootstrap(b, b[:, :9])


def test_a_verdict_follows_from_the_interval():
    above, below, level = (
        metrics.Test(0.2, 0.1, 0.3, 0.01),
        metrics.Test(-0.2, -0.3, -0.1),
        metrics.Test(0.1, 0.0, 0.3),
    )
    none = metrics.Test(0.2)
    assert [test.verdict for test in (above, below, level, none)] == [
        "better",
        "worse",
        "undecided",
        "untested",
    ]
    assert -above == metrics.Test(-0.2, -0.3, -0.1, 0.01) and (-above).verdict == "worse"
    assert [metrics.told(test, 1, 2, 3) for test in (above, below, level, none)] == [1, 2, 3, 3]
    assert [metrics.told(test, 1, 2, 3, 4) for test in (level, none)] == [3, 4]
    assert none.stored() == {"difference": 0.2, "low": None, "high": None, "p": None}
    assert metrics.Test.read(above.stored()) == above
    assert metrics.Test.read({"difference": 0.2, "low": None, "high": None}).verdict == "untested"


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([0.0, 0.001, 0.01, 0.04, 0.3, 1.0])))
def test_holm_is_the_closure_of_bonferroni(p: dict[str, float]) -> None:
    """A hypothesis is as sure as the least sure family of some of them that it belongs to (Marcus et al. 1976)."""
    tests = {name: metrics.Test(0.0, p=value) for name, value in p.items()}
    of_families = {
        name: max(
            min(1.0, len(family) * min(p[one] for one in family))
            for size in range(1, len(p) + 1)
            for family in itertools.combinations(p, size)
            if name in family
        )
        for name in p
    }
    assert metrics.adjusted(tests) == pytest.approx(of_families)
    untested = {"none": metrics.Test(0.0)}
    assert metrics.adjusted(tests | untested) == metrics.adjusted(tests)


def test_paired_p_is_uniform_enough_under_no_difference():
    rng = np.random.default_rng(6)
    pairs = rng.normal(size=(300, 2, 100))
    found = [metrics.paired_bootstrap(a, b, n_resamples=300, seed=s) for s, (a, b) in enumerate(pairs)]
    p = np.array([result.p for result in found])
    assert 0.02 <= np.mean(p < 0.05) <= 0.10
    assert 0.4 <= np.mean(p) <= 0.6


def test_seed_summary():
    found = metrics.seed_summary([0.1, 0.3, 0.2])
    sd = stats.tstd([0.1, 0.3, 0.2])
    assert found == pytest.approx({"mean": 0.2, "sd": sd, "min": 0.1, "max": 0.3, "n": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as NumPy warns of a spread of one value
        assert math.isnan(metrics.seed_summary([0.5])["sd"])
    assert metrics.seed_summary([0.1, 0.3])["sd"] == pytest.approx(0.2 / math.sqrt(2))
    with pytest.raises(DataError, match="1 of 2"):
        metrics.seed_summary([0.1, float("nan")])
    with pytest.raises(DataError, match="empty"):
        metrics.bootstrap_interval(np.array([]))
    with pytest.raises(ConfigError, match="level"):
        metrics.bootstrap_interval(np.ones(3), level=95)


# Topic words


@pytest.fixture(scope="module")
def words():
    """Documents with words twice, an empty one, and pairs that never meet; and topics of 12 words."""
    rng = np.random.default_rng(7)
    vocabulary = [f"w{i:02d}" for i in range(60)]
    weights = rng.dirichlet(np.full(60, 0.2), size=6)
    draws = [rng.choice(60, size=rng.integers(3, 30), p=weights[d % 6]) for d in range(200)]
    texts = [[vocabulary[w] for w in draw] for draw in draws]
    texts.append([])
    texts.append(list(vocabulary))
    counts = np.zeros((len(texts), 60), dtype=np.int64)
    for row, text in enumerate(texts):
        for word in text:
            counts[row, vocabulary.index(word)] += 1
    topics = [[vocabulary[w] for w in np.argsort(-row)[:12]] for row in weights]
    topics += [[vocabulary[w] for w in rng.choice(60, size=12, replace=False)] for _ in range(4)]
    return vocabulary, texts, sparse.csr_matrix(counts), topics


def gensim_coherence(topics, texts, coherence, top, window=None):
    from gensim.corpora import Dictionary
    from gensim.models import CoherenceModel

    model = CoherenceModel(
        topics=topics,
        texts=texts,
        dictionary=Dictionary(texts),
        coherence=coherence,
        topn=top,
        window_size=window,
        processes=1,
    )
    return np.array(model.get_coherence_per_topic())


@pytest.mark.parametrize("top", [2, 5, 10])
def test_npmi_is_gensims_with_whole_documents_as_windows(words, top):
    vocabulary, texts, counts, topics = words
    expected = gensim_coherence(topics, texts, "c_npmi", top, window=max(map(len, texts)))
    for documents in (counts, counts.toarray(), sparse.csc_array(counts)):
        found = topic_metrics.npmi(topics, documents, vocabulary, top=top)
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_npmi_by_hand():
    documents = np.array([[1, 1, 0, 0], [2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    vocabulary = ["sun", "moon", "tax", "never"]
    topics = [["sun", "moon"], ["sun", "tax"], ["sun", "never"]]
    score = topic_metrics.npmi(topics, documents, vocabulary, top=2)
    never_together = -1 + math.log(0.5 * 0.25) / math.log(1e-12)
    np.testing.assert_allclose(score, [1.0, never_together, -1.0], atol=1e-9)
    always = topic_metrics.npmi([["a", "b"]], np.ones((3, 2)), ["a", "b"], top=2)
    expected = gensim_coherence([["a", "b"]], [["a", "b"]] * 3, "c_npmi", 2, window=2)
    np.testing.assert_allclose(always, expected)


def test_of_a_words_forms_the_best_stands_for_all(words):
    vocabulary = words[0]
    rng = np.random.default_rng(5)
    scores, forms = np.round(rng.random((7, 60)), 1), rng.integers(0, 25, 60)
    for top in (1, 10, 60):
        for row, found in zip(
            scores, topic_metrics.top_words(scores, vocabulary, top, forms=forms), strict=True
        ):
            seen, expected = set(), []
            for place in sorted(range(60), key=lambda place: (-row[place], place)):
                if forms[place] not in seen and len(expected) < top:
                    seen.add(forms[place])
                    expected.append(vocabulary[place])
            assert found == expected
    different = topic_metrics.top_words(scores, vocabulary, 10, forms=np.arange(60))
    assert different == topic_metrics.top_words(scores, vocabulary, 10)


def test_lift_is_how_many_times_as_frequent_a_word_is():
    joint = np.random.default_rng(0).random((4, 9))
    joint /= joint.sum()  # of topic and word
    share = joint.sum(axis=1)
    expected = joint / np.outer(share, joint.sum(axis=0))
    np.testing.assert_allclose(topic_metrics.lift(joint / share[:, None], share), expected)


def test_pairs_that_never_stand_together_are_counted(words):
    vocabulary, texts, counts, topics = words
    few = 25
    held = [set(text) for text in texts[:few]]

    def apart(topic):
        return [not any({a, b} <= text for text in held) for a, b in itertools.combinations(topic, 2)]

    for top in (2, 10):
        expected = [np.mean(apart(topic[:top])) for topic in topics]
        found = topic_metrics.never_together(topics, counts[:few], vocabulary, top=top)
        np.testing.assert_allclose(found, expected)
    assert 0 < np.mean(expected) < 1
    figures = topic_metrics.coherence_figures(topics, counts[:few], vocabulary)
    assert figures["never_together"] == pytest.approx(np.mean(expected))
    figures = topic_metrics.coherence_figures(topics, counts, vocabulary)
    for top in (5, 10):
        expected = gensim_coherence(topics, texts, "c_npmi", top, window=max(map(len, texts)))
        assert figures[f"npmi_{top}"] == pytest.approx(expected.mean())


@pytest.fixture(scope="module")
def themes():
    """60 words of six themes, near each other in 12 dimensions; topics of one theme, and mixed ones."""
    rng = np.random.default_rng(3)
    vectors = (
        np.repeat(np.eye(6, 12) * 3, 10, axis=0) + rng.normal(size=(60, 12)) * 0.4 + 2
    )  # far from the origin
    vocabulary = [f"w{i:02}" for i in range(60)]
    pure = [vocabulary[10 * theme : 10 * theme + 10] for theme in range(6)]
    mixed = [vocabulary[first::10][:6] for first in (8, 9)]  # a word of each theme
    return vocabulary, vectors, [*pure, *mixed]


def intruders_found(topics, vectors, vocabulary, scores, top):
    """For each topic, whether each word that may intrude is the one farthest from the others: plain loops."""
    centred = {word: row - np.mean(vectors, axis=0) for word, row in zip(vocabulary, vectors, strict=True)}

    def cosine(a, b):
        a, b = centred[a], centred[b]
        return math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))

    for k, topic in enumerate(topics):
        score = None if scores is None else dict(zip(vocabulary, scores[k], strict=True))
        low = {
            word
            for j, other in enumerate(topics)
            for word in other[:top]
            if j != k and word not in topic and (score is None or score[word] <= np.median(scores[k]))
        }
        found = []
        for intruder in sorted(low):
            six = [*topic[:top], intruder]
            nearness = {word: sum(cosine(word, other) for other in six if other != word) for word in six}
            found.append(min(nearness, key=nearness.get) == intruder)
        yield found


@pytest.mark.parametrize("with_scores", [False, True])
@pytest.mark.parametrize("top", [3, 5])
def test_word_intrusion_is_what_plain_loops_find(themes, top, with_scores):
    vocabulary, vectors, topics = themes
    scores = np.random.default_rng(0).random((len(topics), len(vocabulary))) if with_scores else None
    expected = list(intruders_found(topics, vectors, vocabulary, scores, top))
    every = topic_metrics.word_intrusion(topics, vectors, vocabulary, scores=scores, top=top, draws=99)
    np.testing.assert_allclose(every, [np.mean(found) for found in expected])
    drawn = topic_metrics.word_intrusion(topics, vectors, vocabulary, scores=scores, top=top, draws=4)
    np.testing.assert_allclose(drawn * 4, np.round(drawn * 4))
    for found, share in zip(expected, drawn, strict=True):
        assert sum(found) >= share * 4 and len(found) - sum(found) >= (1 - share) * 4


def test_word_intrusion_tells_topics_of_one_theme_from_mixed_ones(themes):
    vocabulary, vectors, topics = themes
    found = topic_metrics.word_intrusion(topics, vectors, vocabulary)
    assert (found[:6] == 1).all() and (found[6:] < 0.5).all()
    again = topic_metrics.word_intrusion(topics, vectors, vocabulary, seed=0)
    np.testing.assert_array_equal(found, again)
    # Neither the length of vectors nor a place that all of them share tells anything.
    moved = (vectors - vectors.mean(axis=0)) * 5 + 7
    np.testing.assert_array_equal(topic_metrics.word_intrusion(topics, moved, vocabulary), found)


def test_word_intrusion_without_meaning_is_chance():
    rng = np.random.default_rng(0)
    vocabulary = [f"w{i}" for i in range(2000)]
    topics = rng.permutation(vocabulary).reshape(200, 10).tolist()
    found = topic_metrics.word_intrusion(topics, rng.normal(size=(2000, 50)), vocabulary, draws=50)
    assert found.mean() == pytest.approx(1 / 6, abs=0.03)
    # Words that are all alike cannot be told from each other; topics of the same words have no intruder.
    assert not topic_metrics.word_intrusion(topics, np.ones((2000, 5)), vocabulary).any()
    assert not topic_metrics.word_intrusion([topics[0], topics[0][::-1]], np.eye(2000), vocabulary).any()


def test_word_intrusion_refuses_what_does_not_fit(themes):
    vocabulary, vectors, topics = themes
    intrusion = topic_metrics.word_intrusion
    with pytest.raises(DataError, match="at least two are needed"):
        intrusion(topics[:1], vectors, vocabulary)
    with pytest.raises(DataError, match="vocabulary of 60 words"):
        intrusion(topics, vectors[1:], vocabulary)
    with pytest.raises(DataError, match="vectors: NaN or infinity"):
        intrusion(topics, np.where(vectors == vectors.max(), np.nan, vectors), vocabulary)
    with pytest.raises(DataError, match="scores of shape"):
        intrusion(topics, vectors, vocabulary, scores=np.ones((2, 60)))
    with pytest.raises(DataError, match="'zebra'"):
        intrusion([["zebra", *topics[0]], topics[1]], vectors, vocabulary)
    with pytest.raises(DataError, match="topic 0 has 6 words"):
        intrusion([topics[6], topics[0]], vectors, vocabulary, top=7)
    with pytest.raises(ConfigError, match="top must be at least 2"):
        intrusion(topics, vectors, vocabulary, top=1)
    with pytest.raises(ConfigError, match="draws must be at least 1"):
        intrusion(topics, vectors, vocabulary, draws=0)


def test_c_v_is_gensims(words):
    _, texts, _, topics = words
    found = topic_metrics.c_v(topics, texts, top=5)
    np.testing.assert_allclose(found, gensim_coherence(topics, texts, "c_v", 5))
    assert found[:6].mean() > found[6:].mean()  # topics of the generator against words drawn at random


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_diversity_and_rbo_are_those_of_the_reference_package(words, p):
    from contextualized_topic_models.evaluation.measures import InvertedRBO, TopicDiversity

    topics = words[3]
    for top in (1, 5, 12):
        expected = TopicDiversity(topics).score(topk=top)
        assert topic_metrics.topic_diversity(topics, top=top) == pytest.approx(expected)
        expected = InvertedRBO(topics).score(topk=top, weight=p)
        assert topic_metrics.inverted_rbo(topics, top=top, p=p) == pytest.approx(expected)


def test_equal_and_disjoint_topics():
    letters = [list("abcdefghij"), list("klmnopqrst"), list("uvwxyz0123")]
    assert topic_metrics.inverted_rbo(letters) == pytest.approx(1)
    assert topic_metrics.inverted_rbo([letters[0]] * 3) == pytest.approx(0)
    assert topic_metrics.topic_diversity([letters[0]] * 4, top=10) == 0.25
    nearly = [*letters, list("jihgfedc!?")]  # 8 of 10 shared with the first, in another order
    assert topic_metrics.duplicated_topics(letters) == 0
    assert topic_metrics.duplicated_topics(nearly) == 2
    assert topic_metrics.duplicated_topics(nearly, share=0.9) == 0
    assert topic_metrics.topic_overlap(nearly)[0].tolist() == [1.0, 0.0, 0.0, 0.8]


def test_bad_topics_are_named():
    ones = np.ones((2, 2))
    with pytest.raises(DataError, match="'zebra'"):
        topic_metrics.npmi([["a", "zebra"]], ones, ["a", "b"], top=2)
    with pytest.raises(DataError, match="'zebra'"):
        topic_metrics.c_v([["a", "zebra"]], [["a", "b"]], top=2)
    with pytest.raises(DataError, match="vocabulary of 3"):
        topic_metrics.npmi([["a", "b"]], ones, ["a", "b", "c"], top=2)
    with pytest.raises(DataError, match="topic 1 has 1 word,"):
        topic_metrics.topic_diversity([["a", "b"], ["a"]], top=2)
    with pytest.raises(DataError, match="topic 0 holds 'a' twice"):
        topic_metrics.topic_overlap([["a", "a"]], top=2)
    with pytest.raises(DataError, match="at least two"):
        topic_metrics.inverted_rbo([["a"]], top=1)
    with pytest.raises(ConfigError, match="at least 2"):
        topic_metrics.npmi([["a"]], ones, ["a", "b"], top=1)
    with pytest.raises(DataError, match="no topics"):
        topic_metrics.topic_diversity([])


# Theta


def test_peaked_and_flat_documents():
    theta = np.array([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0, 0.5, 0]])
    np.testing.assert_allclose(theta_metrics.effective_topics(theta), [1, 4, 2])
    np.testing.assert_allclose(theta_metrics.top_mass(theta, 2), [1, 0.5, 1])
    drawn = softmax(np.random.default_rng(12).normal(size=(9, 4)))
    np.testing.assert_allclose(theta_metrics.effective_topics(drawn), np.exp(stats.entropy(drawn, axis=1)))
    with pytest.raises(ConfigError, match="4"):
        theta_metrics.top_mass(theta, 5)


def test_theta_information():
    theta = softmax(np.random.default_rng(8).normal(size=(50, 6)))
    # Mutual information as the mean divergence of the documents from their mean.
    divergence = stats.entropy(theta, theta.mean(axis=0, keepdims=True), axis=1).mean()
    assert theta_metrics.theta_information(theta) == pytest.approx(divergence)
    assert theta_metrics.theta_information(np.eye(5)) == pytest.approx(math.log(5))
    assert theta_metrics.theta_information(np.tile([[0.9, 0.1]], (7, 1))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("row", [[0.5, 0.6], [1.1, -0.1], [np.nan, 1.0]])
def test_rows_that_are_no_distribution_are_named(row):
    with pytest.raises(DataError, match="theta.*row 1"):
        theta_metrics.theta_information(np.array([[0.5, 0.5], row]))


def test_purity_and_nmi():
    groups = ["cat", "cat", "dog", "dog", "dog", "owl"]
    assert theta_metrics.purity([5, 5, 2, 2, 2, 9], groups) == 1.0
    assert theta_metrics.purity([0] * 6, groups) == 0.5
    assert theta_metrics.purity([0, 0, 0, 1, 1, 1], groups) == pytest.approx(4 / 6)
    assert theta_metrics.nmi([5, 5, 2, 2, 2, 9], groups) == pytest.approx(1)
    assert theta_metrics.nmi([0] * 6, groups) == pytest.approx(0)
    # 2 I(A; B) / (H(A) + H(B)), from the joint table.
    joint = np.array([[2, 1, 0], [0, 2, 1]]) / 6
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    shared = sum(p * math.log(p / q) for p, q in zip(joint.flat, independent.flat, strict=True) if p)
    entropies = stats.entropy(joint.sum(axis=1)) + stats.entropy(joint.sum(axis=0))
    assert theta_metrics.nmi([0, 0, 0, 1, 1, 1], groups) == pytest.approx(2 * shared / entropies)
    with pytest.raises(DataError, match="5 documents"):
        theta_metrics.purity([0] * 5, groups)


def test_topic_agreement_is_pearsons_and_a_dead_topic_agrees_with_nothing():
    rng = np.random.default_rng(9)
    logits = rng.normal(size=(60, 5))
    logits[:, 4] = -30
    text, image = softmax(logits), softmax(logits[:, :4] + rng.normal(size=(60, 4)))
    text[:, 4] = 0.2
    text[:, :4] *= 0.8 / text[:, :4].sum(axis=1, keepdims=True)
    found = theta_metrics.topic_agreement(text.astype(np.float32), image)
    expected = [[stats.pearsonr(text[:, i], image[:, j]).statistic for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(found[:4], expected, atol=1e-5)
    assert (found[4] == 0).all()
    assert theta_metrics.constant_topics(text.astype(np.float32)).tolist() == [4]
    with pytest.raises(DataError, match="59 images"):
        theta_metrics.topic_agreement(text, image[:59])


def test_matching_undoes_a_shuffle_of_the_topics():
    theta = softmax(np.random.default_rng(10).normal(size=(100, 8)) * 2)
    shuffle = np.random.default_rng(11).permutation(8)
    agreement = theta_metrics.topic_agreement(theta, theta[:, shuffle])
    match = theta_metrics.match_topics(agreement)
    np.testing.assert_array_equal(theta[:, shuffle][:, match], theta)
    # The best sum, not the best of each: greedy would take 0.9 + 0.0.
    assert theta_metrics.match_topics(np.array([[0.9, 0.8], [0.7, 0.0]])).tolist() == [1, 0]
    with pytest.raises(DataError, match="of its own"):
        theta_metrics.match_topics(np.zeros((3, 2)))


def test_diagonal_summary():
    found = theta_metrics.diagonal_summary(np.array([[0.8, 0.1, 0.0], [0.6, 0.5, 0.3], [0.2, 0.2, 0.2]]))
    assert found == pytest.approx(
        {"mean": 0.5, "median": 0.5, "min": 0.2, "max": 0.8, "off_mean": 1.4 / 6, "own_best": 1 / 3}
    )
    with pytest.raises(DataError, match="square"):
        theta_metrics.diagonal_summary(np.zeros((2, 3)))
