"""Rungs of successive halving, and the arms that confirm a selection."""

import pytest

from bagoftricks.errors import UserError
from bagoftricks.study.arms import Arm
from bagoftricks.study.selection import Rung, confirming_arms, halving_line, halving_rungs


@pytest.mark.parametrize(
    ("arms", "seeds", "eta", "expected"),
    [
        (8, 4, 2, [Rung(8, 1, 4), Rung(4, 2, 2), Rung(2, 4, 1)]),
        (5, 8, 2, [Rung(5, 2, 3), Rung(3, 4, 2), Rung(2, 8, 1)]),
        (9, 9, 3, [Rung(9, 3, 3), Rung(3, 9, 1)]),
        (2, 8, 2, [Rung(2, 8, 1)]),
        (8, 2, 2, [Rung(8, 1, 2), Rung(2, 2, 1)]),  # two rungs of one seed are one
        (3, 3, 64, [Rung(3, 3, 1)]),
    ],
)
def test_each_rung_has_eta_times_the_seeds_of_the_one_before_and_the_last_has_all(arms, seeds, eta, expected):
    assert halving_rungs(arms, seeds, eta) == expected


def test_one_arm_leaves_nothing_to_choose():
    with pytest.raises(UserError, match="chooses among arms: list two or more"):
        halving_rungs(1, 8, 2)


def test_the_runs_of_halving_are_counted_with_those_of_the_baseline():
    # 9 runs of one seed; 5 more arms' second seeds; two more of 3 arms.
    assert halving_line(halving_rungs(8, 4, 2), 5) == (
        "8 arms with 1 seed, 4 arms with 2 seeds, 2 arms with 4 seeds: 20 runs with those of baseline, then 10 with "
        "fresh seeds, of the best and of baseline"
    )
    assert halving_line(halving_rungs(2, 2, 2), 0) == "2 arms with 2 seeds: 6 runs with those of baseline"


def test_fresh_seeds_follow_the_largest_and_compare_the_choice_with_the_baseline():
    chosen, baseline = confirming_arms(Arm(label="a", compare_to="b"), Arm(label="baseline"), [7, 0], 3)
    assert (chosen.label, chosen.compare_to, chosen.seeds) == ("a, fresh seeds", "baseline, fresh seeds", (8, 9, 10))
    assert (baseline.label, baseline.compare_to, baseline.seeds) == ("baseline, fresh seeds", None, (8, 9, 10))
