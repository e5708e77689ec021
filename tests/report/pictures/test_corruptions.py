import pytest

from bagoftricks.report.pictures.registry import PICTURES, study_picture
from tests.report.pictures.studies import dots, marks, run, study
from tests.store.test_store import robustness

FOG, SNOW = [10.0, 20.0, 30.0, 40.0, 50.0], [20.0, 20.0, 20.0, 20.0, 20.0]


def evaluated(shifts, **changes):
    """Arms whose errors are those above, moved by one number for each seed."""
    records = {}
    for label, by_seed in shifts.items():
        records[label] = {}
        for seed, shift in enumerate(by_seed):
            errors = {"fog": [error + shift for error in FOG], "snow": [error + shift for error in SNOW]}
            scores = {"mce": 25.0 + shift, "clean_error": 5.0 + shift, "errors": errors}
            records[label][seed] = run(seed, 90.0, robustness={"small_c": robustness(scores, **changes)})
    return study({label: [90.0] * len(each) for label, each in shifts.items()}, records=records)


SHIFTS = {"plain": [0.0, 1.0, 2.0], "aug": [-3.0, -2.1, -1.0]}


@pytest.fixture(scope="module")
def corruptions():
    return study_picture("corruptions", evaluated(SHIFTS))


def test_each_run_is_a_line_over_severities(corruptions):
    lines = corruptions.figure.axes[0].lines
    assert len(lines) == 6
    assert list(lines[1].get_ydata()) == [6.0, 16.0, 21.0, 26.0, 31.0, 36.0]  # clean, then means of fog and snow
    assert lines[0].get_linestyle() != lines[3].get_linestyle()


def test_a_heat_map_never_stands_without_intervals(corruptions):
    _, heat, intervals, *_ = corruptions.figure.axes
    (mesh,) = heat.collections
    assert list(mesh.get_array().ravel()) == pytest.approx([31.0, 21.0, 30 - 6.1 / 3, 20 - 6.1 / 3])
    assert marks(intervals, "s", filled=False)[0][0] == 26.0
    assert marks(intervals, "^", filled=True)[0][0] == pytest.approx(25 - 6.1 / 3)  # fewer errors help
    assert dots(intervals)[0] == [25.0, 26.0, 27.0]
    assert "the intervals next to it" in corruptions.caption


def test_the_numbers_have_every_cell_with_its_interval(corruptions):
    rows = [row for row in corruptions.numbers.rows if row[:2] == ("plain", "fog")]
    # 30, 31, 32: standard error 0.5774, t(2) = 4.303
    assert rows == [
        ("plain", "fog", None, None, 3, 31.0, pytest.approx(28.516, abs=1e-3), pytest.approx(33.484, abs=1e-3))
    ]
    assert ("plain", "all corruptions", 1, "clean", 1, 6.0, None, None) in corruptions.numbers.rows
    assert "between 23.0 % (aug) and 26.0 % (plain)" in corruptions.description
    assert "aug helps" in corruptions.description


def test_what_does_not_compare_has_no_picture():
    lacking = PICTURES["corruptions"].lacking
    assert "no run was evaluated" in lacking(study({"plain": [1.0]}))
    mixed = evaluated(SHIFTS)
    found = mixed.records["aug"][0].robustness
    found["other_c"] = found.pop("small_c")
    assert "in different ways (small_c, other_c)" in lacking(mixed)
