from bagoftricks.recipe.edits import Origin, SetDecay
from bagoftricks.recipe.trick import Task, duration, require, trick


@trick(paper="Page 2019, How to Train Your ResNet 8; Li et al. 2020 (arXiv:1905.04753)")
class LinearDecay:
    """Linear decay of the learning rate from its peak, at the end of the warm-up, to its final value.

    (1 - s/S) + final s/S at step s of S, then final for the last steps (hold). Page's knots [0, e/5, e - 2] ->
    [0, 1, 0.1] are a warm-up of a fifth, final=0.1 and hold='2 epochs'. His line is read at s + 1, so it
    ends at a step of final instead of just before it.
    """

    final: float = 0.0
    """share of the peak learning rate at the end of the line"""
    hold: str = "0 epochs"
    """time from the end of the line to the end of the run: epochs, steps or % of the run"""

    def __post_init__(self) -> None:
        require(self, "final", 0 <= self.final <= 1, "in [0, 1]")

    def edits(self, task: Task) -> list[SetDecay]:
        hold = duration(self, "hold")

        def decay(step: int, steps: int) -> float:
            share = min(1.0, step / max(1, steps - hold(task.clock.length)))
            return (1 - share) + self.final * share

        return [SetDecay(decay=decay, origin=Origin.WARMUP_END)]
