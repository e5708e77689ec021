"""What is logged of a training: the right figures, each once, at no change of any result."""

import csv
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bagoftricks.errors import Interrupted, TrainingFailed, UserError
from bagoftricks.loggers.base import Logger, RunFacts, make_logger
from bagoftricks.recipe.edits import SetOptimizer
from bagoftricks.run import courier as c
from bagoftricks.run.check import check
from bagoftricks.run.execute import execute
from bagoftricks.run.watch import LateNumbers
from bagoftricks.settings import RuntimeSettings, Settings
from bagoftricks.store.steps import STEPS_CSV, StepsFile, last_step, read_steps
from bagoftricks.store.store import Store
from bagoftricks.tricks.catalogue import cards, create
from tests.helpers import advance, make_task, make_trainer
from tests.run.interrupted import Stopping, left_behind, same, tiny

pytestmark = pytest.mark.usefixtures("untimed")
OF_CLOCK = ("images_per_s",)
SOME = ["mixup", "ema", "no_bias_decay", "clip_gradients"]


class Spy(Logger):
    """A logger that keeps what it gets."""

    def __init__(self, *, repeats="nothing", fails=""):
        self.repeats, self.fails, self.facts, self.logged, self.outcomes = repeats, fails, [], [], []

    def start(self, run):
        self.facts.append(run)
        self.fail("start")
        return "see there"

    def log(self, step, figures):
        self.fail("log")
        self.logged.append((step, dict(figures)))

    def finish(self, outcome):
        self.fail("finish")
        self.outcomes.append(outcome)

    def fail(self, where):
        if self.fails == where:
            raise ConnectionError(f"no server\nat {where}")

    def steps(self):
        return [step for step, figures in self.logged if "train/loss" in figures]


@pytest.fixture
def spied(monkeypatch):
    """Put spies in the place of the loggers that a run asks for."""

    def put(*spies):
        monkeypatch.setattr(
            "bagoftricks.run.execute.asked_loggers", lambda _: {f"spy{i}": s for i, s in enumerate(spies)}
        )
        return spies[0]

    return put


def steps_of(store, record):
    return read_steps(Store(store).folder(record.id) / STEPS_CSV)


def timeless(rows):
    return [{key: value for key, value in row.items() if key not in OF_CLOCK} for row in rows]


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A run that logs every fourth of its 22 steps."""
    store = tmp_path_factory.mktemp("logged")
    return store, execute(tiny(store, tricks=SOME, log_every=4), Stopping(), "bot-train")


def test_results_identity_and_record_are_those_of_a_run_that_logs_nothing(tmp_path, logged):
    store, record = logged
    plain = execute(tiny(tmp_path, tricks=SOME), Stopping(), "bot-train")
    assert same(left_behind(tmp_path, plain), left_behind(store, record))
    assert {*plain.config} == {*record.config}
    assert not {"logger", "loggers", "log_every", "log_group"} & {*record.config}
    assert not (Store(tmp_path).folder(plain.id) / STEPS_CSV).exists()


def test_every_nth_step_and_the_last_one_have_a_row(logged):
    rows = steps_of(*logged)
    assert [int(row["step"]) for row in rows] == [4, 8, 12, 16, 20, 22]
    assert [int(row["epoch"]) for row in rows] == [1, 1, 2, 2, 2, 2]
    assert [int(row["images_seen"]) for row in rows] == [16 * step for step in (4, 8, 12, 16, 20, 22)]
    assert list(rows[0]) == ["step", "epoch", "images_seen", "loss", "lr", "grad_norm", "images_per_s"]
    assert all(float(row["images_per_s"]) > 0 for row in rows)


def test_the_figures_are_those_of_the_step(tmp_path, spied, monkeypatch):
    seen = []

    def norm_by_hand(trainer):
        return torch.cat([p.grad.flatten() for p in trainer.model.parameters()]).norm().item()

    class Watching(Stopping):
        def step(self):
            seen.append((self.trainer.optimizer.param_groups[0]["lr"], norm_by_hand(self.trainer)))

    reporter = Watching()
    from bagoftricks.run import execute as module

    make = module.make_trainer
    monkeypatch.setattr(module, "make_trainer", lambda *a, **k: setattr(reporter, "trainer", t := make(*a, **k)) or t)
    spy = spied(Spy())
    record = execute(tiny(tmp_path, tricks=["cosine", "ema"], log_every=1, epochs=1), reporter, "bot-train")
    rows = [figures for _, figures in spy.logged if "train/loss" in figures]
    assert [(row["train/lr"], row["train/grad_norm"]) for row in rows] == [
        (lr, pytest.approx(norm, rel=1e-5)) for lr, norm in seen
    ]
    with open(Store(tmp_path).folder(record.id) / "metrics.csv") as file:
        metrics = {row["weights"]: row for row in csv.DictReader(file)}
    assert sum(row["train/loss"] for row in rows) / len(rows) == pytest.approx(float(metrics["last"]["train_loss"]))
    (step, scores) = spy.logged[-1]
    assert step == 11
    assert {key: scores[f"val/{name}/{key}"] for name in metrics for key in ("top1",)} == {
        "top1": float(metrics["ema"]["top1"])
    }
    assert scores["val/last/loss"] == float(metrics["last"]["loss"])
    assert scores["train/epoch_loss"] == float(metrics["last"]["train_loss"])


@pytest.mark.parametrize("name", [c.name for c in cards() if c.family == "refine"])
def test_every_optimiser_tells_the_log_of_its_step(name):
    if not any(isinstance(edit, SetOptimizer) for edit in create(name).edits(make_task())):
        return
    trainer, steps = make_trainer({name: create(name)}), []
    trainer.optimizer.register_step_pre_hook(lambda *_: steps.append(1))
    advance(trainer, 2)
    assert len(steps) == 2


def test_groups_with_their_own_rates_have_columns(tmp_path):
    record = execute(tiny(tmp_path, tricks=["bias_scale"], log_every=22), Stopping(), "bot-train")
    (row,) = steps_of(tmp_path, record)
    rates = [float(value) for key, value in row.items() if key.startswith("lr_")]
    assert len(rates) > 1
    assert float(row["lr"]) == max(rates)


def test_nothing_is_computed_where_nothing_is_logged(tmp_path, monkeypatch):
    monkeypatch.setattr("bagoftricks.run.run_log.get_total_norm", None)
    monkeypatch.setattr("bagoftricks.run.execute.RunLog", None)
    execute(tiny(tmp_path, epochs=1), Stopping(), "bot-train")


@pytest.mark.parametrize(
    ("repeats", "sent"),
    [("nothing", [16, 20, 22]), ("later", [12, 16, 20, 22]), ("all", [4, 8, 12, 16, 20, 22])],
)
def test_a_run_that_was_killed_logs_each_step_once(tmp_path, spied, logged, repeats, sent):
    """The kill: steps were logged after the last checkpoint, and the last line is not whole."""
    first = spied(Spy())
    settings = tiny(tmp_path, tricks=SOME, log_every=4)
    with pytest.raises(Interrupted):
        execute(settings, Stopping(9), "bot-train")
    assert (first.steps(), first.outcomes) == ([4, 8], ["interrupted"])
    (path,) = tmp_path.glob(f"*/{STEPS_CSV}")
    path.write_text(path.read_text() + "12,2,192,9,9,9,9\n16,2,25")
    second = spied(Spy(repeats=repeats))
    record = execute(settings, Stopping(), "bot-train")
    assert timeless(steps_of(tmp_path, record)) == timeless(steps_of(*logged))
    assert second.steps() == sent
    assert [step for step, figures in second.logged if "val/ema/top1" in figures] == [11, 22]
    assert (second.facts[0].done, second.facts[0].again, second.outcomes) == (9, False, ["done"])


def test_an_evaluation_that_was_logged_is_not_logged_again(tmp_path, spied):
    spied(Spy())
    settings = tiny(tmp_path, log_every=50)
    with pytest.raises(Interrupted):
        execute(settings, Stopping(9), "bot-train")
    (path,) = tmp_path.glob(f"*/{STEPS_CSV}")
    path.with_name("metrics.csv").write_text("epoch,steps\n1,11\n")
    spy = spied(Spy())
    execute(settings, Stopping(), "bot-train")
    assert [step for step, figures in spy.logged if "val/last/top1" in figures] == [22]


def test_a_run_that_is_trained_again_is_logged_again(tmp_path, spied):
    settings = tiny(tmp_path, log_every=11, epochs=1)
    spied(Spy())
    execute(settings, Stopping(), "bot-train")
    spy = spied(Spy())
    execute(replace(settings, rerun=True), Stopping(), "bot-train")
    assert spy.facts[0].again
    assert spy.steps() == [11]
    record = execute(replace(settings, rerun=True, log_every=None), Stopping(), "bot-train")
    assert steps_of(tmp_path, record) == []


def test_a_logger_gets_the_settings_without_secrets(tmp_path, spied):
    spy = spied(Spy())
    settings = tiny(tmp_path, tricks={"mixup": {"alpha": 0.4}}, log_every=50, log_group="study", epochs=1, seed=3)
    record = execute(settings, Stopping(), "bot-train seed=3 loggers.mine.api_key=abcdef")
    facts = spy.facts[0]
    assert (facts.id, facts.label, facts.group, facts.steps) == (record.id, "mixup seed 3", "study", 11)
    assert facts.flat["tricks.mixup.alpha"] == 0.4
    assert facts.flat["data.digest"] == record.data.digest
    assert facts.flat["environment.torch"] == record.environment.torch
    assert (facts.flat["seed"], facts.flat["runtime.device"]) == (3, "cpu")
    assert "abcdef" not in str(facts)


def test_a_logger_that_raises_is_dropped_with_one_warning(tmp_path, spied):
    good = Spy()
    spied(Spy(fails="start"), Spy(fails="log"), Spy(fails="finish"), good)
    reporter = Stopping()
    record = execute(tiny(tmp_path, log_every=2, epochs=1), reporter, "bot-train")
    warnings = [note for note in reporter.notes if note.startswith("warning")]
    dropped = "warning: logger spy{} is dropped, and the run goes on without it: no server"
    assert warnings == [dropped.format(number) for number in range(3)]
    assert good.outcomes == ["done"]
    assert len(good.steps()) == len(steps_of(tmp_path, record)) == 6


class Hanging(Spy):
    def finish(self, outcome):
        time.sleep(30)


def test_a_logger_that_holds_up_the_end_is_left(tmp_path, spied, monkeypatch):
    monkeypatch.setattr(c, "FINISH_SECONDS", 0.1)
    spied(Hanging())
    reporter, began = Stopping(), time.monotonic()
    execute(tiny(tmp_path, log_every=50, epochs=1), reporter, "bot-train")
    assert time.monotonic() - began < 20
    assert sum("holds up the end of the run for more than 0.1 s" in note for note in reporter.notes) == 1


def test_a_logger_that_cannot_keep_up_is_left_and_holds_up_nothing(monkeypatch):
    monkeypatch.setattr(c, "MOST_WAITING", 3)
    courier = c.Courier("slow", SimpleNamespace(log=lambda *_: time.sleep(30)))
    for step in range(6):
        courier.log(step, {})
    assert courier.failure == "it is 3 steps behind"


def test_a_run_that_fails_says_so_to_its_loggers(tmp_path, spied):
    spy = spied(Spy())
    with pytest.raises(TrainingFailed):
        execute(replace(tiny(tmp_path, log_every=1), lr=1e30), Stopping(), "bot-train")
    assert spy.outcomes == ["failed"]
    assert str(spy.logged[-1][1]["train/loss"]) in ("nan", "inf")


def test_other_ranks_log_nothing(tmp_path, spied, monkeypatch):
    spy = spied(Spy())
    monkeypatch.setattr("bagoftricks.distributed.World.leads", False)
    execute(tiny(tmp_path, log_every=1, epochs=1), Stopping(), "bot-train")
    assert spy.facts == []
    assert not list(tmp_path.glob(f"*/{STEPS_CSV}"))


def test_a_missing_package_is_named_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr("bagoftricks.loggers.base.find_spec", lambda _: None)
    with pytest.raises(
        UserError, match=r"^logger=wandb: wandb is not installed; type pip install 'bagoftricks\[wandb\]'"
    ):
        check(Settings(logger=["wandb"]))
    with pytest.raises(UserError, match=r"there is no logger 'wandbb'; did you mean 'wandb'\?"):
        Settings(logger=["wandbb"])
    with pytest.raises(UserError, match="log_every=0: must be positive"):
        Settings(log_every=0)


def test_a_setting_that_a_logger_lacks_is_named():
    with pytest.raises(UserError, match=r"loggers\.tensorboard\.foldr: is no setting of it; did you mean 'folder'"):
        make_logger("tensorboard", {"foldr": "x"})


def test_a_disk_that_is_full_costs_the_file_alone(tmp_path, monkeypatch):
    def full(self, row):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StepsFile, "write", full)
    reporter = Stopping()
    execute(tiny(tmp_path, log_every=2, epochs=1), reporter, "bot-train")
    assert sum("steps.csv cannot be written (No space left on device)" in note for note in reporter.notes) == 1


def test_the_file_keeps_whole_rows_up_to_the_step(tmp_path):
    path = tmp_path / STEPS_CSV
    path.write_text("step,loss\n5,1.0\n10,2.0\nx,3\n15,4.0\n20,")
    assert last_step(path) == 15
    file = StepsFile(path, ["step", "loss", "lr"], 10, before=lambda: None)
    file.write({"step": 15, "lr": 0.1, "other": 1})
    file.close()
    assert path.read_text() == "step,loss,lr\n5,1.0,\n10,2.0,\n15,,0.1\n"
    assert last_step(tmp_path / "none.csv") == 0


def test_numbers_of_a_gpu_are_taken_as_they_arrive(monkeypatch):
    ready = []
    late = LateNumbers()

    def send():
        steps = [step for step, _ in late.recent]
        event = SimpleNamespace(query=lambda: bool(ready), synchronize=lambda: None)
        late._copied, late.recent = (steps, torch.tensor([[float(s)] for s in steps]), event), []

    monkeypatch.setattr(late, "_send", send)
    numbers = SimpleNamespace(is_cuda=True)
    assert [late.add(step, numbers) for step in (1, 2, 3)] == [[], [], []]
    ready.append(True)
    assert late.poll() == [(1, [1.0])]
    assert late.flush() == [(2, [2.0]), (3, [3.0])]


def test_facts_are_flat_texts_and_numbers():
    facts = RunFacts(id="a", label="", group=None, config={"a": {"b": [1, 2], "c": None}, "d": True}, steps=1)
    assert facts.flat == {"a.b": "[1, 2]", "d": True}


def test_the_load_of_the_machine_is_read_now_and_then(monkeypatch):
    from bagoftricks.run.system_load import SystemLoad

    load = SystemLoad(torch.device("cpu"))
    assert load.figures() == {}
    load.read_at -= 11
    load.ticks = {core: (idle - 30, all_ - 40) for core, (idle, all_) in load.ticks.items()}
    found = load.figures()
    assert 20 <= found["system/cpu_percent"] <= 100
    assert found["system/memory_mib"] > 50
    assert load.figures() == {}


@pytest.mark.slow
@pytest.mark.serial
def test_a_run_on_two_ranks_writes_each_row_once(tmp_path):
    from bagoftricks.run.carry_out import carry_out

    runtime = RuntimeSettings(device="cpu", devices=2)
    one = carry_out(tiny(tmp_path / "one", log_every=4, epochs=1), Stopping(), "bot-train")
    two = carry_out(tiny(tmp_path / "two", log_every=4, epochs=1, runtime=runtime), Stopping(), "bot-train")
    rows, theirs = steps_of(tmp_path / "one", one), steps_of(tmp_path / "two", two)
    assert [row["step"] for row in rows] == [row["step"] for row in theirs]
    for row, other in zip(rows, theirs, strict=True):
        assert float(other["grad_norm"]) == pytest.approx(float(row["grad_norm"]), rel=1e-3)
