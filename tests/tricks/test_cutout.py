import numpy as np
import pytest
import torch

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import Batch
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, make_batch, the_edit

FORMATS = [torch.contiguous_format, torch.channels_last]


def hidden(count=4000, shape=(32, 32), key=KEY, **params):
    """Return a mask (n, H, W) of the hidden pixels."""
    given = Batch(torch.ones(count, 3, *shape), torch.eye(count))
    images = the_edit("cutout", **params).apply(given, key).images
    assert ((images == 0) | (images == 1)).all()
    assert torch.equal(images.amin(1), images.amax(1))  # the three channels alike
    return (images[:, 0] == 0).numpy()


def boxes(masks):
    """Return (top, left, height, width) of the hidden pixels, which must form a rectangle."""
    rows, columns = masks.any(2), masks.any(1)
    assert (masks == rows[:, :, None] & columns[:, None, :]).all()
    return np.stack([rows.argmax(1), columns.argmax(1), rows.sum(1), columns.sum(1)], 1)


def test_each_image_loses_one_square_of_eight_pixels_inside_it():
    found = boxes(hidden())
    assert (found[:, 2:] == 8).all()
    assert (found[:, :2].min(), found[:, :2].max()) == (0, 24)


def test_the_top_left_is_uniform_over_all_places_inside_and_its_coordinates_are_independent():
    top, left = boxes(hidden(10_000, (15, 15)))[:, :2].T
    places = np.bincount(top * 8 + left, minlength=64)  # 8 x 8 places, 156 of each expected, deviation 12.4
    assert len(places) == 64
    assert np.abs(places - 10_000 / 64).max() < 60


@pytest.mark.parametrize("size", [4, 5])
def test_a_centre_anywhere_in_the_image_clips_the_square_at_the_border(size):
    found, half = boxes(hidden(9000, (12, 12), size=size, inside=False)), size // 2
    spans = [(max(0, c - half), min(12, c - half + size)) for c in range(12)]
    for start, length in (found[:, [0, 2]].T, found[:, [1, 3]].T):
        for low, high in set(spans):
            share = ((start == low) & (start + length == high)).mean()
            assert share == pytest.approx(spans.count((low, high)) / 12, abs=0.02)


def test_a_rectangle_of_pixels_is_covered_in_both_directions():
    found = boxes(hidden(2000, (10, 14), size=9))
    assert set(found[:, 0]) == {0, 1}
    assert set(found[:, 1]) == set(range(6))
    clipped = boxes(hidden(2000, (10, 14), size=4, inside=False))
    assert clipped[:, [0, 2]].sum(1).max() == 10
    assert clipped[:, [1, 3]].sum(1).max() == 14


def test_the_probability_is_the_share_of_the_images_that_lose_a_square():
    some, every = (hidden(10_000, (12, 12), probability=share) for share in (0.25, 1.0))
    lost = some.any((1, 2))
    assert lost.mean() == pytest.approx(0.25, abs=0.02)
    assert every.any((1, 2)).all()
    assert (some[lost] == every[lost]).all()  # whose squares are where they would have been


@pytest.mark.parametrize("memory_format", FORMATS)
def test_the_rest_of_the_images_the_targets_and_the_batch_given_stay_as_they_are(memory_format):
    batch = make_batch(8)
    given = Batch(batch.images.contiguous(memory_format=memory_format), batch.targets, batch.targets / 2)
    cut = the_edit("cutout", size=5).apply(given, KEY)
    assert torch.equal(given.images, batch.images)
    assert cut.images.is_contiguous(memory_format=memory_format)
    assert torch.equal(cut.images[cut.images != 0], batch.images[cut.images != 0])
    assert (cut.images == 0).sum((1, 2, 3)).tolist() == [3 * 25] * 8
    assert cut.targets is given.targets
    assert cut.teacher is given.teacher


def test_each_view_of_an_image_has_a_square_of_its_own():
    cut = the_edit("cutout").apply(make_batch(8, views=3), KEY)
    assert cut.views == 3
    found = boxes((cut.images[:, 0] == 0).numpy())
    assert (found[:, 2:] == 8).all()
    assert len({tuple(box) for box in found.tolist()}) > 12


def test_another_key_hides_other_places_and_a_longer_batch_the_same_ones():
    first, second = (hidden(64, key=KEY.fold(step)) for step in range(2))
    assert (first == second).all((1, 2)).mean() < 0.1
    assert (hidden(128, key=KEY.fold(0))[:64] == first).all()


def test_a_square_as_large_as_the_image_is_refused_at_the_first_batch():
    message = (
        r"^tricks\.cutout\.size=16: must be less than the images' 16 pixels; "
        r"set a smaller tricks\.cutout\.size or a larger image_size$"
    )
    with pytest.raises(UserError, match=message):
        the_edit("cutout", size=16).apply(make_batch(), KEY)
    the_edit("cutout", size=15).apply(make_batch(), KEY)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"size": 0}, r"size=0: must be positive \(leave cutout out to hide nothing\)"),
        ({"probability": 0.0}, r"probability=0\.0: must be in \(0, 1\] \(leave cutout out to hide nothing\)"),
        ({"probability": 1.5}, r"probability=1\.5: must be in \(0, 1\] \(leave cutout out to hide nothing\)"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(params, message):
    with pytest.raises(UserError, match=rf"^tricks\.cutout\.{message}$"):
        create("cutout", **params)
