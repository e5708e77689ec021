import math
import re

import pytest
from scipy import stats
from scipy.optimize import brentq

from bagoftricks.report.image_tests import ImageFloor
from bagoftricks.report.pictures.registry import PICTURES, study_picture
from tests.report.pictures.studies import THREE, study


def detectable(sd, n, alpha=0.05, dof=None):
    """The difference that a t-test finds in 80 % of studies."""
    dof = dof or n - 1
    critical = stats.t.isf(alpha / 2, dof)
    return sd / math.sqrt(n) * brentq(lambda effect: stats.nct.sf(critical, dof, effect) - 0.8, 0, 100)


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
    ends = [sd * math.sqrt(2 / quantile) for quantile in (7.3778, 0.050636)]  # chi-squared(2)
    assert rows[1][3:5] == pytest.approx([detectable(end, 3) for end in ends], rel=1e-4)
    assert "With 3 seeds the study finds a difference of 1.1 percentage points" in resolution.description


def test_todays_seeds_and_each_arms_own_noise_are_marked(resolution):
    axes = resolution.figure.axes[0]
    assert [set(line.get_xdata()) for line in axes.lines if line.get_linestyle() == ":"] == [{3}]
    (own,) = [line for line in axes.lines if line.get_marker() == "."]
    assert (list(own.get_xdata()), own.get_ydata()[0]) == ([3], pytest.approx(detectable(math.sqrt(0.12), 3)))


def test_large_differences_are_whole_numbers():
    drawing = study_picture("resolution", study({"plain": [0.0, 50.0], "aug": [90.0, 10.0]}))
    assert re.search("finds a difference of [0-9]{3,} percentage points", drawing.description)


def test_several_comparisons_need_more_and_one_alone_is_drawn():
    drawing = study_picture("resolution", study(THREE))
    row = next(row for row in drawing.numbers.rows if row[:2] == ("lines", 3))
    sd = math.sqrt(2 * 0.12333)  # see the forest: 4 degrees of freedom, less what unequal arms and the guard take
    assert detectable(sd, 3, 0.05, dof=4) < row[5] < row[2] < detectable(sd, 3, 0.025, dof=3)
    assert "2 tests together, and one alone" in drawing.caption


def test_the_floor_of_the_test_images_goes_with_the_root_of_their_number(resolution):
    name, *_, low, high, _ = next(row for row in resolution.numbers.rows if row[0] == "test images")
    root = math.sqrt(10_000 / 50)
    assert (name, low, high) == ("test images", pytest.approx(0.03 * root), pytest.approx(0.07 * root))


def test_unknown_noise_has_no_picture():
    lacking = PICTURES["resolution"].lacking
    assert "the noise is unknown" in lacking(study({"plain": [70.0], "aug": [71.0]}))
    assert "the noise is unknown" in lacking(study({"plain": [70.0, 71.0], "aug": [71.0, 72.0]}))


def test_a_floor_without_a_lower_end_leaves_the_lines_readable(monkeypatch):
    floor = ImageFloor(images=359, low=0.0, high=0.8, measured=True)
    monkeypatch.setattr("bagoftricks.report.study_results.StudyResults.image_floor", floor)
    drawing = study_picture("resolution", study(THREE))
    drawing.figure.canvas.draw()
    assert 0.01 < drawing.figure.axes[0].get_ylim()[0] <= 0.4
    assert "a standard error of up to 0.8 points" in drawing.caption
