"""The task's run files: written, checked, and scored as the task's evaluator does."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import ir_measures
import numpy as np
import pytest
import typer
from ir_measures import RR, R
from typer.testing import CliRunner

from vtm.cli import data as commands
from vtm.errors import ConfigError, DataError, MissingError
from vtm.metrics.ranking import top_items
from vtm.newsimages import corpus as newsimages
from vtm.newsimages import task
from vtm.newsimages import task as run_files

RECALLS = (1, 5, 10, 50, 100)


def scrambled(id: str) -> str:
    return "1" + id[4:9] + id[:4]


def task_of(n: int, *, seed: int = 0) -> tuple[dict[str, str], list[str], list[str]]:
    """Ground truth, scrambled article ids and image ids of a drawn task with n articles and n + 1 images."""
    rng = np.random.default_rng(seed)
    articles = [str(500000000 + number) for number in rng.choice(10**8, n, replace=False)]
    images = [str(100000 + number) for number in rng.permutation(n + 1)]
    return dict(zip(articles, images[1:], strict=True)), [scrambled(id) for id in articles], images


def drawn_run(truth: dict[str, str], images: list[str], *, seed: int, depth: int) -> dict[str, list[str]]:
    """Rankings of a system that is right now and then, keyed by scrambled ids; each tenth article is left out."""
    rng = np.random.default_rng(seed)
    run = {}
    for number, (article, iid) in enumerate(truth.items()):
        ranking = [images[i] for i in rng.permutation(len(images))]
        if number % 3 == 0:
            ranking.remove(iid)
            ranking.insert(int(rng.integers(0, 12)), iid)
        if number % 10:
            run[scrambled(article)] = ranking[:depth]
    return run


def slow_score(path: Path, truth: dict[str, str]) -> dict[str, float]:
    """The published evaluator's steps, one by one, on the file's text."""
    places = {}
    for line in path.read_text().splitlines():
        cells = line.split("\t")
        if not cells[0].isdigit():
            continue
        repaired = cells[0][6:10] + cells[0][1:6]
        for i in range(1, 101):
            if truth[repaired] == cells[i].strip():
                places[repaired] = i
                break
    figures = {
        "correct_100": len(places),
        "mrr_100": sum(1 / place for place in places.values()) / len(truth),
    }
    for k in RECALLS:
        figures[f"recall_{k}"] = sum(place <= k for place in places.values()) / len(truth)
    return figures


# Score


@pytest.mark.parametrize("depth", [100, 130])
def test_a_run_is_scored_as_the_evaluator_and_ir_measures_do(tmp_path, depth):
    truth, _, images = task_of(150)
    run = drawn_run(truth, images, seed=1, depth=depth)
    path = tmp_path / "run.tsv"
    run_files.write_run(path, run, depth=depth)
    score = task.evaluate(run_files.read_run(path), truth)
    assert (score.n_articles, score.n_in_run) == (150, 135)
    assert score.figures == pytest.approx(slow_score(path, truth))
    assert 20 < score.figures["correct_100"] < 135 and 0.02 < score.figures["mrr_100"] < 0.5

    qrels = [ir_measures.Qrel(scrambled(id), iid, 1) for id, iid in truth.items()]
    docs = [
        ir_measures.ScoredDoc(id, iid, -float(place))
        for id, iids in run.items()
        for place, iid in enumerate(iids)
    ]
    measures = {"mrr_100": RR @ 100} | {f"recall_{k}": R @ k for k in RECALLS}
    found = ir_measures.calc_aggregate(list(measures.values()), qrels, docs)
    assert {name: score.figures[name] for name in measures} == pytest.approx(
        {name: found[measure] for name, measure in measures.items()}
    )


def test_score_by_hand():
    truth = {"500000001": "11", "500000002": "12", "500000003": "13", "500000004": "14"}
    run = {
        scrambled("500000001"): ["11"],
        "500000002": ["x", "y", "z", "12", "12"],  # an id that is not scrambled
        scrambled("500000003"): [str(n) for n in range(1000, 1100)] + ["13"],  # place 101
    }
    score = task.evaluate(run, truth)
    assert score.figures == {
        "correct_100": 2.0,
        "mrr_100": (1 + 1 / 4) / 4,
        "recall_1": 0.25,
        "recall_5": 0.5,
        "recall_10": 0.5,
        "recall_50": 0.5,
        "recall_100": 0.5,
    }
    assert (score.n_articles, score.n_in_run) == (4, 3)


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["500000009"], "'500000009' of the run is not in the ground truth"),
        ([scrambled("500000009")], "not in the ground truth"),
        (["500000001", scrambled("500000001")], "are the same one"),
    ],
)
def test_a_run_of_another_truth_is_not_scored(ids, told):
    with pytest.raises(DataError, match=told):
        task.evaluate({id: ["11"] for id in ids}, {"500000001": "11"})


def test_nothing_to_score_by():
    with pytest.raises(DataError, match="no article"):
        task.evaluate({"500000001": ["11"]}, {})


# Run files


def test_a_run_file_is_the_task_s_format(tmp_path):
    path = tmp_path / "runs" / "run.tsv"
    run_files.write_run(path, {"1000000001": ["12", "11", "13"], "1000000002": ["11"]}, depth=2)
    assert path.read_bytes() == b"1000000001\t12\t11\n1000000002\t11\n"
    run = run_files.read_run(path)
    assert run.ranking() == {"1000000001": ("12", "11"), "1000000002": ("11",)}
    assert [line.number for line in run.lines] == [1, 2]
    if os.name == "posix":
        assert path.stat().st_mode & 0o400


def test_a_run_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "run.tsv"
    run_files.write_run(path, {"1": ["2"]})
    for ranking, told in (
        ({}, "no article"),
        ({"1": ["2\t3"]}, r"'2\\t3' is no number"),
        ({"": ["2"]}, "''"),
    ):
        with pytest.raises(DataError, match=told):
            run_files.write_run(path, ranking)
    assert path.read_bytes() == b"1\t2\n" and list(tmp_path.iterdir()) == [path]


def test_reading_forgives_what_the_evaluator_forgives(tmp_path):
    path = tmp_path / "run.tsv"
    path.write_bytes(b"articleID\tiids\r\n1000000001\t 12\t11 \t\r\n\r\n# note 1\n1000000002\t11")
    run = run_files.read_run(path)
    assert [line.number for line in run.lines] == [2, 4, 5]
    assert run.ranking() == {"1000000001": ("12", "11"), "1000000002": ("11",)}
    path.write_bytes(b"1\t2\n1\t3\n")
    with pytest.raises(DataError, match=r"run.tsv: line 2: a second line of article 1"):
        run_files.read_run(path).ranking()
    path.write_bytes(b"run\n")
    with pytest.raises(DataError, match="no line begins with an article id"):
        run_files.read_run(path).ranking()
    path.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match="no text file"):
        run_files.read_run(path)
    with pytest.raises(MissingError, match="vtm submit"):
        run_files.read_run(tmp_path / "none.tsv")


def problems_of(tmp_path: Path, lines: list[list[str]], articles: list[str], images: list[str]) -> list[str]:
    path = tmp_path / "checked.tsv"
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    return run_files.check_run(run_files.read_run(path), articles, images)


def test_the_validator_accepts_a_valid_run_and_names_each_defect(tmp_path):
    _, articles, images = task_of(120)
    good = [[id, *images[:100]] for id in articles]
    assert problems_of(tmp_path, good, articles, images) == []
    assert problems_of(tmp_path, [["header"], *good[::-1]], articles, images) == []
    assert problems_of(tmp_path, [[id, *images] for id in articles], articles, images) == []

    def changed(number: int, *line: str) -> list[str]:
        return problems_of(tmp_path, [*good[:number], list(line), *good[number + 1 :]], articles, images)

    a, own = articles[7], images[:100]
    (unknown, missing) = changed(7, "1999999999", *own)
    assert unknown == "line 8: article 1999999999 is not one of the task's 120; remove the line"
    assert missing == f"article {a} has no line; add one"
    (unscrambled, _) = changed(7, a[6:10] + a[1:6], *own)
    assert unscrambled.endswith(f"write its scrambled id {a}")
    (twice, missing) = changed(7, articles[2], *own)
    assert twice == f"line 8: article {articles[2]} has line 3 already; remove one"
    (foreign, few) = changed(7, a, *images[:50], "77", *images[51:100])
    assert foreign == f"line 8: article {a}: image '77' at place 51 is not one of the task's 121; remove it"
    assert few == f"line 8: article {a}: 99 different images of the task; name 100"
    (repeated, few) = changed(7, a, *images[:99], images[4])
    assert repeated == f"line 8: article {a}: image {images[4]} at place 100 is at place 5 already; remove it"
    assert changed(7, a, *images[:99]) == [few]
    assert len(changed(7, a)) == 1 and len(problems_of(tmp_path, [], articles, images)) == 120


# From vectors to a run


def ranked_by(scores: np.ndarray, articles: list[str], here: list[str], every: list[str], **options):
    """The ranking by given similarities (n, m): the dot products of unit vectors with the scores' columns."""
    return task.rank_for_task(
        np.eye(len(scores)), np.asarray(scores).T, articles, here, every, measure="dot", **options
    )


@pytest.mark.parametrize("measure", ["cosine", "dot"])
def test_ranks_are_those_of_a_slow_sort_and_of_top_items(measure):
    rng = np.random.default_rng(0)
    queries, items = np.round(rng.normal(size=(6, 2)), 1), np.round(rng.normal(size=(80, 2)))
    items[items.any(axis=1) == 0] = 1.0
    ids = [str(n) for n in rng.permutation(80) + 60]  # "100" sorts before "99"
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(items, axis=1)
    scores = queries @ items.T / (lengths if measure == "cosine" else 1)
    articles = list("abcdef")
    ranked = task.rank_for_task(queries, items, articles, ids, ids, measure=measure, depth=30)
    assert list(ranked) == articles
    for row, article in enumerate(articles):
        order = sorted(range(80), key=lambda i: (-round(scores[row, i], 8), ids[i]))
        assert ranked[article] == tuple(ids[i] for i in order[:30])
    assert len(np.unique(np.round(scores[0], 8))) < 60, "there are ties"
    positions, _ = top_items(queries, items, ids, k=30, measure=measure)
    assert [tuple(ids[i] for i in row) for row in positions] == list(ranked.values())

    shuffle = rng.permutation(80)
    shuffled = [ids[i] for i in shuffle]
    again = task.rank_for_task(queries, items[shuffle], articles, shuffled, ids, measure=measure, depth=30)
    assert again == ranked


def test_products_of_long_vectors_are_equal_within_their_size():
    """They round by more than 1e-9: images that differ by less than that of them stand in the order of their ids."""
    text, image = np.array([[1e4, 0.0]]), np.array([[1e4, 0.0], [1e4 + 1e-6, 0.0], [1e4 + 1e-3, 0.0]])
    ids = ["11", "12", "13"]
    ranked = task.rank_for_task(text, image, ["a"], ids, ids, measure="dot")
    assert ranked["a"] == ("13", "11", "12")
    assert [ids[i] for i in top_items(text, image, ids, k=3, measure="dot")[0][0]] == list(ranked["a"])


def test_images_that_are_not_here_follow_in_file_order_only_where_they_are_needed():
    scores = np.array([[0.1, 0.9, 0.5]])
    every = ["14", "11", "15", "12", "13", "16"]
    assert ranked_by(scores, ["a"], ["11", "12", "13"], every, depth=5)["a"] == (
        *("12", "13", "11"),
        *("14", "15"),
    )
    assert ranked_by(scores, ["a"], ["11", "12", "13"], every, depth=2)["a"] == ("12", "13")
    assert len(ranked_by(scores, ["a"], ["11", "12", "13"], every)["a"]) == 6


@pytest.mark.parametrize(
    ("scores", "ids", "every", "told"),
    [
        ([[1.0, 2.0]], ["1"], ["1"], "1 item id for 2 rows"),
        ([[1.0, 2.0]], ["1", "1"], ["1"], "item id '1' occurs more than once"),
        ([[1.0, 2.0]], ["1", "2"], ["1", "2", "1"], "task image id '1' occurs more than once"),
        ([[1.0, 2.0]], ["1", "2"], ["1", "3"], "'2' is not one of the task's 2 images"),
        ([[1.0, np.nan]], ["1", "2"], ["1", "2"], "NaN or infinity in 1 of 2 rows"),
        ([[1.0], [2.0]], ["1"], ["1"], "1 article id for 2 rows"),
        (np.empty((1, 0)), [], ["1"], "at least one row"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(scores, ids, every, told):
    with pytest.raises(DataError, match=re.escape(told)):
        ranked_by(scores, ["a"], ids, every)


def test_a_depth_below_one_is_refused():
    with pytest.raises(ConfigError, match="depth=0"):
        ranked_by(np.ones((1, 1)), ["a"], ["1"], ["1"], depth=0)
    with pytest.raises(DataError, match="article id 'a' occurs more than once"):
        ranked_by(np.ones((2, 1)), ["a", "a"], ["1"], ["1"])


# Commands


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command(name="check-run")(commands.check_run_file)
    app.command(name="evaluate")(commands.evaluate_run_file)
    return app


def put_files(folder: Path, articles: list[str], images: list[str], truth: dict[str, str]) -> Path:
    """The task's files with no development row but one."""

    def write(name: str, *rows: list[str]) -> None:
        (folder / name).write_text("".join("\t".join(row) + "\r\n" for row in rows), newline="")

    header = ["article", "aid", "url", "img", "iid", "hashvalue", "title", "text", "imgFile"]
    for batch in (1, 2, 3):
        write(f"content2019-0{batch}.tsv", header, [str(batch), *"auv", str(batch), *"htxf"])
    write(
        "MediaEvalNewsImagesBatch04articles.tsv",
        ["articleID", "url", "title", "text"],
        *([id, "u", "t", "x"] for id in articles),
    )
    write(
        "MediaEvalNewsImagesBatch04images.tsv",
        ["img", "iid", "imgFile"],
        *(["u", iid, f"{iid}.jpg"] for iid in images),
    )
    write("content2019-04-gt.tsv", header, *([id, *"aui", iid, *"htxf"] for id, iid in truth.items()))
    return folder


def test_commands_check_and_score(app, tmp_path, capsys):
    truth, articles, images = task_of(150)
    put_files(tmp_path, articles, images, truth)
    # 90 of the 151 images are here: the runs are filled up with the others.
    scores = np.random.default_rng(2).normal(size=(150, 90))
    ranking = ranked_by(scores, articles, images[:90], images)
    run, ground_truth = tmp_path / "run.tsv", tmp_path / "content2019-04-gt.tsv"
    run_files.write_run(run, ranking)
    done = CliRunner().invoke(app, ["check-run", str(run), "--folder", str(tmp_path)])
    assert done.exit_code == 0 and "a valid run, 150 articles" in done.stdout, done.output

    printed = CliRunner().invoke(app, ["evaluate", str(run), str(ground_truth), "--json"])
    expected = slow_score(run, truth)
    assert json.loads(printed.stdout) == pytest.approx(expected | {"n_articles": 150, "n_in_run": 150})
    printed = CliRunner().invoke(app, ["evaluate", str(run), str(ground_truth)])
    values = {line[:20].strip(): line[20:].strip() for line in printed.stdout.splitlines()}
    assert values["articles"] == "150, 150 of them in the run"
    assert values["correct in top 100"] == str(expected["correct_100"])
    assert values["MRR@100"] == f"{expected['mrr_100']:.5f}"
    assert values["Recall@50"] == f"{expected['recall_50']:.5f}" and len(values) == 8

    lines = run.read_text().splitlines()
    run.write_text("\n".join(lines[30:]) + "\n")
    with pytest.raises(DataError) as error:
        commands.check_run_file(run, tmp_path)
    assert str(error.value) == f"{run}: 30 problems, the first 20 above"
    told = capsys.readouterr().err.splitlines()
    assert told == [f"article {id} has no line; add one" for id in articles[:20]]
    odd = tmp_path / "odd.tsv"
    odd.write_bytes(b"\x1b]0;own\x071\t2\n")
    with pytest.raises(DataError):
        commands.check_run_file(odd, tmp_path)
    told = capsys.readouterr().err
    assert told.startswith(r"line 1: article \x1b]0;own\x071 is not one") and "\x1b" not in told
    scored = CliRunner().invoke(app, ["evaluate", str(run), str(ground_truth), "--json"])
    assert json.loads(scored.stdout)["mrr_100"] == pytest.approx(slow_score(run, truth)["mrr_100"])
    assert json.loads(scored.stdout)["n_in_run"] == 120


@pytest.mark.data
def test_a_run_of_the_real_files_is_valid_and_scored(tmp_path):
    try:
        data = newsimages.read()
    except MissingError as error:
        pytest.skip(str(error))
    articles = [article.id for article in data.test_articles]
    images = [picture.iid for picture in data.test_images]
    rng = np.random.default_rng(0)
    own = rng.permutation(len(images))
    truth = {newsimages.scrambled_to_truth(id): images[i] for id, i in zip(articles, own, strict=True)}
    scores = rng.normal(size=(len(articles), len(images)))
    scores[np.arange(len(articles)), own] += 2.5
    here = rng.permutation(len(images))[:1700]
    ranking = ranked_by(scores[:, here], articles, [images[i] for i in here], images)
    path = tmp_path / "run.tsv"
    run_files.write_run(path, ranking)
    run = run_files.read_run(path)
    assert run_files.check_run(run, articles, images) == []
    score = task.evaluate(run, truth)
    assert score.n_articles == score.n_in_run == 1915
    assert score.figures == pytest.approx(slow_score(path, truth))
    # The rank from the definition: one more than the images here with a larger similarity.
    present = np.isin(own, here)
    larger = (scores[:, here] > scores[np.arange(len(articles)), own][:, None]).sum(axis=1)
    assert score.figures["correct_100"] == (present & (larger < 100)).sum()
