"""Files of a store: whole or absent, of the mode that the umask gives, and never outside of it."""

import errno
import json
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bagoftricks.errors import RunElsewhere, UserError
from bagoftricks.settings import RuntimeSettings
from bagoftricks.store import files as f
from bagoftricks.store import lease as l
from bagoftricks.store.checkpoints import Checkpoints, remove_leftovers
from bagoftricks.store.files import read_file, remove_temporaries, weights_writer, write_whole
from bagoftricks.store.lease import LEASE, STALE_SECONDS, claim, is_live, require_held
from bagoftricks.store.store import RunState, Store
from bagoftricks.training.state import TrainingState

FORK = multiprocessing.get_context("fork")
PAST = STALE_SECONDS + 1


@pytest.fixture(autouse=True)
def notes_again():
    f.note_once.cache_clear()


def test_a_note_about_a_path_cannot_move_the_cursor(capsys):
    f.note_once("\x1b[31m/store is damaged")
    assert capsys.readouterr().err == "bagoftricks: \\x1b[31m/store is damaged\n"


# --- writing ---


def killed_while_writing(path):
    def write(temporary):
        temporary.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    write_whole(path, write)


def test_the_temporary_file_of_a_killed_writer_goes_with_the_next_write_to_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(f, "YOUNG_SECONDS", 0.0)
    process = FORK.Process(target=killed_while_writing, args=(tmp_path / "study.json",))
    process.start()
    process.join()
    assert len(list(tmp_path.iterdir())) == 1
    write_whole(tmp_path / "other", lambda path: path.write_text("whole"))
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_the_temporary_file_of_a_living_writer_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(f, "YOUNG_SECONDS", 0.0)

    def write(temporary):
        temporary.write_text("long")
        other = FORK.Process(target=remove_temporaries, args=(tmp_path,), kwargs={"every": False})
        other.start()
        other.join()
        assert temporary.exists()

    write_whole(tmp_path / "file", write)
    assert (tmp_path / "file").read_text() == "long"


@pytest.mark.parametrize(
    "name", [".record.json.1.tmp", ".tmpAbC123", ".lease.json.0f", ".clock.0f", ".lease.json.dead.0f"]
)
def test_litter_of_every_name_is_removed_under_the_lease(tmp_path, name):
    (tmp_path / name).write_text("half")
    (tmp_path / "record.json").write_text("whole")
    remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_weights_are_written_through_one_file_of_ours_and_a_full_disk_is_an_oserror(tmp_path, monkeypatch):
    write_whole(tmp_path / "w.safetensors", weights_writer({"w": torch.arange(6.0).view(2, 3).t()}))
    assert torch.equal(load_file(tmp_path / "w.safetensors")["w"], torch.arange(6.0).view(2, 3).t())

    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device.*again\.safetensors") as caught:
        write_whole(tmp_path / "again.safetensors", weights_writer({"w": torch.zeros(2)}))
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_files_have_the_mode_that_the_umask_gives(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "new" / "w.safetensors", weights_writer({"w": torch.zeros(2)}))
        made = Checkpoints(tmp_path / "run", RuntimeSettings(), lambda: None)
        made.save(3, TrainingState({"w": torch.zeros(2)}, {}))
        made.wait()
        claim(tmp_path / "run")
    finally:
        os.umask(before)
    found = {path: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert len(found) == 6
    assert {path: mode for path, mode in found.items() if mode != (0o777 if path.is_dir() else 0o666) & ~mask} == {}


def test_the_leftovers_of_a_run_that_is_closed_to_us_stay(tmp_path, monkeypatch):
    def closed(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", closed)
    remove_leftovers(Store(tmp_path), "run")


# --- reading ---


def test_only_regular_files_of_a_sensible_size_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_file(tmp_path / "file", 5) == b"12345"
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, why in (("link", "it is a link"), ("pipe", "no regular file"), ("folder", "no regular file")):
        with pytest.raises(OSError, match=why):
            read_file(tmp_path / name, 5)
    with pytest.raises(OSError, match="it has 5 bytes"):
        read_file(tmp_path / "file", 4)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none", 4)


# --- links ---


@pytest.fixture
def outside(tmp_path):
    """A folder outside of the store, with files that have names of ours."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in (
        "000000004.safetensors",
        "record.json",
        ".record.json.1.tmp",
        "lease.json",
        "log.txt",
        "weights.safetensors",
    ):
        (folder / name).write_text("theirs")
    yield folder
    assert {path.read_text() for path in folder.iterdir()} == {"theirs"}
    assert len(list(folder.iterdir())) == 6


@pytest.mark.parametrize(
    "name", ["", "checkpoints", "record.json", "lease.json", "log.txt", "weights.safetensors", "failure.json"]
)
def test_a_link_in_a_store_is_refused_and_nothing_outside_is_touched(tmp_path, outside, name):
    store = Store(tmp_path / "store")
    run = store.root / "run"
    run.parent.mkdir()
    if name:
        run.mkdir()
    (run / name).symlink_to(outside / name if (outside / name).is_file() else outside)
    for refused in (store.state, store.claim, lambda run_id: remove_leftovers(store, run_id)):
        if name in ("", "checkpoints", "lease.json") or refused in (store.state, store.claim):
            with pytest.raises(UserError, match=f"{run / name} is a link, and what lies outside"):
                refused("run")


@pytest.mark.parametrize("name", ["studies", "teachers", "unfinished"])
def test_a_shared_folder_of_a_store_is_no_link(tmp_path, outside, name):
    store = Store(tmp_path / "store")
    store.root.mkdir()
    (store.root / name).symlink_to(outside)
    with pytest.raises(UserError, match="is a link"):
        store.shared(name)


def test_the_store_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    store = Store(tmp_path / "store")
    store.writable()
    with store.claim("run"):
        assert store.state("run") is RunState.RUNNING


# --- leases that are damaged ---

DAMAGED = [b"[]", b"5", b'"x"', b"null", b"", b"\xff\x00", b"{", b"[" * 4000, b"x" * 5000, b'{"token": "t"}']
OWNER = {"token": "t", "host": l.host(), "pid": os.getpid(), "born": l.born(os.getpid())}
DAMAGED += [json.dumps({**OWNER, "pid": pid}).encode() for pid in ("1", -1, 0, True, None, 1.5, [])]
DAMAGED += [json.dumps({**OWNER, **wrong}).encode() for wrong in ({"born": None}, {"host": 1}, {"token": ["t"]})]


def damage(path, what):
    if isinstance(what, bytes):
        path.write_bytes(what)
    elif what == "folder":
        path.mkdir()
        (path / "inside").write_text("")
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("what", [*DAMAGED, "folder", "pipe"], ids=range(len(DAMAGED) + 2))
def test_a_damaged_lease_counts_as_none_after_its_age_and_is_named_once(tmp_path, capsys, what):
    path = tmp_path / LEASE
    damage(path, what)
    assert is_live(path)
    assert claim(tmp_path) is None
    assert capsys.readouterr().err.splitlines() == [
        f"bagoftricks: {path} is damaged: it counts as none 60 seconds after its last change"
    ]
    past = time.time() - PAST
    os.utime(path, (past, past))
    assert not is_live(path)
    with claim(tmp_path) as lease:
        assert lease.held()
    assert list(tmp_path.iterdir()) == []


def test_a_lease_of_a_process_number_that_cannot_be_is_one_of_a_dead_process(tmp_path):
    (tmp_path / LEASE).write_text(json.dumps({**OWNER, "pid": 10**300}))
    assert claim(tmp_path).held()


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_lease_of_another_host_does_not_outlive_a_step_of_the_clock(tmp_path, hours):
    """The holder is dead; the clock of the file system went back, or forth, since its last heartbeat."""
    path = tmp_path / LEASE
    path.write_text(json.dumps({**OWNER, "host": "elsewhere"}))
    os.utime(path, (time.time() - 3600 * hours,) * 2)
    assert not is_live(path)
    assert claim(tmp_path).held()


# --- file systems without hard links ---


def refuse_hard_links(monkeypatch, number=errno.EPERM):
    def link(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


def race(folder, start, results):
    for number in range(200):
        start.wait()
        lease = claim(folder / str(number))
        results.put((number, lease is not None))
        start.wait()
        assert lease is None or lease.held()


@pytest.mark.parametrize("stale", [False, True])
def test_without_hard_links_one_of_two_processes_holds_a_lease(tmp_path, monkeypatch, stale):
    refuse_hard_links(monkeypatch)
    if stale:
        for number in range(200):
            (tmp_path / str(number)).mkdir()
            (tmp_path / str(number) / LEASE).write_text(json.dumps({**OWNER, "born": "long ago"}))
    start, results = FORK.Barrier(2), FORK.Queue()
    processes = [FORK.Process(target=race, args=(tmp_path, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    held = [number for number, mine in (results.get(timeout=60) for _ in range(400)) if mine]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(held) == list(range(200))
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {LEASE}


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS])
def test_a_file_system_without_hard_links_is_named_once(tmp_path, monkeypatch, capsys, number):
    refuse_hard_links(monkeypatch, number)
    for name in ("one", "two"):
        with claim(tmp_path / name) as lease:
            assert lease.held()
            assert claim(tmp_path / name) is None
    said = capsys.readouterr().err.splitlines()
    assert said == [f"bagoftricks: {tmp_path} has no hard links ({os.strerror(number)}): leases are made without them"]


def test_a_guard_whose_process_was_killed_holds_a_lease_up_for_a_minute_alone(tmp_path, monkeypatch):
    refuse_hard_links(monkeypatch)
    guard = tmp_path / ".lease.json.guard.tmp"
    guard.touch()
    assert claim(tmp_path) is None
    os.utime(guard, (time.time() - PAST,) * 2)
    assert claim(tmp_path).held()


def test_another_error_of_the_disk_is_no_lack_of_hard_links(tmp_path, monkeypatch):
    refuse_hard_links(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        claim(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- a holder that is stopped ---


def holds_then_writes(folder, holding):
    """As a process of another host: claim, be stopped, and write once it is continued."""
    l.host = lambda: "elsewhere"
    store = Store(folder)
    with store.claim("run") as lease:
        holding.set()
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            store.write_metrics("run", [{"by": "stopped"}], before=partial(require_held, lease, "run"))
        except RunElsewhere:
            os._exit(3)
    os._exit(0)


def test_a_holder_that_was_stopped_for_longer_than_its_lease_writes_nothing_once_it_is_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(l, "STALE_SECONDS", 0.5)
    monkeypatch.setattr(l, "HEARTBEAT_SECONDS", 0.1)
    holding, store = FORK.Event(), Store(tmp_path)
    process = FORK.Process(target=holds_then_writes, args=(tmp_path, holding))
    process.start()
    assert holding.wait(30)
    os.waitpid(process.pid, os.WUNTRACED)
    assert store.claim("run") is None
    time.sleep(0.7)
    with store.claim("run") as lease:
        store.write_metrics("run", [{"by": "next"}], before=partial(require_held, lease, "run"))
        os.kill(process.pid, signal.SIGCONT)
        process.join()
        assert process.exitcode == 3
        assert lease.held()
    assert (tmp_path / "run" / "metrics.csv").read_text().split() == ["by", "next"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_step_of_the_clock_of_a_process_moves_no_lease(tmp_path, monkeypatch, hours):
    with claim(tmp_path) as lease:
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 3600 * hours)
        assert is_live(tmp_path / LEASE)
        assert claim(tmp_path) is None
        assert lease.held()
