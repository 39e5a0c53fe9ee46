"""What the study of tags found: paired comparisons, and the sentences and numbers that the chapter quotes."""

from __future__ import annotations

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
from vtm_study.formats import difference_cell
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

    from vtm.experiment.prepare import Prepared


PEERS = (*TEXT_PEERS, *EXTRA_PEERS)
# What is compared: the figure of the items, its name, and the validation figure that chooses among models.
LINEAR_PROBE = ("linear", "categories told by a linear classifier", "validation_linear")
NEIGHBOUR_PROBE = ("neighbours", "categories told by nearest neighbours", "validation_neighbours")
HITS = ("mixture_5", "keywords hit, of 5", "validation_hit_5")
MATCHED = ("matched", "MRR@100 on validation", "validation_matched")


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
    for key, measure, others in (
        ("linear", LINEAR_PROBE, {"image": IMAGE}),
        ("neighbours", NEIGHBOUR_PROBE, {"image": IMAGE}),
        (
            "words",
            HITS,
            {"frequent": FREQUENT, "neighbours": NEIGHBOURS, "map": LINEAR},
        ),
        ("matched", MATCHED, {}),
    ):
        figure, label, choice = measure
        one = study.best(KINDS, choice)
        others = others | {"peer": study.best(PEERS, choice)}
        for name, other in others.items():
            compared = compare(study, figure, label, one, other)
            if compared is not None:
                found[f"{key}_{name}"] = compared
    return found


def compare(
    study: TagStudy, figure: str, label: str, one: str | None, other: str | None
) -> Comparison | None:
    """One comparison of two rows; None where either lacks the figure."""
    a = None if one is None else study.items(one, figure)
    b = None if other is None else study.items(other, figure)
    if one is None or other is None or a is None or b is None:
        return None
    return Comparison(label, one, other, float(a.mean()), float(b.mean()), paired_bootstrap(a, b))


def chapter_numbers(study: TagStudy) -> dict[str, float | str]:
    """What the chapter's prose quotes, by name."""
    found = comparisons(study)
    return {
        "categories_sentence": _categories(study, found),
        "words_sentence": _words(study, found),
        "peers_sentence": _peers(study, found),
    }


def _categories(study: TagStudy, found: dict[str, Comparison]) -> str:
    if study.groups is None:
        return "This corpus has no gold categories."
    if "linear_image" not in found:
        return "No run of the topic models was healthy, so nothing was asked of their topics."
    linear, near = found["linear_image"], found["neighbours_image"]
    floor, texts = _mean(study, MAJORITY, "linear"), _mean(study, TEXT, "linear")
    text = (
        f"A linear classifier tells the category of {linear.mean_one:.1%} of the test pictures from their topics "
        f"({linear.one}) and of {linear.mean_other:.1%} from their embeddings ({_verdict(linear)}); nearest neighbours "
        f"tell {near.mean_one:.1%} ({near.one}) and {near.mean_other:.1%} ({_verdict(near)}). The commonest category is "
        f"right for {floor:.1%}, and from the texts' embeddings the classifier tells {texts:.1%}."
    )
    if "linear_peer" in found:
        linear, near = found["linear_peer"], found["neighbours_peer"]
        text += (
            f" From the topics of the best peer the classifier tells {linear.mean_other:.1%} ({linear.other}; "
            f"{_verdict(linear)}) and nearest neighbours tell {near.mean_other:.1%} ({near.other}; {_verdict(near)})."
        )
    named = study.n_named / len(study.ids)
    return text + (
        f" Of the test texts {named:.1%} name their category; where training texts do so, too, what topics tell of "
        "categories was read, not seen."
    )


def _words(study: TagStudy, found: dict[str, Comparison]) -> str:
    if "words_map" not in found:
        return "No run of the topic models was healthy, so there are no keywords of theirs."
    near, linear, frequent = found["words_neighbours"], found["words_map"], found["words_frequent"]
    return (
        f"Of the five likeliest words that {near.one} gives a picture, the picture's own unseen text holds "
        f"{near.mean_one:.1%}. Of the words of the training pictures that look most alike it holds "
        f"{near.mean_other:.1%} ({_verdict(near)}), and of those of a linear map from embeddings to words, which knows "
        f"no topics, {linear.mean_other:.1%} ({_verdict(linear)}). The most frequent words, the same for all, hit "
        f"{frequent.mean_other:.1%}, and no five words could hit more than {_mean(study, OWN, 'mixture_5'):.1%}: texts "
        f"may hold fewer."
    )


def _peers(study: TagStudy, found: dict[str, Comparison]) -> str:
    if "matched_peer" not in found:
        return "No run of the topic models was healthy, so there was nothing to compare peers with."
    match, words = found["matched_peer"], found["words_peer"]
    text = (
        f"The peer that matches texts and pictures best on the validation part is {match.other}: its MRR@100 is "
        f"{match.mean_other:.3f}, beside {match.mean_one:.3f} of {match.one} ({_verdict(match)}). With keywords, the "
        f"best peer, {words.other}, hits {words.mean_other:.1%} ({_verdict(words)})."
    )
    coherent, theirs = study.best(KINDS, "npmi"), study.best(PEERS, "npmi")
    if coherent and theirs:
        text += (
            f" The most coherent topics of ours are those of {coherent} (NPMI {_npmi(study, coherent):.3f}), of the "
            f"peers' those of {theirs} ({_npmi(study, theirs):.3f})."
        )
    missing = [peer.name for peer in study.peers if not peer.ran]
    return text + (f" {' and '.join(missing)} did not run here." if missing else "")


def _verdict(compared: Comparison) -> str:
    """In words, with the difference and its interval."""
    said = told(compared.test, "ours more", "ours less", "not decided")
    return f"{said}: {difference_cell(compared.test)}"


def _npmi(study: TagStudy, name: str) -> float:
    return float(np.mean([run.figures["npmi"] for run in study.rows()[name]]))


def _mean(study: TagStudy, name: str, figure: str) -> float:
    values = study.items(name, figure)
    return float("nan") if values is None else float(np.mean(values))


# The stored studies of tags, a corpus each: measured by `vtm reproduce --profile study --only tags`.


Studies = dict[str, dict[str, Any]]


def stored(folder: Path | str = "") -> Studies:
    """Corpus -> its study, from `tags.json` in a folder and in those in it; by default what comes with the source.

    Raises
    ------
    MissingError
        Nothing is stored there.
    """
    folder = Path(folder or results_dir() / "study").expanduser()
    paths = [path for path in (folder / "tags.json", *sorted(folder.glob("*/tags.json"))) if path.is_file()]
    if not paths:
        raise MissingError(
            f"{folder}/tags.json: not there; `vtm reproduce --profile study --only tags` measures it"
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


def findings_table(studies: Studies) -> pd.DataFrame:
    """What was found, in words."""
    return frame(
        [
            {"corpus": corpus, "finding": sentence}
            for corpus, found in studies.items()
            for sentence in found["findings"]
        ],
        "corpus",
    )


# Tables and figures of the chapter on tags, from a study (`vtm_study.tags.study`).


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
                "difference": difference_cell(c.test),
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
    from vtm.report.figures import contact_sheet, draw_ids

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


# The study of tags (`vtm_study.tags`) as a part: its tables are stored, so that peers that are no part of vtm are in the book.


def measure(data: Prepared) -> dict[str, Any]:
    """Tags of both kinds of model, of references and of all peers that are installed.

    Returns
    -------
    tables : name (`vtm_study.tags.chapter.TABLES`) -> {"index", "columns", "data"}; those that need gold categories are
        absent where there are none.
    findings : what the chapter says of its own corpus, sentence by sentence.
    n_test, part : what was read.
    """
    study = tag_study(data, [run for kind in KINDS for run in run_models(data, kind)], progress=False)
    made = {name: make(study) for name, make in TABLES.items()}
    return {
        "tables": {
            name: table.to_dict("split") for name, table in made.items() if not isinstance(table, str)
        },
        "findings": list(chapter_numbers(study).values()),
        "n_test": len(study.ids),
        "part": "test",
    }
