"""Searches: hyper-parameters that Hydra's sweepers choose by a result of the earlier runs."""

import csv
import json
import math
import sys
from dataclasses import replace
from types import ModuleType
from typing import ClassVar

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

from bagoftricks.cli.search import search_arguments, sweeper_of
from bagoftricks.errors import UserError
from bagoftricks.report.objective import better_if_higher, objective_value, objectives, require_objective, worst_value
from bagoftricks.settings import CorruptionSettings, Settings
from bagoftricks.store.record import Scores
from tests.cli.test_commands import one_line
from tests.store.test_store import record

FAST = ["epochs=1", "model.depths=[1]", "model.width=4", "runtime.device=cpu", "runtime.progress=false"]
OPTUNA = ["-m", "hydra/sweeper=optuna"]


def ran(**cost):
    made = record()
    last, average = replace(made.metrics["last"], top1=50.0), Scores(top1=60.0, top5=90.0, loss=None, ece=3.0)
    return replace(made, metrics={"last": last, "ema": average}, cost=replace(made.cost, **cost))


def value(name, made=None, **changes):
    return objective_value(made or ran(macs=7), Settings(objective=name, **changes))


def test_the_objective_is_of_the_weight_set_that_is_reported():
    assert value("top1") == 60
    assert value("top1", record()) == record().metrics["last"].top1
    assert value("macs") == 7


def test_a_result_that_is_missing_is_the_worst():
    assert value("loss") == math.inf
    assert value("time_to_accuracy", metric="time_to_accuracy", target=0.99) == math.inf


@pytest.mark.parametrize(
    ("name", "higher"), [("top1", True), ("infer_images_per_s", True), ("loss", False), ("mce", False), ("macs", False)]
)
def test_the_direction_follows_from_the_objective(name, higher):
    assert better_if_higher(name) is higher
    assert worst_value(name) == (-math.inf if higher else math.inf)
    assert search_arguments([*OPTUNA, f"objective={name}"]) == [
        f"hydra.sweeper.direction={'maximize' if higher else 'minimize'}",
        "hydra.sweeper.sampler.seed=0",
    ]


def test_every_result_and_cost_is_an_objective():
    assert {"top5", "ece", "train_seconds", "latency_ms", "params", "time_to_accuracy", "fog"} <= set(objectives())
    with pytest.raises(UserError, match=r"^objective=tpo1: is no result or cost; did you mean 'top1'\?"):
        require_objective(Settings(objective="tpo1"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(objective="mce"), "objective=mce: is of corrupted images: add corruptions=NAME"),
        (Settings(objective="time_to_accuracy"), "objective=time_to_accuracy: add metric=time_to_accuracy"),
    ],
)
def test_an_objective_that_the_run_will_not_have_is_refused(settings, message):
    with pytest.raises(UserError, match=f"^{message}"):
        require_objective(settings)
    require_objective(Settings(objective="mce", corruptions=CorruptionSettings(protocol="small_c")))


def test_what_is_typed_is_kept():
    typed = ["hydra.sweeper.direction=maximize", "hydra.sweeper.sampler.seed=3"]
    assert search_arguments([*OPTUNA, *typed]) == []
    grid = search_arguments([*OPTUNA, "hydra/sweeper/sampler=grid"])  # has no seed
    assert grid == ["hydra.sweeper.direction=maximize"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*OPTUNA, "hydra.sweeper.direction=minimize"], "objective=top1 is better the higher it is: leave"),
        ([*OPTUNA, "hydra.sweeper.direction=maximize", "objective=ece"], "objective=ece is better the lower it is"),
        (["hydra/sweeper=optuna"], "hydra/sweeper=optuna: searches over several runs: type -m as well"),
        (["-m", "lr=interval(0.01,1)"], "only a search takes an interval: type hydra/sweeper=optuna as well"),
        (["lr=interval(0.01,1)"], "interval makes several runs: type -m as well"),
    ],
)
def test_what_is_no_search_is_one_line(bot, arguments, message):
    assert message in one_line(bot("bot-train", *arguments))


def test_a_plain_multirun_is_no_search():
    assert sweeper_of(["-m", "lr=0.1,0.2"]) is None
    assert search_arguments(["-m", "lr=0.1,0.2"]) == []


class Recorder(Sweeper):
    """A sweeper of two jobs that keeps what they returned."""

    returned: ClassVar[list] = []

    def __init__(self, **_): ...

    def setup(self, **facts):
        self.launcher = Plugins.instance().instantiate_launcher(**facts)

    def sweep(self, arguments):
        jobs = [[*arguments, f"batch_size={size}"] for size in (2000, 128)]
        self.returned[:] = [job.return_value for job in self.launcher.launch(jobs, initial_job_idx=0)]


@pytest.fixture
def returned(monkeypatch):
    """What the jobs of ``hydra/sweeper=recorder`` returned to it."""
    pytest.importorskip("hydra_plugins")  # where Hydra looks for sweepers
    module = ModuleType("hydra_plugins.recorder")
    module.Recorder = Recorder
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Recorder, "__module__", module.__name__)
    Plugins.instance().register(Recorder)
    node = {"_target_": "hydra_plugins.recorder.Recorder"}
    ConfigStore.instance().store(group="hydra/sweeper", name="recorder", node=node)
    return Recorder.returned


def test_a_sweeper_receives_the_objective_of_each_run_and_the_worst_of_one_that_fails(bot, returned):
    arguments = ["-m", "hydra/sweeper=recorder", *FAST, "data.limit=200", "objective=loss"]
    done = bot("bot-train", *arguments, "format=json")
    assert (done.status, returned) == (2, [math.inf, json.loads(done.out)["metrics"]["last"]["loss"]])
    said = done.err.splitlines()
    assert "right direction: objective=loss is better the lower it is" in said[0]
    assert "batch_size=2000: there are only 200 training images" in said[2]
    assert "type data.holdout=0.1 to choose by a tenth of the training images" in said[1]
    assert done.err.count("data.holdout=0.1 to") == 1
    assert not bot("bot-train", *arguments[:-1], "objective=macs", "data.holdout=0.1").err.count("data.holdout=0.1 to")


@pytest.mark.slow  # Optuna takes seconds to import
@pytest.mark.filterwarnings("ignore")  # of what Optuna imports
def test_optuna_searches_the_best_trial_on_the_digits(bot, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = [
        *OPTUNA,
        *FAST,
        "hydra.sweeper.n_trials=3",
        "lr=tag(log,interval(0.01,1.0))",
        "batch_size=choice(64,2000)",
    ]
    done = bot("bot-train", *search, "objective=loss", "format=csv")
    assert done.status == 2  # of the worst trial
    lines = done.err.splitlines()
    assert "type data.holdout=0.1" in lines[0]
    failed = [line for line in lines if "batch_size=2000: there are only 1438 training images" in line]
    rows = list(csv.DictReader(done.out.splitlines()))
    assert len(failed) + len(rows) == 3
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses)
    best = yaml.safe_load((tmp_path / "results/runs/multirun/optimization_results.yaml").read_text())
    assert best["best_value"] == losses[0]
    again = bot("bot-train", *search, "objective=loss")
    assert (f"the best of {len(rows)} by loss is partly luck" in again.out) == (len(rows) > 1)
    assert again.err.count("is finished: this is its record") == len(rows)
    last = again.out.splitlines()[-1]
    assert last.startswith(f"best loss: {losses[0]:g} (last): bot-train lr={best['best_params']['lr']} batch_size=64")
