from bagoftricks.recipe.edits import AverageWeights
from bagoftricks.recipe.trick import Length, Task, duration, require, trick


@trick(
    paper="Kaddour 2022 (arXiv:2209.14981)",
    warns={
        "ema": "each averages the weights by itself: compare them in separate arms",
        "swa": "each averages the weights by itself: compare them in separate arms",
        "lookahead": "lookahead already averages the weights",
    },
)
class Lawa:
    """Latest weight averaging: the mean of the weights at the ends of the last k epochs, evaluated too.

    The window moves with the training, so the average is ahead of the weights during the run, where SWA has one mean
    of all samples since its start. Until k samples exist, it is the mean of those. The statistics of batch norms are
    measured again on training images before each evaluation. It keeps k copies of the weights.
    """

    samples: int = 6
    """number k of samples in the mean, 2 or more"""
    every: str = "1 epochs"
    """time between samples: epochs, steps or % of the run"""

    def __post_init__(self) -> None:
        require(self, "samples", 2 <= self.samples <= 1000, "in 2..1000")

    def edits(self, task: Task) -> list[AverageWeights]:
        every = duration(self, "every", least=1)

        def times() -> tuple[int, int]:
            length: Length = task.clock.length
            return every(length), every(length)

        return [
            AverageWeights(
                weight=lambda update: 1 / min(update + 1, self.samples),
                times=times,
                window=self.samples,
                refresh_norms=True,
            )
        ]
