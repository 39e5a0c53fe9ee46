"""What `fuzz.py` fuzzes: each reader with files to start from, and what must hold of whatever it is given."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtm.errors import VtmError


@dataclass(frozen=True)
class Reader:
    """`read` raises for a finding: an error that is not vtm's, or an answer that cannot be right."""

    seeds: Sequence[bytes]
    read: Callable[[bytes], None]


def attempt(function: Callable[[], Any]) -> Any:
    """The function's answer; None where it refuses as vtm does, in one line."""
    try:
        return function()
    except VtmError as error:
        assert "\n" not in str(error) and str(error).strip(), f"message {str(error)!r}"
        return None


ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 1.5, -0.0, 1e400, float("nan"), 10**30, 2**63, 1000),
    *("", "x", "1", "\0", "\ud800", "NaN", [], {}, [[]], [None], ["x", "x"], [1, 2], {"x": 1}, "prodLDA"),
)


def edited(seed: Any, data: bytes) -> bytes:
    """JSON like the seed, but for some of its values: replaced, removed, doubled, or moved, as the bytes say."""
    root = {"": json.loads(json.dumps(seed))}
    choices = iter(data)
    for _ in range(1 + next(choices, 0) % 4):
        holder, key = root, ""
        while isinstance(inner := holder[key], dict | list) and inner and next(choices, 0) % 4:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            holder, key = inner, keys[next(choices, 0) % len(keys)]
        action = next(choices, 0) % 8
        if action == 0 and holder is not root:
            del holder[key]
        elif action == 1 and isinstance(holder[key], list):
            holder[key] = [*holder[key], *holder[key]]
        elif action == 2 and isinstance(holder[key], dict):
            holder[key]["unknown"] = 1
        elif action == 3:
            holder[key] = {"inside": holder[key]} if next(choices, 0) % 2 else [holder[key]]
        else:
            holder[key] = copy.deepcopy(ODD_VALUES[next(choices, 0) % len(ODD_VALUES)])
    return json.dumps(root[""]).encode()


def _json_reader(path: Path, seed: Any, check: Callable[[], Any], *, sealed: bool = False) -> Reader:
    """Most inputs are edits of the seed, the others are the file's bytes; edits are sealed where the file is."""
    from vtm.files import write_sealed

    def read(data: bytes) -> None:
        if data[:1] >= b"\xc0":
            path.write_bytes(data[1:])
        elif data[:1] >= b"\x60" and sealed and isinstance(value := json.loads(edited(seed, data[1:])), dict):
            try:
                write_sealed(path, value)
            except UnicodeEncodeError:  # half a surrogate pair: no file is sealed with that
                return
        else:
            path.write_bytes(edited(seed, data[1:]))
        check()

    text = json.dumps(seed).encode()
    edits = [bytes([mode, n, 3, n, 7 * n % 251, 5, n, n]) for n in range(12) for mode in (0, 0x60)]
    return Reader([b"\x00", *edits, b"\xff" + text], read)


def newsimages_tsv(folder: Path) -> Reader:
    from vtm.corpora.newsimages_tsv import read_tsv

    path = folder / "content.tsv"
    header = b"article\taid\turl\timg\tiid\thashvalue\ttitle\ttext\timgFile\r\n"
    rows = b'500\t1\thttp://x\thttp://x/a.jpg\t10\th\tEin "Titel"\t"Zwei ""W\xc3\xb6rter"""\th.jpg\r\n'

    def read(data: bytes) -> None:
        path.write_bytes(data)
        table = attempt(lambda: read_tsv(path, ("article", "iid", "title", "text")))
        if table is not None and attempt(lambda: list(table.unique(("article", "iid"), {}))) is not None:
            summary = table.summary()
            assert summary.n_rows == summary.n_items + sum(odd.dropped for odd in table.odd)

    return Reader(
        [header + rows, header + rows + rows.replace(b"\xc3\xb6", b"\xf6"), header, b"\xef\xbb\xbf" + header],
        read,
    )


def ground_truth(folder: Path) -> Reader:
    from vtm.corpora.newsimages_tsv import read_ground_truth

    path = folder / "gt.tsv"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        truth = attempt(lambda: read_ground_truth(path))
        assert truth is None or all(id.isascii() and id.isdigit() for pair in truth.items() for id in pair)

    return Reader([b"article\tiid\n500\t10\n501\t11\n", b"iid\tarticle\r\n10\t500\r\n\r\n"], read)


def run_file(folder: Path) -> Reader:
    from vtm.task import check_run, evaluate, read_run

    path = folder / "run.tsv"
    truth = {"526000026": "10", "526000027": "11"}
    articles = ["1000265260", "1000275260"]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        run = attempt(lambda: read_run(path))
        if run is None:
            return
        problems = check_run(run, articles, ["10", "11", "12"], depth=2)
        score = attempt(lambda: evaluate(run, truth))
        assert all("\n" not in problem for problem in problems)
        if score is not None:
            assert 0 <= score.n_in_run <= score.n_articles == 2
            assert all(np.isfinite(value) and 0 <= value <= 2 for value in score.figures.values())
        if not problems:
            assert score is not None and score.n_in_run == 2

    return Reader(
        [b"1000265260\t10\t11\n1000275260\t11\t12\n", b"article\timages\n526000026\t10\t 12 \n"], read
    )


def _table(folder: Path, name: str, seeds: Sequence[bytes]) -> Reader:
    from vtm.corpora import load_corpus
    from vtm.corpora.rows import read_rows

    for picture in ("a.png", "b.png"):
        (folder / picture).write_bytes(b"not read here")
    path = folder / name

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for options in ({}, {"id_column": "id"}):
            corpus = attempt(lambda options=options: load_corpus(path, **options))
            if corpus is not None:
                n = sum(1 for _ in read_rows(path, None)[1])
                assert len(corpus) + len(corpus.dropped) == n, (
                    f"{len(corpus)}, {corpus.drop_counts()}, {n} rows"
                )
                assert all(text.strip() for text in (*corpus.texts, *corpus.ids))
                assert len(corpus.fingerprint) == 64

    return Reader(seeds, read)


def table_csv(folder: Path) -> Reader:
    seeds = [b'image,text,id\na.png,"A red, round hat",1\nb.png,two,2\n', "text;image\nHüte;a.png\n".encode()]
    return _table(folder, "t.csv", [*seeds, b"\xef\xbb\xbfimage,text\nb.png,\nc.png,x\n../a.png,x\n"])


def table_tsv(folder: Path) -> Reader:
    return _table(folder, "t.tsv", [b"path\tcaption\tid\na.png\tred hat\t1\nb.png\tNaN\t2\n"])


def table_jsonl(folder: Path) -> Reader:
    line = b'{"file_name": "a.png", "text": "red hat", "id": 1}\n'
    return _table(
        folder, "t.jsonl", [line, line + b'{"file_name": "b.png", "text": null}\n', b'{"text": "\\ud800"}']
    )


def table_parquet(folder: Path) -> Reader:
    import pyarrow
    import pyarrow.parquet

    seeds = []
    for compression in ("none", "snappy"):
        stream = io.BytesIO()
        rows = pyarrow.table({"image": ["a.png", "b.png"], "text": ["red", None], "id": [1, 2]})
        pyarrow.parquet.write_table(rows, stream, compression=compression)
        seeds.append(stream.getvalue())
    return _table(folder, "t.parquet", seeds)


def _small_model(folder: Path) -> tuple[Path, Path]:
    from vtm.config import ModelConfig
    from vtm.model import TopicNetwork
    from vtm.topicmodel import TopicModel

    network = TopicNetwork(
        n_inputs=3, n_topics=2, n_words=2, config=ModelConfig(hidden=(2,), epochs=1)
    ).eval()
    TopicModel(network, ("cat", "dog"), 0, "text", {"kl": [1.0]}).save(folder / "text", kind="joint")
    return folder / "text.safetensors", folder / "text.json"


def _use_model(folder: Path) -> None:
    from vtm.topicmodel import TopicModel

    model = attempt(lambda: TopicModel.load(folder / "text"))
    if model is None:
        return
    x = np.linspace(-1, 1, 2 * model.network.n_inputs, dtype=np.float32).reshape(2, -1)
    theta = attempt(lambda: model.theta(x, n_samples=2))
    if theta is not None and np.isfinite(theta).all():
        np.testing.assert_allclose(theta.sum(axis=1), 1, atol=1e-5)
    attempt(lambda: model.topics(2))


def model_json(folder: Path) -> Reader:
    _, description = _small_model(folder)
    seed = json.loads(description.read_text(encoding="utf-8"))
    seed.pop("seal")
    return _json_reader(description, seed, lambda: _use_model(folder), sealed=True)


def model_weights(folder: Path) -> Reader:
    """The weights' own format: the description always names the hash of what is there."""
    from vtm.files import hash_file, read_sealed, write_sealed

    weights, description = _small_model(folder)
    about = read_sealed(description)

    def read(data: bytes) -> None:
        weights.write_bytes(data)
        write_sealed(description, about | {"weights_sha256": hash_file(weights)})
        _use_model(folder)

    return Reader([weights.read_bytes()], read)


def _small_result(folder: Path) -> tuple[Path, Path]:
    from vtm.results import Result

    theta = np.full((2, 3), 1 / 3, dtype=np.float32)
    arrays = {f"{part}_{reads}": theta for part in ("validation", "test") for reads in ("text", "image")}
    ids = {"validation": ["a", "b"], "test": ["c", "d"]}
    Result("joint", 3, 0, "cosine", "ok", (), ids, arrays, {"text": [["cat"]]}, {"seconds": 1.0}).save(
        folder, "k"
    )
    return folder / "result.safetensors", folder / "result.json"


def _use_result(folder: Path) -> None:
    from vtm.results import Result

    result = attempt(lambda: Result.load(folder, "k"))
    if result is not None:
        ranks = attempt(result.ranks)
        assert ranks is None or (ranks >= 1).all()


def result_json(folder: Path) -> Reader:
    _, description = _small_result(folder)
    seed = json.loads(description.read_text(encoding="utf-8"))
    seed.pop("seal")
    return _json_reader(description, seed, lambda: _use_result(folder), sealed=True)


def result_arrays(folder: Path) -> Reader:
    from vtm.files import hash_file, read_sealed, write_sealed

    arrays, description = _small_result(folder)
    about = read_sealed(description)

    def read(data: bytes) -> None:
        arrays.write_bytes(data)
        write_sealed(description, about | {"arrays_sha256": hash_file(arrays)})
        _use_result(folder)

    return Reader([arrays.read_bytes()], read)


class _TwoNumbers:
    """An encoder of texts to their length and their first character."""

    key, dim = "fuzz", 2

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[len(text), ord(text[:1] or "\0")] for text in texts], dtype=np.float32)


def cache_shard(folder: Path) -> Reader:
    """Whatever a shard of the embedding cache holds, the embeddings are right."""
    from vtm.encoders.cache import embed_texts

    encoder, cache = _TwoNumbers(), folder / "cache"
    texts = ["cat", "tiger"]
    right = encoder.encode(texts)
    embed_texts(encoder, texts, cache=cache, progress=False)
    (shard,) = cache.glob("*/*.safetensors")
    seed = shard.read_bytes()

    def read(data: bytes) -> None:
        for path in shard.parent.iterdir():
            path.unlink()
        shard.write_bytes(data)
        np.testing.assert_array_equal(embed_texts(encoder, texts, cache=cache, progress=False), right)

    return Reader([seed], read)


def clip_folder(folder: Path) -> Reader:
    from vtm.encoders.clip_checkpoint import CONFIG, WEIGHTS, read_folder

    (folder / WEIGHTS).write_bytes(b"not read here")
    seed = {
        "model_cfg": {"embed_dim": 4, "vision_cfg": {"image_size": 8}, "text_cfg": {"vocab_size": 9}},
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    }
    return _json_reader(folder / CONFIG, seed, lambda: attempt(lambda: read_folder(folder, name="fuzz")))


def xmp(folder: Path) -> Reader:
    from vtm.xmp import add_keywords, read_keywords

    seed = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>sea</rdf:li></rdf:Bag>
</dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"""

    def read(data: bytes) -> None:
        before = attempt(lambda: read_keywords(data))
        after = attempt(lambda: add_keywords(data, ["beach & sun"]))
        if after is not None:
            assert before is not None
            assert {*before.get("subject", ()), "beach & sun"} == set(read_keywords(after)["subject"])

    return Reader([seed], read)


def svg(folder: Path) -> Reader:
    from vtm.corpora.svg_text import read_metadata

    seed = b"""<?xml version="1.0" encoding="UTF-8"?><svg><metadata><rdf:RDF
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"
xmlns:cc="http://web.resource.org/cc/"><cc:Work rdf:about=""><dc:title>Hat</dc:title><dc:description>A red hat
</dc:description><dc:subject><rdf:Bag><rdf:li>hat</rdf:li></rdf:Bag></dc:subject></cc:Work></rdf:RDF></metadata></svg>"""
    return Reader([seed], lambda data: attempt(lambda: read_metadata(data)))


def picture(folder: Path) -> Reader:
    from PIL import Image

    from vtm.pictures import FORMATS, PictureError, open_picture

    path = folder / "picture"
    seeds = []
    for format in sorted(set(FORMATS) & set(Image.SAVE)):
        stream = io.BytesIO()
        Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(stream, format)
        seeds.append(stream.getvalue())

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            opened = open_picture(path, size=16, max_pixels=1_000_000)
        except PictureError as error:
            assert "\n" not in str(error) and error.reason in ("unreadable", "too-large"), str(error)
        else:
            assert opened.mode == "RGB" and opened.size == (16, 16)

    return Reader(seeds, read)


READERS: dict[str, Callable[[Path], Reader]] = {
    "newsimages-tsv": newsimages_tsv,
    "ground-truth": ground_truth,
    "run-file": run_file,
    "table-csv": table_csv,
    "table-tsv": table_tsv,
    "table-jsonl": table_jsonl,
    "table-parquet": table_parquet,
    "model-json": model_json,
    "model-weights": model_weights,
    "result-json": result_json,
    "result-arrays": result_arrays,
    "cache-shard": cache_shard,
    "clip-folder": clip_folder,
    "xmp": xmp,
    "svg": svg,
    "picture": picture,
}
