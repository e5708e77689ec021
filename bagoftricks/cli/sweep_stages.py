"""Stages of a sweep: rows whose weights others need are trained first, then the plan is made again with the others."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from bagoftricks.cli.streams import say
from bagoftricks.study.plan import stopped_runs

if TYPE_CHECKING:
    from bagoftricks.store.store import Store
    from bagoftricks.study.plan import Plan, PlannedRun

    Train = Callable[[Plan], list[PlannedRun]]


def train_in_stages(
    plan: "Plan", plan_again: "Callable[[], Plan]", train: "Train", store: "Store", *, alone: bool
) -> "list[PlannedRun]":
    """Train what needs no other run's weights, plan again, and so on until no run waits; return the runs.

    ``alone``: of a study that is judged look by look, teachers are trained alone, before the first look. A teacher that
    fails costs the arms of its students.
    """
    runs: list[PlannedRun] = []
    while waiting := {run.label: run.waits_for for run in plan.unnamed if run.waits_for}:
        teachers = ", ".join(f"'{label}'" for label in dict.fromkeys(waiting.values()))
        say("bot-sweep", f"{len(waiting)} of {len(plan.arms)} arms wait for the weights of {teachers}, trained first")
        runs = train(teachers_alone(plan) if alone else plan)
        if stopped_runs(runs, store):
            return runs
        again = plan_again()
        left = {run.label: run.waits_for for run in again.unnamed if run.waits_for}
        plan = replace(again, unnamed=()) if left == waiting else again
        if left == waiting:
            for label, teacher in left.items():
                say(
                    "bot-sweep",
                    f"arm '{label}' is not trained: the first run of '{teacher}', whose weights it needs, failed",
                )
            return train(plan) if alone else runs
    return train(plan)


def teachers_alone(plan: "Plan") -> "Plan":
    """Return the plan of the runs that others wait for, of those that can be trained now."""
    wanted = {run.waits_for for run in plan.unnamed if run.waits_for}
    first = {run.label: run for run in reversed(plan.runs) if run.label in wanted}
    return replace(plan, runs=tuple(first.values()), seeds=plan.seeds[:1])
