from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bagoftricks.data import ade20k
from bagoftricks.data.finding import find_dataset
from bagoftricks.errors import DataError
from bagoftricks.recipe.edits import NO_CLASS
from bagoftricks.settings import dataset_settings


@pytest.fixture
def root(tmp_path, monkeypatch):
    base = tmp_path / "ADEChallengeData2016"
    for split, count in (("training", 3), ("validation", 2)):
        for kind in ("images", "annotations"):
            (base / kind / split).mkdir(parents=True)
        for i in range(count):
            image = np.full((8, 12, 3), 10 * i + count, np.uint8)
            Image.fromarray(image).save(base / "images" / split / f"ADE_{i:08}.jpg")
            mask = np.full((8, 12), i, np.uint8)  # 0: of no class
            Image.fromarray(mask).save(base / "annotations" / split / f"ADE_{i:08}.png")
    (base / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tName\n1\t0.2\t3\t2\twall\n2\t0.1\t1\t1\tbuilding, edifice\n"
    )
    monkeypatch.setattr(ade20k, "ADE20K", replace(ade20k.ADE20K, images=(3, 2), classes=2))
    return tmp_path


def test_bytes_are_classes_from_1_and_0_is_none(root):
    data = find_dataset(dataset_settings("ade20k", root=str(root)))
    assert data.classes == ("wall", "building, edifice")
    assert data.targets == "masks"
    assert [NO_CLASS - int(data.train.image(i)[3, 0, 0]) for i in range(3)] == [NO_CLASS, 0, 1]
    assert data.train.image(0).shape == (4, 8, 12)


def test_a_changed_mask_changes_the_digest(root):
    settings = dataset_settings("ade20k", root=str(root))
    before = find_dataset(settings).digest
    file = root / "ADEChallengeData2016" / "annotations" / "training" / "ADE_00000001.png"
    Image.fromarray(np.full((8, 12), 2, np.uint8)).save(file)
    assert find_dataset(settings).digest != before


def test_what_is_missing_is_named(root):
    (root / "ADEChallengeData2016" / "annotations" / "validation" / "ADE_00000001.png").unlink()
    with pytest.raises(DataError, match=r"1 masks are missing \(ADE_00000001\.png\)"):
        dataset_settings("ade20k", root=str(root)).find()


def test_the_published_numbers():
    assert ade20k.ADE20K.images == (20_210, 2_000)
    assert ade20k.ADE20K.classes == 150
