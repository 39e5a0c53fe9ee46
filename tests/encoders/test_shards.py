"""Embedding into folders of shards, here and on Ray; training on Ray. The Ray tests use a cluster of two workers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import vtm.encoders.ray
import vtm.encoders.shards
from vtm.cli.data import embed
from vtm.config import from_parameters
from vtm.corpora import Corpus, load_corpus
from vtm.corpora.pictures import open_picture
from vtm.encoders import load_encoder
from vtm.encoders.cache import Store
from vtm.encoders.ray import RETRIES, plain_error, ray_cluster, resources
from vtm.encoders.shards import (
    Manifest,
    embed_corpus,
    import_embeddings,
    read_embeddings,
)
from vtm.errors import ConfigError, DataError, MissingError, VtmError

SCENES = "scenes:n=60"
# Ray's own code uses what Ray has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")


@pytest.fixture(scope="module", autouse=True)
def places(tmp_path_factory) -> Iterator[Path]:
    """Data, runs, and what Ray writes, in folders of the test; Ray's own must have a short path (of its sockets)."""
    folder = tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="r") as short:
        patch.setenv("VTM_DATA", str(folder / "data"))
        patch.setenv("VTM_RUNS", str(folder / "runs"))
        patch.setenv("TQDM_DISABLE", "1")
        patch.setenv("RAY_TMPDIR", short)
        patch.setenv("RAY_AUTH_TOKEN", hashlib.sha256(short.encode()).hexdigest()[:32])
        yield folder


@pytest.fixture(scope="module")
def scenes() -> Corpus:
    return load_corpus("scenes", n=60)


def one_by_one(paths) -> np.ndarray:
    """The oracle: no batches, no threads, no cache, no shards."""
    image = load_encoder("pixels").image
    return np.concatenate([image.encode(image.preprocess(open_picture(p, size=64))[None]) for p in paths])


def spoilt_table(folder: Path, scenes: Corpus) -> Path:
    """A table of 12 pictures; 2 to 5 are cut off or no pictures: with 4 rows a shard, none of the second is good."""
    folder.mkdir()
    lines = ["image,text"]
    for number in range(12):
        name = f"{number:02d}.png"
        content = scenes.images[number].read_bytes()
        # Other bytes each: pictures of the same content would be one pair.
        (folder / name).write_bytes(content[: 200 + number] if 4 <= number < 8 else content)
        lines.append(f"{name},{scenes.texts[number]}")
    (folder / "broken.png").write_text("no picture")
    lines.append(f"broken.png,{scenes.texts[20]}")
    table = folder / "table.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


BAD = ["04.png", "05.png", "06.png", "07.png", "broken.png"]


def embedded(folder: Path) -> list[tuple]:
    """All that a folder says, but for where it is."""
    return [
        (m.corpus, m.side, m.key, m.rows, m.shards, [(d.id, d.reason, d.detail) for d in m.dropped])
        for m in (Manifest.load(folder, side) for side in ("image", "text"))
    ]


def test_the_folder_holds_what_the_encoder_gives(tmp_path, scenes):
    import pandas as pd

    manifests = embed_corpus(SCENES, tmp_path, encoder="pixels", shard_rows=25, batch_size=7)
    assert [(m.side, m.rows, m.dim, len(m.shards)) for m in manifests] == [
        ("image", 60, 208, 3),
        ("text", 60, 256, 3),
    ]
    ids, rows = read_embeddings(tmp_path, side="image")
    assert ids == scenes.ids and rows.dtype == np.float32
    assert np.array_equal(rows, one_by_one(scenes.images))
    _, rows = read_embeddings(tmp_path, side="text")
    assert np.array_equal(rows, load_encoder("pixels").text.encode(scenes.texts))

    # Others read the shards without us.
    frame = pd.concat(pd.read_parquet(path) for path in sorted((tmp_path / "image").glob("*.parquet")))
    assert tuple(frame["id"]) == scenes.ids and tuple(frame["sha256"]) == scenes.image_hashes
    assert np.array_equal(np.stack(frame["embedding"]), one_by_one(scenes.images))
    listing = json.loads((tmp_path / "image" / "manifest.json").read_text())
    assert [shard["sha256"] for shard in listing["shards"]] == [
        hashlib.sha256((tmp_path / "image" / shard["file"]).read_bytes()).hexdigest()
        for shard in listing["shards"]
    ]
    assert listing["key"] == load_encoder("pixels").image.key and listing["dropped"] == {}


def test_bad_pictures_are_dropped_and_listed(tmp_path, scenes):
    table = spoilt_table(tmp_path / "table", scenes)
    (manifest,) = embed_corpus(str(table), tmp_path / "out", encoder="pixels", side="image", shard_rows=4)
    assert manifest.drop_counts() == {"unreadable": 5} and [item.id for item in manifest.dropped] == BAD
    ids, rows = read_embeddings(tmp_path / "out")
    good = [number for number in range(12) if not 4 <= number < 8]
    assert ids == tuple(f"{number:02d}.png" for number in good)
    assert np.array_equal(rows, one_by_one([scenes.images[number] for number in good]))
    listing = json.loads((tmp_path / "out" / "image" / "manifest.json").read_text())
    assert [item["id"] for item in listing["dropped"]["unreadable"]] == BAD
    assert [shard["rows"] for shard in listing["shards"]] == [4, 0, 4, 0]


def test_a_corpus_of_which_none_can_be_used_is_an_error(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("image,text\nno.png,a red ball\n")
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(DataError, match="no image can be used; the first: .*no.png"):
        embed_corpus(str(table), tmp_path / "out", encoder="pixels", side="image")
    assert not (tmp_path / "out" / "image" / "manifest.json").exists()
    # Another error stays what it is.
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="cannot be written"):
        embed_corpus(SCENES, tmp_path / "out", encoder="pixels", side="image", cache=tmp_path / "file")


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """How many pictures the encoder was given, call by call."""
    from vtm.encoders.pixels import ColoursAndEdges

    calls, inner = [], ColoursAndEdges.encode

    def counting(self, batch):
        calls.append(len(batch))
        return inner(self, batch)

    monkeypatch.setattr(ColoursAndEdges, "encode", counting)
    return calls


def test_what_is_there_and_whole_is_not_computed_again(tmp_path, encoded):
    def run(spec=SCENES, cache="cache") -> Manifest:
        encoded.clear()
        options = dict(encoder="pixels", side="image", shard_rows=20, cache=tmp_path / cache)
        return embed_corpus(spec, tmp_path / "out", **options)[0]

    folder = tmp_path / "out" / "image"
    first = run()
    assert sum(encoded) == 60
    assert run() == first and encoded == []
    # On another machine, to which the folder was copied.
    assert run(cache="another") == first and encoded == []
    assert run(cache="another") == first and encoded == []

    names = [name for name, _, _ in first.shards]
    whole = {name: (folder / name).read_bytes() for name in names}
    (folder / names[0]).unlink()
    content = bytearray(whole[names[2]])
    content[len(content) // 2] ^= 1
    (folder / names[2]).write_bytes(bytes(content))
    with pytest.warns(UserWarning, match=f"{names[0]}: is missing; it is written anew"):
        assert run() == first and encoded == []
    assert {name: (folder / name).read_bytes() for name in names} == whole
    # What is whole in a damaged folder counts where the cache has nothing.
    (folder / names[2]).write_bytes(bytes(content))
    with pytest.warns(UserWarning, match=f"{names[2]}: is not what was written; it is written anew"):
        assert run(cache="empty") == first and sum(encoded) == 20

    # A corpus that grew: its first shards are the same, the last one has another name, and the old one goes.
    shrunk = run("scenes:n=50")
    assert encoded == [] and [name for name, _, _ in shrunk.shards[:2]] == names[:2]
    listed = json.loads((folder / "manifest.json").read_text())["shards"]
    there = {path.name for path in folder.glob("*.parquet")}
    assert there == {shard["file"] for shard in listed} and names[2] not in there


def test_a_picture_that_was_gone_is_tried_again(tmp_path, scenes, monkeypatch):
    paths = [shutil.copy(path, tmp_path / path.name) for path in scenes.images[:6]]
    corpus = Corpus("six", scenes.ids[:6], scenes.texts[:6], tuple(paths), scenes.image_hashes[:6])
    monkeypatch.setattr(vtm.encoders.shards, "load_corpus", lambda name, **options: corpus)
    options = dict(encoder="pixels", side="image", shard_rows=3, cache=tmp_path / "cache")
    aside = paths[1].rename(tmp_path / "aside")
    (manifest,) = embed_corpus("six", tmp_path / "out", **options)
    assert [(item.id, item.reason) for item in manifest.dropped] == [(scenes.ids[1], "missing")]
    aside.rename(paths[1])
    (manifest,) = embed_corpus("six", tmp_path / "out", **options)
    assert manifest.rows == 6 and not manifest.dropped


def test_reading_checks_what_it_reads(tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(MissingError, match="no finished embeddings"):
        read_embeddings(folder)
    embed_corpus(SCENES, folder, encoder="pixels", side="text")
    assert read_embeddings(folder)[1].shape == (60, 256)
    with pytest.raises(MissingError, match="no finished image embeddings"):
        read_embeddings(folder, side="image")
    embed_corpus(SCENES, folder, encoder="pixels", side="image")
    with pytest.raises(ConfigError, match="image and text embeddings; name the side"):
        read_embeddings(folder)
    (shard,) = (folder / "text").glob("*.parquet")
    content = bytearray(shard.read_bytes())
    content[-200] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DataError, match="is not what was written"):
        read_embeddings(folder, side="text")
    shard.unlink()
    with pytest.raises(DataError, match="is missing"):
        read_embeddings(folder, side="text")
    (folder / "text" / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(DataError, match="not a manifest"):
        read_embeddings(folder, side="text")


def test_prepare_finds_what_was_imported(tmp_path, monkeypatch):
    from vtm.encoders.pixels import ColoursAndEdges, HashedWords
    from vtm.experiment.prepare import prepare

    embed_corpus(SCENES, tmp_path / "out", encoder="pixels", cache=tmp_path / "elsewhere", shard_rows=25)
    expected = [read_embeddings(tmp_path / "out", side=side)[1] for side in ("image", "text")]
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    assert [import_embeddings(tmp_path / "out", side=side) for side in ("image", "text")] == [60, 60]
    assert [import_embeddings(tmp_path / "out", side=side) for side in ("image", "text")] == [0, 0]

    def no_encoding(*arguments):
        raise AssertionError("encoded again")

    monkeypatch.setattr(ColoursAndEdges, "encode", no_encoding)
    monkeypatch.setattr(HashedWords, "encode", no_encoding)
    data = prepare(from_parameters(dict(corpus=SCENES, encoder="pixels", min_df=1)), progress=False)
    assert np.array_equal(data.image, expected[0]) and np.array_equal(data.text, expected[1])


def test_unusable_options_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("vtm.encoders.ray.import_ray", lambda: None)
    for options, message in (
        ({"engine": "dask"}, "engine='dask': choose from local, ray"),
        ({"side": "sound"}, "side='sound'"),
        ({"workers": 0}, "workers=0"),
        ({"encoder": "nothing"}, "no encoder is called 'nothing'"),
        ({"engine": "ray", "address": "ray://head:10001"}, "Ray Data does not run through Ray Client"),
    ):
        with pytest.raises(ConfigError, match=message):
            embed_corpus(SCENES, tmp_path / "out", **{"encoder": "pixels", **options})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", [".", "image", "text"])
def test_nothing_is_written_among_other_files(tmp_path, inside):
    """Nor beside pictures that lie in a folder of a side's name; what file managers leave is no other file."""
    folder = tmp_path / "photos" / inside
    folder.mkdir(parents=True)
    (folder / "boat.jpg").write_bytes(b"a picture")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        ConfigError, match=r"photos.*: holds other files, such as boat\.jpg, and is not a folder of"
    ):
        embed_corpus(SCENES, tmp_path / "photos", encoder="pixels")
    assert sorted(tmp_path.rglob("*")) == before
    (folder / "boat.jpg").rename(folder / ".directory")
    assert len(embed_corpus(SCENES, tmp_path / "photos", encoder="pixels", progress=False)) == 2
    # A finished folder is ours, whatever a user put beside.
    (folder / "README").touch()
    assert len(embed_corpus(SCENES, tmp_path / "photos", encoder="pixels", progress=False)) == 2


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    from vtm.cli import reproduce

    monkeypatch.setitem(sys.modules, "ray", None)
    for call in (
        lambda: embed_corpus(SCENES, tmp_path / "out", encoder="pixels", engine="ray"),
        lambda: reproduce("smoke", engine="ray"),
    ):
        with pytest.raises(MissingError, match=r'pip install -e "\.\[ray\]"'):
            call()
    assert not (tmp_path / "out").exists()


def test_the_command_tells_what_it_wrote(tmp_path, scenes):
    table = spoilt_table(tmp_path / "table", scenes)
    app = typer.Typer()
    app.command()(embed)
    shown = CliRunner().invoke(
        app, [str(table), "-o", str(tmp_path / "out"), "--encoder", "pixels", "--side", "image"]
    )
    assert shown.exit_code == 0, shown.output
    assert f"image  8 embeddings of 208 numbers, 1 shard in {tmp_path / 'out' / 'image'}" in shown.output
    assert "dropped, unreadable: 5, such as 04.png" in shown.output


def test_a_worker_has_a_gpu_where_there_are_any():
    def cluster(**there):
        return SimpleNamespace(cluster_resources=lambda: there)

    assert resources(cluster(CPU=8.0), workers=None, device="auto") == (8, 0.0)
    assert resources(cluster(CPU=8.0), workers=3, device="auto") == (3, 0.0)
    assert resources(cluster(CPU=8.0, GPU=2.0), workers=None, device="auto") == (2, 1.0)
    assert resources(cluster(CPU=8.0, GPU=2.0), workers=None, device="cpu") == (8, 0.0)
    with pytest.raises(MissingError, match="8 CPUs and 0 GPUs.*device=auto"):
        resources(cluster(CPU=8.0), workers=None, device="cuda")
    with pytest.raises(MissingError, match="0 CPUs"):
        resources(cluster(), workers=None, device="auto")


def test_an_error_of_ours_is_shown_as_it_is():
    ours = DataError("the text is odd\nTo change retry attempts, configure this and that.")
    plain = plain_error(SimpleNamespace(cause=ours, __cause__=None), "")
    assert type(plain) is DataError and str(plain) == "the text is odd"
    assert str(plain_error(RuntimeError("Traceback\n  a\nOutOfMemory: no room\n"), "the rest is kept")) == (
        "on the Ray cluster: OutOfMemory: no room; the rest is kept"
    )


def test_on_a_gpu_the_seeds_of_a_kind_and_size_are_one_training():
    from vtm.experiment.runs import tasks_of

    assert tasks_of([0, 3], together=True) == [(0, 3)]
    assert tasks_of([0, 3], together=False) == [(0,), (3,)]


# Ray from here on.


def processes(title: str) -> list[int]:
    """Ids of the processes below this one whose title begins so."""
    parents, titles = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                titles[int(entry.name)] = (entry / "cmdline").read_text(errors="replace")
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue

    def is_ours(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == os.getpid():
                return True
        return False

    return sorted(pid for pid, found in titles.items() if found.startswith(title) and is_ours(pid))


@pytest.fixture(scope="module")
def here(tmp_path_factory, scenes) -> Path:
    """What the local engine writes, in small shards."""
    folder = tmp_path_factory.mktemp("here")
    embed_corpus(SCENES, folder / "scenes", encoder="pixels", shard_rows=4)
    table = spoilt_table(folder / "table", scenes)
    embed_corpus(str(table), folder / "spoilt", encoder="pixels", shard_rows=4)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    pytest.importorskip("ray", reason='Ray is not installed: pip install -e ".[ray]"')
    with ray_cluster(workers=2) as ray:
        yield ray
    assert not ray.is_initialized() and processes("ray::") == []


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    monkeypatch.setattr(vtm.encoders.ray, "BLOCK_ROWS", 4)


def watch(monkeypatch, told) -> None:
    """Let `told(contents)` be called after each embedding that comes to be kept."""
    inner, kept = Store.add, []

    def add(self, content, row):
        inner(self, content, row)
        kept.append(content)
        told(kept)

    monkeypatch.setattr(Store, "add", add)


def test_a_cluster_that_is_not_there_is_said_at_once():
    pytest.importorskip("ray", reason='Ray is not installed: pip install -e ".[ray]"')
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"  # free again below
    for prefix in ("", "ray://"):
        with pytest.raises(MissingError, match=f"{address}: cannot be reached .*`ray start --head`"):
            with ray_cluster(f"{prefix}{address}"):
                pass


@pytest.mark.slow
def test_ray_writes_the_same_shards_and_a_killed_worker_loses_and_doubles_nothing(
    tmp_path, here, cluster, small_blocks, monkeypatch, capfd
):
    killed = []

    def kill_one(kept):
        if not killed:
            killed.append(processes("ray::MapWorker")[0])
            os.kill(killed[0], signal.SIGKILL)

    watch(monkeypatch, kill_one)
    options = dict(encoder="pixels", engine="ray", workers=2, shard_rows=4, cache=tmp_path / "cache")
    embed_corpus(SCENES, tmp_path / "out", **options)
    assert killed and not Path(f"/proc/{killed[0]}").exists()
    assert embedded(tmp_path / "out") == embedded(here / "scenes")  # the files' hashes among them
    for side in ("image", "text"):
        ours, theirs = (read_embeddings(folder, side=side) for folder in (here / "scenes", tmp_path / "out"))
        assert ours[0] == theirs[0] and len(set(theirs[0])) == len(theirs[0]) == 60
        assert np.array_equal(ours[1], theirs[1])
    assert import_embeddings(tmp_path / "out", side="image", cache=tmp_path / "cache") == 0  # it is there
    assert "INFO" not in capfd.readouterr().err


@pytest.mark.slow
def test_ray_resumes_and_lists_bad_pictures_as_the_local_engine(
    tmp_path, here, cluster, small_blocks, encoded, monkeypatch
):
    def stop(kept):
        if len(kept) == 3:
            raise KeyboardInterrupt

    table = str(here / "table" / "table.csv")
    options = dict(encoder="pixels", engine="ray", side="image", shard_rows=4, cache=tmp_path / "cache")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        watch(patch, stop)
        embed_corpus(table, tmp_path / "out", **options)
    with pytest.raises(MissingError):
        read_embeddings(tmp_path / "out")  # an unfinished folder is not taken for a whole one
    again = []
    with monkeypatch.context() as patch:
        watch(patch, lambda kept: again.append(kept[-1]))
        (manifest,) = embed_corpus(table, tmp_path / "out", **options)
    assert len(set(again)) == len(again) == 8 - 3
    ours = Manifest.load(here / "spoilt", "image")
    assert manifest.shards == ours.shards and manifest.dropped == ours.dropped
    assert [item.id for item in manifest.dropped] == BAD and encoded == []  # nothing here, all on workers


@pytest.fixture
def job(cluster, small_blocks, monkeypatch) -> SimpleNamespace:
    """Ray Data's place, with an actor in this process: `before` is called with it and all blocks, `change` with answers."""
    told = SimpleNamespace(before=lambda actor, blocks: None, change=lambda answer: answer)

    def map_batches(blocks, kind, *, fn_constructor_kwargs, **options):
        def iter_batches(**options):
            actor = kind(**fn_constructor_kwargs)
            told.before(actor, blocks)
            for block in blocks:
                yield told.change(actor(block))

        return SimpleNamespace(iter_batches=iter_batches)

    def from_arrow(blocks):
        return SimpleNamespace(
            map_batches=lambda *arguments, **options: map_batches(blocks, *arguments, **options)
        )

    monkeypatch.setattr(cluster.data, "from_arrow", from_arrow)
    return told


@pytest.mark.slow
def test_a_block_that_kills_every_worker_is_given_up(tmp_path, scenes, job):
    def begin_again_and_again(actor, blocks):
        for _ in range(1 + RETRIES):
            assert actor(blocks[0])["reason"].to_pylist() == [""] * 4

    job.before = begin_again_and_again
    options = dict(encoder="pixels", engine="ray", side="image", cache=tmp_path / "cache")
    message = "4 of 8 items were given up.*the first image scene-00000, the last image scene-00003; all others are kept"
    with pytest.raises(VtmError, match=message):
        embed_corpus("scenes:n=8", tmp_path / "out", **options)
    image = load_encoder("pixels").image
    stored = dict(Store(image.key, image.dim, tmp_path / "cache").stored())
    assert set(stored) == set(scenes.image_hashes[4:8])


@pytest.mark.slow
def test_a_picture_that_only_the_worker_misses_is_no_bad_picture(tmp_path, scenes, job, monkeypatch):
    import pyarrow as pa

    def without_the_second(answer):
        answer = answer.to_pylist()
        answer[1] |= {"embedding": b"", "reason": "missing"}
        return pa.Table.from_pylist(answer)

    job.change = without_the_second
    options = dict(encoder="pixels", engine="ray", side="image", cache=tmp_path / "cache")
    with pytest.raises(MissingError, match="is here and not on a worker.*shared file system"):
        embed_corpus("scenes:n=3", tmp_path / "out", **options)
    # Another that is not here either is one.
    paths = [*scenes.images[:1], tmp_path / "gone.png", *scenes.images[2:3]]
    corpus = Corpus("three", scenes.ids[:3], scenes.texts[:3], tuple(paths), scenes.image_hashes[:3])
    monkeypatch.setattr(vtm.encoders.shards, "load_corpus", lambda name, **options: corpus)
    (manifest,) = embed_corpus("three", tmp_path / "out", **options | {"cache": tmp_path / "other"})
    assert [(item.id, item.reason) for item in manifest.dropped] == [(scenes.ids[1], "missing")]


@pytest.mark.slow
def test_an_error_on_a_worker_is_one_line(tmp_path, cluster, scenes, monkeypatch):
    from vtm.encoders.pixels import ColoursAndEdges

    # Known to this process only: the worker's encoder has another key.
    monkeypatch.setattr(ColoursAndEdges, "key", "pixels-of-another-version")
    with pytest.raises(VtmError, match="its encoder pixels is another one") as raised:
        embed_corpus(SCENES, tmp_path / "out", encoder="pixels", engine="ray", side="image", cache=tmp_path)
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def experiment():
    return from_parameters(
        dict(corpus="scenes:n=160", encoder="pixels", n_topics=6, seeds=[0, 1], epochs=12, batch_size=16)
    )


def on_ray(experiment, kinds=("joint", "text-teacher")) -> list:
    """Trained on Ray where there is no current result, and read back."""
    import vtm.experiment.runs
    from vtm.experiment.prepare import prepare
    from vtm.experiment.runs import train_on_ray

    data = prepare(experiment, progress=False)
    train_on_ray(data, [(kind, k, experiment.model) for kind in kinds for k in experiment.n_topics])

    def no_training(*arguments, **options):
        raise AssertionError("trained again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vtm.model.distill.train_pair", no_training)
        return [run for kind in kinds for run in vtm.experiment.runs.run_models(data, kind, progress=False)]


@pytest.mark.slow
def test_training_on_ray_leaves_what_a_local_run_leaves(tmp_path, experiment, cluster, monkeypatch):
    import vtm.experiment.runs
    from vtm.experiment.prepare import prepare

    data, kinds = prepare(experiment, progress=False), ("joint", "text-teacher")
    monkeypatch.setenv("VTM_RUNS", str(tmp_path / "local"))
    local = [run for kind in kinds for run in vtm.experiment.runs.run_models(data, kind, progress=False)]

    killed: list[int] = []
    done = threading.Event()

    def kill_one() -> None:
        while not killed and not done.is_set():
            for pid in processes("ray::_train")[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.005)

    monkeypatch.setenv("VTM_RUNS", str(tmp_path / "ray"))
    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        results = on_ray(experiment)
    finally:
        done.set()
        killer.join()
    assert killed

    def files(folder: Path) -> list[Path]:
        paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return sorted(path for path in paths if path.name != ".lock")  # of each run's own process

    assert files(tmp_path / "ray") == files(tmp_path / "local")
    for theirs, ours in zip(results, local, strict=True):
        assert (theirs.row, theirs.n_topics, theirs.seed) == (ours.row, ours.n_topics, ours.seed)
        assert theirs.ids == ours.ids and theirs.status == ours.status
        # One seed or two in a matrix product may round differently: seen are differences of 1e-6.
        for name in ours.arrays:
            np.testing.assert_allclose(theirs.arrays[name], ours.arrays[name], atol=1e-5, rtol=0)
    # Nothing but the teacher's own posterior is computed for several seeds at once.
    teachers = [path for path in files(tmp_path / "local") if path.name == "teacher.safetensors"]
    assert len(teachers) == 4
    for path in teachers:
        assert (tmp_path / "ray" / path).read_bytes() == (tmp_path / "local" / path).read_bytes()

    def no_cluster(*arguments, **options):
        raise AssertionError("trained again")

    # Ray finds it done, too.
    monkeypatch.setattr(cluster, "remote", no_cluster)
    assert [run.figures for run in on_ray(experiment)] == [run.figures for run in results]


@pytest.mark.slow
def test_a_training_that_fails_leaves_the_others(tmp_path, experiment, cluster, monkeypatch):
    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    with pytest.raises(
        VtmError,
        match=r"2 trainings failed, all others are kept; the first \(nonsense, 6 topics, seed [01].*kind='nonsense'",
    ):
        on_ray(experiment, ["nonsense", "text-teacher"])
    assert len(list(tmp_path.rglob("result.safetensors"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("part", ["description", "arrays"])
def test_a_damaged_result_is_said_and_made_again(tmp_path, experiment, cluster, monkeypatch, part):
    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    before = on_ray(experiment, ["joint"])
    (path,) = tmp_path.rglob("joint-*/seed-1/result.safetensors")
    content = bytearray(path.read_bytes())
    content[content.find(b"figures") + 20 if part == "description" else -5] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"result.safetensors: .*; it is made again"):
        after = on_ray(experiment, ["joint"])
    for again, first in zip(after, before, strict=True):
        assert again.seed == first.seed
        for array in first.arrays:
            np.testing.assert_array_equal(again.arrays[array], first.arrays[array])


def test_another_version_of_vtm_does_not_train(experiment):
    from vtm.experiment.prepare import prepare
    from vtm.experiment.runs import _train_apart

    with pytest.raises(VtmError, match="another version of vtm"):
        _train_apart(prepare(experiment, progress=False), "joint", 6, experiment.model, (0,), "another hash")


def test_what_is_trained_apart_comes_back_without_a_lock_that_may_be_held_here(tmp_path, monkeypatch):
    from vtm.experiment.prepare import prepare
    from vtm.experiment.runs import _train_apart, models_code

    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    small = from_parameters({"corpus": "scenes:n=60", "encoder": "pixels", "seeds": 0, "epochs": 1})
    files = _train_apart(prepare(small, progress=False), "joint", 4, small.model, (0,), models_code())
    names = {Path(name).name for name in files}
    assert names == {f"{name}.safetensors" for name in ("text", "image", "teacher", "result")}


@pytest.mark.slow
def test_warm_leaves_nothing_to_train_for_the_notebooks(tmp_path, cluster, monkeypatch):
    import vtm.experiment.runs
    from vtm.experiment.prepare import prepare
    from vtm.experiment.runs import warm

    monkeypatch.setenv("VTM_RUNS", str(tmp_path))
    monkeypatch.setattr("vtm.experiment.runs.KL_WEIGHTS", (0.1, 1.0))
    small = from_parameters(
        dict(corpus="scenes:n=160", encoder="pixels", n_topics=[4, 6], seeds=0, epochs=2, batch_size=16)
    )
    assert warm(prepare(small, progress=False)) is None

    def no_training(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr("vtm.model.distill.train_pair", no_training)
    data = prepare(small, progress=False)
    for kind in ("joint", "text-teacher"):
        assert len(vtm.experiment.runs.run_models(data, kind, progress=False)) == 2
    assert len(vtm.experiment.runs.sweep(data, kl_weights=(0.1, 1.0))) == 8
