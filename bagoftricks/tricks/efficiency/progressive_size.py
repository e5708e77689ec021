import math

import torch.nn.functional as F

from bagoftricks.recipe.edits import Batch, BatchPhase, MapBatch
from bagoftricks.recipe.trick import Task, require, trick
from bagoftricks.rng import Key


@trick(paper="Howard 2018 (fast.ai, DAWNBench); Tan and Le 2021, section 4 (arXiv:2104.00298)")
class ProgressiveSize:
    """Train on smaller images first: they cost less, in proportion to their pixels.

    At the share t of the run, images are resized to the side start + (1 - start) t / until of their own, and to it
    from t = until on, in equal steps of the side. The resize (bilinear, antialiased) is the last thing that happens
    to a batch, so whatever is erased or mixed is so at full size; the evaluation sees full images. Networks must take
    any size. Unlike in Tan and Le, the regularisation stays as it is.
    """

    start: float = 0.5
    """side of the first images, as a share of the whole"""
    until: float = 0.5
    """share of the run after which the images are whole"""
    stages: int = 2
    """sizes before the whole one; 1: one smaller size, then the whole"""
    multiple: int = 4
    """sides are rounded up to a multiple of so many pixels"""

    def __post_init__(self) -> None:
        require(self, "start", 0 < self.start < 1, "in (0, 1) (leave progressive_size out for whole images)")
        require(self, "until", 0 < self.until <= 1, "in (0, 1]")
        require(self, "stages", self.stages >= 1, "1 or more")
        require(self, "multiple", self.multiple >= 1, "1 or more")

    def edits(self, task: Task) -> list[MapBatch]:
        def resize(batch: Batch, key: Key) -> Batch:
            side = self.side(batch.images.shape[-1], float(task.clock))
            if side == batch.images.shape[-1]:
                return batch
            images = F.interpolate(batch.images, size=(side, side), mode="bilinear", antialias=True)
            return Batch(images, batch.targets, batch.teacher)

        return [MapBatch(phase=BatchPhase.RESIZE, apply=resize)]

    def side(self, whole: int, progress: float) -> int:
        """The side in pixels at ``progress`` in [0, 1)."""
        stage = min(self.stages, math.floor(round(progress / self.until * self.stages, 6)))
        share = self.start + (1 - self.start) * stage / self.stages
        return min(whole, math.ceil(round(share * whole, 6) / self.multiple) * self.multiple)
