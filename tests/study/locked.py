"""Studies with records that nobody trained, and their locks."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from bagoftricks.cli.compose import compose_settings
from bagoftricks.cli.sweep_arguments import parse
from bagoftricks.cli.sweep_study import study_of
from bagoftricks.report.locking import lock_study
from bagoftricks.report.study_parts import load_study
from bagoftricks.store.record import Record
from bagoftricks.store.secrets import hide
from bagoftricks.store.store import Store
from bagoftricks.study.lock import Lock
from bagoftricks.study.plan import Plan, PlannedRun, save_study
from bagoftricks.study.planner import make_plan
from tests.store.test_store import record

Top1 = Callable[[PlannedRun], float]


def same(run: PlannedRun) -> float:
    return 70.0


def record_of(run: PlannedRun, top1: float, **changes: Any) -> Record:
    """The record that a planned run would leave, with this accuracy."""
    identity, settings = run.identity, run.settings
    data = {
        "name": settings.data.name,
        "digest": identity["data"]["digest"],
        "classes": identity["data"]["num_classes"],
    }
    facts: dict[str, Any] = {
        "id": run.id,
        "seed": run.seed,
        "epochs": settings.epochs,
        "tricks": identity["tricks"],
        "model": {**hide(identity["model"])},
        "config": hide(asdict(settings)),
        "plugins": identity.get("plugins", {}),
        "command": run.command,
        "files": {"weights.safetensors": f"{run.id}-{top1}"},
    }
    return record(metrics={"top1": top1}, data=data, **{**facts, **changes})


def finished_study(store: Store, arguments: Sequence[str], top1: Top1 = same, **changes: Any) -> tuple[Plan, Lock]:
    """Plan a study as bot-sweep does, store records of its runs, and return its plan and its lock."""
    sweep = parse(arguments)
    arms, overrides, about = study_of(sweep)
    plan = make_plan(arms, sweep.seeds, overrides, compose_settings)
    for run in plan.runs:
        store.write_record(record_of(run, top1(run), **changes))
    name = sweep.name or sweep.experiment or str(sweep.design)
    save_study(store, name, plan, {**about, "command": "bot-sweep " + " ".join(arguments)})
    return plan, lock_of(store, name)


def lock_of(store: Store, name: str) -> Lock:
    study = load_study(store, name)
    lock = lock_study(study, {arm.label: arm.records(store) for arm in study.arms})
    assert lock is not None
    return lock
