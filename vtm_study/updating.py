"""What an update of a model keeps, and what it costs, beside training anew."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.api import ModelWarning, VisualTopicModel
from vtm.config import numpy_generator
from vtm.metrics.retrieval import paired_bootstrap, told
from vtm.metrics.topics import match_topics
from vtm.model.plus import SAME_TOPIC, unit
from vtm.report.tables import frame

if TYPE_CHECKING:
    import pandas as pd

    from vtm.experiment.prepare import Prepared


WAYS = {"updated": "updated", "anew": "trained anew", "other": "trained anew, another seed"}


def update_rows(data: Prepared, *, joining: float = 0.1, seed: int | None = None) -> list[dict[str, Any]]:
    """What an update keeps: a model of most training pairs that the others join, beside models trained anew from all.

    Parameters
    ----------
    joining : share of the training pairs that join, drawn by lot.
    seed : of the draw and the models; the experiment's first by default.

    Returns
    -------
    A line for each of `WAYS`: "stay", share of the topics whose shares in the pictures are what they were; "moved", share of
    the pictures with another largest topic; "ranks" and "by_topics", (n,) reciprocal ranks of the test texts' own pictures;
    "npmi"; "added", how many more topics there are; "earlier" and "joined", numbers of pairs. Topics trained anew stand in the order that is most like before.
    """
    experiment, corpus = data.experiment, data.corpus
    seed = experiment.seeds[0] if seed is None else seed
    drawn = numpy_generator(seed, "pairs that join a model").permutation(data.rows["train"])
    n = len(drawn) - round(joining * len(drawn))

    def pairs(rows: np.ndarray) -> tuple[list[str], list[Path]]:
        return [corpus.texts[row] for row in rows], [corpus.images[row] for row in rows]

    def fitted(texts: list[str], images: list[Path], seed: int) -> VisualTopicModel:
        model = VisualTopicModel(
            experiment.n_topics[0],
            encoder=experiment.encoder,
            language=corpus.language,
            random_state=seed,
            device=experiment.device,
            progress=False,
        )
        return model.fit(texts, images)

    earlier, new, test = pairs(np.sort(drawn[:n])), pairs(np.sort(drawn[n:])), pairs(data.rows["test"])
    both = earlier[0] + new[0], earlier[1] + new[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)  # what is left out is counted in chapter 1
        model = fitted(*earlier, seed)
        models = {
            "updated": copy.deepcopy(model).partial_fit(*new, earlier=earlier),
            "anew": fitted(*both, seed),
            "other": fitted(*both, seed + 1),
        }
    before = model.transform(both[1])
    k, rows = before.shape[1], []
    for way, other in models.items():
        now = other.transform(both[1])
        alike = unit(before.T) @ unit(now.T).T
        order = np.arange(k) if way == "updated" else match_topics(alike)
        known_as = np.full(now.shape[1], -1)
        known_as[order] = np.arange(k)
        ranks = {}
        for name, measure in (("ranks", "fused"), ("by_topics", "cosine")):
            found, _ = other.rank(*test, top=len(test[0]), measure=measure)
            hit = found == np.arange(len(found))[:, None]
            ranks[name] = (hit / np.arange(1, hit.shape[1] + 1)).sum(axis=1)
        rows.append(
            {
                "way": way,
                "stay": float((alike[np.arange(k), order] >= SAME_TOPIC).mean()),
                "moved": float((before.argmax(axis=1) != known_as[now.argmax(axis=1)]).mean()),
                "npmi": float(other.coherence_["image"].mean()),
                "added": now.shape[1] - k,
                "earlier": n,
                "joined": len(new[0]),
                **ranks,
            }
        )
    return rows


def update_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """`update_rows` as a table."""
    return frame(
        [
            {
                "model": WAYS[row["way"]],
                "topics that stay": f"{row['stay']:.0%}",
                "pictures that move": f"{row['moved']:.0%}",
                "MRR": f"{row['ranks'].mean():.3f}",
                "MRR by topics": f"{row['by_topics'].mean():.3f}",
                "NPMI": f"{row['npmi']:.3f}",
            }
            for row in rows
        ],
        "model",
    )


def update_numbers(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | str]:
    """The numbers of `update_rows` that are quoted; the update's MRR less that of training anew by the same seed."""
    found: dict[str, float | str] = {"earlier": float(rows[0]["earlier"]), "joined": float(rows[0]["joined"])}
    for row in rows:
        found |= {f"{row['way']}_{name}": row[name] for name in ("stay", "moved")}
        found |= {f"{row['way']}_mrr": float(row["ranks"].mean())}
    ranks = {row["way"]: row["ranks"] for row in rows}
    test = paired_bootstrap(ranks["updated"], ranks["anew"])
    found["verdict"] = told(test, "more", "less", "neither more nor less")
    return found | {"less": test.difference, "low": test.low, "high": test.high}
