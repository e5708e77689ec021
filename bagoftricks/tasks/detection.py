"""Detection: boxes of objects with their classes, by Faster R-CNN on a residual network."""

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from bagoftricks.distributed import World
from bagoftricks.measure.accuracy import NO_IMAGES, Measured
from bagoftricks.measure.detection import Detections, coco_map, ground_truth_of, voc_map
from bagoftricks.measure.outputs import outputs_in_order
from bagoftricks.models.backbone import feature_maps
from bagoftricks.models.detection import Detector, DetectorSize, Features, detection_loss
from bagoftricks.recipe.edits import Batch, InitParams, Predict, Role, has_role
from bagoftricks.registry import task
from bagoftricks.rng import Key, Noise
from bagoftricks.settings import TaskSettings, positive
from bagoftricks.tasks.refusals import why_not_of_parts

VOC_2007 = 11  # recalls of its rule
SEEDS = 2**24  # numbers that a draw in fp32 tells apart


@task(name="detection", scores={"voc_map": "mAP", "voc_map_2010": "mAP (2010)", "coco_map": "COCO AP"})
class Detection(TaskSettings):
    """Boxes of objects with their classes, scored by VOC 2007's mean average precision."""

    targets: ClassVar[str] = "boxes"

    pyramid: bool = True
    """find objects on a feature pyramid (Lin et al. 2017) of all stages; false: on the last map alone"""

    channels: int = 256
    """channels of the maps of the pyramid; the head of boxes has four times as many"""
    proposals: int = 1000
    """most proposals of an image that are judged in evaluation; in training, half as many"""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(65_536, **{"task.channels": self.channels, "task.proposals": self.proposals})

    def refuses(self, edit: Any) -> str | None:
        return why_not_of_parts(edit)

    def network(self, classifier: nn.Module, num_classes: int, image_size: int) -> nn.Module:
        size = DetectorSize(self.pyramid, self.channels, self.proposals)
        return Detector(feature_maps(classifier), num_classes, image_size, size)

    def loss(self, noise: Noise) -> Any:
        return partial(keyed_detection_loss, noise=noise)

    def inits(self) -> Any:
        """Start the layers that propose and judge boxes from N(0, 0.01), as Girshick 2015 does (Fast R-CNN)."""

        def near_zero(parameter: Tensor, key: Key) -> None:
            parameter.normal_(0, 0.01, generator=key.generator(parameter.device))

        return [
            InitParams(
                select=lambda module, name: name == "weight" and has_role(module, Role.SMALL_START), init=near_zero
            )
        ]

    def measure(self, predict: Predict, numbered: Iterable[tuple[int, Batch]], world: World) -> Measured:
        outputs, targets = (part.cpu() for part in outputs_in_order(predict, numbered, world))

        def score() -> Measured:
            pairs = [
                (detections_of(found), ground_truth_of(objects))
                for found, objects in zip(outputs, targets.numpy(), strict=True)
            ]
            classes = 1 + max(int(objects.labels.max(initial=0)) for _, objects in pairs)
            by_rule = {"voc_map": voc_map(pairs, classes, points=VOC_2007), "voc_map_2010": voc_map(pairs, classes)}
            return Measured({**by_rule, "coco_map": coco_map(pairs, classes)}, NO_IMAGES)

        return world.broadcast_object(score)


def keyed_detection_loss(outputs: Features, targets: Tensor, noise: Noise) -> Tensor:
    """Return the loss of proposals that are sampled by the step's key and the image's place in the batch."""
    draws = noise.uniform(len(targets), device=torch.device("cpu"), place="proposals")
    return detection_loss(outputs, targets, (draws * SEEDS).long().tolist())


def detections_of(rows: Tensor) -> Detections:
    """Return the detections in rows (x1, y1, x2, y2, class, score); rows of class -1 are padding."""
    kept = rows[rows[:, 4] >= 0].numpy().astype(np.float64)
    return Detections(kept[:, :4], kept[:, 4].astype(np.int64), kept[:, 5])
