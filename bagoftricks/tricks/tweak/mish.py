from torch import nn

from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, trick


@trick(paper="Misra 2020 (arXiv:1908.08681)")
class Mish:
    """Mish in place of ReLU: x tanh(ln(1 + exp(x))).

    Smooth and not monotone. Its least value is about -0.309, at -1.192.
    """

    def edits(self, task: Task) -> list[SetPart]:
        return [SetPart(part=Part.ACT, build=nn.Mish)]
