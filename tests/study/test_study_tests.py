"""The study's tests and what is said of them: Holm, Welch, missing pictures, the rule, controls, sentences, charts."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import ttest_ind

from vtm.experiment.runs import run_baseline
from vtm.metrics.retrieval import Test, adjusted
from vtm.model.plus import PlusConfig
from vtm_study import (
    contrastive,
    measures,
    peers,
    validation,
)
from vtm_study.formats import p_cell, table
from vtm_study.measures import topic_figures

ABOVE, BELOW = Test(0.2, 0.1, 0.3, 0.001), Test(-0.2, -0.3, -0.1, 0.001)
LEVEL, NONE = Test(0.1, -0.1, 0.3, 0.4), Test(-0.1)


@pytest.fixture
def lossy(data):
    """The same pairs, where the task counts ten texts more than there are pictures."""
    test = set(data.ids("test"))
    parts = tuple("test" if i in test else "development" for i in data.corpus.ids)
    corpus = dataclasses.replace(data.corpus, parts=parts, n_test=len(test) + 10)
    found = dataclasses.replace(data, corpus=corpus)
    assert found.n_missing == 10
    return found


def test_holm_by_hand() -> None:
    def holm(**p: float) -> dict[str, float]:
        return adjusted({name: Test(0.0, p=value) for name, value in p.items()})

    found = holm(a=0.04, b=0.01, c=0.03, d=np.nan, e=0.6)
    assert found == pytest.approx({"b": 0.04, "c": 0.09, "a": 0.09, "e": 0.6})
    assert holm(a=0.9, b=0.8)["b"] == 1.0
    assert holm() == {}


def test_a_part_is_read_as_it_was_measured() -> None:
    part = {"rows": [{"minus": ABOVE, "n": (1, 2)}], "one": NONE, "spread": {"mean": 1.0, "sd": None}}
    stored = json.loads(json.dumps(measures.plain(part), allow_nan=False))
    assert stored["rows"][0]["minus"] == {"difference": 0.2, "low": 0.1, "high": 0.3, "p": 0.001}
    assert measures.measured(stored) == {**part, "rows": [{"minus": ABOVE, "n": [1, 2]}]}


def test_over_seeds_is_welchs_test() -> None:
    a, b = [0.1, 0.3, 0.2, 0.25, 0.15], [0.4, 0.1, 0.9]
    expected = ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(0.95)
    found = measures.over_seeds(a, b)
    assert (found.low, found.high, found.p) == pytest.approx((interval.low, interval.high, expected.pvalue))
    assert measures.over_seeds([0.2], [0.1]) == Test(0.1)
    assert [measures.not_below(one) for one in (ABOVE, BELOW, LEVEL, NONE)] == [True, False, True, False]


def test_p_can_go_below_a_thousandth() -> None:
    found = measures.paired(np.ones(50), np.zeros(50))
    assert found.p == pytest.approx(2 / 10_001)


def test_missing_pictures_count_as_not_found(lossy, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3))
    ids = [str(i) for i in range(6)]
    found = measures.items(x, x, ids, measure="cosine", n_missing=2)
    np.testing.assert_array_equal(found["mrr_100"], [1] * 6 + [0, 0])
    np.testing.assert_array_equal(found["recall_10"], [1] * 6 + [0, 0])
    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    monkeypatch.setattr(validation, "PlusConfig", lambda n_topics=8: PlusConfig(n_topics=8, members=2))
    base = run_baseline(lossy)
    ranks = np.stack([run.ranks() for run in base])
    assert ranks.shape[1] == len(lossy.rows["test"]) + 10
    expected = np.where(ranks <= 100, 1 / ranks, 0).mean()
    rows = peers.measure(lossy, peers.PEERS[:1])["rows"]
    assert rows[0]["mrr_100"]["mean"] == pytest.approx(expected)


def test_topic_figures_of_members_and_of_all_together(data) -> None:
    words = list(data.vocabulary.words)
    one = [words[:25], words[25:50]]
    found = topic_figures([*one, *one], data, unseen="test", members=2)
    assert found["diversity_top10"] == found["diversity"] == 1 and found["inverted_rbo"] == 1
    assert found["diversity_top10_whole"] == 0.5
    assert found["inverted_rbo_whole"] == pytest.approx(4 / 6)  # two of six pairs are the same list


def test_the_rule_names_the_best_of_those_that_qualify() -> None:
    def spread(mean: float) -> dict:
        return {"mean": mean, "sd": 0.01, "n": 5}

    def row(setting: str, mrr: float, npmi: float, unseen: float) -> dict:
        return {
            "setting": setting,
            "top10_mrr": spread(mrr),
            "npmi": spread(npmi),
            "npmi_unseen": spread(unseen),
        }

    teacher = {"npmi": spread(0.0), "npmi_unseen": spread(-0.3)}
    rows = [
        row("default", 0.3, 0.1, -0.4),
        row("a", 0.2, 0.0, -0.3),
        row("b", 0.1, 0.1, 0.1),
        row("c", 0.4, -0.2, 0.0),
    ]
    assert validation.by_rule(rows, teacher) == "a"
    assert validation.by_rule([rows[0], rows[3]], teacher) is None


def test_cells_say_what_is_small_and_what_is_not_there() -> None:
    assert [p_cell(p) for p in (float("nan"), 0.2959, 0.0002)] == ["–", "0.296", "<\u00a00.001"]


def test_a_table_has_a_line_for_each_row_and_a_dash_for_what_it_lacks() -> None:
    rows = [{"name": "a", "npmi": {"mean": 0.5}}, {"name": "b"}]
    found = table(
        rows, {"model": "{name}", "NPMI": "{npmi[mean]:.2f}", "twice": lambda row: row["npmi"]["mean"] * 2}
    )
    assert found.to_dict("index") == {"a": {"NPMI": "0.50", "twice": 1.0}, "b": {"NPMI": "–", "twice": "–"}}


def test_contrastive_models_stand_beside_a_text_teacher(data, runs, monkeypatch) -> None:
    config = contrastive.ContrastiveConfig(n_topics=8, epochs=1, batch_size=64)
    monkeypatch.setattr(contrastive, "VARIANTS", (("one", config),))
    (row,) = contrastive.measure(data)["rows"]
    difference = row["posterior_mrr"]["mean"] - row["text_teacher_mrr"]["mean"]
    assert row["minus_text_teacher"].difference == pytest.approx(difference)


def test_what_has_no_spread_leaves_the_others() -> None:
    varied = {"mean": 0.5, "sd": 0.6, "n": 4}
    fixed = {"mean": 1.0, "sd": 0.0, "n": 5}
    found = measures.welch(fixed, varied)
    assert found.difference - found.low == pytest.approx(3.182 * 0.6 / 2, rel=1e-3)
    assert np.isnan(measures.welch(fixed, fixed).low)
