"""The fuzzed readers of folders with a model of transformers or sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_base import Reader, attempt, edited


def _make_bert(folder: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    vocabulary = folder.with_name("vocab.txt")
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "ship"]))
    sizes = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 4}
    BertModel(BertConfig(vocab_size=7, max_position_embeddings=32, **sizes)).save_pretrained(folder)
    BertTokenizerFast(str(vocabulary)).save_pretrained(folder)


def _reader(folder: Path, check: Callable[[], Any]) -> Reader:
    """One of the folder's files is edited, or made of the bytes, and all others are as they were."""
    found = (path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
    whole = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(found)}
    names = list(whole)
    documents = {name: json.loads(held) for name, held in whole.items() if name.endswith(".json")}

    def read(data: bytes) -> None:
        name = names[data[0] % len(names)] if data else names[0]
        mode, rest = data[1:2], data[2:]
        given = edited(documents[name], rest) if name in documents and mode < b"\xe0" else rest
        if Path(name).name == "config.json" and _is_endless(given):
            return
        (folder / name).write_bytes(given)
        try:
            check()
        finally:
            (folder / name).write_bytes(whole[name])

    edits = [bytes([name, 0, n, 3, n, 7 * n % 251, 5, n, n]) for name in range(len(names)) for n in range(12)]
    files = [bytes([name, 0xFF]) + whole[names[name]] for name in range(len(names))]
    return Reader([*edits, *(content for content in files if len(content) < 8192)], read)


def _is_endless(config: bytes) -> bool:
    """Whether a configuration has numbers that transformers would build layers for until the memory ends."""
    try:
        stated = json.loads(config, parse_int=float)
    except (ValueError, RecursionError):
        return False
    values = [stated]
    for value in values:
        values += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(isinstance(value, float) and not value < 100_000 for value in values)


def _embed_texts(folder: Path) -> None:
    from vtm.encoders.sentence import SentenceText

    text = SentenceText(folder, device="cpu")
    attempt(lambda: text.key)
    dim = attempt(lambda: text.dim)
    rows = attempt(lambda: text.encode(["a ship", ""]))
    assert rows is None or rows.shape == (2, dim)


def sentence_folder(folder: Path) -> Reader:
    """A router's folder, so that all kinds of a part's files are there."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Normalize, Pooling, Router, Transformer

    _make_bert(folder / "bert")
    route = [Transformer(str(folder / "bert")), Pooling(4, "mean"), Dense(4, 3)]
    modules = [Router({"query": route}, default_route="query"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"))
    return _reader(folder / "model", lambda: _embed_texts(folder / "model"))


def bert_folder(folder: Path) -> Reader:
    """A text model of transformers, which has no list of parts."""
    _make_bert(folder / "model")
    return _reader(folder / "model", lambda: _embed_texts(folder / "model"))


def vision_folder(folder: Path) -> Reader:
    from PIL import Image
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    from vtm.encoders.sentence import VisionTransformer

    sizes = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 4}
    ViTModel(ViTConfig(image_size=8, patch_size=4, **sizes)).save_pretrained(folder / "model")
    ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(folder / "model")
    picture = Image.linear_gradient("L").convert("RGB").resize((12, 9))

    def check() -> None:
        image = VisionTransformer(folder / "model", pooling="mean", device="cpu")
        attempt(lambda: image.key)
        dim = attempt(lambda: image.dim)
        pixels = attempt(lambda: image.preprocess(picture))
        rows = attempt(lambda: image.encode(np.stack([pixels, pixels]))) if pixels is not None else None
        assert rows is None or rows.shape == (2, dim)

    return _reader(folder / "model", check)


READERS: dict[str, Callable[[Path], Reader]] = {
    "sentence-folder": sentence_folder,
    "bert-folder": bert_folder,
    "vision-folder": vision_folder,
}
