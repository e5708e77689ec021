"""The runs of a study before they are trained."""

from dataclasses import dataclass

from bagoftricks.escape import for_json
from bagoftricks.report.foresight import Foresight
from bagoftricks.report.study import tabulate_rows
from bagoftricks.report.styles import with_notes
from bagoftricks.report.text_table import Fit
from bagoftricks.store.json_fields import to_json
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import Plan, PlannedRun, states


@dataclass(frozen=True)
class PlanRow:
    """A run of a study, or an arm without one, and why."""

    arm: str
    state: str = ""
    seed: int | None = None
    id: str | None = None
    tricks: str = ""
    command: str | None = None


@dataclass(frozen=True)
class Outlook:
    """Time of a run in seconds, and what the study will be able to see, as far as they are known."""

    seconds: float | None = None
    foresight: Foresight | None = None


def plan_table(plan: Plan, store: Store, outlook: Outlook, slots: int, style: str, fit: Fit | None = None) -> str:
    """Return every run with its state, the time of the missing ones, ``slots`` at a time, and what will be seen."""
    at, rows = states(plan, store), plan_rows(plan, store)
    missing = len([run_id for run_id, state in at.items() if state is not RunState.DONE])
    total = None if outlook.seconds is None else outlook.seconds * missing / max(1, slots)
    foresight = outlook.foresight
    if style == "json":
        foreseen = None if foresight is None else to_json(foresight)
        return for_json({"runs": to_json(rows), "missing": missing, "seconds": total, "foresight": foreseen})
    shown = tabulate_rows([{k: v for k, v in vars(row).items() if k != "command"} for row in rows], style, fit)
    if style == "csv":
        return shown
    about = "" if total is None else f", about {show_duration(total)}"
    seen = [] if foresight is None else [str(foresight)]
    return with_notes(shown, [f"{len(at)} runs, {missing} to train{about}", *seen], style, fit)


def plan_rows(plan: Plan, store: Store) -> list[PlanRow]:
    """Return a row for every run with its state, and one for each arm that has none."""
    at = states(plan, store)
    rows = [_row(run, at[run.id]) for run in plan.runs]
    rows += [PlanRow(label, state=f"cannot run: {why}") for label, why in plan.impossible.items()]
    return rows + [PlanRow(label, state=f"needs {what}") for label, what in plan.needs.items()]


def _row(run: PlannedRun, state: RunState) -> PlanRow:
    tricks = ", ".join(run.settings.tricks) or "none"
    shown = "running elsewhere" if state is RunState.RUNNING else state.value
    return PlanRow(run.label, shown, run.seed, run.id, tricks, run.command)


def show_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
