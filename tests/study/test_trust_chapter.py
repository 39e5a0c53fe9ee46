"""The chapter on trust: its figures against the stored files, and that the torture would notice what it looks for."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from killing import DidNotFinish, Job, contents

from vtm.errors import DataError, MissingError
from vtm_study import trust
from vtm_study import trust as trust_mutants

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kills = load(ROOT / "tests" / "torture" / "kills.py")
mutants = load(ROOT / "tests" / "torture" / "mutants.py")


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return trust.stored()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name, _ in trust.FILES.values():
        shutil.copy(RESULTS / name, tmp_path / name)
    return tmp_path


def test_kills_are_those_of_the_file(found: dict[str, dict[str, Any]]) -> None:
    told = json.loads((RESULTS / "torture.json").read_text("utf-8"))["kills"]
    table = trust.kills_table(found["torture"])
    assert table["kills"].sum() == len(told["kills"]) == told["tried"] >= 50
    assert table["ended with the same bits"].sum() == told["survived"]
    assert told["survived"] == sum(not kill["differences"] for kill in told["kills"])
    assert sum(table[label].sum() for label in trust.WHOM.values()) == told["tried"]
    assert {"embedding", "training", "notebooks", "book build"} <= set(table["killed during"])
    assert {"scenes", "openclipart", "book"} == set(table.index)
    jobs = trust.jobs_table(found["torture"])
    assert jobs["compared"].to_dict() == {name: job["compared"] for name, job in told["jobs"].items()}


def test_faults_are_those_of_the_file(found: dict[str, dict[str, Any]]) -> None:
    told = json.loads((RESULTS / "torture.json").read_text("utf-8"))
    table = trust.faults_table(found["torture"])
    tried = [int(text.replace(",", "")) for text in table["tried"]]
    assert sum(tried[:-1]) == told["faults"]["tried"] and tried[-1] == told["pages"]["planted"]
    for fault, outcomes in told["faults"]["outcomes"].items():
        counts = re.findall(r"\d[\d,]*(?= [a-z])", table["outcome"][fault])
        assert sum(int(count.replace(",", "")) for count in counts) == sum(outcomes.values())
    for fault in ("disk full", "read-only folder", "damaged cache shard", "two runs at once"):
        assert fault in table.index


def test_inputs_are_those_of_the_file(found: dict[str, dict[str, Any]]) -> None:
    told = json.loads((RESULTS / "torture-inputs.json").read_text("utf-8"))
    table = trust.inputs_table(found["inputs"])
    for part, label in trust.INPUTS.items():
        line, kinds = table.loc[label], trust.kinds_table(found["inputs"], part)
        assert line["tried"] == told[part]["tried"] == kinds["tried"].sum()
        refused = int(str(line["refused"]).split()[0])
        assert line["read right"] + refused + line["came out wrong"] == line["tried"]
        assert kinds["read right"].sum() == line["read right"]
        assert kinds["came out wrong"].sum() == line["came out wrong"] == len(told[part]["wrong"])
    fuzz = trust.fuzz_table(found["inputs"])
    assert sum(int(text.replace(",", "")) for text in fuzz["inputs"]) == told["fuzz"]["executions"]
    assert fuzz["findings"].sum() == told["fuzz"]["findings"]


def test_mutants_are_those_of_the_file_and_every_survivor_is_explained(
    found: dict[str, dict[str, Any]],
) -> None:
    told = json.loads((RESULTS / "mutants.json").read_text("utf-8"))
    table = trust_mutants.mutants_table(found["mutants"])
    assert tuple(sorted(table.index)) == tuple(sorted(mutants.MODULES))
    assert (table["mutants"] == table[["killed", "never end", "survive"]].sum(axis=1)).all()
    assert table["mutants"].to_dict() == {name: part["mutants"] for name, part in told["modules"].items()}
    survivors = Counter(each["module"] for each in told["survivors"])
    assert {name: count for name, count in table["survive"].items() if count} == survivors
    assert (table["of these, explained"] == table["survive"]).all()
    assert len(trust_mutants.survivors_table(found["mutants"])) == len(told["survivors"])


def test_numbers_of_the_prose(found: dict[str, dict[str, Any]]) -> None:
    numbers = trust.trust_numbers(found)
    assert all(value == value for value in numbers.values()), "a number is NaN"
    assert numbers["kills"] == trust.kills_table(found["torture"])["kills"].sum()
    assert numbers["mutants"] == numbers["mutants_noticed"] + numbers["mutants_survived"]
    assert numbers["malformed"] == trust.inputs_table(found["inputs"])["tried"].sum()
    repeats = trust.repeats_table(found["torture"])
    assert numbers["restarts"] + numbers["threads_compared"] == len(repeats)
    whole = (repeats["arrays"] == repeats["same bits"]).sum()
    assert numbers["restarts_same"] + numbers["threads_same"] == whole
    chapter = (ROOT / "notebooks" / "14-trust.ipynb").read_text("utf-8")
    assert set(re.findall(r"glue:text\}`trust_(\w+)", chapter)) <= set(numbers)


@pytest.mark.parametrize(("name", "target"), trust.FILES.values())
def test_a_file_that_was_changed_is_refused(copied: Path, name: str, target: str) -> None:
    assert trust.stored(copied).keys() == {"torture", "inputs", "mutants"}
    content = (copied / name).read_text("utf-8")
    figure = re.search(r'"(survived|killed|tried)": \d+', content)
    assert figure is not None
    (copied / name).write_text(content.replace(figure[0], f"{figure[0]}1", 1))
    with pytest.raises(DataError, match=f"{name}: its content is not what was written"):
        trust.stored(copied)
    (copied / name).unlink()
    with pytest.raises(MissingError, match=f"{name}: no such file; `make {target}` makes it"):
        trust.stored(copied)


def test_what_came_out_wrong_is_shown() -> None:
    part = {
        "tried": 4,
        "outcomes": {"read": 2, "too-large": 1, "wrong": 1},
        "by_kind": {"CMYK": {"read": 2, "wrong": 1}, "bomb": {"too-large": 1}},
        "wrong": ["CMYK: 'a.jpg': read"],
    }
    inputs = {name: part for name in trust.INPUTS}
    assert trust.inputs_table(inputs).loc["pictures"].tolist() == [4, 2, "1 (1 too-large)", 1]
    kinds = trust.kinds_table(inputs, "pictures")
    assert kinds.loc["CMYK"].tolist() == [3, 2, "0", 1] and kinds.loc["bomb", "came out wrong"] == 0


@pytest.mark.parametrize(
    ("change", "code", "changed"),
    [
        ("-    if x < 1:\n+    if x <= 1:", "<", "<="),
        ("-    if x < 1:\n+    if x < 2:", "1:", "2:"),
        ("-    f(a, b, c)\n+    f(a, c)", "b,", "–"),
        ("-        b=1,", "b=1,", "–"),
        ("-    a(1) + a(1)\n+    a(1) + a(1) + a(1)", "–", "+ a(1)"),
    ],
)
def test_a_survivor_is_shown_by_what_differs(change: str, code: str, changed: str) -> None:
    survivor = {"module": "vtm/a.py", "function": "f", "change": change, "why": ""}
    table = trust_mutants.survivors_table({"survivors": [survivor]})
    assert table.index[0].replace("\u200b", "") == "a.f"
    assert [cell.replace("\u200b", "") for cell in table.iloc[0]] == [code, changed, "not explained"]


def test_an_explanation_holds_for_the_change_it_names_alone() -> None:
    survivor = {"module": "vtm/a.py", "function": "f", "change": "-    x < 1\n+    x <= 1"}
    known = [survivor | {"change": "- x < 1\n+ x <= 1", "why": "as x is never 1"}]
    told = [dict(survivor), survivor | {"change": "-    x < 1\n+    x < 2"}]
    assert mutants.explain(told, known) == []
    assert [each["why"] for each in told] == ["as x is never 1", ""]
    # An explanation of what the tests notice by now would hide the next gap.
    assert mutants.explain(told[1:], known) == known


@pytest.mark.parametrize("names", [["scenes", "openclipart", "book"], ["scenes", "book"]])
@pytest.mark.parametrize("total", [1, 7, 50, 200])
def test_every_kill_has_a_stage(names: list[str], total: int) -> None:
    plan = [(name, stage) for name in names for stage in kills.planned(name, total, names)]
    assert len(plan) == total
    if total >= 50:
        assert set(plan) == {(name, stage) for name in names for stage in kills.SHARES[name]}


# Two files, the second of which is made from what the first holds.
SOUND = """
import sys, time, os
from pathlib import Path
folder = Path(sys.argv[1]) / "runs"
folder.mkdir(exist_ok=True)
print("stage: writing", flush=True)
for name in ("a.json", "b.json"):
    if not (folder / name).exists():
        time.sleep(0.15)
        (folder / "new").write_text("[1]")
        os.replace(folder / "new", folder / name)
"""
# It takes a file that is there for whole, as no part of vtm may.
TORN = SOUND.replace(
    "        time.sleep(0.15)\n", '        (folder / name).write_text("[0]")\n        time.sleep(0.15)\n'
)
# It takes what is left behind for another run that goes on.
STUCK = (
    SOUND.replace("print(", '(folder / "lock").touch(exist_ok=False)\nprint(', 1)
    + '(folder / "lock").unlink()\n'
)


def toy(code: str) -> Job:
    return Job("toy", lambda folder: [("starting", [sys.executable, "-c", code, str(folder)])])


@pytest.mark.parametrize(
    ("code", "outcome"), [(SOUND, "the same"), (TORN, "different"), (STUCK, "did not finish")]
)
def test_a_job_that_does_not_survive_is_found(code: str, outcome: str, tmp_path: Path) -> None:
    place = tmp_path / "toy"
    known = kills.undisturbed(toy(code), place, ROOT)
    assert known["compared"] == 2 and known["varying"] == []
    draws = random.Random(0)
    told = [
        kills.one(toy(code), "writing", known, draws, place=place, package=ROOT)["outcome"] for _ in range(3)
    ]
    assert outcome in told and set(told) <= {"the same", outcome}
    assert outcome == "the same" or told.count("the same") < 3


def test_a_job_that_hangs_is_ended_and_said(tmp_path: Path) -> None:
    with pytest.raises(DidNotFinish, match="toy: not at its end after"):
        toy("import time; time.sleep(60)").run(tmp_path, timeout=0.3)
    with pytest.raises(DidNotFinish, match="toy ended with 3: "):
        toy("raise SystemExit(3)").run(tmp_path)
    assert contents(tmp_path) == {}
