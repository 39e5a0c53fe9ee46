"""One prepared corpus and one folder of trained models for all tests of the study."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtm.config import BowConfig, Experiment, ModelConfig
from vtm.experiment.prepare import Prepared, prepare


@pytest.fixture(scope="session")
def data() -> Prepared:
    experiment = Experiment(
        corpus="scenes:n=300",
        encoder="pixels",
        n_topics=(10,),
        seeds=(0, 1),
        model=ModelConfig(epochs=2, batch_size=16),
        bow=BowConfig(min_df=2),
    )
    return prepare(experiment, progress=False)


@pytest.fixture(scope="session")
def shared_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def runs(shared_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runs folder for the time of a test: models of the same settings are trained once."""
    monkeypatch.setenv("VTM_RUNS", str(shared_runs))
    return shared_runs
