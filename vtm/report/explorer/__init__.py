"""A page to explore a topic model with: a map of its pictures, its topics, and what it finds for a text.

The page needs no server and asks no other host for anything. This package knows arrays, words and picture
files; only `from_results` reads trained models.
"""

from __future__ import annotations

from vtm.report.explorer.shown import ExplorerData, Match, from_arrays, from_results, layout
from vtm.report.explorer.written import Built, build_explorer

__all__ = ["Built", "ExplorerData", "Match", "build_explorer", "from_arrays", "from_results", "layout"]
