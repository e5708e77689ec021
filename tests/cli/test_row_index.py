"""What the index of a large store chooses is what reading all its records chooses, whatever happened to either."""

import json
import os
import random
import shutil
from dataclasses import replace

import pytest

from bagoftricks.report import row_index
from bagoftricks.store.files import note_once
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


@pytest.fixture
def many(bot, train_once, tmp_path, monkeypatch):
    """Store of thirty runs, which counts as large; what has just been written is indexed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(row_index, "MANY_RUNS", 1)
    monkeypatch.setattr(row_index, "CLOCK_TICK", -(10**12))
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


def answers(bot, monkeypatch, question, *, indexed):
    note_once.cache_clear()  # once in a process
    with monkeypatch.context() as patch:
        if not indexed:
            patch.setattr(row_index, "MANY_RUNS", 10**9)
        done = bot("bot-table", "store=many", *question)
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


CHANGES = [
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
    (place,) = (row_index.cache_folder() / "rows").iterdir()
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
        place.write_bytes(row_index._digest(text) + b"\n" + text)
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
