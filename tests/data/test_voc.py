from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bagoftricks.data import voc
from bagoftricks.data.augment import Finish
from bagoftricks.data.finding import find_dataset
from bagoftricks.data.loaders import EvalBatches, eval_loader
from bagoftricks.data.sources import DIFFICULT
from bagoftricks.errors import DataError, UserError
from bagoftricks.measure.detection import ground_truth_of
from bagoftricks.recipe.edits import NO_CLASS
from bagoftricks.settings import dataset_settings
from bagoftricks.testing import check_dataset

DOG, CAT = 11, 7
OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><ymin>{}</ymin><xmin>{}</xmin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
)
SIZE = "<size><width>10</width><height>8</height><depth>3</depth></size>"


def annotation(*objects):
    return f"<annotation>{SIZE}{''.join(OBJECT.format(*each) for each in objects)}</annotation>"


def photograph(base, year, name, *objects):
    folder = base / year
    for kind in ("JPEGImages", "Annotations", "SegmentationClass"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, year + name))
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 10, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg")
    (folder / "Annotations" / f"{name}.xml").write_text(annotation(*objects))
    mask = Image.fromarray(np.full((8, 10), 15, np.uint8), "P")
    mask.putpixel((0, 0), 255)
    mask.putpixel((1, 0), 0)
    mask.putpalette([i * 7 % 256 for i in range(768)])
    mask.save(folder / "SegmentationClass" / f"{name}.png")


def listed(base, name, *images):
    (base / name).parent.mkdir(parents=True, exist_ok=True)
    (base / name).write_text("".join(f"{image}\n" for image in images))


@pytest.fixture
def root(tmp_path, monkeypatch):
    base = tmp_path / "VOCdevkit"
    photograph(base, "VOC2007", "000001", ("dog", 0, 1, 1, 10, 8), ("cat", 1, 2, 2, 4, 4))
    photograph(base, "VOC2007", "000002", ("cat", 1, 2, 3, 5, 6), ("dog", 0, 3, 4, 99, 7))
    photograph(base, "VOC2012", "2008_000001", ("cat", 0, 2.5, 3, 5, 6))
    photograph(base, "VOC2012", "2008_000002")
    listed(base, "VOC2007/ImageSets/Main/trainval.txt", "000001")
    listed(base, "VOC2007/ImageSets/Main/test.txt", "000002")
    listed(base, "VOC2012/ImageSets/Main/trainval.txt", "2008_000001", "2008_000002")
    listed(base, "VOC2012/ImageSets/Segmentation/train.txt", "2008_000001")
    listed(base, "VOC2012/ImageSets/Segmentation/val.txt", "2008_000002")
    monkeypatch.setitem(voc.VOC, "masks", replace(voc.VOC["masks"], images=(1, 1)))
    monkeypatch.setitem(voc.VOC, "boxes", replace(voc.VOC["boxes"], images=(3, 1)))
    return tmp_path


def find(root, targets):
    return find_dataset(dataset_settings("voc", root=str(root), targets=targets))


def test_bytes_of_the_palette_are_classes_and_255_is_none(root):
    data = find(root, "masks")
    assert (data.targets, len(data.classes), data.classes[0], data.classes[15]) == (
        "masks",
        21,
        "background",
        "person",
    )
    image = data.train.image(0)
    assert image.shape == (4, 8, 10)
    assert (NO_CLASS - image[3, 0, :3].int()).tolist() == [NO_CLASS, 0, 15]


def test_boxes_are_those_of_both_years_without_the_difficult_ones(root):
    data = find(root, "boxes")
    check_dataset("voc", root=str(root), targets="boxes")
    assert (data.targets, len(data.classes), data.classes[DOG]) == ("boxes", 20, "dog")
    assert [path[-15:] for path in data.train.paths] == ["ages/000001.jpg", "2008_000001.jpg", "2008_000002.jpg"]
    expected = [[0, 0, 1, 0.8, DOG], [0.2, 0.15, 0.5, 0.6, CAT], [-1] * 5]
    assert np.allclose(data.train.boxes[:, 0], expected)
    assert data.train.boxes.shape == (3, 1, 5)


def test_difficult_objects_of_the_test_need_not_be_found(root):
    data = dataset_settings("voc", root=str(root), targets="boxes")
    val = find_dataset(data).val
    rows = val.boxes[0]
    assert np.allclose(rows, [[0.2, 0.1, 0.5, 0.6, CAT + DIFFICULT], [0.3, 0.2, 1, 0.7, DOG]])  # 99 is cut at 10
    finish = Finish(data, None, torch.device("cpu"), channels_last=False)
    (batch,) = eval_loader(val, data, finish, EvalBatches(size=100, batch_size=1)).epoch(0)
    objects = ground_truth_of(batch.targets[0].numpy())
    assert np.allclose(objects.boxes, [[20, 10, 50, 60], [30, 20, 100, 70]])
    assert objects.labels.tolist() == [CAT, DOG]
    assert objects.difficult.tolist() == [True, False]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("<annotation>", "no element found"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + annotation(), "declares a document type"),
        ("<annotation><size><width>3</width></size></annotation>", "<annotation> lacks size/height"),
        (annotation(("unicorn", 0, 1, 1, 2, 2)), "unicorn is no class of VOC"),
        (annotation(("dog", 0, "nan", 1, 2, 2)), "a box with the corners"),
        (annotation(("dog", 0, "one", 1, 2, 2)), "could not convert"),
        ("\xff", "codec"),
        (annotation() + " " * 2**20, "more than 1,048,576 bytes"),
    ],
)
def test_a_damaged_annotation_is_one_line(root, content, why):
    file = root / "VOCdevkit/VOC2012/Annotations/2008_000001.xml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=rf"^voc: .*2008_000001\.xml: no annotation of VOC \(.*{why}.*\): extract") as e:
        find(root, "boxes")
    assert "\n" not in str(e.value)


def test_what_is_missing_is_named(root):
    base = root / "VOCdevkit/VOC2012"
    (base / "Annotations/2008_000002.xml").unlink()
    with pytest.raises(DataError, match=r"2008_000002\.xml: no annotation of VOC \(.*No such file"):
        find(root, "boxes")
    (base / "SegmentationClass/2008_000002.png").unlink()
    with pytest.raises(DataError, match=r"voc: 1 masks are missing \(2008_000002\.png\)"):
        find(root, "masks")
    (base / "JPEGImages/2008_000002.jpg").unlink()
    with pytest.raises(DataError, match=r"voc: 1 of 3 listed images are not in .*2008_000002\.jpg"):
        find(root, "boxes")
    with pytest.raises(UserError, match=r"data\.targets=mask: must be one of masks, boxes"):
        dataset_settings("voc", targets="mask")


def test_the_published_numbers():
    assert (voc.VOC["masks"].images, voc.VOC["masks"].classes) == ((1_464, 1_449), 21)
    assert (voc.VOC["boxes"].images, voc.VOC["boxes"].classes) == ((5_011 + 11_540, 4_952), 20)
