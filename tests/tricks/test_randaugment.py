import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torchvision.transforms.v2 import RandAugment

from bagoftricks.errors import UserError
from bagoftricks.image_ops import ENHANCEMENTS, WARPS, Do, Op, amount, perform
from bagoftricks.tricks.catalogue import create
from bagoftricks.tricks.regularize.randaugment import OPS
from tests.helpers import KEY, photographs, the_edit
from tests.tricks.test_autoaugment import NAMES

CONFLICTS = ["augmix", "autoaugment", "trivialaugment"]
SIGNS = (0.2, 0.8)
TABLES = (Op.AUTO_CONTRAST, Op.EQUALIZE)


def amounts(op, magnitude, side=32, **params):
    trick = create("randaugment", magnitude=magnitude, **params)
    return [amount(op, trick.magnitude / 10, sign, trick.ranges(side, side)) for sign in SIGNS]


def draws_for(ops, sign=0.8):
    return torch.tensor([[number for op in ops for number in ((OPS.index(op) + 0.5) / 14, sign)]])


def test_the_operations_are_the_fourteen_of_the_paper():
    theirs = {"Identity": Op.IDENTITY, **NAMES}
    assert {theirs[name] for name in RandAugment._AUGMENTATION_SPACE} == set(OPS)
    assert len(OPS) == 14


def test_every_operation_is_equally_frequent():
    drawn = KEY.fold("randaugment", 0, 0).uniform(np.arange(20_000), 4)[:, ::2]
    for place in drawn.T:
        assert chisquare(np.bincount((place * 14).astype(int), minlength=14)).pvalue > 0.01


@pytest.mark.parametrize("ops", [1, 2, 3])
def test_exactly_n_operations_are_applied_one_after_the_other(ops):
    images, chosen = photographs(1, 32), [Op.ROTATE, Op.COLOUR, Op.SHEAR_X][:ops]
    trick = create("randaugment", ops=ops)
    expected = images
    for op in chosen:
        expected = perform(expected, [Do(op, amount(op, 0.9, 0.8, trick.ranges(32, 32)))])
    edit = the_edit("randaugment", ops=ops)
    assert edit.draws == 2 * ops
    assert torch.equal(edit.apply(images, draws_for(chosen)), expected)
    assert not torch.equal(expected, images)


@pytest.mark.parametrize("op", [op for op in OPS if op not in TABLES])
def test_a_magnitude_of_zero_changes_nothing_where_more_does_more(op):
    images = photographs(1, 32)
    assert torch.equal(the_edit("randaugment", magnitude=0).apply(images, draws_for([op, op])), images)


@pytest.mark.parametrize("op", [op for op in OPS if op not in (*TABLES, Op.IDENTITY)])
def test_a_larger_magnitude_changes_more(op):
    images = photographs(16, 32)
    changed = [
        (the_edit("randaugment", ops=1, magnitude=m).apply(images, draws_for([op]).expand(16, 2)).int() - images)
        .abs()
        .float()
        .mean()
        for m in (0, 3, 6, 10)
    ]
    assert changed == sorted(changed)
    assert len(set(changed)) == 4


@pytest.mark.parametrize("op", WARPS)
def test_warps_go_to_either_side(op):
    left, right = amounts(op, 9)
    assert left == -right < 0


def test_the_amounts_at_the_papers_magnitude():
    assert amounts(Op.ROTATE, 9)[1] == pytest.approx(27)
    assert amounts(Op.SHEAR_X, 9)[1] == pytest.approx(0.27)
    assert amounts(Op.TRANSLATE_Y, 9)[1] == pytest.approx(0.405 * 32)
    assert amounts(Op.POSTERIZE, 9) == [5, 5]
    assert amounts(Op.SOLARIZE, 9) == [26, 26]
    assert amounts(Op.COLOUR, 9) == pytest.approx([0.19, 1.81])


def test_the_amounts_of_the_released_code():
    assert amounts(Op.POSTERIZE, 9, increasing=False) == [3, 3]
    assert amounts(Op.SOLARIZE, 9, increasing=False) == [230, 230]
    assert amounts(Op.COLOUR, 9, increasing=False) == pytest.approx([1.72, 1.72])
    assert amounts(Op.ROTATE, 9, increasing=False) == amounts(Op.ROTATE, 9)


@pytest.mark.parametrize("increasing", [False, True])
@pytest.mark.parametrize("op", ENHANCEMENTS)
def test_enhancements_stay_within_a_tenth_and_one_and_nine_tenths(op, increasing):
    found = [a for m in range(11) for a in amounts(op, m, increasing=increasing)]
    assert (min(found), max(found)) == pytest.approx((0.1, 1.9))


@pytest.mark.parametrize("op", [*WARPS, *ENHANCEMENTS])
def test_a_third_of_torchvisions_magnitude_is_the_same_strength(op):
    name = next(name for name, other in NAMES.items() if other is op)
    theirs = float(RandAugment._AUGMENTATION_SPACE[name][0](31, 32, 32)[9])
    base = 1 if op in ENHANCEMENTS else 0
    ours = amounts(op, 3)
    close = 0.01 if op in (Op.TRANSLATE_X, Op.TRANSLATE_Y) else 1e-6  # 0.45 of the side, 150 / 331 there
    assert ours == pytest.approx([base - theirs, base + theirs], rel=close)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"ops": 0}, r"^tricks\.randaugment\.ops=0: must be in 1..100$"),
        ({"magnitude": 11.0}, r"^tricks\.randaugment\.magnitude=11\.0: must be in \[0, 10\]$"),
    ],
)
def test_what_is_out_of_range_is_refused(params, message):
    with pytest.raises(UserError, match=message):
        create("randaugment", **params)
