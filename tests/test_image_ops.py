import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms.v2 import functional as tv

from bagoftricks.image_ops import DO_NOTHING, ENHANCEMENTS, WARPS, Do, Op, amount, perform
from tests.helpers import photographs

AMOUNTS = {
    Op.SHEAR_X: (-0.3, 0.1, 0.99),
    Op.SHEAR_Y: (-0.3, 0.17, 0.99),
    Op.TRANSLATE_X: (-3, 5.6, 14.4, 250),
    Op.TRANSLATE_Y: (-3.2, 5, -250),
    Op.ROTATE: (-30, 0, 17.3, 90, 135),
    Op.AUTO_CONTRAST: (0,),
    Op.EQUALIZE: (0,),
    Op.INVERT: (0,),
    Op.POSTERIZE: (1, 4, 7, 8),
    Op.SOLARIZE: (0, 100, 128, 256),
    Op.CONTRAST: (0.01, 0.1, 0.64, 1, 1.9),
    Op.BRIGHTNESS: (0.01, 0.1, 1, 1.36, 1.9),
    Op.COLOUR: (0.01, 0.1, 1, 1.72, 1.9),
    Op.SHARPNESS: (0.01, 0.1, 1, 1.5, 1.9),
}
EVERY = [Do(op, float(amounts[-1]), (0.3, 0.8)) for op, amounts in {**AMOUNTS, Op.CUTOUT: (5,)}.items()]
ENHANCERS = {
    Op.CONTRAST: ImageEnhance.Contrast,
    Op.BRIGHTNESS: ImageEnhance.Brightness,
    Op.COLOUR: ImageEnhance.Color,
    Op.SHARPNESS: ImageEnhance.Sharpness,
}


def pil(image: Image.Image, do: Do, fill: int = 128, resample: Image.Resampling = Image.Resampling.NEAREST):
    """Return the operation as the papers' code has it done, by PIL."""
    op, by, colour = do.op, do.amount, (fill,) * 3
    matrices = {
        Op.SHEAR_X: (1, by, 0, 0, 1, 0),
        Op.SHEAR_Y: (1, 0, 0, by, 1, 0),
        Op.TRANSLATE_X: (1, 0, by, 0, 1, 0),
        Op.TRANSLATE_Y: (1, 0, 0, 0, 1, by),
    }
    if op in matrices:
        return image.transform(image.size, Image.Transform.AFFINE, matrices[op], resample=resample, fillcolor=colour)
    if op in ENHANCERS:
        return ENHANCERS[op](image).enhance(by)
    return {
        Op.ROTATE: lambda: image.rotate(by, resample=resample, fillcolor=colour),
        Op.AUTO_CONTRAST: lambda: ImageOps.autocontrast(image),
        Op.EQUALIZE: lambda: ImageOps.equalize(image),
        Op.INVERT: lambda: ImageOps.invert(image),
        Op.POSTERIZE: lambda: ImageOps.posterize(image, int(by)),
        Op.SOLARIZE: lambda: ImageOps.solarize(image, by),
    }[op]()


def by_pil(images, do, **how):
    arrays = [np.asarray(pil(Image.fromarray(i.permute(1, 2, 0).numpy()), do, **how)) for i in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def at_once(images, do, **how):
    return perform(images, [do] * len(images), **how)


@pytest.mark.parametrize("size", [7, 32, 64])
@pytest.mark.parametrize(("op", "by"), [(op, by) for op, amounts in AMOUNTS.items() for by in amounts])
def test_every_operation_gives_the_bytes_that_pil_gives(op, by, size):
    images, do = photographs(12, size), Do(op, float(by))
    assert torch.equal(at_once(images, do), by_pil(images, do))


@pytest.mark.parametrize(("op", "by"), [(op, by) for op in WARPS for by in AMOUNTS[op]])
def test_a_bilinear_warp_is_within_one_grey_level_of_pil(op, by):
    images, do = photographs(12, 32), Do(op, float(by))
    expected = by_pil(images, do, fill=0, resample=Image.Resampling.BILINEAR)
    gap = (at_once(images, do, fill=0, bilinear=True).int() - expected.int()).abs()
    assert gap.max() <= 1
    assert gap.float().mean() < 0.06


@pytest.mark.parametrize(
    ("op", "by", "ours"),
    [
        (Op.EQUALIZE, 0, tv.equalize),
        (Op.INVERT, 0, tv.invert),
        (Op.POSTERIZE, 3, lambda x: tv.posterize(x, 3)),
        (Op.SOLARIZE, 77, lambda x: tv.solarize(x, 77)),
        (Op.AUTO_CONTRAST, 0, tv.autocontrast),
        (Op.BRIGHTNESS, 1.3, lambda x: tv.adjust_brightness(x, 1.3)),
        (Op.CONTRAST, 0.6, lambda x: tv.adjust_contrast(x, 0.6)),
        (Op.COLOUR, 1.6, lambda x: tv.adjust_saturation(x, 1.6)),
        (Op.SHARPNESS, 1.6, lambda x: tv.adjust_sharpness(x, 1.6)),
    ],
)
def test_torchvisions_kernels_are_within_one_grey_level(op, by, ours):
    images = photographs(12, 32)
    assert (at_once(images, Do(op, float(by))).int() - ours(images).int()).abs().max() <= 1


@pytest.mark.parametrize(
    "do",
    [
        Do(Op.POSTERIZE, 8),
        Do(Op.SOLARIZE, 256),
        Do(Op.SOLARIZE_ADD, 0),
        Do(Op.CUTOUT, 0),
        DO_NOTHING,
        *(Do(op, 0) for op in WARPS),
        *(Do(op, 1) for op in ENHANCEMENTS),
    ],
    ids=str,
)
def test_an_amount_that_means_no_change_changes_nothing(do):
    images = photographs(4, 32)
    assert torch.equal(at_once(images, do), images)


def test_inverting_twice_changes_nothing():
    images = photographs(4, 32)
    assert not torch.equal(at_once(images, Do(Op.INVERT)), images)
    assert torch.equal(at_once(at_once(images, Do(Op.INVERT)), Do(Op.INVERT)), images)


def test_a_channel_that_spans_all_values_has_its_contrast_already():
    images = photographs(4, 32)
    images[:, :, 0, 0], images[:, :, 0, 1] = 0, 255
    assert torch.equal(at_once(images, Do(Op.AUTO_CONTRAST)), images)


@pytest.mark.parametrize("op", [Op.AUTO_CONTRAST, Op.EQUALIZE, Op.CONTRAST])
def test_a_flat_image_stays_as_it_is(op):
    images = torch.full((2, 3, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(at_once(images, Do(op, 0.5)), images)


def test_no_bits_at_all_are_black():
    assert at_once(photographs(2, 8), Do(Op.POSTERIZE, 0)).max() == 0


def test_solarize_add_lifts_the_dark_half_alone():
    images = torch.tensor([0, 20, 127, 128, 255], dtype=torch.uint8).expand(1, 3, 1, 5)
    assert at_once(images, Do(Op.SOLARIZE_ADD, 110))[0, 0, 0].tolist() == [110, 130, 237, 128, 255]


def test_a_cutout_is_a_grey_square_around_its_spot_cut_at_the_border():
    images = torch.zeros(2, 3, 10, 10, dtype=torch.uint8)
    whole, cut = perform(images, [Do(Op.CUTOUT, 2, (0.5, 0.5)), Do(Op.CUTOUT, 2, (0.0, 0.95))])[:, 0]
    assert (whole[3:7, 3:7] == 128).all()
    assert (cut[:2, 7:] == 128).all()
    assert [(kind == 128).sum().item() for kind in (whole, cut)] == [16, 6]


def test_positive_translations_move_the_content_left_and_up_and_leave_the_fill():
    image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    assert at_once(image, Do(Op.TRANSLATE_X, 1))[0, 0, 0].tolist() == [1, 2, 3, 128]
    assert at_once(image, Do(Op.TRANSLATE_Y, 1), fill=7)[0, 0, :, 0].tolist() == [4, 8, 12, 7]


@pytest.mark.parametrize("bilinear", [False, True])
def test_an_images_result_does_not_depend_on_its_batch(bilinear):
    images = photographs(2 * len(EVERY), 33)
    together = perform(images, EVERY * 2, bilinear=bilinear)
    for image, do, result in zip(images, EVERY * 2, together, strict=True):
        assert torch.equal(perform(image[None], [do], bilinear=bilinear)[0], result)


def test_the_input_is_left_alone():
    images = photographs(len(EVERY), 16)
    kept = images.clone()
    assert not torch.equal(perform(images, EVERY), kept)
    assert torch.equal(images, kept)


def test_rows_longer_than_high_are_warped_about_their_own_centre():
    images = photographs(4, 32)[:, :, :20]
    assert torch.equal(at_once(images, Do(Op.ROTATE, 25.0)), by_pil(images, Do(Op.ROTATE, 25.0)))


@pytest.mark.parametrize(
    ("op", "share", "sign", "ends", "expected"),
    [
        (Op.ROTATE, 0.5, 0.7, (0, 30), 15),
        (Op.ROTATE, 0.5, 0.2, (0, 30), -15),
        (Op.POSTERIZE, 0.7, 0.2, (4, 8), 6),
        (Op.POSTERIZE, 0.9, 0.2, (8, 4), 5),
        (Op.COLOUR, 0.5, 0.2, (0.1, 1.9), 1.0),
        (Op.COLOUR, 0.5, 0.7, (1, 1.9), 1.45),
        (Op.COLOUR, 0.5, 0.2, (1, 1.9), 0.55),
        (Op.EQUALIZE, 0.5, 0.2, None, 0),
    ],
)
def test_the_amount_lies_within_its_range_on_the_side_of_its_sign(op, share, sign, ends, expected):
    assert math.isclose(amount(op, share, sign, {op: ends} if ends else {}), expected)
