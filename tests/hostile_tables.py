"""Bad tables, texts and embeddings: each ends in one clear line that names the thing, or in the right result."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vtm.corpora import load_corpus
from vtm.errors import VtmError

TEN_MEGABYTES = 10_000_000


@dataclass(frozen=True)
class Table:
    """A table beside the pictures a.png, b.png, c.png: the rows that are kept, or the words of the refusal."""

    name: str
    kind: str
    content: bytes
    file: str = "t.csv"
    options: Mapping[str, Any] = field(default_factory=dict)
    kept: Sequence[tuple[str, str]] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    refused: Sequence[str] = ()


def lines(*rows: str, encoding: str = "utf-8") -> bytes:
    return ("\n".join(rows) + "\n").encode(encoding)


def parquet(columns: Mapping[str, Sequence[Any]]) -> bytes:
    import io

    import pyarrow
    import pyarrow.parquet

    stream = io.BytesIO()
    arrays = [pyarrow.array(values) for values in columns.values()]
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, names=[n.strip() for n in columns]), stream)
    return stream.getvalue()


def write_pictures(folder: Path) -> None:
    for row, name in enumerate(("a.png", "b.png", "c.png")):
        Image.new("RGB", (8, 8), (40 * row, 0, 0)).save(folder / name)


def check_table(case: Table, folder: Path) -> str:
    """Read the case's table; "refused" or "read", as it should be. Anything else is an AssertionError."""
    write_pictures(folder)
    path = folder / case.file
    path.write_bytes(case.content)
    try:
        corpus = load_corpus(path, **case.options)
    except VtmError as error:
        message = str(error)
        assert case.refused, f"{case.name}: {message}"
        assert len(message.splitlines()) == 1, f"{case.name}: {message!r}"
        assert all(word in message for word in case.refused), f"{case.name}: {message}"
        return "refused"
    assert not case.refused, f"{case.name}: read, although it must be refused"
    assert list(zip(corpus.ids, corpus.texts, strict=True)) == list(case.kept), case.name
    assert corpus.drop_counts() == dict(case.dropped), case.name
    return "read"


def _jsonl(*rows: Any) -> bytes:
    return lines(*(json.dumps(row) for row in rows))


A, B, C = ("a.png", "hat"), ("b.png", "coat"), ("c.png", "shoe")
LONG = "word " * (TEN_MEGABYTES // 5)
HEBREW, ARABIC, DEVANAGARI = "שלום עולם", "مرحبا بالعالم", "हिन्दी"

TABLES: tuple[Table, ...] = (
    # Ids
    Table("picture named twice", "duplicate ids", lines("image,text", "a.png,hat", "a.png,coat"),
          kept=[("a.png", "hat. coat.")]),
    Table("picture named in two ways", "duplicate ids", lines("image,text", "a.png,hat", "./a.png,coat"),
          kept=[("a.png", "hat. coat.")]),
    Table("id twice", "duplicate ids", lines("id,image,text", "1,a.png,hat", "1,b.png,coat"),
          options={"id_column": "id"}, refused=("row 2", "row 3", "'1'", "id_column")),
    Table("id twice, one dropped", "duplicate ids", lines("id,image,text", "1,none.png,hat", "1,b.png,coat"),
          options={"id_column": "id"}, kept=[("1", "coat")], dropped={"missing-picture": 1}),
    Table("ids that differ in space", "duplicate ids", lines("id,image,text", "1,a.png,hat", " 1 ,b.png,coat"),
          options={"id_column": "id"}, refused=("row 2", "row 3")),
    Table("no id", "missing values", lines("id,image,text", "1,a.png,hat", ",b.png,coat"),
          options={"id_column": "id"}, refused=("row 3", "id_column")),
    # Columns
    Table("no text column", "missing columns", lines("image,words", "a.png,hat"), refused=("t.csv", "image, words")),
    Table("no image column", "missing columns", lines("what,text", "a.png,hat"), refused=("image_column",)),
    Table("named column missing", "missing columns", lines("image,text", "a.png,hat"),
          options={"text_column": "title"}, refused=("title", "image, text")),
    Table("header alone", "missing columns", lines("image,text"), refused=("no usable pair",)),
    Table("no header", "missing columns", lines("a.png,hat", "b.png,coat"), refused=("a.png, hat",)),
    Table("empty file", "missing columns", b"", refused=("empty",)),
    Table("blank lines alone", "missing columns", b"\n\n  \n", refused=("empty",)),
    Table("line break in a column's name", "missing columns", lines('image,"te\nxt"', "a.png,hat"),
          refused=("te xt", "text_column")),
    Table("two columns of a name", "duplicate columns", lines("image,text,text", "a.png,hat,coat"),
          refused=("'text'", "rename")),
    Table("two columns of a name in Parquet", "duplicate columns",
          parquet({"image": ["a.png"], "text": ["hat"], "text ": ["coat"]}), "t.parquet", refused=("'text'", "rename")),
    Table("a name twice in a JSON object", "duplicate columns", b'{"image": "a.png", "text": "hat", "text": "coat"}',
          "t.jsonl", refused=("row 1", "'text'")),
    Table("column named by digits", "digits", lines("image,2019", "a.png,hat"), options={"text_column": 2019},
          kept=[A]),
    Table("all columns named by digits", "digits", lines("1,2,3,4", "a.png,hat,7,8"),
          options={"image_column": 1, "text_column": 2, "id_column": 3, "group_column": 4}, kept=[("7", "hat")]),
    Table("encoding of digits", "digits", lines("image,text", "a.png,Hüte", encoding="cp1252"),
          options={"encoding": 1252}, kept=[("a.png", "Hüte")]),
    # Values
    Table("too few fields", "ragged rows", lines("image,text", "a.png,hat", "b.png"), refused=("row 3", "1 fields")),
    Table("too many fields", "ragged rows", lines("image,text", "a.png,hat, red"), refused=("row 2", "3 fields")),
    Table("open quote", "ragged rows", lines("image,text", 'a.png,"hat', "b.png,coat"), refused=("row 2", "quote")),
    Table("NaN in CSV", "NaN", lines("image,text", "a.png,hat", "b.png,NaN", "c.png,nan", "nan,x"),
          kept=[A], dropped={"empty-text": 2, "missing-picture": 1}),
    Table("NaN in JSON", "NaN", b'{"image": "a.png", "text": "hat"}\n{"image": "b.png", "text": NaN}\n', "t.jsonl",
          kept=[A], dropped={"empty-text": 1}),
    Table("NaN in Parquet", "NaN", parquet({"image": ["a.png", "b.png"], "text": [float("nan"), 1.5]}), "t.parquet",
          kept=[("b.png", "1.5")], dropped={"empty-text": 1}),
    Table("no value", "missing values", lines("image,text", "a.png,hat", "b.png,None", "c.png,  ", ",x"),
          kept=[A], dropped={"empty-text": 2, "missing-picture": 1}),
    Table("null in JSON", "missing values", _jsonl({"image": "a.png", "text": None}, {"image": None, "text": "x"},
          {"text": "x"}, {"image": "b.png"}, {"image": "a.png", "text": "hat"}), "t.jsonl", kept=[A],
          dropped={"empty-text": 2, "missing-picture": 2}),
    Table("a list for a text", "other types", _jsonl({"image": "a.png", "text": ["hat"]}), "t.jsonl", kept=[A]),
    Table("a list in a list for a text", "other types", _jsonl({"image": "a.png", "text": [["hat"]]}), "t.jsonl",
          refused=("row 1", "'text'")),
    Table("bytes for a text in Parquet", "other types", parquet({"image": ["a.png"], "text": [b"hat"]}), "t.parquet",
          refused=("row 1", "'text'")),
    Table("numbers for texts", "other types", _jsonl({"image": "a.png", "text": 2019}), "t.jsonl",
          kept=[("a.png", "2019")]),
    Table("a number of 5,000 digits", "other types", b'{"image": "a.png", "text": ' + b"9" * 5000 + b"}", "t.jsonl",
          refused=("row 1", "JSON")),
    Table("100,000 brackets", "other types", b'{"text": ' + b"[" * 100_000, "t.jsonl", refused=("row 1", "JSON")),
    Table("JSON that is no object", "other types", b"[1, 2]\n", "t.jsonl", refused=("row 1", "object")),
    Table("an array over all lines", "other types", b'[\n{"image": "a.png", "text": "hat"}\n]', "t.jsonl",
          refused=("row 1",)),
    Table("paths out of the folder", "paths", lines("image,text", "a.png,hat", "../x.png,x", "/etc/passwd,x"),
          kept=[A], dropped={"outside-folder": 2}),
    Table("a path of 5,000 letters", "paths", lines("image,text", "a.png,hat", "x" * 5000 + ",x"), kept=[A],
          dropped={"missing-picture": 1}),
    Table("a folder for a picture", "paths", lines("image,text", "a.png,hat", ".,x", "/,x"), kept=[A],
          dropped={"missing-picture": 1, "outside-folder": 1}),
    # Sizes
    Table("10 MB in a CSV field", "10 MB fields", lines("image,text", "b.png,coat", f"a.png,{LONG}"),
          kept=[("b.png", "coat"), ("a.png", LONG.strip())]),
    Table("10 MB in a column's name", "10 MB fields", lines(f"image,{LONG}", "a.png,hat"), refused=("text_column", "image")),
    Table("10 MB in a JSON text", "10 MB fields", _jsonl({"image": "a.png", "text": LONG}), "t.jsonl",
          kept=[("a.png", LONG.strip())]),
    Table("10 MB in a Parquet text", "10 MB fields", parquet({"image": ["a.png"], "text": [LONG]}), "t.parquet",
          kept=[("a.png", LONG.strip())]),
    # Bytes and characters
    Table("a null byte in a text", "null bytes", lines("image,text", "a.png,hat", "b.png,co\0at"), kept=[A],
          dropped={"bad-characters": 1}),
    Table("a null byte in a path", "null bytes", lines("image,text", "a.png,hat", "b\0.png,coat"), kept=[A],
          dropped={"bad-characters": 1}),
    Table("a null byte in a column that is not used", "null bytes", lines("image,text,x", "a.png,hat,\0"), kept=[A]),
    Table("a null byte in the header", "null bytes", lines("image,te\0xt", "a.png,hat"), refused=("header", "utf-16-le")),
    Table("null bytes alone", "null bytes", bytes(1000), refused=("t.csv", "null bytes")),
    Table("a null byte in JSON", "null bytes", _jsonl({"image": "a.png", "text": "ha\0t"}, {"image": "b.png", "text": "coat"}),
          "t.jsonl", kept=[B], dropped={"bad-characters": 1}),
    Table("half a surrogate pair", "null bytes", b'{"image": "a.png", "text": "\\ud83d"}\n{"image": "b.png", "text": "coat"}',
          "t.jsonl", kept=[B], dropped={"bad-characters": 1}),
    Table("Windows-1252 as UTF-8", "encodings", lines("image,text", "a.png,Hüte", encoding="cp1252"),
          refused=("not UTF-8", "line 2", "cp1252")),
    Table("UTF-8 and Windows-1252 mixed", "encodings",
          lines("image,text", "a.png,Hüte") + lines("b.png,Mäntel", encoding="cp1252"), refused=("line 3", "encoding=")),
    Table("UTF-16 with its mark", "encodings", lines("image,text", "a.png,Hüte", encoding="utf-16"),
          refused=("not UTF-8", "utf-16")),
    Table("UTF-16 said", "encodings", lines("image,text", "a.png,Hüte", encoding="utf-16"),
          options={"encoding": "utf-16"}, kept=[("a.png", "Hüte")]),
    Table("UTF-16 without a mark", "encodings", lines("image,text", "a.png,hat", encoding="utf-16-le"),
          refused=("utf-16-le",)),
    Table("UTF-8 with a mark", "encodings", lines("image,text", "a.png,Hüte", encoding="utf-8-sig"),
          kept=[("a.png", "Hüte")]),
    Table("an unknown encoding", "encodings", lines("image,text", "a.png,hat"), options={"encoding": "utf-99"},
          refused=("utf-99",)),
    Table("an encoding that is none of text", "encodings", lines("image,text"), options={"encoding": "base64"},
          refused=("base64",)),
    Table("an encoding with a null byte", "encodings", lines("image,text"), options={"encoding": "a\0"},
          refused=("encoding",)),
    Table("an encoding that always fails", "encodings", lines("image,text"), options={"encoding": "undefined"},
          refused=("undefined",)),
    Table("UTF-7 overlong", "encodings", b"image,text\na.png,\xc0\xaf\n", refused=("line 2", "0xc0")),
    Table("text from right to left", "scripts", lines("image,text", f"a.png,{HEBREW}", f"b.png,{ARABIC}"),
          kept=[("a.png", HEBREW), ("b.png", ARABIC)]),
    Table("marks of direction", "scripts", lines("image,text", "a.png,\u202ehat\u202c"),
          kept=[("a.png", "\u202ehat\u202c")]),
    Table("combining marks", "scripts", lines("image,text", "a.png,Hu\u0308te", f"b.png,{DEVANAGARI}"),
          kept=[("a.png", "Hu\u0308te"), ("b.png", DEVANAGARI)]),
    Table("line separators of Unicode", "scripts", lines("image,text", "a.png,one\u2028two\u0085three\x0bfour"),
          kept=[("a.png", "one two three four")]),
    Table("carriage returns alone", "line ends", b"image,text\ra.png,hat\rb.png,coat\r", kept=[A, B]),
    Table("all kinds of line ends", "line ends", b"image,text\r\na.png,hat\nb.png,coat\r\n\r\n\nc.png,shoe", kept=[A, B, C]),
    Table("markup and formulas", "markup", lines("image,text", "a.png,<script>alert(1)</script>", "b.png,=1+1"),
          kept=[("a.png", "<script>alert(1)</script>"), ("b.png", "=1+1")]),
    # Files
    Table("a picture called table", "other files", b"\x89PNG\r\n\x1a\n\0\0", refused=("not UTF-8", "line 1")),
    Table("not Parquet", "other files", b"PAR1 no more", "t.parquet", refused=("Parquet",)),
    Table("Parquet cut off", "other files", parquet({"image": ["a.png"], "text": ["hat"]})[:-40], "t.parquet",
          refused=("Parquet",)),
    Table("not a workbook", "other files", b"PK no more", "t.xlsx", refused=("workbook",)),
    Table("another suffix", "other files", b"x", "t.docx", refused=(".csv", ".parquet")),
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """Texts and embeddings for training: `run` asserts that its result is right, or is refused with these words."""

    name: str
    kind: str
    run: Callable[[Path], object]
    refused: Sequence[str] = ()


def check_input(case: Input, folder: Path) -> str:
    """Run the case; "refused" or "right", as it should be."""
    try:
        case.run(folder)
    except VtmError as error:
        message = str(error)
        assert case.refused, f"{case.name}: {message}"
        assert len(message.splitlines()) == 1 and all(word in message for word in case.refused), message
        return "refused"
    assert not case.refused, f"{case.name}: taken, although it must be refused"
    return "right"


def table_of(folder: Path, texts: Sequence[str], *, name: str = "corpus.csv") -> Path:
    """A table of texts, each with a picture of its own."""
    rng = np.random.default_rng(0)
    with open(folder / name, "w", newline="", encoding="utf-8") as stream:
        write = csv.writer(stream)
        write.writerow(("image", "text"))
        for row, text in enumerate(texts):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{row}.png")
            write.writerow((f"{row}.png", text))
    return folder / name


def prepared(folder: Path, texts: Sequence[str], **parameters: Any) -> Any:
    from vtm.config import from_parameters
    from vtm.experiment.prepare import prepare

    table = table_of(folder, texts)
    return prepare(
        from_parameters({"corpus": str(table), "encoder": "pixels", "min_df": 1} | parameters), progress=False
    )


def fitted(texts: Sequence[str], text: np.ndarray, image: np.ndarray, **parameters: Any) -> Any:
    """A model fitted on embeddings, with theta of these checked."""
    from vtm.api import ModelWarning, VisualTopicModel

    options = {
        "n_topics": 2,
        "method": "text-teacher",
        "epochs": 2,
        "min_df": 1,
        "validation": 0,
        "progress": False,
        "encoder": "pixels",
    }
    model = VisualTopicModel(**options | parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        model.fit(list(texts), text_embeddings=text, image_embeddings=image)
    theta = model.transform(image_embeddings=image)
    assert theta.shape == (len(image), model.n_topics) and np.isfinite(theta).all()
    np.testing.assert_allclose(theta.sum(axis=1), 1, atol=1e-5)
    return model


WORDS = ("apple pear plum", "horse cow sheep", "red green blue", "car bus train")
TEXTS = [WORDS[row % 4] for row in range(24)]


def _noise(n: int = 24, width: int = 5) -> np.ndarray:
    return np.random.default_rng(n + width).normal(size=(n, width)).astype(np.float32)


def _with(value: float) -> np.ndarray:
    x = _noise()
    x[3, 2] = value
    return x


def _lost_words(folder: Path) -> None:
    texts = [*TEXTS * 2, *["12 34 ..."] * 8, *["the of and"] * 8]
    # Texts come several times: as near-duplicates they would leave words to the test part alone.
    data = prepared(folder, texts, twin_image=0, twin_text=0, twin_both=0)
    known = np.asarray(data.counts.sum(axis=1)).ravel()
    assert (known[48:] == 0).all() and (known[:48] == 3).all()
    assert all(known[row] > 0 for row in data.rows["train"])
    lost = {item.id for item in data.no_known_word}
    assert lost and lost <= {f"{row}.png" for row in range(48, 64)}
    assert data.drop_counts() == {"no-known-word": len(lost)}


def _one_word(folder: Path, composed: str, decomposed: str) -> None:
    from vtm.config import BowConfig
    from vtm.corpora.words import build_vocabulary

    assert composed != decomposed
    vocabulary = build_vocabulary([composed, decomposed, "other"], config=BowConfig(min_df=2, max_df=1.0))
    assert len(vocabulary) == 1
    assert vocabulary.counts([composed, decomposed, f"{decomposed} {composed}"]).toarray().tolist() == [
        [1],
        [1],
        [2],
    ]
    assert vocabulary.tokens(decomposed) == vocabulary.tokens(composed) == list(vocabulary.words)


def _stop_word(folder: Path) -> None:
    from vtm.config import BowConfig
    from vtm.corpora.words import build_vocabulary

    texts = ["fu\u0308r Schu\u0308ler", "für Schüler"]
    assert build_vocabulary(texts, language="de", config=BowConfig(min_df=1, max_df=1.0)).words == (
        "schüler",
    )


def _constant(folder: Path) -> None:
    model = fitted(TEXTS, np.ones((24, 5)), np.zeros((24, 3)))
    theta = model.transform(image_embeddings=np.zeros((4, 3)))
    assert (theta == theta[0]).all()  # nothing tells them apart, and nothing pretends to


def _constant_is_said(folder: Path) -> None:
    model = fitted(TEXTS * 6, np.ones((144, 5)), np.ones((144, 3)), validation=0.2, epochs=5)
    assert model.status_ == "doubtful" and any("chance" in reason for reason in model.warnings_)


INPUTS: tuple[Input, ...] = (
    Input("texts that lose every word", "texts", _lost_words),
    Input("all texts lose every word", "texts", lambda f: prepared(f, ["12 the"] * 60), ("no word is left", "min_df")),
    Input("every word in one text", "texts", lambda f: prepared(f, [f"word{'x' * row}" for row in range(60)], min_df=3),
          ("no word is left", "min_df")),
    Input("one word (V = 1)", "V = 1", lambda f: prepared(f, ["apple"] * 60, max_df=1.0), ("'apple'", "several words")),
    Input("one word to fit", "V = 1", lambda f: fitted(["apple"] * 24, _noise(), _noise(), max_df=1.0),
          ("'apple'", "several words")),
    Input("few texts with a known word", "texts",
          lambda f: prepared(f, ["apple pear", "pear apple", *["12"] * 60], min_df=1), ("vocabulary",)),
    Input("one document", "few documents", lambda f: prepared(f, ["apple pear"]), ("1 pair leaves", "at least 4")),
    Input("one document to fit", "few documents", lambda f: fitted(["apple pear"], _noise(1), _noise(1)), ("at least 4",)),
    Input("no document", "few documents", lambda f: fitted([], _noise(0), _noise(0)), ("at least 4",)),
    Input("one topic", "one topic", lambda f: prepared(f, TEXTS, n_topics=1), ("n_topics", "at least 2")),
    Input("one topic to fit", "one topic", lambda f: fitted(TEXTS, _noise(), _noise(), n_topics=1), ("at least 2",)),
    Input("no topic", "one topic", lambda f: fitted(TEXTS, _noise(), _noise(), n_topics=0), ("at least 2",)),
    Input("more topics than documents", "K > documents", lambda f: fitted(TEXTS[:6], _noise(6), _noise(6), n_topics=30)),
    Input("more topics than words", "K > documents", lambda f: fitted(TEXTS, _noise(), _noise(), n_topics=40)),
    Input("constant embeddings", "constant embeddings", _constant),
    Input("constant embeddings are said", "constant embeddings", _constant_is_said),
    Input("NaN in text embeddings", "NaN or infinity", lambda f: fitted(TEXTS, _with(np.nan), _noise()),
          ("text_embeddings", "row 3")),
    Input("infinity in image embeddings", "NaN or infinity", lambda f: fitted(TEXTS, _noise(), _with(np.inf)),
          ("image_embeddings", "row 3")),
    Input("fewer rows than texts", "rows that do not match", lambda f: fitted(TEXTS, _noise(23), _noise()),
          ("23 rows for 24 texts",)),
    Input("more rows than texts", "rows that do not match", lambda f: fitted(TEXTS, _noise(), _noise(25)),
          ("25 rows for 24 texts",)),
    Input("one row", "rows that do not match", lambda f: fitted(TEXTS, _noise()[0], _noise()), ("(documents, dimensions)",)),
    Input("texts for embeddings", "rows that do not match", lambda f: fitted(TEXTS, np.array([["x"]] * 24), _noise()),
          ("text_embeddings", "numbers")),
    Input("composed and decomposed accents", "combining text",
          lambda f: _one_word(f, "Sch\u00fcler", "Schu\u0308ler")),
    Input("capital letters decomposed", "combining text", lambda f: _one_word(f, "\u00c9COLE", "E\u0301cole")),
    Input("Hangul composed and in jamo", "combining text",
          lambda f: _one_word(f, "\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165")),
    Input("the angstrom sign", "combining text", lambda f: _one_word(f, "\u00c5ngstr\u00f6m", "\u212bngstro\u0308m")),
    Input("two marks in another order", "combining text", lambda f: _one_word(f, "ta\u0323\u0308g", "ta\u0308\u0323g")),
    Input("a decomposed stop word", "combining text", _stop_word),
)  # fmt: skip
