from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torchvision.transforms.v2 import AutoAugment, AutoAugmentPolicy

from bagoftricks.image_ops import Do, Op, perform
from bagoftricks.tricks.catalogue import create
from bagoftricks.tricks.regularize.autoaugment import POLICIES
from tests.helpers import KEY, photographs, the_edit

CONFLICTS = ["augmix", "randaugment", "trivialaugment"]
TORCHVISION = {
    "imagenet": AutoAugmentPolicy.IMAGENET,
    "cifar10": AutoAugmentPolicy.CIFAR10,
    "svhn": AutoAugmentPolicy.SVHN,
}
NAMES = {
    "ShearX": Op.SHEAR_X,
    "ShearY": Op.SHEAR_Y,
    "TranslateX": Op.TRANSLATE_X,
    "TranslateY": Op.TRANSLATE_Y,
    "AutoContrast": Op.AUTO_CONTRAST,
    "Color": Op.COLOUR,
    **{op.value.capitalize(): op for op in (Op.ROTATE, Op.EQUALIZE, Op.INVERT, Op.POSTERIZE, Op.SOLARIZE)},
    **{op.value.capitalize(): op for op in (Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS)},
}


def trick_and_plan(draws, side=32, **params):
    trick = create("autoaugment", **params)
    return trick.plan(draws, trick.ranges(side, side))


def draw_of(sub_policy, count=25):
    """Return the first draw of an image that gets the sub-policy (counted from 1, as in the papers' tables)."""
    return (sub_policy - 0.5) / count


@pytest.mark.parametrize(
    ("policy", "count", "distinct"), [("imagenet", 25, 20), ("cifar10", 25, 25), ("svhn", 25, 25), ("good", 95, 94)]
)
def test_the_policies_have_the_published_numbers_of_sub_policies(policy, count, distinct):
    assert (len(POLICIES[policy]), len(set(POLICIES[policy]))) == (count, distinct)
    for sub_policy in POLICIES[policy]:
        assert len(sub_policy) == 2
        assert all(0 <= probability <= 1 and 0 <= level <= 9 for _, probability, level in sub_policy)


@pytest.mark.parametrize("policy", TORCHVISION)
def test_the_sub_policies_are_those_of_torchvision(policy):
    theirs = AutoAugment(TORCHVISION[policy])._policies
    for ours, other in zip(POLICIES[policy], theirs, strict=True):
        for (op, probability, level), (name, their_probability, their_level) in zip(ours, other, strict=True):
            assert (op, probability) == (NAMES[name], their_probability)
            assert their_level in (None, level)


def test_the_good_policy_has_what_was_found_on_cifar10_and_cutouts():
    assert len(set(POLICIES["good"]) & set(POLICIES["cifar10"])) == 20
    assert sum(op is Op.CUTOUT for pair in POLICIES["good"] for op, _, _ in pair) == 3


@pytest.mark.parametrize("policy", POLICIES)
def test_the_sub_policies_are_equally_frequent_over_keyed_draws(policy):
    trick = create("autoaugment", policy=policy)
    first = KEY.fold("autoaugment", 0, 0).uniform(np.arange(20_000), 9)[:, 0].tolist()
    found = Counter(id(trick.sub_policy(draw)) for draw in first)  # equal ones count apart
    assert chisquare([found[id(sub_policy)] for sub_policy in POLICIES[policy]]).pvalue > 0.01


def test_each_operation_has_a_probability_of_its_own():
    draws = KEY.fold("gates").uniform(np.arange(2000), 9)
    draws[:, 0] = draw_of(1)  # posterize with 0.4, rotate with 0.6
    done = np.array([[do.op is not Op.IDENTITY for do in trick_and_plan(row)] for row in draws.tolist()])
    assert done.mean(0) == pytest.approx([0.4, 0.6], abs=0.03)
    assert (done[:, 0] & done[:, 1]).mean() == pytest.approx(0.24, abs=0.03)


def test_a_probability_of_one_always_and_of_zero_never_applies():
    certain = trick_and_plan([draw_of(14), 0, 0, 0, 0, 1 - 2.0**-24, 0, 0, 0])  # invert 0.6, equalize 1
    never = trick_and_plan([draw_of(13), 0.0, 0, 0, 0, 0.0, 0, 0, 0])  # equalize 0, equalize 0.8
    assert [do.op for do in certain] == [Op.INVERT, Op.EQUALIZE]
    assert [do.op for do in never] == [Op.IDENTITY, Op.EQUALIZE]


@pytest.mark.parametrize("sign", [0.2, 0.8])
def test_the_magnitudes_follow_from_the_levels(sign):
    side = 1 if sign > 0.5 else -1
    row = [draw_of(1), 0, sign, 0, 0, 0, sign, 0, 0]
    assert trick_and_plan(row) == [Do(Op.POSTERIZE, 7), Do(Op.ROTATE, side * 27)]
    row[0] = draw_of(15)
    colour, contrast = trick_and_plan(row)
    assert [colour.amount, contrast.amount] == pytest.approx([0.82, 1.54])  # no sign
    row[0] = draw_of(19)
    assert trick_and_plan(row)[0] == Do(Op.SHEAR_X, pytest.approx(side * 0.15))
    row[0] = draw_of(9)
    assert trick_and_plan(row)[1] == Do(Op.SOLARIZE, 204)


def test_the_fifth_level_of_an_enhancement_changes_nothing():
    row = [draw_of(10), 0, 0, 0, 0, 0, 0, 0, 0]  # of CIFAR-10: contrast 7, sharpness 5
    sharpness = trick_and_plan(row, policy="cifar10")[1]
    images = photographs(3, 32)
    assert sharpness == Do(Op.SHARPNESS, 1.0)
    assert torch.equal(perform(images, [sharpness] * 3), images)


@pytest.mark.parametrize(("posterize", "bits"), [("original", [7, 6, 6]), ("released", [3, 2, 2])])
def test_the_released_code_keeps_four_bits_less(posterize, bits):
    kept = [trick_and_plan([draw_of(i), 0, 0, 0, 0, 0, 0, 0, 0], posterize=posterize) for i in (1, 4)]
    assert [do.amount for pair in kept for do in pair if do.op is Op.POSTERIZE] == bits


@pytest.mark.parametrize(
    ("translate", "side", "pixels", "half"), [("relative", 32, 0.9 * 14.4, 5), ("released", 224, 225, 40)]
)
def test_translations_and_cutouts_follow_the_side_or_are_those_of_the_released_code(translate, side, pixels, half):
    row = [draw_of(2, 25), 0, 0.7, 0, 0, 0, 0.7, 0, 0]
    moved = trick_and_plan(row, side, policy="cifar10", translate=translate)[1]
    assert moved == Do(Op.TRANSLATE_X, pytest.approx(pixels))
    row = [draw_of(62, 95), 0, 0.7, 0.25, 0.75, 0, 0.7, 0, 0]
    cut = trick_and_plan(row, side, policy="good", translate=translate)[0]
    assert cut == Do(Op.CUTOUT, half, (0.25, 0.75))


def test_the_operations_follow_each_other_and_warps_leave_grey():
    images = photographs(1, 32)
    row = [draw_of(1), 0, 0.7, 0, 0, 0, 0.7, 0, 0]
    expected = perform(perform(images, [Do(Op.POSTERIZE, 7)]), [Do(Op.ROTATE, 27.0)])
    made = the_edit("autoaugment").apply(images, torch.tensor([row]))
    assert torch.equal(made, expected)
    assert made[0, :, 0, 0].tolist() == [128] * 3
