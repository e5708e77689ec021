"""Flips of predictors whose every answer is known."""

import pytest
import torch

from bagoftricks.errors import UserError
from bagoftricks.evaluate.perturbations import PERTURBATIONS
from bagoftricks.evaluate.robustness.flips import count_flips, flip_probabilities
from bagoftricks.evaluate.robustness.scoring import alexnet_flips, flip_rates, mfr

ANSWERS = [torch.tensor(row) for row in ([1, 1, 1], [1, 2, 2], [1, 2, 3], [1, 1, 3])]  # four frames of three images


def test_flips_are_counted_from_the_frame_before_or_from_the_first():
    assert count_flips(ANSWERS, with_first=False).item() == 0 + 2 + 2  # the third image: 1 2, 2 3, and 3 3
    assert count_flips(ANSWERS, with_first=True).item() == 0 + 2 + 3
    both = [torch.stack([row, row * 0]) for row in ANSWERS]
    assert count_flips(both, with_first=True).tolist() == [5, 0]
    with pytest.raises(ValueError, match="two frames"):
        count_flips(ANSWERS[:1], with_first=True)


def test_flip_probabilities_of_a_predictor_that_sees_brightness_alone():
    """Grey of 100 passes the threshold once in 30 steps of 5.1; black moves over a bright pixel twice in 40."""
    images = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8)
    images[1] = 250  # 173.5 and more under any brightness
    flips = flip_probabilities(
        lambda frame: (frame[:, 0, 4, 4] > 127).long(), images, [0, 1], perturbations=["brightness", "translate"]
    )
    assert flips == {"brightness": pytest.approx(100 / 60), "translate": pytest.approx(100 * 2 / 80)}


def test_no_batch_size_changes_a_flip():
    images = torch.randint(0, 256, (7, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    def classify(frame):
        return frame.flatten(1).sum(1, dtype=torch.int64) % 3

    names = ["translate", "gaussian_noise", "tilt"]
    found = [
        flip_probabilities(classify, images, range(7), perturbations=names, side=8, batch_size=size) for size in (1, 7)
    ]
    assert found[0] == found[1]
    assert list(found[0]) == names
    assert all(0 < flip < 100 for flip in found[0].values())


def test_flip_rates_are_over_alexnets_by_name():
    flips = {"translate": 11.007, "scale": 2 * 23.531}
    assert flip_rates(flips, alexnet_flips()) == {"translate": pytest.approx(100), "scale": pytest.approx(200)}
    assert mfr(flips, alexnet_flips()) == pytest.approx(150)
    assert mfr({name: alexnet_flips()[name] for name in PERTURBATIONS}, alexnet_flips()) == pytest.approx(100)
    with pytest.raises(UserError, match="no flip probability of 'fog'"):
        mfr({"fog": 1.0}, alexnet_flips())
