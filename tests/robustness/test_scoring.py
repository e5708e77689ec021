"""Scores from known errors: published ones, and tables small enough to compute by hand."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.errors import UserError
from bagoftricks.registry import all_cards
from bagoftricks.robustness.protocols import find_protocol
from bagoftricks.robustness.scoring import (
    SEVERITIES,
    Normaliser,
    alexnet,
    alexnet_flips,
    corruption_errors,
    corruption_names,
    mce,
    mean_error,
    relative_mce,
)

# torchvision's ResNet-50 (76.13 % clean) on ImageNet-C: mean error over the severities and CE of each corruption, as
# bethgelab/game-of-noise publishes them; it prints an mCE of 76.70.
RESNET50 = {
    "brightness": (31.98, 56.64),
    "contrast": (60.94, 71.43),
    "defocus_blur": (61.25, 74.71),
    "elastic_transform": (54.75, 84.75),
    "fog": (54.17, 66.11),
    "frost": (61.86, 74.84),
    "gaussian_noise": (70.71, 79.77),
    "glass_blur": (73.21, 88.61),
    "impulse_noise": (76.19, 82.58),
    "jpeg_compression": (46.59, 76.82),
    "motion_blur": (61.33, 78.03),
    "pixelate": (55.21, 76.92),
    "shot_noise": (72.97, 81.58),
    "snow": (67.47, 77.83),
    "zoom_blur": (63.76, 79.86),
}
ERRORS = {name: [error] * 5 for name, (error, _) in RESNET50.items()}
TWO = Normaliser("two", {"a": [10.0, 30.0], "b": [50.0, 50.0]}, clean=10.0)

PROTOCOLS = {name: find_protocol(name) for name in all_cards("protocol")}


def test_the_published_errors_of_resnet_50_give_its_published_score():
    assert mce(ERRORS, alexnet()) == pytest.approx(76.7, abs=0.05)
    for name, ce in corruption_errors(ERRORS, alexnet()).items():
        assert ce == pytest.approx(RESNET50[name][1], abs=0.02)


def test_its_relative_score_is_the_published_one():
    assert relative_mce(ERRORS, 100 - 76.13, alexnet()) == pytest.approx(105.0, abs=0.5)


def test_alexnet_scores_a_hundred():
    errors = {name: alexnet().errors[name] for name in corruption_names()}
    assert mce(errors, alexnet()) == pytest.approx(100)
    assert relative_mce(errors, alexnet().clean, alexnet()) == pytest.approx(100)


def test_scores_of_a_small_table_are_those_computed_by_hand():
    errors = {"a": [20.0, 20.0], "b": [0.0, 50.0]}
    assert mean_error(errors) == (20 + 25) / 2
    assert corruption_errors(errors, TWO) == {"a": 100.0, "b": 50.0}
    assert mce(errors, TWO) == 75.0  # the ratio of the means would be 64.3
    assert relative_mce(errors, 5.0, TWO) == (100 * 15 / 10 + 100 * 20 / 40) / 2


@given(st.permutations(list(ERRORS)))
def test_the_order_of_the_corruptions_does_not_matter(order):
    shuffled = {name: ERRORS[name] for name in order}
    assert mce(shuffled, alexnet()) == pytest.approx(mce(ERRORS, alexnet()), abs=1e-9)
    assert relative_mce(shuffled, 23.87, alexnet()) == pytest.approx(relative_mce(ERRORS, 23.87, alexnet()), abs=1e-9)


def test_the_normalisers_are_those_of_the_names():
    """Against a list that pairs the values with another order, as a public repository does."""
    order = list(corruption_names("main"))
    random.Random(0).shuffle(order)
    wrong = dict(zip(order, (alexnet().errors[name] for name in corruption_names("main")), strict=True))
    assert mce(ERRORS, Normaliser("by position", wrong, alexnet().clean)) != pytest.approx(76.7, abs=0.05)


def test_alexnets_table_is_whole():
    means = {name: sum(alexnet().errors[name]) / 5 for name in corruption_names("main")}
    assert len(means) == 15
    assert sum(means.values()) / 15 == pytest.approx(78.8993, abs=1e-3)
    assert means["glass_blur"] == pytest.approx(82.6268, abs=1e-3)
    assert corruption_names("extra") == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert {len(of) for of in alexnet().errors.values()} == {len(SEVERITIES)}
    assert alexnet_flips().errors["translate"] == [pytest.approx(11.007)]


def test_a_baseline_that_has_no_such_errors_is_refused_by_name():
    with pytest.raises(UserError, match="two has no errors on 'c'"):
        mce({"c": [1.0]}, TWO)
    with pytest.raises(UserError, match="run 1f makes no errors on 'a'"):
        mce({"a": [1.0]}, Normaliser("run 1f", {"a": [0.0]}, 0.0))
    assert relative_mce({"a": [1.0]}, 0.0, Normaliser("run 1f", {"a": [5.0]}, 5.0)) is None


def test_an_unknown_protocol_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="corruptions has no option 'imagenetc'; did you mean 'imagenet_c'"):
        find_protocol("imagenetc")


def test_a_protocol_is_what_its_name_says():
    sizes = {name: len(protocol.corruptions) for name, protocol in PROTOCOLS.items()}
    assert sizes == dict.fromkeys(PROTOCOLS, 15) | {"imagenet_c_19": 19, "imagenet_p": 10, "cifar10_p": 10}
    resaved = {name for name, protocol in PROTOCOLS.items() if protocol.jpeg_quality == 85}
    assert resaved == {"imagenet_c", "imagenet_c_19"}
    assert {p.name for p in PROTOCOLS.values() if p.normaliser is None} == {
        "cifar10_c", "cifar100_c", "photos_c", "small_c", "cifar10_p",
    }  # fmt: skip
    assert {p.constants for p in PROTOCOLS.values() if p.name.startswith(("cifar", "small"))} == {"cifar"}
