"""Arms, overrides and facts of the study that bot-sweep was asked for: of a design, an experiment or a lock."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from bagoftricks.cli.app import explain, is_users
from bagoftricks.cli.streams import say
from bagoftricks.cli.sweep_arguments import Sweep
from bagoftricks.errors import UserError
from bagoftricks.settings import METRICS
from bagoftricks.store.json_fields import Json, to_json
from bagoftricks.study.arms import SELECTING

OF_A_LOCK = ("title", "source", "scale", "design", "factors", "columns", "notes")  # facts for the table

if TYPE_CHECKING:
    from bagoftricks.study.arms import Arm
    from bagoftricks.study.lock import Lock


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
