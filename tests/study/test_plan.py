import json
from dataclasses import replace

import pytest

from bagoftricks.errors import UserError
from bagoftricks.run.execute import execute
from bagoftricks.settings import Settings, network_settings
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.arms import Arm
from bagoftricks.study.estimate import seconds_from_records, seconds_from_steps
from bagoftricks.study.overrides import latest, split_parameters
from bagoftricks.study.plan import save_study, state_of, states, study_names
from bagoftricks.study.planner import make_plan
from tests.run.test_execute import Quiet

TINY = Settings(model=network_settings(depths=[1, 1], width=4), epochs=1, batch_size=64, lr=0.05)
TINY.data.image_size, TINY.data.pad = 8, 1


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def compose(store):
    """A composer that knows only epochs=, and counts how often it is asked."""

    def made(overrides):
        made.calls.append(list(overrides))
        epochs = [int(o.partition("=")[2]) for o in overrides if o.startswith("epochs=")]
        tricks = {"mixup": {}} if "+refine=[mixup]" in overrides else {}
        return replace(TINY, store=str(store.root), epochs=epochs[-1] if epochs else 1, tricks=tricks)

    made.calls = []
    return made


def arm(label, **changes):
    return Arm(label=label, **changes)


ARMS = [arm("baseline"), arm("mixup", tricks={"mixup": {}}), arm("d", tricks={"resnet_d": {}}, compare_to="baseline")]


def test_arms_are_crossed_with_seeds_and_composed_once(compose):
    plan = make_plan(ARMS, [0, 1], [], compose)
    assert [(run.label, run.seed) for run in plan.runs] == [(a.label, s) for a in ARMS for s in (0, 1)]
    assert len({run.id for run in plan.runs}) == 6
    assert len(compose.calls) == 1


def test_an_arm_may_have_seeds_of_its_own(compose):
    own = arm("fresh", tricks={"mixup": {}}, seeds=(5, 2))
    plan = make_plan([own, *ARMS], [1, 0], [], compose)
    assert plan.seeds == (1, 0, 2, 5)
    assert [(run.label, run.seed) for run in plan.runs][:4] == [
        ("fresh", 5),
        ("fresh", 2),
        ("baseline", 1),
        ("baseline", 0),
    ]
    assert plan.impossible == {}  # mixup is the same arm with other seeds
    alone = make_plan([arm("fresh", seeds=(5, 2))], [1, 0], [], compose)
    assert alone.seeds == (2, 5)
    same = make_plan([ARMS[1], arm("again", tricks={"mixup": {}}, seeds=(0,))], [0], [], compose)
    assert "it is the run of 'mixup'" in same.impossible["again"]


def test_the_planned_id_is_the_id_of_the_run(compose):
    (run,) = make_plan(ARMS[1:2], [3], [], compose).runs
    assert execute(run.settings, Quiet(), run.command).id == run.id


def test_a_command_trains_the_run_alone(compose):
    plan = make_plan([arm("m", tricks={"mixup": {"alpha": 0.5}, "cosine": {}})], [2], ["data=digits"], compose)
    command = "bot-train data=digits '+refine=[mixup,cosine]' tricks.mixup.alpha=0.5 seed=2"
    assert plan.runs[0].command == command


def test_an_arm_that_changes_other_settings_is_composed_for_itself(compose):
    plan = make_plan([*ARMS, arm("long", tricks={"mixup": {}}, settings=("epochs=2",))], [0], [], compose)
    assert [run.settings.epochs for run in plan.runs] == [1, 1, 1, 2]
    assert compose.calls[1:] == [["+refine=[mixup]", "epochs=2"]]


def test_hyper_parameters_of_the_whole_study_hold_for_the_arms_that_have_the_trick(compose):
    plan = make_plan(ARMS, [0], ["tricks.mixup.alpha=0.7"], compose)
    assert [run.settings.tricks for run in plan.runs] == [{}, {"mixup": {"alpha": 0.7}}, {"resnet_d": {}}]
    assert split_parameters(["a=1", "~tricks.mixup", "tricks.mixup.alpha=1"]) == (
        ["a=1", "~tricks.mixup"],
        [("mixup", "alpha", 1)],
    )


def test_two_rows_of_one_run_are_refused(compose):
    whole, real = (arm(str(alpha), tricks={"mixup": {"alpha": alpha}}) for alpha in (1, 1.0))
    plan = make_plan([whole, real], [0, 1], [], compose)
    assert {run.label for run in plan.runs} == {"1"}
    assert plan.impossible == {"1.0": "it is the run of '1' in every setting: change one of the two, or leave one out"}


def test_arms_that_conflict_or_do_not_exist_yet_are_named_and_the_others_planned(compose):
    both = arm("both", tricks={"resnet_b": {}, "resnet_d": {}})
    plan = make_plan([both, ARMS[0], arm("later", needs=("distill",))], [0], [], compose)
    assert [run.label for run in plan.runs] == ["baseline"]
    assert "both set" in plan.impossible["both"]
    assert plan.needs == {"later": "distill"}


def test_states_and_time_come_from_the_store(compose, store):
    plan = make_plan(ARMS, [0], [], compose)
    assert seconds_from_records(plan, store) is None
    assert set(states(plan, store).values()) == {RunState.MISSING}
    record = execute(plan.runs[0].settings, Quiet(), "")
    assert states(plan, store)[plan.runs[0].id] is RunState.DONE
    assert seconds_from_records(plan, store) == record.cost.wall_seconds
    longer = make_plan(ARMS, [0], ["epochs=7"], compose)
    assert seconds_from_records(longer, store) is None
    store.write_record(replace(record, config={"data": []}))
    assert seconds_from_records(plan, store) is None
    (store.folder(record.id) / "record.json").write_text("{}", encoding="utf-8")
    assert state_of(replace(plan.runs[0], evaluation="small_c"), store) is RunState.DONE  # the table names it


def test_without_like_records_a_few_steps_are_timed(compose):
    short, long = (make_plan(ARMS[:1], [0], [f"epochs={n}"], compose).runs[0] for n in (1, 40))
    assert 0 < seconds_from_steps(short) < seconds_from_steps(long)


def test_a_study_is_written_down_with_its_runs(compose, store):
    plan = make_plan(ARMS, [0, 1], [], compose)
    path = save_study(store, "bag/table-laptop", plan, {"title": "a title"})
    study = json.loads(path.read_text())
    assert study["title"] == "a title"
    assert study["arms"][2]["runs"] == {str(run.seed): run.id for run in plan.runs if run.label == "d"}
    assert study_names(store) == ["bag/table-laptop"]
    with pytest.raises(UserError, match="has more than 200 bytes: type a shorter one"):
        save_study(store, "写" * 70, plan, {})


def test_a_hyper_parameter_of_a_trick_that_no_arm_has_is_refused(compose):
    with pytest.raises(UserError, match=r"tricks\.cutmix\.alpha=1\.0: no arm has the trick 'cutmix'; leave it out"):
        make_plan(ARMS, [0], ["tricks.cutmix.alpha=1"], compose)


def test_the_later_of_two_values_of_a_setting_is_an_arms_own():
    given = ["epochs=2", "+refine=[cosine]", "data.root=a", "+refine=[mixup]", "epochs=3", "~data.root"]
    assert latest(given) == ["+refine=[cosine]", "+refine=[mixup]", "epochs=3", "~data.root"]
