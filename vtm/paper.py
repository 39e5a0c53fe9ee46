"""What the paper reports, to stand beside ours (Pivovarova and Zosa 2021, Table 1)."""

from __future__ import annotations

from typing import NamedTuple


class PaperRow(NamedTuple):
    """One row of the paper's Table 1; 1,915 test articles, each with one picture among as many."""

    row: str
    n_topics: int
    correct_100: int
    mrr_100: float
    recall_5: float
    recall_10: float
    recall_50: float
    recall_100: float


TABLE_1 = (
    PaperRow("baseline", 0, 1225, 0.169, 0.22, 0.30, 0.53, 0.64),
    PaperRow("joint", 120, 767, 0.043, 0.06, 0.09, 0.26, 0.40),
    PaperRow("joint", 60, 698, 0.030, 0.04, 0.07, 0.24, 0.36),
    PaperRow("text-teacher", 120, 816, 0.042, 0.05, 0.09, 0.30, 0.43),
    PaperRow("text-teacher", 60, 757, 0.037, 0.05, 0.08, 0.26, 0.39),
)
