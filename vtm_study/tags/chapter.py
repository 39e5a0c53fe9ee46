"""The chapter on tags: tables and figures of a study, and of those that are stored.

The tables are stored, a corpus each, so that peers that are no part of vtm are in the book.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import KINDS
from vtm.errors import MissingError
from vtm.experiment.runs import run_models
from vtm.files import read_sealed, results_dir
from vtm.metrics.retrieval import Test, bootstrap_interval, paired_bootstrap, told
from vtm.report.figures import COLOURS, grid_of_axes
from vtm.report.tables import frame, provenance, spread
from vtm_study.formats import NB, NONE, Row, difference_cell, table
from vtm_study.others import EXTRA_PEERS, TEXT_PEERS
from vtm_study.tags.metrics import jackknife_interval
from vtm_study.tags.study import (
    FREQUENT,
    IMAGE,
    LINEAR,
    MAJORITY,
    NEIGHBOURS,
    OWN,
    TEXT,
    TagRun,
    TagStudy,
    tag_study,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from vtm.api import VisualTopicModel
    from vtm.experiment.prepare import Prepared


PEERS = (*TEXT_PEERS, *EXTRA_PEERS)


@dataclass(frozen=True)
class Comparison:
    """Means of `one` and of `other` over the same items, seeds averaged, and the test of their difference."""

    figure: str
    one: str
    other: str
    mean_one: float
    mean_other: float
    test: Test

    @property
    def verdict(self) -> str:
        return told(self.test, "more", "less", "not decided")


def comparisons(study: TagStudy) -> dict[str, Comparison]:
    """The best topic model, chosen on validation, beside everything that it should be held against."""
    found = {}
    # The figure of the items, its name, the validation figure that chooses among models, and what else it is beside.
    for key, figure, label, choice, others in (
        ("linear", "linear", "categories told by a linear classifier", "validation_linear", {"image": IMAGE}),
        (
            "neighbours",
            "neighbours",
            "categories told by nearest neighbours",
            "validation_neighbours",
            {"image": IMAGE},
        ),
        (
            "words",
            "mixture_5",
            "keywords hit, of 5",
            "validation_hit_5",
            {"frequent": FREQUENT, "neighbours": NEIGHBOURS, "map": LINEAR},
        ),
        ("matched", "matched", "MRR@100 on validation", "validation_matched", {}),
    ):
        one = study.best(KINDS, choice)
        a = one and study.items(one, figure)
        for name, other in {**others, "peer": study.best(PEERS, choice)}.items():
            b = other and study.items(other, figure)
            if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
                means = float(a.mean()), float(b.mean())
                found[f"{key}_{name}"] = Comparison(label, one, other, *means, paired_bootstrap(a, b))
    return found


# The comparisons that the chapter's last section is about.
QUOTED = (
    *("linear_image", "neighbours_image", "linear_peer", "neighbours_peer"),
    *("words_neighbours", "words_map", "words_frequent", "words_peer", "matched_peer"),
)


def chapter_numbers(study: TagStudy) -> dict[str, str]:
    """What the chapter's prose quotes: what was compared, its means, and their difference; "–" where nothing was."""
    found = comparisons(study)
    quoted = {
        "majority": _mean(study, MAJORITY, "linear"),
        "text": _mean(study, TEXT, "linear"),
        "own": _mean(study, OWN, "mixture_5"),
        "named": f"{study.n_named / len(study.ids):.0%}" if study.groups else NONE,
        "n_seeds": str(len({run.seed for run in study.runs})),
    }
    for key in QUOTED:
        one = found.get(key)
        quoted |= {
            f"{key}_ours": one.one if one else NONE,
            f"{key}_theirs": one.other if one else NONE,
            f"{key}_mean_ours": f"{one.mean_one:.3f}" if one else NONE,
            f"{key}_mean_theirs": f"{one.mean_other:.3f}" if one else NONE,
            f"{key}_test": f"{difference_cell(one.test)}, {one.verdict}" if one else NONE,
        }
    return quoted


def _mean(study: TagStudy, name: str, figure: str) -> str:
    values = study.items(name, figure)
    return NONE if values is None else f"{np.mean(values):.3f}"


Studies = dict[str, dict[str, Any]]


def stored(folder: Path | str = "", part: str = "tags") -> Studies:
    """Corpus -> its study, from `tags.json` or another part's file, in a folder and in those in it.

    By default those that come with the source; the folder's own comes first.

    Raises
    ------
    MissingError
        Nothing is stored there.
    """
    folder = Path(folder or results_dir() / "study").expanduser()
    name = f"{part}.json"
    paths = [path for path in (folder / name, *sorted(folder.glob(f"*/{name}"))) if path.is_file()]
    if not paths:
        raise MissingError(
            f"{folder}/{name}: not there; `vtm reproduce --profile study --only {part}` measures it"
        )
    return {found["parameters"]["corpus"]: found for found in map(read_sealed, paths)}


def provenance_table(studies: Studies) -> pd.DataFrame:
    """Each corpus: when, on what commit and machine, with how many seeds and test pictures."""
    return frame(
        [
            {
                "corpus": corpus,
                **provenance(found),
                "seeds": len(found["seeds"]),
                "test pictures": found["n_test"],
                "minutes": f"{found['seconds'] / 60:.1f}",
            }
            for corpus, found in studies.items()
        ],
        "corpus",
    )


def stored_overview_table(studies: Studies) -> pd.DataFrame:
    """What was measured on, and what was left out: a column for each corpus."""
    lines: dict[str, dict[str, Any]] = {}
    for corpus, found in studies.items():
        table = found["tables"]["overview"]
        for row, (value,) in zip(table["index"], table["data"], strict=True):
            lines.setdefault(row, {"": row})[corpus] = value
    return frame(list(lines.values()))


def stored_table(studies: Studies, name: str) -> pd.DataFrame | str:
    """A table of `vtm_study.tags.chapter.TABLES`, one corpus below the other."""
    lines = []
    for corpus, found in studies.items():
        table = found["tables"].get(name)
        for row, cells in zip(table["index"], table["data"], strict=True) if table else ():
            lines.append({"": row, "corpus": corpus, **dict(zip(table["columns"], cells, strict=True))})
    return frame(lines) if lines else "No stored study has this table."


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

    def figure(name: str) -> Callable[[Row], str]:
        def cell(row: Row) -> str:
            values = study.items(row["name"], name)
            return _cell(values[:, 0], jackknife_interval(values))

        return cell

    rows = [row for row in _rows(study) if study.items(row["name"], "nmi") is not None]
    rows.sort(key=lambda row: row["runs"][0].n_topics)  # both figures rise with it
    columns = {"": "{name}", "seeds": lambda row: len(row["runs"]), "NMI": figure("nmi")}
    columns |= {"purity": figure("purity")}
    columns |= {"AMI": lambda row: spread(study.items(row["name"], "ami")[:, 0].tolist())}
    return table(rows, columns)


def categories_table(study: TagStudy) -> pd.DataFrame | str:
    """Share of test pictures whose category a classifier tells."""
    if study.groups is None:
        return NO_GROUPS
    columns = {
        "": "{name}",
        "seeds": lambda row: len(study.items(row["name"], "linear")),
        "linear classifier": _over_pictures(study, "linear"),
        "nearest neighbours": _over_pictures(study, "neighbours"),
    }
    return table([{"name": name} for name in _ordered(study, "linear", "neighbours")], columns)


def peers_table(study: TagStudy) -> pd.DataFrame:
    """Topics of our models and of the peers: coherence, diversity, matching on the validation part."""

    def figure(name: str) -> Callable[[Row], str]:
        return lambda row: spread([run.figures[name] for run in row["runs"]])

    columns = {
        "": "{name}",
        "seeds": lambda row: len(row["runs"]),
        "NPMI": figure("npmi"),
        "diversity": figure("diversity"),
        "MRR@100, validation": _over_pictures(study, "matched"),
    }
    return table([row for row in _rows(study) if study.items(row["name"], "matched") is not None], columns)


def status_table(study: TagStudy) -> pd.DataFrame | str:
    """Which of the peers that are no part of vtm ran, and why others did not."""
    if not study.peers:
        return "They were not asked for."
    columns = {
        "": "{name}",
        "ran": lambda peer: "yes" if peer["ran"] else "no",
        "version": lambda peer: peer["version"] or NONE,
        "why not": lambda peer: peer["reason"] or NONE,
    }
    return table([vars(peer) for peer in study.peers], columns)


def keywords_table(study: TagStudy) -> pd.DataFrame:
    """Share of a picture's keywords that its own text contains."""
    columns = {label: _over_pictures(study, figure) for figure, label in KEYWORDS.items()}
    return table([{"name": name} for name in _ordered(study, "mixture_5")], {"": "{name}", **columns})


def comparisons_table(study: TagStudy) -> pd.DataFrame | str:
    """Differences over the same pictures, ours less the other."""
    found = comparisons(study)
    columns = {
        "": "{c.figure}",
        "ours": "{c.one}",
        "beside": "{c.other}",
        "difference": lambda row: difference_cell(row["c"].test),
        "verdict": "{c.verdict}",
    }
    return (
        table([{"c": c} for c in found.values()], columns)
        if found
        else "No run of the topic models was healthy."
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
    rows = [_ordered(study, *figures) for figures in panels.values()]
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
    from vtm.report.figures import contact_sheet, draw_ids

    run = _example_run(study)
    keywords = dict(zip(study.ids, run.keywords, strict=True))
    chosen = draw_ids(study.ids, n=EXAMPLES, seed=seed)
    captions = []
    for id in chosen:
        held = set(data.vocabulary.tokens(data.texts_by_id[id]))
        captions.append(" ".join(f"[{word}]" if word in held else word for word in keywords[id]))
    return contact_sheet([data.pictures[id] for id in chosen], captions, columns=4)


# Of each of the three tasks so many are shown, with so many pictures.
TASKS, PICTURES = 3, 4


def user_model(data: Prepared) -> VisualTopicModel:
    """A model as a user fits it, with the defaults, to all pairs outside of the test part."""
    import warnings

    from vtm.api import ModelWarning, VisualTopicModel

    rest = np.setdiff1d(np.arange(len(data.corpus)), data.rows["test"])
    model = VisualTopicModel(
        encoder=data.experiment.encoder,
        language=data.corpus.language,
        random_state=data.experiment.seeds[0],
        device=data.experiment.device,
        progress=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)  # what it left out is counted in chapter 1
        return model.fit([data.corpus.texts[row] for row in rest], [data.corpus.images[row] for row in rest])


def find_figure(model: VisualTopicModel, data: Prepared, *, seed: int = 0) -> Figure:
    """Words drawn by lot among those of the test texts, each with the test pictures that `match` finds first."""
    from vtm.report.figures import contact_sheet, draw_ids

    pictures, known = _test_pictures(model, data)
    holders = Counter(word for words in known for word in words)
    often = [word for word, n in holders.items() if n >= PICTURES] or list(holders)
    shown, captions = [], []
    for word in draw_ids(sorted(often), n=TASKS, seed=seed):
        for hit in model.match(word, pictures, top=PICTURES).nearest:
            asked = f"[{word}]" if word in known[hit.position] else word
            shown.append(pictures[hit.position])
            captions.append(f"{asked}: {hit.probability:.0%}")
    return contact_sheet(shown, captions, columns=PICTURES)


def tag_figure(model: VisualTopicModel, data: Prepared, *, seed: int = 0) -> Figure:
    """Test pictures drawn by lot with the keywords that `tag` shows, and how sure they are."""
    from vtm.report.figures import contact_sheet, draw_ids

    pictures, known = _test_pictures(model, data)
    row_of = {id: row for row, id in enumerate(data.ids("test"))}
    rows = [row_of[id] for id in draw_ids(list(row_of), n=2 * PICTURES, seed=seed)]
    captions = []
    for row, found in zip(rows, model.keywords([pictures[row] for row in rows]), strict=True):
        words = [f"[{one.word}]" if one.word in known[row] else one.word for one in found]
        sure = [f"{word} {one.confidence:.0%}" for word, one in zip(words, found, strict=True)]
        captions.append(", ".join(sure) or "none")
    return contact_sheet([pictures[row] for row in rows], captions, columns=PICTURES)


def look_figure(model: VisualTopicModel, data: Prepared, *, seed: int = 0) -> Figure:
    """Topics drawn by lot, each with the test pictures that have most of it."""
    from vtm.report.figures import contact_sheet, draw_ids

    pictures, _ = _test_pictures(model, data)
    theta, labels = np.nan_to_num(model.transform(pictures)), model.topic_labels()
    shown, captions = [], []
    for k in map(int, draw_ids([f"{k:04d}" for k in range(theta.shape[1])], n=TASKS, seed=seed)):
        mark = " (mixed)" if model.mixed_[k] else ""
        for row in np.argsort(-theta[:, k], kind="stable")[:PICTURES]:
            shown.append(pictures[row])
            captions.append(f"{labels[k]}{mark}: {theta[row, k]:.0%}")
    return contact_sheet(shown, captions, columns=PICTURES)


def _test_pictures(model: VisualTopicModel, data: Prepared) -> tuple[list[Path], list[set[str]]]:
    """The pictures of the test part, and the words of each one's text that the model knows."""
    pictures = [data.pictures[id] for id in data.ids("test")]
    return pictures, [set(model.words_of(text)[0]) for text in data.texts("test")]


def _example_run(study: TagStudy) -> TagRun:
    """The first seed of the topic model with the best keywords; without one, the nearest pictures' words."""
    name = study.best(KINDS, "validation_hit_5") or NEIGHBOURS
    return study.rows()[name][0]


def _rows(study: TagStudy) -> list[Row]:
    return [{"name": name, "runs": runs} for name, runs in study.rows().items()]


def _ordered(study: TagStudy, *figures: str) -> list[str]:
    """Rows that have these figures, from what knows nothing to what knows the answer."""
    rows = study.rows()
    first = [name for name in (MAJORITY, FREQUENT) if name in rows]
    last = [name for name in (LINEAR, TEXT, OWN) if name in rows]
    models = [name for name, runs in rows.items() if runs[0].system in (*KINDS, *PEERS)]
    middle = [name for name in rows if name not in (*first, *last, *models)]
    ordered = [*first, *middle, *models, *last]
    return [name for name in ordered if all(study.items(name, f) is not None for f in figures)]


def _over_pictures(study: TagStudy, figure: str) -> Callable[[Row], str]:
    """A column of a row's figure: mean, spread over seeds and interval over pictures."""

    def cell(row: Row) -> str:
        values = study.items(row["name"], figure)
        return NONE if values is None else _cell(values.mean(axis=1), bootstrap_interval(values))

    return cell


def _cell(seeds: np.ndarray, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{spread(seeds.tolist())} [{low:.3f},{NB}{high:.3f}]"


def _unfinished(study: TagStudy) -> str:
    names = [f"{run.name}, seed {run.seed}" for run in study.runs if run.figures.get("converged") == 0]
    return "; ".join(names) or "none"


def measure(data: Prepared) -> dict[str, Any]:
    """Tags of both kinds of model, of references and of all peers that are installed.

    Returns
    -------
    tables : name (`vtm_study.tags.chapter.TABLES`) -> {"index", "columns", "data"}; those that need gold categories are
        absent where there are none.
    n_test, part : what was read.
    """
    study = tag_study(data, [run for kind in KINDS for run in run_models(data, kind)], progress=False)
    made = {name: make(study) for name, make in TABLES.items()}
    return {
        "tables": {
            name: table.to_dict("split") for name, table in made.items() if not isinstance(table, str)
        },
        "n_test": len(study.ids),
        "part": "test",
    }
