"""Where the torture suites put their figures: one JSON file for each suite, in $VTM_TORTURE_OUT."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vtm.files import write_json


def record(suite: str, figures: dict[str, Any]) -> None:
    """Write a suite's figures; nothing where no folder for them is named."""
    if folder := os.environ.get("VTM_TORTURE_OUT"):
        write_json(Path(folder) / f"{suite}.json", figures)
