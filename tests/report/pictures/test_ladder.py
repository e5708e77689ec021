import pytest

from bagoftricks.report.pictures.registry import PICTURES, study_picture
from bagoftricks.report.study_parts import SavedArm
from tests.report.pictures.studies import THREE, dots, intervals, marks, run, study, texts

ARMS = [
    SavedArm(label="plain", published={"top1": 90.0}),
    SavedArm(label="aug", compare_to="plain", published={"top1": 95.5}),
    SavedArm(label="odd", compare_to="aug"),
    SavedArm(label="later", compare_to="odd"),
]


@pytest.fixture(scope="module")
def ladder():
    return study_picture("ladder", study({**THREE, "later": []}, arms=ARMS, source="a paper"))


def test_scores_differences_and_the_papers_numbers_have_a_panel_each(ladder):
    scores, differences, paper = ladder.figure.axes
    assert marks(scores, "s", filled=False)[0][0] == 71.0
    assert marks(scores, "^", filled=True)[0][0] == pytest.approx(219.6 / 3)
    # 70, 71, 72: standard error 0.5774, t(2) = 4.303
    assert intervals(scores)[0] == pytest.approx((71 - 2.4841, 71 + 2.4841), abs=1e-3)
    assert dots(scores)[0] == [70.0, 71.0, 72.0]
    assert marks(differences, "^")[0][0] == pytest.approx(2.2)
    assert [x for x, _ in marks(paper, "D", filled=False)] == [90.0, 95.5]
    assert not marks(scores, "D")


def test_the_arms_stand_in_the_studys_order_and_a_missing_one_says_so(ladder):
    scores = ladder.figure.axes[0]
    assert [label.get_text() for label in scores.get_yticklabels()] == ["plain", "aug", "odd", "later"]
    assert scores.get_ylim()[0] > scores.get_ylim()[1]
    assert "not run" in texts(ladder)


def test_the_numbers_and_the_words_are_those_of_the_picture(ladder):
    plain, aug, _, later = (dict(zip(ladder.numbers.headings, row, strict=True)) for row in ladder.numbers.rows)
    assert (plain["top-1 (%)"], plain["the paper's top-1 (%)"], plain["difference: against"]) == (71.0, 90.0, None)
    assert aug["difference: difference (percentage points)"] == pytest.approx(2.2)
    assert aug["difference: seed 2"] == pytest.approx(2.6)
    assert (later["runs"], later["top-1 (%)"]) == (0, None)
    assert "a paper" in ladder.caption
    assert "axis of their own" in ladder.caption
    assert "from plain with 71.00 to odd with 71.20" in ladder.description


def test_panels_that_would_be_empty_are_left_out():
    assert len(study_picture("ladder", study({"plain": [70.0, 71.0]})).figure.axes) == 1
    assert PICTURES["ladder"].lacking(study({"plain": []})) == "no run of the study is finished"


def test_the_papers_numbers_do_not_move_our_axis(ladder):
    low, high = ladder.figure.axes[0].get_xlim()
    assert 65 < low < high < 80


def test_wide_panels_share_the_names_of_the_arms():
    wide = study_picture("ladder", study(THREE), width=7.0)
    first, second = wide.figure.axes
    assert [label.get_text() for label in second.get_yticklabels()] == ["", "", ""]
    assert first.get_position().y0 == pytest.approx(second.get_position().y0)


def test_runs_without_a_value_are_counted():
    from bagoftricks.report.dawnbench import Measure

    records = {"plain": {0: run(0, 95.0, curve=(95.0,)), 1: run(1, 80.0, curve=(80.0,))}}
    drawing = study_picture("ladder", study({"plain": [95.0, 80.0]}, records=records, measure=Measure(target=0.9)))
    assert "1 of 2 runs" in texts(drawing)
