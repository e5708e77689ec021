import numpy as np
import pytest
import torch
from PIL import Image

from bagoftricks.data.finding import find_dataset
from bagoftricks.errors import DataError
from bagoftricks.settings import dataset_settings
from tests.pictures import decode_path


def write(path, mode="RGB", size=(8, 6), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size[1], size[0])
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 4), ("val", 2)):
        for name in ("ant", "bee"):
            for i in range(count):
                write(tmp_path / split / name / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "mode"),
    [("g.jpg", "L"), ("rgb.jpg", "RGB"), ("cmyk.jpg", "CMYK"), ("p.png", "P"), ("a.png", "RGBA"), ("la.png", "LA"),
     ("one.png", "1"), ("i16.png", "I;16"), ("w.webp", "RGB"), ("b.bmp", "RGB"), ("p.gif", "P")],
)  # fmt: skip
def test_every_colour_space_becomes_rgb_bytes(tmp_path, name, mode):
    image = decode_path(write(tmp_path / name, mode))
    assert image.shape == (3, 6, 8)
    assert image.dtype is torch.uint8


def test_a_grey_jpeg_has_three_equal_channels_and_its_own_brightness(tmp_path):
    path = tmp_path / "grey.jpg"
    Image.new("L", (16, 16), 77).save(path)
    assert (decode_path(path) == 77).all()


def test_a_cmyk_jpeg_keeps_its_colour(tmp_path):
    path = tmp_path / "cmyk.jpg"
    Image.new("RGB", (16, 16), (200, 40, 40)).convert("CMYK").save(path, quality=95)
    assert decode_path(path).flatten(1).float().mean(1).tolist() == pytest.approx([200, 40, 40], abs=6)


def test_a_broken_file_is_named_with_the_way_out(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.jpg cannot be read as an image .*data\.on_error=skip"):
        decode_path(path)


def test_a_truncated_jpeg_is_an_error(tmp_path):
    path = write(tmp_path / "cut.jpg", size=(64, 64))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cut\.jpg"):
        decode_path(path)


def test_a_folder_per_class_gives_sorted_classes_and_both_splits(folder):
    data = find_dataset(dataset_settings(name="imagefolder", root=str(folder)))
    assert data.classes == ("ant", "bee")
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4
    assert data.val.labels.tolist() == [0, 0, 1, 1]


def test_a_second_folder_can_be_the_validation_split(folder):
    settings = dataset_settings(name="imagefolder", root=str(folder / "train"), val_root=str(folder / "val"))
    assert len(find_dataset(settings).val.labels) == 4


def test_holding_out_splits_the_training_images_and_leaves_the_validation_split_alone(folder):
    data = find_dataset(dataset_settings(name="imagefolder", root=str(folder), holdout=0.25))
    assert (len(data.train.labels), len(data.val.labels)) == (6, 2)
    paths = {*data.train.paths, *data.val.paths}
    assert len(paths) == 8
    assert all("train" in path for path in paths)


def test_a_limit_keeps_so_many_images_of_each_split_the_same_ones_each_time():
    few, again = (find_dataset(dataset_settings(name="digits", limit=100)) for _ in range(2))
    assert (len(few.train.labels), len(few.val.labels)) == (100, 100)
    assert torch.equal(few.train.images, again.train.images)
    assert set(few.train.labels) == set(range(10))
    assert few.digest != find_dataset(dataset_settings(name="digits", limit=200)).digest


def test_a_limit_above_the_number_of_images_keeps_them_all():
    data = find_dataset(dataset_settings(name="digits", limit=10_000))
    assert len(data.train.labels) + len(data.val.labels) == 1797


def test_the_digest_follows_the_content_and_not_the_place(folder, tmp_path_factory):
    settings = dataset_settings(name="imagefolder", root=str(folder))
    before = find_dataset(settings).digest
    moved = tmp_path_factory.mktemp("elsewhere") / "data"
    folder.rename(moved)
    settings = dataset_settings(name="imagefolder", root=str(moved))
    assert find_dataset(settings).digest == before
    write(moved / "val" / "bee" / "new.png")
    assert find_dataset(settings).digest != before


def test_the_digits_are_split_once_and_for_all():
    data = find_dataset(dataset_settings())
    assert (len(data.train.labels), len(data.val.labels)) == (1438, 359)
    assert data.train.images.shape[1:] == (3, 8, 8)
    assert data.train.images.max() == 255
    assert set(data.val.labels) == set(range(10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"data\.root is not set: type data\.root=FOLDER"),
        ({"root": "{}/valx"}, r"data\.root=.*valx: no such folder; did you mean 'val'\?"),
        ({"root": "{}/val/ant"}, r"has no train/ and val/: hold out a share with data\.holdout=0\.2"),
        ({"root": "{}/val/ant", "holdout": 0.5}, "has no subfolders: put the images of each class into a folder"),
        ({"root": "{}", "val_root": "{}"}, "shares images with the training folder"),
        ({"root": "{}", "holdout": 0.01}, r"data\.holdout=0\.01: leaves nothing on one side of 8 training images"),
    ],
)
def test_a_wrong_folder_is_one_line_with_the_way_out(folder, settings, message):
    given = {key: value.format(folder) if isinstance(value, str) else value for key, value in settings.items()}
    with pytest.raises(DataError, match=message):
        find_dataset(dataset_settings(name="imagefolder", **given))


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "train" / "ant").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no images"):
        find_dataset(dataset_settings(name="imagefolder", root=str(tmp_path), holdout=0.5))


def test_cifar_that_cannot_be_downloaded_says_where_to_put_it(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    message = r"cifar10 is not in .*could not be downloaded \(no route to host\).*cifar-10-batches-py"
    with pytest.raises(DataError, match=message):
        find_dataset(dataset_settings(name="cifar10", root=str(tmp_path)))


def test_cifar_comes_from_torchvision_as_it_is(tmp_path, monkeypatch, capsys):
    class Fake:
        base_folder, classes = "cifar-10-batches-py", ["cat", "dog"]

        def __init__(self, root, *, train, download):
            print("extracting")
            self.data = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3) + (0 if train else 1)
            self.targets = [1, 0]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Fake)
    data = find_dataset(dataset_settings(name="cifar10", root=str(tmp_path)))
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [1, 0]
    assert data.train.images[0, :, 0, 1].tolist() == [3, 4, 5]  # the channels of the second pixel
    assert data.val.images[0, 0, 0, 0] == 1
    assert capsys.readouterr().out == ""
