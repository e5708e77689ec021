from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from scipy.stats import kstest

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import Batch
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, the_edit

CONFLICTS = ["augmix", "mixup", "cutmix", "resizemix"]
IDENTITIES = [{"probability": 1e-12}]

fmix = import_module("bagoftricks.tricks.refine.fmix")


def numbered(rows: int, pixels: int = 12) -> Batch:
    """Image i is filled with the value i and labelled i."""
    images = torch.arange(float(rows)).view(rows, 1, 1, 1).expand(rows, 3, pixels, pixels)
    return Batch(images.contiguous(), torch.eye(rows), torch.eye(rows))


def test_by_hand_the_highest_pixels_are_kept_and_the_others_are_the_partners():
    kept = fmix.highest(np.array([[0.3, -1.0], [2.0, 0.1]]), 0.49)  # 0.49 of 4 pixels: 2
    assert kept.tolist() == [[True, False], [True, False]]
    mixed = fmix.swap(numbered(3, 2), torch.tensor([1, 2, 0]), kept)
    assert mixed.images[:, 0].tolist() == [[[0, 1], [0, 1]], [[1, 2], [1, 2]], [[2, 0], [2, 0]]]
    assert mixed.targets.tolist() == [[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]]


@pytest.mark.parametrize("draw", range(20))
def test_targets_and_teacher_hold_the_exact_shares_of_the_pixels(draw):
    batch = numbered(6)
    mixed = the_edit("fmix").apply(batch, KEY.fold(draw))
    counted = torch.stack([(mixed.images == i).float().mean((1, 2, 3)) for i in range(6)], 1)
    torch.testing.assert_close(mixed.targets, counted)
    torch.testing.assert_close(mixed.teacher, counted)
    assert torch.equal(batch.images, numbered(6).images)


@pytest.mark.parametrize("decay", [0.0, 1.5, 3.0])
def test_the_power_of_the_noise_falls_with_twice_the_decay(decay):
    grey = [fmix.low_frequencies(KEY.fold(draw).numpy(), 32, 32, decay) for draw in range(200)]
    power = np.mean(np.abs(np.fft.rfft2(grey)) ** 2, 0)[1:16, 1:16]  # but for the coefficients that are real
    frequencies = np.hypot(np.fft.fftfreq(32)[1:16, None], np.fft.rfftfreq(32)[1:16])
    slope = np.polyfit(np.log(frequencies.ravel()), np.log(power.ravel()), 1)[0]
    assert slope == pytest.approx(-2 * decay, abs=0.05)


def test_a_larger_decay_leaves_fewer_regions():
    def regions(decay: float) -> float:
        masks = [fmix.highest(fmix.low_frequencies(KEY.fold(d).numpy(), 32, 32, decay), 0.5) for d in range(50)]
        return float(np.mean([label(mask)[1] for mask in masks]))

    assert regions(0.0) > 50
    assert regions(1.5) < 20
    assert regions(3.0) < 5


def test_the_share_that_is_kept_has_its_beta_distribution():
    edit, batch = the_edit("fmix", alpha=2.0), numbered(2, 16)
    mixed = [edit.apply(batch, KEY.fold(draw)).targets[0] for draw in range(800)]
    kept = [target[0].item() for target in mixed if target[1] > 0]  # the partner is another image
    assert len(kept) > 300
    assert kstest(kept, "beta", (2, 2)).pvalue > 0.01


def test_the_probability_is_the_share_of_the_steps_that_are_mixed():
    edit, batch = the_edit("fmix", probability=0.3), numbered(8)
    mixed = [not torch.equal(edit.apply(batch, KEY.fold(draw)).images, batch.images) for draw in range(1000)]
    assert np.mean(mixed) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alpha": 0.0}, r"alpha=0\.0: must be positive \(leave fmix out to mix nothing\)"),
        ({"decay": -1.0}, r"decay=-1\.0: must be in \[0, 20\]"),
        ({"probability": 0.0}, r"probability=0\.0: must be in \(0, 1\] \(leave fmix out to mix nothing\)"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(params, message):
    with pytest.raises(UserError, match=rf"^tricks\.fmix\.{message}$"):
        create("fmix", **params)
