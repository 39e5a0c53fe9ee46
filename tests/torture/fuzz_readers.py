"""What `fuzz.py` fuzzes: the readers of what users and owners of data bring, and those of the modules beside."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import fuzz_artifacts
import fuzz_folders
import numpy as np
from fuzz_base import Reader, attempt


def newsimages_tsv(folder: Path) -> Reader:
    from vtm.newsimages.corpus import read_tsv

    path = folder / "content.tsv"
    header = b"article\taid\turl\timg\tiid\thashvalue\ttitle\ttext\timgFile\r\n"
    rows = b'500\t1\thttp://x\thttp://x/a.jpg\t10\th\tEin "Titel"\t"Zwei ""W\xc3\xb6rter"""\th.jpg\r\n'

    def read(data: bytes) -> None:
        path.write_bytes(data)
        found = attempt(lambda: read_tsv(path, ("title", "text"), ids=("article", "iid")))
        if found is not None:
            rows, about, odd = found
            assert about.n_items == len(rows) == about.n_rows - sum(each.dropped for each in odd)

    return Reader(
        [header + rows, header + rows + rows.replace(b"\xc3\xb6", b"\xf6"), header, b"\xef\xbb\xbf" + header],
        read,
    )


def ground_truth(folder: Path) -> Reader:
    from vtm.newsimages.corpus import read_ground_truth

    path = folder / "gt.tsv"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        truth = attempt(lambda: read_ground_truth(path))
        assert truth is None or all(id.isascii() and id.isdigit() for pair in truth.items() for id in pair)

    return Reader([b"article\tiid\n500\t10\n501\t11\n", b"iid\tarticle\r\n10\t500\r\n\r\n"], read)


def run_file(folder: Path) -> Reader:
    from vtm.newsimages.task import check_run, evaluate, read_run

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
    from vtm.corpora.table import read_rows

    for picture in ("a.png", "b.png"):
        (folder / picture).write_bytes(b"not read here")
    path = folder / name

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for options in ({}, {"id_column": "id"}):
            corpus = attempt(lambda options=options: load_corpus(path, **options))
            if corpus is not None:
                # A column that the corpus does not use may be damaged.
                n = attempt(lambda: sum(1 for _ in read_rows(path, None)[1]()))
                told = len(corpus) + len(corpus.dropped)
                # Rows of one picture are captions of it, and the corpus says that there are such.
                joined = n is not None and told < n and "several captions" in corpus.source
                assert n in (None, told) or joined, f"{len(corpus)}, {corpus.drop_counts()}, {n} rows"
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


def xmp(folder: Path) -> Reader:
    from vtm.corpora.keywords import read_keywords, replace_keywords

    seed = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>sea</rdf:li></rdf:Bag>
</dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"""

    def read(data: bytes) -> None:
        before = attempt(lambda: read_keywords(data))
        after = attempt(lambda: replace_keywords(data, ["beach & sun"]))
        if after is not None:
            assert before is not None
            assert {*before.get("subject", ()), "beach & sun"} == set(read_keywords(after)["subject"])
            # What may be vtm's own goes; without it, all bytes come back.
            assert b"vtm" in data or replace_keywords(after, []) == data

    return Reader([seed], read)


def svg(folder: Path) -> Reader:
    from vtm.corpora.openclipart import read_metadata

    seed = b"""<?xml version="1.0" encoding="UTF-8"?><svg><metadata><rdf:RDF
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"
xmlns:cc="http://web.resource.org/cc/"><cc:Work rdf:about=""><dc:title>Hat</dc:title><dc:description>A red hat
</dc:description><dc:subject><rdf:Bag><rdf:li>hat</rdf:li></rdf:Bag></dc:subject></cc:Work></rdf:RDF></metadata></svg>"""
    return Reader([seed], lambda data: attempt(lambda: read_metadata(data)))


def picture(folder: Path) -> Reader:
    from PIL import Image

    from vtm.corpora.pictures import FORMATS, PictureError, open_picture

    path = folder / "picture"
    Image.init()  # without it Pillow knows no format yet that it writes
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


def picture_xmp(_: Path) -> Reader:
    """A picture that keywords are written into: it decodes to the same picture, or is refused."""
    from PIL import Image

    from vtm.corpora.keywords import read_xmp, with_xmp

    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    seeds = []
    for format in ("JPEG", "PNG"):
        stream = io.BytesIO()
        Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(stream, format)
        seeds += [stream.getvalue(), with_xmp(stream.getvalue(), xmp)]

    def pixels(data: bytes) -> bytes | None:
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as opened:
                return opened.tobytes() if opened.width * opened.height <= 10**6 else None
        except Exception:  # whatever Pillow makes of a damaged picture
            return None

    def read(data: bytes) -> None:
        old = attempt(lambda: read_xmp(data))
        written = attempt(lambda: with_xmp(data, xmp))
        assert old is None or written is not None
        if written is None:
            return
        assert read_xmp(written) == xmp and with_xmp(written, xmp) == written
        assert old is None or with_xmp(written, old) == data
        assert pixels(written) == pixels(data)

    return Reader(seeds, read)


def experiment_spec(folder: Path) -> Reader:
    """A corpus and an encoder as they are written in a notebook's parameters."""
    from vtm.config import from_parameters
    from vtm.corpora import load_corpus

    (folder / "a.png").write_bytes(b"not read here")
    (folder / "t.csv").write_text("image,text,007,7\na.png,hat,x,y\n", encoding="utf-8")

    def read(data: bytes) -> None:
        options = data.decode("utf-8", "replace").replace("\0", "")
        experiment = attempt(lambda: from_parameters({"corpus": f"{folder / 't.csv'}:{options}"}))
        if experiment is not None and experiment.corpus_name.endswith("t.csv"):
            attempt(lambda: load_corpus(experiment.corpus_name, **experiment.corpus_options))
        attempt(lambda: from_parameters({"encoder": f"offline:{options}"}))

    seeds = ("text_column=007", "text_column=7,lang=de", "id_column=text,encoding=1252", "image_size=0112")
    return Reader([seed.encode() for seed in seeds], read)


READERS: dict[str, Callable[[Path], Reader]] = {
    "newsimages-tsv": newsimages_tsv,
    "ground-truth": ground_truth,
    "run-file": run_file,
    "table-csv": table_csv,
    "table-tsv": table_tsv,
    "table-jsonl": table_jsonl,
    "table-parquet": table_parquet,
    "experiment-spec": experiment_spec,
    "xmp": xmp,
    "svg": svg,
    "picture": picture,
    "picture-xmp": picture_xmp,
    **fuzz_artifacts.READERS,
    **fuzz_folders.READERS,
}
