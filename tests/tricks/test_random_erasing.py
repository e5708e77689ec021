import random

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, kstest

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import Batch
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, make_batch, the_edit

SHAPE = (24, 24)


def hidden(count=4000, shape=SHAPE, key=KEY, **params):
    """Return a mask (n, H, W) of the hidden pixels."""
    images = (
        the_edit("random_erasing", **params).apply(Batch(torch.ones(count, 3, *shape), torch.eye(count)), key).images
    )
    assert torch.equal(images.amin(1), images.amax(1))  # the three channels alike
    return (images[:, 0] != 1).numpy()


def boxes(masks):
    """Return (top, left, height, width) of the hidden pixels of images that have some, which form a rectangle."""
    masks = masks[masks.any((1, 2))]
    rows, columns = masks.any(2), masks.any(1)
    assert (masks == rows[:, :, None] & columns[:, None, :]).all()
    return np.stack([rows.argmax(1), columns.argmax(1), rows.sum(1), columns.sum(1)], 1)


def test_one_area_and_one_ratio_make_one_rectangle():
    found = boxes(hidden(200, probability=1.0, least_area=0.25, most_area=0.25, ratio=1.0))
    assert len(found) == 200
    assert {tuple(sides) for sides in found[:, 2:].tolist()} == {(12, 12)}  # a quarter of 24 x 24


@pytest.mark.parametrize("shape", [SHAPE, (6, 40)])  # flat images refuse many of the first rectangles
def test_it_has_the_distribution_of_timm(shape):
    from timm.data.random_erasing import RandomErasing

    images = torch.ones(4000, 3, *shape)
    random.seed(0)
    theirs = boxes((RandomErasing(probability=1.0, device="cpu")(images)[:, 0] == 0).numpy())
    ours = boxes(hidden(shape=shape, probability=1.0))
    assert len(ours) == pytest.approx(len(theirs), abs=40)
    for column in range(4):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 0.01
    assert ks_2samp(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > 0.01
    assert ks_2samp(ours[:, 2] / ours[:, 3], theirs[:, 2] / theirs[:, 3]).pvalue > 0.01


def test_an_image_that_no_rectangle_fits_into_stays_whole():
    assert not hidden(50, probability=1.0, least_area=1.0, most_area=1.0, ratio=1.0).any()


def test_the_probability_is_the_share_of_the_images_that_lose_a_rectangle():
    some, every = (hidden(10_000, (12, 12), probability=share) for share in (0.25, 1.0))
    lost = some.any((1, 2))
    assert lost.mean() == pytest.approx(0.25, abs=0.02)
    assert every.any((1, 2)).mean() > 0.99
    assert (some[lost] == every[lost]).all()  # whose rectangles are where they would have been


@pytest.mark.parametrize(("fill", "numbers"), [("colour", 3), ("pixel", 3 * 144)])
def test_the_rectangle_is_filled_with_normal_noise_of_each_channel_or_value(fill, numbers):
    batch = Batch(torch.full((300, 3, *SHAPE), 9.0), torch.eye(300))
    square = {"probability": 1.0, "least_area": 0.25, "most_area": 0.25, "ratio": 1.0}
    images = the_edit("random_erasing", fill=fill, **square).apply(batch, KEY).images
    counts = [len(image[image != 9].unique()) for image in images]
    assert counts == [numbers] * 300
    drawn = torch.cat([image[image != 9].unique() for image in images]).numpy()
    assert kstest(drawn, "norm").statistic < 1.63 / len(drawn) ** 0.5 + 0.002  # at 1 %, and what fp32 leaves


@pytest.mark.parametrize("fill", ["mean", "colour", "pixel"])
def test_the_rest_of_the_images_the_targets_and_the_batch_given_stay_as_they_are(fill):
    batch = make_batch(8)
    given = Batch(batch.images.clone(), batch.targets, batch.targets / 2)
    cut = the_edit("random_erasing", fill=fill, probability=1.0).apply(given, KEY)
    assert torch.equal(given.images, batch.images)
    changed = (cut.images != batch.images).any(1).numpy()
    assert len(boxes(changed)) == 8
    assert 0.02 * 256 * 0.5 < changed.sum((1, 2)).min() <= changed.sum((1, 2)).max() < 0.4 * 256
    assert cut.targets is given.targets
    assert cut.teacher is given.teacher


def test_each_view_of_an_image_has_a_rectangle_of_its_own():
    batch = make_batch(8, views=3)
    cut = the_edit("random_erasing", probability=1.0).apply(batch, KEY)
    assert cut.views == 3
    assert len({tuple(box) for box in boxes((cut.images == 0).all(1).numpy()).tolist()}) > 20


def test_another_key_hides_other_places_and_a_longer_batch_the_same_ones():
    first, second = (hidden(64, key=KEY.fold(step), probability=1.0) for step in range(2))
    assert (first == second).all((1, 2)).mean() < 0.1
    assert (hidden(128, key=KEY.fold(0), probability=1.0)[:64] == first).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"probability": 0.0}, r"probability=0\.0: must be in \(0, 1\] \(leave random_erasing out to erase nothing\)"),
        ({"most_area": 1.5}, r"most_area=1\.5: must be in \(0, 1\]"),
        ({"least_area": 0.5, "most_area": 0.4}, r"least_area=0\.5: must be in \(0, 0\.4\], up to the most"),
        ({"ratio": 0.0}, r"ratio=0\.0: must be in \(0, 1\]"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(params, message):
    with pytest.raises(UserError, match=rf"^tricks\.random_erasing\.{message}$"):
        create("random_erasing", **params)
