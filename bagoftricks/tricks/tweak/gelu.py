from torch import nn

from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, trick


@trick(paper="Hendrycks and Gimpel 2016 (arXiv:1606.08415); Jordan 2024, section 3.1 (arXiv:2404.00498)")
class Gelu:
    """GELU in place of ReLU: x Phi(x) with the distribution function Phi of the standard normal.

    This is the exact form, not the approximation by tanh. Its least value is about -0.17, at -0.75.
    """

    def edits(self, task: Task) -> list[SetPart]:
        return [SetPart(part=Part.ACT, build=nn.GELU)]
