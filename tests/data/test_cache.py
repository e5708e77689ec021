import os
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bagoftricks.data import cache
from bagoftricks.data.augment import Finish
from bagoftricks.data.cache import Arena, cached, files_digest
from bagoftricks.data.decode import decode
from bagoftricks.data.loaders import EvalBatches, TrainBatches, eval_loader, train_loader
from bagoftricks.data.preparation import Reading
from bagoftricks.data.sources import CachedSplit, FileSplit, MemorySplit
from bagoftricks.data.stream import StreamLoader
from bagoftricks.errors import DataError, UserError
from bagoftricks.rng import Key
from bagoftricks.run.identity import run_identity
from bagoftricks.settings import Settings, dataset_settings

DATA = dataset_settings(crop="area", mean=[0.0] * 3, std=[1.0] * 3)
FINISH = Finish(DATA, 8, torch.device("cpu"), channels_last=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache folder, and room for all of the images."""
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(cache, "free_bytes", lambda how: 3 * 2**20)
    cache._arena.cache_clear()
    yield tmp_path / "cache"
    cache._arena.cache_clear()


@pytest.fixture
def files(tmp_path):
    draw = Key(0).numpy()
    for i in range(8):
        Image.fromarray(draw.integers(0, 256, (90 + i, 100 - i, 3), np.uint8)).save(tmp_path / f"{i}.jpg")
    return FileSplit(np.array([str(tmp_path / f"{i}.jpg") for i in range(8)]), np.arange(8))


@pytest.fixture
def reads(monkeypatch):
    """The files decoded in this process so far."""
    paths = []
    monkeypatch.setattr("bagoftricks.data.sources.decode", lambda file: paths.append(file) or decode(file))
    return paths


def image(height, width, value=None):
    if value is not None:
        return torch.full((3, height, width), value, dtype=torch.uint8)
    return torch.randint(0, 256, (3, height, width), generator=Key(1).generator(), dtype=torch.uint8)


def epochs(files, how, *, workers=0, count=2, **changes):
    data = replace(DATA, cache=how, **changes)
    loader = train_loader(
        files, data, FINISH, TrainBatches(size=72, batch_size=4, reads=1, key=Key(0)), Reading(workers=workers)
    )
    return [batch for epoch in range(count) for batch in loader.epoch(epoch)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["ram", "disk"])
def test_cached_images_make_the_same_batches(folder, files, how, workers):
    for a, b in zip(epochs(files, "none"), epochs(files, how, workers=workers), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)


@pytest.mark.parametrize("how", ["ram", "disk"])
def test_a_kept_image_is_decoded_once(folder, files, reads, how):
    epochs(files, how, count=3)
    assert len(reads) == 8
    cached_split = cached(files, how)
    assert all(torch.equal(cached_split.image(i), decode(files.file(i))) for i in range(8))
    assert len(reads) == 8  # the next run of this process finds them too


def test_workers_fill_one_cache_together(folder, files, reads):
    epochs(files, "ram", workers=2)
    kept = cached(files, "ram")
    assert all(torch.equal(kept.image(i), decode(files.file(i))) for i in range(8))
    assert len(reads) == 1  # the first, before they were forked; all others were decoded by the workers


def test_a_cache_on_disk_serves_the_next_process(folder, files, reads):
    epochs(files, "disk")
    cache._arena.cache_clear()  # as in another process
    before = len(reads)
    epochs(files, "disk")
    assert len(reads) == before == 8


def test_a_damaged_cache_file_is_noticed_and_the_image_is_decoded_again(folder, files, reads):
    expected = epochs(files, "disk")
    cache._arena.cache_clear()
    (pixels,) = (folder / "images").glob("*.pixels")
    with pixels.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3" * 8)
    again = epochs(files, "disk")
    assert len(reads) == 8 + 1
    assert all(torch.equal(a.images, b.images) for a, b in zip(expected, again, strict=True))


def test_an_index_that_points_nowhere_is_no_image(folder):
    arena = Arena(3, 1000, folder, "a")
    arena.put(0, image(5, 5))
    for row in ([999, 5, 5, 1], [1, 2**40, 2**40, 1], [-5, 5, 5, 1], [1, 0, 5, 1], [1, -5, -5, 1]):
        arena.index[1] = row
        assert arena.get(0) is None


def test_an_index_with_the_pixels_of_another_image_or_shape_is_no_image(folder):
    arena = Arena(3, 1000, folder, "a")
    for number, shape in enumerate([(4, 6), (4, 6)]):
        arena.put(number, image(*shape, value=number))
    rows = arena.index[1:3].copy()
    arena.index[1:3] = rows[::-1]
    assert arena.get(0) is None
    arena.index[2] = rows[1, [0, 2, 1, 3]]  # the sides exchanged
    assert arena.get(1) is None
    arena.index[2] = rows[1]
    assert torch.equal(arena.get(1), image(4, 6, value=1))


def test_a_full_cache_keeps_what_it_has(folder):
    for arena in (Arena(4, 200), Arena(4, 200, folder, "a")):
        for i in range(4):
            arena.put(i, image(5, 5, value=i))
        assert [None if (kept := arena.get(i)) is None else int(kept[0, 0, 0]) for i in range(4)] == [0, 1, None, None]
        arena.put(0, image(4, 4, value=9))
        assert torch.equal(arena.get(0), image(5, 5, value=0))


def test_a_full_disk_is_no_reason_to_stop(folder, monkeypatch):
    arena = Arena(2, 1000, folder, "a")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    arena.put(0, image(5, 5))
    assert arena.get(0) is None


def test_a_changed_file_has_another_cache(files):
    first = files_digest(files)
    os.utime(files.paths[3], ns=(time.time_ns(), time.time_ns() + 10**9))
    second = files_digest(files)
    Image.new("RGB", (50, 50)).save(files.paths[3])
    assert len({first, second, files_digest(files), files_digest(files, "other")}) == 4


def test_what_is_no_file_is_left_as_it_is(files):
    memory = MemorySplit(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), np.arange(2))
    assert cached(memory, "ram") is memory
    assert cached(files, "auto") is files
    assert isinstance(cached(files, "ram"), CachedSplit)


def test_a_folder_that_cannot_be_written_is_one_line(folder, files):
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file")
    with pytest.raises(UserError, match=r"data\.cache=disk: .* cannot be written"):
        cached(files, "disk")


def small(files, how="auto", on_error="fail"):
    loader = eval_loader(
        files,
        dataset_settings(cache=how, on_error=on_error),
        FINISH,
        EvalBatches(size=16, batch_size=8),
        Reading(workers=0),
    )
    return loader, torch.cat([batch.images for batch in loader.epoch(0)])


def test_a_small_data_set_is_decoded_once_for_all_processes(folder, files, reads):
    _, expected = small(files, "none")
    assert not folder.exists()
    assert [torch.equal(small(files)[1], expected) for _ in range(3)] == [True] * 3
    assert len(reads) == 8 + 8  # without the cache, and once with it


def test_a_kept_data_set_remembers_its_broken_files(folder, files):
    with open(files.paths[2], "wb") as file:
        file.write(b"broken")
    with pytest.raises(DataError, match=r"2\.jpg"):
        small(files)
    runs = [small(files, on_error="skip") for _ in range(2)]
    assert len(list((folder / "sets").iterdir())) == 1
    assert runs[0][0].skipped == runs[1][0].skipped
    assert runs[1][0].targets.tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert torch.equal(runs[0][1], runs[1][1])


@pytest.mark.parametrize("damage", ["empty", "junk", "pixels", "rows"])
def test_a_damaged_data_set_is_decoded_again(folder, files, reads, damage):
    _, expected = small(files)
    (kept,) = (folder / "sets").iterdir()
    whole = kept.read_bytes()
    rows = whole.index(np.arange(8).tobytes())
    damaged = {"pixels": whole[:-9] + bytes(range(9)), "rows": whole[:rows] + bytes(64) + whole[rows + 64 :]}
    kept.write_bytes({"empty": b"", "junk": b"junk", **damaged}[damage])
    assert torch.equal(small(files)[1], expected)
    assert torch.equal(small(files)[1], expected)
    assert len(reads) == 16


def test_a_cache_is_in_no_runs_id():
    same = [run_identity(Settings(data=dataset_settings(cache=how)), {}, "data", 10) for how in ("auto", "ram", "none")]
    assert same[0] == same[1] == same[2]


def test_a_gpu_that_decodes_leaves_nothing_to_cache():
    with pytest.raises(UserError, match=r"data\.cache=ram: with data\.decode=gpu"):
        dataset_settings(decode="gpu", cache="ram")


def test_the_free_memory_is_some_of_the_machines():
    assert 0 < cache.free_bytes("ram") <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_streamed_images_are_not_kept_unless_that_is_asked_for(folder, files):
    loader = train_loader(
        files, DATA, FINISH, TrainBatches(size=72, batch_size=4, reads=1, key=Key(0)), Reading(workers=0)
    )
    assert isinstance(loader, StreamLoader)
    assert loader.split is files
    assert not folder.exists()
