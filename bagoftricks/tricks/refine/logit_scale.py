from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Page 2018, How to Train Your ResNet (the factor 1/8 of his network's logits)")
class LogitScale:
    """Logit scale: the logits multiplied by a constant, in training and in evaluation.

    A factor below 1 makes the first predictions less sure and the gradient of the head's weights smaller; it is the
    inverse of a temperature of the softmax. A network with a factor of its own (resnet9: 1/8; cifarnet: 1/9) has the
    product of the two. It stands after the last linear layer, in networks of torchvision and timm too.
    """

    factor: float = 0.125
    """factor of the logits, above 0; 1 changes nothing"""

    def __post_init__(self) -> None:
        require(self, "factor", self.factor > 0, "positive")

    def edits(self, task: Task) -> list[SetPart]:
        why = "frozen_norm_scale has a factor of its own: set tricks.frozen_norm_scale.logit_scale"
        return [SetPart(part=Part.LOGIT_SCALE, build=lambda scale: scale * self.factor, why=why)]
