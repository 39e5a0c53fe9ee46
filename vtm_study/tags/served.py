"""What `vtm match` and `vtm tag` give their users: the public calls, asked about pairs that no model has seen."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.api import METHODS, ModelWarning, VisualTopicModel
from vtm.errors import MissingError
from vtm.experiment.prepare import Prepared
from vtm.files import read_sealed, results_dir
from vtm.metrics.calibration import calibration_error, reliability
from vtm.metrics.retrieval import bootstrap_interval
from vtm.report.figures import COLOURS, grid_of_axes
from vtm_study.crossfit import folds
from vtm_study.formats import table
from vtm_study.tags.metrics import neighbour_words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TOP = 5
DEPTH = 100
# A word is asked for when so many of the test texts hold it: fewer leave nothing to rank.
LEAST_HOLDERS = 3
# Texts a fold whose matches' chances are compared with what is right.
ASKED = 100
NEIGHBOURS = 10
NEAREST = "nearest captions"
FIGURES = ("precision_5", "mrr_100", "hits_5")


def measure(data: Prepared) -> dict[str, Any]:
    """Each method as `VisualTopicModel` has it by default, beside the captions of the nearest pictures.

    Every fold's model is fitted to all pairs outside of the fold's test part, as a user's would be, and asked about the
    test part: one-word queries, whole texts, keywords. One seed a fold, that of the experiment in turn.

    Returns
    -------
    dict
        "rows": a line a method with the mean and the 95 % interval of each of `FIGURES` over all folds' items,
        "shown_precision" (share of the keywords shown by default that the picture's text holds) and "without" (share of
        pictures without such a keyword); "curves": reliability of keywords and of first matches, for the default
        method; "error": their expected calibration errors; "n_pictures", "n_queries".
    """
    found: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for fold, part in enumerate(folds(data.experiment)):
        seed = data.experiment.seeds[fold % len(data.experiment.seeds)]
        for name, items in _fold(part, seed).items():
            for figure, values in items.items():
                found[name][figure].append(values)
    pooled = {
        name: {figure: np.concatenate(values) for figure, values in items.items()}
        for name, items in found.items()
    }
    default = pooled[METHODS[0]]
    curves = {
        what: (default[f"{what}_chance"], default[f"{what}_right"] > 0) for what in ("keyword", "match")
    }
    return {
        "rows": [{"name": name} | _line(items) for name, items in pooled.items()],
        "curves": {
            what: [
                {"chance": float(mean), "right": float(share), "n": int(n)}
                for mean, share, n in zip(*reliability(*curve), strict=True)
            ]
            for what, curve in curves.items()
        },
        "error": {what: calibration_error(*curve) for what, curve in curves.items()},
        "n_pictures": len(default["mrr_100"]),
        "n_queries": len(default["precision_5"]),
    }


def _line(items: dict[str, np.ndarray]) -> dict[str, Any]:
    line: dict[str, Any] = {
        figure: [float(items[figure].mean()), *bootstrap_interval(items[figure])] for figure in FIGURES
    }
    if "shown" in items:
        line["shown_precision"] = float(items["right"].sum() / max(items["shown"].sum(), 1))
        line["without"] = float((items["shown"] == 0).mean())
    return line


def _fold(data: Prepared, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Method -> figure -> a value for each test picture (or query), in the order of the test part."""
    corpus = data.corpus
    test = data.rows["test"]
    rest = np.setdiff1d(np.arange(len(corpus)), test)
    found = {}
    for method in METHODS:
        model = VisualTopicModel(
            method=method,
            encoder=data.experiment.encoder,
            language=corpus.language,
            random_state=seed,
            device=data.experiment.device,
            progress=False,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)  # what it left out is counted in chapter 1
            model.fit([corpus.texts[row] for row in rest], [corpus.images[row] for row in rest])
            found[method] = _asked(model, data)
    # Their words are those of the last model, which has the same vocabulary as the others.
    found[NEAREST] = _nearest(model, data, rest)
    return found


def _asked(model: VisualTopicModel, data: Prepared) -> dict[str, np.ndarray]:
    texts, image = data.texts("test"), data.pairs("test").image
    known = [set(model.words_of(text)[0]) for text in texts]
    queries = _queries(known)
    by_word, _ = model.rank(queries, image_embeddings=image, top=TOP)
    by_text, _ = model.rank(texts, image_embeddings=image, top=DEPTH)
    surest = model.keywords(image_embeddings=image, top=TOP, min_confidence=0)
    shown = model.keywords(image_embeddings=image, top=TOP)
    first = [model.match(text, image_embeddings=image, top=1).nearest[0] for text in texts[:ASKED]]
    right = [[word.word in own for word in words] for words, own in zip(surest, known, strict=True)]
    return {
        "precision_5": _precision(queries, by_word, known),
        "mrr_100": _reciprocal(by_text),
        "hits_5": np.array([sum(hits) / TOP for hits in right]),
        "shown": np.array([len(words) for words in shown]),
        "right": np.array(
            [sum(w.word in own for w in words) for words, own in zip(shown, known, strict=True)]
        ),
        "keyword_chance": np.array([word.confidence for words in surest for word in words]),
        "keyword_right": np.array([hit for hits in right for hit in hits], dtype=float),
        "match_chance": np.array([match.probability for match in first]),
        "match_right": np.array(
            [
                match.position == row or _says_half(known[row], known[match.position])
                for row, match in enumerate(first)
            ],
            dtype=float,
        ),
    }


def _nearest(model: VisualTopicModel, data: Prepared, rest: np.ndarray) -> dict[str, np.ndarray]:
    """No model: a picture has the captions of the training pictures that look most like it."""
    texts, image = data.texts("test"), data.pairs("test").image
    known = [set(model.words_of(text)[0]) for text in texts]
    words = model.vocabulary_
    column = {word: position for position, word in enumerate(words)}
    present = np.zeros((len(rest), len(words)), dtype=bool)
    for row, pair in enumerate(rest):
        present[row, [column[word] for word in model.words_of(data.corpus.texts[pair])[0]]] = True
    score = neighbour_words(image, data.image[rest], present, [NEIGHBOURS])[NEIGHBOURS]  # (n, V)
    # Of equal words the commoner one.
    score = score + 1e-6 * present.mean(axis=0)
    queries = _queries(known)
    by_word = np.argsort(-score[:, [column[word] for word in queries]].T, axis=1, kind="stable")[:, :TOP]
    captions = neighbour_words(image, data.image[rest], np.eye(len(rest), dtype=bool), [NEIGHBOURS])[
        NEIGHBOURS
    ]
    captions = captions @ data.text[rest]
    captions /= np.linalg.norm(captions, axis=1, keepdims=True)
    by_text = np.argsort(-(data.pairs("test").text @ captions.T), axis=1, kind="stable")[:, :DEPTH]
    best = np.argsort(-score, axis=1, kind="stable")[:, :TOP]
    hits = [[words[w] in own for w in row] for row, own in zip(best, known, strict=True)]
    return {
        "precision_5": _precision(queries, by_word, known),
        "mrr_100": _reciprocal(by_text),
        "hits_5": np.array([sum(row) / TOP for row in hits]),
    }


def _queries(known: Sequence[set[str]]) -> list[str]:
    """The words that enough texts hold, in alphabetical order."""
    holders: dict[str, int] = defaultdict(int)
    for words in known:
        for word in words:
            holders[word] += 1
    return sorted(word for word, n in holders.items() if n >= LEAST_HOLDERS)


def _precision(queries: Sequence[str], positions: np.ndarray, known: Sequence[set[str]]) -> np.ndarray:
    """Share of each query's first pictures of which the own text holds the word."""
    return np.array(
        [
            np.mean([word in known[place] for place in row])
            for word, row in zip(queries, positions, strict=True)
        ]
    )


def _reciprocal(positions: np.ndarray) -> np.ndarray:
    """Row i's right picture is picture i; 0 where it is not among the first ones."""
    hit = positions == np.arange(len(positions))[:, None]
    return np.where(hit.any(axis=1), 1 / (1 + hit.argmax(axis=1)), 0.0)


def _says_half(asked: set[str], own: set[str]) -> bool:
    return bool(asked) and len(asked & own) >= len(asked) / 2


def stored(folder: Path | str = "") -> dict[str, Any]:
    """What `measure` found, from `served.json` in a folder; by default what comes with the source.

    Raises
    ------
    MissingError
        Nothing is stored there.
    """
    path = Path(folder or results_dir() / "study").expanduser() / "served.json"
    if not path.is_file():
        raise MissingError(f"{path}: not there; `vtm reproduce --profile study --only served` measures it")
    return read_sealed(path)


def served_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """A line a method, with 95 % intervals over the items of all folds."""

    def cell(figure: str) -> Any:
        return lambda row: "{:.3f} [{:.3f}, {:.3f}]".format(*row[figure])

    return table(
        found["rows"],
        {
            "ranked and tagged by": "{name}",
            "P@5, one word": cell("precision_5"),
            "MRR@100, whole text": cell("mrr_100"),
            "keywords hit, of 5": cell("hits_5"),
            "of those shown": "{shown_precision:.2f}",
            "pictures without": "{without:.2f}",
        },
    )


def served_figure(found: Mapping[str, Any]) -> Figure:
    """How sure the default method was beside how often it was right."""
    figure, axes = grid_of_axes(1, 2, width=4.5, height=4)
    titles = {
        "keyword": "a keyword stands in the picture's text",
        "match": "the first picture is what was meant",
    }
    for one, (what, title), colour in zip(axes[0], titles.items(), COLOURS, strict=False):
        points = found["curves"][what]
        one.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        one.plot([p["chance"] for p in points], [p["right"] for p in points], marker="o", color=colour)
        one.set_title(title)
        one.set_xlabel("chance that was said")
        one.set_ylabel("share that was right")
    return figure


def served_numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """What the chapter says of it in words."""
    default = found["rows"][0]
    nearest = next(row for row in found["rows"] if row["name"] == NEAREST)
    return {
        **{f"served_{figure}": default[figure][0] for figure in FIGURES},
        **{f"nearest_{figure}": nearest[figure][0] for figure in FIGURES},
        "served_shown": default["shown_precision"],
        "served_without": default["without"],
        "served_error_keyword": found["error"]["keyword"],
        "served_error_match": found["error"]["match"],
        "served_pictures": float(found["n_pictures"]),
        "served_queries": float(found["n_queries"]),
    }
