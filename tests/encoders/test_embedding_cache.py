from __future__ import annotations

import hashlib
import multiprocessing
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vtm.corpora.base import Dropped
from vtm.corpora.pictures import open_picture
from vtm.encoders import cache as cache_module
from vtm.encoders import cache as store_module
from vtm.encoders import embed_images, embed_texts, load_encoder
from vtm.errors import DataError
from vtm.files import hash_file


class Counting:
    """The pixels encoder, which counts what it is given and can break off."""

    def __init__(
        self,
        *,
        break_after: int | None = None,
        error: type[BaseException] = AssertionError,
        key: str = "",
        text: bool = False,
    ) -> None:
        pair = load_encoder("pixels")
        self.inner = pair.text if text else pair.image
        self.key, self.dim, self.size = self.inner.key + key, self.inner.dim, 64
        self.break_after, self.error = break_after, error
        self.batches: list[int] = []

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return self.inner.preprocess(image)

    def encode(self, batch: np.ndarray | Sequence[str]) -> np.ndarray:
        if self.break_after is not None and len(self.batches) >= self.break_after:
            raise self.error("the encoder was called")
        self.batches.append(len(batch))
        return self.inner.encode(batch)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for number in range(30):
        picture = Image.new("RGB", (70, 50), "white")
        x, y, red, green = (int(value) for value in rng.integers(0, 40, 4))
        ImageDraw.Draw(picture).ellipse((x, y, x + 25, y + 9), fill=(red * 6, green * 6, number * 8))
        paths.append(folder / f"{number:02d}.png")
        picture.save(paths[-1])
    return paths


def embed(encoder: Counting, paths: Sequence[Path], cache: Path, **options):
    hashes = [hash_file(path) if path.is_file() else "0" * 64 for path in paths]
    return embed_images(
        encoder, [path.stem for path in paths], paths, hashes, cache=cache, progress=False, **options
    )


def one_by_one(paths: Sequence[Path]) -> np.ndarray:
    """The oracle: no batches, no threads, no cache."""
    image = load_encoder("pixels").image
    batches = [image.preprocess(open_picture(path, size=64))[None] for path in paths]
    return np.concatenate([image.encode(batch) for batch in batches])


def shards(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


def test_rows_are_those_of_the_oracle_and_read_back(tmp_path, pictures):
    encoder = Counting()
    embeddings, ids, dropped = embed(encoder, pictures, tmp_path / "cache", batch_size=7)
    assert embeddings.dtype == np.float32 and ids == tuple(path.stem for path in pictures) and dropped == ()
    assert np.array_equal(embeddings, one_by_one(pictures))
    assert encoder.batches == [7, 7, 7, 7, 2]

    # Read back in another order and in part, without the encoder and without the pictures.
    backwards = pictures[::-2]
    hashes = [hash_file(path) for path in backwards]
    again = Counting(break_after=0)
    gone = [path.with_name("gone.png") for path in backwards]
    found, _, _ = embed_images(again, ids[::-2], gone, hashes, cache=tmp_path / "cache", progress=False)
    assert np.array_equal(found, embeddings[::-2])


def test_a_picture_that_the_cache_has_is_not_dropped_for_what_was_known_of_it_before(tmp_path, pictures):
    paths = pictures[:3]
    hashes = [hash_file(path) for path in paths]
    known = {content: Dropped("x", "missing", "not on that machine") for content in hashes[1:]}
    embed(Counting(), paths[:2], tmp_path / "cache")
    rows, ids, dropped = embed(Counting(), paths, tmp_path / "cache", known=known)
    assert ids == ("00", "01") and len(rows) == 2
    assert dropped == (Dropped("02", "missing", "not on that machine"),)


@pytest.mark.parametrize("batch_size,workers", [(1, 1), (4, 3), (64, 2)])
def test_batches_and_workers_change_nothing(tmp_path, pictures, batch_size, workers):
    found, _, _ = embed(Counting(), pictures, tmp_path / "cache", batch_size=batch_size, workers=workers)
    assert np.array_equal(found, one_by_one(pictures))


def test_a_grown_corpus_computes_only_what_is_new(tmp_path, pictures):
    embed(Counting(), pictures[5:20], tmp_path / "cache")
    encoder = Counting()
    found, _, _ = embed(encoder, pictures, tmp_path / "cache")
    assert sum(encoder.batches) == 15
    assert np.array_equal(found, one_by_one(pictures))


def test_same_content_is_encoded_once(tmp_path, pictures):
    copy = tmp_path / "copy.png"
    copy.write_bytes(pictures[3].read_bytes())
    encoder = Counting()
    found, ids, _ = embed(encoder, [*pictures[:5], copy], tmp_path / "cache")
    assert sum(encoder.batches) == 5 and ids[-1] == "copy"
    assert np.array_equal(found[3], found[5])


def test_bad_pictures_are_dropped_counted_and_tried_again(tmp_path, pictures):
    good = pictures[4].read_bytes()
    pictures[4].write_bytes(good[: len(good) // 2])
    pictures[9].write_text("not a picture")
    Image.new("RGB", (300, 300)).save(pictures[11])
    pictures[17].unlink()
    found, ids, dropped = embed(Counting(), pictures, tmp_path / "cache", batch_size=4, max_pixels=50_000)
    assert [(item.id, item.reason) for item in dropped] == [
        ("04", "unreadable"),
        ("09", "unreadable"),
        ("11", "too-large"),
        ("17", "missing"),
    ]
    assert all(str(pictures[int(item.id)]) in item.detail for item in dropped)
    kept = [path for path in pictures if path.stem not in {item.id for item in dropped}]
    assert ids == tuple(path.stem for path in kept)
    assert np.array_equal(found, one_by_one(kept))

    encoder = Counting()
    _, ids, dropped = embed(encoder, pictures, tmp_path / "cache")  # the limit is the default one now
    assert sum(encoder.batches) == 1 and "11" in ids and len(dropped) == 3


def test_a_failure_is_not_remembered(tmp_path, pictures):
    content = hash_file(pictures[0])
    hashes = [content, hash_file(pictures[1])]
    aside = pictures[0].rename(tmp_path / "aside.png")
    options = {"cache": tmp_path / "cache", "progress": False}
    _, ids, _ = embed_images(Counting(), ["a", "b"], pictures[:2], hashes, **options)
    assert ids == ("b",)
    aside.rename(pictures[0])
    _, ids, dropped = embed_images(Counting(), ["a", "b"], pictures[:2], hashes, **options)
    assert ids == ("a", "b") and dropped == ()


def test_a_changed_picture_is_not_stored_under_its_old_hash(tmp_path, pictures):
    hashes = [hash_file(path) for path in pictures[:2]]
    pictures[0].write_bytes(pictures[2].read_bytes())
    _, ids, dropped = embed_images(
        Counting(), ["a", "b"], pictures[:2], hashes, cache=tmp_path / "cache", progress=False
    )
    assert ids == ("b",) and [(item.id, item.reason) for item in dropped] == [("a", "changed")]


def test_pictures_of_which_none_can_be_used_give_no_rows_and_the_reasons(tmp_path):
    rows, kept, dropped = embed(Counting(), [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "cache")
    assert rows.shape == (0, Counting().dim) and kept == ()
    assert [item.reason for item in dropped] == ["missing"] * 2
    assert "a.png: no such file" in dropped[0].detail


def test_what_cannot_be_asked_for_is_an_error(tmp_path):
    with pytest.raises(DataError, match="2 ids, 1 picture and 2 hashes"):
        embed_images(Counting(), ["a", "b"], [tmp_path / "a.png"], ["0" * 64] * 2, cache=tmp_path)
    with pytest.raises(DataError, match="picture hash 'abc' is not a SHA-256"):
        embed_images(Counting(), ["a"], [tmp_path / "a.png"], ["abc"], cache=tmp_path)


def test_an_embedding_that_is_no_number_is_dropped_and_not_stored(tmp_path, pictures):
    class Broken(Counting):
        def encode(self, batch: np.ndarray) -> np.ndarray:
            rows = super().encode(batch)
            rows[1, 5] = np.nan
            return rows

    _, ids, dropped = embed(Broken(), pictures[:3], tmp_path / "cache")
    assert ids == ("00", "02") and [(item.id, item.reason) for item in dropped] == [("01", "not-finite")]
    found, ids, dropped = embed(Counting(), pictures[:3], tmp_path / "cache")
    assert dropped == () and np.array_equal(found, one_by_one(pictures[:3]))


def test_wrong_shape_names_the_encoder(tmp_path, pictures):
    encoder = Counting()
    encoder.dim = 5
    with pytest.raises(DataError, match=r"encoder pixels-.* gave \(3, 208\), expected \(3, 5\)"):
        embed(encoder, pictures[:3], tmp_path / "cache")


def test_interrupted_work_resumes(tmp_path, pictures):
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        embed(Counting(break_after=3, error=KeyboardInterrupt), pictures, tmp_path / "cache", batch_size=4)
    assert threading.active_count() == threads
    encoder = Counting()
    found, _, _ = embed(encoder, pictures, tmp_path / "cache", batch_size=4)
    assert sum(encoder.batches) == 30 - 3 * 4
    assert np.array_equal(found, one_by_one(pictures))


def killed(paths: list[Path], cache: Path, at: int) -> None:
    """Embed, and die without any clean-up when the shard of this number would be written."""
    import os

    written = 0
    write = store_module.Store._write_shard

    def write_or_die(self, rows):
        nonlocal written
        if written == at:
            os._exit(9)
        written += 1
        write(self, rows)

    store_module.SHARD_ROWS = 4
    store_module.Store._write_shard = write_or_die
    embed(Counting(), paths, cache, batch_size=2)


def test_killed_work_resumes_from_the_last_shard(tmp_path, pictures):
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=killed, args=(pictures, tmp_path / "cache", 3))
    process.start()
    process.join()
    assert process.exitcode == 9
    encoder = Counting()
    found, _, _ = embed(encoder, pictures, tmp_path / "cache")
    assert sum(encoder.batches) == 30 - 3 * 4
    assert np.array_equal(found, one_by_one(pictures))


def test_shards_are_written_by_age_too(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_SECONDS", 0.0)
    monkeypatch.setattr(store_module.Store, "merge", lambda self: None)
    embed(Counting(), pictures[:5], tmp_path / "cache")
    assert len(shards(tmp_path / "cache")) == 5


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def truncate(path: Path, position: int) -> None:
    path.write_bytes(path.read_bytes()[:position])


@pytest.mark.parametrize("damage", [flip, truncate])
@pytest.mark.parametrize("where", [0.0, 0.004, 0.02, 0.1, 0.5, 0.9999])
def test_a_damaged_shard_is_named_set_aside_and_computed_again(tmp_path, pictures, damage, where):
    cache = tmp_path / "cache"
    embed(Counting(), pictures, cache)
    (shard,) = shards(cache)
    damage(shard, int(where * shard.stat().st_size))
    encoder = Counting()
    with pytest.warns(UserWarning, match=f"{shard.name}: damaged .* set aside"):
        found, _, _ = embed(encoder, pictures, cache)
    assert sum(encoder.batches) == 30
    assert np.array_equal(found, one_by_one(pictures))
    assert not shard.exists() and (shard.parent / store_module.DAMAGED).exists()
    last = Counting()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed(last, pictures, cache)
    assert last.batches == []


def test_lack_of_memory_is_no_damage(tmp_path, pictures, monkeypatch):
    import safetensors

    cache = tmp_path / "cache"
    embed(Counting(), pictures[:2], cache)
    before = shards(cache)

    # As seen with safetensors 0.8 in an address space that has room for the file, and none for its numbers.
    panic = type("PanicException", (BaseException,), {})
    for error in (
        MemoryError(),
        SystemError("deallocated bytearray object has exported buffers"),
        panic("null"),
    ):

        def no_memory(path, framework, error=error):
            raise error

        with monkeypatch.context() as patch, pytest.raises(MemoryError):
            patch.setattr(safetensors, "safe_open", no_memory)
            embed(Counting(), pictures[:2], cache)
        assert shards(cache) == before and list(cache.rglob("*.damaged")) == []
    failing = safetensors.SafetensorError("I/O error: Input/output error (os error 5)")
    with monkeypatch.context() as patch, pytest.raises(DataError, match="Input/output error.; use another"):
        patch.setattr(safetensors, "safe_open", lambda *_, **__: (_ for _ in ()).throw(failing))
        embed(Counting(), pictures[:2], cache)
    assert shards(cache) == before and list(cache.rglob("*.damaged")) == []
    embed(Counting(break_after=0), pictures[:2], cache)


def test_one_damaged_shard_is_kept_and_no_more(tmp_path, pictures):
    cache = tmp_path / "cache"
    for _ in range(3):
        embed(Counting(), pictures, cache)
        (shard,) = shards(cache)
        flip(shard, shard.stat().st_size // 2)
        damaged = shard.read_bytes()
        with pytest.warns(UserWarning, match="set aside"):
            embed(Counting(), pictures, cache)
    (aside,) = cache.rglob("*.damaged")
    assert aside.read_bytes() == damaged


def test_every_byte_of_a_shard_is_guarded(tmp_path, pictures):
    cache = tmp_path / "cache"
    embed(Counting(), pictures[:2], cache)
    (shard,) = shards(cache)
    whole = shard.read_bytes()
    store = store_module.Store(Counting().key, Counting().dim, cache)
    right = store._read_shard(shard)
    accepted = 0
    for position in range(0, len(whole), 3):
        flip(shard, position)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = store._read_shard(shard)
        # A flip in the header's padding may be harmless; a wrong number is never given out.
        if rows:
            accepted += 1
            assert rows.keys() == right.keys()
            assert all(np.array_equal(rows[content], right[content]) for content in right)
        shard.write_bytes(whole)
    assert accepted < 5


def test_two_encoders_do_not_mix(tmp_path, pictures):
    cache = tmp_path / "cache"
    embed(Counting(), pictures, cache)
    other = Counting(key="-other")
    embed(other, pictures, cache)
    assert sum(other.batches) == 30
    ours, theirs = {shard.parent for shard in shards(cache)}
    # Even a shard that someone copied over is not taken for ours.
    for shard in ours.glob("*.safetensors"):
        shard.unlink()
    for shard in theirs.glob("*.safetensors"):
        shard.rename(ours / shard.name)
    keys = [Counting(), Counting(key="-other")]
    with pytest.warns(UserWarning, match="holds embeddings of another encoder; it is not read"):
        for encoder in keys:
            embed(encoder, pictures, cache)
    assert list(cache.rglob("*.damaged")) == []
    assert [sum(encoder.batches) for encoder in keys] == [30, 30]


def test_small_shards_are_merged_and_nothing_is_lost(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_ROWS", 4)
    cache = tmp_path / "cache"
    found, _, _ = embed(Counting(), pictures, cache, batch_size=3)
    assert [shard.name.split("-")[0] for shard in shards(cache)] == ["30"]
    assert list(cache.rglob("*.tmp")) == []
    again, _, _ = embed(Counting(break_after=0), pictures, cache)
    assert np.array_equal(found, again)


def test_merging_cut_off_before_deleting_loses_and_repeats_nothing(tmp_path, pictures, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setattr(store_module, "SHARD_ROWS", 4)
    deleted = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".safetensors":
            raise KeyboardInterrupt
        deleted(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(KeyboardInterrupt):
        embed(Counting(), pictures, cache, batch_size=3)
    monkeypatch.setattr(Path, "unlink", deleted)
    assert len(shards(cache)) > 2
    found, _, _ = embed(Counting(break_after=0), pictures, cache)
    assert np.array_equal(found, one_by_one(pictures))
    assert len(shards(cache)) == 1


def test_a_store_that_is_asked_again_reads_each_shard_once(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_ROWS", 4)
    cache, read = tmp_path / "cache", store_module.Store._arrays
    opened: list[tuple[Path, bool]] = []

    def listed(self, path, **options):
        opened.append((path, options.get("checked", True)))
        return read(self, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(store_module.Store, "merge", lambda self: None)
        embed(Counting(), pictures[:12], cache)
    monkeypatch.setattr(store_module.Store, "_arrays", listed)
    store = store_module.Store(Counting().key, Counting().dim, cache)
    fresh = Counting()
    for start in range(0, 30, 3):
        found, _, _ = embed(fresh, pictures[start : start + 3], store)
        assert np.array_equal(found, one_by_one(pictures[start : start + 3]))
    # Once to know what is in it, and once to check it, before a row of it is given out.
    assert max(Counter(opened).values()) == 1 and sum(fresh.batches) == 18
    assert sum(checked for _, checked in opened) == 3
    for number in (29, 0):
        found, _, _ = embed(Counting(break_after=0), [pictures[number]] * 2, store)
        assert np.array_equal(found, one_by_one([pictures[number]] * 2))


def test_reading_while_another_process_merges(tmp_path, pictures, monkeypatch):
    """The listed shards vanish before they are opened; their rows are in one that was not there yet."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(store_module, "SHARD_ROWS", 4)
    with monkeypatch.context() as patch:
        patch.setattr(store_module.Store, "merge", lambda self: None)
        embed(Counting(), pictures, cache, batch_size=3)
    read = store_module.Store._arrays
    merged = []

    def merge_first(self, path, **options):
        if not merged:
            merged.append(True)
            store_module.Store(self.key, self.dim, cache).merge()
        return read(self, path, **options)

    monkeypatch.setattr(store_module.Store, "_arrays", merge_first)
    found, _, _ = embed(Counting(break_after=0), pictures, cache)
    assert np.array_equal(found, one_by_one(pictures))


def share(paths: list[Path], cache: Path, out: Path) -> None:
    store_module.SHARD_ROWS = 2
    for _ in range(5):
        found, _, _ = embed(Counting(), paths, cache, batch_size=2)
    np.save(out, found, allow_pickle=False)


def test_two_processes_share_a_cache(tmp_path, pictures):
    spawn = multiprocessing.get_context("spawn")
    outs = [tmp_path / "0.npy", tmp_path / "1.npy"]
    orders = [pictures, pictures[::-1]]
    processes = [
        spawn.Process(target=share, args=(order, tmp_path / "cache", out))
        for order, out in zip(orders, outs, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    for order, out in zip(orders, outs, strict=True):
        assert np.array_equal(np.load(out), one_by_one(order))
    assert list((tmp_path / "cache").rglob("*.damaged")) == []
    embed(Counting(break_after=0), pictures, tmp_path / "cache")


def test_decoding_stays_a_bounded_way_ahead(tmp_path, pictures, monkeypatch):
    decoded, encoded, ahead = [], [], []
    opener = cache_module.open_picture

    def count(path, **options):
        decoded.append(path)
        ahead.append(len(decoded) - sum(encoded))
        return opener(path, **options)

    class Slow(Counting):
        def encode(self, batch: np.ndarray) -> np.ndarray:
            rows = super().encode(batch)
            encoded.append(len(batch))
            return rows

    monkeypatch.setattr(cache_module, "open_picture", count)
    embed(Slow(), pictures, tmp_path / "cache", batch_size=2, workers=2)
    assert len(decoded) == 30
    assert 1 < max(ahead) <= 2 * 2 + 2 + 1  # queued, the batch being gathered, the one just handed over


def test_a_cache_that_cannot_be_written_is_named(tmp_path, pictures):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cache/.*: embeddings cannot be written"):
        embed(Counting(), pictures[:2], tmp_path / "cache")


def test_texts(tmp_path):
    texts = ["a red ball", "two cats", "a red ball", "", "überall Bälle"]
    encoder = Counting(text=True)
    found = embed_texts(encoder, texts, cache=tmp_path, batch_size=3, progress=False)
    assert found.dtype == np.float32 and np.array_equal(found, load_encoder("pixels").text.encode(texts))
    assert encoder.batches == [3, 1]
    again = embed_texts(Counting(break_after=0, text=True), texts[::-1], cache=tmp_path, progress=False)
    assert np.array_equal(again, found[::-1])
    assert embed_texts(encoder, [], cache=tmp_path).shape == (0, 256)


def test_a_content_is_keyed_by_its_sha256(tmp_path):
    encoder = Counting(text=True)
    embed_texts(encoder, ["two cats"], cache=tmp_path, progress=False)
    (shard,) = shards(tmp_path)
    rows = store_module.Store(encoder.key, encoder.dim, tmp_path)._read_shard(shard)
    assert list(rows) == [hashlib.sha256(b"two cats").hexdigest()]


def test_default_cache_is_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VTM_DATA", str(tmp_path / "data"))
    embed_texts(Counting(text=True), ["two cats"], progress=False)
    assert len(shards(tmp_path / "data" / "embeddings")) == 1


def test_repeats_and_bad_pictures_leave_every_row_in_its_place(tmp_path, pictures):
    """Rows are moved within one array: repeats before, between and behind pictures that cannot be used."""
    order = [3, 0, 3, 1, 1, 2, 0, 4, 3]
    pictures[0].write_text("not a picture")
    pictures[2].write_text("nor is this")
    paths = [pictures[number] for number in order]
    for _ in range(2):  # computed, and from the cache
        found, _, dropped = embed(Counting(), paths, tmp_path / "cache", batch_size=2)
        assert [item.id for item in dropped] == ["00", "02", "00"]
        assert np.array_equal(found, one_by_one([pictures[number] for number in (3, 3, 1, 1, 4, 3)]))


def test_peak_memory_grows_by_the_result_alone(tmp_path):
    """4,000 embeddings more are 31 MiB more; holding the rows beside the result would be 62."""
    code = """
import sys
import numpy as np
from PIL import Image
from vtm.encoders import cache
from vtm.encoders import cache as store
from vtm_study.machine import peak_memory

class Wide:
    key, dim, size = "wide", 2048, 8
    def preprocess(self, picture):
        return np.zeros(1, dtype=np.float32)
    def encode(self, batch):
        return np.ones((len(batch), 2048), dtype=np.float32)

n = int(sys.argv[1])
cache.open_picture = lambda path, **options: Image.new("RGB", (8, 8))
cache.hash_file = lambda path: path.name
store.SMALL_ROWS = 0  # nothing is merged: that takes memory for MERGED_ROWS
names = [f"{number:064x}" for number in range(n)]
before = peak_memory()
found, _, _ = cache.embed_images(Wide(), names, names, names, cache=sys.argv[2], progress=False)
print(peak_memory() - before)
"""

    def above_start(n: int) -> float:
        command = [sys.executable, "-c", code, str(n), str(tmp_path / str(n))]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert above_start(6000) - above_start(2000) < 45
