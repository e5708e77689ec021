from torch import nn

from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, trick


@trick(paper="Elfwing et al. 2018 (arXiv:1702.03118); Ramachandran et al. 2017 (arXiv:1710.05941)")
class Silu:
    """SiLU in place of ReLU: x sigmoid(x), Swish with beta = 1.

    Smooth and not monotone. Its least value is about -0.278, at -1.278.
    """

    def edits(self, task: Task) -> list[SetPart]:
        return [SetPart(part=Part.ACT, build=nn.SiLU)]
