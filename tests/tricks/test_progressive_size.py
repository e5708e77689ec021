import pytest
import torch
import torch.nn.functional as F

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, make_batch, make_task, make_trainer, the_edit


def sides(whole: int, **params: float) -> list[int]:
    """At each tenth of the run."""
    made = create("progressive_size", **params)
    return [made.side(whole, tenth / 10) for tenth in range(10)]


def test_the_defaults_go_from_half_over_three_quarters_to_the_whole():
    assert sides(32) == [16, 16, 16, 24, 24, 32, 32, 32, 32, 32]


def test_one_stage_is_one_smaller_size():
    assert sides(32, start=0.75, until=0.7, stages=1) == [24] * 7 + [32] * 3


def test_four_stages_rise_in_equal_steps():
    assert sides(32, until=0.8, stages=4) == [16, 16, 20, 20, 24, 24, 28, 28, 32, 32]


def test_sides_are_rounded_up_to_a_multiple_but_not_beyond_the_whole():
    assert sides(30, start=0.6, stages=1)[0] == 20  # 18 rounded up
    assert sides(30, start=0.99, stages=1)[0] == 30
    assert sides(30, start=0.6, stages=1, multiple=1)[0] == 18
    assert sides(30, start=1e-9, stages=1)[0] == 4


def test_the_batch_is_resized_by_the_clock_and_the_targets_stay():
    task = make_task()
    edit, batch = the_edit("progressive_size", task), make_batch(pixels=16)
    task.clock.progress.fill_(0.0)
    small = edit.apply(batch, KEY)
    expected = F.interpolate(batch.images, size=(8, 8), mode="bilinear", antialias=True)
    assert torch.equal(small.images, expected)
    assert small.targets is batch.targets
    task.clock.progress.fill_(0.6)
    assert edit.apply(batch, KEY) is batch


def test_a_mean_colour_stays():
    edit, batch = the_edit("progressive_size"), make_batch(pixels=16)
    flat = type(batch)(torch.full_like(batch.images, 0.25), batch.targets)
    torch.testing.assert_close(edit.apply(flat, KEY).images, torch.full((8, 3, 8, 8), 0.25))


def test_it_comes_after_the_square_that_cutout_hides():
    made = {"cutout": create("cutout", size=8), "progressive_size": create("progressive_size")}
    trainer = make_trainer(made)
    batch, _ = trainer.prepare_batch(make_batch(pixels=16), 0)
    assert batch.images.shape[-1] == 8
    hidden = (batch.images == 0).all(1).sum((1, 2))
    assert (hidden >= 4).all()  # of the 4x4 that remain of the square, those the antialiasing leaves alone


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("start", 1.0, r"in \(0, 1\) "), ("until", 0.0, r"in \(0, 1\]"), ("stages", 0, "in 1..1000"),
        ("multiple", 0, "1 or more"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.progressive_size\.{field}={value}: must be {expected}"):
        create("progressive_size", **{field: value})
