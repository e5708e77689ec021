import math
import re

import pytest

from bagoftricks.errors import UserError
from bagoftricks.report.pictures.registry import PICTURES, study_picture
from bagoftricks.statistics.paired import detectable, sd_interval, seeds_needed
from tests.report.pictures.studies import THREE, study


@pytest.fixture(scope="module")
def resolution():
    return study_picture("resolution", study({"plain": [70.0, 71.0, 72.0], "aug": [72.0, 73.0, 74.6]}))


def test_the_line_is_what_the_studys_noise_lets_it_find(resolution):
    sd = math.sqrt(0.12)  # of the differences 2, 2, 2.6
    (line,) = [line for line in resolution.figure.axes[0].lines if line.get_marker() == "o"]
    assert list(line.get_xdata())[:2] == [2, 3]
    assert line.get_ydata()[1] == pytest.approx(detectable(sd, 3))
    rows = [row for row in resolution.numbers.rows if row[0] == "lines"]
    assert [row[2] for row in rows] == list(line.get_ydata())
    assert rows[1][3:5] == pytest.approx([detectable(end, 3) for end in sd_interval(sd, 2)])
    assert "With 3 seeds the study finds a difference of 1.1 percentage points" in resolution.description


def test_todays_seeds_and_each_arms_own_noise_are_marked(resolution):
    axes = resolution.figure.axes[0]
    assert [set(line.get_xdata()) for line in axes.lines if line.get_linestyle() == ":"] == [{3}]
    (own,) = [line for line in axes.lines if line.get_marker() == "."]
    assert (list(own.get_xdata()), own.get_ydata()[0]) == ([3], pytest.approx(detectable(math.sqrt(0.12), 3)))


def test_large_differences_are_whole_numbers():
    drawing = study_picture("resolution", study({"plain": [0.0, 50.0], "aug": [90.0, 10.0]}))
    assert re.search("finds a difference of [0-9]{3,} percentage points", drawing.description)


def test_several_comparisons_need_more_and_the_first_step_is_drawn():
    drawing = study_picture("resolution", study(THREE))
    row = next(row for row in drawing.numbers.rows if row[:2] == ("lines", 3))
    assert row[2] / row[5] == pytest.approx(detectable(1, 3, 0.025) / detectable(1, 3, 0.05))
    assert "first and strictest step over 2 comparisons" in drawing.caption


def test_the_floor_of_the_test_images_goes_with_the_root_of_their_number(resolution):
    name, *_, low, high, _ = next(row for row in resolution.numbers.rows if row[0] == "test images")
    root = math.sqrt(10_000 / 50)
    assert (name, low, high) == ("test images", pytest.approx(0.03 * root), pytest.approx(0.07 * root))


def test_unknown_noise_has_no_picture():
    lacking = PICTURES["resolution"].lacking
    assert "the noise is unknown" in lacking(study({"plain": [70.0], "aug": [71.0]}))
    assert "the noise is unknown" in lacking(study({"plain": [70.0, 71.0], "aug": [71.0, 72.0]}))


@pytest.mark.parametrize(("n", "alpha"), [(2, 0.05), (3, 0.05), (5, 0.01), (20, 0.05)])
def test_what_is_detectable_is_the_inverse_of_the_seeds_that_are_needed(n, alpha):
    found = detectable(0.7, n, alpha)
    assert seeds_needed(0.7, found * 1.001, alpha) == n
    assert (seeds_needed(0.7, found * 0.98, alpha) or 0) > n


def test_the_interval_of_a_standard_deviation_is_that_of_the_tables():
    # chi-squared(9): 2.700 and 19.023
    assert sd_interval(1.0, 9) == pytest.approx((math.sqrt(9 / 19.023), math.sqrt(9 / 2.700)), rel=1e-4)
    with pytest.raises(UserError, match="needs two or more"):
        detectable(1.0, 1)
