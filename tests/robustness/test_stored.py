"""Stored sets of corrupted images: both layouts, and what is wrong with one."""

import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image

from bagoftricks.errors import DataError
from bagoftricks.robustness.stored import ArraySplit, centred, find_stored, stored_batches, stored_image

NAMES, CLASSES = ("fog", "snow"), ("cat", "dog")


@pytest.fixture
def arrays(tmp_path):
    """Two images at each of five severities, every pixel the number of the image in its file."""
    for offset, name in enumerate(NAMES):
        numbers = np.arange(10, dtype=np.uint8)[:, None, None, None] + np.uint8(100 * offset)
        np.save(tmp_path / f"{name}.npy", np.broadcast_to(numbers, (10, 4, 4, 3)).copy())
    np.save(tmp_path / "labels.npy", np.tile([1, 0], 5))
    return tmp_path


@pytest.fixture
def folders(tmp_path):
    for name in NAMES:
        for severity in range(1, 6):
            for label, kind in enumerate(CLASSES):
                folder = tmp_path / name / str(severity) / kind
                folder.mkdir(parents=True)
                grey = 10 * severity + 100 * label + NAMES.index(name)
                Image.new("RGB", (6, 4), (grey,) * 3).save(folder / f"{kind}.png")
    return tmp_path


def find(folder, names=NAMES):
    return find_stored(str(folder), names, (1, 2, 3, 4, 5))


def test_severities_lie_one_after_the_other_in_an_array(arrays):
    split = find(arrays).split("snow", 3, CLASSES)
    assert split.labels.tolist() == [1, 0]
    (batch,) = stored_batches(split, np.arange(2), 4, 8, 0)
    assert batch.shape == (2, 3, 4, 4)
    assert batch[:, 0, 0, 0].tolist() == [104, 105]
    assert isinstance(split, ArraySplit)


def test_a_folder_per_class_is_read_in_the_order_of_the_names(folders):
    split = find(folders).split("snow", 2, CLASSES)
    assert split.labels.tolist() == [0, 1]
    images = torch.cat(list(stored_batches(split, np.array([1, 0]), 4, 1, 0)))
    assert images.shape == (2, 3, 4, 4)
    assert images[:, 0, 0, 0].tolist() == [121, 21]


def test_classes_of_folders_have_names(folders):
    assert find(folders).notes(["cat", "dog"]) == []


def test_classes_of_arrays_have_none_and_their_order_is_noted(arrays):
    (note,) = find(arrays).notes(["cat", "dog"])
    assert note == f"{arrays / 'labels.npy'} does not name its classes: they are taken to be 0 cat, 1 dog"


def test_its_digest_names_what_it_holds(arrays, tmp_path_factory):
    before = find(arrays).digest
    find_stored.cache_clear()
    array = np.load(arrays / "fog.npy")
    array[3] += 1
    np.save(arrays / "fog.npy", array)
    assert find(arrays).digest != before


def test_stored_images_are_cut_and_never_resized():
    image = torch.arange(3 * 6 * 8, dtype=torch.uint8).view(3, 6, 8)
    assert torch.equal(centred(image, 4, "x"), image[:, 1:5, 2:6])
    with pytest.raises(DataError, match="x: has 6 x 8 pixels, and the network is evaluated on 7: type image_size=6"):
        centred(image, 7, "x")


def spoil(folder, **files):
    for name, array in files.items():
        np.save(folder / f"{name}.npy", array)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"fog": np.zeros((10, 4, 4), np.uint8)}, "fog.npy: must be bytes (images, height, width, 3), not uint8"),
        (
            {"fog": np.zeros((10, 4, 4, 3), np.float32)},
            "fog.npy: must be bytes (images, height, width, 3), not float32",
        ),
        ({"snow": np.zeros((8, 4, 4, 3), np.uint8)}, "snow.npy: has 8 images, labels.npy 10 labels"),
        ({"labels": np.array([1, 0])}, "labels.npy: must hold the same labels 5 times"),
        ({"labels": np.arange(10)}, "labels.npy: must hold the same labels 5 times"),
        ({"labels": np.zeros((10, 1), int)}, "labels.npy: must be one whole number per image"),
        ({"labels": np.full(10, -1)}, "labels.npy: must hold the same labels 5 times"),
    ],
)
def test_what_is_wrong_with_an_array_is_named(arrays, files, message):
    spoil(arrays, **files)
    with pytest.raises(DataError, match=re.escape(message)):
        find(arrays)


def test_what_is_missing_is_named(arrays, folders, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        find(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"has no frost.npy, of 3 corruptions"):
        find(arrays, (*NAMES, "frost"))
    for file in arrays.glob("*.npy"):
        file.unlink()
    with pytest.raises(DataError, match=r"has no folder .fogg., of 1; did you mean .fog."):
        find(folders, ("fogg",))
    (folders / "snow" / "4").rename(tmp_path / "away")
    find_stored.cache_clear()
    with pytest.raises(DataError, match="snow has no severity '4'"):
        find(folders)


def test_a_class_or_a_label_that_the_data_has_not_is_named(arrays, folders):
    with pytest.raises(DataError, match=r"labels.npy: has the label 1, the data 1 classes"):
        find(arrays).split("fog", 1, ["cat"])
    for file in arrays.glob("*.npy"):
        file.unlink()
    find_stored.cache_clear()
    with pytest.raises(DataError, match=r"fog/1/dog: the data has no class 'dog'; did you mean 'dogs'"):
        find(folders).split("fog", 1, ["cat", "dogs"])


def test_a_pickle_is_refused_and_not_run(arrays):
    class Bomb:
        def __reduce__(self):
            return (pytest.exit, ("the pickle was run",))

    (arrays / "fog.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"fog.npy is not an array of numbers"):
        find(arrays)
    np.save(arrays / "fog.npy", np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"fog.npy is not an array of numbers"):
        find(arrays)


def test_an_image_of_a_wrong_size_names_its_file(folders):
    split = find(folders).split("fog", 1, CLASSES)
    with pytest.raises(DataError, match=r"fog/1/dog/dog.png: has 4 x 6 pixels, and the network is evaluated on 8"):
        stored_image(split, 1, 8)


def test_its_digest_is_of_the_contents_of_every_severity(folders):
    before = find(folders).digest
    path = sorted((folders / "snow" / "2").rglob("*.*"))[0]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    find_stored.cache_clear()
    assert find(folders).digest != before
