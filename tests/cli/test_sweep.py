"""bot-sweep and the tables of studies, as a user runs them, on the digits."""

import csv
import io
import json
import shlex
from pathlib import Path

import pytest

from bagoftricks.cli.folding import extended_arguments
from bagoftricks.cli.sweep_arguments import parse, split_tricks
from bagoftricks.errors import UserError
from bagoftricks.report.study_parts import load_study
from bagoftricks.store.store import Store
from bagoftricks.study.arms import Arm
from bagoftricks.study.overrides import latest
from bagoftricks.study.plan import Plan, save_study
from tests.cli.test_commands import FAST, one_line

EMPTY = Plan((Arm(label="baseline"),), (0,), (), {}, {})
SWEEP = ["design=one_at_a_time", "tricks=[mixup,cosine]", "slots=0", *FAST]


def test_a_study_is_trained_once_and_tabulated_in_every_format(bot, tmp_path):
    done = bot("bot-sweep", *SWEEP)
    assert done.status == 0
    assert "3 runs: 0 finished before, 3 to train" in done.err
    assert "one seed" in done.out
    assert "±" not in done.out.partition("data:")[0]
    assert "made by: bot-sweep design=one_at_a_time" in done.out
    again = bot("bot-sweep", *SWEEP)
    assert "3 runs: 3 finished before, 0 to train" in again.err
    assert again.out == done.out
    more = bot("bot-sweep", *SWEEP, "seeds=2")
    assert "6 runs: 3 finished before, 3 to train" in more.err
    assert "±" in more.out

    def table(style):
        return bot("bot-table", "study=one_at_a_time", f"format={style}").out

    assert "MACs" not in bot("bot-table", "study=one_at_a_time", "columns=[top1,top5]").out.partition("data:")[0]
    assert "did you mean 'params'" in one_line(bot("bot-table", "study=one_at_a_time", "columns=[parms]"))
    rows = json.loads(table("json"))["rows"]
    assert [(row["label"], row["n"]) for row in rows] == [("baseline", 2), ("mixup", 2), ("cosine", 2)]
    assert rows[1]["comparison"]["against"] == "baseline"
    assert "| mixup " in table("markdown")
    assert "\\toprule" in table("latex")
    flat = list(csv.DictReader(io.StringIO(table("csv"))))
    assert float(flat[1]["top1"]) == pytest.approx(rows[1]["values"]["top1"]["mean"])


def test_a_worker_leaves_to_others_what_they_train(bot, tmp_path):
    study = [*SWEEP, "name=my study", f"store={tmp_path / 'there'}"]
    runs = json.loads(bot("bot-sweep", *study, "plan=true", "format=json").out)["runs"]
    with Store(tmp_path / "there").claim(runs[1]["id"]):
        done = bot("bot-sweep", *study, "worker=true")
        assert (done.status, done.out) == (0, "")
        last = "2 of 3 runs are done, others train the last 1: bot-table 'study=my study' store="
        assert last in done.err.splitlines()[-1]
    words = shlex.split(done.err.splitlines()[-1].partition("the last 1: ")[2].removesuffix(" shows the table"))
    assert "one_at_a_time of mixup, cosine" in bot(*words).out
    assert "one_at_a_time of mixup, cosine" in bot("bot-sweep", *study, "worker=true").out


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        (["time_limit=5"], "time_limit= ends a run's own process: leave slots=0 out"),
        (["engine=slurm"], "slots=0 trains in this process: leave it out with engine=slurm"),
        (["engine=lokal"], "there is no engine 'lokal'; did you mean 'local'?"),
        (["engine.slots_per_device=0"], "engine.slots_per_device=0: must be at least 1"),
        (["hydra/launcher=submitit_slurm"], "is for bot-train -m; type engine=slurm"),
        (["hydra.sweep.dir=x"], "is for bot-train -m; leave it out"),
    ],
)
def test_an_engine_that_cannot_be_as_typed_is_one_line_before_anything_is_planned(bot, typed, error):
    assert error in one_line(bot("bot-sweep", *SWEEP, *typed))


def test_the_help_has_each_engine_with_its_settings(bot):
    page = bot("bot-sweep", "--help", "engines").out
    assert all(f"engine={name} " in page for name in ("local", "slurm", "ray"))
    assert "worker=" in page
    assert "engine.slots_per_device=1" in bot("bot-sweep", "--help", "local").out


def test_a_plan_starts_nothing(bot, tmp_path):
    done = bot("bot-sweep", *SWEEP, "plan=true", "seeds=2")
    assert "6 runs, 6 to train" in done.out
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").rglob("record.json"))
    plan = json.loads(bot("bot-sweep", *SWEEP, "plan=true", "format=json").out)
    assert [row["state"] for row in plan["runs"]] == ["missing"] * 3


def test_a_failed_run_stops_no_other_and_is_tried_again_when_asked(bot):
    sweep = [*SWEEP, "lr=1e30"]
    done = bot("bot-sweep", *sweep)
    assert done.status == 1
    assert "3 runs failed; retry=failed trains them again" in done.err
    told = "3 runs: 0 finished before, 3 failed before (retry=failed trains them again), 0 to train"
    assert told in bot("bot-sweep", *sweep).err
    assert "3 to train" in bot("bot-sweep", *sweep, "retry=failed").err


def test_a_damaged_record_is_named_by_a_sweep_that_goes_on_without_it(bot, tmp_path):
    sweep = ["bot-sweep", "design=one_at_a_time", "tricks=[mixup]", "slots=0", *FAST]
    assert bot(*sweep).status == 0
    record = next(tmp_path.rglob("record.json"))
    record.write_text("{}", encoding="utf-8")
    done = bot(*sweep)
    assert done.status == 1
    left_out = f"left out: {record.relative_to(tmp_path)} is not a record"
    assert left_out in done.out
    assert left_out in done.err
    assert left_out in bot("bot-table", "study=one_at_a_time", "format=csv").err


def test_a_study_that_replaces_another_of_its_name_says_so(bot):
    study = ["design=one_at_a_time", *FAST, "slots=0"]
    assert "had other arms" not in bot("bot-sweep", *study, "tricks=[cosine]").err
    assert "(baseline, cosine): it is replaced" in bot("bot-sweep", *study, "tricks=[mixup]").err
    assert "had other arms" not in bot("bot-sweep", *study, "tricks=[mixup,label_smoothing]").err


def test_arms_that_conflict_are_reported_before_anything_starts(bot):
    arms = "tricks=[baseline,resnet_b,resnet_d,resnet_b+resnet_d]"
    sweep = ["design=arms", arms, "slots=0", *latest([*FAST, "model.depths=[1,1]"])]
    done = bot("bot-sweep", *sweep)
    assert done.status == 2
    assert "arm 'resnet_b + resnet_d' cannot run: tricks 'resnet_b' and 'resnet_d' both set" in done.err
    assert "1 of 4 arms cannot run (above); skip=true runs the others" in done.err
    assert "3 runs, 3 to train" in bot("bot-sweep", *sweep, "skip=true", "plan=true").out


def test_a_factorial_with_a_conflict_is_refused_before_it_is_made(bot):
    done = bot("bot-sweep", "design=factorial", "tricks=[resnet_b,resnet_d,cosine]", "plan=true", "skip=true", *FAST)
    assert done.status == 2
    assert one_line(done).startswith("bot-sweep: cannot be on together: 'resnet_b' with 'resnet_d' (both set part")
    typed = "'tricks=[resnet_b|resnet_d,cosine]'"
    assert typed in done.err
    assert "6 runs, 6 to train" in bot("bot-sweep", "design=factorial", typed[1:-1], "plan=true", *FAST).out


def test_no_arm_of_crossed_factors_is_skipped(bot, monkeypatch):
    """Only sets of three and more are found when all arms are planned."""
    monkeypatch.setattr("bagoftricks.study.conflicts.require_compatible", lambda *args, **kwargs: None)
    done = bot("bot-sweep", "design=factorial", "tricks=[resnet_b,resnet_d]", "plan=true", "skip=true", *FAST)
    assert done.status == 2
    assert "1 of 4 arms cannot run (above), and a factorial design without them has no balance" in done.err


def test_a_factorial_prints_its_effects(bot):
    out = bot("bot-sweep", "design=factorial", "tricks=[mixup,cosine]", "seeds=2", "slots=0", *FAST).out
    assert "mixup x cosine" in out
    assert "share of the whole gain" in out


def test_a_study_is_compared_in_the_score_that_was_typed(bot):
    made = bot("bot-sweep", "design=one_at_a_time", "tricks=[mixup]", "seeds=2", "slots=0", "score=soft_top1", *FAST)
    assert "soft top-1 difference [95 %]" in made.out
    assert "differences in soft top-1 points" in bot("bot-table", "study=one_at_a_time", "format=text").out
    wrong = bot("bot-sweep", "design=one_at_a_time", "tricks=[mixup]", "score=softy", *FAST)
    assert (wrong.status, wrong.out) == (2, "")
    assert "score=softy: runs are not compared in that" in wrong.err


OWN_TABLE = """\
title: Mine
source: me
columns: [top1]
score: soft_top1
resolve: 2
scales: {laptop: [preset=digits]}
rows:
  - {label: baseline, tricks: {}}
  - {label: + mixup, tricks: {mixup: {}}}
"""


def test_an_experiment_says_what_its_arms_are_compared_in(bot, tmp_path):
    (tmp_path / "mine.yaml").write_text(OWN_TABLE, encoding="utf-8")
    out = bot("bot-sweep", f"experiment={tmp_path}/mine.yaml", "seeds=2", "slots=0", *FAST).out
    assert "differences in soft top-1 points" in out
    assert "no effect: an interval within 2 points either way" in out
    (tmp_path / "mine.yaml").write_text(OWN_TABLE.replace("soft_top1", "softy"), encoding="utf-8")
    assert "score=softy: runs are not compared in that" in bot("bot-sweep", f"experiment={tmp_path}/mine.yaml").err


def test_a_plan_says_what_the_study_will_see(bot):
    shown = bot("bot-sweep", "design=one_at_a_time", "tricks=[mixup]", "seeds=3", "plan=true", *FAST).out
    assert "3 seeds will see differences of " in shown
    assert "as no like run is known" in shown


@pytest.mark.parametrize("resolve", ["0", "-1", "inf", "nan", "much"])
def test_a_difference_that_matters_is_above_zero(bot, resolve):
    refused = bot("bot-table", "study=made", f"resolve={resolve}")
    assert (refused.status, refused.out) == (2, "")
    assert f"resolve={resolve}: must be " in refused.err


HALF = ["design=fractional", "tricks=[mixup,cosine,label_smoothing]", "runs=4"]


def test_a_fraction_is_folded_under_its_name_without_training_a_run_twice(bot, tmp_path):
    made = bot("bot-sweep", *HALF, "name=half", "slots=0", *FAST)
    assert "mixup = -cosine x label_smoothing" in made.out
    done = bot("bot-sweep", "extend=half", "fold=all", "slots=0")
    assert "8 runs: 4 finished before, 4 to train" in done.err
    assert "had other arms" not in done.err
    assert "fold=all: 4 arms, then 4 more with every factor switched" in done.out
    assert "mixup = " not in done.out  # the full factorial
    again = bot("bot-sweep", "extend=half", "fold=all", "slots=0")
    assert "8 runs: 8 finished before, 0 to train" in again.err
    assert "8 finished before" in bot("bot-sweep", "extend=half", "runs=8", "slots=0").err
    study = load_study(Store(tmp_path / "results" / "runs"), "half")
    assert study.seeds == (0,)
    assert [len(arm.on) for arm in study.arms] == [0, 2, 2, 2, 3, 1, 1, 1]
    words = shlex.split(study.command)
    assert words[-2:] == ["fold=[all]", "name=half"]
    planned = bot(*words, "plan=true", "format=json", "store=elsewhere")
    assert [row["id"] for row in json.loads(planned.out)["runs"]] == [arm.runs["0"] for arm in study.arms]


def test_an_experiment_with_a_design_is_the_study_of_the_typed_design(bot, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "{title: Mine, source: me, columns: [top1], scales: {laptop: []},"
        " design: {name: fractional, tricks: [mixup, cosine, label_smoothing], runs: 4}}"
    )
    bot("bot-sweep", *HALF, "slots=0", *FAST)
    done = bot("bot-sweep", "experiment=mine.yaml", "slots=0", *FAST)
    assert "4 runs: 4 finished before, 0 to train" in done.err
    store = Store(tmp_path / "results" / "runs")
    typed, ours = (load_study(store, name) for name in ("fractional", "mine.yaml-laptop"))
    assert (ours.design, ours.factors, ours.title) == (typed.design, typed.factors, "Mine")
    assert [(arm.on, arm.runs) for arm in ours.arms] == [(arm.on, arm.runs) for arm in typed.arms]
    refused = bot("bot-sweep", "experiment=mine.yaml", "skip=mixup", *FAST)
    assert "mine.yaml is a design, whose arms belong together" in one_line(refused)
    (tmp_path / "at_odds.yaml").write_text(
        "{title: Mine, source: me, columns: [top1], scales: {laptop: []},"
        " design: {name: factorial, tricks: [cosine, linear_decay]}}"
    )
    refused = bot("bot-sweep", "experiment=at_odds.yaml", "slots=0", *FAST)
    assert "cannot be on together: 'cosine' with 'linear_decay'" in one_line(refused)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            ["extend=half", "page=half.html"],
            "extend=half: type fold=FACTOR or fold=all, or runs= as the number of arms; for more seeds, ",
        ),
        (["extend=half", "fold=all", "runs=8"], "extend=half: type fold=FACTOR or fold=all, or runs="),
        (
            ["extend=half", "fold=all", "seeds=5"],
            "seeds= is the study's own: leave it out, or type the study's command",
        ),
        (["extend=half", "fold=all", "tricks=[ema]"], "tricks= is the study's own: leave it out"),
        (["extend=half", "fold=all", "lr=0.1"], "lr= is the study's own: leave it out"),
        (["extend=hlaf", "fold=all"], "holds no study 'hlaf'; did you mean 'half'?"),
        (["extend=half", "fold=ema"], "fold=ema: there is no such factor (mixup, cosine, label_smoothing, all)"),
        (["extend=half", "runs=12"], "runs=12: a study of 4 arms is folded to 8 or 16; give runs=8"),
        (["extend=stack", "fold=all"], "extend=stack: the study has design=stack: only one of design=fractional is"),
        (
            ["extend=paper", "fold=all"],
            "extend=paper: the study is that of an experiment: only one of design=fractional",
        ),
        (["extend=page", "fold=all"], "extend=page: the study was made by bot-sweep from=page.html: type its tricks="),
        (["design=stack", "tricks=[mixup]", "fold=all"], "fold=[all] is for the design 'fractional', not for 'stack'"),
    ],
)
def test_what_cannot_be_folded_is_refused(bot, arguments, why):
    store = Store("results/runs")
    for name, command in {"half": shlex.join(["bot-sweep", *HALF]), "page": "bot-sweep from=page.html"}.items():
        save_study(store, name, EMPTY, {"design": "fractional", "command": command})
    save_study(store, "stack", EMPTY, {"design": "stack", "command": "bot-sweep design=stack 'tricks=[mixup]'"})
    save_study(store, "paper", EMPTY, {"command": "bot-sweep experiment=bag_of_tricks/table5"})
    done = bot("bot-sweep", *arguments)
    assert (done.status, done.out) == (2, "")
    assert why in one_line(done)


def test_the_plug_ins_of_a_folded_study_are_typed_again_and_stay_in_its_command(bot):
    words = "bot-sweep plugins=[mine.py] --config-dir there design=fractional tricks=[mixup,cosine,sam] plan=true"
    save_study(Store("."), "mine", EMPTY, {"design": "fractional", "command": words})
    typed = ["extend=mine", "fold=sam", "store=.", "slots=4"]
    assert extended_arguments(parse(typed), typed) == [
        *shlex.split(words)[1:-1],
        "store=.",
        "slots=4",
        "fold=[sam]",
        "name=mine",
    ]


def test_an_experiment_shows_the_papers_numbers_beside_ours(bot):
    small = ["epochs=1", "data=digits", "image_size=8", "data.pad=1", "model.width=4", "batch_size=256", "slots=0"]
    done = bot("bot-sweep", "experiment=bag_of_tricks/table5", "scale=laptop", *small)
    assert done.status == 0
    assert "77.16" in done.out
    assert "scale: laptop" in done.out
    shown = bot("bot-table", "experiment=bag_of_tricks/table5", "format=markdown")
    assert "| ResNet-50-D " in shown.out
    assert bot("bot-table", "experiment=bag_of_tricks/table5", "scale=paper").status == 2


def test_rows_that_need_what_is_not_made_yet_are_reported(bot):
    head = "{title: mine, source: me, columns: [top1], scales: {laptop: []}, "
    table = head + "rows: [%s{label: star, tricks: {stardust: {}}}]}"
    Path("mine.yaml").write_text(table % "")
    done = bot("bot-sweep", "experiment=mine.yaml", "plan=true", *FAST)
    assert done.status == 2
    assert done.err.splitlines()[-1] == "bot-sweep: no arm of mine.yaml can run yet (above)"
    Path("mine.yaml").write_text(table % "{label: base, tricks: {}}, ")
    some = bot("bot-sweep", "experiment=mine.yaml", "plan=true", "format=json", *FAST)
    assert some.status == 0
    assert "arm 'star' needs stardust, not made yet" in some.err
    assert [row["state"] for row in json.loads(some.out)["runs"]] == ["missing", "needs stardust"]


def test_a_sweep_gives_its_teacher_to_the_arms_that_have_one(bot, tmp_path):
    assert bot("bot-train", *FAST).status == 0
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    sweep = ["design=arms", "tricks=[cosine,cosine+distill,mixup+distill(mode=offline)]", "slots=0", *FAST]
    refused = bot("bot-sweep", *sweep)
    assert refused.status == 2
    assert refused.err.count("cannot run: tricks.distill.teacher is not set: name the network to learn from") == 2
    teacher = f"tricks.distill.teacher=run:{folder.name[:12]}"
    done = bot("bot-sweep", *sweep, teacher, "format=json")
    assert done.status == 0
    assert "3 runs: 0 finished before, 3 to train" in done.err
    records = [json.loads(path.read_text()) for path in (tmp_path / "results" / "runs").glob("*/record.json")]
    taught = [record for record in records if "teacher" in record["data"]]
    assert [record["data"]["teacher"]["run"] for record in taught] == [folder.name] * 2
    assert all("distill" not in record["config"]["tricks"] for record in records if record not in taught)
    again = bot(*shlex.split(taught[0]["command"]))
    assert "is finished" in again.err
    assert "0 to train" in bot("bot-sweep", *sweep, teacher).err


@pytest.mark.slow
def test_the_papers_table_of_refinements_takes_a_teacher(bot, train_once, monkeypatch):
    monkeypatch.setattr("bagoftricks.study.estimate.seconds_from_steps", lambda run: 60.0)
    teacher = train_once(*FAST)["id"]
    table = ["experiment=bag_of_tricks/table6", "scale=laptop", f"tricks.distill.teacher=run:{teacher}"]
    small = ["data=digits", "image_size=8", "data.pad=1", "batch_size=256", "model.width=4", "skip=true"]
    small += ["plan=true", "format=json"]
    rows = {row["arm"]: row for row in json.loads(bot("bot-sweep", *table, *small).out)["runs"]}
    assert rows["ResNet-50-D, + distill w/ mixup"]["state"] == "missing"
    assert "distill" not in rows["ResNet-50-D, + mixup w/o distill"]["tricks"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to sweep: type experiment=NAME"),
        (["design=stak", "tricks=[mixup]"], "stack"),
        (["design=stack", "tricks=[mixpu]"], "did you mean 'mixup'"),
        (["design=stack", "tricks=[]"], "tricks"),
        (["design=stack", "tricks=[mixup]", "seeds=0"], "seeds is empty: type seeds=3"),
        (["design=stack", "tricks=[mixup]", "seeds=[1,1]"], "a seed is given twice"),
        (["design=stack", "tricks=[mixup]", "slots=many"], "slots=many: must be a whole number"),
        (["design=stack", "tricks=[mixup]", "retry=all"], "retry=all: must be failed or none"),
        (["design=stack", "tricks=[mixup]", "seed=1"], "type seeds=3"),
        (["design=stack", "tricks=[mixup]", "rerun=true"], "rerun= is for one run"),
        (["design=stack", "tricks=[mixup]", "epoch=1"], "did you mean 'epochs=1'"),
        (["design=stack", "tricks=[mixup]", "scale=paper"], "scale= belongs to experiment="),
        (["experiment=page/ladder", "tricks=[mixup]"], "tricks= belongs to design=: leave it out"),
        (["design=stack", "tricks=[mixup]", "floor=3"], "floor= belongs to design=greedy: leave it out"),
        (["design=stack", "tricks=[mixup]", "+max_arms=1"], "the design 'stack' has 2 arms, more than max_arms=1"),
        (["design=stack", "tricks=[mixup]", "--plan"], "'--plan' is not key=value; did you mean 'plan='?"),
        (["experiment=bag_of_tricks/table55"], "did you mean"),
        (["experiment=bag_of_tricks/table5", "design=stack"], "leave design= out"),
    ],
)
def test_wrong_input_is_one_line(bot, unchecked, arguments, message):
    assert message in one_line(bot("bot-sweep", *arguments))


def test_commas_within_parentheses_belong_to_a_trick():
    assert split_tricks("[a,b(x=1,y=2), c]") == ["a", "b(x=1,y=2)", "c"]


def test_what_is_not_the_sweeps_own_goes_to_the_runs():
    sweep = parse(["design=stack", "tricks=[mixup]", "seeds=[4,2]", "data=cifar10", "~tricks.mixup"])
    assert sweep.overrides == ("data=cifar10", "~tricks.mixup")
    assert sweep.seeds == (4, 2)
    with pytest.raises(UserError, match="is not key=value"):
        parse(["stack"])


def test_a_study_can_be_judged_by_the_time_to_an_accuracy(bot):
    sweep = [*SWEEP, "seeds=2", "target=0.01", "price_per_hour=3600"]
    rows = json.loads(bot("bot-sweep", *sweep, "format=json").out)["rows"]
    assert all(row["reached"] == [2, 2] for row in rows)
    spent = rows[0]["values"]
    assert spent["train_cost"]["mean"] == pytest.approx(spent["time_to_accuracy"]["mean"])  # one per second
    shown = bot("bot-table", "study=one_at_a_time", "target=0.999").out
    assert "not reached (0 of 2)" in shown
    assert "(2 of 2)" in bot("bot-table", "study=one_at_a_time").out  # the study's own target
    assert "target=94: must be in (0, 1)" in bot("bot-table", "study=one_at_a_time", "target=94").err
    assert "target=x: must be a number" in bot("bot-table", "study=one_at_a_time", "target=x").err


def test_a_run_says_when_it_reached_an_accuracy(bot):
    done = bot("bot-train", *FAST, "metric=time_to_accuracy", "target=0.01", "price_per_hour=2")
    assert "s to 1 %" in done.out
    assert "cost of 10,000 predictions" in done.out
    missed = bot("bot-train", *FAST, "metric=time_to_accuracy", "target=0.999")
    assert "baseline: never at 99.9 %" in missed.out
    assert bot("bot-train", *FAST, "target=94").status == 2
