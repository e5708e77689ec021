"""Plan of a sweep, which starts nothing: every run with its state, and what the missing ones will take and show."""

import os
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

from bagoftricks.cli.layout import terminal_fit
from bagoftricks.cli.streams import say, show_result
from bagoftricks.engines.base import make_engine
from bagoftricks.errors import UserError
from bagoftricks.report.dawnbench import NO_MEASURE
from bagoftricks.report.foresight import foresee
from bagoftricks.report.plan import Outlook, lacking_lines, plan_table, waiting_lines
from bagoftricks.report.score import score_of
from bagoftricks.study.arms import SELECTING
from bagoftricks.study.disk import disk_need
from bagoftricks.study.estimate import estimate, like_records
from bagoftricks.study.look_history import former_looks
from bagoftricks.study.plan import PlannedRun, runs_to_train, save_study, states

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bagoftricks.cli.sweep_arguments import Sweep
    from bagoftricks.cli.swept_study import SweptStudy
    from bagoftricks.store.store import RunState
    from bagoftricks.study.plan import Plan, PlannedRun


def show_plan(plan: "Plan", study: "SweptStudy") -> None:
    """Print every run with its state, and what the missing ones will take and show."""
    sweep, store = study.sweep, study.store
    at = {**states(plan, store), **queue_states(plan.runs, sweep)}
    show_result(plan_table(plan, at, outlook(plan, study), study.base.format, terminal_fit()))
    say_what_follows(plan, sweep)


def queue_states(runs: "Sequence[PlannedRun]", sweep: "Sweep") -> "Mapping[str, RunState]":
    """Return by id whether a run is queued or running, if a job of the engine carries it out."""
    return make_engine(sweep.engine, sweep.engine_values).states(runs)


def show_commands(plan: "Plan", study: "SweptStudy") -> None:
    """Print a shell command for each missing run, on a line of its own, and save the study for its table."""
    sweep, store = study.sweep, study.store
    todo = runs_to_train(plan, states(plan, store), retry=sweep.retry == "failed")
    ready = [run for run in todo if isinstance(run, PlannedRun) or not run.waits_for]
    lines = [f"cd {shlex.quote(os.getcwd())} && {run.command}" for run in ready]
    if broken := next((line for line in lines if "\n" in line), None):
        raise UserError(f"format=commands: a command has a line break in it, {broken!r}: a line must hold a run")
    if unknown := [run for run in plan.unnamed if not run.waits_for]:
        count = len(unknown)
        say("bot-sweep", f"{count} runs have no id here: bot-table has them after bot-sweep, once they are finished")
    else:
        _save(plan, study)
        say("bot-sweep", f"{len(todo)} of {len(plan.every_run)} runs are missing; then: {study.table_command}")
    for line in [f"{line}; then type this again" for line in waiting_lines(plan)] + lacking_lines(plan):
        say("bot-sweep", line)
    say_what_follows(plan, sweep)
    if lines:
        show_result("\n".join(lines))


def _save(plan: "Plan", study: "SweptStudy") -> None:
    """Save the study as bot-sweep does before it trains, without what made it print commands."""
    store = study.store
    store.writable()
    looks = former_looks(store, study.name, plan).planned(study.sweep.looks or [len(plan.seeds)])
    words = [word for word in shlex.split(study.about["command"]) if word not in ("plan=true", "format=commands")]
    save_study(store, study.name, plan, {**study.about, **asdict(looks), "command": shlex.join(words)})


def say_what_follows(plan: "Plan", sweep: "Sweep") -> None:
    """Say what depends on the results of a plan's first runs."""
    if sweep.looks:
        from bagoftricks.cli.sweep_looks import plan_line

        say("bot-sweep", plan_line(plan, sweep.looks))
    if sweep.design in SELECTING:
        from bagoftricks.cli.sweep_selection import start_selection

        say("bot-sweep", start_selection(sweep).later())


def outlook(plan: "Plan", study: "SweptStudy") -> Outlook:
    """Return what the runs of a plan that are missing will take and show."""
    sweep, store = study.sweep, study.store
    retry, slots = sweep.retry == "failed", sweep.at_once
    todo, like = runs_to_train(plan, states(plan, store), retry=retry), like_records(plan, store)
    score = score_of(study.about.get("score") or "top1", NO_MEASURE)
    resolve = study.about.get("resolve") or score.resolve
    return Outlook(
        time=estimate(plan, todo, store, slots),
        foresight=foresee(sweep.design, plan.arms, len(plan.seeds), like, score, resolve),
        disk=disk_need(todo, like, store, slots),
        price_per_hour=(study.about.get("measure") or {}).get("price_per_hour"),
        slots=slots,
        retry=retry,
    )
