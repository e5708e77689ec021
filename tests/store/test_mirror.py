"""Local copies of one store of objects, as on several machines."""

import json
import os
from unittest import mock

import pytest

from bagoftricks.errors import RunElsewhere, StoreUnreachable, UserError
from bagoftricks.settings import RuntimeSettings
from bagoftricks.store import lease as leases
from bagoftricks.store import mirror
from bagoftricks.store.checkpoints import Checkpoints, remove_leftovers
from bagoftricks.store.objects import FolderObjects
from bagoftricks.store.removal import remove_run
from bagoftricks.store.store import RunState, Store
from bagoftricks.store.survey import FolderState, survey
from bagoftricks.training.state import TrainingState
from tests.store.test_object_lease import Wayward
from tests.store.test_store import record

RUN = "0123456789abcdef0123"


@pytest.fixture(params=["folder", "server"])
def objects(request, tmp_path):
    return FolderObjects(tmp_path) if request.param == "folder" else request.getfixturevalue("server").objects()


class Machine:
    """A machine with a copy of its own; nothing is fresh for longer than a moment."""

    def __init__(self, name, objects, folder):
        self.name, self.objects = name, Wayward(objects)
        self.mirror = mirror.Mirror(self.objects, folder / f"copy of {name}")
        with mock.patch("bagoftricks.store.store.place_of", return_value=self.mirror):
            self.store = Store("s3://bucket/runs")

    def __enter__(self):
        self.mirror.fresh.clear()
        self.patches = [mock.patch.object(module, "host", return_value=self.name) for module in (leases, mirror)]
        for patch in self.patches:
            patch.start()
        return self.store

    def __exit__(self, *error):
        for patch in self.patches:
            patch.stop()

    def has(self, name):
        return (self.store.root / RUN / name).exists()


@pytest.fixture
def machines(objects, tmp_path):
    return [Machine(name, objects, tmp_path / "copies") for name in ("one", "two")]


def train(store, **changes):
    """A run from its lease to its record."""
    with store.claim(RUN) as lease:
        store.write_metrics(RUN, [{"epoch": 1}])
        store.weights(RUN).write_bytes(b"weights")
        store.write_record(record(id=RUN, files=store.digests(RUN), **changes), before=lease.held)


def keys(objects):
    return [listed.key.removeprefix(f"{RUN}/") for listed in objects.list(RUN)]


def save_checkpoint(store, lease, step):
    made = Checkpoints(store.folder(RUN), RuntimeSettings(), lease.held, lambda: store.push(RUN))
    made.save(step, TrainingState({}, {"steps": step}))
    made.wait()


def test_what_one_machine_records_another_reads(machines):
    one, two = machines
    with one as store:
        train(store)
    with two as store:
        assert store.state(RUN) is RunState.DONE
        assert [found.id for found in store.records()] == [RUN]
        assert store.damaged == []


def test_weights_are_fetched_where_they_are_used(machines):
    one, two = machines
    with one as store:
        train(store)
    with two as store:
        assert store.find("last").id == RUN
        assert not two.has("weights.safetensors")
        assert store.weights(RUN).read_bytes() == b"weights"


def test_weights_of_a_run_that_was_trained_again_are_fetched_again(machines):
    one, two = machines
    with one as store:
        train(store)
    with two as store:
        store.find("last")
        store.weights(RUN)
    with one as store, store.claim(RUN):
        store.weights(RUN).write_bytes(b"others")
    with two as store:
        store.find("last")
        assert store.weights(RUN).read_bytes() == b"others"


def test_a_record_is_sent_after_the_files_next_to_it(machines, objects):
    one, _ = machines
    with one as store, store.claim(RUN):
        store.write_metrics(RUN, [{"epoch": 1}])
        store.weights(RUN).write_bytes(b"weights")
        with mock.patch.object(type(objects), "put_if_absent", side_effect=StoreUnreachable("no answer")):
            store.write_record(record(id=RUN))
        assert sorted(keys(objects)) == ["lease.json", "metrics.csv", "weights.safetensors"]
    assert "record.json" in keys(objects)


def test_a_run_that_another_machine_trains_is_seen_and_left_alone(machines):
    one, two = machines
    with one as store:
        lease = store.claim(RUN)
        lease.__enter__()
    with two as store:
        assert store.state(RUN) is RunState.RUNNING
        assert store.claim(RUN) is None
        (run,) = survey(store)
        assert (run.state, run.owner.host) == (FolderState.RUNNING, "one")
    with one:
        lease.__exit__(None, None, None)
    with two as store:
        assert store.state(RUN) is RunState.MISSING


def test_a_machine_that_disappeared_is_seen_as_dead_after_a_minute(machines):
    one, two = machines
    with one as store:
        store.claim(RUN)
    with two as store:
        assert store.state(RUN) is RunState.RUNNING
        two.mirror.clock.read = (two.mirror.clock.read[0] + 70, two.mirror.clock.read[1])
        two.mirror.fresh.clear()
        assert store.state(RUN) is RunState.MISSING
        assert store.claim(RUN).took_over


def test_two_processes_of_one_machine_do_not_share_a_run(machines, objects, tmp_path):
    one, _ = machines
    again = Machine("one", objects, tmp_path / "copies")
    with one as store:
        lease = store.claim(RUN)
    with again as store:
        assert store.claim(RUN) is None
    with one, lease:
        pass
    with again as store:
        assert store.claim(RUN) is not None


def test_another_machine_goes_on_from_the_newest_checkpoint(machines):
    one, two = machines
    with one as store:
        lease = store.claim(RUN)
        for step in (1, 2, 3):
            save_checkpoint(store, lease, step)
    with two as store:
        assert store.state(RUN) is RunState.RUNNING
        assert not two.has("checkpoints")
        with mock.patch.object(leases, "STALE_SECONDS", -1.0):
            taken = store.claim(RUN)
        made = Checkpoints(store.folder(RUN), RuntimeSettings(), taken.held)
        assert made.newest(print)[1].values == {"steps": 3}


def test_a_process_whose_run_was_taken_over_sends_nothing(machines, objects):
    one, two = machines
    with one as store:
        lost = store.claim(RUN)
    with two as store:
        with mock.patch.object(leases, "STALE_SECONDS", -1.0):
            taken = store.claim(RUN)
        with taken:
            train_on = record(id=RUN, command="two")
            store.write_record(train_on)
    with one as store:
        with pytest.raises(RunElsewhere):
            store.write_record(record(id=RUN, command="one"))
        with lost:
            pass
        one.mirror.fresh.clear()
        assert store.record(RUN).command == "two"
    assert json.loads(objects.get(f"{RUN}/record.json").data)["command"] == "two"


def test_a_process_whose_run_was_taken_over_sends_no_logs_either(machines, objects):
    one, two = machines
    with one as store:
        store.claim(RUN)
        store.write_metrics(RUN, [{"epoch": 1}])
    with two as store, mock.patch.object(leases, "STALE_SECONDS", -1.0):
        store.claim(RUN)
    with one as store, pytest.raises(RunElsewhere):
        store.push(RUN)
    assert keys(objects) == ["lease.json"]


def test_a_copy_is_as_old_as_its_object_so_that_last_is_the_last_run(machines, objects):
    with machines[0] as store:
        train(store)
    with machines[1] as store:
        store.refresh()
        (listed,) = [each for each in objects.list(RUN) if each.key.endswith("record.json")]
        assert abs((store.folder(RUN) / "record.json").stat().st_mtime - listed.modified) < 0.001


def test_a_record_is_written_once_even_without_a_look_at_the_lease(machines, objects):
    one, two = machines
    with two as store:
        train(store, command="two")
    with one as store:
        objects.delete(f"{RUN}/record.json")  # so that the run can be claimed as an unfinished one
        with store.claim(RUN):
            objects.put(f"{RUN}/record.json", b"two's")
            with pytest.raises(RunElsewhere, match="finished by another process"):
                store.write_record(record(id=RUN, command="one"))
    assert objects.get(f"{RUN}/record.json").data == b"two's"


def test_a_finished_run_that_could_not_be_sent_is_sent_by_the_next_command(machines, objects, tmp_path, capsys):
    one, two = machines
    with one as store, store.claim(RUN) as lease:
        save_checkpoint(store, lease, 1)
        one.objects.silent = True
        store.weights(RUN).write_bytes(b"weights")
        store.write_record(record(id=RUN))
    assert "sent as soon as the server answers" in capsys.readouterr().err
    assert "record.json" not in keys(objects)
    again = Machine("one", objects, tmp_path / "copies")  # the next process there
    with mock.patch.object(leases, "born", return_value="a later process"), again as store:
        store.refresh()
    assert "sent now" in capsys.readouterr().err
    with two as store:
        assert store.record(RUN).id == RUN
        assert store.weights(RUN).read_bytes() == b"weights"
    assert "lease.json" not in keys(objects)


def test_a_result_that_came_too_late_gives_way_to_that_of_the_other_machine(machines, objects, tmp_path):
    one, two = machines
    with one as store, store.claim(RUN):
        one.objects.silent = True
        store.write_record(record(id=RUN, command="one"))
    with two as store, mock.patch.object(leases, "STALE_SECONDS", -1.0):
        train(store, command="two")
    with Machine("one", objects, tmp_path / "copies") as store:
        assert [found.command for found in store.records()] == ["two"]


def test_silence_of_the_server_ends_no_training(machines, capsys):
    one, two = machines
    with one as store, store.claim(RUN) as lease:
        one.objects.silent = True
        save_checkpoint(store, lease, 1)
        store.push(RUN)
        assert lease.held()
        one.objects.silent = False
        train_on = record(id=RUN)
        store.write_record(train_on)
    assert capsys.readouterr().err.count("goes on") == 1
    with two as store:
        assert store.record(RUN) == train_on


def test_a_run_waits_to_begin_for_a_server_that_was_there_before(machines, monkeypatch):
    one, _ = machines
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        one.objects.silent = len(pauses) < 3

    monkeypatch.setattr(mirror.time, "sleep", pause)
    with one as store:
        store.refresh()
        one.objects.silent = True
        one.mirror.fresh.clear()  # as in a new process
        assert store.record(RUN) is None
        assert store.claim(RUN) is not None
    assert len(pauses) == 3


def test_a_run_does_not_wait_for_a_server_that_never_answered(machines):
    one, _ = machines
    with one as store:
        one.objects.silent = True
        with pytest.raises(StoreUnreachable):
            store.claim(RUN)


def test_a_mark_travels_and_is_taken_away_again(machines):
    one, two = machines
    with one as store, store.claim(RUN):
        store.mark_failed(RUN, "it broke", "")
    with two as store:
        assert store.state(RUN) is RunState.FAILED
        assert store.failure(RUN)["error"] == "it broke"
        store.clear_marks(RUN)  # as retry=failed does, without a lease
    with one as store:
        assert store.state(RUN) is RunState.MISSING


def test_a_mark_for_a_killed_worker_needs_no_lease_of_the_caller(machines):
    one, two = machines
    with one as store:
        store.mark_failed(RUN, "its process was killed", "")
    with two as store:
        assert store.state(RUN) is RunState.FAILED


def test_a_run_that_is_removed_vanishes_everywhere(machines, objects):
    one, two = machines
    with one as store:
        train(store)
    with two as store:
        assert len(list(store.records())) == 1
        remove_run(store, RUN)
        assert not store.folder(RUN).exists()
    assert keys(objects) == []
    with one as store:
        assert list(store.records()) == []
        assert not store.folder(RUN).exists()


def test_the_checkpoints_of_a_run_that_was_killed_after_its_record_are_removed(machines, objects):
    one, two = machines
    with one as store:
        lease = store.claim(RUN)
        save_checkpoint(store, lease, 1)
        store.write_record(record(id=RUN))  # and its process is killed
    assert "checkpoints/000000001.safetensors" in keys(objects)
    with two as store, mock.patch.object(leases, "STALE_SECONDS", -1.0):
        store.state(RUN)
        remove_leftovers(store, RUN)
    assert keys(objects) == ["record.json"]


def test_a_study_travels(machines):
    one, two = machines
    with one as store:
        path = store.shared("studies") / "a--b.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
        store.place.publish(path)
    with two as store:
        assert [found.name for found in store.shared("studies").iterdir()] == ["a--b.json"]


def test_objects_that_could_name_files_elsewhere_are_left_alone(machines, objects, tmp_path):
    for key in ("run/.hidden", "run/a/b/c", "teachers/x.safetensors", "loose"):
        objects.put(key, b"x")
    with machines[0] as store:
        store.refresh()
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == []


def test_a_listing_is_not_repeated_for_a_moment(machines):
    one, _ = machines
    with one as store, mock.patch.object(one.objects.objects, "list", wraps=one.objects.objects.list) as listing:
        store.refresh()
        for number in range(20):
            store.state(f"{number:020x}")
        assert listing.call_count == 1


def test_a_run_that_has_not_changed_is_not_fetched_again(machines):
    one, two = machines
    with one as store:
        train(store)
    with two as store:
        store.refresh()
    with two as store, mock.patch.object(two.objects.objects, "download") as download:
        store.refresh()
        assert download.call_count == 0


def test_a_copy_is_read_while_the_server_does_not_answer(machines, capsys):
    one, _ = machines
    with one as store:
        train(store)
        store.refresh()
        one.objects.silent = True
    one.mirror.fresh = {None: -1e9}
    assert one.store.state(RUN) is RunState.DONE
    assert "the copy in" in capsys.readouterr().err


def test_a_server_that_does_not_answer_at_all_is_one_line(machines):
    with machines[0] as store:
        machines[0].objects.silent = True
        with pytest.raises(UserError, match="no answer"):
            list(store.records())


def test_a_cache_that_cannot_be_written_is_one_line(objects, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        mirror.Mirror(objects, tmp_path / "file" / "copy")


def test_machines_that_share_a_home_have_copies_of_their_own(monkeypatch):
    one = mirror.mirror_folder("s3://bucket/runs")
    monkeypatch.setattr("platform.node", lambda: "two")
    assert mirror.mirror_folder("s3://bucket/runs") != one
    assert os.path.basename(one).startswith("s3-bucket-runs-")
