from dataclasses import asdict
from types import SimpleNamespace

import pytest

from bagoftricks.store.store import Store
from bagoftricks.study.arms import Arm
from bagoftricks.study.look_history import Looks, former_looks, planned_looks
from bagoftricks.study.plan import Plan, PlannedRun, save_study, study_path


def plan(seeds, arms=("base", "mixup"), epochs=1):
    runs = [PlannedRun(arm, s, f"{arm}-{s}-{epochs}", SimpleNamespace(), "bot-train") for arm in arms for s in seeds]
    return Plan(tuple(Arm(label=arm) for arm in arms), tuple(seeds), tuple(runs), {}, {})


@pytest.mark.parametrize(
    ("fewest", "most", "looks"),
    [
        (3, 20, (3, 5, 8, 12, 20)),
        (3, 8, (3, 5, 8)),
        (3, 4, (3, 4)),
        (2, 3, (2, 3)),
        (2, 10, (2, 3, 6, 10)),
        (10, 100, (10, 16, 25, 40, 63, 100)),
    ],
)
def test_planned_looks_grow_in_equal_ratios(fewest, most, looks):
    assert planned_looks(fewest, most) == looks


def test_looks_that_happened_and_those_that_were_planned_stay():
    fixed = Looks().planned([3]).after(3)
    assert fixed == Looks((3,), 3)
    assert fixed.planned([3]) == fixed  # the same command again
    assert fixed.planned([5]).after(5) == Looks((3, 5), 5)
    assert fixed.planned([5]).after(5).planned([3]).after(3) == Looks((3, 5), 5)  # fewer seeds undo no look
    assert fixed.planned(planned_looks(3, 8)) == Looks((3, 5, 8), 3)
    ended = Looks().planned([3, 5, 8]).after(3).after(5)
    assert ended.planned([3, 5, 8]) == ended
    assert ended.planned([5]) == ended
    assert ended.planned([20]) == Looks((3, 5, 8, 20), 5)
    assert Looks().planned([3, 5, 8]).planned([4]) == Looks((4,))  # nobody has seen anything yet


def test_a_study_remembers_its_looks_while_its_runs_are_the_same(tmp_path):
    store = Store(tmp_path)
    assert former_looks(store, "s", plan(range(3))) == Looks()
    save_study(store, "s", plan(range(3)), asdict(Looks((3, 5), 3)))
    for same in (plan(range(3)), plan(range(8)), plan([2, 9])):
        assert former_looks(store, "s", same) == Looks((3, 5), 3)
    for other in (
        plan(range(3), epochs=2),
        plan(range(3), arms=("base",)),
        plan([7, 8]),
        plan(range(3), ("base", "ema")),
    ):
        assert former_looks(store, "s", other) == Looks()


def test_a_study_of_an_earlier_version_was_judged_once(tmp_path):
    store = Store(tmp_path)
    save_study(store, "s", plan(range(3)), {})
    assert former_looks(store, "s", plan(range(5))) == Looks((3,), 3)
    study_path(store, "s").write_text("{}")
    assert former_looks(store, "s", plan(range(5))) == Looks()


def test_looks_at_a_fraction_count_once_it_is_extended(tmp_path):
    store, half = Store(tmp_path), {"design": "fractional"}
    save_study(store, "s", plan([0]), half | asdict(Looks((1,), 1)))
    folded = plan([0], ("base", "mixup", "ema"))
    once = former_looks(store, "s", folded)
    assert once == Looks(extensions=1)
    save_study(store, "s", folded, half | asdict(once.planned([1]).after(1)))
    assert former_looks(store, "s", folded) == Looks((1,), 1, 1)  # the same command again
    assert former_looks(store, "s", plan([0], ("base", "mixup", "ema", "sam"))) == Looks(extensions=2)
    save_study(store, "t", plan([0]), {"design": "stack"} | asdict(Looks((1,), 1)))
    assert former_looks(store, "t", folded) == Looks()  # other comparisons of the same runs
    save_study(store, "u", plan([0]), half | asdict(Looks((1,))))
    assert former_looks(store, "u", folded) == Looks()  # nobody has seen it
