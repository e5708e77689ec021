"""Scenes: masks and boxes agree, articles stay visible, and each scene is a function of its key and number."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bagoftricks.data import scenes
from bagoftricks.data.scenes import CutOuts, SceneLook, backgrounds, draw_scenes, pasted, visible_boxes
from bagoftricks.errors import UserError
from tests.helpers import KEY, photographs

LOOK = SceneLook(side=48, most=4)
TEXTURES = photographs(5, 32)


def shapes(count=20, side=12, classes=6):
    """Cut-outs of rectangles with a hole in them, with greys of their own."""
    greys = torch.zeros(count, side, side, dtype=torch.uint8)
    rng = KEY.fold("shapes").numpy()
    for grey in greys:
        (top, left), (bottom, right) = rng.integers(0, 4, 2), rng.integers(8, side + 1, 2)
        grey[top:bottom, left:right] = int(rng.integers(60, 256))
        grey[5:7, 5:7] = 0
    return CutOuts(greys, torch.arange(count) % classes)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(0.1, 0.9))
def test_boxes_are_tight_around_the_pixels_of_the_masks(seed, most, visible):
    look = SceneLook(side=40, most=most, visible=visible)
    # Each cut-out has a class of its own: where no class occurs twice, a box is that of its label in the mask.
    made = draw_scenes(shapes(classes=20), TEXTURES, KEY.fold("scenes", seed), range(6), look)
    assert made.images.shape == (6, 3, 40, 40)
    for mask, boxes in zip(made.masks, made.boxes, strict=True):
        real = boxes[boxes[:, 4] >= 0]
        assert 1 <= len(real) == (boxes[: len(real), 4] >= 0).sum()
        assert (boxes[len(real) :] == -1).all()
        assert set(mask.unique().tolist()) - {0} == {int(c) + 1 for c in real[:, 4]}
        for x1, y1, x2, y2, label in real.int().tolist():
            rows, columns = torch.nonzero(mask == label + 1, as_tuple=True)
            if (real[:, 4] == label).sum() == 1:
                assert [x1, y1, x2, y2] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            else:
                assert ((rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)).any()


def test_each_article_keeps_its_least_visible_share():
    """A full square fills its box, so that the pixels of a class in it are the visible ones of the area pasted."""
    squares = CutOuts(torch.full((9, 8, 8), 200, dtype=torch.uint8), torch.arange(9))

    def least(visible):
        look = SceneLook(side=48, most=4, smallest=0.3, largest=0.3, visible=visible)
        made = draw_scenes(squares, None, KEY, range(200), look)
        area = int(0.3 * 48) ** 2
        shares = [
            int((mask == row[4] + 1).sum()) / area
            for mask, boxes in zip(made.masks, made.boxes, strict=True)
            for row in boxes[boxes[:, 4] >= 0]
            if (boxes[:, 4] == row[4]).sum() == 1
        ]
        return min(shares), (made.boxes[:, :, 4] >= 0).sum()

    (low, many), (high, fewer) = least(0.3), least(0.9)
    assert 0.3 <= low < 0.5
    assert 0.9 <= high < 1
    assert fewer < many


def test_an_article_has_its_colours_inside_its_mask_and_the_texture_shows_outside():
    articles, key = shapes(), KEY.fold("colours")
    made = draw_scenes(articles, TEXTURES, key, range(8), LOOK)
    plain = backgrounds(TEXTURES, key.fold("background"), np.arange(8), LOOK.side)
    outside = (made.masks == 0)[:, None].expand_as(plain)
    assert torch.equal(made.images[outside], plain[outside])
    assert (made.images[~outside] != plain[~outside]).float().mean() > 0.9
    assert 0.02 < (~outside).float().mean() < 0.7


@pytest.mark.parametrize("textures", [TEXTURES, None])
def test_a_scene_depends_on_its_key_and_number_alone(textures, monkeypatch):
    whole = draw_scenes(shapes(), textures, KEY, range(10), LOOK)
    monkeypatch.setattr(scenes, "AT_A_TIME", 3)
    some = draw_scenes(shapes(), textures, KEY, [7, 2, 9, 0], LOOK)
    for field in ("images", "masks", "boxes"):
        assert torch.equal(getattr(some, field), getattr(whole, field)[[7, 2, 9, 0]])
    assert len({image.numpy().tobytes() for image in whole.images}) == 10
    assert not torch.equal(draw_scenes(shapes(), textures, KEY.fold("other"), range(10), LOOK).masks, whole.masks)


def test_the_nearer_article_hides_the_farther_one_in_masks_and_boxes():
    places = torch.tensor([[[-1, 0, 0, 2], [-1, 0, 2, 2]]], dtype=torch.int8)
    boxes = visible_boxes(places, torch.tensor([[5, -1, 3]]))
    assert boxes.tolist() == [[[1, 0, 3, 2, 5], [2, 0, 4, 2, 3], [-1] * 5]]


def test_a_source_is_enlarged_and_placed_as_interpolation_does():
    source = photographs(1, 7)
    found = pasted(source, np.array([[3, 1]]), np.array([[14, 21]]), 25)
    expected = torch.nn.functional.interpolate(source.float(), (21, 14), mode="bilinear")
    assert (found[:, :, 2:21, 4:16].float() - expected[:, :, 1:20, 1:13]).abs().max() <= 2.5
    assert abs((found[:, :, 2:21, 4:16].float() - expected[:, :, 1:20, 1:13]).mean()) < 0.25
    assert not found[:, :, :, 18:].any()
    assert not found[:, :, 23:].any()
    border = pasted(source, np.array([[-2, -2]]), np.array([[40, 40]]), 25, fade=False)
    assert border.float().min() >= source.float().min() - 1


def test_half_of_the_articles_are_mirrored():
    wedge = CutOuts(torch.full((1, 8, 8), 200, dtype=torch.uint8).tril(), torch.tensor([0]))
    made = draw_scenes(wedge, None, KEY, range(100), SceneLook(side=32, most=1))
    left = [
        mask[int(y2) - 2].nonzero().min() < mask[int(y1)].nonzero().min() - 3
        for mask, (_, y1, _, y2, _) in zip(made.masks, made.boxes[:, 0], strict=True)
    ]
    assert 30 < sum(map(int, left)) < 70


def test_articles_of_all_numbers_sizes_and_places_occur():
    made = draw_scenes(shapes(), None, KEY, range(300), LOOK)
    real = made.boxes[made.boxes[:, :, 4] >= 0]
    counts = (made.boxes[:, :, 4] >= 0).sum(1)
    assert counts.unique().tolist() == [1, 2, 3, 4]
    assert real[:, 4].unique().tolist() == list(range(6))
    assert real[:, :2].min() <= 2
    assert real[:, 2:4].max() >= LOOK.side - 2
    widths = real[:, 2] - real[:, 0]
    assert widths.max() > 2 * widths.median()


def test_more_classes_than_a_mask_can_hold_are_refused():
    greys = torch.zeros(2, 4, 4, dtype=torch.uint8)
    with pytest.raises(UserError, match=r"^scenes: need cut-outs of 1 to 254 classes$"):
        CutOuts(greys, torch.tensor([0, 254]))
