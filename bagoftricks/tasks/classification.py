"""The task of Bag of Tricks: the class of an image. Every command makes one, so importing it loads no torch."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bagoftricks.registry import task
from bagoftricks.settings import TaskSettings

if TYPE_CHECKING:
    from bagoftricks.distributed import World
    from bagoftricks.measure.accuracy import Measured
    from bagoftricks.recipe.edits import Batch, Predict


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

    def measure(self, predict: "Predict", numbered: "Iterable[tuple[int, Batch]]", world: "World") -> "Measured":
        from bagoftricks.measure.accuracy import measure_images

        return measure_images(predict, numbered, world)
