import math

from bagoftricks.recipe.edits import Origin, SetDecay
from bagoftricks.recipe.trick import Task, trick


@trick(paper="Loshchilov and Hutter 2017 (arXiv:1608.03983); He et al. 2019, section 5.1")
class Cosine:
    """Cosine decay of the learning rate: (1 + cos(pi t/T)) / 2 of its peak, per step.

    t and T count from the end of the warm-up, so the curve has no jump there; it reaches 0 just after the last step.
    """

    def edits(self, task: Task) -> list[SetDecay]:
        return [SetDecay(decay=half_cosine, origin=Origin.WARMUP_END)]


def half_cosine(step: int, steps: int) -> float:
    return (1 + math.cos(math.pi * (step / steps))) / 2
