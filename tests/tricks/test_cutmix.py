from importlib import import_module

import pytest
import torch
from torch import Tensor

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import Batch
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, the_edit

CONFLICTS = ["augmix", "mixup"]
IDENTITIES = [{"probability": 1e-12}]

cutmix = import_module("bagoftricks.tricks.refine.cutmix")


def numbered(rows: int, pixels: int = 8, *, teacher: bool = False) -> Batch:
    """Image i is filled with the value i and labelled i."""
    images = torch.arange(float(rows)).view(rows, 1, 1, 1).expand(rows, 3, pixels, pixels)
    return Batch(images.contiguous(), torch.eye(rows), torch.eye(rows) if teacher else None)


def own_share(batch: Batch) -> Tensor:
    """Return the share of each image's pixels that are its own."""
    own = torch.arange(float(len(batch))).view(-1, 1, 1, 1)
    return (batch.images == own).float().mean((1, 2, 3))


@pytest.mark.parametrize("draw", range(20))
def test_targets_and_teacher_hold_the_exact_shares_of_the_pixels(draw):
    mixed = the_edit("cutmix").apply(numbered(6, teacher=True), KEY.fold(draw))
    counted = torch.stack([(mixed.images == i).float().mean((1, 2, 3)) for i in range(6)], 1)
    torch.testing.assert_close(mixed.targets, counted)
    torch.testing.assert_close(mixed.teacher, counted)
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(6))


def test_pixels_outside_the_box_are_untouched_and_those_inside_are_the_partners():
    batch = Batch(torch.randn(4, 3, 8, 8, generator=KEY.generator()), torch.eye(4))
    partner = torch.tensor([1, 2, 3, 0])
    mixed = cutmix.paste(batch, partner, 2, 5, 1, 8)
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:5, 1:8] = True
    assert torch.equal(mixed.images[..., ~inside], batch.images[..., ~inside])
    assert torch.equal(mixed.images[..., inside], batch.images[partner][..., inside])
    torch.testing.assert_close(mixed.targets.diag(), torch.full((4,), 1 - 21 / 64))


def test_the_given_batch_stays_as_it_is():
    batch = numbered(6)
    the_edit("cutmix").apply(batch, KEY)
    assert torch.equal(batch.images, numbered(6).images)


def test_an_empty_box_changes_nothing():
    batch = numbered(4, teacher=True)
    mixed = cutmix.paste(batch, torch.tensor([1, 2, 3, 0]), 3, 3, 1, 6)
    assert torch.equal(mixed.images, batch.images)
    assert torch.equal(mixed.targets, batch.targets)
    assert torch.equal(mixed.teacher, batch.teacher)


def test_boxes_are_clipped_so_an_image_keeps_more_than_half():
    boxes = [cutmix.box(KEY.fold(draw), 1.0, 224, 224) for draw in range(4000)]
    kept = torch.tensor([1 - (b - t) * (r - left) / 224**2 for t, b, left, r in boxes])
    assert kept.mean().item() == pytest.approx(0.682, abs=0.012)
    assert all(0 <= t <= b <= 224 and 0 <= left <= r <= 224 for t, b, left, r in boxes)


def test_an_unclipped_box_has_the_shape_of_the_image_and_the_drawn_area():
    boxes = [cutmix.box(KEY.fold(draw), 1.0, 100, 200) for draw in range(500)]
    inside = [(t, b, left, r) for t, b, left, r in boxes if t > 0 and b < 100 and left > 0 and r < 200]
    assert len(inside) > 50
    assert all(abs(2 * (b - t) - (r - left)) <= 3 for t, b, left, r in inside)


def test_the_centre_is_uniform_over_the_pixels():
    centres = [cutmix.box(KEY.fold(draw), 50.0, 8, 8) for draw in range(4000)]  # always a box of about half the area
    corner = sum(t == 0 and left == 0 for t, _, left, _ in centres) / len(centres)
    assert corner == pytest.approx((3 / 8) ** 2, abs=0.03)  # rows and columns 0 to 2 of 8, with a half side of 2


def test_one_box_and_one_permutation_serve_the_batch():
    mixed = the_edit("cutmix").apply(numbered(64), KEY)
    moved = own_share(mixed)[own_share(mixed) < 1]
    assert moved.unique().numel() == 1
    torch.testing.assert_close(mixed.targets.sum(0), torch.ones(64))


def test_the_box_is_keyed_by_the_step():
    apply = the_edit("cutmix").apply
    first, again, other = (apply(numbered(16), KEY.fold(step)).images for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_the_probability_is_the_share_of_steps_that_are_mixed(probability):
    apply, batch = the_edit("cutmix", probability=probability).apply, numbered(4, 4)
    steps = 1000 if probability < 1 else 50
    left = sum(apply(batch, KEY.fold(step)) is batch for step in range(steps)) / steps
    assert left == pytest.approx(1 - probability, abs=0.04)


def test_a_switch_uses_mixup_on_its_share_of_the_steps():
    apply, batch = the_edit("cutmix", switch=0.3, mixup_alpha=1.0).apply, numbered(4, 4, teacher=True)
    mixed = [apply(batch, KEY.fold(step)) for step in range(1000)]
    blended = [m for m in mixed if (m.images != m.images.round()).any()]  # a box moves whole numbers only
    assert len(blended) / 1000 == pytest.approx(0.3, abs=0.05)
    for one in blended:
        torch.testing.assert_close(one.images[:, 0, 0, 0], one.targets @ torch.arange(4.0))
        torch.testing.assert_close(one.teacher, one.targets)
    shares = torch.cat([m.targets.diag() for m in blended])
    assert shares[shares < 1].mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("alpha", 0.0, r"positive \(leave cutmix out to mix nothing\)"),
        ("probability", 0.0, r"in \(0, 1\] \(leave cutmix out to mix nothing\)"),
        ("probability", 1.5, r"in \(0, 1\] \(leave cutmix out to mix nothing\)"),
        ("switch", 1.0, r"in \[0, 1\) \(for 1, use \+refine=mixup\)"),
        ("mixup_alpha", 0.0, "positive"),
    ],
)
def test_a_number_out_of_range_is_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.cutmix\.{field}={value}: must be {expected}$"):
        create("cutmix", **{field: value})
