import json
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bagoftricks.store import lease as l
from bagoftricks.store.lease import LEASE, claim, is_live
from bagoftricks.store.store import RunState, Store


def test_a_claimed_run_cannot_be_claimed_again_until_it_is_given_back(tmp_path):
    with claim(tmp_path / "run") as mine:
        assert mine.held()
        assert claim(tmp_path / "run") is None
    assert list((tmp_path / "run").iterdir()) == []
    assert claim(tmp_path / "run") is not None


def test_of_many_that_claim_at_once_one_succeeds(tmp_path):
    for round_ in range(100):
        with ThreadPoolExecutor(8) as pool:
            leases = list(pool.map(claim, [tmp_path / str(round_)] * 8))
        assert sum(lease is not None for lease in leases) == 1


def die_holding(folder):
    claim(folder)
    os._exit(1)


def test_the_run_of_a_dead_process_is_taken_over_at_once(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=die_holding, args=(tmp_path / "run",))
    process.start()
    process.join()
    assert (tmp_path / "run" / LEASE).exists()
    assert not is_live(tmp_path / "run" / LEASE)
    assert claim(tmp_path / "run").held()


def test_a_number_used_again_is_not_the_old_process(tmp_path):
    path = tmp_path / LEASE
    path.write_text(json.dumps({"token": "t", "host": l.host(), "pid": os.getpid(), "born": "long ago"}))
    assert not is_live(path)


def test_a_process_of_before_the_machines_start_is_believed_no_longer_than_its_heart_beat(tmp_path, monkeypatch):
    path = tmp_path / LEASE
    path.write_text(json.dumps({"token": "t", "host": l.host(), "pid": os.getpid(), "born": l.born(os.getpid())}))
    past = time.time() - l.STALE_SECONDS - 1
    os.utime(path, (past, past))
    assert is_live(path)  # this very process, which was stopped for a while
    (tmp_path / "boot_id").write_text("another start\n")
    monkeypatch.setattr(l, "BOOT", tmp_path / "boot_id")
    assert not is_live(path)
    assert claim(tmp_path).held()


def test_another_host_is_believed_for_as_long_as_its_heart_beats(tmp_path):
    path = tmp_path / LEASE
    path.write_text(json.dumps({"token": "t", "host": "elsewhere", "pid": 1, "born": "1"}))
    assert is_live(path)
    assert claim(tmp_path) is None
    past = time.time() - l.STALE_SECONDS - 1
    os.utime(path, (past, past))
    assert not is_live(path)
    assert claim(tmp_path).held()


def test_the_heart_beats_while_the_lease_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(l, "HEARTBEAT_SECONDS", 0.02)
    with claim(tmp_path) as mine:
        os.utime(mine.path, (0, 0))
        time.sleep(0.2)
        assert l.age(mine.path) < 5


def test_a_lease_that_was_taken_over_is_not_given_back(tmp_path):
    with claim(tmp_path) as mine:
        mine.path.write_text(json.dumps({"token": "other", "host": l.host(), "pid": os.getpid(), "born": "x"}))
        assert not mine.held()
    assert mine.path.exists()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_the_states_of_a_run(store):
    assert store.state("run") is RunState.MISSING
    with store.claim("run"):
        assert store.state("run") is RunState.RUNNING
    store.mark_interrupted("run")
    assert store.state("run") is RunState.INTERRUPTED
    store.mark_failed("run", "it broke\nin detail", "Traceback ...")
    assert store.state("run") is RunState.FAILED
    assert store.failure("run") == {"error": "it broke", "traceback": "Traceback ..."}
    store.clear_marks("run")
    assert store.state("run") is RunState.MISSING
