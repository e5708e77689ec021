"""bot-sweep: a design over tricks, or an experiment, becomes runs; the missing ones are trained; a table follows."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from bagoftricks.cli.app import DONE, FAILED, INTERRUPTED, run_command
from bagoftricks.cli.compose import compose_settings
from bagoftricks.cli.layout import terminal_fit
from bagoftricks.cli.streams import name_left_out, say, show_result
from bagoftricks.cli.sweep_arguments import Sweep, parse
from bagoftricks.cli.sweep_study import experiment_study, study_of, study_of_lock
from bagoftricks.cli.swept_study import SweptStudy
from bagoftricks.errors import UserError
from bagoftricks.store.json_fields import Json
from bagoftricks.study.arms import SELECTING

if TYPE_CHECKING:
    from bagoftricks.engines.base import View
    from bagoftricks.store.store import Store
    from bagoftricks.study.arms import Arm
    from bagoftricks.study.look_history import Looks
    from bagoftricks.study.plan import Plan, PlannedRun


def main(argv: list[str] | None = None) -> int:
    typed = sys.argv[1:] if argv is None else argv
    return run_command("bot-sweep", typed, lambda rest: run(parse(rest), typed))


def run(sweep: Sweep, arguments: Sequence[str]) -> int:
    """Plan, train what is missing, print the table; the exit status is 1 when a run failed."""
    study = swept_study(sweep, arguments)
    if sweep.plan:
        from bagoftricks.cli.sweep_plan import show_commands, show_plan

        (show_commands if sweep.commands else show_plan)(planned(study, study.arms), study)
        return DONE
    from bagoftricks.cli.sweep_page import check_page, leave_page
    from bagoftricks.report.study import study_report

    check_page(study)
    runs = train_study(study)
    if (sweep.worker and left_to_others(runs, study)) or (sweep.detached and show_queue(runs, study)):
        return DONE
    show_result(study_report(study.store, study.name, study.base.format, fit=terminal_fit()))
    status = how_it_ended(runs, study.store)
    leave_page(study)
    return status


def swept_study(sweep: Sweep, arguments: Sequence[str]) -> SweptStudy:
    """Return the study that was typed as ``arguments``. Raises UserError if none of its arms can run."""
    from bagoftricks.store.store import Store
    from bagoftricks.study.overrides import split_parameters

    if sweep.extend is not None:
        from bagoftricks.cli.extend import split_extensions
        from bagoftricks.cli.folding import extended_arguments

        arguments = extended_arguments(sweep, arguments)
        sweep = parse(split_extensions(arguments)[2])
    lock = None
    if sweep.from_ is not None:
        from bagoftricks.study.lock import read_lock

        lock = read_lock("from", sweep.from_, sweep.name or "")
        sweep = replace(sweep, seeds=lock.seeds, name=sweep.name or lock.name)
    arms, overrides, about = study_of(sweep) if lock is None else study_of_lock(lock, sweep)
    if sweep.experiment is not None and "design" in about:
        sweep = replace(sweep, design=about["design"], tricks=tuple(about["tricks"]))
    for arm in arms:
        if arm.needs:
            say("bot-sweep", f"arm '{arm.label}' needs {', '.join(arm.needs)}, not made yet")
    if arms and all(arm.needs or arm.quoted for arm in arms):
        raise UserError(f"no arm of {sweep.experiment or sweep.from_} can run yet (above)")
    if sweep.engine_values:
        from bagoftricks.engines.base import check_engine_values

        check_engine_values(sweep.engine, sweep.engine_values)
    base = compose_settings(split_parameters(overrides)[0])
    about = {**about, "command": shlex.join(["bot-sweep", *arguments])}
    about |= {} if sweep.resolve is None else {"resolve": sweep.resolve}
    about |= {} if sweep.score is None else {"score": sweep.score}
    if "score" in about:
        from bagoftricks.report.score import check_score

        check_score(about["score"])
    name = sweep.name or (experiment_study(sweep) if sweep.experiment else str(sweep.design))
    if base.logger and base.log_group is None:
        overrides, base = (*overrides, f"log_group={name}"), replace(base, log_group=name)
    return SweptStudy(sweep, arms, overrides, about, name, base, Store(base.store), lock)


def planned(study: SweptStudy, arms: "Sequence[Arm]") -> "Plan":
    """Return the plan of these arms. Arms that cannot be run stop it, unless ``skip=true``."""
    from bagoftricks.study.arms import CROSSED
    from bagoftricks.study.conflicts import require_compatible
    from bagoftricks.study.plan import with_ids_alone
    from bagoftricks.study.planner import Planner

    sweep = study.sweep
    here = not sweep.plan and sweep.engine == "local"  # a cluster's machines have GPUs that this one may lack
    planner = Planner(study.overrides, compose_settings, here=here, base=study.base)
    if sweep.design in CROSSED:
        require_compatible(sweep.design, sweep.tricks, planner, pairs=sweep.max_tricks != 1)
        for line in study.about["notes"]:
            say("bot-sweep", line)
    plan = planner.plan(arms, sweep.seeds)
    plan = plan if sweep.plan else with_ids_alone(plan)
    for label, why in plan.impossible.items():
        say("bot-sweep", f"arm '{label}' cannot run: {why}")
    if plan.impossible and sweep.design in CROSSED:
        why = f"{len(plan.impossible)} of {len(arms)} arms cannot run (above)"
        raise UserError(
            f"{why}, and a {sweep.design} design without them has no balance: leave out one of their tricks"
        )
    if plan.impossible and not (sweep.skip or sweep.design == "greedy"):
        raise UserError(f"{len(plan.impossible)} of {len(arms)} arms cannot run (above); skip=true runs the others")
    if sweep.design in SELECTING and any(run.waits_for for run in plan.unnamed):
        raise UserError(f"design={sweep.design}: a teacher is no row of it, for its arms come and go: type run:ID")
    if not (plan.runs or plan.unnamed):
        raise UserError("no arm of this study can run (above)")
    if study.lock is not None:
        from bagoftricks.cli.from_lock import differences_here

        for line in differences_here(study.lock, plan, study.base):
            say("bot-sweep", line)
    return plan


def train_study(study: SweptStudy) -> "list[PlannedRun]":
    """Train what is missing of a study, of one that selects round by round; return its runs, each once."""
    if study.sweep.design not in SELECTING:
        plan = planned(study, study.arms)
        if not any(run.waits_for for run in plan.unnamed):
            return train_missing(plan, study)
        from bagoftricks.cli.sweep_stages import train_in_stages

        alone = bool(study.sweep.looks)
        return train_in_stages(plan, partial(planned, study, study.arms), stage_of(study), study.store, alone=alone)
    from bagoftricks.cli.sweep_selection import train_selected

    def train(plan: "Plan", facts: Json) -> "list[PlannedRun]":
        return train_missing(plan, replace(study, about={**study.about, **facts}))

    return train_selected(study.sweep, study.store, study.name, partial(planned, study), train)


def stage_of(study: SweptStudy) -> "Callable[[Plan], list[PlannedRun]]":
    """Return what trains one stage of a study after the other: look by look once no run waits for its teacher.

    Failed runs are tried again in the first stage alone.
    """
    from bagoftricks.study.look_history import Looks

    left = study

    def train(plan: "Plan") -> "list[PlannedRun]":
        nonlocal left
        now, left = left, replace(left, sweep=replace(left.sweep, retry="none"))
        if study.sweep.looks and len(plan.seeds) == 1:
            return train_planned(now, plan, Looks())
        return train_missing(plan, now)

    return train


def train_missing(plan: "Plan", study: SweptStudy) -> "list[PlannedRun]":
    """Train what is missing, look by look if seeds are planned so; return the runs, each once."""
    from bagoftricks.study.look_history import Looks, former_looks
    from bagoftricks.study.plan import replaced_arms

    store, name, sweep = study.store, study.name, study.sweep
    store.writable()
    lost = replaced_arms(store, name, plan)
    if lost and sweep.design not in SELECTING:  # whose arms are made step by step
        say("bot-sweep", f"the study {name} had other arms ({', '.join(lost)}): it is replaced; name=NAME keeps both")
    # The rounds of a selection are no looks: its result is of seeds that none of them saw.
    former = Looks() if sweep.design in SELECTING else former_looks(store, name, plan)
    looks = former.planned(sweep.looks or [len(plan.seeds)])
    if sweep.looks:
        from bagoftricks.cli.sweep_looks import train_in_looks

        return train_in_looks(plan, looks, store, name, partial(train_planned, study), stop=sweep.stop)
    return train_planned(study, plan, looks)


def train_planned(study: SweptStudy, plan: "Plan", looks: "Looks") -> "list[PlannedRun]":
    """Save the study, train the runs of the plan that are missing, and count that as a look; return them, each once."""
    from bagoftricks.cli.sweep_view import StudyView
    from bagoftricks.engines.base import make_engine
    from bagoftricks.engines.submissions import ENGINES
    from bagoftricks.report.study_parts import load_study
    from bagoftricks.store.checkpoints import remove_leftovers
    from bagoftricks.store.store import RunState
    from bagoftricks.study.estimate import seconds_from_records
    from bagoftricks.study.plan import save_study, states, stopped_runs

    store, name, sweep = study.store, study.name, study.sweep
    save_study(store, name, plan, {**study.about, **asdict(looks)})
    before = states(plan, store)
    if sweep.retry == "failed":
        for run_id in [run_id for run_id, state in before.items() if state is RunState.FAILED]:
            store.clear_marks(run_id)
            before[run_id] = RunState.MISSING
    for run_id in [run_id for run_id, state in before.items() if state is RunState.DONE]:
        remove_leftovers(store, run_id)
    first = {run.id: run for run in reversed(plan.runs)}  # two arms may be the same run
    todo = [run for run in first.values() if before[run.id] not in (RunState.DONE, RunState.FAILED)][::-1]
    seconds = seconds_from_records(plan, store)
    view = StudyView(load_study(store, name), store, sweep.at_once, seconds)
    with view.begin(before):
        start_runs(todo, view, sweep)
    if not todo and (store.root / ENGINES / sweep.engine).is_dir():  # its jobs ended while nobody waited
        make_engine(sweep.engine, sweep.engine_values).forget(list(first.values()))
    if not stopped_runs(first.values(), store):
        save_study(store, name, plan, {**study.about, **asdict(looks.after(len(plan.seeds)))})
    return list(first.values())


def start_runs(runs: "Sequence[PlannedRun]", view: "View", sweep: Sweep) -> None:
    """Carry out the runs where they are to be: in this process, or on an engine."""
    alone = not sweep.worker or sweep.design in SELECTING or sweep.looks  # what comes next depends on all results
    if sweep.slots == 0:
        from bagoftricks.engines.here import run_here

        run_here(runs, view, worker=not alone)
        return
    from bagoftricks.engines.base import Limits, make_engine
    from bagoftricks.engines.supervisor import carry_out_study

    limits, engine = Limits(sweep.slots, sweep.time_limit), make_engine(sweep.engine, sweep.engine_values)
    try:
        carry_out_study(runs, view, engine, limits, worker=not alone)
    except KeyboardInterrupt as error:
        if not (left := engine.left()):
            raise
        raise KeyboardInterrupt(f"interrupted; {left}") from error
    if engine.detached and (left := engine.left()):
        say("bot-sweep", f"{left}; the same command shows their state")


def show_queue(runs: "Sequence[PlannedRun]", study: SweptStudy) -> bool:
    """Print every run with its state if jobs that outlive this command carry some of them out, else return False."""
    from bagoftricks.cli.sweep_plan import queue_states, show_plan

    if not queue_states(runs, study.sweep):
        return False
    show_plan(planned(study, study.arms), study)
    return True


def left_to_others(runs: "Sequence[PlannedRun]", study: SweptStudy) -> bool:
    """Return True, and say so, if other workers train the last runs: the study has no table yet."""
    from bagoftricks.store.store import RunState
    from bagoftricks.study.plan import state_of

    states = [state_of(run, study.store) for run in runs]
    running = states.count(RunState.RUNNING)
    if not running or any(state not in (RunState.RUNNING, RunState.DONE, RunState.FAILED) for state in states):
        return False
    done = f"{states.count(RunState.DONE)} of {len(states)} runs are done"
    say("bot-sweep", f"{done}, others train the last {running}: {study.table_command} shows the table")
    return True


def how_it_ended(runs: "Sequence[PlannedRun]", store: "Store") -> int:
    """Say which runs failed, were interrupted, or lack their evaluation; the exit status."""
    from bagoftricks.store.store import RunState
    from bagoftricks.study.plan import state_of, stopped_runs

    at = {run.id: state_of(run, store) for run in runs}
    failed = [run for run in runs if at[run.id] is RunState.FAILED]
    unevaluated = [run for run in runs if at[run.id] is RunState.UNEVALUATED and store.failed(run.id)]
    for run in [*failed, *unevaluated]:
        error, what = store.failure(run.id)["error"], "failed" if run in failed else "could not be evaluated"
        say("bot-sweep", f"'{run.label}' seed {run.seed} {what}: {error} ({store.folder(run.id)})")
    if failed:
        say("bot-sweep", f"{len(failed)} runs failed; retry=failed trains them again")
    if unevaluated:
        say("bot-sweep", f"{len(unevaluated)} evaluations failed; the same command tries them again")
    if stopped := stopped_runs(runs, store):
        say("bot-sweep", f"{len(stopped)} runs were interrupted: type the same command again to resume")
    name_left_out("bot-sweep", store.damaged)
    return INTERRUPTED if stopped else FAILED if failed or unevaluated or store.damaged else DONE


if __name__ == "__main__":
    sys.exit(main())
