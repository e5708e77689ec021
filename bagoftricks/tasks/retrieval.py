"""Image retrieval: embeddings whose nearest neighbours are of the same class, which training need not have seen."""

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

from torch import nn

from bagoftricks.distributed import World
from bagoftricks.measure.accuracy import Measured
from bagoftricks.measure.outputs import outputs_in_order
from bagoftricks.measure.retrieval import neighbours
from bagoftricks.models.embedding import EmbeddingHead, cosine_softmax, replace_head
from bagoftricks.recipe.edits import AddLossTerm, Batch, BatchPhase, MapBatch, Predict, ScaleLoss, SetLoss, SetTeacher
from bagoftricks.registry import check_range, task
from bagoftricks.rng import Noise
from bagoftricks.settings import TaskSettings, positive

MOST_DIMENSIONS = 65_536
KS = (1, 2, 4, 8, 10, 100, 1000)


@task(
    name="retrieval",
    scores={
        "recall_at_1": "recall@1",
        "recall_at_2": "recall@2",
        "recall_at_4": "recall@4",
        "recall_at_8": "recall@8",
        "recall_at_10": "recall@10",
        "recall_at_100": "recall@100",
        "recall_at_1000": "recall@1000",
        "map_at_r": "mAP@R",
    },
)
class Retrieval(TaskSettings):
    """Nearest neighbours by the cosine of embeddings, scored by recall@1 on classes that training has not seen."""

    targets: ClassVar[str] = "unseen"

    embedding: int = 1536
    """dimensions of the embedding"""
    scale: float = 20.0
    """factor s of the cosines in the softmax"""
    margin: float = 0.0
    """angle in radians that ArcFace adds to the right class's (0.3 for SOP in Lee et al. 2020); 0: cosine-softmax"""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(MOST_DIMENSIONS, **{"task.embedding": self.embedding, "task.scale": self.scale})
        check_range("task.margin", self.margin, 0, 1.5)

    def refuses(self, edit: Any) -> str | None:
        if isinstance(edit, SetLoss | ScaleLoss | AddLossTerm | SetTeacher):
            return "its loss takes logits, and the task has cosines"
        if self.margin and isinstance(edit, MapBatch) and edit.phase is BatchPhase.MIX:
            return "it mixes images of two classes, and the margin is of one (task.margin=0 goes with it)"
        return None

    def network(self, classifier: nn.Module, num_classes: int, image_size: int) -> nn.Module:
        return replace_head(classifier, lambda features: EmbeddingHead(features, self.embedding, num_classes))

    def loss(self, noise: Noise) -> Any:
        return partial(cosine_softmax, scale=self.scale, margin=self.margin)

    def measure(self, predict: Predict, numbered: Iterable[tuple[int, Batch]], world: World) -> Measured:
        embeddings, labels = outputs_in_order(predict, numbered, world)

        def score() -> Measured:
            found = neighbours(embeddings, labels)
            scores = {f"recall_at_{k}": found.recall(k) for k in KS if k < len(labels)}
            return Measured({**scores, "map_at_r": found.map_at_r()}, found.hits.cpu().numpy())

        return world.broadcast_object(score)
