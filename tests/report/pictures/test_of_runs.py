import pytest

from bagoftricks.errors import UserError
from bagoftricks.recipe.trick import Length
from bagoftricks.report.pictures.drawing import svg_text
from bagoftricks.report.pictures.network import network_boxes
from bagoftricks.report.pictures.of_runs import draw_run
from bagoftricks.run.check import check
from bagoftricks.settings import Settings

TRICKS = {
    "cosine": {},
    "mixup": {"unmixed_end": "3 epochs"},
    "progressive_size": {"start": 0.5, "until": 0.5, "stages": 1},
    "swa": {"start": "6 epochs"},
}


def settings(tricks, **changes):
    return Settings.of({"tricks": tricks, "epochs": 12, "batch_size": 10, **changes})


@pytest.fixture(scope="module")
def schedule():
    return draw_run("schedule", settings(TRICKS), train_images=100)


def values(drawing, drawn):
    return [row[1:] for row in drawing.numbers.rows if row[0] == drawn]


def test_the_learning_rate_is_the_recipes_at_each_step(schedule):
    rates = values(schedule, "learning rate")
    (line,) = schedule.figure.axes[0].lines
    assert [rate for _, rate, _ in rates] == list(line.get_ydata())
    checked = check(settings(TRICKS), train=False)
    checked.task.clock.begin(Length(10, 120))
    assert line.get_ydata()[60] == pytest.approx(checked.settings.lr * checked.recipe.schedule(60))
    assert line.get_xdata()[60] == 6.0


def test_what_tricks_do_is_found_to_the_step(schedule):
    assert values(schedule, "mixup") == [(0.0, None, 9.0)]  # the last three of twelve epochs are not mixed
    assert values(schedule, "swa (average)")[0][2] == 12.0
    sides = values(schedule, "pixels")
    assert {epoch: side for epoch, side, _ in sides if epoch in (0.0, 5.9, 6.0)} == {0.0: 16, 5.9: 16, 6.0: 32}
    assert values(schedule, "momentum") == [(0, 0.9, None)]
    bars = schedule.figure.axes[-1].patches
    assert (bars[0].get_x(), bars[0].get_width()) == (0.0, 9.0)
    assert "mixup from epoch 0 to 9" in schedule.description
    assert "nothing was trained" in schedule.caption


def test_a_baseline_has_a_rate_and_a_momentum_alone():
    drawing = draw_run("schedule", settings({}), train_images=100)
    assert len(drawing.figure.axes) == 2
    assert "No trick changes batches" in drawing.description


def test_the_network_names_what_each_trick_added_and_removed():
    boxes = {box.name: box for box in network_boxes(check(settings({"gelu": {}, "se": {}}), train=False))}
    assert boxes["stem"].added == ("GELU (gelu)",)
    assert boxes["stem"].removed == ("ReLU (gelu)",)
    first = boxes["stage 1, block 1"]
    assert "4 GELU (gelu, se)" in first.added  # three of the block and one of the gate
    assert "conv 1x1 4 (se)" in first.added
    assert boxes["head"].layers == ("linear 10",)
    assert not boxes["head"].added


def test_blocks_are_numbered_within_their_stage():
    names = [box.name for box in network_boxes(check(settings({}, model={"depths": [1, 2, 1]}), train=False))]
    assert [name for name in names if name.startswith("stage 3")] == ["stage 3, block 1"]
    assert "stage 2, block 1" in names


def test_a_network_without_tricks_has_no_changes_and_equal_blocks_share_a_box():
    plain = settings({})
    boxes = network_boxes(check(plain, train=False))
    assert not [box for box in boxes if box.added or box.removed]
    drawing = draw_run("network", plain)
    assert [row[0] for row in drawing.numbers.rows] == [box.name for box in boxes]
    assert "none of them" in drawing.description
    assert "stem" in svg_text(drawing)


def test_images_are_shown_with_their_targets():
    drawing = draw_run("images", settings({"mixup": {}}))
    captions = [row[2] for row in drawing.numbers.rows]
    shown = [axes.get_title(loc="left").replace("\n", " ") for axes in drawing.figure.axes if axes.images]
    assert shown == captions
    assert any(" + " in caption for caption in captions)
    assert "with mixup" in drawing.caption


def test_an_unknown_kind_is_one_line():
    with pytest.raises(UserError, match=r"plot=scheduel: must be one of .*did you mean 'schedule'"):
        draw_run("scheduel", settings({}))
