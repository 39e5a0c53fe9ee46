"""A NewsImages in miniature: the package's own scenes under the names, columns and encodings of the task's files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from vtm.corpora import load_corpus

HEADER = ["article", "aid", "url", "img", "iid", "hashvalue", "title", "text", "imgFile"]
TEST_HEADER = ["articleID", "aid", "url", "", "", "hashvalue", "title", "text"]


@dataclass(frozen=True)
class MiniNews:
    """Folder of the files, and the test batch's answers: scrambled article id -> iid."""

    folder: Path
    answers: dict[str, str]
    ground_truth: Path


def scrambled(id: str) -> str:
    return "1" + id[4:9] + id[:4]


def write_news(
    folder: Path, *, n: int = 160, n_test: int = 40, pictures: bool = True, truth: bool = True
) -> MiniNews:
    """n pairs, the last `n_test` of them as the test batch, with one test picture that no article has."""
    corpus = load_corpus("scenes", n=n + 1, seed=0)
    folder.mkdir(parents=True, exist_ok=True)
    where = folder / "pictures"
    where.mkdir(exist_ok=True)
    rows = []
    for i, (text, image) in enumerate(zip(corpus.texts, corpus.images, strict=True)):
        title, _, rest = text.partition(" ")
        row = [str(500000000 + i), str(i), f"https://news.example/{i}", f"https://news.example/{i}.png"]
        rows.append([*row, str(10000 + i), f"h{i}", title, rest, f"h{i}.png"])
        if pictures:
            shutil.copyfile(image, where / f"h{i}.png")
    rows, extra = rows[:-1], rows[-1]
    n_development = len(rows) - n_test
    development, test = rows[:n_development], rows[n_development:]

    def write(name: str, header: list[str], lines: list[list[str]], encoding: str = "utf-8") -> Path:
        path = folder / name
        path.write_bytes("".join("\t".join(line) + "\r\n" for line in [header, *lines]).encode(encoding))
        return path

    third = n_development // 3
    for batch, start in enumerate((0, third, 2 * third), start=1):
        stop = start + third if batch < 3 else n_development
        write(f"content2019-0{batch}.tsv", HEADER, development[start:stop])
    write(
        "MediaEvalNewsImagesBatch04articles.tsv",
        TEST_HEADER,
        [[scrambled(row[0]), "", row[2], "", "", row[5], row[6], row[7]] for row in test],
        "cp1252",
    )
    images = sorted([*test, extra], key=lambda row: row[5])
    write(
        "MediaEvalNewsImagesBatch04images.tsv",
        ["img", "iid", "imgFile"],
        [[r[3], r[4], r[8]] for r in images],
    )
    path = folder / "content2019-04-gt.tsv"
    if truth:
        write(path.name, HEADER, test)
    return MiniNews(folder, {scrambled(row[0]): row[4] for row in test}, path)
