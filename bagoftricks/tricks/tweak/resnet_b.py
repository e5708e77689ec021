from bagoftricks.models.layers import stride_on_3x3
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, trick


@trick(paper="He et al. 2019, section 4.1 (arXiv:1812.01187)")
class ResNetB:
    """ResNet-B: the stride in a bottleneck's 3x3 instead of its first 1x1, so that no position is skipped.

    Basic blocks have their stride in a 3x3 already: there the trick is refused, as it would change nothing.
    Torchvision's and timm's ResNets are in this form.
    """

    def edits(self, task: Task) -> list[SetPart]:
        return [SetPart(part=Part.STRIDE, build=stride_on_3x3)]
