"""Grey images in idx files."""

import gzip

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

from bagoftricks.data import idx as reader
from bagoftricks.data.finding import find_dataset
from bagoftricks.errors import DataError
from bagoftricks.settings import dataset_settings
from bagoftricks.testing import check_dataset
from tests.data.copies import idx, write_idx


@pytest.fixture
def folder(tmp_path):
    write_idx(tmp_path, "train", 8, classes=4)
    write_idx(tmp_path, "t10k", 4, classes=4, packed=True)
    return tmp_path


def zipped(data: bytes) -> bytes:
    """Without the time, which would stand in the names of tests."""
    return gzip.compress(data, mtime=0)


def found(root, **values):
    return find_dataset(dataset_settings("idx", root=str(root), **values))


def test_idx_files_packed_or_not_are_a_data_set(folder):
    check_dataset("idx", root=str(folder))
    data = found(folder)
    assert data.classes == ("0", "1", "2", "3")
    assert data.train.images.shape == (8, 3, 28, 28)
    assert (data.train.images[:, 0] == data.train.images[:, 2]).all()
    theirs = read_sn3_pascalvincent_tensor(folder / "train-images-idx3-ubyte")
    assert torch.equal(data.train.images[:, 0], theirs)
    assert data.val.labels.tolist() == [0, 1, 2, 3]


def test_packing_and_the_dots_of_copies_change_no_digest(folder, tmp_path):
    plain = found(folder).digest
    for part in ("images-idx3", "labels-idx1"):
        packed = folder / f"t10k-{part}-ubyte.gz"
        (folder / f"t10k-{part.replace('-', '.')}-ubyte").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    assert found(folder).digest == plain


def test_classes_are_named_in_classes_txt(folder):
    (folder / "classes.txt").write_text("ant\nbee\ncat\ndog\n", encoding="utf-8")
    assert found(folder).classes == ("ant", "bee", "cat", "dog")
    (folder / "classes.txt").write_text("ant\nbee\ncat\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"classes\.txt: names 3 classes, and the labels are below 4"):
        found(folder)


def test_one_of_several_sets_is_chosen_by_its_prefix(folder):
    write_idx(folder, "emnist-letters-train", 4, classes=2)
    write_idx(folder, "emnist-letters-test", 2, classes=2)
    assert found(folder, prefix="emnist-letters-").classes == ("0", "1")
    assert len(found(folder, prefix="").classes) == 4
    with pytest.raises(
        DataError, match=r"holds 2 sets: choose one with data\.prefix=emnist-letters- or data\.prefix=''"
    ):
        found(folder)
    with pytest.raises(DataError, match=r"data\.prefix=emnist-leters-: no .* did you mean 'emnist-letters-'\?"):
        found(folder, prefix="emnist-leters-")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train-images-idx3-ubyte", None, r"has no training images next to t10k-images"),
        ("train-labels-idx1-ubyte", None, r"has no train-labels-idx1-ubyte or train-labels-idx1-ubyte\.gz"),
        ("train-images-idx3-ubyte", b"", r"is no idx file of 3 dimensions"),
        ("train-images-idx3-ubyte", idx(np.zeros(8, np.uint8)) + bytes(16), r"is no idx file of 3 dimensions"),
        ("train-images-idx3-ubyte", idx(np.zeros((8, 2, 2), np.uint8), 13), r"type 0x0d; read are bytes \(0x08\)"),
        ("train-images-idx3-ubyte", idx(np.zeros((8, 2, 2), np.uint8))[:-1], r"has 8 x 2 x 2 values .* only 31"),
        ("train-images-idx3-ubyte", idx(np.zeros((8, 2, 2), np.uint8)) + b"0", r"has 8 x 2 x 2 values .* holds more"),
        ("train-images-idx3-ubyte", bytes([0, 0, 8, 3]) + b"\xff" * 12, r"has 79,\d+,\d+,\d+,.* values, more than 4,2"),
        ("train-labels-idx1-ubyte", idx(np.zeros(7, np.uint8)), r"train has 8 images and 7 labels"),
        ("t10k-labels-idx1-ubyte.gz", b"no gzip", r"t10k-labels-idx1-ubyte\.gz: Not a gzipped file"),
        ("t10k-labels-idx1-ubyte.gz", zipped(idx(np.zeros(4, np.uint8)))[:-9], r"Compressed file ended"),
        ("t10k-labels-idx1-ubyte.gz", zipped(b"0000")[:10] + b"\xff" * 20, r"t10k-labels-idx1-ubyte\.gz: .*"),
    ],
)
def test_a_damaged_file_is_named(folder, file, content, message):
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        found(folder)
    assert "\n" not in str(error.value)


def test_a_folder_without_idx_files_and_no_folder_are_said(tmp_path):
    with pytest.raises(DataError, match=r"has no train-images-idx3-ubyte"):
        found(tmp_path)
    with pytest.raises(DataError, match=r"data\.root is not set"):
        dataset_settings("idx").find()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.integers(0, 40))
def test_values_come_back_from_any_sizes_and_a_cut_file_never_does(tmp_path_factory, sizes, lost):
    file = tmp_path_factory.mktemp("idx") / f"x-idx{len(sizes)}-ubyte"
    values = np.arange(np.prod(sizes), dtype=np.uint8).reshape(sizes)
    whole = idx(values)
    file.write_bytes(whole[: len(whole) - lost])
    if lost == 0:
        assert np.array_equal(reader.read_idx(file.parent, "x", len(sizes)), values)
    else:
        with pytest.raises(DataError):
            reader.read_idx(file.parent, "x", len(sizes))
