import torch
import torch.nn.functional as F
from torch import Tensor

from bagoftricks.recipe.edits import Batch, BatchPhase, MapBatch
from bagoftricks.recipe.trick import Task, require, trick
from bagoftricks.rng import Key


@trick(paper="Qin et al. 2020 (arXiv:2012.11101)")
class Resizemix:
    """ResizeMix: another image, made smaller, pasted into each one, and targets mixed by the share of pixels.

    Unlike CutMix's box, the small image holds all of its object. Its sides are tau times the image's, tau uniform in
    [smallest, largest], and its place is uniform inside the image. One tau, one place and one permutation serve the
    batch; the resize is bilinear and antialiased. Targets and a teacher's probabilities take the exact share.
    """

    smallest: float = 0.1
    """least side of the pasted image as a share of the image's, above 0"""
    largest: float = 0.8
    """largest side of the pasted image as a share of the image's, below 1"""
    probability: float = 1.0
    """share of the steps that are mixed, in (0, 1]"""

    def __post_init__(self) -> None:
        require(self, "largest", 0 < self.largest < 1, "in (0, 1)")
        require(self, "smallest", 0 < self.smallest <= self.largest, f"in (0, {self.largest:g}], up to the largest")
        require(self, "probability", 0 < self.probability <= 1, "in (0, 1] (leave resizemix out to mix nothing)")

    def edits(self, task: Task) -> list[MapBatch]:
        return [MapBatch(phase=BatchPhase.MIX, apply=self.mix)]

    def mix(self, batch: Batch, key: Key) -> Batch:
        """Mix a batch. All is drawn on the host, so nothing waits for the device."""
        mixes, size, down, right = key.fold("paste").numpy().random(4)
        if mixes >= self.probability:
            return batch
        height, width = batch.images.shape[2:]
        tau = self.smallest + size * (self.largest - self.smallest)
        small = max(1, int(height * tau)), max(1, int(width * tau))
        top, left = int(down * (height - small[0] + 1)), int(right * (width - small[1] + 1))
        partner = key.fold("partner").permutation(len(batch), batch.images.device)
        return paste_small(batch, partner, small, top, left)


def paste_small(batch: Batch, partner: Tensor, small: tuple[int, int], top: int, left: int) -> Batch:
    """Return the batch with each image's partner in it, ``small`` pixels high and wide; leave ``batch`` unchanged."""
    height, width = batch.images.shape[2:]
    kept = 1 - small[0] * small[1] / (height * width)
    images = batch.images.clone()
    pasted = F.interpolate(batch.images, size=small, mode="bilinear", antialias=True)[partner]
    images[:, :, top : top + small[0], left : left + small[1]] = pasted

    def share(rows: Tensor) -> Tensor:
        return torch.lerp(rows[partner], rows, kept)

    return Batch(images, share(batch.targets), None if batch.teacher is None else share(batch.teacher))
