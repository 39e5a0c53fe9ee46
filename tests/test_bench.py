"""What the benchmarks compute besides times: drawn documents, recovery, keys, tables. No test here depends on time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vtm import bench, cost
from vtm.cli import app
from vtm.embedding_bench import bench_embedding
from vtm.encoders import load_encoder
from vtm.errors import MissingError
from vtm.growth import draw_documents, grow, recovery

KEYS = {
    "fit_vs_ctm",
    "embed_vs_raw",
    "search_exact_ms_1e6",
    "search_ms_1e6",
    "search_recall",
    "help_s",
    "import_s",
}


def test_drawn_documents_are_of_their_topics(tmp_path: Path) -> None:
    drawn = draw_documents(tmp_path, 3000, n_topics=5, n_words=80, n_inputs=16)
    assert isinstance(drawn.x, np.memmap) and drawn.x.shape == (3000, 16)
    assert drawn.counts.shape == (3000, 80) and (drawn.counts.sum(axis=1) == 12).all()
    np.testing.assert_allclose(drawn.theta.sum(axis=1), 1, rtol=1e-5)
    # Word frequencies are what theta and beta foretell.
    expected = np.asarray(drawn.theta, dtype=float) @ drawn.beta
    found = np.asarray(drawn.counts.mean(axis=0)).ravel() / 12
    np.testing.assert_allclose(found, expected.mean(axis=0), atol=0.006)
    # And a document's own words are likelier under its theta than under another's.
    rows = np.asarray(drawn.counts.todense())
    own = (rows * np.log(expected + 1e-12)).sum(axis=1)
    other = (rows * np.log(np.roll(expected, 1, axis=0) + 1e-12)).sum(axis=1)
    assert (own > other).mean() > 0.8


def test_a_document_does_not_depend_on_how_many_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    few, many = draw_documents(tmp_path / "a", 100), draw_documents(tmp_path / "b", 250)
    np.testing.assert_array_equal(few.x, many.x[:100])
    assert (few.counts != many.counts[:100]).nnz == 0
    assert not np.array_equal(few.x, draw_documents(tmp_path / "c", 100, seed=1).x)


def test_recovery_matches_topics_one_to_one() -> None:
    known = np.random.default_rng(0).dirichlet(np.full(200, 0.05), size=6)
    assert recovery(known[[3, 1, 0, 2, 5, 4]], known) == pytest.approx(1)
    assert recovery(np.repeat(known[:1], 6, axis=0), known) < 0.4, "one topic six times is one topic found"
    assert recovery(np.concatenate([known, known[:2]]), known) == pytest.approx(1)


def test_growing_reports_each_size(tmp_path: Path) -> None:
    rows = grow((400, 1600), steps=1600, n_topics=4, folder=tmp_path)
    assert [(row["documents"], row["epochs"]) for row in rows] == [(400, 256), (1600, 64)]
    assert all(0 < row["recovery"] <= 1 and row["seconds_an_epoch"] > 0 for row in rows)
    assert rows[-1]["recovery"] > 0.5
    assert list(tmp_path.iterdir()) == [], "drawn files are removed"


def test_peak_memory_is_the_processs_own_and_not_that_of_who_started_it() -> None:
    code = """
import subprocess, sys
import numpy as np
from vtm.machine import peak_memory
held = np.ones(300 * 2**17)  # 300 MiB
del held
small = subprocess.run(
    [sys.executable, "-c", "from vtm.machine import peak_memory; print(peak_memory())"],
    check=True, capture_output=True, text=True,
)
print(peak_memory(), small.stdout)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    own, started = map(float, done.stdout.split())
    assert own > 300 and 1 < started < 150


def test_embedding_bench_measures_what_was_embedded() -> None:
    found = bench_embedding(load_encoder("pixels").image, n=12, rounds=2, batch_size=8)
    assert len(found["ratios"]) == 2 and min(found["raw_per_s"], found["files_per_s"]) > 0
    assert found["embed_vs_raw"] == pytest.approx(np.median(found["ratios"]), abs=1e-3)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sizes = {
        "fit": {"epochs": 1, "repeats": 1, "n": 200, "n_words": 50, "n_inputs": 8, "n_topics": 3},
        "embedding": {"n": 8, "rounds": 1},
        "search": {"n": 2000, "k": 8, "n_single": 3, "n_batch": 4, "rounds": 1},
        "starts": 1,
        "growth": {"sizes": (300, 900), "steps": 50, "n_topics": 3},
    }
    monkeypatch.setattr(bench, "FULL", sizes)
    monkeypatch.setattr(bench, "QUICK", {name: size for name, size in sizes.items() if name != "growth"})


@pytest.mark.data
def test_the_command_prints_every_key_and_the_chapter_reads_them(small, tmp_path: Path) -> None:
    from vtm.fetch import GROUPS, is_fetched

    pytest.importorskip("faiss", reason="faiss is not installed")
    if not all(is_fetched(name) for name in GROUPS["encoder:offline"]):
        pytest.skip("the weights of the encoder offline are not fetched: vtm prefetch")
    told = CliRunner().invoke(app, ["bench", "--json", "-o", str(tmp_path / "bench.json")])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert KEYS <= found.keys() and found["skipped"] == {}
    assert 0 <= found["search_recall"] <= 1
    kept = cost.stored(tmp_path / "bench.json")
    assert kept == found
    table = cost.ratios_table(kept)
    assert len(table) == 7 and table.loc["training, one model", "times as fast"].startswith(
        f"{found['fit_vs_ctm']:.2f}"
    )
    assert len(cost.growth_table(kept)) == 2
    quick = CliRunner().invoke(app, ["bench", "--quick"])
    assert "times as fast as contextualized-topic-models' fit, alone" in quick.stdout
    assert "growth" not in quick.stdout


def test_what_is_not_here_is_named_and_the_rest_measured(
    small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    found = bench.run_bench(quick=True)
    assert "vtm prefetch --encoder offline" in found["skipped"]["embedding"]
    assert "embed_vs_raw" not in found and found["fit_vs_ctm"] > 0
    assert any(line.startswith("skipped      embedding") for line in bench.bench_lines(found))


def test_the_stored_measurement_is_a_full_one() -> None:
    found = cost.stored()
    assert KEYS <= found.keys() and not found["quick"] and found["skipped"] == {}
    assert found["machine"]["processor"] and found["date"] and found["commit"]
    assert [row["documents"] for row in found["details"]["growth"]["rows"]] == [10_000, 100_000, 1_000_000]


def test_without_a_stored_measurement_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="vtm bench -o"):
        cost.stored(tmp_path / "none.json")
