from bagoftricks.models.layers import DeepStem, stride_on_3x3
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, trick


@trick(paper="He et al. 2019, section 4.1 (arXiv:1812.01187)")
class ResNetC:
    """ResNet-C: resnet_b, and three 3x3 of w/2, w/2 and w channels in place of the stem's 7x7.

    The first of the three has the stem's stride; a summary of the paper gives the second one a stride too, against
    the paper's figure. On small images all three have stride 1. Each is followed by norm and ReLU.
    """

    def edits(self, task: Task) -> list[SetPart]:
        return [SetPart(part=Part.STRIDE, build=stride_on_3x3), SetPart(part=Part.STEM, build=DeepStem)]
