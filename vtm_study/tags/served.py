"""What `vtm match` and `vtm tag` give their users: the public calls, asked about pairs that no model has seen."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vtm.api import METHODS, ModelWarning, VisualTopicModel, held_out
from vtm.corpora.base import near_duplicates
from vtm.experiment.prepare import Prepared
from vtm.metrics.calibration import calibration_error, reliability
from vtm.metrics.retrieval import bootstrap_interval
from vtm.model.plus import unit
from vtm.report.figures import COLOURS, grid_of_axes
from vtm_study.crossfit import folds
from vtm_study.formats import table
from vtm_study.others import EXTRA_PEERS, INSTALL, embed, extra_peer, installed_version, shared_space
from vtm_study.tags.metrics import neighbour_words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TOP = 5
DEPTH = 100
# A word is asked for when so many of the test texts hold it: fewer leave nothing to rank.
LEAST_HOLDERS = 3
# Texts and words a fold whose first pictures' chances are compared with what is right.
ASKED = 200
NEIGHBOURS = 10
NEAREST = "nearest captions"
FIGURES = ("precision_5", "mrr_100", "hits_5")
CURVES = ("keyword", "word", "match")


def measure(data: Prepared) -> dict[str, Any]:
    """Each method as `VisualTopicModel` has it by default, beside other topic models and the nearest pictures' captions.

    Every fold's model is fitted to all pairs outside of the fold's test part, as a user's would be, and asked about the
    test part: one-word queries, whole texts, keywords. BERTopic and turftopic, where they are installed, have as many
    topics, the same words and the same pairs; what of theirs is chosen, is chosen on the pairs that ours holds out. One
    seed a fold, that of the experiment in turn. A text holds a word where it holds a form of it (`words_of`).

    Returns
    -------
    dict
        "rows": a line a method with the mean and the 95 % interval of each of `FIGURES` over all folds' items,
        "shown_precision" (share of the keywords shown by default that the picture's text holds) and "without" (share of
        pictures without such a keyword), as far as it has them; or with a "reason" why it did not run. "curves":
        reliability of keywords, of a word's and of a text's first picture, for the default method; "error": their
        expected calibration errors; "n_pictures", "n_queries".
    """
    found: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    reasons: dict[str, str] = {
        name: f"not installed: {INSTALL}" for name in EXTRA_PEERS if installed_version(name) is None
    }
    for fold, part in enumerate(folds(data.experiment)):
        seed = data.experiment.seeds[fold % len(data.experiment.seeds)]
        for name, items in _fold(part, seed, reasons).items():
            for figure, values in items.items():
                found[name][figure].append(values)
    pooled = {
        name: {figure: np.concatenate(values) for figure, values in items.items()}
        for name, items in found.items()
        if name not in reasons
    }
    default = pooled[METHODS[0]]
    curves = {what: (default[f"{what}_chance"], default[f"{what}_right"] > 0) for what in CURVES}
    rows = [{"name": name} | _line(items) for name, items in pooled.items()]
    return {
        "rows": rows + [{"name": name, "reason": reason} for name, reason in reasons.items()],
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
        "versions": {name: installed_version(name) or "" for name in EXTRA_PEERS},
    }


def _line(items: dict[str, np.ndarray]) -> dict[str, Any]:
    line: dict[str, Any] = {
        figure: [float(items[figure].mean()), *bootstrap_interval(items[figure])] for figure in FIGURES
    }
    if "shown" in items:
        line["shown_precision"] = float(items["right"].sum() / max(items["shown"].sum(), 1))
        line["without"] = float((items["shown"] == 0).mean())
    return line


def _fold(data: Prepared, seed: int, reasons: dict[str, str]) -> dict[str, dict[str, np.ndarray]]:
    """Method -> figure -> a value for each test picture (or query), in the order of the test part.

    `reasons` says of packages that do not run why not; those that fail here are added.
    """
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
        if method == METHODS[0]:
            found[method] |= _chances(model, data)
    # The others' words are those of the last model, which has the same vocabulary as the first.
    for name in EXTRA_PEERS:
        if name not in reasons:
            try:
                found[name] = _peer(name, model, data, rest, seed)
            except Exception as error:  # of a package that is not ours
                reasons[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
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
    }


def _chances(model: VisualTopicModel, data: Prepared) -> dict[str, np.ndarray]:
    """How sure `match` is of the first picture for a word and for a text, and whether it is right."""
    texts, image = data.texts("test"), data.pairs("test").image
    known = [set(model.words_of(text)[0]) for text in texts]
    queries = _spread(_queries(known))
    rows = _spread(range(len(texts)))
    by_word = [model.match(word, image_embeddings=image, top=1).nearest[0] for word in queries]
    by_text = [model.match(texts[row], image_embeddings=image, top=1).nearest[0] for row in rows]
    meant = [
        first.position == row or _says_half(known[row], known[first.position])
        for row, first in zip(rows, by_text, strict=True)
    ]
    return {
        "word_chance": np.array([first.probability for first in by_word]),
        "word_right": np.array(
            [word in known[first.position] for word, first in zip(queries, by_word, strict=True)], dtype=float
        ),
        "match_chance": np.array([first.probability for first in by_text]),
        "match_right": np.array(meant, dtype=float),
    }


def _spread(items: Sequence[Any]) -> list[Any]:
    """At most `ASKED` of them, evenly over all: neighbours in a corpus are alike."""
    return [items[place] for place in np.unique(np.linspace(0, len(items) - 1, ASKED).astype(int))]


def _peer(
    name: str, model: VisualTopicModel, data: Prepared, rest: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """BERTopic or turftopic: a word is found and a picture tagged by theta times the topics' words, a text by theta."""
    texts = data.texts("test")
    known = [set(model.words_of(text)[0]) for text in texts]
    tokens = {row: model.words_of(data.corpus.texts[row])[0] for row in rest}
    rest = np.array([row for row in rest if tokens[row]])
    clusters = near_duplicates(data.text[rest], data.image[rest])
    aside = held_out(
        [data.corpus.texts[row] for row in rest], share=model.validation, seed=seed, clusters=clusters
    )
    rows = {"train": rest[~aside], "validation": rest[aside], "test": data.rows["test"]}
    pairs = {part: Side(data.text[of], data.image[of]) for part, of in rows.items()}
    ids = [data.corpus.ids[row] for row in rows["validation"]]
    words = model.vocabulary_
    fitted = extra_peer(
        name,
        *shared_space(pairs, ids, aligned=data.aligned),
        [tokens[row] for row in rows["train"]],
        words,
        ids,
        embed_words=lambda found: embed(data, found),
        n_topics=model.n_topics,
        seed=seed,
    )
    score = fitted.image["test"] @ fitted.topic_word
    return _ranked(score, fitted.text["test"], fitted.image["test"], words, known)


class Side(NamedTuple):
    """Embeddings of pairs."""

    text: np.ndarray
    image: np.ndarray


def _ranked(
    score: np.ndarray, text: np.ndarray, image: np.ndarray, words: Sequence[str], known: Sequence[set[str]]
) -> dict[str, np.ndarray]:
    """The figures of scores (n, V) of words in pictures, and of texts and pictures side by side (n, D)."""
    column = {word: place for place, word in enumerate(words)}
    queries = _queries(known)
    by_word = np.argsort(-score[:, [column[word] for word in queries]].T, axis=1, kind="stable")[:, :TOP]
    by_text = np.argsort(-(unit(text) @ unit(image).T), axis=1, kind="stable")[:, :DEPTH]
    best = np.argsort(-score, axis=1, kind="stable")[:, :TOP]
    hits = [[words[w] in own for w in row] for row, own in zip(best, known, strict=True)]
    return {
        "precision_5": _precision(queries, by_word, known),
        "mrr_100": _reciprocal(by_text),
        "hits_5": np.array([sum(row) / TOP for row in hits]),
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
    captions = neighbour_words(image, data.image[rest], np.eye(len(rest), dtype=bool), [NEIGHBOURS])[
        NEIGHBOURS
    ]
    return _ranked(score, data.pairs("test").text, captions @ data.text[rest], words, known)


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


def served_table(studies: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A line a corpus and method, with 95 % intervals over the items of all folds."""

    def cell(figure: str) -> Any:
        return lambda row: "not run" if "reason" in row else "{:.3f} [{:.3f}, {:.3f}]".format(*row[figure])

    return table(
        [row | {"corpus": corpus} for corpus, found in studies.items() for row in found["rows"]],
        {
            "ranked and tagged by": "{name}",
            "corpus": "{corpus}",
            "P@5, one word": cell("precision_5"),
            "MRR@100, whole text": cell("mrr_100"),
            "keywords hit, of 5": cell("hits_5"),
            "of those shown": "{shown_precision:.2f}",
            "pictures without": "{without:.2f}",
        },
    )


def not_run(studies: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame | str:
    """Which packages did not run on which corpus, and why."""
    rows = [
        row | {"corpus": corpus}
        for corpus, found in studies.items()
        for row in found["rows"]
        if "reason" in row
    ]
    rows += [
        {"name": name, "corpus": corpus, "reason": "not in this measurement"}
        for corpus, found in studies.items()
        for name in EXTRA_PEERS
        if name not in {row["name"] for row in found["rows"]}
    ]
    columns = {"did not run": "{name}", "corpus": "{corpus}", "why": "{reason}"}
    return table(rows, columns) if rows else "All packages ran."


def served_figure(studies: Mapping[str, Mapping[str, Any]]) -> Figure:
    """How sure the default method was beside how often it was right, a row of curves a corpus."""
    titles = {
        "keyword": "a keyword stands in the picture's text",
        "word": "the first picture for a word has it",
        "match": "the first picture for a text is such as was meant",
    }
    titles = {
        what: title
        for what, title in titles.items()
        if any(of["curves"].get(what) for of in studies.values())
    }
    figure, axes = grid_of_axes(len(studies), len(titles), width=3.8, height=3.6)
    for row, (corpus, found) in zip(axes, studies.items(), strict=True):
        for one, (what, title), colour in zip(row, titles.items(), COLOURS, strict=False):
            points = found["curves"].get(what, ())
            one.plot([0, 1], [0, 1], color="0.7", linewidth=1)
            one.plot([p["chance"] for p in points], [p["right"] for p in points], marker="o", color=colour)
            one.set_title(f"{corpus}:\n{title}" if len(studies) > 1 else title, fontsize="small")
            one.set_xlabel("chance that was said")
            one.set_ylabel("share that was right")
    figure.tight_layout()
    return figure


def served_numbers(studies: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """What the chapter says in words of the first corpus, and of the last one's keywords."""
    found = next(iter(studies.values()))
    default = found["rows"][0]
    nearest = next(row for row in found["rows"] if row["name"] == NEAREST)
    return {
        **{f"served_{figure}": default[figure][0] for figure in FIGURES},
        **{f"nearest_{figure}": nearest[figure][0] for figure in FIGURES},
        "served_shown": default["shown_precision"],
        "served_without": default["without"],
        "last_shown": [*studies.values()][-1]["rows"][0].get("shown_precision", float("nan")),
        **{f"served_error_{what}": error for what, error in found["error"].items()},
        "served_pictures": float(found["n_pictures"]),
        "served_queries": float(found["n_queries"]),
    }
