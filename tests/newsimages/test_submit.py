"""The way from models to a scored run of the NewsImages task, on a NewsImages in miniature."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from news import MiniNews, write_news
from typer.testing import CliRunner

from vtm.api import VisualTopicModel
from vtm.cli import app
from vtm.cli.notebooks import make_plan
from vtm.config import from_parameters
from vtm.encoders import EncoderPair, load_encoder
from vtm.errors import ConfigError, DataError, MissingError
from vtm.experiment.prepare import Prepared, prepare
from vtm.experiment.results import Result
from vtm.experiment.runs import model_folder, run_models
from vtm.files import load_arrays, save_arrays
from vtm.metrics.retrieval import retrieval_figures
from vtm.model.topicmodel import TopicModel
from vtm.newsimages.corpus import pictures_folder, read
from vtm.newsimages.task import (
    check_encoder,
    check_run,
    embed_task,
    evaluate,
    load_models,
    read_run,
    task_run,
)
from vtm_study.news import can_run, chapter_numbers, setting, setting_table, task_table

SMALL = {"encoder": "pixels", "n_topics": 6, "seeds": [0], "epochs": 20, "batch_size": 16, "min_df": 2}


def live_in(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    for name in ("data", "runs", "news"):
        patch.setenv("VTM_NEWSIMAGES" if name == "news" else f"VTM_{name.upper()}", str(folder / name))
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return live_in(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> MiniNews:
    """The files and pictures, of which each test has a copy."""
    with pytest.MonkeyPatch.context() as patch:
        return write_news(live_in(tmp_path_factory.mktemp("written"), patch) / "news")


@pytest.fixture
def news(home: Path, written: MiniNews) -> MiniNews:
    folder = home / "news"
    shutil.copytree(written.folder, folder)
    return MiniNews(folder, written.answers, folder / written.ground_truth.name)


@pytest.fixture(scope="module")
def trained(written: MiniNews, tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Result, Path]:
    """What was trained on, with which result, and the folder of the two models."""
    with pytest.MonkeyPatch.context() as patch:
        home = live_in(tmp_path_factory.mktemp("trained"), patch)
        shutil.copytree(written.folder, home / "news")
        data = prepare(from_parameters({"corpus": "newsimages:lang=en", **SMALL}))
        (result,) = run_models(data, "text-teacher")
        return data, result, model_folder(data, "text-teacher", 6) / "seed-0"


def test_from_models_to_a_scored_run(
    news: MiniNews, home: Path, trained: tuple[Prepared, Result, Path]
) -> None:
    data, result, folder = trained
    assert len(data.rows["test"]) == 40 and data.n_missing == 0
    out = home / "run.tsv"
    told = CliRunner().invoke(app, ["submit", str(folder), "-o", str(out)])
    assert told.exit_code == 0, told.output
    assert "40 articles, ranked among 41 of 41 images" in told.output
    content = read(news.folder)
    run = read_run(out)
    images = [picture.iid for picture in content.test_images]
    # The task is smaller than a list here, so that a valid run names every image.
    assert check_run(run, list(news.answers), images, depth=41) == []

    # By hand: theta of all articles and pictures, cosine, rank of the answer.
    text, image, notes = load_models(folder)
    assert notes["encoder"] == "pixels"
    encoder = load_encoder("pixels")
    task = embed_task(content, encoder, pictures_folder(news.folder))
    a, b = text.theta(task.text), image.theta(task.image)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a.astype(float), b.astype(float)))
    scores = a @ b.T
    own = [task.images.index(news.answers[article]) for article in task.articles]
    target = scores[np.arange(len(own)), own]
    ranks = (scores > target[:, None] + 1e-9).sum(axis=1) + 1
    assert evaluate(run, content.truth).figures == pytest.approx(retrieval_figures(ranks))
    # The tables of the book rank among the 40 pictures that an article has: one fewer, and hardly another figure.
    assert abs(retrieval_figures(result.ranks())["mrr_100"] - retrieval_figures(ranks)["mrr_100"]) < 0.05


def test_pictures_that_are_lost_count_as_not_found(news: MiniNews, home: Path) -> None:
    content = read(news.folder)
    lost = [picture for picture in content.test_images if picture.iid in news.answers.values()][:15]
    for picture in lost:
        (news.folder / "pictures" / picture.file).unlink()
    (news.folder / "pictures" / lost[-1].file).write_bytes(b"no picture")
    experiment = from_parameters({"corpus": "newsimages:lang=en", **SMALL})
    data = prepare(experiment)
    assert len(data.rows["test"]) == 25 and data.n_missing == 15
    (result,) = run_models(data, "text-teacher")
    assert len(result.ranks()) == 40 and (result.ranks() > 100).sum() == 15
    assert len(result.ranks("validation")) == len(data.rows["validation"])
    assert retrieval_figures(result.ranks())["recall_100"] == pytest.approx(25 / 40)
    encoder = load_encoder("pixels")
    task = embed_task(content, encoder, pictures_folder(news.folder))
    assert len(task.missing) == 15 and len(task.images) == 26
    all_images = [picture.iid for picture in content.test_images]
    models = load_models(model_folder(data, "text-teacher", 6) / "seed-0")[:2]
    run = task_run(task, all_images, models=models)
    assert evaluate(run, content.truth).n_articles == 40
    assert all(len(line) == 41 for line in run.values()), "images that are not here follow the others"
    assert (
        evaluate({id: line[:26] for id, line in run.items()}, content.truth).figures["recall_100"] <= 25 / 40
    )


def test_a_model_of_ones_own_is_submitted(news: MiniNews, home: Path) -> None:
    data = prepare(from_parameters({"corpus": "newsimages:lang=en", **SMALL}))
    own = VisualTopicModel(6, encoder="pixels", min_df=2, validation=0, progress=False)
    given = {"text_embeddings": data.text, "image_embeddings": data.image}
    own.fit(data.corpus.texts, **given).save(home / "m")
    told = CliRunner().invoke(app, ["submit", str(home / "m"), "-o", str(home / "run.tsv")])
    assert told.exit_code == 2 and "fitted on embeddings of your own" in told.stderr
    own.fit(data.corpus.texts, data.corpus.images).save(home / "m")
    told = CliRunner().invoke(app, ["submit", str(home / "m"), "-o", str(home / "run.tsv")])
    assert told.exit_code == 0, told.output
    content = read(news.folder)
    task = embed_task(content, load_encoder("pixels"), pictures_folder(news.folder))
    images = [picture.iid for picture in content.test_images]
    expected = task_run(task, images, models=(own.text_model_, own.image_model_))
    assert {line.article: line.images for line in read_run(home / "run.tsv").lines} == expected


def test_what_cannot_be_submitted_is_refused(news: MiniNews, home: Path) -> None:
    with pytest.raises(MissingError, match=r"no text\.safetensors and image\.safetensors"):
        load_models(home)
    with pytest.raises(ConfigError, match="share no space"):
        check_encoder(load_encoder("pixels"))
    runner = CliRunner()
    out = str(home / "run.tsv")
    told = runner.invoke(app, ["submit", "baseline", "--encoder", "pixels", "-o", out])
    assert told.exit_code == 2 and "share no space" in told.stderr
    encoder = load_encoder("pixels")
    with pytest.raises(MissingError, match="none of the 41 test pictures"):
        embed_task(read(news.folder), encoder, home / "nowhere")
    (home / "lost").mkdir()
    for picture in read(news.folder).test_images:
        (home / "lost" / picture.file).write_text("no picture")
    with pytest.raises(DataError, match="none of 41 pictures can be used; the first: .*not a picture"):
        embed_task(read(news.folder), encoder, home / "lost")
    task = embed_task(read(news.folder), encoder, pictures_folder(news.folder))
    with pytest.raises(DataError, match="only an aligned encoder"):
        task_run(task, task.images)
    data = prepare(from_parameters({"corpus": "newsimages:lang=en", "mode": "none", **SMALL}))
    run_models(data, "text-teacher")
    with pytest.raises(ConfigError, match="trained apart"):
        load_models(model_folder(data, "text-teacher", 6) / "seed-0")


def test_the_setting_is_told_as_it_is(home: Path) -> None:
    nothing = setting()
    assert nothing.news is None and not nothing.complete
    assert [state for _, state, _ in nothing.lines][:2] == ["not here", "not here"]
    experiment = from_parameters({"corpus": "newsimages:lang=en", **SMALL})
    quoted = chapter_numbers(experiment, nothing, None)
    assert quoted["n_development"] == quoted["table_1_ran"] == quoted["text_topics"] == 0
    paper_alone = task_table(experiment, nothing)
    assert len(paper_alone) == 5 and paper_alone.index[0] == "paper: CLIP"

    news = write_news(home / "news", pictures=False, truth=False)
    some = setting()
    assert some.pictures == 0 and not some.complete
    table = setting_table(some)
    assert "newsimages-images" in table.loc["pictures", "to get it"]
    assert "content2019-04-gt.tsv" in table.loc["ground truth of the test batch", "to get it"]
    assert chapter_numbers(experiment, some, None)["n_development"] == 120
    assert news.folder == some.news.folder


def test_table_1_on_the_task_itself(news: MiniNews, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything here the rows are those of the run files, the baseline of an aligned encoder among them."""
    pixels = load_encoder("pixels")

    class Same:
        """A text encoder in the pictures' space: numbers that follow from the text's length alone."""

        key, dim = "test-same", pixels.image.dim

        def encode(self, texts):
            return np.stack([np.cos(np.arange(self.dim) * (1 + len(text) % 7)) for text in texts]).astype(
                "float32"
            )

    aligned = EncoderPair("aligned-test", Same(), pixels.image, aligned=True)
    monkeypatch.setattr("vtm.encoders.load_encoder", lambda name, **options: aligned)
    # Texts of seven lengths have seven embeddings here: none is to count as another's near-duplicate.
    apart = {"twin_image": 0.0, "twin_text": 0.0, "twin_both": 0.0}
    experiment = from_parameters({"corpus": "newsimages:lang=en", **SMALL, **apart})
    found = setting()
    assert found.complete and can_run(experiment, found)
    table = task_table(experiment, found)
    assert list(table.index[:3]) == ["baseline: cosine (pixels)", "joint 6", "text-teacher 6"]
    content = read(news.folder)
    task = embed_task(content, aligned, pictures_folder(news.folder))
    figures = evaluate(task_run(task, [p.iid for p in content.test_images]), content.truth).figures
    assert table.loc["baseline: cosine (pixels)", "MRR@100"] == f"{figures['mrr_100']:.3f}"
    assert chapter_numbers(experiment, found, None)["table_1_ran"] == 1


def test_the_plan_counts_and_names_what_is_missing(news: MiniNews, home: Path) -> None:
    experiment = from_parameters({"corpus": "newsimages:lang=en", **SMALL})
    plan = make_plan(experiment)
    data = prepare(experiment)
    n_train = len(data.corpus) - sum(len(data.rows[p]) for p in ("validation", "test"))
    # A plan embeds nothing, so it does not know which pairs are near-duplicates and stay together.
    assert plan.counted and plan.n_train == pytest.approx(n_train, rel=0.1)
    assert plan.missing == () and plan.seconds > 0
    assert "joint, 6 topics: 1 seed, 3 networks" in "\n".join(plan.lines())
    news.ground_truth.unlink()
    lacking = make_plan(experiment)
    assert not lacking.counted and "content2019-04-gt.tsv" in lacking.missing[0]
    # A plan fetches nothing.
    elsewhere = make_plan(from_parameters({**SMALL, "corpus": "stamps", "encoder": "offline"}))
    assert [line.partition(":")[0] for line in elsewhere.missing] == ["corpus", "encoder"]
    assert not (home / "data" / "downloads").exists()


def test_an_encoder_may_name_its_language(home: Path) -> None:
    plan = make_plan(from_parameters({**SMALL, "encoder": "clip:language=de", "epochs": 1}))
    assert plan.aligned and any("clip" in what for what in plan.missing)


def test_models_without_notes_are_read(home: Path, trained: tuple[Prepared, Result, Path]) -> None:
    folder = shutil.copytree(trained[2], home / "seed-0")
    arrays, about = load_arrays(folder / "image.safetensors")
    save_arrays(folder / "image.safetensors", arrays, {**about, "notes": {}})
    text, image, notes = load_models(folder)
    assert isinstance(text, TopicModel) and image.n_topics == 6 and notes == {}


def test_the_weights_looked_for_are_the_experiment_s_own(home: Path) -> None:
    lines = {what: how for what, _, how in setting("clip:model=local-dir:/nowhere").lines}
    assert lines["weights of the encoder clip"] == "vtm prefetch --encoder clip:model=local-dir:/nowhere"
    lines = {what: how for what, _, how in setting("offline").lines}
    assert lines["weights of the encoder clip"] == "vtm prefetch --encoder clip:language=de"
