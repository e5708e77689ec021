"""Classes of pixels and boxes follow their images through every step of the preparation, in both loaders."""

import numpy as np
import pytest
import torch
from PIL import Image

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.finding import find_dataset
from bagoftricks.data.loaders import EvalBatches, TrainBatches, eval_loader, train_loader
from bagoftricks.data.memory import MemoryLoader
from bagoftricks.data.preparation import Reading
from bagoftricks.data.sources import FileSplit, MemorySplit
from bagoftricks.data.stream import StreamLoader
from bagoftricks.errors import DataError
from bagoftricks.recipe.edits import NO_CLASS
from bagoftricks.settings import dataset_settings
from tests.helpers import KEY

CLASSES, STEP, BLOCK = 9, 25, 16  # red is STEP x the class, in blocks of so many pixels
CPU = torch.device("cpu")


def painted(height, width, seed):
    """An image whose red tells the class of each pixel, and the classes."""
    blocks = np.random.default_rng(seed).integers(1, CLASSES, (-(-height // BLOCK), -(-width // BLOCK)))
    classes = np.kron(blocks, np.ones((BLOCK, BLOCK)))[:height, :width].astype(np.uint8)
    return np.stack([STEP * classes, 0 * classes, 255 - 0 * classes], 2), classes


def segments(folder, sizes):
    """Image files with masks."""
    paths, masks = [], []
    for i, (height, width) in enumerate(sizes):
        image, classes = painted(height, width, i)
        paths.append(str(folder / f"{i}.png"))
        masks.append(str(folder / f"{i}_mask.png"))
        Image.fromarray(image).save(paths[-1])
        Image.fromarray(classes).save(masks[-1])
    return FileSplit(np.array(paths), np.zeros(len(sizes), np.int64), masks=np.array(masks))


def plain_colours(**changes):
    made = dataset_settings(**{"jitter": "none", "pca": 0.0, **changes})
    made.mean, made.std = [0.0] * 3, [1.0] * 3
    return made


def batches(split, size, *, workers=0, **changes):
    data = plain_colours(**changes)
    loader = train_loader(
        split,
        data,
        Finish(data, None, CPU, channels_last=False),
        TrainBatches(size=size, batch_size=2, key=KEY),
        Reading(workers=workers),
    )
    return loader, [batch for epoch in range(2) for batch in loader.epoch(epoch)]


def agree(images, masks, *, padded):
    """Hold that colours and classes are of the same places: inside of a block, and outside of the image."""
    inside = 0
    for image, mask in zip(images, masks, strict=True):
        expected = torch.where(mask == NO_CLASS, 0, mask * STEP)
        around = torch.stack([expected.roll((y, x), (0, 1)) for y in range(-2, 3) for x in range(-2, 3)])
        flat = (around == expected).all(0)
        flat[[0, 1, -2, -1]], flat[:, [0, 1, -2, -1]] = False, False  # what lies beyond is not known
        assert (image[0] - expected)[flat].abs().max() <= 1
        assert (image[2][flat & (mask == NO_CLASS)] == 0).all()  # black where there is no image
        inside += int((flat & (mask != NO_CLASS)).sum())
    assert inside > 100
    assert bool((masks == NO_CLASS).any()) == padded
    assert set(masks.unique().tolist()) <= {*range(1, CLASSES), NO_CLASS}


@pytest.mark.parametrize(
    ("changes", "padded"),
    [
        ({"crop": "pad", "pad": 6, "flip": True}, True),
        ({"crop": "pad", "pad": 6, "pad_mode": "reflect", "flip": False}, False),
        ({"crop": "none", "flip": True}, False),
        ({"crop": "area", "crop_area": [0.3, 1.0], "flip": True}, False),
    ],
)
@pytest.mark.parametrize("size", [40, 80])  # of small images, and of those that are read as a stream
def test_classes_of_pixels_move_with_them(tmp_path, changes, padded, size):
    sides = [(64, 64), (48, 80), (96, 64), (64, 64)] if "pad_mode" not in changes else [(64, 64)] * 4  # no block is cut
    split = segments(tmp_path, sides)
    loader, found = batches(split, size, **changes)
    assert isinstance(loader, StreamLoader if size > 64 or changes["crop"] == "area" else MemoryLoader)
    images, masks = (torch.cat(each) for each in zip(*((b.images, b.targets) for b in found), strict=True))
    assert images.shape == (8, 3, size, size)
    agree(images, masks, padded=padded)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_mask_and_no_box(tmp_path, workers):
    split = segments(tmp_path, [(64, 64), (48, 80), (96, 64), (64, 64)])
    boxes = np.full((4, 2, 5), -1, np.float32)
    boxes[:, 0] = [0.1, 0.2, 0.6, 0.7, 3]
    for each in (split, FileSplit(split.paths, split.labels, boxes=boxes)):
        _, alone = batches(each, 80, crop="pad", pad=6, flip=True)
        _, together = batches(each, 80, crop="pad", pad=6, flip=True, workers=workers)
        for one, other in zip(alone, together, strict=True):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.targets, other.targets)


def test_colours_change_and_classes_do_not(tmp_path):
    split = segments(tmp_path, [(64, 64)] * 4)
    _, plain = batches(split, 64, crop="pad", pad=4, flip=True)
    _, coloured = batches(split, 64, crop="pad", pad=4, flip=True, jitter="hsv", jitter_strength=0.4)
    for one, other in zip(plain, coloured, strict=True):
        assert not torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)


def boxed(height, width, box):
    """A white rectangle on black, and its row in shares of the longer side."""
    image = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box
    image[top:bottom, left:right] = 255
    return image, [*(side / max(height, width) for side in box), 4.0]


def found_box(image):
    """The box of the bright pixels."""
    rows, columns = (np.flatnonzero((image[0] > 127).any(axis).numpy()) for axis in (1, 0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("size", [48, 96])
@pytest.mark.parametrize("changes", [{"flip": True, "crop": "none"}, {"flip": True, "crop": "pad", "pad": 8}])
def test_boxes_are_where_their_pixels_are(tmp_path, size, changes):
    sides = [(96, 96), (96, 64), (48, 96), (30, 50)]
    made = [boxed(h, w, (w // 4, h // 3, w // 2, 2 * h // 3)) for h, w in sides]
    paths = [str(tmp_path / f"{i}.png") for i in range(len(made))]
    for path, (image, _) in zip(paths, made, strict=True):
        Image.fromarray(image).save(path)
    boxes = np.full((len(made), 3, 5), -1, np.float32)
    boxes[:, 0] = [row for _, row in made]
    split = FileSplit(np.array(paths), np.zeros(len(made), np.int64), boxes=boxes)
    loader, found = batches(split, size, **changes)
    assert isinstance(loader, StreamLoader if size > 64 else MemoryLoader)
    for batch in found:
        for image, rows in zip(batch.images, batch.targets, strict=True):
            assert rows[0, 4] == 4
            assert rows[1:, 4].tolist() == [-1, -1]
            np.testing.assert_allclose(rows[0, :4], found_box(image), atol=1)


def test_a_box_that_leaves_the_image_is_gone():
    augment = Augment(32, KEY, crop="pad", pad=16)
    boxes = torch.tensor([[[0.0, 0.0, 0.25, 0.25, 2.0], [0.5, 0.5, 1.0, 1.0, 1.0]]])
    kept = augment.targets(boxes, torch.tensor([[1.0 - 1e-6, 0.5]]))  # up by 16 pixels
    assert kept[0, :, 4].tolist() == [-1, 1]
    assert kept[0, 1, :4].tolist() == [16, 0, 32, 16]


def test_evaluation_sees_whole_images_with_boxes_and_the_classes_of_the_centre(tmp_path):
    split = segments(tmp_path, [(96, 64), (64, 96)])
    data = plain_colours()
    finish = Finish(data, None, CPU, channels_last=False)
    (batch,) = eval_loader(split, data, finish, EvalBatches(size=80, batch_size=2)).epoch(0)
    agree(batch.images, batch.targets, padded=False)
    with_boxes = FileSplit(split.paths, split.labels, boxes=np.full((2, 1, 5), -1, np.float32))
    (batch,) = eval_loader(with_boxes, data, finish, EvalBatches(size=96, batch_size=2)).epoch(0)
    assert (batch.images[0, 2, :, :64] == 255).all()
    assert (batch.images[0, :, :, 64:] == 0).all()
    assert (batch.images[1, :, 64:] == 0).all()


def test_bytes_below_the_first_class_are_no_class(tmp_path):
    split = segments(tmp_path, [(16, 16)])
    Image.fromarray(np.array([[0, 1, 150, 255]], np.uint8).repeat(4, 1).repeat(16, 0)).save(split.masks[0])
    from dataclasses import replace

    classes = NO_CLASS - replace(split, first_class=1).image(0)[3]
    assert classes[0, ::4].tolist() == [NO_CLASS, 0, 149, 254]


def test_a_mask_that_does_not_fit_its_image_is_named(tmp_path):
    split = segments(tmp_path, [(16, 16), (16, 24)])
    swapped = FileSplit(split.paths, split.labels, masks=split.masks[::-1])
    with pytest.raises(DataError, match=r"1_mask\.png: has \(16, 24\) pixels, its image \(16, 16\)"):
        swapped.image(0)
    (tmp_path / "0_mask.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"0_mask\.png: cannot be read as a mask"):
        split.image(0)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_image_with_a_mask_is_not_turned(tmp_path, suffix):
    (mask,) = segments(tmp_path, [(16, 16)]).masks
    exif = Image.Exif()
    path = str(tmp_path / f"photograph.{suffix}")
    split = FileSplit(np.array([path]), np.zeros(1, np.int64), masks=np.array([mask]))
    for orientation in (1, 3):  # 3: on its head, so that its sides are those of the mask
        exif[274] = orientation
        Image.new("RGB", (16, 16)).save(path, exif=exif)
        if orientation == 1:
            assert split.image(0).shape == (4, 16, 16)
    with pytest.raises(DataError, match=rf"photograph\.{suffix}: is turned by its EXIF metadata, and its mask may not"):
        split.image(0)
    assert FileSplit(split.paths, split.labels).image(0).shape == (3, 16, 16)


def test_images_in_memory_keep_their_masks_and_boxes_in_a_subset():
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 4, 8, 8)
    boxes = np.arange(4, dtype=np.float32).repeat(5).reshape(4, 1, 5)
    some = MemorySplit(images, np.zeros(4, np.int64), boxes).subset(np.array([3, 1]))
    assert some.images[:, 3, 0, 0].tolist() == [3, 1]
    assert some.boxes[:, 0, 0].tolist() == [3, 1]


def test_a_scene_of_one_article_has_its_class():
    line = ["data=scenes", "data.scenes=12", "data.val_scenes=5"]
    classes, boxes = (
        find_dataset(compose_settings([*line, f"data.targets={targets}", "data.most_articles=1"]).data)
        for targets in ("classes", "boxes")
    )
    assert classes.targets == "classes"
    assert classes.train.labels.tolist() == boxes.train.boxes[:, 0, 4].tolist()
    assert (len(classes.train.labels), len(classes.val.labels)) == (12, 5)
