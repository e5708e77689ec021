from torch import nn

from bagoftricks.recipe.edits import ScaleParams
from bagoftricks.recipe.trick import Task, trick

DECAYED = (nn.modules.conv._ConvNd, nn.Linear)


@trick(paper="Jia et al. 2018 (arXiv:1807.11205); He et al. 2019, section 3.1")
class NoBiasDecay:
    """Weight decay of convolutions' and linear layers' weights only: no bias, no gamma, no beta.

    Parameters are chosen by the type of their module: names such as "bn" miss some norms (torchvision's
    ``downsample.1``). The released code of Assembled-CNN decays the classifier's bias; this trick follows the text.
    """

    def edits(self, task: Task) -> list[ScaleParams]:
        return [ScaleParams(select=lambda m, name: not (name == "weight" and isinstance(m, DECAYED)), weight_decay=0.0)]
