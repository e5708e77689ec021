import numpy as np

from bagoftricks.recipe.edits import Float64, Rows, SetSampling
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Kang et al. 2020, section 3.2 (arXiv:1910.09217); Mahajan et al. 2018 (arXiv:1805.00932)")
class BalancedSampling:
    """Balanced sampling: training images are drawn so that each class has the same share of an epoch.

    A class of n_k images has the share n_k^q / sum_j n_j^q of an epoch, which keeps its length: q = 0 balances the
    classes, q = 1 would be the plain epoch, and q = 1/2 is square-root sampling (Mahajan et al.). An image of a class
    with e copies for each image comes floor(e) or ceil(e) times (systematic sampling), so that no luck leaves one out;
    its copies are augmented by draws of their own.
    """

    exponent: float = 0.0
    """q, in [0, 1): 0 gives every class the same share, 0.5 one in proportion to the root of its images"""

    def __post_init__(self) -> None:
        require(self, "exponent", 0 <= self.exponent < 1, "in [0, 1) (1 is an epoch without the trick)")

    def edits(self, task: Task) -> list[SetSampling]:
        return [SetSampling(copies=self.copies)]

    def copies(self, labels: Rows) -> Float64:
        """Return the expected copies of each image in an epoch, with a mean of 1: (N,) -> (N,)."""
        counts = np.bincount(labels).astype(np.float64)
        each: Float64 = counts[labels] ** (self.exponent - 1)
        copies: Float64 = each / each.mean()
        return copies
