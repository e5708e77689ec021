from bagoftricks.recipe.edits import AverageWeights
from bagoftricks.recipe.trick import Task, duration, trick


@trick(
    paper="Izmailov et al. 2018, algorithm 1 (arXiv:1803.05407)",
    warns={"ema": "each averages the weights by itself: compare them in separate arms"},
)
class Swa:
    """Stochastic weight averaging: the mean of weights from the last part of the run, evaluated too.

    Samples are taken at equal intervals counted back from the end of the run, so the last weights are among them; the
    first is taken at or after ``start``. The statistics of batch norms are measured again on training images before
    each evaluation. The paper keeps the learning rate high while it samples (+refine=constant_lr); a decay to 0 leaves
    little to average.
    """

    start: str = "75%"
    """start of the sampling: epochs, steps or % of the run"""
    every: str = "1 epochs"
    """time between samples: epochs, steps or % of the run"""

    def edits(self, task: Task) -> list[AverageWeights]:
        start, every = duration(self, "start"), duration(self, "every", least=1)

        def times() -> tuple[int, int]:
            length = task.clock.length
            total, period = length.total_steps, every(length)
            return total - (total - start(length)) // period * period, period

        return [AverageWeights(weight=lambda update: 1 / (update + 1), times=times, refresh_norms=True)]
