"""Tables of the NewsImages chapter: what the files hold, what is here of the paper's setting, the task's scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vtm.config import KINDS, Experiment
from vtm.corpora.newsimages import GROUND_TRUTH, NewsImages, picture_path, pictures_folder, read
from vtm.errors import ConfigError, MissingError
from vtm.report import FIGURES, LABELS, paper_rows
from vtm.runs import frame, spread

if TYPE_CHECKING:
    import pandas as pd

    from vtm.text_study import TextStudy

HERE, NOT_HERE = "here", "not here"


@dataclass(frozen=True)
class Setting:
    """What is here of the paper's own setting.

    Attributes
    ----------
    news : the files' content, or None where they are not here.
    pictures : how many of the pictures that the files name are here.
    weights : whether the weights of the encoder "clip" are here.
    lines : what, state, and how to get it.
    """

    news: NewsImages | None
    pictures: int
    weights: bool
    lines: tuple[tuple[str, str, str], ...]

    @property
    def complete(self) -> bool:
        """Whether the paper's Table 1 can be computed."""
        return bool(self.news and self.news.truth and self.pictures and self.weights)


def setting(encoder: str = "") -> Setting:
    """Look what is here; needs nothing and fetches nothing.

    Parameters
    ----------
    encoder : the encoder of the experiment; the default weights of clip for German are looked for unless it is a clip.
    """
    lines = []
    news, n_pictures = None, 0
    try:
        news = read()
    except MissingError:
        lines.append(("articles and picture addresses", NOT_HERE, "vtm fetch corpus:newsimages"))
    if news is None:
        lines.append(("pictures", NOT_HERE, "after the files: vtm fetch newsimages-images"))
    else:
        lines.append(("articles and picture addresses", HERE, "–"))
        folder = pictures_folder(news.folder)
        n_pictures = sum(picture_path(picture, folder) is not None for picture in news.pictures)
        how = "–" if n_pictures == len(news.pictures) else "vtm fetch newsimages-images"
        lines.append(("pictures", f"{n_pictures} of {len(news.pictures)}", how))
        known = news.truth is not None
        how = "–" if known else f"vtm fetch corpus:newsimages, or put {GROUND_TRUTH} beside the other files"
        lines.append(("ground truth of the test batch", HERE if known else NOT_HERE, how))
    spec = encoder if encoder.partition(":")[0] == "clip" else "clip"
    weights = _weights_are_here(spec)
    how = "–" if weights else f"vtm prefetch --encoder {'clip:language=de' if spec == 'clip' else spec}"
    lines.append(("weights of the encoder clip", HERE if weights else NOT_HERE, how))
    return Setting(news, n_pictures, weights, tuple(lines))


def _weights_are_here(spec: str) -> bool:
    from vtm.encoders import load_named

    try:
        encoder = load_named(spec, device="cpu", language="de")
        return bool(encoder.image.key and encoder.text.key)
    except MissingError:
        return False


def setting_table(found: Setting) -> pd.DataFrame:
    """What the paper's setting needs, whether it is here, and how to get it."""
    return frame([{"": what, "state": state, "to get it": how} for what, state, how in found.lines])


def files_table(news: NewsImages) -> pd.DataFrame:
    """Each file: its encoding, rows, items, and whether it is byte for byte the published one."""
    return frame(
        [
            {
                "": file.name,
                "encoding": file.encoding,
                "rows": file.n_rows,
                "items": file.n_items,
                "as published": "yes" if file.as_published else "no",
            }
            for file in news.files
        ]
    )


def odd_table(news: NewsImages) -> pd.DataFrame | str:
    """Rows that are not as they should be, by file and reason."""
    if not news.odd:
        return "Every row is as it should be."
    counts: dict[tuple[str, str, bool], int] = {}
    for odd in news.odd:
        key = (odd.reason, odd.file, odd.dropped)
        counts[key] = counts.get(key, 0) + 1
    return frame(
        [
            {"": reason, "file": file, "rows": n, "row is": "left out" if dropped else "kept"}
            for (reason, file, dropped), n in sorted(counts.items())
        ]
    )


def chapter_numbers(experiment: Experiment, found: Setting, study: TextStudy | None) -> dict[str, str]:
    """The sentences in which the chapter sums up, put together from what was found."""
    news = found.news
    if news is None:
        files = "The files of NewsImages are not here, so nothing of this chapter could be run."
    else:
        length = np.mean([len(item.article.text()) for item in news.development])
        files = (
            f"The files hold {len(news.development):,} pairs for development, {len(news.test_articles):,} test "
            f"articles and {len(news.test_images):,} test pictures; a text has {length:.0f} characters on average."
        )
    text = "No topic model was trained on them."
    if study is not None:
        best = study.best
        gain = best["unigram"] - best["held_out"]
        text = (
            f"Of the numbers of topics tried, {best['n_topics']:.0f} is the most coherent: NPMI {best['npmi']:.3f}, "
            f"diversity {best['diversity']:.3f}, trained on {study.n_train:,} texts; a validation text costs "
            f"{abs(gain):.1f} nats {'less' if gain > 0 else 'more'} than by the frequencies of words alone."
        )
    pictures = f"{found.pictures:,} pictures and {'the' if found.weights else 'no'} weights of CLIP were here"
    if can_run(experiment, found):
        table = "Table 1 was computed on the paper's own data."
    else:
        table = (
            f"Table 1 was not computed on the paper's own data: {pictures}, and the book was built with "
            + (f"the corpus {experiment.corpus_name} and the encoder {experiment.encoder_name}.")
        )
    return {"news_sentence": files, "text_sentence": text, "table_sentence": table}


def task_table(experiment: Experiment, found: Setting) -> pd.DataFrame:
    """The paper's Table 1 as published, and above it ours, scored as the task does, where they could be run.

    Raises
    ------
    ConfigError
        Everything is here but the experiment is of another corpus or encoder.
    """
    return frame([*(_own_rows(experiment, found.news) if can_run(experiment, found) else []), *paper_rows()])


def can_run(experiment: Experiment, found: Setting) -> bool:
    """Whether the experiment is the paper's, and everything that it needs is here."""
    return found.complete and experiment.corpus_name == "newsimages"


def _own_rows(experiment: Experiment, news: NewsImages | None) -> list[dict[str, str]]:
    from vtm import experiment as runs
    from vtm.encoders import load_named
    from vtm.prepare import prepare
    from vtm.submission import embed_task, load_models, task_run
    from vtm.task import evaluate

    if news is None or news.truth is None:
        raise ConfigError(
            "the NewsImages files and their ground truth are needed; see the table of what is here"
        )
    data = prepare(experiment)
    encoder = load_named(experiment.encoder, device=experiment.device, language=data.corpus.language)
    task = embed_task(news, encoder, pictures_folder(news.folder))
    all_images = [picture.iid for picture in news.test_images]

    def score(models=None, measure: str = "cosine") -> dict[str, float]:
        ranking = task_run(task, all_images, models=models, measure=measure)
        return evaluate(ranking, news.truth).figures

    rows = []
    if encoder.aligned:
        rows.append(_row(f"baseline: cosine ({experiment.encoder_name})", [score()]))
    for kind in KINDS:
        results = runs.run_models(data, kind)  # trained, or read back
        for k in experiment.n_topics:
            folder = runs.model_folder(data, kind, k)
            seeds = [result.seed for result in results if result.n_topics == k and result.status == "ok"]
            scores = []
            for seed in seeds:
                text, image, notes = load_models(folder / f"seed-{seed}")
                scores.append(score((text, image), notes["measure"]))
            rows.append(_row(f"{kind} {k}", scores))
    return rows


def _row(label: str, scores: Sequence[dict[str, float]]) -> dict[str, str]:
    def cell(figure: str) -> str:
        return spread([s[figure] for s in scores], digits=0 if figure == "correct_100" else 3)

    return {"": label, "runs": str(len(scores))} | {LABELS[figure]: cell(figure) for figure in FIGURES}
