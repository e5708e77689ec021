import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, trick


class GhostNorm2d(nn.BatchNorm2d):
    """Batch norm with the statistics of groups of ``size`` images while training: (N C H W) -> (N C H W).

    Image n of N goes to group n mod S, S = N / size. The running statistics are those of a batch norm that sees the
    mean over the groups of each step's mean and variance: they are right at every evaluation, in every weight set.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(channels)
        self.group_images = size

    def forward(self, input: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        if not self.training:
            return super().forward(input)
        n, channels, height, width = input.shape
        groups = n // self.group_images
        if n != groups * self.group_images:
            raise UserError(
                f"tricks.ghost_norm: {n} images at a time make no whole groups of {self.group_images} (batch_size "
                f"divided by splits); type a batch_size, splits, size of micro-batches or runtime.devices that do"
            )
        # In this memory format the channels of S successive images are those of one image with S C channels.
        wide = input.contiguous().view(self.group_images, groups * channels, height, width)
        mean, var = self.weight.new_zeros(2, groups * channels).unbind()
        scale, shift = (parameter.repeat(groups) for parameter in (self.weight, self.bias))
        # A momentum of 1 leaves the statistics of this batch in the buffers.
        out = F.batch_norm(wide, mean, var, scale, shift, training=True, momentum=1.0, eps=self.eps)
        self.follow(mean.view(groups, channels).mean(0), var.view(groups, channels).mean(0))
        return out.view_as(input)

    def follow(self, mean: Float[Tensor, " C"], var: Float[Tensor, " C"]) -> None:
        """Update the running statistics; a momentum of None makes them means over all updates."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = self.num_batches_tracked.to(mean.dtype).reciprocal() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(var, weight)


@trick(paper="Hoffer et al. 2017 (arXiv:1705.08741); Page 2019, How to Train Your ResNet 8: Bag of Tricks, ghost norm")
class GhostNorm:
    """Ghost batch norm: S interleaved groups of the batch, each normalised by its own statistics.

    Image n goes to group n mod S, as in Page's code. Smaller pieces (micro-batches) and larger ones (several views) are
    normalised in groups of the same size, batch_size / S. Running statistics average those of the groups at each step,
    as Page's code does before its first evaluation; later, his averaged weights are evaluated with the statistics of
    one group. As there, the average leaves out the variance between the groups' means.
    """

    splits: int = 16
    """number S of groups in a batch, a divisor of batch_size"""

    def __post_init__(self) -> None:
        require(self, "splits", self.splits >= 1, "1 or more")

    def edits(self, task: Task) -> list[SetPart]:
        size, rest = divmod(task.batch_size, self.splits)
        if rest or (size < 2 and self.splits > 1):
            raise UserError(
                f"tricks.ghost_norm.splits={self.splits}: must cut batch_size={task.batch_size} into equal groups of "
                f"2 images or more; type another splits, or batch_size={max(size, 2) * self.splits}"
            )
        return [SetPart(part=Part.NORM, build=lambda channels: GhostNorm2d(channels, size))]
