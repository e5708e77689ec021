import multiprocessing
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.data import containers, digests
from bagoftricks.data.containers import file_facts
from bagoftricks.data.digests import NO_CONTENTS, content_digests
from bagoftricks.data.finding import find_dataset, identified
from bagoftricks.data.sources import Dataset, MemorySplit
from bagoftricks.settings import dataset_settings
from tests.data.test_listing import find, image, photos


@pytest.fixture(autouse=True, params=["one by one", "together"])
def together(request, monkeypatch):
    """Files are recognised one by one, or all together, as many files are."""
    monkeypatch.setattr(digests, "MANY_FILES", 10**9 if request.param == "one by one" else 1)
    return request.param == "together"


@pytest.fixture
def settled(monkeypatch):
    """Files are remembered at once, though they have just been written."""
    monkeypatch.setattr(containers, "TICK", -(10**12))


@pytest.fixture
def reads(monkeypatch):
    """Paths of the files that were read."""
    read, paths = digests._read, []

    def counted(path):
        paths.append(path)
        return read(path)

    monkeypatch.setattr(digests, "_read", counted)
    return paths


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / name for name in ("a.bmp", "b.bmp", "caf\udce9.bmp")]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * 100)
    return [str(path) for path in paths]


def read_all(paths, memory):
    warnings = []
    return content_digests(paths, memory, warnings.append), warnings


# --- contents of files ---


@pytest.mark.usefixtures("settled")
def test_files_that_have_not_changed_are_recognised_together(files, tmp_path, together, monkeypatch):
    first = read_all(files, tmp_path / "m")
    slowly = [b"read one by one."]
    monkeypatch.setattr(digests, "_each_digest", lambda places, *_: slowly * len(places))
    assert read_all(files, tmp_path / "m")[0] == (first[0] if together else slowly * 3)
    for other in (files[::-1], files[:2], [*files, files[0]]):
        assert read_all(other, tmp_path / "m")[0] == slowly * len(other)


def test_a_change_while_they_are_read_is_found_the_next_time(files, tmp_path, together, settled, monkeypatch):
    read = digests._each_digest

    def changed_before(*given):
        with open(files[1], "r+b") as file:
            file.write(b"new")
        return read(*given)

    monkeypatch.setattr(digests, "_each_digest", changed_before)
    new, _ = read_all(files, tmp_path / "m")
    with open(files[1], "r+b") as file:
        file.write(b"old")
    monkeypatch.setattr(digests, "_each_digest", read)
    assert read_all(files, tmp_path / "m")[0] != new


@pytest.mark.usefixtures("settled")
def test_each_file_is_read_once(files, tmp_path, reads):
    once, again = read_all(files, tmp_path / "m"), read_all(files, tmp_path / "m")
    assert once == again
    assert sorted(reads) == sorted(files)
    assert len(set(once[0])) == 3


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("keep_times", [False, True])
def test_an_edit_in_place_of_the_same_size_is_found_even_if_its_time_is_set_back(files, tmp_path, keep_times):
    (before, *others), _ = read_all(files, tmp_path / "m")
    times = os.stat(files[0])
    with open(files[0], "r+b") as file:
        file.write(b"edit")
    if keep_times:
        os.utime(files[0], ns=(times.st_atime_ns, times.st_mtime_ns))
    (after, *same), _ = read_all(files, tmp_path / "m")
    assert after != before
    assert same == others


def test_another_file_of_the_same_size_and_times_in_a_files_place_is_found():
    """As when two folders change their names, whose files were written within one tick of the clock."""
    first, second = (os.stat_result((0o100644, inode, 1, 1, 0, 0, 54, 5, 5, 5)) for inode in (7, 8))
    assert file_facts(first) != file_facts(second)


def test_a_file_that_has_just_changed_is_not_remembered(files, tmp_path, reads):
    for _ in range(2):
        read_all(files, tmp_path / "m")
    assert len(reads) == 6
    assert not (tmp_path / "m").exists()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 64, None, "flip"])
def test_a_damaged_memory_is_made_again(files, tmp_path, damage, reads):
    memory = tmp_path / "m"
    right, _ = read_all(files, memory)
    for kept in (memory, *tmp_path.glob("m-*.files")):
        data = bytearray(kept.read_bytes())
        data[-1] ^= 1
        kept.write_bytes(data if damage == "flip" else bytes(data[:-5]) if damage is None else damage)
    assert read_all(files, memory) == (right, [])
    assert len(reads) == 6
    read_all(files, memory)
    assert len(reads) == 6


@pytest.mark.usefixtures("settled")
def test_a_cache_that_cannot_be_written_is_said_once_and_changes_nothing(files, tmp_path):
    (tmp_path / "file").write_text("no folder")
    right, _ = read_all(files, tmp_path / "m")
    found, warnings = read_all(files, tmp_path / "file" / "m")
    assert found == right
    assert len(warnings) == 1
    assert "cannot be written (File exists): the files are read again at each start" in warnings[0]


def test_a_pipe_in_the_place_of_what_is_remembered_holds_nobody_up(files, tmp_path):
    os.mkfifo(tmp_path / "m")
    assert read_all(files, tmp_path / "m")[0] == read_all(files, tmp_path / "other")[0]


def test_what_cannot_be_read_has_a_digest_of_its_own_and_is_never_remembered(files, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    os.remove(files[0])
    found, _ = read_all([*files, str(tmp_path / "pipe.png"), str(tmp_path)], tmp_path / "m")
    assert [digest == NO_CONTENTS for digest in found] == [True, False, False, True, True]


@pytest.mark.usefixtures("settled")
def test_an_interrupted_reader_keeps_what_it_has_read(files, tmp_path, monkeypatch, reads):
    counted = digests._read

    def interrupted(path):
        if path == files[2]:
            raise KeyboardInterrupt
        return counted(path)

    monkeypatch.setattr(digests, "TOGETHER", 1)
    monkeypatch.setattr(digests, "READERS", 1)
    monkeypatch.setattr(digests, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_all(files, tmp_path / "m")
    monkeypatch.setattr(digests, "_read", counted)
    read_all(files, tmp_path / "m")
    assert reads == [files[0], files[1], files[2]]


@pytest.mark.usefixtures("settled")
def test_processes_that_read_at_once_agree_and_leave_a_whole_memory(files, tmp_path):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.map(partial(read_all, memory=tmp_path / "m"), [files] * 6, chunksize=1)
        pool.close()
        pool.join()  # the pool would end them with a signal, which a process that is just starting can miss
    assert found == [read_all(files, tmp_path / "other")] * 6
    assert len(digests._read_memory(tmp_path / "m")) == 3
    left = {path.name for path in tmp_path.iterdir() if path.suffix != ".files" and path.name.startswith((".", "m"))}
    assert left == {"m", "m.lock"}


# --- the digest of a data set ---


def test_images_replaced_by_others_of_the_same_size_are_another_data_set(tmp_path):
    photos(tmp_path)
    before = find(tmp_path).digest
    target = tmp_path / "val" / "bee" / "1.png"
    times, size = os.stat(target), target.stat().st_size
    target.write_bytes(target.read_bytes()[:-1] + b"!")
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert target.stat().st_size == size
    assert find(tmp_path).digest != before


def moved_elsewhere(root):
    os.rename(root, f"{root}2")
    return f"{root}2"


def other_times(root):
    os.utime(root / "train" / "ant" / "0.png", (5, 5))


def ignored_files(root):
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    image(root / "train" / ".thumbnails" / "0.png")


def written_in_another_order(root):
    for path in sorted(root.glob("train/*/*.png"), reverse=True):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)


def renamed_in_order(root):
    os.rename(root / "train" / "ant" / "2.png", root / "train" / "ant" / "3.png")


@pytest.mark.parametrize(
    "change", [moved_elsewhere, other_times, ignored_files, written_in_another_order, renamed_in_order]
)
def test_what_changes_no_result_changes_no_digest(tmp_path, change):
    root = varied(tmp_path / "data")
    before = find(root)
    after = find(change(root) or root)
    assert after.digest == before.digest


def renamed_out_of_order(root):
    os.rename(root / "train" / "ant" / "0.png", root / "train" / "ant" / "9.png")


def renamed_class(root):
    for split in ("train", "val"):
        os.rename(root / split / "ant", root / split / "aunt")


def swapped_classes(root):
    for split in ("train", "val"):
        os.rename(root / split / "ant", root / split / "x")
        os.rename(root / split / "bee", root / split / "ant")
        os.rename(root / split / "x", root / split / "bee")


def moved_to_the_other_class(root):
    os.rename(root / "train" / "ant" / "2.png", root / "train" / "bee" / ".0.png".lstrip("."))


def moved_to_the_other_split(root):
    os.rename(root / "train" / "bee" / "2.png", root / "val" / "ant" / "2.png")


def one_image_less(root):
    os.remove(root / "val" / "bee" / "1.png")


@pytest.mark.parametrize(
    "change",
    [renamed_out_of_order, renamed_class, swapped_classes, moved_to_the_other_class, moved_to_the_other_split,
     one_image_less],
)  # fmt: skip
def test_what_can_change_a_result_changes_the_digest(tmp_path, change):
    root = varied(tmp_path / "data")
    before = find(root).digest
    change(root)
    assert find(root).digest != before


def varied(root):
    """Write images of two classes, no two alike."""
    photos(root)
    for i, path in enumerate(sorted(root.rglob("*.png"))):
        path.write_bytes(path.read_bytes() + bytes([i]))
    return root


def test_a_holdout_and_a_limit_belong_to_the_digest_while_they_change_the_images(tmp_path):
    root = varied(tmp_path)
    found = [find(root, **how) for how in ({}, {"limit": 3}, {"limit": 4}, {"holdout": 0.5}, {"holdout": 0.34})]
    assert len({data.digest for data in found}) == 5
    assert find(root, limit=6).digest == found[0].digest


def test_only_the_images_that_are_used_are_read(tmp_path, reads):
    find(varied(tmp_path), limit=2)
    assert len(reads) == 4


Pixels = st.lists(st.integers(0, 255), min_size=4, max_size=12)


def memory_data(pixels, boundary, names=("x", "y")):
    images = torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    labels = np.arange(len(pixels)) % 2
    whole = MemorySplit(images, labels)
    rows = np.arange(len(pixels))
    return identified(Dataset("memory", names, whole.subset(rows[:boundary]), whole.subset(rows[boundary:])))


@given(Pixels, st.data())
def test_pixels_boundary_names_and_order_in_memory_each_belong_to_the_digest(pixels, data):
    boundary = data.draw(st.integers(1, len(pixels) - 2))
    known = {memory_data(pixels, boundary).digest}
    assert memory_data(list(pixels), boundary).digest in known
    assert memory_data(pixels, boundary + 1).digest not in known
    assert memory_data(pixels, boundary, ("y", "x")).digest not in known
    at = data.draw(st.integers(0, len(pixels) - 1))
    assert memory_data([*pixels[:at], pixels[at] ^ 1, *pixels[at + 1 :]], boundary).digest not in known
    if pixels != pixels[::-1]:
        assert memory_data(pixels[::-1], boundary).digest not in known


def test_what_a_data_set_adds_to_its_digest_counts():
    plain = Dataset("memory", ("x", "y"), *[MemorySplit(torch.zeros(2, 3, 2, 2, dtype=torch.uint8), np.arange(2))] * 2)
    assert identified(replace(plain, digest="version 2")).digest != identified(plain).digest


def test_the_digits_are_the_same_in_either_memory_format(monkeypatch):
    data = find_dataset(dataset_settings())
    train = MemorySplit(data.train.images.contiguous(), data.train.labels)
    plain = replace(data, train=train, digest="")
    assert identified(plain).digest == data.digest
