"""The settings chapter and the reference chapter: one seed has no spread, and what is stored is that of this code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vtm_study.reference
from vtm.config import from_parameters
from vtm.experiment.prepare import prepare
from vtm.experiment.runs import sweep
from vtm.report.tables import settings_numbers, settings_table
from vtm_study import reference
from vtm_study.reference import FIGURES, OURS, THEIRS

PARAMETERS = {
    "corpus": "scenes:n=150",
    "encoder": "pixels",
    "n_topics": 6,
    "epochs": 2,
    "batch_size": 16,
    "min_df": 2,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(folder / "data"))
        patch.setenv("VTM_RUNS", str(folder / "runs"))
        yield folder


def data_of(seeds: list[int]):
    return prepare(from_parameters({**PARAMETERS, "seeds": seeds}), progress=False)


def setting(weight: float, standardize: bool, mrr: float, sd: float) -> list[dict]:
    figures = dict(runs=1, healthy=1, npmi_text=0.1, npmi_image=0.1, smallest_variance=0.5, chance=0.05)
    return [
        dict(kind=kind, n_topics=6, kl_weight=weight, standardize=standardize, mrr=mrr, sd=sd, **figures)
        for kind in ("joint", "text-teacher")
    ]


def test_the_chosen_weight_is_the_largest_within_the_seeds_spread():
    means = {(0.1, True): 0.30, (0.3, True): 0.29, (1.0, True): 0.2, (0.1, False): 0.1, (1.0, False): 0.29}

    def found(sd: float) -> dict:
        return settings_numbers(
            [row for (weight, scale), mrr in means.items() for row in setting(weight, scale, mrr, sd)]
        )

    several = found(0.02)
    assert (several["best_weight"], several["chosen_weight"], several["best_sd"]) == (0.1, 0.3, "0.020")
    one = found(float("nan"))
    assert (one["best_weight"], one["chosen_weight"], one["best_sd"]) == (0.1, 0.1, "–")


def test_one_seed_is_printed_without_a_spread(home: Path) -> None:
    rows = sweep(data_of([0]), kl_weights=(0.1, 1.0))
    assert all(row["runs"] == 1 and np.isnan(row["sd"]) for row in rows)
    table = settings_table(rows)
    assert list(table["MRR@100"]) == [f"{row['mrr']:.3f}" for row in rows]
    assert settings_numbers(rows)["best_sd"] == "–"


def measured(seeds: list[int], shift: float = 0.0) -> list[dict]:
    return [
        dict(
            trainer=trainer,
            seed=seed,
            seconds=seconds,
            **{name: 0.5 + shift + 0.01 * seed for name in FIGURES},
        )
        for trainer, seconds in ((OURS, 2.0), (THEIRS, 6.0))
        for seed in seeds
    ]


def test_one_seed_of_the_reference_package_is_shown_and_not_judged(home: Path, monkeypatch) -> None:
    monkeypatch.setattr(vtm_study.reference, "compare", lambda *args, seeds, **options: measured(seeds))
    saved = reference.reference_rows(data_of([0]))
    table = reference.reference_table(saved)
    assert set(table[OURS]) == set(table[THEIRS]) == {"0.500"}
    assert set(table["difference [95 %]"]) == set(table["agree"]) == {"–"}
    numbers = reference.reference_numbers(saved)
    assert (numbers["n_agree"], numbers["n_figures"], numbers["speed_up"]) == (0, 0, 3)

    table = reference.reference_table(reference.reference_rows(data_of([0, 2])))
    assert set(table[OURS]) == {"0.510 ±\u00a00.014"} and set(table["agree"]) == {"yes"}
    assert table["difference [95 %]"].iloc[0].startswith("+0.000 [-0.0")


def test_what_another_code_measured_is_measured_again(home: Path, monkeypatch) -> None:
    """Its key has the code of the reference package's trainer and of all that it imports (`vtm.files.code_hash`)."""
    data, times = data_of([1, 2]), []

    def compare(*args, seeds, **options):
        times.append(seeds)
        return measured(seeds, shift=len(times))

    monkeypatch.setattr(vtm_study.reference, "compare", compare)
    first = reference.reference_rows(data)
    assert reference.reference_rows(data) == first and len(times) == 1
    monkeypatch.setattr(reference, "code_hash", lambda *modules, without: "another")
    assert reference.reference_rows(data) != first and len(times) == 2
