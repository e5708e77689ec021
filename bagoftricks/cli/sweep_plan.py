"""Plan of a sweep, which starts nothing: every run with its state, and what the missing ones will take and show."""

from typing import TYPE_CHECKING

from bagoftricks.cli.layout import terminal_fit
from bagoftricks.cli.streams import say, show_result
from bagoftricks.report.dawnbench import NO_MEASURE
from bagoftricks.report.foresight import foresee
from bagoftricks.report.plan import Outlook, plan_table
from bagoftricks.report.score import score_of
from bagoftricks.study.arms import SELECTING
from bagoftricks.study.disk import disk_need
from bagoftricks.study.estimate import estimate, like_records
from bagoftricks.study.plan import runs_to_train, states

if TYPE_CHECKING:
    from bagoftricks.cli.swept_study import SweptStudy
    from bagoftricks.study.plan import Plan


def show_plan(plan: "Plan", study: "SweptStudy") -> None:
    """Print every run with its state, and what the missing ones will take and show."""
    sweep, store = study.sweep, study.store
    show_result(plan_table(plan, store, outlook(plan, study), study.base.format, terminal_fit()))
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
