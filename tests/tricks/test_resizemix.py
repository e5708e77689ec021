from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import Batch
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, the_edit

CONFLICTS = ["augmix", "mixup", "cutmix"]
IDENTITIES = [{"probability": 1e-12}]

resizemix = import_module("bagoftricks.tricks.refine.resizemix")


def numbered(rows: int, pixels: int = 20) -> Batch:
    """Image i is filled with the value i and labelled i."""
    images = torch.arange(float(rows)).view(rows, 1, 1, 1).expand(rows, 3, pixels, pixels)
    return Batch(images.contiguous(), torch.eye(rows), torch.eye(rows))


def foreign(batch: Batch) -> Tensor:
    """Return a mask (n, H, W) of the pixels of other images."""
    own = torch.arange(float(len(batch))).view(-1, 1, 1, 1)
    return (batch.images.round() != own).any(1)  # a resize of equal values may round


def test_by_hand_an_image_of_4_pixels_is_pasted_as_one_of_2():
    # Antialiased from 4 to 2: a pixel weighs those at distances 1/2, 1/2, 3/2 by 3, 3, 1 of 7. With rows a a b b of
    # columns 1 and 3, 5 and 7: (36 + 18 + 30 + 7) / 49, and so on.
    blocks = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).repeat_interleave(2, 0).repeat_interleave(2, 1)
    batch = Batch(torch.stack([torch.zeros(4, 4), blocks])[:, None], torch.eye(2))
    mixed = resizemix.paste_small(batch, torch.tensor([1, 0]), (2, 2), 2, 1)
    expected = torch.zeros(4, 4)
    expected[2:, 1:3] = torch.tensor([[91.0, 161.0], [231.0, 301.0]]) / 49
    torch.testing.assert_close(mixed.images[0, 0], expected)
    assert mixed.targets.tolist() == [[0.75, 0.25], [0.25, 0.75]]


@pytest.mark.parametrize("draw", range(20))
def test_targets_and_teacher_hold_the_exact_shares_of_the_pixels(draw):
    mixed = the_edit("resizemix").apply(numbered(6), KEY.fold(draw))
    counted = torch.stack([(mixed.images.round() == i).float().mean((1, 2, 3)) for i in range(6)], 1)
    torch.testing.assert_close(mixed.targets, counted)
    torch.testing.assert_close(mixed.teacher, counted)


def test_sides_are_uniform_and_places_lie_inside():
    edit, sides, places = the_edit("resizemix"), [], []
    for draw in range(600):
        mask = foreign(edit.apply(numbered(2, 100), KEY.fold(draw)))[1]
        if not mask.any():  # the partner is the image itself
            continue
        rows = mask.any(1).nonzero().flatten()
        side = len(rows)
        assert mask.sum() == side**2
        sides.append(side)
        places.append(rows[0].item() / (100 - side))
    assert len(sides) > 200
    assert kstest((np.array(sides) + 0.5) / 100, "uniform", (0.1, 0.7)).pvalue > 0.01
    assert kstest(places, "uniform").pvalue > 0.01


def test_the_probability_is_the_share_of_the_steps_that_are_mixed():
    edit, batch = the_edit("resizemix", probability=0.3), numbered(8)
    mixed = [foreign(edit.apply(batch, KEY.fold(draw))).any().item() for draw in range(1000)]
    assert np.mean(mixed) == pytest.approx(0.3, abs=0.05)
    assert torch.equal(batch.images, numbered(8).images)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"largest": 1.0}, r"largest=1\.0: must be in \(0, 1\)"),
        ({"smallest": 0.9}, r"smallest=0\.9: must be in \(0, 0\.8\], up to the largest"),
        ({"probability": 0.0}, r"probability=0\.0: must be in \(0, 1\] \(leave resizemix out to mix nothing\)"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(params, message):
    with pytest.raises(UserError, match=rf"^tricks\.resizemix\.{message}$"):
        create("resizemix", **params)
