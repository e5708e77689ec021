from bagoftricks.recipe.edits import RepeatImages
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Hoffer et al. 2020 (arXiv:1901.09335); Berman et al. 2019, section 3 (arXiv:1902.05509)")
class RepeatedAugmentation:
    """Repeated augmentation: each batch has a part of the images, several times, augmented differently.

    A batch of B images has B / m different ones, m times each, and an epoch keeps its number of steps (Hoffer et al.
    make larger batches instead). An epoch then reads 1 / m of the images; here the next epoch goes on where it ended,
    so that m epochs read each image m times, while the code of DeiT shuffles all images again for each.
    """

    times: int = 2
    """samples m of each image in a batch, 2 or more, a divisor of the batch size; Berman et al. and DeiT: 3"""

    def __post_init__(self) -> None:
        require(self, "times", self.times >= 2, "2 or more (leave repeated_augmentation out for 1)")

    def edits(self, task: Task) -> list[RepeatImages]:
        divides = task.batch_size % self.times == 0
        require(self, "times", divides, f"a divisor of the batch size: type a batch_size that {self.times} divides")
        return [RepeatImages(times=self.times)]
