"""The survey of a store, and removal: every run once with its state, and nothing but what was named goes."""

import json
import os
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bagoftricks.errors import RunElsewhere, UserError
from bagoftricks.store import removal
from bagoftricks.store.description import RunDescription, find_description, write_description
from bagoftricks.store.lease import LEASE, born, host
from bagoftricks.store.removal import QUIET_SECONDS, find_litter, remove_litter, remove_run
from bagoftricks.store.store import Store
from bagoftricks.store.survey import FolderState, find_run, run_names, shortest_prefixes, survey
from tests.store.test_store import record

OLD = time.time() - 2 * QUIET_SECONDS


def describe(folder, **changes):
    values = {
        "tricks": {},
        "data": "digits",
        "model": {"name": "resnet"},
        "seed": 0,
        "epochs": 2,
        "command": "bot-train",
    }
    write_description(folder, RunDescription(**{**values, "id": folder.name, **changes}), before=lambda: None)


def lease(folder, *, elsewhere=False, dead=False):
    owner = {"token": "t", "host": "other:1:2" if elsewhere else host(), "pid": os.getpid(), "born": born(os.getpid())}
    if dead and not elsewhere:
        owner["born"] = "0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LEASE).write_text(json.dumps(owner))
    if not dead:
        os.utime(folder / LEASE)


def finished(folder):
    Store(folder.parent).write_record(record(id=folder.name))
    (folder / "weights.safetensors").write_bytes(b"w" * 9)


def checkpointed(folder):
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints" / "000000004.safetensors").write_bytes(b"half")


def killed(folder):
    describe(folder)
    lease(folder, dead=True)


def failed(folder):
    folder.mkdir()
    Store(folder.parent).mark_failed(folder.name, "it broke", "")


def stopped(folder):
    describe(folder)
    Store(folder.parent).mark_interrupted(folder.name)


def littered(folder):
    finished(folder)
    checkpointed(folder)
    lease(folder, dead=True, elsewhere=True)


def leftover(folder):
    folder.mkdir()
    (folder / "metrics.csv").write_text("epoch\n")
    (folder / "correct.safetensors").write_text("bits")
    (folder / ".metrics.csv.1.tmp").write_text("half")


def damaged(folder):
    folder.mkdir()
    (folder / "record.json").write_text("{}")


def linked(folder):
    elsewhere = folder.parent.parent / "outside"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "record.json").write_text("theirs")
    folder.symlink_to(elsewhere)


MAKERS = {
    finished: FolderState.FINISHED,
    littered: FolderState.FINISHED,
    lease: FolderState.RUNNING,
    lambda folder: lease(folder, elsewhere=True): FolderState.RUNNING,
    checkpointed: FolderState.INTERRUPTED,
    killed: FolderState.INTERRUPTED,
    stopped: FolderState.INTERRUPTED,
    failed: FolderState.FAILED,
    leftover: FolderState.LEFTOVER,
    lambda folder: folder.mkdir(): FolderState.LEFTOVER,
    damaged: FolderState.DAMAGED,
    linked: FolderState.DAMAGED,
}
NAMES = [f"{number:02x}" * 10 for number in range(6)]
STORES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(list(MAKERS)), min_size=1)


def make(root, runs):
    """Make a store with these runs, and with folders that are no runs; all of it old but live leases."""
    root.mkdir()
    for name, maker in runs.items():
        maker(root / name)
    for name in ("studies", "photos", ".git"):
        (root / name).mkdir()
        (root / name / "cat.png").write_text("cat")
    for base, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(base, name)
            live = name == LEASE and MAKERS[runs[path.parent.name]] is FolderState.RUNNING
            os.utime(path, (time.time() if live else OLD,) * 2, follow_symlinks=False)
    return Store(root)


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def of(files, name):
    return {file for file in files if file.startswith(f"{name}/")}


@settings(max_examples=30)
@given(STORES)
def test_each_run_is_listed_once_with_its_state(runs):
    with TemporaryDirectory() as folder:
        store = make(Path(folder) / "store", runs)
        before = tree(store.root)
        found = {run.id: run.state for run in survey(store)}
        assert found == {name: MAKERS[maker] for name, maker in runs.items()}
        assert [run.id for run in survey(store)] == sorted(runs)
        assert tree(store.root) == before


@settings(max_examples=30)
@given(STORES, st.sets(st.sampled_from(NAMES)))
def test_delete_removes_what_is_named_and_never_a_live_run_or_what_lies_outside(runs, named):
    with TemporaryDirectory() as folder:
        store = make(Path(folder) / "store", runs)
        outside = Path(folder) / "outside"
        before, kept = tree(store.root), tree(outside) if outside.exists() else None
        gone = set()
        for name in named & runs.keys():
            free = MAKERS[runs[name]] is not FolderState.RUNNING and runs[name] is not linked
            if free:
                remove_run(store, name)
                gone |= of(before, name)
            else:
                with pytest.raises((RunElsewhere, UserError)):
                    remove_run(store, name)
        assert tree(store.root) == {file: data for file, data in before.items() if file not in gone}
        assert kept is None or tree(outside) == kept


@settings(max_examples=30)
@given(STORES, st.sets(st.sampled_from([FolderState.FAILED, FolderState.INTERRUPTED])))
def test_prune_leaves_all_that_a_run_needs(runs, states):
    with TemporaryDirectory() as folder:
        store = make(Path(folder) / "store", runs)
        before = tree(store.root)
        for litter in find_litter(store, survey(store), states):
            remove_litter(store, litter)
        after, wanted = tree(store.root), dict(before)
        for name, maker in runs.items():
            whole = MAKERS[maker] in {FolderState.LEFTOVER, *states}
            for file in of(before, name):
                if whole or (maker is littered and ("checkpoints" in file or LEASE in file)):
                    del wanted[file]
            assert (store.root / name).exists() != whole
        assert after == wanted
        assert find_litter(store, survey(store), states) == []


def test_what_changed_just_now_is_no_litter_yet(tmp_path):
    store = make(tmp_path / "store", {NAMES[0]: leftover, NAMES[1]: littered})
    os.utime(store.root / NAMES[0] / "metrics.csv")
    (store.root / NAMES[1] / "checkpoints" / "000000004.safetensors").touch()
    assert find_litter(store, survey(store)) == []


def test_a_run_that_a_process_takes_after_it_was_listed_is_left_alone(tmp_path):
    store = make(tmp_path / "store", {NAMES[0]: leftover, NAMES[1]: littered, NAMES[2]: failed})
    found = find_litter(store, survey(store), [FolderState.FAILED])
    assert len(found) == 3
    for name in NAMES[:3]:
        lease(store.root / name)
    before = tree(store.root)
    for litter in found:
        with pytest.raises(RunElsewhere, match="in use by a process"):
            remove_litter(store, litter)
    assert tree(store.root) == before


def test_a_leftover_folder_with_a_file_that_no_run_writes_stays(tmp_path):
    store = make(tmp_path / "store", {NAMES[0]: leftover})
    (store.root / NAMES[0] / "notes.txt").write_text("mine")
    os.utime(store.root / NAMES[0] / "notes.txt", (OLD, OLD))
    assert find_litter(store, survey(store)) == []


def test_a_delete_that_is_killed_leaves_litter_that_prune_removes(tmp_path, monkeypatch):
    store = make(tmp_path / "store", {NAMES[0]: finished})
    monkeypatch.setattr(removal, "remove", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        remove_run(store, NAMES[0])
    monkeypatch.undo()
    assert run_names(store) == []
    (moved,) = store.root.glob(".*.tmp")
    for path in (moved, *moved.iterdir()):
        os.utime(path, (OLD, OLD))
    (litter,) = find_litter(store, survey(store))
    assert litter.size[0] == 3  # with the lease
    remove_litter(store, litter)
    assert not list(store.root.glob(".*.tmp"))


def test_temporaries_of_shared_folders_are_litter(tmp_path):
    store = make(tmp_path / "store", {NAMES[0]: finished})
    for path in (store.root / "studies" / ".s.json.1.tmp", store.root / ".writable.1.tmp"):
        path.write_text("half")
        os.utime(path, (OLD, OLD))
    found = find_litter(store, survey(store))
    assert sorted(litter.paths[0].name for litter in found) == [".s.json.1.tmp", ".writable.1.tmp"]


def test_a_run_in_use_says_by_whom(tmp_path):
    lease(tmp_path / NAMES[0], elsewhere=True)
    (found,) = survey(Store(tmp_path))
    assert (found.owner.host, found.owner.pid) == ("other", os.getpid())


def test_a_finished_run_that_is_evaluated_or_trained_again_says_so(tmp_path):
    folder = tmp_path / NAMES[0]
    finished(folder)
    lease(folder)
    (found,) = survey(Store(tmp_path))
    assert (found.state, found.why) == (FolderState.FINISHED, "it is being evaluated now")
    (folder / LEASE).unlink()
    Store(tmp_path).mark_failed(folder.name, "no room", "")
    describe(folder)
    (found,) = survey(Store(tmp_path))
    assert (found.state, found.why) == (FolderState.FINISHED, "when it was trained again, it failed: no room")


@pytest.mark.parametrize(
    ("prefix", "message"),
    [("a", "a is the start of 2 ids: aa11aa11, aabbaabb; type more of it"),
     ("", "has no run of this id"), ("aabc", "no run of this id; there are aabbaabb"), ("../x", "no run of this id")],
)  # fmt: skip
def test_an_id_that_names_no_single_run_is_refused_with_the_near_ones(tmp_path, prefix, message):
    failed(tmp_path / "aa11aa11")
    finished(tmp_path / "aabbaabb")
    with pytest.raises(UserError, match=message):
        find_run(Store(tmp_path), prefix)
    assert find_run(Store(tmp_path), "aa1").state is FolderState.FAILED
    assert find_run(Store(tmp_path), "last").id == "aabbaabb"


def test_a_description_that_is_damaged_or_of_another_run_is_none(tmp_path):
    describe(tmp_path / NAMES[0], command="bot-train seed=3")
    assert find_description(tmp_path / NAMES[0]).command == "bot-train seed=3"
    path = tmp_path / NAMES[0] / "run.json"
    path.write_text(path.read_text().replace("seed=3", "seed=4"))
    assert find_description(tmp_path / NAMES[0]) is None
    describe(tmp_path / NAMES[0])
    shutil.copytree(tmp_path / NAMES[0], tmp_path / NAMES[1])
    assert find_description(tmp_path / NAMES[1]) is None


@given(st.sets(st.text("ab1", min_size=8, max_size=12)))
def test_the_shortest_beginnings_name_one_id_each(ids):
    found = shortest_prefixes(list(ids))
    for name, prefix in found.items():
        assert name.startswith(prefix)
        assert prefix == name or [other for other in ids if other.startswith(prefix)] == [name]
        assert len(prefix) >= 6


def test_a_finished_run_that_is_in_use_has_no_litter(tmp_path):
    store = make(tmp_path / "store", {NAMES[0]: littered})
    assert len(find_litter(store, survey(store))) == 1
    lease(store.root / NAMES[0])
    assert find_litter(store, survey(store)) == []
