"""The study: the shared space, VTM+, its measures and the stored answer, against closed forms and slow oracles."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch
from planted import planted
from scipy.sparse import csr_matrix

from vtm.errors import ConfigError, DataError, MissingError
from vtm.experiment.runs import run_models
from vtm.metrics.retrieval import Test
from vtm.metrics.topics import npmi
from vtm.model.distill import Pairs
from vtm.model.plus import PlusConfig, unit
from vtm_study import (
    contrastive,
    m3l,
    measures,
    others,
    peers,
    summary,
    validation,
)

SMALL = PlusConfig(n_topics=4, members=2, pair_concentration=4.0)


def test_fused_vectors_have_the_sum_of_both_similarities() -> None:
    rng = np.random.default_rng(0)
    text, image = rng.normal(size=(2, 6, 3))
    theta, other = rng.dirichlet(np.ones(4), size=(2, 6))
    found = (
        measures.fused(text, np.sqrt(theta), weight=2.0) @ measures.fused(image, np.sqrt(other), weight=2.0).T
    )
    expected = unit(text) @ unit(image).T + 2 * np.sqrt(theta) @ np.sqrt(other).T
    np.testing.assert_allclose(found, expected)


def test_keyword_hits_by_hand() -> None:
    words = np.array([[0.5, 0.3, 0.2, 0.0], [0.1, 0.1, 0.1, 0.7]])
    counts = csr_matrix([[2, 0, 1, 0], [0, 0, 0, 3]])
    np.testing.assert_allclose(measures.keyword_hits(words, counts, top=2), [0.5, 0.5])
    with pytest.raises(DataError):
        measures.keyword_hits(words[:1], counts)


def test_figures_of_a_model(data) -> None:
    model = validation.plus_model(data, SMALL, 0)
    found = validation.figures_of(model, data)
    topics, words = model.topics(data.vocabulary.words, 10), data.vocabulary.words
    for name, part in (("npmi", "train"), ("npmi_unseen", "validation")):
        reference = data.counts[data.rows[part]]
        assert found[name] == pytest.approx(npmi(topics, reference, words).mean())
    assert found["npmi"] != found["npmi_unseen"]
    assert 0 < found["top10_mrr"] <= 1 and 0 < found["diversity"] <= 1 and -1 <= found["npmi"] <= 1
    # With ten topics kept of eight, cutting changes nothing.
    assert found["top10_mrr"] == found["posterior_mrr"]
    assert found["keyword_hit_rate"] == found["keyword_hit_rate_top10"]


def test_parts_are_written_once_and_read_back(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vtm_study import driver

    calls = []
    monkeypatch.setenv("VTM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(driver, "PARTS", {"one": (lambda data: {"rows": calls.append(1) or [1]}, 0.1)})
    first = driver.run_parts(data, folder=tmp_path, parts=["one"])
    assert driver.run_parts(data, folder=tmp_path) == first and calls == [1]
    stored = json.loads((tmp_path / "one.json").read_text())
    assert {"commit", "date", "machine", "seeds", "parameters", "rows"} <= stored.keys()
    with pytest.raises(ConfigError, match="unknown part of the study 'ones': did you mean 'one'"):
        driver.run_parts(data, folder=tmp_path, parts=["ones"])
    planned = driver.plan_parts(folder=tmp_path)
    assert [(part.name, part.minutes, part.stored) for part in planned] == [("one", 0.1, stored["date"])]
    driver.run_parts(data, folder=tmp_path, force=True)
    assert calls == [1, 1]
    # The default folder is that of the runs: what comes with the source is not written to.
    driver.run_parts(data)
    assert (tmp_path / "runs" / "study" / "one.json").is_file()


def test_a_part_follows_from_the_modules_that_it_reaches_and_from_no_others() -> None:
    from vtm.experiment.runs import BY_CONTENT
    from vtm.files import code_hash, code_of

    found = code_of("vtm_study.summary", without=BY_CONTENT)
    assert {
        "vtm.model.plus",
        "vtm_study.crossfit",
        "vtm_study.controls",
        "vtm.metrics.topics",
    } <= found.keys()
    assert not {"vtm_study.peers", "vtm_study.chapter"} & found.keys()
    # CombinedTM is seeded by what seeds the reference package's trainer.
    reached = code_of("vtm_study.peers", without=BY_CONTENT)
    assert {"vtm_study.others", "vtm_study.reference"} <= reached.keys()
    whole = code_hash("vtm_study.summary")
    assert code_hash("vtm_study.summary", without=["vtm_study.controls"]) != whole


def test_info_nce_against_loops() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3))
    loss = 0.0
    for own in range(5):
        for left, right in ((a, b), (b, a)):
            scores = [2.5 * float(left[own] @ other) for other in right]
            loss -= np.log(np.exp(scores[own]) / np.exp(scores).sum()) / 10
    found = contrastive.info_nce(torch.tensor(a), torch.tensor(b), torch.tensor(2.5))
    assert float(found) == pytest.approx(loss)


def test_the_contrastive_model_learns_pairs_and_repeats_itself(data) -> None:
    config = contrastive.ContrastiveConfig(n_topics=12, epochs=15, batch_size=64)
    pairs = data.pairs("train")
    once, again = (contrastive.train_contrastive(pairs, config=config, seed=0) for _ in range(2))
    np.testing.assert_array_equal(once.beta, again.beta)
    before = contrastive.train_contrastive(
        pairs, config=dataclasses.replace(config, epochs=1, lr=1e-9), seed=0
    )
    found = contrastive.figures_of(once, data)
    assert found["posterior_mrr"] > contrastive.figures_of(before, data)["posterior_mrr"] + 0.02
    np.testing.assert_allclose(once.theta("text", pairs.text).sum(axis=1), 1, rtol=1e-6)


def test_coherence_and_similarity_of_pictures_against_loops() -> None:
    rng = np.random.default_rng(0)
    theta, x = rng.dirichlet(np.ones(4), size=20), rng.normal(size=(20, 6))
    sets = [sorted(range(20), key=lambda row: -theta[row, k])[:3] for k in range(4)]

    def cosine(i: int, j: int) -> float:
        return float(x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]))

    expected = [np.mean([cosine(i, j) for i in s for j in s if i != j]) for s in sets]
    np.testing.assert_allclose(measures.image_coherence(theta, x, top=3), expected)
    between = [
        np.mean([cosine(i, j) for i in sets[k] for j in sets[m]]) for k in range(4) for m in range(k + 1, 4)
    ]
    assert measures.image_similarity(theta, x, top=3) == pytest.approx(np.mean(between))
    every = [cosine(i, j) for i in range(20) for j in range(20) if i != j]
    assert measures.mean_similarity(x) == pytest.approx(np.mean(every))
    with pytest.raises(ConfigError, match="top=21"):
        measures.top_pictures(theta, top=21)
    with pytest.raises(DataError, match="20 pictures for 19"):
        measures.image_coherence(theta, x[:19])


def test_nt_xent_against_loops() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2, 5, 3))
    found = m3l.nt_xent(torch.tensor(a), torch.tensor(b), 0.07)
    for replica in range(2):
        z = unit(np.concatenate([a[replica], b[replica]]))
        loss = 0.0
        for row in range(10):
            others = [np.exp(z[row] @ z[other] / 0.07) for other in range(10) if other != row]
            loss -= np.log(np.exp(z[row] @ z[(row + 5) % 10] / 0.07) / sum(others)) / 10
        assert float(found[replica]) == pytest.approx(loss)


def test_m3l_learns_planted_pairs_and_a_seed_is_independent_of_its_neighbours() -> None:
    drawn = planted(300)
    pairs = Pairs(np.float32(drawn.text), np.float32(drawn.image), drawn.counts)
    config = m3l.M3LConfig(n_topics=8, epochs=20, standardize=True)
    together = m3l.train_m3l(pairs, drawn.vocabulary, config=config, seeds=(0, 1))
    alone = m3l.train_m3l(pairs, drawn.vocabulary, config=config, seeds=(1,))
    ids = [f"{row:03d}" for row in range(300)]
    text, image = together[1]
    np.testing.assert_array_equal(text.topic_word(), image.topic_word())
    np.testing.assert_allclose(
        alone[1][1].theta(pairs.image[:20]), image.theta(pairs.image[:20]), rtol=1e-2, atol=1e-4
    )
    found = measures.reciprocal(text.theta(pairs.text), image.theta(pairs.image), ids, measure="cosine")
    start = dataclasses.replace(config, epochs=1, lr=1e-9)
    text, image = m3l.train_m3l(pairs, drawn.vocabulary, config=start, seeds=(1,))[1]
    before = measures.reciprocal(text.theta(pairs.text), image.theta(pairs.image), ids, measure="cosine")
    assert found.mean() > 3 * before.mean()
    with pytest.raises(ConfigError, match="divergence='none'"):
        m3l.M3LConfig(divergence="none")


def test_peers_are_chosen_on_validation_kept_and_compared(data, runs, monkeypatch) -> None:
    for module in (validation, peers):
        monkeypatch.setattr(module, "PlusConfig", lambda n_topics=8: PlusConfig(n_topics=8, members=2))

    def noise(data, n_topics, seeds):
        rng = np.random.default_rng(0)
        sides = [
            {part: rng.dirichlet(np.ones(n_topics), len(data.rows[part])) for part in ("validation", "test")}
            for _ in range(2)
        ]
        return {seed: others.Fitted(*sides, None, [], 1.0) for seed in seeds}

    def broken(data, n_topics, seeds):
        raise MissingError("not here")

    wanted = (
        *peers.PEERS[:5],
        peers.Peer("NMF", {"noise": noise, "NMF": peers.text_topics("NMF")}, package="scikit-learn"),
        peers.Peer("M3L", {"": peers.m3l(epochs=2)}),
        peers.Peer("another", {"": broken}),
    )
    found = peers.measure(data, wanted)
    rows = {row["model"]: row for row in found["rows"]}
    together, five = "text-teacher, all seeds together", "VTM+, five members together"
    assert list(rows) == ["baseline", "text-teacher", together, "VTM+", five, "NMF", "M3L"]
    assert found["not_run"] == {"another": "not here"}
    assert rows["NMF"]["chosen"].startswith("NMF") and len(rows["NMF"]["validation"]) == 4
    assert rows["text-teacher"]["minus_text_teacher"].difference == 0
    assert rows["NMF"]["package"] == f"scikit-learn {sklearn.__version__}" and rows["M3L"]["package"] == ""
    # Rows before it are compared with VTM+, too.
    difference = rows["baseline"]["mrr_100"]["mean"] - rows["VTM+"]["mrr_100"]["mean"]
    assert rows["baseline"]["minus_plus"].difference == pytest.approx(difference)
    assert rows[together]["mrr_100"]["sd"] is None and rows[together]["mrr_100"]["n"] == 1
    low, high = rows["NMF"]["mrr_100"]["interval"]
    assert low <= rows["NMF"]["mrr_100"]["mean"] <= high
    assert "npmi" not in rows["baseline"]["figures"] and {"iec", "ieps"} <= rows["VTM+"]["figures"].keys()
    run = run_models(data, "text-teacher", n_topics=[8])
    expected = np.mean([(one.ranks() <= 10).mean() for one in run])
    assert rows["text-teacher"]["figures"]["recall_10"]["mean"] == pytest.approx(expected)
    monkeypatch.setattr(peers, "_measured", lambda *_: pytest.fail("a model was fitted again"))
    assert peers.measure(data, wanted[:7])["rows"] == found["rows"]


def test_the_command_states_its_cost_and_writes_where_it_says(tmp_path: Path, monkeypatch) -> None:
    from typer.testing import CliRunner

    from vtm.cli import app
    from vtm_study import driver

    monkeypatch.setenv("VTM_RUNS", str(tmp_path / "runs"))
    arguments = ["reproduce", "--profile", "study", "-p", "corpus=scenes:n=300", "-p", "encoder=pixels"]
    arguments += ["-p", "min_df=2", "-p", "seeds=[0,1]", "--out", str(tmp_path / "out")]
    planned = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert planned.exit_code == 0, planned.output
    total = sum(minutes for _, minutes in driver.PARTS.values())
    n_train = int(re.search(r": (\d+) training pairs", planned.output)[1])
    total *= 2 / 5 * n_train / driver.MEASURED_PAIRS
    assert f"about {total:.2g} minutes" in planned.output and "seeds     0, 1" in planned.output
    refused = CliRunner().invoke(app, [*arguments, "-p", "n_topics=30", "--dry-run"])
    assert refused.exit_code != 0 and "does not read n_topics" in str(refused.output) + str(refused.exception)
    assert all(f"run       {name}" in planned.output for name in driver.PARTS)
    assert not (tmp_path / "out").exists()

    monkeypatch.setattr(driver, "PARTS", {"one": (lambda data: {"n": len(data.corpus)}, 0.1)})
    done = CliRunner().invoke(app, [*arguments, "--only", "one"])
    assert done.exit_code == 0, done.output
    stored = json.loads((tmp_path / "out" / "one.json").read_text())
    assert stored["n"] == 300 and stored["seeds"] == [0, 1]
    assert f"study_folder={tmp_path / 'out'}" in done.output
    again = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert f"check     one (stored on {stored['date']}" in again.output
    refused = CliRunner().invoke(app, ["reproduce", "--profile", "study", "--notebooks", "."])
    assert refused.exit_code == 2


def row_of_a_peer(model: str, low: float, high: float, npmi: float) -> dict:
    figures = dict.fromkeys(("recall_10", "diversity", "iec", "ieps", "keyword_hits", "seconds"), 0.5)
    figures |= {"npmi": npmi, "npmi_unseen": -npmi, "diversity_top10": 0.5}
    return {
        "model": model,
        "mrr_100": {"mean": 0.2, "sd": 0.01, "interval": [0.1, 0.3]},
        "figures": {name: {"mean": v, "sd": 0.01, "n": 5, "min": v} for name, v in figures.items()},
        "package": "",
        "minus_text_teacher": Test((low + high) / 2, low, high, 0.01),
        "minus_plus": Test((low + high) / 2, -0.3, -0.1, 0.01),
    }


def test_peers_have_their_p_adjusted() -> None:
    from vtm_study.chapter import peers_table

    rows = [("text-teacher", 0, 0, 0.0), ("A, mapped", 0.1, 0.2, -0.1), ("B", -0.2, -0.1, 0.1)]
    rows = [row_of_a_peer(*row) for row in [*rows, ("C", -0.1, 0.1, 0.001)]]
    table = peers_table({"peers": {"rows": rows}})
    # Three of them are compared with the text-teacher and with VTM+: the smallest p counts six times.
    assert list(table["minus text-teacher, p (Holm)"]) == ["–", "0.060", "0.060", "0.060"]
    assert list(table["minus text-teacher"])[:2] == ["–", "+0.150 [+0.100, +0.200]"]
    assert list(table["NPMI"]) == ["0.000", "-0.100", "0.100", "0.001"]
    assert not [name for name in table if "seconds" in name]


def test_the_stored_summary_says_where_it_comes_from() -> None:
    from vtm.files import read_sealed
    from vtm_study.chapter import numbers, stored

    path = Path(__file__).parents[2] / "results" / "study" / "summary.json"
    found = read_sealed(path)
    assert {"seeds", "commit", "date", "machine", "parameters"} <= found.keys()
    assert found["split"] == "clusters" and found["items"] > 2000
    whole = stored()
    assert measures.plain(whole["summary"]) == found
    for name in summary.MODELS:
        for figure in ("mrr", "r100"):
            assert found[figure][name].keys() == {"single", "five"}
    for test in found["tests"].values():
        assert test["low"] <= test["difference"] <= test["high"] and test["p"] <= test["p_holm"] <= 1
    assert numbers(whole)["plus_mrr_single"] == found["mrr"]["plus"]["single"]
