"""Tables and figures of the chapter on tags, from a study (`vtm.tags.study`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vtm.config import KINDS
from vtm.figures import COLOURS, grid_of_axes
from vtm.metrics import bootstrap_interval
from vtm.runs import frame, spread
from vtm.tags.findings import PEERS, comparisons
from vtm.tags.metrics import jackknife_interval
from vtm.tags.references import FREQUENT, LINEAR, MAJORITY, NEIGHBOURS, OWN, TEXT
from vtm.tags.runs import TagRun, TagStudy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from vtm.prepare import Prepared

NO_GROUPS = "This corpus has no gold categories."
KEYWORDS = {
    "mixture_5": "5 words",
    "mixture_10": "10 words",
    "largest": "5 words of 3 topics",
}
EXAMPLES = 12


def overview_table(study: TagStudy) -> pd.DataFrame:
    """What is measured on, and what is left out."""
    lines = {
        "training, validation, test pictures": f"{study.n_train}, {study.n_validation}, {len(study.ids)}",
        "words of the vocabulary": study.n_words,
        "test pictures whose text holds no word of it": study.n_wordless,
        "gold categories in the test part": len(set(study.groups)) if study.groups else "none",
        "test pictures whose text names their category": study.n_named if study.groups else "–",
        "test pictures of a category that training lacks": study.n_new_groups if study.groups else "–",
        "runs left out, collapsed or diverged": "; ".join(study.unhealthy) or "none",
        "classifiers and peers stopped before they converged": _unfinished(study),
    }
    return frame([{"": name, "value": value} for name, value in lines.items()])


def clusters_table(study: TagStudy) -> pd.DataFrame | str:
    """The largest topic of each test picture against gold categories."""
    if study.groups is None:
        return NO_GROUPS
    lines = []
    for name, runs in study.rows().items():
        values = {figure: study.items(name, figure) for figure in ("nmi", "purity")}
        if values["nmi"] is None:
            continue
        cells = {
            label: _cell(values[figure][:, 0], jackknife_interval(values[figure]))
            for figure, label in (("nmi", "NMI"), ("purity", "purity"))
        }
        adjusted = {"AMI": spread(study.items(name, "ami")[:, 0].tolist())}
        lines.append({"": name, "topics": runs[0].n_topics, "seeds": len(runs), **cells, **adjusted})
    # By number of topics, since both figures rise with it.
    lines.sort(key=lambda line: line.pop("topics"))
    return frame(lines)


def categories_table(study: TagStudy) -> pd.DataFrame | str:
    """Share of test pictures whose category a classifier tells."""
    if study.groups is None:
        return NO_GROUPS
    lines = []
    for name in _ordered(study):
        linear, near = study.items(name, "linear"), study.items(name, "neighbours")
        if linear is None or near is None:
            continue
        lines.append(
            {
                "": name,
                "seeds": len(linear),
                "linear classifier": _cell(linear.mean(axis=1), bootstrap_interval(linear)),
                "nearest neighbours": _cell(near.mean(axis=1), bootstrap_interval(near)),
            }
        )
    return frame(lines)


def peers_table(study: TagStudy) -> pd.DataFrame:
    """Topics of our models and of the peers: coherence, diversity, matching on the validation part."""
    lines = []
    for name, runs in study.rows().items():
        matched = study.items(name, "matched")
        if matched is None:
            continue
        lines.append(
            {
                "": name,
                "seeds": len(runs),
                "NPMI": spread([run.figures["npmi"] for run in runs]),
                "diversity": spread([run.figures["diversity"] for run in runs]),
                "MRR@100, validation": _cell(matched.mean(axis=1), bootstrap_interval(matched)),
            }
        )
    return frame(lines)


def status_table(study: TagStudy) -> pd.DataFrame | str:
    """Which of the peers that are no part of vtm ran, and why others did not."""
    if not study.peers:
        return "They were not asked for."
    return frame(
        [
            {
                "": peer.name,
                "ran": "yes" if peer.ran else "no",
                "version": peer.version or "–",
                "why not": peer.reason or "–",
            }
            for peer in study.peers
        ]
    )


def keywords_table(study: TagStudy) -> pd.DataFrame:
    """Share of a picture's keywords that its own text contains."""
    lines = []
    for name in _ordered(study):
        if study.items(name, "mixture_5") is None:
            continue
        cells = {}
        for figure, label in KEYWORDS.items():
            hits = study.items(name, figure)
            cells[label] = "–" if hits is None else _cell(hits.mean(axis=1), bootstrap_interval(hits))
        lines.append({"": name, **cells})
    return frame(lines)


def comparisons_table(study: TagStudy) -> pd.DataFrame | str:
    """Differences over the same pictures, ours less the other."""
    found = comparisons(study)
    if not found:
        return "No run of the topic models was healthy."
    return frame(
        [
            {
                "": c.figure,
                "ours": c.one,
                "beside": c.other,
                "difference": f"{c.difference:+.3f} [{c.low:+.3f}, {c.high:+.3f}]",
                "verdict": c.verdict,
            }
            for c in found.values()
        ]
    )


# Those that are worth storing, by name.
TABLES: dict[str, Callable[[TagStudy], pd.DataFrame | str]] = {
    "overview": overview_table,
    "status": status_table,
    "peers": peers_table,
    "clusters": clusters_table,
    "categories": categories_table,
    "keywords": keywords_table,
    "comparisons": comparisons_table,
}


def tags_chart(study: TagStudy) -> Figure:
    """Points with intervals: categories told from features, and keywords hit, a line for each system."""
    panels = {"keywords hit, of 5": {"mixture_5": "likeliest words"}}
    if study.groups is not None:
        told = {"linear": "linear classifier", "neighbours": "nearest neighbours"}
        panels = {"test pictures whose category is told": told} | panels
    rows = [
        [name for name in _ordered(study) if all(study.items(name, figure) is not None for figure in figures)]
        for figures in panels.values()
    ]
    height = max(2.5, 0.3 * max(len(names) for names in rows))
    figure, grid = grid_of_axes(1, len(panels), width=5.2, height=height)
    for axes, names, (label, figures) in zip(grid[0], rows, panels.items(), strict=True):
        for position, (items, legend) in enumerate(figures.items()):
            shift = 0.3 * (position - (len(figures) - 1) / 2)
            for place, name in enumerate(names):
                values = study.items(name, items)
                low, high = bootstrap_interval(values)
                style = dict(color=COLOURS[1 + position], marker="os"[position], markersize=5)
                axes.plot([low, high], [place + shift] * 2, color=COLOURS[1 + position], linewidth=2)
                axes.plot(
                    values.mean(), place + shift, linestyle="", label=None if place else legend, **style
                )
        axes.set_yticks(range(len(names)), names, fontsize="small")
        axes.invert_yaxis()
        axes.set(xlabel=label, xlim=(0, None))
        if len(figures) > 1:
            axes.legend(
                frameon=False,
                fontsize="small",
                loc="lower center",
                bbox_to_anchor=(0.5, 1),
                ncols=len(figures),
            )
    figure.tight_layout()
    return figure


def examples(study: TagStudy, data: Prepared, *, seed: int = 0) -> Figure:
    """Test pictures drawn by lot with the five words of the best topic model; in brackets what their texts hold."""
    from vtm.pictorial import contact_sheet, draw_ids

    run = _example_run(study)
    keywords = dict(zip(study.ids, run.keywords, strict=True))
    chosen = draw_ids(study.ids, n=EXAMPLES, seed=seed)
    captions = []
    for id in chosen:
        held = set(data.vocabulary.tokens(data.texts_by_id[id]))
        captions.append(" ".join(f"[{word}]" if word in held else word for word in keywords[id]))
    return contact_sheet([data.pictures[id] for id in chosen], captions, columns=4)


def _example_run(study: TagStudy) -> TagRun:
    """The first seed of the topic model with the best keywords; without one, the nearest pictures' words."""
    name = study.best(KINDS, "validation_hit_5") or NEIGHBOURS
    return study.rows()[name][0]


def _ordered(study: TagStudy) -> list[str]:
    """Rows from what knows nothing to what knows the answer."""
    rows = study.rows()
    first = [name for name in (MAJORITY, FREQUENT) if name in rows]
    last = [name for name in (LINEAR, TEXT, OWN) if name in rows]
    models = [name for name, runs in rows.items() if runs[0].system in (*KINDS, *PEERS)]
    middle = [name for name in rows if name not in (*first, *last, *models)]
    return [*first, *middle, *models, *last]


def _cell(seeds: np.ndarray, interval: tuple[float, float]) -> str:
    """Mean, spread over seeds and interval over pictures."""
    low, high = interval
    return f"{spread(seeds.tolist())} [{low:.3f},\u00a0{high:.3f}]"


def _unfinished(study: TagStudy) -> str:
    names = [f"{run.name}, seed {run.seed}" for run in study.runs if run.figures.get("converged") == 0]
    return "; ".join(names) or "none"
