"""Synchronised norms of two ranks in one process, compared with batch norm over all images."""

import pytest
import torch
from torch.nn import functional as F

from bagoftricks.distributed.norms import Normalise


class Both:
    """A world whose other rank has said already what it would send."""

    def __init__(self, *others):
        self.others = list(others)

    def all_gather(self, mine):
        return torch.stack([mine, self.others[0]])

    def all_reduce(self, mine):
        return mine + self.others[1]


def sent_by(x):
    """Return what a rank sends of these images in the forward pass."""
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    return torch.cat([mean, var, torch.tensor([x.numel() / x.shape[1]], dtype=x.dtype)])


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_two_ranks_normalise_as_one(weighted, offset):
    torch.manual_seed(0)
    x = torch.randn(9, 4, 5, 3, dtype=torch.float64) + offset
    grad = torch.randn_like(x)
    weight = torch.rand(4, dtype=torch.float64) + 0.5 if weighted else None
    whole = x.clone().requires_grad_()
    out = F.batch_norm(whole, None, None, weight, None, True)
    out.backward(grad)
    mine, other = slice(0, 5), slice(5, 9)
    normed = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    sums = torch.stack([grad[other].sum((0, 2, 3)), (grad * normed)[other].sum((0, 2, 3))])
    part = x[mine].clone().requires_grad_()
    world = Both(sent_by(x[other]), sums)
    got, mean, var, count = Normalise.apply(part, weight, None, 1e-5, world)
    got.backward(grad[mine])
    assert torch.allclose(got, out[mine], atol=1e-10)
    assert torch.allclose(part.grad, whole.grad[mine], atol=1e-10)
    assert torch.allclose(mean, x.mean((0, 2, 3)))
    assert torch.allclose(var, x.var((0, 2, 3), correction=0))
    assert count.item() == 9 * 15
