"""Multiply-accumulates are those of torch's own counter."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bagoftricks.cli.compose import compose_settings
from bagoftricks.measure.complexity import count_macs
from bagoftricks.models import build_model
from bagoftricks.models.shapes import forward_shapes


class Products(nn.Module):
    """Every kind of product: transposed and grouped convolutions, matrices alone and in batches, attention."""

    def __init__(self, attention: bool) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 8, 3, stride=2)
        self.grouped = nn.Conv2d(8, 16, 3, stride=2, groups=4, bias=False)
        self.one, self.two = nn.Linear(16, 8), nn.Linear(8, 8, bias=False)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True) if attention else None

    def forward(self, images):
        x = self.one(self.grouped(self.up(images)).flatten(2).mT)  # (1, places, 8)
        x = torch.baddbmm(x, x @ x.mT, self.two(x))
        return self.attention(x, x, x, need_weights=False)[0] if self.attention else x


def theirs(model, pixels):
    with FlopCounterMode(display=False) as counter:
        forward_shapes(model, pixels, "meta")
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("attention", [False, True])
def test_products_of_every_kind_are_counted(attention):
    model = Products(attention)
    assert count_macs(model, 9) == theirs(model, 9) > 0


@pytest.mark.parametrize("name", ["resnet14_laptop", "cifarnet", "mobilenet_v3_small", "torchvision/vit_b_32"])
def test_networks_are_counted_alike_whether_small_or_large(name):
    with torch.device("meta"):
        model = build_model(compose_settings([f"model={name}"]).model, {}, num_classes=10, image_size=32)
    counted = count_macs(model, 32)
    assert counted == theirs(model, 32) > 0
