"""A head of embeddings in the place of a classifier's, for image retrieval."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bagoftricks.distributed.norms import exact
from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import Role, mark


class EmbeddingHead(nn.Module):
    """Linear embedding with a batch norm; in training, the cosines between embeddings (B, D) and K classes' directions.

    Lee et al. 2020, section 4.3: the embedding has no bias, and what is compared are the outputs of its norm.
    """

    def __init__(self, features: int, dim: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, dim, bias=False)
        self.norm = nn.BatchNorm1d(dim)
        self.classes = nn.Linear(dim, num_classes, bias=False)  # its rows are the directions

    def forward(self, features: Float[Tensor, "B C"]) -> Float[Tensor, "B K"] | Float[Tensor, "B D"]:
        embeddings: Tensor = self.norm(self.embed(features))
        if not self.training:
            return embeddings
        return F.linear(F.normalize(exact(embeddings)), F.normalize(exact(self.classes.weight)))


def replace_head(network: nn.Module, make: Callable[[int], nn.Module]) -> nn.Module:
    """Put ``make(features)`` in the place of the last linear layer, in place; return the network."""
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError("this network has no linear layer at its end that another head could replace")
    (owner, _, name), last = linear[-1][0].rpartition("."), linear[-1][1]
    setattr(network.get_submodule(owner), name, mark(make(last.in_features), Role.HEAD))
    return network


def cosine_softmax(
    cosines: Float[Tensor, "B K"], targets: Float[Tensor, "B K"], *, scale: float, margin: float = 0.0
) -> Tensor:
    """Return the cross entropy of ``scale`` times the cosines; ``margin`` radians are added to the right class's angle.

    ArcFace (Deng et al. 2019). Beyond pi minus the margin, where the cosine of the sum would rise again, the cosine
    itself is lowered by margin * sin(margin), as in its authors' code.
    """
    if margin:
        right = targets.argmax(1, keepdim=True)
        cosine = cosines.gather(1, right)
        sine = (1 - cosine.square()).clamp(min=1e-7).sqrt()
        m = cosine.new_tensor(margin)
        turned = cosine * m.cos() - sine * m.sin()
        moved = turned.where(cosine > -m.cos(), cosine - m * m.sin())
        cosines = cosines.scatter(1, right, moved)
    return F.cross_entropy(scale * cosines, targets)
