from torch import Tensor, nn

from bagoftricks.recipe.edits import InitParams
from bagoftricks.recipe.trick import Task, trick
from bagoftricks.rng import Key

COLOURS = 3


@trick(paper="Jordan 2024, section 3.3 (arXiv:2404.00498)")
class DiracInit:
    """Dirac initialisation: the first filters of each convolution start as the identity.

    The first min(c_in, c_out) filters of a kernel from c_in to c_out channels become Dirac deltas, so output k is input
    k; the others keep their random start. This applies to convolutions larger than 1x1, of odd size and without groups,
    except one that reads the image itself.
    """

    def edits(self, task: Task) -> list[InitParams]:
        return [InitParams(select=passes_on, init=start_as_identity)]


def passes_on(module: nn.Module, name: str) -> bool:
    if name != "weight" or not isinstance(module, nn.Conv2d) or module.groups > 1:
        return False
    sizes = module.kernel_size
    return module.in_channels != COLOURS and max(sizes) > 1 and all(size % 2 for size in sizes)


def start_as_identity(kernel: Tensor, key: Key) -> None:
    """Overwrite ``kernel`` (c_out c_in H W). Nothing is drawn."""
    nn.init.dirac_(kernel[: kernel.shape[1]])
