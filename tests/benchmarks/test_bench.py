"""What the benchmarks compute besides times: drawn documents, recovery, keys, tables. No test here depends on time."""

from __future__ import annotations

import dataclasses
import inspect
import json
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import __main__ as bench
from benchmarks.embedding import RANKED, bench_embedding, bench_precision
from benchmarks.growth import draw_documents, grow, grow_plus, recovery
from benchmarks.search import bench_search
from vtm.encoders import load_encoder
from vtm.errors import DataError, MissingError
from vtm.files import load_about
from vtm_study import costs as cost
from vtm_study.costs import as_it_comes, with_spread
from vtm_study.machine import MemoryWatch

KEYS = {
    "fit_vs_ctm",
    "embed_vs_raw",
    "match_us",
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
    if sys.platform == "linux":
        assert all(row["anonymous"] + row["mapped"] >= 0.9 * row["memory"] > 0 for row in rows)
    assert list(tmp_path.iterdir()) == [], "drawn files are removed"


def test_growing_with_vtm_plus_compares_its_clusters_with_those_of_others(tmp_path: Path) -> None:
    few, many = grow_plus((300, 1500), n_topics=4, n_inputs=16, compared=300, folder=tmp_path)
    assert (few["documents"], many["documents"]) == (300, 1500) and many["clusterings"] == {}
    assert many["recovery"] > 0.7 and many["embeddings"] == pytest.approx(1500 * 2 * 16 * 4 / 2**20)
    assert {"vtm", "vtm, all pairs", "MiniBatchKMeans"} <= few["clusterings"].keys()
    fits = [one["fit"] for one in few["clusterings"].values()]
    assert 0.5 < min(fits) and max(fits) - min(fits) < 0.1
    (line,) = (
        line
        for line in bench.bench_lines({"machine": {}, "skipped": {}, "details": {"vtm+": {"rows": [many]}}})
    )
    assert "1,500 pairs" in line and f"recovery {many['recovery']:.3f}" in line
    assert list(tmp_path.iterdir()) == [], "drawn files are removed"


def test_peak_memory_is_the_processs_own_and_not_that_of_who_started_it() -> None:
    code = """
import subprocess, sys
import numpy as np
from vtm_study.machine import peak_memory
held = np.ones(300 * 2**17)  # 300 MiB
del held
small = subprocess.run(
    [sys.executable, "-c", "from vtm_study.machine import peak_memory; print(peak_memory())"],
    check=True, capture_output=True, text=True,
)
print(peak_memory(), small.stdout)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    own, started = map(float, done.stdout.split())
    assert own > 300 and 1 < started < 150


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")
def test_own_memory_and_mapped_files_are_told_apart(tmp_path: Path) -> None:
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(100 * 2**20,)).flush()
    with MemoryWatch() as before:
        pass
    with MemoryWatch() as mapping:
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        total = int(mapped.sum(dtype=np.int64))
    with MemoryWatch() as holding:
        # Not from the heap, which may hold what an earlier test has given back.
        pages = mmap.mmap(-1, 100 * 2**20, flags=mmap.MAP_PRIVATE)
        held = np.frombuffer(pages, dtype=np.uint8)
        held[:] = 1
    assert total == 0 and held.all()
    assert mapping.mapped > before.mapped + 90 and mapping.anonymous < before.anonymous + 20
    assert holding.anonymous > before.anonymous + 90


def test_embedding_bench_measures_what_was_embedded() -> None:
    found = bench_embedding(load_encoder("pixels").image, n=12, rounds=2, batch_size=8)
    assert len(found["ratios"]) == 2 and min(found["raw_per_s"], found["files_per_s"]) > 0
    assert found["embed_vs_raw"] == pytest.approx(np.median(found["ratios"]), abs=1e-3)


@pytest.mark.data
@pytest.mark.slow
def test_int8_is_measured_beside_float32_and_the_chapter_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vtm.corpora.fetch import GROUPS, is_fetched
    from vtm.encoders.offline import has_exact_int8

    if not all(is_fetched(name) for name in GROUPS["encoder:offline"]) or not has_exact_int8():
        pytest.skip("the encoder offline is not fetched, or this processor has no int8")
    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    found = bench_precision(("scenes:n=200",), n=16, n_photos=3, rounds=1, seeds=(0,))
    of = found["corpora"]["scenes:n=200"]
    assert of["n"] == 200 and 0.99 < of["cosine"] < 1 and 0.5 < of["neighbours"] < 1
    assert of["mrr"].keys() == set(RANKED) == set(cost.PRECISION_MODELS)
    assert {len(runs) for by in of["mrr"].values() for runs in by.values()} == {1}
    assert min(found["decoded_per_s"], *found["files_per_s"].values(), *found["encoder_per_s"].values()) > 0
    measured = {"details": {"precision": found}}
    table = cost.precision_table(measured)
    baseline = table.loc["MRR@100, scenes:n=200: baseline"]
    assert [float(cell) for cell in baseline] == pytest.approx(
        [np.mean(of["mrr"]["baseline"][name]) for name in ("float32", "int8")], abs=5e-4
    )
    changes = [np.mean(by["int8"]) - np.mean(by["float32"]) for by in of["mrr"].values()]
    numbers = cost.cost_numbers(found | measured)
    assert numbers["int8_mrr_low"] == f"{min(changes):+.3f}"
    assert numbers["int8_cosine"] == f"{of['cosine']:.4f}"
    assert numbers["int8_rate"] == f"{found['encoder_per_s']['int8']:.0f}"


def test_photographs_are_of_a_telephones_size_and_differ(tmp_path: Path) -> None:
    from PIL import Image

    from benchmarks.embedding import _photos

    paths = _photos(tmp_path, 2)
    assert len({path.read_bytes() for path in paths}) == 2
    first, second = (Image.open(path) for path in paths)
    assert first.size == second.size == (4000, 3000) and 1e6 < paths[0].stat().st_size < 8e6
    assert first.tobytes() == second.tobytes()


def test_files_are_hashed_while_the_clock_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever embeds pictures has to hash them; that is part of what it costs."""
    from benchmarks import embedding as embedding_bench

    told: list[str] = []
    clock, hash_file = embedding_bench.time.perf_counter, embedding_bench.hash_file

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            told.append("clock")
            return clock()

    def hashed(path: Path) -> str:
        told.append("hash")
        return hash_file(path)

    monkeypatch.setattr(embedding_bench, "time", Clock)
    monkeypatch.setattr(embedding_bench, "hash_file", hashed)
    bench_embedding(load_encoder("pixels").image, n=3, rounds=1, batch_size=3)
    assert told.count("hash") == 3 and told.index("hash") > 0 and told[-4:] == ["hash"] * 3 + ["clock"]


def test_search_is_measured_beside_a_scan_that_finds_the_same() -> None:
    pytest.importorskip("faiss", reason="faiss is not installed")
    found = bench_search((150, 700), rounds=2, top=20, n_pairs=500, n_topics=8, n_words=200, n_inputs=16)
    few, many = found["rows"]
    assert (few["pictures"], many["pictures"]) == (150, 700) and found["n_words"] > 100
    assert found["match_us"] == pytest.approx(1e6 * many["seconds"] / 700)
    for row in found["rows"]:
        assert row["difference"] < 1e-5 and row["flat_vs_topics"] == sorted(row["flat_vs_topics"])
        assert min(row["word_seconds"], row["theta_seconds"], row["topics_seconds"], row["flat_seconds"]) > 0
    measured = {"machine": {}, "skipped": {}, "details": {"search": found}}
    assert [line.split()[1] for line in bench.bench_lines(measured)] == ["150", "700"]
    assert list(cost.search_table(measured).index) == ["150 pictures", "700 pictures"]


def test_without_faiss_search_is_not_measured_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingError, match="pip install faiss-cpu"):
        bench_search((150,))


def test_import_takes_what_it_adds_to_an_empty_process() -> None:
    found = bench.bench_start(rounds=3)
    differences = np.subtract(found["import"], found["empty"])
    assert found["import_s"] == pytest.approx(np.median(differences))


def test_one_measurement_has_no_spread() -> None:
    assert with_spread([4.631, 4.631, 4.631]) == "4.63"
    assert with_spread((1, 2, 3.5), ".1f") == "2.0 (1.0 to 3.5)"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sizes = {
        "fit": {"epochs": 1, "repeats": 1, "n": 200, "n_words": 50, "n_inputs": 8, "n_topics": 3},
        "embedding": {"n": 8, "rounds": 1},
        "search": {
            "sizes": (300, 900),
            "rounds": 1,
            "n_pairs": 400,
            "n_topics": 8,
            "n_words": 200,
            "n_inputs": 16,
        },
        "starts": 1,
        "growth": {"sizes": (300, 900), "steps": 50, "n_topics": 3},
        "grid": {"n": 200, "n_words": 50, "n_inputs": 8, "sizes": (3,), "epochs": 1, "repeats": 1},
    }
    monkeypatch.setattr(bench, "FULL", sizes)
    monkeypatch.setattr(bench, "QUICK", {name: size for name, size in sizes.items() if name != "growth"})


@pytest.mark.data
def test_the_command_prints_every_key_and_the_chapter_reads_them(
    small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vtm.corpora.fetch import GROUPS, is_fetched

    pytest.importorskip("faiss", reason="faiss is not installed")
    if not all(is_fetched(name) for name in GROUPS["encoder:offline"]):
        pytest.skip("the weights of the encoder offline are not fetched: vtm prefetch")

    def grown(**asked: object) -> list[dict]:
        """What `test_growing_reports_each_size` measures, of a stored run: four processes train for it."""
        inspect.signature(grow).bind(**asked)
        return cost.stored()["details"]["growth"]["rows"][: len(asked["sizes"])]

    monkeypatch.setattr("benchmarks.growth.grow", grown)
    told = CliRunner().invoke(bench.app, ["--json", "-o", str(tmp_path / "bench.json")])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert KEYS <= found.keys() and found["skipped"] == {}
    assert found["match_us"] == found["details"]["search"]["rows"][-1]["microseconds_a_picture"] > 0
    kept = cost.stored(tmp_path / "bench.json")
    assert kept == found
    table = cost.ratios_table(kept)
    assert len(table) == 5 + len(as_it_comes(kept["details"]["training"]))
    assert table.loc["training, one model", "times as fast"].startswith(f"{found['fit_vs_ctm']:.2f}")
    assert len(cost.growth_table(kept)) == 2
    # The same again would take as long: what the parts measured is given, which of them are asked is looked at.
    for part, function in (
        ("start-up", "__main__.bench_start"),
        ("answer", "__main__.bench_answer"),
        ("training", "training.bench_fit"),
        ("embedding", "embedding.bench_encoder"),
        ("search", "search.bench_search"),
    ):
        monkeypatch.setattr(f"benchmarks.{function}", lambda *_, part=part, **__: found["details"][part])
    quick = CliRunner().invoke(bench.app, ["--quick"])
    line = next(line for line in quick.stdout.splitlines() if line.startswith("training, one model: "))
    assert " times as fast, " in line and " beside contextualized-topic-models, " in line
    assert "growth" not in quick.stdout


def test_what_is_not_here_is_named_and_the_rest_measured(
    small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    found = bench.run_bench(quick=True)
    for part in ("answer", "embedding"):
        assert "vtm prefetch --encoder offline" in found["skipped"][part]
    assert "embed_vs_raw" not in found and found["fit_vs_ctm"] > 0
    assert any(line.startswith("skipped      embedding") for line in bench.bench_lines(found))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DataError("weights: damaged"), "weights: damaged"),
        (OSError(28, "No space left on device"), "No space left"),
        (subprocess.CalledProcessError(1, ["python"], stderr="Traceback\nMemoryError"), "MemoryError"),
        (subprocess.CalledProcessError(-9, ["python"]), "its process ended with -9"),
    ],
)
def test_one_part_that_fails_costs_no_other(
    small, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("benchmarks.search.bench_search", fail)
    monkeypatch.setattr("benchmarks.embedding.bench_embedding", fail)
    monkeypatch.setattr("benchmarks.__main__.bench_start", fail)
    monkeypatch.setattr("benchmarks.__main__.bench_answer", fail)
    monkeypatch.setattr("benchmarks.growth.grow", fail)
    found = bench.run_bench()
    assert found["fit_vs_ctm"] > 0 and {"start-up", "search", "growth"} <= found["skipped"].keys()
    assert told in found["skipped"]["search"]
    lines = bench.bench_lines(found)
    assert any("held-out loss" in line for line in lines)
    assert any(line.startswith("skipped      search") and told in line for line in lines)
    # The chapter names what is not there, and shows the rest.
    assert told in cost.provenance_table(found).loc["not measured", "value"]
    assert list(cost.ratios_table(found).index) == [
        "training, one model",
        *("the same, beside the package as it comes" for _ in as_it_comes(found["details"]["training"])),
        "training, each of three seeds",
    ]
    numbers = cost.cost_numbers(found)
    assert numbers["match_us"] == numbers["growth_bytes"] == cost.NOT_MEASURED
    assert numbers["fit_vs_ctm"] == f"{found['fit_vs_ctm']:.1f}"
    assert "not measured" in cost.growth_table(found)
    assert cost.growth(found).axes[0].texts[0].get_text() == "growth was not measured"


def test_the_package_as_it_comes_has_a_line_of_its_own_where_fewer_threads_are_faster() -> None:
    fit = {
        "threads": 2,
        "reference_threads": 1,
        "reference_seconds_by_threads": {"1": [10.0, 11.0, 12.0], "2": [30.0, 33.0, 36.0]},
        "seconds": [1.0, 1.1, 1.5],
    }
    ((count, taken, ratio),) = as_it_comes(fit)
    assert (count, taken) == (", 2 threads", [30.0, 33.0, 36.0])
    assert ratio == pytest.approx((24, 30, 30))
    assert as_it_comes(fit | {"reference_threads": 2}) == []
    assert as_it_comes({"threads": 2}) == []  # measured before both were


def test_nothing_measured_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"details": {}, "skipped": {}, "machine": {}, "date": "2026-01-01", "commit": ""}
    assert "None" in cost.ratios_table(found) and cost.ratios(found).axes[0].texts
    values = set(cost.cost_numbers(found).values())
    assert values == {cost.NOT_MEASURED}
    assert "not measured" in cost.search_table(found)
    assert "not measured" in cost.precision_table(found)


@pytest.mark.parametrize("place", ["a folder", "below a file"])
def test_a_place_that_cannot_be_written_is_named_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(bench, "run_bench", lambda **_: pytest.fail("measured"))
    (tmp_path / "file").write_text("")
    out = tmp_path if place == "a folder" else tmp_path / "file" / "bench.json"
    told = CliRunner().invoke(bench.app, ["--quick", "-o", str(out)])
    assert told.exit_code == 2 and str(out) in told.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_figures_are_printed_even_if_writing_them_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench, "write_json", full)
    monkeypatch.setattr(bench, "run_bench", lambda **_: cost.stored())
    told = CliRunner().invoke(bench.app, ["--quick", "--json", "-o", str(tmp_path / "bench.json")])
    assert told.exit_code == 2 and "No space left" in told.stderr
    assert json.loads(told.stdout)["fit_vs_ctm"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_device_measures_the_grid_alone(small, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    told = CliRunner().invoke(bench.app, ["--quick", "--device", "cpu", "-o", str(out)])
    assert told.exit_code == 0, told.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["details"].keys() == {"grid"} and found["device"] == "cpu" and found["grid_vs_ctm"] > 0
    assert "25 models, 5 seeds side by side" in told.stdout and "held-out loss" in told.stdout


def test_the_chapter_shows_what_older_measurements_hold() -> None:
    """A stored file without the keys that came later: threads, memory by kind, losses by seed."""
    found = cost.stored()
    later = (
        "threads",
        "reference_threads",
        "reference_seconds_by_threads",
        "model_threads",
        "held_out_by_seed",
    )
    for part in found["details"].values():
        for name in later:
            part.pop(name, None)
    for row in found["details"]["growth"]["rows"]:
        row.pop("anonymous", None), row.pop("mapped", None)
    assert len(cost.ratios_table(found)) == 5
    assert set(cost.growth_table(found)["its own memory, MiB"]) == {"–"}
    cost.growth(found), cost.ratios(found)
    assert cost.cost_numbers(found)["held_out_spread"] == cost.NOT_MEASURED


def test_a_search_by_the_index_that_there_was_is_said_to_be_none(tmp_path: Path) -> None:
    older = {name: value for name, value in cost.stored().items() if name != "match_us"} | {"skipped": {}}
    older["details"]["search"] = {"search_exact_ms": 9.0, "flat_ms": 21.5}
    (tmp_path / "bench.json").write_text(json.dumps(older), encoding="utf-8")
    found = cost.stored(tmp_path / "bench.json")
    assert "search (of an index" in cost.provenance_table(found).loc["not measured", "value"]
    assert "not measured" in cost.search_table(found)
    assert cost.cost_numbers(found)["match_us"] == cost.NOT_MEASURED


def test_the_chapter_adds_up_what_the_runs_folder_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vtm
    from vtm.config import from_parameters
    from vtm.experiment.runs import KL_WEIGHTS, sweep

    monkeypatch.setenv("VTM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    small = {"n_topics": [3, 4], "seeds": [0], "epochs": 1, "min_df": 1}
    experiment = from_parameters({"corpus": "scenes:n=60", "encoder": "pixels", **small})
    data = vtm.prepare(experiment)
    results = [*vtm.run_baseline(data), *vtm.run_models(data, "joint"), *vtm.run_models(data, "text-teacher")]
    n_sweep = 2 * (2 * len(KL_WEIGHTS) - 1)
    before = cost.recorded(data, results)
    assert cost.training_table(before).loc["settings", "runs"] == f"0 of {n_sweep} recorded"
    sweep(data)
    rows = cost.recorded(data, results)
    assert [(row.label, len(row.seconds), row.wanted) for row in rows] == [
        *[("baseline", 1, 1), ("joint 3", 1, 1), ("joint 4", 1, 1)],
        *[("text-teacher 3", 1, 1), ("text-teacher 4", 1, 1), ("settings", n_sweep, n_sweep)],
        *[("one teacher, vtm", 0, 1), ("one teacher, contextualized-topic-models", 0, 1)],
    ]
    # Independently: every result file of the folder, each once.
    files = [load_about(path) for path in tmp_path.rglob("result.safetensors")]
    assert len(files) == 5 + n_sweep
    seconds = [found["figures"]["seconds"] for found in files]
    assert sum(sum(row.seconds) for row in rows) == pytest.approx(sum(seconds))
    numbers = cost.training_numbers(rows)
    assert numbers["training_seconds"] == f"{sum(seconds):.0f}"
    models = [run.figures["seconds"] for run in results if run.n_topics]
    assert numbers["table_1_seconds"] == f"{sum(models):.0f}"
    late = [dataclasses.replace(row, seconds=(200.0,)) if row.in_table_1 else row for row in rows]
    assert cost.training_numbers(late)["training_aim_verdict"] == "more than that"


def test_the_stored_measurement_is_a_full_one() -> None:
    found = cost.stored()
    # A search by the index that there was counts as none.
    assert (
        KEYS - {"match_us"} <= found.keys() and not found["quick"] and found["skipped"].keys() <= {"search"}
    )
    assert found["machine"]["processor"] and found["date"] and found["commit"]
    assert [row["documents"] for row in found["details"]["growth"]["rows"]] == [10_000, 100_000, 1_000_000]


def test_without_a_stored_measurement_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="python -m benchmarks -o"):
        cost.stored(tmp_path / "none.json")
