"""A run that was stopped anywhere and goes on is, but for the clock, the run that was never stopped."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from bagoftricks.errors import Interrupted, UserError
from bagoftricks.measure import accuracy
from bagoftricks.run.execute import execute
from bagoftricks.settings import RuntimeSettings
from bagoftricks.store import checkpoints as c
from bagoftricks.store.checkpoint_file import read_checkpoint, write_checkpoint
from bagoftricks.store.correctness import read_correct
from bagoftricks.store.store import METRICS, RunState, Store, read_metrics
from tests.run.interrupted import MOST, Stopping, files, left_behind, same, stopped_and_continued, streamed, tiny

pytestmark = pytest.mark.usefixtures("untimed")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the run with most tricks leaves behind."""
    store = tmp_path_factory.mktemp("undisturbed")
    record = execute(tiny(store, tricks=MOST), Stopping(), "bot-train")
    assert record.environment.continuations == 0
    return left_behind(store, record)


@pytest.mark.parametrize(
    "after", [7, pytest.param(11, marks=pytest.mark.slow), pytest.param(22, marks=pytest.mark.slow)]
)
def test_a_run_stopped_after_any_step_goes_on_bit_for_bit(tmp_path, after, undisturbed):
    record, last = stopped_and_continued(tiny(tmp_path, tricks=MOST), after)
    assert same(undisturbed, left_behind(tmp_path, record))
    assert last.began == [after]
    assert f"continuing run {record.id} at step {after} of 22" in last.notes
    assert record.environment.continuations == 1


def test_a_fine_tuning_of_uneven_classes_goes_on_bit_for_bit(tmp_path):
    tricks = {
        "freeze": {"until": "1"},
        "balanced_sampling": {},
        "repeated_augmentation": {},
        "class_weights": {},
        "layer_decay": {},
        "ema": {},
    }
    whole = execute(tiny(tmp_path / "one", tricks=tricks), Stopping(), "bot-train")
    record, _ = stopped_and_continued(tiny(tmp_path / "two", tricks=tricks), 7)
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))


@pytest.mark.slow
def test_a_run_stopped_after_every_step_goes_on_bit_for_bit(tmp_path, undisturbed):
    record, _ = stopped_and_continued(tiny(tmp_path, tricks=MOST), *[1] * 22)
    assert same(undisturbed, left_behind(tmp_path, record))
    assert record.environment.continuations == 22


@pytest.mark.slow
def test_a_run_on_streamed_photographs_with_workers_goes_on_bit_for_bit(tmp_path, photos):
    one, two = (streamed(tmp_path / name, photos) for name in ("one", "two"))
    one.batch_size = two.batch_size = 4
    whole = execute(one, Stopping(), "bot-train")
    record, _ = stopped_and_continued(two, 2, 3)
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))
    assert len(record.data.skipped) == 1


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_run_with_a_teacher_goes_on_bit_for_bit(tmp_path, mode):
    for name in ("one", "two"):
        teacher = execute(tiny(tmp_path / name, epochs=1), Stopping(), "bot-train")
    tricks = {"distill": {"teacher": f"run:{teacher.id}", "mode": mode}, "ema": {}, "muon": {}, "sam": {}}
    whole = execute(tiny(tmp_path / "one", tricks=tricks), Stopping(), "bot-train")
    record, _ = stopped_and_continued(tiny(tmp_path / "two", tricks=tricks), 14)
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))


def test_the_seconds_of_all_processes_count(tmp_path, monkeypatch):
    seen = []
    written = c.write_checkpoint
    monkeypatch.setattr(c, "write_checkpoint", lambda path, state, **k: (seen.append(state), written(path, state, **k)))
    record, _ = stopped_and_continued(tiny(tmp_path), 5)
    before = seen[0].values["progress"]
    assert 0 < before["train_seconds"] < record.cost.train_seconds
    assert 0 < before["wall_seconds"] < record.cost.wall_seconds
    assert record.cost.train_images_per_s == pytest.approx(2 * 11 * 16 / record.cost.train_seconds)


def test_an_evaluation_that_is_stopped_is_done_again(tmp_path, monkeypatch, undisturbed):
    counted, measure = [], accuracy.measure_images

    def stop_at_the_second_copy(predict, batches, world):
        counted.append(1)
        if len(counted) == 2:
            os.kill(os.getpid(), signal.SIGUSR2)
        return measure(predict, batches, world)

    monkeypatch.setattr(accuracy, "measure_images", stop_at_the_second_copy)
    settings = tiny(tmp_path, tricks=MOST)
    with pytest.raises(Interrupted, match="interrupted by SIGUSR2 at step 11 of 22"):
        execute(settings, Stopping(), "bot-train")
    record = execute(settings, Stopping(), "bot-train")
    assert same(undisturbed, left_behind(tmp_path, record))


class StoppingAtTheEnd(Stopping):
    """A reporter that stops the run after its last evaluation, before its record."""

    def epoch(self, row):
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_is_stopped_after_its_last_evaluation_keeps_which_images_were_right(tmp_path):
    settings = tiny(tmp_path)
    with pytest.raises(Interrupted, match="at step 22 of 22"):
        execute(settings, StoppingAtTheEnd(), "bot-train")
    record = execute(settings, Stopping(), "bot-train")
    right = read_correct(Store(tmp_path), record)["last"]
    assert (len(right), 100 * right.mean()) == (record.data.val_images, pytest.approx(record.metrics["last"].top1))


def test_a_checkpoint_of_a_version_without_soft_top1_is_resumed(tmp_path):
    settings = tiny(tmp_path)
    with pytest.raises(Interrupted):
        execute(settings, Stopping(12), "bot-train")
    (path,) = files(tmp_path)
    state = read_checkpoint(path)
    for row in state.values["progress"]["rows"]:
        del row["soft_top1"]
    write_checkpoint(path, state)
    record = execute(settings, Stopping(), "bot-train")
    first, last = read_metrics(tmp_path / record.id / METRICS)
    assert (first["soft_top1"], float(last["soft_top1"])) == ("nan", record.metrics["last"].soft_top1)


def test_rerun_starts_anew(tmp_path):
    settings = tiny(tmp_path)
    with pytest.raises(Interrupted):
        execute(settings, Stopping(5), "bot-train")
    assert Store(tmp_path).state(next(tmp_path.iterdir()).name) is RunState.INTERRUPTED
    settings.rerun = True
    reporter = Stopping()
    assert execute(settings, reporter, "bot-train").environment.continuations == 0
    assert reporter.began == [0]


def test_the_last_checkpoints_are_kept(tmp_path):
    settings = tiny(tmp_path, runtime=RuntimeSettings(device="cpu", checkpoint_steps=1, checkpoint_keep=3))
    with pytest.raises(Interrupted):
        execute(settings, Stopping(15), "bot-train")
    assert 1 <= len(files(tmp_path)) <= 3
    assert read_checkpoint(files(tmp_path)[-1]).values["trainer"]["steps"] == 15


@pytest.mark.parametrize("damage", [lambda whole: whole[:-7], lambda whole: b"", lambda whole: whole[:99] + whole[98:]])
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_is_taken(tmp_path, damage):
    whole = execute(tiny(tmp_path / "one"), Stopping(), "bot-train")
    settings = tiny(tmp_path / "two")
    for after in (4, 5):
        with pytest.raises(Interrupted):
            execute(settings, Stopping(after), "bot-train")
    first, second = files(tmp_path / "two")
    second.write_bytes(damage(second.read_bytes()))
    last = Stopping()
    record = execute(settings, last, "bot-train")
    assert last.began == [4]
    assert [note for note in last.notes if "is damaged" in note and second.name in note]
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))
    assert first.name == "000000004.safetensors"


def test_a_run_whose_checkpoints_are_all_damaged_starts_anew_and_says_so(tmp_path):
    settings = tiny(tmp_path)
    with pytest.raises(Interrupted):
        execute(settings, Stopping(4), "bot-train")
    (only,) = files(tmp_path)
    only.write_bytes(b"nothing")
    last = Stopping()
    execute(settings, last, "bot-train")
    assert last.began == [0]
    assert any("or to the beginning" in note for note in last.notes)


def test_the_checkpoint_of_another_run_is_refused_with_what_differs(tmp_path):
    with pytest.raises(Interrupted):
        execute(tiny(tmp_path), Stopping(4), "bot-train")
    (theirs,) = files(tmp_path)
    with pytest.raises(Interrupted):
        execute(tiny(tmp_path, seed=3, weight_decay=0.5), Stopping(4), "bot-train")
    (ours,) = [path for path in files(tmp_path) if path != theirs]
    ours.write_bytes(theirs.read_bytes())
    with pytest.raises(UserError, match=r"another run \(seed=0 there, 3 here; weight_decay=0.0001 there, 0.5 here\)"):
        execute(tiny(tmp_path, seed=3, weight_decay=0.5), Stopping(), "bot-train")


@pytest.mark.parametrize("values", [{"made_with": None}, {"trainer": []}, {"progress": {"rows": [5]}}, {"identity": 5}])
def test_a_whole_checkpoint_of_another_form_is_refused_in_one_line(tmp_path, values):
    with pytest.raises(Interrupted):
        execute(tiny(tmp_path), Stopping(4), "bot-train")
    (path,) = files(tmp_path)
    state = read_checkpoint(path)
    write_checkpoint(path, replace(state, values={**state.values, **values}))
    with pytest.raises(UserError, match=r"does not fit this run|belongs to another run"):
        execute(tiny(tmp_path), Stopping(), "bot-train")


def test_another_version_of_torch_is_noted(tmp_path, monkeypatch):
    settings = tiny(tmp_path)
    with pytest.raises(Interrupted):
        execute(settings, Stopping(4), "bot-train")
    monkeypatch.setattr(torch, "__version__", "9.9")
    last = Stopping()
    execute(settings, last, "bot-train")
    assert any("now it is 9.9" in note for note in last.notes)


def test_no_checkpoints_are_made_where_none_are_wanted(tmp_path):
    settings = tiny(tmp_path, runtime=RuntimeSettings(device="cpu", checkpoint_steps=1, checkpoint_keep=0))
    with pytest.raises(Interrupted):
        execute(settings, Stopping(4), "bot-train")
    assert files(tmp_path) == []


def test_what_a_process_left_that_was_killed_after_the_record_is_removed(tmp_path):
    settings = tiny(tmp_path, epochs=1)
    with pytest.raises(Interrupted):
        execute(settings, Stopping(5), "bot-train")
    (kept,) = files(tmp_path)
    data = kept.read_bytes()
    record = execute(settings, Stopping(), "bot-train")
    kept.parent.mkdir()
    kept.write_bytes(data)
    (kept.parent / f".{kept.name}.0123.tmp").write_bytes(data[:9])
    assert execute(settings, Stopping(), "bot-train") == record
    assert not kept.parent.exists()
