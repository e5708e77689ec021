import pytest

from bagoftricks.errors import UserError
from bagoftricks.report.dawnbench import Measure
from bagoftricks.report.pictures.registry import PICTURES, study_picture
from bagoftricks.report.study_parts import SavedArm
from tests.report.pictures.studies import THREE, dots, intervals, marks, run, study, texts


@pytest.fixture(scope="module")
def forest():
    return study_picture("forest", study(THREE))


def test_the_marks_are_the_paired_differences_with_their_intervals(forest):
    axes = forest.figure.axes[0]
    # differences 2, 2, 2.6: mean 2.2. What arms and seeds leave: squares of 0.4933 in all over 4 degrees of freedom, so
    # a standard error of sqrt(2 * 0.1233 / 3); the factor is above t(4) = 2.776 and below that of two tests, 3.495
    assert [x for x, _ in marks(axes, "^")] == [pytest.approx(2.2)]
    low, high = intervals(axes)[0]
    assert low + high == pytest.approx(4.4)
    assert 2.776 * 0.28674 < (high - low) / 2 < 3.495 * 0.28674
    assert dots(axes) == [pytest.approx([2.0, 2.0, 2.6]), pytest.approx([0.5, -0.5, 0.6])]


def test_only_a_verdict_that_stands_has_a_filled_mark_of_its_own_shape(forest):
    axes = forest.figure.axes[0]
    assert (len(marks(axes, "^", filled=True)), len(marks(axes, "o", filled=False))) == (1, 1)
    assert (marks(axes, "o", filled=True), marks(axes, "v")) == ([], [])
    worse = study_picture("forest", study({"plain": THREE["aug"], "aug": THREE["plain"]}))
    assert len(marks(worse.figure.axes[0], "v", filled=True)) == 1


def test_the_numbers_are_the_drawn_ones(forest):
    aug, odd = forest.numbers.rows
    row = dict(zip(forest.numbers.headings, aug, strict=True))
    assert row["difference (percentage points)"] == pytest.approx(2.2)
    assert (row["arm"], row["against"], row["n"], row["verdict"]) == ("aug", "plain", 3, "helps")
    assert [row[f"seed {seed}"] for seed in range(3)] == pytest.approx([2.0, 2.0, 2.6])
    assert (row["low"], row["high"]) == pytest.approx(intervals(forest.figure.axes[0])[0])
    assert odd[7].startswith("undecided: sees ")


def test_words_state_interval_n_correction_and_protocol(forest):
    for part in ("from plain", "n = 3 seeds", "intervals of 2 tests, which hold together", "digits", "2 epochs"):
        assert part in forest.caption
    assert "aug helps (+2.20 [+1.27, +3.13])" in forest.description
    assert "1 of 2 differences have no verdict" in forest.description


def test_one_seed_says_so_and_has_no_interval():
    drawing = study_picture("forest", study({"plain": [70.0], "aug": [75.0]}))
    axes = drawing.figure.axes[0]
    assert (marks(axes, "o", filled=False)[0][0], intervals(axes), marks(axes, "^")) == (5.0, [], [])
    assert "n = 1 seed: no interval, no conclusion" in drawing.caption
    assert any("one seed: no conclusion" in text for text in texts(drawing))


def test_missing_arms_keep_their_row_and_its_reason():
    arms = [SavedArm(label="plain"), SavedArm(label="aug", compare_to="plain"), SavedArm(label="x", compare_to="aug")]
    arms.append(SavedArm(label="y", compare_to="plain", needs=("new_trick",)))
    tops = {"plain": [70.0, 71.0], "aug": [71.0, 73.0], "x": [], "y": []}
    drawing = study_picture("forest", study(tops, arms=arms))
    assert [row[-3] for row in drawing.numbers.rows][1:] == ["not run", "needs new_trick"]
    assert {"not run", "needs new_trick"} <= set(texts(drawing))


def test_a_score_that_is_no_number_is_left_out_by_name():
    drawing = study_picture("forest", study({"plain": [70.0, 71.0], "aug": [float("nan"), 73.0]}))
    assert "Left out: aug, seed 0, whose top-1 is not a number." in drawing.caption
    assert dict(zip(drawing.numbers.headings, drawing.numbers.rows[0], strict=True))["seed 0"] is None


def test_a_time_to_accuracy_is_compared_in_seconds():
    curves = {"plain": [(10.0, 20.0, 90.0), (5.0, 10.0, 91.0)], "aug": [(20.0, 95.0), (30.0, 96.0)]}
    records = {
        label: {seed: run(seed, curve[-1], curve=curve) for seed, curve in enumerate(each)}
        for label, each in curves.items()
    }
    drawing = study_picture("forest", study({k: [1, 2] for k in curves}, records=records, measure=Measure(target=0.9)))
    assert marks(drawing.figure.axes[0], "o")[0][0] == -2.0  # one epoch of two seconds less, in both seeds
    assert "seconds; less is better" in drawing.caption


def test_what_the_records_do_not_support_is_refused_with_the_reason():
    single = study({"plain": [70.0, 71.0]})
    assert PICTURES["forest"].lacking(single) == "no arm of the study is compared with another"
    with pytest.raises(UserError, match="plot=forest: no arm of the study is compared"):
        study_picture("forest", single)
    assert PICTURES["forest"].lacking(study({"plain": [], "aug": []})) == "no run of the study is finished"
    assert PICTURES["forest"].lacking(study({"plain": [70.0], "aug": []})).startswith("no two compared arms have")
    assert PICTURES["forest"].lacking(study(THREE)) == ""
    with pytest.raises(UserError, match=r"plot=forst: must be one of .*did you mean 'forest'"):
        study_picture("forst", single)
