"""Tables of the book, made from results, beside what the paper reports (Pivovarova and Zosa 2021, Table 1).

A figure is the mean over healthy runs with its spread, where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vtm.corpora.words import Vocabulary, stop_words, words_of
from vtm.experiment.results import Result, by_row, healthy
from vtm.metrics.ranking import top_items
from vtm.metrics.retrieval import (
    adjusted,
    bootstrap_interval,
    expected_random,
    group_hit,
    per_item,
    perfect,
    seed_summary,
)
from vtm.metrics.topics import (
    c_v,
    diagonal_summary,
    effective_topics,
    theta_information,
    top_mass,
    topic_agreement,
)

if TYPE_CHECKING:
    import pandas as pd

    from vtm.experiment.prepare import Prepared
    from vtm.report.findings import Finding


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


VALIDATION = {
    "MRR@100": "validation_mrr_100",
    **{f"R@{k}": f"validation_recall_{k}" for k in (1, 5, 10, 50)},
}


def health_table(results: Sequence[Result]) -> pd.DataFrame:
    """Every run: whether training worked, by what it does on the validation part, and what it took."""
    lines = [
        {
            "": run.name,
            "seed": run.seed,
            "status": run.status,
            "validation MRR@100": f"{run.figures.get('validation_mrr_100', float('nan')):.3f}",
            "held-out loss, text": f"{run.figures.get('text_validation_reconstruction', float('nan')):.2f}",
            "held-out loss, image": f"{run.figures.get('image_validation_reconstruction', float('nan')):.2f}",
            "word frequencies": f"{run.figures.get('unigram_validation_reconstruction', float('nan')):.2f}",
            "reasons": "; ".join(run.reasons) or "–",
        }
        for run in results
    ]
    return frame(lines)


def failed_runs_table(results: Sequence[Result]) -> pd.DataFrame | str:
    """The runs that collapsed or diverged, or a sentence that there were none."""
    failed = [run for run in results if run.status != "ok"]
    return health_table(failed) if failed else f"None of the {len(results)} runs failed."


def validation_table(results: Sequence[Result]) -> pd.DataFrame:
    """Ranking figures on the validation part, mean ± sd over healthy runs, and chance."""
    lines = []
    for name, runs in by_row(results).items():
        good = healthy(runs)
        line = {"": name, "runs": f"{len(good)} of {len(runs)}"}
        for label, figure in VALIDATION.items():
            line[label] = spread([run.figures[figure] for run in good])
        line["seconds a seed"] = f"{np.mean([run.figures['seconds'] for run in runs]):.1f}"
        lines.append(line)
    chance = expected_random(len(results[0].ids["validation"]))
    lines.append(
        {"": "chance", "runs": "", "seconds a seed": ""}
        | {label: f"{chance[figure.removeprefix('validation_')]:.3f}" for label, figure in VALIDATION.items()}
    )
    return frame(lines)


def validation_numbers(results: Sequence[Result]) -> dict[str, float]:
    """The numbers that a training chapter's prose quotes; NaN where no run is healthy.

    `k_best` is the K with the best mean validation MRR@100; the figures beside it are of that K.
    """
    n_items = len(results[0].ids["validation"])
    means = {
        runs[0].n_topics: np.mean([run.figures["validation_mrr_100"] for run in healthy(runs)])
        for runs in by_row(results).values()
        if healthy(runs)
    }
    best = max(means, key=means.__getitem__) if means else results[0].n_topics
    good = [run for run in healthy(results) if run.n_topics == best]

    def of_best(figure: str) -> float:
        return mean([run.figures[figure] for run in good if figure in run.figures])

    return {
        "n_runs": float(len(results)),
        "n_healthy": float(len(healthy(results))),
        "k_best": float(best),
        "validation_items": float(n_items),
        "validation_mrr": of_best("validation_mrr_100"),
        "validation_mrr_random": expected_random(n_items)["mrr_100"],
        "npmi_text": of_best("text_npmi"),
        "npmi_image": of_best("image_npmi"),
    }


def shown_run(results: Sequence[Result]) -> Result:
    """The run whose topics are shown: the first healthy one with the most topics; the first one if none is healthy."""
    runs = healthy(results) or list(results)
    largest = max(run.n_topics for run in runs)
    return next(run for run in runs if run.n_topics == largest)


def topic_words_table(run: Result) -> pd.DataFrame:
    """Ten keywords of the 12 topics that text and picture agree on most, and of the 6 that they agree on least."""
    text, image = run.text("validation"), run.image("validation")
    agreement = np.diag(topic_agreement(text, image))
    order = np.argsort(-agreement, kind="stable")
    n = min(12, len(order))
    shown = list(dict.fromkeys([*order[:n], *order[-(n // 2) :]]))
    return frame(
        [
            {
                "topic": int(k),
                "agreement": f"{agreement[k]:.2f}",
                "share of pictures": f"{image[:, k].mean():.1%}",
                "words, text model": ", ".join(run.topics["text"][k][:10]),
                "words, image model": ", ".join(run.topics["image"][k][:10]),
            }
            for k in shown
        ],
        "topic",
    )


def agreement_numbers(run: Result) -> dict[str, float]:
    """Mean correlation of text topic k with image topic k and with other topics, and how often k is its own best."""
    summary = diagonal_summary(topic_agreement(run.text(), run.image()))
    return {
        "diagonal": float(summary["mean"]),
        "off_diagonal": float(summary["off_mean"]),
        "own_best": float(summary["own_best"]),
    }


def frame(lines: Sequence[dict], index: str = "") -> pd.DataFrame:
    """Lines as a table with one heading: the index' name stands in it instead of in a line of its own."""
    import pandas as pd

    return pd.DataFrame(lines).set_index(index).rename_axis(None).rename_axis(index or None, axis="columns")


def provenance(measured: Mapping[str, Any]) -> dict[str, str]:
    """Where a stored measurement comes from, as cells of a table: its date, commit and processor."""
    machine = measured["machine"]
    return {
        "date": measured["date"],
        "commit": measured["commit"] or "–",
        "processor": f"{machine['processor']}, {machine['cores']} cores",
    }


def mean(values: Sequence[Any]) -> float:
    """The mean of some numbers or of some arrays of one shape; NaN of none."""
    return float(np.mean(values)) if len(values) else float("nan")


def spread(values: Sequence[float], *, digits: int = 3) -> str:
    """`mean ± sd` over runs; the mean alone for one run, a dash for none."""
    if len(values) == 0:
        return "–"
    summary = seed_summary(np.asarray(values, dtype=np.float64))
    text = f"{summary['mean']:.{digits}f}"
    return text if np.isnan(summary["sd"]) else f"{text} ±\u00a0{summary['sd']:.{digits}f}"


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


def stop_word_table(data: Prepared, *, top: int = 40) -> pd.DataFrame:
    """What the list of stop words takes from the training texts: its commonest words, and how much all of them are."""
    stops = Vocabulary(tuple(stop_words(data.corpus.language)), data.corpus.language, min_length=1)
    counts = stops.counts(data.texts("train"))
    n_words = sum(
        len(words_of(text, language=data.corpus.language, min_length=1)) for text in data.texts("train")
    )
    frequency = np.asarray(counts.sum(axis=0)).ravel()
    common = np.argsort(-frequency, kind="stable")[:top]
    return frame(
        [
            {
                "": data.corpus.language,
                "words of the list": len(stops),
                "of them in the texts": int((frequency > 0).sum()),
                "share of all words": f"{frequency.sum() / max(n_words, 1):.0%}",
                "commonest": ", ".join(stops.words[i] for i in common if frequency[i]),
            }
        ]
    )


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


FIGURES = ("correct_100", "mrr_100", "recall_1", "recall_5", "recall_10", "recall_50", "recall_100")
LABELS = {
    "correct_100": "correct in top 100",
    "mrr_100": "MRR@100",
    **{f"recall_{k}": f"R@{k}" for k in (1, 5, 10, 50, 100)},
}
CONTRASTIVE = "aligned (contrastive)"


def retrieval_summary(results: Sequence[Result]) -> pd.DataFrame:
    """Mean, spread and interval of every retrieval figure, a line for each row of the table and figure.

    Columns: row, n_topics, figure, mean, sd (over seeds; NaN for one run), low, high (95 % bootstrap over test
    items), runs (healthy), trained.
    """
    import pandas as pd

    lines = []
    for runs in by_row(results).values():
        good = healthy(runs)
        values = [per_item(run.ranks()) for run in good]
        for figure in FIGURES:
            line = dict(
                row=runs[0].row, n_topics=runs[0].n_topics, figure=figure, runs=len(good), trained=len(runs)
            )
            if good:
                items = np.stack([v[figure] for v in values])  # (S, n)
                scale = items.shape[1] if figure == "correct_100" else 1
                seeds = seed_summary(items.mean(axis=1) * scale)
                low, high = bootstrap_interval(items)
                line |= dict(mean=seeds["mean"], sd=seeds["sd"], low=low * scale, high=high * scale)
            lines.append(line)
    return pd.DataFrame(lines)


def table_1(results: Sequence[Result], *, baseline: str = CONTRASTIVE) -> pd.DataFrame:
    """The paper's Table 1: our rows, chance and perfect as sanity rows, and the paper's own figures.

    Ours read `mean ± sd over seeds`; MRR@100 also has the 95 % interval over test items.
    """
    summary = retrieval_summary(results)
    n_test = len(results[0].ids["test"])
    lines = []
    for (row, k), figures in summary.groupby(["row", "n_topics"], sort=False):
        line = {"": row_label(row, k, baseline), "runs": _runs(figures.iloc[0])}
        for _, f in figures.iterrows():
            line[LABELS[f.figure]] = _cell(f)
        lines.append(line)
    n_missing = results[0].n_missing
    share = n_test / (n_test + n_missing)
    # correct_100 counts articles whose picture is here; the others are means over all articles of the task.
    chance = {f: v if f == "correct_100" else v * share for f, v in expected_random(n_test).items()}
    best = {f: v if f == "correct_100" else v * share for f, v in perfect(n_test).items()}
    for label, figures in (("chance", chance), ("perfect", best)):
        lines.append({"": label, "runs": ""} | {LABELS[f]: _number(f, figures[f]) for f in FIGURES})
    columns = ["", "runs", *(LABELS[f] for f in FIGURES)]
    return frame([{c: line[c] for c in columns} for line in [*lines, *paper_rows()]])


PAPER_TEST = 1915  # test articles of the paper, each with one picture


def side_by_side(results: Sequence[Result], *, baseline: str = CONTRASTIVE) -> pd.DataFrame:
    """The paper's Table 1 and ours in neighbouring columns, with MRR@100 also in multiples of chance.

    A row of the paper stands with ours of the same kind; of several numbers of topics the largest with the largest.
    Ours are means over healthy runs.
    """
    import pandas as pd

    rows, names, cells = by_row(results), [], []
    pictures = {"paper": PAPER_TEST, "ours": len(results[0].ids["test"])}
    chance = {whose: expected_random(n)["mrr_100"] for whose, n in pictures.items()}
    for paper in TABLE_1:
        sizes = sorted({run.n_topics for run in results if run.row == paper.row}, reverse=True)
        place = [line.n_topics for line in TABLE_1 if line.row == paper.row].index(paper.n_topics)
        if place >= len(sizes):
            continue
        k = sizes[place]
        items = [per_item(run.ranks()) for run in healthy(rows["baseline" if k == 0 else f"{paper.row} {k}"])]
        line = {}
        for figure in ("mrr_100", "recall_10", "recall_100"):
            ours = mean([values[figure] for values in items])
            digits = 3 if figure == "mrr_100" else 2
            for whose, value in (("paper", getattr(paper, figure)), ("ours", ours)):
                line[LABELS[figure], whose] = f"{value:.{digits}f}"
                if figure == "mrr_100":
                    line["times chance", whose] = f"{value / chance[whose]:.1f}"
        cells.append(line)
        same = "CLIP" if paper.row == "baseline" else "" if k == paper.n_topics else str(paper.n_topics)
        names.append(row_label(paper.row, k, baseline) + (f" (paper: {same})" if same else ""))
    heads = [(head, whose) for head in ("MRR@100", "times chance", "R@10", "R@100") for whose in chance]
    return pd.DataFrame(cells, index=names)[heads].set_axis(pd.MultiIndex.from_tuples(heads), axis=1)


def paper_rows() -> list[dict[str, str]]:
    """The paper's Table 1, a line a row, in the columns of ours; it does not report Recall@1."""
    lines = []
    for paper in TABLE_1:
        label = "paper: CLIP" if paper.row == "baseline" else f"paper: {paper.row} {paper.n_topics}"
        figures = {f: getattr(paper, f) for f in FIGURES if f != "recall_1"}
        cells = {
            LABELS[f]: f"{v:d}" if f == "correct_100" else f"{v:.3f}" if f == "mrr_100" else f"{v:.2f}"
            for f, v in figures.items()
        }
        line = {"": label, "runs": "", LABELS["recall_1"]: "–"} | cells
        lines.append({column: line[column] for column in ("", "runs", *(LABELS[f] for f in FIGURES))})
    return lines


def topic_table(results: Sequence[Result], data: Prepared) -> pd.DataFrame:
    """Topic quality and sparsity of each model: mean ± sd over healthy runs.

    C_V is computed here, not with the run: it takes longer than all other figures together.
    """
    import pandas as pd

    tokens = [data.vocabulary.tokens(text) for text in data.texts("train")]

    lines = []
    for name, runs in by_row(results).items():
        good = healthy(runs)
        if runs[0].n_topics == 0 or not good:
            continue
        theta = [run.image() for run in good]
        line = {"": name, "runs": f"{len(good)} of {len(runs)}"}
        for label, figure in (("NPMI", "npmi"), ("diversity", "diversity"), ("inverted RBO", "inverted_rbo")):
            for reads in ("text", "image"):
                line[f"{label}, {reads}"] = spread([run.figures[f"{reads}_{figure}"] for run in good])
        for reads in ("text", "image"):
            line[f"C_V, {reads}"] = spread([c_v(run.topics[reads], tokens).mean() for run in good])
        line["diversity, at most"] = f"{good[0].figures['diversity_at_most']:.3f}"
        line["largest topic"] = spread([top_mass(t, 1).mean() for t in theta])
        line["three largest"] = spread([top_mass(t, 3).mean() for t in theta])
        line["effective topics"] = spread([effective_topics(t).mean() for t in theta], digits=1)
        line["information, nats"] = spread([theta_information(t) for t in theta], digits=2)
        lines.append(line)
    # Models side by side: there are fewer of them than of figures.
    return frame(lines).T if lines else pd.DataFrame()


def own_category(results: Sequence[Result], groups: Sequence[str], *, k: int = 10) -> np.ndarray:
    """Share of a text's k best pictures, its own picture left out, that are of the text's category: (S, n).

    Leaving out the own picture separates "a picture of the same topic" from "the picture itself".
    """
    category = dict(zip(results[0].ids["test"], groups, strict=True))
    shares = []
    for run in healthy(results):
        ids = run.ids["test"]
        top, _ = top_items(run.text(), run.image(), ids, k=min(k + 1, len(ids)), measure=run.measure)
        own = np.arange(len(ids))[:, None]
        # The own picture moves behind the others; then the first k are the best k others.
        others = np.take_along_axis(top, np.argsort(top == own, axis=1, kind="stable"), axis=1)[:, :k]
        of_ids = [category[i] for i in ids]
        shares.append(group_hit(others, of_ids, of_ids))
    return np.stack(shares) if shares else np.zeros((0, 0))


def category_table(results: Sequence[Result], groups: Sequence[str]) -> pd.DataFrame:
    """Share of texts whose first picture is of their own gold category, and the same of the ten best others."""
    lines = []
    for name, runs in by_row(results).items():
        good = healthy(runs)
        if not good:
            continue
        first = []
        for run in good:
            ids = run.ids["test"]
            top, _ = top_items(run.text(), run.image(), ids, k=1, measure=run.measure)
            first.append(group_hit(top, groups, groups).mean())
        others = own_category(runs, groups)
        low, high = bootstrap_interval(others)
        lines.append(
            {
                "": name,
                "first picture": spread(first),
                "ten best others": f"{spread(others.mean(axis=1))} [{low:.3f}, {high:.3f}]",
            }
        )
    return frame(lines)


def findings_table(found: dict[str, Finding]) -> pd.DataFrame:
    """The paper's findings with what was measured for each; p is adjusted for all of them."""
    holm = adjusted({name: finding.test for name, finding in found.items()})
    return frame(
        [
            {
                "The paper's finding": f.claim,
                "by": f.figure,
                "of": f.more,
                "less": f.less,
                "difference": f"{f.test.difference:+.3f} [{f.test.low:+.3f}, {f.test.high:+.3f}]"
                if name in holm
                else "–",
                "verdict": f.verdict,
                "p (Holm)": f"{holm[name]:.3f}" if name in holm else "–",
            }
            for name, f in found.items()
        ],
        "The paper's finding",
    )


def baseline_name(aligned: bool, encoder: str) -> str:
    """What the baseline is called: an aligned encoder's own cosine, or the learned maps."""
    return f"cosine ({encoder})" if aligned else CONTRASTIVE


def row_label(row: str, n_topics: int, baseline: str = CONTRASTIVE) -> str:
    """A row's name as the tables and figures print it."""
    return f"baseline: {baseline}" if row == "baseline" else f"{row} {n_topics}"


def _runs(line) -> str:
    bad = line.trained - line.runs
    return f"{line.runs}\u00a0of\u00a0{line.trained}" + (f" ({bad} collapsed)" if bad else "")


def _cell(line) -> str:
    if not line.runs:
        return "–"
    number = _number(line.figure, line["mean"])
    if not np.isnan(line.sd):
        number += f" ±\u00a0{_number(line.figure, line.sd)}"
    return f"{number} [{line.low:.3f},\u00a0{line.high:.3f}]" if line.figure == "mrr_100" else number


def _number(figure: str, value: float) -> str:
    if figure == "correct_100":
        return f"{value:.0f}"
    return f"{value:.3f}"


def settings_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """`vtm.experiment.runs.sweep`'s rows as the book shows them."""
    return frame(
        [
            {
                "kind": row["kind"],
                "KL weight": f"{row['kl_weight']:g}",
                "embeddings": _scale(row),
                "healthy": f"{row['healthy']} of {row['runs']}",
                "MRR@100": _mean_and_sd(row["mrr"], row["sd"]),
                "NPMI, text": f"{row['npmi_text']:.3f}",
                "NPMI, image": f"{row['npmi_image']:.3f}",
                "teacher's smallest variance": f"{row['smallest_variance']:.1e}",
            }
            for row in rows
        ],
        "kind",
    )


def settings_numbers(rows: Sequence[dict[str, Any]]) -> dict[str, float | str]:
    """The numbers that the settings chapter quotes.

    "best" has the highest mean MRR@100 over both kinds; "chosen" is the largest KL weight, with the same scale of the
    embeddings, whose mean lies within the seeds' standard deviation of the best: the KL term is what ties a student
    to its teacher, and is kept as strong as the validation part allows. One seed has no standard deviation: there the
    chosen setting is the best.
    """
    settings: dict[tuple[float, bool], list[dict[str, Any]]] = {}
    for row in rows:
        settings.setdefault((row["kl_weight"], row["standardize"]), []).append(row)
    means = {setting: mean([row["mrr"] for row in group]) for setting, group in settings.items()}
    best = max(means, key=means.__getitem__)
    sd = mean([row["sd"] for row in settings[best]])
    within = 0.0 if np.isnan(sd) else sd
    near = [setting for setting in means if setting[1] == best[1] and means[setting] >= means[best] - within]
    chosen = max(near)
    paper = settings[(1.0, False)]
    return {
        "best_mrr": means[best],
        "best_weight": float(best[0]),
        "best_scale": _scale(settings[best][0]),
        "best_sd": "–" if np.isnan(sd) else f"{sd:.3f}",
        "chosen_weight": float(chosen[0]),
        "chosen_mrr": means[chosen],
        "paper_mrr": means[(1.0, False)],
        "paper_healthy": float(sum(row["healthy"] for row in paper)),
        "paper_runs": float(sum(row["runs"] for row in paper)),
        "smallest_variance": float(min(row["smallest_variance"] for row in paper)),
    }


def _mean_and_sd(mean: float, sd: float) -> str:
    return f"{mean:.3f}" if np.isnan(sd) else f"{mean:.3f}\u00a0±\u00a0{sd:.3f}"


def _scale(row: dict[str, Any]) -> str:
    return "standardized" if row["standardize"] else "raw"
