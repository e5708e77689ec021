"""What the index of a large store chooses is what reading all its records chooses, whatever happened to either."""

import json
import os
import random
import shutil
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bagoftricks.report import row_index, run_index, store_index
from bagoftricks.store.files import note_once
from bagoftricks.store.json_fields import sealed_text
from bagoftricks.store.record import read_record, record_text
from bagoftricks.store.store import Store

FAST = ["epochs=1", "batch_size=128", "model.depths=[1]", "model.width=4", "runtime.device=cpu"]
QUESTIONS = [
    ["limit=5"],
    ["where=lr<0.04 top1>0", "sort=-seed,lr"],
    ["where=tricks~mixup", "format=csv"],
    ["where=parent=null data=digits", "sort=host", "limit=3", "format=json"],
    ["sort=-top1", "columns=[top1,lr]", "limit=4"],
    ["where=seed=77", "limit=2"],  # none
    ["where=sed=1"],  # a mistake
    ["where=data.limit=null lr>=0.01", "limit=30"],
]

ABOUT_RUNS = [
    ["limit=5"],
    ["where=top1>0 seed!=2", "sort=seed,-label", "format=csv"],
    ["state=finished", "limit=3", "format=json"],
    ["where=label~mixup", "limit=4"],
    ["where=state=damaged"],
    ["where=agee=1"],  # a mistake
    ["sort=-changed", "limit=30"],
]


@pytest.fixture
def many(bot, train_once, tmp_path, monkeypatch):
    """Store of thirty runs, which counts as large; what has just been written is indexed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for module in (row_index, run_index):
        monkeypatch.setattr(module, "MANY_RUNS", 1)
        monkeypatch.setattr(module, "CLOCK_TICK", -(10**12))
    monkeypatch.setattr(run_index, "time", SimpleNamespace(time=lambda: 1e10, time_ns=time.time_ns))  # for equal ages
    train_once("+refine=ema", *FAST)
    (path,) = tmp_path.glob("results/runs/*/record.json")
    record, store = read_record(path), Store(tmp_path / "many")
    for number in range(30):
        add(store, record, path, number)
    store.first = record, path
    return store


def add(store, record, path, number):
    made = replace(record, id=f"{number:020x}", seed=number % 5, tricks={"mixup": {"alpha": 0.2}} if number % 3 else {})
    made.config.update(seed=number % 5, lr=round(0.01 * (number // 5 + 1), 3))
    store.folder(made.id).mkdir(parents=True, exist_ok=True)
    shutil.copy(path.with_name("metrics.csv"), store.folder(made.id))
    store.folder(made.id).joinpath("record.json").write_text(record_text(made))


def answers(bot, monkeypatch, question, *, indexed, command="bot-table"):
    note_once.cache_clear()  # once in a process
    with monkeypatch.context() as patch:
        if not indexed:
            for module in (row_index, run_index):
                patch.setattr(module, "MANY_RUNS", 10**9)
        done = bot(command, *(["list"] if command == "bot-runs" else []), "store=many", *question)
    return done.status, done.out, done.err


def rewrite(store, rng, chosen):
    record, path = store.first
    add(store, record, path, int(chosen.name, 16) + 5 * rng.randrange(1, 4) * 16**12)  # another run
    values = replace(record, id=chosen.name, seed=rng.randrange(9))
    values.config["lr"] = 0.001 * rng.randrange(1, 99)
    (chosen / "record.json").write_text(record_text(values))


def edit_in_place(store, rng, chosen):
    """A number of the same size, and the time of modification set back: the seal is broken."""
    file = chosen / "record.json"
    times, text = os.stat(file), file.read_text()
    with open(file, "r+") as opened:
        opened.write(text.replace('"seed": ', '"seed":9', 1))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def damage_metrics(store, rng, chosen):
    (chosen / "metrics.csv").write_text("epoch\n1\n")


def swap(store, rng, chosen):
    other = rng.choice([folder for folder in store.root.iterdir() if folder != chosen])
    chosen.rename(store.root / "aside")
    other.rename(chosen)
    (store.root / "aside").rename(other)


def link(store, rng, chosen):
    target = store.root.parent / f"target{rng.random()}"
    chosen.rename(target)
    chosen.symlink_to(target)


def lease(store, rng, chosen):
    (chosen / "lease.json").write_text(rng.choice(["{", "", "[]"]))


def failure(store, rng, chosen):
    store.mark_failed(chosen.name, "no room", "")


def interruption(store, rng, chosen):
    store.mark_interrupted(chosen.name)


CHANGES = [
    lease,
    failure,
    interruption,
    rewrite,
    edit_in_place,
    damage_metrics,
    swap,
    link,
    lambda store, rng, chosen: shutil.rmtree(chosen) if not chosen.is_symlink() else chosen.unlink(),
    lambda store, rng, chosen: (chosen / "record.json").write_text("{"),
    lambda store, rng, chosen: (chosen / "record.json").unlink(),
]


def test_answers_are_those_of_reading_all_records_after_any_change(bot, many, monkeypatch):
    rng, read = random.Random(0), []
    sound = Store.sound_record
    monkeypatch.setattr(Store, "sound_record", lambda self, path: (read.append(path), sound(self, path))[1])
    for step in range(24):
        if step:
            CHANGES[step % len(CHANGES)](
                many, rng, rng.choice([p for p in many.root.iterdir() if p.joinpath("record.json").exists()])
            )
        question = QUESTIONS[step % len(QUESTIONS)]
        mine = answers(bot, monkeypatch, question, indexed=True)
        assert mine == answers(bot, monkeypatch, question, indexed=False), (step, question)
    read.clear()
    answers(bot, monkeypatch, ["limit=2"], indexed=True)
    assert 0 < len(read) < 20  # the two rows' runs, and what is damaged or a link


def test_lists_of_runs_are_those_of_reading_all_folders_after_any_change(bot, many, monkeypatch):
    rng = random.Random(1)
    for step in range(33):
        if step:
            there = [path for path in many.root.iterdir() if path.joinpath("record.json").exists()]
            CHANGES[step % len(CHANGES)](many, rng, rng.choice([path for path in there if not path.is_symlink()]))
        question = ABOUT_RUNS[step % len(ABOUT_RUNS)]
        mine = answers(bot, monkeypatch, question, indexed=True, command="bot-runs")
        assert mine == answers(bot, monkeypatch, question, indexed=False, command="bot-runs"), (step, question)
    read, surveyed = [], run_index.survey_run
    monkeypatch.setattr(run_index, "survey_run", lambda store, name: (read.append(name), surveyed(store, name))[1])
    answers(bot, monkeypatch, ["limit=2", "state=finished"], indexed=True, command="bot-runs")
    assert 0 < len(read) < 25


def test_only_what_is_shown_is_read_again(bot, many, monkeypatch):
    answers(bot, monkeypatch, ["limit=2"], indexed=True)
    read, sound = [], Store.sound_record
    monkeypatch.setattr(Store, "sound_record", lambda self, path: (read.append(path), sound(self, path))[1])
    _, out, _ = answers(bot, monkeypatch, ["sort=-lr", "limit=2"], indexed=True)
    assert len(read) <= 2
    assert "2 of 60 rows" in out


@pytest.mark.parametrize("damage", ["empty", "half", "no digest", "edited", "other code", "folder", "other files"])
def test_a_broken_index_or_that_of_other_code_changes_nothing(damage, bot, many, monkeypatch):
    question = ["where=lr<0.04", "sort=-lr", "limit=7"]
    right = answers(bot, monkeypatch, question, indexed=True)
    (place,) = (store_index.cache_folder() / "rows").iterdir()
    data = place.read_bytes()
    values = json.loads(data.partition(b"\n")[2])
    values["cells"]["lr"] = [0.001]  # of all rows
    if damage == "folder":
        place.unlink()
        place.mkdir()
    elif damage == "edited":
        place.write_bytes(data.partition(b"\n")[0] + b"\n" + json.dumps(values).encode())
    elif damage in ("other code", "other files"):
        other = {"code": "other"} if damage == "other code" else {"facts": [n + 1 for n in values["facts"]]}
        values |= other
        text = json.dumps(values).encode()
        place.write_bytes(store_index._digest(text) + b"\n" + text)
    else:
        place.write_bytes({"empty": b"", "half": data[: len(data) // 2], "no digest": data[33:]}[damage])
    assert answers(bot, monkeypatch, question, indexed=True) == right


def test_what_has_just_been_written_is_read_each_time(bot, many, monkeypatch):
    monkeypatch.setattr(row_index, "CLOCK_TICK", 10**12)
    assert answers(bot, monkeypatch, ["limit=3"], indexed=True) == answers(bot, monkeypatch, ["limit=3"], indexed=False)
    read, sound = [], Store.sound_record
    monkeypatch.setattr(Store, "sound_record", lambda self, path: (read.append(path), sound(self, path))[1])
    answers(bot, monkeypatch, ["limit=3"], indexed=True)
    assert len(read) >= 30


def test_what_can_change_while_the_folder_of_a_run_does_not_is_read_each_time(bot, many, monkeypatch):
    leased, failed = sorted(many.root.iterdir())[:2]
    (leased / "lease.json").write_text("{}")
    many.mark_failed(failed.name, "no room", "")
    for live, error in ((False, "no room"), (True, "no time")):
        monkeypatch.setattr("bagoftricks.store.survey.is_live", lambda path, live=live: live)
        with open(failed / "failure.json", "r+") as file:
            text = sealed_text({"error": error, "traceback": ""})
            file.write(text)
        for words in ("being", error):
            asked = {"indexed": True, "command": "bot-runs"}
            done = answers(bot, monkeypatch, [f"where=why~'{words}'", "limit=9"], **asked)
            assert done == answers(bot, monkeypatch, [f"where=why~'{words}'", "limit=9"], **{**asked, "indexed": False})
    assert "it is being evaluated now" in answers(bot, monkeypatch, ["where=why~being"], **asked)[1]
