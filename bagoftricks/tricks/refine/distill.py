from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bagoftricks.recipe.edits import AddLossTerm, Batch, ScaleLoss, SetTeacher
from bagoftricks.recipe.trick import Task, require, require_choice, trick


@trick(
    paper="Hinton et al. 2015 (arXiv:1503.02531); He et al. 2019, section 5.3; Lee et al. 2020, table 5",
    warns={"autoaugment": "with mode=offline the teacher sees the images before that policy"},
)
class Distill:
    """Knowledge distillation from a teacher: h CE(y, z) + s T^2 CE(softmax(r/T), softmax(z/T)).

    z and r are the student's and the teacher's logits. T^2 keeps the size of the soft term's gradient, which tends to
    the gradient of matching centred logits as T grows. The text of Bag of Tricks has h = s = 1 at T = 20; its released
    code has 0.5 for both: half the loss, and so twice the relative weight decay. Assembled-CNN has T = h = s = 1 and
    mode=offline: its teacher never sees a cropped, augmented or mixed image, and its stored probabilities are mixed as
    the labels are. Label smoothing changes the hard term alone. Both terms are cross entropies in fp32, so the loss is
    at least T^2 times the teacher's entropy.
    """

    teacher: str = ""
    """teacher: run:ID or run:ID@WEIGHTS of the store, row:NAME, file:PATH, torchvision:NAME:PATH or timm:NAME:PATH"""
    temperature: float = 20.0
    """temperature T of both softmaxes, above 0"""
    mode: Literal["online", "offline"] = "online"
    """teacher's images: online, each training batch as the student has it; offline, each image once, unaugmented"""
    hard_weight: float = 1.0
    """weight h of the loss on the targets, 0 or more"""
    soft_weight: float = 1.0
    """weight s of the loss on the teacher's probabilities, 0 or more"""

    def __post_init__(self) -> None:
        require(self, "temperature", self.temperature > 0, "positive")
        require_choice(self, "mode")
        require(self, "hard_weight", self.hard_weight >= 0, "0 or more")
        require(self, "soft_weight", self.soft_weight >= 0, "0 or more")

    def edits(self, task: Task) -> list[SetTeacher | AddLossTerm | ScaleLoss]:
        return [
            SetTeacher(source=self.teacher, temperature=self.temperature, online=self.mode == "online"),
            ScaleLoss(factor=self.hard_weight),
            AddLossTerm(term=self.soft),
        ]

    def soft(self, logits: Float[Tensor, "VB K"], batch: Batch) -> Tensor:
        """Return the soft term; of several views of an image, the first one is compared with the teacher."""
        assert batch.teacher is not None, "the batch comes without its teacher's probabilities"
        scaled = logits[: len(batch)].float() / self.temperature
        return self.soft_weight * self.temperature**2 * F.cross_entropy(scaled, batch.teacher.float())
