"""Rows of an experiment that are chosen by hand."""

import pytest

from bagoftricks.errors import UserError
from bagoftricks.study.arms import Arm
from bagoftricks.study.rows import choice_name, chosen_arms, find_rows
from tests.study.test_experiment import arms as arms_of

LABELS = ["E0: R50", "E1: R50D", "E2: + LS", "ResNet-50-D, Efficient", "E10: + AA", "E10: again"]
CHAIN = [Arm(label=label, compare_to=before) for label, before in zip("abcd", (None, *"abc"), strict=True)]
STAR = [Arm(label=label, compare_to=None if label == "a" else "a") for label in "abcd"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("E0", [0]),
        ("e1", [1]),
        ("2", [1]),
        ("E0-E2", [0, 1, 2]),
        ("1-3", [0, 1, 2]),
        ("E2-4", [2, 3]),
        ("ResNet-50-D, Efficient", [3]),
        ("resnet-50", [3]),
        ("E1-ResNet-50", [1, 2, 3]),
        ("E10: + AA", [4]),
    ],
)
def test_a_row_is_named_by_short_name_number_beginning_or_range(typed, found):
    assert find_rows("rows", typed, LABELS) == found


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("E7", r"rows=E7: there is no such row \(1 E0: R50; 2 E1: R50D; "),
        ("E10", r"rows=E10: 2 rows begin so \(5 E10: \+ AA; 6 E10: again\): type more of it, or the number"),
        ("E2-E0", "rows=E2-E0: row 3 comes after row 1: type them in their order"),
        ("0", "there is no such row"),
        ("7", "there is no such row"),
        ("E0-E7", "there is no such row"),
    ],
)
def test_a_row_that_is_not_there_is_refused(typed, why):
    with pytest.raises(UserError, match=why):
        find_rows("rows", typed, LABELS)


def compared(arms, rows=(), skip=()):
    return [(arm.label, arm.compare_to) for arm in chosen_arms(arms, rows, skip)[0]]


def test_a_row_is_compared_with_the_nearest_one_that_is_left():
    assert compared(CHAIN, skip=["b", "c"]) == [("a", None), ("d", "a")]
    assert compared(CHAIN, rows=["b-d"]) == [("b", None), ("c", "b"), ("d", "c")]


def test_rows_without_their_baseline_are_compared_with_the_first_of_them():
    assert compared(STAR, skip=["a"]) == [("b", None), ("c", "b"), ("d", "b")]


def test_rows_that_begin_two_comparisons_are_not_compared_with_each_other():
    two = [Arm(label="a"), Arm(label="b", compare_to="a"), Arm(label="c"), Arm(label="d", compare_to="c")]
    assert compared(two, skip=["a"]) == [("b", None), ("c", None), ("d", "c")]


def test_each_other_comparison_has_a_note():
    _, notes = chosen_arms(CHAIN, ["a", "c-d"], [])
    assert notes == ["3 of 4 rows (rows=a,c-d)", "'c' is compared with 'a', for 'b' is left out"]
    _, notes = chosen_arms(CHAIN, [], ["1"])
    assert notes == ["3 of 4 rows (skip=1)", "'b' is compared with no row, for 'a' is left out"]


def test_all_rows_stay_as_they_are():
    assert chosen_arms(CHAIN, [], []) == (CHAIN, [])


def test_a_row_with_a_run_must_be_left():
    with pytest.raises(UserError, match=r"rows=a skip=a: no row with a run is left"):
        chosen_arms(CHAIN, ["a"], ["a"])
    quoted = [*CHAIN, Arm(label="e", quoted=True)]
    with pytest.raises(UserError, match="rows=e: no row with a run is left"):
        chosen_arms(quoted, ["e"], [])


def test_chosen_rows_are_a_study_of_their_own():
    assert choice_name(["E0", "E4-E6"], ["E5"]) == "-E0+E4-E6-without-E5"
    assert choice_name([], []) == ""


@pytest.mark.parametrize("scale", ["paper", "laptop"])
def test_efficientnets_of_the_assembled_table_are_quoted(scale):
    quoted = {label: arm for label, arm in arms_of("assembled/table7", scale).items() if arm.quoted}
    assert [*quoted] == [f"EfficientNet B{n}" for n in range(8)]
    assert quoted["EfficientNet B7"].published == {"top1": 84.5, "mce": 59.4, "infer_images_per_s": 16}
