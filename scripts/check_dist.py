"""Look into dist/: the wheel and the source archive hold the package, and neither tests nor data."""

from __future__ import annotations

import argparse
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGES = ("vtm", "vtm_study")
# Beside the packages, in the source archive.
BESIDE = (
    *("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md"),
    *("constraints.txt", "pyproject.toml", "setup.cfg"),
)
MOST = 1_000_000  # bytes of an archive


def problems(archive: Path, sources: Path) -> list[str]:
    """What an archive lacks of the packages below `sources`, or has too much of; one line each."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            names = {name for name in wheel.namelist() if not name.endswith("/")}
        allowed: tuple[str, ...] = ()
    else:
        with tarfile.open(archive) as source:
            names = {member.name.partition("/")[2] for member in source if member.isfile()}
        allowed = BESIDE
    there = {
        path.relative_to(sources).as_posix()
        for package in PACKAGES
        for path in (sources / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    extra = {
        name
        for name in names - there
        if name not in allowed and not name.partition("/")[0].endswith((".dist-info", ".egg-info"))
    }
    found = [f"{archive.name} lacks {name}" for name in sorted(there - names)]
    found += [f"{archive.name} should not have {name}" for name in sorted(extra)]
    if archive.stat().st_size > MOST:
        found.append(f"{archive.name} has {archive.stat().st_size / 1e6:.1f} MB")
    return found


def main() -> int:
    """Print what is wrong; 1 when there is anything, or no wheel and no source archive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with one wheel and one source archive")
    folder = parser.parse_args().folder
    archives = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    found = [
        line for archive in archives for line in problems(archive, Path(__file__).resolve().parent.parent)
    ]
    if len(archives) != 2:
        found.append(f"{folder}: one wheel and one source archive are needed, not {len(archives)} files")
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
