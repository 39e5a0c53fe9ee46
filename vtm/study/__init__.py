"""Beyond the paper: what the topics cost, where the information goes, and an interpretable model that keeps it.

Chosen on the validation part; the test part is read once, by `vtm.study.summary`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from vtm.prepare import Prepared


def run(data: Prepared, *, folder: Path | str | None = None, parts: Sequence[str] = ()) -> dict[str, dict]:
    """Run the study, or the named parts of it, and write one JSON file for each; what is current is kept.

    See `vtm.study.driver.PARTS` for the parts and what they cost.
    """
    from vtm.study.driver import run_parts

    return run_parts(data, folder=folder, parts=parts)
