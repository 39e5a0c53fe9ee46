"""Are weaknesses known of the packages that vtm is installed with, and are their licences allowed?

    python scripts/audit.py --python .venv/bin/python --lock requirements.lock

pip-audit and pip-licenses are taken from the environment of the interpreter that runs this (`make audit` makes one).
Exit status 1 where something is wrong, 2 where the services that know of weaknesses cannot be asked.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WRONG, NOT_ASKED = 1, 2
SERVICES = ("pypi", "osv")
SELF = "visual-topic-modelling"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", required=True, help="the interpreter whose packages are looked at")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    parser.add_argument("--licences", type=Path, default=ROOT / "scripts" / "licences.toml")
    options = parser.parse_args()
    rules = tomllib.loads(options.licences.read_text(encoding="utf-8"))
    tool = Path(sys.executable).with_name("pip-licenses")
    packages = json.loads(_run([str(tool), "--python", options.python, "--from=mixed", "--format=json"]))
    problems = licence_problems(packages, rules)
    print(f"licences: {len(packages)} packages, {len(problems)} not allowed")
    said, asked = weaknesses(options.lock)
    print(f"weaknesses: {len(said)} known" if asked else "weaknesses: not asked")
    for line in (*problems, *said):
        print(f"  {line}")
    if problems or (asked and said):
        return WRONG
    return 0 if asked else NOT_ASKED


def licence_problems(packages: Sequence[Mapping[str, str]], rules: Mapping[str, Any]) -> list[str]:
    """A line for each package whose licence is neither allowed nor excepted.

    Parameters
    ----------
    packages : Name, Version and License each, as pip-licenses writes them.
    rules : "allowed", a list of licences, and "exception", a list of packages, licence and why.
    """
    allowed = set(rules["allowed"])
    return [
        f"{package['Name']} {package['Version']}: {package['License']}: not among the allowed licences "
        "(scripts/licences.toml)"
        for package in packages
        if package["Name"] != SELF
        and not is_allowed(package["License"], allowed)
        and not any(
            fnmatch.fnmatchcase(package["License"], exception["licence"])
            and any(fnmatch.fnmatchcase(package["Name"], name) for name in exception["packages"])
            for exception in rules.get("exception", ())
        )
    ]


def is_allowed(licence: str, allowed: set[str]) -> bool:
    """Whether a licence, or an expression of several, is allowed.

    All that are joined by AND or a semicolon must be, and one of those joined by OR. AND binds closer; brackets are not
    read, and an expression with some is allowed only if it stands on the list as it is.
    """
    licence = " ".join(licence.split())
    if licence in allowed:
        return True
    for joint, decide in ((" OR ", any), ("; ", all), (" AND ", all)):
        if joint in licence and not re.search(r"\(.* (OR|AND) ", licence):
            return decide(is_allowed(part, allowed) for part in licence.split(joint))
    return False


def weaknesses(lock: Path) -> tuple[list[str], bool]:
    """Lines of what is known of the locked packages, or of why that is not known; and whether it is."""
    why = []
    for service in SERVICES:
        command = [str(Path(sys.executable).with_name("pip-audit")), "--requirement", str(lock)]
        command += ["--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
        done = subprocess.run(
            [*command, "--vulnerability-service", service], capture_output=True, text=True, check=False
        )
        found, not_known = read_audit(done.stdout)
        if found is not None and not not_known:
            return found, True
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        told = f"{len(not_known)} packages are not known to it" if not_known else last[:200]
        why.append(f"{service}: {told}")
    return [*why, "pip-audit needs the network: run this where pypi.org or api.osv.dev can be reached"], False


def read_audit(output: str) -> tuple[list[str] | None, list[str]]:
    """From pip-audit's JSON: a line for each weakness, None where it is no JSON; and the packages it skipped."""
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None, []
    found = [
        f"{package['name']} {package['version']}: {weakness['id']}, "
        f"mended in {', '.join(weakness['fix_versions']) or 'no version yet'}"
        for package in packages
        for weakness in package.get("vulns", ())
    ]
    return found, [package["name"] for package in packages if "skip_reason" in package]


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        sys.exit(f"{Path(command[0]).name} failed ({last})")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
