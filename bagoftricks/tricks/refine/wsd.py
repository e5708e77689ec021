from typing import Literal

from bagoftricks.recipe.edits import Origin, SetDecay
from bagoftricks.recipe.trick import Task, duration, require, require_choice, trick


@trick(paper="Hu et al. 2024, section 4 (arXiv:2404.06395); Hägele et al. 2024, section 3 (arXiv:2405.18392)")
class Wsd:
    """Warm-up, stable, decay: the learning rate keeps its peak and falls in the last part of the run alone.

    With u the share of the decay that is done, the rate falls from its peak to final as 1 - sqrt(u) (Hägele et al.) or
    1 - u. Hu et al. halve it at equal times instead. The warm-up is a trick of its own (+efficiency=warmup). All steps
    before the decay are those of a longer run: extend= continues from there (runtime.keep_state=true).
    """

    decay: str = "20%"
    """length of the decay at the end of the run: epochs, steps or % of the run"""
    shape: Literal["sqrt", "linear"] = "sqrt"
    """fall of the learning rate: sqrt (fast at first), or linear"""
    final: float = 0.0
    """share of the peak learning rate just after the last step, in [0, 1)"""

    def __post_init__(self) -> None:
        require_choice(self, "shape")
        require(self, "final", 0 <= self.final < 1, "in [0, 1) (constant_lr keeps the rate)")

    def edits(self, task: Task) -> list[SetDecay]:
        length = duration(self, "decay", least=1)

        def decay(step: int, steps: int) -> float:
            falling = min(steps, length(task.clock.length))
            done = max(0, step - (steps - falling)) / falling
            return 1 - (1 - self.final) * float(done**0.5 if self.shape == "sqrt" else done)

        return [SetDecay(decay=decay, origin=Origin.WARMUP_END)]
