"""The lock of a study: written into pages and JSON, and read back with every check."""

import json
from dataclasses import replace

import pytest

from bagoftricks.errors import UserError
from bagoftricks.report.locking import lock_study
from bagoftricks.report.study_parts import load_study
from bagoftricks.store.json_fields import SEAL, sealed_text
from bagoftricks.store.record import Scores
from bagoftricks.store.store import Store
from bagoftricks.study.lock import (
    LOCK_FORMAT,
    LOCK_TAG,
    Lock,
    LockedArm,
    LockedData,
    LockedMachine,
    LockedRun,
    lock_digest,
    lock_element,
    lock_json,
    lock_line,
    lock_values,
    read_lock,
    travelling,
    without_folders,
)
from tests.store.test_store import record

SCORES = Scores(top1=70.5, top5=90.0, loss=None)
MACHINE = LockedMachine(
    device="here", threads=1, python="3", bagoftricks="0", torch="2", torchvision="0", numpy="2", git_revision=None
)
DATA = LockedData(name="digits", digest="d", classes=10, train_images=8, val_images=2)


def run(seed: int, **changes) -> LockedRun:
    return LockedRun(id=f"a{seed}", seed=seed, metrics={"last": SCORES}, **changes)


def made(**changes) -> Lock:
    """A lock of two arms, whose label is what HTML must not see."""
    arms = (
        LockedArm(label="base", data=0, runs=(run(0), run(1))),
        LockedArm(label="</script><b>&", tricks={"mixup": {"alpha": 0.2}}, compare_to="base", unfinished={"0": "b0"}),
    )
    facts = {"name": "s", "command": "bot-sweep design=stack", "seeds": (0, 1), "data": (DATA,), "machines": (MACHINE,)}
    return Lock(**{**facts, "arms": arms, **changes})


def resealed(change) -> bytes:
    """The values of a lock, changed by somebody who knows how to seal."""
    values = lock_values(made())
    values.pop(SEAL)
    change(values)
    return sealed_text(values).encode()


def test_a_lock_of_a_version_without_soft_top1_keeps_its_values_and_its_seal(tmp_path):
    path = tmp_path / "lock.json"
    path.write_text(lock_json(made()))
    assert "soft_top1" not in path.read_text()
    assert read_lock("from", str(path)).arms[0].runs[0].metrics["last"].soft_top1 is None
    assert lock_digest(made()) == "5ef3c2e2c4960db4a1ed14e4726e94b8eb8fe880bf050a0d69b94114ec50a165"


@pytest.mark.parametrize(
    "carrier",
    [
        lock_json,
        lambda lock: f"<p>{lock_element(lock)}</p>",
        lambda lock: json.dumps({"rows": [], "lock": lock_values(lock)}),
    ],
    ids=["alone", "page", "table"],
)
def test_a_lock_comes_back_from_whatever_carries_it(tmp_path, carrier):
    (tmp_path / "file").write_text(carrier(made()))
    assert read_lock("from", str(tmp_path / "file")) == made()


def test_a_study_that_a_page_has_twice_is_one(tmp_path):
    (tmp_path / "page").write_text(lock_element(made(), made()))
    assert read_lock("from", str(tmp_path / "page")) == made()


def test_of_several_studies_one_is_chosen_by_its_name(tmp_path):
    (tmp_path / "page").write_text(lock_element(made(), made(name="t")))
    assert read_lock("from", str(tmp_path / "page"), "t") == made(name="t")
    with pytest.raises(UserError, match="holds the studies s, t: choose one with study=NAME"):
        read_lock("compare", str(tmp_path / "page"))


def test_no_text_of_a_lock_ends_its_element():
    inside = lock_element(made()).removeprefix(LOCK_TAG).removesuffix("</script>")
    assert not set("<>&") & set(inside)
    assert json.loads(inside)["arms"][1]["label"] == "</script><b>&"


def test_the_digest_is_of_the_values_and_stands_in_the_line():
    other = made(command="bot-sweep design=arms")
    assert lock_digest(made()) == lock_digest(made()) != lock_digest(other)
    assert lock_line(made()) == f"study s, lock {lock_digest(made())[:16]}, made by: bot-sweep design=stack"
    assert "made by" not in lock_line(made(), command=False)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it has no lock"),
        (b"<html></html>", "it has no lock"),
        (f"{LOCK_TAG}{{}}</script>".encode() * 2, "it has several places of a lock"),
        (f"{LOCK_TAG}{{".encode(), "it ends inside the lock"),
        (b"{}", "it has no lock"),
        (b'{"lock": 5}', "it has no lock"),
        (b'{"sha256": NaN}', "NaN is no JSON"),
        (b'{"sha256":' + b"[" * 100_000, "nested too deeply"),
        (b'{"sha256": 1, "a": ' + b"[" * 20 + b"]" * 20 + b"}", "levels"),
        (lock_json(made()).replace("70.5", "71.5").encode(), "damaged or edited"),
        (resealed(lambda v: v.update(_target_="os.system")), "_target_: unknown field"),
        (resealed(lambda v: v.update(name="a\nb")), "printable"),
        (resealed(lambda v: v.update(name="")), "printable"),
        (resealed(lambda v: v.update(seeds=list(range(40_000)))), "65,536 runs"),
        (resealed(lambda v: v.update(seeds=[0, 0])), "each once"),
        (resealed(lambda v: v["arms"].append(v["arms"][0])), "one label"),
        (resealed(lambda v: v["arms"][1].update(compare_to="nobody")), "which is no arm"),
        (resealed(lambda v: v["arms"][0].update(data=1)), "no such data"),
        (resealed(lambda v: (v.update(factors=[["a"]]), v["arms"][0].update(on=["b"]))), "a level of no factor"),
        (resealed(lambda v: v["arms"][0]["runs"][0].update(id="../../etc")), "is no name"),
        (resealed(lambda v: v["arms"][0]["runs"][0].update(metrics={})), "metrics of last"),
        (resealed(lambda v: v["arms"][0]["runs"][0]["metrics"]["last"].update(top1=1e300)), "accuracies in percent"),
        (
            resealed(lambda v: v["arms"][0]["runs"][0].update(robustness={"c": {"last": {"mce": -1.0}}})),
            "a score that no",
        ),
        (resealed(lambda v: v["arms"][0]["runs"][0].update(seed=7)), "runs of the seeds"),
        (resealed(lambda v: v["arms"][0]["runs"][0].update(machine=-1)), "without a machine"),
        (resealed(lambda v: v["arms"][1].update(unfinished={"0": "/"})), "is no id"),
        (resealed(lambda v: v["arms"][1].update(unfinished={"9": "b0"})), "a run of no seed"),
        (resealed(lambda v: v.update(format=0)), "format 0 does not exist"),
    ],
)
def test_a_file_that_is_no_lock_is_refused_in_one_line(tmp_path, data, why):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UserError, match="holds no lock of a study") as refused:
        read_lock("from", str(tmp_path / "file"))
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_newer_lock_a_large_file_and_one_that_is_not_there_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(resealed(lambda v: v.update(format=LOCK_FORMAT + 1, more="of it")))
    with pytest.raises(UserError, match="newer version of bagoftricks: upgrade"):
        read_lock("from", str(file))
    monkeypatch.setattr("bagoftricks.study.lock.CARRIER_BYTES", 10)
    with pytest.raises(UserError, match="more than 10 bytes"):
        read_lock("from", str(file))
    for other, message in ((tmp_path, "holds no lock of a study"), (tmp_path / "none", "no such file")):
        with pytest.raises(UserError, match=message):
            read_lock("from", str(other))


def test_places_code_and_secrets_do_not_travel():
    kept = {"lr": 0.1, "data.limit": 5, "runtime.sync_norm": True}
    gone = {
        "store": "x",
        "plugins": ["x"],
        "data.root": "/home/x",
        "runtime.device": "cuda",
        "seed": 3,
        "data.token": "***",
    }
    assert travelling(kept | gone | {"runtime.devices": 2}) == kept
    assert travelling({"runtime.sync_norm": False, "runtime.devices": 2}) == {
        "runtime.sync_norm": False,
        "runtime.devices": 2,
    }
    assert travelling({"model.weights": "/home/x/w.pth"}) == {"model.weights": "w.pth"}
    assert without_folders("timm:resnet50:/home/x/w.pth") == "timm:resnet50:w.pth"
    assert without_folders("run:abc") == "run:abc"


def study(tmp_path, records: dict, **arms):
    """The lock of a study whose arms have these runs (seed -> id) and records (id -> changes)."""
    store = Store(tmp_path)
    for run_id, changes in records.items():
        store.write_record(record(id=run_id, **changes))
    whole = {
        "name": "s",
        "command": "bot-sweep",
        "seeds": [0, 1],
        "arms": [{"label": a, **arm} for a, arm in arms.items()],
    }
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/s.json").write_text(json.dumps(whole))
    found = load_study(store, "s")
    return lock_study(found, {arm.label: arm.records(store) for arm in found.arms})


def test_settings_and_tricks_of_all_arms_are_stored_once(tmp_path):
    config = {
        "data": {"name": "digits", "root": "/x"},
        "lr": 0.1,
        "tricks": {"ema": {}, "distill": {"teacher": "file:/x/w"}},
    }
    effective = {"ema": {"decay": 0.9}, "distill": {"teacher": "digest", "mode": "online"}, "mixup": {"alpha": 0.2}}
    teacher = {"teacher": {"source": "file:/x/w", "digest": "digest", "run": None}}
    records = {
        "a": {"config": {**config, "epochs": 3}, "tricks": {"ema": {"decay": 0.9}}},
        "b": {"config": {**config, "epochs": 4}, "tricks": effective, "data": teacher},
    }
    lock = study(
        tmp_path, records, base={"runs": {"0": "a", "1": "c"}}, more={"tricks": {"mixup": {}}, "runs": {"0": "b"}}
    )
    base, more = lock.arms
    assert (lock.settings, lock.tricks) == ({"data": "digits", "lr": 0.1}, {"ema": {"decay": 0.9}})
    assert (base.settings, base.unfinished, base.data) == ({"epochs": 3}, {"1": "c"}, 0)
    assert (more.tricks, more.settings) == ({"mixup": {"alpha": 0.2}}, {"epochs": 4})
    assert more.more_tricks == {"distill": {"teacher": "file:w", "mode": "online"}}
    assert more.contents == {"tricks.distill.teacher": "digest"}
    assert lock.ids() == {"base": {0: "a", 1: "c"}, "more": {0: "b"}}


def test_without_a_finished_run_there_is_no_lock(tmp_path):
    assert study(tmp_path, {}, base={"runs": {"0": "a"}}) is None


def test_a_lock_is_small(tmp_path):
    arms = tuple(replace(made().arms[0], label=str(i), runs=tuple(run(seed) for seed in (0, 1))) for i in range(50))
    assert len(lock_json(made(arms=arms))) < 3000 + 1000 * 100
