"""Beyond the paper: what the topics cost, where the information goes, an interpretable model that keeps it, and peers.

Chosen on the validation part; the test part is read by `vtm.study.summary`, `vtm.study.mismatches` and
`vtm.study.peers`, with what was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from vtm.prepare import Prepared


def run(
    data: Prepared,
    *,
    folder: Path | str | None = None,
    parts: Sequence[str] = (),
    force: bool = False,
    progress: bool = False,
) -> dict[str, dict]:
    """Run the study, or the named parts of it, and write one JSON file for each; what is current is kept.

    See `vtm.study.driver.PARTS` for the parts and what they cost, `run_parts` there for the options.
    """
    from vtm.study.driver import run_parts

    return run_parts(data, folder=folder, parts=parts, force=force, progress=progress)
