from bagoftricks.recipe.edits import Float64, SetFlip
from bagoftricks.recipe.trick import Task, trick

MOST = 1 - 2.0**-24  # the largest number that is drawn


@trick(paper="Jordan 2024, section 3.6 (arXiv:2404.00498)")
class AlternatingFlip:
    """Alternating flip: every image flipped in every other epoch, instead of at random.

    Flips are random in the first epoch, as without the trick; each later epoch flips the images that the previous one
    did not. Two successive epochs thus show every image from both sides; random flips show half of the images twice
    from the same one. If a step reads several batches (mixup without reuse), each pass of an epoch counts as an epoch.
    """

    def edits(self, task: Task) -> list[SetFlip]:
        return [SetFlip(draw=alternate)]


def alternate(first: Float64, passes: int) -> Float64:
    """Return the first pass's draws, or after an odd number of passes their reflections, beyond 1/2."""
    return MOST - first if passes % 2 else first
