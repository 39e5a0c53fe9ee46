"""Where things lie. Importing this module creates nothing."""

from __future__ import annotations

import os
from pathlib import Path


def checkout() -> Path | None:
    """The root of the source checkout that this package runs from, or None when it is installed."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "_toc.yml").is_file() else None


def results_dir() -> Path:
    """The measurements that come with the source: `results/` in a checkout, or `./results`."""
    return (checkout() or Path()) / "results"


def data_dir() -> Path:
    """Downloads, corpora and embedding caches: $VTM_DATA, or `data/` in a checkout, or the user's cache."""
    if named := os.environ.get("VTM_DATA"):
        return Path(named).expanduser().resolve()
    if root := checkout():
        return root / "data"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "vtm"


def runs_dir() -> Path:
    """Trained models, theta and tables: $VTM_RUNS, or `runs/` in a checkout, or `./vtm-runs`."""
    if named := os.environ.get("VTM_RUNS"):
        return Path(named).expanduser().resolve()
    if root := checkout():
        return root / "runs"
    return Path.cwd() / "vtm-runs"
