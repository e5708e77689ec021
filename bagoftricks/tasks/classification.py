"""The task of Bag of Tricks: the class of an image."""

from collections.abc import Iterable

from bagoftricks.distributed import World
from bagoftricks.measure.accuracy import Measured, measure_images
from bagoftricks.recipe.edits import Batch, Predict
from bagoftricks.registry import task
from bagoftricks.settings import TaskSettings


@task(
    name="classification",
    scores={
        "top1": "top-1",
        "top5": "top-5",
        "loss": "cross entropy",
        "ece": "calibration error",
        "soft_top1": "soft top-1",
    },
)
class Classification(TaskSettings):
    """Class of an image, scored by top-1."""

    def measure(self, predict: Predict, numbered: Iterable[tuple[int, Batch]], world: World) -> Measured:
        return measure_images(predict, numbered, world)
