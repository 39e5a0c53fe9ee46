"""Topics of news texts without pictures: what is trained on, what is measured, and that it is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from news import write_news

from vtm.config import from_parameters
from vtm.corpora import split
from vtm.corpora.words import build_vocabulary
from vtm.newsimages.corpus import read
from vtm_study import news as module
from vtm_study.news import quality_table, text_study, topics_table

PARAMETERS = {
    "encoder": "pixels",
    "n_topics": [6, 8],
    "seeds": [0, 1],
    "epochs": 30,
    "batch_size": 16,
    "min_df": 2,
}


@pytest.fixture
def news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VTM_RUNS", str(tmp_path / "runs"))
    return read(write_news(tmp_path / "news", pictures=False, truth=False).folder)


def test_the_study_reads_development_texts_alone_and_is_read_back(news, monkeypatch) -> None:
    experiment = from_parameters(PARAMETERS)
    study = text_study(experiment, news, lang="en", progress=False)
    ids = [item.article.id for item in news.development]
    rows = split(ids, seed=0, fractions=(0.8, 0.2, 0.0))
    texts = [item.article.text() for item in news.development]
    words = build_vocabulary([texts[i] for i in rows["train"]], language="en", config=experiment.bow).words
    assert (study.n_train, study.n_validation, study.n_test) == (
        len(rows["train"]),
        len(rows["validation"]),
        40,
    )
    assert study.n_words == len(words)
    assert [(run.n_topics, run.seed) for run in study.runs] == [(6, 0), (6, 1), (8, 0), (8, 1)]
    for run in study.runs:
        assert len(run.topics) == len(run.npmi) == len(run.share) == run.n_topics
        assert {word for topic in run.topics for word in topic} <= set(words)
        assert sum(run.share) == pytest.approx(1, abs=1e-4)
        assert run.figures["held_out"] < run.figures["unigram"], "scenes are easy: a text tells its words"
    assert study.runs[0].topics != study.runs[1].topics, "seeds differ"

    monkeypatch.setattr(module, "train", None)  # training again would fail
    assert text_study(experiment, news, lang="en", progress=False) == study
    monkeypatch.setattr(module, "code_hash", lambda *modules, without: "another")
    with pytest.raises(TypeError):
        text_study(experiment, news, lang="en", progress=False)


def test_a_limit_takes_the_same_texts_whatever_their_order(news) -> None:
    limited = module._development(news, 30)
    assert len(limited[0]) == 30
    every = module._development(news, 0)
    assert len(every[0]) == 120 and set(limited[0]) <= set(every[0])
    larger = module._development(news, 60)
    assert set(limited[0]) < set(larger[0])


def test_tables_say_what_was_measured(news) -> None:
    study = text_study(from_parameters({**PARAMETERS, "n_topics": 6}), news, lang="en", progress=False)
    table = quality_table(study)
    values = [run.figures["npmi"] for run in study.runs]
    assert table.loc["NPMI", "6 topics"].startswith(f"{np.mean(values):.3f}")
    assert study.best["npmi"] == pytest.approx(np.mean(values)) and study.best["n_topics"] == 6
    shown = topics_table(study.shown, n=4, top=5)
    shares = [float(cell.rstrip("%")) for cell in shown["share"][:4]]
    assert shares == sorted(shares, reverse=True)
    worst = int(np.argmin(study.shown.npmi))
    assert worst in shown.index
    assert all(len(cell.split(", ")) == 5 for cell in shown["words"])
