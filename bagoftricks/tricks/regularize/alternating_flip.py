from bagoftricks.recipe.edits import Float64, SetFlip
from bagoftricks.recipe.trick import Task, trick

MOST = 1 - 2.0**-24  # the largest number that is drawn


@trick(paper="Jordan 2024, section 3.6 (arXiv:2404.00498)")
class AlternatingFlip:
    """Flip each image in every other epoch, instead of whenever a coin says so.

    A coin decides in the first epoch, as without the trick; after it, who was flipped is not, and the other way round.
    Two successive epochs thus show every image from both sides, where coins show half of the images twice from the
    same one. Where a step reads several batches (mixup without reuse), the passes of an epoch count as epochs.
    """

    def edits(self, task: Task) -> list[SetFlip]:
        return [SetFlip(draw=alternate)]


def alternate(first: Float64, passes: int) -> Float64:
    """The draws of the first pass, or after an odd number of passes their reflections, on the other side of 1/2."""
    return MOST - first if passes % 2 else first
