"""Average precision of detections, by hand and against pycocotools."""

import contextlib
import io
import math

import numpy as np
import pytest

from bagoftricks.data.sources import DIFFICULT
from bagoftricks.measure.detection import (
    COCO_MOST,
    Detections,
    GroundTruth,
    average_precision,
    box_ious,
    coco_map,
    ground_truth_of,
    voc_map,
)
from tests.helpers import KEY

CLASSES = 3


def boxes(*corners):
    return np.array(corners, float).reshape(-1, 4)


def image(found, scores, objects, *, labels=None, classes=None, difficult=None):
    found, objects = boxes(*found), boxes(*objects)
    difficult = np.array(difficult or [False] * len(objects), bool)
    return (
        Detections(found, np.array(labels or [0] * len(found), int), np.array(scores, float)),
        GroundTruth(objects, np.array(classes or [0] * len(objects), int), difficult),
    )


LEFT, RIGHT_BOX, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60)


def test_the_example_by_hand():
    # By score: right, wrong (nothing there), right, wrong (found before). Three objects.
    # Precisions 1, 1/2, 2/3, 2/4 at recalls 1/3, 1/3, 2/3, 2/3: the envelope is 1 up to 1/3, and 2/3 up to 2/3.
    first = image([LEFT, (80, 80, 90, 90), (1, 0, 11, 10)], [0.9, 0.8, 0.3], [LEFT, FAR])
    second = image([(20, 1, 30, 11)], [0.7], [RIGHT_BOX])
    assert voc_map([first, second], 1) == pytest.approx(100 * (1 / 3 + 2 / 3 / 3))
    # Recalls 0 ... 0.3 have 1, 0.4, 0.5 and 0.6 have 2/3, and 0.7 ... 1 are not reached.
    assert voc_map([first, second], 1, points=11) == pytest.approx(100 * (4 + 3 * 2 / 3) / 11)


def test_a_recall_that_is_reached_exactly_counts():
    # 3 of 10 objects: recalls 0, 0.1, 0.2 and 0.3, though 3/10 is below 3 * 0.1 in floating point.
    assert average_precision(np.array([True] * 3), 10, 11) == pytest.approx(4 / 11)


def test_a_second_detection_of_an_object_is_wrong_and_one_of_a_difficult_object_does_not_count():
    twice = image([LEFT, LEFT, RIGHT_BOX], [0.9, 0.8, 0.7], [LEFT, RIGHT_BOX])
    assert voc_map([twice], 1) == pytest.approx(100 * (1 / 2 + 2 / 3 / 2))
    hard = image([LEFT, LEFT, RIGHT_BOX], [0.9, 0.8, 0.7], [LEFT, RIGHT_BOX], difficult=[True, False])
    assert voc_map([hard], 1) == 100
    assert coco_map([image([LEFT, RIGHT_BOX], [0.9, 0.8], [LEFT, RIGHT_BOX], difficult=[True, False])], 1) == 100
    # An object that counts comes before a difficult one that is overlapped more.
    assert coco_map([image([LEFT], [0.9], [LEFT, (0, 0, 10, 9.9)], difficult=[True, False])], 1) == 100


def test_voc_compares_with_the_object_of_most_overlap_and_coco_with_those_left():
    # Both detections overlap the first object most; the second one overlaps the other object by 0.6, too.
    pair = image([(0, 0, 10, 10), (0, 0, 10, 9)], [0.9, 0.8], [(0, 0, 10, 10), (0, 0, 10, 5.4)])
    assert voc_map([pair], 1) == pytest.approx(50)
    # At 0.5, 0.55 and 0.6 both are right; above, one of two objects is found: recalls 0 ... 0.5 of 101.
    assert coco_map([pair], 1) == pytest.approx(100 * (3 + 7 * 51 / 101) / 10)


@pytest.mark.parametrize(("height", "expected"), [(5.0, 100), (4.99, 0)])
def test_an_overlap_of_one_half_is_enough(height, expected):
    assert voc_map([image([(0, 0, 10, height)], [1], [LEFT])], 1) == expected


def test_a_class_without_an_object_is_left_out_and_another_class_is_never_found():
    one = image([LEFT, RIGHT_BOX], [0.9, 0.8], [LEFT, RIGHT_BOX], labels=[0, 2], classes=[0, 1])
    assert voc_map([one], CLASSES) == coco_map([one], CLASSES) == 50
    assert math.isnan(voc_map([image([LEFT], [1], [])], 1))
    assert voc_map([image([], [], [LEFT])], 1) == coco_map([image([], [], [LEFT])], 1) == 0


def test_only_the_surest_detections_of_a_class_count_for_coco():
    wrong = [FAR] * COCO_MOST
    assert coco_map([image([*wrong, LEFT], [*range(2, 2 + COCO_MOST), 1], [LEFT])], 1) == 0
    assert coco_map([image([*wrong, LEFT], [*range(2, 2 + COCO_MOST), 200], [LEFT])], 1) == 100
    other = image([*wrong, LEFT], [*range(2, 2 + COCO_MOST), 1], [LEFT], labels=[1] * COCO_MOST + [0])
    assert coco_map([other], 2) == 100


def test_padding_is_no_object():
    targets = np.array([[0, 0, 10, 10, 2], [-1, -1, -1, -1, -1], [3, 4, 5, 6, 0]], float)
    objects = ground_truth_of(targets)
    assert objects.labels.tolist() == [2, 0]
    assert objects.boxes.tolist() == [[0, 0, 10, 10], [3, 4, 5, 6]]
    assert not objects.difficult.any()


def test_a_difficult_object_keeps_its_class():
    objects = ground_truth_of(np.array([[0, 0, 10, 10, 2 + DIFFICULT], [3, 4, 5, 6, 2]], np.float32))
    assert objects.labels.tolist() == [2, 2]
    assert objects.difficult.tolist() == [True, False]


def test_boxes_without_an_area_overlap_nothing():
    assert box_ious(boxes((1, 1, 1, 1), LEFT), boxes((1, 1, 1, 1), LEFT)).tolist() == [[0, 0], [0, 1]]


def random_images(seed, count=40, apart=False):
    """Images with detections near their objects, of one class in ten a wrong one; ``apart``: one object per place."""
    rng = KEY.fold("detection", seed).numpy()
    images = []
    for _ in range(count):
        number = rng.integers(0, 6)
        corner = np.stack([np.arange(number) * 100.0] * 2, 1) if apart else rng.uniform(0, 40, (number, 2))
        size = rng.uniform(20, 40, (number, 2))
        objects = np.concatenate([corner, corner + size], 1)
        classes = rng.integers(0, CLASSES, number)
        rows = rng.integers(0, number, 2 * number) if number and not apart else np.arange(number)
        found = objects[rows] + rng.normal(0, 2, (len(rows), 4))
        labels = np.where(rng.random(len(rows)) < 0.1, rng.integers(0, CLASSES, len(rows)), classes[rows])
        extra = rng.uniform(0, 40, (2, 2)) + (500 if apart else 0)
        found = np.concatenate([found, np.concatenate([extra, extra + 30], 1)])
        labels = np.concatenate([labels, rng.integers(0, CLASSES, 2)])
        detections = Detections(found, labels, rng.random(len(found)))
        images.append((detections, GroundTruth(objects, classes, np.zeros(number, bool))))
    return images


def by_pycocotools(images, points=101, overlaps=None):
    """Mean average precision in percent; recalls are a little lower, so that one that is reached exactly counts."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")

    def rows(boxes):
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()

    truth, found = [], []
    for number, (detections, objects) in enumerate(images, 1):
        for box, label in zip(rows(objects.boxes), objects.labels.tolist(), strict=True):
            area = box[2] * box[3]
            facts = {"id": len(truth) + 1, "image_id": number, "category_id": label, "area": area, "iscrowd": 0}
            truth.append({**facts, "bbox": box})
        parts = (rows(detections.boxes), detections.labels.tolist(), detections.scores.tolist())
        for box, label, score in zip(*parts, strict=True):
            found.append({"image_id": number, "category_id": label, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        data.dataset = {
            "info": {},
            "images": [{"id": i + 1} for i in range(len(images))],
            "annotations": truth,
            "categories": [{"id": c} for c in range(CLASSES)],
        }
        data.createIndex()
        scorer = evaluation.COCOeval(data, data.loadRes(found), "bbox")
        scorer.params.recThrs = np.linspace(0, 1, points) - 1e-9
        if overlaps is not None:
            scorer.params.iouThrs = np.array(overlaps)
        scorer.evaluate()
        scorer.accumulate()
    precision = scorer.eval["precision"][:, :, :, 0, -1]
    return 100 * precision[precision > -1].mean()


@pytest.mark.parametrize("seed", range(3))
def test_coco_scores_are_those_of_pycocotools(seed):
    images = random_images(seed)
    expected = by_pycocotools(images)
    assert 10 < expected < 90
    assert coco_map(images, CLASSES) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_voc_scores_of_objects_apart_are_those_of_pycocotools(seed):
    # With one object in each place, both rules compare a detection with the same object.
    images = random_images(seed, apart=True)
    assert voc_map(images, CLASSES, points=11) == pytest.approx(by_pycocotools(images, 11, [0.5]), abs=1e-9)
    assert voc_map(images, CLASSES) == pytest.approx(by_pycocotools(images, 10_001, [0.5]), abs=0.05)


def test_the_order_of_images_does_not_matter():
    images = random_images(5)
    assert voc_map(images[::-1], CLASSES) == pytest.approx(voc_map(images, CLASSES))
    assert coco_map(images[::-1], CLASSES) == pytest.approx(coco_map(images, CLASSES))
