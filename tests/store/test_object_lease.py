"""One process at a time has a run, by leases in a folder and by leases that are objects."""

import random
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest

from bagoftricks.errors import RunElsewhere, StoreUnreachable
from bagoftricks.store import lease as l
from bagoftricks.store import object_lease
from bagoftricks.store.lease import claim
from bagoftricks.store.object_lease import claim_object
from bagoftricks.store.objects import FolderObjects, ServerClock

KEY = "run/lease.json"


@pytest.fixture(autouse=True)
def asked_each_time(monkeypatch):
    monkeypatch.setattr(object_lease, "TRUSTED_SECONDS", -1.0)


@pytest.fixture(params=["lease in a folder", "folder", "server"])
def claims(request, tmp_path):
    """Claim the run: through a file, an object in a folder, and an object of a real server."""
    if request.param == "lease in a folder":
        return lambda: claim(tmp_path / "run")
    objects = FolderObjects(tmp_path) if request.param == "folder" else request.getfixturevalue("server").objects()
    clock = ServerClock(objects)
    return lambda: claim_object(objects, KEY, clock)


@pytest.fixture(params=["folder", "server"])
def objects(request, tmp_path):
    return FolderObjects(tmp_path) if request.param == "folder" else request.getfixturevalue("server").objects()


def claim_as(machine, claims, *, stale=False):
    """Claim the run on another machine; ``stale``: a minute after every heartbeat."""
    seconds = -1.0 if stale else l.STALE_SECONDS
    with mock.patch.object(l, "host", return_value=f"machine{machine}"), mock.patch.object(l, "STALE_SECONDS", seconds):
        return claims()


@pytest.mark.parametrize("seed", range(5))
def test_whatever_machines_do_one_at_a_time_has_the_run(claims, seed):
    draw, leases, owner = random.Random(seed), {}, None
    for _ in range(60):
        machine, what = draw.randrange(4), draw.choice(["claim", "claim", "steal", "beat", "leave"])
        if what in ("claim", "steal") and machine != owner:
            lease = claim_as(machine, claims, stale=what == "steal")
            assert (lease is not None) == (owner is None or what == "steal")
            if lease is not None:
                leases[machine], owner = lease, machine
        elif machine in leases and what == "beat":
            leases[machine].beat()
        elif machine in leases and what == "leave":
            leave(leases.pop(machine))  # of one that was taken over, nothing comes of it
            owner = None if machine == owner else owner
        assert [name for name, lease in leases.items() if lease.held()] == ([] if owner is None else [owner])


def leave(lease):
    with lease:
        pass


@pytest.mark.parametrize("after_a_death", [False, True])
def test_of_many_that_claim_at_once_one_has_the_run(claims, after_a_death):
    for _ in range(5):
        if after_a_death:
            with mock.patch.object(l, "born", return_value="another process of this number"):
                dead = claims()
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: claims(), range(8)))
        held = [lease for lease in made if lease is not None and lease.held()]
        assert len(held) == 1
        assert not (after_a_death and dead.held())
        leave(held[0])


def test_the_run_of_a_dead_process_of_this_machine_is_taken_over_at_once(claims):
    lease = claims()
    assert claims() is None
    with mock.patch.object(l, "born", return_value="another process of this number"):
        taken = claims()
    assert taken.took_over
    assert taken.held()
    assert not lease.held()


# --- of objects alone ---


def test_a_heartbeat_makes_a_lease_young_by_the_servers_clock(objects):
    lease = claim_object(objects, KEY, ServerClock(objects))
    before = objects.get(KEY)
    lease.beat()
    after = objects.get(KEY)
    assert after.version != before.version
    assert after.modified >= before.modified
    assert lease.held()


def test_a_clock_of_a_machine_that_is_wrong_moves_no_lease(objects, monkeypatch):
    assert claim_as(1, lambda: claim_object(objects, KEY, ServerClock(objects))) is not None
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert claim_as(2, lambda: claim_object(objects, KEY, ServerClock(objects))) is None


def test_a_lease_without_a_heartbeat_for_a_minute_is_taken_over(objects, monkeypatch):
    assert claim_as(1, lambda: claim_object(objects, KEY, ServerClock(objects))) is not None
    clock = ServerClock(objects)
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + l.STALE_SECONDS - 5)
    assert claim_as(2, lambda: claim_object(objects, KEY, clock)) is None
    monkeypatch.setattr(clock, "now", lambda: now + l.STALE_SECONDS + 5)
    assert claim_as(2, lambda: claim_object(objects, KEY, clock)) is not None


class Wayward:
    """Objects whose server does not answer, or whose conditional writes are sent twice."""

    def __init__(self, objects):
        self.objects, self.silent, self.twice = objects, False, False

    def __getattr__(self, name):
        def call(*arguments):
            if self.silent:
                raise StoreUnreachable("no answer")
            result = getattr(self.objects, name)(*arguments)
            return None if self.twice and name in ("put_if_absent", "replace") else result

        return getattr(self.objects, name) if name == "url" else call


def test_while_the_server_does_not_answer_a_lease_is_held_but_not_confirmed(objects):
    wayward = Wayward(objects)
    lease = claim_object(wayward, KEY, ServerClock(objects))
    wayward.silent = True
    lease.beat()
    assert lease.held()
    with pytest.raises(StoreUnreachable):
        lease.confirm()
    wayward.silent = False
    lease.confirm()


def test_a_lease_that_was_taken_over_in_silence_is_noticed(objects):
    wayward = Wayward(objects)
    lease = claim_as(1, lambda: claim_object(wayward, KEY, ServerClock(objects)))
    wayward.silent = True
    taken = claim_as(2, lambda: claim_object(objects, KEY, ServerClock(objects)), stale=True)
    wayward.silent = False
    with pytest.raises(RunElsewhere, match="taken over"):
        lease.confirm()
    leave(lease)
    assert taken.held()


def test_a_write_that_is_sent_twice_is_known_as_ones_own(objects):
    wayward = Wayward(objects)
    wayward.twice = True
    lease = claim_object(wayward, KEY, ServerClock(objects))
    assert lease is not None
    lease.beat()
    lease.confirm()
    assert lease.held()


def test_a_damaged_lease_counts_as_none_after_a_minute(objects, monkeypatch):
    objects.put(KEY, b"[]")
    clock = ServerClock(objects)
    assert claim_object(objects, KEY, clock) is None
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + l.STALE_SECONDS + 5)
    assert claim_object(objects, KEY, clock) is not None


def test_a_training_never_waits_for_the_server_to_know_that_it_has_its_run(objects, monkeypatch):
    monkeypatch.setattr(object_lease, "TRUSTED_SECONDS", 10.0)
    lease = claim_object(objects, KEY, ServerClock(objects))
    with mock.patch.object(type(objects), "get", side_effect=AssertionError("it asked")):
        assert lease.held()
        lease.asked -= 11
        with lease._one:  # the heartbeat waits for an answer
            assert lease.held()
    objects.delete(KEY)
    assert not lease.held()
