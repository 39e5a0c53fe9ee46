"""Whose data, weights and packages these are: the book's page, and what `make audit` lets pass."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vtm.corpora import CORPORA, load_corpus
from vtm.corpora.fetch import ARTIFACTS, GROUPS, WEIGHTS, Terms, corpus_terms, licence_of
from vtm.encoders import ENCODERS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import audit  # noqa: E402
import licence_page  # noqa: E402

RULES = tomllib.loads((ROOT / "scripts" / "licences.toml").read_text(encoding="utf-8"))
PAGE = licence_page.PAGE.read_text(encoding="utf-8")


def test_the_page_holds_what_the_package_knows() -> None:
    assert licence_page.fill(PAGE) == PAGE, "python scripts/licence_page.py"
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    for name in (*CORPORA, *ENCODERS):
        assert any(name in row.split("|")[1] for row in rows), name
    for artifact in ARTIFACTS.values():
        assert any(f"{artifact.name} {artifact.version}" in row for row in rows), artifact.name
    old = PAGE.replace("| GPL-2 |", "| MIT |")
    assert old != PAGE and licence_page.fill(old) == PAGE


def test_every_corpus_and_all_weights_have_a_licence() -> None:
    terms = [*corpus_terms(), *WEIGHTS]
    assert all(each.name and each.licence for each in terms)
    assert [each.used_as for each in corpus_terms()] == list(CORPORA)
    stamps = next(each for each in terms if each.used_as == "stamps")
    assert stamps.licence == "GPL-2" and "2022.06.04" in stamps.pinned
    news = next(each for each in terms if each.used_as == "newsimages")
    assert "publisher" in news.licence and "research only" in news.licence
    assert all(licence_of(group) for group in GROUPS)


def test_a_corpus_says_the_same_of_itself(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    assert load_corpus("scenes", n=4).source == next(t for t in corpus_terms() if t.used_as == "scenes").name


def test_a_bar_in_a_name_does_not_break_the_table() -> None:
    assert (
        licence_page.markdown_table([Terms("a", "b|c", "MIT")]).splitlines()[-1] == r"| `a` | b\|c | MIT |  |"
    )


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 AND  MIT", True),
        ("Apache-2.0 AND GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only OR LGPL-2.1-only", False),
        ("MIT AND GPL-3.0-only OR BSD-3-Clause", True),
        ("MIT AND (GPL-3.0-only OR LGPL-3.0-only)", False),
        ("BSD License; MIT License", True),
        ("BSD License; GNU General Public License (GPL)", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_which_licences_pass(licence: str, allowed: bool) -> None:
    assert audit.is_allowed(licence, set(RULES["allowed"])) == allowed


def test_exceptions_are_of_one_licence_only() -> None:
    def problems(name: str, licence: str) -> list[str]:
        return audit.licence_problems([{"Name": name, "Version": "1", "License": licence}], RULES)

    assert (
        problems("gensim", "LGPL-2.1-only")
        == problems("nvidia-nccl-cu13", "NVIDIA Proprietary Software")
        == []
    )
    assert problems(audit.SELF, "UNKNOWN") == []
    for name, licence in (("gensim", "GPL-3.0-only"), ("other", "LGPL-2.1-only"), ("x", "UNKNOWN")):
        (line,) = problems(name, licence)
        assert line.startswith(f"{name} 1: {licence}: not among the allowed licences")
    assert all(exception["why"] for exception in RULES["exception"])


def run_audit(tmp_path: Path, *, licences: str, audits: dict[str, str]) -> subprocess.CompletedProcess:
    """The script beside stand-ins for pip-licenses and pip-audit, which print this."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python").symlink_to(sys.executable)
    (tools / "pip-licenses").write_text(f"#!/bin/sh\ncat <<'X'\n{licences}\nX\n")
    cases = "".join(f"*{service}) cat <<'X'\n{out}\nX\n;;\n" for service, out in audits.items())
    (tools / "pip-audit").write_text(
        f'#!/bin/sh\ncase "$*" in\n{cases}*) echo no network >&2; exit 1;; esac\n'
    )
    for tool in ("pip-licenses", "pip-audit"):
        (tools / tool).chmod(0o755)
    code = f"import sys; sys.executable = {str(tools / 'python')!r}; sys.path.insert(0, {str(ROOT / 'scripts')!r}); "
    code += f"sys.argv = ['audit.py', '--python', 'x', '--lock', {str(tmp_path / 'lock')!r}]; "
    code += "import audit; sys.exit(audit.main())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


GOOD = json.dumps([{"Name": "a", "Version": "1", "License": "MIT"}])
CLEAN = json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": []}]})
SKIPPED = json.dumps({"dependencies": [{"name": "a", "skip_reason": "not found on PyPI"}]})
WEAK = json.dumps(
    {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]}
)


@pytest.mark.parametrize(
    ("licences", "audits", "code", "said"),
    [
        (GOOD, {"pypi": CLEAN}, 0, "weaknesses: 0 known"),
        (GOOD, {"pypi": WEAK}, 1, "a 1: CVE-1, mended in 2"),
        (GOOD, {"pypi": SKIPPED, "osv": CLEAN}, 0, "weaknesses: 0 known"),
        (GOOD, {"pypi": SKIPPED, "osv": WEAK}, 1, "CVE-1"),
        (GOOD, {"pypi": SKIPPED}, 2, "pip-audit needs the network"),
        (GOOD, {}, 2, "osv: no network"),
        (GOOD.replace("MIT", "GPL-3.0-only"), {"pypi": CLEAN}, 1, "a 1: GPL-3.0-only: not among"),
        (GOOD.replace("MIT", "GPL-3.0-only"), {}, 1, "a 1: GPL-3.0-only: not among"),
    ],
)
def test_what_the_audit_says(tmp_path: Path, licences, audits, code, said) -> None:
    """An answer that leaves packages out, as of a mirror that knows of no weakness, is none."""
    done = run_audit(tmp_path, licences=licences, audits=audits)
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr
