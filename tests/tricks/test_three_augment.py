from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from scipy.ndimage import gaussian_filter
from scipy.stats import chisquare

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, photographs, the_edit

CONFLICTS = ["augmix", "autoaugment", "randaugment", "trivialaugment"]
GREY, SOLARIZED, BLURRED = 0.1, 0.5, 0.9

three_augment = import_module("bagoftricks.tricks.regularize.three_augment")


def augmented(images, which, size=0.5, **params):
    edit = the_edit("three_augment", **params)
    assert edit.draws == 2
    return edit.apply(images, torch.tensor([[which, size]]).expand(len(images), 2))


def in_pil(images, apply):
    return [np.asarray(apply(Image.fromarray(image.permute(1, 2, 0).numpy()))) for image in images]


def test_grey_and_solarized_images_are_those_of_pil():
    images = photographs(4, 24)
    solarized = np.stack(in_pil(images, ImageOps.solarize)).transpose(0, 3, 1, 2)
    grey = np.stack(in_pil(images, lambda image: image.convert("L")))[:, None]
    assert (augmented(images, SOLARIZED).numpy() == solarized).all()
    assert (augmented(images, GREY).numpy() == grey).all()


def test_a_blurred_edge_by_hand():
    # One step from 0 to 100; at sigma = 1 the taps are 0.39894, 0.24197, 0.05399, 0.00443, 0.00013: the column before
    # the step sees the last four of them, 0.30052, the one before it 0.05855.
    edge = torch.zeros(1, 3, 1, 12, dtype=torch.uint8)
    edge[..., 6:] = 100
    made = three_augment.blur(edge, torch.tensor([1.0]), 4)
    assert made[0, 0, 0].tolist() == [0, 0, 0, 0, 6, 30, 70, 94, 100, 100, 100, 100]


@pytest.mark.parametrize("size", [0.0, 0.25, 0.5, 0.999])
def test_the_blur_is_scipys_gaussian_filter(size):
    images, sigma = photographs(3, 24), 0.1 + 1.9 * size
    expected = gaussian_filter(images.numpy().astype(np.float64), (0, 0, sigma, sigma), mode="nearest", radius=8)
    off = augmented(images, BLURRED, size).numpy() - expected
    assert np.abs(off).max() < 0.501


def test_the_blur_of_pil_is_an_approximation_of_it():
    images = photographs(3, 24)
    theirs = np.stack(in_pil(images, lambda image: image.filter(ImageFilter.GaussianBlur(1.05)))).transpose(0, 3, 1, 2)
    off = np.abs(augmented(images, BLURRED, 0.5).numpy().astype(int) - theirs)
    assert off.mean() < 1
    assert off.mean() < np.abs(images.numpy().astype(int) - theirs).mean() / 5


def test_the_three_are_equally_frequent():
    images = photographs(1, 8).expand(3000, -1, -1, -1)
    draws = torch.from_numpy(KEY.uniform(np.arange(3000), 2)).float()
    made = the_edit("three_augment").apply(images, draws)
    grey = (made[:, :1] == made).all((1, 2, 3))
    solarized = (made == augmented(images[:1], SOLARIZED)).all((1, 2, 3))
    counts = [grey.sum().item(), solarized.sum().item(), (~grey & ~solarized).sum().item()]
    assert chisquare(counts).pvalue > 0.01


def test_an_image_does_not_depend_on_its_batch():
    images, draws = photographs(12, 24), torch.from_numpy(KEY.uniform(np.arange(12), 2)).float()
    edit = the_edit("three_augment")
    together = edit.apply(images, draws)
    alone = [edit.apply(images[i : i + 1], draws[i : i + 1]) for i in range(12)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"most_blur": 0.0}, r"most_blur=0\.0: must be in \(0, 32\]"),
        ({"least_blur": 3.0}, r"least_blur=3\.0: must be in \[0, 2\], up to the most"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(params, message):
    with pytest.raises(UserError, match=rf"^tricks\.three_augment\.{message}$"):
        create("three_augment", **params)
