"""Segmentation: a class for each pixel, by a head on the feature maps of a residual network."""

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn

from bagoftricks.distributed import World
from bagoftricks.errors import UserError
from bagoftricks.measure.accuracy import NO_IMAGES, Measured
from bagoftricks.measure.segmentation import confusion_matrix, mean_iou, pixel_accuracy
from bagoftricks.models.backbone import dilate, feature_maps
from bagoftricks.models.segmentation import DeepLabHead, FCNHead, PSPHead, SegmentationNet, pixel_loss
from bagoftricks.recipe.edits import Batch, Predict
from bagoftricks.registry import check_range, task
from bagoftricks.rng import Noise
from bagoftricks.settings import TaskSettings, choose
from bagoftricks.tasks.refusals import why_not_of_parts

PIXEL_HEADS = {"fcn": FCNHead, "psp": PSPHead, "deeplab": DeepLabHead}


@task(name="segmentation", scores={"mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy"})
class Segmentation(TaskSettings):
    """Class of each pixel, scored by the mean over classes of intersection over union."""

    targets: ClassVar[str] = "masks"

    head: str = "fcn"
    """fcn (Long et al. 2015), psp (Zhao et al. 2017) or deeplab (v3, Chen et al. 2017)"""
    output_stride: int = 8
    """most pixels of a side for one position of the last map: dilation takes the place of further strides"""
    aux_weight: float = 0.4
    """weight of the loss of a second head on the map before the last, in training alone; 0: no such head"""

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("task.head", self.head, ("fcn", "psp", "deeplab"))
        if self.output_stride not in (1, 2, 4, 8, 16, 32):
            raise UserError(f"task.output_stride={self.output_stride}: must be one of 1, 2, 4, 8, 16, 32")
        check_range("task.aux_weight", self.aux_weight, 0, 100)

    def refuses(self, edit: Any) -> str | None:
        return why_not_of_parts(edit)

    def network(self, classifier: nn.Module, num_classes: int, image_size: int) -> nn.Module:
        backbone = feature_maps(classifier)
        if self.output_stride < backbone.strides[-1]:
            dilate(backbone, self.output_stride)
        return SegmentationNet(backbone, PIXEL_HEADS[self.head], num_classes, aux=self.aux_weight > 0)

    def loss(self, noise: Noise) -> Any:
        return partial(pixel_loss, aux_weight=self.aux_weight)

    def measure(self, predict: Predict, numbered: Iterable[tuple[int, Batch]], world: World) -> Measured:
        total: Any = None
        for _, batch in numbered:
            logits = predict(batch.images)
            found = confusion_matrix(logits.argmax(1), batch.targets, logits.shape[1])
            total = found if total is None else total + found
        parts = [part for part in world.all_gather_object(None if total is None else total.cpu()) if part is not None]
        if not parts:
            raise ValueError("no image to evaluate on: the validation split is empty")
        matrix = torch.stack(parts).sum(0)
        return Measured({"mean_iou": mean_iou(matrix), "pixel_accuracy": pixel_accuracy(matrix)}, NO_IMAGES)
