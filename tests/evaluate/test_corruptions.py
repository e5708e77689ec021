import numpy as np
import pytest
import torch

from bagoftricks.errors import UserError
from bagoftricks.evaluate.corruptions import corrupt
from bagoftricks.evaluate.corruptions.noise import Amount, Hits, Sigma, gaussian_noise, impulse_noise, shot_levels
from bagoftricks.evaluate.corruptions.table import TABLE


def photographs(count=8, side=32):
    """Smooth coloured patterns over all grey levels."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = [(x * (c + 1) + y * (i + 2)) * 255 // (3 * side) % 256 for i in range(count) for c in range(3)]
    return torch.stack(waves).view(count, 3, side, side).to(torch.uint8)


@pytest.mark.parametrize("name", TABLE)
def test_an_image_depends_on_its_index_and_not_on_its_batch(name):
    images, indices = photographs(64), list(range(100, 164))
    whole = corrupt(images, name, 3, indices, constants="cifar")
    assert whole.dtype == torch.uint8
    assert whole.shape == images.shape
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    permuted = corrupt(images[order], name, 3, [indices[i] for i in order], constants="cifar")
    assert torch.equal(permuted, whole[order])
    for size in (1, 7):
        parts = [
            corrupt(images[s : s + size], name, 3, indices[s : s + size], constants="cifar") for s in range(0, 64, size)
        ]
        assert torch.equal(torch.cat(parts), whole)


def test_noise_by_hand():
    grey = torch.full((1, 3, 1, 2), 100, dtype=torch.uint8)
    noise = torch.tensor([0.1, -0.5]).expand(1, 3, 1, 2)
    assert gaussian_noise(grey, noise, Sigma(0.1))[0, 0, 0].tolist() == [125, 0]  # 125.5 is cut, not rounded
    yes, no = torch.tensor([True, False]).expand(1, 3, 1, 2), torch.tensor([False, True]).expand(1, 3, 1, 2)
    assert impulse_noise(grey, Hits(yes, no), Amount(0.5))[0, 0, 0].tolist() == [255, 0]
    assert shot_levels(np.array([0, 30, 60, 61]), 60).tolist() == [0, 127, 255, 255]


def test_bad_input_is_told_in_one_line():
    images = photographs(1)
    with pytest.raises(UserError, match="no corruption 'gauss_noise'; did you mean 'gaussian_noise'"):
        corrupt(images, "gauss_noise", 1, [0])
    with pytest.raises(UserError, match="from 1 to 5, not 6"):
        corrupt(images, "shot_noise", 6, [0])
    with pytest.raises(UserError, match="no constants 'imagenett'; did you mean 'imagenet'"):
        corrupt(images, "shot_noise", 1, [0], constants="imagenett")
