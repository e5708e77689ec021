"""Studies that end by themselves: with scores as given, and on the digits."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from bagoftricks.cli.sweep_arguments import parse
from bagoftricks.cli.sweep_looks import ending, look_line, train_in_looks
from bagoftricks.errors import UserError
from bagoftricks.report.study_notes import study_notes
from bagoftricks.report.study_results import load_results
from bagoftricks.store.json_fields import sealed_text, unsealed
from bagoftricks.store.store import Store
from bagoftricks.study.arms import Arm
from bagoftricks.study.look_history import former_looks
from bagoftricks.study.plan import Plan, PlannedRun, save_study
from tests.cli.test_commands import FAST
from tests.store.test_store import record

LOOKS = (3, 5, 8)


class Trained:
    """Study whose runs are finished with the scores of a table, and what was asked of it."""

    def __init__(self, folder, shifts, stop=None, noise=0.4, factors=None):
        """``shifts``: of each arm, in points."""
        self.about = {"command": "bot-sweep", "resolve": 1.0, **(factors or {})}
        self.store, self.name, self.stop = Store(folder), "s", stop
        self.scores = 70 + noise * np.random.default_rng(1).standard_normal((len(shifts), 8))
        self.scores += np.array(list(shifts.values()))[:, None]
        on = dict.fromkeys(shifts, ()) | {
            label: tuple(label.split("+")) for label in shifts if factors and label != "base"
        }
        crossed = factors is not None
        arms = tuple(Arm(label=a, compare_to=None if crossed or a == "base" else "base", on=on[a]) for a in shifts)
        runs = [PlannedRun(a.label, s, f"{at}-{s}", None, "") for at, a in enumerate(arms) for s in range(8)]
        self.plan = Plan(arms, tuple(range(8)), tuple(runs), {}, {})
        self.missing = ()

    def train(self, plan, looks):
        save_study(self.store, self.name, plan, {**self.about, **asdict(looks)})
        labels = [arm.label for arm in plan.arms]
        for run in plan.runs:
            if run.id not in self.missing and not self.store.record(run.id):
                top1 = self.scores[labels.index(run.label), run.seed]
                self.store.write_record(record(id=run.id, seed=run.seed, metrics={"top1": top1}, config={"data": {}}))
        save_study(self.store, self.name, plan, {**self.about, **asdict(looks.after(len(plan.seeds)))})
        return list(plan.runs)

    def grow(self):
        looks = former_looks(self.store, self.name, self.plan).planned(LOOKS)
        train_in_looks(self.plan, looks, self.store, self.name, self.train, stop=self.stop)
        saved = load_results(self.store, self.name)
        return {label: len(of) for label, of in saved.records.items()}, saved.study


EACH = {"base": 0, "up": 9, "down": -9, "close": 0.5}


def test_an_arm_stops_once_it_is_decided_and_the_baseline_when_all_are(tmp_path, capsys):
    counts, study = Trained(tmp_path, EACH).grow()
    assert counts == {"base": 5, "up": 3, "down": 3, "close": 5}
    assert (study.looks, study.judged, study.seeds) == (LOOKS, 5, (0, 1, 2, 3, 4))
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        "bot-sweep: look 1 of 3, 3 seeds: helps: up; hurts: down; undecided: close. "
        "2 of 4 arms go on: 12 runs so far, 22 at most"
    )
    assert second == (
        "bot-sweep: look 2 of 3, 5 seeds: helps: up; hurts: down; no effect: close. All is decided with 16 runs"
    )


def test_no_arm_stops_before_all_are_decided_if_asked(tmp_path):
    counts, _ = Trained(tmp_path, EACH, stop="study").grow()
    assert counts == dict.fromkeys(EACH, 5)


def test_what_no_look_decides_has_all_seeds_and_an_arm_that_never_finishes_is_given_up(tmp_path, capsys):
    trained = Trained(tmp_path, {"base": 0, "never": 0, "close": 0.5}, noise=0.8)
    trained.missing = {f"1-{seed}" for seed in range(8)}
    finish = trained.train

    def train(plan, looks):
        for run in plan.runs:
            if run.id in trained.missing:
                trained.store.mark_failed(run.id, "out of memory", "")
        return finish(plan, looks)

    trained.train = train
    counts, study = trained.grow()
    assert counts == {"base": 8, "never": 0, "close": 8}
    assert [len(arm.runs) for arm in study.arms] == [8, 3, 8]
    assert capsys.readouterr().err.splitlines()[-1].endswith("undecided: close. All seeds are trained: 19 runs")


def test_verdicts_of_each_look_share_the_error(tmp_path):
    trained = Trained(tmp_path, EACH)
    trained.grow()
    results = load_results(trained.store, "s")
    assert 0.05 > results.alpha > 0.015
    fixed = [results.compared_in(results.score)[label] for label in ("up", "close")]
    once = load_results(trained.store, "s")
    once.__dict__["alpha"] = 0.05
    for wide, narrow in zip(fixed, (once.compared_in(once.score)[label] for label in ("up", "close")), strict=True):
        assert wide.high - wide.low > 1.1 * (narrow.high - narrow.low)


def test_an_interrupted_study_goes_on_where_it_was(tmp_path, capsys):
    trained = Trained(tmp_path, EACH)
    trained.missing = {"3-4"}
    counts, study = trained.grow()
    assert (counts["close"], study.judged) == (4, 5)
    assert len(capsys.readouterr().err.splitlines()) == 1
    trained.missing = ()
    counts, study = trained.grow()
    assert counts == {"base": 5, "up": 3, "down": 3, "close": 5}


def test_all_runs_of_a_factorial_go_on_until_its_main_effects_are_decided(tmp_path, capsys):
    shifts = {"base": 0, "a": 0.9, "b": 9, "a+b": 9.9}
    factors = {"design": "factorial", "factors": [["a"], ["b"]]}
    counts, _ = Trained(tmp_path, shifts, noise=0.5, factors=factors).grow()
    assert len(set(counts.values())) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "look 1 of 3, 3 seeds: helps: b; undecided: a. All arms go on: 12 runs so far, 32 at most" in lines[0]
    assert "helps: a, b" in lines[-1]


def test_a_table_says_what_looks_cost(tmp_path):
    trained = Trained(tmp_path, EACH)
    assert trained.grow()
    results = load_results(trained.store, "s")
    need = f"a verdict needs p <= {results.alpha:.3g} in place of 0.05, and 95 % intervals hold at all looks together"
    assert f"looks: judged with 3 and 5 seeds, planned with 8 seeds: {need}" in study_notes(results)
    path = trained.store.shared("studies") / "s.json"
    for looks, judged, told in (((3,), 3, None), ((), 0, None), ((3, 5), 5, "looks: judged with 3 and 5 seeds: ")):
        saved = unsealed(json.loads(path.read_text()))[0] | {"looks": looks, "judged": judged}
        path.write_text(sealed_text(saved))
        notes = study_notes(load_results(trained.store, "s"))
        assert [note.startswith(str(told)) for note in notes if note.startswith("looks")] == [True] * (told is not None)
    path.write_text(sealed_text(saved | {"looks": [5, 3]}))
    with pytest.raises(UserError, match="looks must ascend"):
        load_results(trained.store, "s")


def test_words_of_looks():
    names = {f"arm{number}": "undecided: sees 3 points" for number in range(10)}
    assert look_line((3, 5), 3, names).endswith("undecided: arm0, arm1, arm2, arm3, arm4, arm5, arm6, arm7, 2 more")
    assert look_line((5, 8), 4, {"a": "identical"}) == "4 seeds: undecided: a"
    assert ending(0, 4, 12, 0) == "All is decided with 12 runs"


def test_seeds_that_are_added_by_hand_are_a_look(bot):
    study = ["design=one_at_a_time", "tricks=[mixup]", "slots=0", *FAST]
    assert "looks:" not in bot("bot-sweep", *study, "seeds=2").out
    once = bot("bot-sweep", *study, "seeds=2..3", "resolve=0.001")
    assert "look 2 of 2, 3 seeds" in once.err
    assert "All seeds are trained: 6 runs" in once.err
    assert "looks: judged with 2 and 3 seeds: a verdict needs p <= 0.0" in once.out


def test_a_plan_names_its_looks_and_how_many_runs_there_are(bot):
    done = bot("bot-sweep", "design=one_at_a_time", "tricks=[mixup,cosine]", "seeds=3..20", "plan=true", *FAST)
    assert done.err.endswith("bot-sweep: judged at 3, 5, 8, 12 and 20 seeds: 9 to 60 runs\n")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["seeds=3.."], "seeds=3..: must be the fewest and the most seeds, as seeds=3..20"),
        (["seeds=8..3"], "must go up, from 2 seeds or more"),
        (["seeds=1..3"], "one has no spread"),
        (["seeds=3..2000"], "seeds=2000: must be between 0 and 1000"),
        (["seeds=3", "stop=arm"], "stop= is for a study that ends by itself: add seeds=3..20"),
        (["seeds=3..5", "stop=arms"], "stop=arms: must be arm or study; did you mean 'arm'?"),
        (["seeds=3..5", "resolve=none"], "resolve=none: must be a number"),
        (["seeds=3..5", "design=greedy"], "with design=greedy, type seeds=3"),
    ],
)
def test_what_no_study_can_end_by_is_refused(typed, told):
    with pytest.raises(UserError) as refused:
        parse(["design=stack", "tricks=[mixup]", *typed] if "design=greedy" not in typed else typed)
    assert told in str(refused.value)
