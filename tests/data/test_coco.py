import json

import numpy as np
import pytest
from PIL import Image

from bagoftricks.data.finding import find_dataset
from bagoftricks.errors import DataError, UserError
from bagoftricks.settings import dataset_settings
from bagoftricks.testing import check_dataset

CATEGORIES = [{"id": 7, "name": "kite"}, {"id": 2, "name": "boat"}]


def box(image, category, *bbox, **more):
    return {"id": 1, "image_id": image, "category_id": category, "bbox": list(bbox), **more}


def content(ids, *boxes):
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 10, "height": 8} for i in ids]
    return {"images": images, "categories": CATEGORIES, "annotations": list(boxes)}


TRAIN = content(
    [5, 3, 4],
    box(3, 7, 1, 2, 3, 4),
    box(5, 2, -2, 0, 99, 3),  # beyond three sides
    box(5, 7, 1, 1, 2, 2, iscrowd=1),
    box(4, 7, 1, 1, 2, 2, iscrowd=1),  # the image has nothing else
    box(3, 7, 1, 1, 0, 2),  # has no area
)
VAL = content([8, 9], box(9, 2, 0, 0, 5, 5))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "annotations").mkdir()
    for name, ids in (("train2017", (3, 4, 5)), ("val2017", (8, 9))):
        (tmp_path / name).mkdir()
        for i in ids:
            Image.fromarray(np.full((8, 10, 3), 20 * i, np.uint8)).save(tmp_path / name / f"{i}.jpg")
    write(tmp_path, "train", TRAIN)
    write(tmp_path, "val", VAL)
    return tmp_path


def write(root, split, content):
    text = content if isinstance(content, str) else json.dumps(content)
    (root / f"annotations/instances_{split}2017.json").write_text(text)


def test_boxes_are_cut_at_the_image_and_classes_go_by_their_ids(root):
    check_dataset("coco", root=str(root))
    data = find_dataset(dataset_settings("coco", root=str(root)))
    assert (data.targets, data.classes) == ("boxes", ("boat", "kite"))
    assert [path[-5:] for path in data.train.paths] == ["3.jpg", "5.jpg"]
    assert np.allclose(data.train.boxes, [[[0.1, 0.2, 0.4, 0.6, 1]], [[0, 0, 1, 0.3, 0]]])
    assert np.allclose(data.val.boxes, [[[-1] * 5], [[0, 0, 0.5, 0.5, 0]]])


def test_files_and_folders_of_ones_own(root):
    before = find_dataset(dataset_settings("coco", root=str(root))).digest
    (root / "annotations/instances_val2017.json").rename(root / "test.json")
    (root / "val2017").rename(root / "photographs")
    own = {"val_annotations": "test.json", "val_images": "photographs"}
    assert find_dataset(dataset_settings("coco", root=str(root), **own)).digest == before


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("{", "Expecting property name"),
        ("[" * 100_000, "recursion"),
        ([], "list indices"),
        ({"images": [], "annotations": []}, "lacks 'categories'"),
        (content([3], box(3, 7, 1, 2, 3)), "not enough values"),
        (content([3], box(3, 7, 1, 2, 3, float("nan"))), "a box with the corners"),
        (content([3], box(3, 7, 1, 2, 3, None)), "float"),
        (content([3], box(4, 7, 1, 2, 3, 4)), "annotation 1 is of an image or a category that is not listed"),
        (content([3], box(3, 8, 1, 2, 3, 4)), "annotation 1 is of an image or a category that is not listed"),
        (content([3, 3]), "two images have one id"),
        ({**TRAIN, "categories": [*CATEGORIES, {"id": 9, "name": "kite"}]}, "two categories have one id or one name"),
        ({**TRAIN, "images": [{**image, "width": 0} for image in TRAIN["images"]]}, "an image of 0 x 8 pixels"),
    ],
)
def test_other_json_is_one_line(root, given, why):
    write(root, "train", given)
    match = rf"^data\.annotations=\S+_train2017\.json: not in COCO's format \(.*{why}.*\): it needs"
    with pytest.raises(DataError, match=match) as error:
        dataset_settings("coco", root=str(root)).find()
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named(root):
    write(root, "val", {**VAL, "categories": [{"id": 2, "name": "boat"}]})
    with pytest.raises(DataError, match="have different categories"):
        dataset_settings("coco", root=str(root)).find()
    (root / "train2017/5.jpg").unlink()
    with pytest.raises(DataError, match=r"coco: 1 of 2 listed images are not in .*train2017/5\.jpg"):
        dataset_settings("coco", root=str(root)).find()
    (root / "annotations/instances_train2017.json").unlink()
    with pytest.raises(DataError, match=r"data\.annotations=annotations/instances_train2017\.json: no such file in"):
        dataset_settings("coco", root=str(root)).find()
    with pytest.raises(UserError, match=r"data=coco needs data\.root=FOLDER"):
        dataset_settings("coco").find()


def test_a_file_larger_than_allowed_is_not_read(root, monkeypatch):
    monkeypatch.setattr("bagoftricks.data.coco.MOST_JSON", 10)
    with pytest.raises(DataError, match=r"bytes, more than 10"):
        dataset_settings("coco", root=str(root)).find()
