from __future__ import annotations

import copy
import functools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from fake_hub import COMMIT, FakeHub, block_network
from open_clip.push_to_hf_hub import save_for_hf
from PIL import Image
from safetensors.torch import load_file, save_file

from vtm.corpora.pictures import open_picture
from vtm.encoders import clip as clip_module
from vtm.encoders import embed_images, embed_texts, load_encoder, load_named, prefetch_encoder
from vtm.encoders.clip import published
from vtm.errors import ConfigError, DataError, MissingError
from vtm.files import data_dir, hash_file
from vtm.model.align import clip_loss

TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
# Unlike open_clip's defaults in all that can be told.
PREPROCESSING = {
    "mean": [0.3, 0.4, 0.5],
    "std": [0.2, 0.3, 0.25],
    "interpolation": "bilinear",
    "resize_mode": "shortest",
}
PUBLISHED = {"hf_hub": "tiny/clip/", "url": "", **PREPROCESSING}
TEXTS = ["Ein rotes Haus am See", "a cat", "", "ZWEI Züge!", "word " * 50]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, which nobody asks for either, and a data folder of the test's own."""
    attempts = block_network(monkeypatch)
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    yield
    assert attempts == []


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return FakeHub(tmp_path / "hub", monkeypatch)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip knows the architecture `tiny` in both activations, and weights of it that have QuickGELU."""
    configs, weights = open_clip.factory._MODEL_CONFIGS, open_clip.pretrained._PRETRAINED
    monkeypatch.setitem(configs, "tiny", TINY)
    monkeypatch.setitem(configs, "tiny-quickgelu", {**TINY, "quick_gelu": True})
    quick = {"news": {**PUBLISHED, "quick_gelu": True}}
    monkeypatch.setitem(weights, "tiny", {**quick, "plain": PUBLISHED})
    monkeypatch.setitem(weights, "tiny-quickgelu", quick)


def make_model(config: dict, seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        kind = open_clip.CustomTextCLIP if "hf_model_name" in config["text_cfg"] else open_clip.CLIP
        model = kind(**copy.deepcopy(config))
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # zero at first, so that they would not be missed
                torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def make_folder(
    folder: Path, *, config: dict = TINY, preprocessing: dict = PREPROCESSING, seed: int = 0
) -> Path:
    """A folder as open_clip publishes it, of a random model."""
    folder.mkdir(parents=True)
    save_file(make_model(config, seed).state_dict(), folder / "open_clip_model.safetensors")
    stated = {"model_cfg": config, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(stated))
    return folder


def make_tokenizer(folder: Path):
    """A word-piece tokenizer, trained on a few texts, that pads as XLM-RoBERTa does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words = Tokenizer(models.WordPiece(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=80, special_tokens=special))
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", mask_token="<mask>",
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_multilingual(hub: Path) -> tuple[Path, Path]:
    """Repositories with a CLIP whose text tower is a small XLM-RoBERTa, and with that tower's own files."""
    from transformers import XLMRobertaConfig

    tower = hub / "tiny/xlm"
    tower.mkdir(parents=True)
    make_tokenizer(tower)
    XLMRobertaConfig(
        vocab_size=90, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=90, pad_token_id=1,
    ).save_pretrained(tower)  # fmt: skip
    text = {"hf_model_name": str(tower), "hf_tokenizer_name": str(tower), "hf_pooler_type": "mean_pooler"}
    config = {**TINY, "text_cfg": {**text, "hf_model_pretrained": False}}
    model = make_model(config)
    open_clip.set_model_preprocess_cfg(model, PREPROCESSING)
    published_config = {
        **TINY,
        "text_cfg": {**text, "hf_model_name": "tiny/xlm", "hf_tokenizer_name": "tiny/xlm"},
    }
    tokenizer = open_clip.tokenizer.HFTokenizer(str(tower))
    # As open_clip itself publishes a model, both as safetensors and as a pickle.
    save_for_hf(model, tokenizer, published_config, str(hub / "tiny/multilingual"))
    return hub / "tiny/multilingual", tower


def fetched(repository: str) -> Path:
    """The folder in the hub's cache with a repository's files."""
    name = f"models--{repository.replace('/', '--')}"
    return data_dir() / "weights/hub" / name / "snapshots" / COMMIT


@functools.cache
def tiny_tokens() -> torch.Tensor:
    """The texts by open_clip's own tokenizer, whose vocabulary takes long to read."""
    return open_clip.get_tokenizer("ViT-B-32", context_length=TINY["text_cfg"]["context_length"])(TEXTS)


def directly(folder: Path, **options) -> tuple[np.ndarray, np.ndarray]:
    """The oracle: embeddings of 21 random pictures and of the texts, by open_clip called directly."""
    model = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True, **options).eval()
    own = (folder / "tokenizer.json").is_file()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS) if own else tiny_tokens()
    with torch.no_grad():
        image = model.encode_image(torch.from_numpy(noise()), normalize=True)
        text = model.encode_text(tokens, normalize=True)
    return image.numpy(), text.numpy()


def noise(n: int = 21) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 3, 32, 32)).astype(np.float32)


def check_equal(pair, image: np.ndarray, text: np.ndarray) -> None:
    for found, expected in ((pair.image.encode(noise()), image), (pair.text.encode(TEXTS), text)):
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-6
        assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
        assert np.abs(found[0] - found[1]).max() > 1e-3  # else any row would do


def test_the_offline_baselines_loss_is_clips():
    """To the bit, with its gradients: `vtm.model.align` does without the import of open_clip."""
    draws = torch.Generator().manual_seed(0)
    leaves = [torch.randn(9, 5, generator=draws).requires_grad_() for _ in range(2)]
    leaves.append(torch.tensor(7.5).requires_grad_())
    found, expected = (
        (loss, *torch.autograd.grad(loss, leaves))
        for loss in (clip_loss(*leaves), open_clip.loss.ClipLoss()(*leaves))
    )
    assert all(map(torch.equal, found, expected))


def load(folder: Path, **options):
    return load_encoder("clip", model=f"local-dir:{folder}", device="cpu", **options)


def test_a_local_folder_gives_what_open_clip_gives(tmp_path):
    folder = make_folder(tmp_path / "clip")
    pair = load(folder)
    assert pair.name == "clip" and pair.aligned
    assert (pair.image.dim, pair.text.dim, pair.image.size) == (24, 24, None)
    check_equal(pair, *directly(folder))
    assert pair.image.encode(noise(0)).shape == (0, 24) and pair.text.encode([]).shape == (0, 24)


def test_rows_do_not_depend_on_their_batch(tmp_path, monkeypatch):
    pair = load(make_folder(tmp_path / "clip"))
    model, sizes = pair.image.clip.model, set()
    for name in ("encode_image", "encode_text"):

        def encode(inputs: torch.Tensor, original=getattr(model, name)) -> torch.Tensor:
            sizes.add(len(inputs))
            return original(inputs)

        monkeypatch.setattr(model, name, encode)
    together = pair.image.encode(noise())
    assert np.array_equal(pair.image.encode(noise()[::-1])[::-1], together)
    assert np.array_equal(pair.image.encode(noise()[17:18]), together[17:18])
    texts = [f"text {number} " * (number % 5) for number in range(19)]
    together = pair.text.encode(texts)
    assert np.array_equal(pair.text.encode(texts[::-1])[::-1], together)
    assert np.array_equal(pair.text.encode(texts[7:8]), together[7:8])
    assert sizes == {16}


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """A wide, a tall, a tiny and a grey picture, each opaque and upright."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(3)
    paths = []
    for number, shape in enumerate([(60, 95, 3), (83, 40, 3), (9, 7, 3), (50, 50)]):
        paths.append(folder / f"{number}.{'jpg' if number == 1 else 'png'}")
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(paths[-1])
    return paths


@pytest.mark.parametrize(
    "stated",
    [
        PREPROCESSING,
        {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},  # the rest is open_clip's default
        {**PREPROCESSING, "interpolation": "bicubic", "resize_mode": "squash"},
        {**PREPROCESSING, "resize_mode": "longest", "fill_color": 255},
    ],
)
def test_pictures_are_prepared_bit_for_bit_as_by_open_clip(tmp_path, pictures, stated):
    folder = make_folder(tmp_path / "clip", preprocessing=stated)
    _, prepare = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    image = load(folder).image
    for path in pictures:
        found = image.preprocess(open_picture(path, size=image.size))
        assert found.dtype == np.float32
        assert np.array_equal(found, prepare(Image.open(path)).numpy()), path


def test_whole_pictures_are_upright_and_on_white(tmp_path):
    rng = np.random.default_rng(4)
    values = rng.integers(0, 256, (30, 50, 4), dtype=np.uint8)
    alpha = Image.fromarray(values)
    alpha.save(tmp_path / "alpha.png")
    share = values[..., 3:] / 255
    expected = values[..., :3] * share + 255 * (1 - share)
    found = open_picture(tmp_path / "alpha.png", size=None)
    assert found.mode == "RGB" and found.size == (50, 30)
    assert np.abs(np.asarray(found) - expected).max() <= 1

    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    alpha.convert("RGB").save(tmp_path / "turned.png", exif=exif)
    found = np.asarray(open_picture(tmp_path / "turned.png", size=None))
    assert np.array_equal(found, np.rot90(values[..., :3], k=-1))


def test_through_the_cache(tmp_path, pictures):
    folder = make_folder(tmp_path / "clip")
    pair = load(folder)
    hashes = [hash_file(path) for path in pictures]
    ids = [path.stem for path in pictures]
    found, kept, _ = embed_images(pair.image, ids, pictures, hashes, progress=False)
    model, prepare = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    batch = torch.stack([prepare(Image.open(path)) for path in pictures])
    with torch.no_grad():
        expected = model.eval().encode_image(batch, normalize=True).numpy()
    assert kept == tuple(ids) and np.abs(found - expected).max() < 1e-6
    texts = embed_texts(pair.text, TEXTS, progress=False)

    again = load(folder)  # from the cache: no weights are read
    assert np.array_equal(embed_images(again.image, ids, pictures, hashes, progress=False)[0], found)
    assert np.array_equal(embed_texts(again.text, TEXTS, progress=False), texts)
    assert "model" not in vars(again.image.clip)


def test_keys_change_with_all_that_an_embedding_depends_on(tmp_path, monkeypatch):
    def keys(pair) -> tuple[str, str]:
        found = pair.image.key, pair.text.key
        assert "model" not in vars(pair.image.clip)
        return found

    first = keys(load(make_folder(tmp_path / "first")))
    assert keys(load(make_folder(tmp_path / "copy"))) == first  # wherever it lies
    other = keys(load(make_folder(tmp_path / "weights", seed=1)))
    assert other[0] != first[0] and other[1] != first[1]
    other = keys(load(make_folder(tmp_path / "mean", preprocessing={**PREPROCESSING, "mean": [0, 0, 0]})))
    assert other[0] != first[0] and other[1] == first[1]
    other = keys(load(make_folder(tmp_path / "quick", config={**TINY, "quick_gelu": True})))
    assert other[0] != first[0] and other[1] != first[1]
    text = {**TINY["text_cfg"], "context_length": 16, "tokenizer_kwargs": {"clean": "whitespace"}}
    other = keys(load(make_folder(tmp_path / "text", config={**TINY, "text_cfg": text})))
    assert other[0] == first[0] and other[1] != first[1]

    monkeypatch.setattr(clip_module, "use_cuda", lambda device: True)
    by_precision = [
        keys(load_encoder("clip", model=f"local-dir:{tmp_path / 'first'}", precision=precision))
        for precision in ("fp32", "fp16", "bf16", "auto")
    ]
    assert by_precision[0] == first and by_precision[1] == by_precision[3]
    assert len(set(by_precision)) == 3


def test_precision_on_the_cpu(tmp_path):
    folder = make_folder(tmp_path / "clip")
    for precision in ("fp16", "bf16"):
        with pytest.raises(
            ConfigError, match=f"{precision}: half precision needs a CUDA device; give fp32 or auto"
        ):
            load(folder, precision=precision)
    with pytest.raises(ConfigError, match="precision=half: choose from auto, fp32, fp16, bf16"):
        load(folder, precision="half")
    assert load(folder).image.key.endswith("/fp32")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="sees no CUDA device"):
            load_encoder("clip", model=f"local-dir:{folder}", device="cuda")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_is_near_and_comes_out_as_float32(tmp_path, precision):
    """Autocast works on the CPU too, slowly; the option refuses it there."""
    pair = load(make_folder(tmp_path / "clip"))
    exact = pair.image.encode(noise()), pair.text.encode(TEXTS)
    pair.image.clip.precision = precision
    for found, expected in zip((pair.image.encode(noise()), pair.text.encode(TEXTS)), exact, strict=True):
        assert found.dtype == np.float32 and not np.array_equal(found, expected)
        assert np.abs(found - expected).max() < 0.03
        assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("multilingual", [False, True])
def test_on_cuda(tmp_path, multilingual):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if multilingual:
        folder, tower = make_multilingual(tmp_path / "hub")
        (folder / "hf_model").mkdir()
        shutil.copy(tower / "config.json", folder / "hf_model")
    else:
        folder = make_folder(tmp_path / "clip")
    expected = load(folder)
    for precision, near in (("fp32", 1e-5), ("fp16", 0.02), ("bf16", 0.05), ("auto", 0.02)):
        pair = load_encoder("clip", model=f"local-dir:{folder}", device="cuda", precision=precision)
        for mine, other, inputs in (
            (pair.image, expected.image, noise(70)),
            (pair.text, expected.text, TEXTS * 15),
        ):
            found = mine.encode(inputs)
            assert np.abs(found - other.encode(inputs)).max() < near
            assert np.array_equal(mine.encode(inputs[::-1])[::-1], found)
            assert np.array_equal(mine.encode(inputs[3:4]), found[3:4])


def test_text_tower_and_tokenizer_of_transformers(tmp_path, hub):
    repository, tower = make_multilingual(hub.root)
    assert prefetch_encoder("clip", model="hf-hub:tiny/multilingual") == tmp_path / "data/weights"
    hub.root.rename(tmp_path / "gone")
    pair = load_encoder("clip", model="hf-hub:tiny/multilingual", device="cpu")
    assert pair.aligned

    # open_clip itself finds the tower's configuration where its own configuration says.
    where = tmp_path / "direct"
    shutil.copytree(fetched("tiny/multilingual"), where)
    shutil.copytree(fetched("tiny/xlm"), where / "hf_model")
    for path in fetched("tiny/xlm").iterdir():
        shutil.copy(path, where)
    config = where / "open_clip_config.json"
    stated = config.read_text()
    config.write_text(stated.replace("tiny/xlm", str(where / "hf_model")))
    check_equal(pair, *directly(where))

    # The same weights by hand: the same keys.
    config.write_text(stated)
    assert (load(where).image.key, load(where).text.key) == (pair.image.key, pair.text.key)

    # Another tokenizer gives another key.
    before = load(where)
    assert before.text.key.startswith("clip-text-1/")
    tokenizer = json.loads((where / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Lowercase"}
    (where / "tokenizer.json").write_text(json.dumps(tokenizer))
    after = load(where)
    assert after.text.key != before.text.key and after.image.key == before.image.key == pair.image.key


def test_parts_that_do_not_belong_together(tmp_path):
    folder, tower = make_multilingual(tmp_path / "hub")
    with pytest.raises(
        MissingError, match="lacks hf_model/config.json; put the config.json of .* tiny/xlm, there"
    ):
        load(folder)
    (folder / "hf_model").mkdir()
    config = json.loads((tower / "config.json").read_text())
    (folder / "hf_model/config.json").write_text(json.dumps({**config, "pad_token_id": 0}))
    with pytest.raises(DataError, match="its tokenizer knows .* pad in different ways"):
        load(folder).text.encode(["x"])
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(MissingError, match="lacks the files of the tokenizer, tiny/xlm"):
        load(folder)

    words = {**TINY["text_cfg"], "vocab_size": 1000}
    with pytest.raises(DataError, match="its tokenizer knows 49408 tokens, its text tower 1000"):
        load(make_folder(tmp_path / "words", config={**TINY, "text_cfg": words})).text.encode(["x"])
    few = {**TINY["text_cfg"], "vocab_size": 40, "hf_tokenizer_name": "tiny/words"}
    folder = make_folder(tmp_path / "few", config={**TINY, "text_cfg": few})
    make_tokenizer(folder)
    with pytest.raises(DataError, match="its tokenizer knows [0-9]+ tokens, its text tower 40"):
        load(folder).text.encode(["x"])


def test_folders_that_do_not_say_enough(tmp_path):
    with pytest.raises(
        MissingError, match="no open_clip_config.json there.*model=ARCHITECTURE,pretrained=FILE"
    ):
        load(tmp_path)
    folder = make_folder(tmp_path / "bare", preprocessing={"mean": [0.5, 0.5, 0.5]})
    with pytest.raises(DataError, match="needs a preprocess_cfg with mean and std"):
        load(folder)
    (folder / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": PREPROCESSING}))
    with pytest.raises(DataError, match="needs a model_cfg with embed_dim, vision_cfg and text_cfg"):
        load(folder)
    folder = make_folder(tmp_path / "several")
    (folder / "open_clip_model.safetensors").rename(folder / "a.safetensors")
    assert load(folder).image.encode(noise(1)).shape == (1, 24)  # the only one
    shutil.copy(folder / "a.safetensors", folder / "b.safetensors")
    with pytest.raises(
        DataError, match="found a.safetensors, b.safetensors; name the right one open_clip_model"
    ):
        load(folder)
    with pytest.raises(ConfigError, match="has its own weights; leave pretrained out"):
        load(folder, pretrained="openai")


def test_weights_of_another_size_are_refused(tmp_path):
    """open_clip stretches position embeddings to the architecture's size; the numbers would mean little."""
    folder = make_folder(tmp_path / "clip")
    for part, size in (("vision_cfg", {"image_size": 48}), ("text_cfg", {"context_length": 12})):
        config = {**TINY, part: {**TINY[part], **size}}
        stated = {"model_cfg": config, "preprocess_cfg": PREPROCESSING}
        (folder / "open_clip_config.json").write_text(json.dumps(stated))
        assert open_clip.create_model(f"local-dir:{folder}") is not None  # no error there
        with pytest.raises(DataError, match=r"trained with other sizes.*positional_embedding is \("):
            load(folder).image.encode(noise(1))
    stated["model_cfg"] = {**TINY, "embed_dim": 20}
    (folder / "open_clip_config.json").write_text(json.dumps(stated))
    with pytest.raises(DataError, match="not the weights of the configuration beside them .*size mismatch"):
        load(folder).image.encode(noise(1))


def test_a_file_of_weights(tmp_path, tiny, monkeypatch):
    folder = make_folder(tmp_path / "clip")
    path = (folder / "open_clip_model.safetensors").rename(tmp_path / "mine.safetensors")
    with pytest.raises(ConfigError, match="weights do not say their architecture; give model=ARCHITECTURE"):
        load_encoder("clip", pretrained=str(path))
    with pytest.raises(ConfigError, match="no such architecture.*near: tiny"):
        load_encoder("clip", model="tinny", pretrained=str(path))
    with pytest.raises(MissingError, match="gone.pt: no such file"):
        load_encoder("clip", model="tiny", pretrained=str(tmp_path / "gone.pt"))
    with pytest.raises(
        ConfigError, match="lacks the tokenizer of xlm-roberta-base-ViT-B-32, xlm-roberta-base"
    ):
        load_encoder("clip", model="xlm-roberta-base-ViT-B-32", pretrained=str(path))

    # All published weights of tiny are prepared alike; their activation must be said.
    with pytest.warns(UserWarning, match="taken as tiny, with GELU"):
        pair = load_encoder("clip", model="tiny", pretrained=str(path), device="cpu")
    shutil.copy(path, folder / "open_clip_model.safetensors")
    check_equal(pair, *directly(folder))
    assert pair.image.clip.preprocessing["mean"] == PREPROCESSING["mean"]

    other = {"other": {**PUBLISHED, "mean": (0.5, 0.5, 0.5)}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {**other, "plain": PUBLISHED})
    with pytest.raises(
        DataError, match=r'is not known, as tiny does not tell.*"preprocess_cfg": \{"mean": \[0'
    ):
        load_encoder("clip", model="tiny", pretrained=str(path))
    # What the message says to write is what is needed.
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": PREPROCESSING}))
    pair = load_encoder("clip", model="tiny", pretrained=str(path), device="cpu")
    check_equal(pair, *directly(folder))


def test_the_activation_of_a_file(tmp_path, tiny, monkeypatch):
    folder = make_folder(tmp_path / "clip", config={**TINY, "quick_gelu": True})
    path = folder / "open_clip_model.safetensors"
    with pytest.raises(
        ConfigError, match="tiny computes GELU, but .* says QuickGELU; give model=tiny-quickgelu"
    ):
        load_encoder("clip", model="tiny", pretrained=str(path))
    pair = load_encoder("clip", model="tiny-quickgelu", pretrained=str(path), device="cpu")
    check_equal(pair, *directly(folder))

    # Published weights are known by the hash in their address.
    (folder / "open_clip_config.json").unlink()
    url = "https://github.com/mlfoundations/open_clip/releases/download/v0/tiny-quickgelu-news-{}.pt"
    known = {"news": {**PUBLISHED, "url": url.format(hash_file(path)[:8]), "quick_gelu": True}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {**known, "plain": PUBLISHED})
    with pytest.raises(ConfigError, match="these are the weights news.*give model=tiny-quickgelu"):
        load_encoder("clip", model="tiny", pretrained=str(path))
    assert load_encoder("clip", model="tiny-quickgelu", pretrained=str(path)).image.dim == 24


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickled_weights_run_nothing(tmp_path):
    folder = make_folder(tmp_path / "clip")
    expected = directly(folder)
    tensors = load_file(folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").unlink()
    path = folder / "open_clip_pytorch_model.bin"
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, path)
    check_equal(load(folder), *expected)

    torch.save({"state_dict": tensors, "more": Exploit(tmp_path / "touched")}, path)
    with pytest.raises(DataError, match="not the weights of.*as safetensors or as a state dict"):
        load(folder).image.encode(noise(1))
    assert not (tmp_path / "touched").exists()


def test_published_weights_have_their_activation(tmp_path, tiny, hub):
    repository = make_folder(hub.root / "tiny/clip", config={**TINY, "quick_gelu": True})
    expected, gelu = directly(repository), directly(make_folder(tmp_path / "gelu"))
    assert np.abs(expected[0] - gelu[0]).max() > 1e-4  # the activation tells

    with pytest.raises(MissingError) as caught:
        load_encoder("clip", model="tiny", pretrained="news")
    said = str(caught.value)
    there = tmp_path / "data/weights/hub"
    assert f"the CLIP weights tiny-quickgelu--news are not in {there}; `vtm " in said and "\n" not in said
    assert "`VTM_DATA=vtm-weights vtm prefetch --encoder clip:model=tiny,pretrained=news`" in said
    assert "`rsync -a vtm-weights/ " in said and said.endswith(f":{tmp_path / 'data'}/`")

    prefetch_encoder("clip", model="tiny", pretrained="News")
    served = ["tiny/clip/open_clip_config.json", "tiny/clip/open_clip_model.safetensors"]
    assert sorted(hub.served) == served
    prefetch_encoder("clip", model="tiny-quickgelu", pretrained="news")
    assert sorted(hub.served) == served
    assert fetched("tiny/clip").is_dir()  # of the commit that the hub named

    hub.root.rename(tmp_path / "gone")
    for model in ("tiny", "tiny-quickgelu"):
        check_equal(load_encoder("clip", model=model, pretrained="news", device="cpu"), *expected)
    folder = fetched("tiny/clip")
    check_equal(load(folder), *expected)
    assert np.array_equal(directly(folder)[0], expected[0])  # open_clip reads the folder as well
    with pytest.raises(ConfigError, match="plain was trained with GELU, not QuickGELU; give model=tiny"):
        load_encoder("clip", model="tiny-quickgelu", pretrained="plain")


def test_an_activation_that_has_no_name_of_its_own(tiny, hub, monkeypatch):
    monkeypatch.delitem(open_clip.factory._MODEL_CONFIGS, "tiny-quickgelu")
    repository = make_folder(hub.root / "tiny/clip")  # whose configuration says GELU
    prefetch_encoder("clip", model="tiny", pretrained="news")
    pair = load_encoder("clip", model="tiny", pretrained="news", device="cpu")
    assert pair.image.clip.name == "tiny--news"
    check_equal(pair, *directly(repository, quick_gelu=True))


def test_a_fetched_folder_works_on_another_machine(tmp_path, tiny, hub, monkeypatch):
    make_folder(hub.root / "tiny/clip")
    prefetch_encoder("clip", model="tiny", pretrained="plain")
    shutil.rmtree(hub.root)
    mine = load_encoder("clip", model="tiny", pretrained="plain", device="cpu")
    expected, key = mine.image.encode(noise()), mine.image.key
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "elsewhere"))
    there = load_encoder("clip", model="tiny", pretrained="plain", device="cpu")
    assert there.image.key == key and np.array_equal(there.image.encode(noise()), expected)


def test_damage_is_seen(tmp_path, tiny, hub):
    make_folder(hub.root / "tiny/clip")
    hub.damage = {"open_clip_model.safetensors"}
    with pytest.raises(DataError, match="open_clip_model.safetensors: its hash is .*; delete the folder"):
        prefetch_encoder("clip", model="tiny", pretrained="plain")
    hub.damage = set()
    shutil.rmtree(tmp_path / "data/weights/hub/models--tiny--clip")  # the folder that the message names
    with pytest.raises(MissingError, match="are not in"):
        load_encoder("clip", model="tiny", pretrained="plain")
    prefetch_encoder("clip", model="tiny", pretrained="plain")

    path = fetched("tiny/clip") / "open_clip_model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    message = "its hash is .*, that of what was fetched is .*; delete the folder .*tiny--clip"
    for call in (
        lambda: load_encoder("clip", model="tiny", pretrained="plain").image.key,
        lambda: load_encoder("clip", model="tiny", pretrained="plain", device="cpu").image.encode(noise(1)),
        lambda: prefetch_encoder("clip", model="tiny", pretrained="plain"),
    ):
        with pytest.raises(DataError, match=message):
            call()
    path.write_bytes(content)
    path.unlink()  # a copy that broke off
    with pytest.raises(MissingError, match="are not in"):
        load_encoder("clip", model="tiny", pretrained="plain")
    prefetch_encoder("clip", model="tiny", pretrained="plain")
    assert load_encoder("clip", model="tiny", pretrained="plain").image.key


def test_a_download_that_breaks_off_goes_on(hub):
    make_multilingual(hub.root)
    hub.break_at = {"tokenizer.json"}
    with pytest.raises(MissingError, match="tiny/xlm: cannot be fetched from the Hugging .*rsync"):
        prefetch_encoder("clip", model="hf-hub:tiny/multilingual")
    assert "tiny/multilingual/open_clip_model.safetensors" in hub.served
    hub.break_at = set()
    prefetch_encoder("clip", model="hf-hub:tiny/multilingual")
    assert len(hub.served) == len(set(hub.served))
    assert load_encoder("clip", model="hf-hub:tiny/multilingual").text.key


def test_weights_that_are_published_as_a_pickle_only(tmp_path, hub):
    repository = make_folder(hub.root / "tiny/old")
    expected = directly(repository)
    tensors = load_file(repository / "open_clip_model.safetensors")
    (repository / "open_clip_model.safetensors").unlink()
    torch.save(tensors, repository / "open_clip_pytorch_model.bin")
    prefetch_encoder("clip", model="hf-hub:tiny/old")
    assert {path.name for path in fetched("tiny/old").iterdir()} == {
        "open_clip_config.json", "open_clip_pytorch_model.bin",
    }  # fmt: skip
    check_equal(load_encoder("clip", model="hf-hub:tiny/old", device="cpu"), *expected)

    torch.save({**tensors, "more": Exploit(tmp_path / "touched")}, repository / "open_clip_pytorch_model.bin")
    shutil.copytree(repository, hub.root / "tiny/bad")
    prefetch_encoder("clip", model="hf-hub:tiny/bad")
    with pytest.raises(DataError, match="not the weights of.*as safetensors or as a state dict"):
        load_encoder("clip", model="hf-hub:tiny/bad", device="cpu").image.encode(noise(1))
    assert not (tmp_path / "touched").exists()


def test_what_cannot_be_fetched(tmp_path, hub):
    with pytest.raises(
        MissingError, match="^no/one: cannot be fetched from the Hugging Face hub \\(.*404.*\\); if there"
    ):
        prefetch_encoder("clip", model="hf-hub:no/one")
    (hub.root / "no/weights").mkdir(parents=True)
    (hub.root / "no/weights/open_clip_config.json").write_text("{}")
    with pytest.raises(MissingError, match="has neither open_clip_model.safetensors nor"):
        prefetch_encoder("clip", model="hf-hub:no/weights")
    with pytest.raises(ConfigError, match="names weights on this machine; there is nothing to fetch"):
        prefetch_encoder("clip", model=f"local-dir:{tmp_path}")
    with pytest.raises(
        ConfigError, match="encoder pixels has no weights on the hub: choose from clip, sentence"
    ):
        prefetch_encoder("pixels")
    with pytest.raises(ConfigError, match="clip has no option 'modell'; its options are language, model"):
        prefetch_encoder("clip", modell="x")


def test_the_hub_itself_without_a_network(monkeypatch):
    """The real client, offline: an error with the remedy, no traceback of its own and no waiting."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        MissingError,
        match=r"cannot be fetched from the Hugging Face hub \(.+\); if there is no network here, run",
    ):
        prefetch_encoder("clip", language="de")


@pytest.mark.parametrize(
    "language,weights",
    [
        (None, "ViT-B-32-quickgelu--openai"),
        ("en", "ViT-B-32-quickgelu--openai"),
        ("de", "xlm-roberta-base-ViT-B-32--laion5b_s13b_b90k"),
        ("fi", "xlm-roberta-base-ViT-B-32--laion5b_s13b_b90k"),
    ],
)
def test_default_weights_by_language(language, weights):
    with pytest.raises(MissingError, match=f"the CLIP weights {weights} are not in"):
        load_encoder("clip", language=language)


@pytest.mark.parametrize(
    "spec,language,weights",
    [
        ("clip:language=de", "en", "xlm-roberta-base-ViT-B-32"),
        ("clip:language=de", None, "xlm-roberta-base-ViT-B-32"),
        ("clip:language=en", "de", "ViT-B-32-quickgelu"),
        ("clip", "de", "xlm-roberta-base-ViT-B-32"),
        ("clip", "en", "ViT-B-32-quickgelu"),
    ],
)
def test_a_language_in_the_name_goes_before_the_corpus_language(spec, language, weights):
    with pytest.raises(MissingError, match=f"the CLIP weights {weights}--"):
        load_named(spec, device="cpu", language=language)


def test_default_weights_are_what_open_clip_publishes():
    for architecture, tag in (clip_module.ENGLISH, clip_module.MULTILINGUAL):
        name, about = published(architecture, tag)
        assert name == architecture and about == open_clip.get_pretrained_cfg(architecture, tag)
        assert about["hf_hub"].endswith("/")
        quick = bool(open_clip.get_model_config(architecture).get("quick_gelu"))
        assert quick == bool(about.get("quick_gelu"))
    assert published("ViT-B-32", "openai")[0] == clip_module.ENGLISH[0]
    for text, image in clip_module.ALIGNED:
        for name in (text, image):
            if not name.startswith("sentence:"):
                assert published(*name.split("--"))[0] == name.split("--")[0]
    with pytest.raises(
        ConfigError, match="needs pretrained, one of its published weights \\(openai, laion400m_e31"
    ):
        load_encoder("clip", model="ViT-B-32")
    with pytest.raises(ConfigError, match="pretrained=opnai: not among the published weights"):
        load_encoder("clip", model="ViT-B-32", pretrained="opnai")


def test_two_models(tmp_path, monkeypatch):
    one, two = make_folder(tmp_path / "one"), make_folder(tmp_path / "two", seed=1)
    apart = load(one, text_model=f"local-dir:{two}")
    assert not apart.aligned
    check_equal(apart, directly(one)[0], directly(two)[1])
    assert load(one, text_model=f"local-dir:{two}", aligned="yes").aligned
    same = load(one, text_model=f"local-dir:{one}")
    assert same.aligned and same.text.clip is same.image.clip
    assert not load(one, aligned="no").aligned
    with pytest.raises(ConfigError, match="aligned=maybe: choose from auto, yes, no"):
        load(one, aligned="maybe")
    small = make_folder(tmp_path / "small", config={**TINY, "embed_dim": 20})
    assert not load(one, text_model=f"local-dir:{small}").aligned
    with pytest.raises(ConfigError, match="texts have 20 numbers and pictures 24, so they share no space"):
        load(one, text_model=f"local-dir:{small}", aligned="yes")
    monkeypatch.setattr(clip_module, "ALIGNED", {(f"local-dir:{two}", f"local-dir:{one}")})
    assert load(one, text_model=f"local-dir:{two}").aligned
    assert not load(two, text_model=f"local-dir:{one}").aligned


def test_texts_by_sentence_transformers(tmp_path, hub, tiny):
    """As the paper: a multilingual text model that was trained to the pictures of another model."""
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel

    BertModel(
        BertConfig(
            vocab_size=90, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=64, pad_token_id=1,
        )
    ).save_pretrained(hub.root / "tiny/bert")  # fmt: skip
    make_tokenizer(hub.root / "tiny/bert")
    make_folder(hub.root / "tiny/clip")
    options = {"model": "tiny", "pretrained": "plain", "text_model": "sentence:tiny/bert"}
    with pytest.raises(
        MissingError, match="clip:model=tiny,pretrained=plain,text_model=sentence:tiny/bert` fetches"
    ):
        load_encoder("clip", **options)
    assert prefetch_encoder("clip", **options) == tmp_path / "data/weights"
    pair = load_encoder("clip", device="cpu", aligned="yes", **options)
    direct = SentenceTransformer(str(hub.root / "tiny/bert"), local_files_only=True, device="cpu")
    assert np.abs(pair.text.encode(TEXTS) - direct.encode(TEXTS)).max() < 1e-5
    assert np.abs(pair.image.encode(noise()) - directly(hub.root / "tiny/clip")[0]).max() < 1e-6
    with pytest.raises(ConfigError, match="text_pretrained=x: sentence:tiny/bert has its own weights"):
        load_encoder("clip", **options, text_pretrained="x")


@pytest.mark.parametrize(
    "language, english",
    [
        ("en", True),
        ("en-GB, en_US", True),
        ("de", False),
        ("de,en", False),
        ("en,de", False),
        ("en+de", False),
    ],
)
def test_english_weights_are_for_english_alone(language, english):
    pictures, texts = clip_module._models(language, "", "", "", "")
    assert pictures == (clip_module.ENGLISH if english else clip_module.MULTILINGUAL) and texts == pictures
