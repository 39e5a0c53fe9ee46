"""Whether what a stored measurement follows from is still what it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vtm.files import write_json
from vtm_study import driver, machine

BEFORE = '"""One."""\ndef f(x: int) -> int:\n    """Two."""\n    return x + 1\n'
OTHER_WORDS = '"""A."""\nfrom typing import cast\n\n# said otherwise\ndef f(x: float) -> float:\n    """B."""\n    return cast(float, x) + 1\n'


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit with two modules, which stands for ours."""
    (tmp_path / "vtm").mkdir()
    for name in "ab":
        (tmp_path / "vtm" / f"{name}.py").write_text(BEFORE)
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for call in (["init", "-q"], ["add", "."], [*names, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *call], cwd=tmp_path, check=True)
    monkeypatch.setattr(machine, "checkout", lambda: tmp_path)
    monkeypatch.setattr(
        machine, "code_of", lambda *_: {f"vtm.{path.stem}": path for path in sorted(tmp_path.rglob("*.py"))}
    )
    machine._sources.cache_clear()
    yield tmp_path
    machine._sources.cache_clear()


def test_statements_count_and_words_do_not(checkout: Path) -> None:
    commit = machine.commit()
    assert machine.changed_since(commit, "vtm.a") == []
    (checkout / "vtm" / "a.py").write_text(OTHER_WORDS)
    assert machine.changed_since(commit, "vtm.a") == []
    (checkout / "vtm" / "b.py").write_text(BEFORE.replace("1", "2"))
    (checkout / "vtm" / "c.py").write_text(BEFORE)
    assert machine.changed_since(commit, "vtm.a") == ["vtm.b", "vtm.c"], "one differs, one was not there"
    assert machine.commit() == f"{commit}+"


@pytest.mark.parametrize("commit", ["0123456789ab", "", "--output=x"])
def test_an_unknown_commit_is_not_told(checkout: Path, commit: str) -> None:
    assert machine.changed_since(commit, "vtm.a") is None
    assert not (checkout / "x").exists()


def test_what_was_measured_with_uncommitted_changes_is_not_told(checkout: Path) -> None:
    assert machine.changed_since(f"{machine.commit()}+", "vtm.a") is None


def test_files_are_named_with_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("study/grid.json", "study/stamps/tags.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_json(tmp_path / name, {"commit": "old"})
    for name in driver.BESIDE:
        write_json(
            tmp_path / name,
            {"one": {"commit": "new"}, "two": {"commit": "old" if name == "bench.json" else "new"}},
        )
    asked = []

    def changed_since(commit: str, *modules: str) -> list[str]:
        asked.append(modules)
        return ["vtm.b", "vtm.a"] if commit == "old" else []

    monkeypatch.setattr(driver, "results_dir", lambda: tmp_path)
    monkeypatch.setattr(driver, "changed_since", changed_since)
    assert driver.older_than_code() == dict.fromkeys(
        ("study/grid.json", "study/stamps/tags.json", "bench.json"), ["vtm.a", "vtm.b"]
    )
    assert ("vtm_study.grid",) in asked
