"""Tables of the book, made from results; every figure a mean over healthy runs with its spread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtm.files import atomic_path
from vtm.metrics import bootstrap_interval, expected_random, group_hit, per_item, perfect, seed_summary
from vtm.paper import TABLE_1
from vtm.ranking import top_items
from vtm.results import Result, by_row, healthy
from vtm.runs import frame, spread
from vtm.theta_metrics import effective_topics, theta_information, top_mass

if TYPE_CHECKING:
    import pandas as pd

    from vtm.prepare import Prepared

FIGURES = ("correct_100", "mrr_100", "recall_1", "recall_5", "recall_10", "recall_50", "recall_100")
LABELS = {
    "correct_100": "correct in top 100",
    "mrr_100": "MRR@100",
    **{f"recall_{k}": f"R@{k}" for k in (1, 5, 10, 50, 100)},
}
CONTRASTIVE = "aligned (contrastive)"


def retrieval_summary(results: Sequence[Result], part: str = "test") -> pd.DataFrame:
    """Mean, spread and interval of every retrieval figure, a line for each row of the table and figure.

    Columns: row, n_topics, figure, mean, sd (over seeds; NaN for one run), low, high (95 % bootstrap over test
    items), runs (healthy), trained.
    """
    import pandas as pd

    lines = []
    for runs in by_row(results).values():
        good = healthy(runs)
        values = [per_item(run.ranks(part)) for run in good]
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

    from vtm.topic_metrics import c_v

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


def category_table(results: Sequence[Result], groups: Sequence[str]) -> pd.DataFrame:
    """Share of texts whose first picture is of their own gold category, and the same of the ten best others."""
    from vtm.findings import own_category

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


def findings_table(found: dict) -> pd.DataFrame:
    """The paper's findings with what was measured for each (`vtm.findings`)."""
    return frame(
        [
            {
                "The paper's finding": f.claim,
                "measured here": f.measured,
                "difference": f"{f.difference:+.3f} [{f.low:+.3f}, {f.high:+.3f}]",
                "verdict": f.verdict,
            }
            for f in found.values()
        ],
        "The paper's finding",
    )


def save_table(table: pd.DataFrame, path: Path | str) -> None:
    """Write a table as CSV, atomically."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary)


def tables_dir(data: Prepared) -> Path:
    """Folder of the tables as CSV files, beside the runs that they are made from."""
    from vtm.paths import runs_dir

    return runs_dir() / f"{data.corpus.name}-{data.experiment.encoder_name}-tables"


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
