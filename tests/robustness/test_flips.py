"""Flips of predictors whose every answer is known."""

import pytest
import torch

from bagoftricks.errors import UserError
from bagoftricks.robustness.flips import count_flips
from bagoftricks.robustness.perturbations import PERTURBATIONS
from bagoftricks.robustness.protocols import SEQUENCES
from bagoftricks.robustness.scoring import alexnet_flips, corruption_errors, mce

ANSWERS = [torch.tensor(row) for row in ([1, 1, 1], [1, 2, 2], [1, 2, 3], [1, 1, 3])]  # four frames of three images


def test_flips_are_counted_from_the_frame_before_or_from_the_first():
    assert count_flips(ANSWERS, with_first=False).item() == 0 + 2 + 2  # the third image: 1 2, 2 3, and 3 3
    assert count_flips(ANSWERS, with_first=True).item() == 0 + 2 + 3
    both = [torch.stack([row, row * 0]) for row in ANSWERS]
    assert count_flips(both, with_first=True).tolist() == [5, 0]
    with pytest.raises(ValueError, match="two frames"):
        count_flips(ANSWERS[:1], with_first=True)


def test_flip_rates_are_over_alexnets_by_name():
    flips = {"translate": [11.007], "scale": [2 * 23.531]}
    assert corruption_errors(flips, alexnet_flips()) == {"translate": pytest.approx(100), "scale": pytest.approx(200)}
    assert mce(flips, alexnet_flips()) == pytest.approx(150)
    assert mce({name: alexnet_flips().errors[name] for name in SEQUENCES}, alexnet_flips()) == pytest.approx(100)
    with pytest.raises(UserError, match="has no errors on 'fog'"):
        mce({"fog": [1.0]}, alexnet_flips())


def test_the_protocols_have_all_perturbations_there_are():
    assert set(SEQUENCES) == set(PERTURBATIONS)
