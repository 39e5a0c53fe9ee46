"""How good topics are as words: coherence on texts that were read and on texts that were not, and how much they differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vtm.prepare import Prepared
from vtm.results import Result
from vtm.topic_metrics import inverted_rbo, npmi, topic_diversity

TOP_WORDS = 25


def topic_figures(
    topics: Sequence[Sequence[str]], data: Prepared, *, unseen: str, members: int = 1
) -> dict[str, float]:
    """Coherence and diversity of a model's topics, lists of 25 words.

    "npmi" counts words in the training texts, as is usual, "npmi_unseen" in those of the part `unseen`, which no model
    has read. "diversity" is of the 25 first words of each topic (Dieng et al. 2020), "diversity_top10" and
    "inverted_rbo" of the ten first (Terragni et al. 2021): means over members; "_whole" of all members' topics together.

    Parameters
    ----------
    members : how many models of equally many topics stand side by side.
    """
    lists = [[topics[k] for k in rows] for rows in np.array_split(np.arange(len(topics)), members)]
    words = data.vocabulary.words
    return {
        "npmi": float(npmi(topics, data.counts[data.rows["train"]], words).mean()),
        "npmi_unseen": float(npmi(topics, data.counts[data.rows[unseen]], words).mean()),
        "diversity": float(np.mean([topic_diversity(one, top=TOP_WORDS) for one in lists])),
        "diversity_top10": float(np.mean([topic_diversity(one, top=10) for one in lists])),
        "inverted_rbo": float(np.mean([inverted_rbo(one) for one in lists])),
        "diversity_top10_whole": topic_diversity(topics, top=10),
        "inverted_rbo_whole": inverted_rbo(topics),
    }


def teacher_figures(
    runs: Sequence[Result], data: Prepared, *, unseen: str
) -> dict[str, list[dict[str, float]]]:
    """`topic_figures` of a text-teacher's two models and their mean, "text", "image" and "both", a line a seed."""
    found = {
        reads: [topic_figures(run.topics[reads], data, unseen=unseen) for run in runs]
        for reads in ("text", "image")
    }
    both = [
        {name: (text[name] + image[name]) / 2 for name in text}
        for text, image in zip(found["text"], found["image"], strict=True)
    ]
    return found | {"both": both}


def most_diverse(n_words: int, n_topics: int, *, top: int) -> float:
    """The largest diversity that topics can have where there are fewer words than places in their lists."""
    return min(1.0, n_words / (top * n_topics))
