"""bot-sweep: a design over tricks, or an experiment, becomes runs; the missing ones are trained; a table follows."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from bagoftricks.cli.app import DONE, FAILED, INTERRUPTED, explain, is_users, run_command
from bagoftricks.cli.compose import compose_settings
from bagoftricks.cli.layout import terminal_fit
from bagoftricks.cli.streams import name_left_out, say, show_result
from bagoftricks.cli.sweep_arguments import Sweep, parse
from bagoftricks.cli.swept_study import SweptStudy
from bagoftricks.errors import UserError
from bagoftricks.settings import METRICS
from bagoftricks.store.json_fields import Json, to_json
from bagoftricks.study.arms import SELECTING

OF_A_LOCK = ("title", "source", "scale", "design", "factors", "columns", "notes")  # facts for the table

if TYPE_CHECKING:
    from bagoftricks.engines.base import View
    from bagoftricks.store.store import Store
    from bagoftricks.study.arms import Arm
    from bagoftricks.study.lock import Lock
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


def experiment_study(sweep: Sweep) -> str:
    """Return the name of the study of an experiment: chosen rows are a study of their own."""
    from bagoftricks.study.plan import study_name
    from bagoftricks.study.rows import choice_name

    return study_name(str(sweep.experiment), sweep.scale) + choice_name(sweep.rows, sweep.left_out)


def study_of(sweep: Sweep) -> "tuple[Sequence[Arm], tuple[str, ...], Json]":
    """Return the arms, the overrides of all runs, and the facts for the table."""
    if sweep.experiment is not None:
        return study_of_experiment(sweep)
    if sweep.design is None:
        raise UserError(
            "nothing to sweep: type experiment=NAME, or design=NAME with 'tricks=[a,b]' (--help tells more)"
        )
    about: Json = {
        "title": f"{sweep.design} of {', '.join(sweep.tricks)}",
        "design": sweep.design,
        "tricks": list(sweep.tricks),
        "measure": sweep_measure(sweep, None),
    }
    if sweep.design in SELECTING:
        from bagoftricks.cli.sweep_selection import start_selection

        return start_selection(sweep).arms, sweep.overrides, about
    from bagoftricks.study.designs import fold_lines, make_arms

    arms = make_arms(sweep.design, sweep.tricks, size=sweep.size)
    if len(arms) > sweep.max_arms:
        raise UserError(f"the design '{sweep.design}' has {len(arms)} arms, more than max_arms={sweep.max_arms}")
    folds = fold_lines(sweep.fold, len(arms)) if sweep.design == "fractional" else []
    return arms, sweep.overrides, {**about, **design_facts(sweep.design, sweep.tricks, arms, folds)}


def study_of_experiment(sweep: Sweep) -> "tuple[Sequence[Arm], tuple[str, ...], Json]":
    """Return what ``study_of`` does, of a file whose arms are its rows or those of its design."""
    from bagoftricks.study.experiment import load_experiment
    from bagoftricks.study.rows import chosen_arms, with_row_settings

    found = load_experiment(str(sweep.experiment), sweep.scale)
    about: Json = {
        "title": found.title,
        "source": found.source,
        "scale": found.scale,
        "columns": list(found.columns),
        "measure": sweep_measure(sweep, found.target),
    }
    if found.design and (sweep.rows or sweep.left_out):
        raise UserError(f"{sweep.experiment} is a design, whose arms belong together: leave rows= and skip= out")
    arms, chosen = chosen_arms(found.arms, sweep.rows, sweep.left_out)
    for line in chosen:
        say("bot-sweep", line)
    about |= {"notes": [*chosen, *found.notes]}
    about |= {} if found.score is None else {"score": found.score}
    about |= {} if found.resolve is None else {"resolve": found.resolve}
    if found.design:
        about |= {"design": found.design.name, "tricks": list(found.design.tricks)}
        about |= design_facts(found.design.name, found.design.tricks, arms, found.notes)
    return with_row_settings(arms, sweep.row_settings), (*found.overrides, *sweep.overrides), about


def design_facts(design: str, tricks: Sequence[str], arms: "Sequence[Arm]", notes: Sequence[str]) -> Json:
    """Return the factors of a design, and its notes: those given, then what a fraction cannot separate."""
    from bagoftricks.study.aliases import alias_lines
    from bagoftricks.study.arms import CROSSED
    from bagoftricks.study.factors import factor_levels

    factors = factor_levels(tricks) if design in CROSSED else []
    aliases = alias_lines(arms, factors) if design == "fractional" else []
    return {"notes": [*notes, *aliases], **({"factors": factors} if factors else {})}


def study_of_lock(lock: "Lock", sweep: Sweep) -> "tuple[Sequence[Arm], tuple[str, ...], Json]":
    """Return the arms of a study that travelled, the overrides of all runs, and the facts for the table."""
    from bagoftricks.cli.from_lock import arms_of, require_own, require_plugins
    from bagoftricks.study.lock import lock_line

    say("bot-sweep", lock_line(lock, command=False))
    try:
        for line in require_plugins(lock):
            say("bot-sweep", line)
        require_own(lock, sweep.overrides)
        arms, overrides = arms_of(lock, sweep.overrides)
    except Exception as error:
        if not is_users(error):
            raise
        raise UserError(f"from={sweep.from_}: {explain(error)}") from error
    for label in {arm.label for arm in lock.arms} - {arm.label for arm in arms}:
        say("bot-sweep", f"arm '{label}' could not run there: left out")
    about = {key: getattr(lock, key) for key in OF_A_LOCK} | {"selection": to_json(lock.selection)}
    measure = {"target": lock.target, "price_per_hour": sweep.price_per_hour or lock.price_per_hour}
    about = {key: value for key, value in about.items() if value is not None}
    return arms, (*overrides, *sweep.overrides), {**about, "measure": measure}


def sweep_measure(sweep: Sweep, target: float | None) -> Json:
    """Return the measure of the table: as typed, else the experiment's own ``target``."""
    from bagoftricks.report.dawnbench import TARGET, make_measure

    given = [t for t in (sweep.target, target) if t is not None]
    metric = sweep.metric or METRICS[bool(given)]
    return asdict(make_measure(metric, [*given, TARGET][0], sweep.price_per_hour))


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
