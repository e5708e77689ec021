from typing import Literal

from bagoftricks.recipe.edits import MapTargets, Targets
from bagoftricks.recipe.trick import Task, require, require_choice, trick


@trick(paper="Szegedy et al. 2016, section 7 (arXiv:1512.00567); He et al. 2019, section 5.2")
class LabelSmoothing:
    """Label smoothing: a share of each target moved to all classes, q = (1 - eps) y + eps / K.

    The papers' text gives eps to the K - 1 wrong classes only (form=others); all released codes, and the default,
    spread it over all K (form=uniform). The two agree for eps_uniform = eps_others K / (K - 1): 10 % apart at K = 10.
    The map is affine, so it commutes with mixing.
    """

    epsilon: float = 0.1
    """share eps that is moved, in [0, 1)"""
    form: Literal["uniform", "others"] = "uniform"
    """classes that receive it: uniform, eps / K for every class; others, eps / (K - 1) for every wrong class"""

    def __post_init__(self) -> None:
        require(self, "epsilon", 0 <= self.epsilon < 1, "in [0, 1)")
        require_choice(self, "form")

    def edits(self, task: Task) -> list[MapTargets]:
        k = task.num_classes
        spread = self.epsilon / (k if self.form == "uniform" else max(1, k - 1))
        keep = 1 - self.epsilon - (0 if self.form == "uniform" else spread)

        def smooth(targets: Targets) -> Targets:
            return targets * keep + spread

        return [MapTargets(apply=smooth)]
