"""Tables and numbers of the data chapter: what a prepared corpus holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vtm.runs import frame

if TYPE_CHECKING:
    import pandas as pd

    from vtm.prepare import Prepared


def drop_table(counts: dict[str, int], kept: int) -> pd.DataFrame:
    """What left a corpus, by reason, and what stayed."""
    lines = [{"": reason, "pairs": n} for reason, n in counts.items()]
    lines += [{"": "kept", "pairs": kept}, {"": "all", "pairs": kept + sum(counts.values())}]
    return frame(lines)


def split_table(data: Prepared) -> pd.DataFrame:
    """Pairs, share and gold categories of each part."""
    total = sum(len(rows) for rows in data.rows.values())
    lines = []
    for part, rows in data.rows.items():
        groups = data.groups(part)
        lines.append(
            {
                "": part,
                "pairs": len(rows),
                "share": f"{len(rows) / total:.1%}",
                "gold categories": len(set(groups)) if groups is not None else "–",
            }
        )
    return frame(lines)


def vocabulary_table(data: Prepared) -> pd.DataFrame:
    """Size of the vocabulary, its commonest words, and how many known words a text holds, by part."""
    lines = []
    for part, rows in data.rows.items():
        counts = data.counts[rows]
        length = np.asarray(counts.sum(axis=1)).ravel()
        frequency = np.asarray(counts.sum(axis=0)).ravel()
        common = np.argsort(-frequency, kind="stable")[:12]
        lines.append(
            {
                "": part,
                "words of the vocabulary": int((frequency > 0).sum()),
                "known words a text, mean": f"{length.mean():.1f}",
                "texts without one": int((length == 0).sum()),
                "commonest": ", ".join(data.vocabulary.words[i] for i in common),
            }
        )
    return frame(lines)


def data_numbers(data: Prepared) -> dict[str, float]:
    """The numbers that the data chapter's prose quotes."""
    length = np.asarray(data.counts[data.rows["train"]].sum(axis=1)).ravel()
    kept = sum(len(rows) for rows in data.rows.values())
    return {
        "n_all": float(kept + sum(data.drop_counts().values())),
        "n_kept": float(kept),
        **{f"n_{part}": float(len(rows)) for part, rows in data.rows.items()},
        "words_a_text": float(length.mean()),
        "n_words": float(len(data.vocabulary)),
    }
