import math

import pytest
import torch
from torch import nn

from bagoftricks.models import build_model
from bagoftricks.recipe.edits import Part
from tests.helpers import TINY, TINY9, parts_of, the_edit

CONFLICTS = ["celu", "gelu"]


def test_it_is_x_times_its_sigmoid():
    x = torch.linspace(-4, 4, 161, dtype=torch.float64)
    expected = [v / (1 + math.exp(-v)) for v in x.tolist()]
    assert the_edit("silu").part is Part.ACT
    assert the_edit("silu").build()(x).tolist() == pytest.approx(expected, abs=1e-12)


def test_its_least_value_is_that_of_the_docstring():
    x = torch.linspace(-3, 0, 3001, dtype=torch.float64)
    least = the_edit("silu").build()(x).min(0)
    assert least.values.item() == pytest.approx(-0.278, abs=1e-3)
    assert x[least.indices].item() == pytest.approx(-1.278, abs=2e-3)


@pytest.mark.parametrize(("spec", "pixels"), [(TINY, 16), (TINY9, 32)])
def test_every_activation_of_a_network_is_replaced(spec, pixels):
    with torch.device("meta"):
        kinds = [type(m) for m in build_model(spec, parts_of("silu"), num_classes=5, image_size=pixels).modules()]
    assert nn.SiLU in kinds
    assert nn.ReLU not in kinds
