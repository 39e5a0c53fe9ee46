"""A page to explore a topic model with: a map of its pictures, its topics, and what it finds for a text.

The page needs no server and asks no other host for anything. This package knows arrays, words and picture
files; only `from_results` reads trained models.
"""

from __future__ import annotations

from vtm.explorer.arrays import from_arrays
from vtm.explorer.build import Built, build_explorer
from vtm.explorer.data import ExplorerData, Match
from vtm.explorer.experiment import from_results
from vtm.explorer.positions import layout

__all__ = ["Built", "ExplorerData", "Match", "build_explorer", "from_arrays", "from_results", "layout"]
