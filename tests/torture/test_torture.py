"""What `make torture` and `make mutants` run: every suite can be imported, every reader has files to start from."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import mutants
import pytest
from fuzz_readers import READERS

HERE = Path(__file__).parent
# Each is minutes of edits of one folder; the fuzzer tries them all.
MOST_SEEDS = 16


@pytest.mark.parametrize(
    "name",
    ["torture", "torture_inputs", "torture_faults", "torture_pages", "kills", "repeats", "fuzz", "programs"],
)
def test_a_suite_finds_what_it_needs(name: str) -> None:
    assert Path(importlib.import_module(name).__file__ or "").parent == HERE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_reader_holds_what_it_starts_from(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    reader = READERS[name](tmp_path)
    assert reader.seeds
    for content in reader.seeds[:MOST_SEEDS]:
        reader.read(content)


def test_explained_mutants_are_of_the_code_as_it_is() -> None:
    explained = tomllib.loads(mutants.EXPLANATIONS.read_text("utf-8"))["explained"]
    assert explained
    for each in explained:
        assert each["module"] in mutants.MODULES
        source = (mutants.ROOT / each["module"]).read_text("utf-8")
        assert f"def {each['function'].rpartition('ǁ')[2]}(" in source, each["function"]
        said = {" ".join(line.split()) for line in source.splitlines()}
        old = [" ".join(line[1:].split()) for line in each["change"].splitlines() if line.startswith("-")]
        assert old and said.issuperset(old), each["change"]
    assert all(
        (mutants.ROOT / path).is_file() for path in (*mutants.MODULES, *mutants.TESTS, *mutants.BESIDE)
    )
