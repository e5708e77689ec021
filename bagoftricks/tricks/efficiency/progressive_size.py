import math

import torch.nn.functional as F

from bagoftricks.recipe.edits import Batch, BatchPhase, MapBatch
from bagoftricks.recipe.trick import Task, require, trick
from bagoftricks.rng import Key


@trick(paper="Howard 2018 (fast.ai, DAWNBench); Tan and Le 2021, section 4 (arXiv:2104.00298)")
class ProgressiveSize:
    """Progressive resizing: training on smaller images first, whose cost is in proportion to their pixels.

    At the share t of the run, images have start + (1 - start) t / until of their side, in equal steps of the side, and
    their full side from t = until on. The resize (bilinear, antialiased) is the last change of a batch, so squares are
    erased and images mixed at full size; the evaluation sees full images. The network must accept any size. Unlike in
    Tan and Le, the regularisation does not change.
    """

    start: float = 0.5
    """side of the first images as a share of the full side, in (0, 1)"""
    until: float = 0.5
    """share of the run after which images are full-sized, in (0, 1]"""
    stages: int = 2
    """number of smaller sizes before the full one"""
    multiple: int = 4
    """number of pixels that divides every side: sides are rounded up to its multiples"""

    def __post_init__(self) -> None:
        require(self, "start", 0 < self.start < 1, "in (0, 1) (leave progressive_size out for whole images)")
        require(self, "until", 0 < self.until <= 1, "in (0, 1]")
        require(self, "stages", 1 <= self.stages <= 1000, "in 1..1000")
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
        """Return the side in pixels at ``progress`` in [0, 1)."""
        stage = min(self.stages, math.floor(round(progress / self.until * self.stages, 6)))
        share = self.start + (1 - self.start) * stage / self.stages
        return min(whole, max(1, math.ceil(round(share * whole, 6) / self.multiple)) * self.multiple)
