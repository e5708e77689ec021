import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torchvision.transforms.v2 import TrivialAugmentWide

from bagoftricks.image_ops import ENHANCEMENTS, WARPS, Do, Op, perform
from bagoftricks.tricks.catalogue import create
from bagoftricks.tricks.regularize.trivialaugment import OPS
from tests.helpers import KEY, photographs, the_edit
from tests.tricks.test_autoaugment import NAMES

CONFLICTS = ["augmix", "autoaugment", "randaugment"]
SPACE = TrivialAugmentWide._AUGMENTATION_SPACE


def plan(op, level=0, sign=0.8):
    return create("trivialaugment").plan((OPS.index(op) + 0.5) / 14, (level + 0.5) / 31, sign)


def theirs(op):
    name = next(name for name, other in NAMES.items() if other is op)
    return [float(m) for m in SPACE[name][0](31, 32, 32)]


def test_the_operations_are_the_fourteen_of_torchvision():
    assert {{"Identity": Op.IDENTITY, **NAMES}[name] for name in SPACE} == set(OPS)
    assert len(OPS) == 14


@pytest.mark.parametrize("op", [*WARPS, *ENHANCEMENTS])
@pytest.mark.parametrize("sign", [0.2, 0.8])
def test_the_amounts_are_those_of_torchvision_at_each_level_on_either_side(op, sign):
    def whole(m):  # torchvision's fp32 has 15.9999 px for 16
        return int(m + 1e-4) if op in (Op.TRANSLATE_X, Op.TRANSLATE_Y) else m

    base, side = (1 if op in ENHANCEMENTS else 0), (1 if sign > 0.5 else -1)
    ours = [plan(op, level, sign).amount for level in range(31)]
    assert ours == pytest.approx([base + side * whole(m) for m in theirs(op)], abs=1e-5)


def test_bits_and_thresholds_have_the_ends_of_torchvision_and_differ_by_its_rounding_alone():
    bits = [plan(Op.POSTERIZE, level).amount for level in range(31)]
    assert (bits[0], bits[-1]) == (8, 2)
    assert max(abs(a - b) for a, b in zip(bits, theirs(Op.POSTERIZE), strict=True)) <= 1
    thresholds = [plan(Op.SOLARIZE, level).amount for level in range(31)]
    assert (thresholds[0], thresholds[-1]) == (256, 0)
    assert max(abs(a - 255 * b) for a, b in zip(thresholds, theirs(Op.SOLARIZE), strict=True)) < 2


def test_operations_and_levels_are_equally_frequent():
    draws = KEY.fold("trivialaugment", 0, 0).uniform(np.arange(6000), 3)
    made = [create("trivialaugment").plan(*row) for row in draws.tolist()]
    assert chisquare([sum(do.op is op for do in made) for op in OPS]).pvalue > 0.01
    bits = np.bincount([int(do.amount) for do in made if do.op is Op.POSTERIZE], minlength=9)[2:]
    assert chisquare(bits, bits.sum() * np.array([1, 5, 5, 5, 5, 5, 5]) / 31).pvalue > 0.01


def test_one_operation_is_applied_and_warps_leave_black():
    images = photographs(1, 32)
    draws = torch.tensor([[(OPS.index(Op.ROTATE) + 0.5) / 14, 10.5 / 31, 0.8]])
    made = the_edit("trivialaugment").apply(images, draws)
    assert torch.equal(made, perform(images, [Do(Op.ROTATE, 45.0)], fill=0))
    assert made[0, :, 0, 0].tolist() == [0] * 3


def test_the_identity_is_one_of_the_operations():
    images = photographs(1, 32)
    draws = torch.tensor([[(OPS.index(Op.IDENTITY) + 0.5) / 14, 0.99, 0.8]])
    assert torch.equal(the_edit("trivialaugment").apply(images, draws), images)
